//! The protocol of stock ttyd, to the letter, as its own clients speak it.
//!
//! Client frames begin with an ASCII byte (`0` input, `1` resize as JSON, `2` pause, `3` resume) but for the first, a JSON object; server frames
//! likewise (`0` output, `1` window title, `2` preferences as JSON). Text and binary frames are both taken.
//! Source: ttyd's `server.h` and `protocol.c`.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::frame::{FrameError, Size};

/// What a ttyd client says.
#[derive(Debug, Clone, PartialEq)]
pub enum TtydClientFrame {
    First(TtydFirst),
    Input(Bytes),
    Resize(Size),
    Pause,
    Resume,
}

/// The first frame of a ttyd client. Every field may be missing, as in ttyd.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TtydFirst {
    #[serde(rename = "AuthToken", default)]
    pub auth_token: Option<String>,
    #[serde(default)]
    pub columns: Option<u16>,
    #[serde(default)]
    pub rows: Option<u16>,
}

impl TtydClientFrame {
    /// # Errors
    /// An empty frame, an unknown first byte, or JSON that does not fit.
    pub fn decode(frame: Bytes) -> Result<Self, FrameError> {
        match frame.first() {
            None => Err(FrameError::Empty),
            Some(b'{') => Ok(Self::First(serde_json::from_slice(&frame)?)),
            Some(b'0') => Ok(Self::Input(frame.slice(1..))),
            Some(b'1') => Ok(Self::Resize(serde_json::from_slice(&frame[1..])?)),
            Some(b'2') => Ok(Self::Pause),
            Some(b'3') => Ok(Self::Resume),
            Some(other) => Err(FrameError::UnknownKind(*other)),
        }
    }
}

/// A server frame of output.
pub fn output(data: &[u8]) -> Bytes {
    server(b'0', data)
}

/// A server frame that sets the window's title.
pub fn title(title: &str) -> Bytes {
    server(b'1', title.as_bytes())
}

/// The server frame of preferences: none, so that a client keeps its own.
pub fn preferences() -> Bytes {
    server(b'2', b"{}")
}

fn server(kind: u8, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(1 + data.len());
    frame.put_u8(kind);
    frame.put_slice(data);
    frame.freeze()
}
