//! `.sqlx`: what the compiler knows of each query, so that a build needs no database.
//!
//! sqlx's macros write these files themselves where `SQLX_OFFLINE_DIR` names a folder and
//! `DATABASE_URL` a database to ask; so there is no need of sqlx-cli.

use crate::{
    postgres::Server,
    setup,
    shell::{self, cargo, say},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The crates whose code has queries in it.
const CRATES_WITH_QUERIES: [&str; 1] = ["engine"];

/// Writes it again from a fresh database.
pub fn write() -> Result<()> {
    setup::for_databases()?;
    let folder = shell::root().join(".sqlx");
    let fresh = describe()?;
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for (name, text) in &fresh {
        fs::write(folder.join(name), text)?;
    }
    say(format!("{} queries described in .sqlx", fresh.len()));
    Ok(())
}

/// Fails where the committed files are not those of the queries and migrations.
pub fn check() -> Result<()> {
    let committed = read(&shell::root().join(".sqlx"))?;
    let fresh = describe()?;
    let stale: Vec<_> = committed.keys().filter(|name| !fresh.contains_key(*name)).collect();
    let missing: Vec<_> = fresh.iter().filter(|(name, text)| committed.get(*name) != Some(text)).map(|(name, _)| name).collect();
    if stale.is_empty() && missing.is_empty() {
        return Ok(());
    }
    bail!(
        ".sqlx is not up to date ({} stale, {} missing or different). Run `cargo xtask sqlx` and commit.",
        stale.len(),
        missing.len()
    )
}

/// Every query as a fresh database with our migrations describes it.
fn describe() -> Result<BTreeMap<String, String>> {
    let server = Server::start()?;
    let mut migrations: Vec<PathBuf> =
        fs::read_dir(shell::root().join("migrations"))?.flatten().map(|entry| entry.path()).collect();
    migrations.sort();
    for file in migrations.iter().filter(|path| path.extension().is_some_and(|end| end == "sql")) {
        server.apply(file)?;
    }
    let out = shell::target().join("sqlx-described");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out)?;
    // Macros write only when they run: the crates must look changed.
    let _changed = Touched::crates(&CRATES_WITH_QUERIES)?;
    // In clippy's profile, so that most dependencies are checked once for both; and no other crates,
    // which may be waiting for just these descriptions.
    let mut args = vec!["check", "--quiet", "--release", "--all-targets"];
    args.extend(CRATES_WITH_QUERIES.iter().flat_map(|name| ["-p", name]));
    cargo(&args)
        .env("DATABASE_URL", server.url())
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &out)
        .run()
        .context("describe the queries")?;
    read(&out)
}

/// Source files that look changed until this is dropped. Then they have their own times again, and
/// no build that comes later starts over.
struct Touched(Vec<TouchedFile>);

struct TouchedFile {
    path: PathBuf,
    own: SystemTime,
    touched: SystemTime,
}

impl Touched {
    fn crates(names: &[&str]) -> Result<Self> {
        let mut touched = Self(Vec::new());
        for name in names {
            for folder in ["src", "tests"] {
                touched.folder(&shell::root().join(name).join(folder))?;
            }
        }
        Ok(touched)
    }

    fn folder(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                self.folder(&path)?;
            } else if path.extension().is_some_and(|end| end == "rs") {
                let own = fs::metadata(&path)?.modified()?;
                set_modified(&path, SystemTime::now())?;
                let touched = fs::metadata(&path)?.modified()?;
                self.0.push(TouchedFile { path, own, touched });
            }
        }
        Ok(())
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        for file in &self.0 {
            // Not what somebody wrote meanwhile.
            if fs::metadata(&file.path).and_then(|about| about.modified()).is_ok_and(|time| time == file.touched) {
                let _ = set_modified(&file.path, file.own);
            }
        }
    }
}

fn set_modified(path: &Path, time: SystemTime) -> Result<()> {
    let file = fs::File::options().append(true).open(path).with_context(|| format!("open {}", path.display()))?;
    file.set_modified(time).with_context(|| format!("set the time of {}", path.display()))
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") && name.ends_with(".json") {
            files.insert(name, fs::read_to_string(entry.path())?);
        }
    }
    Ok(files)
}
