//! What must hold: at every moment, after a pass, and at rest.

use super::{OWNER, Simulation};
use crate::{
    clock::Clock as _,
    orchestrator::AgentSeen,
    reconcile::{orphans, spec},
    store::{Store as _, activity::Filter},
};
use model::{Desired, Phase, ProjectId, SandboxId};
use std::time::Duration;

impl Simulation {
    /// What must hold at every moment.
    pub(super) fn check_always(&self) {
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
    pub(super) fn check_truth(&self, id: SandboxId) {
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
    pub(super) fn losses(&self, project: ProjectId) -> i64 {
        let filter = Filter { project: Some(project), limit: usize::MAX, ..Filter::default() };
        let told = self.now(self.store.activity(OWNER, &filter)).unwrap();
        told.iter().filter(|entry| entry.data["event"] == "home-lost").map(|entry| entry.times).sum()
    }

    /// A home folder that was removed and is there again was made anew, and that was told.
    pub(super) fn check_loss(&self, id: ProjectId) {
        if self.world.volumes().contains(&spec::volume(id)) {
            let (lost, told) = (self.projects[&id].lost_home, self.losses(id));
            assert!(if lost { told > 0 } else { told == 0 }, "lost: {lost}, told {told} times");
            assert!(self.resumed > 0 || told <= 1, "told {told} times");
        }
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

    /// What must hold when nothing is left to do.
    pub(super) fn check_at_rest(&self) {
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
