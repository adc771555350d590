//! The agent itself: one thread, one [`Agent`], and a task for each connection.
//!
//! ```text
//!   listen-fd, listen ──> router ──┬─ terminal ── session
//!   tty-listen ──> router (ttyd) ──┘  exec, files, events, forward, sessions, shutdown
//!   tunnel: each stream of it is a connection of the first kind
//!   children: reaps everything          watch: ports, usage, disk
//! ```
//!
//! Everything is `Rc` and `RefCell`: state is never shared between threads, and children are started and reaped by the thread that keeps their
//! table. Reading and writing files, and measuring the disk, happen on blocking threads that see none of it.

mod auth;
mod body;
mod children;
mod clock;
pub mod config;
pub mod credentials;
mod database;
mod disk;
mod error;
mod events;
mod exec;
mod files;
mod forward;
mod listen;
mod listening;
mod measure;
mod oom;
mod ports;
mod procfs;
mod query;
mod random;
mod raw;
mod router;
#[cfg(not(fuzzing))]
mod session;
#[cfg(fuzzing)]
pub mod session;
mod shutdown;
mod terminal;
mod token;
mod tunnel;
mod usage;

use std::{cell::Cell, fs, io, rc::Rc, time::Duration};

use anyhow::Context;
use rustix::{
    fs::{FlockOperation, flock},
    process::{DumpableBehavior, set_child_subreaper, set_dumpable_behavior},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{LocalSet, spawn_local},
    time::sleep,
};

use self::{auth::Token, children::Children, clock::now_ms, config::Config, events::Hub, session::Sessions};
use crate::protocol::{frame::Size, name::SessionName};

pub use token::read as read_token;

/// Everything a request can reach.
pub(crate) struct Agent {
    config: Rc<Config>,
    token: Token,
    children: Children,
    sessions: Sessions,
    events: Hub,
    credentials: credentials::Credentials,
    started_at: u64,
    shell_started: Cell<bool>,
    last_activity: Cell<u64>,
    disk: disk::State,
    shutdown: shutdown::Ask,
}

impl Agent {
    /// Somebody did something: typed, wrote, asked.
    fn touch(&self) {
        self.last_activity.set(now_ms());
    }
}

/// Runs the agent until it is told to stop. Everything inside has ended when it returns.
///
/// # Errors
/// The home folder cannot be used, or there is nowhere to listen.
pub fn run(config: Config, token: secrecy::SecretString) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Files and disk measuring; each thread costs memory.
        .max_blocking_threads(4)
        .thread_stack_size(256 * 1024)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .context("start the runtime")?;
    let done = LocalSet::new().block_on(&runtime, serve(config, token));
    runtime.shutdown_timeout(THREADS);
    done
}

async fn serve(config: Config, token: secrecy::SecretString) -> anyhow::Result<()> {
    // Programs inside run as the same user: without this they could read the token from /proc/1/environ, or trace the agent.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("close the agent's memory to others")?;
    set_child_subreaper(Some(rustix::process::getpid())).context("become the reaper of orphans")?;

    let mut terminate = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
    let config = Rc::new(config);
    let children = Children::default();
    let listeners = listen::Listeners::open(&config).await?;

    let _lock = tokio::select! {
        lock = lock(&config) => lock?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    // With the lock, and before any is taken: they are of an agent that was killed.
    files::clear_uploads(&config.home);
    spawn_local(children.clone().reap());
    let agent = Rc::new(Agent {
        sessions: Sessions::restore(config.clone(), children.clone()),
        token: Token::new(token),
        events: Hub::default(),
        credentials: credentials::Credentials::default(),
        started_at: now_ms(),
        shell_started: Cell::new(false),
        last_activity: Cell::new(now_ms()),
        disk: disk::State::default(),
        shutdown: shutdown::Ask::default(),
        children,
        config,
    });
    match agent.sessions.open(&SessionName::main(), None, true, Size::default()) {
        Ok(_) => {
            let agent = agent.clone();
            spawn_local(async move {
                database::reached(&agent.config, &agent.children).await;
                agent.shell_started.set(true);
            });
        }
        Err(error) => eprintln!("{error}"),
    }
    listeners.serve(&agent);
    if let Err(error) = credentials::serve(&agent) {
        eprintln!("git cannot ask for credentials: {error}");
    }
    let for_sessions = agent.clone();
    spawn_local(async move { for_sessions.sessions.keep_saving().await });
    spawn_local(disk::watch(agent.clone()));
    spawn_local(events::watch(agent.clone()));

    let grace = tokio::select! {
        grace = agent.shutdown.asked() => grace,
        _ = terminate.recv() => shutdown::GRACE,
        _ = interrupt.recv() => shutdown::GRACE,
    };
    shutdown::run(&agent, grace).await;
    Ok(())
}

/// How long the end waits for threads: an upload that was broken off takes what it wrote away, and measuring a big home
/// folder, which takes seconds, is of no use any more.
const THREADS: Duration = Duration::from_millis(250);

/// Waits until no other agent serves this home folder: a pod that ends and its successor never both write.
async fn lock(config: &Config) -> anyhow::Result<fs::File> {
    let folder = config.home.join(".fsa");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    fs::create_dir_all(&config.state_dir).with_context(|| format!("create {}", config.state_dir.display()))?;
    let file = fs::File::create(folder.join("lock")).context("create the lock of the home folder")?;
    let mut said = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !said {
                    eprintln!("another agent serves {}; waiting for it to end", config.home.display());
                    said = true;
                }
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error).context("lock the home folder"),
        }
    }
}
