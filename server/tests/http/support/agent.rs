//! A real agent in a home folder of its own, for what the small one in [`super::world`] does not do.

use std::{
    io::{BufRead as _, BufReader},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};
use tokio::net::UnixStream;

pub const TOKEN: &str = "of the real agent";

pub struct RealAgent {
    process: Child,
    folder: tempfile::TempDir,
    pub home: PathBuf,
}

/// The program: `FSA_AGENT`, or one that is built now.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        if let Some(given) = std::env::var_os("FSA_AGENT") {
            return given.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = ["build", "--release", "--quiet", "-p", "sandbox-agent", "--bin", "sandbox-agent"];
        let built = Command::new(cargo).args(build).current_dir("..").status().unwrap();
        assert!(built.success(), "the agent builds");
        Path::new(env!("CARGO_BIN_EXE_fullstack-agent")).with_file_name("sandbox-agent")
    };
    PROGRAM.get_or_init(build).clone()
}

impl RealAgent {
    pub fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let mut command = Command::new("/bin/sh");
        // Descriptors that tests hand on are closed on exec; this one comes as standard input.
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 </dev/null"]).arg(program()).args(["--listen-fd", "3", "--home"]).arg(&home);
        command.args(["--state-dir"]).arg(folder.path().join("state")).args(["--tty-listen", "127.0.0.1:0"]).args(flags);
        command.env("FSA_AGENT_TOKEN", TOKEN).stdin(Stdio::from(OwnedFd::from(listener))).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().starts_with("listening on ")).expect("the agent listens").unwrap();
        std::thread::spawn(move || lines.for_each(|line| eprintln!("agent: {}", line.unwrap_or_default())));
        Self { process, folder, home }
    }

    pub async fn io(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("socket")).await.unwrap()
    }

    /// The most memory that it ever had.
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
