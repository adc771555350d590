//! The release: agent, browser code, site, server. One target folder and one profile for everything,
//! so that the tests compile nothing again.

use crate::{
    assets, setup,
    shell::{self, Cmd, cargo, say},
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where things were put.
pub struct Built {
    /// The server. `site/` and `sandbox-agent` lie beside it.
    pub server: PathBuf,
    /// The hashed assets with their manifest.
    pub site: PathBuf,
}

/// What cargo is told for everything that runs on this machine: the same for building, testing and
/// linting, since another choice of features would compile the dependencies again.
pub const NATIVE: [&str; 6] = ["--release", "--workspace", "--exclude", "frontend", "--features", "app/ssr"];

/// Sets up and builds all of it.
pub fn release() -> Result<Built> {
    setup::for_build()?;
    agent()?;
    let site = site()?;
    say("Building the server");
    let mut args = vec!["build", "--bins"];
    args.extend(NATIVE);
    cargo(&args).run()?;
    Ok(Built { server: shell::target().join("release/fullstack-agent"), site })
}

/// The sandbox agent: static, since it runs in images of all kinds.
fn agent() -> Result<()> {
    say("Building the sandbox agent");
    let host = host()?;
    let rustflags = format!("target.{host}.rustflags=[\"-C\",\"target-feature=+crt-static\"]");
    cargo(&["build", "--profile", "agent-release", "-p", "sandbox-agent", "--target", &host, "--config", &rustflags]).run()?;
    let built = shell::target().join(&host).join("agent-release/sandbox-agent");
    let beside = shell::target().join("release");
    fs::create_dir_all(&beside)?;
    // Not `sandbox-agent`: a workspace build puts a dynamic one there.
    replace(&built, &beside.join("agent/sandbox-agent"))
}

/// The browser's code and everything that it is served with.
pub fn site() -> Result<PathBuf> {
    say("Building the browser's code");
    let mut args: Vec<&str> = setup::wasm_toolchain().into_iter().collect();
    args.extend(["build", "-p", "frontend", "--target", "wasm32-unknown-unknown", "--profile", "wasm-release"]);
    cargo(&args).run()?;
    let module = shell::target().join("wasm32-unknown-unknown/wasm-release/frontend.wasm");
    assets::make(&module, &shell::target().join("release/site"))
}

fn host() -> Result<String> {
    let text = Cmd::new("rustc").args(["-vV"]).read()?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("ask rustc for this machine's target")?;
    Ok(host.to_owned())
}

/// Copies under another name and renames, so that a running program keeps its file.
pub fn replace(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    if let (Ok(old), Ok(new)) = (fs::read(to), fs::read(from))
        && old == new
    {
        return Ok(());
    }
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("put {} in place", to.display()))
}
