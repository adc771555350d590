//! What `git status --porcelain=v2 --branch -z` says, as it is shown.

use jiff::Timestamp;
use serde::Serialize;

/// How many changed files are shown.
const MOST: usize = 500;

/// A project's repository, as it is in the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RepositoryStatus)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its address; `null` where the project has none.
    pub url: Option<String>,
    /// Where it is in the home folder.
    pub folder: Option<String>,
    /// What is checked out; `null` where that is no branch.
    pub branch: Option<String>,
    /// What the branch follows: `origin/main`.
    pub upstream: Option<String>,
    /// How many commits are not pushed, as of the last fetch or push.
    pub ahead: Option<u64>,
    /// How many are not pulled, as of the last fetch or push.
    pub behind: Option<u64>,
    /// When that was: the last clone, fetch or push that told of what the branch follows.
    pub fetched_at: Option<Timestamp>,
    /// The last commit.
    pub commit: Option<Commit>,
    /// Files that differ from it: five hundred at most.
    pub changes: Vec<Change>,
    /// Whether there are more.
    pub more: bool,
    /// Folders that can be published, where the project has no repository.
    pub folders: Vec<Folder>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// Its hash, shortened.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = FileChange)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// From the repository's folder on. A folder that is new as a whole ends in `/`.
    pub path: String,
    /// `added`, `modified`, `deleted`, `renamed`, or `conflict`.
    pub kind: &'static str,
}

/// A folder of the home folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = HomeFolder)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// Its name.
    pub name: String,
    /// Whether it is a repository already.
    pub repository: bool,
}

/// Of what [`super::script::STATUS`] says.
#[must_use]
pub fn read(output: &[u8]) -> Status {
    let text = String::from_utf8_lossy(output);
    let whole = text.ends_with('\0');
    let mut fields = text.split('\0');
    let mut next = || fields.next().unwrap_or_default().to_owned();
    let (id, subject, _origin, heard) = (next(), next(), next(), next());
    let fetched_at = heard.trim().parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let commit = (!id.is_empty()).then_some(Commit { id, subject });
    let mut status = Status { commit, fetched_at, more: !whole, ..Status::default() };
    let mut entries: Vec<&str> = fields.filter(|entry| !entry.is_empty()).collect();
    if !whole {
        entries.pop();
    }
    let mut entries = entries.into_iter();
    while let Some(entry) = entries.next() {
        if let Some(head) = entry.strip_prefix("# ") {
            header(&mut status, head);
            continue;
        }
        let Some(change) = change(entry) else { continue };
        if change.kind == "renamed" {
            // Where it was.
            entries.next();
        }
        if status.changes.len() == MOST {
            status.more = true;
            break;
        }
        status.changes.push(change);
    }
    status
}

fn header(status: &mut Status, head: &str) {
    match head.split_once(' ') {
        Some(("branch.head", name)) => status.branch = (name != "(detached)").then(|| name.to_owned()),
        Some(("branch.upstream", name)) => status.upstream = Some(name.to_owned()),
        Some(("branch.ab", counts)) => {
            let (ahead, behind) = counts.split_once(' ').unwrap_or_default();
            status.ahead = ahead.trim_start_matches('+').parse().ok();
            status.behind = behind.trim_start_matches('-').parse().ok();
        }
        _ => {}
    }
}

/// The path is the rest behind so many fields.
fn change(entry: &str) -> Option<Change> {
    let (form, rest) = entry.split_once(' ')?;
    let path = |fields: usize| rest.splitn(fields + 1, ' ').nth(fields).map(str::to_owned);
    let letters = rest.get(..2).unwrap_or_default();
    let (kind, path) = match form {
        "1" => {
            let kind = match letters {
                letters if letters.contains('D') => "deleted",
                letters if letters.contains('A') => "added",
                _ => "modified",
            };
            (kind, path(7)?)
        }
        "2" => ("renamed", path(8)?),
        "u" => ("conflict", path(9)?),
        "?" => ("added", rest.to_owned()),
        _ => return None,
    };
    Some(Change { path, kind })
}

/// Of what [`super::script::FOLDERS`] says.
#[must_use]
pub fn folders(output: &[u8]) -> Vec<Folder> {
    let text = String::from_utf8_lossy(output);
    let one = |entry: &str| {
        let (is, name) = entry.split_at_checked(1)?;
        super::folder_name(name).ok().map(|name| Folder { name: name.to_owned(), repository: is == "y" })
    };
    text.split_terminator('\0').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_is_read() {
        let zeros = "N... 100644 100644 100644 0 0";
        let lines = [
            "abc123",
            "A subject",
            "https://github.com/a/b",
            "1767323045",
            "# branch.oid abc",
            "# branch.head fix/totals",
            "# branch.upstream origin/fix/totals",
            "# branch.ab +2 -13",
            &format!("1 .M {zeros} a file with spaces"),
            &format!("1 A. {zeros} new"),
            &format!("1 .D {zeros} gone"),
            &format!("2 R. {zeros} R100 to\nthere"),
            "from here",
            "u UU N... 1 1 1 1 0 0 0 both",
            "? folder/",
        ];
        let status = read((lines.join("\0") + "\0").as_bytes());
        assert_eq!(status.commit, Some(Commit { id: "abc123".into(), subject: "A subject".into() }));
        assert_eq!((status.branch.as_deref(), status.upstream.as_deref()), (Some("fix/totals"), Some("origin/fix/totals")));
        assert_eq!((status.ahead, status.behind, status.more), (Some(2), Some(13), false));
        assert_eq!(status.fetched_at.map(|at| at.to_string()).as_deref(), Some("2026-01-02T03:04:05Z"));
        let seen: Vec<(&str, &str)> = status.changes.iter().map(|change| (change.kind, change.path.as_str())).collect();
        let expected = [
            ("modified", "a file with spaces"),
            ("added", "new"),
            ("deleted", "gone"),
            ("renamed", "to\nthere"),
            ("conflict", "both"),
            ("added", "folder/"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_repository_without_commits_and_what_was_cut_off_are_read_too() {
        let status = read(b"\0\0\0\0# branch.oid (initial)\0# branch.head main\0? a\0? cut o");
        assert_eq!((status.commit, status.branch.as_deref(), status.ahead), (None, Some("main"), None));
        assert_eq!(status.fetched_at, None, "nothing is followed");
        assert_eq!((status.changes.len(), status.more), (1, true));
        let many: String = (0..600).map(|n| format!("? {n}\0")).collect();
        let status = read(format!("a\0b\0c\0\0# branch.head (detached)\0{many}").as_bytes());
        assert_eq!((status.branch, status.changes.len(), status.more), (None, MOST, true));
        assert_eq!(read(b""), Status { more: true, ..Status::default() });
    }

    #[test]
    fn hidden_folders_are_none_to_publish() {
        let found = folders(b"yapp\0nOther one\0n.ssh\0");
        let names: Vec<(&str, bool)> = found.iter().map(|folder| (folder.name.as_str(), folder.repository)).collect();
        assert_eq!(names, [("app", true), ("Other one", false)]);
    }
}
