//! What Ingresses of sandboxes ask, on a cluster: who comes to an application or a terminal that is
//! reached without this server between.
//!
//! ```text
//!   browser ─▶ NAME.DOMAIN, nginx ──▶ GET /ingress/auth?of=NAME    cookie of that host? 200, else 401
//!        ◀── 302, auth-signin ────┘
//!   browser ─▶ GET  /ingress/sign-in?rd=URL  here, with the session: a page that posts
//!           ─▶ POST /ingress/sign-in         a single-use code, and back to URL?fsa-code=CODE
//!   browser ─▶ URL?fsa-code=CODE, nginx ──▶ GET /ingress/auth?of=NAME    uses the code up, 200 with the cookie
//! ```
//!
//! What the owner shares of port 3000 holds at the application's host as at its preview: everybody who is signed in comes
//! as above, and who has a public link by a page of ours. A terminal's host is its owner's alone, whatever is shared.
//!
//! ```text
//!   browser ─▶ GET  /ingress/share?rd=URL#SECRET  here, with nobody signed in: a page that posts the secret
//!           ─▶ POST /ingress/share?rd=URL         a single-use code, and on to URL?fsa-code=CODE
//! ```
//!
//! The cookie is that host's alone, opens that port of that sandbox and nothing else, and is over with the
//! session, the share or the link that it came from. It is the application's own host, so the application
//! sees its cookie, as it sees who talks to it anyway. For the terminal the answer brings the agent's token,
//! which nginx puts on the request: no browser ever has it.

use super::{
    auth::{visit::Visit, watch::Credential},
    errors::Refusal,
    limits::{neighbourhood_of, too_many},
    patience::patient,
    preview::{
        cookie::Jar,
        from_another_sandbox, is_path,
        page::{Face, escape, page_of},
    },
    security::{ClientAddress, Nonce},
    state::{Caller, Plane},
};
use crate::{control::store_error, views::IngressDomain};
use app::error::ControlError;
use axum::{
    Extension, Json,
    extract::{Query, Request, State},
    response::{IntoResponse as _, Redirect, Response},
};
use engine::store::accounts::{
    previews::{Opener, PreviewVisitor},
    shares::LinkUse,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use model::{
    ResourceName,
    port::APPLICATION,
    view::{Scope, Viewer},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::net::IpAddr;

/// The parameter that brings a code back.
const CODE: &str = "fsa-code";
/// The application's port, and the terminal's.
const PORTS: [(&str, u16); 2] = [("-terminal", 7681), ("", APPLICATION)];

/// One Ingress's host: of which sandbox, and to which port it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: ResourceName,
    port: u16,
    /// `https://NAME.DOMAIN`, as the browser sees it.
    origin: String,
}

impl Target {
    fn of(domain: &IngressDomain, host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        let (name, port) = host.split_once(':').map_or((host.as_str(), ""), |(name, port)| (name, port));
        // `NAME.DOMAIN:x@elsewhere` is the host `elsewhere`.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let label = name.strip_suffix(&domain.domain)?.strip_suffix('.')?;
        let origin =
            if port.is_empty() { format!("{}://{name}", domain.scheme) } else { format!("{}://{name}:{port}", domain.scheme) };
        PORTS.iter().find_map(|(suffix, port)| {
            let name = label.strip_suffix(suffix)?.parse().ok()?;
            Some(Self { name, port: *port, origin: origin.clone() })
        })
    }

    /// Whether an Ingress of this name leads here.
    fn is_of(&self, ingress: &str) -> bool {
        PORTS.iter().any(|(suffix, port)| *port == self.port && ingress.strip_suffix(suffix) == Some(self.name.as_str()))
    }

    fn secure(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// Whether it is what the owner may share.
    fn is_application(&self) -> bool {
        self.port == APPLICATION
    }

    /// Where a code for it leads, back to a path. Codes that brought it there before are left out.
    fn with_code(&self, path: &str, code: &SecretString) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(CODE));
        let query: String = others.flat_map(|pair| [pair, "&"]).collect();
        format!("{}{path}?{query}{CODE}={}", self.origin, code.expose_secret())
    }
}

/// Which Ingress asks.
#[derive(Debug, Deserialize)]
pub struct Asking {
    #[serde(default)]
    of: String,
}

/// `GET /ingress/auth?of=NAME`, from the ingress controller alone: `X-Original-URL` is what the browser asked for,
/// and its headers come along. 200 lets it pass, with `Authorization` for the terminal; 401 sends it to
/// sign in; 403 is for a page of somebody else's, and for an Ingress that asks for another one's host: nginx chooses it by
/// the request line (`GET https://VICTIM/`), and tells us of `Host`, which a browser never lets differ. 429, of which nginx makes
/// 500, is for an address that is refused too often; who is let in is not counted.
pub async fn auth(State(plane): State<Plane>, Query(asking): Query<Asking>, request: Request) -> Response {
    // The ingress controller comes by the Service's name: what comes by the app's is a browser's, or somebody's
    // who would have the agent's token.
    let by_app = super::security::host_of(&request).is_none_or(|host| plane.origins.is_public_name(&host));
    let Some(domain) = plane.addresses.ingress.as_ref().filter(|_| !by_app) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let headers = request.headers();
    let original = headers.get("x-original-url").and_then(|url| url.to_str().ok()).and_then(|url| url.parse::<Uri>().ok());
    let target = original.as_ref().and_then(|url| Target::of(domain, url.authority()?.as_str()));
    let refused = match (original, target) {
        (Some(original), Some(target)) if target.is_of(&asking.of) && own_page(&plane, headers, &target) => {
            match admit(&plane, headers, &original, &target).await {
                Ok(Some(answer)) => return answer,
                Ok(None) => StatusCode::UNAUTHORIZED,
                // nginx answers 500 for it, and says so in its log.
                Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
        _ => StatusCode::FORBIDDEN,
    };
    match plane.admit(Caller::AtIngress(visitor(&plane, &request))) {
        Ok(()) => refused.into_response(),
        Err(wait) => too_many("requests", wait).into_response(),
    }
}

/// For whom the controller asks: as `X-Forwarded-For` says it, else `X-Real-IP`, each of a proxy that the operator named alone.
fn visitor(plane: &Plane, request: &Request) -> IpAddr {
    let from = request.extensions().get::<ClientAddress>();
    let real = request.headers().get("x-real-ip").and_then(|from| from.to_str().ok()?.parse().ok()).map(ClientAddress);
    let real = real.filter(|_| from.is_some_and(|from| plane.origins.is_proxy(from.0)));
    neighbourhood_of(real.as_ref().or(from))
}

/// Whether no page of another sandbox asks, by what the browser says, which nginx passes on. A link may be followed from anywhere.
fn own_page(plane: &Plane, headers: &HeaderMap, target: &Target) -> bool {
    // The question itself is always a GET.
    let reads = headers.get("x-original-method").is_none_or(|method| method.as_bytes() == b"GET");
    own_socket(headers, target) && !from_another_sandbox(plane, headers, reads, &target.name)
}

/// The sandbox whose application or terminal has an address, if that is below the domain of Ingresses.
pub(super) fn sandbox_at(domain: &IngressDomain, url: &str) -> Option<ResourceName> {
    let url: Uri = url.parse().ok()?;
    Some(Target::of(domain, url.authority()?.as_str())?.name)
}

/// A WebSocket is opened by a page of the same host alone. (nginx keeps `Upgrade` to itself and passes on
/// the key.)
fn own_socket(headers: &HeaderMap, target: &Target) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    !headers.contains_key(header::SEC_WEBSOCKET_KEY) || origin.is_some_and(|origin| origin.eq_ignore_ascii_case(&target.origin))
}

async fn admit(plane: &Plane, headers: &HeaderMap, original: &Uri, target: &Target) -> Result<Option<Response>, ControlError> {
    let (accounts, now, jar) = (&plane.accounts, plane.now(), Jar::of_host(target.secure()));
    // First what works once, so that none goes on to the application unused.
    let query: Vec<(String, String)> = serde_urlencoded::from_str(original.query().unwrap_or_default()).unwrap_or_default();
    if let Some((_, code)) = query.into_iter().rfind(|(key, _)| key == CODE)
        && let Some(answer) = admit_by_code(plane, &code, target).await?
    {
        return Ok(Some(answer));
    }
    for secret in jar.all(headers) {
        let visitor = accounts.preview_visitor(&secret, &target.name, target.port, now);
        let visitor = patient(visitor).await.map_err(store_error)?;
        if let Some(visitor) = visitor {
            return pass(plane, &visitor, target).await;
        }
    }
    if let Some(secret) = jar.shared(headers).filter(|_| target.is_application())
        && patient(accounts.is_guest(&secret, &target.name, target.port, now)).await.map_err(store_error)?
    {
        return Ok(Some(StatusCode::OK.into_response()));
    }
    Ok(None)
}

/// Who comes back with a code has a cookie from then on. `None`: the code opens nothing, or does no more.
async fn admit_by_code(plane: &Plane, code: &str, target: &Target) -> Result<Option<Response>, ControlError> {
    let (accounts, now) = (&plane.accounts, plane.now());
    let used = patient(accounts.use_preview_code(code, &target.name, target.port, now)).await.map_err(store_error)?;
    let Some(secret) = used else { return admit_guest(plane, code, target).await };
    let visitor = accounts.preview_visitor(secret.expose_secret(), &target.name, target.port, now);
    let Some(visitor) = patient(visitor).await.map_err(store_error)? else { return Ok(None) };
    let answer = pass(plane, &visitor, target).await?;
    Ok(answer.map(|answer| with_cookie(answer, &Jar::of_host(target.secure()).set(&secret, false))))
}

/// Who has a link comes in by a code of their own, to an application alone.
async fn admit_guest(plane: &Plane, code: &str, target: &Target) -> Result<Option<Response>, ControlError> {
    if !target.is_application() {
        return Ok(None);
    }
    let now = plane.now();
    let used = patient(plane.accounts.use_guest_code(code, &target.name, target.port, now)).await.map_err(store_error)?;
    Ok(used.map(|(secret, expires_at)| {
        let left = u64::try_from(expires_at.duration_since(now).as_secs()).unwrap_or(0).max(1);
        let cookie = Jar::of_host(target.secure()).set_shared(secret.expose_secret(), left);
        with_cookie(StatusCode::OK.into_response(), &cookie)
    }))
}

fn with_cookie(mut answer: Response, cookie: &str) -> Response {
    if let Ok(set) = HeaderValue::from_str(cookie) {
        answer.headers_mut().append(header::SET_COOKIE, set);
    }
    answer
}

/// Lets a visitor through, to a terminal with its agent's token, and there its owner alone.
async fn pass(plane: &Plane, visitor: &PreviewVisitor, target: &Target) -> Result<Option<Response>, ControlError> {
    if target.is_application() {
        return Ok(Some(StatusCode::OK.into_response()));
    }
    let row = plane.store.by_name(visitor.user, &target.name).await.map_err(store_error)?;
    Ok(row.map(|row| {
        let mut answer = StatusCode::OK.into_response();
        if let Ok(mut token) = HeaderValue::from_str(&format!("Bearer {}", row.sandbox.agent_token.expose_secret())) {
            token.set_sensitive(true);
            answer.headers_mut().insert(header::AUTHORIZATION, token);
        }
        answer
    }))
}

/// Where a browser wants to go back to.
#[derive(Debug, Deserialize)]
pub struct Wish {
    #[serde(default)]
    rd: String,
}

impl Wish {
    /// The host, and the path on it.
    fn target(&self, plane: &Plane) -> Option<(Target, String)> {
        let url: Uri = self.rd.parse().ok()?;
        let target = Target::of(plane.addresses.ingress.as_ref()?, url.authority()?.as_str())?;
        let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        (url.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https")) && is_path(path))
            .then(|| (target, path.to_owned()))
    }
}

/// `GET /ingress/sign-in?rd=URL`: a page that asks for the code by itself (a `POST`, so that opening an
/// address changes nothing).
///
/// # Errors
/// `404 Not Found`: `rd` is no sandbox's host.
pub async fn page(
    State(plane): State<Plane>,
    Extension(visit): Extension<Visit>,
    Extension(Nonce(nonce)): Extension<Nonce>,
    Query(wish): Query<Wish>,
) -> Result<Response, Refusal> {
    wish.target(&plane).ok_or_else(ControlError::not_found)?;
    if visit.viewer.is_none() {
        let back = format!("/ingress/sign-in?rd={}", utf8_percent_encode(&wish.rd, NON_ALPHANUMERIC));
        let to = format!("/sign-in?next={}", utf8_percent_encode(&back, NON_ALPHANUMERIC));
        return Ok(Redirect::to(&to).into_response());
    }
    let body = format!(
        "<form method=\"post\" action=\"/ingress/sign-in?rd={}\"><p>Opening {}.</p><p><button>Go on</button></p></form>",
        utf8_percent_encode(&wish.rd, NON_ALPHANUMERIC),
        escape(&wish.rd)
    );
    Ok((StatusCode::OK, page_of("Opening", &body, Some((&nonce, "document.forms[0].submit()")))).into_response())
}

/// `POST /ingress/sign-in?rd=URL`: to the host of the sandbox, with a code that works once.
///
/// # Errors
/// `401 Unauthorized`, `403 Forbidden` (a terminal takes `write`); `404 Not Found`: no sandbox of the
/// visitor's, and no application that is shared with everybody who is signed in.
pub async fn enter(
    State(plane): State<Plane>,
    Extension(visit): Extension<Visit>,
    Query(wish): Query<Wish>,
) -> Result<Response, Refusal> {
    let (target, path) = wish.target(&plane).ok_or_else(ControlError::not_found)?;
    let viewer: Viewer = visit.viewer.ok_or_else(ControlError::signed_out)?;
    if viewer.scope != Scope::Write {
        return Err(crate::control::read_only().into());
    }
    let sandbox = match plane.store.by_name(viewer.user, &target.name).await.map_err(store_error)? {
        Some(row) => row.sandbox.id,
        None if target.is_application() => {
            let shared = plane.accounts.shared_with_users(None, Some(&target.name), target.port, plane.now());
            patient(shared).await.map_err(store_error)?.ok_or_else(ControlError::not_found)?.sandbox
        }
        None => return Err(ControlError::not_found().into()),
    };
    let opener = match visit.credential {
        Some(Credential::Session(id)) => Opener::Session(id),
        Some(Credential::Token(id)) => Opener::Token(id),
        Some(Credential::Preview { .. } | Credential::Link { .. }) | None => return Err(ControlError::signed_out().into()),
    };
    let made = plane.accounts.make_preview_code(viewer.user, opener, sandbox, target.port, plane.now());
    let code = patient(made).await.map_err(store_error)?.ok_or_else(ControlError::not_found)?;
    let to = target.with_code(&path, &code);
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response())
}

/// What the page of a public link does by itself: what stands behind the `#` is sent to nobody but us.
const ENTERING: &str = "fetch(location.pathname+location.search,{method:'POST',body:location.hash.slice(1)}).then(async a=>{\
     if(a.ok)location.replace((await a.json()).url);else document.documentElement.innerHTML=await a.text()})\
     .catch(()=>{document.getElementById('said').textContent='The server does not answer. Load this page again in a moment.'})";

/// `GET /ingress/share?rd=URL`: what a public link to an application's own host leads to. Opening it changes nothing.
///
/// # Errors
/// `404 Not Found`: `rd` is no application's host.
pub async fn link(
    State(plane): State<Plane>,
    Extension(Nonce(nonce)): Extension<Nonce>,
    Query(wish): Query<Wish>,
) -> Result<Response, Refusal> {
    wish.target(&plane).filter(|(target, _)| target.is_application()).ok_or_else(ControlError::not_found)?;
    let body = "<p id=\"said\" role=\"status\">One moment.</p><noscript><p>This page needs JavaScript.</p></noscript>";
    Ok((StatusCode::OK, page_of("Opening the application", body, Some((&nonce, ENTERING)))).into_response())
}

/// `POST /ingress/share?rd=URL` with the link's secret: `{"url"}`, the host with a code that works once. Whoever has the
/// link may, signed in or not.
///
/// # Errors
/// `401 Unauthorized`, as a page: the link is over, or opens nothing there; `404 Not Found`: `rd` is no application's host;
/// `429 Too Many Requests`, by address.
pub async fn enter_by_link(State(plane): State<Plane>, Query(wish): Query<Wish>, request: Request) -> Result<Response, Refusal> {
    let from = neighbourhood_of(request.extensions().get::<ClientAddress>());
    plane.admit(Caller::Unknown(from)).map_err(|wait| too_many("requests", wait))?;
    let wanted = wish.target(&plane).filter(|(target, _)| target.is_application());
    let (target, path) = wanted.ok_or_else(ControlError::not_found)?;
    let secret = super::body::read(request).await?;
    let secret = String::from_utf8_lossy(&secret).into_owned();
    let now = plane.now();
    let code = patient(plane.accounts.make_guest_code(&secret, &target.name, target.port, now)).await.map_err(store_error)?;
    let Some(code) = code else {
        let over = match patient(plane.accounts.link(&secret, &target.name, target.port, now)).await.map_err(store_error)? {
            // Between the two.
            LinkUse::Open { .. } => LinkUse::Revoked,
            over => over,
        };
        let face = Face::link_over(over);
        return Ok((face.status, page_of(&face.title, &face.body, None)).into_response());
    };
    let url = target.with_code(&path, &code);
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(serde_json::json!({ "url": url }))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_leads_to_one_port_of_one_sandbox() {
        let domain = IngressDomain { scheme: "https".into(), domain: "apps.example".into() };
        let of = |host| Target::of(&domain, host).map(|target| (target.name.to_string(), target.port, target.origin));
        let name = "tide-agentruntime-abc123";
        let (application, terminal) = (format!("{name}.apps.example"), format!("{name}-terminal.APPS.example:8443"));
        assert_eq!(of(&application), Some((name.into(), 3000, format!("https://{name}.apps.example"))));
        assert_eq!(of(&terminal), Some((name.into(), 7681, format!("https://{name}-terminal.apps.example:8443"))));
        for other in [
            "apps.example",
            "x.apps.example",
            "tide-agentruntime-abc123.evil.example",
            "a.tide-agentruntime-abc123.apps.example",
            "tide-agentruntime-abc123.apps.example:x@evil.example",
            "tide-agentruntime-abc123-terminal.apps.example:@evil.example",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_host_is_of_one_ingress() {
        let domain = IngressDomain { scheme: "https".into(), domain: "apps.example".into() };
        let name = "tide-agentruntime-abc123";
        let (application, terminal) = (name.to_owned(), format!("{name}-terminal"));
        for (own, other) in [(&application, &terminal), (&terminal, &application)] {
            let target = Target::of(&domain, &format!("{own}.apps.example")).unwrap();
            assert!(target.is_of(own), "{own}");
            for wrong in [other.as_str(), "", "reef-agentruntime-abc123", "-terminal"] {
                assert!(!target.is_of(wrong), "{own}: {wrong}");
            }
        }
    }

    #[test]
    fn a_code_takes_the_place_of_the_one_before() {
        let target = Target { name: "tide-agentruntime-abc123".parse().unwrap(), port: 3000, origin: "https://a.example".into() };
        let code = SecretString::from("new");
        for (path, led) in [
            ("/", "https://a.example/?fsa-code=new"),
            ("/boats?all=1", "https://a.example/boats?all=1&fsa-code=new"),
            ("/?fsa-code=old&a=b&fsa-code=older", "https://a.example/?a=b&fsa-code=new"),
        ] {
            assert_eq!(target.with_code(path, &code), led);
        }
    }

    #[test]
    fn a_socket_is_opened_by_its_own_page() {
        let target = Target { name: "tide-agentruntime-abc123".parse().unwrap(), port: 7681, origin: "https://a.example".into() };
        let asked = |socket: bool, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if socket {
                headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("x"));
            }
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            own_socket(&headers, &target)
        };
        assert!(asked(false, None) && asked(false, Some("https://evil.example")) && asked(true, Some("https://a.example")));
        assert!(!asked(true, None) && !asked(true, Some("https://evil.example")));
    }
}
