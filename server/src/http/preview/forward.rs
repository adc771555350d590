//! One request to the app inside and its answer back, streamed both ways; or a WebSocket.

use super::cookie;
use crate::http::{
    auth::watch::{Held, over},
    security::ClientAddress,
    state::Plane,
};
use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use engine::{
    orchestrator::{AgentOrPort, BoxedIo, ConnectError},
    store::accounts::TOKEN_PREFIX,
};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use model::SandboxId;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How long a connection into a sandbox may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Of one connection each (RFC 9110, 7.6.1), and what proxies add.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a request on its way in must say.
pub struct Way<'a> {
    /// Where the app listens.
    pub port: u16,
    /// The host that the browser named.
    pub host: &'a str,
    /// The preview's own origin.
    pub origin: &'a str,
    /// The app's origin: the one that may frame it.
    pub app: &'a str,
    /// Who asks.
    pub from: Option<ClientAddress>,
}

/// A connection to a port inside.
pub async fn connect(plane: &Plane, sandbox: SandboxId, port: u16) -> Result<BoxedIo, ConnectError> {
    let late = || ConnectError::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connect = plane.orchestrator.connect(sandbox, AgentOrPort::Port(port));
    tokio::time::timeout(CONNECT, connect).await.unwrap_or_else(|_| Err(late()))
}

/// How long a preview may stay open: until its visitor's credential is over, or the server stops.
#[derive(Clone)]
pub struct Lease {
    /// The credential.
    pub held: Arc<Held>,
    /// The server's end.
    pub stop: CancellationToken,
}

impl Lease {
    fn over(&self) -> BoxFuture<'static, ()> {
        over(Some(self.held.clone()), self.stop.clone()).map(drop).boxed()
    }
}

/// Why a request did not get through.
pub enum Broken {
    /// The app inside broke off.
    App(hyper::Error),
    /// The lease was over before the app had answered.
    Over,
}

/// Passes a request on; its body, its answer and its WebSocket end with the lease.
pub async fn forward(io: BoxedIo, mut request: Request, way: &Way<'_>, lease: &Lease) -> Result<Response, Broken> {
    let upgrade = upgrade_of(request.headers());
    let browser_side = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    parts.uri = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    go_in(&mut parts.headers, way, upgrade.as_ref());

    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake::<_, Body>(TokioIo::new(io))
        .await
        .map_err(Broken::App)?;
    let ended = lease.over();
    tokio::spawn(async move {
        tokio::select! {
            done = connection.with_upgrades() => if let Err(error) = done {
                debug!("a connection to an app broke: {error:#}");
            },
            // An upload has no end of its own.
            () = ended => {}
        }
    });
    let mut response = tokio::select! {
        response = sender.send_request(Request::from_parts(parts, body)) => response.map_err(Broken::App)?,
        () = lease.over() => return Err(Broken::Over),
    };
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let (true, Some(browser_side)) = (switched, browser_side) {
        let app_side = hyper::upgrade::on(&mut response);
        tokio::spawn(join(browser_side, app_side, lease.over()));
    }
    let mut response = response.map(|body| Body::new(Leased { body, over: lease.over() }));
    come_out(response.headers_mut(), way, if switched { upgrade.as_ref() } else { None });
    Ok(response)
}

/// What the app answers, broken off with the lease, so that it does not look whole.
struct Leased {
    body: Incoming,
    over: BoxFuture<'static, ()>,
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = axum::BoxError;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if self.over.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err("the preview is over".into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn join(browser: OnUpgrade, app: OnUpgrade, over: BoxFuture<'static, ()>) {
    match tokio::try_join!(browser, app) {
        Ok((browser, app)) => {
            let (mut browser, mut app) = (TokioIo::new(browser), TokioIo::new(app));
            tokio::select! {
                _ = tokio::io::copy_bidirectional_with_sizes(&mut browser, &mut app, 16 * 1024, 16 * 1024) => {}
                () = over => {}
            }
        }
        Err(error) => debug!("a WebSocket was not joined: {error:#}"),
    }
}

fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asked = asked.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asked).cloned()
}

fn go_in(headers: &mut HeaderMap, way: &Way<'_>, upgrade: Option<&HeaderValue>) {
    strip_hop_by_hop(headers, upgrade);
    cookie::strip(headers);
    let ours = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split_once(' ').is_some_and(|(_, secret)| secret.trim_start().starts_with(TOKEN_PREFIX)));
    if ours {
        headers.remove(header::AUTHORIZATION);
    }
    headers.remove(header::EXPECT);
    let proto = way.origin.split("://").next().unwrap_or("http");
    let mut put = |name: &'static str, value: &str| {
        headers.remove(name);
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("host", &format!("localhost:{}", way.port));
    put("x-forwarded-host", way.host);
    put("x-forwarded-proto", proto);
    let from = way.from.map(|ClientAddress(from)| from.to_string());
    put("x-forwarded-for", from.as_deref().unwrap_or("127.0.0.1"));
    headers.remove(header::FORWARDED);
}

fn come_out(headers: &mut HeaderMap, way: &Way<'_>, upgrade: Option<&HeaderValue>) {
    strip_hop_by_hop(headers, upgrade);
    cookie::confine(headers);
    headers.remove(header::X_FRAME_OPTIONS);
    // Another way to our own address, chosen by the app inside.
    headers.remove(header::ALT_SVC);
    for name in [header::CONTENT_SECURITY_POLICY, header::CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        let policies: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        for policy in policies.iter().filter_map(|policy| policy.to_str().ok()) {
            if let Ok(policy) = HeaderValue::from_str(&without_frame_ancestors(policy)) {
                headers.append(&name, policy);
            }
        }
    }
    if let Ok(policy) = HeaderValue::from_str(&format!("frame-ancestors 'self' {}", way.app)) {
        headers.append(header::CONTENT_SECURITY_POLICY, policy);
    }
    if let Some(place) = headers.get(header::LOCATION).and_then(|place| place.to_str().ok())
        && let Some(outside) = outside(place, way)
        && let Ok(outside) = HeaderValue::from_str(&outside)
    {
        headers.insert(header::LOCATION, outside);
    }
}

/// The app sees itself at localhost and may send the browser there.
fn outside(place: &str, way: &Way<'_>) -> Option<String> {
    let rest = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"]
        .iter()
        .find_map(|host| place.strip_prefix(&format!("http://{host}:{}", way.port)))?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then(|| format!("{}{rest}", way.origin))
}

/// Policies of one header are split by commas, directives by semicolons; no value has either.
fn without_frame_ancestors(policies: &str) -> String {
    let keeps = |directive: &&str| !directive.trim().to_ascii_lowercase().starts_with("frame-ancestors");
    let policies = policies.split(',').map(|policy| policy.split(';').filter(keeps).collect::<Vec<_>>().join(";"));
    policies.filter(|policy| !policy.trim().is_empty()).collect::<Vec<_>>().join(",")
}

fn strip_hop_by_hop(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Way<'_> = Way {
        port: 3000,
        host: "3000--a.localhost:4000",
        origin: "http://3000--a.localhost:4000",
        app: "http://localhost:4000",
        from: None,
    };

    #[test]
    fn frames_are_ours_to_allow() {
        let mut headers = HeaderMap::new();
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'self'; Frame-Ancestors 'none'; img-src *, frame-ancestors 'none'"),
        );
        come_out(&mut headers, &WAY, None);
        assert!(!headers.contains_key(header::X_FRAME_OPTIONS));
        let policies: Vec<_> = headers.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["default-src 'self'; img-src *", "frame-ancestors 'self' http://localhost:4000"]);
    }

    #[test]
    fn a_way_to_localhost_leads_outside() {
        let out = |place| outside(place, &WAY);
        assert_eq!(out("http://localhost:3000/next?a=b").as_deref(), Some("http://3000--a.localhost:4000/next?a=b"));
        assert_eq!(out("http://127.0.0.1:3000").as_deref(), Some("http://3000--a.localhost:4000"));
        assert_eq!(out("http://localhost:30001/"), None);
        assert_eq!(out("/relative"), None);
        assert_eq!(out("https://example.com/"), None);
    }

    #[test]
    fn what_is_ours_does_not_go_in() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer fsa_secret"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("cookie", "fsa_preview=1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("accept", "text/html"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        go_in(&mut headers, &WAY, None);
        let mut left: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "accept: text/html",
                "host: localhost:3000",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: 3000--a.localhost:4000",
                "x-forwarded-proto: http"
            ]
        );
    }
}
