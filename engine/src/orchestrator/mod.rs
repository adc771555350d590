//! What makes sandboxes exist. Names no Kubernetes type and no process id.
//!
//! Implementations: `local::LocalOrchestrator` (this machine), [`memory::MemoryOrchestrator`] (the
//! simulator's). All pass [`contract`].

pub mod contract;
pub mod memory;

use crate::measure::WatchFact;
use futures::{future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;
use model::{
    Cause, Desired, InstallationId, InstanceFact, Observed, ProjectId, ResourceName, SandboxId, Slug, Stage, resources::Resources,
};
use secrecy::SecretString;
use std::{collections::BTreeMap, path::PathBuf};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

/// Everything that an orchestrator needs to know of a sandbox. A pure function of the rows.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// Its id; on everything made for it.
    pub id: SandboxId,
    /// Whose: on everything made for it.
    pub installation: InstallationId,
    /// Of which project.
    pub project: ProjectId,
    /// What that project is called where names are plain: on everything made for it, for people.
    pub slug: Slug,
    /// The name of its objects, chosen before any was made.
    pub name: ResourceName,
    /// The project's home folder. Outlives the sandbox.
    pub volume: VolumeName,
    /// What it should be. Never [`Desired::Terminated`]: that is [`Orchestrator::remove`].
    pub desired: Desired,
    /// The ask that this spec is of.
    pub generation: i64,
    /// A run that was started with another count is replaced.
    pub restart_count: i64,
    /// What it may use.
    pub resources: Resources,
    /// The environment of everything in it, merged.
    pub env: BTreeMap<String, SecretString>,
    /// Which revision of the project's variables that is.
    pub env_revision: i64,
    /// What every request to its agent carries. Browsers never have it.
    pub agent_token: SecretString,
    /// Where connections to 127.0.0.1:5432 inside it go, where the orchestrator forwards them.
    pub database: Option<DatabaseEndpoint>,
}

/// The name of a volume: one path component, a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeName(pub String);

impl VolumeName {
    /// A project's home folder: a pure function of its id, so that it is known before and after everything else.
    #[must_use]
    pub fn of(project: ProjectId) -> Self {
        Self(format!("volume-{project}"))
    }

    /// Whose it is, where it is one of [`Self::of`].
    #[must_use]
    pub fn project(&self) -> Option<ProjectId> {
        self.0.strip_prefix("volume-")?.parse().ok()
    }
}

/// A PostgreSQL server, as the machine of the control plane reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseEndpoint {
    /// Its Unix socket (the file itself: `/…/.s.PGSQL.5432`).
    Unix(PathBuf),
    /// Host and port.
    Tcp(String, u16),
}

/// What is really there of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether anything of it is there. Its volume does not count.
    pub present: bool,
    /// The run that is alive, if one is.
    pub instance: Option<InstanceFact>,
    /// Where none is seen: the id of a run that is being started, and may be alive already without that being known here, while
    /// another process knows.
    pub starting: Option<String>,
    /// Whether its ways in and out are there, for that run.
    pub network: bool,
    /// How far its agent is, for that run.
    pub agent: AgentSeen,
    /// What stands in the way.
    pub cause: Option<Cause>,
    /// How often its runs ended by themselves within the last ten minutes, and when the last did.
    pub ended_by_itself: u32,
    /// When the last run ended by itself.
    pub ended_at: Option<Timestamp>,
}

impl Seen {
    /// The same with a run that is recorded, where nothing is known here that speaks against it ([`Self::starting`]).
    #[must_use]
    pub fn with(mut self, recorded: &Observed) -> Self {
        let run = recorded.instance.as_ref().filter(|run| self.starting.as_ref() == Some(&run.id));
        if self.instance.is_none()
            && let Some(run) = run
        {
            self.instance = Some(run.clone());
            if recorded.stage(Stage::TerminalInitialization).ended_at.is_some() {
                self.agent = AgentSeen::ShellStarted;
            }
        }
        self
    }
}

/// How far an agent is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentSeen {
    /// No answer.
    #[default]
    Silent,
    /// It answers; no shell has started.
    Answering,
    /// It answers, and a shell has started.
    ShellStarted,
}

/// What is there of a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VolumeSeen {
    /// Nothing: what is made next of its name is empty.
    #[default]
    Absent,
    /// It is there, with what is in it.
    There,
    /// Somebody removes it, and it is not gone yet.
    Leaving,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Nothing is left.
    Gone,
    /// Under way; ask again.
    Going,
}

/// Where a connection should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentOrPort {
    /// At the sandbox agent's HTTP server (the caller sends the token).
    Agent,
    /// At a port inside, on 127.0.0.1 or ::1.
    Port(u16),
}

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
/// Any byte stream.
pub type BoxedIo = Box<dyn Io>;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The sandbox is not running.
    #[error("the sandbox is not running")]
    NotRunning,
    /// Nothing listens there.
    #[error("nothing listens on port {0}")]
    NobodyListens(u16),
    /// Whoever leads there does not allow it.
    #[error("{}", .0.message)]
    Refused(Cause),
    /// The rest.
    #[error("connect to the sandbox")]
    Io(#[source] std::io::Error),
}

/// Why a verb failed. It may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum OrchestratorError {
    /// With a cause to show.
    #[error("{}", .0.message)]
    Caused(Cause),
    /// Without one.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Something in the world that carries our installation's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedObject {
    /// The sandbox that it says it belongs to.
    pub sandbox: SandboxId,
    /// What it is: "keeper", "volume", "Deployment".
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether data would be lost with it. Such are never removed by a sweep.
    pub holds_data: bool,
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// Of the sandbox itself, in its present run.
    Sandbox,
    /// Of its run before this one, where that is still there.
    Past,
    /// Of what keeps it, on one machine.
    Keeper,
    /// Of what prepares it before it starts: init containers, on a cluster.
    Install,
    /// Of its project's database, where that is a server of its own.
    Database,
    /// What happened to its objects, as the orchestrator tells it; on one machine, its keeper.
    Events,
}

impl LogSource {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Sandbox, Self::Past, Self::Keeper, Self::Install, Self::Database, Self::Events];

    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Past => "past",
            Self::Keeper => "keeper",
            Self::Install => "install",
            Self::Database => "database",
            Self::Events => "events",
        }
    }
}

impl std::str::FromStr for LogSource {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|source| source.as_str() == text).ok_or(())
    }
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When, where it is known.
    pub at: Option<Timestamp>,
    /// The text, without its line end.
    pub text: String,
}

/// A connection out of a sandbox that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Out of which.
    pub sandbox: SandboxId,
    /// When.
    pub at: Timestamp,
    /// `HOST:PORT`, as a program inside wrote it: nothing to trust.
    pub to: String,
    /// What that is: "a private address".
    pub why: String,
}

/// Makes sandboxes exist.
///
/// Every verb is idempotent and safe to repeat after a crash at any point, also while an earlier
/// call of it, from a process that is gone, has done half. Verbs on different sandboxes run side by
/// side; on one sandbox the caller (the holder of the row's lease) makes one at a time.
#[async_trait::async_trait]
pub trait Orchestrator: Send + Sync + 'static {
    /// Moves the sandbox toward `spec.desired`, and returns once the next step is under way: what
    /// comes of it is seen by [`Self::observe`], and [`Self::watch`] tells when. A run of another
    /// `restart_count` is ended, and ended wholly, before its successor starts. `Stopped` ends the
    /// run and keeps the volume. A first call makes the volume.
    async fn ensure(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError>;
    /// Removes everything of the sandbox but its volume, if it exists.
    async fn remove(&self, id: SandboxId) -> Result<Removed, OrchestratorError>;
    /// Removes a volume with all that is in it, if it exists. Refused while a run uses it.
    async fn remove_volume(&self, volume: &VolumeName) -> Result<Removed, OrchestratorError>;
    /// Whether a volume is there, whoever removed it.
    async fn volume(&self, volume: &VolumeName) -> Result<VolumeSeen, OrchestratorError>;
    /// What is there, from what is known already where that is kept up to date. Fails while it is not
    /// ([`Self::health`]): what is old would undo what another process has seen since.
    async fn observe(&self, id: SandboxId) -> Result<Seen, OrchestratorError>;
    /// "Look again at this one", for as long as the stream is held.
    fn watch(&self) -> BoxStream<'static, SandboxId>;
    /// Bytes to the agent or to a port inside.
    async fn connect(&self, id: SandboxId, to: AgentOrPort) -> Result<BoxedIo, ConnectError>;
    /// Ends once the sandbox is reached by a shorter way than it is at this moment: what lasts, and was connected by the longer one, is
    /// then better connected anew. Never where that does not change.
    fn shorter_way(&self, _: SandboxId) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
    /// The log so far, and then what comes. One that this orchestrator does not have is empty, and over.
    async fn logs(&self, id: SandboxId, from: LogSource) -> Result<BoxStream<'static, LogLine>, OrchestratorError>;
    /// Connections that were refused since this was last asked; a destination that is tried again and again
    /// is told now and then. Of an orchestrator that does not know, none.
    async fn refusals(&self) -> Vec<Refused> {
        Vec::new()
    }
    /// What stands in the way of seeing and changing the world as a whole, such as a cluster that does not
    /// answer; and when that changes. One that is always there says `None` for ever.
    fn health(&self) -> watch::Receiver<Option<Cause>> {
        watch::channel(None).1
    }
    /// How each of its watches is; none where it knows by itself.
    fn watches(&self) -> Vec<WatchFact> {
        Vec::new()
    }
    /// Whether its sandboxes have our agent. Those without speak stock ttyd's protocol at [`AgentOrPort::Agent`], and
    /// nothing else.
    fn has_agents(&self) -> bool {
        true
    }
    /// Everything of this installation, for the orphan sweep and the doctor.
    async fn list(&self) -> Result<Vec<OwnedObject>, OrchestratorError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_recorded_stays_while_it_is_not_known_whether_it_has_begun() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let run = |id: &str| InstanceFact { id: id.to_owned(), started_at: at, restart_count: 1, env_revision: 1 };
        let starting = |id: Option<&str>| Seen { starting: id.map(str::to_owned), ..Seen::default() };
        let mut recorded = Observed::default();
        assert_eq!(starting(Some("a")).with(&recorded).instance, None, "nobody has seen it");
        recorded.instance = Some(run("a"));
        let seen = starting(Some("a")).with(&recorded);
        assert_eq!((seen.instance, seen.agent), (Some(run("a")), AgentSeen::Silent));
        recorded.stages[Stage::TerminalInitialization.index()].ended_at = Some(at);
        assert_eq!(starting(Some("a")).with(&recorded).agent, AgentSeen::ShellStarted);
        for other in [None, Some("b")] {
            assert_eq!(starting(other).with(&recorded).instance, None, "it has ended");
        }
        let another = Seen { instance: Some(run("b")), ..Seen::default() };
        assert_eq!(another.clone().with(&recorded), another);
    }
}
