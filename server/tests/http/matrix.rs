//! The matrix of authorisation: every route of the table, asked by everybody. A new route is in it by
//! being in the table.

use crate::support::{Client, TestApp, client::hear};
use http::{Method, StatusCode};
use model::view::Scope;
use server::http::routes::{Access, ROUTES, Route};
use std::collections::{BTreeMap, BTreeSet};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    ReadToken,
    WriteToken,
    Owner,
    SomebodyElse,
    ForeignPage,
    ForeignSite,
}

const EVERYBODY: [Who; 7] =
    [Who::Nobody, Who::ReadToken, Who::WriteToken, Who::Owner, Who::SomebodyElse, Who::ForeignPage, Who::ForeignSite];

/// What must come of it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    /// Anything but a refusal for who it is.
    LetIn,
}

fn expected(route: &Route, who: Who) -> Outcome {
    let changes = route.method != Method::GET;
    let terminal = route.path.ends_with("/terminal");
    match (who, route.access) {
        (Who::ReadToken | Who::WriteToken, Access::Session) => Outcome::Status(403),
        (Who::ForeignPage | Who::ForeignSite, _) if changes || terminal => Outcome::Status(403),
        (Who::ForeignPage | Who::ForeignSite | Who::Owner | Who::WriteToken, _) | (_, Access::Public) => Outcome::LetIn,
        (Who::Nobody, _) => Outcome::Status(401),
        (Who::ReadToken, Access::Write) => Outcome::Status(403),
        (Who::ReadToken, Access::Read) => Outcome::LetIn,
        (Who::SomebodyElse, _) if route.path.contains("{project}") || route.path.contains("{token}") => Outcome::Status(404),
        // The operator's.
        (Who::SomebodyElse, _) if route.path == "/api/doctor" => Outcome::Status(404),
        (Who::SomebodyElse, _) => Outcome::LetIn,
    }
}

async fn ask(client: &Client, route: &Route, path: &str) -> StatusCode {
    if path.ends_with("/terminal") {
        return client.socket(path, "fsa-tty.v1").await.map_or_else(|status| status, |_| StatusCode::SWITCHING_PROTOCOLS);
    }
    let body = match (route.method.as_str(), route.path) {
        (_, "/api/sign-in") => r#"{"code": "nonsense"}"#,
        (_, "/api/tokens") => r#"{"name": "x", "scope": "read"}"#,
        ("POST", "/api/projects") => r#"{"name": "Made", "database": false}"#,
        (_, path) if path.ends_with("/exec") => r#"{"command": ["true"]}"#,
        ("PUT", path) if path.ends_with("/share") => r#"{"audience": "link"}"#,
        (_, path) if path.ends_with("/sandboxes") => r#"{"branch": "x"}"#,
        (_, path) if path.ends_with("/repository") => r#"{"action": "skip"}"#,
        ("POST", path) if path.ends_with("/publication") => r#"{"folder": "app", "name": "app"}"#,
        (_, path) if path.ends_with("/commit") => r#"{"message": "x"}"#,
        (_, path) if path.ends_with("/preview") => r#"{"port": 3000}"#,
        _ => "{}",
    };
    let body = (route.method != Method::GET).then(|| body.into());
    // The head alone: a stream has no end.
    client.with("content-type", "application/json").open(route.method.clone(), path, body).await.status()
}

#[tokio::test]
async fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("never made");
    let owner = app.signed_in().await;
    let reader = app.token(Scope::Read).await;
    let writer = app.token(Scope::Write).await;
    let stranger = app.somebody_else().await;
    let mut wrong = Vec::new();
    for route in ROUTES {
        for who in EVERYBODY {
            // Of its own each time: many routes change it.
            let project = match route.path.contains("{project}") {
                true => Some(app.running(&owner, "Matrix").await.0),
                false => None,
            };
            let token = app.accounts.make_token(app.owner, "x", Scope::Read, None, jiff::Timestamp::now()).await.unwrap();
            let path = route
                .path
                .replace("{project}", &project.map(|id| id.to_string()).unwrap_or_default())
                .replace("{token}", &token.token.id.to_string())
                .replace("{sandbox}", &project.map(|id| id.to_string()).unwrap_or_default())
                .replace("{session}", "main")
                .replace("{*path}", "file")
                .replace("{port}", "3000");
            let client = match who {
                Who::Nobody => app.anonymous(),
                Who::ReadToken => reader.clone(),
                Who::WriteToken => writer.clone(),
                // Signing out would end the session that the rest of the matrix uses.
                Who::Owner if route.path == "/api/sign-out" => app.signed_in().await,
                Who::Owner => owner.clone(),
                Who::SomebodyElse if route.path == "/api/sign-out" => continue,
                // Without a page: a browser is told by the close code instead.
                Who::SomebodyElse => stranger.without("origin"),
                Who::ForeignPage => owner.with("origin", "http://evil.example"),
                Who::ForeignSite => owner.without("origin").with("sec-fetch-site", "cross-site"),
            };
            let status = ask(&client, route, &path).await;
            let right = match expected(route, who) {
                Outcome::Status(expected) => status == expected,
                // The link of the matrix is a made-up one, so signing in fails for everybody.
                Outcome::LetIn if route.path == "/api/sign-in" => matches!(status.as_u16(), 401 | 429),
                Outcome::LetIn => !matches!(status.as_u16(), 401 | 403 | 405) && !status.is_server_error(),
            };
            if !right {
                wrong.push(format!("{} {} by {who:?}: {status}, expected {:?}", route.method, route.path, expected(route, who)));
            }
            if let Some(project) = project {
                app.store.delete(app.owner, project, jiff::Timestamp::now()).await.unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What must come of it with what a WebSocket is asked for with: no more than without, and from a foreign page nothing at all.
fn expected_of_a_websocket(route: &Route, who: Who, ours: bool) -> Outcome {
    if ours { expected(route, who) } else { Outcome::Status(403) }
}

/// By which code a terminal that our own page asked for is closed: a browser is told by that alone why it has none.
fn closed_by(who: Who) -> Option<u16> {
    match who {
        Who::Nobody => Some(4401),
        Who::ReadToken => Some(4403),
        Who::SomebodyElse => Some(4404),
        _ => None,
    }
}

/// What a WebSocket is asked for with is no way past the table, whoever sends it: the answer is the one without it. A terminal
/// is the one route where it is meant.
#[tokio::test]
async fn headers_of_a_websocket_change_nobodys_answer() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("never made");
    let owner = app.signed_in().await;
    // Refusals and reads change nothing, so one project is enough for them.
    let (kept, _) = app.running(&owner, "Matrix").await;
    let everybody = [
        (Who::Nobody, app.anonymous()),
        (Who::ReadToken, app.token(Scope::Read).await),
        (Who::WriteToken, app.token(Scope::Write).await),
        (Who::Owner, owner.clone()),
        (Who::SomebodyElse, app.somebody_else().await),
    ];
    let mut wrong = Vec::new();
    for route in ROUTES {
        let mut changed = None;
        let token = app.accounts.make_token(app.owner, "x", Scope::Read, None, jiff::Timestamp::now()).await.unwrap();
        for (who, client) in &everybody {
            for (origin, ours) in [(app.public.as_str(), true), ("http://evil.example", false)] {
                let expected = expected_of_a_websocket(route, *who, ours);
                let project = if expected == Outcome::LetIn && route.method != Method::GET && route.path.contains("{project}") {
                    if changed.is_none() {
                        changed = Some(app.running(&owner, "Matrix").await.0);
                    }
                    changed.unwrap_or(kept)
                } else {
                    kept
                };
                let path = route
                    .path
                    .replace("{project}", &project.to_string())
                    .replace("{token}", &token.token.id.to_string())
                    .replace("{sandbox}", &project.to_string())
                    .replace("{session}", "main")
                    .replace("{*path}", "file")
                    .replace("{port}", "3000");
                let client = match who {
                    // Signing out would end the session that the rest uses.
                    Who::Owner | Who::SomebodyElse if ours && route.path == "/api/sign-out" => app.signed_in().await,
                    _ => client.clone(),
                };
                let client = client.with("origin", origin);
                if route.path.ends_with("/terminal") {
                    let right = match client.socket(&path, "fsa-tty.v1").await {
                        Ok(_) if !ours => false,
                        Ok(mut socket) => match closed_by(*who) {
                            Some(code) => hear(&mut socket).await == Err(code),
                            None => true,
                        },
                        Err(status) => !ours && status == 403,
                    };
                    if !right {
                        wrong.push(format!("the terminal by {who:?} from {origin}"));
                    }
                    continue;
                }
                let client = client.with("upgrade", "websocket").with("connection", "Upgrade");
                let client = client.with("sec-websocket-version", "13").with("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
                let status = ask(&client, route, &path).await;
                let right = match expected {
                    Outcome::Status(expected) => status == expected,
                    Outcome::LetIn if route.path == "/api/sign-in" => matches!(status.as_u16(), 401 | 429),
                    Outcome::LetIn => !matches!(status.as_u16(), 101 | 401 | 403 | 405) && !status.is_server_error(),
                };
                if !right {
                    wrong.push(format!(
                        "{} {} by {who:?} from {origin}: {status}, expected {expected:?}",
                        route.method, route.path
                    ));
                }
            }
        }
        if let Some(project) = changed {
            app.store.delete(app.owner, project, jiff::Timestamp::now()).await.unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(owner.get(&format!("/api/sandbox/{kept}")).await.json()["phase"], "Running", "who is refused changes nothing");
}

/// A server function, and what the test asks of it. `PROJECT`, `TOKEN` and `KEY` are filled in.
struct Function {
    name: &'static str,
    access: Access,
    ask: &'static str,
}

const fn function(name: &'static str, access: Access, ask: &'static str) -> Function {
    Function { name, access, ask }
}

const FUNCTIONS: &[Function] = &[
    function("load", Access::Public, r#"{"what": "Nothing"}"#),
    function("load", Access::Public, r#"{"what": "Opening"}"#),
    function("load", Access::Read, r#"{"what": {"Env": "PROJECT"}}"#),
    function("load", Access::Read, r#"{"what": "Tokens"}"#),
    function("create-project", Access::Write, r#"{"new": {"name": "Made", "database": false}, "key": "KEY"}"#),
    function("update-project", Access::Write, r#"{"id": "PROJECT", "patch": {"name": "Renamed"}}"#),
    function("delete-project", Access::Write, r#"{"id": "PROJECT", "typed_name": "Matrix"}"#),
    function("ask", Access::Write, r#"{"id": "PROJECT", "verb": "start"}"#),
    function("ask", Access::Write, r#"{"id": "PROJECT", "verb": "stop"}"#),
    function("ask", Access::Write, r#"{"id": "PROJECT", "verb": "restart"}"#),
    function("ask", Access::Write, r#"{"id": "PROJECT", "verb": "terminate"}"#),
    function("change-env", Access::Write, r#"{"id": "PROJECT", "change": {"set": {"A": "1"}}}"#),
    function("open-preview", Access::Write, r#"{"id": "PROJECT", "port": 3000}"#),
    function("create-token", Access::Write, r#"{"name": "x", "scope": "read", "days": 1}"#),
    function("revoke-token", Access::Write, r#"{"id": "TOKEN"}"#),
];

impl Function {
    fn expected(&self, who: Who) -> u16 {
        let somebodys = self.ask.contains("PROJECT") || self.ask.contains("TOKEN");
        match (who, self.access) {
            (Who::ForeignPage | Who::ForeignSite, _) => 403,
            (Who::Owner | Who::WriteToken, _) | (_, Access::Public) | (Who::ReadToken, Access::Read) => 200,
            (Who::Nobody, _) => 401,
            (Who::ReadToken, Access::Write | Access::Session) => 403,
            (Who::SomebodyElse, _) => {
                if somebodys {
                    404
                } else {
                    200
                }
            }
        }
    }
}

#[tokio::test]
async fn every_server_function_lets_in_whom_it_should_and_nobody_else() {
    let Some(app) = TestApp::start().await else { return };
    let registered: BTreeSet<String> = leptos::server_fn::axum::server_fn_paths().map(|(path, _)| path.to_owned()).collect();
    let asked: BTreeSet<String> = FUNCTIONS.iter().map(|function| format!("/api/fn/{}", function.name)).collect();
    assert_eq!(registered, asked, "every server function has a row here");
    let owner = app.signed_in().await;
    let (reader, writer) = (app.token(Scope::Read).await, app.token(Scope::Write).await);
    let stranger = app.somebody_else().await;
    let mut wrong = Vec::new();
    for function in FUNCTIONS {
        for who in EVERYBODY {
            let project = match function.ask.contains("PROJECT") {
                true => Some(app.running(&owner, "Matrix").await.0),
                false => None,
            };
            let token = app.accounts.make_token(app.owner, "x", Scope::Read, None, jiff::Timestamp::now()).await.unwrap();
            let body = function
                .ask
                .replace("PROJECT", &project.map(|id| id.to_string()).unwrap_or_default())
                .replace("TOKEN", &token.token.id.to_string())
                .replace("KEY", &uuid::Uuid::new_v4().to_string());
            let client = match who {
                Who::Nobody => app.anonymous(),
                Who::ReadToken => reader.clone(),
                Who::WriteToken => writer.clone(),
                Who::Owner => owner.clone(),
                Who::SomebodyElse => stranger.clone(),
                Who::ForeignPage => owner.with("origin", "http://evil.example"),
                Who::ForeignSite => owner.without("origin").with("sec-fetch-site", "cross-site"),
            };
            let path = format!("/api/fn/{}", function.name);
            app.settled().await;
            let before = app.tables().await;
            let answer = client.with("content-type", "application/json").ask(Method::POST, &path, Some(body.into())).await;
            let expected = function.expected(who);
            if answer.status.as_u16() != expected {
                wrong.push(format!("{} {} by {who:?}: {}, expected {expected}", function.name, function.ask, answer.status));
            }
            if expected != 200 {
                let changed = changes(&before, &app.tables().await);
                if !changed.is_empty() {
                    wrong.push(format!("{} {} by {who:?} was refused, and changed {changed:?}", function.name, function.ask));
                }
            }
            if function.ask.contains("Opening") && who == Who::Nobody && answer.text().contains("Matrix") {
                wrong.push(format!("nobody is shown projects: {}", answer.text()));
            }
            if let Some(project) = project {
                app.store.delete(app.owner, project, jiff::Timestamp::now()).await.unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn the_way_into_a_preview_is_its_owners_alone() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Open").await;
    for target in [project.to_string(), name] {
        let path = format!("/open/{target}/3000");
        for (client, status) in [
            (app.anonymous(), 401),
            (app.token(Scope::Read).await, 200),
            (app.token(Scope::Write).await, 200),
            (owner.clone(), 200),
            (app.somebody_else().await, 404),
            // A page may lead anybody here: it opens nothing by itself, and cannot be framed.
            (owner.with("origin", "http://evil.example"), 200),
        ] {
            let before = app.tables().await;
            let answer = client.get(&path).await;
            assert_eq!(answer.status.as_u16(), status, "{path}");
            assert_eq!(answer.header("x-frame-options"), "DENY");
            assert_eq!(changes(&before, &app.tables().await), BTreeSet::new(), "{path} changes nothing");
        }
        assert_eq!(owner.post(&path, &serde_json::json!({})).await.status, 405);
    }
}

#[tokio::test]
async fn no_get_changes_anything() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let writer = app.token(Scope::Write).await;
    app.world.listen(3000, axum::Router::new().route("/", axum::routing::get(async || "Inside")));
    let (project, name) = app.running(&owner, "Looked at").await;
    let made = owner.post(&format!("/api/projects/{project}/preview"), &serde_json::json!({ "port": 3000 })).await;
    assert_eq!(made.status, 200, "there is a code that a GET could use up");
    let code = app.code().await;
    // A token's last use is noted to the minute, and that of this one now.
    assert_eq!(writer.get("/api/me").await.status, 200);
    let routes = ROUTES.iter().filter(|route| route.method == Method::GET).map(|route| route.path.to_owned());
    let pages =
        ["/", "/sign-in", "/settings", "/activity", "/projects/{project}", "/nothing-here", "/healthz", "/readyz", "/pkg/x.js"];
    let others = [
        format!("/sign-in?code={code}"),
        format!("/open/{name}/3000"),
        "/open/{project}/3000".to_owned(),
        "/api/fn/load?what=Opening".to_owned(),
        format!("/api/sign-in?code={code}"),
        "/api/sign-out".to_owned(),
        "/api/fn/create-project?name=x".to_owned(),
    ];
    app.settled().await;
    for path in routes.chain(pages.map(str::to_owned)).chain(others) {
        let path = path
            .replace("{project}", &project.to_string())
            .replace("{session}", "main")
            .replace("{*path}", "file")
            .replace("{port}", "3000");
        for (who, client) in [("owner", &owner), ("program", &writer)] {
            for method in [Method::GET, Method::HEAD] {
                if method == Method::HEAD && path.ends_with("/terminal") {
                    continue;
                }
                let before = app.tables().await;
                let terminal = path.ends_with("/terminal");
                if terminal {
                    let socket = client.socket(&path, "fsa-tty.v1").await;
                    assert!(socket.is_ok(), "{path}");
                } else {
                    // The head alone: a stream has no end.
                    drop(client.open(method.clone(), &path, None).await);
                }
                if terminal {
                    app.settled().await;
                }
                let mut changed = changes(&before, &app.tables().await);
                // It begins a shell, which is told.
                if terminal {
                    changed.remove("activity");
                }
                assert!(changed.is_empty(), "{method} {path} by the {who} changed {changed:?}");
            }
        }
    }
    let preview = app.anonymous().with("host", &format!("3000--{name}.localhost:{}", app.port));
    for path in ["/", "/.fsa/status", "/.fsa/enter"] {
        let before = app.tables().await;
        preview.get(&format!("{path}?code={}", made.json()["code"].as_str().unwrap())).await;
        assert!(changes(&before, &app.tables().await).is_empty(), "{path}");
    }
}

/// The tables in which two looks differ.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeSet<String> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|table| before.get(*table) != after.get(*table)).cloned().collect()
}

#[tokio::test]
async fn a_change_is_seen_by_those_who_look_for_one() {
    let Some(app) = TestApp::start().await else { return };
    let before = app.tables().await;
    assert!(before.contains_key("projects") && before.contains_key("api_tokens"), "{before:?}");
    app.token(Scope::Read).await;
    assert_eq!(changes(&before, &app.tables().await), BTreeSet::from(["activity".to_owned(), "api_tokens".to_owned()]));
}
