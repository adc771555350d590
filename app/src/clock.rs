//! What time it is, by the server's clock.
//!
//! Server and browser render the page at the time of its [`Opening`](crate::api::Opening), so that
//! they write the same. From hydration on it ticks.

use crate::{browser, erased::effect, state::State, time};
use leptos::prelude::*;
use model::Timestamp;
use std::time::Duration;

/// Under this much the clocks of server and browser count as the same: a `Date` header has seconds,
/// and a page takes a while to arrive.
const SAME_MS: f64 = 2_000.0;

/// The page's clock.
#[derive(Clone, Copy)]
pub struct Clock {
    now: State<f64>,
    fine: State<f64>,
    /// What the server's clock is ahead by.
    ahead: State<f64>,
}

impl Clock {
    /// A clock that shows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { now: State::new(0.0), fine: State::new(0.0), ahead: State::new(0.0) }
    }

    /// Sets it for the first rendering; later calls change nothing.
    pub fn open(&self, at: Timestamp) {
        if self.now.get_untracked() == 0.0 {
            self.now.set(time::millis(at));
            self.fine.set(time::millis(at));
        }
    }

    /// The server's clock as a response said it, in milliseconds.
    pub fn correct(&self, server_ms: f64) {
        let ahead = server_ms - browser::now();
        self.ahead.set(if ahead.abs() < SAME_MS { 0.0 } else { ahead });
    }

    /// Lets it tick. In an effect.
    pub fn start(self) {
        let tick = move || self.now.set(browser::now() + self.ahead.get_untracked());
        tick();
        set_interval(tick, Duration::from_secs(1));
    }

    /// Milliseconds since the epoch; changes every second.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.now.get()
    }

    /// Runs the caller again every second.
    pub fn track(&self) {
        self.now.with(|_| ());
    }

    /// The same for times that show tenths; changes ten times a second while someone called
    /// [`Self::run_fine`].
    #[must_use]
    pub fn fine(&self) -> f64 {
        self.fine.get()
    }

    /// Lets [`Self::fine`] tick for as long as the calling component lives.
    pub fn run_fine(self) {
        effect(move || {
            let tick = move || self.fine.set(browser::now() + self.ahead.get_untracked());
            tick();
            if let Ok(handle) = set_interval_with_handle(tick, Duration::from_millis(100)) {
                on_cleanup(move || handle.clear());
            }
        });
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
