//! Reaping: as PID 1 (or as the nearest subreaper) the agent gets every orphan, and waits for all children in one place.
//!
//! One thread spawns, registers and reaps, so that a child cannot end unseen between its start and its registration, and no exit code is lost to
//! the reaper of orphans.

use std::{cell::RefCell, collections::HashMap, io, process::Command, rc::Rc, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, test_kill_process_group, wait},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{Instant, sleep},
};

/// How often is looked whether a group that is to end has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// As a shell says it in `$?`.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// All children of the agent. Clones share one table.
#[derive(Clone, Default)]
pub struct Children(Rc<RefCell<HashMap<Pid, oneshot::Sender<Exit>>>>);

/// A child that leads a session (and process group) of its own.
pub struct Child {
    pub pid: Pid,
    exit: oneshot::Receiver<Exit>,
}

impl Child {
    /// Waits for the end. May be dropped and called again; after it answered once, it says killed.
    pub async fn exit(&mut self) -> Exit {
        (&mut self.exit).await.unwrap_or(Exit::Signal(9))
    }
}

impl Children {
    /// Starts `command` and hands back what stays of it: its pipes are taken with `pipes` before it is let go.
    ///
    /// # Errors
    /// The program is missing or cannot be started.
    pub fn spawn<T>(&self, command: &mut Command, pipes: impl FnOnce(&mut std::process::Child) -> T) -> io::Result<(Child, T)> {
        let mut started = command.spawn()?;
        let pipes = pipes(&mut started);
        let pid = i32::try_from(started.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
        let (sender, exit) = oneshot::channel();
        self.0.borrow_mut().insert(pid, sender);
        Ok((Child { pid, exit }, pipes))
    }

    /// Whether `pid` is a child that has not been reaped, so that its number cannot belong to anyone else.
    pub fn alive(&self, pid: Pid) -> bool {
        self.0.borrow().contains_key(&pid)
    }

    /// Signals the group that `pid` leads, if it is still ours.
    pub fn signal_group(&self, pid: Pid, with: Signal) {
        if self.alive(pid) {
            let _ = kill_process_group(pid, with);
            let _ = kill_process(pid, with);
        }
    }

    /// Ends the group that `pid` leads, if it is still ours: asks it to, and kills what is left of it after `grace`. Returns once nothing is.
    pub async fn end_group(&self, pid: Pid, grace: Duration) {
        if !self.alive(pid) {
            return;
        }
        let _ = kill_process_group(pid, Signal::TERM);
        // What is stopped must run to hear of it.
        let _ = kill_process_group(pid, Signal::CONT);
        let deadline = Instant::now() + grace;
        // Its leader may end before the others. While there is one of the group nobody else gets its number, and of its end is heard long
        // before all numbers have been used.
        while test_kill_process_group(pid) != Err(Errno::SRCH) {
            if Instant::now() >= deadline {
                let _ = kill_process_group(pid, Signal::KILL);
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Reaps for ever. Start it before the first child.
    ///
    /// # Errors
    /// The signal cannot be listened to.
    pub async fn reap(self) -> io::Result<()> {
        let mut ended = signal(SignalKind::child())?;
        loop {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                let exit = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (_, Some(signal)) => Exit::Signal(signal),
                    _ => continue,
                };
                if let Some(sender) = self.0.borrow_mut().remove(&pid) {
                    let _ = sender.send(exit);
                }
            }
            ended.recv().await;
        }
    }
}
