//! How much a sandbox may use: a cgroup of its own, of version 1 or 2, where one can be made; else a
//! scope of the user's systemd; else, of processes alone, the limit that every process inherits. And of
//! open files, always, that limit.
//!
//! Never `RLIMIT_AS`: WebAssembly and Node reserve far more addresses than memory.

use model::{SandboxId, resources::Resources};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How many processes and threads a sandbox may have. Claude Code, a dev server, a test run and their
/// threads stay under a thousand; a fork bomb ends here.
pub const PROCESSES: u64 = 2048;
/// How many files a keeper may have open, and each process of its sandbox. Dev servers and their watchers open a few thousand; a
/// keeper has at most one for each connection that its ways in and out let be (`egress::device`, `egress::proxy`, `database`).
pub const FILES: u64 = 16_384;
/// The length of a period that CPU time is counted in, as the kernel's default.
const PERIOD_MICROS: u64 = 100_000;
const ROOT: &str = "/sys/fs/cgroup";
const OURS: &str = "fullstack-agent";

/// The cgroups of one sandbox: one (version 2), or one a controller (version 1).
#[derive(Debug, Default)]
pub struct Cgroup {
    folders: Vec<PathBuf>,
    memory: Option<PathBuf>,
    unified: bool,
}

impl Cgroup {
    /// Makes the sandbox's cgroups, or finds those that a keeper before us left. What cannot be made
    /// is left out.
    #[must_use]
    pub fn make(folder: &Path, id: SandboxId, resources: &Resources) -> Self {
        let root = Path::new(ROOT);
        let id = &name(folder, id);
        let mut made = Self::default();
        if root.join("cgroup.controllers").exists() {
            made.unified = true;
            if let Ok(folder) = unified(root, id, resources) {
                made.memory = Some(folder.clone());
                made.folders.push(folder);
            }
            return made;
        }
        let quota = u64::from(resources.limit_cpu_millis) * PERIOD_MICROS / 1000;
        let memory = resources.limit_memory_bytes;
        if let Ok(folder) = controller(&root.join("memory"), id, &[("memory.limit_in_bytes", memory)]) {
            // Memory and swap together: without it, swap makes the limit none. Absent on some kernels.
            let _ = write(&folder, "memory.memsw.limit_in_bytes", memory);
            made.memory = Some(folder.clone());
            made.folders.push(folder);
        }
        let cpu = [("cpu.cfs_period_us", PERIOD_MICROS), ("cpu.cfs_quota_us", quota.max(1000))];
        made.folders.extend(controller(&root.join("cpu"), id, &cpu).ok());
        made.folders.extend(controller(&root.join("pids"), id, &[("pids.max", PROCESSES)]).ok());
        made
    }

    /// Whether memory is limited.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether the number of processes is limited.
    #[must_use]
    pub fn limits_processes(&self) -> bool {
        self.unified && self.memory.is_some()
            || self.folders.iter().any(|folder| folder.starts_with(Path::new(ROOT).join("pids")))
    }

    /// Puts a process in, and with it all that it starts from now on.
    pub fn add(&self, pid: i32) -> io::Result<()> {
        self.folders.iter().try_for_each(|folder| write(folder, "cgroup.procs", pid))
    }

    /// How many processes the kernel has killed in there for want of memory.
    #[must_use]
    pub fn killed_for_memory(&self) -> u64 {
        let Some(folder) = &self.memory else { return 0 };
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    /// The processes in there.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let Some(folder) = self.folders.first() else { return Vec::new() };
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes them, once nothing runs in them; the kernel needs a moment after the last process.
    pub fn remove(&self) {
        for folder in &self.folders {
            for _ in 0..50 {
                match fs::remove_dir(folder) {
                    Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => std::thread::sleep(Duration::from_millis(2)),
                    _ => break,
                }
            }
        }
    }

    /// Removes what a keeper that was killed left behind.
    pub fn sweep(folder: &Path, id: SandboxId) {
        let root = Path::new(ROOT);
        let id = name(folder, id);
        let places = [root.to_owned(), root.join("memory"), root.join("cpu"), root.join("pids")];
        let folders = places.into_iter().map(|place| place.join(OURS).join(&id)).filter(|folder| folder.exists()).collect();
        Self { folders, memory: None, unified: false }.remove();
    }
}

/// What to start the sandbox through where no cgroup can be made and systemd knows the user.
#[must_use]
pub fn scope(id: SandboxId, resources: &Resources) -> Option<Vec<OsString>> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    let known = !rustix::process::geteuid().is_root() && runtime.join("systemd/private").exists();
    known.then(|| scoped(id, resources).into_iter().map(OsString::from).collect())
}

fn scoped(id: SandboxId, resources: &Resources) -> [String; 11] {
    [
        "systemd-run".into(),
        "--user".into(),
        "--scope".into(),
        "--quiet".into(),
        "--collect".into(),
        format!("--unit=fullstack-agent-{id}-{:08x}", rand::random::<u32>()),
        format!("--property=MemoryMax={}", resources.limit_memory_bytes),
        "--property=MemorySwapMax=0".into(),
        format!("--property=CPUQuota={}%", (resources.limit_cpu_millis / 10).max(1)),
        format!("--property=TasksMax={PROCESSES}"),
        "--".into(),
    ]
}

/// The number of processes by the limit that every process inherits from a sandbox's first one. The
/// kernel counts those of its user namespace: so one sandbox's do not keep another from starting.
pub fn inherited(init: Pid) -> io::Result<()> {
    let most = Rlimit { current: Some(PROCESSES), maximum: Some(PROCESSES) };
    prlimit(Some(init), Resource::Nproc, most)?;
    Ok(())
}

/// The same where we are root without the right to change others' limits: for what is started from now
/// on. Root itself is not held to it, and each sandbox is a user of its own.
pub fn inherited_of_root() -> io::Result<()> {
    let most = Some(getrlimit(Resource::Nproc).maximum.map_or(PROCESSES, |most| most.min(PROCESSES)));
    setrlimit(Resource::Nproc, Rlimit { current: most, maximum: most })?;
    Ok(())
}

/// The number of open files, for this process and what it starts from now on: as many as the machine lets, up to [`FILES`].
pub fn files() -> io::Result<()> {
    let most = Some(getrlimit(Resource::Nofile).maximum.map_or(FILES, |most| most.min(FILES)));
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Ok(())
}

/// Whether memory and CPU of sandboxes can be limited on this machine.
#[must_use]
pub fn available() -> bool {
    let root = Path::new(ROOT);
    let scope = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|runtime| Path::new(&runtime).join("systemd/private").exists());
    let place = if root.join("cgroup.controllers").exists() { root.to_owned() } else { root.join("memory") };
    let probe = place.join(OURS).join(format!("probe-{:08x}", rand::random::<u32>()));
    scope || (fs::create_dir_all(&probe).is_ok() && fs::remove_dir(&probe).is_ok())
}

/// A sandbox's name among cgroups. The folder counts, too: in a copied data folder the ids are the same.
fn name(folder: &Path, id: SandboxId) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    format!("{id}-{:016x}", hasher.finish())
}

fn controller(mount: &Path, id: &str, values: &[(&str, u64)]) -> io::Result<PathBuf> {
    let folder = mount.join(OURS).join(id);
    fs::create_dir_all(&folder)?;
    let filled = values.iter().try_for_each(|(file, value)| write(&folder, file, value));
    filled.inspect_err(|_| drop(fs::remove_dir(&folder))).map(|()| folder)
}

fn unified(root: &Path, id: &str, resources: &Resources) -> io::Result<PathBuf> {
    let ours = root.join(OURS);
    fs::create_dir_all(&ours)?;
    for above in [root, &ours] {
        for controller in ["+memory", "+cpu", "+pids"] {
            // Enabled already, as a rule; what matters is seen below.
            let _ = write(above, "cgroup.subtree_control", controller);
        }
    }
    let folder = ours.join(id);
    fs::create_dir_all(&folder)?;
    let quota = (u64::from(resources.limit_cpu_millis) * PERIOD_MICROS / 1000).max(1000);
    let filled = write(&folder, "memory.max", resources.limit_memory_bytes)
        .and_then(|()| write(&folder, "cpu.max", format!("{quota} {PERIOD_MICROS}")))
        .and_then(|()| write(&folder, "pids.max", PROCESSES));
    let _ = write(&folder, "memory.swap.max", 0);
    filled.inspect_err(|_| drop(fs::remove_dir(&folder))).map(|()| folder)
}

fn write(folder: &Path, file: &str, value: impl std::fmt::Display) -> io::Result<()> {
    fs::write(folder.join(file), value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::resources::Preset;

    #[test]
    fn a_scope_limits_what_a_cgroup_of_our_own_would() {
        let id = SandboxId(uuid::Uuid::from_u128(1));
        let resources = Resources { limit_memory_bytes: 128 << 20, limit_cpu_millis: 1500, ..Preset::Medium.resources() };
        let words = scoped(id, &resources);
        for word in
            ["--user", "--scope", "--property=MemoryMax=134217728", "--property=MemorySwapMax=0", "--property=CPUQuota=150%"]
        {
            assert!(words.iter().any(|has| has == word), "{word}: {words:?}");
        }
        assert!(words.contains(&format!("--property=TasksMax={PROCESSES}")), "{words:?}");
        assert_eq!(words.last().map(String::as_str), Some("--"), "what follows is the sandbox");
        assert_ne!(words, scoped(id, &resources), "a unit that is still going away is in nobody's way");
    }
}
