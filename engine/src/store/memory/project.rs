//! Projects and their sandboxes as their owner sees them: made, read, asked, deleted.

use super::{
    MemoryStore,
    state::{Project, Sandbox},
};
use crate::store::{
    Ask, Asked, NewProjectRow, ProjectAndSandbox, StoreError, activity,
    intent::{self, Verdict},
};
use jiff::Timestamp;
use model::{DisplayName, ProjectId, ResourceName, Slug, UserId, env::EnvKey, resources::Preset};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};

impl MemoryStore {
    pub(super) async fn create_project(&self, mut new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError> {
        self.act(|state| {
            if let Some(key) = &new.key
                && let Some(row) = state.seen(new.owner.0, key, new.now).and_then(|id| state.of_project(id))
            {
                return Ok((row, false));
            }
            let have = state.projects.values().filter(|project| project.row.owner == new.owner).count();
            if have >= new.most {
                return Err(StoreError::Full(have));
            }
            if state.projects.contains_key(&new.id) || state.sandboxes.contains_key(&new.sandbox) {
                return Err(StoreError::Broken(anyhow::anyhow!("the id is taken")));
            }
            let mut main = None;
            if let Some(extra) = &new.extra {
                let project = state.projects.get(&extra.main).filter(|project| project.row.owner == new.owner);
                let project = project.ok_or(StoreError::Refused(intent::BEING_DELETED))?;
                let family = state.family(extra.main);
                let taken = family.iter().filter_map(|row| Some(row.project.extra.as_ref()?.branch.as_str()));
                intent::inherit(&mut new, &project.row, &project.env, taken)?;
                main = family.into_iter().next();
            }
            let slugs: BTreeSet<Slug> = state.projects.values().map(|project| project.row.slug.clone()).collect();
            let slug = (0..).map(|attempt| Slug::derive(&new.name, attempt)).find(|slug| !slugs.contains(slug));
            let Some(slug) = slug else { return Err(StoreError::Broken(anyhow::anyhow!("no slug is free"))) };
            let mut random = new.random;
            let claude = state.claude_of(new.owner);
            let mut row = intent::create(&new, claude.as_ref(), &self.sizes, slug.clone(), random);
            while state.sandboxes.values().any(|sandbox| sandbox.row.name == row.sandbox.name) {
                random[0] = random[0].wrapping_add(1);
                row = intent::create(&new, claude.as_ref(), &self.sizes, slug.clone(), random);
            }
            let own = new.env.iter().filter(|_| new.extra.is_none());
            let env = own.map(|(key, value)| (key.clone(), (value.clone(), new.now))).collect();
            state.projects.insert(new.id, Project { row: row.project.clone(), env, sandbox: new.sandbox });
            state.sandboxes.insert(new.sandbox, Sandbox { row: row.sandbox.clone(), lease: None });
            if let Some(key) = &new.key {
                state.keys.insert((new.owner.0, key.clone()), (new.id, new.now));
            }
            state.writes += 1;
            for told in [Some(&row), main.as_ref()].into_iter().flatten() {
                state.told(told, activity::created(&row), new.now);
            }
            self.changed(&row);
            Ok((row, true))
        })
        .await
    }

    pub(super) async fn read_projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let ids = state.projects.values().filter(|project| project.row.owner == owner).map(|project| project.row.id);
            let mut rows: Vec<_> = ids.filter_map(|id| state.of_project(id)).collect();
            rows.sort_by_key(|row| std::cmp::Reverse((row.project.created_at, row.project.id)));
            Ok(rows)
        })
        .await
    }

    pub(super) async fn read_page(
        &self,
        owner: UserId,
        before: Option<ProjectId>,
        limit: usize,
    ) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let own = state
                .projects
                .values()
                .filter(|project| project.row.owner == owner && project.row.extra.is_none())
                .map(|project| project.row.id);
            let mut ids: Vec<_> = own.filter(|id| before.is_none_or(|before| *id < before)).collect();
            ids.sort_by_key(|id| std::cmp::Reverse(*id));
            Ok(ids.into_iter().take(limit).filter_map(|id| state.of_project(id)).collect())
        })
        .await
    }

    pub(super) async fn read_by_name(&self, owner: UserId, name: &ResourceName) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let sandbox = state.sandboxes.values().find(|sandbox| sandbox.row.name == *name);
            Ok(sandbox.and_then(|sandbox| state.pair(sandbox)).filter(|row| row.project.owner == owner))
        })
        .await
    }

    pub(super) async fn update_project(
        &self,
        owner: UserId,
        id: ProjectId,
        name: Option<DisplayName>,
        preset: Option<Preset>,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let Some(mut row) = state.owned(owner, id) else { return Ok(None) };
            let name = name.unwrap_or_else(|| row.project.name.clone());
            let preset = preset.unwrap_or(row.project.preset);
            let told = activity::updated(&row, &name, preset);
            if !told.is_empty() {
                for project in state.projects.values_mut().filter(|_| row.project.name != name) {
                    if let Some(extra) = project.row.extra.as_ref().filter(|extra| extra.main == id) {
                        (project.row.name, project.row.updated_at) = (intent::extra_name(&name, &extra.branch), now);
                    }
                }
                (row.project.name, row.project.preset, row.project.updated_at) = (name, preset, now);
                intent::resize(&mut row, &self.sizes, now);
                state.put(&row);
                state.family(id).iter().filter(|extra| extra.project.id != id).for_each(|extra| self.changed(extra));
                for entry in told {
                    state.told(&row, entry, now);
                }
                self.changed(&row);
            }
            Ok(Some(row))
        })
        .await
    }

    pub(super) async fn store_ask(
        &self,
        owner: UserId,
        id: ProjectId,
        ask: Ask,
        key: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Asked>, StoreError> {
        self.act(|state| {
            let Some(mut row) = state.owned(owner, id) else { return Ok(None) };
            if let Some(key) = &key
                && state.seen(id.0, key, now).is_some()
            {
                return Ok(Some(Asked::Same(row)));
            }
            let asked = match intent::decide(&row, &ask, now) {
                Verdict::Refused(why) => return Ok(Some(Asked::Refused(why))),
                Verdict::Same => Asked::Same(row),
                Verdict::Change => {
                    let env = state.projects.get(&row.project.main()).map(|project| plain(&project.env)).unwrap_or_default();
                    intent::apply(&mut row, &ask, &env, state.claude_of(owner).as_ref(), &self.sizes, now);
                    state.put(&row);
                    state.told(&row, activity::asked(&row, &ask), now);
                    self.changed(&row);
                    Asked::Changed(row)
                }
            };
            if let Some(key) = key {
                state.keys.insert((id.0, key), (id, now));
            }
            Ok(Some(asked))
        })
        .await
    }

    pub(super) async fn mark_for_deletion(
        &self,
        owner: UserId,
        id: ProjectId,
        now: Timestamp,
    ) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let Some(mut row) = state.owned(owner, id) else { return Ok(None) };
            if intent::delete(&mut row, now) {
                let family = state.family(row.project.main());
                let main = family.first().filter(|_| row.project.extra.is_some());
                for told in [Some(&row), main].into_iter().flatten() {
                    state.told(told, activity::deleted(&row), now);
                }
                state.put(&row);
                self.changed(&row);
                for mut extra in family.into_iter().filter(|extra| extra.project.main() == id && extra.project.id != id) {
                    if intent::delete(&mut extra, now) {
                        state.put(&extra);
                        state.told(&extra, activity::deleted(&extra), now);
                        self.changed(&extra);
                    }
                }
            }
            Ok(Some(row))
        })
        .await
    }
}

fn plain(env: &intent::Env) -> BTreeMap<EnvKey, SecretString> {
    env.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
}
