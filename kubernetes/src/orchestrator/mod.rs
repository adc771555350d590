//! The orchestrator of a cluster.
//!
//! ```text
//!   ensure, remove ─▶ manifests ─▶ apply ─▶ apiserver        (one task a call: it ends although nobody waits)
//!   observe ────────▶ seen ◀── index ◀── watches, and the answers to writes
//!   connect, probe ─▶ agents ─▶ tunnels ─▶ reach ─▶ pod
//! ```
//!
//! An unchanged pass asks the apiserver nothing: what should be is compared with the index.

mod agents;
mod apply;
pub mod cause;
mod logs;
mod probe;
mod seen;
mod server;
mod tunnels;

use crate::{
    Cluster, Settings, causes,
    index::{self, Index, Kind, health::Health, run},
    labels::{self, Home},
    manifests::{self, Manifests, drift},
    names::{self, TERMINAL_PORT},
    reach::{self, Reach},
    settings::Runtime,
};
use agents::Agents;
use anyhow::Result;
use apply::Applier;
use engine::{
    measure::WatchFact,
    orchestrator::{
        AgentOrPort, BoxedIo, ConnectError, LogLine, LogSource, Orchestrator, OrchestratorError, OwnedObject, Removed,
        SandboxSpec, Seen, VolumeName, VolumeSeen,
    },
};
use futures::{
    StreamExt as _,
    future::{BoxFuture, join_all},
    stream::BoxStream,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use model::{Cause, Desired, SandboxId};
use sandbox_agent::client::{ForwardError, forward};
use std::{
    borrow::Cow,
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a verb waits for the first listing.
const FIRST_LISTING: Duration = Duration::from_secs(5);
/// How long a connection waits for a container that is being started.
const KNOWN_SOON: Duration = Duration::from_secs(2);
/// How often it is looked whether the index knows a pod's address by now.
const ADDRESS: Duration = Duration::from_millis(100);
/// How long pods may live on after their Deployment before they count as left behind. The cluster's garbage collector asks for
/// the end of what a deleted Deployment made within a second, mostly.
const COLLECTED: Duration = Duration::from_secs(5);

/// Makes sandboxes exist in one namespace of a cluster.
pub struct KubernetesOrchestrator {
    inner: Arc<Inner>,
    /// Why the cluster cannot be seen or changed, while it cannot.
    away: watch::Receiver<Option<Cause>>,
    /// Ends the watches.
    _stop: DropGuard,
}

struct Inner {
    settings: Settings,
    reach: Reach,
    applier: Applier,
    agents: Arc<Agents>,
    /// Of a given PostgreSQL server.
    addresses: Option<Arc<server::Addresses>>,
    /// Of the apiserver.
    apiserver: Option<Arc<server::Addresses>>,
    /// One write at a time on each sandbox, also where a caller has gone away.
    turns: Mutex<HashMap<SandboxId, Arc<AsyncMutex<()>>>>,
}

impl KubernetesOrchestrator {
    /// Begins to watch, and is ready. Call it on a runtime: it leaves tasks there, that end with it.
    ///
    /// A cluster that cannot be reached is no error: [`Self::health`] says so until it can.
    ///
    /// # Errors
    /// Settings that contradict the cluster's.
    pub fn new(cluster: Cluster, settings: Settings, reach: Reach) -> Result<Arc<Self>> {
        Self::at(causes::CLUSTER.to_owned(), cluster, settings, reach)
    }

    /// The same, and what is told of the cluster begins with `place`: [`crate::connection::Connected::place`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn at(place: String, cluster: Cluster, settings: Settings, reach: Reach) -> Result<Arc<Self>> {
        anyhow::ensure!(
            cluster.namespace == settings.namespace,
            "the namespace of the settings, {}, is not the cluster's, {}",
            settings.namespace,
            cluster.namespace
        );
        let stop = CancellationToken::new();
        let (index, probes) = Index::at(place, settings.installation, Kind::optional(&settings));
        index::watch(&index, &cluster, &stop);
        let agents = Agents::new(cluster.clone(), index.clone(), reach);
        probe::run(index.clone(), cluster.clone(), reach, agents.clone(), settings.runtime.clone(), probes, stop.clone());
        let applier = Applier { cluster, index };
        let addresses = server::Addresses::of(&settings);
        if let Some(addresses) = &addresses {
            let (index, port) = (applier.index.clone(), addresses.port());
            addresses.follow(&stop, move |known| {
                if index.watches().is_synced() {
                    index.compare(|policy| manifests::misses_server(policy, port, known));
                }
            });
        }
        let apiserver = server::Addresses::of_apiserver(&settings, &applier.cluster.client);
        if let Some(apiserver) = &apiserver {
            // Policies have what is known when their sandbox's objects are next compared, as with other settings.
            apiserver.follow(&stop, |_| {});
        }
        let inner = Inner { settings, reach, applier, agents, addresses, apiserver, turns: Mutex::default() };
        let away = away(inner.index().health(), &stop);
        Ok(Arc::new(Self { inner: Arc::new(inner), away, _stop: stop.drop_guard() }))
    }

    /// Whether what is known is up to date, and if not, since when and why.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.index().health()
    }

    /// What is known.
    #[must_use]
    pub fn index(&self) -> &Arc<Index> {
        self.inner.index()
    }

    /// Does it to its end, also where the caller stops waiting: an answer that came to nobody would be a write
    /// that lands at any time.
    async fn to_the_end<T: Send + 'static>(
        &self,
        id: SandboxId,
        work: impl Future<Output = Result<T, OrchestratorError>> + Send + 'static,
    ) -> Result<T, OrchestratorError> {
        let turn = self.inner.turns().entry(id).or_default().clone();
        let inner = self.inner.clone();
        let task = tokio::spawn(async move {
            let done = {
                let _turn = turn.lock().await;
                work.await
            };
            // Nobody else waits for it.
            inner.turns().retain(|of, waiting| *of != id || Arc::strong_count(waiting) > 2);
            done
        });
        task.await.map_err(|error| OrchestratorError::Other(anyhow::Error::new(error).context("wait for a write")))?
    }
}

impl Inner {
    fn index(&self) -> &Arc<Index> {
        &self.applier.index
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Arc<AsyncMutex<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the index is complete.
    async fn known(&self) -> Result<(), OrchestratorError> {
        if self.index().watches().is_synced() || self.index().synced(FIRST_LISTING).await {
            return Ok(());
        }
        Err(self.unknown())
    }

    /// Why it is not.
    fn unknown(&self) -> OrchestratorError {
        let health = self.index().health().borrow().clone();
        OrchestratorError::Caused(match health {
            Health::Stale { cause, .. } => cause,
            Health::Fresh => cause::not_yet(),
        })
    }

    async fn up(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError> {
        self.known().await?;
        self.agents.note(spec.id, spec.agent_token.clone());
        let manifests = Manifests::of(spec, self.settings(spec).await?.as_ref());
        self.bury(spec.id).await;
        let put = &self.applier;
        // Before the pod: it needs its account and Secrets to start, and must not start without its policy.
        // Each to its end, also where one is refused: what is sent and not heard of would be there after it was removed.
        let (account, environment, agent, volume, service, policy, ingresses) = tokio::join!(
            put.put(&manifests.account),
            put.put(&manifests.environment),
            put.put(&manifests.agent),
            put.put(&manifests.volume),
            put.put(&manifests.service),
            put.put(&manifests.policy),
            join_all(manifests.ingresses.iter().map(|ingress| put.put(ingress))),
        );
        all([account, environment, agent, volume, service, policy].into_iter().chain(ingresses))?;
        self.run(spec, &manifests.deployment).await?;
        self.drop_environments(spec.id, manifests.environment.metadata.name.as_deref()).await?;
        self.index().read().compared(spec.id);
        Ok(())
    }

    /// The settings, with what the names of a given server and of the apiserver stand for now.
    async fn settings(&self, spec: &SandboxSpec) -> Result<Cow<'_, Settings>, OrchestratorError> {
        let mut settings = Cow::Borrowed(&self.settings);
        if let Some(addresses) = self.addresses.as_ref().filter(|_| spec.database.is_some()) {
            let known = addresses.known().await?;
            if let Some(server) = &mut settings.to_mut().database.server {
                server.addresses = known;
            }
        }
        if let Some(apiserver) = &self.apiserver {
            // Whoever cannot look it up cannot ask it either: what is written next says so better.
            let known = apiserver.known_so_far().await;
            if let Some(server) = &mut settings.to_mut().apiserver {
                server.addresses = known;
            }
        }
        Ok(settings)
    }

    /// Takes away the records of pods that are over. Their kubelet does so by itself, a second or two after their last
    /// container has ended; until then a Deployment makes no successor, and a removed sandbox is not gone. Where it may not
    /// be, or fails, that is waited for.
    async fn bury(&self, id: SandboxId) {
        let pods = self.index().read().pods.of(id);
        let over: Vec<_> = pods.iter().filter(|pod| run::is_over(pod)).map(|pod| pod.metadata.clone()).collect();
        for buried in join_all(over.iter().map(|meta| self.applier.bury(meta))).await {
            if let Err(error) = buried {
                tracing::debug!(sandbox.id = %id, "a pod that is over is left to its node: {error:#}");
            }
        }
    }

    /// One replica, of the run that is asked for.
    async fn run(&self, spec: &SandboxSpec, wanted: &Deployment) -> Result<(), OrchestratorError> {
        let (live, pods) = {
            let state = self.index().read();
            (state.deployments.get(spec.name.as_str()).cloned(), state.pods.of(spec.id))
        };
        if let Some(live) = &live {
            self.applier.allowed(wanted, &live.metadata)?;
        }
        let Some(live) = live else {
            // What is left of an earlier one ends first: two would write the same files. What nobody ends is adopted by the one
            // that is made, which ends a run of another ask, and another template, before it starts this one.
            self.end_what_is_nobodys(&pods).await?;
            if pods.iter().any(|pod| !run::failed(pod)) && !self.are_left_behind(spec.id).await {
                return Ok(());
            }
            self.index().forget_ends(spec.id);
            return self.applier.put(wanted).await;
        };
        let other_run = count(&live) != count(wanted);
        let resized = !drift::holds(&resources(&live), &resources(wanted));
        // What the operator's settings or a newer program would make otherwise waits for the next restart.
        let edited = mark(&live) == mark(wanted) && !drift::holds(&scaled(&live, 1), wanted);
        if other_run {
            self.index().forget_ends(spec.id);
        }
        if other_run || resized {
            self.index().asked_to_end(spec.id);
            return self.applier.put(wanted).await;
        }
        if edited {
            tracing::info!(sandbox.id = %spec.id, "its Deployment was changed by somebody else, and is mended");
            return self.applier.put(wanted).await;
        }
        if replicas(&live) != 1 {
            return self.applier.scale(spec.name.as_str(), &live.metadata, 1).await;
        }
        Ok(())
    }

    /// Whether pods live on without their Deployment and nobody ends them, as `kubectl delete --cascade=orphan` leaves them:
    /// what is left of its ReplicaSet makes another of each that is deleted. Waits for as long as it takes to tell them from
    /// pods that go with their Deployment.
    async fn are_left_behind(&self, id: SandboxId) -> bool {
        let mut told = self.index().subscribe();
        let left = || {
            let state = self.index().read();
            state.deployments.of(id).is_empty() && stay(&state.pods.of(id))
        };
        let end = async {
            while left() {
                if told.recv().await.is_none() {
                    break;
                }
            }
        };
        tokio::time::timeout(COLLECTED, end).await.is_err()
    }

    async fn down(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError> {
        self.known().await?;
        let (live, pods) = {
            let state = self.index().read();
            // What another sandbox has of that name is none of this one's to stop.
            let ours = |live: &&Arc<Deployment>| labels::sandbox(&live.metadata).is_none_or(|of| of == spec.id);
            let live = state.deployments.get(spec.name.as_str()).filter(ours);
            (live.cloned(), state.pods.of(spec.id))
        };
        if live.is_none() {
            self.end_what_is_nobodys(&pods).await?;
        }
        if live.is_none() && self.are_left_behind(spec.id).await {
            // One of no replicas adopts their ReplicaSet, and ends them.
            self.index().asked_to_end(spec.id);
            return self.applier.put(&manifests::deployment(spec, &self.settings)).await;
        }
        if let Some(live) = live.filter(|live| replicas(live) != 0 && live.metadata.deletion_timestamp.is_none()) {
            self.index().asked_to_end(spec.id);
            return self.applier.scale(spec.name.as_str(), &live.metadata, 0).await;
        }
        if pods.iter().all(|pod| run::failed(pod)) { self.drop_environments(spec.id, None).await } else { Ok(()) }
    }

    /// Removes the environments of earlier runs that no pod uses any more.
    async fn drop_environments(&self, id: SandboxId, keep: Option<&str>) -> Result<(), OrchestratorError> {
        let unused: Vec<_> = {
            let state = self.index().read();
            let pods = state.pods.of(id);
            let used: Vec<&str> = pods.iter().filter(|pod| !run::failed(pod)).flat_map(|pod| environments(pod)).collect();
            let secrets = state.secrets.of(id).into_iter().map(|secret| secret.metadata.clone());
            secrets
                .filter(|meta| {
                    let name = meta.name.as_deref().unwrap_or_default();
                    names::is_env_secret(name) && Some(name) != keep && !used.contains(&name)
                })
                .collect()
        };
        all(join_all(unused.iter().map(|meta| self.applier.delete(Kind::Secret, meta))).await)
    }

    async fn remove(&self, id: SandboxId) -> Result<Removed, OrchestratorError> {
        if !self.index().health().borrow().is_fresh() {
            self.applier.refresh(id).await?;
        }
        self.index().asked_to_end(id);
        let (last, first): (Vec<_>, Vec<_>) = {
            let state = self.index().read();
            // A Deployment of no replicas still has to end them: without it nobody would.
            let ends = stay(&state.pods.of(id)) && state.deployments.of(id).iter().all(|live| replicas(live) == 0);
            // A pod that ends keeps its policy and its account until it has.
            state.owned(id).into_iter().partition(|(kind, _)| match kind {
                Kind::NetworkPolicy | Kind::ServiceAccount => true,
                Kind::Deployment => ends,
                _ => false,
            })
        };
        self.delete_all(first).await?;
        self.bury(id).await;
        let pods = self.index().read().pods.of(id);
        if !pods.is_empty() {
            self.end_what_is_nobodys(&pods).await?;
            if self.are_left_behind(id).await
                && let Some(adopts) = pods.iter().filter(|pod| !run::failed(pod)).find_map(|pod| manifests::adopting(pod))
            {
                self.applier.put(&adopts).await?;
            }
            return Ok(Removed::Going);
        }
        self.delete_all(last).await?;
        let left = self.index().read().owned(id);
        if !left.is_empty() {
            return Ok(Removed::Going);
        }
        self.agents.forget(id);
        Ok(Removed::Gone)
    }

    /// The cluster removes what a Deployment made; what somebody else made of ours, or what lost its owner, it does not, and no
    /// Deployment adopts it.
    async fn end_what_is_nobodys(&self, pods: &[Arc<Pod>]) -> Result<(), OrchestratorError> {
        let nobodys = pods.iter().filter(|pod| pod.metadata.owner_references.as_ref().is_none_or(Vec::is_empty));
        self.delete_all(nobodys.map(|pod| (Kind::Pod, pod.metadata.clone())).collect()).await
    }

    async fn delete_all(&self, objects: Vec<(Kind, ObjectMeta)>) -> Result<(), OrchestratorError> {
        all(join_all(objects.iter().map(|(kind, meta)| self.applier.delete(*kind, meta))).await)
    }

    async fn remove_volume(&self, volume: &VolumeName) -> Result<Removed, OrchestratorError> {
        self.known().await?;
        let (claim, used) = {
            let state = self.index().read();
            let mounted = state
                .pods
                .all()
                .filter(|pod| !run::failed(pod))
                .any(|pod| claims(pod.spec.as_ref()).any(|name| name == volume.0));
            let wanted = state.deployments.all().filter(|live| replicas(live) > 0).any(|live| {
                let pod = live.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
                claims(pod).any(|name| name == volume.0)
            });
            (state.volumes.get(&volume.0).map(|claim| claim.metadata.clone()), mounted || wanted)
        };
        let whose = claim.as_ref().map(|claim| self.whose(volume, claim));
        if used && whose != Some(Home::Foreign) {
            return Err(OrchestratorError::Caused(cause::volume_in_use(&volume.0)));
        }
        // As in [`Self::volume`]: that nothing is left of it is said by the apiserver alone.
        let (Some(claim), Some(whose)) = (claim, whose) else { return self.remove_unknown(volume).await };
        if let Some(left) = left_alone(volume, whose) {
            return left;
        }
        self.applier.delete(Kind::PersistentVolumeClaim, &claim).await?;
        let left = self.index().read().volumes.get(&volume.0).is_some();
        Ok(if left { Removed::Going } else { Removed::Gone })
    }

    /// Of a volume that the index does not know.
    async fn remove_unknown(&self, volume: &VolumeName) -> Result<Removed, OrchestratorError> {
        let claim = self.applier.look::<PersistentVolumeClaim>(&volume.0).await?;
        let Some(meta) = claim.map(|claim| claim.metadata) else { return Ok(Removed::Gone) };
        if let Some(left) = left_alone(volume, self.whose(volume, &meta)) {
            return left;
        }
        self.applier.delete(Kind::PersistentVolumeClaim, &meta).await?;
        Ok(Removed::Going)
    }

    fn whose(&self, volume: &VolumeName, claim: &ObjectMeta) -> Home {
        labels::home(claim, self.settings.installation, volume.project())
    }

    /// That a home folder is gone is a grave thing to say: where the index has no claim, the apiserver is asked.
    async fn volume(&self, volume: &VolumeName) -> Result<VolumeSeen, OrchestratorError> {
        self.known().await?;
        let known = self.index().read().volumes.get(&volume.0).map(|claim| claim.metadata.clone());
        let meta = match known {
            Some(meta) => Some(meta),
            None => self.applier.look::<PersistentVolumeClaim>(&volume.0).await?.map(|claim| claim.metadata),
        };
        Ok(match meta {
            None => VolumeSeen::Absent,
            Some(meta) if meta.deletion_timestamp.is_some() => VolumeSeen::Leaving,
            Some(_) => VolumeSeen::There,
        })
    }

    /// The pod whose container is being started, where it is known within a moment that it runs. Another replica may know it already,
    /// and have told whoever connects here.
    async fn running_soon(&self, id: SandboxId) -> Option<Arc<Pod>> {
        let starts = || {
            let state = self.index().read();
            let starting =
                |pod: &Arc<Pod>| causes::is_placed(pod) && state.runs(id).is_some_and(|runs| runs.starting(pod).is_some());
            state.pods.of(id).iter().any(starting)
        };
        let mut told = self.index().subscribe();
        let known = async {
            loop {
                if let Some(pod) = self.running(id) {
                    return Some(pod);
                }
                if !starts() {
                    return None;
                }
                told.recv().await?;
            }
        };
        tokio::time::timeout(KNOWN_SOON, known).await.ok().flatten()
    }

    /// The pod whose container runs.
    fn running(&self, id: SandboxId) -> Option<Arc<Pod>> {
        let state = self.index().read();
        let runs = state.runs(id)?;
        state.pods.of(id).into_iter().find(|pod| runs.instance(pod).is_some())
    }
}

#[async_trait::async_trait]
impl Orchestrator for KubernetesOrchestrator {
    async fn ensure(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError> {
        let (inner, spec) = (self.inner.clone(), spec.clone());
        self.to_the_end(spec.id, async move {
            match spec.desired {
                Desired::Running => inner.up(&spec).await,
                Desired::Stopped | Desired::Terminated => inner.down(&spec).await,
            }
        })
        .await
    }

    async fn remove(&self, id: SandboxId) -> Result<Removed, OrchestratorError> {
        let inner = self.inner.clone();
        self.to_the_end(id, async move { inner.remove(id).await }).await
    }

    async fn remove_volume(&self, volume: &VolumeName) -> Result<Removed, OrchestratorError> {
        self.inner.remove_volume(volume).await
    }

    async fn volume(&self, volume: &VolumeName) -> Result<VolumeSeen, OrchestratorError> {
        self.inner.volume(volume).await
    }

    async fn observe(&self, id: SandboxId) -> Result<Seen, OrchestratorError> {
        // What is old would undo what another replica has seen since.
        if !self.inner.index().health().borrow().is_fresh() {
            return Err(self.inner.unknown());
        }
        Ok(seen::seen(&self.inner.index().read(), id, self.inner.settings.ingress.as_ref(), Timestamp::now()))
    }

    fn watch(&self) -> BoxStream<'static, SandboxId> {
        tokio_stream::wrappers::UnboundedReceiverStream::new(self.inner.index().subscribe()).boxed()
    }

    async fn connect(&self, id: SandboxId, to: AgentOrPort) -> Result<BoxedIo, ConnectError> {
        let inner = &self.inner;
        let pod = match inner.running(id) {
            Some(pod) => pod,
            None => inner.running_soon(id).await.ok_or(ConnectError::NotRunning)?,
        };
        let dial = async |port| inner.reach.dial(&inner.applier.cluster, &pod, port).await;
        // That nobody listens at the agent's own port says that it is not up yet.
        let not_up = |error| match error {
            ConnectError::NobodyListens(_) => ConnectError::Io(std::io::ErrorKind::ConnectionRefused.into()),
            other => other,
        };
        match (to, &inner.settings.runtime) {
            (AgentOrPort::Agent, Runtime::Ttyd) => dial(TERMINAL_PORT).await.map_err(not_up),
            (AgentOrPort::Port(port), Runtime::Ttyd) => dial(port).await,
            (AgentOrPort::Agent, _) => inner.agents.connect(id, &pod).await.map_err(not_up),
            (AgentOrPort::Port(port), _) => {
                let agent = inner.agents.connect(id, &pod).await.map_err(not_up)?;
                let token = inner.agents.token(id).await?;
                match forward(agent, &token, port).await {
                    Ok(stream) => Ok(Box::new(stream)),
                    Err(ForwardError::NobodyListens(port) | ForwardError::NotAllowed(port)) => {
                        Err(ConnectError::NobodyListens(port))
                    }
                    Err(error) => {
                        // It may be another token by now.
                        inner.agents.forget(id);
                        Err(ConnectError::Io(std::io::Error::other(error)))
                    }
                }
            }
        }
    }

    /// A pod has been reached by a port-forward before its address was known.
    fn shorter_way(&self, id: SandboxId) -> BoxFuture<'static, ()> {
        let inner = self.inner.clone();
        let addressless = inner.running(id).filter(|pod| !reach::has_address(pod));
        Box::pin(async move {
            let Some(mut pod) = addressless else { return std::future::pending().await };
            while !reach::has_address(&pod) {
                tokio::time::sleep(ADDRESS).await;
                pod = inner.index().pod_now(&pod);
            }
            if !inner.reach.straight(&pod) {
                std::future::pending::<()>().await;
            }
        })
    }

    async fn logs(&self, id: SandboxId, from: LogSource) -> Result<BoxStream<'static, LogLine>, OrchestratorError> {
        self.inner.known().await?;
        logs::logs(&self.inner.applier, id, from).await
    }

    fn health(&self) -> watch::Receiver<Option<Cause>> {
        self.away.clone()
    }

    fn watches(&self) -> Vec<WatchFact> {
        self.inner.index().watches().facts()
    }
    fn has_agents(&self) -> bool {
        self.inner.settings.runtime != Runtime::Ttyd
    }

    async fn list(&self) -> Result<Vec<OwnedObject>, OrchestratorError> {
        self.inner.known().await?;
        Ok(seen::list(&self.inner.index().read()))
    }
}

/// What is said of a volume that is not to be removed. `None`: it may be.
fn left_alone(volume: &VolumeName, whose: Home) -> Option<Result<Removed, OrchestratorError>> {
    match whose {
        Home::Own => None,
        Home::Unlabelled(label) => Some(Err(OrchestratorError::Caused(cause::volume_unlabelled(&volume.0, &label)))),
        // It is somebody else's, and never was this project's.
        Home::Foreign => Some(Ok(Removed::Gone)),
    }
}

/// The same with so many replicas.
fn scaled(deployment: &Deployment, replicas: i32) -> Deployment {
    let mut scaled = deployment.clone();
    if let Some(spec) = &mut scaled.spec {
        spec.replicas = Some(replicas);
    }
    scaled
}

/// Health in the words of the trait, with since when what is known may be old, until `stop`.
fn away(mut health: watch::Receiver<Health>, stop: &CancellationToken) -> watch::Receiver<Option<Cause>> {
    let cause = |health: &Health| match health {
        Health::Fresh => None,
        Health::Stale { since, cause } => {
            let since = since.strftime("%Y-%m-%d %H:%M:%S UTC");
            let message = format!("{} It has been so since {since}: what is shown may be as old.", cause.message);
            Some(Cause { message, ..cause.clone() })
        }
    };
    let (send, away) = watch::channel(cause(&health.borrow_and_update()));
    let stop = stop.clone();
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        while health.changed().await.is_ok() {
            send.send_if_modified(|said| {
                let now = cause(&health.borrow_and_update());
                std::mem::replace(said, now.clone()) != now
            });
        }
    }));
    away
}

/// The first that failed, of what was all done to its end.
fn all(done: impl IntoIterator<Item = Result<(), OrchestratorError>>) -> Result<(), OrchestratorError> {
    done.into_iter().collect()
}

fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether there are pods that are not over, and none of them was asked to end.
fn stay(pods: &[Arc<Pod>]) -> bool {
    let mut living = pods.iter().filter(|pod| !run::failed(pod)).peekable();
    living.peek().is_some() && living.all(|pod| !run::going(pod))
}

/// The restart count that its pods are of.
fn count(deployment: &Deployment) -> Option<i64> {
    let meta = deployment.spec.as_ref()?.template.metadata.as_ref()?;
    run::number(meta, labels::RESTART_COUNT)
}

fn mark(deployment: &Deployment) -> Option<&str> {
    deployment.metadata.annotations.as_ref()?.get(labels::MANIFEST).map(String::as_str)
}

fn resources(deployment: &Deployment) -> Option<&k8s_openapi::api::core::v1::ResourceRequirements> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.iter().find(|container| container.name == manifests::CONTAINER)?.resources.as_ref()
}

/// The claims that a pod mounts.
fn claims(pod: Option<&k8s_openapi::api::core::v1::PodSpec>) -> impl Iterator<Item = &str> {
    let volumes = pod.and_then(|pod| pod.volumes.as_ref()).into_iter().flatten();
    volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).map(|claim| claim.claim_name.as_str())
}

/// The Secrets that a pod's variables come from.
fn environments(pod: &Pod) -> impl Iterator<Item = &str> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.iter()).into_iter().flatten();
    let sources = containers.filter_map(|container| container.env_from.as_ref()).flatten();
    sources.filter_map(|source| source.secret_ref.as_ref()).map(|secret| secret.name.as_str())
}
