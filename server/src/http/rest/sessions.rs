//! `/api/sessions`: where the user is signed in.

use crate::{
    control::sessions::SessionView,
    http::{errors::Refusal, routes::Me, state::Plane},
};
use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use serde::Serialize;

/// `GET /api/sessions`: the one that asks first, then the newest.
///
/// # Errors
/// `503 Service Unavailable`.
pub async fn list(State(plane): State<Plane>, Me(viewer): Me) -> Result<Answer<Vec<SessionView>>, Refusal> {
    Ok(Answer(plane.controller.sessions(&viewer).await?))
}

/// `DELETE /api/sessions/{session}`: `204 No Content`; its streams and terminals' connections end within a second.
///
/// # Errors
/// `404 Not Found`.
pub async fn end(State(plane): State<Plane>, Me(viewer): Me, Path(session): Path<String>) -> Result<StatusCode, Refusal> {
    plane.controller.end_sessions(&viewer, Some(&session)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What `DELETE /api/sessions` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SessionsEnded)]
pub struct Ended {
    ended: u64,
}

/// `DELETE /api/sessions`: all but the one that asks.
///
/// # Errors
/// `409 Conflict`: a token asks.
pub async fn end_others(State(plane): State<Plane>, Me(viewer): Me) -> Result<Answer<Ended>, Refusal> {
    Ok(Answer(Ended { ended: plane.controller.end_sessions(&viewer, None).await? }))
}
