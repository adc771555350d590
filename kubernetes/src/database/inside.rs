//! The way into a project's PostgreSQL: its superuser, through a port of its pod.
//!
//! ```text
//!   ServerDatabase ── sqlx ──▶ 127.0.0.1:? ── Reach ──▶ pod:5432
//! ```
//! sqlx connects to addresses alone, and from outside the cluster a pod has none: so each way in
//! listens on loopback and passes bytes on. PostgreSQL asks for the superuser's password there as
//! everywhere. A way in is kept for some seconds, because verbs come in threes (look, make, look).

use super::Admin;
use crate::{Cluster, names::POSTGRES_PORT, reach::Reach};
use engine::database::server::{Reach as Address, ServerDatabase};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use model::{InstallationId, ResourceName};
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tracing::debug;

/// How long a way in is kept after its last use.
const KEEP: Duration = Duration::from_secs(15);

/// A loopback address whose connections end at PostgreSQL's port of a pod, until it is dropped.
pub struct Bridge {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bridge {
    /// Listens. The way is taken with each connection.
    ///
    /// # Errors
    /// No loopback address is free.
    pub async fn open(cluster: &Cluster, reach: Reach, pod: &Arc<Pod>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(bridge(listener, cluster.clone(), reach, Arc::clone(pod)));
        Ok(Self { port, task })
    }

    /// On 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A way in.
pub struct Door {
    /// The databases of the server behind it.
    pub server: ServerDatabase,
    _bridge: Bridge,
}

impl Door {
    /// Opens one; connects when it is first used.
    ///
    /// # Errors
    /// No loopback address is free.
    pub async fn open(
        cluster: &Cluster,
        reach: Reach,
        admin: &Admin,
        installation: InstallationId,
        address: Address,
    ) -> io::Result<Self> {
        let bridge = Bridge::open(cluster, reach, &admin.pod).await?;
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(bridge.port())
            .username(&admin.user)
            .password(admin.password.expose_secret())
            .database("postgres");
        Ok(Self { server: ServerDatabase::new(options, installation, address).of_one_project(), _bridge: bridge })
    }
}

/// Passes every connection on, until it is dropped, and they with it.
async fn bridge(listener: TcpListener, cluster: Cluster, reach: Reach, pod: Arc<Pod>) {
    let mut passing = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => {
                    let (cluster, pod) = (cluster.clone(), Arc::clone(&pod));
                    passing.spawn(async move {
                        if let Err(error) = pass(near, &cluster, reach, &pod).await {
                            debug!(pod = pod.name_any(), "the way to PostgreSQL ended: {error}");
                        }
                    });
                }
                Err(error) => {
                    debug!("cannot take a connection on loopback: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = passing.join_next() => {}
        }
    }
}

async fn pass(mut near: TcpStream, cluster: &Cluster, reach: Reach, pod: &Pod) -> io::Result<()> {
    near.set_nodelay(true)?;
    let mut far = reach.dial(cluster, pod, POSTGRES_PORT).await.map_err(io::Error::other)?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// The ways in that are open, by the run of PostgreSQL that they lead to.
#[derive(Default)]
pub struct Doors {
    open: Arc<Mutex<HashMap<ResourceName, Kept>>>,
}

struct Kept {
    run: String,
    used: Instant,
    door: Arc<Door>,
}

impl Doors {
    /// The way into this run, if it is open.
    #[must_use]
    pub fn find(&self, name: &ResourceName, run: &str) -> Option<Arc<Door>> {
        let mut open = lock(&self.open);
        let kept = open.get_mut(name).filter(|kept| kept.run == run)?;
        kept.used = Instant::now();
        Some(Arc::clone(&kept.door))
    }

    /// Keeps a way in for some seconds.
    pub fn keep(&self, name: &ResourceName, run: &str, door: &Arc<Door>) {
        let kept = Kept { run: run.to_owned(), used: Instant::now(), door: Arc::clone(door) };
        lock(&self.open).insert(name.clone(), kept);
        let open = Arc::clone(&self.open);
        let name = name.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(KEEP).await;
                let mut open = lock(&open);
                match open.get(&name) {
                    Some(kept) if kept.used.elapsed() < KEEP => {}
                    _ => {
                        open.remove(&name);
                        return;
                    }
                }
            }
        });
    }

    /// Shuts the way in, if it is open: it leads nowhere any longer.
    pub fn shut(&self, name: &ResourceName) {
        lock(&self.open).remove(name);
    }
}

fn lock(open: &Mutex<HashMap<ResourceName, Kept>>) -> MutexGuard<'_, HashMap<ResourceName, Kept>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
