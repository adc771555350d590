//! The routes of a real agent that are not the terminal's.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::{net::Ipv6Addr, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use sandbox_agent::{
    client::{self, ClientError, ForwardError},
    protocol::http::{AgentEvent, CredentialAnswer, EntryKind, ErrorBody, ExecExit, ExecRequest, Health, Listing},
};
use support::{Agent, DEADLINE, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, timeout},
};

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

#[tokio::test]
async fn exec_tells_the_true_end() {
    let agent = Agent::start();
    let done = agent.exec("echo out; echo err >&2; printf '\\xff\\xfe'; exit 37").await;
    assert_eq!((done.exit, done.stdout, done.stderr), (ExecExit::Code(37), b"out\n\xff\xfe".to_vec(), b"err\n".to_vec()));
    assert_eq!(agent.exec("kill -SEGV $$").await.exit, ExecExit::Signal(11));
    assert_eq!(agent.exec("env | grep -c FSA_AGENT_TOKEN").await.stdout, b"0\n");

    let timed = ExecRequest { timeout_ms: Some(200), ..script("echo before; sleep 100") };
    let done = client::exec_to_end(agent.io().await, &agent.token, &timed, 100).await.unwrap();
    assert_eq!((done.exit, done.stdout), (ExecExit::TimedOut(true), b"before\n".to_vec()));

    std::fs::create_dir(agent.home.join("sub")).unwrap();
    let full = ExecRequest {
        cwd: Some("sub".into()),
        env: [("GREETING".into(), "hi".into())].into(),
        stdin: Some("typed".into()),
        ..script("pwd; echo $GREETING; cat")
    };
    let done = client::exec_to_end(agent.io().await, &agent.token, &full, 1000).await.unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), format!("{}/sub\nhi\ntyped", agent.home.display()));

    let missing = ExecRequest { command: vec!["no-such-program".into()], ..ExecRequest::default() };
    let refused = client::exec_to_end(agent.io().await, &agent.token, &missing, 0).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { status, body } if *status == 400 && body.code == "cannot-start"),
        "{refused}"
    );
}

#[tokio::test]
async fn exec_gives_all_output_and_waits_for_no_background() {
    let agent = Agent::start();
    let done = agent.exec("sleep 100 & head -c 3000000 /dev/zero; sha256sum </dev/null >&2").await;
    assert_eq!((done.stdout.len(), done.exit), (3_000_000, ExecExit::Code(0)));
    assert_eq!(done.stderr.len(), 68);

    // Nor for one that writes on and on.
    let writes = "while :; do echo x; sleep 0.1; done & echo ok";
    let done = timeout(Duration::from_secs(20), agent.exec(writes)).await.expect("it ends although something still writes");
    assert_eq!(done.exit, ExecExit::Code(0));
    assert!(String::from_utf8(done.stdout).unwrap().lines().any(|line| line == "ok"));
}

/// Runs a script that leaves a folder to shells.
async fn leave(agent: &Agent, text: &str, folder: &str) -> Result<client::Finished, ClientError> {
    let ask = ExecRequest { shells_in: Some(folder.into()), ..script(text) };
    client::exec_to_end(agent.io().await, &agent.token, &ask, 100).await
}

/// Where the shell of a session is.
async fn shell_in(agent: &Agent, name: &str) -> Option<String> {
    let sessions = client::sessions(agent.io().await, &agent.token).await.unwrap();
    sessions.into_iter().find(|session| session.name == name && session.exited.is_none())?.cwd
}

#[tokio::test]
async fn shells_start_in_the_folder_that_a_command_leaves_to_them() {
    let agent = Agent::start();
    let home = agent.home.canonicalize().unwrap();
    let at = |folder: &str| Some(home.join(folder).display().to_string());
    let begun = home.display().to_string();
    eventually("the first shell", DEADLINE, async || shell_in(&agent, "main").await.as_ref() == Some(&begun)).await;
    assert_eq!(leave(&agent, "mkdir boats; exit 3", "boats").await.unwrap().exit, ExecExit::Code(3));
    assert_eq!(shell_in(&agent, "main").await.as_ref(), Some(&begun), "that did not go well");
    assert_eq!(leave(&agent, "true", "boats").await.unwrap().exit, ExecExit::Code(0));
    eventually("the first shell elsewhere", DEADLINE, async || shell_in(&agent, "main").await == at("boats")).await;
    assert_eq!(agent.exec("pwd -P").await.stdout, format!("{begun}\n").into_bytes(), "commands go on in the home folder");
    for outside in ["", "..", "boats/../..", "/tmp"] {
        let refused = leave(&agent, "true", outside).await.unwrap_err();
        assert!(matches!(&refused, ClientError::Refused { body, .. } if body.code == "bad-folder"), "{outside}: {refused}");
    }

    // What somebody has seen stays as it is.
    let _viewer = agent.viewer("session=main", "tab", (80, 24)).await;
    assert_eq!(leave(&agent, "mkdir kayaks", "kayaks").await.unwrap().exit, ExecExit::Code(0));
    let _other = agent.viewer("session=other", "tab", (80, 24)).await;
    assert_eq!((shell_in(&agent, "main").await, shell_in(&agent, "other").await), (at("boats"), at("kayaks")));

    let agent = Agent::start_in(agent.stop(), &[]);
    eventually("the first shell again", DEADLINE, async || shell_in(&agent, "main").await == at("kayaks")).await;
    assert_eq!(agent.exec("rmdir kayaks").await.exit, ExecExit::Code(0));
    let _third = agent.viewer("session=third", "tab", (80, 24)).await;
    assert_eq!(shell_in(&agent, "third").await.as_ref(), Some(&begun), "it is gone");
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_command() {
    let agent = Agent::start();
    let mut events = Box::pin(client::exec(agent.io().await, &agent.token, &script("echo $$; sleep 100 | cat")).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, pid))) = events.next().await else { panic!("no output") };
    let process = format!("/proc/{}", String::from_utf8(pid.to_vec()).unwrap().trim());
    assert!(support::exists(process.as_ref()));
    drop(events);
    eventually("the command is gone", DEADLINE, async || !support::exists(process.as_ref())).await;
}

#[tokio::test]
async fn files_are_written_whole_listed_and_deleted() {
    let agent = Agent::start();
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/a%20b/c/d.txt", b"one").await.0, 201);
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/a%20b/c/d.txt", b"two").await.0, 204);
    assert_eq!(ask(&agent, Method::GET, "/v1/files/a%20b/c/d.txt", b"").await, (StatusCode::OK, Bytes::from_static(b"two")));
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/a%20b/empty?mkdir=1", b"").await.0, 201);
    let listing: Listing = serde_json::from_slice(&ask(&agent, Method::GET, "/v1/files/a%20b/", b"").await.1).unwrap();
    let names: Vec<_> = listing.entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
    assert_eq!((listing.path.as_str(), names), ("a b", vec![("c", EntryKind::Directory), ("empty", EntryKind::Directory)]));
    for (query, names) in
        [("limit=1", vec!["c"]), ("after=c", vec!["empty"]), ("limit=5&after=%63&x", vec!["empty"]), ("limit=0", vec![])]
    {
        let page = ask(&agent, Method::GET, &format!("/v1/files/a%20b?{query}"), b"").await.1;
        let page: Listing = serde_json::from_slice(&page).unwrap();
        assert_eq!(page.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), names, "{query}");
    }
    assert_eq!(ask(&agent, Method::GET, "/v1/files/a%20b?limit=x", b"").await.0, 400);
    assert_eq!(std::fs::read_dir(agent.home.join("a b/c")).unwrap().count(), 1, "nothing is left beside the file");

    assert_eq!(ask(&agent, Method::GET, "/v1/files/none", b"").await.0, 404);
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/a%20b/c", b"x").await.0, 409);
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/a%20b/c/d.txt/e", b"x").await.0, 409);
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/a%20b", b"").await.0, 409);
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/", b"").await.0, 400);
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/a%20b?recursive=1", b"").await.0, 204);
    assert!(!agent.home.join("a b").exists());
    assert_eq!(agent.exec("mkfifo pipe").await.exit, ExecExit::Code(0));
    assert_eq!(ask(&agent, Method::GET, "/v1/files/pipe", b"").await.0, 409);
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/pipe", b"").await.0, 204);
}

#[tokio::test]
async fn what_terminals_showed_is_read_by_no_link_where_it_is_closed() {
    let agent = Agent::start();
    let made = "mkdir -p .fsa/kept src/deep && echo secret >.fsa/kept/main.log && echo plain >src/file && ln -s ../.fsa/kept/main.log src/log \
        && ln -s .fsa state && ln -s src/file alias && ln -s .fsa/kept kept && mkdir .fsa-other && echo other >.fsa-other/file";
    assert_eq!(agent.exec(made).await.exit, ExecExit::Code(0));
    let get = async |path: &str, query: &str| {
        let (status, body) = ask(&agent, Method::GET, &format!("/v1/files/{path}{query}"), b"").await;
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    for path in [".fsa/kept/main.log", ".fsa", "./.fsa/kept", "src/log", "state", "state/kept/main.log", "kept/main.log"] {
        assert_eq!(get(path, "").await.0, 200, "{path}");
        let (status, body) = get(path, "?without-state=1").await;
        assert!(status == 403 && body.contains("state-folder") && !body.contains("secret"), "{path}: {status} {body}");
        assert_eq!(ask(&agent, Method::HEAD, &format!("/v1/files/{path}?without-state=1"), b"").await.0, 403, "{path}");
    }
    for (path, content) in [("src/file", "plain\n"), ("alias", "plain\n"), (".fsa-other/file", "other\n")] {
        assert_eq!(get(path, "?without-state=1").await, (200, content.to_owned()), "{path}");
    }
    assert_eq!(get("", "?without-state=1").await.0, 200);
    assert_eq!(get(".fsa/none", "?without-state=1").await.0, 404);
}

async fn told(
    agent: &Agent,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static [u8],
) -> (StatusCode, http::HeaderMap, Bytes) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
    let answer = client::request(agent.io().await, &agent.token, request).await.unwrap();
    let (parts, body) = answer.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_file_that_is_not_the_one_that_was_meant_stays() {
    let agent = Agent::start();
    let put = async |body, name: &'static str, value: &str| {
        let (status, headers, body) = told(&agent, Method::PUT, "/v1/files/a", &[(name, value)], body).await;
        let version = headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        (status.as_u16(), version, serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default())
    };
    let (status, first, _) = put(b"one", "if-none-match", "*").await;
    let first = first.unwrap();
    assert_eq!(status, 201);
    let (status, _, said) = put(b"two", "if-none-match", "*").await;
    assert_eq!((status, &said["code"], &said["versions"]["current"]), (409, &"changed".into(), &first.clone().into()));
    let (status, second, _) = put(b"two", "if-match", &first).await;
    let second = second.unwrap();
    assert!(status == 204 && second != first);
    let (status, _, said) = put(b"late", "if-match", &first).await;
    assert_eq!(status, 409);
    assert_eq!(said["versions"], serde_json::json!({ "expected": first, "current": second }));
    // A write inside counts as well.
    assert_eq!(agent.exec("echo more >> a").await.exit, ExecExit::Code(0));
    assert_eq!(put(b"late", "if-match", &second).await.0, 409);
    assert_eq!(std::fs::read(agent.home.join("a")).unwrap(), b"twomore\n");
    assert_eq!(agent.exec("rm a").await.exit, ExecExit::Code(0));
    let (status, _, said) = put(b"late", "if-match", &second).await;
    assert_eq!((status, &said["versions"]["current"]), (409, &serde_json::Value::Null));
    assert_eq!(put(b"x", "if-match", "no tag").await.0, 400);
    assert_eq!(std::fs::read_dir(&agent.home).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != ".fsa").count(), 1);
}

#[tokio::test]
async fn of_two_uploads_at_once_one_is_told_that_it_came_second() {
    let agent = Agent::start();
    let (_, headers, _) = told(&agent, Method::PUT, "/v1/files/a", &[], b"start").await;
    let version = headers["etag"].to_str().unwrap();
    for _ in 0..20 {
        let headers = [("if-match", version)];
        let all =
            futures_util::future::join_all((0..8).map(|_| told(&agent, Method::PUT, "/v1/files/a", &headers, b"new"))).await;
        let won = all.iter().filter(|(status, ..)| status.is_success()).count();
        assert!(won <= 1 && all.iter().all(|(status, ..)| matches!(status.as_u16(), 204 | 409)), "{won} won");
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_read_and_a_known_version_is_not() {
    let agent = Agent::start();
    std::fs::write(agent.home.join("digits"), "0123456789").unwrap();
    let get = async |headers: &[(&str, &str)]| told(&agent, Method::GET, "/v1/files/digits", headers, b"").await;
    let (status, headers, body) = get(&[("range", "bytes=2-4")]).await;
    assert_eq!((status.as_u16(), &body[..]), (206, &b"234"[..]));
    assert_eq!(
        (&headers["content-range"], &headers["content-length"]),
        (&"bytes 2-4/10".parse().unwrap(), &"3".parse().unwrap())
    );
    let version = headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(get(&[("range", "bytes=10-")]).await.0, 416);
    assert_eq!(get(&[("range", "bytes=-2"), ("if-range", "\"old\"")]).await.2, Bytes::from_static(b"0123456789"));
    let (status, _, body) = get(&[("if-none-match", &version)]).await;
    assert_eq!((status.as_u16(), body.len()), (304, 0));
    let (status, headers, body) = told(&agent, Method::HEAD, "/v1/files/digits", &[], b"").await;
    assert_eq!((status.as_u16(), headers["content-length"].to_str().unwrap(), body.len()), (200, "10", 0));
}

#[tokio::test]
async fn a_name_may_be_any_bytes() {
    let agent = Agent::start();
    for name in ["two%0alines", "%ff%fe", "%20", "-rf", "a%5cb", "%25", "%e2%80%ae"] {
        let path = format!("/v1/files/odd/{name}");
        assert_eq!(ask(&agent, Method::PUT, &path, b"x").await.0, 201, "{name}");
        assert_eq!(ask(&agent, Method::GET, &path, b"").await.1, Bytes::from_static(b"x"), "{name}");
    }
    let listing: Listing = serde_json::from_slice(&ask(&agent, Method::GET, "/v1/files/odd", b"").await.1).unwrap();
    let odd: Vec<_> = listing.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.raw.as_deref()?))).collect();
    assert_eq!(odd, [("\u{FFFD}\u{FFFD}", "%FF%FE")]);
    assert!(listing.entries.iter().any(|entry| entry.name == "two\nlines") && listing.entries.len() == 7);
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/odd?recursive=1", b"").await.0, 204);
    assert_eq!(ask(&agent, Method::PUT, &format!("/v1/files/{}", "n".repeat(300)), b"x").await.0, 400);
}

#[tokio::test]
async fn a_new_name_is_one_that_nothing_has() {
    let agent = Agent::start();
    for path in ["a", "b", "folder/inner"] {
        ask(&agent, Method::PUT, &format!("/v1/files/{path}"), b"x").await;
    }
    let outside = agent.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, agent.home.join("link")).unwrap();
    for (from, to, status) in [
        ("a", "b", 409),
        ("a", "folder", 409),
        ("a", "../x", 400),
        ("a", "link/x", 400),
        ("link/x", "x", 400),
        ("a", "none/x", 404),
        ("none", "x", 404),
        ("folder", "folder/itself", 400),
        ("", "x", 400),
        ("a", "folder/%ff%0a", 204),
        ("folder", "moved", 204),
    ] {
        assert_eq!(ask(&agent, Method::POST, &format!("/v1/files/{from}?to={to}"), b"").await.0, status, "{from} to {to}");
    }
    assert_eq!(ask(&agent, Method::POST, "/v1/files/b", b"").await.0, 400);
    assert_eq!(ask(&agent, Method::GET, "/v1/files/moved/%ff%0a", b"").await.1, Bytes::from_static(b"x"));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_not_moved_says_which_name_is_wrong() {
    let agent = Agent::start();
    for path in ["a", "b", "folder/inner/deep"] {
        ask(&agent, Method::PUT, &format!("/v1/files/{path}"), b"x").await;
    }
    for (from, to, code, sentence) in [
        ("a", "b", "exists", "b exists already."),
        ("a", "folder/inner", "exists", "folder/inner exists already."),
        ("a", "none/x", "not-found", "There is no none."),
        ("none", "folder/x", "not-found", "There is no none."),
        ("folder", "folder/x", "into-itself", "folder cannot be moved into itself."),
        ("folder", "./folder//inner/x", "into-itself", "folder cannot be moved into itself."),
        ("a", "folder/..%2fx", "outside-home", "The path leads out of the home folder."),
    ] {
        let body = ask(&agent, Method::POST, &format!("/v1/files/{from}?to={to}"), b"").await.1;
        let body: ErrorBody = serde_json::from_slice(&body).unwrap();
        assert_eq!((body.code.as_str(), body.error.as_str()), (code, sentence), "{from} to {to}");
    }
    // A name that only begins as the folder's does is another one.
    assert_eq!(ask(&agent, Method::POST, "/v1/files/folder?to=folder2", b"").await.0, 204);
    assert_eq!(ask(&agent, Method::GET, "/v1/files/folder2/inner/deep", b"").await.1, Bytes::from_static(b"x"));
}

#[tokio::test]
async fn a_file_that_moves_is_the_one_that_was_meant_and_tells_its_version() {
    let agent = Agent::start();
    ask(&agent, Method::PUT, "/v1/files/folder/other", b"x").await;
    let (_, headers, _) = told(&agent, Method::PUT, "/v1/files/a", &[], b"first").await;
    let first = headers["etag"].to_str().unwrap().to_owned();
    let (_, headers, _) = told(&agent, Method::PUT, "/v1/files/a", &[], b"second").await;
    let second = headers["etag"].to_str().unwrap().to_owned();
    let to = "/v1/files/a?to=folder/a";
    let (status, _, body) = told(&agent, Method::POST, to, &[("if-match", &first)], b"").await;
    let body: ErrorBody = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.as_u16(), body.code.as_str()), (409, "changed"));
    assert_eq!(body.versions.unwrap().current, Some(second.clone()));
    let (status, headers, _) = told(&agent, Method::POST, to, &[("if-match", &second)], b"").await;
    assert_eq!(status, 204);
    let (_, read, _) = told(&agent, Method::GET, "/v1/files/folder/a", &[], b"").await;
    assert_eq!(headers["etag"], read["etag"]);
    assert!(!told(&agent, Method::POST, "/v1/files/folder?to=moved", &[], b"").await.1.contains_key("etag"));
}

#[tokio::test]
async fn no_path_leads_out_of_the_home_folder() {
    let agent = Agent::start();
    let outside = agent.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(&outside, agent.home.join("link")).unwrap();
    std::os::unix::fs::symlink("../outside/secret", agent.home.join("file")).unwrap();
    std::os::unix::fs::symlink("/proc/self", agent.home.join("magic")).unwrap();
    for path in [
        "../outside/secret",
        "%2e%2e/outside/secret",
        "x/../../outside/secret",
        "link/secret",
        "file",
        "link",
        "magic/root/etc/passwd",
    ] {
        let uri = format!("/v1/files/{path}");
        let (status, body) = ask(&agent, Method::GET, &uri, b"").await;
        assert_eq!(status, 400, "{path}: {body:?}");
        assert!(!String::from_utf8_lossy(&body).contains("\"secret\""));
    }
    for path in ["link/new", "link/new?mkdir=1", "..%2foutside%2fnew"] {
        assert_eq!(ask(&agent, Method::PUT, &format!("/v1/files/{path}"), b"x").await.0, 400, "{path}");
    }
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/link/secret", b"").await.0, 400);
    // A link itself may go, alone or with its folder, and what it names stays.
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/link?recursive=1", b"").await.0, 204);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn an_upload_that_breaks_off_changes_nothing() {
    let agent = Agent::start();
    ask(&agent, Method::PUT, "/v1/files/a", b"old").await;
    let mut io = agent.io().await;
    io.write_all(b"PUT /v1/files/a HTTP/1.1\r\nhost: a\r\nauthorization: Bearer secret token\r\ncontent-length: 100\r\n\r\nnew")
        .await
        .unwrap();
    let beside = || {
        std::fs::read_dir(&agent.home).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(".upload-"))
    };
    eventually("the upload began", DEADLINE, async || beside()).await;
    drop(io);
    eventually("nothing is left", DEADLINE, async || !beside()).await;
    assert_eq!(std::fs::read(agent.home.join("a")).unwrap(), b"old");
}

#[tokio::test]
async fn ports_appear_and_go() {
    let agent = Agent::start();
    let mut events = Box::pin(client::events(agent.io().await, &agent.token).await.unwrap());
    let mut next = async || timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
    let mut kinds = Vec::new();
    while kinds.len() < 5 {
        kinds.push(std::mem::discriminant(&next().await));
    }
    kinds.dedup();
    assert_eq!(kinds.len(), 5, "first of all how everything stands");

    let serve = "import socket,sys;s=socket.socket();s.bind(('127.0.0.1',0));s.listen();print(s.getsockname()[1],flush=True);sys.stdin.read()";
    let command = script(&format!("sleep 100 | python3 -c \"{serve}\""));
    let mut run = Box::pin(client::exec(agent.io().await, &agent.token, &command).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, port))) = run.next().await else { panic!("no port") };
    let port: u16 = String::from_utf8(port.to_vec()).unwrap().trim().parse().unwrap();
    let opened = Instant::now();
    loop {
        if let AgentEvent::Ports { ports } = next().await
            && let Some(found) = ports.iter().find(|found| found.port == port)
        {
            assert_eq!((found.addresses.as_slice(), found.process.as_deref()), (&["127.0.0.1".to_owned()][..], Some("python3")));
            break;
        }
    }
    assert!(opened.elapsed() < Duration::from_secs(1), "{:?}", opened.elapsed());
    drop(run);
    loop {
        if let AgentEvent::Ports { ports } = next().await
            && ports.iter().all(|found| found.port != port)
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_forwarded_port_is_a_plain_stream() {
    let agent = Agent::start();
    for address in [(std::net::Ipv4Addr::LOCALHOST.into(), 0), (std::net::IpAddr::from(Ipv6Addr::LOCALHOST), 0)] {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let echo = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        };
        let talk = async {
            let mut stream = client::forward(agent.io().await, &agent.token, port).await.unwrap();
            stream.write_all(b"\0hello\xff").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, b"\0hello\xff");
        };
        timeout(DEADLINE, async { tokio::join!(echo, talk) }).await.unwrap();
        drop(listener);
        let nobody = client::forward(agent.io().await, &agent.token, port).await.err().unwrap();
        assert!(matches!(nobody, ForwardError::NobodyListens(none) if none == port), "{nobody}");
    }
    for port in [0, 5432, 7681, 7682] {
        let refused = client::forward(agent.io().await, &agent.token, port).await.err().unwrap();
        assert!(matches!(refused, ForwardError::NotAllowed(_)), "{refused}");
    }
    assert_eq!(ask(&agent, Method::GET, "/v1/forward?port=80000", b"").await.0, 400);
}

#[tokio::test]
async fn over_the_disk_limit_everything_stands_still_until_something_is_deleted() {
    let agent = Agent::start_with(&["--disk-limit-bytes", "1000000", "--disk-every-ms", "100"]);
    let mut run =
        Box::pin(client::exec(agent.io().await, &agent.token, &script("echo $$; while :; do sleep 0.01; done")).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, pid))) = run.next().await else { panic!("no output") };
    let stat = format!("/proc/{}/stat", String::from_utf8(pid.to_vec()).unwrap().trim());
    let stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
    std::fs::write(agent.home.join("big"), vec![1; 2_000_000]).unwrap();
    eventually("it is stopped", DEADLINE, async || stopped()).await;
    let health: Health = client::health(agent.io().await).await.unwrap();
    assert!(health.disk_full);
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/more", b"x").await.0, 507);
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/big", b"").await.0, 204);
    eventually("it goes on", DEADLINE, async || !stopped()).await;
    let health: Health = client::health(agent.io().await).await.unwrap();
    assert!(!health.disk_full);

    // The other way out: a command that was run from then on is not stopped, for as long as it likes.
    std::fs::write(agent.home.join("big"), vec![1; 2_000_000]).unwrap();
    eventually("it is stopped again", DEADLINE, async || stopped()).await;
    let slow = script("sleep 2 | cat; rm big; echo removed");
    let slow = client::exec_to_end(agent.io().await, &agent.token, &slow, 1000);
    let done = timeout(DEADLINE, slow).await.expect("it was stopped as well").unwrap();
    assert_eq!((done.exit, done.stdout), (ExecExit::Code(0), b"removed\n".to_vec()));
    eventually("it goes on again", DEADLINE, async || !stopped()).await;
}

#[tokio::test]
async fn over_the_disk_limit_a_command_that_fills_further_or_was_left_behind_is_stopped() {
    let agent = Agent::start_with(&["--disk-limit-bytes", "1000000", "--disk-every-ms", "100"]);
    std::fs::write(agent.home.join("big"), vec![1; 2_000_000]).unwrap();
    let full = async || client::health(agent.io().await).await.unwrap().disk_full;
    eventually("it is over", DEADLINE, full).await;
    let stopped = |pid: &str| std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap().contains(") T ");
    let left = agent.exec("sleep 1000 & echo $!").await.stdout;
    let left = String::from_utf8(left).unwrap();
    eventually("what it left behind is stopped", DEADLINE, async || stopped(&left)).await;

    let fill = script("echo $$; fallocate -l 100M more; sleep 1000");
    let mut run = Box::pin(client::exec(agent.io().await, &agent.token, &fill).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, pid))) = run.next().await else { panic!("no output") };
    let pid = String::from_utf8(pid.to_vec()).unwrap();
    eventually("who fills further is stopped", DEADLINE, async || stopped(&pid)).await;
    assert_eq!(agent.exec("rm big more; echo still").await.stdout, b"still\n", "and the next one is let through");
}

#[tokio::test]
async fn deleted_files_that_are_still_open_count() {
    let agent = Agent::start_with(&["--disk-limit-bytes", "1000000", "--disk-every-ms", "100"]);
    let hold = script("exec 9>hidden; rm hidden; head -c 2000000 /dev/zero >&9; echo $$; sleep 1000");
    let mut run = Box::pin(client::exec(agent.io().await, &agent.token, &hold).await.unwrap());
    assert!(matches!(run.next().await, Some(Ok(client::ExecEvent::Output(..)))));
    let full = async || client::health(agent.io().await).await.unwrap().disk_full;
    eventually("it is over", DEADLINE, full).await;
    drop(run);
    eventually("its end frees them", DEADLINE, async || !full().await).await;
}

#[tokio::test]
async fn ports_of_whoever_runs_the_sandbox_are_not_offered() {
    let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (theirs, ours) = (one.local_addr().unwrap().port(), other.local_addr().unwrap().port());
    let agent = Agent::start_with(&["--own-port", &ours.to_string()]);
    let mut events = Box::pin(client::events(agent.io().await, &agent.token).await.unwrap());
    loop {
        if let AgentEvent::Ports { ports } = timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap() {
            let listed = |port| ports.iter().any(|found| found.port == port);
            assert!(listed(theirs) && !listed(ours), "{ports:?}");
            break;
        }
    }
}

#[tokio::test]
async fn shutdown_ends_everything_and_then_the_agent() {
    let mut agent = Agent::start();
    let mut run = Box::pin(
        client::exec(agent.io().await, &agent.token, &script("trap '' TERM HUP; echo $$; while :; do sleep 1; done"))
            .await
            .unwrap(),
    );
    let Some(Ok(client::ExecEvent::Output(_, pid))) = run.next().await else { panic!("no output") };
    let process = format!("/proc/{}", String::from_utf8(pid.to_vec()).unwrap().trim());
    let mut viewer = agent.viewer("session=main", "a", (80, 24)).await;
    client::shutdown(agent.io().await, &agent.token, Duration::from_millis(300)).await.unwrap();
    assert_eq!(u16::from(viewer.until_closed().await.unwrap().code), 1001);
    eventually("the agent ended", DEADLINE, || std::future::ready(agent.process.try_wait().unwrap().is_some())).await;
    assert!(!support::exists(process.as_ref()), "what ignores signals is killed");
    assert!(agent.home.join(".fsa/sessions/main.log").exists());
}

/// A pod that ends and its successor have the same volume, and never both write.
#[tokio::test]
async fn a_second_agent_waits_for_the_first() {
    let first = Agent::start();
    // It listens before it has the home folder; once it answers, the folder is its own.
    assert!(client::health(first.io().await).await.is_ok());
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox-agent"))
        .args(["--listen", "127.0.0.1:0", "--home"])
        .arg(&first.home)
        .env("FSA_AGENT_TOKEN", "t")
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut second = second.unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(second.stderr.take().unwrap()));
    let address = lines.next().unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();
    assert!(lines.next().unwrap().unwrap().contains("another agent"));
    let io = tokio::net::TcpStream::connect(&address).await.unwrap();
    let asked = client::health(io);
    tokio::pin!(asked);
    assert!(timeout(Duration::from_millis(300), &mut asked).await.is_err(), "it serves too early");
    let _folder = first.stop();
    assert!(timeout(DEADLINE, asked).await.unwrap().unwrap().shell_started);
    second.kill().unwrap();
    second.wait().unwrap();
}

/// A database by a name, as on a cluster: its Service lets nobody through for a moment after its pod is ready.
#[tokio::test]
async fn a_shell_counts_as_started_once_the_database_can_be_reached() {
    let home = tempfile::tempdir().unwrap();
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = |host: &str| {
        let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox-agent"));
        agent.args(["--listen", "127.0.0.1:0", "--home"]).arg(home.path()).env("FSA_AGENT_TOKEN", "t");
        agent.env("PGHOST", host).env("PGPORT", place.port().to_string()).stderr(std::process::Stdio::piped());
        let mut agent = agent.spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(agent.stderr.take().unwrap()));
        let address = lines.next().unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();
        (agent, address)
    };
    let started = async |address: &str| {
        let io = tokio::net::TcpStream::connect(address).await.unwrap();
        client::health(io).await.unwrap().shell_started
    };
    let (mut process, address) = agent("localhost");
    for _ in 0..5 {
        assert!(!started(&address).await, "nobody listens yet");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let database = std::net::TcpListener::bind(place).unwrap();
    eventually("the shell counts", DEADLINE, async || started(&address).await).await;
    drop(database);
    process.kill().unwrap();
    process.wait().unwrap();

    // An address of one machine's own is forwarded, and takes connections from the beginning.
    let (mut process, address) = agent("127.0.0.1");
    assert!(started(&address).await);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test]
async fn orphans_are_reaped_and_exit_codes_kept() {
    let agent = Agent::start();
    let pid = agent.process.id();
    // Orphans come back to the agent (it is a subreaper, as PID 1 would be) while commands end all the time.
    agent.exec("for i in $(seq 50); do (sleep 0.0$((i % 10)) &) ; done").await;
    for code in 0..40 {
        assert_eq!(agent.exec(&format!("(true &); (sleep 0.01 &); exit {code}")).await.exit, ExecExit::Code(code));
    }
    let zombies = async || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let zombie = |child: &str| std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        children.split_ascii_whitespace().filter(|child| zombie(child)).count()
    };
    eventually("no zombies", DEADLINE, async || zombies().await == 0).await;
}

/// The same as PID 1 of a namespace, where the kernel reaps nothing for it. Needs root.
#[tokio::test]
async fn as_pid_1_it_reaps_and_ends() {
    if !rustix::process::geteuid().is_root() {
        return support::skip("root, which alone may make a namespace of processes");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".bash_profile"), "(sleep 0.1 &)\n").unwrap();
    let mut process = std::process::Command::new("unshare")
        .args(["-fp", "--kill-child", "--mount-proc", env!("CARGO_BIN_EXE_sandbox-agent"), "--listen", "127.0.0.1:0", "--home"])
        .arg(folder.path())
        .env("FSA_AGENT_TOKEN", "t")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stderr.take().unwrap()));
    let Some(address) = lines.next().and_then(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned)) else {
        process.wait().unwrap();
        return support::skip("namespaces of processes, which this root may not make");
    };
    let token = "t".to_owned().into();
    let io = async || tokio::net::TcpStream::connect(&address).await.unwrap();
    let run = async |text: &str| client::exec_to_end(io().await, &token, &script(text), 10_000).await.unwrap();
    assert_eq!(run("cat /proc/1/comm").await.stdout, b"sandbox-agent\n");
    assert_eq!(run("for i in $(seq 20); do (sleep 0.01 &); done; exit 9").await.exit, ExecExit::Code(9));
    eventually("no zombies", DEADLINE, async || run("grep -l '^State:.Z' /proc/[0-9]*/status | wc -l").await.stdout == b"0\n")
        .await;
    client::shutdown(io().await, &token, Duration::from_secs(1)).await.unwrap();
    assert!(process.wait().unwrap().success());
}

#[tokio::test]
async fn git_is_given_what_the_control_plane_answers_and_nothing_else() {
    let agent = Agent::start();
    let fill =
        "printf 'protocol=https\\nhost=git.example\\npath=acme/boats.git\\n\\n' | GIT_TERMINAL_PROMPT=0 git credential fill";
    let nobody = agent.exec(fill).await;
    assert_ne!(nobody.exit, ExecExit::Code(0), "nobody follows the events, so nobody is asked");

    let mut events = std::pin::pin!(client::events(agent.io().await, &agent.token).await.unwrap());
    // How things stand comes first: from then on somebody listens.
    timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
    for password in [Some("a secret"), None] {
        let answer = async {
            loop {
                let event = timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
                if let AgentEvent::Credentials { ask, protocol, host, path } = event {
                    assert_eq!(
                        (protocol.as_str(), host.as_str(), path.as_deref()),
                        ("https", "git.example", Some("acme/boats.git"))
                    );
                    let username = password.map(|_| "x".to_owned());
                    let answer = CredentialAnswer { ask, username, password: password.map(str::to_owned) };
                    client::answer_credentials(agent.io().await, &agent.token, &answer).await.unwrap();
                    return client::answer_credentials(agent.io().await, &agent.token, &answer).await.unwrap();
                }
            }
        };
        let (done, ()) = tokio::join!(agent.exec(fill), answer);
        let text = String::from_utf8(done.stdout).unwrap();
        assert_eq!(text.contains("username=x\npassword=a secret\n"), password.is_some(), "{text}");
    }
    let found = agent.exec("git config --list --show-origin; env; grep -r 'a secret' \"$HOME\"").await;
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains("git-credential") && !text.contains("a secret"), "{text}");
}
