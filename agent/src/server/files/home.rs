//! The home folder, one system call at a time. Blocks.

use std::{
    ffi::CString,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2, statat, unlinkat},
    io::{Errno, Result},
};

use crate::protocol::http::{Entry, EntryKind};

/// Folders below each other that are still deleted with all they hold.
const DEEPEST: u32 = 200;

/// What a path names.
pub enum Found {
    File { file: File, length: u64 },
    Folder(Vec<Entry>),
}

/// Where paths begin, and what they cannot leave.
#[derive(Clone)]
pub struct Home(PathBuf);

impl Home {
    pub fn new(home: &Path) -> Self {
        Self(home.to_owned())
    }

    /// # Errors
    /// NXIO for what is neither a file nor a folder: reading a pipe could wait for ever.
    pub fn open(&self, path: &str) -> Result<Found> {
        // NONBLOCK: opening a pipe must not wait for a writer.
        let opened = self.beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        let stat = fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                Ok(Found::File { length: u64::try_from(stat.st_size).unwrap_or(0), file: File::from(opened) })
            }
            FileType::Directory => Ok(Found::Folder(listing(opened)?)),
            _ => Err(Errno::NXIO),
        }
    }

    /// The folder that holds `path`, made with all above it, and the last part of `path`.
    ///
    /// # Errors
    /// INVAL for the home folder itself.
    pub fn parent(&self, path: &str) -> Result<(OwnedFd, CString)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." {
            return Err(Errno::INVAL);
        }
        self.make_folder(folder)?;
        Ok((self.folder(folder)?, CString::new(name).map_err(|_| Errno::INVAL)?))
    }

    /// Makes a folder with all above it, where they are not there.
    pub fn make_folder(&self, path: &str) -> Result<()> {
        if self.folder(path).is_ok() {
            return Ok(());
        }
        let mut made = String::new();
        for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
            let above = self.folder(&made)?;
            match mkdirat(&above, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            if !made.is_empty() {
                made.push('/');
            }
            made.push_str(part);
        }
        self.folder(path).map(|_| ())
    }

    pub fn delete(&self, path: &str, recursive: bool) -> Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." {
            return Err(Errno::INVAL);
        }
        delete(self.folder(folder)?, name, recursive, DEEPEST)
    }

    fn folder(&self, path: &str) -> Result<OwnedFd> {
        self.beneath(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
    }

    fn beneath(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let home = openat(CWD, &self.0, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let path = if path.is_empty() { "." } else { path };
        loop {
            match openat2(&home, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
                // The kernel could not be sure because something was renamed meanwhile.
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
    }
}

fn delete(folder: impl AsFd, name: &str, recursive: bool, depth: u32) -> Result<()> {
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

fn names(folder: &OwnedFd) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            found.push(name);
        }
    }
    Ok(found)
}

fn listing(folder: OwnedFd) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for name in names(&folder)? {
        if let Ok(stat) = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            entries.push(entry(name, &stat));
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn entry(name: String, stat: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let millis = stat.st_mtime_nsec / 1_000_000;
    Entry {
        name,
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified_at: seconds * 1000 + millis,
        mode: stat.st_mode & 0o7777,
    }
}
