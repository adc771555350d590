//! The name and ports by which a sandbox is reached, and the account that its pod has.

use super::owner;
use crate::{
    Settings,
    labels::{self, Component},
    names,
};
use engine::orchestrator::SandboxSpec;
use k8s_openapi::{
    api::core::v1::{LocalObjectReference, Service, ServiceAccount, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// An account without a token and without a right.
#[must_use]
pub fn account(spec: &SandboxSpec, settings: &Settings) -> ServiceAccount {
    let secrets = settings.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    ServiceAccount {
        metadata: owner(spec).meta(Component::Sandbox, &settings.namespace, spec.name.as_str()),
        automount_service_account_token: Some(false),
        image_pull_secrets: (!settings.image_pull_secrets.is_empty()).then(|| secrets.collect()),
        ..ServiceAccount::default()
    }
}

/// The Service. Its addresses do not wait for a probe of the kubelet: whoever comes early asks again, and
/// a probe may be seconds late.
#[must_use]
pub fn service(spec: &SandboxSpec, settings: &Settings) -> Service {
    let ports = names::SERVICE_PORTS.map(|port| ServicePort {
        name: Some(port_name(port)),
        port: i32::from(port),
        target_port: Some(IntOrString::Int(i32::from(port))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    });
    Service {
        metadata: owner(spec).meta(Component::Sandbox, &settings.namespace, spec.name.as_str()),
        spec: Some(ServiceSpec {
            selector: Some(labels::pods(&spec.name, spec.id)),
            ports: Some(ports.into()),
            publish_not_ready_addresses: Some(true),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port_name(port: u16) -> String {
    match port {
        names::APPLICATION_PORT => "application".to_owned(),
        names::TERMINAL_PORT => "terminal".to_owned(),
        names::AGENT_PORT => "agent".to_owned(),
        other => format!("port-{other}"),
    }
}
