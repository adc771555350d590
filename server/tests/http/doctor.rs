//! The doctor's page and its answers.

use crate::support::{TestApp, until};
use model::view::Scope;
use serde_json::Value;

fn verdict(report: &Value, check: &str) -> String {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check}: {report}"));
    found["verdict"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_operator_is_told_what_is_right_and_wrong() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let answer = owner.get("/api/doctor").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let report = answer.json();
    assert_eq!((verdict(&report, "PostgreSQL").as_str(), verdict(&report, "ports").as_str()), ("ok", "ok"));
    assert_eq!(verdict(&report, "Claude Code"), "warn", "none is installed for it");
    verdict(&report, "disk");
    verdict(&report, "isolation");
    for finding in report["findings"].as_array().unwrap() {
        assert!(!finding["what"].as_str().unwrap().is_empty() && !finding["why"].as_str().unwrap().is_empty(), "{finding}");
    }

    let lines = owner.with("accept", "application/x-ndjson").get("/api/doctor").await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let checks: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(checks.len(), report["findings"].as_array().unwrap().len(), "the same, one a line");

    let page = owner.get("/doctor").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<fsa-doctor"), "{}", page.text());
    // A look takes longer than a page waits for it on a busy machine.
    until("the page to have what was found", async || owner.get("/doctor").await.text().contains("data-first>")).await;
    until("the same in words", async || {
        let text = owner.get("/doctor").await.text();
        let said = [
            "<strong>PostgreSQL</strong> <span>It answers. Projects in it: 0.</span>",
            "<code>claude</code> in every terminal is this.",
        ];
        said.iter().all(|said| text.contains(said))
    })
    .await;
    let of_one = owner.get("/doctor?project=00000000-0000-0000-0000-000000000000").await.text();
    assert!(of_one.contains("<noscript>") && !of_one.contains("data-first>"), "its element asks: {of_one}");
}

#[tokio::test]
async fn what_is_down_is_found() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    for text in ["communicating with database", "stopped hearing of changes", "could not create auth session"] {
        app.log.allow(text);
    }
    app.gate.set_open(false);
    // The session was read already where it is remembered; a store that is away refuses the rest.
    let answer = owner.get("/api/doctor").await;
    assert!(matches!(answer.status.as_u16(), 503) || verdict(&answer.json(), "PostgreSQL") == "fail", "{}", answer.text());
}

#[tokio::test]
async fn it_is_nobody_elses() {
    let Some(app) = TestApp::start().await else { return };
    assert_eq!(app.somebody_else().await.get("/api/doctor").await.status, 404);
    assert_eq!(app.somebody_else().await.get("/doctor").await.status, 404);
    let sent = app.anonymous().get("/doctor").await;
    assert_eq!((sent.status.as_u16(), sent.header("location")), (303, "/sign-in?next=%2Fdoctor"));
    let reading = app.token(Scope::Read).await;
    assert_eq!(reading.get("/api/doctor").await.status, 200);
    assert_eq!(reading.get("/api/doctor?probes=true").await.status, 403, "pods are started by who may change things");
    assert_eq!(reading.get("/api/doctor?nonsense=1").await.code(), "bad-query");
    assert_eq!(reading.get("/api/doctor?project=none").await.status, 404);
}
