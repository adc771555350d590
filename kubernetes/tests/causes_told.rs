//! Failures that no test cluster of one node shows, from the texts in the sources of Kubernetes 1.28 to 1.34 and
//! containerd. What was recorded on a cluster is in causes.rs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, PersistentVolumeClaim, Pod},
};
use kubernetes::causes::{
    self, Facts, Whose,
    room::{Amounts, Room},
};
use model::{Cause, CauseCode, ResourceName, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

const NOW: &str = "2026-11-28T12:00:00Z";

fn event(kind: &str, reason: &str, message: &str) -> Value {
    let name = if kind == "Pod" { "p" } else { "shop-agentruntime-abc123" };
    json!({"metadata": {"name": "e"}, "involvedObject": {"kind": kind, "name": name, "uid": "u"}, "reason": reason, "message": message,
        "lastTimestamp": "2026-11-28T11:59:00Z"})
}

fn pod(node: Option<&str>, status: Value) -> Value {
    json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": node, "containers": [{"name": "sandbox", "image": "team/app:1",
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}}]}, "status": status})
}

fn told(pods: &[Value], volume: Option<Value>, events: &[Value]) -> Option<Cause> {
    told_where(Some(&[]), pods, volume, events)
}

/// Where nodes have so much; `None` where they cannot be seen.
fn told_where(rooms: Option<&[Room]>, pods: &[Value], volume: Option<Value>, events: &[Value]) -> Option<Cause> {
    let name: ResourceName = "shop-agentruntime-abc123".parse().unwrap();
    let pods: Vec<Arc<Pod>> = pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
    let events: Vec<Arc<Event>> = events.iter().map(|event| Arc::new(serde_json::from_value(event.clone()).unwrap())).collect();
    let volume: Option<PersistentVolumeClaim> = volume.map(|volume| serde_json::from_value(volume).unwrap());
    let deployment = Deployment::default();
    let now: Timestamp = NOW.parse().unwrap();
    causes::cause(&Facts {
        name: &name,
        whose: Whose::Sandbox,
        deployment: Some(&deployment),
        pods: &pods,
        volume: volume.as_ref(),
        ingresses: &[],
        events: &events,
        node_ready: None,
        rooms,
        ingress_class_present: None,
        log_tail: None,
        now,
    })
}

fn unscheduled(message: &str) -> Cause {
    unscheduled_where(Some(&[]), message)
}

fn unscheduled_where(rooms: Option<&[Room]>, message: &str) -> Cause {
    let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]});
    told_where(rooms, &[pod(None, status)], None, &[]).unwrap()
}

fn waiting(reason: &str, message: &str) -> Cause {
    let state = json!({"phase": "Pending", "containerStatuses": [{"name": "sandbox", "image": "team/app:1", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}]});
    told(&[pod(Some("node1"), state)], None, &[]).unwrap()
}

#[test]
fn what_is_short_is_named_with_what_was_asked_for() {
    let cause = unscheduled(
        "0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
    );
    assert_eq!(cause.code, CauseCode::Unschedulable);
    assert_eq!(
        cause.message,
        "No node has room for the sandbox: 1 of 3 nodes cannot give the 256Mi of memory that the sandbox asks for; 2 of 3 nodes cannot give the 100m of cpu that the sandbox asks for."
    );
    assert!(!cause.code.blocks(), "a node may be added");
}

#[test]
fn a_cause_says_whose_pod_it_is() {
    let name: ResourceName = "shop-agentruntime-abc123".parse().unwrap();
    let deployment = Deployment::default();
    let of = |whose: Whose, pod: Value, events: &[Value]| {
        let pods = [Arc::new(serde_json::from_value::<Pod>(pod).unwrap())];
        let events: Vec<Arc<Event>> =
            events.iter().map(|event| Arc::new(serde_json::from_value(event.clone()).unwrap())).collect();
        causes::cause(&Facts {
            name: &name,
            whose,
            deployment: Some(&deployment),
            pods: &pods,
            volume: None,
            ingresses: &[],
            events: &events,
            node_ready: None,
            rooms: Some(&[]),
            ingress_class_present: None,
            log_tail: None,
            now: NOW.parse().unwrap(),
        })
        .unwrap()
    };
    let unplaced = |message: &str| json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]});
    let creating = json!({"phase": "Pending", "containerStatuses": [{"name": "sandbox", "image": "", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}]});
    let failed_mount = [event("Pod", "FailedMount", "MountVolume.SetUp failed")];
    let missing = [event("Pod", "FailedMount", "secret \"keys\" not found")];
    let cases: [(Value, &[Value]); 8] = [
        (pod(None, unplaced("0/1 nodes are available: 1 Insufficient cpu.")), &[]),
        (pod(None, unplaced("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")), &[]),
        (pod(None, unplaced("0/1 nodes are available: 1 node(s) had volume node affinity conflict.")), &[]),
        (pod(None, unplaced("0/1 nodes are available: 1 node(s) had untolerated taint(s).")), &[]),
        (pod(None, unplaced("0/1 nodes are available: 1 something new.")), &[]),
        (pod(Some("node1"), json!({"phase": "Running", "reason": "NodeLost"})), &[]),
        (pod(Some("node1"), creating.clone()), &failed_mount),
        (pod(Some("node1"), creating), &missing),
    ];
    for (pod, events) in cases {
        let (sandbox, database) = (of(Whose::Sandbox, pod.clone(), events), of(Whose::Database, pod, events));
        assert_eq!(sandbox.code, database.code);
        assert!(sandbox.message.to_lowercase().contains("the sandbox"), "{sandbox:?}");
        assert!(database.message.to_lowercase().contains("the database"), "{database:?}");
        assert!(!database.message.to_lowercase().contains("the sandbox"), "{database:?}");
    }
}

#[test]
fn how_much_is_free_is_said_where_nodes_can_be_seen() {
    let amounts = |cpu_millis, mib: u64| Amounts { cpu_millis, memory_bytes: mib << 20 };
    let room = |node: &str, has, held| Room { node: node.to_owned(), has, held };
    let rooms = [room("full", amounts(8000, 8192), amounts(7900, 8190)), room("roomy", amounts(2000, 3900), amounts(100, 3200))];
    let text = "0/2 nodes are available: 2 Insufficient memory. preemption: x";
    let cause = unscheduled_where(Some(&rooms), text);
    assert_eq!(
        cause.message,
        "No node has room for the sandbox: 2 of 2 nodes cannot give the 256Mi of memory that the sandbox asks for. \
         The node `roomy` has the most memory left: it has 3.8Gi, of which this installation's pods hold 3.1Gi."
    );
    let unseen = unscheduled_where(None, text);
    assert!(unseen.message.ends_with("How much is free cannot be seen: the account may not see nodes."), "{unseen:?}");
    let pods = unscheduled_where(None, "0/2 nodes are available: 2 Too many pods. preemption: x");
    assert!(!pods.message.contains("cannot be seen"), "of pods there is nothing to see: {pods:?}");
}

#[test]
fn nodes_that_do_not_fit_are_told_by_their_reason() {
    for (message, code, words) in [
        ("no nodes available to schedule pods", CauseCode::NodeUnsuitable, "has no node"),
        ("0/2 nodes are available: 2 Too many pods. preemption: x", CauseCode::Unschedulable, "as many pods as it may"),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }.",
            CauseCode::NodeUnsuitable,
            "short of disk",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }.",
            CauseCode::NodeUnsuitable,
            "No node that is ready",
        ),
        ("0/1 nodes are available: 1 node(s) were unschedulable.", CauseCode::NodeUnsuitable, "cordoned"),
        (
            "0/1 nodes are available: 1 node(s) had volume node affinity conflict.",
            CauseCode::NodeUnsuitable,
            "volume is on a node",
        ),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.", CauseCode::NodeUnsuitable, "`gpu: yes`"),
    ] {
        let cause = unscheduled(message);
        assert!(cause.code == code && cause.message.contains(words), "{message}: {cause:?}");
    }
}

#[test]
fn a_node_that_is_being_added_is_waited_for() {
    let status = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
    let cause =
        told(&[pod(None, status)], None, &[event("Pod", "TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2 (max: 5)}]")])
            .unwrap();
    assert!(cause.message.ends_with("The cluster is adding a node."), "{cause:?}");
    assert_eq!(cause.next_steps, ["Wait: it starts by itself once the node is there."]);
}

#[test]
fn pulls_are_told_by_what_the_registry_said() {
    let pull = "failed to pull and unpack image \"docker.io/team/app:1\": failed to resolve reference \"docker.io/team/app:1\": ";
    for (text, code) in [
        ("docker.io/team/app:1: not found", CauseCode::ImageNotFound),
        (
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
            CauseCode::ImageRefused,
        ),
        ("unexpected status from HEAD request to https://x/v2/team/app/manifests/1: 403 Forbidden", CauseCode::ImageRefused),
        (
            "failed to do request: Head \"https://x/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            CauseCode::ImageBackOff,
        ),
        ("failed to do request: Head \"https://x/v2/\": dial tcp: lookup x: no such host", CauseCode::ImageBackOff),
        ("write /var/lib/containerd/x: no space left on device", CauseCode::DiskFull),
        ("no match for platform in manifest: not found", CauseCode::ImageNotFound),
        ("something nobody has seen yet", CauseCode::ImageBackOff),
    ] {
        let cause = waiting("ErrImagePull", &format!("{pull}{text}"));
        assert_eq!(cause.code, code, "{text}");
        assert!(cause.message.contains("`team/app:1`") && cause.detail.as_deref().is_some_and(|d| d.contains(text)), "{cause:?}");
    }
}

#[test]
fn a_bare_back_off_is_told_by_its_event() {
    // Before Kubernetes 1.31.
    let state = json!({"containerStatuses": [{"name": "sandbox", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"team/app:1\""}}}]});
    let events = [
        event("Pod", "BackOff", "Back-off pulling image"),
        event("Pod", "Failed", "Failed to pull image \"team/app:1\": rpc error: code = NotFound desc = x: not found"),
    ];
    assert_eq!(told(&[pod(Some("n"), state)], None, &events).unwrap().code, CauseCode::ImageNotFound);
}

#[test]
fn an_image_that_needs_root_is_told_by_each_of_its_signs() {
    for (reason, message) in [
        ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: \"p\", container: sandbox)"),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image has non-numeric user (node), cannot verify user is non-root (pod: \"p\", container: sandbox)",
        ),
        ("CreateContainerConfigError", "container's runAsUser breaks non-root policy (pod: \"p\", container: sandbox)"),
        (
            "RunContainerError",
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"/init\": permission denied",
        ),
    ] {
        let cause = waiting(reason, message);
        assert_eq!(cause.code, CauseCode::ImageNeedsRoot, "{message}");
        assert!(cause.code.blocks());
    }
}

#[test]
fn evictions_say_what_was_short() {
    let evicted = |message: &str| {
        let status = json!({"phase": "Failed", "reason": "Evicted", "message": message});
        told(&[pod(Some("n"), status)], None, &[]).unwrap()
    };
    let memory = evicted(
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 40Mi. Container sandbox was using 900Mi, request is 256Mi, has larger consumption of memory. ",
    );
    assert_eq!(memory.message, "The node had too little memory left and put the sandbox out.");
    let disk = evicted("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ");
    assert_eq!(disk.message, "The sandbox wrote more outside its home folder than its limit of 1Gi, and was ended.");
    for (reason, code) in [
        ("Preempting", CauseCode::Evicted),
        ("Terminated", CauseCode::Evicted),
        ("OutOfcpu", CauseCode::Unschedulable),
        ("NodeLost", CauseCode::NodeLost),
    ] {
        let status = json!({"phase": "Failed", "reason": reason, "message": "m"});
        assert_eq!(told(&[pod(Some("n"), status)], None, &[]).unwrap().code, code, "{reason}");
    }
    let old = json!({"phase": "Failed", "reason": "Evicted", "message": "m", "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-28T11:00:00Z"}]});
    assert_eq!(told(&[pod(Some("n"), old)], None, &[]), None, "an hour ago");
}

#[test]
fn volumes_and_networks_are_told_by_their_events() {
    let creating = json!({"phase": "Pending", "containerStatuses": [{"name": "sandbox", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}}}]});
    let of = |reason: &str, message: &str| told(&[pod(Some("n"), creating.clone())], None, &[event("Pod", reason, message)]);
    let held = of("FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\" Volume is already exclusively attached to one node and can't be attached to another").unwrap();
    assert!(held.code == CauseCode::MountFailed && held.message.contains("held by another node"), "{held:?}");
    let network = of("FailedCreatePodSandBox", "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \"x\": plugin type=\"calico\" failed (add): x").unwrap();
    assert_eq!(network.code, CauseCode::NetworkFailed);
    assert_eq!(
        told(&[pod(Some("n"), creating.clone())], None, &[event("Pod", "Pulled", "m"), event("Pod", "FailedMount", "m")]),
        None,
        "it was overcome"
    );
    let late = "MountVolume.SetUp failed for volume \"keys\" : failed to sync secret cache: timed out waiting for the condition";
    assert_eq!(of("FailedMount", late), None, "the node has not read the Secret yet, and tries again");
    assert_eq!(told(&[pod(Some("n"), creating.clone())], None, &[]), None, "nothing is wrong yet");

    let claim = |phase: &str| json!({"metadata": {"name": "shop-agentruntime-abc123", "creationTimestamp": "2026-11-28T11:59:55Z"}, "spec": {"storageClassName": "fast"}, "status": {"phase": phase}});
    let about =
        |reason: &str, message: &str| told(&[], Some(claim("Pending")), &[event("PersistentVolumeClaim", reason, message)]);
    assert_eq!(
        about("FailedBinding", "no persistent volumes available for this claim and no storage class is set").unwrap().code,
        CauseCode::StorageClassMissing
    );
    let full = about(
        "ProvisioningFailed",
        "failed to provision volume with StorageClass \"fast\": rpc error: code = ResourceExhausted desc = not enough free space",
    )
    .unwrap();
    assert!(full.code == CauseCode::VolumePending && full.message.contains("no room"), "{full:?}");
    assert_eq!(about("WaitForFirstConsumer", "waiting for first consumer to be created before binding"), None);
    assert_eq!(
        about("ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner 'x'"),
        None,
        "five seconds are no wait"
    );
    assert_eq!(
        told(&[], Some(claim("Bound")), &[event("PersistentVolumeClaim", "ProvisioningFailed", "m")]),
        None,
        "it is bound since"
    );
}

#[test]
fn an_apiserver_that_is_short_of_breath_is_not_taken_for_a_refusal() {
    let answer = |code: u16, message: &str, reason: &str| {
        let status = kube::core::Status::failure(message, reason).with_code(code);
        causes::of_error(&kube::Error::Api(Box::new(status)), "make the Service")
    };
    for (code, message, reason) in [
        (429, "too many requests, please try again later", "TooManyRequests"),
        (500, "etcdserver: request timed out", "InternalError"),
        (503, "the server is currently unable to handle the request", "ServiceUnavailable"),
        (504, "Timeout", "Timeout"),
    ] {
        let cause = answer(code, message, reason);
        assert!(
            cause.code == CauseCode::OrchestratorBusy && !cause.code.blocks() && cause.message.contains("make the Service"),
            "{cause:?}"
        );
    }
    let permission = answer(
        403,
        "services is forbidden: User \"u\" cannot create resource \"services\" in API group \"\" in the namespace \"n\"",
        "Forbidden",
    );
    assert_eq!(permission.code, CauseCode::PermissionMissing);
    assert_eq!(
        permission.message,
        "The account `u` may not create services in the cluster, so it was not possible to make the Service."
    );
    // RBAC says `user`, and names what is missing on lines of their own.
    let granting = answer(
        403,
        "roles.rbac.authorization.k8s.io \"x-postgresql\" is forbidden: user \"u\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"create\" \"get\"]}\n{APIGroups:[\"apps.kubeblocks.io\"], Resources:[\"clusters\"], ResourceNames:[\"x\"], Verbs:[\"get\"]}",
        "Forbidden",
    );
    assert_eq!(granting.code, CauseCode::PermissionMissing);
    assert_eq!(
        granting.message,
        "The account `u` may not give rights that it has not itself (create, get configmaps; get clusters.apps.kubeblocks.io), so it was not possible to make the Service."
    );
    // The account may, and the cluster does not let it: no right that is given mends that.
    let admission = answer(403, "services \"x\" is forbidden: because of the moon", "Forbidden");
    assert_eq!(admission.code, CauseCode::AdmissionRefused);
    assert!(admission.message.contains("does not let anybody make the Service: because of the moon."), "{admission:?}");
    let uncounted = "persistentvolumeclaims \"data-x-postgresql-0\" is forbidden: status unknown for quota: small, resources: requests.storage";
    let uncounted = answer(403, uncounted, "Forbidden");
    assert!(uncounted.code == CauseCode::OrchestratorBusy && uncounted.message.contains("the quota `small`"), "{uncounted:?}");
    let denied = answer(403, "admission webhook \"v.example.com\" denied the request: no", "Forbidden");
    assert_eq!(denied.code, CauseCode::AdmissionRefused);
}
