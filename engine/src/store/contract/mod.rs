//! What every [`Store`] promises. A store's tests run all of it: `store_contract!(subject)`, where
//! `subject` is an async function that makes a [`Subject`] on a fresh store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed check of the contract is a panic of its test")]

use super::{
    Ask, Asked, Changed, DatabaseRow, Extra, Leased, NewProjectRow, Pass, ProjectAndSandbox, Store, StoreError,
    activity::{self, Entry, Filter},
    claude::Claude,
    intent,
};
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use model::{
    Cause, CauseCode, Desired, Observed, Phase, ProjectId, SandboxId, StageFact, UserId,
    activity::{ActivityKind, ActivityView, Actor, Via},
    claude::ClaudeKind,
    env::{EnvError, EnvKey},
    resources::Preset,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use uuid::Uuid;

/// A fresh store to check.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same rows, as another process has them; the same value where there is no other process.
    pub other: Arc<dyn Store>,
    /// Two users.
    pub owners: [UserId; 2],
}

/// The least project there is, of nobody: for tests of rows that are in no store.
#[must_use]
pub fn least(now: Timestamp) -> NewProjectRow {
    NewProjectRow {
        id: ProjectId(Uuid::nil()),
        owner: UserId(Uuid::nil()),
        name: "A project".parse().unwrap(),
        preset: Preset::Medium,
        env: BTreeMap::new(),
        database: None,
        sandbox: SandboxId(Uuid::nil()),
        random: [0; 6],
        agent_token: SecretString::from("token"),
        extra: None,
        env_revision: 1,
        key: None,
        most: 1,
        now,
    }
}

/// A test for each promise of the contract.
#[macro_export]
macro_rules! store_contract {
    ($subject:path) => {
        $crate::store_contract! { @tests $subject:
            a_project_is_stored_whole
            a_second_create_with_the_same_key_is_the_same_create
            a_key_is_one_owners_and_is_forgotten_after_a_day
            equal_names_get_different_slugs
            equal_names_at_once_get_different_slugs
            equal_random_bytes_get_different_names
            creates_at_once_with_one_key_make_one_project
            the_limit_counts_what_is_made_and_not_what_is_repeated
            creates_at_once_do_not_pass_the_limit
            what_is_not_yours_is_not_found
            projects_come_newest_first
            a_new_size_is_a_new_run_of_what_is_up_and_waits_for_the_start_of_what_is_not
            a_rename_keeps_slug_and_names
            asks_follow_the_rules_of_intent
            a_new_run_freezes_variables_and_size
            an_ask_with_a_key_seen_before_changes_nothing
            a_refused_ask_does_not_use_its_key_up
            a_stop_is_repeated_by_its_key_and_refused_without
            variables_that_come_while_it_starts_are_not_lost
            asks_at_once_are_one_generation
            an_ask_makes_the_row_due
            deleting_is_one_ask_and_refuses_others
            variables_change_as_a_whole_or_not_at_all
            variables_that_change_nothing_raise_no_revision
            replacing_variables_leaves_no_others
            replacements_at_once_are_never_mixed
            a_reset_password_is_stored_waits_for_a_restart_and_is_told
            a_lease_keeps_others_away_until_it_ends
            a_lease_is_renewed_by_its_holder
            due_rows_come_longest_due_first_and_once
            due_rows_are_shared_out_among_processes
            a_pass_is_stored_whole
            a_pass_that_changes_nothing_writes_nothing
            a_pass_without_version_or_lease_is_not_stored
            the_next_wake_is_past_the_lease
            a_deleted_project_is_buried_by_its_holder_alone
            a_buried_project_is_gone_with_everything
            changes_are_heard_here_and_elsewhere
            what_no_viewer_sees_tells_nobody
            two_streams_hear_the_same
            every_ask_is_told_with_who_asked
            what_changes_nothing_is_not_told
            what_a_pass_tells_is_stored_with_it_or_not_at_all
            what_happens_again_and_again_is_one_row
            activity_is_its_owners_and_outlives_the_project
            activity_comes_in_pages_newest_first
            activity_is_filtered
            what_happened_long_ago_is_forgotten
            an_extra_sandbox_has_all_of_its_own_but_variables
            an_extra_sandbox_is_found_with_its_project_by_its_owner_alone
            an_extra_sandbox_is_the_one_of_its_branch
            an_extra_sandbox_counts_and_is_repeated_by_its_key
            extra_sandboxes_are_called_after_their_project
            extra_sandboxes_share_their_projects_variables
            a_project_takes_its_extra_sandboxes_with_it
            an_extra_sandbox_goes_alone
            own_claude_credentials_are_their_users_alone_and_wait_for_a_new_run
            claude_credentials_that_are_the_same_change_nothing
            claude_credentials_are_told_of_the_account_without_the_secret
            what_is_made_or_asked_while_claude_credentials_change_has_them_or_waits
        }
    };
    (@tests $subject:path: $($promise:ident)+) => {
        /// Every check of the contract that these tests run.
        const PROMISES: &[&str] = &[$(stringify!($promise)),+];

        $(
            #[tokio::test]
            async fn $promise() {
                if let Some(subject) = $subject().await {
                    $crate::store::contract::$promise(&subject).await;
                }
            }
        )+

        #[test]
        fn no_promise_is_left_out() {
            let written = $crate::store::contract::promises();
            assert!(written.len() > 20);
            assert_eq!(written, PROMISES);
        }
    };
}

/// The names of all checks in this file, in order.
#[must_use]
pub fn promises() -> Vec<&'static str> {
    include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('('))
        .map(|(name, _)| name)
        .collect()
}

const HOLD: Duration = Duration::from_secs(30);

/// Seconds and microseconds after a moment of long ago: the checks do not go by the clock.
fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_123_456 + second * 1_000_000).unwrap()
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<EnvKey, SecretString> {
    pairs.iter().map(|(key, value)| (key.parse().unwrap(), secret(value))).collect()
}

fn shown(env: &BTreeMap<EnvKey, SecretString>) -> Vec<(String, String)> {
    env.iter().map(|(key, value)| (key.to_string(), value.expose_secret().to_owned())).collect()
}

fn new(owner: UserId, name: &str, now: Timestamp) -> NewProjectRow {
    let id = Uuid::new_v4();
    let mut random = [0; 6];
    random.copy_from_slice(&id.as_bytes()[..6]);
    NewProjectRow {
        id: ProjectId(id),
        owner,
        name: name.parse().unwrap(),
        preset: Preset::Medium,
        env: env(&[("FIRST", "1"), ("lower", "two words")]),
        database: Some(DatabaseRow {
            role: format!("role_{}", id.simple()),
            database: format!("db_{}", id.simple()),
            password: secret("pass'word"),
        }),
        sandbox: SandboxId(Uuid::new_v4()),
        random,
        agent_token: secret("agent token"),
        extra: None,
        env_revision: 1,
        key: None,
        most: usize::MAX,
        now,
    }
}

async fn made(subject: &Subject) -> ProjectAndSandbox {
    let (row, fresh) = subject.store.create(new(subject.owners[0], "A project", at(0))).await.unwrap();
    assert!(fresh);
    row
}

async fn read(subject: &Subject, id: ProjectId) -> ProjectAndSandbox {
    subject.other.project(subject.owners[0], id).await.unwrap().unwrap()
}

async fn asked(subject: &Subject, id: ProjectId, ask: Ask, now: Timestamp) -> Asked {
    subject.store.ask(subject.owners[0], id, ask, None, now).await.unwrap().unwrap()
}

async fn leased(subject: &Subject, id: SandboxId, holder: &str, now: Timestamp) -> Leased {
    subject.store.lease(id, holder, now, HOLD).await.unwrap().unwrap()
}

/// Facts of a sandbox that is up.
fn up(generation: i64) -> Observed {
    Observed {
        generation,
        present: true,
        stages: [StageFact { started_at: Some(at(1)), ended_at: Some(at(2)), deadline_at: Some(at(61)), skipped: false }; 5],
        instance: Some(model::InstanceFact { id: "run \u{1F6A2}".into(), started_at: at(1), restart_count: 1, env_revision: 1 }),
        first_ready_at: Some(at(2)),
        ready_at: Some(at(2)),
        ..Observed::default()
    }
}

fn pass(generation: i64) -> Pass {
    Pass {
        observed: up(generation),
        cause: Some(Cause::new(CauseCode::AgentSilent, "It says nothing.", &["Wait."]).with_detail("raw")),
        last_error: Some("an error".to_owned()),
        failures: 3,
        wake_at: Some(at(90)),
        told: Vec::new(),
    }
}

/// Everything of a row but secrets, for comparing.
fn plain(row: &ProjectAndSandbox) -> String {
    format!("{row:?} {:?} {:?}", shown(&row.sandbox.env), row.sandbox.agent_token.expose_secret())
}

/// The next change of this sandbox: those of others may still be on their way.
async fn heard_of(changes: &mut BoxStream<'static, Changed>, row: &ProjectAndSandbox) -> Changed {
    loop {
        let changed = heard(changes).await;
        if changed.sandbox == row.sandbox.id {
            return changed;
        }
    }
}

/// The next change; the streams of other processes may take a moment.
async fn heard(changes: &mut BoxStream<'static, Changed>) -> Changed {
    let next = tokio::time::timeout(Duration::from_secs(10), changes.next()).await;
    next.unwrap_or_else(|_| panic!("no change was heard within ten seconds")).unwrap()
}

fn change(row: &ProjectAndSandbox) -> Changed {
    Changed { owner: row.project.owner, project: row.project.id, sandbox: row.sandbox.id, clone: false }
}

/// Runs them side by side on tasks of their own.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(tasks: impl IntoIterator<Item = F>) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

pub async fn a_project_is_stored_whole(subject: &Subject) {
    let new = new(subject.owners[0], "Ünïcödé \u{1F6A2} مشروع", at(0));
    let (row, fresh) = subject.store.create(new.clone()).await.unwrap();
    assert!(fresh);
    let (project, sandbox) = (&row.project, &row.sandbox);
    assert_eq!((project.id, project.owner, &project.name, project.preset), (new.id, new.owner, &new.name, new.preset));
    assert_eq!((project.created_at, project.updated_at, project.deleting_since), (at(0), at(0), None));
    let database = project.database.as_ref().unwrap();
    assert_eq!(database.password.expose_secret(), "pass'word");
    assert_eq!((sandbox.id, sandbox.project), (new.sandbox, new.id));
    assert!(sandbox.name.as_str().starts_with("n-c-d-agentruntime-"), "{}", sandbox.name);
    assert_eq!((sandbox.desired, sandbox.generation, sandbox.restart_count), (Desired::Running, 1, 1));
    assert_eq!((sandbox.asked_at, sandbox.wake_at, sandbox.changed_at), (at(0), Some(at(0)), at(0)));
    assert_eq!((&sandbox.observed, &sandbox.cause, sandbox.failures), (&Observed::default(), &None, 0));
    assert_eq!(sandbox.env_revision, project.env_revision);
    assert_eq!(shown(&sandbox.env), shown(&new.env));
    assert_eq!(sandbox.agent_token.expose_secret(), "agent token");

    let again = read(subject, new.id).await;
    assert_eq!(plain(&again), plain(&row));
    assert_eq!(again.project.database.unwrap().password.expose_secret(), "pass'word");
    let by_name = subject.other.by_name(new.owner, &sandbox.name).await.unwrap().unwrap();
    assert_eq!(plain(&by_name), plain(&row));
    let env = subject.other.env(new.owner, new.id).await.unwrap().unwrap();
    assert_eq!(env.values().map(|(_, set)| *set).collect::<Vec<_>>(), [at(0), at(0)]);
    assert_eq!(shown(&env.into_iter().map(|(key, (value, _))| (key, value)).collect()), shown(&new.env));

    let bare = NewProjectRow { database: None, env: BTreeMap::new(), ..self::new(subject.owners[0], "Bare", at(1)) };
    subject.store.create(bare.clone()).await.unwrap();
    let row = read(subject, bare.id).await;
    assert!(row.project.database.is_none() && row.sandbox.env.is_empty());
    assert_eq!(subject.other.env(bare.owner, bare.id).await.unwrap().unwrap().len(), 0);
    assert_eq!(subject.other.all().await.unwrap().len(), 2);
}

pub async fn a_second_create_with_the_same_key_is_the_same_create(subject: &Subject) {
    let with_key = |name| NewProjectRow { key: Some("key".into()), ..new(subject.owners[0], name, at(0)) };
    let (first, fresh) = subject.store.create(with_key("First")).await.unwrap();
    assert!(fresh);
    let (second, fresh) = subject.other.create(with_key("Second")).await.unwrap();
    assert!(!fresh);
    assert_eq!(plain(&second), plain(&first));
    assert_eq!(subject.store.all().await.unwrap().len(), 1);
}

pub async fn a_key_is_one_owners_and_is_forgotten_after_a_day(subject: &Subject) {
    let day = i64::try_from(intent::KEY_LIFE.as_secs()).unwrap();
    let with_key =
        |owner: usize, second| NewProjectRow { key: Some("key".into()), ..new(subject.owners[owner], "P", at(second)) };
    assert!(subject.store.create(with_key(0, 0)).await.unwrap().1);
    assert!(subject.store.create(with_key(1, 0)).await.unwrap().1, "another owner's key is another key");
    assert!(!subject.store.create(with_key(0, day - 1)).await.unwrap().1);
    assert!(subject.store.create(with_key(0, day)).await.unwrap().1);
}

pub async fn equal_names_get_different_slugs(subject: &Subject) {
    let mut slugs = Vec::new();
    for owner in [0, 1, 0] {
        let (row, _) = subject.store.create(new(subject.owners[owner], "Same name", at(0))).await.unwrap();
        slugs.push(row.project.slug.as_str().to_owned());
    }
    assert_eq!(slugs, ["same-name", "same-name-2", "same-name-3"]);
    let long = "x".repeat(60);
    for expected in ["x".repeat(40), format!("{}-2", "x".repeat(38)), format!("{}-3", "x".repeat(38))] {
        let (row, _) = subject.store.create(new(subject.owners[0], &long, at(0))).await.unwrap();
        assert_eq!(row.project.slug.as_str(), expected);
    }
}

pub async fn equal_names_at_once_get_different_slugs(subject: &Subject) {
    let rows = at_once((0..12).map(|n| {
        let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
        let new = new(subject.owners[0], "Same name", at(0));
        async move { store.create(new).await.unwrap().0.project.slug }
    }))
    .await;
    let mut slugs: Vec<_> = rows.iter().map(|slug| slug.as_str().to_owned()).collect();
    slugs.sort();
    slugs.dedup();
    assert_eq!(slugs.len(), 12);
}

pub async fn equal_random_bytes_get_different_names(subject: &Subject) {
    let mut names = Vec::new();
    for name in ["Same start of a name, one", "Same start of a name, two"] {
        let fixed = NewProjectRow { random: [7; 6], ..new(subject.owners[0], name, at(0)) };
        let (row, _) = subject.store.create(fixed.clone()).await.unwrap();
        assert_eq!(read(subject, fixed.id).await.sandbox.name, row.sandbox.name);
        names.push(row.sandbox.name);
    }
    assert_ne!(names[0], names[1]);
}

pub async fn creates_at_once_with_one_key_make_one_project(subject: &Subject) {
    let rows = at_once((0..8).map(|n| {
        let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
        let new = NewProjectRow { key: Some("key".into()), ..new(subject.owners[0], "Once", at(0)) };
        async move { store.create(new).await.unwrap() }
    }))
    .await;
    assert_eq!(rows.iter().filter(|(_, fresh)| *fresh).count(), 1);
    assert!(rows.iter().all(|(row, _)| row.project.id == rows[0].0.project.id));
    assert_eq!(subject.store.all().await.unwrap().len(), 1);
}

pub async fn the_limit_counts_what_is_made_and_not_what_is_repeated(subject: &Subject) {
    let (owner, stranger) = (subject.owners[0], subject.owners[1]);
    let with = |owner, key: &str| NewProjectRow { key: Some(key.into()), most: 2, ..new(owner, "P", at(0)) };
    let first = subject.store.create(with(owner, "one")).await.unwrap().0;
    subject.store.create(with(owner, "two")).await.unwrap();
    assert!(matches!(subject.other.create(with(owner, "three")).await, Err(StoreError::Full(2))));
    let (again, fresh) = subject.other.create(with(owner, "one")).await.unwrap();
    assert_eq!((again.project.id, fresh), (first.project.id, false), "what was made is made, limit or not");
    let seen = subject.other.created(owner, "one", at(1)).await.unwrap().unwrap();
    assert_eq!(plain(&seen), plain(&first));
    assert!(subject.store.created(owner, "three", at(1)).await.unwrap().is_none(), "a refused create keeps no key");
    assert!(subject.store.created(stranger, "one", at(1)).await.unwrap().is_none());
    let later = at(0).checked_add(intent::KEY_LIFE).unwrap();
    assert!(subject.store.created(owner, "one", later).await.unwrap().is_none());
    assert!(subject.store.create(with(stranger, "one")).await.unwrap().1, "another's projects do not count");
}

pub async fn creates_at_once_do_not_pass_the_limit(subject: &Subject) {
    let made = at_once((0..8).map(|n| {
        let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
        let new = NewProjectRow { most: 3, ..new(subject.owners[0], &format!("P{n}"), at(0)) };
        async move { store.create(new).await }
    }))
    .await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3);
    assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(StoreError::Full(3)))));
    assert_eq!(subject.store.projects(subject.owners[0]).await.unwrap().len(), 3);
}

pub async fn what_is_not_yours_is_not_found(subject: &Subject) {
    let row = made(subject).await;
    let (store, id, stranger) = (&subject.store, row.project.id, subject.owners[1]);
    assert!(store.project(stranger, id).await.unwrap().is_none());
    assert!(store.projects(stranger).await.unwrap().is_empty());
    assert!(store.page(stranger, None, 9).await.unwrap().is_empty());
    assert!(store.update(stranger, id, Some("Mine".parse().unwrap()), None, at(1)).await.unwrap().is_none());
    assert!(store.ask(stranger, id, Ask::Stop, Some("key".into()), at(1)).await.unwrap().is_none());
    assert!(store.delete(stranger, id, at(1)).await.unwrap().is_none());
    assert!(store.env(stranger, id).await.unwrap().is_none());
    assert!(store.change_env(stranger, id, env(&[("A", "1")]), vec![], at(1)).await.unwrap().is_none());
    let nobody = ProjectId(Uuid::new_v4());
    assert!(store.project(subject.owners[0], nobody).await.unwrap().is_none());
    assert!(store.env(subject.owners[0], nobody).await.unwrap().is_none());
    assert!(store.by_name(stranger, &row.sandbox.name).await.unwrap().is_none());
    assert!(store.replace_env(stranger, id, env(&[("A", "1")]), at(1)).await.unwrap().is_none());
    assert!(store.by_name(subject.owners[0], &"nobody-agentruntime-aaaaaa".parse().unwrap()).await.unwrap().is_none());
    assert_eq!(plain(&read(subject, id).await), plain(&row), "nothing was changed");
}

pub async fn projects_come_newest_first(subject: &Subject) {
    for (name, second) in [("Old", 1), ("New", 3), ("Middle", 2)] {
        subject.store.create(new(subject.owners[0], name, at(second))).await.unwrap();
    }
    subject.store.create(new(subject.owners[1], "Another's", at(9))).await.unwrap();
    let rows = subject.other.projects(subject.owners[0]).await.unwrap();
    let mut ids: Vec<_> = rows.iter().map(|row| row.project.id).collect();
    ids.sort_by_key(|id| std::cmp::Reverse(*id));
    let page = async |before, limit| -> Vec<_> {
        let rows = subject.other.page(subject.owners[0], before, limit).await.unwrap();
        rows.into_iter().map(|row| row.project.id).collect()
    };
    assert_eq!((page(None, 2).await, page(Some(ids[1]), 2).await), (ids[..2].to_vec(), ids[2..].to_vec()));
    let names: Vec<_> = rows.iter().map(|row| row.project.name.as_str()).collect();
    assert_eq!(names, ["New", "Middle", "Old"]);
    let oldest = rows[2].project.id;
    subject.store.delete(subject.owners[0], oldest, at(10)).await.unwrap();
    assert_eq!(subject.other.projects(subject.owners[0]).await.unwrap().len(), 3, "those being deleted are shown");
}

pub async fn a_new_size_is_a_new_run_of_what_is_up_and_waits_for_the_start_of_what_is_not(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    let resize = async |size, now| subject.store.update(owner, id, None, Some(size), now).await.unwrap().unwrap();
    subject.store.change_env(owner, id, env(&[("FIRST", "new")]), vec![], at(1)).await.unwrap().unwrap().unwrap();
    let leased = leased(subject, row.sandbox.id, "a", at(1)).await;
    let ready = Pass { cause: None, last_error: None, failures: 0, ..pass(1) };
    assert!(subject.store.record(row.sandbox.id, "a", leased.row.sandbox.version, &ready, at(2)).await.unwrap().is_some());

    let up = resize(Preset::Large, at(5)).await.sandbox;
    assert_eq!((up.preset, up.generation, up.restart_count, up.resizes), (Preset::Large, 2, 2, true));
    assert_eq!((up.wake_at, up.phase(at(5))), (Some(at(5)), Phase::Updating));
    assert_eq!(
        (up.env_revision, shown(&up.env)),
        (row.sandbox.env_revision, shown(&row.sandbox.env)),
        "variables wait for a restart"
    );
    assert_eq!(format!("{:?}", read(subject, id).await.sandbox), format!("{up:?}"));
    assert_eq!(resize(Preset::Large, at(6)).await.sandbox.generation, 2, "the same size again is nothing new");

    asked(subject, id, Ask::Stop, at(7)).await;
    let down = resize(Preset::Small, at(8)).await.sandbox;
    assert_eq!((down.preset, down.generation, down.resizes), (Preset::Large, 3, false), "it is not up");
    asked(subject, id, Ask::Start, at(9)).await;
    assert_eq!(read(subject, id).await.sandbox.preset, Preset::Small);
}

pub async fn a_rename_keeps_slug_and_names(subject: &Subject) {
    let row = made(subject).await;
    let renamed = subject
        .store
        .update(subject.owners[0], row.project.id, Some("Other".parse().unwrap()), Some(Preset::Large), at(5))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (renamed.project.name.as_str(), renamed.project.preset, renamed.project.updated_at),
        ("Other", Preset::Large, at(5))
    );
    assert_eq!((&renamed.project.slug, &renamed.sandbox.name), (&row.project.slug, &row.sandbox.name));
    assert_eq!(plain(&read(subject, row.project.id).await), plain(&renamed));

    let same =
        subject.store.update(subject.owners[0], row.project.id, Some("Other".parse().unwrap()), None, at(6)).await.unwrap();
    assert_eq!(same.unwrap().project.updated_at, at(5), "nothing changed");
}

pub async fn asks_follow_the_rules_of_intent(subject: &Subject) {
    let row = made(subject).await;
    let id = row.project.id;
    let steps = [
        (Ask::Start, "same", Desired::Running, 1, 1),
        (Ask::Restart(BTreeMap::new()), "same", Desired::Running, 1, 1),
        (Ask::Stop, "changed", Desired::Stopped, 2, 1),
        (Ask::Stop, "same", Desired::Stopped, 2, 1),
        (Ask::Start, "changed", Desired::Running, 3, 2),
        (Ask::Terminate, "changed", Desired::Terminated, 4, 2),
        (Ask::Terminate, "same", Desired::Terminated, 4, 2),
        (Ask::Stop, intent::ALREADY_TERMINATED, Desired::Terminated, 4, 2),
        (Ask::Restart(BTreeMap::new()), "changed", Desired::Running, 5, 3),
    ];
    for (second, (ask, outcome, desired, generation, restart_count)) in (1..).zip(steps) {
        let asked = asked(subject, id, ask.clone(), at(second)).await;
        let now = read(subject, id).await;
        let got = match &asked {
            Asked::Changed(row) => {
                assert_eq!(plain(row), plain(&now));
                assert_eq!((row.sandbox.asked_at, row.sandbox.changed_at), (at(second), at(second)));
                "changed"
            }
            Asked::Same(row) => {
                assert_eq!(plain(row), plain(&now));
                "same"
            }
            Asked::Refused(why) => why,
        };
        let sandbox = &now.sandbox;
        assert_eq!(
            (got, sandbox.desired, sandbox.generation, sandbox.restart_count),
            (outcome, desired, generation, restart_count),
            "{ask:?}"
        );
    }
    assert!(now_version(subject, id).await > row.sandbox.version);
}

async fn now_version(subject: &Subject, id: ProjectId) -> i64 {
    read(subject, id).await.sandbox.version
}

pub async fn a_new_run_freezes_variables_and_size(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    subject.store.update(owner, id, None, Some(Preset::Small), at(1)).await.unwrap();
    let changed = subject.store.change_env(owner, id, env(&[("FIRST", "new")]), vec!["lower".into()], at(1)).await.unwrap();
    let changed = changed.unwrap().unwrap();
    assert_eq!(changed.project.env_revision, row.project.env_revision + 1);
    assert_eq!(shown(&changed.sandbox.env), shown(&row.sandbox.env), "a running sandbox keeps its variables");

    asked(subject, id, Ask::Stop, at(2)).await;
    assert_eq!(read(subject, id).await.sandbox.env_revision, row.sandbox.env_revision, "a stop freezes nothing");
    asked(subject, id, Ask::Start, at(3)).await;
    let started = read(subject, id).await.sandbox;
    assert_eq!((started.preset, started.env_revision), (Preset::Small, changed.project.env_revision));
    assert_eq!(shown(&started.env), [("FIRST".to_owned(), "new".to_owned())]);

    asked(subject, id, Ask::Stop, at(4)).await;
    let request = [("FIRST".parse().unwrap(), "request".to_owned()), ("MORE".parse().unwrap(), "m".to_owned())];
    asked(subject, id, Ask::Restart(request.into()), at(5)).await;
    let restarted = read(subject, id).await;
    assert_eq!(shown(&restarted.sandbox.env), [("FIRST".into(), "request".into()), ("MORE".into(), "m".into())]);
    let kept = subject.store.env(owner, id).await.unwrap().unwrap();
    assert_eq!(kept.len(), 1, "a request's variables are that run's alone");
}

pub async fn an_ask_with_a_key_seen_before_changes_nothing(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    let key = || Some("key".to_owned());
    let first = subject.store.ask(owner, id, Ask::Stop, key(), at(1)).await.unwrap().unwrap();
    assert!(matches!(first, Asked::Changed(_)));
    let again = subject.other.ask(owner, id, Ask::Start, key(), at(2)).await.unwrap().unwrap();
    let Asked::Same(same) = again else { panic!("{again:?}") };
    assert_eq!(same.sandbox.desired, Desired::Stopped);

    let second = subject.store.create(new(owner, "Second", at(3))).await.unwrap().0;
    let other = subject.store.ask(owner, second.project.id, Ask::Stop, key(), at(3)).await.unwrap().unwrap();
    assert!(matches!(other, Asked::Changed(_)), "a key is one project's");
    let later = at(1).checked_add(intent::KEY_LIFE).unwrap();
    let after_a_day = subject.store.ask(owner, id, Ask::Start, key(), later).await.unwrap().unwrap();
    assert!(matches!(after_a_day, Asked::Changed(_)));
}

pub async fn a_refused_ask_does_not_use_its_key_up(subject: &Subject) {
    let id = made(subject).await.project.id;
    asked(subject, id, Ask::Terminate, at(1)).await;
    let stop = subject.store.ask(subject.owners[0], id, Ask::Stop, Some("key".into()), at(2)).await.unwrap().unwrap();
    assert!(matches!(stop, Asked::Refused(intent::ALREADY_TERMINATED)));
    asked(subject, id, Ask::Start, at(3)).await;
    let stop = subject.store.ask(subject.owners[0], id, Ask::Stop, Some("key".into()), at(4)).await.unwrap().unwrap();
    assert!(matches!(stop, Asked::Changed(_)));
}

/// Records that nothing of it is left.
async fn gone(subject: &Subject, row: &ProjectAndSandbox, now: Timestamp) {
    let lease = leased(subject, row.sandbox.id, "a", now).await;
    let observed = Observed { generation: lease.row.sandbox.generation, gone_at: Some(now), ..Observed::default() };
    let pass = Pass { observed, cause: None, last_error: None, failures: 0, wake_at: None, told: Vec::new() };
    subject.store.record(row.sandbox.id, "a", lease.row.sandbox.version, &pass, now).await.unwrap().unwrap();
    subject.store.release(row.sandbox.id, "a").await.unwrap();
}

pub async fn a_stop_is_repeated_by_its_key_and_refused_without(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    let stop = async |key: Option<&str>, now| {
        subject.other.ask(owner, id, Ask::Stop, key.map(str::to_owned), now).await.unwrap().unwrap()
    };
    assert!(matches!(stop(Some("key"), at(1)).await, Asked::Changed(_)));
    gone(subject, &row, at(2)).await;
    assert!(matches!(stop(Some("key"), at(3)).await, Asked::Same(_)), "the ask that was carried out");
    assert!(matches!(stop(None, at(3)).await, Asked::Refused(intent::ALREADY_STOPPED)));
    asked(subject, id, Ask::Start, at(4)).await;
    assert!(matches!(stop(Some("key"), at(5)).await, Asked::Same(_)));
    assert_eq!(read(subject, id).await.sandbox.desired, Desired::Running, "a late retry stops nothing");
}

pub async fn variables_that_come_while_it_starts_are_not_lost(subject: &Subject) {
    let id = made(subject).await.project.id;
    let ask = || Ask::Restart([("MORE".parse().unwrap(), "m".to_owned())].into());
    assert!(matches!(asked(subject, id, ask(), at(1)).await, Asked::Changed(_)));
    let sandbox = read(subject, id).await.sandbox;
    assert_eq!((sandbox.generation, sandbox.restart_count), (2, 2), "a run that has them");
    assert!(shown(&sandbox.env).contains(&("MORE".into(), "m".into())));
    assert!(matches!(asked(subject, id, ask(), at(2)).await, Asked::Same(_)), "it is on its way with them");
    assert!(matches!(asked(subject, id, Ask::Restart(BTreeMap::new()), at(2)).await, Asked::Same(_)));
}

pub async fn asks_at_once_are_one_generation(subject: &Subject) {
    let id = made(subject).await.project.id;
    let owner = subject.owners[0];
    let asked = at_once((0..8).map(|n| {
        let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
        async move { store.ask(owner, id, Ask::Stop, None, at(1)).await.unwrap().unwrap() }
    }))
    .await;
    assert_eq!(asked.iter().filter(|asked| matches!(asked, Asked::Changed(_))).count(), 1);
    assert_eq!(read(subject, id).await.sandbox.generation, 2);
}

pub async fn an_ask_makes_the_row_due(subject: &Subject) {
    let row = made(subject).await;
    let lease = leased(subject, row.sandbox.id, "a", at(0)).await;
    let quiet = Pass { wake_at: None, ..pass(1) };
    subject.store.record(row.sandbox.id, "a", lease.row.sandbox.version, &quiet, at(1)).await.unwrap().unwrap();
    subject.store.release(row.sandbox.id, "a").await.unwrap();
    assert_eq!(subject.store.next_wake().await.unwrap(), None);

    asked(subject, row.project.id, Ask::Stop, at(2)).await;
    assert_eq!(subject.store.next_wake().await.unwrap(), Some(at(2)));
    let sandbox = read(subject, row.project.id).await.sandbox;
    assert_eq!((sandbox.cause, sandbox.last_error, sandbox.failures), (None, None, 0), "those were of the older ask");
    assert_eq!(sandbox.observed, quiet.observed, "facts are of the world");
}

pub async fn deleting_is_one_ask_and_refuses_others(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    let first = subject.store.delete(owner, id, at(1)).await.unwrap().unwrap();
    assert_eq!((first.project.deleting_since, first.sandbox.desired), (Some(at(1)), Desired::Terminated));
    assert_eq!((first.sandbox.generation, first.sandbox.wake_at), (2, Some(at(1))));
    assert!(first.sandbox.version > row.sandbox.version);
    assert_eq!(plain(&read(subject, id).await), plain(&first));
    let again = subject.other.delete(owner, id, at(2)).await.unwrap().unwrap();
    assert_eq!(plain(&again), plain(&first));
    for ask in [Ask::Start, Ask::Stop, Ask::Terminate, Ask::Restart(BTreeMap::new())] {
        assert!(matches!(asked(subject, id, ask, at(3)).await, Asked::Refused(intent::BEING_DELETED)));
    }
}

pub async fn variables_change_as_a_whole_or_not_at_all(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    let refused =
        subject.store.change_env(owner, id, env(&[("GOOD", "1"), ("WORSE", "a\0b")]), vec!["FIRST".into()], at(1)).await;
    assert_eq!(refused.unwrap().unwrap().err(), Some(EnvError::Nul("WORSE".into())));
    assert_eq!(plain(&read(subject, id).await), plain(&row));

    let set = env(&[("FIRST", "changed"), ("GOOD", "1"), ("lower", "two words")]);
    let changed = subject.store.change_env(owner, id, set, vec!["NOT_THERE".into()], at(2)).await.unwrap().unwrap().unwrap();
    assert_eq!((changed.project.env_revision, changed.project.updated_at), (row.project.env_revision + 1, at(2)));
    let now = subject.other.env(owner, id).await.unwrap().unwrap();
    let now: Vec<_> = now.iter().map(|(key, (value, set))| (key.as_str(), value.expose_secret(), *set)).collect();
    assert_eq!(now, [("FIRST", "changed", at(2)), ("GOOD", "1", at(2)), ("lower", "two words", at(0))]);
}

pub async fn variables_that_change_nothing_raise_no_revision(subject: &Subject) {
    let row = made(subject).await;
    let same = subject
        .store
        .change_env(subject.owners[0], row.project.id, env(&[("FIRST", "1")]), vec!["NOT_THERE".into()], at(1))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(plain(&same), plain(&row));
    assert_eq!(plain(&read(subject, row.project.id).await), plain(&row));
}

pub async fn replacing_variables_leaves_no_others(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    let all = env(&[("FIRST", "1"), ("NEW", "n")]);
    let changed = subject.store.replace_env(owner, id, all.clone(), at(1)).await.unwrap().unwrap().unwrap();
    assert_eq!(changed.project.env_revision, row.project.env_revision + 1);
    let now = subject.other.env(owner, id).await.unwrap().unwrap();
    let now: Vec<_> = now.iter().map(|(key, (value, set))| (key.as_str(), value.expose_secret(), *set)).collect();
    assert_eq!(now, [("FIRST", "1", at(0)), ("NEW", "n", at(1))]);
    let same = subject.store.replace_env(owner, id, all, at(2)).await.unwrap().unwrap().unwrap();
    assert_eq!(plain(&same), plain(&changed));
    let refused = subject.store.replace_env(owner, id, env(&[("WORSE", "a\0b")]), at(3)).await.unwrap().unwrap();
    assert_eq!(refused.err(), Some(EnvError::Nul("WORSE".into())));
    assert_eq!(subject.other.env(owner, id).await.unwrap().unwrap().len(), 2);
}

pub async fn replacements_at_once_are_never_mixed(subject: &Subject) {
    let id = made(subject).await.project.id;
    let owner = subject.owners[0];
    for round in 0..6 {
        at_once((0..4).map(|n| {
            let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
            let all = env(&[(&format!("A{n}"), "1"), (&format!("B{n}"), "2")]);
            async move { store.replace_env(owner, id, all, at(round)).await.unwrap().unwrap().unwrap() }
        }))
        .await;
        let now = subject.other.env(owner, id).await.unwrap().unwrap();
        let keys: Vec<_> = now.keys().map(|key| key.as_str()[1..].to_owned()).collect();
        assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    }
}

pub async fn a_reset_password_is_stored_waits_for_a_restart_and_is_told(subject: &Subject) {
    let row = made(subject).await;
    let (store, owner, id) = (&subject.store, subject.owners[0], row.project.id);
    let password = || SecretString::from("tr1cky'\"p\u{e4}ss");
    assert!(store.reset_password(subject.owners[1], id, password(), at(1)).await.unwrap().is_none(), "another's");
    assert_eq!(plain(&read(subject, id).await), plain(&row), "nothing was changed");
    let reset = activity::by(ada(), store.reset_password(owner, id, password(), at(1))).await.unwrap().unwrap();
    let kept = read(subject, id).await;
    for row in [&reset, &kept] {
        assert_eq!(row.project.database.as_ref().unwrap().password.expose_secret(), password().expose_secret());
    }
    assert_eq!((kept.project.env_revision, kept.project.updated_at), (row.project.env_revision + 1, at(1)));
    assert_eq!(kept.sandbox.env_revision, row.sandbox.env_revision, "what runs has what it had");
    let told = told(subject, Filter::default()).await;
    let last = told.last().unwrap();
    assert_eq!((last.title.as_str(), &last.actor), ("Reset the database’s password", &ada()));
    assert!(!format!("{told:?}").contains("tr1cky"));
    store.delete(owner, id, at(2)).await.unwrap();
    assert!(store.reset_password(owner, id, password(), at(3)).await.unwrap().is_none(), "one that is being deleted");
}

pub async fn a_lease_keeps_others_away_until_it_ends(subject: &Subject) {
    let id = made(subject).await.sandbox.id;
    let lease = leased(subject, id, "a", at(0)).await;
    assert_eq!(lease.until, at(30));
    assert!(subject.other.lease(id, "b", at(29), HOLD).await.unwrap().is_none());
    assert!(subject.other.lease_due("b", at(29), HOLD, 10).await.unwrap().is_empty());
    assert!(subject.other.lease(id, "b", at(30), HOLD).await.unwrap().is_some(), "it is over");

    subject.store.release(id, "a").await.unwrap();
    assert!(subject.store.lease(id, "a", at(31), HOLD).await.unwrap().is_none(), "a release by another does nothing");
    subject.other.release(id, "b").await.unwrap();
    assert!(subject.store.lease(id, "a", at(31), HOLD).await.unwrap().is_some());
    assert!(subject.store.lease(SandboxId(Uuid::new_v4()), "a", at(0), HOLD).await.unwrap().is_none());
    subject.store.release(SandboxId(Uuid::new_v4()), "a").await.unwrap();
}

pub async fn a_lease_is_renewed_by_its_holder(subject: &Subject) {
    let id = made(subject).await.sandbox.id;
    let first = leased(subject, id, "a", at(0)).await;
    let second = leased(subject, id, "a", at(20)).await;
    assert_eq!(
        (second.until, second.row.sandbox.version),
        (at(50), first.row.sandbox.version),
        "a lease is no change of the row"
    );
    assert!(subject.other.lease(id, "b", at(40), HOLD).await.unwrap().is_none());
}

pub async fn due_rows_come_longest_due_first_and_once(subject: &Subject) {
    let mut ids = Vec::new();
    for (name, second) in [("C", 3), ("A", 1), ("B", 2), ("Later", 50)] {
        ids.push(subject.store.create(new(subject.owners[0], name, at(second))).await.unwrap().0.sandbox.id);
    }
    let due = |limit| subject.store.lease_due("a", at(10), HOLD, limit);
    let first: Vec<_> = due(2).await.unwrap().iter().map(|lease| lease.row.sandbox.id).collect();
    assert_eq!(first, [ids[1], ids[2]]);
    let second: Vec<_> = due(10).await.unwrap().iter().map(|lease| lease.row.sandbox.id).collect();
    assert_eq!(second, [ids[0]], "what is held does not come again, not even to its holder");
    assert!(due(10).await.unwrap().is_empty());
    subject.store.release(ids[1], "a").await.unwrap();
    assert_eq!(due(10).await.unwrap().len(), 1);
}

pub async fn due_rows_are_shared_out_among_processes(subject: &Subject) {
    for n in 0..20 {
        subject.store.create(new(subject.owners[0], &format!("P{n}"), at(0))).await.unwrap();
    }
    let taken = at_once((0..10).map(|n| {
        let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
        async move { store.lease_due(&format!("holder {n}"), at(1), HOLD, 4).await.unwrap() }
    }))
    .await;
    let mut ids: Vec<_> = taken.iter().flatten().map(|lease| lease.row.sandbox.id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "no row was leased twice");
    while let Some(lease) = subject.store.lease_due("last", at(1), HOLD, 1).await.unwrap().pop() {
        ids.push(lease.row.sandbox.id);
    }
    assert_eq!(ids.len(), 20, "and none was left out");
}

pub async fn a_pass_is_stored_whole(subject: &Subject) {
    let row = made(subject).await;
    let lease = leased(subject, row.sandbox.id, "a", at(0)).await;
    let pass = pass(1);
    let version = subject.store.record(row.sandbox.id, "a", lease.row.sandbox.version, &pass, at(2)).await.unwrap().unwrap();
    let now = read(subject, row.project.id).await.sandbox;
    assert_eq!(now.version, version);
    assert!(version > row.sandbox.version);
    assert_eq!((&now.observed, &now.cause, &now.last_error), (&pass.observed, &pass.cause, &pass.last_error));
    assert_eq!((now.failures, now.wake_at, now.changed_at), (3, Some(at(90)), at(2)));
    assert_eq!((now.desired, now.generation, now.asked_at), (Desired::Running, 1, at(0)), "intent is not reconcile's");

    let cleared = Pass { cause: None, last_error: None, failures: 0, wake_at: None, ..pass };
    let again = subject.store.record(row.sandbox.id, "a", version, &cleared, at(3)).await.unwrap().unwrap();
    let now = read(subject, row.project.id).await.sandbox;
    assert_eq!((now.version, now.cause, now.last_error, now.failures, now.wake_at), (again, None, None, 0, None));
}

pub async fn a_pass_that_changes_nothing_writes_nothing(subject: &Subject) {
    let row = made(subject).await;
    let id = row.sandbox.id;
    let version = leased(subject, id, "a", at(0)).await.row.sandbox.version;
    let version = subject.store.record(id, "a", version, &pass(1), at(2)).await.unwrap().unwrap();
    let before = read(subject, row.project.id).await;
    assert_eq!(subject.store.record(id, "a", version, &pass(1), at(3)).await.unwrap(), Some(version));
    assert_eq!(plain(&read(subject, row.project.id).await), plain(&before));

    let unseen = Pass { failures: 4, wake_at: Some(at(91)), ..pass(1) };
    let next = subject.store.record(id, "a", version, &unseen, at(4)).await.unwrap().unwrap();
    let after = read(subject, row.project.id).await.sandbox;
    assert!(next > version);
    assert_eq!((after.failures, after.changed_at), (4, at(2)), "no viewer sees that");
}

pub async fn a_pass_without_version_or_lease_is_not_stored(subject: &Subject) {
    let row = made(subject).await;
    let id = row.sandbox.id;
    let version = leased(subject, id, "a", at(0)).await.row.sandbox.version;
    let record = async |holder: &str, version, now| subject.store.record(id, holder, version, &pass(1), now).await.unwrap();
    assert_eq!(record("a", version + 1, at(1)).await, None);
    assert_eq!(record("a", version - 1, at(1)).await, None);
    assert_eq!(record("b", version, at(1)).await, None);
    assert_eq!(record("a", version, at(30)).await, None, "the lease is over");
    asked(subject, row.project.id, Ask::Stop, at(2)).await;
    assert_eq!(record("a", version, at(3)).await, None, "an ask came in between");
    let fresh = leased(subject, id, "a", at(4)).await.row.sandbox.version;
    assert!(record("a", fresh, at(5)).await.is_some());
    subject.store.release(id, "a").await.unwrap();
    assert_eq!(record("a", now_version(subject, row.project.id).await, at(6)).await, None, "the lease was given back");
    assert_eq!(subject.store.record(SandboxId(Uuid::new_v4()), "a", 1, &pass(1), at(1)).await.unwrap(), None);
}

pub async fn the_next_wake_is_past_the_lease(subject: &Subject) {
    assert_eq!(subject.store.next_wake().await.unwrap(), None);
    let first = subject.store.create(new(subject.owners[0], "First", at(1))).await.unwrap().0;
    subject.store.create(new(subject.owners[0], "Second", at(40))).await.unwrap();
    assert_eq!(subject.other.next_wake().await.unwrap(), Some(at(1)));
    leased(subject, first.sandbox.id, "a", at(2)).await;
    assert_eq!(subject.other.next_wake().await.unwrap(), Some(at(32)));
    leased(subject, first.sandbox.id, "a", at(20)).await;
    assert_eq!(subject.other.next_wake().await.unwrap(), Some(at(40)));
}

pub async fn a_deleted_project_is_buried_by_its_holder_alone(subject: &Subject) {
    let row = made(subject).await;
    let (id, now) = (row.sandbox.id, at(2));
    let version = leased(subject, id, "a", at(0)).await.row.sandbox.version;
    assert!(!subject.store.bury(id, "a", version, now).await.unwrap(), "nobody asked for its deletion");
    subject.store.delete(subject.owners[0], row.project.id, at(1)).await.unwrap();
    assert!(!subject.store.bury(id, "a", version, now).await.unwrap(), "the version is of before");
    let version = leased(subject, id, "a", at(1)).await.row.sandbox.version;
    assert!(!subject.store.bury(id, "b", version, now).await.unwrap(), "not the holder");
    assert!(!subject.store.bury(id, "a", version, at(31)).await.unwrap(), "the lease is over");
    assert!(subject.store.project(subject.owners[0], row.project.id).await.unwrap().is_some());
    assert!(subject.store.bury(id, "a", version, now).await.unwrap());
    assert!(!subject.store.bury(id, "a", version, now).await.unwrap(), "it is done");
}

pub async fn a_buried_project_is_gone_with_everything(subject: &Subject) {
    let owner = subject.owners[0];
    let with_key = || NewProjectRow { key: Some("key".into()), ..new(owner, "A project", at(0)) };
    let (row, _) = subject.store.create(with_key()).await.unwrap();
    subject.store.delete(owner, row.project.id, at(1)).await.unwrap();
    let version = leased(subject, row.sandbox.id, "a", at(1)).await.row.sandbox.version;
    assert!(subject.store.bury(row.sandbox.id, "a", version, at(2)).await.unwrap());

    let store = &subject.other;
    assert!(store.project(owner, row.project.id).await.unwrap().is_none());
    assert!(store.by_name(owner, &row.sandbox.name).await.unwrap().is_none());
    assert!(store.env(owner, row.project.id).await.unwrap().is_none());
    assert!(store.all().await.unwrap().is_empty());
    assert_eq!(store.next_wake().await.unwrap(), None);
    assert!(store.lease(row.sandbox.id, "a", at(3), HOLD).await.unwrap().is_none());
    assert_eq!(store.record(row.sandbox.id, "a", version, &pass(1), at(3)).await.unwrap(), None);
    let (again, fresh) = store.create(with_key()).await.unwrap();
    assert!(fresh, "its key is free");
    assert_eq!(again.project.slug, row.project.slug, "and so is its slug");
}

pub async fn changes_are_heard_here_and_elsewhere(subject: &Subject) {
    let owner = subject.owners[0];
    for listener in [&subject.store, &subject.other] {
        let mut changes = listener.changes();
        let row = subject.store.create(new(owner, "A project", at(0))).await.unwrap().0;
        let (id, sandbox) = (row.project.id, row.sandbox.id);
        assert_eq!(heard_of(&mut changes, &row).await, change(&row), "created");
        subject.store.update(owner, id, Some("Renamed".parse().unwrap()), None, at(1)).await.unwrap();
        assert_eq!(heard_of(&mut changes, &row).await, change(&row), "renamed");
        subject.store.change_env(owner, id, env(&[("A", "1")]), vec![], at(1)).await.unwrap().unwrap().unwrap();
        assert_eq!(heard_of(&mut changes, &row).await, change(&row), "variables");
        asked(subject, id, Ask::Stop, at(2)).await;
        assert_eq!(heard_of(&mut changes, &row).await, change(&row), "asked");
        let version = leased(subject, sandbox, "a", at(2)).await.row.sandbox.version;
        subject.store.record(sandbox, "a", version, &pass(2), at(3)).await.unwrap().unwrap();
        assert_eq!(heard_of(&mut changes, &row).await, change(&row), "observed");
        subject.store.delete(owner, id, at(4)).await.unwrap();
        assert_eq!(heard_of(&mut changes, &row).await, change(&row), "deleting");
        let version = leased(subject, sandbox, "a", at(4)).await.row.sandbox.version;
        // A statement that tells twice of one row may be heard twice.
        while changes.next().now_or_never().is_some() {}
        assert!(subject.store.bury(sandbox, "a", version, at(5)).await.unwrap());
        assert_eq!(heard_of(&mut changes, &row).await, change(&row), "buried");
    }
}

pub async fn what_no_viewer_sees_tells_nobody(subject: &Subject) {
    let row = made(subject).await;
    let id = row.sandbox.id;
    let version = leased(subject, id, "a", at(0)).await.row.sandbox.version;
    let version = subject.store.record(id, "a", version, &pass(1), at(1)).await.unwrap().unwrap();
    let marker = subject.store.create(new(subject.owners[1], "First marker", at(2))).await.unwrap().0;
    let mut changes = subject.store.changes();
    // What was notified before may still be on its way: the marker's change is the last of it.
    asked(subject, row.project.id, Ask::Start, at(2)).await;
    subject.store.record(id, "a", version, &pass(1), at(3)).await.unwrap().unwrap();
    let unseen = Pass { failures: 9, last_error: None, wake_at: None, ..pass(1) };
    subject.store.record(id, "a", version, &unseen, at(4)).await.unwrap().unwrap();
    leased(subject, id, "a", at(5)).await;
    subject.store.release(id, "a").await.unwrap();
    subject.store.update(subject.owners[0], row.project.id, Some(row.project.name.clone()), None, at(6)).await.unwrap();
    let last = subject.store.create(new(subject.owners[1], "Last marker", at(7))).await.unwrap().0;
    let mut told = Vec::new();
    while told.last() != Some(&change(&last)) {
        told.push(heard(&mut changes).await);
    }
    told.retain(|told| *told != change(&marker) && *told != change(&last));
    // The record before the stream was made may be among them once; nothing after it is.
    assert!(told.len() <= 1, "{told:?}");
}

pub async fn two_streams_hear_the_same(subject: &Subject) {
    let mut streams = [subject.store.changes(), subject.store.changes(), subject.other.changes()];
    let row = made(subject).await;
    for changes in &mut streams {
        assert_eq!(heard(changes).await, change(&row));
    }
}

fn ada() -> Actor {
    Actor { name: "ada".to_owned(), via: Via::Token, token: Some("ci".to_owned()) }
}

fn entry(kind: ActivityKind, title: &str, bucket: Option<&str>) -> Entry {
    let data = serde_json::json!({ "n": 1 });
    Entry {
        kind,
        actor: Actor::system(),
        title: title.to_owned(),
        detail: Some("Why.".to_owned()),
        data,
        bucket: bucket.map(str::to_owned),
    }
}

/// What was told the owner, oldest first, as another process reads it.
async fn told(subject: &Subject, filter: Filter) -> Vec<ActivityView> {
    let filter = Filter { limit: 100, ..filter };
    let mut told = subject.other.activity(subject.owners[0], &filter).await.unwrap();
    told.reverse();
    told
}

fn titles(told: &[ActivityView]) -> Vec<&str> {
    told.iter().map(|view| view.title.as_str()).collect()
}

pub async fn every_ask_is_told_with_who_asked(subject: &Subject) {
    let (owner, store) = (subject.owners[0], &subject.store);
    let row = activity::by(ada(), store.create(new(owner, "Boats", at(0)))).await.unwrap().0;
    let id = row.project.id;
    activity::by(ada(), async {
        asked(subject, id, Ask::Stop, at(1)).await;
        asked(subject, id, Ask::Restart([("ONCE".parse().unwrap(), "hunter2".to_owned())].into()), at(2)).await;
        store.update(owner, id, Some("Ships".parse().unwrap()), Some(Preset::Large), at(3)).await.unwrap();
        store
            .change_env(owner, id, env(&[("FIRST", "hunter2")]), vec!["lower".to_owned()], at(4))
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    })
    .await;
    store.delete(owner, id, at(5)).await.unwrap();
    let told = told(subject, Filter::default()).await;
    assert_eq!(
        titles(&told),
        [
            "Made the project",
            "Stopped the sandbox",
            "Restarted the sandbox",
            "Renamed the project to “Ships”",
            "Changed the size from Medium to Large",
            "Changed FIRST, removed lower",
            "Deleted the project",
        ]
    );
    assert!(told[..6].iter().all(|view| view.actor == ada() && view.kind == ActivityKind::Ask && view.project_id == Some(id)));
    assert_eq!(told[6].actor, Actor::system(), "nobody's name was given");
    assert_eq!((told[1].at, told[1].last_at, told[1].times), (at(1), at(1), 1));
    assert_eq!((told[0].project.as_deref(), told[5].project.as_deref()), (Some("Boats"), Some("Ships")));
    assert_eq!(told[2].data["envVars"], serde_json::json!(["ONCE"]));
    assert!(!format!("{told:?}").contains("hunter2"));
}

pub async fn what_changes_nothing_is_not_told(subject: &Subject) {
    let (owner, store) = (subject.owners[0], &subject.store);
    let row = made(subject).await;
    let id = row.project.id;
    let before = told(subject, Filter::default()).await.len();
    asked(subject, id, Ask::Start, at(1)).await;
    store.update(owner, id, Some(row.project.name.clone()), Some(row.project.preset), at(1)).await.unwrap();
    store.change_env(owner, id, env(&[("FIRST", "1")]), vec![], at(1)).await.unwrap().unwrap().unwrap();
    store.delete(owner, id, at(2)).await.unwrap();
    store.delete(owner, id, at(3)).await.unwrap();
    store.ask(owner, id, Ask::Start, None, at(4)).await.unwrap();
    assert_eq!(told(subject, Filter::default()).await.len(), before + 1, "the first deletion alone");
}

pub async fn what_a_pass_tells_is_stored_with_it_or_not_at_all(subject: &Subject) {
    let row = made(subject).await;
    let id = row.sandbox.id;
    let version = leased(subject, id, "a", at(0)).await.row.sandbox.version;
    let pass = Pass { told: vec![entry(ActivityKind::Phase, "One", None), entry(ActivityKind::Cause, "Two", None)], ..pass(1) };
    let phases = async || {
        let told = told(subject, Filter::default()).await;
        told.into_iter().filter(|view| view.kind != ActivityKind::Ask).map(|view| view.title).collect::<Vec<_>>()
    };
    assert_eq!(subject.store.record(id, "a", version + 1, &pass, at(1)).await.unwrap(), None);
    assert_eq!(subject.store.record(id, "b", version, &pass, at(1)).await.unwrap(), None);
    assert_eq!(phases().await, [""; 0]);
    assert!(subject.store.record(id, "a", version, &pass, at(1)).await.unwrap().is_some());
    assert_eq!(phases().await, ["One", "Two"]);
}

pub async fn what_happens_again_and_again_is_one_row(subject: &Subject) {
    let row = made(subject).await;
    let id = row.sandbox.id;
    let refused = |bucket| entry(ActivityKind::Network, "Refused", Some(bucket));
    // The last of them is told twice, as two replicas do.
    for (bucket, second) in [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("a", 4)] {
        subject.store.tell(id, refused(bucket), at(second)).await.unwrap();
    }
    subject.store.tell(SandboxId(Uuid::new_v4()), refused("a"), at(9)).await.unwrap();
    let other = subject.store.create(new(subject.owners[0], "Other", at(0))).await.unwrap().0;
    subject.store.tell(other.sandbox.id, refused("a"), at(5)).await.unwrap();
    let told = told(subject, Filter { kinds: vec![ActivityKind::Network], ..Filter::default() }).await;
    let seen: Vec<_> = told.iter().map(|view| (view.project_id.unwrap(), view.times, view.at, view.last_at)).collect();
    assert_eq!(
        seen,
        [(row.project.id, 3, at(1), at(4)), (row.project.id, 1, at(3), at(3)), (other.project.id, 1, at(5), at(5)),]
    );
}

pub async fn activity_is_its_owners_and_outlives_the_project(subject: &Subject) {
    let [owner, stranger] = subject.owners;
    let row = made(subject).await;
    let of = Filter { project: Some(row.project.id), limit: 100, ..Filter::default() };
    assert_eq!(subject.store.activity(stranger, &of).await.unwrap(), []);
    subject.store.delete(owner, row.project.id, at(1)).await.unwrap();
    let version = leased(subject, row.sandbox.id, "a", at(1)).await.row.sandbox.version;
    assert!(!subject.store.bury(row.sandbox.id, "b", version, at(2)).await.unwrap());
    assert!(subject.store.bury(row.sandbox.id, "a", version, at(3)).await.unwrap());
    let told = told(subject, of).await;
    let last = told.last().unwrap();
    assert_eq!(titles(&told), ["Made the project", "Deleted the project", "Everything of the project was removed"]);
    assert_eq!((last.detail.as_deref(), last.project.as_deref()), (Some("In 2.0 s"), Some(row.project.name.as_str())));
}

pub async fn activity_comes_in_pages_newest_first(subject: &Subject) {
    let row = made(subject).await;
    for n in 0..7 {
        subject.store.tell(row.sandbox.id, entry(ActivityKind::Run, &format!("{n}"), None), at(n)).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let filter = Filter { kinds: vec![ActivityKind::Run], limit: 3, before, ..Filter::default() };
        let page = subject.other.activity(subject.owners[0], &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        pages.push(titles(&page).concat());
    }
    assert_eq!(pages, ["654", "321", "0"]);
}

pub async fn activity_is_filtered(subject: &Subject) {
    let owner = subject.owners[0];
    let row = activity::by(ada(), subject.store.create(new(owner, "Boats", at(0)))).await.unwrap().0;
    subject.store.tell(row.sandbox.id, entry(ActivityKind::Run, "It 100% Ended", None), at(10)).await.unwrap();
    let cases = [
        (Filter { kinds: vec![ActivityKind::Run, ActivityKind::Cause], ..Filter::default() }, vec!["It 100% Ended"]),
        (Filter { kinds: vec![ActivityKind::Phase], ..Filter::default() }, vec![]),
        (Filter { actor: Some("ada".into()), ..Filter::default() }, vec!["Made the project"]),
        (Filter { actor: Some("ci".into()), ..Filter::default() }, vec!["Made the project"]),
        (Filter { actor: Some("token".into()), ..Filter::default() }, vec!["Made the project"]),
        (Filter { actor: Some("system".into()), ..Filter::default() }, vec!["It 100% Ended"]),
        (Filter { since: Some(at(10)), ..Filter::default() }, vec!["It 100% Ended"]),
        (Filter { since: Some(at(11)), ..Filter::default() }, vec![]),
        (Filter { search: Some("100% eNDed".into()), ..Filter::default() }, vec!["It 100% Ended"]),
        (Filter { search: Some("1__%".into()), ..Filter::default() }, vec![]),
        (Filter { project: Some(ProjectId(Uuid::new_v4())), ..Filter::default() }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(titles(&told(subject, filter.clone()).await), expected, "{filter:?}");
    }
}

pub async fn what_happened_long_ago_is_forgotten(subject: &Subject) {
    let row = made(subject).await;
    for second in [1, 2, 3] {
        subject.store.tell(row.sandbox.id, entry(ActivityKind::Run, "Again", Some("a")), at(second)).await.unwrap();
    }
    assert_eq!(subject.store.forget_activity(at(2)).await.unwrap(), 1, "when it was made; what happened again is kept");
    assert_eq!(titles(&told(subject, Filter::default()).await), ["Again"]);
}

fn extra_of(main: ProjectId, owner: UserId, branch: &str, now: Timestamp) -> NewProjectRow {
    let extra = Some(Extra { main, branch: branch.into() });
    NewProjectRow { extra, ..new(owner, "Overruled", now) }
}

async fn with_extra(subject: &Subject, branch: &str) -> (ProjectAndSandbox, ProjectAndSandbox) {
    let main = made(subject).await;
    let new = extra_of(main.project.id, subject.owners[0], branch, at(1));
    let (extra, fresh) = subject.store.create(new).await.unwrap();
    assert!(fresh);
    (read(subject, main.project.id).await, extra)
}

async fn family(subject: &Subject, main: ProjectId) -> Vec<ProjectId> {
    subject.other.sandboxes(subject.owners[0], main).await.unwrap().iter().map(|row| row.project.id).collect()
}

pub async fn an_extra_sandbox_has_all_of_its_own_but_variables(subject: &Subject) {
    let owner = subject.owners[0];
    let main = made(subject).await;
    subject.store.update(owner, main.project.id, None, Some(Preset::Large), at(1)).await.unwrap();
    subject.store.change_env(owner, main.project.id, env(&[("FIRST", "2")]), vec![], at(1)).await.unwrap().unwrap().unwrap();
    let main = read(subject, main.project.id).await;
    let new = extra_of(main.project.id, owner, "feature/x", at(2));
    let (row, _) = subject.store.create(new.clone()).await.unwrap();
    let (project, sandbox) = (&row.project, &row.sandbox);
    assert_eq!((project.id, sandbox.id, project.main()), (new.id, new.sandbox, main.project.id));
    assert_eq!(project.extra, new.extra);
    assert_eq!((project.name.as_str(), project.slug.as_str()), ("A project / feature/x", "a-project-feature-x"));
    assert_eq!(project.preset, Preset::Large, "the project's size");
    assert_eq!((project.env_revision, sandbox.env_revision), (main.project.env_revision, main.project.env_revision));
    assert_eq!(shown(&sandbox.env), [("FIRST".into(), "2".into()), ("lower".into(), "two words".into())]);
    assert_ne!(sandbox.name, main.sandbox.name);
    let (own, mains) = (project.database.as_ref().unwrap(), main.project.database.as_ref().unwrap());
    assert!(own.role != mains.role && own.database != mains.database);
    assert_eq!(plain(&read(subject, new.id).await), plain(&row));
    let again = read(subject, main.project.id).await;
    assert!(again.project.has_extras && again.project.extra.is_none() && !row.project.has_extras);
    for id in [new.id, main.project.id] {
        let told = told(subject, Filter { project: Some(id), ..Filter::default() }).await;
        assert_eq!(titles(&told).last(), Some(&"Added the sandbox feature/x"));
    }
}

pub async fn an_extra_sandbox_is_found_with_its_project_by_its_owner_alone(subject: &Subject) {
    let (main, first) = with_extra(subject, "b").await;
    let (main, first) = (main.project.id, first.project.id);
    let second = subject.store.create(extra_of(main, subject.owners[0], "a", at(3))).await.unwrap().0.project.id;
    made(subject).await;
    assert_eq!(family(subject, main).await, [main, first, second]);
    assert_eq!(subject.other.projects(subject.owners[0]).await.unwrap().len(), 4);
    let stranger = subject.owners[1];
    assert!(subject.store.sandboxes(stranger, main).await.unwrap().is_empty());
    assert!(subject.store.project(stranger, first).await.unwrap().is_none());
    assert!(subject.store.ask(stranger, first, Ask::Stop, None, at(4)).await.unwrap().is_none());
    assert!(subject.store.env(stranger, first).await.unwrap().is_none());
    assert!(subject.store.change_env(stranger, first, env(&[("A", "1")]), vec![], at(4)).await.unwrap().is_none());
    assert!(subject.store.delete(stranger, first, at(4)).await.unwrap().is_none());
    let theirs = subject.store.create(extra_of(main, stranger, "c", at(4))).await;
    assert!(matches!(theirs, Err(StoreError::Refused(intent::BEING_DELETED))), "{theirs:?}");
}

pub async fn an_extra_sandbox_is_the_one_of_its_branch(subject: &Subject) {
    let main = made(subject).await.project.id;
    let made = at_once((0..8).map(|n| {
        let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
        let new = extra_of(main, subject.owners[0], "same", at(1));
        async move { store.create(new).await }
    }))
    .await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(StoreError::Refused(intent::BRANCH_TAKEN)))), "{made:?}");
    assert_eq!(family(subject, main).await.len(), 2);
    subject.store.create(extra_of(main, subject.owners[0], "Same", at(1))).await.unwrap();
    let other = self::made(subject).await.project.id;
    subject.store.create(extra_of(other, subject.owners[0], "same", at(1))).await.unwrap();
}

pub async fn an_extra_sandbox_counts_and_is_repeated_by_its_key(subject: &Subject) {
    let owner = subject.owners[0];
    let main = made(subject).await.project.id;
    let with = |branch: &str| NewProjectRow { key: Some("key".into()), most: 2, ..extra_of(main, owner, branch, at(1)) };
    let first = subject.store.create(with("one")).await.unwrap().0;
    let (again, fresh) = subject.other.create(with("one")).await.unwrap();
    assert_eq!((plain(&again), fresh), (plain(&first), false));
    assert_eq!(plain(&subject.other.created(owner, "key", at(2)).await.unwrap().unwrap()), plain(&first));
    let more = NewProjectRow { key: None, ..with("two") };
    assert!(matches!(subject.store.create(more).await, Err(StoreError::Full(2))));
    let project = NewProjectRow { most: 2, ..new(owner, "One more", at(1)) };
    assert!(matches!(subject.store.create(project).await, Err(StoreError::Full(2))));
}

pub async fn extra_sandboxes_are_called_after_their_project(subject: &Subject) {
    let (main, extra) = with_extra(subject, "x").await;
    let mut changes = subject.other.changes();
    subject.store.update(subject.owners[0], main.project.id, Some("Ships".parse().unwrap()), None, at(5)).await.unwrap();
    assert_eq!(heard_of(&mut changes, &extra).await, change(&extra), "who looks at it sees its new name");
    let renamed = read(subject, extra.project.id).await.project;
    assert_eq!((renamed.name.as_str(), renamed.updated_at), ("Ships / x", at(5)));
    assert_eq!(renamed.slug, extra.project.slug);
    subject.store.update(subject.owners[0], extra.project.id, None, Some(Preset::Small), at(6)).await.unwrap();
    assert_eq!(read(subject, extra.project.id).await.project.preset, Preset::Small);
    assert_eq!(read(subject, main.project.id).await.project.preset, Preset::Medium, "a size is one's own");
}

pub async fn extra_sandboxes_share_their_projects_variables(subject: &Subject) {
    let owner = subject.owners[0];
    let (main, extra) = with_extra(subject, "x").await;
    let (main, extra) = (main.project.id, extra.project.id);
    let mut changes = [(main, subject.other.changes()), (extra, subject.other.changes())];
    for (through, key, revision) in [(extra, "BY_EXTRA", 2), (main, "BY_MAIN", 3)] {
        let changed =
            subject.store.change_env(owner, through, env(&[(key, "1")]), vec![], at(5)).await.unwrap().unwrap().unwrap();
        assert_eq!((changed.project.id, changed.project.env_revision), (through, revision));
        for (id, changes) in &mut changes {
            let (id, row) = (*id, read(subject, *id).await);
            assert_eq!(row.project.env_revision, revision, "through {through}, of {id}");
            assert_eq!(heard_of(changes, &row).await, change(&row));
            assert!(subject.other.env(owner, id).await.unwrap().unwrap().contains_key(&key.parse().unwrap()));
        }
    }
    subject.store.replace_env(owner, extra, env(&[("LAST", "1")]), at(6)).await.unwrap().unwrap().unwrap();
    assert_eq!(subject.other.env(owner, main).await.unwrap().unwrap().len(), 1);
    assert!(matches!(asked(subject, extra, Ask::Restart(BTreeMap::new()), at(7)).await, Asked::Same(_)), "it still starts");
    assert!(matches!(asked(subject, extra, Ask::Stop, at(8)).await, Asked::Changed(_)));
    assert!(matches!(asked(subject, extra, Ask::Start, at(9)).await, Asked::Changed(_)));
    let row = read(subject, extra).await;
    assert_eq!(shown(&row.sandbox.env), [("LAST".into(), "1".into())]);
    assert_eq!(row.sandbox.env_revision, row.project.env_revision);
    // The password of its database is its own; what changes for all afterwards is new to it as well.
    let reset = subject.store.reset_password(owner, extra, SecretString::from("another"), at(10)).await.unwrap().unwrap();
    subject.store.change_env(owner, main, env(&[("AFTER", "1")]), vec![], at(11)).await.unwrap().unwrap().unwrap();
    assert!(read(subject, extra).await.project.env_revision > reset.project.env_revision, "or its restart would not be due");
    let main = read(subject, main).await.sandbox;
    assert_eq!((main.generation, main.desired), (1, Desired::Running), "what is asked of one is not asked of the other");
}

pub async fn a_project_takes_its_extra_sandboxes_with_it(subject: &Subject) {
    let owner = subject.owners[0];
    let (main, extra) = with_extra(subject, "x").await;
    let another = subject.store.create(extra_of(main.project.id, owner, "y", at(2))).await.unwrap().0;
    let deleted = subject.store.delete(owner, main.project.id, at(5)).await.unwrap().unwrap();
    assert!(deleted.project.has_extras);
    for row in [&main, &extra, &another] {
        let now = read(subject, row.project.id).await;
        assert_eq!((now.project.deleting_since, now.sandbox.desired), (Some(at(5)), Desired::Terminated));
        assert_eq!((now.sandbox.generation, now.sandbox.wake_at), (2, Some(at(5))));
    }
    let more = subject.store.create(extra_of(main.project.id, owner, "z", at(6))).await;
    assert!(matches!(more, Err(StoreError::Refused(intent::BEING_DELETED))), "{more:?}");
    for (row, left) in [(&another, true), (&extra, false)] {
        let version = leased(subject, row.sandbox.id, "a", at(6)).await.row.sandbox.version;
        assert!(subject.store.bury(row.sandbox.id, "a", version, at(7)).await.unwrap());
        assert_eq!(read(subject, main.project.id).await.project.has_extras, left, "the project waits for the last");
    }
    let version = leased(subject, main.sandbox.id, "a", at(8)).await.row.sandbox.version;
    assert!(subject.store.bury(main.sandbox.id, "a", version, at(9)).await.unwrap());
    assert!(subject.other.all().await.unwrap().is_empty());
}

pub async fn an_extra_sandbox_goes_alone(subject: &Subject) {
    let owner = subject.owners[0];
    let (main, extra) = with_extra(subject, "x").await;
    subject.store.delete(owner, extra.project.id, at(5)).await.unwrap().unwrap();
    assert_eq!(plain(&read(subject, main.project.id).await), plain(&main), "nothing is asked of the project");
    let again = subject.store.create(extra_of(main.project.id, owner, "x", at(6))).await;
    assert!(matches!(again, Err(StoreError::Refused(intent::BRANCH_TAKEN))), "not before it is gone: {again:?}");
    let version = leased(subject, extra.sandbox.id, "a", at(6)).await.row.sandbox.version;
    assert!(subject.store.bury(extra.sandbox.id, "a", version, at(7)).await.unwrap());
    assert!(!read(subject, main.project.id).await.project.has_extras);
    assert_eq!(family(subject, main.project.id).await, [main.project.id]);
    let told = told(subject, Filter { project: Some(main.project.id), ..Filter::default() }).await;
    assert_eq!(titles(&told).last(), Some(&"Removed the sandbox x"));
    subject.store.create(extra_of(main.project.id, owner, "x", at(8))).await.unwrap();
}

fn claude(secret: &str) -> Claude {
    Claude { kind: ClaudeKind::ApiKey, secret: SecretString::from(secret), base_url: None }
}

pub async fn own_claude_credentials_are_their_users_alone_and_wait_for_a_new_run(subject: &Subject) {
    let (main, extra) = with_extra(subject, "x").await;
    let (store, [owner, stranger]) = (&subject.store, subject.owners);
    let others = store.create(new(stranger, "Another's", at(1))).await.unwrap().0;
    assert!(store.claude(owner).await.unwrap().is_none() && main.sandbox.claude.is_none());
    let own = Claude {
        kind: ClaudeKind::AuthToken,
        secret: secret("an 'odd' \"secret\""),
        base_url: Some("https://gateway.example".to_owned()),
    };
    let mut changes = subject.other.changes();
    assert!(store.set_claude(owner, Some(own.clone()), at(5)).await.unwrap());
    assert_eq!(heard_of(&mut changes, &main).await, change(&main));
    assert_eq!(subject.other.claude(owner).await.unwrap(), Some((own.clone(), at(5))));
    assert!(subject.other.claude(stranger).await.unwrap().is_none());
    for before in [&main, &extra] {
        let row = read(subject, before.project.id).await;
        assert_eq!(row.project.env_revision, before.project.env_revision + 1);
        assert_eq!(
            (row.sandbox.env_revision, &row.sandbox.claude),
            (before.sandbox.env_revision, &None),
            "a run keeps what it has"
        );
    }
    let kept = store.project(stranger, others.project.id).await.unwrap().unwrap();
    assert_eq!(plain(&kept), plain(&others));

    asked(subject, extra.project.id, Ask::Stop, at(6)).await;
    assert_eq!(read(subject, extra.project.id).await.sandbox.claude, None, "a stop freezes nothing");
    asked(subject, extra.project.id, Ask::Start, at(7)).await;
    let row = read(subject, extra.project.id).await;
    assert_eq!((&row.sandbox.claude, row.sandbox.env_revision), (&Some(own.clone()), row.project.env_revision));
    assert_eq!(shown(&row.sandbox.env), shown(&extra.sandbox.env), "they are not among the variables");
    let made = store.create(new(owner, "Made later", at(8))).await.unwrap().0;
    assert_eq!(made.sandbox.claude, Some(own.clone()));
    assert_eq!(read(subject, made.project.id).await.sandbox.claude, Some(own.clone()));
    store.update(owner, made.project.id, None, Some(Preset::Small), at(9)).await.unwrap();
    assert!(store.set_claude(owner, None, at(10)).await.unwrap());
    assert!(subject.other.claude(owner).await.unwrap().is_none());
    let row = read(subject, made.project.id).await;
    assert_eq!(row.sandbox.claude, Some(own), "a new size changes none");
    asked(subject, made.project.id, Ask::Stop, at(11)).await;
    asked(subject, made.project.id, Ask::Start, at(12)).await;
    assert_eq!(read(subject, made.project.id).await.sandbox.claude, None);
}

pub async fn claude_credentials_that_are_the_same_change_nothing(subject: &Subject) {
    let (store, owner) = (&subject.store, subject.owners[0]);
    let row = made(subject).await;
    assert!(!store.set_claude(owner, None, at(1)).await.unwrap());
    assert_eq!(plain(&read(subject, row.project.id).await), plain(&row));
    assert!(store.set_claude(owner, Some(claude("one")), at(2)).await.unwrap());
    let set = read(subject, row.project.id).await;
    assert!(!store.set_claude(owner, Some(claude("one")), at(3)).await.unwrap());
    assert_eq!(store.claude(owner).await.unwrap(), Some((claude("one"), at(2))));
    assert_eq!(plain(&read(subject, row.project.id).await), plain(&set));
    let kind = Claude { kind: ClaudeKind::AuthToken, ..claude("one") };
    let url = Claude { base_url: Some("http://a".to_owned()), ..claude("one") };
    for (n, other) in (4..).zip([claude("two"), kind, url]) {
        assert!(store.set_claude(owner, Some(other.clone()), at(n)).await.unwrap());
        assert_eq!(subject.other.claude(owner).await.unwrap(), Some((other, at(n))));
    }
    assert_eq!(read(subject, row.project.id).await.project.env_revision, set.project.env_revision + 3);
}

pub async fn claude_credentials_are_told_of_the_account_without_the_secret(subject: &Subject) {
    let (store, owner) = (&subject.store, subject.owners[0]);
    activity::by(ada(), async {
        store.set_claude(owner, Some(claude("hunter2")), at(1)).await.unwrap();
        let token =
            Claude { kind: ClaudeKind::AuthToken, secret: secret("hunter2"), base_url: Some("https://gateway.example".into()) };
        store.set_claude(owner, Some(token), at(2)).await.unwrap();
        store.set_claude(owner, None, at(3)).await.unwrap();
        store.set_claude(owner, None, at(4)).await.unwrap();
    })
    .await;
    let told = told(subject, Filter::default()).await;
    assert_eq!(titles(&told), ["Set Claude credentials", "Replaced Claude credentials", "Removed Claude credentials"]);
    assert!(told.iter().all(|view| view.actor == ada() && view.kind == ActivityKind::Account && view.project_id.is_none()));
    assert_eq!(told[1].detail.as_deref(), Some("An auth token for https://gateway.example"));
    assert_eq!((&told[0].data["kind"], told[1].at), (&serde_json::json!("apiKey"), at(2)));
    assert!(!format!("{told:?}").contains("hunter2"));
    let strangers = Filter { limit: 10, ..Filter::default() };
    assert!(subject.other.activity(subject.owners[1], &strangers).await.unwrap().is_empty());
}

pub async fn what_is_made_or_asked_while_claude_credentials_change_has_them_or_waits(subject: &Subject) {
    let owner = subject.owners[0];
    let (main, extra) = with_extra(subject, "x").await;
    for round in 0..6 {
        let stores = [subject.store.clone(), subject.other.clone()];
        let (main, extra) = (main.project.id, extra.project.id);
        at_once((0..5).map(|n| {
            let store = stores[n % 2].clone();
            async move {
                let now = at(10 + round);
                match n {
                    0 | 1 => {
                        store.set_claude(owner, Some(claude(&format!("{round} {n}"))), now).await.unwrap();
                    }
                    2 => {
                        store.create(new(owner, "Made meanwhile", now)).await.unwrap();
                    }
                    n => {
                        let id = if n == 3 { main } else { extra };
                        store.ask(owner, id, Ask::Stop, None, now).await.unwrap();
                        store.ask(owner, id, Ask::Start, None, now).await.unwrap();
                    }
                }
            }
        }))
        .await;
        let now = subject.store.claude(owner).await.unwrap().map(|(claude, _)| claude);
        for row in subject.other.projects(owner).await.unwrap() {
            let has = row.sandbox.claude == now;
            assert!(has || row.sandbox.env_revision < row.project.env_revision, "has others, and does not wait: {row:?}");
        }
    }
}
