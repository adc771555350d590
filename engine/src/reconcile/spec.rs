//! From rows to what the world is asked for. Pure.

use super::Settings;
use crate::{
    database::{Database, DatabaseSpec},
    orchestrator::{SandboxSpec, VolumeName},
    store::{ProjectAndSandbox, claude::Claude},
};
use model::{Desired, ProjectId, env};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;

/// The project's home folder.
#[must_use]
pub fn volume(project: ProjectId) -> VolumeName {
    VolumeName::of(project)
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
    let merged = env::merge(
        &plain(&settings.operator_env),
        &Claude::variables_of(sandbox.claude.as_ref()),
        &own,
        &BTreeMap::new(),
        &system,
    );
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
        resources: sandbox.resources,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        database::memory::MemoryDatabase,
        random::SystemRandom,
        store::{NewProjectRow, contract::least, intent},
    };
    use model::{
        InstallationId, Slug, Timestamp,
        claude::ClaudeKind,
        resources::{Preset, Resources, Sizes},
    };
    use std::sync::Arc;
    use uuid::Uuid;

    #[test]
    fn an_accounts_claude_credentials_are_in_place_of_the_operators_and_under_the_projects() {
        let secrets = |pairs: &[(&str, &str)]| -> BTreeMap<String, SecretString> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect()
        };
        let settings = Settings {
            operator_env: secrets(&[("ANTHROPIC_API_KEY", "operator"), ("ANTHROPIC_BASE_URL", "http://operator")]),
            ..Settings::new(InstallationId(Uuid::nil()))
        };
        let database = MemoryDatabase::new(Arc::new(SystemClock), Arc::new(SystemRandom));
        let own = |kind| Claude { kind, secret: SecretString::from("own"), base_url: None };
        let inside = |claude: Option<Claude>, env: &[(&str, &str)]| -> Vec<String> {
            let new = NewProjectRow {
                env: env.iter().map(|(key, value)| (key.parse().unwrap(), SecretString::from(*value))).collect(),
                ..least(Timestamp::UNIX_EPOCH)
            };
            let row = intent::create(&new, claude.as_ref(), &Sizes::default(), Slug::derive(&new.name, 0), new.random);
            let spec = sandbox(&row, &database, &settings, Desired::Running);
            spec.env.iter().map(|(key, value)| format!("{key}={}", value.expose_secret())).collect()
        };
        let system = "NODE_ENV=development";
        assert_eq!(inside(None, &[]), ["ANTHROPIC_API_KEY=operator", "ANTHROPIC_BASE_URL=http://operator", system]);
        assert_eq!(inside(Some(own(ClaudeKind::AuthToken)), &[]), ["ANTHROPIC_AUTH_TOKEN=own", system]);
        assert_eq!(inside(Some(own(ClaudeKind::ApiKey)), &[]), ["ANTHROPIC_API_KEY=own", system]);
        let project = [("ANTHROPIC_API_KEY", "project")];
        assert_eq!(inside(Some(own(ClaudeKind::AuthToken)), &project), ["ANTHROPIC_API_KEY=project", system]);
    }

    #[test]
    fn a_run_has_the_amounts_of_its_row_and_not_those_of_the_size_now() {
        let new = least(Timestamp::UNIX_EPOCH);
        let amounts = Resources { request_cpu_millis: 1, limit_memory_bytes: 2, ..new.preset.resources() };
        let sizes = Sizes::default().with(Preset::Medium, amounts);
        let row = intent::create(&new, None, &sizes, Slug::derive(&new.name, 0), new.random);
        let database = MemoryDatabase::new(Arc::new(SystemClock), Arc::new(SystemRandom));
        let spec = sandbox(&row, &database, &Settings::new(InstallationId(Uuid::nil())), Desired::Running);
        assert_eq!(spec.resources, amounts);
    }
}
