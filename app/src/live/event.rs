//! Events as texts: read, and kept for the tabs that come later. Pure.

use model::{
    ProjectId,
    view::{Event, ProjectView},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// An [`Event`] with all fields beside each other: a reader for a tagged enum weighs 60 KB of
/// WebAssembly more.
#[derive(Deserialize)]
struct Flat {
    r#type: String,
    #[serde(default)]
    projects: Vec<ProjectView>,
    project: Option<Box<ProjectView>>,
    id: Option<ProjectId>,
    #[serde(default)]
    notices: Vec<String>,
}

/// Reads an event; `None` for what is none that this page knows.
pub fn read(data: &str) -> Option<Event> {
    let Flat { r#type, projects, project, id, notices } = serde_json::from_slice(data.as_bytes()).ok()?;
    match r#type.as_str() {
        "snapshot" => Some(Event::Snapshot { projects }),
        "project" => Some(Event::Project { project: project? }),
        "gone" => Some(Event::Gone { id: id? }),
        "notices" => Some(Event::Notices { notices }),
        _ => None,
    }
}

/// The texts from which a tab that comes later gets the present state: the last snapshot, and for each
/// project the last event after it.
#[derive(Debug, Default)]
pub struct Said {
    snapshot: Option<String>,
    notices: Option<String>,
    since: BTreeMap<ProjectId, String>,
}

impl Said {
    /// Takes an event with its text.
    pub fn note(&mut self, event: &Event, data: &str) {
        match event {
            Event::Snapshot { .. } => {
                self.snapshot = Some(data.to_owned());
                self.since.clear();
            }
            Event::Notices { .. } => self.notices = Some(data.to_owned()),
            Event::Project { project } => drop(self.since.insert(project.id, data.to_owned())),
            Event::Gone { id } => drop(self.since.insert(*id, data.to_owned())),
        }
    }

    /// All of them, in an order in which they can be applied.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.snapshot.iter().chain(&self.notices).chain(self.since.values()).map(String::as_str)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use model::{
        Desired, Phase, SandboxId, Timestamp,
        resources::Preset,
        view::{SandboxView, Urls},
    };

    /// A project as tests need one.
    pub fn project(n: u128, name: &str) -> ProjectView {
        let id = ProjectId(uuid::Uuid::from_u128(n));
        let at = Timestamp::UNIX_EPOCH;
        let sandbox = SandboxView {
            id: SandboxId(id.0),
            project_id: id,
            name: "x-agentruntime-abc123".into(),
            phase: Phase::Running,
            desired: Desired::Running,
            generation: 1,
            observed_generation: 1,
            stages: Vec::new(),
            cause: None,
            urls: Urls::default(),
            ports: Vec::new(),
            usage: None,
            resources: Preset::Small.resources(),
            since: Some(at),
            leaving_since: None,
            leave_deadline_at: None,
            restart_pending: false,
            changed_at: at,
        };
        ProjectView {
            extra_of: None,
            id,
            name: name.into(),
            slug: "x".into(),
            database: true,
            preset: Preset::Small,
            deleting: false,
            repository: None,
            created_at: at,
            updated_at: at,
            sandbox,
        }
    }

    #[test]
    fn every_event_reads_back() {
        let events = [
            Event::Snapshot { projects: vec![project(1, "a"), project(2, "b")] },
            Event::Project { project: Box::new(project(3, "c")) },
            Event::Gone { id: project(1, "a").id },
        ];
        for event in events {
            assert_eq!(read(&serde_json::to_string(&event).unwrap()), Some(event));
        }
        assert_eq!(read("{\"type\":\"tomorrow\"}"), None);
        assert_eq!(read("nothing"), None);
    }

    #[test]
    fn a_later_tab_gets_the_last_of_each() {
        let mut said = Said::default();
        let mut tell = |event: Event, data: &str| said.note(&event, data);
        tell(Event::Gone { id: project(9, "z").id }, "before");
        tell(Event::Snapshot { projects: vec![] }, "all");
        tell(Event::Project { project: Box::new(project(1, "a")) }, "one");
        tell(Event::Project { project: Box::new(project(1, "b")) }, "one again");
        tell(Event::Gone { id: project(2, "c").id }, "two gone");
        assert_eq!(said.all().collect::<Vec<_>>(), ["all", "one again", "two gone"]);
    }
}
