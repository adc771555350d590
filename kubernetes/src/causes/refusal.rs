//! What the apiserver does not let anybody make: quotas, limits, admission, accounts.

use super::{Facts, Whose, between};
use model::{Cause, CauseCode};

/// What the Deployment's controller was told when it wanted to make the pod.
pub(super) fn of_deployment(facts: &Facts<'_>) -> Option<Cause> {
    let status = facts.deployment.and_then(|deployment| deployment.status.as_ref());
    let condition = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True"))
        .and_then(|condition| condition.message.as_deref());
    // The condition may come a moment after the event.
    let event = || {
        let none = facts.pods.is_empty();
        let event = facts.events.iter().find(|event| event.reason.as_deref() == Some("FailedCreate"))?;
        event.message.as_deref().filter(|_| none)
    };
    let text = condition.or_else(event)?;
    let text = text.strip_prefix("Error creating: ").unwrap_or(text);
    Some(read(text).unwrap_or_else(|| {
        Cause::new(
            CauseCode::AdmissionRefused,
            "The cluster refused to make the sandbox's pod.",
            &["The cluster's answer, below, says why.", "It is tried again by itself."],
        )
        .with_detail(text)
    }))
}

/// What the controller of a StatefulSet was told when it wanted to make the pod or its volume: it says so by events alone,
/// and by another one once it could.
pub(super) fn of_set(facts: &Facts<'_>) -> Option<Cause> {
    let newest = facts.events.iter().find(|event| event.involved_object.kind.as_deref() == Some("StatefulSet"))?;
    let text = newest.message.as_deref().filter(|_| newest.reason.as_deref() == Some("FailedCreate"))?;
    let text = text.split_once(" failed error: ").map_or(text, |(_, why)| why);
    Some(read(text).unwrap_or_else(|| {
        // Any other answer may be gone in a moment, such as a volume that is being deleted.
        let refused = ["is forbidden", "is invalid", "denied"].iter().any(|word| text.contains(word));
        Cause::new(
            if refused { CauseCode::AdmissionRefused } else { CauseCode::OrchestratorBusy },
            format!("The cluster refused to make {}'s pod.", facts.whose.the()),
            &["The cluster's answer, below, says why.", "It is tried again by itself."],
        )
        .with_detail(text)
    }))
}

/// One of the refusals that are known, from the apiserver's text.
pub(super) fn read(text: &str) -> Option<Cause> {
    let what = subject(text);
    let cause = if text.contains("exceeded quota:") {
        quota(&what, text)
    } else if let Some(quota) = between(text, "status unknown for quota: ", ",") {
        Cause::new(
            CauseCode::OrchestratorBusy,
            format!(
                "The cluster has not counted yet what the quota `{quota}` of the namespace holds, and until then does not let {what} be made."
            ),
            &["It is tried again by itself.", "Look at the cluster's controller manager, which counts it, if this stays."],
        )
    } else if let Some(quota) = between(text, "failed quota: ", ":") {
        let wanted = between(text, "must specify ", " for:").unwrap_or("a value");
        Cause::new(
            CauseCode::QuotaExceeded,
            format!("The quota `{quota}` of the namespace wants {wanted} of everything, and {what} does not give it."),
            &["Let the namespace fill it in with a LimitRange that has defaults.", "Or take it out of the quota."],
        )
    } else if text.contains("violates PodSecurity") {
        let level = between(text, "violates PodSecurity \"", "\"").unwrap_or("restricted");
        Cause::new(
            CauseCode::AdmissionRefused,
            format!("The namespace enforces Pod Security `{level}`, and {what} breaks it."),
            &[
                "The cluster's answer, below, names each field.",
                "Sandboxes fit `restricted`: look for a webhook or a setting that adds to them.",
            ],
        )
    } else if let Some(account) = between(text, "serviceaccount \"", "\" not found") {
        Cause::new(
            CauseCode::ServiceAccountMissing,
            format!("The ServiceAccount `{account}` that the pod runs as does not exist."),
            &["It is made again by itself, if it is the sandbox's own; restart the sandbox if it stays like this."],
        )
    } else if is_limit_range(text) {
        let rules = text.split_once("is forbidden: ").map_or(text, |(_, rules)| rules).trim_matches(['[', ']']);
        Cause::new(
            CauseCode::LimitRangeExceeded,
            format!("A LimitRange of the namespace does not allow what {what} asks for: {rules}."),
            match named(text) {
                Whose::Sandbox => {
                    &["Use another size for the sandbox.", "Or change the limit: `kubectl get limitrange -o yaml` shows it."]
                }
                Whose::Database => &["Change the limit: `kubectl get limitrange -o yaml` shows it."][..],
            },
        )
    } else if let Some(webhook) = between(text, "admission webhook \"", "\" denied the request") {
        Cause::new(
            CauseCode::AdmissionRefused,
            format!("The cluster's admission webhook `{webhook}` refused {what}."),
            &["Its answer, below, says why.", "Ask whoever runs the cluster for an exception for this namespace."],
        )
    } else if let Some(policy) = between(text, "ValidatingAdmissionPolicy '", "'").filter(|_| text.contains(" denied request")) {
        Cause::new(
            CauseCode::AdmissionRefused,
            format!("The cluster's admission policy `{policy}` refused {what}."),
            &["Its answer, below, says why.", "Ask whoever runs the cluster for an exception for this namespace."],
        )
    } else if let Some(webhook) = between(text, "failed calling webhook \"", "\"") {
        Cause::new(
            CauseCode::OrchestratorBusy,
            format!("The cluster's admission webhook `{webhook}` does not answer, and nothing is made without it."),
            &["It is tried again by itself.", "Tell whoever runs the cluster if it stays like this."],
        )
    } else if let Some(class) = between(text, "no PriorityClass with name ", " was found") {
        Cause::new(
            CauseCode::ObjectRefused,
            format!("The priority class `{class}` does not exist in the cluster."),
            &["Choose one that `kubectl get priorityclass` shows."],
        )
    } else if text.contains("because it is being terminated") {
        let namespace = between(text, "in namespace ", " because").unwrap_or_default();
        Cause::new(
            CauseCode::NamespaceMissing,
            format!("The namespace `{namespace}` is being deleted, so nothing new is made in it."),
            &["Use another namespace: the kubeconfig's context names it."],
        )
    } else {
        return None;
    };
    Some(cause.with_detail(text))
}

/// `maximum memory usage per Container is 1Gi, but limit is 2Gi`, `memory max limit to request ratio per …`.
fn is_limit_range(text: &str) -> bool {
    ["Container", "Pod", "PersistentVolumeClaim"].iter().any(|per| text.contains(&format!(" per {per} is ")))
}

/// What the text speaks of: `the pod`, `the volume`, or the object's kind and name.
pub(super) fn subject(text: &str) -> String {
    match text.split_once(" \"").map(|(kind, _)| kind) {
        Some("pods") => format!("{}'s pod", named(text).the()),
        Some("persistentvolumeclaims") if named(text) == Whose::Database => "the database's volume".to_owned(),
        Some("persistentvolumeclaims") => "the volume".to_owned(),
        Some(kind) if !kind.contains(' ') => format!("an object ({kind})"),
        _ => "the sandbox".to_owned(),
    }
}

/// Whose the object is that the text names first.
fn named(text: &str) -> Whose {
    Whose::of_name(between(text, " \"", "\"").unwrap_or_default())
}

/// `exceeded quota: NAME, requested: A=1,B=2, used: A=1,B=2, limited: A=1,B=2`.
fn quota(what: &str, text: &str) -> Cause {
    let name = between(text, "exceeded quota: ", ",").unwrap_or_default();
    let list = |before: &str, after: &str| between(text, before, after).unwrap_or_default();
    let rest = format!("{text}, end");
    let value = |list: &str, key: &str| {
        list.split(',').find_map(|pair| pair.trim().strip_prefix(key)?.strip_prefix('=').map(str::to_owned)).unwrap_or_default()
    };
    let (asked, used) = (list("requested: ", ", used:"), list("used: ", ", limited:"));
    let limited = between(&rest, "limited: ", ", end").unwrap_or_default();
    let each: Vec<String> = asked
        .split(',')
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(key, asked)| format!("{key}: {asked} asked for, {} of {} used", value(used, key), value(limited, key)))
        .collect();
    Cause::new(
        CauseCode::QuotaExceeded,
        format!("The quota `{name}` of the namespace has no room for {what} ({}).", each.join("; ")),
        &[
            "Stop or delete sandboxes that are not needed, or use a smaller size.",
            "Or raise the quota: `kubectl get resourcequota` shows it.",
        ],
    )
}
