//! What is promised beyond the contract, on a real cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

mod support;

use engine::orchestrator::{
    AgentOrPort, AgentSeen, ConnectError, LogSource, Orchestrator as _, Removed, SandboxSpec, Seen, VolumeSeen,
};
use futures::{SinkExt as _, StreamExt as _};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authorization::v1::SelfSubjectAccessReview,
    core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, IngressClass, NetworkPolicy},
    rbac::v1::{PolicyRule, Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kubernetes::{
    Cluster, FIELD_MANAGER, Settings,
    doctor::{orphans, permissions},
    index::health::Health,
    labels::{Component, Owner},
    manifests::{CONTAINER, INSTALLER},
    names,
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
    settings::IngressSettings,
};
use model::{CauseCode, InstallationId};
use sandbox_agent::{
    client::{exec_to_end, websocket},
    protocol::{
        FSA_SUBPROTOCOL,
        frame::{ClientFrame, First, ServerFrame},
        http::{AgentEvent, ExecRequest},
    },
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_create_asks_little_and_an_unchanged_pass_nothing() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings {
            auth_url: Some("http://control.plane:4000".to_owned()),
            ..IngressSettings::new("sandboxes.example.com")
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
    let mut calls = world.asked.take_calls();
    println!("restart to a shell: {:?}, {} requests", began.elapsed(), calls.len());
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
    let last = world.asked.take_calls();
    println!("terminate to nothing left: {:?}, {} requests", began.elapsed(), last.len());
    calls.extend(last);
    // Of two: the kubelet may have been as quick once.
    let buried = calls.iter().any(|(method, path)| method == "DELETE" && path.contains("/pods/"));
    assert!(buried, "a pod whose containers have ended is not waited for: {calls:#?}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_the_installations_own() {
    or_skip!(skip());
    let world = World::new().await;
    let installation = world.settings.installation.to_string();
    // What has none of our labels: the namespace's, and the whole cluster's.
    let others = ["events", "nodes", "ingressclasses"];
    let own = [
        "deployments",
        "ingresses",
        "networkpolicies",
        "persistentvolumeclaims",
        "pods",
        "secrets",
        "serviceaccounts",
        "services",
    ];
    let (mut watched, began) = (BTreeSet::new(), Instant::now());
    while watched.len() < own.len() + others.len() {
        assert!(began.elapsed() < PATIENCE, "watched: {watched:?}");
        for (method, path) in world.asked.take().into_iter().filter(|(method, _)| method == "GET") {
            let (folder, query) = path.split_once('?').unwrap_or((path.as_str(), ""));
            let kind = folder.rsplit('/').next().unwrap().to_owned();
            if own.contains(&kind.as_str()) {
                assert!(query.contains("labelSelector=") && query.contains(&installation), "{method} {path}");
            }
            if query.contains("watch=true") {
                assert!(own.contains(&kind.as_str()) || others.contains(&kind.as_str()), "{path}");
                watched.insert(kind);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_class_that_is_missing_is_told_of_beside_a_sandbox_that_runs() {
    or_skip!(skip());
    let class = format!("fsa-test-{}", Uuid::new_v4().simple());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings { class: Some(class.clone()), ..IngressSettings::new("sandboxes.example.com") });
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
            let free = |cause: &model::Cause| cause.message.contains("has the most cpu left: it has ");
            seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::Unschedulable && free(cause))
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

/// What an account needs where databases are StatefulSets.
fn rules(settings: &Settings) -> Vec<PolicyRule> {
    permissions::rules(settings, permissions::Databases::StatefulSet)
}

/// An account of the tests' namespace that may what the doctor's table has for settings, and no more.
struct Small {
    cluster: Cluster,
    admin: kube::Client,
    name: String,
}

impl Small {
    async fn new(settings: &Settings) -> Self {
        let (admin, _) = client(config().await);
        let name = format!("fsa-small-{}", Uuid::new_v4().simple());
        let small = Self { cluster: Cluster { client: admin.clone(), namespace: namespace() }, admin, name };
        let (post, meta, name) = (PostParams::default(), json!({"name": small.name}), &small.name);
        let accounts = small.api::<ServiceAccount>();
        accounts.create(&post, &serde_json::from_value(json!({"metadata": meta})).unwrap()).await.unwrap();
        let role = json!({"metadata": meta, "rules": rules(settings)});
        small.api::<Role>().create(&post, &serde_json::from_value(role).unwrap()).await.unwrap();
        let binding = json!({"metadata": meta, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace()}]});
        small.api::<RoleBinding>().create(&post, &serde_json::from_value(binding).unwrap()).await.unwrap();
        let token = accounts.create_token_request(name, &post, &Default::default()).await.unwrap().status.unwrap().token;
        let mut config = config().await;
        config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
        let (client, _) = client(config);
        Self { cluster: Cluster { client, namespace: namespace() }, ..small }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin.clone(), &namespace())
    }

    /// From now on the account has these rights.
    async fn give(&self, rules: &[PolicyRule]) {
        let role = serde_json::from_value(json!({"metadata": {"name": self.name}, "rules": rules})).unwrap();
        self.api::<Role>().replace(&self.name, &PostParams::default(), &role).await.unwrap();
    }

    /// From now on it has what these settings need, but for one resource.
    async fn give_all_but(&self, settings: &Settings, resource: &str) {
        let mut left = rules(settings);
        let all = left.len();
        left.retain(|rule| rule.resources.as_ref().unwrap()[0] != resource);
        assert_eq!(left.len() + 1, all, "{resource}");
        self.give(&left).await;
    }

    /// From now on it has what these settings need, but for one verb on one resource, or all of it again; and the
    /// apiserver's authorizer has seen that.
    async fn give_without(&self, settings: &Settings, resource: &str, verb: &str, without: bool) {
        let mut left = rules(settings);
        let mut group = String::new();
        for rule in left.iter_mut().filter(|rule| rule.resources.as_ref().unwrap()[0] == resource) {
            group.clone_from(&rule.api_groups.as_ref().unwrap()[0]);
            let had = rule.verbs.len();
            rule.verbs.retain(|has| !without || has != verb);
            assert_eq!(rule.verbs.len() + usize::from(without), had, "{verb} {resource}");
        }
        self.give(&left).await;
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.cluster.client.clone());
        let asked = json!({"spec": {"resourceAttributes": {
            "namespace": namespace(), "group": group, "resource": resource, "verb": verb}}});
        let asked: SelfSubjectAccessReview = serde_json::from_value(asked).unwrap();
        let began = Instant::now();
        while reviews.create(&PostParams::default(), &asked).await.unwrap().status.unwrap().allowed == without {
            assert!(began.elapsed() < PATIENCE, "{verb} {resource}: the Role does not count");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn end(&self) {
        let now = DeleteParams::default();
        self.api::<RoleBinding>().delete(&self.name, &now).await.unwrap();
        self.api::<Role>().delete(&self.name, &now).await.unwrap();
        self.api::<ServiceAccount>().delete(&self.name, &now).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_one_namespace_is_told_nothing_of_nodes_and_classes_and_works() {
    or_skip!(skip());
    World::new().await;
    let mut settings = Settings::new(InstallationId(Uuid::new_v4()), namespace());
    settings.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    let small = Small::new(&settings).await;
    let orchestrator = KubernetesOrchestrator::new(small.cluster.clone(), settings, Reach::Outside).unwrap();
    assert!(orchestrator.index().synced(PATIENCE).await, "{:?}", *orchestrator.health().borrow());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(orchestrator.health().borrow().is_fresh(), "what may not be seen is no fault: {:?}", *orchestrator.health().borrow());
    let pod: Pod = serde_json::from_value(json!({"spec": {"nodeName": "any", "containers": []}})).unwrap();
    assert_eq!(orchestrator.index().read().node_ready(&pod), None);
    assert_eq!(orchestrator.index().read().ingress_class_present(&Ingress::default()), None);
    small.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ingresses_to_make_an_account_need_not_see_any() {
    or_skip!(skip());
    let world = World::new().await;
    let small = Small::new(&world.settings).await;
    let ingresses: Api<Ingress> = Api::namespaced(small.cluster.client.clone(), &namespace());
    let refused = ingresses.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()), "the account is one without the right");
    let mut settings = world.settings.clone();
    settings.installation = InstallationId(Uuid::new_v4());
    let orchestrator = KubernetesOrchestrator::new(small.cluster.clone(), settings.clone(), Reach::Outside).unwrap();
    assert!(orchestrator.index().synced(PATIENCE).await, "{:?}", *orchestrator.health().borrow());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(orchestrator.health().borrow().is_fresh(), "{:?}", *orchestrator.health().borrow());
    let narrow = World { orchestrator, cluster: small.cluster.clone(), settings: settings.clone(), asked: Default::default() };
    let spec = narrow.spec();
    narrow.up(&spec).await;
    let orphans = orphans::find(&small.cluster, &settings, &orphans::Known::default()).await.unwrap();
    assert!(orphans.iter().any(|orphan| orphan.kind == "Deployment"), "the other kinds are looked at: {orphans:?}");
    narrow.remove(&spec).await;
    // Where Ingresses are to be made, their absence is a fault that is told.
    settings.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    let other = KubernetesOrchestrator::new(small.cluster.clone(), settings, Reach::Outside).unwrap();
    let mut health = other.health();
    let told = health.wait_for(
        |health| matches!(health, Health::Stale { cause, .. } if cause.code == CauseCode::PermissionMissing && cause.message.contains("ngress")),
    );
    tokio::time::timeout(PATIENCE, told).await.expect("the missing right is named").unwrap();
    small.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_to_see_that_is_missing_is_said_by_its_kind() {
    or_skip!(skip());
    let world = World::new().await;
    let small = Small::new(&world.settings).await;
    for resource in
        ["deployments", "pods", "persistentvolumeclaims", "services", "networkpolicies", "secrets", "serviceaccounts", "events"]
    {
        small.give_all_but(&world.settings, resource).await;
        let orchestrator = KubernetesOrchestrator::new(small.cluster.clone(), world.settings.clone(), Reach::Outside).unwrap();
        let mut health = orchestrator.health();
        // The right that the account had before may count for a moment more.
        let told = health.wait_for(|health| match health {
            Health::Stale { cause, .. } => cause.code == CauseCode::PermissionMissing && cause.message.contains(resource),
            Health::Fresh => false,
        });
        let told = tokio::time::timeout(PATIENCE, told).await;
        assert!(told.is_ok(), "{resource}: {:?}", *orchestrator.health().borrow());
    }
    small.end().await;
}

/// Whether it was refused for want of this right, which is named.
fn lacks(result: Result<impl std::fmt::Debug, engine::orchestrator::OrchestratorError>, right: &str) -> bool {
    match result {
        Ok(_) => false,
        Err(engine::orchestrator::OrchestratorError::Caused(cause)) => {
            let named = cause.code == CauseCode::PermissionMissing && cause.message.contains(&format!("may not {right}"));
            assert!(named && !cause.next_steps.is_empty(), "{right}: {cause:?}");
            true
        }
        Err(other) => panic!("{right}: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_to_make_change_or_remove_that_is_missing_is_named_and_it_goes_on_with_it() {
    or_skip!(skip());
    let world = World::new().await;
    let small = Small::new(&world.settings).await;
    let mut settings = world.settings.clone();
    settings.installation = InstallationId(Uuid::new_v4());
    let orchestrator = KubernetesOrchestrator::new(small.cluster.clone(), settings.clone(), Reach::Outside).unwrap();
    assert!(orchestrator.index().synced(PATIENCE).await, "{:?}", *orchestrator.health().borrow());
    let narrow = World { orchestrator, cluster: small.cluster.clone(), settings: settings.clone(), asked: Default::default() };
    let orchestrator = &narrow.orchestrator;
    let spec = narrow.spec();
    let name = spec.name.as_str();
    let full = |resource: &str| match resource {
        "deployments" => "deployments.apps".to_owned(),
        "networkpolicies" => "networkpolicies.networking.k8s.io".to_owned(),
        resource => resource.to_owned(),
    };

    // What was under way when another was refused may be made a moment later: each has names of its own.
    let mut begun = Vec::new();
    for resource in ["serviceaccounts", "secrets", "persistentvolumeclaims", "services", "networkpolicies", "deployments"] {
        let other = narrow.spec();
        small.give_without(&settings, resource, "create", true).await;
        assert!(lacks(orchestrator.ensure(&other).await, &format!("create {}", full(resource))), "create {resource}");
        small.give_without(&settings, resource, "create", false).await;
        begun.push(other);
    }
    for other in &begun {
        narrow.remove(other).await;
    }

    narrow.up(&spec).await;
    // Somebody changes what is ours, and it cannot be put right.
    let services: Api<Service> = world.api();
    let other = json!({ "spec": { "selector": { "app": "theirs" } } });
    let more = json!({ "spec": { "ports": [{ "name": "mine", "port": 9999, "protocol": "TCP" }] } });
    for (verb, change) in [("patch", other), ("update", more)] {
        small.give_without(&settings, "services", verb, true).await;
        services.patch(name, &PatchParams::default(), &Patch::Strategic(change)).await.unwrap();
        narrow.until(&spec, "the changed Service", |seen| !seen.network).await;
        assert!(lacks(orchestrator.ensure(&spec).await, &format!("{verb} services")), "{verb} services");
        small.give_without(&settings, "services", verb, false).await;
        narrow.up(&spec).await;
    }
    let policies: Api<NetworkPolicy> = world.api();
    small.give_without(&settings, "networkpolicies", "patch", true).await;
    let open = json!({ "spec": { "ingress": [{}] } });
    policies.patch(name, &PatchParams::default(), &Patch::Merge(open)).await.unwrap();
    narrow.until(&spec, "the changed policy", |seen| !seen.network).await;
    assert!(lacks(orchestrator.ensure(&spec).await, "patch networkpolicies.networking.k8s.io"), "patch networkpolicies");
    small.give_without(&settings, "networkpolicies", "patch", false).await;
    narrow.up(&spec).await;

    // A stop that may not be, and then is.
    small.give_without(&settings, "deployments", "patch", true).await;
    assert!(lacks(orchestrator.ensure(&stopped(&spec)).await, "patch deployments.apps"), "patch deployments");
    small.give_without(&settings, "deployments", "patch", false).await;
    narrow.down(&spec).await;

    for resource in ["deployments", "services", "secrets", "serviceaccounts", "networkpolicies"] {
        orchestrator.ensure(&spec).await.unwrap();
        small.give_without(&settings, resource, "delete", true).await;
        let began = Instant::now();
        let right = format!("delete {}", full(resource));
        // The account and the policy come last.
        while !lacks(orchestrator.remove(spec.id).await, &right) {
            assert!(began.elapsed() < PATIENCE, "{right}: nobody says so");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        small.give_without(&settings, resource, "delete", false).await;
        while orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
            assert!(began.elapsed() < PATIENCE * 2, "{right}: not gone");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    small.give_without(&settings, "persistentvolumeclaims", "delete", true).await;
    assert!(lacks(orchestrator.remove_volume(&spec.volume).await, "delete persistentvolumeclaims"), "delete volumes");
    small.give_without(&settings, "persistentvolumeclaims", "delete", false).await;
    narrow.remove(&spec).await;
    small.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_outside_the_right_to_forward_ports_is_named_and_it_goes_on_with_it() {
    or_skip!(skip());
    let world = World::new().await;
    let small = Small::new(&world.settings).await;
    small.give_all_but(&world.settings, "pods/portforward").await;
    let mut settings = world.settings.clone();
    settings.installation = InstallationId(Uuid::new_v4());
    let orchestrator = KubernetesOrchestrator::new(small.cluster.clone(), settings.clone(), Reach::Forward).unwrap();
    assert!(orchestrator.index().synced(PATIENCE).await, "{:?}", *orchestrator.health().borrow());
    let narrow = World { orchestrator, cluster: small.cluster.clone(), settings, asked: Default::default() };
    let spec = narrow.spec();
    narrow.orchestrator.ensure(&spec).await.unwrap();
    let named = |seen: &engine::orchestrator::Seen| {
        let cause = seen.cause.as_ref();
        cause.is_some_and(|cause| cause.code == CauseCode::PermissionMissing && cause.message.contains("pods/portforward"))
    };
    narrow.until(&spec, "the missing right", named).await;
    let refused = narrow.orchestrator.connect(spec.id, AgentOrPort::Agent).await.err().unwrap();
    assert!(matches!(&refused, ConnectError::Refused(cause) if cause.code == CauseCode::PermissionMissing), "{refused:?}");
    small.give(&rules(&world.settings)).await;
    let up = narrow.up(&spec).await;
    assert_eq!(up.cause, None);
    narrow.remove(&spec).await;
    small.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_is_neither_adopted_nor_deleted() {
    or_skip!(skip());
    let world = World::new().await;
    let name = |spec: &SandboxSpec| spec.name.to_string();
    let theirs = json!({ "app": "theirs" });
    let ports = json!({ "spec": { "ports": [{ "port": 80 }], "selector": theirs } });
    foreign_is_left::<Service>(&world, name, ports).await;
    let token = json!({ "stringData": { "FSA_AGENT_TOKEN": "theirs" } });
    foreign_is_left::<Secret>(&world, |spec| names::agent_secret(&spec.name), token).await;
    let claim = json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } } } });
    foreign_is_left::<PersistentVolumeClaim>(&world, |spec| spec.volume.0.clone(), claim).await;
    foreign_is_left::<ServiceAccount>(&world, name, json!({})).await;
    let nobody = json!({ "spec": { "podSelector": { "matchLabels": theirs } } });
    foreign_is_left::<NetworkPolicy>(&world, name, nobody).await;
    let pod = json!({ "metadata": { "labels": theirs }, "spec": { "containers": [{ "name": "theirs", "image": "theirs" }] } });
    let none = json!({ "spec": { "replicas": 0, "selector": { "matchLabels": theirs }, "template": pod } });
    foreign_is_left::<Deployment>(&world, name, none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_without_its_label_is_not_said_to_be_gone() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    while world.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let claims: Api<PersistentVolumeClaim> = world.api();
    let label = |value: serde_json::Value| {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "fullstackagent.io/installation": value } } }));
        let (claims, name) = (claims.clone(), spec.volume.0.clone());
        async move { claims.patch(&name, &PatchParams::default(), &patch).await.unwrap() }
    };
    label(serde_json::Value::Null).await;
    let start = Instant::now();
    while world.orchestrator.list().await.unwrap().iter().any(|object| object.name == spec.volume.0) {
        assert!(start.elapsed() < PATIENCE, "its watch tells that it has no label any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = world.orchestrator.remove_volume(&spec.volume).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{refused}") };
    assert!(cause.code == CauseCode::VolumeFailed && cause.message.contains(&spec.volume.0), "{cause:?}");
    label(json!(world.settings.installation.0.to_string())).await;
    world.remove(&spec).await;
    assert!(claims.get_opt(&spec.volume.0).await.unwrap().is_none());
}

/// An object of the name that a sandbox's would have stops the sandbox, is named with its kind, and stays as it is.
async fn foreign_is_left<K>(world: &World, name: impl Fn(&SandboxSpec) -> String, mut theirs: serde_json::Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let spec = world.spec();
    let (objects, name, kind) = (world.api::<K>(), name(&spec), K::kind(&()));
    theirs["metadata"] = json!({ "name": name, "labels": { "app": "theirs" } });
    let made = objects.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let refused = world.orchestrator.ensure(&spec).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{kind}: {refused}") };
    assert_eq!(cause.code, CauseCode::NameTaken, "{kind}: {cause:?}");
    assert!(cause.message.contains(&name) && cause.message.contains(&*kind), "{kind}: {cause:?}");
    let ours = world.orchestrator.list().await.unwrap();
    assert!(ours.iter().all(|object| object.kind != "Deployment"), "nothing runs beside the {kind}: {ours:?}");
    // One of another installation is as foreign.
    let other = World::of(InstallationId(Uuid::new_v4()), config().await, |_| {}).await;
    assert_eq!(other.orchestrator.remove(spec.id).await.unwrap(), Removed::Gone);
    world.remove(&spec).await;
    let left = objects.get(&name).await.unwrap();
    let (before, now) = (made.meta(), left.meta());
    assert!(now.uid == before.uid && now.labels == before.labels && now.deletion_timestamp.is_none(), "{kind}: {now:?}");
    let written = now.managed_fields.iter().flatten().any(|write| write.manager.as_deref() == Some(FIELD_MANAGER));
    assert!(!written, "{kind}: {now:?}");
    objects.delete(&name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_changed_by_hand_is_mended() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    })
    .await;
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

    // What a run has read already, the next one needs.
    let (secrets, accounts): (Api<Secret>, Api<ServiceAccount>) = (world.api(), world.api());
    let mine = ListParams::default().labels(&format!("app={name}"));
    let environment = secrets.list(&mine).await.unwrap().into_iter().filter_map(|secret| secret.metadata.name);
    for secret in environment.collect::<Vec<_>>() {
        secrets.delete(&secret, &DeleteParams::default()).await.unwrap();
        world.until(&spec, &format!("the missing Secret {secret}"), |seen| !seen.network).await;
        assert_eq!(world.up(&spec).await.instance.unwrap(), first);
        secrets.get(&secret).await.unwrap();
    }
    accounts.delete(name, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the missing ServiceAccount", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first);
    accounts.get(name).await.unwrap();

    let policies: Api<NetworkPolicy> = world.api();
    let open = json!({ "spec": { "ingress": [{}] } });
    policies.patch(name, &PatchParams::default(), &Patch::Merge(open)).await.unwrap();
    world.until(&spec, "the changed policy", |seen| !seen.network).await;
    world.up(&spec).await;
    assert_eq!(policies.get(name).await.unwrap().spec.unwrap().ingress.unwrap_or_default(), []);
    policies.delete(name, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the missing policy", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first);
    policies.get(name).await.unwrap();

    let ingresses: Api<Ingress> = world.api();
    for ingress in [name.to_owned(), names::terminal_ingress(&spec.name)] {
        ingresses.delete(&ingress, &DeleteParams::default()).await.unwrap();
        world.until(&spec, &format!("the missing Ingress {ingress}"), |seen| !seen.network).await;
        assert_eq!(world.up(&spec).await.instance.unwrap(), first);
        let made = ingresses.get(&ingress).await.unwrap().spec.unwrap();
        let elsewhere = json!({ "spec": { "rules": [{ "host": "elsewhere.example.com" }] } });
        ingresses.patch(&ingress, &PatchParams::default(), &Patch::Merge(elsewhere)).await.unwrap();
        world.until(&spec, &format!("the changed Ingress {ingress}"), |seen| !seen.network).await;
        assert_eq!(world.up(&spec).await.instance.unwrap(), first);
        assert_eq!(ingresses.get(&ingress).await.unwrap().spec.unwrap(), made);
    }

    let deployments: Api<Deployment> = world.api();
    deployments.delete(name, &DeleteParams::background()).await.unwrap();
    let deleted = |seen: &engine::orchestrator::Seen| {
        seen.instance.is_none() && seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::DeletedOutside)
    };
    world.until(&spec, "the end of the run, and who ended it", deleted).await;
    let again = world.up(&spec).await;
    assert!(again.cause.is_none_or(|cause| cause.code != CauseCode::DeletedOutside), "it is there again");
    assert_ne!(again.instance.unwrap().id, first.id);

    let scaled = json!({ "spec": { "replicas": 0 } });
    deployments.patch(name, &PatchParams::default(), &Patch::Merge(scaled)).await.unwrap();
    world.until(&spec, "the end of the run", |seen| seen.instance.is_none()).await;
    world.up(&spec).await;

    let by_hand = json!({ "name": "BY_HAND", "value": "yes" });
    let more = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "sandbox", "env": [by_hand] }] } } } });
    deployments.patch(name, &PatchParams::default(), &Patch::Strategic(more)).await.unwrap();
    world.until(&spec, "the changed template", |seen| !seen.network).await;
    world.up(&spec).await;
    let template = deployments.get(name).await.unwrap().spec.unwrap().template.spec.unwrap();
    let variables = template.containers[0].env.clone().unwrap();
    assert!(variables.iter().all(|variable| variable.name != "BY_HAND"), "{variables:?}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_folder_that_is_deleted_by_hand_is_said_to_go_and_to_be_gone() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    sh(world.orchestrator.as_ref(), &spec, "echo here > ~/file").await;
    let volume = async || world.orchestrator.volume(&spec.volume).await.unwrap();
    assert_eq!(volume().await, VolumeSeen::There);

    let claims: Api<PersistentVolumeClaim> = world.api();
    claims.delete(&spec.volume.0, &DeleteParams::default()).await.unwrap();
    let leaving = |seen: &Seen| seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::VolumeLeaving);
    let seen = world.until(&spec, "the folder that goes", leaving).await;
    assert_eq!(seen.instance.as_ref(), Some(&first), "its run goes on");
    assert_eq!(volume().await, VolumeSeen::Leaving);
    assert_eq!(sh(world.orchestrator.as_ref(), &spec, "cat ~/file").await, "here\n");

    world.down(&spec).await;
    let began = Instant::now();
    while volume().await != VolumeSeen::Absent {
        assert!(began.elapsed() < PATIENCE, "the folder is not gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    spec.restart_count += 1;
    world.up(&spec).await;
    assert_eq!(world.orchestrator.volume(&spec.volume).await.unwrap(), VolumeSeen::There, "a start makes another");
    assert_eq!(sh(world.orchestrator.as_ref(), &spec, "ls ~/file 2>/dev/null || echo none").await, "none\n");
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
    // The run before alone, to its end.
    let past = world.orchestrator.logs(spec.id, LogSource::Past).await.unwrap().collect::<Vec<_>>();
    let past = tokio::time::timeout(PATIENCE, past).await.expect("what is over comes to an end");
    let starts = past.iter().filter(|line| line.text.starts_with("listening on 0.0.0.0:7682"));
    assert_eq!(starts.count(), 1, "{past:?}");
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
async fn what_prepares_a_sandbox_is_read_with_its_run_before() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    // A pod as an injected image has one, whose preparation fails at first.
    let script = "if [ -e /again/it ]; then echo the second; sleep 600; fi; touch /again/it; echo the first; exit 1";
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let owner = Owner {
        installation: spec.installation,
        project: spec.project,
        slug: &spec.slug,
        sandbox: Some(spec.id),
        name: &spec.name,
    };
    let pod = json!({
        "metadata": {"name": spec.name, "labels": owner.labels(Component::Sandbox)},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "again", "emptyDir": {}}],
            "initContainers": [{"name": INSTALLER, "image": image(), "command": ["sh", "-c", script],
                "volumeMounts": [{"name": "again", "mountPath": "/again"}], "securityContext": security}],
            "containers": [{"name": CONTAINER, "image": image(), "securityContext": security}],
        },
    });
    let pods: Api<Pod> = world.api();
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let began = Instant::now();
    let runs_again = |pod: &Pod| {
        let status = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref()?.first());
        status
            .is_some_and(|status| status.restart_count == 1 && status.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    loop {
        let read = async {
            let lines = world.orchestrator.logs(spec.id, LogSource::Install).await.unwrap();
            lines.map(|line| line.text).take(2).collect::<Vec<_>>().await
        };
        let runs = runs_again(&pods.get(spec.name.as_str()).await.unwrap());
        if runs
            && tokio::time::timeout(Duration::from_secs(5), read).await.is_ok_and(|lines| lines == ["the first", "the second"])
        {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the two runs are not read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pods.delete(spec.name.as_str(), &DeleteParams::default().grace_period(0)).await.unwrap();
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_ttyd_serves_a_terminal_alone() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.image = std::env::var("FSA_TEST_TTYD_IMAGE").unwrap_or_else(|_| "fsa.local/ttyd:dev".to_owned());
        settings.runtime = kubernetes::settings::Runtime::Ttyd;
    })
    .await;
    let spec = world.spec();
    world.up(&spec).await;
    assert!(!world.orchestrator.has_agents());
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let request = http::Request::get("/token").body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
    let answer = sandbox_agent::client::request(io, &spec.agent_token, request).await.unwrap();
    assert_eq!(answer.status(), 200);
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
    // And a terminal, which both sides write to.
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let mut terminal = websocket(io, &spec.agent_token, "/ws?session=main", FSA_SUBPROTOCOL).await.unwrap();
    let first = First { columns: 80, rows: 24, client: "test".into(), auth_token: None };
    terminal.send(ClientFrame::First(first).encode().into()).await.unwrap();
    let typed = ClientFrame::Input { seq: 0, data: "echo it-is-$((6*7))\n".into() };
    terminal.send(typed.encode().into()).await.unwrap();
    let mut shown = String::new();
    while !shown.contains("it-is-42") {
        let frame = tokio::time::timeout(PATIENCE, terminal.next()).await.unwrap().expect(&shown).unwrap();
        if let Ok(ServerFrame::Output { data, .. }) = ServerFrame::decode(frame.into_data()) {
            shown.push_str(&String::from_utf8_lossy(&data));
        }
    }
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
    let bigger = async {
        world.orchestrator.ensure(&spec).await.unwrap();
        let runs = |seen: &engine::orchestrator::Seen| {
            seen.agent == AgentSeen::ShellStarted && seen.instance.as_ref().is_some_and(|now| now.id != run.id)
        };
        world.until(&spec, "the bigger run", runs).await
    };
    let seen = never_two(&world, spec.name.as_str(), bigger).await;
    assert_eq!(seen.ended_by_itself, 0, "it was asked for");
    // Stopped, it leaves no Secret with anybody's variables.
    world.down(&spec).await;
    let left = secrets.list(&ListParams::default().labels(&format!("app={}", spec.name))).await.unwrap();
    assert_eq!(
        left.items.iter().filter_map(|secret| secret.metadata.name.clone()).collect::<Vec<_>>(),
        [names::agent_secret(&spec.name)]
    );
    world.remove(&spec).await;
}

/// Does this, and looks all the while that at most one pod of a sandbox has a container that runs.
async fn never_two<T>(world: &World, name: &str, doing: impl Future<Output = T>) -> T {
    let (pods, mine) = (world.api::<Pod>(), ListParams::default().labels(&format!("app={name}")));
    let runs = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.into_iter().flatten().any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    let two = async {
        loop {
            let running: Vec<Pod> = pods.list(&mine).await.unwrap().items.into_iter().filter(&runs).collect();
            if running.len() > 1 {
                return running.into_iter().filter_map(|pod| pod.metadata.name).collect::<Vec<_>>();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        done = doing => done,
        two = two => panic!("two run at once: {two:?}"),
    }
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
    let unseen = world.orchestrator.observe(spec.id).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(said) = unseen else { panic!("{unseen}") };
    assert_eq!(said.code, CauseCode::OrchestratorUnreachable, "it cannot know, and says so: {said:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_the_apiserver_has_forgotten_begins_with_a_list() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    let services: Api<Service> = Api::namespaced(client(config().await).0, &namespace());
    for within in [false, true] {
        let refused = world.asked.refuse_the_next_watch("services", 410, within);
        tokio::time::timeout(PATIENCE, refused.asked).await.expect("the watch is begun again").unwrap();
        services.delete(spec.name.as_str(), &DeleteParams::default()).await.unwrap();
        assert!(world.orchestrator.observe(spec.id).await.unwrap().network, "it cannot know");
        world.asked.take();
        refused.answer.send(()).unwrap();
        world.until(&spec, "the missing Service", |seen| !seen.network).await;
        let calls = world.asked.take_calls();
        let listed = |(method, path): &(String, String)| method == "GET" && path.contains("/services?");
        assert!(calls.iter().any(listed), "within the watch: {within}: {calls:#?}");
        assert!(world.orchestrator.health().borrow().is_fresh(), "{:?}", *world.orchestrator.health().borrow());
        world.up(&spec).await;
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_broken_off_or_put_off_misses_nothing() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    let services: Api<Service> = Api::namespaced(client(config().await).0, &namespace());
    for code in [429, 500, 503] {
        for within in [false, true] {
            let refused = world.asked.refuse_the_next_watch("services", code, within);
            tokio::time::timeout(PATIENCE, refused.asked).await.expect("the watch is begun again").unwrap();
            services.delete(spec.name.as_str(), &DeleteParams::default()).await.unwrap();
            refused.answer.send(()).unwrap();
            world
                .until(&spec, &format!("the missing Service after {code}, within the watch: {within}"), |seen| !seen.network)
                .await;
            world.up(&spec).await;
        }
    }
    let mut health = world.orchestrator.health();
    tokio::time::timeout(PATIENCE, health.wait_for(Health::is_fresh)).await.unwrap().unwrap();
    world.remove(&spec).await;
}
