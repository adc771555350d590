//! The doctor's page and its answers.

use crate::support::{Client, Setup, TestApp, until};
use axum::{Json, Router, response::IntoResponse as _};
use bytes::Bytes;
use clap::Parser as _;
use http::{StatusCode, Uri};
use kubernetes::doctor::permissions::{Need, PERMISSIONS, Permission};
use model::view::Scope;
use serde_json::{Value, json};
use server::config::kubernetes::KubernetesArgs;
use std::{
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

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

/// Of which permission an account has nothing.
type Denied = Arc<Mutex<Option<&'static Permission>>>;

/// An apiserver that says its version and what the account may, and has nothing else. Its port.
async fn apiserver(denied: Denied) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().fallback(move |uri: Uri, body: Bytes| {
        let denied = denied.clone();
        async move {
            match uri.path() {
                "/version" => {
                    let mut version = json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.1" });
                    for field in ["gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"] {
                        version[field] = json!("");
                    }
                    Json(version).into_response()
                }
                "/apis" => Json(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] })).into_response(),
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
                    let mut review: Value = serde_json::from_slice(&body).unwrap();
                    let asked = &review["spec"]["resourceAttributes"];
                    let text = |field: &str| asked[field].as_str().unwrap_or_default();
                    let part = if text("subresource").is_empty() { "" } else { "/" };
                    let resource = format!("{}{part}{}", text("resource"), text("subresource"));
                    let is_denied = denied.lock().unwrap().is_some_and(|of| {
                        of.resource == resource && of.group == text("group") && of.verbs.contains(&text("verb"))
                    });
                    review["status"] = json!({ "allowed": !is_denied });
                    Json(review).into_response()
                }
                _ => {
                    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "reason": "NotFound", "message": "not here", "code": 404 });
                    (StatusCode::NOT_FOUND, Json(status)).into_response()
                }
            }
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: KubernetesArgs,
}

fn kubeconfig(file: &Path, server: &str, user: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: dev, context: {{cluster: c, user: u, namespace: team}}}}]\n"
    );
    std::fs::write(file, text).unwrap();
}

/// What the page gets: the findings that are of permissions, and not well.
async fn missing(owner: &Client) -> Vec<Value> {
    let report = owner.get("/api/doctor").await.json();
    let all = report["findings"].as_array().unwrap_or_else(|| panic!("{report}"));
    let of_rights = |finding: &&Value| finding["check"].as_str().unwrap().starts_with("permission ");
    assert!(all.iter().filter(of_rights).count() > 10, "{report}");
    all.iter().filter(of_rights).filter(|finding| finding["verdict"] != "ok").cloned().collect()
}

#[tokio::test]
async fn on_a_cluster_what_is_wrong_with_its_kubeconfig_and_each_missing_right_is_told_to_the_page() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let denied = Denied::default();
    let server = format!("http://127.0.0.1:{}", apiserver(denied.clone()).await);
    kubeconfig(&file, &server, "auth-provider: {name: gcp, config: {access-token: a-secret-token}}");
    let line = ["x", "--kubeconfig", file.to_str().unwrap(), "--allow-loopback-cluster", "--namespace", "team"];
    let cluster = Some(Line::parse_from(line).args);
    let Some(app) = TestApp::start_as(Setup { cluster, ..Setup::default() }).await else { return };
    let owner = app.signed_in().await;
    let page = owner.get("/doctor").await.text();
    assert!(page.contains("<fsa-doctor src=\"/api/doctor\" probes></fsa-doctor>"), "its element asks: {page}");

    let told = owner.get("/api/doctor").await.text();
    for word in ["`gcp` (auth-provider)", "--allow-exec-credentials", server.as_str(), "`dev`", file.to_str().unwrap()] {
        assert!(told.contains(word), "`{word}` is missing: {told}");
    }
    assert!(!told.contains("a-secret-token"), "{told}");
    // What was mended since is found mended.
    kubeconfig(&file, &server, "token: a-secret-token");
    assert_eq!(missing(&owner).await, [] as [Value; 0]);
    let needed = |permission: &&Permission| matches!(permission.need, Need::Always | Need::StatefulSet | Need::Helpful);
    for permission in PERMISSIONS.iter().filter(needed) {
        *denied.lock().unwrap() = Some(permission);
        let dot = if permission.group.is_empty() { "" } else { "." };
        let name = format!("{}{dot}{}", permission.resource, permission.group);
        let told = missing(&owner).await;
        let [finding] = told.as_slice() else { panic!("{name}: {told:#?}") };
        let verdict = if permission.need == Need::Helpful { "warn" } else { "fail" };
        assert_eq!((&finding["check"], &finding["verdict"]), (&json!(format!("permission {name}")), &json!(verdict)));
        assert_eq!(finding["what"], format!("The account may not {} {name}.", permission.verbs.join(", ")));
        assert!(finding["mend"][0].as_str().unwrap().contains("kubectl create"), "{finding}");
    }
}
