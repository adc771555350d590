//! The one place that writes to the cluster.
//!
//! What is not there is made by POST, so that nothing foreign is ever adopted; what is ours and differs is
//! applied by the server, and replaced whole where that leaves something over that we did not ask for. What is
//! as it should be is not written. Every answer goes into the index at once.

use crate::{
    Cluster, FIELD_MANAGER, causes,
    index::{From, Index, Indexed, Kind},
    labels::{self, Home},
    manifests::{drift, secret},
};
use either::Either;
use engine::orchestrator::OrchestratorError;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::PartialObjectMeta,
};
use model::SandboxId;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, future::Future, sync::Arc, time::Duration};

/// How long the apiserver may take to answer. Its own limit for a request is a minute; ours is shorter, as a
/// write that nobody answers holds up the next one on the same sandbox.
const ANSWER: Duration = Duration::from_secs(20);

/// A kind that is made.
pub trait Made:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// What the index keeps of it.
    type Kept: Indexed;
    /// That.
    fn kept(self) -> Self::Kept;
    /// Whether what is there is as `self` asks for.
    fn is(&self, there: &Self::Kept) -> bool;
    /// Whether one that is not is deleted and made anew: it cannot be changed.
    const MADE_ANEW: bool = false;
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl Made for $type {
            type Kept = Self;
            fn kept(self) -> Self {
                self
            }
            fn is(&self, there: &Self) -> bool {
                drift::holds(there, self)
            }
        }
    )*};
}

whole!(Deployment, Service, Ingress, NetworkPolicy);

impl Made for PersistentVolumeClaim {
    type Kept = Self;
    fn kept(self) -> Self {
        self
    }
    /// A claim cannot be changed once it is bound, and a smaller one would lose data.
    fn is(&self, _: &Self) -> bool {
        true
    }
}

impl Made for Secret {
    type Kept = PartialObjectMeta<Self>;
    fn kept(self) -> PartialObjectMeta<Self> {
        PartialObjectMeta { metadata: self.metadata, ..PartialObjectMeta::default() }
    }
    /// What is in it is not watched: one that we made immutable cannot have changed, and the token's says by a mark which it is.
    fn is(&self, there: &PartialObjectMeta<Self>) -> bool {
        let (there, wanted) = (&there.metadata, &self.metadata);
        secret::is_sealed(there)
            && drift::holds(&there.labels, &wanted.labels)
            && (wanted.annotations.is_none() || drift::holds(&there.annotations, &wanted.annotations))
    }
    /// What a pod was given of it stays as it is: it was read when the container started.
    const MADE_ANEW: bool = true;
}

impl Made for ServiceAccount {
    type Kept = PartialObjectMeta<Self>;
    fn kept(self) -> PartialObjectMeta<Self> {
        PartialObjectMeta { metadata: self.metadata, ..PartialObjectMeta::default() }
    }
    fn is(&self, there: &PartialObjectMeta<Self>) -> bool {
        drift::holds(&there.metadata.labels, &self.metadata.labels)
    }
}

/// Writes, and tells the index.
#[derive(Clone)]
pub struct Applier {
    pub cluster: Cluster,
    pub index: Arc<Index>,
}

impl Applier {
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// Makes it, or makes it as it should be. One that is being deleted is left to go.
    ///
    /// # Errors
    /// With the cause: refused, or the name is taken by something foreign, or by what is another sandbox's.
    pub async fn put<K: Made>(&self, wanted: &K) -> Result<(), OrchestratorError> {
        let name = wanted.meta().name.clone().unwrap_or_default();
        let there = K::Kept::shelf(&self.index.read()).get(&name).cloned();
        if let Some(there) = &there {
            self.allowed(wanted, there.meta())?;
        }
        match there {
            Some(there) if there.meta().deletion_timestamp.is_some() || wanted.is(&there) => Ok(()),
            Some(there) if K::MADE_ANEW => {
                self.delete_one::<K>(there.meta()).await?;
                self.create(wanted, &name).await
            }
            Some(_) => self.apply(wanted, &name).await,
            None => self.create(wanted, &name).await,
        }
    }

    async fn create<K: Made>(&self, wanted: &K, name: &str) -> Result<(), OrchestratorError> {
        let by = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
        match answered(self.api::<K>().create(&by, wanted)).await {
            Ok(made) => {
                self.index.put(made.kept(), From::Write);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => self.taken(wanted, name).await,
            Err(error) => Err(self.refused::<K>(&error, "make", name)),
        }
    }

    /// What is there of that name, whoever's, as the apiserver says it.
    ///
    /// # Errors
    /// With the cause.
    pub async fn look<K: Made>(&self, name: &str) -> Result<Option<K>, OrchestratorError> {
        answered(self.api::<K>().get_opt(name)).await.map_err(|error| self.refused::<K>(&error, "look at", name))
    }

    /// Something of that name is there, and the index does not know it: foreign, or not heard of yet.
    async fn taken<K: Made>(&self, wanted: &K, name: &str) -> Result<(), OrchestratorError> {
        let there = self.look::<K>(name).await?;
        // Gone between two requests: the next pass makes it.
        let Some(there) = there else { return Ok(()) };
        self.allowed(wanted, there.meta())?;
        let there = there.kept();
        let right = there.meta().deletion_timestamp.is_some() || wanted.is(&there);
        self.index.put(there.clone(), From::Write);
        if right {
            return Ok(());
        }
        // The next pass makes it: the index tells at once that it is missing.
        if K::MADE_ANEW { self.delete_one::<K>(there.meta()).await } else { self.apply(wanted, name).await }
    }

    /// Whether what has the name of what is wanted may be written, or mounted: it is of our installation, and of the same
    /// sandbox. A home folder is its project's.
    ///
    /// # Errors
    /// That the name is taken, or of a home folder that somebody took a label off it.
    pub fn allowed<K: Made>(&self, wanted: &K, there: &ObjectMeta) -> Result<(), OrchestratorError> {
        let name = wanted.meta().name.as_deref().unwrap_or_default();
        if K::Kept::KIND == Kind::PersistentVolumeClaim {
            return match labels::home(there, self.index.installation(), labels::project(wanted.meta())) {
                Home::Own => Ok(()),
                Home::Unlabelled(label) => Err(OrchestratorError::Caused(super::cause::volume_unlabelled(name, &label))),
                Home::Foreign => Err(self.name_taken::<K>(name)),
            };
        }
        let same = match labels::sandbox(there) {
            Some(sandbox) => labels::sandbox(wanted.meta()) == Some(sandbox),
            // Somebody took the label away, which is mended.
            None => {
                labels::project(there) == labels::project(wanted.meta())
                    && labels::component(there) == labels::component(wanted.meta())
            }
        };
        if same && labels::is_ours(there, self.index.installation()) {
            return Ok(());
        }
        Err(self.name_taken::<K>(name))
    }

    fn name_taken<K: Made>(&self, name: &str) -> OrchestratorError {
        OrchestratorError::Caused(causes::name_taken(&K::kind(&()), name, &self.cluster.namespace))
    }

    async fn apply<K: Made>(&self, wanted: &K, name: &str) -> Result<(), OrchestratorError> {
        let by = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
        let mut now = match answered(self.api::<K>().patch(name, &by, &Patch::Apply(typed(wanted)))).await {
            Ok(now) => now,
            Err(error) => return Err(self.refused::<K>(&error, "change", name)),
        };
        if !wanted.is(&now.clone().kept()) {
            // Somebody added an item to a list of ours: to apply leaves it there.
            let mut whole = wanted.clone();
            whole.meta_mut().resource_version.clone_from(&now.meta().resource_version);
            let by = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
            now = answered(self.api::<K>().replace(name, &by, &whole))
                .await
                .map_err(|error| self.refused::<K>(&error, "replace", name))?;
        }
        self.index.put(now.kept(), From::Write);
        Ok(())
    }

    /// Sets how many replicas there should be, and nothing else.
    ///
    /// # Errors
    /// With the cause.
    pub async fn scale(&self, name: &str, meta: &ObjectMeta, replicas: i32) -> Result<(), OrchestratorError> {
        // Of the one that was looked at: another of its name is a conflict.
        let patch = serde_json::json!({ "metadata": { "uid": meta.uid }, "spec": { "replicas": replicas } });
        let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match answered(self.api::<Deployment>().patch(name, &by, &Patch::Merge(patch))).await {
            Ok(now) => {
                self.index.put(now, From::Write);
                Ok(())
            }
            Err(error) => Err(self.refused::<Deployment>(&error, "scale", name)),
        }
    }

    /// Deletes an object by its kind, name and uid. That it is gone already is fine.
    ///
    /// # Errors
    /// With the cause.
    pub async fn delete(&self, kind: Kind, meta: &ObjectMeta) -> Result<(), OrchestratorError> {
        match kind {
            Kind::Deployment => self.delete_one::<Deployment>(meta).await,
            Kind::Pod => self.delete_one::<Pod>(meta).await,
            Kind::PersistentVolumeClaim => self.delete_one::<PersistentVolumeClaim>(meta).await,
            Kind::Service => self.delete_one::<Service>(meta).await,
            Kind::Ingress => self.delete_one::<Ingress>(meta).await,
            Kind::NetworkPolicy => self.delete_one::<NetworkPolicy>(meta).await,
            Kind::Secret => self.delete_one::<Secret>(meta).await,
            Kind::ServiceAccount => self.delete_one::<ServiceAccount>(meta).await,
            Kind::Event | Kind::Node | Kind::IngressClass => Ok(()),
        }
    }

    async fn delete_one<K: Stored>(&self, meta: &ObjectMeta) -> Result<(), OrchestratorError> {
        if meta.deletion_timestamp.is_some() {
            return Ok(());
        }
        let how = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        self.delete_so::<K>(meta, &how).await
    }

    /// Takes the record of a pod away that is over ([`crate::index::run::is_over`]), without waiting for its kubelet to tidy up.
    ///
    /// # Errors
    /// With the cause.
    pub async fn bury(&self, meta: &ObjectMeta) -> Result<(), OrchestratorError> {
        let how = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        self.delete_so::<Pod>(meta, &how).await
    }

    async fn delete_so<K: Stored>(&self, meta: &ObjectMeta, how: &DeleteParams) -> Result<(), OrchestratorError> {
        let name = meta.name.as_deref().unwrap_or_default();
        match answered(self.api::<K>().delete(name, how)).await {
            // It has a finalizer, or a grace: it goes by and by.
            Ok(Either::Left(going)) if lingers(going.meta()) => {
                self.index.put(going.stored(), From::Write);
                Ok(())
            }
            Ok(_) => {
                self.index.deleted::<K::Kept>(meta);
                Ok(())
            }
            Err(error) => {
                let gone = match &error {
                    kube::Error::Api(status) if status.code == 404 => true,
                    // Another object has its name by now, of which its own watch tells; or somebody between refuses it.
                    kube::Error::Api(status) if status.code == 409 => !self.is_there::<K>(meta).await?,
                    _ => false,
                };
                if !gone {
                    return Err(self.refused::<K>(&error, "delete", name));
                }
                self.index.deleted::<K::Kept>(meta);
                Ok(())
            }
        }
    }

    /// Whether it is still there, and not another of its name, as the apiserver says it.
    async fn is_there<K: Stored>(&self, meta: &ObjectMeta) -> Result<bool, OrchestratorError> {
        let name = meta.name.as_deref().unwrap_or_default();
        let there = answered(self.api::<K>().get_metadata_opt(name)).await;
        let there = there.map_err(|error| self.refused::<K>(&error, "look at", name))?;
        Ok(there.is_some_and(|there| there.metadata.uid == meta.uid))
    }

    /// Asks the apiserver for what there is of a sandbox, where the index is not to be trusted.
    ///
    /// # Errors
    /// With the cause.
    pub async fn refresh(&self, sandbox: SandboxId) -> Result<(), OrchestratorError> {
        tokio::try_join!(
            self.refresh_kind::<Deployment>(sandbox),
            self.refresh_kind::<Pod>(sandbox),
            self.refresh_kind::<Service>(sandbox),
            self.refresh_kind::<Ingress>(sandbox),
            self.refresh_kind::<NetworkPolicy>(sandbox),
            self.refresh_kind::<Secret>(sandbox),
            self.refresh_kind::<ServiceAccount>(sandbox),
        )?;
        Ok(())
    }

    fn refused<K: Resource<DynamicType = ()>>(&self, error: &kube::Error, doing: &str, name: &str) -> OrchestratorError {
        let doing = format!("{doing} the {} `{name}`", K::kind(&()));
        OrchestratorError::Caused(causes::explain(error, &doing, self.index.place()))
    }

    async fn refresh_kind<K: Stored>(&self, sandbox: SandboxId) -> Result<(), OrchestratorError> {
        let known = K::Kept::shelf(&self.index.read()).of(sandbox);
        let selector = format!("{},{}={}", labels::of_installation(self.index.installation()), labels::SANDBOX, sandbox.0);
        let listed = match answered(self.api::<K>().list(&ListParams::default().labels(&selector))).await {
            // As the watch takes it.
            Err(kube::Error::Api(status)) if status.is_forbidden() && !self.index.needs(K::Kept::KIND) => return Ok(()),
            listed => listed.map_err(|error| self.refused::<K>(&error, "list", &selector))?,
        };
        let uids: Vec<_> = listed.items.iter().map(|object| object.meta().uid.clone()).collect();
        for object in listed {
            self.index.put(object.stored(), From::List);
        }
        for object in known.iter().filter(|object| !uids.contains(&object.meta().uid)) {
            self.index.take::<K::Kept>(object.meta());
        }
        Ok(())
    }
}

/// A kind that is deleted and listed.
pub trait Stored:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// What the index keeps of it.
    type Kept: Indexed;
    /// That.
    fn stored(self) -> Self::Kept;
}

impl<K: Made> Stored for K {
    type Kept = <K as Made>::Kept;
    fn stored(self) -> Self::Kept {
        self.kept()
    }
}

impl Stored for Pod {
    type Kept = Self;
    fn stored(self) -> Self {
        self
    }
}

/// Its answer, or that none came in time.
async fn answered<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(ANSWER, request).await.unwrap_or_else(|elapsed| Err(kube::Error::Service(Box::new(elapsed))))
}

/// Whether what was deleted is still there for a while.
fn lingers(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
        && (meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
            || meta.deletion_grace_period_seconds.is_some_and(|grace| grace > 0))
}

/// With the kind and version that server-side apply wants in the body.
fn typed<K: Made>(object: &K) -> serde_json::Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), K::api_version(&()).into());
        fields.insert("kind".to_owned(), K::kind(&()).into());
    }
    value
}

#[cfg(test)]
mod tests;
