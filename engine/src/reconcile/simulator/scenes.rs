//! A project at rest, one ask or accident from there, and a control plane that is broken off at each await of the work.

use super::{OWNER, Simulation, polled};
use crate::{
    clock::Clock as _,
    database::Database as _,
    orchestrator::memory::Nature,
    reconcile::spec,
    store::{Ask, Store as _},
};
use model::{CauseCode, Desired, Phase, ProjectId, SandboxId, resources::Preset};
use secrecy::SecretString;
use std::{collections::BTreeMap, time::Duration};

/// A project at rest in a world without chance, and an ask or an accident from there.
pub(super) struct Scene {
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

fn resize(simulation: &mut Simulation, id: ProjectId) {
    let now = simulation.clock.now();
    simulation.now(simulation.store.update(OWNER, id, None, Some(Preset::Large), now)).unwrap();
}

/// Sets a scene: `None` is the making of a project itself.
pub(super) fn scene(scene: Option<&Scene>) -> (Simulation, ProjectId, SandboxId) {
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

/// The pass that is under way set the old one after the new one was set.
#[test]
fn a_password_that_is_reset_during_a_start_stays_the_databases() {
    for polls in 0.. {
        let (mut simulation, id, sandbox) = scene(None);
        let first = simulation.reconciler.clone();
        let work = polled(Box::pin(async move { first.work(sandbox).await }), polls);
        let ended = work.is_none();
        let reset = simulation.store.reset_password(OWNER, id, SecretString::from("fresh"), simulation.clock.now());
        let row = simulation.now(reset).unwrap().unwrap();
        let known = spec::database(&row, &simulation.reconciler.settings).unwrap();
        simulation.now(simulation.database.ensure(&known)).unwrap();
        simulation.projects.get_mut(&id).unwrap().connection.password = "fresh".to_owned();
        simulation.paused.extend(work);
        simulation.converge();
        let opens = simulation.database.notes(&simulation.projects[&id].connection);
        assert!(opens.is_ok(), "after {polls} polls: {opens:?}");
        if ended {
            assert!(polls > 10, "it was never reset during the work");
            return;
        }
    }
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
