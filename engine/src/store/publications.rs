//! Folders of projects that become new repositories at GitHub, and how far that is. PostgreSQL's alone.
//!
//! ```text
//!   waiting ──claim──▶ working ──created──▶ working, linked ──▶ done
//!      ▲                  └──────────────────────┴────────────▶ failed
//!      └───────────────────── again ──────────────────────────────┘
//! ```

use super::{
    StoreError,
    postgres::error::{unreadable, while_doing},
    time::Time,
};
use jiff::Timestamp;
use model::{ProjectId, activity::Actor, stage::after};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, types::Json};
use std::time::Duration;

/// Publications. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Publications {
    pool: PgPool,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// An organization, or the user; the user, where it is absent.
    pub owner: Option<String>,
    /// The repository's name.
    pub name: String,
    /// Whether not everybody sees it.
    pub private: bool,
    /// What GitHub says of it.
    pub description: Option<String>,
    /// Of the commit of what is not committed yet.
    pub message: String,
    /// Of the sandbox's home.
    pub folder: String,
}

/// How far one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicationState {
    /// For somebody to work on it.
    Waiting,
    /// Somebody does.
    Working,
    /// The repository has what the folder has.
    Done,
    /// It has not, and the failure says why.
    Failed,
}

impl PublicationState {
    /// Its name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for PublicationState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Waiting, Self::Working, Self::Done, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("`{text}` is no state of a publication."))
    }
}

/// Why one failed, in words for its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// `kebab-case`, stable.
    pub code: String,
    /// What happened and why.
    pub message: String,
    /// What to do next.
    pub next_steps: Vec<String>,
    /// What git or GitHub said.
    pub detail: Option<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// What is to be made.
    pub wish: Wish,
    /// Who asked.
    pub actor: Actor,
    /// How far it is.
    pub state: PublicationState,
    /// What the repository is cloned by, once it is there.
    pub url: Option<String>,
    /// What is being done.
    pub progress: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Since when it is so.
    pub updated_at: Timestamp,
}

impl Publications {
    /// On a database that was migrated.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Stores a wish, in place of one that failed or is done. Of one that failed after the repository was made, the same
    /// wish goes on where it stood. `false` while another is under way.
    ///
    /// # Errors
    /// The database is away.
    pub async fn ask(&self, project: ProjectId, wish: &Wish, actor: &Actor, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "INSERT INTO publications AS p
                (project_id, owner, name, private, description, message, folder, actor, state, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, $9)
            ON CONFLICT (project_id) DO UPDATE SET
                url = CASE WHEN p.owner IS NOT DISTINCT FROM $2 AND p.name = $3 AND p.folder = $7 THEN p.url END,
                created_at = CASE WHEN p.owner IS NOT DISTINCT FROM $2 AND p.name = $3 AND p.private = $4 THEN p.created_at ELSE $9 END,
                owner = $2, name = $3, private = $4, description = $5, message = $6, folder = $7, actor = $8,
                state = 'waiting', progress = NULL, failure = NULL, holder = NULL, held_until = NULL, updated_at = $9
            WHERE p.state IN ('failed', 'done')",
            project.0,
            wish.owner,
            wish.name,
            wish.private,
            wish.description,
            wish.message,
            wish.folder,
            Json(actor) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("store a publication"))?;
        Ok(done.rows_affected() == 1)
    }

    /// A project's.
    ///
    /// # Errors
    /// The database is away.
    pub async fn of(&self, project: ProjectId) -> Result<Option<Publication>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT owner, name, private, description, message, folder, actor AS "actor: Json<Actor>", state, url, progress,
                failure AS "failure: Json<Failure>", created_at AS "created_at: Time", updated_at AS "updated_at: Time"
            FROM publications WHERE project_id = $1"#,
            project.0
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a publication"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Publication {
            wish: Wish {
                owner: row.owner,
                name: row.name,
                private: row.private,
                description: row.description,
                message: row.message,
                folder: row.folder,
            },
            actor: row.actor.0,
            state: row.state.parse().map_err(unreadable("read a publication's state"))?,
            url: row.url,
            progress: row.progress,
            failure: row.failure.map(|failure| failure.0),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }))
    }

    /// All that are asked for and not there yet.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pending(&self) -> Result<Vec<ProjectId>, StoreError> {
        let rows = sqlx::query_scalar!("SELECT project_id FROM publications WHERE state IN ('waiting', 'working')")
            .fetch_all(&self.pool)
            .await
            .map_err(while_doing("read what is to be published"))?;
        Ok(rows.into_iter().map(ProjectId).collect())
    }

    /// Takes one on: it waits, or its holder has said nothing for its time. `false` if there is none to take.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim(&self, project: ProjectId, holder: &str, hold: Duration, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE publications SET state = 'working', holder = $2, held_until = $3, progress = NULL, updated_at = $4
            WHERE project_id = $1 AND (state = 'waiting' OR (state = 'working' AND held_until < $4))",
            project.0,
            holder,
            Time(after(now, hold)) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("begin a publication"))?;
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
            "UPDATE publications SET progress = COALESCE($3, progress), held_until = $4, updated_at = $5
            WHERE project_id = $1 AND state = 'working' AND holder = $2",
            project.0,
            holder,
            text,
            Time(after(now, hold)) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("note a publication's progress"))?;
        Ok(done.rows_affected() == 1)
    }

    /// GitHub has the repository: it is the project's own from now on, so that git inside gets credentials for it.
    /// `false` if it is not the holder's any more.
    ///
    /// # Errors
    /// The database is away.
    pub async fn created(&self, project: ProjectId, holder: &str, url: &str, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "WITH noted AS (
                UPDATE publications SET url = $3, updated_at = $4
                WHERE project_id = $1 AND state = 'working' AND holder = $2 RETURNING project_id, folder
            )
            INSERT INTO repositories (project_id, url, folder, state, created_at, updated_at)
            SELECT project_id, $3, folder, 'done', $4, $4 FROM noted
            ON CONFLICT (project_id) DO UPDATE SET
                url = EXCLUDED.url, folder = EXCLUDED.folder, branch = NULL, checkout = NULL, depth = NULL, state = 'done', progress = NULL, cause = NULL,
                holder = NULL, held_until = NULL, updated_at = EXCLUDED.updated_at",
            project.0,
            holder,
            url,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("note a new repository"))?;
        Ok(done.rows_affected() == 1)
    }

    /// What became of it: there, to be tried again, or failed. `false` if it is not the holder's any more.
    ///
    /// # Errors
    /// The database is away.
    pub async fn finish(
        &self,
        project: ProjectId,
        holder: &str,
        state: PublicationState,
        failure: Option<&Failure>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE publications SET state = $3, failure = $4, progress = NULL, holder = NULL, held_until = NULL, updated_at = $5
            WHERE project_id = $1 AND state = 'working' AND holder = $2",
            project.0,
            holder,
            state.as_str(),
            failure.map(Json) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("note what became of a publication"))?;
        Ok(done.rows_affected() == 1)
    }
}
