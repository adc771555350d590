//! Files are read, written, moved and deleted inside the home folder, and nowhere else.

use super::ask;
use crate::support::{self, Agent, DEADLINE, eventually};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use sandbox_agent::{
    client,
    protocol::http::{EntryKind, ErrorBody, ExecExit, Listing},
};
use tokio::io::AsyncWriteExt;

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
async fn what_is_written_to_a_link_is_written_where_it_leads_to() {
    let agent = Agent::start();
    std::fs::write(agent.folder.path().join("outside"), "outside").unwrap();
    let made = "mkdir -p kept/deep other && echo old >kept/deep/rc && chmod 600 kept/deep/rc && ln -s kept/deep/rc rc && ln -s ../rc other/alias \
        && ln -s kept folder && ln -s kept/none dangling && ln -s ../outside out && ln -s circle circle";
    assert_eq!(agent.exec(made).await.exit, ExecExit::Code(0));
    std::os::unix::fs::symlink(agent.home.join("kept/deep/rc"), agent.home.join("absolute")).unwrap();
    let put = async |path: &str, headers: &[(&str, &str)], body: &'static [u8]| {
        let (status, headers, body) = told(&agent, Method::PUT, &format!("/v1/files/{path}"), headers, body).await;
        let version = headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        (status.as_u16(), version, serde_json::from_slice::<ErrorBody>(&body).map(|body| body.code).unwrap_or_default())
    };
    let read = async || told(&agent, Method::GET, "/v1/files/other/alias", &[], b"").await;
    let old = read().await.1["etag"].to_str().unwrap().to_owned();
    let (status, new, _) = put("other/alias", &[("if-match", &old)], b"new").await;
    assert_eq!(status, 204);
    let (_, headers, body) = read().await;
    assert_eq!((headers["etag"].to_str().unwrap(), &body[..]), (new.unwrap().as_str(), &b"new"[..]));
    for header in [("if-match", old.as_str()), ("if-none-match", "*")] {
        let (status, _, code) = put("rc", &[header], b"late").await;
        assert_eq!((status, code.as_str()), (409, "changed"), "{header:?}");
    }
    assert_eq!(put("rc", &[], b"newest").await.0, 204);
    let file = agent.home.join("kept/deep/rc");
    assert_eq!(std::fs::read(&file).unwrap(), b"newest");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions()) & 0o777, 0o600);
    assert_eq!(put("folder/new", &[("if-none-match", "*")], b"x").await.0, 201);
    for (path, header, status, code) in [
        ("dangling", None, 409, "dangling-link"),
        ("dangling", Some(("if-none-match", "*")), 409, "changed"),
        ("dangling", Some(("if-match", "*")), 409, "changed"),
        ("folder", None, 409, "is-a-folder"),
        ("out", None, 400, "outside-home"),
        ("circle", None, 400, "outside-home"),
        // A free name is found beside them.
        ("folder", Some(("if-none-match", "*")), 409, "changed"),
        ("out", Some(("if-none-match", "*")), 409, "changed"),
        ("absolute", Some(("if-none-match", "*")), 409, "changed"),
        ("circle", Some(("if-none-match", "*")), 409, "changed"),
    ] {
        let (found, _, said) = put(path, header.as_slice(), b"x").await;
        assert_eq!((found, said.as_str()), (status, code), "{path} {header:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"newest");
    for (link, to) in [
        ("rc", "kept/deep/rc"),
        ("other/alias", "../rc"),
        ("folder", "kept"),
        ("dangling", "kept/none"),
        ("out", "../outside"),
        ("circle", "circle"),
    ] {
        assert_eq!(std::fs::read_link(agent.home.join(link)).unwrap(), std::path::Path::new(to), "{link}");
    }
    assert!(!agent.home.join("kept/none").exists());
    assert_eq!(std::fs::read(agent.folder.path().join("outside")).unwrap(), b"outside");
}

/// An upload that has begun, and no other.
async fn half_an_upload(agent: &Agent, path: &str) -> tokio::net::UnixStream {
    let mut io = agent.io().await;
    let head = format!(
        "PUT /v1/files/{path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer secret token\r\ncontent-length: 100\r\n\r\nnew"
    );
    io.write_all(head.as_bytes()).await.unwrap();
    eventually("the upload began", DEADLINE, async || uploads(agent) == 1).await;
    io
}

fn uploads(agent: &Agent) -> usize {
    std::fs::read_dir(agent.home.join(".fsa/uploads")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn an_upload_that_breaks_off_changes_nothing() {
    let agent = Agent::start();
    ask(&agent, Method::PUT, "/v1/files/a", b"old").await;
    let io = half_an_upload(&agent, "a").await;
    drop(io);
    eventually("nothing is left", DEADLINE, async || uploads(&agent) == 0).await;
    assert_eq!(std::fs::read(agent.home.join("a")).unwrap(), b"old");
}

#[tokio::test]
async fn half_an_upload_is_in_nobodys_folder_and_goes_with_the_agent_that_took_it() {
    let mut agent = Agent::start();
    let _io = half_an_upload(&agent, "repository/new").await;
    assert_eq!(std::fs::read_dir(agent.home.join("repository")).unwrap().count(), 0);
    std::fs::write(agent.home.join(".fsa/uploads/own"), "somebody's").unwrap();
    agent.process.kill().unwrap();
    let agent = Agent::start_in(agent.stop(), &[]);
    assert!(client::health(agent.io().await).await.is_ok());
    assert_eq!(uploads(&agent), 1, "only what somebody else put there stays");
    assert!(agent.home.join(".fsa/uploads/own").exists());
}

#[tokio::test]
async fn what_stands_in_the_place_of_the_folder_of_uploads_keeps_nobody_from_writing() {
    let agent = Agent::start();
    assert!(client::health(agent.io().await).await.is_ok());
    std::fs::write(agent.home.join(".fsa/uploads"), "a file").unwrap();
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/folder/a", b"x").await.0, 201);
    assert_eq!(std::fs::read_dir(agent.home.join("folder")).unwrap().count(), 1);
}

/// Where a rename does not lead: into another file system, and into another mount of the same one. Needs root.
#[tokio::test]
async fn a_file_below_a_mount_is_written() {
    if !rustix::process::geteuid().is_root() {
        return support::skip("root, which alone may mount something");
    }
    let home = tempfile::tempdir().unwrap();
    for folder in ["other", "bound", "source"] {
        std::fs::create_dir(home.path().join(folder)).unwrap();
    }
    let start = "mount -t tmpfs none \"$1/other\" && mount --bind \"$1/source\" \"$1/bound\" && exec \"$0\" --listen 127.0.0.1:0 --home \"$1\"";
    let mut process = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", start, env!("CARGO_BIN_EXE_sandbox-agent")])
        .arg(home.path())
        .env("FSA_AGENT_TOKEN", "t")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stderr.take().unwrap()));
    let Some(address) = lines.next().and_then(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned)) else {
        process.wait().unwrap();
        return support::skip("mounts, which this root may not make");
    };
    let token = "t".to_owned().into();
    let io = async || tokio::net::TcpStream::connect(&address).await.unwrap();
    for (path, status) in [("other/a", 201), ("other/a", 204), ("bound/a", 201), ("bound/a", 204)] {
        let request = Request::put(format!("/v1/files/{path}")).body(Full::new(Bytes::from_static(b"x"))).unwrap();
        assert_eq!(client::request(io().await, &token, request).await.unwrap().status(), status, "{path}");
    }
    for folder in ["other", "bound"] {
        let request = Request::get(format!("/v1/files/{folder}")).body(Full::<Bytes>::default()).unwrap();
        let body = client::request(io().await, &token, request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let listing: Listing = serde_json::from_slice(&body).unwrap();
        assert_eq!(listing.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a"], "{folder}");
    }
    assert_eq!(std::fs::read(home.path().join("source/a")).unwrap(), b"x");
    client::shutdown(io().await, &token, std::time::Duration::from_secs(1)).await.unwrap();
    process.wait().unwrap();
}
