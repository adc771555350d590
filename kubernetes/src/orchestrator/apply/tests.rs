//! Against an apiserver in memory, which keeps Secrets and notes what is asked of it.

use super::*;
use engine::orchestrator::contract;
use kube::{Client, client::Body};
use model::InstallationId;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Mutex, MutexGuard},
};

#[derive(Default)]
struct Apiserver {
    objects: BTreeMap<String, Value>,
    asked: Vec<String>,
    made: u64,
    /// A webhook that answers each deletion by 409.
    refuses_deletions: bool,
}

impl Apiserver {
    /// As if `manager` had made it.
    fn make(&mut self, mut object: Value, manager: &str) -> Value {
        self.made += 1;
        let fields: serde_json::Map<_, _> = ["data", "immutable"]
            .into_iter()
            .filter(|field| !object[*field].is_null())
            .map(|field| (format!("f:{field}"), json!({"f:any": {}})))
            .collect();
        object["metadata"]["uid"] = json!(format!("made-{}", self.made));
        object["metadata"]["resourceVersion"] = json!(self.made.to_string());
        object["metadata"]["managedFields"] = json!([{"manager": manager, "operation": "Update", "fieldsV1": fields}]);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.objects.insert(name, object.clone());
        object
    }

    fn answer(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let status = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": if code < 400 { "Success" } else { "Failure" },
                "reason": reason, "message": reason, "code": code});
            (code, status)
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        self.asked.push(method.to_owned());
        match (method, path.rsplit_once("/secrets/")) {
            ("POST", None) if self.objects.contains_key(body["metadata"]["name"].as_str().unwrap()) => {
                status(409, "AlreadyExists")
            }
            ("POST", None) => (201, self.make(body, FIELD_MANAGER)),
            ("GET", Some((_, name))) => {
                self.objects.get(name).map_or_else(|| status(404, "NotFound"), |object| (200, object.clone()))
            }
            ("DELETE", Some(_)) if self.refuses_deletions => status(409, "Conflict"),
            ("DELETE", Some((_, name))) => {
                let Some(there) = self.objects.get(name) else { return status(404, "NotFound") };
                if there["metadata"]["uid"] != body["preconditions"]["uid"] {
                    return status(409, "Conflict");
                }
                self.objects.remove(name);
                status(200, "")
            }
            _ => status(405, "MethodNotAllowed"),
        }
    }
}

struct World {
    server: Arc<Mutex<Apiserver>>,
    applier: Applier,
    wanted: Secret,
}

impl World {
    fn new() -> Self {
        let server = Arc::<Mutex<Apiserver>>::default();
        let asked = server.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = asked.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (code, answer) = server.lock().unwrap().answer(parts.method.as_str(), parts.uri.path(), &body);
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(http::Response::builder().status(code).body(answer).unwrap())
            }
        });
        let spec = contract::spec();
        let cluster = Cluster { client: Client::new(service, "team"), namespace: "team".to_owned() };
        let (index, _) = Index::new(spec.installation, Vec::new());
        let wanted = crate::manifests::agent(&spec, &crate::Settings::new(spec.installation, "team"));
        Self { server, applier: Applier { cluster, index }, wanted }
    }

    fn server(&self) -> MutexGuard<'_, Apiserver> {
        self.server.lock().unwrap()
    }

    /// What is asked by that, and what is there afterwards.
    async fn put(&self) -> (Vec<String>, Secret) {
        self.server().asked.clear();
        self.applier.put(&self.wanted).await.unwrap();
        let server = self.server();
        let there = server.objects.values().next().cloned().unwrap_or_else(|| json!({}));
        (server.asked.clone(), serde_json::from_value(there).unwrap())
    }

    /// As a watch tells it.
    fn told(&self, there: Value) {
        let there: Secret = serde_json::from_value(there).unwrap();
        self.applier.index.put(there.kept(), From::Watch);
    }

    /// The token's, with another token and written by `manager`.
    fn another(&self, manager: &str, immutable: bool) -> Value {
        let mut another = serde_json::to_value(&self.wanted).unwrap();
        another["data"][crate::manifests::TOKEN_KEY] = json!("YW5vdGhlcg==");
        if !immutable {
            another.as_object_mut().unwrap().remove("immutable");
        }
        self.server().make(another, manager)
    }
}

#[tokio::test]
async fn a_token_that_somebody_else_wrote_is_made_anew() {
    for (manager, immutable) in [("kubectl-edit", false), ("kubectl-create", true)] {
        let world = World::new();
        let (asked, made) = world.put().await;
        assert_eq!(asked, ["POST"]);
        assert_eq!((made.immutable, &made.data), (Some(true), &world.wanted.data));
        assert!(world.put().await.0.is_empty(), "an unchanged pass asks nothing");

        // Its mark is on it, as on ours.
        let theirs = world.another(manager, immutable);
        world.told(theirs);
        let (asked, made) = world.put().await;
        assert_eq!(asked, ["DELETE", "POST"], "{manager}");
        assert_eq!((made.immutable, &made.data), (Some(true), &world.wanted.data), "{manager}");
        assert!(world.put().await.0.is_empty());
    }
}

#[tokio::test]
async fn one_that_is_not_heard_of_yet_is_looked_at_and_made_anew_by_the_next_pass() {
    let world = World::new();
    world.another("kubectl-create", true);
    assert_eq!(world.put().await.0, ["POST", "GET", "DELETE"]);
    let (asked, made) = world.put().await;
    assert_eq!((asked.as_slice(), made.data), (&["POST".to_owned()][..], world.wanted.data.clone()));
}

#[tokio::test]
async fn a_token_of_before_they_were_immutable_is_made_anew_once() {
    let world = World::new();
    let old = {
        let mut old = serde_json::to_value(&world.wanted).unwrap();
        old.as_object_mut().unwrap().remove("immutable");
        world.server().make(old, FIELD_MANAGER)
    };
    world.told(old);
    let (asked, made) = world.put().await;
    assert_eq!((asked.as_slice(), made.immutable), (&["DELETE".to_owned(), "POST".to_owned()][..], Some(true)));
    assert!(world.put().await.0.is_empty());
}

#[tokio::test]
async fn what_somebody_notes_on_one_is_no_change_of_it() {
    for annotated in [json!({"example.com/seen": "yes"}), json!(null)] {
        let mut world = World::new();
        world.wanted.metadata.annotations = None;
        let (_, made) = world.put().await;
        let mut made = serde_json::to_value(made).unwrap();
        made["metadata"]["annotations"] = annotated;
        made["metadata"]["resourceVersion"] = json!("100");
        world.told(made);
        assert!(world.put().await.0.is_empty());
    }
    // A label that was taken off is put back.
    let world = World::new();
    let (_, made) = world.put().await;
    let mut made = serde_json::to_value(made).unwrap();
    made["metadata"]["labels"].as_object_mut().unwrap().remove("app");
    made["metadata"]["resourceVersion"] = json!("100");
    world.told(made);
    assert_eq!(world.put().await.0, ["DELETE", "POST"]);
}

#[tokio::test]
async fn what_is_refused_to_be_deleted_is_not_said_to_be_gone() {
    let world = World::new();
    let made = world.put().await.1.metadata;
    let known = || world.applier.index.read().secrets.all().next().and_then(|secret| secret.metadata.uid.clone());
    let delete = async || {
        world.server().asked.clear();
        let deleted = world.applier.delete(Kind::Secret, &made).await;
        (deleted, world.server().asked.clone())
    };
    world.server().refuses_deletions = true;
    let (deleted, asked) = delete().await;
    assert!(matches!(deleted, Err(OrchestratorError::Caused(_))), "{deleted:?}");
    assert_eq!(asked, ["DELETE", "GET"]);
    assert_eq!(known(), made.uid, "it lives");
    // What its watch tells afterwards counts.
    let mut there = serde_json::to_value(&world.wanted).unwrap();
    (there["metadata"]["uid"], there["metadata"]["resourceVersion"]) = (json!(made.uid), json!("100"));
    world.told(there);
    assert_eq!(world.applier.index.read().secrets.all().next().unwrap().metadata.resource_version.as_deref(), Some("100"));

    // Another has its name by now.
    let another = world.another("kubectl-create", true);
    let (deleted, asked) = delete().await;
    assert!(deleted.is_ok() && asked == ["DELETE", "GET"], "{deleted:?} {asked:?}");
    assert_eq!(known(), None);
    world.told(another);
    assert!(known().is_some() && known() != made.uid);
    // None has.
    let (deleted, _) = {
        world.server().objects.clear();
        delete().await
    };
    assert!(deleted.is_ok(), "{deleted:?}");
}

#[tokio::test]
async fn a_foreign_one_of_its_name_stays() {
    let world = World::new();
    let mut theirs = serde_json::to_value(&world.wanted).unwrap();
    theirs["metadata"]["labels"][labels::INSTALLATION] = json!(InstallationId(uuid::Uuid::from_u128(9)).0.to_string());
    world.server().make(theirs, FIELD_MANAGER);
    let refused = world.applier.put(&world.wanted).await.unwrap_err();
    assert!(matches!(&refused, OrchestratorError::Caused(cause) if cause.code == model::CauseCode::NameTaken), "{refused}");
    assert_eq!(world.server().asked, ["POST", "GET"]);
}

#[tokio::test]
async fn one_of_another_sandbox_of_ours_stays_also_where_it_is_heard_of() {
    let world = World::new();
    let mut theirs = serde_json::to_value(&world.wanted).unwrap();
    theirs["metadata"]["labels"][labels::SANDBOX] = json!(uuid::Uuid::from_u128(9).to_string());
    let theirs = world.server().make(theirs, "kubectl-create");
    world.told(theirs.clone());
    let refused = world.applier.put(&world.wanted).await.unwrap_err();
    assert!(matches!(&refused, OrchestratorError::Caused(cause) if cause.code == model::CauseCode::NameTaken), "{refused}");
    let server = world.server();
    assert!(server.asked.is_empty() && server.objects.values().eq([&theirs]), "{:?}", server.asked);
}

#[tokio::test]
async fn what_may_be_written_is_told_by_labels() {
    let world = World::new();
    let claim = {
        let spec = contract::spec();
        crate::manifests::volume(&spec, &crate::Settings::new(spec.installation, "team"))
    };
    let another = || Some(uuid::Uuid::from_u128(9).to_string());
    let some = |label: &str| [(label.to_owned(), another())];
    // The label and what it says instead, if anything; whether an object, and a home folder, may be written all the same.
    for (changes, object, volume) in [
        (vec![], true, true),
        (some(labels::INSTALLATION).to_vec(), false, false),
        (some(labels::SANDBOX).to_vec(), false, true),
        (vec![(labels::SANDBOX.to_owned(), None)], true, true),
        (some(labels::PROJECT).to_vec(), true, false),
        (vec![(labels::PROJECT.to_owned(), None)], true, false),
        (vec![(labels::SANDBOX.to_owned(), None), (labels::PROJECT.to_owned(), another())], false, false),
        (vec![(labels::COMPONENT.to_owned(), Some("database".to_owned()))], false, false),
        (vec![(labels::COMPONENT.to_owned(), None)], true, true),
    ] {
        let change = |meta: &ObjectMeta| {
            let mut there = meta.clone();
            let all = there.labels.get_or_insert_default();
            all.insert(labels::INSTALLATION.to_owned(), world.applier.index.installation().0.to_string());
            for (label, value) in &changes {
                match value {
                    Some(value) => all.insert(label.clone(), value.clone()),
                    None => all.remove(label),
                };
            }
            there
        };
        let secret = world.applier.allowed(&world.wanted, &change(&world.wanted.metadata));
        assert_eq!(secret.is_ok(), object, "{changes:?}: {secret:?}");
        let home = world.applier.allowed(&claim, &change(&claim.metadata));
        assert_eq!(home.is_ok(), volume, "{changes:?}: {home:?}");
    }
}
