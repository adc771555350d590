//! What the store refused, and for how long it is left alone.
//!
//! In memory, since just this cannot be stored: a row whose facts are not taken is due as before, and would be worked on again at
//! once, hundreds of times a second.

use super::step::backoff;
use jiff::Timestamp;
use model::{SandboxId, stage::after};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// The first pause after what is due could not be leased.
const FIRST: Duration = Duration::from_millis(200);
/// The longest.
const LONGEST: Duration = Duration::from_secs(5);
/// More than any pause: who would wait for longer does so by a clock that was set back since.
const MOST: Duration = Duration::from_secs(60);
/// After this, one that was left alone and has not failed again is another process', or gone.
const FORGOTTEN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct Pause {
    /// Failures in a row.
    times: u32,
    until: Timestamp,
}

impl Pause {
    fn left(&self, now: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(self.until.duration_since(now)).ok()?;
        (!left.is_zero() && left <= MOST).then_some(left)
    }
}

/// Nothing, to begin with.
#[derive(Debug, Default)]
pub(super) struct Refused {
    due: Option<Pause>,
    facts: HashMap<SandboxId, Pause>,
}

impl Refused {
    /// What a pass found was not taken: how long that sandbox is left alone. `chance` is from 0 to 1.
    pub(super) fn facts_of(&mut self, id: SandboxId, now: Timestamp, chance: f64) -> Duration {
        let times = self.facts.get(&id).map_or(1, |pause| pause.times.saturating_add(1));
        let pause = backoff(times, chance);
        self.facts.insert(id, Pause { times, until: after(now, pause) });
        pause
    }

    /// They were taken.
    pub(super) fn taken(&mut self, id: SandboxId) {
        self.facts.remove(&id);
    }

    /// Something of it was written: the next try need not wait. How often it failed stays, until it does not.
    pub(super) fn try_again(&mut self, id: SandboxId, now: Timestamp) {
        if let Some(pause) = self.facts.get_mut(&id) {
            pause.until = pause.until.min(now);
        }
    }

    /// Which sandboxes are left alone.
    pub(super) fn resting(&mut self, now: Timestamp) -> HashSet<SandboxId> {
        self.facts.retain(|_, pause| after(pause.until, FORGOTTEN) > now);
        self.facts.iter().filter(|(_, pause)| pause.left(now).is_some()).map(|(id, _)| *id).collect()
    }

    /// When the first of them is not any more.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Duration> {
        self.facts.values().filter_map(|pause| pause.left(now)).min()
    }

    /// What is due could not be leased.
    pub(super) fn leases(&mut self, now: Timestamp) {
        let times = self.due.map_or(1, |pause| pause.times.saturating_add(1));
        let pause = (FIRST * 2_u32.pow((times - 1).min(5))).min(LONGEST);
        self.due = Some(Pause { times, until: after(now, pause) });
    }

    /// It could.
    pub(super) fn leased(&mut self) {
        self.due = None;
    }

    /// In what time it is tried again, unless that may be done now.
    pub(super) fn leases_in(&self, now: Timestamp) -> Option<Duration> {
        self.due.and_then(|pause| pause.left(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    #[test]
    fn leases_that_are_refused_are_asked_for_ever_more_seldom() {
        let (mut refused, mut pauses) = (Refused::default(), Vec::new());
        assert_eq!(refused.leases_in(at(0)), None);
        for _ in 0..7 {
            refused.leases(at(0));
            pauses.extend(refused.leases_in(at(0)));
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis));
        assert_eq!(refused.leases_in(at(5000)), None, "it is over");
        assert_eq!(refused.leases_in(at(-3_600_000)), None, "a clock that was set back keeps nothing waiting");
        refused.leased();
        refused.leases(at(0));
        assert_eq!(refused.leases_in(at(0)), Some(FIRST), "a success begins anew");
    }

    #[test]
    fn a_sandbox_whose_facts_are_refused_is_left_alone_and_no_other() {
        let [ill, well] = [1, 2].map(|n| SandboxId(Uuid::from_u128(n)));
        let mut refused = Refused::default();
        assert_eq!(refused.facts_of(ill, at(0), 0.0), Duration::from_millis(500));
        refused.taken(well);
        assert_eq!(refused.resting(at(499)), [ill].into());
        assert_eq!(refused.next_end(at(0)), Some(Duration::from_millis(500)));
        assert!(refused.resting(at(500)).is_empty());
        assert_eq!(refused.facts_of(ill, at(500), 0.0), Duration::from_secs(1), "it has failed again");
        refused.try_again(ill, at(600));
        assert!(refused.resting(at(600)).is_empty());
        assert_eq!(refused.facts_of(ill, at(600), 0.0), Duration::from_secs(2));
        refused.taken(ill);
        assert_eq!(refused.facts_of(ill, at(700), 0.0), Duration::from_millis(500), "a success begins anew");
        assert!(refused.resting(at(700_000)).is_empty() && refused.facts.is_empty(), "nothing is kept of what has gone");
    }
}
