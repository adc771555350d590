//! Stopping and starting a Cluster of KubeBlocks `v1alpha1`, which does it by operations: an OpsRequest, that its
//! operator carries out once and keeps the account of.
//!
//! ```text
//!   stop  ─▶ remove NAME-start, make NAME-stop  ─▶ the operator: pods end, volumes stay
//!   start ─▶ remove NAME-stop,  make NAME-start ─▶ the operator: pods start
//! ```
//! One of each for a Cluster at most, and the other way's is removed first: what still waits for its turn could
//! undo what was asked for later. The operator removes one that is done after a while; they all go with the Cluster,
//! which owns them. Source: the published CustomResourceDefinition of 0.9.5.

use super::{
    cause,
    kubeblocks::Version,
    objects::{self, Claimed, claim},
    owner,
};
use crate::{Cluster, Settings, labels::Component};
use engine::database::{DatabaseError, DatabaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::json;

/// How long one waits for the Cluster to be in a phase in which it can be carried out: a Cluster that is still being
/// made cannot be stopped, and one that is still being stopped cannot be started.
const WAITS_SECS: u32 = 60;
/// How long the operator keeps one that is done, and one that failed.
const KEPT_SECS: u32 = 60;
const FAILED_KEPT_SECS: u32 = 3600;

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// End its pods, keep its volumes.
    Stop,
    /// Undo that.
    Start,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "Stop",
            Self::Start => "Start",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Stop => Self::Start,
            Self::Start => Self::Stop,
        }
    }

    fn name(self, spec: &DatabaseSpec) -> String {
        format!("{}-{}", spec.name, self.verb())
    }
}

/// The kind.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps.kubeblocks.io", "v1alpha1", "OpsRequest"), "opsrequests")
}

/// The OpsRequest. `clusterRef` is what 0.8 calls `clusterName`; 0.9 has both.
#[must_use]
pub fn ops_request(spec: &DatabaseSpec, settings: &Settings, cluster: &DynamicObject, operation: Operation) -> DynamicObject {
    let asked = json!({
        "type": operation.as_str(),
        "clusterName": spec.name,
        "clusterRef": spec.name,
        "preConditionDeadlineSeconds": WAITS_SECS,
        "ttlSecondsAfterSucceed": KEPT_SECS,
        "ttlSecondsAfterUnsuccessfulCompletion": FAILED_KEPT_SECS,
    });
    let mut object = DynamicObject::new(&operation.name(spec), &resource()).data(json!({"spec": asked}));
    object.metadata = owner(spec).meta(Component::Database, &settings.namespace, operation.name(spec));
    let owner = Version::V1alpha1.resource();
    object.metadata.owner_references = cluster.uid().map(|uid| {
        vec![OwnerReference {
            api_version: owner.api_version,
            kind: owner.kind,
            name: cluster.name_any(),
            uid,
            ..OwnerReference::default()
        }]
    });
    object
}

/// How one came out, if it is over: `Err` with what the operator says where it was not carried out. Pure.
fn outcome(request: &DynamicObject) -> Option<Result<(), String>> {
    let status = &request.data["status"];
    let phase = status["phase"].as_str()?;
    match phase {
        "Succeed" => Some(Ok(())),
        "Failed" | "Cancelled" | "Aborted" => {
            let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let said = conditions.iter().rev().filter(|condition| condition["status"] != "True" || condition["type"] == "Failed");
            let said = said.filter_map(|condition| condition["message"].as_str()).find(|message| !message.is_empty());
            Some(Err(said.map_or_else(|| phase.to_owned(), |said| format!("{phase}: {said}"))))
        }
        _ => None,
    }
}

/// Asks for it, where that is not under way already. `false`: an earlier one is still being removed, ask again.
///
/// # Errors
/// [`model::CauseCode::DatabaseFailed`] where the operator did not carry out the last one, which is asked for once
/// more; what the cluster answers.
pub async fn ask(
    cluster: &Cluster,
    settings: &Settings,
    spec: &DatabaseSpec,
    of: &DynamicObject,
    operation: Operation,
) -> Result<bool, DatabaseError> {
    let requests = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource());
    withdraw(&requests, spec, operation.other()).await?;
    let wanted = ops_request(spec, settings, of, operation);
    let mut failed = None;
    // Twice: one that is over makes room for the next.
    for _ in 0..2 {
        let there = match claim(&requests, &wanted, spec, "OpsRequest").await? {
            Claimed::Made(_) => {
                tracing::info!(name = %spec.name, operation = operation.as_str(), "KubeBlocks is asked for an operation");
                return failed.map_or(Ok(true), Err);
            }
            Claimed::Leaving => return failed.map_or(Ok(false), Err),
            Claimed::Ours(there) => there,
        };
        match outcome(&there) {
            None => return Ok(true),
            Some(Ok(())) => {}
            Some(Err(said)) => failed = Some(refused(spec, operation, said)),
        }
        objects::remove_this(&requests, &there.metadata, "OpsRequest").await?;
    }
    failed.map_or(Ok(false), Err)
}

/// What was asked for before is not any more.
async fn withdraw(requests: &Api<DynamicObject>, spec: &DatabaseSpec, operation: Operation) -> Result<(), DatabaseError> {
    let name = operation.name(spec);
    let there = requests.get_opt(&name).await;
    let there = there.map_err(|error| objects::refused(&error, &format!("read the OpsRequest `{name}`")))?;
    match there.filter(|there| objects::is_of(&there.metadata, spec) && there.metadata.deletion_timestamp.is_none()) {
        Some(there) => objects::remove_this(requests, &there.metadata, "OpsRequest").await,
        None => Ok(()),
    }
}

fn refused(spec: &DatabaseSpec, operation: Operation, said: String) -> DatabaseError {
    let verb = operation.verb();
    let message = format!("KubeBlocks did not {verb} `{}`'s PostgreSQL.", spec.name);
    let look = format!("Look at the OpsRequest `{}`, and at the log of KubeBlocks' operator.", operation.name(spec));
    DatabaseError::Caused(cause::failed(message, &["It is asked for again by itself.", &look]).with_detail(said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn said(status: &Value) -> Option<Result<(), String>> {
        outcome(&DynamicObject::new("n", &resource()).data(json!({"status": status})))
    }

    #[test]
    fn one_is_over_when_the_operator_says_so() {
        assert_eq!(said(&json!({})), None);
        for phase in ["Pending", "Creating", "Running", "Cancelling"] {
            assert_eq!(said(&json!({"phase": phase})), None, "{phase}");
        }
        assert_eq!(said(&json!({"phase": "Succeed"})), Some(Ok(())));
        assert_eq!(said(&json!({"phase": "Aborted"})), Some(Err("Aborted".to_owned())));
        let conditions = json!([
            {"type": "WaitForProgressing", "status": "True", "message": "wait"},
            {"type": "Validated", "status": "False", "message": "forbidden when Cluster.status.phase=Creating"},
        ]);
        let failed = said(&json!({"phase": "Failed", "conditions": conditions}));
        assert_eq!(failed, Some(Err("Failed: forbidden when Cluster.status.phase=Creating".to_owned())));
    }
}
