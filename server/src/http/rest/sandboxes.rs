//! `/api/projects/{project}/sandboxes`: those of a project, the main one and extra ones.

use crate::{
    control::sandboxes::Belonging,
    http::{
        body::{Json, Project, idempotency_key},
        errors::Refusal,
        paging,
        routes::Me,
        state::Plane,
    },
};
use app::error::ControlError;
use axum::{
    Json as Answer,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};
use model::{ProjectId, view::SandboxView};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;

/// A sandbox of a project.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ProjectSandbox)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// What stands for `{project}` in addresses that mean this one.
    id: ProjectId,
    /// Whether it is the project's own.
    main: bool,
    /// The branch that it is for; `null` for the main one.
    branch: Option<String>,
    /// Whether it is being removed.
    deleting: bool,
    /// Whether it has a PostgreSQL.
    database: bool,
    /// Its state.
    sandbox: SandboxView,
}

impl From<Belonging> for View {
    fn from(Belonging { view, branch }: Belonging) -> Self {
        let main = view.extra_of.is_none();
        Self { id: view.id, main, branch, deleting: view.deleting, database: view.database, sandbox: view.sandbox }
    }
}

/// What a new one is asked for with.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = NewSandbox)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct New {
    /// The branch that it is for, which names it.
    branch: String,
    /// The branch or tag that this one is made from, where the repository has none of its name: that of the project's
    /// clone, where it is absent.
    #[serde(default)]
    from: Option<String>,
}

/// `GET /api/projects/{project}/sandboxes`: an array, the main one first, then oldest first. With `limit`, a page of it, and the
/// header `Link` names the next one.
///
/// # Errors
/// `400 Bad Request`: `limit` is no length of a page; `404 Not Found`.
pub async fn list(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    uri: Uri,
    asked: paging::Asked,
) -> Result<Response, Refusal> {
    let wish = paging::read(asked)?;
    let sandboxes: Vec<View> = plane.controller.sandboxes(&viewer, id).await?.into_iter().map(View::from).collect();
    // Ids go up with time.
    Ok(wish.answer(&uri, sandboxes, |sandbox| format!("{}-{}", u8::from(!sandbox.main), sandbox.id)))
}

/// `POST /api/projects/{project}/sandboxes`: `201 Created`. The same `Idempotency-Key` within a day: the same one.
///
/// # Errors
/// `404 Not Found`, `409 Conflict`, `422 Unprocessable Content`.
pub async fn create(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(New { branch, from }): Json<New>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let made = plane.controller.create_sandbox(&viewer, id, &branch, from.as_deref(), key).await?;
    let place = format!("/api/projects/{}", made.view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Answer(View::from(made))).into_response())
}

/// `DELETE /api/projects/{project}/sandboxes/{sandbox}`: `202 Accepted`; its files and its database go with it.
///
/// # Errors
/// `404 Not Found`, `409 Conflict` for the main one.
pub async fn remove(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Path(path): Path<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let sandbox = path.get("sandbox").and_then(|id| id.parse().ok()).ok_or_else(ControlError::not_found)?;
    plane.controller.remove_sandbox(&viewer, id, sandbox).await?;
    Ok((StatusCode::ACCEPTED, Answer(json!({ "id": sandbox, "deleting": true }))).into_response())
}
