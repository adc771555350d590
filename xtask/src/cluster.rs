//! The cluster that tests run against, and anybody may try things with: a real Kubernetes on one node, built from
//! Go modules, in a network namespace of its own. The scripts in `end2end/cluster` do it; this knows when.
//!
//! It takes Linux, root, Go and Debian's packages. Elsewhere `KUBECONFIG` names a cluster for the tests.

use crate::{
    image, setup,
    shell::{self, Cmd, say},
};
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
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

/// Kubernetes as it is built beside other work, with what that leaves of the processors; dropped, it ends.
pub struct Ahead {
    build: Child,
}

impl Ahead {
    /// Begins it, where our cluster can run. Where all is built it is over at once.
    pub fn begin() -> Option<Self> {
        if lack().is_some() {
            return None;
        }
        Self::begin_in(&place(), &scripts().join("ahead.sh"))
    }

    /// Its log is in `folder`, which a new machine does not have yet.
    fn begin_in(folder: &Path, script: &Path) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let log = fs::File::create(folder.join("build.log")).ok()?;
        let mut command = Cmd::new("setsid").args(["bash"]).args([script]).into_inner();
        command.envs(places()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        Some(Self { build: command.spawn().ok()? })
    }

    /// Waits for it, as somebody whom nothing else keeps busy. What went wrong is told by the build that follows.
    pub fn wait(mut self) {
        if !matches!(self.build.try_wait(), Ok(None)) {
            return;
        }
        say("Kubernetes is being built (some ten minutes, once)");
        let id = self.build.id();
        let _ = fs::write(format!("/proc/{id}/autogroup"), "0");
        // `Child::wait` would close its standard input first, which ends it.
        let input = self.build.stdin.take();
        let _ = self.build.wait();
        drop(input);
    }
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
    let mut command = Cmd::new("bash").args([scripts().join(name)]);
    for (name, value) in places() {
        command = command.env(name, value);
    }
    command
}

fn scripts() -> PathBuf {
    shell::root().join("end2end/cluster")
}

/// What the scripts are told.
fn places() -> [(&'static str, OsString); 3] {
    [("FSA_CLUSTER_DIR", place().into()), ("FSA_CLUSTER_NETNS", "fsa-test".into()), ("FSA_IMAGES_DIR", image::folder().into())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write as _,
        process::{Child, Command, ExitStatus},
    };

    /// The state that a crash left, in a folder of its own, of a cluster that has a name of its own.
    struct Crash {
        folder: PathBuf,
        netns: String,
    }

    impl Crash {
        fn new(name: &str) -> Self {
            let name = format!("fsa-xtask-{name}-{}", std::process::id());
            let folder = env::temp_dir().join(&name);
            fs::create_dir_all(folder.join("run/pids")).unwrap();
            Self { folder, netns: name }
        }

        fn run(&self) -> PathBuf {
            self.folder.join("run")
        }

        fn leave(&self, path: &str, content: &str) -> PathBuf {
            let path = self.run().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        }

        fn down(&self, arguments: &[&str]) -> ExitStatus {
            let script = shell::root().join("end2end/cluster/down.sh");
            Command::new("bash")
                .arg(script)
                .args(arguments)
                .env("FSA_CLUSTER_DIR", &self.folder)
                .env("FSA_CLUSTER_NETNS", &self.netns)
                .env_remove("FSA_LOCKED")
                .stdin(Stdio::null())
                .status()
                .unwrap()
        }
    }

    impl Drop for Crash {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
    }

    /// When a process was started, as the scripts note it.
    fn born(pid: u32) -> String {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned()
    }

    fn mounts(below: &Path) -> usize {
        let below = format!("{}/", below.display());
        let all = fs::read_to_string("/proc/mounts").unwrap();
        all.lines().filter(|line| line.split(' ').nth(1).is_some_and(|at| at.starts_with(&below))).count()
    }

    /// `ahead.sh` beside a build of our own, and where that leaves its mark.
    fn ahead_of(name: &str, build: &str) -> (Ahead, PathBuf) {
        let folder = env::temp_dir().join(format!("fsa-xtask-ahead-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(scripts().join("ahead.sh"), folder.join("ahead.sh")).unwrap();
        fs::write(folder.join("build.sh"), build).unwrap();
        (Ahead::begin_in(&folder.join("on a new machine"), &folder.join("ahead.sh")).unwrap(), folder)
    }

    #[test]
    fn what_is_built_ahead_is_waited_for_and_gives_way_to_others() {
        let (ahead, folder) =
            ahead_of("waits", "nice > \"$(dirname \"$0\")/nice\"; sleep 0.3; touch \"$(dirname \"$0\")/built\"");
        ahead.wait();
        assert!(folder.join("built").exists());
        assert_eq!(fs::read_to_string(folder.join("nice")).unwrap(), "19\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_built_ahead_ends_with_who_began_it() {
        let (mut ahead, folder) = ahead_of("ends", "sleep 3; touch \"$(dirname \"$0\")/built\"");
        drop(ahead.build.stdin.take());
        let status = ahead.build.wait().unwrap();
        assert!(!status.success(), "{status}");
        std::thread::sleep(std::time::Duration::from_secs(4));
        assert!(!folder.join("built").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_noted_is_ended_and_nobody_who_has_its_number_now() {
        let crash = Crash::new("pids");
        let (mut stranger, mut own) = (sleeper(), sleeper());
        let (others, ours) = (stranger.id(), own.id());
        // Since then the machine was started anew, or has counted its processes round.
        let notes = [
            crash.leave("pids/etcd", &format!("{others} 1\n")),
            crash.leave("pids/kubelet", &format!("{others}\n")),
            crash.leave("pids/apiserver", "\n"),
            crash.leave("pids/scheduler", "nonsense here\n"),
            crash.leave("pids/coredns", &format!("{ours} {}\n", born(ours))),
        ];
        // Whoever started it would wait for it: here that is this test.
        let ended = std::thread::spawn(move || own.wait().unwrap());
        assert!(crash.down(&[]).success());
        assert!(stranger.try_wait().unwrap().is_none(), "a process of somebody else's was ended");
        assert!(!ended.join().unwrap().success(), "ours was ended");
        for note in notes {
            assert!(!note.exists(), "{}", note.display());
        }
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn what_runs_no_more_leaves_no_state_and_what_is_in_the_cluster_stays() {
        let crash = Crash::new("state");
        let socket = crash.folder.join("shim.sock");
        fs::write(&socket, "").unwrap();
        let task = "containerd/state/io.containerd.runtime.v2.task/k8s.io/abc";
        let gone = [
            crash.leave(&format!("{task}/address"), &format!("unix://{}", socket.display())),
            crash.leave("containerd/state/other", ""),
            crash.leave("runc/abc/state.json", "{}"),
            crash.leave("ipam/pods/10.42.0.2", "abc"),
            crash.leave("containerd.sock", ""),
            crash.leave("containerd.sock.ttrpc", ""),
            socket,
        ];
        let kept = [
            crash.leave("etcd/member/wal", ""),
            crash.leave("pki/ca.crt", ""),
            crash.leave("volumes/home/notes.txt", "by hand"),
            crash.leave("containerd/root/blob", ""),
        ];
        // Twice: an `up` begins with it.
        for _ in 0..2 {
            assert!(crash.down(&[]).success());
            for path in &gone {
                assert!(!path.exists(), "{}", path.display());
            }
            for path in &kept {
                assert!(path.exists(), "{}", path.display());
            }
        }
        assert!(crash.down(&["--purge"]).success());
        assert!(!crash.run().exists(), "what is in it is forgotten");
        assert!(crash.down(&[]).success(), "and there is nothing to clean up");
    }

    #[test]
    fn mounts_and_the_network_that_are_left_go() {
        if !shell::is_root() {
            // Past what the test runner keeps of a test that passes, so that it counts as skipped.
            let _ = std::io::stdout().write_all(b"\nskipped: mounts and network namespaces take root\n");
            return;
        }
        let crash = Crash::new("mounts");
        let quiet = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let (state, netns) = (crash.run().join("containerd/state/rootfs"), crash.netns.as_str());
        fs::create_dir_all(&state).unwrap();
        let at = state.display().to_string();
        // One over the other, as of a container in a volume.
        let mounted = (0..2).filter(|_| quiet("mount", &["-t", "tmpfs", "tmpfs", &at])).count();
        let made = quiet("ip", &["netns", "add", netns]);
        let down = crash.down(&["--purge"]);
        let (left, there) = (mounts(&crash.run()), Path::new("/var/run/netns").join(netns).exists());
        assert!(down.success() && left == 0 && !there, "{left} mounts, and the namespace: {there}");
        assert!(!crash.run().exists(), "nothing that is mounted was in the way");
        if mounted < 2 || !made {
            println!("skipped in part: this root may not mount ({mounted} of 2) or make a network namespace ({made})");
        }
    }
}
