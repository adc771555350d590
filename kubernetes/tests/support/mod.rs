//! A world for tests: the cluster that `FSA_TEST_KUBECONFIG` names, a namespace of it that enforces Pod
//! Security `restricted`, real pods.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod left_out;

use bytes::Bytes;
use engine::orchestrator::{
    AgentOrPort, AgentSeen, Orchestrator, OrchestratorError, Removed, SandboxSpec, Seen, contract::Files,
};
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use kubernetes::{Cluster, Settings, orchestrator::KubernetesOrchestrator, reach::Reach};
pub use left_out::skipped;
use model::{CauseCode, Desired, InstallationId, resources::Preset};
use sandbox_agent::{
    client::{Finished, exec_to_end},
    protocol::http::{ExecExit, ExecRequest},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};
use tower::BoxError;
use uuid::Uuid;

/// How long anything may take on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Why the tests cannot run here, if so: for [`or_skip!`].
pub fn skip() -> Option<String> {
    std::env::var_os("FSA_TEST_KUBECONFIG")
        .is_none()
        .then(|| "FSA_TEST_KUBECONFIG names no cluster: `cargo xtask cluster up` starts one".to_owned())
}

/// Ends a test that cannot run here, whose reason it is given.
#[macro_export]
macro_rules! or_skip {
    ($reason:expr) => {
        if let Some(reason) = $reason {
            return $crate::support::skipped(&reason);
        }
    };
}

/// Where the tests of this crate's orchestrator live.
pub fn namespace() -> String {
    std::env::var("FSA_TEST_NAMESPACE").unwrap_or_else(|_| "fsa-core".to_owned())
}

/// An image with the agent.
pub fn image() -> String {
    std::env::var("FSA_TEST_IMAGE").unwrap_or_else(|_| "fsa.local/runtime:dev".to_owned())
}

/// How to reach the cluster.
pub async fn config() -> Config {
    let path = std::env::var("FSA_TEST_KUBECONFIG").unwrap();
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// What was asked of the apiserver: method and path.
#[derive(Debug, Clone, Default)]
pub struct Asked(
    Arc<Mutex<Vec<(String, String)>>>,
    Arc<Mutex<Option<(u16, &'static str)>>>,
    Arc<Mutex<Option<Refusal>>>,
    /// Ends every watch that is open.
    Arc<Notify>,
    Watches,
);

/// Watches by what they are of, path and selector: how many are open, and the most that ever were.
type Watches = Arc<Mutex<BTreeMap<String, (usize, usize)>>>;

/// A watch, from when it is asked for to when nobody reads it any more.
struct Open {
    of: String,
    among: Watches,
}

impl Open {
    /// A watch ends after half a minute and is begun again where it was: what it began with says nothing of which it is.
    fn of(path: &str, among: &Watches) -> Option<Self> {
        let (folder, query) = path.split_once('?')?;
        query.split('&').find(|part| *part == "watch=true")?;
        let selector = query.split('&').find(|part| part.starts_with("labelSelector=")).unwrap_or_default();
        let of = format!("{folder}?{selector}");
        let mut watches = among.lock().unwrap();
        let (open, most) = watches.entry(of.clone()).or_default();
        *open += 1;
        *most = (*most).max(*open);
        Some(Self { of, among: among.clone() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((open, _)) = self.among.lock().unwrap().get_mut(&self.of) {
            *open -= 1;
        }
    }
}

/// A watch that is to be refused.
#[derive(Debug)]
struct Refusal {
    of: &'static str,
    code: u16,
    within: bool,
    asked: oneshot::Sender<()>,
    answer: oneshot::Receiver<()>,
}

/// The same as its test holds it.
pub struct Refused {
    /// It is being asked for: nothing is told of its kind any more.
    pub asked: oneshot::Receiver<()>,
    /// Has it answered.
    pub answer: oneshot::Sender<()>,
}

impl Asked {
    /// Forgets, and answers what was asked.
    pub fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// The next write is answered with this, and does not get to the apiserver.
    pub fn refuse_the_next_write(&self, code: u16, reason: &'static str) {
        *self.1.lock().unwrap() = Some((code, reason));
    }

    fn refused(&self, request: &Request<Body>) -> Option<Response<Answer>> {
        if request.method() == http::Method::GET {
            return None;
        }
        let (code, reason) = self.1.lock().unwrap().take()?;
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "not now"
        });
        let body = Full::new(Bytes::from(status.to_string())).map_err(Into::into).boxed_unsync();
        Some(Response::builder().status(code).body(body).unwrap())
    }

    /// Every open watch ends, and the next one of `of` (`services`) is refused with `code` once its test says so: by
    /// the status of the answer, or `within` the watch, by an event.
    pub fn refuse_the_next_watch(&self, of: &'static str, code: u16, within: bool) -> Refused {
        let ((asked, is_asked), (answer, answered)) = (oneshot::channel(), oneshot::channel());
        *self.2.lock().unwrap() = Some(Refusal { of, code, within, asked, answer: answered });
        self.3.notify_waiters();
        Refused { asked: is_asked, answer }
    }

    fn watch_refused(&self, path: &str) -> Option<Refusal> {
        let mut refusal = self.2.lock().unwrap();
        let is = |refusal: &mut Refusal| path.contains("watch=true") && path.contains(&format!("/{}?", refusal.of));
        refusal.take_if(is)
    }

    /// Each watch that there ever was, and how many of it were open at the same time.
    pub fn watches(&self) -> BTreeMap<String, usize> {
        self.4.lock().unwrap().iter().map(|(of, (_, most))| (of.clone(), *most)).collect()
    }

    /// The same without watches, which come and go by themselves.
    pub fn take_calls(&self) -> Vec<(String, String)> {
        self.take().into_iter().filter(|(_, path)| !path.contains("watch=true")).collect()
    }
}

impl Refusal {
    async fn answered(self) -> Response<Answer> {
        let _ = self.asked.send(());
        let _ = self.answer.await;
        let (reason, message) = match self.code {
            410 => ("Expired", "too old resource version"),
            429 => ("TooManyRequests", "not now"),
            500 => ("InternalError", "not now"),
            _ => ("ServiceUnavailable", "not now"),
        };
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.code, "reason": reason,
            "message": message
        });
        let (code, body) = if self.within {
            (200, format!("{}\n", serde_json::json!({"type": "ERROR", "object": status})))
        } else {
            (self.code, status.to_string())
        };
        let body = Full::new(Bytes::from(body)).map_err(Into::into).boxed_unsync();
        Response::builder().status(code).body(body).unwrap()
    }
}

#[derive(Clone)]
struct Counting<S> {
    inner: S,
    asked: Asked,
}

type Answer = UnsyncBoxBody<Bytes, BoxError>;

impl<S, B> tower::Service<Request<Body>> for Counting<S>
where
    S: tower::Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<Response<Answer>, S::Error>>;
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.asked.0.lock().unwrap().push((request.method().to_string(), request.uri().to_string()));
        if let Some(refused) = self.asked.refused(&request) {
            return Box::pin(std::future::ready(Ok(refused)));
        }
        let path = request.uri().to_string();
        if let Some(refusal) = self.asked.watch_refused(&path) {
            return Box::pin(async move { Ok(refusal.answered().await) });
        }
        let watch = Open::of(&path, &self.asked.4).map(|open| (open, self.asked.3.clone()));
        let answer = self.inner.call(request);
        Box::pin(async move {
            Ok(answer.await?.map(|body| {
                let body = body.map_err(Into::<BoxError>::into);
                match watch {
                    None => body.boxed_unsync(),
                    Some((open, ended)) => {
                        let ended = async move { ended.notified().await };
                        let body = BodyStream::new(body).take_until(ended).inspect(move |_| {
                            // It is open for as long as it is read.
                            let _ = &open;
                        });
                        StreamBody::new(body).boxed_unsync()
                    }
                }
            }))
        })
    }
}

/// A client that notes what it is asked.
pub fn client(config: Config) -> (Client, Asked) {
    let asked = Asked::default();
    let noted = asked.clone();
    let layer = tower::layer::layer_fn(move |inner| Counting { inner, asked: noted.clone() });
    (ClientBuilder::try_from(config).unwrap().with_layer(&layer).build(), asked)
}

pub struct World {
    pub orchestrator: Arc<KubernetesOrchestrator>,
    pub cluster: Cluster,
    pub settings: Settings,
    pub asked: Asked,
}

impl World {
    /// Of an installation of its own.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(InstallationId(Uuid::new_v4()), config().await, change).await
    }

    pub async fn of(installation: InstallationId, config: Config, change: impl FnOnce(&mut Settings)) -> Self {
        Self::reached_by(installation, config, None, change).await
    }

    pub async fn reached_by(
        installation: InstallationId,
        config: Config,
        reach: Option<Reach>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let (client, asked) = client(config);
        let cluster = Cluster { client, namespace: namespace() };
        make_namespace(&cluster).await;
        let mut settings = Settings::new(installation, namespace());
        settings.image = image();
        change(&mut settings);
        let reach = match (reach, std::env::var("FSA_TEST_REACH").as_deref()) {
            (Some(reach), _) => reach,
            // As from a machine that no pod's address can be reached from.
            (None, Ok("forward")) => Reach::Forward,
            _ => Reach::choose(&cluster).await,
        };
        let orchestrator = KubernetesOrchestrator::new(cluster.clone(), settings.clone(), reach).unwrap();
        assert!(orchestrator.index().synced(PATIENCE).await, "the cluster is listed: {:?}", *orchestrator.health().borrow());
        Self { orchestrator, cluster, settings, asked }
    }

    pub fn spec(&self) -> SandboxSpec {
        spec(self.settings.installation)
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// Ensures until the sandbox is wholly down.
    pub async fn down(&self, spec: &SandboxSpec) {
        let start = Instant::now();
        let mut watch = self.orchestrator.watch();
        loop {
            self.orchestrator.ensure(&stopped(spec)).await.unwrap();
            let seen = self.orchestrator.observe(spec.id).await.unwrap();
            if !seen.present {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "not down: {seen:?}");
            let _ = tokio::time::timeout(Duration::from_millis(500), futures::StreamExt::next(&mut watch)).await;
        }
    }

    /// Ensures until the sandbox is wholly up.
    pub async fn up(&self, spec: &SandboxSpec) -> Seen {
        let start = Instant::now();
        let mut watch = self.orchestrator.watch();
        let mut before = String::new();
        loop {
            match self.orchestrator.ensure(spec).await {
                // Whoever else wrote at the same moment: it is tried again, as the reconciler does.
                Err(OrchestratorError::Caused(cause)) if cause.code == CauseCode::OrchestratorBusy => {}
                done => done.unwrap(),
            }
            let seen = self.orchestrator.observe(spec.id).await.unwrap();
            let run = seen.instance.as_ref().map(|run| run.restart_count);
            let now = format!("run of ask {run:?}, agent {:?}", seen.agent);
            if now != before {
                println!("  {:>6} ms: {now}", start.elapsed().as_millis());
                before = now;
            }
            let right = seen.instance.as_ref().is_some_and(|run| run.restart_count == spec.restart_count);
            if right && seen.network && seen.agent == AgentSeen::ShellStarted {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "not up: {seen:?}");
            let _ = tokio::time::timeout(Duration::from_millis(500), futures::StreamExt::next(&mut watch)).await;
        }
    }

    pub async fn until(&self, spec: &SandboxSpec, what: &str, condition: impl Fn(&Seen) -> bool) -> Seen {
        let start = Instant::now();
        let mut watch = self.orchestrator.watch();
        loop {
            let seen = self.orchestrator.observe(spec.id).await.unwrap();
            if condition(&seen) {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "waited for {what}: {seen:?}");
            let _ = tokio::time::timeout(Duration::from_millis(500), futures::StreamExt::next(&mut watch)).await;
        }
    }

    /// Removes a sandbox and its volume.
    pub async fn remove(&self, spec: &SandboxSpec) {
        let start = Instant::now();
        while self.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
            assert!(start.elapsed() < PATIENCE, "not gone: {:?}", self.orchestrator.list().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while self.orchestrator.remove_volume(&spec.volume).await.unwrap() != Removed::Gone {
            assert!(start.elapsed() < PATIENCE, "its volume is not gone");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn make_namespace(cluster: &Cluster) {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let wanted = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": cluster.namespace, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } }
    });
    api.patch(&cluster.namespace, &PatchParams::apply("fullstack-agent-tests").force(), &Patch::Apply(wanted)).await.unwrap();
}

pub fn spec(installation: InstallationId) -> SandboxSpec {
    let mut spec = engine::orchestrator::contract::spec();
    spec.installation = installation;
    spec.resources = Preset::Small.resources();
    spec.resources.disk_bytes = 1 << 30;
    spec
}

pub fn stopped(spec: &SandboxSpec) -> SandboxSpec {
    SandboxSpec { desired: Desired::Stopped, generation: spec.generation + 1, ..spec.clone() }
}

/// Runs a script inside, by the agent's `POST /v1/exec`.
pub async fn exec(orchestrator: &dyn Orchestrator, spec: &SandboxSpec, script: &str) -> Finished {
    let ask = ExecRequest {
        command: vec!["/bin/bash".into(), "-c".into(), script.into()],
        timeout_ms: Some(60_000),
        ..ExecRequest::default()
    };
    let io = orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    exec_to_end(io, &spec.agent_token, &ask, 1 << 20).await.unwrap()
}

/// The same, and it must succeed.
pub async fn sh(orchestrator: &dyn Orchestrator, spec: &SandboxSpec, script: &str) -> String {
    let done = exec(orchestrator, spec, script).await;
    assert_eq!(done.exit, ExecExit::Code(0), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

pub struct ByExec<'a>(pub &'a dyn Orchestrator);

#[async_trait::async_trait]
impl Files for ByExec<'_> {
    async fn write(&self, spec: &SandboxSpec, path: &str, text: &str) {
        sh(self.0, spec, &format!("printf %s '{text}' > ~/'{path}'")).await;
    }

    async fn read(&self, spec: &SandboxSpec, path: &str) -> Option<String> {
        let read = exec(self.0, spec, &format!("cat ~/'{path}'")).await;
        read.stderr.is_empty().then(|| String::from_utf8_lossy(&read.stdout).into_owned())
    }
}
