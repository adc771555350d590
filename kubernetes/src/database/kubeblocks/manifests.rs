//! What is made for a Cluster, and the Cluster itself. Pure.

use super::{GROUP, Version, labels_of};
use crate::{
    Settings,
    database::{clients, owner, pods},
    labels::Component,
    manifests::quantity::{bytes, cpu},
    names::{self, POSTGRES_PORT},
};
use engine::database::DatabaseSpec;
use k8s_openapi::{
    api::{
        core::v1::ServiceAccount,
        networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec},
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};
use kube::api::DynamicObject;
use model::ResourceName;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The operator acts only on what names the version it was written for; it would add it by itself, and raise
/// the generation with that.
const API_VERSION: &str = "kubeblocks.io/crd-api-version";
/// The name of the component, in its definition and in ours.
const COMPONENT: &str = "postgresql";
/// Its connection pool's port, open beside PostgreSQL's own.
const POOL_PORT: u16 = 6432;

/// The Cluster.
#[must_use]
pub fn cluster(spec: &DatabaseSpec, settings: &Settings, version: Version) -> DynamicObject {
    let database = &settings.database;
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": bytes(database.disk_bytes)}},
    });
    if let Some(class) = database.storage_class.as_ref().or(settings.storage_class.as_ref()) {
        claim["storageClassName"] = json!(class);
    }
    let mut component = json!({
        "name": COMPONENT,
        "replicas": database.replicas,
        "resources": {
            "requests": {"cpu": cpu(database.cpu_millis.0), "memory": bytes(database.memory_bytes.0)},
            "limits": {"cpu": cpu(database.cpu_millis.1), "memory": bytes(database.memory_bytes.1)},
        },
        "volumeClaimTemplates": [{"name": "data", "spec": claim}],
    });
    let mut asked = json!({"terminationPolicy": "Delete"});
    match version {
        Version::V1 => {
            component["serviceVersion"] = json!(database.version);
            asked["clusterDef"] = json!(COMPONENT);
            asked["topology"] = json!("replication");
        }
        Version::V1alpha1 => {
            component["componentDefRef"] = json!(COMPONENT);
            component["serviceAccountName"] = json!(account_name(&spec.name));
            component["switchPolicy"] = json!({"type": "Noop"});
            asked["clusterDefinitionRef"] = json!(COMPONENT);
            asked["clusterVersionRef"] = json!(format!("{COMPONENT}-{}", database.version));
        }
    }
    asked["componentSpecs"] = json!([component]);
    let mut object = DynamicObject::new(spec.name.as_str(), &version.resource()).data(json!({"spec": asked}));
    object.metadata = owner(spec).meta(Component::Database, &settings.namespace, spec.name.as_str());
    object.metadata.annotations = Some(BTreeMap::from([(API_VERSION.to_owned(), format!("{GROUP}/{}", version.as_str()))]));
    object
}

/// The pods of a project's Cluster.
fn peer(name: &ResourceName) -> NetworkPolicyPeer {
    pods(labels_of(name))
}

/// PostgreSQL's ports from the project's sandboxes, the control plane and each other; the rest from each other
/// and from other namespaces, where the operator is: it asks its agents in the pods. Ways out are the
/// operator's matter: its pods keep their state in the cluster's API.
#[must_use]
pub fn network_policy(spec: &DatabaseSpec, settings: &Settings) -> NetworkPolicy {
    let range = |from: u16, to: u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(from))),
        end_port: Some(i32::from(to)).filter(|_| to != from),
        protocol: Some("TCP".to_owned()),
    };
    let (low, high) = (POSTGRES_PORT, POOL_PORT);
    let elsewhere = LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(vec![settings.namespace.clone()]),
        }]),
        ..LabelSelector::default()
    };
    let ingress = vec![
        NetworkPolicyIngressRule { from: Some(clients(spec, settings)), ports: Some(vec![range(low, low), range(high, high)]) },
        NetworkPolicyIngressRule { from: Some(vec![peer(&spec.name)]), ports: None },
        NetworkPolicyIngressRule {
            from: Some(vec![NetworkPolicyPeer { namespace_selector: Some(elsewhere), ..NetworkPolicyPeer::default() }]),
            ports: Some(vec![range(1, low - 1), range(low + 1, high - 1), range(high + 1, u16::MAX)]),
        },
    ];
    NetworkPolicy {
        metadata: owner(spec).meta(Component::Database, &settings.namespace, names::postgres(&spec.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(labels_of(&spec.name)), ..LabelSelector::default() }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress),
            egress: None,
        }),
    }
}

fn account_name(name: &ResourceName) -> String {
    names::postgres(name)
}

/// The account of a `v1alpha1` Cluster's pods.
#[must_use]
pub fn service_account(spec: &DatabaseSpec, settings: &Settings) -> ServiceAccount {
    ServiceAccount {
        metadata: owner(spec).meta(Component::Database, &settings.namespace, account_name(&spec.name)),
        ..ServiceAccount::default()
    }
}

/// What that account may: what Patroni and the operator's probe need to choose a primary and to say so, and of
/// the namespace's pods none but its own to be written. (The first system gave `*` on `*`.)
#[must_use]
pub fn role(spec: &DatabaseSpec, settings: &Settings) -> Role {
    let rule = |groups: &str, resources: &[&str], verbs: &[&str], names: Vec<String>| PolicyRule {
        api_groups: Some(vec![groups.to_owned()]),
        resources: Some(resources.iter().map(|resource| (*resource).to_owned()).collect()),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        resource_names: Some(names).filter(|names| !names.is_empty()),
        ..PolicyRule::default()
    };
    let own_pods = (0..settings.database.replicas).map(|n| format!("{}-{n}", names::postgres(&spec.name))).collect();
    Role {
        metadata: owner(spec).meta(Component::Database, &settings.namespace, account_name(&spec.name)),
        rules: Some(vec![
            rule("", &["events"], &["create"], Vec::new()),
            // Patroni's state: their names end in the Cluster's uid, which is not known yet.
            rule("", &["configmaps", "endpoints"], &["create", "get", "list", "patch", "update", "watch"], Vec::new()),
            rule("", &["pods"], &["get", "list", "watch"], Vec::new()),
            rule("", &["pods"], &["patch", "update"], own_pods),
            rule(GROUP, &["clusters"], &["get"], vec![spec.name.to_string()]),
        ]),
    }
}

/// That the account may it.
#[must_use]
pub fn role_binding(spec: &DatabaseSpec, settings: &Settings) -> RoleBinding {
    let name = account_name(&spec.name);
    RoleBinding {
        metadata: owner(spec).meta(Component::Database, &settings.namespace, name.clone()),
        role_ref: RoleRef { api_group: "rbac.authorization.k8s.io".to_owned(), kind: "Role".to_owned(), name: name.clone() },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(settings.namespace.clone()),
            ..Subject::default()
        }]),
    }
}

/// The one path of a Cluster of `v1` that stops and starts it; 0 replicas do not count as stopped. The uid is tested, so that no
/// other Cluster of its name is meant, and the name, so that no other component is.
#[must_use]
pub fn stop_patch(uid: Option<&str>, stop: bool) -> Value {
    let path = "/spec/componentSpecs/0/stop";
    let this = json!({"op": "test", "path": "/metadata/uid", "value": uid});
    let same = json!({"op": "test", "path": "/spec/componentSpecs/0/name", "value": COMPONENT});
    match stop {
        true => json!([this, same, {"op": "add", "path": path, "value": true}]),
        false => json!([this, same, {"op": "remove", "path": path}]),
    }
}
