//! The pod of a sandbox, one or none.

use super::{owner, quantity, secret::TOKEN_KEY};
use crate::{
    Settings,
    labels::{self, Component},
    names::{self, AGENT_PORT, TERMINAL_PORT},
    settings::{AGENT_IN_IMAGE, Runtime},
};
use engine::orchestrator::SandboxSpec;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::{
            Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvFromSource, EnvVar, EnvVarSource, HTTPGetAction,
            LocalObjectReference, PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            ResourceRequirements, SeccompProfile, SecretEnvSource, SecretKeySelector, SecurityContext, TCPSocketAction, Volume,
            VolumeMount,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use model::{Desired, ResourceName};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The container of the sandbox itself.
pub const CONTAINER: &str = "sandbox";
/// The init container that puts the agent in.
pub const INSTALLER: &str = "agent";
/// Where the volume is.
pub const HOME: &str = "/home/agent";
/// Who everything in it runs as.
pub const USER: i64 = 1000;

/// The label by which a Deployment tells its ReplicaSets apart, and they their pods.
const HASH: &str = "pod-template-hash";
/// Where an init container puts the agent.
const INSTALLED: &str = "/opt/fullstack-agent";

/// The Deployment: one replica where the sandbox should run, else none.
#[must_use]
pub fn deployment(spec: &SandboxSpec, settings: &Settings) -> Deployment {
    let mut deployment = bare(spec, settings);
    deployment.metadata.annotations = Some(mark(deployment.spec.as_ref().map(|spec| &spec.template)));
    deployment
}

/// A Deployment of no replicas for a pod that has lost its own: it adopts the pod's ReplicaSet, and ends it. `None`: that is none
/// of a sandbox's pods.
#[must_use]
pub fn adopting(pod: &Pod) -> Option<Deployment> {
    let mut labels = pod.metadata.labels.clone()?;
    labels.remove(HASH);
    let name: ResourceName = labels.get(labels::APP)?.parse().ok()?;
    let selector = labels::pods(&name, labels::sandbox(&pod.metadata)?);
    // Whatever is asked of a template, this one was let in with it.
    let template = PodSpec { node_name: None, ephemeral_containers: None, ..pod.spec.clone()? };
    let meta = ObjectMeta { labels: Some(labels), ..ObjectMeta::default() };
    Some(Deployment {
        metadata: ObjectMeta { name: Some(name.to_string()), namespace: pod.metadata.namespace.clone(), ..meta.clone() },
        spec: Some(DeploymentSpec {
            replicas: Some(0),
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            selector: LabelSelector { match_labels: Some(selector), match_expressions: None },
            template: PodTemplateSpec { metadata: Some(meta), spec: Some(template) },
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

/// The annotation by which a change by hand is told from one of what was asked for.
#[must_use]
pub fn mark(template: Option<&PodTemplateSpec>) -> BTreeMap<String, String> {
    let hash = Sha256::digest(serde_json::to_vec(&template).unwrap_or_default());
    BTreeMap::from([(labels::MANIFEST.to_owned(), hex::encode(&hash[..8]))])
}

fn bare(spec: &SandboxSpec, settings: &Settings) -> Deployment {
    let owner = owner(spec);
    Deployment {
        metadata: owner.meta(Component::Sandbox, &settings.namespace, spec.name.as_str()),
        spec: Some(DeploymentSpec {
            replicas: Some(i32::from(spec.desired == Desired::Running)),
            // The old pod is wholly gone before its successor is made: they would write the same files.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            revision_history_limit: Some(1),
            // Ours are deadlines of stages (300 s for the container); this one only sets a condition.
            progress_deadline_seconds: Some(600),
            selector: LabelSelector { match_labels: Some(labels::pods(&spec.name, spec.id)), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(owner.labels(Component::Sandbox)),
                    annotations: Some(BTreeMap::from([
                        (labels::RESTART_COUNT.to_owned(), spec.restart_count.to_string()),
                        (labels::ENV_REVISION.to_owned(), spec.env_revision.to_string()),
                    ])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(spec, settings)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(spec: &SandboxSpec, settings: &Settings) -> PodSpec {
    let mut volumes = vec![Volume {
        name: "home".to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: spec.volume.0.clone(), read_only: None }),
        ..Volume::default()
    }];
    let mut init = Vec::new();
    if let Runtime::Injected { image } = &settings.runtime {
        volumes.push(Volume { name: "agent".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() });
        init.push(installer(image, settings));
    }
    let secrets = settings.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        service_account_name: Some(spec.name.to_string()),
        automount_service_account_token: Some(false),
        // Variables of every Service of the namespace are nobody's business inside.
        enable_service_links: Some(false),
        // The agent ends its shells within two.
        termination_grace_period_seconds: Some(5),
        image_pull_secrets: (!settings.image_pull_secrets.is_empty()).then(|| secrets.collect()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Going through a big home folder at every start takes minutes.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        init_containers: (!init.is_empty()).then_some(init),
        containers: vec![container(spec, settings)],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

fn container(spec: &SandboxSpec, settings: &Settings) -> Container {
    let size = spec.resources;
    let amounts = |cpu, memory| {
        Some(BTreeMap::from([("cpu".to_owned(), quantity::cpu(cpu)), ("memory".to_owned(), quantity::bytes(memory))]))
    };
    let mut mounts = vec![mount("home", HOME, None, false)];
    if matches!(settings.runtime, Runtime::Injected { .. }) {
        mounts.push(mount("agent", INSTALLED, None, true));
        // So that uid 1000 has a name in an image that gave it none.
        for file in ["passwd", "group"] {
            mounts.push(mount("agent", &format!("/etc/{file}"), Some(file), true));
        }
    }
    let (command, env) = entry(spec, settings);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        command,
        working_dir: Some(HOME.to_owned()),
        env: Some(env),
        env_from: Some(vec![EnvFromSource {
            secret_ref: Some(SecretEnvSource {
                name: names::env_secret(&spec.name, spec.env_revision, spec.restart_count),
                optional: None,
            }),
            ..EnvFromSource::default()
        }]),
        ports: Some(vec![container_port("terminal", TERMINAL_PORT), container_port("agent", AGENT_PORT)]),
        resources: Some(ResourceRequirements {
            requests: amounts(size.request_cpu_millis, size.request_memory_bytes),
            limits: amounts(size.limit_cpu_millis, size.limit_memory_bytes),
            claims: None,
        }),
        security_context: Some(security()),
        readiness_probe: Some(probe(&settings.runtime)),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// What is run, and what it is told beside the environment.
fn entry(spec: &SandboxSpec, settings: &Settings) -> (Option<Vec<String>>, Vec<EnvVar>) {
    let program = match &settings.runtime {
        Runtime::Agent => AGENT_IN_IMAGE.to_owned(),
        Runtime::Injected { .. } => format!("{INSTALLED}/sandbox-agent"),
        Runtime::Ttyd => {
            let home = EnvVar { name: "HOME".to_owned(), value: Some(HOME.to_owned()), value_from: None };
            return (None, vec![home]);
        }
    };
    let on = |port| std::net::SocketAddr::from((settings.listen, port)).to_string();
    let command = [
        program,
        "--home".to_owned(),
        HOME.to_owned(),
        "--listen".to_owned(),
        on(AGENT_PORT),
        "--tty-listen".to_owned(),
        on(TERMINAL_PORT),
        "--disk-limit-bytes".to_owned(),
        spec.resources.disk_bytes.to_string(),
    ];
    // The agent takes it out of what it starts.
    let token = EnvVar {
        name: TOKEN_KEY.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: names::agent_secret(&spec.name),
                key: TOKEN_KEY.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    };
    (Some(command.into()), vec![token])
}

/// Copies the agent, and a passwd and group file, into the folder that the sandbox's container shares.
fn installer(image: &str, settings: &Settings) -> Container {
    let small = BTreeMap::from([("cpu".to_owned(), quantity::cpu(100)), ("memory".to_owned(), quantity::bytes(32 << 20))]);
    Container {
        name: INSTALLER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        command: Some(vec![AGENT_IN_IMAGE.to_owned(), "install".to_owned(), INSTALLED.to_owned()]),
        resources: Some(ResourceRequirements {
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), quantity::cpu(10)),
                ("memory".to_owned(), quantity::bytes(16 << 20)),
            ])),
            limits: Some(small),
            claims: None,
        }),
        security_context: Some(security()),
        volume_mounts: Some(vec![mount("agent", INSTALLED, None, false)]),
        ..Container::default()
    }
}

/// Pod Security `restricted`, to the letter.
fn security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

/// Keeps the truth once a start is over; the control plane asks the agent itself during one. Three misses
/// of ten seconds: a sandbox that uses all of its CPU for a while is no dead one.
fn probe(runtime: &Runtime) -> Probe {
    let (http_get, tcp_socket) = match runtime {
        Runtime::Agent | Runtime::Injected { .. } => (
            Some(HTTPGetAction {
                path: Some("/healthz".to_owned()),
                port: IntOrString::Int(i32::from(AGENT_PORT)),
                scheme: Some("HTTP".to_owned()),
                ..HTTPGetAction::default()
            }),
            None,
        ),
        Runtime::Ttyd => (None, Some(TCPSocketAction { port: IntOrString::Int(i32::from(TERMINAL_PORT)), host: None })),
    };
    Probe {
        http_get,
        tcp_socket,
        period_seconds: Some(10),
        timeout_seconds: Some(5),
        failure_threshold: Some(3),
        success_threshold: Some(1),
        ..Probe::default()
    }
}

/// The installer alone writes what it installs.
fn mount(volume: &str, path: &str, sub_path: Option<&str>, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        sub_path: sub_path.map(str::to_owned),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn container_port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}
