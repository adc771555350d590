//! Taking connections for as long as the sandbox lives: what comes between, such as too many open files, is waited out.
//!
//! A listener that ended at the first such error would take the way to the database with it for good, or the one by which the next
//! control plane finds this keeper.

use super::log;
use std::{io, time::Duration};

/// Trying again at once would only burn CPU.
const PAUSE: Duration = Duration::from_millis(100);

/// The next connection.
pub async fn next<T, F: Future<Output = io::Result<T>>>(mut accept: impl FnMut() -> F) -> T {
    loop {
        match accept().await {
            Ok(connection) => return connection,
            Err(error) => log(&format!("cannot take a connection: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn errors_are_waited_out() {
        let errors = [rustix::io::Errno::MFILE, rustix::io::Errno::CONNABORTED, rustix::io::Errno::NFILE];
        let mut left = errors.to_vec();
        let begun = std::time::Instant::now();
        let taken = next(|| std::future::ready(left.pop().map_or(Ok(7), |errno| Err(errno.into())))).await;
        assert_eq!(taken, 7);
        assert!(begun.elapsed() >= PAUSE * 3, "none burns CPU");
    }
}
