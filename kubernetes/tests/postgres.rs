//! A project's PostgreSQL on an apiserver in memory, as a StatefulSet or a Cluster of KubeBlocks: what is heard and said of
//! it, and what holds its removal up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod memory;

use engine::{
    database::{Database as _, DatabaseError},
    orchestrator::Removed,
};
use jiff::{SignedDuration, Timestamp};
use kubernetes::{
    Cluster, Settings, database::ClusterDatabase, index::Index, labels, names, reach::Reach, settings::DatabaseProvider,
};
use memory::{Apiserver, NAMESPACE, client, spec};
use model::{Cause, CauseCode};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How long anything may take on a machine that does much else.
const LONG: Duration = Duration::from_secs(30);

async fn database(server: &Arc<Mutex<Apiserver>>, index: Option<Arc<Index>>, patience: Duration) -> ClusterDatabase {
    let cluster = Cluster { client: client(server), namespace: NAMESPACE.to_owned() };
    let mut settings = Settings::new(spec().installation, NAMESPACE);
    settings.database.provider = DatabaseProvider::StatefulSet;
    let place = "The cluster".to_owned();
    ClusterDatabase::at(place, cluster, &settings, Reach::Outside, index).await.unwrap().with_patience(patience)
}

/// What makes databases by this, and has listed all that is there.
async fn of(server: &Arc<Mutex<Apiserver>>, provider: DatabaseProvider) -> ClusterDatabase {
    let cluster = Cluster { client: client(server), namespace: NAMESPACE.to_owned() };
    let mut settings = Settings::new(spec().installation, NAMESPACE);
    settings.database.provider = provider;
    ClusterDatabase::new(cluster, &settings, Reach::Outside).await.unwrap().with_patience(Duration::ZERO)
}

/// As the API writes a time.
fn ago(secs: i64) -> String {
    format!("{:.0}", Timestamp::now().checked_sub(SignedDuration::from_secs(secs)).unwrap())
}

fn cause<T: std::fmt::Debug>(answer: Result<T, DatabaseError>) -> Cause {
    match answer {
        Err(DatabaseError::Caused(cause)) => cause,
        other => panic!("no cause: {other:?}"),
    }
}

fn asked(server: &Arc<Mutex<Apiserver>>, what: &str) -> usize {
    server.lock().unwrap().asked.iter().filter(|asked| *asked == what).count()
}

/// The cluster refuses the pod, and says so by an event alone.
fn refused() -> Value {
    let name = names::postgres(&spec().name);
    let message = format!(
        "create Pod {name}-0 in StatefulSet {name} failed error: pods \"{name}-0\" is forbidden: exceeded quota: small, \
         requested: pods=1, used: pods=1, limited: pods=1"
    );
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "refused", "namespace": NAMESPACE, "uid": "refused"},
        "involvedObject": {"kind": "StatefulSet", "name": name}, "type": "Warning", "reason": "FailedCreate", "message": message})
}

#[tokio::test]
async fn what_an_event_tells_of_a_start_is_heard_and_not_asked_for() {
    let (server, wanted) = (Arc::<Mutex<Apiserver>>::default(), spec());
    database(&server, None, Duration::ZERO).await.ensure(&wanted).await.unwrap();
    assert_eq!(server.lock().unwrap().objects.len(), 5, "as it is made");
    server.lock().unwrap().asked.clear();

    // By a watch of its own.
    let own = database(&server, None, LONG).await;
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(own.ensure(&wanted), async { server.lock().unwrap().tell("events", "ADDED", refused()) });
    let told = cause(answer);
    assert_eq!(told.code, CauseCode::QuotaExceeded, "{told:?}");
    assert!(begun.elapsed() < LONG / 2, "as soon as it has held");
    assert_eq!(asked(&server, "GET events"), 1, "the list that its watch begins with: {:?}", server.lock().unwrap().asked);

    // By the one that the orchestrator has anyway: nothing is asked at all.
    let index = Index::new(wanted.installation, Vec::new()).0;
    let shared = database(&server, Some(index.clone()), LONG).await;
    server.lock().unwrap().asked.clear();
    let (answer, ()) = tokio::join!(shared.ensure(&wanted), async { index.happened(serde_json::from_value(refused()).unwrap()) });
    assert_eq!(cause(answer).code, CauseCode::QuotaExceeded);
    assert_eq!(server.lock().unwrap().asked, Vec::<String>::new());
}

#[tokio::test]
async fn a_removal_that_something_holds_up_says_so_and_goes_on_when_it_lets_go() {
    let (spec, now) = (spec(), Timestamp::now());
    let postgres = names::postgres(&spec.name);
    let labels = json!({
        labels::INSTALLATION: spec.installation.0.to_string(),
        labels::PROJECT: spec.project.0.to_string(),
        labels::COMPONENT: "database",
    });
    let since = |secs: i64| now.checked_sub(SignedDuration::from_secs(secs)).unwrap();
    for (plural, version, kind, name, words) in [
        ("persistentvolumeclaims", "v1", "PersistentVolumeClaim", format!("data-{postgres}-0"), "volume"),
        ("pods", "v1", "Pod", format!("{postgres}-0"), "does not end"),
    ] {
        let object = |kind: &str, name: &str, version: &str, meta: Value| {
            let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": "1", "labels": labels}});
            object["metadata"].as_object_mut().unwrap().extend(meta.as_object().cloned().unwrap_or_default());
            object
        };
        let leaving = |secs: i64| {
            let meta = json!({"deletionTimestamp": format!("{:.0}", since(secs)), "finalizers": ["example.com/held"]});
            object(kind, &name, version, meta)
        };
        let place = format!("{plural}/{name}");
        let server = Arc::<Mutex<Apiserver>>::default();
        {
            let mut server = server.lock().unwrap();
            server.objects.insert(place.clone(), leaving(1));
            server.objects.insert(format!("secrets/{postgres}"), object("Secret", &postgres, "v1", json!({})));
        }
        let going = database(&server, None, Duration::ZERO).await;
        assert_eq!(going.remove(&spec).await.unwrap(), Removed::Going, "{kind}: it has only begun");

        server.lock().unwrap().objects.insert(place.clone(), leaving(120));
        let held = database(&server, None, Duration::ZERO).await;
        let told = cause(held.remove(&spec).await);
        assert_eq!(told.code, CauseCode::DeletionOverdue, "{kind}: {told:?}");
        assert!(told.message.contains(words), "{kind}: {told:?}");
        if kind == "PersistentVolumeClaim" {
            assert!(told.detail.as_ref().is_some_and(|detail| detail.contains("example.com/held")), "{told:?}");
        }
        let kept = server.lock().unwrap().objects.contains_key(&format!("secrets/{postgres}"));
        assert!(kept, "the key to what is on the volume goes last");

        // Somebody takes the finalizer off.
        {
            let mut server = server.lock().unwrap();
            let last = server.objects.remove(&place).unwrap();
            server.tell(plural, "DELETED", last);
        }
        let begun = Instant::now();
        while !matches!(held.remove(&spec).await, Ok(Removed::Gone)) {
            assert!(begun.elapsed() < LONG, "{kind}: it is gone, and is said to go");
            tokio::task::yield_now().await;
        }
        assert!(server.lock().unwrap().objects.is_empty(), "nothing is left");
    }
}

/// How long ago what has run well since was made.
const LONG_AGO_SECS: i64 = 30 * 86_400;

#[tokio::test]
async fn a_cluster_of_kubeblocks_that_is_old_is_not_slow_as_soon_as_it_is_changed() {
    let server = Arc::new(Mutex::new(Apiserver { kubeblocks: true, ..Apiserver::default() }));
    of(&server, DatabaseProvider::KubeBlocks).await.ensure(&spec()).await.unwrap();
    for (phase, observed) in [("Updating", 3), ("Running", 2)] {
        {
            let mut server = server.lock().unwrap();
            let cluster = server.objects.get_mut(&format!("clusters/{}", spec().name)).unwrap();
            (cluster["metadata"]["creationTimestamp"], cluster["metadata"]["generation"]) = (json!(ago(LONG_AGO_SECS)), json!(3));
            cluster["status"] = json!({"phase": phase, "observedGeneration": observed});
        }
        let database = of(&server, DatabaseProvider::KubeBlocks).await;
        let glance = database.glance(&spec()).unwrap();
        assert!(glance.on && glance.cause.is_none(), "{phase}: {glance:?}");
        database.ensure(&spec()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stateful_set_that_is_old_is_not_slow_as_soon_as_its_container_ends_or_its_pod_is_deleted() {
    let server = Arc::<Mutex<Apiserver>>::default();
    of(&server, DatabaseProvider::StatefulSet).await.ensure(&spec()).await.unwrap();
    let name = names::postgres(&spec().name);
    let (place, glance) =
        (format!("pods/{name}-0"), async || of(&server, DatabaseProvider::StatefulSet).await.glance(&spec()).unwrap());
    {
        let mut server = server.lock().unwrap();
        let set = server.objects.get_mut(&format!("statefulsets/{name}")).unwrap();
        set["metadata"]["creationTimestamp"] = json!(ago(LONG_AGO_SECS));
        let labels = set["metadata"]["labels"].clone();
        server.objects.get_mut(&format!("persistentvolumeclaims/data-{name}-0")).unwrap()["status"] = json!({"phase": "Bound"});
        // It was killed for want of memory, and recovers.
        let killed = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": ago(3)}});
        let container = json!({"name": "postgresql", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"running": {"startedAt": ago(2)}}, "lastState": killed});
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{name}-0"), "namespace": NAMESPACE, "uid": "pod", "resourceVersion": "1",
                "labels": labels, "creationTimestamp": ago(LONG_AGO_SECS)},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "containerStatuses": [container],
                "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ago(3)}]}});
        server.objects.insert(place.clone(), pod);
    }
    let seen = glance().await;
    assert!(seen.on && seen.cause.is_none(), "{seen:?}");

    // Somebody deletes its pod.
    server.lock().unwrap().objects.get_mut(&place).unwrap()["metadata"]["deletionTimestamp"] = json!(ago(-30));
    let seen = glance().await;
    assert!(seen.on && seen.cause.is_none(), "{seen:?}");
    server.lock().unwrap().objects.remove(&place);
    let seen = glance().await;
    assert!(seen.on && seen.cause.is_none(), "{seen:?}");
}

/// Removes it until it is gone.
async fn removed(database: &ClusterDatabase) {
    for _ in 0..10 {
        if database.remove(&spec()).await.unwrap() == Removed::Gone {
            return;
        }
    }
    panic!("it is not gone");
}

#[tokio::test]
async fn a_removal_takes_no_right_on_what_others_would_have_made_and_is_not_there() {
    for (provider, right) in [
        (DatabaseProvider::KubeBlocks, "deletecollection statefulsets.apps"),
        (DatabaseProvider::StatefulSet, "get clusters.apps.kubeblocks.io"),
    ] {
        let server = Arc::new(Mutex::new(Apiserver { kubeblocks: true, ..Apiserver::default() }));
        server.lock().unwrap().forbidden = Some(right.to_owned());
        let database = of(&server, provider).await;
        database.ensure(&spec()).await.unwrap();
        removed(&database).await;
        let left: Vec<String> = server.lock().unwrap().objects.keys().cloned().collect();
        assert_eq!(left, Vec::<String>::new(), "{right}");
    }
}

#[tokio::test]
async fn what_others_made_is_removed_also_where_no_watch_has_told_of_it() {
    let server = Arc::new(Mutex::new(Apiserver { kubeblocks: true, ..Apiserver::default() }));
    let database = of(&server, DatabaseProvider::KubeBlocks).await;
    of(&server, DatabaseProvider::StatefulSet).await.ensure(&spec()).await.unwrap();
    server.lock().unwrap().forbidden = Some("deletecollection statefulsets.apps".to_owned());
    let told = cause(database.remove(&spec()).await);
    assert_eq!(told.code, CauseCode::PermissionMissing, "{told:?}");
    // Nor is it gone where it may not be looked for any more.
    server.lock().unwrap().forbidden = Some("list statefulsets.apps".to_owned());
    let told = cause(database.remove(&spec()).await);
    assert_eq!(told.code, CauseCode::PermissionMissing, "{told:?}");
    server.lock().unwrap().forbidden = None;
    removed(&database).await;
    let left: Vec<String> = server.lock().unwrap().objects.keys().cloned().collect();
    assert_eq!(left, Vec::<String>::new());
}
