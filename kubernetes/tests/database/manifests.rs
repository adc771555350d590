//! The manifests: what they are (snapshots), and that each is accepted. No cluster but for the last.

use super::{
    definitions::{self, Served},
    left_out::passed_over,
    support::{self, World},
};
use engine::database::DatabaseSpec;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
};
use kubernetes::{
    Settings,
    database::{
        kubeblocks::{self, Version},
        operation::{self, Operation},
        statefulset,
    },
};
use model::{InstallationId, ProjectId, SandboxId};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Debug};
use uuid::Uuid;

fn spec() -> DatabaseSpec {
    let id = Uuid::from_u128(7);
    let (slug, name) = engine::database::contract::names(id);
    DatabaseSpec {
        project: ProjectId(id),
        sandbox: SandboxId(id),
        slug,
        name,
        installation: InstallationId(Uuid::from_u128(1)),
        role: "p_7".to_owned(),
        database: "d_7".to_owned(),
        password: "secret".into(),
    }
}

fn settings() -> Settings {
    let mut settings = Settings::new(InstallationId(Uuid::from_u128(1)), "fsa");
    settings.control_plane_labels = BTreeMap::from([("app".to_owned(), "fullstack-agent".to_owned())]);
    settings.database.replicas = 2;
    settings.database.storage_class = Some("openebs-backup".to_owned());
    settings
}

fn yaml(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

macro_rules! snapshot {
    ($name:literal, $object:expr) => {
        insta::assert_snapshot!($name, serde_json::to_string_pretty(&yaml(&$object)).unwrap())
    };
}

#[test]
fn a_stateful_set_is_what_it_is() {
    let (spec, settings) = (spec(), settings());
    snapshot!("statefulset", statefulset::stateful_set(&spec, &settings));
    snapshot!("secret", statefulset::secret(&spec, &settings, &"password".into()));
    snapshot!("service", statefulset::service(&spec, &settings));
    snapshot!("network_policy", statefulset::network_policy(&spec, &settings));
}

#[test]
fn a_cluster_of_kubeblocks_is_what_it_is() {
    let (spec, settings) = (spec(), settings());
    snapshot!("cluster_v1", kubeblocks::manifests::cluster(&spec, &settings, Version::V1));
    snapshot!("cluster_v1alpha1", kubeblocks::manifests::cluster(&spec, &settings, Version::V1alpha1));
    let object = kubeblocks::manifests::cluster(&spec, &settings, Version::V1alpha1);
    snapshot!("stop_v1alpha1", operation::ops_request(&spec, &settings, &object, Operation::Stop));
    snapshot!("cluster_network_policy", kubeblocks::manifests::network_policy(&spec, &settings));
    snapshot!("cluster_role", kubeblocks::manifests::role(&spec, &settings));
    snapshot!("cluster_role_binding", kubeblocks::manifests::role_binding(&spec, &settings));
}

#[test]
fn a_role_never_has_a_star() {
    let role = yaml(&kubeblocks::manifests::role(&spec(), &settings())).to_string();
    assert!(!role.contains('*') && !role.contains("secrets") && !role.contains("delete"), "{role}");
}

#[test]
fn a_cluster_has_only_published_fields() {
    let of = |served: Served, version: Version| {
        let cluster = yaml(&kubeblocks::manifests::cluster(&spec(), &settings(), version));
        let all = [Some(definitions::ours(served)), definitions::published(served)];
        for definition in all.into_iter().flatten() {
            let schema = definitions::schema(&definition, version.as_str());
            assert_eq!(definitions::complaints(schema, &cluster), Vec::<String>::new());
        }
        cluster
    };
    let v1 = of(Served::V1, Version::V1);
    let v1alpha1 = of(Served::V1alpha1, Version::V1alpha1);
    // And the check would find it.
    let definition = definitions::definition(Served::V1).unwrap();
    assert!(!definitions::complaints(definitions::schema(&definition, "v1"), &v1alpha1).is_empty());
    let mut without = v1;
    without["spec"].as_object_mut().unwrap().remove("terminationPolicy");
    let found = definitions::complaints(definitions::schema(&definition, "v1"), &without);
    assert_eq!(found, ["spec.terminationPolicy is required"]);
}

/// A Cluster as the apiserver has it: with an id, by which its operations go with it.
fn made() -> DynamicObject {
    let mut object = kubeblocks::manifests::cluster(&spec(), &settings(), Version::V1alpha1);
    object.metadata.uid = Some("0190a000-0000-7000-8000-000000000007".to_owned());
    object
}

#[test]
fn an_operation_has_only_published_fields_of_their_types() {
    let (spec, settings) = (spec(), settings());
    for (operation, kind, verb) in [(Operation::Stop, "Stop", "stop"), (Operation::Start, "Start", "start")] {
        let request = yaml(&operation::ops_request(&spec, &settings, &made(), operation));
        assert_eq!(
            (request["apiVersion"].as_str(), request["kind"].as_str()),
            (Some("apps.kubeblocks.io/v1alpha1"), Some("OpsRequest"))
        );
        assert_eq!(request["spec"]["type"], kind);
        assert_eq!(request["metadata"]["name"], format!("{}-{verb}", spec.name));
        assert_eq!(request["metadata"]["labels"]["fullstackagent.io/installation"], spec.installation.0.to_string());
        let owner = &request["metadata"]["ownerReferences"][0];
        assert_eq!((owner["kind"].as_str(), owner["name"].as_str()), (Some("Cluster"), Some(spec.name.as_str())));
        assert_eq!(owner["uid"], "0190a000-0000-7000-8000-000000000007");
        for definition in [Some(definitions::our_operations()), definitions::published_operations()].into_iter().flatten() {
            let schema = definitions::schema(&definition, "v1alpha1");
            let found = |change: &dyn Fn(&mut Value)| {
                let mut request = request.clone();
                change(&mut request["spec"]);
                definitions::complaints(schema, &request)
            };
            assert_eq!(found(&|_| {}), Vec::<String>::new());
            // And the check would find it.
            assert_eq!(found(&|spec| spec["clusterReference"] = "n".into()), ["spec.clusterReference is unknown"]);
            assert_eq!(found(&|spec| spec["type"] = "Pause".into()), ["spec.type may not be \"Pause\""]);
            assert_eq!(
                found(&|spec| spec["ttlSecondsAfterSucceed"] = "60".into()),
                ["spec.ttlSecondsAfterSucceed is no integer"]
            );
            let without = found(&|spec| {
                spec.as_object_mut().unwrap().remove("type");
            });
            assert_eq!(without, ["spec.type is required"]);
        }
    }
}

#[test]
fn our_definitions_have_only_published_fields() {
    fn within(ours: &Value, published: &Value, at: &str) {
        for (name, field) in ours["properties"].as_object().into_iter().flatten() {
            let there = published["properties"].get(name);
            within(field, there.unwrap_or_else(|| panic!("{at}.{name} is not published")), &format!("{at}.{name}"));
        }
        if ours.get("items").is_some() {
            within(&ours["items"], &published["items"], at);
        }
    }
    for (served, version) in [(Served::V1, "v1"), (Served::V1, "v1alpha1"), (Served::V1alpha1, "v1alpha1")] {
        let Some(published) = definitions::published(served) else {
            passed_over("FSA_KUBEBLOCKS_SCHEMAS names no folder of published definitions");
            return;
        };
        let ours = definitions::ours(served);
        within(definitions::schema(&ours, version), definitions::schema(&published, version), version);
    }
    let (ours, published) = (definitions::our_operations(), definitions::published_operations().unwrap());
    within(definitions::schema(&ours, "v1alpha1"), definitions::schema(&published, "v1alpha1"), "OpsRequest");
}

/// Applies without keeping, with every unknown field an error, where Pod Security `restricted` is enforced.
async fn accepted<K>(api: Api<K>, object: &K)
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let strict = PatchParams::apply("test").force().dry_run().validation_strict();
    if let Err(error) = api.patch(&object.name_any(), &strict, &Patch::Apply(object)).await {
        panic!("{}: {error}", object.name_any());
    }
}

async fn all_accepted(served: Served, version: Option<Version>) {
    let Some(world) = World::start(served).await else { return };
    let settings = Settings { namespace: world.cluster.namespace.clone(), ..settings() };
    let spec = spec();
    let (client, namespace) = (world.cluster.client.clone(), world.cluster.namespace.as_str());
    match version {
        None => {
            let set = statefulset::stateful_set(&spec, &settings);
            accepted(Api::namespaced(client.clone(), namespace), &set).await;
            accepted(Api::namespaced(client.clone(), namespace), &statefulset::secret(&spec, &settings, &"p".into())).await;
            accepted(Api::namespaced(client.clone(), namespace), &statefulset::service(&spec, &settings)).await;
            accepted(Api::namespaced(client.clone(), namespace), &statefulset::network_policy(&spec, &settings)).await;
            // A StatefulSet is never refused for its pods: they are.
            let template = set.spec.unwrap().template;
            let mut pod = k8s_openapi::api::core::v1::Pod {
                metadata: template.metadata.unwrap(),
                spec: template.spec,
                ..Default::default()
            };
            pod.metadata.name = Some("pod".to_owned());
            let data = k8s_openapi::api::core::v1::Volume {
                name: "data".to_owned(),
                empty_dir: Some(Default::default()),
                ..Default::default()
            };
            pod.spec.as_mut().unwrap().volumes.as_mut().unwrap().push(data);
            accepted(Api::namespaced(client.clone(), namespace), &pod).await;
        }
        Some(version) => {
            let clusters = Api::namespaced_with(client.clone(), namespace, &support::resource(version));
            accepted(clusters, &kubeblocks::manifests::cluster(&spec, &settings, version)).await;
            if version == Version::V1alpha1 {
                let requests = Api::namespaced_with(client.clone(), namespace, &operation::resource());
                for operation in [Operation::Stop, Operation::Start] {
                    accepted(requests.clone(), &operation::ops_request(&spec, &settings, &made(), operation)).await;
                }
            }
            accepted(Api::namespaced(client.clone(), namespace), &kubeblocks::manifests::network_policy(&spec, &settings)).await;
            accepted(Api::namespaced(client.clone(), namespace), &kubeblocks::manifests::service_account(&spec, &settings)).await;
            accepted(Api::namespaced(client.clone(), namespace), &kubeblocks::manifests::role(&spec, &settings)).await;
            accepted(Api::namespaced(client.clone(), namespace), &kubeblocks::manifests::role_binding(&spec, &settings)).await;
        }
    }
}

#[tokio::test]
async fn a_real_apiserver_accepts_all_of_a_stateful_set() {
    all_accepted(Served::Nothing, None).await;
}

#[tokio::test]
async fn a_real_apiserver_accepts_all_of_v1() {
    all_accepted(Served::V1, Some(Version::V1)).await;
}

#[tokio::test]
async fn a_real_apiserver_accepts_all_of_v1alpha1() {
    all_accepted(Served::V1alpha1, Some(Version::V1alpha1)).await;
}
