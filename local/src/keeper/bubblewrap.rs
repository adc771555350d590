//! The arguments of bubblewrap: from a configuration to what the inside looks like. Pure but for
//! looking which of the machine's folders exist.

use super::{
    egress::address,
    protocol::{Config, WayOut},
};
use std::{
    ffi::OsString,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

/// Where the home folder is, inside.
pub const HOME: &str = "/home/agent";
/// Where our own programs are, inside.
pub const OURS: &str = "/opt/fsa";
/// Where Claude Code is, inside.
pub const CLAUDE: &str = "/opt/claude";

/// Descriptors that bubblewrap inherits.
#[derive(Debug, Clone)]
pub struct Descriptors {
    /// Where it tells the pid of the first process and how that ended.
    pub status: RawFd,
    /// What it waits for before it starts anything.
    pub block: RawFd,
    /// The seccomp filter.
    pub seccomp: RawFd,
    /// The agent's listening socket.
    pub listen: RawFd,
    /// The agent's token.
    pub token: RawFd,
    /// Files made up for the inside: mode, descriptor, path.
    pub files: Vec<(&'static str, RawFd, String)>,
}

/// Of the machine's `/etc`, what programs need: which editor `vi` is, whom TLS trusts, where libraries
/// are. Nothing that names the machine's users or holds a secret.
const ETC: &[&str] = &[
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mailcap",
    "mime.types",
    "nanorc",
    "os-release",
    "perl",
    "pki",
    "profile.d",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "rpc",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "vim",
    "xdg",
];

/// What is told on the command line, where anyone may read it: what to run, and that all else comes by
/// a descriptor.
#[must_use]
pub fn command(config: &Config, arguments: RawFd, fds: &Descriptors, way_out: WayOut) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.with("--args", arguments).flags(&["--", &format!("{OURS}/sandbox-agent")]);
    let own = (way_out == WayOut::Proxy).then_some(address::PROXY_PORT);
    args.0.extend(agent_arguments(config, HOME, fds.listen, fds.token, own));
    args.0
}

/// The arguments that come by the descriptor. They hold the variables, which are secret.
#[must_use]
pub fn arguments(config: &Config, env: &[(String, String)], fds: &Descriptors) -> Vec<OsString> {
    let mut args = Arguments::default();
    // Namespaces. `--disable-userns` wants `--unshare-user` said explicitly.
    args.flags(&["--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1", "--new-session", "--die-with-parent"]);
    args.with("--uid", "1000").with("--gid", "1000").with("--cap-drop", "ALL").with("--hostname", &config.name);
    args.flags(&["--clearenv"]);
    for (key, value) in env {
        args.three("--setenv", key, value);
    }
    args.with("--json-status-fd", fds.status).with("--block-fd", fds.block).with("--seccomp", fds.seccomp);
    programs(&mut args);
    args.with("--perms", "0755").with("--dir", "/etc");
    for name in ETC {
        let path = format!("/etc/{name}");
        if Path::new(&path).exists() {
            args.three("--ro-bind", &path, &path);
        }
    }
    for (mode, fd, path) in &fds.files {
        args.with("--perms", *mode).three("--file", fd, path);
    }
    args.with("--proc", "/proc").with("--dev", "/dev");
    // What of it belongs to the sandbox's own namespaces could be written. Nothing in there needs to.
    args.three("--ro-bind", "/proc/sys", "/proc/sys");
    for folder in ["/tmp", "/var/tmp"] {
        // In memory, and so counted against the sandbox's.
        args.with("--perms", "1777").with("--size", config.resources.limit_memory_bytes).with("--tmpfs", folder);
    }
    args.with("--perms", "0755").with("--size", 16 << 20).with("--tmpfs", "/run");
    args.three("--bind", &config.home, HOME);
    args.three("--ro-bind", &config.agent, format!("{OURS}/sandbox-agent"));
    if let Some(claude) = &config.claude {
        args.three("--ro-bind", claude, CLAUDE);
    }
    args.with("--remount-ro", "/").with("--chdir", HOME);
    args.0
}

/// The agent's own arguments. `own` is a port that we listen on inside, and that is no preview.
#[must_use]
pub fn agent_arguments(config: &Config, home: &str, listen: RawFd, token: RawFd, own: Option<u16>) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.with("--listen-fd", listen).with("--token-fd", token).with("--home", home);
    args.with("--disk-limit-bytes", config.resources.disk_bytes);
    if let Some(port) = own {
        args.with("--own-port", u64::from(port));
    }
    args.0
}

/// `/usr`, and the folders that lie in it or beside it.
fn programs(args: &mut Arguments) {
    args.three("--ro-bind", "/usr", "/usr");
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let path = PathBuf::from("/").join(name);
        match std::fs::read_link(&path) {
            Ok(target) => args.three("--symlink", target, path),
            Err(_) if path.is_dir() => args.three("--ro-bind", &path, &path),
            Err(_) => args,
        };
    }
    for path in ["/nix/store", "/opt/homebrew", "/home/linuxbrew/.linuxbrew"] {
        if Path::new(path).is_dir() {
            args.three("--ro-bind", path, path);
        }
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flags(&mut self, flags: &[&str]) -> &mut Self {
        self.0.extend(flags.iter().map(|flag| OsString::from(*flag)));
        self
    }

    fn with(&mut self, flag: &str, value: impl Word) -> &mut Self {
        self.0.extend([flag.into(), value.word()]);
        self
    }

    fn three(&mut self, flag: &str, first: impl Word, second: impl Word) -> &mut Self {
        self.0.extend([flag.into(), first.word(), second.word()]);
        self
    }
}

trait Word {
    fn word(&self) -> OsString;
}

macro_rules! words {
    ($($type:ty),*) => { $(impl Word for $type { fn word(&self) -> OsString { self.to_string().into() } })* };
}
words!(str, String, i32, u64);

impl Word for PathBuf {
    fn word(&self) -> OsString {
        self.clone().into_os_string()
    }
}

impl<T: Word + ?Sized> Word for &T {
    fn word(&self) -> OsString {
        (**self).word()
    }
}
