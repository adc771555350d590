//! [`kubernetes::database`] by KubeBlocks, whose operator is stood in for.

use super::{
    definitions::{self, Served},
    left_out::long,
    operator::{Nature, ROLE},
    support::{self, LONG, World, beside_a_sandbox, resource, spec, until},
};
use engine::{
    database::{Database, DatabaseError, DatabaseSpec},
    orchestrator::{AgentOrPort, AgentSeen, LogSource, Orchestrator as _, OrchestratorError, Removed, contract},
};
use futures::StreamExt as _;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use kubernetes::{
    database::{
        ClusterDatabase,
        kubeblocks::{Version, discover, pods_of},
        later::Later,
    },
    doctor::{Databases, Verdict, orphans, permissions},
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
    settings::DatabaseProvider,
};
use model::{CauseCode, resources::Preset};
use sandbox_agent::{
    client::exec_to_end,
    protocol::http::{ExecExit, ExecRequest},
};
use serde_json::json;
use std::time::Duration;

mod v1 {
    use super::*;
    use engine::database::contract::Subject;

    async fn subject() -> Option<Subject> {
        if !super::long() {
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
        if !super::long() {
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
async fn a_definition_of_the_clusters_own_is_never_taken_away() {
    assert!(
        definitions::installed(Served::V1alpha1).iter().all(|ours| ours["metadata"]["labels"][definitions::OURS].is_string())
    );
    let Some(world) = World::start(Served::Nothing).await else { return };
    // Of a group of its own: whatever else runs has those of KubeBlocks.
    let group = format!("{}.fullstackagent.io", world.cluster.namespace);
    let all: Api<CustomResourceDefinition> = Api::all(world.cluster.client.clone());
    let names = ["ours", "theirs"].map(|plural| format!("{plural}.{group}"));
    for (name, labels) in names.iter().zip([json!({definitions::OURS: "definitions"}), json!({})]) {
        let mut definition = definitions::our_operations();
        let plural = name.split('.').next().unwrap();
        definition["metadata"] = json!({"name": name, "labels": labels});
        definition["spec"]["group"] = json!(group);
        definition["spec"]["names"] =
            json!({"kind": plural, "listKind": format!("{plural}List"), "plural": plural, "singular": plural});
        all.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    }
    let [ours, theirs] = names.each_ref().map(String::as_str);
    let client = &world.cluster.client;
    assert!(!support::clear(client, &[ours, theirs]).await);
    assert!(all.get_opt(theirs).await.unwrap().is_some(), "it is still there");
    assert!(all.get_opt(ours).await.unwrap().is_some(), "and so is all beside it");
    assert!(support::clear(client, &[ours]).await);
    assert!(all.get_opt(ours).await.unwrap().is_none());
    all.delete(theirs, &DeleteParams::default()).await.unwrap();
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
async fn what_the_cluster_refuses_its_pod_is_told_without_its_operator() {
    let Some(world) = World::start(Served::V1).await else { return };
    world.operator.as_ref().unwrap().set(Nature { nowhere: true, ..Nature::default() });
    let mut settings = world.settings(DatabaseProvider::KubeBlocks);
    // With this patience nothing is told in time but what the cluster has stated.
    let database = world.database(&settings).await.with_patience(LONG);
    let without_image = spec(settings.installation);
    let caused = |error: DatabaseError| match error {
        DatabaseError::Caused(cause) => cause,
        other => panic!("{other:?}"),
    };
    let cause = caused(database.ensure(&without_image).await.unwrap_err());
    assert_eq!(cause.code, CauseCode::ImageAbsent, "{cause:?}");
    assert!(cause.message.contains("fsa.local/nothing:dev") && !cause.next_steps.is_empty(), "{cause:?}");
    let beside = database.glance(&without_image).unwrap().cause.unwrap();
    assert_eq!(beside.code, CauseCode::ImageAbsent, "without asking: {beside:?}");
    // Its sandbox is told of what happens to a pod that names its Cluster alone.
    let mut told = database.watch();
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    pods.delete(&format!("{}-postgresql-0", without_image.name), &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(tokio::time::timeout(LONG, told.next()).await.unwrap(), Some(without_image.sandbox));

    settings.database.storage_class = Some("nobodys".to_owned());
    let database = world.database(&settings).await;
    let without_class = spec(settings.installation);
    until("the class is said to be missing", async || match database.ensure(&without_class).await {
        Ok(()) => false,
        Err(error) => {
            let cause = caused(error);
            cause.code == CauseCode::StorageClassMissing && cause.message.contains("`nobodys`")
        }
    })
    .await;

    (settings.database.storage_class, settings.database.cpu_millis) = (None, (1_000_000, 1_000_000));
    world.operator.as_ref().unwrap().set(Nature::default());
    let database = world.database(&settings).await.with_patience(LONG);
    let without_room = spec(settings.installation);
    let cause = caused(database.ensure(&without_room).await.unwrap_err());
    assert_eq!(cause.code, CauseCode::Unschedulable, "{cause:?}");
    for spec in [&without_image, &without_class, &without_room] {
        until("it is removed all the same", async || matches!(database.remove(spec).await, Ok(Removed::Gone))).await;
    }
}

#[tokio::test]
async fn of_several_the_primary_is_asked_and_its_service_is_the_way_in() {
    let Some(world) = World::start(Served::V1).await else { return };
    let mut settings = world.settings(DatabaseProvider::KubeBlocks);
    settings.database.replicas = 2;
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let all = pods.list(&ListParams::default().labels(&pods_of(&spec.name))).await.unwrap().items;
    assert_eq!(all.len(), 2, "as many as are asked for");

    let connection = database.credentials(&spec);
    let service = format!("{}-postgresql-postgresql", spec.name);
    assert_eq!(connection.host, format!("{service}.{}.svc", world.cluster.namespace));
    let services: Api<Service> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    let selector = services.get(&service).await.unwrap().spec.unwrap().selector.unwrap();
    assert_eq!(selector.get(ROLE).map(String::as_str), Some("primary"));
    // The stand-in's are servers of their own: what is made is in the one that was asked.
    let enters = async |number: u8| {
        let pod = format!("{}-postgresql-{number}", spec.name);
        let (user, password, database) = (&connection.user, &connection.password, &connection.database);
        support::enter_pod(&world.cluster, &pod, user, password, database).await.is_ok()
    };
    assert!(enters(0).await && !enters(1).await, "the primary has it");
    support::connects(&world, "client", &connection).await;

    // Another is the primary now.
    for (number, role) in [(0, "secondary"), (1, "primary")] {
        let patch = json!({"metadata": {"labels": {ROLE: role}}});
        let pod = format!("{}-postgresql-{number}", spec.name);
        pods.patch(&pod, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
    let again = world.database(&settings).await.with_patience(LONG);
    again.ensure(&spec).await.unwrap();
    assert!(enters(1).await, "whoever is the primary is asked");
    assert_eq!(again.credentials(&spec).host, connection.host, "the address stays");
    until("it is removed", async || matches!(again.remove(&spec).await, Ok(Removed::Gone))).await;
}

#[tokio::test]
async fn making_one_asks_the_cluster_little_and_looking_at_it_nothing() {
    let Some(world) = World::start(Served::V1).await else { return };
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    let (cluster, noted) = world.counted().await;
    let database = ClusterDatabase::new(cluster, &settings, Reach::Outside).await.unwrap().with_patience(LONG);
    // Another is made before, so that every watch runs.
    database.ensure(&spec(settings.installation)).await.unwrap();
    let watched: Vec<String> = noted.lock().unwrap().iter().filter(|what| what.contains("watch=true")).cloned().collect();
    // Events have no labels to select by: in the product they come from the one watch of all.
    let selects = |what: &String| what.contains("labelSelector=") || what.contains("/events?");
    assert!(watched.iter().all(selects), "what is nobody's costs nothing: {watched:#?}");
    for kind in ["/clusters?", "/pods?", "/persistentvolumeclaims?", "/networkpolicies?"] {
        assert!(watched.iter().any(|what| what.contains(kind)), "{kind}: {watched:#?}");
    }
    let spec = spec(settings.installation);
    // Watches come and go by themselves, and by what is forwarded the rows are made.
    let asked = || {
        let mut asked = std::mem::take(&mut *noted.lock().unwrap());
        asked.retain(|what| !["watch=true", "portforward"].iter().any(|part| what.contains(part)));
        asked
    };
    asked();
    database.ensure(&spec).await.unwrap();
    let making = asked();
    let writes = making.iter().filter(|what| !what.starts_with("GET ")).count();
    assert_eq!(writes, 2, "a policy and a Cluster: {making:#?}");
    assert!(!making.iter().any(|what| what.contains("/pods")), "its pods are watched: {making:#?}");
    assert!(database.observe(&spec).await.unwrap().ready);
    database.ensure(&spec).await.unwrap();
    database.list().await.unwrap();
    assert!(database.glance(&spec).unwrap().whole);
    assert_eq!(asked(), Vec::<String>::new());
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
        let connection = database.credentials(&spec);
        let enter = async || {
            let (user, password) = (&connection.user, &connection.password);
            support::enter(&world.cluster, spec.name.as_str(), user, password, &connection.database).await.unwrap()
        };
        let insert = "CREATE TABLE kept (note text); INSERT INTO kept VALUES ('before the stop')";
        sqlx::raw_sql(insert).execute(&mut enter().await.connection).await.unwrap();
        database.stop(&spec).await.unwrap();
        until("it is stopped", async || clusters.get(spec.name.as_str()).await.unwrap().data["status"]["phase"] == "Stopped")
            .await;
        let stopped = clusters.get(spec.name.as_str()).await.unwrap();
        let component = &stopped.data["spec"]["componentSpecs"][0];
        assert_eq!((&component["stop"], &component["replicas"]), (&json!(true), &json!(1)), "never by 0 replicas: {component}");
        until("that is seen", async || !database.observe(&spec).await.unwrap().ready).await;
        database.ensure(&spec).await.unwrap();
        assert!(database.observe(&spec).await.unwrap().ready);
        let kept: String = sqlx::query_scalar("SELECT note FROM kept").fetch_one(&mut enter().await.connection).await.unwrap();
        assert_eq!(kept, "before the stop");
        let after = clusters.get(spec.name.as_str()).await.unwrap();
        assert_eq!(before.data["spec"], after.data["spec"], "nothing but the one path was written");

        // Its volume is the data: without it, an empty one would be made in silence.
        let lost = || database.glance(&spec).unwrap().lost;
        assert!(!lost());
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
        claims.delete(&format!("data-{}-postgresql-0", spec.name), &DeleteParams::default()).await.unwrap();
        until("its volume is missed", async || lost()).await;
    }
}

#[tokio::test]
async fn a_sandbox_that_runs_beside_one_connects_by_its_variables() {
    if !long() {
        return;
    }
    for served in [Served::V1, Served::V1alpha1] {
        let Some(world) = World::start(served).await else { return };
        let mut settings = world.settings(DatabaseProvider::Auto);
        settings.image = std::env::var("FSA_TEST_IMAGE").unwrap_or_else(|_| "fsa.local/runtime:dev".to_owned());
        let database = world.database(&settings).await.with_patience(LONG);
        let orchestrator = KubernetesOrchestrator::new(world.cluster.clone(), settings.clone(), Reach::Outside).unwrap();
        let mut sandbox = contract::spec();
        sandbox.installation = settings.installation;
        sandbox.resources = Preset::Small.resources();
        sandbox.resources.disk_bytes = 1 << 30;
        sandbox.database = database.endpoint();
        let (project, name) = (sandbox.project, sandbox.name.clone());
        let spec = DatabaseSpec { project, sandbox: sandbox.id, name, ..spec(settings.installation) };
        database.ensure(&spec).await.unwrap();
        let connection = database.credentials(&spec);
        assert!(connection.host.contains("-postgresql-postgresql."), "by KubeBlocks: {connection:?}");
        sandbox.env = connection.variables().into_iter().map(|(name, value)| (name, value.into())).collect();
        until("the sandbox is up", async || {
            match orchestrator.ensure(&sandbox).await {
                // Whoever else wrote at the same moment: it is tried again, as the reconciler does.
                Err(OrchestratorError::Caused(cause)) if cause.code == CauseCode::OrchestratorBusy => {}
                done => done.unwrap(),
            }
            orchestrator.observe(sandbox.id).await.unwrap().agent == AgentSeen::ShellStarted
        })
        .await;

        // By the URL alone, without what is Prisma's in it.
        let script = "unset ${!PG*}; psql \"${DATABASE_URL%%\\?*}\" -Atc 'select 1, current_database()'";
        let command = ["bash", "-c", script].map(str::to_owned).to_vec();
        let ask = ExecRequest { command, timeout_ms: Some(60_000), ..ExecRequest::default() };
        let io = orchestrator.connect(sandbox.id, AgentOrPort::Agent).await.unwrap();
        let done = exec_to_end(io, &sandbox.agent_token, &ask, 1 << 20).await.unwrap();
        assert_eq!(done.exit, ExecExit::Code(0), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(String::from_utf8_lossy(&done.stdout), format!("1|{}\n", spec.database));

        until("the sandbox is gone", async || orchestrator.remove(sandbox.id).await.unwrap() == Removed::Gone).await;
        until("its database is", async || matches!(database.remove(&spec).await, Ok(Removed::Gone))).await;
    }
}

#[tokio::test]
async fn an_operation_that_is_not_carried_out_is_told_and_asked_for_again() {
    let Some(world) = World::start(Served::V1alpha1).await else { return };
    let operator = world.operator.as_ref().unwrap();
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    let database = world.database(&settings).await.with_patience(LONG);
    let spec = spec(settings.installation);
    database.ensure(&spec).await.unwrap();
    operator.set(Nature { refusing: true, ..Nature::default() });
    until("it is told", async || match database.stop(&spec).await {
        Ok(()) => false,
        Err(DatabaseError::Caused(cause)) => {
            assert_eq!(cause.code, CauseCode::DatabaseFailed);
            assert!(cause.message.contains("did not stop"), "{cause:?}");
            assert!(cause.detail.as_ref().is_some_and(|detail| detail.contains("the operation is refused")), "{cause:?}");
            true
        }
        other => panic!("{other:?}"),
    })
    .await;
    operator.set(Nature::default());
    until("it is stopped", async || {
        let _ = database.stop(&spec).await;
        database.glance(&spec).is_some_and(|glance| !glance.on)
    })
    .await;
    // One that waits for its turn does not undo what was asked for later.
    operator.set(Nature { away: true, ..Nature::default() });
    let asked = Api::<DynamicObject>::namespaced_with(
        world.cluster.client.clone(),
        &world.cluster.namespace,
        &kubernetes::database::operation::resource(),
    );
    let names = async || {
        let mut names: Vec<_> =
            asked.list(&Default::default()).await.unwrap().into_iter().filter_map(|one| one.metadata.name).collect();
        names.retain(|name| name.starts_with(spec.name.as_str()));
        names
    };
    let hasty = world.database(&settings).await.with_patience(Duration::ZERO);
    let _ = hasty.ensure(&spec).await;
    assert_eq!(names().await, [format!("{}-start", spec.name)]);
    operator.set(Nature::default());
    database.ensure(&spec).await.unwrap();
    database.stop(&spec).await.unwrap();
    assert_eq!(names().await, [format!("{}-stop", spec.name)]);
    until("it is stopped again", async || database.glance(&spec).is_some_and(|glance| !glance.on)).await;
}

#[tokio::test]
async fn its_log_is_shown_and_without_a_row_it_is_an_orphan() {
    let Some(world) = World::start(Served::V1).await else { return };
    let mut settings = world.settings(DatabaseProvider::KubeBlocks);
    let (_database, orchestrator, spec) = beside_a_sandbox(&world, &mut settings).await;
    let mut lines = orchestrator.logs(spec.sandbox, LogSource::Database).await.unwrap();
    let mut log = String::new();
    while !log.contains("database system is ready to accept connections") {
        let line = tokio::time::timeout(LONG, lines.next()).await.unwrap();
        log.push_str(&line.unwrap_or_else(|| panic!("it ended: {log}")).text);
    }

    let find = async || orphans::find(&world.cluster, &settings, &orphans::Known::default()).await.unwrap();
    let found = find().await;
    let cluster = found.iter().find(|orphan| orphan.kind == "Cluster").unwrap();
    assert_eq!((cluster.name.as_str(), cluster.holds_data), (spec.name.as_str(), true));
    let known = orphans::Known { projects: [spec.project].into(), sandboxes: [spec.sandbox].into() };
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
async fn an_account_need_not_see_what_others_would_make() {
    for (served, provider, databases) in [
        (Served::V1, DatabaseProvider::StatefulSet, Databases::StatefulSet),
        (Served::V1, DatabaseProvider::KubeBlocks, Databases::KubeBlocks),
        (Served::V1alpha1, DatabaseProvider::KubeBlocks, Databases::KubeBlocksAlpha),
    ] {
        let Some(world) = World::start(served).await else { return };
        let settings = world.settings(provider);
        let narrow = world.narrow(&permissions::rules(&settings, databases)).await;
        let database = ClusterDatabase::new(narrow, &settings, Reach::Outside).await.unwrap().with_patience(LONG);
        let spec = spec(settings.installation);
        database.ensure(&spec).await.unwrap();
        assert!(database.observe(&spec).await.unwrap().ready);
        until("it is removed", async || matches!(database.remove(&spec).await, Ok(Removed::Gone))).await;
    }
}

#[tokio::test]
async fn each_right_that_the_accounts_of_databases_have_is_needed_and_named() {
    let Some(world) = World::start(Served::V1alpha1).await else { return };
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    let mut rules = permissions::rules(&settings, Databases::KubeBlocksAlpha);
    rules.retain(|rule| rule.resources.as_ref().unwrap()[0] != "endpoints");
    let narrow = world.narrow(&rules).await;
    let findings = permissions::check(&narrow, &settings, Databases::KubeBlocksAlpha).await;
    let failed: Vec<_> = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).collect();
    assert!(failed.len() == 1 && failed[0].check == "permission endpoints", "{failed:?}");
    let database = ClusterDatabase::new(narrow, &settings, Reach::Outside).await.unwrap();
    match database.ensure(&spec(settings.installation)).await {
        Err(DatabaseError::Caused(cause)) => {
            assert_eq!(cause.code, CauseCode::PermissionMissing, "{cause:?}");
            assert!(cause.message.contains("endpoints") && cause.message.contains("system:serviceaccount:"), "{cause:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_right_to_make_stop_or_remove_one_that_is_missing_is_named() {
    for (served, databases, rights) in [
        (Served::V1, Databases::KubeBlocks, &[("create", "clusters"), ("patch", "clusters"), ("delete", "clusters")][..]),
        (Served::V1alpha1, Databases::KubeBlocksAlpha, &[("create", "rolebindings"), ("create", "opsrequests")][..]),
    ] {
        let Some(world) = World::start(served).await else { return };
        let settings = world.settings(DatabaseProvider::KubeBlocks);
        let all = permissions::rules(&settings, databases);
        let whole = world.database(&settings).await.with_patience(LONG);
        for (verb, resource) in rights {
            let (spec, makes) = (spec(settings.installation), *verb == "create" && *resource != "opsrequests");
            if !makes {
                whole.ensure(&spec).await.unwrap();
            }
            let narrow = world.without(&all, verb, resource).await;
            let database = ClusterDatabase::new(narrow, &settings, Reach::Outside).await.unwrap().with_patience(LONG);
            let refused = match *verb {
                _ if makes => database.ensure(&spec).await,
                "delete" => database.remove(&spec).await.map(|_| ()),
                _ => database.stop(&spec).await,
            };
            match refused {
                Err(DatabaseError::Caused(cause)) => {
                    assert_eq!(cause.code, CauseCode::PermissionMissing, "{verb} {resource}: {cause:?}");
                    assert!(cause.message.contains(&format!("may not {verb} {resource}")), "{cause:?}");
                    assert!(!cause.next_steps.is_empty(), "{cause:?}");
                }
                other => panic!("{verb} {resource}: {other:?}"),
            }
            until("it is removed with the right", async || matches!(whole.remove(&spec).await, Ok(Removed::Gone))).await;
        }
    }
}

#[tokio::test]
async fn what_an_account_may_not_see_any_more_is_never_made_anew() {
    let Some(world) = World::start(Served::V1).await else { return };
    for (made, by, now, databases, right) in [
        (
            DatabaseProvider::StatefulSet,
            Databases::StatefulSet,
            DatabaseProvider::KubeBlocks,
            Databases::KubeBlocks,
            "statefulsets.apps",
        ),
        (
            DatabaseProvider::KubeBlocks,
            Databases::KubeBlocks,
            DatabaseProvider::StatefulSet,
            Databases::StatefulSet,
            "clusters.apps.kubeblocks.io",
        ),
    ] {
        let mut settings = world.settings(made);
        let (spec, none) = (spec(settings.installation), spec(settings.installation));
        world.database(&settings).await.with_patience(LONG).ensure(&spec).await.unwrap();
        assert_eq!(permissions::hidden(&world.cluster, &settings, by).await, [], "what is made is no other settings'");
        settings.database.provider = now;
        assert_eq!(permissions::hidden(&world.cluster, &settings, databases).await, [], "an account that sees all");

        let narrow = world.narrow(&permissions::rules(&settings, databases)).await;
        let found = permissions::hidden(&narrow, &settings, databases).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].verdict == Verdict::Fail && found[0].what.starts_with("1 of"), "{found:?}");
        assert!(found[0].check == format!("permission {right}") && found[0].mend[0].contains(right), "{found:?}");
        let database = ClusterDatabase::new(narrow, &settings, Reach::Outside).await.unwrap().with_patience(LONG);
        let refused = |error: DatabaseError| match error {
            DatabaseError::Caused(cause) => {
                assert_eq!(cause.code, CauseCode::PermissionMissing);
                assert!(cause.message.contains("may not see") && cause.next_steps[0].contains(right), "{cause:?}");
            }
            other => panic!("{other:?}"),
        };
        refused(database.ensure(&spec).await.unwrap_err());
        refused(database.remove(&spec).await.unwrap_err());
        database.ensure(&none).await.unwrap();
        assert!(database.observe(&none).await.unwrap().ready, "one that has none gets one");
        until("it is removed", async || matches!(database.remove(&none).await, Ok(Removed::Gone))).await;

        // With the right its data is found again.
        let again = world.database(&settings).await.with_patience(LONG);
        assert!(again.observe(&spec).await.unwrap().ready);
        until("all is removed", async || matches!(again.remove(&spec).await, Ok(Removed::Gone))).await;
    }
}

#[tokio::test]
async fn without_kubeblocks_it_is_said() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let settings = world.settings(DatabaseProvider::KubeBlocks);
    match ClusterDatabase::new(world.cluster.clone(), &settings, Reach::Outside).await {
        Err(DatabaseError::Caused(cause)) => assert!(cause.message.contains("does not serve"), "{cause:?}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("made by what is not there"),
    }
    // And to whoever waits for it.
    let later = Later::new(world.cluster.clone(), settings, Reach::Outside);
    let mut trouble = later.trouble();
    let deciding = tokio::spawn(async move { later.decided().await });
    let said = tokio::time::timeout(LONG, trouble.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert!(said.message.contains("does not serve"), "{said:?}");
    deciding.abort();
}
