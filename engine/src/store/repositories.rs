//! What is cloned into new sandboxes, and how far that is. PostgreSQL's alone.
//!
//! ```text
//!   waiting ──claim──▶ cloning ──▶ done
//!      ▲                 │ └─────▶ failed ──▶ skipped
//!      └──── again ──────┴────────────┘
//! ```

use super::{
    StoreError,
    postgres::error::{unreadable, while_doing},
    time::Time,
};
use jiff::Timestamp;
use model::{
    Cause, ProjectId,
    repository::{CloneState, Repository, RepositoryView},
    stage::after,
};
use sqlx::{PgPool, types::Json};
use std::time::Duration;

/// How long a row without a project is kept: longer than any creation takes.
const ORPHAN_LIFE: Duration = Duration::from_secs(3600);

/// Repositories of projects. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Repositories {
    pool: PgPool,
}

impl Repositories {
    /// On a database that was migrated.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// What is published, in the same database.
    #[must_use]
    pub fn publications(&self) -> super::publications::Publications {
        super::publications::Publications::new(self.pool.clone())
    }

    /// Stores what a project is to be made with: before it is.
    ///
    /// # Errors
    /// The database is away.
    pub async fn add(&self, project: ProjectId, of: &Repository, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO repositories (project_id, url, branch, depth, folder, state, created_at, updated_at, checkout)
            VALUES ($1, $2, $3, $4, $5, 'waiting', $6, $6, $7)",
            project.0,
            of.url,
            of.branch,
            of.depth.and_then(|depth| i32::try_from(depth).ok()),
            of.folder,
            Time(now) as _,
            of.checkout
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("store a repository"))?;
        Ok(())
    }

    /// Takes back what no project was made with.
    ///
    /// # Errors
    /// The database is away: then it is swept later.
    pub async fn remove(&self, project: ProjectId) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM repositories WHERE project_id = $1", project.0)
            .execute(&self.pool)
            .await
            .map_err(while_doing("remove a repository"))?;
        Ok(())
    }

    /// A project's.
    ///
    /// # Errors
    /// The database is away.
    pub async fn of(&self, project: ProjectId) -> Result<Option<RepositoryView>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT url, branch, checkout, depth, folder, state, progress, cause AS "cause: Json<Cause>", updated_at AS "updated_at: Time"
            FROM repositories WHERE project_id = $1"#,
            project.0
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a repository"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(RepositoryView {
            url: row.url,
            branch: row.branch,
            checkout: row.checkout,
            depth: row.depth.and_then(|depth| u32::try_from(depth).ok()),
            folder: row.folder,
            state: row.state.parse().map_err(unreadable("read a clone's state"))?,
            progress: row.progress,
            cause: row.cause.map(|cause| cause.0),
            updated_at: row.updated_at.0,
        }))
    }

    /// All that are not there yet: waiting, under way, or failed.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pending(&self) -> Result<Vec<ProjectId>, StoreError> {
        let rows = sqlx::query_scalar!("SELECT project_id FROM repositories WHERE state IN ('waiting', 'cloning', 'failed')")
            .fetch_all(&self.pool)
            .await
            .map_err(while_doing("read what is to be cloned"))?;
        Ok(rows.into_iter().map(ProjectId).collect())
    }

    /// Takes a clone on: one that waits, or whose holder has said nothing for its time. `false` if there is
    /// none to take.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim(&self, project: ProjectId, holder: &str, hold: Duration, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE repositories SET state = 'cloning', holder = $2, held_until = $3, progress = NULL, cause = NULL, updated_at = $4
            WHERE project_id = $1 AND (state = 'waiting' OR (state = 'cloning' AND held_until < $4))",
            project.0,
            holder,
            Time(after(now, hold)) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("begin a clone"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Says how far it is. `false` if it is not the holder's any more: then it is to be left.
    ///
    /// # Errors
    /// The database is away.
    pub async fn progress(
        &self,
        project: ProjectId,
        holder: &str,
        text: Option<&str>,
        hold: Duration,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE repositories SET progress = COALESCE($3, progress), held_until = $4, updated_at = $5
            WHERE project_id = $1 AND state = 'cloning' AND holder = $2",
            project.0,
            holder,
            text,
            Time(after(now, hold)) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("note a clone's progress"))?;
        Ok(done.rows_affected() == 1)
    }

    /// What became of it: there, to be tried again, or failed with its cause.
    ///
    /// # Errors
    /// The database is away.
    pub async fn finish(
        &self,
        project: ProjectId,
        holder: &str,
        state: CloneState,
        cause: Option<&Cause>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE repositories SET state = $3, cause = $4, progress = NULL, holder = NULL, held_until = NULL, updated_at = $5
            WHERE project_id = $1 AND state = 'cloning' AND holder = $2",
            project.0,
            holder,
            state.as_str(),
            cause.map(Json) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("note what became of a clone"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Tries one that failed again (`waiting`), or goes on without (`skipped`, also one that waits or is under
    /// way). `false` if that cannot be.
    ///
    /// # Errors
    /// The database is away.
    pub async fn decide(&self, project: ProjectId, to: CloneState, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE repositories SET state = $2, cause = NULL, progress = NULL, holder = NULL, held_until = NULL, updated_at = $3
            WHERE project_id = $1 AND (state = 'failed' OR ($2 = 'skipped' AND state IN ('waiting', 'cloning')))",
            project.0,
            to.as_str(),
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("decide on a clone"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Removes what has no project.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let old = now.checked_sub(ORPHAN_LIFE).unwrap_or(Timestamp::MIN);
        sqlx::query!(
            "DELETE FROM repositories r WHERE created_at < $1 AND NOT EXISTS (SELECT FROM projects WHERE id = r.project_id)",
            Time(old) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("sweep repositories"))?;
        Ok(())
    }
}
