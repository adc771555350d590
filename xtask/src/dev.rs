//! Running what was built, once or again and again.

use crate::{
    build::{self, Built},
    setup,
    shell::{self, Cmd, say},
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
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
    let mut built_at = SystemTime::UNIX_EPOCH;
    loop {
        let newest = newest();
        if newest > built_at {
            built_at = newest;
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

/// When a source last changed.
fn newest() -> SystemTime {
    fn newest_in(path: &Path, newest: &mut SystemTime) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "node_modules" || name == "target" {
            return;
        }
        let Ok(about) = fs::metadata(path) else { return };
        if about.is_dir() {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                newest_in(&entry.path(), newest);
            }
        } else if let Ok(at) = about.modified() {
            *newest = at.max(*newest);
        }
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for room in
        ["agent", "app", "engine", "frontend", "kubernetes", "local", "model", "server", "style", "migrations", "Cargo.toml"]
    {
        newest_in(&shell::root().join(room), &mut newest);
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

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
