//! The verbs of [`Control`], as pages and REST ask them.

use super::{
    Controller, conflict,
    creation::display_name,
    may_change, port_error, store_error,
    variables::{checked_env, env_error},
};
use crate::http::{
    auth::{visit, watch::Credential},
    patience::patient,
};
use app::{
    control::Control,
    error::{ControlError, ErrorKind},
};
use engine::store::{Ask, Asked, NewProjectRow, accounts::previews::Opener, activity};
use model::{
    ProjectId, TokenId,
    port::PreviewPort,
    view::{
        DatabaseView, EnvChange, EnvView, Installation, NewProject, NewToken, PreviewCode, ProjectPatch, ProjectView, Scope,
        TokenView, Viewer,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::{BTreeMap, BTreeSet};
use tracing::info;

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
}
