//! The little that only `unsafe` can do: taking over inherited descriptors, and what a child does between fork and exec.

#![expect(unsafe_code, reason = "inherited descriptors and pre_exec have no safe form; every block says why it is sound")]

use std::{
    io,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use rustix::{
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
    process::{ioctl_tiocsctty, setsid},
    stdio::stdin,
};
use tokio::io::unix::AsyncFd;

/// Takes over a descriptor that whoever started this process left open, and keeps it from its children. Once for each number.
///
/// # Errors
/// The number is not open, or is one of the three standard ones.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "descriptors 0 to 2 cannot be handed in"));
    }
    // SAFETY: borrowed for two calls that fail on a closed number; nothing in this process closes numbers it did not open.
    let borrowed = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
    let flags = fcntl_getfd(borrowed)?;
    fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and the command line names it to hand its ownership to this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the runtime watch a descriptor. It must not block.
///
/// # Errors
/// There is nothing to wait for on it, or too many are watched.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd answers with the same open number until it is dropped, which here is with the AsyncFd.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// The child leads a session of its own, without a terminal.
pub fn own_session(command: &mut Command) -> &mut Command {
    // SAFETY: only system calls that are safe between fork and exec; nothing allocates, locks or panics.
    unsafe { command.pre_exec(|| Ok(setsid().map(|_| ())?)) }
}

/// The child leads a session of its own, whose controlling terminal is its standard input.
pub fn own_terminal(command: &mut Command) -> &mut Command {
    // SAFETY: as above.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            Ok(ioctl_tiocsctty(stdin())?)
        })
    }
}
