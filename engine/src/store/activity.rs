//! What is told of a project, in plain words: who asked for what, how phases changed and how long that
//! took, what stood in the way. Pure functions of rows; the stores write what they say in the same
//! transaction as the change itself.
//!
//! ```text
//!   Control ── by(actor) ─▶ ask, create, update, env, delete ─┐
//!   reconcile ── pass(before, found) ─▶ record ───────────────┼─▶ Entry ─▶ activity
//!   reconcile, server ── tell ────────────────────────────────┘
//! ```

use super::{Ask, Pass, ProjectAndSandbox, intent::EnvDelta};
use jiff::Timestamp;
use model::{
    Desired, DisplayName, Observed, Phase, ProjectId, Stage,
    activity::{ActivityKind, Actor},
    env::EnvKey,
    phase::{overdue_stage, phase},
    resources::Preset,
};
use serde_json::{Value, json};
use std::future::Future;

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
    /// again and again by itself floods nobody.
    pub bucket: Option<String>,
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
    let data = json!({ "verb": "create", "generation": row.sandbox.generation, "preset": row.project.preset.as_str() });
    asked_for("Made the project", Some(detail), data)
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
    asked_for(
        "Deleted the project",
        Some("Sandbox, files and database are being removed".to_owned()),
        json!({ "verb": "delete", "generation": row.sandbox.generation }),
    )
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
        entries.push(asked_for(
            format!("Changed the size from {} to {}", size(old), size(new)),
            Some("Applied at the next start".to_owned()),
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
    let phase_at = |observed: &Observed, cause: Option<&_>, at| phase(sandbox.desired, sandbox.generation, observed, cause, at);
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
        let detail = pass.cause.as_ref().map_or_else(|| "It is being started again".to_owned(), |cause| cause.message.clone());
        let code = pass.cause.as_ref().map(|cause| cause.code.as_str());
        let ran = millis(run.started_at, now);
        let data = json!({ "event": "ended", "generation": generation, "ranMs": ran, "cause": code });
        let title = format!("The sandbox ended by itself after {}", lasting(ran));
        entries.push(told(ActivityKind::Run, title, Some(detail), data, Some(format!("ended:{generation}:{hour}"))));
    } else if let Some(cause) = &pass.cause
        && sandbox.cause.as_ref().is_none_or(|known| known.code != cause.code)
    {
        let code = cause.code.as_str();
        let bucket = format!("cause:{generation}:{code}:{hour}");
        let data = json!({ "code": code, "detail": cause.detail, "nextSteps": cause.next_steps });
        entries.push(told(ActivityKind::Cause, cause.message.clone(), cause.next_steps.first().cloned(), data, Some(bucket)));
    }
    if was != is {
        entries.push(phase_changed(before, &pass.observed, (was, is), now));
    }
    entries
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
    use crate::store::{NewProjectRow, intent};
    use model::{Cause, CauseCode, InstanceFact, SandboxId, Slug, StageFact, UserId};
    use secrecy::SecretString;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn row() -> ProjectAndSandbox {
        let new = NewProjectRow {
            id: ProjectId(Uuid::nil()),
            owner: UserId(Uuid::nil()),
            name: "A project".parse().unwrap(),
            preset: Preset::Medium,
            env: BTreeMap::new(),
            database: None,
            sandbox: SandboxId(Uuid::nil()),
            random: [0; 6],
            agent_token: SecretString::from("token"),
            key: None,
            most: 1,
            now: at(0),
        };
        intent::create(&new, Slug::derive(&new.name, 0), new.random)
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
        let again = pass(&row, &found(observed, Some(cause)), at(92_500));
        assert_eq!(again[0].bucket, entries[0].bucket);
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

    #[test]
    fn times_are_said_shortly() {
        assert_eq!(
            [0, 340, 12_410, 60_000, 3_723_000, 100_000_000].map(lasting),
            ["0 ms", "340 ms", "12.4 s", "1 min 0 s", "1 h 2 min", "1 d 3 h"]
        );
    }
}
