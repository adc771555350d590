//! What a store promises of projects: how they are made, found, resized and renamed.

use super::{Subject, asked, at, at_once, env, leased, made, new, pass, plain, read, shown};
use crate::store::{Ask, Asked, NewProjectRow, Pass, StoreError, intent};
use model::{
    Desired, Observed, Phase, ProjectId,
    resources::{Preset, Resources, Sizes},
};
use secrecy::ExposeSecret as _;
use std::collections::BTreeMap;
use uuid::Uuid;

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

pub async fn what_a_size_stands_for_is_frozen_until_the_next_run(subject: &Subject) {
    let row = made(subject).await;
    let (owner, id) = (subject.owners[0], row.project.id);
    let amounts = |preset: Preset| Resources { request_cpu_millis: 7, limit_memory_bytes: 77 << 20, ..preset.resources() };
    let sizes = Preset::ALL.into_iter().fold(Sizes::default(), |sizes, preset| sizes.with(preset, amounts(preset)));
    let changed = (subject.sized)(sizes);
    let ask = async |ask, now| match changed.ask(owner, id, ask, None, now).await.unwrap().unwrap() {
        Asked::Changed(row) => row.sandbox,
        other => panic!("{other:?}"),
    };

    let seen = changed.project(owner, id).await.unwrap().unwrap();
    assert_eq!((row.sandbox.resources, plain(&seen)), (Preset::Medium.resources(), plain(&row)), "a new setting changes no row");
    let same = changed.update(owner, id, None, Some(Preset::Medium), at(1)).await.unwrap().unwrap();
    assert_eq!(plain(&same), plain(&row), "the same size is no ask for its new amounts");
    assert_eq!(ask(Ask::Stop, at(2)).await.resources, Preset::Medium.resources(), "nor is a stop");

    assert_eq!(ask(Ask::Start, at(3)).await.resources, amounts(Preset::Medium));
    assert_eq!(read(subject, id).await.sandbox.resources, amounts(Preset::Medium));
    let resized = subject.store.update(owner, id, None, Some(Preset::Large), at(4)).await.unwrap().unwrap();
    assert_eq!(resized.sandbox.resources, Preset::Large.resources(), "as the process has it that is asked");
    let again = changed.update(owner, id, None, Some(Preset::Small), at(5)).await.unwrap().unwrap();
    assert_eq!(again.sandbox.resources, amounts(Preset::Small));
    assert_eq!(read(subject, id).await.sandbox.resources, amounts(Preset::Small));

    let (new, _) = changed.create(new(owner, "Another", at(6))).await.unwrap();
    assert_eq!(new.sandbox.resources, amounts(Preset::Medium));
    assert_eq!(read(subject, new.project.id).await.sandbox.resources, amounts(Preset::Medium));
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
