//! Extra sandboxes of a project by REST.

use crate::support::{Client, TestApp, until};
use http::Method;
use model::{ProjectId, view::Scope};
use serde_json::{Value, json};

async fn add(client: &Client, project: ProjectId, branch: &str) -> ProjectId {
    let made = client.post(&format!("/api/projects/{project}/sandboxes"), &json!({ "branch": branch })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/api/projects/{id}"));
    id.parse().unwrap()
}

async fn branches(client: &Client, of: ProjectId) -> Vec<Value> {
    let all = client.get(&format!("/api/projects/{of}/sandboxes")).await.json();
    all.as_array().unwrap().iter().map(|one| one["branch"].clone()).collect()
}

async fn gone(client: &Client, id: ProjectId) {
    until("it to be gone", async || client.get(&format!("/api/projects/{id}")).await.status == 404).await;
}

#[tokio::test]
async fn a_sandbox_of_a_branch_has_a_life_of_its_own() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (main, name) = app.running(&owner, "Boats").await;
    let extra = add(&owner, main, "feature/x").await;
    app.reaches(&owner, extra, "Running").await;
    for through in [main, extra] {
        assert_eq!(branches(&owner, through).await, [json!(null), json!("feature/x")], "by the id of either");
    }
    let all = owner.get(&format!("/api/projects/{main}/sandboxes")).await.json();
    assert_eq!((&all[0]["id"], &all[0]["main"]), (&json!(main), &json!(true)));
    assert_eq!((&all[1]["id"], &all[1]["main"]), (&json!(extra), &json!(false)));
    let view = owner.get(&format!("/api/projects/{extra}")).await.json();
    assert_eq!((&view["name"], &view["extraOf"]), (&json!("Boats / feature/x"), &json!(main)));
    assert!(owner.get(&format!("/api/projects/{main}")).await.json().get("extraOf").is_none());
    let listed = owner.get("/api/projects").await.json();
    assert_eq!(listed.as_array().unwrap().iter().map(|one| &one["id"]).collect::<Vec<_>>(), [&json!(main)]);

    let ids = async |query: &str| {
        let listed = owner.get(&format!("/api/projects?{query}")).await;
        assert_eq!(listed.status, 200, "{}", listed.text());
        listed.json().as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids("extra=true").await, [json!(extra), json!(main)], "newest first");
    assert_eq!(ids("extra=true&search=FEATURE").await, [json!(extra)]);
    assert_eq!(ids("extra=true&limit=1").await, [json!(extra)]);
    assert_eq!(ids(&format!("extra=true&limit=1&after={extra}")).await, [json!(main)]);
    assert_eq!(ids("extra=false").await, [json!(main)]);

    // Every address that names a project names this one as well.
    assert_ne!(view["sandbox"]["name"], name.as_str());
    let database = async |id| owner.get(&format!("/api/projects/{id}/database")).await.json()["database"].clone();
    assert_ne!(database(main).await, database(extra).await);
    let stop = owner.post(&format!("/api/sandbox/{extra}/stop"), &json!({})).await;
    assert_eq!(stop.status, 202, "{}", stop.text());
    app.reaches(&owner, extra, "Stopped").await;
    assert_eq!(owner.get(&format!("/api/sandbox/{main}")).await.json()["phase"], "Running");
    let changed = owner.send(Method::PUT, &format!("/api/projects/{extra}/env"), &json!({ "set": { "A": "1" } })).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(owner.get(&format!("/api/sandbox/{main}")).await.json()["restartPending"], true, "variables are the project's");
    assert_eq!(owner.post(&format!("/api/sandbox/{extra}/start"), &json!({})).await.status, 202);
    app.reaches(&owner, extra, "Running").await;
    let env = owner.get(&format!("/api/projects/{extra}/env")).await.json();
    assert_eq!(env["changes"], json!([]), "{env}");
    let renamed = owner.send(Method::PATCH, &format!("/api/projects/{extra}"), &json!({ "name": "Other" })).await;
    assert_eq!((renamed.status.as_u16(), renamed.code().as_str()), (422, "extra-sandbox"));
    assert_eq!(owner.send(Method::PATCH, &format!("/api/projects/{main}"), &json!({ "name": "Ships" })).await.status, 200);
    assert_eq!(owner.get(&format!("/api/projects/{extra}")).await.json()["name"], "Ships / feature/x");
}

#[tokio::test]
async fn one_is_removed_and_the_main_one_is_not() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (main, _) = app.running(&owner, "Boats").await;
    let (other, _) = app.running(&owner, "Others").await;
    let extra = add(&owner, main, "x").await;
    app.reaches(&owner, extra, "Running").await;
    let remove =
        async |of: ProjectId, id: &str| owner.ask(Method::DELETE, &format!("/api/projects/{of}/sandboxes/{id}"), None).await;
    let refused = remove(main, &main.to_string()).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "main-sandbox"));
    assert!(refused.text().contains("stays as long as the project does"), "{}", refused.text());
    for (of, id) in
        [(other, extra.to_string()), (main, other.to_string()), (main, "x".into()), (main, uuid::Uuid::nil().to_string())]
    {
        assert_eq!(remove(of, &id).await.status, 404, "{of} {id}");
    }
    let removed = remove(main, &extra.to_string()).await;
    assert_eq!((removed.status.as_u16(), &removed.json()["deleting"]), (202, &json!(true)));
    gone(&owner, extra).await;
    assert_eq!(branches(&owner, main).await, [json!(null)]);
    let told = owner.get(&format!("/api/projects/{main}/activity?kind=ask")).await.json();
    let titles: Vec<_> =
        told["activity"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap().to_owned()).collect();
    assert_eq!(titles[..2], ["Removed the sandbox x", "Added the sandbox x"]);
    assert_eq!(owner.get(&format!("/api/sandbox/{main}")).await.json()["phase"], "Running");

    // With the project they all go, and it goes last.
    let extras = [add(&owner, main, "x").await, add(&owner, main, "y").await];
    assert_eq!(owner.ask(Method::DELETE, &format!("/api/projects/{main}"), None).await.status, 202);
    gone(&owner, main).await;
    for extra in extras {
        assert_eq!(owner.get(&format!("/api/projects/{extra}")).await.status, 404);
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM projects").fetch_one(&app.pool).await.unwrap();
    assert_eq!(rows, 1, "the other project");
}

#[tokio::test]
async fn what_is_asked_wrongly_makes_nothing_and_says_why() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (main, _) = app.running(&owner, "Boats").await;
    let path = format!("/api/projects/{main}/sandboxes");
    let long = "x".repeat(251);
    for branch in ["", " ", "-x", "a b", "a..b", "x.lock", "a//b", "/a", "a/", "@", "a\u{7f}b", "HEAD", "a:b", "a\nb", &long] {
        let refused = owner.post(&path, &json!({ "branch": branch })).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "bad-branch"), "{branch:?}");
        assert!(!refused.json()["details"]["nextSteps"].as_array().unwrap().is_empty());
    }
    for (body, code) in [
        (json!({}), "wrong-form"),
        (json!({ "branch": "x", "more": 1 }), "wrong-form"),
        (json!({ "branch": "x", "from": "a b" }), "bad-from"),
        (json!({ "branch": "x", "from": "main" }), "no-repository"),
    ] {
        let refused = owner.post(&path, &body).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, code), "{body}");
    }
    assert_eq!(branches(&owner, main).await, [json!(null)]);
    let extra = add(&owner, main, "x").await;
    let again = owner.post(&path, &json!({ "branch": "x" })).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "branch-taken"));
    let through = owner.post(&format!("/api/projects/{extra}/sandboxes"), &json!({ "branch": "x" })).await;
    assert_eq!(through.code(), "branch-taken", "it is of the same project");
    assert_eq!(owner.ask(Method::DELETE, &format!("/api/projects/{main}"), None).await.status, 202);
    let late = owner.post(&path, &json!({ "branch": "y" })).await;
    assert!(matches!((late.status.as_u16(), late.code().as_str()), (409, "being-deleted") | (404, _)), "{}", late.text());
}

#[tokio::test]
async fn a_sandbox_is_added_once_by_its_key() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await.with("idempotency-key", "k");
    let first = owner.post("/api/projects", &json!({ "name": "One", "database": false })).await.json()["id"].clone();
    let second = owner.with("idempotency-key", "l").post("/api/projects", &json!({ "name": "Two", "database": false })).await;
    let add = async |of: &Value| {
        let made = owner.post(&format!("/api/projects/{}/sandboxes", of.as_str().unwrap()), &json!({ "branch": "x" })).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].clone()
    };
    let one = add(&first).await;
    assert_eq!(add(&first).await, one, "the same key is the same sandbox");
    assert_ne!(one, first, "and not the project that another request made by it");
    assert_ne!(add(&second.json()["id"]).await, one, "another project's is another");
}

#[tokio::test]
async fn extra_sandboxes_count_among_what_one_may_have() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let main = owner.post("/api/projects", &json!({ "name": "One", "database": false })).await.json()["id"].clone();
    let path = format!("/api/projects/{}/sandboxes", main.as_str().unwrap());
    for n in 1..50 {
        assert_eq!(owner.post(&path, &json!({ "branch": format!("b{n}") })).await.status, 201);
    }
    let more = owner.post(&path, &json!({ "branch": "more" })).await;
    assert_eq!((more.status.as_u16(), more.code().as_str()), (409, "too-many-projects"));
    assert!(more.text().contains("You have 50 projects, extra sandboxes counted"), "{}", more.text());
    assert_eq!(owner.post("/api/projects", &json!({ "name": "Two" })).await.code(), "too-many-projects");
}

#[tokio::test]
async fn what_is_not_yours_has_no_sandboxes() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (main, _) = app.running(&owner, "Boats").await;
    let extra = add(&owner, main, "x").await;
    app.reaches(&owner, extra, "Running").await;
    let other = app.somebody_else().await;
    for id in [main, extra] {
        let path = format!("/api/projects/{id}/sandboxes");
        assert_eq!(other.get(&path).await.status, 404);
        assert_eq!(other.post(&path, &json!({ "branch": "y" })).await.status, 404);
        assert_eq!(other.ask(Method::DELETE, &format!("{path}/{extra}"), None).await.status, 404);
        assert_eq!(other.get(&format!("/api/sandbox/{id}")).await.status, 404);
        assert_eq!(other.get(&format!("/api/sandbox/{id}/files")).await.status, 404);
    }
    let reader = app.token(Scope::Read).await;
    assert_eq!(reader.get(&format!("/api/projects/{main}/sandboxes")).await.status, 200);
    assert_eq!(reader.post(&format!("/api/projects/{main}/sandboxes"), &json!({ "branch": "y" })).await.code(), "read-only");
    assert_eq!(branches(&owner, main).await.len(), 2);
}
