//! Which hosts and pages are answered, and what browsers are told.

use crate::support::{Setup, TestApp};
use ::http::Method;
use axum::{Router, routing::get};
use http_body_util::BodyExt as _;
use serde_json::json;
use server::http::{self, Plane};

#[tokio::test]
async fn an_unknown_host_gets_a_sentence_and_nothing_else() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let port = app.port;
    for host in ["evil.example", "localhost.evil.example", "203.0.113.7", "xlocalhost", &format!("evil.example:{port}")] {
        let answer = owner.with("host", host).get("/api/projects").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (421, "unknown-host"), "{host}");
        assert!(answer.text().contains(&format!("http://localhost:{port}")), "it says where to go");
    }
    assert_eq!(owner.with("host", "203.0.113.7").get("/healthz").await.status, 200, "probes come by address");
}

#[tokio::test]
async fn loopback_addresses_lead_pages_to_localhost_and_answer_programs() {
    let Some(app) = TestApp::start().await else { return };
    let port = app.port;
    for host in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let page = app.anonymous().with("host", &host).get("/sign-in?a=b").await;
        assert_eq!(page.status, 307);
        assert_eq!(page.header("location"), format!("http://localhost:{port}/sign-in?a=b"));
        assert_eq!(app.anonymous().with("host", &host).get("/api/me").await.status, 401);
    }
}

#[tokio::test]
async fn a_loopback_address_without_a_port_leads_to_localhost_without_one() {
    let Some(app) = TestApp::start().await else { return };
    for host in ["127.0.0.1", "[::1]"] {
        let page = app.anonymous().with("host", host).get("/sign-in").await;
        assert_eq!((page.status.as_u16(), page.header("location")), (307, "http://localhost/sign-in"), "{host}");
    }
}

#[tokio::test]
async fn a_page_that_panics_is_one_error_of_the_one_shape() {
    fn failing(plane: &Plane) -> Router<Plane> {
        http::leptos::unguarded(plane).route("/panics", get(async || -> &'static str { panic!("as asked") }))
    }
    let Some(app) = TestApp::start_as(Setup { pages: Some(failing), ..Setup::default() }).await else { return };
    app.log.allow("a request panicked");
    app.log.expect_panics(1);
    let answer = app.anonymous().get("/panics").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "internal"));
    assert!(!answer.text().contains("as asked"));
    let id = answer.header("x-request-id");
    assert!(
        !id.is_empty() && answer.text().contains(&format!("\"Request id: {id}\"")),
        "what is to be reported: {}",
        answer.text()
    );
    for (name, value) in [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("cache-control", "no-store")] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(app.anonymous().get("/healthz").await.status, 200, "and nothing else ends");
}

#[tokio::test]
async fn behind_tls_cookies_are_bound_to_their_host_and_browsers_stay_there() {
    let Some(app) = TestApp::start_as(Setup { secure: true, ..Setup::default() }).await else { return };
    let answer = app.anonymous().post("/api/sign-in", &json!({ "code": app.code().await })).await;
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-fsa_session="), "{cookie}");
    for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.split("; ").any(|own| own == part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Domain"), "a browser takes no __Host- cookie with a domain: {cookie}");
    let owner = app.signed_in().await;
    assert_eq!(owner.get("/api/me").await.status, 200);
    let bare = owner.headers()["cookie"].to_str().unwrap().trim_start_matches("__Host-").to_owned();
    assert_eq!(owner.with("cookie", &bare).get("/api/me").await.status, 401, "under its other name it opens nothing");
    for path in ["/sign-in", "/api/me", "/healthz"] {
        assert_eq!(app.anonymous().get(path).await.header("strict-transport-security"), "max-age=31536000", "{path}");
    }
    let page = app.anonymous().get("/sign-in").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-src https://*.preview.example") && policy.contains("wss://fsa.example"), "{policy}");
    for foreign in ["http://fsa.example", "https://evil.example", "https://3000--x.preview.example"] {
        let answer = owner.with("origin", foreign).post("/api/projects", &json!({ "name": "x" })).await;
        assert_eq!(answer.status, 403, "{foreign}");
    }

    app.world.listen(3000, Router::new().route("/", get(async || "Inside")));
    let (project, name) = app.running(&owner, "Secure").await;
    for (dest, cookie_name, parts) in [
        ("iframe", "__Host-fsa_frame", &["HttpOnly", "Path=/", "Secure", "SameSite=None", "Partitioned"][..]),
        ("document", "__Host-fsa_preview", &["HttpOnly", "Path=/", "Secure", "SameSite=Lax"][..]),
    ] {
        let made = owner.post(&format!("/api/projects/{project}/preview"), &json!({ "port": 3000 })).await.json();
        let host = format!("3000--{name}.preview.example");
        assert_eq!(made["action"], format!("https://{host}/.fsa/enter"));
        let entered = app
            .anonymous()
            .with("host", &host)
            .with("origin", &app.public)
            .with("sec-fetch-dest", dest)
            .with("content-type", "application/x-www-form-urlencoded")
            .ask(Method::POST, "/.fsa/enter", Some(format!("code={}", made["code"].as_str().unwrap()).into()))
            .await;
        let cookie = entered.header("set-cookie").to_owned();
        assert!(cookie.starts_with(&format!("{cookie_name}=")) && !cookie.contains("Domain"), "{cookie}");
        for part in parts {
            assert!(cookie.split("; ").any(|own| own == *part), "{part} in {cookie}");
        }
        let visitor = app.anonymous().with("host", &host).with("cookie", cookie.split(';').next().unwrap());
        assert_eq!(visitor.get("/").await.text(), "Inside");
        let bare = cookie.split(';').next().unwrap().trim_start_matches("__Host-").to_owned();
        assert_eq!(visitor.with("cookie", &bare).get("/").await.status, 401);
    }
}

#[tokio::test]
async fn in_development_pages_load_themselves_again() {
    let Some(app) = TestApp::start_as(Setup { dev: true, ..Setup::default() }).await else { return };
    let page = app.anonymous().get("/sign-in").await;
    let nonce = page.header("content-security-policy").split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let script = page.text().split("<script nonce=\"").find(|script| script.contains("/dev/build")).unwrap().to_owned();
    assert!(script.starts_with(&nonce), "{script}");
    let mut stream = app.anonymous().open(Method::GET, "/dev/build", None).await.into_body();
    let said = String::from_utf8(stream.frame().await.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap();
    let build = said.split("data: ").nth(1).unwrap().trim().to_owned();
    assert!(!build.is_empty() && script.contains(&format!("'{build}'")), "the page knows which build made it");
    app.stop();
    assert!(stream.frame().await.is_none_or(|frame| frame.is_err()), "the stream ends with the server");

    let Some(usual) = TestApp::start().await else { return };
    assert!(!usual.anonymous().get("/sign-in").await.text().contains("/dev/build"));
    assert_eq!(usual.anonymous().get("/dev/build").await.status, 404);
}

#[tokio::test]
async fn a_page_says_how_long_the_server_was_at_it() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let page = owner.get("/").await;
    let took: f64 = page.header("server-timing").strip_prefix("total;dur=").expect("Server-Timing").parse().unwrap();
    assert!(took > 0.0 && took < 10_000.0, "{took} ms");
}

#[tokio::test]
async fn a_foreign_page_changes_nothing() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Kept").await;
    let port = app.port;
    let path = format!("/api/sandbox/{project}/stop");
    for origin in [
        "http://evil.example",
        "null",
        &format!("http://3000--{name}.localhost:{port}"),
        &format!("https://localhost:{port}"),
        "http://localhost:1",
    ] {
        let answer = owner.with("origin", origin).post(&path, &json!({})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "foreign-origin"), "{origin}");
        let terminal = owner.with("origin", origin).socket(&format!("/api/sandbox/{project}/terminal"), "tty").await;
        assert_eq!(terminal.err().map(|status| status.as_u16()), Some(403), "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        let answer = owner.without("origin").with("sec-fetch-site", site).post(&path, &json!({})).await;
        assert_eq!(answer.status, 403, "{site}");
    }
    assert_eq!(owner.get(&format!("/api/sandbox/{project}")).await.json()["desired"], "running");
    let own = owner.with("sec-fetch-site", "same-origin").post(&path, &json!({})).await;
    assert_eq!(own.status, 202, "{}", own.text());
}

#[tokio::test]
async fn browsers_are_told_what_pages_may_do() {
    let Some(app) = TestApp::start().await else { return };
    let (one, two) = (app.anonymous().get("/sign-in").await, app.anonymous().get("/sign-in").await);
    assert_eq!(one.status, 200, "{}", one.text());
    let policy = one.header("content-security-policy").to_owned();
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    assert!(nonce.len() >= 22 && !two.header("content-security-policy").contains(&nonce), "a nonce of its own each time");
    for part in ["default-src 'none'", "'wasm-unsafe-eval'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    for part in ["frame-src", "form-action 'self'", &format!("connect-src 'self' ws://localhost:{}", app.port)] {
        assert!(policy.contains(&format!("{part} http://*.localhost:{}", app.port)), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe-eval'") || policy.contains("'wasm-unsafe-eval'"));
    assert!(!policy.split(';').find(|part| part.contains("script-src")).unwrap().contains("'unsafe-inline'"));
    // Every inline script of the page has it.
    for script in one.text().split("<script").skip(1) {
        assert!(
            script.starts_with(&format!(" nonce=\"{nonce}\""))
                || script.split('>').next().unwrap().contains(&format!("nonce=\"{nonce}\"")),
            "{script}"
        );
    }
    for (name, value) in [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("cache-control", "no-store")] {
        assert_eq!(one.header(name), value);
    }
    let json = app.anonymous().get("/api/me").await;
    assert!(json.header("content-security-policy").contains("default-src 'none'"));
    assert!(json.header("access-control-allow-origin").is_empty());
    assert_eq!(app.anonymous().ask(Method::OPTIONS, "/api/projects", None).await.header("access-control-allow-origin"), "");
}
