//! What is over goes, now and then: of the tables of accounts, clones of projects that were never made, and what happened so long ago
//! that nobody wants to read it.

use engine::{
    clock::{Clock as _, SystemClock},
    store::{Store, accounts::Accounts, repositories::Repositories},
};
use jiff::{SignedDuration, Timestamp};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often.
const PERIOD: Duration = Duration::from_secs(600);

/// Where what is over is removed.
pub struct Sweep {
    /// Sessions, codes, tokens, shares, keys.
    pub accounts: Accounts,
    /// Clones.
    pub repositories: Repositories,
    /// What happened.
    pub store: Arc<dyn Store>,
    /// For how many days what happened is kept (`--activity-days`): by when it happened last, where it did so again and again.
    pub activity_days: u32,
}

impl Sweep {
    /// Sweeps until `stop`, for the first time after a period.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => self.once(SystemClock.now()).await,
            }
        }
    }

    /// Sweeps. What fails is in the log, and tried again the next time.
    pub async fn once(&self, now: Timestamp) {
        if let Err(error) = self.accounts.sweep(now).await {
            warn!("failed to sweep the accounts: {error:#}");
        }
        if let Err(error) = self.repositories.sweep(now).await {
            warn!("failed to sweep the repositories: {error:#}");
        }
        let kept = SignedDuration::from_hours(24 * i64::from(self.activity_days));
        let before = now.checked_sub(kept).unwrap_or(Timestamp::MIN);
        match self.store.forget_activity(before).await {
            Ok(0) => {}
            Ok(forgotten) => info!(forgotten, "forgot what happened more than {} days ago", self.activity_days),
            Err(error) => warn!("failed to forget old activity: {error:#}"),
        }
    }
}
