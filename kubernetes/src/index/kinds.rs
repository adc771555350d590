//! Which kinds are kept, and what of each.

use super::{State, shelf::Shelf};
use crate::{
    FIELD_MANAGER, Settings,
    manifests::secret::{self, is_as_made},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
    },
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta},
};
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are called as Kubernetes calls them")]
pub enum Kind {
    Deployment,
    Pod,
    PersistentVolumeClaim,
    Service,
    Ingress,
    NetworkPolicy,
    Secret,
    ServiceAccount,
    Event,
    Node,
    IngressClass,
}

impl Kind {
    /// Those without which nothing can be told of sandboxes, but for [`Self::optional`]. The others are the whole
    /// cluster's, and an account of one namespace may not see them.
    pub const NEEDED: [Self; 9] = [
        Self::Deployment,
        Self::Pod,
        Self::PersistentVolumeClaim,
        Self::Service,
        Self::Ingress,
        Self::NetworkPolicy,
        Self::Secret,
        Self::ServiceAccount,
        Self::Event,
    ];

    /// Whether it is one of [`Self::NEEDED`].
    #[must_use]
    pub fn is_needed(self) -> bool {
        Self::NEEDED.contains(&self)
    }

    /// Those of [`Self::NEEDED`] that nobody makes with these settings. They are watched too, because of what other
    /// settings have left, and one that the account may not see is taken not to be there.
    #[must_use]
    pub fn optional(settings: &Settings) -> Vec<Self> {
        settings.ingress.is_none().then_some(Self::Ingress).into_iter().collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A kind that is kept.
pub trait Indexed: Clone + Send + Sync + 'static {
    /// Which.
    const KIND: Kind;
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// Where it is kept.
    fn shelf(state: &State) -> &Shelf<Self>;
    /// Where it is kept.
    fn shelf_mut(state: &mut State) -> &mut Shelf<Self>;
    /// Whether what it is asked to be was changed. What others note on it, in labels or annotations of their own, is no change.
    fn differs(&self, now: &Self) -> bool;
    /// The pod, if it is one.
    fn pod(&self) -> Option<&Pod> {
        None
    }
    /// Lets go of what nobody reads.
    fn trim(&mut self) {
        self.meta_mut().managed_fields = None;
    }
}

macro_rules! indexed {
    ($type:ty, $kind:ident, $shelf:ident, $differs:expr $(, $pod:expr)? $(; $trim:expr)?) => {
        impl Indexed for $type {
            const KIND: Kind = Kind::$kind;
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
            fn shelf(state: &State) -> &Shelf<Self> {
                &state.$shelf
            }
            fn shelf_mut(state: &mut State) -> &mut Shelf<Self> {
                &mut state.$shelf
            }
            fn differs(&self, now: &Self) -> bool {
                let differs: fn(&Self, &Self) -> bool = $differs;
                differs(self, now)
            }
            $(fn pod(&self) -> Option<&Pod> {
                let pod: fn(&Self) -> Option<&Pod> = $pod;
                pod(self)
            })?
            $(fn trim(&mut self) {
                let trim: fn(&mut ObjectMeta) = $trim;
                trim(&mut self.metadata);
            })?
        }
    };
}

indexed!(Deployment, Deployment, deployments, pods_differ);
indexed!(Pod, Pod, pods, |_, _| false, |pod| Some(pod));
indexed!(PersistentVolumeClaim, PersistentVolumeClaim, volumes, |_, _| false);
indexed!(Service, Service, services, |was, is| was.spec != is.spec);
indexed!(
    Ingress, Ingress, ingresses,
    |was, is| was.spec != is.spec || annotations_differ(&was.metadata, &is.metadata);
    keep_our_annotations
);
indexed!(NetworkPolicy, NetworkPolicy, policies, |was, is| was.spec != is.spec);
indexed!(
    PartialObjectMeta<Secret>, Secret, secrets,
    |was, is| is_as_made(&was.metadata) && !is_as_made(&is.metadata);
    secret::trim
);
indexed!(PartialObjectMeta<ServiceAccount>, ServiceAccount, accounts, |_, _| false);

/// Whether one asks for other pods, or for more or fewer.
fn pods_differ(was: &Deployment, is: &Deployment) -> bool {
    let meta = |deployment: &Deployment| {
        let meta = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
        (meta.labels, meta.annotations)
    };
    let rest = |deployment: &Deployment| {
        let mut spec = deployment.spec.clone();
        if let Some(spec) = &mut spec {
            spec.template.metadata = None;
        }
        spec
    };
    let ((labels_before, annotations_before), (labels, annotations)) = (meta(was), meta(is));
    rest(was) != rest(is)
        || is_lost(labels_before.as_ref(), labels.as_ref(), |_| true)
        || is_lost(annotations_before.as_ref(), annotations.as_ref(), |_| true)
}

/// Whether an annotation that we set is another by now, or gone. Where it is not known which we set, each counts that was there.
fn annotations_differ(was: &ObjectMeta, is: &ObjectMeta) -> bool {
    let ours: Vec<&Value> = was.managed_fields.iter().flatten().filter_map(our_annotations).collect();
    let is_ours = |key: &str| ours.is_empty() || ours.iter().any(|set| set.get(format!("f:{key}")).is_some());
    is_lost(was.annotations.as_ref(), is.annotations.as_ref(), is_ours)
}

/// Whether an entry that `counts` is another by now, or gone.
fn is_lost(was: Option<&BTreeMap<String, String>>, is: Option<&BTreeMap<String, String>>, counts: impl Fn(&str) -> bool) -> bool {
    was.into_iter().flatten().any(|(key, value)| counts(key) && is.and_then(|is| is.get(key)) != Some(value))
}

/// Which annotations a write of ours has set.
fn our_annotations(write: &ManagedFieldsEntry) -> Option<&Value> {
    let ours = write.manager.as_deref() == Some(FIELD_MANAGER);
    write.fields_v1.as_ref().filter(|_| ours)?.0.get("f:metadata")?.get("f:annotations")
}

/// Keeps, of who set what, only which annotations we did.
fn keep_our_annotations(meta: &mut ObjectMeta) {
    let kept = |write: &ManagedFieldsEntry| {
        let fields = json!({ "f:metadata": { "f:annotations": our_annotations(write)? } });
        Some(ManagedFieldsEntry {
            manager: write.manager.clone(),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        })
    };
    meta.managed_fields = meta.managed_fields.take().map(|writes| writes.iter().filter_map(kept).collect());
}
