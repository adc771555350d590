//! Objects of somebody else's that are called as ours are never adopted, changed or removed; what somebody left of ours is
//! taken up again; and what need not wait for each other is asked for at the same time. On an apiserver of this file's own, in
//! memory: no cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod memory;

use engine::{
    database::{Database as _, DatabaseError},
    orchestrator::{Orchestrator as _, OrchestratorError, Removed, SandboxSpec, VolumeName},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubernetes::{
    Cluster, Settings,
    database::ClusterDatabase,
    labels,
    manifests::Manifests,
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
    settings::{DatabaseProvider, IngressSettings},
};
use memory::{Apiserver, NAMESPACE, Waves, client, client_in_waves, spec};
use model::{CauseCode, Desired};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use uuid::Uuid;

async fn database(server: &Arc<Mutex<Apiserver>>) -> ClusterDatabase {
    let cluster = Cluster { client: client(server), namespace: NAMESPACE.to_owned() };
    let mut settings = Settings::new(spec().installation, NAMESPACE);
    settings.database.provider = DatabaseProvider::Auto;
    ClusterDatabase::new(cluster, &settings, Reach::Outside).await.unwrap().with_patience(Duration::ZERO)
}

/// Labels of what is somebody else's: by hand, another installation's of the same project, another project's of ours.
fn foreign_labels() -> [Value; 3] {
    let of = |installation: u128, project: u128| {
        json!({
            labels::INSTALLATION: Uuid::from_u128(installation).to_string(),
            labels::PROJECT: Uuid::from_u128(project).to_string(),
            labels::COMPONENT: "database",
        })
    };
    [json!({}), of(2, 7), of(1, 8)]
}

async fn stays(kubeblocks: bool, plural: &str, kind: &str, version: &str, name: &str) {
    for labels in foreign_labels() {
        let theirs = json!({"apiVersion": version, "kind": kind, "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": "theirs", "resourceVersion": "1", "labels": labels}});
        let place = format!("{plural}/{name}");
        let objects = BTreeMap::from([(place.clone(), theirs.clone())]);
        let server = Arc::new(Mutex::new(Apiserver { kubeblocks, objects, ..Apiserver::default() }));
        let database = database(&server).await;
        let glance = database.glance(&spec()).unwrap();
        assert!(glance.lost && !glance.on, "it is none of this project's: {place} {labels}");
        match database.ensure(&spec()).await {
            Err(DatabaseError::Caused(cause)) => {
                assert_eq!(cause.code, CauseCode::NameTaken, "{place} {labels}: {cause:?}");
                assert!(cause.message.contains(&format!("{kind} `{name}`")), "{cause:?}");
            }
            other => panic!("{place} {labels} was adopted: {other:?}"),
        }
        database.stop(&spec()).await.unwrap();
        assert_eq!(database.remove(&spec()).await.unwrap(), Removed::Gone, "{place} {labels}");
        let server = server.lock().unwrap();
        assert_eq!(server.objects.get(&place), Some(&theirs), "{place} {labels}: as it was");
        assert_eq!(server.objects.len(), 1, "and nothing of ours is left beside it: {:?}", server.objects.keys());
        let touched = [format!("PATCH {place}"), format!("DELETE {place}")];
        assert!(!server.asked.iter().any(|asked| touched.contains(asked)), "{:?}", server.asked);
    }
}

#[tokio::test]
async fn what_is_called_as_a_databases_objects_is_left_to_whose_it_is() {
    let name = format!("{}-postgresql", spec().name);
    for (plural, kind, version) in [
        ("statefulsets", "StatefulSet", "apps/v1"),
        ("services", "Service", "v1"),
        ("secrets", "Secret", "v1"),
        ("networkpolicies", "NetworkPolicy", "networking.k8s.io/v1"),
    ] {
        stays(false, plural, kind, version, &name).await;
    }
    // The StatefulSet's pod would have whatever is called so.
    stays(false, "persistentvolumeclaims", "PersistentVolumeClaim", "v1", &format!("data-{name}-0")).await;
}

#[tokio::test]
async fn what_is_called_as_a_cluster_of_kubeblocks_is_left_to_whose_it_is() {
    stays(true, "clusters", "Cluster", "apps.kubeblocks.io/v1", spec().name.as_str()).await;
    // Its pods as well.
    let volume = format!("data-{}-postgresql-0", spec().name);
    stays(true, "persistentvolumeclaims", "PersistentVolumeClaim", "v1", &volume).await;
}

#[tokio::test]
async fn a_database_that_was_stopped_is_not_started_on_a_volume_of_somebody_elses() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    database(&server).await.ensure(&spec()).await.unwrap();
    let name = format!("{}-postgresql", spec().name);
    let volume = format!("data-{name}-0");
    {
        let mut server = server.lock().unwrap();
        server.objects.get_mut(&format!("statefulsets/{name}")).unwrap()["spec"]["replicas"] = json!(0);
        let claim = server.objects.get_mut(&format!("persistentvolumeclaims/{volume}")).unwrap();
        claim["metadata"]["labels"][labels::PROJECT] = json!(Uuid::from_u128(8).to_string());
    }
    let stopped = database(&server).await;
    match stopped.ensure(&spec()).await {
        Err(DatabaseError::Caused(cause)) => {
            assert!(cause.code == CauseCode::NameTaken && cause.message.contains(&volume), "{cause:?}");
        }
        other => panic!("it was mounted: {other:?}"),
    }
    let server = server.lock().unwrap();
    assert!(!server.asked.contains(&format!("PATCH statefulsets/{name}")), "{:?}", server.asked);
}

#[tokio::test]
async fn what_is_ours_is_made_and_removed() {
    for (kubeblocks, made) in [(false, 5), (true, 2)] {
        let server = Arc::new(Mutex::new(Apiserver { kubeblocks, ..Apiserver::default() }));
        let database = database(&server).await;
        database.ensure(&spec()).await.unwrap();
        let there = || server.lock().unwrap().objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(there().len(), made, "{:?}", there());
        let mut removed = Removed::Going;
        for _ in 0..10 {
            removed = database.remove(&spec()).await.unwrap();
            if removed == Removed::Gone {
                break;
            }
        }
        assert_eq!(removed, Removed::Gone);
        assert_eq!(there(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_database_that_was_replaced_since_it_was_looked_at_is_not_stopped() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    database(&server).await.ensure(&spec()).await.unwrap();
    let looked = database(&server).await;
    let place = format!("statefulsets/{}-postgresql", spec().name);
    // Made anew by somebody else, which its watch has not told yet.
    let theirs = {
        let mut server = server.lock().unwrap();
        let theirs = server.objects.get_mut(&place).unwrap();
        theirs["metadata"]["uid"] = json!("theirs");
        theirs.clone()
    };
    match looked.stop(&spec()).await {
        Err(DatabaseError::Caused(cause)) => assert_eq!(cause.code, CauseCode::OrchestratorBusy, "{cause:?}"),
        other => panic!("it was stopped: {other:?}"),
    }
    assert_eq!(server.lock().unwrap().objects.get(&place), Some(&theirs));
}

#[tokio::test]
async fn a_cluster_of_kubeblocks_that_was_replaced_since_it_was_looked_at_is_neither_stopped_nor_started() {
    let place = format!("clusters/{}", spec().name);
    for stopped in [false, true] {
        let server = Arc::new(Mutex::new(Apiserver { kubeblocks: true, ..Apiserver::default() }));
        database(&server).await.ensure(&spec()).await.unwrap();
        let stop = |uid: &str| {
            let mut server = server.lock().unwrap();
            let cluster = server.objects.get_mut(&place).unwrap();
            cluster["metadata"]["uid"] = json!(uid);
            cluster["spec"]["componentSpecs"][0]["stop"] = json!(stopped);
            cluster.clone()
        };
        stop("ours");
        let looked = database(&server).await;
        let act = async || if stopped { looked.ensure(&spec()).await.unwrap() } else { looked.stop(&spec()).await.unwrap() };
        // Made anew by somebody else, which its watch has not told yet.
        let theirs = stop("theirs");
        act().await;
        let patches = || server.lock().unwrap().asked.iter().filter(|asked| **asked == format!("PATCH {place}")).count();
        assert_eq!((patches(), server.lock().unwrap().objects.get(&place)), (1, Some(&theirs)));
        let ours = stop("ours");
        act().await;
        assert_ne!(server.lock().unwrap().objects.get(&place), Some(&ours), "this one is meant");
    }
}

/// Of a sandbox with hosts of its own, and what makes it once all is listed.
async fn sandbox(
    server: &Arc<Mutex<Apiserver>>,
    waves: Option<Arc<Waves>>,
) -> (Arc<KubernetesOrchestrator>, SandboxSpec, Manifests) {
    let installation = spec().installation;
    let settings =
        Settings { ingress: Some(IngressSettings::new("sandboxes.example.com")), ..Settings::new(installation, NAMESPACE) };
    let mut sandbox = engine::orchestrator::contract::spec();
    // As `foreign_labels` have them.
    (sandbox.installation, sandbox.project, sandbox.id) = (installation, spec().project, spec().sandbox);
    sandbox.volume = VolumeName::of(sandbox.project);
    let made = Manifests::of(&sandbox, &settings);
    let cluster = Cluster { client: client_in_waves(server, waves), namespace: NAMESPACE.to_owned() };
    let orchestrator = KubernetesOrchestrator::new(cluster, settings, Reach::Outside).unwrap();
    assert!(orchestrator.index().synced(Duration::from_secs(20)).await, "{:?}", *orchestrator.health().borrow());
    (orchestrator, sandbox, made)
}

/// Labels of what is none of a sandbox's, and whether it is our own installation's: of those a listing tells.
fn labels_of_no_sandbox_of_ours() -> [(Value, bool); 3] {
    let of = |installation: u128, sandbox: u128| {
        json!({
            labels::INSTALLATION: Uuid::from_u128(installation).to_string(),
            labels::PROJECT: Uuid::from_u128(sandbox).to_string(),
            labels::SANDBOX: Uuid::from_u128(sandbox).to_string(),
            labels::COMPONENT: "sandbox",
        })
    };
    [(json!({"app": "theirs"}), false), (of(2, 7), false), (of(1, 8), true)]
}

/// The watch of its kind tells of an object.
async fn hear(server: &Arc<Mutex<Apiserver>>, orchestrator: &KubernetesOrchestrator, plural: &str, object: &Value) {
    server.lock().unwrap().tell(plural, "ADDED", object.clone());
    let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    let known = async {
        while !orchestrator.list().await.unwrap().iter().any(|there| there.kind == kind && there.name == name) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known).await.unwrap();
}

#[tokio::test]
async fn what_is_called_as_a_sandboxs_objects_is_left_to_whose_it_is() {
    let name = |meta: &ObjectMeta| meta.name.clone().unwrap();
    let nowhere = Arc::new(Mutex::new(Apiserver::default()));
    let (_, _, all) = sandbox(&nowhere, None).await;
    assert_eq!(all.ingresses.len(), 2, "of the application and of its terminal");
    for number in 0..9 {
        // Of our own installation the index may have heard, too.
        let each = labels_of_no_sandbox_of_ours()
            .into_iter()
            .flat_map(|(labels, own)| [(labels.clone(), own, false), (labels, own, true)]);
        for (mut labels, _, heard) in each.filter(|(_, own, heard)| *own || !*heard) {
            let server = Arc::new(Mutex::new(Apiserver::default()));
            let (orchestrator, sandbox, made) = sandbox(&server, None).await;
            let (plural, kind, version, name) = match number {
                0 => ("secrets", "Secret", "v1", name(&made.environment.metadata)),
                1 => ("secrets", "Secret", "v1", name(&made.agent.metadata)),
                2 => ("serviceaccounts", "ServiceAccount", "v1", name(&made.account.metadata)),
                3 => ("services", "Service", "v1", name(&made.service.metadata)),
                4 => ("networkpolicies", "NetworkPolicy", "networking.k8s.io/v1", name(&made.policy.metadata)),
                5 => ("deployments", "Deployment", "apps/v1", name(&made.deployment.metadata)),
                6 => ("persistentvolumeclaims", "PersistentVolumeClaim", "v1", name(&made.volume.metadata)),
                ingress => ("ingresses", "Ingress", "networking.k8s.io/v1", name(&made.ingresses[ingress - 7].metadata)),
            };
            if kind == "PersistentVolumeClaim" && !labels[labels::COMPONENT].is_null() {
                // Another project's home folder.
                labels[labels::COMPONENT] = json!("volume");
            }
            let place = format!("{plural}/{name}");
            let theirs = json!({"apiVersion": version, "kind": kind, "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": "theirs", "resourceVersion": "1", "labels": labels}});
            // Made after all was listed, and not heard of yet.
            server.lock().unwrap().objects.insert(place.clone(), theirs.clone());
            if heard {
                hear(&server, &orchestrator, plural, &theirs).await;
            }
            match orchestrator.ensure(&sandbox).await {
                Err(OrchestratorError::Caused(cause)) => {
                    assert_eq!(cause.code, CauseCode::NameTaken, "{place} {labels}: {cause:?}");
                    assert!(cause.message.contains(kind) && cause.message.contains(&name), "{cause:?}");
                }
                other => panic!("{place} {labels} was adopted: {other:?}"),
            }
            let runs = |server: &Apiserver| server.objects.keys().any(|key| key.starts_with("deployments/") && *key != place);
            assert!(!runs(&server.lock().unwrap()), "nothing runs beside {place}");
            let stopped = SandboxSpec { desired: Desired::Stopped, ..sandbox.clone() };
            orchestrator.ensure(&stopped).await.unwrap();
            let mut removed = Removed::Going;
            for _ in 0..10 {
                removed = orchestrator.remove(sandbox.id).await.unwrap();
                if removed == Removed::Gone {
                    removed = orchestrator.remove_volume(&sandbox.volume).await.unwrap();
                }
                if removed == Removed::Gone {
                    break;
                }
            }
            assert_eq!(removed, Removed::Gone, "{place} {labels}");
            let server = server.lock().unwrap();
            assert_eq!(server.objects.get(&place), Some(&theirs), "{place} {labels}: as it was");
            assert_eq!(server.objects.len(), 1, "and nothing of ours is left beside it: {:?}", server.objects.keys());
            let touched = ["PATCH", "PUT", "DELETE"].map(|method| format!("{method} {place}"));
            assert!(!server.asked.iter().any(|asked| touched.contains(asked)), "{:?}", server.asked);
        }
    }
}

#[tokio::test]
async fn what_is_sent_is_heard_of_also_where_something_else_is_refused() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    // All but the Service, which is refused before anything is asked.
    let (orchestrator, sandbox, made) = sandbox(&server, Some(Waves::new("POST", &[7]))).await;
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {
        "name": made.service.metadata.name, "namespace": NAMESPACE, "uid": "theirs", "resourceVersion": "1",
        "labels": labels_of_no_sandbox_of_ours()[2].0}});
    let place = format!("services/{}", sandbox.name);
    server.lock().unwrap().objects.insert(place.clone(), theirs.clone());
    hear(&server, &orchestrator, "services", &theirs).await;
    orchestrator.ensure(&sandbox).await.unwrap_err();
    let there = || server.lock().unwrap().objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(there().len(), 8, "{:?}", there());
    // A removal right after it leaves nothing behind.
    let mut removed = Removed::Going;
    while removed != Removed::Gone {
        removed = orchestrator.remove(sandbox.id).await.unwrap();
    }
    assert_eq!(there(), [format!("persistentvolumeclaims/{}", sandbox.volume.0), place]);
}

#[tokio::test]
async fn what_need_not_wait_is_made_and_removed_at_the_same_time() {
    let first = [
        "ingresses",
        "ingresses",
        "networkpolicies",
        "persistentvolumeclaims",
        "secrets",
        "secrets",
        "serviceaccounts",
        "services",
    ];
    let server = Arc::new(Mutex::new(Apiserver::default()));
    let waves = Waves::new("POST", &[8, 9]);
    let (orchestrator, made, _) = sandbox(&server, Some(waves.clone())).await;
    orchestrator.ensure(&made).await.unwrap();
    // A pod must not start without its policy, and cannot without its account, its Secrets and its volume.
    assert_eq!(waves.waves(), [&first[..], &["deployments"]]);

    let waves = Waves::new("DELETE", &[6, 8]);
    let (orchestrator, again, _) = sandbox(&server, Some(waves.clone())).await;
    assert_eq!(orchestrator.remove(again.id).await.unwrap(), Removed::Gone);
    // A pod that ends keeps its policy and its account until it has.
    let first = ["deployments", "ingresses", "ingresses", "secrets", "secrets", "services"];
    assert_eq!(waves.waves(), [&first[..], &["networkpolicies", "serviceaccounts"]]);
    let left: Vec<String> = server.lock().unwrap().objects.keys().cloned().collect();
    assert_eq!(left, [format!("persistentvolumeclaims/{}", made.volume.0)]);
}

/// A sandbox whose Deployment somebody deleted by `kubectl delete --cascade=orphan`, and its pod, which nobody ends. `owned`: its
/// ReplicaSet is still there.
async fn left_behind(server: &Arc<Mutex<Apiserver>>, owned: bool) -> (Arc<KubernetesOrchestrator>, SandboxSpec, Value) {
    let (orchestrator, spec, made) = sandbox(server, None).await;
    orchestrator.ensure(&spec).await.unwrap();
    let template = serde_json::to_value(made.deployment.spec.unwrap().template).unwrap();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "sandbox", "image": "", "imageID": "", "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }]},
    });
    let meta = &mut pod["metadata"];
    meta["labels"]["pod-template-hash"] = json!("5d4f8c");
    (meta["name"], meta["namespace"], meta["uid"]) =
        (json!(format!("{}-5d4f8c-x2x4z", spec.name)), json!(NAMESPACE), json!("pod"));
    if owned {
        meta["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{}-5d4f8c", spec.name), "uid": "set", "controller": true,
        }]);
    }
    hear(server, &orchestrator, "pods", &pod).await;
    let place = format!("deployments/{}", spec.name);
    {
        let mut server = server.lock().unwrap();
        let deployment = server.objects.remove(&place).unwrap();
        server.tell("deployments", "DELETED", deployment);
    }
    let known = async {
        while orchestrator.list().await.unwrap().iter().any(|there| there.kind == "Deployment") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known).await.unwrap();
    (orchestrator, spec, pod)
}

/// How many replicas are asked for of the Deployment that is there, if one is.
fn replicas(server: &Arc<Mutex<Apiserver>>, spec: &SandboxSpec) -> Option<i64> {
    server.lock().unwrap().objects.get(&format!("deployments/{}", spec.name))?["spec"]["replicas"].as_i64()
}

/// The count of starts that its pods would be of.
fn restart_count(server: &Arc<Mutex<Apiserver>>, spec: &SandboxSpec) -> Option<String> {
    let server = server.lock().unwrap();
    let template = &server.objects.get(&format!("deployments/{}", spec.name))?["spec"]["template"];
    template["metadata"]["annotations"][labels::RESTART_COUNT].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_pod_that_is_left_behind_has_a_deployment_again_of_the_run_that_is_asked_for() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    let (orchestrator, mut spec, _) = left_behind(&server, true).await;
    spec.restart_count += 1;
    orchestrator.ensure(&spec).await.unwrap();
    assert_eq!(replicas(&server, &spec), Some(1));
    assert_eq!(restart_count(&server, &spec), Some(spec.restart_count.to_string()), "its controller ends the run of before");
}

#[tokio::test]
async fn a_pod_that_goes_with_its_deployment_is_waited_for() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    let (orchestrator, spec, mut pod) = left_behind(&server, true).await;
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
    let goes = async {
        tokio::task::yield_now().await;
        server.lock().unwrap().tell("pods", "MODIFIED", pod);
    };
    let (ensured, ()) = tokio::join!(orchestrator.ensure(&spec), goes);
    ensured.unwrap();
    assert_eq!(replicas(&server, &spec), None, "two would write the same files");
}

#[tokio::test]
async fn a_pod_that_is_left_behind_is_ended_by_a_stop() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    let (orchestrator, spec, pod) = left_behind(&server, true).await;
    let stopped = SandboxSpec { desired: Desired::Stopped, ..spec.clone() };
    orchestrator.ensure(&stopped).await.unwrap();
    assert_eq!(replicas(&server, &spec), Some(0));
    server.lock().unwrap().tell("pods", "DELETED", pod);
    let down = async {
        while orchestrator.observe(spec.id).await.unwrap().present {
            orchestrator.ensure(&stopped).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), down).await.unwrap();
    let seen = orchestrator.observe(spec.id).await.unwrap();
    assert_eq!((seen.instance, seen.ended_by_itself), (None, 0), "its end was asked for");
}

#[tokio::test]
async fn a_pod_that_is_left_behind_is_ended_by_a_removal() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    let (orchestrator, spec, pod) = left_behind(&server, true).await;
    assert_eq!(orchestrator.remove(spec.id).await.unwrap(), Removed::Going);
    let place = format!("deployments/{}", spec.name);
    {
        let server = server.lock().unwrap();
        let there = &server.objects[&place]["spec"];
        assert_eq!(there["replicas"], 0);
        let selected = there["selector"]["matchLabels"].as_object().unwrap();
        assert!(!selected.is_empty() && selected.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value));
        assert_eq!(there["template"]["metadata"]["labels"]["pod-template-hash"], Value::Null, "it is its controller's");
    }
    assert_eq!(orchestrator.remove(spec.id).await.unwrap(), Removed::Going);
    assert_eq!(replicas(&server, &spec), Some(0), "without it nobody would end the pod");
    server.lock().unwrap().tell("pods", "DELETED", pod);
    let gone = async {
        while orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    let left: Vec<String> = server.lock().unwrap().objects.keys().cloned().collect();
    assert_eq!(left, [format!("persistentvolumeclaims/{}", spec.volume.0)]);
}

#[tokio::test]
async fn a_pod_that_has_lost_its_replica_set_too_ends_before_another_is_made() {
    let server = Arc::new(Mutex::new(Apiserver::default()));
    let (orchestrator, mut spec, pod) = left_behind(&server, false).await;
    let place = format!("pods/{}", pod["metadata"]["name"].as_str().unwrap());
    server.lock().unwrap().objects.insert(place.clone(), pod);
    spec.restart_count += 1;
    orchestrator.ensure(&spec).await.unwrap();
    let lives = server.lock().unwrap().objects.contains_key(&place);
    assert!(!lives && replicas(&server, &spec).is_none(), "two would write the same files");
}
