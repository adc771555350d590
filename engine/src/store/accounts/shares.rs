//! Previews that others than their owner may open: one share a port of a project, private where there is none.
//!
//! A link's secret is its visitors' cookie as well: it opens that port of that project and nothing else, and ends
//! for all of them when the link does. An application's own host on a cluster, which does not pass here, gets a cookie
//! for each guest instead, by a code that works once: what serves there sees it.
//!
//! A share that an API token made is revoked in the transaction that revokes the token, and expires when the token does at the
//! latest: whoever reads a share need not look at its maker.

use super::{Accounts, hash, previews::PREVIEW_CODE_LIFE, random_secret, tokens::hold};
use crate::store::{
    StoreError, activity,
    postgres::{
        activity::write,
        error::{OnConstraint as _, unreadable, while_doing},
    },
    time::Time,
};
use jiff::Timestamp;
use model::{ProjectId, ResourceName, SandboxId, TokenId, UserId, stage::after};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgConnection;
use std::time::Duration;
use uuid::Uuid;

/// How long a share that is over is remembered, so that a link says what became of it.
pub(super) const SHARE_MEMORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// For whom a preview is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who is signed in.
    Users,
    /// Whoever has the link.
    Link,
}

impl Audience {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Link => "link",
        }
    }
}

impl std::str::FromStr for Audience {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "users" => Ok(Self::Users),
            "link" => Ok(Self::Link),
            other => Err(format!("`{other}` is no audience")),
        }
    }
}

/// A share that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// For whom.
    pub audience: Audience,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when. A link always ends.
    pub expires_at: Option<Timestamp>,
}

/// A share that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewShare {
    /// For whom.
    pub audience: Audience,
    /// Until when, or until the token ends that makes it, where that is earlier. A link always has one.
    pub expires_at: Option<Timestamp>,
    /// The API token that makes it, if one does.
    pub made_by: Option<TokenId>,
}

/// What became of a [`NewShare`].
#[derive(Debug)]
pub enum MadeShare {
    /// It holds; with the secret, if it is a link.
    Now(Share, Option<SecretString>),
    /// The project is not theirs, or the port was shared otherwise at this very moment.
    Meanwhile,
    /// The token that was to make it does not work any more.
    MakerGone,
}

/// Where a share for everybody who is signed in leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSandbox {
    /// Of which project.
    pub project: ProjectId,
    /// Which.
    pub sandbox: SandboxId,
    /// As its preview's host names it.
    pub name: ResourceName,
}

/// What a link's secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkUse {
    /// This sandbox, until then.
    Open {
        /// Which.
        sandbox: SandboxId,
        /// When the link ends.
        expires_at: Timestamp,
    },
    /// It was withdrawn.
    Revoked,
    /// Its time is over.
    Expired,
    /// No such link was made for this preview, or long ago.
    Unknown,
}

impl Accounts {
    /// The share of a port of the user's project; `None` where it is private, or not theirs.
    ///
    /// # Errors
    /// The database is away.
    pub async fn share(&self, owner: UserId, project: ProjectId, port: u16, now: Timestamp) -> Result<Option<Share>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT h.audience, h.created_at AS "created_at: Time", h.expires_at AS "expires_at: Time"
            FROM preview_shares h JOIN projects p ON p.id = h.project_id
            WHERE p.id = $1 AND p.owner_id = $2 AND h.port = $3 AND h.revoked_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > $4)"#,
            project.0,
            owner.0,
            i32::from(port),
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a share"))?;
        row.map(|row| {
            Ok(Share {
                audience: row.audience.parse().map_err(unreadable("read a share's audience"))?,
                created_at: row.created_at.0,
                expires_at: row.expires_at.map(|time| time.0),
            })
        })
        .transpose()
    }

    /// All shares of the user's project that hold, by port; none where it is not theirs.
    ///
    /// # Errors
    /// The database is away.
    pub async fn shares(&self, owner: UserId, project: ProjectId, now: Timestamp) -> Result<Vec<(u16, Share)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT h.port, h.audience, h.created_at AS "created_at: Time", h.expires_at AS "expires_at: Time"
            FROM preview_shares h JOIN projects p ON p.id = h.project_id
            WHERE p.id = $1 AND p.owner_id = $2 AND h.revoked_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > $3)
            ORDER BY h.port"#,
            project.0,
            owner.0,
            Time(now) as _
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("list shares"))?;
        rows.into_iter()
            .map(|row| {
                let share = Share {
                    audience: row.audience.parse().map_err(unreadable("read a share's audience"))?,
                    created_at: row.created_at.0,
                    expires_at: row.expires_at.map(|time| time.0),
                };
                Ok((u16::try_from(row.port).map_err(unreadable("read a share's port"))?, share))
            })
            .collect()
    }

    /// Shares a port of the user's project, in place of what its share was. What a token makes ends with it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_share(
        &self,
        owner: UserId,
        project: ProjectId,
        port: u16,
        new: NewShare,
        now: Timestamp,
    ) -> Result<MadeShare, StoreError> {
        let NewShare { audience, mut expires_at, made_by } = new;
        let secret = (audience == Audience::Link).then(|| random_secret(""));
        let secret_hash = secret.as_ref().map(|secret| hash(secret.expose_secret()));
        let doing = while_doing("store a share");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        // Before any share is locked, as a revocation of the token does it: neither waits for the other for ever.
        if let Some(maker) = made_by {
            let Some(held) = hold(&mut transaction, owner, maker, now).await? else { return Ok(MadeShare::MakerGone) };
            expires_at = expires_at.into_iter().chain(held.expires_at).min();
        }
        revoke(&mut transaction, owner, project, port, now).await?;
        let made = sqlx::query!(
            "INSERT INTO preview_shares (id, project_id, port, audience, hash, created_at, expires_at, maker_id)
            SELECT $1, p.id, $4, $5, $6, $7, $8, $9 FROM projects p WHERE p.id = $2 AND p.owner_id = $3",
            Uuid::now_v7(),
            project.0,
            owner.0,
            i32::from(port),
            audience.as_str(),
            secret_hash.as_ref().map(|hash| &hash[..]),
            Time(now) as _,
            expires_at.map(Time) as _,
            made_by.map(|maker| maker.0)
        )
        .execute(&mut *transaction)
        .await
        .map(|done| done.rows_affected() == 1)
        .on_constraint("preview_shares_one_idx", || false)
        .map_err(&doing)?;
        if !made {
            return Ok(MadeShare::Meanwhile);
        }
        transaction.commit().await.map_err(&doing)?;
        Ok(MadeShare::Now(Share { audience, created_at: now, expires_at }, secret))
    }

    /// Makes a port of the user's project private again. May be repeated: `false` where nothing was shared.
    ///
    /// # Errors
    /// The database is away.
    pub async fn end_share(&self, owner: UserId, project: ProjectId, port: u16, now: Timestamp) -> Result<bool, StoreError> {
        let doing = while_doing("end a share");
        let mut connection = self.pool.acquire().await.map_err(&doing)?;
        revoke(&mut connection, owner, project, port, now).await
    }

    /// What a link's secret opens: of one preview, by its host.
    ///
    /// # Errors
    /// The database is away.
    pub async fn link(&self, secret: &str, sandbox: &ResourceName, port: u16, now: Timestamp) -> Result<LinkUse, StoreError> {
        let row = sqlx::query!(
            r#"SELECT s.id, h.expires_at AS "expires_at!: Time", h.revoked_at IS NOT NULL AS "revoked!"
            FROM preview_shares h JOIN sandboxes s ON s.project_id = h.project_id
            WHERE h.hash = $1 AND h.audience = 'link' AND s.name = $2 AND h.port = $3"#,
            &hash(secret)[..],
            sandbox.as_str(),
            i32::from(port)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a link"))?;
        Ok(match row {
            None => LinkUse::Unknown,
            Some(row) if row.revoked => LinkUse::Revoked,
            Some(row) if row.expires_at.0 <= now => LinkUse::Expired,
            Some(row) => LinkUse::Open { sandbox: SandboxId(row.id), expires_at: row.expires_at.0 },
        })
    }

    /// A way for whoever has a link into the application's own host: works once, within [`PREVIEW_CODE_LIFE`]. `None` if
    /// the link opens nothing there.
    ///
    /// # Errors
    /// The database is away.
    pub async fn make_guest_code(
        &self,
        link: &str,
        sandbox: &ResourceName,
        port: u16,
        now: Timestamp,
    ) -> Result<Option<SecretString>, StoreError> {
        let code = random_secret("");
        let done = sqlx::query!(
            "INSERT INTO preview_guests (hash, share_id, sandbox_id, entered, expires_at)
            SELECT $1, h.id, s.id, FALSE, $5 FROM preview_shares h JOIN sandboxes s ON s.project_id = h.project_id
            WHERE h.hash = $2 AND h.audience = 'link' AND s.name = $3 AND h.port = $4
                AND h.revoked_at IS NULL AND h.expires_at > $6",
            &hash(code.expose_secret())[..],
            &hash(link)[..],
            sandbox.as_str(),
            i32::from(port),
            Time(after(now, PREVIEW_CODE_LIFE)) as _,
            Time(now) as _
        )
        .execute(&self.pool)
        .await
        .map_err(while_doing("store a guest's code"))?;
        Ok((done.rows_affected() == 1).then_some(code))
    }

    /// Uses a guest's code up, at the host that it was made for: the secret of the cookie, and until when it works, which
    /// is as long as the link does. `None` if the code is unknown, used, expired or another host's, or the link is over.
    ///
    /// # Errors
    /// The database is away.
    pub async fn use_guest_code(
        &self,
        code: &str,
        sandbox: &ResourceName,
        port: u16,
        now: Timestamp,
    ) -> Result<Option<(SecretString, Timestamp)>, StoreError> {
        let cookie = random_secret("");
        let row = sqlx::query!(
            r#"UPDATE preview_guests g SET hash = $4, entered = TRUE, expires_at = h.expires_at
            FROM preview_shares h, sandboxes s
            WHERE g.hash = $1 AND NOT g.entered AND g.expires_at > $5 AND h.id = g.share_id AND s.id = g.sandbox_id
                AND s.name = $2 AND h.port = $3 AND h.revoked_at IS NULL AND h.expires_at > $5
            RETURNING h.expires_at AS "expires_at!: Time""#,
            &hash(code)[..],
            sandbox.as_str(),
            i32::from(port),
            &hash(cookie.expose_secret())[..],
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("use a guest's code"))?;
        Ok(row.map(|row| (cookie, row.expires_at.0)))
    }

    /// Whether a guest's cookie opens that host, which it does as long as the link works by which they came.
    ///
    /// # Errors
    /// The database is away.
    pub async fn is_guest(&self, cookie: &str, sandbox: &ResourceName, port: u16, now: Timestamp) -> Result<bool, StoreError> {
        let row = sqlx::query!(
            "SELECT g.sandbox_id FROM preview_guests g JOIN preview_shares h ON h.id = g.share_id
                JOIN sandboxes s ON s.id = g.sandbox_id
            WHERE g.hash = $1 AND g.entered AND s.name = $2 AND h.port = $3 AND h.revoked_at IS NULL AND h.expires_at > $4",
            &hash(cookie)[..],
            sandbox.as_str(),
            i32::from(port),
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a guest"))?;
        Ok(row.is_some())
    }

    /// The main sandboxes of a project that shares a port with everybody who is signed in, by its id or by the name
    /// of a sandbox.
    ///
    /// # Errors
    /// The database is away.
    pub async fn shared_with_users(
        &self,
        project: Option<ProjectId>,
        sandbox: Option<&ResourceName>,
        port: u16,
        now: Timestamp,
    ) -> Result<Option<SharedSandbox>, StoreError> {
        let row = sqlx::query!(
            "SELECT s.id, s.name, s.project_id FROM sandboxes s JOIN preview_shares h ON h.project_id = s.project_id
            WHERE (s.project_id = $1 OR s.name = $2) AND h.port = $3 AND h.audience = 'users' AND h.revoked_at IS NULL
                AND (h.expires_at IS NULL OR h.expires_at > $4) ORDER BY s.id LIMIT 1",
            project.map(|id| id.0),
            sandbox.map(ResourceName::as_str),
            i32::from(port),
            Time(now) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a share"))?;
        row.map(|row| {
            let name = row.name.parse().map_err(unreadable("read a sandbox's name"))?;
            Ok(SharedSandbox { project: ProjectId(row.project_id), sandbox: SandboxId(row.id), name })
        })
        .transpose()
    }
}

/// Ends what these tokens shared, in the transaction that revoked them and after all of them: what one was sharing while the
/// transaction waited for it is there by then. Tells each project of it.
pub(super) async fn end_shares_of(connection: &mut PgConnection, tokens: &[Uuid], now: Timestamp) -> Result<(), StoreError> {
    let ended = sqlx::query!(
        r#"UPDATE preview_shares h SET revoked_at = $2
        WHERE h.maker_id = ANY($1) AND h.revoked_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > $2)
        RETURNING h.port, (SELECT s.id FROM sandboxes s WHERE s.project_id = h.project_id AND s.main) AS "sandbox?""#,
        tokens,
        Time(now) as _
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(while_doing("end what a token shared"))?;
    let ended = ended.into_iter().map(|share| (share.port, share.sandbox));
    tell_of_ended(connection, ended, activity::made_private_with_its_token, now).await
}

/// Ends all that a user shared, whoever made it for them, and tells each project of it; `false` if there was none. After their
/// tokens were revoked, as [`end_shares_of`].
pub(super) async fn end_all_shares_of(connection: &mut PgConnection, owner: UserId, now: Timestamp) -> Result<bool, StoreError> {
    let ended = sqlx::query!(
        r#"UPDATE preview_shares h SET revoked_at = $2 FROM projects p
        WHERE p.id = h.project_id AND p.owner_id = $1 AND h.revoked_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > $2)
        RETURNING h.port, (SELECT s.id FROM sandboxes s WHERE s.project_id = h.project_id AND s.main) AS "sandbox?""#,
        owner.0,
        Time(now) as _
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(while_doing("end what a user shared"))?;
    let had_any = !ended.is_empty();
    let ended = ended.into_iter().map(|share| (share.port, share.sandbox));
    tell_of_ended(connection, ended, activity::made_private_with_its_owner, now).await?;
    Ok(had_any)
}

/// Tells of shares that ended, each by its port and the sandbox where it led; without one, it led nowhere.
async fn tell_of_ended(
    connection: &mut PgConnection,
    ended: impl Iterator<Item = (i32, Option<Uuid>)> + Send,
    entry: fn(u16) -> activity::Entry,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (port, sandbox) in ended {
        let Some(sandbox) = sandbox else { continue };
        let port = u16::try_from(port).map_err(unreadable("read a share's port"))?;
        write(connection, SandboxId(sandbox), &[entry(port)], now).await?;
    }
    Ok(())
}

async fn revoke(
    connection: &mut PgConnection,
    owner: UserId,
    project: ProjectId,
    port: u16,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "UPDATE preview_shares h SET revoked_at = $4 FROM projects p
        WHERE p.id = h.project_id AND p.id = $1 AND p.owner_id = $2 AND h.port = $3 AND h.revoked_at IS NULL",
        project.0,
        owner.0,
        i32::from(port),
        Time(now) as _
    )
    .execute(connection)
    .await
    .map_err(while_doing("end a share"))?;
    Ok(done.rows_affected() > 0)
}
