//! `GET /api/events`: everything at once, then what changes, soon.

use crate::support::{Client, TestApp};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

struct Stream {
    body: Incoming,
    held: String,
    last_id: u64,
}

impl Stream {
    async fn open(client: &Client) -> Self {
        let answer = client.open(Method::GET, "/api/events", None).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        Self { body: answer.into_body(), held: String::new(), last_id: 0 }
    }

    /// The next event; comments are passed over.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((block, rest)) = self.held.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.held = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(data) = field("data: ") {
                    let id: u64 = field("id: ").unwrap().parse().unwrap();
                    assert!(id > self.last_id, "ids go up");
                    self.last_id = id;
                    return Some(serde_json::from_str(&data).unwrap());
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await.expect("an event in time")?;
            let bytes: Bytes = frame.ok()?.into_data().ok()?;
            self.held.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next event of which this holds.
    async fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if holds(&event) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_begins_with_everything_and_tells_every_change() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let mut early = Stream::open(&owner).await;
    assert_eq!(early.next().await.unwrap(), json!({ "type": "snapshot", "projects": [] }), "also of nothing");
    assert_eq!(early.next().await.unwrap(), json!({ "type": "notices", "notices": [] }), "what pages say, also of nothing");

    let (project, _) = app.running(&owner, "Told").await;
    let event = early.until(|event| event["project"]["sandbox"]["phase"] == "Running").await;
    assert_eq!((event["type"].as_str(), event["project"]["id"].as_str()), (Some("project"), Some(project.to_string().as_str())));

    let mut late = Stream::open(&owner).await;
    let snapshot = late.next().await.unwrap();
    assert_eq!(snapshot["projects"][0]["sandbox"]["phase"], "Running");
    assert_eq!(snapshot["projects"][0], owner.get(&format!("/api/projects/{project}")).await.json(), "the same as REST shows");

    owner.send(Method::PATCH, &format!("/api/projects/{project}"), &json!({ "name": "Renamed" })).await;
    late.until(|event| event["project"]["name"] == "Renamed").await;
    owner.ask(Method::DELETE, &format!("/api/projects/{project}"), None).await;
    late.until(|event| event["project"]["deleting"] == true).await;
    let gone = late.until(|event| event["type"] == "gone").await;
    assert_eq!(gone["id"], project.to_string());
}

#[tokio::test]
async fn nobody_hears_of_what_is_somebody_elses() {
    let Some(app) = TestApp::start().await else { return };
    let (owner, stranger) = (app.signed_in().await, app.somebody_else().await);
    let mut theirs = Stream::open(&stranger).await;
    app.running(&owner, "Secret plans").await;
    app.running(&stranger, "Theirs").await;
    let snapshot = theirs.next().await.unwrap();
    let event = theirs.until(|event| event["project"]["sandbox"]["phase"] == "Running").await;
    assert!(!format!("{snapshot}{event}").contains("Secret plans"));
    assert_eq!(event["project"]["name"], "Theirs");
}

#[tokio::test]
async fn ports_are_told_within_a_second_without_those_of_the_sandbox_itself() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Ports").await;
    let mut events = Stream::open(&owner).await;
    let start = Instant::now();
    app.world.listen(3000, axum::Router::new());
    let opened = events.until(|event| event["project"]["sandbox"]["ports"][0]["port"] == 3000).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(opened["project"]["sandbox"]["ports"], json!([{ "port": 3000, "process": "node" }]));
    app.world.close(3000);
    events.until(|event| event["project"]["sandbox"]["ports"] == json!([])).await;
    app.world.listen(8080, axum::Router::new());
    events.until(|event| event["project"]["sandbox"]["ports"][0]["port"] == 8080).await;
    owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await;
    let stopped = events.until(|event| event["project"]["sandbox"]["phase"] == "Stopped").await;
    assert_eq!(stopped["project"]["sandbox"]["ports"], json!([]), "what does not run listens nowhere");
}

#[tokio::test]
async fn a_storm_of_changes_is_at_most_twenty_events_a_second_and_ends_with_the_newest() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Storm").await;
    let mut events = Stream::open(&owner).await;
    events.until(|event| event["type"] == "notices").await;
    let path = format!("/api/projects/{project}");
    let storm = async {
        for n in 0..200 {
            owner.send(Method::PATCH, &path, &json!({ "name": format!("Storm {n}") })).await;
        }
    };
    let start = Instant::now();
    let count = async {
        let mut count = 0_u32;
        loop {
            let event = events.next().await.unwrap();
            count += 1;
            if event["project"]["name"] == "Storm 199" {
                return count;
            }
        }
    };
    let ((), count) = tokio::join!(storm, count);
    let most = 11.0 + start.elapsed().as_secs_f64() * 10.0;
    assert!(f64::from(count) <= most, "{count} events in {:?}", start.elapsed());
}

#[tokio::test]
async fn a_stream_ends_when_the_server_does() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let mut events = Stream::open(&owner).await;
    events.until(|event| event["type"] == "notices").await;
    app.stop();
    assert!(events.next().await.is_none());
}

/// Proxies and browsers close what says nothing: a comment every eight seconds, and no event.
#[tokio::test]
async fn a_stream_on_which_nothing_happens_says_that_it_is_alive() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let mut events = Stream::open(&owner).await;
    events.until(|event| event["type"] == "notices").await;
    assert_eq!(events.held, "");
    let start = Instant::now();
    let frame = tokio::time::timeout(Duration::from_secs(10), events.body.frame()).await.expect("a word in time");
    let bytes = frame.unwrap().unwrap().into_data().unwrap();
    assert!(bytes.starts_with(b":") && bytes.ends_with(b"\n\n"), "{bytes:?}");
    assert!(start.elapsed() > Duration::from_secs(6), "not before it is due: {:?}", start.elapsed());
}
