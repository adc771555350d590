//! `GET /ws`.

use http::{Request, header};
use secrecy::SecretString;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, handshake::client::generate_key, protocol::WebSocketConfig},
};

use super::{ClientError, Io, plain};

/// The longest message that is taken from an agent: a frame of output has 64 KiB, a repaint of a large screen some more.
const MESSAGE_BYTES: usize = 4 << 20;

/// Opens a terminal: `path_and_query` is `/ws?session=NAME&…`, `subprotocol` one of [`crate::protocol::FSA_SUBPROTOCOL`] and
/// [`crate::protocol::TTYD_SUBPROTOCOL`].
///
/// # Errors
/// See [`ClientError`].
pub async fn websocket<S: Io>(
    io: S,
    token: &SecretString,
    path_and_query: &str,
    subprotocol: &str,
) -> Result<WebSocketStream<S>, ClientError> {
    let mut request = Request::get(format!("ws://agent{path_and_query}"))
        .header(header::HOST, "agent")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, subprotocol)
        .header(header::AUTHORIZATION, plain::bearer(token)?)
        .body(())
        .map_err(ClientError::unfit)?;
    if let Some(id) = super::request_id() {
        request.headers_mut().insert(super::X_REQUEST_ID, id);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(64 * 1024)
        .write_buffer_size(16 * 1024)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    match client_async_with_config(request, io, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            Err(ClientError::refused(answer.status(), answer.body().as_deref().unwrap_or_default()))
        }
        Err(error) => Err(ClientError::broken(error)),
    }
}
