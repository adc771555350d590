//! The two ways of saying the same: stock ttyd, and `fsa-tty.v1`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::protocol::{
    FSA_SUBPROTOCOL, TTYD_SUBPROTOCOL, close,
    frame::{ClientFrame, FrameError, ServerFrame, Size},
    ttyd::{self, TtydClientFrame},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Ttyd,
    Fsa,
}

/// What a viewer said.
#[derive(Debug)]
pub enum Said {
    First {
        size: Size,
        client: Option<String>,
        auth_token: Option<String>,
    },
    /// `seq` where the viewer counts.
    Input {
        seq: Option<u64>,
        data: Bytes,
    },
    Resize(Size),
    Pause,
    Resume,
    Consumed(u64),
}

impl Dialect {
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Ttyd => TTYD_SUBPROTOCOL,
            Self::Fsa => FSA_SUBPROTOCOL,
        }
    }

    /// # Errors
    /// The frame means nothing in this dialect.
    pub fn understand(self, frame: Bytes) -> Result<Said, FrameError> {
        Ok(match self {
            Self::Ttyd => match TtydClientFrame::decode(frame)? {
                TtydClientFrame::First(first) => {
                    let size = Size { columns: first.columns.unwrap_or(0), rows: first.rows.unwrap_or(0) };
                    Said::First { size, client: None, auth_token: first.auth_token }
                }
                TtydClientFrame::Input(data) => Said::Input { seq: None, data },
                TtydClientFrame::Resize(size) => Said::Resize(size),
                TtydClientFrame::Pause => Said::Pause,
                TtydClientFrame::Resume => Said::Resume,
            },
            Self::Fsa => match ClientFrame::decode(frame)? {
                ClientFrame::First(first) => {
                    let size = Size { columns: first.columns, rows: first.rows };
                    Said::First { size, client: Some(first.client), auth_token: first.auth_token }
                }
                ClientFrame::Input { seq, data } => Said::Input { seq: Some(seq), data },
                ClientFrame::Resize(size) => Said::Resize(size),
                ClientFrame::Pause => Said::Pause,
                ClientFrame::Resume => Said::Resume,
                ClientFrame::Consumed(offset) => Said::Consumed(offset),
            },
        })
    }

    /// Output that lies in two pieces, copied once.
    pub fn output(self, offset: u64, first: &[u8], second: &[u8]) -> Bytes {
        let mut frame = BytesMut::with_capacity(9 + first.len() + second.len());
        frame.put_u8(b'0');
        if self == Self::Fsa {
            frame.put_u64(offset);
        }
        frame.put_slice(first);
        frame.put_slice(second);
        frame.freeze()
    }

    pub fn repaint(self, offset: u64, paint: Vec<u8>) -> Bytes {
        match self {
            Self::Ttyd => ttyd::output(&paint),
            Self::Fsa => ServerFrame::Repaint { offset, data: paint.into() }.encode(),
        }
    }

    pub fn title(self, title: &str) -> Bytes {
        ttyd::title(title)
    }

    /// The code for a missing or wrong token. ttyd's clients know 1008.
    pub fn unauthorized(self) -> u16 {
        match self {
            Self::Ttyd => 1008,
            Self::Fsa => close::UNAUTHORIZED,
        }
    }
}
