//! `GET /api/sandbox/{project}/logs`: what a sandbox, what prepares it, its database and its orchestrator
//! wrote.
//!
//! The answer is lines of JSON, `{"at", "text"}`, or plain text with `format=text` or `Accept: text/plain`. With
//! `follow=true` it goes on as lines come, and ends with the session or token that asked; without, it ends
//! when nothing more is there.

use super::{
    auth::{visit::Visit, watch::over},
    body::Project,
    errors::Refusal,
    routes::Me,
    state::Plane,
};
use app::error::{ControlError, ErrorKind};
use axum::{
    Extension,
    body::Body,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use engine::orchestrator::{LogLine, LogSource, OrchestratorError};
use futures::{StreamExt as _, stream::BoxStream};
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Deserialize;
use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

/// A log that is not followed is over when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(400);
/// And after this, once what comes was written since it was asked for: one that gets more than some lines a second is never
/// quiet. What was there before may take [`BACKLOG`] to come.
const AT_MOST: Duration = Duration::from_secs(2);
/// How long what was written before it was asked for may take, over a far network.
const BACKLOG: Duration = Duration::from_secs(10);
/// How many lines a log that is not followed has at most: the last ones.
pub(super) const MOST_LINES: usize = 5_000;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    follow: bool,
    /// How many lines of a log that is not followed.
    #[serde(default)]
    tail: Option<usize>,
    /// `text` or `json`, whatever the headers say: for a link.
    #[serde(default)]
    format: Option<String>,
}

/// `GET /api/sandbox/{project}/logs?source=sandbox&follow=false&tail=1000`.
///
/// # Errors
/// `400 Bad Request`: `source` or `format` is none; `404 Not Found`; `503 Service Unavailable`: the orchestrator
/// cannot say.
pub async fn logs(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(visit): Extension<Visit>,
    Project(id): Project,
    headers: HeaderMap,
    wish: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(wish) = wish.map_err(|_| {
        let message = "A log is asked for by `source`, `follow` (true or false), `tail` (a number) and `format`.";
        Refusal::new(ErrorKind::Malformed, "bad-query", message, "Ask for example for `?source=sandbox&follow=true`.")
    })?;
    let source: LogSource = wish.source.as_deref().unwrap_or("sandbox").parse().map_err(|()| {
        let names = LogSource::ALL.map(LogSource::as_str).join(", ");
        Refusal::new(
            ErrorKind::Malformed,
            "bad-log-source",
            format!("There is no such log: there are {names}."),
            "Ask for one of them.",
        )
    })?;
    let plain = match wish.format.as_deref() {
        Some("text") => true,
        Some("json") => false,
        None => {
            headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).is_some_and(|kinds| kinds.contains("text/plain"))
        }
        Some(_) => {
            let message = "There is no such format of a log: there are text and json.";
            return Err(Refusal::new(ErrorKind::Malformed, "bad-log-format", message, "Ask for one of them."));
        }
    };
    let row = plane.controller.row(&viewer, id).await?;
    let lines = plane.orchestrator.logs(row.sandbox.id, source).await.map_err(|error| unavailable(&error))?;
    let kind = if plain { "text/plain; charset=utf-8" } else { "application/x-ndjson" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    let write = move |line: LogLine| Ok::<_, Infallible>(if plain { as_text(&line) } else { as_json(&line) });
    if wish.follow {
        let over = Box::pin(over(visit.credential.map(|credential| plane.watch.hold(credential)), plane.stop.clone()));
        let lines = lines.take_until(over).map(write);
        return Ok((headers, Body::from_stream(lines)).into_response());
    }
    let tail = last(lines, wish.tail.unwrap_or(1_000).min(MOST_LINES), QUIET).await;
    Ok((headers, Body::from_stream(futures::stream::iter(tail).map(write))).into_response())
}

/// The last lines of what is there already: of what comes until nothing has come for as long as `quiet`, or [`AT_MOST`].
pub(super) async fn last(lines: BoxStream<'static, LogLine>, most: usize, quiet: Duration) -> Vec<LogLine> {
    let mut kept = std::collections::VecDeque::new();
    let (began, asked_at) = (Instant::now(), Timestamp::now());
    let there = tokio_stream::StreamExt::timeout(lines, quiet);
    let mut there = std::pin::pin!(there);
    while let Some(Ok(line)) = there.next().await {
        if kept.len() >= most {
            kept.pop_front();
        }
        let is_backlog = line.at.is_some_and(|at| at < asked_at);
        kept.push_back(line);
        if began.elapsed() >= if is_backlog { BACKLOG } else { AT_MOST } {
            break;
        }
    }
    kept.truncate(most);
    kept.into()
}

fn as_json(line: &LogLine) -> Bytes {
    let mut text = serde_json::json!({ "at": line.at.map(|at| at.to_string()), "text": line.text }).to_string();
    text.push('\n');
    text.into()
}

fn as_text(line: &LogLine) -> Bytes {
    match line.at {
        Some(at) => format!("{at} {}\n", line.text).into(),
        None => format!("{}\n", line.text).into(),
    }
}

pub(super) fn unavailable(error: &OrchestratorError) -> ControlError {
    let (message, step) = match error {
        OrchestratorError::Caused(cause) => (cause.message.clone(), cause.next_steps.first().cloned().unwrap_or_default()),
        OrchestratorError::Other(_) => ("The log cannot be read.".to_owned(), "Try again.".to_owned()),
    };
    let told = ControlError::new(ErrorKind::Unavailable, "log-unavailable", message, &step);
    match error {
        OrchestratorError::Caused(cause) => told.because(cause),
        OrchestratorError::Other(_) => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Cause, CauseCode};

    fn line(text: &str) -> LogLine {
        LogLine { at: None, text: text.to_owned() }
    }

    #[tokio::test]
    async fn what_is_not_followed_ends_with_its_last_lines() {
        let lines = futures::stream::iter(["a", "b", "c"].map(line)).chain(futures::stream::pending());
        assert_eq!(last(lines.boxed(), 2, QUIET).await, ["b", "c"].map(line));
        assert_eq!(last(futures::stream::empty().boxed(), 2, QUIET).await, []);
        assert_eq!(last(futures::stream::iter([line("a")]).boxed(), 0, QUIET).await, []);
    }

    #[test]
    fn a_log_that_cannot_be_had_says_why() {
        let cause = Cause::new(CauseCode::PermissionMissing, "The account may not read logs.", &["Let it."]).answered(403);
        let told = unavailable(&OrchestratorError::Caused(cause.clone()));
        assert_eq!((told.message.as_str(), told.cause.as_deref()), (cause.message.as_str(), Some(&cause)));
        assert_eq!(unavailable(&OrchestratorError::Other(std::io::Error::other("away").into())).cause, None);
    }

    #[tokio::test]
    async fn one_that_is_never_quiet_ends_too() {
        let lines = futures::stream::unfold(0_u32, |n| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((line(&n.to_string()), n + 1))
        });
        let began = Instant::now();
        let last = last(lines.boxed(), 2, QUIET).await;
        assert!(last.len() == 2 && last[0].text != "0", "{last:?}");
        assert!(began.elapsed() < AT_MOST * 3, "{:?}", began.elapsed());
    }

    #[test]
    fn a_line_is_json_or_text() {
        let dated = LogLine { at: Some("2030-01-02T03:04:05Z".parse().unwrap()), text: "a \"b\"".into() };
        assert_eq!(as_json(&dated), "{\"at\":\"2030-01-02T03:04:05Z\",\"text\":\"a \\\"b\\\"\"}\n");
        assert_eq!(as_text(&dated), "2030-01-02T03:04:05Z a \"b\"\n");
        assert_eq!(as_text(&line("a")), "a\n");
    }
}
