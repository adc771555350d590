//! Who a request comes from, found once and kept beside it.

use super::{Backend, kept_out, watch::Credential};
use crate::{
    control::store_error,
    http::{
        errors,
        errors::Refusal,
        limits::neighbourhood_of,
        security::{ClientAddress, as_request, request_id},
        state::Plane,
    },
    room::Room,
};
use app::error::{ControlError, ErrorKind};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use axum_login::AuthSession;
use engine::store::accounts::tokens::TOKEN_PREFIX;
use http::{HeaderMap, StatusCode, header};
use model::{
    TokenId,
    activity::{Actor, Via},
    view::{Scope, Viewer},
};
use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    sync::Arc,
};

/// Who asks, on every request behind [`read`].
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Who, if anyone.
    pub viewer: Option<Viewer>,
    /// By what they are known.
    pub credential: Option<Credential>,
    /// The name of the token that they are known by, if it is one.
    pub token: Option<String>,
    /// Whether they are known, and are nobody all the same: they are kept out.
    pub kept_out: bool,
}

impl Visit {
    /// Who, if they are signed in: not who comes with a token.
    #[must_use]
    pub fn session(&self) -> Option<&Viewer> {
        self.viewer.as_ref().filter(|_| matches!(self.credential, Some(Credential::Session(_))))
    }
}

tokio::task_local! {
    static CURRENT: Current;
}

/// What is known of the present request where no argument reaches: in axum-login's store, and behind
/// server functions.
#[derive(Default)]
struct Current {
    credential: RefCell<Option<Credential>>,
    /// The name of the token, where it is one.
    token: RefCell<Option<String>>,
    away: Cell<bool>,
    /// Whether anything can be stored.
    room: Option<Arc<Room>>,
}

/// By what the visitor of the present request is known, if they are.
#[must_use]
pub fn credential() -> Option<Credential> {
    CURRENT.try_with(|current| current.credential.borrow().clone()).ok().flatten()
}

/// The token that makes what the present request asks for, if it came with one. What a token makes ends with it, so that
/// whoever has found one cannot keep what it opens.
#[must_use]
pub fn maker() -> Option<TokenId> {
    match credential() {
        Some(Credential::Token(maker)) => Some(maker),
        _ => None,
    }
}

/// Who asks for something in the present request, as activity tells it.
#[must_use]
pub fn actor(viewer: &Viewer) -> Actor {
    let via = match credential() {
        Some(Credential::Token(_)) => Via::Token,
        _ => Via::Browser,
    };
    let token = CURRENT.try_with(|current| current.token.borrow().clone()).ok().flatten();
    Actor { name: viewer.name.clone(), via, token }
}

/// Notes that the store was away while the present request was answered.
pub fn store_is_away() {
    let _ = CURRENT.try_with(|current| current.away.set(true));
}

/// Notes that the store had no room to write.
pub fn store_is_full() {
    if let Some(room) = room() {
        room.saw_full();
    }
}

/// The refusal of what is not stored for want of room, while there is none.
#[must_use]
pub fn no_room() -> Option<ControlError> {
    room()?.refusal()
}

fn room() -> Option<Arc<Room>> {
    CURRENT.try_with(|current| current.room.clone()).ok().flatten()
}

/// Runs a future, on another task, as part of the present request.
pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let future = as_request(request_id(), future);
    let token = CURRENT.try_with(|current| current.token.borrow().clone()).ok().flatten();
    let (credential, token) = (RefCell::new(credential()), RefCell::new(token));
    let current = Current { credential, token, room: room(), ..Current::default() };
    CURRENT.scope(current, future)
}

/// Outermost: gives the request its notes, and answers 503 where axum-login says 500 because the store
/// is away.
pub async fn begin(State(plane): State<Plane>, request: Request, next: Next) -> Response {
    let current = Current { room: Some(plane.room.clone()), ..Current::default() };
    CURRENT
        .scope(current, async {
            let response = next.run(request).await;
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
        Some(secret) => match token(&plane, secret, neighbourhood_of(request.extensions().get::<ClientAddress>())).await {
            Ok(visit) => visit,
            Err(refusal) => return refusal.into_response(),
        },
        None => request.extensions().get::<AuthSession<Backend>>().and_then(cookie).unwrap_or_default(),
    };
    let _ = CURRENT.try_with(|current| {
        current.credential.replace(visit.credential.clone());
        current.token.replace(visit.token.clone());
    });
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
    if user.kept_out {
        return Some(Visit { kept_out: true, ..Visit::default() });
    }
    let viewer = Viewer { user: user.id, name: user.name.clone(), scope: Scope::Write };
    Some(Visit { viewer: Some(viewer), credential: Some(Credential::Session(session.0)), ..Visit::default() })
}

/// # Errors
/// `401 Unauthorized` for one that is unknown, revoked or expired, or whose user is kept out, and `429 Too Many Requests` in
/// place of the first after many of them from the same neighbourhood; `503 Service Unavailable`.
async fn token(plane: &Plane, secret: &str, from: IpAddr) -> Result<Visit, Refusal> {
    let wrong = || {
        let message = format!("The token is unknown, revoked or expired. Tokens begin with `{TOKEN_PREFIX}`.");
        let unknown = Refusal::new(ErrorKind::SignedOut, "bad-token", message, "Make a new one: `fullstack-agent token create`.");
        plane.wrong_tokens.count(from).err().unwrap_or(unknown)
    };
    let (accounts, secret, now) = (plane.accounts.clone(), secret.to_owned(), plane.now());
    // In one turn, so that who leaves meanwhile costs no connection.
    let known = plane.turns.take(async move {
        let Some(holder) = accounts.verify_token(&secret, now).await? else { return Ok(None) };
        let user = accounts.user(holder.user).await?;
        Ok(user.map(|user| (holder, user)))
    });
    let (holder, user) = known.await.map_err(store_error)?.ok_or_else(wrong)?;
    if user.kept_out {
        return Err(kept_out().into());
    }
    let viewer = Viewer { user: user.id, name: user.name, scope: holder.scope };
    let credential = Some(Credential::Token(holder.token));
    Ok(Visit { viewer: Some(viewer), credential, token: Some(holder.name), kept_out: false })
}
