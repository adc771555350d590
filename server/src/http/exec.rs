//! `POST /api/sandbox/{project}/exec`: runs a command to its end.
//!
//! The answer is JSON with all of the output; with `Accept: application/x-ndjson` it is the agent's
//! lines as they come. Either ends with the session or token that asked, and so does the command.

use super::{
    auth::{
        visit::{self, Visit},
        watch::{Over, over},
    },
    body::{Json, Project, idempotency_key},
    errors::Refusal,
    routes::Me,
    state::Plane,
};
use crate::{
    agent::{self, answered, refused, without_agent},
    control::store_error,
};
use app::error::{ControlError, ErrorKind};
use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use engine::store::{StoreError, activity};
use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use sandbox_agent::{
    client::{self, ClientError},
    protocol::http::{ExecExit, ExecRequest},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tracing::warn;

/// How much of each stream a JSON answer holds. What is more is dropped, and the answer says so.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// How much of a refusal is read: an agent says why in a sentence.
const REFUSAL_BYTES: usize = 64 * 1024;

/// What to run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
pub struct Exec {
    command: Command,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// A program with its arguments, or a line for a shell.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text, or an array of texts")]
#[derive(utoipa::ToSchema)]
pub enum Command {
    Line(String),
    Words(Vec<String>),
}

/// How it went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[derive(utoipa::ToSchema)]
#[schema(as = ExecDone)]
pub struct Done {
    /// 128 plus the signal where one ended it, 124 where its time was over.
    exit_code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    timed_out: bool,
    stdout: String,
    stderr: String,
    /// Whether some output was dropped.
    truncated: bool,
}

/// `POST /api/sandbox/{project}/exec`. With an `Idempotency-Key`, it is begun once within a day.
///
/// # Errors
/// `404 Not Found`; `409 Conflict` while it does not run, or where it was begun by that key before; `422 Unprocessable
/// Content`; `503 Service Unavailable` where the server stops before the command has ended.
pub async fn exec(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(visit): Extension<Visit>,
    Project(id): Project,
    headers: HeaderMap,
    Json(ask): Json<Exec>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let row = plane.controller.row(&viewer, id).await?;
    let agent = plane.agent(&row.sandbox);
    let ask = request(ask)?;
    if !agent.is_there() {
        return Err(without_agent().into());
    }
    let io = agent.reach().await?;
    let what = format!("command in {id}");
    let taken = plane.controller.begin_once(&viewer, &what, key.as_deref()).await?;
    // What the agent or the store refused did not begin, and may be asked again.
    let not_begun = async {
        if let Some(taken) = taken {
            taken.not_begun().await;
        }
    };
    let now = plane.now();
    let program = ask.command.first().map(String::as_str).unwrap_or_default();
    let entry = activity::by(visit::actor(&viewer), async { activity::command_run(program, now) }).await;
    match plane.store.tell(row.sandbox.id, entry, now).await {
        // A command may be what makes room: then the log tells it.
        Err(StoreError::NoRoom(_)) => {
            warn!(sandbox.id = %row.sandbox.id, user.id = %viewer.user, "a command runs that could not be told of: no room");
            visit::store_is_full();
        }
        Err(error) => {
            not_begun.await;
            return Err(store_error(error).into());
        }
        Ok(()) => {}
    }
    let mut over = Box::pin(over(visit.credential.map(|credential| plane.watch.hold(credential)), plane.stop.clone()));
    let streams = headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).is_some_and(|kinds| kinds.contains("ndjson"));
    if streams {
        let body = serde_json::to_vec(&ask).map_err(|_| super::errors::internal())?;
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/exec")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .map_err(|_| super::errors::internal())?;
        let answer = tokio::select! {
            over = &mut over => return Err(ended(over).into()),
            answer = answered(client::request(io, agent.token(), request)) => answer.map_err(|error| refused(&error))?,
        };
        if !answer.status().is_success() {
            not_begun.await;
            let status = answer.status();
            let body = tokio::select! {
                over = over => return Err(ended(over).into()),
                body = Limited::new(answer.into_body(), REFUSAL_BYTES).collect() => body,
            };
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or_else(|_| sandbox_agent::protocol::http::ErrorBody {
                error: "The command was refused.".to_owned(),
                code: "refused".to_owned(),
                versions: None,
            });
            return Err(refused(&ClientError::Refused { status, body }).into());
        }
        let lines = answer.into_body().into_data_stream().take_until(over);
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response());
    }
    let finished = tokio::select! {
        over = over => return Err(ended(over).into()),
        finished = agent::run_to_end(io, agent.token(), &ask, MOST_BYTES) => finished,
    };
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => {
            if matches!(error, ClientError::Refused { .. }) {
                not_begun.await;
            }
            return Err(refused(&error).into());
        }
    };
    let (exit_code, signal, timed_out) = match finished.exit {
        ExecExit::Code(code) => (code, None, false),
        ExecExit::Signal(signal) => (128 + signal, Some(signal), false),
        ExecExit::TimedOut(_) => (124, None, true),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(axum::Json(Done {
        exit_code,
        signal,
        timed_out,
        truncated: finished.stdout.len() >= MOST_BYTES || finished.stderr.len() >= MOST_BYTES,
        stdout: text(&finished.stdout),
        stderr: text(&finished.stderr),
    })
    .into_response())
}

/// Why nobody waits for the command's end any more.
fn ended(over: Over) -> ControlError {
    match over {
        Over::SignedOut => ControlError::signed_out(),
        Over::Stopping => ControlError::new(
            ErrorKind::Unavailable,
            "restarting",
            "The server is restarting; whether the command finished is not known.",
            "Ask again in a few seconds, after a look at what the command has done.",
        ),
    }
}

fn request(ask: Exec) -> Result<ExecRequest, ControlError> {
    let command = match ask.command {
        Command::Line(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
        Command::Words(words) => words,
    };
    let wrong = |code: &str, message: &str, next: &str| Err(ControlError::new(ErrorKind::Invalid, code, message, next));
    if command.first().is_none_or(|program| program.trim().is_empty())
        || command.last().is_some_and(|line| line.trim().is_empty())
    {
        return wrong("no-command", "There is no command to run.", "Send `{\"command\": [\"ls\", \"-l\"]}`.");
    }
    let texts = command.iter().chain(ask.env.keys()).chain(ask.env.values()).chain(&ask.cwd);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return wrong("nul", "A NUL character stands in the command, its folder or its environment.", "Take it out.");
    }
    if let Some(key) = ask.env.keys().find(|key| key.is_empty() || key.contains('=')) {
        return wrong("env-key", &format!("`{}` is not a variable's name.", key.escape_debug()), "Take the `=` out.");
    }
    if ask.timeout_ms == Some(0) {
        return wrong("no-time", "A command needs some time to run.", "Leave `timeoutMs` out, or give more than 0.");
    }
    Ok(ExecRequest { command, cwd: ask.cwd, env: ask.env, stdin: ask.stdin, timeout_ms: ask.timeout_ms, shells_in: None })
}
