//! Objects of somebody else's that are called as ours are never adopted, changed or removed. On an apiserver of this file's
//! own, in memory: no cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod memory;

use engine::{
    database::{Database as _, DatabaseError},
    orchestrator::Removed,
};
use kubernetes::{Cluster, Settings, database::ClusterDatabase, labels, reach::Reach, settings::DatabaseProvider};
use memory::{Apiserver, NAMESPACE, client, spec};
use model::CauseCode;
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
}

#[tokio::test]
async fn what_is_called_as_a_cluster_of_kubeblocks_is_left_to_whose_it_is() {
    stays(true, "clusters", "Cluster", "apps.kubeblocks.io/v1", spec().name.as_str()).await;
}

#[tokio::test]
async fn what_is_ours_is_made_and_removed() {
    for (kubeblocks, made) in [(false, 4), (true, 2)] {
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
