//! Which kinds are kept, and what of each.

use super::{State, shelf::Shelf};
use crate::{
    Settings,
    manifests::secret::{self, is_as_made},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::PartialObjectMeta;
use std::fmt;

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
    /// Whether what it is asked to be was changed.
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

indexed!(Deployment, Deployment, deployments, |was, is| was.spec != is.spec);
indexed!(Pod, Pod, pods, |_, _| false, |pod| Some(pod));
indexed!(PersistentVolumeClaim, PersistentVolumeClaim, volumes, |_, _| false);
indexed!(Service, Service, services, |was, is| was.spec != is.spec);
indexed!(Ingress, Ingress, ingresses, |was, is| was.spec != is.spec || was.metadata.annotations != is.metadata.annotations);
indexed!(NetworkPolicy, NetworkPolicy, policies, |was, is| was.spec != is.spec);
indexed!(
    PartialObjectMeta<Secret>, Secret, secrets,
    |was, is| is_as_made(&was.metadata) && !is_as_made(&is.metadata);
    secret::trim
);
indexed!(PartialObjectMeta<ServiceAccount>, ServiceAccount, accounts, |_, _| false);
