//! What is the whole cluster's: its nodes, and its Ingress classes. Of each only what causes are told by.
//!
//! An account of one namespace may not see them. Then nothing is known, which is no fault of the index: the doctor
//! says which right is missing, and these causes are not told.

use k8s_openapi::api::{core::v1::Node, networking::v1::IngressClass};
use kube::{Resource, ResourceExt as _};
use std::{collections::BTreeMap, fmt::Debug};

/// Marks the class of Ingresses that name none.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// A kind that is the whole cluster's, and the one thing that matters of it.
pub trait Whole:
    Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
    + Clone
    + serde::de::DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
    /// Of a node, whether it is ready; of a class, whether it is the default.
    fn flag(&self) -> bool;
}

impl Whole for Node {
    fn flag(&self) -> bool {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}

impl Whole for IngressClass {
    fn flag(&self) -> bool {
        self.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true")
    }
}

/// A flag for each name; nothing before all were listed, or once they cannot be any more.
#[derive(Debug, Default)]
pub struct Flags {
    known: bool,
    flags: BTreeMap<String, bool>,
    /// What a list under way has named.
    listing: BTreeMap<String, bool>,
}

impl Flags {
    /// Of one name: `None` where nothing is known of any, `Some(None)` where there is none of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Option<bool>> {
        self.known.then(|| self.flags.get(name).copied())
    }

    /// Whether one is flagged; `None` where nothing is known.
    #[must_use]
    pub fn any(&self) -> Option<bool> {
        self.known.then(|| self.flags.values().any(|flag| *flag))
    }

    /// All that are listed from now on.
    pub(super) fn begin(&mut self) {
        self.listing.clear();
    }

    /// Answers whether it is news. `listed`: by a list, which counts once it is over.
    pub(super) fn put(&mut self, name: String, flag: bool, listed: bool) -> bool {
        let flags = if listed { &mut self.listing } else { &mut self.flags };
        flags.insert(name, flag) != Some(flag) && !listed
    }

    pub(super) fn take(&mut self, name: &str) -> bool {
        self.flags.remove(name).is_some()
    }

    /// The list is over. Answers the names of which something is new.
    pub(super) fn listed(&mut self) -> Vec<String> {
        let was = std::mem::replace(&mut self.flags, std::mem::take(&mut self.listing));
        let first = !std::mem::replace(&mut self.known, true);
        let names = was.keys().chain(self.flags.keys());
        names.filter(|name| first || was.get(*name) != self.flags.get(*name)).cloned().collect()
    }

    /// They cannot be seen. Answers what was known.
    pub(super) fn lost(&mut self) -> Vec<String> {
        self.known = false;
        std::mem::take(&mut self.flags).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_before_the_first_list_and_after_the_last() {
        let mut flags = Flags::default();
        assert_eq!((flags.of("a"), flags.any()), (None, None));
        flags.begin();
        flags.put("a".into(), true, true);
        flags.put("b".into(), false, true);
        assert_eq!(flags.of("a"), None, "the list is not over");
        assert_eq!(flags.listed(), ["a", "b"]);
        assert_eq!(
            (flags.of("a"), flags.of("b"), flags.of("c"), flags.any()),
            (Some(Some(true)), Some(Some(false)), Some(None), Some(true))
        );
        assert!(!flags.put("a".into(), true, false), "the same again is no news");
        assert!(flags.put("a".into(), false, false));
        flags.begin();
        flags.put("a".into(), false, true);
        assert_eq!(flags.listed(), ["b"], "what a later list does not name is gone");
        assert_eq!(flags.of("b"), Some(None));
        assert_eq!(flags.lost(), ["a"]);
        assert_eq!((flags.of("a"), flags.any()), (None, None));
    }
}
