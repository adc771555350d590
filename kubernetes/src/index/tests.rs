use super::*;
use serde_json::json;

const INSTALLATION: InstallationId = InstallationId(uuid::Uuid::from_u128(1));
const SANDBOX: SandboxId = SandboxId(uuid::Uuid::from_u128(2));

fn index() -> Arc<Index> {
    Index::new(INSTALLATION, Vec::new()).0
}

fn service(name: &str, uid: &str, version: u64, port: u16) -> Service {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "uid": uid, "resourceVersion": version.to_string(), "labels": {
                "fullstackagent.io/installation": INSTALLATION.to_string(),
                "fullstackagent.io/sandbox": SANDBOX.to_string(),
                "app.kubernetes.io/component": "sandbox",
            },
        },
        "spec": { "ports": [{ "port": port }] },
    }))
    .unwrap()
}

fn versions(index: &Index) -> Vec<String> {
    let services = index.read().services.of(SANDBOX);
    let mut versions: Vec<_> = services.iter().filter_map(|service| service.metadata.resource_version.clone()).collect();
    versions.sort();
    versions
}

#[test]
fn the_newer_one_stays_whichever_comes_first() {
    let index = index();
    index.put(service("a", "u", 10, 1), From::Write);
    index.put(service("a", "u", 9, 1), From::Watch);
    assert_eq!(versions(&index), ["10"]);
    index.put(service("a", "u", 11, 1), From::Watch);
    assert_eq!(versions(&index), ["11"]);
    // Another object of the same name is another object, whatever its number.
    index.put(service("a", "v", 3, 1), From::Watch);
    assert_eq!(versions(&index), ["3"]);
}

#[test]
fn what_is_gone_stays_gone_whatever_is_still_under_way() {
    let index = index();
    let there = service("a", "u", 10, 1);
    index.put(there.clone(), From::Watch);
    index.deleted::<Service>(&there.metadata);
    for from in [From::Watch, From::List, From::Write] {
        index.put(service("a", "u", 12, 1), from);
        assert!(versions(&index).is_empty(), "{from:?}");
    }
    assert!(index.read().owned(SANDBOX).is_empty());
    // A late word of an earlier one does not take its successor away.
    index.put(service("a", "v", 13, 1), From::Write);
    index.take::<Service>(&there.metadata);
    assert_eq!(versions(&index), ["13"]);
}

#[test]
fn what_lost_its_label_and_has_it_again_is_there_again() {
    let index = index();
    index.put(service("a", "u", 10, 1), From::Watch);
    index.take::<Service>(&service("a", "u", 12, 1).metadata);
    for from in [From::Watch, From::List, From::Write] {
        index.put(service("a", "u", 12, 1), from);
        assert!(versions(&index).is_empty(), "{from:?}");
    }
    index.put(service("a", "u", 13, 1), From::Write);
    assert!(versions(&index).is_empty(), "its watch tells it");
    index.put(service("a", "u", 13, 1), From::Watch);
    assert_eq!(versions(&index), ["13"]);
    index.put(service("a", "u", 14, 1), From::Write);
    assert_eq!(versions(&index), ["14"], "as any other");
    // One that a delete of ours took away is, once its watch has told so, as one that the watch took away.
    index.deleted::<Service>(&service("a", "u", 14, 1).metadata);
    index.put(service("a", "u", 15, 1), From::Watch);
    assert!(versions(&index).is_empty());
    index.take::<Service>(&service("a", "u", 16, 1).metadata);
    index.put(service("a", "u", 17, 1), From::Watch);
    assert_eq!(versions(&index), ["17"]);
    // Versions that are no numbers are not compared.
    let mut unordered = service("a", "u", 18, 1);
    unordered.metadata.resource_version = Some("v18".to_owned());
    index.take::<Service>(&unordered.metadata);
    index.put(service("a", "u", 19, 1), From::Watch);
    assert!(versions(&index).is_empty());
}

#[test]
fn what_a_new_listing_lacks_is_gone_but_not_what_was_made_meanwhile() {
    let index = index();
    index.put(service("a", "u", 1, 1), From::Watch);
    index.put(service("b", "v", 2, 1), From::Watch);
    let mut told = index.subscribe();
    index.begin::<Service>();
    index.put(service("b", "v", 2, 1), From::List);
    index.put(service("c", "w", 9, 1), From::Write);
    index.listed::<Service>();
    assert_eq!(versions(&index), ["2", "9"]);
    assert_eq!(told.try_recv(), Ok(SANDBOX));
}

#[test]
fn a_change_by_somebody_else_is_noticed_and_our_own_is_not() {
    let index = index();
    index.put(service("a", "u", 1, 80), From::List);
    index.put(service("a", "u", 2, 81), From::Write);
    index.put(service("a", "u", 2, 81), From::Watch);
    assert!(!index.read().edited(SANDBOX));
    index.put(service("a", "u", 3, 82), From::Watch);
    assert!(index.read().edited(SANDBOX));
    index.read().compared(SANDBOX);
    assert!(!index.read().edited(SANDBOX));
}

#[test]
fn what_others_note_on_an_object_is_no_change_of_it() {
    let annotated = |version: u64, annotations: serde_json::Value, known: bool| -> Ingress {
        let ours = json!({"f:metadata": {"f:annotations": {"f:nginx.ingress.kubernetes.io/ssl-redirect": {}}}, "f:spec": {}});
        let theirs = json!({"f:metadata": {"f:annotations": {"f:field.cattle.io/publicEndpoints": {}}}});
        let mut meta = serde_json::to_value(service("a", "u", version, 1).metadata).unwrap();
        meta["annotations"] = annotations;
        if known {
            meta["managedFields"] = json!([
                {"manager": crate::FIELD_MANAGER, "operation": "Update", "fieldsV1": ours},
                {"manager": "rancher", "operation": "Update", "fieldsV1": theirs},
            ]);
        }
        serde_json::from_value(json!({"metadata": meta, "spec": {}})).unwrap()
    };
    let (ours, theirs) = ("nginx.ingress.kubernetes.io/ssl-redirect", "field.cattle.io/publicEndpoints");
    for known in [true, false] {
        let index = index();
        index.put(annotated(1, json!({ours: "true"}), known), From::List);
        index.put(annotated(2, json!({ours: "true", theirs: "[]"}), known), From::Watch);
        assert!(!index.read().edited(SANDBOX), "one more is theirs");
        index.put(annotated(3, json!({ours: "true", theirs: "[1]"}), known), From::Watch);
        assert_eq!(index.read().edited(SANDBOX), !known, "so is what they make of it, where it is known to be theirs");
        index.read().compared(SANDBOX);
        for (version, changed) in [(4, json!({ours: "false"})), (6, json!({}))] {
            index.put(annotated(version, changed, known), From::Watch);
            assert!(index.read().edited(SANDBOX));
            index.put(annotated(version + 1, json!({ours: "true"}), known), From::Watch);
            index.read().compared(SANDBOX);
        }
    }
}

#[test]
fn what_others_note_on_the_pods_of_a_deployment_is_no_change_of_it() {
    let deployment = |version: u64, replicas: i32, template: serde_json::Value| -> Deployment {
        let meta = service("a", "u", version, 1).metadata;
        let template = json!({"metadata": template, "spec": {"containers": []}});
        let spec = json!({"replicas": replicas, "selector": {}, "template": template});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    };
    let with = |label: &str, annotations: serde_json::Value| json!({"labels": {"app": label}, "annotations": annotations});
    let as_made = || with("a", json!({labels::RESTART_COUNT: "1"}));
    let noted = || with("a", json!({labels::RESTART_COUNT: "1", "kubectl.kubernetes.io/restartedAt": "now"}));
    for (what, replicas, template, edited) in [
        ("noted on", 1, noted(), false),
        ("another label", 1, with("b", json!({labels::RESTART_COUNT: "1"})), true),
        ("another annotation", 1, with("a", json!({labels::RESTART_COUNT: "2"})), true),
        ("one less", 1, with("a", json!({})), true),
        ("more of them", 2, as_made(), true),
    ] {
        let index = index();
        index.put(deployment(1, 1, as_made()), From::List);
        index.put(deployment(2, replicas, template), From::Watch);
        assert_eq!(index.read().edited(SANDBOX), edited, "{what}");
    }
}

#[test]
fn a_secret_that_somebody_else_wrote_is_noticed_by_who_set_what() {
    let secret = |version: u64, writes: serde_json::Value| {
        let mut secret = PartialObjectMeta::<Secret> { metadata: service("a", "u", version, 1).metadata, ..Default::default() };
        secret.metadata.managed_fields = Some(serde_json::from_value(writes).unwrap());
        secret
    };
    let at = |second: u32, manager: &str, field: &str| {
        let time = format!("2026-01-01T00:00:0{second}Z");
        json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": {field: {"f:x": {}}}})
    };
    let index = index();
    let ours = || at(1, crate::FIELD_MANAGER, "f:data");
    index.put(secret(1, json!([ours()])), From::Watch);
    index.put(secret(2, json!([ours(), at(2, "kubectl-label", "f:metadata")])), From::Watch);
    assert!(!index.read().edited(SANDBOX), "a label of theirs is none of ours");
    index.put(secret(3, json!([at(3, "kubectl-edit", "f:data")])), From::Watch);
    assert!(index.read().edited(SANDBOX));
}

#[test]
fn a_deployment_that_somebody_else_deletes_is_told_from_one_that_we_do() {
    let labels = json!({
        "fullstackagent.io/installation": INSTALLATION.to_string(), "fullstackagent.io/sandbox": SANDBOX.to_string(),
    });
    let deployment = |uid: &str, version: &str, going: bool| -> Deployment {
        let at = going.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({"metadata": {
            "name": "a", "uid": uid, "resourceVersion": version, "labels": labels, "deletionTimestamp": at,
        }}))
        .unwrap()
    };
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "a-1", "uid": "p", "resourceVersion": "2", "labels": labels}, "status": {"phase": "Running"},
    }))
    .unwrap();
    let deleted = |index: &Index| index.read().runs(SANDBOX).is_some_and(|runs| runs.deleted);
    for ours in [false, true] {
        for waits_for_its_pods in [false, true] {
            let index = index();
            index.put(deployment("u", "1", false), From::Watch);
            index.put(pod.clone(), From::Watch);
            assert!(!deleted(&index));
            if ours {
                index.asked_to_end(SANDBOX);
            }
            if waits_for_its_pods {
                index.put(deployment("u", "3", true), From::Watch);
                assert_eq!(deleted(&index), !ours);
                index.take::<Pod>(&pod.metadata);
            }
            index.take::<Deployment>(&deployment("u", "3", true).metadata);
            if waits_for_its_pods {
                // Nothing is left of it at all, and nothing is remembered.
                assert!(!deleted(&index));
                continue;
            }
            assert_eq!(deleted(&index), !ours);
            index.put(deployment("v", "4", false), From::Write);
            assert!(!deleted(&index), "it is there again");
        }
    }
}

#[test]
fn nothing_foreign_is_kept() {
    let (index, _probes) = Index::new(InstallationId(uuid::Uuid::from_u128(7)), Vec::new());
    index.put(service("a", "u", 1, 80), From::List);
    assert_eq!(index.read().services.all().count(), 0);
}

#[test]
fn each_watch_says_whether_it_is_synced_and_since_when_it_is_silent() {
    let index = index();
    let watches = index.watches();
    let of = |kind: Kind| watches.facts().into_iter().find(|fact| fact.kind == kind.to_string());
    assert_eq!(watches.facts(), []);
    for kind in [Kind::Pod, Kind::Node] {
        watches.begin(kind);
        let fact = of(kind).unwrap();
        assert!(!fact.synced && fact.objects == "sandboxes", "{fact:?}");
        watches.well(kind, false);
        assert!(!of(kind).unwrap().synced, "not all is told of yet");
        watches.well(kind, true);
        assert!(of(kind).unwrap().synced);
        let trouble = Cause::new(model::CauseCode::OrchestratorUnreachable, "It does not answer.", &[]);
        watches.ill(kind, trouble);
        assert!(!of(kind).unwrap().synced);
        watches.well(kind, false);
        assert!(of(kind).unwrap().synced, "it is taken up where it was");
    }
    let long = Duration::from_millis(20);
    while of(Kind::Pod).unwrap().silent < long {
        std::hint::spin_loop();
    }
    let again = || {
        watches.heard(Kind::Pod);
        of(Kind::Pod).unwrap().silent < long
    };
    assert!((0..100).any(|_| again()), "what is heard ends the silence");
    watches.unseen(Kind::Node);
    assert_eq!(of(Kind::Node), None, "nothing is to be heard of it");
}

#[test]
fn the_event_of_a_containers_start_lets_its_agent_be_asked_before_the_pods_status_tells_of_it() {
    let (index, mut probes) = Index::new(INSTALLATION, Vec::new());
    let name = "shop-agentruntime-abc123-6d5f9c7b8-x2x4z";
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": name, "uid": "u", "resourceVersion": "1",
            "labels": {
                "fullstackagent.io/installation": INSTALLATION.to_string(),
                "fullstackagent.io/sandbox": SANDBOX.to_string(),
                "app.kubernetes.io/component": "sandbox",
            },
            "annotations": { "fullstackagent.io/restart-count": "1", "fullstackagent.io/env-revision": "1" },
        },
        "status": { "phase": "Pending", "containerStatuses": [{
            "name": "sandbox", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ContainerCreating" } },
        }] },
    }))
    .unwrap();
    index.put(pod, From::Watch);
    let event = |reason: &str, field: &str, uid: &str| -> Event {
        serde_json::from_value(json!({
            "metadata": { "uid": format!("{reason} {field} {uid}") }, "reason": reason, "lastTimestamp": "2026-01-01T00:00:01Z",
            "involvedObject": { "kind": "Pod", "name": name, "uid": uid, "fieldPath": field },
        }))
        .unwrap()
    };
    for (reason, field, uid) in
        [("Created", CONTAINER, "u"), ("Started", "spec.initContainers{agent}", "u"), ("Started", CONTAINER, "another")]
    {
        index.happened(event(reason, field, uid));
        assert!(probes.try_recv().is_err(), "{reason} {field} {uid}");
    }
    let mut told = index.subscribe();
    index.happened(event("Started", CONTAINER, "u"));
    let probe = probes.try_recv().unwrap();
    assert_eq!((probe.sandbox, probe.ask), (SANDBOX, run::Ask::Agent { run: "u".to_owned() }));
    assert!(index.not_early(SANDBOX, "u") && told.try_recv() == Ok(SANDBOX), "what is taken back is told");
    assert!(!index.not_early(SANDBOX, "u"));
}
