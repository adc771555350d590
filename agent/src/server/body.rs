//! Bodies of answers and requests.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, UPGRADE},
};
use http_body::Frame;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::error::Error;

pub type Answer = Response<Body>;

/// A whole answer, or one that somebody goes on sending. An error in it cuts the answer off, which the reader notices.
pub enum Body {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body {
    pub fn empty() -> Self {
        Self::Whole(None)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => receiver.poll_recv(context).map(|next| next.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) => http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// From here on the connection speaks another protocol.
pub fn switching(protocol: &'static str) -> Answer {
    let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    answer
}

pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).unwrap_or_default();
    with_type(status, "application/json", Body::Whole(Some(text.into())))
}

/// One JSON value a line, for as long as the sender lives.
pub fn lines(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Answer {
    with_type(StatusCode::OK, "application/x-ndjson", Body::Stream(receiver))
}

pub fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// One line of an answer of lines.
pub fn line(value: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Reads a JSON body of at most 16 MiB; an empty one counts as `{}`.
///
/// # Errors
/// `400 Bad Request`: too long, cut off, or not what the route takes.
pub async fn read_json<T: DeserializeOwned>(body: Incoming) -> Result<T, Error> {
    let whole = Limited::new(body, 16 << 20)
        .collect()
        .await
        .map_err(|error| Error::bad_request("bad-body", format!("The body cannot be read: {error}")))?;
    let bytes = whole.to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|error| Error::bad_request("bad-json", format!("The body does not fit: {error}")))
}

/// What a service never fails with: errors are answers.
pub type Served = Result<Answer, Infallible>;
