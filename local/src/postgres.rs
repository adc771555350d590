//! The PostgreSQL that comes with single-machine mode: one server for the control plane's own database
//! and for those of projects.
//!
//! ```text
//! DATA/postgres/data/        the cluster, of the user that the server runs as
//!               run/         0700: the socket (or elsewhere, if that path is too long for one)
//!               log/         its log, a file a weekday
//!               secrets.json 0600, ours: the passwords of the two roles below
//!
//! role fsa_admin        superuser: makes projects' roles and databases
//! role fullstack_agent  owns the control plane's database of that name, and nothing else
//! a project's role      reaches the database of its own name alone
//! ```
//!
//! It listens on a Unix socket only. It outlives the control plane, and the next one adopts it.
//! PostgreSQL refuses to run as root: run by root, it runs as `postgres`, or as `nobody` where that user
//! is missing.

use crate::{
    datafolder::{closed_parent, folder},
    tree,
    volume::write_whole,
};
use anyhow::{Context as _, Result, anyhow, bail};
use engine::orchestrator::DatabaseEndpoint;
use rustix::process::Pid;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The control plane's database, and the role that owns it.
const CONTROL: &str = "fullstack_agent";
const ADMIN: &str = "fsa_admin";
/// In the name of the socket; nothing listens on the port of that number.
const PORT: u16 = 5432;
/// A project's role is limited to 20: so twenty busy ones fit, and idle ones cost nothing.
const MAX_CONNECTIONS: u32 = 500;
/// Of these, for the control plane alone.
const RESERVED: u32 = 20;
/// A start after a crash replays what was written since the last checkpoint: seconds, as a rule.
const START: Duration = Duration::from_secs(60);
/// How long processes of a server that was killed may take to notice.
const LEFTOVERS: Duration = Duration::from_secs(15);
/// `sizeof(sun_path)`, less the NUL.
const LONGEST_SOCKET: usize = 107;

/// Why there is no PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server programs on this machine.
    #[error(
        "PostgreSQL's server programs (initdb, pg_ctl, postgres) were not found. Install them: `sudo apt-get install -y postgresql`, or \
         your system's package of that name; or use a server that runs already: FSA_DATABASE_URL=postgresql://USER:PASSWORD@HOST/DATABASE."
    )]
    NotFound,
    /// Only ones that cannot read what is there.
    #[error(
        "The data folder holds databases of PostgreSQL {there}, and this machine has {have}. Install PostgreSQL {there} again, or move the \
         data over with pg_dumpall; {folder} was left as it is."
    )]
    OtherVersion {
        /// Of the data.
        there: String,
        /// Of the programs.
        have: String,
        /// Where the data is.
        folder: PathBuf,
    },
    /// It was started, and did not come up.
    #[error("PostgreSQL did not start. Its log is in {log}; its last lines:\n{tail}")]
    NotStarted {
        /// Where to look.
        log: PathBuf,
        /// What it says.
        tail: String,
    },
    /// Anything else.
    #[error("PostgreSQL could not be set up")]
    Other(#[from] anyhow::Error),
}

/// A server that runs.
#[derive(Debug, Clone)]
pub struct EmbeddedPostgres {
    place: Place,
    secrets: Secrets,
    adopted: bool,
}

#[derive(Debug, Clone)]
struct Place {
    folder: PathBuf,
    programs: PathBuf,
    major: u32,
    user: Option<(u32, u32)>,
    socket: PathBuf,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secrets {
    admin: String,
    control: String,
    /// Where the socket is, if not in `run`.
    #[serde(default)]
    socket_folder: Option<PathBuf>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl EmbeddedPostgres {
    /// Adopts the server of this data folder if it runs, or starts it, making the cluster at the first
    /// time. When this returns, [`Self::control_url`] can be connected to.
    ///
    /// # Errors
    /// Each with a sentence that says what to do.
    pub async fn start(data_dir: &Path) -> Result<Self, PostgresError> {
        let data_dir = data_dir.to_owned();
        let (place, secrets) = blocking(move || prepare(&data_dir)).await?;
        let mut server = Self { place, secrets, adopted: true };
        if !server.adopt().await {
            server.adopted = false;
            let place = server.place.clone();
            blocking(move || place.start()).await?;
        }
        server.make_control_database().await.context("make the control plane's database")?;
        Ok(server)
    }

    /// The server of a data folder that another process keeps; nothing is started here.
    ///
    /// # Errors
    /// This folder has none that this user may enter.
    pub fn attach(data_dir: &Path) -> Result<Self> {
        let ours = data_dir.join("postgres");
        if !ours.join("secrets.json").is_file() {
            bail!(
                "There is no PostgreSQL in {} that this user may enter. Is `--data-dir` the server's, and this the server's user?",
                data_dir.display()
            );
        }
        let secrets = secrets(&ours)?;
        let place = find_place(&ours, secrets.socket_folder.clone())?;
        Ok(Self { place, secrets, adopted: true })
    }

    /// Whether its first process is alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        postmaster(&self.place.data()).is_some()
    }

    /// Starts it again whenever it ended, until `stop`. Looking costs two reads of small files.
    pub async fn keep_running(self, stop: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1 << failures.min(4))) => {}
            }
            if self.is_running() {
                failures = 0;
                continue;
            }
            let place = self.place.clone();
            let started = blocking(move || {
                place.clear_locks()?;
                place.start()
            });
            match started.await {
                Ok(()) => info!("PostgreSQL had ended and was started again"),
                Err(error) => {
                    failures += 1;
                    warn!("PostgreSQL ended and does not start: {error:#}");
                }
            }
        }
    }

    /// Whether it ran already.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// For the control plane's own store.
    #[must_use]
    pub fn control_url(&self) -> SecretString {
        self.url(CONTROL, &self.secrets.control, CONTROL)
    }

    /// For making the roles and databases of projects: a superuser.
    #[must_use]
    pub fn admin_url(&self) -> SecretString {
        self.url(ADMIN, &self.secrets.admin, "postgres")
    }

    /// Where sandboxes' connections are forwarded to.
    #[must_use]
    pub fn endpoint(&self) -> DatabaseEndpoint {
        DatabaseEndpoint::Unix(self.place.socket.join(format!(".s.PGSQL.{PORT}")))
    }

    /// Ends it: clients are cut off, what was committed is safe.
    ///
    /// # Errors
    /// It did not end within a minute.
    pub async fn stop(&self) -> Result<()> {
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || place.stop()).await?
    }

    /// Ends the server of a data folder, if one runs. `true`: one did.
    ///
    /// # Errors
    /// It did not end within a minute.
    pub async fn stop_at(data_dir: &Path) -> Result<bool> {
        let folder = data_dir.join("postgres");
        tokio::task::spawn_blocking(move || {
            if postmaster(&folder.join("data")).is_none() {
                return Ok(false);
            }
            let place = find_place(&folder, None).map_err(|error| anyhow!(error))?;
            place.stop().map(|()| true)
        })
        .await?
    }

    fn url(&self, role: &str, password: &str, database: &str) -> SecretString {
        // Hexadecimal passwords and our own names need no encoding; a folder may.
        let mut host = String::new();
        for byte in self.place.socket.as_os_str().as_bytes() {
            let _ = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => write!(host, "{}", *byte as char),
                _ => write!(host, "%{byte:02X}"),
            };
        }
        format!("postgresql://{role}:{password}@localhost:{PORT}/{database}?host={host}").into()
    }

    fn admin(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.place.socket)
            .port(PORT)
            .username(ADMIN)
            .password(&self.secrets.admin)
            .database("postgres")
            .application_name("fullstack-agent set-up")
    }

    /// Whether a server runs for this folder, waiting for one that is on its way up or down.
    async fn adopt(&self) -> bool {
        let deadline = Instant::now() + START;
        while postmaster(&self.place.data()).is_some() {
            if PgConnection::connect_with(&self.admin()).await.is_ok() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// The control plane's role and database; may be repeated.
    async fn make_control_database(&self) -> Result<()> {
        let mut admin = PgConnection::connect_with(&self.admin()).await.context("connect as the administrator")?;
        let has = |kind: &'static str| {
            format!("SELECT 1 FROM {kind} WHERE {}name = '{CONTROL}'", if kind == "pg_roles" { "rol" } else { "dat" })
        };
        // The password is hexadecimal, so it needs no quoting.
        let verb = if sqlx::query(AssertSqlSafe(has("pg_roles"))).fetch_optional(&mut admin).await?.is_some() {
            "ALTER"
        } else {
            "CREATE"
        };
        let role = format!("{verb} ROLE {CONTROL} LOGIN PASSWORD '{}'", self.secrets.control);
        sqlx::raw_sql(AssertSqlSafe(role)).execute(&mut admin).await?;
        if self.place.major >= 16 {
            let reserve = format!("GRANT pg_use_reserved_connections TO {CONTROL}");
            sqlx::raw_sql(AssertSqlSafe(reserve)).execute(&mut admin).await?;
        }
        if sqlx::query(AssertSqlSafe(has("pg_database"))).fetch_optional(&mut admin).await?.is_none() {
            let make = format!("CREATE DATABASE {CONTROL} OWNER {CONTROL} TEMPLATE template0");
            sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut admin).await?;
        }
        for database in [CONTROL, "postgres", "template1"] {
            let close = format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC");
            sqlx::raw_sql(AssertSqlSafe(close)).execute(&mut admin).await?;
        }
        admin.close().await?;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| anyhow!(error))?
}

/// Everything but the start: folders, passwords, the cluster, its settings.
fn prepare(data_dir: &Path) -> Result<(Place, Secrets), PostgresError> {
    let ours = data_dir.join("postgres");
    let root = rustix::process::geteuid().is_root();
    folder(&ours, if root { 0o711 } else { 0o700 }).context("make the folder for PostgreSQL")?;
    let mut secrets = secrets(&ours)?;
    let mut place = find_place(&ours, secrets.socket_folder.clone())?;
    if place.socket.join(format!(".s.PGSQL.{PORT}.lock")).as_os_str().len() > LONGEST_SOCKET {
        place.socket = short_folder(&ours)?;
        secrets.socket_folder = Some(place.socket.clone());
        write_secrets(&ours, &secrets)?;
    }
    place.own_folder(&place.socket)?;
    place.own_folder(&ours.join("log"))?;
    if !place.data().join("PG_VERSION").exists() {
        place.make_cluster(&secrets.admin)?;
    }
    if postmaster(&place.data()).is_none() {
        place.write_settings()?;
        place.clear_locks()?;
    }
    Ok((place, secrets))
}

fn secrets(ours: &Path) -> Result<Secrets> {
    match fs::read(ours.join("secrets.json")) {
        Ok(text) => serde_json::from_slice(&text).context("read PostgreSQL's secrets.json"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && ours.join("data/PG_VERSION").exists() => {
            bail!("{} is missing, without which its databases cannot be entered", ours.join("secrets.json").display())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let password = || format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
            let secrets = Secrets { admin: password(), control: password(), socket_folder: None };
            write_secrets(ours, &secrets)?;
            Ok(secrets)
        }
        Err(error) => Err(error).context("read PostgreSQL's secrets.json"),
    }
}

fn write_secrets(ours: &Path, secrets: &Secrets) -> Result<()> {
    write_whole(&ours.join("secrets.json"), &serde_json::to_vec(secrets)?).context("write PostgreSQL's secrets.json")
}

/// A folder for the socket whose path is short, and always the same for this data folder.
fn short_folder(ours: &Path) -> Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    ours.hash(&mut hasher);
    let base = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        _ if rustix::process::geteuid().is_root() => PathBuf::from("/run"),
        Some(runtime) if runtime.is_dir() => runtime,
        _ => PathBuf::from("/tmp"),
    };
    Ok(base.join(format!("fullstack-agent-{:016x}", hasher.finish())))
}

/// The programs and the user for this folder's cluster.
fn find_place(ours: &Path, socket: Option<PathBuf>) -> Result<Place, PostgresError> {
    let there = fs::read_to_string(ours.join("data/PG_VERSION")).ok().map(|text| text.trim().to_owned());
    let found = find_programs();
    let chosen = match &there {
        Some(version) => found.iter().find(|(_, major)| major.to_string() == *version),
        None => found.first(),
    };
    let Some((programs, major)) = chosen else {
        let have: Vec<String> = found.iter().map(|(_, major)| major.to_string()).collect();
        return Err(match there {
            Some(there) if !have.is_empty() => {
                PostgresError::OtherVersion { there, have: have.join(" and "), folder: ours.join("data") }
            }
            _ => PostgresError::NotFound,
        });
    };
    let user = match fs::metadata(ours.join("data")) {
        _ if !rustix::process::geteuid().is_root() => None,
        Ok(about) if about.uid() != 0 => Some((about.uid(), about.gid())),
        _ => Some(unprivileged_user()?),
    };
    Ok(Place {
        folder: ours.to_owned(),
        programs: programs.clone(),
        major: *major,
        user,
        socket: socket.unwrap_or_else(|| ours.join("run")),
    })
}

/// Who the server runs as, where we are root. It must be in the machine's list of users: initdb asks.
fn unprivileged_user() -> Result<(u32, u32)> {
    for name in ["postgres", "nobody"] {
        if let Some(user) = nix::unistd::User::from_name(name).context("look up a user")? {
            return Ok((user.uid.as_raw(), user.gid.as_raw()));
        }
    }
    bail!("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")
}

/// The folders that have initdb, pg_ctl and postgres, with their version; the newest first, but what is
/// on the PATH before all.
fn find_programs() -> Vec<(PathBuf, u32)> {
    let mut folders = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        // A link on the PATH leads to where the others are.
        folders.extend(fs::canonicalize(folder.join("postgres")).ok().and_then(|program| program.parent().map(Path::to_owned)));
    }
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output() {
        let said = output.stdout.trim_ascii_end();
        folders.extend((!said.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(said))));
    }
    let mut installed = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/usr/libexec", "postgresql"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
    ] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                installed.extend([entry.path().join("bin"), entry.path()]);
            }
        }
    }
    let root = rustix::process::geteuid().is_root();
    let usable = |folder: PathBuf| {
        let complete = ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file());
        // Another user will run it.
        let reachable = !root || closed_parent(&folder).is_none();
        let major = if complete && reachable { version(&folder)? } else { return None };
        Some((folder, major))
    };
    let mut installed: Vec<_> = installed.into_iter().filter_map(usable).collect();
    installed.sort_by_key(|(_, major)| std::cmp::Reverse(*major));
    let mut found: Vec<_> = folders.into_iter().filter_map(usable).collect();
    found.extend(installed);
    found
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`
fn version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The server that runs on a cluster: the pid in `postmaster.pid`, if it is still a server's. A server's
/// working folder is its cluster, by which it is told from whoever got that pid later.
fn postmaster(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (folder == fs::canonicalize(data).ok()?).then(|| Pid::from_raw(pid))?
}

impl Place {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of PostgreSQL, as the user that the server runs as.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin")));
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir(&self.folder).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes a folder that the server alone may enter.
    fn own_folder(&self, path: &Path) -> Result<()> {
        folder(path, 0o700).with_context(|| format!("make {}", path.display()))?;
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).with_context(|| format!("give {} to PostgreSQL", path.display()))?;
        } else if fs::metadata(path).context("look at a folder")?.uid() != rustix::process::geteuid().as_raw() {
            bail!("{} belongs to somebody else", path.display());
        }
        Ok(())
    }

    /// `initdb`, aside first: so a crash leaves no half cluster.
    fn make_cluster(&self, password: &str) -> Result<()> {
        let aside = self.folder.join("data.new");
        if aside.exists() {
            tree::remove(&self.folder, "data.new").context("remove a half-made cluster")?;
        }
        self.own_folder(&aside)?;
        let file = self.folder.join("log/password");
        write_whole(&file, password.as_bytes()).context("write the password file")?;
        if let Some((uid, gid)) = self.user {
            chown(&file, Some(uid), Some(gid)).context("give the password file to PostgreSQL")?;
        }
        let locales: &[&[&str]] = if self.major >= 17 {
            &[&["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]]
        } else {
            &[&["--locale=C.UTF-8"], &["--locale=C"]]
        };
        let mut last = String::new();
        let mut made = false;
        for locale in locales {
            let mut command = self.command("initdb");
            command.arg("-D").arg(&aside).args(["-U", ADMIN, "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"]);
            let output = command.arg("--pwfile").arg(&file).args(*locale).output().context("run initdb")?;
            made = output.status.success();
            if made {
                break;
            }
            last = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        }
        let _ = fs::remove_file(&file);
        if !made {
            bail!("initdb failed: {last}");
        }
        fs::rename(&aside, self.data()).context("put the cluster in its place")
    }

    /// Ours, at every start, so that a new version's settings count.
    fn write_settings(&self) -> Result<()> {
        let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\\', "\\\\").replace('\'', "''"));
        let mut settings = format!(
            "# Written by fullstack-agent at every start of PostgreSQL.\n\
             listen_addresses = ''\n\
             port = {PORT}\n\
             unix_socket_directories = {}\n\
             password_encryption = 'scram-sha-256'\n\
             max_connections = {MAX_CONNECTIONS}\n\
             superuser_reserved_connections = {RESERVED}\n\
             fsync = on\n\
             synchronous_commit = on\n\
             full_page_writes = on\n\
             jit = off\n\
             wal_level = minimal\n\
             max_wal_senders = 0\n\
             max_wal_size = 512MB\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             logging_collector = on\n\
             log_directory = {}\n\
             log_filename = 'postgresql-%a.log'\n\
             log_truncate_on_rotation = on\n\
             log_rotation_age = 1d\n\
             log_rotation_size = 0\n",
            quoted(&self.socket),
            quoted(&self.folder.join("log")),
        );
        if self.major >= 16 {
            let _ = writeln!(settings, "reserved_connections = {RESERVED}");
        }
        let access = format!(
            "# Written by fullstack-agent at every start of PostgreSQL. No line: no entry.\n\
             local all {ADMIN} scram-sha-256\n\
             local {CONTROL} {CONTROL} scram-sha-256\n\
             # A project's role is called as its database is.\n\
             local sameuser all scram-sha-256\n"
        );
        let data = self.data();
        for (name, text) in [("postgresql.conf", settings), ("pg_hba.conf", access)] {
            let path = data.join(name);
            write_whole(&path, text.as_bytes()).with_context(|| format!("write {name}"))?;
            if let Some((uid, gid)) = self.user {
                chown(&path, Some(uid), Some(gid)).with_context(|| format!("give {name} to PostgreSQL"))?;
            }
        }
        Ok(())
    }

    /// Lock files of a server that is gone name a pid that may be somebody else's by now, who would be
    /// taken for it. The file itself stays: by its other lines PostgreSQL tells whether processes of the
    /// old server still hold its memory, and then refuses to start.
    fn clear_locks(&self) -> Result<()> {
        /// Above every pid that Linux gives out.
        const NOBODY: &str = "999999999";
        let path = self.data().join("postmaster.pid");
        if let Ok(text) = fs::read_to_string(&path)
            && let Some((_, rest)) = text.split_once('\n')
        {
            fs::write(&path, format!("{NOBODY}\n{rest}")).context("clear PostgreSQL's lock file")?;
        }
        let _ = fs::remove_file(self.socket.join(format!(".s.PGSQL.{PORT}.lock")));
        Ok(())
    }

    /// `pg_ctl start`, which puts the server into a session of its own and waits until it answers.
    fn start(&self) -> Result<(), PostgresError> {
        let log = self.folder.join("log/start.log");
        let mut command = self.command("pg_ctl");
        command.arg("start").arg("-D").arg(self.data()).arg("-l").arg(&log).args([
            "-w",
            "-s",
            "-t",
            &START.as_secs().to_string(),
        ]);
        let deadline = Instant::now() + LEFTOVERS;
        let output = loop {
            let output = command.stdout(Stdio::null()).output().context("run pg_ctl")?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline || !crate::keeper::tail(&log).contains("pre-existing shared memory block") {
                break output;
            }
            let _ = fs::remove_file(&log);
            std::thread::sleep(Duration::from_millis(100));
        };
        let tail = |path: &Path| crate::keeper::tail(path);
        let newest = fs::read_dir(self.folder.join("log"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("postgresql-"))
            .max_by_key(|entry| entry.metadata().and_then(|about| about.modified()).ok());
        let text = format!(
            "{}{}{}",
            tail(&log),
            newest.map(|entry| tail(&entry.path())).unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr)
        );
        let lines: Vec<&str> = text.lines().collect();
        Err(PostgresError::NotStarted { log: self.folder.join("log"), tail: lines[lines.len().saturating_sub(8)..].join("\n") })
    }

    fn stop(&self) -> Result<()> {
        if postmaster(&self.data()).is_none() {
            return Ok(());
        }
        let mut command = self.command("pg_ctl");
        command.arg("stop").arg("-D").arg(self.data()).args(["-m", "fast", "-w", "-s", "-t", "60"]);
        let output = command.stdout(Stdio::null()).output().context("run pg_ctl")?;
        if !output.status.success() && postmaster(&self.data()).is_some() {
            bail!("PostgreSQL did not stop: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}
