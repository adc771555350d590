//! What carries our installation's id and has no row: found, reported, and after ten minutes removed.
//! Never a volume or a database: those are reported, once, for a person to look at.

use super::spec;
use crate::{database::Database, orchestrator::Orchestrator};
use jiff::{SignedDuration, Timestamp};
use model::{ProjectId, SandboxId};
use std::collections::{BTreeSet, HashMap, HashSet};
use tracing::{debug, info, warn};

/// How long an orphan is left alone: long enough for a row that is being written by another process.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// When each orphan was first seen.
#[derive(Debug, Default)]
pub struct Sweep {
    first_seen: HashMap<SandboxId, Timestamp>,
    data: HashMap<Data, Seen>,
}

/// What holds data that nobody's row names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Data {
    /// A home folder, by its name.
    Volume(String),
    /// A role and its database, by the project that they say they are of.
    Database(ProjectId),
}

#[derive(Debug)]
struct Seen {
    first: Timestamp,
    said: bool,
}

impl Sweep {
    /// Looks once; may be broken off. `rows` are all that there are, those that cannot be read included.
    pub async fn sweep(
        &mut self,
        orchestrator: &dyn Orchestrator,
        database: &dyn Database,
        rows: &[(ProjectId, SandboxId)],
        now: Timestamp,
    ) {
        let known: HashSet<SandboxId> = rows.iter().map(|(_, sandbox)| *sandbox).collect();
        let projects: HashSet<ProjectId> = rows.iter().map(|(project, _)| *project).collect();
        let volumes: HashSet<String> = projects.iter().map(|project| spec::volume(*project).0).collect();
        let mut data = BTreeSet::new();
        match orchestrator.list().await {
            Ok(owned) => {
                let (holding, rest): (Vec<_>, Vec<_>) = owned.into_iter().partition(|object| object.holds_data);
                data.extend(
                    holding.into_iter().map(|object| object.name).filter(|name| !volumes.contains(name)).map(Data::Volume),
                );
                let orphans: HashMap<SandboxId, String> = rest
                    .into_iter()
                    .filter(|object| !known.contains(&object.sandbox))
                    .map(|object| (object.sandbox, format!("{} {}", object.kind, object.name)))
                    .collect();
                self.remove(orchestrator, orphans, now).await;
            }
            Err(error) => {
                debug!("cannot list what is there: {error:#}");
                data.extend(self.data.keys().filter(|data| matches!(data, Data::Volume(_))).cloned());
            }
        }
        match database.list().await {
            Ok(listed) => data.extend(listed.into_iter().filter(|project| !projects.contains(project)).map(Data::Database)),
            Err(error) => {
                debug!("cannot list the databases: {error:#}");
                data.extend(self.data.keys().filter(|data| matches!(data, Data::Database(_))).cloned());
            }
        }
        self.report(data, now);
    }

    async fn remove(&mut self, orchestrator: &dyn Orchestrator, orphans: HashMap<SandboxId, String>, now: Timestamp) {
        self.first_seen.retain(|id, _| orphans.contains_key(id));
        for (id, what) in orphans {
            let first = *self.first_seen.entry(id).or_insert_with(|| {
                info!(sandbox.id = %id, "found an orphan: {what}; it is removed in ten minutes if it still has no row");
                now
            });
            if now.duration_since(first) >= GRACE {
                match orchestrator.remove(id).await {
                    Ok(_) => info!(sandbox.id = %id, "removed an orphan: {what}"),
                    Err(error) => warn!(sandbox.id = %id, "failed to remove an orphan: {error:#}"),
                }
            }
        }
    }

    fn report(&mut self, orphans: BTreeSet<Data>, now: Timestamp) {
        self.data.retain(|data, _| orphans.contains(data));
        for data in orphans {
            let seen = self.data.entry(data.clone()).or_insert(Seen { first: now, said: false });
            if seen.said || now.duration_since(seen.first) < GRACE {
                continue;
            }
            seen.said = true;
            match data {
                Data::Volume(name) => warn!(
                    volume = name,
                    "a home folder belongs to no project. It is never removed by itself: look into it, and remove it if nobody needs it"
                ),
                Data::Database(project) => warn!(
                    project.id = %project,
                    "a database and its role belong to no project. They are never removed by themselves: look into the database, and drop \
                     both if nobody needs them (the role's comment names this project)"
                ),
            }
        }
    }

    /// What was reported and is still there.
    #[must_use]
    pub fn reported(&self) -> BTreeSet<Data> {
        self.data.iter().filter(|(_, seen)| seen.said).map(|(data, _)| data.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        database::{DatabaseSpec, memory::MemoryDatabase},
        orchestrator::{contract, memory::MemoryOrchestrator},
        random::SystemRandom,
    };
    use model::InstallationId;
    use secrecy::SecretString;
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };
    use uuid::Uuid;

    struct StandingClock(Mutex<Timestamp>);

    #[async_trait::async_trait]
    impl Clock for StandingClock {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
        async fn sleep(&self, _: Duration) {}
    }

    impl StandingClock {
        fn pass(&self, minutes: i64) -> Timestamp {
            let mut now = self.0.lock().unwrap();
            *now = now.checked_add(SignedDuration::from_mins(minutes)).unwrap();
            *now
        }
    }

    #[tokio::test]
    async fn an_orphan_is_removed_after_ten_minutes_and_its_data_is_reported_once_and_never_removed() {
        let clock = Arc::new(StandingClock(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap())));
        let random = Arc::new(SystemRandom);
        let world = MemoryOrchestrator::new(clock.clone(), random.clone());
        let server = MemoryDatabase::new(clock.clone(), random);
        let (mine, lost) = (contract::spec(), contract::spec());
        for spec in [&mine, &lost] {
            world.ensure(spec).await.unwrap();
            let name = format!("p_{}", spec.project.0.simple());
            let spec = DatabaseSpec {
                project: spec.project,
                sandbox: spec.id,
                slug: spec.slug.clone(),
                name: spec.name.clone(),
                installation: InstallationId(Uuid::from_u128(1)),
                role: name.clone(),
                database: name,
                password: SecretString::from("secret"),
            };
            server.ensure(&spec).await.unwrap();
        }
        let rows = [(mine.project, mine.id)];
        let there = async |id| world.observe(id).await.unwrap().present;
        let mut sweep = Sweep::default();
        for minutes in [0, 5, 4] {
            sweep.sweep(&world, &server, &rows, clock.pass(minutes)).await;
            assert!(there(lost.id).await && sweep.reported().is_empty(), "its row may still be on its way");
        }
        sweep.sweep(&world, &server, &rows, clock.pass(1)).await;
        assert!(there(mine.id).await && !there(lost.id).await);
        let reported = BTreeSet::from([Data::Volume(lost.volume.0.clone()), Data::Database(lost.project)]);
        assert_eq!(sweep.reported(), reported);
        sweep.sweep(&world, &server, &rows, clock.pass(60)).await;
        assert_eq!(world.volumes().len(), 2, "a volume is never removed");
        assert_eq!(server.list().await.unwrap().len(), 2, "nor a database");

        // A server that is away forgets nothing: what was said is not said again when it is back.
        server.set_away(true);
        sweep.sweep(&world, &server, &rows, clock.pass(1)).await;
        assert_eq!(sweep.reported(), reported);
        server.set_away(false);
        // What gets a row, or goes, is no orphan any more.
        let rows = [(mine.project, mine.id), (lost.project, lost.id)];
        sweep.sweep(&world, &server, &rows, clock.pass(1)).await;
        assert!(sweep.reported().is_empty());
    }
}
