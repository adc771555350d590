//! `/healthz`: the process answers. `/readyz`: so does its database.

use super::{
    errors::{self, Refusal},
    state::Plane,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use std::time::Duration;

/// Shorter than the usual patience of a probe.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /healthz`.
pub async fn healthz() -> Response {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// `GET /readyz`.
///
/// # Errors
/// `503 Service Unavailable` while the database does not answer.
pub async fn readyz(State(plane): State<Plane>) -> Result<Response, Refusal> {
    match tokio::time::timeout(PATIENCE, plane.store.next_wake(&[])).await {
        Ok(Ok(_)) => Ok(Json(json!({ "status": "ready" })).into_response()),
        // No visit begins here, which would know of it.
        _ => Err(plane.room.refusal().unwrap_or_else(errors::unavailable).into()),
    }
}
