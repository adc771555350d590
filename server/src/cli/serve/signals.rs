//! Ctrl-C and SIGTERM.

use anyhow::{Context as _, Result};
use tokio::signal::unix::SignalKind;

/// How it was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

pub(super) fn signals() -> Result<Signals> {
    let on = |kind| tokio::signal::unix::signal(kind).context("listen for signals");
    Ok(Signals { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
}

impl Signals {
    pub(super) async fn wait(mut self) -> Ended {
        let ended = tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupted,
            _ = self.terminate.recv() => Ended::Terminated,
        };
        // A second one ends it at once.
        tokio::spawn(async move {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            std::process::exit(130);
        });
        ended
    }
}
