//! The rules of intent, the same for every store: what a new project's rows are, what an ask comes
//! to, what a change of variables changes. Pure functions of rows; no I/O.

use super::{Ask, NewProjectRow, ProjectAndSandbox, ProjectRow, SandboxRow, StoreError, claude::Claude};
use jiff::Timestamp;
use model::{
    Desired, DisplayName, Observed, Phase, ResourceName, Slug,
    claude::is_credential,
    env::{EnvError, EnvKey},
    resources::Sizes,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, time::Duration};

/// How long an `Idempotency-Key` is remembered. A day: clients retry within minutes, and a key that
/// is kept for ever only grows the table.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why an ask is refused while its project is being deleted.
pub const BEING_DELETED: &str = "being-deleted";
/// Why there is no second extra sandbox of a branch.
pub const BRANCH_TAKEN: &str = "branch-taken";
/// Why a stop is refused once it is stopped.
pub const ALREADY_STOPPED: &str = "already-stopped";
/// Why a stop or termination is refused once nothing is left.
pub const ALREADY_TERMINATED: &str = "already-terminated";

/// What an ask comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is intended already.
    Same,
    /// It cannot apply now, and why.
    Refused(&'static str),
    /// A new generation: [`apply`].
    Change,
}

/// The rows of a new project, desired Running in generation 1, due at once. `slug` is a free one, `claude`
/// the owner's Claude credentials.
#[must_use]
pub fn create(
    new: &NewProjectRow,
    claude: Option<&Claude>,
    sizes: &Sizes,
    slug: Slug,
    random: [u8; ResourceName::SUFFIX],
) -> ProjectAndSandbox {
    let name = ResourceName::new(&slug, random);
    let project = ProjectRow {
        id: new.id,
        owner: new.owner,
        name: new.name.clone(),
        slug,
        preset: new.preset,
        env_revision: new.env_revision,
        created_at: new.now,
        updated_at: new.now,
        deleting_since: None,
        database: new.database.clone(),
        extra: new.extra.clone(),
        repository: None,
        has_extras: false,
    };
    let sandbox = SandboxRow {
        id: new.sandbox,
        project: new.id,
        name,
        desired: Desired::Running,
        generation: 1,
        asked_at: new.now,
        restart_count: 1,
        preset: new.preset,
        resources: sizes.of(new.preset),
        env: new.env.clone(),
        claude: claude.cloned(),
        env_revision: new.env_revision,
        resizes: false,
        agent_token: new.agent_token.clone(),
        observed: Observed::default(),
        cause: None,
        last_error: None,
        failures: 0,
        version: 1,
        wake_at: Some(new.now),
        changed_at: new.now,
    };
    ProjectAndSandbox { project, sandbox }
}

/// What an extra sandbox is called: after its project and its branch.
#[must_use]
pub fn extra_name(project: &DisplayName, branch: &str) -> DisplayName {
    DisplayName::stored(format!("{project} / {branch}"))
}

/// Gives a new extra sandbox what it has of its project, whose row is `main`, and whose extra sandboxes have
/// the branches `taken`.
///
/// # Errors
/// [`StoreError::Refused`].
pub fn inherit<'a>(
    new: &mut NewProjectRow,
    main: &ProjectRow,
    env: &Env,
    mut taken: impl Iterator<Item = &'a str>,
) -> Result<(), StoreError> {
    let Some(extra) = &new.extra else { return Ok(()) };
    if main.deleting_since.is_some() {
        return Err(StoreError::Refused(BEING_DELETED));
    }
    if taken.any(|branch| branch == extra.branch) {
        return Err(StoreError::Refused(BRANCH_TAKEN));
    }
    new.name = extra_name(&main.name, &extra.branch);
    new.preset = main.preset;
    new.env = env.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
    new.env_revision = main.env_revision;
    Ok(())
}

/// What an ask comes to, for the rows as they are.
#[must_use]
pub fn decide(row: &ProjectAndSandbox, ask: &Ask, now: Timestamp) -> Verdict {
    let sandbox = &row.sandbox;
    if row.project.deleting_since.is_some() {
        return Verdict::Refused(BEING_DELETED);
    }
    let phase = || sandbox.phase(now);
    match (ask, sandbox.desired) {
        // Repeated while it goes on, it is the same ask; afterwards there is nothing to do.
        (Ask::Stop, Desired::Stopped) if phase() == Phase::Stopped => Verdict::Refused(ALREADY_STOPPED),
        (Ask::Terminate, Desired::Terminated) if phase() == Phase::Terminated => Verdict::Refused(ALREADY_TERMINATED),
        (Ask::Start, Desired::Running) | (Ask::Stop, Desired::Stopped) | (Ask::Terminate, Desired::Terminated) => Verdict::Same,
        (Ask::Stop, Desired::Terminated) => Verdict::Refused(ALREADY_TERMINATED),
        // Variables that the run on its way does not have would otherwise be accepted and lost.
        (Ask::Restart(request), Desired::Running) => match phase() {
            Phase::Creating | Phase::Starting | Phase::Updating if has_all(&sandbox.env, request) => Verdict::Same,
            _ => Verdict::Change,
        },
        (Ask::Start | Ask::Restart(_) | Ask::Stop | Ask::Terminate, _) => Verdict::Change,
    }
}

fn has_all(frozen: &BTreeMap<EnvKey, SecretString>, request: &BTreeMap<EnvKey, String>) -> bool {
    request.iter().all(|(key, value)| frozen.get(key).is_some_and(|frozen| frozen.expose_secret() == value))
}

/// Carries out an ask whose verdict was [`Verdict::Change`]: the next generation. A new run freezes
/// the project's size, as `sizes` has it now, and variables (`env`), with the request's on top, and the owner's
/// Claude credentials.
pub fn apply(
    row: &mut ProjectAndSandbox,
    ask: &Ask,
    env: &BTreeMap<EnvKey, SecretString>,
    claude: Option<&Claude>,
    sizes: &Sizes,
    now: Timestamp,
) {
    let request = match ask {
        Ask::Start => Some(None),
        Ask::Restart(request) => Some(Some(request)),
        Ask::Stop | Ask::Terminate => None,
    };
    let sandbox = &mut row.sandbox;
    if let Some(request) = request {
        sandbox.restart_count += 1;
        sandbox.preset = row.project.preset;
        sandbox.resources = sizes.of(sandbox.preset);
        sandbox.env_revision = row.project.env_revision;
        sandbox.claude = claude.cloned();
        sandbox.env = env.clone();
        // As in [`model::env::merge`]: of a key and a token, the later one's is the only one.
        if request.is_some_and(|request| request.keys().any(|key| is_credential(key.as_str()))) {
            sandbox.env.retain(|key, _| !is_credential(key.as_str()));
        }
        sandbox.env.extend(request.into_iter().flatten().map(|(key, value)| (key.clone(), SecretString::from(value.as_str()))));
    }
    let desired = match ask {
        Ask::Start | Ask::Restart(_) => Desired::Running,
        Ask::Stop => Desired::Stopped,
        Ask::Terminate => Desired::Terminated,
    };
    next_generation(sandbox, desired, now);
}

/// Has a sandbox that is to be up go on in a run of its project's size, with the variables that it has:
/// those that changed since wait for a restart. `false` if there is nothing to do: it is not to be up, or
/// is of that size.
pub fn resize(row: &mut ProjectAndSandbox, sizes: &Sizes, now: Timestamp) -> bool {
    if !is_resized(row) {
        return false;
    }
    let sandbox = &mut row.sandbox;
    let resizes = matches!(sandbox.phase(now), Phase::Running | Phase::Updating);
    sandbox.restart_count += 1;
    sandbox.preset = row.project.preset;
    sandbox.resources = sizes.of(sandbox.preset);
    next_generation(sandbox, Desired::Running, now);
    sandbox.resizes = resizes;
    true
}

/// Whether [`resize`] has something to do. Another size counts, and no other amounts of the same: those wait
/// for the next start.
#[must_use]
pub fn is_resized(row: &ProjectAndSandbox) -> bool {
    let (project, sandbox) = (&row.project, &row.sandbox);
    project.deleting_since.is_none() && sandbox.desired == Desired::Running && sandbox.preset != project.preset
}

/// Marks for deletion: the sandbox is to be gone, and the row due at once. `false` if it was marked
/// before.
pub fn delete(row: &mut ProjectAndSandbox, now: Timestamp) -> bool {
    if row.project.deleting_since.is_some() {
        return false;
    }
    row.project.deleting_since = Some(now);
    next_generation(&mut row.sandbox, Desired::Terminated, now);
    true
}

/// Facts stay: they are of the world, not of the ask. Cause and failures are of the older ask.
fn next_generation(sandbox: &mut SandboxRow, desired: Desired, now: Timestamp) {
    sandbox.desired = desired;
    sandbox.generation += 1;
    sandbox.resizes = false;
    sandbox.asked_at = now;
    sandbox.cause = None;
    sandbox.last_error = None;
    sandbox.failures = 0;
    sandbox.wake_at = Some(now);
    sandbox.version += 1;
    sandbox.changed_at = now;
}

/// A project's variables, with when each was last set.
pub type Env = BTreeMap<EnvKey, (SecretString, Timestamp)>;

/// What a change of variables comes to. Empty if it changes nothing.
#[derive(Debug, Default)]
pub struct EnvDelta {
    /// New, or of another value.
    pub set: BTreeMap<EnvKey, SecretString>,
    /// There, and to be removed.
    pub removed: Vec<EnvKey>,
}

impl EnvDelta {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// What a change of variables is asked to be.
#[derive(Debug)]
pub enum EnvEdit {
    /// These set, those removed, the rest as it is. A key in both is set.
    Change(BTreeMap<EnvKey, SecretString>, Vec<String>),
    /// These and no others.
    Replace(BTreeMap<EnvKey, SecretString>),
}

/// What an edit changes.
///
/// # Errors
/// As [`change_env`].
pub fn edit_env(current: &Env, edit: EnvEdit) -> Result<EnvDelta, EnvError> {
    match edit {
        EnvEdit::Change(set, remove) => change_env(current, set, &remove),
        EnvEdit::Replace(all) => {
            let remove: Vec<String> = current.keys().filter(|key| !all.contains_key(*key)).map(EnvKey::to_string).collect();
            change_env(current, all, &remove)
        }
    }
}

/// What setting `set` and removing `remove` changes. A key in both is set.
///
/// # Errors
/// The whole environment as it would be breaks a rule of [`model::env::check`].
pub fn change_env(current: &Env, set: BTreeMap<EnvKey, SecretString>, remove: &[String]) -> Result<EnvDelta, EnvError> {
    let mut whole: BTreeMap<String, String> =
        current.iter().map(|(key, (value, _))| (key.to_string(), value.expose_secret().to_owned())).collect();
    for key in remove {
        whole.remove(key);
    }
    whole.extend(set.iter().map(|(key, value)| (key.to_string(), value.expose_secret().to_owned())));
    model::env::check(&whole)?;

    let removed = current.keys().filter(|key| !whole.contains_key(key.as_str())).cloned().collect();
    let set = set
        .into_iter()
        .filter(|(key, value)| current.get(key).is_none_or(|(old, _)| old.expose_secret() != value.expose_secret()))
        .collect();
    Ok(EnvDelta { set, removed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::least;
    use model::{
        Cause, CauseCode, ProjectId, SandboxId, StageFact, UserId,
        resources::{Preset, Resources},
    };
    use uuid::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn row() -> ProjectAndSandbox {
        let new = NewProjectRow {
            id: ProjectId(Uuid::from_u128(1)),
            owner: UserId(Uuid::from_u128(2)),
            sandbox: SandboxId(Uuid::from_u128(3)),
            ..least(at(0))
        };
        create(&new, None, &Sizes::default(), Slug::derive(&new.name, 0), new.random)
    }

    fn with(desired: Desired) -> ProjectAndSandbox {
        let mut row = row();
        row.sandbox.desired = desired;
        row
    }

    fn running() -> ProjectAndSandbox {
        let mut row = row();
        row.sandbox.observed = Observed {
            generation: 1,
            present: true,
            stages: [StageFact { started_at: Some(at(0)), ended_at: Some(at(1)), ..StageFact::default() }; 5],
            first_ready_at: Some(at(1)),
            ready_at: Some(at(1)),
            ..Observed::default()
        };
        row
    }

    fn restart() -> Ask {
        Ask::Restart(BTreeMap::new())
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<EnvKey, SecretString> {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), SecretString::from(*v))).collect()
    }

    fn claude(secret: &str) -> Claude {
        Claude { kind: model::claude::ClaudeKind::ApiKey, secret: SecretString::from(secret), base_url: None }
    }

    #[test]
    fn the_table_of_asks() {
        use Verdict::{Change, Refused, Same};
        let table = [
            (Desired::Running, Ask::Start, Same),
            (Desired::Running, restart(), Same),
            (Desired::Running, Ask::Stop, Change),
            (Desired::Running, Ask::Terminate, Change),
            (Desired::Stopped, Ask::Start, Change),
            (Desired::Stopped, restart(), Change),
            (Desired::Stopped, Ask::Stop, Same),
            (Desired::Stopped, Ask::Terminate, Change),
            (Desired::Terminated, Ask::Start, Change),
            (Desired::Terminated, restart(), Change),
            (Desired::Terminated, Ask::Stop, Refused(ALREADY_TERMINATED)),
            (Desired::Terminated, Ask::Terminate, Same),
        ];
        for (desired, ask, verdict) in table {
            assert_eq!(decide(&with(desired), &ask, at(1)), verdict, "{desired:?} {ask:?}");
            let mut deleting = with(desired);
            assert!(delete(&mut deleting, at(1)));
            assert_eq!(decide(&deleting, &ask, at(1)), Refused(BEING_DELETED), "{desired:?} {ask:?}");
        }
    }

    #[test]
    fn a_restart_is_a_new_run_once_it_is_up_or_in_error() {
        assert_eq!(decide(&running(), &restart(), at(2)), Verdict::Change);
        assert_eq!(decide(&running(), &Ask::Start, at(2)), Verdict::Same);

        let mut blocked = row();
        blocked.sandbox.observed.generation = 1;
        blocked.sandbox.cause = Some(Cause::new(CauseCode::IsolationMissing, "m", &[]));
        assert_eq!(decide(&blocked, &restart(), at(2)), Verdict::Change);

        let mut slow = row();
        slow.sandbox.observed.generation = 1;
        slow.sandbox.observed.stages[1] =
            StageFact { started_at: Some(at(0)), deadline_at: Some(at(10)), ..StageFact::default() };
        assert_eq!(decide(&slow, &restart(), at(9)), Verdict::Same);
        assert_eq!(decide(&slow, &restart(), at(10)), Verdict::Change);
    }

    #[test]
    fn variables_that_come_while_it_starts_are_a_new_run() {
        let with = |value: &str| Ask::Restart([("KEY".parse().unwrap(), value.to_owned())].into());
        let mut starting = row();
        assert_eq!(decide(&starting, &with("1"), at(1)), Verdict::Change, "they would be lost");
        apply(&mut starting, &with("1"), &BTreeMap::new(), None, &Sizes::default(), at(1));
        assert_eq!(decide(&starting, &with("1"), at(2)), Verdict::Same, "it is on its way with them");
        assert_eq!(decide(&starting, &with("2"), at(2)), Verdict::Change);
        assert_eq!(decide(&starting, &restart(), at(2)), Verdict::Same);
    }

    #[test]
    fn what_is_down_already_is_not_asked_down_again() {
        let gone = |desired| {
            let mut row = with(desired);
            row.sandbox.observed = Observed { generation: 1, gone_at: Some(at(1)), ..Observed::default() };
            row
        };
        assert_eq!(decide(&gone(Desired::Stopped), &Ask::Stop, at(2)), Verdict::Refused(ALREADY_STOPPED));
        assert_eq!(decide(&gone(Desired::Terminated), &Ask::Terminate, at(2)), Verdict::Refused(ALREADY_TERMINATED));
        assert_eq!(decide(&with(Desired::Stopped), &Ask::Stop, at(2)), Verdict::Same, "it goes on");
    }

    #[test]
    fn a_replacement_removes_what_it_does_not_name() {
        let current: Env = env(&[("A", "1"), ("B", "2")]).into_iter().map(|(k, v)| (k, (v, at(0)))).collect();
        let delta = edit_env(&current, EnvEdit::Replace(env(&[("A", "1"), ("C", "3")]))).unwrap();
        assert_eq!(delta.set.keys().map(EnvKey::as_str).collect::<Vec<_>>(), ["C"]);
        assert_eq!(delta.removed.iter().map(EnvKey::as_str).collect::<Vec<_>>(), ["B"]);
    }

    #[test]
    fn a_new_run_freezes_size_and_variables_and_a_stop_does_not() {
        let mut row = running();
        row.project.preset = Preset::Large;
        row.project.env_revision = 7;
        row.sandbox.cause = Some(Cause::new(CauseCode::EndedUnexpectedly, "m", &[]));
        row.sandbox.failures = 3;
        let project = env(&[("A", "project"), ("B", "project")]);
        // What the operator made of it since.
        let amounts = |preset: Preset| Resources { limit_cpu_millis: 7, ..preset.resources() };
        let sizes = Preset::ALL.into_iter().fold(Sizes::default(), |sizes, preset| sizes.with(preset, amounts(preset)));

        let mut stopped = row.clone();
        apply(&mut stopped, &Ask::Stop, &project, Some(&claude("new")), &sizes, at(5));
        assert_eq!(
            (stopped.sandbox.desired, stopped.sandbox.generation, stopped.sandbox.restart_count),
            (Desired::Stopped, 2, 1)
        );
        assert_eq!((stopped.sandbox.preset, stopped.sandbox.env_revision), (Preset::Medium, 1));
        assert_eq!(stopped.sandbox.resources, Preset::Medium.resources());
        assert!(stopped.sandbox.env.is_empty() && stopped.sandbox.claude.is_none());

        let request = [("B".parse().unwrap(), "request".to_owned())].into();
        apply(&mut row, &Ask::Restart(request), &project, Some(&claude("new")), &sizes, at(5));
        let sandbox = &row.sandbox;
        assert_eq!((sandbox.desired, sandbox.generation, sandbox.restart_count), (Desired::Running, 2, 2));
        assert_eq!((sandbox.preset, sandbox.env_revision), (Preset::Large, 7));
        assert_eq!(sandbox.resources, amounts(Preset::Large));
        assert_eq!((sandbox.failures, sandbox.cause.as_ref(), sandbox.wake_at), (0, None, Some(at(5))));
        let frozen: Vec<_> = sandbox.env.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
        assert_eq!(frozen, [("A", "project"), ("B", "request")]);
        assert_eq!(sandbox.claude, Some(claude("new")));
        assert!(sandbox.observed.present, "an ask forgets no facts");
    }

    #[test]
    fn a_requests_claude_credential_is_beside_none_of_the_projects() {
        let mut row = row();
        let project = env(&[("A", "1"), ("ANTHROPIC_AUTH_TOKEN", "project")]);
        let request = [("ANTHROPIC_API_KEY".parse().unwrap(), "request".to_owned())].into();
        apply(&mut row, &Ask::Restart(request), &project, None, &Sizes::default(), at(5));
        assert_eq!(row.sandbox.env.keys().map(EnvKey::as_str).collect::<Vec<_>>(), ["A", "ANTHROPIC_API_KEY"]);
    }

    #[test]
    fn deleting_twice_is_one_ask() {
        let mut row = running();
        assert!(delete(&mut row, at(3)));
        assert_eq!((row.sandbox.desired, row.sandbox.generation), (Desired::Terminated, 2));
        assert!(!delete(&mut row, at(4)));
        assert_eq!((row.project.deleting_since, row.sandbox.generation), (Some(at(3)), 2));
    }

    #[test]
    fn only_what_differs_is_a_change_of_variables() {
        let current: Env = env(&[("A", "1"), ("B", "2")]).into_iter().map(|(k, v)| (k, (v, at(0)))).collect();
        let none = change_env(&current, env(&[("A", "1")]), &["MISSING".to_owned(), "not a key".to_owned()]).unwrap();
        assert!(none.is_empty(), "{none:?}");

        let delta = change_env(&current, env(&[("A", "3"), ("C", "4")]), &["B".to_owned(), "A".to_owned()]).unwrap();
        assert_eq!(delta.set.keys().map(EnvKey::as_str).collect::<Vec<_>>(), ["A", "C"]);
        assert_eq!(delta.removed.iter().map(EnvKey::as_str).collect::<Vec<_>>(), ["B"]);
    }

    #[test]
    fn the_limit_is_of_the_whole() {
        let large = "x".repeat(60 * 1024);
        let eight: Env =
            (0..8).map(|n| (format!("K{n}").parse().unwrap(), (SecretString::from(large.as_str()), at(0)))).collect();
        assert!(change_env(&eight, env(&[("ONE", "small")]), &[]).is_ok());
        assert!(matches!(change_env(&eight, env(&[("MORE", &large)]), &[]), Err(EnvError::LongTotal(_))));
        assert!(change_env(&eight, env(&[("MORE", &large)]), &["K0".to_owned()]).is_ok());
        assert!(matches!(change_env(&eight, env(&[("Z", "a\0b")]), &[]), Err(EnvError::Nul(_))));
    }
}
