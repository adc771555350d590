//! What the next run of a sandbox is given: variables, the password of its database, its owner's Claude credentials.

use super::MemoryStore;
use crate::store::{
    ProjectAndSandbox, StoreError, activity,
    claude::Claude,
    intent::{self, EnvEdit},
};
use jiff::Timestamp;
use model::{ProjectId, UserId, env::EnvError};
use secrecy::SecretString;

impl MemoryStore {
    pub(super) async fn write_env(
        &self,
        owner: UserId,
        id: ProjectId,
        edit: EnvEdit,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, EnvError>>, StoreError> {
        self.act(|state| {
            let Some(main) = state.owned(owner, id).map(|row| row.project.main()) else { return Ok(None) };
            let Some(project) = state.projects.get_mut(&main) else { return Ok(None) };
            let delta = match intent::edit_env(&project.env, edit) {
                Ok(delta) => delta,
                Err(error) => return Ok(Some(Err(error))),
            };
            let changes = !delta.is_empty();
            let current = project.env.clone();
            if changes {
                for key in &delta.removed {
                    project.env.remove(key);
                }
                project.env.extend(delta.set.iter().map(|(key, value)| (key.clone(), (value.clone(), now))));
                for project in state.projects.values_mut().filter(|project| project.row.main() == main) {
                    project.row.env_revision += 1;
                    project.row.updated_at = now;
                }
                state.writes += 1;
            }
            let row = state.of_project(id);
            if let Some(row) = row.as_ref().filter(|_| changes) {
                state.told(row, activity::env_changed(row, &current, &delta), now);
                state.family(main).iter().for_each(|row| self.changed(row));
            }
            Ok(row.map(Ok))
        })
        .await
    }

    pub(super) async fn write_password(
        &self,
        owner: UserId,
        id: ProjectId,
        password: SecretString,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let Some(project) = state.projects.get_mut(&id).filter(|project| project.row.owner == owner) else { return Ok(None) };
            let gone = project.row.deleting_since.is_some();
            let Some(database) = project.row.database.as_mut().filter(|_| !gone) else { return Ok(None) };
            database.password = password;
            project.row.env_revision += 1;
            project.row.updated_at = now;
            if let Some(sandbox) = state.sandboxes.get_mut(&project.sandbox) {
                (sandbox.row.version, sandbox.row.wake_at) = (sandbox.row.version + 1, Some(now));
            }
            state.writes += 1;
            let row = state.of_project(id);
            if let Some(row) = &row {
                state.told(row, activity::password_reset(row), now);
                self.changed(row);
            }
            Ok(row)
        })
        .await
    }

    pub(super) async fn write_claude(&self, owner: UserId, claude: Option<Claude>, now: Timestamp) -> Result<bool, StoreError> {
        self.act(|state| {
            let current = state.claude_of(owner);
            if current == claude {
                return Ok(false);
            }
            let entry = activity::claude_changed(current.is_some(), claude.as_ref());
            match claude {
                Some(claude) => state.claude.insert(owner, (claude, now)),
                None => state.claude.remove(&owner),
            };
            let mut own = Vec::new();
            for project in state.projects.values_mut().filter(|project| project.row.owner == owner) {
                project.row.env_revision += 1;
                own.push(project.row.id);
            }
            state.writes += 1;
            state.tell_owner(owner, None, entry, now);
            own.into_iter().filter_map(|id| state.of_project(id)).for_each(|row| self.changed(&row));
            Ok(true)
        })
        .await
    }
}
