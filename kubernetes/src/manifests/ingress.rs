//! How browsers reach a sandbox without the control plane between.
//!
//! Each request is first shown to the control plane ([`AUTH_PATH`]): it answers 2xx or 401. For the
//! terminal it answers the agent's token as well, in `Authorization`, which the Ingress puts on the request;
//! the application never gets it. Each asks in its own name (`?of=NAME`), since nginx chooses an Ingress by the
//! request line, and tells the control plane of the `Host` that the browser named beside it.

use super::owner;
use crate::{
    Settings,
    labels::Component,
    names::{self, APPLICATION_PORT, TERMINAL_PORT},
    settings::IngressSettings,
};
use engine::orchestrator::SandboxSpec;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec, IngressTLS,
    ServiceBackendPort,
};
use std::collections::BTreeMap;

/// Path below [`IngressSettings::auth_url`] that Ingresses ask.
pub const AUTH_PATH: &str = "/ingress/auth";
/// Path below [`IngressSettings::sign_in_url`] where browsers are sent that nobody knows.
pub const SIGN_IN_PATH: &str = "/ingress/sign-in";

/// Of the application, and of the terminal.
#[must_use]
pub fn ingresses(spec: &SandboxSpec, settings: &Settings) -> Vec<Ingress> {
    let Some(ingress) = &settings.ingress else { return Vec::new() };
    let name = spec.name.as_str();
    let terminal = names::terminal_ingress(&spec.name);
    vec![one(spec, settings, ingress, name.to_owned(), APPLICATION_PORT), one(spec, settings, ingress, terminal, TERMINAL_PORT)]
}

fn one(spec: &SandboxSpec, settings: &Settings, ingress: &IngressSettings, name: String, port: u16) -> Ingress {
    let host = format!("{name}.{}", ingress.domain);
    let annotations = annotations(ingress, &name, port);
    let mut metadata = owner(spec).meta(Component::Sandbox, &settings.namespace, name);
    metadata.annotations = Some(annotations);
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: spec.name.to_string(),
            port: Some(ServiceBackendPort { number: Some(i32::from(port)), name: None }),
        }),
        resource: None,
    };
    let path = HTTPIngressPath { path: Some("/".to_owned()), path_type: "Prefix".to_owned(), backend };
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: ingress.class.clone(),
            rules: Some(vec![IngressRule { host: Some(host.clone()), http: Some(HTTPIngressRuleValue { paths: vec![path] }) }]),
            tls: ingress
                .tls_secret
                .as_ref()
                .map(|secret| vec![IngressTLS { hosts: Some(vec![host]), secret_name: Some(secret.clone()) }]),
            ..IngressSpec::default()
        }),
        status: None,
    }
}

/// Whether an Ingress that is there has the annotations that it is made with now: those of an older version ask in nobody's
/// name, and are answered 403.
#[must_use]
pub fn is_annotated(live: &Ingress, ingress: &IngressSettings) -> bool {
    let name = live.metadata.name.as_deref().unwrap_or_default();
    let port = if name.ends_with(names::TERMINAL_SUFFIX) { TERMINAL_PORT } else { APPLICATION_PORT };
    let there = live.metadata.annotations.as_ref();
    annotations(ingress, name, port).iter().all(|(key, value)| there.and_then(|there| there.get(key)) == Some(value))
}

fn annotations(ingress: &IngressSettings, name: &str, port: u16) -> BTreeMap<String, String> {
    let nginx = |key: &str, value: &str| (format!("nginx.ingress.kubernetes.io/{key}"), value.to_owned());
    let mut annotations = ingress.annotations.clone().unwrap_or_else(|| {
        // The first system's. A terminal is silent for long: nginx's own limit is a minute.
        let mut usual = BTreeMap::from([
            nginx("proxy-body-size", "32m"),
            nginx("ssl-redirect", if ingress.tls_secret.is_some() { "true" } else { "false" }),
            nginx("backend-protocol", "HTTP"),
        ]);
        if port == TERMINAL_PORT {
            usual.extend([nginx("proxy-read-timeout", "3600"), nginx("proxy-send-timeout", "3600")]);
        }
        usual
    });
    // A controller that asks in a way of its own has to say of which Ingress.
    annotations.values_mut().for_each(|value| *value = value.replace("{name}", name));
    if let Some(url) = &ingress.auth_url {
        annotations.extend([
            nginx("auth-url", &format!("{}{AUTH_PATH}?of={name}", url.trim_end_matches('/'))),
            // Else whom the application answers with an error first has used a code up, and has no cookie.
            nginx("auth-always-set-cookie", "true"),
        ]);
        if port == TERMINAL_PORT {
            annotations.extend([nginx("auth-response-headers", "Authorization")]);
        }
        if let Some(url) = &ingress.sign_in_url {
            annotations.extend([nginx("auth-signin", &format!("{}{SIGN_IN_PATH}", url.trim_end_matches('/')))]);
        }
    }
    annotations
}
