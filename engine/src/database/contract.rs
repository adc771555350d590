//! What every [`Database`] promises. A provider's tests run all of it: `database_contract!(subject)`,
//! where `subject` is an async function that makes a [`Subject`].

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed check of the contract is a panic of its test")]

use super::{Database, DatabaseError, DatabaseSpec};
use crate::orchestrator::Removed;
use futures::future::BoxFuture;
use model::{CauseCode, InstallationId, ProjectId, ResourceName, SandboxId, Slug, connection::Connection};
use secrecy::SecretString;
use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};
use uuid::Uuid;

/// A provider to check, and a way to look behind it.
pub struct Subject {
    /// The provider.
    pub database: Arc<dyn Database>,
    /// Whose installation it makes databases for.
    pub installation: InstallationId,
    /// The other side.
    pub behind: Arc<dyn Behind>,
}

/// What the contract does behind a provider's back, and as a program in the sandbox would.
#[async_trait::async_trait]
pub trait Behind: Send + Sync {
    /// Keeps a note in the database.
    ///
    /// # Errors
    /// The connection is refused.
    async fn write(&self, to: &Connection, note: &str) -> anyhow::Result<()>;
    /// The notes, oldest first.
    ///
    /// # Errors
    /// The connection is refused.
    async fn notes(&self, of: &Connection) -> anyhow::Result<Vec<String>>;
    /// Connects and stays; what is returned is done when the other side has ended it.
    ///
    /// # Errors
    /// The connection is refused.
    async fn hold(&self, to: &Connection) -> anyhow::Result<BoxFuture<'static, ()>>;
    /// Makes a role that is nobody's, and, if `database` says so, a database of it.
    async fn put_foreign(&self, role: &str, database: Option<&str>);
    /// Removes a database.
    async fn lose(&self, database: &str);
    /// Whether the role and the database are there.
    async fn there(&self, role: &str, database: &str) -> (bool, bool);
}

/// A test for each promise of the contract.
#[macro_export]
macro_rules! database_contract {
    ($subject:path) => {
        $crate::database_contract! { @tests $subject:
            a_database_is_made_and_can_be_used
            making_it_again_keeps_the_data
            a_changed_password_is_mended
            figures_are_of_what_is_there
            what_is_lost_is_seen_and_made_again
            a_stop_keeps_the_data_and_making_starts_it
            making_at_once_is_making
            a_making_that_broke_off_is_finished_by_the_next
            what_is_somebody_elses_is_neither_adopted_nor_removed
            another_projects_and_another_installations_are_somebody_elses
            nobody_enters_anothers_database
            removing_ends_connections_and_leaves_nothing
            a_removal_that_broke_off_is_finished_by_the_next
            the_list_is_of_what_is_there
        }
    };
    (@tests $subject:path: $($promise:ident)+) => {
        /// Every check of the contract that these tests run.
        const PROMISES: &[&str] = &[$(stringify!($promise)),+];

        $(
            #[tokio::test]
            async fn $promise() {
                if let Some(subject) = $subject().await {
                    $crate::database::contract::$promise(&subject).await;
                }
            }
        )+

        #[test]
        fn no_promise_is_left_out() {
            assert_eq!($crate::database::contract::promises(), PROMISES);
        }
    };
}

/// The names of all checks in this file, in order.
#[must_use]
pub fn promises() -> Vec<&'static str> {
    include_str!("contract.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('('))
        .map(|(name, _)| name)
        .collect()
}

/// What a project with this id is called, in a suite.
#[must_use]
pub fn names(id: Uuid) -> (Slug, ResourceName) {
    let slug = Slug::stored("contract".to_owned());
    let name = ResourceName::new(&slug, *id.as_bytes().last_chunk().unwrap());
    (slug, name)
}

fn spec(subject: &Subject) -> DatabaseSpec {
    let id = Uuid::new_v4();
    let (slug, name) = names(id);
    DatabaseSpec {
        project: ProjectId(id),
        sandbox: SandboxId(id),
        slug,
        name,
        installation: subject.installation,
        role: format!("p_{}", id.simple()),
        database: format!("d_{}", id.simple()),
        password: SecretString::from("it's a \\password"),
    }
}

async fn made(subject: &Subject) -> (DatabaseSpec, Connection) {
    let spec = spec(subject);
    subject.database.ensure(&spec).await.unwrap();
    let connection = subject.database.credentials(&spec);
    (spec, connection)
}

async fn ready(subject: &Subject, spec: &DatabaseSpec) -> bool {
    subject.database.observe(spec).await.unwrap().ready
}

/// Polls a future so often and then drops it, as a process that dies does. `true` if it was done.
async fn broken_off<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

pub async fn a_database_is_made_and_can_be_used(subject: &Subject) {
    let spec = spec(subject);
    let before = subject.database.observe(&spec).await.unwrap();
    assert_eq!((before.ready, before.present), (false, false));
    subject.database.ensure(&spec).await.unwrap();
    let after = subject.database.observe(&spec).await.unwrap();
    assert_eq!((after.ready, after.present), (true, true));
    let connection = subject.database.credentials(&spec);
    assert_eq!((&connection.user, &connection.database), (&spec.role, &spec.database));
    subject.behind.write(&connection, "kept").await.unwrap();
    assert_eq!(subject.behind.notes(&connection).await.unwrap(), ["kept"]);
}

pub async fn making_it_again_keeps_the_data(subject: &Subject) {
    let (spec, connection) = made(subject).await;
    subject.behind.write(&connection, "kept").await.unwrap();
    subject.database.ensure(&spec).await.unwrap();
    assert_eq!(subject.behind.notes(&connection).await.unwrap(), ["kept"]);
}

pub async fn a_changed_password_is_mended(subject: &Subject) {
    let (spec, before) = made(subject).await;
    subject.behind.write(&before, "kept").await.unwrap();
    let changed = DatabaseSpec { password: SecretString::from("another"), ..spec };
    subject.database.ensure(&changed).await.unwrap();
    assert_eq!(subject.behind.notes(&subject.database.credentials(&changed)).await.unwrap(), ["kept"]);
}

pub async fn figures_are_of_what_is_there(subject: &Subject) {
    let never_made = spec(subject);
    assert!(subject.database.figures(&never_made).await.unwrap().is_none(), "of what was never made");
    let (spec, connection) = made(subject).await;
    // A provider may not ask at all; one that does counts what is in it and who is connected.
    let Some(empty) = subject.database.figures(&spec).await.unwrap() else { return };
    assert!(empty.version.starts_with(|c: char| c.is_ascii_digit()) && !empty.version.contains(' '), "{empty:?}");
    for _ in 0..20 {
        subject.behind.write(&connection, &"x".repeat(10_000)).await.unwrap();
    }
    assert!(subject.database.figures(&spec).await.unwrap().unwrap().size_bytes > empty.size_bytes);
    let stranger = DatabaseSpec { project: ProjectId(Uuid::new_v4()), role: "stranger_1".to_owned(), ..spec };
    assert!(subject.database.figures(&stranger).await.unwrap().is_none(), "of another's");
}

pub async fn what_is_lost_is_seen_and_made_again(subject: &Subject) {
    let (spec, connection) = made(subject).await;
    subject.behind.lose(&spec.database).await;
    let seen = subject.database.observe(&spec).await.unwrap();
    assert_eq!((seen.ready, seen.present), (false, true), "an address in our tables is no proof");
    subject.database.ensure(&spec).await.unwrap();
    assert!(ready(subject, &spec).await);
    subject.behind.write(&connection, "new").await.unwrap();
}

pub async fn a_stop_keeps_the_data_and_making_starts_it(subject: &Subject) {
    let never_made = spec(subject);
    subject.database.stop(&never_made).await.unwrap();
    assert!(!subject.database.observe(&never_made).await.unwrap().present, "stopping makes nothing");

    let (spec, connection) = made(subject).await;
    subject.behind.write(&connection, "kept").await.unwrap();
    let glance = subject.database.glance(&spec);
    assert!(glance.as_ref().is_none_or(|glance| glance.on), "{glance:?}");
    subject.database.stop(&spec).await.unwrap();
    subject.database.stop(&spec).await.unwrap();
    if glance.is_some_and(|glance| glance.stops) {
        let stopped = async {
            while ready(subject, &spec).await || subject.database.glance(&spec).is_some_and(|glance| glance.on || glance.ending) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(90), stopped).await.unwrap_or_else(|_| panic!("it runs on"));
        assert!(subject.behind.notes(&connection).await.is_err(), "nobody answers there");
    }
    subject.database.ensure(&spec).await.unwrap();
    assert!(ready(subject, &spec).await && subject.database.glance(&spec).is_none_or(|glance| glance.on));
    assert_eq!(subject.behind.notes(&connection).await.unwrap(), ["kept"]);
}

pub async fn making_at_once_is_making(subject: &Subject) {
    let (one, two) = (spec(subject), spec(subject));
    let all = [&one, &two, &one, &two, &one].map(|spec| subject.database.ensure(spec));
    for done in futures::future::join_all(all).await {
        done.unwrap();
    }
    assert!(ready(subject, &one).await && ready(subject, &two).await);
}

pub async fn a_making_that_broke_off_is_finished_by_the_next(subject: &Subject) {
    for polls in 1.. {
        let spec = spec(subject);
        let done = broken_off(subject.database.ensure(&spec), polls).await;
        subject.database.ensure(&spec).await.unwrap();
        assert!(ready(subject, &spec).await, "after {polls} polls");
        subject.behind.write(&subject.database.credentials(&spec), "works").await.unwrap();
        assert_eq!(subject.database.remove(&spec).await.unwrap(), Removed::Gone);
        if done {
            assert!(polls > 2, "it was never broken off");
            return;
        }
    }
}

async fn assert_taken(subject: &Subject, spec: &DatabaseSpec) {
    match subject.database.ensure(spec).await {
        Err(DatabaseError::Caused(cause)) => {
            assert_eq!(cause.code, CauseCode::NameTaken);
            assert!(!cause.next_steps.is_empty());
        }
        other => panic!("{other:?}"),
    }
    let seen = subject.database.observe(spec).await.unwrap();
    assert!(!seen.ready);
}

pub async fn what_is_somebody_elses_is_neither_adopted_nor_removed(subject: &Subject) {
    let role = spec(subject);
    subject.behind.put_foreign(&role.role, None).await;
    assert_taken(subject, &role).await;
    assert_eq!(subject.database.remove(&role).await.unwrap(), Removed::Gone);
    assert_eq!(subject.behind.there(&role.role, &role.database).await, (true, false));

    let database = spec(subject);
    let owner = format!("x_{}", database.role);
    subject.behind.put_foreign(&owner, Some(&database.database)).await;
    assert_taken(subject, &database).await;
    assert_eq!(subject.database.remove(&database).await.unwrap(), Removed::Gone);
    assert_eq!(subject.behind.there(&owner, &database.database).await, (true, true));
    assert!(!subject.database.list().await.unwrap().contains(&role.project));
}

pub async fn another_projects_and_another_installations_are_somebody_elses(subject: &Subject) {
    let (spec, connection) = made(subject).await;
    subject.behind.write(&connection, "kept").await.unwrap();
    let project = DatabaseSpec { project: ProjectId(Uuid::new_v4()), ..spec.clone() };
    let installation = DatabaseSpec { installation: InstallationId(Uuid::new_v4()), ..spec.clone() };
    for other in [project, installation] {
        assert_taken(subject, &other).await;
        assert_eq!(subject.database.remove(&other).await.unwrap(), Removed::Gone);
    }
    assert_eq!(subject.behind.notes(&connection).await.unwrap(), ["kept"]);
}

pub async fn nobody_enters_anothers_database(subject: &Subject) {
    let (_, one) = made(subject).await;
    let (_, two) = made(subject).await;
    let crossed = Connection { database: two.database.clone(), ..one.clone() };
    subject.behind.write(&one, "mine").await.unwrap();
    assert!(subject.behind.write(&crossed, "theirs").await.is_err());
    assert!(subject.behind.hold(&crossed).await.is_err());
}

pub async fn removing_ends_connections_and_leaves_nothing(subject: &Subject) {
    let (spec, connection) = made(subject).await;
    subject.behind.write(&connection, "gone soon").await.unwrap();
    let ended = subject.behind.hold(&connection).await.unwrap();
    assert_eq!(subject.database.remove(&spec).await.unwrap(), Removed::Gone);
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap_or_else(|_| panic!("the connection is still open"));
    assert_eq!(subject.behind.there(&spec.role, &spec.database).await, (false, false));
    let seen = subject.database.observe(&spec).await.unwrap();
    assert_eq!((seen.ready, seen.present), (false, false));
    assert_eq!(subject.database.remove(&spec).await.unwrap(), Removed::Gone, "removing what is gone is removing");
    assert!(subject.behind.notes(&connection).await.is_err());
}

pub async fn a_removal_that_broke_off_is_finished_by_the_next(subject: &Subject) {
    for polls in 1.. {
        let (spec, _) = made(subject).await;
        let done = broken_off(subject.database.remove(&spec), polls).await;
        assert_eq!(subject.database.remove(&spec).await.unwrap(), Removed::Gone);
        assert_eq!(subject.behind.there(&spec.role, &spec.database).await, (false, false), "after {polls} polls");
        if done {
            assert!(polls > 2, "it was never broken off");
            return;
        }
    }
}

pub async fn the_list_is_of_what_is_there(subject: &Subject) {
    let (one, _) = made(subject).await;
    let (two, _) = made(subject).await;
    assert_eq!(subject.database.remove(&one).await.unwrap(), Removed::Gone);
    let list = subject.database.list().await.unwrap();
    assert!(list.contains(&two.project) && !list.contains(&one.project));
}
