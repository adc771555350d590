//! Whole processes: two side by side, and one in a world that is silent, blocked, or set back in time.

use super::{OWNER, Simulation, nature, polled, process, scenes::scene, seeds};
use crate::{
    clock::Clock as _,
    orchestrator::memory::Nature,
    store::{Ask, Store as _, memory::Writes},
};
use model::{CauseCode, Phase};
use std::time::Duration;

/// A whole process: [`crate::reconcile::Reconciler::run`] on a runtime of its own. Not run, it is paused; dropped, it is
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

/// Reading works, and nothing that reconciling writes is taken: a full disk, or a text that no row takes.
#[test]
fn a_store_that_takes_no_writes_is_tried_ever_more_seldom_until_it_does() {
    // Of facts, half a second doubled up to 30 s; of leases, 0.2 s up to 5 s.
    for (writes, tries) in [(Writes::Facts, 4..=9), (Writes::Leases, 10..=24)] {
        let (simulation, _, _) = scene(None);
        simulation.store.refuse(Some(writes));
        let process = Process::start(&simulation);
        for _ in 0..120 {
            simulation.clock.advance(Duration::from_millis(500));
            process.go_on(200);
        }
        let refused = simulation.store.refusals();
        assert!(tries.contains(&refused), "{refused} tries of {writes:?} within a minute");
        simulation.store.refuse(None);
        for _ in 0..80 {
            simulation.clock.advance(Duration::from_millis(500));
            process.go_on(200);
        }
        let row = simulation.now(simulation.store.all()).unwrap()[0].clone();
        assert_eq!(simulation.phase(&row), Phase::Running, "{writes:?}");
    }
}

/// What is written of a sandbox meanwhile says that writing works: an ask does not wait for the pause to be over.
#[test]
fn an_ask_ends_the_pause_after_a_refusal() {
    let (simulation, id, _) = scene(None);
    simulation.store.refuse(Some(Writes::Facts));
    let process = Process::start(&simulation);
    for _ in 0..60 {
        simulation.clock.advance(Duration::from_millis(500));
        process.go_on(200);
    }
    simulation.store.refuse(None);
    let version = |simulation: &Simulation| simulation.now(simulation.store.all()).unwrap()[0].sandbox.version;
    let before = version(&simulation);
    process.go_on(200);
    assert_eq!(version(&simulation), before, "it is left alone");
    let now = simulation.clock.now();
    simulation.now(simulation.store.ask(OWNER, id, Ask::Stop, None, now)).unwrap().unwrap();
    let asked = version(&simulation);
    process.go_on(500);
    assert!(version(&simulation) > asked, "no time has passed");
}
