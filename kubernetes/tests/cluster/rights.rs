//! Accounts that may little: what is done without a right, and which one is said to be missing.

use crate::{or_skip, support::*};
use engine::orchestrator::{AgentOrPort, ConnectError, Orchestrator as _, Removed};
use k8s_openapi::api::{
    authorization::v1::SelfSubjectAccessReview,
    core::v1::{Pod, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    rbac::v1::{PolicyRule, Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kubernetes::{
    Cluster, Settings,
    doctor::{orphans, permissions},
    index::health::Health,
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
    settings::IngressSettings,
};
use model::{CauseCode, InstallationId};
use serde_json::json;
use std::time::{Duration, Instant};
use uuid::Uuid;

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
