//! `GET /api/events`: server-sent events of everything that the viewer may see.
//!
//! The first is a snapshot, at once; then one project's whole state each, at most 20 a second, the
//! newest one where there were more. A comment every 8 s shows that the line is alive. It ends with the
//! session or token within a second, and when the server stops. There is nothing to resume: what comes
//! first is always everything.

use super::{auth::visit::Visit, auth::watch::over, errors::Refusal, routes::Me, state::Plane};
use crate::live::{Board, Live};
use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderName, header};
use model::{ProjectId, view::Event};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// How often something is sent when nothing happens: proxies close what is silent for longer.
const KEEPALIVE: Duration = Duration::from_secs(8);
/// At most twenty in any second: ten at once, and one every hundred milliseconds.
const BURST: f64 = 10.0;
const PER_SECOND: f64 = 10.0;
/// How long the first reading of the projects may take before the visitor is told that the store is
/// away.
const FIRST: Duration = Duration::from_secs(5);

/// `GET /api/events`.
///
/// # Errors
/// `503 Service Unavailable` while the database is away.
pub async fn events(State(plane): State<Plane>, Me(viewer): Me, Extension(visit): Extension<Visit>) -> Result<Response, Refusal> {
    let feed = plane.live.feed(viewer.user);
    let mut board = feed.board();
    let read = tokio::time::timeout(FIRST, board.wait_for(Option::is_some)).await.is_ok_and(|read| read.is_ok());
    if !read {
        return Err(super::errors::unavailable().into());
    }
    let held = visit.credential.map(|credential| plane.watch.hold(credential));
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    let counted = plane.metrics.events_client();
    let live = plane.live.clone();
    let stop = plane.stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = over(held, stop) => {}
            () = sender.closed() => {}
            _ = write(board, &live, &sender) => {}
        }
        live.linger(feed);
        drop(counted);
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(bytes), receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Nobody reads any more.
struct Left;

async fn write(mut board: watch::Receiver<Option<Board>>, live: &Live, to: &mpsc::Sender<Bytes>) -> Result<(), Left> {
    let mut id = 0_u64;
    let mut health = live.notices_change();
    let mut said: Option<Vec<String>> = None;
    let mut sent = Board::default();
    let mut pace = Pace { left: BURST, at: Instant::now() };
    let mut keepalive = tokio::time::interval(KEEPALIVE);
    keepalive.reset();
    loop {
        let now = board.borrow_and_update().clone().unwrap_or_default();
        for event in news(&sent, &now) {
            if let Some(wait) = pace.wait() {
                // What changes meanwhile is in the next look, as its newest state.
                if id > 0 {
                    tokio::time::sleep(wait).await;
                }
            }
            id += 1;
            to.send(frame(id, &event)).await.map_err(|_| Left)?;
            keepalive.reset();
            note(&mut sent, &event, &now);
        }
        let notices = live.notices();
        if health.is_some() && said.as_ref() != Some(&notices) {
            id += 1;
            to.send(frame(id, &Event::Notices { notices: notices.clone() })).await.map_err(|_| Left)?;
            said = Some(notices);
        }
        if board.has_changed().map_err(|_| Left)? {
            continue;
        }
        sent.revision = now.revision.max(1);
        tokio::select! {
            changed = board.changed() => changed.map_err(|_| Left)?,
            changed = changed(&mut health) => if changed.is_err() { health = None },
            _ = keepalive.tick() => to.send(Bytes::from_static(b": still here\n\n")).await.map_err(|_| Left)?,
        }
    }
}

/// Waits for another state of the orchestrator; for ever, where it has but one.
async fn changed(health: &mut Option<watch::Receiver<Option<model::Cause>>>) -> Result<(), watch::error::RecvError> {
    match health {
        Some(health) => health.changed().await,
        None => std::future::pending().await,
    }
}

/// What a reader who has `sent` does not know of `now`: everything, the first time.
fn news(sent: &Board, now: &Board) -> Vec<Event> {
    if sent.revision == 0 && sent.projects.is_empty() {
        let mut projects: Vec<_> = now.projects.values().map(|(_, project)| (**project).clone()).collect();
        projects.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(b.id.cmp(&a.id)));
        return vec![Event::Snapshot { projects }];
    }
    let gone = sent.projects.keys().filter(|id| !now.projects.contains_key(id)).map(|id| Event::Gone { id: *id });
    let changed = now.projects.iter().filter(|(id, (revision, _))| sent.projects.get(id).is_none_or(|(old, _)| old != revision));
    gone.chain(changed.map(|(_, (_, project))| Event::Project { project: Box::new((**project).clone()) })).collect()
}

fn note(sent: &mut Board, event: &Event, now: &Board) {
    let take = |sent: &mut BTreeMap<ProjectId, _>, id: &ProjectId| {
        now.projects.get(id).map(|state| sent.insert(*id, state.clone()));
    };
    match event {
        Event::Snapshot { .. } => sent.projects.clone_from(&now.projects),
        Event::Project { project } => take(&mut sent.projects, &project.id),
        Event::Gone { id } => drop(sent.projects.remove(id)),
        Event::Notices { .. } => {}
    }
    sent.revision = sent.revision.max(1);
}

fn frame(id: u64, event: &Event) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_else(|_| "{}".to_owned());
    format!("id: {id}\ndata: {data}\n\n").into()
}

struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    /// Takes a turn; how long to wait for it.
    fn wait(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * PER_SECOND).min(BURST) - 1.0;
        self.at = now;
        (self.left < 0.0).then(|| Duration::from_secs_f64(-self.left / PER_SECOND))
    }
}
