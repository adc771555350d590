//! What a store promises of a project's variables and of its database's password.

use super::{Subject, ada, at, at_once, env, leased, made, pass, plain, read, told, with_extra};
use crate::store::activity::{self, Filter};
use model::env::EnvError;
use secrecy::{ExposeSecret as _, SecretString};

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

pub async fn a_pass_that_has_the_password_of_before_is_not_stored(subject: &Subject) {
    let (main, extra) = with_extra(subject, "x").await;
    let (store, owner) = (&subject.store, subject.owners[0]);
    let [main_version, extra_version] = [&main, &extra].map(|row| row.sandbox.version);
    for id in [main.sandbox.id, extra.sandbox.id] {
        leased(subject, id, "a", at(2)).await;
    }
    let reset = store.reset_password(owner, main.project.id, SecretString::from("fresh"), at(3)).await.unwrap().unwrap();
    assert!(store.record(main.sandbox.id, "a", main_version, &pass(1), at(4)).await.unwrap().is_none());
    let now = read(subject, main.project.id).await.sandbox;
    assert_eq!((now.version, now.wake_at), (reset.sandbox.version, Some(at(3))), "it is looked at again");
    assert_eq!((now.generation, now.restart_count), (1, 1), "nobody asked for another run");
    let again = leased(subject, main.sandbox.id, "a", at(5)).await.row;
    assert_eq!(again.project.database.unwrap().password.expose_secret(), "fresh");
    assert!(store.record(main.sandbox.id, "a", again.sandbox.version, &pass(1), at(6)).await.unwrap().is_some());
    let others = store.record(extra.sandbox.id, "a", extra_version, &pass(1), at(6)).await.unwrap();
    assert!(others.is_some(), "the database of an extra sandbox is another");
}
