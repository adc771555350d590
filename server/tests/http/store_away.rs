//! PostgreSQL away: words, and well again by itself.

use crate::support::{Client, TestApp, until};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::test]
async fn an_away_database_is_said_and_comes_back() {
    let Some(app) = TestApp::start().await else { return };
    for text in ["could not create auth session", "hearing of changes", "sqlx_core::pool"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    let program = app.token(model::view::Scope::Write).await;
    let (project, _) = app.running(&owner, "Away").await;
    // Probes bring nothing with them.
    let probe = app.anonymous();
    let (ready, alive) = (probe.get("/readyz").await, probe.get("/healthz").await);
    assert_eq!((ready.status.as_u16(), ready.json()), (200, json!({ "status": "ready" })));
    assert_eq!((alive.status.as_u16(), &alive.json()["status"]), (200, &json!("ok")));
    assert_eq!(alive.json()["version"], env!("CARGO_PKG_VERSION"));

    app.gate.set_open(false);
    for client in [&owner, &program] {
        let answer = client.get("/api/projects").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store-away"), "{}", answer.text());
        assert!(!answer.header("retry-after").is_empty());
        let ask = client.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await;
        assert_eq!(ask.status, 503);
    }
    let away = probe.get("/readyz").await;
    assert_eq!((away.status.as_u16(), away.code().as_str()), (503, "store-away"), "{}", away.text());
    assert_eq!(probe.get("/healthz").await.status, 200, "it is alive");

    app.gate.set_open(true);
    until("it to be well again", async || owner.get("/readyz").await.status == 200).await;
    let sandbox = owner.get(&format!("/api/sandbox/{project}")).await.json();
    assert_eq!(sandbox["desired"], "running", "nothing was half done");
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
}

#[tokio::test]
async fn a_database_that_says_nothing_is_away_too() {
    let Some(app) = TestApp::start().await else { return };
    for text in ["could not create auth session", "hearing of changes", "sqlx_core::pool", "sqlx::pool"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    app.gate.say_nothing();
    for client in [&owner, &app.anonymous().with("authorization", "Bearer fsa_x")] {
        let begin = Instant::now();
        let answer = client.post("/api/projects", &json!({ "name": "Silent" })).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store-away"), "{}", answer.text());
        assert!(begin.elapsed() < Duration::from_secs(12), "it took {:?}", begin.elapsed());
        assert!(!answer.text().to_lowercase().contains("nothing was changed"), "nobody knows: {}", answer.text());
    }
}

/// Sends a head and a body in parts, and reads the head of the answer.
async fn slowly(app: &TestApp, client: &Client, path: &str, parts: &[&str], pause: Duration) -> (u16, String) {
    let header = |name: &str| client.headers()[name].to_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(("127.0.0.1", app.port)).await.unwrap();
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let (host, cookie) = (header("host"), header("cookie"));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in parts {
        if part.contains("NEVER") {
            break;
        }
        stream.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(pause).await;
    }
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn a_slow_body_is_waited_for_and_one_that_never_comes_is_not() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let slow = ["{", "\"na", "me\"", ": \"S", "lo", "w\"}"];
    let function = ["{\"what", "\": ", "\"Op", "eni", "ng", "\"}"];
    let two = Duration::from_secs(2);
    let ((made, text), (opened, opening), (late, said), (late_too, _)) = tokio::join!(
        slowly(&app, &owner, "/api/projects", &slow, two),
        slowly(&app, &owner, "/api/fn/load", &function, two),
        slowly(&app, &owner, "/api/projects", &["{", "NEVER"], Duration::ZERO),
        slowly(&app, &owner, "/api/fn/load", &["{", "NEVER"], Duration::ZERO),
    );
    assert_eq!(made, 201, "over ten seconds, and still a body: {text}");
    assert_eq!(opened, 200, "{opening}");
    assert_eq!((late, late_too), (408, 408));
    assert!(said.contains("body-late") && !said.contains("database does not answer"), "{said}");
}
