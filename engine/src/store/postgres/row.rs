//! The one join that projects and sandboxes are read by.

use super::error::{sealed, unreadable};
use crate::{
    secrets::{Place, Vault},
    store::{DatabaseRow, Extra, ProjectAndSandbox, ProjectRow, SandboxRow, StoreError, claude::Claude, time::Time},
};
use model::{
    DisplayName, ProjectId, SandboxId, Slug, UserId,
    env::EnvKey,
    repository::Origin,
    resources::{Preset, Resources},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Uuid;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tracing::warn;

/// A row of the join, as it comes.
pub(super) struct Joined {
    pub project_id: Uuid,
    pub owner_id: Uuid,
    pub project_name: String,
    pub slug: String,
    pub project_preset: String,
    pub project_env_revision: i64,
    pub created_at: Time,
    pub updated_at: Time,
    pub deleting_since: Option<Time>,
    pub main_id: Option<Uuid>,
    pub branch: Option<String>,
    pub has_extras: bool,
    pub repository_url: Option<String>,
    pub repository_branch: Option<String>,
    pub database_role: Option<String>,
    pub database_name: Option<String>,
    pub database_password: Option<Vec<u8>>,
    pub sandbox_id: Uuid,
    pub sandbox_name: String,
    pub desired: String,
    pub generation: i64,
    pub asked_at: Time,
    pub restart_count: i64,
    pub preset: String,
    pub resources: Option<Value>,
    pub env: Vec<u8>,
    pub claude: Option<Vec<u8>>,
    pub env_revision: i64,
    pub resizes: bool,
    pub agent_token: Vec<u8>,
    pub observed: Value,
    pub cause: Option<Value>,
    pub last_error: Option<String>,
    pub failures: i32,
    pub version: i64,
    pub wake_at: Option<Time>,
    pub changed_at: Time,
}

/// What a size stood for at the last ask that started a run, beside that size: a server from before these were kept changes
/// the size alone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Kept {
    size: Preset,
    #[serde(flatten)]
    resources: Resources,
}

impl Kept {
    pub fn of(row: &SandboxRow) -> Self {
        Self { size: row.preset, resources: row.resources }
    }
}

/// The query of [`Joined`] with what follows its FROM: `joined!("WHERE p.id = $1", id)`. `p` is the
/// project, `d` its database, `r` its repository, `s` the sandbox.
macro_rules! joined {
    ($rest:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            $crate::store::postgres::row::Joined,
            r#"
            SELECT p.id AS project_id, p.owner_id, p.name AS project_name, p.slug, p.preset AS project_preset,
                p.env_revision AS project_env_revision, p.created_at AS "created_at: Time",
                p.updated_at AS "updated_at: Time", p.deleting_since AS "deleting_since: Time",
                p.main_id, p.branch, EXISTS (SELECT FROM projects e WHERE e.main_id = p.id) AS "has_extras!",
                r.url AS "repository_url?", COALESCE(r.checkout, r.branch) AS "repository_branch?",
                d.role AS "database_role?", d.name AS "database_name?", d.password AS "database_password?",
                s.id AS sandbox_id, s.name AS sandbox_name, s.desired, s.generation, s.asked_at AS "asked_at: Time",
                s.restart_count, s.preset, s.resources, s.env, s.claude, s.env_revision, s.resizes, s.agent_token,
                s.observed, s.cause, s.last_error, s.failures,
                s.version, s.wake_at AS "wake_at: Time", s.changed_at AS "changed_at: Time"
            FROM sandboxes s JOIN projects p ON p.id = s.project_id LEFT JOIN databases d ON d.project_id = p.id
                LEFT JOIN repositories r ON r.project_id = p.id AND r.state <> 'skipped'
            "# + $rest
            $(, $argument)*
        )
    };
}
pub(super) use joined;

impl Joined {
    /// Opens what is sealed and reads what is written in words.
    pub(super) fn read(self, vault: &Vault) -> Result<ProjectAndSandbox, StoreError> {
        let project = ProjectId(self.project_id);
        let sandbox = SandboxId(self.sandbox_id);
        let database = match (self.database_role, self.database_name, self.database_password) {
            (Some(role), Some(database), Some(password)) => {
                let password = vault
                    .open_text(password_place(&project.to_string()), &password)
                    .map_err(sealed("open a database's password"))?;
                Some(DatabaseRow { role, database, password })
            }
            _ => None,
        };
        let row = sandbox.to_string();
        let preset: Preset = self.preset.parse().map_err(unreadable("read a sandbox's size"))?;
        let kept: Option<Kept> =
            self.resources.map(serde_json::from_value).transpose().map_err(unreadable("read what a sandbox may use"))?;
        let project = ProjectRow {
            id: project,
            owner: UserId(self.owner_id),
            name: DisplayName::stored(self.project_name),
            slug: Slug::stored(self.slug),
            preset: self.project_preset.parse().map_err(unreadable("read a project's size"))?,
            env_revision: self.project_env_revision,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
            deleting_since: self.deleting_since.map(|time| time.0),
            database,
            extra: self.main_id.zip(self.branch).map(|(main, branch)| Extra { main: ProjectId(main), branch }),
            repository: self.repository_url.map(|url| Origin::new(url, self.repository_branch)),
            has_extras: self.has_extras,
        };
        let sandbox = SandboxRow {
            id: sandbox,
            project: project.id,
            name: self.sandbox_name.parse().map_err(unreadable("read a sandbox's name"))?,
            desired: self.desired.parse().map_err(unreadable("read a sandbox's intent"))?,
            generation: self.generation,
            asked_at: self.asked_at.0,
            restart_count: self.restart_count,
            preset,
            // It was last asked to run before they were kept, or by a server that knows nothing of them.
            resources: kept.filter(|kept| kept.size == preset).map_or_else(|| preset.resources(), |kept| kept.resources),
            env: open_env(vault, &row, &self.env)?,
            claude: self.claude.map(|sealed| Claude::open(vault, claude_place(&row), &sealed)).transpose()?,
            env_revision: self.env_revision,
            resizes: self.resizes,
            agent_token: vault.open_text(token_place(&row), &self.agent_token).map_err(sealed("open an agent's token"))?,
            observed: serde_json::from_value(self.observed).map_err(unreadable("read what was seen of a sandbox"))?,
            cause: self.cause.map(serde_json::from_value).transpose().map_err(unreadable("read a sandbox's cause"))?,
            last_error: self.last_error,
            failures: u32::try_from(self.failures).unwrap_or_default(),
            version: self.version,
            wake_at: self.wake_at.map(|time| time.0),
            changed_at: self.changed_at.0,
        };
        Ok(ProjectAndSandbox { project, sandbox })
    }
}

/// Reads all of them.
pub(super) fn read_all(rows: Vec<Joined>, vault: &Vault) -> Result<Vec<ProjectAndSandbox>, StoreError> {
    rows.into_iter().map(|row| row.read(vault)).collect()
}

/// Rows that cannot be read, and why: a newer server's, while both run, or what was damaged. None is told of twice for one
/// reason, and no other row waits for them.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<HashMap<SandboxId, (ProjectId, String)>>);

impl Unreadable {
    /// Reads those that can be read.
    pub(super) fn leave_out(&self, rows: Vec<Joined>, vault: &Vault) -> Vec<ProjectAndSandbox> {
        let read = |row: Joined| (SandboxId(row.sandbox_id), ProjectId(row.project_id), row.read(vault));
        let rows: Vec<_> = rows.into_iter().map(read).collect();
        let mut known = self.lock();
        let mut readable = Vec::with_capacity(rows.len());
        for (sandbox, project, row) in rows {
            let why = match row {
                Ok(row) => {
                    known.remove(&sandbox);
                    readable.push(row);
                    continue;
                }
                Err(StoreError::Broken(why)) => format!("{why:#}"),
                Err(error) => error.to_string(),
            };
            let before = known.insert(sandbox, (project, why.clone()));
            if before.is_none_or(|(_, before)| before != why) {
                warn!(sandbox.id = %sandbox, project.id = %project, "a sandbox's row cannot be read, and is left alone: {why}");
            }
        }
        readable
    }

    /// The same of all rows that there are: what is not among them is gone, and forgotten.
    pub(super) fn leave_out_of_all(&self, rows: Vec<Joined>, vault: &Vault) -> Vec<ProjectAndSandbox> {
        let there: HashSet<Uuid> = rows.iter().map(|row| row.sandbox_id).collect();
        let readable = self.leave_out(rows, vault);
        self.lock().retain(|sandbox, _| there.contains(&sandbox.0));
        readable
    }

    /// Those that were left out and not read since.
    pub(super) fn ids(&self) -> Vec<(ProjectId, SandboxId)> {
        self.lock().iter().map(|(sandbox, (project, _))| (*project, *sandbox)).collect()
    }

    /// The same and others, as queries compare them.
    pub(super) fn sandboxes_and(&self, others: &[SandboxId]) -> Vec<Uuid> {
        self.lock().keys().chain(others).map(|sandbox| sandbox.0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, (ProjectId, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn password_place(project: &str) -> Place<'_> {
    Place { table: "databases", column: "password", row: project }
}

pub(super) fn token_place(sandbox: &str) -> Place<'_> {
    Place { table: "sandboxes", column: "agent_token", row: sandbox }
}

fn env_place(sandbox: &str) -> Place<'_> {
    Place { table: "sandboxes", column: "env", row: sandbox }
}

fn claude_place(sandbox: &str) -> Place<'_> {
    Place { table: "sandboxes", column: "claude", row: sandbox }
}

/// What a run is started with, sealed: a sandbox's frozen environment, and its owner's Claude credentials.
pub(super) struct Frozen {
    pub env: Vec<u8>,
    pub claude: Option<Vec<u8>>,
}

/// Seals what was frozen in a row.
pub(super) fn freeze(vault: &Vault, row: &SandboxRow) -> Result<Frozen, StoreError> {
    let id = row.id.to_string();
    let claude = row.claude.as_ref().map(|claude| claude.seal(vault, claude_place(&id))).transpose()?;
    Ok(Frozen { env: seal_env(vault, &id, &row.env)?, claude })
}

/// A sandbox's frozen environment, as a JSON object, sealed as one.
fn seal_env(vault: &Vault, sandbox: &str, env: &BTreeMap<EnvKey, SecretString>) -> Result<Vec<u8>, StoreError> {
    let plain: BTreeMap<&str, &str> = env.iter().map(|(key, value)| (key.as_str(), value.expose_secret())).collect();
    let plain = serde_json::to_vec(&plain).map_err(unreadable("write a sandbox's environment"))?;
    vault.seal(env_place(sandbox), &plain).map_err(sealed("seal a sandbox's environment"))
}

fn open_env(vault: &Vault, sandbox: &str, sealed_env: &[u8]) -> Result<BTreeMap<EnvKey, SecretString>, StoreError> {
    let plain = vault.open(env_place(sandbox), sealed_env).map_err(sealed("open a sandbox's environment"))?;
    let plain: BTreeMap<String, String> = serde_json::from_slice(&plain).map_err(unreadable("read a sandbox's environment"))?;
    // A name that was reserved since is left out: the row must stay readable.
    Ok(plain.into_iter().filter_map(|(key, value)| Some((key.parse().ok()?, SecretString::from(value)))).collect())
}
