//! A PostgreSQL without room to write: words, reads that go on, and well again by itself.

use crate::{
    postgres::SmallDisk,
    support::{Answer, Client, Setup, TestApp, until},
};
use http::Method;
use model::ProjectId;
use serde_json::json;
use sqlx::AssertSqlSafe;

/// On every page of who is signed in.
const NOTICE: &str = "The disk of the data folder is full";
const ELSEWHERE: &str = "database is full, so nothing can be stored";
/// On every page of who is not.
const TO_STRANGERS: &str = "cannot be started or changed at the moment";

/// A change that takes room.
async fn ask(client: &Client, project: ProjectId) -> Answer {
    let value = uuid::Uuid::new_v4().simple().to_string().repeat(1_800);
    client.send(Method::PUT, &format!("/api/projects/{project}/env"), &json!({ "set": { "LARGE": value } })).await
}

/// The same, until what is left in pages that are there is used up.
async fn ask_until_full(client: &Client, project: ProjectId) -> Answer {
    for _ in 0..20 {
        let answer = ask(client, project).await;
        if answer.status != 200 {
            return answer;
        }
    }
    ask(client, project).await
}

fn assert_full(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store-full"), "{}", answer.text());
    assert!(!answer.header("retry-after").is_empty());
    assert!(answer.json()["details"]["nextSteps"].as_array().is_some_and(|steps| steps.len() == 3), "{}", answer.text());
}

#[tokio::test]
async fn a_full_disk_is_said_everywhere_and_mends_itself() {
    let Some(disk) = SmallDisk::start() else { return };
    let (database, writes_to) = (Some(disk.database().await), Some(disk.folder().to_owned()));
    let Some(app) = TestApp::start_as(Setup { database, writes_to, ..Setup::default() }).await else { return };
    for text in ["nothing can be stored", "could not create auth session", "hearing of changes", "sqlx_core::pool"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    let program = app.token(model::view::Scope::Write).await;
    let (project, _) = app.running(&owner, "On a small disk").await;
    assert_eq!(ask(&owner, project).await.status, 200);
    let page = async || owner.get("/").await.text();
    assert!(!page().await.contains(NOTICE));

    disk.fill().await;
    until("every page to say so", async || page().await.contains(NOTICE)).await;
    let sign_in = app.anonymous().get("/sign-in").await.text();
    assert!(sign_in.contains(TO_STRANGERS) && !sign_in.contains(NOTICE), "{sign_in}");
    for client in [&owner, &program] {
        let answer = ask_until_full(client, project).await;
        assert_full(&answer);
        assert!(answer.text().contains("MB are free"), "{}", answer.text());
        assert_eq!(client.get("/api/projects").await.status, 200, "what is there can be read");
        assert_eq!(client.get(&format!("/api/projects/{project}/env")).await.status, 200);
    }
    assert_eq!(owner.get("/readyz").await.status, 200, "it shows what it has");

    // PostgreSQL ends, and does not come up again, where it cannot write its log.
    app.gate.set_open(false);
    assert_full(&owner.get("/api/projects").await);
    assert_full(&owner.get("/readyz").await);
    app.gate.set_open(true);
    until("it to answer again", async || owner.get("/api/projects").await.status == 200).await;

    disk.empty();
    until("no page to say so any more", async || !page().await.contains(NOTICE)).await;
    assert_eq!(ask(&owner, project).await.status, 200, "without a restart");
}

#[tokio::test]
async fn where_the_disk_is_elsewhere_a_refused_write_tells_it_and_one_that_works_takes_it_back() {
    let Some(disk) = SmallDisk::start() else { return };
    let database = Some(disk.database().await);
    let Some(app) = TestApp::start_as(Setup { database, ..Setup::default() }).await else { return };
    app.log.allow("nothing can be stored");
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "On a small disk elsewhere").await;
    disk.fill().await;
    assert_full(&ask_until_full(&owner, project).await);
    let page = async || owner.get("/").await.text();
    assert!(page().await.contains(ELSEWHERE), "at once");
    // Longer than it is tried again.
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_secs(5) {
        assert!(page().await.contains(ELSEWHERE), "as long as it is so");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    disk.empty();
    until("no page to say so any more", async || !page().await.contains(ELSEWHERE)).await;
    assert_eq!(ask(&owner, project).await.status, 200);
}

/// Every write of a table fails with this SQLSTATE, until [`mended`].
async fn failing(app: &TestApp, table: &str, code: &str) {
    let script = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'made to fail' USING ERRCODE = TG_ARGV[0]; END $$;
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse('{code}')"
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&app.pool).await.unwrap();
}

async fn mended(app: &TestApp, table: &str) {
    sqlx::raw_sql(AssertSqlSafe(format!("DROP TRIGGER refuse ON {table}"))).execute(&app.pool).await.unwrap();
}

#[tokio::test]
async fn what_only_notes_something_is_done_without_room_to_note_it() {
    let Some(app) = TestApp::start().await else { return };
    for text in ["nothing can be stored", "could not be told of"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    let program = app.token(model::view::Scope::Read).await;
    let (project, _) = app.running(&owner, "Noted").await;
    failing(&app, "api_tokens", "53100").await;
    assert_eq!(program.get("/api/projects").await.status, 200, "a token reads");
    mended(&app, "api_tokens").await;

    failing(&app, "activity", "53100").await;
    let ran = owner.post(&format!("/api/sandbox/{project}/exec"), &json!({ "command": ["true"] })).await;
    assert_eq!(ran.status, 200, "a command may be what makes room: {}", ran.text());
    assert_full(&owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await);
    mended(&app, "activity").await;
    assert_eq!(owner.get(&format!("/api/sandbox/{project}")).await.json()["desired"], "running", "nothing was half done");
}

#[tokio::test]
async fn every_way_in_which_a_database_refuses_for_now_has_its_words() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    for (sqlstate, code) in [
        ("25006", "store-read-only"),
        ("25P03", "store-away"),
        ("40001", "store-contended"),
        ("40P01", "store-contended"),
        ("53200", "store-busy"),
        ("53300", "store-busy"),
        ("55P03", "store-busy"),
        ("57014", "store-busy"),
        ("57P01", "store-restarting"),
        ("57P03", "store-restarting"),
    ] {
        failing(&app, "projects", sqlstate).await;
        let answer = owner.post("/api/projects", &json!({ "name": "Refused" })).await;
        mended(&app, "projects").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, code), "{sqlstate}: {}", answer.text());
        assert!(!answer.header("retry-after").is_empty(), "{sqlstate}");
        assert!(answer.json()["details"]["nextSteps"].as_array().is_some_and(|steps| !steps.is_empty()), "{sqlstate}");
    }
    assert_eq!(owner.post("/api/projects", &json!({ "name": "Taken" })).await.status, 201);
}
