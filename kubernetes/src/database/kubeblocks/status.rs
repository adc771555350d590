//! What a Cluster says of itself, and what that comes to. Pure.

use super::{GROUP, INSTANCE, Version};
use crate::database::{Standing, cause, objects, waits::Waits};
use engine::database::DatabaseError;
use jiff::Timestamp;
use kube::{ResourceExt as _, api::DynamicObject};
use model::{Cause, CauseCode, ResourceName};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a Cluster says of itself, of both versions.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Said {
    pub(super) spec: Asked,
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Asked {
    pub(super) termination_policy: String,
    component_specs: Vec<AskedComponent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AskedComponent {
    stop: bool,
    replicas: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: String,
    message: String,
    observed_generation: i64,
    components: BTreeMap<String, ComponentStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ComponentStatus {
    phase: String,
    message: BTreeMap<String, String>,
}

impl Said {
    pub(super) fn of(cluster: &DynamicObject) -> Self {
        serde_json::from_value(cluster.data.clone()).unwrap_or_default()
    }

    /// Whether it should not run: what an operation of KubeBlocks 0.8 leaves is 0 replicas, which stop nothing in `v1`.
    pub(super) fn stopped(&self, version: Version) -> bool {
        let none = |component: &AskedComponent| version == Version::V1alpha1 && component.replicas == Some(0);
        self.spec.component_specs.first().is_some_and(|component| component.stop || none(component))
    }

    /// The phase, if it is of what is asked now.
    fn phase(&self, generation: Option<i64>) -> Option<&str> {
        let current = generation == Some(self.status.observed_generation) && !self.status.phase.is_empty();
        current.then_some(self.status.phase.as_str())
    }

    /// Everything that the operator says, on one line.
    fn words(&self) -> Option<String> {
        let components = self.status.components.iter().flat_map(|(name, component)| {
            let messages = component.message.iter().map(|(of, message)| format!("{of}: {message}"));
            std::iter::once(format!("{name} is {}", component.phase)).filter(|_| !component.phase.is_empty()).chain(messages)
        });
        let all: Vec<String> =
            Some(self.status.message.clone()).filter(|said| !said.is_empty()).into_iter().chain(components).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Since when a Cluster is waited for to be well, as it was last changed. One that is stopped is not, unless
/// [`Waits::begin`] says so.
pub(super) fn since(waits: &Waits, cluster: &DynamicObject, version: Version, now: Timestamp) -> Timestamp {
    let (meta, said) = (&cluster.metadata, Said::of(cluster));
    if meta.deletion_timestamp.is_some() || said.phase(meta.generation) == Some("Running") {
        waits.over(&cluster.name_any());
        return now;
    }
    if said.stopped(version) { waits.since(meta).unwrap_or(now) } else { waits.begin(meta, now) }
}

/// How a Cluster is that is waited for [`since`] then. Pure.
pub(super) fn standing(name: &ResourceName, cluster: &DynamicObject, since: Timestamp, now: Timestamp) -> Standing {
    let said = Said::of(cluster);
    let waited = now.as_second() - since.as_second();
    let with = |mut cause: Cause| {
        cause.detail = said.words();
        Standing::Coming(Some(cause))
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return Standing::Coming(None);
    }
    match said.phase(cluster.metadata.generation) {
        Some("Running") => Standing::Up(cluster.uid().unwrap_or_default()),
        Some(phase @ ("Failed" | "Abnormal")) => with(cause::failed(
            format!("KubeBlocks says that `{name}`'s PostgreSQL is {phase}."),
            &[
                &format!("Look at its pods: `kubectl get pods -l {INSTANCE}={name}`, and at their log and events."),
                "It goes on by itself once they are well: this is not final.",
            ],
        )),
        phase if waited >= cause::SLOW_SECS => with(cause::slow(
            match phase {
                Some(phase) => {
                    format!(
                        "`{name}`'s PostgreSQL has not been well for over {}: KubeBlocks says that it is {phase}.",
                        cause::over(waited)
                    )
                }
                None => format!("KubeBlocks has not looked at `{name}`'s PostgreSQL since it was last changed."),
            },
            &["Wait: it goes on by itself.", "Check that KubeBlocks' operator runs, and look at its log."],
        )),
        _ => Standing::Coming(None),
    }
}

/// What holds a removal up, once it has taken too long. Pure.
pub(super) fn wedged(name: &ResourceName, cluster: &DynamicObject, now: Timestamp) -> Option<Cause> {
    let waited = objects::leaving_for(&cluster.metadata, now).filter(|secs| *secs > objects::WEDGED_SECS)?;
    let held = cluster.metadata.finalizers.clone().unwrap_or_default().join(", ");
    let words = Said::of(cluster).words().map(|words| format!("; {words}")).unwrap_or_default();
    Some(
        cause::wedged(
            format!("KubeBlocks has not removed `{name}`'s PostgreSQL for over {}.", cause::over(waited)),
            &[
                "Check that KubeBlocks' operator runs, and look at its log.",
                "If it is gone for good: remove the Cluster's volumes and pods by hand, and then its finalizers.",
            ],
        )
        .with_detail(format!("finalizers: {held}{words}")),
    )
}

/// A Cluster that somebody protected.
pub(super) fn protected(name: &ResourceName) -> DatabaseError {
    DatabaseError::Caused(Cause::new(
        CauseCode::DatabaseRefused,
        format!("Somebody protected the Cluster `{name}` from removal: its terminationPolicy is DoNotTerminate."),
        &[&format!(
            "If its data may go: `kubectl patch clusters.{GROUP} {name} --type merge -p '{{\"spec\":{{\"terminationPolicy\":\"Delete\"}}}}'`."
        )],
    ))
}

/// Whether it should run: it is neither stopped nor being removed.
pub(super) fn should_run(cluster: &DynamicObject, version: Version) -> bool {
    cluster.metadata.deletion_timestamp.is_none() && !Said::of(cluster).stopped(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(generation: i64, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster",
            "metadata": {"name": "n", "uid": "u", "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"componentSpecs": [{"name": "postgresql"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn after(secs: i64) -> Timestamp {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Timestamp::from_second(start.as_second() + secs).unwrap()
    }

    fn seen(generation: i64, status: Value, secs: i64) -> Standing {
        standing(&crate::database::tests::spec().name, &object(generation, status), after(0), after(secs))
    }

    #[test]
    fn it_is_slow_only_once_what_was_asked_last_takes_long() {
        const MONTH: i64 = 30 * 86_400;
        let (name, waits) = (crate::database::tests::spec().name, Waits::default());
        let seen = |cluster: &DynamicObject, secs: i64| {
            let now = after(MONTH + secs);
            standing(&name, cluster, since(&waits, cluster, Version::V1alpha1, now), now)
        };
        let at = |generation: i64, phase: &str, observed: i64| {
            object(generation, json!({"phase": phase, "observedGeneration": observed}))
        };
        let is_slow = |standing: Standing, words: &str| match standing {
            Standing::Coming(Some(cause)) => {
                assert!(cause.code == CauseCode::DatabaseSlow && cause.message.contains(words), "{cause:?}");
            }
            other => panic!("{other:?}"),
        };
        assert!(matches!(seen(&at(1, "Running", 1), 0), Standing::Up(_)));
        // It was changed a month after it was made.
        assert!(matches!(seen(&at(2, "Running", 1), 10), Standing::Coming(None)), "its operator has a moment to look");
        assert!(matches!(seen(&at(2, "Updating", 2), 20), Standing::Coming(None)));
        is_slow(seen(&at(2, "Updating", 2), 30), "over 20 s: KubeBlocks says that it is Updating");
        assert!(matches!(seen(&at(3, "Updating", 2), 31), Standing::Coming(None)), "it was changed again");
        is_slow(seen(&at(3, "Updating", 2), 52), "has not looked");
        // It was well meanwhile.
        assert!(matches!(seen(&at(3, "Running", 3), 60), Standing::Up(_)));
        assert!(matches!(seen(&at(3, "Updating", 3), 90), Standing::Coming(None)));

        // One that is stopped is waited for once it was asked to start.
        let mut stopped = at(4, "Stopped", 4);
        stopped.data["spec"]["componentSpecs"][0]["stop"] = json!(true);
        for secs in [100, 200] {
            assert!(matches!(seen(&stopped, secs), Standing::Coming(None)));
        }
        waits.begin(&stopped.metadata, after(MONTH + 200));
        assert!(matches!(seen(&stopped, 210), Standing::Coming(None)));
        is_slow(seen(&stopped, 220), "is Stopped");
    }

    #[test]
    fn one_that_is_stopped_or_being_removed_wants_no_pod() {
        let running = object(1, json!({}));
        assert!(should_run(&running, Version::V1) && should_run(&running, Version::V1alpha1));
        let mut removed = running.clone();
        removed.metadata.deletion_timestamp = running.creation_timestamp();
        assert!(!should_run(&removed, Version::V1));
        let of = |component: Value| {
            let mut cluster = running.clone();
            cluster.data["spec"]["componentSpecs"] = json!([component]);
            [Version::V1, Version::V1alpha1].map(|version| should_run(&cluster, version))
        };
        assert_eq!(of(json!({"name": "postgresql", "replicas": 1, "stop": true})), [false, false]);
        assert_eq!(of(json!({"name": "postgresql", "replicas": 0})), [true, false]);
    }

    #[test]
    fn a_phase_counts_only_where_the_generation_is_current() {
        let running = |observed: i64| json!({"phase": "Running", "observedGeneration": observed});
        assert!(matches!(seen(2, running(2), 1), Standing::Up(run) if run == "u"));
        assert!(matches!(seen(2, running(1), 1), Standing::Coming(None)));
        assert!(matches!(seen(1, json!({}), 1), Standing::Coming(None)));
    }

    #[test]
    fn what_the_operator_says_is_passed_on() {
        let components = json!({"postgresql": {"phase": "Failed", "message": {"Pod/n-postgresql-0": "back-off"}}});
        let failed = json!({"phase": "Failed", "observedGeneration": 1, "message": "not well", "components": components});
        let Standing::Coming(Some(cause)) = seen(1, failed, 1) else { panic!("no cause") };
        assert_eq!(cause.code, CauseCode::DatabaseFailed);
        assert_eq!(cause.detail.as_deref(), Some("not well; postgresql is Failed; Pod/n-postgresql-0: back-off"));
        let Standing::Coming(Some(cause)) = seen(1, json!({}), 61) else { panic!("no cause") };
        assert_eq!(cause.code, CauseCode::DatabaseSlow);
        assert!(cause.message.contains("has not looked"), "{cause:?}");
    }

    #[test]
    fn a_removal_is_wedged_after_a_while() {
        let mut leaving = object(2, json!({"phase": "Deleting", "observedGeneration": 1}));
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(after(0)));
        leaving.metadata.finalizers = Some(vec!["cluster.kubeblocks.io/finalizer".to_owned()]);
        let name = crate::database::tests::spec().name;
        assert_eq!(wedged(&name, &leaving, after(30)), None);
        let cause = wedged(&name, &leaving, after(70)).unwrap();
        assert_eq!(cause.code, CauseCode::DeletionOverdue);
        assert!(cause.detail.unwrap().contains("cluster.kubeblocks.io/finalizer"));
        assert!(matches!(standing(&name, &leaving, after(0), after(30)), Standing::Coming(None)));
    }
}
