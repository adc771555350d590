//! A project's database: what is said of it, and another password for it.

use crate::support::{Client, TestApp};
use engine::database::memory::MemoryDatabase;
use http::Method;
use model::{ProjectId, connection::Connection, view::Scope};
use serde_json::{Value, json};

/// Who enters by the line that the API gives.
fn enters(databases: &MemoryDatabase, view: &Value) -> Result<Vec<String>, String> {
    let line = view["psql"].as_str().unwrap();
    let (_, rest) = line.split_once("postgresql://").unwrap();
    let (user, rest) = rest.split_once(':').unwrap();
    let (password, rest) = rest.split_once('@').unwrap();
    let (_, database) = rest.split_once('/').unwrap();
    databases.notes(&Connection {
        host: "127.0.0.1".into(),
        port: 5432,
        user: user.into(),
        password: password.into(),
        database: database.into(),
    })
}

/// The database with its password.
async fn revealed(client: &Client, path: &str) -> Value {
    let answer = client.post(&format!("{path}/reveal"), &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_password_is_told_to_whom_asks_for_it_and_the_activity_says_so() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Rows").await;
    let path = format!("/api/projects/{project}/database");
    let (seen, line) = (owner.get(&path).await.json(), revealed(&owner, &path).await);
    let password = line["psql"].as_str().unwrap().split([':', '@']).nth(2).unwrap().to_owned();
    assert_eq!(seen["psql"].as_str().unwrap(), line["psql"].as_str().unwrap().replace(&password, "••••••••"));
    assert!(!seen.to_string().contains(&password));
    assert!(enters(&app.databases, &line).is_ok());
    let program = app.token(Scope::Write).await.post(&format!("{path}/reveal"), &json!({})).await;
    assert_eq!((program.status.as_u16(), program.header("cache-control")), (200, "no-store"));
    assert_eq!(program.json()["psql"], line["psql"]);

    let reveal = format!("{path}/reveal");
    assert_eq!(app.token(Scope::Read).await.post(&reveal, &json!({})).await.code(), "read-only");
    assert_eq!(app.token(Scope::Read).await.get(&path).await.json()["psql"], "psql");
    assert_eq!(app.somebody_else().await.post(&reveal, &json!({})).await.status, 404);
    assert_eq!(app.anonymous().post(&reveal, &json!({})).await.status, 401);
    let bare = owner.post("/api/projects", &json!({ "name": "None", "database": false })).await.json();
    let bare = format!("/api/projects/{}/database/reveal", bare["id"].as_str().unwrap());
    assert_eq!(owner.post(&bare, &json!({})).await.code(), "no-database");

    let told = owner.get(&format!("/api/projects/{project}/activity?search=Revealed")).await.json();
    let [token, browser] = told["activity"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(browser["title"], "Revealed the database’s password");
    assert_eq!((&browser["actor"]["via"], &token["actor"]["via"]), (&json!("browser"), &json!("token")));
    assert!(browser["detail"].as_str().unwrap().starts_with("From "), "{browser}");
    assert!(!told.to_string().contains(&password), "{told}");
}

async fn waits(app: &TestApp, project: ProjectId) -> bool {
    app.signed_in().await.get(&format!("/api/sandbox/{project}")).await.json()["restartPending"] == true
}

#[tokio::test]
async fn a_reset_password_is_the_databases_at_once_and_the_sandboxes_after_a_restart() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Rows").await;
    let path = format!("/api/projects/{project}/database");
    let reset = format!("{path}/reset-password");
    let before = revealed(&owner, &path).await;
    assert_eq!((&before["ready"], &before["restartPending"]), (&json!(true), &json!(false)), "{before}");
    assert_eq!(before["figures"]["version"], "0.memory");
    assert!(enters(&app.databases, &before).is_ok());

    assert_eq!(app.token(Scope::Read).await.post(&reset, &json!({})).await.status, 403);
    assert_eq!(app.somebody_else().await.post(&reset, &json!({})).await.status, 404);
    assert_eq!(app.anonymous().post(&reset, &json!({})).await.status, 401);
    assert!(enters(&app.databases, &before).is_ok(), "who may not changes nothing");

    let answer = owner.post(&reset, &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let after = answer.json();
    assert_ne!(after["psql"], before["psql"]);
    assert_eq!((&after["user"], &after["database"]), (&before["user"], &before["database"]));
    assert!(enters(&app.databases, &after).is_ok(), "the new one opens");
    assert!(enters(&app.databases, &before).is_err(), "the old one does not");
    assert_eq!(revealed(&owner, &path).await["psql"], after["psql"], "and it is kept");
    assert_eq!(after["restartPending"], true);
    assert!(waits(&app, project).await);
    let password = after["psql"].as_str().unwrap().split([':', '@']).nth(2).unwrap().to_owned();
    let tables = app.tables().await;
    assert!(!tables.values().any(|rows| rows.contains(&password)), "it is sealed at rest");
    let told = owner.get(&format!("/api/projects/{project}/activity?q=password")).await;
    let activity = owner.get(&format!("/api/projects/{project}/activity")).await.text();
    assert!(activity.contains("Reset the database’s password") && !activity.contains(&password), "{}", told.text());

    owner.post(&format!("/api/sandbox/{project}/restart"), &json!({})).await;
    crate::support::until("the restart", async || !waits(&app, project).await).await;
    app.reaches(&owner, project, "Running").await;
    assert!(enters(&app.databases, &after).is_ok());
    assert_eq!(owner.get(&path).await.json()["restartPending"], false);
}

#[tokio::test]
async fn a_server_that_is_away_keeps_the_new_password_for_the_next_start() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("failed to set a database's new password");
    app.log.allow("PostgreSQL");
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Away").await;
    let path = format!("/api/projects/{project}/database");
    let before = revealed(&owner, &path).await;
    app.databases.set_away(true);
    let refused = owner.post(&format!("{path}/reset-password"), &json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "password-waits"));
    let stored = owner.get(&path).await;
    assert_eq!(stored.status, 200, "what is known without the server is still said");
    assert_eq!(stored.json()["figures"], Value::Null);
    let stored = revealed(&owner, &path).await;
    app.databases.set_away(false);
    assert!(enters(&app.databases, &before).is_ok());
    owner.post(&format!("/api/sandbox/{project}/restart"), &json!({})).await;
    crate::support::until("the new password", async || enters(&app.databases, &stored).is_ok()).await;
    assert!(enters(&app.databases, &before).is_err());
}

#[tokio::test]
async fn without_a_database_or_on_its_way_out_there_is_nothing_to_reset() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let bare = owner.post("/api/projects", &json!({ "name": "None", "database": false })).await.json();
    let bare = format!("/api/projects/{}/database/reset-password", bare["id"].as_str().unwrap());
    assert_eq!(owner.post(&bare, &json!({})).await.code(), "no-database");
    let (project, _) = app.running(&owner, "Going").await;
    app.store.delete(app.owner, project, jiff::Timestamp::now()).await.unwrap();
    let answer = owner.post(&format!("/api/projects/{project}/database/reset-password"), &json!({})).await;
    // It may be gone by now.
    assert!(matches!(answer.code().as_str(), "deleting" | "not-found" | "no-project"), "{}", answer.text());
}

#[tokio::test]
async fn a_user_sees_their_sessions_and_ends_one_or_all_others() {
    let Some(app) = TestApp::start().await else { return };
    let here = app.signed_in().await;
    let there = app.signed_in().await;
    let further = app.signed_in().await;
    let list = here.get("/api/sessions").await;
    assert_eq!(list.status, 200, "{}", list.text());
    let list = list.json();
    let all = list.as_array().unwrap();
    assert_eq!(all.iter().map(|one| one["current"] == true).collect::<Vec<_>>(), [true, false, false], "{list}");
    assert!(all.iter().all(|one| one["since"].is_string() && one["expiresAt"].is_string()));
    let cookie = here.headers()["cookie"].to_str().unwrap().split('=').nth(1).unwrap().to_owned();
    assert!(!list.to_string().contains(&cookie), "an id opens nothing");

    // Another's are neither seen nor ended.
    let stranger = app.somebody_else().await;
    assert_eq!(stranger.get("/api/sessions").await.json().as_array().unwrap().len(), 1);
    let of_there = there.get("/api/sessions").await.json()[0]["id"].as_str().unwrap().to_owned();
    let one = format!("/api/sessions/{of_there}");
    assert_eq!(stranger.send(Method::DELETE, &one, &json!({})).await.status, 404);
    assert_eq!(there.get("/api/me").await.status, 200);
    for odd in ["main", "0", "%00", &"f".repeat(64), &"é".repeat(32)] {
        assert_eq!(here.send(Method::DELETE, &format!("/api/sessions/{odd}"), &json!({})).await.status, 404, "{odd}");
    }

    assert_eq!(here.send(Method::DELETE, &one, &json!({})).await.status, 204);
    assert_eq!(there.get("/api/me").await.status, 401);
    assert_eq!(further.get("/api/me").await.status, 200);
    let token = app.token(Scope::Write).await;
    assert_eq!(token.send(Method::DELETE, "/api/sessions", &json!({})).await.code(), "no-session");
    let ended = here.send(Method::DELETE, "/api/sessions", &json!({})).await;
    assert_eq!((ended.status.as_u16(), ended.json()), (200, json!({ "ended": 1 })));
    assert_eq!((further.get("/api/me").await.status.as_u16(), here.get("/api/me").await.status.as_u16()), (401, 200));
    assert_eq!(stranger.get("/api/me").await.status, 200);
}
