//! `GET /api/sandbox/{project}/terminal`: a WebSocket, bridged to the sandbox's agent.
//!
//! ```text
//!   browser ◀── axum ── bridge ── tungstenite ──▶ Orchestrator::connect ──▶ agent /ws
//! ```
//!
//! An image of stock ttyd is at the other end in the agent's place, and the only subprotocol is then ttyd's: no resume, no
//! list of sessions, a shell for each viewer.
//!
//! Frames pass as they are, both ways, and each end waits for the other: what one does not read, the
//! other does not send. The agent's close codes pass too. Our own: `4401` signed out or revoked, `4403`
//! read only, `4404` no such project, `4408` no first frame, `4503` the sandbox does not run or its agent
//! does not answer; `1012` the server restarts. `4409`, the agent's "resume later", is ours too where a sandbox that has only just
//! started is reached by a shorter way by now.

use super::{
    auth::{
        visit::{self, Visit},
        watch::{Held, Over, over},
    },
    body::Project,
    errors::Refusal,
    paging,
    routes::{Access, Me, refuse},
    security::{as_request, request_id},
    state::Plane,
};
use crate::agent::{ANSWER, Agent, answered, refused};
use app::error::{ControlError, ErrorKind};
use axum::{
    Extension,
    extract::{
        FromRequestParts, Path, Query, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use engine::{
    orchestrator::BoxedIo,
    store::{ProjectAndSandbox, activity},
};
use futures::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _, stream::SplitStream};
use http::{StatusCode, Uri, header};
use model::{ProjectId, activity::Actor};
use prometheus_client::metrics::counter::Counter;
use sandbox_agent::{
    client::{self, ClientError},
    protocol::{FSA_SUBPROTOCOL, TTYD_SUBPROTOCOL, close, http::SessionInfo, name::SessionName},
};
use serde::Deserialize;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite};
use tracing::{debug, warn};

/// How long a viewer may take to say its first frame.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// How often a viewer is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// How long one that says nothing is taken to be there. Two pings and a little.
const SILENCE: Duration = Duration::from_secs(50);
/// How long a close may take to be written to one that does not read.
const FAREWELL: Duration = Duration::from_secs(2);
/// How much is passed on before a viewer is asked again whether it is there: of output without an end, there is always more.
const BATCH_BYTES: u64 = 256 * 1024;
/// How many messages of a viewer are kept before the agent has answered; it is not read on then.
const EARLY: usize = 4;
/// A large paste of a ttyd client comes as one message; the agent takes as much.
const MESSAGE_BYTES: usize = 8 << 20;

/// Our own close codes, beside the agent's.
mod code {
    pub const SIGNED_OUT: u16 = 4401;
    pub const READ_ONLY: u16 = 4403;
    pub const NOT_FOUND: u16 = 4404;
    pub const NOT_RUNNING: u16 = 4503;
    pub const RESTARTING: u16 = 1012;
    pub const GOING_AWAY: u16 = 1001;
}

/// What the address says, each part checked by the agent again.
#[derive(Debug, Default, Deserialize)]
struct Wish {
    #[serde(default)]
    session: Option<String>,
    /// How much of its output the viewer has.
    #[serde(default)]
    offset: Option<String>,
}

fn wish_of(query: Option<&str>) -> Option<Wish> {
    let uri: Uri = format!("/?{}", query.unwrap_or_default()).parse().ok()?;
    Query::<Wish>::try_from_uri(&uri).ok().map(|Query(wish)| wish)
}

/// `GET /api/sandbox/{project}/terminal`. A browser (it sends `Origin`) is always let in and told why
/// not by the close code, since it cannot see a status; a program gets the status.
///
/// # Errors
/// `400 Bad Request`, `426 Upgrade Required`: no WebSocket, or of no subprotocol of ours; and those of
/// every route.
pub async fn open(State(plane): State<Plane>, Extension(visit): Extension<Visit>, request: Request) -> Result<Response, Refusal> {
    let query = request.uri().query().map(str::to_owned);
    let browser = request.headers().contains_key(header::ORIGIN);
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &plane).await.map_err(|rejection| {
        let message = "This address is a terminal, and takes a WebSocket of version 13.";
        let refusal = Refusal::new(ErrorKind::Malformed, "websocket-wanted", message, "Connect to it as a WebSocket.");
        refusal.with_status(rejection.status()).with_header(header::UPGRADE, "websocket")
    })?;
    // An image of stock ttyd speaks its own protocol alone, and whoever knows that one as well is told so by the choice.
    let spoken: &[&str] =
        if plane.orchestrator.has_agents() { &[FSA_SUBPROTOCOL, TTYD_SUBPROTOCOL] } else { &[TTYD_SUBPROTOCOL] };
    let upgrade = upgrade
        .protocols(spoken.iter().copied())
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .read_buffer_size(32 * 1024)
        .write_buffer_size(64 * 1024);
    let Some(protocol) = upgrade.selected_protocol().and_then(|protocol| protocol.to_str().ok()).map(str::to_owned) else {
        let message = format!("A terminal of this server speaks the subprotocol {}.", spoken.join(" or "));
        return Err(Refusal::new(ErrorKind::Malformed, "no-subprotocol", message, "Ask for one of them."));
    };
    let project = Project::from_request_parts(&mut parts, &plane).await;
    match admit(&plane, &visit, project, query.as_deref()).await {
        Ok(row) => {
            let held = visit.credential.map(|credential| plane.watch.hold(credential));
            // ttyd hands the query to the program that it starts, where it is told to.
            let query = query.filter(|_| plane.orchestrator.has_agents());
            let wish = wish_of(query.as_deref()).unwrap_or_default();
            let path = query.map_or_else(|| "/ws".to_owned(), |query| format!("/ws?{query}"));
            // Who only comes back to one that was cut off opens nothing.
            let opened = visit.viewer.filter(|_| wish.offset.is_none_or(|offset| offset == "0")).map(|viewer| {
                let session = wish.session.filter(|name| !name.is_empty()).unwrap_or_else(|| "main".to_owned());
                (visit::actor(&viewer), session)
            });
            let asked = (path, protocol, opened);
            let id = request_id();
            Ok(upgrade.on_upgrade(move |socket| as_request(id, bridge(plane, row, asked, held, socket))))
        }
        Err(refusal) if browser => {
            let reason = refusal.error().message.clone();
            let code = match refusal.error().kind {
                ErrorKind::SignedOut => code::SIGNED_OUT,
                ErrorKind::Forbidden => code::READ_ONLY,
                ErrorKind::NotFound => code::NOT_FOUND,
                ErrorKind::Malformed | ErrorKind::Invalid => close::BAD_FRAME,
                _ => code::NOT_RUNNING,
            };
            Ok(upgrade.on_upgrade(move |mut socket| async move { say_goodbye(&mut socket, code, &reason).await }))
        }
        Err(refusal) => Err(refusal),
    }
}

async fn admit(
    plane: &Plane,
    visit: &Visit,
    project: Result<Project, Refusal>,
    query: Option<&str>,
) -> Result<ProjectAndSandbox, Refusal> {
    if let Some(error) = refuse(Access::Write, Some(visit)) {
        return Err(error.into());
    }
    let viewer = visit.viewer.as_ref().ok_or_else(ControlError::signed_out)?;
    let row = plane.controller.row(viewer, project?.0).await?;
    let wish = wish_of(query).ok_or_else(bad_name)?;
    if let Some(name) = wish.session.filter(|name| !name.is_empty()) {
        name.parse::<SessionName>().map_err(|_| bad_name())?;
    }
    Ok(row)
}

fn bad_name() -> Refusal {
    let message = "A terminal's name has 1 to 64 letters, digits, dots, dashes and underscores.";
    Refusal::new(ErrorKind::Malformed, "bad-session-name", message, "Ask for `session=main`.")
}

type AgentSocket = WebSocketStream<BoxedIo>;

/// How a bridge ended.
enum End {
    /// With a code to tell the viewer.
    Say(u16, String),
    /// The viewer left.
    Left,
}

async fn bridge(
    plane: Plane,
    row: ProjectAndSandbox,
    (path, protocol, opened): (String, String, Option<(Actor, String)>),
    held: Option<Arc<Held>>,
    mut socket: WebSocket,
) {
    let agent = plane.agent(&row.sandbox);
    let ended = over(held, plane.stop.clone());
    tokio::pin!(ended);
    let mut early = VecDeque::new();
    let shorter = agent.shorter_way();
    // A viewer by ttyd's protocol cannot resume.
    let resumes = protocol == FSA_SUBPROTOCOL;
    let joined = tokio::select! {
        over = &mut ended => Err(farewell(over)),
        () = left(&mut socket, &mut early) => return,
        joined = timeout(ANSWER, join(&agent, &path, &protocol)) => joined.unwrap_or_else(|_| Err(silent())),
    };
    let mut agent_socket = match joined {
        Ok(joined) => joined,
        Err((code, reason)) => return say_goodbye(&mut socket, code, &reason).await,
    };
    let _open = plane.metrics.terminal();
    if let Some((actor, session)) = opened {
        let now = plane.now();
        let entry = activity::by(actor, async { activity::terminal_opened(&session, now) }).await;
        if let Err(error) = plane.store.tell(row.sandbox.id, entry, now).await {
            warn!(sandbox.id = %row.sandbox.id, "failed to tell of a terminal: {error:#}");
        }
    }
    let end = tokio::select! {
        over = &mut ended => {
            let (code, reason) = farewell(over);
            End::Say(code, reason)
        }
        () = shorter, if resumes => End::Say(close::RESUME_LATER, "There is a shorter way to the sandbox now: resume by it.".to_owned()),
        end = converse(&mut socket, early, &mut agent_socket, plane.metrics.terminal_bytes()) => end,
    };
    let _ = timeout(FAREWELL, agent_socket.close(None)).await;
    if let End::Say(code, reason) = end {
        say_goodbye(&mut socket, code, &reason).await;
    }
}

/// The agent's end, or why there is none.
async fn join(agent: &Agent, path: &str, protocol: &str) -> Result<AgentSocket, (u16, String)> {
    let io = agent.reach().await.map_err(|error| (code::NOT_RUNNING, error.message))?;
    client::websocket(io, agent.token(), path, protocol).await.map_err(|error| match error {
        ClientError::Refused { status, body } if status.is_client_error() && status != StatusCode::UNAUTHORIZED => {
            (close::BAD_FRAME, body.error)
        }
        error => {
            debug!("cannot open a terminal: {error:#}");
            silent()
        }
    })
}

fn silent() -> (u16, String) {
    (code::NOT_RUNNING, "The sandbox's agent does not answer.".to_owned())
}

fn farewell(over: Over) -> (u16, String) {
    match over {
        Over::SignedOut => (code::SIGNED_OUT, "Signed out.".to_owned()),
        Over::Stopping => (code::RESTARTING, "The server restarts.".to_owned()),
    }
}

/// Until the viewer leaves; what it says meanwhile is kept.
async fn left(viewer: &mut WebSocket, early: &mut VecDeque<tungstenite::Message>) {
    while early.len() < EARLY {
        match viewer.recv().await {
            Some(Ok(message)) => early.extend(to_agent_message(message)),
            Some(Err(_)) | None => return,
        }
    }
    std::future::pending().await
}

/// `early`: what the viewer has said already.
async fn converse(
    viewer: &mut WebSocket,
    mut early: VecDeque<tungstenite::Message>,
    agent: &mut AgentSocket,
    [bytes_in, bytes_out]: [Counter; 2],
) -> End {
    let (mut to_viewer, mut from_viewer) = viewer.split();
    let (mut to_agent, mut from_agent) = agent.split();
    let (begin, heard) = (Instant::now(), AtomicU64::new(0));
    let hear = || heard.store(begin.elapsed().as_secs(), Ordering::Relaxed);

    let down = async {
        let mut pings = interval_at(Instant::now() + PING, PING);
        loop {
            tokio::select! {
                message = from_agent.next() => {
                    match pass_on(message, &mut from_agent, &mut to_viewer, &bytes_out, SILENCE).await {
                        // Its answer to a ping waits behind what it takes.
                        Ok(true) => hear(),
                        Ok(false) => {}
                        Err(end) => return end,
                    }
                }
                _ = pings.tick() => {
                    if begin.elapsed().as_secs().saturating_sub(heard.load(Ordering::Relaxed)) > SILENCE.as_secs() {
                        return End::Say(code::GOING_AWAY, "The viewer says nothing.".to_owned());
                    }
                    if let Err(end) = taken(to_viewer.send(Message::Ping(Bytes::new())), SILENCE).await {
                        return end;
                    }
                }
            }
        }
    };
    let up = async {
        let first = match early.pop_front() {
            Some(first) => Some(first),
            None => match timeout(FIRST_FRAME, first_frame(&mut from_viewer)).await {
                Ok(first) => first,
                Err(_) => return End::Say(close::NO_FIRST_FRAME, "The first frame did not come in time.".to_owned()),
            },
        };
        let Some(first) = first else { return End::Left };
        hear();
        bytes_in.inc_by(first.len() as u64);
        if to_agent.send(first).await.is_err() {
            return agent_left();
        }
        loop {
            let message = match early.pop_front() {
                Some(message) => Some(message),
                None => match from_viewer.next().await {
                    Some(Ok(message)) => {
                        hear();
                        to_agent_message(message)
                    }
                    Some(Err(_)) | None => return End::Left,
                },
            };
            let Some(message) = message else { continue };
            bytes_in.inc_by(message.len() as u64);
            if to_agent.send(message).await.is_err() {
                // The agent's own farewell, with its code, comes the other way.
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        end = down => end,
        end = up => end,
    }
}

/// A message of the agent, and what is there behind it already, up to [`BATCH_BYTES`]: one write for all. Whether the viewer was
/// waited for.
async fn pass_on(
    message: Option<Result<tungstenite::Message, tungstenite::Error>>,
    from_agent: &mut (impl Stream<Item = Result<tungstenite::Message, tungstenite::Error>> + Unpin),
    to_viewer: &mut (impl Sink<Message> + Unpin),
    bytes_out: &Counter,
    silence: Duration,
) -> Result<bool, End> {
    let (mut next, mut bytes, mut waited) = (Some(message), 0, false);
    while let Some(message) = next {
        match to_viewer_message(message) {
            Ok(Some(message)) => {
                bytes += bytes_of(&message);
                bytes_out.inc_by(bytes_of(&message));
                waited |= taken(to_viewer.feed(message), silence).await?;
            }
            Ok(None) => {}
            Err(end) => {
                let _ = taken(to_viewer.flush(), silence).await;
                return Err(end);
            }
        }
        next = if bytes < BATCH_BYTES { from_agent.next().now_or_never() } else { None };
    }
    waited |= taken(to_viewer.flush(), silence).await?;
    Ok(waited)
}

/// One write to a viewer: whether it was waited for, and so took something that was there before. One that takes nothing for
/// as long as `silence` is gone, whatever its TCP says.
async fn taken<E>(write: impl Future<Output = Result<(), E>>, silence: Duration) -> Result<bool, End> {
    let mut write = pin!(write);
    let (written, waited) = match write.as_mut().now_or_never() {
        Some(written) => (written, false),
        None => (timeout(silence, write).await.map_err(|_| End::Left)?, true),
    };
    written.map(|()| waited).map_err(|_| End::Left)
}

async fn first_frame(from: &mut SplitStream<&mut WebSocket>) -> Option<tungstenite::Message> {
    loop {
        if let Some(message) = to_agent_message(from.next().await?.ok()?) {
            return Some(message);
        }
    }
}

fn agent_left() -> End {
    End::Say(code::NOT_RUNNING, "The sandbox's agent went away.".to_owned())
}

/// A message of the agent for the viewer; `None` for what is between us and the agent.
fn to_viewer_message(message: Option<Result<tungstenite::Message, tungstenite::Error>>) -> Result<Option<Message>, End> {
    Ok(Some(match message {
        Some(Ok(tungstenite::Message::Binary(bytes))) => Message::Binary(bytes),
        Some(Ok(tungstenite::Message::Text(text))) => Message::Binary(text.into()),
        Some(Ok(tungstenite::Message::Close(Some(frame)))) => {
            return Err(End::Say(frame.code.into(), frame.reason.as_str().to_owned()));
        }
        Some(Ok(tungstenite::Message::Close(None))) => return Err(End::Say(1000, String::new())),
        Some(Ok(_)) => return Ok(None),
        Some(Err(_)) | None => return Err(agent_left()),
    }))
}

fn bytes_of(message: &Message) -> u64 {
    if let Message::Binary(bytes) = message { bytes.len() as u64 } else { 0 }
}

/// A message of the viewer for the agent; `None` for what is between us and the viewer.
fn to_agent_message(message: Message) -> Option<tungstenite::Message> {
    match message {
        Message::Binary(bytes) => Some(tungstenite::Message::Binary(bytes)),
        Message::Text(text) => Some(tungstenite::Message::Binary(Bytes::from(text))),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
    }
}

async fn say_goodbye(socket: &mut WebSocket, code: u16, reason: &str) {
    // A close frame holds 123 bytes of reason.
    let end = reason.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 123).last().unwrap_or(0);
    let frame = CloseFrame { code, reason: reason.get(..end).unwrap_or_default().into() };
    let closing = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            // Until the viewer answers, or is gone: closing the connection at once could lose the code.
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = timeout(FAREWELL, closing).await;
}

/// `GET /api/sandbox/{project}/terminals`: the sessions, as the agent lists them: by name. With `limit`, a page of them, and the
/// header `Link` names the next one.
///
/// # Errors
/// `400 Bad Request`: `limit` is no length of a page; `404 Not Found`, `409 Conflict` while it does not run.
pub async fn list(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    uri: Uri,
    asked: paging::Asked,
) -> Result<Response, Refusal> {
    let wish = paging::read(asked)?;
    let place = |session: &SessionInfo| session.name.clone();
    let row = plane.controller.row(&viewer, id).await?;
    let agent = plane.agent(&row.sandbox);
    if !agent.is_there() {
        // Each viewer of a stock ttyd has a shell of its own, which ends with it.
        return Ok(wish.answer(&uri, Vec::<SessionInfo>::new(), place));
    }
    let io = agent.reach().await?;
    let sessions = answered(client::sessions(io, agent.token())).await.map_err(|error| refused(&error))?;
    Ok(wish.answer(&uri, sessions, place))
}

/// `DELETE /api/sandbox/{project}/terminal/{session}`: ends a session, and what runs in it.
///
/// # Errors
/// `404 Not Found`, `409 Conflict` while it does not run.
pub async fn end(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Path((id, session)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let id: ProjectId = id.parse().map_err(|_| ControlError::not_found())?;
    let session: SessionName = session.parse().map_err(|_| bad_name())?;
    let row = plane.controller.row(&viewer, id).await?;
    let agent = plane.agent(&row.sandbox);
    if !agent.is_there() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let io = agent.reach().await?;
    answered(client::delete_session(io, agent.token(), &session)).await.map_err(|error| refused(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{sink, stream};
    use std::convert::Infallible;

    const SILENCE: Duration = Duration::from_millis(200);

    fn output() -> Result<tungstenite::Message, tungstenite::Error> {
        Ok(tungstenite::Message::Binary(Bytes::from_static(&[b'x'; 4096])))
    }

    #[tokio::test]
    async fn a_viewer_that_takes_little_of_output_without_an_end_is_there_and_asked_so() {
        let mut viewer = Box::pin(sink::unfold((), |(), _: Message| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, Infallible>(())
        }));
        let (mut agent, bytes, began) = (stream::repeat_with(output), Counter::default(), Instant::now());
        let passed = pass_on(Some(output()), &mut agent, &mut viewer, &bytes, SILENCE).await;
        assert!(matches!(passed, Ok(true)), "it took something all along");
        assert!(began.elapsed() > SILENCE, "longer than one that takes nothing is waited for");
        assert_eq!(bytes.get(), BATCH_BYTES, "and then it is the turn of a ping");
    }

    #[tokio::test]
    async fn a_viewer_that_takes_nothing_is_gone() {
        let mut viewer = Box::pin(sink::unfold((), |(), _: Message| std::future::pending::<Result<(), Infallible>>()));
        let mut agent = stream::repeat_with(output);
        let passed = pass_on(Some(output()), &mut agent, &mut viewer, &Counter::default(), SILENCE).await;
        assert!(matches!(passed, Err(End::Left)));
    }
}
