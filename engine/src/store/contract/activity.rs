//! What a store promises of activity: who did what, and when.

use super::{Subject, ada, asked, at, env, leased, made, new, pass, titles, told};
use crate::store::{
    Ask, Pass,
    activity::{self, Entry, Filter},
};
use model::{
    ProjectId, SandboxId,
    activity::{ActivityKind, Actor},
    resources::Preset,
};
use uuid::Uuid;

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

pub async fn what_programs_say_can_be_stored(subject: &Subject) {
    let row = made(subject).await;
    let said = serde_json::json!({ "a\0": ["\u{1b}[1m", "a\nb"] });
    let entry = Entry { data: said, detail: Some("\0".to_owned()), ..entry(ActivityKind::Cause, "It said \0", Some("\0")) };
    subject.store.tell(row.sandbox.id, entry, at(1)).await.unwrap();
    let told = told(subject, Filter::default()).await.pop().unwrap();
    assert_eq!((told.title.as_str(), told.detail.as_deref()), ("It said \u{fffd}", Some("\u{fffd}")));
    assert_eq!(told.data, serde_json::json!({ "a\u{fffd}": ["\u{fffd}[1m", "a\nb"] }));
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
    assert!(told(subject, of.clone()).await.iter().all(|view| !view.project_deleted), "something of it is left");
    let version = leased(subject, row.sandbox.id, "a", at(1)).await.row.sandbox.version;
    assert!(!subject.store.bury(row.sandbox.id, "b", version, at(2)).await.unwrap());
    assert!(subject.store.bury(row.sandbox.id, "a", version, at(3)).await.unwrap());
    let told = told(subject, of).await;
    let last = told.last().unwrap();
    assert!(told.iter().all(|view| view.project_deleted));
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
