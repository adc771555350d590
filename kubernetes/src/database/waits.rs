//! Since when the cluster is waited for, where no object of its says so.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// By the name of an object, since when something is waited for of it as it was last changed. Nothing outlives the process:
/// after a restart it is counted from anew.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<HashMap<String, Wait>>);

#[derive(Debug)]
struct Wait {
    uid: Option<String>,
    generation: Option<i64>,
    since: Timestamp,
}

impl Wait {
    fn is_of(&self, meta: &ObjectMeta) -> bool {
        self.uid == meta.uid && self.generation == meta.generation
    }
}

impl Waits {
    /// It is waited for, from now on where it was not yet. Answers since when, which is never before it was made.
    pub fn begin(&self, meta: &ObjectMeta, now: Timestamp) -> Timestamp {
        let since = self.since(meta).unwrap_or(now);
        let since = meta.creation_timestamp.as_ref().map_or(since, |made| since.max(made.0));
        let wait = Wait { uid: meta.uid.clone(), generation: meta.generation, since };
        self.all().insert(meta.name.clone().unwrap_or_default(), wait);
        since
    }

    /// Since when it is waited for, if it is.
    pub fn since(&self, meta: &ObjectMeta) -> Option<Timestamp> {
        let all = self.all();
        all.get(meta.name.as_deref().unwrap_or_default()).filter(|wait| wait.is_of(meta)).map(|wait| wait.since)
    }

    /// Nothing is waited for of the object of this name any more.
    pub fn over(&self, name: &str) {
        self.all().remove(name);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, generation: i64) -> ObjectMeta {
        let made =
            serde_json::json!({"name": "n", "uid": uid, "generation": generation, "creationTimestamp": "1970-01-01T00:01:40Z"});
        serde_json::from_value(made).unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    #[test]
    fn it_is_counted_from_the_first_look_at_what_was_changed_last() {
        let waits = Waits::default();
        assert_eq!(waits.since(&object("a", 1)), None);
        assert_eq!(waits.begin(&object("a", 1), at(500)), at(500));
        assert_eq!(waits.begin(&object("a", 1), at(600)), at(500), "it goes on");
        assert_eq!(waits.since(&object("a", 1)), Some(at(500)));
        assert_eq!(waits.since(&object("a", 2)), None);
        assert_eq!(waits.begin(&object("a", 2), at(700)), at(700), "it was changed");
        assert_eq!(waits.begin(&object("b", 2), at(800)), at(800), "it is another one of that name");
        waits.over("n");
        assert_eq!(waits.begin(&object("b", 2), at(900)), at(900), "it was well meanwhile");
        assert_eq!(Waits::default().begin(&object("a", 1), at(50)), at(100), "by the cluster's clock it is not made yet");
        assert_eq!(waits.all().len(), 1);
    }
}
