//! What a store promises of leases, and of what their holders alone do: record a pass, and bury a project.

use super::{HOLD, Subject, asked, at, at_once, leased, made, new, now_version, pass, plain, read};
use crate::store::{Ask, NewProjectRow, Pass};
use model::{Desired, SandboxId};
use uuid::Uuid;

pub async fn a_lease_keeps_others_away_until_it_ends(subject: &Subject) {
    let id = made(subject).await.sandbox.id;
    let lease = leased(subject, id, "a", at(0)).await;
    assert_eq!(lease.until, at(30));
    assert!(subject.other.lease(id, "b", at(29), HOLD).await.unwrap().is_none());
    assert!(subject.other.lease_due("b", at(29), HOLD, 10, &[]).await.unwrap().is_empty());
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
    let due = |limit| subject.store.lease_due("a", at(10), HOLD, limit, &[]);
    let first: Vec<_> = due(2).await.unwrap().iter().map(|lease| lease.row.sandbox.id).collect();
    assert_eq!(first, [ids[1], ids[2]]);
    let second: Vec<_> = due(10).await.unwrap().iter().map(|lease| lease.row.sandbox.id).collect();
    assert_eq!(second, [ids[0]], "what is held does not come again, not even to its holder");
    assert!(due(10).await.unwrap().is_empty());
    subject.store.release(ids[1], "a").await.unwrap();
    assert_eq!(due(10).await.unwrap().len(), 1);
}

pub async fn who_is_left_out_is_not_due(subject: &Subject) {
    let mut ids = Vec::new();
    for (name, second) in [("A", 1), ("B", 2)] {
        ids.push(subject.store.create(new(subject.owners[0], name, at(second))).await.unwrap().0.sandbox.id);
    }
    assert_eq!(subject.store.next_wake(&ids[..1]).await.unwrap(), Some(at(2)));
    assert_eq!(subject.store.next_wake(&ids).await.unwrap(), None);
    assert!(subject.store.lease_due("a", at(10), HOLD, 10, &ids).await.unwrap().is_empty());
    let due = subject.store.lease_due("a", at(10), HOLD, 10, &ids[..1]).await.unwrap();
    assert_eq!(due.iter().map(|lease| lease.row.sandbox.id).collect::<Vec<_>>(), ids[1..]);
    assert!(subject.other.lease(ids[0], "b", at(10), HOLD).await.unwrap().is_some(), "and no lease is taken of it");
}

pub async fn due_rows_are_shared_out_among_processes(subject: &Subject) {
    for n in 0..20 {
        subject.store.create(new(subject.owners[0], &format!("P{n}"), at(0))).await.unwrap();
    }
    let taken = at_once((0..10).map(|n| {
        let store = if n % 2 == 0 { subject.store.clone() } else { subject.other.clone() };
        async move { store.lease_due(&format!("holder {n}"), at(1), HOLD, 4, &[]).await.unwrap() }
    }))
    .await;
    let mut ids: Vec<_> = taken.iter().flatten().map(|lease| lease.row.sandbox.id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "no row was leased twice");
    while let Some(lease) = subject.store.lease_due("last", at(1), HOLD, 1, &[]).await.unwrap().pop() {
        ids.push(lease.row.sandbox.id);
    }
    assert_eq!(ids.len(), 20, "and none was left out");
}

pub async fn what_a_clock_that_was_set_back_left_in_the_future_is_due(subject: &Subject) {
    let id = subject.store.create(new(subject.owners[0], "A project", at(3600))).await.unwrap().0.sandbox.id;
    leased(subject, id, "dead", at(3600)).await;
    assert!(subject.other.lease_due("b", at(3590), HOLD, 1, &[]).await.unwrap().is_empty(), "it is held, and not yet due");
    leased(subject, id, "b", at(0)).await;
    assert!(subject.store.lease(id, "c", at(1), HOLD).await.unwrap().is_none(), "a lease of now is one");
    subject.other.release(id, "b").await.unwrap();
    assert!(subject.store.lease_due("c", at(3590), HOLD, 1, &[]).await.unwrap().is_empty(), "as near as this it is waited for");
    leased(subject, id, "dead", at(3600)).await;
    let due = subject.store.lease_due("c", at(2), HOLD, 1, &[]).await.unwrap();
    assert_eq!((due.len(), due[0].until), (1, at(32)));
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
    assert_eq!(subject.store.next_wake(&[]).await.unwrap(), None);
    let first = subject.store.create(new(subject.owners[0], "First", at(1))).await.unwrap().0;
    subject.store.create(new(subject.owners[0], "Second", at(40))).await.unwrap();
    assert_eq!(subject.other.next_wake(&[]).await.unwrap(), Some(at(1)));
    leased(subject, first.sandbox.id, "a", at(2)).await;
    assert_eq!(subject.other.next_wake(&[]).await.unwrap(), Some(at(32)));
    leased(subject, first.sandbox.id, "a", at(20)).await;
    assert_eq!(subject.other.next_wake(&[]).await.unwrap(), Some(at(40)));
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
    assert_eq!(store.next_wake(&[]).await.unwrap(), None);
    assert!(store.lease(row.sandbox.id, "a", at(3), HOLD).await.unwrap().is_none());
    assert_eq!(store.record(row.sandbox.id, "a", version, &pass(1), at(3)).await.unwrap(), None);
    let (again, fresh) = store.create(with_key()).await.unwrap();
    assert!(fresh, "its key is free");
    assert_eq!(again.project.slug, row.project.slug, "and so is its slug");
}
