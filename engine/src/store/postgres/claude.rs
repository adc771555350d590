//! Users' own Claude credentials.

use super::{PgStore, activity::write_account, error::while_doing};
use crate::{
    secrets::Place,
    store::{StoreError, activity, claude::Claude, time::Time},
};
use jiff::Timestamp;
use model::UserId;
use sqlx::PgConnection;

fn place(user: &str) -> Place<'_> {
    Place { table: "claude_credentials", column: "sealed", row: user }
}

impl PgStore {
    pub(super) async fn read_claude(&self, owner: UserId) -> Result<Option<(Claude, Timestamp)>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(while_doing("read a user's Claude credentials"))?;
        self.claude_of(&mut connection, owner).await
    }

    /// Those of a user. What is made of them in the same transaction stays true where it has locked one of their
    /// projects, or their own row: a change waits for both.
    pub(super) async fn claude_of(
        &self,
        connection: &mut PgConnection,
        owner: UserId,
    ) -> Result<Option<(Claude, Timestamp)>, StoreError> {
        let row = sqlx::query!(r#"SELECT sealed, set_at AS "set_at: Time" FROM claude_credentials WHERE user_id = $1"#, owner.0)
            .fetch_optional(connection)
            .await
            .map_err(while_doing("read a user's Claude credentials"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((Claude::open(&self.vault, place(&owner.to_string()), &row.sealed)?, row.set_at.0)))
    }

    pub(super) async fn write_claude(&self, owner: UserId, claude: Option<Claude>, now: Timestamp) -> Result<bool, StoreError> {
        let doing = while_doing("change a user's Claude credentials");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        // A project that is made at the same time waits, and has the new ones: `count` locks the same row.
        sqlx::query!("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE", owner.0)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(&doing)?;
        // Those that cannot be opened any more are there all the same, to be replaced or removed.
        let (there, current) = match self.claude_of(&mut transaction, owner).await {
            Ok(current) => (current.is_some(), current.map(|(claude, _)| claude)),
            Err(StoreError::Broken(_)) => (true, None),
            Err(error) => return Err(error),
        };
        if there == claude.is_some() && current == claude {
            return Ok(false);
        }
        // So does an ask, which freezes them. In the order of `lock_project`.
        sqlx::query!("SELECT id FROM projects WHERE owner_id = $1 ORDER BY main_id NULLS FIRST, id FOR UPDATE", owner.0)
            .fetch_all(&mut *transaction)
            .await
            .map_err(&doing)?;
        if let Some(claude) = &claude {
            let sealed = claude.seal(&self.vault, place(&owner.to_string()))?;
            sqlx::query!(
                "INSERT INTO claude_credentials (user_id, sealed, set_at) VALUES ($1, $2, $3)
                ON CONFLICT ON CONSTRAINT claude_credentials_pkey DO UPDATE SET sealed = EXCLUDED.sealed, set_at = EXCLUDED.set_at",
                owner.0,
                sealed,
                Time(now) as _
            )
            .execute(&mut *transaction)
            .await
            .map_err(&doing)?;
        } else {
            sqlx::query!("DELETE FROM claude_credentials WHERE user_id = $1", owner.0)
                .execute(&mut *transaction)
                .await
                .map_err(&doing)?;
        }
        sqlx::query!("UPDATE projects SET env_revision = env_revision + 1 WHERE owner_id = $1", owner.0)
            .execute(&mut *transaction)
            .await
            .map_err(&doing)?;
        let entry = activity::claude_changed(there, claude.as_ref());
        write_account(&mut transaction, owner, &entry, now).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(true)
    }
}
