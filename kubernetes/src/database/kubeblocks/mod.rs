//! A project's PostgreSQL as a Cluster of KubeBlocks, whose operator makes and keeps it.
//!
//! ```text
//!   NetworkPolicy ──┐
//!   v1alpha1 alone: ├─ Cluster NAME ─▶ the operator ─▶ pods, volumes, Service, Secret
//!   an account ─────┘
//! ```
//! What is made differs by the version of the API:
//!
//! | | `v1` | `v1alpha1` |
//! | --- | --- | --- |
//! | asked for by | `clusterDef`, `topology`, `serviceVersion` | `clusterDefinitionRef`, `clusterVersionRef` |
//! | its pods' account | the operator's own | ours: ServiceAccount, Role, RoleBinding |
//! | superuser in | `NAME-postgresql-account-postgres` | `NAME-conn-credential` |
//! | stopped by | its component's `stop` | an OpsRequest ([`operation`]) |
//!
//! Both: the Service is `NAME-postgresql-postgresql`, of the primary; Secrets bear none of our labels and are read
//! by name; neither do pods and volumes, which are watched by KubeBlocks' own: what the cluster refuses them is told
//! before the operator says so; a phase counts only where `status.observedGeneration` is the Cluster's generation;
//! `Failed` is not final; a patch of `componentSpecs` is of one path, because a merge replaces the list. Sources: the
//! published CustomResourceDefinitions of 0.9.5 and 1.0.2.

pub mod manifests;
mod status;

use super::{
    Admin, Servers, Standing, cause, hidden,
    objects::{self, Claimed, claim, is_of, mend},
    operation::{self, Operation},
    statefulset::is_ready,
    waits::Waits,
    watched::{Changed, Watched, Whose},
};
use crate::{Cluster, Settings, causes, labels, names};
use engine::{
    database::{DatabaseError, DatabaseSpec},
    orchestrator::Removed,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind},
};
use manifests::{cluster, network_policy, role, role_binding, service_account, stop_patch};
use model::{Cause, ProjectId, ResourceName};
use secrecy::SecretString;
use serde_json::Value;
use status::{Said, protected, should_run, since, standing, wedged};
use std::{collections::BTreeMap, sync::Arc};
use tokio::try_join;
use tracing::info;

/// The group of its API.
const GROUP: &str = "apps.kubeblocks.io";
/// The label with which its pods name their Cluster.
const INSTANCE: &str = "app.kubernetes.io/instance";

/// Which of its API's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Since 1.0.
    V1,
    /// Until 0.9, and served by 1.0 with loss.
    V1alpha1,
}

impl Version {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1alpha1 => "v1alpha1",
        }
    }

    /// The kind Cluster of it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, self.as_str(), "Cluster"), "clusters")
    }
}

/// The version that is served: `v1` before `v1alpha1`, because where both are, a `v1alpha1` object loses what
/// `v1` does not have.
///
/// # Errors
/// What the cluster answers.
pub async fn discover(cluster: &Cluster) -> Result<Option<Version>, DatabaseError> {
    for version in [Version::V1, Version::V1alpha1] {
        match cluster.client.list_api_group_resources(&format!("{GROUP}/{}", version.as_str())).await {
            Ok(served) if served.resources.iter().any(|resource| resource.name == "clusters") => return Ok(Some(version)),
            Ok(_) => {}
            // Of an unknown group it is plain text, without a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(objects::refused(&error, "ask which versions of KubeBlocks it has")),
        }
    }
    Ok(None)
}

/// Whether a Cluster of this name is there and should run: it is neither stopped nor being removed. Asks the cluster.
pub(crate) async fn wants_a_pod(cluster: &Cluster, name: &ResourceName) -> Result<bool, DatabaseError> {
    let Some(version) = discover(cluster).await? else { return Ok(false) };
    let clusters = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &version.resource());
    let found = clusters
        .get_opt(name.as_str())
        .await
        .map_err(|error| objects::refused(&error, &format!("look at the Cluster `{name}`")))?;
    Ok(found.is_some_and(|found| should_run(&found, version)))
}

/// The label and value by which its pods say whose they are.
const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "kubeblocks");

fn labels_of(name: &ResourceName) -> BTreeMap<String, String> {
    BTreeMap::from([(INSTANCE.to_owned(), name.to_string()), (MANAGED.0.to_owned(), MANAGED.1.to_owned())])
}

/// Whether a policy of a database is one of [`network_policy`].
pub(super) fn is_policy(policy: &NetworkPolicy) -> bool {
    let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref()?.match_labels.as_ref());
    selector.and_then(|labels| labels.get(MANAGED.0)).is_some_and(|managed| managed == MANAGED.1)
}

/// The selector of the pods of a Cluster of this name, which carry none of our labels.
#[must_use]
pub fn pods_of(name: &ResourceName) -> String {
    let all: Vec<String> = labels_of(name).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.join(",")
}

/// The selector of the pods and volumes of all Clusters.
fn of_all() -> String {
    format!("{INSTANCE},{}={}", MANAGED.0, MANAGED.1)
}

/// Whether an object says that the operator made it.
fn is_managed(meta: &ObjectMeta) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(MANAGED.0)).is_some_and(|managed| managed == MANAGED.1)
}

/// Of which Cluster an object is that the operator made.
fn instance(meta: &ObjectMeta) -> Option<&str> {
    meta.labels.as_ref()?.get(INSTANCE).map(String::as_str)
}

/// Changes a Cluster by a JSON patch (RFC 6902).
///
/// # Errors
/// What the cluster answers.
pub async fn json_patch(cluster: &Cluster, version: Version, name: &str, patch: &Value) -> Result<(), kube::Error> {
    let clusters = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &version.resource());
    let request = http::Request::patch(format!("{}/{name}", clusters.resource_url()))
        .header(http::header::CONTENT_TYPE, "application/json-patch+json")
        .body(serde_json::to_vec(patch).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    cluster.client.request::<DynamicObject>(request).await.map(|_| ())
}

/// Has the operator make them, and knows which there are.
pub struct KubeBlocks {
    version: Version,
    settings: Settings,
    cluster: Cluster,
    clusters: Api<DynamicObject>,
    policies: Api<NetworkPolicy>,
    seen: Watched<DynamicObject>,
    pods_seen: Watched<Pod>,
    volumes_seen: Watched<PersistentVolumeClaim>,
    policies_seen: Arc<Watched<NetworkPolicy>>,
    /// Since when each Cluster is waited for.
    waits: Waits,
}

impl KubeBlocks {
    /// Watches from now on. `policies_seen`: this installation's databases', whoever makes those.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
        settings: &Settings,
        version: Version,
        changed: &Changed,
        policies_seen: &Arc<Watched<NetworkPolicy>>,
    ) -> Self {
        let settings = Settings { namespace: cluster.namespace.clone(), ..settings.clone() };
        let selector = hidden::of_databases(settings.installation);
        let resource = version.resource();
        let clusters = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
        let policies = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let seen = Watched::start(clusters.clone(), resource, "Clusters", &selector, changed);
        let whose = || -> Whose {
            let clusters = seen.kept();
            Box::new(move |meta: &ObjectMeta| {
                let name = instance(meta)?;
                let cluster = clusters.find(|cluster| cluster.metadata.name.as_deref() == Some(name))?;
                labels::project(&cluster.metadata)
            })
        };
        let (pods, volumes) = (
            Api::namespaced(cluster.client.clone(), &cluster.namespace),
            Api::namespaced(cluster.client.clone(), &cluster.namespace),
        );
        Self {
            version,
            settings,
            cluster: cluster.clone(),
            pods_seen: Watched::start_of(pods, (), "Pods of KubeBlocks", &of_all(), changed, whose()),
            volumes_seen: Watched::start_of(volumes, (), "PersistentVolumeClaims of KubeBlocks", &of_all(), changed, whose()),
            seen,
            policies_seen: Arc::clone(policies_seen),
            clusters,
            policies,
            waits: Waits::default(),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    fn found(&self, spec: &DatabaseSpec) -> Option<Arc<DynamicObject>> {
        self.seen.named(spec.name.as_str()).filter(|cluster| is_of(&cluster.metadata, spec))
    }

    fn policy(&self, spec: &DatabaseSpec) -> bool {
        let there = self.policies_seen.named(&names::postgres(&spec.name));
        there.is_some_and(|there| objects::holds(&*there, &network_policy(spec, &self.settings)))
    }

    async fn account(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        if self.version == Version::V1 {
            return Ok(());
        }
        let (account, role, binding) =
            (service_account(spec, &self.settings), role(spec, &self.settings), role_binding(spec, &self.settings));
        let (accounts, roles, bindings) = (self.api(), self.api(), self.api());
        try_join!(mend(&accounts, &account, spec, "ServiceAccount"), mend(&roles, &role, spec, "Role"))?;
        // Whether it may be bound is read from the Role.
        mend(&bindings, &binding, spec, "RoleBinding").await.map(|_| ())
    }

    /// Refuses what is somebody else's of the volumes that its pods will have: they mount whatever has the name.
    async fn own_volumes(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        let claims: Api<PersistentVolumeClaim> = self.api();
        for number in 0..self.settings.database.replicas.max(1) {
            let name = format!("data-{}-{number}", names::postgres(&spec.name));
            let own = |meta: &ObjectMeta| is_managed(meta) && instance(meta) == Some(spec.name.as_str());
            if self.volumes_seen.named(&name).is_some_and(|claim| own(&claim.metadata)) {
                continue;
            }
            let there = claims.get_metadata_opt(&name).await;
            let there =
                there.map_err(|error| objects::refused(&error, &format!("look at the PersistentVolumeClaim `{name}`")))?;
            if there.is_some_and(|there| !own(&there.metadata)) {
                let taken = causes::name_taken("PersistentVolumeClaim", &name, &self.cluster.namespace);
                return Err(DatabaseError::Caused(taken));
            }
        }
        Ok(())
    }

    /// One that was stopped is started. `false`: ask again.
    async fn start(&self, spec: &DatabaseSpec, cluster: &DynamicObject) -> Result<bool, DatabaseError> {
        if !Said::of(cluster).stopped(self.version) {
            return Ok(true);
        }
        self.own_volumes(spec).await?;
        info!(name = %spec.name, "the database was stopped; it is started");
        self.waits.begin(&cluster.metadata, Timestamp::now());
        self.operate(spec, cluster, Operation::Start).await
    }

    /// Stops or starts it. `false`: ask again.
    async fn operate(&self, spec: &DatabaseSpec, of: &DynamicObject, operation: Operation) -> Result<bool, DatabaseError> {
        let (stop, name) = (operation == Operation::Stop, spec.name.as_str());
        if self.version == Version::V1alpha1 {
            return operation::ask(&self.cluster, &self.settings, spec, of, operation).await;
        }
        let verb = if stop { "stop" } else { "start" };
        let done = json_patch(&self.cluster, self.version, name, &stop_patch(of.uid().as_deref(), stop)).await;
        // What says that a test of the patch has failed does not say which.
        let untrue = matches!(&done, Err(kube::Error::Api(status)) if matches!(status.code, 404 | 422));
        if untrue && !self.is_there(of).await? {
            return Ok(false);
        }
        done.map_err(|error| objects::refused(&error, &format!("{verb} the Cluster `{name}`"))).map(|()| true)
    }

    /// Whether this very Cluster is there, and not another of its name, asked of the cluster itself.
    async fn is_there(&self, of: &DynamicObject) -> Result<bool, DatabaseError> {
        let name = of.name_any();
        let there = self.clusters.get_metadata_opt(&name).await;
        let there = there.map_err(|error| objects::refused(&error, &format!("look at the Cluster `{name}`")))?;
        Ok(there.is_some_and(|there| there.metadata.uid == of.metadata.uid))
    }

    /// Its pods that are not about to end, the one that takes writes first.
    fn pods(&self, spec: &DatabaseSpec) -> Vec<Arc<Pod>> {
        let mut pods = self.pods_seen.all(|meta| instance(meta) == Some(spec.name.as_str()) && meta.deletion_timestamp.is_none());
        pods.sort_by_key(|pod| (!leads(pod), pod.name_any()));
        pods
    }

    /// The volume of a pod of that name.
    fn volume(&self, pod: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.volumes_seen.named(&format!("data-{pod}"))
    }

    /// What the cluster says in so many words of its pods and volumes, and of those that are not there by `events`: no
    /// operator need look at it first.
    fn stated(&self, spec: &DatabaseSpec, events: &[Arc<Event>]) -> Option<Cause> {
        let stated = |pod: Option<&Pod>, volume: Option<&PersistentVolumeClaim>| {
            let facts = cause::Facts { name: &spec.name, pod, volume, events, since: None, now: Timestamp::now() };
            cause::cause(&facts).filter(|cause| cause::is_stated(cause.code))
        };
        let pods = self.pods(spec);
        if pods.is_empty() {
            return stated(None, self.volume(&first_pod(&spec.name)).as_deref());
        }
        pods.iter().find_map(|pod| stated(Some(pod.as_ref()), self.volume(&pod.name_any()).as_deref()))
    }
}

/// The first of its pods, in time and by its number.
fn first_pod(name: &ResourceName) -> String {
    format!("{}-0", names::postgres(name))
}

/// Whether a pod says that it is the primary; a single one need not.
pub(crate) fn leads(pod: &Pod) -> bool {
    pod.labels().get("kubeblocks.io/role").is_some_and(|role| matches!(role.as_str(), "primary" | "leader"))
}

#[async_trait::async_trait]
impl Servers for KubeBlocks {
    async fn ready(&self) -> Result<(), DatabaseError> {
        let (pods, volumes) = (self.pods_seen.ready(), self.volumes_seen.ready());
        try_join!(self.seen.ready(), self.policies_seen.ready(), pods, volumes).map(|_| ())
    }

    async fn make(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError> {
        let there = self.found(spec).filter(|cluster| cluster.metadata.deletion_timestamp.is_none());
        let whole = there.is_some();
        if let Some(cluster) = there
            && self.policy(spec)
        {
            return self.start(spec, &cluster).await;
        }
        let policy = network_policy(spec, &self.settings);
        let volumes = async { if whole { Ok(()) } else { self.own_volumes(spec).await } };
        // Each to its end, also where one is refused: what is sent and not heard of would be there after it was removed.
        let (policy, account, volumes) =
            tokio::join!(mend(&self.policies, &policy, spec, "NetworkPolicy"), self.account(spec), volumes);
        policy.and(account).and(volumes)?;
        match claim(&self.clusters, &cluster(spec, &self.settings, self.version), spec, "Cluster").await? {
            Claimed::Made(_) => Ok(true),
            Claimed::Ours(cluster) => self.start(spec, &cluster).await,
            Claimed::Leaving => Ok(false),
        }
    }

    fn standing(&self, spec: &DatabaseSpec) -> Standing {
        let Some(cluster) = self.found(spec) else {
            self.waits.over(spec.name.as_str());
            return Standing::Absent;
        };
        let now = Timestamp::now();
        match standing(&spec.name, &cluster, since(&self.waits, &cluster, self.version, now), now) {
            Standing::Up(_) if !self.policy(spec) => Standing::Coming(None),
            Standing::Coming(said) if cluster.metadata.deletion_timestamp.is_none() => {
                Standing::Coming(self.stated(spec, &[]).or(said))
            }
            standing => standing,
        }
    }

    fn explain(&self, spec: &DatabaseSpec, events: &[Arc<Event>]) -> Option<Cause> {
        self.stated(spec, events)
    }

    fn heeds_events(&self, spec: &DatabaseSpec) -> bool {
        self.found(spec).is_some() && cause::heeds_events(self.pods(spec).first().map(AsRef::as_ref))
    }

    async fn admin(&self, spec: &DatabaseSpec) -> Result<Option<Admin>, DatabaseError> {
        let name = match self.version {
            Version::V1 => names::kubeblocks_account(&spec.name),
            Version::V1alpha1 => names::kubeblocks_credential(&spec.name),
        };
        let service = names::kubeblocks_service(&spec.name);
        let (secrets, services): (Api<Secret>, Api<Service>) = (self.api(), self.api());
        let secret = async {
            secrets.get_opt(&name).await.map_err(|error| objects::refused(&error, &format!("read the Secret `{name}`")))
        };
        let service = async {
            services
                .get_metadata_opt(&service)
                .await
                .map_err(|error| objects::refused(&error, &format!("read the Service `{service}`")))
        };
        let (secret, service) = try_join!(secret, service)?;
        let pod = self.pods(spec).into_iter().find(|pod| is_ready(pod));
        let (Some(pod), Some(mut data), Some(_)) = (pod, secret.and_then(|secret| secret.data), service) else { return Ok(None) };
        let mut text = |key: &str| data.remove(key).map(|value| String::from_utf8_lossy(&value.0).into_owned());
        let (Some(user), Some(password)) = (text("username"), text("password")) else { return Ok(None) };
        Ok(Some(Admin { pod, user, password: SecretString::from(password) }))
    }

    async fn left(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError> {
        // Policies are of whoever makes databases now as well, who removes them all.
        if objects::any_left(&self.clusters, spec, "Cluster").await? {
            return Ok(true);
        }
        // The last that goes of what a Cluster needed.
        let accounts: Api<ServiceAccount> = self.api();
        Ok(self.version == Version::V1alpha1 && objects::any_left(&accounts, spec, "ServiceAccount").await?)
    }

    async fn unmake(&self, spec: &DatabaseSpec, first: bool) -> Result<Removed, DatabaseError> {
        let name = spec.name.as_str();
        self.waits.over(name);
        // At first the cluster itself is asked: what was made just now is not in the watch yet.
        let cluster = if first {
            let there = self.clusters.get_opt(name).await;
            there.map_err(|error| objects::refused(&error, &format!("read the Cluster `{name}`")))?.map(Arc::new)
        } else {
            self.seen.named(name)
        };
        if let Some(cluster) = cluster.filter(|cluster| is_of(&cluster.metadata, spec)) {
            if Said::of(&cluster).spec.termination_policy == "DoNotTerminate" {
                return Err(protected(&spec.name));
            }
            if cluster.metadata.deletion_timestamp.is_none() {
                objects::remove_this(&self.clusters, &cluster.metadata, "Cluster").await?;
            }
            return wedged(&spec.name, &cluster, Timestamp::now())
                .map_or(Ok(Removed::Going), |cause| Err(DatabaseError::Caused(cause)));
        }
        if self.found(spec).is_some() {
            return Ok(Removed::Going);
        }
        // Its pods needed these to end well.
        let after = DeleteParams::background();
        objects::remove_all(&self.policies, spec, &after, "NetworkPolicy").await?;
        if self.version == Version::V1alpha1 {
            let (accounts, roles, bindings): (Api<ServiceAccount>, Api<Role>, Api<RoleBinding>) =
                (self.api(), self.api(), self.api());
            try_join!(
                objects::remove_all(&bindings, spec, &after, "RoleBinding"),
                objects::remove_all(&roles, spec, &after, "Role"),
            )?;
            objects::remove_all(&accounts, spec, &after, "ServiceAccount").await?;
        }
        Ok(Removed::Gone)
    }

    async fn stop(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        self.waits.over(spec.name.as_str());
        match self.found(spec).filter(|cluster| !Said::of(cluster).stopped(self.version)) {
            // One whose predecessor is still being removed is asked for at the next look.
            Some(cluster) => self.operate(spec, &cluster, Operation::Stop).await.map(|_| ()),
            None => Ok(()),
        }
    }

    fn on(&self, spec: &DatabaseSpec) -> bool {
        self.found(spec).is_some_and(|cluster| should_run(&cluster, self.version))
    }

    fn ending(&self, spec: &DatabaseSpec) -> bool {
        let said = self.found(spec).map(|cluster| Said::of(&cluster)).filter(|said| said.stopped(self.version));
        // Also what was said before the stop: where no operator looks, it runs on.
        said.is_some_and(|said| matches!(said.status.phase.as_str(), "Running" | "Updating" | "Stopping"))
    }

    fn whole(&self, spec: &DatabaseSpec) -> bool {
        self.on(spec) && self.policy(spec)
    }

    fn there(&self, spec: &DatabaseSpec) -> bool {
        let holds = |meta: &ObjectMeta| instance(meta) == Some(spec.name.as_str()) && meta.deletion_timestamp.is_none();
        // Any of them: one of several is filled from the others.
        self.found(spec).is_some_and(|cluster| cluster.metadata.deletion_timestamp.is_none()) && self.volumes_seen.any(holds)
    }

    fn edited(&self, spec: &DatabaseSpec) -> bool {
        let policy = self.policies_seen.named(&names::postgres(&spec.name));
        self.there(spec) && objects::touched(policy.as_deref(), &network_policy(spec, &self.settings))
    }

    fn stops(&self) -> bool {
        true
    }

    fn holds(&self, spec: &DatabaseSpec) -> bool {
        self.found(spec).is_some()
    }

    fn objects(&self, name: &ResourceName) -> Vec<String> {
        let pod = first_pod(name);
        vec![name.to_string(), names::postgres(name), format!("data-{pod}"), pod]
    }

    fn service(&self, name: &ResourceName) -> String {
        names::kubeblocks_service(name)
    }

    fn projects(&self) -> Vec<ProjectId> {
        self.seen.all(|_| true).iter().filter_map(|cluster| labels::project(&cluster.metadata)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_policy_is_told_from_a_stateful_sets() {
        let spec = super::super::tests::spec();
        let settings = Settings::new(spec.installation, "team");
        assert!(is_policy(&network_policy(&spec, &settings)));
        assert!(!is_policy(&super::super::statefulset::network_policy(&spec, &settings)));
    }
}
