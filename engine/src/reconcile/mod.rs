//! The loop that makes the world as it was asked for.
//!
//! Accepts no input, not even "what changed": a nudge only wakes it, a row says what is wanted, the
//! world says what is there, and a pass does the next missing thing. Every pass may be repeated, and
//! the process may die between any two writes.
//!
//! ```text
//!   nudge ─┐
//!   watch ─┼─▶ due? ─▶ lease the row ─▶ observe ─▶ one step a part ─▶ record (compare-and-set) ─┐
//!   timer ─┘              ▲                                                                     │
//!                         └───────────────── again, while something moves ──────────────────────┘
//! ```
//!
//! - [`step`]: one pass, from a row to what was found
//! - [`spec`]: from rows to what the world is asked for
//! - [`orphans`]: what has our id and no row
//! - [`refused`]: what the store does not take, so that it is not hammered

pub mod orphans;
pub mod overdue;
mod refused;
pub mod spec;
mod step;

use crate::{
    clock::Clock,
    database::Database,
    measure::Measures,
    orchestrator::Orchestrator,
    random::Random,
    store::{Leased, Store, StoreError, activity, full::FullBell},
};
use futures::StreamExt as _;
use model::{Cause, Desired, InstallationId, SandboxId, StageLimits};
use refused::Refused;
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, watch},
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// On everything made.
    pub installation: InstallationId,
    /// How long each stage may take.
    pub limits: StageLimits,
    /// The operator's Claude credentials, as they are seen inside. An account's own win over them.
    pub operator_env: BTreeMap<String, SecretString>,
    /// How long a lease is held without renewal: how long the work of a process that was killed waits
    /// for another one. It is renewed at each third of it, so a step may take longer.
    pub hold: Duration,
    /// How long one verb of the world may take before its pass goes on without it.
    pub verb: Duration,
    /// How many sandboxes are worked on side by side. A worker mostly waits for the world, and holds a connection to the store
    /// or to a server of databases for single statements alone.
    pub workers: usize,
    /// What is counted.
    pub measures: Measures,
    /// Who is told where there is no room to record what a pass found: no row can tell it.
    pub full: FullBell,
}

impl Settings {
    /// The defaults for an installation.
    #[must_use]
    pub fn new(installation: InstallationId) -> Self {
        Self {
            installation,
            limits: StageLimits::default(),
            operator_env: BTreeMap::new(),
            hold: Duration::from_secs(6),
            verb: Duration::from_secs(30),
            workers: 64,
            measures: Measures::default(),
            full: FullBell::default(),
        }
    }
}

/// How often everything is looked at without being asked: what a lost event would leave behind is
/// found within this time.
const RESYNC: Duration = Duration::from_secs(30);
/// How long what is due is left to other processes while this one cannot see the world
/// ([`Orchestrator::health`]).
///
/// Two seconds: another one polls every half second. Where there is none, causes are told by that much later.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(2);

/// The loop. One a process; any number of processes share the rows.
pub struct Reconciler {
    store: Arc<dyn Store>,
    orchestrator: Arc<dyn Orchestrator>,
    database: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    settings: Settings,
    /// This process' name on leases.
    holder: String,
    kicked: Mutex<Kicked>,
    kick: Notify,
    refused: Mutex<Refused>,
}

/// Who is to be looked at, each once, in the order in which that was said.
#[derive(Default)]
struct Kicked {
    order: VecDeque<SandboxId>,
    there: HashSet<SandboxId>,
}

impl Kicked {
    fn put(&mut self, id: SandboxId) {
        if self.there.insert(id) {
            self.order.push_back(id);
        }
    }

    /// At most so many, who waited longest first; those that are worked on or left alone go on waiting.
    fn take(&mut self, most: usize, not: &HashSet<SandboxId>) -> Vec<SandboxId> {
        let mut taken = Vec::new();
        self.order.retain(|id| {
            let takes = taken.len() < most && !not.contains(id);
            if takes {
                taken.push(*id);
                self.there.remove(id);
            }
            !takes
        });
        taken
    }
}

impl Reconciler {
    /// A loop that does not run yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        orchestrator: Arc<dyn Orchestrator>,
        database: Arc<dyn Database>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        settings: Settings,
    ) -> Arc<Self> {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        let holder = format!("{}-{}", std::process::id(), hex::encode(bytes));
        let (kicked, kick, refused) = (Mutex::default(), Notify::new(), Mutex::default());
        Arc::new(Self { store, orchestrator, database, clock, random, settings, holder, kicked, kick, refused })
    }

    fn refused(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// "Look at this one now." Never waits; says nothing about why.
    pub fn nudge(&self, id: SandboxId) {
        self.kicked.lock().unwrap_or_else(PoisonError::into_inner).put(id);
        self.kick.notify_one();
    }

    /// Works until `stop`, and then until the passes under way are over. What they leave half done is
    /// found by the next process.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut watch = futures::stream::select(self.orchestrator.watch(), self.database.watch());
        let mut changes = self.store.changes();
        let mut health = self.orchestrator.health();
        let mut workers = Workers::default();
        // A world that does not answer it must keep no pass waiting.
        let mut resyncs = JoinSet::new();
        resyncs.spawn(self.clone().resyncs(Duration::ZERO));
        loop {
            let blind = health.borrow_and_update().is_some();
            self.spawn_due(&mut workers, blind).await;
            let timer = self.next_timer().await;
            // What is left to others is due all the while.
            let timer = if blind { timer.max(LEFT_TO_OTHERS / 4) } else { timer };
            tokio::select! {
                // In a fixed order, so that a simulation is the same each time. None is starved: each
                // turn begins with what is due, whatever woke it.
                biased;
                () = stop.cancelled() => break,
                () = workers.end_of_one() => {}
                Some(id) = watch.next() => self.nudge(id),
                change = changes.next() => match change {
                    // What is cloned into a sandbox is not reconciled.
                    Some(changed) if changed.clone => {}
                    Some(changed) => {
                        self.refused().try_again(changed.sandbox, self.clock.now());
                        self.nudge(changed.sandbox);
                    }
                    None => {
                        self.clock.sleep(Duration::from_millis(200)).await;
                        changes = self.store.changes();
                    }
                },
                () = self.kick.notified() => {}
                Ok(()) = health.changed() => {}
                Some(Err(error)) = resyncs.join_next() => {
                    warn!("comparing what is stored with what is there ended abruptly: {error:#}");
                    resyncs.spawn(self.clone().resyncs(RESYNC));
                }
                () = self.clock.sleep(timer) => {}
            }
        }
        drop(resyncs);
        while !workers.tasks.is_empty() {
            workers.end_of_one().await;
        }
    }

    /// Leases what is due or was kicked, and works on it, one worker a sandbox. A process that is `blind` leaves it to
    /// those that are not: what was kicked waits until it sees again, and what has been due for a while is worked on all the
    /// same, so that it is said why nothing moves.
    async fn spawn_due(self: &Arc<Self>, workers: &mut Workers, blind: bool) {
        let now = self.clock.now();
        let resting = self.refused().resting(now);
        let free = if blind { 0 } else { self.settings.workers.saturating_sub(workers.busy.len()) };
        let not: HashSet<SandboxId> = resting.union(&workers.busy).copied().collect();
        let kicked = self.kicked.lock().unwrap_or_else(PoisonError::into_inner).take(free, &not);
        for id in kicked {
            let this = self.clone();
            workers.spawn(id, async move { this.work(id).await });
        }
        let free = self.settings.workers.saturating_sub(workers.busy.len());
        if free == 0 || self.refused().leases_in(now).is_some() {
            return;
        }
        let due_by = if blind { now.checked_sub(LEFT_TO_OTHERS).unwrap_or(now) } else { now };
        let resting: Vec<SandboxId> = resting.into_iter().collect();
        match self.store.lease_due(&self.holder, due_by, self.settings.hold, free, &resting).await {
            Ok(due) => {
                self.refused().leased();
                for leased in due {
                    let id = leased.row.sandbox.id;
                    if !workers.busy.contains(&id) {
                        let this = self.clone();
                        workers.spawn(id, async move { this.work_leased(leased).await });
                    }
                }
            }
            Err(error) => {
                self.refused().leases(self.clock.now());
                self.settings.full.hear(&error);
                debug!("cannot look for due rows: {error:#}");
            }
        }
    }

    /// How long to sleep when nothing happens: until the next row is due, or what was refused is tried again; at most a second
    /// when the store does not answer.
    async fn next_timer(&self) -> Duration {
        let now = self.clock.now();
        let (resting, next_end, leases_in) = {
            let mut refused = self.refused();
            (refused.resting(now), refused.next_end(now), refused.leases_in(now))
        };
        let next = match leases_in {
            // What is due stays so until then.
            Some(left) => left,
            None => match self.store.next_wake(&resting.into_iter().collect::<Vec<_>>()).await {
                Ok(Some(at)) => {
                    Duration::try_from(at.duration_since(self.clock.now())).unwrap_or(Duration::from_millis(20)).min(RESYNC)
                }
                Ok(None) => RESYNC,
                Err(_) => Duration::from_secs(1),
            },
        };
        next_end.map_or(next, |end| end.min(next))
    }

    /// Works on one sandbox until nothing moves by itself any more.
    pub async fn work(&self, id: SandboxId) {
        match self.store.lease(id, &self.holder, self.clock.now(), self.settings.hold).await {
            Ok(Some(leased)) => self.work_leased(leased).await,
            Ok(None) => {}
            Err(error) => {
                self.settings.full.hear(&error);
                debug!(sandbox.id = %id, "cannot lease: {error:#}");
            }
        }
    }

    /// Records of every sandbox that is said to run and does not that it runs no longer, and does nothing
    /// about it yet: so the first answer after a start is true, whatever happened while nobody looked.
    ///
    /// Best effort, and no longer than one look at each: what cannot be asked or written stays as it was,
    /// for [`Self::run`] to find.
    pub async fn look(&self) {
        let rows = match self.store.all().await {
            Ok(rows) => rows,
            Err(error) => return debug!("cannot read all rows: {error:#}"),
        };
        for row in rows {
            let id = row.sandbox.id;
            let Ok(seen) = self.orchestrator.observe(id).await else { continue };
            let seen = seen.with(&row.sandbox.observed);
            if !step::ended(&row, &seen) {
                continue;
            }
            let now = self.clock.now();
            let Ok(Some(leased)) = self.store.lease(id, &self.holder, now, self.settings.hold).await else { continue };
            if step::ended(&leased.row, &seen) {
                let pass = self.taken_back(&leased.row, &seen);
                if let Err(error) = self.store.record(id, &self.holder, leased.row.sandbox.version, &pass, now).await {
                    debug!(sandbox.id = %id, "what was seen at the start could not be recorded: {error:#}");
                }
            }
            let _ = self.store.release(id, &self.holder).await;
            self.nudge(id);
        }
    }

    async fn work_leased(&self, leased: Leased) {
        let id = leased.row.sandbox.id;
        tokio::select! {
            biased;
            ended = self.passes(leased) => match ended {
                Ok(()) => self.refused().taken(id),
                Err(error) => {
                    self.settings.full.hear(&error);
                    let chance = self.random.unit();
                    let pause = self.refused().facts_of(id, self.clock.now(), chance);
                    debug!(sandbox.id = %id, "a pass could not be recorded, the next one is in {pause:?}: {error:#}");
                }
            },
            () = self.renew(id) => {}
        }
        // Best effort: a lease that is not given back runs out.
        let _ = self.store.release(id, &self.holder).await;
    }

    /// Holds a lease for as long as its work goes on. Ends if it was lost to another: then the work is
    /// theirs, and what is under way here is not recorded.
    async fn renew(&self, id: SandboxId) {
        loop {
            self.clock.sleep(self.settings.hold / 3).await;
            if let Ok(None) = self.store.lease(id, &self.holder, self.clock.now(), self.settings.hold).await {
                return;
            }
        }
    }

    async fn passes(&self, mut leased: Leased) -> Result<(), StoreError> {
        // A sandbox that moves all the time must not keep its worker for ever.
        for _ in 0..MAX_PASSES {
            let sandbox = &leased.row.sandbox;
            let (id, version) = (sandbox.id, sandbox.version);
            let began = Instant::now();
            let found = self.step(&leased.row).await;
            let failed = matches!(&found, step::Found::Pass { pass, .. } if pass.last_error.is_some());
            self.settings.measures.made(began.elapsed(), failed);
            let now = self.clock.now();
            match found {
                step::Found::Bury => {
                    if self.store.bury(id, &self.holder, version, now).await? {
                        return Ok(());
                    }
                }
                step::Found::Pass { pass, again } => {
                    if let Some(error) = pass.last_error.as_ref().filter(|_| pass.last_error != sandbox.last_error) {
                        warn!(sandbox.id = %id, sandbox.name = %sandbox.name, "a pass failed: {error}");
                    }
                    let recorded = self.store.record(id, &self.holder, version, &pass, now).await?;
                    if recorded.is_some() {
                        self.settings.measures.recorded(&leased.row, &pass);
                    }
                    if recorded.is_some() && !again {
                        return Ok(());
                    }
                }
            }
            // Something moved, or the row was written by someone else: read it again, which also
            // renews the lease.
            match self.store.lease(id, &self.holder, self.clock.now(), self.settings.hold).await? {
                Some(fresh) => leased = fresh,
                None => return Ok(()),
            }
        }
        self.nudge(leased.row.sandbox.id);
        Ok(())
    }

    /// Again and again, after a first wait, and as soon as the world is seen again: [`Self::resync`].
    async fn resyncs(self: Arc<Self>, first: Duration) {
        let mut orphans = orphans::Sweep::default();
        let mut health = self.orchestrator.health();
        let mut began = false;
        self.clock.sleep(first).await;
        loop {
            let blind = health.borrow_and_update().is_some();
            began |= self.resync(&mut orphans, !began).await && !blind;
            tokio::select! {
                biased;
                () = seen_again(&mut health) => {}
                () = self.clock.sleep(RESYNC) => {}
            }
        }
    }

    /// What a part of the world answers outside a pass, unless it takes longer than [`Settings::verb`].
    async fn answered<T>(&self, asked: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = asked => Some(answer),
            () = self.clock.sleep(self.settings.verb) => None,
        }
    }

    /// Compares what is stored with what is there, and nudges where they differ. Writes nothing, but that the
    /// `first` one tells which runs were found again. `false` where the store did not answer.
    async fn resync(&self, orphans: &mut orphans::Sweep, first: bool) -> bool {
        let rows = match self.store.all().await {
            Ok(rows) => rows,
            Err(error) => {
                debug!("cannot read all rows: {error:#}");
                return false;
            }
        };
        for row in &rows {
            let Some(Ok(seen)) = self.answered(self.orchestrator.observe(row.sandbox.id)).await else { continue };
            let seen = seen.with(&row.sandbox.observed);
            if step::differs(row, &seen, self.glance(row).as_ref()) {
                self.nudge(row.sandbox.id);
            } else if first
                && row.sandbox.desired == Desired::Running
                && let Some(entry) = activity::adopted(row, self.clock.now())
                && let Err(error) = self.store.tell(row.sandbox.id, entry, self.clock.now()).await
            {
                debug!(sandbox.id = %row.sandbox.id, "cannot tell that it was found again: {error:#}");
            }
        }
        let mut known: Vec<_> = rows.iter().map(|row| (row.project.id, row.sandbox.id)).collect();
        known.extend(self.store.left_out());
        let sweep = orphans.sweep(self.orchestrator.as_ref(), self.database.as_ref(), &known, self.clock.now());
        if self.answered(sweep).await.is_none() {
            debug!("what is left over could not be told: the world did not answer in time");
        }
        true
    }
}

/// When the world is seen again that could not be; never where that is not told.
async fn seen_again(health: &mut watch::Receiver<Option<Cause>>) {
    while health.changed().await.is_ok() {
        if health.borrow_and_update().is_none() {
            return;
        }
    }
    std::future::pending().await
}

/// The passes under way, each on a task of its own, one a sandbox.
#[derive(Default)]
struct Workers {
    tasks: JoinSet<()>,
    /// Which sandbox each is at: a task that panicked tells nothing but its id.
    at: HashMap<task::Id, SandboxId>,
    busy: HashSet<SandboxId>,
}

impl Workers {
    fn spawn(&mut self, id: SandboxId, work: impl Future<Output = ()> + Send + 'static) {
        self.busy.insert(id);
        self.at.insert(self.tasks.spawn(work).id(), id);
    }

    /// Waits for the end of one; for ever while there is none.
    async fn end_of_one(&mut self) {
        let task = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((task, ()))) => task,
            Some(Err(error)) => {
                let at = self.at.get(&error.id()).map(ToString::to_string).unwrap_or_default();
                // Its lease runs out by itself.
                warn!(sandbox.id = at, "a reconcile pass ended abruptly: {error:#}");
                error.id()
            }
        };
        if let Some(id) = self.at.remove(&task) {
            self.busy.remove(&id);
        }
    }
}

/// Passes of one worker in a row, before others get their turn.
const MAX_PASSES: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn who_was_nudged_first_is_looked_at_first_and_once() {
        let [a, b, c, d] = [4, 3, 2, 1].map(|n| SandboxId(Uuid::from_u128(n)));
        let mut kicked = Kicked::default();
        [a, b, a, c, d, b].into_iter().for_each(|id| kicked.put(id));
        assert_eq!(kicked.take(2, &[b].into()), [a, c]);
        kicked.put(a);
        assert_eq!(kicked.take(9, &HashSet::new()), [b, d, a]);
        assert!(kicked.take(9, &HashSet::new()).is_empty());
    }

    #[tokio::test]
    async fn a_panic_in_one_pass_forgets_that_one_alone() {
        let [lost, working] = [1, 2].map(|n| SandboxId(Uuid::from_u128(n)));
        let mut workers = Workers::default();
        workers.spawn(working, std::future::pending());
        workers.spawn(lost, async { panic!("a defect") });
        workers.end_of_one().await;
        assert_eq!(workers.busy, [working].into(), "no second worker comes to what is still worked on");
        assert_eq!(workers.at.len(), 1);
        workers.spawn(lost, async {});
        workers.end_of_one().await;
        assert_eq!(workers.busy, [working].into());
    }
}

#[cfg(test)]
mod simulator;
