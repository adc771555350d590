//! Making and removing single objects without ever taking one that is somebody else's.

use crate::{
    Cluster, FIELD_MANAGER,
    causes::{name_taken, of_error},
    index::written_by_us,
    labels, names,
};
use engine::database::{DatabaseError, DatabaseSpec};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions},
};
use model::ResourceName;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

/// What became of asking for an object.
#[derive(Debug)]
pub enum Claimed<K> {
    /// It was made.
    Made(K),
    /// It was there, and is this project's.
    Ours(K),
    /// It was this project's and is being removed: it can be made again when it is gone.
    Leaving,
}

/// Makes an object where none of its name is.
///
/// # Errors
/// [`model::CauseCode::NameTaken`] where it is somebody else's; what the cluster answers.
pub async fn claim<K>(api: &Api<K>, object: &K, spec: &DatabaseSpec, kind: &str) -> Result<Claimed<K>, DatabaseError>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let name = object.name_any();
    let post = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    // Twice: what is in the way may go between the two answers.
    for _ in 0..2 {
        match api.create(&post, object).await {
            Ok(made) => return Ok(Claimed::Made(made)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(refused(&error, &format!("make the {kind} `{name}`"))),
        }
        let there = api.get_opt(&name).await.map_err(|error| refused(&error, &format!("read the {kind} `{name}`")))?;
        match there {
            Some(there) if !is_of(there.meta(), spec) => {
                let namespace = api.namespace().unwrap_or_default();
                return Err(DatabaseError::Caused(name_taken(kind, &name, namespace)));
            }
            Some(there) if there.meta().deletion_timestamp.is_some() => return Ok(Claimed::Leaving),
            Some(there) => return Ok(Claimed::Ours(there)),
            None => {}
        }
    }
    Ok(Claimed::Leaving)
}

/// Makes an object, or brings one of ours back to what it should be.
///
/// # Errors
/// As [`claim`].
pub async fn mend<K>(api: &Api<K>, object: &K, spec: &DatabaseSpec, kind: &str) -> Result<(), DatabaseError>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    if let Claimed::Ours(there) = claim(api, object, spec, kind).await?
        && !holds(&there, object)
    {
        let name = object.name_any();
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&name, &apply, &Patch::Apply(object))
            .await
            .map_err(|error| refused(&error, &format!("mend the {kind} `{name}`")))?;
    }
    Ok(())
}

/// Whether everything of `wanted`, but for its own metadata, is in `there` as well: the apiserver adds
/// defaults, and people may add what they like.
#[must_use]
pub fn holds<K: Serialize>(there: &K, wanted: &K) -> bool {
    fn within(wanted: &serde_json::Value, there: &serde_json::Value) -> bool {
        use serde_json::Value::{Array, Object};
        match (wanted, there) {
            (Object(wanted), Object(there)) => {
                wanted.iter().all(|(key, value)| there.get(key).is_some_and(|there| within(value, there)))
            }
            (Array(wanted), Array(there)) => {
                wanted.len() == there.len() && wanted.iter().zip(there).all(|(wanted, there)| within(wanted, there))
            }
            (wanted, there) => wanted == there,
        }
    }
    match (serde_json::to_value(wanted), serde_json::to_value(there)) {
        (Ok(wanted), Ok(there)) => within(&wanted, &there),
        _ => false,
    }
}

/// Whether somebody else removed an object, or made it otherwise than it is `wanted`. What another version of the control
/// plane, or one with other settings, made otherwise is no change by hand.
#[must_use]
pub fn touched<K: Resource + Serialize>(there: Option<&K>, wanted: &K) -> bool {
    there.is_none_or(|there| !holds(there, wanted) && !written_by_us(there.meta()))
}

/// Whether an object is this project's of this installation.
#[must_use]
pub fn is_of(meta: &ObjectMeta, spec: &DatabaseSpec) -> bool {
    labels::is_ours(meta, spec.installation) && labels::project(meta) == Some(spec.project)
}

/// The selector of everything of a project's database.
#[must_use]
pub fn of_database(spec: &DatabaseSpec) -> String {
    format!(
        "{},{}={},{}={}",
        labels::of_installation(spec.installation),
        labels::PROJECT,
        spec.project.0,
        labels::COMPONENT,
        labels::Component::Database.as_str()
    )
}

/// Removes all of a kind that is of the project's database; `grace_secs` is for pods.
///
/// # Errors
/// What the cluster answers.
pub async fn remove_all<K>(api: &Api<K>, spec: &DatabaseSpec, params: &DeleteParams, kind: &str) -> Result<(), DatabaseError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let these = ListParams::default().labels(&of_database(spec));
    match api.delete_collection(params, &these).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(&error, &format!("remove the {kind} of `{}`", spec.name))),
    }
}

/// Whether any of a kind is left of the project's database, asked of the cluster itself.
///
/// # Errors
/// What the cluster answers.
pub async fn any_left<K>(api: &Api<K>, spec: &DatabaseSpec, kind: &str) -> Result<bool, DatabaseError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let these = ListParams::default().labels(&of_database(spec)).limit(1);
    match api.list_metadata(&these).await {
        Ok(left) => Ok(!left.items.is_empty()),
        // The kind is not served any more, and its objects went with it.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(refused(&error, &format!("list the {kind} of `{}`", spec.name))),
    }
}

/// Removes this very object, not a successor of its name.
///
/// # Errors
/// What the cluster answers; that it is gone already is none.
pub async fn remove_this<K>(api: &Api<K>, meta: &ObjectMeta, kind: &str) -> Result<(), DatabaseError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let name = meta.name.clone().unwrap_or_default();
    let this = Preconditions { uid: meta.uid.clone(), resource_version: None };
    match api.delete(&name, &DeleteParams::background().preconditions(this)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(refused(&error, &format!("remove the {kind} `{name}`"))),
    }
}

/// What the cluster warned of lately, of each object the newest, on one line. `events`: newest first.
#[must_use]
pub fn warnings(events: &[Arc<Event>]) -> Option<String> {
    let mut told = BTreeSet::new();
    let newest = events.iter().filter(|event| event.type_.as_deref() == Some("Warning")).filter_map(|event| {
        let object = format!("{} {}", event.involved_object.kind.as_ref()?, event.involved_object.name.as_ref()?);
        let (reason, message) = (event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default());
        told.insert(object.clone()).then(|| format!("{object}: {reason}: {message}"))
    });
    let text = newest.collect::<Vec<_>>().join("; ");
    (!text.is_empty()).then_some(text)
}

/// How much of a log is told with a cause.
const TAIL_LINES: i64 = 20;
const TAIL_BYTES: i64 = 8192;

/// The last lines that a project's PostgreSQL wrote: those of the run before this one, where there was one. Every
/// provider calls its first pod the same.
pub async fn last_words(cluster: &Cluster, name: &ResourceName) -> Option<String> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = |previous| LogParams {
        container: Some(names::POSTGRES_CONTAINER.to_owned()),
        previous,
        tail_lines: Some(TAIL_LINES),
        limit_bytes: Some(TAIL_BYTES),
        ..LogParams::default()
    };
    let pod = format!("{}-0", names::postgres(name));
    for previous in [true, false] {
        if let Ok(words) = pods.logs(&pod, &params(previous)).await
            && !words.trim().is_empty()
        {
            return Some(words.trim().to_owned());
        }
    }
    None
}

/// How long something may be on its way out before it is called wedged.
pub const WEDGED_SECS: i64 = 60;

/// For how many seconds something has been on its way out, if it is.
#[must_use]
pub fn leaving_for(meta: &ObjectMeta, now: Timestamp) -> Option<i64> {
    let since = &meta.deletion_timestamp.as_ref()?.0;
    Some(now.as_second() - since.as_second())
}

/// What an answer of the cluster means for a verb.
#[must_use]
pub fn refused(error: &kube::Error, doing: &str) -> DatabaseError {
    DatabaseError::Caused(of_error(error, doing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

    fn service(port: i32, kind: Option<&str>) -> Service {
        let ports = Some(vec![ServicePort { port, ..ServicePort::default() }]);
        let spec = ServiceSpec { ports, type_: kind.map(str::to_owned), ..ServiceSpec::default() };
        Service { spec: Some(spec), ..Service::default() }
    }

    #[test]
    fn defaults_of_the_apiserver_are_no_difference_and_an_edit_is() {
        assert!(holds(&service(5432, Some("ClusterIP")), &service(5432, None)));
        assert!(!holds(&service(5433, Some("ClusterIP")), &service(5432, None)));
        assert!(!holds(&service(5432, None), &service(5432, Some("ClusterIP"))));
    }

    #[test]
    fn warnings_are_told_once_for_each_object() {
        let event = |kind: &str, name: &str, object: &str, message: &str| -> Arc<Event> {
            let event = serde_json::json!({"metadata": {}, "type": kind, "reason": name, "message": message,
                "involvedObject": {"kind": "Pod", "name": object}});
            Arc::new(serde_json::from_value(event).unwrap())
        };
        let events = [
            event("Normal", "Pulling", "a", "an image"),
            event("Warning", "Failed", "a", "to pull it"),
            event("Warning", "BackOff", "b", "again and again"),
            event("Warning", "Failed", "a", "as before"),
        ];
        assert_eq!(warnings(&events).unwrap(), "Pod a: Failed: to pull it; Pod b: BackOff: again and again");
        assert_eq!(warnings(&events[..1]), None);
    }

    #[test]
    fn what_we_wrote_otherwise_before_was_changed_by_nobody() {
        let by = |manager: &str| {
            let mut there = service(5433, None);
            there.metadata = serde_json::from_value(serde_json::json!({"managedFields": [
                {"manager": manager, "operation": "Update", "time": "2026-11-28T12:00:00Z"}]}))
            .unwrap();
            there
        };
        let wanted = service(5432, None);
        assert!(touched(None, &wanted), "one that is missing was removed");
        assert!(touched(Some(&by("kubectl-edit")), &wanted));
        assert!(!touched(Some(&by(FIELD_MANAGER)), &wanted));
        assert!(!touched(Some(&wanted), &wanted));
    }
}
