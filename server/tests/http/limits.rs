//! What is asked too often: 429, and when to ask again.

use crate::support::{Answer, Client, Setup, TestApp};
use futures::FutureExt as _;
use model::view::Scope;
use serde_json::json;
use std::{collections::BTreeSet, fs, path::Path};

#[track_caller]
fn says_when(answer: &Answer, code: &str) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let secs: u32 = answer.header("retry-after").parse().unwrap_or_else(|_| panic!("no whole seconds: {:?}", answer.headers));
    assert!((1..=60).contains(&secs), "{secs} s");
    let body = answer.json();
    // A server function answers the error itself, for its page.
    let (said, steps) = match body.get("details") {
        Some(details) => (&details["code"], &details["nextSteps"]),
        None => (&body["code"], &body["nextSteps"]),
    };
    assert_eq!((said, &steps[0]), (&json!(code), &json!(format!("Wait {secs} s."))), "{body}");
}

#[tokio::test]
async fn every_429_says_when_to_ask_again() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("never made");
    let owner = app.signed_in().await;

    let wrong = app.anonymous().with("authorization", "Bearer fsa_wrong");
    let new = json!({ "name": "Made", "database": false });
    let made = owner.post("/api/projects", &new).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let branches = format!("/api/projects/{}/sandboxes", made.json()["id"].as_str().unwrap());
    let function = json!({ "new": new, "key": "made-by-a-page" });
    let branch = json!({ "branch": "x" });
    for (client, path, body, code) in [
        (&wrong, "/api/projects", &new, "too-many"),
        (&app.anonymous(), "/api/sign-in", &json!({ "code": "wrong" }), "too-many"),
        // A user's projects and sandboxes are counted together, whoever asks.
        (&owner, "/api/projects", &new, "too-many"),
        (&app.token(Scope::Write).await, branches.as_str(), &branch, "too-many"),
        (&owner, "/api/fn/create-project", &function, "too-many"),
    ] {
        let mut refused = None;
        for _ in 0..400 {
            let answer = client.post(path, body).await;
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
        }
        says_when(&refused.unwrap_or_else(|| panic!("{path} has no limit")), code);
    }
}

#[tokio::test]
async fn the_doctor_looks_once_at_a_time_and_says_when_to_ask_again() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("slow statement");
    let owner = app.signed_in().await;
    // A look reads every project, and waits for that for longer than another one waits for its turn.
    let mut holding = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE").execute(&mut *holding).await.unwrap();
    let looks = [owner.get("/api/doctor").boxed_local(), owner.get("/api/doctor").boxed_local()];
    let (busy, _, mut other) = futures::future::select_all(looks).await;
    holding.rollback().await.unwrap();
    says_when(&busy, "doctor-busy");
    let said = busy.json()["details"]["message"].clone();
    assert_eq!(said, "The doctor is looking already, and looks once at a time.");
    let looked = other.remove(0).await;
    assert_eq!(looked.status, 200, "{}", looked.text());
    assert_eq!(owner.get("/api/doctor").await.status, 200, "and the next has its turn");
}

#[tokio::test]
async fn pages_their_calls_and_whom_ingresses_refuse_count_as_the_api_does() {
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let setup = Setup { requests_per_second: 1, ingress: Some("apps.example"), trusted_proxies, ..Setup::default() };
    let Some(app) = TestApp::start_as(setup).await else { return };
    let controller = Client::new(app.port).with("host", "fullstack-agent.team.svc").with("x-real-ip", "203.0.113.7");
    let revoke = json!({ "id": uuid::Uuid::nil() });
    let page = app.token(Scope::Write).await;
    let call = app.token(Scope::Write).await;
    for what in ["page", "call", "ingress"] {
        let mut refused = None;
        for _ in 0..12 {
            let answer = match what {
                "page" => page.get("/").await,
                "call" => call.post("/api/fn/revoke-token", &revoke).await,
                _ => controller.get("/ingress/auth?of=x").await,
            };
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
        }
        says_when(&refused.unwrap_or_else(|| panic!("{what}: four at once, and one a second")), "too-many");
    }
    let other = controller.with("x-real-ip", "203.0.113.8").get("/ingress/auth?of=x").await;
    assert_eq!(other.status, 403, "another visitor of the same controller's");
    let page = app.anonymous().with("x-forwarded-for", "203.0.113.7").get("/sign-in").await;
    assert_eq!(page.status, 200, "whom an Ingress refuses may sign in");
}

#[tokio::test]
async fn an_address_is_believed_of_no_ingress_controller_that_nobody_named() {
    let setup = Setup { requests_per_second: 1, ingress: Some("apps.example"), ..Setup::default() };
    let Some(app) = TestApp::start_as(setup).await else { return };
    let controller = Client::new(app.port).with("host", "fullstack-agent.team.svc");
    let mut answers = Vec::new();
    for n in 0..12 {
        let asked = controller.with("x-real-ip", &format!("203.0.113.{n}")).with("x-forwarded-for", &format!("203.0.113.{n}"));
        answers.push(asked.get("/ingress/auth?of=x").await.status.as_u16());
    }
    assert!(answers.contains(&429), "all of them count as the controller: {answers:?}");
}

#[tokio::test]
async fn without_ingresses_nobody_is_asked_about() {
    let Some(app) = TestApp::start_as(Setup { requests_per_second: 1, ..Setup::default() }).await else { return };
    let controller = Client::new(app.port).with("host", "fullstack-agent.team.svc");
    for _ in 0..12 {
        assert_eq!(controller.get("/ingress/auth?of=x").await.status, 403);
    }
}

/// The kind has its wait in it, so that none can be forgotten; what remains is that nobody writes the status by hand.
#[test]
fn nothing_makes_a_429_in_another_way() {
    fn look(folder: &Path, root: &Path, word: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, root, word, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                if text.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//")) {
                    found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }
    let root = Path::new("..");
    let files = |word: &str| {
        let mut found = BTreeSet::new();
        for folder in ["app/src", "server/src"] {
            look(&root.join(folder), root, word, &mut found);
        }
        found.into_iter().collect::<Vec<_>>()
    };
    // They read what others answer.
    assert_eq!(files("TOO_MANY_REQUESTS"), ["server/src/agent.rs", "server/src/github/api.rs", "server/src/github/mod.rs"]);
    // The constructor, and who writes the header.
    assert_eq!(files("ErrorKind::TooMany"), ["app/src/error.rs", "server/src/http/errors.rs"]);
}
