//! The objects of one kind.

use super::Indexed;
use crate::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::SandboxId;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// By name, and by sandbox.
pub struct Shelf<K> {
    by_name: HashMap<String, Kept<K>>,
    by_sandbox: HashMap<SandboxId, BTreeSet<String>>,
    /// Goes up with each listing.
    listing: u64,
}

struct Kept<K> {
    object: Arc<K>,
    /// The listing that it was last seen in or after.
    listing: u64,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), by_sandbox: HashMap::new(), listing: 0 }
    }
}

impl<K: Indexed> Shelf<K> {
    /// What replaced what: `None` where what is known already is as new; `Some(None)` for a new object.
    pub fn put(&mut self, object: &Arc<K>, written: bool) -> Option<Option<Arc<K>>> {
        let name = object.meta().name.clone()?;
        let listing = self.listing;
        if let Some(known) = self.by_name.get_mut(&name) {
            known.listing = listing;
            if known.object.meta().uid == object.meta().uid && version(&known.object) >= version(object) {
                // The same again, or an event that our own write has overtaken.
                return (written && version(&known.object) == version(object)).then(|| Some(known.object.clone()));
            }
        }
        if let Some(sandbox) = labels::sandbox(object.meta()) {
            self.by_sandbox.entry(sandbox).or_default().insert(name.clone());
        }
        let old = self.by_name.insert(name.clone(), Kept { object: object.clone(), listing });
        if let Some(old) = &old {
            let (was, is) = (labels::sandbox(old.object.meta()), labels::sandbox(object.meta()));
            if let Some(was) = was.filter(|was| Some(*was) != is) {
                self.unlink(was, &name);
            }
        }
        Some(old.map(|old| old.object))
    }

    /// Takes an object away, unless another of its name has come meanwhile.
    pub fn take(&mut self, name: &str, uid: &str) -> Option<Arc<K>> {
        let known = self.by_name.get(name)?;
        if known.object.meta().uid.as_deref().unwrap_or_default() != uid {
            return None;
        }
        let known = self.by_name.remove(name)?;
        if let Some(sandbox) = labels::sandbox(known.object.meta()) {
            self.unlink(sandbox, name);
        }
        Some(known.object)
    }

    fn unlink(&mut self, sandbox: SandboxId, name: &str) {
        if let Some(names) = self.by_sandbox.get_mut(&sandbox) {
            names.remove(name);
            if names.is_empty() {
                self.by_sandbox.remove(&sandbox);
            }
        }
    }

    pub fn begin(&mut self) {
        self.listing += 1;
    }

    /// What the last listing did not name and nothing has told of since it began.
    pub fn missing(&self) -> Vec<Arc<K>> {
        self.by_name.values().filter(|kept| kept.listing < self.listing).map(|kept| kept.object.clone()).collect()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<K>> {
        self.by_name.get(name).map(|kept| &kept.object)
    }

    /// Those of a sandbox.
    pub fn of(&self, sandbox: SandboxId) -> Vec<Arc<K>> {
        let names = self.by_sandbox.get(&sandbox).into_iter().flatten();
        names.filter_map(|name| self.get(name).cloned()).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.by_name.values().map(|kept| &kept.object)
    }
}

/// Resource versions of one kind are ordered as numbers: Kubernetes promises it since 1.35, and etcd kept it before.
fn version<K: Indexed>(object: &Arc<K>) -> u64 {
    number(object.meta()).unwrap_or(u64::MAX)
}

/// The resource version, where it is a number.
pub fn number(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}
