//! What happened to a sandbox's objects, as Kubernetes tells it.
//!
//! Events carry none of our labels: they are ours by the name of what they are about, which begins with the
//! sandbox's (a pod's, a ReplicaSet's), or is that of a volume.

use crate::names::POSTGRES_SUFFIX;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use model::ResourceName;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// Of one sandbox. A start that goes wrong makes some ten.
const KEPT: usize = 50;
/// Of names that look like ours; somebody else's installation may share the namespace.
const NAMES: usize = 20_000;
const VOLUME: &str = "volume-";

/// By the name of a sandbox's objects, or of a volume.
#[derive(Default)]
pub struct Events {
    by_name: HashMap<String, VecDeque<Arc<Event>>>,
}

impl Events {
    /// Keeps it, and answers whose it is; `None` for what cannot be ours.
    pub fn put(&mut self, mut event: Event) -> Option<String> {
        let name = about(event.involved_object.name.as_deref()?)?;
        if !self.by_name.contains_key(&name) && self.by_name.len() >= NAMES {
            return None;
        }
        event.metadata.managed_fields = None;
        let kept = self.by_name.entry(name.clone()).or_default();
        // The same event is written again with a higher count.
        kept.retain(|known| known.metadata.uid != event.metadata.uid);
        kept.push_back(Arc::new(event));
        while kept.len() > KEPT {
            kept.pop_front();
        }
        Some(name)
    }

    /// Kubernetes forgets them after an hour, and so do we.
    pub fn take(&mut self, event: &Event) {
        let Some(name) = event.involved_object.name.as_deref().and_then(about) else { return };
        if let Some(kept) = self.by_name.get_mut(&name) {
            kept.retain(|known| known.metadata.uid != event.metadata.uid);
            if kept.is_empty() {
                self.by_name.remove(&name);
            }
        }
    }

    /// Those about a sandbox's objects and about its volume, newest first.
    ///
    /// What a sandbox's database is made of has the sandbox's name in its own, and is among them.
    #[must_use]
    pub fn of(&self, name: &str, volume: Option<&str>) -> Vec<Arc<Event>> {
        let names = [Some(name), volume];
        let mut events: Vec<Arc<Event>> =
            names.into_iter().flatten().filter_map(|name| self.by_name.get(name)).flatten().cloned().collect();
        events.sort_by_key(|event| std::cmp::Reverse(at(event)));
        events
    }

    /// Those about objects that are called so, newest first.
    #[must_use]
    pub fn about(&self, objects: &[String]) -> Vec<Arc<Event>> {
        let names: BTreeSet<String> = objects.iter().filter_map(|object| about(object)).collect();
        let kept = names.iter().filter_map(|name| self.by_name.get(name)).flatten();
        let is = |event: &&Arc<Event>| event.involved_object.name.as_ref().is_some_and(|name| objects.contains(name));
        let mut events: Vec<Arc<Event>> = kept.filter(is).cloned().collect();
        events.sort_by_key(|event| std::cmp::Reverse(at(event)));
        events
    }
}

/// Whether an event may be about a project's PostgreSQL, whoever makes that.
#[must_use]
pub fn is_of_database(event: &Event) -> bool {
    let about = &event.involved_object;
    about.name.as_deref().is_some_and(|name| name.contains(POSTGRES_SUFFIX)) || about.kind.as_deref() == Some("Cluster")
}

/// When it last happened.
#[must_use]
pub fn at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    series
        .or(event.last_timestamp.as_ref().map(|at| at.0))
        .or(event.event_time.as_ref().map(|at| at.0))
        .or(event.first_timestamp.as_ref().map(|at| at.0))
        .or(event.metadata.creation_timestamp.as_ref().map(|at| at.0))
}

/// The sandbox's name in an object's, or the volume's whole.
fn about(object: &str) -> Option<String> {
    if object.starts_with(VOLUME) {
        return Some(object.to_owned());
    }
    const MIDDLE: &str = "-agentruntime-";
    let end = object.find(MIDDLE)? + MIDDLE.len() + ResourceName::SUFFIX;
    let name = object.get(..end)?;
    let rest = &object[end..];
    let parsed = |text: &str| text.parse::<ResourceName>().ok();
    // A database's claim, where its project's name leaves no room for what stands before it.
    let named = || parsed(name).or_else(|| parsed(name.strip_prefix("data-")?));
    (rest.is_empty() || rest.starts_with('-')).then(named)?.map(|name| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_sandboxs_by_its_name() {
        for (object, name) in [
            ("shop-agentruntime-abc123", Some("shop-agentruntime-abc123")),
            ("shop-agentruntime-abc123-6d5f9c7b8-x2x4z", Some("shop-agentruntime-abc123")),
            ("shop-agentruntime-abc1234", None),
            ("data-abcdefghijklmnopqrst-agentruntime-abc123-postgresql-0", Some("abcdefghijklmnopqrst-agentruntime-abc123")),
            ("shop-agentruntime-abc", None),
            ("nginx-6d5f9c7b8", None),
            ("volume-0190", Some("volume-0190")),
        ] {
            assert_eq!(about(object).as_deref(), name, "{object}");
        }
    }

    #[test]
    fn what_happens_to_a_database_is_found_by_its_objects_names() {
        let event = |kind: &str, name: &str, second: u32| -> Event {
            serde_json::from_value(serde_json::json!({"metadata": {"uid": format!("{name} {second}")},
                "involvedObject": {"kind": kind, "name": name}, "lastTimestamp": format!("2026-01-01T00:00:0{second}Z")}))
            .unwrap()
        };
        let name = "shop-agentruntime-abc123";
        let (set, pod, claim) =
            (format!("{name}-postgresql"), format!("{name}-postgresql-0"), format!("data-{name}-postgresql-0"));
        let mut events = Events::default();
        let sandbox = format!("{name}-6d5f9c7b8-x2x4z");
        for (kind, about, second) in [
            ("StatefulSet", set.as_str(), 1),
            ("Pod", sandbox.as_str(), 2),
            ("Pod", pod.as_str(), 4),
            ("PersistentVolumeClaim", claim.as_str(), 3),
            ("Pod", "other-agentruntime-abc123-postgresql-0", 5),
        ] {
            assert!(events.put(event(kind, about, second)).is_some(), "{about}");
        }
        let told = events.about(&[set.clone(), pod.clone(), claim.clone()]);
        let told: Vec<_> = told.iter().filter_map(|event| event.involved_object.name.as_deref()).collect();
        assert_eq!(told, [pod.as_str(), claim.as_str(), set.as_str()], "newest first");
        assert!(is_of_database(&event("Pod", &pod, 1)) && is_of_database(&event("Cluster", name, 1)));
        assert!(!is_of_database(&event("Pod", &sandbox, 1)));
    }
}
