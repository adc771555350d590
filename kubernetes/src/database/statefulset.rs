//! A project's PostgreSQL as a plain StatefulSet of one pod.
//!
//! ```text
//!   Secret (the superuser's password, made once) ─┐
//!   Service NAME-postgresql ───────────────────── StatefulSet ─▶ pod
//!   NetworkPolicy (5432 from the project alone) ──┤
//!   PersistentVolumeClaim data-NAME-postgresql-0 ─┘
//! ```
//! The claim is made as the StatefulSet would make it of its template: the cluster would give the pod whatever has its name,
//! also what is somebody else's.
//!
//! What exists is not rolled: another image may not read the data of the one before, and a volume's claim
//! cannot be changed. What somebody changed by hand of what its pod is made by is put back. The volume outlives the StatefulSet if that is deleted by hand, and is found again by
//! its successor; only [`Servers::unmake`] removes it.

use super::{
    Admin, Servers, Standing, cause, clients, hidden,
    objects::{self, Claimed, claim, is_of, mend},
    owner,
    waits::Waits,
    watched::{Changed, Watched},
};
use crate::{
    Cluster, FIELD_MANAGER, Settings,
    labels::{self, Component},
    manifests::{
        drift, mark,
        quantity::{bytes, cpu},
    },
    names::{self, POSTGRES_PORT},
};
use engine::{
    database::{DatabaseError, DatabaseSpec},
    orchestrator::Removed,
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::{StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec},
        core::v1::{
            Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, Event, LocalObjectReference,
            PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            ResourceRequirements, SeccompProfile, Secret, SecretVolumeSource, SecurityContext, Service, ServicePort, ServiceSpec,
            TCPSocketAction, Volume, VolumeMount, VolumeResourceRequirements,
        },
        networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use model::{InstallationId, ProjectId, ResourceName};
use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::try_join;
use tracing::{info, warn};

/// The superuser.
const SUPERUSER: &str = "postgres";
/// The key of its password in the Secret.
const PASSWORD_KEY: &str = "password";
/// The name of the container, the volume's claim template, the probe's port.
const CONTAINER: &str = names::POSTGRES_CONTAINER;
const DATA: &str = "data";
/// Where the volume is mounted. Not where the official image declares a volume of its own, which is
/// elsewhere since 18 and makes it refuse to start beside one at the old place.
const MOUNT: &str = "/var/lib/postgresql-data";
/// The uid of the official image's user `postgres` (of Debian; PostgreSQL refuses to run as root).
const UID: i64 = 999;
/// How long PostgreSQL may take to write its last checkpoint.
const GRACE_SECS: i64 = 30;

fn labels_of(installation: InstallationId, project: ProjectId) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::INSTALLATION.to_owned(), installation.0.to_string()),
        (labels::PROJECT.to_owned(), project.0.to_string()),
        (labels::COMPONENT.to_owned(), Component::Database.as_str().to_owned()),
    ])
}

fn meta(spec: &DatabaseSpec, settings: &Settings) -> ObjectMeta {
    owner(spec).meta(Component::Database, &settings.namespace, names::postgres(&spec.name))
}

/// The superuser's password. Immutable: it is set when the volume is made, and never after.
#[must_use]
pub fn secret(spec: &DatabaseSpec, settings: &Settings, password: &SecretString) -> Secret {
    let data = BTreeMap::from([(PASSWORD_KEY.to_owned(), ByteString(password.expose_secret().as_bytes().to_vec()))]);
    Secret {
        metadata: meta(spec, settings),
        data: Some(data),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The address that the project's sandboxes know.
#[must_use]
pub fn service(spec: &DatabaseSpec, settings: &Settings) -> Service {
    let port = ServicePort {
        name: Some(CONTAINER.to_owned()),
        port: i32::from(POSTGRES_PORT),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(POSTGRES_PORT))),
        ..ServicePort::default()
    };
    Service {
        metadata: meta(spec, settings),
        spec: Some(ServiceSpec {
            ports: Some(vec![port]),
            // Nodes take up to a second to let connections through: they do while PostgreSQL still makes its files. One pod
            // is behind it, which refuses them until it is ready.
            publish_not_ready_addresses: Some(true),
            selector: Some(labels_of(spec.installation, spec.project)),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// PostgreSQL's port from the project's sandboxes and the control plane, and nothing else in or out.
#[must_use]
pub fn network_policy(spec: &DatabaseSpec, settings: &Settings) -> NetworkPolicy {
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(POSTGRES_PORT))),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicy {
        metadata: meta(spec, settings),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(labels_of(spec.installation, spec.project)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { from: Some(clients(spec, settings)), ports: Some(vec![port]) }]),
            egress: None,
        }),
    }
}

/// One PostgreSQL, as any image runs it that takes the official one's variables.
#[must_use]
pub fn stateful_set(spec: &DatabaseSpec, settings: &Settings) -> StatefulSet {
    let ours = owner(spec).labels(Component::Database);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(ours.clone()), ..ObjectMeta::default() }),
        spec: Some(pod(spec, settings)),
    };
    StatefulSet {
        metadata: ObjectMeta { annotations: Some(mark(Some(&template))), ..meta(spec, settings) },
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(names::postgres(&spec.name)),
            selector: LabelSelector {
                match_labels: Some(labels_of(spec.installation, spec.project)),
                ..LabelSelector::default()
            },
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            template,
            volume_claim_templates: Some(vec![PersistentVolumeClaim {
                metadata: ObjectMeta { name: Some(DATA.to_owned()), labels: Some(ours), ..ObjectMeta::default() },
                ..claim_template(settings)
            }]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// What is on it: what the StatefulSet would make of its template.
#[must_use]
pub fn volume(spec: &DatabaseSpec, settings: &Settings) -> PersistentVolumeClaim {
    let metadata = owner(spec).meta(Component::Database, &settings.namespace, volume_claim(&spec.name));
    PersistentVolumeClaim { metadata, ..claim_template(settings) }
}

/// Without its name and labels.
fn claim_template(settings: &Settings) -> PersistentVolumeClaim {
    let size = BTreeMap::from([("storage".to_owned(), bytes(settings.database.disk_bytes))]);
    PersistentVolumeClaim {
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements { requests: Some(size), ..VolumeResourceRequirements::default() }),
            storage_class_name: settings.database.storage_class.clone().or_else(|| settings.storage_class.clone()),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn pod(spec: &DatabaseSpec, settings: &Settings) -> PodSpec {
    let scratch = |name: &str, medium: Option<&str>| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: medium.map(str::to_owned), size_limit: None }),
        ..Volume::default()
    };
    let password = Volume {
        name: "superuser".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::postgres(&spec.name)),
            // 0440: fsGroup gives the group to the pod.
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let secrets = settings.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: Some(secrets.collect()).filter(|secrets: &Vec<_>| !secrets.is_empty()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(UID),
            run_as_group: Some(UID),
            fs_group: Some(UID),
            // Changing the owner of every file at each start takes minutes on a big volume.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(GRACE_SECS),
        containers: vec![container(settings)],
        volumes: Some(vec![password, scratch("run", None), scratch("tmp", None), scratch("shm", Some("Memory"))]),
        ..PodSpec::default()
    }
}

fn container(settings: &Settings) -> Container {
    let database = &settings.database;
    let variable = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only).filter(|read_only| *read_only),
        ..VolumeMount::default()
    };
    let amounts =
        |millis: u32, memory: u64| BTreeMap::from([("cpu".to_owned(), cpu(millis)), ("memory".to_owned(), bytes(memory))]);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(database.image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        env: Some(vec![
            // A subfolder: a volume's root may belong to root and hold `lost+found`, which initdb refuses.
            variable("PGDATA", format!("{MOUNT}/pgdata")),
            variable("POSTGRES_PASSWORD_FILE", format!("/run/superuser/{PASSWORD_KEY}")),
            variable("POSTGRES_USER", SUPERUSER.to_owned()),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some(CONTAINER.to_owned()),
            container_port: i32::from(POSTGRES_PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        // By TCP: while the official image makes its files, its server listens on its socket alone.
        readiness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::String(CONTAINER.to_owned()), ..TCPSocketAction::default() }),
            period_seconds: Some(1),
            ..Probe::default()
        }),
        resources: Some(ResourceRequirements {
            requests: Some(amounts(database.cpu_millis.0, database.memory_bytes.0)),
            limits: Some(amounts(database.cpu_millis.1, database.memory_bytes.1)),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            mount(DATA, MOUNT, false),
            mount("superuser", "/run/superuser", true),
            mount("run", "/var/run/postgresql", false),
            mount("tmp", "/tmp", false),
            // A runtime gives 64 MiB; parallel queries want more. It counts against the memory limit.
            mount("shm", "/dev/shm", false),
        ]),
        ..Container::default()
    }
}

/// What the StatefulSet calls the claim of its pod.
#[must_use]
pub fn volume_claim(name: &ResourceName) -> String {
    format!("{DATA}-{}-0", names::postgres(name))
}

/// Makes them, and knows which there are.
pub struct StatefulSets {
    settings: Settings,
    sets: Api<StatefulSet>,
    pods: Api<Pod>,
    services: Api<Service>,
    policies: Api<NetworkPolicy>,
    secrets: Api<Secret>,
    claims: Api<PersistentVolumeClaim>,
    seen: Seen,
    /// By uid, those that the cluster itself makes otherwise than they are asked for.
    otherwise: Mutex<HashSet<String>>,
    /// Since when each set is without the pod that it should have.
    missing: Waits,
}

struct Seen {
    sets: Watched<StatefulSet>,
    pods: Watched<Pod>,
    services: Watched<Service>,
    policies: Arc<Watched<NetworkPolicy>>,
    claims: Watched<PersistentVolumeClaim>,
}

impl StatefulSets {
    /// Watches from now on. `seen_policies`: this installation's databases', whoever makes those.
    #[must_use]
    pub fn new(cluster: &Cluster, settings: &Settings, changed: &Changed, seen_policies: &Arc<Watched<NetworkPolicy>>) -> Self {
        let (client, namespace) = (&cluster.client, cluster.namespace.as_str());
        let settings = Settings { namespace: namespace.to_owned(), ..settings.clone() };
        let selector = hidden::of_databases(settings.installation);
        let sets = Api::namespaced(client.clone(), namespace);
        let pods = Api::namespaced(client.clone(), namespace);
        let services = Api::namespaced(client.clone(), namespace);
        let policies = Api::namespaced(client.clone(), namespace);
        let claims = Api::namespaced(client.clone(), namespace);
        let seen = Seen {
            sets: Watched::start(sets.clone(), (), "StatefulSets", &selector, changed),
            pods: Watched::start(pods.clone(), (), "Pods", &selector, changed),
            services: Watched::start(services.clone(), (), "Services", &selector, changed),
            policies: Arc::clone(seen_policies),
            claims: Watched::start(claims.clone(), (), "PersistentVolumeClaims", &selector, changed),
        };
        Self {
            settings,
            sets,
            pods,
            services,
            policies,
            secrets: Api::namespaced(client.clone(), namespace),
            claims,
            seen,
            otherwise: Mutex::default(),
            missing: Waits::default(),
        }
    }

    fn set(&self, spec: &DatabaseSpec) -> Option<Arc<StatefulSet>> {
        self.seen.sets.named(&names::postgres(&spec.name)).filter(|set| is_of(&set.metadata, spec))
    }

    fn volume(&self, spec: &DatabaseSpec) -> Option<Arc<PersistentVolumeClaim>> {
        self.seen.claims.named(&volume_claim(&spec.name)).filter(|claim| is_of(&claim.metadata, spec))
    }

    /// Whether its way in is there as it should be.
    fn network(&self, spec: &DatabaseSpec) -> bool {
        let name = names::postgres(&spec.name);
        let there = self.seen.services.named(&name);
        let policy = self.seen.policies.named(&name);
        there.is_some_and(|there| objects::holds(&*there, &service(spec, &self.settings)))
            && policy.is_some_and(|there| objects::holds(&*there, &network_policy(spec, &self.settings)))
    }

    /// Something of it is on its way out.
    fn leaving(&self, spec: &DatabaseSpec) -> bool {
        let leaving = |meta: &ObjectMeta| is_of(meta, spec) && meta.deletion_timestamp.is_some();
        self.seen.sets.any(leaving) || self.seen.pods.any(leaving) || self.seen.claims.any(leaving)
    }

    /// Any of the project's, of what is watched.
    fn any(&self, spec: &DatabaseSpec) -> bool {
        let of = |meta: &ObjectMeta| is_of(meta, spec);
        let seen = &self.seen;
        // Services and policies are KubeBlocks' way in as well.
        seen.sets.any(of) || seen.pods.any(of) || seen.claims.any(of)
    }

    /// The same, asked of the cluster itself.
    async fn any_left(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError> {
        let (sets, pods, claims) = try_join!(
            objects::any_left(&self.sets, spec, "StatefulSet"),
            objects::any_left(&self.pods, spec, "pods"),
            objects::any_left(&self.claims, spec, "volume"),
        )?;
        Ok(sets || pods || claims)
    }
}

#[async_trait::async_trait]
impl Servers for StatefulSets {
    async fn ready(&self) -> Result<(), DatabaseError> {
        let seen = &self.seen;
        try_join!(seen.sets.ready(), seen.pods.ready(), seen.services.ready(), seen.policies.ready(), seen.claims.ready())
            .map(|_| ())
    }

    async fn make(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError> {
        let settings = &self.settings;
        let whole = self.set(spec).filter(|set| set.metadata.deletion_timestamp.is_none());
        if let Some(set) = &whole
            && self.network(spec)
        {
            return self.keep(spec, set).await;
        }
        let password = SecretString::from(Alphanumeric.sample_string(&mut rand::rng(), 40));
        let (secret, service, policy) =
            (secret(spec, settings, &password), service(spec, settings), network_policy(spec, settings));
        // Each to its end, also where one is refused: what is sent and not heard of would be there after it was removed.
        let (secret, service, policy, volume) = tokio::join!(
            claim(&self.secrets, &secret, spec, "Secret"),
            mend(&self.services, &service, spec, "Service"),
            mend(&self.policies, &policy, spec, "NetworkPolicy"),
            self.claim_volume(spec),
        );
        service.and(policy)?;
        let (secret, volume) = (secret?, volume?);
        // One that runs uses its volume until it ends, also where somebody deletes that.
        if matches!(secret, Claimed::Leaving) || (!volume && whole.is_none()) {
            return Ok(false);
        }
        match claim(&self.sets, &stateful_set(spec, settings), spec, "StatefulSet").await? {
            Claimed::Made(_) => Ok(true),
            Claimed::Ours(set) => self.keep(spec, &set).await,
            Claimed::Leaving => Ok(false),
        }
    }

    fn standing(&self, spec: &DatabaseSpec) -> Standing {
        let Some(set) = self.set(spec) else {
            self.missing.over(&names::postgres(&spec.name));
            return if self.any(spec) { Standing::Coming(None) } else { Standing::Absent };
        };
        let pod = newest(self.seen.pods.all(|meta| is_of(meta, spec)));
        if pod.is_some() {
            self.missing.over(&set.name_any());
        }
        let ready = pod.as_ref().filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod));
        if let Some(pod) = ready
            && set.metadata.deletion_timestamp.is_none()
            && self.network(spec)
        {
            return Standing::Up(pod.uid().unwrap_or_default());
        }
        // Nothing is wrong with it: its way in is put right.
        if ready.is_some() && set.metadata.deletion_timestamp.is_none() {
            return Standing::Coming(None);
        }
        Standing::Coming(self.cause(spec, &set, &[]))
    }

    fn explain(&self, spec: &DatabaseSpec, events: &[Arc<Event>]) -> Option<model::Cause> {
        let set = self.set(spec)?;
        self.cause(spec, &set, events)
    }

    fn heeds_events(&self, spec: &DatabaseSpec) -> bool {
        self.set(spec).is_some() && cause::heeds_events(newest(self.seen.pods.all(|meta| is_of(meta, spec))).as_deref())
    }

    async fn admin(&self, spec: &DatabaseSpec) -> Result<Option<Admin>, DatabaseError> {
        let Some(pod) = newest(self.seen.pods.all(|meta| is_of(meta, spec))) else { return Ok(None) };
        let name = names::postgres(&spec.name);
        let secret =
            self.secrets.get_opt(&name).await.map_err(|error| objects::refused(&error, &format!("read the Secret `{name}`")))?;
        let Some(password) = secret.and_then(|secret| secret.data?.remove(PASSWORD_KEY)) else { return Ok(None) };
        let password = SecretString::from(String::from_utf8_lossy(&password.0).into_owned());
        Ok(Some(Admin { pod, user: SUPERUSER.to_owned(), password }))
    }

    async fn left(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError> {
        // Policies are of whoever makes databases now as well, who removes them all.
        let (data, services, secrets) = try_join!(
            self.any_left(spec),
            objects::any_left(&self.services, spec, "Service"),
            objects::any_left(&self.secrets, spec, "Secret"),
        )?;
        Ok(data || services || secrets)
    }

    async fn unmake(&self, spec: &DatabaseSpec, first: bool) -> Result<Removed, DatabaseError> {
        self.missing.over(&names::postgres(&spec.name));
        // Its data goes with it: it need not write a last checkpoint.
        let now = DeleteParams::background().grace_period(1);
        let after = DeleteParams::background();
        if first || !self.leaving(spec) {
            objects::remove_all(&self.sets, spec, &after, "StatefulSet").await?;
            try_join!(
                objects::remove_all(&self.pods, spec, &now, "pods"),
                objects::remove_all(&self.policies, spec, &after, "NetworkPolicy"),
                objects::remove_all(&self.services, spec, &after, "Service"),
                objects::remove_all(&self.claims, spec, &after, "volume"),
            )?;
        }
        if self.any(spec) {
            return self.wedged(spec).map_or(Ok(Removed::Going), |cause| Err(DatabaseError::Caused(cause)));
        }
        objects::remove_all(&self.secrets, spec, &after, "Secret").await?;
        // What was made just now is not in the watches yet.
        Ok(if self.any_left(spec).await? { Removed::Going } else { Removed::Gone })
    }

    async fn stop(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        match self.set(spec).filter(|set| replicas(set) > 0) {
            Some(set) => self.scale(&set, 0).await,
            None => Ok(()),
        }
    }

    fn on(&self, spec: &DatabaseSpec) -> bool {
        self.set(spec).is_some_and(|set| wants_a_pod(&set))
    }

    fn ending(&self, spec: &DatabaseSpec) -> bool {
        !self.on(spec) && self.seen.pods.any(|meta| is_of(meta, spec))
    }

    fn whole(&self, spec: &DatabaseSpec) -> bool {
        self.on(spec)
            && self.network(spec)
            && self.set(spec).is_some_and(|set| !self.changed_by_hand(&set, spec))
            && !self.stuck(spec)
    }

    fn there(&self, spec: &DatabaseSpec) -> bool {
        let stays = |meta: &ObjectMeta| meta.deletion_timestamp.is_none();
        self.set(spec).is_some_and(|set| stays(&set.metadata)) && self.volume(spec).is_some_and(|claim| stays(&claim.metadata))
    }

    fn edited(&self, spec: &DatabaseSpec) -> bool {
        let name = names::postgres(&spec.name);
        let (services, policies) = (self.seen.services.named(&name), self.seen.policies.named(&name));
        let set = self.set(spec).filter(|set| set.metadata.deletion_timestamp.is_none());
        set.is_some_and(|set| {
            self.changed_by_hand(&set, spec)
                || objects::touched(services.as_deref(), &service(spec, &self.settings))
                || objects::touched(policies.as_deref(), &network_policy(spec, &self.settings))
        })
    }

    fn stuck(&self, spec: &DatabaseSpec) -> bool {
        self.set(spec).is_some_and(|set| self.stuck_pod(&set, spec).is_some())
    }

    fn stops(&self) -> bool {
        true
    }

    fn holds(&self, spec: &DatabaseSpec) -> bool {
        self.any(spec)
    }

    fn objects(&self, name: &ResourceName) -> Vec<String> {
        vec![names::postgres(name), format!("{}-0", names::postgres(name)), volume_claim(name)]
    }

    fn service(&self, name: &ResourceName) -> String {
        names::postgres(name)
    }

    fn projects(&self) -> Vec<ProjectId> {
        let sets = self.seen.sets.all(|_| true);
        let claims = self.seen.claims.all(|_| true);
        let all = sets.iter().map(|set| &set.metadata).chain(claims.iter().map(|claim| &claim.metadata));
        all.filter_map(labels::project).collect()
    }
}

impl StatefulSets {
    /// What stands in its way.
    fn cause(&self, spec: &DatabaseSpec, set: &StatefulSet, events: &[Arc<Event>]) -> Option<model::Cause> {
        let pod = newest(self.seen.pods.all(|meta| is_of(meta, spec)));
        let volume = self.volume(spec);
        let (pod, volume, now) = (pod.as_deref(), volume.as_deref(), Timestamp::now());
        let since = match pod {
            Some(pod) => cause::since(pod),
            None => wants_a_pod(set).then(|| self.missing.begin(&set.metadata, now)),
        };
        cause::cause(&cause::Facts { name: &spec.name, pod, volume, events, since, now })
    }

    /// One that is there is put right where somebody changed it, and started where it was stopped.
    async fn keep(&self, spec: &DatabaseSpec, set: &StatefulSet) -> Result<bool, DatabaseError> {
        if self.changed_by_hand(set, spec) {
            self.put_back(spec, set).await?;
        }
        if let Some(pod) = self.stuck_pod(set, spec) {
            objects::remove_this(&self.pods, &pod.metadata, "pod").await?;
        }
        self.start(spec, set).await
    }

    /// Whether somebody changed what its pod is made by. What other settings or a newer program would make otherwise is
    /// no change by hand.
    fn changed_by_hand(&self, set: &StatefulSet, spec: &DatabaseSpec) -> bool {
        let wanted = stateful_set(spec, &self.settings);
        let marked = |set: &StatefulSet| set.metadata.annotations.as_ref().and_then(|all| all.get(labels::MANIFEST).cloned());
        marked(set) == marked(&wanted)
            && !drift::holds(&template(set), &template(&wanted))
            && !self.otherwise().contains(&set.uid().unwrap_or_default())
    }

    async fn put_back(&self, spec: &DatabaseSpec, set: &StatefulSet) -> Result<(), DatabaseError> {
        let (name, wanted) = (set.name_any(), stateful_set(spec, &self.settings));
        info!(name = %spec.name, "the database's StatefulSet was changed by somebody else, and is mended");
        // A merge replaces lists whole, also what somebody added to them.
        let change = serde_json::json!({"metadata": {"uid": set.uid()}, "spec": {"template": template(&wanted)}});
        let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let now = self.sets.patch(&name, &by, &Patch::Merge(&change)).await;
        let now = now.map_err(|error| objects::refused(&error, &format!("mend the StatefulSet `{name}`")))?;
        if !drift::holds(&template(&now), &template(&wanted)) {
            // An admission of the cluster's has its way, and would have it again.
            warn!(name = %spec.name, "the cluster makes the database's StatefulSet otherwise than it is asked for");
            self.otherwise().insert(set.uid().unwrap_or_default());
        }
        Ok(())
    }

    /// A pod that is not well and is of another template than the present: the cluster waits for it to be well before it
    /// replaces it.
    fn stuck_pod(&self, set: &StatefulSet, spec: &DatabaseSpec) -> Option<Arc<Pod>> {
        let status = set.status.as_ref().filter(|status| status.observed_generation == set.metadata.generation)?;
        let current = status.update_revision.as_ref()?;
        let pod = newest(self.seen.pods.all(|meta| is_of(meta, spec)))?;
        let other = pod.labels().get("controller-revision-hash").is_some_and(|revision| revision != current);
        (other && pod.metadata.deletion_timestamp.is_none() && !is_ready(&pod)).then_some(pod)
    }

    fn otherwise(&self) -> MutexGuard<'_, HashSet<String>> {
        self.otherwise.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes its volume where none of that name is. `false`: it is being removed.
    async fn claim_volume(&self, spec: &DatabaseSpec) -> Result<bool, DatabaseError> {
        if let Some(known) = self.volume(spec) {
            return Ok(known.metadata.deletion_timestamp.is_none());
        }
        let made = claim(&self.claims, &volume(spec, &self.settings), spec, "PersistentVolumeClaim").await?;
        Ok(!matches!(made, Claimed::Leaving))
    }

    /// One that was stopped is started.
    async fn start(&self, spec: &DatabaseSpec, set: &StatefulSet) -> Result<bool, DatabaseError> {
        if replicas(set) == 0 {
            if !self.claim_volume(spec).await? {
                return Ok(false);
            }
            self.scale(set, 1).await?;
        }
        Ok(true)
    }

    async fn scale(&self, set: &StatefulSet, replicas: i32) -> Result<(), DatabaseError> {
        let name = set.name_any();
        // Of the one that was looked at: another of its name is a conflict.
        let change = serde_json::json!({"metadata": {"uid": set.uid()}, "spec": {"replicas": replicas}});
        let done = self.sets.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await;
        done.map(|_| ()).map_err(|error| objects::refused(&error, &format!("scale the StatefulSet `{name}`")))
    }

    /// What holds a removal up, once it has taken too long.
    fn wedged(&self, spec: &DatabaseSpec) -> Option<model::Cause> {
        let late =
            |meta: &ObjectMeta| objects::leaving_for(meta, Timestamp::now()).is_some_and(|secs| secs > objects::WEDGED_SECS);
        if self.seen.pods.any(|meta| is_of(meta, spec) && late(meta)) {
            return Some(cause::wedged(
                format!("The pod of `{}`'s PostgreSQL does not end.", spec.name),
                &[
                    "Check that its node is up: a pod of a dead node goes when the node comes back, or is removed from the cluster.",
                    "It is tried again by itself.",
                ],
            ));
        }
        let claim = self.seen.claims.all(|meta| is_of(meta, spec) && late(meta)).into_iter().next()?;
        let held = claim.metadata.finalizers.clone().unwrap_or_default().join(", ");
        Some(
            cause::wedged(
                format!("The volume of `{}`'s PostgreSQL is not removed: something holds it.", spec.name),
                &["Remove whatever pod uses the PersistentVolumeClaim.", "Check that the provisioner of its storage class runs."],
            )
            .with_detail(format!("PersistentVolumeClaim {}, finalizers: {held}", claim.name_any())),
        )
    }
}

fn template(set: &StatefulSet) -> Option<&PodTemplateSpec> {
    set.spec.as_ref().map(|spec| &spec.template)
}

/// Whether it should run: it is neither stopped nor being removed.
pub(crate) fn wants_a_pod(set: &StatefulSet) -> bool {
    set.metadata.deletion_timestamp.is_none() && replicas(set) > 0
}

fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn newest(mut pods: Vec<Arc<Pod>>) -> Option<Arc<Pod>> {
    pods.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
    pods.pop()
}

/// Whether a pod's containers say that they are ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}
