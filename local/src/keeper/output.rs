//! What the first process of a sandbox writes to its standard output and error: into `sandbox.log`, of
//! bounded length.
//!
//! Through a pipe and this process, and not into the file: whatever runs inside as the same user can
//! write there, too.

use anyhow::{Context as _, Result};
use std::{
    fs::File,
    io::Write as _,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
    path::Path,
};
use tokio::net::unix::pipe::Receiver;

/// How much of the end is kept at hand, to tell a cause by.
const TAIL: usize = 4096;

/// The reading end, and the log that it goes to.
pub struct Output {
    pipe: OwnedFd,
    log: File,
    tail: Vec<u8>,
}

impl Output {
    /// Opens the log. Answers the writing end, too, for the child.
    pub fn open(folder: &Path) -> Result<(Self, OwnedFd)> {
        let (pipe, child) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("make a pipe")?;
        rustix::io::ioctl_fionbio(&pipe, true).context("make a pipe non-blocking")?;
        let path = folder.join("sandbox.log");
        let log = File::options().append(true).create(true).mode(0o600).open(path).context("open sandbox.log")?;
        Ok((Self { pipe, log, tail: Vec::new() }, child))
    }

    /// Takes what is there now.
    pub fn drain(&mut self) {
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = rustix::io::read(&self.pipe, &mut part) {
            self.write(&part[..length]);
        }
    }

    /// Takes what comes, until everyone who could write has ended. May be dropped at any moment.
    pub async fn follow(&mut self) -> Result<()> {
        let pipe = self.pipe.try_clone().context("read the sandbox's output")?;
        let pipe = Receiver::from_owned_fd(pipe).context("read the sandbox's output")?;
        let mut part = [0; 4096];
        loop {
            pipe.readable().await.context("read the sandbox's output")?;
            match pipe.try_read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(length) => self.write(&part[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("read the sandbox's output"),
            }
        }
    }

    /// The last that was written.
    pub fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn write(&mut self, part: &[u8]) {
        if self.log.metadata().is_ok_and(|about| about.len() > super::LONGEST_LOG) {
            let _ = self.log.set_len(0);
        }
        // A full disk loses lines of a log, and nothing else.
        let _ = self.log.write_all(part);
        self.tail.extend_from_slice(part);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_log_has_an_end_and_its_tail_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (mut output, child) = Output::open(folder.path()).unwrap();
        let writer = std::thread::spawn(move || {
            let mut child = File::from(child);
            for n in 0..100_000 {
                writeln!(child, "line {n:06} of a hundred bytes {}", "x".repeat(70)).unwrap();
            }
        });
        output.follow().await.unwrap();
        writer.join().unwrap();
        let length = std::fs::metadata(folder.path().join("sandbox.log")).unwrap().len();
        assert!(length > 0 && length <= super::super::LONGEST_LOG + 4096, "{length}");
        assert!(output.tail().len() == TAIL && output.tail().contains("line 099999"));
    }
}
