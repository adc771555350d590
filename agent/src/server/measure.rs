//! How many bytes a home folder takes on its disk, also where somebody would rather not have it known: in folders closed to their own owner, below
//! paths longer than a system call takes, and in files that were deleted and are still open.
//!
//! What is not found: a deleted file that is only mapped or on its way through a socket, or open in a process that made itself untraceable.

use std::{
    collections::HashSet,
    ffi::{CStr, CString},
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmodat, openat, statat},
    io::Errno,
};

use super::procfs;

/// Of a path, in one call. The kernel takes 4095 bytes.
const CALL_BYTES: usize = 3000;

/// Bytes on disk below `root`, on its file system alone; a file with several names counts once.
pub fn used_bytes(root: &Path) -> u64 {
    let Ok(device) = fs::symlink_metadata(root).map(|metadata| metadata.dev()) else { return 0 };
    let mut walk = Walk { device, total: 0, seen: HashSet::new(), opened: Vec::new() };
    walk.all(root.as_os_str().as_bytes().to_vec());
    walk.deleted();
    // The innermost first: on the way to it the others are passed.
    for (path, mode) in std::mem::take(&mut walk.opened).into_iter().rev() {
        let _ = at(&path, |folder, name| chmodat(folder, name, mode, AtFlags::empty()));
    }
    walk.total
}

struct Walk {
    device: u64,
    total: u64,
    /// Files that have several names, or none, by number.
    seen: HashSet<u64>,
    /// Folders that their owner had closed to itself, with the mode that they get back.
    opened: Vec<(Vec<u8>, Mode)>,
}

impl Walk {
    fn all(&mut self, root: Vec<u8>) {
        let mut folders = vec![root];
        while let Some(path) = folders.pop() {
            let Some(folder) = self.open(&path) else { continue };
            let Ok(mut entries) = Dir::read_from(&folder) else { continue };
            while let Some(Ok(entry)) = entries.next() {
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let Ok(about) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                let is_folder = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
                if about.st_dev != self.device || (!is_folder && about.st_nlink > 1 && !self.seen.insert(about.st_ino)) {
                    continue;
                }
                self.total += bytes_of(&about);
                if is_folder {
                    folders.push([path.as_slice(), b"/", name.to_bytes()].concat());
                }
            }
        }
    }

    /// A folder that may be read and passed. One whose owner closed it, as `chmod 000` does, is opened for as long as this takes.
    fn open(&mut self, path: &[u8]) -> Option<OwnedFd> {
        let open = || at(path, |above, name| openat(above, name, FOLDER, Mode::empty()));
        let passable = |folder: &OwnedFd| statat(folder, c".", AtFlags::empty()).is_ok();
        match open() {
            Ok(folder) if passable(&folder) => return Some(folder),
            Ok(_) | Err(Errno::ACCESS) => {}
            Err(_) => return None,
        }
        let about = at(path, |above, name| statat(above, name, AtFlags::SYMLINK_NOFOLLOW)).ok()?;
        if FileType::from_raw_mode(about.st_mode) != FileType::Directory || about.st_dev != self.device {
            return None;
        }
        let mode = Mode::from_raw_mode(about.st_mode);
        at(path, |above, name| chmodat(above, name, mode | Mode::RUSR | Mode::XUSR, AtFlags::empty())).ok()?;
        self.opened.push((path.to_vec(), mode));
        open().ok()
    }

    /// Files without a name that somebody inside holds open.
    fn deleted(&mut self) {
        for process in procfs::descendants() {
            for fd in fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten() {
                let Ok(about) = rustix::fs::stat(fd.path().as_path()) else { continue };
                if about.st_nlink == 0 && about.st_dev == self.device && self.seen.insert(about.st_ino) {
                    self.total += bytes_of(&about);
                }
            }
        }
    }
}

fn bytes_of(about: &Stat) -> u64 {
    u64::try_from(about.st_blocks).unwrap_or(0) * 512
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Does something at a path of any length: all but its end is gone in steps.
fn at<T>(path: &[u8], act: impl FnOnce(rustix::fd::BorrowedFd<'_>, &CStr) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let name = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::INVAL);
    let mut above: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > CALL_BYTES {
        let cut = rest[..CALL_BYTES].iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0).ok_or(Errno::NAMETOOLONG)?;
        let step = name(&rest[..cut])?;
        above = Some(match &above {
            Some(folder) => openat(folder, step.as_c_str(), STEP, Mode::empty())?,
            None => openat(CWD, step.as_c_str(), STEP, Mode::empty())?,
        });
        rest = &rest[cut + 1..];
    }
    let last = name(rest)?;
    act(above.as_ref().map_or(CWD, AsFd::as_fd), last.as_c_str())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a"), vec![1; 1 << 20]).unwrap();
        let one = used_bytes(home.path());
        assert!(one >= 1 << 20);
        fs::hard_link(home.path().join("a"), home.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", home.path().join("root")).unwrap();
        assert!(used_bytes(home.path()) < one + (1 << 19));
    }

    #[test]
    fn a_folder_deeper_than_a_path_is_long_counts() {
        let home = tempfile::tempdir().unwrap();
        let made = Command::new("python3")
            .args(["-c", "import os\nfor n in range(60):\n  os.mkdir('d' * 200); os.chdir('d' * 200)\nopen('big', 'wb').write(b'x' * (1 << 20))"])
            .current_dir(home.path())
            .status();
        assert!(made.unwrap().success());
        assert!(used_bytes(home.path()) >= 1 << 20);
    }

    /// As root nothing is closed; the agent's own tests do this as somebody else.
    #[test]
    fn a_closed_folder_is_as_closed_afterwards() {
        let home = tempfile::tempdir().unwrap();
        let closed = home.path().join("closed");
        fs::create_dir_all(closed.join("within")).unwrap();
        fs::write(closed.join("within/big"), vec![1; 1 << 20]).unwrap();
        for folder in [closed.join("within"), closed.clone()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o000)).unwrap();
        }
        assert!(used_bytes(home.path()) >= 1 << 20);
        assert_eq!(fs::metadata(&closed).unwrap().permissions().mode() & 0o7777, 0);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(fs::metadata(closed.join("within")).unwrap().permissions().mode() & 0o7777, 0);
        fs::set_permissions(closed.join("within"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}
