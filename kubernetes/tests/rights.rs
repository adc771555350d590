//! The doctor's table of permissions, the chart's Role, docs/operations.md and docs/kubernetes.md are of the same rights, each of
//! which is used, and named where it is missing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod memory;

use engine::{
    database::{Database as _, DatabaseError},
    orchestrator::{Orchestrator, OrchestratorError, Removed, SandboxSpec, VolumeName},
};
use kubernetes::{
    Cluster, Settings,
    database::ClusterDatabase,
    doctor::{
        orphans,
        permissions::{Need, PERMISSIONS},
    },
    labels,
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
    settings::IngressSettings,
};
use memory::{Apiserver, NAMESPACE, client, spec};
use model::{Cause, CauseCode, Desired};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new("..").join(file)).unwrap()
}

/// `deployments.apps create`, of all rules, whichever values they depend on.
fn given() -> BTreeSet<String> {
    let role = read("deploy/chart/templates/role.yaml");
    let list = |line: &str, key: &str| -> Option<Vec<String>> {
        let inside =
            line.trim().trim_start_matches("- ").strip_prefix(key)?.trim().strip_prefix('[')?.strip_suffix(']')?.to_owned();
        Some(inside.split(", ").map(|item| item.trim_matches('"').to_owned()).collect())
    };
    let (mut groups, mut resources, mut given) = (Vec::new(), Vec::new(), BTreeSet::new());
    for line in role.lines() {
        groups = list(line, "apiGroups:").unwrap_or(groups);
        resources = list(line, "resources:").unwrap_or(resources);
        for verb in list(line, "verbs:").unwrap_or_default() {
            for (group, resource) in groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource))) {
                given.insert(format!("{resource}.{group} {verb}"));
            }
        }
    }
    given
}

#[test]
fn the_chart_gives_what_the_doctor_asks_for() {
    let given = given();
    assert!(given.len() > 80, "the Role is read wrong: {given:?}");
    let page = read("docs/operations.md");
    for permission in PERMISSIONS {
        for verb in permission.verbs {
            let right = format!("{}.{} {verb}", permission.resource, permission.group);
            assert!(given.contains(&right), "the chart does not give {right}");
        }
        assert!(
            page.contains(&format!("`{}`", permission.resource)),
            "docs/operations.md says nothing of {}",
            permission.resource
        );
    }
}

/// The table of docs/kubernetes.md, row by row.
#[test]
fn the_page_tells_of_each_right_and_why() {
    let page = read("docs/kubernetes.md");
    let section = page.split("## Rights").nth(1).unwrap().split("\n## ").next().unwrap();
    let written: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let needed = |need| match need {
        Need::Always => "always",
        Need::Ingress => "with `--ingress-domain`",
        Need::StatefulSet => "databases are StatefulSets",
        Need::KubeBlocks => "databases are of KubeBlocks",
        Need::KubeBlocksAlpha => "KubeBlocks is of before 1.0",
        Need::Helpful => "helpful",
    };
    let asked: Vec<String> = PERMISSIONS
        .iter()
        .map(|permission| {
            let dot = if permission.group.is_empty() { "" } else { "." };
            format!(
                "| `{}{dot}{}` | {} | {}{} | {} |",
                permission.resource,
                permission.group,
                permission.verbs.join(", "),
                needed(permission.need),
                if permission.namespaced { "" } else { ", of the whole cluster" },
                permission.why
            )
        })
        .collect();
    assert_eq!(written, asked, "as it should be:\n{}", asked.join("\n"));
}

/// How long anything may take on a machine that does much else.
const LONG: Duration = Duration::from_secs(30);

/// What makes sandboxes with hosts of their own.
fn orchestrator(server: &Arc<Mutex<Apiserver>>) -> Arc<KubernetesOrchestrator> {
    let cluster = Cluster { client: client(server), namespace: NAMESPACE.to_owned() };
    let mut settings = Settings::new(spec().installation, NAMESPACE);
    settings.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    KubernetesOrchestrator::new(cluster, settings, Reach::Outside).unwrap()
}

fn wanted() -> SandboxSpec {
    let mut sandbox = engine::orchestrator::contract::spec();
    (sandbox.installation, sandbox.project, sandbox.id) = (spec().installation, spec().project, spec().sandbox);
    sandbox.volume = VolumeName::of(sandbox.project);
    sandbox
}

/// A sandbox's whole life: what is seen, made, stopped and removed, and its volume. Where a right is missing, why it goes no further.
async fn sandbox(server: &Arc<Mutex<Apiserver>>) -> Result<(), Cause> {
    let refused = |error| match error {
        OrchestratorError::Caused(cause) => cause,
        OrchestratorError::Other(error) => panic!("{error:#}"),
    };
    let orchestrator = orchestrator(server);
    // What every page says while it is so.
    let mut told = Orchestrator::health(&*orchestrator);
    let known = |told: &Option<Cause>| told.as_ref().is_none_or(|cause| cause.code == CauseCode::PermissionMissing);
    if let Some(cause) = tokio::time::timeout(LONG, told.wait_for(known)).await.unwrap().unwrap().clone() {
        return Err(cause);
    }
    let sandbox = wanted();
    orchestrator.ensure(&sandbox).await.map_err(refused)?;
    let stopped = SandboxSpec { desired: Desired::Stopped, ..sandbox.clone() };
    orchestrator.ensure(&stopped).await.map_err(refused)?;
    assert_eq!(orchestrator.remove(sandbox.id).await.map_err(refused)?, Removed::Gone);
    assert_eq!(orchestrator.remove_volume(&sandbox.volume).await.map_err(refused)?, Removed::Gone);
    Ok(())
}

async fn databases(server: &Arc<Mutex<Apiserver>>) -> Result<ClusterDatabase, DatabaseError> {
    let cluster = Cluster { client: client(server), namespace: NAMESPACE.to_owned() };
    let settings = Settings::new(spec().installation, NAMESPACE);
    Ok(ClusterDatabase::new(cluster, &settings, Reach::Outside).await?.with_patience(Duration::ZERO))
}

/// A database's life, as far as it is made and removed.
async fn database(server: &Arc<Mutex<Apiserver>>) -> Result<(), Cause> {
    let refused = |error| match error {
        DatabaseError::Caused(cause) => cause,
        DatabaseError::Other(error) => panic!("{error:#}"),
    };
    let database = databases(server).await.map_err(refused)?;
    database.ensure(&spec()).await.map_err(refused)?;
    for _ in 0..10 {
        if database.remove(&spec()).await.map_err(refused)? == Removed::Gone {
            return Ok(());
        }
    }
    panic!("it is not gone")
}

/// Lives it once with all rights, and then with each of those that it used and `counts` missing: that one is named, as the row, the
/// page and the API have it.
async fn each_is_named(
    kubeblocks: bool,
    counts: fn(&str) -> bool,
    live: impl AsyncFn(&Arc<Mutex<Apiserver>>) -> Result<(), Cause>,
) -> usize {
    let server = || Arc::new(Mutex::new(Apiserver { kubeblocks, ..Apiserver::default() }));
    let whole = server();
    live(&whole).await.unwrap();
    let used = whole.lock().unwrap().used.clone();
    let mut named = 0;
    for right in &used {
        let (verb, of) = right.split_once(' ').unwrap();
        let (resource, group) = of.split_once('.').unwrap_or((of, ""));
        let is_it = |resource_of: &str, group_of: &str| resource_of == resource && group_of == group;
        let known = PERMISSIONS.iter().any(|known| is_it(known.resource, known.group) && known.verbs.contains(&verb));
        assert!(known, "`{right}` is used, and in no table");
        if !counts(verb) {
            continue;
        }
        let narrow = server();
        narrow.lock().unwrap().forbidden = Some(right.clone());
        let Err(cause) = live(&narrow).await else { panic!("without the right to {right} all goes well") };
        assert_eq!(cause.code, CauseCode::PermissionMissing, "{right}: {cause:?}");
        let said = format!("The account `u` may not {right} in the cluster");
        assert!(cause.message.starts_with(&said), "`{said}` is not said: {cause:?}");
        assert!(cause.next_steps[0].contains(&format!("`{verb}` on `{of}`")), "{cause:?}");
        named += 1;
    }
    named
}

#[tokio::test]
async fn each_right_that_a_sandbox_needs_is_named_where_it_is_missing() {
    // A watch that breaks off is no trouble for some seconds.
    let named = each_is_named(false, |verb| verb != "watch", sandbox).await;
    assert!(named >= 24, "nine kinds are listed, seven made and removed, and one is stopped: {named}");
}

#[tokio::test]
async fn each_right_that_a_database_needs_is_named_where_it_is_missing() {
    let writes = |verb: &str| matches!(verb, "create" | "delete" | "deletecollection");
    for (kubeblocks, least) in [(false, 6), (true, 3)] {
        let named = each_is_named(kubeblocks, writes, database).await;
        assert!(named >= least, "{named}");
    }
}

/// A sandbox that another replica has made and somebody has changed since, of which the watches have not told yet.
async fn mended(server: &Arc<Mutex<Apiserver>>) {
    let (first, second) = (orchestrator(server), orchestrator(server));
    assert!(first.index().synced(LONG).await && second.index().synced(LONG).await);
    let sandbox = wanted();
    first.ensure(&sandbox).await.unwrap();
    for (place, object) in &mut server.lock().unwrap().objects {
        match place.split('/').next().unwrap() {
            "deployments" => object["spec"]["replicas"] = json!(0),
            "services" => object["spec"]["ports"] = json!([]),
            "ingresses" => object["spec"]["rules"] = json!([]),
            "networkpolicies" => object["spec"]["podSelector"] = json!({}),
            "serviceaccounts" => {
                object["metadata"]["labels"].as_object_mut().unwrap().remove(labels::APP);
            }
            _ => {}
        }
    }
    second.ensure(&sandbox).await.unwrap();
}

/// The same of a database, which is then stopped.
async fn found_and_stopped(server: &Arc<Mutex<Apiserver>>) {
    let (first, second) = (databases(server).await.unwrap(), databases(server).await.unwrap());
    first.ensure(&spec()).await.unwrap();
    second.ensure(&spec()).await.unwrap();
    databases(server).await.unwrap().stop(&spec()).await.unwrap();
}

/// Objects of each kind that belong to nobody any more.
async fn left_over(server: &Arc<Mutex<Apiserver>>) {
    let plurals = [
        "deployments",
        "statefulsets",
        "pods",
        "services",
        "ingresses",
        "networkpolicies",
        "rolebindings",
        "roles",
        "serviceaccounts",
        "secrets",
        "persistentvolumeclaims",
        "clusters",
    ];
    let labels = json!({labels::INSTALLATION: spec().installation.to_string(), labels::SANDBOX: spec().sandbox.to_string()});
    let left =
        plurals.map(|plural| (format!("{plural}/left"), json!({"metadata": {"name": "left", "uid": plural, "labels": labels}})));
    server.lock().unwrap().objects.extend(left);
    let cluster = Cluster { client: client(server), namespace: NAMESPACE.to_owned() };
    let settings = Settings::new(spec().installation, NAMESPACE);
    let found = orphans::find(&cluster, &settings, &orphans::Known::default()).await.unwrap();
    assert_eq!(found.len(), plurals.len(), "{found:?}");
    assert_eq!(orphans::remove_all(&cluster, &found, Duration::ZERO, |_| ()).await.unwrap(), Vec::<&orphans::Orphan>::new());
}

/// Rights that are used where a kubelet runs pods, or KubeBlocks of before 1.0 is there: what its databases' pods may, whoever
/// gives it has to have.
const LIVE: [(&str, &[&str]); 10] = [
    ("pods", &["get", "create", "patch", "update"]),
    ("pods/log", &["get"]),
    ("pods/portforward", &["get", "create"]),
    ("opsrequests.apps.kubeblocks.io", &["get", "create", "delete"]),
    ("roles.rbac.authorization.k8s.io", &["get", "create", "patch", "deletecollection"]),
    ("rolebindings.rbac.authorization.k8s.io", &["get", "create", "patch", "deletecollection"]),
    ("serviceaccounts", &["deletecollection"]),
    ("configmaps", &["create", "get", "list", "patch", "update", "watch"]),
    ("endpoints", &["create", "get", "list", "patch", "update", "watch"]),
    ("events", &["create"]),
];

#[tokio::test]
async fn each_right_of_the_namespace_is_used() {
    let mut used = BTreeSet::new();
    for kubeblocks in [false, true] {
        let server = || Arc::new(Mutex::new(Apiserver { kubeblocks, ..Apiserver::default() }));
        let all = [server(), server(), server(), server(), server()];
        sandbox(&all[0]).await.unwrap();
        mended(&all[1]).await;
        database(&all[2]).await.unwrap();
        found_and_stopped(&all[3]).await;
        if kubeblocks {
            left_over(&all[4]).await;
        }
        used.extend(all.iter().flat_map(|server| server.lock().unwrap().used.clone()));
    }
    used.extend(LIVE.iter().flat_map(|(of, verbs)| verbs.iter().map(move |verb| format!("{verb} {of}"))));
    let given = PERMISSIONS.iter().filter(|permission| permission.namespaced).flat_map(|permission| {
        let dot = if permission.group.is_empty() { "" } else { "." };
        permission.verbs.iter().map(move |verb| format!("{verb} {}{dot}{}", permission.resource, permission.group))
    });
    let given: BTreeSet<String> = given.collect();
    let surplus: Vec<&String> = given.difference(&used).collect();
    assert!(surplus.is_empty(), "nothing uses {surplus:?}");
    let unknown: Vec<&String> = used.difference(&given).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}
