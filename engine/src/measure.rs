//! What reconciling counts. Made once a process, shared by clones, and registered where it is read.

use crate::store::{Pass, ProjectAndSandbox};
use model::{CauseCode, Stage};
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::time::Duration;

/// Labels by name.
pub type Labels<const N: usize> = [(&'static str, String); N];
/// Times, by labels.
pub type Times<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// How one watch of the world is, where what is known comes by watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchFact {
    /// What it is for: `sandboxes`, `databases`.
    pub objects: &'static str,
    /// What it tells of, as the cluster calls it.
    pub kind: String,
    /// Whether all that there is was told of, and it has not broken off since.
    pub synced: bool,
    /// How long ago it last heard anything: a change, or that there is none.
    pub silent: Duration,
}

/// What reconciling counts.
#[derive(Debug, Clone)]
pub struct Measures {
    passes: Family<Labels<1>, Counter>,
    pass_seconds: Histogram,
    stage_seconds: Times<1>,
    causes: Family<Labels<1>, Counter>,
}

impl Default for Measures {
    fn default() -> Self {
        let measures = Self {
            passes: Family::default(),
            pass_seconds: short(),
            stage_seconds: Family::new_with_constructor(long),
            causes: Family::default(),
        };
        // A rate needs a first zero; and every name is there from the start.
        for outcome in ["ok", "failed"] {
            drop(measures.passes.get_or_create(&[("outcome", outcome.to_owned())]));
        }
        for stage in Stage::ALL {
            drop(measures.stage_seconds.get_or_create(&[("stage", stage.as_str().to_owned())]));
        }
        drop(measures.causes.get_or_create(&[("code", CauseCode::Unexpected.as_str())]));
        measures
    }
}

/// From half a millisecond to sixteen seconds.
#[must_use]
pub fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

/// From fifty milliseconds to twenty-seven minutes.
#[must_use]
pub fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 2.0, 16))
}

impl Measures {
    /// Makes them readable.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("fsa_reconcile_passes", "Passes of the reconciler, by outcome: ok, failed", self.passes.clone());
        registry.register("fsa_reconcile_pass_seconds", "How long a pass takes", self.pass_seconds.clone());
        registry.register("fsa_stage_seconds", "How long the stages of a start take, by stage", self.stage_seconds.clone());
        registry.register("fsa_causes", "Causes as they appear, by code", self.causes.clone());
    }

    /// A pass was made.
    pub(crate) fn made(&self, took: Duration, failed: bool) {
        let outcome = if failed { "failed" } else { "ok" };
        self.passes.get_or_create(&[("outcome", outcome.to_owned())]).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// A pass was recorded: what it found that was not so before.
    pub(crate) fn recorded(&self, before: &ProjectAndSandbox, pass: &Pass) {
        for stage in Stage::ALL {
            let (was, is) = (before.sandbox.observed.stage(stage), pass.observed.stage(stage));
            if let (Some(began), Some(ended)) = (is.started_at, is.ended_at)
                && was.ended_at != is.ended_at
                && !is.skipped
            {
                let took = ended.duration_since(began).as_secs_f64().max(0.0);
                self.stage_seconds.get_or_create(&[("stage", stage.as_str().to_owned())]).observe(took);
            }
        }
        if let Some(cause) = &pass.cause
            && before.sandbox.cause.as_ref().is_none_or(|known| known.code != cause.code)
        {
            self.causes.get_or_create(&[("code", cause.code.as_str())]).inc();
        }
    }
}
