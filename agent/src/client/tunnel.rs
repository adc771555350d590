//! `GET /v1/tunnel`.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::{client::conn::http2, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use secrecy::SecretString;

use super::{ClientError, Io, plain};
use crate::protocol::{TUNNEL_STREAMS, TUNNEL_UPGRADE, TUNNEL_WINDOW, TUNNEL_WINDOWS};

/// How long what is still on its way of a stream that was given up is known as its: far longer than 1 MiB takes. What comes
/// later counts as a fault of the agent's, of which a tunnel forgives a thousand.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A stream of bytes as a fresh one to the agent would be. What is given up without a shutdown ends for the other side all the same.
pub type Tunnelled = TokioIo<Upgraded>;

/// Many connections to an agent in one. It ends when it and all that it carries were dropped.
pub struct Tunnel {
    sender: http2::SendRequest<Full<Bytes>>,
}

/// Makes a tunnel of `io`.
///
/// # Errors
/// See [`ClientError`]; an agent that is too old for it answers 404.
pub async fn tunnel(io: impl Io, token: &SecretString) -> Result<Tunnel, ClientError> {
    let request = Request::get("/v1/tunnel")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, TUNNEL_UPGRADE)
        .body(Full::<Bytes>::default())
        .map_err(ClientError::unfit)?;
    let answer = plain::send(io, Some(token), request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(plain::refusal(answer).await);
    }
    let inside = hyper::upgrade::on(answer).await.map_err(ClientError::broken)?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(TUNNEL_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOWS)
        .initial_max_send_streams(TUNNEL_STREAMS as usize)
        .max_concurrent_reset_streams(TUNNEL_STREAMS as usize)
        .reset_stream_duration(REMEMBERED);
    let (sender, connection) = builder.handshake(inside).await.map_err(ClientError::broken)?;
    tokio::spawn(connection);
    Ok(Tunnel { sender })
}

impl Tunnel {
    /// A connection to the agent. Where the tunnel is full, waits until one of those that it carries has ended.
    ///
    /// # Errors
    /// [`ClientError::Broken`], mostly: the tunnel is.
    pub async fn open(&self) -> Result<Tunnelled, ClientError> {
        let request = Request::connect("agent").body(Full::default()).map_err(ClientError::unfit)?;
        let answer = self.sender.clone().send_request(request).await.map_err(ClientError::broken)?;
        if answer.status() != StatusCode::OK {
            return Err(plain::refusal(answer).await);
        }
        Ok(TokioIo::new(hyper::upgrade::on(answer).await.map_err(ClientError::broken)?))
    }

    /// Whether it is known to lead nowhere any longer.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.sender.is_closed()
    }
}
