//! How a project's database is, as its owner sees it.

use crate::{
    cause::CauseCode,
    phase::Desired,
    stage::{Stage, StageState},
    view::ProjectView,
};

/// Told by a word, a glyph and a tone, and never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// It accepted connections when it was last looked at.
    Ready,
    /// It is being made, or looked at for a start.
    Starting,
    /// It is kept, and nothing uses it: its sandbox is not meant to run.
    Paused,
    /// It does not answer, refuses, or could not be made.
    Unreachable,
    /// The project has none.
    None,
}

impl DatabaseState {
    /// That of a project, by what is shown of it.
    #[must_use]
    pub fn of(project: &ProjectView) -> Self {
        let sandbox = &project.sandbox;
        let stage = sandbox.stages.iter().find(|view| view.stage == Stage::DatabaseCreation).map(|view| view.state);
        let broken = sandbox.cause.as_ref().is_some_and(|cause| {
            matches!(cause.code, CauseCode::DatabaseUnreachable | CauseCode::DatabaseRefused | CauseCode::DatabaseFailed)
        });
        match stage {
            _ if !project.database => Self::None,
            _ if broken => Self::Unreachable,
            _ if sandbox.desired != Desired::Running => Self::Paused,
            Some(StageState::Failed) => Self::Unreachable,
            Some(StageState::Done | StageState::Skipped) => Self::Ready,
            _ => Self::Starting,
        }
    }

    /// As pages write it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Paused => "paused",
            Self::Unreachable => "unreachable",
            Self::None => "none",
        }
    }

    /// Its glyph: tick, arc, square, warning, barred ring.
    #[must_use]
    pub fn icon(self) -> &'static str {
        match self {
            Self::Ready => "check",
            Self::Starting => "phase-starting",
            Self::Paused => "phase-stopped",
            Self::Unreachable => "warning",
            Self::None => "phase-terminated",
        }
    }

    /// `data-tone`.
    #[must_use]
    pub fn tone(self) -> &'static str {
        match self {
            Self::Ready => "good",
            Self::Starting => "info",
            Self::Unreachable => "bad",
            Self::Paused | Self::None => "neutral",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Cause, Observed, Phase, ProjectId, SandboxId, StageLimits, Timestamp,
        phase::stages,
        resources::Preset,
        view::{SandboxView, Urls},
    };

    fn project(desired: Desired, stage: StageState, cause: Option<CauseCode>) -> ProjectView {
        let (id, at) = (ProjectId(uuid::Uuid::nil()), Timestamp::UNIX_EPOCH);
        let mut stages = stages(desired, 1, &Observed::default(), None, &StageLimits::default(), at);
        stages[0].state = stage;
        let sandbox = SandboxView {
            id: SandboxId(id.0),
            project_id: id,
            name: "x-agentruntime-abc123".into(),
            phase: Phase::Starting,
            desired,
            generation: 1,
            observed_generation: 1,
            stages,
            cause: cause.map(|code| Cause::new(code, "It is so.", &["Wait."])),
            urls: Urls::default(),
            ports: Vec::new(),
            usage: None,
            resources: Preset::Small.resources(),
            since: None,
            leaving_since: None,
            leave_deadline_at: None,
            restart_pending: false,
            changed_at: at,
        };
        ProjectView {
            id,
            name: "X".into(),
            slug: "x".into(),
            database: true,
            preset: Preset::Small,
            deleting: false,
            extra_of: None,
            repository: None,
            created_at: at,
            updated_at: at,
            sandbox,
        }
    }

    #[test]
    fn a_database_is_as_its_stage_and_its_cause_say_while_its_sandbox_is_meant_to_run() {
        use {CauseCode as C, DatabaseState as D, StageState as S};
        for (stage, cause, expected) in [
            (S::Waiting, None, D::Starting),
            (S::Running, None, D::Starting),
            (S::Late, Some(C::DatabaseSlow), D::Starting),
            (S::Failed, Some(C::QuotaExceeded), D::Unreachable),
            (S::Running, Some(C::DatabaseFailed), D::Unreachable),
            (S::Done, None, D::Ready),
            (S::Skipped, None, D::Ready),
            // The sandbox has a cause of its own.
            (S::Done, Some(C::ImageNotFound), D::Ready),
            // It was ready, and is not now.
            (S::Done, Some(C::DatabaseUnreachable), D::Unreachable),
            (S::Skipped, Some(C::DatabaseRefused), D::Unreachable),
        ] {
            let view = project(Desired::Running, stage, cause);
            assert_eq!(DatabaseState::of(&view), expected, "{stage:?} {cause:?}");
        }
    }

    #[test]
    fn a_database_rests_with_its_sandbox_unless_something_is_wrong_with_it() {
        for desired in [Desired::Stopped, Desired::Terminated] {
            let of = |cause| DatabaseState::of(&project(desired, StageState::Done, cause));
            assert_eq!((of(None), of(Some(CauseCode::LeaveOverdue))), (DatabaseState::Paused, DatabaseState::Paused));
            assert_eq!(of(Some(CauseCode::DatabaseUnreachable)), DatabaseState::Unreachable);
        }
    }

    #[test]
    fn a_project_without_a_database_has_none_whatever_its_stage() {
        for stage in [StageState::Skipped, StageState::Failed] {
            let view = ProjectView { database: false, ..project(Desired::Running, stage, Some(CauseCode::DatabaseRefused)) };
            assert_eq!(DatabaseState::of(&view), DatabaseState::None);
        }
    }

    #[test]
    fn no_two_states_look_alike_without_their_colour() {
        use DatabaseState as D;
        let all = [D::Ready, D::Starting, D::Paused, D::Unreachable, D::None];
        for (at, one) in all.iter().enumerate() {
            for other in &all[..at] {
                assert!(one.icon() != other.icon() && one.label() != other.label(), "{one:?} {other:?}");
            }
        }
    }
}
