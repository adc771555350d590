//! Signing in by the one-time link, and out.

use super::{Backend, SignedIn};
use crate::{
    control::{sessions, store_error},
    http::{
        body::Json,
        errors::{self, Refusal},
        patience::patient,
        preview::is_path,
        security::{ClientAddress, FromHere},
        state::Plane,
    },
};
use app::error::ErrorKind;
use axum::{
    Extension,
    extract::State,
    response::{IntoResponse as _, Response},
};
use axum_login::AuthSession;
use engine::store::{
    accounts::CodeUse,
    activity::{self, Entry},
};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use model::UserId;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

/// `POST /api/sign-in`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
pub struct SignIn {
    /// What stands after `#` in the link.
    code: String,
    /// Where the visitor wanted to go: a path of this very server. Any other is as if it were not given.
    #[serde(default)]
    next: Option<String>,
}

/// Its answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[derive(utoipa::ToSchema)]
pub struct SignedInAs {
    name: String,
    next: String,
}

/// `POST /api/sign-out`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
pub struct SignOut {
    /// All of the user's sessions, on every machine.
    #[serde(default)]
    everywhere: bool,
}

/// `POST /api/sign-in`: a session for a code. The session that the browser had before is ended, and
/// the new one has another id.
///
/// # Errors
/// `401 Unauthorized` for a code that was never made, `410 Gone` for one that was used or is too old,
/// `429 Too Many Requests` for either, after many from the same neighbourhood; a right one works all the same.
pub async fn sign_in(
    State(plane): State<Plane>,
    Extension(from): Extension<ClientAddress>,
    Extension(FromHere(here)): Extension<FromHere>,
    headers: HeaderMap,
    mut auth: AuthSession<Backend>,
    Json(SignIn { code, next }): Json<SignIn>,
) -> Result<Response, Refusal> {
    let used = patient(plane.accounts.use_sign_in_code(code.trim(), plane.now())).await.map_err(store_error)?;
    let user = match used {
        CodeUse::Accepted(user) => user,
        refused => {
            // Past the limit, the log is not written either.
            plane.wrong_codes.count(from.0)?;
            warn_of(refused, from);
            return Err(refusal(refused, plane.sign_in_command_to(here)));
        }
    };
    let name = patient(plane.accounts.user(user)).await.map_err(store_error)?.map(|user| user.name).unwrap_or_default();
    log_in(&mut auth, user, &name, &headers).await?;
    plane.watch.look();
    info!(user.id = %user, "signed in by link");
    tell(&plane, user, &activity::signed_in(&name, "by the link", from.0)).await;
    let next = next.filter(|next| is_path(next)).unwrap_or_else(|| "/".to_owned());
    Ok(axum::Json(SignedInAs { name, next }).into_response())
}

/// Tells of it in the account's activity. Who signed in or out, or connected something, did so also where that fails.
pub async fn tell(plane: &Plane, user: UserId, entry: &Entry) {
    if let Err(error) = patient(plane.accounts.tell(user, entry, plane.now())).await {
        warn!(user.id = %user, "failed to tell what happened to an account: {error:#}");
    }
}

/// Begins a session: axum-login gives a new id only where nobody was signed in, so first the old session goes, and then its id.
///
/// # Errors
/// `503 Service Unavailable`.
pub async fn log_in(auth: &mut AuthSession<Backend>, user: UserId, name: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let failed = |error: String| {
        if error.contains(super::session_store::AWAY) {
            return Refusal::from(errors::unavailable());
        }
        error!("failed to begin a session: {error}");
        errors::internal().into()
    };
    if auth.session.id().is_some() {
        auth.session.flush().await.map_err(|error| failed(error.to_string()))?;
    }
    // Flushing forgets what is in it and keeps its id: without this, the new session would have that of the old.
    auth.session.cycle_id().await.map_err(|error| failed(error.to_string()))?;
    let browser = headers.get(header::USER_AGENT).and_then(|browser| browser.to_str().ok());
    let browser: Option<String> = browser.map(|browser| browser.chars().take(sessions::LONGEST_BROWSER).collect());
    let kept = async {
        auth.session.insert(sessions::SINCE, Timestamp::now().as_second()).await?;
        auth.session.insert(sessions::BROWSER, browser).await
    };
    kept.await.map_err(|error| failed(error.to_string()))?;
    auth.login(&SignedIn { id: user, name: name.to_owned(), kept_out: false }).await.map_err(|error| failed(error.to_string()))
}

/// `POST /api/sign-out`: the session is over everywhere: in every tab, stream, terminal and preview.
///
/// # Errors
/// `503 Service Unavailable`: then it is not over.
pub async fn sign_out(
    State(plane): State<Plane>,
    Extension(from): Extension<ClientAddress>,
    mut auth: AuthSession<Backend>,
    Json(SignOut { everywhere }): Json<SignOut>,
) -> Result<StatusCode, Refusal> {
    let who = auth.user.clone();
    if let Some(user) = who.as_ref().filter(|_| everywhere) {
        patient(plane.accounts.end_sessions_of(user.id)).await.map_err(store_error)?;
    }
    if auth.session.id().is_some() {
        auth.logout().await.map_err(|error| {
            error!("failed to end a session: {error}");
            Refusal::from(errors::unavailable())
        })?;
    }
    plane.watch.look();
    if let Some(user) = who {
        tell(&plane, user.id, &activity::signed_out(&user.name, everywhere, from.0)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn warn_of(used: CodeUse, ClientAddress(from): ClientAddress) {
    match used {
        CodeUse::Unknown => warn!(client.address = %from, "somebody came with a sign-in code that was never made"),
        _ => info!(client.address = %from, "somebody came with a sign-in code that is over"),
    }
}

fn refusal(used: CodeUse, command: &str) -> Refusal {
    let next = format!("Print a new link with `{command}`.");
    let (kind, status, code, message) = match used {
        CodeUse::Used => {
            (ErrorKind::SignedOut, StatusCode::GONE, "link-used", "This sign-in link was used before. A link works once.")
        }
        CodeUse::Expired => (
            ErrorKind::SignedOut,
            StatusCode::GONE,
            "link-expired",
            "This sign-in link has expired. A link works for 15 minutes.",
        ),
        CodeUse::Unknown | CodeUse::Accepted(_) => (
            ErrorKind::SignedOut,
            StatusCode::UNAUTHORIZED,
            "link-unknown",
            "This sign-in link is not one of this installation's, or it was cut short.",
        ),
    };
    Refusal::new(kind, code, message, &next).with_status(status)
}
