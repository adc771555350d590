//! Unix sockets in folders whose path may be longer than the 108 bytes that a socket's address holds:
//! they are named through an open descriptor of the folder.

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
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

/// Connects to a path, at once or not at all; the stream does not block.
///
/// One that blocks would wait without end where as many wait as the listener lets: behind a process that was stopped, or hangs.
///
/// # Errors
/// `WouldBlock`: somebody listens there and takes no connections. Or nobody does.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    through(path, |short| {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &SocketAddrUnix::new(short)?) {
            Ok(()) => Ok(UnixStream::from(socket)),
            Err(Errno::AGAIN) => Err(io::Error::new(io::ErrorKind::WouldBlock, "whoever listens there takes no connections")),
            Err(error) => Err(error.into()),
        }
    })
}

/// The same for an event loop.
pub fn connect_async(path: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::from_std(connect(path)?)
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
    #[test]
    fn who_takes_no_connections_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        // A connection that waits keeps its thread, and not this test.
        std::thread::spawn(move || {
            let mut taken = Vec::new();
            let refused = loop {
                match connect(&path) {
                    Ok(stream) => taken.push(stream),
                    Err(error) => break error,
                }
            };
            tell.send((taken.len(), refused.kind())).unwrap();
        });
        let (taken, refused) = told.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert_eq!(refused, io::ErrorKind::WouldBlock);
        assert!(taken > 0, "as many as may wait do");
    }
}
