//! The cluster that tests run against, and anybody may try things with: a real Kubernetes on one node, built from
//! Go modules, in a network namespace of its own. The scripts in `end2end/cluster` do it; this knows when.
//!
//! It takes Linux, root, Go and Debian's packages. Elsewhere `KUBECONFIG` names a cluster for the tests.

use crate::{
    image, setup,
    shell::{self, Cmd},
};
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

/// How to come by root without losing one's Rust and Go.
pub const AS_ROOT: &str = "Run it as root, for example by: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask …";

#[derive(Subcommand)]
pub enum Action {
    /// Build what is not built, start it, and give it the images that are made; does nothing twice
    Up,
    /// Stop it
    Down {
        /// Forget what is in it as well
        #[arg(long)]
        purge: bool,
    },
    /// Run a command in its network, with kubectl on the PATH and KUBECONFIG set
    In {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Say what runs and what is missing
    Status,
}

/// Does what was asked; `false` if that is not as it should be.
pub fn run(action: &Action) -> Result<bool> {
    match action {
        Action::Up => up().map(|()| true),
        Action::Down { purge } => down(*purge).map(|()| true),
        Action::In { command } => Err(inside(command)?.stdin(Stdio::inherit()).exec()).context("run the command"),
        Action::Status => status(),
    }
}

/// Builds, starts, and imports. Where all is there already this takes a second.
pub fn up() -> Result<()> {
    if let Some(lack) = lack() {
        bail!("{lack}");
    }
    setup::for_cluster()?;
    image::make_own()?;
    script("build.sh").run()?;
    script("up.sh").run()?;
    import(&image::made())
}

/// Stops it, and cleans up what a crash left.
pub fn down(purge: bool) -> Result<()> {
    if !shell::is_root() {
        bail!("The cluster is root's. {AS_ROOT}");
    }
    script("down.sh").args(purge.then_some("--purge")).run()
}

/// Whether its apiserver runs.
pub fn is_up() -> bool {
    shell::is_root() && place().join("run").is_dir() && script("in.sh").args(["true"]).quiet()
}

/// Gives it images, unless it has these very ones.
pub fn import(tars: &[PathBuf]) -> Result<()> {
    script("import.sh").args(tars).run()
}

/// Why it cannot run on this machine, with what to do; `None` if it can.
pub fn lack() -> Option<String> {
    if !shell::is_root() {
        Some(format!("The cluster takes root: namespaces, mounts and cgroups. {AS_ROOT}"))
    } else if !shell::has("go") && !is_built() {
        Some("Go is missing, which builds Kubernetes: install Go 1.26 or newer, and put it on the PATH.".to_owned())
    } else if !shell::has("apt-get") && setup::lacks_for_cluster() {
        Some("The cluster takes packages of Debian's (containerd, runc, etcd and more), and there is no apt-get here.".to_owned())
    } else {
        None
    }
}

/// Whether Go has been there before.
fn is_built() -> bool {
    ["kubelet", "coredns", "local-path-provisioner", "kwok", "helm", "cyclonus"]
        .iter()
        .all(|program| place().join("bin").join(program).is_file())
}

/// Where the tests find a cluster.
pub enum Found {
    /// Ours, which runs on this machine.
    Ours,
    /// The one that `KUBECONFIG` names.
    Named(PathBuf),
    /// None, and why.
    None(String),
}

/// Ours where it can run, else the one that `KUBECONFIG` names.
pub fn find() -> Found {
    let Some(lack) = lack() else { return Found::Ours };
    match env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(path) if path.is_file() => Found::Named(path),
        Some(path) => Found::None(format!("{lack} KUBECONFIG names no file: {}.", path.display())),
        None => Found::None(format!("{lack} Or name a cluster by KUBECONFIG.")),
    }
}

/// A command inside, yet to be started.
pub fn inside(command: &[String]) -> Result<std::process::Command> {
    if !shell::is_root() {
        bail!("The cluster is root's. {AS_ROOT}");
    }
    let mut command = script("in.sh").args(command).into_inner();
    // Where the caller is, not where the script is.
    command.current_dir(env::current_dir().context("find the current folder")?);
    Ok(command)
}

/// Where the node is, and with it whatever else runs in the cluster's network.
pub const NODE: &str = "198.51.100.10";

/// Its administrator's kubeconfig.
pub fn kubeconfig() -> PathBuf {
    place().join("run/pki/admin.kubeconfig")
}

/// A namespace that enforces the level `restricted`, empty at first, of the cluster that `kubectl` is for.
pub fn namespace(name: &str, kubectl: impl Fn(&[&str]) -> Cmd) -> Result<()> {
    kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait"]).run()?;
    kubectl(&["create", "namespace", name]).run()?;
    kubectl(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]).run()
}

/// A program inside, with the same environment as any other that we start.
pub fn program(program: &Path) -> Cmd {
    script("in.sh").args([program])
}

/// Tells a test which images our cluster has, and where Helm and cyclonus are.
pub fn tell(command: Cmd) -> Cmd {
    let images = [
        ("FSA_TEST_IMAGE", "runtime"),
        ("FSA_TEST_AGENT_IMAGE", "agent"),
        ("FSA_TEST_POSTGRES_IMAGE", "postgres"),
        ("FSA_TEST_CONTROL_PLANE_IMAGE", "control-plane"),
        ("FSA_TEST_TTYD_IMAGE", "ttyd"),
    ];
    let command = images.into_iter().fold(command, |command, (key, name)| command.env(key, format!("fsa.local/{name}:dev")));
    command.env("FSA_HELM", place().join("bin/helm")).env("FSA_CYCLONUS", place().join("bin/cyclonus"))
}

fn status() -> Result<bool> {
    if let Some(lack) = lack() {
        println!("{lack}");
        return Ok(false);
    }
    let status = script("status.sh").into_inner().status().context("start status.sh")?;
    Ok(status.success())
}

fn place() -> PathBuf {
    shell::cache().join("cluster")
}

fn script(name: &str) -> Cmd {
    let _ = fs::create_dir_all(place());
    Cmd::new("bash")
        .args([shell::root().join("end2end/cluster").join(name)])
        .env("FSA_CLUSTER_DIR", place())
        .env("FSA_CLUSTER_NETNS", "fsa-test")
        .env("FSA_IMAGES_DIR", image::folder())
}
