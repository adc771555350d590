//! What is told of projects.

use super::{
    PgStore,
    error::{unreadable, while_doing},
};
use crate::store::{
    StoreError,
    activity::{Entry, Filter},
    time::Time,
};
use jiff::Timestamp;
use model::{
    ProjectId, SandboxId, UserId,
    activity::{ActivityView, Actor},
};
use sqlx::PgConnection;

/// Writes entries of a sandbox's project, in the transaction of what they tell.
pub(in crate::store) async fn write(
    connection: &mut PgConnection,
    sandbox: SandboxId,
    entries: &[Entry],
    now: Timestamp,
) -> Result<(), StoreError> {
    // One by one: there are at most three.
    for entry in entries.iter().map(Entry::storable) {
        sqlx::query!(
            "INSERT INTO activity
                (owner_id, project_id, project, at, last_at, kind, actor, via, token, title, detail, data, bucket)
            SELECT p.owner_id, p.id, p.name, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10
            FROM sandboxes s JOIN projects p ON p.id = s.project_id WHERE s.id = $1
            ON CONFLICT ON CONSTRAINT activity_bucket_key
                DO UPDATE SET last_at = GREATEST(activity.last_at, EXCLUDED.last_at),
                    times = activity.times + CASE WHEN EXCLUDED.last_at = activity.last_at THEN 0 ELSE 1 END",
            sandbox.0,
            Time(now) as _,
            entry.kind.as_str(),
            entry.actor.name,
            entry.actor.via.as_str(),
            entry.actor.token,
            entry.title,
            entry.detail,
            entry.data,
            entry.bucket
        )
        .execute(&mut *connection)
        .await
        .map_err(while_doing("tell what happened"))?;
    }
    Ok(())
}

/// Writes an entry of a user's account, in the transaction of what it tells.
pub(in crate::store) async fn write_account(
    connection: &mut PgConnection,
    user: UserId,
    entry: &Entry,
    now: Timestamp,
) -> Result<(), StoreError> {
    let entry = entry.storable();
    sqlx::query!(
        "INSERT INTO activity (owner_id, at, last_at, kind, actor, via, token, title, detail, data)
        VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9)",
        user.0,
        Time(now) as _,
        entry.kind.as_str(),
        entry.actor.name,
        entry.actor.via.as_str(),
        entry.actor.token,
        entry.title,
        entry.detail,
        entry.data
    )
    .execute(&mut *connection)
    .await
    .map_err(while_doing("tell what happened"))?;
    Ok(())
}

impl PgStore {
    pub(super) async fn write_activity(&self, sandbox: SandboxId, entry: &Entry, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(while_doing("tell what happened"))?;
        write(&mut connection, sandbox, std::slice::from_ref(entry), now).await
    }

    pub(super) async fn read_activity(&self, owner: UserId, filter: &Filter) -> Result<Vec<ActivityView>, StoreError> {
        let kinds: Vec<String> = filter.kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT id, project_id, project, at AS "at: Time", last_at AS "last_at: Time", times, kind, actor, via, token, title,
                detail, data,
                project_id IS NOT NULL AND NOT EXISTS (SELECT FROM projects p WHERE p.id = activity.project_id) AS "project_deleted!"
            FROM activity
            WHERE owner_id = $1 AND ($2::uuid IS NULL OR project_id = $2) AND ($3::bigint IS NULL OR id < $3)
                AND (cardinality($4::text[]) = 0 OR kind = ANY($4)) AND ($5::text IS NULL OR $5 IN (actor, via, token))
                AND ($6::timestamptz IS NULL OR last_at >= $6)
                AND ($7::text IS NULL OR position(lower($7) IN lower(concat_ws(' ', title, detail))) > 0)
            ORDER BY id DESC LIMIT $8"#,
            owner.0,
            filter.project.map(|project| project.0),
            filter.before,
            &kinds,
            filter.actor,
            filter.since.map(Time) as _,
            filter.search,
            i64::try_from(filter.limit).unwrap_or(i64::MAX)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("read what happened"))?;
        rows.into_iter()
            .map(|row| {
                Ok(ActivityView {
                    id: row.id,
                    project_id: row.project_id.map(ProjectId),
                    project: row.project,
                    project_deleted: row.project_deleted,
                    at: row.at.0,
                    last_at: row.last_at.0,
                    times: row.times,
                    kind: row.kind.parse().map_err(unreadable("read what sort of thing happened"))?,
                    actor: Actor {
                        name: row.actor,
                        via: row.via.parse().map_err(unreadable("read from where something was asked"))?,
                        token: row.token,
                    },
                    title: row.title,
                    detail: row.detail,
                    data: row.data,
                })
            })
            .collect()
    }

    pub(super) async fn remove_activity(&self, before: Timestamp) -> Result<u64, StoreError> {
        let done = sqlx::query!("DELETE FROM activity WHERE last_at < $1", Time(before) as _)
            .execute(&self.pool)
            .await
            .map_err(while_doing("forget what happened long ago"))?;
        Ok(done.rows_affected())
    }
}
