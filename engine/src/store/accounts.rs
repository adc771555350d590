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
//!                        └──▶ API tokens and shares of previews that it makes
//! ```

pub mod keys;
pub mod ports;
pub mod previews;
pub mod sessions;
pub mod shares;
pub mod tokens;

use super::{
    StoreError,
    activity::{self, Entry},
    intent,
    postgres::{
        activity::{write, write_account},
        error::while_doing,
    },
    time::Time,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use model::{SandboxId, UserId, stage::after};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use std::time::Duration;
use uuid::Uuid;

/// How long a sign-in code works.
pub const SIGN_IN_CODE_LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a code that is over is remembered, so that its visitor is told "used" or "expired" and not
/// "unknown".
const CODE_MEMORY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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

/// Why a user is shut out, and so how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutOut {
    /// They may not sign in: also all that they shared ends, and what runs.
    NotAllowed,
    /// Nobody says that they may, nor that they may not: sessions and API tokens end, with what the tokens shared.
    Unconfirmed,
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

    /// Ends the sessions and API tokens of a user who is shut out, and what the tokens shared; of one who may not sign in any more
    /// all shares, and has their sandboxes that are to be up stopped. `false` if they had none of these.
    ///
    /// # Errors
    /// The database is away.
    pub async fn shut_out(&self, user: UserId, login: &str, why: ShutOut, now: Timestamp) -> Result<bool, StoreError> {
        let doing = while_doing("shut a user out");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let mut had_any = false;
        for statement in [
            "DELETE FROM preview_codes WHERE user_id = $1",
            "DELETE FROM preview_sessions WHERE user_id = $1",
            "DELETE FROM sessions WHERE user_id = $1",
        ] {
            had_any |= sqlx::query(statement).bind(user.0).execute(&mut *transaction).await.map_err(&doing)?.rows_affected() > 0;
        }
        let mut tokens = Vec::new();
        // Again until there is none: while it waits for a token that makes another, that other is stored.
        loop {
            let revoked = sqlx::query_scalar!(
                "UPDATE api_tokens SET revoked_at = $2
                WHERE user_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) RETURNING id",
                user.0,
                Time(now) as _
            )
            .fetch_all(&mut *transaction)
            .await
            .map_err(&doing)?;
            if revoked.is_empty() {
                break;
            }
            had_any = true;
            tokens.extend(revoked);
        }
        match why {
            ShutOut::NotAllowed => {
                had_any |= shares::end_all_shares_of(&mut transaction, user, now).await?;
                had_any |= stop_sandboxes_of(&mut transaction, user, now).await?;
            }
            ShutOut::Unconfirmed => shares::end_shares_of(&mut transaction, &tokens, now).await?,
        }
        if had_any {
            write_account(&mut transaction, user, &activity::not_allowed_any_more(login), now).await?;
        }
        transaction.commit().await.map_err(&doing)?;
        Ok(had_any)
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
            // What a server that did not know of makers left, as it revoked a token.
            (
                "UPDATE preview_shares h SET revoked_at = $1 FROM api_tokens t
                WHERE t.id = h.maker_id AND t.revoked_at IS NOT NULL AND h.revoked_at IS NULL",
                now,
            ),
            ("DELETE FROM sessions WHERE expires_at <= $1", now),
            ("DELETE FROM preview_codes WHERE expires_at <= $1", now),
            ("DELETE FROM preview_sessions WHERE expires_at <= $1", now),
            ("DELETE FROM preview_guests WHERE expires_at <= $1", now),
            ("DELETE FROM sign_in_codes WHERE expires_at <= $1", forgotten),
            ("DELETE FROM oauth_states WHERE expires_at <= $1", forgotten),
            ("DELETE FROM preview_shares WHERE revoked_at <= $1 OR expires_at <= $1", withdrawn),
            // As long as what they shared, which goes with them.
            ("DELETE FROM api_tokens WHERE revoked_at <= $1", withdrawn),
            ("DELETE FROM asked_keys WHERE created_at <= $1", oldest_key),
        ] {
            sqlx::query(statement).bind(Time(before)).execute(&self.pool).await.map_err(&doing)?;
        }
        Ok(())
    }

    /// Tells what happened to a user's account.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tell(&self, user: UserId, entry: &Entry, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(while_doing("tell what happened"))?;
        write_account(&mut connection, user, entry, now).await
    }
}

/// Has a user's sandboxes that are to be up stopped, as [`intent::apply`] does for [`Ask::Stop`](super::Ask::Stop), and tells each
/// project; `false` if there was none.
async fn stop_sandboxes_of(connection: &mut PgConnection, owner: UserId, now: Timestamp) -> Result<bool, StoreError> {
    let stopped = sqlx::query!(
        "UPDATE sandboxes s SET desired = 'stopped', generation = s.generation + 1, resizes = FALSE, asked_at = $2, cause = NULL,
            last_error = NULL, failures = 0, wake_at = $2, version = s.version + 1, changed_at = $2
        FROM projects p
        WHERE p.id = s.project_id AND p.owner_id = $1 AND p.deleting_since IS NULL AND s.desired = 'running'
        RETURNING s.id, s.generation",
        owner.0,
        Time(now) as _
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(while_doing("stop a user's sandboxes"))?;
    for row in &stopped {
        write(connection, SandboxId(row.id), &[activity::stopped_with_its_owner(row.generation)], now).await?;
    }
    Ok(!stopped.is_empty())
}

/// 32 random bytes, in base64url after the prefix.
pub(super) fn random_secret(prefix: &str) -> SecretString {
    let bytes: [u8; 32] = rand::random();
    SecretString::from(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}
