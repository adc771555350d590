//! What is told of a project, in plain words: who asked for what, how phases changed and how long that
//! took, what stood in the way. Pure functions of rows; the stores write what they say in the same
//! transaction as the change itself.
//!
//! ```text
//!   Control ── by(actor) ─▶ ask, create, update, env, delete ─┐
//!   reconcile ── pass(before, found) ─▶ record ───────────────┼─▶ Entry ─▶ activity
//!   reconcile, server ── tell ────────────────────────────────┘
//! ```

use super::{
    Ask, Pass, ProjectAndSandbox, SandboxRow,
    accounts::shares::Audience,
    claude::Claude,
    intent::{self, EnvDelta},
};
use jiff::Timestamp;
use model::{
    Cause, CauseCode, Desired, DisplayName, Observed, Phase, ProjectId, Stage,
    activity::{ActivityKind, Actor, Via},
    env::EnvKey,
    phase::{overdue_stage, phase},
    resources::Preset,
    text::clean,
};
use serde_json::{Value, json};
use std::{future::Future, net::IpAddr};

/// How many names a title shows, and how many are in the data.
const SHOWN_NAMES: usize = 8;
const MOST_NAMES: usize = 100;
/// What a sandbox's owner does not decide (the name of a host that a program inside asked for) is cut to so
/// many characters.
const LONGEST_FOREIGN: usize = 120;

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

fn told(kind: ActivityKind, title: impl Into<String>, detail: Option<String>, data: Value, bucket: Option<String>) -> Entry {
    Entry { kind, actor: Actor::system(), title: title.into(), detail, data, bucket }
}

/// A project was made.
pub(super) fn created(row: &ProjectAndSandbox) -> Entry {
    let database = if row.project.database.is_some() { "with a database" } else { "without a database" };
    let detail = format!("{} size, {database}", size(row.project.preset));
    let mut data = json!({ "verb": "create", "generation": row.sandbox.generation, "preset": row.project.preset.as_str() });
    let Some(extra) = &row.project.extra else { return asked_for("Made the project", Some(detail), data) };
    (data["sandbox"], data["branch"]) = (json!(row.project.id), json!(extra.branch));
    asked_for(format!("Added the sandbox {}", extra.branch), Some(detail), data)
}

/// The password of a project's database was reset.
pub(super) fn password_reset(row: &ProjectAndSandbox) -> Entry {
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
pub(super) fn asked(row: &ProjectAndSandbox, ask: &Ask) -> Entry {
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

/// A project was marked for deletion.
pub(super) fn deleted(row: &ProjectAndSandbox) -> Entry {
    let detail = Some("Sandbox, files and database are being removed".to_owned());
    let mut data = json!({ "verb": "delete", "generation": row.sandbox.generation });
    let Some(extra) = &row.project.extra else { return asked_for("Deleted the project", detail, data) };
    (data["sandbox"], data["branch"]) = (json!(row.project.id), json!(extra.branch));
    asked_for(format!("Removed the sandbox {}", extra.branch), detail, data)
}

/// A project's name and size were set; what of it is new.
pub(super) fn updated(before: &ProjectAndSandbox, name: &DisplayName, preset: Preset) -> Vec<Entry> {
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
pub(super) fn env_changed(row: &ProjectAndSandbox, current: &super::intent::Env, delta: &EnvDelta) -> Entry {
    let changed = texts(delta.set.keys().filter(|key| current.contains_key(*key)));
    let added = texts(delta.set.keys().filter(|key| !current.contains_key(*key)));
    let removed = texts(delta.removed.iter());
    let parts = [("changed", &changed), ("added", &added), ("removed", &removed)];
    let parts: Vec<_> =
        parts.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(verb, keys)| format!("{verb} {}", names(keys))).collect();
    let mut title = parts.join(", ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let waits = row.sandbox.desired == Desired::Running;
    let first = |keys: Vec<&str>| keys.into_iter().take(MOST_NAMES).map(str::to_owned).collect::<Vec<_>>();
    let data = json!({ "verb": "env", "changed": first(changed), "added": first(added), "removed": first(removed) });
    asked_for(title, waits.then(|| "Waits for a restart".to_owned()), data)
}

/// What a pass found that is worth telling: `before` is the row that it began with.
#[must_use]
pub fn pass(before: &ProjectAndSandbox, pass: &Pass, now: Timestamp) -> Vec<Entry> {
    let sandbox = &before.sandbox;
    if pass.observed == sandbox.observed && pass.cause == sandbox.cause {
        return Vec::new();
    }
    let phase_at = |observed: &Observed, cause: Option<&_>, at| phase(sandbox.intent(), observed, cause, at);
    // What was last told is the phase of the row's last change: a phase that came by time alone is told with
    // the pass that its deadline brings.
    let was = phase_at(&sandbox.observed, sandbox.cause.as_ref(), sandbox.changed_at);
    let is = phase_at(&pass.observed, pass.cause.as_ref(), now);
    let hour = now.as_second() / 3600;
    let generation = sandbox.generation;
    let mut entries = Vec::new();

    let wanted = sandbox.observed.instance.as_ref().filter(|run| run.restart_count == sandbox.restart_count);
    let ended = wanted.filter(|run| {
        sandbox.desired == Desired::Running && pass.observed.instance.as_ref().is_none_or(|other| other.id != run.id)
    });
    if let Some(run) = ended {
        let detail = pass.cause.as_ref().map_or_else(
            || "It is being started again".to_owned(),
            // Its end is not where it is mended.
            |cause| match cause.next_steps.first().filter(|_| cause.code == CauseCode::OutOfMemory) {
                Some(step) => format!("{} {step}", cause.message),
                None => cause.message.clone(),
            },
        );
        let code = pass.cause.as_ref().map(|cause| cause.code.as_str());
        let ran = millis(run.started_at, now);
        let data = json!({ "event": "ended", "generation": generation, "ranMs": ran, "cause": code });
        let how = match &pass.cause {
            Some(cause) if cause.code == CauseCode::DeletedOutside => "was deleted from outside",
            _ => "ended by itself",
        };
        let title = format!("The sandbox {how} after {}", lasting(ran));
        entries.push(told(ActivityKind::Run, title, Some(detail), data, Some(format!("ended:{generation}:{hour}"))));
    } else if let Some(cause) = &pass.cause
        && sandbox.cause.as_ref().is_none_or(|known| known.code != cause.code || killed_again(known, cause))
    {
        let code = cause.code.as_str();
        let when = if cause.code == CauseCode::OutOfMemory { format!("minute-{}", minute(now)) } else { hour.to_string() };
        entries.push(caused(cause, format!("cause:{generation}:{code}:{when}")));
    }
    if ended.is_none() && lost_its_network(before, &pass.observed) {
        let data = json!({ "event": "mended", "generation": generation });
        let title = "Something of the sandbox was deleted or changed from outside";
        let detail = "It is put right, and the run goes on".to_owned();
        entries.push(told(ActivityKind::Run, title, Some(detail), data, Some(format!("mended:{generation}:{hour}"))));
    }
    if was != is {
        entries.push(phase_changed(before, &pass.observed, (was, is), now));
    }
    entries
}

/// Whether the kernel killed once more for want of memory: the raw text says how often, and when.
fn killed_again(known: &Cause, now: &Cause) -> bool {
    known.code == CauseCode::OutOfMemory && now.code == known.code && now.detail.is_some() && now.detail != known.detail
}

/// The kernel killed a process inside for want of memory, and the sandbox runs on, as its agent says, which also says when.
/// Each is told, those of one minute as one row. The same one may be told again, by another replica or after a restart.
#[must_use]
pub fn killed(cause: &Cause, at: Timestamp) -> Entry {
    caused(cause, format!("killed:{}", minute(at)))
}

fn caused(cause: &Cause, bucket: String) -> Entry {
    let data = json!({ "code": cause.code.as_str(), "detail": cause.detail, "nextSteps": cause.next_steps });
    told(ActivityKind::Cause, cause.message.clone(), cause.next_steps.first().cloned(), data, Some(bucket))
}

fn minute(at: Timestamp) -> i64 {
    at.as_second() / 60
}

/// A sandbox that ran before starts, and its home folder is not there.
#[must_use]
pub fn home_lost(sandbox: &SandboxRow, now: Timestamp) -> Entry {
    let generation = sandbox.generation;
    let bucket = format!("home-lost:{generation}:{}", now.as_second() / 3600);
    let detail = "Somebody removed it, with its files. It is made anew, empty: restore it from a backup, if there is one";
    let data = json!({ "event": "home-lost", "generation": generation });
    told(ActivityKind::Run, "The home folder was gone", Some(detail.to_owned()), data, Some(bucket))
}

/// A sandbox that ran before starts, and its database is not there.
#[must_use]
pub fn database_lost(sandbox: &SandboxRow, now: Timestamp) -> Entry {
    let generation = sandbox.generation;
    let bucket = format!("database-lost:{generation}:{}", now.as_second() / 3600);
    let detail = "Somebody removed it or its volume. It is made again, with what is on its volume if that is kept; else it is \
                  empty: restore it from a backup, if there is one";
    let data = json!({ "event": "database-lost", "generation": generation });
    told(ActivityKind::Run, "The database was gone", Some(detail.to_owned()), data, Some(bucket))
}

/// Something of a database was deleted or changed by somebody else, beside a sandbox that runs or while it was stopped.
#[must_use]
pub fn database_mended(sandbox: &SandboxRow, now: Timestamp) -> Entry {
    let generation = sandbox.generation;
    let bucket = format!("database-mended:{generation}:{}", now.as_second() / 3600);
    let detail = "It is put right, and what is in the database is kept";
    let data = json!({ "event": "database-mended", "generation": generation });
    let title = "Something of the database was deleted or changed from outside";
    told(ActivityKind::Run, title, Some(detail.to_owned()), data, Some(bucket))
}

/// Whether a run that was ready has its ways in and out made once more.
fn lost_its_network(before: &ProjectAndSandbox, now: &Observed) -> bool {
    let (sandbox, was) = (&before.sandbox, before.sandbox.observed.stage(Stage::NetworkConfiguration));
    sandbox.desired == Desired::Running
        && sandbox.observed.ready(sandbox.generation)
        && was.ended_at.is_some()
        && now.stage(Stage::NetworkConfiguration).started_at != was.started_at
}

fn phase_changed(before: &ProjectAndSandbox, observed: &Observed, (was, is): (Phase, Phase), now: Timestamp) -> Entry {
    let sandbox = &before.sandbox;
    let first = observed.stages.iter().filter(|fact| !fact.skipped).filter_map(|fact| fact.started_at).min();
    let (took, detail) = match is {
        Phase::Running => {
            let stages = observed.stages.iter().filter(|fact| !fact.skipped).count();
            let took = millis(first.unwrap_or(sandbox.asked_at), observed.ready_at.unwrap_or(now));
            (Some(took), Some(format!("{stages} stages in {}", lasting(took))))
        }
        Phase::Stopped | Phase::Terminated => {
            let took = millis(observed.leaving_since.unwrap_or(sandbox.asked_at), observed.gone_at.unwrap_or(now));
            (Some(took), Some(format!("In {}", lasting(took))))
        }
        Phase::Error if sandbox.desired == Desired::Running => {
            let under_way = || {
                Stage::ALL.into_iter().find(|stage| {
                    let fact = observed.stage(*stage);
                    fact.started_at.is_some() && fact.ended_at.is_none()
                })
            };
            let stage = overdue_stage(observed, now).or_else(under_way);
            (None, stage.map(|stage| format!("At stage {} of 5, {}", stage.index() + 1, stage.title())))
        }
        Phase::Error => (None, Some("It is still being tried".to_owned())),
        _ => (None, None),
    };
    let stages: serde_json::Map<String, Value> = Stage::ALL
        .into_iter()
        .filter_map(|stage| {
            let fact = observed.stage(stage);
            let took = millis(fact.started_at?, fact.ended_at?);
            (!fact.skipped).then(|| (stage.as_str().to_owned(), took.into()))
        })
        .collect();
    let (generation, hour) = (sandbox.generation, now.as_second() / 3600);
    let data = json!({ "from": was, "to": is, "generation": generation, "tookMs": took, "stagesMs": stages });
    let bucket = format!("phase:{generation}:{}:{}:{hour}", was.key(), is.key());
    told(ActivityKind::Phase, format!("{} became {}", was.label(), is.label()), detail, data, Some(bucket))
}

/// Nothing of a deleted project is left.
pub(super) fn buried(asked_at: Timestamp, now: Timestamp) -> Entry {
    let took = millis(asked_at, now);
    let data = json!({ "event": "erased", "tookMs": took });
    told(ActivityKind::Phase, "Everything of the project was removed", Some(format!("In {}", lasting(took))), data, None)
}

/// A process that begins found a run that another had started.
#[must_use]
pub fn adopted(row: &ProjectAndSandbox, now: Timestamp) -> Option<Entry> {
    let run = row.sandbox.observed.instance.as_ref()?;
    let ran = millis(run.started_at, now);
    let data = json!({ "event": "adopted", "ranMs": ran });
    let bucket = format!("adopted:{}:{}", run.id, now.as_second() / 3600);
    let detail = format!("The control plane was started again, and found it as it was; it runs for {}", lasting(ran));
    Some(told(ActivityKind::Run, "The sandbox went on", Some(detail), data, Some(bucket)))
}

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
    let shown: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_FOREIGN).collect();
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

/// A port of a preview was opened to others. A link's secret is nobody's to read.
#[must_use]
pub fn shared(port: u16, audience: Audience, expires_at: Option<Timestamp>) -> Entry {
    let with = match audience {
        Audience::Users => "everybody who is signed in",
        Audience::Link => "whoever has its link",
    };
    let until = expires_at.map_or_else(|| "Until it is made private".to_owned(), |at| format!("Until {at:.0}"));
    let expires = expires_at.map(|at| at.to_string());
    let data = json!({ "verb": "share", "port": port, "audience": audience.as_str(), "expiresAt": expires });
    asked_for(format!("Shared the preview of port {port} with {with}"), Some(until), data)
}

/// A port of a preview is its owner's alone again.
#[must_use]
pub fn made_private(port: u16) -> Entry {
    asked_for(format!("Made the preview of port {port} private"), None, json!({ "verb": "unshare", "port": port }))
}

/// It is, because the API token that shared it was revoked.
pub(super) fn made_private_with_its_token(port: u16) -> Entry {
    Entry { detail: Some("The token that shared it was revoked".to_owned()), ..made_private(port) }
}

fn hourly(title: String, data: Value, what: &str, now: Timestamp) -> Entry {
    let asked = asked_for(title, None, data);
    let Actor { name, via, token } = &asked.actor;
    let who = format!("{}:{name}:{}", via.as_str(), token.as_deref().unwrap_or_default());
    let bucket = Some(format!("{what}:{who}:{}", now.as_second() / 3600));
    Entry { bucket, ..asked }
}

fn of_account(title: String, detail: Option<String>, data: Value) -> Entry {
    Entry { kind: ActivityKind::Account, ..asked_for(title, detail, data) }
}

/// An API token was made.
pub(super) fn token_made(name: &str, scope: &str, expires_at: Option<Timestamp>) -> Entry {
    let until = expires_at.map_or_else(|| "it does not expire".to_owned(), |at| format!("until {at:.0}"));
    let data = json!({ "event": "token-made", "name": name, "scope": scope });
    of_account(format!("Made the token “{name}”"), Some(format!("Scope {scope}, {until}")), data)
}

/// An API token was revoked.
pub(super) fn token_revoked(name: &str) -> Entry {
    of_account(format!("Revoked the token “{name}”"), None, json!({ "event": "token-revoked", "name": name }))
}

/// An API token was revoked because the one that made it was.
pub(super) fn token_revoked_with_its_maker(name: &str) -> Entry {
    Entry { detail: Some("The token that made it was revoked".to_owned()), ..token_revoked(name) }
}

/// The account's own Claude credentials were set, replaced or removed; whether there were some `before`.
pub(super) fn claude_changed(before: bool, now: Option<&Claude>) -> Entry {
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
pub(super) fn not_allowed_any_more(login: &str) -> Entry {
    let title = format!("Signed out: {login} may not sign in here any more");
    let detail = Some("The operator took the GitHub account off the list".to_owned());
    told(ActivityKind::Account, title, detail, json!({ "event": "not-allowed", "login": login }), None)
}

/// A connection out of the sandbox was refused. `to` comes from inside, and may be anything.
#[must_use]
pub fn refused(to: &str, why: &str, now: Timestamp) -> Entry {
    let shown: String = to.chars().filter(|c| !c.is_control()).take(LONGEST_FOREIGN).collect();
    let hour = now.as_second() / 3600;
    told(
        ActivityKind::Network,
        format!("Refused a connection to {shown}"),
        Some(format!("That is {why}, which sandboxes may not reach. The operator can allow it: --egress-allow")),
        json!({ "to": shown, "why": why }),
        Some(format!("refused:{shown}:{hour}")),
    )
}

/// More destinations were refused than are told one by one.
#[must_use]
pub fn refused_others(now: Timestamp) -> Entry {
    let bucket = format!("refused-others:{}", now.as_second() / 3600);
    let title = "Refused connections to many other addresses";
    let detail = "The log of what keeps the sandbox has them one by one".to_owned();
    told(ActivityKind::Network, title, Some(detail), json!({ "to": null }), Some(bucket))
}

fn size(preset: Preset) -> String {
    let mut name = preset.as_str().to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name
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

fn millis(from: Timestamp, to: Timestamp) -> i64 {
    i64::try_from(to.duration_since(from).as_millis()).unwrap_or(i64::MAX).max(0)
}

/// `43 ms`, `12.4 s`, `3 min 2 s`, `5 h 20 min`, `3 d 4 h`.
fn lasting(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{contract::least, intent};
    use model::{InstanceFact, Slug, StageFact, resources::Sizes};
    use secrecy::SecretString;
    use std::collections::BTreeMap;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn row() -> ProjectAndSandbox {
        let new = least(at(0));
        intent::create(&new, None, &Sizes::default(), Slug::derive(&new.name, 0), new.random)
    }

    fn ready(row: &ProjectAndSandbox) -> Observed {
        let fact = |from, to| StageFact { started_at: Some(at(from)), ended_at: Some(at(to)), ..StageFact::default() };
        let mut stages = [fact(100, 400), fact(100, 900), fact(100, 900), fact(900, 1_500), fact(1_500, 2_000)];
        stages[0].skipped = true;
        let restart_count = row.sandbox.restart_count;
        let run = InstanceFact { id: "run".into(), started_at: at(500), restart_count, env_revision: 1 };
        Observed {
            generation: row.sandbox.generation,
            present: true,
            stages,
            instance: Some(run),
            ready_at: Some(at(2_000)),
            first_ready_at: Some(at(2_000)),
            ..Observed::default()
        }
    }

    fn found(observed: Observed, cause: Option<Cause>) -> Pass {
        Pass { observed, cause, last_error: None, failures: 0, wake_at: None, told: Vec::new() }
    }

    fn words(entries: &[Entry]) -> Vec<(&str, &str)> {
        entries.iter().map(|entry| (entry.title.as_str(), entry.detail.as_deref().unwrap_or_default())).collect()
    }

    #[test]
    fn a_start_is_told_with_how_long_it_took() {
        let row = row();
        let entries = pass(&row, &found(ready(&row), None), at(2_000));
        assert_eq!(words(&entries), [("Creating became Running", "4 stages in 1.9 s")]);
        assert_eq!(entries[0].data["stagesMs"]["terminal-initialization"], 600);
        assert_eq!((entries[0].data["tookMs"].as_i64(), entries[0].actor.via), (Some(1_900), model::activity::Via::System));
    }

    #[test]
    fn a_step_on_the_way_is_not_told() {
        let row = row();
        let mut observed = ready(&row);
        (observed.stages[4].ended_at, observed.ready_at, observed.first_ready_at) = (None, None, None);
        assert_eq!(pass(&row, &found(observed, None), at(1_800)), []);
        assert_eq!(pass(&row, &found(row.sandbox.observed.clone(), None), at(1_800)), []);
    }

    #[test]
    fn a_run_that_a_process_finds_as_another_left_it_is_told_once_an_hour() {
        let mut row = row();
        assert_eq!(adopted(&row, at(1_000)), None, "nothing runs");
        row.sandbox.observed = ready(&row);
        let entry = adopted(&row, at(60_500)).unwrap();
        let detail = "The control plane was started again, and found it as it was; it runs for 1 min 0 s";
        assert_eq!(words(std::slice::from_ref(&entry)), [("The sandbox went on", detail)]);
        assert_eq!((entry.kind, entry.actor.via), (ActivityKind::Run, model::activity::Via::System));
        assert_eq!(entry.data, json!({ "event": "adopted", "ranMs": 60_000 }));
        let bucket = |now| adopted(&row, now).unwrap().bucket;
        assert_eq!(bucket(at(61_000)), entry.bucket);
        assert_ne!(bucket(at(60_500 + 3_600_000)), entry.bucket);
    }

    #[test]
    fn a_run_that_ended_by_itself_is_told_with_its_cause_and_once_an_hour() {
        let mut row = row();
        row.sandbox.observed = ready(&row);
        row.sandbox.changed_at = at(2_000);
        let mut observed = row.sandbox.observed.clone();
        (observed.instance, observed.ready_at, observed.stages) = (None, None, Default::default());
        let cause = Cause::new(CauseCode::EndedUnexpectedly, "It ended with exit code 1.", &["Look at its log."]);
        let entries = pass(&row, &found(observed.clone(), Some(cause.clone())), at(62_500));
        assert_eq!(
            words(&entries),
            [("The sandbox ended by itself after 1 min 2 s", "It ended with exit code 1."), ("Running became Starting", "")]
        );
        let again = pass(&row, &found(observed.clone(), Some(cause)), at(92_500));
        assert_eq!(again[0].bucket, entries[0].bucket);
        let deleted = Cause::new(CauseCode::DeletedOutside, "Somebody else deleted it.", &["Wait."]);
        let entries = pass(&row, &found(observed, Some(deleted)), at(62_500));
        assert_eq!(words(&entries)[0], ("The sandbox was deleted from outside after 1 min 2 s", "Somebody else deleted it."));
    }

    #[test]
    fn each_process_that_is_killed_for_want_of_memory_is_told_with_what_to_do() {
        let mut row = row();
        row.sandbox.observed = ready(&row);
        row.sandbox.changed_at = at(2_000);
        let message = "A process was ended, because all of its 2048 MiB were used.";
        let killed = |detail: &str| Cause::new(CauseCode::OutOfMemory, message, &["Use a larger size."]).with_detail(detail);
        let told =
            |row: &ProjectAndSandbox, cause, millis| pass(row, &found(row.sandbox.observed.clone(), Some(cause)), at(millis));
        let first = told(&row, killed("1, at 10:00"), 60_000);
        assert_eq!(words(&first), [(message, "Use a larger size.")]);
        row.sandbox.cause = Some(killed("1, at 10:00"));
        let again = told(&row, killed("2, at 10:02"), 180_000);
        assert_eq!(words(&again), [(message, "Use a larger size.")]);
        assert_ne!(first[0].bucket, again[0].bucket, "one row each");
        assert_eq!(told(&row, killed("1, at 10:00"), 180_000), [], "the same one");
        // The whole of it: the run that ended is told, and what to do.
        let mut observed = row.sandbox.observed.clone();
        (observed.instance, observed.ready_at, observed.stages) = (None, None, Default::default());
        let entries = pass(&row, &found(observed, Some(killed("all"))), at(240_000));
        assert_eq!(words(&entries)[0].1, format!("{message} Use a larger size."));
        // And by what an agent says.
        let (one, same, other) =
            (super::killed(&killed("x"), at(0)), super::killed(&killed("x"), at(0)), super::killed(&killed("x"), at(60_000)));
        assert_eq!(one, same);
        assert_ne!(one.bucket, other.bucket);
    }

    #[test]
    fn what_is_put_right_under_a_run_is_told_once_an_hour() {
        let mut row = row();
        row.sandbox.observed = ready(&row);
        row.sandbox.changed_at = at(2_000);
        let mut observed = row.sandbox.observed.clone();
        observed.stages[0] = StageFact { skipped: true, ..StageFact::default() };
        for stage in &mut observed.stages[2..] {
            *stage = StageFact { started_at: Some(at(60_000)), ..StageFact::default() };
        }
        observed.ready_at = None;
        let entries = pass(&row, &found(observed.clone(), None), at(60_000));
        let title = "Something of the sandbox was deleted or changed from outside";
        assert_eq!(words(&entries), [(title, "It is put right, and the run goes on"), ("Running became Starting", "")]);
        assert_eq!(entries[0].data["event"], "mended");
        let bucket = pass(&row, &found(observed.clone(), None), at(90_000))[0].bucket.clone();
        assert_eq!(bucket, entries[0].bucket);
        // A restart, which the owner asked for, is none.
        row.sandbox.generation += 1;
        assert!(pass(&row, &found(observed, None), at(60_000)).iter().all(|entry| entry.title != title));
    }

    #[test]
    fn a_home_folder_that_was_gone_is_told_once_a_start() {
        let row = row();
        let entry = home_lost(&row.sandbox, at(0));
        assert_eq!(entry.title, "The home folder was gone");
        assert!(entry.detail.as_deref().is_some_and(|detail| detail.contains("made anew, empty")), "{entry:?}");
        assert_eq!(entry.bucket, home_lost(&row.sandbox, at(1_000)).bucket);
    }

    #[test]
    fn a_database_that_was_gone_or_changed_is_told_once_a_start() {
        let row = row();
        for (tell, title) in [
            (database_lost as fn(&SandboxRow, Timestamp) -> Entry, "The database was gone"),
            (
                database_mended as fn(&SandboxRow, Timestamp) -> Entry,
                "Something of the database was deleted or changed from outside",
            ),
        ] {
            let entry = tell(&row.sandbox, at(0));
            assert_eq!(entry.title, title);
            assert!(entry.detail.as_ref().is_some_and(|detail| !detail.contains("  ")), "{entry:?}");
            assert_eq!(entry.bucket, tell(&row.sandbox, at(1_000)).bucket);
        }
        assert_ne!(database_lost(&row.sandbox, at(0)).bucket, database_mended(&row.sandbox, at(0)).bucket);
    }

    #[test]
    fn a_phase_that_came_by_time_alone_is_told_with_the_pass_of_its_deadline() {
        let mut row = row();
        row.sandbox.observed.generation = 1;
        row.sandbox.observed.stages[3] =
            StageFact { started_at: Some(at(0)), deadline_at: Some(at(20_000)), ..StageFact::default() };
        let cause = Cause::new(CauseCode::StageOverdue, "Terminal Initialization takes longer than 20 s.", &["Wait."]);
        let entries = pass(&row, &found(row.sandbox.observed.clone(), Some(cause.clone())), at(20_010));
        assert_eq!(
            words(&entries),
            [
                ("Terminal Initialization takes longer than 20 s.", "Wait."),
                ("Creating became Error", "At stage 4 of 5, Terminal Initialization")
            ]
        );
        // The same cause in other words is no news.
        row.sandbox.cause = Some(cause.clone());
        row.sandbox.changed_at = at(20_010);
        assert_eq!(pass(&row, &found(row.sandbox.observed.clone(), Some(cause.with_detail("more"))), at(30_000)), []);
    }

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

    #[test]
    fn what_comes_from_inside_is_cut_and_shows_no_control_characters() {
        let entry = refused(&format!("evil\u{1b}[2J\n{}:80", "x".repeat(500)), "a private address", at(0));
        assert!(!entry.title.contains(['\u{1b}', '\n']) && entry.title.chars().count() < 200, "{}", entry.title);
    }

    #[tokio::test]
    async fn an_ask_is_in_the_name_of_who_asks() {
        let ada = Actor { name: "ada".into(), via: model::activity::Via::Token, token: Some("ci".into()) };
        assert_eq!(by(ada.clone(), async { asked(&row(), &Ask::Stop).actor }).await, ada);
        assert_eq!(asked(&row(), &Ask::Stop).actor, Actor::system());
    }

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

    #[test]
    fn times_are_said_shortly() {
        assert_eq!(
            [0, 340, 12_410, 60_000, 3_723_000, 100_000_000].map(lasting),
            ["0 ms", "340 ms", "12.4 s", "1 min 0 s", "1 h 2 min", "1 d 3 h"]
        );
    }
}
