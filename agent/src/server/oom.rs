//! When the kernel last killed a process of the sandbox for want of memory, by the counter of its own cgroup. A process alone is
//! killed where nobody asked for the whole group to go with it, and what started it may not notice.

use std::{fs, path::Path};

use super::clock::now_ms;

/// A cgroup of version 2 and of version 1: its limit, and the file with the counter `oom_kill`.
const VERSIONS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.events"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.oom_control"),
];

/// Above this it is version 1's word for "no limit".
const NO_LIMIT: u64 = 1 << 60;

/// Knows of those since it was made.
pub struct Kills {
    /// The file with the counter, where there is one that is the sandbox's own.
    counter: Option<&'static str>,
    known: u64,
    last: Option<u64>,
}

impl Kills {
    pub fn new() -> Self {
        // Without a limit it is the whole machine's, or nobody's.
        let own = VERSIONS.into_iter().find(|(limit, _)| has_limit(limit)).map(|(_, counter)| counter);
        Self { counter: own, known: own.and_then(count).unwrap_or(0), last: None }
    }

    /// Looks, and answers when one was last found to have been killed, in milliseconds since 1970.
    pub fn look(&mut self) -> Option<u64> {
        let count = self.counter.and_then(count)?;
        if count > self.known {
            self.last = Some(now_ms());
        }
        self.known = count;
        self.last
    }
}

fn has_limit(file: impl AsRef<Path>) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|limit| limit < NO_LIMIT))
}

fn count(file: impl AsRef<Path>) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        assert_eq!(count(file("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n")), Some(2));
        assert_eq!(count(file("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")), Some(7));
        assert_eq!(count(folder.path().join("nothing")), None);
        assert!(has_limit(file("memory.max", "268435456\n")));
        assert!(!has_limit(file("memory.max", "max\n")));
        assert!(!has_limit(file("memory.limit_in_bytes", "9223372036854771712\n")));
    }
}
