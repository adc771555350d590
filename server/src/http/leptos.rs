//! Pages and server functions, under the guard that makes Leptos safe under load
//! (docs/architecture.md, "Leptos on the server").
//!
//! [`isolate`] is the outermost layer around both: every request runs in a task of its own, under a root
//! owner of its own, to its end, and its body is buffered. A client that goes away cannot drop a render
//! half way, and nothing is adopted from another request. It ends streaming: every route is
//! `SsrMode::Async`.

use super::{
    auth::{
        kept_out,
        visit::{self, Visit},
    },
    body, dev,
    errors::{self, Refusal},
    first,
    limits::too_many,
    preview::page::{escape, page_of},
    routes,
    security::{ClientAddress, FromHere, Nonce},
    state::Plane,
};
use app::{
    control::RequestContext,
    error::{ControlError, ErrorKind},
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use leptos::{
    prelude::{Owner, provide_context},
    reactive::computed::ScopedFuture,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use tracing::{Instrument as _, error};

/// How many pages are rendered at a time. A page takes half a millisecond of CPU and waits for
/// PostgreSQL: more would only hold more memory.
const AT_A_TIME: usize = 256;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// How long a page may take. The task goes on to its end; the visitor does not wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells a browser's tools and the benchmarks how long the server was at it, in milliseconds.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Renders at most [`AT_A_TIME`] pages at a time.
#[derive(Debug, Clone)]
pub struct Renderer {
    turns: Arc<Semaphore>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

/// The pages of the app and its server functions. What no route of the app takes is its own "not
/// found" page.
pub fn routes(plane: &Plane) -> Router<Plane> {
    unguarded(plane).layer(middleware::from_fn_with_state(plane.clone(), isolate))
}

/// The same without the guard, as Leptos' own integration has them: tests show with it that their load
/// finds what the guard is for. Nothing else serves it.
pub fn unguarded(plane: &Plane) -> Router<Plane> {
    let context = bare_context(plane);
    let listed = leptos_axum::generate_route_list_with_exclusions_and_ssg_and_context(app::App, None, move || {
        provide_context(context.clone())
    });
    let mut router = Router::new().route("/api/fn/{*name}", post(server_function)).fallback(not_found);
    for route in listed.0 {
        router = router.route(route.path(), get(page));
    }
    router
}

/// Runs one Leptos request to its end under an owner of its own, and says how long that took. It counts as one to the API does.
async fn isolate(State(plane): State<Plane>, request: Request, next: Next) -> Response {
    let caller = routes::caller(request.extensions().get::<Visit>(), request.extensions().get::<ClientAddress>());
    if let Err(wait) = plane.admit(caller) {
        return too_often(request.uri().path(), wait);
    }
    // Before its turn: who sends slowly keeps nobody waiting.
    let (parts, body) = request.into_parts();
    let request = match body::read_body(body).await {
        Ok(body) => Request::from_parts(parts, Body::from(body)),
        Err(refusal) => return refusal.into_response(),
    };
    let begin = Instant::now();
    let mut response = run(&plane, request, next).await;
    let took = format!("total;dur={:.2}", begin.elapsed().as_secs_f64() * 1e3);
    if let Ok(took) = HeaderValue::from_str(&took) {
        response.headers_mut().insert(SERVER_TIMING, took);
    }
    response
}

async fn run(plane: &Plane, request: Request, next: Next) -> Response {
    let turns = plane.renderer.turns.clone();
    let Ok(Ok(turn)) = tokio::time::timeout(TURN, turns.acquire_owned()).await else { return busy() };
    let root = Owner::new_root(None);
    let render = root.with(|| {
        ScopedFuture::new_untracked(visit::carry(async move {
            let response = buffered(next.run(request).await).await;
            drop(turn);
            response
        }))
    });
    // The thread keeps a weak reference to its last owner: leave it one that is gone.
    drop(Owner::new_root(None));
    drop(root);
    match tokio::time::timeout(PATIENCE, tokio::spawn(render.in_current_span())).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            error!("a page or server function failed: {error}");
            Refusal::from(errors::internal()).into_response()
        }
        Err(_) => {
            error!("a page or server function took over {} s", PATIENCE.as_secs());
            busy()
        }
    }
}

/// A page's call reads the error itself.
fn too_often(path: &str, wait: Duration) -> Response {
    let refusal = too_many("requests", wait);
    if !path.starts_with("/api/fn/") {
        return refusal.into_response();
    }
    let mut response = (refusal.status(), axum::Json(refusal.error())).into_response();
    if let Some(wait) = refusal.error().kind.wait() {
        response.headers_mut().insert(header::RETRY_AFTER, wait.secs().into());
    }
    response
}

fn busy() -> Response {
    let message = "The server has more pages to make than it can.";
    Refusal::new(ErrorKind::Unavailable, "busy", message, "Ask again in a few seconds.").into_response()
}

async fn buffered(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => Response::from_parts(parts, Body::from(body.to_bytes())),
        Err(error) => {
            error!("a page broke off: {error:#}");
            Refusal::from(errors::internal()).into_response()
        }
    }
}

/// Always provided, for pages and server functions alike.
fn context(plane: &Plane, request: &Request) -> RequestContext {
    let viewer = request.extensions().get::<Visit>().and_then(|visit| visit.viewer.clone());
    let nonce = request.extensions().get::<Nonce>().map(|nonce| nonce.0.clone()).unwrap_or_default();
    let here = request.extensions().get::<FromHere>().is_some_and(|here| here.0);
    let sign_in_command = plane.sign_in_command_to(viewer.is_some() || here).to_owned();
    RequestContext { viewer, nonce, sign_in_command, ..bare_context(plane) }
}

fn bare_context(plane: &Plane) -> RequestContext {
    RequestContext {
        viewer: None,
        control: plane.control(),
        nonce: String::new(),
        public: plane.origins.public(),
        sign_in_command: plane.sign_in_command_to(false).to_owned(),
        assets: plane.site.assets(),
        first: Arc::default(),
    }
}

async fn page(State(plane): State<Plane>, request: Request) -> Response {
    // Anybody may sign in, also in another way than before.
    if request.extensions().get::<Visit>().is_some_and(|visit| visit.kept_out) && request.uri().path() != "/sign-in" {
        return kept_out_page();
    }
    let mut context = context(&plane, &request);
    let asked = first::Asked::read(&plane, &request);
    context.first = Arc::new(first::of(&plane, asked).await);
    let nonce = Nonce(context.nonce.clone());
    let provided = context.clone();
    let render =
        leptos_axum::render_app_async_with_context(move || provide_context(provided.clone()), move || app::shell(&context));
    dev::reloading(&plane, &nonce, render(request).await).await
}

/// Says to who is known why they see nothing.
fn kept_out_page() -> Response {
    let ControlError { message, next_steps, .. } = kept_out();
    let said: Vec<String> = [message].into_iter().chain(next_steps).map(|said| format!("<p>{}</p>", escape(&said))).collect();
    let body = format!("{}<p><a href=\"/sign-in\">Sign in otherwise</a></p>", said.concat());
    let page = page_of("Sign-in by GitHub is off", &body, None);
    (StatusCode::UNAUTHORIZED, [(header::CACHE_CONTROL, "no-store")], page).into_response()
}

async fn server_function(State(plane): State<Plane>, request: Request) -> Response {
    let context = context(&plane, &request);
    if server_fn_unknown(&request) {
        return no_such_address(request.uri().path());
    }
    let answer = leptos_axum::handle_server_fns_with_context(move || provide_context(context.clone()), request);
    with_its_status(answer.await.into_response()).await
}

/// Leptos answers 500 where it cannot read what a function is given, whatever the error in the body is.
async fn with_its_status(response: Response) -> Response {
    if response.status() != StatusCode::INTERNAL_SERVER_ERROR {
        return response;
    }
    let (mut parts, body) = buffered(response).await.into_parts();
    let Ok(body) = body.collect().await else { return Refusal::from(errors::internal()).into_response() };
    let body = body.to_bytes();
    if let Ok(error) = serde_json::from_slice::<ControlError>(&body)
        && let Ok(status) = StatusCode::from_u16(error.kind.status())
    {
        parts.status = status;
    }
    Response::from_parts(parts, Body::from(body))
}

fn server_fn_unknown(request: &Request) -> bool {
    leptos::server_fn::axum::server_fn_paths().all(|(path, method)| path != request.uri().path() || method != Method::POST)
}

/// What has no route: the app's own page for people, our error shape for programs.
async fn not_found(state: State<Plane>, request: Request) -> Response {
    let path = request.uri().path();
    let accepts = request.headers().get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    let person = matches!(*request.method(), Method::GET | Method::HEAD) && accepts.contains("text/html");
    if !person || path == "/api" || path.starts_with("/api/") {
        return no_such_address(path);
    }
    let mut response = page(state, request).await;
    if response.status().is_success() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

fn no_such_address(path: &str) -> Response {
    let path: String = path.chars().take(200).collect();
    let message = format!("There is nothing at {path}.");
    let error = ControlError::new(ErrorKind::NotFound, "no-such-address", message, "Check the address.");
    Refusal::from(error).into_response()
}
