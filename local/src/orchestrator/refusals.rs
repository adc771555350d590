//! Connections out of sandboxes that were refused, as their keepers logged them.
//!
//! A keeper tells how many there were with its status; only where that went up is its log read on. The
//! keeper itself logs one destination once a minute at most, whatever programs inside try.

use engine::orchestrator::Refused;
use jiff::Timestamp;
use model::SandboxId;
use std::{collections::HashMap, io::SeekFrom, path::PathBuf};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::Mutex,
};

/// How much of a log is read at a look; what is more comes with the next.
const AT_ONCE: u64 = 256 * 1024;

/// What was told already.
#[derive(Debug)]
pub(super) struct Refusals {
    /// What was logged before is another process' to tell.
    began: Timestamp,
    seen: Mutex<HashMap<SandboxId, Seen>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    count: u64,
    read: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { began: Timestamp::now(), seen: Mutex::default() }
    }
}

impl Refusals {
    /// What is new, by how many each keeper has refused.
    pub(super) async fn look(&self, counts: &[(SandboxId, u64)], log: impl Fn(SandboxId) -> PathBuf) -> Vec<Refused> {
        let mut all = self.seen.lock().await;
        all.retain(|id, _| counts.iter().any(|(known, _)| known == id));
        let mut found = Vec::new();
        for (id, count) in counts {
            let seen = all.entry(*id).or_default();
            if seen.count == *count {
                continue;
            }
            match read_on(log(*id), seen.read).await {
                Ok((lines, read)) => {
                    // A log that is read to its end is read on when the count goes up again.
                    let ended = read == seen.read || (lines.len() as u64) < AT_ONCE;
                    *seen = Seen { count: if ended { *count } else { seen.count }, read };
                    let lines = String::from_utf8_lossy(&lines);
                    found.extend(lines.lines().filter_map(|line| refusal(*id, line)).filter(|refused| refused.at >= self.began));
                }
                Err(error) => tracing::debug!(sandbox.id = %id, "cannot read what was refused: {error}"),
            }
        }
        found
    }
}

/// Whole lines from `from` on, or from the beginning where the log began anew; and up to where.
async fn read_on(path: PathBuf, from: u64) -> std::io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path).await?;
    let from = if file.metadata().await?.len() < from { 0 } else { from };
    file.seek(SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    file.take(AT_ONCE).read_to_end(&mut bytes).await?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    // A line that is longer than all that was read is none of ours.
    let whole = if whole == 0 && bytes.len() as u64 == AT_ONCE { bytes.len() } else { whole };
    bytes.truncate(whole);
    Ok((bytes, from + whole as u64))
}

/// `2026-11-28T17:00:00Z refused example.com:80: a private address`.
fn refusal(sandbox: SandboxId, line: &str) -> Option<Refused> {
    let (at, text) = line.split_once(' ')?;
    let (to, why) = text.strip_prefix("refused ")?.rsplit_once(": ")?;
    Some(Refused { sandbox, at: at.parse().ok()?, to: to.to_owned(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use uuid::Uuid;

    fn line(text: &str) -> String {
        format!("{} {text}\n", Timestamp::now())
    }

    #[tokio::test]
    async fn what_is_new_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper.log");
        let id = SandboxId(Uuid::from_u128(1));
        std::fs::write(&path, "2020-01-01T00:00:00Z refused old.example:80: a private address\n").unwrap();
        let refusals = Refusals::default();
        let look = async |count| {
            let found = refusals.look(&[(id, count)], |_| path.clone()).await;
            found.into_iter().map(|refused| format!("{} {}", refused.to, refused.why)).collect::<Vec<_>>()
        };
        let append = |text: &str| {
            std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        append(&line("keeping it"));
        append(&line("refused [fd00::1]:443: a private address"));
        append("half a li");
        assert_eq!(look(0).await, [""; 0], "nothing was refused: the log is not read");
        assert_eq!(look(1).await, ["[fd00::1]:443 a private address"]);
        assert_eq!(look(1).await, [""; 0]);
        append(&format!("ne\n{}", line("refused a.example:80: an address of this machine")));
        assert_eq!(look(2).await, ["a.example:80 an address of this machine"]);
        std::fs::write(&path, line("refused b:1: a private address")).unwrap();
        assert_eq!(look(3).await, ["b:1 a private address"], "the log began anew");
    }
}
