//! What nobody may read in a manifest: the environment, and the agent's token.

use super::owner;
use crate::{
    FIELD_MANAGER, Settings,
    labels::{Component, TOKEN_MARK},
    names,
};
use engine::orchestrator::SandboxSpec;
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta},
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The key of the token in its Secret, and the variable that the agent reads it from.
pub const TOKEN_KEY: &str = "FSA_AGENT_TOKEN";

/// The environment of one run. Immutable: a run never sees another's, and kubelets need not watch it.
#[must_use]
pub fn environment(spec: &SandboxSpec, settings: &Settings) -> Secret {
    let name = names::env_secret(&spec.name, spec.env_revision, spec.restart_count);
    let bytes = |value: &SecretString| ByteString(value.expose_secret().as_bytes().to_vec());
    Secret {
        metadata: owner(spec).meta(Component::Sandbox, &settings.namespace, name),
        data: Some(spec.env.iter().map(|(key, value)| (key.clone(), bytes(value))).collect()),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The token. Immutable as well: a pod that starts with another than the stored one answers nobody.
#[must_use]
pub fn agent(spec: &SandboxSpec, settings: &Settings) -> Secret {
    let mut metadata = owner(spec).meta(Component::Sandbox, &settings.namespace, names::agent_secret(&spec.name));
    metadata.annotations = Some(BTreeMap::from([(TOKEN_MARK.to_owned(), token_mark(&spec.agent_token))]));
    Secret {
        metadata,
        data: Some(BTreeMap::from([(TOKEN_KEY.to_owned(), ByteString(spec.agent_token.expose_secret().as_bytes().to_vec()))])),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// Tells one token from another, where only metadata is watched: some bits of its hash. Tokens are random
/// and long, so that nothing can be learnt from it.
#[must_use]
pub fn token_mark(token: &SecretString) -> String {
    hex::encode(&Sha256::digest(token.expose_secret().as_bytes())[..8])
}

/// Where the fields of an object say who set that it is immutable, and its data.
const IMMUTABLE: &str = "f:immutable";
const DATA: &str = "f:data";

/// Whether a Secret was made by us and cannot have been changed since: we alone set that it is immutable when it is made, and
/// whoever makes it anew by hand sets it then.
#[must_use]
pub fn is_sealed(meta: &ObjectMeta) -> bool {
    writes(meta).any(|(ours, fields)| ours && fields.get(IMMUTABLE).is_some())
}

/// Whether nobody else wrote what is in a Secret. Its content is not watched: what is told by is who set which field.
///
/// A token's of an earlier version is not immutable: such a one is as made until somebody writes to it, and is made anew when
/// its sandbox's objects are next compared, which starts nothing again.
#[must_use]
pub fn is_as_made(meta: &ObjectMeta) -> bool {
    let keys = |fields: &serde_json::Value| {
        fields.get(DATA).and_then(serde_json::Value::as_object).is_some_and(|data| data.keys().any(|key| key != "."))
    };
    is_sealed(meta)
        || writes(meta).any(|(ours, fields)| ours && keys(fields))
            && writes(meta).all(|(ours, fields)| ours || fields.get(DATA).is_none() && fields.get(IMMUTABLE).is_none())
}

/// Keeps, of who set what, only that which the two above read.
pub fn trim(meta: &mut ObjectMeta) {
    let sealed = is_sealed(meta);
    let kept = |write: ManagedFieldsEntry| {
        let all = write.fields_v1?.0;
        let of = |name: &str| Some((name.to_owned(), all.get(name)?.clone()));
        let fields: serde_json::Map<_, _> =
            if sealed { of(IMMUTABLE).into_iter().collect() } else { [of(IMMUTABLE), of(DATA)].into_iter().flatten().collect() };
        let fields_v1 = (!fields.is_empty()).then(|| FieldsV1(fields.into()))?;
        Some(ManagedFieldsEntry { manager: write.manager, fields_v1: Some(fields_v1), ..ManagedFieldsEntry::default() })
    };
    meta.managed_fields = meta.managed_fields.take().map(|writes| writes.into_iter().filter_map(kept).collect());
}

/// What was written, each time by us or by somebody else.
fn writes(meta: &ObjectMeta) -> impl Iterator<Item = (bool, &serde_json::Value)> {
    let writes = meta.managed_fields.iter().flatten();
    writes.filter_map(|write| Some((write.manager.as_deref() == Some(FIELD_MANAGER), &write.fields_v1.as_ref()?.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const OURS: &str = FIELD_MANAGER;

    fn written(writes: &[(&str, Value)]) -> ObjectMeta {
        let writes: Vec<_> = writes.iter().map(|(manager, fields)| json!({"manager": manager, "fieldsV1": fields})).collect();
        serde_json::from_value(json!({"name": "a", "managedFields": writes})).unwrap()
    }

    #[test]
    fn who_wrote_a_secret_is_told_by_its_metadata_alone() {
        let token = || json!({"f:data": {".": {}, "f:FSA_AGENT_TOKEN": {}}, "f:type": {}});
        let sealed = || json!({"f:data": {".": {}, "f:FSA_AGENT_TOKEN": {}}, "f:immutable": {}, "f:type": {}});
        let label = || json!({"f:metadata": {"f:labels": {"f:mine": {}}}});
        for (what, meta, is) in [
            ("as it is made", written(&[(OURS, sealed())]), (true, true)),
            ("with a label of theirs", written(&[("kubectl-label", label()), (OURS, sealed())]), (true, true)),
            ("as it was made before", written(&[(OURS, token())]), (false, true)),
            ("that with a label of theirs", written(&[(OURS, token()), ("kubectl-label", label())]), (false, true)),
            ("edited", written(&[(OURS, json!({"f:type": {}})), ("kubectl-edit", token())]), (false, false)),
            (
                "with a key of theirs",
                written(&[(OURS, token()), ("kubectl-edit", json!({"f:data": {"f:x": {}}}))]),
                (false, false),
            ),
            ("without its key", written(&[(OURS, json!({"f:data": {".": {}}}))]), (false, false)),
            ("sealed by hand", written(&[(OURS, token()), ("kubectl-edit", json!({"f:immutable": {}}))]), (false, false)),
            ("made anew by hand", written(&[("kubectl-create", sealed())]), (false, false)),
            ("by nobody knows whom", written(&[]), (false, false)),
        ] {
            assert_eq!((is_sealed(&meta), is_as_made(&meta)), is, "{what}");
            let mut trimmed = meta.clone();
            trim(&mut trimmed);
            assert_eq!((is_sealed(&trimmed), is_as_made(&trimmed)), is, "{what}, as it is kept");
            let kept = serde_json::to_string(&trimmed).unwrap();
            assert!(!kept.contains("f:labels") && !kept.contains("f:type"), "{what}: {kept}");
        }
    }
}
