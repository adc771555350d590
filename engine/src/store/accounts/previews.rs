//! The ways into previews: a code that works once, and the session of one port of one sandbox that it opens. Each ends
//! with what it came from.

use super::{Accounts, hash, random_secret, sessions::session_key};
use crate::store::{
    StoreError,
    postgres::error::{OnConstraint as _, while_doing},
    time::Time,
};
use jiff::Timestamp;
use model::{ResourceName, SandboxId, TokenId, UserId, stage::after};
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

/// How long a preview code works: it is posted by the page that asked for it.
pub const PREVIEW_CODE_LIFE: Duration = Duration::from_secs(60);
/// How long a preview's cookie works: a day's work.
pub const PREVIEW_SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

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

impl Accounts {
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
            Opener::Session(id) => (Some(session_key(id)), None),
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
