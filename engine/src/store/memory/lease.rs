//! What a reconciler does with rows: leases them, records what it found, removes them.

use super::{MemoryStore, Writes, state::Sandbox};
use crate::store::{AHEAD, Leased, Pass, StoreError, activity};
use jiff::Timestamp;
use model::{SandboxId, stage::after};
use std::time::Duration;

impl MemoryStore {
    pub(super) async fn take_due(
        &self,
        holder: &str,
        now: Timestamp,
        hold: Duration,
        limit: usize,
        except: &[SandboxId],
    ) -> Result<Vec<Leased>, StoreError> {
        self.act(|state| {
            state.may(Writes::Leases)?;
            let until = after(now, hold);
            let past = |at: Timestamp| at <= now || at > after(now, AHEAD);
            let due = |sandbox: &&Sandbox| {
                sandbox.row.wake_at.is_some_and(past) && !sandbox.taken(now, until) && !except.contains(&sandbox.row.id)
            };
            let mut ids: Vec<_> =
                state.sandboxes.values().filter(due).map(|sandbox| (sandbox.row.wake_at, sandbox.row.id)).collect();
            ids.sort();
            ids.truncate(limit);
            let mut leased = Vec::with_capacity(ids.len());
            for (_, id) in ids {
                if let Some(sandbox) = state.sandboxes.get_mut(&id) {
                    sandbox.lease = Some((holder.to_owned(), until));
                }
                if let Some(row) = state.of_sandbox(id) {
                    leased.push(Leased { row, until });
                }
            }
            Ok(leased)
        })
        .await
    }

    pub(super) async fn take(
        &self,
        id: SandboxId,
        holder: &str,
        now: Timestamp,
        hold: Duration,
    ) -> Result<Option<Leased>, StoreError> {
        self.act(|state| {
            state.may(Writes::Leases)?;
            let until = after(now, hold);
            let Some(sandbox) = state.sandboxes.get_mut(&id) else { return Ok(None) };
            if sandbox.taken(now, until) && sandbox.lease.as_ref().is_some_and(|(by, _)| by != holder) {
                return Ok(None);
            }
            sandbox.lease = Some((holder.to_owned(), until));
            let row = state.of_sandbox(id);
            Ok(row.map(|row| Leased { row, until }))
        })
        .await
    }

    pub(super) async fn write_pass(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        pass: &Pass,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        self.act(|state| {
            state.may(Writes::Facts)?;
            let Some(sandbox) = state.held(id, holder, version, now) else { return Ok(None) };
            let row = &mut sandbox.row;
            let seen = row.observed != pass.observed || row.cause != pass.cause;
            let unseen = row.last_error != pass.last_error || row.failures != pass.failures || row.wake_at != pass.wake_at;
            if !seen && !unseen {
                return Ok(Some(version));
            }
            row.observed = pass.observed.clone();
            row.cause = pass.cause.clone();
            row.last_error = pass.last_error.clone();
            row.failures = pass.failures;
            row.wake_at = pass.wake_at;
            row.version += 1;
            if seen {
                row.changed_at = now;
            }
            let version = row.version;
            state.writes += 1;
            if let Some(row) = state.of_sandbox(id) {
                for entry in &pass.told {
                    state.told(&row, entry.clone(), now);
                }
                if seen {
                    self.changed(&row);
                }
            }
            Ok(Some(version))
        })
        .await
    }

    pub(super) async fn give_back(&self, id: SandboxId, holder: &str) -> Result<(), StoreError> {
        self.act(|state| {
            if let Some(sandbox) = state.sandboxes.get_mut(&id)
                && sandbox.lease.as_ref().is_some_and(|(by, _)| by == holder)
            {
                sandbox.lease = None;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn remove_rows(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.act(|state| {
            if state.held(id, holder, version, now).is_none() {
                return Ok(false);
            }
            let row = state.of_sandbox(id);
            let Some(row) = row.filter(|row| row.project.deleting_since.is_some()) else { return Ok(false) };
            state.told(&row, activity::buried(row.project.deleting_since.unwrap_or(now), now), now);
            state.sandboxes.remove(&id);
            state.projects.remove(&row.project.id);
            state.keys.retain(|_, (project, _)| *project != row.project.id);
            state.tombstones.insert(id);
            state.writes += 1;
            self.changed(&row);
            Ok(true)
        })
        .await
    }

    pub(super) async fn read_next_wake(&self, except: &[SandboxId]) -> Result<Option<Timestamp>, StoreError> {
        self.act(|state| {
            let due = |sandbox: &Sandbox| {
                let until = sandbox.lease.as_ref().map(|(_, until)| *until);
                sandbox.row.wake_at.map(|at| until.map_or(at, |until| until.max(at)))
            };
            Ok(state.sandboxes.values().filter(|sandbox| !except.contains(&sandbox.row.id)).filter_map(due).min())
        })
        .await
    }
}
