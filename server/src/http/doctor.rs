//! `GET /api/doctor`: what `fullstack-agent doctor` looks at, and `/doctor`, its page.
//!
//! They are the operator's: for anybody else they are not there. The answer is `{"findings": […]}`, or with
//! `Accept: application/x-ndjson` each finding on a line of its own as it is made. With `probes=true` pods are started
//! on the cluster, which takes up to two minutes and a token that may change things.

use super::{
    auth::visit::Visit,
    errors::Refusal,
    first,
    frame::{self, Framed},
    preview::page::escape,
    routes::{Access, Me, refuse},
    security::Nonce,
    state::Plane,
};
use crate::{control::store_error, doctor::Look};
use app::error::{ControlError, ErrorKind};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Query, State},
    response::{Html, IntoResponse as _, Redirect, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Uri, header};
use kubernetes::doctor::Finding;
use model::view::Viewer;
use serde::Deserialize;
use std::{convert::Infallible, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// After how long who finds the doctor busy asks again: a look at a machine takes about as long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// A project's id.
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    probes: bool,
}

/// `GET /api/doctor?project=ID&probes=false`.
///
/// # Errors
/// `400 Bad Request`; `403 Forbidden`: probes, by a token of scope `read`; `404 Not Found` for anybody but the operator, and for
/// a project that is not theirs; `429 Too Many Requests`: a look is under way.
pub async fn look(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    wish: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    operator(&plane, &viewer).await?;
    let Query(wish) = wish.map_err(|_| {
        let message = "The doctor is asked by `project` (an id) and `probes` (true or false).";
        Refusal::new(ErrorKind::Malformed, "bad-query", message, "Ask for example for `?probes=true`.")
    })?;
    if wish.probes
        && let Some(error) = refuse(Access::Write, Some(&visit))
    {
        return Err(error.into());
    }
    let project = match wish.project {
        Some(project) => {
            let id = project.parse().map_err(|_| ControlError::not_found())?;
            Some(Box::new(plane.controller.row(&viewer, id).await?))
        }
        None => None,
    };
    let look = Look { project, probe: wish.probes };
    let busy = || {
        let message = "The doctor is looking already, and looks once at a time.";
        ControlError::too_many("doctor-busy", message, LOOK_AGAIN)
    };
    let lines = headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).is_some_and(|kinds| kinds.contains("ndjson"));
    if !lines {
        let report = plane.doctor.look(look, None).await.ok_or_else(busy)?;
        return Ok(Json(report).into_response());
    }
    let (tell, told) = mpsc::unbounded_channel();
    let doctor = plane.doctor.clone();
    tokio::spawn(async move {
        if doctor.look(look, Some(tell.clone())).await.is_none() {
            let why = "One answer at a time is enough for a cluster.";
            let _ = tell.send(Finding::new(
                "doctor",
                kubernetes::doctor::Verdict::Warn,
                busy().message,
                why,
                &["Ask again in a moment."],
            ));
        }
    });
    let stop = plane.stop.clone();
    let lines = UnboundedReceiverStream::new(told).take_until(stop.cancelled_owned()).map(|finding| {
        let mut line = serde_json::to_vec(&finding).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// `GET /doctor`: the page. Its element does all of it, in TypeScript; what it shows first is in the page, where that is quick.
///
/// # Errors
/// `404 Not Found` for anybody but the operator.
pub async fn page(
    State(plane): State<Plane>,
    Extension(visit): Extension<Visit>,
    Extension(Nonce(nonce)): Extension<Nonce>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Some(viewer) = visit.viewer else { return Ok(Redirect::to("/sign-in?next=%2Fdoctor").into_response()) };
    operator(&plane, &viewer).await?;
    let probes = if plane.doctor.probes() { " probes" } else { "" };
    // Of a project, only a cluster has more to tell: then the element asks.
    let seen = if uri.query().is_none() { first::of_doctor(&plane).await } else { String::new() };
    let without = if seen.is_empty() { "<noscript><p>This page needs JavaScript.</p></noscript>" } else { "" };
    let content = format!(
        "<div class=\"page-head\"><div><h1>Doctor</h1><p>What is right and wrong with this installation, why it matters, and what \
         mends it.</p></div></div><fsa-doctor src=\"/api/doctor\"{probes}>{seen}</fsa-doctor>{without}"
    );
    let script =
        format!("fsaLoad('{}',m=>customElements.define('fsa-doctor',m.Doctor)),", escape(&plane.site.assets().doctor_js));
    let framed = Framed { title: "Doctor", class: "doctor", content: &content, nonce: &nonce, script: &script, public: false };
    Ok(Html(frame::page(&plane, &framed)).into_response())
}

/// For whoever runs this installation alone.
async fn operator(plane: &Plane, viewer: &Viewer) -> Result<(), Refusal> {
    if is_operator(plane, viewer).await? { Ok(()) } else { Err(ControlError::not_found().into()) }
}

/// Whether the viewer runs this installation.
///
/// # Errors
/// `503 Service Unavailable`.
pub async fn is_operator(plane: &Plane, viewer: &Viewer) -> Result<bool, Refusal> {
    let owner = plane.accounts.ensure_owner(plane.now()).await.map_err(store_error)?;
    Ok(owner.id == viewer.user)
}
