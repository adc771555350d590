//! Projects' databases on a real cluster: the contract of every provider for a StatefulSet and for KubeBlocks,
//! `v1` and `v1alpha1`, whose operator is stood in for; and what is each one's own.
//!
//! `FSA_TEST_KUBECONFIG` names the cluster, `FSA_TEST_POSTGRES_IMAGE` an image of PostgreSQL that it has.
//! `FSA_KUBEBLOCKS_SCHEMAS` names a folder with KubeBlocks' published definitions (`v1.0.2/…`, `v0.9.5/…`), else it is
//! `shared/kubeblocks` beside the checkout: where it is there, those are installed instead of ours.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod definitions;
mod given;
mod kubeblocks;
#[path = "../support/left_out.rs"]
mod left_out;
mod manifests;
mod operator;
mod statefulset;
mod support;
