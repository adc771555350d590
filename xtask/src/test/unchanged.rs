//! What has passed is not run again while nothing has changed.
//!
//! Each part that passed in a whole run is noted in the cache, under a hash of all that it could depend on in the
//! checkout: every file that git does not ignore, the compilers, and what the environment says to tests. For a day: the
//! system's own packages are not part of the hash. A part that failed is never noted, so the next run begins with it, and
//! a run that was cut off goes on where it was. `--again` runs everything, as the check of every change does.

use super::count::Count;
use crate::{
    shell::{self, Cmd},
    sources,
};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How long a note counts.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The notes of this very state of the checkout.
pub(super) struct Notes {
    root: PathBuf,
    folder: PathBuf,
    state: String,
}

impl Notes {
    /// Of the checkout as it is now; `None` where that cannot be told: no git, no repository.
    pub(super) fn of_now() -> Option<Self> {
        Self::of(&shell::root(), &shell::cache().join("passed"))
    }

    fn of(root: &Path, folder: &Path) -> Option<Self> {
        let state = state(root).ok()??;
        Some(Self { root: root.to_owned(), folder: folder.to_owned(), state })
    }

    /// What a part came to when it last passed with all that is here now, and how long ago that was.
    pub(super) fn passed(&self, part: &str) -> Option<(Count, Duration)> {
        let path = self.path(part);
        let age = SystemTime::now().duration_since(fs::metadata(&path).ok()?.modified().ok()?).ok()?;
        let note: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
        let number = |name: &str| note[name].as_u64();
        let count = Count { passed: number("passed")?, failed: 0, skipped: number("skipped")? };
        (age < FRESH && note["state"] == self.state.as_str()).then_some((count, age))
    }

    /// Notes that a part has passed, unless it did not, or something has changed since it began. There is one note a part.
    pub(super) fn note(&self, part: &str, count: Count) -> Result<()> {
        if !count.holds() || state(&self.root)?.as_ref() != Some(&self.state) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let note = json!({"state": self.state, "passed": count.passed, "skipped": count.skipped});
        shell::write(&self.path(part), note.to_string().as_bytes())?;
        // It is as old as this run, also where the file had the very same content.
        fs::File::open(self.path(part))?.set_modified(SystemTime::now()).context("date the note")
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.join(format!("{part}.json"))
    }
}

/// A hash of what tests depend on; nothing without git.
fn state(root: &Path) -> Result<Option<String>> {
    let Some(sources) = sources::digest(root)? else { return Ok(None) };
    let mut hash = Sha256::new();
    hash.update(sources);
    for program in [["rustc", "-vV"], ["node", "--version"], ["go", "version"], ["uname", "-a"], ["id", "-u"]] {
        let version = Cmd::new(program[0]).args(&program[1..]).read().unwrap_or_default();
        hash.update(version.as_bytes());
        hash.update([0]);
    }
    let says = |name: &str| ["FSA_", "PLAYWRIGHT_", "PROPTEST_", "KUBECONFIG"].iter().any(|start| name.starts_with(start));
    let mut said: Vec<_> = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(says)).collect();
    said.sort();
    for (name, value) in said {
        hash.update(name.as_encoded_bytes());
        hash.update([b'=']);
        hash.update(value.as_encoded_bytes());
        hash.update([0]);
    }
    Ok(Some(hex::encode(hash.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_passed_counts_until_something_changes_and_one_that_failed_never_does() {
        let world = env::temp_dir().join(format!("fsa-unchanged-{}", std::process::id()));
        let (root, folder) = (world.join("checkout"), world.join("cache/passed"));
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("a.rs"), "1").unwrap();
        Cmd::new("git").args(["init", "--quiet"]).dir(&root).run().unwrap();
        let notes = || Notes::of(&root, &folder).unwrap();
        let count = Count { passed: 12, failed: 0, skipped: 2 };

        let now = notes();
        assert!(now.passed("unit").is_none(), "nothing has run");
        now.note("fmt", Count { passed: 3, failed: 1, skipped: 0 }).unwrap();
        now.note("unit", count).unwrap();
        assert_eq!(notes().passed("unit").map(|(count, _)| count), Some(count));
        assert!(notes().passed("fmt").is_none(), "one that failed runs again");
        assert!(notes().passed("journeys").is_none());

        // A file that is new, and one that is ignored.
        fs::write(root.join("b.rs"), "2").unwrap();
        assert!(notes().passed("unit").is_none());
        now.note("terminal", count).unwrap();
        fs::remove_file(root.join("b.rs")).unwrap();
        assert!(notes().passed("terminal").is_none(), "something was changed while it ran");
        assert!(notes().passed("unit").is_some(), "all is as it was");
        fs::write(root.join(".git/info/exclude"), "c.rs\n").unwrap();
        fs::write(root.join("c.rs"), "3").unwrap();
        assert!(notes().passed("unit").is_some());

        // Long ago.
        let note = fs::File::open(folder.join("unit.json")).unwrap();
        note.set_modified(SystemTime::now() - FRESH - Duration::from_secs(1)).unwrap();
        assert!(notes().passed("unit").is_none());
        fs::remove_dir_all(world).unwrap();
    }
}
