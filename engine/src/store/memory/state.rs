//! The rows themselves, and what is told of them.

use super::Writes;
use crate::store::{AHEAD, ProjectAndSandbox, ProjectRow, SandboxRow, StoreError, activity::Entry, claude::Claude, intent};
use jiff::Timestamp;
use model::{ProjectId, SandboxId, UserId, activity::ActivityView, stage::after};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) projects: BTreeMap<ProjectId, Project>,
    pub(super) sandboxes: BTreeMap<SandboxId, Sandbox>,
    /// By owner (of a create) or project (of an ask), and key.
    pub(super) keys: BTreeMap<(Uuid, String), (ProjectId, Timestamp)>,
    pub(super) tombstones: BTreeSet<SandboxId>,
    pub(super) claude: BTreeMap<UserId, (Claude, Timestamp)>,
    pub(super) told: Vec<Told>,
    told_ever: i64,
    pub(super) writes: u64,
    pub(super) away: bool,
    /// How many verbs from now the one is that is never answered.
    pub(super) silent_in: Option<usize>,
    pub(super) refuses: Option<Writes>,
    /// How often it did.
    pub(super) refusals: u64,
}

#[derive(Debug)]
pub(super) struct Told {
    pub(super) owner: UserId,
    bucket: Option<String>,
    pub(super) view: ActivityView,
}

#[derive(Debug)]
pub(super) struct Project {
    pub(super) row: ProjectRow,
    pub(super) env: intent::Env,
    pub(super) sandbox: SandboxId,
}

#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) row: SandboxRow,
    pub(super) lease: Option<(String, Timestamp)>,
}

impl State {
    pub(super) fn pair(&self, sandbox: &Sandbox) -> Option<ProjectAndSandbox> {
        let project = self.projects.get(&sandbox.row.project)?.row.clone();
        let mut extras = self.projects.values().filter_map(|other| other.row.extra.as_ref());
        let has_extras = extras.any(|extra| extra.main == project.id);
        Some(ProjectAndSandbox { project: ProjectRow { has_extras, ..project }, sandbox: sandbox.row.clone() })
    }

    /// A project and its extra sandboxes.
    pub(super) fn family(&self, main: ProjectId) -> Vec<ProjectAndSandbox> {
        let ids = self.projects.values().filter(|project| project.row.main() == main).map(|project| project.row.id);
        let mut rows: Vec<_> = ids.filter_map(|id| self.of_project(id)).collect();
        rows.sort_by_key(|row| (row.project.extra.is_some(), row.project.created_at, row.project.id));
        rows
    }

    pub(super) fn of_project(&self, id: ProjectId) -> Option<ProjectAndSandbox> {
        self.pair(self.sandboxes.get(&self.projects.get(&id)?.sandbox)?)
    }

    pub(super) fn of_sandbox(&self, id: SandboxId) -> Option<ProjectAndSandbox> {
        self.pair(self.sandboxes.get(&id)?)
    }

    pub(super) fn owned(&self, owner: UserId, id: ProjectId) -> Option<ProjectAndSandbox> {
        self.of_project(id).filter(|row| row.project.owner == owner)
    }

    pub(super) fn put(&mut self, row: &ProjectAndSandbox) {
        if let Some(project) = self.projects.get_mut(&row.project.id) {
            project.row = row.project.clone();
        }
        if let Some(sandbox) = self.sandboxes.get_mut(&row.sandbox.id) {
            sandbox.row = row.sandbox.clone();
        }
        self.writes += 1;
    }

    /// Keeps what is told; the same bucket of a project is the same row.
    pub(super) fn told(&mut self, row: &ProjectAndSandbox, entry: Entry, now: Timestamp) {
        let entry = entry.storable();
        let (project, bucket) = (row.project.id, &entry.bucket);
        let known = |told: &&mut Told| bucket.is_some() && told.bucket == *bucket && told.view.project_id == Some(project);
        if let Some(told) = self.told.iter_mut().find(known) {
            told.view.times += i64::from(told.view.last_at != now);
            told.view.last_at = told.view.last_at.max(now);
            return;
        }
        self.tell_owner(row.project.owner, Some((project, row.project.name.to_string())), entry, now);
    }

    /// A new row, of a project or of the account.
    pub(super) fn tell_owner(&mut self, owner: UserId, of: Option<(ProjectId, String)>, entry: Entry, now: Timestamp) {
        let Entry { kind, actor, title, detail, data, bucket } = entry;
        self.told_ever += 1;
        let (project_id, project) = of.unzip();
        let view = ActivityView {
            id: self.told_ever,
            project_id,
            project,
            project_deleted: false,
            at: now,
            last_at: now,
            times: 1,
            kind,
            actor,
            title,
            detail,
            data,
        };
        self.told.push(Told { owner, bucket, view });
    }

    pub(super) fn claude_of(&self, owner: UserId) -> Option<Claude> {
        self.claude.get(&owner).map(|(claude, _)| claude.clone())
    }

    /// The project of a key that was seen within [`intent::KEY_LIFE`].
    pub(super) fn seen(&mut self, scope: Uuid, key: &str, now: Timestamp) -> Option<ProjectId> {
        self.keys.retain(|(of, _), (_, at)| *of != scope || after(*at, intent::KEY_LIFE) > now);
        self.keys.get(&(scope, key.to_owned())).map(|(project, _)| *project)
    }

    pub(super) fn may(&mut self, write: Writes) -> Result<(), StoreError> {
        if self.refuses != Some(write) {
            return Ok(());
        }
        self.refusals += 1;
        Err(StoreError::NoRoom(anyhow::anyhow!("made to have no room")))
    }

    /// The holder's own row, if the lease still holds and the version is still the row's.
    pub(super) fn held(&mut self, id: SandboxId, holder: &str, version: i64, now: Timestamp) -> Option<&mut Sandbox> {
        self.sandboxes.get_mut(&id).filter(|sandbox| {
            sandbox.row.version == version && sandbox.lease.as_ref().is_some_and(|(by, until)| by == holder && *until > now)
        })
    }
}

impl Sandbox {
    /// Whether it is leased, as who would lease it from now until `mine` sees it.
    pub(super) fn taken(&self, now: Timestamp, mine: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|(_, until)| *until > now && *until <= after(mine, AHEAD))
    }
}
