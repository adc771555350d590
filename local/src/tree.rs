//! Folders that somebody else wrote: removing them, and giving them another owner. Whatever is in
//! there (links out, a hundred thousand folders inside each other, folders that may not be entered),
//! neither leaves the tree, nor runs out of descriptors or stack.

use rustix::{
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes `trash/name` with all that is in it. `trash` is a folder that only we write to, on the same
/// file system.
///
/// A folder that is not empty is moved up into `trash` and emptied from there: so the depth never
/// matters.
pub fn remove(trash: &Path, name: &str) -> io::Result<()> {
    let trash = rustix::fs::open(trash, FOLDER, Mode::empty())?;
    let first = CString::new(name)?;
    match rustix::fs::unlinkat(&trash, &first, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(_) => {}
    }
    let mut queue = vec![first];
    while let Some(name) = queue.pop() {
        let folder = enter(trash.as_fd(), &name)?;
        let inside: Vec<CString> = names(&folder)?;
        for entry in inside {
            match rustix::fs::unlinkat(&folder, &entry, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
            if rustix::fs::unlinkat(&folder, &entry, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            // Moving a folder rewrites its "..", for which it must be writable.
            drop(enter(folder.as_fd(), &entry));
            let aside = CString::new(unused_name())?;
            rustix::fs::renameat(&folder, &entry, &trash, &aside)?;
            queue.push(aside);
        }
        rustix::fs::unlinkat(&trash, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Gives all of a tree to one user, following no links.
pub fn give(path: &Path, uid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    let top = rustix::fs::open(path, FOLDER, Mode::empty())?;
    let mut stack = vec![top];
    while let Some(folder) = stack.pop() {
        for entry in names(&folder)? {
            rustix::fs::chownat(&folder, &entry, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            if let Ok(inner) = rustix::fs::openat(&folder, &entry, FOLDER, Mode::empty()) {
                stack.push(inner);
            }
        }
        rustix::fs::fchown(&folder, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// A name that nothing in `trash` has.
pub fn unused_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}-{:08x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), rand::random::<u32>())
}

/// Opens a folder of the tree, made enterable and writable for us first where it is not.
fn enter(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    if let Ok(folder) = rustix::fs::openat(parent, name, FOLDER, Mode::empty())
        && rustix::fs::fstat(&folder).is_ok_and(|found| found.st_mode & 0o700 == 0o700)
    {
        return Ok(folder);
    }
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        // Nobody else runs in this tree any more, so it is still the folder that was looked at.
        rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
    }
    Ok(rustix::fs::openat(parent, name, FOLDER, Mode::empty())?)
}

fn names(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn removal_neither_follows_links_nor_minds_depth_and_modes() {
        let top = tempfile::tempdir().unwrap();
        let outside = top.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        let trash = top.path().join("trash");
        fs::create_dir_all(trash.join("t/closed/in")).unwrap();
        std::os::unix::fs::symlink(&outside, trash.join("t/link")).unwrap();
        std::os::unix::fs::symlink(outside.join("kept"), trash.join("t/closed/in/link")).unwrap();
        fs::set_permissions(trash.join("t/closed"), fs::Permissions::from_mode(0o0)).unwrap();
        let mut at = rustix::fs::open(trash.join("t"), FOLDER, Mode::empty()).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", FOLDER, Mode::empty()).unwrap();
        }
        remove(&trash, "t").unwrap();
        assert_eq!(fs::read_dir(&trash).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        remove(&trash, "t").unwrap();
    }
}
