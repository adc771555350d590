//! The five steps of a start.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A step of a start, in the order in which they are shown. Steps whose order does not matter run
/// side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Stage {
    /// PostgreSQL provisioned, or verified where it was before; skipped where the project has none.
    DatabaseCreation,
    /// The sandbox's processes run.
    ContainerProvisioning,
    /// Its ways in and out are there.
    NetworkConfiguration,
    /// The sandbox agent answers and a shell has started.
    TerminalInitialization,
    /// Reachable end to end from the control plane.
    EnvironmentReady,
}

impl Stage {
    /// All five, in order.
    pub const ALL: [Self; 5] = [
        Self::DatabaseCreation,
        Self::ContainerProvisioning,
        Self::NetworkConfiguration,
        Self::TerminalInitialization,
        Self::EnvironmentReady,
    ];

    /// 0 to 4.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// As pages show it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::DatabaseCreation => "Database Creation",
            Self::ContainerProvisioning => "Container Provisioning",
            Self::NetworkConfiguration => "Network Configuration",
            Self::TerminalInitialization => "Terminal Initialization",
            Self::EnvironmentReady => "Environment Ready",
        }
    }

    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DatabaseCreation => "database-creation",
            Self::ContainerProvisioning => "container-provisioning",
            Self::NetworkConfiguration => "network-configuration",
            Self::TerminalInitialization => "terminal-initialization",
            Self::EnvironmentReady => "environment-ready",
        }
    }
}

/// How long each stage, and a stop, may take before the phase is `Error`. Reconciling goes on past
/// them, so what comes up late is Running all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageLimits {
    /// By [`Stage::index`].
    pub stages: [Duration; 5],
    /// Stopping and Terminating: a shell gets five seconds to end, and a slow disk the rest.
    pub leave: Duration,
}

impl Default for StageLimits {
    /// 60, 300, 30, 20 and 60 seconds. Five minutes for the container: a 2 GB image over a 100 Mbit/s
    /// link takes under three.
    fn default() -> Self {
        Self { stages: [60, 300, 30, 20, 60].map(Duration::from_secs), leave: Duration::from_secs(60) }
    }
}

impl StageLimits {
    /// When a stage that began at `start` is overdue.
    #[must_use]
    pub fn deadline(&self, stage: Stage, start: Timestamp) -> Timestamp {
        after(start, self.stages[stage.index()])
    }
}

/// `start` plus `limit`, or the end of time.
#[must_use]
pub fn after(start: Timestamp, limit: Duration) -> Timestamp {
    SignedDuration::try_from(limit).ok().and_then(|limit| start.checked_add(limit).ok()).unwrap_or(Timestamp::MAX)
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StageState {
    /// Not begun.
    Waiting,
    /// Begun, in time.
    Running,
    /// Begun, and past 60 % of its limit.
    Late,
    /// Past its deadline, or something stands in its way that waiting does not mend.
    Failed,
    /// Over.
    Done,
    /// Not needed here.
    Skipped,
}

/// A stage as the API and the pages show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageView {
    /// Which.
    pub stage: Stage,
    /// How far.
    pub state: StageState,
    /// When it began.
    #[serde(default, with = "crate::time::option")]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, with = "crate::time::option")]
    pub ended_at: Option<Timestamp>,
    /// When it is overdue.
    #[serde(default, with = "crate::time::option")]
    pub deadline_at: Option<Timestamp>,
    /// How many seconds it may take; of one that has not begun, as the installation is set up now. `null` where it
    /// has as long as it needs.
    #[serde(default)]
    pub limit_seconds: Option<u32>,
}
