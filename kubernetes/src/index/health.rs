//! Whether what is known is still true: how each watch is.

use super::Kind;
use engine::measure::WatchFact;
use jiff::Timestamp;
use model::Cause;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A watch that is not well for less has only reconnected.
pub(crate) const TOLERATED: Duration = Duration::from_secs(5);

/// How the index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Every watch is well.
    Fresh,
    /// Some watch is not: what is known may be old.
    Stale {
        /// Since when.
        since: Timestamp,
        /// Why.
        cause: Cause,
    },
}

impl Health {
    /// Whether it is.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        *self == Self::Fresh
    }
}

/// What one watch has heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    at: Instant,
    listed: bool,
    ill: bool,
}

impl Heard {
    /// It begins, and has heard nothing yet.
    pub fn new() -> Self {
        Self { at: Instant::now(), listed: false, ill: false }
    }

    /// Something came.
    pub fn heard(&mut self) {
        self.at = Instant::now();
    }

    /// It is well; `listed`: all that there is was told of.
    pub fn well(&mut self, listed: bool) {
        self.heard();
        (self.listed, self.ill) = (self.listed || listed, false);
    }

    /// It broke off.
    pub fn ill(&mut self) {
        self.ill = true;
    }

    /// For whoever measures.
    pub fn fact(&self, objects: &'static str, kind: String) -> WatchFact {
        WatchFact { objects, kind, synced: self.listed && !self.ill, silent: self.at.elapsed() }
    }
}

/// All watches.
pub struct Watches {
    state: Mutex<State>,
    health: watch::Sender<Health>,
    synced: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    listed: BTreeSet<Kind>,
    ill: BTreeMap<Kind, Ill>,
    /// Of those that may see anything.
    heard: BTreeMap<Kind, Heard>,
}

struct Ill {
    since: Timestamp,
    at: Instant,
    cause: Cause,
}

impl Watches {
    pub(super) fn new() -> Self {
        let starting = Health::Stale { since: Timestamp::now(), cause: crate::orchestrator::cause::not_yet() };
        Self { state: Mutex::default(), health: watch::Sender::new(starting), synced: watch::Sender::new(false) }
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Whether every kind was listed once.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub(super) async fn synced(&self, limit: Duration) -> bool {
        let mut synced = self.synced.subscribe();
        tokio::time::timeout(limit, synced.wait_for(|synced| *synced)).await.is_ok_and(|waited| waited.is_ok())
    }

    /// A watch begins.
    pub(super) fn begin(&self, kind: Kind) {
        self.lock().heard.insert(kind, Heard::new());
    }

    /// A watch heard something.
    pub(super) fn heard(&self, kind: Kind) {
        self.lock().heard.entry(kind).or_insert_with(Heard::new).heard();
    }

    /// What a watch is of may not be seen, and need not: nothing is to be heard of it.
    pub(super) fn unseen(&self, kind: Kind) {
        self.lock().heard.remove(&kind);
    }

    /// How each is.
    pub(crate) fn facts(&self) -> Vec<WatchFact> {
        self.lock().heard.iter().map(|(kind, heard)| heard.fact("sandboxes", kind.to_string())).collect()
    }

    /// A watch is well.
    pub(super) fn well(&self, kind: Kind, listed: bool) {
        self.lock().heard.entry(kind).or_insert_with(Heard::new).well(listed);
        if !kind.is_needed() {
            return;
        }
        {
            let mut state = self.lock();
            state.ill.remove(&kind);
            if listed {
                state.listed.insert(kind);
            }
        }
        self.judge();
    }

    /// A watch failed. It tries again by itself.
    pub(super) fn ill(&self, kind: Kind, cause: Cause) {
        self.lock().heard.entry(kind).or_insert_with(Heard::new).ill();
        if !kind.is_needed() {
            return;
        }
        {
            let mut state = self.lock();
            let ill = state.ill.entry(kind).or_insert_with(|| Ill {
                since: Timestamp::now(),
                at: Instant::now(),
                cause: cause.clone(),
            });
            ill.cause = cause;
        }
        self.judge();
    }

    /// Says what follows of what is known, where that is something new.
    pub(super) fn judge(&self) {
        let state = self.lock();
        let synced = state.listed.len() == Kind::NEEDED.len();
        let worst = state.ill.values().filter(|ill| !synced || ill.at.elapsed() >= TOLERATED).min_by_key(|ill| ill.at);
        let health = match worst {
            Some(ill) => Some(Health::Stale { since: ill.since, cause: ill.cause.clone() }),
            None if synced => Some(Health::Fresh),
            None => None,
        };
        if let Some(health) = health {
            self.health.send_if_modified(|was| {
                let changed = *was != health;
                *was = health;
                changed
            });
        }
        // After it: who waits for all to be listed may ask at once.
        self.synced.send_if_modified(|was| std::mem::replace(was, synced) != synced);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
