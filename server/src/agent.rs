//! Asking the agent of one sandbox: a connection by the orchestrator, the sandbox's token, and what
//! went wrong in a viewer's words.

use app::error::{ControlError, ErrorKind};
use engine::{
    orchestrator::{AgentOrPort, BoxedIo, ConnectError, Orchestrator},
    store::SandboxRow,
};
use model::SandboxId;
use sandbox_agent::client::ClientError;
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tracing::debug;

/// How long a connection to an agent may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an agent may take to begin to answer what it has at hand: one that accepts and says nothing hangs.
pub const ANSWER: Duration = Duration::from_secs(10);

/// After how long an agent that is asked too often is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The agent of one sandbox.
#[derive(Clone)]
pub struct Agent {
    orchestrator: Arc<dyn Orchestrator>,
    id: SandboxId,
    token: SecretString,
}

impl Agent {
    /// Of a sandbox's row.
    #[must_use]
    pub fn of(orchestrator: Arc<dyn Orchestrator>, row: &SandboxRow) -> Self {
        Self { orchestrator, id: row.id, token: row.agent_token.clone() }
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
pub fn unreachable(error: &ConnectError) -> ControlError {
    match error {
        ConnectError::NotRunning => not_running(),
        ConnectError::Refused(cause) => {
            ControlError::new(ErrorKind::Unavailable, "agent-silent", cause.message.clone(), &cause.next_steps.join(" "))
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
            "Ask again; whether the command ran is not known.",
        ),
    }
}
