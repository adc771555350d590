//! What Ingresses ask, with the headers that nginx sends for them.

use crate::support::{Client, Setup, TestApp};
use http::{Method, StatusCode};
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
    let host = url.split("://").nth(1).unwrap_or_default();
    nginx.get(&format!("/ingress/auth?of={}", host.split('.').next().unwrap_or_default())).await
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
    let outside = app
        .anonymous()
        .with("x-original-url", &application)
        .with("cookie", &cookie)
        .get(&format!("/ingress/auth?of={name}"))
        .await;
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
async fn who_is_let_in_counts_nowhere_however_often_an_application_is_asked() {
    let setup = Setup { ingress: Some(DOMAIN), requests_per_second: 20, ..Setup::default() };
    let Some(app) = TestApp::start_as(setup).await else { return };
    let owner = app.signed_in().await;
    let (_, name) = app.running(&owner, "Busy").await;
    let url = format!("http://{name}.{DOMAIN}/");
    let first = asks(&app, &way_back(&owner, &url).await, None, &[]).await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    let mut refused = Vec::new();
    for _ in 0..400 {
        refused.push(asks(&app, &url, None, &[]).await.status.as_u16());
        if refused.ends_with(&[429]) {
            break;
        }
    }
    assert_eq!((refused.first(), refused.last()), (Some(&401), Some(&429)));
    for _ in 0..100 {
        assert_eq!(asks(&app, &url, Some(&cookie), &[]).await.status, 200);
    }
}

/// Hosts below one domain are of one site: a browser sends the cookie of a host along with what another one's page asks.
#[tokio::test]
async fn a_page_of_another_sandbox_asks_an_ingress_in_vain() {
    let Some(app) = app().await else { return };
    let owner = app.signed_in().await;
    let (_, name) = app.running(&owner, "Boats").await;
    let url = format!("http://{name}.{DOMAIN}/");
    let first = asks(&app, &way_back(&owner, &url).await, None, &[]).await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    let other = format!("http://reef-agentruntime-abc123.{DOMAIN}");
    let terminal = format!("http://{name}-terminal.{DOMAIN}");
    let preview = format!("http://3000--reef-agentruntime-abc123.localhost:{}", app.port);
    let (site, script, link) = (("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-mode", "navigate"));
    let (other, terminal, preview) = (other.as_str(), terminal.as_str(), preview.as_str());
    let (get, post) = (("x-original-method", "GET"), ("x-original-method", "POST"));
    for (what, status, headers) in [
        ("by its origin", 403, &[("origin", other)][..]),
        ("by its origin, a preview", 403, &[("origin", preview)]),
        ("a script", 403, &[site, script, ("referer", other)]),
        ("a script that tells nothing", 403, &[site, script]),
        ("a form that tells nothing", 403, &[site, link, ("origin", "null"), post]),
        ("a link", 200, &[site, link, ("referer", other), get]),
        ("a picture in a browser that says less", 403, &[("accept", "image/png"), ("referer", other), get]),
        ("a link in a browser that says less", 200, &[("accept", "text/html,*/*;q=0.8"), ("referer", other), get]),
        ("a form in a browser that says less", 403, &[("accept", "text/html,*/*;q=0.8"), ("referer", other), post]),
        ("its own terminal", 200, &[site, script, ("referer", terminal)]),
        ("its own page", 200, &[("sec-fetch-site", "same-origin"), ("origin", url.trim_end_matches('/')), post]),
        ("no page", 200, &[]),
    ] {
        assert_eq!(asks(&app, &url, Some(&cookie), headers).await.status, status, "{what}");
    }
}

/// nginx chooses an Ingress by the request line, where that is a whole address, and tells of `Host`.
#[tokio::test]
async fn the_cookie_of_one_sandbox_opens_no_other_ones_ingress() {
    let Some(app) = app().await else { return };
    let owner = app.signed_in().await;
    let (_, name) = app.running(&owner, "Mine").await;
    let stranger = app.somebody_else().await;
    let (_, victim) = app.running(&stranger, "Theirs").await;
    let url = format!("http://{name}.{DOMAIN}/");
    let first = asks(&app, &way_back(&owner, &url).await, None, &[]).await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(asks(&app, &url, Some(&cookie), &[]).await.status, 200);

    let nginx = Client::new(app.port).with("host", "fullstack-agent.team.svc.cluster.local").with("cookie", &cookie);
    let code = way_back(&owner, &url).await;
    for of in [format!("?of={victim}"), format!("?of={victim}-terminal"), format!("?of={name}-terminal"), String::new()] {
        for told in [&url, &code] {
            let refused = nginx.with("x-original-url", told).get(&format!("/ingress/auth{of}")).await;
            assert_eq!((refused.status.as_u16(), refused.header("set-cookie")), (403, ""), "{of}: {told}");
        }
    }
    assert_eq!(asks(&app, &code, None, &[]).await.status, 200, "the code was not used up");
}

#[tokio::test]
async fn an_application_that_is_shared_with_users_opens_to_them_and_no_terminal() {
    let Some(app) = app().await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Boats").await;
    let (application, terminal) = (format!("http://{name}.{DOMAIN}/"), format!("http://{name}-terminal.{DOMAIN}/"));
    let share = |port: u16| format!("/api/projects/{project}/ports/{port}/share");
    let users = serde_json::json!({ "audience": "users" });
    let other = app.somebody_else().await;
    assert_eq!(owner.send(Method::PUT, &share(5000), &users).await.status, 200);
    assert_eq!(other.post(&sign_in(&application), &serde_json::json!({})).await.status, 404, "another port is shared");

    assert_eq!(owner.send(Method::PUT, &share(3000), &users).await.status, 200);
    assert_eq!(asks(&app, &application, None, &[]).await.status, 401, "nobody is signed in");
    assert_eq!(app.anonymous().post(&sign_in(&application), &serde_json::json!({})).await.status, 401);
    let back = way_back(&other, &application).await;
    let first = asks(&app, &back, None, &[]).await;
    assert_eq!((first.status.as_u16(), first.header("authorization")), (200, ""));
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(asks(&app, &application, Some(&cookie), &[]).await.status, 200);

    assert_eq!(other.post(&sign_in(&terminal), &serde_json::json!({})).await.status, 404, "a terminal is never shared");
    let refused = asks(&app, &terminal, Some(&cookie), &[]).await;
    assert_eq!((refused.status.as_u16(), refused.header("authorization")), (401, ""));

    let own = asks(&app, &way_back(&owner, &application).await, None, &[]).await;
    let own = own.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(owner.ask(Method::DELETE, &share(3000), None).await.status, 204);
    assert_eq!(asks(&app, &application, Some(&cookie), &[]).await.status, 401, "over with the share");
    assert_eq!(other.post(&sign_in(&application), &serde_json::json!({})).await.status, 404);
    assert_eq!(asks(&app, &application, Some(&own), &[]).await.status, 200, "the owner has it as before");
}

#[tokio::test]
async fn an_application_that_is_shared_by_a_link_opens_to_whoever_has_it_and_no_terminal() {
    let Some(app) = app().await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Boats").await;
    let (application, terminal) = (format!("http://{name}.{DOMAIN}/"), format!("http://{name}-terminal.{DOMAIN}/"));
    let share = |port: u16| format!("/api/projects/{project}/ports/{port}/share");
    let link = serde_json::json!({ "audience": "link", "expiresInHours": 1 });
    let elsewhere = owner.send(Method::PUT, &share(5000), &link).await.json();
    assert!(elsewhere["url"].is_string() && elsewhere.get("applicationUrl").is_none(), "{elsewhere}");
    let told = owner.send(Method::PUT, &share(3000), &link).await.json();
    let told = told["applicationUrl"].as_str().unwrap();
    let (address, secret) = told.split_once('#').unwrap();
    let page = address.strip_prefix(&format!("http://localhost:{}", app.port)).unwrap();
    assert!(owner.get(&share(3000)).await.json().get("applicationUrl").is_none(), "told once");

    let guest = app.anonymous();
    let come = async |page: &str, secret: &str| guest.ask(Method::POST, page, Some(secret.to_owned().into())).await;
    let opened = guest.get(page).await;
    assert!(opened.status == 200 && opened.text().contains("location.hash") && !opened.text().contains(secret));
    assert_eq!(asks(&app, &application, None, &[]).await.status, 401, "the link is what opens it");
    let other_secret = elsewhere["url"].as_str().unwrap().split_once('#').unwrap().1;
    for wrong in ["", "nonsense", other_secret] {
        let refused = come(page, wrong).await;
        assert!(refused.status == 401 && refused.text().contains("This link opens nothing"), "{wrong}: {}", refused.text());
    }
    let foreign = guest.with("origin", "http://evil.example").ask(Method::POST, page, Some(secret.to_owned().into())).await;
    assert_eq!(foreign.status, 403, "a foreign page");
    for odd in [terminal.as_str(), "http://evil.example/", ""] {
        let page = sign_in(odd).replace("/sign-in?", "/share?");
        assert_eq!(guest.get(&page).await.status, 404, "{odd}");
        assert_eq!(come(&page, secret).await.status, 404, "{odd}");
    }

    let led = come(page, secret).await;
    assert_eq!(led.status, 200, "{}", led.text());
    let url = led.json()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("{application}?fsa-code=")) && !url.contains(secret), "{url}");
    assert_eq!(asks(&app, &url.replace(&application, &terminal), None, &[]).await.status, 401, "no code of the terminal's");
    let first = asks(&app, &url, None, &[]).await;
    assert_eq!((first.status.as_u16(), first.header("authorization")), (200, ""));
    let set = first.header("set-cookie");
    assert!(set.contains("HttpOnly") && !set.contains("Domain") && !set.contains(secret), "the application never sees the link");
    let cookie = set.split(';').next().unwrap().to_owned();
    assert_eq!(asks(&app, &url, None, &[]).await.status, 401, "a code works once");
    assert_eq!(asks(&app, &application, Some(&cookie), &[]).await.status, 200);
    let refused = asks(&app, &terminal, Some(&cookie), &[]).await;
    assert_eq!((refused.status.as_u16(), refused.header("authorization")), (401, ""));

    // Another link takes its place.
    let unused = come(page, secret).await.json()["url"].as_str().unwrap().to_owned();
    assert_eq!(owner.send(Method::PUT, &share(3000), &link).await.status, 200);
    assert_eq!(asks(&app, &application, Some(&cookie), &[]).await.status, 401, "over with the link");
    assert_eq!(asks(&app, &unused, None, &[]).await.status, 401);
    assert!(come(page, secret).await.text().contains("This link was withdrawn"));
}

#[tokio::test]
async fn a_guest_of_an_application_is_out_with_the_token_that_shared_it() {
    let Some(app) = app().await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Boats").await;
    let application = format!("http://{name}.{DOMAIN}/");
    let token = app.accounts.make_token(app.owner, "ci", Scope::Write, None, jiff::Timestamp::now()).await.unwrap();
    let program = app.anonymous().with("authorization", &format!("Bearer {}", token.secret));
    let link = serde_json::json!({ "audience": "link", "expiresInHours": 1 });
    let made = program.send(Method::PUT, &format!("/api/projects/{project}/ports/3000/share"), &link).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let made = made.json();
    let (address, secret) = made["applicationUrl"].as_str().unwrap().split_once('#').unwrap();
    let page = address.strip_prefix(&format!("http://localhost:{}", app.port)).unwrap();
    let come = async || app.anonymous().ask(Method::POST, page, Some(secret.to_owned().into())).await;
    let way_in = async || come().await.json()["url"].as_str().unwrap().to_owned();
    let first = asks(&app, &way_in().await, None, &[]).await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(asks(&app, &application, Some(&cookie), &[]).await.status, 200);
    let unused = way_in().await;

    assert!(app.accounts.revoke_token(app.owner, token.token.id, jiff::Timestamp::now()).await.unwrap());
    assert_eq!(asks(&app, &application, Some(&cookie), &[]).await.status, 401, "over with the token");
    assert_eq!(asks(&app, &unused, None, &[]).await.status, 401);
    let refused = come().await;
    assert!(refused.status == 401 && refused.text().contains("This link was withdrawn"), "{}", refused.text());
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
    let elsewhere = format!("http://{name}.{DOMAIN}:x@evil.example/");
    for odd in ["http://evil.example/", "javascript:alert(1)", "", "//evil.example", "http://x.apps.example/", elsewhere.as_str()]
    {
        assert_eq!(owner.get(&sign_in(odd)).await.status, 404, "{odd}");
        assert_eq!(owner.post(&sign_in(odd), &serde_json::json!({})).await.status, 404, "{odd}");
    }
    for odd in ["", "nonsense", "http://evil.example/"] {
        assert_eq!(asks(&app, odd, None, &[]).await.status, 403, "{odd}");
    }
}
