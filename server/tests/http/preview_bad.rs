//! Apps that behave badly, and visitors that do, behind previews.

use crate::{
    preview::enter,
    support::{Client, TestApp, resident_bytes},
};
use axum::{
    Json, Router,
    body::Body,
    http::HeaderMap,
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// More than 32 bits of bytes are near.
const LARGE: u64 = 2 << 30;
const CHUNK: usize = 1 << 20;

/// How many bytes an app got, and what this process had in memory at most meanwhile.
#[derive(Serialize, Deserialize)]
struct Sunk {
    got: u64,
    most: u64,
}

fn app() -> Router {
    let large = || async {
        let chunk = Bytes::from(vec![b'x'; CHUNK]);
        let parts = futures::stream::iter((0..LARGE / CHUNK as u64).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
        ([("content-length", LARGE.to_string())], Body::from_stream(parts))
    };
    let late = || async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        "late"
    };
    let bomb = || async {
        let name = |n: usize| format!("x-bomb-{n}").parse::<HeaderName>().unwrap();
        let headers: HeaderMap = (0..2000).map(|n| (name(n), HeaderValue::from_static("boom"))).collect();
        (headers, "bang")
    };
    let heavy = || async { ([("x-heavy", "h".repeat(3 << 20))], "bang") };
    let odd = || async {
        let value = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        ([("x-odd", value.clone()), ("set-cookie", value)], "odd")
    };
    let sink = |mut body: Body| async move {
        let mut sunk = Sunk { got: 0, most: 0 };
        while let Some(Ok(frame)) = body.frame().await {
            sunk.got += frame.data_ref().map_or(0, Bytes::len) as u64;
            sunk.most = sunk.most.max(resident_bytes());
        }
        Json(sunk)
    };
    Router::new()
        .route("/", any(|| async { "Boats for hire" }))
        .route("/large", get(large))
        .route("/late", get(late))
        .route("/sink", post(sink))
        .route("/bomb", get(bomb))
        .route("/heavy", get(heavy))
        .route("/odd", get(odd))
}

async fn visitor() -> Option<(TestApp, Client)> {
    let test = TestApp::start().await?;
    test.world.listen(3000, app());
    let owner = test.signed_in().await;
    let (project, _) = test.running(&owner, "Bad").await;
    let (visitor, _) = enter(&test, &owner, project, 3000).await;
    Some((test, visitor))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gigabytes_come_whole_and_are_not_kept() {
    let Some((_test, visitor)) = visitor().await else { return };
    let mut body = visitor.open(Method::GET, "/large", None).await.into_body();
    let (mut got, mut most) = (0_u64, 0);
    let before = resident_bytes();
    while let Some(frame) = body.frame().await {
        got += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
        most = most.max(resident_bytes());
    }
    assert_eq!(got, LARGE);
    // Of this whole program, in which other tests go on.
    assert!(most.saturating_sub(before) < 512 << 20, "{before} bytes grew to {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_goes_in_whole_and_is_not_kept() {
    let Some((_test, visitor)) = visitor().await else { return };
    let before = resident_bytes();
    let (piece, pieces) = (Bytes::from(vec![b'x'; CHUNK]), 1024);
    let answer = visitor.pour(Method::POST, "/sink", piece, pieces).await;
    assert_eq!(answer.status(), 200);
    let sunk: Sunk = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(sunk.got, (CHUNK * pieces) as u64);
    assert!(sunk.most.saturating_sub(before) < 512 << 20, "{before} bytes grew to {}", sunk.most);
}

#[tokio::test]
async fn a_slow_app_is_waited_for() {
    let Some((_test, visitor)) = visitor().await else { return };
    let begin = Instant::now();
    let answer = visitor.get("/late").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "late"));
    assert!(begin.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn a_bomb_of_headers_ends_its_own_request_alone() {
    let Some((_test, visitor)) = visitor().await else { return };
    for path in ["/bomb", "/heavy"] {
        let answer = visitor.get(path).await;
        assert_eq!(answer.status, 502, "{path}: {}", answer.text());
        assert!(answer.text().contains("The server on port 3000 broke off"), "{path}: {}", answer.text());
        assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    }
    // The other way: by the browser's side.
    let mut many = visitor.clone();
    for n in 0..500 {
        many = many.with(&format!("x-bomb-{n}"), "boom");
    }
    let heavy = visitor.with("x-heavy", &"h".repeat(3 << 20));
    for bomb in [many, heavy] {
        // Refused, or cut off while it is still being sent.
        if let Ok(answer) = bomb.try_open(Method::GET, "/", None).await {
            assert_eq!(answer.status(), 431);
        }
        assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_but_for_cookies() {
    let Some((_test, visitor)) = visitor().await else { return };
    let answer = visitor.get("/odd").await;
    assert_eq!((answer.status.as_u16(), answer.headers["x-odd"].as_bytes()), (200, &b"caf\xe9"[..]));
    assert!(!answer.headers.contains_key("set-cookie"), "a browser could read it otherwise than we do");
}

#[tokio::test]
async fn what_only_asks_shares_a_connection_and_what_changes_something_has_its_own() {
    let Some((app, visitor)) = visitor().await else { return };
    let count = || app.world.connected.load(std::sync::atomic::Ordering::Relaxed);
    for _ in 0..10 {
        assert_eq!(visitor.get("/").await.text(), "Boats for hire");
        assert_eq!(visitor.ask(Method::HEAD, "/", None).await.status, 200);
    }
    assert_eq!(count(), 1);
    // Broken off half way, a connection is nobody's any more.
    drop(visitor.open(Method::GET, "/large", None).await);
    assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    assert_eq!(count(), 2);
    for _ in 0..3 {
        assert_eq!(visitor.ask(Method::POST, "/", Some("x".into())).await.status, 200);
    }
    assert_eq!(count(), 5);
    // One that waits for nothing is closed.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    assert_eq!(count(), 6);
}
