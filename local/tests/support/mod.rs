//! A world for tests: a data folder in /tmp, the real keeper, the real agent, the real bubblewrap.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use engine::orchestrator::{AgentOrPort, AgentSeen, Orchestrator, Removed, SandboxSpec, Seen};
use local::{LocalOrchestrator, LocalSettings, datafolder::DataFolder};
use model::{Desired, InstallationId, resources::Preset};
use sandbox_agent::protocol::http::{ExecExit, ExecLine, ExecRequest, OutputStream};
use secrecy::ExposeSecret as _;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why the tests of sandboxes cannot run here, if so: for [`or_skip!`].
pub fn skip() -> Option<String> {
    let works = Command::new("bwrap").args(["--unshare-all", "--ro-bind", "/", "/", "true"]).output();
    match works {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("bubblewrap does not work here: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("bubblewrap is not here: {error}")),
    }
}

/// Ends a test that cannot run here, whose reason it is given.
#[macro_export]
macro_rules! or_skip {
    ($reason:expr) => {
        if let Some(reason) = $reason {
            return $crate::support::skipped(&reason);
        }
    };
}

/// A test cannot run here. Under `FSA_REQUIRE=1` that is a failure; else it says so and counts as passed.
pub fn skipped(reason: &str) {
    assert!(std::env::var("FSA_REQUIRE").as_deref() != Ok("1"), "FSA_REQUIRE=1, and this test cannot run: {reason}");
    println!("skipped: {reason}");
}

/// The agent: `FSA_AGENT_BINARY`, the release's (`FSA_AGENT`), or one that is built now.
pub fn agent() -> PathBuf {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT
        .get_or_init(|| {
            if let Some(given) = std::env::var_os("FSA_AGENT_BINARY").or_else(|| std::env::var_os("FSA_AGENT")) {
                return given.into();
            }
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let built = Command::new(cargo)
                .args(["build", "--release", "--quiet", "-p", "sandbox-agent", "--bin", "sandbox-agent"])
                // Some tests run in a folder of their own.
                .current_dir(Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into())).join(".."))
                .status()
                .unwrap();
            assert!(built.success(), "the agent builds");
            let keeper = Path::new(env!("CARGO_BIN_EXE_fsa-keeper"));
            keeper.parent().unwrap().parent().unwrap().join("release/sandbox-agent")
        })
        .clone()
}

pub struct World {
    pub orchestrator: LocalOrchestrator,
    pub settings: LocalSettings,
    /// Ends what a failed test left running, while the folder is still there.
    _down: Down,
    pub data: DataFolder,
    pub folder: tempfile::TempDir,
}

pub fn settings(data: &Path) -> LocalSettings {
    LocalSettings {
        keeper_command: match std::env::var_os("FSA_TEST_KEEPER") {
            // The product's own program, for measurements.
            Some(program) => vec![program, "keeper".into()],
            None => vec![env!("CARGO_BIN_EXE_fsa-keeper").into()],
        },
        ..LocalSettings::new(data.to_owned(), InstallationId(Uuid::from_u128(1)), agent())
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut LocalSettings)) -> Self {
        let folder = tempfile::Builder::new().prefix("fsa-test-").tempdir_in("/tmp").unwrap();
        Self::at_with(folder, change).await
    }

    /// On a folder that is there already.
    pub async fn at(folder: tempfile::TempDir) -> Self {
        Self::at_with(folder, |_| {}).await
    }

    async fn at_with(folder: tempfile::TempDir, change: impl FnOnce(&mut LocalSettings)) -> Self {
        let data = DataFolder::open(folder.path()).unwrap();
        let mut settings = settings(data.path());
        change(&mut settings);
        let orchestrator = LocalOrchestrator::new(settings.clone()).await.unwrap();
        Self { orchestrator, settings, _down: Down(data.path().to_owned()), data, folder }
    }

    /// Ensures until the sandbox is wholly up.
    pub async fn up(&self, spec: &SandboxSpec) -> Seen {
        let start = Instant::now();
        loop {
            self.orchestrator.ensure(spec).await.unwrap();
            let seen = self.orchestrator.observe(spec.id).await.unwrap();
            let right = seen.instance.as_ref().is_some_and(|run| run.restart_count == spec.restart_count);
            if right && seen.network && seen.agent == AgentSeen::ShellStarted {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "not up: {seen:?}\n{}", self.log(spec));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Removes a sandbox and its volume.
    pub async fn remove(&self, spec: &SandboxSpec) {
        let start = Instant::now();
        while self.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
            assert!(start.elapsed() < PATIENCE, "not gone");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.orchestrator.remove_volume(&spec.volume).await.unwrap();
        // Its files go on a thread of their own; a test's folder must not be removed at the same time.
        while std::fs::read_dir(self.data.path().join("trash")).unwrap().count() > 0 {
            assert!(start.elapsed() < PATIENCE, "files are left");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets go of the folder, with what is in it.
    pub async fn close(self) -> tempfile::TempDir {
        self.folder
    }

    pub async fn until(&self, spec: &SandboxSpec, what: &str, condition: impl Fn(&Seen) -> bool) -> Seen {
        let start = Instant::now();
        loop {
            let seen = self.orchestrator.observe(spec.id).await.unwrap();
            if condition(&seen) {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "waited for {what}: {seen:?}\n{}", self.log(spec));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn sh(&self, spec: &SandboxSpec, script: &str) -> Output {
        exec(&self.orchestrator, spec, script).await
    }

    pub fn sandbox_folder(&self, spec: &SandboxSpec) -> PathBuf {
        self.data.path().join("sandboxes").join(spec.id.to_string())
    }

    pub fn log(&self, spec: &SandboxSpec) -> String {
        let folder = self.sandbox_folder(spec);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        format!("keeper.log:\n{}sandbox.log:\n{}", read("keeper.log"), read("sandbox.log"))
    }
}

struct Down(PathBuf);

impl Drop for Down {
    fn drop(&mut self) {
        let path = self.0.clone();
        let ended = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(local::down(&path))
        });
        let _ = ended.join();
    }
}

pub fn spec() -> SandboxSpec {
    let mut spec = engine::orchestrator::contract::spec();
    spec.resources = Preset::Medium.resources();
    spec
}

pub fn stopped(spec: &SandboxSpec) -> SandboxSpec {
    SandboxSpec { desired: Desired::Stopped, generation: spec.generation + 1, ..spec.clone() }
}

#[derive(Debug)]
pub struct Output {
    pub out: String,
    pub err: String,
    pub exit: Option<ExecExit>,
}

impl Output {
    pub fn ok(self) -> String {
        assert_eq!(self.exit, Some(ExecExit::Code(0)), "{self:?}");
        self.out
    }
}

/// Runs a script inside, by the agent's `POST /v1/exec`.
pub async fn exec(orchestrator: &dyn Orchestrator, spec: &SandboxSpec, script: &str) -> Output {
    let body = serde_json::to_string(&ExecRequest {
        command: vec!["/bin/bash".into(), "-c".into(), script.into()],
        timeout_ms: Some(120_000),
        ..ExecRequest::default()
    })
    .unwrap();
    let mut io = orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let head = format!(
        "POST /v1/exec HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        spec.agent_token.expose_secret(),
        body.len()
    );
    io.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    let (head, body) = split(&answer);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{}", String::from_utf8_lossy(&body));
    let mut output = Output { out: String::new(), err: String::new(), exit: None };
    for line in String::from_utf8_lossy(&body).lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")) {
            ExecLine::Exit { exit } => output.exit = Some(exit),
            ExecLine::Text { stream: OutputStream::Stdout, data } => output.out += &data,
            ExecLine::Text { stream: OutputStream::Stderr, data } => output.err += &data,
            ExecLine::Binary { .. } => output.out += "<binary>",
        }
    }
    output
}

/// Head and body of an answer, chunks put together.
fn split(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut rest = &answer[end + 4..];
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (head, rest.to_vec());
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8_lossy(&rest[..line]).trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
    (head, body)
}

/// The first process of a sandbox, as the machine numbers it.
pub fn init_pid(world: &World, spec: &SandboxSpec) -> i32 {
    ask(world, spec)["initPid"].as_i64().unwrap() as i32
}

/// The keeper's process.
pub fn keeper_pid(world: &World, spec: &SandboxSpec) -> i32 {
    ask(world, spec)["keeperPid"].as_i64().unwrap() as i32
}

/// What the keeper says when it is asked.
pub fn ask(world: &World, spec: &SandboxSpec) -> serde_json::Value {
    ask_in(&world.sandbox_folder(spec))
}

/// The same of the keeper of a sandbox's folder.
pub fn ask_in(folder: &Path) -> serde_json::Value {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(folder.join("keeper.sock")).unwrap();
    stream.write_all(b"{\"ask\":\"status\"}\n").unwrap();
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}
