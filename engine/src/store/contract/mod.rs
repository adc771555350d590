//! What every [`Store`] promises. A store's tests run all of it: `store_contract!(subject)`, where
//! `subject` is an async function that makes a [`Subject`] on a fresh store. Each file has the checks
//! of one noun; what they share is here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed check of the contract is a panic of its test")]

mod activity;
mod asks;
mod changes;
mod claude;
mod environment;
mod leases;
mod projects;
mod sandboxes;

use super::{Ask, Asked, Changed, DatabaseRow, Extra, Leased, NewProjectRow, Pass, ProjectAndSandbox, Store, activity::Filter};
use futures::{StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use model::{
    Cause, CauseCode, Observed, ProjectId, SandboxId, StageFact, UserId,
    activity::{ActivityView, Actor, Via},
    env::EnvKey,
    resources::{Preset, Sizes},
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
    /// The same rows, as a process has them in which sizes stand for other amounts.
    pub sized: Box<dyn Fn(Sizes) -> Arc<dyn Store> + Send + Sync>,
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
            what_a_size_stands_for_is_frozen_until_the_next_run
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
            a_pass_that_has_the_password_of_before_is_not_stored
            a_lease_keeps_others_away_until_it_ends
            a_lease_is_renewed_by_its_holder
            due_rows_come_longest_due_first_and_once
            who_is_left_out_is_not_due
            due_rows_are_shared_out_among_processes
            what_a_clock_that_was_set_back_left_in_the_future_is_due
            a_pass_is_stored_whole
            a_pass_that_changes_nothing_writes_nothing
            a_pass_without_version_or_lease_is_not_stored
            the_next_wake_is_past_the_lease
            a_deleted_project_is_buried_by_its_holder_alone
            a_buried_project_is_gone_with_everything
            changes_are_heard_here_and_elsewhere
            what_no_viewer_sees_tells_nobody
            two_streams_hear_the_same
            what_programs_say_can_be_stored
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

/// Makes the checks of each noun's file checks of the contract.
macro_rules! nouns {
    ($($noun:ident)+) => {
        $(pub use $noun::*;)+

        /// The names of all checks, in the order of the files and in each from its top.
        #[must_use]
        pub fn promises() -> Vec<&'static str> {
            [$(include_str!(concat!(stringify!($noun), ".rs"))),+]
                .into_iter()
                .flat_map(str::lines)
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('('))
                .map(|(name, _)| name)
                .collect()
        }
    };
}

nouns! { projects asks environment leases changes activity sandboxes claude }

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

async fn now_version(subject: &Subject, id: ProjectId) -> i64 {
    read(subject, id).await.sandbox.version
}

fn ada() -> Actor {
    Actor { name: "ada".to_owned(), via: Via::Token, token: Some("ci".to_owned()) }
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
