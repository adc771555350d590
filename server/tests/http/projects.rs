//! Projects and their sandboxes by REST.

use crate::support::{Setup, TestApp};
use http::Method;
use model::{
    resources::{Preset, Resources, Sizes},
    view::EnvSource,
};
use secrecy::SecretString;
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

#[tokio::test]
async fn a_project_is_created_once_by_its_key() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await.with("idempotency-key", "3f1c");
    let (one, two) = (
        owner.post("/api/projects", &json!({ "name": "Once" })).await,
        owner.post("/api/projects", &json!({ "name": "Once" })).await,
    );
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (201, 201));
    assert_eq!(one.json()["id"], two.json()["id"]);
    assert_eq!(one.header("location"), format!("/api/projects/{}", one.json()["id"].as_str().unwrap()));
    assert_eq!(owner.get("/api/projects").await.json().as_array().unwrap().len(), 1);
    let other = owner.with("idempotency-key", "other").post("/api/projects", &json!({ "name": "Once" })).await;
    assert_ne!(one.json()["id"], other.json()["id"]);
}

#[tokio::test]
async fn asks_answer_the_sandbox_and_those_that_cannot_apply_say_why() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Asked").await;
    let path = format!("/api/sandbox/{project}");
    let sandbox = owner.get(&path).await.json();
    assert_eq!(sandbox["name"], name.as_str());
    assert_eq!(sandbox["stages"].as_array().unwrap().len(), 5);
    assert_eq!(sandbox["stages"][0]["stage"], "database-creation");
    assert_eq!(sandbox["urls"]["application"], format!("http://3000--{name}.localhost:{}/", app.port));
    assert_eq!(sandbox["cause"], json!(null));

    let same = owner.post(&format!("{path}/start"), &json!({})).await;
    assert_eq!((same.status.as_u16(), same.json()["generation"].as_i64()), (202, Some(1)), "it runs already");
    let stop = owner.ask(Method::POST, &format!("{path}/stop"), None).await;
    assert_eq!((stop.status.as_u16(), stop.json()["desired"].as_str()), (202, Some("stopped")));
    app.reaches(&owner, project, "Stopped").await;
    let again = owner.post(&format!("{path}/stop"), &json!({})).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "already-stopped"));
    assert_eq!(again.json()["projectId"], project.to_string());
    assert_eq!(owner.post(&format!("{path}/exec"), &json!({ "command": "true" })).await.code(), "not-running");

    assert_eq!(owner.ask(Method::DELETE, &path, None).await.status, 202);
    app.reaches(&owner, project, "Terminated").await;
    assert_eq!(owner.ask(Method::DELETE, &path, None).await.code(), "already-terminated");
    assert_eq!(owner.post(&format!("{path}/stop"), &json!({})).await.code(), "already-terminated");
    assert_eq!(owner.post(&path, &json!({ "envVars": { "ONCE": "1" } })).await.status, 202);
    app.reaches(&owner, project, "Running").await;
    let env = owner.get(&format!("/api/projects/{project}/env")).await.json();
    let once = env["variables"].as_array().unwrap().iter().find(|v| v["key"] == "ONCE").unwrap().clone();
    assert_eq!(once["source"], "request");
}

#[tokio::test]
async fn sizes_are_shown_as_the_operator_set_them() {
    let amounts = Resources { limit_cpu_millis: 250, limit_memory_bytes: 3 << 30, ..Preset::Medium.resources() };
    let setup = Setup { sizes: Sizes::default().with(Preset::Medium, amounts), ..Setup::default() };
    let Some(app) = TestApp::start_as(setup).await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Sized").await;
    let sandbox = owner.get(&format!("/api/sandbox/{project}")).await.json();
    assert_eq!(sandbox["resources"], json!(amounts));
    for path in ["/projects/new".to_owned(), format!("/projects/{project}/settings")] {
        let page = owner.get(&path).await.text();
        for shown in ["0.25 CPU · 3 GB · 10 GB disk", "0.2 CPU · 256 MB · 10 GB disk"] {
            assert!(page.contains(shown), "{path} does not show {shown}: {page}");
        }
    }
}

/// What programs rely on, by name: all of it is there, whatever else is.
#[tokio::test]
async fn projects_and_sandboxes_have_the_shape_that_is_promised() {
    fn keys(value: &serde_json::Value) -> std::collections::BTreeSet<&str> {
        value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
    }
    #[track_caller]
    fn has(value: &serde_json::Value, promised: &[&str]) {
        let there = keys(value);
        assert!(promised.iter().all(|key| there.contains(key)), "{promised:?} in {value}");
    }
    const SANDBOX: [&str; 8] = ["projectId", "name", "phase", "generation", "stages", "cause", "urls", "ports"];
    const STAGES: [&str; 5] =
        ["database-creation", "container-provisioning", "network-configuration", "terminal-initialization", "environment-ready"];
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let made = owner.post("/api/projects", &json!({ "name": "Shape" })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    has(&made, &["id", "name", "slug", "sandbox"]);
    assert_eq!((made["name"].as_str(), made["slug"].as_str()), (Some("Shape"), Some("shape")));
    let project = made["id"].as_str().unwrap().parse().unwrap();
    app.reaches(&owner, project, "Running").await;
    assert!(owner.get("/api/projects").await.json().is_array());

    let path = format!("/api/sandbox/{project}");
    let shown = owner.get(&path).await.json();
    has(&shown, &SANDBOX);
    has(&shown["urls"], &["application", "terminal"]);
    assert!(shown["ports"].is_array() && shown["cause"].is_null() && shown["generation"].is_u64(), "{shown}");
    assert_eq!((&shown["projectId"], shown["phase"].as_str()), (&json!(project.to_string()), Some("Running")));
    let stages = shown["stages"].as_array().unwrap();
    for (stage, name) in stages.iter().zip(STAGES) {
        has(stage, &["stage", "state", "startedAt", "endedAt", "deadlineAt", "limitSeconds"]);
        assert_eq!((stage["stage"].as_str(), stage["state"].as_str()), (Some(name), Some("done")));
        for at in ["startedAt", "endedAt", "deadlineAt"] {
            assert!(stage[at].as_str().is_some_and(|at| at.ends_with('Z') && at.contains('T')), "RFC 3339, in UTC: {stage}");
        }
    }
    // What goes on in the background is answered with the sandbox, as it is read.
    for (method, at) in [
        (Method::POST, format!("{path}/restart")),
        (Method::POST, format!("{path}/stop")),
        (Method::POST, format!("{path}/start")),
        (Method::POST, path.clone()),
        (Method::DELETE, path.clone()),
    ] {
        let answer = owner.send(method.clone(), &at, &json!({})).await;
        assert_eq!(answer.status, 202, "{method} {at}: {}", answer.text());
        has(&answer.json(), &SANDBOX);
        assert_eq!(answer.json()["stages"].as_array().unwrap().len(), 5, "{method} {at}");
        has(&owner.get(&path).await.json(), &SANDBOX);
    }
}

#[tokio::test]
async fn a_project_in_under_a_second_is_promised_on_one_machine_alone() {
    for (orchestrator, soon) in [("local", "ready in under a second"), ("kubernetes", "ready within seconds")] {
        let setup = Setup { orchestrator: Some(orchestrator), ..Setup::default() };
        let Some(app) = TestApp::start_as(setup).await else { return };
        let owner = app.signed_in().await;
        for path in ["/", "/projects/new"] {
            let page = owner.get(path).await.text();
            assert!(page.contains(soon), "{orchestrator} {path}: {page}");
            assert_eq!(page.contains("under a second"), orchestrator == "local", "{path}: {page}");
        }
    }
}

#[tokio::test]
async fn every_stage_says_the_limit_that_is_set_before_it_begins_and_after() {
    let deadlines = [60, 900, 30, 20, 45];
    let setup = Setup { stage_deadlines: Some(deadlines.map(Duration::from_secs)), ..Setup::default() };
    let Some(app) = TestApp::start_as(setup).await else { return };
    let owner = app.signed_in().await;
    let limits = |sandbox: &serde_json::Value| -> Vec<_> {
        sandbox["stages"].as_array().unwrap().iter().map(|stage| stage["limitSeconds"].as_u64().unwrap()).collect()
    };
    let made = owner.post("/api/projects", &json!({ "name": "Limits" })).await.json();
    assert_eq!(made["sandbox"]["stages"][4]["state"], "waiting");
    assert_eq!(limits(&made["sandbox"]), deadlines);
    let project = made["id"].as_str().unwrap().parse().unwrap();
    app.reaches(&owner, project, "Running").await;
    assert_eq!(limits(&owner.get(&format!("/api/sandbox/{project}")).await.json()), deadlines);
    // What a page is told of it as it changes is the same.
    let listed = owner.get("/api/projects").await.json();
    assert_eq!(limits(&listed[0]["sandbox"]), deadlines);
}

#[tokio::test]
async fn where_variables_come_from_is_said_and_no_value() {
    let operators = [("ANTHROPIC_API_KEY", "sk-of-the-operator"), ("BOTH", "operators-both")];
    let operator_env = BTreeMap::from(operators.map(|(key, value)| (key.to_owned(), SecretString::from(value))));
    let Some(app) = TestApp::start_as(Setup { operator_env, ..Setup::default() }).await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Sources").await;
    let path = format!("/api/projects/{project}/env");
    let set = json!({ "set": { "OWN": "value-of-its-own", "BOTH": "projects-both" } });
    assert_eq!(owner.send(Method::PUT, &path, &set).await.status, 200);
    let answer = owner.get(&path).await;
    let source = |key: &str| {
        let all = answer.json();
        let found = all["variables"].as_array().unwrap().iter().find(|one| one["key"] == key);
        found.unwrap_or_else(|| panic!("no {key}: {all}"))["source"].as_str().unwrap().to_owned()
    };
    for (key, expected) in [
        ("ANTHROPIC_API_KEY", "operator"),
        ("NODE_ENV", "system"),
        ("DATABASE_URL", "system"),
        ("PGPASSWORD", "system"),
        ("OWN", "project"),
        ("BOTH", "project"),
    ] {
        assert_eq!(source(key), expected, "{key}");
    }
    // The page about it has them all.
    let page = include_str!("../../../docs/files.md");
    let told = page.lines().find(|line| line.contains("`source`")).unwrap();
    for source in [EnvSource::Operator, EnvSource::Account, EnvSource::Project, EnvSource::Request, EnvSource::System] {
        let name = serde_json::to_value(source).unwrap();
        assert!(told.contains(&format!("`{}`", name.as_str().unwrap())), "docs/files.md has no {name}: {told}");
    }
    let database = owner.post(&format!("/api/projects/{project}/database/reveal"), &json!({})).await.json();
    let password = database["psql"].as_str().unwrap().split([':', '@']).nth(2).unwrap();
    for secret in ["sk-of-the-operator", "operators-both", "value-of-its-own", "projects-both", password] {
        assert!(!answer.text().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn changed_variables_wait_for_a_restart() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Waiting").await;
    let env = format!("/api/projects/{project}/env");
    let changed = owner.send(Method::PUT, &env, &json!({ "set": { "GREETING": "hej" } })).await.json();
    let greeting = changed["variables"].as_array().unwrap().iter().find(|v| v["key"] == "GREETING").unwrap().clone();
    assert_eq!(
        (greeting["source"].as_str(), greeting["pending"].as_bool(), greeting["bytes"].as_u64()),
        (Some("project"), Some(true), Some(3))
    );
    assert_eq!(owner.get(&format!("/api/sandbox/{project}")).await.json()["restartPending"], true);
    let restart = owner.with("idempotency-key", "r1");
    let first = restart.post(&format!("/api/sandbox/{project}/restart"), &json!({})).await.json()["generation"].clone();
    app.reaches(&owner, project, "Running").await;
    let second = restart.post(&format!("/api/sandbox/{project}/restart"), &json!({})).await.json()["generation"].clone();
    assert_eq!(first, second, "the same key is the same ask");
    assert_eq!(owner.get(&format!("/api/sandbox/{project}")).await.json()["restartPending"], false);
}

#[tokio::test]
async fn a_whole_env_file_is_taken_or_none_of_it() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Pasted").await;
    let env = format!("/api/projects/{project}/env");
    let file = "# of the app\nexport A=1\nKEY=\"-----BEGIN-----\nabc\n\"\nB='x # y' # note\nA=2";
    let changed = owner.send(Method::PUT, &env, &json!({ "dotenv": file, "set": { "B": "wins" } })).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let own = |answer: &crate::support::Answer| -> Vec<(String, u64)> {
        let variables = answer.json()["variables"].as_array().unwrap().clone();
        let own = variables.iter().filter(|v| v["source"] == "project");
        own.map(|v| (v["key"].as_str().unwrap().to_owned(), v["bytes"].as_u64().unwrap())).collect()
    };
    let expected = [("A".to_owned(), 1), ("B".to_owned(), 4), ("KEY".to_owned(), 20)];
    assert_eq!(own(&changed), expected);
    for (file, line) in [("C=1\nno variable", 2), ("C=1\n\nPATH=/bin", 3), ("C=\"never closed\n", 1)] {
        let refused = owner.send(Method::PUT, &env, &json!({ "dotenv": file })).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "bad-dotenv"), "{file}");
        assert!(refused.text().contains(&format!("Line {line} of")), "{}", refused.text());
    }
    assert_eq!(own(&owner.get(&env).await), expected);
    let both = owner.send(Method::PUT, &env, &json!({ "dotenv": "C=1", "envVars": {} })).await;
    assert_eq!(both.code(), "set-and-replace");
}

#[tokio::test]
async fn deleting_asks_for_the_name_where_one_is_given_and_removes_everything() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Gone tomorrow").await;
    let path = format!("/api/projects/{project}");
    let wrong = owner.send(Method::DELETE, &path, &json!({ "name": "Gone" })).await;
    assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (422, "name-differs"));
    assert_eq!(owner.send(Method::DELETE, &path, &json!({ "name": "Gone tomorrow" })).await.status, 202);
    crate::support::until("the project to be gone", async || owner.get(&path).await.status == 404).await;
    assert_eq!(owner.get("/api/projects").await.json(), json!([]));
}

#[tokio::test]
async fn a_project_without_a_database_says_so() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Rows").await;
    assert_eq!(owner.get(&format!("/api/projects/{project}/database")).await.json()["ready"], true);
    let bare = owner.post("/api/projects", &json!({ "name": "None", "database": false })).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(owner.get(&format!("/api/projects/{bare}/database")).await.code(), "no-database");
}

#[tokio::test]
async fn so_many_projects_and_no_more() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    for n in 0..50 {
        assert_eq!(owner.post("/api/projects", &json!({ "name": format!("{n}"), "database": false })).await.status, 201);
    }
    let more = owner.post("/api/projects", &json!({ "name": "One more" })).await;
    assert_eq!((more.status.as_u16(), more.code().as_str()), (409, "too-many-projects"));
}

#[tokio::test]
async fn a_create_that_is_repeated_at_the_limit_is_the_same_project() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let make = async |n: usize| {
        let client = owner.with("idempotency-key", &format!("key-{n}"));
        client.post("/api/projects", &json!({ "name": format!("{n}"), "database": false })).await
    };
    for n in 0..50 {
        assert_eq!(make(n).await.status, 201);
    }
    assert_eq!(make(50).await.code(), "too-many-projects");
    let (again, made) = (make(49).await, owner.get("/api/projects").await.json());
    assert_eq!(again.status, 201, "{}", again.text());
    assert_eq!(again.json()["id"], made[0]["id"]);
    assert_eq!(made.as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn a_start_or_stop_that_is_repeated_by_its_key_is_the_same_ask() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Keyed").await;
    let path = format!("/api/sandbox/{project}");
    let ask = async |verb: &str, key: &str| owner.with("idempotency-key", key).post(&format!("{path}/{verb}"), &json!({})).await;
    assert_eq!(ask("stop", "s1").await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
    let again = ask("stop", "s1").await;
    assert_eq!(again.status, 202, "it was carried out: {}", again.text());
    assert_eq!(ask("stop", "s2").await.code(), "already-stopped", "another key is another ask");
    assert_eq!(ask("start", "u1").await.status, 202);
    app.reaches(&owner, project, "Running").await;
    let late = ask("stop", "s1").await.json();
    assert_eq!(
        (late["desired"].as_str(), late["phase"].as_str()),
        (Some("running"), Some("Running")),
        "a late retry stops nothing"
    );
    let once = ask("start", "u1").await.json();
    assert_eq!(once["generation"], late["generation"]);
}

#[tokio::test]
async fn what_a_restart_would_change_is_said() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let env = json!({ "KEPT": "1", "OLD": "1", "GONE": "1" });
    let made = owner.post("/api/projects", &json!({ "name": "Pending", "database": false, "env": env })).await.json();
    let project = made["id"].as_str().unwrap().parse().unwrap();
    app.reaches(&owner, project, "Running").await;
    let path = format!("/api/projects/{project}/env");
    assert_eq!(owner.get(&path).await.json()["changes"], json!([]));
    let put = owner.send(Method::PUT, &path, &json!({ "envVars": { "KEPT": "1", "OLD": "2", "FRESH": "1" } })).await.json();
    let changes = json!([
        { "key": "FRESH", "change": "added" },
        { "key": "GONE", "change": "removed" },
        { "key": "OLD", "change": "changed" },
    ]);
    assert_eq!(put["changes"], changes);
    owner.post(&format!("/api/sandbox/{project}/restart"), &json!({})).await;
    app.reaches(&owner, project, "Running").await;
    assert_eq!(owner.get(&path).await.json()["changes"], json!([]));
}
