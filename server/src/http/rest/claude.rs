//! `/api/claude`: the user's own Claude credentials. A key or token is written and never read back.

use crate::{
    control::claude::ClaudeView,
    http::{body::Json, errors::Refusal, routes::Me, state::Plane},
};
use axum::{Json as Answer, extract::State};
use model::claude::ClaudeKind;
use secrecy::SecretString;
use serde::Deserialize;

/// `PUT`: a key or token, and where it is sent. Has no `Debug`: the value is secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
#[schema(as = ClaudePut)]
pub struct Put {
    kind: ClaudeKind,
    /// The key or token itself, of at most 8192 bytes.
    value: String,
    /// An `http` or `https` address that is asked instead of Anthropic's own.
    #[serde(default)]
    base_url: Option<String>,
}

/// `GET /api/claude`.
///
/// # Errors
/// `503 Service Unavailable`.
pub async fn get(State(plane): State<Plane>, Me(viewer): Me) -> Result<Answer<ClaudeView>, Refusal> {
    Ok(Answer(plane.controller.claude(&viewer).await?))
}

/// `PUT /api/claude`. What is set waits for a restart.
///
/// # Errors
/// `422 Unprocessable Content` naming the field.
pub async fn put(State(plane): State<Plane>, Me(viewer): Me, Json(put): Json<Put>) -> Result<Answer<ClaudeView>, Refusal> {
    let Put { kind, value, base_url } = put;
    let value = SecretString::from(value);
    Ok(Answer(plane.controller.set_claude(&viewer, kind, &value, base_url.as_deref()).await?))
}

/// `DELETE /api/claude`. What runs keeps them until a restart.
///
/// # Errors
/// `503 Service Unavailable`.
pub async fn delete(State(plane): State<Plane>, Me(viewer): Me) -> Result<Answer<ClaudeView>, Refusal> {
    Ok(Answer(plane.controller.remove_claude(&viewer).await?))
}
