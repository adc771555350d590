//! What is really there: facts with their times, as the reconciler stores them. Never a decision.

use crate::stage::Stage;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The facts of one sandbox. `Default` is a sandbox of which nothing was ever seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The generation of the intent that these facts were gathered for. Facts of an older one say
    /// nothing about the present ask's stages.
    pub generation: i64,
    /// Whether anything of the sandbox is in the world (its volume and database do not count).
    pub present: bool,
    /// The stages of the start that `generation` asks for, by [`Stage::index`].
    pub stages: [StageFact; 5],
    /// The run that was last seen alive.
    pub instance: Option<InstanceFact>,
    /// When a stop or a termination for `generation` began.
    pub leaving_since: Option<Timestamp>,
    /// When that is overdue.
    pub leave_deadline_at: Option<Timestamp>,
    /// When nothing of the sandbox was left.
    pub gone_at: Option<Timestamp>,
    /// When, after that, removing the volume and the database of a deleted project began. From then on
    /// `leave_deadline_at` is of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasing_since: Option<Timestamp>,
    /// When it first was Running, in any generation.
    pub first_ready_at: Option<Timestamp>,
    /// When it last became Running.
    pub ready_at: Option<Timestamp>,
    /// The last generation in which it was Running.
    #[serde(default)]
    pub settled_generation: i64,
}

/// What is known of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageFact {
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it was over; for a skipped one, when that was known.
    pub ended_at: Option<Timestamp>,
    /// When it is overdue.
    pub deadline_at: Option<Timestamp>,
    /// Not needed for this start.
    pub skipped: bool,
}

/// One run of a sandbox's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceFact {
    /// The orchestrator's own id for this run (a pod's uid, a keeper's start).
    pub id: String,
    /// When it started.
    pub started_at: Timestamp,
    /// The restart count of the intent that it was started with. Another one is a run to replace.
    pub restart_count: i64,
    /// The revision of the environment that it was started with.
    pub env_revision: i64,
}

impl Observed {
    /// The facts of one stage.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> &StageFact {
        &self.stages[stage.index()]
    }

    /// Whether every stage is over, for `generation`.
    #[must_use]
    pub fn ready(&self, generation: i64) -> bool {
        self.generation == generation && self.present && self.stages.iter().all(|fact| fact.ended_at.is_some())
    }
}
