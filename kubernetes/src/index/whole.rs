//! What is the whole cluster's: its nodes, and its Ingress classes. Of each only what causes are told by.
//!
//! An account of one namespace may not see them. Then nothing is known, which is no fault of the index: the doctor
//! says which right is missing, and these causes are not told.

use crate::causes::room::NodeFacts;
use k8s_openapi::api::{core::v1::Node, networking::v1::IngressClass};
use kube::{Resource, ResourceExt as _};
use std::{collections::BTreeMap, fmt::Debug};

/// Marks the class of Ingresses that name none.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// A kind that is the whole cluster's, and what matters of it.
pub trait Whole:
    Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
    + Clone
    + serde::de::DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
    /// What is kept of each.
    type Kept: Copy + PartialEq + Send + Sync + 'static;
    /// That.
    fn kept(&self) -> Self::Kept;
}

impl Whole for Node {
    type Kept = NodeFacts;
    fn kept(&self) -> NodeFacts {
        NodeFacts::of(self)
    }
}

impl Whole for IngressClass {
    /// Whether it is the default.
    type Kept = bool;
    fn kept(&self) -> bool {
        self.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true")
    }
}

/// What is kept, by name; nothing before all were listed, or once they cannot be any more.
#[derive(Debug)]
pub struct Known<T> {
    known: bool,
    each: BTreeMap<String, T>,
    /// What a list under way has named.
    listing: BTreeMap<String, T>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { known: false, each: BTreeMap::new(), listing: BTreeMap::new() }
    }
}

impl<T: Copy + PartialEq> Known<T> {
    /// Of one name: `None` where nothing is known of any, `Some(None)` where there is none of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Option<T>> {
        self.known.then(|| self.each.get(name).copied())
    }

    /// Of all; `None` where nothing is known.
    #[must_use]
    pub fn all(&self) -> Option<impl Iterator<Item = (&str, T)>> {
        self.known.then(|| self.each.iter().map(|(name, kept)| (name.as_str(), *kept)))
    }

    /// All that are listed from now on.
    pub(super) fn begin(&mut self) {
        self.listing.clear();
    }

    /// Answers whether it is news. `listed`: by a list, which counts once it is over.
    pub(super) fn put(&mut self, name: String, kept: T, listed: bool) -> bool {
        let each = if listed { &mut self.listing } else { &mut self.each };
        each.insert(name, kept) != Some(kept) && !listed
    }

    pub(super) fn take(&mut self, name: &str) -> bool {
        self.each.remove(name).is_some()
    }

    /// The list is over. Answers the names of which something is new.
    pub(super) fn listed(&mut self) -> Vec<String> {
        let was = std::mem::replace(&mut self.each, std::mem::take(&mut self.listing));
        let first = !std::mem::replace(&mut self.known, true);
        let names = was.keys().chain(self.each.keys());
        names.filter(|name| first || was.get(*name) != self.each.get(*name)).cloned().collect()
    }

    /// They cannot be seen. Answers what was known.
    pub(super) fn lost(&mut self) -> Vec<String> {
        self.known = false;
        std::mem::take(&mut self.each).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_before_the_first_list_and_after_the_last() {
        let mut known = Known::default();
        let all =
            |known: &Known<bool>| known.all().map(|all| all.map(|(name, flag)| format!("{name} {flag}")).collect::<Vec<_>>());
        assert_eq!((known.of("a"), all(&known)), (None, None));
        known.begin();
        known.put("a".into(), true, true);
        known.put("b".into(), false, true);
        assert_eq!(known.of("a"), None, "the list is not over");
        assert_eq!(known.listed(), ["a", "b"]);
        assert_eq!((known.of("a"), known.of("b"), known.of("c")), (Some(Some(true)), Some(Some(false)), Some(None)));
        assert_eq!(all(&known).unwrap(), ["a true", "b false"]);
        assert!(!known.put("a".into(), true, false), "the same again is no news");
        assert!(known.put("a".into(), false, false));
        known.begin();
        known.put("a".into(), false, true);
        assert_eq!(known.listed(), ["b"], "what a later list does not name is gone");
        assert_eq!(known.of("b"), Some(None));
        assert_eq!(known.lost(), ["a"]);
        assert_eq!((known.of("a"), all(&known)), (None, None));
    }
}
