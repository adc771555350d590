//! What a pass itself finds wrong, as its owner reads it.

use crate::orchestrator::Seen;
use model::{Cause, CauseCode};

/// After this many endings by itself within ten minutes it is a crash loop.
const CRASH_LOOP: u32 = 3;

pub(super) fn home_leaving() -> Cause {
    Cause::new(
        CauseCode::VolumeLeaving,
        "The project's home folder is being deleted by somebody, with all its files. Once it is gone an empty one is made.",
        &[
            "Wait: it goes on by itself.",
            "Restore the files from a backup afterwards, if there is one.",
            "Look at who deleted it: in the cluster's audit log.",
        ],
    )
}

pub(super) fn database_gone() -> Cause {
    Cause::new(
        CauseCode::DatabaseFailed,
        "The project's database was not there as it was made: somebody removed or stopped it. It is being made or started again.",
        &[
            "Wait: it goes on by itself. What is on its volume is kept; without that it is empty.",
            "Look at who changed it: in the cluster's audit log, or that of whoever runs the server.",
        ],
    )
}

pub(super) fn ended_by_itself(seen: &Seen) -> Cause {
    let known = seen.cause.clone();
    if seen.ended_by_itself >= CRASH_LOOP {
        let mut cause = Cause::new(
            CauseCode::CrashLoop,
            format!("The sandbox ended by itself {} times within ten minutes.", seen.ended_by_itself),
            &["Look at its log for what ended it.", "It is started again by itself, at most every 30 seconds."],
        );
        cause.detail = known.map(|known| known.message);
        return cause;
    }
    known.unwrap_or_else(|| {
        Cause::new(
            CauseCode::EndedUnexpectedly,
            "The sandbox ended by itself. It is being started again.",
            &["Wait: files and database are kept."],
        )
    })
}

pub(super) fn no_shell(name: &str) -> Cause {
    Cause::new(
        CauseCode::ShellFailed,
        format!("`{name}` runs and its agent answers, and no shell has started in it."),
        &[
            "Look at its log for why.",
            "If start-up files in the home folder are to blame, mend them by the API's exec.",
            "Restart it.",
        ],
    )
}
