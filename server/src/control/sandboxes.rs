//! Extra sandboxes of a project. Each is a row as the project's own (docs/architecture.md), so that all that can be
//! asked of a project by its id can be asked of one of these by its own; here is what is theirs alone.

use super::{Controller, conflict, may_change, store_error};
use crate::http::patience::patient;
use app::{
    control::Control as _,
    error::{ControlError, ErrorKind},
};
use engine::store::{Extra, NewProjectRow, ProjectAndSandbox, intent};
use model::{
    ProjectId,
    repository::{CloneState, Repository, is_ref},
    view::{ProjectView, Viewer},
};

/// One of those that belong to a project.
pub struct Belonging {
    /// Its state.
    pub view: ProjectView,
    /// Its branch; `None` for the main one.
    pub branch: Option<String>,
}

impl Controller {
    fn belonging(&self, row: &ProjectAndSandbox) -> Belonging {
        Belonging { view: self.view(row), branch: row.project.extra.as_ref().map(|extra| extra.branch.clone()) }
    }

    /// A project's sandboxes, the main one first and then oldest first; by the id of any of them.
    ///
    /// # Errors
    /// `404 Not Found`, `503 Service Unavailable`.
    pub async fn sandboxes(&self, viewer: &Viewer, id: ProjectId) -> Result<Vec<Belonging>, ControlError> {
        let main = self.row(viewer, id).await?.project.main();
        let rows = self.parts.store.sandboxes(viewer.user, main).await.map_err(store_error)?;
        Ok(rows.iter().map(|row| self.belonging(row)).collect())
    }

    /// Makes a sandbox for a branch, with a volume and, where the project has one, a database of its own, and asks for it
    /// to run. What the project was made from is cloned into it; the branch is made from `from` where the repository has
    /// none of that name. The same key again within a day: the same sandbox.
    ///
    /// # Errors
    /// `404 Not Found`; `409 Conflict` for too many, a second one of a branch, or a project that is being deleted;
    /// `422 Unprocessable Content` for what is no branch; `429 Too Many Requests`.
    pub async fn create_sandbox(
        &self,
        viewer: &Viewer,
        id: ProjectId,
        branch: &str,
        from: Option<&str>,
        key: Option<String>,
    ) -> Result<Belonging, ControlError> {
        may_change(viewer)?;
        let asked = self.row(viewer, id).await?;
        let main = asked.project.main();
        let branch = a_branch(branch, "bad-branch", "branch")?;
        let from = from.filter(|from| !from.trim().is_empty()).map(|from| a_branch(from, "bad-from", "from")).transpose()?;
        // Of this project: the same key of the owner's may have made another.
        let key = key.map(|key| format!("sandbox of {main}: {key}"));
        if let Some(key) = &key
            && let Some(row) = self.parts.store.created(viewer.user, key, self.now()).await.map_err(store_error)?
        {
            return Ok(self.belonging(&row));
        }
        if asked.project.deleting_since.is_some() {
            return Err(conflict(intent::BEING_DELETED));
        }
        let cloned = patient(self.parts.cloner.repositories().of(main)).await.map_err(store_error)?;
        let cloned = cloned.filter(|of| of.state != CloneState::Skipped);
        if cloned.is_none() && from.is_some() {
            let message = "The project has no repository, so there is no branch to begin from.";
            let next = "Leave it out: the sandbox then starts with an empty home folder.";
            return Err(ControlError::new(ErrorKind::Invalid, "no-repository", message, next).at("from"));
        }
        if let Err(wait) = self.creations.take(viewer.user) {
            return Err(ControlError::too_many("too-many", "Too many sandboxes were made in a short time.", wait));
        }
        let repository = cloned.map(|of| Repository {
            url: of.url,
            branch: from.or(of.branch),
            depth: of.depth,
            checkout: Some(branch.clone()),
            folder: of.folder,
        });
        let name = intent::extra_name(&asked.project.name, &branch);
        let row = self.new_row(viewer, name, asked.project.database.is_some());
        let row = NewProjectRow { extra: Some(Extra { main, branch }), key, ..row };
        Ok(self.belonging(&self.make(viewer, row, repository).await?))
    }

    /// Removes one with its files and its database.
    ///
    /// # Errors
    /// `404 Not Found`: the project has none of that id; `409 Conflict`: it is the main one.
    pub async fn remove_sandbox(&self, viewer: &Viewer, id: ProjectId, sandbox: ProjectId) -> Result<(), ControlError> {
        may_change(viewer)?;
        let (asked, row) = (self.row(viewer, id).await?, self.row(viewer, sandbox).await?);
        if asked.project.main() != row.project.main() {
            return Err(ControlError::not_found());
        }
        if row.project.extra.is_none() {
            let message = "This is the project's main sandbox, which stays as long as the project does.";
            let next = "Stop or terminate it, or delete the project.";
            return Err(ControlError::new(ErrorKind::Conflict, "main-sandbox", message, next));
        }
        self.delete_project(viewer, sandbox, None).await
    }

    /// An extra sandbox is named by its project and its branch.
    pub(super) async fn may_rename(&self, viewer: &Viewer, id: ProjectId) -> Result<(), ControlError> {
        if self.row(viewer, id).await?.project.extra.is_none() {
            return Ok(());
        }
        let message = "An extra sandbox is called after its project and its branch.";
        Err(ControlError::new(ErrorKind::Invalid, "extra-sandbox", message, "Rename the project: its sandboxes follow.")
            .at("name"))
    }
}

fn a_branch(text: &str, code: &str, field: &str) -> Result<String, ControlError> {
    let text = text.trim();
    // git makes no branch of that name.
    if is_ref(text) && text != "HEAD" {
        return Ok(text.to_owned());
    }
    let message = "That is no name of a branch, as git has them.";
    Err(ControlError::new(ErrorKind::Invalid, code, message, "Use letters, digits, `-`, `_`, `.` and `/`.").at(field))
}
