//! [`Control`]: authorises, validates, writes intent, nudges. Nothing else writes intent; REST handlers
//! and server functions both call this.
//!
//! Authorising is in the query: a row that is not the viewer's is not found. What only looks needs a
//! viewer; what changes needs [`Scope::Write`] as well.

pub mod claude;
pub mod database;
pub mod once;
pub mod repository;
pub mod sandboxes;
pub mod sessions;
pub mod shares;

use crate::{
    clone::{self, Cloner},
    http::{
        auth::{
            visit,
            watch::{Credential, CredentialWatch},
        },
        errors,
        limits::Limit,
        metrics::Metrics,
        patience::patient,
    },
    live::Live,
    views::{self, Addresses, CloneFact},
};
use app::{
    control::Control,
    error::{ControlError, ErrorKind},
};
use engine::{
    clock::Clock,
    database::Database,
    random::Random,
    reconcile::{self, Reconciler},
    store::{
        Ask, Asked, DatabaseRow, NewProjectRow, ProjectAndSandbox, Store, StoreError,
        accounts::{Accounts, keys::Made, previews::Opener, tokens},
        activity,
        claude::Claude,
        intent,
    },
};
use jiff::{SignedDuration, Timestamp};
use model::{
    Desired, DisplayName, ProjectId, ResourceName, SandboxId, Slug, TokenId, UserId,
    activity::{ActivityPage, ActivityView},
    claude::{BASE_URL, is_credential},
    env::{self, EnvKey},
    port::{PortError, PreviewPort},
    repository::{CloneState, NewRepository, Origin, Repository, RepositoryError, RepositoryView},
    resources::Preset,
    view::{
        ChangeKind, DatabaseView, EnvChange, EnvSource, EnvVariable, EnvView, Installation, NewProject, NewToken, PendingChange,
        PreviewCode, ProjectPatch, ProjectView, Scope, TokenView, Viewer,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tracing::{error, info};
use uuid::Uuid;

/// Of the 36 letters that names have: 190 bits.
const PASSWORD_LENGTH: usize = 37;

/// Everything that [`Controller`] stands on.
pub struct ControllerParts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Who there is.
    pub accounts: Accounts,
    /// For names and credentials of projects' databases.
    pub database: Arc<dyn Database>,
    /// What is nudged.
    pub reconciler: Arc<Reconciler>,
    /// What agents said.
    pub live: Arc<Live>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Names, passwords and tokens.
    pub random: Arc<dyn Random>,
    /// What the reconciler was told.
    pub settings: reconcile::Settings,
    /// What pages show of the installation.
    pub installation: Installation,
    /// Where browsers reach things.
    pub addresses: Addresses,
    /// What ends streams whose token was revoked.
    pub watch: Arc<CredentialWatch>,
    /// What clones repositories into new sandboxes.
    pub cloner: Arc<Cloner>,
    /// Whether the sign-in page offers GitHub.
    pub github_signs_in: bool,
    /// How many projects a user may have.
    pub projects_per_user: usize,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// For how many days activity is kept.
    pub activity_days: u32,
}

/// The server's side of the door.
pub struct Controller {
    parts: ControllerParts,
    creations: Limit<UserId>,
}

impl Controller {
    /// A controller.
    #[must_use]
    pub fn new(parts: ControllerParts) -> Self {
        // A hundred at once is more than a person makes in a day; five a second is as fast as one
        // machine starts them.
        Self { parts, creations: Limit::new(100, Duration::from_millis(200)) }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn view(&self, row: &ProjectAndSandbox) -> ProjectView {
        let ControllerParts { live, addresses, settings, .. } = &self.parts;
        views::project(row, &live.facts(row.sandbox.id), addresses, &settings.limits, self.now())
    }

    /// The rows of one of the viewer's projects.
    ///
    /// # Errors
    /// `404 Not Found`, `503 Service Unavailable`.
    pub async fn row(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectAndSandbox, ControlError> {
        let row = self.parts.store.project(viewer.user, id).await.map_err(store_error)?;
        row.ok_or_else(ControlError::not_found)
    }

    /// A page of what happened to the viewer's projects. Whether a project is theirs is the filter's matter:
    /// of another's there is nothing.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn activity(&self, viewer: &Viewer, filter: activity::Filter) -> Result<ActivityPage, ControlError> {
        let limit = filter.limit;
        let mut rows = self.activity_rows(viewer, &activity::Filter { limit: limit + 1, ..filter }).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().map(|last| last.id).filter(|_| more);
        Ok(ActivityPage { activity: rows, next, kept_days: self.parts.activity_days })
    }

    /// The same without the page around it.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn activity_rows(&self, viewer: &Viewer, filter: &activity::Filter) -> Result<Vec<ActivityView>, ControlError> {
        self.parts.store.activity(viewer.user, filter).await.map_err(store_error)
    }

    async fn ask(&self, viewer: &Viewer, id: ProjectId, ask: Ask, key: Option<String>) -> Result<ProjectView, ControlError> {
        may_change(viewer)?;
        let what = ask.verb();
        let asked = activity::by(visit::actor(viewer), self.parts.store.ask(viewer.user, id, ask, key, self.now()))
            .await
            .map_err(store_error)?;
        match asked.ok_or_else(ControlError::not_found)? {
            Asked::Changed(row) => {
                self.parts.metrics.asked(what);
                info!(project.id = %id, sandbox.name = %row.sandbox.name, generation = row.sandbox.generation, "asked to {what}");
                self.parts.reconciler.nudge(row.sandbox.id);
                Ok(self.view(&row))
            }
            Asked::Same(row) => Ok(self.view(&row)),
            Asked::Refused(why) => Err(conflict(why)),
        }
    }

    fn checked_repository(&self, new: &NewRepository) -> Result<Repository, ControlError> {
        new.check(self.parts.cloner.plain_http()).map_err(|error| {
            let (code, field) = error.code();
            let next = match error {
                RepositoryError::Branch => "Give the name of one, or leave it empty for the usual branch.",
                RepositoryError::Depth => "Give a number in that range, or leave it empty for all.",
                _ => "Give an address such as https://github.com/owner/name.",
            };
            ControlError::new(ErrorKind::Invalid, code, error.to_string(), next).at(field)
        })
    }

    /// A clone that failed is tried again with the next run.
    async fn clone_again(&self, viewer: &Viewer, id: ProjectId) -> Result<(), ControlError> {
        let row = self.row(viewer, id).await?;
        if matches!(self.parts.live.facts(row.sandbox.id).clone, CloneFact::Failed(_)) {
            // Somebody else may have decided in the meantime.
            return match self.decide(&row, CloneState::Waiting).await {
                Err(error) if error.kind != ErrorKind::Conflict => Err(error),
                _ => Ok(()),
            };
        }
        Ok(())
    }

    async fn decide(&self, row: &ProjectAndSandbox, to: CloneState) -> Result<RepositoryView, ControlError> {
        let (repositories, project) = (self.parts.cloner.repositories(), row.project.id);
        let decided = patient(repositories.decide(project, to, self.now())).await.map_err(store_error)?;
        let of = patient(repositories.of(project)).await.map_err(store_error)?.ok_or_else(no_repository)?;
        if !decided {
            let message = match of.state {
                CloneState::Done => "The repository is cloned already.",
                CloneState::Skipped => "The project goes on without the repository already.",
                _ => "The clone is under way.",
            };
            return Err(ControlError::new(ErrorKind::Conflict, "clone-not-failed", message, "Look at how far it is."));
        }
        self.parts.live.cloning(row.sandbox.id, clone::fact(&of));
        self.parts.cloner.look();
        Ok(of)
    }

    /// A project's repository, and how far its clone is. None where it was made without one.
    ///
    /// # Errors
    /// `404 Not Found`.
    pub async fn repository(&self, viewer: &Viewer, id: ProjectId) -> Result<Option<RepositoryView>, ControlError> {
        let row = self.row(viewer, id).await?;
        patient(self.parts.cloner.repositories().of(row.project.id)).await.map_err(store_error)
    }

    /// Tries a clone that failed again, or goes on without.
    ///
    /// # Errors
    /// `404 Not Found`; `409 Conflict` where there is nothing to decide.
    pub async fn decide_clone(&self, viewer: &Viewer, id: ProjectId, again: bool) -> Result<RepositoryView, ControlError> {
        may_change(viewer)?;
        let row = self.row(viewer, id).await?;
        self.decide(&row, if again { CloneState::Waiting } else { CloneState::Skipped }).await
    }

    /// A new row's own: ids, names and secrets.
    fn new_row(&self, viewer: &Viewer, name: DisplayName, database: bool) -> NewProjectRow {
        NewProjectRow {
            id: ProjectId(Uuid::now_v7()),
            owner: viewer.user,
            database: database.then(|| self.new_database(&name)),
            name,
            preset: Preset::default(),
            env: BTreeMap::new(),
            sandbox: SandboxId(Uuid::now_v7()),
            random: self.bytes(),
            agent_token: SecretString::from(hex::encode(self.bytes::<32>())),
            extra: None,
            env_revision: 1,
            key: None,
            most: self.parts.projects_per_user,
            now: self.now(),
        }
    }

    /// Stores what is new, with what is cloned into it, and nudges.
    async fn make(
        &self,
        viewer: &Viewer,
        row: NewProjectRow,
        repository: Option<Repository>,
    ) -> Result<ProjectAndSandbox, ControlError> {
        let (id, sandbox) = (row.id, row.sandbox);
        if let Some(repository) = &repository {
            // Before the project: none is made without what it was asked for with.
            patient(self.parts.cloner.repositories().add(id, repository, self.now())).await.map_err(store_error)?;
            self.parts.live.cloning(sandbox, CloneFact::UnderWay);
        }
        let made = activity::by(visit::actor(viewer), self.parts.store.create(row)).await;
        if repository.is_some() {
            if made.as_ref().is_ok_and(|(_, new)| *new) {
                self.parts.cloner.look();
            } else {
                self.parts.live.cloning(sandbox, CloneFact::Settled);
                // It is swept later where this fails.
                let _ = patient(self.parts.cloner.repositories().remove(id)).await;
            }
        }
        let (mut row, new) = made.map_err(store_error)?;
        if new {
            row.project.repository = repository.as_ref().map(Origin::from);
            self.parts.metrics.asked("create");
            info!(project.id = %row.project.id, sandbox.name = %row.sandbox.name, "a project was made");
            self.parts.reconciler.nudge(row.sandbox.id);
        }
        Ok(row)
    }

    /// Six random bytes, for names.
    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.parts.random.fill(&mut bytes);
        bytes
    }

    fn text(&self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.parts.random.fill(&mut bytes);
        let letter = |byte: u8| char::from(ResourceName::ALPHABET[usize::from(byte) % ResourceName::ALPHABET.len()]);
        bytes.into_iter().map(letter).collect()
    }

    /// Names that say whose it is, and a password of 190 bits. The slug that the store will choose may
    /// end otherwise; it is only a name.
    fn new_database(&self, name: &DisplayName) -> DatabaseRow {
        let slug = Slug::derive(name, 0).as_str().replace('-', "_");
        let letter = if slug.starts_with(|c: char| c.is_ascii_lowercase()) { "" } else { "p_" };
        let database = format!("{letter}{slug}_{}", self.text(8));
        DatabaseRow { role: database.clone(), database, password: SecretString::from(self.text(PASSWORD_LENGTH)) }
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

    fn env_view(&self, row: &ProjectAndSandbox, now: &Layers) -> EnvView {
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

    /// What a next run of one of the viewer's projects would get.
    async fn layers(&self, viewer: &Viewer, id: ProjectId) -> Result<Layers, ControlError> {
        let project = self.parts.store.env(viewer.user, id).await.map_err(store_error)?.ok_or_else(ControlError::not_found)?;
        let claude = self.parts.store.claude(viewer.user).await.map_err(store_error)?;
        Ok(Layers { project, claude })
    }
}

/// What users set of a sandbox's variables.
struct Layers {
    project: intent::Env,
    claude: Option<(Claude, Timestamp)>,
}

#[async_trait::async_trait]
impl Control for Controller {
    fn installation(&self) -> Installation {
        let mut installation = self.parts.installation.clone();
        installation.notices = self.parts.live.notices();
        installation
    }

    fn notices(&self, viewer: Option<&Viewer>) -> Vec<String> {
        if viewer.is_some() { self.parts.live.notices() } else { self.parts.live.notices_to_strangers() }
    }

    fn github_signs_in(&self) -> bool {
        self.parts.github_signs_in
    }

    fn has_github(&self) -> bool {
        self.parts.cloner.publisher().github().is_some()
    }

    async fn has_claude_credentials(&self, viewer: &Viewer) -> Result<bool, ControlError> {
        Ok(self.parts.installation.claude_credentials
            || self.parts.store.claude(viewer.user).await.map_err(store_error)?.is_some())
    }

    async fn projects(&self, viewer: &Viewer) -> Result<Vec<ProjectView>, ControlError> {
        let rows = self.parts.store.projects(viewer.user).await.map_err(store_error)?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }

    async fn project(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError> {
        Ok(self.view(&self.row(viewer, id).await?))
    }

    async fn create_project(&self, viewer: &Viewer, new: NewProject, key: Option<String>) -> Result<ProjectView, ControlError> {
        may_change(viewer)?;
        let name = display_name(&new.name)?;
        let env = checked_env(&new.env, "env")?;
        let repository = new.repository.as_ref().map(|repository| self.checked_repository(repository)).transpose()?;
        // What was made by this key is answered whatever the limits say by now.
        if let Some(key) = &key
            && let Some(row) = self.parts.store.created(viewer.user, key, self.now()).await.map_err(store_error)?
        {
            return Ok(self.view(&row));
        }
        if let Err(wait) = self.creations.take(viewer.user) {
            return Err(ControlError::too_many("too-many", "Too many projects were made in a short time.", wait));
        }
        let env = env.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect();
        let row = NewProjectRow { env, preset: new.preset, key, ..self.new_row(viewer, name, new.database) };
        let row = self.make(viewer, row, repository).await?;
        Ok(self.view(&row))
    }

    async fn update_project(&self, viewer: &Viewer, id: ProjectId, patch: ProjectPatch) -> Result<ProjectView, ControlError> {
        may_change(viewer)?;
        let name = patch.name.as_deref().map(display_name).transpose()?;
        if name.is_some() {
            self.may_rename(viewer, id).await?;
        }
        let update = self.parts.store.update(viewer.user, id, name, patch.preset, self.now());
        let row = activity::by(visit::actor(viewer), update).await.map_err(store_error)?;
        let row = row.ok_or_else(ControlError::not_found)?;
        if patch.preset.is_some() {
            self.parts.metrics.asked("resize");
            self.parts.reconciler.nudge(row.sandbox.id);
        }
        Ok(self.view(&row))
    }

    async fn delete_project(&self, viewer: &Viewer, id: ProjectId, typed_name: Option<String>) -> Result<(), ControlError> {
        may_change(viewer)?;
        if let Some(typed) = typed_name {
            let row = self.row(viewer, id).await?;
            if typed.trim() != row.project.name.as_str() {
                let message = "What was typed is not the project's name. Nothing was deleted.";
                let next = format!("Type “{}”.", row.project.name);
                return Err(ControlError::new(ErrorKind::Invalid, "name-differs", message, &next).at("name"));
            }
        }
        let delete = self.parts.store.delete(viewer.user, id, self.now());
        let row = activity::by(visit::actor(viewer), delete).await.map_err(store_error)?;
        let row = row.ok_or_else(ControlError::not_found)?;
        self.parts.metrics.asked("delete");
        info!(project.id = %id, sandbox.name = %row.sandbox.name, "asked to delete the project");
        self.parts.reconciler.nudge(row.sandbox.id);
        Ok(())
    }

    async fn start(&self, viewer: &Viewer, id: ProjectId, key: Option<String>) -> Result<ProjectView, ControlError> {
        may_change(viewer)?;
        self.clone_again(viewer, id).await?;
        self.ask(viewer, id, Ask::Start, key).await
    }

    async fn stop(&self, viewer: &Viewer, id: ProjectId, key: Option<String>) -> Result<ProjectView, ControlError> {
        self.ask(viewer, id, Ask::Stop, key).await
    }

    async fn restart(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError> {
        may_change(viewer)?;
        self.clone_again(viewer, id).await?;
        self.ask(viewer, id, Ask::Restart(BTreeMap::new()), None).await
    }

    async fn create_or_restart(
        &self,
        viewer: &Viewer,
        id: ProjectId,
        env_vars: BTreeMap<String, String>,
        key: Option<String>,
    ) -> Result<ProjectView, ControlError> {
        may_change(viewer)?;
        let request = checked_env(&env_vars, "envVars")?;
        if !request.is_empty() {
            // The limit is of the whole, as the sandbox would get it.
            let own = self.parts.store.env(viewer.user, id).await.map_err(store_error)?.ok_or_else(ControlError::not_found)?;
            let mut whole: BTreeMap<String, String> =
                own.iter().map(|(key, (value, _))| (key.to_string(), value.expose_secret().to_owned())).collect();
            whole.extend(env_vars);
            checked_env(&whole, "envVars")?;
        }
        self.clone_again(viewer, id).await?;
        self.ask(viewer, id, Ask::Restart(request), key).await
    }

    async fn terminate(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError> {
        self.ask(viewer, id, Ask::Terminate, None).await
    }

    async fn env(&self, viewer: &Viewer, id: ProjectId) -> Result<EnvView, ControlError> {
        let row = self.row(viewer, id).await?;
        Ok(self.env_view(&row, &self.layers(viewer, id).await?))
    }

    async fn change_env(&self, viewer: &Viewer, id: ProjectId, change: EnvChange) -> Result<EnvView, ControlError> {
        may_change(viewer)?;
        let set = checked_env(&change.set, "set")?;
        let twice: BTreeSet<&str> =
            change.remove.iter().map(String::as_str).filter(|key| change.set.contains_key(*key)).collect();
        if let Some(key) = twice.first() {
            let message = format!("`{key}` is to be both set and removed.");
            return Err(ControlError::new(ErrorKind::Invalid, "set-and-removed", message, "Name it once.").at("remove"));
        }
        let set = set.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect();
        let change = self.parts.store.change_env(viewer.user, id, set, change.remove, self.now());
        let changed = activity::by(visit::actor(viewer), change).await.map_err(store_error)?;
        let row = changed.ok_or_else(ControlError::not_found)?.map_err(|error| env_error(&error, "set"))?;
        Ok(self.env_view(&row, &self.layers(viewer, id).await?))
    }

    async fn replace_env(&self, viewer: &Viewer, id: ProjectId, all: BTreeMap<String, String>) -> Result<EnvView, ControlError> {
        may_change(viewer)?;
        let all = checked_env(&all, "envVars")?.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect();
        let replace = self.parts.store.replace_env(viewer.user, id, all, self.now());
        let changed = activity::by(visit::actor(viewer), replace).await.map_err(store_error)?;
        let row = changed.ok_or_else(ControlError::not_found)?.map_err(|error| env_error(&error, "envVars"))?;
        Ok(self.env_view(&row, &self.layers(viewer, id).await?))
    }

    async fn database(&self, viewer: &Viewer, id: ProjectId) -> Result<Option<DatabaseView>, ControlError> {
        Ok(self.database_view(viewer, &self.row(viewer, id).await?).await)
    }

    async fn preview_code(&self, viewer: &Viewer, id: ProjectId, port: u16) -> Result<PreviewCode, ControlError> {
        may_change(viewer)?;
        let port: PreviewPort = port.to_string().parse().map_err(|error| port_error(&error))?;
        let (sandbox, name) = match self.parts.store.project(viewer.user, id).await.map_err(store_error)? {
            Some(row) => (row.sandbox.id, row.sandbox.name),
            None => self.shared_with_users(id, port.get()).await?,
        };
        let opener = match visit::credential() {
            Some(Credential::Session(id)) => Opener::Session(id),
            Some(Credential::Token(id)) => Opener::Token(id),
            Some(Credential::Preview { .. } | Credential::Link { .. }) | None => return Err(ControlError::signed_out()),
        };
        let origin = self.preview_origin(sandbox, &name, port.get()).await?;
        let made = self.parts.accounts.make_preview_code(viewer.user, opener, sandbox, port.get(), self.now());
        let made = patient(made).await;
        let code = made.map_err(store_error)?.ok_or_else(ControlError::signed_out)?;
        let url = format!("{origin}/");
        Ok(PreviewCode { action: format!("{url}.fsa/enter"), code: code.expose_secret().to_owned(), url })
    }

    async fn tokens(&self, viewer: &Viewer) -> Result<Vec<TokenView>, ControlError> {
        patient(self.parts.accounts.tokens(viewer.user)).await.map_err(store_error)
    }

    async fn create_token(
        &self,
        viewer: &Viewer,
        name: String,
        scope: Scope,
        days: Option<u32>,
    ) -> Result<NewToken, ControlError> {
        self.create_token_once(viewer, &name, scope, days, None).await
    }

    async fn revoke_token(&self, viewer: &Viewer, id: TokenId) -> Result<(), ControlError> {
        may_change(viewer)?;
        let revoked = patient(self.parts.accounts.revoke_token(viewer.user, id, self.now()));
        if activity::by(visit::actor(viewer), revoked).await.map_err(store_error)? {
            self.parts.watch.look();
            return Ok(());
        }
        Err(ControlError::new(ErrorKind::NotFound, "not-found", "There is no such token.", "Look at the list of your tokens."))
    }
}

impl Controller {
    /// Makes an API token; with a key, once for it within a day.
    ///
    /// # Errors
    /// `403 Forbidden`, `422 Unprocessable Content`; `409 Conflict`: by that key it was made before, and its secret, which is
    /// kept nowhere, is not told again.
    pub async fn create_token_once(
        &self,
        viewer: &Viewer,
        name: &str,
        scope: Scope,
        days: Option<u32>,
        key: Option<String>,
    ) -> Result<NewToken, ControlError> {
        may_change(viewer)?;
        let name: DisplayName = name.parse().map_err(|_| {
            let message = "A token needs a name of 1 to 300 characters on one line, such as the program that will use it.";
            ControlError::new(ErrorKind::Invalid, "bad-token-name", message, "Type one.").at("name")
        })?;
        if days.is_some_and(|days| !(1..=3650).contains(&days)) {
            let message = "A token expires in 1 to 3650 days, or never.";
            return Err(ControlError::new(ErrorKind::Invalid, "bad-expiry", message, "Give a number in that range.").at("days"));
        }
        let (now, actor) = (self.now(), visit::actor(viewer));
        let expires = days.and_then(|days| now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok());
        let maker = visit::maker();
        let (accounts, user, name) = (&self.parts.accounts, viewer.user, name.as_str());
        let made = async {
            match (key, maker) {
                (Some(key), made_by) => {
                    accounts.make_token_once(user, tokens::fresh(name, scope, expires, made_by, now), &key).await
                }
                (None, Some(maker)) => {
                    let made = accounts.make_token_by(maker, user, name, scope, expires, now).await?;
                    Ok(made.map_or(Made::MakerGone, Made::Now))
                }
                (None, None) => accounts.make_token(user, name, scope, expires, now).await.map(Made::Now),
            }
        };
        match activity::by(actor, patient(made)).await.map_err(store_error)? {
            Made::Now(token) => Ok(token),
            Made::Before(id) => Err(token_made_before(id)),
            Made::MakerGone => Err(ControlError::signed_out()),
        }
    }

    /// A page of the viewer's projects, by their ids from the newest on.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn page(&self, viewer: &Viewer, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectView>, ControlError> {
        let rows = self.parts.store.page(viewer.user, before, limit).await.map_err(store_error)?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }
}

fn may_change(viewer: &Viewer) -> Result<(), ControlError> {
    if viewer.scope >= Scope::Write { Ok(()) } else { Err(read_only()) }
}

/// A read token was used to change something.
#[must_use]
pub fn read_only() -> ControlError {
    let message = "This token may look and not change anything: its scope is `read`.";
    ControlError::new(ErrorKind::Forbidden, "read-only", message, "Use a token of scope `write`.")
}

/// `403 Forbidden`: a token asks for what would outlive it.
#[must_use]
pub fn session_only() -> ControlError {
    let message = "No API token may do this: it would open a way to sign in that outlives the token.";
    ControlError::new(ErrorKind::Forbidden, "session-only", message, "Do it in a browser, where you are signed in.")
}

fn token_made_before(id: Option<TokenId>) -> ControlError {
    let message = "A token was made by this key already. Its secret was in the first answer, and is kept nowhere.";
    let which = id.map_or_else(|| "it".to_owned(), |id| format!("the token {id}"));
    let next = format!("Where that answer is lost, revoke {which}, and make another one by another key.");
    ControlError::new(ErrorKind::Conflict, "key-used", message, &next)
}

/// `404 Not Found`: the project was made without.
#[must_use]
pub fn no_database() -> ControlError {
    ControlError::new(ErrorKind::NotFound, "no-database", "This project has no database.", "Make one that has.")
}

fn no_repository() -> ControlError {
    let message = "The project was made without a repository.";
    ControlError::new(ErrorKind::NotFound, "no-repository", message, "Clone one in its terminal.")
}

/// The store's errors, as asks show them. What is not expected is logged here, once.
#[must_use]
pub fn store_error(error: StoreError) -> ControlError {
    match error {
        StoreError::Away(_) => errors::away(error.why()),
        StoreError::NoRoom(_) => errors::store_full(),
        StoreError::Full(have) => {
            let message = format!("You have {have} projects, extra sandboxes counted, and no more are allowed.");
            ControlError::new(ErrorKind::Conflict, "too-many-projects", message, "Delete one that is not needed.")
        }
        StoreError::Refused(why) => conflict(why),
        StoreError::Broken(error) => {
            error!("the store refused a query: {error:#}");
            errors::internal()
        }
    }
}

fn conflict(why: &str) -> ControlError {
    let (message, next) = match why {
        intent::BEING_DELETED => ("The project is being deleted.", "Wait until it is gone, and make a new one."),
        intent::BRANCH_TAKEN => ("The project has a sandbox of that branch already.", "Open that one, or choose another branch."),
        intent::ALREADY_STOPPED => ("The sandbox is stopped already.", "Start it to have it again."),
        intent::ALREADY_TERMINATED => ("The sandbox is terminated already: nothing of it is left.", "Start it to have it again."),
        _ => ("The sandbox cannot do that now.", "Look at its phase."),
    };
    ControlError::new(ErrorKind::Conflict, why, message, next)
}

fn display_name(text: &str) -> Result<DisplayName, ControlError> {
    use model::name::DisplayNameError;
    text.parse().map_err(|error: DisplayNameError| {
        let (code, next) = match error {
            DisplayNameError::Empty => ("name-empty", "Type a name."),
            DisplayNameError::TooLong(_) => ("name-too-long", "Shorten it."),
            DisplayNameError::Control(_) => ("name-control-character", "Take that character out: names are one line of text."),
        };
        ControlError::new(ErrorKind::Invalid, code, error.to_string(), next).at("name")
    })
}

fn checked_env(pairs: &BTreeMap<String, String>, field: &str) -> Result<BTreeMap<EnvKey, String>, ControlError> {
    env::check(pairs).map_err(|error| env_error(&error, field))
}

fn env_error(error: &env::EnvError, field: &str) -> ControlError {
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

/// A port that has no preview.
#[must_use]
pub fn port_error(error: &PortError) -> ControlError {
    match error {
        PortError::NotAPort(_) => {
            ControlError::new(ErrorKind::Malformed, "not-a-port", error.to_string(), "Give a number such as 3000.").at("port")
        }
        PortError::Reserved(_) => {
            ControlError::new(ErrorKind::Forbidden, "port-reserved", error.to_string(), "Choose another port.").at("port")
        }
    }
}
