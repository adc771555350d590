//! Sessions, as the session layer keeps them: found by the hash of their id, and ended with the previews that they opened.

use super::Accounts;
use crate::store::{StoreError, postgres::error::while_doing, time::Time};
use jiff::Timestamp;
use model::UserId;
use sha2::{Digest as _, Sha256};

/// A session as tower-sessions keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id, as in the cookie. Stored as a hash.
    pub id: i128,
    /// Who signed in with it, if anybody did.
    pub user: Option<UserId>,
    /// What the session layer keeps in it.
    pub data: Vec<u8>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for SessionRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRow").field("user", &self.user).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Stores a new session; `false` if its id is taken.
    ///
    /// # Errors
    /// The database is away.
    pub async fn create_session(&self, session: &SessionRow) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "INSERT INTO sessions (hash, user_id, data, expires_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT ON CONSTRAINT sessions_pkey DO NOTHING",
            &session_key(session.id)[..],
            session.user.map(|user| user.0),
            session.data,
            Time(session.expires_at) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("store a session"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Stores a session again; `false` if it is over: a sign-out is not undone by a request that was
    /// still under way.
    ///
    /// # Errors
    /// The database is away.
    pub async fn save_session(&self, session: &SessionRow) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE sessions SET user_id = $2, data = $3, expires_at = $4 WHERE hash = $1",
            &session_key(session.id)[..],
            session.user.map(|user| user.0),
            session.data,
            Time(session.expires_at) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("store a session"))?;
        Ok(done.rows_affected() == 1)
    }

    /// A session that is not over.
    ///
    /// # Errors
    /// The database is away.
    pub async fn session(&self, id: i128, now: Timestamp) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT user_id, data, expires_at AS "expires_at: Time" FROM sessions WHERE hash = $1 AND expires_at > $2"#,
            &session_key(id)[..],
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a session"))?;
        let row = row.map(|row| SessionRow { id, user: row.user_id.map(UserId), data: row.data, expires_at: row.expires_at.0 });
        Ok(row)
    }

    /// Ends a session, and the previews that it opened.
    ///
    /// # Errors
    /// The database is away.
    pub async fn end_session(&self, id: i128) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM sessions WHERE hash = $1", &session_key(id)[..])
            .execute(&self.pool)
            .await
            .map_err(while_doing("end a session"))?;
        Ok(())
    }

    /// A user's sessions that are not over: key, what the session layer keeps in it, and when it ends.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sessions_of(&self, user: UserId, now: Timestamp) -> Result<Vec<([u8; 32], Vec<u8>, Timestamp)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT hash, data, expires_at AS "expires_at: Time" FROM sessions WHERE user_id = $1 AND expires_at > $2"#,
            user.0,
            Time(now) as _
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("list a user's sessions"))?;
        let row = |row: (Vec<u8>, Vec<u8>, Time)| Some((row.0.try_into().ok()?, row.1, row.2.0));
        Ok(rows.into_iter().filter_map(|found| row((found.hash, found.data, found.expires_at))).collect())
    }

    /// Ends one session of a user, by its key, and the previews that it opened; `false` where there is none.
    ///
    /// # Errors
    /// The database is away.
    pub async fn end_session_of(&self, user: UserId, key: [u8; 32]) -> Result<bool, StoreError> {
        let done = sqlx::query!("DELETE FROM sessions WHERE user_id = $1 AND hash = $2", user.0, &key[..])
            .execute(&self.pool)
            .await
            .map_err(while_doing("end a session"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Ends every session of a user but this one, and the previews that they opened; how many.
    ///
    /// # Errors
    /// The database is away.
    pub async fn end_other_sessions(&self, user: UserId, but: i128) -> Result<u64, StoreError> {
        let done = sqlx::query!("DELETE FROM sessions WHERE user_id = $1 AND hash <> $2", user.0, &session_key(but)[..])
            .execute(&self.pool)
            .await
            .map_err(while_doing("end a user's other sessions"))?;
        Ok(done.rows_affected())
    }

    /// Ends every session of a user, and every preview that they opened; how many sessions.
    ///
    /// # Errors
    /// The database is away.
    pub async fn end_sessions_of(&self, user: UserId) -> Result<u64, StoreError> {
        let doing = while_doing("end a user's sessions");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        for statement in ["DELETE FROM preview_codes WHERE user_id = $1", "DELETE FROM preview_sessions WHERE user_id = $1"] {
            sqlx::query(statement).bind(user.0).execute(&mut *transaction).await.map_err(&doing)?;
        }
        let done =
            sqlx::query!("DELETE FROM sessions WHERE user_id = $1", user.0).execute(&mut *transaction).await.map_err(&doing)?;
        transaction.commit().await.map_err(&doing)?;
        Ok(done.rows_affected())
    }
}

/// By what a session's row is found: its id cannot be told from it.
#[must_use]
pub fn session_key(id: i128) -> [u8; 32] {
    Sha256::digest(id.to_be_bytes()).into()
}
