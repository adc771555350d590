//! What a store promises of users' own Claude credentials.

use super::{
    Subject, ada, asked, at, at_once, change, heard_of, made, new, plain, read, secret, shown, titles, told, with_extra,
};
use crate::store::{
    Ask,
    activity::{self, Filter},
    claude::Claude,
};
use model::{activity::ActivityKind, claude::ClaudeKind, resources::Preset};
use secrecy::SecretString;

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
