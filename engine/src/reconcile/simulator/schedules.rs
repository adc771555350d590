//! One pass after the other, polled by hand.

use super::{Simulation, nature, seeds};
use crate::orchestrator::memory::Nature;
use std::time::Duration;

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
