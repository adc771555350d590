//! What git asks for: `sandbox-agent git-credential`, which git runs as its helper, asks here, and the
//! control plane, which follows `/v1/events` anyway, is asked by an event.
//!
//! ```text
//!   git ── helper ──▶ HOME/.fsa/git.sock ──▶ Credentials event ──▶ control plane
//!    ◀────────────────────────── POST /v1/credentials ◀────────────────┘
//! ```
//!
//! The answer passes through and is kept nowhere. Whoever runs inside may ask: which repository is
//! answered for is the control plane's to say.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs, io,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream as Plain,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::oneshot,
    task::spawn_local,
    time::timeout,
};

use super::{Agent, listen};
use crate::protocol::http::{AgentEvent, CredentialAnswer};

/// Where the helper finds the socket.
pub const SOCKET_VARIABLE: &str = "FSA_GIT_SOCKET";
/// How long the control plane has to answer: it may have to ask GitHub first. Then git goes on without.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest question: an address is 2,000 characters at most.
const QUESTION_BYTES: u64 = 8192;
/// How many may wait at once.
const WAITING: usize = 32;

/// Questions that wait.
#[derive(Default)]
pub struct Credentials {
    waiting: RefCell<HashMap<u64, oneshot::Sender<CredentialAnswer>>>,
    last: Cell<u64>,
}

impl Credentials {
    /// Hands an answer on. `false` if nobody waits for it any more.
    pub fn answer(&self, answer: CredentialAnswer) -> bool {
        self.waiting.borrow_mut().remove(&answer.ask).is_some_and(|waits| waits.send(answer).is_ok())
    }
}

/// The socket's place in a home folder.
pub fn socket(home: &Path) -> PathBuf {
    home.join(".fsa/git.sock")
}

/// Takes questions for as long as the agent runs.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn serve(agent: &Rc<Agent>) -> io::Result<()> {
    let path = socket(&agent.config.home);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let agent = agent.clone();
    spawn_local(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    listen::after(&error).await;
                    continue;
                }
            };
            let agent = agent.clone();
            spawn_local(async move {
                // One that goes away in the middle is no news.
                let _ = timeout(PATIENCE + Duration::from_secs(5), converse(&agent, stream)).await;
            });
        }
    });
    Ok(())
}

async fn converse(agent: &Agent, mut stream: UnixStream) -> io::Result<()> {
    let mut question = Vec::new();
    (&mut stream).take(QUESTION_BYTES).read_to_end(&mut question).await?;
    let question = String::from_utf8_lossy(&question);
    let field = |name: &str| {
        question.lines().find_map(|line| line.split_once('=').filter(|(own, _)| *own == name)).map(|(_, value)| value)
    };
    let (Some(protocol), Some(host)) = (field("protocol"), field("host")) else { return Ok(()) };
    // Nobody listens: git asks no one, and says that it may not.
    if !agent.events.listened() || agent.credentials.waiting.borrow().len() >= WAITING {
        return Ok(());
    }
    let ask = agent.credentials.last.get() + 1;
    agent.credentials.last.set(ask);
    let (sender, receiver) = oneshot::channel();
    agent.credentials.waiting.borrow_mut().insert(ask, sender);
    let path = field("path").map(str::to_owned);
    agent.events.tell(&AgentEvent::Credentials { ask, protocol: protocol.to_owned(), host: host.to_owned(), path });
    let answer = timeout(PATIENCE, receiver).await;
    agent.credentials.waiting.borrow_mut().remove(&ask);
    if let Ok(Ok(CredentialAnswer { username: Some(username), password: Some(password), .. })) = answer {
        stream.write_all(format!("username={username}\npassword={password}\n").as_bytes()).await?;
    }
    Ok(())
}

/// `sandbox-agent git-credential get`: what git runs. Anything but `get` is nothing to us.
///
/// # Errors
/// Its standard input or output is broken. No agent is no error: git then goes on without.
pub fn helper(operation: &str) -> io::Result<()> {
    if operation != "get" {
        return Ok(());
    }
    let mut question = String::new();
    io::stdin().lock().take(QUESTION_BYTES).read_to_string(&mut question)?;
    let Some(path) = std::env::var_os(SOCKET_VARIABLE) else { return Ok(()) };
    let Ok(mut stream) = Plain::connect(path) else { return Ok(()) };
    let mut answer = Vec::new();
    let told = stream.write_all(question.as_bytes()).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    if told.is_ok() && stream.read_to_end(&mut answer).is_ok() {
        io::stdout().lock().write_all(&answer)?;
    }
    Ok(())
}
