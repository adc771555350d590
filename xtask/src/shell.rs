//! Where things are, and how other programs are run.

use anyhow::{Context as _, Result, bail};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// `$XDG_CACHE_HOME/fullstack-agent`, or `~/.cache/fullstack-agent`.
pub fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        home.join(".cache")
    });
    base.join("fullstack-agent")
}

/// One target folder for every build of this machine: `$FSA_TARGET_DIR`, or in [`cache`].
pub fn target() -> PathBuf {
    std::env::var_os("FSA_TARGET_DIR").map_or_else(|| cache().join("target"), PathBuf::from)
}

/// Tells the one who waits what is being done. On standard error: standard output is for results.
pub fn say(text: impl AsRef<str>) {
    eprintln!("\x1b[1m▸\x1b[0m {}", text.as_ref());
}

/// Whether this process is the machine's root.
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.starts_with(b"0\n"))
}

/// Whether a program is on the PATH.
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// cargo, with the one target folder.
pub fn cargo(args: &[&str]) -> Cmd {
    // Not $CARGO: that is the proxied toolchain's own binary, which does not understand `+debian`.
    Cmd::new("cargo").args(args).env("CARGO_TARGET_DIR", target()).without("CARGO").without("RUSTUP_TOOLCHAIN").dir(&root())
}

/// A program to run, whose failure is told with its name.
pub struct Cmd {
    command: Command,
    shown: String,
}

impl Cmd {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let shown = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, shown }
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it prints goes to our standard error.
    pub fn run(mut self) -> Result<()> {
        self.command.stdout(std::io::stderr());
        let status = self.command.status().with_context(|| format!("start `{}`", self.shown))?;
        if status.success() { Ok(()) } else { bail!("`{}` failed with {status}", self.shown) }
    }

    /// Its standard output.
    pub fn read(mut self) -> Result<String> {
        let out = self.command.stderr(Stdio::inherit()).output().with_context(|| format!("start `{}`", self.shown))?;
        if !out.status.success() {
            bail!("`{}` failed with {}", self.shown, out.status);
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Whether it ends well; prints nothing.
    pub fn quiet(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// The command itself, for those who watch it.
    pub fn into_inner(self) -> Command {
        self.command
    }
}
