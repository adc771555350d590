//! Rows in memory: the simulator's store, and that of tests that need no PostgreSQL.
//!
//! What a process would lose by dying is not in here: share one [`MemoryStore`] among the processes
//! of a simulation. Every verb yields to the scheduler before and after its one atomic action, so that
//! a caller can be killed at either side of it: before, and nothing was written; after, and it was,
//! but nobody heard.

use super::{
    AHEAD, Ask, Asked, Changed, Leased, NewProjectRow, Pass, ProjectAndSandbox, ProjectRow, SandboxRow, Store, StoreError,
    activity::{self, Entry, Filter},
    claude::Claude,
    intent::{self, EnvEdit, Verdict},
};
use futures::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use model::{
    DisplayName, ProjectId, ResourceName, SandboxId, Slug, UserId,
    activity::ActivityView,
    env::{EnvError, EnvKey},
    resources::{Preset, Sizes},
    stage::after,
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::broadcast, task::yield_now};
use tokio_stream::wrappers::BroadcastStream;
use uuid::Uuid;

/// How many changes a receiver may be behind before its stream ends.
const CHANGES: usize = 1024;

/// Rows in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<Changed>,
    sizes: Sizes,
}

#[derive(Debug, Default)]
struct State {
    projects: BTreeMap<ProjectId, Project>,
    sandboxes: BTreeMap<SandboxId, Sandbox>,
    /// By owner (of a create) or project (of an ask), and key.
    keys: BTreeMap<(Uuid, String), (ProjectId, Timestamp)>,
    tombstones: BTreeSet<SandboxId>,
    claude: BTreeMap<UserId, (Claude, Timestamp)>,
    told: Vec<Told>,
    told_ever: i64,
    writes: u64,
    away: bool,
    /// How many verbs from now the one is that is never answered.
    silent_in: Option<usize>,
    refuses: Option<Writes>,
    /// How often it did.
    refusals: u64,
}

/// What a reconciler writes, and where there is no room for it is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Its leases.
    Leases,
    /// What its passes found.
    Facts,
}

#[derive(Debug)]
struct Told {
    owner: UserId,
    bucket: Option<String>,
    view: ActivityView,
}

#[derive(Debug)]
struct Project {
    row: ProjectRow,
    env: intent::Env,
    sandbox: SandboxId,
}

#[derive(Debug)]
struct Sandbox {
    row: SandboxRow,
    lease: Option<(String, Timestamp)>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Arc::default(), changes: broadcast::channel(CHANGES).0, sizes: Sizes::default() }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same rows, as a process has them in which sizes stand for these amounts.
    #[must_use]
    pub fn with_sizes(self, sizes: Sizes) -> Self {
        Self { sizes, ..self }
    }

    /// How often anything was written, leases aside.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).writes
    }

    /// From now on every verb answers [`StoreError::Away`], or works again.
    pub fn set_away(&self, away: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).away = away;
    }

    /// From now on such writes answer [`StoreError::NoRoom`], or all work again. What is read is.
    pub fn refuse(&self, writes: Option<Writes>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refuses = writes;
    }

    /// How often one was.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refusals
    }

    /// After `verbs` more, one verb does nothing and is never answered, as on a connection that has gone silent.
    pub fn never_answer(&self, verbs: usize) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).silent_in = Some(verbs);
    }

    /// The sandboxes that were buried.
    #[must_use]
    pub fn tombstones(&self) -> BTreeSet<SandboxId> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tombstones.clone()
    }

    /// One atomic action between two yields.
    async fn act<T: Send>(&self, action: impl FnOnce(&mut State) -> Result<T, StoreError> + Send) -> Result<T, StoreError> {
        yield_now().await;
        let silent = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let verbs = state.silent_in.take();
            state.silent_in = verbs.and_then(|verbs| verbs.checked_sub(1));
            verbs == Some(0)
        };
        if silent {
            return std::future::pending().await;
        }
        let done = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.away { Err(StoreError::Away(anyhow::anyhow!("made to be away"))) } else { action(&mut state) }
        };
        yield_now().await;
        done
    }

    async fn edit_env(
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

    /// Nobody listening is no error.
    fn changed(&self, row: &ProjectAndSandbox) {
        let changed = Changed { owner: row.project.owner, project: row.project.id, sandbox: row.sandbox.id, clone: false };
        let _ = self.changes.send(changed);
    }
}

impl State {
    fn pair(&self, sandbox: &Sandbox) -> Option<ProjectAndSandbox> {
        let project = self.projects.get(&sandbox.row.project)?.row.clone();
        let mut extras = self.projects.values().filter_map(|other| other.row.extra.as_ref());
        let has_extras = extras.any(|extra| extra.main == project.id);
        Some(ProjectAndSandbox { project: ProjectRow { has_extras, ..project }, sandbox: sandbox.row.clone() })
    }

    /// A project and its extra sandboxes.
    fn family(&self, main: ProjectId) -> Vec<ProjectAndSandbox> {
        let ids = self.projects.values().filter(|project| project.row.main() == main).map(|project| project.row.id);
        let mut rows: Vec<_> = ids.filter_map(|id| self.of_project(id)).collect();
        rows.sort_by_key(|row| (row.project.extra.is_some(), row.project.created_at, row.project.id));
        rows
    }

    fn of_project(&self, id: ProjectId) -> Option<ProjectAndSandbox> {
        self.pair(self.sandboxes.get(&self.projects.get(&id)?.sandbox)?)
    }

    fn owned(&self, owner: UserId, id: ProjectId) -> Option<ProjectAndSandbox> {
        self.of_project(id).filter(|row| row.project.owner == owner)
    }

    fn put(&mut self, row: &ProjectAndSandbox) {
        if let Some(project) = self.projects.get_mut(&row.project.id) {
            project.row = row.project.clone();
        }
        if let Some(sandbox) = self.sandboxes.get_mut(&row.sandbox.id) {
            sandbox.row = row.sandbox.clone();
        }
        self.writes += 1;
    }

    /// Keeps what is told; the same bucket of a project is the same row.
    fn told(&mut self, row: &ProjectAndSandbox, entry: Entry, now: Timestamp) {
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
    fn tell_owner(&mut self, owner: UserId, of: Option<(ProjectId, String)>, entry: Entry, now: Timestamp) {
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

    fn claude_of(&self, owner: UserId) -> Option<Claude> {
        self.claude.get(&owner).map(|(claude, _)| claude.clone())
    }

    /// The project of a key that was seen within [`intent::KEY_LIFE`].
    fn seen(&mut self, scope: Uuid, key: &str, now: Timestamp) -> Option<ProjectId> {
        self.keys.retain(|(of, _), (_, at)| *of != scope || after(*at, intent::KEY_LIFE) > now);
        self.keys.get(&(scope, key.to_owned())).map(|(project, _)| *project)
    }

    fn may(&mut self, write: Writes) -> Result<(), StoreError> {
        if self.refuses != Some(write) {
            return Ok(());
        }
        self.refusals += 1;
        Err(StoreError::NoRoom(anyhow::anyhow!("made to have no room")))
    }

    /// The holder's own row, if the lease still holds and the version is still the row's.
    fn held(&mut self, id: SandboxId, holder: &str, version: i64, now: Timestamp) -> Option<&mut Sandbox> {
        self.sandboxes.get_mut(&id).filter(|sandbox| {
            sandbox.row.version == version && sandbox.lease.as_ref().is_some_and(|(by, until)| by == holder && *until > now)
        })
    }
}

impl Sandbox {
    /// Whether it is leased, as who would lease it from now until `mine` sees it.
    fn taken(&self, now: Timestamp, mine: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|(_, until)| *until > now && *until <= after(mine, AHEAD))
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    async fn create(&self, mut new: NewProjectRow) -> Result<(ProjectAndSandbox, bool), StoreError> {
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

    async fn created(&self, owner: UserId, key: &str, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| Ok(state.seen(owner.0, key, now).and_then(|id| state.of_project(id)))).await
    }

    async fn projects(&self, owner: UserId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let ids = state.projects.values().filter(|project| project.row.owner == owner).map(|project| project.row.id);
            let mut rows: Vec<_> = ids.filter_map(|id| state.of_project(id)).collect();
            rows.sort_by_key(|row| std::cmp::Reverse((row.project.created_at, row.project.id)));
            Ok(rows)
        })
        .await
    }

    async fn sandboxes(&self, owner: UserId, main: ProjectId) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.act(|state| Ok(state.family(main).into_iter().filter(|row| row.project.owner == owner).collect())).await
    }

    async fn page(&self, owner: UserId, before: Option<ProjectId>, limit: usize) -> Result<Vec<ProjectAndSandbox>, StoreError> {
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

    async fn project(&self, owner: UserId, id: ProjectId) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| Ok(state.owned(owner, id))).await
    }

    async fn by_name(&self, owner: UserId, name: &ResourceName) -> Result<Option<ProjectAndSandbox>, StoreError> {
        self.act(|state| {
            let sandbox = state.sandboxes.values().find(|sandbox| sandbox.row.name == *name);
            Ok(sandbox.and_then(|sandbox| state.pair(sandbox)).filter(|row| row.project.owner == owner))
        })
        .await
    }

    async fn update(
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

    async fn ask(
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

    async fn delete(&self, owner: UserId, id: ProjectId, now: Timestamp) -> Result<Option<ProjectAndSandbox>, StoreError> {
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

    async fn env(&self, owner: UserId, id: ProjectId) -> Result<Option<BTreeMap<EnvKey, (SecretString, Timestamp)>>, StoreError> {
        self.act(|state| {
            let main = state.owned(owner, id).map(|row| row.project.main());
            Ok(main.and_then(|main| state.projects.get(&main)).map(|project| project.env.clone()))
        })
        .await
    }

    async fn change_env(
        &self,
        owner: UserId,
        id: ProjectId,
        set: BTreeMap<EnvKey, SecretString>,
        remove: Vec<String>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, EnvError>>, StoreError> {
        self.edit_env(owner, id, EnvEdit::Change(set, remove), now).await
    }

    async fn replace_env(
        &self,
        owner: UserId,
        id: ProjectId,
        all: BTreeMap<EnvKey, SecretString>,
        now: Timestamp,
    ) -> Result<Option<Result<ProjectAndSandbox, EnvError>>, StoreError> {
        self.edit_env(owner, id, EnvEdit::Replace(all), now).await
    }

    async fn reset_password(
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

    async fn claude(&self, owner: UserId) -> Result<Option<(Claude, Timestamp)>, StoreError> {
        self.act(|state| Ok(state.claude.get(&owner).cloned())).await
    }

    async fn set_claude(&self, owner: UserId, claude: Option<Claude>, now: Timestamp) -> Result<bool, StoreError> {
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

    async fn lease_due(
        &self,
        holder: &str,
        now: Timestamp,
        hold: Duration,
        limit: usize,
        except: &[SandboxId],
    ) -> Result<Vec<Leased>, StoreError> {
        self.act(|state| {
            state.may(Writes::Leases)?;
            let until = after(now, hold);
            let past = |at: Timestamp| at <= now || at > after(now, AHEAD);
            let due = |sandbox: &&Sandbox| {
                sandbox.row.wake_at.is_some_and(past) && !sandbox.taken(now, until) && !except.contains(&sandbox.row.id)
            };
            let mut ids: Vec<_> =
                state.sandboxes.values().filter(due).map(|sandbox| (sandbox.row.wake_at, sandbox.row.id)).collect();
            ids.sort();
            ids.truncate(limit);
            let mut leased = Vec::with_capacity(ids.len());
            for (_, id) in ids {
                if let Some(sandbox) = state.sandboxes.get_mut(&id) {
                    sandbox.lease = Some((holder.to_owned(), until));
                }
                if let Some(row) = state.sandboxes.get(&id).and_then(|sandbox| state.pair(sandbox)) {
                    leased.push(Leased { row, until });
                }
            }
            Ok(leased)
        })
        .await
    }

    async fn lease(&self, id: SandboxId, holder: &str, now: Timestamp, hold: Duration) -> Result<Option<Leased>, StoreError> {
        self.act(|state| {
            state.may(Writes::Leases)?;
            let until = after(now, hold);
            let Some(sandbox) = state.sandboxes.get_mut(&id) else { return Ok(None) };
            if sandbox.taken(now, until) && sandbox.lease.as_ref().is_some_and(|(by, _)| by != holder) {
                return Ok(None);
            }
            sandbox.lease = Some((holder.to_owned(), until));
            let row = state.sandboxes.get(&id).and_then(|sandbox| state.pair(sandbox));
            Ok(row.map(|row| Leased { row, until }))
        })
        .await
    }

    async fn record(
        &self,
        id: SandboxId,
        holder: &str,
        version: i64,
        pass: &Pass,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        self.act(|state| {
            state.may(Writes::Facts)?;
            let Some(sandbox) = state.held(id, holder, version, now) else { return Ok(None) };
            let row = &mut sandbox.row;
            let seen = row.observed != pass.observed || row.cause != pass.cause;
            let unseen = row.last_error != pass.last_error || row.failures != pass.failures || row.wake_at != pass.wake_at;
            if !seen && !unseen {
                return Ok(Some(version));
            }
            row.observed = pass.observed.clone();
            row.cause = pass.cause.clone();
            row.last_error = pass.last_error.clone();
            row.failures = pass.failures;
            row.wake_at = pass.wake_at;
            row.version += 1;
            if seen {
                row.changed_at = now;
            }
            let version = row.version;
            state.writes += 1;
            if let Some(row) = state.sandboxes.get(&id).and_then(|sandbox| state.pair(sandbox)) {
                for entry in &pass.told {
                    state.told(&row, entry.clone(), now);
                }
                if seen {
                    self.changed(&row);
                }
            }
            Ok(Some(version))
        })
        .await
    }

    async fn release(&self, id: SandboxId, holder: &str) -> Result<(), StoreError> {
        self.act(|state| {
            if let Some(sandbox) = state.sandboxes.get_mut(&id)
                && sandbox.lease.as_ref().is_some_and(|(by, _)| by == holder)
            {
                sandbox.lease = None;
            }
            Ok(())
        })
        .await
    }

    async fn bury(&self, id: SandboxId, holder: &str, version: i64, now: Timestamp) -> Result<bool, StoreError> {
        self.act(|state| {
            if state.held(id, holder, version, now).is_none() {
                return Ok(false);
            }
            let row = state.sandboxes.get(&id).and_then(|sandbox| state.pair(sandbox));
            let Some(row) = row.filter(|row| row.project.deleting_since.is_some()) else { return Ok(false) };
            state.told(&row, activity::buried(row.project.deleting_since.unwrap_or(now), now), now);
            state.sandboxes.remove(&id);
            state.projects.remove(&row.project.id);
            state.keys.retain(|_, (project, _)| *project != row.project.id);
            state.tombstones.insert(id);
            state.writes += 1;
            self.changed(&row);
            Ok(true)
        })
        .await
    }

    async fn next_wake(&self, except: &[SandboxId]) -> Result<Option<Timestamp>, StoreError> {
        self.act(|state| {
            let due = |sandbox: &Sandbox| {
                let until = sandbox.lease.as_ref().map(|(_, until)| *until);
                sandbox.row.wake_at.map(|at| until.map_or(at, |until| until.max(at)))
            };
            Ok(state.sandboxes.values().filter(|sandbox| !except.contains(&sandbox.row.id)).filter_map(due).min())
        })
        .await
    }

    async fn all(&self) -> Result<Vec<ProjectAndSandbox>, StoreError> {
        self.act(|state| Ok(state.sandboxes.values().filter_map(|sandbox| state.pair(sandbox)).collect())).await
    }

    async fn tell(&self, id: SandboxId, entry: Entry, now: Timestamp) -> Result<(), StoreError> {
        self.act(|state| {
            if let Some(row) = state.sandboxes.get(&id).and_then(|sandbox| state.pair(sandbox)) {
                state.told(&row, entry, now);
            }
            Ok(())
        })
        .await
    }

    async fn activity(&self, owner: UserId, filter: &Filter) -> Result<Vec<ActivityView>, StoreError> {
        self.act(|state| {
            let own = state.told.iter().filter(|told| told.owner == owner && matches(filter, &told.view));
            let mut found: Vec<_> = own.map(|told| told.view.clone()).collect();
            found.sort_by_key(|view| std::cmp::Reverse(view.id));
            found.truncate(filter.limit);
            for view in &mut found {
                view.project_deleted = view.project_id.is_some_and(|id| !state.projects.contains_key(&id));
            }
            Ok(found)
        })
        .await
    }

    async fn forget_activity(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.act(|state| {
            let all = state.told.len();
            state.told.retain(|told| told.view.last_at >= before);
            Ok((all - state.told.len()) as u64)
        })
        .await
    }

    fn changes(&self) -> BoxStream<'static, Changed> {
        let changes = BroadcastStream::new(self.changes.subscribe());
        changes
            .take_while(|change| std::future::ready(change.is_ok()))
            .filter_map(|change| std::future::ready(change.ok()))
            .boxed()
    }
}

fn matches(filter: &Filter, view: &ActivityView) -> bool {
    let Filter { project, kinds, actor, since, search, before, limit: _ } = filter;
    let words = || format!("{} {}", view.title, view.detail.as_deref().unwrap_or_default()).to_lowercase();
    project.is_none_or(|project| Some(project) == view.project_id)
        && (kinds.is_empty() || kinds.contains(&view.kind))
        && actor.as_ref().is_none_or(|actor| {
            *actor == view.actor.name || actor == view.actor.via.as_str() || view.actor.token.as_ref() == Some(actor)
        })
        && since.is_none_or(|since| view.last_at >= since)
        && search.as_ref().is_none_or(|search| words().contains(&search.to_lowercase()))
        && before.is_none_or(|before| view.id < before)
}

fn plain(env: &intent::Env) -> BTreeMap<EnvKey, SecretString> {
    env.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Subject;

    async fn subject() -> Option<Subject> {
        let rows = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(rows.clone());
        let owners = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
        let sized = Box::new(move |sizes| Arc::new(rows.clone().with_sizes(sizes)) as Arc<dyn Store>);
        Some(Subject { other: store.clone(), store, sized, owners })
    }

    crate::store_contract!(subject);

    #[tokio::test]
    async fn a_receiver_that_falls_behind_is_told_by_the_streams_end() {
        let store = MemoryStore::new();
        let mut changes = store.changes();
        let (owner, project, sandbox) = (UserId(Uuid::nil()), ProjectId(Uuid::nil()), SandboxId(Uuid::nil()));
        let changed = Changed { owner, project, sandbox, clone: false };
        for _ in 0..=CHANGES {
            store.changes.send(changed).unwrap();
        }
        assert_eq!(changes.next().await, None);
    }

    #[tokio::test]
    async fn a_store_that_is_away_says_so() {
        let store = MemoryStore::new();
        store.set_away(true);
        assert!(matches!(store.all().await, Err(StoreError::Away(_))));
        store.set_away(false);
        assert!(store.all().await.unwrap().is_empty());
    }
}
