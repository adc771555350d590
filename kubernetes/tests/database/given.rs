//! [`kubernetes::database`] on a PostgreSQL server that was given: one of the cluster's, that is somebody else's.

use super::{
    definitions::Served,
    support::{self, LONG, World, spec, until},
};
use engine::{
    database::{Database as _, DatabaseSpec},
    orchestrator::{DatabaseEndpoint, Removed},
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Pod, Secret},
};
use kube::{Api, api::ListParams};
use kubernetes::{
    Settings,
    doctor::{Finding, Verdict, database_orphans, orphans::Known, project, remove_database_orphan},
    settings::{DatabaseProvider, GivenServer},
};
use model::{InstallationId, connection::Connection};
use uuid::Uuid;

/// A server with nothing of this installation in it, at its pod's address.
async fn server(world: &World, settings: &Settings) -> GivenServer {
    let mut others = settings.clone();
    others.installation = InstallationId(Uuid::new_v4());
    (others.database.provider, others.database.server) = (DatabaseProvider::StatefulSet, None);
    let holder = spec(others.installation);
    world.database(&others).await.with_patience(LONG).ensure(&holder).await.unwrap();
    let (client, namespace, name) = (&world.cluster.client, &world.cluster.namespace, format!("{}-postgresql", holder.name));
    let secret = Api::<Secret>::namespaced(client.clone(), namespace).get(&name).await.unwrap();
    let pod = Api::<Pod>::namespaced(client.clone(), namespace).get(&format!("{name}-0")).await.unwrap();
    let admin = Connection {
        host: pod.status.unwrap().pod_ip.unwrap(),
        port: 5432,
        user: "postgres".to_owned(),
        password: String::from_utf8(secret.data.unwrap()["password"].0.clone()).unwrap(),
        database: "postgres".to_owned(),
    };
    GivenServer::parse(&admin.postgres_url(), None).unwrap()
}

async fn stateful_sets(world: &World, settings: &Settings) -> usize {
    let ours = ListParams::default().labels(&kubernetes::labels::of_installation(settings.installation));
    let sets: Api<StatefulSet> = Api::namespaced(world.cluster.client.clone(), &world.cluster.namespace);
    sets.list(&ours).await.unwrap().items.len()
}

#[tokio::test]
async fn projects_have_databases_on_a_given_server_and_connect_from_pods() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::Server);
    let given = server(&world, &settings).await;
    settings.database.server = Some(given.clone());
    let database = world.database(&settings).await;
    assert_eq!(database.endpoint(), Some(DatabaseEndpoint::Tcp(given.host.clone(), given.port)));
    let (one, two) = (spec(settings.installation), spec(settings.installation));
    for (name, spec) in [("one", &one), ("two", &two)] {
        database.ensure(spec).await.unwrap();
        assert!(database.observe(spec).await.unwrap().ready);
        assert_eq!(database.glance(spec), None, "only asking tells");
        let credentials = database.credentials(spec);
        assert_eq!((&credentials.host, credentials.port), (&given.host, given.port));
        support::connects(&world, name, &credentials).await;
    }
    assert_eq!(stateful_sets(&world, &settings).await, 0, "nothing of it is an object");
    database.stop(&one).await.unwrap();
    assert!(database.observe(&one).await.unwrap().ready, "it runs on");
    assert_eq!(database.remove(&one).await.unwrap(), Removed::Gone);
    let listed = database.list().await.unwrap();
    assert!(listed.contains(&two.project) && !listed.contains(&one.project));
}

#[tokio::test]
async fn who_has_a_database_keeps_it_when_another_provider_makes_the_next() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::StatefulSet);
    let given = server(&world, &settings).await;
    let is_given =
        |database: &kubernetes::database::ClusterDatabase, spec: &DatabaseSpec| database.credentials(spec).host == given.host;
    let object = spec(settings.installation);
    let database = world.database(&settings).await.with_patience(LONG);
    database.ensure(&object).await.unwrap();

    settings.database.provider = DatabaseProvider::Server;
    settings.database.server = Some(given.clone());
    let database = world.database(&settings).await.with_patience(LONG);
    let row = spec(settings.installation);
    database.ensure(&row).await.unwrap();
    assert!(is_given(&database, &row) && !is_given(&database, &object), "each where it is");
    assert!(database.observe(&object).await.unwrap().ready);
    assert_eq!(database.list().await.unwrap().len(), 2);

    settings.database.provider = DatabaseProvider::Auto;
    let database = world.database(&settings).await.with_patience(LONG);
    let next = spec(settings.installation);
    assert!(is_given(&database, &row) && !is_given(&database, &object) && !is_given(&database, &next));
    assert!(database.observe(&row).await.unwrap().ready, "its address is still given");
    for spec in [&object, &row] {
        until("it is removed where it is", async || database.remove(spec).await.unwrap() == Removed::Gone).await;
    }
    assert_eq!(database.list().await.unwrap(), []);
    assert!(!is_given(&database, &row), "nothing of it is left there");
}

#[tokio::test]
async fn the_doctor_looks_at_the_server() {
    let Some(world) = World::start(Served::Nothing).await else { return };
    let mut settings = world.settings(DatabaseProvider::Server);
    let given = server(&world, &settings).await;
    let finding = kubernetes::doctor::database_server(&given).await;
    assert_eq!(finding.verdict, kubernetes::doctor::Verdict::Ok, "{finding:?}");
    // As somebody who may make nothing.
    settings.database.server = Some(given.clone());
    let database = world.database(&settings).await;
    let project = spec(settings.installation);
    database.ensure(&project).await.unwrap();
    // Its database is looked for there, though nothing of it is an object.
    let said = async |settings: &Settings, of: &DatabaseSpec| -> Option<Finding> {
        let row = project::Row { database: Some(of.clone()), ..project::Row::named(of.name.clone()) };
        let findings = project::check(&world.cluster, settings, &row).await;
        findings.into_iter().find(|finding| finding.check == "database")
    };
    let found = said(&settings, &project).await.unwrap();
    assert!(found.verdict == Verdict::Ok && found.what.contains(&given.host), "{found:?}");
    let missed = said(&settings, &spec(settings.installation)).await.unwrap();
    assert!(missed.verdict == Verdict::Warn && missed.what.contains("has no role"), "its sandbox does not run: {missed:?}");
    let admin = database.credentials(&project).postgres_url();
    let mut nowhere = settings.clone();
    nowhere.database.server = Some(GivenServer::parse(&admin.replace(":5432", ":1"), None).unwrap());
    let away = said(&nowhere, &project).await.unwrap();
    assert!(away.verdict == Verdict::Fail && !away.mend.is_empty(), "{away:?}");
    let mut objects = settings.clone();
    objects.database.provider = DatabaseProvider::Auto;
    assert_eq!(said(&objects, &project).await.map(|found| found.verdict), Some(Verdict::Ok), "who has one there keeps it");
    assert_eq!(said(&objects, &spec(settings.installation)).await, None, "the next ones are made as objects");
    // What has no row is listed there, and removed on ask; another installation's is nobody's to see.
    let (installation, known) = (settings.installation, Known { projects: [project.project].into(), ..Known::default() });
    let left = async |known: &Known| database_orphans(&given, installation, known).await.unwrap();
    assert_eq!(left(&known).await, []);
    assert_eq!(database_orphans(&given, InstallationId(Uuid::new_v4()), &Known::default()).await.unwrap(), []);
    let other = spec(settings.installation);
    database.ensure(&other).await.unwrap();
    let orphans = left(&known).await;
    assert_eq!(orphans.iter().map(|orphan| &orphan.role).collect::<Vec<_>>(), [&other.role]);
    remove_database_orphan(&given, installation, &orphans[0]).await.unwrap();
    assert_eq!(left(&known).await, []);
    assert!(!database.observe(&other).await.unwrap().present && database.observe(&project).await.unwrap().ready);
    let nobody = GivenServer::parse(&database.credentials(&project).postgres_url(), None).unwrap();
    let finding = kubernetes::doctor::database_server(&nobody).await;
    assert_eq!(finding.verdict, kubernetes::doctor::Verdict::Fail);
    assert!(finding.what.contains("may not create roles"), "{finding:?}");
}
