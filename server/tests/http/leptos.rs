//! Pages and server functions under load: nobody ever sees what is another's, and a client that goes
//! away breaks nothing. Each fails without the guard of `server::http::leptos`.

use crate::support::{Client, TestApp};
use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// How long each load goes on; `FSA_LONG` makes it a minute.
fn load() -> Duration {
    Duration::from_secs(if std::env::var_os("FSA_LONG").is_some() { 60 } else { 4 })
}

/// A server function that answers whoever asks with what is theirs.
async fn opening(client: &Client) -> (u16, String) {
    let answer = client
        .with("content-type", "application/json")
        .ask(Method::POST, "/api/fn/load", Some(Bytes::from_static(b"{\"what\":\"Opening\"}")))
        .await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn mixed_load_of_pages_and_server_functions_shows_everybody_their_own() {
    let Some(app) = TestApp::start().await else { return };
    let (one, two) = (app.signed_in().await, app.somebody_else().await);
    one.post("/api/projects", &json!({ "name": "Alpha-of-one", "database": false })).await;
    two.post("/api/projects", &json!({ "name": "Beta-of-two", "database": false })).await;
    let nobody = app.anonymous().with("origin", &format!("http://localhost:{}", app.port));
    assert!(one.get("/").await.text().contains("Alpha-of-one"), "the page shows the project at all");
    let first = opening(&two).await;
    assert!(first.1.contains("Beta-of-two"), "the server function answers at all: {first:?}");

    let end = Instant::now() + load();
    let wrong = |whose: &str, text: &str| match whose {
        "one" => text.contains("Beta-of-two") || !text.contains("Alpha-of-one"),
        "two" => text.contains("Alpha-of-one") || !text.contains("Beta-of-two"),
        _ => text.contains("Alpha-of-one") || text.contains("Beta-of-two"),
    };
    let visits = (0..24).map(|n| {
        let (whose, client) = [("one", &one), ("two", &two), ("nobody", &nobody)][n % 3];
        let page = n % 2 == 0 && whose != "nobody";
        async move {
            let mut count = 0;
            while Instant::now() < end {
                let text = if page { client.get("/").await.text() } else { opening(client).await.1 };
                assert!(
                    !wrong(whose, &text),
                    "{whose} was shown what is not theirs: {}",
                    text.chars().take(2000).collect::<String>()
                );
                count += 1;
            }
            count
        }
    });
    let count: u32 = join_all(visits).await.into_iter().sum();
    println!("{count} answers, each its own visitor's");
    assert!(count > 50);
}

#[tokio::test]
async fn clients_that_close_half_way_break_nothing() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    owner.post("/api/projects", &json!({ "name": "Aborted", "database": false })).await;
    let cookie = owner.headers()["cookie"].to_str().unwrap().to_owned();
    let (port, end) = (app.port, Instant::now() + load());
    let abort = move |n: u64| {
        let request = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookie}\r\n\r\n");
        let mut count = 0_u64;
        while Instant::now() < end {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_micros(1 + (count * 37 + n * 101) % 3000))).unwrap();
            let _ = stream.read(&mut [0; 64]);
            count += 1;
        }
        count
    };
    // Once warm, so that what is kept for good is kept already.
    for _ in 0..50 {
        assert_eq!(owner.get("/").await.status, 200);
    }
    let before = resident();
    let count: u64 = join_all((0..16).map(|n| {
        tokio::task::spawn_blocking({
            let abort = abort.clone();
            move || abort(n)
        })
    }))
    .await
    .into_iter()
    .map(Result::unwrap)
    .sum();
    crate::support::until("the last renders to end", async || owner.get("/").await.status == 200).await;
    let grown = resident().saturating_sub(before);
    println!("{count} aborted, {} MiB more", grown >> 20);
    assert_eq!(app.log.panics(), 0);
    assert!(grown < 64 << 20, "{} MiB more after {count} aborted page loads", grown >> 20);
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
