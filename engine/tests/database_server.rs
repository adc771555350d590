//! [`ServerDatabase`] on a real PostgreSQL: the contract of every provider, and what is its own.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use anyhow::Context as _;
use engine::{
    database::{
        Database, DatabaseError, DatabaseSpec,
        contract::{Behind, Subject},
        server::{OwnedRole, Reach, ServerDatabase},
    },
    orchestrator::{DatabaseEndpoint, Removed},
};
use futures::{FutureExt as _, future::BoxFuture};
use model::{CauseCode, InstallationId, ProjectId, SandboxId, connection::Connection};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use std::{path::PathBuf, sync::Arc, time::Duration};
use uuid::Uuid;

struct Server(PgConnectOptions);

impl Server {
    async fn admin(&self) -> PgConnection {
        PgConnection::connect_with(&self.0).await.unwrap()
    }

    async fn run(&self, statement: String) {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.admin().await).await.unwrap();
    }

    async fn enter(&self, as_: &Connection) -> anyhow::Result<PgConnection> {
        let options = self.0.clone().username(&as_.user).password(&as_.password).database(&as_.database);
        PgConnection::connect_with(&options).await.context("connect as the project's role")
    }
}

#[async_trait::async_trait]
impl Behind for Server {
    async fn write(&self, to: &Connection, note: &str) -> anyhow::Result<()> {
        let mut connection = self.enter(to).await?;
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS notes (id serial, note text)").execute(&mut connection).await?;
        sqlx::query("INSERT INTO notes (note) VALUES ($1)").bind(note).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    async fn notes(&self, of: &Connection) -> anyhow::Result<Vec<String>> {
        let mut connection = self.enter(of).await?;
        let notes = sqlx::query_scalar("SELECT note FROM notes ORDER BY id").fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(notes)
    }

    async fn hold(&self, to: &Connection) -> anyhow::Result<BoxFuture<'static, ()>> {
        let mut connection = self.enter(to).await?;
        Ok(async move {
            // Waits inside the server: ends with an error when it is told to go.
            let _ = sqlx::query("SELECT pg_sleep(600)").execute(&mut connection).await;
        }
        .boxed())
    }

    async fn put_foreign(&self, role: &str, database: Option<&str>) {
        self.run(format!("CREATE ROLE {role} LOGIN")).await;
        if let Some(database) = database {
            self.run(format!("CREATE DATABASE {database} OWNER {role}")).await;
        }
    }

    async fn lose(&self, database: &str) {
        self.run(format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }

    async fn there(&self, role: &str, database: &str) -> (bool, bool) {
        sqlx::query_as(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $2)",
        )
        .bind(role)
        .bind(database)
        .fetch_one(&mut self.admin().await)
        .await
        .unwrap()
    }
}

fn reach() -> Reach {
    let endpoint = Some(DatabaseEndpoint::Unix(PathBuf::from("/run/.s.PGSQL.5432")));
    Reach { host: "127.0.0.1".to_owned(), port: 5432, endpoint }
}

fn spec(installation: InstallationId) -> DatabaseSpec {
    let id = Uuid::new_v4();
    let (slug, name) = engine::database::contract::names(id);
    DatabaseSpec {
        project: ProjectId(id),
        sandbox: SandboxId(id),
        slug,
        name,
        installation,
        role: format!("p_{}", id.simple()),
        database: format!("d_{}", id.simple()),
        password: SecretString::from("a password"),
    }
}

fn on(options: PgConnectOptions) -> Subject {
    let installation = InstallationId(Uuid::new_v4());
    let database = Arc::new(ServerDatabase::new(options.clone(), installation, reach()));
    Subject { database, installation, behind: Arc::new(Server(options)) }
}

async fn subject() -> Option<Subject> {
    support::server().map(on)
}

engine::database_contract!(subject);

#[tokio::test]
async fn a_role_can_do_nothing_beyond_its_database() {
    let Some(options) = support::server() else { return };
    let subject = on(options.clone());
    let spec = spec(subject.installation);
    subject.database.ensure(&spec).await.unwrap();
    let server = Server(options);
    let plain: bool = sqlx::query_scalar(
        "SELECT NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls) AND rolconnlimit = 20
        FROM pg_roles WHERE rolname = $1",
    )
    .bind(&spec.role)
    .fetch_one(&mut server.admin().await)
    .await
    .unwrap();
    assert!(plain);
    let mut inside = server.enter(&subject.database.credentials(&spec)).await.unwrap();
    for forbidden in [
        "CREATE ROLE other".to_owned(),
        "CREATE DATABASE other".to_owned(),
        "COPY (SELECT 1) TO PROGRAM 'true'".to_owned(),
        "SELECT pg_read_file('/etc/passwd')".to_owned(),
        format!("COMMENT ON ROLE {} IS 'somebody else''s'", spec.role),
        format!("ALTER ROLE {} CONNECTION LIMIT -1", spec.role),
    ] {
        assert!(sqlx::raw_sql(AssertSqlSafe(forbidden.clone())).execute(&mut inside).await.is_err(), "{forbidden}");
    }
    // What it may change of its own database does not cut it off from us.
    sqlx::raw_sql(AssertSqlSafe(format!("COMMENT ON DATABASE {} IS 'mine'", spec.database))).execute(&mut inside).await.unwrap();
    assert!(subject.database.observe(&spec).await.unwrap().ready);
    subject.database.ensure(&spec).await.unwrap();
    assert_eq!(subject.database.remove(&spec).await.unwrap(), Removed::Gone);
}

#[tokio::test]
async fn a_projects_role_does_not_enter_the_control_planes_database() {
    let Some((control, _)) = support::database().await else { return };
    let subject = on(control.clone());
    let spec = spec(subject.installation);
    subject.database.ensure(&spec).await.unwrap();
    let own = subject.database.credentials(&spec);
    let server = Server(control.clone());
    server.enter(&own).await.unwrap();
    let there = Connection { database: control.get_database().unwrap().to_owned(), ..own };
    let refused = format!("{:#}", server.enter(&there).await.unwrap_err());
    assert!(refused.contains("permission denied for database"), "{refused}");
    assert_eq!(subject.database.remove(&spec).await.unwrap(), Removed::Gone);
}

/// As every role may do in each database that it gets into, before PostgreSQL 15 and on servers that were upgraded from that.
#[tokio::test]
async fn what_others_made_in_the_administrators_database_is_not_run() {
    let Some(options) = support::empty_database().await else { return };
    let server = Server(options.clone());
    let tenant = format!("tenant_{}", Uuid::new_v4().simple());
    server
        .run(format!(
            "CREATE ROLE {tenant} LOGIN;
            CREATE TABLE public.ran (who text); GRANT ALL ON public.ran TO PUBLIC;
            GRANT CREATE ON SCHEMA public TO PUBLIC;
            SET ROLE {tenant};
            CREATE FUNCTION public.shobj_description(oid, text) RETURNS text LANGUAGE plpgsql AS $body$
                BEGIN
                    INSERT INTO public.ran VALUES (current_user);
                    RETURN pg_catalog.shobj_description($1, $2::name);
                END
            $body$"
        ))
        .await;
    let ran = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM public.ran").fetch_one(&mut server.admin().await).await.unwrap()
    };
    sqlx::raw_sql("SELECT shobj_description(10::oid, 'pg_authid')").execute(&mut server.admin().await).await.unwrap();
    assert_eq!(ran().await, 1, "it wins over the catalog's where the path has `public`");

    let installation = InstallationId(Uuid::new_v4());
    let (kept, left) = (spec(installation), spec(installation));
    let own = ServerDatabase::new(options.clone(), installation, reach());
    for spec in [&kept, &left] {
        own.ensure(spec).await.unwrap();
        assert!(own.observe(spec).await.unwrap().ready);
    }
    own.figures(&kept).await.unwrap().unwrap();
    own.list().await.unwrap();
    let listed = own.owned().await.unwrap().into_iter().find(|owned| owned.project == left.project).unwrap();
    assert_eq!(own.discard(&listed).await.unwrap(), Removed::Gone);
    assert_eq!(ran().await, 1, "nothing of it was run");

    // And nobody makes more of it: each role gets into its own database alone.
    let kept_out = own.kept_out().await.unwrap();
    assert!(kept_out.len() == 20 || kept_out.contains(&tenant), "who is no project's is told of: {kept_out:?}");
    assert!(!kept_out.contains(&kept.role), "{kept_out:?}");
    let credentials = own.credentials(&kept);
    server.enter(&credentials).await.unwrap();
    let there = Connection { database: options.get_database().unwrap().to_owned(), ..credentials };
    let refused = format!("{:#}", server.enter(&there).await.unwrap_err());
    assert!(refused.contains("permission denied for database"), "{refused}");
    assert_eq!(own.remove(&kept).await.unwrap(), Removed::Gone);
    assert_eq!(ran().await, 1, "nothing of it was run");
}

#[tokio::test]
async fn a_server_that_one_project_has_for_itself_lets_in_whom_it_let_in() {
    let Some(options) = support::empty_database().await else { return };
    let server = Server(options.clone());
    let own = ServerDatabase::new(options.clone(), InstallationId(Uuid::new_v4()), reach()).of_one_project();
    let spec = spec(InstallationId(Uuid::new_v4()));
    own.ensure(&spec).await.unwrap();
    let there = Connection { database: options.get_database().unwrap().to_owned(), ..own.credentials(&spec) };
    server.enter(&there).await.unwrap();
    assert_eq!(own.remove(&spec).await.unwrap(), Removed::Gone);
}

#[tokio::test]
async fn the_password_opens_and_is_in_no_statement() {
    let Some(options) = support::server() else { return };
    let subject = on(options.clone());
    let spec = spec(subject.installation);
    subject.database.ensure(&spec).await.unwrap();
    let server = Server(options);
    let stored: String = sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = $1")
        .bind(&spec.role)
        .fetch_one(&mut server.admin().await)
        .await
        .unwrap();
    assert!(stored.starts_with("SCRAM-SHA-256$4096:"), "{stored}");
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%a password%' AND pid <> pg_backend_pid()")
            .fetch_one(&mut server.admin().await)
            .await
            .unwrap();
    assert_eq!(seen, 0);

    let right = subject.database.credentials(&spec);
    server.enter(&right).await.unwrap();
    let wrong = Connection { password: "another".to_owned(), ..right.clone() };
    if server.enter(&wrong).await.is_ok() {
        println!("skipped: this server lets roles in without a password");
        return;
    }
    let changed = DatabaseSpec { password: SecretString::from("another"), ..spec };
    subject.database.ensure(&changed).await.unwrap();
    server.enter(&wrong).await.unwrap();
    assert!(server.enter(&right).await.is_err(), "the old one is over");
}

#[tokio::test]
async fn an_administrator_who_is_no_superuser_can_do_all_of_it() {
    // One that it does not own, so that it cannot shut it, either.
    let Some(options) = support::empty_database().await else { return };
    let server = Server(options.clone());
    let admin = format!("admin_{}", Uuid::new_v4().simple());
    server.run(format!("CREATE ROLE {admin} LOGIN CREATEROLE CREATEDB PASSWORD 'admin'")).await;
    let subject = on(options.username(&admin).password("admin"));
    let spec = spec(subject.installation);
    subject.database.ensure(&spec).await.unwrap();
    subject.database.ensure(&spec).await.unwrap();
    assert!(subject.database.observe(&spec).await.unwrap().ready);
    subject.behind.write(&subject.database.credentials(&spec), "works").await.unwrap();
    assert_eq!(subject.database.remove(&spec).await.unwrap(), Removed::Gone);
    assert_eq!(server.there(&spec.role, &spec.database).await, (false, false));
}

#[tokio::test]
async fn a_refusal_and_an_absence_are_told_apart() {
    let installation = InstallationId(Uuid::new_v4());
    let nowhere = PgConnectOptions::new_without_pgpass().socket("/nowhere").username("nobody");
    let away = ServerDatabase::new(nowhere, installation, reach());
    let code = |error: DatabaseError| match error {
        DatabaseError::Caused(cause) => cause.code,
        DatabaseError::Other(error) => panic!("{error:#}"),
    };
    assert_eq!(code(away.observe(&spec(installation)).await.unwrap_err()), CauseCode::DatabaseUnreachable);
    assert_eq!(code(away.ensure(&spec(installation)).await.unwrap_err()), CauseCode::DatabaseUnreachable);

    let Some(options) = support::empty_database().await else { return };
    let server = Server(options.clone());
    let nobody = format!("nobody_{}", Uuid::new_v4().simple());
    server.run(format!("CREATE ROLE {nobody} LOGIN PASSWORD 'nobody'")).await;
    let refused = ServerDatabase::new(options.username(&nobody).password("nobody"), installation, reach());
    assert_eq!(code(refused.ensure(&spec(installation)).await.unwrap_err()), CauseCode::DatabaseRefused);
}

#[tokio::test]
async fn what_an_installation_has_on_a_server_is_listed_and_discarded_alone() {
    let Some(options) = support::server() else { return };
    let server = Server(options.clone());
    let [ours, theirs] = [0, 1].map(|_| InstallationId(Uuid::new_v4()));
    let [own, other] = [ours, theirs].map(|installation| ServerDatabase::new(options.clone(), installation, reach()));
    let (kept, left, foreign) = (spec(ours), spec(ours), spec(theirs));
    for (database, spec) in [(&own, &kept), (&own, &left), (&other, &foreign)] {
        database.ensure(spec).await.unwrap();
    }
    let of = |spec: &DatabaseSpec| OwnedRole {
        project: spec.project,
        role: spec.role.clone(),
        databases: vec![spec.database.clone()],
    };
    let sorted = |mut all: Vec<OwnedRole>| {
        all.sort_by(|a, b| a.role.cmp(&b.role));
        all
    };
    assert_eq!(own.owned().await.unwrap(), sorted(vec![of(&kept), of(&left)]));
    assert_eq!(other.owned().await.unwrap(), [of(&foreign)]);

    // With a database that was not listed all of it stays; once it is, it goes too, and so does who is inside.
    let more = format!("more_{}", left.project.0.simple());
    server.run(format!("CREATE DATABASE {more} OWNER {}", left.role)).await;
    let held = server.hold(&own.credentials(&left)).await.unwrap();
    assert_eq!(own.discard(&of(&left)).await.unwrap(), Removed::Going);
    assert_eq!(server.there(&left.role, &left.database).await, (true, true));
    let both = OwnedRole { databases: vec![left.database.clone(), more], ..of(&left) };
    assert_eq!(own.discard(&both).await.unwrap(), Removed::Gone);
    held.await;
    assert_eq!(server.there(&left.role, &left.database).await, (false, false));
    assert_eq!(server.there(&left.role, &format!("more_{}", left.project.0.simple())).await, (false, false));
    assert_eq!(own.discard(&of(&left)).await.unwrap(), Removed::Gone, "it may be repeated");

    // Neither another installation's, nor one of another project, nor one that is nobody's.
    let bare = format!("bare_{}", Uuid::new_v4().simple());
    server.put_foreign(&bare, Some(&bare)).await;
    for not_it in [
        of(&foreign),
        OwnedRole { project: left.project, ..of(&kept) },
        OwnedRole { project: kept.project, role: bare.clone(), databases: vec![bare.clone()] },
    ] {
        assert_eq!(own.discard(&not_it).await.unwrap(), Removed::Gone, "there is none of ours");
    }
    for (role, database) in [(&foreign.role, &foreign.database), (&kept.role, &kept.database), (&bare, &bare)] {
        assert_eq!(server.there(role, database).await, (true, true), "{role}");
    }
    assert_eq!(own.owned().await.unwrap(), [of(&kept)]);
}

/// A role without a database is removed without a question about data: there is none, as far as anybody is told.
#[tokio::test]
async fn a_role_without_a_database_stays_with_what_it_owns_in_anothers() {
    let Some(options) = support::server() else { return };
    let server = Server(options.clone());
    // The database that the administrator is in is the one that `DROP OWNED` reaches.
    let anothers = format!("anothers_{}", Uuid::new_v4().simple());
    server.run(format!("CREATE DATABASE {anothers}")).await;
    let inside = Server(options.database(&anothers));
    let installation = InstallationId(Uuid::new_v4());
    let own = ServerDatabase::new(inside.0.clone(), installation, reach());
    let spec = spec(installation);
    own.ensure(&spec).await.unwrap();
    let made = "CREATE TABLE boats (name text); INSERT INTO boats VALUES ('Tide'); ALTER TABLE boats OWNER TO";
    inside.run(format!("{made} {}", spec.role)).await;
    server.lose(&spec.database).await;

    let bare = OwnedRole { project: spec.project, role: spec.role.clone(), databases: Vec::new() };
    assert_eq!(own.owned().await.unwrap(), std::slice::from_ref(&bare), "nothing that holds data is listed");
    let refused = match own.discard(&bare).await.unwrap_err() {
        DatabaseError::Caused(cause) => cause,
        DatabaseError::Other(error) => panic!("{error:#}"),
    };
    assert_eq!(refused.code, CauseCode::DatabaseRefused);
    assert!(refused.message.contains("owns something in a database that is not its project's"), "{refused:?}");
    assert!(refused.detail.is_some_and(|detail| detail.contains(&spec.role)));
    let boats: Vec<String> = sqlx::query_scalar("SELECT name FROM boats").fetch_all(&mut inside.admin().await).await.unwrap();
    assert_eq!(boats, ["Tide"]);

    // Once somebody has taken that over, it goes.
    inside.run(format!("REASSIGN OWNED BY {} TO CURRENT_USER", spec.role)).await;
    assert_eq!(own.discard(&bare).await.unwrap(), Removed::Gone);
    assert_eq!(server.there(&spec.role, &anothers).await, (false, true));
}

#[tokio::test]
async fn sandboxes_are_told_how_they_reach_it() {
    let database = ServerDatabase::new(PgConnectOptions::new_without_pgpass(), InstallationId(Uuid::nil()), reach());
    let connection = database.credentials(&spec(InstallationId(Uuid::nil())));
    assert_eq!((connection.host.as_str(), connection.port), ("127.0.0.1", 5432));
    assert_eq!(database.endpoint(), reach().endpoint);
}

#[tokio::test]
async fn who_waits_for_others_databases_is_not_told_that_nobody_answers() {
    let Some(options) = support::server() else { return };
    let installation = InstallationId(Uuid::new_v4());
    let database = ServerDatabase::new(options.clone(), installation, reach());
    let specs: Vec<DatabaseSpec> = (0..8).map(|_| spec(installation)).collect();
    let all = || futures::future::join_all(specs.iter().map(|spec| database.ensure(spec)));
    all().await.into_iter().for_each(|made| made.unwrap());
    // Longer than a connection is waited for, with more at work than there are connections.
    let mut aside = PgConnection::connect_with(&options).await.unwrap();
    let held: String = specs.iter().map(|spec| format!("ALTER ROLE {} CONNECTION LIMIT 5;", spec.role)).collect();
    sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {held}"))).execute(&mut aside).await.unwrap();
    let (made, ()) = tokio::join!(all(), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(database.observe(&specs[0]).await.unwrap().ready, "who only looks waits for nobody");
        sqlx::raw_sql("ROLLBACK").execute(&mut aside).await.unwrap();
    });
    made.into_iter().for_each(|made| made.unwrap());
    for spec in &specs {
        assert_eq!(database.remove(spec).await.unwrap(), Removed::Gone);
    }
}
