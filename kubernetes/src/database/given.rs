//! A PostgreSQL server that was given: projects' roles and databases on it, beside servers that are objects of the
//! cluster.

use crate::{Settings, settings::DatabaseProvider};
use engine::{
    database::{
        Database as _, DatabaseError,
        server::{Reach, ServerDatabase},
    },
    orchestrator::DatabaseEndpoint,
};
use model::{Cause, CauseCode, ProjectId};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tracing::warn;

/// The server, and whose databases are on it.
pub(super) struct Given {
    server: ServerDatabase,
    /// Whether those of projects that have none yet are made on it.
    makes: bool,
    /// Whose are on it, where it makes none any more.
    kept: Mutex<BTreeSet<ProjectId>>,
}

impl Given {
    /// The one of the settings. Asked only where others make the next ones: which projects' are on it.
    ///
    /// # Errors
    /// With a cause: none is given and one is to make databases, or it does not answer and must be asked.
    pub async fn of(settings: &Settings) -> Result<Option<Self>, DatabaseError> {
        let makes = settings.database.provider == DatabaseProvider::Server;
        let Some(given) = &settings.database.server else { return if makes { Err(none()) } else { Ok(None) } };
        let reach = Reach { host: given.host.clone(), port: given.port, endpoint: endpoint(settings) };
        let server = ServerDatabase::new(given.admin.clone(), settings.installation, reach);
        let kept = if makes { BTreeSet::new() } else { server.list().await?.into_iter().collect() };
        Ok(Some(Self { server, makes, kept: Mutex::new(kept) }))
    }

    /// The server, if a project without objects of its own has its database there, or gets it there.
    pub fn has(&self, project: ProjectId) -> Option<&ServerDatabase> {
        (self.makes || self.kept().contains(&project)).then_some(&self.server)
    }

    /// Whether those of projects that have none yet are made on it.
    pub fn makes(&self) -> bool {
        self.makes
    }

    /// Nothing of a project's is on it any more.
    pub fn forget(&self, project: ProjectId) {
        self.kept().remove(&project);
    }

    /// Whose databases are on it, asked of it. One that makes none and does not answer has those that it had.
    pub async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError> {
        match self.server.list().await {
            Err(error) if !self.makes => {
                warn!("the given PostgreSQL server was not asked whose databases it has: {error}");
                Ok(self.kept().iter().copied().collect())
            }
            listed => listed,
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<ProjectId>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where sandboxes connect to, if a server is given.
pub(super) fn endpoint(settings: &Settings) -> Option<DatabaseEndpoint> {
    settings.database.server.as_ref().map(|server| DatabaseEndpoint::Tcp(server.host.clone(), server.port))
}

fn none() -> DatabaseError {
    DatabaseError::Caused(Cause::new(
        CauseCode::DatabaseRefused,
        "Databases are to be made on a given PostgreSQL server, and none is given.",
        &["Set FSA_DATABASE_SERVER_URL, or another --database-provider.", "Then restart the server."],
    ))
}
