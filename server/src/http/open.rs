//! `GET /open/{target}/{port}` on the app's host: the way into a preview for a tab of its own.
//!
//! A preview that nobody is signed in to sends its visitor here. The page, which is the app's own, asks
//! for a code (`POST`, so that opening an address changes nothing) and posts it to the preview's host.
//! `target` is a project's id, or the name in the preview's host: names tell a visitor nothing that
//! they did not know.

use super::{
    auth::visit::Visit,
    errors::Refusal,
    patience::patient,
    preview::page::{escape, page_of},
    security::Nonce,
    state::Plane,
};
use crate::control::{port_error, store_error};
use app::error::ControlError;
use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use model::{ProjectId, port::PreviewPort};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The page.
///
/// # Errors
/// `400 Bad Request`, `403 Forbidden` for the port; `404 Not Found`.
pub async fn page(
    State(plane): State<Plane>,
    Extension(visit): Extension<Visit>,
    Extension(Nonce(nonce)): Extension<Nonce>,
    Path((target, port)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let port: PreviewPort = port.parse().map_err(|error| port_error(&error))?;
    let Some(viewer) = visit.viewer else {
        let next = utf8_percent_encode(&format!("/open/{target}/{}", port.get()), NON_ALPHANUMERIC).to_string();
        let body = format!(
            "<p>This preview is private, and nobody is signed in here.</p><p><a href=\"/sign-in?next={}\">Sign in</a>, and it opens.</p>",
            escape(&next)
        );
        return Ok((StatusCode::UNAUTHORIZED, page_of("Sign in to open this preview", &body, None)).into_response());
    };
    let port = port.get();
    let (project, name) = match target.parse::<ProjectId>() {
        Ok(id) => (Some(id), None),
        Err(_) => (None, Some(target.parse().map_err(|_| ControlError::not_found())?)),
    };
    let own = match (project, &name) {
        (Some(id), _) => plane.store.project(viewer.user, id).await,
        (None, Some(name)) => plane.store.by_name(viewer.user, name).await,
        (None, None) => Ok(None),
    };
    let (id, shown) = match own.map_err(store_error)? {
        Some(row) => (row.project.id, row.project.name.to_string()),
        // Somebody else's, who lets in whoever is signed in: its name is the host's.
        None => {
            let shared = plane.accounts.shared_with_users(project, name.as_ref(), port, plane.now());
            let shared = patient(shared).await.map_err(store_error)?.ok_or_else(ControlError::not_found)?;
            (shared.project, shared.name.to_string())
        }
    };
    let script = format!(
        "fetch('/api/projects/{id}/preview',{{method:'POST',headers:{{'content-type':'application/json'}},body:'{{\"port\":{port}}}'}})\
         .then(async a=>{{const b=await a.json();if(!a.ok)throw new Error(b.details?.message??'');\
         const f=document.createElement('form');f.method='post';f.action=b.action;const i=document.createElement('input');\
         i.type='hidden';i.name='code';i.value=b.code;f.append(i);document.body.append(f);f.submit()}})\
         .catch(e=>{{document.getElementById('said').textContent='It could not be opened. '+e.message}})"
    );
    let body = format!(
        "<p id=\"said\" role=\"status\">Opening port {port} of {}.</p><noscript><p>This page needs JavaScript.</p></noscript>",
        escape(&shown)
    );
    Ok((StatusCode::OK, page_of("Opening the preview", &body, Some((&nonce, &script)))).into_response())
}
