//! Whether the control plane's database has room to write. Kept in memory: on a full disk nothing can be noted.
//!
//! ```text
//!   statvfs of its folder, where it is on this machine ──┐
//!   a write that was refused (SQLSTATE 53100)  ──────────┼─▶ full ─▶ a notice on every page, a cause of sandboxes
//!   while it is full: a write to try  ───────────────────┘           that wait for it, the words of refusals
//! ```
//!
//! It refuses nothing by itself: what can be stored is stored.

use app::error::{ControlError, ErrorKind};
use engine::store::{StoreError, full::FullBell, postgres::room::try_writing};
use model::{Cause, CauseCode};
use sqlx::PgPool;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Free space below which it is full, in bytes: PostgreSQL writes its log in files of this size, and ends where it cannot
/// make the next one.
const LEAST_BYTES: u64 = 16 << 20;

/// Knows whether there is room.
pub struct Room {
    /// Where PostgreSQL writes, if that is on this machine.
    folder: Option<PathBuf>,
    pool: PgPool,
    bell: FullBell,
    full: watch::Sender<Option<Cause>>,
}

impl Room {
    /// Of a database that writes to `folder`, if that is on this machine. The bell is rung by who finds no room and waits
    /// for no answer. Nothing is looked at before [`Self::run`].
    #[must_use]
    pub fn new(folder: Option<PathBuf>, pool: PgPool, bell: FullBell) -> Arc<Self> {
        Arc::new(Self { folder, pool, bell, full: watch::Sender::new(None) })
    }

    /// Why nothing can be stored, while nothing can.
    #[must_use]
    pub fn full(&self) -> watch::Receiver<Option<Cause>> {
        self.full.subscribe()
    }

    /// The same for who asked for something that was not done, or whose answer was lost.
    #[must_use]
    pub fn refusal(&self) -> Option<ControlError> {
        self.full.borrow().as_ref().map(refusal)
    }

    /// A write was refused for want of room.
    pub fn saw_full(&self) {
        if self.full.borrow().is_none() {
            self.say(Some(cause(self.folder.as_deref().and_then(free_bytes))));
        }
    }

    /// Looks until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.bell.rung() => self.saw_full(),
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn look(&self) {
        let free = self.free().await;
        if free.is_some_and(|free| free < LEAST_BYTES) {
            return self.say(Some(cause(free)));
        }
        if self.full.borrow().is_none() {
            return;
        }
        match try_writing(&self.pool).await {
            Err(StoreError::NoRoom(_)) => self.say(Some(cause(free))),
            // It is away, for which there are other words; elsewhere, nobody knows yet whether there is room.
            Err(_) if free.is_none() => {}
            Err(_) | Ok(()) => self.say(None),
        }
    }

    /// On a thread that may wait: a disk may be so ill that it does not answer.
    async fn free(&self) -> Option<u64> {
        let folder = self.folder.clone()?;
        tokio::task::spawn_blocking(move || free_bytes(&folder)).await.ok().flatten()
    }

    fn say(&self, now: Option<Cause>) {
        self.full.send_if_modified(|was| {
            match (was.is_some(), &now) {
                (false, Some(cause)) => warn!("nothing can be stored: {}", cause.message),
                (true, None) => info!("there is room again for the control plane's database"),
                _ => {}
            }
            std::mem::replace(was, now.clone()) != now
        });
    }
}

/// What may be told of a refusal for want of room where no [`Room`] is at hand.
#[must_use]
pub fn without_figures() -> ControlError {
    refusal(&cause(None))
}

/// What whoever runs PostgreSQL may write there; `None` where it cannot be told.
fn free_bytes(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

fn cause(free: Option<u64>) -> Cause {
    const GOES_ON: &str = "It goes on by itself once there is room.";
    let megabytes = |bytes: u64| format!("{}.{} MB", bytes >> 20, ((bytes & ((1 << 20) - 1)) * 10) >> 20);
    match free {
        Some(free) if free < LEAST_BYTES => Cause::new(
            CauseCode::DiskFull,
            format!(
                "The disk of the data folder is full: {} are free, and the control plane's database needs {} MB to store anything.",
                megabytes(free),
                LEAST_BYTES >> 20
            ),
            &["Free some space on that disk: files in sandboxes, in a terminal that is open, are on it too.", GOES_ON],
        ),
        Some(free) => Cause::new(
            CauseCode::DiskFull,
            format!(
                "The control plane's database was refused room on the disk of the data folder, where {} are free.",
                megabytes(free)
            ),
            &["Look whether a quota is used up there, or no file more can be made.", GOES_ON],
        ),
        None => Cause::new(
            CauseCode::DiskFull,
            "The disk of the control plane's database is full, so nothing can be stored.",
            &["Free some space on that disk, or give PostgreSQL a larger one.", GOES_ON],
        ),
    }
}

fn refusal(cause: &Cause) -> ControlError {
    let message = format!("{} What runs in sandboxes goes on.", cause.message);
    let mut error = ControlError::new(ErrorKind::Unavailable, "store-full", message, "");
    error.next_steps.clone_from(&cause.next_steps);
    error.next_steps.push("Ask again then; after a change, look first whether it was made.".to_owned());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_has_how_much_is_free_and_what_to_do() {
        let told = |free| refusal(&cause(free));
        let full = told(Some((3 << 20) + (1 << 19)));
        assert!(full.message.contains("3.5 MB are free") && full.message.contains("16 MB"), "{}", full.message);
        assert!(told(Some(5 << 30)).message.contains("5120.0 MB are free"));
        for error in [full, told(Some(5 << 30)), without_figures()] {
            assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unavailable, "store-full"));
            assert!(error.next_steps.len() == 3 && error.message.contains("goes on"), "{error:?}");
        }
    }

    #[test]
    fn a_folder_has_room_or_is_not_there() {
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/folder")), None);
    }
}
