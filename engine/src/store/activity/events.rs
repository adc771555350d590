//! What befell a sandbox outside of its phases: what it kept is gone or was put right, its run was found again,
//! nothing of it is left.

use super::{
    Entry,
    time::{hour, lasting, millis},
    told,
};
use crate::store::{ProjectAndSandbox, SandboxRow};
use jiff::Timestamp;
use model::activity::ActivityKind;
use serde_json::json;

/// A sandbox that ran before starts, and its home folder is not there.
#[must_use]
pub fn home_lost(sandbox: &SandboxRow, now: Timestamp) -> Entry {
    let detail = "Somebody removed it, with its files. It is made anew, empty: restore it from a backup, if there is one";
    befell(sandbox, "home-lost", "The home folder was gone", detail, now)
}

/// A sandbox that ran before starts, and its database is not there.
#[must_use]
pub fn database_lost(sandbox: &SandboxRow, now: Timestamp) -> Entry {
    let detail = "Somebody removed it or its volume. It is made again, with what is on its volume if that is kept; else it is \
                  empty: restore it from a backup, if there is one";
    befell(sandbox, "database-lost", "The database was gone", detail, now)
}

/// Something of a database was deleted or changed by somebody else, beside a sandbox that runs or while it was stopped.
#[must_use]
pub fn database_mended(sandbox: &SandboxRow, now: Timestamp) -> Entry {
    let title = "Something of the database was deleted or changed from outside";
    befell(sandbox, "database-mended", title, "It is put right, and what is in the database is kept", now)
}

/// Something of a sandbox that runs was deleted or changed by somebody else.
pub(super) fn mended(sandbox: &SandboxRow, now: Timestamp) -> Entry {
    let title = "Something of the sandbox was deleted or changed from outside";
    befell(sandbox, "mended", title, "It is put right, and the run goes on", now)
}

/// Told once an hour in each generation.
fn befell(sandbox: &SandboxRow, event: &str, title: &str, detail: &str, now: Timestamp) -> Entry {
    let generation = sandbox.generation;
    let bucket = format!("{event}:{generation}:{}", hour(now));
    let data = json!({ "event": event, "generation": generation });
    told(ActivityKind::Run, title, Some(detail.to_owned()), data, Some(bucket))
}

/// Nothing of a deleted project is left.
pub(in crate::store) fn buried(asked_at: Timestamp, now: Timestamp) -> Entry {
    let took = millis(asked_at, now);
    let data = json!({ "event": "erased", "tookMs": took });
    told(ActivityKind::Phase, "Everything of the project was removed", Some(format!("In {}", lasting(took))), data, None)
}

/// A process that begins found a run that another had started.
#[must_use]
pub fn adopted(row: &ProjectAndSandbox, now: Timestamp) -> Option<Entry> {
    let run = row.sandbox.observed.instance.as_ref()?;
    let ran = millis(run.started_at, now);
    let data = json!({ "event": "adopted", "ranMs": ran });
    let bucket = format!("adopted:{}:{}", run.id, hour(now));
    let detail = format!("The control plane was started again, and found it as it was; it runs for {}", lasting(ran));
    Some(told(ActivityKind::Run, "The sandbox went on", Some(detail), data, Some(bucket)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::activity::tests::{at, row};

    #[test]
    fn a_home_folder_that_was_gone_is_told_once_a_start() {
        let row = row();
        let entry = home_lost(&row.sandbox, at(0));
        assert_eq!(entry.title, "The home folder was gone");
        assert!(entry.detail.as_deref().is_some_and(|detail| detail.contains("made anew, empty")), "{entry:?}");
        assert_eq!(entry.bucket, home_lost(&row.sandbox, at(1_000)).bucket);
    }

    #[test]
    fn a_database_that_was_gone_or_changed_is_told_once_a_start() {
        let row = row();
        for (tell, title) in [
            (database_lost as fn(&SandboxRow, Timestamp) -> Entry, "The database was gone"),
            (
                database_mended as fn(&SandboxRow, Timestamp) -> Entry,
                "Something of the database was deleted or changed from outside",
            ),
        ] {
            let entry = tell(&row.sandbox, at(0));
            assert_eq!(entry.title, title);
            assert!(entry.detail.as_ref().is_some_and(|detail| !detail.contains("  ")), "{entry:?}");
            assert_eq!(entry.bucket, tell(&row.sandbox, at(1_000)).bucket);
        }
        assert_ne!(database_lost(&row.sandbox, at(0)).bucket, database_mended(&row.sandbox, at(0)).bucket);
    }
}
