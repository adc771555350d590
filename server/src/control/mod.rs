//! [`Controller`]: authorises, validates, writes intent, nudges. Nothing else writes intent; REST handlers
//! and server functions both call this.
//!
//! Authorising is in the query: a row that is not the viewer's is not found. What only looks needs a
//! viewer; what changes needs [`Scope::Write`](model::view::Scope::Write) as well.

pub mod claude;
mod cloning;
mod creation;
pub mod database;
pub mod once;
mod refusal;
pub mod repository;
pub mod sandboxes;
pub mod sessions;
pub mod shares;
mod tokens;
mod variables;
mod verbs;

use refusal::{conflict, may_change};
pub use refusal::{no_database, port_error, read_only, session_only, store_error};

use crate::{
    clone::Cloner,
    http::{auth::watch::CredentialWatch, limits::Limit, metrics::Metrics},
    live::Live,
    views::{self, Addresses},
};
use app::error::ControlError;
use engine::{
    clock::Clock,
    database::Database,
    random::Random,
    reconcile::{self, Reconciler},
    store::{ProjectAndSandbox, Store, accounts::Accounts, activity},
};
use jiff::Timestamp;
use model::{
    ProjectId, UserId,
    activity::{ActivityPage, ActivityView},
    view::{Installation, ProjectView, Viewer},
};
use std::{sync::Arc, time::Duration};

/// Everything that [`Controller`] stands on.
pub struct ControllerParts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Who there is.
    pub accounts: Accounts,
    /// For names and credentials of projects' databases.
    pub database: Arc<dyn Database>,
    /// What is nudged.
    pub reconciler: Arc<Reconciler>,
    /// What agents said.
    pub live: Arc<Live>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Names, passwords and tokens.
    pub random: Arc<dyn Random>,
    /// What the reconciler was told.
    pub settings: reconcile::Settings,
    /// What pages show of the installation.
    pub installation: Installation,
    /// Where browsers reach things.
    pub addresses: Addresses,
    /// What ends streams whose token was revoked.
    pub watch: Arc<CredentialWatch>,
    /// What clones repositories into new sandboxes.
    pub cloner: Arc<Cloner>,
    /// Whether the sign-in page offers GitHub.
    pub github_signs_in: bool,
    /// How many projects a user may have.
    pub projects_per_user: usize,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// For how many days activity is kept.
    pub activity_days: u32,
}

/// The server's side of the door.
pub struct Controller {
    parts: ControllerParts,
    creations: Limit<UserId>,
}

impl Controller {
    /// A controller.
    #[must_use]
    pub fn new(parts: ControllerParts) -> Self {
        // A hundred at once is more than a person makes in a day; five a second is as fast as one
        // machine starts them.
        Self { parts, creations: Limit::new(100, Duration::from_millis(200)) }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn view(&self, row: &ProjectAndSandbox) -> ProjectView {
        let ControllerParts { live, addresses, settings, .. } = &self.parts;
        views::project(row, &live.facts(row.sandbox.id), addresses, &settings.limits, self.now())
    }

    /// The rows of one of the viewer's projects.
    ///
    /// # Errors
    /// `404 Not Found`, `503 Service Unavailable`.
    pub async fn row(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectAndSandbox, ControlError> {
        let row = self.parts.store.project(viewer.user, id).await.map_err(store_error)?;
        row.ok_or_else(ControlError::not_found)
    }

    /// A page of the viewer's projects, by their ids from the newest on.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn page(&self, viewer: &Viewer, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectView>, ControlError> {
        let rows = self.parts.store.page(viewer.user, before, limit).await.map_err(store_error)?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }

    /// A page of what happened to the viewer's projects. Whether a project is theirs is the filter's matter:
    /// of another's there is nothing.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn activity(&self, viewer: &Viewer, filter: activity::Filter) -> Result<ActivityPage, ControlError> {
        let limit = filter.limit;
        let mut rows = self.activity_rows(viewer, &activity::Filter { limit: limit + 1, ..filter }).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().map(|last| last.id).filter(|_| more);
        Ok(ActivityPage { activity: rows, next, kept_days: self.parts.activity_days })
    }

    /// The same without the page around it.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn activity_rows(&self, viewer: &Viewer, filter: &activity::Filter) -> Result<Vec<ActivityView>, ControlError> {
        self.parts.store.activity(viewer.user, filter).await.map_err(store_error)
    }
}
