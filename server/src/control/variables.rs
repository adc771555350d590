//! A sandbox's variables, layer over layer, as they are shown: who set each, and what a restart would change.

use super::{Controller, store_error};
use crate::views;
use app::error::{ControlError, ErrorKind};
use engine::{
    reconcile,
    store::{ProjectAndSandbox, claude::Claude, intent},
};
use jiff::Timestamp;
use model::{
    Desired, ProjectId,
    claude::{BASE_URL, is_credential},
    env::{self, EnvKey},
    view::{ChangeKind, EnvSource, EnvVariable, EnvView, PendingChange, Viewer},
};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::{BTreeMap, BTreeSet};

/// What users set of a sandbox's variables.
pub(super) struct Layers {
    project: intent::Env,
    claude: Option<(Claude, Timestamp)>,
}

impl Controller {
    /// What a next run of one of the viewer's projects would get.
    pub(super) async fn layers(&self, viewer: &Viewer, id: ProjectId) -> Result<Layers, ControlError> {
        let project = self.parts.store.env(viewer.user, id).await.map_err(store_error)?.ok_or_else(ControlError::not_found)?;
        let claude = self.parts.store.claude(viewer.user).await.map_err(store_error)?;
        Ok(Layers { project, claude })
    }

    pub(super) fn env_view(&self, row: &ProjectAndSandbox, now: &Layers) -> EnvView {
        let applied_revision = row
            .sandbox
            .observed
            .instance
            .as_ref()
            .filter(|_| row.sandbox.desired == Desired::Running)
            .map(|instance| instance.env_revision);
        let changes = if views::restart_pending(row) { self.pending_changes(row, now) } else { Vec::new() };
        EnvView { variables: self.env_variables(row, now), revision: row.project.env_revision, applied_revision, changes }
    }

    /// The variables of a sandbox as they are now, with who set them. What differs from what its present run got waits
    /// for the next.
    fn env_variables(&self, row: &ProjectAndSandbox, now: &Layers) -> Vec<EnvVariable> {
        let running = row.sandbox.desired == Desired::Running;
        let same_revision = row.sandbox.env_revision == row.project.env_revision;
        let run = self.of_the_run(row);
        let waits = |key: &str, value: &str| running && !same_revision && run.get(key).is_none_or(|had| had != value);
        let mut variables: BTreeMap<String, EnvVariable> = BTreeMap::new();
        // As `env::merge` lays them over each other.
        let mut lay = |source: EnvSource, layer: Vec<(&str, &str, Option<Timestamp>, bool)>| {
            if layer.iter().any(|(key, ..)| is_credential(key)) {
                variables.retain(|key, _| !is_credential(key) && (source != EnvSource::Account || key != BASE_URL));
            }
            for (key, value, updated_at, pending) in layer {
                let variable = EnvVariable { key: key.to_owned(), source, bytes: value.len(), updated_at, pending };
                variables.insert(key.to_owned(), variable);
            }
        };
        let operator = self.parts.settings.operator_env.iter().map(|(key, value)| (key.as_str(), value.expose_secret()));
        lay(EnvSource::Operator, operator.map(|(key, value)| (key, value, None, waits(key, value))).collect());
        if let Some((claude, at)) = &now.claude {
            let own = claude.variables();
            lay(EnvSource::Account, own.iter().map(|(key, value)| (&**key, &**value, Some(*at), waits(key, value))).collect());
        }
        let project = now.project.iter().map(|(key, (value, at))| (key.as_str(), value.expose_secret(), *at));
        lay(EnvSource::Project, project.map(|(key, value, at)| (key, value, Some(at), waits(key, value))).collect());
        // With the project's own variables unchanged since, what differs came with a request.
        let own = |key: &EnvKey, value: &SecretString| {
            now.project.get(key).is_some_and(|(own, _)| own.expose_secret() == value.expose_secret())
        };
        let request = row.sandbox.env.iter().filter(|(key, value)| running && same_revision && !own(key, value));
        lay(EnvSource::Request, request.map(|(key, value)| (key.as_str(), value.expose_secret(), None, false)).collect());
        let mut system = vec![("NODE_ENV".to_owned(), "development".to_owned())];
        if let Some(spec) = reconcile::spec::database(row, &self.parts.settings) {
            system.extend(self.parts.database.credentials(&spec).variables());
        }
        lay(EnvSource::System, system.iter().map(|(key, value)| (&**key, &**value, None, false)).collect());
        variables.into_values().collect()
    }

    /// What a restart now would change: the variables of the project and the credentials of the account of now, over the
    /// operator's, against those that the present run got. What came with a request was that run's alone.
    fn pending_changes(&self, row: &ProjectAndSandbox, next: &Layers) -> Vec<PendingChange> {
        let now = self.of_the_run(row);
        let project = next.project.iter().map(|(key, (value, _))| (key, value));
        let next = self.merged(next.claude.as_ref().map(|(claude, _)| claude), project);
        let keys: BTreeSet<&String> = now.keys().chain(next.keys()).collect();
        let change = |key: &str| match (now.get(key), next.get(key)) {
            (None, Some(_)) => Some(ChangeKind::Added),
            (Some(_), None) => Some(ChangeKind::Removed),
            (Some(old), Some(new)) if old != new => Some(ChangeKind::Changed),
            _ => None,
        };
        keys.into_iter().filter_map(|key| Some(PendingChange { key: key.clone(), change: change(key)? })).collect()
    }

    /// What the present run was started with, but for what the system sets.
    fn of_the_run(&self, row: &ProjectAndSandbox) -> BTreeMap<String, String> {
        self.merged(row.sandbox.claude.as_ref(), row.sandbox.env.iter())
    }

    fn merged<'a>(
        &self,
        claude: Option<&Claude>,
        own: impl Iterator<Item = (&'a EnvKey, &'a SecretString)>,
    ) -> BTreeMap<String, String> {
        let operator = self.parts.settings.operator_env.iter();
        let operator = operator.map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect();
        let own = own.map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect();
        env::merge(&operator, &Claude::variables_of(claude), &own, &BTreeMap::new(), &BTreeMap::new())
    }
}

pub(super) fn checked_env(pairs: &BTreeMap<String, String>, field: &str) -> Result<BTreeMap<EnvKey, String>, ControlError> {
    env::check(pairs).map_err(|error| env_error(&error, field))
}

pub(super) fn env_error(error: &env::EnvError, field: &str) -> ControlError {
    use env::EnvError;
    let (code, next) = match error {
        EnvError::Key(_) => ("env-key", "Use letters, digits and `_`."),
        EnvError::LongKey(_) => ("env-key-too-long", "Choose a shorter name."),
        EnvError::Reserved(_) => ("env-key-reserved", "Choose another name."),
        EnvError::Nul(_) => ("env-value-nul", "Take the NUL character out."),
        EnvError::LongValue { .. } => ("env-value-too-long", "Put it in a file inside the sandbox."),
        EnvError::LongTotal(_) => ("env-too-large", "Put some of them in files inside the sandbox."),
    };
    ControlError::new(ErrorKind::Invalid, code, error.to_string(), next).at(field)
}
