//! One router of everything.

use super::{
    assets,
    auth::{Backend, session_store::Sessions, visit},
    dev, doctor, errors, github, health, ingress, leptos, metrics, open, openapi, routes, security,
    state::Plane,
};
use axum::{Router, middleware, routing::get};
use axum_login::AuthManagerLayerBuilder;
use tower_sessions::{
    Expiry, SessionManagerLayer,
    cookie::{SameSite, time::Duration},
};

/// How long a session lasts, from its sign-in.
const SESSION_LIFE: Duration = Duration::days(30);

/// The cookie's name; under TLS it is bound to its host.
#[must_use]
pub fn session_cookie(secure: bool) -> &'static str {
    if secure { "__Host-fsa_session" } else { "fsa_session" }
}

/// Everything that this server answers.
pub fn router(plane: &Plane) -> Router {
    router_with(plane, leptos::routes(plane))
}

/// The same around other pages: tests see what becomes of one that fails.
pub fn router_with(plane: &Plane, pages: Router<Plane>) -> Router {
    let secure = plane.origins.secure();
    let sessions = SessionManagerLayer::new(Sessions::new(plane.accounts.clone()))
        .with_name(session_cookie(secure))
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(secure)
        .with_expiry(Expiry::OnInactivity(SESSION_LIFE));
    let auth = AuthManagerLayerBuilder::new(Backend::new(plane.accounts.clone()), sessions).build();
    let with_visit = routes::table(plane)
        .route("/open/{target}/{port}", get(open::page))
        .route("/doctor", get(doctor::page))
        .route("/ingress/sign-in", get(ingress::page).post(ingress::enter))
        .route(crate::github::CALLBACK, get(github::callback))
        .merge(pages)
        .layer(middleware::from_fn_with_state(plane.clone(), visit::read))
        .layer(auth)
        .layer(middleware::from_fn_with_state(plane.clone(), visit::begin));
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
        .route("/ingress/auth", get(ingress::auth))
        .route("/ingress/share", get(ingress::link).post(ingress::enter_by_link))
        .route("/docs/api", get(openapi::page::show))
        .route("/pkg/{file}", get(assets::serve))
        .route("/pkg/{folder}/{file}", get(assets::serve_again))
        .merge(with_visit)
        .merge(dev::routes(plane))
        .layer(middleware::from_fn(errors::shape))
        .layer(middleware::from_fn_with_state(plane.clone(), security::gate))
        .with_state(plane.clone())
}
