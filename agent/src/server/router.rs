//! Which route answers, and who may ask.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use hyper::body::Incoming;

use super::{
    Agent,
    body::{Answer, Body, Served, empty, json, read_json, with_type},
    error::Error,
    events, exec, files, forward,
    listen::Door,
    query::Query,
    terminal, tunnel,
};
use crate::protocol::{
    PROTOCOL_VERSION,
    http::{Health, ShutdownRequest},
    name::SessionName,
};

/// Leads from what is asked here to the control plane's log.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers one request. Never fails: an error is an answer.
pub async fn route(agent: Rc<Agent>, door: Door, request: Request<Incoming>) -> Served {
    let id = request.headers().get(X_REQUEST_ID).cloned();
    let asked = format!("{} {}", request.method(), request.uri().path());
    let answer = match door {
        Door::All => all(&agent, request).await,
        Door::Tty => tty(&agent, request).await,
    };
    let mut answer = answer.unwrap_or_else(|error| error.answer());
    if let Some(id) = id {
        if answer.status().is_server_error() {
            let shown = id.to_str().unwrap_or_default();
            eprintln!("{} answers {asked} of the request {shown}", answer.status().as_u16());
        }
        answer.headers_mut().insert(X_REQUEST_ID, id);
    }
    Ok(answer)
}

async fn all(agent: &Rc<Agent>, request: Request<Incoming>) -> Result<Answer, Error> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    if path == "/healthz" {
        return allow(&method, &[Method::GET, Method::HEAD], "/healthz").map(|()| health(agent));
    }
    admit(agent, request.headers())?;
    // What a tunnel carries counts by itself.
    if !["/v1/events", "/v1/tunnel"].contains(&path.as_str()) {
        agent.touch();
    }
    if let Some(file) = path.strip_prefix("/v1/files").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return files::route(agent, &method, file, request).await;
    }
    if let Some(name) = path.strip_prefix("/v1/sessions/") {
        return session(agent, &method, name, &Query::of(request.uri())).await;
    }
    match path.as_str() {
        "/ws" => terminal::open(agent, Door::All, true, request),
        "/token" => Ok(json(StatusCode::OK, &serde_json::json!({ "token": agent.token.expose() }))),
        "/v1/sessions" => allow(&method, &[Method::GET], &path).map(|()| json(StatusCode::OK, &agent.sessions.infos())),
        "/v1/exec" => {
            allow(&method, &[Method::POST], &path)?;
            exec::run(agent, read_json(request.into_body()).await?)
        }
        "/v1/events" => allow(&method, &[Method::GET], &path).map(|()| events::subscribe(agent)),
        "/v1/credentials" => {
            allow(&method, &[Method::POST], &path)?;
            let answered = agent.credentials.answer(read_json(request.into_body()).await?);
            if answered { Ok(empty(StatusCode::NO_CONTENT)) } else { Err(Error::not_found("Nobody waits for this answer.")) }
        }
        "/v1/forward" => forward::open(request).await,
        "/v1/tunnel" => tunnel::open(agent, request),
        "/v1/shutdown" => {
            allow(&method, &[Method::POST], &path)?;
            let ask: ShutdownRequest = read_json(request.into_body()).await?;
            agent.shutdown.ask(ask.grace_ms);
            Ok(empty(StatusCode::ACCEPTED))
        }
        _ => Err(no_route(&path)),
    }
}

/// The port of ttyd: its page, its token call, its WebSocket.
async fn tty(agent: &Rc<Agent>, request: Request<Incoming>) -> Result<Answer, Error> {
    let admitted = agent.token.admits(request.headers());
    match request.uri().path() {
        // The token may also come with the first frame, as ttyd's clients send it.
        "/ws" => terminal::open(agent, Door::Tty, admitted, request),
        "/token" => {
            admit(agent, request.headers())?;
            // An ingress controller shows the token on behalf of a browser, which must never have it. `/ws` takes
            // the same header, so that nothing else is needed in the first frame: ttyd's own answer without a password.
            Ok(json(StatusCode::OK, &serde_json::json!({ "token": "" })))
        }
        "/" => {
            let page = "This port speaks the ttyd protocol: open a WebSocket at /ws with the subprotocol tty.\n";
            Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", Body::Whole(Some(page.into()))))
        }
        path => Err(no_route(path)),
    }
}

async fn session(agent: &Agent, method: &Method, rest: &str, query: &Query) -> Result<Answer, Error> {
    let (name, log) = rest.strip_suffix("/log").map_or((rest, false), |name| (name, true));
    let name: SessionName = name.parse().map_err(|error| Error::bad_request("bad-session-name", format!("{error}.")))?;
    let missing = || Error::not_found(format!("There is no session {name}."));
    if log {
        allow(method, &[Method::GET], "/v1/sessions/NAME/log")?;
        let bytes = if query.flag("previous") {
            agent.sessions.store().previous(&name)
        } else {
            agent
                .sessions
                .get(&name)
                .map(|session| session.with_output(session.output_start(), usize::MAX, |a, b| [a, b].concat()))
        };
        let body = Body::Whole(Some(bytes.ok_or_else(missing)?.into()));
        return Ok(with_type(StatusCode::OK, "application/octet-stream", body));
    }
    match *method {
        Method::GET => agent.sessions.get(&name).map(|session| json(StatusCode::OK, &session.info())).ok_or_else(missing),
        Method::DELETE if agent.sessions.delete(&name).await => Ok(empty(StatusCode::NO_CONTENT)),
        Method::DELETE => Err(missing()),
        _ => allow(method, &[], "/v1/sessions/NAME").map(|()| empty(StatusCode::OK)),
    }
}

fn health(agent: &Agent) -> Answer {
    json(
        StatusCode::OK,
        &Health {
            status: "ok".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL_VERSION,
            shell_started: agent.shell_started.get(),
            started_at: agent.started_at,
            disk_full: agent.disk.over(),
        },
    )
}

fn admit(agent: &Agent, headers: &HeaderMap) -> Result<(), Error> {
    if agent.token.admits(headers) {
        return Ok(());
    }
    let sentence = "This needs the sandbox's token, as \"Authorization: Bearer TOKEN\".";
    Err(Error::new(StatusCode::UNAUTHORIZED, "unauthorized", sentence))
}

/// # Errors
/// `405 Method Not Allowed`.
pub fn allow(method: &Method, allowed: &[Method], path: &str) -> Result<(), Error> {
    if allowed.contains(method) {
        return Ok(());
    }
    Err(Error::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("{path} does not take {method}.")))
}

fn no_route(path: &str) -> Error {
    Error::not_found(format!("There is no {path} here."))
}

/// # Errors
/// `426 Upgrade Required`, unless the request asks to go on with `protocol`.
pub fn wants_upgrade(headers: &HeaderMap, protocol: &str) -> Result<(), Error> {
    if upgrades_to(headers, protocol) {
        return Ok(());
    }
    Err(Error::new(StatusCode::UPGRADE_REQUIRED, "upgrade-wanted", format!("Ask for \"Upgrade: {protocol}\".")))
}

/// Whether the request asks to go on with `protocol` on this connection.
pub fn upgrades_to(headers: &HeaderMap, protocol: &str) -> bool {
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, protocol)
}
