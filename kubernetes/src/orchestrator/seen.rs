//! From what is known to what the reconciler sees. Pure.

use crate::{
    causes::{self, Facts},
    index::{Indexed, State, run},
    labels,
    manifests::{self, secret::is_as_made},
    names,
    settings::IngressSettings,
};
use engine::orchestrator::{AgentSeen, OwnedObject, Seen};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
};
use kube::core::PartialObjectMeta;
use model::{Cause, ResourceName, SandboxId};
use std::{cmp::Reverse, sync::Arc};

/// What is there of a sandbox. `ingress`: what its Ingresses are made by, where it should have them.
pub fn seen(state: &State, id: SandboxId, ingress: Option<&IngressSettings>, now: Timestamp) -> Seen {
    let deployments = state.deployments.of(id);
    let deployment = deployments.first().map(AsRef::as_ref);
    let mut pods = state.pods.of(id);
    pods.sort_by_key(|pod| Reverse(pod.metadata.creation_timestamp.as_ref().map(|at| at.0)));
    let services = state.services.of(id);
    let wanted = deployment.is_some_and(|live| super::replicas(live) > 0 && live.metadata.deletion_timestamp.is_none());
    let runs = state.runs(id);
    let instance = pods.iter().find_map(|pod| runs.map_or_else(|| run::instance(pod), |runs| runs.instance(pod)));
    let agent = match (runs, &instance) {
        (Some(runs), Some(run)) => runs.agent(&run.id),
        _ => AgentSeen::Silent,
    };
    let refused = instance.as_ref().and_then(|run| runs?.refused(&run.id));
    let (ended_by_itself, ended_at) = runs.map(|runs| runs.ended_by_itself(now)).unwrap_or_default();
    Seen {
        // A stop is over when it has left no environment behind either.
        present: wanted || pods.iter().any(|pod| !run::failed(pod)) || has_environment(state, id),
        // A pod without its Deployment is reached by what there is, and by nothing once it ends.
        network: deployment.is_some()
            && !services.is_empty()
            && !state.policies.of(id).is_empty()
            && ingress.is_none_or(|ingress| has_ingresses(state, id, ingress))
            && !state.edited(id)
            && has_what_it_started_with(state, id),
        agent,
        cause: match (refused, runs) {
            // The cluster finds it well, and it can be reached by nobody.
            (Some(refused), _) if wanted => Some(refused.clone()),
            _ if wanted => cause(state, id, deployment, &pods, now),
            (_, Some(runs)) if runs.deleted => Some(super::cause::deleted()),
            _ => None,
        },
        ended_by_itself,
        ended_at,
        starting: if instance.is_none() { pods.iter().find_map(|pod| runs?.starting(pod)) } else { None },
        instance,
    }
}

/// Whether application and terminal have theirs, as they are made now.
fn has_ingresses(state: &State, id: SandboxId, ingress: &IngressSettings) -> bool {
    state.ingresses.of(id).iter().filter(|live| manifests::is_annotated(live, ingress)).count() >= 2
}

/// Whether its next run would find what it needs: account, environment, and the agent's token, as they were made.
fn has_what_it_started_with(state: &State, id: SandboxId) -> bool {
    let secrets = state.secrets.of(id);
    let made = secrets.iter().filter(|secret| is_as_made(&secret.metadata));
    let (environments, tokens): (Vec<_>, Vec<_>) =
        made.filter_map(|secret| secret.metadata.name.as_deref()).partition(|name| names::is_env_secret(name));
    !environments.is_empty() && !tokens.is_empty() && !state.accounts.of(id).is_empty()
}

fn has_environment(state: &State, id: SandboxId) -> bool {
    let secrets = state.secrets.of(id);
    secrets.iter().filter_map(|secret| secret.metadata.name.as_deref()).any(names::is_env_secret)
}

fn cause(state: &State, id: SandboxId, deployment: Option<&Deployment>, pods: &[Arc<Pod>], now: Timestamp) -> Option<Cause> {
    let name: ResourceName = deployment?.metadata.name.as_deref()?.parse().ok()?;
    let pod = deployment?.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let claim = super::claims(pod).next();
    let events = state.events.of(name.as_str(), claim);
    let ingresses = state.ingresses.of(id);
    // Counted where it is told alone: it takes a look at every pod.
    let unplaced = pods.iter().any(|pod| !causes::is_placed(pod));
    let rooms = if unplaced { state.rooms() } else { None };
    causes::cause(&Facts {
        name: &name,
        whose: causes::Whose::Sandbox,
        deployment,
        pods,
        volume: claim.and_then(|claim| state.volumes.get(claim)).map(AsRef::as_ref),
        ingresses: &ingresses,
        events: &events,
        node_ready: pods.first().and_then(|pod| state.node_ready(pod)),
        rooms: rooms.as_deref(),
        ingress_class_present: ingresses.first().and_then(|ingress| state.ingress_class_present(ingress)),
        log_tail: state.runs(id).and_then(|runs| runs.log_tail()),
        now,
    })
}

/// Everything that is there.
pub fn list(state: &State) -> Vec<OwnedObject> {
    let mut objects = Vec::new();
    gather::<Deployment>(state, &mut objects);
    gather::<Pod>(state, &mut objects);
    gather::<Service>(state, &mut objects);
    gather::<Ingress>(state, &mut objects);
    gather::<NetworkPolicy>(state, &mut objects);
    gather::<PartialObjectMeta<Secret>>(state, &mut objects);
    gather::<PartialObjectMeta<ServiceAccount>>(state, &mut objects);
    gather::<PersistentVolumeClaim>(state, &mut objects);
    objects
}

fn gather<K: Indexed>(state: &State, objects: &mut Vec<OwnedObject>) {
    for object in K::shelf(state).all() {
        let component = labels::component(object.meta());
        if component == Some(labels::Component::Database) {
            continue;
        }
        let Some(sandbox) = labels::sandbox(object.meta()) else { continue };
        let name = object.meta().name.clone().unwrap_or_default();
        let holds_data = component == Some(labels::Component::Volume);
        objects.push(OwnedObject { sandbox, kind: K::KIND.to_string(), name, holds_data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        FIELD_MANAGER, Settings,
        index::{From, Index},
        manifests::Manifests,
    };
    use engine::orchestrator::contract;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
    use model::CauseCode;
    use serde_json::json;

    /// As it is once it is made, with an id of its own.
    fn made(uid: &str, meta: &ObjectMeta) -> ObjectMeta {
        let fields = json!({ "f:data": { "f:any": {} }, "f:immutable": {} });
        let write = ManagedFieldsEntry {
            manager: Some(FIELD_MANAGER.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some("1".to_owned()),
            managed_fields: Some(vec![write]),
            ..meta.clone()
        }
    }

    #[test]
    fn a_pod_that_runs_without_its_deployment_is_not_as_it_should_be() {
        let spec = contract::spec();
        let all = Manifests::of(&spec, &Settings::new(spec.installation, "team"));
        let (index, _probes) = Index::new(spec.installation, Vec::new());
        for (uid, secret) in [("environment", &all.environment), ("agent", &all.agent)] {
            let metadata = made(uid, &secret.metadata);
            index.put(PartialObjectMeta::<Secret> { metadata, ..PartialObjectMeta::default() }, From::List);
        }
        let metadata = made("account", &all.account.metadata);
        index.put(PartialObjectMeta::<ServiceAccount> { metadata, ..PartialObjectMeta::default() }, From::List);
        index.put(Service { metadata: made("service", &all.service.metadata), ..all.service.clone() }, From::List);
        index.put(NetworkPolicy { metadata: made("policy", &all.policy.metadata), ..all.policy.clone() }, From::List);
        let deployment = Deployment { metadata: made("deployment", &all.deployment.metadata), ..all.deployment.clone() };
        index.put(deployment.clone(), From::List);
        let template = all.deployment.spec.unwrap().template;
        let meta = ObjectMeta { name: Some(format!("{}-1", spec.name)), ..template.metadata.unwrap() };
        let status = json!({ "phase": "Running", "containerStatuses": [{
            "name": "sandbox", "image": "", "imageID": "", "ready": true, "started": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }] });
        let status = Some(serde_json::from_value(status).unwrap());
        index.put(Pod { metadata: made("pod", &meta), spec: template.spec, status }, From::List);

        let look = || seen(&index.read(), spec.id, None, Timestamp::now());
        assert!(look().network && look().instance.is_some(), "{:?}", look());
        index.take::<Deployment>(&deployment.metadata);
        let alone = look();
        assert!(alone.present && alone.instance.is_some(), "it runs: {alone:?}");
        assert!(!alone.network, "a pass mends it");
        assert_eq!(alone.cause.map(|cause| cause.code), Some(CauseCode::DeletedOutside));
    }
}
