//! What the doctor says of one project, of objects as a real cluster had them (tests/recorded), on an apiserver in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod memory;

use kubernetes::{
    Cluster, Settings,
    doctor::{Finding, Verdict, project},
    labels,
};
use memory::{Apiserver, NAMESPACE, client};
use model::{InstallationId, Phase};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

const INSTALLATION: InstallationId = InstallationId(Uuid::from_u128(1));

/// The objects of one name, as ours.
fn recorded(name: &str) -> (String, Apiserver) {
    let text = std::fs::read_to_string(format!("tests/recorded/{name}.json")).unwrap();
    let recorded: Value = serde_json::from_str(&text).unwrap();
    let mut server = Apiserver::default();
    let mut put = |plural: &str, object: &Value| {
        let mut object = object.clone();
        let place = format!("{plural}/{}", object["metadata"]["name"].as_str().unwrap());
        object["metadata"]["labels"][labels::INSTALLATION] = json!(INSTALLATION.0.to_string());
        object["metadata"]["labels"]["app"] = recorded["name"].clone();
        server.objects.insert(place, object);
    };
    put("deployments", &recorded["deployment"]);
    for (plural, field) in [("pods", "pods"), ("ingresses", "ingresses"), ("events", "events")] {
        recorded[field].as_array().unwrap().iter().for_each(|object| put(plural, object));
    }
    (recorded["name"].as_str().unwrap().to_owned(), server)
}

async fn found(name: &str, server: Apiserver) -> Vec<Finding> {
    let server = Arc::new(Mutex::new(server));
    let cluster = Cluster { client: client(&server), namespace: NAMESPACE.to_owned() };
    let row = project::Row { state: Some((Phase::Starting, None)), ..project::Row::named(name.parse().unwrap()) };
    project::check(&cluster, &Settings::new(INSTALLATION, NAMESPACE), &row).await
}

fn of<'f>(findings: &'f [Finding], check: &str) -> &'f Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("no `{check}`: {findings:#?}"))
}

#[tokio::test]
async fn a_node_that_is_not_ready_or_gone_is_told_of() {
    let node = |ready: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": null, "lastTransitionTime": null}]}})
    };
    for (what, node, lost) in
        [("gone", None, true), ("not ready", Some(node("Unknown")), true), ("ready", Some(node("True")), false)]
    {
        let (name, mut server) = recorded("well");
        let pod = server.objects.iter().find(|(place, _)| place.starts_with("pods/")).unwrap().1;
        let on = pod["spec"]["nodeName"].as_str().unwrap().to_owned();
        server.objects.extend(node.map(|node| (format!("nodes/{on}"), node)));
        let findings = found(&name, server).await;
        assert_eq!(of(&findings, "state").verdict, Verdict::Ok, "{what}");
        let sandbox = of(&findings, "sandbox");
        assert_eq!(sandbox.what.contains("node"), lost, "{what}: {sandbox:?}");
        assert_eq!(sandbox.verdict == Verdict::Ok, !lost, "{what}: {sandbox:?}");
    }
}

#[tokio::test]
async fn an_ingress_whose_class_is_missing_is_told_of() {
    for there in [false, true] {
        let (name, mut server) = recorded("ingress-class-missing");
        let ingress = server.objects.iter().find(|(place, _)| place.starts_with("ingresses/")).unwrap().1;
        let class = ingress["spec"]["ingressClassName"].as_str().unwrap().to_owned();
        let pod = server.objects.iter().find(|(place, _)| place.starts_with("pods/")).unwrap().1;
        let on = pod["spec"]["nodeName"].as_str().unwrap().to_owned();
        let ready = json!([{"type": "Ready", "status": "True"}]);
        server.objects.insert(
            format!("nodes/{on}"),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": on}, "status": {"conditions": ready}}),
        );
        if there {
            let class_object =
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": class}, "spec": {}});
            server.objects.insert(format!("ingressclasses/{class}"), class_object);
        }
        let findings = found(&name, server).await;
        let sandbox = of(&findings, "sandbox");
        assert_eq!(sandbox.what.contains(&class), !there, "{sandbox:?}");
    }
}
