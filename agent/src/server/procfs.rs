//! Who runs in the sandbox, from `/proc`.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use rustix::process::{Pid, Signal, getpid, kill_process};

/// One process, as `/proc/PID/stat` tells it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// Which session it is in: the pid of the process that began it.
    pub session: i32,
    pub name: String,
    /// `T` is stopped.
    pub state: u8,
    /// CPU used, in clock ticks of 10 ms.
    pub ticks: u64,
    /// With `pid` it names a process for good.
    pub started: u64,
    pub resident_pages: u64,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&stat);
        // The name may itself hold blanks and parentheses: it ends at the last one.
        let (head, tail) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        Some(Self {
            pid,
            name,
            state: fields.first()?.bytes().next()?,
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            ticks: number(11) + number(12),
            started: number(19),
            resident_pages: number(21),
        })
    }

    /// Whether both are one process at two times, and not two that had one number.
    pub fn same_as(&self, other: &Self) -> bool {
        self.pid == other.pid && self.started == other.started
    }

    pub fn signal(&self, with: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, with);
        }
    }

    /// Memory of this process that is not a file's: shared libraries are not counted once a process.
    pub fn anonymous_bytes(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid)).unwrap_or_default();
        let mut pages = statm.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (pages.next().unwrap_or(self.resident_pages), pages.next().unwrap_or(0));
        resident.saturating_sub(shared) * rustix::param::page_size() as u64
    }
}

/// Everything that descends from the agent, parents before children. The agent itself is not among them.
///
/// As PID 1 that is the whole sandbox; elsewhere orphans come back to the agent, because it is their subreaper.
pub fn descendants() -> Vec<Process> {
    let own = getpid().as_raw_nonzero().get();
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(Process::read) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found = children.remove(&own).unwrap_or_default();
    let mut at = 0;
    while at < found.len() {
        if let Some(more) = children.remove(&found[at].pid) {
            found.extend(more);
        }
        at += 1;
    }
    found
}

/// A process below the agent with all that descends from it.
pub fn tree(root: Pid) -> Vec<Process> {
    let mut within = HashSet::from([root.as_raw_nonzero().get()]);
    // Parents come first, so one pass finds all.
    descendants()
        .into_iter()
        .filter(|process| within.contains(&process.pid) || (within.contains(&process.parent) && within.insert(process.pid)))
        .collect()
}

/// Which of `inodes` (of sockets) each process holds open.
pub fn owners(inodes: &HashSet<u64>) -> HashMap<u64, (i32, String)> {
    let mut owners = HashMap::new();
    for process in descendants() {
        for fd in fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(fd.path()) else { continue };
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                owners.entry(inode).or_insert_with(|| (process.pid, process.name.clone()));
            }
        }
    }
    owners
}
