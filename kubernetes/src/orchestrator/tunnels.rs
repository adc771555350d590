//! One tunnel a pod, where a connection is a port-forward.
//!
//! ```text
//!   connect ─┐
//!   connect ─┼─▶ Way (a pod's uid) ─▶ Tunnel ─▶ one port-forward ─▶ the agent's GET /v1/tunnel
//!   probe ───┘
//! ```
//! It is opened for the first who comes, and who comes meanwhile waits for that one. One that is broken is replaced for the next who
//! comes; one that does not answer is left to what it carries already. Another pod is another way. What nobody has used for a
//! while is dropped.

use engine::orchestrator::{BoxedIo, ConnectError};
use sandbox_agent::client::{Tunnel, Tunnelled};
use std::{
    collections::HashMap,
    io,
    ops::Deref,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Mutex as AsyncMutex,
    time::{sleep, timeout},
};
use tracing::debug;

/// How long a tunnel is kept after its last use: a page that is open asks far more often.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection by a tunnel may take. Less than the probe of a start waits for its answer, so that it is the probe that finds
/// a tunnel dead.
const STREAM: Duration = Duration::from_secs(2);
/// For how long no tunnel is tried after one that could not be made for now.
const AGAIN: Duration = Duration::from_secs(10);

/// What came of opening a tunnel.
pub enum Opened {
    /// There it is.
    Tunnel(Tunnel),
    /// The agent knows of none.
    Never,
    /// Not for now: let everybody connect without.
    NotNow,
}

/// All that there are.
pub struct Tunnels {
    ways: Arc<Mutex<Ways>>,
    idle: Duration,
}

/// By the uid of a pod.
type Ways = HashMap<String, Arc<Way>>;

impl Default for Tunnels {
    fn default() -> Self {
        Self { ways: Arc::default(), idle: IDLE }
    }
}

impl Tunnels {
    /// A connection by the tunnel of the pod with this uid, which `open` opens where there is none; `None` where it is to be made without.
    ///
    /// # Errors
    /// Those of `open`.
    pub async fn connect<F>(&self, pod: &str, open: impl Fn() -> F) -> Result<Option<BoxedIo>, ConnectError>
    where
        F: Future<Output = Result<Opened, ConnectError>>,
    {
        let way = self.way(pod);
        // Twice, as that a tunnel is broken is often seen only by its use.
        for _ in 0..2 {
            let Some(tunnel) = way.tunnel(open()).await? else { return Ok(None) };
            match timeout(STREAM, tunnel.open()).await {
                Ok(Ok(io)) => return Ok(Some(Box::new(Carried { io, _tunnel: tunnel, _way: way }))),
                Ok(Err(error)) => debug!(pod.uid = pod, "a tunnel broke: {error}"),
                Err(_) => debug!(pod.uid = pod, "a tunnel does not answer"),
            }
            way.leave(&tunnel).await;
        }
        way.not_now().await;
        Ok(None)
    }

    fn way(&self, pod: &str) -> InUse {
        let mut ways = lock(&self.ways);
        if let Some(way) = ways.get(pod) {
            return InUse(way.clone());
        }
        let way = Arc::new(Way { state: AsyncMutex::new(State::Closed), used: Mutex::new(Instant::now()) });
        ways.insert(pod.to_owned(), way.clone());
        tokio::spawn(forget(Arc::downgrade(&self.ways), pod.to_owned(), self.idle));
        InUse(way)
    }
}

/// Drops a way once nobody has used it for so long.
async fn forget(ways: Weak<Mutex<Ways>>, pod: String, idle: Duration) {
    loop {
        sleep(idle).await;
        let Some(ways) = ways.upgrade() else { return };
        let mut ways = lock(&ways);
        // Who uses it holds it, and takes it from here alone.
        let used = |way: &Arc<Way>| Arc::strong_count(way) > 1 || lock(&way.used).elapsed() < idle;
        if !ways.get(&pod).is_some_and(used) {
            ways.remove(&pod);
            return;
        }
    }
}

/// The way to one pod.
struct Way {
    /// Held while one is opened.
    state: AsyncMutex<State>,
    /// When the last use ended.
    used: Mutex<Instant>,
}

enum State {
    Closed,
    Open(Arc<Tunnel>),
    Never,
    NotNow(Instant),
    Failed(Instant, ConnectError),
}

impl Way {
    async fn tunnel(
        &self,
        open: impl Future<Output = Result<Opened, ConnectError>>,
    ) -> Result<Option<Arc<Tunnel>>, ConnectError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(tunnel) if !tunnel.is_broken() => return Ok(Some(tunnel.clone())),
            State::Never => return Ok(None),
            State::NotNow(at) if at.elapsed() < AGAIN => return Ok(None),
            // Who waited for this one does not wait for another.
            State::Failed(at, error) if *at >= asked => return Err(again(error)),
            _ => {}
        }
        match open.await {
            Ok(Opened::Tunnel(tunnel)) => {
                let tunnel = Arc::new(tunnel);
                *state = State::Open(tunnel.clone());
                Ok(Some(tunnel))
            }
            Ok(Opened::Never) => {
                *state = State::Never;
                Ok(None)
            }
            Ok(Opened::NotNow) => {
                *state = State::NotNow(Instant::now());
                Ok(None)
            }
            Err(error) => {
                *state = State::Failed(Instant::now(), again(&error));
                Err(error)
            }
        }
    }

    /// Nobody else is to take this one. What it carries goes on.
    async fn leave(&self, tunnel: &Arc<Tunnel>) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Open(open) if Arc::ptr_eq(open, tunnel)) {
            *state = State::Closed;
        }
    }

    async fn not_now(&self) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Closed) {
            *state = State::NotNow(Instant::now());
        }
    }
}

/// The same error for somebody else.
fn again(error: &ConnectError) -> ConnectError {
    match error {
        ConnectError::NotRunning => ConnectError::NotRunning,
        ConnectError::NobodyListens(port) => ConnectError::NobodyListens(*port),
        ConnectError::Refused(cause) => ConnectError::Refused(cause.clone()),
        ConnectError::Io(error) => ConnectError::Io(io::Error::new(error.kind(), error.to_string())),
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A way that somebody uses.
struct InUse(Arc<Way>);

impl Deref for InUse {
    type Target = Way;
    fn deref(&self) -> &Way {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *lock(&self.used) = Instant::now();
    }
}

/// One connection that a tunnel carries.
struct Carried {
    io: Tunnelled,
    /// Which may be nobody else's any longer, and would take this with it.
    _tunnel: Arc<Tunnel>,
    _way: InUse,
}

impl AsyncRead for Carried {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Carried {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::future::join_all;
    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::{body::Incoming, server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use sandbox_agent::{client::tunnel, protocol::TUNNEL_STREAMS};
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        task::JoinHandle,
    };

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Agents that say back what is said to them, and how many were asked for a tunnel.
    #[derive(Default)]
    struct Agents {
        asked: AtomicUsize,
        running: Mutex<Vec<JoinHandle<()>>>,
    }

    impl Agents {
        async fn open(&self) -> Result<Opened, ConnectError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            // Others come meanwhile.
            sleep(Duration::from_millis(50)).await;
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            lock(&self.running).push(tokio::spawn(serve(theirs)));
            Ok(Opened::Tunnel(tunnel(ours, &"token".to_owned().into()).await.unwrap()))
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        fn end(&self) {
            lock(&self.running).drain(..).for_each(|agent| agent.abort());
        }
    }

    async fn serve(mut theirs: DuplexStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(theirs.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"GET /v1/tunnel "));
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: fsa-tunnel\r\n\r\n";
        theirs.write_all(switch.as_bytes()).await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            tokio::spawn(async move {
                let stream = hyper::upgrade::on(request).await.unwrap();
                let (mut read, mut write) = tokio::io::split(TokioIo::new(stream));
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let served = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(TUNNEL_STREAMS)
            .serve_connection(TokioIo::new(theirs), service);
        let _ = served.await;
    }

    async fn talk(io: &mut BoxedIo) {
        io.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        timeout(DEADLINE, io.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"hello");
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < DEADLINE, "never: {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn all_who_come_at_once_share_the_one_that_the_first_opens() {
        let (tunnels, agents) = (Tunnels::default(), Agents::default());
        let one = async |pod: &'static str| {
            let mut io = tunnels.connect(pod, || agents.open()).await.unwrap().unwrap();
            talk(&mut io).await;
            // What has said all is still answered.
            io.write_all(b"and this").await.unwrap();
            io.shutdown().await.unwrap();
            let mut rest = Vec::new();
            timeout(DEADLINE, io.read_to_end(&mut rest)).await.unwrap().unwrap();
            assert_eq!(rest, b"and this");
        };
        join_all((0..5).map(|_| one("a"))).await;
        assert_eq!(agents.asked(), 1);
        join_all((0..300).map(|_| one("a"))).await;
        assert_eq!(agents.asked(), 1);
        one("another").await;
        assert_eq!(agents.asked(), 2);
    }

    #[tokio::test]
    async fn a_broken_one_is_replaced_by_one() {
        let (tunnels, agents) = (Tunnels::default(), Agents::default());
        let connect = async || tunnels.connect("a", || agents.open()).await.unwrap().unwrap();
        let mut before = connect().await;
        talk(&mut before).await;
        agents.end();
        for mut io in join_all((0..5).map(|_| connect())).await {
            talk(&mut io).await;
        }
        assert_eq!(agents.asked(), 2);
        assert_eq!(timeout(DEADLINE, before.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0, "what it carried has ended");
    }

    #[tokio::test]
    async fn who_waited_for_one_that_failed_does_not_wait_for_another() {
        let tunnels = Tunnels::default();
        let asked = AtomicUsize::new(0);
        let fails = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(50)).await;
            Err::<Opened, _>(ConnectError::Io(io::ErrorKind::ConnectionRefused.into()))
        };
        for failed in join_all((0..5).map(|_| tunnels.connect("a", fails))).await {
            assert!(matches!(failed, Err(ConnectError::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(tunnels.connect("a", fails).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 2, "who comes later tries again");
    }

    #[tokio::test]
    async fn an_agent_that_makes_none_is_not_asked_each_time() {
        let asked = AtomicUsize::new(0);
        let answers: [fn() -> Opened; 2] = [|| Opened::Never, || Opened::NotNow];
        for answer in answers {
            let tunnels = Tunnels::default();
            asked.store(0, Ordering::Relaxed);
            let none = || async {
                asked.fetch_add(1, Ordering::Relaxed);
                Ok::<_, ConnectError>(answer())
            };
            for _ in 0..3 {
                assert!(tunnels.connect("a", none).await.unwrap().is_none());
            }
            assert_eq!(asked.load(Ordering::Relaxed), 1);
        }
    }

    #[tokio::test]
    async fn one_that_nobody_uses_is_dropped() {
        let tunnels = Tunnels { idle: Duration::from_millis(100), ..Tunnels::default() };
        let agents = Agents::default();
        let mut io = tunnels.connect("a", || agents.open()).await.unwrap().unwrap();
        // For many times as long.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(500) {
            talk(&mut io).await;
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(lock(&tunnels.ways).len(), 1, "it is in use");
        drop(io);
        until("it is dropped", || lock(&tunnels.ways).is_empty()).await;
        until("its connection ends", || lock(&agents.running).iter().all(JoinHandle::is_finished)).await;
        let mut io = tunnels.connect("a", || agents.open()).await.unwrap().unwrap();
        talk(&mut io).await;
        assert_eq!(agents.asked(), 2);
    }
}
