//! What nobody may read in a manifest: the environment, and the agent's token.

use super::owner;
use crate::{
    Settings,
    labels::{Component, TOKEN_MARK},
    names,
};
use engine::orchestrator::SandboxSpec;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The key of the token in its Secret, and the variable that the agent reads it from.
pub const TOKEN_KEY: &str = "FSA_AGENT_TOKEN";

/// The environment of one run. Immutable: a run never sees another's, and kubelets need not watch it.
#[must_use]
pub fn environment(spec: &SandboxSpec, settings: &Settings) -> Secret {
    let name = names::env_secret(&spec.name, spec.env_revision, spec.restart_count);
    let bytes = |value: &SecretString| ByteString(value.expose_secret().as_bytes().to_vec());
    Secret {
        metadata: owner(spec).meta(Component::Sandbox, &settings.namespace, name),
        data: Some(spec.env.iter().map(|(key, value)| (key.clone(), bytes(value))).collect()),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The token.
#[must_use]
pub fn agent(spec: &SandboxSpec, settings: &Settings) -> Secret {
    let mut metadata = owner(spec).meta(Component::Sandbox, &settings.namespace, names::agent_secret(&spec.name));
    metadata.annotations = Some(BTreeMap::from([(TOKEN_MARK.to_owned(), token_mark(&spec.agent_token))]));
    Secret {
        metadata,
        data: Some(BTreeMap::from([(TOKEN_KEY.to_owned(), ByteString(spec.agent_token.expose_secret().as_bytes().to_vec()))])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// Tells one token from another, where only metadata is watched: some bits of its hash. Tokens are random
/// and long, so that nothing can be learnt from it.
#[must_use]
pub fn token_mark(token: &SecretString) -> String {
    hex::encode(&Sha256::digest(token.expose_secret().as_bytes())[..8])
}
