//! One request, one answer.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};

use super::{ClientError, Io};
use crate::protocol::{
    http::{CredentialAnswer, Health, SessionInfo, ShutdownRequest},
    name::SessionName,
};

/// The longest answer that is read whole.
const ANSWER_BYTES: usize = 16 << 20;
/// The longest refusal that is: a sentence or two.
const REFUSAL_BYTES: usize = 64 << 10;

/// `GET /healthz`. The token is not sent: this route takes none.
///
/// # Errors
/// See [`ClientError`].
pub async fn health(io: impl Io) -> Result<Health, ClientError> {
    let request = Request::get("/healthz").body(Full::<Bytes>::default()).map_err(ClientError::unfit)?;
    whole(send(io, None, request).await?).await
}

/// Any request to the agent, with the token added: for routes that are passed through, such as `/v1/files`. The answer is given back as it
/// is, also where it is a refusal. The connection lives until the answer's body was read or dropped.
///
/// # Errors
/// Only [`ClientError::Broken`].
pub async fn request<B>(io: impl Io, token: &SecretString, request: Request<B>) -> Result<Response<Incoming>, ClientError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    send(io, Some(token), request).await
}

/// A request with a JSON body, or none, and a JSON answer (`()` for an empty one).
///
/// # Errors
/// See [`ClientError`].
pub async fn call<T: DeserializeOwned>(
    io: impl Io,
    token: &SecretString,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T, ClientError> {
    whole(send(io, Some(token), json_request(method, path, body)?).await?).await
}

/// `GET /v1/sessions`.
///
/// # Errors
/// See [`ClientError`].
pub async fn sessions(io: impl Io, token: &SecretString) -> Result<Vec<SessionInfo>, ClientError> {
    call(io, token, Method::GET, "/v1/sessions", None::<&()>).await
}

/// `DELETE /v1/sessions/NAME`: hangs up on it. May be repeated; no such session is fine.
///
/// # Errors
/// See [`ClientError`].
pub async fn delete_session(io: impl Io, token: &SecretString, name: &SessionName) -> Result<(), ClientError> {
    match call(io, token, Method::DELETE, &format!("/v1/sessions/{name}"), None::<&()>).await {
        Err(ClientError::Refused { status, .. }) if status == http::StatusCode::NOT_FOUND => Ok(()),
        done => done,
    }
}

/// `POST /v1/credentials`. One that nobody waits for any more is fine.
///
/// # Errors
/// See [`ClientError`].
pub async fn answer_credentials(io: impl Io, token: &SecretString, answer: &CredentialAnswer) -> Result<(), ClientError> {
    match call(io, token, Method::POST, "/v1/credentials", Some(answer)).await {
        Err(ClientError::Refused { status, .. }) if status == http::StatusCode::NOT_FOUND => Ok(()),
        done => done,
    }
}

/// `POST /v1/shutdown`: answers at once; the agent ends when everything inside has, or the grace is over.
///
/// # Errors
/// See [`ClientError`].
pub async fn shutdown(io: impl Io, token: &SecretString, grace: std::time::Duration) -> Result<(), ClientError> {
    let grace_ms = Some(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    call(io, token, Method::POST, "/v1/shutdown", Some(&ShutdownRequest { grace_ms })).await
}

pub(super) fn json_request(
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let body = body.map(serde_json::to_vec).transpose().map_err(ClientError::unfit)?;
    Request::builder().method(method).uri(path).body(Full::from(body.unwrap_or_default())).map_err(ClientError::unfit)
}

/// Sends, and goes on driving the connection in a task of its own.
pub(super) async fn send<B>(
    io: impl Io,
    token: Option<&SecretString>,
    mut request: Request<B>,
) -> Result<Response<Incoming>, ClientError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Some(token) = token {
        request.headers_mut().insert(header::AUTHORIZATION, bearer(token)?);
    }
    if let Some(id) = super::request_id() {
        request.headers_mut().insert(super::X_REQUEST_ID, id);
    }
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("agent"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(ClientError::broken)?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(ClientError::broken)
}

pub(super) fn bearer(token: &SecretString) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(ClientError::unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The answer, where it is a success; else what the agent says.
pub(super) async fn accepted(answer: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
}

pub(super) async fn refusal(answer: Response<Incoming>) -> ClientError {
    let status = answer.status();
    match Limited::new(answer.into_body(), REFUSAL_BYTES).collect().await {
        Ok(body) => ClientError::refused(status, &body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            ClientError::refused(status, b"It was refused, with more words than are read.")
        }
        Err(error) => ClientError::Broken(error),
    }
}

async fn whole<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, ClientError> {
    let body =
        Limited::new(accepted(answer).await?.into_body(), ANSWER_BYTES).collect().await.map_err(ClientError::Broken)?.to_bytes();
    serde_json::from_slice(if body.is_empty() { b"null" } else { &body }).map_err(ClientError::unfit)
}
