//! Writing a file whole or not at all.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, fsync, openat, renameat, statat, unlinkat},
    io::Errno,
};
use std::{
    rc::Rc,
    sync::{Mutex, PoisonError},
};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    Home, said, shown,
    version::{Condition, Version},
};
use crate::{
    protocol::http::Versions,
    server::{Agent, error::Error, random},
};

/// How much of a body that is refused is read on: who still sends when the connection is closed may never see the answer.
const DRAINED_BYTES: usize = 256 << 20;

/// How the names of files begin that are being uploaded.
const PREFIX: &str = ".upload-";

/// Of two uploads that both looked at the same version, one comes first: looking and coming into place are one.
/// A renaming takes its turn too.
pub static PLACING: Mutex<()> = Mutex::new(());

/// Why nothing was written.
enum Failed {
    System(Errno),
    Changed(Versions),
    /// The path is that of a link, and there is nothing where it leads to.
    Dangling,
}

impl From<Errno> for Failed {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// Writes the body to a file of the agent's own folder, and renames it into place once all of it is on disk. True where there was no such
/// file. Its folders are made; permissions of a file that was there stay, and so does a link: what it leads to is written.
///
/// # Errors
/// As the route; a body that breaks off leaves what was there, and so does a file that is another one than was meant.
pub async fn put(
    agent: &Rc<Agent>,
    home: Home,
    path: Vec<u8>,
    condition: Condition,
    mut body: Incoming,
) -> Result<(bool, Version), Error> {
    let (sender, receiver) = mpsc::channel::<Option<Bytes>>(4);
    let shown = shown(&path);
    let writing = spawn_blocking(move || write(&home, &path, &condition, receiver));
    let mut whole = true;
    let mut full = false;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        // Looked at while it comes: what is over the limit is not filled further.
        full = agent.disk.over();
        if full {
            break;
        }
        if let Ok(data) = frame.into_data()
            && sender.send(Some(data)).await.is_err()
        {
            // The writer gave up; its error says why.
            break;
        }
    }
    if whole && !full {
        let _ = sender.send(None).await;
    }
    drop(sender);
    let written = writing.await.map_err(|_| Error::internal("The work on the file broke off."))?;
    let error = match written {
        Ok(done) => return Ok(done),
        Err(_) if !whole => return Err(Error::bad_request("bad-body", "The body broke off; nothing was changed.")),
        Err(_) if full => Error::disk_full(),
        Err(Failed::System(error)) => said(error, &shown),
        Err(Failed::Changed(versions)) => Error::changed(versions),
        Err(Failed::Dangling) => {
            let sentence =
                format!("{shown} is a link, and there is nothing where it leads to. Delete the link, or make what it names.");
            Error::conflict("dangling-link", sentence)
        }
    };
    drain(body).await;
    Err(error)
}

/// Deletes what an agent that was killed had taken of uploads. Before the first one is taken: whose they are is not looked at.
pub fn clear_uploads(home: &Path) {
    match Home::new(home).delete_uploads(PREFIX) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => eprintln!("what is left of uploads stays: {error}"),
    }
}

/// Reads the rest of a body, within reason.
pub async fn drain(mut body: Incoming) {
    let mut left = DRAINED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

/// None in the channel is the end; a channel that closes without it is a body that broke off.
fn write(
    home: &Home,
    path: &[u8],
    condition: &Condition,
    mut receiver: mpsc::Receiver<Option<Bytes>>,
) -> Result<(bool, Version), Failed> {
    let (folder, name) = place(home, path, condition)?;
    // At once, so that nobody sends a gigabyte to hear it; and again before it comes into place.
    let before = looked(&folder, &name, condition)?;
    let upload = Upload::create(home, &folder)?;
    let mut file = File::from(upload.file.try_clone().map_err(errno)?);
    loop {
        match receiver.blocking_recv() {
            Some(Some(data)) => file.write_all(&data).map_err(errno)?,
            Some(None) => break,
            None => return Err(Errno::PIPE.into()),
        }
    }
    if let Some(stat) = &before {
        let _ = fchmod(&upload.file, Mode::from_raw_mode(stat.st_mode & 0o777));
    }
    fsync(&upload.file)?;
    let _one = PLACING.lock().unwrap_or_else(PoisonError::into_inner);
    let created = looked(&folder, &name, condition)?.is_none();
    let file = upload.into_place(&folder, &name)?;
    // After the renaming, which changes the time of the last change.
    Ok((created, Version::of(&fstat(&file)?)))
}

/// The folder and the name of what is to be written.
fn place(home: &Home, path: &[u8], condition: &Condition) -> Result<(OwnedFd, CString), Failed> {
    let (folder, name) = home.parent(path)?;
    let stat = statat(&folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).ok();
    let Some(link) = stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) else {
        return Ok((folder, name));
    };
    // A link has the name wherever it leads to, also where that cannot be followed.
    if let Some(versions) = condition.taken(&behind(home, path).unwrap_or_else(|| Version::of(&link))) {
        return Err(Failed::Changed(versions));
    }
    home.behind(path).map_err(|error| match (error, condition.broken(None)) {
        (Errno::NOENT, Some(versions)) => Failed::Changed(versions),
        (Errno::NOENT, None) => Failed::Dangling,
        (error, _) => error.into(),
    })
}

/// The version of the file that a link leads to, where it leads to one.
fn behind(home: &Home, path: &[u8]) -> Option<Version> {
    let (folder, name) = home.behind(path).ok()?;
    Version::of_file(&statat(&folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?)
}

/// What has the name now, where it is what was meant.
fn looked(folder: &OwnedFd, name: &CString, condition: &Condition) -> Result<Option<Stat>, Failed> {
    let stat = statat(folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).ok();
    match stat.as_ref().map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Some(FileType::Directory) => return Err(Errno::ISDIR.into()),
        // There was none before.
        Some(FileType::Symlink) => return Err(Errno::EXIST.into()),
        _ => {}
    }
    match condition.broken(stat.as_ref().and_then(Version::of_file).as_ref()) {
        Some(versions) => Err(Failed::Changed(versions)),
        None => Ok(stat),
    }
}

/// A new file with a name nobody knows, removed again unless it comes into place.
struct Upload {
    folder: OwnedFd,
    name: String,
    file: OwnedFd,
    placed: bool,
}

impl Upload {
    /// In the agent's own folder, so that nothing that looks into `to` (`git add`, for one) takes a half of it for a file. Beside its place
    /// in `to` where it could not be renamed from there.
    fn create(home: &Home, to: &OwnedFd) -> Result<Self, Errno> {
        let name = format!("{PREFIX}{}", random::id());
        let folder = match home.uploads() {
            Ok(own) if !apart(&own, to, &name) => own,
            _ => to.try_clone().map_err(errno)?,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &name, flags, Mode::from_raw_mode(0o644))?;
        Ok(Self { folder, name, file, placed: false })
    }

    /// The file under its name.
    fn into_place(mut self, folder: &OwnedFd, name: &CString) -> Result<OwnedFd, Errno> {
        renameat(&self.folder, &self.name, folder, name.as_c_str())?;
        self.placed = true;
        // The name is on disk only with its folder.
        fsync(folder)?;
        self.file.try_clone().map_err(errno)
    }
}

/// Whether files of one folder cannot be renamed into the other. Nothing has this name: the kernel tells two mounts apart before it looks for
/// it. Parts of one mount that are apart (subvolumes) have device numbers of their own.
fn apart(from: &OwnedFd, to: &OwnedFd, name: &str) -> bool {
    let device = |folder: &OwnedFd| fstat(folder).map(|stat| stat.st_dev).ok();
    renameat(from, name, to, name) == Err(Errno::XDEV) || device(from) != device(to)
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
