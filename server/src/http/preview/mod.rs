//! Previews: a host name a port, proxied to that port in the sandbox.
//!
//! ```text
//!   PORT--NAME.localhost:4000
//!     POST /.fsa/enter   code ─▶ this host's own cookie            (posted by a page of the app)
//!     GET  /.fsa/share   the page of a public link, which posts what stands behind its `#`
//!     POST /.fsa/share   secret ─▶ a cookie that is the link's      (from this very page)
//!     GET  /.fsa/status  does anybody listen, else what is shown?  (asked by our waiting pages)
//!     GET  /.fsa/here    nothing at all                            (asked by a page of the app: does this browser get here?)
//!     everything else    ─ cookie? ─▶ Orchestrator::connect(port) ─▶ the app, HTTP/1.1 or WebSocket
//! ```
//!
//! Where such names do not work, the server listens on a port for each preview, all of one host (`--preview-listen`),
//! and everything else is the same ([`answer_at`]). Cookies know no ports: [`cookie::Jar`] keeps them apart, and what
//! another preview's page asks gets nothing.
//!
//! The cookie is this host's alone, opens this port of this sandbox and nothing else, and never reaches
//! the app inside. What the app answers is passed on as it is, but for what would let it frame, set or
//! read what is ours. What stays open (a WebSocket, a stream, an upload) ends within a second of the
//! session or token behind the cookie.

pub mod cookie;
pub(super) mod forward;
pub mod headers;
pub mod page;

use super::{
    auth::watch::Credential,
    ingress,
    patience::patient,
    security::{self, ClientAddress, is_websocket, name_of},
    state::Plane,
};
use crate::control::store_error;
use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use cookie::Jar;
use engine::{
    orchestrator::ConnectError,
    store::accounts::{ports::PreviewAt, shares::LinkUse},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::{
    ResourceName, SandboxId,
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
///
/// Not until a change is told of, as sandboxes' are: a connection that listens and was lost is noticed after twenty seconds
/// (`engine/src/store/postgres/change.rs`), and sessions, tokens and shares also end by time alone.
const REMEMBER: Duration = Duration::from_millis(500);

/// How much longer a browser keeps a public link's cookie than the link opens anything: whoever still has the preview before
/// them the day after is told that the link is over. Without it they would be asked to sign in, which they cannot.
const SAYS_WHY: Duration = Duration::from_hours(24);

/// One request to one preview.
struct Visit<'a> {
    plane: &'a Plane,
    label: PreviewLabel,
    host: &'a str,
    nonce: String,
    jar: Jar,
}

/// The port on which a request came that is a preview's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviewListener(pub u16);

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
    let jar = Jar::of_host(secure(plane));
    let visit = Visit { plane, label, host, nonce: security::nonce(), jar };
    let reads = *request.method() == Method::GET;
    if !is_entrance(&request) && from_another_sandbox(plane, request.headers(), reads, &visit.label.name) {
        return visit.show(Face::foreign());
    }
    visit.answer(request).await
}

/// Whether it is of ours, and says itself whose page may ask.
fn is_entrance(request: &Request) -> bool {
    matches!(request.uri().path(), "/.fsa/enter" | "/.fsa/share" | "/.fsa/here")
}

/// Whether a page of another sandbox asks, a preview or at its Ingress: hosts below one domain are of one site, so browsers send a
/// cookie that is `Lax` along. The app, other ports of the same sandbox and other hosts may, and a link may be followed from
/// anywhere (`reads`: by GET). What is of the same site and does not tell from where (a page can have its browser say nothing) may
/// be another sandbox's. A browser that does not say of which site it asks says where it comes from, if anything.
pub(super) fn from_another_sandbox(plane: &Plane, headers: &HeaderMap, reads: bool, own: &ResourceName) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_others = |url: &str| {
        let label = plane.origins.preview_label(url).and_then(|label| PreviewLabel::parse(&label)?.ok());
        let at = || ingress::sandbox_at(plane.addresses.ingress.as_ref()?, url);
        label.map(|label| label.name).or_else(at).is_some_and(|name| name != *own)
    };
    if let Some(origin) = header("origin").filter(|origin| *origin != "null") {
        return is_others(origin);
    }
    match header("sec-fetch-site") {
        Some(site) => {
            let link = reads && header("sec-fetch-mode") == Some("navigate");
            site == "same-site" && !link && header("referer").is_none_or(is_others)
        }
        None => !(reads && wants_page(headers)) && header("referer").is_some_and(is_others),
    }
}

/// Whether an older browser, or one that does not trust a host for want of TLS, follows a link: it wants a page before all else.
fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|kinds| kinds.as_bytes().starts_with(b"text/html"))
}

/// Answers a request that came on a port which is a preview's address.
pub async fn answer_at(plane: &Plane, PreviewListener(address): PreviewListener, host: &str, request: Request) -> Response {
    let label = match label_at(plane, address).await {
        Ok(Some(label)) => label,
        Ok(None) => {
            let says = "No preview has this address now. Open one from its project's page.";
            return plain(plane, StatusCode::NOT_FOUND, "There is no such preview", says);
        }
        Err(face) => return plain(plane, face.status, &face.title, "Load this page again in a moment."),
    };
    let jar = Jar::of_port(secure(plane), address, &label.to_string());
    let visit = Visit { plane, label, host, nonce: security::nonce(), jar };
    if !is_entrance(&request) && from_another_page(&request, &visit.origin()) {
        return visit.show(Face::foreign());
    }
    // It would stay in the browser when the port is another preview's.
    if request.headers().contains_key("service-worker") {
        return visit.show(Face::no_service_worker());
    }
    visit.answer(request).await
}

/// Whether another page than the preview's own asks: pages of other ports of a host are of the same site, so browsers
/// send all cookies along. A link to it is none.
fn from_another_page(request: &Request, own: &str) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let link = *request.method() == Method::GET
        && header("sec-fetch-mode") == Some("navigate")
        && header("sec-fetch-dest") == Some("document");
    match header("sec-fetch-site") {
        Some(site) => site == "same-site" && !link,
        // An older browser, a program, or a host that browsers do not trust for want of TLS.
        None => match header("origin") {
            Some(origin) => !origin.eq_ignore_ascii_case(own),
            None => {
                let link = *request.method() == Method::GET && wants_page(request.headers());
                !link && header("referer").is_some_and(|url| is_beside(url, own))
            }
        },
    }
}

/// Whether an address is of another port of an origin's host.
fn is_beside(url: &str, origin: &str) -> bool {
    let own = origin.split_once("://").map_or(origin, |(_, host)| host);
    let at = url.parse::<http::Uri>().ok().and_then(|url| url.into_parts().authority);
    at.is_some_and(|at| {
        let other = at.as_str();
        name_of(other).eq_ignore_ascii_case(name_of(own)) && !other.eq_ignore_ascii_case(own)
    })
}

/// What has that address; looked up at most twice a second.
async fn label_at(plane: &Plane, address: u16) -> Result<Option<PreviewLabel>, Face> {
    let known = |plane: &Plane| {
        let known = plane.preview_labels.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&address).filter(|(_, at)| at.elapsed() < REMEMBER).map(|(label, _)| label.clone())
    };
    if let Some(label) = known(plane) {
        return Ok(Some(label));
    }
    let found = patient(plane.accounts.preview_at(address)).await.map_err(|error| Face::of(&store_error(error)))?;
    let label = found.and_then(|PreviewAt { name, port }| Some(PreviewLabel { port: port.to_string().parse().ok()?, name }));
    if let Some(label) = &label {
        let mut known = plane.preview_labels.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(address, (label.clone(), Instant::now()));
    }
    Ok(label)
}

fn secure(plane: &Plane) -> bool {
    plane.addresses.preview_scheme() == "https"
}

impl Visit<'_> {
    async fn answer(&self, request: Request) -> Response {
        let response = match (request.method(), request.uri().path()) {
            (&Method::POST, "/.fsa/enter") => self.enter(request).await,
            (&Method::GET, "/.fsa/share") => Ok(self.link()),
            (&Method::POST, "/.fsa/share") => self.enter_by_link(request).await,
            (&Method::GET, "/.fsa/status") => self.status(request.headers()).await,
            (&Method::GET, "/.fsa/here") => Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response()),
            (_, path) if path == "/.fsa" || path.starts_with("/.fsa/") => Err(Face::nothing_here()),
            _ => self.pass(request).await,
        };
        response.unwrap_or_else(|face| self.show(face))
    }

    fn port(&self) -> u16 {
        self.label.port.get()
    }

    /// The preview's own origin, as the browser sees it.
    fn origin(&self) -> String {
        format!("{}://{}", self.plane.addresses.preview_scheme(), self.host)
    }

    /// Lets a visitor in with a cookie; what another preview left in the browser at this address goes.
    fn let_in(&self, response: impl IntoResponse, cookie: &str, asked: &HeaderMap, framed: bool) -> Response {
        let mut response = response.into_response();
        let mark = self.jar.first_seen(asked, framed);
        let headers = response.headers_mut();
        for cookie in [Some(cookie), mark.as_deref()].into_iter().flatten() {
            if let Ok(cookie) = HeaderValue::from_str(cookie) {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        if mark.is_some() {
            headers.insert("clear-site-data", HeaderValue::from_static("\"cache\", \"storage\""));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// `POST /.fsa/enter`: from a page of the app alone.
    async fn enter(&self, request: Request) -> Result<Response, Face> {
        let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
        let asked = request.headers().clone();
        // The app behind the same port as this preview: a tunnel may have given both another. Where the preview has a port
        // of its own, any: the code is what opens it.
        let port = match self.plane.addresses.preview_ports {
            None => security::port_of(self.host),
            Some(_) => origin
                .as_deref()
                .and_then(|origin| origin.split_once("://"))
                .map_or_else(String::new, |(_, at)| security::port_of(at)),
        };
        let beside = self.plane.origins.single_machine().then(|| format!("localhost{port}"));
        if origin.is_some_and(|origin| !self.plane.origins.is_app(&origin, beside.as_deref().unwrap_or_default())) {
            return Err(Face::foreign());
        }
        let framed = request.headers().get("sec-fetch-dest").is_some_and(|dest| dest == "iframe");
        let form = super::body::read(request).await.map_err(|_| Face::bad_code())?;
        let code = form_field(&form, "code").ok_or_else(Face::bad_code)?;
        let used = self.plane.accounts.use_preview_code(&code, &self.label.name, self.port(), self.plane.now());
        let secret = patient(used).await.map_err(|error| Face::of(&store_error(error)))?.ok_or_else(Face::bad_code)?;
        let next = form_field(&form, "next").filter(|next| is_path(next)).unwrap_or_else(|| "/".to_owned());
        let response = (StatusCode::SEE_OTHER, [(header::LOCATION, next)]);
        Ok(self.let_in(response, &self.jar.set(&secret, framed), &asked, framed))
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
        let asked = request.headers().clone();
        let secret = super::body::read(request).await.map_err(|_| Face::link_over(LinkUse::Unknown))?;
        let secret = String::from_utf8_lossy(&secret).into_owned();
        match self.opens(&secret).await? {
            LinkUse::Open { expires_at, .. } => {
                let left = u64::try_from(expires_at.duration_since(self.plane.now()).as_secs()).unwrap_or(0);
                let cookie = self.jar.set_shared(&secret, left + SAYS_WHY.as_secs());
                Ok(self.let_in(StatusCode::NO_CONTENT, &cookie, &asked, false))
            }
            over => Err(Face::link_over(over)),
        }
    }

    /// What a public link's secret opens of this preview.
    async fn opens(&self, secret: &str) -> Result<LinkUse, Face> {
        let link = self.plane.accounts.link(secret, &self.label.name, self.port(), self.plane.now());
        patient(link).await.map_err(|error| Face::of(&store_error(error)))
    }

    /// `GET /.fsa/status`: whether loading the page again will show something else: the app, or a page of ours with the
    /// title `shown`.
    async fn status(&self, headers: &HeaderMap) -> Result<Response, Face> {
        let (sandbox, _) = self.admit(headers).await?;
        let shown = forward::connect(self.plane, sandbox, self.port()).await.err().map(|error| no_way(sandbox, &error).title);
        let headers = [(header::CACHE_CONTROL, "no-store")];
        Ok((headers, axum::Json(serde_json::json!({ "listening": shown.is_none(), "shown": shown }))).into_response())
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
        let from = request.extensions().get::<ClientAddress>().copied();
        let way = headers::Way {
            port: self.port(),
            host: self.host,
            origin: &self.origin(),
            app: &self.plane.origins.public(),
            from,
            jar: &self.jar,
        };
        let link = match &credential {
            Credential::Link { secret, .. } => Some(secret.clone()),
            _ => None,
        };
        let held = self.plane.watch.hold(credential);
        let lease = forward::Lease { held, stop: self.plane.stop.clone() };
        match forward::forward(self.plane, sandbox, request, &way, &lease).await {
            Ok(response) => Ok(response),
            Err(forward::Broken::Way(error)) => Err(no_way(sandbox, &error)),
            Err(forward::Broken::App(error)) => {
                debug!(sandbox.id = %sandbox, "the app inside did not answer: {error:#}");
                Err(Face::died(self.port()))
            }
            Err(forward::Broken::Over) if self.plane.stop.is_cancelled() => Err(Face::unreachable()),
            Err(forward::Broken::Over) => match link {
                Some(secret) => Err(Face::link_over(self.opens(&secret).await?)),
                None => Err(self.signed_out()),
            },
        }
    }

    /// Whether the visitor may see this preview: the sandbox and what opens it, if so. Who may not is not told
    /// whether it exists, unless they have a link that did open it.
    async fn admit(&self, headers: &HeaderMap) -> Result<(SandboxId, Credential), Face> {
        let (sandbox, port) = (self.label.name.clone(), self.port());
        for secret in self.jar.all(headers) {
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
        let Some(secret) = self.jar.shared(headers) else { return Err(self.signed_out()) };
        let found = match remembered(&secret, &self.label) {
            Some(found) => found,
            None => match self.opens(&secret).await? {
                LinkUse::Open { sandbox, .. } => sandbox,
                LinkUse::Unknown => return Err(self.signed_out()),
                // Who was let in otherwise as well may come in by that way again.
                LinkUse::Revoked | LinkUse::Expired if !self.jar.all(headers).is_empty() => return Err(self.signed_out()),
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

/// What is shown where there is no way to the app.
fn no_way(sandbox: SandboxId, error: &ConnectError) -> Face {
    match error {
        ConnectError::NotRunning => Face::not_running(),
        ConnectError::NobodyListens(port) => Face::nobody_listens(*port),
        ConnectError::Refused(_) | ConnectError::Io(_) => {
            debug!(sandbox.id = %sandbox, "cannot connect to a port: {error:?}");
            Face::unreachable()
        }
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
