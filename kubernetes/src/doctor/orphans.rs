//! What carries this installation's id and belongs to no row of it.

use super::{Finding, Verdict};
use crate::{Cluster, Settings, causes, database::kubeblocks, labels};
use engine::database::DatabaseError;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, PartialObjectMeta, Preconditions},
};
use model::{Cause, ProjectId, SandboxId};
use std::{
    collections::HashSet,
    fmt::Debug,
    time::{Duration, Instant},
};

/// How often it is asked whether pods have ended.
const AGAIN: Duration = Duration::from_millis(500);

/// Every row of this installation, also those that are being removed.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its sandboxes.
    pub sandboxes: HashSet<SandboxId>,
    /// Its projects.
    pub projects: HashSet<ProjectId>,
}

/// One object without a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Such as `Deployment`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its id: another object of the same name is not meant.
    pub uid: String,
    /// Whether files or rows would be lost with it, or it is of a database: without the rest of it what holds them is open to
    /// all, or not to be used.
    pub holds_data: bool,
    /// What selects the pods that it goes with.
    pods: Option<String>,
}

/// KubeBlocks' kind, in whichever version is served.
const CLUSTER: &str = "Cluster";
const KINDS: [&str; 11] = [
    "Deployment",
    "StatefulSet",
    "Pod",
    "Service",
    "Ingress",
    "NetworkPolicy",
    "RoleBinding",
    "Role",
    "ServiceAccount",
    "Secret",
    "PersistentVolumeClaim",
];

/// Finds them.
///
/// # Errors
/// The cluster's, where a kind cannot be listed.
pub async fn find(cluster: &Cluster, settings: &Settings, known: &Known) -> Result<Vec<Orphan>, Cause> {
    let all: Vec<_> = stream::iter(KINDS)
        .map(|kind| async move {
            match kind {
                "Deployment" => list::<Deployment>(cluster, settings).await,
                "StatefulSet" => list::<StatefulSet>(cluster, settings).await,
                // What a Deployment or StatefulSet made goes with it.
                "Pod" => list::<Pod>(cluster, settings).await.map(|mut pods| {
                    pods.retain(|meta| meta.owner_references.as_ref().is_none_or(Vec::is_empty));
                    pods
                }),
                "Service" => list::<Service>(cluster, settings).await,
                "Ingress" => list::<Ingress>(cluster, settings).await,
                "NetworkPolicy" => list::<NetworkPolicy>(cluster, settings).await,
                "RoleBinding" => list::<RoleBinding>(cluster, settings).await,
                "Role" => list::<Role>(cluster, settings).await,
                "ServiceAccount" => list::<ServiceAccount>(cluster, settings).await,
                "Secret" => list::<Secret>(cluster, settings).await,
                _ => list::<PersistentVolumeClaim>(cluster, settings).await,
            }
            .or_else(|cause| unseen(kind, cause))
            .map(|metas| (kind, metas))
        })
        .buffered(4)
        .collect()
        .await;
    let mut orphans = Vec::new();
    let clusters = clusters(cluster, settings).await.or_else(|cause| unseen(CLUSTER, cause))?;
    orphans.extend(clusters.into_iter().filter(|meta| !has_row(meta, known)).map(|meta| orphan(CLUSTER, meta)));
    for listed in all {
        let (kind, metas) = listed?;
        orphans.extend(metas.into_iter().filter(|meta| !has_row(meta, known)).map(|meta| orphan(kind, meta)));
    }
    Ok(orphans)
}

/// Of a kind that not all settings make none are there where the account may not see it: which rights are missing,
/// [`super::permissions`] says.
fn unseen(kind: &str, cause: Cause) -> Result<Vec<ObjectMeta>, Cause> {
    let optional = matches!(kind, "Ingress" | "StatefulSet" | "RoleBinding" | "Role" | CLUSTER);
    if optional && cause.code == model::CauseCode::PermissionMissing { Ok(Vec::new()) } else { Err(cause) }
}

/// The Clusters of KubeBlocks; none where it is not there.
async fn clusters(cluster: &Cluster, settings: &Settings) -> Result<Vec<ObjectMeta>, Cause> {
    let Some(api) = cluster_api(cluster).await? else { return Ok(Vec::new()) };
    let ours = ListParams::default().labels(&labels::of_installation(settings.installation));
    let listed = api.list_metadata(&ours).await;
    let listed = listed.map_err(|error| causes::of_error(&error, "list each Cluster of this installation"))?;
    Ok(listed.items.into_iter().map(|meta| meta.metadata).collect())
}

async fn cluster_api(cluster: &Cluster) -> Result<Option<Api<DynamicObject>>, Cause> {
    let version = kubeblocks::discover(cluster).await.map_err(|error| match error {
        DatabaseError::Caused(cause) => cause,
        DatabaseError::Other(error) => {
            Cause::new(model::CauseCode::Unexpected, "It could not be told whether KubeBlocks is there.", &["Look again."])
                .with_detail(format!("{error:#}"))
        }
    })?;
    let api =
        |version: kubeblocks::Version| Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &version.resource());
    Ok(version.map(api))
}

fn has_row(meta: &ObjectMeta, known: &Known) -> bool {
    // What is of a project outlives its sandbox; what is of a sandbox goes with it.
    match (labels::sandbox(meta), labels::project(meta)) {
        (_, Some(project)) if labels::component(meta) == Some(labels::Component::Volume) => known.projects.contains(&project),
        (Some(sandbox), _) => known.sandboxes.contains(&sandbox),
        (None, Some(project)) => known.projects.contains(&project),
        (None, None) => false,
    }
}

fn orphan(kind: &'static str, meta: ObjectMeta) -> Orphan {
    let label = |key: &str| meta.labels.as_ref().and_then(|all| all.get(key));
    let database = label(labels::COMPONENT).is_some_and(|component| component == labels::Component::Database.as_str());
    let by: &[&str] = if database {
        &[labels::INSTALLATION, labels::COMPONENT, labels::PROJECT]
    } else {
        &[labels::INSTALLATION, labels::SANDBOX]
    };
    let pods: Option<Vec<String>> = by.iter().map(|key| label(key).map(|value| format!("{key}={value}"))).collect();
    Orphan {
        kind,
        holds_data: matches!(kind, "PersistentVolumeClaim" | "StatefulSet" | CLUSTER) || database,
        pods: pods.map(|labels| labels.join(",")),
        name: meta.name.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
    }
}

async fn list<K>(cluster: &Cluster, settings: &Settings) -> Result<Vec<ObjectMeta>, Cause>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
{
    let api = Api::<K>::namespaced(cluster.client.clone(), &cluster.namespace);
    let ours = ListParams::default().labels(&labels::of_installation(settings.installation));
    let listed = api.list_metadata(&ours).await.map_err(|error| {
        let kind = K::kind(&()).into_owned();
        causes::of_error(&error, &format!("list each {kind} of this installation"))
    })?;
    Ok(listed.items.into_iter().map(|meta: PartialObjectMeta<K>| meta.metadata).collect())
}

/// The finding of the doctor.
pub async fn check(cluster: &Cluster, settings: &Settings, known: &Known) -> Finding {
    let why = "Objects without a row cost and are of no use.";
    let orphans = match find(cluster, settings, known).await {
        Ok(orphans) => orphans,
        Err(cause) => return Finding::of_cause("orphans", Verdict::Warn, &cause, why),
    };
    if orphans.is_empty() {
        return Finding::ok("orphans", "Everything of this installation in the cluster has a row.", why);
    }
    let named: Vec<String> = orphans.iter().map(|orphan| format!("{} {}", orphan.kind, orphan.name)).collect();
    let data = orphans.iter().any(|orphan| orphan.holds_data);
    let mut mend = vec!["Remove what holds no data: `fullstack-agent doctor --remove-orphans`."];
    if data {
        mend.push("With volumes and databases, which cannot be had back: `fullstack-agent doctor --remove-orphans --with-data`.");
    }
    Finding::new(
        "orphans",
        Verdict::Warn,
        format!("{} of this installation belong to no row: {}.", orphans.len(), named.join(", ")),
        why,
        &mend,
    )
}

/// Removes them, each if it is still the same object: what keeps pods apart, and their account, once those pods are gone. Answers
/// what stays, because its pods are not gone within `patience`. `removed` is told of each.
///
/// # Errors
/// The cluster's.
pub async fn remove_all<'o>(
    cluster: &Cluster,
    orphans: impl IntoIterator<Item = &'o Orphan>,
    patience: Duration,
    mut removed: impl FnMut(&Orphan),
) -> Result<Vec<&'o Orphan>, Cause> {
    let (mut left, first): (Vec<_>, Vec<_>) =
        orphans.into_iter().partition(|orphan| matches!(orphan.kind, "NetworkPolicy" | "ServiceAccount"));
    for orphan in first {
        remove(cluster, orphan).await?;
        removed(orphan);
    }
    let start = Instant::now();
    loop {
        let mut waiting = Vec::new();
        for orphan in left {
            if has_pods(cluster, orphan).await? {
                waiting.push(orphan);
            } else {
                remove(cluster, orphan).await?;
                removed(orphan);
            }
        }
        if waiting.is_empty() || start.elapsed() >= patience {
            return Ok(waiting);
        }
        left = waiting;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn has_pods(cluster: &Cluster, orphan: &Orphan) -> Result<bool, Cause> {
    let Some(selector) = &orphan.pods else { return Ok(false) };
    let api = Api::<Pod>::namespaced(cluster.client.clone(), &cluster.namespace);
    let listed = api.list_metadata(&ListParams::default().labels(selector).limit(1)).await;
    let listed = listed.map_err(|error| causes::of_error(&error, "list the pods of what is left over"))?;
    Ok(!listed.items.is_empty())
}

/// Removes one, if it is still the same object.
///
/// # Errors
/// The cluster's.
pub async fn remove(cluster: &Cluster, orphan: &Orphan) -> Result<(), Cause> {
    match orphan.kind {
        CLUSTER => match cluster_api(cluster).await? {
            Some(api) => delete_by(&api, orphan).await,
            None => Ok(()),
        },
        "Deployment" => delete::<Deployment>(cluster, orphan).await,
        "StatefulSet" => delete::<StatefulSet>(cluster, orphan).await,
        "Pod" => delete::<Pod>(cluster, orphan).await,
        "Service" => delete::<Service>(cluster, orphan).await,
        "Ingress" => delete::<Ingress>(cluster, orphan).await,
        "NetworkPolicy" => delete::<NetworkPolicy>(cluster, orphan).await,
        "RoleBinding" => delete::<RoleBinding>(cluster, orphan).await,
        "Role" => delete::<Role>(cluster, orphan).await,
        "ServiceAccount" => delete::<ServiceAccount>(cluster, orphan).await,
        "Secret" => delete::<Secret>(cluster, orphan).await,
        _ => delete::<PersistentVolumeClaim>(cluster, orphan).await,
    }
}

async fn delete<K>(cluster: &Cluster, orphan: &Orphan) -> Result<(), Cause>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
{
    delete_by(&Api::<K>::namespaced(cluster.client.clone(), &cluster.namespace), orphan).await
}

async fn delete_by<K>(api: &Api<K>, orphan: &Orphan) -> Result<(), Cause>
where
    K: Clone + Debug + serde::de::DeserializeOwned,
{
    let same = Preconditions { uid: Some(orphan.uid.clone()), resource_version: None };
    let how = DeleteParams { preconditions: Some(same), ..DeleteParams::background() };
    match api.delete(&orphan.name, &how).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(causes::of_error(&error, &format!("remove the {} `{}`", orphan.kind, orphan.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn a_home_folder_is_its_projects_whichever_sandbox_it_was_made_for() {
        let (here, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let known = Known { sandboxes: [SandboxId(here)].into(), projects: [ProjectId(here)].into() };
        let meta = |component: &str, project: Uuid, sandbox: Uuid| -> ObjectMeta {
            let labels =
                json!({labels::COMPONENT: component, labels::PROJECT: project.to_string(), labels::SANDBOX: sandbox.to_string()});
            serde_json::from_value(json!({"labels": labels})).unwrap()
        };
        assert!(has_row(&meta("volume", here, gone), &known));
        assert!(!has_row(&meta("volume", gone, here), &known));
        assert!(has_row(&meta("sandbox", here, here), &known));
        assert!(!has_row(&meta("sandbox", here, gone), &known));
        assert!(has_row(&meta("database", here, gone), &known));
    }

    #[test]
    fn all_that_is_of_a_database_goes_with_its_data() {
        let holds_data = |kind: &'static str, component: &str| {
            let labels = json!({labels::COMPONENT: component});
            orphan(kind, serde_json::from_value(json!({"labels": labels})).unwrap()).holds_data
        };
        for kind in ["NetworkPolicy", "Service", "Role", "RoleBinding", "ServiceAccount", "Secret", "StatefulSet"] {
            assert!(holds_data(kind, "database"), "{kind}");
            assert_eq!(holds_data(kind, "sandbox"), kind == "StatefulSet", "{kind}");
        }
        assert!(holds_data("PersistentVolumeClaim", "volume"));
    }
}
