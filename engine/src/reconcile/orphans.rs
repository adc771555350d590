//! What carries our installation's id and has no row: found, reported, and after ten minutes removed.
//! Never a volume or a database.

use crate::orchestrator::Orchestrator;
use jiff::{SignedDuration, Timestamp};
use model::SandboxId;
use std::collections::{HashMap, HashSet};
use tracing::{debug, info, warn};

/// How long an orphan is left alone: long enough for a row that is being written by another process.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// When each orphan was first seen.
#[derive(Debug, Default)]
pub struct Sweep {
    first_seen: HashMap<SandboxId, Timestamp>,
}

impl Sweep {
    /// Looks once. `known` are the sandboxes that have a row.
    pub async fn sweep(&mut self, orchestrator: &dyn Orchestrator, known: &HashSet<SandboxId>, now: Timestamp) {
        let owned = match orchestrator.list().await {
            Ok(owned) => owned,
            Err(error) => return debug!("cannot list what is there: {error:#}"),
        };
        let orphans: HashMap<SandboxId, String> = owned
            .into_iter()
            .filter(|object| !object.holds_data && !known.contains(&object.sandbox))
            .map(|object| (object.sandbox, format!("{} {}", object.kind, object.name)))
            .collect();
        self.first_seen.retain(|id, _| orphans.contains_key(id));
        for (id, what) in orphans {
            let first = *self.first_seen.entry(id).or_insert_with(|| {
                info!(sandbox.id = %id, "found an orphan: {what}; it is removed in ten minutes if it still has no row");
                now
            });
            if now.duration_since(first) >= GRACE {
                match orchestrator.remove(id).await {
                    Ok(_) => info!(sandbox.id = %id, "removed an orphan: {what}"),
                    Err(error) => warn!(sandbox.id = %id, "failed to remove an orphan: {error:#}"),
                }
            }
        }
    }
}
