//! A throw-away PostgreSQL server for one run of the tests: a Unix socket in a temporary folder, and
//! nothing else.

use crate::shell::{self, Cmd};
use anyhow::{Context as _, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Ends when it is dropped.
pub struct Server {
    folder: PathBuf,
    binaries: PathBuf,
}

impl Server {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let binaries = binaries().context("find PostgreSQL's server programs")?;
        let folder = std::env::temp_dir().join(format!("fsa-test-postgres-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        if shell::is_root() {
            Cmd::new("chown").args(["postgres"]).args([&folder]).run()?;
        }
        let server = Self { folder, binaries };
        let data = server.folder.join("data");
        server
            .program("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .args([&data])
            .read()?;
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c max_connections=200",
            server.folder.display()
        );
        let mut start = server
            .program("pg_ctl")
            .args(["-w", "-s", "-l"])
            .args([server.folder.join("log")])
            .args(["-D"])
            .args([&data])
            .args(["-o", &options, "start"])
            .into_inner();
        let status = start.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        anyhow::ensure!(
            status.success(),
            "PostgreSQL did not start: {}",
            fs::read_to_string(server.folder.join("log")).unwrap_or_default()
        );
        Ok(server)
    }

    /// A superuser's address.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@localhost/postgres?host={}", self.folder.display())
    }

    /// Runs a file of SQL.
    pub fn apply(&self, file: &Path) -> Result<()> {
        let sql = fs::read_to_string(file)?;
        let mut psql = self
            .program("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .args([&self.folder])
            .args(["-d", "postgres", "-c"])
            .args([sql])
            .into_inner();
        let status = psql.stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "{} failed", file.display());
        Ok(())
    }

    /// PostgreSQL refuses to run as root.
    fn program(&self, name: &str) -> Cmd {
        let program = self.binaries.join(name);
        let command =
            if shell::is_root() { Cmd::new("runuser").args(["-u", "postgres", "--"]).args([program]) } else { Cmd::new(program) };
        command.dir(Path::new("/"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = self
            .program("pg_ctl")
            .args(["-m", "immediate", "-s", "-D"])
            .args([self.folder.join("data")])
            .args(["stop"])
            .into_inner();
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder of `initdb`: on the PATH, or where the packages of Debian and Homebrew put it.
pub fn binaries() -> Option<PathBuf> {
    let has = |dir: &Path| dir.join("initdb").is_file() && dir.join("postgres").is_file();
    let on_path = shell::find("initdb").and_then(|path| path.parent().map(Path::to_owned)).filter(|dir| has(dir));
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
