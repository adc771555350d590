//! From a configuration to a sandbox whose first process runs.

use super::{
    bubblewrap::{self, Descriptors},
    inside::{self, inheritable, memory_file},
    limits::{self, Cgroup},
    log,
    namespace::{self, Made, Wanted},
    output::Output,
    protocol::{Config, WayOut},
    seccomp,
};
use crate::causes;
use anyhow::{Context as _, Result};
use model::{Cause, CauseCode};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, net::UnixListener, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    time::Duration,
};

/// "loopback: Failed RTM_NEWADDR" comes once in a thousand starts, and not twice.
const TRIES: usize = 3;
/// How long bubblewrap may take to tell its child's pid. Ten milliseconds as a rule.
const TO_FORK: Duration = Duration::from_secs(10);

/// A sandbox that runs.
pub struct Started {
    /// What we wait for: bubblewrap, or without isolation the agent.
    pub child: Child,
    /// The first process of the sandbox.
    pub init: OwnedFd,
    /// Its pid, as the machine numbers it.
    pub init_pid: i32,
    /// How much it may use.
    pub cgroup: Cgroup,
    /// What was made in its network namespace.
    pub made: Made,
    /// How it reaches the internet.
    pub way_out: WayOut,
    /// What did not come about although the rest runs.
    pub cause: Option<Cause>,
    /// Held open: bubblewrap tells the exit code there on its way out, and would die of nobody listening.
    pub _status: Option<OwnedFd>,
    /// What it writes.
    pub output: Output,
}

/// Starts a sandbox. What could not be started leaves nothing behind.
pub fn start(config: &Config, agent: &UnixListener) -> Result<Started, Cause> {
    try_start(config, agent).inspect_err(|_| Cgroup::sweep(&config.folder, config.sandbox))
}

fn try_start(config: &Config, agent: &UnixListener) -> Result<Started, Cause> {
    inside::prepare_home(config).map_err(|error| causes::volume_failed(&error))?;
    if !config.isolated {
        return unisolated(config, agent).map_err(|error| causes::agent_missing(&format!("{error:#}")));
    }
    let mut ways = vec![WayOut::Proxy, WayOut::None];
    if config.network_device && File::options().read(true).write(true).open("/dev/net/tun").is_ok() {
        ways.insert(0, WayOut::Device);
    }
    let mut failure = None;
    for way_out in ways {
        for _ in 0..TRIES {
            match isolated(config, agent, way_out) {
                Ok(mut started) => {
                    if way_out == WayOut::None {
                        let detail = failure.map(|cause: Cause| cause.detail.unwrap_or(cause.message));
                        started.cause = Some(causes::network_failed(&detail.unwrap_or_default()));
                    }
                    return Ok(started);
                }
                Err(Failure { cause, again }) => {
                    log(&format!("could not start: {}: {}", cause.message, cause.detail.as_deref().unwrap_or_default()));
                    failure = Some(cause);
                    if !again {
                        break;
                    }
                }
            }
        }
        // Only a network that failed is helped by another one.
        match failure {
            Some(cause) if cause.code != CauseCode::NetworkFailed => return Err(cause),
            _ => {}
        }
    }
    Err(failure.unwrap_or_else(|| causes::keeper_failed("no way was tried")))
}

struct Failure {
    cause: Cause,
    again: bool,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { cause: causes::start_failed(&error), again: false }
    }
}

fn isolated(config: &Config, agent: &UnixListener, way_out: WayOut) -> Result<Started, Failure> {
    let cgroup = Cgroup::make(&config.folder, config.sandbox, &config.resources);
    let (mut output, output_child) = Output::open(&config.folder)?;
    let (status, status_child) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("make a pipe")?;
    let (block_child, block) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("make a pipe")?;
    let seccomp = memory_file("seccomp", &seccomp::filter())?;
    let token = memory_file("token", config.agent_token.0.as_bytes())?;
    let mut files = Vec::new();
    for (mode, path, text) in inside::files(config) {
        files.push((mode, memory_file("file", text.as_bytes())?, path));
    }
    let fds = Descriptors {
        status: status_child.as_raw_fd(),
        block: block_child.as_raw_fd(),
        seccomp: seccomp.as_raw_fd(),
        listen: agent.as_raw_fd(),
        token: token.as_raw_fd(),
        files: files.iter().map(|(mode, fd, path)| (*mode, fd.as_raw_fd(), path.clone())).collect(),
    };
    let env = inside::environment(config, bubblewrap::HOME, way_out);
    let mut text = Vec::new();
    for argument in bubblewrap::arguments(config, &env, &fds) {
        text.extend_from_slice(argument.as_bytes());
        text.push(0);
    }
    let arguments = memory_file("arguments", &text)?;
    for fd in [&status_child, &block_child, &seccomp, &token, &arguments].into_iter().chain(files.iter().map(|(_, fd, _)| fd)) {
        inheritable(fd.as_fd())?;
    }
    inheritable(agent.as_fd())?;

    let scope = if cgroup.limits_memory() { None } else { limits::scope(config.sandbox, &config.resources) };
    let scoped = scope.is_some();
    let unlimited = !scoped && !cgroup.limits_processes();
    if unlimited && rustix::process::geteuid().is_root() {
        limits::inherited_of_root().context("limit the number of processes")?;
    }
    let mut words = scope.unwrap_or_default();
    words.push(config.bubblewrap.clone().into());
    words.extend(bubblewrap::command(config, arguments.as_raw_fd(), &fds, way_out));
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output_child.try_clone().context("share a pipe")?);
    command.stderr(output_child).env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
    if scoped {
        // systemd-run finds the user's systemd by these; bubblewrap clears them for the inside.
        for key in ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"] {
            command.envs(std::env::var_os(key).map(|value| (key, value)));
        }
    }
    if let Some(uid) = config.uid {
        // Run by root, bubblewrap would map the machine's root into the sandbox. This also drops all groups.
        command.uid(uid).gid(uid);
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure { cause: causes::isolation_missing(), again: false });
        }
        Err(error) => return Err(Failure { cause: causes::machine_exhausted(&error.to_string()), again: false }),
    };
    drop((status_child, block_child, seccomp, token, arguments, files));
    // It holds the writing ends of the output.
    drop(command);
    let mut attempt = Attempt { child: Some(child) };
    let Some(init_pid) = child_pid(&status) else { return Err(attempt.failed(&mut output, None)) };
    let ready = set_up(config, &cgroup, unlimited, init_pid, way_out);
    let (init, made) = ready.map_err(|error| attempt.failed(&mut output, Some(error)))?;
    (&mut &File::from(block)).write_all(&[1]).map_err(|error| attempt.failed(&mut output, Some(error.into())))?;
    let Some(child) = attempt.child.take() else { return Err(attempt.failed(&mut output, None)) };
    Ok(Started { child, init, init_pid, cgroup, made, way_out, cause: None, _status: Some(status), output })
}

/// What is done from outside while the first process waits.
fn set_up(config: &Config, cgroup: &Cgroup, unlimited: bool, init_pid: i32, way_out: WayOut) -> Result<(OwnedFd, Made)> {
    let pid = Pid::from_raw(init_pid).context("a pid")?;
    let init = pidfd_open(pid, PidfdFlags::empty()).context("open the first process")?;
    cgroup.add(init_pid).context("put the sandbox into its cgroup")?;
    if unlimited && !rustix::process::geteuid().is_root() {
        limits::inherited(pid).context("limit the number of processes")?;
    }
    let wanted = Wanted { way_out, database: config.database.is_some() };
    let made = namespace::make(init_pid, wanted, &config.keeper_command).context(NETWORK)?;
    Ok((init, made))
}

/// How a failure of the network is told from others.
const NETWORK: &str = "set up the sandbox's network";

/// bubblewrap while the sandbox is not up: ended when this is dropped.
struct Attempt {
    child: Option<Child>,
}

impl Attempt {
    /// Ends it and says why it failed: what bubblewrap wrote counts more than what we saw of it.
    fn failed(&mut self, output: &mut Output, error: Option<anyhow::Error>) -> Failure {
        // If it is failing by itself, its last words are about to come.
        std::thread::sleep(Duration::from_millis(20));
        self.end();
        output.drain();
        let said = output.tail();
        if let Some(cause) = causes::of_start(&said) {
            let again = said.contains("RTM_NEWADDR");
            return Failure { cause, again };
        }
        let detail = error.as_ref().map_or_else(|| said.clone(), |error| format!("{error:#}"));
        let network = error.is_some_and(|error| error.chain().any(|e| e.to_string() == NETWORK));
        let cause = if network { causes::network_failed(&detail) } else { causes::keeper_failed(&detail) };
        Failure { cause, again: false }
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end();
    }
}

/// The pid that bubblewrap tells: the first line of its status, an object with `child-pid`.
fn child_pid(status: &OwnedFd) -> Option<i32> {
    let mut text = Vec::new();
    let deadline = std::time::Instant::now() + TO_FORK;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let limit = Timespec::try_from(left).ok()?;
        if poll(&mut [PollFd::new(status, PollFlags::IN)], Some(&limit)).ok()? == 0 {
            return None;
        }
        let mut part = [0; 512];
        match rustix::io::read(status, &mut part) {
            Ok(0) => return None,
            Ok(length) => text.extend_from_slice(&part[..length]),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
        }
        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: serde_json::Value = serde_json::from_slice(&text[..end]).ok()?;
            return line.get("child-pid")?.as_i64()?.try_into().ok();
        }
    }
}

/// The agent as a plain process: what `--insecure-no-isolation` asks for.
fn unisolated(config: &Config, agent: &UnixListener) -> Result<Started> {
    // What the agent leaves behind becomes ours, and is ended with it.
    rustix::process::set_child_subreaper(Pid::from_raw(1)).context("become the sandbox's reaper")?;
    let cgroup = Cgroup::make(&config.folder, config.sandbox, &config.resources);
    let (output, output_child) = Output::open(&config.folder)?;
    let token = memory_file("token", config.agent_token.0.as_bytes())?;
    inheritable(token.as_fd())?;
    inheritable(agent.as_fd())?;
    let mut made = Made::default();
    let home = config.home.to_string_lossy().into_owned();
    let mut env = inside::environment(config, &home, WayOut::Machine);
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let claude =
        config.claude.as_ref().map(|folder| format!(":{}", folder.join("node_modules/.bin").display())).unwrap_or_default();
    env.push(("PATH".to_owned(), format!("{home}/.local/bin:{path}{claude}")));
    let mut own = None;
    if config.database.is_some() {
        // 5432 may be somebody's on this machine: the forward gets a port of its own.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the database")?;
        listener.set_nonblocking(true).context("listen for the database")?;
        let port = listener.local_addr().context("listen for the database")?.port();
        for (key, value) in &mut env {
            if key == "PGPORT" {
                *value = port.to_string();
            } else if key == "DATABASE_URL" || key == "POSTGRES_URL" {
                *value = value.replacen("@127.0.0.1:5432/", &format!("@127.0.0.1:{port}/"), 1);
            }
        }
        own = Some(port);
        made.database.push(listener.into());
    }
    let mut command = Command::new(&config.agent);
    command.args(bubblewrap::agent_arguments(config, &home, agent.as_raw_fd(), token.as_raw_fd(), own));
    command.env_clear().envs(env).current_dir("/").stdin(Stdio::null()).stdout(output_child.try_clone()?).stderr(output_child);
    if let Some(uid) = config.uid {
        command.uid(uid).gid(uid);
    }
    let child = command.spawn().context("start the agent")?;
    let init_pid = i32::try_from(child.id()).context("a pid")?;
    let init = pidfd_open(Pid::from_raw(init_pid).context("a pid")?, PidfdFlags::empty()).context("open the agent's process")?;
    let _ = cgroup.add(init_pid);
    Ok(Started { child, init, init_pid, cgroup, made, way_out: WayOut::Machine, cause: None, _status: None, output })
}

/// Signals a process that may be gone already.
pub fn signal(process: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(process, signal);
}
