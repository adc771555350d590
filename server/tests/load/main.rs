//! Pages and server functions under load (docs/architecture.md, "Leptos on the server"): nobody ever sees
//! what is another's, and a client that goes away breaks nothing and costs nothing.
//!
//! A program of its own, since it measures the memory of all of it, and one test after the other. Each load
//! is put to the pages without their guard as well, and again until it finds there what the guard is for:
//! else it would prove nothing here. With `FSA_LONG` each load goes on for a minute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

#[path = "../../../engine/tests/support/mod.rs"]
mod postgres;
#[path = "../http/support/mod.rs"]
mod support;

use ::http::Method;
use bytes::Bytes;
use futures::future::join_all;
use leptos::{nonce::Nonce, prelude::*, server_fn::codec::Json};
use serde_json::json;
use server::http;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use support::{Client, Pages, Setup, TestApp, log::Log};

/// How many clients there are at a time.
const CLIENTS: usize = 36;

fn is_long() -> bool {
    std::env::var_os("FSA_LONG").is_some()
}

/// How long each load goes on.
fn load() -> Duration {
    Duration::from_secs(if is_long() { 60 } else { 5 })
}

/// One load at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server on four threads, as Leptos' tasks and reactive owners move between them.
fn on_threads<T>(pages: Pages, test: impl AsyncFnOnce(&TestApp) -> T) -> Option<T> {
    let log = Log::begin();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().on_thread_start(log.hook()).build().unwrap();
    let result = runtime.block_on(async {
        let app = TestApp::start_as(Setup { pages: Some(pages), log: Some(log), ..Setup::default() }).await?;
        let result = test(&app).await;
        // Without the guard it may have panicked, and that is what is looked for.
        if pages as usize != http::leptos::routes as Pages as usize {
            app.log.expect_panics(app.log.panics());
            for text in ["", "panicked"] {
                app.log.allow(text);
            }
        }
        Some(result)
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

/// Says the nonce of whose page it runs in: a context that pages provide and server functions do not, so
/// that any answer but none is another request's.
#[server(prefix = "/api/fn", endpoint = "whose-context", input = Json)]
async fn whose_context() -> Result<Option<String>, ServerFnError> {
    Ok(use_context::<Nonce>().map(|nonce| nonce.to_string()))
}

async fn call(client: &Client, name: &str, body: &'static str) -> String {
    let body = Bytes::from_static(body.as_bytes());
    let path = format!("/api/fn/{name}");
    client.with("content-type", "application/json").ask(Method::POST, &path, Some(body)).await.text()
}

/// What came of a mixed load.
#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    /// Answers with what is another's, or without what is the visitor's own.
    wrong: Vec<String>,
    /// Server functions that saw the context of some page.
    contexts: u64,
}

/// How often a load is put to the pages without their guard, at most.
fn tries() -> u32 {
    if is_long() { 1 } else { 12 }
}

async fn mixed(app: &TestApp) -> Seen {
    mixed_up_to(app, 1).await
}

/// The load, again until a foreign context was seen, at most so often.
async fn mixed_up_to(app: &TestApp, tries: u32) -> Seen {
    leptos::server_fn::axum::register_explicit::<WhoseContext>();
    let (one, two) = (app.signed_in().await, app.somebody_else().await);
    one.post("/api/projects", &json!({ "name": "Alpha-of-one", "database": false })).await;
    two.post("/api/projects", &json!({ "name": "Beta-of-two", "database": false })).await;
    let nobody = app.anonymous().with("origin", &app.public);
    assert!(one.get("/").await.text().contains("Alpha-of-one"), "the page shows the project at all");
    let opening = call(&two, "load", r#"{"what":"Opening"}"#).await;
    assert!(opening.contains("Beta-of-two"), "the server function answers at all: {opening}");

    let mut sum = Seen::default();
    for _ in 0..tries {
        let seen = mix(&one, &two, &nobody).await;
        sum.answers += seen.answers;
        sum.wrong.extend(seen.wrong);
        sum.contexts += seen.contexts;
        if sum.contexts > 0 {
            break;
        }
    }
    sum
}

async fn mix(one: &Client, two: &Client, nobody: &Client) -> Seen {
    let end = Instant::now() + load();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let clients = (0..CLIENTS).map(|n| {
        let (whose, client) = [("one", one.clone()), ("two", two.clone()), ("nobody", nobody.clone())][n % 3].clone();
        let seen = seen.clone();
        tokio::spawn(async move {
            let mut turn = n / 3;
            while Instant::now() < end {
                turn += 1;
                let page = whose != "nobody" && turn % 3 != 0;
                let text = match (page, whose, turn % 2) {
                    (true, ..) => client.get("/").await.text(),
                    (false, "nobody", 0) => call(&client, "whose-context", "{}").await,
                    (false, ..) => call(&client, "load", r#"{"what":"Opening"}"#).await,
                };
                let mut seen = seen.lock().unwrap();
                seen.answers += 1;
                let (alpha, beta) = (text.contains("Alpha-of-one"), text.contains("Beta-of-two"));
                let right = match whose {
                    "one" => alpha && !beta,
                    "two" => beta && !alpha,
                    _ => !alpha && !beta,
                };
                if !right {
                    seen.wrong.push(format!("{whose}: {}", text.chars().take(500).collect::<String>()));
                }
                if whose == "nobody" && turn % 2 == 0 && text != "null" {
                    seen.contexts += 1;
                }
            }
        })
    });
    join_all(clients).await.into_iter().for_each(|client| client.unwrap());
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

#[test]
fn mixed_load_of_pages_and_server_functions_shows_everybody_their_own() {
    let _alone = alone();
    let Some(seen) = on_threads(http::leptos::routes, mixed) else { return };
    println!("{} answers, {} wrong, {} with another's context", seen.answers, seen.wrong.len(), seen.contexts);
    assert!(seen.wrong.is_empty(), "somebody was shown what is not theirs: {:#?}", &seen.wrong[..seen.wrong.len().min(3)]);
    assert_eq!(seen.contexts, 0, "a server function saw the context of another request");
    assert!(seen.answers > 300, "{seen:?}");
}

#[test]
fn without_the_guard_the_mixed_load_finds_the_context_of_another() {
    let _alone = alone();
    let load = async |app: &TestApp| mixed_up_to(app, tries()).await;
    let Some(seen) = on_threads(http::leptos::unguarded, load) else { return };
    println!("without the guard: {} answers, {} wrong, {} with another's context", seen.answers, seen.wrong.len(), seen.contexts);
    assert!(seen.contexts > 0, "this load would not notice if the guard were gone");
}

/// What came of clients that close half way.
#[derive(Debug)]
struct Aborted {
    /// How many, in the half of the time that was measured.
    count: u64,
    /// What each left behind, by the slope over the windows of that half.
    bytes_each: f64,
    panics: usize,
    /// Whether it still answers afterwards.
    serves_on: bool,
}

impl Aborted {
    fn is_harmless(&self) -> bool {
        self.panics == 0 && self.serves_on && self.bytes_each < FLAT_BYTES
    }
}

async fn aborts(app: &TestApp) -> Aborted {
    aborts_up_to(app, 1).await
}

/// How long a client waits at most before it closes.
const LATEST_MICROS: u64 = 40_000;

/// The load, again until it did harm, at most so often.
async fn aborts_up_to(app: &TestApp, tries: u32) -> Aborted {
    let owner = app.signed_in().await;
    owner.post("/api/projects", &json!({ "name": "Aborted", "database": false })).await;
    let cookie = owner.headers()["cookie"].to_str().unwrap().to_owned();
    let (port, done, count) = (app.port, Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let latest = Arc::new(AtomicU64::new(LATEST_MICROS));
    let clients: Vec<_> = (0..CLIENTS as u64)
        .map(|n| {
            let request = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookie}\r\n\r\n");
            let (done, count, latest) = (done.clone(), count.clone(), latest.clone());
            thread::spawn(move || {
                let mut turn = n;
                while !done.load(Ordering::Relaxed) {
                    // In a minute the machine runs out of ports of its own, and has some again a little later.
                    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
                        thread::sleep(Duration::from_millis(50));
                        continue;
                    };
                    if stream.write_all(request.as_bytes()).is_err() {
                        continue;
                    }
                    // From before the page is begun until after it was made.
                    stream
                        .set_read_timeout(Some(Duration::from_micros(
                            1 + (turn * 7_919 + n * 101) % latest.load(Ordering::Relaxed),
                        )))
                        .unwrap();
                    let _ = stream.read(&mut [0; 64]);
                    count.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            })
        })
        .collect();
    let mut aborted = measure(app, &owner, &count).await;
    for again in 1..tries {
        if !aborted.is_harmless() {
            break;
        }
        // On a busy machine a page is begun later: who leaves before leaves nothing.
        latest.store(LATEST_MICROS << (again % 4), Ordering::Relaxed);
        aborted = measure(app, &owner, &count).await;
    }
    done.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    aborted
}

/// What one load did while clients come and go.
async fn measure(app: &TestApp, owner: &Client, count: &AtomicU64) -> Aborted {
    // The first half warms up: what is kept for good is kept then.
    let windows = 10;
    let window = load() / windows;
    let mut points = Vec::new();
    for n in 0..=windows {
        tokio::time::sleep(window).await;
        if n >= windows / 2 {
            points.push((count.load(Ordering::Relaxed) as f64, resident() as f64));
        }
    }
    let answer = owner.get("/").await;
    let serves_on = answer.status == 200 && answer.text().contains("Aborted");
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    Aborted { count: (last - first) as u64, bytes_each: slope(&points), panics: app.log.panics(), serves_on }
}

/// By least squares: how much y goes up with x.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (up, across) = points.iter().fold((0.0, 0.0), |(up, across), p| (up + (p.0 - x) * (p.1 - y), across + (p.0 - x).powi(2)));
    up / across
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A page that is aborted without the guard leaves some ten kilobytes for good.
const FLAT_BYTES: f64 = 2048.0;

#[test]
fn clients_that_close_half_way_break_nothing_and_leave_nothing() {
    let _alone = alone();
    let Some(aborted) = on_threads(http::leptos::routes, aborts) else { return };
    println!("{aborted:?}");
    assert!(aborted.count > 200, "{aborted:?}");
    assert!(aborted.is_harmless(), "it broke, or memory grows with every page that is aborted: {aborted:?}");
}

#[test]
fn without_the_guard_clients_that_close_half_way_leave_memory_behind() {
    let _alone = alone();
    let load = async |app: &TestApp| aborts_up_to(app, tries()).await;
    let Some(aborted) = on_threads(http::leptos::unguarded, load) else { return };
    println!("without the guard: {aborted:?}");
    assert!(!aborted.is_harmless(), "this load would not notice if the guard were gone: {aborted:?}");
}
