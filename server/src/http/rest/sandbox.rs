//! `/api/sandbox`: a project's main sandbox. Asks answer `202 Accepted` with the sandbox as `GET` shows
//! it; the world follows.

use crate::http::{
    body::{Json, Project, idempotency_key},
    errors::Refusal,
    routes::Me,
    state::Plane,
};
use app::error::ControlError;
use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use model::view::{ProjectView, SandboxView};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `POST /api/sandbox/{project}`. Has no `Debug`: values are secret.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
#[schema(as = SandboxCreate)]
pub struct Create {
    /// On top of the project's variables, for this run.
    #[serde(default)]
    env_vars: BTreeMap<String, String>,
}

/// A body with nothing in it, or none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
pub struct Nothing {}

fn asked(project: Result<ProjectView, ControlError>) -> Result<Response, Refusal> {
    Ok((StatusCode::ACCEPTED, Answer(project?.sandbox)).into_response())
}

/// `GET /api/sandbox/{project}`.
///
/// # Errors
/// `404 Not Found`.
pub async fn get(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project) -> Result<Answer<SandboxView>, Refusal> {
    Ok(Answer(plane.control().project(&viewer, id).await?.sandbox))
}

/// `POST /api/sandbox/{project}`: creates it, or restarts it with other variables. While it is being
/// created or started, the same ask, unless it brings variables that the start under way does not have.
///
/// # Errors
/// `404 Not Found`, `409 Conflict` with the reason, `422 Unprocessable Content`.
pub async fn create(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(body): Json<Create>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    asked(plane.control().create_or_restart(&viewer, id, body.env_vars, key).await)
}

/// `DELETE /api/sandbox/{project}`: its objects go; volume and database stay.
///
/// # Errors
/// `404 Not Found`, `409 Conflict`.
pub async fn terminate(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Refusal> {
    asked(plane.control().terminate(&viewer, id).await)
}

/// `POST /api/sandbox/{project}/start`. With an `Idempotency-Key`, a repeated one is the same ask.
///
/// # Errors
/// `404 Not Found`, `409 Conflict`.
pub async fn start(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    asked(plane.control().start(&viewer, id, key).await)
}

/// `POST /api/sandbox/{project}/stop`. With an `Idempotency-Key`, a repeated one is the same ask, also
/// once it is stopped.
///
/// # Errors
/// `404 Not Found`, `409 Conflict` once it is stopped or terminated.
pub async fn stop(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    asked(plane.control().stop(&viewer, id, key).await)
}

/// `POST /api/sandbox/{project}/restart`. With an `Idempotency-Key`, a repeated one is the same ask.
///
/// # Errors
/// `404 Not Found`, `409 Conflict`.
pub async fn restart(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    asked(plane.control().create_or_restart(&viewer, id, BTreeMap::new(), key).await)
}
