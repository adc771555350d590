//! A keeper's life while its sandbox runs, and its end.

use super::{
    control::{self, Control},
    database, egress, log, probe,
    protocol::{Agent, Config, End, State, Status, WayOut},
    start::{Started, signal},
};
use crate::causes;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use model::{Cause, InstanceFact};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt as _, net::UnixListener},
    },
    path::Path,
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal as on_signal},
    sync::{Semaphore, mpsc, watch},
};

/// How often a starting agent is asked, and one that runs.
const ASK_SOON: Duration = Duration::from_millis(4);
const ASK_WHILE_STARTING: Duration = Duration::from_millis(100);
const ASK: Duration = Duration::from_secs(15);
/// This many answers in a row may be missing before the agent counts as silent.
const MISSING: u32 = 2;
/// How often the kernel's count of processes killed for memory is read.
const LOOK: Duration = Duration::from_secs(2);
/// For how long a process that was killed for memory is told of.
const REMEMBER: Duration = Duration::from_secs(300);
/// How long what the sandbox wrote last is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What SIGTERM to the keeper leaves the sandbox.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until the sandbox has ended.
pub async fn serve(
    config: Config,
    started: Result<Started, Cause>,
    control: UnixListener,
    parent: std::os::unix::net::UnixStream,
) -> Result<()> {
    let (status, seen) = watch::channel(first_status(&config, &started));
    let (stop, mut stops) = mpsc::channel(4);
    let control_plane = Control { status: seen, stop };
    control.set_nonblocking(true).context("serve the control plane")?;
    parent.set_nonblocking(true).context("serve the control plane")?;
    let listener = tokio::net::UnixListener::from_std(control).context("serve the control plane")?;
    tokio::spawn(control_plane.clone().listen(listener));
    tokio::spawn(control_plane.serve(tokio::net::UnixStream::from_std(parent).context("serve the control plane")?));
    let end = match started {
        Ok(started) => keep(&config, started, &status, &mut stops).await?,
        Err(cause) => End { run: config.run.clone(), at: Timestamp::now(), by_itself: true, code: None, cause: Some(cause) },
    };
    log(&format!("ended: {}", end.cause.as_ref().map_or("as asked", |cause| cause.message.as_str())));
    // A disk that is full may be the very reason for the end, and must not keep it from being told.
    if !folder_is_gone(&config.folder)
        && let Err(error) = write_end(&config.folder, &end)
    {
        log(&format!("could not write how it ended: {error:#}"));
    }
    status.send_modify(|status| last_status(status, end));
    control::settle(&status).await;
    Ok(())
}

/// What is said last.
fn last_status(status: &mut Status, end: End) {
    status.state = State::Ended;
    status.network = false;
    status.agent = Agent::Silent;
    status.cause.clone_from(&end.cause);
    status.end = Some(end);
}

async fn keep(
    config: &Config,
    started: Started,
    status: &watch::Sender<Status>,
    stops: &mut mpsc::Receiver<Duration>,
) -> Result<End> {
    let Started { mut child, init, cgroup, made, way_out, mut output, _status, .. } = started;
    let filter = Arc::new(egress::Filter::new(config.egress.clone()));
    if let Some(device) = made.device {
        let (filter, status) = (filter.clone(), status.clone());
        tokio::spawn(async move {
            if let Err(error) = egress::run_device(device, filter).await {
                lost(&status, &format!("the network device failed: {error}"));
            }
        });
    }
    let places = Arc::new(Semaphore::new(egress::PROXY_CONNECTIONS));
    for socket in made.proxy {
        tokio::spawn(egress::run_proxy(listener(socket)?, filter.clone(), places.clone()));
    }
    if let Some(endpoint) = config.database.clone().map(Arc::new) {
        let places = database::Places::free();
        for socket in made.database {
            tokio::spawn(database::run(listener(socket)?, endpoint.clone(), places.clone()));
        }
    }
    let output = tokio::spawn(async move {
        if let Err(error) = output.follow().await {
            log(&format!("{error:#}"));
        }
        output.tail()
    });
    let agent = tokio::spawn(follow_agent(config.folder.join("agent.sock"), status.clone()));
    let mut terminate = on_signal(SignalKind::terminate()).context("listen for signals")?;
    let child_pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a pid")?;
    let ended = crate::sys::readiness(pidfd_open(child_pid, PidfdFlags::empty()).context("open the sandbox's process")?)
        .context("watch the sandbox")?;
    let mut stopping = None;
    let mut look = tokio::time::interval(LOOK);
    let mut memory = Memory { killed: cgroup.killed_for_memory(), last: None };
    loop {
        let force_at = stopping.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            gone = ended.readable() => {
                gone.context("watch the sandbox")?.clear_ready();
                break;
            }
            Some(grace) = stops.recv() => stopping = Some(begin_stop(status, &init, grace, stopping)),
            _ = terminate.recv() => stopping = Some(begin_stop(status, &init, GRACE, stopping)),
            () = tokio::time::sleep_until(force_at.into()), if stopping.is_some() => {
                log("it did not end by itself in time: ended by force");
                signal(&init, Signal::KILL);
                stopping = Some(Instant::now() + GRACE);
            }
            _ = look.tick() => {
                memory.look(config, &cgroup, status, filter.refused());
                if stopping.is_none() && folder_is_gone(&config.folder) {
                    log("the sandbox's folder is gone: nobody can reach it any more");
                    stopping = Some(begin_stop(status, &init, GRACE, stopping));
                }
            }
        }
    }
    agent.abort();
    let code = child.wait().ok().and_then(|how| {
        use std::os::unix::process::ExitStatusExt as _;
        how.code().or_else(|| how.signal().map(|signal| 128 + signal))
    });
    if way_out == WayOut::Machine {
        end_descendants(&mut child);
    }
    for pid in cgroup.processes() {
        let _ = Pid::from_raw(pid).map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    }
    let by_itself = stopping.is_none();
    // Nobody is left who could write.
    let said = tokio::time::timeout(LAST_WORDS, output).await.ok().and_then(Result::ok).unwrap_or_default();
    let cause = by_itself.then(|| {
        if cgroup.killed_for_memory() > memory.killed || (memory.recent() && code == Some(137)) {
            causes::out_of_memory(config.resources.limit_memory_bytes, true)
        } else if matches!(code, Some(126 | 127)) && status.borrow().agent == Agent::Silent {
            causes::agent_missing(&said)
        } else {
            causes::of_start(&said).unwrap_or_else(|| causes::ended(code, &said))
        }
    });
    cgroup.remove();
    Ok(End { run: config.run.clone(), at: Timestamp::now(), by_itself, code, cause })
}

fn first_status(config: &Config, started: &Result<Started, Cause>) -> Status {
    let run = InstanceFact {
        id: config.run.clone(),
        started_at: Timestamp::now(),
        restart_count: config.restart_count,
        env_revision: config.env_revision,
    };
    let (state, init_pid, network, way_out, cause) = match started {
        Ok(started) => {
            let network = started.way_out != WayOut::None;
            (State::Running, Some(started.init_pid), network, started.way_out, started.cause.clone())
        }
        Err(cause) => (State::Starting, None, false, WayOut::None, Some(cause.clone())),
    };
    Status {
        installation: config.installation,
        sandbox: config.sandbox,
        name: config.name.clone(),
        volume: config.volume.clone(),
        run,
        state,
        keeper_pid: rustix::process::getpid().as_raw_pid(),
        init_pid,
        network,
        way_out,
        agent: Agent::Silent,
        cause,
        isolated: config.isolated,
        refused: 0,
        agent_token: config.agent_token.clone(),
        end: None,
    }
}

/// Asks it to end, once; a second ask can only shorten its time.
fn begin_stop(status: &watch::Sender<Status>, init: &OwnedFd, grace: Duration, before: Option<Instant>) -> Instant {
    let force_at = Instant::now() + grace;
    if before.is_none() {
        log("told to stop");
        status.send_modify(|status| status.state = State::Stopping);
        signal(init, Signal::TERM);
    }
    before.map_or(force_at, |before| before.min(force_at))
}

/// Whether somebody removed the folder under us. What cannot be looked at for another reason is there.
fn folder_is_gone(folder: &Path) -> bool {
    std::fs::metadata(folder).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The network is not there any more.
fn lost(status: &watch::Sender<Status>, why: &str) {
    log(why);
    status.send_modify(|status| {
        status.network = false;
        status.cause = Some(causes::network_failed(why));
    });
}

/// Keeps up to date how far the agent is.
async fn follow_agent(socket: std::path::PathBuf, status: watch::Sender<Status>) {
    let (mut missing, mut wait) = (0, ASK_SOON);
    loop {
        let found = probe::ask(&socket).await;
        missing = if found == Agent::Silent { missing + 1 } else { 0 };
        status.send_if_modified(|status| {
            let silent_for_now = found == Agent::Silent && missing <= MISSING && status.agent != Agent::Silent;
            let changed = !silent_for_now && status.agent != found;
            if changed {
                status.agent = found;
            }
            changed
        });
        wait = if status.borrow().agent == Agent::ShellStarted && missing == 0 {
            ASK
        } else {
            (wait * 3 / 2).min(ASK_WHILE_STARTING)
        };
        tokio::time::sleep(wait).await;
    }
}

/// What the kernel did for want of memory.
struct Memory {
    killed: u64,
    last: Option<Instant>,
}

impl Memory {
    fn recent(&self) -> bool {
        self.last.is_some_and(|at| at.elapsed() < REMEMBER)
    }

    fn look(&mut self, config: &Config, cgroup: &super::Cgroup, status: &watch::Sender<Status>, refused: u64) {
        let killed = cgroup.killed_for_memory();
        let more = killed > self.killed;
        if more {
            self.killed = killed;
            self.last = Some(Instant::now());
            log("the kernel killed a process for want of memory");
        }
        let over = !more && self.last.is_some() && !self.recent();
        if over {
            self.last = None;
        }
        status.send_if_modified(|status| {
            let before = (status.refused, status.cause.clone());
            status.refused = refused;
            if more {
                // Each differs from the one before, and so is told.
                let when = format!("{killed} killed in this run so far, the last at {:.0}.", Timestamp::now());
                status.cause = Some(causes::out_of_memory(config.resources.limit_memory_bytes, false).with_detail(when));
            } else if over {
                status.cause = None;
            }
            before != (status.refused, status.cause.clone())
        });
    }
}

fn listener(socket: OwnedFd) -> Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(TcpListener::from(socket)).context("serve a socket of the sandbox")
}

/// Without a pid namespace: ends what the agent started. Orphans become our children, and so come up
/// in the next round.
fn end_descendants(child: &mut Child) {
    let _ = child.try_wait();
    for _ in 0..1000 {
        let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let children: BTreeSet<i32> = text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if children.is_empty() {
            return;
        }
        for pid in children.into_iter().filter_map(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

fn write_end(folder: &Path, end: &End) -> Result<()> {
    let mut line = serde_json::to_vec(end)?;
    line.push(b'\n');
    let path = folder.join("ends.jsonl");
    let mut file = File::options().append(true).create(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    // Half a line would take the next one with it.
    file.write_all(&line).inspect_err(|_| drop(file.set_len(length)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::protocol::Secret;
    use model::{CauseCode, InstallationId, ProjectId, SandboxId, resources::Resources};
    use std::{collections::BTreeMap, path::PathBuf};
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use uuid::Uuid;

    fn config(folder: &Path) -> Config {
        let size = Resources {
            request_cpu_millis: 1,
            request_memory_bytes: 1,
            limit_cpu_millis: 1,
            limit_memory_bytes: 1,
            disk_bytes: 1,
        };
        Config {
            installation: InstallationId(Uuid::nil()),
            sandbox: SandboxId(Uuid::nil()),
            project: ProjectId(Uuid::nil()),
            name: "name".to_owned(),
            folder: folder.to_owned(),
            home: folder.to_owned(),
            uid: None,
            volume: "volume".to_owned(),
            run: "run".to_owned(),
            restart_count: 1,
            env_revision: 1,
            resources: size,
            env: BTreeMap::new(),
            agent_token: Secret("token".to_owned()),
            database: None,
            agent: PathBuf::new(),
            claude: None,
            claude_credentials: false,
            egress: Vec::new(),
            network_device: false,
            isolated: true,
            bubblewrap: PathBuf::new(),
            keeper_command: Vec::new(),
        }
    }

    #[tokio::test]
    async fn how_a_run_ended_is_told_also_where_the_disk_is_full() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("ends.jsonl")).unwrap();
        let listener = UnixListener::bind(folder.path().join("keeper.sock")).unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = tokio::net::UnixStream::from_std(ours).unwrap();
        ours.write_all(b"{\"ask\":\"watch\"}\n").await.unwrap();
        let cause = causes::disk_full("of a test");
        serve(config(folder.path()), Err(cause), listener, theirs).await.unwrap();
        let mut lines = BufReader::new(ours).lines();
        let said = async {
            loop {
                let status: Status = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
                if status.state == State::Ended {
                    return status;
                }
            }
        };
        let said = tokio::time::timeout(Duration::from_secs(20), said).await.unwrap();
        assert_eq!(said.cause.as_ref().map(|cause| cause.code), Some(CauseCode::DiskFull));
        let end = said.end.unwrap();
        assert_eq!((end.run, end.by_itself, end.cause), ("run".to_owned(), true, said.cause));
    }
}
