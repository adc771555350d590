//! Whether the world is not as it was recorded, so that a row needs a pass although nobody said so.

use crate::{
    database::Glance,
    orchestrator::{AgentSeen, Seen},
    store::ProjectAndSandbox,
};
use model::{Cause, Desired};

/// Whether a row needs a pass although nobody said so: the world is not as it was recorded.
/// `glance` is of its project's database.
pub(in crate::reconcile) fn differs(row: &ProjectAndSandbox, seen: &Seen, glance: Option<&Glance>) -> bool {
    let (sandbox, deleting) = (&row.sandbox, row.project.deleting_since.is_some());
    let observed = &sandbox.observed;
    if observed.present != seen.present {
        return true;
    }
    if sandbox.desired != Desired::Running {
        return !deleting && observed.gone_at.is_some() && glance.is_some_and(runs_on);
    }
    let recorded = observed.instance.as_ref().map(|run| &run.id);
    !deleting
        && observed.ready(sandbox.generation)
        && (recorded != seen.instance.as_ref().map(|run| &run.id)
            || !seen.network
            || seen.agent != AgentSeen::ShellStarted
            || glance.is_some_and(|glance| !glance.whole)
            || notice(seen, glance) != sandbox.cause)
}

/// Whether a run that is recorded as reachable is no longer there.
pub(in crate::reconcile) fn ended(row: &ProjectAndSandbox, seen: &Seen) -> bool {
    let sandbox = &row.sandbox;
    row.project.deleting_since.is_none()
        && sandbox.desired == Desired::Running
        && sandbox.observed.ready(sandbox.generation)
        && sandbox.observed.instance.as_ref().map(|run| &run.id) != seen.instance.as_ref().map(|run| &run.id)
}

/// What is told beside a sandbox that runs.
pub(super) fn notice(seen: &Seen, glance: Option<&Glance>) -> Option<Cause> {
    let own = seen.cause.clone().filter(|cause| cause.code.goes_with_running());
    own.or_else(|| glance?.cause.clone())
}

/// Whether something of a database runs that a stop would end, or is ending.
pub(super) fn runs_on(glance: &Glance) -> bool {
    (glance.on || glance.ending) && glance.stops
}
