//! From rows and what agents say to what a viewer is shown. Pure.

use engine::store::ProjectAndSandbox;
use jiff::{SignedDuration, Timestamp};
use model::{
    Cause, CauseCode, Desired, Observed, Phase, ProjectId,
    phase::{next_deadline, phase, stages},
    port::{APPLICATION, OpenPort},
    view::{ProjectView, SandboxView, Urls, Usage},
};

/// What a sandbox's agent said last. `Default` is an agent that said nothing yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentFacts {
    /// What listens inside, by number; without the reserved ones.
    pub ports: Vec<OpenPort>,
    /// As last measured.
    pub usage: Option<Usage>,
    /// Whether it is over its disk limit, so that everything in it but the agent waits.
    pub disk_over: bool,
}

/// Where browsers reach the app and the previews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `http://localhost:4000`, without a slash at its end.
    pub public: String,
    /// What stands behind `PORT--NAME.` in a preview's host, with the port; `None` where there are no
    /// previews.
    pub preview: Option<PreviewDomain>,
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
pub fn project(row: &ProjectAndSandbox, facts: &AgentFacts, addresses: &Addresses, now: Timestamp) -> ProjectView {
    let project = &row.project;
    ProjectView {
        id: project.id,
        name: project.name.to_string(),
        slug: project.slug.to_string(),
        database: project.database.is_some(),
        preset: project.preset,
        deleting: project.deleting_since.is_some(),
        created_at: project.created_at,
        updated_at: project.updated_at,
        sandbox: sandbox(row, facts, addresses, now),
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

/// Its main sandbox.
#[must_use]
pub fn sandbox(row: &ProjectAndSandbox, facts: &AgentFacts, addresses: &Addresses, now: Timestamp) -> SandboxView {
    let sandbox = &row.sandbox;
    let (desired, generation, observed, cause) = (sandbox.desired, sandbox.generation, &sandbox.observed, sandbox.cause.as_ref());
    let phase = phase(desired, generation, observed, cause, now);
    let facts = if phase == Phase::Running { facts.clone() } else { AgentFacts::default() };
    SandboxView {
        id: sandbox.id,
        project_id: row.project.id,
        name: sandbox.name.to_string(),
        phase,
        desired,
        generation,
        observed_generation: observed.generation,
        stages: stages(desired, generation, observed, cause, now),
        cause: sandbox
            .cause
            .clone()
            .or_else(|| facts.disk_over.then(|| disk_over(sandbox.preset.resources().disk_bytes, row.project.id))),
        urls: urls(row, addresses),
        ports: facts.ports,
        usage: facts.usage,
        resources: sandbox.preset.resources(),
        since: match phase {
            Phase::Running => observed.ready_at,
            Phase::Stopped | Phase::Terminated => observed.gone_at,
            _ => None,
        },
        leaving_since: None,
        leave_deadline_at: None,
        restart_pending: restart_pending(row),
        changed_at: sandbox.changed_at,
    }
}

/// Whether what runs, or is being started, has other variables than the project has by now.
fn restart_pending(row: &ProjectAndSandbox) -> bool {
    row.sandbox.desired == Desired::Running && row.sandbox.env_revision != row.project.env_revision
}

fn urls(row: &ProjectAndSandbox, addresses: &Addresses) -> Urls {
    let preview = |port: &str| {
        let domain = addresses.preview.as_ref()?;
        Some(format!("{}/", domain.origin(&format!("{port}--{}", row.sandbox.name))))
    };
    Urls {
        application: preview(&APPLICATION.to_string()),
        terminal: Some(format!("{}/projects/{}", addresses.public, row.project.id)),
        preview: preview("{port}"),
    }
}

/// When the view changes by time alone: a deadline, or the moment from which a stage is late.
#[must_use]
pub fn next_change(row: &ProjectAndSandbox, now: Timestamp) -> Option<Timestamp> {
    let (desired, observed) = (row.sandbox.desired, &row.sandbox.observed);
    next_deadline(desired, observed, now).into_iter().chain(next_late(desired, observed, now)).min()
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
