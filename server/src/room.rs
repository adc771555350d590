//! Whether the control plane's database has room to write. Kept in memory: on a full disk nothing can be noted.
//!
//! ```text
//!   statvfs of its folder, where it is on this machine ──┐
//!   a write that was refused (SQLSTATE 53100)  ──────────┼─▶ full ─▶ a notice on every page, a cause of sandboxes
//!   while it is full: a write to try  ───────────────────┘           that wait for it, the words of refusals
//! ```
//!
//! It refuses nothing by itself: what can be stored is stored. A server alone does not begin on a disk that is full already
//! ([`for_a_start`]): without room it has no way in for anybody, and would serve pages that it cannot open.

use anyhow::{Error, anyhow};
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

/// What the first start needs, in bytes: PostgreSQL's own files have some 80 MB.
const FIRST_BYTES: u64 = 100 << 20;

/// What a start needs where PostgreSQL is elsewhere, in bytes: files of a few words.
const OWN_BYTES: u64 = 1 << 20;

/// How a full disk says so: the kernel, and PostgreSQL in the language that we run it in.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

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

/// Whether the disk of a data folder has room for a server to start, with its own PostgreSQL there or with one elsewhere.
///
/// # Errors
/// It has not: a sentence that says how much is free, how much is needed, and what to do.
pub fn for_a_start(folder: &Path, embedded: bool) -> Result<(), Error> {
    let least = match embedded {
        false => OWN_BYTES,
        true if folder.join("postgres/data/PG_VERSION").exists() => LEAST_BYTES,
        true => FIRST_BYTES,
    };
    // Of one that is yet to be made, its parent's.
    let place = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    match place.ancestors().find_map(free_bytes) {
        Some(free) if free < least => Err(too_little(folder, free, least)),
        _ => Ok(()),
    }
}

fn too_little(folder: &Path, free: u64, least: u64) -> Error {
    anyhow!(
        "The disk of the data folder {} is full: {} are free, and a start needs {} MB. {}",
        folder.display(),
        megabytes(free),
        least >> 20,
        what_to_do(folder)
    )
}

/// An error of a start, with the sentence of a full disk before it where that is what it comes from.
#[must_use]
pub fn explained(error: Error, folder: &Path, embedded: bool) -> Error {
    let said = error.chain().map(ToString::to_string).any(|text| FULL.iter().any(|full| text.contains(full)));
    if !said {
        return error;
    }
    let disk = if embedded { "" } else { ", or that of the control plane's database," };
    let details = format!("{error:#}").replace('\n', " ");
    anyhow!("The disk of the data folder {}{disk} is full ({details}). {}", folder.display(), what_to_do(folder))
}

fn what_to_do(folder: &Path) -> String {
    let files = folder.join("volumes");
    format!(
        "Free some space on that disk (files of sandboxes are in {}), or give it a larger one, and start the server again. What runs in \
         sandboxes goes on.",
        files.display()
    )
}

/// What whoever runs PostgreSQL may write there; `None` where it cannot be told.
fn free_bytes(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    // Some file systems have no size.
    (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize))
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes >> 20, ((bytes & ((1 << 20) - 1)) * 10) >> 20)
}

fn cause(free: Option<u64>) -> Cause {
    const GOES_ON: &str = "It goes on by itself once there is room.";
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
    let mut error = ControlError::new(ErrorKind::Unavailable, "store-full", message, "").because(cause);
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
    fn a_start_that_has_no_room_says_so_in_one_sentence_and_what_to_do() {
        let folder = Path::new("/data");
        let told = too_little(folder, 5 << 20, LEAST_BYTES).to_string();
        for part in
            ["disk of the data folder /data is full", "5.0 MB are free", "needs 16 MB", "Free some space", "/data/volumes"]
        {
            assert!(told.contains(part) && !told.contains('\n'), "{part}: {told}");
        }
        let full = || Error::new(std::io::Error::from_raw_os_error(28));
        for (error, embedded) in [
            (full().context("write postgresql.conf"), true),
            (anyhow!("initdb failed: could not write to file \"base/1\": No space left on device"), true),
            (full(), false),
        ] {
            let told = format!("{:#}", explained(error, folder, embedded));
            assert!(told.starts_with("The disk of the data folder /data") && told.contains("Free some space"), "{told}");
            assert!(told.contains("No space left on device"), "what was being done is said: {told}");
            assert_eq!(told.contains("the control plane's database"), !embedded, "{told}");
        }
        let other = explained(anyhow!("Port 4000 is taken"), folder, true);
        assert_eq!(format!("{other:#}"), "Port 4000 is taken");
        let here = tempfile::tempdir().unwrap();
        assert!(for_a_start(here.path(), false).is_ok() && for_a_start(Path::new("/no/such/folder"), true).is_ok());
    }

    #[test]
    fn a_folder_has_room_or_is_not_there() {
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(free_bytes(Path::new("/no/such/folder")), None);
    }
}
