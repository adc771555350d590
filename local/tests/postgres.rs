//! The embedded PostgreSQL: made, adopted, recovered, and closed to all but who should enter.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use engine::orchestrator::DatabaseEndpoint;
use local::{
    datafolder::DataFolder,
    postgres::{EmbeddedPostgres, PostgresError},
};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use std::{path::Path, time::Duration};
use tokio::io::AsyncReadExt as _;

fn folder() -> (tempfile::TempDir, DataFolder) {
    let folder = tempfile::Builder::new().prefix("fsa-pg-").tempdir_in("/tmp").unwrap();
    let data = DataFolder::open(folder.path()).unwrap();
    (folder, data)
}

/// Starts one, or says why not.
async fn start(data: &Path) -> Option<EmbeddedPostgres> {
    match EmbeddedPostgres::start(data).await {
        Ok(server) => Some(server),
        Err(PostgresError::NotFound) => {
            support::skipped("PostgreSQL's server programs are not on this machine");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

async fn admin(server: &EmbeddedPostgres) -> PgConnection {
    PgConnection::connect(server.admin_url().expose_secret()).await.unwrap()
}

fn pid(data: &Path) -> i32 {
    std::fs::read_to_string(data.join("postgres/data/postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_adopted_while_it_runs_and_recovers_when_it_was_killed() {
    let (_folder, data) = folder();
    let Some(first) = start(data.path()).await else { return };
    assert!(!first.adopted());
    let mut control = PgConnection::connect(first.control_url().expose_secret()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)").execute(&mut control).await.unwrap();
    let fsync: String = sqlx::query("SHOW fsync").fetch_one(&mut control).await.unwrap().get(0);
    assert_eq!(fsync, "on");

    let before = pid(data.path());
    let second = start(data.path()).await.unwrap();
    assert!(second.adopted() && pid(data.path()) == before, "a running server is adopted");
    let still: i32 = sqlx::query("SELECT n FROM kept").fetch_one(&mut control).await.unwrap().get(0);
    assert_eq!(still, 42, "an open connection goes on");

    // SIGKILL, and a lock file that names another process now.
    let process = rustix::process::Pid::from_raw(before).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    while Path::new(&format!("/proc/{before}/cwd")).read_link().is_ok() {
        tokio::task::yield_now().await;
    }
    let stale = std::fs::read_to_string(data.path().join("postgres/data/postmaster.pid")).unwrap();
    let stale = stale.replacen(&before.to_string(), &std::process::id().to_string(), 1);
    std::fs::write(data.path().join("postgres/data/postmaster.pid"), stale).unwrap();
    // The old server's own processes notice within moments, and hold its memory until then.
    let third = start(data.path()).await.unwrap();
    assert!(!third.adopted());
    let mut control = PgConnection::connect(third.control_url().expose_secret()).await.unwrap();
    let kept: i32 = sqlx::query("SELECT n FROM kept").fetch_one(&mut control).await.unwrap().get(0);
    assert_eq!(kept, 42, "what was committed survives");

    assert!(EmbeddedPostgres::stop_at(data.path()).await.unwrap());
    assert!(!EmbeddedPostgres::stop_at(data.path()).await.unwrap(), "a second stop is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_enters_its_own_database_with_its_password_and_nothing_else() {
    let (_folder, data) = folder();
    let Some(server) = start(data.path()).await else { return };
    let mut admin = admin(&server).await;
    for name in ["one", "two"] {
        for make in [
            format!("CREATE ROLE {name} LOGIN PASSWORD 'secret'"),
            format!("CREATE DATABASE {name} OWNER {name} TEMPLATE template0"),
            format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut admin).await.unwrap();
        }
    }
    let socket = match server.endpoint() {
        DatabaseEndpoint::Unix(socket) => socket,
        tcp @ DatabaseEndpoint::Tcp(..) => panic!("{tcp:?}"),
    };
    let host = socket.parent().unwrap().to_string_lossy().into_owned();
    let enter = async |role: &str, password: &str, database: &str| {
        PgConnection::connect(&format!("postgresql://{role}:{password}@localhost/{database}?host={host}")).await
    };
    enter("one", "secret", "one").await.unwrap();
    for (role, password, database) in [
        ("one", "wrong", "one"),
        ("one", "", "one"),
        ("one", "secret", "two"),
        ("one", "secret", "postgres"),
        ("one", "secret", "fullstack_agent"),
    ] {
        assert!(enter(role, password, database).await.is_err(), "{role} with {password:?} to {database}");
    }
    let listening: String = sqlx::query("SHOW listen_addresses").fetch_one(&mut admin).await.unwrap().get(0);
    assert_eq!(listening, "", "it listens on no port");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_data_folder_gets_a_short_socket() {
    let (folder, data) = folder();
    drop(data);
    let deep = folder.path().join("d".repeat(100));
    let data = DataFolder::open(&deep).unwrap();
    let Some(server) = start(data.path()).await else { return };
    admin(&server).await;
    let again = start(data.path()).await.unwrap();
    assert!(again.adopted());
    let DatabaseEndpoint::Unix(socket) = server.endpoint() else { panic!("a socket") };
    server.stop().await.unwrap();
    std::fs::remove_dir_all(socket.parent().unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_version_is_refused_and_left_alone() {
    let (_folder, data) = folder();
    let Some(server) = start(data.path()).await else { return };
    server.stop().await.unwrap();
    let version = data.path().join("postgres/data/PG_VERSION");
    std::fs::write(&version, "9\n").unwrap();
    let error = EmbeddedPostgres::start(data.path()).await.unwrap_err();
    assert!(matches!(&error, PostgresError::OtherVersion { there, .. } if there == "9"), "{error:?}");
    assert!(error.to_string().contains("PostgreSQL 9"), "{error}");
    assert_eq!(std::fs::read_to_string(&version).unwrap(), "9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_who_they_are_is_shown_out_in_seconds() {
    let (_folder, data) = folder();
    let Some(server) = start(data.path()).await else { return };
    let DatabaseEndpoint::Unix(socket) = server.endpoint() else { panic!("a socket") };
    let mut silent = tokio::net::UnixStream::connect(socket).await.unwrap();
    let mut said = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut said)).await;
    assert!(ended.is_ok(), "a place is held by nobody");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_that_take_every_connection_do_not_lock_the_control_plane_out() {
    let (_folder, data) = folder();
    let Some(server) = start(data.path()).await else { return };
    // As few as there can be beside those that are reserved.
    let mut admin_connection = admin(&server).await;
    for setting in
        ["ALTER SYSTEM SET max_connections = 90", "CREATE ROLE greedy LOGIN PASSWORD 'x'", "CREATE DATABASE greedy OWNER greedy"]
    {
        sqlx::raw_sql(setting).execute(&mut admin_connection).await.unwrap();
    }
    admin_connection.close().await.unwrap();
    server.stop().await.unwrap();
    let server = start(data.path()).await.unwrap();
    let DatabaseEndpoint::Unix(socket) = server.endpoint() else { panic!("a socket") };
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .socket(socket.parent().unwrap())
        .username("greedy")
        .password("x")
        .database("greedy");
    let mut taken = Vec::new();
    let refused = loop {
        match PgConnection::connect_with(&options).await {
            Ok(connection) => taken.push(connection),
            Err(error) => break error,
        }
        assert!(taken.len() < 90, "all were given away");
    };
    assert!(refused.to_string().contains("reserved") || refused.to_string().contains("too many"), "{refused}");
    assert!(taken.len() >= 20, "{}", taken.len());
    let mut control = PgConnection::connect(server.control_url().expose_secret()).await.unwrap();
    let row = sqlx::query("SELECT current_user::text, current_setting('is_superuser')").fetch_one(&mut control).await.unwrap();
    assert_eq!((row.get::<String, _>(0), row.get::<String, _>(1)), ("fullstack_agent".into(), "off".into()));
    sqlx::raw_sql("CREATE TABLE ours (n int)").execute(&mut control).await.unwrap();
    let refused = sqlx::raw_sql("CREATE ROLE another").execute(&mut control).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    server.stop().await.unwrap();
}
