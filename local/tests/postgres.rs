//! The embedded PostgreSQL, for real: made, adopted, ended, started again.

use local::postgres::{CONTROL, EmbeddedPostgres};
use secrecy::ExposeSecret as _;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fsa-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn psql(url: &str, sql: &str) -> Result<String, String> {
    let out = Command::new("psql").args([url, "-XAtqc", sql]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
}

fn first_process(data: &Path) -> String {
    let text = fs::read_to_string(data.join("postgres/data/postmaster.pid")).unwrap();
    text.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_cluster_is_made_adopted_and_comes_back() {
    let folder = Folder::new("postgres");
    let server = EmbeddedPostgres::start(&folder.0).await.unwrap();
    let url = server.url().expose_secret().to_owned();
    assert_eq!(psql(&url, "create table kept (n int); insert into kept values (42); select n from kept").unwrap(), "42");
    assert_eq!(psql(&url, "show listen_addresses").unwrap(), "", "no TCP port");
    assert_eq!(psql(&url, "show fsync").unwrap(), "on");

    // A project's role reaches its own database and no other, and only with its password.
    psql(&url, "create role p1 login password 'right'").unwrap();
    psql(&url, "create database p1 owner p1 template template0").unwrap();
    let as_p1 = |password: &str, database: &str| {
        let own = url.split_once("@localhost").unwrap().1.replacen(&format!("/{CONTROL}?"), &format!("/{database}?"), 1);
        format!("postgresql://p1:{password}@localhost{own}")
    };
    assert_eq!(psql(&as_p1("right", "p1"), "select 1").unwrap(), "1");
    assert!(psql(&as_p1("wrong", "p1"), "select 1").unwrap_err().contains("password authentication failed"));
    for other in [CONTROL, "postgres", "template1"] {
        assert!(psql(&as_p1("right", other), "select 1").is_err(), "{other} is closed to a project's role");
    }

    let first = first_process(&folder.0);
    let again = EmbeddedPostgres::start(&folder.0).await.unwrap();
    assert_eq!(first_process(&folder.0), first, "a running server is adopted");
    let attached = EmbeddedPostgres::attach(&folder.0).unwrap();
    assert_eq!(attached.url().expose_secret(), &url);

    let stop = CancellationToken::new();
    let keeping = tokio::spawn(again.clone().keep_running(stop.clone()));
    assert!(Command::new("kill").args(["-9", &first]).status().unwrap().success());
    let start = Instant::now();
    while psql(&url, "select n from kept").ok().as_deref() != Some("42") {
        assert!(start.elapsed() < Duration::from_secs(30), "it comes back with what was committed");
        tokio::task::yield_now().await;
    }
    stop.cancel();
    keeping.await.unwrap();

    attached.stop().await.unwrap();
    assert!(!server.is_running());
    let third = EmbeddedPostgres::start(&folder.0).await.unwrap();
    assert_eq!(psql(&url, "select n from kept").unwrap(), "42");
    third.stop().await.unwrap();
}

#[tokio::test]
async fn another_major_version_is_told() {
    let folder = Folder::new("postgres-old");
    fs::create_dir_all(folder.0.join("postgres/data")).unwrap();
    fs::write(folder.0.join("postgres/data/PG_VERSION"), "9\n").unwrap();
    let error = format!("{:#}", EmbeddedPostgres::start(&folder.0).await.unwrap_err());
    assert!(error.contains("version 9") && error.contains("Install PostgreSQL 9"), "{error}");
}
