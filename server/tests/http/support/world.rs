//! The in-memory orchestrator, with something behind its connections: a small agent, and an app a port.

use super::agent::RealAgent;
use super::ttyd;
use axum::{
    Router,
    body::Body,
    extract::{
        Query, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use engine::{
    clock::Clock,
    orchestrator::{
        AgentOrPort, BoxedIo, ConnectError, LogLine, LogSource, Orchestrator, OrchestratorError, OwnedObject, Removed,
        SandboxSpec, Seen, VolumeName, VolumeSeen, memory::MemoryOrchestrator,
    },
    random::SystemRandom,
};
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use model::SandboxId;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::{broadcast, watch};

/// What an agent was asked, and the id of the request in whose name.
type Asked = (String, Option<String>);

/// Sandboxes of this process.
pub struct World {
    memory: MemoryOrchestrator,
    tokens: Mutex<HashMap<SandboxId, String>>,
    apps: Mutex<BTreeMap<u16, Router>>,
    /// Whose home folder agents show.
    files: Mutex<Option<Arc<RealAgent>>>,
    /// The ports that agents tell of.
    ports: watch::Sender<Vec<u16>>,
    /// In the place of every agent, once it is set: a server of stock ttyd's protocol.
    ttyd: AtomicBool,
    /// What every sandbox wrote into its log.
    written: watch::Sender<Vec<String>>,
    /// Whether logs are asked for in vain, as of a cluster that is slow.
    log_hangs: AtomicBool,
    /// Whether agents accept requests and answer none.
    agents_hang: Arc<AtomicBool>,
    /// Lines that agents tell beside ports.
    lines: broadcast::Sender<String>,
    /// What git was answered.
    answers: Arc<Mutex<Vec<Value>>>,
    /// Whether there is a shorter way to sandboxes than the first.
    pub shorter: watch::Sender<bool>,
    /// How many connections apps had.
    pub connected: AtomicUsize,
    /// What agents were asked, each with the id of the request in whose name.
    pub asked: Arc<Mutex<Vec<Asked>>>,
    /// Of every sandbox: where `sh` really runs.
    pub home: Arc<tempfile::TempDir>,
}

impl World {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            memory: MemoryOrchestrator::new(clock, Arc::new(SystemRandom)),
            tokens: Mutex::default(),
            apps: Mutex::default(),
            files: Mutex::default(),
            ports: watch::channel(Vec::new()).0,
            ttyd: AtomicBool::new(false),
            written: watch::Sender::default(),
            log_hangs: AtomicBool::new(false),
            agents_hang: Arc::default(),
            lines: broadcast::channel(16).0,
            answers: Arc::default(),
            shorter: watch::Sender::default(),
            connected: AtomicUsize::new(0),
            asked: Arc::default(),
            home: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    /// From now on images have stock ttyd in the place of the agent.
    pub fn run_ttyd(&self) {
        self.ttyd.store(true, Ordering::Relaxed);
    }

    /// An app that listens on a port of every sandbox.
    pub fn listen(&self, port: u16, app: Router) {
        self.apps.lock().unwrap().insert(port, app);
        self.tell();
    }

    /// Nobody listens there any more.
    pub fn close(&self, port: u16) {
        self.apps.lock().unwrap().remove(&port);
        self.tell();
    }

    /// From now on this is in the log of every sandbox, to which more may come; each other log has its name in it, and ends.
    pub fn writes(&self, lines: &[&str]) {
        self.written.send_replace(lines.iter().map(|&line| line.to_owned()).collect());
    }

    /// From now on nobody answers who asks for a log.
    pub fn hang_logs(&self) {
        self.log_hangs.store(true, Ordering::Relaxed);
    }

    /// Whether agents accept what they are asked from now on, and do not answer.
    pub fn hang_agents(&self, hang: bool) {
        self.agents_hang.store(hang, Ordering::Relaxed);
    }

    /// From now on every sandbox has the home folder of a real agent, and lists its terminals.
    pub fn files_of(&self, agent: Arc<RealAgent>) {
        *self.files.lock().unwrap() = Some(agent);
    }

    /// No file in the home folder has this token in it.
    #[track_caller]
    pub fn is_in_no_file(&self, token: &str) {
        let found = std::process::Command::new("grep").arg("-r").arg(token).arg(self.home.path()).output().unwrap();
        assert_eq!(found.status.code(), Some(1), "the token is in a file: {}", String::from_utf8_lossy(&found.stdout));
    }

    /// git inside asks for the credentials of a repository: what it is answered.
    pub async fn git_asks(&self, ask: u64, protocol: &str, host: &str, path: &str) -> Value {
        let event = json!({ "type": "credentials", "ask": ask, "protocol": protocol, "host": host, "path": path });
        let answered = || self.answers.lock().unwrap().iter().find(|answer| answer["ask"] == ask).cloned();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            if let Some(answer) = answered() {
                return answer;
            }
            assert!(std::time::Instant::now() < deadline, "git was not answered");
            // Until the agent is followed, nobody hears it.
            if self.lines.receiver_count() > 0 {
                let _ = self.lines.send(event.to_string());
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Has the agents that are followed say something, once there is one.
    pub async fn says(&self, event: &Value) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.lines.receiver_count() == 0 {
            assert!(std::time::Instant::now() < deadline, "no agent is followed");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let _ = self.lines.send(event.to_string());
    }

    /// Agents that are followed tell of a measure. Those that are not yet do not.
    pub fn uses(&self, cpu_percent: u32) {
        let usage = json!({
            "type": "usage", "cpuPercent": cpu_percent, "memoryBytes": 1 << 20, "diskBytes": 1 << 20, "diskLimitBytes": null, "processes": 3,
        });
        let _ = self.lines.send(usage.to_string());
    }

    /// What agents say: also ports that are nobody's business.
    fn tell(&self) {
        let mut ports: Vec<u16> = self.apps.lock().unwrap().keys().copied().collect();
        ports.extend([5432, 7681, 7682]);
        self.ports.send_replace(ports);
    }

    fn agent(&self, token: String) -> Router {
        let (asked, hang) = (self.asked.clone(), self.agents_hang.clone());
        let admit = move |request: Request, next: Next| {
            let id = request.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
            asked.lock().unwrap().push((request.uri().path().to_owned(), id));
            let admitted = request.headers().get("authorization").is_some_and(|value| value == &format!("Bearer {token}"));
            let hangs = hang.load(Ordering::Relaxed);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                if admitted { next.run(request).await } else { http::StatusCode::UNAUTHORIZED.into_response() }
            }
        };
        let real = self.files.lock().unwrap().clone();
        let files = move |request: Request| async move {
            let Some(real) = real else { return http::StatusCode::NOT_FOUND.into_response() };
            let token = super::agent::TOKEN.to_owned().into();
            // A client that went away: nobody reads the answer.
            let answer = sandbox_agent::client::request(real.io().await, &token, request).await;
            answer.map_or_else(|_| http::StatusCode::BAD_GATEWAY.into_response(), |answer| answer.map(Body::new))
        };
        let (home, answers, lines) = (self.home.clone(), self.answers.clone(), self.lines.clone());
        Router::new()
            .route("/v1/events", get(move |ports: State<watch::Receiver<Vec<u16>>>| events(ports, lines)))
            .route(
                "/v1/credentials",
                post(move |answer: bytes::Bytes| async move {
                    answers.lock().unwrap().push(serde_json::from_slice(&answer).unwrap());
                    http::StatusCode::NO_CONTENT
                }),
            )
            .route("/v1/exec", post(move |body: bytes::Bytes| exec(home, body)))
            .route("/ws", get(terminal))
            .with_state(self.ports.subscribe())
            .route("/v1/files/{*path}", any(files.clone()))
            .route("/v1/files/", any(files.clone()))
            .route("/v1/sessions", any(files))
            .layer(middleware::from_fn(admit))
            .route(
                "/healthz",
                get(|| async {
                    axum::Json(json!({ "status": "ok", "version": "test", "protocol": 1, "shellStarted": true, "startedAt": 0 }))
                }),
            )
    }
}

/// Answers on one end of a pipe, and gives the other.
fn serve(app: Router) -> BoxedIo {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let service = TowerToHyperService::new(app);
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades().await;
    });
    Box::new(ours)
}

async fn events(State(mut ports): State<watch::Receiver<Vec<u16>>>, lines: broadcast::Sender<String>) -> Response {
    let mut lines = lines.subscribe();
    let stream = async_stream(move |sender| async move {
        loop {
            let open: Vec<Value> = ports
                .borrow_and_update()
                .iter()
                .map(|port| json!({ "port": port, "addresses": ["127.0.0.1"], "process": "node" }))
                .collect();
            let mut next = format!("{}\n", json!({ "type": "ports", "ports": open }));
            loop {
                if sender.send(next).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = ports.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    Ok(line) = lines.recv() => next = format!("{line}\n"),
                    else => return,
                }
            }
        }
    });
    Body::from_stream(stream).into_response()
}

fn async_stream<F: Future<Output = ()> + Send + 'static>(
    run: impl FnOnce(tokio::sync::mpsc::Sender<String>) -> F,
) -> impl futures::Stream<Item = Result<String, std::convert::Infallible>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(run(sender));
    futures::stream::unfold(receiver, |mut receiver| async { Some((Ok(receiver.recv().await?), receiver)) })
}

/// Runs `sh` in the home folder, with its own environment alone, as an agent does.
fn run(home: Arc<tempfile::TempDir>, ask: Value) -> Response {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    Body::from_stream(async_stream(move |sender| async move {
        let words: Vec<&str> = ask["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let mut command = tokio::process::Command::new(words[0]);
        command.args(&words[1..]).env_clear().env("HOME", home.path()).env("PATH", std::env::var("PATH").unwrap());
        for (name, value) in ask["env"].as_object().into_iter().flatten() {
            command.env(name, value.as_str().unwrap());
        }
        let pipe = std::process::Stdio::piped;
        command.stdin(pipe()).stdout(pipe()).stderr(pipe()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(ask["stdin"].as_str().unwrap_or_default().as_bytes()).await;
        drop(stdin);
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (mut out, mut err, mut open) = ([0; 4096], [0; 4096], [true, true]);
        while open[0] || open[1] {
            let (stream, data) = tokio::select! {
                read = stdout.read(&mut out), if open[0] => match read {
                    Ok(read @ 1..) => ("stdout", String::from_utf8_lossy(&out[..read])),
                    _ => { open[0] = false; continue }
                },
                read = stderr.read(&mut err), if open[1] => match read {
                    Ok(read @ 1..) => ("stderr", String::from_utf8_lossy(&err[..read])),
                    _ => { open[1] = false; continue }
                },
            };
            if sender.send(format!("{}\n", json!({ "stream": stream, "data": data }))).await.is_err() {
                return;
            }
        }
        let code = child.wait().await.unwrap().code().unwrap_or(255);
        let _ = sender.send(format!("{}\n", json!({ "exit": { "code": code } }))).await;
    }))
    .into_response()
}

/// Says what it was asked, or waits for ever, or refuses without end.
async fn exec(home: Arc<tempfile::TempDir>, body: bytes::Bytes) -> Response {
    let ask: Value = serde_json::from_slice(&body).unwrap();
    if ask["command"][0] == "sh" {
        return run(home, ask);
    }
    if ask["command"][0] == "wait" {
        let first = format!("{}\n", json!({ "stream": "stdout", "data": "waiting\n" }));
        return Body::from_stream(async_stream(move |sender| async move {
            let _ = sender.send(first).await;
            sender.closed().await;
        }))
        .into_response();
    }
    if ask["command"][0] == "refuse" {
        let words = futures::stream::repeat_with(|| Ok::<_, std::convert::Infallible>("no ".repeat(1024))).take(1000);
        let words = words.chain(futures::stream::pending());
        return (http::StatusCode::UNPROCESSABLE_ENTITY, Body::from_stream(words)).into_response();
    }
    let lines = [
        json!({ "stream": "stdout", "data": ask["command"].to_string() }),
        json!({ "stream": "stderr", "data": "to stderr" }),
        json!({ "exit": { "code": 7 } }),
    ];
    lines.map(|line| format!("{line}\n")).concat().into_response()
}

/// Echoes frames; `close CODE` closes, `flood BYTES` sends that many.
async fn terminal(Query(query): Query<HashMap<String, String>>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(["fsa-tty.v1", "tty"]);
    upgrade.on_upgrade(move |socket| converse(socket, query))
}

async fn converse(mut socket: WebSocket, query: HashMap<String, String>) {
    while let Some(Ok(Message::Binary(frame))) = socket.next().await {
        let text = String::from_utf8_lossy(&frame).into_owned();
        let sent = match text.split_once(' ') {
            Some(("close", code)) => {
                socket.send(Message::Close(Some(CloseFrame { code: code.parse().unwrap(), reason: "as asked".into() }))).await
            }
            Some(("flood", bytes)) => {
                let chunk = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
                let mut left: usize = bytes.parse().unwrap();
                let mut sent = Ok(());
                while left > 0 && sent.is_ok() {
                    let part = chunk.slice(..chunk.len().min(left));
                    left -= part.len();
                    sent = socket.send(Message::Binary(part)).await;
                }
                sent
            }
            Some(("query", key)) => {
                socket.send(Message::Binary(query.get(key).cloned().unwrap_or_default().into_bytes().into())).await
            }
            _ => socket.send(Message::Binary(frame)).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

#[async_trait::async_trait]
impl Orchestrator for World {
    async fn ensure(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError> {
        self.tokens.lock().unwrap().insert(spec.id, spec.agent_token.expose_secret().to_owned());
        self.memory.ensure(spec).await
    }
    async fn remove(&self, id: SandboxId) -> Result<Removed, OrchestratorError> {
        self.memory.remove(id).await
    }
    async fn remove_volume(&self, volume: &VolumeName) -> Result<Removed, OrchestratorError> {
        self.memory.remove_volume(volume).await
    }
    async fn volume(&self, volume: &VolumeName) -> Result<VolumeSeen, OrchestratorError> {
        self.memory.volume(volume).await
    }
    async fn observe(&self, id: SandboxId) -> Result<Seen, OrchestratorError> {
        self.memory.observe(id).await
    }
    fn watch(&self) -> BoxStream<'static, SandboxId> {
        self.memory.watch()
    }
    fn has_agents(&self) -> bool {
        !self.ttyd.load(Ordering::Relaxed)
    }
    async fn connect(&self, id: SandboxId, to: AgentOrPort) -> Result<BoxedIo, ConnectError> {
        if self.memory.observe(id).await.is_ok_and(|seen| seen.instance.is_none()) {
            return Err(ConnectError::NotRunning);
        }
        match to {
            AgentOrPort::Agent if !self.has_agents() => Ok(serve(ttyd::server())),
            AgentOrPort::Agent => {
                let token = self.tokens.lock().unwrap().get(&id).cloned().ok_or(ConnectError::NotRunning)?;
                Ok(serve(self.agent(token)))
            }
            AgentOrPort::Port(port) => {
                let app = self.apps.lock().unwrap().get(&port).cloned().ok_or(ConnectError::NobodyListens(port))?;
                self.connected.fetch_add(1, Ordering::Relaxed);
                Ok(serve(app))
            }
        }
    }
    fn shorter_way(&self, _: SandboxId) -> BoxFuture<'static, ()> {
        let mut shorter = self.shorter.subscribe();
        let there = *shorter.borrow();
        Box::pin(async move {
            if there || shorter.wait_for(|there| *there).await.is_err() {
                std::future::pending().await
            }
        })
    }
    async fn logs(&self, id: SandboxId, from: LogSource) -> Result<BoxStream<'static, LogLine>, OrchestratorError> {
        if self.log_hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let written = self.written.subscribe();
        if written.borrow().is_empty() {
            return self.memory.logs(id, from).await;
        }
        if from != LogSource::Sandbox {
            let text = format!("of {}", from.as_str());
            return Ok(futures::stream::iter([LogLine { at: None, text }]).boxed());
        }
        let lines = futures::stream::unfold((written, 0_usize), |(mut written, at)| async move {
            loop {
                let next = written.borrow_and_update().get(at).cloned();
                if let Some(text) = next {
                    return Some((LogLine { at: None, text }, (written, at + 1)));
                }
                written.changed().await.ok()?;
            }
        });
        Ok(lines.boxed())
    }
    async fn list(&self) -> Result<Vec<OwnedObject>, OrchestratorError> {
        self.memory.list().await
    }
}
