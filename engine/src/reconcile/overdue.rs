//! The cause of a deadline that has passed, where nothing better is known.

use crate::store::ProjectAndSandbox;
use jiff::Timestamp;
use model::{Cause, CauseCode, Desired, Observed, ResourceName, phase::overdue_stage};

/// What may be told of a row that is past a deadline and has no cause, by now or at all: a disk may be so full that none could
/// be written.
#[must_use]
pub fn of(row: &ProjectAndSandbox, now: Timestamp) -> Option<Cause> {
    after(row, row.desired(), &row.sandbox.observed, None, now)
}

/// The same for who has not all of the row; `deleting`: whether its project is being deleted.
#[must_use]
pub fn of_facts(name: &ResourceName, desired: Desired, deleting: bool, observed: &Observed, now: Timestamp) -> Option<Cause> {
    let desired = if deleting { Desired::Terminated } else { desired };
    told(name, desired, deleting, observed, now)
}

/// The same of these facts; what is `known` of it is told too.
pub(super) fn after(
    row: &ProjectAndSandbox,
    desired: Desired,
    observed: &Observed,
    known: Option<&Cause>,
    now: Timestamp,
) -> Option<Cause> {
    let mut cause = told(&row.sandbox.name, desired, row.project.deleting_since.is_some(), observed, now)?;
    if let Some(known) = known {
        cause.message = format!("{} {}", cause.message, known.message);
        cause.detail.clone_from(&known.detail);
        cause.next_steps = known.next_steps.iter().cloned().chain(cause.next_steps).collect();
    }
    Some(cause)
}

fn told(name: &ResourceName, desired: Desired, deleting: bool, observed: &Observed, now: Timestamp) -> Option<Cause> {
    match desired {
        Desired::Running => {
            let stage = overdue_stage(observed, now)?;
            Some(Cause::new(
                CauseCode::StageOverdue,
                format!("`{name}` is still at {}, past its limit.", stage.title()),
                &[
                    "It goes on by itself and will be Running if it comes up late.",
                    "Restart it if it stays like this.",
                    "Look at its log.",
                ],
            ))
        }
        Desired::Stopped | Desired::Terminated => {
            if observed.leave_deadline_at.is_none_or(|at| now < at)
                || (observed.gone_at.is_some() && observed.erasing_since.is_none())
            {
                return None;
            }
            Some(if deleting {
                Cause::new(
                    CauseCode::DeletionOverdue,
                    format!("Not everything of `{name}` and its project could be removed within the limit."),
                    &[
                        "It goes on by itself: the project is shown until nothing of it is left.",
                        "Look at the server's log for its name.",
                    ],
                )
            } else {
                Cause::new(
                    CauseCode::LeaveOverdue,
                    format!("`{name}` has not ended within its limit."),
                    &[
                        "It goes on by itself.",
                        "Look for a process in it that cannot be ended, such as one that waits for a dead disk.",
                    ],
                )
            })
        }
    }
}
