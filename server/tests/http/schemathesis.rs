//! Schemathesis, which reads `/api/openapi.json` and asks whatever comes to its mind: no answer is a 5xx, and each is
//! as the document says.

use crate::support::{Setup, TestApp, agent::RealAgent};
use model::view::Scope;
use serde_json::json;
use server::http::routes::ROUTES;
use std::{process::Stdio, sync::Arc, time::Duration};
use tokio::process::Command;

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Without an end (streams, a WebSocket), or the tester's own machine: in these tests, commands run on it.
const LEFT_OUT: [&str; 4] = ["followEvents", "readLog", "openTerminal", "runCommand"];
/// What would leave nothing to ask about.
const ENDS: [&str; 3] = ["deleteProject", "terminateSandbox", "stopSandbox"];

/// The program; without it, a test is skipped.
fn program() -> Option<std::ffi::OsString> {
    let program = std::env::var_os("FSA_SCHEMATHESIS").filter(|path| !path.is_empty());
    if program.is_none() {
        assert!(std::env::var_os("FSA_REQUIRE").is_none_or(|value| value != "1"), "FSA_SCHEMATHESIS names no schemathesis");
        println!("skipped: FSA_SCHEMATHESIS names no schemathesis");
    }
    program
}

/// One run; says which routes it did not come to, of those that have `within` in their path.
async fn run(app: &TestApp, config: &str, args: &[&str], left_out: &[&str], within: Option<&str>) {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schemathesis.toml"), config).unwrap();
    let token = app.accounts.make_token(app.owner, "schemathesis", Scope::Write, None, jiff::Timestamp::now()).await.unwrap();
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env("NO_COLOR", "1").stdin(Stdio::null()).kill_on_drop(true);
    // One worker: with more, Hypothesis' own caches race now and then.
    command.args(["run", &format!("{}/api/openapi.json", app.public), "--workers", "1", "--seed", "1", "--warnings", "off"]);
    command.args(["--header", &format!("Authorization: Bearer {}", token.secret), "--request-timeout", "20", "--no-shrink"]);
    command.args(left_out.iter().flat_map(|id| ["--exclude-operation-id", id])).args(args);
    let done = tokio::time::timeout(LIMIT, command.output()).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let counts = app.anonymous().get("/metrics").await.text();
    let asked = |line: &str| counts.lines().any(|count| count.starts_with(line));
    // How far it comes within its time is the machine's affair, so it is told and not held.
    for route in ROUTES.iter().filter(|route| within.is_none_or(|part| route.path.contains(part))) {
        if !asked(&format!("fsa_http_requests_total{{route=\"{}\",method=\"{}\",", route.path, route.method)) {
            println!("not asked: {} {}", route.method, route.path);
        }
    }
}

/// Any value in any place, also what the document does not allow: everything is answered, and nothing by a 5xx.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_asked_is_answered_by_a_5xx() {
    let Some(app) = TestApp::start_as(Setup::default()).await else { return };
    let args = ["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--max-time", "55"];
    run(&app, "", &args, &LEFT_OUT, None).await;
}

/// The same of a project that runs, with files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_asked_of_a_project_is_answered_by_a_5xx() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let agent = Arc::new(RealAgent::start(&[]));
    std::fs::write(agent.home.join("README.md"), "# Boats\n").unwrap();
    app.world.files_of(agent);
    let (project, _) = app.running(&owner, "Asked").await;
    let answer = owner.send(http::Method::PUT, &format!("/api/projects/{project}/env"), &json!({ "set": { "A": "1" } })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let config = format!("[parameters]\n\"path.project\" = \"{project}\"\n");
    let args = [
        "--include-path-regex",
        r"\{project\}",
        "--checks",
        CHECKS,
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "8",
        "--max-time",
        "55",
    ];
    run(&app, &config, &args, &[&LEFT_OUT[..], &ENDS[..]].concat(), Some("{project}")).await;
    assert_eq!(owner.get(&format!("/api/projects/{project}")).await.status, 200, "it was asked about to the end");
}

/// Not those about what a document cannot say: that a name is taken, that a sandbox does not run, which token is known.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method,ignored_auth";
