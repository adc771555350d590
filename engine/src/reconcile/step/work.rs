//! A pass under way: the facts that it began with, as what it sees and does changes them.

use super::{causes::ended_by_itself, failure::Failure};
use crate::{
    orchestrator::{AgentSeen, Seen},
    store::{SandboxRow, activity},
};
use jiff::Timestamp;
use model::{Cause, Observed, Stage, StageFact, stage};
use std::time::Duration;

/// A pass under way.
pub(super) struct Work {
    pub(super) observed: Observed,
    pub(super) cause: Option<Cause>,
    /// What is told if it is as it was asked for.
    pub(super) notice: Option<Cause>,
    pub(super) error: Option<String>,
    pub(super) moved: bool,
    /// Nothing is tried again before.
    pub(super) not_before: Option<Timestamp>,
    /// What is told of it beside what [`activity::pass`] finds.
    pub(super) told: Vec<activity::Entry>,
}

impl Work {
    /// Nothing is done yet.
    pub(super) fn new(sandbox: &SandboxRow, cause: Option<Cause>) -> Self {
        let observed = toward(sandbox);
        Self { observed, cause, notice: None, error: None, moved: false, not_before: None, told: Vec::new() }
    }

    /// Lets what is there overrule what was recorded: a run that ended, or was never the one asked
    /// for, takes the stages that depend on it back.
    pub(super) fn settle(&mut self, sandbox: &SandboxRow, seen: &Seen) {
        let alive = seen.instance.as_ref().filter(|run| run.restart_count == sandbox.restart_count);
        let same = alive.is_some_and(|run| self.observed.instance.as_ref().is_some_and(|known| known.id == run.id));
        let again = if !same {
            &Stage::ALL[1..]
        } else if !seen.network {
            &Stage::ALL[2..]
        } else if seen.agent != AgentSeen::ShellStarted {
            &Stage::ALL[3..]
        } else {
            &[]
        };
        for stage in again {
            let fact = &mut self.observed.stages[stage.index()];
            if fact.ended_at.is_some() {
                *fact = StageFact::default();
            }
        }
        if again.contains(&Stage::TerminalInitialization) {
            // They begin when what they wait for is there.
            for stage in [Stage::TerminalInitialization, Stage::EnvironmentReady] {
                if alive.is_none() {
                    self.observed.stages[stage.index()] = StageFact::default();
                }
            }
        }
        if !same {
            self.observed.instance = None;
        }
        if !again.is_empty() && sandbox.observed.ready(sandbox.generation) {
            // It ran and does no longer: the project's database is looked at again, too.
            self.observed.stages[0] = StageFact::default();
            self.observed.ready_at = None;
            if alive.is_none() {
                self.cause.get_or_insert_with(|| ended_by_itself(seen));
            }
        }
        self.observed.leaving_since = None;
        self.observed.leave_deadline_at = None;
        self.observed.gone_at = None;
    }

    pub(super) fn begin(&mut self, stage: Stage, deadline: Timestamp, now: Timestamp) {
        let fact = &mut self.observed.stages[stage.index()];
        if fact.started_at.is_none() {
            *fact = StageFact { started_at: Some(now), deadline_at: Some(deadline), ended_at: None, skipped: false };
        }
    }

    pub(super) fn end(&mut self, stage: Stage, now: Timestamp) {
        self.observed.stages[stage.index()].ended_at.get_or_insert(now);
    }

    pub(super) fn overdue(&self, stage: Stage, now: Timestamp) -> bool {
        let fact = self.observed.stage(stage);
        fact.ended_at.is_none() && fact.deadline_at.is_some_and(|at| now >= at)
    }

    /// Removing what a deleted project leaves behind has a deadline of its own, from when it began.
    pub(super) fn erase(&mut self, now: Timestamp, limit: Duration) {
        if self.observed.erasing_since.is_none() {
            self.observed.erasing_since = Some(now);
            self.observed.leave_deadline_at = Some(stage::after(now, limit));
        }
    }

    pub(super) fn stage(&mut self, stage: Stage, fact: StageFact) {
        self.observed.stages[stage.index()] = fact;
    }

    pub(super) fn gone(&mut self, now: Timestamp) {
        self.observed.gone_at.get_or_insert(now);
        self.observed.instance = None;
        self.observed.ready_at = None;
    }

    pub(super) fn blame(&mut self, failure: impl Into<Failure>) {
        let (cause, error) = failure.into().explain();
        self.error = Some(error);
        if !self.cause.as_ref().is_some_and(|cause| cause.code.blocks()) {
            self.cause = Some(cause);
        }
    }
}

/// What is recorded, seen from the present ask: facts of an older one keep only what is still true.
fn toward(sandbox: &SandboxRow) -> Observed {
    let mut observed = sandbox.observed.clone();
    if observed.generation != sandbox.generation {
        observed.generation = sandbox.generation;
        observed.stages = Default::default();
        observed.leaving_since = None;
        observed.leave_deadline_at = None;
        observed.gone_at = None;
        observed.erasing_since = None;
        observed.ready_at = None;
    }
    observed
}
