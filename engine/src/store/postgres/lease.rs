//! Reconcile's side: leases, and the facts that their holders find.
//!
//! Taking a lease and giving it back do not wait for the disk (`synchronous_commit`), which is most of
//! what they would cost. A crash of PostgreSQL, or of the machine, may forget a lease within the last
//! half second; then [`write_pass`](PgStore::write_pass) refuses its holder's facts. Facts do wait, and
//! with them every lease before.

use super::{PgStore, activity, error::while_doing, row::joined};
use crate::store::{AHEAD, Leased, Pass, StoreError, time::Time};
use jiff::Timestamp;
use model::{Cause, Observed, SandboxId, stage::after};
use sqlx::{
    PgExecutor,
    types::{Json, Uuid},
};
use std::time::Duration;

impl PgStore {
    pub(super) async fn take_due(
        &self,
        holder: &str,
        now: Timestamp,
        hold: Duration,
        limit: usize,
        except: &[SandboxId],
    ) -> Result<Vec<Leased>, StoreError> {
        let until = after(now, hold);
        let not = self.unreadable.sandboxes_and(except);
        // MATERIALIZED: the inner query locks, and must run once.
        let ids = sqlx::query_scalar!(
            "WITH due AS MATERIALIZED (
                SELECT id FROM sandboxes WHERE (wake_at <= $3 OR wake_at > $6)
                    AND (lease_until IS NULL OR lease_until <= $3 OR lease_until > $7) AND id <> ALL($5)
                ORDER BY wake_at, id LIMIT $4 FOR UPDATE SKIP LOCKED
            )
            UPDATE sandboxes SET lease_holder = $1, lease_until = $2 FROM due
            WHERE sandboxes.id = due.id AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
            RETURNING sandboxes.id",
            holder,
            Time(until) as _,
            Time(now) as _,
            i64::try_from(limit).unwrap_or(i64::MAX),
            &not[..],
            Time(after(now, AHEAD)) as _,
            Time(after(until, AHEAD)) as _
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("lease the rows that are due"))?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let leased = self.read_leased(&ids, holder, until).await?;
        // Another server may be able to read what this one cannot. Best effort, as every release.
        for id in ids.into_iter().map(SandboxId).filter(|id| leased.iter().all(|leased| leased.row.sandbox.id != *id)) {
            let _ = self.give_back(id, holder).await;
        }
        Ok(leased)
    }

    pub(super) async fn take(
        &self,
        id: SandboxId,
        holder: &str,
        now: Timestamp,
        hold: Duration,
    ) -> Result<Option<Leased>, StoreError> {
        let until = after(now, hold);
        let taken = sqlx::query_scalar!(
            "UPDATE sandboxes SET lease_holder = $2, lease_until = $3
            WHERE id = $1 AND (lease_until IS NULL OR lease_until <= $4 OR lease_until > $5 OR lease_holder = $2)
                AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
            RETURNING id",
            id.0,
            holder,
            Time(until) as _,
            Time(now) as _,
            Time(after(until, AHEAD)) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("lease a row"))?;
        match taken {
            Some(row) => {
                let leased = self.read_leased(&[row], holder, until).await?.pop();
                if leased.is_none() {
                    let _ = self.give_back(id, holder).await;
                }
                Ok(leased)
            }
            None => Ok(None),
        }
    }

    /// The rows of leases just taken. Read after, not with, the taking: that statement sees projects
    /// as they were when it began, and a row that was asked for deletion in between would look as if
    /// nobody had. What changes after this read changes the version, too.
    async fn read_leased(&self, ids: &[Uuid], holder: &str, until: Timestamp) -> Result<Vec<Leased>, StoreError> {
        let rows = joined!("WHERE s.id = ANY($1) AND s.lease_holder = $2 ORDER BY s.wake_at, s.id", ids, holder)
            .fetch_all(&self.pool)
            .await
            .map_err(while_doing("read the leased rows"))?;
        let rows = self.unreadable.leave_out(rows, &self.vault);
        Ok(rows.into_iter().map(|row| Leased { row, until }).collect())
    }

    pub(super) async fn write_pass(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        pass: &Pass,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        if pass.told.is_empty() {
            return write_facts(&self.pool, id, holder, version, pass, now).await;
        }
        let doing = while_doing("store what a pass found, and tell it");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let written = write_facts(&mut *transaction, id, holder, version, pass, now).await?;
        if written.is_some() {
            activity::write(&mut transaction, id, &pass.told, now).await?;
            transaction.commit().await.map_err(&doing)?;
        }
        Ok(written)
    }

    pub(super) async fn give_back(&self, id: SandboxId, holder: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE sandboxes SET lease_holder = NULL, lease_until = NULL
            WHERE id = $1 AND lease_holder = $2 AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'",
            id.0,
            holder
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("give a lease back"))?;
        Ok(())
    }

    pub(super) async fn read_next_wake(&self, except: &[SandboxId]) -> Result<Option<Timestamp>, StoreError> {
        let not = self.unreadable.sandboxes_and(except);
        // GREATEST passes over NULLs.
        let next = sqlx::query_scalar!(
            r#"SELECT min(GREATEST(wake_at, lease_until)) AS "next: Time" FROM sandboxes WHERE wake_at IS NOT NULL AND id <> ALL($1)"#,
            &not[..]
        )
        .fetch_one(&self.pool)
        .await
        .map_err(while_doing("read when the next row is due"))?;
        Ok(next.map(|time| time.0))
    }
}

/// The facts of a pass, where its holder may still write them: the row's version then.
async fn write_facts(
    to: impl PgExecutor<'_>,
    id: SandboxId,
    holder: &str,
    version: i64,
    pass: &Pass,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    // `held` locks nothing, so that a pass that changes nothing writes nothing, not even a lock;
    // the UPDATE compares again.
    let version = sqlx::query_scalar!(
        r#"WITH held AS (
            SELECT id, (observed, cause) IS DISTINCT FROM ($5::jsonb, $6::jsonb) AS seen,
                (last_error, failures, wake_at) IS DISTINCT FROM ($7::text, $8::integer, $9::timestamptz) AS unseen
            FROM sandboxes WHERE id = $1 AND lease_holder = $2 AND version = $3 AND lease_until > $4
        ), written AS (
            UPDATE sandboxes s SET observed = $5, cause = $6, last_error = $7, failures = $8, wake_at = $9,
                version = s.version + 1, changed_at = CASE WHEN held.seen THEN $4 ELSE s.changed_at END
            FROM held
            WHERE s.id = held.id AND s.lease_holder = $2 AND s.version = $3 AND s.lease_until > $4 AND (held.seen OR held.unseen)
            RETURNING s.version
        )
        SELECT CASE WHEN seen OR unseen THEN (SELECT version FROM written) ELSE $3 END AS version FROM held"#,
        id.0,
        holder,
        version,
        Time(now) as _,
        Json(&pass.observed) as Json<&Observed>,
        pass.cause.as_ref().map(Json) as Option<Json<&Cause>>,
        pass.last_error,
        i32::try_from(pass.failures).unwrap_or(i32::MAX),
        pass.wake_at.map(Time) as _
    )
    .fetch_optional(to)
    .await
    .map_err(while_doing("store what a pass found"))?;
    Ok(version.flatten())
}
