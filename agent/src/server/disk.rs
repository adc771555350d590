//! How much the home folder holds, and what happens past the limit: everything but the agent stands still, so that Files can delete.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    Agent,
    procfs::{self, Process},
};

/// While over the limit: how often new processes are stopped and the folder is measured, so that deleting is felt.
const WHILE_OVER: Duration = Duration::from_millis(500);

/// Measuring may take at most this part of the time: a home folder of a million files is measured less often.
const SHARE: u32 = 20;

#[derive(Default)]
pub struct State {
    used: Cell<Option<u64>>,
    over: Cell<bool>,
    stopped: RefCell<Vec<Process>>,
    again: Notify,
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

    /// Parents first: a shell that still ran would take a stopped child for one that the user stopped.
    fn stop_all(&self) {
        let mut stopped = self.stopped.borrow_mut();
        for process in procfs::descendants() {
            if process.state != b'T' && process.state != b'Z' {
                process.signal(Signal::STOP);
                if !stopped.iter().any(|other| other.same_as(&process)) {
                    stopped.push(process);
                }
            }
        }
    }

    /// Children first, for the same reason, and only those that were not stopped before.
    fn continue_all(&self) {
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
            let home = agent.config.home.clone();
            let began = Instant::now();
            let used = spawn_blocking(move || measure(&home)).await.ok();
            wait = wait.max(began.elapsed() * SHARE);
            agent.disk.used.set(used);
            let over = limit.is_some_and(|limit| used.is_some_and(|used| used > limit));
            let before = agent.disk.over.replace(over);
            if over {
                agent.disk.stop_all();
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

/// Bytes on disk below `root`, on its file system alone; a file with several names counts once.
fn measure(root: &Path) -> u64 {
    let Ok(device) = fs::symlink_metadata(root).map(|metadata| metadata.dev()) else { return 0 };
    let mut total = 0;
    let mut seen = HashSet::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() != device || (!metadata.is_dir() && metadata.nlink() > 1 && !seen.insert(metadata.ino())) {
                continue;
            }
            total += metadata.blocks() * 512;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a"), vec![1; 1 << 20]).unwrap();
        let one = measure(home.path());
        assert!(one >= 1 << 20);
        fs::hard_link(home.path().join("a"), home.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", home.path().join("root")).unwrap();
        assert!(measure(home.path()) < one + (1 << 19));
    }
}
