//! A project's variables, each value sealed by itself.

use super::{
    PgStore, activity,
    error::{Because as _, sealed, while_doing},
    row::password_place,
};
use crate::{
    secrets::Place,
    store::{ProjectAndSandbox, StoreError, activity as told, intent, time::Time},
};
use jiff::Timestamp;
use model::{
    ProjectId, UserId,
    env::{EnvError, EnvKey},
};
use secrecy::SecretString;
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// The row's id of a sealed value.
fn row_id(project: ProjectId, key: &str) -> String {
    format!("{project}/{key}")
}

fn value_place(row: &str) -> Place<'_> {
    Place { table: "project_env", column: "value", row }
}

impl PgStore {
    pub(super) async fn read_env(&self, owner: UserId, id: ProjectId) -> Result<Option<intent::Env>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT COALESCE(p.main_id, p.id) AS "main!", e.key AS "key?", e.value AS "value?", e.updated_at AS "updated_at?: Time"
            FROM projects p LEFT JOIN project_env e ON e.project_id = COALESCE(p.main_id, p.id) WHERE p.owner_id = $1 AND p.id = $2"#,
            owner.0,
            id.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("read a project's variables"))?;
        let Some(main) = rows.first().map(|row| ProjectId(row.main)) else { return Ok(None) };
        let rows = rows.into_iter().filter_map(|row| Some((row.key?, row.value?, row.updated_at?)));
        self.open_all(main, rows).map(Some)
    }

    /// The variables of a project whose row is locked.
    pub(super) async fn env_of(&self, connection: &mut PgConnection, id: ProjectId) -> Result<intent::Env, StoreError> {
        let rows =
            sqlx::query!(r#"SELECT key, value, updated_at AS "updated_at: Time" FROM project_env WHERE project_id = $1"#, id.0)
                .fetch_all(connection)
                .await
                .map_err(while_doing("read a project's variables"))?;
        self.open_all(id, rows.into_iter().map(|row| (row.key, row.value, row.updated_at)))
    }

    /// A name that was reserved since is left out.
    fn open_all(&self, id: ProjectId, rows: impl Iterator<Item = (String, Vec<u8>, Time)>) -> Result<intent::Env, StoreError> {
        let mut env = BTreeMap::new();
        for (key, value, updated_at) in rows {
            let value =
                self.vault.open_text(value_place(&row_id(id, &key)), &value).map_err(sealed("open a project's variable"))?;
            if let Ok(key) = key.parse::<EnvKey>() {
                env.insert(key, (value, updated_at.0));
            }
        }
        Ok(env)
    }

    pub(super) async fn upsert_env(
        &self,
        connection: &mut PgConnection,
        id: ProjectId,
        set: &BTreeMap<EnvKey, SecretString>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut keys = Vec::with_capacity(set.len());
        let mut values = Vec::with_capacity(set.len());
        for (key, value) in set {
            let place = row_id(id, key.as_str());
            values.push(self.vault.seal_text(value_place(&place), value).map_err(sealed("seal a project's variable"))?);
            keys.push(key.to_string());
        }
        sqlx::query!(
            "INSERT INTO project_env (project_id, key, value, updated_at)
            SELECT $1, key, value, $4 FROM UNNEST($2::text[], $3::bytea[]) AS fresh (key, value)
            ON CONFLICT ON CONSTRAINT project_env_pkey DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at",
            id.0,
            &keys,
            &values,
            Time(now) as _
        )
        .execute(connection)
        .await
        .map_err(while_doing("store a project's variables"))?;
        Ok(())
    }

    pub(super) async fn write_env(
        &self,
        owner: UserId,
        id: ProjectId,
        edit: intent::EnvEdit,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, EnvError>>, StoreError> {
        let doing = while_doing("change a project's variables");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let Some(mut row) = self.lock_project(&mut transaction, owner, id).await? else { return Ok(None) };
        // An extra sandbox has its project's, and all that belong together see the new revision.
        let id = row.project.main();
        let current = self.env_of(&mut transaction, id).await?;
        let delta = match intent::edit_env(&current, edit) {
            Ok(delta) if delta.is_empty() => return Ok(Some(Ok(row))),
            Ok(delta) => delta,
            Err(error) => return Ok(Some(Err(error))),
        };
        if !delta.removed.is_empty() {
            let removed: Vec<String> = delta.removed.iter().map(EnvKey::to_string).collect();
            sqlx::query!("DELETE FROM project_env WHERE project_id = $1 AND key = ANY($2)", id.0, &removed)
                .execute(&mut *transaction)
                .await
                .map_err(&doing)?;
        }
        if !delta.set.is_empty() {
            self.upsert_env(&mut transaction, id, &delta.set, now).await.because("change a project's variables")?;
        }
        raise(&mut transaction, &mut row, true, now).await.map_err(&doing)?;
        let entry = told::env_changed(&row, &current, &delta);
        activity::write(&mut transaction, row.sandbox.id, &[entry], now).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(Some(Ok(row)))
    }

    pub(super) async fn write_password(
        &self,
        owner: UserId,
        id: ProjectId,
        password: SecretString,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        let doing = while_doing("reset a database's password");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let Some(mut row) = self.lock_project(&mut transaction, owner, id).await? else { return Ok(None) };
        let gone = row.project.deleting_since.is_some();
        let Some(database) = row.project.database.as_mut().filter(|_| !gone) else { return Ok(None) };
        let sealed_password =
            self.vault.seal_text(password_place(&id.to_string()), &password).map_err(sealed("seal a database's password"))?;
        database.password = password;
        sqlx::query!("UPDATE databases SET password = $2 WHERE project_id = $1", id.0, sealed_password)
            .execute(&mut *transaction)
            .await
            .map_err(&doing)?;
        raise(&mut transaction, &mut row, false, now).await.map_err(&doing)?;
        // A pass that has the old password is not recorded, and the next one has the new.
        (row.sandbox.version, row.sandbox.wake_at) = (row.sandbox.version + 1, Some(now));
        sqlx::query!(
            "UPDATE sandboxes SET version = $2, wake_at = $3 WHERE id = $1",
            row.sandbox.id.0,
            row.sandbox.version,
            Time(now) as _
        )
        .execute(&mut *transaction)
        .await
        .map_err(&doing)?;
        activity::write(&mut transaction, row.sandbox.id, &[told::password_reset(&row)], now).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(Some(row))
    }
}

/// The next revision of what a sandbox is told, or of what `all` of its project are. Each from its own: the password of one
/// database is no news to the others, so revisions of one project do not stay the same.
async fn raise(connection: &mut PgConnection, row: &mut ProjectAndSandbox, all: bool, now: Timestamp) -> Result<(), sqlx::Error> {
    row.project.env_revision += 1;
    row.project.updated_at = now;
    let of = if all { row.project.main() } else { row.project.id };
    sqlx::query!(
        "UPDATE projects SET env_revision = env_revision + 1, updated_at = $3 WHERE id = $1 OR ($2 AND main_id = $1)",
        of.0,
        all,
        Time(now) as _
    )
    .execute(connection)
    .await
    .map(|_| ())
}
