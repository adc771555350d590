//! Toward Running: the next missing thing of home folder, database, run, network, terminal.

use super::{
    causes::{database_gone, ended_by_itself, home_leaving, no_shell},
    drift::notice,
    failure::Failure,
    work::Work,
};
use crate::{
    database::Glance,
    orchestrator::{AgentOrPort, AgentSeen, Seen, VolumeSeen},
    reconcile::{Reconciler, spec},
    store::{AHEAD, ProjectAndSandbox, activity},
};
use jiff::Timestamp;
use model::{Cause, CauseCode, Desired, Observed, Stage, StageFact, stage};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::warn;

impl Reconciler {
    /// Toward Running.
    pub(super) async fn up(&self, row: &ProjectAndSandbox, seen: &Seen, work: &mut Work) {
        let now = self.clock.now();
        let (sandbox, limits) = (&row.sandbox, &self.settings.limits);
        work.cause.clone_from(&seen.cause);
        work.settle(sandbox, seen);
        let glance = self.glance(row);
        work.notice = notice(seen, glance.as_ref());
        // Also before the rest of a start is over: what its first stage made may be gone by then.
        let made = work.observed.stage(Stage::DatabaseCreation).ended_at.is_some();
        let mended = glance.as_ref().filter(|glance| made && !glance.whole);
        if mended.is_some_and(|glance| glance.on) {
            // It runs, and something around it was changed: no reason to say that the sandbox does not.
            if let Some(spec) = spec::database(row, &self.settings) {
                match self.timed("mend the database", self.database.ensure(&spec)).await {
                    // What another version of ours made otherwise is nobody's change.
                    Ok(()) => work.told.extend(glance.as_ref().and_then(|glance| touched(row, glance, now))),
                    Err(failure) => work.blame(failure),
                }
            }
        } else if mended.is_some() {
            // Somebody removed or stopped it: the sandbox runs, and is not as it was asked for.
            work.cause = Some(database_gone());
            work.observed.stages[Stage::DatabaseCreation.index()] = StageFact::default();
            work.observed.stages[Stage::EnvironmentReady.index()] = StageFact::default();
            work.observed.ready_at = None;
            work.begin(Stage::DatabaseCreation, limits.deadline(Stage::DatabaseCreation, now), now);
            return;
        }
        let alive = seen.instance.as_ref().is_some_and(|run| run.restart_count == sandbox.restart_count);
        let begins = work.observed.stage(Stage::ContainerProvisioning).started_at.is_none();
        // Once a start, before anything of it is made: a home folder that is gone would be made anew without a word.
        let home_unknown = !alive && work.observed.stage(Stage::NetworkConfiguration).started_at.is_none();
        // The database, the run and the network do not wait for each other.
        for stage in [Stage::DatabaseCreation, Stage::ContainerProvisioning] {
            work.begin(stage, limits.deadline(stage, now), now);
        }
        let home = if home_unknown { self.home(row, work).await } else { Some(VolumeSeen::There) };
        let leaving = home == Some(VolumeSeen::Leaving);
        // The network begins once that is known: by this, and nothing else, the next pass knows.
        if matches!(home, Some(VolumeSeen::There | VolumeSeen::Absent)) {
            work.begin(Stage::NetworkConfiguration, limits.deadline(Stage::NetworkConfiguration, now), now);
        }
        if begins && let Some(told) = glance.as_ref().and_then(|glance| touched(row, glance, now)) {
            warn!(project.id = %row.project.id, "{}; it is mended, and is empty if it was lost", told.title);
            work.told.push(told);
        }
        // That they began, and that the home folder or the database was gone, is recorded before anything is waited for: a
        // slow database is seen as such.
        if begins || (home_unknown && !leaving) {
            return;
        }
        // What ended further ahead ended by a clock that has been set back since.
        let wait = retry_at(seen).filter(|at| !alive && *at > now && *at <= stage::after(now, AHEAD));
        if let Some(at) = wait {
            work.not_before = Some(at);
            work.cause = Some(ended_by_itself(seen));
        }
        let asked = spec::sandbox(row, self.database.as_ref(), &self.settings, Desired::Running);
        // A run that is of an earlier ask is ended all the same.
        let waits = wait.is_some() || (leaving && seen.instance.is_none());
        let needs_run = !waits && (!alive || !seen.network);
        let mut told = None;
        let (database, run) = tokio::join!(self.database_up(row, work.observed.stages[0], &mut told), async {
            if needs_run { self.timed("start the sandbox", self.orchestrator.ensure(&asked)).await } else { Ok(()) }
        });
        work.told.extend(told);
        match database {
            Ok(Some(fact)) => work.stage(Stage::DatabaseCreation, fact),
            Ok(None) => {
                work.moved = true;
                if mends_database(&work.observed) {
                    work.cause.get_or_insert_with(database_gone);
                }
            }
            Err(failure) => work.blame(failure),
        }
        // What the start answered is seen at once, without waiting for an event.
        let seen = match run {
            Err(failure) => {
                work.blame(failure);
                seen.clone()
            }
            Ok(()) if needs_run => {
                let observed = self.timed("observe the sandbox", self.orchestrator.observe(sandbox.id)).await;
                observed.map_or_else(|_| seen.clone(), |seen| seen.with(&work.observed))
            }
            Ok(()) => seen.clone(),
        };
        work.observed.present = seen.present;
        let now = self.clock.now();
        let alive = seen.instance.as_ref().filter(|run| run.restart_count == sandbox.restart_count);
        if let Some(run) = alive {
            work.observed.instance = Some(run.clone());
            work.end(Stage::ContainerProvisioning, now);
            if seen.network {
                work.end(Stage::NetworkConfiguration, now);
            }
            work.begin(Stage::TerminalInitialization, limits.deadline(Stage::TerminalInitialization, now), now);
            match seen.agent {
                AgentSeen::ShellStarted => work.end(Stage::TerminalInitialization, now),
                // It starts one as soon as it runs: past the stage's limit, none will come by itself.
                AgentSeen::Answering if work.overdue(Stage::TerminalInitialization, now) => {
                    work.cause.get_or_insert_with(|| no_shell(sandbox.name.as_str()));
                }
                AgentSeen::Answering | AgentSeen::Silent => {}
            }
        }
        let before_last = Stage::ALL[..4].iter().all(|stage| work.observed.stage(*stage).ended_at.is_some());
        if before_last && work.observed.stage(Stage::EnvironmentReady).ended_at.is_none() {
            work.begin(Stage::EnvironmentReady, limits.deadline(Stage::EnvironmentReady, now), now);
            match self.timed("reach the sandbox", self.reach(row)).await {
                Ok(()) => {
                    let now = self.clock.now();
                    work.end(Stage::EnvironmentReady, now);
                    work.observed.ready_at = Some(now);
                    work.observed.first_ready_at.get_or_insert(now);
                    work.observed.settled_generation = row.sandbox.generation;
                }
                Err(failure) => work.blame(failure),
            }
        }
    }

    /// Whether the home folder of a sandbox that ran before is there, which is told where it is not; `None` where that
    /// is not known.
    async fn home(&self, row: &ProjectAndSandbox, work: &mut Work) -> Option<VolumeSeen> {
        if row.sandbox.observed.first_ready_at.is_none() {
            return Some(VolumeSeen::There);
        }
        let volume = spec::volume(row.project.id);
        match self.timed("look for the home folder", self.orchestrator.volume(&volume)).await {
            Ok(VolumeSeen::Absent) => {
                warn!(project.id = %row.project.id, volume = volume.0, "the home folder was gone; it is made anew, empty");
                work.told.push(activity::home_lost(&row.sandbox, self.clock.now()));
                Some(VolumeSeen::Absent)
            }
            Ok(VolumeSeen::Leaving) => {
                work.cause.get_or_insert_with(home_leaving);
                Some(VolumeSeen::Leaving)
            }
            Ok(VolumeSeen::There) => Some(VolumeSeen::There),
            Err(failure) => {
                work.blame(failure);
                None
            }
        }
    }

    /// The database's stage: `Some` fact when it is over, `None` when another look is due. `told`: that it was not as it was
    /// left, where no glance could tell that before.
    async fn database_up(
        &self,
        row: &ProjectAndSandbox,
        fact: StageFact,
        told: &mut Option<activity::Entry>,
    ) -> Result<Option<StageFact>, Failure> {
        let now = self.clock.now();
        let Some(spec) = spec::database(row, &self.settings) else {
            return Ok(Some(StageFact { ended_at: fact.ended_at.or(Some(now)), skipped: true, ..fact }));
        };
        if fact.ended_at.is_some() {
            return Ok(Some(fact));
        }
        let glanced = self.database.glance(&spec).is_some();
        // An address in our own tables is no proof that the database exists: ask the server.
        let seen = self.timed("look at the database", self.database.observe(&spec)).await?;
        if !seen.ready && !glanced {
            // On a server of many only asking tells; one that is stopped with its sandbox is there, and starts as it was.
            let unknown = || Glance { lost: !seen.present, edited: true, ..Glance::default() };
            *told = touched(row, &self.database.glance(&spec).unwrap_or_else(unknown), now);
            if let Some(told) = told {
                warn!(project.id = %row.project.id, database = spec.database, "{}; it is mended, and is empty if it was lost", told.title);
            }
        }
        // Also of one that is ready, once a start: what the run is told must open it, and a password that was reset may not have
        // arrived. That the run came first says nothing of it, nor that it was ready before: what is mended may start it again.
        self.timed("make the database", self.database.ensure(&spec)).await?;
        if !self.timed("look at the database", self.database.observe(&spec)).await?.ready {
            return Ok(None);
        }
        Ok(Some(StageFact { ended_at: Some(self.clock.now()), ..fact }))
    }

    /// End to end: the agent answers a request that went the way that a terminal goes.
    async fn reach(&self, row: &ProjectAndSandbox) -> Result<(), Failure> {
        let silent = |detail: String| {
            Failure::Caused(
                Cause::new(
                    CauseCode::AgentSilent,
                    format!("`{}` runs, and its agent does not answer the control plane.", row.sandbox.name),
                    &["Wait: it is tried again by itself.", "Restart the sandbox if it stays like this."],
                )
                .with_detail(detail),
            )
        };
        let mut io = self.orchestrator.connect(row.sandbox.id, AgentOrPort::Agent).await.map_err(|e| silent(chain(&e)))?;
        let ask = b"GET /healthz HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n";
        io.write_all(ask).await.map_err(|e| silent(chain(&e)))?;
        let mut head = [0; 12];
        io.read_exact(&mut head).await.map_err(|e| silent(chain(&e)))?;
        // 404 is stock ttyd's answer, which has no such path.
        if matches!(&head, b"HTTP/1.1 200" | b"HTTP/1.1 404") {
            Ok(())
        } else {
            Err(silent(String::from_utf8_lossy(&head).into_owned()))
        }
    }
}

/// What is told of the database of a sandbox that ran before, where somebody else removed or changed it.
fn touched(row: &ProjectAndSandbox, glance: &Glance, now: Timestamp) -> Option<activity::Entry> {
    row.sandbox.observed.first_ready_at?;
    match glance {
        Glance { lost: true, .. } => Some(activity::database_lost(&row.sandbox, now)),
        Glance { edited: true, .. } => Some(activity::database_mended(&row.sandbox, now)),
        _ => None,
    }
}

/// Whether the database is being mended under a sandbox that runs: the run is older than the stage.
fn mends_database(observed: &Observed) -> bool {
    let stage = observed.stage(Stage::DatabaseCreation);
    let run = observed.instance.as_ref().map(|run| run.started_at);
    run.is_some_and(|run| stage.started_at.is_some_and(|begun| run < begun))
}

/// When a run that ended by itself is started again: at once the first time, later and later then.
fn retry_at(seen: &Seen) -> Option<Timestamp> {
    let ended = seen.ended_at?;
    let wait = match seen.ended_by_itself {
        0 | 1 => return None,
        2 => 2,
        3 => 10,
        _ => 30,
    };
    Some(stage::after(ended, Duration::from_secs(wait)))
}

/// An error with everything behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
