//! Toward Stopped, Terminated, or nothing at all.

use super::{drift::runs_on, work::Work};
use crate::{
    database::DatabaseSpec,
    orchestrator::{Removed, Seen},
    reconcile::{Reconciler, spec},
    store::ProjectAndSandbox,
};
use model::{Desired, stage};

impl Reconciler {
    /// Toward Stopped or Terminated.
    pub(super) async fn down(&self, row: &ProjectAndSandbox, seen: &Seen, desired: Desired, work: &mut Work) {
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
    pub(super) async fn erase(&self, row: &ProjectAndSandbox, work: &mut Work) -> bool {
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

    /// The database of a sandbox that should not run, unless it is known to be stopped. Where nothing is known
    /// without asking, it is stopped once, before the sandbox is `settled`. One of a deleted project is removed.
    fn database_to_stop(&self, row: &ProjectAndSandbox, settled: bool) -> Option<DatabaseSpec> {
        let spec = spec::database(row, &self.settings).filter(|_| row.project.deleting_since.is_none())?;
        let runs = self.database.glance(&spec).map_or(!settled, |glance| runs_on(&glance));
        runs.then_some(spec)
    }
}
