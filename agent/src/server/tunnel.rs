//! `GET /v1/tunnel`: many connections to the agent in one.
//!
//! ```text
//!   HTTP/1.1 Upgrade ─▶ HTTP/2 ─┬─ CONNECT ─▶ a connection as any other: HTTP/1.1, each request with the token
//!                               └─ CONNECT ─▶ …
//! ```
//! For whom a connection is dear: over a port-forward through a cluster's apiserver. No pings are sent: while one is to be answered
//! HTTP/2 reads nothing, and where both ways are full, and one of them stands still while the other does, neither would ever go on.

use std::{convert::Infallible, future::ready, rc::Rc};

use http::{Method, Request, StatusCode};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::{
    Agent,
    body::{Answer, empty, switching},
    error::Error,
    listen::{Door, connection},
    router::wants_upgrade,
};
use crate::protocol::{TUNNEL_STREAMS, TUNNEL_UPGRADE, TUNNEL_WINDOW, TUNNEL_WINDOWS};

/// How much of one stream waits to be sent: it is filled again as it is sent, so that more would only cost memory.
const SEND_BYTES: usize = 128 << 10;

/// # Errors
/// `426 Upgrade Required`.
pub fn open(agent: &Rc<Agent>, request: Request<Incoming>) -> Result<Answer, Error> {
    wants_upgrade(request.headers(), TUNNEL_UPGRADE)?;
    let agent = agent.clone();
    spawn_local(async move {
        if let Ok(outside) = hyper::upgrade::on(request).await {
            carry(agent, outside).await;
        }
    });
    Ok(switching(TUNNEL_UPGRADE))
}

/// Until the caller goes away, and everything that it carries with it.
async fn carry(agent: Rc<Agent>, outside: Upgraded) {
    let service = service_fn(move |request| ready(Ok::<_, Infallible>(stream(&agent, request))));
    let served = http2::Builder::new(Local)
        .initial_stream_window_size(TUNNEL_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOWS)
        .max_concurrent_streams(TUNNEL_STREAMS)
        // The caller has shown the token: that it changes its mind often is no attack, which would end the tunnel.
        .max_pending_accept_reset_streams(TUNNEL_STREAMS as usize)
        .max_local_error_reset_streams(None::<usize>)
        .max_send_buf_size(SEND_BYTES)
        .auto_date_header(false)
        .serve_connection(outside, service);
    // A caller that goes away in the middle is no news.
    let _ = served.await;
}

fn stream(agent: &Rc<Agent>, request: Request<Incoming>) -> Answer {
    if *request.method() != Method::CONNECT {
        let sentence = "A tunnel takes CONNECT alone.";
        return Error::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", sentence).answer();
    }
    let agent = agent.clone();
    spawn_local(async move {
        if let Ok(stream) = hyper::upgrade::on(request).await {
            connection(&agent, Box::new(TokioIo::new(stream)), Door::All);
        }
    });
    empty(StatusCode::OK)
}

/// The thread's own tasks: nothing here is shared between threads.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
