//! Previews: private, streamed, and with nothing of ours inside.

use crate::support::{
    Client, Setup, TestApp, apps,
    client::{hear, say},
};
use axum::{
    Router,
    body::Body,
    routing::{any, get, post},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use model::ProjectId;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

fn boats() -> Router {
    let slow = || async {
        let parts = futures::stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(format!("part {n}\n")), n + 1))
        });
        Body::from_stream(parts)
    };
    let events = |headers: HeaderMap| async move {
        let after: u32 = headers.get("last-event-id").map_or(0, |id| id.to_str().unwrap().parse().unwrap());
        let events = futures::stream::unfold(after + 1, |n| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(format!("id: {n}\ndata: boat\n\n")), n + 1))
        });
        ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")], Body::from_stream(events))
    };
    let breaks = || async {
        let end = futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(std::io::Error::other("died"))
        });
        Body::from_stream(futures::stream::iter([Ok("half")]).chain(end))
    };
    let framed = || async {
        [
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"),
            (header::SET_COOKIE, "fsa_preview=stolen; Domain=localhost"),
        ]
    };
    Router::new()
        .route("/", get(|| async { "Boats for hire" }))
        .route("/headers", any(apps::headers))
        .route("/upload", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/mirror", post(|body: Body| async move { Body::from_stream(body.into_data_stream()) }))
        .route("/slow", get(slow))
        .route("/events", get(events))
        .route("/breaks", get(breaks))
        .route("/framed", get(framed))
        .route("/away", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "http://localhost:3000/next")]) }))
        .route("/echo", any(apps::echo))
}

/// A browser that is let in to a port by a code.
pub async fn enter(app: &TestApp, owner: &Client, project: ProjectId, port: u16) -> (Client, String) {
    let made = owner.post(&format!("/api/projects/{project}/preview"), &json!({ "port": port })).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let code = made.json()["code"].as_str().unwrap().to_owned();
    let host = made.json()["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert_eq!(made.json()["action"], format!("http://{host}/.fsa/enter"));
    let answer = post_code(app, &host, &code, "iframe").await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("location"), "/");
    let cookie = answer.header("set-cookie").to_owned();
    for part in ["HttpOnly", "Secure", "SameSite=None", "Partitioned", "Path=/"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    (app.anonymous().with("host", &host).with("cookie", cookie.split(';').next().unwrap()), code)
}

async fn post_code(app: &TestApp, host: &str, code: &str, dest: &str) -> crate::support::Answer {
    app.anonymous()
        .with("host", host)
        .with("origin", &format!("http://localhost:{}", app.port))
        .with("sec-fetch-dest", dest)
        .with("content-type", "application/x-www-form-urlencoded")
        .ask(Method::POST, "/.fsa/enter", Some(format!("code={code}").into()))
        .await
}

#[tokio::test]
async fn a_code_lets_in_once_and_a_stranger_sees_nothing() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    app.world.listen(5000, boats());
    let (project, name) = app.running(&owner, "Boats").await;
    let host = format!("3000--{name}.localhost:{}", app.port);
    for stranger in [app.anonymous(), owner.clone()] {
        let answer = stranger.with("host", &host).get("/").await;
        assert_eq!(answer.status, 401, "the app's own cookie opens nothing here");
        assert!(
            !answer.text().contains("Boats")
                && answer.text().contains(&format!("http://localhost:{}/open/{name}/3000", app.port))
        );
    }
    // Whether a browser gets here at all: without a body or a type, so that it lets the app's page see that there is an answer.
    let here = app.anonymous().with("host", &host).get("/.fsa/here").await;
    assert_eq!((here.status.as_u16(), here.text()), (204, String::new()));
    for name in ["content-type", "cross-origin-resource-policy", "set-cookie"] {
        assert_eq!(here.header(name), "", "{name}");
    }
    let (visitor, code) = enter(&app, &owner, project, 3000).await;
    assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    assert_eq!(post_code(&app, &host, &code, "iframe").await.status, 401, "a code works once");
    let other_port = visitor.with("host", &host.replace("3000--", "5000--"));
    assert_eq!(other_port.get("/").await.status, 401, "a cookie opens one port");

    let made = owner.post(&format!("/api/projects/{project}/preview"), &json!({ "port": 3000 })).await.json();
    let code = made["code"].as_str().unwrap();
    let foreign = app.anonymous().with("host", &host).with("origin", "http://evil.example");
    assert_eq!(foreign.ask(Method::POST, "/.fsa/enter", Some(format!("code={code}").into())).await.status, 403);
    let wrong_port = post_code(&app, &host.replace("3000--", "5000--"), code, "iframe").await;
    assert_eq!(wrong_port.status, 401, "a code opens one port");
    let tab = post_code(&app, &host, code, "document").await;
    assert!(tab.header("set-cookie").contains("SameSite=Lax") && !tab.header("set-cookie").contains("Partitioned"));
}

#[tokio::test]
async fn a_preview_ends_with_the_token_that_opened_it() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, _) = app.running(&owner, "Tokens").await;
    let now = jiff::Timestamp::now();
    let token = app.accounts.make_token(app.owner, "ci", model::view::Scope::Write, None, now).await.unwrap();
    let program = app.anonymous().with("authorization", &format!("Bearer {}", token.secret));
    let (visitor, _) = enter(&app, &program, project, 3000).await;
    assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    assert!(app.accounts.revoke_token(app.owner, token.token.id, now).await.unwrap());
    crate::support::until("the preview to end with its token", async || visitor.get("/").await.status == 401).await;
    let (by_session, _) = enter(&app, &owner, project, 3000).await;
    assert_eq!(by_session.get("/").await.text(), "Boats for hire");
}

#[tokio::test]
async fn a_preview_ends_with_the_session_that_opened_it() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, _) = app.running(&owner, "Ends").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    assert_eq!(visitor.get("/").await.status, 200);
    owner.ask(Method::POST, "/api/sign-out", None).await;
    crate::support::until("the preview to end", async || visitor.get("/").await.status == 401).await;
}

/// Ends every session by the clock.
async fn expire(app: &TestApp) {
    sqlx::query("UPDATE sessions SET expires_at = now() - interval '1 second'").execute(&app.pool).await.unwrap();
}

#[tokio::test]
async fn a_preview_of_a_session_that_expired_says_how_to_come_back() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, name) = app.running(&owner, "Expires").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    assert_eq!(visitor.get("/").await.status, 200);
    let unused = owner.post(&format!("/api/projects/{project}/preview"), &json!({ "port": 3000 })).await.json();
    expire(&app).await;
    crate::support::until("the preview to end", async || visitor.get("/").await.status == 401).await;
    let page = visitor.get("/").await.text();
    assert!(page.contains("Sign in to see this preview") && page.contains(&format!("/open/{name}/3000")), "{page}");
    assert!(!page.contains("Boats"), "{page}");
    let host = visitor.headers()["host"].to_str().unwrap();
    let late = post_code(&app, host, unused["code"].as_str().unwrap(), "iframe").await;
    assert_eq!(late.status, 401, "a code that the session asked for opens nothing either");
    assert_eq!(owner.get("/api/me").await.status, 401);
    let again = app.signed_in().await;
    let (visitor, _) = enter(&app, &again, project, 3000).await;
    assert_eq!(visitor.get("/").await.text(), "Boats for hire");
}

#[tokio::test]
async fn what_is_open_ends_with_the_session_within_a_second() {
    let Some(app) = TestApp::start().await else { return };
    app.world.listen(3000, boats());
    for how in ["expired", "signed out", "everywhere", "stopped"] {
        let owner = app.signed_in().await;
        let (project, name) = app.running(&owner, "Open").await;
        let (visitor, _) = enter(&app, &owner, project, 3000).await;
        let own = format!("http://3000--{name}.localhost:{}", app.port);
        let mut socket = visitor.with("origin", &own).socket("/echo", "").await.unwrap();
        say(&mut socket, "ahoy").await;
        assert_eq!(hear(&mut socket).await.unwrap(), "ahoy");
        let mut stream = visitor.open(Method::GET, "/slow", None).await.into_body();
        // An upload that never ends, and so is never answered.
        let upload = tokio::spawn(endless_upload(app.port, visitor.clone()));
        // Longer than a credential that nothing holds is remembered.
        for _ in 0..20 {
            assert!(stream.frame().await.unwrap().is_ok(), "open while signed in");
        }
        assert!(!upload.is_finished());

        let begin = Instant::now();
        match how {
            "expired" => expire(&app).await,
            "signed out" => drop(owner.ask(Method::POST, "/api/sign-out", None).await),
            "everywhere" => drop(owner.post("/api/sign-out", &json!({ "everywhere": true })).await),
            _ => app.stop(),
        }
        let broken =
            tokio::time::timeout(Duration::from_secs(5), async { while stream.frame().await.is_some_and(|f| f.is_ok()) {} });
        broken.await.expect("the stream ends");
        assert_eq!(hear(&mut socket).await, Err(1006), "{how}");
        tokio::time::timeout(Duration::from_secs(5), upload).await.expect("the upload ends").unwrap();
        assert!(begin.elapsed() < Duration::from_millis(1500), "{how}: it took {:?}", begin.elapsed());
    }
}

/// Sends a byte now and then until the other end has enough.
async fn endless_upload(port: u16, visitor: Client) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let header = |name: &str| visitor.headers()[name].to_str().unwrap().to_owned();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nContent-Length: 1000000\r\n\r\n",
        header("host"),
        header("cookie")
    );
    write.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    loop {
        tokio::select! {
            _ = read.read(&mut answer) => return,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        if write.write_all(b"x").await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_finished_answer_is_whole_and_short_requests_ask_no_more_than_before() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, _) = app.running(&owner, "Whole").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    for _ in 0..50 {
        let answer = visitor.get("/").await;
        assert_eq!((answer.text().as_str(), answer.header("content-length")), ("Boats for hire", "14"));
    }
    assert_eq!(visitor.ask(Method::HEAD, "/", None).await.status, 200);
}

#[tokio::test]
async fn the_app_inside_sees_itself_and_nothing_of_ours() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, name) = app.running(&owner, "Sees").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    let seen = visitor.with("x-own", "kept").with("authorization", "Bearer fsa_secret").get("/headers?a=b").await.json();
    assert_eq!(seen["host"], "localhost:3000");
    assert_eq!(seen["x-forwarded-host"], format!("3000--{name}.localhost:{}", app.port));
    assert_eq!((seen["x-forwarded-proto"].as_str(), seen["x-forwarded-for"].as_str()), (Some("http"), Some("127.0.0.1")));
    assert_eq!(seen["x-own"], "kept");
    assert!(seen.get("cookie").is_none() && seen.get("authorization").is_none(), "{seen}");

    let framed = visitor.get("/framed").await;
    assert_eq!((framed.header("x-frame-options"), framed.header("set-cookie")), ("", ""));
    let policies: Vec<_> =
        framed.headers.get_all("content-security-policy").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(policies, ["default-src 'self'", &format!("frame-ancestors 'self' http://localhost:{}", app.port)]);
    let away = visitor.get("/away").await;
    assert_eq!(away.header("location"), format!("http://3000--{name}.localhost:{}/next", app.port));
}

#[tokio::test]
async fn server_sent_events_come_one_by_one_and_go_on_where_the_browser_was() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, _) = app.running(&owner, "Events").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    let browser = visitor.with("accept", "text/event-stream").with("accept-encoding", "gzip, deflate, br, zstd");
    for (browser, first) in [(browser.clone(), 1), (browser.with("last-event-id", "41"), 42)] {
        let answer = browser.open(Method::GET, "/events", None).await;
        let of = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(
            (of("content-type").as_deref(), of("cache-control").as_deref()),
            (Some("text/event-stream"), Some("no-cache"))
        );
        assert_eq!(of("content-encoding"), None, "what is compressed waits for more");
        let mut body = answer.into_body();
        for n in first..first + 3 {
            let event = timeout(Duration::from_secs(10), body.frame()).await.expect("an event in time");
            assert_eq!(event.unwrap().unwrap().into_data().unwrap(), format!("id: {n}\ndata: boat\n\n"));
        }
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_and_a_broken_one_breaks() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, _) = app.running(&owner, "Streams").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    let mut slow = visitor.open(Method::GET, "/slow", None).await.into_body();
    for n in 0..3 {
        let part = slow.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(part, format!("part {n}\n"), "as it comes, from a body without an end");
    }
    let large = vec![b'x'; 1 << 20];
    assert_eq!(visitor.ask(Method::POST, "/upload", Some(large.into())).await.text(), (1 << 20).to_string());
    let broken = visitor.open(Method::GET, "/breaks", None).await;
    assert_eq!(broken.status(), 200);
    assert!(broken.into_body().collect().await.is_err(), "what broke off does not look whole");
}

/// No step of a stream takes as long, however busy the machine is.
const STEP: Duration = Duration::from_secs(20);
/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;
/// Many times what all sockets on the way hold.
const MOST: usize = 256;

#[tokio::test]
async fn an_upload_and_its_answer_stream_at_the_same_time() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, _) = app.running(&owner, "Both").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    let (upload, pieces) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    upload.send(Ok(Frame::data(Bytes::from("part 0")))).await.unwrap();
    let answer = timeout(STEP, visitor.stream(Method::POST, "/mirror", ReceiverStream::new(pieces))).await;
    let answer = answer.expect("the answer begins before the upload ends");
    assert_eq!(answer.status(), 200);
    let mut download = answer.into_body();
    // Each comes back before the next is sent.
    for n in 0..20 {
        let frame = timeout(STEP, download.frame()).await.expect("it comes back meanwhile").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("part {n}"));
        upload.send(Ok(Frame::data(Bytes::from(format!("part {}", n + 1))))).await.unwrap();
    }
    let last = timeout(STEP, download.frame()).await.expect("the last, too").unwrap().unwrap();
    assert_eq!(last.into_data().unwrap(), "part 20");

    // Nobody reads: the upload is held up, and not kept in memory. The sockets hold some of it.
    let mut sent = 0;
    let piece = |n: usize| Bytes::from(vec![u8::try_from(n % 251).unwrap(); PIECE]);
    while sent < MOST && timeout(Duration::from_secs(1), upload.send(Ok(Frame::data(piece(sent))))).await.is_ok() {
        sent += 1;
    }
    assert!(sent > 0 && sent < MOST, "{sent} pieces of {PIECE} bytes were taken from an upload whose answer nobody reads");
    // And goes on once somebody does; all of it comes, in order.
    let rest = tokio::spawn(async move { download.collect().await.map(http_body_util::Collected::to_bytes) });
    timeout(STEP, upload.send(Ok(Frame::data(piece(sent))))).await.expect("the upload goes on").unwrap();
    drop(upload);
    let rest = timeout(STEP, rest).await.expect("the answer ends with the upload").unwrap().unwrap();
    assert_eq!(rest.len(), (sent + 1) * PIECE);
    assert!(rest.chunks(PIECE).enumerate().all(|(n, part)| part == &piece(n)[..]), "in order");
}

#[tokio::test]
async fn a_websocket_comes_from_the_preview_itself() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, name) = app.running(&owner, "Sockets").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    let own = format!("http://3000--{name}.localhost:{}", app.port);
    let mut socket = visitor.with("origin", &own).socket("/echo", "").await.unwrap();
    say(&mut socket, "ahoy").await;
    assert_eq!(hear(&mut socket).await.unwrap(), "ahoy");
    for origin in [&format!("http://localhost:{}", app.port), "http://evil.example", "null"] {
        assert_eq!(visitor.with("origin", origin).socket("/echo", "").await.err(), Some(StatusCode::FORBIDDEN), "{origin}");
    }
    assert_eq!(visitor.socket("/echo", "").await.err(), Some(StatusCode::FORBIDDEN));
    let stranger = visitor.without("cookie").with("origin", &own);
    assert_eq!(stranger.socket("/echo", "").await.err(), Some(StatusCode::UNAUTHORIZED));
}

/// Previews below one domain are of one site: a browser sends the cookie of a tab along with what another one's page asks.
#[tokio::test]
async fn a_page_of_another_sandbox_asks_in_vain() {
    let Some(app) = TestApp::start_as(Setup { ingress: Some("apps.example"), ..Setup::default() }).await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, name) = app.running(&owner, "Boats").await;
    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    let page = |label: &str| format!("http://{label}.localhost:{}", app.port);
    let (others, sibling) = (page("3000--reef-agentruntime-abc123"), page(&format!("5000--{name}")));
    let same_site = visitor.with("sec-fetch-site", "same-site");
    let no_page = same_site.with("sec-fetch-mode", "no-cors");
    let link = same_site.with("sec-fetch-mode", "navigate");
    let at_ingress = |label: &str| format!("http://{label}.apps.example");
    for (what, asks) in [
        ("by its origin", visitor.with("origin", &others)),
        ("by its Ingress", visitor.with("origin", &at_ingress("reef-agentruntime-abc123"))),
        ("by its terminal's", no_page.with("referer", &at_ingress("reef-agentruntime-abc123-terminal"))),
        ("a script", no_page.with("referer", &format!("{others}/"))),
        ("a script that tells nothing", no_page.clone()),
        ("a form that tells nothing", link.with("origin", "null")),
        ("a script in a browser that says less", visitor.with("referer", &format!("{others}/"))),
        ("a form in a browser that says less", visitor.with("referer", &others).with("accept", "text/html,*/*;q=0.8")),
    ] {
        let refused = asks.ask(Method::POST, "/upload", Some("x".into())).await;
        assert_eq!(refused.status, 403, "{what}: {}", refused.text());
        assert!(refused.text().contains("A foreign page asked"), "{what}");
    }
    let picture = visitor.with("accept", "image/avif,image/webp,*/*;q=0.8").with("referer", &others);
    for asks in [visitor.with("origin", &others), no_page.with("referer", &others), no_page.clone(), picture] {
        assert_eq!(asks.get("/").await.status, 403);
    }
    let workspace = format!("http://localhost:{}/", app.port);
    for (what, asks) in [
        ("a link", link.with("referer", &others)),
        ("the frame of the workspace", link.with("sec-fetch-dest", "iframe").with("referer", &workspace)),
        ("another port of it", visitor.with("origin", &sibling).with("sec-fetch-site", "same-site")),
        ("a picture of another port", no_page.with("referer", &sibling)),
        ("a picture at its own Ingress", no_page.with("referer", &at_ingress(&name))),
        ("its own page", visitor.with("origin", &page(&format!("3000--{name}"))).with("sec-fetch-site", "same-origin")),
        ("no page", visitor.clone()),
        ("a link in a browser that says less", visitor.with("accept", "text/html,*/*;q=0.8").with("referer", &others)),
        ("another port, in a browser that says less", visitor.with("accept", "image/png").with("referer", &sibling)),
        ("the workspace, in a browser that says less", visitor.with("accept", "image/png").with("referer", &workspace)),
    ] {
        assert_eq!(asks.get("/").await.text(), "Boats for hire", "{what}");
    }
}

#[tokio::test]
async fn what_cannot_be_shown_is_said() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.listen(3000, boats());
    let (project, name) = app.running(&owner, "Says").await;
    let port = app.port;
    for (label, status) in [
        (format!("7681--{name}"), 403),
        (format!("7682--{name}"), 403),
        (format!("5432--{name}"), 403),
        (format!("0--{name}"), 404),
        (format!("65536--{name}"), 404),
        (format!("99999--{name}"), 404),
        (format!("abc--{name}"), 404),
        ("3000--nobody".to_owned(), 404),
        ("www".to_owned(), 404),
        ("3000--nobody-agentruntime-abc123".to_owned(), 401),
    ] {
        let answer = app.anonymous().with("host", &format!("{label}.localhost:{port}")).get("/").await;
        assert_eq!(answer.status.as_u16(), status, "{label}");
        assert!(answer.text().contains("<h1>"), "{label}");
    }
    for (asked, code) in
        [(json!(0), "not-a-port"), (json!(65_536), "not-a-port"), (json!(7681), "port-reserved"), (json!("x"), "wrong-form")]
    {
        assert_eq!(owner.post(&format!("/api/projects/{project}/preview"), &json!({ "port": asked })).await.code(), code);
    }

    let (visitor, _) = enter(&app, &owner, project, 3000).await;
    assert_eq!(visitor.get("/.fsa/status").await.json(), json!({ "listening": true, "shown": null }));
    app.world.close(3000);
    let nobody = visitor.get("/").await;
    assert_eq!(nobody.status, 502);
    assert!(
        nobody.text().contains("Nothing listens on port 3000") && nobody.text().contains("/.fsa/status"),
        "it loads by itself"
    );
    // By the title the page sees that it is still true.
    let shown = async |page: &crate::support::Answer| {
        let status = visitor.get("/.fsa/status").await.json();
        assert_eq!(status["listening"], false);
        assert!(page.text().contains(&format!("<title>{}</title>", status["shown"].as_str().unwrap())), "{status}");
    };
    shown(&nobody).await;
    owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await;
    app.reaches(&owner, project, "Stopped").await;
    let stopped = visitor.get("/").await;
    assert_eq!(stopped.status, 503);
    assert!(stopped.text().contains("not running"));
    shown(&stopped).await;
    assert_eq!(visitor.get("/.fsa/nothing").await.status, 404);
    // And who may not look any more is told so by it.
    owner.ask(Method::POST, "/api/sign-out", None).await;
    crate::support::until("the page to be told", async || visitor.get("/.fsa/status").await.status == 401).await;
}

#[tokio::test]
async fn the_way_in_for_a_tab_is_the_owners() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Tab").await;
    for path in [format!("/open/{name}/3000"), format!("/open/{project}/3000")] {
        let page = owner.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.text().contains(&format!("/api/projects/{project}/preview")));
        let nobody = app.anonymous().get(&path).await;
        assert_eq!(nobody.status, 401);
        let next = path.replace('/', "%2F").replace('-', "%2D");
        assert!(nobody.text().contains(&format!("/sign-in?next={next}\"")), "signing in leads back: {}", nobody.text());
        assert_eq!(app.somebody_else().await.get(&path).await.status, 404);
    }
    assert_eq!(owner.get(&format!("/open/{name}/7681")).await.status, 403);
    assert_eq!(owner.get(&format!("/open/{name}/x")).await.status, 400);
}
