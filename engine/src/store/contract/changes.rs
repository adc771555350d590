//! What a store promises of the changes that it tells.

use super::{Subject, asked, at, change, env, heard, heard_of, leased, made, new, pass};
use crate::store::{Ask, Pass};
use futures::{FutureExt as _, StreamExt as _};

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
