//! Who a request comes from, found once and kept beside it.

use super::{Backend, watch::Credential};
use crate::{
    control::store_error,
    http::{errors, errors::Refusal, state::Plane},
};
use app::error::{ControlError, ErrorKind};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use axum_login::AuthSession;
use engine::store::accounts::TOKEN_PREFIX;
use http::{HeaderMap, StatusCode, header};
use model::view::{Scope, Viewer};
use std::{cell::Cell, pin::pin, time::Duration};
use tokio::time::timeout;

/// Who asks, on every request behind [`read`].
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Who, if anyone.
    pub viewer: Option<Viewer>,
    /// By what they are known.
    pub credential: Option<Credential>,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// What is known of the present request where no argument reaches: in axum-login's store, and behind
/// server functions.
#[derive(Default)]
struct Current {
    credential: Cell<Option<Credential>>,
    away: Cell<bool>,
    long: Cell<bool>,
}

/// How long an answer may take before the store is taken to be away: it may hold a query for ever
/// without a word (a stopped process, a lost network).
const PATIENCE: Duration = Duration::from_secs(10);

/// By what the visitor of the present request is known, if they are.
#[must_use]
pub fn credential() -> Option<Credential> {
    CURRENT.try_with(|current| current.credential.get()).ok().flatten()
}

/// Notes that the store was away while the present request was answered.
pub fn store_is_away() {
    let _ = CURRENT.try_with(|current| current.away.set(true));
}

/// The present request may take as long as it takes: it runs somebody's command.
pub fn may_take_long() {
    let _ = CURRENT.try_with(|current| current.long.set(true));
}

/// Runs a future, on another task, as part of the present request.
pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let current = Current { credential: Cell::new(credential()), ..Current::default() };
    CURRENT.scope(current, future)
}

/// Outermost: gives the request its notes, and answers 503 where the store does not, or where axum-login
/// says 500 because of it.
pub async fn begin(request: Request, next: Next) -> Response {
    CURRENT
        .scope(Current::default(), async {
            let mut answer = pin!(next.run(request));
            let response = match timeout(PATIENCE, &mut answer).await {
                Ok(response) => response,
                Err(_) if CURRENT.with(|current| current.long.get()) => answer.await,
                Err(_) => return Refusal::from(errors::unavailable()).into_response(),
            };
            let away = CURRENT.with(|current| current.away.get());
            let unshaped = response.extensions().get::<ControlError>().is_none();
            if response.status() == StatusCode::INTERNAL_SERVER_ERROR && away && unshaped {
                return Refusal::from(errors::unavailable()).into_response();
            }
            response
        })
        .await
}

/// Behind axum-login: finds out who asks. A token in the header goes before a cookie.
pub async fn read(State(plane): State<Plane>, mut request: Request, next: Next) -> Response {
    let visit = match bearer(request.headers()) {
        Some(secret) => match token(&plane, secret).await {
            Ok(visit) => visit,
            Err(refusal) => return refusal.into_response(),
        },
        None => request.extensions().get::<AuthSession<Backend>>().and_then(cookie).unwrap_or_default(),
    };
    let _ = CURRENT.try_with(|current| current.credential.set(visit.credential));
    request.extensions_mut().insert(visit);
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

fn cookie(auth: &AuthSession<Backend>) -> Option<Visit> {
    let (user, session) = (auth.user.as_ref()?, auth.session.id()?);
    let viewer = Viewer { user: user.id, name: user.name.clone(), scope: Scope::Write };
    Some(Visit { viewer: Some(viewer), credential: Some(Credential::Session(session.0)) })
}

async fn token(plane: &Plane, secret: &str) -> Result<Visit, Refusal> {
    let unknown = || {
        let message = format!("The token is unknown, revoked or expired. Tokens begin with `{TOKEN_PREFIX}`.");
        Refusal::new(ErrorKind::SignedOut, "bad-token", message, "Make a new one: `fullstack-agent token create`.")
    };
    let holder = plane.accounts.verify_token(secret, plane.now()).await.map_err(store_error)?.ok_or_else(unknown)?;
    let user = plane.accounts.user(holder.user).await.map_err(store_error)?.ok_or_else(unknown)?;
    let viewer = Viewer { user: user.id, name: user.name, scope: holder.scope };
    Ok(Visit { viewer: Some(viewer), credential: Some(Credential::Token(holder.token)) })
}
