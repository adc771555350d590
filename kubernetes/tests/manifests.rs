//! The objects of a sandbox: as they are built, as docs/kubernetes.md says, and as a real apiserver takes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

mod support;

use engine::orchestrator::{DatabaseEndpoint, SandboxSpec, VolumeName};
use k8s_openapi::api::{
    core::v1::{Pod, PodTemplateSpec, ServiceAccount},
    networking::v1::Ingress,
};
use kube::{Api, Resource};
use kubernetes::{
    Settings,
    manifests::Manifests,
    settings::{Apiserver, IngressSettings, PeerLabels, Runtime},
};
use model::{
    Desired, InstallationId, ProjectId, SandboxId,
    resources::{Preset, Resources},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use support::*;
use uuid::Uuid;

fn spec() -> SandboxSpec {
    let mut spec = engine::orchestrator::contract::spec();
    spec.id = SandboxId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002));
    spec.project = ProjectId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003));
    spec.installation = InstallationId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    spec.name = "contract-agentruntime-abc123".parse().unwrap();
    spec.volume = VolumeName(format!("volume-{}", spec.project));
    spec.desired = Desired::Running;
    spec.restart_count = 7;
    spec.env_revision = 3;
    spec.resources = Preset::Medium.resources();
    spec.env = BTreeMap::from([
        ("NODE_ENV".to_owned(), SecretString::from("development")),
        ("DATABASE_URL".to_owned(), SecretString::from("postgresql://u:p@h:5432/d?schema=public")),
    ]);
    spec
}

fn settings(spec: &SandboxSpec) -> Settings {
    Settings {
        ingress: Some(IngressSettings {
            domain: "sandboxes.example.com".to_owned(),
            tls_secret: Some("wildcard".to_owned()),
            class: Some("nginx".to_owned()),
            annotations: None,
            auth_url: Some("http://fullstack-agent.apps.svc:4000".to_owned()),
            sign_in_url: Some("https://agent.example.com/".to_owned()),
        }),
        control_plane_labels: BTreeMap::from([("app.kubernetes.io/name".to_owned(), "fullstack-agent".to_owned())]),
        ingress_controller: Some(PeerLabels { namespace: "ingress-nginx".to_owned(), labels: BTreeMap::new() }),
        denied_egress: vec!["203.0.113.7/32".to_owned()],
        apiserver: Some(Apiserver {
            host: "api.example.com".to_owned(),
            port: 443,
            addresses: ["198.51.100.2", "198.51.100.1"].map(|address| address.parse().unwrap()).into(),
        }),
        ..Settings::new(spec.installation, "sandboxes")
    }
}

fn yaml(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// All of them, each with its kind.
fn all(manifests: &Manifests) -> Vec<(&'static str, &'static str, &'static str, Value)> {
    fn one<K: Resource<DynamicType = ()> + serde::Serialize>(
        path: &'static str,
        kind: &'static str,
        object: &K,
    ) -> (&'static str, &'static str, &'static str, Value) {
        let mut value = yaml(object);
        value["apiVersion"] = K::api_version(&()).as_ref().into();
        value["kind"] = kind.into();
        (
            path,
            kind,
            if K::group(&()).is_empty() {
                "api/v1"
            } else if K::group(&()) == "apps" {
                "apis/apps/v1"
            } else {
                "apis/networking.k8s.io/v1"
            },
            value,
        )
    }
    let mut all = vec![
        one("serviceaccounts", "ServiceAccount", &manifests.account),
        one("secrets", "Secret", &manifests.environment),
        one("secrets", "Secret", &manifests.agent),
        one("persistentvolumeclaims", "PersistentVolumeClaim", &manifests.volume),
        one("services", "Service", &manifests.service),
        one("networkpolicies", "NetworkPolicy", &manifests.policy),
        one("deployments", "Deployment", &manifests.deployment),
    ];
    all.extend(manifests.ingresses.iter().map(|ingress| one("ingresses", "Ingress", ingress)));
    all
}

#[test]
fn a_sandboxs_objects_are_these() {
    let spec = spec();
    let manifests = Manifests::of(&spec, &settings(&spec));
    for (_, kind, _, object) in all(&manifests) {
        let name = object["metadata"]["name"].as_str().unwrap().replace(spec.name.as_str(), "NAME");
        insta::assert_snapshot!(format!("{kind}_{name}"), serde_json::to_string_pretty(&object).unwrap());
    }
}

#[test]
fn an_image_without_the_agent_gets_one_and_one_with_ttyd_is_left_alone() {
    let spec = spec();
    let injected = Settings {
        image: "python:3.13".to_owned(),
        image_pull_secrets: vec!["registry".to_owned()],
        runtime: Runtime::Injected { image: "fullstackagent/sandbox-agent:latest".to_owned() },
        ..Settings::new(spec.installation, "sandboxes")
    };
    let manifests = Manifests::of(&spec, &injected);
    assert!(manifests.ingresses.is_empty(), "no Ingress without a domain");
    insta::assert_snapshot!("Deployment_injected", serde_json::to_string_pretty(&manifests.deployment).unwrap());
    let ttyd = Settings { runtime: Runtime::Ttyd, ..injected };
    let pod = Manifests::of(&spec, &ttyd).deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].command, None, "its own entry point");
    assert_eq!(pod.init_containers, None);
    let probe = pod.containers[0].readiness_probe.clone().unwrap();
    assert!(probe.tcp_socket.is_some() && probe.http_get.is_none());
}

#[test]
fn the_environment_is_in_no_manifest_but_its_secret() {
    let spec = spec();
    let manifests = Manifests::of(&spec, &settings(&spec));
    for (_, kind, _, object) in all(&manifests).into_iter().filter(|(_, kind, ..)| *kind != "Secret") {
        let text = object.to_string();
        assert!(!text.contains("DATABASE_URL") && !text.contains("a-token-for-the-contract"), "{kind}: {text}");
    }
    assert_eq!(manifests.environment.immutable, Some(true));
}

#[test]
fn an_ingress_asks_in_its_own_name_alone() {
    let spec = spec();
    let mut settings = settings(&spec);
    let made = |settings: &Settings| Manifests::of(&spec, settings).ingresses;
    let is =
        |ingress: &Ingress, settings: &Settings| kubernetes::manifests::is_annotated(ingress, settings.ingress.as_ref().unwrap());
    let key = "nginx.ingress.kubernetes.io/auth-url";
    for mut ingress in made(&settings) {
        let name = ingress.metadata.name.clone().unwrap();
        assert!(is(&ingress, &settings), "{name}");
        let annotations = ingress.metadata.annotations.as_mut().unwrap();
        assert!(annotations[key].ends_with(&format!("/ingress/auth?of={name}")), "{annotations:?}");
        annotations.insert(key.to_owned(), "http://fullstack-agent.apps.svc:4000/ingress/auth".to_owned());
        assert!(!is(&ingress, &settings), "one that an older version made: {name}");
    }

    // An operator's own annotations say it as well.
    let own = settings.ingress.as_mut().unwrap();
    own.auth_url = None;
    own.annotations = Some(BTreeMap::from([("example.com/ask".to_owned(), "http://here/ingress/auth?of={name}".to_owned())]));
    for ingress in made(&settings) {
        let name = ingress.metadata.name.as_deref().unwrap();
        let asked = &ingress.metadata.annotations.as_ref().unwrap()["example.com/ask"];
        assert_eq!(*asked, format!("http://here/ingress/auth?of={name}"));
        assert!(is(&ingress, &settings), "{name}");
    }
}

#[test]
fn a_given_database_is_reached_by_its_address() {
    let mut spec = spec();
    let plain = Settings::new(spec.installation, "sandboxes");
    let rules = |spec: &SandboxSpec| Manifests::of(spec, &plain).policy.spec.unwrap().egress.unwrap();
    let before = rules(&spec).len();
    spec.database = Some(DatabaseEndpoint::Tcp("10.1.2.3".to_owned(), 6543));
    let with = rules(&spec);
    assert_eq!(with.len(), before + 1);
    assert!(yaml(&with).to_string().contains("10.1.2.3/32"));
}

/// The table of docs/kubernetes.md says what is built, row by row.
#[test]
fn the_table_of_objects_is_true() {
    let page = std::fs::read_to_string("../docs/kubernetes.md").unwrap();
    let section = page.split("## What is made for a sandbox").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .split("**Labels**")
        .next()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let spec = spec();
    let manifests = Manifests::of(&spec, &settings(&spec));
    let built: Vec<Vec<String>> = all(&manifests)
        .into_iter()
        .map(|(_, kind, _, object)| {
            let name = object["metadata"]["name"].as_str().unwrap();
            let name = name
                .replace(spec.name.as_str(), "NAME")
                .replace(&spec.project.to_string(), "PROJECT")
                .replace("-3-7", "-REVISION-RESTART");
            let component = object["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap();
            vec![kind.to_owned(), name, component.to_owned(), ports(kind, &object)]
        })
        .collect();
    let written: Vec<Vec<String>> = rows.iter().map(|row| row.iter().take(4).map(|cell| (*cell).to_owned()).collect()).collect();
    assert_eq!(written, built);
    for preset in Preset::ALL {
        let mut sized = spec.clone();
        sized.resources = preset.resources();
        let pod = Manifests::of(&sized, &settings(&sized)).deployment.spec.unwrap().template.spec.unwrap();
        let amounts = yaml(&pod.containers[0].resources);
        let cell =
            |which: &str| format!("{} / {}", amounts[which]["cpu"].as_str().unwrap(), amounts[which]["memory"].as_str().unwrap());
        let row = format!("| {} | {} | {} |", preset.as_str(), cell("requests"), cell("limits"));
        assert!(section.contains(&row), "no row `{row}`");
    }
}

/// As the apiserver writes them back, too: otherwise each look at it would find another size, and replace the pod.
#[test]
fn a_pod_has_the_amounts_that_its_run_was_asked_for_with() {
    let mut spec = spec();
    let (request_memory_bytes, limit_memory_bytes) = (1536 << 20, 3072 << 20);
    spec.resources =
        Resources { request_cpu_millis: 250, request_memory_bytes, limit_cpu_millis: 3000, limit_memory_bytes, ..spec.resources };
    let pod = Manifests::of(&spec, &settings(&spec)).deployment.spec.unwrap().template.spec.unwrap();
    let expected = json!({"requests": {"cpu": "250m", "memory": "1536Mi"}, "limits": {"cpu": "3", "memory": "3Gi"}});
    assert_eq!(yaml(&pod.containers[0].resources), expected);
}

fn ports(kind: &str, object: &Value) -> String {
    let numbers = |list: &Value, key: &str| {
        let ports: Vec<String> = list.as_array().unwrap().iter().map(|port| port[key].to_string()).collect();
        ports.join(", ")
    };
    match kind {
        "Service" => numbers(&object["spec"]["ports"], "port"),
        "Deployment" => numbers(&object["spec"]["template"]["spec"]["containers"][0]["ports"], "containerPort"),
        "Ingress" => object["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["number"].to_string(),
        _ => String::new(),
    }
}

/// Every label and every annotation of each object, and of the pod, is told of on the page, and no other is.
#[test]
fn the_labels_and_annotations_of_the_page_are_true() {
    let page = std::fs::read_to_string("../docs/kubernetes.md").unwrap();
    let part = |from: &str, to: &str| page.split(from).nth(1).unwrap().split(to).next().unwrap();
    let written: Vec<(&str, &str)> = part("**Labels**", "**Annotations**")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split_once('|').unwrap())
        .map(|(label, value)| (label.trim().trim_matches('`'), value.trim()))
        .collect();
    let spec = spec();
    let manifests = Manifests::of(&spec, &settings(&spec));
    let mut metas: Vec<(String, Value)> =
        all(&manifests).into_iter().map(|(_, kind, _, object)| (kind.to_owned(), object["metadata"].clone())).collect();
    metas.push(("Pod".to_owned(), yaml(&manifests.deployment.spec.as_ref().unwrap().template.metadata)));
    let name = spec.name.as_str();
    let mut annotations = BTreeSet::new();
    for (kind, meta) in metas {
        let is_volume = kind == "PersistentVolumeClaim";
        let value = |text: &str| match text {
            "see above" if is_volume => "volume".to_owned(),
            "see above" => "sandbox".to_owned(),
            "`fullstack-agent`" => "fullstack-agent".to_owned(),
            "`NAME`" => name.to_owned(),
            "the project's slug" => spec.slug.as_str().to_owned(),
            "the project's id" => spec.project.to_string(),
            "the sandbox's id" => spec.id.to_string(),
            text if text.starts_with("the installation's id") => spec.installation.to_string(),
            text if text.starts_with("`NAME` (on the volume `NAME-volume`") && is_volume => format!("{name}-volume"),
            text if text.starts_with("`NAME` (on the volume `NAME-volume`") => name.to_owned(),
            other => panic!("what is meant by `{other}`?"),
        };
        let expected: BTreeMap<&str, String> = written.iter().map(|(label, text)| (*label, value(text))).collect();
        assert_eq!(meta["labels"], yaml(&expected), "{kind}");
        let keys =
            meta["annotations"].as_object().into_iter().flatten().map(|(key, _)| key.rsplit('/').next().unwrap().to_owned());
        annotations.extend(keys);
    }
    // A name may be told with its prefix, or with its value.
    let told = part("**Annotations**", "**Resources**").split('`').skip(1).step_by(2);
    let told: BTreeSet<String> =
        told.map(|told| told.split(": ").next().unwrap().rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(told, annotations);
}

/// `fieldValidation=Strict`, in a namespace that enforces Pod Security `restricted`.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_apiserver_takes_every_object() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = spec();
    spec.name = world.spec().name;
    // The account that the pod below names: its controller makes it a moment after the namespace.
    let (accounts, began): (Api<ServiceAccount>, _) = (world.api(), Instant::now());
    while accounts.get_opt("default").await.unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "the namespace has no account");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut runtimes = vec![Runtime::Agent, Runtime::Ttyd];
    runtimes.push(Runtime::Injected { image: "fsa.local/agent:dev".to_owned() });
    for runtime in runtimes {
        let settings = Settings { namespace: namespace(), runtime: runtime.clone(), ..settings(&spec) };
        let manifests = Manifests::of(&spec, &settings);
        let mut objects = all(&manifests);
        // A Deployment is only warned of what its pods would be refused for.
        objects.push(("pods", "Pod", "api/v1", pod(&manifests, &spec)));
        for (path, kind, group, object) in objects {
            let uri = format!("/{group}/namespaces/{}/{path}?dryRun=All&fieldValidation=Strict", namespace());
            let request = http::Request::post(uri)
                .header("content-type", "application/json")
                .body(object.to_string().into_bytes())
                .unwrap();
            let answer = world.cluster.client.request::<Value>(request).await;
            let made = answer.unwrap_or_else(|error| panic!("{runtime:?} {kind}: {error}"));
            assert!(contains(&made, &object), "{kind} comes back as it was sent:\n{made:#}\n{object:#}");
        }
    }
}

fn pod(manifests: &Manifests, spec: &SandboxSpec) -> Value {
    let PodTemplateSpec { metadata, spec: pod } = manifests.deployment.spec.clone().unwrap().template;
    let mut pod = Pod { metadata: metadata.unwrap(), spec: pod, status: None };
    pod.metadata.name = Some(format!("{}-x", spec.name));
    // The namespace's own account is there.
    pod.spec.as_mut().unwrap().service_account_name = Some("default".to_owned());
    let mut value = yaml(&pod);
    value["apiVersion"] = "v1".into();
    value["kind"] = "Pod".into();
    value
}

/// What the applier takes for "as it should be" holds for what the apiserver makes of it: no defaulting and no
/// other way of writing an amount makes an unchanged pass write.
fn contains(live: &Value, wanted: &Value) -> bool {
    kubernetes::manifests::drift::holds(live, wanted)
}
