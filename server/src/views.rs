//! From rows and what agents say to what a viewer is shown. Pure.

use engine::{reconcile::overdue, store::ProjectAndSandbox};
use jiff::{SignedDuration, Timestamp};
use model::{
    Cause, CauseCode, Desired, Observed, Phase, ProjectId, StageLimits, StageState,
    phase::{next_deadline, stages},
    port::{APPLICATION, OpenPort},
    view::{ProjectView, SandboxView, Urls, Usage},
};
use std::ops::RangeInclusive;

/// What a sandbox's agent said last. `Default` is an agent that said nothing yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentFacts {
    /// What listens inside, by number; without the reserved ones.
    pub ports: Vec<OpenPort>,
    /// As last measured.
    pub usage: Option<Usage>,
    /// Whether it is over its disk limit, so that everything in it but the agent waits.
    pub disk_over: bool,
    /// When the kernel last killed a process in it for want of memory.
    pub oom_killed_at: Option<Timestamp>,
    /// What is cloned into it. Not the agent's to say.
    pub clone: CloneFact,
    /// Why nothing can be stored of it, or of anything. Not the agent's to say either.
    pub no_room: Option<Cause>,
}

/// How long it is told that a process was killed.
const KILLED_LATELY: SignedDuration = SignedDuration::from_mins(10);

impl AgentFacts {
    /// Until when it is told that a process was killed for want of memory.
    fn killed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.oom_killed_at?.checked_add(KILLED_LATELY).ok().filter(|until| now < *until)
    }
}

/// What is shown of a clone into a new sandbox, as the last of its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum CloneFact {
    /// There is none, or it is over.
    #[default]
    Settled,
    /// It waits for the sandbox, or is under way.
    UnderWay,
    /// It failed.
    Failed(Cause),
}

/// Where browsers reach the app and the previews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `http://localhost:4000`, without a slash at its end.
    pub public: String,
    /// What stands behind `PORT--NAME.` in a preview's host, with the port; `None` where there are no
    /// previews.
    pub preview: Option<PreviewDomain>,
    /// Where previews are ports of one host instead.
    pub preview_ports: Option<PreviewPorts>,
    /// The parent of the hosts of Ingresses, on a cluster that has any.
    pub ingress: Option<IngressDomain>,
}

impl Addresses {
    /// The scheme of previews.
    #[must_use]
    pub fn preview_scheme(&self) -> &str {
        let ports = self.preview_ports.as_ref().map(|ports| ports.scheme.as_str());
        ports.or(self.preview.as_ref().map(|domain| domain.scheme.as_str())).unwrap_or("http")
    }
}

/// Previews as ports of one host, where no name below it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewPorts {
    /// `http` or `https`.
    pub scheme: String,
    /// Another than the app's: `127.0.0.1`.
    pub host: String,
    /// First and last.
    pub range: RangeInclusive<u16>,
}

impl PreviewPorts {
    /// The origin of the preview at one port: `http://127.0.0.1:4100`.
    #[must_use]
    pub fn origin(&self, address: u16) -> String {
        format!("{}://{}:{address}", self.scheme, self.host)
    }
}

/// The parent of the hosts of Ingresses: `NAME.DOMAIN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressDomain {
    /// `http` or `https`.
    pub scheme: String,
    /// `apps.example.com`.
    pub domain: String,
}

/// The parent of all preview hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewDomain {
    /// `http` or `https`.
    pub scheme: String,
    /// `localhost`.
    pub domain: String,
    /// Unless it is the scheme's usual one.
    pub port: Option<u16>,
}

impl PreviewDomain {
    /// The origin of one preview: `http://3000--NAME.localhost:4000`.
    #[must_use]
    pub fn origin(&self, label: &str) -> String {
        let Self { scheme, domain, port } = self;
        match port {
            Some(port) => format!("{scheme}://{label}.{domain}:{port}"),
            None => format!("{scheme}://{label}.{domain}"),
        }
    }
}

/// A project as it is shown at `now`.
#[must_use]
pub fn project(
    row: &ProjectAndSandbox,
    facts: &AgentFacts,
    addresses: &Addresses,
    limits: &StageLimits,
    now: Timestamp,
) -> ProjectView {
    let project = &row.project;
    ProjectView {
        id: project.id,
        name: project.name.to_string(),
        slug: project.slug.to_string(),
        database: project.database.is_some(),
        preset: project.preset,
        deleting: project.deleting_since.is_some(),
        extra_of: project.extra.as_ref().map(|extra| extra.main),
        repository: project.repository.clone(),
        created_at: project.created_at,
        updated_at: project.updated_at,
        sandbox: sandbox(row, facts, addresses, limits, now),
    }
}

/// Why everything in a running sandbox waits.
fn disk_over(limit_bytes: u64, project: ProjectId) -> Cause {
    Cause::new(
        CauseCode::DiskFull,
        format!("The home folder is over its limit of {} GB, so everything in the sandbox waits.", limit_bytes >> 30),
        &[
            &format!(
                "Remove large files by the API, whose commands are let through: POST /api/sandbox/{project}/exec with the body \
                 {{\"command\": [\"rm\", \"FILE\"]}}."
            ),
            "Everything goes on by itself once it is below the limit. Files that were deleted and are still open count until a restart.",
        ],
    )
}

/// A process was killed, and the sandbox runs on.
#[must_use]
pub fn process_killed(limit_bytes: u64) -> Cause {
    kubernetes::causes::out_of_memory(Some(&limit_bytes.to_string()), false)
}

/// Its main sandbox.
#[must_use]
pub fn sandbox(
    row: &ProjectAndSandbox,
    facts: &AgentFacts,
    addresses: &Addresses,
    limits: &StageLimits,
    now: Timestamp,
) -> SandboxView {
    let sandbox = &row.sandbox;
    let (desired, generation, observed, cause) = (sandbox.desired, sandbox.generation, &sandbox.observed, sandbox.cause.as_ref());
    let mut phase = sandbox.phase(now);
    let mut stages = stages(desired, generation, observed, cause, limits, now);
    // The sandbox is up, and what its owner wants in it is not there yet: to them, it still starts.
    let cloning = if phase == Phase::Running { facts.clone.clone() } else { CloneFact::Settled };
    if cloning != CloneFact::Settled
        && let Some(last) = stages.last_mut()
    {
        let failed = matches!(cloning, CloneFact::Failed(_));
        phase = if failed { Phase::Error } else { Phase::Starting };
        last.state = if failed { StageState::Failed } else { StageState::Running };
        (last.ended_at, last.deadline_at, last.limit_seconds) = (None, None, None);
    }
    // In Error with this intent, it is still on its way down.
    let leaving = desired != Desired::Running && !matches!(phase, Phase::Stopped | Phase::Terminated);
    let leaving = leaving.then_some(observed).filter(|observed| observed.generation == generation);
    // What was asked for stands still, and no pass can record why.
    let no_room = facts.no_room.clone().filter(|_| phase == Phase::Error || observed.generation != generation);
    let facts = if phase == Phase::Running { facts.clone() } else { AgentFacts::default() };
    SandboxView {
        id: sandbox.id,
        project_id: row.project.id,
        name: sandbox.name.to_string(),
        phase,
        desired,
        generation,
        observed_generation: observed.generation,
        stages,
        cause: sandbox
            .cause
            .clone()
            .or(match cloning {
                CloneFact::Failed(cause) => Some(cause),
                CloneFact::Settled | CloneFact::UnderWay => None,
            })
            .or(no_room)
            .or_else(|| if phase == Phase::Error { overdue::of(row, now) } else { None })
            .or_else(|| facts.disk_over.then(|| disk_over(sandbox.resources.disk_bytes, row.project.id)))
            .or_else(|| facts.killed_until(now).map(|_| process_killed(sandbox.resources.limit_memory_bytes))),
        urls: urls(row, addresses),
        ports: facts.ports,
        usage: facts.usage,
        resources: sandbox.resources,
        since: match phase {
            Phase::Running => observed.ready_at,
            Phase::Stopped | Phase::Terminated => observed.gone_at,
            _ => None,
        },
        leaving_since: leaving.and_then(|observed| observed.erasing_since.or(observed.leaving_since)),
        leave_deadline_at: leaving.and_then(|observed| observed.leave_deadline_at),
        restart_pending: restart_pending(row),
        changed_at: sandbox.changed_at,
    }
}

/// Whether what runs, or is being started, has other variables than the project has by now.
#[must_use]
pub fn restart_pending(row: &ProjectAndSandbox) -> bool {
    row.sandbox.desired == Desired::Running && row.sandbox.env_revision != row.project.env_revision
}

fn urls(row: &ProjectAndSandbox, addresses: &Addresses) -> Urls {
    let preview = |port: &str| {
        // Which port it is to be, opening it decides.
        if addresses.preview_ports.is_some() {
            return Some(format!("{}/open/{}/{port}", addresses.public, row.project.id));
        }
        let domain = addresses.preview.as_ref()?;
        Some(format!("{}/", domain.origin(&format!("{port}--{}", row.sandbox.name))))
    };
    // On a cluster with Ingresses, both have a host of their own.
    let ingress = |suffix: &str| {
        let domain = addresses.ingress.as_ref()?;
        Some(format!("{}://{}{suffix}.{}/", domain.scheme, row.sandbox.name, domain.domain))
    };
    Urls {
        application: ingress("").or_else(|| preview(&APPLICATION.to_string())),
        terminal: ingress("-terminal").or_else(|| Some(format!("{}/projects/{}", addresses.public, row.project.id))),
        preview: preview("{port}"),
    }
}

/// When the view changes by time alone: a deadline, the moment from which a stage is late, or from which a process that
/// was killed is history.
#[must_use]
pub fn next_change(row: &ProjectAndSandbox, facts: &AgentFacts, now: Timestamp) -> Option<Timestamp> {
    let (desired, observed) = (row.sandbox.desired, &row.sandbox.observed);
    let deadline = next_deadline(desired, observed, now);
    deadline.into_iter().chain(next_late(desired, observed, now)).chain(facts.killed_until(now)).min()
}

/// A stage is late past 60 % of its limit ([`model::StageState::Late`]).
fn next_late(desired: Desired, observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    let under_way = observed.stages.iter().filter(|fact| desired == Desired::Running && fact.ended_at.is_none());
    under_way
        .filter_map(|fact| {
            let (started, deadline) = (fact.started_at?, fact.deadline_at?);
            let limit = deadline.duration_since(started).as_millis();
            let late = SignedDuration::from_millis(i64::try_from(limit * 6 / 10).ok()? + 1);
            started.checked_add(late).ok()
        })
        .filter(|at| *at > now)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::store::{contract::least, intent};
    use model::{Slug, StageFact, resources::Sizes};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn row() -> ProjectAndSandbox {
        let new = least(at(0));
        intent::create(&new, None, &Sizes::default(), Slug::derive(&new.name, 0), new.random)
    }

    fn addresses() -> Addresses {
        Addresses { public: "http://localhost".into(), preview: None, preview_ports: None, ingress: None }
    }

    #[test]
    fn a_deadline_that_has_passed_says_so_before_its_cause_is_recorded() {
        let mut row = row();
        let stage = StageFact { started_at: Some(at(1)), deadline_at: Some(at(31)), ..StageFact::default() };
        row.sandbox.observed = Observed { generation: 1, stages: [stage; 5], ..Observed::default() };
        let shown = |row: &ProjectAndSandbox, second| {
            let view = sandbox(row, &AgentFacts::default(), &addresses(), &StageLimits::default(), at(second));
            (view.phase, view.cause.map(|cause| (cause.code, cause.next_steps.is_empty())))
        };
        assert_eq!(shown(&row, 30), (Phase::Creating, None));
        assert_eq!(shown(&row, 31), (Phase::Error, Some((CauseCode::StageOverdue, false))));
        row.sandbox.cause = Some(process_killed(2 << 30));
        assert_eq!(shown(&row, 31).1, Some((CauseCode::OutOfMemory, false)), "what is recorded is known better");
    }

    #[test]
    fn a_disk_that_is_full_is_the_cause_of_what_stands_still_alone() {
        let mut row = row();
        let full = Cause::new(CauseCode::DiskFull, "The disk is full.", &["Free some."]);
        let facts = AgentFacts { no_room: Some(full.clone()), ..AgentFacts::default() };
        let shown = |row: &ProjectAndSandbox, facts: &AgentFacts, second| {
            let view = sandbox(row, facts, &addresses(), &StageLimits::default(), at(second));
            (view.phase, view.cause.map(|cause| cause.code))
        };
        assert_eq!(shown(&row, &facts, 1), (Phase::Creating, Some(CauseCode::DiskFull)), "before any pass is recorded");
        assert_eq!(shown(&row, &AgentFacts::default(), 1), (Phase::Creating, None));
        let stage = StageFact { started_at: Some(at(1)), deadline_at: Some(at(31)), ..StageFact::default() };
        row.sandbox.observed = Observed { generation: 1, stages: [stage; 5], ..Observed::default() };
        assert_eq!(shown(&row, &facts, 30), (Phase::Creating, None), "passes are recorded");
        assert_eq!(shown(&row, &facts, 31), (Phase::Error, Some(CauseCode::DiskFull)));
        row.sandbox.cause = Some(process_killed(2 << 30));
        assert_eq!(shown(&row, &facts, 31).1, Some(CauseCode::OutOfMemory), "what is recorded is known better");
    }

    #[test]
    fn the_times_of_leaving_are_shown_while_it_leaves() {
        let mut row = row();
        let addresses = addresses();
        let shown = |row: &ProjectAndSandbox, second| {
            let view = sandbox(row, &AgentFacts::default(), &addresses, &StageLimits::default(), at(second));
            (view.phase, view.leaving_since, view.leave_deadline_at)
        };
        let (since, deadline) = (Some(at(1)), Some(at(61)));
        row.sandbox.observed =
            Observed { generation: 1, present: true, leaving_since: since, leave_deadline_at: deadline, ..Observed::default() };
        assert_eq!(shown(&row, 2), (Phase::Creating, None, None), "it is meant to run");
        row.sandbox.desired = Desired::Stopped;
        assert_eq!(shown(&row, 2), (Phase::Stopping, since, deadline));
        assert_eq!(shown(&row, 61), (Phase::Error, since, deadline));
        (row.sandbox.observed.present, row.sandbox.observed.gone_at) = (false, Some(at(62)));
        assert_eq!(shown(&row, 62), (Phase::Stopped, None, None));
        // What a deleted project leaves behind has times of its own.
        row.sandbox.desired = Desired::Terminated;
        (row.sandbox.observed.erasing_since, row.sandbox.observed.leave_deadline_at) = (Some(at(62)), Some(at(122)));
        assert_eq!(shown(&row, 63), (Phase::Terminating, Some(at(62)), Some(at(122))));
        assert_eq!(shown(&row, 122).0, Phase::Error);
    }

    #[test]
    fn a_process_that_was_killed_is_told_for_ten_minutes_beside_a_sandbox_that_runs() {
        let facts = AgentFacts { oom_killed_at: Some(at(100)), ..AgentFacts::default() };
        assert_eq!(facts.killed_until(at(100)), Some(at(700)));
        assert_eq!(facts.killed_until(at(700)), None);
        let cause = process_killed(2 << 30);
        assert_eq!(cause.code, CauseCode::OutOfMemory);
        assert!(
            cause.message.starts_with("A process in the sandbox was ended") && cause.message.contains("2048 MiB"),
            "{cause:?}"
        );
    }
}
