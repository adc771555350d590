//! Which hosts and pages are answered, and what browsers are told.

use crate::support::TestApp;
use http::Method;
use serde_json::json;

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
    assert!(policy.contains(&format!("frame-src http://*.localhost:{}", app.port)));
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
