//! `.sqlx`: what the compiler knows of each query, so that a build needs no database.

use crate::{
    postgres::Server,
    shell::{self, cargo, say},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Writes it again from a fresh database.
pub fn write() -> Result<()> {
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
    // A target folder of its own: the check must run although nothing changed, and must not make the
    // usual builds start over.
    let folder = shell::target().join("sqlx-check");
    let stamp = folder.join("debug/.fingerprint");
    if let Ok(entries) = fs::read_dir(&stamp) {
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("engine-")) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    cargo(&["check", "-q", "-p", "engine"])
        .env("CARGO_TARGET_DIR", &folder)
        .env("DATABASE_URL", server.url())
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &out)
        .run()
        .context("describe the queries")?;
    read(&out)
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
