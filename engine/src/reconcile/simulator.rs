//! Deterministic schedules of asks, deaths and pauses of the control plane at every await, crashes in
//! the sandboxes, and refusals and blindness of the world; after which everything must be as it was last
//! asked for.
//!
//! - [`every_schedule_converges`]: one pass after the other, polled by hand; some die on the way, some are
//!   paused and go on when their lease is long another's
//! - [`killed_or_paused_at_each_await_of_each_ask`]: the same, at every single poll of every ask's work
//! - [`loops_side_by_side_converge`]: two whole processes ([`Reconciler::run`]: leases of what is due,
//!   renewals, watches, the sweep), each on a runtime of its own that is run, paused or dropped
//!
//! The clock moves only when the schedule says so; all chance comes from the seed. A failing seed is
//! printed: `FSA_SEED=n cargo test -p engine --release simulator`.

use super::{Reconciler, Settings, orphans, spec, step};
use crate::{
    clock::Clock,
    database::memory::MemoryDatabase,
    orchestrator::{
        AgentSeen,
        memory::{MemoryOrchestrator, Nature},
    },
    random::Random,
    store::{Ask, Asked, DatabaseRow, NewProjectRow, ProjectAndSandbox, Store as _, activity::Filter, memory::MemoryStore},
};
use jiff::Timestamp;
use model::{
    CauseCode, Desired, InstallationId, Phase, ProjectId, SandboxId, UserId, connection::Connection, resources::Preset,
    stage::after,
};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use uuid::Uuid;

const OWNER: UserId = UserId(Uuid::from_u128(7));

/// Time that moves only when it is told to, who sleeps, and how far what the clock shows was set back: nobody sleeps longer for it.
struct SimClock(Mutex<(Timestamp, Vec<Waker>, Duration)>);

impl SimClock {
    fn advance(&self, by: Duration) {
        let mut state = self.0.lock().unwrap();
        state.0 = after(state.0, by);
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn set_back(&self, by: Duration) {
        self.0.lock().unwrap().2 += by;
    }
}

#[async_trait::async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let state = self.0.lock().unwrap();
        state.0.checked_sub(state.2).unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        let until = after(self.0.lock().unwrap().0, duration);
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().unwrap();
            if state.0 >= until {
                return Poll::Ready(());
            }
            if !context.waker().will_wake(Waker::noop()) {
                state.1.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// SplitMix64: the same numbers for the same seed, on every machine.
struct SimRandom(AtomicU64);

impl SimRandom {
    fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }
}

impl Random for SimRandom {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.next().to_le_bytes()[0];
        }
    }
}

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

    /// What must hold at every moment.
    fn check_always(&self) {
        let rows = self.now(self.store.all()).unwrap();
        for (project, known) in self.projects.iter().filter(|(_, known)| !known.deleted) {
            let row = rows.iter().find(|row| row.project.id == *project).expect("a row of what was not deleted");
            if let Some(written) = &known.written {
                assert_eq!(self.world.read(&spec::volume(*project), "file").as_ref(), Some(written), "files are kept");
            }
            if let Some(noted) = &known.noted {
                let notes = self.database.kept(&known.connection.database).expect("the database is kept");
                assert_eq!(notes.last(), Some(noted), "its rows are kept");
            }
            let phase = self.phase(row);
            if phase == Phase::Running && row.sandbox.observed.generation == row.sandbox.generation {
                let stages = &row.sandbox.observed.stages;
                assert!(stages.iter().all(|stage| stage.started_at <= stage.ended_at || stage.skipped), "{stages:?}");
            }
        }
    }

    /// What a pass that was not interrupted says is so.
    fn check_truth(&self, id: SandboxId) {
        let rows = self.now(self.store.all()).unwrap();
        let Some(row) = rows.iter().find(|row| row.sandbox.id == id) else { return };
        // It was not seen: what was true before is all that is known.
        if row.sandbox.last_error.is_some() {
            return;
        }
        let seen = self.world.truth(id);
        match self.phase(row) {
            Phase::Running => {
                let run = seen.instance.expect("Running is said of what runs");
                assert_eq!(run.restart_count, row.sandbox.restart_count, "Running is said of the run that was asked for");
                assert!(seen.network && seen.agent == AgentSeen::ShellStarted, "Running is said of what can be reached");
                let known = &self.projects[&row.project.id];
                assert!(!known.has_database || self.database.notes(&known.connection).is_ok(), "Running is said with a database");
            }
            Phase::Stopped | Phase::Terminated => {
                assert!(!seen.present, "what is there is not said to be gone");
                let known = &self.projects[&row.project.id];
                assert!(!self.database.runs(&known.connection.database), "its database is stopped with it");
            }
            _ => {}
        }
    }

    /// How often a project's owner was told that the home folder was gone.
    fn losses(&self, project: ProjectId) -> i64 {
        let filter = Filter { project: Some(project), limit: usize::MAX, ..Filter::default() };
        let told = self.now(self.store.activity(OWNER, &filter)).unwrap();
        told.iter().filter(|entry| entry.data["event"] == "home-lost").map(|entry| entry.times).sum()
    }

    /// A home folder that was removed and is there again was made anew, and that was told.
    fn check_loss(&self, id: ProjectId) {
        if self.world.volumes().contains(&spec::volume(id)) {
            let (lost, told) = (self.projects[&id].lost_home, self.losses(id));
            assert!(if lost { told > 0 } else { told == 0 }, "lost: {lost}, told {told} times");
            assert!(self.resumed > 0 || told <= 1, "told {told} times");
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

    /// What is left of deleted projects: the runs are swept away, and what holds data is reported. Work
    /// that went on after its project was buried may leave such; no other may.
    fn sweep(&self) {
        let rows = self.now(self.store.all()).unwrap();
        let known: Vec<_> = rows.iter().map(|row| (row.project.id, row.sandbox.id)).collect();
        let mut sweep = orphans::Sweep::default();
        for _ in 0..3 {
            self.now(sweep.sweep(self.world.as_ref(), self.database.as_ref(), &known, self.clock.now()));
            self.clock.advance(Duration::from_secs(601));
        }
        let reported = sweep.reported();
        assert!(self.resumed > 0 || reported.is_empty(), "data of a deleted project is left: {reported:?}");
        let volumes = rows.iter().map(|row| spec::volume(row.project.id)).collect::<Vec<_>>();
        for volume in self.world.volumes() {
            let known = volumes.contains(&volume) || reported.contains(&orphans::Data::Volume(volume.0.clone()));
            assert!(known, "no volume of a deleted project: {volume:?}");
        }
        let (roles, databases) = self.database.names();
        for (project, known) in self.projects.iter().filter(|(_, known)| known.deleted) {
            assert!(!self.world.truth(known.sandbox).present, "no orphan");
            let name = &known.connection.database;
            let left = roles.contains(name) || databases.contains(name);
            let said = reported.contains(&orphans::Data::Database(*project));
            assert!(!left || said, "no database or role of a deleted project");
        }
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

    fn check_at_rest(&self) {
        let rows = self.now(self.store.all()).unwrap();
        for row in &rows {
            assert!(row.project.deleting_since.is_none(), "what was deleted is gone");
            let expected = match row.sandbox.desired {
                Desired::Running => Phase::Running,
                Desired::Stopped => Phase::Stopped,
                Desired::Terminated => Phase::Terminated,
            };
            assert_eq!(self.phase(row), expected, "{row:#?}");
            assert_eq!(row.sandbox.cause, None, "nothing stands in the way");
            let seen = self.world.truth(row.sandbox.id);
            assert_eq!(seen.present, expected == Phase::Running);
            if expected == Phase::Running {
                assert_eq!(seen.instance.unwrap().restart_count, row.sandbox.restart_count, "the run that was asked for");
            }
        }
        for (project, known) in &self.projects {
            assert_eq!(
                known.deleted,
                rows.iter().all(|row| row.project.id != *project),
                "rows of what was asked for, and no others"
            );
            if let Some(row) = rows.iter().find(|row| row.project.id == *project && known.has_database) {
                let runs = self.database.notes(&known.connection).is_ok();
                assert_eq!(runs, row.sandbox.desired == Desired::Running, "a database runs with its sandbox");
            }
        }
        self.sweep();
        for left in self
            .now(crate::orchestrator::Orchestrator::list(self.world.as_ref()))
            .unwrap()
            .iter()
            .filter(|object| !object.holds_data)
        {
            let row = rows.iter().find(|row| row.sandbox.id == left.sandbox).expect("nothing of a deleted project");
            assert_ne!(row.sandbox.desired, Desired::Terminated, "nothing of what is terminated: {left:?}");
        }
        // At rest, another look writes nothing.
        let before = self.store.writes();
        for row in &rows {
            self.now(self.reconciler.work(row.sandbox.id));
        }
        assert_eq!(self.store.writes(), before, "an unchanged pass writes nothing");
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

fn simulate(seed: u64) -> (u32, u32) {
    let mut simulation = Simulation::new(seed);
    let nature = nature(&simulation);
    simulation.world.set_nature(nature);
    simulation.database.set_nature(Nature { delay: Duration::ZERO, ..nature });
    let deadly = simulation.random.below(3) > 0;
    for _ in 0..250 {
        match simulation.random.below(11) {
            0 if simulation.projects.len() < 4 => simulation.create(),
            1 | 2 => simulation.ask(),
            3 => simulation.accident(),
            4 | 5 => {
                let by = Duration::from_millis(simulation.random.below(3000));
                simulation.clock.advance(if simulation.random.below(20) == 0 { by * 60 } else { by });
            }
            6 => simulation.resume(),
            _ => {
                let kill = deadly && simulation.random.below(2) == 0;
                simulation.turn(kill);
            }
        }
        simulation.check_always();
    }
    // The leases of dead processes run out.
    simulation.clock.advance(Duration::from_secs(120));
    simulation.converge();
    simulation.check_always();
    simulation.check_at_rest();
    (simulation.kills, simulation.resumed)
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

#[test]
fn every_schedule_converges() {
    let (mut count, mut kills, mut resumed) = (0, 0, 0);
    seeds(1000, |seed| {
        let (killed, again) = simulate(seed);
        (count, kills, resumed) = (count + 1, kills + killed, resumed + again);
    });
    assert!(count == 1 || count >= 1000, "as many as are promised: {count}");
    assert!(count == 1 || kills > 4 * count, "the schedules kill the control plane often: {kills}");
    assert!(count == 1 || resumed > 2 * count, "and wake it up late: {resumed}");
}

/// A project at rest in a world without chance, and an ask or an accident from there.
struct Scene {
    name: &'static str,
    before: &'static [Ask],
    then: fn(&mut Simulation, ProjectId),
}

fn asks(simulation: &Simulation, id: ProjectId, ask: Ask) {
    simulation.now(simulation.store.ask(OWNER, id, ask, None, simulation.clock.now())).unwrap().unwrap();
}

const SCENES: &[Scene] = &[
    Scene { name: "restart", before: &[], then: |s, id| asks(s, id, Ask::Restart(BTreeMap::new())) },
    Scene { name: "a new size", before: &[], then: resize },
    Scene { name: "stop", before: &[], then: |s, id| asks(s, id, Ask::Stop) },
    Scene { name: "start", before: &[Ask::Stop], then: |s, id| asks(s, id, Ask::Start) },
    Scene { name: "terminate", before: &[], then: |s, id| asks(s, id, Ask::Terminate) },
    Scene { name: "start after terminating", before: &[Ask::Terminate], then: |s, id| asks(s, id, Ask::Start) },
    Scene { name: "delete", before: &[], then: delete },
    Scene { name: "delete what is stopped", before: &[Ask::Stop], then: delete },
    Scene { name: "delete what is terminated", before: &[Ask::Terminate], then: delete },
    Scene { name: "restart what is stopped", before: &[Ask::Stop], then: |s, id| asks(s, id, Ask::Restart(BTreeMap::new())) },
    Scene {
        name: "restart what is terminated",
        before: &[Ask::Terminate],
        then: |s, id| asks(s, id, Ask::Restart(BTreeMap::new())),
    },
    // Each before anything was done about the one before.
    Scene {
        name: "a change of mind",
        before: &[Ask::Stop],
        then: |s, id| {
            asks(s, id, Ask::Start);
            asks(s, id, Ask::Terminate);
            asks(s, id, Ask::Restart(BTreeMap::new()));
        },
    },
    Scene {
        name: "a crash",
        before: &[],
        then: |s, id| {
            let sandbox = s.projects[&id].sandbox;
            assert!(s.world.crash(sandbox));
        },
    },
    Scene {
        name: "start without a home folder",
        before: &[Ask::Stop],
        then: |s, id| {
            lose_home(s, id, Duration::ZERO);
            asks(s, id, Ask::Start);
        },
    },
    Scene {
        name: "start while the home folder goes",
        before: &[Ask::Stop],
        then: |s, id| {
            lose_home(s, id, Duration::from_secs(3));
            asks(s, id, Ask::Start);
        },
    },
];

fn lose_home(simulation: &mut Simulation, id: ProjectId, after: Duration) {
    simulation.world.lose_volume_after(&spec::volume(id), after);
    let known = simulation.projects.get_mut(&id).unwrap();
    (known.written, known.lost_home) = (None, true);
}

fn delete(simulation: &mut Simulation, id: ProjectId) {
    simulation.now(simulation.store.delete(OWNER, id, simulation.clock.now())).unwrap();
    simulation.projects.get_mut(&id).unwrap().deleted = true;
}

/// Sets a scene: `None` is the making of a project itself.
fn resize(simulation: &mut Simulation, id: ProjectId) {
    let now = simulation.clock.now();
    simulation.now(simulation.store.update(OWNER, id, None, Some(Preset::Large), now)).unwrap();
}

fn scene(scene: Option<&Scene>) -> (Simulation, ProjectId, SandboxId) {
    // A seed whose first project has a database.
    let mut simulation = Simulation::new(1);
    while simulation.projects.values().all(|known| !known.has_database) {
        simulation = Simulation::new(simulation.random.next());
        simulation.create();
    }
    let (id, sandbox) = simulation.projects.iter().map(|(id, known)| (*id, known.sandbox)).next().unwrap();
    if let Some(scene) = scene {
        simulation.converge();
        assert!(simulation.world.write(sandbox, "file", "kept"));
        simulation.projects.get_mut(&id).unwrap().written = Some("kept".to_owned());
        for ask in scene.before {
            asks(&simulation, id, ask.clone());
            simulation.converge();
        }
        (scene.then)(&mut simulation, id);
    }
    simulation.world.set_nature(Nature::default());
    (simulation, id, sandbox)
}

#[test]
fn killed_or_paused_at_each_await_of_each_ask() {
    for which in std::iter::once(None).chain(SCENES.iter().map(Some)) {
        let name = which.map_or("create", |scene| scene.name);
        for paused in [false, true] {
            for polls in 0.. {
                let (mut simulation, id, sandbox) = scene(which);
                let first = simulation.reconciler.clone();
                let work = polled(Box::pin(async move { first.work(sandbox).await }), polls);
                let ended = work.is_none();
                simulation.check_always();
                if paused {
                    // Its lease runs out; another process is asked for something else, and does it; then
                    // the first goes on from where it was.
                    simulation.clock.advance(Duration::from_secs(61));
                    simulation.another_process();
                    let deleting = simulation.projects[&id].deleted;
                    if !deleting {
                        let running = simulation.now(simulation.store.all()).unwrap()[0].sandbox.desired == Desired::Running;
                        asks(&simulation, id, if running { Ask::Stop } else { Ask::Start });
                    }
                    simulation.converge();
                    simulation.world.set_nature(Nature::default());
                    simulation.paused.extend(work);
                    simulation.resumed = 1;
                } else {
                    drop(work);
                    simulation.another_process();
                    simulation.clock.advance(Duration::from_secs(61));
                }
                simulation.converge();
                simulation.check_always();
                simulation.check_at_rest();
                simulation.check_loss(id);
                if ended {
                    assert!(polls > 10, "{name}: it was never broken off");
                    break;
                }
            }
        }
    }
}

/// Facts of a pass whose lease is another's, or whose row was written since, are never stored, wherever
/// the pass was paused.
#[test]
fn a_holder_that_wakes_up_late_stores_nothing_stale() {
    for polls in 1.. {
        let (mut simulation, id, sandbox) = scene(None);
        let first = simulation.reconciler.clone();
        let Some(mut work) = polled(Box::pin(async move { first.work(sandbox).await }), polls) else {
            assert!(polls > 10);
            return;
        };
        simulation.clock.advance(Duration::from_secs(61));
        simulation.another_process();
        asks(&simulation, id, Ask::Terminate);
        simulation.converge();
        let at_rest = simulation.now(simulation.store.all()).unwrap()[0].clone();
        assert_eq!(simulation.phase(&at_rest), Phase::Terminated);
        // Another process holds the row while the first goes on: whatever it does, the row stays as it is.
        let held = simulation.now(simulation.store.lease(sandbox, "other", simulation.clock.now(), Duration::from_secs(30)));
        assert!(held.unwrap().is_some());
        let writes = simulation.store.writes();
        for _ in 0..500 {
            match polled(work, 1) {
                Some(left) => work = left,
                None => break,
            }
            assert_eq!(simulation.store.writes(), writes, "after {polls} polls");
        }
        let now = simulation.now(simulation.store.all()).unwrap()[0].clone();
        assert_eq!((now.sandbox.version, now.sandbox.observed), (at_rest.sandbox.version, at_rest.sandbox.observed));
        // What it did to the world before it knew is found and undone.
        simulation.now(simulation.store.release(sandbox, "other")).unwrap();
        simulation.resumed = 1;
        simulation.converge();
        simulation.check_at_rest();
    }
}

/// A machine that was switched off: nothing runs, and the rows say that everything does. The first look
/// of the next process takes that back, before it does anything about it.
#[test]
fn the_first_look_takes_back_what_ended_meanwhile() {
    let (mut simulation, _, sandbox) = scene(Some(&SCENES[0]));
    simulation.converge();
    let row = |simulation: &Simulation| simulation.now(simulation.store.all()).unwrap()[0].clone();
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Running);
    let writes = simulation.store.writes();
    simulation.another_process();
    let first = simulation.reconciler.clone();
    simulation.now(first.look());
    assert_eq!(simulation.store.writes(), writes, "of what still runs, nothing is written");

    assert!(simulation.world.crash(sandbox));
    simulation.another_process();
    let first = simulation.reconciler.clone();
    simulation.now(first.look());
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Starting);
    assert!(simulation.world.truth(sandbox).instance.is_none(), "a look starts nothing");
    simulation.converge();
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Running);
    simulation.check_at_rest();
}

/// A home folder that somebody deletes is not written to before it is gone, and that it is made anew is told.
#[test]
fn a_home_folder_that_goes_is_waited_for_and_told_of() {
    let (mut simulation, id, sandbox) = scene(None);
    simulation.converge();
    assert_eq!(simulation.losses(id), 0, "a first start makes it, which is no loss");
    asks(&simulation, id, Ask::Stop);
    simulation.converge();
    lose_home(&mut simulation, id, Duration::from_secs(20));
    asks(&simulation, id, Ask::Start);
    let row = |simulation: &Simulation| simulation.now(simulation.store.all()).unwrap()[0].clone();
    for _ in 0..20 {
        simulation.clock.advance(Duration::from_millis(500));
        let reconciler = simulation.reconciler.clone();
        simulation.now(reconciler.work(sandbox));
        assert!(simulation.world.truth(sandbox).instance.is_none(), "nothing starts in a folder that goes");
    }
    assert_eq!(row(&simulation).sandbox.cause.map(|cause| cause.code), Some(CauseCode::VolumeLeaving));
    assert_eq!(simulation.losses(id), 0, "it is not gone yet");
    simulation.converge();
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Running);
    assert_eq!(simulation.losses(id), 1);
    simulation.check_at_rest();
}

/// A process that was killed between storing a new password and setting it, and a database that is away until the next run is
/// there.
#[test]
fn a_start_sets_the_password_also_where_its_run_came_before_its_database() {
    let (mut simulation, id, sandbox) = scene(None);
    simulation.converge();
    let reset = simulation.store.reset_password(OWNER, id, SecretString::from("fresh"), simulation.clock.now());
    assert!(simulation.now(reset).unwrap().is_some());
    simulation.projects.get_mut(&id).unwrap().connection.password = "fresh".to_owned();
    let opens = |simulation: &Simulation| simulation.database.notes(&simulation.projects[&id].connection).is_ok();
    assert!(!opens(&simulation));
    asks(&simulation, id, Ask::Restart(BTreeMap::new()));
    simulation.world.set_nature(Nature::default());
    simulation.database.set_away(true);
    let reconciler = simulation.reconciler.clone();
    simulation.now(reconciler.work(sandbox));
    let row = simulation.now(simulation.store.all()).unwrap()[0].clone();
    let run = row.sandbox.observed.instance.expect("the run does not wait for the database");
    assert_eq!(run.env_revision, row.sandbox.env_revision);
    simulation.database.set_away(false);
    simulation.converge();
    assert!(opens(&simulation), "what the run was told opens it");
    simulation.check_at_rest();
}

/// A new run for a new size is Updating; what happens to that run is not.
#[test]
fn a_new_size_is_updating_until_it_ran_in_it() {
    let (mut simulation, id, sandbox) = scene(None);
    simulation.converge();
    let row = |simulation: &Simulation| simulation.now(simulation.store.all()).unwrap()[0].clone();
    let before = simulation.world.truth(sandbox).instance.unwrap();
    resize(&mut simulation, id);
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Updating);
    simulation.converge();
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Running);
    assert_ne!(simulation.world.truth(sandbox).instance.unwrap().id, before.id, "limits are of a run");

    assert!(simulation.world.crash(sandbox));
    simulation.another_process();
    let first = simulation.reconciler.clone();
    simulation.now(first.look());
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Starting);
    simulation.converge();
    simulation.check_at_rest();
}

/// A whole process: [`Reconciler::run`] on a runtime of its own. Not run, it is paused; dropped, it is
/// dead.
struct Process {
    runtime: tokio::runtime::Runtime,
}

impl Process {
    fn start(simulation: &Simulation) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reconciler =
            process(&simulation.store, &simulation.world, &simulation.database, &simulation.clock, &simulation.random);
        runtime.spawn(reconciler.run(tokio_util::sync::CancellationToken::new()));
        Self { runtime }
    }

    /// Lets each of its tasks go on so often.
    fn go_on(&self, turns: u64) {
        self.runtime.block_on(async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// What no event tells is found, also after a sweep that nobody answered.
#[test]
fn a_sweep_that_is_not_answered_is_not_the_last() {
    let (mut simulation, id, _) = scene(None);
    simulation.converge();
    let process = Process::start(&simulation);
    simulation.database.set_nature(Nature { delay: Duration::from_secs(1_000_000), ..Nature::default() });
    process.go_on(60);
    simulation.database.set_nature(Nature::default());
    let database = simulation.projects[&id].connection.database.clone();
    assert!(simulation.database.lose(&database));
    process.go_on(60);
    assert!(!simulation.database.runs(&database), "only the sweep finds it, and waits");
    for _ in 0..20 {
        simulation.clock.advance(Duration::from_secs(10));
        process.go_on(60);
    }
    assert!(simulation.database.runs(&database));
}

/// Each look at it is a write. Events do not wait for the next one.
#[test]
fn what_is_blocked_is_looked_at_every_five_seconds_and_when_something_happens() {
    let (simulation, _, sandbox) = scene(None);
    simulation.world.set_nature(Nature { shells_fail: true, ..Nature::default() });
    let process = Process::start(&simulation);
    for _ in 0..60 {
        simulation.clock.advance(Duration::from_secs(1));
        process.go_on(60);
    }
    let row = |simulation: &Simulation| simulation.now(simulation.store.all()).unwrap()[0].clone();
    assert_eq!(row(&simulation).sandbox.cause.map(|cause| cause.code), Some(CauseCode::ShellFailed));
    let before = simulation.store.writes();
    for _ in 0..40 {
        simulation.clock.advance(Duration::from_millis(500));
        process.go_on(60);
    }
    let looks = simulation.store.writes() - before;
    assert!((3..=5).contains(&looks), "{looks} within twenty seconds");
    simulation.world.set_nature(Nature::default());
    assert!(simulation.world.crash(sandbox));
    process.go_on(500);
    assert_eq!(simulation.phase(&row(&simulation)), Phase::Running, "no time has passed");
}

/// Neither a dead process' lease nor what was to be done next waits for the clock to be where it was.
#[test]
fn a_clock_that_is_set_back_an_hour_stops_nothing() {
    let (simulation, _, sandbox) = scene(None);
    let dead = simulation.reconciler.clone();
    drop(polled(Box::pin(async move { dead.work(sandbox).await }), 8).expect("it is broken off"));
    let process = Process::start(&simulation);
    process.go_on(60);
    assert!(simulation.world.truth(sandbox).instance.is_none(), "its lease holds");
    simulation.clock.set_back(Duration::from_secs(3600));
    for _ in 0..30 {
        simulation.clock.advance(Duration::from_secs(5));
        process.go_on(60);
    }
    let row = simulation.now(simulation.store.all()).unwrap()[0].clone();
    assert_eq!(simulation.phase(&row), Phase::Running);
    assert!(simulation.rests());
}

fn side_by_side(seed: u64) {
    let mut simulation = Simulation::new(seed);
    let nature = nature(&simulation);
    simulation.world.set_nature(nature);
    simulation.database.set_nature(Nature { delay: Duration::ZERO, ..nature });
    let mut processes = [Process::start(&simulation), Process::start(&simulation)];
    for _ in 0..120 {
        let which = usize::try_from(simulation.random.below(2)).unwrap();
        match simulation.random.below(12) {
            0 if simulation.projects.len() < 4 => simulation.create(),
            1 | 2 => simulation.ask(),
            3 => simulation.accident(),
            4 | 5 => {
                let by = Duration::from_millis(simulation.random.below(3000));
                simulation.clock.advance(if simulation.random.below(20) == 0 { by * 60 } else { by });
            }
            6 => {
                simulation.kills += 1;
                processes[which] = Process::start(&simulation);
            }
            _ => processes[which].go_on(simulation.random.below(40)),
        }
        simulation.check_always();
    }
    simulation.no_more_faults();
    // What was paused goes on late; there may be data that nobody knows of.
    simulation.resumed = 1;
    for _ in 0..400 {
        simulation.clock.advance(Duration::from_secs(2));
        for process in &processes {
            process.go_on(60);
        }
        if simulation.rests() {
            break;
        }
    }
    // No leases are left behind, and what the sweeps of both find does no harm.
    for _ in 0..25 {
        simulation.clock.advance(Duration::from_secs(31));
        for process in &processes {
            process.go_on(60);
        }
    }
    drop(processes);
    simulation.clock.advance(Duration::from_secs(120));
    simulation.check_always();
    simulation.check_at_rest();
}

#[test]
fn loops_side_by_side_converge() {
    seeds(200, side_by_side);
}
