//! Where a pod runs: whether a node takes it, answers, and keeps it.

use super::{Facts, Whose, between, condition, event, is_ready, room, since};
use k8s_openapi::api::core::v1::Pod;
use model::{Cause, CauseCode};

/// Whether a pod has ended for good, so that its Deployment makes another.
pub(super) fn is_over(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(|phase| matches!(phase, "Failed" | "Succeeded"))
}

/// Whether a node was found for a pod.
pub(crate) fn is_placed(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Why the pod is on no node, or on a lost one.
pub(super) fn cause(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    if !is_placed(pod) {
        let (status, reason, text) = condition(pod, "PodScheduled")?;
        return (status == "False" && reason == "Unschedulable").then(|| unschedulable(facts, pod, text));
    }
    lost(facts, pod)
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {…}. preemption: …`
fn unschedulable(facts: &Facts<'_>, pod: &Pod, text: &str) -> Cause {
    // What follows (`no new claims to deallocate`, what preemption would do) says nothing new.
    let why = text.split(". ").next().unwrap_or(text).trim_end_matches('.');
    let grows = event(facts, pod, &["TriggeredScaleUp"]).is_some();
    let (counts, reasons) = why.split_once(" nodes are available: ").unwrap_or(("", why));
    let nodes = counts.split_once('/').map_or("", |(_, all)| all);
    let the = facts.whose.the();
    let lacking: Vec<(&str, &str)> = reasons.split(", ").filter_map(|reason| reason.split_once(" Insufficient ")).collect();
    let cause = if lacking.is_empty() {
        unsuitable(facts.whose, nodes, reasons)
    } else {
        let short: Vec<&str> = lacking.iter().map(|(_, resource)| *resource).collect();
        let each: Vec<String> = lacking
            .iter()
            .map(|(count, resource)| match requested(pod, resource) {
                Some(asked) => {
                    format!("{count} of {nodes} nodes cannot give the {asked} of {resource} that {the} asks for")
                }
                None => format!("{count} of {nodes} nodes have too little {resource} left"),
            })
            .collect();
        Cause::new(
            CauseCode::Unschedulable,
            format!("No node has room for {the}: {}.{}", each.join("; "), room::told(&short, facts.rooms)),
            &[
                match facts.whose {
                    Whose::Sandbox => "Stop sandboxes that are not needed, or use a smaller size.",
                    Whose::Database => "Stop sandboxes that are not needed.",
                },
                "Or add a node: `kubectl describe nodes` shows what each has left.",
                "It starts by itself once there is room.",
            ],
        )
    };
    let mut cause = cause.with_detail(text);
    if grows {
        cause.message = format!("{} The cluster is adding a node.", cause.message);
        cause.next_steps = vec!["Wait: it starts by itself once the node is there.".to_owned()];
    }
    cause
}

/// There may be room, and no node fits.
fn unsuitable(whose: Whose, nodes: &str, reasons: &str) -> Cause {
    let (the, begins) = (whose.the(), whose.begins());
    let (message, step) = if reasons.contains("no nodes available") {
        ("The cluster has no node.".to_owned(), "Add a node, or start those that are off: `kubectl get nodes`.")
    } else if reasons.contains("Too many pods") {
        let message = format!("Each of the {nodes} nodes runs as many pods as it may.");
        return Cause::new(
            CauseCode::Unschedulable,
            message,
            &["Stop sandboxes that are not needed.", "Or add a node.", "It starts by itself once there is room."],
        );
    } else if reasons.contains("unbound immediate PersistentVolumeClaims") || reasons.contains("persistentvolumeclaim \"") {
        return Cause::new(
            CauseCode::VolumePending,
            format!("{begins} waits for its volume, which is not there yet."),
            &["Wait: it goes on by itself.", "Look at the volume: `kubectl describe pvc`."],
        );
    } else if reasons.contains("volume node affinity conflict") || reasons.contains("PersistentVolume's node affinity") {
        (
            format!("{begins}'s volume is on a node (or in a zone) that does not take {the} now."),
            "Look at the node of the volume: `kubectl get pv -o wide`, `kubectl get nodes`.",
        )
    } else if reasons.contains("disk-pressure") {
        (
            "The nodes are short of disk, so they take no new pods.".to_owned(),
            "Free some space on the nodes, such as unused images.",
        )
    } else if reasons.contains("unreachable") || reasons.contains("not-ready") {
        (
            format!("No node that is ready takes {the}."),
            "Look why the nodes are not ready: `kubectl get nodes`, `kubectl describe node NAME`.",
        )
    } else if reasons.contains("were unschedulable") || reasons.contains("node.kubernetes.io/unschedulable") {
        ("The nodes are closed to new pods (cordoned).".to_owned(), "Open one again: `kubectl uncordon NAME`.")
    } else if let Some(taint) = between(reasons, "untolerated taint {", "}") {
        (
            format!("The nodes take only pods that tolerate the taint `{}`.", taint.trim_end_matches(": ")),
            "Add a node without that taint, or take it off: `kubectl taint node NAME KEY-`.",
        )
    } else if reasons.contains("untolerated taint") {
        (
            format!("Every node that could run {the} has a taint that keeps it away."),
            "Look at the taints (a node is not ready, cordoned, short of something, or kept for others): `kubectl describe nodes`.",
        )
    } else if reasons.contains("node affinity/selector") {
        (
            format!("No node has the labels that {the}'s pod asks for."),
            "Look for a webhook or a namespace's default that adds a node selector: `kubectl get pod -o yaml`.",
        )
    } else {
        (format!("No node fits {the}."), "The scheduler's words, below, say why for each node.")
    };
    Cause::new(CauseCode::NodeUnsuitable, message, &[step, "It starts by itself once a node takes it."])
}

/// What the pod reserves of a resource, over all its containers.
fn requested(pod: &Pod, resource: &str) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let mut asked =
        containers.iter().filter_map(|container| Some(container.resources.as_ref()?.requests.as_ref()?.get(resource)?.0.clone()));
    let first = asked.next()?;
    asked.next().is_none().then_some(first)
}

/// The pod has a node, and that node is gone or silent: by what is known of the node, or by what its controller
/// wrote on the pod.
pub(super) fn lost(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
    let evicted = condition(pod, "DisruptionTarget").is_some_and(|(.., reason, _)| reason == "DeletionByTaintManager");
    // Said once, when the node fell silent; a pod that is ready again was back since.
    let told = !is_ready(pod)
        && event(facts, pod, &["NodeNotReady", "Started", "Killing"])
            .is_some_and(|event| event.reason.as_deref() == Some("NodeNotReady"));
    if facts.node_ready != Some(false) && reason != Some("NodeLost") && !evicted && !told {
        return None;
    }
    Some(Cause::new(
        CauseCode::NodeLost,
        format!("The node `{node}`, on which {} runs, does not answer the cluster.", facts.whose.the()),
        &[
            &format!("Look at the node: `kubectl describe node {node}`."),
            &format!(
                "{} goes on where it is if the node comes back; else the cluster moves it after some minutes.",
                facts.whose.begins()
            ),
            &format!(
                "Where the node is gone for good, delete it, so that its volume is let go of: `kubectl delete node {node}`."
            ),
        ],
    ))
}

/// Why an earlier pod is over, while nothing is known of the next one.
pub(super) fn over(facts: &Facts<'_>) -> Option<Cause> {
    let pod = facts.pods.iter().find(|pod| is_over(pod))?;
    let status = pod.status.as_ref()?;
    let text = status.message.as_deref().unwrap_or_default();
    let again = "It is started again by itself; files and database are kept.";
    let cause = match status.reason.as_deref().unwrap_or_default() {
        "Evicted" => evicted(text, again),
        "NodeLost" => return lost(facts, pod),
        "Terminated" | "NodeShutdown" | "Shutdown" => {
            Cause::new(CauseCode::Evicted, "The sandbox's node was shut down.", &[again, "It waits until another node takes it."])
        }
        "Preempting" | "Preempted" => Cause::new(
            CauseCode::Evicted,
            "The sandbox had to make room for a pod of higher priority.",
            &[again, "Add a node if this happens often."],
        ),
        reason if reason.starts_with("OutOf") || reason == "UnexpectedAdmissionError" => Cause::new(
            CauseCode::Unschedulable,
            format!("The node refused the sandbox, for want of {}.", reason.trim_start_matches("OutOf")),
            &[again],
        ),
        _ => {
            let (.., why) = condition(pod, "DisruptionTarget")?;
            Cause::new(CauseCode::Evicted, "The cluster ended the sandbox's pod.", &[again]).with_detail(why)
        }
    };
    // What was long ago is told by nobody.
    let ended = condition_since(pod);
    let recent = ended.is_none() || since(facts, ended).is_some_and(|past| past.as_mins() < 10);
    recent.then(|| if text.is_empty() { cause } else { cause.with_detail(text) })
}

fn condition_since(pod: &Pod) -> Option<jiff::Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().filter_map(|c| c.last_transition_time.as_ref()).map(|time| time.0).max()
}

/// The kubelet's words: what ran short, and whether the sandbox itself was to blame.
fn evicted(text: &str, again: &str) -> Cause {
    if let Some(resource) = between(text, "low on resource: ", ".") {
        let what = match resource {
            "memory" => "memory",
            "pids" => "process numbers",
            "inodes" => "inodes",
            _ => "disk",
        };
        return Cause::new(
            CauseCode::Evicted,
            format!("The node had too little {what} left and put the sandbox out."),
            &[
                again,
                "Use a size that reserves more, or stop sandboxes that are not needed.",
                "Free some of it on the node if it happens again.",
            ],
        );
    }
    let limit = between(text, "exceeds the total limit of containers ", ".").or_else(|| between(text, "limit \"", "\""));
    let limit = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    if text.contains("ephemeral") || text.contains("EmptyDir") {
        return Cause::new(
            CauseCode::Evicted,
            format!("The sandbox wrote more outside its home folder than its limit{limit}, and was ended."),
            &[again, "Keep large files in the home folder: what is outside it, such as /tmp, counts against that limit."],
        );
    }
    Cause::new(CauseCode::Evicted, "The node put the sandbox out.", &[again])
}
