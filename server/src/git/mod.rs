//! git in a sandbox, for its owner: what has changed, a commit, a push, a folder that becomes a new repository.
//!
//! ```text
//!   REST ─▶ Controller ─▶ status, commit, push ─▶ the agent runs git, and its words are a refusal or an answer
//!                └──────▶ publications ─▶ Publisher: look, make it at GitHub, commit and push
//! ```
//!
//! git runs inside, as in a terminal: with the user's own settings and hooks. For a push it asks the agent's helper;
//! what the control plane would answer there comes through a pipe as well, for an agent that has no helper.

pub(crate) mod claim;
pub mod publish;
pub(crate) mod said;
pub mod script;
pub mod status;
pub mod words;

use crate::{
    agent::{self, Agent, refused, without_agent},
    github::create::Author,
    http::errors,
};
use app::error::{ControlError, ErrorKind};
use sandbox_agent::protocol::http::{ExecExit, ExecRequest};
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, time::Duration};

/// How much of git's words is read.
const MOST_BYTES: usize = 1024 * 1024;
/// How long git may look, or commit: of a folder of 10 GB on a busy machine.
pub const SHORT: Duration = Duration::from_secs(60);
/// How long it may push: 4 GB over 20 Mbit/s.
pub const LONG: Duration = Duration::from_secs(1800);

/// What a script of [`script`] said.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; `None` where it was ended.
    pub code: Option<i32>,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

impl Ran {
    fn of(exit: ExecExit, stdout: Vec<u8>, stderr: &[u8]) -> Self {
        let (code, timed_out) = match exit {
            ExecExit::Code(code) => (Some(code), false),
            ExecExit::Signal(_) => (None, false),
            ExecExit::TimedOut(_) => (None, true),
        };
        Self { code, timed_out, stdout, stderr: String::from_utf8_lossy(stderr).into_owned() }
    }
}

/// A request for the agent. `author` is whose commits they are.
#[must_use]
pub fn request(script: &str, arguments: &[&str], author: Option<&Author>, stdin: String, limit: Duration) -> ExecRequest {
    let command = ["sh", "-c", script, "sh"].into_iter().chain(arguments.iter().copied()).map(str::to_owned).collect();
    let mut env: BTreeMap<String, String> =
        [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", ""), ("LC_ALL", "C.UTF-8"), ("LANGUAGE", "C"), ("GIT_EDITOR", "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    if let Some(Author { name, email }) = author {
        for (who, value) in [("NAME", name), ("EMAIL", email)] {
            env.insert(format!("GIT_AUTHOR_{who}"), value.clone());
            env.insert(format!("GIT_COMMITTER_{who}"), value.clone());
        }
    }
    let timeout_ms = u64::try_from(limit.as_millis()).ok();
    ExecRequest { command, env, stdin: Some(stdin), timeout_ms, ..ExecRequest::default() }
}

/// What git's helper protocol has of a token; nothing without one.
#[must_use]
pub fn credentials(token: Option<&SecretString>) -> String {
    token.map(|token| format!("username=x-access-token\npassword={}\n", token.expose_secret())).unwrap_or_default()
}

/// Runs a script to its end, also where nobody waits for it any more.
///
/// # Errors
/// `409 Conflict` while the sandbox does not run or has no agent, `503 Service Unavailable` where the agent is silent.
pub async fn run(agent: &Agent, ask: &ExecRequest) -> Result<Ran, ControlError> {
    if !agent.is_there() {
        return Err(without_agent());
    }
    let io = agent.reach().await?;
    let (token, ask) = (agent.token().clone(), ask.clone());
    // Who asked may go away in the middle: git that is killed leaves its locks behind.
    let done = tokio::spawn(async move { agent::run_to_end(io, &token, &ask, MOST_BYTES).await });
    let done = done.await.map_err(|_| errors::internal())?.map_err(|error| refused(&error))?;
    Ok(Ran::of(done.exit, done.stdout, &done.stderr))
}

/// A folder's name, of the sandbox's home.
///
/// # Errors
/// `422 Unprocessable Content`: empty, hidden, or a path.
pub fn folder_name(name: &str) -> Result<&str, ControlError> {
    let bad =
        name.is_empty() || name.starts_with('.') || name.len() > 200 || name.contains('/') || name.chars().any(char::is_control);
    if bad {
        let message = "A repository is a folder of the home folder, by its name, and none that is hidden.";
        let next = "Name one such as `app`; what lies in the home folder itself has to be moved into one.";
        return Err(ControlError::new(ErrorKind::Invalid, "folder-name", message, next).at("folder"));
    }
    Ok(name)
}

/// A commit's message.
///
/// # Errors
/// `422 Unprocessable Content`: empty, or over 10,000 characters.
pub fn message(text: &str) -> Result<&str, ControlError> {
    let text = text.trim();
    let (code, message, next) = match text.chars().count() {
        0 => ("message-empty", "A commit needs a message.", "Say what has changed."),
        _ if text.contains('\0') => ("message-nul", "A NUL character stands in the message.", "Take it out."),
        1..=10_000 => return Ok(text),
        _ => ("message-too-long", "The message has over 10,000 characters.", "Shorten it."),
    };
    Err(ControlError::new(ErrorKind::Invalid, code, message, next).at("message"))
}
