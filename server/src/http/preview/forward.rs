//! One request to the app inside and its answer back, streamed both ways; or a WebSocket.
//!
//! A connection into a sandbox costs more than a small answer, so one that was asked something by `GET` waits a moment for
//! the next such request ([`Idle`]). What has a body or becomes something else has a connection of its own, which ends
//! with its visitor's credential.

use super::{
    cookie::Brought,
    headers::{Way, come_out, go_in, upgrade_of},
};
use crate::http::{
    auth::watch::{Held, over},
    state::Plane,
};
use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use engine::orchestrator::{AgentOrPort, BoxedIo, ConnectError};
use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, StatusCode, Uri};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    client::conn::http1::SendRequest,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use model::SandboxId;
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How long a connection into a sandbox may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection to a port inside.
pub async fn connect(plane: &Plane, sandbox: SandboxId, port: u16) -> Result<BoxedIo, ConnectError> {
    let late = || ConnectError::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connect = plane.orchestrator.connect(sandbox, AgentOrPort::Port(port));
    tokio::time::timeout(CONNECT, connect).await.unwrap_or_else(|_| Err(late()))
}

/// How long a connection waits for another request. Less than apps wait with theirs: Node's five seconds are the fewest that
/// are usual.
const IDLE: Duration = Duration::from_secs(2);
/// How many wait for one port.
const MOST_IDLE: usize = 32;

type Waiting = Vec<(SendRequest<Body>, Instant)>;

/// Connections to apps that wait for another request, by sandbox and port.
#[derive(Default)]
pub struct Idle(Mutex<HashMap<(SandboxId, u16), Waiting>>);

impl Idle {
    /// One that is still open; the one that was used last.
    fn take(&self, of: (SandboxId, u16)) -> Option<SendRequest<Body>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = all.get_mut(&of)?;
        while let Some((sender, since)) = waiting.pop() {
            if !sender.is_closed() && since.elapsed() < IDLE {
                return Some(sender);
            }
        }
        None
    }

    fn put(self: &Arc<Self>, of: (SandboxId, u16), sender: SendRequest<Body>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            tokio::spawn(self.clone().close_in_time());
        }
        let waiting = all.entry(of).or_default();
        if waiting.len() < MOST_IDLE {
            waiting.push((sender, Instant::now()));
        }
    }

    /// Closes those that waited for nothing, until there are none.
    async fn close_in_time(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, waiting| {
                waiting.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
                !waiting.is_empty()
            });
            if all.is_empty() {
                return;
            }
        }
    }
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
    /// There is no way to the app.
    Way(ConnectError),
    /// The app inside broke off.
    App(hyper::Error),
    /// The lease was over before the app had answered.
    Over,
}

/// Passes a request on; its body, its answer and its WebSocket end with the lease.
pub async fn forward(
    plane: &Plane,
    sandbox: SandboxId,
    mut request: Request,
    way: &Way<'_>,
    lease: &Lease,
) -> Result<Response, Broken> {
    let upgrade = upgrade_of(request.headers());
    let browser_side = upgrade.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    parts.uri = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    let brought = go_in(&mut parts.headers, way, upgrade.as_ref());

    let of = (sandbox, way.port);
    let only_asks = upgrade.is_none() && matches!(parts.method, Method::GET | Method::HEAD) && body.is_end_stream();
    let idle = if only_asks { plane.idle.take(of) } else { None };
    if let Some(mut sender) = idle {
        let asked = Request::from_parts(parts.clone(), Body::empty());
        let answer = async {
            sender.ready().await?;
            sender.send_request(asked).await
        };
        tokio::select! {
            response = answer => match response {
                Ok(response) => return Ok(answered(response, way, &brought, lease, Some(Back { sender, of, idle: plane.idle.clone() }))),
                // The app closed it just then; what only asks may ask again (RFC 9110, 9.2.2).
                Err(error) => debug!("a connection that waited was closed: {error:#}"),
            },
            () = lease.over() => return Err(Broken::Over),
        }
    }
    let io = connect(plane, sandbox, way.port).await.map_err(Broken::Way)?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake::<_, Body>(TokioIo::new(io))
        .await
        .map_err(Broken::App)?;
    // An upload has no end of its own. What only asks ends with its answer, and its connection may serve others after it.
    let ended = if only_asks { std::future::pending().boxed() } else { lease.over() };
    tokio::spawn(async move {
        tokio::select! {
            done = connection.with_upgrades() => if let Err(error) = done {
                debug!("a connection to an app broke: {error:#}");
            },
            () = ended => {}
        }
    });
    let mut response = tokio::select! {
        response = sender.send_request(Request::from_parts(parts, body)) => response.map_err(Broken::App)?,
        () = lease.over() => return Err(Broken::Over),
    };
    if only_asks {
        return Ok(answered(response, way, &brought, lease, Some(Back { sender, of, idle: plane.idle.clone() })));
    }
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let (true, Some(browser_side)) = (switched, browser_side) {
        let app_side = hyper::upgrade::on(&mut response);
        tokio::spawn(join(browser_side, app_side, lease.over()));
    }
    let mut response = response.map(|body| Body::new(Leased { body, over: lease.over(), back: None }));
    come_out(response.headers_mut(), way, &brought, if switched { upgrade.as_ref() } else { None });
    Ok(response)
}

/// The answer to what only asked.
fn answered(response: Response<Incoming>, way: &Way<'_>, brought: &Brought, lease: &Lease, back: Option<Back>) -> Response {
    let mut response = response.map(|body| {
        let mut leased = Leased { body, over: lease.over(), back };
        leased.give_back();
        Body::new(leased)
    });
    come_out(response.headers_mut(), way, brought, None);
    response
}

/// A connection that others may use once its answer is whole.
struct Back {
    sender: SendRequest<Body>,
    of: (SandboxId, u16),
    idle: Arc<Idle>,
}

/// What the app answers, broken off with the lease, so that it does not look whole.
struct Leased {
    body: Incoming,
    over: BoxFuture<'static, ()>,
    back: Option<Back>,
}

impl Leased {
    /// Gives the connection back when the answer is whole; dropped before, it is closed.
    fn give_back(&mut self) {
        if self.body.is_end_stream()
            && let Some(Back { sender, of, idle }) = self.back.take()
        {
            idle.put(of, sender);
        }
    }
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = axum::BoxError;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if self.over.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err("the preview is over".into())));
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into);
        if frame.is_ready() {
            self.give_back();
        }
        frame
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
