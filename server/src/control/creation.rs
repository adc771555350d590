//! What a new project or sandbox is stored with, its ids, names and secrets, and the making of it.

use super::{Controller, store_error};
use crate::{
    http::{auth::visit, patience::patient},
    views::CloneFact,
};
use app::error::{ControlError, ErrorKind};
use engine::store::{DatabaseRow, NewProjectRow, ProjectAndSandbox, StoreError, activity};
use model::{
    DisplayName, ProjectId, ResourceName, SandboxId, Slug,
    repository::{Origin, Repository},
    resources::Preset,
    view::Viewer,
};
use secrecy::SecretString;
use std::collections::BTreeMap;
use tracing::info;
use uuid::Uuid;

/// Of the 36 letters that names have: 190 bits.
pub(super) const PASSWORD_LENGTH: usize = 37;

impl Controller {
    /// A new row's own: ids, names and secrets.
    pub(super) fn new_row(&self, viewer: &Viewer, name: DisplayName, database: bool) -> NewProjectRow {
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
    pub(super) async fn make(
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
            match &made {
                // Where the store is away, the project may be there all the same: then its repository is cloned, else swept.
                Ok((_, true)) | Err(StoreError::Away(_)) => self.parts.cloner.look(),
                Ok((_, false)) | Err(_) => {
                    self.parts.live.cloning(sandbox, CloneFact::Settled);
                    // It is swept later where this fails.
                    let _ = patient(self.parts.cloner.repositories().remove(id)).await;
                }
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

    /// Random bytes, for names and secrets.
    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.parts.random.fill(&mut bytes);
        bytes
    }

    /// Random letters and digits, of those that names have.
    pub(super) fn text(&self, length: usize) -> String {
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
}

pub(super) fn display_name(text: &str) -> Result<DisplayName, ControlError> {
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
