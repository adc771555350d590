//! Writing a file whole or not at all.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, fchmod, fsync, openat, renameat, statat, unlinkat},
    io::Errno,
};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{Home, said};
use crate::server::{error::Error, random};

/// Writes the body beside the file, and renames it into place once all of it is on disk. True where there was no such file. Its folders are
/// made; permissions of a file that was there stay.
///
/// # Errors
/// As the route; a body that breaks off leaves what was there.
pub async fn put(home: Home, path: String, mut body: Incoming) -> Result<bool, Error> {
    let (sender, receiver) = mpsc::channel::<Option<Bytes>>(4);
    let shown = path.clone();
    let writing = spawn_blocking(move || write(&home, &path, receiver));
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        if let Ok(data) = frame.into_data()
            && sender.send(Some(data)).await.is_err()
        {
            // The writer gave up; its error says why. The rest of the body is not read.
            break;
        }
    }
    if whole {
        let _ = sender.send(None).await;
    }
    drop(sender);
    let written = writing.await.map_err(|_| Error::internal("The work on the file broke off."))?;
    match written {
        Ok(created) => Ok(created),
        Err(_) if !whole => Err(Error::bad_request("bad-body", "The body broke off; nothing was changed.")),
        Err(error) => Err(said(error, &shown)),
    }
}

/// None in the channel is the end; a channel that closes without it is a body that broke off.
fn write(home: &Home, path: &str, mut receiver: mpsc::Receiver<Option<Bytes>>) -> Result<bool, Errno> {
    let (folder, name) = home.parent(path)?;
    let before = statat(&folder, name.as_c_str(), AtFlags::empty()).ok();
    if before.as_ref().is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
        return Err(Errno::ISDIR);
    }
    let beside = Beside::create(folder)?;
    let mut file = File::from(beside.file.try_clone().map_err(errno)?);
    loop {
        match receiver.blocking_recv() {
            Some(Some(data)) => file.write_all(&data).map_err(errno)?,
            Some(None) => break,
            None => return Err(Errno::PIPE),
        }
    }
    if let Some(stat) = &before {
        let _ = fchmod(&beside.file, Mode::from_raw_mode(stat.st_mode & 0o777));
    }
    fsync(&beside.file)?;
    beside.into_place(&name)?;
    Ok(before.is_none())
}

/// A new file with a name nobody knows, removed again unless it comes into place.
struct Beside {
    folder: OwnedFd,
    name: String,
    file: OwnedFd,
    placed: bool,
}

impl Beside {
    fn create(folder: OwnedFd) -> Result<Self, Errno> {
        let name = format!(".upload-{}", random::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &name, flags, Mode::from_raw_mode(0o644))?;
        Ok(Self { folder, name, file, placed: false })
    }

    fn into_place(mut self, name: &CString) -> Result<(), Errno> {
        renameat(&self.folder, &self.name, &self.folder, name.as_c_str())?;
        self.placed = true;
        // The name is on disk only with its folder.
        fsync(&self.folder)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.placed {
            let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
