//! The provider of databases on a cluster that may be away when the server starts.

use super::{ClusterDatabase, given};
use crate::{
    Cluster, Settings, causes, connection::try_namespace, index::Index, names, reach::Reach, settings::DatabaseProvider,
};
use engine::{
    database::{Database, DatabaseError, DatabaseSeen, DatabaseSpec, Glance},
    measure::WatchFact,
    orchestrator::{DatabaseEndpoint, Removed},
};
use futures::{StreamExt as _, future, stream, stream::BoxStream};
use model::{Cause, CauseCode, ProjectId, SandboxId, connection::Connection, view::DatabaseFigures};
use secrecy::ExposeSecret as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OnceCell, watch};
use tracing::{info, warn};

/// How long after a try a cluster that does not say it is asked again: doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Decides by what the cluster serves, at the first use at which it answers, and remembers.
pub struct Later {
    place: String,
    cluster: Cluster,
    settings: Settings,
    reach: Reach,
    /// Where events are heard.
    index: Option<Arc<Index>>,
    found: OnceCell<Arc<dyn Database>>,
    /// The same, told to those who wait for it.
    told: watch::Sender<Option<Arc<dyn Database>>>,
    /// Why it is not decided, or what is known of databases is old.
    trouble: Arc<watch::Sender<Option<Cause>>>,
}

impl Later {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(cluster: Cluster, settings: Settings, reach: Reach) -> Arc<Self> {
        Self::at(causes::CLUSTER.to_owned(), cluster, settings, reach, None)
    }

    /// The same, as [`ClusterDatabase::at`].
    #[must_use]
    pub fn at(place: String, cluster: Cluster, settings: Settings, reach: Reach, index: Option<Arc<Index>>) -> Arc<Self> {
        let (found, told, trouble) = (OnceCell::new(), watch::Sender::new(None), Arc::default());
        Arc::new(Self { place, cluster, settings, reach, index, found, told, trouble })
    }

    /// Why databases cannot be made or seen, and with them no sandbox, while they cannot.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Cause>> {
        self.trouble.subscribe()
    }

    /// Returns once it is decided: before, nobody may start a sandbox, which would be told a host that may be
    /// another.
    pub async fn decided(&self) {
        let (mut wait, mut said) = (FIRST_WAIT, String::new());
        while let Err(error) = self.get().await {
            let cause = why(&error);
            if said != cause.message {
                warn!("cannot say yet what makes databases: {}", cause.message);
                said = cause.message;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
        if !said.is_empty() {
            info!("the cluster answers, and databases can be made");
        }
    }

    async fn get(&self) -> Result<&Arc<dyn Database>, DatabaseError> {
        let find = async || {
            // Watches of a namespace that is not there see nothing, and nothing wrong.
            if let Err(error) = try_namespace(&self.cluster).await {
                let cause = causes::explain(&error, "make an object to try the namespace", &self.place);
                if cause.code == CauseCode::NamespaceMissing {
                    self.trouble.send_replace(Some(cause.clone()));
                    return Err(DatabaseError::Caused(cause));
                }
            }
            let (place, cluster, index) = (self.place.clone(), self.cluster.clone(), self.index.clone());
            let found = ClusterDatabase::at(place, cluster, &self.settings, self.reach, index).await;
            let found = found.inspect_err(|error| {
                self.trouble.send_replace(Some(why(error)));
            })?;
            // From now on it is its watches' trouble that is told, for as long as it is there.
            let (mut its, trouble) = (found.trouble(), self.trouble.clone());
            trouble.send_replace(None);
            tokio::spawn(async move {
                while its.changed().await.is_ok() {
                    trouble.send_replace(its.borrow_and_update().clone());
                }
            });
            let found: Arc<dyn Database> = Arc::new(found);
            self.told.send_replace(Some(found.clone()));
            Ok(found)
        };
        self.found.get_or_try_init(find).await
    }
}

fn why(error: &DatabaseError) -> Cause {
    match error {
        DatabaseError::Caused(cause) => cause.clone(),
        DatabaseError::Other(error) => Cause::new(
            CauseCode::Unexpected,
            "It cannot be told yet what makes projects' databases.",
            &["It is asked again by itself.", "Look at the server's log."],
        )
        .with_detail(format!("{error:#}")),
    }
}

#[async_trait::async_trait]
impl Database for Later {
    async fn ensure(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        self.get().await?.ensure(spec).await
    }

    async fn observe(&self, spec: &DatabaseSpec) -> Result<DatabaseSeen, DatabaseError> {
        self.get().await?.observe(spec).await
    }

    async fn stop(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        self.get().await?.stop(spec).await
    }

    fn glance(&self, spec: &DatabaseSpec) -> Option<Glance> {
        self.found.get()?.glance(spec)
    }

    fn watch(&self) -> BoxStream<'static, SandboxId> {
        let mut decided = self.told.subscribe();
        let found = async move { decided.wait_for(Option::is_some).await.ok().and_then(|found| found.clone()) };
        stream::once(found).filter_map(future::ready).flat_map(|database| database.watch()).boxed()
    }

    fn watches(&self) -> Vec<WatchFact> {
        self.found.get().map(|found| found.watches()).unwrap_or_default()
    }

    async fn remove(&self, spec: &DatabaseSpec) -> Result<Removed, DatabaseError> {
        self.get().await?.remove(spec).await
    }

    async fn figures(&self, spec: &DatabaseSpec) -> Result<Option<DatabaseFigures>, DatabaseError> {
        self.get().await?.figures(spec).await
    }

    /// Before it is decided, as the given server's or a StatefulSet's: for pages alone.
    fn credentials(&self, spec: &DatabaseSpec) -> Connection {
        let set = &self.settings.database;
        let given = set.server.as_ref().filter(|_| set.provider == DatabaseProvider::Server);
        match self.found.get() {
            Some(database) => database.credentials(spec),
            None => Connection {
                host: given.map_or_else(
                    || format!("{}.{}.svc", names::postgres(&spec.name), self.cluster.namespace),
                    |server| server.host.clone(),
                ),
                port: given.map_or(names::POSTGRES_PORT, |server| server.port),
                user: spec.role.clone(),
                password: spec.password.expose_secret().to_owned(),
                database: spec.database.clone(),
            },
        }
    }

    fn endpoint(&self) -> Option<DatabaseEndpoint> {
        given::endpoint(&self.settings)
    }

    async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError> {
        self.get().await?.list().await
    }
}
