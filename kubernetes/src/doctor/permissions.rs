//! Every permission that is used, and what for: the doctor asks for each, the Helm chart's Role and the
//! documentation have the same.

use super::{Finding, Verdict};
use crate::{
    Cluster, causes,
    database::{hidden, kubeblocks},
    settings::DatabaseProvider,
    settings::Settings,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, api::PostParams};

/// When a permission is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Always: nothing works without it.
    Always,
    /// Where sandboxes have host names of their own.
    Ingress,
    /// Where databases are StatefulSets.
    StatefulSet,
    /// Where KubeBlocks makes databases.
    KubeBlocks,
    /// Where KubeBlocks of before 1.0 makes databases.
    KubeBlocksAlpha,
    /// Never: checks and causes are more exact with it.
    Helpful,
}

/// Verbs on a resource.
#[derive(Debug, Clone, Copy)]
pub struct Permission {
    /// The API group; the core one is empty.
    pub group: &'static str,
    /// The resource, with its subresource: `pods/log`.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// Whether it is of the namespace, or of the whole cluster.
    pub namespaced: bool,
    /// When it is needed.
    pub need: Need,
    /// What for.
    pub why: &'static str,
}

const fn of(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    need: Need,
    why: &'static str,
) -> Permission {
    Permission { group, resource, verbs, namespaced: true, need, why }
}

/// What the name of a check begins with, before the right.
const CHECK: &str = "permission ";
const PORT_FORWARD: &str = "pods/portforward";
const WATCH: &[&str] = &["get", "list", "watch"];
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete", "deletecollection"];
/// Of what goes one by one.
const SINGLE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
/// With `update`, which puts a list right that somebody added to.
const WHOLE: &[&str] = &["get", "list", "watch", "create", "patch", "update", "delete", "deletecollection"];
const WHOLE_SINGLE: &[&str] = &["get", "list", "watch", "create", "patch", "update", "delete"];
/// Of what never changes.
const FIXED: &[&str] = &["get", "list", "watch", "create", "delete", "deletecollection"];
/// Of what is not watched.
const GRANTS: &[&str] = &["get", "list", "create", "patch", "delete", "deletecollection"];
const SHARED: &[&str] = &["create", "get", "list", "patch", "update", "watch"];

/// The table.
pub const PERMISSIONS: &[Permission] = &[
    of("apps", "deployments", WHOLE_SINGLE, Need::Always, "each sandbox is a Deployment"),
    of("", "services", WHOLE, Need::Always, "each sandbox has a Service"),
    of("", "secrets", FIXED, Need::Always, "each sandbox's environment and agent's token are Secrets"),
    of("", "persistentvolumeclaims", FIXED, Need::Always, "each project's home folder is a volume"),
    of("", "serviceaccounts", SINGLE, Need::Always, "each sandbox runs as an account of its own, without a token"),
    of("networking.k8s.io", "networkpolicies", WHOLE, Need::Always, "each sandbox is kept from the others"),
    of(
        "",
        "pods",
        &["get", "list", "watch", "delete", "deletecollection"],
        Need::Always,
        "what runs, and why it does not, is seen on pods",
    ),
    of("", "pods/log", &["get"], Need::Always, "logs are shown, and the last lines of a crash"),
    of(
        "",
        PORT_FORWARD,
        &["get", "create"],
        Need::Always,
        "sandboxes are reached from outside the cluster, and from inside an agent whose pod has no address yet",
    ),
    of("", "events", &["list", "watch"], Need::Always, "causes are read from events"),
    of("networking.k8s.io", "ingresses", WHOLE_SINGLE, Need::Ingress, "sandboxes have host names of their own"),
    of("apps", "statefulsets", OWN, Need::StatefulSet, "each project's database is a StatefulSet"),
    of("apps.kubeblocks.io", "clusters", SINGLE, Need::KubeBlocks, "each project's database is a KubeBlocks Cluster"),
    of(
        "apps.kubeblocks.io",
        "opsrequests",
        &["get", "create", "delete"],
        Need::KubeBlocksAlpha,
        "databases are stopped and started by OpsRequests",
    ),
    of("rbac.authorization.k8s.io", "roles", GRANTS, Need::KubeBlocksAlpha, "databases of KubeBlocks before 1.0 want a Role"),
    of(
        "rbac.authorization.k8s.io",
        "rolebindings",
        GRANTS,
        Need::KubeBlocksAlpha,
        "databases of KubeBlocks before 1.0 want a RoleBinding",
    ),
    of("", "serviceaccounts", &["deletecollection"], Need::KubeBlocksAlpha, "databases of KubeBlocks before 1.0 have an account"),
    // The rights of those Roles: nobody may give what they have not themselves.
    of("", "configmaps", SHARED, Need::KubeBlocksAlpha, "databases of KubeBlocks before 1.0 keep their state there"),
    of("", "endpoints", SHARED, Need::KubeBlocksAlpha, "databases of KubeBlocks before 1.0 keep their state there"),
    of("", "events", &["create"], Need::KubeBlocksAlpha, "databases of KubeBlocks before 1.0 tell of their changes"),
    of("", "pods", &["patch", "update"], Need::KubeBlocksAlpha, "databases of KubeBlocks before 1.0 mark their primary"),
    of("", "pods", &["create"], Need::Helpful, "the doctor starts probe pods"),
    Permission {
        group: "storage.k8s.io",
        resource: "storageclasses",
        verbs: &["list"],
        namespaced: false,
        need: Need::Helpful,
        why: "the doctor looks for the storage class",
    },
    Permission {
        group: "networking.k8s.io",
        resource: "ingressclasses",
        verbs: WATCH,
        namespaced: false,
        need: Need::Helpful,
        why: "an Ingress class that is missing is told of",
    },
    Permission {
        group: "",
        resource: "nodes",
        verbs: WATCH,
        namespaced: false,
        need: Need::Helpful,
        why: "a lost node is told of at once, and how much is free where no node has room",
    },
];

/// What makes databases here, as far as permissions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Databases {
    /// StatefulSets.
    StatefulSet,
    /// KubeBlocks, v1.
    KubeBlocks,
    /// KubeBlocks, v1alpha1.
    KubeBlocksAlpha,
    /// A given server: nothing is made on the cluster.
    Given,
}

impl Databases {
    /// From the setting, and the versions of KubeBlocks' API that are served.
    #[must_use]
    pub fn of(provider: DatabaseProvider, served: &[String]) -> Self {
        let has = |version: &str| served.iter().any(|served| served == version);
        match provider {
            DatabaseProvider::StatefulSet => Self::StatefulSet,
            DatabaseProvider::Server => Self::Given,
            DatabaseProvider::Auto | DatabaseProvider::KubeBlocks if has("v1") => Self::KubeBlocks,
            DatabaseProvider::Auto if !has("v1alpha1") => Self::StatefulSet,
            DatabaseProvider::Auto | DatabaseProvider::KubeBlocks => Self::KubeBlocksAlpha,
        }
    }
}

/// Whether it is needed, with these settings.
#[must_use]
pub fn is_needed(need: Need, settings: &Settings, databases: Databases) -> bool {
    match need {
        Need::Always => true,
        Need::Ingress => settings.ingress.is_some(),
        Need::StatefulSet => databases == Databases::StatefulSet,
        Need::KubeBlocks => matches!(databases, Databases::KubeBlocks | Databases::KubeBlocksAlpha),
        Need::KubeBlocksAlpha => databases == Databases::KubeBlocksAlpha,
        Need::Helpful => false,
    }
}

/// The Role of one namespace that has what these settings need: the rules of the Helm chart.
#[must_use]
pub fn rules(settings: &Settings, databases: Databases) -> Vec<k8s_openapi::api::rbac::v1::PolicyRule> {
    PERMISSIONS
        .iter()
        .filter(|permission| permission.namespaced && is_needed(permission.need, settings, databases))
        .map(|permission| k8s_openapi::api::rbac::v1::PolicyRule {
            api_groups: Some(vec![permission.group.to_owned()]),
            resources: Some(vec![permission.resource.to_owned()]),
            verbs: permission.verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            ..Default::default()
        })
        .collect()
}

/// Asks the cluster for each permission, by SelfSubjectAccessReview, some at a time.
pub async fn check(cluster: &Cluster, settings: &Settings, databases: Databases) -> Vec<Finding> {
    let relevant = PERMISSIONS
        .iter()
        .filter(|permission| permission.need == Need::Helpful || is_needed(permission.need, settings, databases));
    stream::iter(relevant).map(|permission| one(cluster, permission)).buffered(8).collect().await
}

/// A finding of [`check`] as it is where the control plane runs in the cluster, and reaches pods by their addresses: without
/// port-forwards a start is told of up to a second later, and all else works.
#[must_use]
pub fn from_inside(finding: Finding) -> Finding {
    let forwards = finding.check.strip_prefix(CHECK) == Some(PORT_FORWARD);
    if forwards && finding.verdict == Verdict::Fail { Finding { verdict: Verdict::Warn, ..finding } } else { finding }
}

/// Databases that other settings have made, and that the account may not see any more: for these settings alone it
/// need not.
pub async fn hidden(cluster: &Cluster, settings: &Settings, databases: Databases) -> Vec<Finding> {
    // An error is told of where KubeBlocks is looked for.
    let cluster_kind = async || kubeblocks::discover(cluster).await.ok().flatten().map(hidden::Kind::Cluster);
    let others: Vec<hidden::Kind> = match databases {
        Databases::StatefulSet => cluster_kind().await.into_iter().collect(),
        Databases::KubeBlocks | Databases::KubeBlocksAlpha => vec![hidden::Kind::StatefulSet],
        Databases::Given => cluster_kind().await.into_iter().chain([hidden::Kind::StatefulSet]).collect(),
    };
    stream::iter(others).filter_map(|kind| unseen(cluster, settings, kind)).collect().await
}

async fn unseen(cluster: &Cluster, settings: &Settings, kind: hidden::Kind) -> Option<Finding> {
    let (name, why) = (kind.right(), "They hold what projects have stored.");
    let check = format!("{CHECK}{name}");
    let traces = async {
        if kind.may_be_seen(cluster).await? {
            return Ok(0);
        }
        kind.traces(cluster, &hidden::of_databases(settings.installation)).await.map(|projects| projects.len())
    };
    match traces.await {
        Ok(0) => None,
        Ok(count) => Some(Finding::new(
            &check,
            Verdict::Fail,
            format!(
                "{count} of this installation's databases are objects of the kind {}, which the account may not see: they would be made anew, empty, and are not.",
                kind.resource().kind
            ),
            why,
            &[
                &format!(
                    "Give the account get, list, watch, create, patch, delete and deletecollection on {name}, and restart the server."
                ),
                "With the chart: `databases.provider` as it was.",
            ],
        )),
        Err(error) => {
            Some(Finding::of_cause(&check, Verdict::Fail, &causes::of_error(&error, &format!("look for objects of {name}")), why))
        }
    }
}

async fn one(cluster: &Cluster, permission: &Permission) -> Finding {
    let asked: Vec<_> = stream::iter(permission.verbs)
        .map(|verb| async move { (*verb, may(cluster, permission, verb).await) })
        .buffered(3)
        .collect()
        .await;
    let name = if permission.group.is_empty() {
        permission.resource.to_owned()
    } else {
        format!("{}.{}", permission.resource, permission.group)
    };
    let check = format!("{CHECK}{name}");
    let why = format!("Needed because {}.", permission.why);
    if let Some(cause) = asked.iter().find_map(|(_, answer)| answer.as_ref().err()) {
        return Finding::of_cause(&check, Verdict::Fail, cause, &why);
    }
    let missing: Vec<&str> = asked.iter().filter(|(_, answer)| matches!(answer, Ok(false))).map(|(verb, _)| *verb).collect();
    if missing.is_empty() {
        return Finding::ok(&check, format!("The account may {} {name}.", permission.verbs.join(", ")), &why);
    }
    let (kind, scope) = if permission.namespaced {
        ("role", format!("--namespace {}", cluster.namespace))
    } else {
        ("clusterrole", String::new())
    };
    let verdict = if permission.need == Need::Helpful { Verdict::Warn } else { Verdict::Fail };
    let mend = format!(
        "Add it to the {kind}: `kubectl create {kind} fullstack-agent-{} --verb={} --resource={name} {scope}`, and bind it to the account.",
        permission.resource.replace('/', "-"),
        missing.join(","),
    );
    Finding::new(
        &check,
        verdict,
        format!("The account may not {} {name}.", missing.join(", ")),
        &why,
        &[&mend.replace(" `,", "`,")],
    )
}

async fn may(cluster: &Cluster, permission: &Permission, verb: &str) -> Result<bool, model::Cause> {
    let (resource, subresource) = match permission.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (permission.resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(permission.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
                namespace: permission.namespaced.then(|| cluster.namespace.clone()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::<SelfSubjectAccessReview>::all(cluster.client.clone()).create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| causes::of_error(&error, "ask what this account may do"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_the_cluster_only_a_start_needs_port_forwards() {
        let finding = |check: &str, verdict| Finding::new(check, verdict, "It may not.", "Why.", &["Give it."]);
        let verdict = |check: &str, verdict| from_inside(finding(check, verdict)).verdict;
        assert_eq!(verdict("permission pods/portforward", Verdict::Fail), Verdict::Warn);
        assert_eq!(verdict("permission pods/portforward", Verdict::Ok), Verdict::Ok);
        assert_eq!(verdict("permission pods/log", Verdict::Fail), Verdict::Fail);
    }
}
