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
    time::{Duration, SystemTime},
};

/// Builds and becomes the server.
pub fn run(args: &[String]) -> Result<()> {
    setup::for_run()?;
    let built = build::release()?;
    Err(server(&built, args).exec()).with_context(|| format!("start {}", built.server.display()))
}

/// Builds, serves, and starts over when a source changed. A build that fails leaves the old one up.
pub fn watch(args: &[String]) -> Result<()> {
    setup::for_run()?;
    let mut running: Option<Child> = None;
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
                    running = Some(server(&built, args).spawn()?);
                }
                Err(error) => say(format!("{error:#}. Still serving what was built before; save a change to try again.")),
            }
        }
        thread::sleep(Duration::from_millis(300));
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
    for room in ["agent", "app", "engine", "frontend", "local", "model", "server", "style", "migrations", "Cargo.toml"] {
        newest_in(&shell::root().join(room), &mut newest);
    }
    newest
}
