//! Connections of browsers and proxies: how long one may say nothing, and how many an address may have.
//!
//! As `axum::serve` does it, which sets no timer: with it a connection that asks nothing stays for as long as its peer likes.

use super::{
    limits::{Limit, neighbourhood},
    security::Origins,
};
use axum::{Router, body::Body, extract::ConnectInfo, serve::Listener};
use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

/// How long the head of a request may take, and a connection may wait for the next one. Over a minute, for which proxies keep theirs:
/// one that sends a request where we have just closed cannot send what changes something again.
const HEAD: Duration = Duration::from_secs(75);
/// The same of this machine and of proxies, which keep connections for whomever asks next.
const HEAD_OF_PROXIES: Duration = Duration::from_secs(15 * 60);
/// How many connections an address may have at a time. A browser has six, and a stream; an office behind one address, some hundred.
pub const MOST: usize = 1000;
/// The same on a cluster, where everybody may come from an ingress controller that nobody has named.
pub const MOST_ON_A_CLUSTER: usize = 10_000;

/// Who may come in, over all listeners.
#[derive(Debug)]
pub struct Doors {
    head: Duration,
    head_of_proxies: Duration,
    most: usize,
    origins: Origins,
    /// By neighbourhood.
    open: Mutex<HashMap<IpAddr, usize>>,
    /// Sayings that an address has too many.
    told: Limit<()>,
}

/// One connection of an address, until this is dropped. One that becomes a WebSocket is none from then on: whoever may have one is known.
struct Place {
    doors: Arc<Doors>,
    of: Option<IpAddr>,
    /// How long it may say nothing.
    head: Duration,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(of) = self.of else { return };
        let mut open = self.doors.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&of);
            }
        }
    }
}

impl Doors {
    /// `most` connections an address. Proxies of these origins may have any number, as may this machine.
    #[must_use]
    pub fn new(origins: Origins, most: usize) -> Arc<Self> {
        Self::of(origins, [HEAD, HEAD_OF_PROXIES], most)
    }

    fn of(origins: Origins, [head, head_of_proxies]: [Duration; 2], most: usize) -> Arc<Self> {
        let told = Limit::new(1, Duration::from_secs(60));
        Arc::new(Self { head, head_of_proxies, most, origins, open: Mutex::default(), told })
    }

    /// A place for one more. `None`: its address has enough.
    fn place(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = from.to_canonical();
        let of = neighbourhood(from);
        if from.is_loopback() || self.origins.is_proxy(from) {
            return Some(Place { doors: self.clone(), of: None, head: self.head_of_proxies });
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(of).or_insert(0);
        if *count >= self.most {
            if self.told.take(()).is_ok() {
                warn!(
                    "{of} has {} connections, and more are closed at once: if it is a proxy, name it by --trusted-proxies",
                    self.most
                );
            }
            return None;
        }
        *count += 1;
        Some(Place { doors: self.clone(), of: Some(of), head: self.head })
    }
}

/// What a connection has been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Nothing yet: which HTTP it is, is read without a timer.
    Nothing,
    /// By HTTP/1, for which there is a timer: each head, and the wait for it.
    Http1,
    /// By HTTP/2, with how much of it has not been answered to the end. It has no timer for who asks nothing more.
    Http2 { under_way: usize },
}

impl Asked {
    /// Ends when the connection has said nothing for so long.
    async fn nothing_for(head: Duration, mut asked: watch::Receiver<Self>) {
        loop {
            let now = *asked.borrow_and_update();
            let changed = match now {
                Self::Http1 => break,
                Self::Nothing | Self::Http2 { under_way: 0 } => match timeout(head, asked.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => return,
                },
                Self::Http2 { .. } => asked.changed().await,
            };
            if changed.is_err() {
                break;
            }
        }
        std::future::pending().await
    }
}

/// One request by HTTP/2, until this is dropped.
struct Turn(Arc<watch::Sender<Asked>>);

impl Turn {
    /// Notes a request; `None` where that is all.
    fn begin(asked: &Arc<watch::Sender<Asked>>, version: Version) -> Option<Self> {
        asked.send_if_modified(|asked| {
            let before = *asked;
            *asked = match before {
                Asked::Http2 { under_way } => Asked::Http2 { under_way: under_way + 1 },
                _ if version == Version::HTTP_2 => Asked::Http2 { under_way: 1 },
                _ => Asked::Http1,
            };
            *asked != before
        });
        (version == Version::HTTP_2).then(|| Self(asked.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.send_modify(|asked| {
            if let Asked::Http2 { under_way } = asked {
                *under_way -= 1;
            }
        });
    }
}

/// An answer that is under way until all of it is gone.
struct UnderWay {
    body: Body,
    _turn: Turn,
}

impl HttpBody for UnderWay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves until `stop`, and then until what is under way has been answered.
pub async fn serve(mut listener: TcpListener, router: Router, doors: Arc<Doors>, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, from) = tokio::select! {
            taken = Listener::accept(&mut listener) => taken,
            () = stop.cancelled() => break,
        };
        let Some(place) = doors.place(from.ip()) else { continue };
        if let Err(error) = stream.set_nodelay(true) {
            warn!("failed to set TCP_NODELAY: {error}");
        }
        let (watcher, router, head) = (graceful.watcher(), router.clone(), place.head);
        tokio::spawn(async move {
            let _place = place;
            let asked = Arc::new(watch::Sender::new(Asked::Nothing));
            let silent = Asked::nothing_for(head, asked.subscribe());
            let service = service_fn(move |mut request: Request<Incoming>| {
                let turn = Turn::begin(&asked, request.version());
                request.extensions_mut().insert(ConnectInfo(from));
                let answer = router.clone().oneshot(request.map(Body::new));
                async move {
                    let answer = answer.await?;
                    Ok::<_, Infallible>(match turn {
                        Some(turn) => answer.map(|body| Body::new(UnderWay { body, _turn: turn })),
                        None => answer,
                    })
                }
            });
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(head);
            let mut served = pin!(watcher.watch(builder.serve_connection_with_upgrades(TokioIo::new(stream), service)));
            tokio::select! {
                ended = &mut served => {
                    if let Err(error) = ended {
                        debug!("a connection ended: {error}");
                    }
                }
                () = silent => debug!("a connection asked nothing and is closed"),
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::Addresses;
    use axum::routing::get;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        time::Instant,
    };

    fn origins(trusted: &[&str]) -> Origins {
        let addresses = Addresses { public: "http://localhost:4000".into(), preview: None, preview_ports: None, ingress: None };
        Origins::new(&addresses, trusted.iter().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn an_address_has_so_many_and_a_proxy_any_number() {
        let doors = Doors::new(origins(&["10.0.0.0/8"]), 2);
        let from = |text: &str| doors.place(text.parse().unwrap());
        let first = from("192.0.2.1");
        let second = from("192.0.2.1");
        assert_eq!((first.as_ref().unwrap().head, second.as_ref().unwrap().head), (HEAD, HEAD));
        assert!(from("::ffff:192.0.2.1").is_none(), "the same one");
        assert!(from("192.0.2.2").is_some(), "another one");
        drop(first);
        assert!(from("192.0.2.1").is_some(), "in the place of one that ended");
        let network: Vec<_> = (0..3).map(|n| from(&format!("2001:db8::{n}"))).collect();
        assert_eq!(network.iter().flatten().count(), 2, "a customer's network is one address");
        for any in ["127.0.0.1", "::1", "10.1.2.3", "::ffff:10.1.2.3"] {
            let many: Vec<_> = (0..5).map(|_| from(any)).collect();
            assert!(many.iter().all(|place| place.as_ref().is_some_and(|place| place.head == HEAD_OF_PROXIES)), "{any}");
        }
        drop((second, network));
        assert!(doors.open.lock().unwrap().is_empty(), "nobody is remembered");
    }

    /// What a server says to these bytes until it closes.
    async fn said(port: u16, bytes: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
        end.expect("it is closed").unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }

    #[tokio::test]
    async fn who_asks_nothing_is_shown_out_and_who_waits_for_an_answer_is_not() {
        let head = Duration::from_secs(1);
        let slow = move || async move {
            tokio::time::sleep(head * 4).await;
            "late"
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let doors = Doors::of(origins(&[]), [head; 2], MOST);
        let serving = tokio::spawn(serve(listener, Router::new().route("/", get(slow)), doors, stop.clone()));
        // Nothing; what may become HTTP/2, or not; and half a head.
        for bytes in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost: a"] {
            assert!(!said(port, bytes).await.contains("late"), "{bytes:?}");
        }
        let answer = said(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"), "and closed when no other comes: {answer}");

        // What is under way is answered before the end.
        let under_way = tokio::spawn(async move { said(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await });
        tokio::time::sleep(head).await;
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), serving).await.expect("it ends").unwrap();
        assert!(under_way.await.unwrap().ends_with("late"));
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_of_http_2_is_closed_once_nothing_is_under_way() {
        let head = Duration::from_secs(2);
        let endless = || async {
            let parts = futures::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok::<_, Infallible>("part"), ()))
            });
            Body::from_stream(parts)
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().route("/", get(|| async { "short" })).route("/endless", get(endless));
        tokio::spawn(serve(listener, router, Doors::of(origins(&[]), [head; 2], MOST), CancellationToken::new()));
        for (path, times, each) in [("/", 4, head / 2), ("/endless", 1, head * 3)] {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut asks, connection) =
                http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            let connection = tokio::spawn(connection);
            // Each asks within the time, and all of them together go on past it.
            for _ in 0..times {
                let request = Request::get(format!("http://localhost{path}")).body(Empty::new()).unwrap();
                let mut body = asks.send_request(request).await.unwrap().into_body();
                let until = Instant::now() + each;
                while let Some(part) = body.frame().await
                    && Instant::now() < until
                {
                    part.unwrap();
                }
                tokio::time::sleep_until(until).await;
                assert!(!connection.is_finished(), "{path}");
            }
            let ended = timeout(Duration::from_secs(20), connection).await;
            assert!(ended.is_ok(), "{path}: it is closed once nothing more is asked");
        }
    }
}
