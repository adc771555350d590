//! What makes projects' databases exist.
//!
//! Implementations: [`server::ServerDatabase`] (a role and a database on a given PostgreSQL server),
//! [`memory::MemoryDatabase`] (the simulator's). Both pass [`contract`].

pub mod contract;
pub mod memory;
mod scram;
pub mod server;

use crate::{
    measure::WatchFact,
    orchestrator::{DatabaseEndpoint, Removed},
};
use futures::{StreamExt as _, stream, stream::BoxStream};
use model::{Cause, InstallationId, ProjectId, ResourceName, SandboxId, Slug, connection::Connection, view::DatabaseFigures};
use secrecy::SecretString;

/// A project's database: names and password are chosen and stored before anything is made.
#[derive(Debug, Clone)]
pub struct DatabaseSpec {
    /// Whose.
    pub project: ProjectId,
    /// The sandbox that it starts and stops with, and that [`Database::watch`] tells of.
    pub sandbox: SandboxId,
    /// What that project is called where names are plain.
    pub slug: Slug,
    /// The name of the objects that are made for it, where the provider makes any: that of the sandbox it
    /// belongs to.
    pub name: ResourceName,
    /// On everything made for it.
    pub installation: InstallationId,
    /// The role's name, `[a-z][a-z0-9_]*`, at most 63 bytes.
    pub role: String,
    /// The database's name, the same form.
    pub database: String,
    /// The role's password.
    pub password: SecretString,
}

/// What is really there of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatabaseSeen {
    /// Role and database are there, ours, and may be connected to.
    pub ready: bool,
    /// Something of it is there.
    pub present: bool,
}

/// What is known of a database without asking anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// Whether it should run: it was made, and neither stopped nor removed since, by whomever.
    pub on: bool,
    /// Whether it is on, and everything of it is as it was made: if not, [`Database::ensure`] mends it.
    pub whole: bool,
    /// Whether it was stopped, and has not ended yet.
    pub ending: bool,
    /// Whether [`Database::stop`] ends what runs of it.
    pub stops: bool,
    /// Whether it is known not to be there, running or stopped: it was never made, or somebody removed it or what holds its
    /// data.
    pub lost: bool,
    /// Whether somebody else removed or changed something around it, which [`Database::ensure`] puts right; also while it
    /// is stopped.
    pub edited: bool,
    /// Why it cannot be used although it is on, where that is known.
    pub cause: Option<Cause>,
}

/// Why a verb failed. It may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// With a cause to show.
    #[error("{}", .0.message)]
    Caused(Cause),
    /// Without one.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Makes projects' databases exist. Every verb is idempotent and safe to repeat after a crash at any
/// point.
#[async_trait::async_trait]
pub trait Database: Send + Sync + 'static {
    /// Makes the role and the database, or mends what is missing of them; never touches the data. A
    /// foreign role or database of that name is [`model::CauseCode::NameTaken`].
    async fn ensure(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError>;
    /// What is there, asked of the server itself.
    async fn observe(&self, spec: &DatabaseSpec) -> Result<DatabaseSeen, DatabaseError>;
    /// Ends what runs for this database alone and keeps its data, if it is there and can be: [`Self::ensure`]
    /// starts it again. Returns once that is under way. Nothing to do for one on a server of many.
    async fn stop(&self, _spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        Ok(())
    }
    /// How it is, from what is known already; `None` where only asking tells.
    fn glance(&self, _spec: &DatabaseSpec) -> Option<Glance> {
        None
    }
    /// "Look again at this one's database", for as long as the stream is held. Of those that a verb or
    /// [`Self::glance`] was about.
    fn watch(&self) -> BoxStream<'static, SandboxId> {
        stream::pending().boxed()
    }
    /// How each of its watches is; none where only asking tells.
    fn watches(&self) -> Vec<WatchFact> {
        Vec::new()
    }
    /// Removes both with all data, ending open connections, if they exist and are ours.
    async fn remove(&self, spec: &DatabaseSpec) -> Result<Removed, DatabaseError>;
    /// What its server says of it. `None` where it is not there or its provider does not ask.
    async fn figures(&self, _spec: &DatabaseSpec) -> Result<Option<DatabaseFigures>, DatabaseError> {
        Ok(None)
    }
    /// How the sandbox reaches it.
    fn credentials(&self, spec: &DatabaseSpec) -> Connection;
    /// Where connections from a sandbox are forwarded to, for an orchestrator that does.
    fn endpoint(&self) -> Option<DatabaseEndpoint>;
    /// The projects whose databases of this installation are there, for the orphan sweep.
    async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError>;
}
