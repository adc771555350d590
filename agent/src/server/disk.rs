//! How much the home folder holds, and what happens past the limit: everything stands still but the agent and the commands that are run by
//! `POST /v1/exec` from then on, so that there is a way to delete.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    Agent, measure,
    procfs::{self, Process},
};

/// While over the limit: how often new processes are stopped and the folder is measured, so that deleting is felt.
const WHILE_OVER: Duration = Duration::from_millis(500);

/// Measuring may take at most this part of the time: a home folder of a million files is measured less often.
const SHARE: u32 = 20;

/// How much a command that is let through may add: what `git gc` writes before it deletes. One that adds more is stopped like everything else.
const ROOM_BYTES: u64 = 64 << 20;

#[derive(Default)]
pub struct State {
    used: Cell<Option<u64>>,
    over: Cell<bool>,
    stopped: RefCell<Vec<Process>>,
    let_through: RefCell<Vec<LetThrough>>,
    again: Notify,
}

/// A command that was started over the limit.
struct LetThrough {
    /// It leads a session; what leaves that session is let through no longer.
    session: i32,
    /// How much the home folder may hold before this is stopped as well.
    ends_at: u64,
}

impl State {
    pub fn over(&self) -> bool {
        self.over.get()
    }

    pub fn used(&self) -> Option<u64> {
        self.used.get()
    }

    /// Something was deleted, or somebody wants to know: measure soon.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// A command was started. Over the limit it is not stopped with the others, as long as it does not fill the folder further.
    pub fn started(&self, leader: Pid) {
        if self.over.get() {
            let ends_at = self.used.get().unwrap_or(0).saturating_add(ROOM_BYTES);
            self.let_through.borrow_mut().push(LetThrough { session: leader.as_raw_nonzero().get(), ends_at });
        }
    }

    /// It ended. What it left running is stopped.
    pub fn ended(&self, leader: Pid) {
        let leader = leader.as_raw_nonzero().get();
        self.let_through.borrow_mut().retain(|one| one.session != leader);
        if self.over.get() {
            self.look_again();
        }
    }

    /// Parents first: a shell that still ran would take a stopped child for one that the user stopped.
    fn stop_all(&self, used: u64) {
        self.let_through.borrow_mut().retain(|one| used <= one.ends_at);
        let let_through = self.let_through.borrow();
        let mut stopped = self.stopped.borrow_mut();
        for process in procfs::descendants() {
            let exempt = let_through.iter().any(|one| one.session == process.session);
            if !exempt && process.state != b'T' && process.state != b'Z' {
                process.signal(Signal::STOP);
                if !stopped.iter().any(|other| other.same_as(&process)) {
                    stopped.push(process);
                }
            }
        }
    }

    /// Children first, for the same reason, and only those that were not stopped before.
    fn continue_all(&self) {
        self.let_through.borrow_mut().clear();
        let now = procfs::descendants();
        let stopped = self.stopped.take();
        let live = now.iter().rev().filter(|process| stopped.iter().any(|other| other.same_as(process)));
        live.for_each(|process| process.signal(Signal::CONT));
    }
}

/// Measures for ever: where there is a limit or somebody listens.
pub async fn watch(agent: Rc<Agent>) {
    let limit = agent.config.disk_limit_bytes;
    loop {
        let mut wait = agent.config.disk_every;
        if limit.is_some() || agent.events.listened() {
            let home: PathBuf = agent.config.home.clone();
            let began = Instant::now();
            let used = spawn_blocking(move || measure::used_bytes(&home)).await.ok();
            wait = wait.max(began.elapsed() * SHARE);
            agent.disk.used.set(used);
            let over = limit.is_some_and(|limit| used.is_some_and(|used| used > limit));
            let before = agent.disk.over.replace(over);
            if over {
                agent.disk.stop_all(used.unwrap_or(0));
                wait = WHILE_OVER.max(began.elapsed() * 2);
            } else if before {
                agent.disk.continue_all();
            }
            if over != before {
                agent.events.nudge();
            }
        }
        let _ = timeout(wait, agent.disk.again.notified()).await;
        // Many deletions in a row are one.
        sleep(Duration::from_millis(50)).await;
    }
}
