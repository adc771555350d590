//! `Idempotency-Key`s of asks that make no project and are no intent of one, for [`KEY_LIFE`]. Nothing of an answer is kept.
//!
//! ```text
//!   take ──First──▶ carried out ──▶ done          asked again: Done
//!                        └─ refused ──▶ forgotten  asked again: First
//! ```

use super::{
    Accounts,
    tokens::{bounded, store_token},
};
use crate::store::{StoreError, intent::KEY_LIFE, postgres::error::while_doing, time::Time};
use jiff::Timestamp;
use model::{
    TokenId, UserId,
    view::{NewToken, TokenView},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// The ask that makes a token, as its keys name it.
const TOKEN: &str = "token";

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Nothing: it is whoever asks now who carries the ask out.
    First,
    /// Somebody carries it out, or that broke off.
    UnderWay,
    /// It was carried out, and made this, if anything that has an id.
    Done(Option<Uuid>),
}

/// A token that was asked for with a key.
#[derive(Debug)]
pub enum Made {
    /// It was made now.
    Now(NewToken),
    /// It was made by that key before; its secret is not known any more. Without its id where that is not known either.
    Before(Option<TokenId>),
    /// Nothing was made: the token that asks does not work any more.
    MakerGone,
}

impl Accounts {
    /// Takes a key of an ask of a user's. After [`KeyUse::First`], either [`Self::key_is_done`] or [`Self::forget_key`] is due.
    ///
    /// # Errors
    /// The database is away.
    pub async fn take_key(&self, user: UserId, ask: &str, key: &str, now: Timestamp) -> Result<KeyUse, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(while_doing("begin to take a key"))?;
        take(&mut connection, user, ask, key, now).await
    }

    /// What was asked with a key that was taken is done.
    ///
    /// # Errors
    /// The database is away.
    pub async fn key_is_done(&self, user: UserId, ask: &str, key: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(while_doing("begin to note what a key did"))?;
        done(&mut connection, user, (ask, key), None, now).await
    }

    /// What was asked with a key that was taken at that time was not done, and may be asked by it again. `false`: it was not taken
    /// then, or what was asked with it is done.
    ///
    /// # Errors
    /// The database is away.
    pub async fn forget_key(&self, user: UserId, ask: &str, key: &str, taken: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "DELETE FROM asked_keys WHERE user_id = $1 AND ask = $2 AND key = $3 AND created_at = $4 AND done_at IS NULL",
            user.0,
            ask,
            key,
            Time(taken) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("forget a key"))?;
        Ok(done.rows_affected() == 1)
    }

    /// As [`Self::make_token`] or, where it has a maker, [`Self::make_token_by`], once for a key: the token and its key are stored
    /// together, or neither.
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_token_once(&self, user: UserId, token: TokenView, key: &str) -> Result<Made, StoreError> {
        let doing = while_doing("store a token with its key");
        let now = token.created_at;
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        match take(&mut transaction, user, TOKEN, key, now).await? {
            KeyUse::First => {}
            KeyUse::UnderWay => return Ok(Made::Before(None)),
            KeyUse::Done(made) => return Ok(Made::Before(made.map(TokenId))),
        }
        let Some(token) = bounded(&mut transaction, user, token).await? else { return Ok(Made::MakerGone) };
        let made = store_token(&mut transaction, user, token).await?;
        done(&mut transaction, user, (TOKEN, key), Some(made.token.id.0), now).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(Made::Now(made))
    }
}

/// Waits for another transaction that holds the key. Keys that are too old are forgotten first.
async fn take(connection: &mut PgConnection, user: UserId, ask: &str, key: &str, now: Timestamp) -> Result<KeyUse, StoreError> {
    let doing = while_doing("take a key");
    let oldest = now.checked_sub(KEY_LIFE).unwrap_or(Timestamp::MIN);
    sqlx::query!("DELETE FROM asked_keys WHERE user_id = $1 AND created_at <= $2", user.0, Time(oldest) as _)
        .execute(&mut *connection)
        .await
        .map_err(&doing)?;
    let taken = sqlx::query!(
        "INSERT INTO asked_keys (user_id, ask, key, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT ON CONSTRAINT asked_keys_pkey DO NOTHING",
        user.0,
        ask,
        key,
        Time(now) as _
    )
    .execute(&mut *connection)
    .await
    .map_err(&doing)?;
    if taken.rows_affected() == 1 {
        return Ok(KeyUse::First);
    }
    let known = sqlx::query!(
        r#"SELECT made, done_at IS NOT NULL AS "done!" FROM asked_keys WHERE user_id = $1 AND ask = $2 AND key = $3"#,
        user.0,
        ask,
        key
    )
    .fetch_optional(connection)
    .await
    .map_err(&doing)?;
    // One that was forgotten in this very moment is asked for again.
    Ok(known.filter(|known| known.done).map_or(KeyUse::UnderWay, |known| KeyUse::Done(known.made)))
}

async fn done(
    connection: &mut PgConnection,
    user: UserId,
    (ask, key): (&str, &str),
    made: Option<Uuid>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE asked_keys SET done_at = $4, made = $5 WHERE user_id = $1 AND ask = $2 AND key = $3",
        user.0,
        ask,
        key,
        Time(now) as _,
        made
    )
    .execute(connection)
    .await
    .map_err(while_doing("note what a key did"))?;
    Ok(())
}
