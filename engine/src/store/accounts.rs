//! Who may enter: users, sign-in codes, sessions, API tokens, and the ways into previews. PostgreSQL's
//! alone; no HTTP and no cookies in here.
//!
//! Secrets that are only ever compared (codes, tokens, cookies, session ids) are stored as their
//! SHA-256: 256 random bits need no slower hash, and a copy of the tables opens nothing.
//!
//! ```text
//!   sign-in code ──▶ session ──┐
//!        once                  ├─▶ preview code ──▶ preview session     each ends with what it came from
//!                    API token ┘       once             one port of one sandbox
//!                        └──▶ API tokens that it makes
//! ```

pub mod keys;
pub mod ports;
pub mod shares;

use super::{
    StoreError,
    activity::{self, Entry},
    intent,
    postgres::{
        activity::write_account,
        error::{OnConstraint as _, unreadable, while_doing},
    },
    time::Time,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use model::{
    ResourceName, SandboxId, TokenId, UserId,
    stage::after,
    view::{NewToken, Scope, TokenView},
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use std::time::Duration;
use uuid::Uuid;

/// How long a sign-in code works.
pub const SIGN_IN_CODE_LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a preview code works: it is posted by the page that asked for it.
pub const PREVIEW_CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a preview's cookie works: a day's work.
pub const PREVIEW_SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a code that is over is remembered, so that its visitor is told "used" or "expired" and not
/// "unknown".
const CODE_MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What every API token begins with, so that scanners of repositories know it.
pub const TOKEN_PREFIX: &str = "fsa_";

/// Someone who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// As pages name them.
    pub name: String,
    /// Whether nothing of theirs lets them in for now ([`Accounts::by_providers`]).
    pub kept_out: bool,
}

/// What became of a sign-in code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeUse {
    /// It worked, this once.
    Accepted(UserId),
    /// It was used before.
    Used,
    /// It came too late.
    Expired,
    /// No such code was made, or long ago.
    Unknown,
}

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

/// What a way into a preview comes from, and ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// A session, by its id.
    Session(i128),
    /// An API token.
    Token(TokenId),
}

/// Who comes to a preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviewVisitor {
    /// Who.
    pub user: UserId,
    /// Which of their sandboxes the preview is of.
    pub sandbox: SandboxId,
}

/// Users, and what lets them in. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Accounts {
    pool: PgPool,
    /// Whether who signs in by a linked account is kept out.
    keeps_out: bool,
}

impl Accounts {
    /// On a database that was migrated.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, keeps_out: false }
    }

    /// The same, and whether users may come by accounts elsewhere at all. Where not, who signs in by one and has no other way in
    /// is kept out: sessions, tokens and previews of theirs stay stored, open nothing here, and open again where they may.
    #[must_use]
    pub fn by_providers(self, they_may: bool) -> Self {
        Self { keeps_out: !they_may, ..self }
    }

    /// Connections to the database: all, those that nobody uses, and how many there may be.
    #[must_use]
    pub fn connections(&self) -> (u32, u32, u32) {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        (self.pool.size(), idle, self.pool.options().get_max_connections())
    }

    /// The one owner of a single machine; a first call makes them.
    ///
    /// # Errors
    /// The database is away.
    pub async fn ensure_owner(&self, now: Timestamp) -> Result<User, StoreError> {
        let doing = while_doing("read the owner");
        sqlx::query!(
            "INSERT INTO users (id, name, machine_owner, created_at) VALUES ($1, 'Owner', true, $2)
            ON CONFLICT (machine_owner) WHERE machine_owner DO NOTHING",
            Uuid::now_v7(),
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(&doing)?;
        let row = sqlx::query!("SELECT id, name FROM users WHERE machine_owner").fetch_one(&self.pool).await.map_err(&doing)?;
        Ok(User { id: UserId(row.id), name: row.name, kept_out: false })
    }

    /// A user.
    ///
    /// # Errors
    /// The database is away.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT u.id, u.name, NOT u.machine_owner AND EXISTS (SELECT FROM linked_accounts l WHERE l.user_id = u.id) AS "by_provider!"
            FROM users u WHERE u.id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a user"))?;
        Ok(row.map(|row| User { id: UserId(row.id), name: row.name, kept_out: self.keeps_out && row.by_provider }))
    }

    /// A new sign-in code: works once, within [`SIGN_IN_CODE_LIFE`].
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_sign_in_code(&self, user: UserId, now: Timestamp) -> Result<SecretString, StoreError> {
        let code = random_secret("");
        sqlx::query!(
            "INSERT INTO sign_in_codes (hash, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
            &hash(code.expose_secret())[..],
            user.0,
            Time(now) as _,
            Time(after(now, SIGN_IN_CODE_LIFE)) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("store a sign-in code"))?;
        Ok(code)
    }

    /// Uses a sign-in code up.
    ///
    /// # Errors
    /// The database is away; then it is not known whether the code was used up.
    pub async fn use_sign_in_code(&self, code: &str, now: Timestamp) -> Result<CodeUse, StoreError> {
        let doing = while_doing("use a sign-in code");
        let hash = hash(code);
        let accepted = sqlx::query_scalar!(
            "UPDATE sign_in_codes SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING user_id",
            &hash[..],
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(&doing)?;
        if let Some(user) = accepted {
            return Ok(CodeUse::Accepted(UserId(user)));
        }
        let used = sqlx::query_scalar!(r#"SELECT used_at IS NOT NULL AS "used!" FROM sign_in_codes WHERE hash = $1"#, &hash[..])
            .fetch_optional(&self.pool)
            .await
            .map_err(&doing)?;
        Ok(match used {
            Some(true) => CodeUse::Used,
            Some(false) => CodeUse::Expired,
            None => CodeUse::Unknown,
        })
    }

    /// Stores a new session; `false` if its id is taken.
    ///
    /// # Errors
    /// The database is away.
    pub async fn create_session(&self, session: &SessionRow) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "INSERT INTO sessions (hash, user_id, data, expires_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT ON CONSTRAINT sessions_pkey DO NOTHING",
            &hash_session(session.id)[..],
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
            &hash_session(session.id)[..],
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
            &hash_session(id)[..],
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
        sqlx::query!("DELETE FROM sessions WHERE hash = $1", &hash_session(id)[..])
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
        let done = sqlx::query!("DELETE FROM sessions WHERE user_id = $1 AND hash <> $2", user.0, &hash_session(but)[..])
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

    /// Who signs in by an account of a provider, named by its host: users, each with that account's number and name there.
    /// The owner of a single machine has another way in, and is not among them.
    ///
    /// # Errors
    /// The database is away.
    pub async fn who_sign_in_by(&self, provider: &str) -> Result<Vec<(UserId, String, String)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT l.user_id, l.provider_id, l.login FROM linked_accounts l JOIN users u ON u.id = l.user_id
            WHERE l.provider = $1 AND NOT u.machine_owner ORDER BY l.created_at",
            provider
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("read who signs in by another's account"))?;
        Ok(rows.into_iter().map(|row| (UserId(row.user_id), row.provider_id, row.login)).collect())
    }

    /// Who signed in by accounts of other providers than this one, or of any where there is none now, and has no other way in:
    /// users, each with the newest account's name.
    ///
    /// # Errors
    /// The database is away.
    pub async fn who_signed_in_elsewhere(&self, provider: Option<&str>) -> Result<Vec<(UserId, String)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT DISTINCT ON (l.user_id) l.user_id, l.login FROM linked_accounts l JOIN users u ON u.id = l.user_id
            WHERE NOT u.machine_owner
                AND NOT EXISTS (SELECT FROM linked_accounts o WHERE o.user_id = l.user_id AND o.provider = $1)
            ORDER BY l.user_id, l.created_at DESC",
            provider
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("read who signed in by accounts of another provider"))?;
        Ok(rows.into_iter().map(|row| (UserId(row.user_id), row.login)).collect())
    }

    /// Ends the sessions and API tokens of a user who may not sign in any more; `false` if they had none.
    ///
    /// # Errors
    /// The database is away.
    pub async fn shut_out(&self, user: UserId, login: &str, now: Timestamp) -> Result<bool, StoreError> {
        let doing = while_doing("shut a user out");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let mut ended = 0;
        for statement in [
            "DELETE FROM preview_codes WHERE user_id = $1",
            "DELETE FROM preview_sessions WHERE user_id = $1",
            "DELETE FROM sessions WHERE user_id = $1",
        ] {
            ended += sqlx::query(statement).bind(user.0).execute(&mut *transaction).await.map_err(&doing)?.rows_affected();
        }
        // Again until there is none: while it waits for a token that makes another, that other is stored.
        loop {
            let tokens = sqlx::query!(
                "UPDATE api_tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
                user.0,
                Time(now) as _
            );
            let revoked = tokens.execute(&mut *transaction).await.map_err(&doing)?.rows_affected();
            ended += revoked;
            if revoked == 0 {
                break;
            }
        }
        if ended > 0 {
            write_account(&mut transaction, user, &activity::not_allowed_any_more(login), now).await?;
        }
        transaction.commit().await.map_err(&doing)?;
        Ok(ended > 0)
    }

    /// Removes what is over.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let doing = while_doing("sweep what is over");
        let forgotten = now.checked_sub(CODE_MEMORY).unwrap_or(Timestamp::MIN);
        let withdrawn = now.checked_sub(shares::SHARE_MEMORY).unwrap_or(Timestamp::MIN);
        let oldest_key = now.checked_sub(intent::KEY_LIFE).unwrap_or(Timestamp::MIN);
        for (statement, before) in [
            ("DELETE FROM sessions WHERE expires_at <= $1", now),
            ("DELETE FROM preview_codes WHERE expires_at <= $1", now),
            ("DELETE FROM preview_sessions WHERE expires_at <= $1", now),
            ("DELETE FROM preview_guests WHERE expires_at <= $1", now),
            ("DELETE FROM sign_in_codes WHERE expires_at <= $1", forgotten),
            ("DELETE FROM oauth_states WHERE expires_at <= $1", forgotten),
            ("DELETE FROM api_tokens WHERE revoked_at <= $1", forgotten),
            ("DELETE FROM preview_shares WHERE revoked_at <= $1 OR expires_at <= $1", withdrawn),
            ("DELETE FROM asked_keys WHERE created_at <= $1", oldest_key),
        ] {
            sqlx::query(statement).bind(Time(before)).execute(&self.pool).await.map_err(&doing)?;
        }
        Ok(())
    }

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
        let token = TokenView {
            id: TokenId(Uuid::now_v7()),
            name: name.to_owned(),
            scope,
            created_at: now,
            expires_at,
            last_used_at: None,
            made_by: None,
        };
        let new = store_token(&mut transaction, user, token).await?;
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
        let token = TokenView {
            id: TokenId(Uuid::now_v7()),
            name: name.to_owned(),
            scope,
            created_at: now,
            expires_at,
            last_used_at: None,
            made_by: Some(maker),
        };
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
            r#"SELECT id, name, scope, created_at AS "created_at: Time", expires_at AS "expires_at: Time",
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
                    scope: row.scope.parse().map_err(unreadable("read a token's scope"))?,
                    created_at: row.created_at.0,
                    expires_at: row.expires_at.map(|time| time.0),
                    last_used_at: row.last_used_at.map(|time| time.0),
                    made_by: row.maker_id.map(TokenId),
                })
            })
            .collect()
    }

    /// Revokes a token with all that it made, and that those made; `false` if the user has no such token, or revoked it before.
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
        }
        transaction.commit().await.map_err(&doing)?;
        Ok(revoked.is_some())
    }

    /// Tells what happened to a user's account.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tell(&self, user: UserId, entry: &Entry, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(while_doing("tell what happened"))?;
        write_account(&mut connection, user, entry, now).await
    }

    /// A way into one port of one of the user's sandboxes, or of one whose owner shares that port with everybody who
    /// is signed in: works once, within [`PREVIEW_CODE_LIFE`], and
    /// as long as the session or token lasts that it came from. `None` if the user has no such sandbox,
    /// or that session or token.
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_preview_code(
        &self,
        user: UserId,
        opener: Opener,
        sandbox: SandboxId,
        port: u16,
        now: Timestamp,
    ) -> Result<Option<SecretString>, StoreError> {
        let code = random_secret("");
        let (session, token) = match opener {
            Opener::Session(id) => (Some(hash_session(id)), None),
            Opener::Token(id) => (None, Some(id.0)),
        };
        let made = sqlx::query!(
            "INSERT INTO preview_codes (hash, sandbox_id, port, user_id, session, token_id, expires_at)
            SELECT $1, s.id, $4, $2, $5, $6, $7 FROM sandboxes s JOIN projects p ON p.id = s.project_id
            WHERE s.id = $3 AND (p.owner_id = $2 OR EXISTS (
                SELECT FROM preview_shares h WHERE h.project_id = p.id AND h.port = $4 AND h.audience = 'users'
                    AND h.revoked_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > $8)))",
            &hash(code.expose_secret())[..],
            user.0,
            sandbox.0,
            i32::from(port),
            session.as_ref().map(|hash| &hash[..]),
            token,
            Time(after(now, PREVIEW_CODE_LIFE)) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map(|done| done.rows_affected() == 1)
        .on_constraint("preview_codes_session_fkey", || false)
        .on_constraint("preview_codes_token_fkey", || false)
        .map_err(while_doing("store a preview code"))?;
        Ok(made.then_some(code))
    }

    /// Uses a preview code up, for the preview that it was made for: the secret of its cookie, which
    /// works for [`PREVIEW_SESSION_LIFE`], and no longer than what opened it. `None` if the code is
    /// unknown, used, expired or another preview's, or what opened it is over.
    ///
    /// # Errors
    /// The database is away.
    pub async fn use_preview_code(
        &self,
        code: &str,
        sandbox: &ResourceName,
        port: u16,
        now: Timestamp,
    ) -> Result<Option<SecretString>, StoreError> {
        let cookie = random_secret("");
        let done = sqlx::query!(
            "WITH used AS (
                DELETE FROM preview_codes c USING sandboxes s
                WHERE c.hash = $1 AND s.id = c.sandbox_id AND s.name = $2 AND c.port = $3
                RETURNING c.sandbox_id, c.port, c.user_id, c.session, c.token_id, c.expires_at
            )
            INSERT INTO preview_sessions (hash, sandbox_id, port, user_id, session, token_id, expires_at)
            SELECT $4, u.sandbox_id, u.port, u.user_id, u.session, u.token_id, $6
            FROM used u LEFT JOIN sessions x ON x.hash = u.session LEFT JOIN api_tokens t ON t.id = u.token_id
            WHERE u.expires_at > $5
                AND (x.expires_at > $5 OR (t.revoked_at IS NULL AND t.id IS NOT NULL AND (t.expires_at IS NULL OR t.expires_at > $5)))",
            &hash(code)[..],
            sandbox.as_str(),
            i32::from(port),
            &hash(cookie.expose_secret())[..],
            Time(now) as _,
            Time(after(now, PREVIEW_SESSION_LIFE)) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("use a preview code"))?;
        Ok((done.rows_affected() == 1).then_some(cookie))
    }

    /// Who comes with a preview's cookie; `None` if it opens not this preview, or no longer: it is over,
    /// or the session or token that it came from is, or the share by which somebody else came in; or they are kept out.
    ///
    /// # Errors
    /// The database is away.
    pub async fn preview_visitor(
        &self,
        cookie: &str,
        sandbox: &ResourceName,
        port: u16,
        now: Timestamp,
    ) -> Result<Option<PreviewVisitor>, StoreError> {
        let visitor = sqlx::query!(
            "SELECT v.user_id, v.sandbox_id
            FROM preview_sessions v JOIN sandboxes s ON s.id = v.sandbox_id JOIN projects p ON p.id = s.project_id
                LEFT JOIN sessions x ON x.hash = v.session LEFT JOIN api_tokens t ON t.id = v.token_id
            WHERE v.hash = $1 AND s.name = $2 AND v.port = $3 AND v.expires_at > $4
                AND (p.owner_id = v.user_id OR EXISTS (
                    SELECT FROM preview_shares h WHERE h.project_id = p.id AND h.port = v.port AND h.audience = 'users'
                        AND h.revoked_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > $4)))
                AND (x.expires_at > $4 OR (t.revoked_at IS NULL AND t.id IS NOT NULL AND (t.expires_at IS NULL OR t.expires_at > $4)))",
            &hash(cookie)[..],
            sandbox.as_str(),
            i32::from(port),
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a preview's visitor"))?;
        let Some(row) = visitor else { return Ok(None) };
        let visitor = PreviewVisitor { user: UserId(row.user_id), sandbox: SandboxId(row.sandbox_id) };
        if self.keeps_out && self.user(visitor.user).await?.is_none_or(|user| user.kept_out) {
            return Ok(None);
        }
        Ok(Some(visitor))
    }
}

/// Stores a token, and tells of it.
async fn store_token(connection: &mut PgConnection, user: UserId, token: TokenView) -> Result<NewToken, StoreError> {
    let secret = random_secret(TOKEN_PREFIX);
    sqlx::query!(
        "INSERT INTO api_tokens (id, user_id, name, hash, scope, created_at, expires_at, maker_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        token.id.0,
        user.0,
        token.name,
        &hash(secret.expose_secret())[..],
        token.scope.as_str(),
        Time(token.created_at) as _,
        token.expires_at.map(Time) as _,
        token.made_by.map(|maker| maker.0)
    )
    .execute(&mut *connection)
    .await
    .map_err(while_doing("store a token"))?;
    let made = activity::token_made(&token.name, token.scope.as_str(), token.expires_at);
    write_account(connection, user, &made, token.created_at).await?;
    Ok(NewToken { secret: secret.expose_secret().to_owned(), token })
}

/// 32 random bytes, in base64url after the prefix.
pub(super) fn random_secret(prefix: &str) -> SecretString {
    let bytes: [u8; 32] = rand::random();
    SecretString::from(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A token that is to be stored, within what its maker may and for no longer than that one lasts; `None` if that one does not work
/// any more. The maker is held until the transaction ends: a revocation waits for it, and then finds what it made.
async fn bounded(connection: &mut PgConnection, user: UserId, token: TokenView) -> Result<Option<TokenView>, StoreError> {
    let Some(maker) = token.made_by else { return Ok(Some(token)) };
    let held = sqlx::query!(
        r#"SELECT scope, expires_at AS "expires_at: Time" FROM api_tokens
        WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) FOR SHARE"#,
        maker.0,
        user.0,
        Time(token.created_at) as _
    )
    .fetch_optional(connection)
    .await
    .map_err(while_doing("look at the token that makes another"))?;
    let Some(held) = held else { return Ok(None) };
    let most: Scope = held.scope.parse().map_err(unreadable("read a token's scope"))?;
    let last = held.expires_at.map(|time| time.0);
    Ok(Some(TokenView { scope: token.scope.min(most), expires_at: token.expires_at.into_iter().chain(last).min(), ..token }))
}

pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// By what a session's row is found: its id cannot be told from it.
#[must_use]
pub fn session_key(id: i128) -> [u8; 32] {
    hash_session(id)
}

fn hash_session(id: i128) -> [u8; 32] {
    Sha256::digest(id.to_be_bytes()).into()
}
