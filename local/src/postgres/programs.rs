//! Where PostgreSQL's server programs are on this machine.

use crate::datafolder::closed_parent;
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where packages put them, a folder a version: its parent, and how its name begins.
const INSTALLED: [(&str, &str); 6] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/usr/libexec", "postgresql"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
];

/// The folders that have initdb, pg_ctl and postgres, with their version; the newest first, but what is
/// on the PATH before all.
pub fn find() -> Vec<(PathBuf, u32)> {
    find_in(&std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()), &INSTALLED)
}

/// The same, where one looks in these places.
pub fn find_in(path: &OsStr, places: &[(&str, &str)]) -> Vec<(PathBuf, u32)> {
    let mut folders = Vec::new();
    for folder in std::env::split_paths(path) {
        // A link on the PATH leads to where the others are.
        folders.extend(fs::canonicalize(folder.join("postgres")).ok().and_then(|program| program.parent().map(Path::to_owned)));
    }
    // It is looked for on this very PATH.
    if let Ok(output) = Command::new("pg_config").arg("--bindir").env("PATH", path).stderr(Stdio::null()).output() {
        let said = output.stdout.trim_ascii_end();
        folders.extend((!said.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(said))));
    }
    let mut installed = Vec::new();
    for (parent, prefix) in places {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                installed.extend([entry.path().join("bin"), entry.path()]);
            }
        }
    }
    let root = rustix::process::geteuid().is_root();
    let usable = |folder: PathBuf| {
        let complete = ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file());
        // Another user will run it.
        let reachable = !root || closed_parent(&folder).is_none();
        let major = if complete && reachable { version(&folder)? } else { return None };
        Some((folder, major))
    };
    let mut installed: Vec<_> = installed.into_iter().filter_map(usable).collect();
    installed.sort_by_key(|(_, major)| std::cmp::Reverse(*major));
    let mut found: Vec<_> = folders.into_iter().filter_map(usable).collect();
    found.extend(installed);
    found
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`
fn version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
