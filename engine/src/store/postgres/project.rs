//! Projects: made, read, renamed, marked for deletion.

use super::{
    PgStore,
    activity::write,
    ask,
    error::{Because as _, sealed, while_doing},
    row::{Frozen, Kept, freeze, joined, password_place, read_all, token_place},
};
use crate::store::{DatabaseRow, NewProjectRow, ProjectAndSandbox, StoreError, activity, intent, time::Time};
use jiff::Timestamp;
use model::{DisplayName, ProjectId, ResourceName, SandboxId, Slug, UserId, resources::Preset};
use sqlx::{PgConnection, types::Json};
use std::collections::BTreeSet;

impl PgStore {
    pub(super) async fn create_project(&self, mut new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError> {
        loop {
            let mut transaction = self.pool.begin().await.map_err(while_doing("begin to store a project"))?;
            if let Some(key) = &new.key
                && !take_key(&mut transaction, new.owner.0, key, new.id, new.now).await?
            {
                let seen = joined!(
                    "JOIN idempotency_keys k ON k.project_id = p.id WHERE s.main AND k.scope = $1 AND k.key = $2",
                    new.owner.0,
                    key
                )
                .fetch_optional(&mut *transaction)
                .await
                .map_err(while_doing("read the project of an idempotency key"))?;
                match seen {
                    Some(row) => return Ok((row.read(&self.vault)?, false)),
                    // It was buried in this very moment, and its key with it.
                    None => continue,
                }
            }
            count(&mut transaction, new.owner, new.most).await?;
            let main = self.inherit(&mut transaction, &mut new).await?;
            let row = self.insert_project(&mut transaction, &new).await?;
            for told in [Some(row.sandbox.id), main].into_iter().flatten() {
                write(&mut transaction, told, &[activity::created(&row)], new.now).await?;
            }
            transaction.commit().await.map_err(while_doing("store a project"))?;
            return Ok((row, true));
        }
    }

    /// What an extra sandbox has of its project, whose row stays locked: the project's own sandbox.
    async fn inherit(&self, connection: &mut PgConnection, new: &mut NewProjectRow) -> Result<Option<SandboxId>, StoreError> {
        let Some(extra) = &new.extra else { return Ok(None) };
        let id = extra.main.0;
        let main = self.lock_project(connection, new.owner, extra.main).await?;
        let main = main.ok_or(StoreError::Refused(intent::BEING_DELETED))?;
        let env = self.env_of(connection, main.project.id).await?;
        let taken = sqlx::query_scalar!(r#"SELECT branch AS "branch!" FROM projects WHERE main_id = $1"#, id)
            .fetch_all(connection)
            .await
            .map_err(while_doing("read the branches that are taken"))?;
        intent::inherit(new, &main.project, &env, taken.iter().map(String::as_str))?;
        Ok(Some(main.sandbox.id))
    }

    async fn insert_project(&self, connection: &mut PgConnection, new: &NewProjectRow) -> Result<ProjectAndSandbox, StoreError> {
        let slug = insert_with_free_slug(connection, new).await?;
        if let Some(database) = &new.database {
            self.insert_database(connection, new.id, database).await?;
        }
        if !new.env.is_empty() && new.extra.is_none() {
            self.upsert_env(connection, new.id, &new.env, new.now).await.because("store a project's variables")?;
        }
        // The owner's row is locked: they are not changed meanwhile.
        let claude = self.claude_of(connection, new.owner).await?.map(|(claude, _)| claude);
        let mut random = new.random;
        loop {
            let row = intent::create(new, claude.as_ref(), &self.sizes, slug.clone(), random);
            if self.insert_sandbox(connection, &row).await? {
                return Ok(row);
            }
            random[0] = random[0].wrapping_add(1);
        }
    }

    async fn insert_database(
        &self,
        connection: &mut PgConnection,
        project: ProjectId,
        row: &DatabaseRow,
    ) -> Result<(), StoreError> {
        let password = self
            .vault
            .seal_text(password_place(&project.to_string()), &row.password)
            .map_err(sealed("seal a database's password"))?;
        sqlx::query!(
            "INSERT INTO databases (project_id, role, name, password) VALUES ($1, $2, $3, $4)",
            project.0,
            row.role,
            row.database,
            password
        )
        .execute(connection)
        .await
        .map_err(while_doing("store a project's database"))?;
        Ok(())
    }

    /// `false` if the name is taken.
    async fn insert_sandbox(&self, connection: &mut PgConnection, row: &ProjectAndSandbox) -> Result<bool, StoreError> {
        let sandbox = &row.sandbox;
        let id = sandbox.id.to_string();
        let Frozen { env, claude } = freeze(&self.vault, sandbox)?;
        let token = self.vault.seal_text(token_place(&id), &sandbox.agent_token).map_err(sealed("seal an agent's token"))?;
        let done = sqlx::query!(
            "INSERT INTO sandboxes (id, project_id, name, desired, generation, asked_at, restart_count, preset, env, env_revision,
                agent_token, observed, version, wake_at, changed_at, created_at, claude, resources)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16, $17)
            ON CONFLICT ON CONSTRAINT sandboxes_name_key DO NOTHING",
            sandbox.id.0,
            sandbox.project.0,
            sandbox.name.as_str(),
            sandbox.desired.as_str(),
            sandbox.generation,
            Time(sandbox.asked_at) as _,
            sandbox.restart_count,
            sandbox.preset.as_str(),
            env,
            sandbox.env_revision,
            token,
            Json(&sandbox.observed) as _,
            sandbox.version,
            sandbox.wake_at.map(Time) as _,
            Time(sandbox.changed_at) as _,
            claude,
            Json(Kept::of(sandbox)) as _
        )
        .execute(connection)
        .await
        .map_err(while_doing("store a sandbox"))?;
        Ok(done.rows_affected() == 1)
    }

    pub(super) async fn read_projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        let rows = joined!("WHERE s.main AND p.owner_id = $1 ORDER BY p.created_at DESC, p.id DESC", owner.0)
            .fetch_all(&self.pool)
            .await
            .map_err(while_doing("read the projects"))?;
        read_all(rows, &self.vault)
    }

    pub(super) async fn read_sandboxes(&self, owner: UserId, main: ProjectId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        let rows = joined!(
            "WHERE s.main AND p.owner_id = $1 AND (p.id = $2 OR p.main_id = $2)
            ORDER BY p.main_id NULLS FIRST, p.created_at, p.id",
            owner.0,
            main.0
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("read a project's sandboxes"))?;
        read_all(rows, &self.vault)
    }

    pub(super) async fn read_page(
        &self,
        owner: UserId,
        before: Option<ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        let rows = joined!(
            "WHERE s.main AND p.main_id IS NULL AND p.owner_id = $1 AND ($2::uuid IS NULL OR p.id < $2) ORDER BY p.id DESC LIMIT $3",
            owner.0,
            before.map(|id| id.0),
            i64::try_from(limit).unwrap_or(i64::MAX)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(while_doing("read a page of projects"))?;
        read_all(rows, &self.vault)
    }

    pub(super) async fn read_project(&self, owner: UserId, id: ProjectId) -> Result<Option<ProjectAndSandbox>, StoreError> {
        let row = joined!("WHERE s.main AND p.owner_id = $1 AND p.id = $2", owner.0, id.0)
            .fetch_optional(&self.pool)
            .await
            .map_err(while_doing("read a project"))?;
        row.map(|row| row.read(&self.vault)).transpose()
    }

    pub(super) async fn read_created(
        &self,
        owner: UserId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        let oldest = now.checked_sub(intent::KEY_LIFE).unwrap_or(Timestamp::MIN);
        let row = joined!(
            "JOIN idempotency_keys k ON k.project_id = p.id WHERE s.main AND k.scope = $1 AND k.key = $2 AND k.created_at > $3",
            owner.0,
            key,
            Time(oldest) as _
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(while_doing("read the project of an idempotency key"))?;
        row.map(|row| row.read(&self.vault)).transpose()
    }

    pub(super) async fn read_by_name(&self, owner: UserId, name: &ResourceName) -> Result<Option<ProjectAndSandbox>, StoreError> {
        let row = joined!("WHERE p.owner_id = $1 AND s.name = $2", owner.0, name.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(while_doing("read a sandbox by its name"))?;
        row.map(|row| row.read(&self.vault)).transpose()
    }

    pub(super) async fn read_all(&self) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        let rows = joined!("ORDER BY s.id").fetch_all(&self.pool).await.map_err(while_doing("read all sandboxes"))?;
        Ok(self.unreadable.leave_out_of_all(rows, &self.vault))
    }

    /// The rows of a project and its main sandbox, locked until the transaction ends. In this order
    /// everywhere, so that two never wait for each other. With an extra sandbox its project's own row is
    /// locked first: what is asked of those that belong together comes one after the other.
    pub(super) async fn lock_project(
        &self,
        connection: &mut PgConnection,
        owner: UserId,
        id: ProjectId,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        let there = sqlx::query_scalar!(
            "SELECT id FROM projects
            WHERE owner_id = $1 AND (id = $2 OR id = (SELECT main_id FROM projects WHERE owner_id = $1 AND id = $2))
            ORDER BY main_id NULLS FIRST FOR UPDATE",
            owner.0,
            id.0
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(while_doing("lock a project"))?;
        if !there.contains(&id.0) {
            return Ok(None);
        }
        let row = joined!("WHERE s.main AND p.id = $1 FOR UPDATE OF s", id.0)
            .fetch_optional(connection)
            .await
            .map_err(while_doing("lock a sandbox"))?;
        row.map(|row| row.read(&self.vault)).transpose()
    }

    pub(super) async fn update_project(
        &self,
        owner: UserId,
        id: ProjectId,
        name: Option<DisplayName>,
        preset: Option<Preset>,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        let doing = while_doing("change a project");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let Some(mut row) = self.lock_project(&mut transaction, owner, id).await? else { return Ok(None) };
        let name = name.unwrap_or_else(|| row.project.name.clone());
        let preset = preset.unwrap_or(row.project.preset);
        let told = activity::updated(&row, &name, preset);
        if told.is_empty() {
            return Ok(Some(row));
        }
        let renamed = row.project.name != name;
        (row.project.name, row.project.preset, row.project.updated_at) = (name, preset, now);
        sqlx::query!(
            "UPDATE projects SET name = $2, preset = $3, updated_at = $4 WHERE id = $1",
            id.0,
            row.project.name.as_str(),
            preset.as_str(),
            Time(now) as _,
        )
        .execute(&mut *transaction)
        .await
        .map_err(&doing)?;
        if intent::resize(&mut row, &self.sizes, now) {
            ask::write_intent(&mut transaction, &row.sandbox, None).await?;
        }
        if renamed && row.project.has_extras {
            // As `intent::extra_name` says it.
            sqlx::query!(
                "UPDATE projects SET name = $2 || ' / ' || branch, updated_at = $3 WHERE main_id = $1",
                id.0,
                row.project.name.as_str(),
                Time(now) as _,
            )
            .execute(&mut *transaction)
            .await
            .map_err(&doing)?;
        }
        write(&mut transaction, row.sandbox.id, &told, now).await?;
        transaction.commit().await.map_err(&doing)?;
        Ok(Some(row))
    }

    pub(super) async fn mark_for_deletion(
        &self,
        owner: UserId,
        id: ProjectId,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(while_doing("begin to delete a project"))?;
        let Some(mut row) = self.lock_project(&mut transaction, owner, id).await? else { return Ok(None) };
        if !mark(&mut transaction, &mut row, now).await? {
            return Ok(Some(row));
        }
        if let Some(extra) = &row.project.extra {
            let main = sqlx::query_scalar!("SELECT id FROM sandboxes WHERE main AND project_id = $1", extra.main.0)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(while_doing("read a project's sandbox"))?;
            if let Some(main) = main {
                write(&mut transaction, SandboxId(main), &[activity::deleted(&row)], now).await?;
            }
        } else if row.project.has_extras {
            sqlx::query!("SELECT id FROM projects WHERE main_id = $1 ORDER BY id FOR UPDATE", id.0)
                .fetch_all(&mut *transaction)
                .await
                .map_err(while_doing("lock a project's extra sandboxes"))?;
            let extras = joined!("WHERE s.main AND p.main_id = $1 ORDER BY s.id FOR UPDATE OF s", id.0)
                .fetch_all(&mut *transaction)
                .await
                .map_err(while_doing("lock a project's extra sandboxes"))?;
            for mut extra in read_all(extras, &self.vault)? {
                mark(&mut transaction, &mut extra, now).await?;
            }
        }
        transaction.commit().await.map_err(while_doing("mark a project for deletion"))?;
        Ok(Some(row))
    }

    /// Removes the rows of a project that is being deleted, and leaves a tombstone.
    pub(super) async fn remove_rows(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let doing = while_doing("remove the rows of a deleted project");
        let mut transaction = self.pool.begin().await.map_err(&doing)?;
        let project = sqlx::query!(
            r#"SELECT id, deleting_since AS "since!: Time" FROM projects
            WHERE id = (SELECT project_id FROM sandboxes WHERE id = $1) AND deleting_since IS NOT NULL FOR UPDATE"#,
            id.0
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(&doing)?;
        let Some(project) = project else { return Ok(false) };
        // While the rows are there; undone with everything else where the lease is not the holder's.
        write(&mut transaction, id, &[activity::buried(project.since.0, now)], now).await?;
        let project = project.id;
        let buried = sqlx::query!(
            "WITH gone AS (
                DELETE FROM sandboxes WHERE id = $1 AND lease_holder = $2 AND version = $3 AND lease_until > $4
                RETURNING id, project_id, name
            )
            INSERT INTO tombstones (sandbox_id, project_id, owner_id, name, database, buried_at)
            SELECT gone.id, gone.project_id, p.owner_id, gone.name, d.name, $4
            FROM gone JOIN projects p ON p.id = gone.project_id LEFT JOIN databases d ON d.project_id = p.id",
            id.0,
            holder,
            version,
            Time(now) as _
        )
        .execute(&mut *transaction)
        .await
        .map_err(&doing)?;
        if buried.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("DELETE FROM projects WHERE id = $1 AND NOT EXISTS (SELECT FROM sandboxes WHERE project_id = $1)", project)
            .execute(&mut *transaction)
            .await
            .map_err(&doing)?;
        transaction.commit().await.map_err(&doing)?;
        Ok(true)
    }
}

/// Marks a row that is locked for deletion; `false` if it was before.
async fn mark(connection: &mut PgConnection, row: &mut ProjectAndSandbox, now: Timestamp) -> Result<bool, StoreError> {
    if !intent::delete(row, now) {
        return Ok(false);
    }
    let since = row.project.deleting_since.map(Time);
    sqlx::query!("UPDATE projects SET deleting_since = $2 WHERE id = $1", row.project.id.0, since as _)
        .execute(&mut *connection)
        .await
        .map_err(while_doing("mark a project for deletion"))?;
    ask::write_intent(connection, &row.sandbox, None).await?;
    write(connection, row.sandbox.id, &[activity::deleted(row)], now).await?;
    Ok(true)
}

/// Whether the owner may have one more project. Their row stays locked until the transaction ends, so that
/// of two that come together the second counts the first. `NO KEY`: rows that refer to it need not wait.
async fn count(connection: &mut PgConnection, owner: UserId, most: usize) -> Result<(), StoreError> {
    let doing = while_doing("count a user's projects");
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE", owner.0)
        .fetch_optional(&mut *connection)
        .await
        .map_err(&doing)?;
    let have = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM projects WHERE owner_id = $1"#, owner.0)
        .fetch_one(connection)
        .await
        .map_err(&doing)?;
    let have = usize::try_from(have).unwrap_or(usize::MAX);
    if have >= most { Err(StoreError::Full(have)) } else { Ok(()) }
}

/// Remembers a key; `false` if it was seen before. Waits for another transaction that holds it. Keys
/// older than [`intent::KEY_LIFE`] are forgotten first.
pub(super) async fn take_key(
    connection: &mut PgConnection,
    scope: sqlx::types::Uuid,
    key: &str,
    project: ProjectId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let doing = while_doing("take an idempotency key");
    let oldest = now.checked_sub(intent::KEY_LIFE).unwrap_or(Timestamp::MIN);
    sqlx::query!("DELETE FROM idempotency_keys WHERE scope = $1 AND created_at <= $2", scope, Time(oldest) as _)
        .execute(&mut *connection)
        .await
        .map_err(&doing)?;
    let done = sqlx::query!(
        "INSERT INTO idempotency_keys (scope, key, project_id, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING",
        scope,
        key,
        project.0,
        Time(now) as _
    )
    .execute(connection)
    .await
    .map_err(&doing)?;
    Ok(done.rows_affected() == 1)
}

/// Inserts the project under the first slug that is free. The plain one is tried at once; if it is
/// taken, those that are taken are read, and another that is quicker is met by trying on.
async fn insert_with_free_slug(connection: &mut PgConnection, new: &NewProjectRow) -> Result<Slug, StoreError> {
    let mut taken = BTreeSet::new();
    loop {
        let free = (0..).map(|attempt| Slug::derive(&new.name, attempt)).find(|slug| !taken.contains(slug));
        let Some(slug) = free else { return Err(StoreError::Broken(anyhow::anyhow!("no slug is free"))) };
        let done = sqlx::query!(
            "INSERT INTO projects (id, owner_id, name, slug, preset, created_at, updated_at, env_revision, main_id, branch)
            VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9) ON CONFLICT ON CONSTRAINT projects_slug_key DO NOTHING",
            new.id.0,
            new.owner.0,
            new.name.as_str(),
            slug.as_str(),
            new.preset.as_str(),
            Time(new.now) as _,
            new.env_revision,
            new.extra.as_ref().map(|extra| extra.main.0),
            new.extra.as_ref().map(|extra| extra.branch.as_str())
        )
        .execute(&mut *connection)
        .await
        .map_err(while_doing("store a project"))?;
        if done.rows_affected() == 1 {
            return Ok(slug);
        }
        // What a suffix may cut a slug down to: `-` and ten digits are the longest.
        let plain = Slug::derive(&new.name, 0);
        let stem: String = plain.as_str().chars().take(29).collect();
        let rows = sqlx::query_scalar!("SELECT slug FROM projects WHERE slug >= $1 AND slug < $1 || '~'", stem)
            .fetch_all(&mut *connection)
            .await
            .map_err(while_doing("read the slugs that are taken"))?;
        taken.insert(slug);
        taken.extend(rows.into_iter().map(Slug::stored));
    }
}
