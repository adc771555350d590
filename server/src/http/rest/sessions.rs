//! `/api/sessions`: where the user is signed in.

use crate::{
    control::sessions::SessionView,
    http::{
        errors::Refusal,
        paging::{self, newest_first},
        routes::Me,
        state::Plane,
    },
};
use axum::{
    Json as Answer,
    extract::{Path, State},
    response::Response,
};
use http::{StatusCode, Uri};
use serde::Serialize;

/// `GET /api/sessions`: an array, the one that asks first, then the newest. With `limit`, a page of it, and the header `Link`
/// names the next one.
///
/// # Errors
/// `400 Bad Request`: `limit` is no length of a page; `503 Service Unavailable`.
pub async fn list(State(plane): State<Plane>, Me(viewer): Me, uri: Uri, asked: paging::Asked) -> Result<Response, Refusal> {
    let wish = paging::read(asked)?;
    let sessions = plane.controller.sessions(&viewer).await?;
    Ok(wish.answer(&uri, sessions, place))
}

/// Those of which it is not known since when come last.
fn place(session: &SessionView) -> String {
    let since = session.since.map_or_else(|| "x".to_owned(), newest_first);
    format!("{}-{since}-{}", u8::from(!session.current), session.id)
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
