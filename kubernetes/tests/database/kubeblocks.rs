//! [`kubernetes::database`] by KubeBlocks, whose operator is stood in for.

use super::{
    definitions::Served,
    operator::Nature,
    support::{self, LONG, World, resource, spec, until},
};
use engine::{
    database::{Database, DatabaseError, DatabaseSpec},
    orchestrator::{LogSource, Orchestrator as _, Removed},
};
use futures::StreamExt as _;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use kubernetes::{
    database::kubeblocks::{Version, discover, json_patch, stop_patch},
    doctor::orphans,
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
    settings::DatabaseProvider,
};
use model::CauseCode;
use serde_json::json;
use std::time::Duration;

mod v1 {
    use super::*;
    use engine::database::contract::Subject;

    async fn subject() -> Option<Subject> {
        if !super::support::long() {
            return None;
        }
        support::subject(Served::V1, DatabaseProvider::Auto).await
    }

    engine::database_contract!(subject);
}

mod v1alpha1 {
    use super::*;
    use engine::database::contract::Subject;

    async fn subject() -> Option<Subject> {
        if !super::support::long() {
            return None;
        }
        support::subject(Served::V1alpha1, DatabaseProvider::Auto).await
    }

    engine::database_contract!(subject);
}

fn clusters(world: &World, version: Version) -> Api<DynamicObject> {
    Api::namespaced_with(world.cluster.client.clone(), &world.cluster.namespace, &resource(version))
}

#[tokio::test]
async fn the_newer_version_is_found_first() {
    for (served, version) in
        [(Served::V1, Some(Version::V1)), (Served::V1alpha1, Some(Version::V1alpha1)), (Served::Nothing, None)]
    {
        let Some(world) = World::start(served).await else { return };
        assert_eq!(discover(&world.cluster).await.unwrap(), version);
    }
}

#[tokio::test]
async fn failed_is_not_final_and_slow_is_no_failure() {
    let Some(world) = World::start(Served::V1).await else { return };
    let operator = world.operator.as_ref().unwrap();
    operator.set(Nature { failing: true, ..Nature::default() });
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    let database = world.database(&settings).await.with_patience(Duration::from_secs(2));
    let spec = spec(settings.installation);
    until("it is said to have failed", async || match database.ensure(&spec).await {
        Ok(()) => false,
        Err(DatabaseError::Caused(cause)) => {
            assert_eq!(cause.code, CauseCode::DatabaseFailed);
            assert!(cause.detail.as_ref().is_some_and(|detail| detail.contains("the pod crashes")), "{cause:?}");
            true
        }
        other => panic!("{other:?}"),
    })
    .await;
    operator.set(Nature { slow: Duration::from_secs(15), ..Nature::default() });
    until("it runs", async || {
        database.ensure(&spec).await.unwrap_or_else(|error| {
            assert!(matches!(error, DatabaseError::Caused(cause) if cause.code == CauseCode::DatabaseFailed))
        });
        database.observe(&spec).await.unwrap().ready
    })
    .await;
}

#[tokio::test]
async fn one_that_was_stopped_is_started_with_its_data() {
    for (served, version) in [(Served::V1, Version::V1), (Served::V1alpha1, Version::V1alpha1)] {
        let Some(world) = World::start(served).await else { return };
        let settings = world.settings(DatabaseProvider::KubeBlocks);
        let database = world.database(&settings).await.with_patience(LONG);
        let spec = spec(settings.installation);
        database.ensure(&spec).await.unwrap();
        let clusters = clusters(&world, version);
        let before = clusters.get(spec.name.as_str()).await.unwrap();
        match version {
            Version::V1 => database.stop(&spec).await.unwrap(),
            Version::V1alpha1 => json_patch(&world.cluster, version, spec.name.as_str(), &stop_patch(true)).await.unwrap(),
        }
        until("it is stopped", async || clusters.get(spec.name.as_str()).await.unwrap().data["status"]["phase"] == "Stopped")
            .await;
        until("that is seen", async || !database.observe(&spec).await.unwrap().ready).await;
        database.ensure(&spec).await.unwrap();
        assert!(database.observe(&spec).await.unwrap().ready);
        let after = clusters.get(spec.name.as_str()).await.unwrap();
        assert_eq!(before.data["spec"], after.data["spec"], "nothing but the one path was written");
    }
}

#[tokio::test]
async fn its_log_is_shown_and_without_a_row_it_is_an_orphan() {
    let Some(world) = World::start(Served::V1).await else { return };
    let mut settings = world.settings(DatabaseProvider::KubeBlocks);
    // The sandbox's own objects are all that is needed of it.
    settings.image = "fsa.local/never-made:dev".to_owned();
    settings.image_pull_policy = "Never".to_owned();
    let database = world.database(&settings).await.with_patience(LONG);
    let orchestrator = KubernetesOrchestrator::new(world.cluster.clone(), settings.clone(), Reach::Outside).unwrap();
    let mut sandbox = engine::orchestrator::contract::spec();
    sandbox.installation = settings.installation;
    let spec =
        DatabaseSpec { project: sandbox.project, sandbox: sandbox.id, name: sandbox.name.clone(), ..spec(settings.installation) };
    orchestrator.ensure(&sandbox).await.unwrap();
    database.ensure(&spec).await.unwrap();
    let mut lines = orchestrator.logs(sandbox.id, LogSource::Database).await.unwrap();
    let mut log = String::new();
    while !log.contains("database system is ready to accept connections") {
        let line = tokio::time::timeout(LONG, lines.next()).await.unwrap();
        log.push_str(&line.unwrap_or_else(|| panic!("it ended: {log}")).text);
    }

    let find = async || orphans::find(&world.cluster, &settings, &orphans::Known::default()).await.unwrap();
    let found = find().await;
    let cluster = found.iter().find(|orphan| orphan.kind == "Cluster").unwrap();
    assert_eq!((cluster.name.as_str(), cluster.holds_data), (spec.name.as_str(), true));
    let known = orphans::Known { projects: [spec.project].into(), sandboxes: [sandbox.id].into() };
    assert!(orphans::find(&world.cluster, &settings, &known).await.unwrap().is_empty(), "with rows nothing is");
    orphans::remove(&world.cluster, cluster).await.unwrap();
    until("the Cluster is gone", async || !find().await.iter().any(|orphan| orphan.kind == "Cluster")).await;
}

#[tokio::test]
async fn a_removal_that_is_wedged_is_said_and_goes_on() {
    let Some(world) = World::start(Served::V1).await else { return };
    let operator = world.operator.as_ref().unwrap();
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();

    // Somebody protects it.
    let clusters = clusters(&world, Version::V1);
    let policy = async |policy: &str| {
        let patch = json!({"spec": {"terminationPolicy": policy}});
        clusters.patch(spec.name.as_str(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    policy("DoNotTerminate").await;
    match database.remove(&spec).await {
        Err(DatabaseError::Caused(cause)) => assert!(cause.message.contains("DoNotTerminate"), "{cause:?}"),
        other => panic!("{other:?}"),
    }
    policy("Delete").await;

    operator.set(Nature { wedged: true, ..Nature::default() });
    let database = database.with_patience(Duration::from_secs(1));
    assert_eq!(database.remove(&spec).await.unwrap(), Removed::Going);
    until("it is said what holds it up", async || match database.remove(&spec).await {
        Ok(Removed::Going) => false,
        Err(DatabaseError::Caused(cause)) => {
            assert_eq!(cause.code, CauseCode::DeletionOverdue);
            assert!(cause.detail.as_ref().is_some_and(|detail| detail.contains("cluster.kubeblocks.io/finalizer")), "{cause:?}");
            true
        }
        other => panic!("{other:?}"),
    })
    .await;
    operator.set(Nature::default());
    until("it is gone", async || matches!(database.remove(&spec).await, Ok(Removed::Gone))).await;
}

#[tokio::test]
async fn an_operator_that_is_away_is_said() {
    let Some(world) = World::start(Served::V1).await else { return };
    world.operator.as_ref().unwrap().set(Nature { away: true, ..Nature::default() });
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    let database = world.database(&settings).await;
    let spec = spec(settings.installation);
    until("it is said", async || match database.ensure(&spec).await {
        Ok(()) => false,
        Err(DatabaseError::Caused(cause)) => {
            assert_eq!(cause.code, CauseCode::DatabaseSlow);
            assert!(cause.message.contains("has not looked"), "{cause:?}");
            true
        }
        other => panic!("{other:?}"),
    })
    .await;
}

#[tokio::test]
async fn who_made_a_server_keeps_it() {
    let Some(world) = World::start(Served::V1).await else { return };
    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    let spec = spec(settings.installation);
    world.database(&settings).await.with_patience(LONG).ensure(&spec).await.unwrap();
    settings.database.provider = DatabaseProvider::Auto;
    let database = world.database(&settings).await.with_patience(LONG);
    assert!(database.observe(&spec).await.unwrap().ready, "KubeBlocks came later");
    assert_eq!(database.credentials(&spec).host, format!("{}-postgresql.{}.svc", spec.name, world.cluster.namespace));
    assert_eq!(database.remove(&spec).await.unwrap(), Removed::Gone);
    let next = database.credentials(&spec).host;
    assert_eq!(next, format!("{0}-postgresql-postgresql.{1}.svc", spec.name, world.cluster.namespace));
}

#[tokio::test]
async fn without_kubeblocks_it_is_said() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    match kubernetes::database::ClusterDatabase::new(world.cluster.clone(), &settings, Reach::Outside).await {
        Err(DatabaseError::Caused(cause)) => assert!(cause.message.contains("does not serve"), "{cause:?}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("made by what is not there"),
    }
}
