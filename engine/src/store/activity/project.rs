//! What a project is asked for: made, run, changed, deleted. In the name of who asks.

use super::{Entry, OWNER_NOT_ALLOWED, asked_for};
use crate::store::{
    Ask, ProjectAndSandbox,
    intent::{self, EnvDelta},
};
use model::{Desired, DisplayName, env::EnvKey, resources::Preset};
use serde_json::json;
use std::net::IpAddr;

/// How many names a title shows, and how many are in the data.
const SHOWN_NAMES: usize = 8;
const MOST_NAMES: usize = 100;

/// A project was made.
pub(in crate::store) fn created(row: &ProjectAndSandbox) -> Entry {
    let database = if row.project.database.is_some() { "with a database" } else { "without a database" };
    let detail = format!("{} size, {database}", size(row.project.preset));
    let mut data = json!({ "verb": "create", "generation": row.sandbox.generation, "preset": row.project.preset.as_str() });
    let Some(extra) = &row.project.extra else { return asked_for("Made the project", Some(detail), data) };
    (data["sandbox"], data["branch"]) = (json!(row.project.id), json!(extra.branch));
    asked_for(format!("Added the sandbox {}", extra.branch), Some(detail), data)
}

/// The password of a project's database was reset.
pub(in crate::store) fn password_reset(row: &ProjectAndSandbox) -> Entry {
    let waits = row.sandbox.desired == Desired::Running;
    asked_for(
        "Reset the database’s password",
        waits.then(|| "What runs has the old one until a restart".to_owned()),
        json!({ "verb": "reset-password" }),
    )
}

/// Somebody had the password of a project's database shown.
#[must_use]
pub fn password_revealed(from: IpAddr) -> Entry {
    let data = json!({ "verb": "reveal-password", "from": from });
    asked_for("Revealed the database’s password", Some(format!("From {from}")), data)
}

/// An ask was stored, as the row is now.
pub(in crate::store) fn asked(row: &ProjectAndSandbox, ask: &Ask) -> Entry {
    let (title, keys) = match ask {
        Ask::Start => ("Started the sandbox", Vec::new()),
        Ask::Restart(request) => ("Restarted the sandbox", request.keys().map(EnvKey::as_str).collect()),
        Ask::Stop => ("Stopped the sandbox", Vec::new()),
        Ask::Terminate => ("Terminated the sandbox", Vec::new()),
    };
    let detail = (!keys.is_empty()).then(|| format!("With {} for this run", names(&keys)));
    let mut data = json!({ "verb": ask.verb(), "generation": row.sandbox.generation });
    if !keys.is_empty() {
        data["envVars"] = keys.into_iter().take(MOST_NAMES).collect();
    }
    asked_for(title, detail, data)
}

/// A sandbox was stopped, in this generation, because its owner may not sign in any more.
pub(in crate::store) fn stopped_with_its_owner(generation: i64) -> Entry {
    let data = json!({ "verb": Ask::Stop.verb(), "generation": generation });
    asked_for("Stopped the sandbox", Some(OWNER_NOT_ALLOWED.to_owned()), data)
}

/// A project was marked for deletion.
pub(in crate::store) fn deleted(row: &ProjectAndSandbox) -> Entry {
    let detail = Some("Sandbox, files and database are being removed".to_owned());
    let mut data = json!({ "verb": "delete", "generation": row.sandbox.generation });
    let Some(extra) = &row.project.extra else { return asked_for("Deleted the project", detail, data) };
    (data["sandbox"], data["branch"]) = (json!(row.project.id), json!(extra.branch));
    asked_for(format!("Removed the sandbox {}", extra.branch), detail, data)
}

/// A project's name and size were set; what of it is new.
pub(in crate::store) fn updated(before: &ProjectAndSandbox, name: &DisplayName, preset: Preset) -> Vec<Entry> {
    let mut entries = Vec::new();
    if before.project.name != *name {
        let (old, new) = (before.project.name.as_str(), name.as_str());
        entries.push(asked_for(
            format!("Renamed the project to “{new}”"),
            Some(format!("It was called “{old}”")),
            json!({ "verb": "rename", "from": old, "to": new }),
        ));
    }
    if before.project.preset != preset {
        let (old, new) = (before.project.preset, preset);
        let mut after = before.clone();
        after.project.preset = new;
        let at_once = intent::is_resized(&after);
        entries.push(asked_for(
            format!("Changed the size from {} to {}", size(old), size(new)),
            Some(if at_once { "The sandbox goes on in a new run of that size" } else { "Applied at the next start" }.to_owned()),
            json!({ "verb": "resize", "from": old.as_str(), "to": new.as_str() }),
        ));
    }
    entries
}

/// A project's variables were changed. Names alone: values are nobody's to read.
pub(in crate::store) fn env_changed(row: &ProjectAndSandbox, current: &intent::Env, delta: &EnvDelta) -> Entry {
    let changed = texts(delta.set.keys().filter(|key| current.contains_key(*key)));
    let added = texts(delta.set.keys().filter(|key| !current.contains_key(*key)));
    let removed = texts(delta.removed.iter());
    let parts = [("changed", &changed), ("added", &added), ("removed", &removed)];
    let parts: Vec<_> =
        parts.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(verb, keys)| format!("{verb} {}", names(keys))).collect();
    let title = capitalised(parts.join(", "));
    let waits = row.sandbox.desired == Desired::Running;
    let first = |keys: Vec<&str>| keys.into_iter().take(MOST_NAMES).map(str::to_owned).collect::<Vec<_>>();
    let data = json!({ "verb": "env", "changed": first(changed), "added": first(added), "removed": first(removed) });
    asked_for(title, waits.then(|| "Waits for a restart".to_owned()), data)
}

fn size(preset: Preset) -> String {
    capitalised(preset.as_str().to_owned())
}

fn capitalised(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

fn texts<'a>(keys: impl Iterator<Item = &'a EnvKey>) -> Vec<&'a str> {
    keys.map(EnvKey::as_str).collect()
}

fn names(keys: &[&str]) -> String {
    let shown = keys.iter().take(SHOWN_NAMES).copied().collect::<Vec<_>>().join(", ");
    match keys.len().saturating_sub(SHOWN_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::activity::tests::{at, row, words};
    use secrecy::SecretString;
    use std::collections::BTreeMap;

    #[test]
    fn variables_are_told_by_name_alone() {
        let env = |pairs: &[(&str, &str)]| -> BTreeMap<EnvKey, SecretString> {
            pairs.iter().map(|(k, v)| (k.parse().unwrap(), SecretString::from(*v))).collect()
        };
        let current: intent::Env = env(&[("A", "1"), ("B", "2")]).into_iter().map(|(k, v)| (k, (v, at(0)))).collect();
        let delta = intent::change_env(&current, env(&[("A", "hunter2"), ("C", "hunter3")]), &["B".to_owned()]).unwrap();
        let entry = env_changed(&row(), &current, &delta);
        assert_eq!(words(std::slice::from_ref(&entry)), [("Changed A, added C, removed B", "Waits for a restart")]);
        assert!(!format!("{entry:?}").contains("hunter"));
        let many = (0..12).map(|n| format!("K{n:02}")).collect::<Vec<_>>();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(names(&many).ends_with("K07 and 4 more"), "{}", names(&many));
    }
}
