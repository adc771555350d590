//! The phase: computed from intent and observed by one pure function, never stored as a decision.

use crate::{
    cause::{Cause, CauseCode},
    observed::{Observed, StageFact},
    stage::{Stage, StageLimits, StageState, StageView},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Desired {
    /// Up.
    Running,
    /// Down; volume and database stay, and so does its place in the orchestrator.
    Stopped,
    /// Nothing of it in the world; volume and database stay.
    Terminated,
}

impl Desired {
    /// Its name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Terminated => "terminated",
        }
    }
}

impl std::str::FromStr for Desired {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Running, Self::Stopped, Self::Terminated]
            .into_iter()
            .find(|d| d.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no intent"))
    }
}

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Phase {
    /// On its way up for the first time.
    Creating,
    /// On its way up again.
    Starting,
    /// Reachable end to end.
    Running,
    /// On its way up again, in another size: a run is replaced by one with other limits.
    Updating,
    /// On its way down.
    Stopping,
    /// Down; files and rows are kept.
    Stopped,
    /// Its objects are being removed.
    Terminating,
    /// Nothing of it is left but volume and database.
    Terminated,
    /// Not as intended, and overdue or blocked; the cause says why. Reconciling goes on.
    Error,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Creating,
        Self::Starting,
        Self::Running,
        Self::Updating,
        Self::Stopping,
        Self::Stopped,
        Self::Terminating,
        Self::Terminated,
        Self::Error,
    ];

    /// Lower case, as pages put it in `data-phase`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Updating => "updating",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
            Self::Error => "error",
        }
    }

    /// As pages write it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Updating => "Updating",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
            Self::Error => "Error",
        }
    }

    /// Whether it is between two states that last.
    #[must_use]
    pub fn transitional(self) -> bool {
        matches!(self, Self::Creating | Self::Starting | Self::Updating | Self::Stopping | Self::Terminating)
    }
}

/// What a sandbox was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// What it is to be.
    pub desired: Desired,
    /// Goes up with each ask.
    pub generation: i64,
    /// Whether that ask changed the size of a sandbox that ran, and nothing else.
    pub resizes: bool,
}

/// The phase of a sandbox.
///
/// Total and pure. `cause` is what stands in the way, as last observed for this generation. Facts
/// gathered for an older generation count only as "something is there".
#[must_use]
pub fn phase(intent: Intent, observed: &Observed, cause: Option<&Cause>, now: Timestamp) -> Phase {
    let Intent { desired, generation, resizes } = intent;
    let current = observed.generation == generation;
    match desired {
        Desired::Running => {
            if observed.ready(generation) {
                Phase::Running
            } else if current && (blocked(cause) || overdue(observed, now)) {
                Phase::Error
            } else if resizes && observed.settled_generation != generation {
                // Once it ran in its new size, whatever happens to it is no change of size any more.
                Phase::Updating
            } else if observed.first_ready_at.is_some() {
                Phase::Starting
            } else {
                Phase::Creating
            }
        }
        Desired::Stopped | Desired::Terminated => {
            let (going, gone) = match desired {
                Desired::Stopped => (Phase::Stopping, Phase::Stopped),
                _ => (Phase::Terminating, Phase::Terminated),
            };
            // What is erased of a deleted project has a deadline of its own: it is not over before its
            // row is.
            if current && observed.gone_at.is_some() && !observed.present && observed.erasing_since.is_none() {
                gone
            } else if current && (blocked(cause) || observed.leave_deadline_at.is_some_and(|at| now >= at)) {
                Phase::Error
            } else {
                going
            }
        }
    }
}

/// The stages as they are shown. `cause` fails the earliest stage that is under way; `limits` are those of stages to come.
#[must_use]
pub fn stages(
    desired: Desired,
    generation: i64,
    observed: &Observed,
    cause: Option<&Cause>,
    limits: &StageLimits,
    now: Timestamp,
) -> Vec<StageView> {
    let facts =
        if observed.generation == generation || desired != Desired::Running { observed.stages } else { Default::default() };
    let stuck = desired == Desired::Running && blocked(cause);
    let mut blamed = false;
    Stage::ALL
        .into_iter()
        .map(|stage| {
            let fact = facts[stage.index()];
            let state = match (fact.started_at, fact.ended_at) {
                _ if fact.skipped => StageState::Skipped,
                (_, Some(_)) => StageState::Done,
                (None, None) => StageState::Waiting,
                (Some(started), None) => {
                    let failed = fact.deadline_at.is_some_and(|at| now >= at) || (stuck && !blamed);
                    blamed |= failed;
                    if failed {
                        StageState::Failed
                    } else if desired == Desired::Running && late(started, fact.deadline_at, now) {
                        StageState::Late
                    } else if desired == Desired::Running {
                        StageState::Running
                    } else {
                        StageState::Waiting
                    }
                }
            };
            let limit_seconds = match (fact.started_at, fact.deadline_at) {
                (Some(started), Some(deadline)) => u32::try_from(deadline.duration_since(started).as_secs()).ok(),
                _ => u32::try_from(limits.stages[stage.index()].as_secs()).ok(),
            };
            let StageFact { started_at, ended_at, deadline_at, .. } = fact;
            StageView { stage, state, started_at, ended_at, deadline_at, limit_seconds }
        })
        .collect()
}

/// When the phase changes by time alone: the earliest deadline ahead. The reconciler wakes then.
#[must_use]
pub fn next_deadline(desired: Desired, observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    match desired {
        Desired::Running => observed
            .stages
            .iter()
            .filter(|fact| fact.started_at.is_some() && fact.ended_at.is_none())
            .filter_map(|fact| fact.deadline_at)
            .filter(|at| *at > now)
            .min(),
        Desired::Stopped | Desired::Terminated => {
            let under_way = observed.gone_at.is_none() || observed.erasing_since.is_some();
            observed.leave_deadline_at.filter(|at| under_way && *at > now)
        }
    }
}

/// The stage that is overdue, if one is.
#[must_use]
pub fn overdue_stage(observed: &Observed, now: Timestamp) -> Option<Stage> {
    Stage::ALL.into_iter().find(|stage| {
        let fact = observed.stage(*stage);
        fact.ended_at.is_none() && fact.deadline_at.is_some_and(|at| now >= at)
    })
}

fn blocked(cause: Option<&Cause>) -> bool {
    cause.is_some_and(|cause| cause.code.blocks() && cause.code != CauseCode::EndedUnexpectedly)
}

fn overdue(observed: &Observed, now: Timestamp) -> bool {
    overdue_stage(observed, now).is_some()
}

/// Past 60 % of the limit.
fn late(started: Timestamp, deadline: Option<Timestamp>, now: Timestamp) -> bool {
    deadline.is_some_and(|deadline| {
        let limit = deadline.duration_since(started).as_millis();
        now.duration_since(started).as_millis() * 10 >= limit * 6
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::InstanceFact;
    use jiff::SignedDuration;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        proptest::option::of((0i64..600).prop_map(at))
    }

    prop_compose! {
        fn fact()(started_at in time(), ended_at in time(), deadline_at in time(), skipped: bool) -> StageFact {
            StageFact { started_at, ended_at, deadline_at, skipped }
        }
    }

    prop_compose! {
        fn facts()(
            generation in 0i64..4, present: bool, stages in proptest::array::uniform5(fact()), alive: bool,
            leaving_since in time(), leave_deadline_at in time(), gone_at in time(), erasing_since in time(), first_ready_at in time(), ready_at in time(),
            settled_generation in 0i64..4,
        ) -> Observed {
            let instance = alive.then(|| InstanceFact { id: "i".into(), started_at: at(0), restart_count: 0, env_revision: 0 });
            Observed { generation, present, stages, instance, leaving_since, leave_deadline_at, gone_at, erasing_since, first_ready_at, ready_at, settled_generation }
        }
    }

    fn running(generation: i64) -> Intent {
        Intent { desired: Desired::Running, generation, resizes: false }
    }

    fn intent() -> impl Strategy<Value = Desired> {
        prop_oneof![Just(Desired::Running), Just(Desired::Stopped), Just(Desired::Terminated)]
    }

    fn cause() -> impl Strategy<Value = Option<Cause>> {
        proptest::option::of(
            prop_oneof![Just(CauseCode::IsolationMissing), Just(CauseCode::AgentSilent), Just(CauseCode::DatabaseUnreachable)]
                .prop_map(|code| Cause::new(code, "m", &["n"])),
        )
    }

    proptest! {
        #[test]
        fn every_intent_has_its_own_phases(desired in intent(), generation in 0i64..4, resizes: bool, observed in facts(), cause in cause(), now in 0i64..900) {
            let phase = phase(Intent { desired, generation, resizes }, &observed, cause.as_ref(), at(now));
            let own: &[Phase] = match desired {
                Desired::Running if resizes => &[Phase::Creating, Phase::Starting, Phase::Updating, Phase::Running, Phase::Error],
                Desired::Running => &[Phase::Creating, Phase::Starting, Phase::Running, Phase::Error],
                Desired::Stopped => &[Phase::Stopping, Phase::Stopped, Phase::Error],
                Desired::Terminated => &[Phase::Terminating, Phase::Terminated, Phase::Error],
            };
            prop_assert!(own.contains(&phase), "{phase:?}");
        }

        #[test]
        fn running_is_never_claimed_for_an_older_ask(observed in facts(), generation in 0i64..4, now in 0i64..900) {
            let phase = phase(running(generation), &observed, None, at(now));
            if phase == Phase::Running {
                prop_assert_eq!(observed.generation, generation);
                prop_assert!(observed.present && observed.stages.iter().all(|f| f.ended_at.is_some()));
            }
        }

        /// From the moment of the ask until it runs in the new size, and for nothing that happens to it afterwards.
        #[test]
        fn a_change_of_size_is_updating_until_it_ran_in_it(observed in facts(), generation in 1i64..4, now in 0i64..900) {
            let resizing = Intent { resizes: true, ..running(generation) };
            let other = phase(running(generation), &observed, None, at(now));
            let phase = phase(resizing, &observed, None, at(now));
            let starts = matches!(other, Phase::Creating | Phase::Starting);
            prop_assert_eq!(phase == Phase::Updating, starts && observed.settled_generation != generation);
            prop_assert!(phase == Phase::Updating || phase == other);
        }

        #[test]
        fn gone_is_never_claimed_while_something_is_there(desired in intent(), observed in facts(), now in 0i64..900) {
            let phase = phase(Intent { desired, generation: observed.generation, resizes: false }, &observed, None, at(now));
            if matches!(phase, Phase::Stopped | Phase::Terminated) {
                prop_assert!(!observed.present);
            }
        }

        #[test]
        fn time_alone_only_leads_to_error(desired in intent(), generation in 0i64..4, resizes: bool, observed in facts(), a in 0i64..900, b in 0i64..900) {
            let (early, late) = (a.min(b), a.max(b));
            let before = phase(Intent { desired, generation, resizes }, &observed, None, at(early));
            let after = phase(Intent { desired, generation, resizes }, &observed, None, at(late));
            prop_assert!(before == after || after == Phase::Error);
        }

        #[test]
        fn the_next_deadline_is_when_error_begins(observed in facts(), now in 0i64..900) {
            let now = at(now);
            let mut observed = observed;
            for fact in &mut observed.stages {
                if fact.deadline_at.is_some() && fact.started_at.is_none() { fact.deadline_at = None }
            }
            let generation = observed.generation;
            if phase(running(generation), &observed, None, now).transitional()
                && let Some(at) = next_deadline(Desired::Running, &observed, now)
            {
                prop_assert_eq!(phase(running(generation), &observed, None, at), Phase::Error);
                let just_before = at.checked_sub(SignedDuration::from_nanos(1)).unwrap();
                prop_assert!(phase(running(generation), &observed, None, just_before).transitional());
            }
        }

        #[test]
        fn an_error_on_the_way_up_shows_at_a_stage(observed in facts(), now in 0i64..900) {
            let generation = observed.generation;
            let mut observed = observed;
            for fact in &mut observed.stages {
                fact.skipped = false;
                if fact.started_at.is_none() { fact.deadline_at = None }
            }
            let shown = stages(Desired::Running, generation, &observed, None, &StageLimits::default(), at(now));
            let failed = shown.iter().any(|s| s.state == StageState::Failed);
            let error = phase(running(generation), &observed, None, at(now)) == Phase::Error;
            prop_assert!(!error || failed);
        }
    }

    #[test]
    fn late_begins_at_sixty_percent() {
        let mut observed = Observed::default();
        observed.stages[0] = StageFact { started_at: Some(at(0)), ended_at: None, deadline_at: Some(at(100)), skipped: false };
        let state = |now| stages(Desired::Running, 0, &observed, None, &StageLimits::default(), at(now))[0].state;
        assert_eq!(
            [state(59), state(60), state(99), state(100)],
            [StageState::Running, StageState::Late, StageState::Late, StageState::Failed]
        );
    }

    #[test]
    fn a_stage_says_how_long_it_may_take_before_it_begins_too() {
        let limits = StageLimits { stages: [60, 900, 30, 20, 45].map(Duration::from_secs), ..StageLimits::default() };
        let mut observed = Observed::default();
        // Begun before the installation was set up anew.
        observed.stages[0] = StageFact { started_at: Some(at(0)), ended_at: None, deadline_at: Some(at(100)), skipped: false };
        let shown = stages(Desired::Running, 0, &observed, None, &limits, at(1));
        let seconds: Vec<_> = shown.iter().map(|stage| stage.limit_seconds).collect();
        assert_eq!(seconds, [100, 900, 30, 20, 45].map(Some));
    }
}
