//! `GET /v1/events`.

use futures_util::Stream;
use http::Method;
use secrecy::SecretString;

use super::{ClientError, Io, lines::lines, plain};
use crate::protocol::http::AgentEvent;

/// How things stand, then what changes, for as long as the agent runs and the stream is read. At least every 8 s there is an event, if only
/// [`AgentEvent::Keepalive`]: a longer silence is a dead connection. Reading too slowly ends it as well; then ask anew.
///
/// # Errors
/// See [`ClientError`]; an error in the stream is its last item.
pub async fn events(
    io: impl Io,
    token: &SecretString,
) -> Result<impl Stream<Item = Result<AgentEvent, ClientError>> + Send + 'static, ClientError> {
    let request = plain::json_request(Method::GET, "/v1/events", None::<&()>)?;
    Ok(lines(plain::accepted(plain::send(io, Some(token), request).await?).await?.into_body()))
}
