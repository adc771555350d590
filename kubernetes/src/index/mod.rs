//! What is there of this installation, by sandbox. Fed by one watch a kind and by the answers to our own
//! writes; read without asking anybody.
//!
//! ```text
//!   Deployments Pods PVCs Services Ingresses NetworkPolicies      Secrets ServiceAccounts      Events
//!        └─────────────── whole ─────────────────┘              └─ metadata ─┘     (about ours) │
//!                     │ [`watch`]: one task a kind, the installation's label as selector         │
//!                     ▼                                                                         ▼
//!   [`shelf`] by name, by sandbox          [`run`] pods' runs, and how they ended         [`events`]
//!                     └──────────────▶ "look again at this sandbox" ◀───────────────────────────┘
//! ```
//!
//! Nodes and Ingress classes, which are the whole cluster's, are watched too where the account may ([`whole`]); so are
//! Ingresses where none are made ([`Kind::optional`]).
//!
//! Newer resource versions win, so that our own write's answer is not undone by an event that was under way
//! before it; what was deleted with an answer stays deleted for the same reason. What a watch told to be gone may only
//! have lost its label: told of anew, it is there again.

pub mod events;
pub mod health;
mod kinds;
pub mod run;
mod shelf;
mod watch;
mod whole;

pub use kinds::{Indexed, Kind};
pub(crate) use watch::{Health as WatchHealth, Listener, Objects, Task};
pub use watch::{watch, watch_events};
pub use whole::{Known, Whole};

use crate::{
    causes::{
        self,
        room::{self, NodeFacts, Room},
    },
    labels,
};
use events::Events;
use health::{Health, Watches};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::PartialObjectMeta;
use model::{Cause, InstallationId, SandboxId};
use run::Runs;
use shelf::Shelf;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How long an object that was deleted is remembered as such at least, and how many are before any is forgotten.
const REMEMBERED: Duration = Duration::from_secs(300);
const REMEMBERED_AT_ONCE: usize = 4096;
/// What an event is about that tells of a sandbox's own container.
const CONTAINER: &str = "spec.containers{sandbox}";

/// The index.
pub struct Index {
    /// Which cluster, at the beginning of a sentence.
    place: String,
    installation: InstallationId,
    /// What need not be seen: [`Kind::optional`].
    optional: Vec<Kind>,
    state: Mutex<State>,
    watchers: Mutex<Vec<mpsc::UnboundedSender<SandboxId>>>,
    /// Rings when something happened to a database.
    databases: tokio::sync::watch::Sender<()>,
    /// Pods that should be asked.
    probes: mpsc::UnboundedSender<Probe>,
    watches: Watches,
}

/// Something that only a pod itself can answer.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Of which sandbox.
    pub sandbox: SandboxId,
    /// Its pod.
    pub pod: Arc<Pod>,
    /// What.
    pub ask: run::Ask,
}

/// Where an object comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// A watch that told of a change.
    Watch,
    /// A watch that begins.
    List,
    /// The answer to a write of ours.
    Write,
}

/// All that is known.
#[derive(Default)]
pub struct State {
    pub(crate) deployments: Shelf<Deployment>,
    pub(crate) pods: Shelf<Pod>,
    pub(crate) volumes: Shelf<PersistentVolumeClaim>,
    pub(crate) services: Shelf<Service>,
    pub(crate) ingresses: Shelf<Ingress>,
    pub(crate) policies: Shelf<NetworkPolicy>,
    pub(crate) secrets: Shelf<PartialObjectMeta<Secret>>,
    pub(crate) accounts: Shelf<PartialObjectMeta<ServiceAccount>>,
    pub(crate) events: Events,
    /// How each node is.
    pub(crate) nodes: Known<NodeFacts>,
    /// Whether each Ingress class is the default.
    pub(crate) ingress_classes: Known<bool>,
    runs: HashMap<SandboxId, Runs>,
    /// What was deleted, by uid.
    gone: HashMap<String, Gone>,
}

/// An object that is not there any more.
struct Gone {
    at: Instant,
    /// As of which version, where it may be told of anew: whatever is not newer was under way before.
    version: Option<u64>,
}

impl Gone {
    /// Whether what comes of it now was still under way. No answer to a write tells that it is there again.
    fn overtakes(&self, meta: &ObjectMeta, from: From) -> bool {
        match (self.version, shelf::number(meta)) {
            (Some(gone), Some(version)) => from == From::Write || version <= gone,
            _ => true,
        }
    }
}

impl Index {
    /// An empty one, and what tells of runs that begin. `optional`: the kinds that the account need not see.
    #[must_use]
    pub fn new(installation: InstallationId, optional: Vec<Kind>) -> (Arc<Self>, mpsc::UnboundedReceiver<Probe>) {
        Self::at(causes::CLUSTER.to_owned(), installation, optional)
    }

    /// The same of a cluster that has a name of its own.
    #[must_use]
    pub fn at(place: String, installation: InstallationId, optional: Vec<Kind>) -> (Arc<Self>, mpsc::UnboundedReceiver<Probe>) {
        let (probes, receiver) = mpsc::unbounded_channel();
        let (state, watchers, databases, watches) =
            (Mutex::default(), Mutex::default(), tokio::sync::watch::Sender::default(), Watches::new());
        (Arc::new(Self { place, installation, optional, state, watchers, databases, probes, watches }), receiver)
    }

    /// Which cluster, at the beginning of a sentence.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether every kind was listed, and how its watch is.
    #[must_use]
    pub fn health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.watches.health()
    }

    /// Whose objects are kept.
    #[must_use]
    pub fn installation(&self) -> InstallationId {
        self.installation
    }

    /// Whether nothing can be told without seeing objects of this kind.
    pub(crate) fn needs(&self, kind: Kind) -> bool {
        kind.is_needed() && !self.optional.contains(&kind)
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Waits until every kind was listed once. `false`: not within `limit`.
    pub async fn synced(&self, limit: Duration) -> bool {
        self.watches.synced(limit).await
    }

    /// Reads. Do not hold it over a wait.
    pub fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<SandboxId> {
        let (send, receive) = mpsc::unbounded_channel();
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(send);
        receive
    }

    /// A pod as it is by now; as it was where it is gone.
    #[must_use]
    pub fn pod_now(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let state = self.read();
        let there = pod.metadata.name.as_deref().and_then(|name| state.pods.get(name));
        there.filter(|there| there.metadata.uid == pod.metadata.uid).unwrap_or(pod).clone()
    }

    /// "Look again at this one."
    pub fn tell(&self, sandbox: SandboxId) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).retain(|watcher| watcher.send(sandbox).is_ok());
    }

    /// An object is there, as it is now.
    pub fn put<K: Indexed>(&self, mut object: K, from: From) {
        if !labels::is_ours(object.meta(), self.installation) {
            return;
        }
        // Another replica's write is none of somebody else.
        let theirs = from == From::Watch && !written_by_us(object.meta());
        object.trim();
        let object = Arc::new(object);
        let (told, probes) = self.read().put(&object, from, theirs);
        for probe in probes {
            // Nobody asks agents in a test of the index alone.
            let _ = self.probes.send(probe);
        }
        told.into_iter().for_each(|sandbox| self.tell(sandbox));
    }

    /// An object is not there any more, as of its version: a watch or a list says so.
    pub fn take<K: Indexed>(&self, meta: &ObjectMeta) {
        let told = self.read().take::<K>(meta, shelf::number(meta));
        told.into_iter().for_each(|sandbox| self.tell(sandbox));
    }

    /// An object is not there any more: the answer to a delete of ours says so, which its watch still has to tell.
    pub fn deleted<K: Indexed>(&self, meta: &ObjectMeta) {
        let told = self.read().take::<K>(meta, None);
        told.into_iter().for_each(|sandbox| self.tell(sandbox));
    }

    /// A watch begins anew: what it does not list is gone.
    pub(crate) fn begin<K: Indexed>(&self) {
        K::shelf_mut(&mut self.read()).begin();
    }

    /// All was listed.
    pub(crate) fn listed<K: Indexed>(&self) {
        let missing = K::shelf_mut(&mut self.read()).missing();
        for object in missing {
            self.take::<K>(object.meta());
        }
    }

    /// Rings each time that something happened to a project's database.
    #[must_use]
    pub fn databases(&self) -> tokio::sync::watch::Receiver<()> {
        self.databases.subscribe()
    }

    /// Something happened to an object of the namespace; kept if it is one of ours.
    pub fn happened(&self, event: Event) {
        let of_database = events::is_of_database(&event);
        let told = {
            let mut state = self.read();
            if let Some(probe) = state.started(&event) {
                let _ = self.probes.send(probe);
            }
            let Some(about) = state.events.put(event) else { return };
            state.of_name(&about)
        };
        if of_database {
            self.databases.send_replace(());
        }
        if let Some(sandbox) = told {
            self.tell(sandbox);
        }
    }

    /// Something is known, or is not any more, of these nodes.
    pub(crate) fn nodes_changed(&self, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let told: BTreeSet<SandboxId> = {
            let state = self.read();
            let on =
                |pod: &&Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some_and(|on| names.contains(on));
            state.pods.all().filter(on).filter_map(|pod| labels::sandbox(&pod.metadata)).collect()
        };
        told.into_iter().for_each(|sandbox| self.tell(sandbox));
    }

    /// Something is known, or is not any more, of the Ingress classes.
    pub(crate) fn ingress_classes_changed(&self) {
        let told: BTreeSet<SandboxId> =
            self.read().ingresses.all().filter_map(|ingress| labels::sandbox(&ingress.metadata)).collect();
        told.into_iter().for_each(|sandbox| self.tell(sandbox));
    }

    /// Sandboxes that should run and whose policy is not as it should be any more, though nobody changed it, are compared.
    pub(crate) fn compare(&self, outdated: impl Fn(&NetworkPolicy) -> bool) {
        let told: BTreeSet<SandboxId> = {
            let mut state = self.read();
            let those =
                state.policies.all().filter(|policy| outdated(policy)).filter_map(|policy| labels::sandbox(&policy.metadata));
            let those: BTreeSet<SandboxId> = those.filter(|sandbox| state.wanted(*sandbox).is_some()).collect();
            for sandbox in &those {
                state.runs.entry(*sandbox).or_default().edited = true;
            }
            those
        };
        told.into_iter().for_each(|sandbox| self.tell(sandbox));
    }

    /// We end the runs that there are: their end is no end by itself.
    pub fn asked_to_end(&self, sandbox: SandboxId) {
        let mut state = self.read();
        let pods = state.pods.of(sandbox);
        let runs = state.runs.entry(sandbox).or_default();
        pods.iter().for_each(|pod| runs.asked(pod));
    }

    /// A run of another ask begins: how earlier ones ended is history.
    pub fn forget_ends(&self, sandbox: SandboxId) {
        if let Some(runs) = self.read().runs.get_mut(&sandbox) {
            runs.forget();
        }
    }

    /// The last lines that a run wrote that ended.
    pub fn wrote(&self, sandbox: SandboxId, tail: String) {
        if let Some(runs) = self.read().runs.get_mut(&sandbox) {
            runs.wrote(tail);
        }
        self.tell(sandbox);
    }

    /// Whether only an event has told of a run's start, and that counts.
    #[must_use]
    pub fn is_early(&self, sandbox: SandboxId, run: &str) -> bool {
        self.read().runs.get(&sandbox).is_some_and(|runs| runs.is_early(run))
    }

    /// Where only an event has told of a run, that does not count any longer. `false`: its pod's status does by now.
    pub fn not_early(&self, sandbox: SandboxId, run: &str) -> bool {
        let was = self.read().runs.get_mut(&sandbox).is_some_and(|runs| runs.not_early(run));
        if was {
            self.tell(sandbox);
        }
        was
    }

    /// What the agent of a run answered, and why it may not be asked. `false`: that run is over.
    pub fn answered(
        &self,
        sandbox: SandboxId,
        run: &str,
        agent: engine::orchestrator::AgentSeen,
        refused: Option<Cause>,
    ) -> bool {
        let answered = |runs: &mut Runs| runs.answered(run, agent, refused);
        let (lives, changed) = self.read().runs.get_mut(&sandbox).map_or((false, false), answered);
        if changed {
            self.tell(sandbox);
        }
        lives
    }
}

impl State {
    /// The run that is alive, how far its agent is, and how earlier ones ended.
    #[must_use]
    pub fn runs(&self, sandbox: SandboxId) -> Option<&Runs> {
        self.runs.get(&sandbox)
    }

    /// Whether a pod's node is ready, where that is known. One that is gone is not.
    #[must_use]
    pub fn node_ready(&self, pod: &Pod) -> Option<bool> {
        let node = pod.spec.as_ref()?.node_name.as_deref()?;
        self.nodes.of(node).map(|facts| facts.is_some_and(|facts| facts.ready))
    }

    /// What nodes have, and this installation's pods hold of it, where nodes can be seen.
    #[must_use]
    pub fn rooms(&self) -> Option<Vec<Room>> {
        let nodes = self.nodes.all()?.map(|(name, facts)| (name.to_owned(), facts));
        Some(room::rooms(nodes, self.pods.all().map(|pod| &**pod)))
    }

    /// Whether the class of an Ingress is there, where that is known.
    #[must_use]
    pub fn ingress_class_present(&self, ingress: &Ingress) -> Option<bool> {
        match ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref()) {
            Some(class) => self.ingress_classes.of(class).map(|there| there.is_some()),
            None => self.ingress_classes.all().map(|mut all| all.any(|(_, is_default)| is_default)),
        }
    }

    /// Whether somebody changed an object of it by hand since it was last compared.
    #[must_use]
    pub fn edited(&self, sandbox: SandboxId) -> bool {
        self.runs.get(&sandbox).is_some_and(|runs| runs.edited)
    }

    /// It was compared, and mended where it was not as asked for.
    pub fn compared(&mut self, sandbox: SandboxId) {
        if let Some(runs) = self.runs.get_mut(&sandbox) {
            runs.edited = false;
        }
    }

    /// Everything that goes with a sandbox: kind, name, uid.
    #[must_use]
    pub fn owned(&self, sandbox: SandboxId) -> Vec<(Kind, ObjectMeta)> {
        fn of<K: Indexed>(state: &State, sandbox: SandboxId) -> impl Iterator<Item = (Kind, ObjectMeta)> {
            let objects = K::shelf(state).of(sandbox).into_iter().map(|object| (K::KIND, object.meta().clone()));
            objects.filter(|(_, meta)| labels::component(meta) == Some(labels::Component::Sandbox))
        }
        of::<Deployment>(self, sandbox)
            .chain(of::<Service>(self, sandbox))
            .chain(of::<Ingress>(self, sandbox))
            .chain(of::<NetworkPolicy>(self, sandbox))
            .chain(of::<PartialObjectMeta<Secret>>(self, sandbox))
            .chain(of::<PartialObjectMeta<ServiceAccount>>(self, sandbox))
            .collect()
    }

    /// An event may say that a sandbox's container has started, before its pod's status does.
    fn started(&mut self, event: &Event) -> Option<Probe> {
        let about = &event.involved_object;
        if event.reason.as_deref() != Some("Started") || about.field_path.as_deref() != Some(CONTAINER) {
            return None;
        }
        let pod = self.pods.get(about.name.as_deref()?).filter(|pod| pod.metadata.uid == about.uid)?.clone();
        let sandbox = labels::sandbox(&pod.metadata)?;
        let at = events::at(event).unwrap_or_else(Timestamp::now);
        let ask = self.runs.entry(sandbox).or_default().started(&pod, at)?;
        Some(Probe { sandbox, pod, ask })
    }

    /// The sandbox whose objects are called so, or whose volume is.
    fn of_name(&self, name: &str) -> Option<SandboxId> {
        let meta = self.deployments.get(name).map(|object| object.metadata.clone());
        let meta = meta.or_else(|| self.volumes.get(name).map(|object| object.metadata.clone()));
        meta.as_ref().and_then(labels::sandbox)
    }

    fn put<K: Indexed>(&mut self, object: &Arc<K>, from: From, theirs: bool) -> (BTreeSet<SandboxId>, Vec<Probe>) {
        let uid = object.meta().uid.clone().unwrap_or_default();
        if self.gone.get(&uid).is_some_and(|gone| gone.overtakes(object.meta(), from)) {
            return Default::default();
        }
        self.gone.remove(&uid);
        let Some(old) = K::shelf_mut(self).put(object, from == From::Write) else {
            return Default::default();
        };
        let mut told: BTreeSet<SandboxId> = labels::sandbox(object.meta()).into_iter().collect();
        told.extend(old.as_ref().and_then(|old| labels::sandbox(old.meta())));
        let mut probes = Vec::new();
        if let Some(sandbox) = labels::sandbox(object.meta()) {
            if K::KIND == Kind::Deployment {
                self.deployment(sandbox, object.meta().deletion_timestamp.is_none());
            }
            if let Some(pod) = object.pod() {
                let wanted = self.wanted(sandbox);
                let runs = self.runs.entry(sandbox).or_default();
                let asks = runs.saw(pod, wanted, Timestamp::now()).into_iter();
                probes.extend(asks.map(|ask| Probe { sandbox, pod: Arc::new(pod.clone()), ask }));
            }
            if theirs && old.is_some_and(|old| old.differs(object)) {
                self.runs.entry(sandbox).or_default().edited = true;
            }
        }
        (told, probes)
    }

    /// `version`: as of which, where it may be told of anew.
    fn take<K: Indexed>(&mut self, meta: &ObjectMeta, version: Option<u64>) -> BTreeSet<SandboxId> {
        let uid = meta.uid.clone().unwrap_or_default();
        // Whatever is still under way of it, an answer or an event, comes too late.
        let now = Instant::now();
        if self.gone.len() >= REMEMBERED_AT_ONCE {
            self.gone.retain(|_, gone| now.duration_since(gone.at) < REMEMBERED);
        }
        self.gone.insert(uid.clone(), Gone { at: now, version });
        let name = meta.name.as_deref().unwrap_or_default();
        let Some(object) = K::shelf_mut(self).take(name, &uid) else { return BTreeSet::new() };
        let Some(sandbox) = labels::sandbox(object.meta()) else { return BTreeSet::new() };
        if let Some(pod) = object.pod() {
            let wanted = self.wanted(sandbox);
            self.runs.entry(sandbox).or_default().lost(pod, wanted, Timestamp::now());
        }
        if K::KIND == Kind::Deployment {
            self.deployment(sandbox, false);
        }
        if self.pods.of(sandbox).is_empty() && self.deployments.of(sandbox).is_empty() && self.services.of(sandbox).is_empty() {
            // How it ended is told for ten minutes where its Deployment stays; what was removed has no history.
            self.runs.remove(&sandbox);
        }
        BTreeSet::from([sandbox])
    }

    /// A Deployment stays, or goes: under a pod that was not asked to end, somebody else has deleted it.
    fn deployment(&mut self, sandbox: SandboxId, stays: bool) {
        let pods = self.pods.of(sandbox);
        let runs = self.runs.entry(sandbox).or_default();
        let unasked = pods.iter().any(|pod| runs.lives_unasked(pod));
        runs.deleted = !stays && (runs.deleted || unasked);
    }

    /// Which restart count its Deployment asks for, if it asks for a pod.
    fn wanted(&self, sandbox: SandboxId) -> Option<i64> {
        let deployments = self.deployments.of(sandbox);
        let deployment = deployments.first().filter(|deployment| deployment.metadata.deletion_timestamp.is_none())?;
        let spec = deployment.spec.as_ref().filter(|spec| spec.replicas.unwrap_or(1) > 0)?;
        spec.template.metadata.as_ref().and_then(|meta| run::number(meta, labels::RESTART_COUNT))
    }
}

/// Whether the last write, but for those to its status, was by a control plane.
pub(crate) fn written_by_us(meta: &ObjectMeta) -> bool {
    let writes = meta.managed_fields.iter().flatten().filter(|write| write.subresource.is_none());
    let Some(last) = writes.clone().filter_map(|write| write.time.as_ref()).map(|time| time.0).max() else { return false };
    // Times are whole seconds: of two writers within one, it may have been the other.
    let mut latest = writes.filter(|write| write.time.as_ref().is_some_and(|time| time.0 == last));
    latest.all(|write| write.manager.as_deref() == Some(crate::FIELD_MANAGER))
}

#[cfg(test)]
mod tests;
