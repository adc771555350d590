//! `/api/tokens`, `/api/me`.

use crate::http::{body::Json, doctor, errors::Refusal, routes::Me, state::Plane};
use app::error::{ControlError, ErrorKind};
use axum::{
    Json as Answer,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use model::{
    UserId,
    view::{Scope, TokenView, Viewer},
};
use serde::{Deserialize, Serialize};

/// What `GET /api/me` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Myself {
    /// Their id.
    user: UserId,
    /// What they are called.
    name: String,
    /// What they may.
    scope: Scope,
    /// Whether they run this installation, and may ask its doctor.
    operator: bool,
}

/// `GET /api/me`: who is signed in, and what they may.
///
/// # Errors
/// `503 Service Unavailable`.
pub async fn me(State(plane): State<Plane>, Me(viewer): Me) -> Result<Answer<Myself>, Refusal> {
    let operator = doctor::is_operator(&plane, &viewer).await?;
    let Viewer { user, name, scope } = viewer;
    Ok(Answer(Myself { user, name, scope, operator }))
}

/// `GET /api/tokens`.
///
/// # Errors
/// `503 Service Unavailable`.
pub async fn list(State(plane): State<Plane>, Me(viewer): Me) -> Result<Answer<Vec<TokenView>>, Refusal> {
    Ok(Answer(plane.control().tokens(&viewer).await?))
}

/// `POST /api/tokens`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
#[schema(as = TokenAsk)]
pub struct New {
    name: String,
    scope: Scope,
    /// Until it expires; never, where it is absent. No later than the token that asks, if one does.
    #[serde(default)]
    days: Option<u32>,
}

/// `POST /api/tokens`: `201 Created`; the secret is shown this once. Where a token asks, the new one expires when that one does
/// or earlier, is of its scope at most, and `madeBy` names it.
///
/// # Errors
/// `401 Unauthorized`: the token that asks was revoked meanwhile; `422 Unprocessable Content`.
pub async fn create(State(plane): State<Plane>, Me(viewer): Me, Json(new): Json<New>) -> Result<Response, Refusal> {
    let token = plane.control().create_token(&viewer, new.name, new.scope, new.days).await?;
    Ok((StatusCode::CREATED, Answer(token)).into_response())
}

/// `DELETE /api/tokens/{token}`: `204 No Content`; what it opened ends within a second, and so do the tokens that it made.
///
/// # Errors
/// `404 Not Found`.
pub async fn revoke(State(plane): State<Plane>, Me(viewer): Me, Path(token): Path<String>) -> Result<StatusCode, Refusal> {
    let unknown =
        || ControlError::new(ErrorKind::NotFound, "not-found", "There is no such token.", "Look at the list of your tokens.");
    let id = token.parse().map_err(|_| unknown())?;
    plane.control().revoke_token(&viewer, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
