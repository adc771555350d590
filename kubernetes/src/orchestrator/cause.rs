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

/// A volume that a control plane made, and that does not say any more whose it is: without this `label`.
#[must_use]
pub fn volume_unlabelled(volume: &str, label: &str) -> Cause {
    let text = format!(
        "The PersistentVolumeClaim `{volume}` is there, and is neither used nor removed: somebody took the label off that says \
         whose it is."
    );
    let label = format!("Give it the label `{label}` again: this goes on by itself then.");
    Cause::new(CauseCode::VolumeFailed, text, &[&label, "Or remove it by hand, if what is in it may go."])
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
