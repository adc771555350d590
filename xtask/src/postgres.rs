//! A throw-away PostgreSQL server for one run of the tests: a Unix socket in a temporary folder, and
//! nothing else. It ends with us, however we end.

use crate::shell::{self, Cmd};
use anyhow::{Context as _, Result, bail};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Its folder's name, before the id of the process that made it.
const FOLDER: &str = "fsa-test-postgres-";

/// An empty cluster answers within a second; on a machine with much else to do, ten were seen.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Ends when it is dropped.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts one, and waits until it answers.
    ///
    /// # Errors
    ///
    /// With what PostgreSQL says about it.
    pub fn start() -> Result<Self> {
        let programs = programs().context("find PostgreSQL's server programs")?;
        remove_what_killed_runs_left();
        let folder = env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).context("close the database's folder to others")?;
        if shell::is_root() {
            Cmd::new("chown").args(["postgres"]).args([&folder]).run()?;
        }
        let mut server = Self { folder, programs, child: None };
        let data = server.folder.join("data");
        // Trust: only who may enter the folder reaches the socket.
        let cluster = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
        server.program("initdb").args(cluster).args([&data]).read()?;
        server.child = Some(server.spawn(&data)?);
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// A superuser's address.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@localhost/postgres?host={}", self.folder.display())
    }

    /// Runs a file of SQL.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or one of its statements fails: psql says which.
    pub fn apply(&self, file: &Path) -> Result<()> {
        let sql = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let psql = self.program("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        let psql = psql.args([&self.folder]).args(["-d", "postgres", "-c"]).args([sql]);
        psql.read().map(drop).with_context(|| format!("apply {}", file.display()))
    }

    fn spawn(&self, data: &Path) -> Result<Child> {
        let log = fs::File::create(self.log()).context("create PostgreSQL's log")?;
        let server = self.program("postgres").args(["-D"]).args([data]).args(["-k"]).args([&self.folder]);
        // Its data is worth nothing after the run: no syncing.
        let settings =
            ["listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200"];
        let mut server = server.args(settings.iter().flat_map(|setting| ["-c", setting])).into_inner();
        let errors = log.try_clone().context("share PostgreSQL's log")?;
        server.stdout(log).stderr(errors).spawn().context("start PostgreSQL")
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let begun = Instant::now();
        while !self.program("pg_isready").args(["-q", "-h"]).args([&self.folder]).quiet() {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || begun.elapsed() > START_DEADLINE {
                bail!("PostgreSQL did not start:\n{}", fs::read_to_string(self.log()).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// One of PostgreSQL's programs: as user postgres if we are root, whom it refuses; sent SIGINT,
    /// its word for a fast shutdown, when we die.
    fn program(&self, name: &str) -> Cmd {
        let mut command = Cmd::new("setpriv").args(["--pdeathsig", "INT"]);
        if shell::is_root() {
            command = command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
        }
        command.args([self.programs.join(name)]).dir(Path::new("/"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGQUIT: at once, as after a power cut.
            Cmd::new("kill").args(["-QUIT", &child.id().to_string()]).quiet();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder of `initdb` and the other programs that are needed: on the PATH (there it may be a link
/// into it), or where the packages of Debian and Homebrew put it.
pub fn programs() -> Option<PathBuf> {
    let has = |dir: &Path| ["initdb", "postgres", "pg_isready", "psql"].iter().all(|name| dir.join(name).is_file());
    let on_path = shell::find("initdb")
        .and_then(|path| fs::canonicalize(path).ok())
        .and_then(|path| path.parent().map(Path::to_owned))
        .filter(|dir| has(dir));
    let asked = || {
        let out = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
        Some(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim())).filter(|dir| has(dir))
    };
    let packaged = || {
        let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .filter(|dir| has(dir))
            .collect();
        found.sort_by_key(|dir| dir.parent().and_then(|v| v.file_name()).and_then(|v| v.to_string_lossy().parse::<u32>().ok()));
        found.pop()
    };
    on_path.or_else(asked).or_else(packaged)
}

/// A run that was killed could not remove its folder.
fn remove_what_killed_runs_left() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(FOLDER)).and_then(|pid| pid.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
