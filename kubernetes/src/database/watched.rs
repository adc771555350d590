//! What the cluster has of databases, kept up to date by one watch a kind: looking at it asks nobody.

use crate::{
    index::{
        From, Listener, Objects, Task, WatchHealth,
        health::{Heard, TOLERATED},
    },
    labels,
};
use engine::{database::DatabaseError, measure::WatchFact};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource,
    runtime::{
        reflector::{Lookup, Store, store::Writer},
        watcher::Event,
    },
};
use model::{Cause, CauseCode, ProjectId, SandboxId};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::warn;

/// How long the first list of a kind may take before a verb goes without it.
const FIRST: Duration = Duration::from_secs(10);

/// Something changed, of any kind.
#[derive(Clone)]
pub struct Changed(Arc<Told>);

struct Told {
    /// Which cluster, at the beginning of a sentence.
    place: String,
    bell: watch::Sender<()>,
    /// Whose sandboxes are told of, once anybody has asked about their databases.
    sandboxes: Mutex<HashMap<ProjectId, SandboxId>>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<SandboxId>>>,
    watches: AtomicUsize,
    /// Of which kind each watch is, and what it has heard.
    heard: Mutex<BTreeMap<usize, (&'static str, Heard)>>,
    /// The watches that are broken off, since when, and why.
    ill: Mutex<BTreeMap<usize, (Instant, Cause)>>,
    trouble: watch::Sender<Option<Cause>>,
}

impl Changed {
    /// Nobody is told yet.
    #[must_use]
    pub fn of(place: String) -> Self {
        Self(Arc::new(Told {
            place,
            bell: watch::Sender::default(),
            sandboxes: Mutex::default(),
            listeners: Mutex::default(),
            watches: AtomicUsize::default(),
            heard: Mutex::default(),
            ill: Mutex::default(),
            trouble: watch::Sender::default(),
        }))
    }

    /// Why what is known is old, while it is: of a watch that has been broken off for a while.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Cause>> {
        self.0.trouble.subscribe()
    }

    /// How each watch is.
    #[must_use]
    pub fn facts(&self) -> Vec<WatchFact> {
        self.heard().values().map(|(kind, heard)| heard.fact("databases", (*kind).to_owned())).collect()
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<usize, (&'static str, Heard)>> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch of objects of this kind begins; answers which one it is.
    fn begin(&self, kind: &'static str) -> usize {
        let watch = self.0.watches.fetch_add(1, Ordering::Relaxed);
        self.heard().insert(watch, (kind, Heard::new()));
        watch
    }

    /// A watch is over.
    fn end(&self, watch: usize) {
        self.heard().remove(&watch);
        self.well(watch);
    }

    fn well(&self, watch: usize) {
        self.0.ill.lock().unwrap_or_else(PoisonError::into_inner).remove(&watch);
        self.judge();
    }

    fn ill(&self, watch: usize, cause: Cause) {
        {
            let mut ill = self.0.ill.lock().unwrap_or_else(PoisonError::into_inner);
            let since = ill.get(&watch).map_or_else(Instant::now, |(since, _)| *since);
            ill.insert(watch, (since, cause));
        }
        self.judge();
        let later = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TOLERATED).await;
            later.judge();
        });
    }

    /// Says what follows of what is known, where that is something new.
    fn judge(&self) {
        let ill = self.0.ill.lock().unwrap_or_else(PoisonError::into_inner);
        let worst = ill.values().filter(|(since, _)| since.elapsed() >= TOLERATED).min_by_key(|(since, _)| *since);
        let cause = worst.map(|(_, cause)| cause.clone());
        self.0.trouble.send_if_modified(|was| std::mem::replace(was, cause.clone()) != cause);
    }

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

    fn tell(&self, projects: impl IntoIterator<Item = ProjectId>) {
        self.0.bell.send_replace(());
        let known = self.0.sandboxes.lock().unwrap_or_else(PoisonError::into_inner);
        for sandbox in projects.into_iter().filter_map(|project| known.get(&project)) {
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
    trouble: Arc<watch::Sender<Option<Cause>>>,
    task: JoinHandle<()>,
    changed: Changed,
    /// Which of the watches.
    watch: usize,
}

impl<K> Drop for Watched<K>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Hash + Eq,
{
    fn drop(&mut self) {
        self.task.abort();
        self.changed.end(self.watch);
    }
}

/// Whose database an object is of, by its metadata.
pub type Whose = Box<dyn Fn(&ObjectMeta) -> Option<ProjectId> + Send + Sync>;

/// Keeps what a watch tells.
struct Mirror<K>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    writer: Mutex<Writer<K>>,
    changed: Changed,
    whose: Whose,
}

impl<K> Mirror<K>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    fn writer(&self) -> MutexGuard<'_, Writer<K>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, event: &Event<K>, of: Option<ProjectId>) {
        self.writer().apply_watcher_event(event);
        self.changed.tell(of);
    }
}

impl<K, T> Mirror<K>
where
    K: Resource<DynamicType = T> + Lookup<DynamicType = T> + Clone + 'static,
    T: Hash + Eq + Clone,
{
    /// Whose objects are kept.
    fn projects(&self) -> BTreeSet<ProjectId> {
        let kept = self.writer().as_reader().state();
        kept.iter().filter_map(|object| (self.whose)(object.meta())).collect()
    }
}

impl<K, T> Listener<K> for Mirror<K>
where
    K: Resource<DynamicType = T> + Lookup<DynamicType = T> + Clone + Send + Sync + 'static,
    T: Hash + Eq + Clone + Send + Sync + 'static,
{
    fn begin(&self) {
        self.writer().apply_watcher_event(&Event::Init);
    }
    fn put(&self, object: K, from: From) {
        if from == From::List {
            // It takes the place of what is kept once all is listed, and is told of then.
            self.writer().apply_watcher_event(&Event::InitApply(object));
        } else {
            let of = (self.whose)(object.meta());
            self.apply(&Event::Apply(object), of);
        }
    }
    fn take(&self, object: K) {
        let of = (self.whose)(object.meta());
        self.apply(&Event::Delete(object), of);
    }
    fn listed(&self) {
        let mut of = self.projects();
        self.writer().apply_watcher_event(&Event::InitDone);
        // Also whose objects are not there any more.
        of.extend(self.projects());
        self.changed.tell(of);
    }
}

/// How the watch of one kind is.
struct OfDatabases {
    changed: Changed,
    /// Which of the watches.
    watch: usize,
    trouble: Arc<watch::Sender<Option<Cause>>>,
    kind: &'static str,
}

impl WatchHealth for OfDatabases {
    fn needed(&self) -> bool {
        true
    }
    fn heard(&self) {
        if let Some((_, heard)) = self.changed.heard().get_mut(&self.watch) {
            heard.heard();
        }
    }
    fn well(&self, listed: bool) {
        if let Some((_, heard)) = self.changed.heard().get_mut(&self.watch) {
            heard.well(listed);
        }
        self.trouble.send_replace(None);
        self.changed.well(self.watch);
    }
    fn ill(&self, cause: Cause) {
        if let Some((_, heard)) = self.changed.heard().get_mut(&self.watch) {
            heard.ill();
        }
        let told = self.trouble.send_replace(Some(cause.clone()));
        if told.is_none_or(|told| told.message != cause.message) {
            warn!(kind = self.kind, "the watch of databases broke off, and is taken up again: {}", cause.message);
        }
        self.changed.ill(self.watch, cause);
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
        Self::start_of(api, of, kind, selector, changed, Box::new(labels::project))
    }

    /// The same of objects that do not say themselves whose they are.
    #[must_use]
    pub fn start_of(api: Api<K>, of: T, kind: &'static str, selector: &str, changed: &Changed, whose: Whose) -> Self {
        let writer = Writer::new(of);
        let store = writer.as_reader();
        let trouble = Arc::new(watch::Sender::new(None));
        let watch = changed.begin(kind);
        let task = Task {
            source: Objects(api),
            to: Mirror { writer: Mutex::new(writer), changed: changed.clone(), whose },
            health: OfDatabases { changed: changed.clone(), watch, trouble: trouble.clone(), kind },
            place: changed.0.place.clone(),
            kind: kind.to_owned(),
            selector: Some(selector.to_owned()),
        };
        Self { store, kind, trouble, task: tokio::spawn(task.run()), changed: changed.clone(), watch }
    }

    /// Waits for the first list.
    ///
    /// # Errors
    /// With what the cluster said, where there is none yet; at once where it refuses to tell.
    pub async fn ready(&self) -> Result<(), DatabaseError> {
        let mut trouble = self.trouble.subscribe();
        let refused = |said: &Option<Cause>| {
            said.as_ref().is_some_and(|cause| matches!(cause.code, CauseCode::PermissionMissing | CauseCode::CredentialsRefused))
        };
        let listed = tokio::select! {
            biased;
            listed = self.store.wait_until_ready() => listed.is_ok(),
            _ = trouble.wait_for(refused) => false,
            () = tokio::time::sleep(FIRST) => false,
        };
        if listed {
            return Ok(());
        }
        let said = self.trouble.borrow().clone();
        Err(DatabaseError::Caused(said.unwrap_or_else(|| {
            Cause::new(
                CauseCode::OrchestratorUnreachable,
                format!("The cluster has not told yet which {} databases have.", self.kind),
                &["It is tried again by itself.", "Check that its apiserver runs, and that the account may list and watch them."],
            )
        })))
    }

    /// What is kept, for who looks at it beside the watch.
    #[must_use]
    pub fn kept(&self) -> Store<K> {
        self.store.clone()
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;
    use uuid::Uuid;

    fn pod(project: u128) -> Pod {
        let labels = json!({labels::PROJECT: Uuid::from_u128(project).to_string()});
        let meta = json!({"name": format!("pod-{project}"), "namespace": "team", "uid": project.to_string(), "labels": labels});
        serde_json::from_value(json!({"metadata": meta})).unwrap()
    }

    #[test]
    fn whose_objects_a_new_list_does_not_have_are_told_once_it_is_whole() {
        let changed = Changed::of("The cluster".to_owned());
        let writer = Writer::<Pod>::new(());
        let store = writer.as_reader();
        let mirror = Mirror { writer: Mutex::new(writer), changed: changed.clone(), whose: Box::new(labels::project) };
        let sandbox = |project: u128| SandboxId(Uuid::from_u128(100 + project));
        // Nobody has asked about the fourth.
        for project in 1..4 {
            changed.know(ProjectId(Uuid::from_u128(project)), sandbox(project));
        }
        let (mut told, mut bell) = (changed.listen(), changed.bell());
        let mut all = || {
            let mut all: Vec<SandboxId> = std::iter::from_fn(|| told.try_recv().ok()).collect();
            all.sort_unstable_by_key(|sandbox| sandbox.0);
            all
        };
        for project in [1, 2] {
            mirror.put(pod(project), From::Watch);
        }
        assert_eq!(all(), [sandbox(1), sandbox(2)]);

        // The second went while the watch was broken off, and the third came.
        bell.borrow_and_update();
        mirror.begin();
        for project in [1, 3, 4] {
            mirror.put(pod(project), From::List);
        }
        assert_eq!(all(), [], "nothing of it is to be seen yet");
        assert!(!bell.has_changed().unwrap() && store.state().len() == 2);
        mirror.listed();
        assert_eq!(all(), [sandbox(1), sandbox(2), sandbox(3)], "each once");
        assert!(bell.has_changed().unwrap() && store.state().len() == 3);

        mirror.take(pod(3));
        assert_eq!(all(), [sandbox(3)]);
    }
}
