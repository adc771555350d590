//! Accounts elsewhere (GitHub) that users sign in with, and the sign-ins that are under way there.
//! PostgreSQL's alone, as [`accounts`](super::accounts).
//!
//! ```text
//!   state ‖ cookie ──once──▶ verifier ──▶ provider's user id ──▶ linked account ──▶ user
//! ```
//!
//! The account is the provider's number for it, whatever it is called by now. Tokens and verifiers are
//! sealed by the [`Vault`]; of states and cookies there is the SHA-256 alone.

use super::{
    StoreError,
    accounts::{User, hash, random_secret},
    activity::Entry,
    postgres::{
        activity::write_account,
        error::{OnConstraint as _, sealed, while_doing},
    },
    time::Time,
};
use crate::secrets::{Place, Vault};
use jiff::Timestamp;
use model::{UserId, stage::after};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// How long a visitor may take at the provider: a password, a second factor, a form.
pub const STATE_LIFE: Duration = Duration::from_secs(10 * 60);

/// A sign-in that begins.
pub struct NewState<'a> {
    /// Who connects an account; nobody, where it is a sign-in.
    pub user: Option<UserId>,
    /// The browser's cookie.
    pub browser: &'a SecretString,
    /// PKCE's verifier.
    pub verifier: &'a SecretString,
    /// Where the visitor goes afterwards: a path.
    pub next: &'a str,
}

/// What became of a state.
#[derive(Debug)]
pub enum StateUse {
    /// It worked, this once.
    Accepted {
        /// Who connects an account.
        user: Option<UserId>,
        /// PKCE's verifier.
        verifier: SecretString,
        /// Where the visitor goes afterwards.
        next: String,
    },
    /// It was used before.
    Used,
    /// It came too late.
    Expired,
    /// It was never made, or long ago, or by another browser.
    Unknown,
}

/// An account, as its provider tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's number for it, which stays.
    pub id: String,
    /// What it is called now.
    pub login: String,
}

/// What a provider gave for an account.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Asks in the account's name.
    pub access: SecretString,
    /// Gets another one, where the provider gives such.
    pub refresh: Option<SecretString>,
    /// When the access token ends; never, where it is absent.
    pub expires_at: Option<Timestamp>,
    /// What it may, as the provider wrote it.
    pub scopes: String,
}

/// A linked account.
#[derive(Debug, Clone)]
pub struct Linked {
    /// The row's id.
    pub id: Uuid,
    /// Who it is at the provider.
    pub identity: Identity,
    /// Its tokens.
    pub tokens: Tokens,
    /// When it was linked.
    pub created_at: Timestamp,
    /// Since when the provider does not take the token any more.
    pub revoked_at: Option<Timestamp>,
}

/// What became of a wish to link an account to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is linked.
    Linked,
    /// It is another user's.
    Taken,
    /// Another account is the user's only way in, and stays.
    OnlyWayIn,
}

/// Linked accounts of one provider. Clones share the pool.
#[derive(Debug, Clone)]
pub struct LinkedAccounts {
    pool: PgPool,
    vault: Arc<Vault>,
    provider: Arc<str>,
}

impl LinkedAccounts {
    /// On a database that was migrated, of the provider at this host.
    #[must_use]
    pub fn new(pool: PgPool, vault: Arc<Vault>, provider: &str) -> Self {
        Self { pool, vault, provider: provider.into() }
    }

    /// A new state: works once, within [`STATE_LIFE`], with the same cookie.
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_state(&self, new: NewState<'_>, now: Timestamp) -> Result<SecretString, StoreError> {
        let doing = while_doing("store a sign-in at a provider");
        let state = random_secret("");
        let key = hash(state.expose_secret());
        let verifier =
            self.vault.seal_text(verifier_place(&hex::encode(key)), new.verifier).map_err(sealed("seal a verifier"))?;
        sqlx::query!(
            "INSERT INTO oauth_states (hash, browser, verifier, user_id, next, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
            &key[..],
            &hash(new.browser.expose_secret())[..],
            verifier,
            new.user.map(|user| user.0),
            new.next,
            Time(after(now, STATE_LIFE)) as _
        )
        .execute(&self.pool)
        .await
        .map_err(doing)?;
        Ok(state)
    }

    /// Uses a state up. With another cookie it is [`StateUse::Unknown`], and stays good for its own.
    ///
    /// # Errors
    /// The database is away; then it is not known whether it was used up.
    pub async fn use_state(&self, state: &str, browser: &str, now: Timestamp) -> Result<StateUse, StoreError> {
        let doing = while_doing("use a sign-in at a provider");
        let (key, browser) = (hash(state), hash(browser));
        let accepted = sqlx::query!(
            "UPDATE oauth_states SET used_at = $3 WHERE hash = $1 AND browser = $2 AND used_at IS NULL AND expires_at > $3
            RETURNING user_id, verifier, next",
            &key[..],
            &browser[..],
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(&doing)?;
        if let Some(row) = accepted {
            let verifier =
                self.vault.open_text(verifier_place(&hex::encode(key)), &row.verifier).map_err(sealed("open a verifier"))?;
            return Ok(StateUse::Accepted { user: row.user_id.map(UserId), verifier, next: row.next });
        }
        let used = sqlx::query_scalar!(
            r#"SELECT used_at IS NOT NULL AS "used!" FROM oauth_states WHERE hash = $1 AND browser = $2"#,
            &key[..],
            &browser[..]
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(&doing)?;
        Ok(match used {
            Some(true) => StateUse::Used,
            Some(false) => StateUse::Expired,
            None => StateUse::Unknown,
        })
    }

    /// The user of an account, made where there is none; the account's name and tokens are those given.
    /// A user who is not a machine's owner is called as the account is.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sign_in(&self, identity: &Identity, tokens: &Tokens, now: Timestamp) -> Result<User, StoreError> {
        let doing = while_doing("sign in by a linked account");
        loop {
            let mut transaction = self.pool.begin().await.map_err(&doing)?;
            let known = sqlx::query!(
                "UPDATE users u SET name = CASE WHEN u.machine_owner THEN u.name ELSE $3 END
                FROM linked_accounts a WHERE a.user_id = u.id AND a.provider = $1 AND a.provider_id = $2
                RETURNING u.id AS user_id, u.name, a.id",
                &*self.provider,
                identity.id,
                identity.login
            )
            .fetch_optional(&mut *transaction)
            .await
            .map_err(&doing)?;
            let (row, user) = match known {
                Some(known) => (known.id, User { id: UserId(known.user_id), name: known.name, kept_out: false }),
                None => {
                    let user = User { id: UserId(Uuid::now_v7()), name: identity.login.clone(), kept_out: false };
                    sqlx::query!(
                        "INSERT INTO users (id, name, created_at) VALUES ($1, $2, $3)",
                        user.id.0,
                        user.name,
                        Time(now) as _
                    )
                    .execute(&mut *transaction)
                    .await
                    .map_err(&doing)?;
                    (Uuid::now_v7(), user)
                }
            };
            // Two first sign-ins at once: the second finds the first's user.
            if self.write(&mut transaction, row, user.id, identity, tokens, now).await? == Link::Linked {
                transaction.commit().await.map_err(&doing)?;
                return Ok(user);
            }
        }
    }

    /// Links an account to a user. In place of another one, where they have another way in: the owner of a single machine, by link.
    ///
    /// # Errors
    /// The database is away.
    pub async fn connect(&self, user: UserId, identity: &Identity, tokens: &Tokens, now: Timestamp) -> Result<Link, StoreError> {
        let doing = while_doing("link an account");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        // Another one that stays is in the way of what is written.
        sqlx::query!(
            "DELETE FROM linked_accounts l USING users u
            WHERE u.id = l.user_id AND l.user_id = $1 AND l.provider = $2 AND (l.provider_id = $3 OR u.machine_owner)",
            user.0,
            &*self.provider,
            identity.id
        )
        .execute(&mut *transaction)
        .await
        .map_err(&doing)?;
        let link = self.write(&mut transaction, Uuid::now_v7(), user, identity, tokens, now).await?;
        if link == Link::Linked {
            transaction.commit().await.map_err(&doing)?;
        }
        Ok(link)
    }

    async fn write(
        &self,
        connection: &mut sqlx::PgConnection,
        row: Uuid,
        user: UserId,
        identity: &Identity,
        tokens: &Tokens,
        now: Timestamp,
    ) -> Result<Link, StoreError> {
        let (access, refresh) = self.seal(row, tokens)?;
        sqlx::query!(
            "INSERT INTO linked_accounts (id, user_id, provider, provider_id, login, scopes, token, refresh_token, expires_at,
                created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
            ON CONFLICT ON CONSTRAINT linked_accounts_pkey DO UPDATE SET login = excluded.login, scopes = excluded.scopes,
                token = excluded.token, refresh_token = excluded.refresh_token, expires_at = excluded.expires_at,
                updated_at = excluded.updated_at, revoked_at = NULL",
            row,
            user.0,
            &*self.provider,
            identity.id,
            identity.login,
            tokens.scopes,
            access,
            refresh,
            tokens.expires_at.map(Time) as _,
            Time(now) as _
        )
        .execute(connection)
        .await
        .map(|_| Link::Linked)
        .on_constraint("linked_accounts_provider_key", || Link::Taken)
        .on_constraint("linked_accounts_user_provider_key", || Link::OnlyWayIn)
        .map_err(while_doing("store a linked account"))
    }

    fn seal(&self, row: Uuid, tokens: &Tokens) -> Result<(Vec<u8>, Option<Vec<u8>>), StoreError> {
        let id = row.to_string();
        let seal = |column, text| self.vault.seal_text(token_place(column, &id), text).map_err(sealed("seal a provider's token"));
        Ok((seal("token", &tokens.access)?, tokens.refresh.as_ref().map(|text| seal("refresh_token", text)).transpose()?))
    }

    /// A user's account.
    ///
    /// # Errors
    /// The database is away.
    pub async fn of(&self, user: UserId) -> Result<Option<Linked>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT id, provider_id, login, scopes, token, refresh_token, expires_at AS "expires_at: Time",
                created_at AS "created_at: Time", revoked_at AS "revoked_at: Time"
            FROM linked_accounts WHERE user_id = $1 AND provider = $2 AND token IS NOT NULL"#,
            user.0,
            &*self.provider
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a linked account"))?;
        let Some(row) = row else { return Ok(None) };
        let id = row.id.to_string();
        let open = |column, bytes: Vec<u8>| {
            self.vault.open_text(token_place(column, &id), &bytes).map_err(sealed("open a provider's token"))
        };
        Ok(Some(Linked {
            id: row.id,
            identity: Identity { id: row.provider_id, login: row.login },
            tokens: Tokens {
                access: open("token", row.token.unwrap_or_default())?,
                refresh: row.refresh_token.map(|bytes| open("refresh_token", bytes)).transpose()?,
                expires_at: row.expires_at.map(|time| time.0),
                scopes: row.scopes,
            },
            created_at: row.created_at.0,
            revoked_at: row.revoked_at.map(|time| time.0),
        }))
    }

    /// Other tokens for the same account, after a refresh. `false` if it is no longer linked, or has other
    /// tokens than `old` by now: another refresh was first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn renew(&self, old: &Linked, tokens: &Tokens, now: Timestamp) -> Result<bool, StoreError> {
        let (access, refresh) = self.seal(old.id, tokens)?;
        let done = sqlx::query!(
            "UPDATE linked_accounts SET token = $2, refresh_token = $3, expires_at = $4, updated_at = $5, revoked_at = NULL
            WHERE id = $1 AND expires_at IS NOT DISTINCT FROM $6",
            old.id,
            access,
            refresh,
            tokens.expires_at.map(Time) as _,
            Time(now) as _,
            old.tokens.expires_at.map(Time) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("store a provider's new token"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Notes that the provider does not take these tokens any more: `false` where that was known.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoked(&self, old: &Linked, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "UPDATE linked_accounts SET revoked_at = $2
            WHERE id = $1 AND revoked_at IS NULL AND expires_at IS NOT DISTINCT FROM $3",
            old.id,
            Time(now) as _,
            old.tokens.expires_at.map(Time) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("note that a token was revoked"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Tells what happened to a user's account, as [`Accounts::tell`](super::accounts::Accounts::tell).
    ///
    /// # Errors
    /// The database is away.
    pub async fn tell(&self, user: UserId, entry: &Entry, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(while_doing("tell what happened"))?;
        write_account(&mut connection, user, entry, now).await
    }

    /// Forgets a user's account, and its tokens.
    ///
    /// # Errors
    /// The database is away.
    pub async fn disconnect(&self, user: UserId) -> Result<bool, StoreError> {
        let done = sqlx::query!("DELETE FROM linked_accounts WHERE user_id = $1 AND provider = $2", user.0, &*self.provider)
            .execute(&self.pool)
            .await
            .map_err(while_doing("forget a linked account"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether a user can sign in without a linked account: the owner of a single machine, by link.
    ///
    /// # Errors
    /// The database is away.
    pub async fn is_machine_owner(&self, user: UserId) -> Result<bool, StoreError> {
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users WHERE id = $1 AND machine_owner) AS "is!""#, user.0)
            .fetch_one(&self.pool)
            .await
            .map_err(while_doing("read a user"))
    }
}

fn verifier_place(state: &str) -> Place<'_> {
    Place { table: "oauth_states", column: "verifier", row: state }
}

fn token_place<'a>(column: &'a str, row: &'a str) -> Place<'a> {
    Place { table: "linked_accounts", column, row }
}
