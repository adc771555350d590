//! The matrix of authorisation: every route of the table, asked by everybody. A new route is in it by
//! being in the table.

use crate::support::{Client, TestApp};
use http::{Method, StatusCode};
use model::view::Scope;
use server::http::routes::{Access, ROUTES, Route};

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
        (Who::ForeignPage | Who::ForeignSite, _) if changes || terminal => Outcome::Status(403),
        (Who::ForeignPage | Who::ForeignSite | Who::Owner | Who::WriteToken, _) | (_, Access::Public) => Outcome::LetIn,
        (Who::Nobody, _) => Outcome::Status(401),
        (Who::ReadToken, Access::Write) => Outcome::Status(403),
        (Who::ReadToken, Access::Read) => Outcome::LetIn,
        (Who::SomebodyElse, _) if route.path.contains("{project}") || route.path.contains("{token}") => Outcome::Status(404),
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
                .replace("{session}", "main");
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

#[test]
fn no_get_changes_anything_by_its_access() {
    for route in ROUTES {
        let opens_a_shell = route.path.ends_with("/terminal") && route.method == Method::GET;
        assert!(route.method != Method::GET || route.access == Access::Read || opens_a_shell, "{} {}", route.method, route.path);
        assert!(route.method == Method::GET || route.access != Access::Read, "{} {} only looks", route.method, route.path);
    }
}
