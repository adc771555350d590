//! Causes that no object and no answer tells of.

use model::{Cause, CauseCode};

/// The index is not complete yet.
#[must_use]
pub fn not_yet() -> Cause {
    Cause::new(
        CauseCode::OrchestratorUnreachable,
        "What is in the cluster is not known yet.",
        &["Wait: it is asked by itself.", "Look at the server's log if this stays."],
    )
}

/// Somebody else deleted the Deployment.
#[must_use]
pub fn deleted() -> Cause {
    Cause::new(
        CauseCode::DeletedOutside,
        "Somebody else deleted the sandbox's Deployment. It is being made again.",
        &["Wait: files and database are kept.", "Look at who deleted it: in the cluster's audit log."],
    )
}

/// A volume that a run uses.
#[must_use]
pub fn volume_in_use(volume: &str) -> Cause {
    Cause::new(
        CauseCode::VolumeFailed,
        format!("The volume `{volume}` is in use by a running sandbox, so it is not removed."),
        &["Stop the sandbox first."],
    )
}
