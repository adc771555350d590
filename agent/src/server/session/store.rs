//! The last output of sessions on disk: `sessions/NAME.log`, what is known about it in `NAME.json`, and `NAME.previous.log` of the one before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::protocol::name::SessionName;

/// How much of a session's output is kept on disk.
pub const LOG_BYTES: usize = 256 * 1024;

/// The code of a session that was running when its sandbox ended: 128 + SIGKILL.
pub const KILLED_WITH_THE_SANDBOX: i32 = 137;

/// How many ended sessions are brought back at a start, the last to have written first.
const RESTORED: usize = 8;

/// What is known about a session's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    pub id: String,
    /// Offset of the log's first byte.
    pub start: u64,
    pub exited: Option<i32>,
    pub started_at: u64,
    pub last_output_at: u64,
    #[serde(default)]
    pub title: String,
    pub columns: u16,
    pub rows: u16,
}

/// The folder of all logs.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

impl Store {
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("sessions"))
    }

    /// Replaces the log. Both files are renamed into place; blocks.
    ///
    /// # Errors
    /// The disk is full or the folder cannot be written.
    pub fn save(&self, name: &SessionName, saved: &Saved, output: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        self.replace(&format!("{name}.log"), output)?;
        self.replace(&format!("{name}.json"), &serde_json::to_vec(saved)?)
    }

    /// Makes way for a new session of this name.
    pub fn retire(&self, name: &SessionName) {
        let _ = fs::rename(self.0.join(format!("{name}.log")), self.0.join(format!("{name}.previous.log")));
        let _ = fs::remove_file(self.0.join(format!("{name}.json")));
    }

    pub fn delete(&self, name: &SessionName) {
        for ending in ["log", "json", "previous.log"] {
            let _ = fs::remove_file(self.0.join(format!("{name}.{ending}")));
        }
    }

    /// The output of the session before this one, or none.
    pub fn previous(&self, name: &SessionName) -> Option<Vec<u8>> {
        fs::read(self.0.join(format!("{name}.previous.log"))).ok()
    }

    /// Sessions that a former agent left here.
    pub fn load(&self) -> Vec<(SessionName, Saved, Vec<u8>)> {
        let mut found: Vec<(SessionName, Saved)> = fs::read_dir(&self.0)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok()?;
                Some((name, serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?))
            })
            .collect();
        found.sort_by_key(|(_, saved)| std::cmp::Reverse(saved.last_output_at));
        found.truncate(RESTORED);
        let with_output = found.into_iter().map(|(name, saved)| {
            let mut output = fs::read(self.0.join(format!("{name}.log"))).unwrap_or_default();
            output.truncate(LOG_BYTES);
            (name, saved, output)
        });
        with_output.collect()
    }

    fn replace(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.0.join(format!("{file}.new"));
        fs::write(&new, bytes)?;
        fs::rename(new, self.0.join(file))
    }
}
