//! Objects of somebody else's that are called as ours are never adopted, changed or removed. On an apiserver of this file's
//! own, which keeps objects in memory and notes what is asked of it: no cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use engine::{
    database::{Database as _, DatabaseError, DatabaseSpec, contract::names},
    orchestrator::Removed,
};
use kube::{Client, client::Body};
use kubernetes::{Cluster, Settings, database::ClusterDatabase, labels, reach::Reach, settings::DatabaseProvider};
use model::{CauseCode, InstallationId, ProjectId, SandboxId};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use uuid::Uuid;

const NAMESPACE: &str = "team";

/// What is there, by `plural/name`, and what was asked: method and place.
#[derive(Default)]
struct Apiserver {
    kubeblocks: bool,
    objects: BTreeMap<String, Value>,
    asked: Vec<String>,
}

/// What a selector of labels says, of the three forms that are used.
fn selects(selector: &str, object: &Value) -> bool {
    let label = |key: &str| object["metadata"]["labels"][key].as_str();
    selector.split(',').filter(|one| !one.is_empty()).all(|one| match (one.split_once("!="), one.split_once('=')) {
        (Some((key, value)), _) => label(key) != Some(value),
        (None, Some((key, value))) => label(key) == Some(value),
        (None, None) => label(one).is_some(),
    })
}

/// A parameter of a query, decoded.
fn parameter(query: &str, name: &str) -> String {
    let raw = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let (mut bytes, mut rest) = (Vec::new(), raw.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, left @ ..]) => {
                let hex = String::from_utf8(vec![*high, *low]).unwrap();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                rest = left;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    let how = if code < 400 { "Success" } else { "Failure" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": how, "reason": reason, "message": reason, "code": code}),
    )
}

impl Apiserver {
    fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        let Some((_, place)) = path.split_once(&format!("/namespaces/{NAMESPACE}/")) else {
            let resource =
                json!({"name": "clusters", "singularName": "cluster", "namespaced": true, "kind": "Cluster", "verbs": ["get"]});
            return if self.kubeblocks && path == "/apis/apps.kubeblocks.io/v1" {
                let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps.kubeblocks.io/v1", "resources": [resource]});
                (200, list)
            } else {
                status(404, "NotFound")
            };
        };
        self.asked.push(format!("{method} {place}"));
        let selector = parameter(query, "labelSelector");
        let of_kind = |key: &String| key.split_once('/').is_some_and(|(kind, _)| kind == place);
        match (method, place.contains('/')) {
            ("POST", _) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                let key = format!("{place}/{}", object["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&key) {
                    return status(409, "AlreadyExists");
                }
                object["metadata"]["uid"] = json!(format!("ours-{}", self.objects.len()));
                object["metadata"]["resourceVersion"] = json!("2");
                self.objects.insert(key, object.clone());
                (201, object)
            }
            ("GET", true) => self.objects.get(place).map_or_else(|| status(404, "NotFound"), |object| (200, object.clone())),
            ("GET", false) => {
                let there = self.objects.iter().filter(|(key, object)| of_kind(key) && selects(&selector, object));
                let items: Vec<&Value> = there.map(|(_, object)| object).collect();
                (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "2"}, "items": items}))
            }
            ("PATCH", true) => match self.objects.get_mut(place) {
                Some(object) => {
                    object["metadata"]["labels"]["changed"] = json!("yes");
                    (200, object.clone())
                }
                None => status(404, "NotFound"),
            },
            ("DELETE", true) => self.objects.remove(place).map_or_else(|| status(404, "NotFound"), |_| status(200, "")),
            ("DELETE", false) => {
                self.objects.retain(|key, object| !(of_kind(key) && selects(&selector, object)));
                status(200, "")
            }
            _ => status(405, "MethodNotAllowed"),
        }
    }
}

fn client(server: &Arc<Mutex<Apiserver>>) -> Client {
    let server = server.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = server.clone();
        async move {
            let (parts, body) = request.into_parts();
            let query = parts.uri.query().unwrap_or_default();
            if query.contains("watch=true") {
                // Nothing ever changes but by what is asked here.
                std::future::pending::<()>().await;
            }
            let body = body.collect_bytes().await.unwrap();
            let (code, answer) = server.lock().unwrap().answer(parts.method.as_str(), parts.uri.path(), query, &body);
            let answer = http::Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer).unwrap())).unwrap();
            Ok::<_, Infallible>(answer)
        }
    });
    Client::new(service, NAMESPACE)
}

fn spec() -> DatabaseSpec {
    let id = Uuid::from_u128(7);
    let (slug, name) = names(id);
    DatabaseSpec {
        project: ProjectId(id),
        sandbox: SandboxId(id),
        slug,
        name,
        installation: InstallationId(Uuid::from_u128(1)),
        role: "p_7".to_owned(),
        database: "d_7".to_owned(),
        password: "secret".into(),
    }
}

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
        let server = Arc::new(Mutex::new(Apiserver { kubeblocks, objects, asked: Vec::new() }));
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
