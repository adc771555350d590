//! What makes projects' databases on a cluster: a PostgreSQL for each project, and in it the project's own
//! role and database.
//!
//! ```text
//!   ensure ─▶ Servers::make ─▶ statefulset: Secret, Service, NetworkPolicy ─▶ StatefulSet
//!     │                     └▶ kubeblocks:  NetworkPolicy (and an account) ─▶ Cluster, its operator
//!     │       wait for Standing::Up, which the watches tell, and events why not
//!     └─────▶ inside: ServerDatabase ─▶ role, database, password, grants
//!   observe ─▶ the watches, and then PostgreSQL itself: that a pod runs is no proof
//!   remove  ─▶ the Cluster or StatefulSet first, then what it needed, then its data
//! ```
//! Who made a project's server keeps it: the setting says who makes the next ones. So KubeBlocks may be
//! installed later, and no project wakes up beside an empty database. With a server that is given ([`given`]) the same:
//! projects that have objects keep them, and those that are on it stay there while its address is.

pub(crate) mod cause;
mod given;
pub mod hidden;
pub mod inside;
pub mod kubeblocks;
pub mod later;
mod objects;
pub mod operation;
pub mod statefulset;
mod waits;
mod watched;

use crate::{
    Cluster, Settings,
    causes::{self, room},
    index::{self, Index},
    labels::Owner,
    names::POSTGRES_PORT,
    reach::Reach,
    settings::DatabaseProvider,
};
use cause::is_stated;
use engine::{
    database::{
        Database, DatabaseError, DatabaseSeen, DatabaseSpec, Glance,
        server::{Reach as Address, ServerDatabase},
    },
    measure::WatchFact,
    orchestrator::{DatabaseEndpoint, Removed},
};
use futures::{StreamExt as _, stream::BoxStream};
use given::Given;
use inside::{Door, Doors};
use k8s_openapi::{
    api::{
        core::v1::{Event, Pod},
        networking::v1::{NetworkPolicy, NetworkPolicyPeer},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::Api;
use kubeblocks::KubeBlocks;
use model::{
    Cause, CauseCode, InstallationId, ProjectId, ResourceName, SandboxId, connection::Connection, view::DatabaseFigures,
};
use secrecy::{ExposeSecret as _, SecretString};
use statefulset::StatefulSets;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};
use watched::{Changed, Watched};

/// How long a verb waits for what the cluster does, before it says that it is under way.
///
/// Five seconds: a PostgreSQL whose image is present has made its files and answers after two or three,
/// so most are done in one go; a slower one is asked about again, and its stage is shown meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long what the cluster has said in so many words must hold before it is told ([`cause::is_stated`]).
///
/// One second: a pod finds its node, and a volume its pod, in less; with the time that an event takes to come, what is final is
/// on the page within two.
const SETTLED: Duration = Duration::from_secs(1);

/// How long between two tries of what answers "not yet".
const PAUSE: Duration = Duration::from_millis(200);

/// How a project's server is.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Nothing of it is there.
    Absent,
    /// Some of it is there; what stands in the way, where that is known.
    Coming(Option<Cause>),
    /// It runs. The text is another for each run of it.
    Up(String),
}

/// Who may make roles and databases, and where.
pub struct Admin {
    /// The pod that PostgreSQL runs in; the primary.
    pub pod: Arc<Pod>,
    /// The superuser.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// What makes servers: one for each project.
#[async_trait::async_trait]
pub(crate) trait Servers: Send + Sync + 'static {
    /// Waits until it knows what is there.
    async fn ready(&self) -> Result<(), DatabaseError>;
    /// Makes what is missing. `false` where something of it is still being removed: ask again.
    async fn make(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError>;
    /// How it is, from what is known: no network.
    fn standing(&self, spec: &DatabaseSpec) -> Standing;
    /// What stands in its way by what the cluster's events tell, newest first, as well: no network.
    fn explain(&self, _spec: &DatabaseSpec, _events: &[Arc<Event>]) -> Option<Cause> {
        None
    }
    /// Whether events may tell more of what it waits for than its objects do.
    fn heeds_events(&self, _spec: &DatabaseSpec) -> bool {
        false
    }
    /// The way to its superuser; `None` where that is not there yet.
    async fn admin(&self, spec: &DatabaseSpec) -> Result<Option<Admin>, DatabaseError>;
    /// Whether the cluster itself, asked for it, has anything of it that [`Servers::unmake`] removes.
    async fn left(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError>;
    /// Removes it with its data.
    /// Unlike the `first` call, others ask the cluster only for what is not under way yet.
    async fn unmake(&self, spec: &DatabaseSpec, first: bool) -> Result<Removed, DatabaseError>;
    /// Ends what runs of it, and keeps its data, where it can be: [`Servers::make`] starts it again.
    async fn stop(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError>;
    /// Whether it should run: it is there, and neither stopped nor being removed.
    fn on(&self, spec: &DatabaseSpec) -> bool;
    /// Whether it was stopped, and something of it still runs.
    fn ending(&self, spec: &DatabaseSpec) -> bool;
    /// Whether it is on, and its objects are as they were made.
    fn whole(&self, spec: &DatabaseSpec) -> bool;
    /// Whether it is there with its data, running or stopped.
    fn there(&self, spec: &DatabaseSpec) -> bool;
    /// Whether it is there, and somebody else removed or changed something of it that [`Servers::make`] puts right.
    fn edited(&self, spec: &DatabaseSpec) -> bool;
    /// Whether something that nobody else removes keeps it from coming: [`Servers::make`] removes it.
    fn stuck(&self, _spec: &DatabaseSpec) -> bool {
        false
    }
    /// Whether [`Servers::stop`] ends it.
    fn stops(&self) -> bool;
    /// Whether something of it is there.
    fn holds(&self, spec: &DatabaseSpec) -> bool;
    /// Its name in the namespace's DNS.
    fn service(&self, name: &ResourceName) -> String;
    /// What its objects are called whose events tell why it is not there.
    fn objects(&self, name: &ResourceName) -> Vec<String>;
    /// Whose servers of this installation are there.
    fn projects(&self) -> Vec<ProjectId>;
}

/// Projects' databases on a cluster.
pub struct ClusterDatabase {
    cluster: Cluster,
    installation: InstallationId,
    reach: Reach,
    /// Has the events of the namespace.
    index: Arc<Index>,
    /// Ends the watch of events, where it is this one's own.
    _stop: Option<DropGuard>,
    /// The first makes those of projects that have none yet.
    servers: Vec<Box<dyn Servers>>,
    /// A server that was given: of those that none of these has.
    given: Option<Given>,
    endpoint: Option<DatabaseEndpoint>,
    /// What other settings may have made, and the account may not see.
    unseen: Vec<hidden::Kind>,
    changed: Changed,
    doors: Doors,
    patience: Duration,
}

/// What makes projects' databases on this cluster, as the settings say; `Auto` is KubeBlocks where its API is
/// served, `v1` before `v1alpha1`, and else a StatefulSet. Asks the cluster, and waits until it knows which
/// databases there are.
///
/// # Errors
/// With a cause: the cluster does not answer or does not permit it, KubeBlocks or a given server is set and is not there, or
/// a given server that makes none any more does not say whose it has.
pub async fn provider(cluster: Cluster, settings: &Settings, reach: Reach) -> Result<Arc<dyn Database>, DatabaseError> {
    Ok(Arc::new(ClusterDatabase::new(cluster, settings, reach).await?))
}

impl ClusterDatabase {
    /// As [`provider`].
    ///
    /// # Errors
    /// As [`provider`].
    pub async fn new(cluster: Cluster, settings: &Settings, reach: Reach) -> Result<Self, DatabaseError> {
        Self::at(causes::CLUSTER.to_owned(), cluster, settings, reach, None).await
    }

    /// The same, and what is told of the cluster begins with `place`. `index` is where events are heard that it watches anyway;
    /// without, they are watched for this alone.
    ///
    /// # Errors
    /// As [`provider`].
    pub async fn at(
        place: String,
        cluster: Cluster,
        settings: &Settings,
        reach: Reach,
        index: Option<Arc<Index>>,
    ) -> Result<Self, DatabaseError> {
        let (index, stop) = match index {
            Some(index) => (index, None),
            None => {
                let (index, stop) = (Index::at(place.clone(), settings.installation, Vec::new()).0, CancellationToken::new());
                index::watch_events(&index, &cluster, &stop);
                (index, Some(stop.drop_guard()))
            }
        };
        let changed = Changed::of(place);
        let served = kubeblocks::discover(&cluster).await?;
        // One watch for whoever there is of both.
        let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let selector = hidden::of_databases(settings.installation);
        let policies = Arc::new(Watched::start(policies, (), "NetworkPolicies", &selector, &changed));
        let statefulsets = || -> Box<dyn Servers> { Box::new(StatefulSets::new(&cluster, settings, &changed, &policies)) };
        let kubeblocks =
            |version| -> Box<dyn Servers> { Box::new(KubeBlocks::new(&cluster, settings, version, &changed, &policies)) };
        let given = Given::of(settings).await?;
        let (mut servers, mut unseen) = (Vec::new(), Vec::new());
        match (settings.database.provider, served) {
            (DatabaseProvider::Server, served) => {
                if may_see(&cluster, hidden::Kind::StatefulSet, &mut unseen).await? {
                    servers.push(statefulsets());
                }
                if let Some(version) = served
                    && may_see(&cluster, hidden::Kind::Cluster(version), &mut unseen).await?
                {
                    servers.push(kubeblocks(version));
                }
            }
            (DatabaseProvider::KubeBlocks, None) => return Err(no_kubeblocks()),
            (DatabaseProvider::Auto | DatabaseProvider::StatefulSet, None) => {
                if settings.database.replicas > 1 {
                    warn!("databases have one replica: KubeBlocks, which makes more, is not there");
                }
                servers.push(statefulsets());
            }
            (DatabaseProvider::Auto | DatabaseProvider::KubeBlocks, Some(version)) => {
                servers.push(kubeblocks(version));
                if may_see(&cluster, hidden::Kind::StatefulSet, &mut unseen).await? {
                    servers.push(statefulsets());
                }
            }
            (DatabaseProvider::StatefulSet, Some(version)) => {
                servers.push(statefulsets());
                if may_see(&cluster, hidden::Kind::Cluster(version), &mut unseen).await? {
                    servers.push(kubeblocks(version));
                }
            }
        }
        for servers in &servers {
            servers.ready().await?;
        }
        let kubeblocks =
            served.map_or_else(|| "not served".to_owned(), |version| format!("apps.kubeblocks.io/{}", version.as_str()));
        info!(provider = ?settings.database.provider, kubeblocks, "projects' databases are made on the cluster");
        let installation = settings.installation;
        let endpoint = given::endpoint(settings);
        Ok(Self {
            cluster,
            installation,
            reach,
            index,
            _stop: stop,
            servers,
            unseen,
            given,
            endpoint,
            changed,
            doors: Doors::default(),
            patience: PATIENCE,
        })
    }

    /// The same with another patience: how long a verb waits for what the cluster does.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Told of each change of what the cluster has of databases.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.bell()
    }

    /// Why what is known of databases is old, while it is.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Cause>> {
        self.changed.trouble()
    }

    /// Who has or makes a project's server.
    fn of(&self, spec: &DatabaseSpec) -> Option<&dyn Servers> {
        let has = self.servers.iter().find(|servers| servers.holds(spec));
        has.or(self.servers.first()).map(AsRef::as_ref)
    }

    /// The given server, if that has or makes a project's database.
    fn given(&self, spec: &DatabaseSpec) -> Option<&ServerDatabase> {
        let given = self.given.as_ref()?.has(spec.project)?;
        (!self.servers.iter().any(|servers| servers.holds(spec))).then_some(given)
    }

    /// Those that may have something of a project's: whoever makes servers of projects that have none, and others where
    /// something is seen. Who has nothing is not asked to remove it: the account need not have the rights.
    async fn having(&self, spec: &DatabaseSpec) -> Result<Vec<&dyn Servers>, DatabaseError> {
        let makes = self.given.as_ref().is_none_or(|given| !given.makes());
        let mut having = Vec::new();
        for (number, servers) in self.servers.iter().enumerate() {
            if (makes && number == 0) || servers.holds(spec) || servers.left(spec).await? {
                having.push(servers.as_ref());
            }
        }
        Ok(having)
    }

    /// Refuses a project that has a server which the account may not see.
    async fn none_unseen(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        for kind in &self.unseen {
            kind.refuse(&self.cluster, spec).await?;
        }
        Ok(())
    }

    /// What happened lately to what a project's server is made of, newest first: asks nobody.
    fn events(&self, servers: &dyn Servers, spec: &DatabaseSpec) -> Vec<Arc<Event>> {
        self.index.read().events.about(&servers.objects(&spec.name))
    }

    fn host(&self, spec: &DatabaseSpec) -> String {
        let service = self.of(spec).map(|servers| servers.service(&spec.name)).unwrap_or_default();
        // Two labels are what every cluster's search list resolves, whatever its domain is called.
        format!("{service}.{}.svc", self.cluster.namespace)
    }

    /// The way in, as it was or made anew; `None` where there is none yet.
    async fn door(&self, servers: &dyn Servers, spec: &DatabaseSpec, run: &str) -> Result<Option<Arc<Door>>, DatabaseError> {
        if let Some(door) = self.doors.find(&spec.name, run) {
            return Ok(Some(door));
        }
        let Some(admin) = servers.admin(spec).await? else { return Ok(None) };
        let address = Address { host: self.host(spec), port: POSTGRES_PORT, endpoint: None };
        let door = Door::open(&self.cluster, self.reach, &admin, self.installation, address)
            .await
            .map_err(|error| DatabaseError::Other(anyhow::Error::new(error).context("listen on loopback")))?;
        let door = Arc::new(door);
        self.doors.keep(&spec.name, run, &door);
        Ok(Some(door))
    }
}

#[async_trait::async_trait]
impl Database for ClusterDatabase {
    async fn ensure(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        if !self.servers.iter().any(|servers| servers.holds(spec)) {
            self.none_unseen(spec).await?;
        }
        if let Some(given) = self.given(spec) {
            return given.ensure(spec).await;
        }
        let Some(servers) = self.of(spec) else { return Err(no_kubeblocks()) };
        let until = Instant::now() + self.patience;
        self.changed.know(spec.project, spec.sandbox);
        let (mut changed, mut happened) = (self.changed.bell(), self.index.databases());
        let (mut made, mut stated) = (false, Stated::default());
        loop {
            changed.borrow_and_update();
            happened.borrow_and_update();
            if !made || servers.stuck(spec) {
                made = servers.make(spec).await?;
            }
            let (mut again, mut heeds_events) = (until, false);
            let known = match servers.standing(spec) {
                Standing::Absent => None,
                Standing::Coming(cause) => {
                    let said = cause.as_ref().is_some_and(|cause| is_stated(cause.code));
                    heeds_events = !said && servers.heeds_events(spec);
                    if heeds_events { servers.explain(spec, &self.events(servers, spec)).or(cause) } else { cause }
                }
                Standing::Up(run) => match self.door(servers, spec, &run).await? {
                    None => {
                        again = Instant::now() + PAUSE;
                        None
                    }
                    Some(door) => match door.server.ensure(spec).await {
                        Ok(()) => return Ok(()),
                        Err(error) => {
                            self.doors.shut(&spec.name);
                            again = Instant::now() + PAUSE;
                            Some(passing(error, spec)?)
                        }
                    },
                },
            };
            let told_at = stated.hold(known.as_ref(), Instant::now());
            if Instant::now() >= told_at.map_or(until, |at| at.min(until)) {
                // Without a cause it is only slow, and is asked about again.
                let Some(mut cause) = known else { return Ok(()) };
                if cause.code == CauseCode::DatabaseFailed
                    && let Some(words) = objects::last_words(&self.cluster, &spec.name).await
                {
                    let said = cause.detail.take().filter(|said| !said.is_empty()).map(|said| format!("{said}\n"));
                    cause.detail = Some(format!("{}{words}", said.unwrap_or_default()));
                }
                if cause.code == CauseCode::Unschedulable
                    && let Some(said) = cause.detail.as_deref()
                {
                    let rooms = room::ask(&self.cluster, self.installation).await;
                    cause.message.push_str(&room::told(&room::lacking(said), rooms.as_deref()));
                }
                if cause.detail.as_ref().is_none_or(String::is_empty) {
                    cause.detail = objects::warnings(&self.events(servers, spec));
                }
                return Err(DatabaseError::Caused(cause));
            }
            if !made {
                again = Instant::now() + PAUSE;
            }
            let next = told_at.map_or(until, |at| at.min(until));
            tokio::select! {
                () = sleep_until(again.min(next)) => {}
                _ = changed.changed() => {}
                _ = happened.changed(), if heeds_events => {}
            }
        }
    }

    async fn observe(&self, spec: &DatabaseSpec) -> Result<DatabaseSeen, DatabaseError> {
        if let Some(given) = self.given(spec) {
            return given.observe(spec).await;
        }
        let Some(servers) = self.of(spec) else { return Ok(DatabaseSeen::default()) };
        let coming = DatabaseSeen { ready: false, present: true };
        let run = match servers.standing(spec) {
            Standing::Absent => return Ok(DatabaseSeen::default()),
            Standing::Coming(_) => return Ok(coming),
            Standing::Up(run) => run,
        };
        let Some(door) = self.door(servers, spec, &run).await? else { return Ok(coming) };
        match door.server.observe(spec).await {
            Ok(seen) => Ok(DatabaseSeen { ready: seen.ready, present: true }),
            Err(error) => {
                self.doors.shut(&spec.name);
                // Whoever makes it finds out why, and says so.
                passing(error, spec).map(|_| coming)
            }
        }
    }

    async fn figures(&self, spec: &DatabaseSpec) -> Result<Option<DatabaseFigures>, DatabaseError> {
        if let Some(given) = self.given(spec) {
            return given.figures(spec).await;
        }
        let Some(servers) = self.of(spec) else { return Ok(None) };
        let Standing::Up(run) = servers.standing(spec) else { return Ok(None) };
        match self.door(servers, spec, &run).await? {
            Some(door) => door.server.figures(spec).await,
            None => Ok(None),
        }
    }

    async fn stop(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        if let Some(given) = self.given(spec) {
            return given.stop(spec).await;
        }
        self.doors.shut(&spec.name);
        match self.of(spec) {
            Some(servers) => servers.stop(spec).await,
            None => Ok(()),
        }
    }

    fn glance(&self, spec: &DatabaseSpec) -> Option<Glance> {
        self.changed.know(spec.project, spec.sandbox);
        if let Some(given) = self.given(spec) {
            return given.glance(spec);
        }
        let servers = self.of(spec)?;
        let on = servers.on(spec);
        let cause = match servers.standing(spec) {
            Standing::Coming(cause) if on => cause,
            _ => None,
        };
        Some(Glance {
            on,
            whole: servers.whole(spec),
            ending: servers.ending(spec),
            stops: servers.stops(),
            // One that the account may not see is made by nobody, and may well be there.
            lost: !servers.there(spec) && self.unseen.is_empty(),
            edited: servers.edited(spec),
            cause,
        })
    }

    fn watch(&self) -> BoxStream<'static, SandboxId> {
        UnboundedReceiverStream::new(self.changed.listen()).boxed()
    }

    fn watches(&self) -> Vec<WatchFact> {
        self.changed.facts()
    }

    async fn remove(&self, spec: &DatabaseSpec) -> Result<Removed, DatabaseError> {
        // It would be left behind, with nobody to know of it.
        self.none_unseen(spec).await?;
        let until = Instant::now() + self.patience;
        let mut changed = self.changed.bell();
        self.doors.shut(&spec.name);
        if let Some(given) = self.given(spec) {
            let removed = given.remove(spec).await?;
            if let (Removed::Gone, Some(given)) = (removed, &self.given) {
                given.forget(spec.project);
                self.changed.forget(spec.project);
            }
            return Ok(removed);
        }
        let having = self.having(spec).await?;
        let mut first = true;
        loop {
            changed.borrow_and_update();
            let mut gone = true;
            for servers in &having {
                gone &= servers.unmake(spec, first).await? == Removed::Gone;
            }
            first = false;
            if gone {
                self.changed.forget(spec.project);
                info!(project.id = %spec.project, name = %spec.name, "removed the database's server");
                return Ok(Removed::Gone);
            }
            if Instant::now() >= until {
                return Ok(Removed::Going);
            }
            let again = Instant::now() + PAUSE;
            let _ = timeout_at(again.min(until), changed.changed()).await;
            // What changes comes in crowds.
            sleep(PAUSE / 4).await;
        }
    }

    fn credentials(&self, spec: &DatabaseSpec) -> Connection {
        if let Some(given) = self.given(spec) {
            return given.credentials(spec);
        }
        Connection {
            host: self.host(spec),
            port: POSTGRES_PORT,
            user: spec.role.clone(),
            password: spec.password.expose_secret().to_owned(),
            database: spec.database.clone(),
        }
    }

    /// Of all projects alike: who has a server of its own is let through to the given one as well, and has no role there.
    fn endpoint(&self) -> Option<DatabaseEndpoint> {
        self.endpoint.clone()
    }

    async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError> {
        let mut projects = Vec::new();
        for servers in &self.servers {
            servers.ready().await?;
            projects.extend(servers.projects());
        }
        if let Some(given) = &self.given {
            projects.extend(given.list().await?);
        }
        projects.sort_unstable_by_key(|project| project.0);
        projects.dedup();
        Ok(projects)
    }
}

/// What the cluster has said of a server, and since when it says the same.
#[derive(Default)]
struct Stated(Option<(CauseCode, Instant)>);

impl Stated {
    /// When it is told, if it stays like this; `None` for what is not stated.
    fn hold(&mut self, known: Option<&Cause>, now: Instant) -> Option<Instant> {
        let code = known.map(|cause| cause.code).filter(|code| is_stated(*code));
        self.0 = code.map(|code| match self.0 {
            Some((same, since)) if same == code => (code, since),
            _ => (code, now),
        });
        self.0.map(|(_, since)| since + SETTLED)
    }
}

/// Whether the account may list what is not made any more, but may have been: a Role for these settings alone need not
/// say so. Then it is noted as unseen.
async fn may_see(cluster: &Cluster, kind: hidden::Kind, unseen: &mut Vec<hidden::Kind>) -> Result<bool, DatabaseError> {
    let name = kind.resource().kind;
    let seen = kind.may_be_seen(cluster).await.map_err(|error| objects::refused(&error, &format!("list each {name}")))?;
    if !seen {
        warn!(kind = name, "databases that are objects of this kind are not seen: the account may not list them");
        unseen.push(kind);
    }
    Ok(seen)
}

/// The cause of an error that may pass by itself, or the error, told as one of a cluster.
fn passing(error: DatabaseError, spec: &DatabaseSpec) -> Result<Cause, DatabaseError> {
    match error {
        DatabaseError::Caused(cause) if cause.code == CauseCode::DatabaseUnreachable => {
            Ok(cause::unreachable(&spec.name, cause.detail))
        }
        DatabaseError::Caused(cause)
            if cause.detail.as_ref().is_some_and(|detail| detail.contains("password authentication failed")) =>
        {
            warn!(project.id = %spec.project, name = %spec.name, "PostgreSQL refused the superuser's password");
            Err(DatabaseError::Caused(cause::locked_out(&spec.name, cause.detail)))
        }
        error => Err(error),
    }
}

fn no_kubeblocks() -> DatabaseError {
    DatabaseError::Caused(Cause::new(
        CauseCode::DatabaseRefused,
        "Databases are to be made by KubeBlocks, and the cluster does not serve its API (apps.kubeblocks.io).",
        &[
            "Install KubeBlocks: it is looked for again by itself.",
            "Or set the databases' provider to `auto` or `statefulset`, and restart the server.",
        ],
    ))
}

/// Whose a project's objects are.
pub(crate) fn owner(spec: &DatabaseSpec) -> Owner<'_> {
    Owner { installation: spec.installation, project: spec.project, slug: &spec.slug, sandbox: None, name: &spec.name }
}

fn pods(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    NetworkPolicyPeer { pod_selector: Some(selector), ..NetworkPolicyPeer::default() }
}

/// Who may connect to a project's PostgreSQL: its sandboxes, and the control plane where it is a pod.
fn clients(spec: &DatabaseSpec, settings: &Settings) -> Vec<NetworkPolicyPeer> {
    let sandboxes = pods(BTreeMap::from([
        (crate::labels::INSTALLATION.to_owned(), spec.installation.0.to_string()),
        (crate::labels::PROJECT.to_owned(), spec.project.0.to_string()),
        (crate::labels::COMPONENT.to_owned(), crate::labels::Component::Sandbox.as_str().to_owned()),
    ]));
    let mut clients = vec![sandboxes];
    if !settings.control_plane_labels.is_empty() {
        clients.push(pods(settings.control_plane_labels.clone()));
    }
    clients
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn what_is_stated_is_told_once_it_has_held_and_well_before_patience_is_over() {
        let said = |code| Some(Cause::new(code, "It is so.", &[]));
        let (mut stated, begun) = (Stated::default(), Instant::now());
        let at = |millis| begun + Duration::from_millis(millis);
        let mut hold = |cause: Option<Cause>, millis| stated.hold(cause.as_ref(), at(millis));
        assert_eq!(hold(said(CauseCode::VolumePending), 0), None, "it may be passing");
        assert_eq!(hold(said(CauseCode::Unschedulable), 100), Some(at(1_100)));
        assert_eq!(hold(said(CauseCode::Unschedulable), 900), Some(at(1_100)));
        assert_eq!(hold(None, 950), None, "a node was found");
        assert_eq!(hold(said(CauseCode::Unschedulable), 1_200), Some(at(2_200)), "from anew");
        assert_eq!(hold(said(CauseCode::ImageNotFound), 1_300), Some(at(2_300)));
        assert!(SETTLED * 2 < PATIENCE);
    }

    pub(crate) fn spec() -> DatabaseSpec {
        let id = uuid::Uuid::from_u128(7);
        let (slug, name) = engine::database::contract::names(id);
        DatabaseSpec {
            project: ProjectId(id),
            sandbox: model::SandboxId(id),
            slug,
            name,
            installation: InstallationId(uuid::Uuid::from_u128(1)),
            role: "p_7".to_owned(),
            database: "d_7".to_owned(),
            password: "secret".into(),
        }
    }
}
