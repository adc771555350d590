//! What the cluster has of databases, kept up to date by one watch a kind: looking at it asks nobody.

use crate::labels;
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
use model::{Cause, CauseCode, ProjectId, SandboxId};
use serde::de::DeserializeOwned;
use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::warn;

/// How long the first list of a kind may take before a verb goes without it.
const FIRST: Duration = Duration::from_secs(10);

/// Something changed, of any kind.
#[derive(Clone, Default)]
pub struct Changed(Arc<Told>);

#[derive(Default)]
struct Told {
    bell: watch::Sender<()>,
    /// Whose sandboxes are told of, once anybody has asked about their databases.
    sandboxes: Mutex<HashMap<ProjectId, SandboxId>>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<SandboxId>>>,
}

impl Changed {
    /// Rings at each change.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<()> {
        self.0.bell.subscribe()
    }

    /// Tells of the sandboxes whose databases changed.
    #[must_use]
    pub fn listen(&self) -> mpsc::UnboundedReceiver<SandboxId> {
        let (send, receive) = mpsc::unbounded_channel();
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(send);
        receive
    }

    /// From now on changes of this project's database are told as ones of this sandbox.
    pub fn know(&self, project: ProjectId, sandbox: SandboxId) {
        self.0.sandboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(project, sandbox);
    }

    /// Nobody asks about this project's database any more.
    pub fn forget(&self, project: ProjectId) {
        self.0.sandboxes.lock().unwrap_or_else(PoisonError::into_inner).remove(&project);
    }

    fn tell(&self, project: Option<ProjectId>) {
        self.0.bell.send_replace(());
        let known = self.0.sandboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = project.and_then(|project| known.get(&project)) {
            let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.retain(|listener| listener.send(*sandbox).is_ok());
        }
    }
}

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
        let (changed, telling) = (changed.clone(), Arc::clone(&trouble));
        let task = tokio::spawn(async move {
            let mut stream = pin!(stream);
            while let Some(event) = stream.next().await {
                let mut of = None;
                let error = match event {
                    Ok(event) => {
                        if let watcher::Event::Apply(object)
                        | watcher::Event::InitApply(object)
                        | watcher::Event::Delete(object) = &event
                        {
                            of = labels::project(object.meta());
                        }
                        None
                    }
                    Err(error) => {
                        warn!(kind, "the watch of databases broke off, and is taken up again: {error}");
                        Some(error.to_string())
                    }
                };
                *telling.lock().unwrap_or_else(PoisonError::into_inner) = error;
                changed.tell(of);
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
