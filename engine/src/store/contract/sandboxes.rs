//! What a store promises of a project's extra sandboxes.

use super::{
    Subject, asked, at, at_once, change, env, extra_of, heard_of, leased, made, new, plain, read, shown, titles, told, with_extra,
};
use crate::store::{Ask, Asked, NewProjectRow, StoreError, activity::Filter, intent};
use model::{Desired, ProjectId, resources::Preset};
use secrecy::SecretString;
use std::collections::BTreeMap;

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
