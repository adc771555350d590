//! What is cloned into a project: which address, how far its clone is, and what is decided where it failed.

use super::{Controller, may_change, store_error};
use crate::{clone, http::patience::patient, views::CloneFact};
use app::error::{ControlError, ErrorKind};
use engine::store::ProjectAndSandbox;
use model::{
    ProjectId,
    repository::{CloneState, NewRepository, Repository, RepositoryError, RepositoryView},
    view::Viewer,
};

impl Controller {
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

    pub(super) fn checked_repository(&self, new: &NewRepository) -> Result<Repository, ControlError> {
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
    pub(super) async fn clone_again(&self, viewer: &Viewer, id: ProjectId) -> Result<(), ControlError> {
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
}

fn no_repository() -> ControlError {
    let message = "The project was made without a repository.";
    ControlError::new(ErrorKind::NotFound, "no-repository", message, "Clone one in its terminal.")
}
