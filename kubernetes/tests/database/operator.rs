//! KubeBlocks' operator, stood in for: it acts on Clusters of one namespace as the real one was seen to, with a
//! real PostgreSQL in a real pod. Slow, failing, wedged or away on demand.

use super::support::{image, resource};
use engine::database::DatabaseSpec;
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    },
};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use kubernetes::{
    Cluster, Settings,
    database::{
        kubeblocks::{self, Version},
        operation, statefulset,
    },
};
use model::{InstallationId, ProjectId, SandboxId};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};
use uuid::Uuid;

const FINALIZER: &str = "cluster.kubeblocks.io/finalizer";
/// By which label its pods tell the primary.
pub const ROLE: &str = "kubeblocks.io/role";

/// How many pods a Cluster asks for.
fn replicas(cluster: &DynamicObject) -> usize {
    let asked = cluster.data["spec"]["componentSpecs"][0]["replicas"].as_u64().unwrap_or(1);
    usize::try_from(asked).unwrap()
}

/// How it behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nature {
    /// It does nothing at all.
    pub away: bool,
    /// It says that what it makes has failed.
    pub failing: bool,
    /// It never lets a Cluster go.
    pub wedged: bool,
    /// It carries no operation out.
    pub refusing: bool,
    /// The image that it has for PostgreSQL is nowhere.
    pub nowhere: bool,
    /// How much later than it is so it says that a Cluster runs.
    pub slow: Duration,
}

pub struct Operator {
    pub version: Version,
    nature: Arc<Mutex<Nature>>,
    task: JoinHandle<()>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Operator {
    pub fn start(cluster: &Cluster, version: Version) -> Self {
        let nature = Arc::new(Mutex::new(Nature::default()));
        let work = Work { cluster: cluster.clone(), version, nature: Arc::clone(&nature) };
        let task = tokio::spawn(async move {
            loop {
                work.pass().await;
                sleep(Duration::from_millis(100)).await;
            }
        });
        Self { version, nature, task }
    }

    pub fn set(&self, nature: Nature) {
        *self.nature.lock().unwrap() = nature;
    }
}

struct Work {
    cluster: Cluster,
    version: Version,
    nature: Arc<Mutex<Nature>>,
}

impl Work {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    fn clusters(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client.clone(), &self.cluster.namespace, &resource(self.version))
    }

    async fn pass(&self) {
        let nature = *self.nature.lock().unwrap();
        if nature.away {
            return;
        }
        if self.version == Version::V1alpha1
            && let Err(error) = self.operations(nature).await
        {
            println!("operator: operations: {error}");
        }
        let Ok(all) = self.clusters().list(&ListParams::default()).await else { return };
        for cluster in all.items {
            // What somebody else changed at the same moment is looked at again.
            if let Err(error) = self.reconcile(&cluster, nature).await {
                println!("operator: {}: {error}", cluster.name_any());
            }
        }
    }

    /// Carries operations out: a Cluster is stopped from a phase in which it runs and started once it is stopped; one
    /// that comes too soon waits as long as it says.
    async fn operations(&self, nature: Nature) -> Result<(), kube::Error> {
        let (client, namespace) = (self.cluster.client.clone(), &self.cluster.namespace);
        let requests: Api<DynamicObject> = Api::namespaced_with(client, namespace, &operation::resource());
        for request in requests.list(&ListParams::default()).await? {
            let (spec, phase) = (&request.data["spec"], request.data["status"]["phase"].as_str().unwrap_or_default());
            let over = matches!(phase, "Succeed" | "Failed");
            if request.metadata.deletion_timestamp.is_some() || over {
                continue;
            }
            let stop = spec["type"] == "Stop";
            let age = request.creation_timestamp().map_or(0, |at| jiff::Timestamp::now().as_second() - at.0.as_second());
            let cluster = self.clusters().get_opt(spec["clusterName"].as_str().unwrap_or_default()).await?;
            let (phase, message) = match &cluster {
                None => ("Failed", "there is no such Cluster".to_owned()),
                Some(_) if nature.refusing => ("Failed", "the operation is refused".to_owned()),
                Some(cluster) => {
                    let is = cluster.data["status"]["phase"].as_str().unwrap_or_default().to_owned();
                    let from: &[&str] = if stop { &["Running", "Updating", "Failed", "Abnormal"] } else { &["Stopped"] };
                    let stopped = cluster.data["spec"]["componentSpecs"][0]["stop"] == true;
                    match phase {
                        "Running" if is == if stop { "Stopped" } else { "Running" } => ("Succeed", String::new()),
                        "Running" => continue,
                        _ if stopped != stop && from.contains(&is.as_str()) => {
                            let patch = kubeblocks::manifests::stop_patch(cluster.uid().as_deref(), stop);
                            kubeblocks::json_patch(&self.cluster, self.version, &cluster.name_any(), &patch).await?;
                            ("Running", String::new())
                        }
                        _ if stopped == stop => ("Running", String::new()),
                        _ if age < spec["preConditionDeadlineSeconds"].as_i64().unwrap_or(0) => ("Pending", String::new()),
                        _ => (
                            "Failed",
                            format!("OpsRequest.spec.type={} is forbidden when Cluster.status.phase={is}", spec["type"]),
                        ),
                    }
                }
            };
            if request.data["status"]["phase"] == phase {
                continue;
            }
            let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let condition =
                json!({"type": phase, "status": "True", "reason": phase, "message": message, "lastTransitionTime": at});
            let status = json!({"status": {"phase": phase, "conditions": [condition]}});
            requests.patch_status(&request.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        }
        Ok(())
    }

    async fn reconcile(&self, cluster: &DynamicObject, nature: Nature) -> Result<(), kube::Error> {
        let api = cluster.annotations().get("kubeblocks.io/crd-api-version").map(String::as_str);
        if api != Some(&format!("apps.kubeblocks.io/{}", self.version.as_str())) {
            // The real one adds it, and raises the generation with that; a test that comes here has found a fault.
            println!("operator: {} names no version that it acts on", cluster.name_any());
            return Ok(());
        }
        if cluster.meta().deletion_timestamp.is_some() {
            return self.end(cluster, nature).await;
        }
        if !cluster.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            let add = json!({"metadata": {"finalizers": [FINALIZER]}});
            self.clusters().patch(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(add)).await?;
            return Ok(());
        }
        if let Some(wrong) = self.wrong(&cluster.data["spec"]) {
            return self.say(cluster, "Failed", &wrong).await;
        }
        let stop = cluster.data["spec"]["componentSpecs"][0]["stop"] == true;
        self.make(cluster, stop, nature).await?;
        let pods = self.roles(&cluster.name_any()).await?;
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let ready = pods.len() == replicas(cluster) && pods.iter().all(is_ready);
        let pod = pods.first();
        let age = cluster.creation_timestamp().map_or(0, |at| jiff::Timestamp::now().as_second() - at.0.as_second());
        let slow = u64::try_from(age).unwrap_or(0) < nature.slow.as_secs();
        let phase = match (stop, pod) {
            _ if nature.failing => "Failed",
            (true, None) => "Stopped",
            (true, Some(_)) => "Stopping",
            (false, _) if ready && !slow => "Running",
            (false, _) => match cluster.data["status"]["phase"].as_str() {
                None | Some("" | "Creating") => "Creating",
                Some(_) => "Updating",
            },
        };
        self.say(cluster, phase, if nature.failing { "the pod crashes" } else { "" }).await
    }

    /// What the real one's definition of PostgreSQL would not understand.
    fn wrong(&self, spec: &Value) -> Option<String> {
        let component = &spec["componentSpecs"][0];
        let known = match self.version {
            Version::V1 => {
                spec["clusterDef"] == "postgresql" && spec["topology"] == "replication" && component["serviceVersion"].is_string()
            }
            Version::V1alpha1 => {
                spec["clusterDefinitionRef"] == "postgresql"
                    && spec["clusterVersionRef"].as_str().is_some_and(|version| version.starts_with("postgresql-"))
                    && component["componentDefRef"] == "postgresql"
                    && component["serviceAccountName"].is_string()
            }
        };
        let named = component["name"] == "postgresql" && component["volumeClaimTemplates"][0]["name"] == "data";
        (!known || !named).then(|| "no such definition".to_owned())
    }

    async fn say(&self, cluster: &DynamicObject, phase: &str, message: &str) -> Result<(), kube::Error> {
        let mut component = json!({"phase": phase});
        if self.version == Version::V1 {
            component["observedGeneration"] = json!(cluster.metadata.generation);
        }
        if !message.is_empty() {
            component["message"] = json!({"Pod/0": message});
        }
        let status = json!({
            "phase": phase, "message": message, "observedGeneration": cluster.metadata.generation,
            "components": {"postgresql": component},
        });
        if cluster.data["status"] == status {
            return Ok(());
        }
        let status = json!({"apiVersion": resource(self.version).api_version, "kind": "Cluster", "status": status});
        let strict = PatchParams { field_validation: Some(kube::api::ValidationDirective::Strict), ..PatchParams::default() };
        self.clusters().patch_status(&cluster.name_any(), &strict, &Patch::Merge(status)).await.map(|_| ())
    }

    fn labels(name: &str) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/instance", name),
            ("app.kubernetes.io/managed-by", "kubeblocks"),
            ("apps.kubeblocks.io/component-name", "postgresql"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    fn secret(&self, name: &str) -> String {
        match self.version {
            Version::V1 => format!("{name}-postgresql-account-postgres"),
            Version::V1alpha1 => format!("{name}-conn-credential"),
        }
    }

    /// Its pods by their numbers, each with a role: at first the first is the primary.
    async fn roles(&self, name: &str) -> Result<Vec<Pod>, kube::Error> {
        let pods: Api<Pod> = self.api();
        let mine =
            ListParams::default().labels(&format!("app.kubernetes.io/instance={name},app.kubernetes.io/managed-by=kubeblocks"));
        let mut all = pods.list(&mine).await?.items;
        all.sort_by_key(|pod| pod.name_any());
        for pod in all.iter().filter(|pod| !pod.labels().contains_key(ROLE)) {
            let role = if pod.name_any().ends_with("-0") { "primary" } else { "secondary" };
            let patch = json!({"metadata": {"uid": pod.uid(), "labels": {ROLE: role}}});
            pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(all)
    }

    async fn make(&self, cluster: &DynamicObject, stop: bool, nature: Nature) -> Result<(), kube::Error> {
        let name = cluster.name_any();
        let apply = PatchParams::apply("kubeblocks").force();
        let secrets: Api<Secret> = self.api();
        if secrets.get_opt(&self.secret(&name)).await?.is_none() {
            let password = Uuid::new_v4().simple().to_string();
            let host = format!("{name}-postgresql-postgresql");
            let mut data = vec![("username", "postgres".to_owned()), ("password", password)];
            if self.version == Version::V1alpha1 {
                data.extend([("host", host.clone()), ("port", "5432".to_owned()), ("endpoint", format!("{host}:5432"))]);
            }
            let data = data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
            let mut secret = Secret { data: Some(data), ..Secret::default() };
            secret.metadata.name = Some(self.secret(&name));
            secret.metadata.labels = Some(Self::labels(&name));
            secrets.create(&Default::default(), &secret).await?;
        }
        let services: Api<Service> = self.api();
        let mut primary = Self::labels(&name);
        primary.insert(ROLE.to_owned(), "primary".to_owned());
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("{name}-postgresql-postgresql"), "labels": Self::labels(&name)},
            "spec": {"selector": primary, "ports": [{"name": "postgresql", "port": 5432}]}});
        let sets: Api<StatefulSet> = self.api();
        let there = sets.get_opt(&format!("{name}-postgresql")).await?;
        let replicas = if stop { 0 } else { i32::try_from(replicas(cluster)).unwrap() };
        match there {
            Some(set) if set.spec.as_ref().unwrap().replicas == Some(replicas) => return Ok(()),
            Some(_) => {
                let scale = json!({"spec": {"replicas": replicas}});
                return sets
                    .patch(&format!("{name}-postgresql"), &PatchParams::default(), &Patch::Merge(scale))
                    .await
                    .map(|_| ());
            }
            None => {}
        }
        services.patch(service["metadata"]["name"].as_str().unwrap(), &apply, &Patch::Apply(&service)).await?;
        sets.patch(&format!("{name}-postgresql"), &apply, &Patch::Apply(self.set(cluster, nature))).await.map(|_| ())
    }

    /// Our own StatefulSet's pod, under the operator's names and labels.
    fn set(&self, cluster: &DynamicObject, nature: Nature) -> StatefulSet {
        let name = cluster.name_any();
        let component = &cluster.data["spec"]["componentSpecs"][0];
        let mut settings = Settings::new(InstallationId(Uuid::nil()), &self.cluster.namespace);
        settings.database.image = image();
        if nature.nowhere {
            settings.database.image = "fsa.local/nothing:dev".to_owned();
            settings.image_pull_policy = "Never".to_owned();
        }
        settings.database.cpu_millis = (5, 1000);
        settings.database.memory_bytes = (32 << 20, 512 << 20);
        // Many run on few cores, so that no more is asked for; but what no node has stays so.
        if component["resources"]["requests"]["cpu"].as_str().is_some_and(|cpu| !cpu.ends_with('m')) {
            settings.database.cpu_millis = (1_000_000, 1_000_000);
        }
        let spec = DatabaseSpec {
            project: ProjectId(Uuid::nil()),
            sandbox: SandboxId(Uuid::nil()),
            slug: model::Slug::stored("operator".to_owned()),
            name: serde_json::from_value(json!(name)).unwrap(),
            installation: InstallationId(Uuid::nil()),
            role: String::new(),
            database: String::new(),
            password: "".into(),
        };
        let mut set = statefulset::stateful_set(&spec, &settings);
        let labels = Self::labels(&name);
        set.metadata.labels = Some(labels.clone());
        let inner = set.spec.as_mut().unwrap();
        inner.replicas = Some(i32::try_from(replicas(cluster)).unwrap());
        inner.selector.match_labels = Some(labels.clone());
        inner.template.metadata.as_mut().unwrap().labels = Some(labels.clone());
        let pod = inner.template.spec.as_mut().unwrap();
        pod.volumes.as_mut().unwrap()[0].secret.as_mut().unwrap().secret_name = Some(self.secret(&name));
        if let Some(account) = component["serviceAccountName"].as_str() {
            pod.service_account_name = Some(account.to_owned());
        }
        let claim = &mut inner.volume_claim_templates.as_mut().unwrap()[0];
        claim.metadata.labels = Some(labels);
        claim.spec = serde_json::from_value(component["volumeClaimTemplates"][0]["spec"].clone()).unwrap();
        set
    }

    /// Removes what it made, and then lets the Cluster go.
    async fn end(&self, cluster: &DynamicObject, nature: Nature) -> Result<(), kube::Error> {
        let name = cluster.name_any();
        let status = json!({"status": {"phase": "Deleting", "observedGeneration": cluster.metadata.generation.unwrap_or(1) - 1}});
        if cluster.data["status"]["phase"] != "Deleting" {
            self.clusters().patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        }
        if nature.wedged {
            return Ok(());
        }
        let mine =
            ListParams::default().labels(&format!("app.kubernetes.io/instance={name},app.kubernetes.io/managed-by=kubeblocks"));
        let now = DeleteParams::background().grace_period(1);
        let (sets, pods, claims): (Api<StatefulSet>, Api<Pod>, Api<PersistentVolumeClaim>) = (self.api(), self.api(), self.api());
        let (secrets, services): (Api<Secret>, Api<Service>) = (self.api(), self.api());
        if !sets.list(&mine).await?.items.is_empty() {
            sets.delete_collection(&DeleteParams::background(), &mine).await?;
            pods.delete_collection(&now, &mine).await?;
        }
        let left = pods.list(&mine).await?.items.into_iter().find(|pod| pod.meta().deletion_timestamp.is_none());
        if left.is_some() {
            pods.delete_collection(&now, &mine).await?;
        }
        if !pods.list(&mine).await?.items.is_empty() {
            return Ok(());
        }
        claims.delete_collection(&DeleteParams::background(), &mine).await?;
        secrets.delete_collection(&DeleteParams::background(), &mine).await?;
        services.delete_collection(&DeleteParams::background(), &mine).await?;
        if !claims.list(&mine).await?.items.is_empty() {
            return Ok(());
        }
        let none = json!({"metadata": {"finalizers": null}});
        match self.clusters().patch(&name, &PatchParams::default(), &Patch::Merge(none)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            done => done.map(|_| ()),
        }
    }
}
