//! One pass: from a row, through what is there, to what was found. At most one write to each part of
//! the world.
//!
//! - [`up`], [`down`]: what is done, by what was asked for
//! - [`work`]: the facts on the way
//! - [`drift`]: whether a pass is due at all
//! - [`causes`], [`failure`]: what went wrong, in words

mod causes;
mod down;
mod drift;
mod failure;
mod up;
mod work;

pub(super) use drift::{differs, ended};

use super::{Reconciler, overdue, spec};
use crate::{
    database::Glance,
    orchestrator::Seen,
    store::{Pass, ProjectAndSandbox, activity},
};
use failure::Failure;
use model::{Cause, Desired, phase::next_deadline, stage, text::clean};
use std::{future::Future, time::Duration};
use work::Work;

/// What became of a pass.
pub(super) enum Found {
    /// Record this.
    Pass {
        /// What to record.
        pass: Box<Pass>,
        /// Whether something moved, so that another pass has something to do at once.
        again: bool,
    },
    /// Nothing of a deleted project is left in the world: its rows may go.
    Bury,
}

/// Backstop for transitions of which no event came.
const POLL: Duration = Duration::from_millis(500);
/// The same for what is past a deadline, or waits for somebody to act: each look is a write, and it may last for days.
const POLL_BLOCKED: Duration = Duration::from_secs(5);

impl Reconciler {
    pub(super) async fn step(&self, row: &ProjectAndSandbox) -> Found {
        let deleting = row.project.deleting_since.is_some();
        let desired = row.desired();
        let mut work = Work::new(&row.sandbox, None);
        let seen = self.timed("observe the sandbox", self.orchestrator.observe(row.sandbox.id)).await;
        match seen.map(|seen| seen.with(&row.sandbox.observed)) {
            Err(error) => work.blame(error),
            Ok(seen) => match desired {
                Desired::Running => self.up(row, &seen, &mut work).await,
                Desired::Stopped | Desired::Terminated => {
                    self.down(row, &seen, desired, &mut work).await;
                    // What belongs to a project goes first.
                    if deleting && work.observed.gone_at.is_some() && work.error.is_none() && !row.project.has_extras {
                        work.erase(self.clock.now(), self.settings.limits.leave);
                        if self.erase(row, &mut work).await {
                            return Found::Bury;
                        }
                    }
                }
            },
        }
        let (pass, again) = self.conclude(row, desired, work);
        Found::Pass { pass: Box::new(pass), again }
    }

    /// What is recorded of a run that [`ended`], with nothing done about it.
    pub(super) fn taken_back(&self, row: &ProjectAndSandbox, seen: &Seen) -> Pass {
        let mut work = Work::new(&row.sandbox, seen.cause.clone());
        work.settle(&row.sandbox, seen);
        work.observed.present = seen.present;
        self.conclude(row, Desired::Running, work).0
    }

    /// What is known of the project's database, where it has one.
    pub(super) fn glance(&self, row: &ProjectAndSandbox) -> Option<Glance> {
        self.database.glance(&spec::database(row, &self.settings)?)
    }

    /// From what a pass did to what is recorded of it, and whether another has something to do at once.
    fn conclude(&self, row: &ProjectAndSandbox, desired: Desired, work: Work) -> (Pass, bool) {
        let (sandbox, now) = (&row.sandbox, self.clock.now());
        let Work { observed, mut cause, notice, error, moved, not_before, told } = work;
        let settled = match desired {
            Desired::Running => observed.ready(sandbox.generation),
            Desired::Stopped | Desired::Terminated => observed.gone_at.is_some() && row.project.deleting_since.is_none(),
        };
        if settled && error.is_none() {
            cause = notice;
        } else if !cause.as_ref().is_some_and(|cause| cause.code.blocks()) {
            cause = overdue::after(row, desired, &observed, cause.as_ref(), now).or(cause);
        }
        // What cannot be stored would be found again and again. A keeper of an older version may say it.
        let (cause, error) = (cause.map(Cause::cleaned), error.map(clean));
        let failures = if error.is_some() { sandbox.failures.saturating_add(1) } else { 0 };
        let progress = moved || observed != sandbox.observed;
        let backoff = (failures > 0).then(|| stage::after(now, backoff(failures, self.random.unit())));
        let pause = if cause.as_ref().is_some_and(|cause| cause.code.blocks()) { POLL_BLOCKED } else { POLL };
        let poll = (!settled && failures == 0).then(|| stage::after(now, pause));
        let deadline = next_deadline(desired, &observed, now).filter(|_| !settled);
        let retry = match not_before {
            Some(at) => Some(at),
            None => backoff.or(poll),
        };
        let wake_at = retry.into_iter().chain(deadline).min();
        let again = progress && !settled && failures == 0 && not_before.is_none() && observed != sandbox.observed;
        let mut pass = Pass { observed, cause, last_error: error, failures, wake_at, told: Vec::new() };
        pass.told = activity::pass(row, &pass, now);
        pass.told.extend(told);
        (pass, again)
    }

    /// A verb of the world, ended by [`super::Settings::verb`]: a hung world must not hold a worker.
    async fn timed<T, E: Into<Failure>>(
        &self,
        doing: &'static str,
        verb: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = verb => done.map_err(Into::into),
            () = self.clock.sleep(self.settings.verb) => Err(Failure::Slow(doing, self.settings.verb)),
        }
    }
}

/// 0.5 s, doubled with each failure in a row, at most 30 s, and up to a quarter of it more, by a `chance`
/// from 0 to 1, so that many do not come back together.
pub(super) fn backoff(failures: u32, chance: f64) -> Duration {
    let base = 0.5 * f64::from(2_u32.pow(failures.saturating_sub(1).min(6)));
    Duration::from_secs_f64(base.min(30.0) * (1.0 + chance / 4.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_backoff_doubles_to_its_limit_and_is_spread(failures in 1u32..100, chance in 0.0f64..=1.0) {
            let secs = |failures, chance| backoff(failures, chance).as_secs_f64();
            let base = secs(failures, 0.0);
            prop_assert!((0.5..=30.0).contains(&base));
            let next = secs(failures + 1, 0.0);
            prop_assert!(next == (base * 2.0).min(30.0), "{base} {next}");
            let spread = secs(failures, chance);
            prop_assert!(spread >= base && spread <= base * 1.25, "{spread}");
        }
    }

    #[test]
    fn many_that_failed_together_do_not_come_back_together() {
        let mut times: Vec<Duration> = (0..100u8).map(|n| backoff(7, f64::from(n) / 99.0)).collect();
        times.dedup();
        assert_eq!(times.len(), 100);
        assert_eq!((times[0], times[99]), (Duration::from_secs(30), Duration::from_millis(37_500)));
    }
}
