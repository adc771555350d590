//! One task a kind: lists, watches from there, and comes back by itself where it was, or with a new list
//! where the apiserver has forgotten that (410).
//!
//! `kube::runtime::watcher` does the same and says nothing when a watch that failed is back, nor when the
//! request for one hangs: whether the index is fresh could not be told from it. What the cluster has of databases
//! is watched in the same way.

use super::{From, Index, Indexed, Kind, Known, State, Whole};
use crate::{Cluster, causes, labels};
use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Event as CoreEvent, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::{Ingress, IngressClass, NetworkPolicy},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource,
    api::{ListParams, WatchParams},
    core::{ObjectList, PartialObjectMeta, WatchEvent},
};
use model::{Cause, CauseCode, InstallationId};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, future::Future, marker::PhantomData, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a watch lives. The apiserver ends it then and it is begun again where it was; one that lives
/// for [`MARGIN`] longer hangs. Shorter finds that sooner, and asks more often: some sixteen kinds twice a
/// minute are nothing.
const LIFE_SECS: u32 = 30;
const MARGIN: Duration = Duration::from_secs(5);
/// How long an answer may begin to come.
const ANSWER: Duration = Duration::from_secs(10);
/// Between attempts: doubled with each failure in a row, and up to half of it more by chance.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// The same for what is not needed: an account that may not see it may be given the right at any time.
const LAST_WAIT_UNNEEDED: Duration = Duration::from_secs(120);
/// A watch that is over before this, with nothing told, did not work, whatever it was answered with: a proxy may say 200 and close, and so
/// may an apiserver that is stopping. The same as client-go's.
const PROVEN: Duration = Duration::from_secs(1);
const PAGE: u32 = 500;

/// Watches every kind until `stop`.
pub fn watch(index: &Arc<Index>, cluster: &Cluster, stop: &CancellationToken) {
    let tasks = Tasks { index, cluster, stop };
    tasks.kind::<Deployment>();
    tasks.kind::<Pod>();
    tasks.kind::<PersistentVolumeClaim>();
    tasks.kind::<Service>();
    tasks.kind::<Ingress>();
    tasks.kind::<NetworkPolicy>();
    tasks.metadata::<Secret>();
    tasks.metadata::<ServiceAccount>();
    tasks.events();
    let (client, all) = (&cluster.client, index);
    let nodes = Each { index: all.clone(), known: |state| &mut state.nodes, told: |index, names| index.nodes_changed(names) };
    tasks.spawn(nodes, Objects(Api::<Node>::all(client.clone())), Kind::Node, None);
    let classes = Each {
        index: all.clone(),
        known: |state| &mut state.ingress_classes,
        told: |index, names| {
            if !names.is_empty() {
                index.ingress_classes_changed();
            }
        },
    };
    tasks.spawn(classes, Objects(Api::<IngressClass>::all(client.clone())), Kind::IngressClass, None);
}

/// Watches events alone, until `stop`: for who has no use for the rest.
pub fn watch_events(index: &Arc<Index>, cluster: &Cluster, stop: &CancellationToken) {
    Tasks { index, cluster, stop }.events();
}

/// Which objects of a kind are kept. Of those that databases have as well and nobody asks for here, the databases' are left
/// to their own watches.
fn selector(kind: Kind, installation: InstallationId) -> String {
    let ours = labels::of_installation(installation);
    match kind {
        Kind::PersistentVolumeClaim | Kind::Service | Kind::NetworkPolicy => {
            format!("{ours},{}!={}", labels::COMPONENT, labels::Component::Database.as_str())
        }
        // A database's pods hold room on nodes, and write the log that is shown.
        _ => ours,
    }
}

struct Tasks<'a> {
    index: &'a Arc<Index>,
    cluster: &'a Cluster,
    stop: &'a CancellationToken,
}

impl Tasks<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    fn kind<K>(&self)
    where
        K: Indexed + Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Debug,
    {
        let selector = selector(K::KIND, self.index.installation());
        self.spawn(Kept(self.index.clone(), PhantomData), Objects(self.api::<K>()), K::KIND, Some(selector));
    }

    fn metadata<K>(&self)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        PartialObjectMeta<K>: Indexed,
    {
        let selector = labels::of_installation(self.index.installation());
        let kind = PartialObjectMeta::<K>::KIND;
        self.spawn(Kept(self.index.clone(), PhantomData), Metadata(self.api::<K>()), kind, Some(selector));
    }

    /// They carry no labels that could be selected by.
    fn events(&self) {
        self.spawn(Happened(self.index.clone()), Objects(self.api::<CoreEvent>()), Kind::Event, None);
    }

    fn spawn<S: Source>(&self, to: impl Listener<S::Object>, source: S, kind: Kind, selector: Option<String>) {
        self.index.watches().begin(kind);
        let health = OfIndex { index: self.index.clone(), kind };
        let task = Task { source, to, health, place: self.index.place().to_owned(), kind: kind.to_string(), selector };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task.run() => {}
            }
        });
    }
}

/// Where objects of a kind come from: whole, or their metadata alone.
pub(crate) trait Source: Send + Sync + 'static {
    type Object: Clone + Send + 'static;
    fn meta(object: &Self::Object) -> &ObjectMeta;
    fn list(&self, params: &ListParams) -> impl Future<Output = kube::Result<ObjectList<Self::Object>>> + Send;
    fn watch(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> impl Future<Output = kube::Result<BoxStream<'static, kube::Result<WatchEvent<Self::Object>>>>> + Send;
}

pub(crate) struct Objects<K>(pub Api<K>);
struct Metadata<K>(Api<K>);

impl<K> Source for Objects<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    type Object = K;
    fn meta(object: &K) -> &ObjectMeta {
        object.meta()
    }
    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<K>> {
        self.0.list(params).await
    }
    async fn watch(&self, params: &WatchParams, version: &str) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<K>>>> {
        Ok(self.0.watch(params, version).await?.boxed())
    }
}

impl<K> Source for Metadata<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    type Object = PartialObjectMeta<K>;
    fn meta(object: &PartialObjectMeta<K>) -> &ObjectMeta {
        &object.metadata
    }
    async fn list(&self, params: &ListParams) -> kube::Result<ObjectList<PartialObjectMeta<K>>> {
        self.0.list_metadata(params).await
    }
    async fn watch(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<PartialObjectMeta<K>>>>> {
        Ok(self.0.watch_metadata(params, version).await?.boxed())
    }
}

/// Who is told of objects.
pub(crate) trait Listener<K>: Send + Sync + 'static {
    fn begin(&self);
    fn put(&self, object: K, from: From);
    fn take(&self, object: K);
    fn listed(&self);
    /// It cannot be seen now.
    fn lost(&self) {}
}

struct Kept<K>(Arc<Index>, PhantomData<fn(K)>);

impl<K: Indexed> Listener<K> for Kept<K> {
    fn begin(&self) {
        self.0.begin::<K>();
    }
    fn put(&self, object: K, from: From) {
        self.0.put(object, from);
    }
    fn take(&self, object: K) {
        self.0.take::<K>(object.meta());
    }
    fn listed(&self) {
        self.0.listed::<K>();
    }
}

struct Happened(Arc<Index>);

impl Listener<CoreEvent> for Happened {
    fn begin(&self) {}
    fn put(&self, event: CoreEvent, _: From) {
        self.0.happened(event);
    }
    fn take(&self, event: CoreEvent) {
        self.0.read().events.take(&event);
    }
    fn listed(&self) {}
}

/// Keeps of each what matters.
struct Each<T> {
    index: Arc<Index>,
    known: fn(&mut State) -> &mut Known<T>,
    told: fn(&Index, &[String]),
}

impl<T> Each<T> {
    fn change(&self, change: impl FnOnce(&mut Known<T>) -> Vec<String>) {
        let names = change((self.known)(&mut self.index.read()));
        (self.told)(&self.index, &names);
    }
}

impl<K: Whole> Listener<K> for Each<K::Kept> {
    fn begin(&self) {
        self.change(|known| {
            known.begin();
            Vec::new()
        });
    }
    fn put(&self, object: K, from: From) {
        let Some(name) = object.meta().name.clone() else { return };
        self.change(|known| if known.put(name.clone(), object.kept(), from == From::List) { vec![name] } else { Vec::new() });
    }
    fn take(&self, object: K) {
        let Some(name) = object.meta().name.clone() else { return };
        self.change(|known| if known.take(&name) { vec![name] } else { Vec::new() });
    }
    fn listed(&self) {
        self.change(Known::listed);
    }
    fn lost(&self) {
        self.change(Known::lost);
    }
}

/// Who is told how a watch is.
pub(crate) trait Health: Send + Sync + 'static {
    /// Whether nothing can be told without these objects.
    fn needed(&self) -> bool;
    /// It is well; `listed`: all that there is was told of.
    fn well(&self, listed: bool);
    /// It failed, and is tried again by itself.
    fn ill(&self, cause: Cause);
    /// Something came of it.
    fn heard(&self);
    /// What it is of may not be seen, and need not.
    fn unseen(&self) {}
}

struct OfIndex {
    index: Arc<Index>,
    kind: Kind,
}

impl Health for OfIndex {
    fn needed(&self) -> bool {
        self.index.needs(self.kind)
    }
    fn well(&self, listed: bool) {
        self.index.watches().well(self.kind, listed);
    }
    fn heard(&self) {
        self.index.watches().heard(self.kind);
    }
    fn unseen(&self) {
        self.index.watches().unseen(self.kind);
    }
    fn ill(&self, cause: Cause) {
        self.index.watches().ill(self.kind, cause);
        let index = self.index.clone();
        tokio::spawn(async move {
            tokio::time::sleep(super::health::TOLERATED).await;
            index.watches().judge();
        });
    }
}

/// The watch of one kind.
pub(crate) struct Task<S, L, H> {
    pub source: S,
    pub to: L,
    pub health: H,
    /// Which cluster, at the beginning of a sentence.
    pub place: String,
    /// As Kubernetes calls it.
    pub kind: String,
    pub selector: Option<String>,
}

/// Why a watch has to be begun again.
enum Broken {
    /// Where it was.
    There(Cause),
    /// With a list.
    Forgotten,
}

impl<S: Source, L: Listener<S::Object>, H: Health> Task<S, L, H> {
    /// Never ends.
    pub async fn run(self) {
        let (mut version, mut failures) = (None, 0);
        loop {
            let mut proven = false;
            let done = match version.take() {
                None => self.list().await,
                Some(known) => self.watch(known, &mut proven).await,
            };
            if proven {
                // However it ended: it worked, and those that failed before it are in no row with it.
                failures = 0;
            }
            match done {
                Ok(known) => {
                    version = Some(known);
                    failures = 0;
                    continue;
                }
                Err((_, Broken::Forgotten)) => {}
                Err((known, Broken::There(cause))) => {
                    version = known;
                    self.ill(cause);
                }
            }
            let last = if self.health.needed() { LAST_WAIT } else { LAST_WAIT_UNNEEDED };
            tokio::time::sleep(wait(failures, last)).await;
            failures = (failures + 1).min(16);
        }
    }

    /// Everything there is, and as of when.
    async fn list(&self) -> Result<String, (Option<String>, Broken)> {
        self.to.begin();
        let mut params = ListParams { label_selector: self.selector.clone(), limit: Some(PAGE), ..ListParams::default() };
        loop {
            let page = self.answer(self.source.list(&params)).await.map_err(|broken| (None, broken))?;
            self.health.heard();
            for object in page.items {
                self.to.put(object, From::List);
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.to.listed();
                self.health.well(true);
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }

    /// What changes since, until the watch is over; `proven`: it works.
    async fn watch(&self, mut version: String, proven: &mut bool) -> Result<String, (Option<String>, Broken)> {
        let params = WatchParams { label_selector: self.selector.clone(), timeout: Some(LIFE_SECS), ..WatchParams::default() };
        let life = Duration::from_secs(u64::from(LIFE_SECS)) + MARGIN;
        let mut stream = match self.answer(self.source.watch(&params, &version)).await {
            Ok(stream) => stream,
            Err(broken) => return Err((Some(version), broken)),
        };
        loop {
            let item = match timeout(if *proven { life } else { PROVEN }, stream.next()).await {
                Ok(None) if !*proven => return Err((Some(version), Broken::There(self.cut_short()))),
                // It ended as it was to: nothing is missing.
                Ok(None) => {
                    self.health.heard();
                    return Ok(version);
                }
                Ok(Some(item)) => item,
                Err(_) if !*proven => {
                    self.prove(proven);
                    continue;
                }
                Err(_) => return Err((Some(version), Broken::There(self.silent()))),
            };
            if matches!(
                item,
                Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) | WatchEvent::Bookmark(_))
            ) {
                self.prove(proven);
                self.health.heard();
            }
            match item {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    version = S::meta(&object).resource_version.clone().unwrap_or(version);
                    self.to.put(object, From::Watch);
                }
                Ok(WatchEvent::Deleted(object)) => {
                    version = S::meta(&object).resource_version.clone().unwrap_or(version);
                    self.to.take(object);
                }
                Ok(WatchEvent::Bookmark(mark)) => version = mark.metadata.resource_version,
                Ok(WatchEvent::Error(status)) => return Err((Some(version), self.broken(kube::Error::Api(status.boxed())))),
                Err(error) => return Err((Some(version), self.broken(error))),
            }
        }
    }

    fn prove(&self, proven: &mut bool) {
        if !std::mem::replace(proven, true) {
            self.health.well(false);
        }
    }

    async fn answer<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Broken> {
        match timeout(ANSWER, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(Broken::There(self.silent())),
        }
    }

    fn broken(&self, error: kube::Error) -> Broken {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Broken::Forgotten,
            _ => Broken::There(causes::explain(&error, &self.doing(), &self.place)),
        }
    }

    fn silent(&self) -> Cause {
        let text = format!("{} has not answered for a while: asked to {}.", self.place, self.doing());
        Cause::new(
            CauseCode::OrchestratorUnreachable,
            text,
            &["It is tried again by itself.", "Look whether the cluster is well."],
        )
    }

    fn cut_short(&self) -> Cause {
        let text = format!("{} answers, and ends the answer at once: asked to {}.", self.place, self.doing());
        Cause::new(
            CauseCode::OrchestratorUnreachable,
            text,
            &[
                "It is tried again by itself.",
                "Look whether the cluster is well, and whether a proxy before its apiserver lets long answers through.",
            ],
        )
    }

    fn doing(&self) -> String {
        format!("watch objects of kind {}", self.kind)
    }

    fn ill(&self, cause: Cause) {
        tracing::debug!(watch.kind = %self.kind, "a watch failed: {} {}", cause.message, cause.detail.as_deref().unwrap_or_default());
        if cause.code == CauseCode::PermissionMissing && !self.health.needed() {
            self.to.lost();
            // What may not be seen and is not needed is no reason to wait.
            self.health.well(true);
            return self.health.unseen();
        }
        self.health.ill(cause);
    }
}

fn wait(failures: u32, last: Duration) -> Duration {
    let base = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures)).min(last);
    base.mul_f64(1.0 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
    use kube::core::{Status, TypeMeta};
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };

    #[test]
    fn no_object_is_kept_twice_but_the_pods_of_databases() {
        let installation = InstallationId(uuid::Uuid::from_u128(1));
        let ours = labels::of_installation(installation);
        let databases = crate::database::hidden::of_databases(installation);
        let theirs = databases.strip_prefix(&ours).unwrap();
        assert_eq!(theirs, ",app.kubernetes.io/component=database");
        // Those that databases have watches for.
        for kind in [Kind::PersistentVolumeClaim, Kind::Service, Kind::NetworkPolicy] {
            assert_eq!(selector(kind, installation), format!("{ours}{}", theirs.replace('=', "!=")), "{kind}");
        }
        for kind in [Kind::Pod, Kind::Deployment, Kind::Ingress] {
            assert_eq!(selector(kind, installation), ours, "{kind}");
        }
    }

    /// An apiserver whose watches end by themselves, each after what it has to tell; when nothing is left, they stay.
    struct Ending {
        told: Mutex<Vec<Vec<Pod>>>,
        /// Those with something to tell end with an error.
        breaks: bool,
        /// What is told when nothing is left.
        for_ever: bool,
        asked: Arc<AtomicU32>,
    }

    impl Source for Ending {
        type Object = Pod;
        fn meta(object: &Pod) -> &ObjectMeta {
            &object.metadata
        }
        async fn list(&self, _: &ListParams) -> kube::Result<ObjectList<Pod>> {
            let metadata = ListMeta { resource_version: Some("1".to_owned()), ..ListMeta::default() };
            Ok(ObjectList { types: TypeMeta::default(), metadata, items: Vec::new() })
        }
        async fn watch(&self, _: &WatchParams, _: &str) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<Pod>>>> {
            // So that a test ends also where nothing waits.
            tokio::task::yield_now().await;
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok(match self.told.lock().unwrap().pop() {
                Some(pods) => {
                    let end =
                        self.breaks.then(|| WatchEvent::Error(Status::failure("etcd has no leader", "Unavailable").boxed()));
                    futures::stream::iter(pods.into_iter().map(WatchEvent::Added).chain(end).map(Ok)).boxed()
                }
                None if self.for_ever => futures::stream::pending().boxed(),
                None => futures::stream::empty().boxed(),
            })
        }
    }

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<&'static str>>>);

    impl Listener<Pod> for Told {
        fn begin(&self) {}
        fn put(&self, _: Pod, _: From) {}
        fn take(&self, _: Pod) {}
        fn listed(&self) {}
    }

    impl Health for Told {
        fn needed(&self) -> bool {
            true
        }
        fn well(&self, listed: bool) {
            self.0.lock().unwrap().push(if listed { "listed" } else { "well" });
        }
        fn ill(&self, _: Cause) {
            self.0.lock().unwrap().push("ill");
        }
        fn heard(&self) {}
    }

    fn task(source: Ending, health: &Told) -> Task<Ending, Told, Told> {
        let (place, kind) = ("The cluster".to_owned(), "Pod".to_owned());
        Task { source, to: health.clone(), health: health.clone(), place, kind, selector: None }
    }

    async fn watched(told: Vec<Vec<Pod>>, for_ever: bool, length: Duration) -> (u32, Vec<&'static str>) {
        let (asked, health) = (Arc::new(AtomicU32::new(0)), Told::default());
        let task = task(Ending { told: Mutex::new(told), breaks: false, for_ever, asked: asked.clone() }, &health);
        assert!(timeout(length, task.run()).await.is_err(), "a watch never ends");
        let told = health.0.lock().unwrap().clone();
        (asked.load(Ordering::Relaxed), told)
    }

    #[tokio::test]
    async fn watches_that_end_at_once_are_failures_and_waited_after() {
        // Waits of at least 200, 400 and 800 ms.
        let (asked, told) = watched(Vec::new(), false, FIRST_WAIT * 6).await;
        assert!((1..=3).contains(&asked), "{asked} times");
        assert_eq!(told[..2], ["listed", "ill"]);
        assert!(!told.contains(&"well"), "{told:?}");
    }

    #[tokio::test]
    async fn a_watch_that_ends_after_something_was_told_goes_on_at_once() {
        let (asked, told) = watched(vec![vec![Pod::default()]], true, PROVEN * 2).await;
        assert_eq!((asked, told), (2, vec!["listed", "well", "well"]), "the second by having lasted");
    }

    #[tokio::test]
    async fn watches_that_break_after_something_was_told_are_no_failures_in_a_row() {
        let asked = Arc::new(AtomicU32::new(0));
        let told = Mutex::new(vec![vec![Pod::default()]; 5]);
        let task = task(Ending { told, breaks: true, for_ever: true, asked: asked.clone() }, &Told::default());
        let sixth = async {
            while asked.load(Ordering::Relaxed) < 6 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Five waits of at most 300 ms each. In a row they would be doubled: 6.2 s at least.
        let both = async {
            tokio::select! {
                () = task.run() => {}
                () = sixth => {}
            }
        };
        assert!(timeout(FIRST_WAIT * 30, both).await.is_ok(), "only {} watches", asked.load(Ordering::Relaxed));
    }
}
