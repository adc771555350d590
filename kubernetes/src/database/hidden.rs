//! Databases that are there and that the account may not see: what other settings have made, with a Role that only has
//! what these settings need. Made anew they would be empty, beside the ones that hold the data.
//!
//! What is seen of them is what every account may see: a StatefulSet's volume has our labels, and the NetworkPolicy of a
//! Cluster of KubeBlocks selects KubeBlocks' pods.

use super::{
    kubeblocks::{self, Version},
    objects,
};
use crate::{
    Cluster,
    labels::{self, Component},
};
use engine::database::{DatabaseError, DatabaseSpec};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::PersistentVolumeClaim, networking::v1::NetworkPolicy};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
};
use model::{Cause, CauseCode, InstallationId, ProjectId};
use std::collections::BTreeSet;

/// What a database is, as an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A StatefulSet of ours.
    StatefulSet,
    /// A Cluster of KubeBlocks.
    Cluster(Version),
}

impl Kind {
    /// As the API knows it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        match self {
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Cluster(version) => version.resource(),
        }
    }

    /// As a Role names it.
    #[must_use]
    pub fn right(self) -> String {
        let resource = self.resource();
        format!("{}.{}", resource.plural, resource.group)
    }

    /// Whether the account may list them.
    ///
    /// # Errors
    /// What the cluster answers, but for a refusal.
    pub async fn may_be_seen(self, cluster: &Cluster) -> Result<bool, kube::Error> {
        let api = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &self.resource());
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whose databases of this kind are there, by what else is there of them.
    ///
    /// # Errors
    /// What the cluster answers.
    pub async fn traces(self, cluster: &Cluster, selector: &str) -> Result<BTreeSet<ProjectId>, kube::Error> {
        let these = ListParams::default().labels(selector);
        let projects: Vec<Option<ProjectId>> = match self {
            Self::StatefulSet => {
                let claims = Api::<PersistentVolumeClaim>::namespaced(cluster.client.clone(), &cluster.namespace);
                claims.list_metadata(&these).await?.items.iter().map(|claim| labels::project(&claim.metadata)).collect()
            }
            Self::Cluster(_) => {
                let policies = Api::<NetworkPolicy>::namespaced(cluster.client.clone(), &cluster.namespace);
                let policies = policies.list(&these).await?.items;
                let theirs = policies.iter().filter(|policy| kubeblocks::is_policy(policy));
                theirs.map(|policy| labels::project(&policy.metadata)).collect()
            }
        };
        Ok(projects.into_iter().flatten().collect())
    }

    /// Refuses a project whose database is of this kind, which the account may not see.
    ///
    /// # Errors
    /// [`CauseCode::PermissionMissing`], and what the cluster answers.
    pub async fn refuse(self, cluster: &Cluster, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        let traces = self.traces(cluster, &objects::of_database(spec)).await;
        let traces = traces.map_err(|error| objects::refused(&error, &format!("look for `{}`'s database", spec.name)))?;
        if traces.is_empty() {
            return Ok(());
        }
        let (kind, right) = (self.resource().kind, self.right());
        Err(DatabaseError::Caused(Cause::new(
            CauseCode::PermissionMissing,
            format!("`{}`'s database is a {kind}, which the account may not see: made anew it would be empty.", spec.name),
            &[
                &format!("Give the account the rights on `{right}` again, and restart the server: its data is found then."),
                "The doctor names each permission that is missing: `fullstack-agent doctor`.",
            ],
        )))
    }
}

/// The selector of everything of this installation's databases.
#[must_use]
pub fn of_databases(installation: InstallationId) -> String {
    format!("{},{}={}", labels::of_installation(installation), labels::COMPONENT, Component::Database.as_str())
}
