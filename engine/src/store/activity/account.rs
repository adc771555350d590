//! What happens to an account: tokens, sign-in, its Claude credentials, GitHub.

use super::{Entry, asked_for, told};
use crate::store::claude::Claude;
use jiff::Timestamp;
use model::activity::{ActivityKind, Actor, Via};
use serde_json::{Value, json};
use std::net::IpAddr;

/// An API token was made.
pub(in crate::store) fn token_made(name: &str, scope: &str, expires_at: Option<Timestamp>) -> Entry {
    let until = expires_at.map_or_else(|| "it does not expire".to_owned(), |at| format!("until {at:.0}"));
    let data = json!({ "event": "token-made", "name": name, "scope": scope });
    of_account(format!("Made the token “{name}”"), Some(format!("Scope {scope}, {until}")), data)
}

/// An API token was revoked.
pub(in crate::store) fn token_revoked(name: &str) -> Entry {
    of_account(format!("Revoked the token “{name}”"), None, json!({ "event": "token-revoked", "name": name }))
}

/// An API token was revoked because the one that made it was.
pub(in crate::store) fn token_revoked_with_its_maker(name: &str) -> Entry {
    Entry { detail: Some("The token that made it was revoked".to_owned()), ..token_revoked(name) }
}

/// The account's own Claude credentials were set, replaced or removed; whether there were some `before`.
pub(in crate::store) fn claude_changed(before: bool, now: Option<&Claude>) -> Entry {
    let Some(now) = now else {
        return of_account("Removed Claude credentials".to_owned(), None, json!({ "event": "claude-removed" }));
    };
    let (verb, event) = if before { ("Replaced", "claude-replaced") } else { ("Set", "claude-set") };
    let to = now.base_url.as_ref().map_or_else(|| "Anthropic’s own address".to_owned(), Clone::clone);
    let data = json!({ "event": event, "kind": now.kind, "baseUrl": now.base_url });
    of_account(format!("{verb} Claude credentials"), Some(format!("An {} for {to}", now.kind.words())), data)
}

/// Somebody signed in. `how`: `by the link`, `by GitHub`.
#[must_use]
pub fn signed_in(name: &str, how: &str, from: IpAddr) -> Entry {
    let actor = Actor { name: name.to_owned(), via: Via::Browser, token: None };
    let entry = of_account(format!("Signed in {how}"), Some(format!("From {from}")), json!({ "event": "sign-in", "from": from }));
    Entry { actor, ..entry }
}

/// Somebody signed out.
#[must_use]
pub fn signed_out(name: &str, everywhere: bool, from: IpAddr) -> Entry {
    let actor = Actor { name: name.to_owned(), via: Via::Browser, token: None };
    let title = if everywhere { "Signed out everywhere" } else { "Signed out" };
    let data = json!({ "event": "sign-out", "everywhere": everywhere, "from": from });
    Entry { actor, ..of_account(title.to_owned(), Some(format!("From {from}")), data) }
}

/// Sessions were ended from the list of them; `others`: all but the one that asked.
#[must_use]
pub fn sessions_ended(others: bool, count: u64) -> Entry {
    let title = match (others, count) {
        (false, _) => "Ended a session".to_owned(),
        (true, 1) => "Ended the other session".to_owned(),
        (true, _) => format!("Ended the {count} other sessions"),
    };
    of_account(title, None, json!({ "event": "sessions-ended", "others": others, "count": count }))
}

/// A GitHub account was connected.
#[must_use]
pub fn github_connected(login: &str) -> Entry {
    let data = json!({ "event": "github-connected", "login": login });
    of_account(format!("Connected the GitHub account {login}"), None, data)
}

/// The GitHub account was disconnected, and its token forgotten.
#[must_use]
pub fn github_disconnected() -> Entry {
    of_account("Disconnected GitHub".to_owned(), None, json!({ "event": "github-disconnected" }))
}

/// GitHub said that it does not take an account's token any more.
#[must_use]
pub fn github_revoked(login: &str) -> Entry {
    let title = format!("GitHub does not give access to the account {login} any more");
    let detail = "It was revoked there, or has ended. Connect GitHub again, in the settings".to_owned();
    told(ActivityKind::Account, title, Some(detail), json!({ "event": "github-revoked", "login": login }), None)
}

/// Somebody was signed out, since they may not sign in by GitHub any more.
pub(in crate::store) fn not_allowed_any_more(login: &str) -> Entry {
    let title = format!("Signed out: {login} may not sign in here any more");
    let detail = Some("The operator took the GitHub account off the list".to_owned());
    told(ActivityKind::Account, title, detail, json!({ "event": "not-allowed", "login": login }), None)
}

fn of_account(title: String, detail: Option<String>, data: Value) -> Entry {
    Entry { kind: ActivityKind::Account, ..asked_for(title, detail, data) }
}
