//! `/api/projects`.

use crate::{
    control::port_error,
    http::{
        body::{Json, Project, idempotency_key},
        errors::Refusal,
        etag, paging,
        routes::Me,
        state::Plane,
    },
};
use app::error::{ControlError, ErrorKind};
use axum::{
    Json as Answer,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};
use model::{
    Phase, ProjectId,
    port::PortError,
    repository::RepositoryView,
    view::{DatabaseView, NewProject, PreviewCode, ProjectPatch, ProjectView},
};
use serde::Deserialize;
use serde_json::json;

/// Which projects are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// How many at most.
    #[serde(default)]
    limit: Option<usize>,
    /// The last one of the page before.
    #[serde(default)]
    after: Option<ProjectId>,
    /// In whose name or slug this stands, whatever its case.
    #[serde(default)]
    search: Option<String>,
    /// Phases, split by commas, as pages write them in `data-phase`.
    #[serde(default)]
    phase: Option<String>,
}

/// `GET /api/projects`: an array, newest first. With `limit`, a page of it, and the header `Link` names the
/// next one. With an `If-None-Match` that is still right, `304 Not Modified`.
///
/// # Errors
/// `400 Bad Request`: a filter is none; `503 Service Unavailable`.
pub async fn list(
    State(plane): State<Plane>,
    Me(viewer): Me,
    uri: Uri,
    headers: HeaderMap,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(wish) = wish.map_err(|_| {
        let message = "Projects are asked for by `limit`, `after` (a project's id), `search` and `phase`.";
        Refusal::new(ErrorKind::Malformed, "bad-query", message, "Ask for example for `?limit=20&phase=running`.")
    })?;
    let limit = wish.limit.map(|limit| paging::limit(Some(limit))).transpose()?;
    let phases = wish.phase.as_deref().map(phases).transpose()?;
    let mut projects = plane.control().projects(&viewer).await?;
    if let Some(after) = wish.after {
        // Ids go up with time: also of a project that is gone by now it is known what came after it.
        match projects.iter().position(|project| project.id == after) {
            Some(at) => drop(projects.drain(..=at)),
            None => projects.retain(|project| project.id < after),
        }
    }
    if let Some(search) = wish.search.as_deref().map(str::to_lowercase) {
        projects.retain(|project| project.name.to_lowercase().contains(&search) || project.slug.contains(&search));
    }
    if let Some(phases) = phases {
        projects.retain(|project| phases.contains(&project.sandbox.phase));
    }
    let more = limit.is_some_and(|limit| projects.len() > limit);
    projects.truncate(limit.unwrap_or(usize::MAX));
    let next = projects.last().filter(|_| more).and_then(|last| paging::next(&uri, "after", &last.id.to_string()));
    let mut response = etag::json(&headers, &projects);
    response.headers_mut().extend(next);
    Ok(response)
}

fn phases(text: &str) -> Result<Vec<Phase>, Refusal> {
    let known = |name: &str| Phase::ALL.into_iter().find(|phase| phase.key() == name.trim().to_ascii_lowercase());
    text.split(',')
        .map(|name| {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
            let message = format!("`{shown}` is no phase: there are {}.", Phase::ALL.map(Phase::key).join(", "));
            let refused =
                || Refusal::new(ErrorKind::Malformed, "bad-phase", message, "Give one of them, or several split by commas.");
            known(name).ok_or_else(refused)
        })
        .collect()
}

/// `POST /api/projects`: `201 Created`, with the project. The same `Idempotency-Key` within a day: the
/// same project.
///
/// # Errors
/// `409 Conflict` for too many, `422 Unprocessable Content` with the reason.
pub async fn create(
    State(plane): State<Plane>,
    Me(viewer): Me,
    headers: HeaderMap,
    Json(new): Json<NewProject>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let project = plane.control().create_project(&viewer, new, key).await?;
    let place = format!("/api/projects/{}", project.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Answer(project)).into_response())
}

/// `GET /api/projects/{project}`. With an `If-None-Match` that is still right, `304 Not Modified`.
///
/// # Errors
/// `404 Not Found`.
pub async fn get(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Ok(etag::json(&headers, &plane.control().project(&viewer, id).await?))
}

/// `PATCH /api/projects/{project}`: `name`, `preset`.
///
/// # Errors
/// `404 Not Found`, `422 Unprocessable Content`.
pub async fn change(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Json(patch): Json<ProjectPatch>,
) -> Result<Answer<ProjectView>, Refusal> {
    Ok(Answer(plane.control().update_project(&viewer, id, patch).await?))
}

/// The body of a deletion, if there is one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
pub struct Confirmation {
    /// The project's name, typed again.
    #[serde(default)]
    name: Option<String>,
}

/// `DELETE /api/projects/{project}`: `202 Accepted`; sandbox, volume and database are being removed. The
/// page has the name typed first; a program has named the project by its id and need not say it again.
///
/// # Errors
/// `404 Not Found`; `422 Unprocessable Content` where a name is given and is not the project's.
pub async fn remove(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Json(confirmation): Json<Confirmation>,
) -> Result<Response, Refusal> {
    plane.control().delete_project(&viewer, id, confirmation.name).await?;
    Ok((StatusCode::ACCEPTED, Answer(json!({ "id": id, "deleting": true }))).into_response())
}

/// `GET /api/projects/{project}/database`.
///
/// # Errors
/// `404 Not Found`: no such project, or it has no database.
pub async fn database(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project) -> Result<Answer<DatabaseView>, Refusal> {
    let database = plane.control().database(&viewer, id).await?;
    let none = || ControlError::new(ErrorKind::NotFound, "no-database", "This project has no database.", "Make one that has.");
    Ok(Answer(database.ok_or_else(none)?))
}

/// `POST /api/projects/{project}/preview`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
#[schema(as = PreviewAsk)]
pub struct Preview {
    port: u64,
}

/// `POST /api/projects/{project}/preview` with `{"port": 3000}`: a code that opens that preview once.
///
/// # Errors
/// `400 Bad Request` for what is no port, `403 Forbidden` for a reserved one, `404 Not Found`.
pub async fn preview(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Json(Preview { port }): Json<Preview>,
) -> Result<Answer<PreviewCode>, Refusal> {
    let port = u16::try_from(port).map_err(|_| port_error(&PortError::NotAPort(port.to_string())))?;
    Ok(Answer(plane.control().preview_code(&viewer, id, port).await?))
}

/// `GET /api/projects/{project}/repository`: what is cloned into it, and how far that is; `null` where it
/// was made without one.
///
/// # Errors
/// `404 Not Found`.
pub async fn repository(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
) -> Result<Answer<Option<RepositoryView>>, Refusal> {
    Ok(Answer(plane.controller.repository(&viewer, id).await?))
}

/// `POST /api/projects/{project}/repository`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = CloneDecision)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decide {
    action: Action,
}

/// What is to become of a clone that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[schema(as = CloneAction)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is tried again.
    Retry,
    /// The project goes on without; also one that is under way.
    Skip,
}

/// `POST /api/projects/{project}/repository`: tries a clone that failed again, or goes on without.
///
/// # Errors
/// `404 Not Found`, `409 Conflict` where there is nothing to decide, `422 Unprocessable Content`.
pub async fn decide_clone(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Json(Decide { action }): Json<Decide>,
) -> Result<Answer<RepositoryView>, Refusal> {
    Ok(Answer(plane.controller.decide_clone(&viewer, id, action == Action::Retry).await?))
}
