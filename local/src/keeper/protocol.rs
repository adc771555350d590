//! What the control plane and a keeper say to each other: JSON, one line each.
//!
//! The first line of a keeper's life is its [`Config`], over the descriptor that is its standard
//! input; after it, that connection is one like those of `keeper.sock`: [`Ask`] in, [`Status`] out.
//! A newer control plane goes on speaking with older keepers, so fields are added with a default and
//! never renamed.

use super::egress::EgressRule;
use engine::orchestrator::{AgentSeen, DatabaseEndpoint};
use jiff::Timestamp;
use model::{Cause, InstallationId, InstanceFact, ProjectId, SandboxId, resources::Resources};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Everything that a keeper needs. Holds secrets: never on disk, in arguments or in the environment.
#[derive(Clone, Serialize, Deserialize)]
pub struct Config {
    /// Whose.
    pub installation: InstallationId,
    /// Which sandbox.
    pub sandbox: SandboxId,
    /// Of which project.
    pub project: ProjectId,
    /// The name of its objects, and its host name.
    pub name: String,
    /// The sandbox's own folder.
    pub folder: PathBuf,
    /// The home folder.
    pub home: PathBuf,
    /// The host uid that everything in it runs as; `None`: the keeper's.
    pub uid: Option<u32>,
    /// The volume's name.
    pub volume: String,
    /// The id of this run.
    pub run: String,
    /// The count that it was asked for with.
    pub restart_count: i64,
    /// The revision of its variables.
    pub env_revision: i64,
    /// What it may use.
    pub resources: Resources,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// What every request to its agent carries.
    pub agent_token: Secret,
    /// Where 127.0.0.1:5432 inside leads to.
    pub database: Option<Endpoint>,
    /// The agent's program.
    pub agent: PathBuf,
    /// The folder of Claude Code.
    pub claude: Option<PathBuf>,
    /// Whether credentials for it are there.
    pub claude_credentials: bool,
    /// Ways out beside the public internet.
    pub egress: Vec<EgressRule>,
    /// A network device where one can be had, or a proxy in any case.
    pub network_device: bool,
    /// With namespaces, or the operator went without them where the machine refuses them.
    pub isolated: bool,
    /// The program that makes them.
    #[serde(default = "bubblewrap")]
    pub bubblewrap: PathBuf,
    /// What starts a keeper, for its helper.
    pub keeper_command: Vec<PathBuf>,
}

fn bubblewrap() -> PathBuf {
    crate::settings::BUBBLEWRAP.into()
}

/// A database's address, as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String, u16),
}

impl From<&DatabaseEndpoint> for Endpoint {
    fn from(endpoint: &DatabaseEndpoint) -> Self {
        match endpoint {
            DatabaseEndpoint::Unix(path) => Self::Unix(path.clone()),
            DatabaseEndpoint::Tcp(host, port) => Self::Tcp(host.clone(), *port),
        }
    }
}

/// What the control plane wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Ask {
    /// One status.
    Status,
    /// A status now, and one at every change.
    Watch,
    /// End the sandbox: politely first, and after the grace by force. Then the keeper ends.
    Stop {
        /// How long it may take by itself.
        grace_ms: u64,
    },
}

/// How a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whose.
    pub installation: InstallationId,
    /// Which sandbox.
    pub sandbox: SandboxId,
    /// Its objects' name.
    pub name: String,
    /// Its volume's name.
    pub volume: String,
    /// The run.
    pub run: InstanceFact,
    /// How far it is.
    pub state: State,
    /// The keeper's own process.
    pub keeper_pid: i32,
    /// The first process of the sandbox, as the machine numbers it.
    pub init_pid: Option<i32>,
    /// Whether its ways in and out are there.
    pub network: bool,
    /// By what.
    pub way_out: WayOut,
    /// How far its agent is.
    pub agent: Agent,
    /// What stands in the way.
    pub cause: Option<Cause>,
    /// Whether it has namespaces of its own.
    pub isolated: bool,
    /// How many connections were refused.
    #[serde(default)]
    pub refused: u64,
    /// What every request to its agent carries. Whoever may ask a keeper may know it.
    pub agent_token: Secret,
    /// With [`State::Ended`]: how. `ends.jsonl` has it too, where there was room on the disk.
    #[serde(default)]
    pub end: Option<End>,
}

/// A text that never shows in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Being set up.
    Starting,
    /// Its first process runs.
    Running,
    /// Told to end.
    Stopping,
    /// Nothing of it runs any more; the keeper is about to end.
    Ended,
}

/// How the inside reaches the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayOut {
    /// Through a network device: every program.
    Device,
    /// Through an HTTP proxy: programs that look at `HTTPS_PROXY`.
    Proxy,
    /// As the machine itself (no isolation).
    Machine,
    /// Not at all.
    None,
}

/// How far an agent is; [`AgentSeen`] as it goes over the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agent {
    /// No answer.
    #[default]
    Silent,
    /// It answers; no shell has started.
    Answering,
    /// It answers, and a shell has started.
    ShellStarted,
}

impl From<Agent> for AgentSeen {
    fn from(agent: Agent) -> Self {
        match agent {
            Agent::Silent => Self::Silent,
            Agent::Answering => Self::Answering,
            Agent::ShellStarted => Self::ShellStarted,
        }
    }
}

/// How a run ended; one line of `ends.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Which run.
    pub run: String,
    /// When.
    pub at: Timestamp,
    /// Whether nobody had asked for it.
    pub by_itself: bool,
    /// The exit code of its first process; 128 and more: a signal.
    pub code: Option<i32>,
    /// Why, where it is known.
    pub cause: Option<Cause>,
}

/// `about.json`: whose a sandbox's folder is. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Whose.
    pub installation: InstallationId,
    /// Of which project.
    pub project: ProjectId,
    /// Its objects' name.
    pub name: String,
    /// Its volume's name.
    pub volume: String,
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use uuid::Uuid;

    /// What the keeper of a sandbox that is well says.
    pub fn status(sandbox: SandboxId) -> Status {
        let run = InstanceFact { id: "run".to_owned(), started_at: Timestamp::UNIX_EPOCH, restart_count: 1, env_revision: 1 };
        Status {
            installation: InstallationId(Uuid::from_u128(1)),
            sandbox,
            name: "name".to_owned(),
            volume: "volume".to_owned(),
            run,
            state: State::Running,
            keeper_pid: 0,
            init_pid: None,
            network: true,
            way_out: WayOut::Device,
            agent: Agent::ShellStarted,
            cause: None,
            isolated: true,
            refused: 0,
            agent_token: Secret("token".to_owned()),
            end: None,
        }
    }

    #[test]
    fn an_older_keepers_word_is_read() {
        let mut said = serde_json::to_value(status(SandboxId(Uuid::nil()))).unwrap();
        for newer in ["end", "refused"] {
            said.as_object_mut().unwrap().remove(newer).unwrap();
        }
        assert_eq!(serde_json::from_value::<Status>(said).unwrap(), status(SandboxId(Uuid::nil())));
    }
}
