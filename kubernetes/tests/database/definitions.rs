//! KubeBlocks' CustomResourceDefinition, as far as we use it: the published fields, and no others.

use serde_json::{Value, json};
use std::path::PathBuf;

/// Which definition the cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// None.
    Nothing,
    /// As 1.0 has it: both versions, `v1` stored.
    V1,
    /// As 0.9 has it: `v1alpha1` alone.
    V1alpha1,
}

/// All that are ever installed.
pub const NAMES: [&str; 2] = ["clusters.apps.kubeblocks.io", "opsrequests.apps.kubeblocks.io"];

/// The published definition of Clusters, where the folder of them is there.
pub fn published(served: Served) -> Option<Value> {
    published_as(served, "clusters")
}

/// The published definition of 0.9's OpsRequests, where the folder is there.
pub fn published_operations() -> Option<Value> {
    published_as(Served::V1alpha1, "opsrequests")
}

/// The folder of published definitions: the one that is named, else the one beside the checkout.
fn schemas() -> Option<PathBuf> {
    let named = std::env::var_os("FSA_KUBEBLOCKS_SCHEMAS").filter(|folder| !folder.is_empty());
    let beside = || Some(PathBuf::from("../../shared/kubeblocks")).filter(|folder| folder.is_dir());
    named.map(PathBuf::from).or_else(beside)
}

fn published_as(served: Served, kinds: &str) -> Option<Value> {
    let folder = schemas()?;
    let version = match served {
        Served::Nothing => return None,
        Served::V1 => "v1.0.2",
        Served::V1alpha1 => "v0.9.5",
    };
    let text = std::fs::read_to_string(folder.join(version).join(format!("apps.kubeblocks.io_{kinds}.json"))).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

/// What is installed of Clusters.
pub fn definition(served: Served) -> Option<Value> {
    match served {
        Served::Nothing => None,
        _ => Some(published(served).unwrap_or_else(|| ours(served))),
    }
}

/// On each definition that tests install: one without it is the cluster's own, which nobody here may take away.
pub const OURS: &str = "fullstackagent.io/test";

/// What is installed; 1.0's OpsRequests are of another group, and nothing of ours makes any.
pub fn installed(served: Served) -> Vec<Value> {
    let operations = (served == Served::V1alpha1).then(|| published_operations().unwrap_or_else(our_operations));
    let mut all: Vec<Value> = definition(served).into_iter().chain(operations).collect();
    for definition in &mut all {
        definition["metadata"]["labels"][OURS] = json!("definitions");
    }
    all
}

/// With the fields that we use of the published ones.
pub fn our_operations() -> Value {
    let text = || json!({"type": "string"});
    let seconds = || json!({"type": "integer", "format": "int32"});
    let spec = json!({"type": "object", "required": ["type"], "properties": {
        "type": {"type": "string", "enum": ["Start", "Stop"]},
        "clusterName": text(),
        "clusterRef": text(),
        "preConditionDeadlineSeconds": seconds(),
        "ttlSecondsAfterSucceed": seconds(),
        "ttlSecondsAfterUnsuccessfulCompletion": seconds(),
    }});
    let condition = json!({"type": "object", "properties": {
        "type": text(), "status": text(), "reason": text(), "message": text(), "lastTransitionTime": {"type": "string", "format": "date-time"},
    }});
    let status = json!({"type": "object", "properties": {
        "phase": {"type": "string", "enum": ["Pending", "Creating", "Running", "Cancelling", "Cancelled", "Aborted", "Failed", "Succeed"]},
        "conditions": {"type": "array", "items": condition},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAMES[1]},
        "spec": {
            "group": "apps.kubeblocks.io",
            "scope": "Namespaced",
            "names": {"kind": "OpsRequest", "listKind": "OpsRequestList", "plural": "opsrequests", "singular": "opsrequest"},
            "versions": [served_version("v1alpha1", true, &spec, &status)],
        },
    })
}

fn served_version(name: &str, storage: bool, spec: &Value, status: &Value) -> Value {
    json!({
        "name": name,
        "served": true,
        "storage": storage,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": spec, "status": status,
        }}},
    })
}

/// With the fields that we use of the published ones.
pub fn ours(served: Served) -> Value {
    let versions = match served {
        Served::V1 => json!([version("v1", true), version("v1alpha1", false)]),
        _ => json!([version("v1alpha1", true)]),
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAMES[0]},
        "spec": {
            "group": "apps.kubeblocks.io",
            "scope": "Namespaced",
            "names": {"kind": "Cluster", "listKind": "ClusterList", "plural": "clusters", "singular": "cluster"},
            "versions": versions,
        },
    })
}

fn version(name: &str, storage: bool) -> Value {
    let text = || json!({"type": "string"});
    let amounts = || json!({"type": "object", "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}});
    let resources = || json!({"type": "object", "properties": {"limits": amounts(), "requests": amounts()}});
    let claim = json!({"type": "object", "required": ["name"], "properties": {
        "name": text(),
        "spec": {"type": "object", "properties": {
            "accessModes": {"type": "array", "items": text()},
            "resources": resources(),
            "storageClassName": text(),
            "volumeMode": text(),
        }},
    }});
    let mut component = json!({"type": "object", "required": ["replicas"], "properties": {
        "name": {"type": "string", "maxLength": 22, "pattern": "^[a-z]([a-z0-9\\-]*[a-z0-9])?$"},
        "replicas": {"type": "integer", "format": "int32", "default": 1, "minimum": 0},
        "resources": resources(),
        "serviceAccountName": text(),
        "serviceVersion": text(),
        "stop": {"type": "boolean"},
        "volumeClaimTemplates": {"type": "array", "items": claim},
    }});
    let policy = json!({"type": "string", "enum": ["DoNotTerminate", "Delete", "WipeOut"]});
    let mut spec = json!({"type": "object", "required": ["terminationPolicy"], "properties": {"terminationPolicy": policy}});
    let mut status = json!({"type": "object", "properties": {
        "phase": {"type": "string", "enum": ["Creating", "Running", "Updating", "Stopping", "Stopped", "Deleting", "Failed", "Abnormal"]},
        "message": text(),
        "observedGeneration": {"type": "integer", "format": "int64"},
        "components": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "phase": text(),
            "message": {"type": "object", "additionalProperties": {"type": "string"}},
        }}},
    }});
    if name == "v1" {
        spec["properties"]["clusterDef"] = text();
        spec["properties"]["topology"] = text();
        spec["x-kubernetes-validations"] =
            json!([{"message": "topology is required once set", "rule": "!has(oldSelf.topology) || has(self.topology)"}]);
        component["properties"]["podUpdatePolicy"] = json!({"type": "string", "default": "PreferInPlace"});
        status["properties"]["components"]["additionalProperties"]["properties"]["observedGeneration"] =
            json!({"type": "integer", "format": "int64"});
    } else {
        spec["properties"]["clusterDefinitionRef"] = text();
        spec["properties"]["clusterVersionRef"] = text();
        component["properties"]["componentDefRef"] = text();
        component["properties"]["switchPolicy"] =
            json!({"type": "object", "properties": {"type": {"type": "string", "enum": ["Noop"], "default": "Noop"}}});
    }
    spec["properties"]["componentSpecs"] = json!({"type": "array", "maxItems": 128, "minItems": 1, "items": component});
    served_version(name, storage, &spec, &status)
}

/// Whether a value is of the type that a schema names.
fn is_typed(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
}

/// Every path of `object` that `schema` does not have, or has of another type, or has and misses, as
/// `fieldValidation=Strict` finds them.
pub fn complaints(schema: &Value, object: &Value) -> Vec<String> {
    fn look(schema: &Value, object: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(kind) = schema["type"].as_str()
            && !is_typed(kind, object)
        {
            found.push(format!("{at} is no {kind}"));
            return;
        }
        match object {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = format!("{at}.{name}");
                    match (schema["properties"].get(name), schema.get("additionalProperties")) {
                        (Some(schema), _) | (None, Some(schema)) => look(schema, value, &path, found),
                        (None, None) if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
                        (None, None) => found.push(format!("{path} is unknown")),
                    }
                }
                for required in schema["required"].as_array().into_iter().flatten() {
                    if !fields.contains_key(required.as_str().unwrap()) {
                        found.push(format!("{at}.{} is required", required.as_str().unwrap()));
                    }
                }
            }
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    look(&schema["items"], item, &format!("{at}[{n}]"), found);
                }
            }
            value => {
                if let Some(allowed) = schema["enum"].as_array()
                    && !allowed.contains(value)
                {
                    found.push(format!("{at} may not be {value}"));
                }
            }
        }
    }
    let mut found = Vec::new();
    look(&schema["properties"]["spec"], &object["spec"], "spec", &mut found);
    if object.get("status").is_some() {
        look(&schema["properties"]["status"], &object["status"], "status", &mut found);
    }
    found
}

/// The schema of a version in a definition.
pub fn schema<'a>(definition: &'a Value, version: &str) -> &'a Value {
    let versions = definition["spec"]["versions"].as_array().unwrap();
    &versions.iter().find(|served| served["name"] == version).unwrap()["schema"]["openAPIV3Schema"]
}
