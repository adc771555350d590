//! Rows: intent and observed, side by side.
//!
//! [`Store`] is what `reconcile` and `Control` need of them; [`postgres::PgStore`] keeps them in
//! PostgreSQL, [`memory::MemoryStore`] in memory for the simulator. Both pass [`contract`]. Accounts,
//! sessions and tokens are PostgreSQL's alone ([`accounts`], [`linked`]).

pub mod accounts;
pub mod activity;
pub mod claude;
pub mod contract;
pub mod full;
pub mod intent;
pub mod linked;
pub mod memory;
pub mod postgres;
pub mod publications;
pub mod repositories;
pub(crate) mod time;

use claude::Claude;
use futures::stream::BoxStream;
use jiff::Timestamp;
use model::{
    Cause, Desired, DisplayName, Intent, Observed, Phase, ProjectId, ResourceName, SandboxId, Slug, UserId,
    activity::ActivityView,
    env::EnvKey,
    phase,
    repository::Origin,
    resources::{Preset, Resources},
};
use secrecy::SecretString;
use std::{collections::BTreeMap, time::Duration};

/// A project's row.
#[derive(Debug, Clone)]
pub struct ProjectRow {
    /// Its id.
    pub id: ProjectId,
    /// Whose.
    pub owner: UserId,
    /// As typed.
    pub name: DisplayName,
    /// Unique in the installation.
    pub slug: Slug,
    /// Its size.
    pub preset: Preset,
    /// Goes up with each change of its variables, and of its owner's Claude credentials.
    pub env_revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner last changed it.
    pub updated_at: Timestamp,
    /// Since when it is being deleted.
    pub deleting_since: Option<Timestamp>,
    /// Its database, if it has one.
    pub database: Option<DatabaseRow>,
    /// Where this is an extra sandbox of a project.
    pub extra: Option<Extra>,
    /// What was cloned into it, or published from it; not where it goes on without.
    pub repository: Option<Origin>,
    /// Whether there are extra sandboxes of it, those being deleted included.
    pub has_extras: bool,
}

impl ProjectRow {
    /// The project that it is of: itself, unless it is an extra sandbox.
    #[must_use]
    pub fn main(&self) -> ProjectId {
        self.extra.as_ref().map_or(self.id, |extra| extra.main)
    }
}

/// What makes a row an extra sandbox of a project: it has everything that a project has, but for variables,
/// which are the project's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Of which project.
    pub main: ProjectId,
    /// Its branch, which names it.
    pub branch: String,
}

/// A database's row: names and password, chosen before anything is made.
#[derive(Debug, Clone)]
pub struct DatabaseRow {
    /// The role.
    pub role: String,
    /// The database.
    pub database: String,
    /// The role's password; sealed at rest.
    pub password: SecretString,
}

/// A sandbox's row.
#[derive(Debug, Clone)]
pub struct SandboxRow {
    /// Its id.
    pub id: SandboxId,
    /// Of which project.
    pub project: ProjectId,
    /// Chosen before anything is made.
    pub name: ResourceName,
    /// What the user asked for.
    pub desired: Desired,
    /// Goes up with each ask.
    pub generation: i64,
    /// When that ask came.
    pub asked_at: Timestamp,
    /// Goes up with each ask for a new run.
    pub restart_count: i64,
    /// Its size, frozen at the ask that started it.
    pub preset: Preset,
    /// What that size stood for then.
    pub resources: Resources,
    /// The project's variables and the request's, frozen at the ask that started it; sealed at rest.
    pub env: BTreeMap<EnvKey, SecretString>,
    /// The owner's own Claude credentials, frozen with them; sealed at rest.
    pub claude: Option<Claude>,
    /// Which revision of the project's variables that was.
    pub env_revision: i64,
    /// Whether the last ask changed the size of a sandbox that ran, and nothing else.
    pub resizes: bool,
    /// What requests to its agent carry; sealed at rest.
    pub agent_token: SecretString,
    /// What is really there.
    pub observed: Observed,
    /// Why it is not as intended.
    pub cause: Option<Cause>,
    /// The last error of a pass, for operators.
    pub last_error: Option<String>,
    /// How many passes failed in a row.
    pub failures: u32,
    /// Goes up with each write of the row; what compare-and-set compares.
    pub version: i64,
    /// When reconciling should look again by itself.
    pub wake_at: Option<Timestamp>,
    /// When the row last changed in a way that a viewer can see.
    pub changed_at: Timestamp,
}

impl SandboxRow {
    /// What it was last asked for.
    #[must_use]
    pub fn intent(&self) -> Intent {
        Intent { desired: self.desired, generation: self.generation, resizes: self.resizes }
    }

    /// Where it is in its life at `now`, by intent and facts.
    #[must_use]
    pub fn phase(&self, now: Timestamp) -> Phase {
        phase(self.intent(), &self.observed, self.cause.as_ref(), now)
    }
}

/// A project with its main sandbox.
#[derive(Debug, Clone)]
pub struct ProjectAndSandbox {
    /// The project.
    pub project: ProjectRow,
    /// Its main sandbox.
    pub sandbox: SandboxRow,
}

impl ProjectAndSandbox {
    /// What the sandbox is to be: of a project that is being deleted, nothing is to be left.
    #[must_use]
    pub fn desired(&self) -> Desired {
        if self.project.deleting_since.is_some() { Desired::Terminated } else { self.sandbox.desired }
    }
}

/// What a new project is stored with. Names are chosen here, before anything is made.
#[derive(Debug, Clone)]
pub struct NewProjectRow {
    /// Its id.
    pub id: ProjectId,
    /// Whose.
    pub owner: UserId,
    /// As typed. The slug is derived here; the next free one is taken.
    pub name: DisplayName,
    /// Its size.
    pub preset: Preset,
    /// Its variables.
    pub env: BTreeMap<EnvKey, SecretString>,
    /// Its database, if it gets one.
    pub database: Option<DatabaseRow>,
    /// Its main sandbox.
    pub sandbox: SandboxId,
    /// Six random bytes for the resource name.
    pub random: [u8; ResourceName::SUFFIX],
    /// What requests to the agent carry.
    pub agent_token: SecretString,
    /// An extra sandbox of that project: name, size and variables are the project's, whatever stands above.
    pub extra: Option<Extra>,
    /// Which revision its variables are; what the store finds, for an extra sandbox.
    pub env_revision: i64,
    /// An `Idempotency-Key` of this owner.
    pub key: Option<String>,
    /// How many projects the owner may have, this one included.
    pub most: usize,
    /// Now.
    pub now: Timestamp,
}

/// An ask for a sandbox. `Debug` shows no variable's value.
#[derive(Clone, PartialEq)]
pub enum Ask {
    /// Be up. While it is on its way up, or up, the same ask: nothing changes.
    Start,
    /// Be up in a new run, with the project's variables and size and the owner's Claude credentials of now,
    /// and these on top of them.
    /// While it is on its way up in this generation, the same ask, unless it comes with variables that
    /// the run on its way does not have.
    Restart(BTreeMap<EnvKey, String>),
    /// Be down.
    Stop,
    /// Be gone, but for volume and database.
    Terminate,
}

impl Ask {
    /// As logs name it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart(_) => "restart",
            Self::Stop => "stop",
            Self::Terminate => "terminate",
        }
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restart(env) => f.debug_tuple("Restart").field(&env.keys()).finish(),
            other => f.write_str(other.verb()),
        }
    }
}

/// What became of an ask.
#[derive(Debug, Clone)]
pub enum Asked {
    /// The intent is stored; the generation went up.
    Changed(ProjectAndSandbox),
    /// It was intended already.
    Same(ProjectAndSandbox),
    /// It cannot apply now, and why: `being-deleted`, `already-stopped`, `already-terminated`.
    Refused(&'static str),
}

/// How much further ahead than any pass waits, and than a lease is asked for, a time may lie: what lies beyond was stored by a
/// clock that has been set back since, and counts as past.
///
/// A minute: no pass waits longer than 37.5 s, and clocks of one installation differ by less.
pub const AHEAD: Duration = Duration::from_secs(60);

/// A row that this process may work on until `until`.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The rows as they were when the lease was taken.
    pub row: ProjectAndSandbox,
    /// When the lease ends.
    pub until: Timestamp,
}

/// What a pass found: written by compare-and-set.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// The facts.
    pub observed: Observed,
    /// The cause.
    pub cause: Option<Cause>,
    /// The error, for operators.
    pub last_error: Option<String>,
    /// How many in a row.
    pub failures: u32,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
    /// What of it is told the owner ([`activity::pass`]); stored if and only if the pass is.
    pub told: Vec<activity::Entry>,
}

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away; ask again.
    #[error("the database of the control plane is away")]
    Away(#[source] anyhow::Error),
    /// The disk that it writes to is full. What it has can be read, as a rule.
    #[error("the disk of the control plane's database is full")]
    NoRoom(#[source] anyhow::Error),
    /// The owner has as many projects as they may have.
    #[error("the owner has {0} projects, and may not have more")]
    Full(usize),
    /// An extra sandbox cannot be made, and why: `being-deleted`, `branch-taken`.
    #[error("no extra sandbox can be made: {0}")]
    Refused(&'static str),
    /// A row breaks a rule of the store.
    #[error("the store refused it")]
    Broken(#[source] anyhow::Error),
}

/// Why a store is away, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It says nothing, or nothing more than that.
    Silent,
    /// It starts, stops, or takes no connections now.
    Restarting,
    /// It takes no changes: a standby, or made so.
    ReadOnly,
    /// It undid what was asked in favour of another change.
    Undone,
    /// It gave up, for want of connections, memory or time.
    Busy,
}

impl StoreError {
    /// Why it is away.
    #[must_use]
    pub fn why(&self) -> Why {
        match self {
            Self::Away(error) => postgres::error::why(error),
            Self::NoRoom(_) | Self::Full(_) | Self::Refused(_) | Self::Broken(_) => Why::Silent,
        }
    }
}

/// A change that viewers want to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Whose.
    pub owner: UserId,
    /// Which project.
    pub project: ProjectId,
    /// Which sandbox.
    pub sandbox: SandboxId,
    /// Whether it is the clone into it ([`repositories`]) that changed, and neither row.
    pub clone: bool,
}

/// Rows of projects and sandboxes. What is not the owner's is not found, by the same query.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores a project with its main sandbox, desired Running. The same owner and key again: the
    /// same project, `false`, whatever `most` says. Creates of one owner are counted one after the
    /// other, extra sandboxes included: [`StoreError::Full`] if they have `most` already. An extra sandbox
    /// of a project that is being deleted or has one of that branch: [`StoreError::Refused`].
    async fn create(&self, new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError>;
    /// The project that this owner's create with this key made, within a day.
    async fn created(&self, owner: UserId, key: &str, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError>;
    /// The owner's projects and extra sandboxes, newest first, those being deleted included.
    async fn projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError>;
    /// A project's own row and those of its extra sandboxes, that one first and then oldest first.
    async fn sandboxes(&self, owner: UserId, main: ProjectId) -> Result<Vec<ProjectAndSandbox>, StoreError>;
    /// At most so many projects, without extra sandboxes, by their ids from the newest on, all with a smaller id than `before`.
    async fn page(&self, owner: UserId, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectAndSandbox>, StoreError>;
    /// One of them.
    async fn project(&self, owner: UserId, id: ProjectId) -> Result<Option<ProjectAndSandbox>, StoreError>;
    /// One of them, by its sandbox's name.
    async fn by_name(&self, owner: UserId, name: &ResourceName) -> Result<Option<ProjectAndSandbox>, StoreError>;
    /// Renames or resizes. A sandbox that is to be up goes on in a run of the new size, with the
    /// variables that it has ([`intent::resize`]); another takes it at its next start. What a size stands
    /// for is the store's to know, and is frozen with it.
    /// Extra sandboxes take the new name with them.
    async fn update(
        &self,
        owner: UserId,
        id: ProjectId,
        name: Option<DisplayName>,
        preset: Option<Preset>,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError>;
    /// Stores an intent by the rules of [`intent`], and wakes the reconciler; a new generation has no
    /// cause and no failures yet. An `Idempotency-Key` seen for this project within a day is
    /// `Asked::Same`.
    async fn ask(
        &self,
        owner: UserId,
        id: ProjectId,
        ask: Ask,
        key: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Asked>, StoreError>;
    /// Marks for deletion, desired Terminated in a new generation, and wakes the reconciler; a project's
    /// extra sandboxes as well. Repeating it is the same ask.
    async fn delete(&self, owner: UserId, id: ProjectId, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError>;
    /// The project's variables, with when each was last set; by an extra sandbox's id, its project's. So
    /// are the changes below, which count for all of them.
    async fn env(&self, owner: UserId, id: ProjectId) -> Result<Option<BTreeMap<EnvKey, (SecretString, Timestamp)>>, StoreError>;
    /// Sets and removes variables; the revision goes up if anything changed. `check` sees the whole
    /// environment as it would be, and its error is the answer.
    async fn change_env(
        &self,
        owner: UserId,
        id: ProjectId,
        set: BTreeMap<EnvKey, SecretString>,
        remove: Vec<String>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, model::env::EnvError>>, StoreError>;
    /// Makes `all` the project's variables, and no others, at once: of two that come together, one is
    /// the whole. For the rest as [`Self::change_env`].
    async fn replace_env(
        &self,
        owner: UserId,
        id: ProjectId,
        all: BTreeMap<EnvKey, SecretString>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, model::env::EnvError>>, StoreError>;

    /// Gives the project's database another password, and raises the revision of the project's variables, since the
    /// connection strings are among them. Asks nothing of the database itself: the row is due, and a pass that is under way
    /// with the old password is not recorded. `None` also where there is no database, and where the project is being deleted.
    async fn reset_password(
        &self,
        owner: UserId,
        id: ProjectId,
        password: SecretString,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError>;

    /// The user's own Claude credentials, with when they were set.
    async fn claude(&self, owner: UserId) -> Result<Option<(Claude, Timestamp)>, StoreError>;
    /// Sets the user's own Claude credentials, or removes them, and says whether that changed anything. If it did,
    /// the revision of all of the user's projects goes up, since each is told them by its next run, and it is told,
    /// of the account. Projects that are made and asks that come at the same time have the old ones and a
    /// revision before, or the new ones.
    async fn set_claude(&self, owner: UserId, claude: Option<Claude>, now: Timestamp) -> Result<bool, StoreError>;

    /// Takes the leases of at most `limit` rows that are due, longest due first, and none of `except`: `wake_at` is past and
    /// nobody holds them, this holder included: what a worker of its is at comes to no second one. Past, here and in
    /// [`Self::lease`], is also what lies further than [`AHEAD`] ahead.
    async fn lease_due(
        &self,
        holder: &str,
        now: Timestamp,
        hold: Duration,
        limit: usize,
        except: &[SandboxId],
    ) -> Result<Vec<Leased>, StoreError>;
    /// Takes the lease of one row, due or not, or renews it. `None` if another holds it, or the row is
    /// gone.
    async fn lease(&self, id: SandboxId, holder: &str, now: Timestamp, hold: Duration) -> Result<Option<Leased>, StoreError>;
    /// Writes what a pass found, if `version` is still the row's and the lease the holder's and not
    /// over, and answers the row's version; `None` if not: then read again. A pass that differs in
    /// nothing from the row writes nothing, and the version stays; one that changes nothing that a
    /// viewer can see (facts and cause) tells no viewer.
    async fn record(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        pass: &Pass,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError>;
    /// Gives the lease back. Not the holder's: nothing happens.
    async fn release(&self, id: SandboxId, holder: &str) -> Result<(), StoreError>;
    /// Removes the rows of a project that is being deleted, leaving a tombstone; the holder's lease
    /// goes with them. `false` if the version is not the row's, the lease not the holder's or over, or
    /// the project not being deleted.
    async fn bury(&self, id: SandboxId, holder: &str, version: i64, now: Timestamp) -> Result<bool, StoreError>;
    /// When the next row that is none of `except` can be leased as due, for the timer: its `wake_at`, or the end of the lease
    /// that is on it if that is later.
    async fn next_wake(&self, except: &[SandboxId]) -> Result<Option<Timestamp>, StoreError>;
    /// Every live sandbox with its project, for the orphan sweep and adoption. A row that cannot be read is left out, here and
    /// of what is due: no other waits for it.
    async fn all(&self) -> Result<Vec<ProjectAndSandbox>, StoreError>;
    /// Those that were left out and not read since. They are there all the same.
    fn left_out(&self) -> Vec<(ProjectId, SandboxId)> {
        Vec::new()
    }
    /// Tells something of a sandbox's project that no other verb tells. Every verb above that changes what
    /// an owner asked for tells it by itself, in the same transaction, in the name of who asks
    /// ([`activity::by`]). A sandbox without a row: nothing happens.
    async fn tell(&self, id: SandboxId, entry: activity::Entry, now: Timestamp) -> Result<(), StoreError>;
    /// What was told of the owner's projects, newest first, those that are gone included.
    async fn activity(&self, owner: UserId, filter: &activity::Filter) -> Result<Vec<ActivityView>, StoreError>;
    /// Forgets what last happened before; how much that was.
    async fn forget_activity(&self, before: Timestamp) -> Result<u64, StoreError>;
    /// Changes as they come, from this process and from others. Lossy under load: a receiver that
    /// falls behind is told by the stream's end and reads everything again.
    fn changes(&self) -> BoxStream<'static, Changed>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_shows_a_variables_value() {
        let ask = Ask::Restart([("KEY".parse().unwrap(), "hunter2".to_owned())].into());
        let shown = format!("{ask:?}");
        assert!(shown.contains("KEY") && !shown.contains("hunter2"), "{shown}");
    }
}
