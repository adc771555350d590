//! `/api/activity`, `/api/projects/{project}/activity`: what happened, newest first, in pages or as lines of
//! JSON.

use crate::http::{body::Project, errors::Refusal, paging, routes::Me, state::Plane};
use app::error::ErrorKind;
use axum::{
    Json as Answer,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use engine::store::activity::Filter;
use http::{HeaderMap, HeaderName, Uri, header};
use jiff::Timestamp;
use model::{
    ProjectId,
    activity::{ActivityKind, ActivityView},
    view::Viewer,
};
use serde::Deserialize;
use std::io;

/// How many lines of an export are read at once.
const AT_ONCE: usize = 500;

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Of one project (`/api/activity` alone).
    #[serde(default)]
    project: Option<ProjectId>,
    /// Kinds, split by commas: `ask,phase,cause,run,network,account`.
    #[serde(default)]
    kind: Option<String>,
    /// The name of who asked, or of their token, or `browser`, `token`, `system`.
    #[serde(default)]
    actor: Option<String>,
    /// RFC 3339: what last happened then or later.
    #[serde(default)]
    since: Option<String>,
    /// In whose words this stands, whatever its case.
    #[serde(default)]
    search: Option<String>,
    /// The `next` of the page before.
    #[serde(default)]
    before: Option<i64>,
    /// How many: 50 by default, at most 200.
    #[serde(default)]
    limit: Option<usize>,
    /// `json` or `jsonl`.
    #[serde(default)]
    format: Option<String>,
}

type Asked = Result<Query<Wish>, QueryRejection>;

/// `GET /api/activity`: of all projects of the viewer, those that are gone included.
///
/// # Errors
/// `400 Bad Request`: a filter is none.
pub async fn all(
    State(plane): State<Plane>,
    Me(viewer): Me,
    uri: Uri,
    headers: HeaderMap,
    wish: Asked,
) -> Result<Response, Refusal> {
    let wish = read(wish)?;
    let project = wish.project;
    answer(plane, viewer, project, wish, &uri, &headers).await
}

/// `GET /api/projects/{project}/activity`.
///
/// # Errors
/// `400 Bad Request`: a filter is none; `404 Not Found`.
pub async fn of_project(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    uri: Uri,
    headers: HeaderMap,
    wish: Asked,
) -> Result<Response, Refusal> {
    let wish = read(wish)?;
    if wish.project.is_some_and(|other| other != id) {
        return Err(wrong("project", "The path names the project.".to_owned(), "Leave `project` out."));
    }
    plane.controller.row(&viewer, id).await?;
    answer(plane, viewer, Some(id), wish, &uri, &headers).await
}

fn read(wish: Asked) -> Result<Wish, Refusal> {
    let Query(wish) = wish.map_err(|_| {
        let message = "Activity is asked for by `kind`, `actor`, `since`, `search`, `before`, `limit` and `format`.".to_owned();
        wrong("query", message, "Ask for example for `?kind=ask,cause&limit=50`.")
    })?;
    Ok(wish)
}

fn wrong(what: &str, message: String, next: &str) -> Refusal {
    Refusal::new(ErrorKind::Malformed, &format!("bad-{what}"), message, next)
}

fn filter(wish: &Wish, project: Option<ProjectId>, limit: usize) -> Result<Filter, Refusal> {
    let kinds = wish.kind.iter().flat_map(|kinds| kinds.split(',')).map(str::trim).filter(|kind| !kind.is_empty());
    let kinds: Result<Vec<ActivityKind>, String> = kinds.map(str::parse).collect();
    let kinds = kinds.map_err(|error| wrong("kind", error, "Give one of them, or several split by commas."))?;
    let since = wish.since.as_deref().map(|since| {
        let text = || format!("`{}` is no time.", since.chars().take(60).collect::<String>());
        since.parse::<Timestamp>().map_err(|_| wrong("since", text(), "Write it as 2026-11-28T17:00:00Z."))
    });
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(Filter {
        project,
        kinds,
        actor: text(&wish.actor),
        since: since.transpose()?,
        search: text(&wish.search),
        before: wish.before,
        limit,
    })
}

async fn answer(
    plane: Plane,
    viewer: Viewer,
    project: Option<ProjectId>,
    wish: Wish,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let accepts = headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    let lines = match wish.format.as_deref() {
        None => accepts.contains("jsonl") || accepts.contains("x-ndjson"),
        Some("json") => false,
        Some("jsonl") => true,
        Some(_) => {
            return Err(wrong("format", "`format` is `json` or `jsonl`.".to_owned(), "Leave it out, or give one of them."));
        }
    };
    let limit = if lines { AT_ONCE } else { paging::limit(wish.limit)? };
    let filter = filter(&wish, project, limit)?;
    if lines {
        return export(plane, viewer, filter, wish.limit).await;
    }
    let page = plane.controller.activity(&viewer, filter).await?;
    let next = page.next.and_then(|next| paging::next(uri, "before", &next.to_string()));
    let mut response = Answer(page).into_response();
    response.headers_mut().extend(next);
    Ok(response)
}

/// All of it, or as many as were asked for, one object a line; read as it is sent.
async fn export(plane: Plane, viewer: Viewer, filter: Filter, limit: Option<usize>) -> Result<Response, Refusal> {
    let left = limit.unwrap_or(usize::MAX);
    let first = Filter { limit: left.min(AT_ONCE), ..filter };
    // The first read before the head: a store that is away is a 503 and not a broken answer.
    let page = plane.controller.activity_rows(&viewer, &first).await?;
    let state = Some((page, first, left));
    let lines = futures::stream::unfold(state, move |state| {
        let (plane, viewer) = (plane.clone(), viewer.clone());
        async move {
            let (page, mut filter, left) = state?;
            let left = left - page.len();
            let bytes = to_lines(&page);
            let more = page.len() == filter.limit && left > 0;
            let Some(last) = page.last().filter(|_| more) else { return Some((Ok(bytes), None)) };
            (filter.before, filter.limit) = (Some(last.id), left.min(AT_ONCE));
            match plane.controller.activity_rows(&viewer, &filter).await {
                Ok(page) => Some((Ok(bytes), Some((page, filter, left)))),
                Err(error) => Some((Err(io::Error::other(error.message)), None)),
            }
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"activity.jsonl\""),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn to_lines(page: &[ActivityView]) -> Bytes {
    let mut text = String::new();
    for view in page {
        text.push_str(&serde_json::to_string(view).unwrap_or_else(|_| "{}".to_owned()));
        text.push('\n');
    }
    text.into()
}
