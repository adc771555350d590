//! A Kubernetes cluster as the orchestrator, and what makes projects' databases on it.
//!
//! ```text
//!   SandboxSpec, Settings ─▶ manifests (pure) ─▶ orchestrator (applier) ─▶ apiserver
//!                                                                            │ one watch a kind
//!   Seen, Cause ◀─ causes (pure) ◀─ index (by sandbox) ◀─────────────────────┘
//!   connection: which cluster, and whether it may be used      reach: bytes to a port of a pod
//!   database: a StatefulSet, or KubeBlocks' Cluster
//! ```
//!
//! Nothing outside this crate names a Kubernetes type.

mod apiserver;
pub mod causes;
pub mod connection;
pub mod database;
pub mod doctor;
pub mod index;
pub mod labels;
pub mod manifests;
pub mod names;
pub mod orchestrator;
pub mod reach;
pub mod settings;

pub use settings::Settings;

/// Who wrote a field, in server-side apply.
pub const FIELD_MANAGER: &str = "fullstack-agent";

/// One namespace of one cluster, as everything in this crate reaches it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// The client, with the account's rights.
    pub client: kube::Client,
    /// The one namespace.
    pub namespace: String,
}
