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

/// Gives all of a tree to one user, following no links. A folder is given when all in it was, so the top is last: while it is not
/// theirs, there may be more to do.
///
/// One folder is open at a time, and it is left by its "..": nobody else runs in this tree. However deep and wide it is, that takes no
/// more descriptors.
///
/// # Errors
/// Something could not be given, or looked into.
pub fn give(path: &Path, uid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    let mut folder = rustix::fs::open(path, FOLDER, Mode::empty())?;
    let mut left = names(&folder)?;
    // The folders around this one: which they are, and what is left to do in them.
    let mut around: Vec<((u64, u64), Vec<CString>)> = Vec::new();
    loop {
        if let Some(entry) = left.pop() {
            match rustix::fs::openat(&folder, &entry, FOLDER, Mode::empty()) {
                Ok(inner) => {
                    let inside = names(&inner)?;
                    around.push((identity(&folder)?, std::mem::replace(&mut left, inside)));
                    folder = inner;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    rustix::fs::chownat(&folder, &entry, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        rustix::fs::fchown(&folder, Some(uid), Some(gid))?;
        let Some((outer, rest)) = around.pop() else { return Ok(()) };
        folder = rustix::fs::openat(&folder, "..", FOLDER, Mode::empty())?;
        if identity(&folder)? != outer {
            return Err(io::Error::other("a folder was moved while it was given to its user"));
        }
        left = rest;
    }
}

/// Which folder it is.
fn identity(folder: &OwnedFd) -> io::Result<(u64, u64)> {
    let about = rustix::fs::fstat(folder)?;
    Ok((about.st_dev, about.st_ino))
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
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };

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
    /// With few descriptors, which are the whole process's: so it runs in one of its own.
    #[test]
    fn however_deep_and_wide_a_tree_is_all_of_it_is_given_and_the_top_last() {
        use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
        const ALONE: &str = "FSA_TEST_GIVE";
        if std::env::var_os(ALONE).is_none() {
            let name = "tree::tests::however_deep_and_wide_a_tree_is_all_of_it_is_given_and_the_top_last";
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let output = child.args([name, "--exact"]).env(ALONE, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let tree = top.path().join("tree");
        // Who is not root gives to themselves, if their group has their number.
        let user = if geteuid().is_root() { 12_345 } else { geteuid().as_raw() };
        if !geteuid().is_root() && rustix::process::getegid().as_raw() != user {
            return;
        }
        fs::write(top.path().join("outside"), "").unwrap();
        let outside = fs::metadata(top.path().join("outside")).unwrap();
        for n in 0..500 {
            let folder = tree.join(format!("wide-{n}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("file"), "").unwrap();
        }
        std::os::unix::fs::symlink("../outside", tree.join("link")).unwrap();
        let mut at = rustix::fs::open(&tree, FOLDER, Mode::empty()).unwrap();
        for _ in 0..2_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", FOLDER, Mode::empty()).unwrap();
        }
        drop(at);
        let most = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(32), maximum: most }).unwrap();
        give(&tree, user).unwrap();

        let about = |path: &Path| {
            let about = fs::symlink_metadata(path).unwrap();
            assert_eq!((about.uid(), about.gid()), (user, user), "{}", path.display());
            (about.ctime(), about.ctime_nsec())
        };
        let last = about(&tree);
        about(&tree.join("link"));
        for n in 0..500 {
            let folder = tree.join(format!("wide-{n}"));
            assert!(about(&folder.join("file")) <= about(&folder) && about(&folder) <= last);
        }
        let mut at = rustix::fs::open(&tree, FOLDER, Mode::empty()).unwrap();
        let mut before = last;
        for depth in 0..2_000 {
            at = rustix::fs::openat(&at, "d", FOLDER, Mode::empty()).unwrap();
            let about = fs::File::from(at.try_clone().unwrap()).metadata().unwrap();
            let given = (about.ctime(), about.ctime_nsec());
            assert!(about.uid() == user && given <= before, "at {depth}");
            before = given;
        }
        let still = fs::metadata(top.path().join("outside")).unwrap();
        assert_eq!((still.uid(), still.ctime_nsec()), (outside.uid(), outside.ctime_nsec()), "what a link leads to is left");
        drop(at);
        remove(top.path(), "tree").unwrap();
    }

    #[test]
    fn what_cannot_be_looked_into_is_no_tree_that_was_given() {
        let top = tempfile::tempdir().unwrap();
        assert!(give(&top.path().join("none"), 12_345).is_err());
        fs::write(top.path().join("file"), "").unwrap();
        assert!(give(&top.path().join("file"), 12_345).is_err());
    }
}
