//! Answers of one JSON value a line.

use bytes::{Buf, BytesMut};
use futures_util::Stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::ClientError;

/// A longer line is no answer of an agent.
const LINE_BYTES: usize = 4 << 20;

/// The values of a body, until it ends. The first error is the last item.
pub fn lines<T: DeserializeOwned + Send + 'static>(
    body: Incoming,
) -> impl Stream<Item = Result<T, ClientError>> + Send + 'static {
    futures_util::stream::unfold(Some((body, BytesMut::new(), 0)), |state| async {
        let (mut body, mut buffer, mut searched) = state?;
        loop {
            if let Some(at) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(searched + at);
                buffer.advance(1);
                return match serde_json::from_slice(&line) {
                    Ok(value) => Some((Ok(value), Some((body, buffer, 0)))),
                    Err(error) => Some((Err(ClientError::unfit(error)), None)),
                };
            }
            searched = buffer.len();
            if searched > LINE_BYTES {
                return Some((Err(ClientError::unfit("a line is too long")), None));
            }
            match body.frame().await? {
                Ok(frame) => buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(error) => return Some((Err(ClientError::broken(error)), None)),
            }
        }
    })
}
