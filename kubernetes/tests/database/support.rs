//! A namespace of the test cluster, what a test does behind a provider's back in it, and its end.

use super::{
    definitions::{self, Served},
    left_out::skipped,
    operator::Operator,
};
use anyhow::Context as _;
use engine::database::{
    Database, DatabaseError, DatabaseSeen, DatabaseSpec, Glance,
    contract::{Behind, Subject, names},
};
use engine::orchestrator::{DatabaseEndpoint, Orchestrator as _, Removed};
use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod, Secret, ServiceAccount},
        rbac::v1::{PolicyRule, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use kubernetes::{
    Cluster, Settings,
    database::{ClusterDatabase, inside::Bridge, kubeblocks::Version},
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
    settings::DatabaseProvider,
};
use model::{InstallationId, ProjectId, ResourceName, SandboxId, connection::Connection};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use std::{
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// How long anything on the test cluster may take.
pub const LONG: Duration = Duration::from_secs(180);

/// One cluster has one definition of KubeBlocks at a time: tests of another one wait. The first of a definition
/// installs it, and the last takes it away.
static GATE: (Mutex<Gate>, Condvar) =
    (Mutex::new(Gate { served: Served::Nothing, inside: 0, ready: false, leaving: false }), Condvar::new());

struct Gate {
    served: Served,
    inside: usize,
    /// The cluster serves it.
    ready: bool,
    /// The last one is about to go.
    leaving: bool,
}

struct Pass;

impl Pass {
    /// And whether it is the first.
    fn enter(served: Served) -> (Self, bool) {
        let mut gate = Self::gate();
        while gate.inside > 0 && (gate.served != served || gate.leaving || !gate.ready) {
            gate = GATE.1.wait(gate).unwrap_or_else(|held| held.into_inner());
        }
        let first = gate.inside == 0;
        (gate.served, gate.inside) = (served, gate.inside + 1);
        (Self, first)
    }

    fn gate() -> MutexGuard<'static, Gate> {
        GATE.0.lock().unwrap_or_else(|held| held.into_inner())
    }

    fn ready(&self) {
        Self::gate().ready = true;
        GATE.1.notify_all();
    }

    /// Whether it is the last: then nobody comes in until it is out.
    fn leave(&self) -> bool {
        let mut gate = Self::gate();
        gate.leaving = gate.inside == 1;
        gate.leaving
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut gate = Self::gate();
        gate.inside -= 1;
        if gate.inside == 0 {
            (gate.ready, gate.leaving) = (false, false);
        }
        GATE.1.notify_all();
    }
}

/// A namespace that enforces Pod Security `restricted`, and goes with its test.
pub struct World {
    pub cluster: Cluster,
    pub operator: Option<Operator>,
    pub asked: Asked,
    kubeconfig: Kubeconfig,
    pass: Pass,
}

/// What was asked of the apiserver: method and path.
pub type Asked = Arc<Mutex<Vec<String>>>;

async fn client(kubeconfig: &Kubeconfig, asked: &Asked) -> Client {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await.unwrap();
    let asked = Arc::clone(asked);
    let note = move |request: http::Request<kube::client::Body>| {
        asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        request
    };
    ClientBuilder::try_from(config).unwrap().with_layer(&tower::util::MapRequestLayer::new(note)).build()
}

impl World {
    pub async fn start(served: Served) -> Option<Self> {
        let Some(path) = std::env::var_os("FSA_TEST_KUBECONFIG") else {
            skipped("FSA_TEST_KUBECONFIG names no kubeconfig of a test cluster");
            return None;
        };
        let kubeconfig = Kubeconfig::read_from(path).unwrap();
        let (pass, first) = Pass::enter(served);
        let asked = Asked::default();
        let client = client(&kubeconfig, &asked).await;
        if first && !serve(&client, served).await {
            skipped("the cluster has KubeBlocks of its own");
            return None;
        }
        pass.ready();
        let id = Uuid::new_v4().simple().to_string();
        let name = format!("fsa-db-{}", &id[..8]);
        let namespace = json!({"metadata": {"name": name, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted", "fullstackagent.io/test": "database"}}});
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        until("the namespace has its account", async || accounts.get_opt("default").await.unwrap().is_some()).await;
        let cluster = Cluster { client, namespace: name };
        let operator = match served {
            Served::Nothing => None,
            Served::V1 => Some(Operator::start(&cluster, Version::V1)),
            Served::V1alpha1 => Some(Operator::start(&cluster, Version::V1alpha1)),
        };
        Some(Self { cluster, operator, asked, kubeconfig, pass })
    }

    pub fn settings(&self, provider: DatabaseProvider) -> Settings {
        let mut settings = Settings::new(InstallationId(Uuid::new_v4()), &self.cluster.namespace);
        settings.database.provider = provider;
        settings.database.image = image();
        // Many are made on few cores.
        settings.database.cpu_millis = (5, 1000);
        settings.database.memory_bytes = (32 << 20, 512 << 20);
        settings.database.disk_bytes = 64 << 20;
        settings
    }

    /// The same namespace, as an account that may this and no more.
    pub async fn narrow(&self, rules: &[PolicyRule]) -> Cluster {
        let (admin, namespace) = (&self.cluster.client, &self.cluster.namespace);
        let name = format!("fsa-{}", Uuid::new_v4().simple());
        let (meta, post) = (json!({"name": name}), PostParams::default());
        let role: Role = serde_json::from_value(json!({"metadata": meta, "rules": rules})).unwrap();
        Api::namespaced(admin.clone(), namespace).create(&post, &role).await.unwrap();
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": meta})).unwrap();
        Api::namespaced(admin.clone(), namespace).create(&post, &account).await.unwrap();
        let binding: RoleBinding = serde_json::from_value(
            json!({"metadata": meta, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]}),
        )
        .unwrap();
        Api::namespaced(admin.clone(), namespace).create(&post, &binding).await.unwrap();
        let mut kubeconfig = self.kubeconfig.clone();
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            user.impersonate = Some(format!("system:serviceaccount:{namespace}:{name}"));
        }
        let narrow = Cluster { client: client(&kubeconfig, &self.asked).await, namespace: namespace.clone() };
        // The apiserver's authorizer sees a new Role a moment later.
        let secrets: Api<Secret> = Api::namespaced(narrow.client.clone(), namespace);
        until("the Role counts", async || secrets.list(&ListParams::default()).await.is_ok()).await;
        narrow
    }

    /// The same namespace, as an account that may this but for one verb on one resource.
    pub async fn without(&self, rules: &[PolicyRule], verb: &str, resource: &str) -> Cluster {
        let mut left = rules.to_vec();
        let mut withdrawn = false;
        for rule in left.iter_mut().filter(|rule| rule.resources.as_ref().unwrap()[0] == resource) {
            withdrawn |= rule.verbs.iter().any(|has| has == verb);
            rule.verbs.retain(|has| has != verb);
        }
        assert!(withdrawn, "{verb} {resource}");
        self.narrow(&left).await
    }

    /// The same by a client of its own, and what that one asks.
    pub async fn counted(&self) -> (Cluster, Asked) {
        let asked = Asked::default();
        let client = client(&self.kubeconfig, &asked).await;
        (Cluster { client, namespace: self.cluster.namespace.clone() }, asked)
    }

    pub async fn database(&self, settings: &Settings) -> ClusterDatabase {
        ClusterDatabase::new(self.cluster.clone(), settings, Reach::Outside).await.unwrap()
    }
}

impl Drop for World {
    /// The Clusters first, with their finalizers, or their namespace would never end.
    fn drop(&mut self) {
        let (kubeconfig, namespace, operator) = (self.kubeconfig.clone(), self.cluster.namespace.clone(), self.operator.take());
        let last = self.pass.leave();
        let end = move || async move {
            let client = client(&kubeconfig, &Asked::default()).await;
            if let Some(operator) = &operator {
                let clusters: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource(operator.version));
                for cluster in clusters.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                    let none = json!({"metadata": {"finalizers": null}});
                    let _ = clusters.patch(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(none)).await;
                }
            }
            let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
            let namespaces: Api<Namespace> = Api::all(client.clone());
            let _ = namespaces.delete(&namespace, &DeleteParams::default()).await;
            let _ = pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await;
            if last {
                serve(&client, Served::Nothing).await;
            }
        };
        let _ =
            std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(end()))
                .join();
    }
}

pub fn image() -> String {
    std::env::var("FSA_TEST_POSTGRES_IMAGE").unwrap_or_else(|_| "fsa.local/postgres:dev".to_owned())
}

pub fn resource(version: Version) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps.kubeblocks.io", version.as_str(), "Cluster"), "clusters")
}

async fn is_served(client: &Client, served: Served) -> bool {
    let kinds = async |version: &str| match client.list_api_group_resources(&format!("apps.kubeblocks.io/{version}")).await {
        Ok(served) => served.resources.into_iter().map(|resource| resource.name).collect(),
        Err(_) => Vec::new(),
    };
    let (v1, v1alpha1) = (kinds("v1").await, kinds("v1alpha1").await);
    let has = |name: &str| v1alpha1.iter().any(|served| served == name);
    match served {
        Served::Nothing => v1.is_empty() && v1alpha1.is_empty(),
        Served::V1 => !v1.is_empty(),
        Served::V1alpha1 => v1.is_empty() && has("clusters") && has("opsrequests"),
    }
}

/// Makes the cluster serve this definition, and no other. `false`: it has one of its own, which is left as it is.
async fn serve(client: &Client, served: Served) -> bool {
    if !clear(client, &definitions::NAMES).await {
        return false;
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    until("nothing is served", async || is_served(client, Served::Nothing).await).await;
    for definition in definitions::installed(served) {
        let apply = PatchParams::apply("test").force();
        definitions.patch(definition["metadata"]["name"].as_str().unwrap(), &apply, &Patch::Apply(&definition)).await.unwrap();
    }
    until("the definition is served", async || is_served(client, served).await).await;
    true
}

/// Takes away those of these definitions that tests have installed. `false`: one is the cluster's own (with it go all
/// objects of its kind), and none is touched.
pub async fn clear(client: &Client, names: &[&str]) -> bool {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut there = Vec::new();
    for name in names {
        let Some(definition) = definitions.get_opt(name).await.unwrap() else { continue };
        if !definition.labels().contains_key(definitions::OURS) {
            return false;
        }
        there.push(*name);
    }
    for name in there {
        definitions.delete(name, &DeleteParams::default()).await.unwrap();
        until("the old definition is gone", async || definitions.get_opt(name).await.unwrap().is_none()).await;
    }
    true
}

pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is().await {
        assert!(Instant::now() < deadline, "within {LONG:?}, not: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A database that is made, beside a sandbox of which nothing ever runs: its own objects are all that is needed of it.
pub async fn beside_a_sandbox(
    world: &World,
    settings: &mut Settings,
) -> (ClusterDatabase, Arc<KubernetesOrchestrator>, DatabaseSpec) {
    settings.image = "fsa.local/never-made:dev".to_owned();
    settings.image_pull_policy = "Never".to_owned();
    let database = world.database(settings).await.with_patience(LONG);
    let orchestrator = KubernetesOrchestrator::new(world.cluster.clone(), settings.clone(), Reach::Outside).unwrap();
    let mut sandbox = engine::orchestrator::contract::spec();
    sandbox.installation = settings.installation;
    let spec =
        DatabaseSpec { project: sandbox.project, sandbox: sandbox.id, name: sandbox.name.clone(), ..spec(settings.installation) };
    orchestrator.ensure(&sandbox).await.unwrap();
    database.ensure(&spec).await.unwrap();
    (database, orchestrator, spec)
}

pub fn spec(installation: InstallationId) -> DatabaseSpec {
    let id = Uuid::new_v4();
    let (slug, name) = names(id);
    DatabaseSpec {
        project: ProjectId(id),
        sandbox: SandboxId(id),
        slug,
        name,
        installation,
        role: format!("p_{}", id.simple()),
        database: format!("d_{}", id.simple()),
        password: "it's a \\password".into(),
    }
}

/// A pod of that name, with the variables of a sandbox that has this database, makes a table there and reads it.
pub async fn connects(world: &World, name: &str, connection: &Connection) {
    let env: Vec<_> = connection.variables().into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let pod = json!({"metadata": {"name": name}, "spec": {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "client", "image": image(), "env": env,
            "command": ["sh", "-c", "psql -v ON_ERROR_STOP=1 -c 'CREATE TABLE a (b int)' && psql \"$POSTGRES_URL\" -c 'TABLE a'"],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    }});
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let phase = async || pods.get(name).await.unwrap().status.unwrap().phase.unwrap_or_default();
    until("the client is done", async || matches!(phase().await.as_str(), "Succeeded" | "Failed")).await;
    let log = pods.logs(name, &Default::default()).await.unwrap();
    assert_eq!(phase().await, "Succeeded", "{log}");
}

/// The subject of a suite, with its world.
pub async fn subject(served: Served, provider: DatabaseProvider) -> Option<Subject> {
    let world = World::start(served).await?;
    let settings = world.settings(provider);
    let installation = settings.installation;
    let database = Arc::new(world.database(&settings).await.with_patience(LONG));
    let other = Settings { installation: InstallationId(Uuid::new_v4()), ..settings };
    let foreign = world.database(&other).await.with_patience(LONG);
    let behind = Arc::new(Beyond { foreign, foreigner: other.installation, served, world });
    Some(Subject { database: Arc::new(Strided(database)), installation, behind })
}

/// The other side: projects' servers, entered as a superuser by their Secrets, or as the projects' roles.
pub struct Beyond {
    foreign: ClusterDatabase,
    foreigner: InstallationId,
    served: Served,
    pub world: World,
}

/// A connection, with the way it takes.
pub struct Inside {
    pub connection: PgConnection,
    _bridge: Bridge,
}

/// Enters the server of a project: `pod` is called the same by all providers.
pub async fn enter(cluster: &Cluster, name: &str, user: &str, password: &str, database: &str) -> anyhow::Result<Inside> {
    enter_pod(cluster, &format!("{name}-postgresql-0"), user, password, database).await
}

/// The same by the name of the pod.
pub async fn enter_pod(cluster: &Cluster, pod: &str, user: &str, password: &str, database: &str) -> anyhow::Result<Inside> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pod = pods.get(pod).await.context("find its pod")?;
    let bridge = Bridge::open(cluster, Reach::Outside, &Arc::new(pod)).await?;
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(bridge.port());
    let connection = PgConnection::connect_with(&options.username(user).password(password).database(database)).await?;
    Ok(Inside { connection, _bridge: bridge })
}

impl Beyond {
    /// The project's name, of the id that its role or database ends in.
    fn name(text: &str) -> ResourceName {
        names(text[text.len() - 32..].parse().unwrap()).1
    }

    async fn admin(&self, name: &ResourceName) -> anyhow::Result<Inside> {
        let secret = match self.served {
            Served::Nothing => format!("{name}-postgresql"),
            Served::V1 => format!("{name}-postgresql-account-postgres"),
            Served::V1alpha1 => format!("{name}-conn-credential"),
        };
        let cluster = &self.world.cluster;
        let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let data = secrets.get(&secret).await?.data.context("a Secret without data")?;
        let password = String::from_utf8(data["password"].0.clone())?;
        enter(cluster, name.as_str(), "postgres", &password, "postgres").await
    }

    async fn run(&self, name: &ResourceName, statement: String) {
        let mut inside = self.admin(name).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut inside.connection).await.unwrap();
    }

    async fn enter(&self, as_: &Connection) -> anyhow::Result<Inside> {
        let name = as_.host.split("-postgresql").next().unwrap();
        enter(&self.world.cluster, name, &as_.user, &as_.password, &as_.database).await
    }
}

#[async_trait::async_trait]
impl Behind for Beyond {
    async fn write(&self, to: &Connection, note: &str) -> anyhow::Result<()> {
        let mut inside = self.enter(to).await?;
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS notes (id serial, note text)").execute(&mut inside.connection).await?;
        sqlx::query("INSERT INTO notes (note) VALUES ($1)").bind(note).execute(&mut inside.connection).await?;
        Ok(())
    }

    async fn notes(&self, of: &Connection) -> anyhow::Result<Vec<String>> {
        let mut inside = self.enter(of).await?;
        Ok(sqlx::query_scalar("SELECT note FROM notes ORDER BY id").fetch_all(&mut inside.connection).await?)
    }

    async fn hold(&self, to: &Connection) -> anyhow::Result<BoxFuture<'static, ()>> {
        let mut inside = self.enter(to).await?;
        Ok(async move {
            let _ = sqlx::query("SELECT pg_sleep(600)").execute(&mut inside.connection).await;
        }
        .boxed())
    }

    /// A whole server of the project's name, of another installation.
    async fn put_foreign(&self, role: &str, database: Option<&str>) {
        let name = Self::name(role);
        let theirs = DatabaseSpec { name: name.clone(), ..spec(self.foreigner) };
        self.foreign.ensure(&theirs).await.unwrap();
        self.run(&name, format!("CREATE ROLE {role} LOGIN")).await;
        if let Some(database) = database {
            self.run(&name, format!("CREATE DATABASE {database} OWNER {role}")).await;
        }
    }

    async fn lose(&self, database: &str) {
        self.run(&Self::name(database), format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }

    async fn there(&self, role: &str, database: &str) -> (bool, bool) {
        let Ok(mut inside) = self.admin(&Self::name(role)).await else { return (false, false) };
        sqlx::query_as(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $2)",
        )
        .bind(role)
        .bind(database)
        .fetch_one(&mut inside.connection)
        .await
        .unwrap()
    }
}

/// The same database, whose verbs are broken off in strides: the contract breaks a verb off after its first,
/// second, third poll, and makes a server for each; on a cluster a verb has hundreds. So each poll that it sees
/// stands for a growing number of them.
struct Strided(Arc<ClusterDatabase>);

struct Strides<T> {
    done: tokio::task::JoinHandle<T>,
    polled: mpsc::UnboundedReceiver<()>,
}

impl<T> Drop for Strides<T> {
    fn drop(&mut self) {
        self.done.abort();
    }
}

impl<T> Future for Strides<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Poll::Ready(done) = self.done.poll_unpin(context) {
            return Poll::Ready(done.unwrap());
        }
        // Each poll takes what was told until now, and waits for the next.
        while let Poll::Ready(Some(())) = self.polled.poll_recv(context) {}
        Poll::Pending
    }
}

fn strided<T: Send + 'static>(verb: impl Future<Output = T> + Send + 'static) -> Strides<T> {
    let (tell, polled) = mpsc::unbounded_channel();
    let mut verb = Box::pin(verb);
    let (mut polls, mut next) = (0_usize, 2);
    let done = tokio::spawn(std::future::poll_fn(move |context| {
        polls += 1;
        if polls >= next {
            next *= 2;
            let _ = tell.send(());
        }
        verb.poll_unpin(context)
    }));
    Strides { done, polled }
}

#[async_trait::async_trait]
impl Database for Strided {
    async fn ensure(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        let (database, spec) = (Arc::clone(&self.0), spec.clone());
        strided(async move { database.ensure(&spec).await }).await
    }

    async fn observe(&self, spec: &DatabaseSpec) -> Result<DatabaseSeen, DatabaseError> {
        self.0.observe(spec).await
    }

    async fn stop(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        self.0.stop(spec).await
    }

    fn glance(&self, spec: &DatabaseSpec) -> Option<Glance> {
        self.0.glance(spec)
    }

    fn watch(&self) -> BoxStream<'static, SandboxId> {
        self.0.watch()
    }

    async fn remove(&self, spec: &DatabaseSpec) -> Result<Removed, DatabaseError> {
        let (database, spec) = (Arc::clone(&self.0), spec.clone());
        strided(async move { database.remove(&spec).await }).await
    }

    fn credentials(&self, spec: &DatabaseSpec) -> Connection {
        self.0.credentials(spec)
    }

    fn endpoint(&self) -> Option<DatabaseEndpoint> {
        self.0.endpoint()
    }

    async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError> {
        self.0.list().await
    }
}
