//! Rows in PostgreSQL. One file a noun; nothing outside `store` writes SQL for our own tables.
//!
//! ```text
//!   project  env  ask    Control's side: intent. Lock order: users, projects, then sandboxes
//!   claude               users' own Claude credentials, which all their projects are told
//!   activity             what is told of either, in their transactions
//!   lease                reconcile's side: leases and facts, sandboxes alone
//!   row                  one join that everything is read by
//!   change               LISTEN sandbox; triggers NOTIFY (migrations/0003, 0022)
//!   migrate installation pool    at start
//!   room                 whether anything can be written
//! ```

pub(crate) mod activity;
mod ask;
mod change;
mod claude;
mod env;
pub(crate) mod error;
pub mod installation;
mod lease;
pub mod migrate;
pub mod pool;
mod project;
pub mod room;
mod row;

use super::{
    Ask, Asked, Changed, Leased, NewProjectRow, Pass, ProjectAndSandbox, Store, StoreError,
    activity::{Entry, Filter},
    claude::Claude,
    intent::EnvEdit,
};
use crate::secrets::Vault;
use futures::stream::BoxStream;
use jiff::Timestamp;
use model::{
    DisplayName, ProjectId, ResourceName, SandboxId, UserId,
    activity::ActivityView,
    env::{EnvError, EnvKey},
    resources::{Preset, Sizes},
};
use secrecy::SecretString;
use sqlx::PgPool;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Rows in PostgreSQL. Clones share pool and listener.
#[derive(Debug, Clone)]
pub struct PgStore {
    pool: PgPool,
    vault: Arc<Vault>,
    changes: Arc<change::Listener>,
    unreadable: Arc<row::Unreadable>,
    sizes: Sizes,
}

impl PgStore {
    /// A store on a database that was migrated ([`migrate::migrate`]). Listens for changes on a
    /// connection of its own, from before this returns until the last clone is dropped.
    ///
    /// # Errors
    /// The database is away.
    pub async fn start(pool: PgPool, vault: Arc<Vault>) -> Result<Self, StoreError> {
        let changes = Arc::new(change::Listener::start(pool.clone()).await?);
        Ok(Self { pool, vault, changes, unreadable: Arc::default(), sizes: Sizes::default() })
    }

    /// The same rows, in a process in which sizes stand for these amounts.
    #[must_use]
    pub fn with_sizes(self, sizes: Sizes) -> Self {
        Self { sizes, ..self }
    }

    /// The pool, for what else lives in the same database.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

#[async_trait::async_trait]
impl Store for PgStore {
    async fn create(&self, new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError> {
        self.create_project(new).await
    }

    async fn created(&self, owner: UserId, key: &str, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.read_created(owner, key, now).await
    }

    async fn projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.read_projects(owner).await
    }

    async fn sandboxes(&self, owner: UserId, main: ProjectId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.read_sandboxes(owner, main).await
    }

    async fn page(&self, owner: UserId, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.read_page(owner, before, limit).await
    }

    async fn project(&self, owner: UserId, id: ProjectId) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.read_project(owner, id).await
    }

    async fn by_name(&self, owner: UserId, name: &ResourceName) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.read_by_name(owner, name).await
    }

    async fn update(
        &self,
        owner: UserId,
        id: ProjectId,
        name: Option<DisplayName>,
        preset: Option<Preset>,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.update_project(owner, id, name, preset, now).await
    }

    async fn ask(
        &self,
        owner: UserId,
        id: ProjectId,
        ask: Ask,
        key: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Asked>, StoreError> {
        self.store_ask(owner, id, ask, key, now).await
    }

    async fn delete(&self, owner: UserId, id: ProjectId, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.mark_for_deletion(owner, id, now).await
    }

    async fn env(&self, owner: UserId, id: ProjectId) -> Result<Option<BTreeMap<EnvKey, (SecretString, Timestamp)>>, StoreError> {
        self.read_env(owner, id).await
    }

    async fn change_env(
        &self,
        owner: UserId,
        id: ProjectId,
        set: BTreeMap<EnvKey, SecretString>,
        remove: Vec<String>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, EnvError>>, StoreError> {
        self.write_env(owner, id, EnvEdit::Change(set, remove), now).await
    }

    async fn replace_env(
        &self,
        owner: UserId,
        id: ProjectId,
        all: BTreeMap<EnvKey, SecretString>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, EnvError>>, StoreError> {
        self.write_env(owner, id, EnvEdit::Replace(all), now).await
    }

    async fn reset_password(
        &self,
        owner: UserId,
        id: ProjectId,
        password: SecretString,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.write_password(owner, id, password, now).await
    }

    async fn claude(&self, owner: UserId) -> Result<Option<(Claude, Timestamp)>, StoreError> {
        self.read_claude(owner).await
    }

    async fn set_claude(&self, owner: UserId, claude: Option<Claude>, now: Timestamp) -> Result<bool, StoreError> {
        self.write_claude(owner, claude, now).await
    }

    async fn lease_due(
        &self,
        holder: &str,
        now: Timestamp,
        hold: Duration,
        limit: usize,
        except: &[SandboxId],
    ) -> Result<Vec<Leased>, StoreError> {
        self.take_due(holder, now, hold, limit, except).await
    }

    async fn lease(&self, id: SandboxId, holder: &str, now: Timestamp, hold: Duration) -> Result<Option<Leased>, StoreError> {
        self.take(id, holder, now, hold).await
    }

    async fn record(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        pass: &Pass,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        self.write_pass(id, holder, version, pass, now).await
    }

    async fn release(&self, id: SandboxId, holder: &str) -> Result<(), StoreError> {
        self.give_back(id, holder).await
    }

    async fn bury(&self, id: SandboxId, holder: &str, version: i64, now: Timestamp) -> Result<bool, StoreError> {
        self.remove_rows(id, holder, version, now).await
    }

    async fn next_wake(&self, except: &[SandboxId]) -> Result<Option<Timestamp>, StoreError> {
        self.read_next_wake(except).await
    }

    async fn all(&self) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.read_all().await
    }

    fn left_out(&self) -> Vec<(ProjectId, SandboxId)> {
        self.unreadable.ids()
    }

    async fn tell(&self, id: SandboxId, entry: Entry, now: Timestamp) -> Result<(), StoreError> {
        self.write_activity(id, &entry, now).await
    }

    async fn activity(&self, owner: UserId, filter: &Filter) -> Result<Vec<ActivityView>, StoreError> {
        self.read_activity(owner, filter).await
    }

    async fn forget_activity(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.remove_activity(before).await
    }

    fn changes(&self) -> BoxStream<'static, Changed> {
        self.changes.subscribe()
    }
}
