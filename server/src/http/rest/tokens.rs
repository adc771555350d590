//! `/api/tokens`, `/api/me`.

use crate::http::{
    body::{Json, idempotency_key},
    doctor,
    errors::Refusal,
    paging::{self, newest_first},
    routes::Me,
    state::Plane,
};
use app::error::{ControlError, ErrorKind};
use axum::{
    Json as Answer,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri};
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

/// `GET /api/tokens`: an array, newest first. With `limit`, a page of it, and the header `Link` names the next one.
///
/// # Errors
/// `400 Bad Request`: `limit` is no length of a page; `503 Service Unavailable`.
pub async fn list(State(plane): State<Plane>, Me(viewer): Me, uri: Uri, asked: paging::Asked) -> Result<Response, Refusal> {
    let wish = paging::read(asked)?;
    let tokens = plane.control().tokens(&viewer).await?;
    let place = |token: &TokenView| format!("{}-{}", newest_first(token.created_at), token.id);
    Ok(wish.answer(&uri, tokens, place))
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

/// `POST /api/tokens`: `201 Created`; the secret is shown this once. With an `Idempotency-Key`, one token within a day.
/// Where a token asks, the new one expires when that one does or earlier, is of its scope at most, and `madeBy` names it.
///
/// # Errors
/// `401 Unauthorized`: the token that asks was revoked meanwhile; `409 Conflict`: by that key it was made before; `422 Unprocessable
/// Content`.
pub async fn create(
    State(plane): State<Plane>,
    Me(viewer): Me,
    headers: HeaderMap,
    Json(new): Json<New>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let token = plane.controller.create_token_once(&viewer, &new.name, new.scope, new.days, key).await?;
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
