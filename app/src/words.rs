//! What pages say about a project: titles, sentences about stages, what may be asked for now. Pure.

use crate::time;
use model::{
    Desired, Phase, Stage, StageState, StageView,
    view::{ProjectView, SandboxView},
};
use serde::{Deserialize, Serialize};

/// What a user can ask of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Up.
    Start,
    /// Down, everything kept.
    Stop,
    /// A new run.
    Restart,
    /// The sandbox's objects go, files and database stay.
    Terminate,
}

impl Verb {
    /// On a button.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Stop => "Stop",
            Self::Restart => "Restart",
            Self::Terminate => "Terminate…",
        }
    }

    /// While it is being asked for.
    #[must_use]
    pub fn busy(self) -> &'static str {
        match self {
            Self::Start => "Starting…",
            Self::Stop => "Stopping…",
            Self::Restart => "Restarting…",
            Self::Terminate => "Terminating…",
        }
    }

    /// Its icon.
    #[must_use]
    pub fn icon(self) -> &'static str {
        match self {
            Self::Start => "play",
            Self::Stop => "stop",
            Self::Restart => "reload",
            Self::Terminate => "trash",
        }
    }

    /// Why it cannot apply now, or `None` if it can.
    #[must_use]
    pub fn refusal(self, project: &ProjectView) -> Option<&'static str> {
        let (phase, desired) = (project.sandbox.phase, project.sandbox.desired);
        if project.deleting {
            return Some("being deleted");
        }
        let up = desired == Desired::Running;
        match self {
            Self::Start if phase == Phase::Running => Some("already running"),
            Self::Start if up && phase != Phase::Error => Some("already starting"),
            Self::Stop if phase == Phase::Stopped => Some("already stopped"),
            Self::Stop if phase == Phase::Terminated => Some("nothing runs"),
            Self::Stop if desired == Desired::Stopped && phase != Phase::Error => Some("already stopping"),
            Self::Stop if desired == Desired::Terminated => Some("already terminating"),
            Self::Restart if !up => Some("not running"),
            Self::Restart if matches!(phase, Phase::Creating | Phase::Starting) => Some("already starting"),
            Self::Terminate if phase == Phase::Terminated => Some("already terminated"),
            Self::Terminate if desired == Desired::Terminated && phase != Phase::Error => Some("already terminating"),
            _ => None,
        }
    }
}

/// What is wrong, where a sandbox is not as intended: the headline over its cause.
#[must_use]
pub fn cause_title(project: &ProjectView) -> &'static str {
    match (project.sandbox.desired, project.sandbox.phase) {
        _ if project.deleting => "The project is not deleted yet",
        (Desired::Terminated, _) => "The sandbox is not terminated yet",
        (Desired::Stopped, _) => "The sandbox did not stop",
        (Desired::Running, Phase::Running | Phase::Updating) => "The sandbox runs, but something is wrong",
        (Desired::Running, _) => "The sandbox did not start",
    }
}

/// What is asked for once more, where that may help.
#[must_use]
pub fn again(project: &ProjectView) -> Option<Verb> {
    match project.sandbox.desired {
        _ if project.deleting => None,
        Desired::Running => Some(Verb::Restart),
        Desired::Stopped => Some(Verb::Stop),
        Desired::Terminated => Some(Verb::Terminate),
    }
}

/// What is kept whatever becomes of a sandbox: "Your files and the database are kept".
#[must_use]
pub fn kept(project: &ProjectView) -> &'static str {
    if project.database { "Your files and the database are kept" } else { "Your files are kept" }
}

/// How soon a sandbox runs, on one machine and on a cluster.
#[must_use]
pub fn soon(local: bool) -> &'static str {
    if local { "usually under a second" } else { "usually within seconds" }
}

/// How soon a new project is usually of use.
#[must_use]
pub fn ready(local: bool) -> &'static str {
    if local { "ready in under a second" } else { "ready within seconds" }
}

/// What may be expected of a start, after "Stage 2 of 5".
#[must_use]
pub fn outlook(sandbox: &SandboxView, local: bool) -> &'static str {
    if sandbox.stages.iter().any(|stage| stage.state == StageState::Late) { "slower than usual" } else { soon(local) }
}

/// "0:02 of 0:30": how long a sandbox has been stopping or terminating at `now`, and for how long it may.
#[must_use]
pub fn leaving(sandbox: &SandboxView, now: f64) -> Option<String> {
    let since = time::millis(sandbox.leaving_since.filter(|_| matches!(sandbox.phase, Phase::Stopping | Phase::Terminating))?);
    let so_far = time::minutes(now - since);
    Some(match sandbox.leave_deadline_at {
        Some(until) => format!("{so_far} of {}", time::minutes(time::millis(until) - since)),
        None => so_far,
    })
}

/// The number, from 1, of the stage that a start is at: the first that is neither done nor skipped.
#[must_use]
pub fn stage_at(sandbox: &SandboxView) -> usize {
    let open = |state| !matches!(state, StageState::Done | StageState::Skipped);
    sandbox.stages.iter().position(|stage| open(stage.state)).map_or(sandbox.stages.len(), |index| index + 1)
}

/// A page's title, which carries the state: "Starting tidewater-api (2 of 5)".
#[must_use]
pub fn title(project: &ProjectView) -> String {
    let name = &project.name;
    let sandbox = &project.sandbox;
    match sandbox.phase {
        Phase::Creating | Phase::Starting => {
            format!("{} {name} ({} of {})", sandbox.phase.label(), stage_at(sandbox), sandbox.stages.len())
        }
        Phase::Running => name.clone(),
        Phase::Updating | Phase::Stopping | Phase::Terminating => format!("{} {name}", sandbox.phase.label()),
        Phase::Stopped | Phase::Terminated | Phase::Error => format!("{}: {name}", sandbox.phase.label()),
    }
}

/// The headline of a start.
#[must_use]
pub fn start_headline(project: &ProjectView) -> String {
    let name = &project.name;
    match project.sandbox.phase {
        Phase::Creating => format!("Creating {name}"),
        Phase::Starting => format!("Starting {name}"),
        Phase::Error => format!("{name} did not start"),
        _ => format!("{name} is ready"),
    }
}

/// What a stage is about, below its name.
#[must_use]
pub fn stage_detail(stage: Stage, state: StageState, database: bool) -> &'static str {
    use StageState as S;
    match (stage, state) {
        (Stage::DatabaseCreation, S::Skipped) if database => "Verified before",
        (Stage::DatabaseCreation, S::Skipped) => "This project has no database",
        (Stage::DatabaseCreation, S::Done) => "PostgreSQL accepts connections",
        (Stage::DatabaseCreation, S::Running) => "Preparing the project’s PostgreSQL",
        (Stage::DatabaseCreation, S::Late) => "PostgreSQL takes longer than usual",
        (Stage::DatabaseCreation, S::Failed) => "The database is not ready",
        (Stage::DatabaseCreation, S::Waiting) => "The project’s PostgreSQL",
        (Stage::ContainerProvisioning, S::Done) => "The sandbox’s processes run",
        (Stage::ContainerProvisioning, S::Running) => "Starting the sandbox’s processes",
        (Stage::ContainerProvisioning, S::Late) => "The sandbox takes longer than usual to start",
        (Stage::ContainerProvisioning, S::Failed) => "The sandbox’s processes do not run",
        (Stage::ContainerProvisioning, _) => "The sandbox and its home folder",
        (Stage::NetworkConfiguration, S::Done) => "The ways in and out are there",
        (Stage::NetworkConfiguration, S::Running) => "Setting up the ways in and out",
        (Stage::NetworkConfiguration, S::Late) => "The network takes longer than usual",
        (Stage::NetworkConfiguration, S::Failed) => "The network is not ready",
        (Stage::NetworkConfiguration, _) => "Preview addresses and access rules",
        (Stage::TerminalInitialization, S::Done) => "A shell has started",
        (Stage::TerminalInitialization, S::Running) => "Waiting for the terminal to answer",
        (Stage::TerminalInitialization, S::Late) => "The terminal takes longer than usual to answer",
        (Stage::TerminalInitialization, S::Failed) => "The terminal does not answer",
        (Stage::TerminalInitialization, _) => "Terminal server and Claude Code",
        (Stage::EnvironmentReady, S::Done) => "Reachable end to end",
        (Stage::EnvironmentReady, S::Running) => "Checking that everything can be reached",
        (Stage::EnvironmentReady, S::Late) => "The last check takes longer than usual",
        (Stage::EnvironmentReady, S::Failed) => "Not everything can be reached",
        (Stage::EnvironmentReady, _) => "A check from end to end",
    }
}

/// A stage's state, for those who hear it.
#[must_use]
pub fn stage_state(state: StageState) -> &'static str {
    match state {
        StageState::Waiting => "Waiting",
        StageState::Running => "In progress",
        StageState::Late => "In progress, slower than usual",
        StageState::Failed => "Failed",
        StageState::Done => "Done",
        StageState::Skipped => "Not needed",
    }
}

/// How long a stage runs, in milliseconds, before those who hear the page are told of it.
const TOLD_AFTER_MS: f64 = 5_000.0;

/// The stage that those who hear the page are told of at `now`: one that is late or failed at once. One that only runs waits: a
/// start goes through all five within a second, and each would be read out.
#[must_use]
pub fn stage_told(stages: &[StageView], now: f64) -> Option<&StageView> {
    stages.iter().find(|stage| match stage.state {
        StageState::Late | StageState::Failed => true,
        StageState::Running => stage.started_at.is_some_and(|at| now - time::millis(at) >= TOLD_AFTER_MS),
        _ => false,
    })
}

/// The tone of a stage's mark; `None` for one that waits.
#[must_use]
pub fn stage_tone(state: StageState) -> Option<&'static str> {
    match state {
        StageState::Waiting => None,
        StageState::Running => Some("info"),
        StageState::Late => Some("warn"),
        StageState::Failed => Some("bad"),
        StageState::Done => Some("good"),
        StageState::Skipped => Some("neutral"),
    }
}

/// "8 projects · 2 running · 1 needs attention".
#[must_use]
pub fn tally(total: usize, running: usize, attention: usize) -> String {
    let projects = if total == 1 { "1 project".to_owned() } else { format!("{total} projects") };
    let needs = match attention {
        0 => String::new(),
        1 => " · 1 needs attention".to_owned(),
        n => format!(" · {n} need attention"),
    };
    format!("{projects} · {running} running{needs}")
}

/// "1 variable", "3 variables".
#[must_use]
pub fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// Two letters of a name, for its avatar, as they are: capitals are the style's, since their tables weigh more than this page.
#[must_use]
pub fn initials(name: &str) -> String {
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => "?".to_owned(),
        [one] => one.chars().take(2).collect(),
        [first, .., last] => first.chars().take(1).chain(last.chars().take(1)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::tests::project;
    use jiff::Timestamp;

    fn in_phase(desired: Desired, phase: Phase) -> ProjectView {
        let mut view = project(1, "a");
        (view.sandbox.desired, view.sandbox.phase) = (desired, phase);
        view
    }

    #[test]
    fn nothing_can_be_asked_of_a_project_that_is_being_deleted() {
        let mut view = in_phase(Desired::Terminated, Phase::Error);
        view.deleting = true;
        for verb in [Verb::Start, Verb::Stop, Verb::Restart, Verb::Terminate] {
            assert_eq!(verb.refusal(&view), Some("being deleted"));
        }
        assert_eq!((cause_title(&view), again(&view)), ("The project is not deleted yet", None));
    }

    #[test]
    fn a_cause_is_headed_by_what_was_asked_for() {
        let titled = |desired, phase| {
            let view = in_phase(desired, phase);
            (cause_title(&view), again(&view))
        };
        assert_eq!(titled(Desired::Stopped, Phase::Error), ("The sandbox did not stop", Some(Verb::Stop)));
        assert_eq!(titled(Desired::Terminated, Phase::Error), ("The sandbox is not terminated yet", Some(Verb::Terminate)));
        assert_eq!(titled(Desired::Running, Phase::Error), ("The sandbox did not start", Some(Verb::Restart)));
        assert_eq!(titled(Desired::Running, Phase::Running).0, "The sandbox runs, but something is wrong");
        // What failed can be asked for again.
        assert_eq!(Verb::Stop.refusal(&in_phase(Desired::Stopped, Phase::Error)), None);
        assert_eq!(Verb::Terminate.refusal(&in_phase(Desired::Terminated, Phase::Error)), None);
    }

    #[test]
    fn a_start_says_what_may_be_expected_of_it() {
        let mut sandbox = in_phase(Desired::Running, Phase::Starting).sandbox;
        let begun = Timestamp::UNIX_EPOCH;
        assert_eq!(outlook(&sandbox, true), "usually under a second");
        assert_eq!(outlook(&sandbox, false), "usually within seconds");
        let (stage, deadline_at) = (Stage::ContainerProvisioning, Some(begun + std::time::Duration::from_secs(300)));
        let late = StageView {
            stage,
            state: StageState::Late,
            started_at: Some(begun),
            ended_at: None,
            deadline_at,
            limit_seconds: Some(300),
        };
        sandbox.stages = vec![late];
        assert_eq!(outlook(&sandbox, false), "slower than usual");
    }

    #[test]
    fn a_stage_is_told_once_it_takes_five_seconds_and_what_goes_wrong_at_once() {
        let view = |stage, state, started_at| StageView {
            stage,
            state,
            started_at,
            ended_at: None,
            deadline_at: None,
            limit_seconds: None,
        };
        let begun = Some(Timestamp::UNIX_EPOCH);
        let mut stages = vec![
            view(Stage::DatabaseCreation, StageState::Done, begun),
            view(Stage::ContainerProvisioning, StageState::Running, begun),
            view(Stage::NetworkConfiguration, StageState::Waiting, None),
        ];
        let told = |stages: &[StageView], now| stage_told(stages, now).map(|told| told.stage);
        assert_eq!(told(&stages, 4_999.0), None);
        assert_eq!(told(&stages, 5_000.0), Some(Stage::ContainerProvisioning));
        for state in [StageState::Late, StageState::Failed] {
            stages[1].state = state;
            assert_eq!(told(&stages, 0.0), Some(Stage::ContainerProvisioning));
        }
        stages[1].state = StageState::Done;
        assert_eq!(told(&stages, 60_000.0), None);
    }

    #[test]
    fn leaving_says_its_time_and_its_limit() {
        let mut view = in_phase(Desired::Stopped, Phase::Stopping);
        let since = view.created_at;
        assert_eq!(leaving(&view.sandbox, 0.0), None);
        view.sandbox.leaving_since = Some(since);
        assert_eq!(leaving(&view.sandbox, time::millis(since) + 2_400.0).as_deref(), Some("0:02"));
        view.sandbox.leave_deadline_at = Some(since + std::time::Duration::from_secs(90));
        assert_eq!(leaving(&view.sandbox, time::millis(since) + 62_400.0).as_deref(), Some("1:02 of 1:30"));
        view.sandbox.phase = Phase::Stopped;
        assert_eq!(leaving(&view.sandbox, 0.0), None);
    }
}
