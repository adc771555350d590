//! `fsa-tty.v1`: ttyd's frames with offsets, so that a viewer resumes from the byte it had and no input is typed twice.
//!
//! Offsets of output count all bytes the session ever wrote; offsets of input (`seq`) count all bytes this browser tab ever typed into this
//! session. Both are unsigned 64-bit, big-endian, and start at 0 with a new session.
//!
//! ```text
//! client -> agent                                 agent -> client
//!   {…}          first frame (JSON)                 3 {…}        hello, always first
//!   0 u64 bytes  input from seq                     0 u64 bytes  output from offset
//!   1 {…}        resize                             1 text       title
//!   2 / 3        pause / resume output              2 {…}        preferences
//!   4 u64        output consumed up to offset       4 u64        input taken up to seq
//!                                                   5 u64 bytes  repaint; output goes on from offset
//!                                                   6 {…}        size or primary changed
//!                                                   7 {…}        ended
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// A frame that means nothing.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the frame is empty")]
    Empty,
    #[error("the frame begins with byte {0}, which no kind of frame has")]
    UnknownKind(u8),
    #[error("the frame is too short for its offset")]
    TooShort,
    #[error("the frame's JSON does not fit")]
    Json(#[from] serde_json::Error),
    #[error("the frame's text is not UTF-8")]
    NotText,
}

/// The size of a terminal in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

impl Size {
    /// This size within what the agent emulates: 2–1000 columns, 1–500 rows. A size of 0 is what a hidden page says, and becomes the default.
    pub fn clamped(self) -> Self {
        if self.columns == 0 || self.rows == 0 {
            return Self::default();
        }
        Self { columns: self.columns.clamp(2, 1000), rows: self.rows.clamp(1, 500) }
    }
}

/// The first frame of a viewer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct First {
    pub columns: u16,
    pub rows: u16,
    /// A random id of this browser tab; the agent counts the input of each apart.
    pub client: String,
    #[serde(rename = "AuthToken", default, skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
}

/// What the agent says first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The random id of the session.
    pub session: String,
    pub name: String,
    /// Where the output that follows starts.
    pub start: u64,
    /// How many bytes before `start` this viewer asked for, or would have seen, and will not get. Where it is not 0, a repaint comes at
    /// `replay_until`.
    pub skipped: u64,
    /// Input of this client taken so far: what lies before is not to be sent again.
    pub input_ack: u64,
    pub columns: u16,
    pub rows: u16,
    /// The end of the output when this viewer came. Queries of the terminal before it are not to be answered.
    pub replay_until: u64,
    /// Whether this viewer answers the terminal's queries.
    pub primary: bool,
    /// The exit code, where the shell has ended (128 + signal for a signal).
    pub exited: Option<i32>,
    /// The id that was asked for is not this session's: held input is to be discarded, with a word.
    pub new_session: bool,
}

/// Something that holds from now on. A field that is absent did not change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<bool>,
}

/// The shell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code; 128 + signal for a signal.
    pub code: i32,
}

/// What a viewer says.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientFrame {
    First(First),
    Input { seq: u64, data: Bytes },
    Resize(Size),
    Pause,
    Resume,
    Consumed(u64),
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerFrame {
    Output { offset: u64, data: Bytes },
    Title(String),
    Preferences(serde_json::Value),
    Hello(Hello),
    InputAck(u64),
    Repaint { offset: u64, data: Bytes },
    Status(Status),
    Ended(Ended),
}

impl ClientFrame {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::First(first) => json(None, first),
            Self::Input { seq, data } => with_offset(b'0', *seq, data),
            Self::Resize(size) => json(Some(b'1'), size),
            Self::Pause => Bytes::from_static(b"2"),
            Self::Resume => Bytes::from_static(b"3"),
            Self::Consumed(offset) => with_offset(b'4', *offset, &[]),
        }
    }

    /// # Errors
    /// [`FrameError`] says what does not fit; nothing else happens to the session.
    pub fn decode(frame: Bytes) -> Result<Self, FrameError> {
        Ok(match frame.first() {
            None => return Err(FrameError::Empty),
            Some(b'{') => Self::First(serde_json::from_slice(&frame)?),
            Some(b'0') => {
                let (seq, data) = split_offset(&frame)?;
                Self::Input { seq, data }
            }
            Some(b'1') => Self::Resize(serde_json::from_slice(&frame[1..])?),
            Some(b'2') => Self::Pause,
            Some(b'3') => Self::Resume,
            Some(b'4') => Self::Consumed(split_offset(&frame)?.0),
            Some(other) => return Err(FrameError::UnknownKind(*other)),
        })
    }
}

impl ServerFrame {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Output { offset, data } => with_offset(b'0', *offset, data),
            Self::Title(title) => {
                let mut frame = BytesMut::with_capacity(1 + title.len());
                frame.put_u8(b'1');
                frame.put_slice(title.as_bytes());
                frame.freeze()
            }
            Self::Preferences(preferences) => json(Some(b'2'), preferences),
            Self::Hello(hello) => json(Some(b'3'), hello),
            Self::InputAck(seq) => with_offset(b'4', *seq, &[]),
            Self::Repaint { offset, data } => with_offset(b'5', *offset, data),
            Self::Status(status) => json(Some(b'6'), status),
            Self::Ended(ended) => json(Some(b'7'), ended),
        }
    }

    /// # Errors
    /// [`FrameError`] says what does not fit.
    pub fn decode(frame: Bytes) -> Result<Self, FrameError> {
        Ok(match frame.first() {
            None => return Err(FrameError::Empty),
            Some(b'0') => {
                let (offset, data) = split_offset(&frame)?;
                Self::Output { offset, data }
            }
            Some(b'1') => Self::Title(std::str::from_utf8(&frame[1..]).map_err(|_| FrameError::NotText)?.to_owned()),
            Some(b'2') => Self::Preferences(serde_json::from_slice(&frame[1..])?),
            Some(b'3') => Self::Hello(serde_json::from_slice(&frame[1..])?),
            Some(b'4') => Self::InputAck(split_offset(&frame)?.0),
            Some(b'5') => {
                let (offset, data) = split_offset(&frame)?;
                Self::Repaint { offset, data }
            }
            Some(b'6') => Self::Status(serde_json::from_slice(&frame[1..])?),
            Some(b'7') => Self::Ended(serde_json::from_slice(&frame[1..])?),
            Some(other) => return Err(FrameError::UnknownKind(*other)),
        })
    }
}

fn with_offset(kind: u8, offset: u64, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(9 + data.len());
    frame.put_u8(kind);
    frame.put_u64(offset);
    frame.put_slice(data);
    frame.freeze()
}

fn split_offset(frame: &Bytes) -> Result<(u64, Bytes), FrameError> {
    let bytes = frame.get(1..9).and_then(|bytes| bytes.try_into().ok()).ok_or(FrameError::TooShort)?;
    Ok((u64::from_be_bytes(bytes), frame.slice(9..)))
}

/// These types hold only strings, numbers and booleans, which always serialize; an empty object stands where one day one would not.
fn json(kind: Option<u8>, value: &impl Serialize) -> Bytes {
    let mut frame = Vec::from_iter(kind);
    frame.extend(serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec()));
    frame.into()
}

/// What holds of any bytes: what is understood means the same after it was said again.
#[cfg(any(test, fuzzing))]
pub fn holds(frame: Bytes) {
    if let Ok(understood) = ClientFrame::decode(frame.clone()) {
        assert_eq!(ClientFrame::decode(understood.encode()).ok(), Some(understood));
    }
    if let Ok(understood) = ServerFrame::decode(frame.clone()) {
        let again = ServerFrame::decode(understood.encode()).ok();
        // Numbers in preferences are anybody's JSON, which is not read to the last digit.
        let is_same = again.as_ref() == Some(&understood)
            || matches!((again, understood), (Some(ServerFrame::Preferences(_)), ServerFrame::Preferences(_)));
        assert!(is_same);
    }
    let _ = crate::protocol::ttyd::TtydClientFrame::decode(frame);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn client_frame() -> impl Strategy<Value = ClientFrame> {
        prop_oneof![
            (any::<u16>(), any::<u16>(), ".{0,20}", proptest::option::of(".{0,20}"))
                .prop_map(|(columns, rows, client, auth_token)| ClientFrame::First(First { columns, rows, client, auth_token })),
            (any::<u64>(), bytes()).prop_map(|(seq, data)| ClientFrame::Input { seq, data }),
            (any::<u16>(), any::<u16>()).prop_map(|(columns, rows)| ClientFrame::Resize(Size { columns, rows })),
            Just(ClientFrame::Pause),
            Just(ClientFrame::Resume),
            any::<u64>().prop_map(ClientFrame::Consumed),
        ]
    }

    fn server_frame() -> impl Strategy<Value = ServerFrame> {
        prop_oneof![
            (any::<u64>(), bytes()).prop_map(|(offset, data)| ServerFrame::Output { offset, data }),
            (any::<u64>(), bytes()).prop_map(|(offset, data)| ServerFrame::Repaint { offset, data }),
            ".{0,20}".prop_map(ServerFrame::Title),
            any::<u64>().prop_map(ServerFrame::InputAck),
            any::<i32>().prop_map(|code| ServerFrame::Ended(Ended { code })),
            (proptest::option::of(any::<u16>()), proptest::option::of(any::<bool>()))
                .prop_map(|(rows, primary)| ServerFrame::Status(Status { columns: rows, rows, primary })),
            (".{0,20}", any::<u64>(), any::<u64>(), any::<bool>(), proptest::option::of(any::<i32>())).prop_map(
                |(name, start, skipped, primary, exited)| ServerFrame::Hello(Hello {
                    session: "id".into(),
                    name,
                    start,
                    skipped,
                    input_ack: start,
                    columns: 80,
                    rows: 24,
                    replay_until: skipped,
                    primary,
                    exited,
                    new_session: !primary,
                })
            ),
        ]
    }

    /// No usual run compiles the fuzz target: it is here that it still calls this, and what it begins with.
    #[test]
    fn what_fuzzing_begins_with_holds() {
        let target = std::fs::read_to_string("../fuzz/src/bin/frames.rs").unwrap();
        assert!(target.contains(std::any::type_name_of_val(&holds)), "{target}");
        for seed in std::fs::read_dir("../fuzz/seeds/frames").unwrap() {
            holds(std::fs::read(seed.unwrap().path()).unwrap().into());
        }
    }

    proptest! {
        #[test]
        fn a_client_frame_survives_the_wire(frame in client_frame()) {
            prop_assert_eq!(ClientFrame::decode(frame.encode()).unwrap(), frame);
        }

        #[test]
        fn a_server_frame_survives_the_wire(frame in server_frame()) {
            prop_assert_eq!(ServerFrame::decode(frame.encode()).unwrap(), frame);
        }

        #[test]
        fn no_bytes_break_the_decoders(frame in bytes()) {
            holds(frame);
        }
    }

    #[test]
    fn an_offset_is_big_endian() {
        assert_eq!(ClientFrame::Consumed(258).encode().as_ref(), b"4\0\0\0\0\0\0\x01\x02");
    }
}
