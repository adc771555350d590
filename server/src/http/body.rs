//! Reading what a request brings: ids of the path, JSON, an idempotency key.

use super::errors::Refusal;
use app::error::{ControlError, ErrorKind};
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use model::ProjectId;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use std::{collections::HashMap, time::Duration};

/// The longest body of a request that is read as a whole. An environment may have 512 KiB, which JSON
/// can write six times as long (`\u0001`).
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The project in the path, `{project}`. What is not an id names nothing: `404 Not Found`.
#[derive(Debug, Clone, Copy)]
pub struct Project(pub ProjectId);

impl<S: Send + Sync> FromRequestParts<S> for Project {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let not_found = || Refusal::from(ControlError::not_found());
        let Path(path) = Path::<HashMap<String, String>>::from_request_parts(parts, state).await.map_err(|_| not_found())?;
        let id = path.get("project").and_then(|id| id.parse().ok()).ok_or_else(not_found)?;
        Ok(Self(id))
    }
}

/// A JSON body. `400 Bad Request` if it is not JSON, `413 Content Too Large`, `415 Unsupported Media
/// Type`, `422 Unprocessable Content` if it is JSON of another form. No body at all is `{}`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?").to_ascii_lowercase());
        let bytes = read(request).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return parse(b"{}").map(Self);
        }
        if kind.is_some_and(|kind| !(kind.starts_with("application/json") || kind.contains("+json"))) {
            let message = "The body has to be JSON, and the header Content-Type says that it is something else.";
            let refusal = Refusal::new(ErrorKind::Malformed, "not-json", message, "Send `Content-Type: application/json`.");
            return Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        // serde would read an array as the fields in their order.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
            && serde_json::from_slice::<IgnoredAny>(&bytes).is_ok()
        {
            let message = "The body is an array, and an object is asked for.";
            return Err(Refusal::new(ErrorKind::Invalid, "wrong-form", message, "Send `{…}`."));
        }
        parse(&bytes).map(Self)
    }
}

/// How long a body may take. The largest comes in that time at half a megabit a second.
const BODY: Duration = Duration::from_secs(60);
/// How long nothing of it may come.
const SILENCE: Duration = Duration::from_secs(10);

/// The whole body, at most [`MAX_BODY_BYTES`].
///
/// # Errors
/// `413 Content Too Large`, `408 Request Timeout`, or `400 Bad Request` where it broke off.
pub async fn read(request: Request) -> Result<Bytes, Refusal> {
    read_body(request.into_body()).await
}

/// As [`read`], of a body alone.
///
/// # Errors
/// As [`read`].
pub async fn read_body(mut body: Body) -> Result<Bytes, Refusal> {
    let late = || {
        let message = "The body of the request did not come in time.";
        let refusal = Refusal::new(ErrorKind::Malformed, "body-late", message, "Send it again, and faster.");
        refusal.with_status(StatusCode::REQUEST_TIMEOUT)
    };
    match tokio::time::timeout(BODY, collected(&mut body)).await.map_err(|_| late())? {
        Ok(bytes) => Ok(bytes),
        Err(Bad::Silent) => Err(late()),
        Err(Bad::TooLarge) => {
            drain(body).await;
            let message = format!("The body has more than {MAX_BODY_BYTES} bytes.");
            Err(Refusal::new(ErrorKind::TooLarge, "body-too-large", message, "Send less."))
        }
        Err(Bad::Broken) => {
            Err(Refusal::new(ErrorKind::Malformed, "body-broken", "The body broke off before its end.", "Send it again."))
        }
    }
}

/// Why a body is not whole.
enum Bad {
    Silent,
    TooLarge,
    Broken,
}

async fn collected(body: &mut Body) -> Result<Bytes, Bad> {
    let mut body = Limited::new(body, MAX_BODY_BYTES);
    let mut all = BytesMut::new();
    while let Some(frame) = tokio::time::timeout(SILENCE, body.frame()).await.map_err(|_| Bad::Silent)? {
        let kind = |error: axum::BoxError| if error.is::<LengthLimitError>() { Bad::TooLarge } else { Bad::Broken };
        if let Ok(data) = frame.map_err(kind)?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// Reads on, within reason: who still sends when the connection is closed never sees the answer.
async fn drain(mut body: Body) {
    let mut left = 16 * MAX_BODY_BYTES;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, body.frame()).await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        // Of a number where a word is asked for it says "expected value", as of what is no JSON.
        kind if kind == Category::Data || serde_json::from_slice::<IgnoredAny>(bytes).is_ok() => Refusal::new(
            ErrorKind::Invalid,
            "wrong-form",
            format!("The body does not have the form asked for: {error}."),
            "Mend that place of the body.",
        ),
        _ => Refusal::new(ErrorKind::Malformed, "not-json", format!("The body is not JSON: {error}."), "Send valid JSON."),
    })
}

/// The `Idempotency-Key`, if one is sent.
///
/// # Errors
/// `422 Unprocessable Content`: empty, over 255 bytes, or not visible ASCII.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let message = "The header Idempotency-Key is 1 to 255 visible characters.";
        Refusal::new(ErrorKind::Invalid, "bad-idempotency-key", message, "Send a UUID, for example.")
    })
}
