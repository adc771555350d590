//! The API as programs meet it: its document, pages of lists, tags, limits.

use crate::{
    github::{session, sign_in, with},
    support::{Answer, Client, Setup, TestApp, agent::RealAgent, github::everybody, until},
};
use http::Method;
use model::view::Scope;
use serde_json::{Value, json};
use server::http::routes::ROUTES;
use std::{collections::BTreeSet, sync::Arc};

#[tokio::test]
async fn the_document_is_that_of_the_router() {
    let Some(app) = TestApp::start().await else { return };
    let answer = app.anonymous().get("/api/openapi.json").await;
    assert_eq!(answer.status, 200);
    let document: Value = answer.json();
    let _: utoipa::openapi::OpenApi = serde_json::from_value(document.clone()).expect("an OpenAPI document");
    assert_eq!(
        (document["openapi"].as_str(), document["servers"][0]["url"].as_str()),
        (Some("3.1.0"), Some(app.public.as_str()))
    );
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone())))
        .collect();
    let routed: BTreeSet<(String, String)> =
        ROUTES.iter().map(|route| (route.method.to_string(), route.path.replace("{*", "{"))).collect();
    let undescribed: Vec<_> = routed.difference(&described).collect();
    assert!(undescribed.is_empty(), "routes that the document lacks: {undescribed:?}");
    // The other way: every operation is answered, by something that knows its method.
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Described").await;
    for (method, path) in &described {
        if path == "/api/sign-out" {
            continue;
        }
        let at =
            path.replace("{project}", &project.to_string()).replace("{session}", "main").replace("{token}", &project.to_string());
        let client = owner.with("content-type", "application/json");
        if path == "/api/events" {
            // It has no end.
            assert_eq!(client.open(Method::GET, &at, None).await.status(), 200);
            continue;
        }
        let answer = client.ask(method.parse().unwrap(), &at, Some("[]".into())).await;
        assert_ne!(answer.status, 405, "{method} {path}");
        // What is there may not know this token or terminal; what is not there says so in other words.
        assert!(answer.status != 404 || !answer.text().contains("no-such-address"), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere_and_every_id_is_one_operations() {
    let Some(app) = TestApp::start().await else { return };
    let document: Value = app.anonymous().get("/api/openapi.json").await.json();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            assert!(operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].is_string());
        }
    }
    let page = app.anonymous().with("accept", "text/html").get("/docs/api").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(ids.iter().all(|id| page.text().contains(&format!("id=\"{id}\""))));
}

/// What is answered has the fields that the document says, and no others.
#[tokio::test]
async fn answers_are_as_the_document_says() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let document: Value = owner.get("/api/openapi.json").await.json();
    let (project, _) = app.running(&owner, "Answers").await;
    for (path, name, pointer) in [
        (format!("/api/projects/{project}"), "ProjectView", ""),
        (format!("/api/sandbox/{project}"), "SandboxView", ""),
        (format!("/api/projects/{project}/env"), "EnvView", ""),
        (format!("/api/projects/{project}/database"), "DatabaseView", ""),
        (format!("/api/projects/{project}/activity"), "ActivityPage", ""),
        (format!("/api/projects/{project}/activity"), "ActivityView", "/activity/0"),
        ("/api/me".to_owned(), "Myself", ""),
        ("/api/claude".to_owned(), "ClaudeView", ""),
        ("/api/me/nothing".to_owned(), "ErrorBody", ""),
    ] {
        let answer: Value = owner.get(&path).await.json();
        let answer = answer.pointer(pointer).unwrap().as_object().unwrap();
        let schema = &document["components"]["schemas"][name];
        let properties: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let own: BTreeSet<&String> = answer.keys().collect();
        assert!(own.is_subset(&properties), "{name}: {own:?} {properties:?}");
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(answer.contains_key(required.as_str().unwrap()), "{name} lacks {required}");
        }
    }
}

#[tokio::test]
async fn projects_come_in_pages_and_filtered() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let mut ids = Vec::new();
    for name in ["One boat", "Two", "Three boats"] {
        ids.insert(0, app.running(&owner, name).await.0.to_string());
    }
    let of = |answer: &crate::support::Answer| -> Vec<String> {
        let all = answer.json();
        all.as_array().unwrap_or_else(|| panic!("{all}")).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = owner.get("/api/projects").await;
    assert_eq!((of(&all), all.header("link")), (ids.clone(), ""));
    let first = owner.get("/api/projects?limit=2").await;
    assert_eq!(of(&first), ids[..2]);
    assert_eq!(first.header("link"), format!("</api/projects?limit=2&after={}>; rel=\"next\"", ids[1]));
    let second = owner.get(&format!("/api/projects?limit=2&after={}", ids[1])).await;
    assert_eq!((of(&second), second.header("link")), (ids[2..].to_vec(), ""));
    assert_eq!(of(&owner.get("/api/projects?search=BOAT").await), [ids[0].clone(), ids[2].clone()]);
    assert_eq!(owner.post(&format!("/api/sandbox/{}/stop", ids[0]), &json!({})).await.status, 202);
    app.reaches(&owner, ids[0].parse().unwrap(), "Stopped").await;
    assert_eq!(of(&owner.get("/api/projects?phase=stopped,error").await), ids[..1]);
    assert_eq!(of(&owner.get("/api/projects?phase=running&limit=1").await), ids[1..2]);
    for (query, code) in [
        ("limit=0", "bad-limit"),
        ("limit=-1", "bad-query"),
        ("phase=asleep", "bad-phase"),
        ("after=x", "bad-query"),
        ("x=1", "bad-query"),
    ] {
        let answer = owner.get(&format!("/api/projects?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{query}");
    }
}

fn texts(answer: &Answer, field: &str) -> Vec<String> {
    let all = answer.json();
    all.as_array().unwrap_or_else(|| panic!("{all}")).iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

/// Where the next page is.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link").strip_prefix('<')?;
    Some(link.strip_suffix(">; rel=\"next\"").unwrap_or_else(|| panic!("{link}")).to_owned())
}

/// All of a list, two at a time.
async fn in_pages(client: &Client, path: &str, field: &str) -> Vec<String> {
    let (mut all, mut at) = (Vec::new(), Some(format!("{path}?limit=2")));
    while let Some(path) = at {
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let page = texts(&answer, field);
        at = next(&answer);
        assert!(page.len() == 2 || (page.len() < 2 && at.is_none()), "{path}: {page:?}");
        all.extend(page);
    }
    all
}

#[tokio::test]
async fn every_list_of_things_comes_whole_or_in_pages() {
    let Some(app) = TestApp::start().await else { return };
    let agent = Arc::new(RealAgent::start(&[]));
    app.world.files_of(agent.clone());
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Listed").await;
    let (sandboxes, terminals) = (format!("/api/projects/{project}/sandboxes"), format!("/api/sandbox/{project}/terminals"));
    let mut sockets = Vec::new();
    for name in ["b", "a", "d", "c"] {
        app.signed_in().await;
        assert_eq!(owner.post("/api/tokens", &json!({ "name": name, "scope": "read" })).await.status, 201);
        assert_eq!(owner.post(&sandboxes, &json!({ "branch": name })).await.status, 201);
        let (token, at) = (crate::support::agent::TOKEN.to_owned().into(), format!("/ws?session={name}"));
        let mut socket = sandbox_agent::client::websocket(agent.io().await, &token, &at, "fsa-tty.v1").await.unwrap();
        let first = tokio_tungstenite::tungstenite::Message::Binary(r#"{"columns":80,"rows":24,"client":"tab"}"#.into());
        futures::SinkExt::send(&mut socket, first).await.unwrap();
        sockets.push(socket);
    }
    until("four terminals beside the first", async || texts(&owner.get(&terminals).await, "name").len() == 5).await;
    for (path, field) in
        [("/api/tokens", "id"), (sandboxes.as_str(), "id"), (terminals.as_str(), "name"), ("/api/sessions", "id")]
    {
        let whole = owner.get(path).await;
        assert_eq!((whole.status.as_u16(), next(&whole)), (200, None), "{path}: all of it, where nobody asks for pages");
        let (mut all, mut paged) = (texts(&whole, field), in_pages(&owner, path, field).await);
        assert!(all.len() >= 4, "{path}: {all:?}");
        assert_eq!(all[0], paged[0], "{path}");
        if path == "/api/sessions" {
            // Those of one second have no order.
            all.sort();
            paged.sort();
        }
        assert_eq!(all, paged, "{path}");
        for (query, code) in
            [("limit=0", "bad-limit"), ("limit=201", "bad-limit"), ("limit=x", "bad-query"), ("x=1", "bad-query")]
        {
            let refused = owner.get(&format!("{path}?{query}")).await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, code), "{path}?{query}");
        }
    }

    // What goes while somebody turns pages takes none of the others with it.
    let first = owner.get("/api/tokens?limit=1").await;
    let rest = texts(&owner.get("/api/tokens").await, "id")[1..].to_vec();
    let gone = texts(&first, "id")[0].clone();
    assert_eq!(owner.ask(Method::DELETE, &format!("/api/tokens/{gone}"), None).await.status, 204);
    assert_eq!(texts(&owner.get(&next(&first).unwrap()).await, "id"), rest[..1]);
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Tagged").await;
    app.settled().await;
    for path in ["/api/projects".to_owned(), format!("/api/projects/{project}"), format!("/api/sandbox/{project}")] {
        let first = owner.get(&path).await;
        let tag = first.header("etag").to_owned();
        assert!(first.status == 200 && tag.starts_with("W/\""), "{path}");
        assert_eq!(first.header("cache-control"), "private, no-cache");
        let again = owner.with("if-none-match", &tag).get(&path).await;
        assert_eq!((again.status.as_u16(), again.text().as_str(), again.header("etag")), (304, "", tag.as_str()), "{path}");
        let renamed =
            owner.send(Method::PATCH, &format!("/api/projects/{project}"), &json!({ "name": format!("For {path}") })).await;
        assert_eq!(renamed.status, 200);
        let restart = owner.post(&format!("/api/sandbox/{project}/restart"), &json!({})).await;
        assert_eq!(restart.status, 202);
        assert_eq!(owner.with("if-none-match", &tag).get(&path).await.status, 200, "{path}");
        app.reaches(&owner, project, "Running").await;
        app.settled().await;
    }
}

#[tokio::test]
async fn a_sandbox_that_only_works_is_not_sent_again() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Measured").await;
    let at = format!("/api/sandbox/{project}");
    let measured = async |cpu: u32| {
        until("the measure to be shown", async || {
            app.world.uses(cpu);
            owner.get(&at).await.json()["usage"]["cpuPercent"].as_f64() == Some(f64::from(cpu))
        })
        .await;
    };
    measured(1).await;
    app.settled().await;
    let paths = [
        "/api/projects".to_owned(),
        format!("/api/projects/{project}"),
        format!("/api/projects/{project}/sandboxes"),
        at.clone(),
    ];
    let mut tags = Vec::new();
    for path in &paths {
        tags.push(owner.get(path).await.header("etag").to_owned());
    }
    measured(2).await;
    for (path, tag) in paths.iter().zip(&tags) {
        assert!(tag.starts_with("W/\""), "the bytes are others by then: {path} {tag}");
        assert_eq!(owner.with("if-none-match", tag).get(path).await.status, 304, "{path}");
    }
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    for (path, tag) in paths.iter().zip(&tags) {
        assert_eq!(owner.with("if-none-match", tag).get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_read_has_a_tag_and_is_not_sent_again() {
    let Some((app, _github)) = with(everybody()).await else { return };
    app.world.files_of(Arc::new(RealAgent::start(&[])));
    let owner = app.signed_in().await;
    let connected = session(&app, &sign_in(&app).await);
    let (project, _) = app.running(&owner, "Tagged").await;
    app.settled().await;
    // Without an end, a WebSocket, or the bytes of a file.
    const LEFT_OUT: [&str; 4] =
        ["/api/events", "/api/sandbox/{project}/logs", "/api/sandbox/{project}/terminal", "/api/sandbox/{project}/files/{*path}"];
    let document: Value = owner.get("/api/openapi.json").await.json();
    for route in ROUTES.iter().filter(|route| route.method == Method::GET && !LEFT_OUT.contains(&route.path)) {
        let path = route.path.replace("{project}", &project.to_string()).replace("{port}", "3000");
        let client = if route.path == "/api/github/repositories" { &connected } else { &owner };
        // What passes by itself makes another tag, such as the free disk that the doctor tells.
        until(&format!("{path} to be the same twice"), async || {
            let first = client.get(&path).await;
            let tag = first.header("etag").to_owned();
            assert!(first.status == 200 && tag.trim_start_matches("W/").starts_with('"'), "{path}: {} {tag}", first.text());
            let again = client.with("if-none-match", &tag).get(&path).await;
            if again.status == 200 {
                return false;
            }
            assert_eq!((again.status.as_u16(), again.text().as_str(), again.header("etag")), (304, "", tag.as_str()), "{path}");
            true
        })
        .await;
        let described = &document["paths"][route.path]["get"];
        let parameters: Vec<&str> =
            described["parameters"].as_array().into_iter().flatten().map(|one| one["name"].as_str().unwrap()).collect();
        assert!(parameters.contains(&"If-None-Match"), "{path}: {parameters:?}");
        assert!(described["responses"]["304"].is_object() && described["responses"]["200"]["headers"]["ETag"].is_object());
    }
    let database = owner.get(&format!("/api/projects/{project}/database")).await;
    assert_eq!(database.header("cache-control"), "no-store", "a browser would keep the figures for as long as the tag");
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again_and_others_are_not() {
    let Some(app) = TestApp::start_as(Setup { requests_per_second: 1, ..Setup::default() }).await else { return };
    let (one, other) = (app.token(Scope::Read).await, app.token(Scope::Read).await);
    let mut refused = None;
    for _ in 0..12 {
        let answer = one.get("/api/me").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let refused = refused.expect("four at once, and one a second");
    assert_eq!(refused.code(), "too-many");
    assert!((1..=2).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    assert_eq!(other.get("/api/me").await.status, 200);
}

/// The example of docs/api.md, as it stands there.
#[tokio::test]
async fn the_worked_example_works() {
    let Some(app) = TestApp::start().await else { return };
    let page = std::fs::read_to_string("../docs/api.md").unwrap();
    let script = page.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    for program in ["bash", "curl", "jq"] {
        if tokio::process::Command::new(program).arg("--version").output().await.is_err() {
            return crate::postgres::skipped(&format!("there is no {program}"));
        }
    }
    let token = app.accounts.make_token(app.owner, "example", Scope::Write, None, jiff::Timestamp::now()).await.unwrap();
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-c", script])
        .env("URL", &app.public)
        .env("TOKEN", &token.secret)
        .env_remove("http_proxy")
        .env("NO_PROXY", "localhost");
    let done = tokio::time::timeout(std::time::Duration::from_secs(60), bash.output()).await.expect("it ends").unwrap();
    let (said, complained) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}\n{complained}");
    // The newest first, a page each.
    assert!(said.contains("token nightly\ntoken example\n"), "{said}");
    for expected in ["changed GREETING", "Restarted the sandbox", "Owner: Made the project", "Boats", "stopped", "true"] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
}
