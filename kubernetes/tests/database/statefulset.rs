//! [`kubernetes::database`] by StatefulSets.

use super::{
    definitions::Served,
    support::{self, LONG, World, beside_a_sandbox, spec, until},
};
use engine::{
    database::{Database, DatabaseError, DatabaseSpec, Glance, contract::Subject},
    orchestrator::{LogSource, Orchestrator as _, Removed},
};
use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret, Service},
    rbac::v1::{PolicyRule, Role},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kubernetes::{
    Cluster,
    database::{ClusterDatabase, later::Later},
    doctor::{Databases, permissions},
    reach::Reach,
    settings::DatabaseProvider,
};
use model::CauseCode;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

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

/// Makes it again and again until it is refused in such words, and answers them.
async fn refusal(
    what: &str,
    database: &ClusterDatabase,
    spec: &DatabaseSpec,
    is: impl Fn(&(CauseCode, String)) -> bool,
) -> (CauseCode, String) {
    let mut said = (CauseCode::Unexpected, String::new());
    until(what, async || match database.ensure(spec).await {
        Ok(()) => false,
        failed => {
            said = code(failed);
            is(&said)
        }
    })
    .await;
    said
}

#[tokio::test]
async fn the_url_connects_from_a_pod_of_the_project() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::Auto);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    support::connects(&world, "client", &database.credentials(&spec)).await;
}

#[tokio::test]
async fn a_server_that_no_node_has_room_for_is_told_of_with_what_there_is() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    settings.database.cpu_millis = (1_000_000, 1_000_000);
    let database = world.database(&settings).await;
    let spec = spec(settings.installation);
    let said = refusal("that there is no room is said", &database, &spec, |said| said.0 == CauseCode::Unschedulable).await;
    assert!(said.1.contains("has the most cpu left: it has "), "{said:?}");
}

#[tokio::test]
async fn an_account_that_may_not_see_them_is_told_of_and_it_goes_on_with_the_right() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let all = permissions::rules(&settings, Databases::StatefulSet);
    let mut rules = all.clone();
    rules.retain(|rule| rule.resources.as_ref().unwrap()[0] != "statefulsets");
    assert_eq!(rules.len() + 1, all.len());
    let later = Later::new(world.narrow(&rules).await, settings, Reach::Outside);
    let mut trouble = later.trouble();
    // It is held to the end: with it goes who tells of its watches.
    let held = later.clone();
    let deciding = tokio::spawn(async move { held.decided().await });
    let said = timeout(LONG, trouble.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert_eq!(said.code, CauseCode::PermissionMissing, "{said:?}");
    assert!(said.message.contains("statefulsets"), "{said:?}");

    let roles: Api<Role> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let give = async |rules: &[PolicyRule]| {
        let mut role = roles.list(&Default::default()).await.unwrap().items.remove(0);
        role.rules = Some(rules.to_vec());
        roles.replace(&role.name_any(), &PostParams::default(), &role).await.unwrap();
    };
    give(&all).await;
    timeout(LONG, deciding).await.unwrap().unwrap();
    assert_eq!(*trouble.borrow(), None);

    // Withdrawn later, it is missed when the watch is begun again.
    give(&rules).await;
    let said = timeout(LONG, trouble.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert!(said.code == CauseCode::PermissionMissing && said.message.contains("statefulsets"), "{said:?}");
    give(&all).await;
    timeout(LONG, trouble.wait_for(Option::is_none)).await.unwrap().unwrap();
    drop(later);
}

#[tokio::test]
async fn each_right_to_make_stop_or_remove_one_that_is_missing_is_named() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let all = permissions::rules(&settings, Databases::StatefulSet);
    let whole = world.database(&settings).await.with_patience(LONG);
    for (verb, resource) in [
        ("create", "secrets"),
        ("create", "services"),
        ("create", "networkpolicies"),
        ("create", "persistentvolumeclaims"),
        ("create", "statefulsets"),
        ("patch", "statefulsets"),
        ("deletecollection", "statefulsets"),
        ("deletecollection", "pods"),
        ("deletecollection", "networkpolicies"),
        ("deletecollection", "services"),
        ("deletecollection", "persistentvolumeclaims"),
        ("deletecollection", "secrets"),
    ] {
        let spec = spec(settings.installation);
        if verb != "create" {
            whole.ensure(&spec).await.unwrap();
        }
        let narrow = world.without(&all, verb, resource).await;
        let database = ClusterDatabase::new(narrow, &settings, Reach::Outside).await.unwrap().with_patience(LONG);
        let said = code(match verb {
            "create" => database.ensure(&spec).await,
            "patch" => database.stop(&spec).await,
            _ => database.remove(&spec).await.map(|_| ()),
        });
        assert_eq!(said.0, CauseCode::PermissionMissing, "{verb} {resource}: {said:?}");
        assert!(said.1.contains(&format!("may not {verb} {resource}")), "{said:?}");
        until("it is removed with the right", async || matches!(whole.remove(&spec).await, Ok(Removed::Gone))).await;
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_told_of_and_it_goes_on_once_it_is() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let nowhere = Cluster { namespace: format!("{}-nowhere", world.cluster.namespace), ..world.cluster.clone() };
    let later = Later::new(nowhere.clone(), settings, Reach::Outside);
    let mut trouble = later.trouble();
    let deciding = tokio::spawn(async move { later.decided().await });
    let said = timeout(LONG, trouble.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert_eq!(said.code, CauseCode::NamespaceMissing, "{said:?}");
    assert!(said.message.contains(&nowhere.namespace), "{said:?}");
    let namespaces: Api<Namespace> = Api::all(world.cluster.client.clone());
    let made = json!({"metadata": {"name": nowhere.namespace, "labels": {"fullstackagent.io/test": "database"}}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(made).unwrap()).await.unwrap();
    timeout(LONG, deciding).await.unwrap().unwrap();
    namespaces.delete(&nowhere.namespace, &DeleteParams::default()).await.unwrap();
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
    assert_eq!(glance(), Glance { on: true, whole: true, stops: true, ..Glance::default() });
    assert!(!database.glance(&other).unwrap().on, "one that was never made");
    let mut told = database.watch();
    let sets: Api<StatefulSet> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let services: Api<Service> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let name = format!("{}-postgresql", spec.name);

    services.delete(&name, &DeleteParams::default()).await.unwrap();
    until("its Service is missed", async || {
        let sandbox = timeout(LONG, told.next()).await.unwrap().unwrap();
        assert_eq!(sandbox, spec.sandbox);
        !glance().whole
    })
    .await;
    assert!(glance().on && glance().edited, "it runs, and nobody finds it");
    database.ensure(&spec).await.unwrap();
    assert!(glance().whole);

    sets.delete(&name, &DeleteParams::foreground()).await.unwrap();
    until("the set is missed", async || {
        timeout(LONG, told.next()).await.unwrap().unwrap();
        !glance().on
    })
    .await;
    assert!(glance().lost);
    world.asked.lock().unwrap().clear();
    assert!(!glance().whole);
    assert!(world.asked.lock().unwrap().iter().all(|what| what.contains("watch=true")), "a glance asks nobody");
    until("the set is gone", async || sets.get_opt(&name).await.unwrap().is_none()).await;
    database.ensure(&spec).await.unwrap();
    assert_eq!(glance(), Glance { on: true, whole: true, stops: true, ..Glance::default() });

    // The volume alone, of one that is stopped: its set would make an empty one.
    database.stop(&spec).await.unwrap();
    until("it is stopped", async || !glance().on && !glance().ending).await;
    assert!(!glance().lost);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    claims.delete(&format!("data-{name}-0"), &DeleteParams::default()).await.unwrap();
    until("its volume is missed", async || glance().lost).await;
    database.ensure(&spec).await.unwrap();
    assert_eq!(glance(), Glance { on: true, whole: true, stops: true, ..Glance::default() });
}

#[tokio::test]
async fn what_its_pod_is_made_by_is_put_back_where_somebody_changed_it() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    let database = world.database(&settings).await;
    let spec = spec(settings.installation);
    let up = async || database.ensure(&spec).await.is_ok() && database.observe(&spec).await.is_ok_and(|seen| seen.ready);
    until("it is up", async || up().await).await;
    let credentials = database.credentials(&spec);
    let inside = async |statement: &str| {
        let entered =
            support::enter(&world.cluster, spec.name.as_str(), &credentials.user, &credentials.password, &credentials.database);
        let mut inside = entered.await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut inside.connection).await.unwrap();
    };
    inside("CREATE TABLE kept (a int)").await;

    let name = format!("{}-postgresql", spec.name);
    let sets: Api<StatefulSet> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let env = async || {
        let set = sets.get(&name).await.unwrap();
        set.spec.unwrap().template.spec.unwrap().containers.remove(0).env.unwrap()
    };
    let (asked, first) = (env().await, pods.get(&format!("{name}-0")).await.unwrap().metadata.uid);
    // It cannot start where a part of its own files is to be all of them.
    let edit = json!({"spec": {"template": {"spec": {"containers": [{"name": "postgresql", "env": [
        {"name": "PGDATA", "value": "/var/lib/postgresql-data/pgdata/base"}, {"name": "MORE", "value": "1"}]}]}}}});
    sets.patch(&name, &PatchParams::default(), &Patch::Strategic(edit)).await.unwrap();
    assert_ne!(env().await, asked);
    until("that is seen", async || !database.glance(&spec).unwrap().whole).await;
    until("a pod of it, which never is well", async || {
        let pod = pods.get_opt(&format!("{name}-0")).await.unwrap();
        pod.is_some_and(|pod| pod.metadata.uid != first)
    })
    .await;
    until("it is up again", async || up().await).await;
    until("and whole", async || database.glance(&spec).unwrap().whole).await;
    assert_eq!(env().await, asked, "what was changed, and what was added");
    inside("INSERT INTO kept VALUES (1)").await;

    // Other settings are no change by hand.
    settings.database.memory_bytes.1 += 64 << 20;
    let others = world.database(&settings).await;
    assert!(others.glance(&spec).unwrap().whole);
    until("it is up", async || others.ensure(&spec).await.is_ok() && others.observe(&spec).await.is_ok_and(|seen| seen.ready))
        .await;
    let limits = sets.get(&name).await.unwrap().spec.unwrap().template.spec.unwrap().containers.remove(0).resources.unwrap();
    assert_eq!(limits.limits.unwrap()["memory"].0, "512Mi");
}

#[tokio::test]
async fn one_that_crashes_is_told_of_with_its_last_words() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::StatefulSet);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    // It is set to load what is not there.
    let name = format!("{}-postgresql", spec.name);
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let password = secrets.get(&name).await.unwrap().data.unwrap().remove("password").unwrap();
    let password = String::from_utf8(password.0).unwrap();
    let mut inside = support::enter(&world.cluster, spec.name.as_str(), "postgres", &password, "postgres").await.unwrap();
    let broken = "ALTER SYSTEM SET shared_preload_libraries = 'never_made'";
    sqlx::raw_sql(broken).execute(&mut inside.connection).await.unwrap();
    drop(inside);
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    pods.delete(&format!("{name}-0"), &DeleteParams::default()).await.unwrap();
    let database = database.with_patience(Duration::from_secs(1));
    let said = refusal("the crash is said", &database, &spec, |said| {
        said.0 == CauseCode::DatabaseFailed && said.1.contains("ends by itself")
    })
    .await;
    println!("{said:?}");
    assert!(said.1.contains("never_made"), "its own last words: {said:?}");
    let notice = database.glance(&spec).unwrap().cause.unwrap();
    assert_eq!(notice.code, CauseCode::DatabaseFailed, "and beside a sandbox that runs");
}

#[tokio::test]
async fn its_log_is_shown_as_it_is_written() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    let (database, orchestrator, spec) = beside_a_sandbox(&world, &mut settings).await;
    // Its pod comes by a watch of the orchestrator's own.
    let mut lines = orchestrator.logs(spec.sandbox, LogSource::Database).await.unwrap();
    let mut log = String::new();
    until("the log so far", async || match tokio::time::timeout(LONG, lines.next()).await.unwrap() {
        Some(line) => {
            log.push_str(&line.text);
            log.contains("database system is ready to accept connections")
        }
        None => {
            lines = orchestrator.logs(spec.sandbox, LogSource::Database).await.unwrap();
            false
        }
    })
    .await;
    // And what is written while it is read.
    let (credentials, name) = (database.credentials(&spec), spec.name.as_str());
    let entered = support::enter(&world.cluster, name, &credentials.user, &credentials.password, &credentials.database).await;
    let refused = sqlx::raw_sql("SELECT told_later").execute(&mut entered.unwrap().connection).await;
    assert!(refused.is_err());
    let later = async {
        while let Some(line) = lines.next().await {
            if line.text.contains("told_later") {
                return line.at;
            }
        }
        panic!("it ended")
    };
    assert!(tokio::time::timeout(LONG, later).await.expect("the line that came later").is_some(), "with its time");
}

#[tokio::test]
async fn a_missing_image_and_a_missing_class_are_said() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    settings.database.image = "fsa.local/nothing:dev".to_owned();
    settings.image_pull_policy = "Never".to_owned();
    let database = world.database(&settings).await;
    let without_image = spec(settings.installation);
    let said = refusal("the image is said to be missing", &database, &without_image, |_| true).await;
    assert_eq!(said.0, CauseCode::ImageAbsent);
    assert!(said.1.contains("fsa.local/nothing:dev"), "{said:?}");

    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    settings.database.storage_class = Some("nobodys".to_owned());
    let database = world.database(&settings).await;
    let without_class = spec(settings.installation);
    let said =
        refusal("the class is said to be missing", &database, &without_class, |said| said.0 == CauseCode::StorageClassMissing)
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
    // Watches come and go by themselves, and by what is forwarded the rows are made.
    let aside = |what: &String| ["watch=true", "portforward"].iter().any(|part| what.contains(part));
    let asked = || {
        let mut asked = std::mem::take(&mut *world.asked.lock().unwrap());
        asked.retain(|what| !aside(what));
        asked
    };
    asked();
    let begun = std::time::Instant::now();
    assert!(!database.observe(&spec).await.unwrap().present);
    assert_eq!(asked(), Vec::<String>::new(), "of what is not there");
    database.ensure(&spec).await.unwrap();
    println!("made in {:?}", begun.elapsed());
    // Five objects, the password, and from outside the cluster a way in or two.
    let making = asked();
    assert_eq!(making.len(), 6, "{making:#?}");
    assert!(database.observe(&spec).await.unwrap().ready);
    database.ensure(&spec).await.unwrap();
    database.list().await.unwrap();
    assert_eq!(asked(), Vec::<String>::new());
}
