//! What a viewer is told of a project's database, and its password. Authorises as the rest of [`Controller`] does.

use super::{Controller, creation::PASSWORD_LENGTH, may_change, no_database, store_error};
use crate::{http::auth::visit, views};
use app::error::{ControlError, ErrorKind};
use engine::{
    reconcile,
    store::{ProjectAndSandbox, activity},
};
use model::{
    ProjectId, Stage,
    view::{DatabaseView, Scope, Viewer},
};
use secrecy::SecretString;
use std::{net::IpAddr, time::Duration};
use tracing::{info, warn};

/// How long a page waits for what a project's database says of itself.
const FIGURES: Duration = Duration::from_millis(1_500);

impl Controller {
    /// Without the password.
    pub(super) async fn database_view(&self, viewer: &Viewer, row: &ProjectAndSandbox) -> Option<DatabaseView> {
        let spec = reconcile::spec::database(row, &self.parts.settings)?;
        let connection = self.parts.database.credentials(&spec);
        let fact = row.sandbox.observed.stage(Stage::DatabaseCreation);
        // One who may only look gets the line that works inside by the variables there: they cannot have the other.
        let psql = match viewer.scope {
            Scope::Write => format!("psql {}", connection.hidden_url()),
            Scope::Read => "psql".to_owned(),
        };
        // Nice to know, and no reason to wait for a server that is ill: its cause is told elsewhere.
        let figures = tokio::time::timeout(FIGURES, self.parts.database.figures(&spec)).await;
        Some(DatabaseView {
            psql,
            host: connection.host,
            port: connection.port,
            user: connection.user,
            database: connection.database,
            ready: fact.ended_at.is_some() && !fact.skipped,
            restart_pending: views::restart_pending(row),
            figures: figures.ok().and_then(Result::ok).flatten(),
        })
    }

    /// The same with it: for whoever asked for just that, and may change the project.
    async fn revealed_view(&self, viewer: &Viewer, row: &ProjectAndSandbox) -> Result<DatabaseView, ControlError> {
        let spec = reconcile::spec::database(row, &self.parts.settings).ok_or_else(no_database)?;
        let psql = format!("psql {}", self.parts.database.credentials(&spec).postgres_url());
        Ok(DatabaseView { psql, ..self.database_view(viewer, row).await.ok_or_else(no_database)? })
    }

    /// A project's database with its password, which opens the data for writing. That it was told, to whom and where, is in the
    /// activity before it is.
    ///
    /// # Errors
    /// `403 Forbidden` for a token of scope `read`; `404 Not Found`: no such project, or it has no database.
    pub async fn reveal_database_password(
        &self,
        viewer: &Viewer,
        id: ProjectId,
        from: IpAddr,
    ) -> Result<DatabaseView, ControlError> {
        may_change(viewer)?;
        let row = self.row(viewer, id).await?;
        if row.project.database.is_none() {
            return Err(no_database());
        }
        let entry = activity::by(visit::actor(viewer), async { activity::password_revealed(from) }).await;
        self.parts.store.tell(row.sandbox.id, entry, self.now()).await.map_err(store_error)?;
        info!(project.id = %id, "revealed the database's password");
        self.revealed_view(viewer, &row).await
    }

    /// Gives a project's database another password. It is stored first and then set on the database, so that what breaks
    /// off in between is mended by the next start; a database that does not run gets it with its next start as well. What
    /// runs in the sandbox keeps the connections it has, and needs a restart for new ones.
    ///
    /// # Errors
    /// `403 Forbidden`, `404 Not Found`: no such project, or it has no database; `409 Conflict` while the project is
    /// being deleted; `503 Service Unavailable`: it is stored, and the database did not take it yet.
    pub async fn reset_database_password(&self, viewer: &Viewer, id: ProjectId) -> Result<DatabaseView, ControlError> {
        may_change(viewer)?;
        let row = self.row(viewer, id).await?;
        if row.project.database.is_none() {
            return Err(no_database());
        }
        let password = SecretString::from(self.text(PASSWORD_LENGTH));
        let reset = self.parts.store.reset_password(viewer.user, id, password, self.now());
        let reset = activity::by(visit::actor(viewer), reset).await.map_err(store_error)?;
        let row = reset.ok_or_else(|| {
            let message = "The project is being deleted, and its database with it.";
            ControlError::new(ErrorKind::Conflict, "deleting", message, "Nothing is left to protect.")
        })?;
        let spec = reconcile::spec::database(&row, &self.parts.settings).ok_or_else(no_database)?;
        let database = &self.parts.database;
        let set = async {
            // One that does not run is not started for this.
            if database.observe(&spec).await?.ready { database.ensure(&spec).await } else { Ok(()) }
        };
        set.await.map_err(|error| {
            warn!(project.id = %id, "failed to set a database's new password: {error:#}");
            let message = format!("The new password is stored, and the database did not take it yet: {error}");
            ControlError::new(ErrorKind::Unavailable, "password-waits", message, "Restart the sandbox: its start sets it again.")
        })?;
        info!(project.id = %id, "reset the database's password");
        self.revealed_view(viewer, &row).await
    }
}
