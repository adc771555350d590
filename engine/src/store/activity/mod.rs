//! What is told of a project, in plain words: who asked for what, how phases changed and how long that
//! took, what stood in the way. Pure functions of rows; the stores write what they say in the same
//! transaction as the change itself.
//!
//! ```text
//!   Control ── by(actor) ─▶ ask, create, update, env, delete ─┐
//!   reconcile ── pass(before, found) ─▶ record ───────────────┼─▶ Entry ─▶ activity
//!   reconcile, server ── tell ────────────────────────────────┘
//! ```

mod account;
mod events;
mod network;
mod passes;
mod project;
mod shares;
mod time;
mod visits;

pub(super) use account::{claude_changed, not_allowed_any_more, token_made, token_revoked, token_revoked_with_its_maker};
pub use account::{github_connected, github_disconnected, github_revoked, sessions_ended, signed_in, signed_out};
pub(super) use events::buried;
pub use events::{adopted, database_lost, database_mended, home_lost};
pub use network::{refused, refused_others};
pub use passes::{killed, pass};
pub use project::password_revealed;
pub(super) use project::{asked, created, deleted, env_changed, password_reset, stopped_with_its_owner, updated};
pub use shares::{made_private, shared};
pub(super) use shares::{made_private_with_its_owner, made_private_with_its_token};
pub use visits::{FileChange, command_run, files_changed, terminal_opened};

use jiff::Timestamp;
use model::{
    ProjectId,
    activity::{ActivityKind, Actor},
    text::clean,
};
use serde_json::Value;
use std::future::Future;

/// What a sandbox's owner does not decide (the name of a host that a program inside asked for) is cut to so
/// many characters.
const LONGEST_FOREIGN: usize = 120;

/// Why something of a project ends by itself, where its owner is shut out.
const OWNER_NOT_ALLOWED: &str = "Its owner may not sign in here any more";

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What sort of thing.
    pub kind: ActivityKind,
    /// Who, and from where.
    pub actor: Actor,
    /// What happened.
    pub title: String,
    /// How, why, and how long it took.
    pub detail: Option<String>,
    /// The same for programs: an object.
    pub data: Value,
    /// Entries of one project with the same bucket are one row, whose `times` goes up: what may happen
    /// again and again by itself floods nobody. One with the time of the row's last is the same one told again, and not counted.
    pub bucket: Option<String>,
}

impl Entry {
    /// As it can be stored: programs inside, clusters and hosts have a say in what is told.
    pub(super) fn storable(&self) -> Self {
        let Self { kind, actor, title, detail, data, bucket } = self.clone();
        let Actor { name, via, token } = actor;
        let actor = Actor { name: clean(name), via, token: token.map(clean) };
        Self { kind, actor, title: clean(title), detail: detail.map(clean), data: cleaned(data), bucket: bucket.map(clean) }
    }
}

fn cleaned(data: Value) -> Value {
    match data {
        Value::String(text) => clean(text).into(),
        Value::Array(all) => all.into_iter().map(cleaned).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (clean(name), cleaned(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => data,
    }
}

/// Which rows are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Of one project.
    pub project: Option<ProjectId>,
    /// Of these kinds; of all where there are none.
    pub kinds: Vec<ActivityKind>,
    /// By the name of who asked, or of their token, or `browser`, `token`, `system`.
    pub actor: Option<String>,
    /// That last happened at or after.
    pub since: Option<Timestamp>,
    /// In whose words this stands, whatever its case.
    pub search: Option<String>,
    /// With a smaller id: the next page.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

tokio::task_local! {
    static ASKED_BY: Actor;
}

/// Runs what asks the store for something, in somebody's name: activity says who. No rule of the store goes
/// by it, so that verbs need not carry it.
pub fn by<F: Future>(actor: Actor, asks: F) -> impl Future<Output = F::Output> {
    ASKED_BY.scope(actor, asks)
}

/// In whose name the present task asks.
pub(super) fn asker() -> Actor {
    ASKED_BY.try_with(Clone::clone).unwrap_or_else(|_| Actor::system())
}

fn asked_for(title: impl Into<String>, detail: Option<String>, data: Value) -> Entry {
    Entry { kind: ActivityKind::Ask, actor: asker(), title: title.into(), detail, data, bucket: None }
}

/// What comes from inside, as a title shows it.
fn foreign(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_FOREIGN).collect()
}

fn told(kind: ActivityKind, title: impl Into<String>, detail: Option<String>, data: Value, bucket: Option<String>) -> Entry {
    Entry { kind, actor: Actor::system(), title: title.into(), detail, data, bucket }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Ask, ProjectAndSandbox, contract::least, intent};
    use model::{Slug, resources::Sizes};

    pub(super) fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    pub(super) fn row() -> ProjectAndSandbox {
        let new = least(at(0));
        intent::create(&new, None, &Sizes::default(), Slug::derive(&new.name, 0), new.random)
    }

    pub(super) fn words(entries: &[Entry]) -> Vec<(&str, &str)> {
        entries.iter().map(|entry| (entry.title.as_str(), entry.detail.as_deref().unwrap_or_default())).collect()
    }

    #[tokio::test]
    async fn an_ask_is_in_the_name_of_who_asks() {
        let ada = Actor { name: "ada".into(), via: model::activity::Via::Token, token: Some("ci".into()) };
        assert_eq!(by(ada.clone(), async { asked(&row(), &Ask::Stop).actor }).await, ada);
        assert_eq!(asked(&row(), &Ask::Stop).actor, Actor::system());
    }
}
