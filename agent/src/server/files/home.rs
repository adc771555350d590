//! The home folder, one system call at a time. Blocks.

use std::{
    ffi::{CStr, CString, OsString},
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fstat, fsync, mkdirat, openat, openat2,
        readlink, renameat, renameat_with, statat, unlinkat,
    },
    io::{Errno, Result},
};

use super::version::{Condition, Version};
use crate::protocol::http::{Entry, EntryKind, Versions};

/// Folders below each other that are still deleted with all they hold.
const DEEPEST: u32 = 200;

/// The agent's own folder in the home folder for what is being uploaded.
const UPLOADS: &[u8] = b".fsa/uploads";

/// What a path names.
pub enum Found {
    File {
        file: File,
        length: u64,
        version: Version,
        modified_at: i64,
    },
    Folder(Vec<Entry>),
    /// Something in a folder that is closed to who asks.
    Closed,
}

/// Which of a folder's names are listed, in the order of their bytes.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Those behind this one.
    pub after: Option<Vec<u8>>,
    /// So many at most.
    pub limit: Option<usize>,
}

/// Why something has its old name still, and which name that is about.
pub enum NotRenamed {
    Old(Errno),
    /// The folder that it was to go to.
    Folder(Errno),
    New(Errno),
    /// It is not the file that was meant.
    Changed(Versions),
}

/// Where paths begin, and what they cannot leave.
#[derive(Clone)]
pub struct Home(PathBuf);

impl Home {
    pub fn new(home: &Path) -> Self {
        Self(home.to_owned())
    }

    /// What a path names, unless that is in one of the folders that are closed, by whatever link.
    ///
    /// # Errors
    /// NXIO for what is neither a file nor a folder: reading a pipe could wait for ever.
    pub fn open(&self, path: &[u8], page: &Page, closed: &[PathBuf]) -> Result<Found> {
        // NONBLOCK: opening a pipe must not wait for a writer.
        let opened = self.beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        if is_in(&opened, closed)? {
            return Ok(Found::Closed);
        }
        let stat = fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Found::File {
                length: u64::try_from(stat.st_size).unwrap_or(0),
                version: Version::of(&stat),
                modified_at: stat.st_mtime,
                file: File::from(opened),
            }),
            FileType::Directory => Ok(Found::Folder(listing(&opened, page)?)),
            _ => Err(Errno::NXIO),
        }
    }

    /// The folder that holds `path`, made with all above it, and the last part of `path`.
    ///
    /// # Errors
    /// INVAL for the home folder itself.
    pub fn parent(&self, path: &[u8]) -> Result<(OwnedFd, CString)> {
        let (folder, name) = split(path)?;
        self.make_folder(folder)?;
        Ok((self.folder(folder)?, name))
    }

    /// Where what the links of a path lead to lies by itself: its folder, and its name there.
    ///
    /// # Errors
    /// NOENT for a link to nothing; XDEV or LOOP for one out of the home folder or in a circle; ISDIR for one to a folder.
    pub fn behind(&self, path: &[u8]) -> Result<(OwnedFd, CString)> {
        let opened = self.beneath(path, OFlags::PATH, Mode::empty())?;
        let meant = fstat(&opened)?;
        if FileType::from_raw_mode(meant.st_mode) == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        let (home, place) = (place(&self.root()?)?, place(&opened)?);
        let place = place.strip_prefix(home).map_err(|_| Errno::XDEV)?;
        let (folder, name) = split(place.as_os_str().as_bytes())?;
        let folder = self.folder(folder)?;
        // Somebody may have moved or deleted it since.
        let found = statat(&folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        if (found.st_dev, found.st_ino) != (meant.st_dev, meant.st_ino) {
            return Err(Errno::NOENT);
        }
        Ok((folder, name))
    }

    /// The agent's own folder for what is being uploaded, made where it is not there.
    pub fn uploads(&self) -> Result<OwnedFd> {
        self.make_folder(UPLOADS)?;
        self.folder(UPLOADS)
    }

    /// Deletes the files there whose names begin so, and nothing else: whoever is inside may have led the folder elsewhere.
    pub fn delete_uploads(&self, prefix: &str) -> Result<()> {
        let folder = self.folder(UPLOADS)?;
        for name in names(&folder)?.iter().filter(|name| name.to_bytes().starts_with(prefix.as_bytes())) {
            let _ = unlinkat(&folder, name.as_c_str(), AtFlags::empty());
        }
        Ok(())
    }

    /// Makes a folder with all above it, where they are not there.
    pub fn make_folder(&self, path: &[u8]) -> Result<()> {
        if self.folder(path).is_ok() {
            return Ok(());
        }
        let mut made: Vec<u8> = Vec::new();
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            let above = self.folder(&made)?;
            match mkdirat(&above, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            if !made.is_empty() {
                made.push(b'/');
            }
            made.extend_from_slice(part);
        }
        self.folder(path).map(|_| ())
    }

    /// Gives a file or folder another name, in a folder that is there. What has that name already stays. A file's version is answered as it is
    /// under the new name.
    ///
    /// # Errors
    /// EXIST of the new name where it is taken; INVAL of the old one for the home folder, and for a folder that is to go into itself.
    pub fn rename(&self, from: &[u8], to: &[u8], condition: &Condition) -> std::result::Result<Option<Version>, NotRenamed> {
        let (from_folder, from) = split(from).map_err(NotRenamed::Old)?;
        let (to_folder, to) = split(to).map_err(NotRenamed::New)?;
        let from_folder = self.folder(from_folder).map_err(NotRenamed::Old)?;
        let to_folder = self.folder(to_folder).map_err(NotRenamed::Folder)?;
        let (from, to) = (from.as_c_str(), to.as_c_str());
        // As it is named: `renameat2` says INVAL both for a file system without it and for a folder into itself.
        statat(&from_folder, from, AtFlags::SYMLINK_NOFOLLOW).map_err(NotRenamed::Old)?;
        if let Some(versions) = condition.broken(version(&from_folder, from).as_ref()) {
            return Err(NotRenamed::Changed(versions));
        }
        let renamed = match renameat_with(&from_folder, from, &to_folder, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS)
                if statat(&to_folder, to, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|error| error == Errno::NOENT) =>
            {
                renameat(&from_folder, from, &to_folder, to)
            }
            done => done,
        };
        renamed.map_err(|error| if error == Errno::INVAL { NotRenamed::Old(error) } else { NotRenamed::New(error) })?;
        // The name is on disk only with its folder.
        fsync(&from_folder).map_err(NotRenamed::Old)?;
        fsync(&to_folder).map_err(NotRenamed::New)?;
        // After the renaming, which changes the time of the last change.
        Ok(version(&to_folder, to))
    }

    pub fn delete(&self, path: &[u8], recursive: bool) -> Result<()> {
        let (folder, name) = split(path)?;
        delete(self.folder(folder)?, &name, recursive, DEEPEST)
    }

    fn folder(&self, path: &[u8]) -> Result<OwnedFd> {
        self.beneath(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
    }

    fn root(&self) -> Result<OwnedFd> {
        openat(CWD, &self.0, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    fn beneath(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let home = self.root()?;
        let path = if path.is_empty() { b"." } else { path };
        loop {
            match openat2(&home, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
                // The kernel could not be sure because something was renamed meanwhile.
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
    }
}

/// Whether what is open lies in one of these folders, or is one: by where the kernel has it, however it was named.
fn is_in(opened: &OwnedFd, folders: &[PathBuf]) -> Result<bool> {
    if folders.is_empty() {
        return Ok(false);
    }
    let place = place(opened)?;
    // One that is not there has nothing in it.
    Ok(folders.iter().filter_map(|folder| folder.canonicalize().ok()).any(|folder| place.starts_with(folder)))
}

/// Where the kernel has what is open.
fn place(opened: &OwnedFd) -> Result<PathBuf> {
    let place = readlink(format!("/proc/self/fd/{}", opened.as_raw_fd()), Vec::new())?;
    Ok(OsString::from_vec(place.into_bytes()).into())
}

/// Of a file, also where a link names it: as one that reads it is told.
fn version(folder: &OwnedFd, name: &CStr) -> Option<Version> {
    statat(folder, name, AtFlags::empty()).ok().as_ref().and_then(Version::of_file)
}

/// The folder of a path and the last part. A name is bytes: nothing says that it is UTF-8, or one line.
fn split(path: &[u8]) -> Result<(&[u8], CString)> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (folder, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    if name.is_empty() || name == b"." || name == b".." {
        return Err(Errno::INVAL);
    }
    Ok((folder, CString::new(name).map_err(|_| Errno::INVAL)?))
}

fn delete(folder: impl AsFd, name: &CStr, recursive: bool, depth: u32) -> Result<()> {
    match unlinkat(&folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    match unlinkat(&folder, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) if recursive && depth > 0 => {}
        done => return done,
    }
    let inner = openat(&folder, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    for entry in names(&inner)? {
        match delete(&inner, &entry, true, depth - 1) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    unlinkat(&folder, name, AtFlags::REMOVEDIR)
}

fn names(folder: &OwnedFd) -> Result<Vec<CString>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

fn listing(folder: &OwnedFd, page: &Page) -> Result<Vec<Entry>> {
    let mut names = names(folder)?;
    names.sort_unstable();
    let behind = |name: &&CString| page.after.as_deref().is_none_or(|after| name.to_bytes() > after);
    // One that is gone by now is none of the page's.
    let there = names.iter().filter(behind).filter_map(|name| {
        let stat = statat(folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(entry(name, &stat))
    });
    Ok(there.take(page.limit.unwrap_or(usize::MAX)).collect())
}

fn entry(name: &CStr, stat: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let millis = stat.st_mtime_nsec / 1_000_000;
    let (name, raw) = match name.to_str() {
        Ok(name) => (name.to_owned(), None),
        Err(_) => (name.to_string_lossy().into_owned(), Some(percent_encode(name.to_bytes(), NON_ALPHANUMERIC).to_string())),
    };
    Entry {
        name,
        raw,
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified_at: seconds * 1000 + millis,
        mode: stat.st_mode & 0o7777,
    }
}
