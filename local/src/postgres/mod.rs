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

mod place;
mod programs;

use crate::{datafolder::folder, volume::write_whole};
use anyhow::{Context as _, Result, anyhow, bail};
use engine::{database::server::CATALOG_ALONE, orchestrator::DatabaseEndpoint};
use place::{Place, postmaster};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use std::{
    fmt::Write as _,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The control plane's database, and the role that owns it.
const CONTROL: &str = "fullstack_agent";
const ADMIN: &str = "fsa_admin";
/// In the name of the socket; nothing listens on the port of that number.
const PORT: u16 = 5432;
/// A start after a crash replays what was written since the last checkpoint: seconds, as a rule.
const START: Duration = Duration::from_secs(60);
/// How long one connection may take to be let in or refused. A server that was stopped (SIGSTOP), or hangs, does neither.
const LET_IN: Duration = Duration::from_secs(2);
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
        if !server.adopt(START).await? {
            server.adopted = false;
            let place = server.place.clone();
            blocking(move || place.start()).await?;
        }
        match tokio::time::timeout(START, server.make_control_database()).await {
            Ok(made) => made.context("make the control plane's database")?,
            Err(_) => return Err(server.silent("the control plane's database could not be made in a minute")),
        }
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
        let place = Place::find(&ours, secrets.socket_folder.clone())?;
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

    /// For the control plane's own store. Connections are reserved for it, so that projects that have taken all others do not lock it out:
    /// from PostgreSQL 16 on for its role, before that for superusers alone; there it comes as one that has taken on its role.
    #[must_use]
    pub fn control_url(&self) -> SecretString {
        if self.place.major >= 16 {
            return self.url(CONTROL, &self.secrets.control, CONTROL);
        }
        let url = self.url(ADMIN, &self.secrets.admin, CONTROL);
        format!("{}&options=-c%20role%3D{CONTROL}", url.expose_secret()).into()
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
            let place = Place::find(&folder, None).map_err(|error| anyhow!(error))?;
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
            .options([CATALOG_ALONE])
    }

    /// Whether a server runs for this folder, waiting for one that is on its way up or down.
    ///
    /// # Errors
    /// One runs, and had let nobody in when `patience` was over. Another beside it would not start.
    async fn adopt(&self, patience: Duration) -> Result<bool, PostgresError> {
        let deadline = Instant::now() + patience;
        while let Some(process) = postmaster(&self.place.data()) {
            let refused = match self.enter().await {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                let pid = process.as_raw_pid();
                return Err(self.silent(&format!("it runs already, as process {pid}, and lets nobody in: {refused:#}")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(false)
    }

    async fn enter(&self) -> Result<PgConnection> {
        match tokio::time::timeout(LET_IN, PgConnection::connect_with(&self.admin())).await {
            Ok(entered) => Ok(entered?),
            Err(_) => bail!("it does not answer. Was it stopped, by a debugger or SIGSTOP?"),
        }
    }

    fn silent(&self, what: &str) -> PostgresError {
        PostgresError::NotStarted { log: self.place.folder.join("log"), tail: what.to_owned() }
    }

    /// The control plane's role and database; may be repeated.
    async fn make_control_database(&self) -> Result<()> {
        // It answered before; a machine that is busy may take its time within what the caller gives it.
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
    let mut place = Place::find(&ours, secrets.socket_folder.clone())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_there_and_silent_is_told_and_not_waited_for() {
        let ours = tempfile::tempdir_in("/tmp").unwrap();
        let place = Place {
            folder: ours.path().to_owned(),
            programs: ours.path().to_owned(),
            major: 17,
            user: None,
            socket: ours.path().to_owned(),
        };
        fs::create_dir(place.data()).unwrap();
        let secrets = Secrets { admin: "a".to_owned(), control: "c".to_owned(), socket_folder: None };
        let server = EmbeddedPostgres { place, secrets, adopted: true };
        assert!(!server.adopt(START).await.unwrap(), "none runs");
        // The kernel takes connections for a process that is stopped.
        let _listener = std::os::unix::net::UnixListener::bind(ours.path().join(format!(".s.PGSQL.{PORT}"))).unwrap();
        let mut process = std::process::Command::new("sleep").arg("600").current_dir(server.place.data()).spawn().unwrap();
        fs::write(server.place.data().join("postmaster.pid"), format!("{}\n", process.id())).unwrap();
        let adopted = tokio::time::timeout(LET_IN * 5, server.adopt(Duration::ZERO)).await;
        process.kill().unwrap();
        process.wait().unwrap();
        let refused = adopted.unwrap().unwrap_err();
        assert!(matches!(refused, PostgresError::NotStarted { .. }), "{refused:?}");
        assert!(refused.to_string().contains("it does not answer"), "{refused}");
    }
}
