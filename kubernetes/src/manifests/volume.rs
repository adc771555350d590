//! The project's home folder.

use super::{owner, quantity};
use crate::{Settings, labels::Component};
use engine::orchestrator::SandboxSpec;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use std::collections::BTreeMap;

/// The claim. It names the sandbox that it was first made for, and outlives it.
#[must_use]
pub fn volume(spec: &SandboxSpec, settings: &Settings) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: owner(spec).meta(Component::Volume, &settings.namespace, &spec.volume.0),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), quantity::bytes(spec.resources.disk_bytes))])),
                limits: None,
            }),
            storage_class_name: settings.storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
