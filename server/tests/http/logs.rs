//! `GET /api/sandbox/{project}/logs`, and the page that shows the same.

use crate::support::TestApp;
use bytes::Bytes;
use engine::orchestrator::LogSource;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::time::Duration;

/// The next of what comes.
async fn next(body: &mut Incoming) -> String {
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("a line in time");
    let bytes: Bytes = frame.expect("it goes on").unwrap().into_data().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn each_log_is_read_by_its_name_and_is_on_its_page() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Logs").await;
    app.world.writes(&["first", "last"]);
    for source in LogSource::ALL {
        let (name, text) = (
            source.as_str(),
            match source {
                LogSource::Sandbox => "last".to_owned(),
                source => format!("of {}", source.as_str()),
            },
        );
        let told = owner.with("accept", "text/plain").get(&format!("/api/sandbox/{project}/logs?source={name}&tail=1")).await;
        assert_eq!((told.status.as_u16(), told.text()), (200, format!("{text}\n")), "{name}");
        let page = owner.get(&format!("/projects/{project}/logs?source={name}")).await.text();
        assert!(page.contains(&format!("<div>{text}\n</div>")), "{name}: {page}");
        assert!(page.contains(&format!("<option value=\"{name}\" selected>")), "{name}: {page}");
        let others = LogSource::ALL.iter().filter(|other| **other != source && **other != LogSource::Sandbox);
        for other in others {
            assert!(!page.contains(&format!("of {}\n</div>", other.as_str())), "{name}: {page}");
        }
    }
    let refused = owner.get(&format!("/api/sandbox/{project}/logs?source=kernel")).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "bad-log-source"));
    for source in LogSource::ALL {
        assert!(refused.text().contains(source.as_str()), "{}", refused.text());
    }
    assert_eq!(app.somebody_else().await.get(&format!("/api/sandbox/{project}/logs")).await.status, 404);
}

#[tokio::test]
async fn a_log_that_is_followed_tells_each_line_as_it_is_written() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Followed").await;
    app.world.writes(&["before"]);
    let path = format!("/api/sandbox/{project}/logs?follow=true&format=text");
    let mut followed = owner.open(Method::GET, &path, None).await.into_body();
    assert_eq!(next(&mut followed).await, "before\n");
    app.world.writes(&["before", "now"]);
    assert_eq!(next(&mut followed).await, "now\n");
    app.world.writes(&["before", "now", "later"]);
    assert_eq!(next(&mut followed).await, "later\n");
    let whole = owner.get(&format!("/api/sandbox/{project}/logs?format=text")).await;
    assert_eq!(whole.text(), "before\nnow\nlater\n", "one that is not followed ends");
}
