//! A user's own Claude credentials.

use crate::support::{Client, TestApp};
use engine::{
    database::memory::MemoryDatabase,
    reconcile::{Settings, spec},
};
use http::Method;
use model::{Desired, InstallationId, ProjectId, view::Scope};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PATH: &str = "/api/claude";
const SECRET: &str = "sk-ant-hunter2-0123456789wxyz";

async fn put(client: &Client, body: &Value) -> crate::support::Answer {
    client.send(Method::PUT, PATH, body).await
}

/// What the sandbox is started with, of Claude's.
async fn inside(app: &TestApp, project: ProjectId) -> BTreeMap<String, String> {
    let row = app.store.project(app.owner, project).await.unwrap().unwrap();
    let database: &MemoryDatabase = &app.databases;
    let spec = spec::sandbox(&row, database, &Settings::new(InstallationId(uuid::Uuid::nil())), Desired::Running);
    let own = spec.env.into_iter().filter(|(key, _)| key.starts_with("ANTHROPIC_"));
    own.map(|(key, value)| (key, value.expose_secret().to_owned())).collect()
}

fn variable(env: &Value, key: &str) -> Value {
    let all = env["variables"].as_array().unwrap_or_else(|| panic!("no variables: {env}"));
    all.iter().find(|one| one["key"] == key).cloned().unwrap_or_default()
}

#[tokio::test]
async fn own_credentials_are_written_and_never_read_back() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let none = json!({ "own": null, "operator": false, "operatorFile": "", "waiting": [] });
    assert_eq!(owner.get(PATH).await.json(), none);
    let new = json!({ "kind": "authToken", "value": format!(" {SECRET}\n"), "baseUrl": "https://gateway.example/anthropic" });
    let set = put(&owner, &new).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let own = &set.json()["own"];
    assert_eq!((&own["kind"], &own["endsWith"]), (&json!("authToken"), &json!("wxyz")));
    assert_eq!(own["baseUrl"], "https://gateway.example/anthropic");
    assert!(own["setAt"].as_str().unwrap().ends_with('Z'), "{own}");
    assert_eq!(owner.get(PATH).await.json(), set.json());
    // Of whoever else asks, they are not.
    assert_eq!(app.somebody_else().await.get(PATH).await.json(), none);
    assert_eq!(app.token(Scope::Read).await.get(PATH).await.json(), set.json());

    // Who may not changes nothing.
    let reader = app.token(Scope::Read).await;
    let before = app.tables().await;
    assert_eq!(put(&reader, &new).await.code(), "read-only");
    assert_eq!(reader.send(Method::DELETE, PATH, &json!({})).await.status, 403);
    assert_eq!(put(&app.anonymous(), &new).await.status, 401);
    assert_eq!(app.anonymous().get(PATH).await.status, 401);
    assert_eq!(app.tables().await, before);

    // Nothing shows the secret: no table, no activity, no answer.
    let (project, _) = app.running(&owner, "Has them").await;
    assert_eq!(inside(&app, project).await["ANTHROPIC_AUTH_TOKEN"], SECRET);
    let tables: String = sqlx::query_scalar(
        "SELECT concat_ws(' ', (SELECT string_agg(c::text, ' ') FROM claude_credentials c),
            (SELECT string_agg(s::text, ' ') FROM sandboxes s), (SELECT string_agg(a::text, ' ') FROM activity a))",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert!(tables.len() > 200 && !tables.contains("hunter2") && !tables.contains(&hex::encode("hunter2")), "{tables}");
    let activity = owner.get("/api/activity").await;
    assert!(!activity.text().contains("hunter2"));
    let told = activity.json()["activity"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["kind"] == "account" && one["data"]["event"] == "claude-set")
        .cloned();
    let told = told.unwrap_or_else(|| panic!("not told: {}", activity.text()));
    assert_eq!(told["title"], "Set Claude credentials");
    assert_eq!(told["detail"], "An auth token for https://gateway.example/anthropic");
    assert!(!owner.get(&format!("/api/projects/{project}/env")).await.text().contains("hunter2"));

    let removed = owner.send(Method::DELETE, PATH, &json!({})).await;
    assert_eq!((removed.status.as_u16(), &removed.json()["own"]), (200, &Value::Null));
    assert_eq!(owner.send(Method::DELETE, PATH, &json!({})).await.status, 200, "it may be repeated");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM claude_credentials").fetch_one(&app.pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_is_no_credential_is_refused_and_says_of_which_field() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    assert_eq!(put(&owner, &json!({ "kind": "apiKey", "value": SECRET })).await.status, 200);
    let before = app.tables().await;
    let of = |value: &str, url: &str| json!({ "kind": "apiKey", "value": value, "baseUrl": url });
    for (body, code) in [
        (of(" \n", ""), "claude-value-empty"),
        (of("two words", ""), "claude-value-characters"),
        (of("a\u{0}b", ""), "claude-value-characters"),
        (of(&"x".repeat(8 * 1024 + 1), ""), "claude-value-too-long"),
        (of(SECRET, "gateway.example"), "claude-url-scheme"),
        (of(SECRET, "file:///etc/passwd"), "claude-url-scheme"),
        (of(SECRET, "https://ada:hunter3@gateway.example"), "claude-url-credentials"),
        (of(SECRET, "https://"), "claude-url-host"),
        (of(SECRET, "https://gateway.example/?x=1"), "claude-url-characters"),
    ] {
        let refused = put(&owner, &body).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, code), "{body}");
        assert!(!refused.text().contains("hunter"), "{}", refused.text());
        assert!(!refused.json()["details"]["nextSteps"].as_array().unwrap().is_empty());
    }
    for body in [
        json!({}),
        json!({ "kind": "apiKey" }),
        json!({ "kind": "password", "value": "x" }),
        json!({ "kind": "apiKey", "value": "x", "more": 1 }),
    ] {
        assert_eq!(put(&owner, &body).await.status, 422, "{body}");
    }
    assert_eq!(app.tables().await, before);
}

#[tokio::test]
async fn a_change_waits_for_the_restart_of_all_that_run_and_is_shown_among_the_variables() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Waits").await;
    let (stopped, _) = app.running(&owner, "Stopped").await;
    owner.post(&format!("/api/sandbox/{stopped}/stop"), &json!({})).await;
    app.reaches(&owner, stopped, "Stopped").await;
    let path = format!("/api/projects/{project}/env");
    let sandbox = format!("/api/sandbox/{project}");

    let set = put(&owner, &json!({ "kind": "apiKey", "value": SECRET })).await.json();
    assert_eq!(set["waiting"], json!([{ "id": project, "name": "Waits" }]), "the one that runs: {set}");
    assert_eq!(owner.get(&sandbox).await.json()["restartPending"], true);
    assert!(inside(&app, project).await.is_empty(), "what runs keeps what it has");
    let env = owner.get(&path).await.json();
    assert_eq!(env["changes"], json!([{ "key": "ANTHROPIC_API_KEY", "change": "added" }]));
    let shown = variable(&env, "ANTHROPIC_API_KEY");
    assert_eq!((&shown["source"], &shown["pending"], &shown["bytes"]), (&json!("account"), &json!(true), &json!(SECRET.len())));
    assert_eq!(shown["updatedAt"], set["own"]["setAt"]);
    let again = put(&owner, &json!({ "kind": "apiKey", "value": SECRET })).await.json();
    assert_eq!(again, set, "the same again changes nothing");

    owner.post(&format!("{sandbox}/restart"), &json!({})).await;
    app.reaches(&owner, project, "Running").await;
    assert_eq!(owner.get(PATH).await.json()["waiting"], json!([]));
    assert_eq!(inside(&app, project).await, BTreeMap::from([("ANTHROPIC_API_KEY".to_owned(), SECRET.to_owned())]));
    let env = owner.get(&path).await.json();
    assert_eq!((&env["changes"], &variable(&env, "ANTHROPIC_API_KEY")["pending"]), (&json!([]), &json!(false)));
    owner.post(&format!("/api/sandbox/{stopped}/start"), &json!({})).await;
    assert_eq!(inside(&app, stopped).await.len(), 1, "a start has them as well");
    app.reaches(&owner, stopped, "Running").await;

    // A project's own credential wins as a whole.
    let changed = owner.send(Method::PUT, &path, &json!({ "set": { "ANTHROPIC_AUTH_TOKEN": "of the project" } })).await.json();
    assert_eq!(variable(&changed, "ANTHROPIC_API_KEY"), Value::Null, "{changed}");
    assert_eq!(variable(&changed, "ANTHROPIC_AUTH_TOKEN")["source"], "project");
    let changes = json!([
        { "key": "ANTHROPIC_API_KEY", "change": "removed" },
        { "key": "ANTHROPIC_AUTH_TOKEN", "change": "added" },
    ]);
    assert_eq!(changed["changes"], changes);
    owner.post(&format!("{sandbox}/restart"), &json!({})).await;
    app.reaches(&owner, project, "Running").await;
    let now = BTreeMap::from([("ANTHROPIC_AUTH_TOKEN".to_owned(), "of the project".to_owned())]);
    assert_eq!(inside(&app, project).await, now);

    let removed = owner.send(Method::DELETE, PATH, &json!({})).await.json();
    let waiting: Vec<&Value> = removed["waiting"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(waiting, ["Stopped", "Waits"], "newest first; both run with them frozen");
    owner.post(&format!("/api/sandbox/{stopped}/restart"), &json!({})).await;
    app.reaches(&owner, stopped, "Running").await;
    assert!(inside(&app, stopped).await.is_empty());
}

#[tokio::test]
async fn a_page_knows_whether_there_are_any() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let known =
        async || owner.post("/api/fn/load", &json!({ "what": "Opening" })).await.text().contains("\"claudeCredentials\":true");
    assert!(!known().await);
    put(&owner, &json!({ "kind": "apiKey", "value": SECRET })).await;
    assert!(known().await);
    let stranger = app.somebody_else().await;
    assert!(stranger.post("/api/fn/load", &json!({ "what": "Opening" })).await.text().contains("\"claudeCredentials\":false"));
}
