//! From rows to what the world is asked for. Pure.

use super::Settings;
use crate::{
    database::{Database, DatabaseSpec},
    orchestrator::{SandboxSpec, VolumeName},
    store::ProjectAndSandbox,
};
use model::{Desired, ProjectId, env};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;

/// The name of a project's volume: a pure function of its id, so that it is known before and after
/// everything else.
#[must_use]
pub fn volume(project: ProjectId) -> VolumeName {
    VolumeName(format!("volume-{project}"))
}

/// What the orchestrator is asked for.
#[must_use]
pub fn sandbox(row: &ProjectAndSandbox, database: &dyn Database, settings: &Settings, desired: Desired) -> SandboxSpec {
    let (project, sandbox) = (&row.project, &row.sandbox);
    let mut system = BTreeMap::from([("NODE_ENV".to_owned(), "development".to_owned())]);
    if let Some(spec) = self::database(row, settings) {
        system.extend(database.credentials(&spec).variables());
    }
    let plain = |vars: &BTreeMap<String, SecretString>| {
        vars.iter().map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect::<BTreeMap<_, _>>()
    };
    let own = sandbox.env.iter().map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect();
    let merged = env::merge(&plain(&settings.operator_env), &own, &BTreeMap::new(), &system);
    SandboxSpec {
        id: sandbox.id,
        installation: settings.installation,
        project: project.id,
        slug: project.slug.clone(),
        name: sandbox.name.clone(),
        volume: volume(project.id),
        desired,
        generation: sandbox.generation,
        restart_count: sandbox.restart_count,
        resources: sandbox.preset.resources(),
        env: merged.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect(),
        env_revision: sandbox.env_revision,
        agent_token: sandbox.agent_token.clone(),
        database: project.database.as_ref().and_then(|_| database.endpoint()),
    }
}

/// What the database provider is asked for; `None` where the project has no database.
#[must_use]
pub fn database(row: &ProjectAndSandbox, settings: &Settings) -> Option<DatabaseSpec> {
    let database = row.project.database.as_ref()?;
    Some(DatabaseSpec {
        project: row.project.id,
        sandbox: row.sandbox.id,
        slug: row.project.slug.clone(),
        name: row.sandbox.name.clone(),
        installation: settings.installation,
        role: database.role.clone(),
        database: database.database.clone(),
        password: database.password.clone(),
    })
}
