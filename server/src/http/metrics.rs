//! `GET /metrics`: what there is to watch, for Prometheus. docs/metrics.md has all of it.
//!
//! Read by who comes from this very machine and not by a proxy, or with the token of `FSA_METRICS_TOKEN`.

use super::{errors::Refusal, security::FromHere, state::Plane};
use app::error::ErrorKind;
use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use engine::measure::{Labels, Measures, Times, WatchFact, short};
use http::{HeaderMap, Method, header};
use http_body::Frame;
use model::{Intent, Phase, phase::phase};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// How each watch is, asked at each look.
struct Hearing(Box<dyn Fn() -> Vec<WatchFact> + Send + Sync>);

impl std::fmt::Debug for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hearing")
    }
}

impl Collector for Hearing {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let facts = (self.0)();
        let labels = |fact: &WatchFact| [("objects", fact.objects.to_owned()), ("kind", fact.kind.clone())];
        let help = "Whether a watch of the cluster has told of all that there is, and has not broken off, by objects and kind.";
        let mut synced = to.encode_descriptor("fsa_watch_synced", help, None, MetricType::Gauge)?;
        for fact in &facts {
            ConstGauge::new(i64::from(fact.synced)).encode(synced.encode_family(&labels(fact))?)?;
        }
        let help = "How long ago a watch of the cluster last heard anything, by objects and kind.";
        let mut silent = to.encode_descriptor("fsa_watch_silent_seconds", help, None, MetricType::Gauge)?;
        for fact in &facts {
            ConstGauge::new(fact.silent.as_secs_f64()).encode(silent.encode_family(&labels(fact))?)?;
        }
        Ok(())
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    asks: Family<Labels<1>, Counter>,
    sandboxes: Family<Labels<1>, Gauge>,
    events_clients: Gauge,
    terminals: Gauge,
    terminal_bytes: Family<Labels<1>, Counter>,
    http_bytes: Family<Labels<2>, Counter>,
    requests: Family<Labels<3>, Counter>,
    request_seconds: Times<2>,
    connections: Family<Labels<1>, Gauge>,
    store_up: Gauge,
}

impl Metrics {
    /// With what reconciling counts, and what says how each watch is.
    #[must_use]
    pub fn new(reconciling: &Measures, watches: impl Fn() -> Vec<WatchFact> + Send + Sync + 'static) -> Self {
        let mut registry = Registry::default();
        reconciling.register(&mut registry);
        registry.register_collector(Box::new(Hearing(Box::new(watches))));
        let mut metrics = Self {
            registry,
            asks: Family::default(),
            sandboxes: Family::default(),
            events_clients: Gauge::default(),
            terminals: Gauge::default(),
            terminal_bytes: Family::default(),
            http_bytes: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(short),
            connections: Family::default(),
            store_up: Gauge::default(),
        };
        // A rate needs a first zero; and every name is there from the start.
        for verb in ["create", "start", "restart", "resize", "stop", "terminate", "delete"] {
            drop(metrics.asks.get_or_create(&[("verb", verb.to_owned())]));
        }
        for direction in ["in", "out"] {
            drop(metrics.terminal_bytes.get_or_create(&[("direction", direction.to_owned())]));
            for place in ["app", "preview"] {
                let labels = [("place", place.to_owned()), ("direction", direction.to_owned())];
                drop(metrics.http_bytes.get_or_create(&labels));
            }
        }
        let to = &mut metrics.registry;
        to.register("fsa_build", "This build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        to.register("fsa_asks", "Asks that changed what is intended, by verb", metrics.asks.clone());
        to.register("fsa_sandboxes", "Sandboxes of the installation, by phase", metrics.sandboxes.clone());
        to.register("fsa_events_clients", "Open streams of events", metrics.events_clients.clone());
        to.register("fsa_terminals", "Open terminals", metrics.terminals.clone());
        to.register("fsa_terminal_bytes", "Bytes of terminals, by direction: in, out", metrics.terminal_bytes.clone());
        to.register("fsa_http_bytes", "Bytes of bodies, by place (app, preview) and direction", metrics.http_bytes.clone());
        to.register("fsa_http_requests", "Requests that were answered, by route, method and status", metrics.requests.clone());
        to.register("fsa_http_request_seconds", "Time to an answer's head, by route and method", metrics.request_seconds.clone());
        to.register(
            "fsa_database_connections",
            "Connections to the control plane's database, by state: used, idle, most",
            metrics.connections.clone(),
        );
        to.register("fsa_store_up", "Whether the control plane's database answered", metrics.store_up.clone());
        metrics
    }

    /// An ask was stored.
    pub fn asked(&self, verb: &str) {
        self.asks.get_or_create(&[("verb", verb.to_owned())]).inc();
    }

    /// A request was answered.
    pub fn answered(&self, route: &str, method: &Method, status: u16, took: Duration) {
        let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
        // Whoever asks invents methods.
        let method = if known.contains(method) { method.as_str() } else { "other" };
        let (route, method) = (("route", route.to_owned()), ("method", method.to_owned()));
        self.request_seconds.get_or_create(&[route.clone(), method.clone()]).observe(took.as_secs_f64());
        self.requests.get_or_create(&[route, method, ("status", status.to_string())]).inc();
    }

    /// Somebody follows events, for as long as this is held.
    #[must_use]
    pub fn events_client(&self) -> Open {
        Open::new(&self.events_clients)
    }

    /// Somebody has a terminal open, for as long as this is held.
    #[must_use]
    pub fn terminal(&self) -> Open {
        Open::new(&self.terminals)
    }

    /// Bytes of a terminal: those that go in, those that come out.
    #[must_use]
    pub fn terminal_bytes(&self) -> [Counter; 2] {
        ["in", "out"].map(|direction| self.terminal_bytes.get_or_create_owned(&[("direction", direction.to_owned())]))
    }

    /// A body of which every byte is counted.
    pub fn counted(&self, body: Body, place: &str, direction: &str) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let counter = self.http_bytes.get_or_create_owned(&[("place", place.to_owned()), ("direction", direction.to_owned())]);
        Body::new(Counted { body, counter })
    }
}

/// One more, until it is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Counted {
    body: Body,
    counter: Counter,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.counter.inc_by(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// By which name requests to a route are counted; beside an answer.
#[derive(Debug, Clone, Copy)]
pub struct RouteName(pub &'static str);

/// The name of what is not in the table of routes. A few, whatever anybody asks for.
#[must_use]
pub fn route_name(path: &str) -> &'static str {
    match path {
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        "/metrics" => "/metrics",
        "/ingress/auth" => "/ingress/auth",
        _ if path.starts_with("/api/fn/") => "function",
        _ if path.starts_with("/api/") => "unknown",
        _ if path.starts_with("/pkg/") => "asset",
        _ => "page",
    }
}

/// `GET /metrics`, in the [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) text format.
///
/// # Errors
/// `403 Forbidden`: from elsewhere, without the token.
pub async fn show(State(plane): State<Plane>, request: Request) -> Result<Response, Refusal> {
    if !may_read(plane.metrics_token.as_ref(), &request) {
        let message = "Metrics are for programs on this very machine, or with the metrics token.";
        let next = "Set FSA_METRICS_TOKEN for the server, and send it as `Authorization: Bearer …`.";
        return Err(Refusal::new(ErrorKind::Forbidden, "metrics", message, next));
    }
    let metrics = &plane.metrics;
    let rows = plane.store.all().await;
    metrics.store_up.set(i64::from(rows.is_ok()));
    let mut phases = [0; Phase::ALL.len()];
    let now = plane.now();
    for row in rows.iter().flatten() {
        let sandbox = &row.sandbox;
        let desired = row.desired();
        let is = phase(Intent { desired, ..sandbox.intent() }, &sandbox.observed, sandbox.cause.as_ref(), now);
        if let Some(at) = Phase::ALL.iter().position(|one| *one == is) {
            phases[at] += 1;
        }
    }
    if rows.is_ok() {
        for (phase, count) in Phase::ALL.iter().zip(phases) {
            metrics.sandboxes.get_or_create(&[("phase", phase.key().to_owned())]).set(count);
        }
    }
    let (all, idle, most) = plane.accounts.connections();
    for (state, count) in [("used", all.saturating_sub(idle)), ("idle", idle), ("most", most)] {
        metrics.connections.get_or_create(&[("state", state.to_owned())]).set(i64::from(count));
    }
    let mut text = String::new();
    encode(&mut text, &metrics.registry).map_err(|_| super::errors::internal())?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

/// Whoever is on this machine, or has the token.
fn may_read(token: Option<&SecretString>, request: &Request) -> bool {
    if let Some(token) = token
        && bearer(request.headers()).is_some_and(|given| Sha256::digest(given) == Sha256::digest(token.expose_secret()))
    {
        return true;
    }
    request.extensions().get::<FromHere>().is_some_and(|here| here.0)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watch_is_told_of_as_it_is_at_that_look() {
        let fact = |objects, kind: &str, synced, secs| WatchFact {
            objects,
            kind: kind.to_owned(),
            synced,
            silent: Duration::from_millis(secs),
        };
        let all = vec![fact("sandboxes", "Pod", true, 1500), fact("databases", "Pods", false, 75_000)];
        let mut text = String::new();
        encode(&mut text, &Metrics::new(&Measures::default(), move || all.clone()).registry).unwrap();
        for line in [
            "# TYPE fsa_watch_synced gauge",
            "fsa_watch_synced{objects=\"sandboxes\",kind=\"Pod\"} 1",
            "fsa_watch_synced{objects=\"databases\",kind=\"Pods\"} 0",
            "# TYPE fsa_watch_silent_seconds gauge",
            "fsa_watch_silent_seconds{objects=\"sandboxes\",kind=\"Pod\"} 1.5",
            "fsa_watch_silent_seconds{objects=\"databases\",kind=\"Pods\"} 75.0",
        ] {
            assert!(text.lines().any(|one| one == line), "no `{line}` in\n{text}");
        }
    }
}
