//! A fresh clone finds again what another checkout has built from the same content.
//!
//! cargo asks whether a source is newer than what was made of it, and in a fresh clone every file is.
//! So the target folder remembers what it was last built from: each file that git does not ignore, with a hash of its
//! content and when it changed. In another checkout a file of the same content is given that time, and
//! one of other content is given the present: checkouts that share a target folder, whose crates cargo
//! does not tell apart, never take each other's for theirs. So no crate may be compiled with the path of its checkout:
//! a test runs in its package's folder, and says `../docs`.

use crate::shell::{self, Cmd, say};
use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Gives the sources of this checkout the times that the target folder knows, and remembers them.
/// Where that does not work, more is compiled than has to be.
pub fn recall() {
    if let Err(error) = recall_from(&shell::root(), &shell::target().join("sources.txt")) {
        say(format!("Everything is compiled again: {error:#}"));
    }
}

fn recall_from(root: &Path, record: &Path) -> Result<()> {
    let Some(now) = Sources::of(root)? else { return Ok(()) };
    if let Some(before) = fs::read_to_string(record).ok().and_then(|text| Sources::read(&text))
        && before.checkout != now.checkout
    {
        let present = SystemTime::now();
        for (path, source) in &now.files {
            let known = before.files.get(path).filter(|known| known.hash == source.hash);
            let times = FileTimes::new().set_modified(known.map_or(present, |known| known.changed));
            File::open(root.join(path))
                .and_then(|file| file.set_times(times))
                .with_context(|| format!("set the time of {path}"))?;
        }
    }
    let Some(now) = Sources::of(root)? else { return Ok(()) };
    if let Some(folder) = record.parent() {
        fs::create_dir_all(folder)?;
    }
    shell::write(record, now.write().as_bytes())
}

/// A hash of all files of a checkout that git does not ignore, by path and content; nothing without git or a repository.
pub fn digest(root: &Path) -> Result<Option<[u8; 32]>> {
    let Some(sources) = Sources::of(root)? else { return Ok(None) };
    let mut all = Sha256::new();
    for (path, Source { hash, .. }) in &sources.files {
        all.update(path.as_bytes());
        all.update([0]);
        all.update(hash.as_bytes());
    }
    Ok(Some(all.finalize().into()))
}

/// A checkout's files, without what git ignores, and the folders that they are in.
#[derive(Debug, PartialEq, Eq)]
struct Sources {
    /// Which checkout: a path alone may be a new clone's.
    checkout: String,
    files: BTreeMap<String, Source>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    /// Of a file's content; of a folder, of the names and contents below it.
    hash: String,
    changed: SystemTime,
}

impl Sources {
    /// Nothing where there is no git, or no repository.
    fn of(root: &Path) -> Result<Option<Self>> {
        if !shell::has("git") || !root.join(".git").exists() {
            return Ok(None);
        }
        let listed = Cmd::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).dir(root).read()?;
        let mut files = BTreeMap::new();
        let mut folders: BTreeMap<&str, Sha256> = BTreeMap::new();
        let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty() && !path.contains('\n')).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            // One that was removed, and a link, which cargo would follow.
            if !fs::symlink_metadata(root.join(path)).is_ok_and(|about| about.is_file()) {
                continue;
            }
            let hash = Sha256::digest(fs::read(root.join(path)).with_context(|| format!("read {path}"))?);
            let mut folder = path;
            while let Some((above, _)) = folder.rsplit_once('/') {
                let content = folders.entry(above).or_default();
                content.update(path.as_bytes());
                content.update(hash);
                folder = above;
            }
            files.insert(path.to_owned(), Source { hash: hex::encode(hash), changed: changed(root, path)? });
        }
        for (path, content) in folders {
            files.insert(path.to_owned(), Source { hash: hex::encode(content.finalize()), changed: changed(root, path)? });
        }
        let about = fs::metadata(root)?;
        let made = about.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let checkout = format!("{} {} {} {}", about.dev(), about.ino(), made.as_nanos(), root.display());
        Ok(Some(Self { checkout, files }))
    }

    fn write(&self) -> String {
        let mut text = format!("{}\n", self.checkout);
        for (path, Source { hash, changed }) in &self.files {
            let nanos = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            text.push_str(&format!("{hash} {nanos} {path}\n"));
        }
        text
    }

    fn read(text: &str) -> Option<Self> {
        let (checkout, rest) = text.split_once('\n')?;
        let mut files = BTreeMap::new();
        for line in rest.lines() {
            let (hash, rest) = line.split_once(' ')?;
            let (nanos, path) = rest.split_once(' ')?;
            let changed = UNIX_EPOCH + Duration::from_nanos(nanos.parse().ok()?);
            files.insert(path.to_owned(), Source { hash: hash.to_owned(), changed });
        }
        Some(Self { checkout: checkout.to_owned(), files })
    }
}

fn changed(root: &Path, path: &str) -> Result<SystemTime> {
    fs::metadata(root.join(path)).and_then(|about| about.modified()).with_context(|| format!("ask when {path} changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(root: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), content).unwrap();
        }
        for args in [vec!["init", "--quiet"], vec!["add", "."]] {
            Cmd::new("git").args(args).dir(root).run().unwrap();
        }
    }

    fn age(root: &Path, path: &str, seconds: u64) -> SystemTime {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        File::open(root.join(path)).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        time
    }

    /// It would be the first checkout's in the programs that all others take over.
    #[test]
    fn no_crate_is_compiled_with_the_path_of_its_checkout() {
        let root = shell::root();
        let listed = Cmd::new("git").args(["ls-files", "*.rs"]).dir(&root).read().unwrap();
        let word = concat!("env!(\"CARGO_", "MANIFEST_DIR\")");
        let with = |path: &&str| fs::read_to_string(root.join(path)).is_ok_and(|text| text.contains(word));
        let found: Vec<&str> = listed.lines().filter(with).collect();
        assert_eq!(found, ["xtask/src/shell.rs"], "which asks at run time first; a test runs in its package's folder");
    }

    #[test]
    fn another_checkout_gets_the_times_of_what_is_the_same_and_the_present_for_what_is_not() {
        let world = std::env::temp_dir().join(format!("fsa-sources-{}", std::process::id()));
        let (first, second, record) = (world.join("first"), world.join("second"), world.join("sources.txt"));
        checkout(&first, &[("a/same.rs", "1"), ("a/other.rs", "2"), ("b/same.rs", "3")]);
        checkout(&second, &[("a/same.rs", "1"), ("a/other.rs", "changed"), ("b/same.rs", "3"), ("c/new.rs", "4")]);
        let same = age(&first, "a/same.rs", 1_000);
        let folder = age(&first, "b", 2_000);
        age(&first, "a", 3_000);
        let old = age(&second, "a/other.rs", 500);
        recall_from(&first, &record).unwrap();
        assert_eq!(changed(&first, "a/same.rs").unwrap(), same, "one's own are left alone");

        let begun = SystemTime::now() - Duration::from_secs(1);
        recall_from(&second, &record).unwrap();
        assert_eq!(changed(&second, "a/same.rs").unwrap(), same);
        assert_eq!(changed(&second, "b").unwrap(), folder);
        assert!(changed(&second, "a/other.rs").unwrap() > begun.max(old), "what the first built of its own is older");
        assert!(changed(&second, "a").unwrap() > begun);
        assert!(changed(&second, "c/new.rs").unwrap() > begun);

        // What is edited later in the same checkout keeps its own time.
        fs::write(second.join("a/same.rs"), "edited").unwrap();
        let edited = changed(&second, "a/same.rs").unwrap();
        recall_from(&second, &record).unwrap();
        assert_eq!(changed(&second, "a/same.rs").unwrap(), edited);
        let known = Sources::read(&fs::read_to_string(&record).unwrap()).unwrap();
        assert_eq!(known.files["a/same.rs"].changed, edited);
        fs::remove_dir_all(world).unwrap();
    }
}
