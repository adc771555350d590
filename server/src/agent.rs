//! Asking the agent of one sandbox: a connection by the orchestrator, the sandbox's token, and what
//! went wrong in a viewer's words.

use app::error::{ControlError, ErrorKind};
use engine::{
    orchestrator::{AgentOrPort, BoxedIo, ConnectError, Orchestrator},
    store::SandboxRow,
};
use model::{Cause, SandboxId};
use sandbox_agent::{
    client::{self, ClientError, Finished},
    protocol::http::ExecRequest,
};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tracing::debug;

/// How long a connection to an agent may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an agent may take to begin to answer what it has at hand: one that accepts and says nothing hangs.
pub const ANSWER: Duration = Duration::from_secs(10);

/// For how long a connection by a longer way lasts at least once there is a shorter one: who resumes at once is not taken for one that fails
/// again and again.
const SETTLED: Duration = Duration::from_millis(500);

/// After how long an agent that is asked too often is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The agent of one sandbox.
#[derive(Clone)]
pub struct Agent {
    orchestrator: Arc<dyn Orchestrator>,
    id: SandboxId,
    token: SecretString,
    /// Why the sandbox is not as it should be, where that is recorded.
    cause: Option<Cause>,
}

impl Agent {
    /// Of a sandbox's row.
    #[must_use]
    pub fn of(orchestrator: Arc<dyn Orchestrator>, row: &SandboxRow) -> Self {
        Self { orchestrator, id: row.id, token: row.agent_token.clone(), cause: row.cause.clone() }
    }

    /// Whether there is one: an image of stock ttyd has none.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.orchestrator.has_agents()
    }

    /// What its requests carry.
    #[must_use]
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// A fresh connection: one a request.
    ///
    /// # Errors
    /// The sandbox does not run, or its agent does not answer in time.
    pub async fn connect(&self) -> Result<BoxedIo, ConnectError> {
        debug!(sandbox.id = %self.id, "asking the agent");
        let silent = || ConnectError::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
        tokio::time::timeout(CONNECT, self.orchestrator.connect(self.id, AgentOrPort::Agent))
            .await
            .unwrap_or_else(|_| Err(silent()))
    }

    /// Ends once what is connected from now on goes by a shorter way ([`Orchestrator::shorter_way`]), and not before who was connected by
    /// the longer one has had it for a moment. Ask for it before connecting.
    pub fn shorter_way(&self) -> impl Future<Output = ()> + use<> {
        let shorter = self.orchestrator.shorter_way(self.id);
        async move {
            shorter.await;
            tokio::time::sleep(SETTLED).await;
        }
    }

    /// The same, for who is told in words why there is none.
    ///
    /// # Errors
    /// `409 Conflict` while the sandbox does not run, with its cause where it failed; `503 Service Unavailable` where its agent
    /// does not answer in time.
    pub async fn reach(&self) -> Result<BoxedIo, ControlError> {
        self.connect().await.map_err(|error| match (&error, &self.cause) {
            (ConnectError::NotRunning, Some(cause)) => unreachable(&error).because(cause),
            _ => unreachable(&error),
        })
    }
}

/// What an agent answers, or the head of it, if it begins to in time.
///
/// # Errors
/// Those of the asking; [`ClientError::Broken`] where it says nothing for [`ANSWER`].
pub async fn answered<T>(answer: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    within(ANSWER, answer).await
}

async fn within<T>(time: Duration, answer: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    let silent = |_| Err(ClientError::Broken(format!("nothing came within {} s", time.as_secs()).into()));
    tokio::time::timeout(time, answer).await.unwrap_or_else(silent)
}

/// Runs a command to its end, with at most `most` bytes of each stream. One that has a limit ends soon after it, whatever its
/// agent does.
///
/// # Errors
/// Those of [`client::exec_to_end`], and [`ClientError::Broken`] where the agent says nothing for as long.
pub async fn run_to_end(io: BoxedIo, token: &SecretString, ask: &ExecRequest, most: usize) -> Result<Finished, ClientError> {
    let gathered = client::gather(answered(client::exec(io, token, ask)).await?, most);
    match ask.timeout_ms {
        // The agent ends it by itself, and tells so.
        Some(limit) => within(Duration::from_millis(limit).saturating_add(ANSWER), gathered).await,
        None => gathered.await,
    }
}

/// The sandbox's image has no agent to ask.
#[must_use]
pub fn without_agent() -> ControlError {
    ControlError::new(
        ErrorKind::Conflict,
        "no-agent",
        "The sandbox's image serves a terminal by stock ttyd alone: it has no agent that runs commands or handles files.",
        "Use the terminal, or let the operator choose an image with the agent: --runtime agent or --runtime injected.",
    )
}

/// A connection that could not be made, in words.
#[must_use]
fn unreachable(error: &ConnectError) -> ControlError {
    match error {
        ConnectError::NotRunning => not_running(),
        ConnectError::Refused(cause) => {
            ControlError::new(ErrorKind::Unavailable, "agent-silent", cause.message.clone(), &cause.next_steps.join(" "))
                .because(cause)
        }
        _ => ControlError::new(
            ErrorKind::Unavailable,
            "agent-silent",
            "The sandbox runs, and its agent does not answer.",
            "Wait a few seconds; if it stays so, restart the sandbox.",
        ),
    }
}

/// The sandbox is not running.
#[must_use]
pub fn not_running() -> ControlError {
    ControlError::new(ErrorKind::Conflict, "not-running", "The sandbox is not running.", "Start it.")
}

/// What an agent answered, in words. Its own sentences are for people.
#[must_use]
pub fn refused(error: &ClientError) -> ControlError {
    match error {
        ClientError::Refused { status, body } if *status == http::StatusCode::TOO_MANY_REQUESTS => {
            ControlError::too_many(&body.code, body.error.clone(), ASK_AGAIN)
        }
        ClientError::Refused { status, body } if status.is_client_error() && *status != http::StatusCode::UNAUTHORIZED => {
            let kind = match status.as_u16() {
                404 => ErrorKind::NotFound,
                409 => ErrorKind::Conflict,
                413 => ErrorKind::TooLarge,
                422 => ErrorKind::Invalid,
                _ => ErrorKind::Malformed,
            };
            ControlError::new(kind, &body.code, body.error.clone(), "")
        }
        ClientError::Refused { body, .. } if body.code == "disk-full" => {
            ControlError::new(ErrorKind::Conflict, "disk-full", body.error.clone(), "Delete files that are not needed.")
        }
        _ => ControlError::new(
            ErrorKind::Unavailable,
            "agent-silent",
            "The sandbox's agent did not answer to the end.",
            "Ask again; whether it was done is not known.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{clock::SystemClock, orchestrator::memory::MemoryOrchestrator, random::SystemRandom};
    use model::CauseCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_sandbox_that_failed_is_refused_with_why() {
        let orchestrator = Arc::new(MemoryOrchestrator::new(Arc::new(SystemClock), Arc::new(SystemRandom)));
        let cause = Cause::new(CauseCode::ImageRefused, "The registry gives the image to nobody.", &["Sign in."]).answered(403);
        for cause in [None, Some(cause)] {
            let (id, token) = (SandboxId(uuid::Uuid::from_u128(1)), SecretString::from("token"));
            let agent = Agent { orchestrator: orchestrator.clone(), id, token, cause: cause.clone() };
            let Err(refused) = agent.reach().await else { panic!("nothing runs") };
            assert_eq!((refused.code.as_str(), refused.cause.as_deref()), ("not-running", cause.as_ref()));
        }
        let cause = Cause::new(CauseCode::PermissionMissing, "The account may not.", &["Let it."]);
        assert_eq!(unreachable(&ConnectError::Refused(cause.clone())).cause.as_deref(), Some(&cause));
    }

    #[tokio::test]
    async fn an_agent_that_says_nothing_is_given_up_in_words() {
        let never = std::future::pending::<Result<(), ClientError>>();
        let error = within(Duration::from_millis(20), never).await.unwrap_err();
        assert!(matches!(error, ClientError::Broken(_)), "{error}");
        let told = refused(&error);
        assert_eq!((told.kind, told.code.as_str()), (ErrorKind::Unavailable, "agent-silent"));
        within(Duration::from_secs(5), async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn a_command_without_a_limit_may_be_silent_once_it_began() {
        let (ours, mut agents) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let _ = agents.read(&mut [0; 4096]).await;
            let body = "{\"stream\":\"stdout\",\"data\":\"a\"}\n{\"exit\":{\"code\":0}}\n";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            agents.write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            agents.write_all(body.as_bytes()).await.unwrap();
        });
        let done = run_to_end(Box::new(ours), &SecretString::from("token"), &ExecRequest::default(), 10).await.unwrap();
        assert_eq!(done.stdout, b"a");
    }
}
