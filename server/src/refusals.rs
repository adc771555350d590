//! Tells owners which connections out of their sandboxes were refused: each destination once an hour, and
//! not more of them than somebody reads.

use engine::{
    clock::{Clock as _, SystemClock},
    orchestrator::{Orchestrator, Refused},
    store::{
        Store,
        activity::{self, Entry},
    },
};
use jiff::Timestamp;
use model::SandboxId;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How often the orchestrator is asked.
const LOOK: Duration = Duration::from_secs(5);
/// How many destinations of one sandbox are told one by one in an hour. A program that tries every address
/// writes one row more, and not a table full.
const MOST_AN_HOUR: usize = 20;

/// Asks and tells until `stop`.
pub async fn tell(store: Arc<dyn Store>, orchestrator: Arc<dyn Orchestrator>, stop: CancellationToken) {
    let mut hour = Hour::default();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        for refused in orchestrator.refusals().await {
            let now = SystemClock.now();
            let entry = hour.entry(&refused, now);
            if let Err(error) = store.tell(refused.sandbox, entry, now).await {
                debug!(sandbox.id = %refused.sandbox, "cannot tell what was refused: {error:#}");
            }
        }
    }
}

/// What was told in the present hour.
#[derive(Default)]
struct Hour {
    number: i64,
    told: HashMap<SandboxId, HashSet<String>>,
}

impl Hour {
    fn entry(&mut self, refused: &Refused, now: Timestamp) -> Entry {
        let number = now.as_second() / 3600;
        if self.number != number {
            (self.number, self.told) = (number, HashMap::new());
        }
        let told = self.told.entry(refused.sandbox).or_default();
        if told.len() < MOST_AN_HOUR {
            told.insert(refused.to.clone());
        }
        if told.contains(&refused.to) { activity::refused(&refused.to, &refused.why, now) } else { activity::refused_others(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_tries_every_address_writes_one_row_more() {
        let (mut hour, now) = (Hour::default(), Timestamp::from_second(1_800_000_000).unwrap());
        let mut buckets = HashSet::new();
        for n in (0..5_000).chain(0..5_000) {
            let to = format!("10.0.{}.{}:80", n / 250, n % 250);
            let refused = Refused { sandbox: SandboxId(uuid::Uuid::nil()), at: now, to, why: "a private address".into() };
            buckets.insert(hour.entry(&refused, now).bucket.unwrap());
        }
        assert_eq!(buckets.len(), MOST_AN_HOUR + 1);
        assert!(buckets.iter().any(|bucket| bucket.starts_with("refused-others")));
    }
}
