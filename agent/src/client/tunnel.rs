//! `GET /v1/tunnel`.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::{
    client::conn::http2,
    rt::{Read, ReadBufCursor, Write},
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use secrecy::SecretString;
use tokio::sync::oneshot;

use super::{ClientError, Io, plain};
use crate::protocol::{TUNNEL_STREAMS, TUNNEL_UPGRADE, TUNNEL_WINDOW, TUNNEL_WINDOWS};

/// How long what is still on its way of a stream that was given up is known as its: far longer than 1 MiB takes. What comes
/// later counts as a fault of the agent's, of which a tunnel forgives a thousand.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A stream of bytes as a fresh one to the agent would be. What is given up without a shutdown ends for the other side all the same.
pub type Tunnelled = TokioIo<Upgraded>;

/// Many connections to an agent in one. What it carries ends when it is dropped.
pub struct Tunnel {
    sender: http2::SendRequest<Full<Bytes>>,
    _lives: oneshot::Sender<Infallible>,
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
    let (lives, tunnel) = oneshot::channel();
    let outside = Outside { io: hyper::upgrade::on(answer).await.map_err(ClientError::broken)?, tunnel: Some(tunnel) };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(TUNNEL_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOWS)
        .initial_max_send_streams(TUNNEL_STREAMS as usize)
        .max_concurrent_reset_streams(TUNNEL_STREAMS as usize)
        .reset_stream_duration(REMEMBERED);
    let (sender, connection) = builder.handshake(outside).await.map_err(ClientError::broken)?;
    tokio::spawn(connection);
    Ok(Tunnel { sender, _lives: lives })
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

/// What a tunnel is made of. It ends with the tunnel by itself: a stream that was given up while the agent took no more of it is
/// there until the agent does, and would keep the connection for as long.
struct Outside {
    io: Upgraded,
    /// None once it was dropped.
    tunnel: Option<oneshot::Receiver<Infallible>>,
}

impl Outside {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let dropped = self.tunnel.as_mut().is_some_and(|tunnel| Pin::new(tunnel).poll(context).is_ready());
        if dropped {
            self.tunnel = None;
        }
        self.tunnel.is_none()
    }
}

impl Read for Outside {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Outside {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
