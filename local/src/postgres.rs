//! The embedded PostgreSQL: found programs, a Unix socket and nothing else.
//!
//! ```text
//! DATA/postgres/            0700, of the user that PostgreSQL runs as
//!      data/                the cluster
//!      socket/              .s.PGSQL.5432 (in /tmp where that path would be too long for a socket)
//!      log
//! DATA/postgres.password    0600, of the control plane
//! ```
//!
//! It outlives the control plane, and the next one adopts it. The control plane's role is its
//! superuser, for whom connections are reserved; every other role reaches the database of its own
//! name, with its password, and no other.

use crate::datafolder::folder;
use anyhow::{Context as _, Result, bail};
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::{
        fs::{OpenOptionsExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The control plane's role and database.
pub const CONTROL: &str = "fullstack_agent";
/// The number in the socket's name. No TCP port is opened.
const PORT: u16 = 5432;
/// `sun_path` holds 108 bytes, the last of them a NUL.
const LONGEST_SOCKET: usize = 107;
/// Twenty for each of some projects at work. The control plane's own are reserved beside them.
const CONNECTIONS: u32 = 400;
/// For the control plane: its pool, a listener, and what makes and removes databases.
const RESERVED: u32 = 40;

/// A PostgreSQL server of this data folder. Dropping it leaves it running.
#[derive(Debug, Clone)]
pub struct EmbeddedPostgres {
    binaries: PathBuf,
    folder: PathBuf,
    socket_folder: PathBuf,
    /// Whom it runs as, where that is not us.
    user: Option<User>,
    password: SecretString,
}

#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl EmbeddedPostgres {
    /// Makes the cluster if there is none, and starts it if it does not run.
    ///
    /// # Errors
    /// Each with a sentence that says what to do: no server programs, a cluster of another major
    /// version, nobody to run it as, a start that failed (with the end of its log).
    pub async fn start(data_dir: &Path) -> Result<Self> {
        let data_dir = data_dir.to_owned();
        tokio::task::spawn_blocking(move || Self::start_blocking(&data_dir)).await.context("start PostgreSQL")?
    }

    /// The server of a data folder that another process started; nothing is started here.
    ///
    /// # Errors
    /// There is none, or its password cannot be read.
    pub fn attach(data_dir: &Path) -> Result<Self> {
        let secret = data_dir.join("postgres.password");
        let password = fs::read_to_string(&secret).with_context(|| {
            format!(
                "There is no PostgreSQL in {} that this user may use. Is `--data-dir` that of the server, and the user the same?",
                data_dir.display()
            )
        })?;
        let folder = data_dir.join("postgres");
        let socket_folder = socket_folder(&folder);
        Ok(Self { binaries: PathBuf::new(), folder, socket_folder, user: None, password: password.trim().to_owned().into() })
    }

    /// The address of the control plane's database, as its superuser.
    #[must_use]
    pub fn url(&self) -> SecretString {
        let encoded: String = self
            .socket_folder
            .to_string_lossy()
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        let password = self.password.expose_secret();
        format!("postgresql://{CONTROL}:{password}@localhost:{PORT}/{CONTROL}?host={encoded}").into()
    }

    /// The folder of its socket, as libpq's `host`.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        &self.socket_folder
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_folder.join(format!(".s.PGSQL.{PORT}"))
    }

    /// Whether its first process is alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).ok();
        let pid = pid.and_then(|text| text.lines().next().map(str::to_owned));
        pid.is_some_and(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            matches!(name.trim(), "postgres" | "postmaster")
        })
    }

    /// Starts it again whenever it ended, until `stop`.
    pub async fn keep_running(self, stop: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            let wait = Duration::from_secs(1 << failures.min(4));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let this = self.clone();
            let looked =
                tokio::task::spawn_blocking(move || if this.is_running() { Ok(false) } else { this.launch().map(|()| true) });
            match looked.await {
                Ok(Ok(false)) => failures = 0,
                Ok(Ok(true)) => {
                    failures = 0;
                    info!("PostgreSQL had ended and was started again");
                }
                Ok(Err(error)) => {
                    failures += 1;
                    warn!("PostgreSQL ended and does not start: {error:#}");
                }
                Err(_) => return,
            }
        }
    }

    /// Ends it: open transactions are rolled back, everything committed is on disk.
    ///
    /// # Errors
    /// It did not end within a minute.
    pub async fn stop(&self) -> Result<()> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.stop_blocking()).await.context("stop PostgreSQL")?
    }

    fn stop_blocking(&self) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        let this = if self.binaries.as_os_str().is_empty() { self.resolved()? } else { self.clone() };
        let data = this.data();
        this.run(this.program("pg_ctl").arg("-D").arg(&data).args(["-m", "fast", "-w", "-t", "60", "stop"]))
            .context("stop PostgreSQL")
    }

    fn start_blocking(data_dir: &Path) -> Result<Self> {
        let folder_path = data_dir.join("postgres");
        let password = password(&data_dir.join("postgres.password"))?;
        let blank = Self {
            binaries: PathBuf::new(),
            socket_folder: socket_folder(&folder_path),
            folder: folder_path,
            user: None,
            password,
        };
        let this = blank.resolved()?;
        folder(&this.folder, 0o700)?;
        this.give(&this.folder)?;
        folder(&this.socket_folder, 0o700)?;
        this.give(&this.socket_folder)?;
        if !this.data().join("PG_VERSION").is_file() {
            this.init()?;
        }
        if !this.is_running() {
            this.launch()?;
        }
        Ok(this)
    }

    /// With programs that fit the cluster, and somebody to run them as.
    fn resolved(&self) -> Result<Self> {
        let version = fs::read_to_string(self.data().join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
        let binaries = binaries(version.as_deref())?;
        let user = if rustix::process::geteuid().is_root() { Some(other_user()?) } else { None };
        Ok(Self { binaries, user, ..self.clone() })
    }

    /// A new cluster with the control plane's database, made aside and renamed, so that a crash leaves
    /// no half of one.
    fn init(&self) -> Result<()> {
        info!("making the PostgreSQL of this data folder");
        let fresh = self.folder.join("data.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).context("remove a half-made cluster")?;
        }
        let pwfile = self.folder.join("password.new");
        private_file(&pwfile, self.password.expose_secret())?;
        self.give(&pwfile)?;
        let made = self.run(
            self.program("initdb")
                .arg("-D")
                .arg(&fresh)
                .args(["-U", CONTROL, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"])
                .arg(format!("--pwfile={}", pwfile.display())),
        );
        fs::remove_file(&pwfile).context("remove the password's file")?;
        made.context("make a PostgreSQL cluster")?;
        // No client is needed for this: the server reads it on its standard input.
        let mut single = self.program("postgres");
        single.args(["--single", "-j", "-D"]).arg(&fresh).arg("postgres").stdin(Stdio::piped());
        let mut child = single.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("start PostgreSQL alone")?;
        if let Some(mut stdin) = child.stdin.take() {
            let close = "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;\n\n";
            stdin.write_all(format!("CREATE DATABASE {CONTROL} TEMPLATE template0;\n\n{close}REVOKE CONNECT ON DATABASE {CONTROL} FROM PUBLIC;\n\n").as_bytes())?;
        }
        let out = child.wait_with_output().context("make the control plane's database")?;
        let said = String::from_utf8_lossy(&out.stderr);
        if !out.status.success() || said.contains("ERROR:") {
            bail!("make the control plane's database: {}", said.trim());
        }
        fs::rename(&fresh, self.data()).context("put the cluster in its place")
    }

    fn launch(&self) -> Result<()> {
        self.configure()?;
        let log = self.folder.join("log");
        let data = self.data();
        let started = self.run(self.program("pg_ctl").arg("-D").arg(&data).arg("-l").arg(&log).args(["-w", "-t", "60", "start"]));
        started.with_context(|| {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(8).collect();
            format!(
                "PostgreSQL did not start. The end of its log, {}:\n{}",
                log.display(),
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            )
        })
    }

    /// Written before each start, so that an older file never counts.
    fn configure(&self) -> Result<()> {
        let data = self.data();
        let socket = self.socket_folder.to_string_lossy().replace('\'', "''");
        let settings = format!(
            "# Written by FullStack Agent at each start.\n\
             listen_addresses = ''\nport = {PORT}\nunix_socket_directories = '{socket}'\nunix_socket_permissions = 0700\n\
             password_encryption = 'scram-sha-256'\nmax_connections = {CONNECTIONS}\nsuperuser_reserved_connections = {RESERVED}\n\
             fsync = on\nwal_level = minimal\nmax_wal_senders = 0\njit = off\n\
             log_line_prefix = '%m [%p] %q%u@%d '\nlog_timezone = 'UTC'\ntimezone = 'UTC'\n"
        );
        fs::write(data.join("postgresql.conf"), settings).context("write PostgreSQL's settings")?;
        let access = format!(
            "# Written by FullStack Agent at each start. A role reaches the database of its own name alone.\n\
             local all {CONTROL} scram-sha-256\nlocal sameuser all scram-sha-256\n"
        );
        fs::write(data.join("pg_hba.conf"), access).context("write PostgreSQL's rules of access")?;
        for name in ["postgresql.conf", "pg_hba.conf"] {
            self.give(&data.join(name))?;
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// One of its programs, as its user, away from our folder and our variables.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TZ", "UTC").current_dir("/");
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end; what it said is the error.
    fn run(&self, command: &mut Command) -> Result<()> {
        // Into a file, not a pipe: the server that `pg_ctl` leaves behind would hold the pipe open.
        let said = tempfile()?;
        let status =
            command.stdout(said.try_clone()?).stderr(said.try_clone()?).status().context("start one of PostgreSQL's programs")?;
        if status.success() {
            return Ok(());
        }
        let text = read_back(said).unwrap_or_default();
        bail!("{}", text.trim())
    }

    fn give(&self, path: &Path) -> Result<()> {
        match self.user {
            Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))
                .with_context(|| format!("give {} to PostgreSQL", path.display())),
            None => Ok(()),
        }
    }
}

/// In the data folder, or where the path is too long for a socket, in `/tmp` under a name that
/// follows from it.
fn socket_folder(postgres: &Path) -> PathBuf {
    let usual = postgres.join("socket");
    if usual.as_os_str().len() + "/.s.PGSQL.5432".len() <= LONGEST_SOCKET {
        return usual;
    }
    let hash = usual
        .to_string_lossy()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    PathBuf::from(format!("/tmp/fullstack-agent-postgres-{hash:016x}"))
}

/// Chosen once, of letters and digits, so that it needs no quoting anywhere.
fn password(path: &Path) -> Result<SecretString> {
    if let Ok(text) = fs::read_to_string(path)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned().into());
    }
    let mut bytes = [0_u8; 24];
    rand::rng().fill_bytes(&mut bytes);
    let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    private_file(path, &password)?;
    Ok(password.into())
}

fn private_file(path: &Path, text: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// A file without a name.
fn tempfile() -> Result<fs::File> {
    let fd = rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC).context("make a file in memory")?;
    Ok(fs::File::from(fd))
}

fn read_back(mut file: fs::File) -> std::io::Result<String> {
    use std::io::{Read as _, Seek as _};
    file.rewind()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// PostgreSQL refuses to run as root: its own user, which Debian's package makes.
fn other_user() -> Result<User> {
    let user = nix::unistd::User::from_name("postgres").ok().flatten();
    let user = user.context(
        "PostgreSQL refuses to run as root, and there is no user `postgres` to run it as. Make one (`useradd --system postgres`), or run this \
         server as another user, or give it a server of your own with FSA_DATABASE_URL.",
    )?;
    Ok(User { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

/// The folder of the server's programs: of the version asked for, or the newest that is found on the
/// PATH, by `pg_config`, or where the packages of Debian, Red Hat and Homebrew put them.
fn binaries(version: Option<&str>) -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> =
        candidates().into_iter().filter_map(|dir| major(&dir).map(|major| (major, dir))).collect();
    found.sort();
    found.dedup();
    match version {
        None => found.pop().map(|(_, dir)| dir).context(
            "PostgreSQL's server programs (`initdb`, `postgres`) were not found. Install them (`apt-get install postgresql`), or give this server \
             a database of your own with FSA_DATABASE_URL.",
        ),
        Some(version) => {
            let there: Vec<String> = found.iter().map(|(major, _)| major.to_string()).collect();
            let fits = found.into_iter().rev().find(|(major, _)| major.to_string() == version);
            fits.map(|(_, dir)| dir).with_context(|| {
                format!(
                    "The data folder's PostgreSQL is of version {version}, and here is {}. Install PostgreSQL {version}, or move the data with \
                     pg_upgrade.",
                    if there.is_empty() { "none".to_owned() } else { there.join(", ") }
                )
            })
        }
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    if let Ok(out) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output() {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    }
    for (parent, end) in
        [("/usr/lib/postgresql", "bin"), ("/opt/homebrew/opt", "bin"), ("/home/linuxbrew/.linuxbrew/opt", "bin"), ("/usr", "bin")]
    {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        dirs.extend(
            entries
                .filter(|entry| {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    name.starts_with("postgresql") || name.starts_with("pgsql") || name.bytes().all(|byte| byte.is_ascii_digit())
                })
                .map(|entry| entry.path().join(end)),
        );
    }
    dirs.retain(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file() && dir.join("pg_ctl").is_file());
    dirs
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`
fn major(dir: &Path) -> Option<u32> {
    let out = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    version_of(&String::from_utf8_lossy(&out.stdout))
}

fn version_of(text: &str) -> Option<u32> {
    text.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read() {
        assert_eq!(version_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(version_of("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(version_of("nonsense"), None);
    }

    #[test]
    fn a_long_path_still_has_a_socket() {
        let long = PathBuf::from("/").join("x".repeat(120)).join("postgres");
        assert!(socket_folder(&long).join(".s.PGSQL.5432").as_os_str().len() <= LONGEST_SOCKET);
        assert_eq!(socket_folder(Path::new("/data/postgres")), Path::new("/data/postgres/socket"));
    }
}
