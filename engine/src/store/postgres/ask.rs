//! Asks: intent, by the rules of [`intent`].

use super::{
    PgStore,
    activity::write,
    error::while_doing,
    project::take_key,
    row::{Frozen, Kept, freeze},
};
use crate::store::{Ask, Asked, SandboxRow, StoreError, activity, intent, intent::Verdict, time::Time};
use jiff::Timestamp;
use model::{Cause, ProjectId, UserId};
use sqlx::{PgConnection, types::Json};
use std::collections::BTreeMap;

impl PgStore {
    pub(super) async fn store_ask(
        &self,
        owner: UserId,
        id: ProjectId,
        ask: Ask,
        key: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Asked>, StoreError> {
        let doing = while_doing("store an intent");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let Some(mut row) = self.lock_project(&mut transaction, owner, id).await? else { return Ok(None) };
        if let Some(key) = &key
            && !take_key(&mut transaction, id.0, key, id, now).await?
        {
            return Ok(Some(Asked::Same(row)));
        }
        let asked = match intent::decide(&row, &ask, now) {
            // Rolled back: the key of what was refused may be used again.
            Verdict::Refused(why) => return Ok(Some(Asked::Refused(why))),
            Verdict::Same if key.is_none() => return Ok(Some(Asked::Same(row))),
            Verdict::Same => Asked::Same(row),
            Verdict::Change => {
                let before = row.sandbox.restart_count;
                let (env, claude) = match &ask {
                    Ask::Start | Ask::Restart(_) => {
                        let env = self.env_of(&mut transaction, row.project.main()).await?;
                        let claude = self.claude_of(&mut transaction, owner).await?;
                        (env.into_iter().map(|(key, (value, _))| (key, value)).collect(), claude.map(|(claude, _)| claude))
                    }
                    Ask::Stop | Ask::Terminate => (BTreeMap::new(), None),
                };
                intent::apply(&mut row, &ask, &env, claude.as_ref(), &self.sizes, now);
                let frozen = row.sandbox.restart_count != before;
                let frozen = frozen.then(|| freeze(&self.vault, &row.sandbox)).transpose()?;
                write_intent(&mut transaction, &row.sandbox, frozen).await?;
                write(&mut transaction, row.sandbox.id, &[activity::asked(&row, &ask)], now).await?;
                Asked::Changed(row)
            }
        };
        transaction.commit().await.map_err(&doing)?;
        Ok(Some(asked))
    }
}

/// Writes what [`intent::apply`] and [`intent::delete`] change of a row that is locked; `frozen` where it
/// was frozen anew.
pub(super) async fn write_intent(
    connection: &mut PgConnection,
    row: &SandboxRow,
    frozen: Option<Frozen>,
) -> Result<(), StoreError> {
    let (env, claude) = frozen.map(|frozen| (frozen.env, frozen.claude)).unzip();
    sqlx::query!(
        "UPDATE sandboxes SET desired = $2, generation = $3, asked_at = $4, restart_count = $5, preset = $6,
            env = COALESCE($7::bytea, env), env_revision = $8, cause = $9, last_error = $10, failures = $11, version = $12,
            wake_at = $13, changed_at = $14, resizes = $15,
            claude = CASE WHEN $7::bytea IS NULL THEN claude ELSE $16::bytea END, resources = $17
        WHERE id = $1",
        row.id.0,
        row.desired.as_str(),
        row.generation,
        Time(row.asked_at) as _,
        row.restart_count,
        row.preset.as_str(),
        env,
        row.env_revision,
        row.cause.as_ref().map(Json) as Option<Json<&Cause>>,
        row.last_error,
        i32::try_from(row.failures).unwrap_or(i32::MAX),
        row.version,
        row.wake_at.map(Time) as _,
        Time(row.changed_at) as _,
        row.resizes,
        claude.flatten(),
        Json(Kept::of(row)) as _
    )
    .execute(connection)
    .await
    .map_err(while_doing("store an intent"))?;
    Ok(())
}
