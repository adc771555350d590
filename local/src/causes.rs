//! What can stand in the way of a sandbox on one machine, in words for the person who must mend it.

use model::{Cause, CauseCode};
use std::path::Path;

/// bubblewrap is not there.
#[must_use]
pub fn isolation_missing() -> Cause {
    Cause::new(
        CauseCode::IsolationMissing,
        "bubblewrap, which isolates sandboxes from this machine, is not installed.",
        &[
            install_line(),
            "Or start the server with --insecure-no-isolation, if everyone who uses it may read and change what its user can.",
        ],
    )
}

/// bubblewrap is there and the kernel refuses it.
#[must_use]
pub fn isolation_refused(detail: &str) -> Cause {
    Cause::new(
        CauseCode::IsolationRefused,
        "The kernel refused bubblewrap the namespaces that isolate a sandbox.",
        &[
            mend_line(),
            "In a container: start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined.",
            "Or start the server with --insecure-no-isolation, if everyone who uses it may read and change what its user can.",
        ],
    )
    .with_detail(detail)
}

/// The agent cannot be run.
#[must_use]
pub fn agent_missing(detail: &str) -> Cause {
    Cause::new(
        CauseCode::AgentMissing,
        "The sandbox agent's program is missing, or cannot be run here.",
        &["Build it with `cargo xtask build`, or name it with --agent FILE."],
    )
    .with_detail(detail)
}

/// The volume cannot be made.
#[must_use]
pub fn volume_failed(error: &anyhow::Error) -> Cause {
    if is_full(error) {
        return disk_full(&format!("{error:#}"));
    }
    Cause::new(
        CauseCode::VolumeFailed,
        "The project's home folder could not be made or read.",
        &["Look at the data folder: it must be writable for the server's user.", "Start the sandbox again afterwards."],
    )
    .with_detail(format!("{error:#}"))
}

/// Whether something could not be written for want of room.
fn is_full(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull))
}

/// Nothing can be written any more.
#[must_use]
pub fn disk_full(detail: &str) -> Cause {
    Cause::new(
        CauseCode::DiskFull,
        "The machine's disk is full.",
        &["Free some space on the disk of the data folder.", "Start the sandbox again afterwards."],
    )
    .with_detail(detail)
}

/// No host uid is left, or no process can be started.
#[must_use]
pub fn machine_exhausted(detail: &str) -> Cause {
    Cause::new(
        CauseCode::MachineExhausted,
        "The machine has no host uid, process or open file left for another sandbox.",
        &["Delete projects that are not needed.", "Or give more host uids: --uid-range FIRST-LAST."],
    )
    .with_detail(detail)
}

/// The keeper could not be started or was lost.
#[must_use]
pub fn keeper_failed(detail: &str) -> Cause {
    Cause::new(
        CauseCode::KeeperFailed,
        "The process that keeps the sandbox could not be started.",
        &["It is tried again by itself.", "Look at keeper.log in the sandbox's folder if it stays like this."],
    )
    .with_detail(detail)
}

/// The keeper runs and says nothing.
#[must_use]
pub fn keeper_silent() -> Cause {
    Cause::new(
        CauseCode::KeeperFailed,
        "The process that keeps the sandbox does not answer, so that the sandbox has neither network nor database.",
        &[
            "Wait: it goes on by itself once that process does. It may have been stopped, by a debugger or SIGSTOP.",
            "Or restart the sandbox, which ends what hangs.",
        ],
    )
}

/// The process that keeps the sandbox lives, and takes no connections.
#[must_use]
pub fn keeper_unreached() -> Cause {
    Cause::new(
        CauseCode::KeeperFailed,
        "The process that keeps the sandbox takes no connections, so that the sandbox, which may run, can be neither reached nor ended.",
        &["Wait: it is found again by itself once that process goes on. It may have been stopped, by a debugger or SIGSTOP."],
    )
}

/// Why a keeper could not be started, which may be a disk that is full.
#[must_use]
pub fn start_failed(error: &anyhow::Error) -> Cause {
    let detail = format!("{error:#}");
    if is_full(error) { disk_full(&detail) } else { keeper_failed(&detail) }
}

/// There is no way in or out.
#[must_use]
pub fn network_failed(detail: &str) -> Cause {
    Cause::new(
        CauseCode::NetworkFailed,
        "The sandbox's network could not be set up.",
        &["Let the server's user open /dev/net/tun: `sudo chmod 0666 /dev/net/tun`.", "Restart the sandbox afterwards."],
    )
    .with_detail(detail)
}

/// The kernel killed for want of memory.
#[must_use]
pub fn out_of_memory(limit_bytes: u64, whole: bool) -> Cause {
    let mib = limit_bytes >> 20;
    let what = if whole { "The sandbox was ended" } else { "A process in the sandbox was ended" };
    Cause::new(
        CauseCode::OutOfMemory,
        format!("{what} by the kernel, because the sandbox had used all of its {mib} MiB of memory."),
        &["Use a larger size for the sandbox.", "Or run less in it at a time."],
    )
}

/// It ended and nobody had asked for it.
#[must_use]
pub fn ended(code: Option<i32>, log: &str) -> Cause {
    let how = match code {
        Some(code @ 129..) => format!("signal {}", code - 128),
        Some(code) => format!("exit code {code}"),
        None => "no exit code".to_owned(),
    };
    Cause::new(
        CauseCode::EndedUnexpectedly,
        format!("The sandbox ended by itself, with {how}."),
        &["It is started again by itself; files and database are kept.", "Look at its log if it ends again."],
    )
    .with_detail(log.trim())
}

/// Somebody else's sandbox has this place.
#[must_use]
pub fn name_taken(what: &str) -> Cause {
    Cause::new(
        CauseCode::NameTaken,
        format!("{what} belongs to another installation."),
        &["Give this server a data folder of its own: --data-dir FOLDER."],
    )
}

/// From what bubblewrap or the agent wrote on their way out.
#[must_use]
pub fn of_start(log: &str) -> Option<Cause> {
    let complaint = log.lines().rev().find(|line| line.starts_with("bwrap: "))?;
    let has = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    if has(&["No space left on device"]) {
        return Some(disk_full(complaint));
    }
    if has(&["execvp", "sandbox-agent"]) {
        return Some(agent_missing(complaint));
    }
    if has(&["home/agent", "/volumes/"]) {
        return Some(volume_failed(&anyhow::anyhow!("{complaint}")));
    }
    if has(&["namespace", "uid map", "gid map", "loopback", "Operation not permitted", "mount"]) {
        return Some(isolation_refused(complaint));
    }
    if has(&["Resource temporarily unavailable", "Cannot allocate memory", "Too many open files"]) {
        return Some(machine_exhausted(complaint));
    }
    None
}

/// One line that installs bubblewrap, for the distribution that this seems to be.
fn install_line() -> &'static str {
    let programs = [
        ("/usr/bin/apt-get", "Install it: `sudo apt-get install -y bubblewrap`."),
        ("/usr/bin/dnf", "Install it: `sudo dnf install -y bubblewrap`."),
        ("/usr/bin/pacman", "Install it: `sudo pacman -S bubblewrap`."),
        ("/sbin/apk", "Install it: `sudo apk add bubblewrap`."),
        ("/usr/bin/zypper", "Install it: `sudo zypper install bubblewrap`."),
    ];
    programs.iter().find(|(program, _)| Path::new(program).exists()).map_or("Install the package bubblewrap.", |(_, line)| line)
}

/// One line that lets the kernel give namespaces, by the switch that seems to be off.
fn mend_line() -> &'static str {
    let off = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    let on = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    if off("/proc/sys/kernel/unprivileged_userns_clone") {
        "Allow user namespaces: `sudo sysctl -w kernel.unprivileged_userns_clone=1` (and keep it in /etc/sysctl.d)."
    } else if off("/proc/sys/user/max_user_namespaces") {
        "Allow user namespaces: `sudo sysctl -w user.max_user_namespaces=15000` (and keep it in /etc/sysctl.d)."
    } else if on("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") {
        "Allow user namespaces: `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (and keep it in /etc/sysctl.d)."
    } else {
        "Allow user namespaces: `sudo sysctl -w user.max_user_namespaces=15000`."
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use std::io;

    #[test]
    fn a_disk_that_is_full_is_told_as_such_wherever_it_stops_a_start() {
        let error = |kind: io::ErrorKind| Err::<(), _>(io::Error::from(kind)).context("describe the sandbox").unwrap_err();
        assert_eq!(start_failed(&error(io::ErrorKind::StorageFull)).code, CauseCode::DiskFull);
        assert_eq!(volume_failed(&error(io::ErrorKind::StorageFull)).code, CauseCode::DiskFull);
        assert_eq!(start_failed(&error(io::ErrorKind::PermissionDenied)).code, CauseCode::KeeperFailed);
        assert_eq!(volume_failed(&error(io::ErrorKind::PermissionDenied)).code, CauseCode::VolumeFailed);
    }
}
