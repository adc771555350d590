//! What Ingresses ask, with the headers that nginx sends for them.

use crate::support::{Client, Setup, TestApp};
use http::StatusCode;
use model::view::Scope;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const DOMAIN: &str = "apps.example";

async fn app() -> Option<TestApp> {
    TestApp::start_as(Setup { ingress: Some(DOMAIN), ..Setup::default() }).await
}

/// As nginx asks: by the Service's name, with what the browser sent.
async fn asks(app: &TestApp, url: &str, cookie: Option<&str>, headers: &[(&str, &str)]) -> crate::support::Answer {
    let mut nginx = Client::new(app.port).with("host", "fullstack-agent.team.svc.cluster.local").with("x-original-url", url);
    if let Some(cookie) = cookie {
        nginx = nginx.with("cookie", cookie);
    }
    for (name, value) in headers {
        nginx = nginx.with(name, value);
    }
    nginx.get("/ingress/auth").await
}

fn sign_in(rd: &str) -> String {
    format!("/ingress/sign-in?rd={}", utf8_percent_encode(rd, NON_ALPHANUMERIC))
}

/// Where a browser is sent back to, after it went through the sign-in.
async fn way_back(browser: &Client, rd: &str) -> String {
    let page = browser.get(&sign_in(rd)).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("method=\"post\""), "opening it changes nothing: {}", page.text());
    let answer = browser.post(&sign_in(rd), &serde_json::json!({})).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").to_owned()
}

#[tokio::test]
async fn a_browser_is_let_in_by_a_code_that_works_once() {
    let Some(app) = app().await else { return };
    let owner = app.signed_in().await;
    let (_, name) = app.running(&owner, "Behind an Ingress").await;
    let (application, terminal) = (format!("http://{name}.{DOMAIN}/page?a=b"), format!("http://{name}-terminal.{DOMAIN}/"));
    for url in [&application, &terminal] {
        assert_eq!(asks(&app, url, None, &[]).await.status, 401, "nobody is let in: {url}");
    }

    let back = way_back(&owner, &application).await;
    assert!(back.starts_with(&format!("{application}&fsa-code=")), "{back}");
    let first = asks(&app, &back, None, &[]).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("authorization"), "", "the application never gets the agent's token");
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(first.header("set-cookie").contains("HttpOnly") && !first.header("set-cookie").contains("Domain"));
    assert_eq!(asks(&app, &back, None, &[]).await.status, 401, "a code works once");
    assert_eq!(asks(&app, &application, Some(&cookie), &[]).await.status, 200);
    assert_eq!(asks(&app, &terminal, Some(&cookie), &[]).await.status, 401, "it opens that host alone");

    // By the app's own name nobody gets an answer, whatever the cookie: the agent's token is no browser's.
    let outside = app.anonymous().with("x-original-url", &application).with("cookie", &cookie).get("/ingress/auth").await;
    assert_eq!(outside.status, 403);

    let back = way_back(&owner, &terminal).await;
    let first = asks(&app, &back, None, &[]).await;
    assert_eq!(first.status, 200);
    assert!(first.header("authorization").starts_with("Bearer "), "nginx puts the agent's token on the request");
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    let socket = |origin| [("sec-websocket-key", "x"), ("origin", origin)];
    let own = format!("http://{name}-terminal.{DOMAIN}");
    assert_eq!(asks(&app, &terminal, Some(&cookie), &socket(&own)).await.status, 200);
    assert_eq!(
        asks(&app, &terminal, Some(&cookie), &socket("http://evil.example")).await.status,
        403,
        "a foreign page's WebSocket"
    );
    assert_eq!(asks(&app, &terminal, Some(&cookie), &[("sec-websocket-key", "x")]).await.status, 403);

    // Signed out, it is over on every host.
    assert_eq!(owner.post("/api/sign-out", &serde_json::json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(asks(&app, &terminal, Some(&cookie), &[]).await.status, 401);
}

#[tokio::test]
async fn what_is_not_yours_is_not_there() {
    let Some(app) = app().await else { return };
    let owner = app.signed_in().await;
    let (_, name) = app.running(&owner, "Mine").await;
    let url = format!("http://{name}.{DOMAIN}/");
    let stranger = app.somebody_else().await;
    assert_eq!(stranger.post(&sign_in(&url), &serde_json::json!({})).await.status, 404);
    let reader = app.token(Scope::Read).await;
    assert_eq!(reader.post(&sign_in(&url), &serde_json::json!({})).await.status, 403);
    let nobody = app.anonymous().get(&sign_in(&url)).await;
    assert_eq!(nobody.status, 303);
    assert!(nobody.header("location").starts_with("/sign-in?next=%2Fingress%2Fsign%2Din"), "{}", nobody.header("location"));
    let foreign = owner.with("origin", "http://evil.example").post(&sign_in(&url), &serde_json::json!({})).await;
    assert_eq!(foreign.status, 403, "a foreign page cannot have a code made");
    for odd in ["http://evil.example/", "javascript:alert(1)", "", "//evil.example", "http://x.apps.example/"] {
        assert_eq!(owner.get(&sign_in(odd)).await.status, 404, "{odd}");
        assert_eq!(owner.post(&sign_in(odd), &serde_json::json!({})).await.status, 404, "{odd}");
    }
    for odd in ["", "nonsense", "http://evil.example/"] {
        assert_eq!(asks(&app, odd, None, &[]).await.status, 403, "{odd}");
    }
}
