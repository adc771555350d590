//! The claim of the project's home folder, or of its database.

use super::{Facts, Whose, since};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use model::{Cause, CauseCode};

/// How long a provisioner may take before it is told of.
const SLOW_SECS: i64 = 10;

/// Somebody deletes it. The cluster keeps it, with its files, for as long as a pod uses it.
pub(super) fn leaving(facts: &Facts<'_>) -> Option<Cause> {
    let claim = facts.volume.filter(|claim| facts.whose == Whose::Sandbox && claim.metadata.deletion_timestamp.is_some())?;
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    Some(Cause::new(
        CauseCode::VolumeLeaving,
        format!(
            "The home folder, `{name}`, is being deleted by somebody: it goes, with all its files, as soon as the sandbox ends."
        ),
        &[
            "Get what is needed out of it while the sandbox runs: push it, or download it on the page of the files.",
            "A deletion cannot be taken back: the next start makes an empty home folder, or finds one that was restored.",
            "Look at who deleted it: in the cluster's audit log.",
        ],
    ))
}

/// Why the volume is not there.
pub(super) fn cause(facts: &Facts<'_>) -> Option<Cause> {
    let claim = facts.volume?;
    if let Some(leaving) = leaving(facts) {
        return Some(leaving);
    }
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    match phase {
        "Lost" => Some(Cause::new(
            CauseCode::VolumeLost,
            format!("The volume of `{name}` is gone from the cluster, with the files that were on it."),
            &["Restore it from a backup, if there is one, under the same name.", "Or delete the project and create it again."],
        )),
        "Pending" => pending(facts, claim, name, claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref())),
        _ => None,
    }
}

fn pending(facts: &Facts<'_>, claim: &PersistentVolumeClaim, name: &str, class: Option<&str>) -> Option<Cause> {
    let about = |reasons: &[&str]| {
        facts
            .events
            .iter()
            .find(|event| {
                event.involved_object.kind.as_deref() == Some("PersistentVolumeClaim")
                    && event.involved_object.name.as_deref() == Some(name)
                    && event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
            })
            .and_then(|event| event.message.as_deref())
    };
    let newest = about(&[
        "ProvisioningFailed",
        "FailedBinding",
        "ExternalProvisioning",
        "Provisioning",
        "WaitForFirstConsumer",
        "WaitForPodScheduled",
    ])?;
    let class = class.filter(|class| !class.is_empty());
    let the = facts.whose.the();
    let (what, option) = match facts.whose {
        Whose::Sandbox => ("home folder", "--storage-class NAME"),
        Whose::Database => ("volume for the database", "--database-storage-class NAME"),
    };
    let set = format!("Choose one that exists: `kubectl get storageclass` shows them, {option} sets it for new projects.");
    let cause = if newest.contains("storageclass.storage.k8s.io") && newest.contains("not found") {
        Cause::new(
            CauseCode::StorageClassMissing,
            format!("The storage class `{}` does not exist in the cluster, so there is no {what}.", class.unwrap_or_default()),
            &[&set, &format!("Or make one of that name; {the} starts by itself then.")],
        )
    } else if newest.contains("no storage class is set") {
        Cause::new(
            CauseCode::StorageClassMissing,
            format!("No storage class is set and the cluster has no default one, so there is no {what}."),
            &[&format!(
                "Mark one as the default (annotation storageclass.kubernetes.io/is-default-class), or set one: {option}."
            )],
        )
    } else if let Some(failed) = about(&["ProvisioningFailed"]) {
        let full =
            ["no space", "not enough", "insufficient", "Insufficient", "exhausted", "out of capacity", "ResourceExhausted"];
        if full.iter().any(|word| failed.contains(word)) {
            Cause::new(
                CauseCode::VolumePending,
                format!("The storage has no room for {the}'s volume."),
                &["Delete projects that are not needed, or add storage.", "It is tried again by itself."],
            )
        } else {
            Cause::new(
                CauseCode::VolumePending,
                format!(
                    "The storage{} could not make {the}'s volume.",
                    class.map(|class| format!(" class `{class}`")).unwrap_or_default()
                ),
                &["The provisioner's words, below, say why; its own log says more.", "It is tried again by itself."],
            )
        }
    } else if newest.to_lowercase().contains("waiting for a volume to be created") {
        since(facts, claim.metadata.creation_timestamp.as_ref().map(|time| time.0)).filter(|past| past.as_secs() >= SLOW_SECS)?;
        Cause::new(
            CauseCode::VolumePending,
            format!(
                "The storage{} has not made {the}'s volume yet.",
                class.map(|class| format!(" class `{class}`")).unwrap_or_default()
            ),
            &["Wait: it goes on by itself.", "Look whether the class's provisioner runs, if it stays like this."],
        )
    } else {
        // It waits for its pod, or is being made: what stands in the way is elsewhere.
        return None;
    };
    Some(cause.with_detail(newest))
}
