//! The table of routes: what there is, and who may. The router is built from it, and so is the matrix
//! of authorisation in the tests: a route without a row cannot be.

use super::{
    auth::{kept_out, sign_in, visit::Visit},
    doctor,
    errors::{About, Refusal},
    etag, events, exec, files, github,
    limits::{neighbourhood_of, too_many},
    logs,
    metrics::RouteName,
    openapi,
    rest::{activity, claude, env, projects, repository, sandbox, sandboxes, sessions, shares, tokens},
    security::{ClientAddress, is_websocket},
    state::{Caller, Plane},
    terminal,
};
use crate::control::{read_only, session_only};
use app::error::ControlError;
use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, patch, post, put},
};
use http::{HeaderValue, Method, header, request::Parts};
use model::view::{Scope, Viewer};

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Who is signed in, or comes with any token.
    Read,
    /// Who is signed in, or comes with a token of scope `write`.
    Write,
    /// Who is signed in, and no token: what is made would outlive it.
    Session,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path; `{project}` is a project's id.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// What stands after "Failed to" in its errors.
    pub doing: &'static str,
    handler: fn() -> MethodRouter<Plane>,
}

const fn route(
    method: Method,
    path: &'static str,
    access: Access,
    doing: &'static str,
    handler: fn() -> MethodRouter<Plane>,
) -> Route {
    Route { method, path, access, doing, handler }
}

/// All of them, but for pages, server functions, assets and health.
pub static ROUTES: &[Route] = &[
    route(Method::POST, "/api/sign-in", Access::Public, "sign in", || post(sign_in::sign_in)),
    route(Method::POST, "/api/sign-out", Access::Public, "sign out", || post(sign_in::sign_out)),
    route(Method::POST, "/api/github/sign-in", Access::Public, "sign in by GitHub", || post(github::sign_in)),
    route(Method::POST, "/api/github/connect", Access::Session, "connect GitHub", || post(github::connect)),
    route(Method::GET, "/api/github", Access::Read, "say what is connected", || get(github::get)),
    route(Method::DELETE, "/api/github", Access::Write, "disconnect GitHub", || delete(github::disconnect)),
    route(Method::GET, "/api/github/repositories", Access::Write, "list repositories", || get(github::list)),
    route(Method::GET, "/api/me", Access::Read, "say who is signed in", || get(tokens::me)),
    route(Method::GET, "/api/tokens", Access::Read, "list tokens", || get(tokens::list)),
    route(Method::POST, "/api/tokens", Access::Write, "create token", || post(tokens::create)),
    route(Method::DELETE, "/api/tokens/{token}", Access::Write, "revoke token", || delete(tokens::revoke)),
    route(Method::GET, "/api/sessions", Access::Read, "list sessions", || get(sessions::list)),
    route(Method::DELETE, "/api/sessions", Access::Write, "end sessions", || delete(sessions::end_others)),
    route(Method::DELETE, "/api/sessions/{session}", Access::Write, "end session", || delete(sessions::end)),
    route(Method::GET, "/api/claude", Access::Read, "get Claude credentials", || get(claude::get)),
    route(Method::PUT, "/api/claude", Access::Write, "set Claude credentials", || put(claude::put)),
    route(Method::DELETE, "/api/claude", Access::Write, "remove Claude credentials", || delete(claude::delete)),
    route(Method::GET, "/api/openapi.json", Access::Public, "describe the API", || get(openapi::json)),
    route(Method::GET, "/api/events", Access::Read, "follow events", || get(events::events)),
    route(Method::GET, "/api/doctor", Access::Read, "look at the installation", || get(doctor::look)),
    route(Method::GET, "/api/projects", Access::Read, "list projects", || get(projects::list)),
    route(Method::POST, "/api/projects", Access::Write, "create project", || post(projects::create)),
    route(Method::GET, "/api/projects/{project}", Access::Read, "get project", || get(projects::get)),
    route(Method::PATCH, "/api/projects/{project}", Access::Write, "change project", || patch(projects::change)),
    route(Method::DELETE, "/api/projects/{project}", Access::Write, "delete project", || delete(projects::remove)),
    route(Method::GET, "/api/projects/{project}/env", Access::Read, "get variables", || get(env::get)),
    route(Method::PUT, "/api/projects/{project}/env", Access::Write, "change variables", || put(env::put)),
    route(Method::GET, "/api/activity", Access::Read, "read activity", || get(activity::all)),
    route(Method::GET, "/api/projects/{project}/activity", Access::Read, "read activity", || get(activity::of_project)),
    route(Method::GET, "/api/projects/{project}/database", Access::Read, "get database", || get(projects::database)),
    route(Method::POST, "/api/projects/{project}/database/reveal", Access::Write, "reveal password", || post(projects::reveal)),
    route(Method::POST, "/api/projects/{project}/database/reset-password", Access::Write, "reset password", || {
        post(projects::reset_password)
    }),
    route(Method::GET, "/api/projects/{project}/repository", Access::Read, "get repository", || get(projects::repository)),
    route(Method::POST, "/api/projects/{project}/repository", Access::Write, "decide on a clone", || {
        post(projects::decide_clone)
    }),
    route(Method::GET, "/api/projects/{project}/sandboxes", Access::Read, "list sandboxes", || get(sandboxes::list)),
    route(Method::POST, "/api/projects/{project}/sandboxes", Access::Write, "add sandbox", || post(sandboxes::create)),
    route(Method::DELETE, "/api/projects/{project}/sandboxes/{sandbox}", Access::Write, "remove sandbox", || {
        delete(sandboxes::remove)
    }),
    route(Method::GET, "/api/projects/{project}/repository/status", Access::Read, "look at the repository", || {
        get(repository::status)
    }),
    route(Method::POST, "/api/projects/{project}/repository/commit", Access::Write, "commit", || post(repository::commit)),
    route(Method::POST, "/api/projects/{project}/repository/push", Access::Write, "push", || post(repository::push)),
    route(Method::GET, "/api/projects/{project}/repository/publication", Access::Read, "get publication", || {
        get(repository::publication)
    }),
    route(Method::POST, "/api/projects/{project}/repository/publication", Access::Write, "publish", || post(repository::publish)),
    route(Method::POST, "/api/projects/{project}/preview", Access::Write, "open preview", || post(projects::preview)),
    route(Method::GET, "/api/projects/{project}/shares", Access::Read, "list shares", || get(shares::list)),
    route(Method::GET, "/api/projects/{project}/ports/{port}/share", Access::Read, "get share", || get(shares::get)),
    route(Method::PUT, "/api/projects/{project}/ports/{port}/share", Access::Write, "share preview", || put(shares::put)),
    route(Method::DELETE, "/api/projects/{project}/ports/{port}/share", Access::Write, "end share", || delete(shares::delete)),
    route(Method::GET, "/api/sandbox/{project}", Access::Read, "get sandbox", || get(sandbox::get)),
    route(Method::POST, "/api/sandbox/{project}", Access::Write, "create sandbox", || post(sandbox::create)),
    route(Method::DELETE, "/api/sandbox/{project}", Access::Write, "terminate sandbox", || delete(sandbox::terminate)),
    route(Method::POST, "/api/sandbox/{project}/start", Access::Write, "start sandbox", || post(sandbox::start)),
    route(Method::POST, "/api/sandbox/{project}/stop", Access::Write, "stop sandbox", || post(sandbox::stop)),
    route(Method::POST, "/api/sandbox/{project}/restart", Access::Write, "restart sandbox", || post(sandbox::restart)),
    route(Method::POST, "/api/sandbox/{project}/exec", Access::Write, "run command", || post(exec::exec)),
    route(Method::GET, "/api/sandbox/{project}/files", Access::Read, "list files", || get(files::get)),
    route(Method::GET, "/api/sandbox/{project}/files/{*path}", Access::Read, "read file", || get(files::get)),
    route(Method::PUT, "/api/sandbox/{project}/files/{*path}", Access::Write, "write file", || put(files::put)),
    route(Method::POST, "/api/sandbox/{project}/files/{*path}", Access::Write, "rename file", || post(files::rename)),
    route(Method::DELETE, "/api/sandbox/{project}/files/{*path}", Access::Write, "delete file", || delete(files::delete)),
    route(Method::GET, "/api/sandbox/{project}/logs", Access::Read, "read log", || get(logs::logs)),
    route(Method::GET, "/api/sandbox/{project}/terminal", Access::Write, "open terminal", || get(terminal::open)),
    route(Method::GET, "/api/sandbox/{project}/terminals", Access::Read, "list terminals", || get(terminal::list)),
    route(Method::DELETE, "/api/sandbox/{project}/terminal/{session}", Access::Write, "end terminal", || delete(terminal::end)),
];

/// A router of the table.
pub fn table(plane: &Plane) -> Router<Plane> {
    ROUTES.iter().fold(Router::new(), |router, route| {
        let handler = (route.handler)().layer(middleware::from_fn_with_state((plane.clone(), route), guard));
        router.route(route.path, handler)
    })
}

/// Who may, checked before the handler sees anything; what errors are about; and the tag of what is read.
async fn guard(State((plane, route)): State<(Plane, &'static Route)>, mut request: Request, next: Next) -> Response {
    let about = About { doing: route.doing, project: project_of(route.path, request.uri().path()) };
    let visit = request.extensions().get::<Visit>();
    if let Err(wait) = plane.admit(caller(visit, request.extensions().get::<ClientAddress>())) {
        let mut response = too_many("requests", wait).into_response();
        response.extensions_mut().insert(about);
        response.extensions_mut().insert(RouteName(route.path));
        return response;
    }
    let refused = refuse(route.access, visit);
    // A browser does not tell a page why a WebSocket was not opened: the terminal's handler opens it and says
    // why by the code that it closes with. No other has such a way to refuse, whatever headers are sent.
    let says_itself =
        route.path.ends_with("/terminal") && is_websocket(request.headers()) && request.headers().contains_key(header::ORIGIN);
    request.extensions_mut().insert(route.access);
    let known: Vec<HeaderValue> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let mut response = match refused {
        Some(error) if !says_itself => Refusal::from(error).into_response(),
        _ => next.run(request).await,
    };
    if route.method == Method::GET {
        response = etag::tagged(&known, response).await;
    }
    response.extensions_mut().insert(about);
    response.extensions_mut().insert(RouteName(route.path));
    response
}

/// Why a visitor may not.
#[must_use]
pub fn refuse(access: Access, visit: Option<&Visit>) -> Option<ControlError> {
    let scope = visit.and_then(|visit| visit.viewer.as_ref()).map(|viewer| viewer.scope);
    match (access, scope) {
        (Access::Public, _) | (Access::Read, Some(_)) | (Access::Write, Some(Scope::Write)) => None,
        (_, None) if visit.is_some_and(|visit| visit.kept_out) => Some(kept_out()),
        (_, None) => Some(ControlError::signed_out()),
        (Access::Session, Some(_)) => visit.is_none_or(|visit| visit.session().is_none()).then(session_only),
        (Access::Write, Some(Scope::Read)) => Some(read_only()),
    }
}

/// As whom a request counts.
pub(super) fn caller(visit: Option<&Visit>, from: Option<&ClientAddress>) -> Caller {
    match visit.and_then(|visit| visit.credential.clone()) {
        Some(credential) => Caller::Known(credential),
        None => Caller::Unknown(neighbourhood_of(from)),
    }
}

fn project_of(template: &str, path: &str) -> Option<String> {
    let at = template.split('/').position(|part| part == "{project}")?;
    path.split('/').nth(at).map(|project| project.chars().take(100).collect())
}

/// Who asks, behind a route that is not public, and may do what the route does: a handler that takes this has asked once more.
#[derive(Debug, Clone)]
pub struct Me(pub Viewer);

impl<S: Send + Sync> FromRequestParts<S> for Me {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let visit = parts.extensions.get::<Visit>();
        let access = parts.extensions.get::<Access>().copied().unwrap_or(Access::Write);
        if let Some(error) = refuse(access, visit) {
            return Err(error.into());
        }
        let viewer = visit.and_then(|visit| visit.viewer.clone());
        viewer.map(Self).ok_or_else(|| ControlError::signed_out().into())
    }
}
