//! The data folder: where it is, who may enter it, and that one control plane uses it at a time.
//!
//! ```text
//! DATA/lock                      held by the control plane; holds its pid
//! DATA/sandboxes/ID/             0700
//!        about.json              whose it is; no secrets
//!        keeper.lock keeper.sock agent.sock
//!        keeper.log sandbox.log
//!        ends.jsonl              how its runs ended
//! DATA/volumes/NAME/volume.json  its host uid and its sandbox
//!        home/                   the project's home folder
//! DATA/programs/                 the agent (and Claude Code) as sandboxes see them
//! DATA/trash/                    what is being removed
//! DATA/postgres/                 the embedded PostgreSQL
//! ```

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FlockOperation,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Why a folder cannot be the data folder.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Another control plane holds its lock.
    #[error(
        "The data folder {path} is in use by process {pid}. Stop that server first (`fullstack-agent down` ends its sandboxes too), \
         or start this one with another folder: `--data-dir FOLDER`."
    )]
    InUse {
        /// Which folder.
        path: PathBuf,
        /// Who uses it, as far as is known.
        pid: String,
    },
    /// It belongs to somebody else.
    #[error(
        "The data folder {path} belongs to user {owner}, and this is user {own}. Run as that user, or choose another folder: `--data-dir FOLDER`."
    )]
    NotOurs {
        /// Which folder.
        path: PathBuf,
        /// Its owner's uid.
        owner: u32,
        /// The caller's uid.
        own: u32,
    },
    /// It is there and is no folder.
    #[error("{0} is not a folder. Choose another data folder: `--data-dir FOLDER`.")]
    NotAFolder(PathBuf),
    /// Somebody on the way to it lets nobody in.
    #[error(
        "Sandboxes run as users of their own, and {closed} lets no other user through, so they cannot reach {path}. Choose a data folder \
         that they can reach, such as the default /var/lib/fullstack-agent, or `chmod o+x {closed}`."
    )]
    Unreachable {
        /// Which folder.
        path: PathBuf,
        /// Which of its parents is in the way.
        closed: PathBuf,
    },
    /// Who holds its lock was told to end, and did not.
    #[error(
        "The server of the data folder {path}, process {pid}, does not end. End it by hand (`kill -9 {pid}`), and try again."
    )]
    DoesNotEnd {
        /// Which folder.
        path: PathBuf,
        /// Who uses it.
        pid: i32,
    },
    /// Anything else.
    #[error(
        "The data folder {path} cannot be used: {source}. Make it writable for this user, or choose another: `--data-dir FOLDER`."
    )]
    Io {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The data folder, locked for as long as this value lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

/// How long a lock may stay that nobody holds: one who was killed as it started a program leaves it to that, until it is one.
const LET_GO: Duration = Duration::from_secs(2);

/// Whether the process that noted itself in the lock is there no more.
fn has_ended(pid: &str) -> bool {
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

impl DataFolder {
    /// Where it is unless the operator says otherwise: as root `/var/lib/fullstack-agent` (another
    /// user cannot enter `/root`), else `$XDG_DATA_HOME/fullstack-agent`, `~/.local/share/…`.
    #[must_use]
    pub fn default_path() -> PathBuf {
        if rustix::process::geteuid().is_root() {
            return "/var/lib/fullstack-agent".into();
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .unwrap_or_else(std::env::temp_dir)
            .join("fullstack-agent")
    }

    /// Makes the folder if it is not there, checks that it is ours, and takes its lock.
    ///
    /// Its mode becomes 0700; as root 0711, since sandboxes run as users of their own and must pass
    /// through it (each folder below says for itself who may enter).
    ///
    /// # Errors
    /// Each with a sentence that says what to do.
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        let failed = |source| DataFolderError::Io { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(failed)?;
        let failed = |source| DataFolderError::Io { path: path.clone(), source };
        let root = rustix::process::geteuid().is_root();
        match fs::metadata(&path) {
            Ok(found) if !found.is_dir() => return Err(DataFolderError::NotAFolder(path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(failed)?;
                }
                fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let (owner, own) = (fs::metadata(&path).map_err(failed)?.uid(), rustix::process::geteuid().as_raw());
        if owner != own {
            return Err(DataFolderError::NotOurs { path, owner, own });
        }
        let mode = if root { 0o711 } else { 0o700 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        if root && let Some(closed) = closed_parent(&path) {
            return Err(DataFolderError::Unreachable { path, closed });
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        let until = Instant::now() + LET_GO;
        while rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = lock.rewind().and_then(|()| lock.read_to_string(&mut pid));
            if Instant::now() >= until || !has_ended(&pid) {
                let pid = if pid.trim().is_empty() { "?".to_owned() } else { pid.trim().to_owned() };
                return Err(DataFolderError::InUse { path, pid });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let write = |mut lock: &File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write(&lock).map_err(failed)?;
        for (name, mode) in [("sandboxes", 0o700), ("volumes", 0o711), ("programs", 0o711), ("trash", 0o700)] {
            folder(&path.join(name), mode).map_err(failed)?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Ends the control plane that holds a data folder's lock, as SIGTERM does: its sandboxes and PostgreSQL go on. Answers its pid, if
/// there was one. May take as long as `patience`.
///
/// # Errors
/// [`DataFolderError::InUse`] where it cannot be told who holds it, or it may not be signalled; [`DataFolderError::DoesNotEnd`].
pub fn end_holder(path: &Path, patience: Duration) -> Result<Option<i32>, DataFolderError> {
    let failed = |source| DataFolderError::Io { path: path.to_owned(), source };
    let place = path.join("lock");
    let mut lock = match File::open(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock.map_err(failed)?,
    };
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(None);
    }
    let mut text = String::new();
    lock.read_to_string(&mut text).map_err(failed)?;
    let unknown = || DataFolderError::InUse { path: path.to_owned(), pid: text.trim().to_owned() };
    let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(unknown)?;
    let number = pid.as_raw_nonzero().get();
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| unknown())?;
    // In another namespace that number may be somebody else's: who holds the lock has it open.
    let about = lock.metadata().map_err(failed)?;
    let holds = fs::read_dir(format!("/proc/{number}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|fd| fs::metadata(fd.path()).is_ok_and(|open| (open.dev(), open.ino()) == (about.dev(), about.ino())));
    if !holds || pidfd_send_signal(&process, Signal::TERM).is_err() {
        return Err(unknown());
    }
    let limit = Timespec::try_from(patience).ok();
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], limit.as_ref()) {
        Ok(1..) => Ok(Some(number)),
        _ => Err(DataFolderError::DoesNotEnd { path: path.to_owned(), pid: number }),
    }
}

/// Makes a folder of that mode, or gives the one that is there that mode.
pub(crate) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The same for a folder in a place where others may write, such as `/tmp`: what lies there already is ours or `theirs` and no link, or it is
/// refused. It belongs to `theirs`, where that is said, afterwards.
pub(crate) fn private_folder(path: &Path, theirs: Option<(u32, u32)>) -> io::Result<()> {
    use rustix::fs::{Gid, Mode, OFlags, Uid};
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // What is changed is what was looked at: everything goes by one descriptor.
    let folder = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let owner = rustix::fs::fstat(&folder)?.st_uid;
    if owner != rustix::process::geteuid().as_raw() && theirs.is_none_or(|(uid, _)| uid != owner) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it belongs to user {owner}")));
    }
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    if let Some((uid, gid)) = theirs {
        rustix::fs::fchown(&folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}

/// Opens a file in a folder of another user's, who may have put anything there: neither a link, which would lead elsewhere, nor a
/// pipe, at which one waits; and to write, none that has another name as well.
///
/// # Errors
/// It is something else, or cannot be opened.
pub(crate) fn open_plain(path: &Path, how: rustix::fs::OFlags) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    let writes = how.intersects(OFlags::WRONLY | OFlags::RDWR);
    match about.nlink() {
        names if about.is_file() && (names == 1 || (names > 1 && !writes)) => Ok(file),
        // It was removed meanwhile.
        0 => Err(io::ErrorKind::NotFound.into()),
        _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is a folder, a device, or has another name as well")),
    }
}

/// The text of such a file.
///
/// # Errors
/// As [`open_plain`]; it is no text.
pub(crate) fn read_plain(path: &Path) -> io::Result<String> {
    io::read_to_string(open_plain(path, rustix::fs::OFlags::RDONLY)?)
}

/// The first folder on the way to `path`, itself included, that other users cannot pass through.
pub(crate) fn closed_parent(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    let mut on_the_way: Vec<_> = real.ancestors().collect();
    on_the_way.reverse();
    on_the_way
        .into_iter()
        .find(|folder| fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.mode() & 0o001 == 0))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_among_anothers_is_opened_where_it_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, other] = ["file", "link", "other"].map(|name| folder.path().join(name));
        fs::write(&file, "text").unwrap();
        assert_eq!(read_plain(&file).unwrap(), "text");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        read_plain(&link).unwrap_err();
        assert_eq!(read_plain(&other).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::hard_link(&file, &other).unwrap();
        assert_eq!(read_plain(&file).unwrap(), "text");
        let refused = open_plain(&file, rustix::fs::OFlags::RDWR).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        read_plain(folder.path()).unwrap_err();
    }

    #[test]
    fn a_lock_that_a_killed_one_left_is_waited_for_and_one_that_is_held_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        let begun = Instant::now();
        let Err(DataFolderError::InUse { pid, .. }) = DataFolder::open(folder.path()) else { panic!("it is in use") };
        assert_eq!(pid, std::process::id().to_string());
        assert!(begun.elapsed() < LET_GO, "who lives is not waited for");

        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        fs::write(folder.path().join("lock"), format!("{}\n", ended.id())).unwrap();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(first);
        });
        DataFolder::open(folder.path()).unwrap();
        later.join().unwrap();
    }

    #[test]
    fn a_private_folder_is_ours_and_no_link() {
        let parent = tempfile::tempdir().unwrap();
        let made = parent.path().join("made");
        private_folder(&made, None).unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o777)).unwrap();
        private_folder(&made, None).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o700);

        // As somebody might put there before us.
        let elsewhere = parent.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        private_folder(&link, None).unwrap_err();
        assert_eq!(fs::metadata(&elsewhere).unwrap().mode() & 0o7777, 0o755, "nothing was changed through the link");
        fs::write(parent.path().join("file"), "").unwrap();
        private_folder(&parent.path().join("file"), None).unwrap_err();
        if rustix::process::geteuid().is_root() {
            let theirs = parent.path().join("theirs");
            fs::create_dir(&theirs).unwrap();
            std::os::unix::fs::chown(&theirs, Some(12_345), None).unwrap();
            assert!(private_folder(&theirs, None).unwrap_err().to_string().contains("12345"));
            private_folder(&theirs, Some((12_345, 12_345))).unwrap();
        }
    }
}
