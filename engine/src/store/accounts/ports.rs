//! Where previews have no host names of their own: which port of the server is whose preview.
//!
//! An address is kept while its sandbox is there. Only when all are taken, the one that was opened longest ago goes to
//! another preview: never one whose visitors may still have a cookie, or that is shared.

use super::{Accounts, previews::PREVIEW_SESSION_LIFE};
use crate::store::{
    StoreError,
    postgres::error::{unreadable, while_doing},
    time::Time,
};
use jiff::Timestamp;
use model::{ResourceName, SandboxId};
use std::ops::RangeInclusive;

/// What a port of the server is the preview of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewAt {
    /// Which sandbox, as it is named outside.
    pub name: ResourceName,
    /// Which port in it.
    pub port: u16,
}

impl Accounts {
    /// The server's port, out of a range, for the preview of one port of a sandbox: the one that it has, else one that is
    /// free. `None` if none is, or there is no such sandbox.
    ///
    /// # Errors
    /// The database is away.
    pub async fn preview_address(
        &self,
        sandbox: SandboxId,
        port: u16,
        range: &RangeInclusive<u16>,
        now: Timestamp,
    ) -> Result<Option<u16>, StoreError> {
        let doing = while_doing("choose a preview's address");
        let (first, last) = (i32::from(*range.start()), i32::from(*range.end()));
        let own = sqlx::query_scalar!(
            "UPDATE preview_ports SET used_at = $3 WHERE sandbox_id = $1 AND port = $2 AND address BETWEEN $4 AND $5 RETURNING address",
            sandbox.0,
            i32::from(port),
            Time(now) as _,
            first,
            last
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(&doing)?;
        if let Some(own) = own {
            return u16::try_from(own).map(Some).map_err(unreadable("read a preview's address"));
        }
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        // Two who choose at the same time choose one after the other.
        sqlx::query("LOCK TABLE preview_ports IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await.map_err(&doing)?;
        // One from another range than today's.
        sqlx::query!(
            "DELETE FROM preview_ports WHERE sandbox_id = $1 AND port = $2 AND address NOT BETWEEN $3 AND $4",
            sandbox.0,
            i32::from(port),
            first,
            last
        )
        .execute(&mut *transaction)
        .await
        .map_err(&doing)?;
        sqlx::query!(
            "DELETE FROM preview_ports WHERE address = (
                SELECT o.address FROM preview_ports o JOIN sandboxes s ON s.id = o.sandbox_id
                WHERE o.address BETWEEN $1 AND $2 AND o.used_at <= $3
                    AND NOT EXISTS (SELECT FROM preview_shares h WHERE h.project_id = s.project_id AND h.port = o.port
                        AND h.revoked_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > $4))
                ORDER BY o.used_at LIMIT 1)
            AND (SELECT count(*) FROM preview_ports WHERE address BETWEEN $1 AND $2) > $2 - $1",
            first,
            last,
            Time(now.checked_sub(PREVIEW_SESSION_LIFE).unwrap_or(Timestamp::MIN)) as _,
            Time(now) as _
        )
        .execute(&mut *transaction)
        .await
        .map_err(&doing)?;
        // The lowest: who has a tunnel for a few gets these.
        let address = sqlx::query_scalar!(
            "INSERT INTO preview_ports (address, sandbox_id, port, used_at)
            SELECT free.address, s.id, $2, $3 FROM sandboxes s, generate_series($4::integer, $5::integer) AS free (address)
            WHERE s.id = $1 AND NOT EXISTS (SELECT FROM preview_ports p WHERE p.address = free.address)
            ORDER BY free.address LIMIT 1
            ON CONFLICT (sandbox_id, port) DO UPDATE SET used_at = excluded.used_at
            RETURNING address",
            sandbox.0,
            i32::from(port),
            Time(now) as _,
            first,
            last
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(&doing)?;
        transaction.commit().await.map_err(&doing)?;
        address.map(u16::try_from).transpose().map_err(unreadable("read a preview's address"))
    }

    /// What a port of the server is the preview of.
    ///
    /// # Errors
    /// The database is away.
    pub async fn preview_at(&self, address: u16) -> Result<Option<PreviewAt>, StoreError> {
        let row = sqlx::query!(
            "SELECT s.name, p.port FROM preview_ports p JOIN sandboxes s ON s.id = p.sandbox_id WHERE p.address = $1",
            i32::from(address)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read a preview's address"))?;
        row.map(|row| {
            Ok(PreviewAt {
                name: row.name.parse().map_err(unreadable("read a sandbox's name"))?,
                port: u16::try_from(row.port).map_err(unreadable("read a preview's port"))?,
            })
        })
        .transpose()
    }
}
