//! `/api/projects`.

use crate::{
    control::{no_database, port_error},
    http::{
        body::{Json, Project, idempotency_key},
        errors::Refusal,
        paging,
        routes::Me,
        security::ClientAddress,
        state::Plane,
    },
};
use app::error::{ControlError, ErrorKind};
use axum::{
    Extension, Json as Answer,
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
    /// Extra sandboxes as well, each by itself.
    #[serde(default)]
    extra: bool,
}

/// How many projects are read at once.
const AT_ONCE: usize = 200;

/// `GET /api/projects`: an array, newest first; extra sandboxes where they are asked for. With `limit`, a page of it, and the header `Link` names the
/// next one.
///
/// # Errors
/// `400 Bad Request`: a filter is none; `503 Service Unavailable`.
pub async fn list(
    State(plane): State<Plane>,
    Me(viewer): Me,
    uri: Uri,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(wish) = wish.map_err(|_| {
        let message = "Projects are asked for by `limit`, `after` (a project's id), `search`, `phase` and `extra`.";
        Refusal::new(ErrorKind::Malformed, "bad-query", message, "Ask for example for `?limit=20&phase=running`.")
    })?;
    let limit = wish.limit.map(|limit| paging::limit(Some(limit))).transpose()?;
    let phases = wish.phase.as_deref().map(phases).transpose()?;
    let search = wish.search.as_deref().map(str::to_lowercase);
    let wanted = |project: &ProjectView| {
        let of = || project.repository.as_ref().map(|of| of.title.to_lowercase()).unwrap_or_default();
        search.as_ref().is_none_or(|search| {
            project.name.to_lowercase().contains(search) || project.slug.contains(search) || of().contains(search)
        }) && phases.as_ref().is_none_or(|phases| phases.contains(&project.sandbox.phase))
    };
    // One more than is shown tells whether there is a next page. What phases are and what is a capital letter, no query says:
    // so it is looked through in parts until enough fit.
    let enough = limit.map_or(usize::MAX, |limit| limit + 1);
    let part = if search.is_none() && phases.is_none() { enough.min(AT_ONCE) } else { AT_ONCE };
    // Ids go up with time: also of a project that is gone by now it is known what came after it.
    let (mut projects, mut before) = (Vec::new(), wish.after);
    if wish.extra {
        projects = plane.control().projects(&viewer).await?;
        projects.retain(|project| before.is_none_or(|before| project.id < before) && wanted(project));
        projects.sort_by_key(|project| std::cmp::Reverse(project.id));
    }
    let mut done = wish.extra;
    while !done {
        let found = plane.controller.page(&viewer, before, part).await?;
        let last = found.len() < part;
        before = found.last().map(|project| project.id).or(before);
        projects.extend(found.into_iter().filter(&wanted));
        done = last || projects.len() >= enough;
    }
    let more = limit.is_some_and(|limit| projects.len() > limit);
    projects.truncate(limit.unwrap_or(usize::MAX));
    let next = projects.last().filter(|_| more).and_then(|last| paging::next(&uri, "after", &last.id.to_string()));
    let mut response = Answer(projects).into_response();
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

/// `GET /api/projects/{project}`.
///
/// # Errors
/// `404 Not Found`.
pub async fn get(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project) -> Result<Answer<ProjectView>, Refusal> {
    Ok(Answer(plane.control().project(&viewer, id).await?))
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

/// `GET /api/projects/{project}/database`, without the password. No browser keeps it: its tag is made without the figures, and the
/// page asks for those.
///
/// # Errors
/// `404 Not Found`: no such project, or it has no database.
pub async fn database(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project) -> Result<Response, Refusal> {
    let database = plane.control().database(&viewer, id).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Answer(database.ok_or_else(no_database)?)).into_response())
}

/// `POST /api/projects/{project}/database/reveal`: the database, with its password, as the activity says from then on. No
/// browser keeps it.
///
/// # Errors
/// `404 Not Found`: no such project, or it has no database.
pub async fn reveal(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Extension(from): Extension<ClientAddress>,
) -> Result<Response, Refusal> {
    let database = plane.controller.reveal_database_password(&viewer, id, from.0).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Answer(database)).into_response())
}

/// `POST /api/projects/{project}/database/reset-password`: the database, with the new password. With an `Idempotency-Key`, a
/// repeated one reveals the password that it has by then.
///
/// # Errors
/// `404 Not Found`: no such project, or it has no database; `409 Conflict` while it is being deleted; `503 Service
/// Unavailable`: it is stored, and the database did not take it yet.
pub async fn reset_password(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Extension(from): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Result<Answer<DatabaseView>, Refusal> {
    let key = idempotency_key(&headers)?;
    let control = plane.controller.clone();
    let ask = {
        let (control, viewer) = (control.clone(), viewer.clone());
        async move { control.reset_database_password(&viewer, id).await }
    };
    let again = async { control.reveal_database_password(&viewer, id, from.0).await };
    Ok(Answer(control.once(&viewer, format!("password of {id}"), key, ask, again).await?))
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

/// `POST /api/projects/{project}/repository`: tries a clone that failed again, or goes on without. With an `Idempotency-Key`, a
/// repeated one decides nothing more.
///
/// # Errors
/// `404 Not Found`, `409 Conflict` where there is nothing to decide, `422 Unprocessable Content`.
pub async fn decide_clone(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(Decide { action }): Json<Decide>,
) -> Result<Answer<RepositoryView>, Refusal> {
    let key = idempotency_key(&headers)?;
    let control = plane.controller.clone();
    let ask = {
        let (control, viewer) = (control.clone(), viewer.clone());
        async move { control.decide_clone(&viewer, id, action == Action::Retry).await }
    };
    let again = async { control.repository(&viewer, id).await?.ok_or_else(ControlError::not_found) };
    Ok(Answer(control.once(&viewer, format!("clone of {id}"), key, ask, again).await?))
}
