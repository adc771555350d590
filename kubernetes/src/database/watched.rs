//! What the cluster has of databases, kept up to date by one watch a kind: looking at it asks nobody.

use engine::database::DatabaseError;
use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        reflector::{Lookup, Store, store::Writer},
        watcher,
    },
};
use model::{Cause, CauseCode};
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};
use tracing::warn;

/// How long the first list of a kind may take before a verb goes without it.
const FIRST: Duration = Duration::from_secs(10);

/// Something changed, of any kind.
pub type Changed = Arc<watch::Sender<()>>;

/// The objects of one kind that a selector names.
pub struct Watched<K>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Hash + Eq,
{
    store: Store<K>,
    kind: &'static str,
    /// Why the watch is broken off, until it is taken up again.
    trouble: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl<K> Drop for Watched<K>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Hash + Eq,
{
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K, T> Watched<K>
where
    K: Resource<DynamicType = T> + Lookup<DynamicType = T> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    T: Hash + Eq + Clone + Send + Sync + 'static,
{
    /// Watches from now on, until it is dropped. Each change is told to `changed`.
    #[must_use]
    pub fn start(api: Api<K>, of: T, kind: &'static str, selector: &str, changed: &Changed) -> Self {
        let writer = Writer::new(of);
        let store = writer.as_reader();
        let trouble = Arc::new(Mutex::new(None));
        let stream = watcher(api, watcher::Config::default().labels(selector)).default_backoff().reflect(writer);
        let (changed, telling) = (Arc::clone(changed), Arc::clone(&trouble));
        let task = tokio::spawn(async move {
            let mut stream = pin!(stream);
            while let Some(event) = stream.next().await {
                let error = match event {
                    Ok(_) => None,
                    Err(error) => {
                        warn!(kind, "the watch of databases broke off, and is taken up again: {error}");
                        Some(error.to_string())
                    }
                };
                *telling.lock().unwrap_or_else(PoisonError::into_inner) = error;
                changed.send_replace(());
            }
        });
        Self { store, kind, trouble, task }
    }

    /// Waits for the first list.
    ///
    /// # Errors
    /// [`CauseCode::OrchestratorUnreachable`] where there is none yet, with what the cluster said.
    pub async fn ready(&self) -> Result<(), DatabaseError> {
        if let Ok(Ok(())) = tokio::time::timeout(FIRST, self.store.wait_until_ready()).await {
            return Ok(());
        }
        let said = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cause = Cause::new(
            CauseCode::OrchestratorUnreachable,
            format!("The cluster has not told yet which {} databases have.", self.kind),
            &["It is tried again by itself.", "Check that its apiserver runs, and that the account may list and watch them."],
        );
        Err(DatabaseError::Caused(match said {
            Some(said) => cause.with_detail(said),
            None => cause,
        }))
    }

    /// The object of this name, if the selector names it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<K>> {
        self.store.find(|object| object.meta().name.as_deref() == Some(name))
    }

    /// All that say so of themselves.
    #[must_use]
    pub fn all(&self, that: impl Fn(&ObjectMeta) -> bool) -> Vec<Arc<K>> {
        self.store.state_filter(|object| that(object.meta()))
    }

    /// Whether one says so of itself.
    #[must_use]
    pub fn any(&self, that: impl Fn(&ObjectMeta) -> bool) -> bool {
        self.store.find(|object| that(object.meta())).is_some()
    }
}
