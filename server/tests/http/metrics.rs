//! What there is to watch: the answer, its documentation and the dashboard name the same things.

use crate::{
    preview::enter,
    support::{TestApp, client::say, until},
};
use axum::{Router, routing::get};
use http::Method;
use model::ProjectId;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new("..").join(path)).unwrap()
}

/// Every word of a text that begins as a metric does.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("fsa_") && !word.starts_with("fsa_session")).map(str::to_owned).collect()
}

/// Of an answer: the names of families as a reader asks for them.
fn answered(text: &str) -> BTreeSet<String> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    kinds
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect()
}

fn value(text: &str, line: &str) -> f64 {
    let found = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn the_documentation_lists_every_metric_and_no_others() {
    let Some(app) = TestApp::start().await else { return };
    // The first look is among the requests that the second one tells of.
    app.anonymous().get("/metrics").await;
    let answer = app.anonymous().get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let there = answered(&answer.text());
    let table = file("docs/metrics.md");
    let listed: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `fsa_")?.split_once('`'))
        .map(|(name, _)| format!("fsa_{name}"))
        .collect();
    assert_eq!(listed, there);
    assert!(there.len() > 10);
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana/dashboard.json")).unwrap();
    let used: BTreeSet<String> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .flat_map(|target| named(target["expr"].as_str().unwrap()))
        .map(|name| name.trim_end_matches("_bucket").to_owned())
        .collect();
    let unknown: Vec<_> = used.difference(&there).collect();
    assert!(unknown.is_empty(), "the dashboard asks for {unknown:?}");
    let unused: Vec<_> = there.difference(&used).collect();
    assert!(unused.is_empty(), "the dashboard lacks {unused:?}");
}

#[tokio::test]
async fn what_happens_is_counted() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Counted").await;
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/start"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Running").await;
    let metrics = async || app.anonymous().get("/metrics").await.text();
    let text = metrics().await;
    for verb in ["create", "stop", "start"] {
        assert_eq!(value(&text, &format!("fsa_asks_total{{verb=\"{verb}\"}}")), 1.0);
    }
    assert_eq!(value(&text, "fsa_sandboxes{phase=\"running\"}"), 1.0);
    assert_eq!(value(&text, "fsa_sandboxes{phase=\"error\"}"), 0.0);
    assert_eq!(value(&text, "fsa_stage_seconds_count{stage=\"environment-ready\"}"), 2.0);
    assert!(value(&text, "fsa_reconcile_passes_total{outcome=\"ok\"}") > 3.0);
    assert!(value(&text, "fsa_reconcile_pass_seconds_count") > 3.0);
    assert_eq!(value(&text, "fsa_store_up"), 1.0);
    assert_eq!(value(&text, "fsa_database_connections{state=\"most\"}"), 8.0);
    let route = "route=\"/api/sandbox/{project}/stop\",method=\"POST\"";
    assert_eq!(value(&text, &format!("fsa_http_requests_total{{{route},status=\"202\"}}")), 1.0);
    assert_eq!(value(&text, &format!("fsa_http_request_seconds_count{{{route}}}")), 1.0);
    assert!(value(&text, "fsa_http_bytes_total{place=\"app\",direction=\"out\"}") > 1000.0);

    let stream = owner.open(Method::GET, "/api/events", None).await;
    let mut socket = owner.socket(&format!("/api/sandbox/{project}/terminal"), "fsa-tty.v1").await.unwrap();
    say(&mut socket, "hello").await;
    until("both to be counted", async || {
        let text = metrics().await;
        value(&text, "fsa_events_clients") == 1.0 && value(&text, "fsa_terminals") == 1.0
    })
    .await;
    until("its bytes to be counted", async || value(&metrics().await, "fsa_terminal_bytes_total{direction=\"in\"}") == 5.0).await;
    drop((stream, socket));
    until("nobody to be left", async || {
        let text = metrics().await;
        value(&text, "fsa_events_clients") == 0.0 && value(&text, "fsa_terminals") == 0.0
    })
    .await;
}

/// Of a line that is there from its first time on.
fn so_far(text: &str, line: &str) -> f64 {
    if text.lines().any(|one| one.starts_with(line)) { value(text, line) } else { 0.0 }
}

#[tokio::test]
async fn a_start_that_fails_counts_its_cause() {
    const LINE: &str = "fsa_causes_total{code=\"database-unreachable\"}";
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("a pass failed");
    let owner = app.signed_in().await;
    let metrics = async || app.anonymous().get("/metrics").await.text();
    app.running(&owner, "Well").await;
    assert_eq!(so_far(&metrics().await, LINE), 0.0);
    app.databases.set_away(true);
    let answer = owner.post("/api/projects", &json!({ "name": "Without" })).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let project: ProjectId = answer.json()["id"].as_str().unwrap().parse().unwrap();
    let path = format!("/api/sandbox/{project}");
    until("the cause to be told", async || owner.get(&path).await.json()["cause"]["code"] == "database-unreachable").await;
    until("the cause to be counted", async || so_far(&metrics().await, LINE) >= 1.0).await;
    let failed = "fsa_reconcile_passes_total{outcome=\"failed\"}";
    assert!(value(&metrics().await, failed) >= 1.0);
    app.databases.set_away(false);
    app.reaches(&owner, project, "Running").await;
}

#[tokio::test]
async fn bytes_of_previews_are_counted_apart() {
    let Some(app) = TestApp::start().await else { return };
    let upload = |body: bytes::Bytes| async move { body.len().to_string() };
    app.world.listen(3000, Router::new().route("/", get(|| async { "x".repeat(10_000) }).post(upload)));
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Previewed").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    let bytes = async |direction: &str| {
        let line = format!("fsa_http_bytes_total{{place=\"preview\",direction=\"{direction}\"}}");
        so_far(&app.anonymous().get("/metrics").await.text(), &line)
    };
    let (came_in, went_out) = (bytes("in").await, bytes("out").await);
    assert_eq!(visitor.get("/").await.body.len(), 10_000);
    assert_eq!((bytes("in").await - came_in, bytes("out").await - went_out), (0.0, 10_000.0));
    assert_eq!(visitor.ask(Method::POST, "/", Some("y".repeat(5_000).into())).await.text(), "5000");
    assert_eq!((bytes("in").await - came_in, bytes("out").await - went_out), (5_000.0, 10_004.0));
}

#[tokio::test]
async fn labels_are_few_whatever_is_asked_for() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    for path in ["/api/nothing-1", "/api/nothing-2", "/nothing-3", "/pkg/nothing-4.js", "/api/projects/nothing-5"] {
        owner.get(path).await;
    }
    owner.ask("NOTHING6".parse().unwrap(), "/", None).await;
    let text = app.anonymous().get("/metrics").await.text();
    assert!(!text.to_lowercase().contains("nothing"), "{text}");
}

#[tokio::test]
async fn metrics_are_for_this_machine_or_with_the_token() {
    let Some(app) = TestApp::start().await else { return };
    let nobody = app.anonymous();
    assert_eq!(nobody.get("/metrics").await.status, 200, "from this machine");
    for (name, said) in [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9"), ("via", "1.1 proxy")] {
        let answer = nobody.with(name, said).get("/metrics").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "metrics"), "{name}");
    }
    let rebound = nobody.with("host", "evil.example");
    assert_eq!(rebound.get("/metrics").await.status, 421, "a name of somebody else's that points here");
    assert_eq!(rebound.with("authorization", "Bearer wrong").get("/metrics").await.status, 403);
    let scraper = rebound.with("authorization", "Bearer a metrics token").with("x-forwarded-for", "203.0.113.9");
    assert_eq!(scraper.get("/metrics").await.status, 200, "a scraper comes by address");
    let owner = app.signed_in().await.with("x-forwarded-for", "203.0.113.9");
    assert_eq!(owner.get("/metrics").await.status, 403, "a session is none");
}

#[tokio::test]
async fn a_requests_id_is_kept_where_it_is_one() {
    let Some(app) = TestApp::start().await else { return };
    let nobody = app.anonymous();
    assert_eq!(nobody.with("x-request-id", "proxy-1.2_3").get("/healthz").await.header("x-request-id"), "proxy-1.2_3");
    let long = "x".repeat(65);
    for bad in ["", "with space", "semi;colon", long.as_str()] {
        let id = nobody.with("x-request-id", bad).get("/healthz").await.header("x-request-id").to_owned();
        assert!(!id.is_empty() && id != bad, "{bad}");
    }
}
