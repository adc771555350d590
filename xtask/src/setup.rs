//! What building, running and testing need, installed where it is missing. Looking costs under a
//! second when nothing is.

use crate::shell::{self, Cmd, say};
use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The newest that was seen to work.
const CLAUDE_CODE: &str = "2.1.330";
const WASM: &str = "wasm32-unknown-unknown";

/// All of it.
pub fn everything() -> Result<()> {
    for_build()?;
    for_run()?;
    for_journeys()
}

/// A compiler for the browser, and what turns its output into a site.
pub fn for_build() -> Result<()> {
    for program in ["cc", "node", "npm", "rustc"] {
        if !shell::has(program) {
            bail!(
                "`{program}` is missing. Rust (rustup.rs), Node.js 20 or newer and a C compiler must be there; the rest is installed."
            );
        }
    }
    wasm_target()?;
    wasm_bindgen()?;
    npm(&shell::root().join("frontend/js"))
}

/// What sandboxes need.
pub fn for_run() -> Result<()> {
    let mut wanted = Vec::new();
    if !shell::has("bwrap") {
        wanted.push("bubblewrap");
    }
    if crate::postgres::binaries().is_none() {
        wanted.push("postgresql");
    }
    if !shell::has("git") {
        wanted.push("git");
    }
    apt(&wanted)?;
    if let Err(error) = claude_code() {
        say(format!("Claude Code could not be installed; terminals work without it: {error:#}"));
    }
    Ok(())
}

/// A browser and the journeys' packages.
pub fn for_journeys() -> Result<()> {
    for_run()?;
    let mut wanted = Vec::new();
    if chromium().is_none() {
        wanted.push("chromium");
    }
    if !Cmd::new("/usr/bin/python3").args(["-c", "import psycopg2"]).quiet() && shell::has("apt-get") {
        wanted.push("python3-psycopg2");
    }
    apt(&wanted)?;
    npm(&shell::root().join("end2end"))
}

/// `$FSA_CHROMIUM`, or the machine's own.
pub fn chromium() -> Option<PathBuf> {
    let own = ["chromium", "chromium-browser", "google-chrome"];
    std::env::var_os("FSA_CHROMIUM").map(PathBuf::from).or_else(|| own.iter().find_map(|name| shell::find(name)))
}

/// Where Claude Code is. As root outside the home folder, which other users cannot enter: sandboxes
/// run as users of their own.
pub fn claude_dir() -> PathBuf {
    if shell::is_root() { PathBuf::from("/var/cache/fullstack-agent/claude") } else { shell::cache().join("claude") }
}

/// How cargo is called for the browser's target: `+debian` where the usual toolchain has no such
/// target and can fetch none.
pub fn wasm_toolchain() -> Option<&'static str> {
    (!native_wasm() && debian_wasm()).then_some("+debian")
}

fn native_wasm() -> bool {
    let libs = Cmd::new("rustc").args(["--print", "target-libdir", "--target", WASM]).without("RUSTUP_TOOLCHAIN").read();
    libs.is_ok_and(|dir| has_std(Path::new(dir.trim())))
}

fn debian_wasm() -> bool {
    has_std(&Path::new("/usr/lib/rustlib").join(WASM).join("lib"))
        && Cmd::new("rustc").args(["+debian", "-V"]).without("RUSTUP_TOOLCHAIN").quiet()
}

fn has_std(libs: &Path) -> bool {
    fs::read_dir(libs).is_ok_and(|dir| dir.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

fn wasm_target() -> Result<()> {
    if native_wasm() || debian_wasm() {
        return Ok(());
    }
    say("Installing the WebAssembly target of Rust");
    if Cmd::new("rustup").args(["target", "add", WASM]).quiet() && native_wasm() {
        return Ok(());
    }
    // Where rustup cannot fetch: Debian's compiler for the web, whose standard library is built once.
    apt(&["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "rust-web-clippy", "lld-22"])
        .context("install a Rust compiler that has the WebAssembly target: `rustup target add wasm32-unknown-unknown` failed")?;
    say("Building Rust's standard library for WebAssembly");
    let folder = shell::cache().join("wasm-std");
    fs::create_dir_all(folder.join("src"))?;
    fs::write(
        folder.join("Cargo.toml"),
        "[package]\nname = \"nothing\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[lib]\n[workspace]\n",
    )?;
    fs::write(folder.join("src/lib.rs"), "")?;
    Cmd::new("/usr/bin/cargo")
        .args(["build", "--release", "-Z", "build-std=std,panic_abort,panic_unwind,proc_macro", "--target", WASM])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", "/usr/bin/rustc")
        .without("CARGO")
        .without("RUSTUP_TOOLCHAIN")
        .without("CARGO_TARGET_DIR")
        .dir(&folder)
        .run()?;
    let libs = Path::new("/usr/lib/rustlib").join(WASM).join("lib");
    fs::create_dir_all(&libs)?;
    for entry in fs::read_dir(folder.join("target").join(WASM).join("release/deps"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libnothing") {
            fs::copy(&path, libs.join(name))?;
        }
    }
    Cmd::new("rustup").args(["toolchain", "link", "debian", "/usr"]).run()?;
    if debian_wasm() { Ok(()) } else { bail!("Debian's Rust has no WebAssembly target after its installation") }
}

/// `wasm-bindgen` in the very version of Cargo.lock: another one refuses to read the module.
pub fn wasm_bindgen() -> Result<PathBuf> {
    let lock = fs::read_to_string(shell::root().join("Cargo.lock"))?;
    let version = locked(&lock, "wasm-bindgen").context("find wasm-bindgen in Cargo.lock")?;
    let tools = shell::cache().join("tools");
    let program = tools.join("bin/wasm-bindgen");
    let there =
        program.is_file() && Cmd::new(&program).args(["--version"]).read().is_ok_and(|text| text.trim().ends_with(&version));
    if !there {
        say(format!("Installing wasm-bindgen {version} (some minutes, once)"));
        let install = |lock: &[&str]| {
            Cmd::new("cargo")
                .args(["install", "wasm-bindgen-cli", "--version", &version])
                .args(lock)
                .args(["--root"])
                .args([&tools])
                .env("CARGO_TARGET_DIR", shell::cache().join("tools-target"))
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .without("CARGO")
                .without("RUSTUP_TOOLCHAIN")
                .run()
        };
        // A mirror of the registry may lack a version that the package's own lock file names.
        install(&["--locked"]).or_else(|_| install(&[]))?;
        let _ = fs::remove_dir_all(shell::cache().join("tools-target"));
    }
    Ok(program)
}

/// The version of a package in a lock file.
fn locked(lock: &str, name: &str) -> Option<String> {
    let mut lines = lock.lines();
    lines.find(|line| *line == format!("name = \"{name}\""))?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"').map(str::to_owned)
}

/// A folder's npm packages, when its lock file is not the one that they were installed from.
pub fn npm(folder: &Path) -> Result<()> {
    let lock =
        fs::read(folder.join("package-lock.json")).with_context(|| format!("read the lock file in {}", folder.display()))?;
    let stamp = hex::encode(Sha256::digest(&lock));
    let stamped = folder.join("node_modules/.installed-from");
    if fs::read_to_string(&stamped).is_ok_and(|text| text == stamp) {
        return Ok(());
    }
    say(format!("Installing the npm packages of {}", folder.strip_prefix(shell::root()).unwrap_or(folder).display()));
    Cmd::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"])
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
        .dir(folder)
        .run()?;
    fs::write(stamped, stamp)?;
    Ok(())
}

fn claude_code() -> Result<()> {
    let folder = claude_dir();
    let stamped = folder.join(".version");
    if fs::read_to_string(&stamped).is_ok_and(|text| text == CLAUDE_CODE) {
        return Ok(());
    }
    say(format!("Installing Claude Code {CLAUDE_CODE} (npm, 235 MB)"));
    fs::create_dir_all(&folder)?;
    Cmd::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .args([&folder])
        .args([format!("@anthropic-ai/claude-code@{CLAUDE_CODE}")])
        .run()?;
    fs::write(stamped, CLAUDE_CODE)?;
    Ok(())
}

/// Debian packages, by root or by a sudo that does not ask; otherwise the one line to run is said.
fn apt(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !shell::has("apt-get") {
        bail!(
            "These are missing, and there is no apt-get here: {list}. Install what they are called on this system, and run this again."
        );
    }
    let sudo = if shell::is_root() {
        false
    } else if Cmd::new("sudo").args(["-n", "true"]).quiet() {
        true
    } else {
        bail!(
            "These are missing. Run this line, and then this command again:\n  sudo apt-get update && sudo apt-get install -y {list}"
        );
    };
    say(format!("Installing with apt-get: {list}"));
    let run = |args: &[&str]| {
        let command = if sudo { Cmd::new("sudo").args(["-n", "apt-get"]) } else { Cmd::new("apt-get") };
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive").run()
    };
    let install: Vec<&str> =
        ["install", "-y", "-qq", "--no-install-recommends"].into_iter().chain(packages.iter().copied()).collect();
    if run(&install).is_err() {
        run(&["update", "-qq"])?;
        run(&install)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_version_is_read() {
        let lock = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"9\"\n\n[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.100\"\n";
        assert_eq!(locked(lock, "wasm-bindgen").as_deref(), Some("0.2.100"));
        assert_eq!(locked(lock, "leptos"), None);
    }
}
