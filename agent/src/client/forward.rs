//! `GET /v1/forward`.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use secrecy::SecretString;

use super::{ClientError, Io, plain};
use crate::protocol::FORWARD_UPGRADE;

/// A stream of bytes to a port inside.
pub type Forwarded = TokioIo<Upgraded>;

#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("nobody listens on port {0}")]
    NobodyListens(u16),
    /// One of [`crate::protocol::RESERVED_PORTS`], or 0.
    #[error("port {0} is not forwarded")]
    NotAllowed(u16),
    #[error("ask the agent for port {port}")]
    Agent { port: u16, source: ClientError },
}

/// Connects to `port` inside, on 127.0.0.1 or else ::1.
///
/// # Errors
/// See [`ForwardError`].
pub async fn forward(io: impl Io, token: &SecretString, port: u16) -> Result<Forwarded, ForwardError> {
    let agent = |source| ForwardError::Agent { port, source };
    let request = Request::get(format!("/v1/forward?port={port}"))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, FORWARD_UPGRADE)
        .body(Full::<Bytes>::default())
        .map_err(|error| agent(ClientError::unfit(error)))?;
    let answer = plain::send(io, Some(token), request).await.map_err(agent)?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            let upgraded = hyper::upgrade::on(answer).await.map_err(|error| agent(ClientError::broken(error)))?;
            Ok(TokioIo::new(upgraded))
        }
        StatusCode::BAD_GATEWAY => Err(ForwardError::NobodyListens(port)),
        StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => Err(ForwardError::NotAllowed(port)),
        _ => Err(agent(plain::refusal(answer).await)),
    }
}
