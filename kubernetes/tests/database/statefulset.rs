//! [`kubernetes::database`] by StatefulSets.

use super::{
    definitions::Served,
    support::{self, LONG, World, spec, until},
};
use engine::{
    database::{Database, DatabaseError, Glance, contract::Subject},
    orchestrator::Removed,
};
use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kubernetes::settings::DatabaseProvider;
use model::CauseCode;
use serde_json::json;
use std::time::Duration;

async fn subject() -> Option<Subject> {
    support::subject(Served::Nothing, DatabaseProvider::Auto).await
}

engine::database_contract!(subject);

fn code(result: Result<(), DatabaseError>) -> (CauseCode, String) {
    match result {
        Err(DatabaseError::Caused(cause)) => {
            assert!(!cause.next_steps.is_empty());
            (cause.code, format!("{} {}", cause.message, cause.detail.unwrap_or_default()))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_url_connects_from_a_pod_of_the_project() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::Auto);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    let env: Vec<_> =
        database.credentials(&spec).variables().into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let pod = json!({"metadata": {"name": "client"}, "spec": {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "client", "image": support::image(), "env": env,
            "command": ["sh", "-c", "psql -v ON_ERROR_STOP=1 -c 'CREATE TABLE a (b int)' && psql \"$POSTGRES_URL\" -c 'TABLE a'"],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    }});
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let phase = async || pods.get("client").await.unwrap().status.unwrap().phase.unwrap_or_default();
    until("the client is done", async || matches!(phase().await.as_str(), "Succeeded" | "Failed")).await;
    let log = pods.logs("client", &Default::default()).await.unwrap();
    assert_eq!(phase().await, "Succeeded", "{log}");
}

#[tokio::test]
async fn data_and_password_outlive_the_stateful_set_and_its_pod() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    let credentials = database.credentials(&spec);
    let name = format!("{}-postgresql", spec.name);
    let inside = async |statement: &str| {
        let entered =
            support::enter(&world.cluster, spec.name.as_str(), &credentials.user, &credentials.password, &credentials.database);
        let mut inside = entered.await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut inside.connection).await.unwrap();
    };
    inside("CREATE TABLE kept (a int)").await;
    let sets: Api<StatefulSet> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    sets.delete(&name, &DeleteParams::foreground()).await.unwrap();
    until("the set is gone", async || sets.get_opt(&name).await.unwrap().is_none()).await;
    until("its pod is gone", async || pods.get_opt(&format!("{name}-0")).await.unwrap().is_none()).await;
    until("that is seen", async || !database.observe(&spec).await.unwrap().ready).await;
    database.ensure(&spec).await.unwrap();
    inside("INSERT INTO kept VALUES (1)").await;

    // Stopped, it is started.
    database.stop(&spec).await.unwrap();
    until("it is stopped", async || pods.get_opt(&format!("{name}-0")).await.unwrap().is_none()).await;
    until("that is seen", async || !database.observe(&spec).await.unwrap().ready).await;
    database.ensure(&spec).await.unwrap();
    inside("INSERT INTO kept VALUES (2)").await;

    // A Service edited by hand is mended.
    let services: Api<Service> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let edit = json!({"spec": {"selector": {"app.kubernetes.io/component": "nothing"}}});
    services.patch(&name, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    until("the edit is seen", async || !database.observe(&spec).await.unwrap().ready).await;
    database.ensure(&spec).await.unwrap();
    let selector = services.get(&name).await.unwrap().spec.unwrap().selector.unwrap();
    assert_eq!(selector["app.kubernetes.io/component"], "database");

    assert_eq!(database.remove(&spec).await.unwrap(), Removed::Gone);
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    assert!(secrets.get_opt(&name).await.unwrap().is_none());
    assert!(services.get_opt(&name).await.unwrap().is_none());
    assert!(claims.get_opt(&format!("data-{name}-0")).await.unwrap().is_none());
}

#[tokio::test]
async fn one_that_is_removed_by_hand_is_told_of_without_asking() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let database = world.database(&settings).await.with_patience(LONG);
    let (spec, other) = (spec(settings.installation), spec(settings.installation));
    database.ensure(&spec).await.unwrap();
    let glance = || database.glance(&spec).unwrap();
    assert_eq!(glance(), Glance { on: true, whole: true, stops: true, cause: None });
    assert!(!database.glance(&other).unwrap().on, "one that was never made");
    let mut told = database.watch();
    let sets: Api<StatefulSet> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let services: Api<Service> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let name = format!("{}-postgresql", spec.name);

    services.delete(&name, &DeleteParams::default()).await.unwrap();
    until("its Service is missed", async || {
        let sandbox = tokio::time::timeout(LONG, told.next()).await.unwrap().unwrap();
        assert_eq!(sandbox, spec.sandbox);
        !glance().whole
    })
    .await;
    assert!(glance().on, "it runs, and nobody finds it");
    database.ensure(&spec).await.unwrap();
    assert!(glance().whole);

    sets.delete(&name, &DeleteParams::foreground()).await.unwrap();
    until("the set is missed", async || {
        tokio::time::timeout(LONG, told.next()).await.unwrap().unwrap();
        !glance().on
    })
    .await;
    world.asked.lock().unwrap().clear();
    assert!(!glance().whole);
    assert!(world.asked.lock().unwrap().iter().all(|what| what.contains("watch=true")), "a glance asks nobody");
    until("the set is gone", async || sets.get_opt(&name).await.unwrap().is_none()).await;
    database.ensure(&spec).await.unwrap();
    assert_eq!(glance(), Glance { on: true, whole: true, stops: true, cause: None });
}

#[tokio::test]
async fn one_that_crashes_is_told_of_with_its_last_words() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    // Its files are no PostgreSQL's any more.
    let name = format!("{}-postgresql", spec.name);
    let sets: Api<StatefulSet> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let broken = json!({"spec": {"template": {"spec": {"containers": [{"name": "postgresql",
        "env": [{"name": "PGDATA", "value": "/var/lib/postgresql-data/pgdata/base"}]}]}}}});
    sets.patch(&name, &PatchParams::default(), &Patch::Strategic(broken)).await.unwrap();
    let database = database.with_patience(Duration::from_secs(1));
    let mut said = (CauseCode::Unexpected, String::new());
    until("the crash is said", async || match database.ensure(&spec).await {
        Ok(()) => false,
        failed => {
            said = code(failed);
            said.0 == CauseCode::DatabaseFailed && said.1.contains("ends by itself")
        }
    })
    .await;
    println!("{said:?}");
    assert!(said.1.contains("/var/lib/postgresql-data/pgdata/base"), "its own last words: {said:?}");
    let notice = database.glance(&spec).unwrap().cause.unwrap();
    assert_eq!(notice.code, CauseCode::DatabaseFailed, "and beside a sandbox that runs");
}

#[tokio::test]
async fn a_missing_image_and_a_missing_class_are_said() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    settings.database.image = "fsa.local/nothing:dev".to_owned();
    settings.image_pull_policy = "Never".to_owned();
    let database = world.database(&settings).await;
    let without_image = spec(settings.installation);
    let mut said = (CauseCode::Unexpected, String::new());
    until("the image is said to be missing", async || match database.ensure(&without_image).await {
        Ok(()) => false,
        failed => {
            said = code(failed);
            true
        }
    })
    .await;
    assert_eq!(said.0, CauseCode::ImageBackOff);
    assert!(said.1.contains("fsa.local/nothing:dev"), "{said:?}");

    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    settings.database.storage_class = Some("nobodys".to_owned());
    let database = world.database(&settings).await;
    let without_class = spec(settings.installation);
    until("the class is said to be missing", async || match database.ensure(&without_class).await {
        Ok(()) => false,
        failed => {
            said = code(failed);
            said.0 == CauseCode::VolumePending
        }
    })
    .await;
    assert!(said.1.contains("`nobodys`") && said.1.contains("\"nobodys\" not found"), "{said:?}");
    // And they are removed all the same.
    until("it is removed", async || database.remove(&without_class).await.unwrap() == Removed::Gone).await;
}

#[tokio::test]
async fn a_password_changed_by_hand_is_said() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    let name = format!("{}-postgresql", spec.name);
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let mut secret = secrets.get(&name).await.unwrap();
    secrets.delete(&name, &DeleteParams::default()).await.unwrap();
    secret.metadata.resource_version = None;
    secret.data.as_mut().unwrap().insert("password".to_owned(), k8s_openapi::ByteString(b"another".to_vec()));
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    // Another process, which has no way in yet.
    let database = world.database(&settings).await.with_patience(Duration::from_secs(20));
    let said = code(database.ensure(&spec).await);
    assert_eq!(said.0, CauseCode::DatabaseRefused);
    assert!(said.1.contains("superuser's password"), "{said:?}");
}

#[tokio::test]
async fn making_one_asks_the_cluster_little_and_looking_at_it_nothing() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::Auto);
    let database = world.database(&settings).await.with_patience(LONG);
    // Another is made before, so that every watch runs.
    database.ensure(&spec(settings.installation)).await.unwrap();
    let spec = spec(settings.installation);
    let asked = || std::mem::take(&mut *world.asked.lock().unwrap());
    asked();
    let begun = std::time::Instant::now();
    assert!(!database.observe(&spec).await.unwrap().present);
    assert_eq!(asked(), Vec::<String>::new(), "of what is not there");
    database.ensure(&spec).await.unwrap();
    println!("made in {:?}", begun.elapsed());
    // Four objects, the password, and from outside the cluster a way in or two.
    let making: Vec<String> = asked().into_iter().filter(|what| !what.contains("portforward")).collect();
    assert_eq!(making.len(), 5, "{making:#?}");
    assert!(database.observe(&spec).await.unwrap().ready);
    database.ensure(&spec).await.unwrap();
    database.list().await.unwrap();
    let looking: Vec<String> = asked().into_iter().filter(|what| !what.contains("portforward")).collect();
    assert_eq!(looking, Vec::<String>::new());
}
