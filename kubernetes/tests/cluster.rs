//! What is promised beyond the contract, on a real cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

mod support;

use engine::orchestrator::{AgentOrPort, AgentSeen, ConnectError, LogSource, Orchestrator as _, Removed};
use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, IngressClass, NetworkPolicy},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kubernetes::{
    Cluster, Settings, doctor::permissions, index::health::Health, names, orchestrator::KubernetesOrchestrator, reach::Reach,
    settings::IngressSettings,
};
use model::{CauseCode, InstallationId};
use sandbox_agent::{
    client::exec_to_end,
    protocol::http::{AgentEvent, ExecRequest},
};
use serde_json::json;
use std::time::{Duration, Instant};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_create_asks_little_and_an_unchanged_pass_nothing() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings {
            domain: "sandboxes.example.com".to_owned(),
            tls_secret: None,
            class: None,
            annotations: None,
            auth_url: Some("http://control.plane:4000".to_owned()),
            sign_in_url: None,
        });
    })
    .await;
    let spec = world.spec();
    world.asked.take();
    let began = Instant::now();
    world.up(&spec).await;
    let took = began.elapsed();
    let calls = world.asked.take_calls();
    println!("first create, volume included: {took:?}, {} requests", calls.len());
    assert!(calls.len() <= 15, "{calls:#?}");
    for _ in 0..3 {
        world.orchestrator.ensure(&spec).await.unwrap();
        world.orchestrator.observe(spec.id).await.unwrap();
    }
    assert_eq!(world.asked.take_calls(), [], "an unchanged pass asks nothing");
    let mut restarted = spec.clone();
    restarted.restart_count += 1;
    let began = Instant::now();
    world.up(&restarted).await;
    println!("restart to a shell: {:?}, {} requests", began.elapsed(), world.asked.take_calls().len());
    let began = Instant::now();
    world.down(&restarted).await;
    println!("stop: {:?}, {} requests", began.elapsed(), world.asked.take_calls().len());
    let mut again = restarted.clone();
    again.restart_count += 1;
    let began = Instant::now();
    world.up(&again).await;
    println!("start of a stopped one to a shell: {:?}, {} requests", began.elapsed(), world.asked.take_calls().len());
    let began = Instant::now();
    while world.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("terminate to nothing left: {:?}, {} requests", began.elapsed(), world.asked.take_calls().len());
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_class_that_is_missing_is_told_of_beside_a_sandbox_that_runs() {
    or_skip!(skip());
    let class = format!("fsa-test-{}", Uuid::new_v4().simple());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings {
            domain: "sandboxes.example.com".to_owned(),
            tls_secret: None,
            class: Some(class.clone()),
            annotations: None,
            auth_url: None,
            sign_in_url: None,
        });
    })
    .await;
    let spec = world.spec();
    world.up(&spec).await;
    let missing = |seen: &engine::orchestrator::Seen| {
        seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::IngressClassMissing && cause.message.contains(&class))
    };
    let seen = world.until(&spec, "the cause", missing).await;
    assert_eq!(seen.agent, AgentSeen::ShellStarted, "it runs all the same");
    // Once it is there, nothing is missing; and it is told of again when it goes.
    let classes: Api<IngressClass> = Api::all(world.cluster.client.clone());
    let made = json!({"metadata": {"name": class}, "spec": {"controller": "example.com/nobody"}});
    classes.create(&PostParams::default(), &serde_json::from_value(made).unwrap()).await.unwrap();
    let told = world.until(&spec, "no cause", |seen| seen.cause.is_none()).await;
    assert_eq!(told.agent, AgentSeen::ShellStarted);
    classes.delete(&class, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the cause again", missing).await;
    world.asked.take();
    world.orchestrator.observe(spec.id).await.unwrap();
    assert_eq!(world.asked.take_calls(), [], "it is watched, not asked for");
    world.remove(&spec).await;
}

/// A node that nobody is behind, gone with its test.
struct FakeNode {
    nodes: Api<Node>,
    name: String,
}

impl FakeNode {
    async fn new(world: &World) -> Self {
        let (nodes, name) = (Api::all(world.cluster.client.clone()), format!("fsa-test-{}", Uuid::new_v4().simple()));
        // Nobody else's pods come to it.
        let taint = json!([{"key": "fsa-test", "effect": "NoSchedule"}]);
        let node = json!({"metadata": {"name": name}, "spec": {"taints": taint}});
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let this = Self { nodes, name };
        this.ready("True").await;
        this
    }

    async fn ready(&self, status: &str) {
        let ready = json!({"type": "Ready", "status": status, "reason": "Test", "message": "as the test says"});
        let patch = json!({"status": {"conditions": [ready]}});
        self.nodes.patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        let (nodes, name) = (self.nodes.clone(), self.name.clone());
        let gone = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move { nodes.delete(&name, &DeleteParams::default()).await }).map(|_| ())
        };
        // The test's own runtime ends with it, and would leave the node behind.
        let _ = std::thread::spawn(gone).join();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_is_told_of_at_once() {
    or_skip!(skip());
    let world = World::new().await;
    let node = FakeNode::new(&world).await;
    let mut spec = world.spec();
    // More than any node has, so that the scheduler leaves the pod to us.
    spec.resources.request_cpu_millis = 1_000_000;
    spec.resources.limit_cpu_millis = 1_000_000;
    world.orchestrator.ensure(&spec).await.unwrap();
    world
        .until(&spec, "a pod that nobody takes", |seen| {
            seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::Unschedulable)
        })
        .await;
    let pods: Api<Pod> = world.api();
    let mine = pods.list(&ListParams::default().labels(&format!("app={}", spec.name))).await.unwrap();
    let pod = mine.items[0].metadata.name.clone().unwrap();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node.name}});
    let bound: Result<kube::core::Status, _> = pods.create_subresource("binding", &pod, &PostParams::default(), &binding).await;
    bound.unwrap();
    world.until(&spec, "a pod on its node", |seen| seen.cause.is_none()).await;
    let began = Instant::now();
    node.ready("Unknown").await;
    let lost = |seen: &engine::orchestrator::Seen| seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::NodeLost);
    world.until(&spec, "the lost node", lost).await;
    println!("told after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    node.ready("True").await;
    world.until(&spec, "the node that is back", |seen| !lost(seen)).await;
    pods.delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_one_namespace_is_told_nothing_of_nodes_and_classes_and_works() {
    or_skip!(skip());
    let (admin, _) = client(config().await);
    let cluster = Cluster { client: admin.clone(), namespace: namespace() };
    World::new().await;
    let name = format!("fsa-small-{}", Uuid::new_v4().simple());
    let mut settings = Settings::new(InstallationId(Uuid::new_v4()), &cluster.namespace);
    settings.ingress = Some(IngressSettings {
        domain: "sandboxes.example.com".to_owned(),
        tls_secret: None,
        class: None,
        annotations: None,
        auth_url: None,
        sign_in_url: None,
    });
    let rules = permissions::rules(&settings, permissions::Databases::StatefulSet);
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), &cluster.namespace);
    let roles: Api<Role> = Api::namespaced(admin.clone(), &cluster.namespace);
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), &cluster.namespace);
    let post = PostParams::default();
    let meta = json!({"name": name});
    accounts.create(&post, &serde_json::from_value(json!({"metadata": meta})).unwrap()).await.unwrap();
    roles.create(&post, &serde_json::from_value(json!({"metadata": meta, "rules": rules})).unwrap()).await.unwrap();
    let binding = json!({"metadata": meta, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": cluster.namespace}]});
    bindings.create(&post, &serde_json::from_value(binding).unwrap()).await.unwrap();
    let token = accounts.create_token_request(&name, &post, &Default::default()).await.unwrap().status.unwrap().token;
    let mut small = config().await;
    small.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
    let (client, _) = client(small);
    let cluster = Cluster { client, namespace: cluster.namespace };
    let orchestrator = KubernetesOrchestrator::new(cluster, settings, Reach::Outside).unwrap();
    assert!(orchestrator.index().synced(PATIENCE).await, "{:?}", *orchestrator.health().borrow());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(orchestrator.health().borrow().is_fresh(), "what may not be seen is no fault: {:?}", *orchestrator.health().borrow());
    let pod: Pod = serde_json::from_value(json!({"spec": {"nodeName": "any", "containers": []}})).unwrap();
    assert_eq!(orchestrator.index().read().node_ready(&pod), None);
    assert_eq!(orchestrator.index().read().ingress_class_present(&Ingress::default()), None);
    bindings.delete(&name, &DeleteParams::default()).await.unwrap();
    roles.delete(&name, &DeleteParams::default()).await.unwrap();
    accounts.delete(&name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_is_neither_adopted_nor_deleted() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    let services: Api<Service> = world.api();
    let theirs: Service = serde_json::from_value(json!({
        "metadata": { "name": spec.name.as_str(), "labels": { "app": "theirs" } },
        "spec": { "ports": [{ "port": 80 }], "selector": { "app": "theirs" } }
    }))
    .unwrap();
    services.create(&PostParams::default(), &theirs).await.unwrap();
    let refused = world.orchestrator.ensure(&spec).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{refused}") };
    assert_eq!(cause.code, CauseCode::NameTaken, "{cause:?}");
    assert!(cause.message.contains(spec.name.as_str()), "{cause:?}");
    let made = world.orchestrator.list().await.unwrap();
    assert!(made.iter().all(|object| object.kind != "Deployment"), "nothing runs beside it: {made:?}");
    // One of another installation is as foreign.
    let other = World::of(InstallationId(Uuid::new_v4()), config().await, |_| {}).await;
    assert_eq!(other.orchestrator.remove(spec.id).await.unwrap(), Removed::Gone);
    world.remove(&spec).await;
    let left = services.get(spec.name.as_str()).await.unwrap();
    assert_eq!(left.metadata.labels.unwrap()["app"], "theirs");
    assert_eq!(left.spec.unwrap().ports.unwrap()[0].port, 80);
    services.delete(spec.name.as_str(), &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_changed_by_hand_is_mended() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    let name = spec.name.as_str();
    let services: Api<Service> = world.api();

    services.delete(name, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the missing Service", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first, "its run goes on");
    services.get(name).await.unwrap();

    let another = json!({ "spec": { "ports": [{ "name": "mine", "port": 9999, "protocol": "TCP" }] } });
    services.patch(name, &PatchParams::default(), &Patch::Strategic(another)).await.unwrap();
    world.until(&spec, "the changed Service", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first);
    let ports = services.get(name).await.unwrap().spec.unwrap().ports.unwrap();
    assert_eq!(ports.len(), names::SERVICE_PORTS.len(), "{ports:?}");

    let policies: Api<NetworkPolicy> = world.api();
    let open = json!({ "spec": { "ingress": [{}] } });
    policies.patch(name, &PatchParams::default(), &Patch::Merge(open)).await.unwrap();
    world.until(&spec, "the changed policy", |seen| !seen.network).await;
    world.up(&spec).await;
    assert_eq!(policies.get(name).await.unwrap().spec.unwrap().ingress.unwrap_or_default(), []);

    let deployments: Api<Deployment> = world.api();
    deployments.delete(name, &DeleteParams::background()).await.unwrap();
    world.until(&spec, "the end of the run", |seen| seen.instance.is_none()).await;
    let second = world.up(&spec).await.instance.unwrap();
    assert_ne!(second.id, first.id);

    let scaled = json!({ "spec": { "replicas": 0 } });
    deployments.patch(name, &PatchParams::default(), &Patch::Merge(scaled)).await.unwrap();
    world.until(&spec, "the end of the run", |seen| seen.instance.is_none()).await;
    world.up(&spec).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_by_itself_is_told_of_with_its_cause() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    // The agent ends with everything when it is asked to.
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    sandbox_agent::client::shutdown(io, &spec.agent_token, Duration::from_millis(100)).await.unwrap();
    let seen = world.until(&spec, "the end", |seen| seen.ended_by_itself == 1).await;
    assert!(seen.ended_at.is_some());
    let second = world.up(&spec).await;
    assert_ne!(second.instance.as_ref().unwrap().id, first.id, "another run");
    assert_eq!(second.ended_by_itself, 1, "it is remembered");
    let mut lines = world.orchestrator.logs(spec.id, LogSource::Sandbox).await.unwrap();
    let line = tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().unwrap();
    assert!(line.at.is_some(), "{line:?}");
    let mut events = world.orchestrator.logs(spec.id, LogSource::Keeper).await.unwrap();
    let mut told = String::new();
    while !told.contains("Started") {
        told = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().text;
    }
    assert!(told.starts_with(&format!("Pod {}", spec.name)), "{told}");
    // A pod that is deleted by hand has ended by itself as well.
    let pods: Api<Pod> = world.api();
    let mine = pods.list(&ListParams::default().labels(&format!("app={}", spec.name))).await.unwrap();
    pods.delete(mine.items[0].metadata.name.as_deref().unwrap(), &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the second end", |seen| seen.ended_by_itself == 2).await;
    world.up(&spec).await;
    // A restart that was asked for has not.
    let mut restarted = spec.clone();
    restarted.restart_count += 1;
    assert_eq!(world.up(&restarted).await.ended_by_itself, 0);
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_told_of() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.image = "fsa.local/never-made:dev".to_owned();
        settings.image_pull_policy = "Never".to_owned();
    })
    .await;
    let spec = world.spec();
    world.orchestrator.ensure(&spec).await.unwrap();
    let seen = world.until(&spec, "the cause", |seen| seen.cause.is_some()).await;
    assert!(seen.present && seen.instance.is_none());
    assert!(seen.cause.unwrap().message.contains("never-made"));
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_ends_again_and_again_is_told_of_with_its_last_words() {
    or_skip!(skip());
    let world = World::with(|settings| settings.listen = "192.0.2.1".parse().unwrap()).await;
    let spec = world.spec();
    world.orchestrator.ensure(&spec).await.unwrap();
    let looped = |seen: &engine::orchestrator::Seen| {
        let loops = seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::CrashLoop);
        seen.ended_by_itself >= 2 && loops && format!("{:?}", seen.cause).contains("192.0.2.1")
    };
    world.until(&spec, "a crash loop with what it said last", looped).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_the_agent_gets_it() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.image = "fsa.local/base:dev".to_owned();
        settings.runtime = kubernetes::settings::Runtime::Injected { image: "fsa.local/agent:dev".to_owned() };
    })
    .await;
    let spec = world.spec();
    world.up(&spec).await;
    let said = sh(world.orchestrator.as_ref(), &spec, "id -un; echo $HOME; touch ~/here && ls ~/here").await;
    assert_eq!(said, "agent\n/home/agent\n/home/agent/here\n");
    let mut lines = world.orchestrator.logs(spec.id, LogSource::Install).await.unwrap();
    let line = tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().unwrap();
    assert!(line.text.contains("sandbox-agent"), "{line:?}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_for_want_of_memory_is_told_of_while_the_sandbox_runs() {
    or_skip!(skip());
    let world = World::with(|settings| {
        let image = std::env::var("FSA_TEST_AGENT_IMAGE").unwrap_or_else(|_| "fsa.local/agent:dev".to_owned());
        settings.runtime = kubernetes::settings::Runtime::Injected { image };
    })
    .await;
    let spec = world.spec();
    let run = world.up(&spec).await.instance.unwrap();
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let mut events = std::pin::pin!(sandbox_agent::client::events(io, &spec.agent_token).await.unwrap());
    let began = Instant::now();
    let script = "python3 -c 'x = bytearray(600 << 20)'; echo ended by $?";
    let orchestrator = world.orchestrator.clone();
    let (id, token) = (spec.id, spec.agent_token.clone());
    let eaten = tokio::spawn(async move {
        let io = orchestrator.connect(id, AgentOrPort::Agent).await.unwrap();
        let ask = ExecRequest { command: vec!["sh".into(), "-c".into(), script.into()], ..ExecRequest::default() };
        exec_to_end(io, &token, &ask, 1 << 16).await
    });
    let told = async {
        while let Some(Ok(event)) = events.next().await {
            if let AgentEvent::Usage(usage) = event
                && usage.oom_killed_at.is_some()
            {
                return true;
            }
        }
        false
    };
    let told = tokio::time::timeout(PATIENCE, told).await.unwrap_or(false);
    if told {
        // The process alone: the agent tells, and the sandbox goes on.
        println!("told after {:?}", began.elapsed());
        let said = String::from_utf8(eaten.await.unwrap().unwrap().stdout).unwrap();
        assert!(said.contains("ended by 137"), "{said}");
        assert_eq!(sh(world.orchestrator.as_ref(), &spec, "echo on").await, "on\n");
        let seen = world.orchestrator.observe(spec.id).await.unwrap();
        assert_eq!(seen.instance.unwrap().id, run.id, "the same run");
    } else {
        // Where the node has the kernel kill the whole group, the cluster tells.
        println!("the whole sandbox was killed");
        let killed = |seen: &engine::orchestrator::Seen| {
            seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::OutOfMemory && cause.message.contains("256 MiB"))
        };
        world.until(&spec, "the cause", killed).await;
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_inside_are_reached_and_nobody_is_told_of() {
    or_skip!(skip());
    ports_inside(&World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_outside_it_is_all_the_same() {
    or_skip!(skip());
    ports_inside(&World::reached_by(InstallationId(Uuid::new_v4()), config().await, Some(Reach::Forward), |_| {}).await).await;
}

async fn ports_inside(world: &World) {
    let spec = world.spec();
    world.up(&spec).await;
    let script = "nohup python3 -m http.server 3000 --bind 127.0.0.1 >/dev/null 2>&1 & \
        for n in $(seq 100); do (echo > /dev/tcp/127.0.0.1/3000) 2>/dev/null && exit 0; sleep 0.1; done; exit 1";
    sh(world.orchestrator.as_ref(), &spec, script).await;
    let mut io = world.orchestrator.connect(spec.id, AgentOrPort::Port(3000)).await.unwrap();
    io.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer));
    let refused = world.orchestrator.connect(spec.id, AgentOrPort::Port(3999)).await.err().unwrap();
    assert!(matches!(refused, ConnectError::NobodyListens(3999)), "{refused}");
    // Nothing of the cluster, and no token, is inside.
    let big = sh(world.orchestrator.as_ref(), &spec, "head -c 900000 /dev/zero | tr '\\0' x").await;
    assert_eq!(big.len(), 900_000, "much goes through whole");
    let inside = sh(world.orchestrator.as_ref(), &spec, "env; ls /var/run/secrets 2>&1; id -u; touch ~/x && echo written").await;
    assert!(!inside.contains("FSA_AGENT_TOKEN") && !inside.contains("KUBERNETES_SERVICE_HOST=\n"), "{inside}");
    assert!(inside.contains("1000") && inside.contains("written") && !inside.contains("kubernetes.io"), "{inside}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_comes_by_a_secret_and_old_ones_go() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = world.spec();
    spec.env.insert("COLOUR".into(), "red and 'quoted' $x".into());
    spec.env.insert("HOME".into(), "/nowhere".into());
    world.up(&spec).await;
    let said = sh(world.orchestrator.as_ref(), &spec, "echo \"$COLOUR\" $HOME").await;
    assert_eq!(said, "red and 'quoted' $x /home/agent\n");
    let first = names::env_secret(&spec.name, spec.env_revision, spec.restart_count);
    spec.restart_count += 1;
    spec.env_revision += 1;
    spec.env.insert("COLOUR".into(), "blue".into());
    world.up(&spec).await;
    assert_eq!(sh(world.orchestrator.as_ref(), &spec, "echo $COLOUR").await, "blue\n");
    world.orchestrator.ensure(&spec).await.unwrap();
    let secrets: Api<Secret> = world.api();
    assert!(secrets.get_opt(&first).await.unwrap().is_none(), "the first is gone");
    // Other amounts are another run of the same ask.
    let run = world.orchestrator.observe(spec.id).await.unwrap().instance.unwrap();
    spec.resources.limit_memory_bytes *= 2;
    world.orchestrator.ensure(&spec).await.unwrap();
    let seen = world.until(&spec, "the bigger run", |seen| {
        seen.agent == AgentSeen::ShellStarted && seen.instance.as_ref().is_some_and(|now| now.id != run.id)
    });
    assert_eq!(seen.await.ended_by_itself, 0, "it was asked for");
    // Stopped, it leaves no Secret with anybody's variables.
    world.down(&spec).await;
    let left = secrets.list(&ListParams::default().labels(&format!("app={}", spec.name))).await.unwrap();
    assert_eq!(
        left.items.iter().filter_map(|secret| secret.metadata.name.clone()).collect::<Vec<_>>(),
        [names::agent_secret(&spec.name)]
    );
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_volume_is_left_of_a_removed_sandbox() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    while world.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mine = ListParams::default().labels(&format!("fullstackagent.io/sandbox={}", spec.id));
    async fn left<K>(world: &World, mine: &ListParams) -> usize
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        world.api::<K>().list(mine).await.unwrap().items.len()
    }
    assert_eq!(left::<Deployment>(&world, &mine).await, 0);
    assert_eq!(left::<Pod>(&world, &mine).await, 0);
    assert_eq!(left::<Service>(&world, &mine).await, 0);
    assert_eq!(left::<Ingress>(&world, &mine).await, 0);
    assert_eq!(left::<NetworkPolicy>(&world, &mine).await, 0);
    assert_eq!(left::<Secret>(&world, &mine).await, 0);
    assert_eq!(left::<ServiceAccount>(&world, &mine).await, 0);
    assert_eq!(left::<ConfigMap>(&world, &mine).await, 0);
    assert_eq!(left::<PersistentVolumeClaim>(&world, &mine).await, 1, "its volume is");
    world.remove(&spec).await;
}

/// Between us and the apiserver, until it is told to hang up on everybody.
struct Proxy {
    address: std::net::SocketAddr,
    up: tokio::sync::watch::Sender<bool>,
    /// Passes nothing on, and hangs up on nobody.
    stalled: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    async fn to(host: String, port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (up, is_up) = tokio::sync::watch::channel(true);
        let (stalled, is_stalled) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (host, mut is_up, is_stalled) = (host.clone(), is_up.clone(), is_stalled.clone());
                tokio::spawn(async move {
                    if !*is_up.borrow() {
                        return;
                    }
                    let _ = is_stalled.clone().wait_for(|stalled| !*stalled).await;
                    let Ok(mut server) = tokio::net::TcpStream::connect((host.as_str(), port)).await else { return };
                    let mut hung = is_stalled.clone();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                        _ = is_up.wait_for(|up| !*up) => return,
                        _ = hung.wait_for(|stalled| *stalled) => {}
                    }
                    let _ = hung.wait_for(|stalled| !*stalled).await;
                });
            }
        });
        Self { address, up, stalled }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_goes_away_is_said_to_and_is_followed_when_it_is_back() {
    or_skip!(skip());
    let mut config = config().await;
    let url = config.cluster_url.clone();
    let proxy = Proxy::to(url.host().unwrap().to_owned(), url.port_u16().unwrap_or(443)).await;
    config.tls_server_name = Some(url.host().unwrap().to_owned());
    config.cluster_url = format!("https://{}", proxy.address).parse().unwrap();
    let world = World::of(InstallationId(Uuid::new_v4()), config, |_| {}).await;
    let direct = World::of(world.settings.installation, support::config().await, |_| {}).await;
    let spec = world.spec();
    world.up(&spec).await;
    let mut health = world.orchestrator.health();
    assert!(health.borrow_and_update().is_fresh());

    proxy.up.send(false).unwrap();
    let stale = tokio::time::timeout(PATIENCE, health.wait_for(|health| !health.is_fresh())).await.unwrap().unwrap().clone();
    let Health::Stale { cause, .. } = stale else { panic!("fresh") };
    assert_eq!(cause.code, CauseCode::OrchestratorUnreachable, "{cause:?}");
    let mut other = world.spec();
    other.name = spec.name.clone();
    let refused = world.orchestrator.remove(other.id).await;
    assert!(refused.is_err(), "what cannot be seen is not said to be gone: {refused:?}");

    // What happens meanwhile is seen afterwards: a stop by another replica.
    direct.down(&spec).await;
    assert!(world.orchestrator.observe(spec.id).await.unwrap().present, "it cannot know");
    proxy.up.send(true).unwrap();
    tokio::time::timeout(PATIENCE, health.wait_for(Health::is_fresh)).await.unwrap().unwrap();
    world.until(&spec, "what happened meanwhile", |seen| !seen.present).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_is_said_to() {
    or_skip!(skip());
    let mut config = config().await;
    let url = config.cluster_url.clone();
    let proxy = Proxy::to(url.host().unwrap().to_owned(), url.port_u16().unwrap_or(443)).await;
    config.tls_server_name = Some(url.host().unwrap().to_owned());
    config.cluster_url = format!("https://{}", proxy.address).parse().unwrap();
    let world = World::of(InstallationId(Uuid::new_v4()), config, |_| {}).await;
    let spec = world.spec();
    world.up(&spec).await;
    let mut health = world.orchestrator.health();
    proxy.stalled.send(true).unwrap();
    let mut restarted = spec.clone();
    restarted.restart_count += 1;
    let refused = world.orchestrator.ensure(&restarted).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{refused}") };
    assert_eq!(cause.code, CauseCode::OrchestratorUnreachable, "{cause:?}");
    tokio::time::timeout(PATIENCE, health.wait_for(|health| !health.is_fresh())).await.unwrap().unwrap();
    proxy.stalled.send(false).unwrap();
    tokio::time::timeout(PATIENCE, health.wait_for(Health::is_fresh)).await.unwrap().unwrap();
    world.up(&restarted).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apiserver_in_trouble_is_told_of_and_asked_again() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    for (code, reason) in
        [(429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable"), (409, "Conflict"), (403, "Forbidden")]
    {
        world.asked.refuse_the_next_write(code, reason);
        let refused = world.orchestrator.ensure(&spec).await.unwrap_err();
        let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{code}: {refused}") };
        assert!(!cause.message.is_empty() && !cause.next_steps.is_empty(), "{code}: {cause:?}");
        println!("{code}: {}", cause.message);
    }
    world.up(&spec).await;
    world.asked.refuse_the_next_write(500, "InternalError");
    assert!(world.orchestrator.remove(spec.id).await.is_err());
    world.remove(&spec).await;
}
