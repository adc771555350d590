//! Running what was built, once or again and again.

use crate::{
    build::{self, Built},
    setup,
    shell::{self, Cmd, say},
};
use anyhow::{Context as _, Result};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Builds and becomes the server.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_run()?;
    let built = build::release()?;
    Err(server(&built, args).exec()).with_context(|| format!("start {}", built.server.display()))
}

/// Builds, serves, and starts over when a source changed. A build that fails leaves the old one up, and
/// a server that ends by itself is started again. Pages load themselves again when another build serves
/// them: `FSA_DEV` says so to the server.
pub fn watch(args: &[String]) -> Result<()> {
    setup::for_run()?;
    let mut running: Option<Child> = None;
    let mut last: Option<Built> = None;
    let mut again = Again::default();
    let mut built_of = Sources::new();
    loop {
        let now = sources(&shell::root());
        if now != built_of {
            built_of = now;
            match build::release() {
                Ok(built) => {
                    if let Some(mut old) = running.take() {
                        // SIGTERM: sandboxes and PostgreSQL stay up, and the new server adopts them.
                        Cmd::new("kill").args([old.id().to_string()]).quiet();
                        old.wait()?;
                    }
                    again = Again::default();
                    running = Some(server(&built, args).env("FSA_DEV", "1").spawn()?);
                    last = Some(built);
                }
                Err(error) => say(format!("{error:#}. Still serving what was built before; save a change to try again.")),
            }
        }
        if let Some(status) = running.as_mut().map(Child::try_wait).transpose()?.flatten() {
            running = None;
            say(format!("The server ended ({status}), and is started again in {} s.", again.wait().as_secs()));
        }
        if let (None, Some(built), true) = (&running, &last, again.is_due()) {
            running = Some(server(built, args).env("FSA_DEV", "1").spawn()?);
        }
        thread::sleep(Duration::from_millis(300));
    }
}

/// When a server that ended is started again: the oftener it ended, the later.
#[derive(Default)]
struct Again {
    ends: u32,
    due: Option<Instant>,
}

impl Again {
    fn wait(&mut self) -> Duration {
        let wait = Duration::from_secs(1 << self.ends.min(5));
        self.ends += 1;
        self.due = Some(Instant::now() + wait);
        wait
    }

    fn is_due(&mut self) -> bool {
        self.due.take_if(|due| *due <= Instant::now()).is_some()
    }
}

fn server(built: &Built, args: &[String]) -> Command {
    let mut command = built.tell(Cmd::new(&built.server)).args(args).into_inner();
    command.stdin(Stdio::inherit());
    command
}

/// What a build is made of, and when each last changed. The latest time alone would not tell that one was deleted, or moved
/// here with an older one.
type Sources = BTreeMap<PathBuf, SystemTime>;

fn sources(root: &Path) -> Sources {
    fn add(path: PathBuf, sources: &mut Sources) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "node_modules" || name == "target" {
            return;
        }
        let Ok(about) = fs::metadata(&path) else { return };
        if about.is_dir() {
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                add(entry.path(), sources);
            }
        } else if let Ok(at) = about.modified() {
            sources.insert(path, at);
        }
    }
    let mut sources = Sources::new();
    for room in [
        "agent",
        "app",
        "engine",
        "frontend",
        "kubernetes",
        "local",
        "model",
        "server",
        "style",
        "migrations",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        add(root.join(room), &mut sources);
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_touched_added_or_deleted_is_a_change_and_what_a_build_leaves_is_none() {
        let root = std::env::temp_dir().join(format!("fsa-xtask-dev-{}", std::process::id()));
        let source = root.join("server/src/main.rs");
        fs::create_dir_all(root.join("server/src/http")).unwrap();
        fs::create_dir_all(root.join("frontend/js/node_modules/xterm")).unwrap();
        for file in [&source, &root.join("Cargo.lock")] {
            fs::write(file, "").unwrap();
        }
        let mut before = sources(&root);
        assert_eq!(before.keys().collect::<Vec<_>>(), [&root.join("Cargo.lock"), &source]);
        let mut changes = |what: &str, expected: bool| {
            let now = sources(&root);
            assert_eq!(now != before, expected, "{what}");
            before = now;
        };
        let touch = |path: &Path, at: SystemTime| fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        changes("nothing", false);
        let now = SystemTime::now();
        touch(&source, now + Duration::from_secs(2));
        changes("touched", true);
        touch(&source, now - Duration::from_secs(1000));
        changes("put back, as it was long ago", true);
        touch(&root.join("Cargo.lock"), now + Duration::from_secs(2));
        changes("other dependencies", true);
        fs::write(root.join("server/src/http/mod.rs"), "").unwrap();
        changes("added", true);
        fs::remove_file(root.join("server/src/http/mod.rs")).unwrap();
        changes("deleted", true);
        for file in ["server/src/.main.rs.swp", "frontend/js/node_modules/xterm/index.js", "README.md"] {
            fs::write(root.join(file), "").unwrap();
            changes(file, false);
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_server_that_ends_often_is_started_ever_later() {
        let mut again = Again::default();
        assert!(!again.is_due(), "nothing ended");
        let waits: Vec<u64> = (0..8).map(|_| again.wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32]);
        assert!(!again.is_due());
        again.due = Some(Instant::now());
        assert!(again.is_due() && !again.is_due(), "once");
    }
}
