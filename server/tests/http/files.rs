//! Files by REST, to the disk of a real agent and back.

use crate::support::{Answer, Client, TestApp, agent::RealAgent, resident_bytes, until};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use model::view::Scope;
use serde_json::json;
use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, sync::Arc};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

struct Files {
    app: TestApp,
    agent: Arc<RealAgent>,
    owner: Client,
    at: String,
}

impl Files {
    async fn start(flags: &[&str]) -> Option<Self> {
        let app = TestApp::start().await?;
        let agent = Arc::new(RealAgent::start(flags));
        app.world.files_of(agent.clone());
        let owner = app.signed_in().await;
        let (project, _) = app.running(&owner, "Files").await;
        Some(Self { app, agent, owner, at: format!("/api/sandbox/{project}/files") })
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.owner.ask(method, &format!("{}{path}", self.at), Some(body.into())).await
    }

    async fn put(&self, path: &str, body: &'static str) -> Answer {
        self.ask(Method::PUT, path, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "").await
    }

    /// How many are under way.
    fn uploads(&self) -> usize {
        std::fs::read_dir(self.agent.home.join(".fsa/uploads")).map_or(0, Iterator::count)
    }
}

#[tokio::test]
async fn a_file_is_written_listed_renamed_and_deleted() {
    let Some(files) = Files::start(&[]).await else { return };
    let made = files.put("/src/main.rs", "fn main() {}").await;
    assert_eq!(made.status, 201);
    assert_eq!(files.ask(Method::PUT, "/empty?mkdir=1", "").await.status, 201);
    let read = files.get("/src/main.rs").await;
    assert_eq!((read.status.as_u16(), read.text().as_str()), (200, "fn main() {}"));
    assert_eq!(read.header("etag"), made.header("etag"));
    assert_eq!(read.header("content-length"), "12");
    assert!(read.header("last-modified").ends_with(" GMT"), "{}", read.header("last-modified"));
    let home = files.get("").await.json();
    assert_eq!(home["home"], files.agent.home.to_str().unwrap());
    let src = home["entries"].as_array().unwrap().iter().find(|entry| entry["name"] == "src").unwrap();
    assert_eq!((home["path"].as_str().unwrap(), src["kind"].as_str().unwrap()), ("", "directory"));
    let listed = files.get("/src").await.json();
    let entry = &listed["entries"][0];
    assert_eq!(
        (entry["name"].as_str(), entry["size"].as_u64(), entry["mode"].as_str()),
        (Some("main.rs"), Some(12), Some("0644"))
    );
    assert!(entry["modifiedAt"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{entry}");

    let known = files.owner.with("if-none-match", made.header("etag")).get(&format!("{}/src/main.rs", files.at)).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let part = files.owner.with("range", "bytes=3-6").get(&format!("{}/src/main.rs", files.at)).await;
    assert_eq!((part.status.as_u16(), part.text().as_str(), part.header("content-range")), (206, "main", "bytes 3-6/12"));
    let head = files.ask(Method::HEAD, "/src/main.rs", "").await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, "12", 0));
    let behind = files.owner.with("range", "bytes=12-").get(&format!("{}/src/main.rs", files.at)).await;
    assert_eq!((behind.status.as_u16(), behind.code().as_str()), (416, "no-such-range"));

    assert_eq!(files.ask(Method::POST, "/src/main.rs?to=src/lib.rs", "").await.status, 204);
    assert_eq!(files.get("/src/main.rs").await.code(), "not-found");
    assert_eq!(files.ask(Method::POST, "/src/lib.rs?to=empty", "").await.code(), "exists");
    assert_eq!(files.ask(Method::DELETE, "/src", "").await.code(), "not-empty");
    assert_eq!(files.ask(Method::DELETE, "/src?recursive=1", "").await.status, 204);
    assert_eq!(files.ask(Method::DELETE, "/empty", "").await.status, 204);
    let left = files.get("").await.json();
    // It is told what was done, by whom, and that nothing was where it was refused.
    let told = files.owner.get(&files.at.replace("/sandbox/", "/projects/").replace("/files", "/activity?kind=ask")).await.json();
    let told: Vec<_> =
        told["activity"].as_array().unwrap().iter().map(|one| (one["title"].as_str(), one["times"].as_i64())).collect();
    let named = [("Deleted files", 2), ("Renamed files", 1), ("Wrote files", 2), ("Made the project", 1)];
    assert_eq!(told, named.map(|(title, times)| (Some(title), Some(times))));
    // The agent's own lock.
    assert!(left["entries"].as_array().unwrap().iter().all(|entry| entry["name"] == ".fsa"), "{left}");
    assert_eq!(files.ask(Method::PUT, "/x?mkdri=1", "").await.code(), "bad-query");
}

#[tokio::test]
async fn a_folder_with_twenty_thousand_names_is_listed_whole_and_in_pages() {
    let Some(files) = Files::start(&[]).await else { return };
    // On another thread than the server's, which would seem slow.
    let fill = |folder: &str, names: Vec<OsString>| {
        let folder = files.agent.home.join(folder);
        tokio::task::spawn_blocking(move || {
            std::fs::create_dir(&folder).unwrap();
            for name in names {
                std::fs::File::create(folder.join(name)).unwrap();
            }
        })
    };
    let odd = OsString::from_vec(b"00007 \xff".to_vec());
    let many = (0..20_000).map(|n| OsString::from(format!("{n:05} é&+%.txt")));
    fill("many", many.chain([odd]).collect()).await.unwrap();
    let whole = files.get("/many").await;
    assert_eq!((whole.status.as_u16(), whole.header("link")), (200, ""));
    let whole = whole.json()["entries"].as_array().unwrap().clone();
    assert_eq!(whole.len(), 20_001);

    let (mut seen, mut at) = (Vec::new(), format!("{}/many?limit=3000", files.at));
    let mut pages = 0;
    loop {
        let page = files.owner.get(&at).await;
        assert_eq!(page.status, 200, "{at}: {}", page.text());
        seen.extend(page.json()["entries"].as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page.header("link").strip_prefix('<') else { break };
        at = next.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(pages, 7);
    assert!(seen == whole, "each once and in order, whatever is in its name");
    for (query, code) in
        [("limit=0", "bad-limit"), ("limit=5001", "bad-limit"), ("limit=x", "bad-limit"), ("page=2", "bad-query")]
    {
        let refused = files.get(&format!("/many?{query}")).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, code), "{query}");
    }

    // Names of which JSON makes six times as much: more than one answer holds.
    let long = (0..12_000).map(|n| OsString::from(format!("{n:05}{}", "\u{1}".repeat(250))));
    fill("long", long.collect()).await.unwrap();
    let refused = files.get("/long").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (413, "folder-too-large"));
    assert!(refused.json()["details"]["nextSteps"][0].as_str().unwrap().contains("?limit=1000"), "{}", refused.text());
    let page = files.get("/long?limit=1000").await;
    assert_eq!((page.status.as_u16(), page.json()["entries"].as_array().unwrap().len()), (200, 1000));
    assert!(page.header("link").contains("limit=1000&after=00999"), "{}", page.header("link"));
}

#[tokio::test]
async fn a_file_and_a_folder_are_moved_and_nothing_is_written_over() {
    let Some(files) = Files::start(&[]).await else { return };
    files.put("/notes.md", "mine").await;
    files.put("/docs/notes.md", "theirs").await;
    files.put("/src/main.rs", "fn main() {}").await;
    let read = files.get("/notes.md").await;
    for (from, to, status, code) in [
        ("notes.md", "docs/notes.md", 409, "exists"),
        ("src", "docs", 409, "exists"),
        ("src", "src/inner", 400, "into-itself"),
        ("notes.md", "none/notes.md", 404, "not-found"),
        ("none", "docs/none", 404, "not-found"),
    ] {
        let refused = files.ask(Method::POST, &format!("/{from}?to={to}"), "").await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (status, code), "{from} to {to}");
    }
    let taken = files.ask(Method::POST, "/notes.md?to=docs/notes.md", "").await.json();
    assert_eq!(taken["details"]["message"], "docs/notes.md exists already.");
    assert_eq!((files.get("/notes.md").await.text(), files.get("/docs/notes.md").await.text()), ("mine".into(), "theirs".into()));
    assert_eq!(files.ask(Method::POST, "/notes.md", "").await.status, 400, "without a place");

    let path = |to: &str| format!("{}/notes.md?to={to}", files.at);
    let other = files.owner.with("if-match", "\"another\"").ask(Method::POST, &path("src/notes.md"), Some("".into())).await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (409, "changed"));
    let meant = files.owner.with("if-match", read.header("etag")).ask(Method::POST, &path("src/notes.md"), Some("".into())).await;
    assert_eq!(meant.status, 204);
    assert_eq!(files.get("/src/notes.md").await.header("etag"), meant.header("etag"));
    assert_eq!(files.ask(Method::POST, "/src?to=docs/src", "").await.status, 204);
    assert_eq!(files.get("/docs/src/main.rs").await.text(), "fn main() {}");
    assert_eq!(files.get("/src").await.status, 404);
}

#[tokio::test]
async fn a_browser_shows_no_file_as_a_page_of_ours() {
    let Some(files) = Files::start(&[]).await else { return };
    let page = "<script>fetch('/api/tokens', {method: 'POST'})</script>";
    let typed = files.owner.with("content-type", "text/html");
    typed.ask(Method::PUT, &format!("{}/page.html", files.at), Some(page.into())).await;
    let read = files.get("/page.html").await;
    assert_eq!(read.text(), page);
    assert_eq!((read.header("content-type"), read.header("x-content-type-options")), ("application/octet-stream", "nosniff"));
    assert!(read.header("content-disposition").starts_with("attachment; "), "{}", read.header("content-disposition"));
    assert!(read.header("content-security-policy").starts_with("sandbox; default-src 'none'"));
    assert_eq!(read.header("cache-control"), "private, no-cache");
}

#[tokio::test]
async fn of_two_who_edit_the_second_sees_both_versions() {
    let Some(files) = Files::start(&[]).await else { return };
    let path = format!("{}/notes.md", files.at);
    let first = files.put("/notes.md", "first").await;
    let first = first.header("etag");
    let mine = files.owner.with("if-match", first).ask(Method::PUT, &path, Some("mine".into())).await;
    assert_eq!(mine.status, 204);
    let theirs = files.owner.with("if-match", first).ask(Method::PUT, &path, Some("theirs".into())).await;
    assert_eq!((theirs.status.as_u16(), theirs.code().as_str()), (409, "changed"));
    assert_eq!(theirs.json()["details"]["versions"], json!({ "expected": first, "current": mine.header("etag") }));
    assert_eq!(theirs.header("etag"), mine.header("etag"));
    let new = files.owner.with("if-none-match", "*").ask(Method::PUT, &path, Some("new".into())).await;
    assert_eq!((new.status.as_u16(), new.code().as_str()), (409, "changed"));
    assert_eq!(files.get("/notes.md").await.text(), "mine");
    let odd = files.owner.with("if-match", "first").ask(Method::PUT, &path, Some("x".into())).await;
    assert_eq!(odd.code(), "bad-etag");
}

#[tokio::test]
async fn nothing_leads_out_of_the_home_folder() {
    let Some(files) = Files::start(&[]).await else { return };
    let outside = files.agent.home.parent().unwrap().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(&outside, files.agent.home.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", files.agent.home.join("passwd")).unwrap();
    for path in ["/../outside/secret", "/%2e%2e/outside/secret", "/a/..%2f..%2foutside/secret", "/link/secret", "/passwd", "/%00"]
    {
        let read = files.get(path).await;
        assert_eq!((read.status.as_u16(), read.code().as_str()), (400, "outside-home"), "{path}");
    }
    // A name of our own machine is one below the home folder.
    assert_eq!(files.get("/etc/passwd").await.status, 404);
    assert_eq!(files.get("//etc/passwd").await.status, 404);
    for (method, path) in [
        (Method::PUT, "/link/new"),
        (Method::PUT, "/link/new?mkdir=1"),
        (Method::DELETE, "/link/secret"),
        (Method::POST, "/link/secret?to=stolen"),
    ] {
        assert_eq!(files.ask(method.clone(), path, "x").await.code(), "outside-home", "{method} {path}");
    }
    std::fs::write(files.agent.home.join("mine"), "mine").unwrap();
    assert_eq!(files.ask(Method::POST, "/mine?to=..%2foutside%2fstolen", "").await.code(), "outside-home");
    let there: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["secret"]);
}

#[tokio::test]
async fn a_name_may_be_any_bytes_and_is_told_so_that_it_can_be_asked_for() {
    let Some(files) = Files::start(&[]).await else { return };
    for name in ["two%0alines", "%ff%fe", "%22quoted%22", "gr%C3%BC%C3%9Fe.txt", "..."] {
        assert_eq!(files.put(&format!("/odd/{name}"), "x").await.status, 201, "{name}");
    }
    let listed = files.get("/odd").await.json();
    for entry in listed["entries"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
        let read = files.get(&format!("/odd/{}", entry["raw"].as_str().unwrap_or(&encoded))).await;
        assert_eq!((read.status.as_u16(), read.text().as_str()), (200, "x"), "{name:?}");
        assert!(!read.header("content-disposition").contains(['\n', '\r']), "{name:?}");
    }
    assert_eq!(listed["entries"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn what_is_no_text_comes_back_byte_for_byte() {
    let Some(files) = Files::start(&[]).await else { return };
    // Every byte, what begins pictures and archives, and what is no UTF-8 at its end.
    let all: Vec<u8> = b"\x89PNG\r\n\x1a\n\x1f\x8b".iter().copied().chain(0..=255).chain([0xc3]).collect();
    let put = files.ask(Method::PUT, "/picture.png", all.clone()).await;
    assert_eq!(put.status, 201);
    assert_eq!(std::fs::read(files.agent.home.join("picture.png")).unwrap(), all);
    let read = files.get("/picture.png").await;
    assert_eq!((&read.body[..], read.header("etag")), (&all[..], put.header("etag")));
    let part = files.owner.with("range", "bytes=100-199").get(&format!("{}/picture.png", files.at)).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &all[100..200]));
    // Also whoever would take compressed answers.
    let packed = files.owner.with("accept-encoding", "gzip, br, zstd").get(&format!("{}/picture.png", files.at)).await;
    assert_eq!((packed.header("content-encoding"), &packed.body[..]), ("", &all[..]));
}

#[tokio::test]
async fn a_gigabyte_goes_in_and_out_through_little_memory() {
    const PIECE: usize = 1 << 20;
    let Some(files) = Files::start(&[]).await else { return };
    let pieces = if std::env::var_os("FSA_LONG").is_some() { 4096 } else { 1024 };
    let before = resident_bytes();
    let piece = Bytes::from(vec![7; PIECE]);
    let put = files.owner.pour(Method::PUT, &format!("{}/big", files.at), piece, pieces).await;
    assert_eq!(put.status(), 201);
    assert_eq!(std::fs::metadata(files.agent.home.join("big")).unwrap().len(), (PIECE * pieces) as u64);

    let answer = files.owner.open(Method::GET, &format!("{}/big", files.at), None).await;
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().all(|byte| *byte == 7));
        read += data.len();
    }
    assert_eq!(read, PIECE * pieces);
    // Client and server are this process. Sixty megabytes are as much as the tests beside this one take.
    let grown = resident_bytes().saturating_sub(before) / (1 << 20);
    assert!(grown < 200, "this process grew by {grown} MB");
    assert!(files.agent.peak_bytes() < 64 << 20, "the agent had {} bytes", files.agent.peak_bytes());
}

#[tokio::test]
async fn an_upload_that_breaks_off_changes_nothing() {
    let Some(files) = Files::start(&[]).await else { return };
    files.put("/a", "old").await;
    let mut stream = TcpStream::connect(("127.0.0.1", files.app.port)).await.unwrap();
    let mut head = format!("PUT {}/a HTTP/1.1\r\ncontent-length: 1000\r\n", files.at);
    for (name, value) in files.owner.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    stream.write_all(format!("{head}\r\nnew").as_bytes()).await.unwrap();
    until("the upload to begin", async || files.uploads() == 1).await;
    drop(stream);
    until("nothing to be left of it", async || files.uploads() == 0).await;
    assert_eq!(files.get("/a").await.text(), "old");
}

#[tokio::test]
async fn an_upload_ends_with_the_token_that_sends_it() {
    let Some(files) = Files::start(&[]).await else { return };
    let now = jiff::Timestamp::now();
    let token = files.app.accounts.make_token(files.app.owner, "ci", Scope::Write, None, now).await.unwrap();
    let program = files.app.anonymous().with("authorization", &format!("Bearer {}", token.secret));
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let mut request = Request::put(format!("{}/a", files.at)).body(body).unwrap();
    request.headers_mut().extend(program.headers().clone());
    let stream = TcpStream::connect(("127.0.0.1", files.app.port)).await.unwrap();
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send(Ok(Frame::data("new".into()))).await.unwrap();
    let answer = tokio::spawn(async move { send.send_request(request).await.map(|answer| answer.status()) });
    until("the upload to begin", async || files.uploads() == 1).await;
    assert!(files.app.accounts.revoke_token(files.app.owner, token.token.id, now).await.unwrap());
    assert_eq!(answer.await.unwrap().unwrap(), 401);
    until("nothing to be left of it", async || files.uploads() == 0).await;
    assert!(!files.agent.home.join("a").exists());
}

#[tokio::test]
async fn a_full_disk_is_said_and_something_can_be_deleted() {
    let Some(files) = Files::start(&["--disk-limit-bytes", "1000000", "--disk-every-ms", "50"]).await else { return };
    // Not by an upload, which might be seen half way.
    std::fs::write(files.agent.home.join("big"), vec![0; 2_000_000]).unwrap();
    until("the agent to see it", async || files.put("/more", "x").await.status == 507).await;
    let refused = files.ask(Method::PUT, "/more", vec![0; 9_000_000]).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (507, "disk-full"));
    assert_eq!(files.get("/big").await.body.len(), 2_000_000);
    assert_eq!(files.ask(Method::DELETE, "/big", "").await.status, 204);
    until("there to be room again", async || files.put("/more", "x").await.status.is_success()).await;
}

#[tokio::test]
async fn who_may_only_look_does_not_read_what_terminals_showed() {
    let Some(files) = Files::start(&[]).await else { return };
    let sessions = files.agent.home.join(".fsa/sessions");
    std::fs::create_dir_all(&sessions).unwrap();
    std::fs::write(sessions.join("main.log"), "hunter2").unwrap();
    std::os::unix::fs::symlink(".fsa/sessions/main.log", files.agent.home.join("link")).unwrap();
    let reader = files.app.token(Scope::Read).await;
    for path in [
        "/.fsa",
        "/.fsa/sessions?limit=5",
        "/.fsa/sessions/main.log",
        "/%2efsa/sessions/main.log",
        "//.fsa/sessions/main.log",
        "/link",
    ] {
        let answer = reader.get(&format!("{}{path}", files.at)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "state-folder"), "{path}: {}", answer.text());
        assert!(!answer.text().contains("hunter2") && answer.text().contains("scope `write`"), "{path}: {}", answer.text());
    }
    assert_eq!(reader.get(&format!("{}/link?without-state=0", files.at)).await.code(), "bad-query");
    assert_eq!(reader.get(&files.at).await.status, 200);
    let writer = files.app.token(Scope::Write).await;
    assert_eq!(writer.get(&format!("{}/.fsa/sessions/main.log", files.at)).await.text(), "hunter2");
    assert_eq!(writer.get(&format!("{}/link", files.at)).await.text(), "hunter2");
}

#[tokio::test]
async fn who_may_only_look_looks_and_a_sandbox_that_is_stopped_says_so() {
    let Some(files) = Files::start(&[]).await else { return };
    files.put("/a", "x").await;
    let reader = files.app.token(Scope::Read).await;
    let path = format!("{}/a", files.at);
    assert_eq!(reader.get(&path).await.text(), "x");
    for (method, path) in [(Method::PUT, path.clone()), (Method::DELETE, path.clone()), (Method::POST, format!("{path}?to=b"))] {
        assert_eq!(reader.ask(method, &path, Some("y".into())).await.code(), "read-only");
    }
    let stranger = files.app.somebody_else().await;
    assert_eq!(stranger.get(&path).await.status, 404);
    assert_eq!(stranger.ask(Method::DELETE, &path, None).await.status, 404);
    assert_eq!(files.get("/a").await.text(), "x");
    let project = path.split('/').nth(3).unwrap().to_owned();
    files.owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await;
    files.app.reaches(&files.owner, project.parse().unwrap(), "Stopped").await;
    assert_eq!(files.get("/a").await.code(), "not-running");
}
