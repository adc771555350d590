//! What is looked at before the first sandbox is started, so that the operator reads it at start and
//! not a user later.

use crate::{causes, settings::LocalSettings};
use model::Cause;
use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Whether sandboxes get namespaces of their own: wherever the machine gives them, whatever the operator would go on without.
    pub isolated: bool,
    /// Without a mend for this no sandbox will start. The server starts all the same, and says it.
    pub blocking: Option<Cause>,
    /// What is true of the whole installation and should be on every page.
    pub notices: Vec<String>,
}

/// Looks. Takes some ten milliseconds.
#[must_use]
pub fn look(settings: &LocalSettings) -> Findings {
    let mut found = Findings::default();
    match isolation(settings) {
        Ok(()) => found.isolated = true,
        Err(_) if settings.insecure_no_isolation => found.notices.push(
            "No isolation: sandboxes run as plain processes of this machine (--insecure-no-isolation). Everything in them can read and \
             change what the server's user can."
                .to_owned(),
        ),
        Err(cause) => found.blocking = Some(cause),
    }
    if !settings.agent_binary.is_file() && found.blocking.is_none() {
        found.blocking = Some(causes::agent_missing(&format!("{} is not there", settings.agent_binary.display())));
    }
    if found.isolated && std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_err() {
        found.notices.push(
            "/dev/net/tun cannot be opened, so sandboxes reach the internet through an HTTP proxy only: git over https, npm, pip and curl \
             work; Node's own fetch, databases elsewhere and ssh do not. `sudo chmod 0666 /dev/net/tun` mends it for new starts."
                .to_owned(),
        );
    }
    if !crate::keeper::limits_available() {
        found.notices.push(
            "No cgroup can be made here and there is no systemd for this user, so the memory and CPU of sandboxes are not limited."
                .to_owned(),
        );
    }
    found
}

/// Starts an empty sandbox the way that real ones are.
pub(crate) fn isolation(settings: &LocalSettings) -> Result<(), Cause> {
    let mut command = Command::new(&settings.bubblewrap);
    command.args(["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--uid", "1000", "--gid", "1000"]);
    command.args(["--cap-drop", "ALL", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(*settings.uid_range.start()).gid(*settings.uid_range.start());
    }
    let mut last = String::new();
    // Once in a thousand starts the loopback fails.
    for _ in 0..3 {
        match command.output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => last = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(causes::isolation_missing()),
            Err(error) => return Err(causes::machine_exhausted(&error.to_string())),
        }
        if !last.contains("RTM_NEWADDR") {
            break;
        }
    }
    Err(causes::isolation_refused(&last))
}
