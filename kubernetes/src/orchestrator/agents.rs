//! The way to the agents of sandboxes: straight, or by one port-forward a pod.

use super::tunnels::{Opened, Tunnels};
use crate::{
    Cluster,
    index::Index,
    manifests,
    names::{self, AGENT_PORT},
    reach::Reach,
};
use engine::orchestrator::{BoxedIo, ConnectError};
use http::StatusCode;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use model::SandboxId;
use sandbox_agent::client::tunnel;
use secrecy::SecretString;
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;
use tracing::debug;

/// How long an agent may take to make a tunnel, and before that the cluster to say its token. Where either takes longer, the agent is
/// asked without.
const ANSWER: Duration = Duration::from_secs(2);

/// Who speaks to agents.
pub struct Agents {
    cluster: Cluster,
    index: Arc<Index>,
    reach: Reach,
    tunnels: Tunnels,
    tokens: Mutex<HashMap<SandboxId, SecretString>>,
}

impl Agents {
    #[must_use]
    pub fn new(cluster: Cluster, index: Arc<Index>, reach: Reach) -> Arc<Self> {
        Arc::new(Self { cluster, index, reach, tunnels: Tunnels::default(), tokens: Mutex::default() })
    }

    /// A connection to the agent of a sandbox, in this pod. Where it is a port-forward of its own, that nobody listens is seen only
    /// when the first read ends.
    ///
    /// # Errors
    /// As [`Reach::dial`].
    pub async fn connect(&self, id: SandboxId, pod: &Pod) -> Result<BoxedIo, ConnectError> {
        if !self.reach.straight(pod)
            && let Some(uid) = pod.metadata.uid.as_deref()
            && let Some(io) = self.tunnels.connect(uid, || self.open(id, pod)).await?
        {
            return Ok(io);
        }
        self.reach.dial(&self.cluster, pod, AGENT_PORT).await
    }

    async fn open(&self, id: SandboxId, pod: &Pod) -> Result<Opened, ConnectError> {
        // Others wait for this, so it has an end.
        let token = match timeout(ANSWER, self.token(id)).await {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => {
                debug!(sandbox.id = %id, "no tunnel without a token: {error}");
                return Ok(Opened::NotNow);
            }
            Err(_) => return Ok(Opened::NotNow),
        };
        let io = self.reach.dial(&self.cluster, pod, AGENT_PORT).await?;
        match timeout(ANSWER, tunnel(io, &token)).await {
            Ok(Ok(tunnel)) => Ok(Opened::Tunnel(tunnel)),
            Ok(Err(error)) => match error.status() {
                // An older one.
                Some(StatusCode::NOT_FOUND) => Ok(Opened::Never),
                Some(_) => {
                    debug!(sandbox.id = %id, "the agent makes no tunnel: {error}");
                    // It may be another token by now.
                    self.forget(id);
                    Ok(Opened::NotNow)
                }
                // Nobody listens yet, mostly.
                None => Err(ConnectError::Io(io::Error::other(error))),
            },
            Err(_) => Ok(Opened::NotNow),
        }
    }

    /// The token of a sandbox's agent: the one that is known, else what the cluster has.
    ///
    /// # Errors
    /// [`ConnectError::NotRunning`] where the sandbox is not known, else [`ConnectError::Io`].
    pub async fn token(&self, id: SandboxId) -> Result<SecretString, ConnectError> {
        if let Some(token) = self.tokens().get(&id).cloned() {
            return Ok(token);
        }
        let io = |text: &str| ConnectError::Io(io::Error::other(text.to_owned()));
        let name = self.index.read().deployments.of(id).first().and_then(|live| live.metadata.name.clone());
        let name = name.and_then(|name| name.parse().ok()).ok_or(ConnectError::NotRunning)?;
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let secret = api.get(&names::agent_secret(&name)).await;
        let secret = secret.map_err(|error| ConnectError::Io(io::Error::other(error)))?;
        let data = secret.data.and_then(|mut data| data.remove(manifests::TOKEN_KEY));
        let text = data.and_then(|data| String::from_utf8(data.0).ok()).ok_or_else(|| io("the agent's Secret has no token"))?;
        let token = SecretString::from(text);
        self.note(id, token.clone());
        Ok(token)
    }

    /// This is its token.
    pub fn note(&self, id: SandboxId, token: SecretString) {
        self.tokens().insert(id, token);
    }

    /// It is to be read again.
    pub fn forget(&self, id: SandboxId) {
        self.tokens().remove(&id);
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<SandboxId, SecretString>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
