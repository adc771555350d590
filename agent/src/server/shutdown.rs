//! The end of the sandbox: everything inside is asked to end, then made to.

use std::{cell::Cell, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{Agent, procfs};

/// Between SIGTERM and SIGKILL, unless the caller says otherwise. Kubernetes gives a pod 30 s in all.
pub const GRACE: Duration = Duration::from_secs(5);

/// The longest grace a caller may ask for.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether somebody asked for the end.
#[derive(Default)]
pub struct Ask {
    grace: Cell<Option<Duration>>,
    asked: Notify,
}

impl Ask {
    pub fn ask(&self, grace_ms: Option<u64>) {
        self.grace.set(Some(grace_ms.map_or(GRACE, Duration::from_millis).min(LONGEST)));
        self.asked.notify_one();
    }

    pub async fn asked(&self) -> Duration {
        loop {
            if let Some(grace) = self.grace.get() {
                return grace;
            }
            self.asked.notified().await;
        }
    }
}

/// Ends everything inside, and keeps the sessions' output.
pub async fn run(agent: &Agent, grace: Duration) {
    agent.sessions.stop();
    let signal_all = |with: &[Signal]| {
        let all = procfs::descendants();
        all.iter().for_each(|process| with.iter().for_each(|signal| process.signal(*signal)));
        all.iter().any(|process| process.state != b'Z')
    };
    // SIGHUP is what ends a shell and tells Claude Code to say how to resume; stopped processes must run to hear of it.
    let mut some = signal_all(&[Signal::HUP, Signal::TERM, Signal::CONT]);
    let deadline = Instant::now() + grace;
    while some && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
        some = procfs::descendants().iter().any(|process| process.state != b'Z');
    }
    // More than once: what forks while it is looked for is found the next time.
    for _ in 0..50 {
        if !signal_all(&[Signal::KILL]) {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    agent.sessions.save_all().await;
}
