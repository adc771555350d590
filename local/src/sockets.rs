//! Unix sockets in folders whose path may be longer than the 108 bytes that a socket's address holds:
//! they are named through an open descriptor of the folder.

use rustix::fs::{Mode, OFlags};
use std::{
    io,
    os::{
        fd::AsRawFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Listens at a path. What lies there already is removed: the caller holds a lock that says it may.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    through(path, |short| UnixListener::bind(short))
}

/// Connects to a path.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    through(path, |short| UnixStream::connect(short))
}

/// The same for an event loop; a Unix socket connects at once or not at all.
pub fn connect_async(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let stream = connect(path)?;
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

fn through<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a socket's path has a folder and a name"));
    };
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    act(&PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_longer_than_a_socket_address_works() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let listener = listen(&deep.join("a.sock")).unwrap();
        connect(&deep.join("a.sock")).unwrap();
        drop(listener);
        // A program that another test starts has a copy of the listener until it is exec'ed.
        let gone = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while connect(&deep.join("a.sock")).is_ok() {
            assert!(std::time::Instant::now() < gone, "somebody still listens");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        listen(&deep.join("a.sock")).unwrap();
    }
}
