//! What the browser and the REST API are shown. Field names are camelCase on the wire.

use crate::{
    cause::Cause,
    ids::{ProjectId, SandboxId, TokenId, UserId},
    phase::{Desired, Phase},
    port::OpenPort,
    repository::{NewRepository, Origin},
    resources::{Preset, Resources, Sizes},
    stage::StageView,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Viewer {
    /// Whose projects.
    pub user: UserId,
    /// As pages name them.
    pub name: String,
    /// What this visit may do.
    pub scope: Scope,
}

/// What a sign-in or token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scope {
    /// Look.
    Read,
    /// Look and change. Terminal, exec and forward need it.
    Write,
}

impl std::str::FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err(format!("`{text}` is no scope: there are read and write.")),
        }
    }
}

impl Scope {
    /// Its name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// A project with its main sandbox: what lists and pages show, and what an event carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectView {
    /// Its id.
    pub id: ProjectId,
    /// As its owner typed it.
    pub name: String,
    /// Unique in the installation.
    pub slug: String,
    /// Whether it has a PostgreSQL.
    pub database: bool,
    /// Its size.
    pub preset: Preset,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Of which project it is an extra sandbox, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_of: Option<ProjectId>,
    /// What was cloned into it, or published from it; null without.
    pub repository: Option<Origin>,
    /// When it was made.
    #[serde(with = "crate::time")]
    pub created_at: Timestamp,
    /// When its owner last changed it.
    #[serde(with = "crate::time")]
    pub updated_at: Timestamp,
    /// Its main sandbox.
    pub sandbox: SandboxView,
}

/// A sandbox as `GET /api/sandbox/{projectId}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SandboxView {
    /// Its id.
    pub id: SandboxId,
    /// Of which project.
    pub project_id: ProjectId,
    /// `[project]-agentruntime-[6 random characters]`.
    pub name: String,
    /// Computed, never stored.
    pub phase: Phase,
    /// What was asked for.
    pub desired: Desired,
    /// Goes up with each ask.
    pub generation: i64,
    /// The newest generation that was acted on.
    pub observed_generation: i64,
    /// The five, in order.
    pub stages: Vec<StageView>,
    /// Why it is not as intended.
    pub cause: Option<Cause>,
    /// Where to reach it.
    pub urls: Urls,
    /// What listens inside, by port number.
    pub ports: Vec<OpenPort>,
    /// CPU, memory and disk as last measured, while it runs.
    pub usage: Option<Usage>,
    /// What it may use.
    pub resources: Resources,
    /// Since when it is in the phase that lasts: Running, Stopped, Terminated.
    #[serde(default, with = "crate::time::option")]
    pub since: Option<Timestamp>,
    /// Since when it is on its way down (Stopping, Terminating, or Error on that way), or the volume and
    /// database of its deleted project are.
    #[serde(default, with = "crate::time::option")]
    pub leaving_since: Option<Timestamp>,
    /// When that is overdue.
    #[serde(default, with = "crate::time::option")]
    pub leave_deadline_at: Option<Timestamp>,
    /// Whether the project's variables differ from those that the running sandbox was started with.
    pub restart_pending: bool,
    /// When the row last changed.
    #[serde(with = "crate::time")]
    pub changed_at: Timestamp,
}

/// Addresses for a browser.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Urls {
    /// The preview of port 3000.
    pub application: Option<String>,
    /// The terminal page.
    pub terminal: Option<String>,
    /// A preview's address with `{port}` where the number goes.
    pub preview: Option<String>,
}

/// Measured use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Of one core, in percent.
    pub cpu_percent: f32,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// The volume, in bytes.
    pub disk_bytes: u64,
    /// Processes.
    pub processes: u32,
}

impl Eq for Usage {}

/// What a new project is asked for with. `Debug` shows no variable's value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewProject {
    /// Any text.
    pub name: String,
    /// Whether it gets a PostgreSQL.
    #[serde(default = "yes")]
    pub database: bool,
    /// Its size.
    #[serde(default)]
    pub preset: Preset,
    /// Its variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What is cloned into it.
    #[serde(default)]
    pub repository: Option<NewRepository>,
}

impl fmt::Debug for NewProject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, database, preset, env, repository } = self;
        let mut debug = f.debug_struct("NewProject");
        debug.field("name", name).field("database", database).field("preset", preset);
        debug.field("env", &env.keys()).field("repository", repository).finish()
    }
}

fn yes() -> bool {
    true
}

/// What may be changed of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectPatch {
    /// A new display name; slug and addresses stay.
    #[serde(default)]
    pub name: Option<String>,
    /// A new size, applied at the next start.
    #[serde(default)]
    pub preset: Option<Preset>,
}

/// One variable, without its value: secrets are write-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvVariable {
    /// Its name.
    pub key: String,
    /// Who set it.
    pub source: EnvSource,
    /// How long the value is, in bytes.
    pub bytes: usize,
    /// When it was last set; `None` for what the system sets.
    #[serde(default, with = "crate::time::option")]
    pub updated_at: Option<Timestamp>,
    /// Whether the running sandbox has another value, or none.
    pub pending: bool,
}

/// Who set a variable; later wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EnvSource {
    /// The operator's Claude credentials.
    Operator,
    /// The account's own Claude credentials.
    Account,
    /// The project's own.
    Project,
    /// The `envVars` of a request.
    Request,
    /// The control plane.
    System,
}

/// `GET /api/projects/{id}/env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvView {
    /// By key.
    pub variables: Vec<EnvVariable>,
    /// Goes up with each change.
    pub revision: i64,
    /// The revision that the running sandbox was started with.
    pub applied_revision: Option<i64>,
    /// What a restart now would change of the environment that it runs with, by key. Empty while it is
    /// not meant to run, and where no change waits.
    #[serde(default)]
    pub changes: Vec<PendingChange>,
}

/// One variable that a restart would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingChange {
    /// Its name.
    pub key: String,
    /// How.
    pub change: ChangeKind,
}

/// How a restart would change a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeKind {
    /// The sandbox has none of that name.
    Added,
    /// It has another value.
    Changed,
    /// It has one, and will have none.
    Removed,
}

/// `PUT /api/projects/{id}/env`: what changes. A key that is in neither stays as it is. `Debug` shows no
/// value.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvChange {
    /// Set or replaced.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Removed.
    #[serde(default)]
    pub remove: Vec<String>,
}

impl fmt::Debug for EnvChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvChange").field("set", &self.set.keys()).field("remove", &self.remove).finish()
    }
}

/// Where the project's PostgreSQL is, as seen from inside its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DatabaseView {
    /// A line for inside the sandbox: `psql postgresql://…`. `••••••••` stands for the password, but in what an ask to reveal
    /// it, or to reset it, answers.
    pub psql: String,
    /// Host, as the sandbox sees it.
    pub host: String,
    /// Port, as the sandbox sees it.
    pub port: u16,
    /// The project's role.
    pub user: String,
    /// The project's database.
    pub database: String,
    /// Whether it was there when last looked.
    pub ready: bool,
    /// Whether what the sandbox runs with differs from what a restart would give it: its password, or variables.
    pub restart_pending: bool,
    /// What its server says of it; `null` where that cannot be asked, or did not answer at once.
    #[serde(default)]
    pub figures: Option<DatabaseFigures>,
}

/// What a PostgreSQL server says of a project's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DatabaseFigures {
    /// On its disk, in bytes.
    pub size_bytes: u64,
    /// Open connections of the project's role.
    pub connections: u32,
    /// How many it may have; `null` where there is no limit.
    #[serde(default)]
    pub most_connections: Option<u32>,
    /// PostgreSQL's, such as `15.14`.
    pub version: String,
}

/// An API token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// Its id.
    pub id: TokenId,
    /// As its owner called it.
    pub name: String,
    /// What its secret begins with, such as `fsa_9c2eXy4_`; null of one that was made before that was kept.
    pub prefix: Option<String>,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    #[serde(with = "crate::time")]
    pub created_at: Timestamp,
    /// When it stops to work.
    #[serde(default, with = "crate::time::option")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default, with = "crate::time::option")]
    pub last_used_at: Option<Timestamp>,
    /// By which other token it was made, if by one: it lasts no longer than that, may no more, and is revoked with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<TokenId>,
}

/// Facts of the installation that pages show; the same for everyone who is signed in, but for
/// whether Claude Code has credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installation {
    /// `0.1.0`.
    pub version: String,
    /// `local` or `kubernetes`.
    pub orchestrator: String,
    /// Things that are true of the whole installation and that every page says: no isolation, an
    /// unreachable cluster.
    pub notices: Vec<String>,
    /// Whether Claude Code is in the sandboxes.
    pub claude: bool,
    /// Whether there are credentials for it: the operator's, or the viewer's own.
    pub claude_credentials: bool,
    /// Where the operator puts them, as a path to show.
    pub credentials_file: String,
    /// The command that prints a new sign-in link.
    pub sign_in_command: String,
    /// What the presets stand for.
    pub sizes: Sizes,
}

/// A way into one preview. `Debug` shows no code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewCode {
    /// Where the page posts `code` (form field of that name): on the preview's host.
    pub action: String,
    /// Works once, within a minute.
    pub code: String,
    /// The preview's address.
    pub url: String,
}

impl fmt::Debug for PreviewCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreviewCode").field("action", &self.action).field("url", &self.url).finish_non_exhaustive()
    }
}

/// A new token with its secret, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// `fsa_…`.
    pub secret: String,
    /// The rest.
    pub token: TokenView,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// One server-sent event of `GET /api/events`: a whole state, never a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Event {
    /// Everything that the viewer may see; the first event of a stream, and after a gap.
    Snapshot {
        /// All of them, newest first.
        projects: Vec<ProjectView>,
    },
    /// One project with its sandbox.
    Project {
        /// Its whole state.
        project: Box<ProjectView>,
    },
    /// A project that is no more.
    Gone {
        /// Which.
        id: ProjectId,
    },
    /// What is true of the whole installation now, as [`Installation::notices`]; sent when it changes, and
    /// after the snapshot.
    Notices {
        /// All of them.
        notices: Vec<String>,
    },
}

/// The one shape of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// What failed, in a few words: "Failed to create project".
    pub error: String,
    /// The rest.
    pub details: ErrorDetails,
    /// Which project, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// RFC 3339, UTC.
    #[serde(with = "crate::time")]
    pub timestamp: Timestamp,
}

/// What is behind an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDetails {
    /// The kind of error: "ValidationError".
    pub name: String,
    /// What happened and why.
    pub message: String,
    /// `kebab-case`, stable.
    pub code: String,
    /// What stands behind it, where it is known: why the sandbox that it is about does not run, or why the orchestrator cannot say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What to do next.
    #[serde(default)]
    pub next_steps: Vec<String>,
    /// The HTTP status of the apiserver's answer, where one stands behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_status: Option<u16>,
    /// Where in the server it was made; of debug builds alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Which field of what was sent it is about, where it is one: `name`, `repository.branch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2hunter2";

    #[test]
    fn no_debug_shows_a_secret() {
        let env = BTreeMap::from([("KEY".to_owned(), SECRET.to_owned())]);
        let new =
            NewProject { name: "Boats".into(), database: true, preset: Preset::default(), env: env.clone(), repository: None };
        let change = EnvChange { set: env, remove: vec!["OLD".into()] };
        let token = TokenView {
            id: TokenId(uuid::Uuid::nil()),
            name: "ci".into(),
            prefix: None,
            scope: Scope::Read,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            last_used_at: None,
            made_by: None,
        };
        let token = NewToken { secret: SECRET.into(), token };
        let code = PreviewCode { action: "http://a/".into(), code: SECRET.into(), url: "http://u/".into() };
        let shown = [format!("{new:?}"), format!("{change:?}"), format!("{token:?}"), format!("{code:?}")];
        for (text, known) in shown.iter().zip(["Boats", "OLD", "ci", "http://u/"]) {
            assert!(!text.contains(SECRET), "{text}");
            assert!(text.contains(known), "{text}");
        }
        assert!(shown[0].contains("KEY") && shown[1].contains("KEY"), "names may be shown");
    }
}
