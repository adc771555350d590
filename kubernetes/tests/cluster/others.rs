//! What others have made in the namespace, and what they change or delete of ours.

use crate::{or_skip, support::*};
use engine::orchestrator::{Orchestrator as _, Removed, SandboxSpec, Seen, VolumeSeen};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{PersistentVolumeClaim, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kubernetes::{FIELD_MANAGER, names, settings::IngressSettings};
use model::{CauseCode, InstallationId};
use serde_json::json;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_is_neither_adopted_nor_deleted() {
    or_skip!(skip());
    let world = World::new().await;
    let name = |spec: &SandboxSpec| spec.name.to_string();
    let theirs = json!({ "app": "theirs" });
    let ports = json!({ "spec": { "ports": [{ "port": 80 }], "selector": theirs } });
    foreign_is_left::<Service>(&world, name, ports).await;
    let token = json!({ "stringData": { "FSA_AGENT_TOKEN": "theirs" } });
    foreign_is_left::<Secret>(&world, |spec| names::agent_secret(&spec.name), token).await;
    let claim = json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } } } });
    foreign_is_left::<PersistentVolumeClaim>(&world, |spec| spec.volume.0.clone(), claim).await;
    foreign_is_left::<ServiceAccount>(&world, name, json!({})).await;
    let nobody = json!({ "spec": { "podSelector": { "matchLabels": theirs } } });
    foreign_is_left::<NetworkPolicy>(&world, name, nobody).await;
    let pod = json!({ "metadata": { "labels": theirs }, "spec": { "containers": [{ "name": "theirs", "image": "theirs" }] } });
    let none = json!({ "spec": { "replicas": 0, "selector": { "matchLabels": theirs }, "template": pod } });
    foreign_is_left::<Deployment>(&world, name, none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_without_its_label_is_not_said_to_be_gone() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    while world.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let claims: Api<PersistentVolumeClaim> = world.api();
    let label = |value: serde_json::Value| {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "fullstackagent.io/installation": value } } }));
        let (claims, name) = (claims.clone(), spec.volume.0.clone());
        async move { claims.patch(&name, &PatchParams::default(), &patch).await.unwrap() }
    };
    label(serde_json::Value::Null).await;
    let start = Instant::now();
    while world.orchestrator.list().await.unwrap().iter().any(|object| object.name == spec.volume.0) {
        assert!(start.elapsed() < PATIENCE, "its watch tells that it has no label any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = world.orchestrator.remove_volume(&spec.volume).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{refused}") };
    assert!(cause.code == CauseCode::VolumeFailed && cause.message.contains(&spec.volume.0), "{cause:?}");
    label(json!(world.settings.installation.0.to_string())).await;
    world.remove(&spec).await;
    assert!(claims.get_opt(&spec.volume.0).await.unwrap().is_none());
}

/// An object of the name that a sandbox's would have stops the sandbox, is named with its kind, and stays as it is.
async fn foreign_is_left<K>(world: &World, name: impl Fn(&SandboxSpec) -> String, mut theirs: serde_json::Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let spec = world.spec();
    let (objects, name, kind) = (world.api::<K>(), name(&spec), K::kind(&()));
    theirs["metadata"] = json!({ "name": name, "labels": { "app": "theirs" } });
    let made = objects.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    let refused = world.orchestrator.ensure(&spec).await.unwrap_err();
    let engine::orchestrator::OrchestratorError::Caused(cause) = refused else { panic!("{kind}: {refused}") };
    assert_eq!(cause.code, CauseCode::NameTaken, "{kind}: {cause:?}");
    assert!(cause.message.contains(&name) && cause.message.contains(&*kind), "{kind}: {cause:?}");
    let ours = world.orchestrator.list().await.unwrap();
    assert!(ours.iter().all(|object| object.kind != "Deployment"), "nothing runs beside the {kind}: {ours:?}");
    // One of another installation is as foreign.
    let other = World::of(InstallationId(Uuid::new_v4()), config().await, |_| {}).await;
    assert_eq!(other.orchestrator.remove(spec.id).await.unwrap(), Removed::Gone);
    world.remove(&spec).await;
    let left = objects.get(&name).await.unwrap();
    let (before, now) = (made.meta(), left.meta());
    assert!(now.uid == before.uid && now.labels == before.labels && now.deletion_timestamp.is_none(), "{kind}: {now:?}");
    let written = now.managed_fields.iter().flatten().any(|write| write.manager.as_deref() == Some(FIELD_MANAGER));
    assert!(!written, "{kind}: {now:?}");
    objects.delete(&name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_changed_by_hand_is_mended() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings::new("sandboxes.example.com"));
    })
    .await;
    let spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    let name = spec.name.as_str();
    let services: Api<Service> = world.api();

    services.delete(name, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the missing Service", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first, "its run goes on");
    services.get(name).await.unwrap();

    let another = json!({ "spec": { "ports": [{ "name": "mine", "port": 9999, "protocol": "TCP" }] } });
    services.patch(name, &PatchParams::default(), &Patch::Strategic(another)).await.unwrap();
    world.until(&spec, "the changed Service", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first);
    let ports = services.get(name).await.unwrap().spec.unwrap().ports.unwrap();
    assert_eq!(ports.len(), names::SERVICE_PORTS.len(), "{ports:?}");

    // What a run has read already, the next one needs.
    let (secrets, accounts): (Api<Secret>, Api<ServiceAccount>) = (world.api(), world.api());
    let mine = ListParams::default().labels(&format!("app={name}"));
    let environment = secrets.list(&mine).await.unwrap().into_iter().filter_map(|secret| secret.metadata.name);
    for secret in environment.collect::<Vec<_>>() {
        secrets.delete(&secret, &DeleteParams::default()).await.unwrap();
        world.until(&spec, &format!("the missing Secret {secret}"), |seen| !seen.network).await;
        assert_eq!(world.up(&spec).await.instance.unwrap(), first);
        secrets.get(&secret).await.unwrap();
    }
    a_token_of_somebody_else_is_made_anew(&world, &spec, &first.id).await;
    accounts.delete(name, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the missing ServiceAccount", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first);
    accounts.get(name).await.unwrap();

    let policies: Api<NetworkPolicy> = world.api();
    let open = json!({ "spec": { "ingress": [{}] } });
    policies.patch(name, &PatchParams::default(), &Patch::Merge(open)).await.unwrap();
    world.until(&spec, "the changed policy", |seen| !seen.network).await;
    world.up(&spec).await;
    assert_eq!(policies.get(name).await.unwrap().spec.unwrap().ingress.unwrap_or_default(), []);
    policies.delete(name, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the missing policy", |seen| !seen.network).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first);
    policies.get(name).await.unwrap();

    let ingresses: Api<Ingress> = world.api();
    for ingress in [name.to_owned(), names::terminal_ingress(&spec.name)] {
        ingresses.delete(&ingress, &DeleteParams::default()).await.unwrap();
        world.until(&spec, &format!("the missing Ingress {ingress}"), |seen| !seen.network).await;
        assert_eq!(world.up(&spec).await.instance.unwrap(), first);
        let made = ingresses.get(&ingress).await.unwrap().spec.unwrap();
        let elsewhere = json!({ "spec": { "rules": [{ "host": "elsewhere.example.com" }] } });
        ingresses.patch(&ingress, &PatchParams::default(), &Patch::Merge(elsewhere)).await.unwrap();
        world.until(&spec, &format!("the changed Ingress {ingress}"), |seen| !seen.network).await;
        assert_eq!(world.up(&spec).await.instance.unwrap(), first);
        assert_eq!(ingresses.get(&ingress).await.unwrap().spec.unwrap(), made);
    }

    let deployments: Api<Deployment> = world.api();
    deployments.delete(name, &DeleteParams::background()).await.unwrap();
    let deleted = |seen: &engine::orchestrator::Seen| {
        seen.instance.is_none() && seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::DeletedOutside)
    };
    world.until(&spec, "the end of the run, and who ended it", deleted).await;
    let again = world.up(&spec).await;
    assert!(again.cause.is_none_or(|cause| cause.code != CauseCode::DeletedOutside), "it is there again");
    assert_ne!(again.instance.unwrap().id, first.id);

    let scaled = json!({ "spec": { "replicas": 0 } });
    deployments.patch(name, &PatchParams::default(), &Patch::Merge(scaled)).await.unwrap();
    world.until(&spec, "the end of the run", |seen| seen.instance.is_none()).await;
    world.up(&spec).await;

    let by_hand = json!({ "name": "BY_HAND", "value": "yes" });
    let more = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "sandbox", "env": [by_hand] }] } } } });
    deployments.patch(name, &PatchParams::default(), &Patch::Strategic(more)).await.unwrap();
    world.until(&spec, "the changed template", |seen| !seen.network).await;
    world.up(&spec).await;
    let template = deployments.get(name).await.unwrap().spec.unwrap().template.spec.unwrap();
    let variables = template.containers[0].env.clone().unwrap();
    assert!(variables.iter().all(|variable| variable.name != "BY_HAND"), "{variables:?}");
    world.remove(&spec).await;
}

/// Deletes its Deployment by `kubectl delete --cascade=orphan`, and waits until its pod runs without one.
async fn leave_behind(world: &World, spec: &SandboxSpec) {
    world.api::<Deployment>().delete(spec.name.as_str(), &DeleteParams::orphan()).await.unwrap();
    world.until(spec, "the pod without its Deployment", |seen| !seen.network && seen.instance.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_left_behind_goes_on_and_is_restarted_stopped_and_removed() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    leave_behind(&world, &spec).await;
    assert_eq!(world.up(&spec).await.instance.unwrap(), first, "its run goes on");

    leave_behind(&world, &spec).await;
    spec.restart_count += 1;
    assert_ne!(world.up(&spec).await.instance.unwrap().id, first.id);

    leave_behind(&world, &spec).await;
    world.down(&spec).await;
    spec.restart_count += 1;
    world.up(&spec).await;

    leave_behind(&world, &spec).await;
    world.remove(&spec).await;
    let (sets, mine) = (world.api::<ReplicaSet>(), ListParams::default().labels(&format!("app={}", spec.name)));
    let start = Instant::now();
    while !sets.list(&mine).await.unwrap().items.is_empty() {
        assert!(start.elapsed() < PATIENCE, "nothing of it makes pods any more");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The next pod would answer nobody with it.
async fn a_token_of_somebody_else_is_made_anew(world: &World, spec: &SandboxSpec, run: &str) {
    let (secrets, name): (Api<Secret>, _) = (world.api(), names::agent_secret(&spec.name));
    let made = secrets.get(&name).await.unwrap();
    let another = || json!({ "stringData": { "FSA_AGENT_TOKEN": "theirs" } });
    let edit = async || secrets.patch(&name, &PatchParams::default(), &Patch::Merge(another())).await;
    let kube::Error::Api(refused) = edit().await.unwrap_err() else { panic!("the apiserver refuses it") };
    assert_eq!(refused.code, 422, "{refused:?}");

    // With its labels and its mark on it.
    let anew = async |manager: &str, data: &serde_json::Value, immutable: Option<bool>| {
        let meta = json!({ "name": name, "labels": made.metadata.labels, "annotations": made.metadata.annotations });
        let mut secret: Secret = serde_json::from_value(json!({ "metadata": meta, "immutable": immutable })).unwrap();
        let data: Secret = serde_json::from_value(data.clone()).unwrap();
        (secret.data, secret.string_data) = (data.data, data.string_data);
        secrets.delete(&name, &DeleteParams::default()).await.unwrap();
        let by = PostParams { field_manager: Some(manager.to_owned()), dry_run: false };
        secrets.create(&by, &secret).await.unwrap();
    };
    let mended = async || {
        world.until(spec, "the token of somebody else", |seen| !seen.network).await;
        assert_eq!(world.up(spec).await.instance.unwrap().id, run, "its run goes on");
        let now = secrets.get(&name).await.unwrap();
        assert_eq!((now.immutable, &now.data), (Some(true), &made.data));
    };
    anew("kubectl-create", &another(), Some(true)).await;
    mended().await;

    // As an earlier version made it: that is no news, and is noticed as soon as somebody writes to it.
    anew(FIELD_MANAGER, &json!({ "data": made.data }), None).await;
    world.until(spec, "the token of an earlier version", |seen| seen.network).await;
    edit().await.unwrap();
    mended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_folder_that_is_deleted_by_hand_is_said_to_go_and_to_be_gone() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    sh(world.orchestrator.as_ref(), &spec, "echo here > ~/file").await;
    let volume = async || world.orchestrator.volume(&spec.volume).await.unwrap();
    assert_eq!(volume().await, VolumeSeen::There);

    let claims: Api<PersistentVolumeClaim> = world.api();
    claims.delete(&spec.volume.0, &DeleteParams::default()).await.unwrap();
    let leaving = |seen: &Seen| seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::VolumeLeaving);
    let seen = world.until(&spec, "the folder that goes", leaving).await;
    assert_eq!(seen.instance.as_ref(), Some(&first), "its run goes on");
    assert_eq!(volume().await, VolumeSeen::Leaving);
    assert_eq!(sh(world.orchestrator.as_ref(), &spec, "cat ~/file").await, "here\n");

    world.down(&spec).await;
    let began = Instant::now();
    while volume().await != VolumeSeen::Absent {
        assert!(began.elapsed() < PATIENCE, "the folder is not gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    spec.restart_count += 1;
    world.up(&spec).await;
    assert_eq!(world.orchestrator.volume(&spec.volume).await.unwrap(), VolumeSeen::There, "a start makes another");
    assert_eq!(sh(world.orchestrator.as_ref(), &spec, "ls ~/file 2>/dev/null || echo none").await, "none\n");
    world.remove(&spec).await;
}
