//! Live state: what the server sends, as signals.
//!
//! ```text
//!   Opening (first paint) ─┐
//!   answers to asks ───────┼─▶ Live ─▶ one signal a project ─▶ rows, pills, titles
//!   stream (events) ───────┘     └──▶ Link: live, or how old the state is
//! ```
//!
//! A signal of a project stays the same for as long as the project exists: an event sets it and
//! builds nothing anew, so that a terminal never notices.

mod event;
mod sse;
mod stream;

#[cfg(test)]
pub use event::tests;

use crate::{clock::Clock, erased::effect, error::ControlError, load::Opening, state::State};
use leptos::prelude::*;
use model::{
    ProjectId,
    resources::{Preset, Resources},
    view::{Event, Installation, ProjectView, Viewer},
};
use std::collections::BTreeMap;

/// How the stream of events is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Link {
    /// Not yet open.
    Connecting,
    /// State arrives as it changes.
    Live,
    /// Away. Times are the browser's, in milliseconds since the epoch.
    Lost {
        /// When the server was last heard.
        as_of: f64,
        /// When this was noticed.
        since: f64,
        /// How many tries to reconnect there were.
        tries: u32,
        /// When the next one is; `None` while one is under way.
        next_at: Option<f64>,
    },
    /// The sign-in ended.
    SignedOut,
}

/// Everything that the viewer may see, kept up to date.
#[derive(Clone, Copy)]
pub struct Live {
    projects: State<BTreeMap<ProjectId, ArcRwSignal<ProjectView>>>,
    viewer: State<Option<Viewer>>,
    installation: State<Installation>,
    /// What the stream said last of the whole installation; `None` before it did.
    notices: State<Option<Vec<String>>>,
    link: State<Link>,
    /// How long the stream was away, in milliseconds, for a few seconds after its return.
    returned: State<Option<f64>>,
    wake: State<u32>,
}

impl Live {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            projects: State::default(),
            viewer: State::default(),
            installation: State::default(),
            notices: State::default(),
            link: State::new(Link::Connecting),
            returned: State::default(),
            wake: State::default(),
        }
    }

    /// The state that a page opened with. What the stream brought since is newer and stays.
    pub fn open(&self, opening: &Opening) {
        if self.viewer.with_untracked(Option::is_none) {
            self.viewer.set(opening.viewer.clone());
            self.installation.set(opening.installation.clone());
            self.apply(Event::Snapshot { projects: opening.projects.clone() });
        }
    }

    /// Opens the stream as soon as it is known who is signed in, and keeps it open. In an effect.
    pub fn start(self, clock: Clock) {
        effect(move || {
            // Set once: another sign-in is another load of the page.
            if let Some(viewer) = self.viewer() {
                stream::run(self, clock, viewer.user);
            }
        });
    }

    /// Asks for the next try at once.
    pub fn reconnect(&self) {
        self.wake.update(|n| *n += 1);
    }

    /// Who is signed in.
    #[must_use]
    pub fn viewer(&self) -> Option<Viewer> {
        self.viewer.get()
    }

    /// Facts of the installation.
    #[must_use]
    pub fn installation(&self) -> Installation {
        self.installation.get()
    }

    /// Whether sandboxes are processes of one machine.
    #[must_use]
    pub fn local(&self) -> bool {
        self.installation.with_untracked(|installation| installation.orchestrator == "local")
    }

    /// What a preset stands for here.
    #[must_use]
    pub fn size(&self, of: Preset) -> Resources {
        self.installation.with_untracked(|installation| installation.sizes.of(of))
    }

    /// What the stream said last of the whole installation; `None` before it did.
    #[must_use]
    pub fn notices(&self) -> Option<Vec<String>> {
        self.notices.get()
    }

    /// How the stream is.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.get()
    }

    /// How long the stream was away, shortly after its return.
    #[must_use]
    pub fn returned(&self) -> Option<f64> {
        self.returned.get()
    }

    /// Why nothing can be asked for now, or `None`.
    #[must_use]
    pub fn offline(&self) -> Option<&'static str> {
        match self.link.get() {
            Link::Connecting | Link::Live => None,
            Link::Lost { .. } => Some("Not connected to the server. This works again as soon as the connection is back."),
            Link::SignedOut => Some("You are signed out. Sign in again first."),
        }
    }

    /// A project's signal; tracks only whether there is such a project.
    #[must_use]
    pub fn find(&self, id: ProjectId) -> Option<ArcRwSignal<ProjectView>> {
        self.projects.with(|projects| projects.get(&id).cloned())
    }

    /// Every project, as it is now, without extra sandboxes. Tracks all.
    #[must_use]
    pub fn all(&self) -> Vec<ProjectView> {
        self.projects
            .with(|projects| projects.values().map(ArcRwSignal::get).filter(|project| project.extra_of.is_none()).collect())
    }

    /// What an ask answered. An event may have overtaken it: then it is dropped.
    pub fn answered(&self, project: ProjectView) {
        let newer = |known: &ProjectView| {
            (known.sandbox.generation, known.sandbox.changed_at, known.updated_at)
                > (project.sandbox.generation, project.sandbox.changed_at, project.updated_at)
        };
        if !self.projects.with_untracked(|all| all.get(&project.id).is_some_and(|known| known.with_untracked(newer))) {
            self.apply(Event::Project { project: Box::new(project) });
        }
    }

    /// What the server sent.
    pub fn apply(&self, event: Event) {
        match event {
            Event::Snapshot { projects } => {
                let gone: Vec<ProjectId> = self.projects.with_untracked(|all| {
                    all.keys().filter(|id| !projects.iter().any(|project| project.id == **id)).copied().collect()
                });
                let mut new = Vec::new();
                for project in projects {
                    new.extend(self.replace(project));
                }
                if !gone.is_empty() || !new.is_empty() {
                    self.projects.update(|all| {
                        all.retain(|id, _| !gone.contains(id));
                        all.extend(new.into_iter().map(|project| (project.id, ArcRwSignal::new(project))));
                    });
                }
            }
            Event::Project { project } => {
                if let Some(project) = self.replace(*project) {
                    self.projects.update(|all| {
                        all.insert(project.id, ArcRwSignal::new(project));
                    });
                }
            }
            Event::Notices { notices } => {
                if self.notices.with_untracked(|known| known.as_ref() != Some(&notices)) {
                    self.notices.set(Some(notices));
                }
            }
            Event::Gone { id } => {
                if self.projects.with_untracked(|all| all.contains_key(&id)) {
                    self.projects.update(|all| {
                        all.remove(&id);
                    });
                }
            }
        }
    }

    /// Sets a known project's signal; gives an unknown one back.
    fn replace(&self, project: ProjectView) -> Option<ProjectView> {
        match self.projects.with_untracked(|all| all.get(&project.id).cloned()) {
            None => Some(project),
            Some(known) => {
                if known.with_untracked(|known| *known != project) {
                    known.set(project);
                }
                None
            }
        }
    }

    /// The failure of an ask: one for want of a sign-in is the whole page's.
    pub fn failed(&self, error: &ControlError) {
        if error.kind == crate::error::ErrorKind::SignedOut {
            self.link.set(Link::SignedOut);
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}
