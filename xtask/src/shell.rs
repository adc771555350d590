//! Where things are, how other programs are run, and what those see of our environment.

use anyhow::{Context as _, Result, bail};
use std::{
    env,
    ffi::{OsStr, OsString},
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// The checkout: cargo says at run time where the package is that it runs. What it said as this was compiled may be
/// another checkout's, since those share a target folder (`sources`).
pub fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().unwrap_or(Path::new(".")).to_owned()
}

/// `$XDG_CACHE_HOME/fullstack-agent`, or `~/.cache/fullstack-agent`.
pub fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute()).unwrap_or_else(|| {
        let home = env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        home.join(".cache")
    });
    base.join("fullstack-agent")
}

/// One target folder for every build of this machine: `$FSA_TARGET_DIR`, or in [`cache`].
pub fn target() -> PathBuf {
    let chosen = env::var_os("FSA_TARGET_DIR").filter(|dir| !dir.is_empty());
    let chosen = chosen.map_or_else(|| cache().join("target"), PathBuf::from);
    // Programs are started in other folders than this one.
    std::path::absolute(&chosen).unwrap_or(chosen)
}

/// Tells the one who waits what is being done. On standard error: standard output is for results.
pub fn say(text: impl AsRef<str>) {
    if std::io::stderr().is_terminal() && !is_ci() && env::var_os("NO_COLOR").is_none() {
        eprintln!("\x1b[1m▸\x1b[0m {}", text.as_ref());
    } else {
        eprintln!("▸ {}", text.as_ref());
    }
}

/// Whether a machine reads what is printed.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// Whether this process is the machine's root.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Whether a program is on the PATH.
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// cargo, with the one target folder.
pub fn cargo(args: &[&str]) -> Cmd {
    // By name: $CARGO is the toolchain's own binary, which does not understand `+debian`.
    let cargo = Cmd::new("cargo").args(args).env("CARGO_TARGET_DIR", target()).env("SQLX_OFFLINE", "true").dir(&root());
    if is_ci() { cargo.env("CARGO_TERM_COLOR", "never") } else { cargo }
}

/// Writes so that a reader sees the old file or the new one, and nothing through a hard link.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    std::fs::write(&fresh, content).with_context(|| format!("write {}", path.display()))?;
    std::fs::rename(&fresh, path).with_context(|| format!("put {} in place", path.display()))
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
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_ours_alone)) {
            command.env_remove(name);
        }
        if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
            match library_path(&paths) {
                Some(kept) => command.env("LD_LIBRARY_PATH", kept),
                None => command.env_remove("LD_LIBRARY_PATH"),
            };
        }
        if is_ci() {
            command.env("NO_COLOR", "1").env_remove("FORCE_COLOR");
        }
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

    /// What it prints, standard error last, and how it ended.
    pub fn whole(mut self) -> Result<(ExitStatus, String)> {
        let out = self.command.output().with_context(|| format!("start `{}`", self.shown))?;
        let printed = [out.stdout, out.stderr].concat();
        Ok((out.status, String::from_utf8_lossy(&printed).into_owned()))
    }

    /// Whether it ends well; prints nothing.
    pub fn quiet(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// What it prints goes to our standard error as it comes, and `see` is shown each line.
    pub fn watch(mut self, mut see: impl FnMut(&str)) -> Result<ExitStatus> {
        let mut child = self.command.stdout(Stdio::piped()).spawn().with_context(|| format!("start `{}`", self.shown))?;
        let mut out = BufReader::new(child.stdout.take().context("read what it prints")?);
        let mut line = Vec::new();
        while out.read_until(b'\n', &mut line).with_context(|| format!("read what `{}` prints", self.shown))? > 0 {
            std::io::stderr().write_all(&line)?;
            see(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
        child.wait().with_context(|| format!("wait for `{}`", self.shown))
    }

    /// The command itself, for those who do more with it.
    pub fn into_inner(self) -> Command {
        self.command
    }
}

/// What `cargo run` set for this program alone; and what would lead a build, a test or the server to
/// a database that is not its own: in a sandbox, `DATABASE_URL` is a project's.
fn is_ours_alone(name: &str) -> bool {
    const DATABASE: [&str; 8] =
        ["DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSERVICE"];
    name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || DATABASE.contains(&name)
}

/// Without the folders that rustup and `cargo run` put there for this program.
fn library_path(paths: &OsStr) -> Option<OsString> {
    let own = env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent);
    let kept: Vec<PathBuf> = env::split_paths(paths)
        .filter(|path| !path.as_os_str().is_empty())
        .filter(|path| !path.components().any(|part| part.as_os_str() == "toolchains"))
        .filter(|path| !own.is_some_and(|own| path.starts_with(own)))
        .collect();
    if kept.is_empty() { None } else { env::join_paths(kept).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_s_database_is_hidden_from_what_we_start() {
        for name in ["DATABASE_URL", "PGPASSWORD", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO"] {
            assert!(is_ours_alone(name), "{name}");
        }
        for name in ["FSA_DATABASE_URL", "CARGO_HOME", "CARGO_TERM_COLOR", "PATH"] {
            assert!(!is_ours_alone(name), "{name}");
        }
    }

    #[test]
    fn the_toolchain_s_libraries_are_hidden_and_others_kept() {
        let both = OsStr::new("/home/me/.rustup/toolchains/stable/lib:/opt/lib::");
        assert_eq!(library_path(both), Some("/opt/lib".into()));
        assert_eq!(library_path(OsStr::new("/home/me/.rustup/toolchains/stable/lib")), None);
    }

    #[test]
    fn watching_shows_each_line_and_the_end() {
        let mut seen = Vec::new();
        let shell = Cmd::new("sh").args(["-c", "echo one; printf two; exit 3"]);
        let status = shell.watch(|line| seen.push(line.to_owned())).unwrap();
        assert_eq!((seen, status.code()), (vec!["one".to_owned(), "two".to_owned()], Some(3)));
    }

    /// Not a test by itself: what the next one starts.
    #[test]
    fn runs_a_program_that_prints() {
        if env::var_os("FSA_TEST_PRINTS").is_some() {
            Cmd::new("sh").args(["-c", "echo from-a-program"]).run().unwrap();
        }
    }

    /// Standard output is for results: a script that reads them gets nothing of cargo's or npm's.
    #[test]
    fn what_programs_print_goes_to_standard_error() {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["shell::tests::runs_a_program_that_prints", "--exact", "--nocapture"]).env("FSA_TEST_PRINTS", "1");
        let out = command.output().unwrap();
        let (printed, said) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && said.contains("from-a-program"), "{printed}{said}");
        assert!(!printed.contains("from-a-program"), "{printed}");
    }

    #[test]
    fn a_write_does_not_reach_through_a_hard_link() {
        let folder = env::temp_dir().join(format!("fsa-xtask-write-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (one, two) = (folder.join("one"), folder.join("two"));
        std::fs::write(&one, "old").unwrap();
        std::fs::hard_link(&one, &two).unwrap();
        write(&two, b"new").unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), b"old");
        assert_eq!(std::fs::read(&two).unwrap(), b"new");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
