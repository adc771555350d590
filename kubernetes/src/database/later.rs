//! The provider of databases on a cluster that may be away when the server starts.

use super::provider;
use crate::{Cluster, Settings, names, reach::Reach};
use engine::{
    database::{Database, DatabaseError, DatabaseSeen, DatabaseSpec, Glance},
    orchestrator::{DatabaseEndpoint, Removed},
};
use futures::{StreamExt as _, future, stream, stream::BoxStream};
use model::{ProjectId, SandboxId, connection::Connection};
use secrecy::ExposeSecret as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OnceCell, watch};
use tracing::{info, warn};

/// How often a cluster that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Decides by what the cluster serves, at the first use at which it answers, and remembers.
pub struct Later {
    cluster: Cluster,
    settings: Settings,
    reach: Reach,
    found: OnceCell<Arc<dyn Database>>,
    /// The same, told to those who wait for it.
    told: watch::Sender<Option<Arc<dyn Database>>>,
}

impl Later {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(cluster: Cluster, settings: Settings, reach: Reach) -> Arc<Self> {
        Arc::new(Self { cluster, settings, reach, found: OnceCell::new(), told: watch::Sender::new(None) })
    }

    /// Returns once it is decided: before, nobody may start a sandbox, which would be told a host that may be
    /// another.
    pub async fn decided(&self) {
        let mut said = String::new();
        while let Err(error) = self.get().await {
            let why = error.to_string();
            if why != said {
                warn!("cannot say yet what makes databases: {why}");
                said = why;
            }
            tokio::time::sleep(AGAIN).await;
        }
        if !said.is_empty() {
            info!("the cluster answers, and databases can be made");
        }
    }

    async fn get(&self) -> Result<&Arc<dyn Database>, DatabaseError> {
        let find = async || {
            let found = provider(self.cluster.clone(), &self.settings, self.reach).await?;
            self.told.send_replace(Some(found.clone()));
            Ok(found)
        };
        self.found.get_or_try_init(find).await
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

    async fn remove(&self, spec: &DatabaseSpec) -> Result<Removed, DatabaseError> {
        self.get().await?.remove(spec).await
    }

    /// Before it is decided, as a StatefulSet's: for pages alone.
    fn credentials(&self, spec: &DatabaseSpec) -> Connection {
        match self.found.get() {
            Some(database) => database.credentials(spec),
            None => Connection {
                host: format!("{}.{}.svc", names::postgres(&spec.name), self.cluster.namespace),
                port: names::POSTGRES_PORT,
                user: spec.role.clone(),
                password: spec.password.expose_secret().to_owned(),
                database: spec.database.clone(),
            },
        }
    }

    fn endpoint(&self) -> Option<DatabaseEndpoint> {
        None
    }

    async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError> {
        self.get().await?.list().await
    }
}
