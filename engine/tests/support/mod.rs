//! A PostgreSQL for tests: the server that `FSA_TEST_DATABASE_URL` names (a superuser's URL), or a
//! throw-away one that is started here; and a fresh database a test.

#![allow(dead_code, reason = "each test file uses its own part, and one of them all")]
#![expect(clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// A test cannot run here. Under `FSA_REQUIRE=1` that is a failure; else it says so and counts as passed.
pub fn skipped(reason: &str) {
    assert!(std::env::var("FSA_REQUIRE").as_deref() != Ok("1"), "FSA_REQUIRE=1, and this test cannot run: {reason}");
    println!("skipped: {reason}");
}

/// How a test reaches the server; `None`, said once, where there is none.
pub fn server() -> Option<PgConnectOptions> {
    static SERVER: OnceLock<Option<(PgConnectOptions, Option<Child>)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| match std::env::var("FSA_TEST_DATABASE_URL") {
        Ok(url) => Some((url.parse().expect("FSA_TEST_DATABASE_URL is a PostgreSQL URL"), None)),
        Err(_) => match start() {
            Some((options, child)) => Some((options, Some(child))),
            None => {
                skipped("there is no PostgreSQL; set FSA_TEST_DATABASE_URL, or install its server programs");
                None
            }
        },
    });
    server.as_ref().map(|(options, _)| options.clone())
}

/// A throw-away server in a folder of its own.
fn start() -> Option<(PgConnectOptions, Child)> {
    programs()?;
    let folder = std::env::temp_dir().join(format!("fsa-test-{}", std::process::id()));
    std::fs::create_dir(&folder).ok()?;
    start_in(&folder)
}

/// A server in an empty folder, which ends when this process does, and what is in the folder with it: its shell waits for
/// the end of our side of a pipe.
fn start_in(folder: &Path) -> Option<(PgConnectOptions, Child)> {
    let programs = programs()?;
    let script = r#"
        "$1/initdb" --no-sync -A trust -U postgres -D "$2/data" >"$2/log" 2>&1 || exit 1
        printf 'local all postgres trust\nlocal all all scram-sha-256\n' >"$2/data/pg_hba.conf"
        "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=300 >>"$2/log" 2>&1 &
        cat >/dev/null
        kill -INT $!; wait $!; rm -rf "$2"
    "#;
    let mut command = Command::new("/bin/sh");
    // PostgreSQL refuses to run as root.
    if is_root() {
        let user = postgres_user()?;
        std::os::unix::fs::chown(folder, Some(user.0), Some(user.1)).ok()?;
        command.uid(user.0).gid(user.1);
    }
    let child =
        command.args(["-c", script, "sh"]).arg(&programs).arg(folder).current_dir("/").stdin(Stdio::piped()).spawn().ok()?;
    // Its eighth line is the server's state.
    let state = folder.join("data/postmaster.pid");
    let is_ready =
        || std::fs::read_to_string(&state).is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_ready() {
        if Instant::now() > deadline {
            panic!(
                "the throw-away PostgreSQL did not start: {}",
                std::fs::read_to_string(folder.join("log")).unwrap_or_default()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let options = PgConnectOptions::new_without_pgpass().socket(folder).username("postgres").database("postgres");
    Some((options, child))
}

/// A server on a small disk of its own, which goes full as a test likes.
pub struct SmallDisk {
    folder: PathBuf,
    options: PgConnectOptions,
    server: Child,
}

impl SmallDisk {
    /// `None`, said once, where there can be none.
    pub fn start() -> Option<Self> {
        // A cluster with one database of ours has some 80 MB.
        Self::of(200)
    }

    /// The same of another size, in megabytes.
    pub fn of(megabytes: u32) -> Option<Self> {
        if !is_root() {
            skipped("only root can mount a small disk");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("fsa-small-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).expect("make a folder for a small disk");
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&folder).output();
        if !mount.is_ok_and(|done| done.status.success()) {
            let _ = std::fs::remove_dir(&folder);
            skipped("this machine lets nobody mount");
            return None;
        }
        match start_in(&folder) {
            Some((options, server)) => Some(Self { folder, options, server }),
            None => {
                unmount(&folder);
                skipped("there are no server programs of PostgreSQL for a small disk");
                None
            }
        }
    }

    /// What its server writes to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A pool on a fresh database with our tables.
    pub async fn database(&self) -> (PgConnectOptions, PgPool) {
        migrated(fresh_database(&self.options).await).await
    }

    /// Leaves no room. What runs goes on: there is a new file of its log for it, without which it would end.
    pub async fn fill(&self) {
        let mut admin = PgConnection::connect_with(&self.options).await.expect("connect to the server of a small disk");
        for next in ["SELECT pg_switch_wal()", "CHECKPOINT"] {
            sqlx::raw_sql(next).execute(&mut admin).await.expect("begin a new file of the log");
        }
        admin.close().await.expect("close");
        let mut filler = std::fs::File::create(self.folder.join("filler")).expect("make the filler");
        // The last bytes are had in small pieces alone.
        for piece in [vec![0_u8; 1 << 20], vec![0_u8; 1 << 10]] {
            while std::io::Write::write_all(&mut filler, &piece).is_ok() {}
        }
    }

    /// Gives it all back.
    pub fn empty(&self) {
        std::fs::remove_file(self.folder.join("filler")).expect("remove the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.folder.join("filler"));
        drop(self.server.stdin.take());
        let _ = self.server.wait();
        unmount(&self.folder);
    }
}

fn unmount(folder: &Path) {
    // Lazily: whoever still has a file of it open keeps it alone.
    let _ = Command::new("umount").arg("--lazy").arg(folder).status();
    let _ = std::fs::remove_dir(folder);
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

fn postgres_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The folder of `initdb` and `postgres`: on the PATH, or the newest of Debian's.
fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut debian: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    debian.sort();
    on_path.chain(debian.into_iter().rev()).find(|folder: &PathBuf| is_there(folder, "initdb") && is_there(folder, "postgres"))
}

fn is_there(folder: &Path, program: &str) -> bool {
    folder.join(program).is_file()
}

/// An empty database.
pub async fn empty_database() -> Option<PgConnectOptions> {
    Some(fresh_database(&server()?).await)
}

async fn fresh_database(server: &PgConnectOptions) -> PgConnectOptions {
    copied_from(server, "template1").await
}

async fn copied_from(server: &PgConnectOptions, template: &str) -> PgConnectOptions {
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let mut admin = PgConnection::connect_with(server).await.expect("connect to the test server");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"));
    sqlx::raw_sql(create).execute(&mut admin).await.expect("create a test database");
    admin.close().await.expect("close");
    server.clone().database(&name)
}

/// A pool on a fresh database with our tables. They are made once a test program, and copied.
pub async fn database() -> Option<(PgConnectOptions, PgPool)> {
    static TEMPLATE: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    let server = server()?;
    let template = TEMPLATE.get_or_init(async || {
        let (options, pool) = migrated(fresh_database(&server).await).await;
        // Nobody may be connected to what is copied.
        pool.close().await;
        options.get_database().expect("it has a name").to_owned()
    });
    // Who may enter a database is not copied: that is set as at each start.
    Some(migrated(copied_from(&server, template.await).await).await)
}

async fn migrated(options: PgConnectOptions) -> (PgConnectOptions, PgPool) {
    let pool = engine::store::postgres::pool::pool(options.clone(), 8);
    engine::store::postgres::migrate::migrate(&pool).await.expect("migrate a test database");
    (options, pool)
}

/// One connection, for looking and for meddling.
pub async fn aside(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await.expect("connect aside")
}

/// A vault of a key of its own.
pub fn vault() -> std::sync::Arc<engine::secrets::Vault> {
    let key = secrecy::SecretString::from(hex::encode(rand::random::<[u8; 32]>()));
    std::sync::Arc::new(engine::secrets::Vault::from_text(&key, "the test").expect("a key"))
}
