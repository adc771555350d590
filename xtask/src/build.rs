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

/// Where things were put: in a folder of their own, since tests build programs of the same names.
pub struct Built {
    /// The server. `site/` and `agent/sandbox-agent` lie beside it, and it looks there.
    pub server: PathBuf,
    /// The hashed assets with their manifest.
    pub site: PathBuf,
    /// The static agent.
    pub agent: PathBuf,
}

impl Built {
    /// Where all of it will be.
    pub fn places() -> Self {
        let product = shell::target().join("product");
        Self { server: product.join("fullstack-agent"), site: product.join("site"), agent: product.join("agent/sandbox-agent") }
    }

    /// Tells a program where all of it is, and Claude Code.
    pub fn tell(&self, command: Cmd) -> Cmd {
        let command = command.env("FSA_BINARY", &self.server).env("FSA_SITE_DIR", &self.site).env("FSA_AGENT", &self.agent);
        let claude = setup::claude_dir();
        if claude.join("node_modules/@anthropic-ai/claude-code").is_dir() {
            command.env("FSA_CLAUDE_DIR", claude)
        } else {
            command
        }
    }
}

/// What cargo is told for everything that runs on this machine: the same for building, testing and
/// linting, since another choice of features would compile the dependencies again.
pub const NATIVE: [&str; 8] = ["--release", "--workspace", "--exclude", "frontend", "--exclude", "fuzz", "--features", "app/ssr"];

/// What tests are built with besides: the crates that have many of them are not optimised, which takes most of the time that
/// compiling them would. Dependencies are those of the release.
pub const UNOPTIMISED: [&str; 10] = [
    "--config",
    "profile.release.package.server.opt-level=0",
    "--config",
    "profile.release.package.engine.opt-level=0",
    "--config",
    "profile.release.package.local.opt-level=0",
    "--config",
    "profile.release.package.kubernetes.opt-level=0",
    "--config",
    "profile.release.package.xtask.opt-level=0",
];

/// Sets up and builds all of it.
pub fn release() -> Result<Built> {
    setup::for_build()?;
    let built = Built::places();
    agent(&built.agent)?;
    site(&built.site)?;
    say("Building the server");
    let mut args = vec!["build", "--bins"];
    args.extend(NATIVE);
    cargo(&args).run()?;
    replace(&shell::target().join("release/fullstack-agent"), &built.server)?;
    Ok(built)
}

/// Sets up and builds all of it as one file, `dist/fullstack-agent` beside the release; where it is.
pub fn dist() -> Result<PathBuf> {
    let built = release()?;
    let file = shell::target().join("dist/fullstack-agent");
    fs::create_dir_all(shell::target().join("dist"))?;
    say("Putting everything into one file");
    let pack =
        Cmd::new(&built.server).args(["pack", "--site"]).args([&built.site]).args(["--sandbox-agent"]).args([&built.agent]);
    pack.args([&file]).run()?;
    Ok(file)
}

/// Sets up and builds the static agent; where it is.
pub fn agent_alone() -> Result<PathBuf> {
    setup::for_native()?;
    let built = Built::places().agent;
    agent(&built)?;
    Ok(built)
}

/// The sandbox agent: static, since it runs in images of all kinds.
fn agent(beside: &Path) -> Result<()> {
    say("Building the sandbox agent");
    let host = host()?;
    let rustflags = format!("target.{host}.rustflags=[\"-C\",\"target-feature=+crt-static\"]");
    cargo(&["build", "--profile", "agent-release", "-p", "sandbox-agent", "--target", &host, "--config", &rustflags]).run()?;
    let built = shell::target().join(&host).join("agent-release/sandbox-agent");
    replace(&built, beside)
}

/// The browser's code and everything that it is served with.
fn site(beside: &Path) -> Result<()> {
    say("Building the browser's code");
    let mut args: Vec<&str> = setup::wasm_toolchain().into_iter().collect();
    args.extend(["build", "-p", "frontend", "--target", "wasm32-unknown-unknown", "--profile", "wasm-release"]);
    cargo(&args).run()?;
    let module = shell::target().join("wasm32-unknown-unknown/wasm-release/frontend.wasm");
    assets::make(&module, beside)
}

fn host() -> Result<String> {
    let text = Cmd::new("rustc").args(["-vV"]).read()?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("ask rustc for this machine's target")?;
    Ok(host.to_owned())
}

/// Copies under another name and renames, so that a running program keeps its file.
fn replace(from: &Path, to: &Path) -> Result<()> {
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
