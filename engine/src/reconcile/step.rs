//! One pass: from a row, through what is there, to what was found. At most one write to each part of
//! the world.

use super::{Reconciler, overdue, spec};
use crate::{
    database::{DatabaseError, DatabaseSpec, Glance},
    orchestrator::{AgentOrPort, AgentSeen, OrchestratorError, Removed, Seen, VolumeSeen},
    store::{AHEAD, Pass, ProjectAndSandbox, SandboxRow, activity},
};
use jiff::Timestamp;
use model::{Cause, CauseCode, Desired, Observed, Stage, StageFact, phase::next_deadline, stage, text::clean};
use std::{future::Future, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::warn;

/// What became of a pass.
pub(super) enum Found {
    /// Record this.
    Pass {
        /// What to record.
        pass: Box<Pass>,
        /// Whether something moved, so that another pass has something to do at once.
        again: bool,
    },
    /// Nothing of a deleted project is left in the world: its rows may go.
    Bury,
}

/// After this many endings by itself within ten minutes it is a crash loop.
const CRASH_LOOP: u32 = 3;
/// Backstop for transitions of which no event came.
const POLL: Duration = Duration::from_millis(500);
/// The same for what is past a deadline, or waits for somebody to act: each look is a write, and it may last for days.
const POLL_BLOCKED: Duration = Duration::from_secs(5);

impl Reconciler {
    pub(super) async fn step(&self, row: &ProjectAndSandbox) -> Found {
        let deleting = row.project.deleting_since.is_some();
        let desired = row.desired();
        let mut work = Work::new(&row.sandbox, None);
        match self.timed("observe the sandbox", self.orchestrator.observe(row.sandbox.id)).await {
            Err(error) => work.blame(error),
            Ok(seen) => match desired {
                Desired::Running => self.up(row, &seen, &mut work).await,
                Desired::Stopped | Desired::Terminated => {
                    self.down(row, &seen, desired, &mut work).await;
                    // What belongs to a project goes first.
                    if deleting && work.observed.gone_at.is_some() && work.error.is_none() && !row.project.has_extras {
                        work.erase(self.clock.now(), self.settings.limits.leave);
                        if self.erase(row, &mut work).await {
                            return Found::Bury;
                        }
                    }
                }
            },
        }
        let (pass, again) = self.conclude(row, desired, work);
        Found::Pass { pass: Box::new(pass), again }
    }

    /// What is recorded of a run that [`ended`], with nothing done about it.
    pub(super) fn taken_back(&self, row: &ProjectAndSandbox, seen: &Seen) -> Pass {
        let mut work = Work::new(&row.sandbox, seen.cause.clone());
        work.settle(&row.sandbox, seen);
        work.observed.present = seen.present;
        self.conclude(row, Desired::Running, work).0
    }

    /// Toward Running.
    async fn up(&self, row: &ProjectAndSandbox, seen: &Seen, work: &mut Work) {
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
                observed.unwrap_or_else(|_| seen.clone())
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

    /// What is known of the project's database, where it has one.
    pub(super) fn glance(&self, row: &ProjectAndSandbox) -> Option<Glance> {
        self.database.glance(&spec::database(row, &self.settings)?)
    }

    /// The database of a sandbox that should not run, unless it is known to be stopped. Where nothing is known
    /// without asking, it is stopped once, before the sandbox is `settled`. One of a deleted project is removed.
    fn database_to_stop(&self, row: &ProjectAndSandbox, settled: bool) -> Option<DatabaseSpec> {
        let spec = spec::database(row, &self.settings).filter(|_| row.project.deleting_since.is_none())?;
        let runs = self.database.glance(&spec).map_or(!settled, |glance| runs_on(&glance));
        runs.then_some(spec)
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

    /// Toward Stopped or Terminated.
    async fn down(&self, row: &ProjectAndSandbox, seen: &Seen, desired: Desired, work: &mut Work) {
        let now = self.clock.now();
        work.observed.present = seen.present;
        // What is not alive may have left something behind: only a removal that answered says that nothing is left.
        let gone = !seen.present && (desired == Desired::Stopped || work.observed.gone_at.is_some());
        let database = self.database_to_stop(row, work.observed.gone_at.is_some());
        if gone && database.is_none() {
            return work.gone(now);
        }
        if work.observed.leaving_since.is_none() || work.observed.gone_at.is_some() {
            work.observed.leaving_since = Some(now);
            work.observed.leave_deadline_at = Some(stage::after(now, self.settings.limits.leave));
        }
        work.observed.gone_at = None;
        let id = row.sandbox.id;
        let sandbox = async {
            if gone {
                Ok(Removed::Gone)
            } else if desired == Desired::Stopped {
                let spec = spec::sandbox(row, self.database.as_ref(), &self.settings, Desired::Stopped);
                self.timed("stop the sandbox", self.orchestrator.ensure(&spec)).await.map(|()| Removed::Gone)
            } else {
                self.timed("remove the sandbox", self.orchestrator.remove(id)).await
            }
        };
        let database = async {
            match &database {
                Some(spec) => self.timed("stop the database", self.database.stop(spec)).await,
                None => Ok(()),
            }
        };
        let (asked, stopped) = tokio::join!(sandbox, database);
        let runs_on = stopped.is_err() || self.database_to_stop(row, true).is_some();
        if let Err(failure) = stopped {
            work.blame(failure);
        }
        match asked {
            Err(failure) => work.blame(failure),
            Ok(Removed::Going) => {}
            Ok(Removed::Gone) if runs_on => {}
            Ok(Removed::Gone) => match self.timed("observe the sandbox", self.orchestrator.observe(id)).await {
                Ok(seen) if !seen.present => {
                    work.observed.present = false;
                    work.gone(self.clock.now());
                }
                Ok(_) => {}
                Err(failure) => work.blame(failure),
            },
        }
    }

    /// Volume and database of a deleted project. `true` once neither is left.
    async fn erase(&self, row: &ProjectAndSandbox, work: &mut Work) -> bool {
        let volume = spec::volume(row.project.id);
        let database = spec::database(row, &self.settings);
        let (volume, database) = tokio::join!(self.timed("remove the volume", self.orchestrator.remove_volume(&volume)), async {
            match &database {
                Some(spec) => self.timed("remove the database", self.database.remove(spec)).await,
                None => Ok(Removed::Gone),
            }
        });
        let mut gone = true;
        for dropped in [volume, database] {
            match dropped {
                Ok(Removed::Gone) => {}
                Ok(Removed::Going) => gone = false,
                Err(failure) => {
                    work.blame(failure);
                    gone = false;
                }
            }
        }
        gone
    }

    /// From what a pass did to what is recorded of it, and whether another has something to do at once.
    fn conclude(&self, row: &ProjectAndSandbox, desired: Desired, work: Work) -> (Pass, bool) {
        let (sandbox, now) = (&row.sandbox, self.clock.now());
        let Work { observed, mut cause, notice, error, moved, not_before, told } = work;
        let settled = match desired {
            Desired::Running => observed.ready(sandbox.generation),
            Desired::Stopped | Desired::Terminated => observed.gone_at.is_some() && row.project.deleting_since.is_none(),
        };
        if settled && error.is_none() {
            cause = notice;
        } else if !cause.as_ref().is_some_and(|cause| cause.code.blocks()) {
            cause = overdue::after(row, desired, &observed, cause.as_ref(), now).or(cause);
        }
        // What cannot be stored would be found again and again. A keeper of an older version may say it.
        let (cause, error) = (cause.map(Cause::cleaned), error.map(clean));
        let failures = if error.is_some() { sandbox.failures.saturating_add(1) } else { 0 };
        let progress = moved || observed != sandbox.observed;
        let backoff = (failures > 0).then(|| stage::after(now, backoff(failures, self.random.unit())));
        let pause = if cause.as_ref().is_some_and(|cause| cause.code.blocks()) { POLL_BLOCKED } else { POLL };
        let poll = (!settled && failures == 0).then(|| stage::after(now, pause));
        let deadline = next_deadline(desired, &observed, now).filter(|_| !settled);
        let retry = match not_before {
            Some(at) => Some(at),
            None => backoff.or(poll),
        };
        let wake_at = retry.into_iter().chain(deadline).min();
        let again = progress && !settled && failures == 0 && not_before.is_none() && observed != sandbox.observed;
        let mut pass = Pass { observed, cause, last_error: error, failures, wake_at, told: Vec::new() };
        pass.told = activity::pass(row, &pass, now);
        pass.told.extend(told);
        (pass, again)
    }

    /// A verb of the world, ended by [`super::Settings::verb`]: a hung world must not hold a worker.
    async fn timed<T, E: Into<Failure>>(
        &self,
        doing: &'static str,
        verb: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = verb => done.map_err(Into::into),
            () = self.clock.sleep(self.settings.verb) => Err(Failure::Slow(doing, self.settings.verb)),
        }
    }
}

/// 0.5 s, doubled with each failure in a row, at most 30 s, and up to a quarter of it more, by a `chance`
/// from 0 to 1, so that many do not come back together.
pub(super) fn backoff(failures: u32, chance: f64) -> Duration {
    let base = 0.5 * f64::from(2_u32.pow(failures.saturating_sub(1).min(6)));
    Duration::from_secs_f64(base.min(30.0) * (1.0 + chance / 4.0))
}

/// Whether a row needs a pass although nobody said so: the world is not as it was recorded.
/// `glance` is of its project's database.
pub(super) fn differs(row: &ProjectAndSandbox, seen: &Seen, glance: Option<&Glance>) -> bool {
    let (sandbox, deleting) = (&row.sandbox, row.project.deleting_since.is_some());
    let observed = &sandbox.observed;
    if observed.present != seen.present {
        return true;
    }
    if sandbox.desired != Desired::Running {
        return !deleting && observed.gone_at.is_some() && glance.is_some_and(runs_on);
    }
    let recorded = observed.instance.as_ref().map(|run| &run.id);
    !deleting
        && observed.ready(sandbox.generation)
        && (recorded != seen.instance.as_ref().map(|run| &run.id)
            || !seen.network
            || seen.agent != AgentSeen::ShellStarted
            || glance.is_some_and(|glance| !glance.whole)
            || notice(seen, glance) != sandbox.cause)
}

/// What is told beside a sandbox that runs.
fn notice(seen: &Seen, glance: Option<&Glance>) -> Option<Cause> {
    let own = seen.cause.clone().filter(|cause| cause.code.goes_with_running());
    own.or_else(|| glance?.cause.clone())
}

/// Whether something of a database runs that a stop would end, or is ending.
fn runs_on(glance: &Glance) -> bool {
    (glance.on || glance.ending) && glance.stops
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

fn home_leaving() -> Cause {
    Cause::new(
        CauseCode::VolumeLeaving,
        "The project's home folder is being deleted by somebody, with all its files. Once it is gone an empty one is made.",
        &[
            "Wait: it goes on by itself.",
            "Restore the files from a backup afterwards, if there is one.",
            "Look at who deleted it: in the cluster's audit log.",
        ],
    )
}

fn database_gone() -> Cause {
    Cause::new(
        CauseCode::DatabaseFailed,
        "The project's database was not there as it was made: somebody removed or stopped it. It is being made or started again.",
        &[
            "Wait: it goes on by itself. What is on its volume is kept; without that it is empty.",
            "Look at who changed it: in the cluster's audit log, or that of whoever runs the server.",
        ],
    )
}

/// Whether a run that is recorded as reachable is no longer there.
pub(super) fn ended(row: &ProjectAndSandbox, seen: &Seen) -> bool {
    let sandbox = &row.sandbox;
    row.project.deleting_since.is_none()
        && sandbox.desired == Desired::Running
        && sandbox.observed.ready(sandbox.generation)
        && sandbox.observed.instance.as_ref().map(|run| &run.id) != seen.instance.as_ref().map(|run| &run.id)
}

/// A pass under way.
struct Work {
    observed: Observed,
    cause: Option<Cause>,
    /// What is told if it is as it was asked for.
    notice: Option<Cause>,
    error: Option<String>,
    moved: bool,
    /// Nothing is tried again before.
    not_before: Option<Timestamp>,
    /// What is told of it beside what [`activity::pass`] finds.
    told: Vec<activity::Entry>,
}

impl Work {
    /// Nothing is done yet.
    fn new(sandbox: &SandboxRow, cause: Option<Cause>) -> Self {
        let observed = toward(sandbox);
        Self { observed, cause, notice: None, error: None, moved: false, not_before: None, told: Vec::new() }
    }

    /// Lets what is there overrule what was recorded: a run that ended, or was never the one asked
    /// for, takes the stages that depend on it back.
    fn settle(&mut self, sandbox: &SandboxRow, seen: &Seen) {
        let alive = seen.instance.as_ref().filter(|run| run.restart_count == sandbox.restart_count);
        let same = alive.is_some_and(|run| self.observed.instance.as_ref().is_some_and(|known| known.id == run.id));
        let again = if !same {
            &Stage::ALL[1..]
        } else if !seen.network {
            &Stage::ALL[2..]
        } else if seen.agent != AgentSeen::ShellStarted {
            &Stage::ALL[3..]
        } else {
            &[]
        };
        for stage in again {
            let fact = &mut self.observed.stages[stage.index()];
            if fact.ended_at.is_some() {
                *fact = StageFact::default();
            }
        }
        if again.contains(&Stage::TerminalInitialization) {
            // They begin when what they wait for is there.
            for stage in [Stage::TerminalInitialization, Stage::EnvironmentReady] {
                if alive.is_none() {
                    self.observed.stages[stage.index()] = StageFact::default();
                }
            }
        }
        if !same {
            self.observed.instance = None;
        }
        if !again.is_empty() && sandbox.observed.ready(sandbox.generation) {
            // It ran and does no longer: the project's database is looked at again, too.
            self.observed.stages[0] = StageFact::default();
            self.observed.ready_at = None;
            if alive.is_none() {
                self.cause.get_or_insert_with(|| ended_by_itself(seen));
            }
        }
        self.observed.leaving_since = None;
        self.observed.leave_deadline_at = None;
        self.observed.gone_at = None;
    }

    fn begin(&mut self, stage: Stage, deadline: Timestamp, now: Timestamp) {
        let fact = &mut self.observed.stages[stage.index()];
        if fact.started_at.is_none() {
            *fact = StageFact { started_at: Some(now), deadline_at: Some(deadline), ended_at: None, skipped: false };
        }
    }

    fn end(&mut self, stage: Stage, now: Timestamp) {
        self.observed.stages[stage.index()].ended_at.get_or_insert(now);
    }

    fn overdue(&self, stage: Stage, now: Timestamp) -> bool {
        let fact = self.observed.stage(stage);
        fact.ended_at.is_none() && fact.deadline_at.is_some_and(|at| now >= at)
    }

    /// Removing what a deleted project leaves behind has a deadline of its own, from when it began.
    fn erase(&mut self, now: Timestamp, limit: Duration) {
        if self.observed.erasing_since.is_none() {
            self.observed.erasing_since = Some(now);
            self.observed.leave_deadline_at = Some(stage::after(now, limit));
        }
    }

    fn stage(&mut self, stage: Stage, fact: StageFact) {
        self.observed.stages[stage.index()] = fact;
    }

    fn gone(&mut self, now: Timestamp) {
        self.observed.gone_at.get_or_insert(now);
        self.observed.instance = None;
        self.observed.ready_at = None;
    }

    fn blame(&mut self, failure: impl Into<Failure>) {
        let (cause, error) = failure.into().explain();
        self.error = Some(error);
        if !self.cause.as_ref().is_some_and(|cause| cause.code.blocks()) {
            self.cause = Some(cause);
        }
    }
}

/// What is recorded, seen from the present ask: facts of an older one keep only what is still true.
fn toward(sandbox: &SandboxRow) -> Observed {
    let mut observed = sandbox.observed.clone();
    if observed.generation != sandbox.generation {
        observed.generation = sandbox.generation;
        observed.stages = Default::default();
        observed.leaving_since = None;
        observed.leave_deadline_at = None;
        observed.gone_at = None;
        observed.erasing_since = None;
        observed.ready_at = None;
    }
    observed
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

fn ended_by_itself(seen: &Seen) -> Cause {
    let known = seen.cause.clone();
    if seen.ended_by_itself >= CRASH_LOOP {
        let mut cause = Cause::new(
            CauseCode::CrashLoop,
            format!("The sandbox ended by itself {} times within ten minutes.", seen.ended_by_itself),
            &["Look at its log for what ended it.", "It is started again by itself, at most every 30 seconds."],
        );
        cause.detail = known.map(|known| known.message);
        return cause;
    }
    known.unwrap_or_else(|| {
        Cause::new(
            CauseCode::EndedUnexpectedly,
            "The sandbox ended by itself. It is being started again.",
            &["Wait: files and database are kept."],
        )
    })
}

fn no_shell(name: &str) -> Cause {
    Cause::new(
        CauseCode::ShellFailed,
        format!("`{name}` runs and its agent answers, and no shell has started in it."),
        &[
            "Look at its log for why.",
            "If start-up files in the home folder are to blame, mend them by the API's exec.",
            "Restart it.",
        ],
    )
}

/// Why a verb failed.
enum Failure {
    Caused(Cause),
    Other(String),
    Slow(&'static str, Duration),
}

impl Failure {
    /// For the viewer, and for the operator.
    fn explain(self) -> (Cause, String) {
        match self {
            Self::Caused(cause) => {
                let error = match &cause.detail {
                    Some(detail) => format!("{} ({detail})", cause.message),
                    None => cause.message.clone(),
                };
                (cause, error)
            }
            Self::Other(error) => {
                let cause = Cause::new(
                    CauseCode::Unexpected,
                    "Something failed that has no name yet. It is tried again by itself.",
                    &["Look at the server's log for this sandbox's name."],
                );
                (cause.with_detail(error.clone()), error)
            }
            Self::Slow(doing, limit) => {
                let text = format!("It took over {} s to {doing}.", limit.as_secs());
                (Cause::new(CauseCode::OrchestratorUnreachable, text.clone(), &["It is tried again by itself."]), text)
            }
        }
    }
}

impl From<OrchestratorError> for Failure {
    fn from(error: OrchestratorError) -> Self {
        match error {
            OrchestratorError::Caused(cause) => Self::Caused(cause),
            OrchestratorError::Other(error) => Self::Other(format!("{error:#}")),
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Caused(cause) => Self::Caused(cause),
            DatabaseError::Other(error) => Self::Other(format!("{error:#}")),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_backoff_doubles_to_its_limit_and_is_spread(failures in 1u32..100, chance in 0.0f64..=1.0) {
            let secs = |failures, chance| backoff(failures, chance).as_secs_f64();
            let base = secs(failures, 0.0);
            prop_assert!((0.5..=30.0).contains(&base));
            let next = secs(failures + 1, 0.0);
            prop_assert!(next == (base * 2.0).min(30.0), "{base} {next}");
            let spread = secs(failures, chance);
            prop_assert!(spread >= base && spread <= base * 1.25, "{spread}");
        }
    }

    #[test]
    fn many_that_failed_together_do_not_come_back_together() {
        let mut times: Vec<Duration> = (0..100u8).map(|n| backoff(7, f64::from(n) / 99.0)).collect();
        times.dedup();
        assert_eq!(times.len(), 100);
        assert_eq!((times[0], times[99]), (Duration::from_secs(30), Duration::from_millis(37_500)));
    }
}
