//! What bad input gets: the right status, a sentence, nothing half done.

use crate::support::{Answer, TestApp};
use http::Method;
use serde_json::{Value, json};

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{}", answer.text());
    for internal in ["panicked", "sqlx", ".rs:"] {
        assert!(!answer.text().contains(internal), "{}", answer.text());
    }
}

#[tokio::test]
async fn odd_names_are_refused_or_kept_as_they_are() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    for (name, code) in [
        ("", "name-empty"),
        ("  \t", "name-empty"),
        ("\u{200b}\u{202e}", "name-empty"),
        ("\u{3164}", "name-empty"),
        ("\u{2800}\u{115f}", "name-empty"),
        (&"x".repeat(301), "name-too-long"),
        ("two\nlines", "name-control-character"),
        ("nul\0", "name-control-character"),
        ("red \u{1b}[31m", "name-control-character"),
    ] {
        let answer = owner.post("/api/projects", &json!({ "name": name })).await;
        refused(&answer, 422, code);
        assert_eq!(answer.json()["error"], "Failed to create project");
        assert_eq!(answer.json()["details"]["field"], "name");
    }
    assert_eq!(owner.get("/api/projects").await.json(), json!([]));
    let mut slugs = std::collections::BTreeSet::new();
    for name in ["夜市", "مشروع", "<b>&\"'", "'; drop table projects; --", "Twin", "Twin", &"ä".repeat(300)] {
        let answer = owner.post("/api/projects", &json!({ "name": name, "database": false })).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.json()["name"], name);
        assert!(slugs.insert(answer.json()["slug"].as_str().unwrap().to_owned()), "{name}: slugs are unique");
    }
}

#[tokio::test]
async fn an_odd_new_name_is_refused_and_the_old_one_stays() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "As it was").await;
    let path = format!("/api/projects/{project}");
    let before = owner.get(&path).await.json();
    for (name, code) in [
        ("", "name-empty"),
        (" \t ", "name-empty"),
        ("\u{200b}\u{202e}", "name-empty"),
        (&"x".repeat(301), "name-too-long"),
        ("two\nlines", "name-control-character"),
        ("nul\0", "name-control-character"),
    ] {
        // A size that comes with it is not taken either.
        let answer = owner.send(Method::PATCH, &path, &json!({ "name": name, "preset": "large" })).await;
        refused(&answer, 422, code);
        assert_eq!(answer.json()["error"], "Failed to change project");
        assert_eq!(
            (&answer.json()["details"]["field"], &answer.json()["projectId"]),
            (&json!("name"), &json!(project.to_string()))
        );
    }
    for wrong in
        [json!({ "name": 1 }), json!({ "slug": "mine" }), json!({ "name": "x", "database": false }), json!({ "preset": 3 })]
    {
        refused(&owner.send(Method::PATCH, &path, &wrong).await, 422, "wrong-form");
    }
    let after = owner.get(&path).await.json();
    for kept in ["name", "slug", "preset"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(after["sandbox"]["generation"], before["sandbox"]["generation"], "nothing was asked for");
    for name in ["夜市", "مشروع", "<b>&\"'", &"ä".repeat(300)] {
        let answer = owner.send(Method::PATCH, &path, &json!({ "name": name })).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["name"]), (200, &json!(name)), "{}", answer.text());
        assert_eq!(answer.json()["slug"], before["slug"], "addresses stay");
    }
}

#[tokio::test]
async fn a_project_with_odd_variables_is_not_made() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let create = async |env: Value| owner.post("/api/projects", &json!({ "name": "Half", "database": false, "env": env })).await;
    for (env, code) in [
        (json!({ "GOOD": "1", "A=B": "x" }), "env-key"),
        (json!({ "GOOD": "1", "1A": "x" }), "env-key"),
        (json!({ "GOOD": "1", "A B": "x" }), "env-key"),
        (json!({ "GOOD": "1", "A\0": "x" }), "env-key"),
        (json!({ "GOOD": "1", "PATH": "/" }), "env-key-reserved"),
        (json!({ "GOOD": "1", "NUL": "a\0b" }), "env-value-nul"),
        (json!({ "GOOD": "1", "LONG": "x".repeat(64 * 1024 + 1) }), "env-value-too-long"),
        (json!({ "GOOD": 1 }), "wrong-form"),
    ] {
        refused(&create(env).await, 422, code);
    }
    let many: Value = (0..9).map(|n| (format!("V{n}"), json!("x".repeat(60 * 1024)))).collect::<serde_json::Map<_, _>>().into();
    refused(&create(many).await, 422, "env-too-large");
    assert_eq!(owner.get("/api/projects").await.json(), json!([]));
    let made = create(json!({ "lower": "x", "LONGEST": "x".repeat(64 * 1024), "lines": "ä\n=" })).await;
    assert_eq!(made.status, 201, "{}", made.text());
}

/// What a request brings for one run is held to the same rules as what a project keeps.
#[tokio::test]
async fn odd_variables_of_a_request_start_nothing() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Steady").await;
    let path = format!("/api/sandbox/{project}");
    let generation = owner.get(&path).await.json()["generation"].clone();
    for (env, code) in [
        (json!({ "GOOD": "1", "A=B": "x" }), "env-key"),
        (json!({ "GOOD": "1", "DATABASE_URL": "postgresql://elsewhere" }), "env-key-reserved"),
        (json!({ "GOOD": "1", "NUL": "a\0b" }), "env-value-nul"),
        (json!({ "GOOD": "1", "LONG": "x".repeat(64 * 1024 + 1) }), "env-value-too-long"),
        (json!({ "GOOD": 1 }), "wrong-form"),
        (json!(["GOOD"]), "wrong-form"),
    ] {
        refused(&owner.post(&path, &json!({ "envVars": env })).await, 422, code);
    }
    refused(&owner.post(&path, &json!({ "envVars": {}, "surprise": 1 })).await, 422, "wrong-form");
    assert_eq!(owner.get(&path).await.json()["generation"], generation, "it runs on as it did");
}

#[tokio::test]
async fn odd_variables_are_refused_all_or_nothing() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Variables").await;
    let path = format!("/api/projects/{project}/env");
    let put = async |body: Value| owner.send(Method::PUT, &path, &body).await;
    for key in ["A=B", "A B", "A\nB", "A\0B", "1A", "", "Ä", "A-B"] {
        refused(&put(json!({ "set": { "GOOD": "1", key: "x" } })).await, 422, "env-key");
    }
    for key in ["DATABASE_URL", "NODE_ENV", "PATH", "FSA_ANYTHING"] {
        let answer = put(json!({ "set": { "GOOD": "1", key: "x" } })).await;
        refused(&answer, 422, "env-key-reserved");
        assert!(answer.json()["details"]["field"].is_string(), "{}", answer.text());
        assert!(answer.text().contains(key));
    }
    refused(&put(json!({ "set": { "GOOD": "1", "LONG": "x".repeat(64 * 1024 + 1) } })).await, 422, "env-value-too-long");
    refused(&put(json!({ "set": { "GOOD": "1", "NUL": "a\0b" } })).await, 422, "env-value-nul");
    refused(&put(json!({ "set": { "GOOD": 1 } })).await, 422, "wrong-form");
    refused(&put(json!({ "set": { "A": "1" }, "remove": ["A"] })).await, 422, "set-and-removed");
    refused(&put(json!({ "set": { "A": "1" }, "envVars": {} })).await, 422, "set-and-replace");
    let many: Value = (0..9).map(|n| (format!("V{n}"), json!("x".repeat(60 * 1024)))).collect::<serde_json::Map<_, _>>().into();
    refused(&put(json!({ "set": many })).await, 422, "env-too-large");
    assert!(!owner.get(&path).await.text().contains("GOOD"), "nothing of a refused change is kept");

    let answer = put(json!({ "set": { "lower": "secret value", "_U": "ä\n=" } })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.text().contains("secret value"), "values are write-only");
    let answer = put(json!({ "envVars": { "ONLY": "1" } })).await;
    let own: Vec<Value> = answer.json()["variables"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|v| v["source"] == "project")
        .map(|v| v["key"].clone())
        .collect();
    assert_eq!(own, ["ONLY"]);
    let sandbox = format!("/api/sandbox/{project}");
    refused(&owner.post(&sandbox, &json!({ "envVars": { "PATH": "/" } })).await, 422, "env-key-reserved");
}

#[tokio::test]
async fn odd_bodies_are_refused() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let json = owner.with("content-type", "application/json");
    let raw = async |body: &'static [u8]| json.ask(Method::POST, "/api/projects", Some(body.into())).await;
    for malformed in [&b"{"[..], b"{\"name\":\"x\"}trailing", &[0x7b, 0xff, 0xfe], b"nonsense"] {
        refused(&raw(malformed).await, 400, "not-json");
    }
    for wrong in [
        &b""[..],
        b"null",
        b"[]",
        b"[\"x\"]",
        b"\"x\"",
        b"{}",
        b"{\"name\":1}",
        b"{\"name\":\"x\",\"database\":\"yes\"}",
        b"{\"name\":\"x\",\"preset\":\"huge\"}",
        b"{\"name\":\"x\",\"surprise\":1}",
    ] {
        refused(&raw(wrong).await, 422, "wrong-form");
    }
    let form = owner.with("content-type", "application/x-www-form-urlencoded");
    refused(&form.ask(Method::POST, "/api/projects", Some("name=x".into())).await, 415, "not-json");
    let large = json!({ "name": "x", "env": { "BIG": "x".repeat(8 << 20) } });
    refused(&owner.post("/api/projects", &large).await, 413, "body-too-large");
    let key = owner.with("idempotency-key", "");
    refused(&key.post("/api/projects", &json!({ "name": "x" })).await, 422, "bad-idempotency-key");
    assert_eq!(owner.get("/api/projects").await.json(), json!([]));
}

/// Every route that takes an object, by the document: what it does not know is refused and not passed over.
#[tokio::test]
async fn no_route_takes_a_body_of_another_form() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Formal").await;
    let before = owner.get(&format!("/api/sandbox/{project}")).await.json();
    let document = owner.get("/api/openapi.json").await.json();
    let client = owner.with("content-type", "application/json");
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        // Those say of which field it is, or that there is no GitHub.
        if path == "/api/claude" || path.starts_with("/api/github") {
            continue;
        }
        for (method, operation) in methods.as_object().unwrap() {
            if operation["requestBody"]["content"]["application/json"].is_null() {
                continue;
            }
            let at = path.replace("{project}", &project.to_string()).replace("{port}", "3000");
            let method: Method = method.to_uppercase().parse().unwrap();
            for (body, status, code) in [
                (&b"{\"surprise\":1}"[..], 422, "wrong-form"),
                (&b"[1]"[..], 422, "wrong-form"),
                (&b"1"[..], 422, "wrong-form"),
                (&b"{"[..], 400, "not-json"),
            ] {
                let answer = client.ask(method.clone(), &at, Some(body.into())).await;
                assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text());
                refused(&answer, status, code);
            }
            tried += 1;
        }
    }
    assert!(tried > 12, "{tried} routes take an object");
    let after = owner.get(&format!("/api/sandbox/{project}")).await.json();
    assert_eq!((&after["generation"], &after["desired"]), (&before["generation"], &before["desired"]));
    assert_eq!(owner.get("/api/projects").await.json().as_array().unwrap().len(), 1, "nothing was made, and nobody signed out");
}

/// Pages ask by these: what they would not send is refused as it is by REST.
#[tokio::test]
async fn odd_bodies_of_server_functions_are_refused() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Pages").await;
    let client = owner.with("content-type", "application/json");
    let call = async |name: &str, body: String| client.ask(Method::POST, &format!("/api/fn/{name}"), Some(body.into())).await;
    for (name, body) in [
        ("create-project", "{"),
        ("create-project", "nonsense"),
        ("create-project", "[]"),
        ("create-project", "null"),
        ("create-project", r#"{"new": {"name": 1}, "key": "k"}"#),
        ("create-project", r#"{"new": {"name": "x", "surprise": 1}, "key": "k"}"#),
        ("create-project", r#"{"new": {"name": "x", "preset": "huge"}, "key": "k"}"#),
        ("update-project", r#"{"id": "PROJECT", "patch": {"slug": "mine"}}"#),
        ("ask", r#"{"id": "PROJECT", "verb": "explode"}"#),
        ("ask", r#"{"id": "x", "verb": "stop"}"#),
        ("change-env", r#"{"id": "PROJECT", "change": {"set": {"A": 1}}}"#),
        ("open-preview", r#"{"id": "PROJECT", "port": "x"}"#),
        ("create-token", r#"{"name": "x", "scope": "admin", "days": 1}"#),
        ("load", "{}"),
        ("load", r#"{"what": "Everything"}"#),
    ] {
        let answer = call(name, body.replace("PROJECT", &project.to_string())).await;
        let error = answer.json();
        assert_eq!(
            (answer.status.as_u16(), error["code"].as_str()),
            (400, Some("malformed")),
            "{name} {body}: {}",
            answer.text()
        );
        assert!(error["message"].as_str().is_some_and(|says| says.starts_with("The request could not be read")), "{error}");
    }
    for (name, status, code) in [("", 422, "name-empty"), ("two\nlines", 422, "name-control-character")] {
        let answer = call("create-project", json!({ "new": { "name": name }, "key": "k" }).to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (status, Some(code)), "{}", answer.text());
    }
    let large = json!({ "new": { "name": "x", "env": { "BIG": "x".repeat(8 << 20) } }, "key": "k" });
    refused(&call("create-project", large.to_string()).await, 413, "body-too-large");
    let projects = owner.get("/api/projects").await.json();
    assert_eq!(projects.as_array().unwrap().len(), 1, "nothing was made");
    assert_eq!((&projects[0]["name"], &projects[0]["sandbox"]["desired"]), (&json!("Pages"), &json!("running")));
}

#[tokio::test]
async fn what_is_not_yours_or_not_an_id_does_not_exist() {
    let Some(app) = TestApp::start().await else { return };
    let (owner, stranger) = (app.signed_in().await, app.somebody_else().await);
    let (project, _) = app.running(&owner, "Mine").await;
    let mine = project.to_string();
    for (who, id) in [
        (&stranger, mine.as_str()),
        (&owner, "1"),
        (&owner, "x"),
        (&owner, "00000000-0000-0000-0000-000000000000"),
        (&owner, "%00"),
        (&owner, "..%2f.."),
    ] {
        for (method, path) in [
            (Method::GET, format!("/api/projects/{id}")),
            (Method::PATCH, format!("/api/projects/{id}")),
            (Method::DELETE, format!("/api/projects/{id}")),
            (Method::GET, format!("/api/projects/{id}/env")),
            (Method::PUT, format!("/api/projects/{id}/env")),
            (Method::GET, format!("/api/sandbox/{id}")),
            (Method::POST, format!("/api/sandbox/{id}")),
            (Method::DELETE, format!("/api/sandbox/{id}")),
            (Method::POST, format!("/api/sandbox/{id}/stop")),
        ] {
            let answer = who.send(method.clone(), &path, &json!({})).await;
            refused(&answer, 404, "not-found");
        }
    }
    assert_eq!(owner.get(&format!("/api/projects/{project}")).await.json()["sandbox"]["desired"], "running");
}

#[tokio::test]
async fn addresses_and_methods_that_are_none_have_the_one_shape() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    refused(&owner.get("/api/nothing-here").await, 404, "no-such-address");
    refused(&owner.get("/nothing-here").await, 404, "no-such-address");
    refused(&owner.get("/pkg/nothing.js").await, 404, "no-such-asset");
    refused(&owner.get("/pkg/..%2fmanifest.json").await, 404, "no-such-asset");
    refused(&owner.get("/pkg/again-1/nothing.js").await, 404, "no-such-asset");
    refused(&owner.get("/pkg/again-1/..%2fmanifest.json").await, 404, "no-such-asset");
    refused(&owner.post("/api/fn/nothing", &json!({})).await, 404, "no-such-address");
    let answer = owner.send(Method::PATCH, "/api/projects", &json!({})).await;
    refused(&answer, 405, "method-not-allowed");
    assert!(answer.header("allow").contains("POST"), "{}", answer.header("allow"));
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn odd_commands_are_refused() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Commands").await;
    let path = format!("/api/sandbox/{project}/exec");
    for (body, code) in [
        (json!({ "command": [] }), "no-command"),
        (json!({ "command": "  " }), "no-command"),
        (json!({ "command": 5 }), "wrong-form"),
        (json!({}), "wrong-form"),
        (json!({ "command": ["a\0b"] }), "nul"),
        (json!({ "command": ["a"], "env": { "A=B": "x" } }), "env-key"),
        (json!({ "command": ["a"], "timeoutMs": 0 }), "no-time"),
    ] {
        refused(&owner.post(&path, &body).await, 422, code);
    }
    let done = owner.post(&path, &json!({ "command": "echo hi" })).await;
    assert_eq!(done.status, 200);
    assert_eq!(done.json()["exitCode"], 7);
    assert_eq!(done.json()["stdout"], r#"["/bin/sh","-c","echo hi"]"#);
    assert_eq!(done.json()["stderr"], "to stderr");
}
