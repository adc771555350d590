//! Previews: a host name a port, proxied to that port in the sandbox.
//!
//! ```text
//!   PORT--NAME.localhost:4000
//!     POST /.fsa/enter   code ─▶ this host's own cookie            (posted by a page of the app)
//!     GET  /.fsa/share   the page of a public link, which posts what stands behind its `#`
//!     POST /.fsa/share   secret ─▶ a cookie that is the link's      (from this very page)
//!     GET  /.fsa/status  does anybody listen?                      (asked by our waiting pages)
//!     everything else    ─ cookie? ─▶ Orchestrator::connect(port) ─▶ the app, HTTP/1.1 or WebSocket
//! ```
//!
//! The cookie is this host's alone, opens this port of this sandbox and nothing else, and never reaches
//! the app inside. What the app answers is passed on as it is, but for what would let it frame, set or
//! read what is ours. What stays open (a WebSocket, a stream, an upload) ends within a second of the
//! session or token behind the cookie.

pub mod cookie;
mod forward;
pub mod page;

use super::{
    auth::watch::Credential,
    patience::patient,
    security::{self, ClientAddress, is_websocket},
    state::Plane,
};
use crate::control::store_error;
use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use engine::{orchestrator::ConnectError, store::accounts::shares::LinkUse};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::{
    SandboxId,
    port::{PortError, PreviewLabel},
};
use page::{Face, page_of, waiting};
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tracing::{debug, error};

/// How long a visitor who was let in is let in without asking the database: a page of a dev server
/// loads hundreds of files. Signing out ends it within the second that is promised.
const REMEMBER: Duration = Duration::from_millis(500);

/// One request to one preview.
struct Visit<'a> {
    plane: &'a Plane,
    label: PreviewLabel,
    host: &'a str,
    nonce: String,
}

/// Answers a request whose host is `LABEL.` and the preview domain.
pub async fn answer(plane: &Plane, label: &str, host: &str, request: Request) -> Response {
    let label = match PreviewLabel::parse(label) {
        Some(Ok(label)) => label,
        Some(Err(error @ PortError::NotAPort(_))) => {
            return plain(plane, StatusCode::NOT_FOUND, "There is no such port", &error.to_string());
        }
        Some(Err(error @ PortError::Reserved(_))) => {
            return plain(plane, StatusCode::FORBIDDEN, "This port has no preview", &error.to_string());
        }
        None => {
            let says =
                "A preview's address begins with a port and the name of a sandbox, such as 3000--tidewater-agentruntime-abc123.";
            return plain(plane, StatusCode::NOT_FOUND, "There is no such preview", says);
        }
    };
    let visit = Visit { plane, label, host, nonce: security::nonce() };
    let response = match (request.method(), request.uri().path()) {
        (&Method::POST, "/.fsa/enter") => visit.enter(request).await,
        (&Method::GET, "/.fsa/share") => Ok(visit.link()),
        (&Method::POST, "/.fsa/share") => visit.enter_by_link(request).await,
        (&Method::GET, "/.fsa/status") => visit.status(request.headers()).await,
        (_, path) if path == "/.fsa" || path.starts_with("/.fsa/") => Err(Face::nothing_here()),
        _ => visit.pass(request).await,
    };
    response.unwrap_or_else(|face| visit.show(face))
}

impl Visit<'_> {
    fn port(&self) -> u16 {
        self.label.port.get()
    }

    /// The preview's own origin, as the browser sees it.
    fn origin(&self) -> String {
        let scheme = self.plane.addresses.preview.as_ref().map_or("http", |domain| &domain.scheme);
        format!("{scheme}://{}", self.host)
    }

    fn secure(&self) -> bool {
        self.origin().starts_with("https://")
    }

    /// `POST /.fsa/enter`: from a page of the app alone.
    async fn enter(&self, request: Request) -> Result<Response, Face> {
        let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
        let port = security::port_of(self.host);
        // The app behind the same port as this preview: a tunnel may have given both another.
        let beside = self.plane.origins.single_machine().then(|| format!("localhost{port}"));
        if origin.is_some_and(|origin| !self.plane.origins.is_app(&origin, beside.as_deref().unwrap_or_default())) {
            return Err(Face::foreign());
        }
        let framed = request.headers().get("sec-fetch-dest").is_some_and(|dest| dest == "iframe");
        let form = super::body::read(request).await.map_err(|_| Face::bad_code())?;
        let code = form_field(&form, "code").ok_or_else(Face::bad_code)?;
        let used = self.plane.accounts.use_preview_code(&code, &self.label.name, self.port(), self.plane.now());
        let secret = patient(used).await.map_err(|error| Face::of(&store_error(error)))?.ok_or_else(Face::bad_code)?;
        let cookie = cookie::set(&secret, self.secure(), framed);
        let next = form_field(&form, "next").filter(|next| is_path(next)).unwrap_or_else(|| "/".to_owned());
        let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, next), (header::CACHE_CONTROL, "no-store".to_owned())];
        Ok((StatusCode::SEE_OTHER, headers).into_response())
    }

    /// `GET /.fsa/share`: what a public link leads to. Opening it changes nothing.
    fn link(&self) -> Response {
        let body = "<p id=\"said\" role=\"status\">One moment.</p><noscript><p>This page needs JavaScript.</p></noscript>";
        let page = page_of("Opening the preview", body, Some((&self.nonce, &page::entering())));
        ours(self.plane, page.into_response(), &self.nonce)
    }

    /// `POST /.fsa/share` with the link's secret: from this preview's own page alone.
    async fn enter_by_link(&self, request: Request) -> Result<Response, Face> {
        let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        if origin.is_some_and(|origin| !origin.eq_ignore_ascii_case(&self.origin())) {
            return Err(Face::foreign());
        }
        let secret = super::body::read(request).await.map_err(|_| Face::link_over(LinkUse::Unknown))?;
        let secret = String::from_utf8_lossy(&secret).into_owned();
        match self.opens(&secret).await? {
            LinkUse::Open { expires_at, .. } => {
                let left = u64::try_from(expires_at.duration_since(self.plane.now()).as_secs()).unwrap_or(0).max(1);
                let cookie = cookie::set_shared(&secret, self.secure(), left);
                Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())])
                    .into_response())
            }
            over => Err(Face::link_over(over)),
        }
    }

    /// What a public link's secret opens of this preview.
    async fn opens(&self, secret: &str) -> Result<LinkUse, Face> {
        let link = self.plane.accounts.link(secret, &self.label.name, self.port(), self.plane.now());
        patient(link).await.map_err(|error| Face::of(&store_error(error)))
    }

    /// `GET /.fsa/status`: whether loading the page again will show something else.
    async fn status(&self, headers: &HeaderMap) -> Result<Response, Face> {
        let (sandbox, _) = self.admit(headers).await?;
        let listening = forward::connect(self.plane, sandbox, self.port()).await.is_ok();
        let headers = [(header::CACHE_CONTROL, "no-store")];
        Ok((headers, axum::Json(serde_json::json!({ "listening": listening }))).into_response())
    }

    /// Everything else goes to the app.
    async fn pass(&self, request: Request) -> Result<Response, Face> {
        let (sandbox, credential) = self.admit(request.headers()).await?;
        if is_websocket(request.headers()) {
            let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
            if origin.is_none_or(|origin| !origin.eq_ignore_ascii_case(&self.origin())) {
                return Err(Face::foreign());
            }
        }
        let io = forward::connect(self.plane, sandbox, self.port()).await.map_err(|error| match error {
            ConnectError::NotRunning => Face::not_running(),
            ConnectError::NobodyListens(port) => Face::nobody_listens(port),
            ConnectError::Io(error) => {
                debug!(sandbox.id = %sandbox, "cannot connect to a port: {error:#}");
                Face::unreachable()
            }
        })?;
        let from = request.extensions().get::<ClientAddress>().copied();
        let way =
            forward::Way { port: self.port(), host: self.host, origin: &self.origin(), app: &self.plane.origins.public(), from };
        let by_link = matches!(credential, Credential::Link { .. });
        let held = self.plane.watch.hold(credential);
        let lease = forward::Lease { held, stop: self.plane.stop.clone() };
        forward::forward(io, request, &way, &lease).await.map_err(|broken| match broken {
            forward::Broken::App(error) => {
                debug!(sandbox.id = %sandbox, "the app inside did not answer: {error:#}");
                Face::died(self.port())
            }
            forward::Broken::Over if self.plane.stop.is_cancelled() => Face::unreachable(),
            forward::Broken::Over if by_link => Face::link_over(LinkUse::Revoked),
            forward::Broken::Over => self.signed_out(),
        })
    }

    /// Whether the visitor may see this preview: the sandbox and what opens it, if so. Who may not is not told
    /// whether it exists, unless they have a link that did open it.
    async fn admit(&self, headers: &HeaderMap) -> Result<(SandboxId, Credential), Face> {
        let (sandbox, port) = (self.label.name.clone(), self.port());
        for secret in cookie::all(headers, self.secure()) {
            let found = match remembered(&secret, &self.label) {
                Some(found) => Some(found),
                None => {
                    let visitor = self.plane.accounts.preview_visitor(&secret, &self.label.name, port, self.plane.now());
                    patient(visitor).await.map_err(|error| Face::of(&store_error(error)))?.map(|visitor| visitor.sandbox)
                }
            };
            if let Some(found) = found {
                remember(&secret, &self.label, found);
                return Ok((found, Credential::Preview { cookie: secret, sandbox, port }));
            }
        }
        let Some(secret) = cookie::shared(headers, self.secure()) else { return Err(self.signed_out()) };
        let found = match remembered(&secret, &self.label) {
            Some(found) => found,
            None => match self.opens(&secret).await? {
                LinkUse::Open { sandbox, .. } => sandbox,
                LinkUse::Unknown => return Err(self.signed_out()),
                over => return Err(Face::link_over(over)),
            },
        };
        remember(&secret, &self.label, found);
        Ok((found, Credential::Link { secret, sandbox, port }))
    }

    fn signed_out(&self) -> Face {
        Face::signed_out(&self.plane.origins.public(), self.label.name.as_str(), self.port())
    }

    fn show(&self, face: Face) -> Response {
        let script = face.waits.then(waiting);
        let script = script.as_deref().map(|script| (self.nonce.as_str(), script));
        let response = (face.status, page_of(&face.title, &face.body, script)).into_response();
        ours(self.plane, response, &self.nonce)
    }
}

/// A page of ours without a script.
fn plain(plane: &Plane, status: StatusCode, title: &str, says: &str) -> Response {
    let body = format!("<p>{}</p>", page::escape(says));
    ours(plane, (status, page_of(title, &body, None)).into_response(), "")
}

/// Headers of our own pages on a preview's host.
fn ours(plane: &Plane, mut response: Response, nonce: &str) -> Response {
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors {}",
        plane.origins.public()
    );
    let headers = response.headers_mut();
    match HeaderValue::from_str(&policy) {
        Ok(policy) => drop(headers.insert(header::CONTENT_SECURITY_POLICY, policy)),
        Err(error) => error!("a policy is no header: {error}"),
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.map(Body::new)
}

fn form_field(form: &[u8], name: &str) -> Option<String> {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(form).ok()?;
    fields.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// A path on this very host: `//evil.example` and `/\evil.example` are other hosts to a browser.
#[must_use]
pub fn is_path(next: &str) -> bool {
    let mut chars = next.chars();
    chars.next() == Some('/') && !matches!(chars.next(), Some('/' | '\\')) && !next.chars().any(char::is_control)
}

/// Who was let in lately, by cookie and preview.
static REMEMBERED: LazyLock<Mutex<HashMap<Visitor, (SandboxId, Instant)>>> = LazyLock::new(Mutex::default);

/// By the secret of the cookie, and for which preview.
type Visitor = (String, PreviewLabel);

fn remembered(secret: &str, label: &PreviewLabel) -> Option<SandboxId> {
    let all = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(&(secret.to_owned(), label.clone())).filter(|(_, at)| at.elapsed() < REMEMBER).map(|(sandbox, _)| *sandbox)
}

/// From its first look on: who is remembered is not so for longer by coming again.
fn remember(secret: &str, label: &PreviewLabel, sandbox: SandboxId) {
    let mut all = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, (_, at)| at.elapsed() < REMEMBER);
    all.entry((secret.to_owned(), label.clone())).or_insert_with(|| (sandbox, Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_leads_on() {
        for path in ["/", "/projects/a?b=c#d", "/open/x/3000", "/a//b", "/a?next=https://x"] {
            assert!(is_path(path), "{path}");
        }
        for other in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "a",
            "/\t/evil.example",
            "/\n",
        ] {
            assert!(!is_path(other), "{other:?}");
        }
    }
}
