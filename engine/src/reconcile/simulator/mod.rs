//! Deterministic schedules of asks, deaths and pauses of the control plane at every await, crashes in
//! the sandboxes, and refusals and blindness of the world; after which everything must be as it was last
//! asked for.
//!
//! - [`schedules`]: one pass after the other, polled by hand; some die on the way, some are
//!   paused and go on when their lease is long another's
//! - [`scenes`]: the same, at every single poll of every ask's work
//! - [`processes`]: one or two whole processes ([`Reconciler::run`]: leases of what is due,
//!   renewals, watches, the sweep), each on a runtime of its own that is run, paused or dropped
//!
//! The clock moves only when the schedule says so; all chance comes from the seed. A failing seed is
//! printed: `FSA_SEED=n cargo test -p engine --release simulator`.

mod chance;
mod checks;
mod processes;
mod scenes;
mod schedules;

use super::{Reconciler, Settings, spec, step};
use crate::{
    clock::Clock as _,
    database::memory::MemoryDatabase,
    orchestrator::memory::{MemoryOrchestrator, Nature},
    random::Random as _,
    store::{Ask, Asked, DatabaseRow, NewProjectRow, ProjectAndSandbox, Store as _, memory::MemoryStore},
};
use chance::{SimClock, SimRandom};
use jiff::Timestamp;
use model::{Desired, InstallationId, Phase, ProjectId, SandboxId, UserId, connection::Connection, resources::Preset};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, atomic::AtomicU64},
    task::{Context, Poll, Waker},
    time::Duration,
};
use uuid::Uuid;

const OWNER: UserId = UserId(Uuid::from_u128(7));

struct Simulation {
    clock: Arc<SimClock>,
    random: Arc<SimRandom>,
    store: Arc<MemoryStore>,
    world: Arc<MemoryOrchestrator>,
    database: Arc<MemoryDatabase>,
    reconciler: Arc<Reconciler>,
    projects: BTreeMap<ProjectId, Known>,
    /// The work of processes that were stopped in the middle of it, and may go on at any time.
    paused: Vec<Work>,
    kills: u32,
    /// How often such work went on.
    resumed: u32,
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// What the schedule knows of a project that it made.
struct Known {
    sandbox: SandboxId,
    has_database: bool,
    /// The text that was written into the volume, and must stay.
    written: Option<String>,
    /// What was written into the database, and must stay.
    noted: Option<String>,
    /// How the sandbox reaches its database.
    connection: Connection,
    /// Its home folder was removed while it was stopped.
    lost_home: bool,
    deleted: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(SimClock(Mutex::new((Timestamp::from_second(1_800_000_000).unwrap(), Vec::new(), Duration::ZERO))));
        let random = Arc::new(SimRandom(AtomicU64::new(seed)));
        let store = Arc::new(MemoryStore::new());
        let world = Arc::new(MemoryOrchestrator::new(clock.clone(), random.clone()));
        let database = Arc::new(MemoryDatabase::new(clock.clone(), random.clone()));
        let reconciler = process(&store, &world, &database, &clock, &random);
        let (projects, paused) = (BTreeMap::new(), Vec::new());
        Self { clock, random, store, world, database, reconciler, projects, paused, kills: 0, resumed: 0 }
    }

    /// Polls to the end. Nothing but the schedule moves, so it must end by itself.
    fn now<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..100_000 {
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return done;
            }
        }
        panic!("an await that nothing ends");
    }

    /// One turn of the loop: leases a due row, or one by a nudge, and works on it. With `kill`, the
    /// process dies at some await on the way, and another takes its place.
    fn turn(&mut self, kill: bool) {
        let rows = self.now(self.store.all()).unwrap();
        let now = self.clock.now();
        let due: Vec<_> = rows.iter().filter(|row| row.sandbox.wake_at.is_some_and(|at| at <= now)).collect();
        let pick = |rows: &[&ProjectAndSandbox]| {
            (!rows.is_empty()).then(|| rows[usize::try_from(self.random.below(rows.len() as u64)).unwrap()].sandbox.id)
        };
        let nudged = self.random.below(4) == 0;
        let all: Vec<_> = rows.iter().collect();
        let Some(id) = (if nudged { pick(&all) } else { pick(&due) }) else { return };
        let reconciler = self.reconciler.clone();
        if !kill {
            // A dead process may still hold the lease: then nothing happens, and nothing is claimed.
            let free = self.now(self.store.lease(id, "probe", now, Duration::from_secs(1))).unwrap().is_some();
            self.now(self.store.release(id, "probe")).unwrap();
            self.now(reconciler.work(id));
            if free {
                self.check_truth(id);
            }
            return;
        }
        let polls = self.random.below(40);
        let Some(work) = polled(Box::pin(async move { reconciler.work(id).await }), polls) else { return };
        self.kills += 1;
        // Dead, or stopped for a while: a machine that was suspended, a debugger, a full disk.
        if self.random.below(3) == 0 {
            self.paused.push(work);
        }
        if self.random.below(4) > 0 {
            self.clock.advance(Duration::from_secs(61));
        }
        self.another_process();
    }

    fn another_process(&mut self) {
        self.reconciler = process(&self.store, &self.world, &self.database, &self.clock, &self.random);
    }

    /// Work that was stopped goes on, for a while or to its end.
    fn resume(&mut self) {
        if self.paused.is_empty() {
            return;
        }
        let which = usize::try_from(self.random.below(self.paused.len() as u64)).unwrap();
        let work = self.paused.swap_remove(which);
        self.resumed += 1;
        let polls = self.random.below(60);
        self.paused.extend(polled(work, polls));
    }

    /// All that was stopped comes to its end.
    fn resume_all(&mut self) {
        for _ in 0..600 {
            self.paused = std::mem::take(&mut self.paused).into_iter().filter_map(|work| polled(work, 200)).collect();
            if self.paused.is_empty() {
                return;
            }
            self.clock.advance(Duration::from_millis(500));
        }
        panic!("{} passes do not end", self.paused.len());
    }

    fn create(&mut self) {
        let (id, sandbox, has_database) =
            (ProjectId(self.random.uuid()), SandboxId(self.random.uuid()), self.random.below(3) > 0);
        let mut random = [0; 6];
        self.random.fill(&mut random);
        let number = self.projects.len();
        let new = NewProjectRow {
            id,
            owner: OWNER,
            name: format!("Project {number}").parse().unwrap(),
            preset: Preset::Medium,
            env: BTreeMap::new(),
            database: has_database.then(|| DatabaseRow {
                role: format!("p{number}"),
                database: format!("p{number}"),
                password: SecretString::from("secret"),
            }),
            sandbox,
            random,
            agent_token: SecretString::from("token"),
            extra: None,
            env_revision: 1,
            key: None,
            most: usize::MAX,
            now: self.clock.now(),
        };
        self.now(self.store.create(new)).unwrap();
        let name = format!("p{number}");
        let connection =
            Connection { host: "127.0.0.1".into(), port: 5432, user: name.clone(), password: "secret".into(), database: name };
        self.projects.insert(
            id,
            Known { sandbox, has_database, written: None, noted: None, connection, lost_home: false, deleted: false },
        );
    }

    fn ask(&mut self) {
        let ids: Vec<ProjectId> = self.projects.iter().filter(|(_, known)| !known.deleted).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[usize::try_from(self.random.below(ids.len() as u64)).unwrap()];
        let now = self.clock.now();
        let ask = match self.random.below(10) {
            9 => {
                let sizes = Preset::ALL;
                let size = sizes[usize::try_from(self.random.below(sizes.len() as u64)).unwrap()];
                let row = self.now(self.store.update(OWNER, id, None, Some(size), now)).unwrap();
                let row = row.expect("a project that was not deleted is there");
                assert!(row.sandbox.desired != Desired::Running || row.sandbox.preset == size, "a size is applied at once");
                return;
            }
            0..=2 => Ask::Start,
            3 | 4 => Ask::Restart(BTreeMap::new()),
            5 | 6 => Ask::Stop,
            7 => Ask::Terminate,
            _ => {
                self.now(self.store.delete(OWNER, id, now)).unwrap();
                self.projects.get_mut(&id).unwrap().deleted = true;
                return;
            }
        };
        let asked = self.now(self.store.ask(OWNER, id, ask, None, now)).unwrap();
        assert!(asked.is_some(), "a project that was not deleted is there");
        if let Some(Asked::Refused(reason)) = asked {
            assert!(matches!(reason, "already-terminated" | "already-stopped"), "{reason}");
        }
    }

    /// Something happens in the world by itself.
    fn accident(&mut self) {
        let ids: Vec<(ProjectId, SandboxId)> = self.projects.iter().map(|(id, known)| (*id, known.sandbox)).collect();
        if ids.is_empty() {
            return;
        }
        let (project, sandbox) = ids[usize::try_from(self.random.below(ids.len() as u64)).unwrap()];
        let known = self.projects.get_mut(&project).unwrap();
        match self.random.below(5) {
            0 => {
                self.world.crash(sandbox);
            }
            3 => {
                if self.database.lose(&known.connection.database) {
                    known.noted = None;
                }
            }
            4 => {
                if self.world.lose_volume(&spec::volume(project)) {
                    known.written = None;
                }
            }
            1 => {
                let text = format!("{}", self.random.next());
                if self.world.write(sandbox, "file", &text) {
                    known.written = Some(text);
                }
            }
            _ => {
                let text = format!("{}", self.random.next());
                if self.database.write(&known.connection, &text).is_ok() {
                    known.noted = Some(text);
                }
            }
        }
    }

    fn phase(&self, row: &ProjectAndSandbox) -> Phase {
        row.sandbox.phase(self.clock.now())
    }

    fn no_more_faults(&self) {
        self.world.set_nature(Nature { delay: Duration::from_millis(200), ..Nature::default() });
        self.database.set_nature(Nature::default());
    }

    /// Whether nothing is left to do.
    fn rests(&self) -> bool {
        let rows = self.now(self.store.all()).unwrap();
        rows.iter().all(|row| row.sandbox.wake_at.is_none() && !self.differs(row))
    }

    /// Whether the world is not as it was recorded.
    fn differs(&self, row: &ProjectAndSandbox) -> bool {
        step::differs(row, &self.world.truth(row.sandbox.id), self.reconciler.glance(row).as_ref())
    }

    /// No more asks, no more faults: everything must come to rest as it was last asked for.
    fn converge(&mut self) {
        self.no_more_faults();
        self.resume_all();
        for _ in 0..600 {
            self.clock.advance(Duration::from_millis(500));
            let rows = self.now(self.store.all()).unwrap();
            let mut rest = true;
            for row in rows {
                let due = row.sandbox.wake_at.is_some_and(|at| at <= self.clock.now());
                let differs = self.differs(&row);
                if due || differs {
                    self.now(self.reconciler.work(row.sandbox.id));
                }
                rest &= row.sandbox.wake_at.is_none() && !differs && !due;
            }
            if rest {
                return;
            }
        }
        let rows = self.now(self.store.all()).unwrap();
        panic!("no rest after five minutes: {rows:#?}");
    }
}

fn process(
    store: &Arc<MemoryStore>,
    world: &Arc<MemoryOrchestrator>,
    database: &Arc<MemoryDatabase>,
    clock: &Arc<SimClock>,
    random: &Arc<SimRandom>,
) -> Arc<Reconciler> {
    let settings = Settings::new(InstallationId(Uuid::from_u128(1)));
    Reconciler::new(store.clone(), world.clone(), database.clone(), clock.clone(), random.clone(), settings)
}

/// Polls so often; what is left, if it has not ended.
fn polled(mut work: Work, polls: u64) -> Option<Work> {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if work.as_mut().poll(&mut context).is_ready() {
            return None;
        }
    }
    Some(work)
}

/// A world with its own ways.
fn nature(simulation: &Simulation) -> Nature {
    let percent = |limit| u8::try_from(simulation.random.below(limit)).unwrap();
    Nature {
        delay: Duration::from_millis(simulation.random.below(4000)),
        refuse_percent: percent(30),
        forget_percent: percent(30),
        blind_percent: percent(20),
        ..Nature::default()
    }
}

/// Runs the seeds, or the one of `FSA_SEED`; the failing one is printed.
fn seeds(count: u64, mut simulate: impl FnMut(u64)) {
    let one = std::env::var("FSA_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let count = if std::env::var_os("FSA_LONG").is_some() { 10 * count } else { count };
    for seed in one.map_or(0..count, |seed| seed..seed + 1) {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulate(seed)));
        assert!(run.is_ok(), "FSA_SEED={seed} does not converge");
    }
}
