//! One small process a sandbox, which outlives the control plane: it owns bubblewrap, the agent's
//! listening socket, the way out and the way to the database.
//!
//! ```text
//! run ─▶ start ── bubblewrap, cgroup, namespace ─▶ serve ─▶ end
//!                                                   ├ control    keeper.sock: status, watch, stop
//!                                                   ├ egress     the network device, or a proxy
//!                                                   ├ database   127.0.0.1:5432 inside
//!                                                   └ probe      how far the agent is
//! ```
//!
//! Its configuration comes over standard input and stays in memory. It writes what the control plane
//! may want to know later (`keeper.log`, `ends.jsonl`) and reads nothing back. It has one thread (and
//! for name look-ups a few more): the sandbox is tied to the main one, and dies with it.

mod accept;
mod bubblewrap;
mod control;
mod database;
pub mod egress;
mod inside;
mod limits;
mod namespace;
mod output;
mod probe;
pub mod protocol;
mod seccomp;
mod serve;
mod start;

pub(crate) use limits::{Cgroup, available as limits_available};

/// The last 4 KiB of a log.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = open_plain(path, OFlags::RDONLY)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut text = Vec::new();
        file.take(4096).read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

use crate::datafolder::open_plain;
use anyhow::{Context as _, Result, bail};
use protocol::Config;
use rustix::fs::{FlockOperation, OFlags};
use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt as _, net::UnixStream},
    },
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// A configuration may be this large: the variables of a project are at most 512 KiB.
const LARGEST_CONFIG: usize = 8 << 20;
/// How many lines of `keeper.log` may come at once.
const LINES: f64 = 100.0;
/// A log longer than this begins anew.
const LONGEST_LOG: u64 = 4 << 20;

/// What follows `keeper` on the command line. Not for people: the orchestrator writes it.
#[derive(Debug, Clone, Default)]
pub struct KeeperArgs {
    /// The words as they are.
    pub words: Vec<String>,
}

/// The whole life of a keeper. Builds the runtime that it needs; call it from a thread with none, in a
/// process that has started no other thread.
///
/// # Errors
/// What kept it from keeping. It is written to standard error, which is `keeper.log`.
pub fn run(args: KeeperArgs) -> Result<()> {
    match args.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--namespaces", pid, wanted] => namespace::help(pid, wanted),
        _ => keep(),
    }
}

fn keep() -> Result<()> {
    // Away from the terminal and the process group of whoever started us.
    let _ = rustix::process::setsid();
    let mut parent = standard_input().context("take over standard input")?;
    let config = read_config(&mut parent).context("read the configuration")?;
    limits::files().context("set the number of open files")?;
    let _lock = lock(&config.folder.join("keeper.lock"))?;
    log(&format!("keeping {} ({}), run {}", config.name, config.sandbox, config.run));
    if abandoned(&parent) {
        bail!("whoever started this keeper is gone: the next control plane starts another");
    }
    let control = crate::sockets::listen(&config.folder.join("keeper.sock")).context("listen for the control plane")?;
    let agent = crate::sockets::listen(&config.folder.join("agent.sock")).context("make the agent's socket")?;
    let started = start::start(&config, &agent);
    drop(agent);
    give_up_privileges().context("give up privileges")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(256 * 1024)
        .build()
        .context("build the event loop")?;
    runtime.block_on(serve::serve(config, started, control, parent))
}

/// As root: what is left to do is to signal the sandbox's processes and to reach a socket in a folder of
/// PostgreSQL's. From here on this process reads what the sandbox sends.
fn give_up_privileges() -> Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
    set_no_new_privs(true)?;
    if rustix::process::geteuid().is_root() {
        let kept = CapabilitySet::KILL | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    }
    Ok(())
}

/// The connection that came as standard input; in its place is nothing.
fn standard_input() -> Result<UnixStream> {
    let parent = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing: OwnedFd = File::open("/dev/null")?.into();
    rustix::stdio::dup2_stdin(nothing)?;
    Ok(UnixStream::from(parent))
}

/// Four bytes of length, and JSON.
fn read_config(from: &mut UnixStream) -> Result<Config> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LARGEST_CONFIG {
        bail!("it has {length} bytes; is a keeper started by hand?");
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Whether the other end is closed. Asked before anything is started: a keeper that nobody waits for
/// might have waited long for its lock, and keep what is not wanted any more.
fn abandoned(parent: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(parent, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|_| fds[0].revents().contains(PollFlags::HUP))
}

fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .context("open the lock file")?;
    // The one before may be on its way out.
    for _ in 0..200 {
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bail!("another keeper keeps this sandbox")
}

/// One line of `keeper.log`. What the sandbox does may be the reason for it, as often as it likes: so at
/// most [`LINES`] at once and then one a second, and the log begins anew when it is long.
pub(crate) fn log(text: &str) {
    static SAID: Mutex<Option<(Instant, f64)>> = Mutex::new(None);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let left = said.map_or(LINES, |(at, left)| (left + now.duration_since(at).as_secs_f64()).min(LINES));
    if left < 1.0 {
        return;
    }
    *said = Some((now, left - 1.0));
    let log = rustix::stdio::stderr();
    if rustix::fs::fstat(log).is_ok_and(|about| about.st_size > LONGEST_LOG as i64) {
        let _ = rustix::fs::ftruncate(log, 0);
    }
    eprintln!("{} {text}", jiff::Timestamp::now());
}
