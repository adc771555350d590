//! Speaking to an agent over any stream of bytes: a Unix socket, a TCP connection, a tunnel through Kubernetes.
//!
//! Each function takes a fresh stream and uses it for one request; streams inside one machine cost nothing, and no answer waits for another.
//! Nothing here knows where the agent is.
//!
//! [`health`], [`request`], [`call`] are plain HTTP; [`exec()`], [`events()`] stream lines; [`forward()`] and [`websocket()`] turn the stream
//! into something else. Where streams are dear, [`tunnel()`] makes many of one.

mod events;
mod exec;
mod forward;
mod lines;
mod plain;
mod tunnel;
mod websocket;

use http::{HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

pub use events::events;
pub use exec::{ExecEvent, Finished, exec, exec_to_end, gather};
pub use forward::{ForwardError, Forwarded, forward};
pub use plain::{answer_credentials, call, delete_session, health, request, sessions, shutdown};
pub use tunnel::{Tunnel, Tunnelled, tunnel};
pub use websocket::websocket;

use crate::protocol::http::ErrorBody;

tokio::task_local! {
    static REQUEST: HeaderValue;
}

/// The header that leads from an answer to the log of who asked.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is asked of agents in this future carries the id of the request in whose name it is asked.
pub fn in_request<F: Future>(id: HeaderValue, asks: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(id, asks)
}

/// The id that a request to an agent carries.
fn request_id() -> Option<HeaderValue> {
    REQUEST.try_with(Clone::clone).ok()
}

/// A stream to an agent.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Why an agent did not answer, or answered no.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The stream broke before the answer was whole. Whether the agent did what was asked is not known.
    #[error("the connection to the agent broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The agent refused, and says why.
    #[error("the agent answered {status}: {}", body.error)]
    Refused { status: StatusCode, body: ErrorBody },
    /// The answer is no answer of an agent.
    #[error("the agent's answer does not fit")]
    Unfit(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ClientError {
    fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken(error.into())
    }

    fn unfit(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unfit(error.into())
    }

    fn refused(status: StatusCode, body: &[u8]) -> Self {
        let body = serde_json::from_slice(body).unwrap_or_else(|_| ErrorBody {
            error: String::from_utf8_lossy(body).into_owned(),
            code: "unknown".into(),
            versions: None,
        });
        Self::Refused { status, body }
    }

    /// The status, where the agent answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}
