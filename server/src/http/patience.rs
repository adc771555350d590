//! How long the store is waited for. It may hold a query for ever without a word (a stopped process, a
//! lost network), and nobody waits that long.
//!
//! Only calls of the store are timed: a body that is slow, a handler that is at work and a page that is
//! being made have limits of their own, and none of those says that the database is away.

use engine::store::{
    Ask, Asked, Changed, Leased, NewProjectRow, Pass, ProjectAndSandbox, Store, StoreError,
    accounts::Accounts,
    activity::{Entry, Filter},
    claude::Claude,
};
use futures::stream::BoxStream;
use jiff::Timestamp;
use model::{DisplayName, ProjectId, ResourceName, SandboxId, UserId, activity::ActivityView, env::EnvKey, resources::Preset};
use secrecy::SecretString;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

/// Longer than the three seconds in which a connection is waited for, and than any query of ours.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// For reconciling, on which nobody waits: longer than the three seconds for a connection and the thirty after which PostgreSQL
/// itself ends a statement. Only a connection on which nothing comes any more takes longer, and that one for ever.
pub const RECONCILING: Duration = Duration::from_secs(35);

/// One call of the store.
///
/// # Errors
/// Its own; and that it is away, after [`PATIENCE`]. Then it is not known whether it did what it was
/// asked.
pub async fn patient<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    within(PATIENCE, call).await
}

async fn within<T>(time: Duration, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let silent = || StoreError::Away(anyhow::anyhow!("it did not answer within {} s", time.as_secs()));
    tokio::time::timeout(time, call).await.unwrap_or_else(|_| Err(silent()))
}

/// Calls of the store that go on to their end though whoever asked is gone: a query that is dropped half
/// way costs its connection, and clients that leave in numbers would take the pool from everybody. What
/// waits for its turn may be dropped, so that they do not pile up either.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

impl Turns {
    /// As many at a time as the pool has connections.
    #[must_use]
    pub fn of(accounts: &Accounts) -> Self {
        let (_, _, most) = accounts.connections();
        Self(Arc::new(Semaphore::new(most as usize)))
    }

    /// One call, in its turn.
    ///
    /// # Errors
    /// Those of [`patient`].
    pub async fn take<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        patient(async {
            let turn = self.0.clone().acquire_owned().await.map_err(|closed| StoreError::Away(closed.into()))?;
            let whole = async move {
                let answer = patient(call).await;
                drop(turn);
                answer
            };
            match tokio::spawn(whole.in_current_span()).await {
                Ok(answer) => answer,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(ended) => Err(StoreError::Away(ended.into())),
                },
            }
        })
        .await
    }
}

/// A store of which every call ends within a time, as one that is away.
pub struct PatientStore {
    store: Arc<dyn Store>,
    time: Duration,
}

impl PatientStore {
    /// Around a store.
    #[must_use]
    pub fn around(store: Arc<dyn Store>, time: Duration) -> Arc<dyn Store> {
        Arc::new(Self { store, time })
    }
}

#[async_trait::async_trait]
impl Store for PatientStore {
    async fn create(&self, new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError> {
        within(self.time, self.store.create(new)).await
    }
    async fn projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.projects(owner)).await
    }
    async fn sandboxes(&self, owner: UserId, main: ProjectId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.sandboxes(owner, main)).await
    }
    async fn page(&self, owner: UserId, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.page(owner, before, limit)).await
    }
    async fn project(&self, owner: UserId, id: ProjectId) -> Result<Option<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.project(owner, id)).await
    }
    async fn created(&self, owner: UserId, key: &str, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.created(owner, key, now)).await
    }
    async fn by_name(&self, owner: UserId, name: &ResourceName) -> Result<Option<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.by_name(owner, name)).await
    }
    async fn update(
        &self,
        owner: UserId,
        id: ProjectId,
        name: Option<DisplayName>,
        preset: Option<Preset>,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.update(owner, id, name, preset, now)).await
    }
    async fn ask(
        &self,
        owner: UserId,
        id: ProjectId,
        ask: Ask,
        key: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Asked>, StoreError> {
        within(self.time, self.store.ask(owner, id, ask, key, now)).await
    }
    async fn delete(&self, owner: UserId, id: ProjectId, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.delete(owner, id, now)).await
    }
    async fn env(&self, owner: UserId, id: ProjectId) -> Result<Option<BTreeMap<EnvKey, (SecretString, Timestamp)>>, StoreError> {
        within(self.time, self.store.env(owner, id)).await
    }
    async fn change_env(
        &self,
        owner: UserId,
        id: ProjectId,
        set: BTreeMap<EnvKey, SecretString>,
        remove: Vec<String>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, model::env::EnvError>>, StoreError> {
        within(self.time, self.store.change_env(owner, id, set, remove, now)).await
    }
    async fn replace_env(
        &self,
        owner: UserId,
        id: ProjectId,
        all: BTreeMap<EnvKey, SecretString>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, model::env::EnvError>>, StoreError> {
        within(self.time, self.store.replace_env(owner, id, all, now)).await
    }
    async fn reset_password(
        &self,
        owner: UserId,
        id: ProjectId,
        password: SecretString,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.reset_password(owner, id, password, now)).await
    }
    async fn claude(&self, owner: UserId) -> Result<Option<(Claude, Timestamp)>, StoreError> {
        within(self.time, self.store.claude(owner)).await
    }
    async fn set_claude(&self, owner: UserId, claude: Option<Claude>, now: Timestamp) -> Result<bool, StoreError> {
        within(self.time, self.store.set_claude(owner, claude, now)).await
    }
    async fn lease_due(
        &self,
        holder: &str,
        now: Timestamp,
        hold: Duration,
        limit: usize,
        except: &[SandboxId],
    ) -> Result<Vec<Leased>, StoreError> {
        within(self.time, self.store.lease_due(holder, now, hold, limit, except)).await
    }
    async fn lease(&self, id: SandboxId, holder: &str, now: Timestamp, hold: Duration) -> Result<Option<Leased>, StoreError> {
        within(self.time, self.store.lease(id, holder, now, hold)).await
    }
    async fn record(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        pass: &Pass,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        within(self.time, self.store.record(id, holder, version, pass, now)).await
    }
    async fn release(&self, id: SandboxId, holder: &str) -> Result<(), StoreError> {
        within(self.time, self.store.release(id, holder)).await
    }
    async fn bury(&self, id: SandboxId, holder: &str, version: i64, now: Timestamp) -> Result<bool, StoreError> {
        within(self.time, self.store.bury(id, holder, version, now)).await
    }
    async fn next_wake(&self, except: &[SandboxId]) -> Result<Option<Timestamp>, StoreError> {
        within(self.time, self.store.next_wake(except)).await
    }
    async fn all(&self) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        within(self.time, self.store.all()).await
    }
    fn left_out(&self) -> Vec<(ProjectId, SandboxId)> {
        self.store.left_out()
    }
    async fn tell(&self, id: SandboxId, entry: Entry, now: Timestamp) -> Result<(), StoreError> {
        within(self.time, self.store.tell(id, entry, now)).await
    }
    async fn activity(&self, owner: UserId, filter: &Filter) -> Result<Vec<ActivityView>, StoreError> {
        within(self.time, self.store.activity(owner, filter)).await
    }
    async fn forget_activity(&self, before: Timestamp) -> Result<u64, StoreError> {
        within(self.time, self.store.forget_activity(before)).await
    }
    fn changes(&self) -> BoxStream<'static, Changed> {
        self.store.changes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{
        clock::SystemClock,
        database::memory::MemoryDatabase,
        orchestrator::memory::MemoryOrchestrator,
        random::SystemRandom,
        reconcile::{Reconciler, Settings},
        store::{contract::least, memory::MemoryStore},
    };
    use model::InstallationId;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    #[tokio::test]
    async fn a_store_that_says_nothing_is_away() {
        let silent = within(Duration::from_millis(20), std::future::pending::<Result<(), StoreError>>()).await;
        assert!(matches!(silent, Err(StoreError::Away(_))));
        assert!(patient(async { Ok(1) }).await.is_ok_and(|one| one == 1));
    }

    #[tokio::test]
    async fn reconciling_goes_on_whichever_call_of_the_store_is_never_answered() {
        for call in 0..12 {
            let rows = Arc::new(MemoryStore::new());
            let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
            let world = Arc::new(MemoryOrchestrator::new(clock.clone(), random.clone()));
            let database = Arc::new(MemoryDatabase::new(clock.clone(), random.clone()));
            let row = rows.create(least(Timestamp::now())).await.unwrap().0;
            rows.never_answer(call);
            let store = PatientStore::around(rows, Duration::from_millis(50));
            let settings = Settings::new(InstallationId(Uuid::nil()));
            let reconciler = Reconciler::new(store, world.clone(), database, clock, random, settings);
            let stop = CancellationToken::new();
            tokio::spawn(reconciler.run(stop.clone()));
            let _stops = stop.drop_guard();
            let runs = async {
                while world.truth(row.sandbox.id).instance.is_none() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), runs).await.unwrap_or_else(|_| panic!("after call {call}"));
        }
    }
}
