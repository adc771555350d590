//! What somebody does inside a sandbox, by terminal, command and files: told once an hour for each of who asks and what.

use super::{Entry, asked_for, foreign, time::hour};
use jiff::Timestamp;
use model::activity::Actor;
use serde_json::{Value, json};

/// A terminal was opened, which begins a shell or joins one: once an hour for each of who asks and each terminal.
#[must_use]
pub fn terminal_opened(session: &str, now: Timestamp) -> Entry {
    let data = json!({ "verb": "terminal", "session": session });
    hourly(format!("Opened the terminal “{session}”"), data, &format!("terminal:{session}"), now)
}

/// A command was run: once an hour for each of who asks and each program. What it was given may be secret, and is not told.
#[must_use]
pub fn command_run(program: &str, now: Timestamp) -> Entry {
    let name = program.rsplit('/').next().unwrap_or_default();
    let shown = foreign(name);
    hourly(format!("Ran {shown}"), json!({ "verb": "exec", "program": shown }), &format!("exec:{shown}"), now)
}

/// What was done to a file or folder by REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// A file was written, or a folder made.
    Written,
    /// It has another name.
    Renamed,
    /// It is gone.
    Deleted,
}

/// Files were changed by REST: once an hour for each of who asks and what was done. An upload is hundreds of them; their
/// names are the folder's to say.
#[must_use]
pub fn files_changed(change: FileChange, now: Timestamp) -> Entry {
    let (title, key) = match change {
        FileChange::Written => ("Wrote files", "write"),
        FileChange::Renamed => ("Renamed files", "rename"),
        FileChange::Deleted => ("Deleted files", "delete"),
    };
    hourly(title.to_owned(), json!({ "verb": "files", "change": key }), &format!("files:{key}"), now)
}

fn hourly(title: String, data: Value, what: &str, now: Timestamp) -> Entry {
    let asked = asked_for(title, None, data);
    let Actor { name, via, token } = &asked.actor;
    let who = format!("{}:{name}:{}", via.as_str(), token.as_deref().unwrap_or_default());
    let bucket = Some(format!("{what}:{who}:{}", hour(now)));
    Entry { bucket, ..asked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::activity::{by, tests::at};
    use model::activity::Via;

    #[tokio::test]
    async fn commands_and_terminals_are_told_once_an_hour_without_what_they_were_given() {
        let ada = Actor { name: "ada".into(), via: Via::Token, token: Some("ci".into()) };
        let (one, again, other) = by(ada, async {
            (command_run("/usr/bin/npm", at(0)), command_run("npm", at(1_000)), command_run("npm", at(4_000_000)))
        })
        .await;
        assert_eq!((one.title.as_str(), &one.bucket), ("Ran npm", &again.bucket));
        assert_ne!(one.bucket, other.bucket);
        assert_ne!(one.bucket, command_run("npm", at(0)).bucket, "by somebody else");
        assert_ne!(terminal_opened("main", at(0)).bucket, terminal_opened("two", at(0)).bucket);
    }

    #[tokio::test]
    async fn changes_to_files_are_told_once_an_hour_for_what_was_done() {
        let told = |change, millis| files_changed(change, at(millis));
        assert_eq!(told(FileChange::Written, 0).bucket, told(FileChange::Written, 1_000).bucket);
        assert_ne!(told(FileChange::Written, 0).bucket, told(FileChange::Written, 4_000_000).bucket);
        assert_ne!(told(FileChange::Written, 0).bucket, told(FileChange::Deleted, 0).bucket);
    }
}
