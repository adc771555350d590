//! Rows in memory: the simulator's store, and that of tests that need no PostgreSQL.
//!
//! What a process would lose by dying is not in here: share one [`MemoryStore`] among the processes
//! of a simulation. Every verb yields to the scheduler before and after its one atomic action, so that
//! a caller can be killed at either side of it: before, and nothing was written; after, and it was,
//! but nobody heard.

mod activity;
mod environment;
mod lease;
mod project;
mod state;

use super::{
    Ask, Asked, Changed, Leased, NewProjectRow, Pass, ProjectAndSandbox, Store, StoreError,
    activity::{Entry, Filter},
    claude::Claude,
    intent::EnvEdit,
};
use futures::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use model::{
    DisplayName, ProjectId, ResourceName, SandboxId, UserId,
    activity::ActivityView,
    env::{EnvError, EnvKey},
    resources::{Preset, Sizes},
};
use secrecy::SecretString;
use state::State;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::broadcast, task::yield_now};
use tokio_stream::wrappers::BroadcastStream;

/// How many changes a receiver may be behind before its stream ends.
const CHANGES: usize = 1024;

/// Rows in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<Changed>,
    sizes: Sizes,
}

/// What a reconciler writes, and where there is no room for it is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Its leases.
    Leases,
    /// What its passes found.
    Facts,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Arc::default(), changes: broadcast::channel(CHANGES).0, sizes: Sizes::default() }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same rows, as a process has them in which sizes stand for these amounts.
    #[must_use]
    pub fn with_sizes(self, sizes: Sizes) -> Self {
        Self { sizes, ..self }
    }

    /// How often anything was written, leases aside.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.locked().writes
    }

    /// From now on every verb answers [`StoreError::Away`], or works again.
    pub fn set_away(&self, away: bool) {
        self.locked().away = away;
    }

    /// From now on such writes answer [`StoreError::NoRoom`], or all work again. What is read is.
    pub fn refuse(&self, writes: Option<Writes>) {
        self.locked().refuses = writes;
    }

    /// How often one was.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.locked().refusals
    }

    /// After `verbs` more, one verb does nothing and is never answered, as on a connection that has gone silent.
    pub fn never_answer(&self, verbs: usize) {
        self.locked().silent_in = Some(verbs);
    }

    /// The sandboxes that were buried.
    #[must_use]
    pub fn tombstones(&self) -> BTreeSet<SandboxId> {
        self.locked().tombstones.clone()
    }

    /// Also where somebody who had it has panicked.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One atomic action between two yields.
    async fn act<T: Send>(&self, action: impl FnOnce(&mut State) -> Result<T, StoreError> + Send) -> Result<T, StoreError> {
        yield_now().await;
        let silent = {
            let mut state = self.locked();
            let verbs = state.silent_in.take();
            state.silent_in = verbs.and_then(|verbs| verbs.checked_sub(1));
            verbs == Some(0)
        };
        if silent {
            return std::future::pending().await;
        }
        let done = {
            let mut state = self.locked();
            if state.away { Err(StoreError::Away(anyhow::anyhow!("made to be away"))) } else { action(&mut state) }
        };
        yield_now().await;
        done
    }

    /// Nobody listening is no error.
    fn changed(&self, row: &ProjectAndSandbox) {
        let changed = Changed { owner: row.project.owner, project: row.project.id, sandbox: row.sandbox.id, clone: false };
        let _ = self.changes.send(changed);
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    async fn create(&self, new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError> {
        self.create_project(new).await
    }

    async fn created(&self, owner: UserId, key: &str, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| Ok(state.seen(owner.0, key, now).and_then(|id| state.of_project(id)))).await
    }

    async fn projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.read_projects(owner).await
    }

    async fn sandboxes(&self, owner: UserId, main: ProjectId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.act(|state| Ok(state.family(main).into_iter().filter(|row| row.project.owner == owner).collect())).await
    }

    async fn page(&self, owner: UserId, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.read_page(owner, before, limit).await
    }

    async fn project(&self, owner: UserId, id: ProjectId) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| Ok(state.owned(owner, id))).await
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
        self.act(|state| {
            let main = state.owned(owner, id).map(|row| row.project.main());
            Ok(main.and_then(|main| state.projects.get(&main)).map(|project| project.env.clone()))
        })
        .await
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
        self.act(|state| Ok(state.claude.get(&owner).cloned())).await
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
        self.act(|state| Ok(state.sandboxes.values().filter_map(|sandbox| state.pair(sandbox)).collect())).await
    }

    async fn tell(&self, id: SandboxId, entry: Entry, now: Timestamp) -> Result<(), StoreError> {
        self.act(|state| {
            if let Some(row) = state.of_sandbox(id) {
                state.told(&row, entry, now);
            }
            Ok(())
        })
        .await
    }

    async fn activity(&self, owner: UserId, filter: &Filter) -> Result<Vec<ActivityView>, StoreError> {
        self.read_activity(owner, filter).await
    }

    async fn forget_activity(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.remove_activity(before).await
    }

    fn changes(&self) -> BoxStream<'static, Changed> {
        let changes = BroadcastStream::new(self.changes.subscribe());
        changes
            .take_while(|change| std::future::ready(change.is_ok()))
            .filter_map(|change| std::future::ready(change.ok()))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Subject;
    use uuid::Uuid;

    async fn subject() -> Option<Subject> {
        let rows = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(rows.clone());
        let owners = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
        let sized = Box::new(move |sizes| Arc::new(rows.clone().with_sizes(sizes)) as Arc<dyn Store>);
        Some(Subject { other: store.clone(), store, sized, owners })
    }

    crate::store_contract!(subject);

    #[tokio::test]
    async fn a_receiver_that_falls_behind_is_told_by_the_streams_end() {
        let store = MemoryStore::new();
        let mut changes = store.changes();
        let (owner, project, sandbox) = (UserId(Uuid::nil()), ProjectId(Uuid::nil()), SandboxId(Uuid::nil()));
        let changed = Changed { owner, project, sandbox, clone: false };
        for _ in 0..=CHANGES {
            store.changes.send(changed).unwrap();
        }
        assert_eq!(changes.next().await, None);
    }

    #[tokio::test]
    async fn a_store_that_is_away_says_so() {
        let store = MemoryStore::new();
        store.set_away(true);
        assert!(matches!(store.all().await, Err(StoreError::Away(_))));
        store.set_away(false);
        assert!(store.all().await.unwrap().is_empty());
    }
}
