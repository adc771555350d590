//! Why a project's PostgreSQL is not there yet: one pure function of its pod and its volume.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, PersistentVolumeClaim, Pod};
use model::{Cause, CauseCode, ResourceName};

/// How long a server may take before it is called slow.
///
/// A third of what its stage has by default: one whose image is present takes three seconds, and whoever waits for
/// another should know for what, long before that is over.
pub const SLOW_SECS: i64 = 20;

/// How long a volume may be unbound and a pod unmade: a provisioner needs some seconds.
const PENDING_SECS: i64 = 10;

/// What the cluster says of one server.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The name of the project's objects.
    pub name: &'a ResourceName,
    /// The newest pod.
    pub pod: Option<&'a Pod>,
    /// Its volume.
    pub volume: Option<&'a PersistentVolumeClaim>,
    /// Since when it is waited for.
    pub since: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// What stands in the way, where it is known.
#[must_use]
pub fn cause(facts: &Facts<'_>) -> Option<Cause> {
    let waited = facts.since.map_or(0, |since| facts.now.as_second() - since.as_second());
    of_volume(facts, waited).or_else(|| facts.pod.and_then(|pod| of_pod(facts.name, pod))).or_else(|| {
        let name = facts.name;
        if facts.pod.is_none() && waited >= PENDING_SECS {
            return Some(failed(
                format!("The cluster has not made the pod of `{name}`'s PostgreSQL."),
                &[
                    "Look at the events of its StatefulSet: a quota, an admission policy or a missing permission says so there.",
                    "It goes on by itself once that is mended.",
                ],
            ));
        }
        (waited >= SLOW_SECS).then(|| slow_start(name, facts.pod, waited))
    })
}

/// What a start that takes long is waiting for.
fn slow_start(name: &ResourceName, pod: Option<&Pod>, waited: i64) -> Cause {
    let (over, status) = (over(waited), pod.and_then(|pod| pod.status.as_ref()));
    let container = status.and_then(|status| status.container_statuses.as_ref()?.first());
    let state = container.and_then(|container| container.state.as_ref());
    let (waits, step) = if state.is_some_and(|state| state.running.is_some()) {
        (
            "it runs, and takes no connections yet: it is making its files, or recovers what is on its volume",
            "Look at its log, which the sandbox's log page shows, if it stays like this.",
        )
    } else if pod.is_some_and(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())) {
        (
            "its node is fetching its image or mounting its volume",
            "Look at the events of its pod, which the sandbox's log page shows, if it stays like this.",
        )
    } else {
        ("no node has taken its pod yet", "Look at the events of its pod: the scheduler says why there.")
    };
    slow(format!("`{name}`'s PostgreSQL has been starting for over {over}: {waits}."), &["Wait: it goes on by itself.", step])
}

/// A time in steps, so that the same cause is not another one each second: `20 s`, `3 min`.
#[must_use]
pub fn over(secs: i64) -> String {
    if secs < 60 { format!("{} s", (secs / 10 * 10).max(1)) } else { format!("{} min", secs / 60) }
}

fn of_volume(facts: &Facts<'_>, waited: i64) -> Option<Cause> {
    let volume = facts.volume?;
    let name = facts.name;
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    match phase {
        "Lost" => Some(Cause::new(
            CauseCode::VolumeLost,
            format!("The volume of `{name}`'s PostgreSQL is lost: what it was bound to is gone."),
            &["Bring the PersistentVolume back.", "Or delete the project: its data cannot be read."],
        )),
        "Pending" if waited >= PENDING_SECS => {
            let class = class
                .map_or_else(|| "of the default storage class".to_owned(), |class| format!("of the storage class `{class}`"));
            Some(Cause::new(
                CauseCode::VolumePending,
                format!("The volume of `{name}`'s PostgreSQL, {class}, has not been made for over {}.", over(waited)),
                &[
                    "Check that the storage class exists and its provisioner runs.",
                    "Look at the events of the PersistentVolumeClaim.",
                ],
            ))
        }
        _ => None,
    }
}

fn of_pod(name: &ResourceName, pod: &Pod) -> Option<Cause> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") {
        let why = status.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let cause = failed(
            format!("The pod of `{name}`'s PostgreSQL was ended{why}."),
            &["It is made again by itself, and its data is kept.", "Look at its node if it happens again."],
        );
        return Some(match &status.message {
            Some(message) => cause.with_detail(message),
            None => cause,
        });
    }
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled" && condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return Some(
            Cause::new(
                CauseCode::Unschedulable,
                format!("No node of the cluster has room for `{name}`'s PostgreSQL."),
                &["It starts by itself when there is room.", "Add a node, or ask for less in the settings of databases."],
            )
            .with_detail(condition.message.clone().unwrap_or_default()),
        );
    }
    let container = status.container_statuses.iter().flatten().next()?;
    let image = &container.image;
    if let Some(ContainerState { waiting: Some(waiting), .. }) = &container.state {
        let detail = waiting.message.clone().unwrap_or_default();
        let cause = match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" => Cause::new(
                CauseCode::ImageBackOff,
                format!("The image of `{name}`'s PostgreSQL, `{image}`, could not be pulled."),
                &[
                    "Check its name in the settings of databases, and that the nodes reach its registry.",
                    "It is tried again by itself.",
                ],
            ),
            "InvalidImageName" => Cause::new(
                CauseCode::ImageNameInvalid,
                format!("`{image}` is no name of an image: PostgreSQL could not be started."),
                &["Correct the image in the settings of databases."],
            ),
            "CrashLoopBackOff" => failed(
                format!("`{name}`'s PostgreSQL ends by itself, {} times so far.", container.restart_count),
                &["Look at the log of its pod for why.", "It is started again by itself, later each time."],
            ),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => failed(
                format!("The node could not start the container of `{name}`'s PostgreSQL."),
                &["Read what it said, below.", "It is tried again by itself."],
            ),
            _ => return None,
        };
        return Some(
            match last_end(container).filter(|_| detail.is_empty() || waiting.reason.as_deref() == Some("CrashLoopBackOff")) {
                Some(end) => cause.with_detail(end),
                None => cause.with_detail(detail),
            },
        );
    }
    let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref())?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(
        failed(
            format!("`{name}`'s PostgreSQL ended by itself, and is being started again."),
            &["Look at its log, which the sandbox's log page shows, if it ends again."],
        )
        .with_detail(format!("{reason}, exit code {}", ended.exit_code)),
    )
}

/// How its last run ended.
fn last_end(container: &k8s_openapi::api::core::v1::ContainerStatus) -> Option<String> {
    let end = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = end.reason.as_deref().unwrap_or("Error");
    let message = end.message.as_deref().map(|message| format!(": {}", message.trim())).unwrap_or_default();
    Some(format!("{reason}, exit code {}{message}", end.exit_code))
}

/// PostgreSQL's pod is ready, and nobody answers there.
#[must_use]
pub fn unreachable(name: &ResourceName, detail: Option<String>) -> Cause {
    let mut cause = Cause::new(
        CauseCode::DatabaseUnreachable,
        format!("`{name}`'s PostgreSQL runs and does not answer the control plane."),
        &["It is tried again by itself.", "Look at the log of its pod, and at NetworkPolicies that keep the control plane out."],
    );
    cause.detail = detail;
    cause
}

/// The superuser's password in the Secret is not that of the server.
#[must_use]
pub fn locked_out(name: &ResourceName, detail: Option<String>) -> Cause {
    let mut cause = Cause::new(
        CauseCode::DatabaseRefused,
        format!(
            "`{name}`'s PostgreSQL does not take the superuser's password that its Secret has: one of both was changed by hand."
        ),
        &[
            "Put the old Secret back.",
            "Or set the Secret's password inside: `kubectl exec` into its pod, `psql -U postgres`, `\\password`.",
        ],
    );
    cause.detail = detail;
    cause
}

/// It does not go on by itself, or only when somebody mends something.
#[must_use]
pub fn failed(message: String, next_steps: &[&str]) -> Cause {
    Cause::new(CauseCode::DatabaseFailed, message, next_steps)
}

/// It may well go on by itself.
#[must_use]
pub fn slow(message: String, next_steps: &[&str]) -> Cause {
    Cause::new(CauseCode::DatabaseSlow, message, next_steps)
}

/// Removing it has taken too long.
#[must_use]
pub fn wedged(message: String, next_steps: &[&str]) -> Cause {
    Cause::new(CauseCode::DeletionOverdue, message, next_steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(pod: Option<serde_json::Value>, volume: Option<serde_json::Value>, waited: i64) -> Option<(CauseCode, String)> {
        let name = super::super::tests::spec().name;
        let pod: Option<Pod> = pod.map(|pod| serde_json::from_value(pod).unwrap());
        let volume: Option<PersistentVolumeClaim> = volume.map(|volume| serde_json::from_value(volume).unwrap());
        let since = Timestamp::from_second(1_000).ok();
        let now = Timestamp::from_second(1_000 + waited).unwrap();
        let found = cause(&Facts { name: &name, pod: pod.as_ref(), volume: volume.as_ref(), since, now })?;
        assert!(!found.next_steps.is_empty());
        Some((found.code, format!("{} {}", found.message, found.detail.unwrap_or_default())))
    }

    fn waiting(reason: &str) -> serde_json::Value {
        json!({"status": {"containerStatuses": [{
            "name": "postgresql", "image": "fsa.local/nothing:dev", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": reason, "message": "said so"}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        }]}})
    }

    #[test]
    fn a_start_under_way_has_no_cause() {
        assert_eq!(of(None, None, 1), None);
        assert_eq!(of(Some(waiting("ContainerCreating")), Some(json!({"status": {"phase": "Bound"}})), 5), None);
    }

    #[test]
    fn what_stands_in_the_way_is_said() {
        let said = |found: Option<(CauseCode, String)>, text: &str| {
            let (_, said) = found.unwrap_or_else(|| panic!("nothing, not `{text}`"));
            assert!(said.contains(text), "{said}");
        };
        said(of(Some(waiting("ImagePullBackOff")), None, 5), "`fsa.local/nothing:dev`, could not be pulled");
        said(of(Some(waiting("InvalidImageName")), None, 5), "is no name of an image");
        said(of(Some(waiting("CrashLoopBackOff")), None, 5), "OOMKilled, exit code 137");
        said(of(Some(waiting("CreateContainerConfigError")), None, 5), "said so");
        let pod = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}});
        said(of(Some(pod), None, 5), "0/1 nodes");
        let volume = json!({"spec": {"storageClassName": "openebs-backup"}, "status": {"phase": "Pending"}});
        said(of(None, Some(volume.clone()), 15), "`openebs-backup`, has not been made for over 10 s");
        assert_eq!(of(None, Some(volume), 5), None, "a provisioner needs some seconds");
        said(of(None, Some(json!({"status": {"phase": "Lost"}})), 1), "is lost");
        said(of(None, None, 15), "has not made the pod");
        let ended =
            json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}});
        said(of(Some(ended), None, 5), "(Evicted)");
        let ended = json!({"status": {"containerStatuses": [{"name": "postgresql", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"terminated": {"reason": "Error", "exitCode": 1}}}]}});
        said(of(Some(ended), None, 5), "exit code 1");
    }

    #[test]
    fn a_slow_start_says_what_it_waits_for_in_words_that_stay() {
        let running = json!({"spec": {"nodeName": "n", "containers": []}, "status": {"containerStatuses": [{"name": "postgresql",
            "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}}]}});
        let placed = json!({"spec": {"nodeName": "n", "containers": []}});
        for (pod, words) in
            [(running, "takes no connections yet"), (placed, "fetching its image"), (json!({}), "no node has taken")]
        {
            assert_eq!(of(Some(pod.clone()), None, 15), None);
            let (code, said) = of(Some(pod.clone()), None, 25).unwrap();
            assert_eq!(code, CauseCode::DatabaseSlow);
            assert!(said.contains(words) && said.contains("over 20 s"), "{said}");
            assert_eq!(of(Some(pod.clone()), None, 29).unwrap().1, said);
            assert!(of(Some(pod), None, 190).unwrap().1.contains("over 3 min"));
        }
    }
}
