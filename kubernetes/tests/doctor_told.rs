//! What the doctor says of each thing that may be wrong with a cluster, and of one project, of objects as a real cluster had
//! them (tests/recorded), on an apiserver in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod memory;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::database::DatabaseSpec;
use kubernetes::{
    Cluster, Settings,
    connection::{Connected, Source},
    doctor::{Asked, Databases, Finding, Report, Verdict, examine, orphans, permissions, project},
    labels,
    settings::{DatabaseProvider, IngressSettings},
};
use memory::{Apiserver, NAMESPACE, client, spec};
use model::{InstallationId, Phase, ProjectId, SandboxId};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use uuid::Uuid;

const INSTALLATION: InstallationId = InstallationId(Uuid::from_u128(1));

/// The objects of one name, as ours.
fn recorded(name: &str) -> (String, Apiserver) {
    let text = std::fs::read_to_string(format!("tests/recorded/{name}.json")).unwrap();
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let mut server = Apiserver::default();
    let mut put = |plural: &str, object: &Value| {
        let mut object = object.clone();
        let place = format!("{plural}/{}", object["metadata"]["name"].as_str().unwrap());
        object["metadata"]["labels"][labels::INSTALLATION] = json!(INSTALLATION.0.to_string());
        object["metadata"]["labels"]["app"] = recorded["name"].clone();
        server.objects.insert(place, object);
    };
    put("deployments", &recorded["deployment"]);
    for (plural, field) in [("pods", "pods"), ("ingresses", "ingresses"), ("events", "events")] {
        recorded[field].as_array().unwrap().iter().for_each(|object| put(plural, object));
    }
    (recorded["name"].as_str().unwrap().to_owned(), server)
}

async fn found(name: &str, server: Apiserver) -> Vec<Finding> {
    found_of(name, None, server).await
}

async fn found_of(name: &str, database: Option<DatabaseSpec>, server: Apiserver) -> Vec<Finding> {
    let server = Arc::new(Mutex::new(server));
    let cluster = Cluster { client: client(&server), namespace: NAMESPACE.to_owned() };
    let row = project::Row { database, state: Some((Phase::Starting, None)), ..project::Row::named(name.parse().unwrap()) };
    project::check(&cluster, &Settings::new(INSTALLATION, NAMESPACE), &row).await
}

fn of<'f>(findings: &'f [Finding], check: &str) -> &'f Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("no `{check}`: {findings:#?}"))
}

#[tokio::test]
async fn a_node_that_is_not_ready_or_gone_is_told_of() {
    let node = |ready: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": null, "lastTransitionTime": null}]}})
    };
    for (what, node, lost) in
        [("gone", None, true), ("not ready", Some(node("Unknown")), true), ("ready", Some(node("True")), false)]
    {
        let (name, mut server) = recorded("well");
        let pod = server.objects.iter().find(|(place, _)| place.starts_with("pods/")).unwrap().1;
        let on = pod["spec"]["nodeName"].as_str().unwrap().to_owned();
        server.objects.extend(node.map(|node| (format!("nodes/{on}"), node)));
        let findings = found(&name, server).await;
        assert_eq!(of(&findings, "state").verdict, Verdict::Ok, "{what}");
        let sandbox = of(&findings, "sandbox");
        assert_eq!(sandbox.what.contains("node"), lost, "{what}: {sandbox:?}");
        assert_eq!(sandbox.verdict == Verdict::Ok, !lost, "{what}: {sandbox:?}");
    }
}

#[tokio::test]
async fn an_ingress_whose_class_is_missing_is_told_of() {
    for there in [false, true] {
        let (name, mut server) = recorded("ingress-class-missing");
        let ingress = server.objects.iter().find(|(place, _)| place.starts_with("ingresses/")).unwrap().1;
        let class = ingress["spec"]["ingressClassName"].as_str().unwrap().to_owned();
        let pod = server.objects.iter().find(|(place, _)| place.starts_with("pods/")).unwrap().1;
        let on = pod["spec"]["nodeName"].as_str().unwrap().to_owned();
        let ready = json!([{"type": "Ready", "status": "True"}]);
        server.objects.insert(
            format!("nodes/{on}"),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": on}, "status": {"conditions": ready}}),
        );
        if there {
            let class_object =
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": class}, "spec": {}});
            server.objects.insert(format!("ingressclasses/{class}"), class_object);
        }
        let findings = found(&name, server).await;
        let sandbox = of(&findings, "sandbox");
        assert_eq!(sandbox.what.contains(&class), !there, "{sandbox:?}");
    }
}

/// Who answers whatever comes to a port of an address with these bytes.
async fn answers(address: &str, port: u16, answer: &'static [u8]) {
    let listener = TcpListener::bind((address, port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 256]).await;
            let _ = stream.write_all(answer).await;
        }
    });
}

/// A project that runs, with its database, whose pods are at an address of this machine.
fn project_at(address: &str) -> (String, Apiserver) {
    let (name, mut server) = recorded("well");
    let pod = server.objects.iter_mut().find(|(place, _)| place.starts_with("pods/")).unwrap().1;
    (pod["status"]["podIP"], pod["status"]["hostIP"]) = (json!(address), json!("127.0.0.1"));
    let on = pod["spec"]["nodeName"].as_str().unwrap().to_owned();
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let deployment = server.objects.get_mut(&format!("deployments/{name}")).unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "env"}}]);
    let url = STANDARD.encode(format!("postgresql://u:very-secret@{name}-postgresql.{NAMESPACE}.svc:5432/d?schema=public"));
    for (place, object) in [
        (format!("nodes/{on}"), json!({"metadata": {"name": on}, "status": {"conditions": ready}})),
        ("secrets/env".to_owned(), json!({"metadata": {"name": "env"}, "data": {"DATABASE_URL": url}})),
        (format!("services/{name}-postgresql"), json!({"metadata": {"name": format!("{name}-postgresql")}})),
        (
            format!("pods/{name}-postgresql-0"),
            json!({"metadata": {"name": format!("{name}-postgresql-0")}, "spec": {"containers": []},
                "status": {"podIP": address, "hostIP": "127.0.0.1", "conditions": ready}}),
        ),
    ] {
        server.objects.insert(place, object);
    }
    (name, server)
}

#[tokio::test]
async fn a_projects_terminal_its_database_and_the_address_of_that_are_tried() {
    let (agent, postgres) = (7682, 5432);
    answers("127.77.0.11", agent, b"HTTP/1.1 200 OK\r\n\r\n").await;
    answers("127.77.0.11", postgres, b"N").await;
    let (name, server) = project_at("127.77.0.11");
    let findings = found(&name, server).await;
    for check in ["sandbox", "terminal", "database", "database address"] {
        assert_eq!(of(&findings, check).verdict, Verdict::Ok, "{:?}", of(&findings, check));
    }

    // Nobody answers, or who does is something else.
    answers("127.77.0.12", agent, b"SSH-2.0-OpenSSH_9.9\r\n").await;
    answers("127.77.0.12", postgres, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    for (address, detail) in
        [("127.77.0.13", ["nothing listens", "nothing listens"]), ("127.77.0.12", ["speak HTTP", "no PostgreSQL"])]
    {
        let (name, server) = project_at(address);
        let findings = found(&name, server).await;
        for ((check, what), detail) in
            [("terminal", "does not answer on port 7682"), ("database", "ready and does not answer")].into_iter().zip(detail)
        {
            let finding = of(&findings, check);
            assert!(finding.verdict == Verdict::Fail && finding.what.contains(what) && !finding.mend.is_empty(), "{finding:?}");
            let said = finding.detail.as_deref().unwrap();
            assert!(said.to_lowercase().contains(&detail.to_lowercase()), "`{detail}` is missing: {finding:?}");
        }
    }

    // What the application was told leads nowhere any more.
    let (name, mut server) = project_at("127.77.0.11");
    server.objects.remove(&format!("services/{name}-postgresql"));
    server.objects.remove(&format!("pods/{name}-postgresql-0"));
    let findings = found(&name, server).await;
    for (check, what) in [("database address", "no such Service any more"), ("database", "There is no pod")] {
        let finding = of(&findings, check);
        assert!(finding.verdict == Verdict::Fail && finding.what.contains(what) && !finding.mend.is_empty(), "{finding:?}");
    }
    assert!(!format!("{findings:?}").contains("very-secret"), "an address has a password in it");
}

#[tokio::test]
async fn a_database_without_a_pod_is_missed_where_its_sandbox_should_run() {
    for (replicas, database, missed) in [(1, Some(spec()), true), (0, Some(spec()), false), (1, None, false)] {
        // Somebody deleted its set, or has it make none; the way to it is still there.
        let (name, mut server) = project_at("127.77.0.14");
        server.objects.remove(&format!("pods/{name}-postgresql-0"));
        server.objects.get_mut(&format!("deployments/{name}")).unwrap()["spec"]["replicas"] = json!(replicas);
        let findings = found_of(&name, database, server).await;
        assert_eq!(of(&findings, "database address").verdict, Verdict::Ok, "{findings:?}");
        let told = findings.iter().find(|finding| finding.check == "database");
        assert_eq!(told.is_some(), missed, "{findings:?}");
        assert!(told.is_none_or(|told| told.verdict == Verdict::Fail && told.what.contains("There is no pod")), "{told:?}");
    }
}

/// A container's state in a pod's status.
fn container(state: &Value) -> Value {
    json!({"podIP": "10.42.0.9", "containerStatuses": [{"name": "probe", "image": "", "imageID": "", "restartCount": 0,
        "ready": state["running"].is_object(), "state": state}]})
}

/// What becomes of the doctor's pods.
#[derive(Clone)]
struct Probes {
    server: Value,
    /// What the pod that asks for a name ends with.
    names: i32,
    /// What the one that tries the policy ends with before there is one; none: it goes on.
    before: Option<i32>,
    /// And once there is.
    after: i32,
}

impl Probes {
    const WELL: Self = Self { server: Value::Null, names: 0, before: None, after: 0 };

    fn of(self, objects: &BTreeMap<String, Value>, pod: &str) -> Value {
        let ended = |code: i32| container(&json!({"terminated": {"exitCode": code}}));
        let running = || container(&json!({"running": {}}));
        let forbidden = objects.keys().any(|key| key.starts_with("networkpolicies/"));
        match pod.rsplit('-').next().unwrap() {
            "names" => ended(self.names),
            "server" if self.server.is_null() => running(),
            "server" => container(&self.server),
            _ if forbidden => ended(self.after),
            _ => self.before.map_or_else(running, ended),
        }
    }
}

/// A cluster with nothing wrong with it, and settings that fit it.
fn well() -> (Apiserver, Settings) {
    let class =
        |name: &str, default: &str| json!({"metadata": {"name": name, "annotations": {default: "true"}}, "provisioner": "x"});
    let objects = [
        ("storageclasses/fast", class("fast", "storageclass.kubernetes.io/is-default-class")),
        ("ingressclasses/nginx", class("nginx", "ingressclass.kubernetes.io/is-default-class")),
    ];
    let mut server = Apiserver { objects: objects.map(|(key, object)| (key.to_owned(), object)).into(), ..Apiserver::default() };
    become_of(&mut server, Probes::WELL);
    let mut settings = Settings::new(INSTALLATION, NAMESPACE);
    settings.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    (server, settings)
}

fn become_of(server: &mut Apiserver, probes: Probes) {
    server.kubelet = Some(Box::new(move |objects: &BTreeMap<String, Value>, pod: &str| probes.clone().of(objects, pod)));
}

/// The findings, by check, and what is left of the probes.
async fn looked(server: Apiserver, settings: &Settings, known: Option<&orphans::Known>) -> (Vec<Finding>, Vec<String>) {
    let server = Arc::new(Mutex::new(server));
    let connected = Connected {
        cluster: Cluster { client: client(&server), namespace: NAMESPACE.to_owned() },
        source: Source::Flag(PathBuf::from("/etc/kubeconfig")),
        server: "https://198.51.100.7:6443".to_owned(),
        in_cluster: false,
        context: Some("dev".to_owned()),
    };
    let asked = Asked { connected: &connected, settings, known, project: None, probe: true };
    let report = examine(asked, Report::default()).await;
    let left =
        server.lock().unwrap().objects.keys().filter(|key| key.starts_with("pods/") || key.contains("doctor")).cloned().collect();
    let failed = report.findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    assert_eq!(report.failed(), failed);
    for finding in &report.findings {
        let helps = !finding.what.is_empty() && !finding.why.is_empty();
        assert!(helps && (finding.verdict == Verdict::Ok || !finding.mend.is_empty()), "{finding:?}");
    }
    (report.findings, left)
}

fn bad(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
}

#[tokio::test]
async fn each_check_is_made_and_each_is_well_where_the_cluster_is() {
    let (server, settings) = well();
    let (findings, left) = looked(server, &settings, Some(&orphans::Known::default())).await;
    for check in [
        "kubeconfig",
        "reachability",
        "version",
        "clock",
        "namespace",
        "apiserver address",
        "permission deployments.apps",
        "permission pods/log",
        "KubeBlocks",
        "storage class",
        "Ingress class",
        "orphans",
        "image",
        "name lookup",
        "network policies",
    ] {
        of(&findings, check);
    }
    assert!(bad(&findings).is_empty(), "{:#?}", bad(&findings));
    assert!(left.is_empty(), "probes are left: {left:?}");
    for (check, words) in [
        ("kubeconfig", "/etc/kubeconfig, context `dev`: https://198.51.100.7:6443, namespace `team`"),
        ("version", "v1.34.1"),
        ("network policies", "is enforced"),
    ] {
        assert!(of(&findings, check).what.contains(words), "{:?}", of(&findings, check));
    }
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_one_finding_and_the_rest_is_well() {
    type Wrong = fn(&mut Apiserver, &mut Settings);
    let cases: &[(&str, Verdict, &str, Wrong)] = &[
        ("version", Verdict::Warn, "older than 1.28", |server, _| server.minor = Some(27)),
        ("clock", Verdict::Fail, "ahead of this machine's", |server, _| server.clock_ahead_secs = 3600),
        ("clock", Verdict::Warn, "behind this machine's", |server, _| server.clock_ahead_secs = -60),
        ("KubeBlocks", Verdict::Fail, "its API is not served", |_, settings| {
            settings.database.provider = DatabaseProvider::KubeBlocks;
        }),
        ("KubeBlocks", Verdict::Fail, "have 2 replicas", |_, settings| settings.database.replicas = 2),
        ("storage class", Verdict::Fail, "`gone` does not exist; there are fast", |_, settings| {
            settings.storage_class = Some("gone".to_owned());
        }),
        ("storage class", Verdict::Fail, "there is none in the cluster", |server, _| {
            server.objects.remove("storageclasses/fast");
        }),
        ("storage class of databases", Verdict::Fail, "`openebs-backup` does not exist", |_, settings| {
            settings.database.storage_class = Some("openebs-backup".to_owned());
        }),
        ("Ingress class", Verdict::Fail, "no default", |server, _| {
            server.objects.remove("ingressclasses/nginx");
        }),
        ("Ingress class", Verdict::Fail, "`traefik` does not exist", |_, settings| {
            settings.ingress.as_mut().unwrap().class = Some("traefik".to_owned());
        }),
        ("orphans", Verdict::Warn, "belong to no row: Service left", |server, _| {
            let labels =
                json!({labels::INSTALLATION: INSTALLATION.0.to_string(), labels::SANDBOX: Uuid::from_u128(9).to_string()});
            let left = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "left", "uid": "1", "labels": labels}});
            server.objects.insert("services/left".to_owned(), left);
        }),
        ("name lookup", Verdict::Fail, "does not find `kubernetes.default.svc`", |server, _| {
            become_of(server, Probes { names: 1, ..Probes::WELL });
        }),
        ("name lookup", Verdict::Warn, "nothing that asks for a name", |server, _| {
            become_of(server, Probes { names: 9, ..Probes::WELL });
        }),
        ("network policies", Verdict::Fail, "accepted and not enforced", |server, _| {
            become_of(server, Probes { after: 7, ..Probes::WELL });
        }),
        ("network policies", Verdict::Warn, "does not reach the other at all", |server, _| {
            become_of(server, Probes { before: Some(8), ..Probes::WELL });
        }),
        ("network policies", Verdict::Warn, "neither Python nor Node", |server, _| {
            become_of(server, Probes { before: Some(9), ..Probes::WELL });
        }),
    ];
    for (check, verdict, words, wrong) in cases {
        let (mut server, mut settings) = well();
        wrong(&mut server, &mut settings);
        let (findings, left) = looked(server, &settings, Some(&orphans::Known::default())).await;
        let bad = bad(&findings);
        let [finding] = bad.as_slice() else { panic!("{check} ({words}): {bad:#?}") };
        assert_eq!((finding.check.as_str(), finding.verdict), (*check, *verdict), "{finding:?}");
        assert!(finding.what.contains(words), "`{words}` is missing: {finding:?}");
        assert!(left.is_empty(), "probes are left: {left:?}");
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_others_is_told_first_and_the_others_are_not_said_to_be_well() {
    let known = orphans::Known::default();
    let (mut server, settings) = well();
    server.nowhere = true;
    let (findings, _) = looked(server, &settings, Some(&known)).await;
    assert!(of(&findings, "namespace").what.contains("`team` does not exist"), "{:?}", of(&findings, "namespace"));
    assert_eq!((of(&findings, "namespace").verdict, of(&findings, "image").verdict), (Verdict::Fail, Verdict::Fail));

    let untold = |findings: &[Finding]| {
        for check in ["name lookup", "network policies"] {
            let finding = of(findings, check);
            assert!(finding.verdict == Verdict::Warn && finding.what.contains("Could not be tried"), "{finding:?}");
        }
    };
    let (mut server, settings) = well();
    let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "docker.io/fullstackagent/x: not found"}});
    become_of(&mut server, Probes { server: waiting, ..Probes::WELL });
    let (findings, left) = looked(server, &settings, Some(&known)).await;
    let image = of(&findings, "image");
    assert!(image.verdict == Verdict::Fail && image.mend.iter().any(|step| step.contains("--image")), "{image:?}");
    untold(&findings);
    assert!(left.is_empty(), "probes are left: {left:?}");

    // Who may start no pods is told so, and that this is no fault of the image.
    let (mut server, settings) = well();
    server.forbidden = Some("create pods".to_owned());
    let (findings, _) = looked(server, &settings, Some(&known)).await;
    assert_eq!(of(&findings, "image").verdict, Verdict::Warn);
    assert!(bad(&findings).iter().any(|finding| finding.check == "permission pods" && finding.verdict == Verdict::Warn));
    untold(&findings);

    let (mut server, settings) = well();
    server.forbidden = Some("create networkpolicies.networking.k8s.io".to_owned());
    let (findings, left) = looked(server, &settings, Some(&known)).await;
    let policies = of(&findings, "network policies");
    assert!(policies.verdict == Verdict::Fail && policies.what.contains("may not create networkpolicies"), "{policies:?}");
    assert!(left.is_empty(), "probes are left: {left:?}");

    let (server, settings) = well();
    let (findings, _) = looked(server, &settings, None).await;
    assert!(of(&findings, "orphans").verdict == Verdict::Warn && of(&findings, "orphans").what.contains("not known here"));
}

/// Of whichever settings, each verb on each kind is taken away once: it alone is named, with the command that gives it.
#[tokio::test]
async fn each_right_that_is_missing_is_named_and_no_other() {
    let mut settings = Settings::new(INSTALLATION, NAMESPACE);
    settings.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    let server = Arc::new(Mutex::new(Apiserver::default()));
    let cluster = Cluster { client: client(&server), namespace: NAMESPACE.to_owned() };
    let mut taken = BTreeSet::new();
    for databases in [Databases::StatefulSet, Databases::KubeBlocks, Databases::KubeBlocksAlpha] {
        for permission in permissions::PERMISSIONS {
            let helpful = permission.need == permissions::Need::Helpful;
            if !helpful && !permissions::is_needed(permission.need, &settings, databases) {
                continue;
            }
            let dot = if permission.group.is_empty() { "" } else { "." };
            let name = format!("{}{dot}{}", permission.resource, permission.group);
            for verb in permission.verbs {
                let right = format!("{verb} {name}");
                if !taken.insert(right.clone()) {
                    continue;
                }
                server.lock().unwrap().forbidden = Some(right.clone());
                let findings = permissions::check(&cluster, &settings, databases).await;
                let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
                let [finding] = bad.as_slice() else { panic!("{right}: {bad:#?}") };
                assert_eq!(finding.check, format!("permission {name}"));
                assert_eq!(finding.what, format!("The account may not {right}."));
                assert_eq!(finding.verdict, if helpful { Verdict::Warn } else { Verdict::Fail }, "{finding:?}");
                assert_eq!(finding.why, format!("Needed because {}.", permission.why));
                let gives = format!("--verb={verb} --resource={name}");
                assert!(finding.mend[0].contains(&gives), "`{gives}` is missing: {finding:?}");
            }
        }
    }
    let all = permissions::PERMISSIONS.iter().map(|permission| permission.verbs.len()).sum::<usize>();
    assert_eq!(taken.len(), all, "each was taken away once");
}

#[tokio::test]
async fn what_is_left_over_is_found_of_each_kind_and_it_alone_is_removed() {
    const KINDS: [(&str, &str, &str); 12] = [
        ("deployments", "Deployment", "apps/v1"),
        ("statefulsets", "StatefulSet", "apps/v1"),
        ("pods", "Pod", "v1"),
        ("services", "Service", "v1"),
        ("ingresses", "Ingress", "networking.k8s.io/v1"),
        ("networkpolicies", "NetworkPolicy", "networking.k8s.io/v1"),
        ("rolebindings", "RoleBinding", "rbac.authorization.k8s.io/v1"),
        ("roles", "Role", "rbac.authorization.k8s.io/v1"),
        ("serviceaccounts", "ServiceAccount", "v1"),
        ("secrets", "Secret", "v1"),
        ("persistentvolumeclaims", "PersistentVolumeClaim", "v1"),
        ("clusters", "Cluster", "apps.kubeblocks.io/v1"),
    ];
    let (row, none, theirs) = (Uuid::from_u128(7), Uuid::from_u128(8), Uuid::from_u128(2));
    let mut server = Apiserver { kubeblocks: true, ..Apiserver::default() };
    for (plural, kind, version) in KINDS {
        for (name, installation, sandbox) in
            [("left", INSTALLATION.0, none), ("kept", INSTALLATION.0, row), ("foreign", theirs, none)]
        {
            let labels = json!({labels::INSTALLATION: installation.to_string(), labels::SANDBOX: sandbox.to_string()});
            let meta = json!({"name": name, "uid": format!("{plural}-{name}"), "labels": labels});
            let object = json!({"apiVersion": version, "kind": kind, "metadata": meta});
            server.objects.insert(format!("{plural}/{name}"), object);
        }
    }
    let server = Arc::new(Mutex::new(server));
    let cluster = Cluster { client: client(&server), namespace: NAMESPACE.to_owned() };
    let settings = Settings::new(INSTALLATION, NAMESPACE);
    let known = orphans::Known { sandboxes: [SandboxId(row)].into(), projects: [ProjectId(row)].into() };
    let found = orphans::find(&cluster, &settings, &known).await.unwrap();
    assert!(found.iter().all(|orphan| orphan.name == "left"), "{found:?}");
    let kinds: BTreeSet<&str> = found.iter().map(|orphan| orphan.kind).collect();
    assert_eq!((found.len(), kinds), (KINDS.len(), BTreeSet::from(KINDS.map(|(_, kind, _)| kind))));
    let data: BTreeSet<&str> = found.iter().filter(|orphan| orphan.holds_data).map(|orphan| orphan.kind).collect();
    assert_eq!(data, BTreeSet::from(["StatefulSet", "PersistentVolumeClaim", "Cluster"]));

    let named = |name: &str| server.lock().unwrap().objects.keys().filter(|key| key.ends_with(&format!("/{name}"))).count();
    for orphan in found.iter().filter(|orphan| !orphan.holds_data) {
        orphans::remove(&cluster, orphan).await.unwrap();
    }
    assert_eq!((named("left"), named("kept"), named("foreign")), (data.len(), KINDS.len(), KINDS.len()));
    for orphan in found.iter().filter(|orphan| orphan.holds_data) {
        orphans::remove(&cluster, orphan).await.unwrap();
    }
    assert_eq!((named("left"), named("kept"), named("foreign")), (0, KINDS.len(), KINDS.len()));
    assert_eq!(orphans::find(&cluster, &settings, &known).await.unwrap(), []);
}

#[tokio::test]
async fn what_keeps_pods_apart_is_removed_once_they_have_ended() {
    let (sandbox, project) = (Uuid::from_u128(8), Uuid::from_u128(9));
    let mut server = Apiserver::default();
    for (plural, component) in [
        ("networkpolicies", "sandbox"),
        ("serviceaccounts", "sandbox"),
        ("deployments", "sandbox"),
        ("pods", "sandbox"),
        ("networkpolicies", "database"),
        ("services", "database"),
        ("statefulsets", "database"),
    ] {
        let mut labels = json!({
            labels::INSTALLATION: INSTALLATION.0.to_string(), labels::PROJECT: project.to_string(), labels::COMPONENT: component,
        });
        if component == "sandbox" {
            labels[labels::SANDBOX] = json!(sandbox.to_string());
        }
        let mut meta = json!({"name": component, "uid": format!("{plural}-{component}"), "labels": labels});
        if plural == "pods" {
            meta["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "uid": "set"}]);
        }
        server.objects.insert(format!("{plural}/{component}"), json!({"metadata": meta}));
    }
    let server = Arc::new(Mutex::new(server));
    let cluster = Cluster { client: client(&server), namespace: NAMESPACE.to_owned() };
    let settings = Settings::new(INSTALLATION, NAMESPACE);
    let found = orphans::find(&cluster, &settings, &orphans::Known::default()).await.unwrap();
    let there = || server.lock().unwrap().objects.keys().cloned().collect::<Vec<_>>();
    let remove = async || {
        let chosen = found.iter().filter(|orphan| !orphan.holds_data);
        let left = orphans::remove_all(&cluster, chosen, Duration::ZERO, |_| ()).await.unwrap();
        left.into_iter().map(|orphan| orphan.kind).collect::<BTreeSet<_>>()
    };
    assert_eq!(remove().await, BTreeSet::from(["NetworkPolicy", "ServiceAccount"]), "its pod is still there");
    let database = ["networkpolicies/database", "services/database", "statefulsets/database"];
    let kept: BTreeSet<String> = ["networkpolicies/sandbox", "serviceaccounts/sandbox", "pods/sandbox"]
        .into_iter()
        .chain(database)
        .map(str::to_owned)
        .collect();
    assert_eq!(there().into_iter().collect::<BTreeSet<_>>(), kept);
    server.lock().unwrap().objects.remove("pods/sandbox");
    assert_eq!(remove().await, BTreeSet::new());
    assert_eq!(there(), database, "what is of a database stays whole");
}
