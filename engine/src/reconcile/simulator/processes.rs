//! Two whole processes, side by side.

use super::{Simulation, nature, process, seeds};
use crate::orchestrator::memory::Nature;
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
