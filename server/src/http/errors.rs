//! The one shape of every error.
//!
//! Handlers answer `Result<_, Refusal>`. A refusal becomes a response that carries its
//! [`ControlError`] as an extension; [`shape`], outside every route, writes the body, since it alone
//! knows what the route was about. What axum refuses by itself (a path, a method) is shaped there too.

use super::{
    auth::visit,
    preview::page::{escape, page_of},
    security::request_id,
};
use crate::room;
use app::error::{ControlError, ErrorKind};
use axum::{
    extract::Request,
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use engine::store::Why;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use model::view::{ErrorBody, ErrorDetails};
use std::{backtrace::Backtrace, sync::Arc};

/// A refused request.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    error: ControlError,
    /// Another status than the kind's.
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
    detail: Option<Detail>,
    stack: Option<Stack>,
}

/// Where a refusal was made. Of debug builds alone: what a server is made of is nobody's business, and walking it costs.
#[derive(Debug, Clone)]
struct Stack(Arc<Backtrace>);

impl Stack {
    fn here() -> Option<Self> {
        cfg!(debug_assertions).then(|| Self(Arc::new(Backtrace::force_capture())))
    }
}

/// What stands in `details` of one error besides what all have.
#[derive(Debug, Clone)]
struct Detail(&'static str, serde_json::Value);

impl Refusal {
    /// With its words.
    #[must_use]
    pub fn new(kind: ErrorKind, code: &str, message: impl Into<String>, next: &str) -> Self {
        ControlError::new(kind, code, message, next).into()
    }

    /// With another status than the kind's. A 429 is none of them: it has its wait in its kind.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// With a header of its own.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.0.headers.push((name, value));
        }
        self
    }

    /// With something of its own in `details`.
    #[must_use]
    pub fn with_detail(mut self, name: &'static str, value: serde_json::Value) -> Self {
        self.0.detail = Some(Detail(name, value));
        self
    }

    /// A header of its own.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Which status it has.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        let usual = || StatusCode::from_u16(self.0.error.kind.status()).ok();
        self.0.status.or_else(usual).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What is behind it.
    #[must_use]
    pub fn error(&self) -> &ControlError {
        &self.0.error
    }

    /// The same, where nothing else of it is wanted.
    #[must_use]
    pub fn into_error(self) -> ControlError {
        self.0.error
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        Self(Box::new(Parts { error, status: None, headers: Vec::new(), detail: None, stack: Stack::here() }))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        for (name, value) in &self.0.headers {
            response.headers_mut().insert(name, value.clone());
        }
        match self.0.error.kind {
            ErrorKind::TooMany(wait) => {
                response.headers_mut().insert(header::RETRY_AFTER, wait.secs().into());
            }
            ErrorKind::Unavailable => {
                response.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("5"));
            }
            ErrorKind::SignedOut => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self.0.error);
        if let Some(detail) = self.0.detail {
            response.extensions_mut().insert(detail);
        }
        if let Some(stack) = self.0.stack {
            response.extensions_mut().insert(stack);
        }
        response
    }
}

/// What a route was about, for its errors: "create project", and which project.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// After "Failed to".
    pub doing: &'static str,
    /// As it stands in the path.
    pub project: Option<String>,
}

/// Writes the body of every error that has none of our shape yet.
pub async fn shape(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let accepts = request.headers().get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    let person = method == Method::GET && accepts.contains("text/html") && !path.starts_with("/api/");
    let mut response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let about = response.extensions_mut().remove::<About>().unwrap_or_default();
    let error = match response.extensions_mut().remove::<ControlError>() {
        Some(error) => error,
        None if is_shaped(&response) => return response,
        None => unexplained(status, method.as_str(), &path),
    };
    let mut shaped = if person {
        (status, page(&error)).into_response()
    } else {
        let doing = if about.doing.is_empty() { "answer the request" } else { about.doing };
        let mut body = body(doing, about.project, status, error);
        body.details.stack = response.extensions_mut().remove::<Stack>().map(|Stack(stack)| stack.to_string());
        match response.extensions_mut().remove::<Detail>() {
            Some(detail) => (status, axum::Json(with_detail(&body, detail))).into_response(),
            None => (status, axum::Json(body)).into_response(),
        }
    };
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            shaped.headers_mut().append(name, value.clone());
        }
    }
    shaped.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *shaped.extensions_mut() = std::mem::take(response.extensions_mut());
    shaped
}

fn with_detail(body: &ErrorBody, Detail(name, value): Detail) -> serde_json::Value {
    let mut body = serde_json::json!(body);
    if let Some(details) = body.get_mut("details").and_then(serde_json::Value::as_object_mut) {
        details.insert(name.to_owned(), value);
    }
    body
}

/// An error of a page, for a person.
fn page(error: &ControlError) -> Html<String> {
    let steps: String = error.next_steps.iter().map(|step| format!("<p>{}</p>", escape(step))).collect();
    page_of(
        "This page could not be shown",
        &format!("<p>{}</p>{steps}<p><a href=\"/\">All projects</a></p>", escape(&error.message)),
        None,
    )
}

fn is_shaped(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/json") || kind.starts_with("text/html")
}

/// The body of an error.
#[must_use]
pub fn body(doing: &str, project: Option<String>, status: StatusCode, error: ControlError) -> ErrorBody {
    ErrorBody {
        error: format!("Failed to {doing}"),
        details: ErrorDetails {
            name: name_of(status, error.kind).to_owned(),
            message: error.message,
            code: error.code,
            kubernetes_status: error.cause.as_ref().and_then(|cause| cause.kubernetes_status),
            cause: error.cause.map(|cause| *cause),
            next_steps: error.next_steps,
            stack: None,
            field: error.field,
        },
        project_id: project,
        timestamp: Timestamp::now(),
    }
}

fn name_of(status: StatusCode, kind: ErrorKind) -> &'static str {
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return "MethodNotAllowedError";
    }
    match kind {
        ErrorKind::Malformed | ErrorKind::Invalid | ErrorKind::TooLarge => "ValidationError",
        ErrorKind::SignedOut => "AuthenticationError",
        ErrorKind::Forbidden => "AuthorizationError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::Conflict => "ConflictError",
        ErrorKind::TooMany(_) => "RateLimitError",
        ErrorKind::Unavailable => "UnavailableError",
        ErrorKind::Internal => "InternalError",
    }
}

/// What axum or tower refused by itself.
fn unexplained(status: StatusCode, method: &str, path: &str) -> ControlError {
    let path: String = path.chars().take(200).collect();
    match status {
        StatusCode::NOT_FOUND => ControlError::new(
            ErrorKind::NotFound,
            "no-such-address",
            format!("There is nothing at {path}."),
            "Check the address.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => ControlError::new(
            ErrorKind::Malformed,
            "method-not-allowed",
            format!("{path} does not take {method}."),
            "Use one of the methods in the header Allow.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ControlError::new(ErrorKind::TooLarge, "body-too-large", "The body of the request is too large.", "Send less.")
        }
        StatusCode::SERVICE_UNAVAILABLE => unavailable(),
        status if status.is_server_error() => internal(),
        _ => ControlError::new(ErrorKind::Malformed, "bad-request", "The request could not be understood.", "Check its form."),
    }
}

/// The store is away, as far as is known because its disk is full. Whether a change was made is not known: it may have gone
/// away before its answer.
#[must_use]
pub fn unavailable() -> ControlError {
    away(Why::Silent)
}

/// The same, and it says why.
#[must_use]
pub fn away(why: Why) -> ControlError {
    const LOOK: &str = "Ask again in a few seconds; after a change, look first whether it was made.";
    let told = |code: &str, message: &str, next: &str| ControlError::new(ErrorKind::Unavailable, code, message, next);
    let silent = || told("store-away", "The control plane's database does not answer. What runs in sandboxes goes on.", LOOK);
    // PostgreSQL ends, and comes up again in vain, where it cannot write its log.
    match why {
        Why::Silent => visit::no_room().unwrap_or_else(silent),
        Why::Restarting => visit::no_room().unwrap_or_else(|| {
            told(
                "store-restarting",
                "The control plane's database starts or stops just now. What runs in sandboxes goes on.",
                LOOK,
            )
        }),
        Why::ReadOnly => told(
            "store-read-only",
            "The control plane's database takes no changes: it is a standby, or was made read-only. Nothing was changed.",
            "Ask whoever keeps that PostgreSQL to let it be written, and ask again.",
        ),
        Why::Undone => told(
            "store-contended",
            "Another change of the same came in between, and this one was taken back. Nothing was changed.",
            "Ask again.",
        ),
        Why::Busy => told("store-busy", "The control plane's database has more to do than it can just now.", LOOK),
    }
}

/// The store has no room to write. The transaction was undone, unless the database ended over it.
#[must_use]
pub fn store_full() -> ControlError {
    visit::store_is_full();
    visit::no_room().unwrap_or_else(room::without_figures)
}

/// A mistake of ours. What is to be reported is told in words, too: a page shows no headers.
#[must_use]
pub fn internal() -> ControlError {
    let mut error = ControlError::new(
        ErrorKind::Internal,
        "internal",
        "The server made a mistake while it answered. Its log says which, under the id in the header X-Request-Id.",
        "Ask again; if it stays, report it with that id.",
    );
    if let Some(id) = request_id().as_ref().and_then(|id| id.to_str().ok()) {
        error.next_steps.push(format!("Request id: {id}"));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware::from_fn, routing::get};
    use http_body_util::BodyExt as _;
    use model::{Cause, CauseCode};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    async fn told(error: ControlError) -> Value {
        let refuse = move || async move { Err::<(), _>(Refusal::from(error)) };
        let app: Router = Router::new().route("/", get(refuse)).layer(from_fn(shape));
        let answer = app.oneshot(Request::builder().uri("/").body(Body::empty()).unwrap()).await.unwrap();
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_refusal_says_what_stands_behind_it() {
        let plain = ControlError::new(ErrorKind::Conflict, "not-running", "The sandbox is not running.", "Start it.");
        let cause = Cause::new(CauseCode::QuotaExceeded, "The quota is used up.", &["Raise it."]).answered(403);
        let body = told(plain.clone().because(&cause)).await;
        assert_eq!(body["details"]["cause"], json!(cause));
        assert_eq!((&body["details"]["kubernetesStatus"], &body["details"]["code"]), (&json!(403), &json!("not-running")));
        let body = told(plain).await;
        for absent in ["cause", "kubernetesStatus"] {
            assert!(body["details"].get(absent).is_none(), "{body}");
        }
    }

    #[tokio::test]
    async fn a_release_says_nothing_of_its_stack() {
        let body = told(internal()).await;
        assert_eq!(body["details"].get("stack").is_some(), cfg!(debug_assertions), "{body}");
    }
}
