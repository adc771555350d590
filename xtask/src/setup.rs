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
pub const CLAUDE_CODE: &str = "2.1.330";
const WASM: &str = "wasm32-unknown-unknown";
/// What nobody but the developer can install.
const BEFOREHAND: &str =
    "Rust (https://rustup.rs), Node.js 20 or newer with npm, and a C compiler must be there; the rest is installed.";
const OLDEST_NODE: u32 = 20;

/// All of it.
pub fn everything() -> Result<()> {
    for_build()?;
    for_run()?;
    for_journeys()?;
    for_apps()
}

/// What compiles for this machine.
pub fn for_native() -> Result<()> {
    for program in ["cc", "rustc"] {
        if !shell::has(program) {
            bail!("`{program}` is missing. {BEFOREHAND}");
        }
    }
    Ok(())
}

/// A compiler for the browser, and what turns its output into a site.
pub fn for_build() -> Result<()> {
    for_native()?;
    wasm_target()?;
    wasm_bindgen()?;
    for_scripts()
}

/// The terminal's npm packages, and the tools among them.
pub fn for_scripts() -> Result<()> {
    npm(&shell::root().join("frontend/js"))
}

/// PostgreSQL's server programs.
pub fn for_databases() -> Result<()> {
    for_native()?;
    if crate::postgres::programs().is_none() { apt(&["postgresql"]) } else { Ok(()) }
}

/// What sandboxes need.
pub fn for_run() -> Result<()> {
    let mut wanted = Vec::new();
    if !shell::has("bwrap") {
        wanted.push("bubblewrap");
    }
    if crate::postgres::programs().is_none() {
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

/// What tests use beside it: the example of docs/api.md, the proxies of `deploy/proxy`, and what asks the API anything.
pub fn for_unit() -> Result<()> {
    for_run()?;
    let proxies = [("/usr/sbin/nginx", "nginx-light"), ("caddy", "caddy"), ("openssl", "openssl")];
    apt(&missing(&[("curl", "curl"), ("jq", "jq")].into_iter().chain(proxies).collect::<Vec<_>>()))?;
    install_schemathesis()
}

/// Reads the API's document and asks whatever fits it, and what does not.
const SCHEMATHESIS: &str = "4.32.5";

/// `$FSA_SCHEMATHESIS`, or our own.
pub fn schemathesis() -> PathBuf {
    let chosen = std::env::var_os("FSA_SCHEMATHESIS").filter(|path| !path.is_empty());
    chosen
        .map_or_else(|| shell::cache().join("tools").join(format!("schemathesis-{SCHEMATHESIS}/bin/schemathesis")), PathBuf::from)
}

fn install_schemathesis() -> Result<()> {
    let program = schemathesis();
    if Cmd::new(&program).args(["--version"]).quiet() {
        return Ok(());
    }
    let Some(folder) = program.parent().and_then(Path::parent).filter(|_| std::env::var_os("FSA_SCHEMATHESIS").is_none()) else {
        bail!("FSA_SCHEMATHESIS names {}, which does not run.", program.display());
    };
    if !Cmd::new("python3").args(["-c", "import ensurepip"]).quiet() {
        apt(&["python3", "python3-venv"])?;
    }
    say(format!("Installing schemathesis {SCHEMATHESIS} into {} (pip, 94 MB)", folder.display()));
    let _ = fs::remove_dir_all(folder);
    Cmd::new("python3").args(["-m", "venv"]).args([folder]).run()?;
    let pip = folder.join("bin/pip");
    Cmd::new(pip).args(["install", "--quiet", "--disable-pip-version-check", &format!("schemathesis=={SCHEMATHESIS}")]).run()
}

/// A browser and the journeys' packages.
pub fn for_journeys() -> Result<()> {
    // What Claude Code writes beside letters and blocks (⏵ ⏺ ⎿) is in none of the usual fonts.
    const SYMBOLA: &str = "/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf";
    for_run()?;
    let mut wanted = Vec::new();
    // Beside another Chromium it is worth an installation where that takes nobody's hand.
    let lighter = !shell::has(HEADLESS_SHELL) && std::env::var_os("FSA_CHROMIUM").is_none();
    if lighter && is_package(HEADLESS_SHELL) && (chromium().is_none() || as_root("apt-get", Path::new("/")).is_ok()) {
        wanted.push(HEADLESS_SHELL);
    } else if chromium().is_none() {
        wanted.push("chromium");
    }
    if !Cmd::new("/usr/bin/python3").args(["-c", "import psycopg2"]).quiet() && shell::has("apt-get") {
        wanted.push("python3-psycopg2");
    }
    if shell::has("apt-get") {
        wanted.extend(missing(&[(SYMBOLA, "fonts-symbola")]));
    }
    apt(&wanted)?;
    npm(&shell::root().join("end2end"))
}

/// The apps that journeys run in sandboxes, as folders of `end2end/support/apps`.
const APPS: [&str; 3] = ["next", "prisma", "vite"];

/// Where their npm packages are, `NAME-` and what their lock file hashes to.
pub fn apps() -> PathBuf {
    shell::cache().join("apps")
}

/// Those packages. Not by the journeys themselves: on the test cluster they have no way out.
pub fn for_apps() -> Result<()> {
    APPS.iter().try_for_each(|name| app(name))
}

fn app(name: &str) -> Result<()> {
    let source = shell::root().join("end2end/support/apps").join(name);
    let lock =
        fs::read(source.join("package-lock.json")).with_context(|| format!("read the lock file in {}", source.display()))?;
    let stamp: String = hex::encode(Sha256::digest(&lock)).chars().take(12).collect();
    let folder = apps().join(format!("{name}-{stamp}"));
    if folder.is_dir() {
        return Ok(());
    }
    node()?;
    say(format!("Installing the npm packages of the journeys' app {name}"));
    // It has its name once all is there.
    let part = folder.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), part.join(file))?;
    }
    // What their scripts fetch comes from hosts of their own.
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
    Cmd::new("npm").args(install).dir(&part).run()?;
    fs::rename(&part, &folder)?;
    Ok(())
}

/// What benchmarks use beside it: a generator of requests, and another proxy to compare with.
pub fn for_benchmarks() -> Result<()> {
    for_journeys()?;
    apt(&missing(&[("wrk", "wrk"), ("/usr/sbin/nginx", "nginx-light"), ("curl", "curl")]))
}

/// What makes images: packages of Debian's, a C compiler, npm.
pub fn for_images() -> Result<()> {
    for_native()?;
    node()?;
    // Debian has its own keys; Ubuntu not.
    let keys = ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring");
    apt(&missing(&[("debootstrap", "debootstrap"), ("unshare", "util-linux"), keys]))
}

/// What a cluster runs on, beside what Go builds.
pub fn for_cluster() -> Result<()> {
    apt(&missing(FOR_CLUSTER))
}

/// Whether [`for_cluster`] has something to install.
pub fn lacks_for_cluster() -> bool {
    !missing(FOR_CLUSTER).is_empty()
}

/// What journeys on a cluster have as an Ingress controller.
pub fn for_ingress() -> Result<()> {
    const SET_MISC: &str = "/usr/lib/nginx/modules/ngx_http_set_misc_module.so";
    apt(&missing(&[("/usr/sbin/nginx", "nginx-light"), (SET_MISC, "libnginx-mod-http-set-misc")]))
}

/// A program, or a file by its path, and the package that has it.
const FOR_CLUSTER: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("sysctl", "procps"),
    ("conntrack", "conntrack"),
    ("etcd", "etcd-server"),
    ("openssl", "openssl"),
    ("nsenter", "util-linux"),
    ("debootstrap", "debootstrap"),
];

fn missing(wanted: &[(&str, &'static str)]) -> Vec<&'static str> {
    // Debian has some of them where only root looks.
    let there = |name: &str| Path::new(name).is_absolute() && Path::new(name).exists() || shell::has(name);
    wanted.iter().filter(|(program, _)| !there(program)).map(|(_, package)| *package).collect()
}

/// Chromium without its own windows, as Debian packages it and as Playwright prefers: the same engine, and a page takes a third
/// of the processor's time, since a whole Chromium draws its tab strip and toolbar without a screen, too.
const HEADLESS_SHELL: &str = "chromium-headless-shell";

/// Whether apt knows a package of this name, and could install it.
fn is_package(name: &str) -> bool {
    shell::has("apt-cache") && Cmd::new("apt-cache").args(["show", name]).quiet()
}

/// `$FSA_CHROMIUM`, or the machine's own.
pub fn chromium() -> Option<PathBuf> {
    let given = std::env::var_os("FSA_CHROMIUM").map(PathBuf::from);
    given.or_else(|| shell::find(HEADLESS_SHELL)).or_else(whole_chromium)
}

/// One with windows of its own, where there is one.
pub fn whole_chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| shell::find(name))
}

/// The folder that holds `node_modules/@anthropic-ai/claude-code`: `$FSA_CLAUDE_DIR`, or our own. As
/// root outside the home folder, which other users cannot enter: sandboxes run as users of their own.
pub fn claude_dir() -> PathBuf {
    if let Some(chosen) = std::env::var_os("FSA_CLAUDE_DIR").filter(|dir| !dir.is_empty()) {
        return chosen.into();
    }
    if shell::is_root() { PathBuf::from("/var/cache/fullstack-agent/claude") } else { shell::cache().join("claude") }
}

/// How cargo is called for the browser's target: `+debian` where the usual toolchain has no such
/// target and can fetch none. `FSA_WASM_TOOLCHAIN=debian` chooses it although there is another.
pub fn wasm_toolchain() -> Option<&'static str> {
    (debian_is_wanted() || !links_wasm(None)).then_some(DEBIAN)
}

const DEBIAN: &str = "+debian";

fn debian_is_wanted() -> bool {
    std::env::var_os("FSA_WASM_TOOLCHAIN").is_some_and(|name| name == "debian")
}

/// Whether a toolchain compiles nothing at all for the browser, and links it: a tenth of a second.
fn links_wasm(toolchain: Option<&str>) -> bool {
    let (source, module) = (shell::cache().join("wasm-probe.rs"), shell::cache().join("wasm-probe.wasm"));
    fs::create_dir_all(shell::cache()).and_then(|()| fs::write(&source, "")).is_ok()
        && Cmd::new("rustc")
            .args(toolchain)
            .args(["--target", WASM, "--crate-type", "cdylib", "-o"])
            .args([module, source])
            .quiet()
}

fn wasm_target() -> Result<()> {
    if links_wasm(wasm_toolchain()) {
        return Ok(());
    }
    if !shell::has("rustup") {
        bail!("This Rust cannot compile for {WASM}. Install Rust by rustup, which can add that: https://rustup.rs");
    }
    if !debian_is_wanted() {
        say("Installing the WebAssembly target of Rust");
        if Cmd::new("rustup").args(["target", "add", WASM]).run().is_ok() && links_wasm(None) {
            return Ok(());
        }
    }
    debian_rust().with_context(|| format!("install a Rust compiler that has {WASM}; `rustup target add {WASM}` did not"))
}

/// Where rustup cannot fetch: Debian's compiler for the web, whose standard library is built once.
fn debian_rust() -> Result<()> {
    apt(&["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "rust-web-clippy", "lld-22"])?;
    if !Cmd::new("rustc").args([DEBIAN, "--version"]).quiet() {
        Cmd::new("rustup").args(["toolchain", "link", "debian", "/usr"]).run()?;
    }
    if links_wasm(Some(DEBIAN)) {
        return Ok(());
    }
    say("Building Rust's standard library for WebAssembly (a minute, once)");
    let folder = shell::cache().join("wasm-std");
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), "[package]\nname = \"nothing\"\nedition = \"2024\"\n\n[workspace]\n")?;
    fs::write(folder.join("src/lib.rs"), "")?;
    let target = folder.join("target");
    // Building std is unstable; RUSTC_BOOTSTRAP lets a stable compiler do it, for this once.
    Cmd::new("/usr/bin/cargo")
        .args(["build", "--release", "-Z", "build-std=std,panic_abort,panic_unwind,proc_macro", "--target", WASM])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", "/usr/bin/rustc")
        .env("CARGO_TARGET_DIR", &target)
        .without("RUSTFLAGS")
        .dir(&folder)
        .run()?;
    let mut built = Vec::new();
    for entry in fs::read_dir(target.join(WASM).join("release/deps"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libnothing-") {
            built.push(path);
        }
    }
    let libs = Path::new("/usr/lib/rustlib").join(WASM).join("lib");
    as_root("install", &shell::root())?.args(["-d", "-m", "755"]).args([&libs]).run()?;
    as_root("install", &shell::root())?.args(["-m", "644", "-t"]).args([&libs]).args(built).run()?;
    fs::remove_dir_all(&folder)?;
    if links_wasm(Some(DEBIAN)) { Ok(()) } else { bail!("Debian's Rust does not compile for {WASM} after its installation") }
}

/// `wasm-bindgen` in the very version of Cargo.lock: another one refuses to read the module.
pub fn wasm_bindgen() -> Result<PathBuf> {
    let lock = fs::read_to_string(shell::root().join("Cargo.lock"))?;
    let version = locked(&lock, "wasm-bindgen").context("find wasm-bindgen in Cargo.lock")?;
    let tools = shell::cache().join("tools");
    let program = tools.join("bin/wasm-bindgen");
    let said = || Cmd::new(&program).args(["--version"]).read().unwrap_or_default();
    if !program.is_file() || said().trim() != format!("wasm-bindgen {version}") {
        say(format!("Installing wasm-bindgen {version} (some minutes, once)"));
        fs::create_dir_all(&tools)?;
        let install = |lock: &[&str]| {
            Cmd::new("cargo")
                .args(["install", "wasm-bindgen-cli", "--bin", "wasm-bindgen", "--force", "--version", &version])
                .args(lock)
                .args(["--root"])
                .args([&tools])
                .env("CARGO_TARGET_DIR", shell::cache().join("tools-target"))
                // It runs for a second a build: cheap to compile comes before quick to run.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .dir(&tools)
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

/// Node.js and npm, of an age that has `node --test` and `fetch`.
fn node() -> Result<()> {
    for program in ["node", "npm"] {
        if !shell::has(program) {
            bail!("`{program}` is missing. {BEFOREHAND}");
        }
    }
    let version = Cmd::new("node").args(["--version"]).read()?;
    let version = version.trim();
    if major(version).is_none_or(|major| major < OLDEST_NODE) {
        bail!("Node.js is {version}. {BEFOREHAND}");
    }
    Ok(())
}

/// 20 of `v20.1.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// A folder's npm packages, when its lock file is not the one that they were installed from.
pub fn npm(folder: &Path) -> Result<()> {
    node()?;
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

/// npm packages by name, into `FOLDER/node_modules`.
pub fn npm_install(folder: &Path, packages: &[&str]) -> Result<()> {
    node()?;
    fs::create_dir_all(folder)?;
    Cmd::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .args([folder])
        .args(packages)
        .dir(folder)
        .run()
}

fn claude_code() -> Result<()> {
    if std::env::var_os("FSA_CLAUDE_DIR").is_some_and(|dir| !dir.is_empty()) {
        return Ok(());
    }
    node()?;
    let folder = claude_dir();
    let stamped = folder.join(".version");
    if fs::read_to_string(&stamped).is_ok_and(|text| text == CLAUDE_CODE) {
        return Ok(());
    }
    say(format!("Installing Claude Code {CLAUDE_CODE} into {} (npm, 235 MB)", folder.display()));
    npm_install(&folder, &[&format!("@anthropic-ai/claude-code@{CLAUDE_CODE}")])?;
    Cmd::new(folder.join("node_modules/.bin/claude")).args(["--version"]).run()?;
    // Other users run it, whatever our umask is.
    Cmd::new("chmod").args(["-R", "a+rX"]).args([&folder]).run()?;
    fs::write(stamped, CLAUDE_CODE)?;
    Ok(())
}

/// Debian packages, by root or by a sudo that does not ask; otherwise the one line to run is said.
fn apt(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let there = shell::has("apt-get");
    if !there || as_root("apt-get", Path::new("/")).is_err() {
        bail!(by_hand(&list, there));
    }
    say(format!("Installing with apt-get: {list}"));
    let run = |args: &[&str]| as_root("apt-get", Path::new("/"))?.args(args).run();
    let install: Vec<&str> =
        ["install", "-y", "-qq", "--no-install-recommends"].into_iter().chain(packages.iter().copied()).collect();
    if run(&install).is_err() {
        say("apt-get may have an old list of packages: updating it, and once more");
        run(&["update", "-qq"])?;
        run(&install)?;
    }
    end_services(packages)
}

/// What is said where packages cannot be installed from here: the one line to run, where there is one.
fn by_hand(list: &str, apt: bool) -> String {
    if apt {
        format!(
            "These are missing. Run this line, and then this command again:\n  sudo apt-get update && sudo apt-get install -y {list}"
        )
    } else {
        format!(
            "These are missing, and there is no apt-get here: {list}. Install what they are called on this system, and run this again."
        )
    }
}

/// A package whose service would listen on the machine's own ports, and the service.
const SERVICES: &[(&str, &str)] = &[("nginx-light", "nginx"), ("caddy", "caddy")];

/// Ends what systemd began because its package was installed just now; tests start these programs themselves.
fn end_services(installed: &[&str]) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for &(_, service) in SERVICES.iter().filter(|(package, _)| installed.contains(package)) {
        as_root("systemctl", Path::new("/"))?.args(["disable", "--now", "--quiet", service]).run()?;
    }
    Ok(())
}

/// A program run by root: by us if we are, else by a sudo that does not ask.
fn as_root(program: &str, dir: &Path) -> Result<Cmd> {
    let command = if shell::is_root() {
        Cmd::new("env")
    } else if shell::has("sudo") && Cmd::new("sudo").args(["-n", "true"]).quiet() {
        Cmd::new("sudo").args(["-n", "env"])
    } else {
        bail!("`{program}` has to be run by root; run this command by sudo");
    };
    // In runlevel 1 Debian starts no service that a package brings; where systemd does it, it asks nobody.
    Ok(command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", program]).dir(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_app_of_the_journeys_is_installed() {
        let folders = fs::read_dir(shell::root().join("end2end/support/apps")).expect("list the apps");
        let mut names: Vec<String> = folders.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, APPS);
    }

    #[test]
    fn node_s_age_is_read() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("twenty"), None);
    }

    #[test]
    fn what_cannot_be_installed_from_here_is_one_line_to_run() {
        let said = by_hand("bubblewrap postgresql", true);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("sudo ")).collect();
        assert_eq!(lines, ["sudo apt-get update && sudo apt-get install -y bubblewrap postgresql"]);
        let elsewhere = by_hand("bubblewrap postgresql", false);
        assert!(elsewhere.contains("bubblewrap postgresql") && !elsewhere.contains("sudo"), "{elsewhere}");
    }

    /// It is looked for in the real lock file, whose form is cargo's own affair.
    #[test]
    fn the_locked_version_of_wasm_bindgen_is_found() {
        let lock = fs::read_to_string(shell::root().join("Cargo.lock")).unwrap();
        let version = locked(&lock, "wasm-bindgen").expect("its version");
        assert_eq!(version.split('.').count(), 3, "{version}");
    }

    #[test]
    fn a_locked_version_is_read() {
        let lock = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"9\"\n\n[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.100\"\n";
        assert_eq!(locked(lock, "wasm-bindgen").as_deref(), Some("0.2.100"));
        assert_eq!(locked(lock, "leptos"), None);
    }
}
