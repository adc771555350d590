//! The routes of a real agent that are not the terminal's.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod credentials;
mod disk;
mod exec;
mod files;
mod ports;
mod process;
#[path = "../support/mod.rs"]
mod support;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use sandbox_agent::{client, protocol::http::ExecRequest};
use support::Agent;

async fn ask(agent: &Agent, method: Method, path: &str, body: &'static [u8]) -> (StatusCode, Bytes) {
    let request = Request::builder().method(method).uri(path).body(Full::new(Bytes::from_static(body))).unwrap();
    let answer = client::request(agent.io().await, &agent.token, request).await.unwrap();
    (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
}

fn script(script: &str) -> ExecRequest {
    ExecRequest { command: vec!["bash".into(), "-c".into(), script.into()], ..ExecRequest::default() }
}

#[tokio::test]
async fn nothing_but_health_answers_without_the_token() {
    let agent = Agent::start();
    for path in ["/v1/sessions", "/v1/events", "/v1/files/", "/token", "/ws", "/v1/forward?port=1", "/v1/tunnel", "/nothing"] {
        let request = Request::get(path).body(Full::<Bytes>::default()).unwrap();
        let answer = client::request(agent.io().await, &"wrong".to_owned().into(), request).await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        let body: serde_json::Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(body["code"], "unauthorized");
        assert!(body["error"].as_str().unwrap().len() > 10);
    }
    assert_eq!(ask(&agent, Method::GET, "/nothing", b"").await.0, 404);
    assert_eq!(ask(&agent, Method::POST, "/v1/sessions", b"").await.0, 405);
}
