//! One who looks at a session, and what follows from there being several: whose size holds, and who answers the terminal's queries.

use std::{cmp::Reverse, rc::Rc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Session, State, shell};
use crate::protocol::{OUTPUT_WINDOW, frame::Size};

/// A viewer as its session knows it.
pub(super) struct Place {
    size: Size,
    /// Speaks `fsa-tty.v1`: only such a one can be told that it is not to answer queries.
    counts: bool,
    /// Up to where it has taken the output.
    pub(super) taken: u64,
    /// When it last typed, in keystrokes of the session; 0 is never.
    typed: u64,
}

/// A viewer's place in a session. Dropping it leaves the session.
pub struct Viewer {
    pub session: Rc<Session>,
    key: u64,
}

/// What a viewer gets when it comes.
pub struct Attachment {
    /// Where its output starts.
    pub start: u64,
    /// Bytes before `start` that it wanted and does not get.
    pub skipped: u64,
    /// The end of the output at this moment.
    pub replay_until: u64,
    /// What is to be painted when the output has been sent up to `replay_until`.
    pub repaint: Option<Vec<u8>>,
}

impl Viewer {
    /// Joins a session. With `counts`, output starts at `offset` or with what is replayed; else with a picture of the screen, since a viewer
    /// that knows no offsets would answer the queries in old output once more.
    pub fn attach(session: Rc<Session>, size: Size, counts: bool, offset: Option<u64>) -> (Self, Attachment) {
        let (key, attachment) = {
            let mut state = session.state.borrow_mut();
            state.catch_up();
            let (oldest, end) = (state.ring.start(), state.ring.end());
            let wanted = offset.filter(|offset| *offset <= end);
            let start = match wanted {
                _ if !counts => end,
                Some(offset) if offset >= oldest => offset,
                None if oldest == 0 => 0,
                // More than 1 MiB; the line that is cut is not shown.
                _ => state.ring.line_start(oldest),
            };
            let skipped = if counts { start - wanted.unwrap_or(0) } else { 0 };
            let repaint = (skipped > 0 || (!counts && end > 0)).then(|| state.screen.repaint());
            state.next_viewer += 1;
            let key = state.next_viewer;
            state.viewers.insert(key, Place { size: size.clamped(), counts, taken: start, typed: 0 });
            (key, Attachment { start, skipped, replay_until: end, repaint })
        };
        session.settle();
        (Self { session, key }, attachment)
    }

    /// This viewer typed: its size holds from now on.
    pub fn typed(&self) {
        {
            let mut state = self.session.state.borrow_mut();
            let before = state.keystrokes;
            state.keystrokes += 1;
            match state.viewers.get_mut(&self.key) {
                // It typed last already: nothing changes, and this is the way of nearly every keystroke.
                Some(place) if place.typed == before && before > 0 => {
                    place.typed = before + 1;
                    return;
                }
                Some(place) => place.typed = before + 1,
                None => return,
            }
        }
        self.session.settle();
    }

    pub fn resized(&self, size: Size) {
        if let Some(place) = self.session.state.borrow_mut().viewers.get_mut(&self.key) {
            place.size = size.clamped();
        }
        self.session.settle();
    }

    /// This viewer has taken the output up to `offset`.
    pub fn took(&self, offset: u64) {
        let mut state = self.session.state.borrow_mut();
        let offset = offset.min(state.ring.end());
        if let Some(place) = state.viewers.get_mut(&self.key).filter(|place| place.taken < offset) {
            place.taken = offset;
            self.session.progress.notify_one();
        }
    }

    /// Whether this is the one viewer that answers the terminal's queries.
    pub fn primary(&self) -> bool {
        self.session.state.borrow().leader(true) == Some(self.key)
    }

    /// Returns once this viewer has held up the session for `limit` without taking anything.
    pub async fn stuck(&self, limit: Duration) {
        let mut seen = (u64::MAX, Instant::now());
        loop {
            let (taken, blocking) = {
                let state = self.session.state.borrow();
                let taken = state.viewers.get(&self.key).map_or(0, |place| place.taken);
                (taken, state.ring.end().saturating_sub(taken) >= OUTPUT_WINDOW)
            };
            if !blocking || taken != seen.0 {
                seen = (taken, Instant::now());
            } else if seen.1.elapsed() >= limit {
                return;
            }
            sleep(limit / 8).await;
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.session.state.borrow_mut().viewers.remove(&self.key);
        self.session.progress.notify_one();
        self.session.settle();
    }
}

impl State {
    /// The viewer that typed last, or came first where none has; with `counts` only among those that speak `fsa-tty.v1`.
    fn leader(&self, counts: bool) -> Option<u64> {
        let those = self.viewers.iter().filter(|(_, place)| place.counts || !counts);
        those.max_by_key(|(key, place)| (place.typed, Reverse(**key))).map(|(key, _)| *key)
    }
}

impl Session {
    /// Puts the leader's size in force, and has viewers look at what changed.
    fn settle(&self) {
        {
            let mut state = self.state.borrow_mut();
            let size = state.leader(false).and_then(|key| state.viewers.get(&key)).map(|place| place.size);
            if let Some(size) = size.filter(|size| *size != state.size && !self.ended()) {
                state.size = size;
                let end = state.ring.end();
                state.screen.resize(end, size);
                if let Some(terminal) = &*self.terminal.borrow() {
                    let _ = shell::resize(terminal.get_ref(), size);
                }
            }
        }
        self.notify_viewers();
    }
}
