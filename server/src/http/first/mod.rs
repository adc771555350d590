//! What the elements of a page show first, written into the page: who loads it without its scripts reads it, and with them
//! nothing flashes or moves.
//!
//! ```text
//!   GET /projects/ID/files ─▶ Asked::read ─▶ of ─▶ the verbs behind the element's REST route, as the viewer
//!                                                   └─▶ <fsa-files src="…"> markup, and the data as JSON </fsa-files>
//! ```
//!
//! Each module here draws one element as its script in `frontend/js` draws it, so that the script can put its own in that place:
//! what one of them changes, the other has to. The script takes the data (`frontend/js/first.ts`) and asks nothing for it.
//! Whatever takes longer than [`PATIENCE`], or is refused, is left out: then the element asks, and says why.

mod activity;
mod claude;
mod database;
mod doctor;
mod files;
mod github;
mod log;
pub(super) mod markup;
mod sessions;

use super::{
    auth::visit::Visit,
    errors::Refusal,
    files::home,
    github::known,
    logs::{last, unavailable},
    preview::cookie::named,
    state::Plane,
};
use crate::doctor::Look;
use axum::extract::Request;
use engine::{orchestrator::LogSource, store::activity::Filter};
use jiff::{Timestamp, tz::Offset};
use markup::{Paint, island};
use model::{ProjectId, view::Viewer};
use std::{collections::BTreeMap, time::Duration};

/// How long a page waits for what its elements show first. Less than what somebody notices; what is at hand takes some
/// milliseconds, and a cluster that is slow, or a database that is ill, is waited for by the element.
const PATIENCE: Duration = Duration::from_millis(300);
/// The browser's distance from UTC, in minutes: times are written by its clock (`frontend/js/first.ts`).
const OFFSET: &str = "offset";

/// A page that somebody asks for who is signed in.
pub struct Asked {
    path: String,
    /// Which log the address names.
    source: LogSource,
    viewer: Viewer,
    visit: Visit,
    paint: Paint,
}

impl Asked {
    /// `None` of nobody.
    pub fn read(plane: &Plane, request: &Request) -> Option<Self> {
        let visit = request.extensions().get::<Visit>()?.clone();
        let viewer = visit.viewer.clone()?;
        let minutes = named(request.headers(), OFFSET).find_map(|minutes| minutes.parse::<i32>().ok());
        let zone = minutes.and_then(|minutes| Offset::from_seconds(minutes.checked_mul(60)?).ok()).unwrap_or(Offset::UTC);
        let paint = Paint::new(&plane.site.assets().icons_svg, zone, plane.now());
        let mut wishes = request.uri().query().unwrap_or_default().split('&');
        let source = wishes.find_map(|wish| wish.strip_prefix("source=")?.parse().ok()).unwrap_or(LogSource::Sandbox);
        Some(Self { path: request.uri().path().to_owned(), source, viewer, visit, paint })
    }
}

/// The content of the page's elements, by the address that each reads.
pub async fn of(plane: &Plane, asked: Option<Asked>) -> BTreeMap<String, String> {
    let Some(asked) = asked else { return BTreeMap::new() };
    tokio::time::timeout(PATIENCE, asked.written(plane)).await.unwrap_or_default()
}

/// The content of the doctor's element, where a look is quick: on one machine. Nothing elsewhere, and past [`PATIENCE`]: the
/// look goes on then, and the element's own waits for its turn.
pub async fn of_doctor(plane: &Plane) -> String {
    if plane.doctor.probes() {
        return String::new();
    }
    match tokio::time::timeout(PATIENCE, plane.doctor.look(Look::default(), None)).await {
        Ok(Some(report)) => doctor::html(&report) + &island(&report),
        _ => String::new(),
    }
}

impl Asked {
    async fn written(&self, plane: &Plane) -> BTreeMap<String, String> {
        let mut parts = self.path.split('/').skip(1);
        let (of, id, part, more) = (parts.next(), parts.next(), parts.next(), parts.next());
        let all = match (of, id.map(str::parse::<ProjectId>), part, more) {
            (Some("settings"), None, None, None) => {
                vec![self.github(plane).await, self.claude(plane).await.map(Some), self.sessions(plane).await.map(Some)]
            }
            (Some("activity"), None, None, None) => vec![self.activity(plane, None).await.map(Some)],
            (Some("projects"), Some(Ok(id)), Some("activity"), None) => vec![self.activity(plane, Some(id)).await.map(Some)],
            (Some("projects"), Some(Ok(id)), Some("files"), None) => vec![self.files(plane, id).await],
            (Some("projects"), Some(Ok(id)), Some("database"), None) => vec![self.database(plane, id).await.map(Some)],
            (Some("projects"), Some(Ok(id)), Some("logs"), None) => vec![self.log(plane, id).await.map(Some)],
            _ => Vec::new(),
        };
        // Of what was refused, the element says why, and tries again.
        all.into_iter().filter_map(Result::ok).flatten().collect()
    }

    /// Of one project, or of all and the account.
    async fn activity(&self, plane: &Plane, project: Option<ProjectId>) -> Result<(String, String), Refusal> {
        if let Some(id) = project {
            plane.controller.row(&self.viewer, id).await?;
        }
        let since = self.paint.now().checked_sub(activity::SPAN).unwrap_or(Timestamp::MIN);
        let filter = Filter {
            project,
            kinds: Vec::new(),
            actor: None,
            since: Some(since),
            search: None,
            before: None,
            limit: activity::AT_ONCE,
        };
        let page = plane.controller.activity(&self.viewer, filter).await?;
        let address = project.map_or_else(|| activity::ALL.to_owned(), |id| format!("/api/projects/{id}/activity"));
        let html = activity::html(&page, &address, since, &self.paint) + &island(&page);
        Ok((address, html))
    }

    async fn files(&self, plane: &Plane, id: ProjectId) -> Result<Option<(String, String)>, Refusal> {
        let folder = home(plane, &self.viewer, &self.visit, id, files::MOST + 1).await?;
        if folder.entries.len() > files::MOST {
            return Ok(None);
        }
        let html = files::html(&folder, &self.paint) + &island(&folder);
        Ok(Some((format!("/api/sandbox/{id}/files"), html)))
    }

    async fn database(&self, plane: &Plane, id: ProjectId) -> Result<(String, String), Refusal> {
        let view = plane.control().database(&self.viewer, id).await?;
        let html = database::html(view.as_ref(), &self.paint) + &island(&view);
        Ok((format!("/api/projects/{id}/database"), html))
    }

    async fn log(&self, plane: &Plane, id: ProjectId) -> Result<(String, String), Refusal> {
        let row = plane.controller.row(&self.viewer, id).await?;
        let lines = plane.orchestrator.logs(row.sandbox.id, self.source).await;
        let lines = lines.map_err(|error| unavailable(&error))?;
        let lines = log::lines(last(lines, log::MOST, log::QUIET).await);
        let address = format!("/api/sandbox/{id}/logs");
        let html = log::html(&lines, &address, self.source, &self.paint) + &island(&lines);
        Ok((address, html))
    }

    async fn github(&self, plane: &Plane) -> Result<Option<(String, String)>, Refusal> {
        let view = known(plane, &self.viewer).await?;
        Ok(view.map(|view| ("/api/github".to_owned(), github::html(&view) + &island(&view))))
    }

    async fn claude(&self, plane: &Plane) -> Result<(String, String), Refusal> {
        let view = plane.controller.claude(&self.viewer).await?;
        Ok(("/api/claude".to_owned(), claude::html(&view, &self.paint) + &island(&view)))
    }

    async fn sessions(&self, plane: &Plane) -> Result<(String, String), Refusal> {
        let all = plane.controller.sessions(&self.viewer).await?;
        Ok(("/api/sessions".to_owned(), sessions::html(&all, &self.paint) + &island(&all)))
    }
}
