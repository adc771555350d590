//! Why a project's PostgreSQL is not there yet: one pure function of its pod, its volume and what the cluster tells of
//! them. What is the same for every pod (nodes, images, mounts, refusals) is [`causes`]', in the words for a database.

use crate::causes::{self, Whose};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Event, PersistentVolumeClaim, Pod};
use model::{Cause, CauseCode, ResourceName};
use std::sync::Arc;

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
    /// Events about its objects, newest first; none where they are not heeded.
    pub events: &'a [Arc<Event>],
    /// Since when it is waited for.
    pub since: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Whether the cluster itself has said so, and waiting alone seldom mends it: it is told at once, and not only when
/// patience is over. All else may be passing.
#[must_use]
pub fn is_stated(code: CauseCode) -> bool {
    matches!(
        code,
        CauseCode::ImageNotFound
            | CauseCode::ImageRefused
            | CauseCode::ImageNameInvalid
            | CauseCode::ImageAbsent
            | CauseCode::Unschedulable
            | CauseCode::NodeUnsuitable
            | CauseCode::StorageClassMissing
            | CauseCode::VolumeLost
            | CauseCode::QuotaExceeded
            | CauseCode::LimitRangeExceeded
            | CauseCode::AdmissionRefused
            | CauseCode::ObjectRefused
            | CauseCode::ServiceAccountMissing
            | CauseCode::ConfigMissing
    )
}

/// Whether events may tell what it waits for: not once something of its container runs, or has run. Then the pod says it all.
#[must_use]
pub fn heeds_events(pod: Option<&Pod>) -> bool {
    let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    !statuses.into_iter().flatten().any(|status| {
        status.restart_count > 0
            || status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

/// Since when a pod is waited for: since it was made, its container started, or it was ready no more, whichever was last.
/// One that was asked to end has its time for that.
#[must_use]
pub fn since(pod: &Pod) -> Option<Timestamp> {
    let (meta, status) = (&pod.metadata, pod.status.as_ref());
    let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let started = containers.filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let unready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status != "True");
    let unready = unready.filter_map(|condition| condition.last_transition_time.as_ref());
    let all = meta.creation_timestamp.iter().chain(&meta.deletion_timestamp).chain(started).chain(unready);
    all.map(|time| time.0).max()
}

/// What stands in the way, where it is known.
///
/// A volume that is not bound yet is no cause of its own for some seconds, and never want of room: it is being made, or waits
/// for the pod that uses it, which may wait for a node.
#[must_use]
pub fn cause(facts: &Facts<'_>) -> Option<Cause> {
    let waited = facts.since.map_or(0, |since| facts.now.as_second() - since.as_second());
    let told = causes::Facts {
        name: facts.name,
        whose: Whose::Database,
        deployment: None,
        pods: &[],
        volume: facts.volume,
        ingresses: &[],
        events: facts.events,
        node_ready: None,
        // Whoever tells of it asks for them.
        rooms: Some(&[]),
        ingress_class_present: None,
        log_tail: None,
        now: facts.now,
    };
    let refused = || if facts.pod.is_none() { causes::of_database_set(&told) } else { None };
    let of_pod = || facts.pod.and_then(|pod| of_pod(&told, pod));
    lost(facts)
        .or_else(|| causes::of_database_volume(&told))
        .or_else(refused)
        .or_else(of_pod)
        .or_else(|| pending(facts, waited))
        .or_else(|| late(facts, waited))
}

/// What takes long, where nothing says why.
fn late(facts: &Facts<'_>, waited: i64) -> Option<Cause> {
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

fn phase(volume: &PersistentVolumeClaim) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn lost(facts: &Facts<'_>) -> Option<Cause> {
    facts.volume.filter(|volume| phase(volume) == "Lost")?;
    Some(Cause::new(
        CauseCode::VolumeLost,
        format!("The volume of `{}`'s PostgreSQL is lost: what it was bound to is gone.", facts.name),
        &["Bring the PersistentVolume back.", "Or delete the project: its data cannot be read."],
    ))
}

fn pending(facts: &Facts<'_>, waited: i64) -> Option<Cause> {
    let volume = facts.volume.filter(|volume| phase(volume) == "Pending" && waited >= PENDING_SECS)?;
    let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let class =
        class.map_or_else(|| "of the default storage class".to_owned(), |class| format!("of the storage class `{class}`"));
    Some(Cause::new(
        CauseCode::VolumePending,
        format!("The volume of `{}`'s PostgreSQL, {class}, has not been made for over {}.", facts.name, over(waited)),
        &["Check that the storage class exists and its provisioner runs.", "Look at the events of the PersistentVolumeClaim."],
    ))
}

fn of_pod(told: &causes::Facts<'_>, pod: &Pod) -> Option<Cause> {
    let name = told.name;
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
    match causes::of_database_pod(told, pod) {
        // It waits for its volume, which is told of once that has taken its time.
        Some(cause) if cause.code == CauseCode::VolumePending => return None,
        Some(cause) => return Some(cause),
        None => {}
    }
    let container = status.container_statuses.iter().flatten().next()?;
    if let Some(ContainerState { waiting: Some(waiting), .. }) = &container.state {
        let detail = waiting.message.clone().unwrap_or_default();
        let cause = match waiting.reason.as_deref().unwrap_or_default() {
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
        let found = cause(&Facts { name: &name, pod: pod.as_ref(), volume: volume.as_ref(), events: &[], since, now })?;
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
        said(of(Some(waiting("ImagePullBackOff")), None, 5), "The image `fsa.local/nothing:dev` could not be fetched");
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

    fn unscheduled(message: &str) -> serde_json::Value {
        json!({"spec": {"containers": [{"name": "postgresql", "image": "postgres:17", "resources": {"requests": {"memory": "256Mi"}}}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}})
    }

    #[test]
    fn a_volume_that_is_on_its_way_is_no_want_of_room() {
        let claim = || Some(json!({"spec": {"storageClassName": "local-path"}, "status": {"phase": "Pending"}}));
        let text =
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available.";
        for waited in [0, 5, 9] {
            assert_eq!(of(Some(unscheduled(text)), claim(), waited), None, "{waited} s");
        }
        let (code, said) = of(Some(unscheduled(text)), claim(), 12).unwrap();
        assert!(code == CauseCode::VolumePending && !said.contains("room"), "{said}");
        // One that waits for its pod's node is not to blame for the node.
        let text = "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available.";
        for waited in [0, 5, 30] {
            let (code, said) = of(Some(unscheduled(text)), claim(), waited).unwrap();
            assert_eq!(code, CauseCode::Unschedulable);
            assert!(said.contains("No node has room for the database: 1 of 1 nodes cannot give the 256Mi of memory"), "{said}");
            assert!(!said.contains("sandbox asks"), "{said}");
        }
    }

    /// What the cluster tells of a server without a pod, oldest event first.
    fn heard(volume: Option<serde_json::Value>, events: &[(&str, &str, &str)]) -> Option<Cause> {
        let name = super::super::tests::spec().name;
        let event = |(kind, reason, message): &(&str, &str, &str)| {
            let about = json!({"kind": kind, "name": "data-x-postgresql-0"});
            Arc::new(
                serde_json::from_value(json!({"metadata": {}, "involvedObject": about, "reason": reason, "message": message}))
                    .unwrap(),
            )
        };
        let events: Vec<Arc<Event>> = events.iter().rev().map(event).collect();
        let volume: Option<PersistentVolumeClaim> = volume.map(|mut volume| {
            volume["metadata"] = json!({"name": "data-x-postgresql-0"});
            serde_json::from_value(volume).unwrap()
        });
        let now = Timestamp::from_second(1_000).unwrap();
        cause(&Facts { name: &name, pod: None, volume: volume.as_ref(), events: &events, since: Some(now), now })
    }

    #[test]
    fn what_the_cluster_refuses_is_stated_as_soon_as_it_says_so() {
        let refused =
            r#"create Pod x-postgresql-0 in StatefulSet x-postgresql failed error: pods "x-postgresql-0" is forbidden: "#;
        let quota = format!(
            "{refused}exceeded quota: small, requested: limits.memory=1Gi, used: limits.memory=1Gi, limited: limits.memory=1Gi"
        );
        let security = format!("{refused}violates PodSecurity \"restricted:latest\": runAsNonRoot != true");
        let other = format!("{refused}because of the moon");
        let claim = || Some(json!({"spec": {"storageClassName": "nobodys"}, "status": {"phase": "Pending"}}));
        let class = r#"storageclass.storage.k8s.io "nobodys" not found"#;
        for (volume, kind, reason, message, code, words) in [
            (None, "StatefulSet", "FailedCreate", quota.as_str(), CauseCode::QuotaExceeded, "no room for the database's pod"),
            (
                None,
                "StatefulSet",
                "FailedCreate",
                security.as_str(),
                CauseCode::AdmissionRefused,
                "and the database's pod breaks it",
            ),
            (
                None,
                "StatefulSet",
                "FailedCreate",
                other.as_str(),
                CauseCode::AdmissionRefused,
                "refused to make the database's pod",
            ),
            (
                claim(),
                "PersistentVolumeClaim",
                "ProvisioningFailed",
                class,
                CauseCode::StorageClassMissing,
                "no volume for the database",
            ),
        ] {
            let cause = heard(volume, &[(kind, reason, message)]).unwrap();
            assert_eq!(cause.code, code, "{cause:?}");
            assert!(cause.message.contains(words) && cause.detail.is_some(), "{cause:?}");
            assert!(is_stated(cause.code), "{cause:?}");
        }
        let made = ("StatefulSet", "SuccessfulCreate", "create Pod x-postgresql-0 in StatefulSet x-postgresql successful");
        assert_eq!(heard(None, &[("StatefulSet", "FailedCreate", quota.as_str()), made]), None, "what was overcome since");
        for passing in ["persistentvolumeclaim \"data-x\" is being deleted", "status unknown for quota: small, resources: pods"] {
            let cause = heard(None, &[("StatefulSet", "FailedCreate", passing)]).unwrap();
            assert!(cause.code == CauseCode::OrchestratorBusy && !is_stated(cause.code), "{cause:?}");
        }
        assert_eq!(heard(claim(), &[("PersistentVolumeClaim", "WaitForFirstConsumer", "waiting for first consumer")]), None);
        assert!(
            // A registry that is busy, or a node that fetches much at once.
            !is_stated(CauseCode::ImageBackOff)
                && !is_stated(CauseCode::VolumePending)
                && !is_stated(CauseCode::DatabaseSlow)
                && !is_stated(CauseCode::DatabaseFailed)
        );
    }

    #[test]
    fn events_are_heeded_of_what_has_not_run_yet() {
        let pod = |state: serde_json::Value, restarts: i32| -> Pod {
            serde_json::from_value(json!({"status": {"containerStatuses": [{"name": "postgresql", "image": "", "imageID": "",
                "ready": false, "restartCount": restarts, "state": state}]}}))
            .unwrap()
        };
        assert!(heeds_events(None));
        assert!(heeds_events(Some(&pod(json!({"waiting": {"reason": "ContainerCreating"}}), 0))));
        assert!(!heeds_events(Some(&pod(json!({"running": {}}), 0))));
        assert!(!heeds_events(Some(&pod(json!({"waiting": {"reason": "CrashLoopBackOff"}}), 3))));
    }

    #[test]
    fn a_pod_is_waited_for_since_what_happened_to_it_last() {
        let at = |secs: i64| Timestamp::from_second(secs).unwrap().to_string();
        let mut pod = json!({"metadata": {"creationTimestamp": at(1_000)}, "status": {
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(1_003)}],
            "containerStatuses": [{"name": "postgresql", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": at(1_002)}}}]}});
        let since = |pod: &serde_json::Value| since(&serde_json::from_value(pod.clone()).unwrap()).map(Timestamp::as_second);
        assert_eq!(since(&json!({})), None);
        assert_eq!(since(&json!({"metadata": {"creationTimestamp": at(1_000)}})), Some(1_000));
        assert_eq!(since(&pod), Some(1_002));
        // Its container ended days later, and is started again.
        pod["status"]["conditions"][0] = json!({"type": "Ready", "status": "False", "lastTransitionTime": at(300_000)});
        assert_eq!(since(&pod), Some(300_000));
        pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = json!(at(300_001));
        assert_eq!(since(&pod), Some(300_001));
        // It is deleted by hand, and ends within its time.
        pod["metadata"]["deletionTimestamp"] = json!(at(400_030));
        assert_eq!(since(&pod), Some(400_030));
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
