//! The objects of a sandbox. Pure functions of its spec and the operator's settings.
//!
//! ```text
//!   ServiceAccount ─┐
//!   Secret, env ────┤
//!   Secret, token ──┼─▶ Deployment ─▶ Pod (container `sandbox`)
//!   volume (PVC) ───┘        ▲
//!   NetworkPolicy ───────────┤ select by `app` and the sandbox's id
//!   Service ─────────────────┘ ◀─ two Ingresses
//! ```
//!
//! All that the Deployment needs is there before it: a pod never starts without its policy.
//! docs/kubernetes.md has the table; a test compares it with what is built here.

mod deployment;
pub mod drift;
mod ingress;
mod policy;
pub mod quantity;
pub mod secret;
mod service;
mod volume;

pub use deployment::{CONTAINER, HOME, INSTALLER, USER, adopting, deployment, mark};
pub use ingress::{AUTH_PATH, SIGN_IN_PATH, ingresses, is_annotated};
pub use policy::{is_public, is_within, misses_server, policy};
pub use secret::{TOKEN_KEY, agent, environment, token_mark};
pub use service::{account, service};
pub use volume::volume;

use crate::{Settings, labels::Owner};
use engine::orchestrator::SandboxSpec;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
};

/// Everything that is made for a sandbox that runs.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// Without a token: the sandbox may ask the apiserver nothing.
    pub account: ServiceAccount,
    /// Of one revision of the environment; immutable.
    pub environment: Secret,
    /// What requests to the agent carry; immutable too.
    pub agent: Secret,
    /// The project's home folder.
    pub volume: PersistentVolumeClaim,
    /// Its ports.
    pub service: Service,
    /// Who reaches it, and what it reaches.
    pub policy: NetworkPolicy,
    /// Of the application and the terminal; none without [`Settings::ingress`].
    pub ingresses: Vec<Ingress>,
    /// The pod, one or none.
    pub deployment: Deployment,
}

impl Manifests {
    /// Of a sandbox.
    #[must_use]
    pub fn of(spec: &SandboxSpec, settings: &Settings) -> Self {
        Self {
            account: account(spec, settings),
            environment: environment(spec, settings),
            agent: agent(spec, settings),
            volume: volume(spec, settings),
            service: service(spec, settings),
            policy: policy(spec, settings),
            ingresses: ingresses(spec, settings),
            deployment: deployment(spec, settings),
        }
    }
}

fn owner(spec: &SandboxSpec) -> Owner<'_> {
    Owner { installation: spec.installation, project: spec.project, slug: &spec.slug, sandbox: Some(spec.id), name: &spec.name }
}
