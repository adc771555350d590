//! What a pass found that is worth telling: phases with how long they took, runs that ended, causes.

use super::{
    Entry, events,
    time::{self, lasting, millis, minute},
    told,
};
use crate::store::{Pass, ProjectAndSandbox};
use jiff::Timestamp;
use model::{
    Cause, CauseCode, Desired, Observed, Phase, Stage,
    activity::ActivityKind,
    phase::{overdue_stage, phase},
};
use serde_json::{Value, json};

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
    let hour = time::hour(now);
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
        entries.push(events::mended(sandbox, now));
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
    let (generation, hour) = (sandbox.generation, time::hour(now));
    let data = json!({ "from": was, "to": is, "generation": generation, "tookMs": took, "stagesMs": stages });
    let bucket = format!("phase:{generation}:{}:{}:{hour}", was.key(), is.key());
    told(ActivityKind::Phase, format!("{} became {}", was.label(), is.label()), detail, data, Some(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::activity::tests::{at, row, words};
    use model::{InstanceFact, StageFact, activity::Via};

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

    #[test]
    fn a_start_is_told_with_how_long_it_took() {
        let row = row();
        let entries = pass(&row, &found(ready(&row), None), at(2_000));
        assert_eq!(words(&entries), [("Creating became Running", "4 stages in 1.9 s")]);
        assert_eq!(entries[0].data["stagesMs"]["terminal-initialization"], 600);
        assert_eq!((entries[0].data["tookMs"].as_i64(), entries[0].actor.via), (Some(1_900), Via::System));
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
        assert_eq!(events::adopted(&row, at(1_000)), None, "nothing runs");
        row.sandbox.observed = ready(&row);
        let entry = events::adopted(&row, at(60_500)).unwrap();
        let detail = "The control plane was started again, and found it as it was; it runs for 1 min 0 s";
        assert_eq!(words(std::slice::from_ref(&entry)), [("The sandbox went on", detail)]);
        assert_eq!((entry.kind, entry.actor.via), (ActivityKind::Run, Via::System));
        assert_eq!(entry.data, json!({ "event": "adopted", "ranMs": 60_000 }));
        let bucket = |now| events::adopted(&row, now).unwrap().bucket;
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
}
