//! Why something on the cluster is not as intended: one pure function from what the index holds to the closed
//! list, and one from what the apiserver answers.
//!
//! ```text
//!   Facts ─▶ cause ─┬─ volume      the claim, before the pod that waits for it
//!                   ├─ refusal     what the Deployment may not make: quota, limits, admission, account
//!                   ├─ pod ─┬─ place      scheduling, node, eviction
//!                   │       ├─ image      pulls
//!                   │       └─ container  mounts, init, start, crashes, memory
//!                   └─ ingress     the class
//!   kube::Error ─▶ of_error ─▶ refusal
//! ```
//!
//! The texts that are read here are those of Kubernetes 1.28 to 1.34 with containerd; a text that is not known
//! becomes the nearest cause with the text as its detail, never a wrong one.

mod container;
mod error;
mod image;
mod place;
mod refusal;
pub mod room;
mod volume;

pub use container::out_of_memory;
pub(crate) use error::{CLUSTER, chain, explain, no_credentials};
pub use error::{name_taken, of_error};
pub(crate) use place::is_placed;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, PersistentVolumeClaim, Pod},
    networking::v1::Ingress,
};
use model::{Cause, CauseCode, ResourceName};
use std::sync::Arc;

/// Whose pod and volume it is that a sentence speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A sandbox's.
    Sandbox,
    /// That of a project's own PostgreSQL.
    Database,
}

impl Whose {
    /// Within a sentence.
    #[must_use]
    pub fn the(self) -> &'static str {
        match self {
            Self::Sandbox => "the sandbox",
            Self::Database => "the database",
        }
    }

    /// At its beginning.
    #[must_use]
    pub fn begins(self) -> &'static str {
        match self {
            Self::Sandbox => "The sandbox",
            Self::Database => "The database",
        }
    }

    /// By the name of a pod or volume: every provider of databases calls them alike.
    fn of_name(object: &str) -> Self {
        if object.contains("-postgresql-") { Self::Database } else { Self::Sandbox }
    }
}

/// What the cluster says of one sandbox or database, borrowed from the index.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The name of its objects.
    pub name: &'a ResourceName,
    /// What it is.
    pub whose: Whose,
    /// Its Deployment.
    pub deployment: Option<&'a Deployment>,
    /// Its pods, newest first.
    pub pods: &'a [Arc<Pod>],
    /// Its project's home folder.
    pub volume: Option<&'a PersistentVolumeClaim>,
    /// Its Ingresses.
    pub ingresses: &'a [Arc<Ingress>],
    /// Events about any of its objects (its ReplicaSets too, whose names begin with its own), newest first.
    pub events: &'a [Arc<Event>],
    /// Whether the newest pod's node is ready, where that is known.
    pub node_ready: Option<bool>,
    /// What nodes have, which is told where none takes a pod. `None`: they cannot be seen.
    pub rooms: Option<&'a [room::Room]>,
    /// Whether the class of its Ingresses exists, where that is known.
    pub ingress_class_present: Option<bool>,
    /// The last lines of the log of a container that ended, where they were fetched.
    pub log_tail: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// What stands in the way of a sandbox that should be running, if anything is known to. Pure.
///
/// The sandbox may run all the same: a home folder that is being deleted, an Ingress class that is missing, or a run that
/// was lately ended for want of memory, is told of beside a ready pod. Of several causes the most particular wins: a claim that waits comes
/// before the pod that waits for it, and the newest pod before one that it replaced. `None` is not "ready": it is "nothing to tell".
#[must_use]
pub fn cause(facts: &Facts<'_>) -> Option<Cause> {
    if facts.deployment.is_none() && facts.pods.is_empty() {
        return volume::cause(facts);
    }
    let pod = facts.pods.iter().find(|pod| !is_leaving(pod) && !place::is_over(pod));
    if let Some(pod) = pod.filter(|pod| is_ready(pod) && facts.node_ready != Some(false)) {
        return volume::leaving(facts).or_else(|| container::killed_lately(facts, pod)).or_else(|| ingress_class(facts));
    }
    volume::cause(facts)
        .or_else(|| refusal::of_deployment(facts))
        .or_else(|| pod.and_then(|pod| of_pod(facts, pod)))
        .or_else(|| place::over(facts))
        .or_else(|| facts.pods.iter().filter(|pod| is_leaving(pod)).find_map(|pod| place::lost(facts, pod)))
        .or_else(|| ingress_class(facts))
}

fn of_pod(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    place::cause(facts, pod)
        .or_else(|| container::mount(facts, pod))
        .or_else(|| container::init(facts, pod))
        .or_else(|| container::main(facts, pod))
        .or_else(|| image::slow(facts, pod))
        .or_else(|| container::silent(facts, pod))
}

/// Why the volume of a database is not there, as far as the cluster says so. Pure.
#[must_use]
pub(crate) fn of_database_volume(facts: &Facts<'_>) -> Option<Cause> {
    volume::cause(facts)
}

/// Why a database has no pod: what its controller was told when it wanted to make one. Pure.
#[must_use]
pub(crate) fn of_database_set(facts: &Facts<'_>) -> Option<Cause> {
    refusal::of_set(facts)
}

/// What keeps the pod of a database from its first instruction. Pure.
#[must_use]
pub(crate) fn of_database_pod(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    place::cause(facts, pod).or_else(|| container::mount(facts, pod)).or_else(|| container::pull(facts, pod))
}

/// Whether somebody has asked for the pod's end. On a lost node it stays until the node is back, or is deleted.
fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod's own checks say that it serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, ..)| status == "True")
}

/// Status, reason and message of one of a pod's conditions.
fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&found.status, found.reason.as_deref().unwrap_or_default(), found.message.as_deref().unwrap_or_default()))
}

/// The newest event of a pod with one of these reasons.
fn event<'a>(facts: &Facts<'a>, pod: &Pod, reasons: &[&str]) -> Option<&'a Event> {
    let uid = pod.metadata.uid.as_deref();
    let is = |event: &&Arc<Event>| {
        event.involved_object.uid.as_deref() == uid && event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
    };
    facts.events.iter().find(is).map(AsRef::as_ref)
}

/// What an event says.
fn text(event: &Event) -> &str {
    event.message.as_deref().unwrap_or_default()
}

/// When an event was last seen.
pub(crate) fn at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    series
        .or_else(|| event.last_timestamp.as_ref().map(|time| time.0))
        .or_else(|| event.event_time.as_ref().map(|time| time.0))
        .or_else(|| event.first_timestamp.as_ref().map(|time| time.0))
}

/// How long ago something was; nothing for what is unknown or ahead of us.
fn since(facts: &Facts<'_>, then: Option<Timestamp>) -> Option<SignedDuration> {
    then.map(|then| facts.now.duration_since(then)).filter(|past| !past.is_negative())
}

/// What stands between two texts.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// The sandbox runs, and its own host names do not.
fn ingress_class(facts: &Facts<'_>) -> Option<Cause> {
    let ingress = facts.ingresses.first().filter(|_| facts.ingress_class_present == Some(false))?;
    let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    let message = class.map_or_else(
        || {
            "The sandbox's Ingresses name no class, and the cluster has no default one, so nothing serves its host names."
                .to_owned()
        },
        |class| format!("The Ingress class `{class}` does not exist in the cluster, so nothing serves the sandbox's host names."),
    );
    Some(Cause::new(
        CauseCode::IngressClassMissing,
        message,
        &[
            "Choose one that exists: `kubectl get ingressclass` shows them, --ingress-class NAME sets it.",
            "Terminal and previews through the control plane work meanwhile.",
        ],
    ))
}
