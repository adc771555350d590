//! Before anything else: whose address is this, may that page ask, and what is the browser told.
//!
//! - **Host**: only our own names are answered, so that a name of somebody else's that was made to
//!   point here (DNS rebinding) gets nothing.
//! - **Origin**: what changes something, and every WebSocket, must come from our own page or from no
//!   page at all.
//! - **Headers**: content security policy with a nonce, and the rest.

use super::{
    errors::{self, Refusal},
    metrics::{RouteName, route_name},
    preview::{self, PreviewListener},
    state::Plane,
};
use crate::views::{Addresses, PreviewDomain};
use app::error::ErrorKind;
use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sandbox_agent::client;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    time::Instant,
};
use tracing::{Instrument as _, debug, error, info_span};

/// Leads from an answer to the log.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a request comes from, behind trusted proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Whether a request comes from this very machine, by a loopback name and not by a proxy: a page of somebody else's cannot read the
/// answer, and a name of theirs that points here is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromHere(pub bool);

/// The nonce of one answer's scripts.
#[derive(Debug, Clone)]
pub struct Nonce(pub String);

/// A range of addresses: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl std::str::FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address and no range: write 10.0.0.1 or 10.0.0.0/8.");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.trim().parse::<u8>().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl Network {
    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                self.bits == 0 || (own.to_bits() ^ other.to_bits()) >> (32 - u32::from(self.bits)) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                self.bits == 0 || (own.to_bits() ^ other.to_bits()) >> (128 - u32::from(self.bits)) == 0
            }
            _ => false,
        }
    }
}

/// Which hosts and origins are ours.
#[derive(Debug, Clone)]
pub struct Origins {
    /// `http` or `https`.
    scheme: String,
    /// The name in the public URL, without a port.
    host: String,
    /// `host:port` of the public URL, as a browser writes it.
    authority: String,
    preview: Option<PreviewDomain>,
    /// The host of previews that are ports of it.
    preview_host: Option<String>,
    trusted: Vec<Network>,
    page_policy: String,
}

/// Where a request belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    App,
    /// The machine's loopback address instead of its name.
    Loopback,
    /// What stands before the preview domain.
    Preview(String),
    Unknown,
}

impl Origins {
    /// From where browsers reach things. `addresses.public` is a valid origin.
    #[must_use]
    pub fn new(addresses: &Addresses, trusted: Vec<Network>) -> Self {
        let (scheme, authority) = addresses.public.split_once("://").unwrap_or(("http", &addresses.public));
        let preview = addresses.preview.clone();
        let ports = addresses.preview_ports.as_ref();
        let frames = ports.map(|ports| format!("{}://{}:*", ports.scheme, ports.host));
        let frames = frames.or_else(|| preview.as_ref().map(|domain| domain.origin("*")));
        let previews = frames.clone().unwrap_or_default();
        let frames = frames.as_deref().unwrap_or("'none'");
        let ingress =
            addresses.ingress.as_ref().map(|domain| format!("{}://*.{}", domain.scheme, domain.domain)).unwrap_or_default();
        let socket = if scheme == "https" { "wss" } else { "ws" };
        let page_policy = format!(
            "default-src 'none'; script-src 'self' 'nonce-NONCE' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
             img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' {socket}://{authority} {previews}; frame-src {frames}; \
             form-action 'self' {previews} {ingress}; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        Self {
            scheme: scheme.to_owned(),
            host: name_of(authority).to_ascii_lowercase(),
            authority: authority.to_ascii_lowercase(),
            preview,
            preview_host: ports.map(|ports| ports.host.clone()),
            trusted,
            page_policy,
        }
    }

    /// Whether everything is on one machine, under the name `localhost`.
    #[must_use]
    pub fn single_machine(&self) -> bool {
        self.host == "localhost"
    }

    /// `http://localhost:4000`.
    #[must_use]
    pub fn public(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// Whether cookies are to be sent over TLS alone.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether an origin is the app's own, as the browser that sent `host` sees it. A port that an SSH
    /// tunnel chose is as good as ours.
    #[must_use]
    pub fn is_app(&self, origin: &str, host: &str) -> bool {
        let own = |authority: &str| origin.eq_ignore_ascii_case(&format!("{}://{authority}", self.scheme));
        own(&self.authority) || (self.place(host) == Place::App && own(host))
    }

    /// Whether a host is the one whose ports are previews. Behind a tunnel, the port may be another.
    #[must_use]
    pub fn is_preview_host(&self, host: &str) -> bool {
        let name = name_of(host).trim_end_matches('.');
        self.preview_host.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether a host is the name by which browsers reach the app.
    #[must_use]
    pub fn is_public_name(&self, host: &str) -> bool {
        self.place(host) == Place::App
    }

    /// What stands before the preview domain in an origin or address, if it is below that.
    #[must_use]
    pub fn preview_label(&self, url: &str) -> Option<String> {
        match self.place(url.parse::<http::Uri>().ok()?.authority()?.as_str()) {
            Place::Preview(label) => Some(label),
            _ => None,
        }
    }

    fn place(&self, host: &str) -> Place {
        let name = name_of(host).trim_end_matches('.').to_ascii_lowercase();
        if name == self.host {
            return Place::App;
        }
        let label =
            self.preview.as_ref().and_then(|domain| name.strip_suffix(&domain.domain)?.strip_suffix('.').map(str::to_owned));
        if let Some(label) = label {
            return Place::Preview(label);
        }
        let loopback = name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if loopback && self.single_machine() { Place::Loopback } else { Place::Unknown }
    }

    /// Whether an address is a proxy's that the operator named.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut from = peer.to_canonical();
        for hop in headers.get_all("x-forwarded-for").iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
        {
            if !self.is_proxy(from) {
                break;
            }
            // What stands before one that cannot be read, anybody may have written.
            let Some(address) = hop_address(hop) else { break };
            from = address.to_canonical();
        }
        ClientAddress(from)
    }
}

/// The address of a hop in `X-Forwarded-For`, with a port or without: `192.0.2.1:443`, `[2001:db8::1]:443`.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    hop.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))
}

/// A host without its port.
#[must_use]
pub fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

/// What stands behind a host's name: `:4000`, or nothing. The colons of `[::1]` are the name's.
#[must_use]
pub fn port_of(host: &str) -> String {
    let port = host.parse::<http::uri::Authority>().ok().and_then(|authority| authority.port_u16());
    port.map(|port| format!(":{port}")).unwrap_or_default()
}

/// The host that a request names.
#[must_use]
pub fn host_of(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).map(str::to_owned)
}

/// Whether a request asks for a WebSocket.
#[must_use]
pub fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

tokio::task_local! {
    static REQUEST: String;
}

/// The id of the present request, to pass on with what is asked in its name.
#[must_use]
pub fn request_id() -> Option<HeaderValue> {
    REQUEST.try_with(|id| HeaderValue::from_str(id).ok()).ok().flatten()
}

/// Runs a future as part of a request, on whatever task: what it asks of agents carries the request's id.
pub async fn as_request<F: Future>(id: Option<HeaderValue>, future: F) -> F::Output {
    let Some(id) = id else { return future.await };
    let text = id.to_str().unwrap_or_default().to_owned();
    REQUEST.scope(text, client::in_request(id, future)).await
}

/// The id that a request brings, where it is one: up to 64 letters, digits, `.`, `_` and `-`, so that no log
/// is written by whoever asks.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=64).contains(&id.len()) && id.bytes().all(fits)).then(|| id.to_owned())
}

fn is_from_here(peer: Option<IpAddr>, request: &Request) -> bool {
    let host = host_of(request).unwrap_or_default();
    let name = name_of(&host);
    let local = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    peer.is_some_and(|peer| peer.to_canonical().is_loopback()) && local && !is_forwarded(request.headers())
}

/// Whether a proxy passed a request on.
fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name))
}

/// The outermost layer: everything passes here, and nothing that panics behind it ends more than its
/// own request.
pub async fn gate(State(plane): State<Plane>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = given_id(request.headers()).unwrap_or_else(|| plane.request_id());
    let span = info_span!("request", id = %id, method = %request.method(), path = %request.uri().path());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let from = plane.origins.client(peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), request.headers());
    let here = FromHere(is_from_here(peer, &request));
    request.extensions_mut().insert(from);
    request.extensions_mut().insert(here);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let preview = request.extensions().get::<PreviewListener>().is_some()
        || host_of(&request).is_some_and(|host| matches!(plane.origins.place(&host), Place::Preview(_)));
    let kind = if preview { "preview" } else { "app" };
    let request = request.map(|body| plane.metrics.counted(body, kind, "in"));
    let answer = async {
        let response = AssertUnwindSafe(place(&plane, request, next)).catch_unwind().await.unwrap_or_else(|_| {
            error!("a request panicked");
            with_headers(&plane, None, refused(&errors::internal().into()))
        });
        debug!(status = response.status().as_u16(), "answered");
        response
    };
    let response = as_request(HeaderValue::from_str(&id).ok(), answer.instrument(span)).await;
    let route = response
        .extensions()
        .get::<RouteName>()
        .map_or_else(|| if preview { "preview" } else { route_name(&path) }, |route| route.0);
    plane.metrics.answered(route, &method, response.status().as_u16(), began.elapsed());
    let mut response = response.map(|body| plane.metrics.counted(body, kind, "out"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

async fn place(plane: &Plane, request: Request, next: Next) -> Response {
    let origins = &plane.origins;
    // Probes come by address, and learn nothing but that we are here; the ingress controller comes by the
    // Service's name.
    let probe = matches!(request.uri().path(), "/healthz" | "/readyz" | "/ingress/auth")
        || (request.uri().path() == "/metrics" && request.headers().contains_key(header::AUTHORIZATION));
    let host = host_of(&request).unwrap_or_default();
    if let Some(listener) = request.extensions().get::<PreviewListener>().copied() {
        return match origins.is_preview_host(&host) {
            true => preview::answer_at(plane, listener, &host, request).await,
            false => unknown(plane, &host),
        };
    }
    match origins.place(&host) {
        Place::Preview(label) => preview::answer(plane, &label, &host, request).await,
        Place::Loopback if is_page(&request) => {
            let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            // The port that was used is the one that is reachable.
            let port = port_of(&host);
            Redirect::temporary(&format!("{}://{}{port}{path}", origins.scheme, origins.host)).into_response()
        }
        Place::App | Place::Loopback => app(plane, &host, request, next).await,
        Place::Unknown if probe => app(plane, &host, request, next).await,
        Place::Unknown => unknown(plane, &host),
    }
}

fn unknown(plane: &Plane, host: &str) -> Response {
    let host: String = host.chars().filter(|c| !c.is_control()).take(100).collect();
    let message = format!("This server does not answer for the host “{host}”.");
    let public = plane.origins.public();
    let next_step = format!("Open {public}, or start the server with `--public-url` if it has another name.");
    let refusal = Refusal::new(ErrorKind::Malformed, "unknown-host", message, &next_step);
    with_headers(plane, None, refused(&refusal.with_status(StatusCode::MISDIRECTED_REQUEST)))
}

fn is_page(request: &Request) -> bool {
    let path = request.uri().path();
    let ours = ["/api/", "/pkg/", "/healthz", "/readyz", "/metrics", "/ingress/auth"].iter().any(|start| path.starts_with(start));
    matches!(*request.method(), Method::GET | Method::HEAD) && !ours
}

async fn app(plane: &Plane, host: &str, mut request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) || is_websocket(request.headers());
    if changes && !own_origin(&plane.origins, request.headers(), host) {
        let message = "The request comes from a page that is not this server's own.";
        let refusal =
            Refusal::new(ErrorKind::Forbidden, "foreign-origin", message, "Ask from the page itself, or without a browser.");
        return with_headers(plane, None, refused(&refusal));
    }
    let nonce = Nonce(nonce());
    request.extensions_mut().insert(nonce.clone());
    with_headers(plane, Some(&nonce), next.run(request).await)
}

/// No page at all (a program), or our own. Browsers send `Origin` with all that changes something, and
/// `Sec-Fetch-Site` with everything.
fn own_origin(origins: &Origins, headers: &HeaderMap, host: &str) -> bool {
    match headers.get(header::ORIGIN) {
        Some(origin) => origin.to_str().is_ok_and(|origin| {
            let loopback = origins.place(host) == Place::Loopback && origin.eq_ignore_ascii_case(&format!("http://{host}"));
            origins.is_app(origin, host) || loopback
        }),
        None => headers.get("sec-fetch-site").is_none_or(|site| matches!(site.as_bytes(), b"same-origin" | b"none")),
    }
}

/// 128 random bits.
#[must_use]
pub fn nonce() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// A refusal from outside the shaping layer.
fn refused(refusal: &Refusal) -> Response {
    let body = errors::body("answer the request", None, refusal.status(), refusal.error().clone());
    (refusal.status(), axum::Json(body)).into_response()
}

fn with_headers(plane: &Plane, nonce: Option<&Nonce>, mut response: Response<Body>) -> Response {
    let headers = response.headers_mut();
    let page = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let policy = match nonce {
        Some(Nonce(nonce)) if page => plane.origins.page_policy.replace("NONCE", nonce),
        _ => "default-src 'none'; frame-ancestors 'none'".to_owned(),
    };
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.entry(name).or_insert(value);
        }
    };
    put(header::CONTENT_SECURITY_POLICY, &policy);
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::X_FRAME_OPTIONS, "DENY");
    // Stricter ones make browsers send `Origin: null` with the form that opens a preview.
    put(header::REFERRER_POLICY, "strict-origin-when-cross-origin");
    put(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    put(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    put(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=()");
    put(header::CACHE_CONTROL, "no-store");
    if plane.origins.secure() {
        put(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(public: &str, preview: Option<(&str, Option<u16>)>) -> Origins {
        let preview = preview.map(|(domain, port)| PreviewDomain { scheme: "http".into(), domain: domain.into(), port });
        Origins::new(
            &Addresses { public: public.into(), preview, preview_ports: None, ingress: None },
            vec!["10.0.0.0/8".parse().unwrap()],
        )
    }

    #[test]
    fn every_host_has_one_place() {
        let local = origins("http://localhost:4000", Some(("localhost", Some(4000))));
        for (host, place) in [
            ("localhost:4000", Place::App),
            ("LOCALHOST:4000", Place::App),
            ("localhost:5999", Place::App),
            ("localhost.", Place::App),
            ("127.0.0.1:4000", Place::Loopback),
            ("[::1]:4000", Place::Loopback),
            ("3000--a-agentruntime-abc123.localhost:4000", Place::Preview("3000--a-agentruntime-abc123".into())),
            ("evil.localhost", Place::Preview("evil".into())),
            ("evil.example:4000", Place::Unknown),
            ("localhost.evil.example", Place::Unknown),
            ("192.168.1.2:4000", Place::Unknown),
            ("notlocalhost", Place::Unknown),
            ("", Place::Unknown),
        ] {
            assert_eq!(local.place(host), place, "{host}");
        }
        let team = origins("https://fsa.example", Some(("preview.example", None)));
        assert_eq!(team.place("fsa.example"), Place::App);
        assert_eq!(team.place("127.0.0.1"), Place::Unknown);
        assert_eq!(team.place("a.preview.example"), Place::Preview("a".into()));
        assert_eq!(team.place("a.fsa.example"), Place::Unknown);
    }

    #[test]
    fn a_port_is_told_from_an_address() {
        for (host, port) in [("localhost", ""), ("localhost:4000", ":4000"), ("[::1]", ""), ("[::1]:4000", ":4000"), ("::1", "")]
        {
            assert_eq!(port_of(host), port, "{host}");
        }
    }

    #[test]
    fn only_our_own_page_is_our_own_page() {
        let local = origins("http://localhost:4000", None);
        assert!(local.is_app("http://localhost:4000", "localhost:4000"));
        assert!(local.is_app("http://localhost:5999", "localhost:5999"), "through a tunnel");
        for foreign in
            ["http://localhost:3000", "https://localhost:4000", "http://x.localhost:4000", "null", "http://evil.example"]
        {
            assert!(!local.is_app(foreign, "localhost:4000"), "{foreign}");
        }
    }

    #[test]
    fn an_address_is_believed_of_trusted_proxies_alone() {
        let local = origins("http://localhost:4000", None);
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 203.0.113.9, 10.1.1.1"));
        let from = |peer: &str| local.client(peer.parse().unwrap(), &headers).0.to_string();
        assert_eq!(from("10.0.0.1"), "203.0.113.9");
        assert_eq!(from("198.51.100.7"), "198.51.100.7");
    }

    #[test]
    fn what_stands_before_a_hop_that_cannot_be_read_is_not_believed() {
        let local = origins("http://localhost:4000", None);
        let from = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            local.client("10.0.0.1".parse().unwrap(), &headers).0.to_string()
        };
        for (values, address) in [
            (&["6.6.6.6, 203.0.113.9:5123"][..], "203.0.113.9"),
            (&["6.6.6.6, [2001:db8::9]:5123"], "2001:db8::9"),
            (&["6.6.6.6, 2001:db8::9"], "2001:db8::9"),
            (&["6.6.6.6, 203.0.113.9:5123, 10.1.1.1:80"], "203.0.113.9"),
            (&["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
            (&["6.6.6.6, unknown"], "10.0.0.1"),
            (&["6.6.6.6, _hidden, 10.1.1.1"], "10.1.1.1"),
            (&["6.6.6.6, "], "10.0.0.1"),
            (&["6.6.6.6", "203.0.113.9:99999"], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(from(values), address, "{values:?}");
        }
    }
}
