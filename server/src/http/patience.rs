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

/// A store of which every call is [`patient`].
pub struct PatientStore(Arc<dyn Store>);

impl PatientStore {
    /// Around a store.
    #[must_use]
    pub fn around(store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Self(store))
    }
}

#[async_trait::async_trait]
impl Store for PatientStore {
    async fn create(&self, new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError> {
        patient(self.0.create(new)).await
    }
    async fn projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        patient(self.0.projects(owner)).await
    }
    async fn sandboxes(&self, owner: UserId, main: ProjectId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        patient(self.0.sandboxes(owner, main)).await
    }
    async fn page(&self, owner: UserId, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        patient(self.0.page(owner, before, limit)).await
    }
    async fn project(&self, owner: UserId, id: ProjectId) -> Result<Option<ProjectAndSandbox>, StoreError> {
        patient(self.0.project(owner, id)).await
    }
    async fn created(&self, owner: UserId, key: &str, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        patient(self.0.created(owner, key, now)).await
    }
    async fn by_name(&self, owner: UserId, name: &ResourceName) -> Result<Option<ProjectAndSandbox>, StoreError> {
        patient(self.0.by_name(owner, name)).await
    }
    async fn update(
        &self,
        owner: UserId,
        id: ProjectId,
        name: Option<DisplayName>,
        preset: Option<Preset>,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        patient(self.0.update(owner, id, name, preset, now)).await
    }
    async fn ask(
        &self,
        owner: UserId,
        id: ProjectId,
        ask: Ask,
        key: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Asked>, StoreError> {
        patient(self.0.ask(owner, id, ask, key, now)).await
    }
    async fn delete(&self, owner: UserId, id: ProjectId, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        patient(self.0.delete(owner, id, now)).await
    }
    async fn env(&self, owner: UserId, id: ProjectId) -> Result<Option<BTreeMap<EnvKey, (SecretString, Timestamp)>>, StoreError> {
        patient(self.0.env(owner, id)).await
    }
    async fn change_env(
        &self,
        owner: UserId,
        id: ProjectId,
        set: BTreeMap<EnvKey, SecretString>,
        remove: Vec<String>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, model::env::EnvError>>, StoreError> {
        patient(self.0.change_env(owner, id, set, remove, now)).await
    }
    async fn replace_env(
        &self,
        owner: UserId,
        id: ProjectId,
        all: BTreeMap<EnvKey, SecretString>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, model::env::EnvError>>, StoreError> {
        patient(self.0.replace_env(owner, id, all, now)).await
    }
    async fn reset_password(
        &self,
        owner: UserId,
        id: ProjectId,
        password: SecretString,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        patient(self.0.reset_password(owner, id, password, now)).await
    }
    async fn claude(&self, owner: UserId) -> Result<Option<(Claude, Timestamp)>, StoreError> {
        patient(self.0.claude(owner)).await
    }
    async fn set_claude(&self, owner: UserId, claude: Option<Claude>, now: Timestamp) -> Result<bool, StoreError> {
        patient(self.0.set_claude(owner, claude, now)).await
    }
    async fn lease_due(&self, holder: &str, now: Timestamp, hold: Duration, limit: usize) -> Result<Vec<Leased>, StoreError> {
        patient(self.0.lease_due(holder, now, hold, limit)).await
    }
    async fn lease(&self, id: SandboxId, holder: &str, now: Timestamp, hold: Duration) -> Result<Option<Leased>, StoreError> {
        patient(self.0.lease(id, holder, now, hold)).await
    }
    async fn record(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        pass: &Pass,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        patient(self.0.record(id, holder, version, pass, now)).await
    }
    async fn release(&self, id: SandboxId, holder: &str) -> Result<(), StoreError> {
        patient(self.0.release(id, holder)).await
    }
    async fn bury(&self, id: SandboxId, holder: &str, version: i64, now: Timestamp) -> Result<bool, StoreError> {
        patient(self.0.bury(id, holder, version, now)).await
    }
    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        patient(self.0.next_wake()).await
    }
    async fn all(&self) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        patient(self.0.all()).await
    }
    async fn tell(&self, id: SandboxId, entry: Entry, now: Timestamp) -> Result<(), StoreError> {
        patient(self.0.tell(id, entry, now)).await
    }
    async fn activity(&self, owner: UserId, filter: &Filter) -> Result<Vec<ActivityView>, StoreError> {
        patient(self.0.activity(owner, filter)).await
    }
    async fn forget_activity(&self, before: Timestamp) -> Result<u64, StoreError> {
        patient(self.0.forget_activity(before)).await
    }
    fn changes(&self) -> BoxStream<'static, Changed> {
        self.0.changes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_says_nothing_is_away() {
        let silent = within(Duration::from_millis(20), std::future::pending::<Result<(), StoreError>>()).await;
        assert!(matches!(silent, Err(StoreError::Away(_))));
        assert!(patient(async { Ok(1) }).await.is_ok_and(|one| one == 1));
    }
}
