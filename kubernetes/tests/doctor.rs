//! The doctor on a real cluster (`FSA_TEST_KUBECONFIG`): what is well is found well, and each permission that is
//! missing is named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/left_out.rs"]
mod left_out;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod, Secret, ServiceAccount},
    rbac::v1::{PolicyRule, Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use kubernetes::{
    Cluster, Settings,
    connection::{Connected, ConnectionSettings, connect},
    doctor::{Asked, Databases, Finding, Report, Verdict, examine, orphans, permissions, project},
    labels,
    settings::IngressSettings,
};
use model::{InstallationId, ProjectId, ResourceName, SandboxId};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};
use uuid::Uuid;

/// The cluster's kubeconfig, or nothing where there is none (a failure under `FSA_REQUIRE_CLUSTER=1`).
fn kubeconfig() -> Option<PathBuf> {
    let given = std::env::var_os("FSA_TEST_KUBECONFIG").map(PathBuf::from);
    if given.is_none() {
        left_out::skipped("FSA_TEST_KUBECONFIG names no cluster");
    }
    given
}

/// A namespace of its own, that goes with the test.
struct World {
    connected: Connected,
    settings: Settings,
    namespace: String,
}

impl World {
    async fn new() -> Option<Self> {
        let kubeconfig = kubeconfig()?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let namespace = format!("fsa-causes-doctor-{}", &Uuid::new_v4().simple().to_string()[..6]);
        let settings = ConnectionSettings {
            kubeconfig: Some(kubeconfig),
            allow_loopback_cluster: true,
            namespace: Some(namespace.clone()),
            ..ConnectionSettings::default()
        };
        let connected = connect(&settings).await.unwrap();
        let made: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}))
        .unwrap();
        Api::all(connected.cluster.client.clone()).create(&PostParams::default(), &made).await.unwrap();
        let mut settings = Settings::new(InstallationId(Uuid::new_v4()), &namespace);
        settings.image = std::env::var("FSA_TEST_IMAGE").unwrap_or_else(|_| "fsa.local/runtime:dev".to_owned());
        Some(Self { connected, settings, namespace })
    }

    async fn examine(&self, probe: bool) -> Report {
        let known = orphans::Known::default();
        examine(
            Asked { connected: &self.connected, settings: &self.settings, known: Some(&known), project: None, probe },
            Report::default(),
        )
        .await
    }

    async fn end(&self) {
        let _ =
            Api::<Namespace>::all(self.connected.cluster.client.clone()).delete(&self.namespace, &DeleteParams::default()).await;
    }
}

fn found<'r>(report: &'r Report, check: &str) -> &'r Finding {
    report
        .findings
        .iter()
        .find(|finding| finding.check == check)
        .unwrap_or_else(|| panic!("no finding `{check}`:\n{}", report.text()))
}

/// Whatever is not well says why it matters, and what mends it.
fn helps(report: &Report) {
    for finding in report.findings.iter().filter(|finding| finding.verdict != Verdict::Ok) {
        assert!(!finding.what.is_empty() && !finding.why.is_empty() && !finding.mend.is_empty(), "{finding:?}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_well_is_found_well() {
    let Some(world) = World::new().await else { return };
    let report = world.examine(true).await;
    println!("{}", report.text());
    for check in [
        "kubeconfig",
        "reachability",
        "version",
        "clock",
        "namespace",
        "KubeBlocks",
        "storage class",
        "orphans",
        "image",
        "name lookup",
    ] {
        assert_eq!(found(&report, check).verdict, Verdict::Ok, "{check}:\n{}", report.text());
    }
    for finding in report.findings.iter().filter(|finding| finding.check.starts_with("permission ")) {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }
    // Enforced or not is the cluster's matter; that it was tried, is ours. The network of our cluster is a bridge alone.
    let policies = found(&report, "network policies");
    assert!(!policies.what.contains("Could not be tried"), "{policies:?}");
    if std::env::var("FSA_REQUIRE_CLUSTER").as_deref() == Ok("1") {
        assert!(policies.verdict == Verdict::Fail && policies.what.contains("not enforced"), "{policies:?}");
    }
    helps(&report);
    let pods: Api<Pod> = Api::namespaced(world.connected.cluster.client.clone(), &world.namespace);
    let left = pods.list(&kube::api::ListParams::default()).await.unwrap();
    assert!(left.items.iter().all(|pod| pod.metadata.deletion_timestamp.is_some()), "a probe was left");
    world.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_mend() {
    let Some(mut world) = World::new().await else { return };
    world.settings.storage_class = Some("fast-ssd".to_owned());
    world.settings.image = "Not An/Image".to_owned();
    let report = world.examine(true).await;
    assert!(report.failed());
    helps(&report);
    for (check, what, mend) in
        [("storage class", "`fast-ssd` does not exist", "--storage-class"), ("image", "no name of an image", "--image")]
    {
        let finding = found(&report, check);
        assert!(
            finding.verdict == Verdict::Fail
                && finding.what.contains(what)
                && finding.mend.iter().any(|step| step.contains(mend)),
            "{finding:?}"
        );
    }
    let gone = Connected {
        cluster: Cluster { namespace: "fsa-causes-nowhere".to_owned(), ..world.connected.cluster.clone() },
        ..world.connected.clone()
    };
    let report = examine(
        Asked { connected: &gone, settings: &world.settings, known: None, project: None, probe: false },
        Report::default(),
    )
    .await;
    assert!(found(&report, "namespace").what.contains("`fsa-causes-nowhere` does not exist"), "{}", report.text());
    helps(&report);
    world.end().await;
}

/// Every permission that any settings need is taken away once, and the doctor names it.
#[tokio::test]
async fn each_permission_that_is_missing_is_named_and_the_role_of_the_table_is_enough() {
    let Some(world) = World::new().await else { return };
    let client = world.connected.cluster.client.clone();
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "fsa"}})).unwrap();
    Api::namespaced(client.clone(), &world.namespace).create(&PostParams::default(), &account).await.unwrap();
    let roles: Api<Role> = Api::namespaced(client.clone(), &world.namespace);
    let role = |rules: &[PolicyRule]| Role {
        rules: Some(rules.to_vec()),
        ..serde_json::from_value(json!({"metadata": {"name": "fsa"}})).unwrap()
    };
    roles.create(&PostParams::default(), &role(&[])).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(
        json!({"metadata": {"name": "fsa"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "fsa"},
        "subjects": [{"kind": "ServiceAccount", "name": "fsa", "namespace": world.namespace}]}),
    )
    .unwrap();
    Api::namespaced(client.clone(), &world.namespace).create(&PostParams::default(), &binding).await.unwrap();
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig().unwrap()).unwrap();
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        user.impersonate = Some(format!("system:serviceaccount:{}:fsa", world.namespace));
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let cluster = Cluster { client: Client::try_from(config).unwrap(), namespace: world.namespace.clone() };

    let mut with_ingress = world.settings.clone();
    with_ingress.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    let mut taken = BTreeSet::new();
    for (settings, databases) in [
        (&world.settings, Databases::StatefulSet),
        (&with_ingress, Databases::KubeBlocks),
        (&world.settings, Databases::KubeBlocksAlpha),
    ] {
        let all = permissions::rules(settings, databases);
        // The apiserver's authorizer sees a changed Role a moment later.
        let failed = async |rules: &[PolicyRule], expected: &[String]| {
            roles.replace("fsa", &PostParams::default(), &role(rules)).await.unwrap();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            loop {
                let findings = permissions::check(&cluster, settings, databases).await;
                let failed: Vec<Finding> = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).cloned().collect();
                let names: Vec<String> = failed.iter().map(|finding| finding.check.clone()).collect();
                if names == expected {
                    return (findings, failed);
                }
                assert!(std::time::Instant::now() < deadline, "{databases:?}: {failed:#?}, and not {expected:?}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let (enough, _) = failed(&all, &[]).await;
        let helpful = enough.iter().filter(|finding| finding.verdict == Verdict::Warn).count();
        assert!(helpful >= 3, "nodes and classes are not of the namespace");
        for (index, missing) in all.iter().enumerate() {
            let mut rules = all.clone();
            rules.remove(index);
            let resource = &missing.resources.as_ref().unwrap()[0];
            let group = &missing.api_groups.as_ref().unwrap()[0];
            let name = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
            let verbs = missing.verbs.join(", ");
            if !taken.insert((name.clone(), verbs.clone())) {
                continue;
            }
            let (_, failed) = failed(&rules, &[format!("permission {name}")]).await;
            assert!(failed[0].what.contains(&format!("{verbs} {name}")), "{failed:?}");
            assert!(failed[0].mend[0].contains("kubectl create role"), "{failed:?}");
        }
    }
    let missed: Vec<_> = permissions::PERMISSIONS
        .iter()
        .filter(|permission| permission.need != permissions::Need::Helpful)
        .map(|permission| {
            let name = match permission.group {
                "" => permission.resource.to_owned(),
                group => format!("{}.{group}", permission.resource),
            };
            (name, permission.verbs.join(", "))
        })
        .filter(|permission| !taken.contains(permission))
        .collect();
    assert!(missed.is_empty(), "never taken away: {missed:?}");
    world.end().await;
}

#[tokio::test]
async fn orphans_are_what_has_our_id_and_no_row() {
    let Some(world) = World::new().await else { return };
    let client = world.connected.cluster.client.clone();
    let (kept, gone, foreign) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &world.namespace);
    let make = async |name: &str, installation: Uuid, sandbox: Uuid| {
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name, "labels": {
            labels::INSTALLATION: installation.to_string(), labels::SANDBOX: sandbox.to_string(), labels::PROJECT: kept.to_string()}}}))
        .unwrap();
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    };
    let own = world.settings.installation.0;
    make("kept", own, kept).await;
    make("left", own, gone).await;
    make("foreign", foreign, gone).await;
    let known = orphans::Known { sandboxes: [SandboxId(kept)].into(), projects: [ProjectId(kept)].into() };
    let found = orphans::find(&world.connected.cluster, &world.settings, &known).await.unwrap();
    assert_eq!(
        found.iter().map(|orphan| (orphan.kind, orphan.name.as_str(), orphan.holds_data)).collect::<Vec<_>>(),
        [("Secret", "left", false)]
    );
    orphans::remove(&world.connected.cluster, &found[0]).await.unwrap();
    orphans::remove(&world.connected.cluster, &found[0]).await.unwrap();
    assert!(secrets.get_opt("left").await.unwrap().is_none() && secrets.get_opt("foreign").await.unwrap().is_some());
    // Another of the same name is not what was found.
    make("left", own, gone).await;
    orphans::remove(&world.connected.cluster, &found[0]).await.unwrap();
    assert!(secrets.get_opt("left").await.unwrap().is_some());
    secrets.delete("left", &DeleteParams::default()).await.unwrap();

    // What a database of KubeBlocks before 1.0 has beside it, and a pod that nobody owns.
    let meta =
        |name: &str| json!({"name": name, "labels": {labels::INSTALLATION: own.to_string(), labels::PROJECT: gone.to_string()}});
    let (post, namespace) = (PostParams::default(), world.namespace.as_str());
    let role: Role = serde_json::from_value(json!({"metadata": meta("role"), "rules": []})).unwrap();
    Api::namespaced(client.clone(), namespace).create(&post, &role).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({"metadata": meta("binding"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "role"}}))
    .unwrap();
    Api::namespaced(client.clone(), namespace).create(&post, &binding).await.unwrap();
    let pod = |meta: serde_json::Value| -> Pod {
        serde_json::from_value(json!({"metadata": meta, "spec": {
            "nodeSelector": {"fullstackagent.io/test": "nowhere"},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "pod", "image": "x", "securityContext":
                {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}))
        .unwrap()
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    pods.create(&post, &pod(meta("pod"))).await.unwrap();
    let owner = Api::<Role>::namespaced(client, namespace).get("role").await.unwrap().metadata.uid;
    let mut owned = meta("owned");
    owned["ownerReferences"] =
        json!([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "name": "role", "uid": owner}]);
    pods.create(&post, &pod(owned)).await.unwrap();
    let find = async || orphans::find(&world.connected.cluster, &world.settings, &known).await.unwrap();
    let found = find().await;
    assert_eq!(
        found.iter().map(|orphan| (orphan.kind, orphan.name.as_str(), orphan.holds_data)).collect::<Vec<_>>(),
        [("Pod", "pod", false), ("RoleBinding", "binding", false), ("Role", "role", false)]
    );
    for orphan in &found {
        orphans::remove(&world.connected.cluster, orphan).await.unwrap();
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !find().await.is_empty() {
        assert!(std::time::Instant::now() < deadline, "left: {:?}", find().await);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn one_project_is_looked_at_as_it_is_now() {
    let Some(world) = World::new().await else { return };
    let client = world.connected.cluster.client.clone();
    let name: ResourceName = "shop-agentruntime-abc123".parse().unwrap();
    let row = project::Row::named(name.clone());
    let check = async || project::check(&world.connected.cluster, &world.settings, &row).await;
    let none = check().await;
    assert!(none[0].verdict == Verdict::Warn && none[0].what.contains("no Deployment"), "{none:?}");

    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": "env"}, "stringData": {
        "DATABASE_URL": format!("postgresql://u:very-secret@{name}-postgresql.{}.svc:5432/d", world.namespace), "FSA_AGENT_TOKEN": "0123456789abcdef0123456789abcdef"}}))
    .unwrap();
    Api::namespaced(client.clone(), &world.namespace).create(&PostParams::default(), &secret).await.unwrap();
    let deployment = |installation: Uuid, image: &str| -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {labels::INSTALLATION: installation.to_string()}}, "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "sandbox", "image": image, "imagePullPolicy": "Never", "envFrom": [{"secretRef": {"name": "env"}}],
                    "readinessProbe": {"tcpSocket": {"port": 7682}, "periodSeconds": 1},
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}}}))
        .unwrap()
    };
    let deployments: Api<Deployment> = Api::namespaced(client, &world.namespace);
    let own = world.settings.installation.0;
    deployments.create(&PostParams::default(), &deployment(own, &world.settings.image)).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let up = loop {
        let findings = check().await;
        if findings[0].verdict == Verdict::Ok || std::time::Instant::now() > deadline {
            break findings;
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    };
    let verdict =
        |findings: &[Finding], check: &str| findings.iter().find(|finding| finding.check == check).map(|finding| finding.verdict);
    assert_eq!(verdict(&up, "sandbox"), Some(Verdict::Ok), "{up:#?}");
    assert_eq!(verdict(&up, "terminal"), Some(Verdict::Ok), "{up:#?}");
    assert_eq!(verdict(&up, "database address"), Some(Verdict::Fail), "no such Service: {up:#?}");
    assert!(!format!("{up:?}").contains("very-secret"));

    deployments.replace(name.as_str(), &PostParams::default(), &deployment(own, "team/nowhere:1")).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let broken = loop {
        let findings = check().await;
        if findings[0].verdict == Verdict::Fail || std::time::Instant::now() > deadline {
            break findings;
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    };
    assert!(broken[0].what.contains("`team/nowhere:1` is not on the node"), "{broken:#?}");
    deployments.replace(name.as_str(), &PostParams::default(), &deployment(Uuid::new_v4(), "x")).await.unwrap();
    assert!(check().await[0].what.contains("made for something else"));
    world.end().await;
}
