//! What a store promises of asks: start, stop, restart, terminate and delete, and the keys that repeat them.

use super::{Subject, asked, at, at_once, env, leased, made, new, now_version, pass, plain, read, shown};
use crate::store::{Ask, Asked, Pass, ProjectAndSandbox, intent};
use jiff::Timestamp;
use model::{Desired, Observed, resources::Preset};
use std::collections::BTreeMap;

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
    assert_eq!(subject.store.next_wake(&[]).await.unwrap(), None);

    asked(subject, row.project.id, Ask::Stop, at(2)).await;
    assert_eq!(subject.store.next_wake(&[]).await.unwrap(), Some(at(2)));
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
