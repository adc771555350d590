//! `Idempotency-Key` of asks that make no project: what is asked twice is done once, and what is secret is told once.

use crate::support::{TestApp, until};
use http::Method;
use model::view::Scope;
use serde_json::json;

#[tokio::test]
async fn a_token_is_made_once_by_its_key_and_its_secret_told_once() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await.with("idempotency-key", "k1");
    let ask = json!({ "name": "ci", "scope": "read" });
    let made = owner.post("/api/tokens", &ask).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (secret, id) =
        (made.json()["secret"].as_str().unwrap().to_owned(), made.json()["token"]["id"].as_str().unwrap().to_owned());
    let again = owner.post("/api/tokens", &ask).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "key-used"), "{}", again.text());
    assert!(again.text().contains(&id) && !again.text().contains(&secret), "it says which, to be revoked: {}", again.text());
    assert_eq!(owner.get("/api/tokens").await.json().as_array().unwrap().len(), 1);
    for rows in ["asked_keys", "activity", "api_tokens"] {
        let kept: Option<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT string_agg(t::text, ';') FROM {rows} t")))
                .fetch_one(&app.pool)
                .await
                .unwrap();
        assert!(!kept.unwrap().contains(&secret), "{rows}");
    }

    // What is refused takes no key, and a key is of one user.
    let other = owner.with("idempotency-key", "k2");
    assert_eq!(other.post("/api/tokens", &json!({ "name": "ci", "scope": "read", "days": 0 })).await.status, 422);
    assert_eq!(other.post("/api/tokens", &ask).await.status, 201);
    assert_eq!(app.somebody_else().await.with("idempotency-key", "k1").post("/api/tokens", &ask).await.status, 201);
    let reader = app.token(Scope::Read).await.with("idempotency-key", "k3");
    assert_eq!(reader.post("/api/tokens", &ask).await.code(), "read-only");
    let mut both = Vec::new();
    for _ in 0..2 {
        let client = owner.with("idempotency-key", "at once");
        let ask = ask.clone();
        both.push(tokio::spawn(async move { client.post("/api/tokens", &ask).await.status.as_u16() }));
    }
    let mut statuses = Vec::new();
    for one in both {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "two that come together are one");
}

#[tokio::test]
async fn a_command_is_begun_once_by_its_key() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Once").await;
    let path = format!("/api/sandbox/{project}/exec");
    let keyed = owner.with("idempotency-key", "k1");
    let ask = json!({ "command": ["sh", "-c", "echo ran >> \"$HOME/once\""] });
    assert_eq!(keyed.post(&path, &ask).await.status, 200);
    for client in [keyed.clone(), keyed.with("accept", "application/x-ndjson")] {
        let again = client.post(&path, &ask).await;
        assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "key-used"), "{}", again.text());
    }
    let ran = || std::fs::read_to_string(app.world.home.path().join("once")).unwrap();
    assert_eq!(ran(), "ran\n");
    assert_eq!(owner.post(&path, &ask).await.status, 200, "without a key, each is one of its own");
    assert_eq!(owner.with("idempotency-key", "k2").post(&path, &ask).await.status, 200);
    assert_eq!(ran(), "ran\nran\nran\n");

    // What did not begin takes no key.
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
    let later = owner.with("idempotency-key", "k3");
    assert_eq!(later.post(&path, &ask).await.code(), "not-running");
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/start"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Running").await;
    assert_eq!(later.post(&path, &ask).await.status, 200);
}

#[tokio::test]
async fn a_refusal_without_end_is_one_all_the_same() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Refused").await;
    let path = format!("/api/sandbox/{project}/exec");
    for accept in ["application/x-ndjson", "application/json"] {
        let refused = owner.with("accept", accept);
        let ask = json!({ "command": ["refuse"] });
        let asked = tokio::time::timeout(std::time::Duration::from_secs(20), refused.post(&path, &ask));
        let answer = asked.await.expect("an end");
        assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{accept}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_password_is_reset_once_by_its_key() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Reset").await;
    let path = format!("/api/projects/{project}/database/reset-password");
    let keyed = owner.with("idempotency-key", "k1");
    let first = keyed.post(&path, &json!({})).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let again = keyed.post(&path, &json!({})).await;
    assert_eq!((again.status.as_u16(), &again.json()["psql"]), (200, &first.json()["psql"]), "{}", again.text());
    let other = owner.with("idempotency-key", "k2").post(&path, &json!({})).await;
    assert_ne!(other.json()["psql"], first.json()["psql"]);
    assert_eq!(keyed.post(&path, &json!({})).await.json()["psql"], other.json()["psql"], "the one that it has by now");

    // One that is carried out, or broke off, is not begun a second time.
    sqlx::query("UPDATE asked_keys SET done_at = NULL").execute(&app.pool).await.unwrap();
    let under_way = keyed.post(&path, &json!({})).await;
    assert_eq!((under_way.status.as_u16(), under_way.code().as_str()), (409, "key-under-way"), "{}", under_way.text());
    // What is refused may be asked again.
    let refused = owner.with("idempotency-key", "k3");
    let without = owner.post("/api/projects", &json!({ "name": "Without", "database": false })).await.json()["id"].clone();
    let without = format!("/api/projects/{}/database/reset-password", without.as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(refused.post(&without, &json!({})).await.code(), "no-database");
    }
    assert_eq!(app.somebody_else().await.with("idempotency-key", "k1").post(&path, &json!({})).await.status, 404);
    assert_eq!(owner.ask(Method::DELETE, &format!("/api/projects/{project}"), None).await.status, 202);
}

#[tokio::test]
async fn a_key_that_is_taken_later_than_anybody_waits_is_free_again() {
    let Some(app) = TestApp::start().await else { return };
    for text in ["sqlx_core::pool", "sqlx::pool"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Late").await;
    let path = format!("/api/projects/{project}/database/reset-password");
    sqlx::raw_sql(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(11); RETURN NULL; END $$;
        CREATE TRIGGER late AFTER INSERT ON asked_keys FOR EACH ROW EXECUTE FUNCTION late();",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let keyed = owner.with("idempotency-key", "k1");
    let late = keyed.post(&path, &json!({})).await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (503, "store-away"), "{}", late.text());
    // Once the key is stored.
    sqlx::raw_sql("DROP TRIGGER late ON asked_keys").execute(&app.pool).await.unwrap();
    until("the key to be free again", async || keyed.post(&path, &json!({})).await.status == 200).await;
}

#[tokio::test]
async fn a_key_of_what_was_not_done_is_free_again_once_the_store_is_back() {
    let Some(app) = TestApp::start().await else { return };
    for text in ["could not create auth session", "hearing of changes", "sqlx_core::pool", "sqlx::pool"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Away").await;
    let path = format!("/api/projects/{project}/database/reset-password");
    sqlx::raw_sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE UPDATE ON databases FOR EACH ROW EXECUTE FUNCTION slow();",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let keyed = owner.with("idempotency-key", "k1");
    let asked = {
        let (keyed, path) = (keyed.clone(), path.clone());
        tokio::spawn(async move { keyed.post(&path, &json!({})).await })
    };
    until("the ask to be under way", async || {
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        sqlx::query_scalar::<_, i64>(asleep).fetch_one(&app.pool).await.unwrap() == 1
    })
    .await;
    app.gate.set_open(false);
    let answer = asked.await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    app.gate.set_open(true);
    sqlx::raw_sql("DROP TRIGGER slow ON databases").execute(&app.pool).await.unwrap();
    until("the key to be free again", async || keyed.post(&path, &json!({})).await.status == 200).await;
}
