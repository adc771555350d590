//! API tokens: made by their owner, or by another of the owner's tokens within what that one may, and revoked with it.
//! So are the shares of previews that they made.

use super::{Accounts, hash, random_secret, shares::end_shares_of};
use crate::store::{
    StoreError, activity,
    postgres::{
        activity::write_account,
        error::{unreadable, while_doing},
    },
    time::Time,
};
use jiff::Timestamp;
use model::{
    TokenId, UserId,
    view::{NewToken, Scope, TokenView},
};
use secrecy::ExposeSecret as _;
use sqlx::PgConnection;
use uuid::Uuid;

/// What every API token begins with, so that scanners of repositories know it.
pub const TOKEN_PREFIX: &str = "fsa_";
/// How many characters of a secret after that are kept and shown: enough to tell tokens apart, and 208 of its 256 bits stay secret.
const SHOWN: usize = 8;

/// Who came with an API token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// Which token.
    pub token: TokenId,
    /// As its owner called it.
    pub name: String,
    /// Whose.
    pub user: UserId,
    /// What it may do.
    pub scope: Scope,
}

impl Accounts {
    /// A new API token; its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_token(
        &self,
        user: UserId,
        name: &str,
        scope: Scope,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<NewToken, StoreError> {
        let doing = while_doing("store a token");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let new = store_token(&mut transaction, user, fresh(name, scope, expires_at, None, now)).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(new)
    }

    /// A new API token, made by another of the user's: it may no more and lasts no longer than that one, and is revoked with it.
    /// `None` if that one does not work any more.
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_token_by(
        &self,
        maker: TokenId,
        user: UserId,
        name: &str,
        scope: Scope,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<NewToken>, StoreError> {
        let doing = while_doing("store a token that a token made");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let token = fresh(name, scope, expires_at, Some(maker), now);
        let Some(token) = bounded(&mut transaction, user, token).await? else { return Ok(None) };
        let new = store_token(&mut transaction, user, token).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(Some(new))
    }

    /// Who comes with this secret: `None` if it is no token, expired or revoked. Notes the use, to the
    /// minute, where there is room for it: on a full disk a token reads all the same.
    ///
    /// # Errors
    /// The database is away.
    pub async fn verify_token(&self, secret: &str, now: Timestamp) -> Result<Option<TokenHolder>, StoreError> {
        if !secret.starts_with(TOKEN_PREFIX) {
            return Ok(None);
        }
        let doing = while_doing("read a token");
        let row = sqlx::query!(
            r#"SELECT id, user_id, name, scope, last_used_at IS NULL OR last_used_at < date_trunc('minute', $2::timestamptz) AS "note!"
            FROM api_tokens WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)"#,
            &hash(secret)[..],
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(&doing)?;
        let Some(row) = row else { return Ok(None) };
        if row.note {
            let noted = sqlx::query!(
                "UPDATE api_tokens SET last_used_at = date_trunc('minute', $2::timestamptz) WHERE id = $1",
                row.id,
                Time(now) as _
            )
            .execute(&self.pool)
            .await
            .map_err(&doing);
            match noted {
                Ok(_) | Err(StoreError::NoRoom(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let scope = row.scope.parse().map_err(unreadable("read a token's scope"))?;
        Ok(Some(TokenHolder { token: TokenId(row.id), name: row.name, user: UserId(row.user_id), scope }))
    }

    /// Whether a token still works: for what outlives the request that it came with.
    ///
    /// # Errors
    /// The database is away.
    pub async fn token_works(&self, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (
                SELECT FROM api_tokens WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
            ) AS "works!""#,
            id.0,
            Time(now) as _
        )
        .fetch_one(&self.pool)
        .await
        .map_err(while_doing("read a token"))
    }

    /// A user's tokens, newest first: those that were not revoked, the expired ones included.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<TokenView>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT id, name, prefix, scope, created_at AS "created_at: Time", expires_at AS "expires_at: Time",
                last_used_at AS "last_used_at: Time", maker_id
            FROM api_tokens WHERE user_id = $1 AND revoked_at IS NULL ORDER BY created_at DESC, id DESC"#,
            user.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("read the tokens"))?;
        rows.into_iter()
            .map(|row| {
                Ok(TokenView {
                    id: TokenId(row.id),
                    name: row.name,
                    prefix: row.prefix.map(|shown| format!("{TOKEN_PREFIX}{shown}")),
                    scope: row.scope.parse().map_err(unreadable("read a token's scope"))?,
                    created_at: row.created_at.0,
                    expires_at: row.expires_at.map(|time| time.0),
                    last_used_at: row.last_used_at.map(|time| time.0),
                    made_by: row.maker_id.map(TokenId),
                })
            })
            .collect()
    }

    /// Revokes a token with all that it made, tokens and shares, and that those made; `false` if the user has no such token, or
    /// revoked it before.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoke_token(&self, user: UserId, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let doing = while_doing("revoke a token");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let revoked = sqlx::query_scalar!(
            "UPDATE api_tokens SET revoked_at = $3 WHERE user_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING name",
            user.0,
            id.0,
            Time(now) as _
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(&doing)?;
        if let Some(name) = &revoked {
            write_account(&mut transaction, user, &activity::token_revoked(name), now).await?;
        }
        // One generation a statement: each sees what those of the one before were making while it waited for them.
        let mut makers = if revoked.is_some() { vec![id.0] } else { Vec::new() };
        let mut all = makers.clone();
        while !makers.is_empty() {
            let made = sqlx::query!(
                "UPDATE api_tokens SET revoked_at = $2 WHERE maker_id = ANY($1) AND revoked_at IS NULL RETURNING id, name",
                &makers,
                Time(now) as _
            )
            .fetch_all(&mut *transaction)
            .await
            .map_err(&doing)?;
            for token in &made {
                let entry = activity::token_revoked_with_its_maker(&token.name);
                write_account(&mut transaction, user, &entry, now).await?;
            }
            makers = made.into_iter().map(|token| token.id).collect();
            all.extend(&makers);
        }
        end_shares_of(&mut transaction, &all, now).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(revoked.is_some())
    }
}

/// A token that is to be stored, made now and by that other one, if by any.
#[must_use]
pub fn fresh(name: &str, scope: Scope, expires_at: Option<Timestamp>, made_by: Option<TokenId>, now: Timestamp) -> TokenView {
    let (id, name) = (TokenId(Uuid::now_v7()), name.to_owned());
    TokenView { id, name, prefix: None, scope, created_at: now, expires_at, last_used_at: None, made_by }
}

/// Stores a token, and tells of it.
pub(super) async fn store_token(connection: &mut PgConnection, user: UserId, token: TokenView) -> Result<NewToken, StoreError> {
    let secret = random_secret(TOKEN_PREFIX);
    let shown: String = secret.expose_secret().chars().skip(TOKEN_PREFIX.len()).take(SHOWN).collect();
    sqlx::query!(
        "INSERT INTO api_tokens (id, user_id, name, hash, scope, created_at, expires_at, maker_id, prefix)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        token.id.0,
        user.0,
        token.name,
        &hash(secret.expose_secret())[..],
        token.scope.as_str(),
        Time(token.created_at) as _,
        token.expires_at.map(Time) as _,
        token.made_by.map(|maker| maker.0),
        shown
    )
    .execute(&mut *connection)
    .await
    .map_err(while_doing("store a token"))?;
    let made = activity::token_made(&token.name, token.scope.as_str(), token.expires_at);
    write_account(connection, user, &made, token.created_at).await?;
    let token = TokenView { prefix: Some(format!("{TOKEN_PREFIX}{shown}")), ..token };
    Ok(NewToken { secret: secret.expose_secret().to_owned(), token })
}

/// A token that is to be stored, within what its maker may and for no longer than that one lasts; `None` if that one does not work
/// any more. The maker is held, as by [`hold`].
pub(super) async fn bounded(
    connection: &mut PgConnection,
    user: UserId,
    token: TokenView,
) -> Result<Option<TokenView>, StoreError> {
    let Some(maker) = token.made_by else { return Ok(Some(token)) };
    let Some(held) = hold(connection, user, maker, token.created_at).await? else { return Ok(None) };
    let expires_at = token.expires_at.into_iter().chain(held.expires_at).min();
    Ok(Some(TokenView { scope: token.scope.min(held.scope), expires_at, ..token }))
}

/// What a token that makes something may at most, and how long.
pub(super) struct Held {
    scope: Scope,
    pub(super) expires_at: Option<Timestamp>,
}

/// Holds a token that makes something until the transaction ends: a revocation waits for it, and then finds what it made.
/// `None` if it does not work any more.
pub(super) async fn hold(
    connection: &mut PgConnection,
    user: UserId,
    maker: TokenId,
    now: Timestamp,
) -> Result<Option<Held>, StoreError> {
    let held = sqlx::query!(
        r#"SELECT scope, expires_at AS "expires_at: Time" FROM api_tokens
        WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) FOR SHARE"#,
        maker.0,
        user.0,
        Time(now) as _
    )
    .fetch_optional(connection)
    .await
    .map_err(while_doing("look at the token that makes something"))?;
    held.map(|held| {
        let scope = held.scope.parse().map_err(unreadable("read a token's scope"))?;
        Ok(Held { scope, expires_at: held.expires_at.map(|time| time.0) })
    })
    .transpose()
}
