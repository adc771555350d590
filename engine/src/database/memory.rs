//! A PostgreSQL server as two maps: what the simulator and HTTP tests stand on. Passes the same
//! contract as the real one.
//!
//! Role and database are two writes to the world, with yields around each, so that a simulator can
//! end the caller between them.

use super::{Database, DatabaseError, DatabaseSeen, DatabaseSpec, Glance};
use crate::{
    clock::Clock,
    orchestrator::{DatabaseEndpoint, Removed, memory::Nature},
    random::Random,
};
use model::{Cause, CauseCode, InstallationId, ProjectId, connection::Connection, view::DatabaseFigures};
use secrecy::ExposeSecret as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::yield_now;

/// A server as two maps.
pub struct MemoryDatabase {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nature: Nature,
    away: bool,
    roles: BTreeMap<String, Role>,
    databases: BTreeMap<String, Content>,
    /// Databases whose server does not run.
    stopped: BTreeSet<String>,
    /// Databases around which somebody changed something.
    edited: BTreeSet<String>,
    /// Databases whose server ends when it is next made as it should be.
    ending: BTreeSet<String>,
}

struct Role {
    /// Of which installation's which project it says it is.
    of: Option<(InstallationId, ProjectId)>,
    password: String,
}

struct Content {
    owner: String,
    notes: Vec<String>,
}

impl MemoryDatabase {
    /// An empty server on which nothing takes time and nothing fails.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random, state: Mutex::default() }
    }

    /// Changes how the server behaves from now on.
    pub fn set_nature(&self, nature: Nature) {
        self.lock().nature = nature;
    }

    /// From now on nobody answers, or somebody does again.
    pub fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// The names of what is there: roles, databases.
    #[must_use]
    pub fn names(&self) -> (Vec<String>, Vec<String>) {
        let state = self.lock();
        (state.roles.keys().cloned().collect(), state.databases.keys().cloned().collect())
    }

    /// Removes a database behind the back of everyone. `false` if it is not there.
    pub fn lose(&self, database: &str) -> bool {
        let mut state = self.lock();
        state.stopped.remove(database);
        state.edited.remove(database);
        state.databases.remove(database).is_some()
    }

    /// Changes something around a database behind the back of everyone. `false` if it is not there.
    pub fn edit(&self, database: &str) -> bool {
        let mut state = self.lock();
        let there = state.databases.contains_key(database);
        if there {
            state.edited.insert(database.to_owned());
        }
        there
    }

    /// The server of a database ends when it is next made as it should be, as one that is rolled does; it runs once it is
    /// made so again.
    pub fn end_when_made(&self, database: &str) {
        self.lock().ending.insert(database.to_owned());
    }

    /// Makes a role that is nobody's, and, if `database` says so, a database of it.
    pub fn put_foreign(&self, role: &str, database: Option<&str>) {
        let mut state = self.lock();
        state.roles.insert(role.to_owned(), Role { of: None, password: String::new() });
        if let Some(database) = database {
            state.databases.insert(database.to_owned(), Content { owner: role.to_owned(), notes: Vec::new() });
        }
    }

    /// Keeps a note in a database, as a program with this connection could.
    ///
    /// # Errors
    /// The connection would be refused, and why.
    pub fn write(&self, connection: &Connection, note: &str) -> Result<(), String> {
        enter(&mut self.lock(), connection).map(|content| content.notes.push(note.to_owned()))
    }

    /// The notes in a database.
    ///
    /// # Errors
    /// The connection would be refused, and why.
    pub fn notes(&self, connection: &Connection) -> Result<Vec<String>, String> {
        enter(&mut self.lock(), connection).map(|content| content.notes.clone())
    }

    /// The notes in a database, also while it does not run; `None` if it is not there.
    #[must_use]
    pub fn kept(&self, database: &str) -> Option<Vec<String>> {
        self.lock().databases.get(database).map(|content| content.notes.clone())
    }

    /// Whether a database is there and runs.
    #[must_use]
    pub fn runs(&self, database: &str) -> bool {
        let state = self.lock();
        state.databases.contains_key(database) && !state.stopped.contains(database)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chance(&self, percent: u8) -> bool {
        percent > 0 && self.random.unit() * 100.0 < f64::from(percent)
    }

    /// One question or write, which takes its time, and may fail before or after it.
    async fn act<T>(&self, action: impl FnOnce(&mut State) -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        yield_now().await;
        let nature = self.lock().nature;
        if !nature.delay.is_zero() {
            self.clock.sleep(nature.delay.mul_f64(self.random.unit())).await;
        }
        if self.chance(nature.refuse_percent) {
            return Err(DatabaseError::Other(anyhow::anyhow!("refused by chance")));
        }
        let done = {
            let mut state = self.lock();
            if state.away { Err(unreachable()) } else { action(&mut state) }
        };
        yield_now().await;
        if self.chance(nature.forget_percent) {
            return Err(DatabaseError::Other(anyhow::anyhow!("done, and the answer lost by chance")));
        }
        done
    }
}

fn enter<'a>(state: &'a mut State, connection: &Connection) -> Result<&'a mut Content, String> {
    if state.away {
        return Err("connection refused".to_owned());
    }
    if state.roles.get(&connection.user).is_none_or(|role| role.password != connection.password) {
        return Err(format!("password authentication failed for user \"{}\"", connection.user));
    }
    if state.stopped.contains(&connection.database) {
        return Err("connection refused".to_owned());
    }
    match state.databases.get_mut(&connection.database) {
        Some(content) if content.owner == connection.user => Ok(content),
        Some(_) => Err(format!("permission denied for database \"{}\"", connection.database)),
        None => Err(format!("database \"{}\" does not exist", connection.database)),
    }
}

fn unreachable() -> DatabaseError {
    DatabaseError::Caused(Cause::new(
        CauseCode::DatabaseUnreachable,
        "PostgreSQL does not answer.",
        &["Wait: it is asked again and again."],
    ))
}

fn taken(what: &str, name: &str) -> DatabaseError {
    DatabaseError::Caused(Cause::new(
        CauseCode::NameTaken,
        format!("PostgreSQL has a {what} \"{name}\" that is not this project's."),
        &["Rename or remove it, if nobody needs it."],
    ))
}

#[async_trait::async_trait]
impl Database for MemoryDatabase {
    async fn ensure(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        let of = Some((spec.installation, spec.project));
        self.act(|state| {
            if state.databases.get(&spec.database).is_some_and(|content| content.owner != spec.role) {
                return Err(taken("database", &spec.database));
            }
            let password = spec.password.expose_secret().to_owned();
            let role = state.roles.entry(spec.role.clone()).or_insert(Role { of, password: String::new() });
            if role.of != of {
                return Err(taken("role", &spec.role));
            }
            role.password = password;
            Ok(())
        })
        .await?;
        self.act(|state| {
            let content = Content { owner: spec.role.clone(), notes: Vec::new() };
            let content = state.databases.entry(spec.database.clone()).or_insert(content);
            if content.owner != spec.role {
                return Err(taken("database", &spec.database));
            }
            state.stopped.remove(&spec.database);
            state.edited.remove(&spec.database);
            if state.ending.remove(&spec.database) {
                state.stopped.insert(spec.database.clone());
            }
            Ok(())
        })
        .await
    }

    async fn observe(&self, spec: &DatabaseSpec) -> Result<DatabaseSeen, DatabaseError> {
        self.act(|state| {
            let ours = state.roles.get(&spec.role).is_some_and(|role| role.of == Some((spec.installation, spec.project)));
            let there = ours && state.databases.get(&spec.database).is_some_and(|content| content.owner == spec.role);
            Ok(DatabaseSeen { ready: there && !state.stopped.contains(&spec.database), present: ours })
        })
        .await
    }

    async fn stop(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        self.act(|state| {
            if state.databases.get(&spec.database).is_some_and(|content| content.owner == spec.role) {
                state.stopped.insert(spec.database.clone());
            }
            Ok(())
        })
        .await
    }

    fn glance(&self, spec: &DatabaseSpec) -> Option<Glance> {
        let state = self.lock();
        let there = state.databases.get(&spec.database).is_some_and(|content| content.owner == spec.role);
        let on = there && !state.stopped.contains(&spec.database);
        let edited = there && state.edited.contains(&spec.database);
        Some(Glance { on, whole: on && !edited, stops: true, lost: !there, edited, ..Glance::default() })
    }

    async fn remove(&self, spec: &DatabaseSpec) -> Result<Removed, DatabaseError> {
        let ours = self
            .act(|state| {
                let ours = state.roles.get(&spec.role).is_some_and(|role| role.of == Some((spec.installation, spec.project)));
                if ours && state.databases.get(&spec.database).is_some_and(|content| content.owner == spec.role) {
                    state.databases.remove(&spec.database);
                    state.stopped.remove(&spec.database);
                    state.edited.remove(&spec.database);
                }
                Ok(ours)
            })
            .await?;
        if ours {
            self.act(|state| {
                state.roles.remove(&spec.role);
                Ok(())
            })
            .await?;
        }
        Ok(Removed::Gone)
    }

    async fn figures(&self, spec: &DatabaseSpec) -> Result<Option<DatabaseFigures>, DatabaseError> {
        self.act(|state| {
            let there = state.databases.get(&spec.database).filter(|content| content.owner == spec.role);
            Ok(there.map(|content| DatabaseFigures {
                size_bytes: content.notes.iter().map(|note| note.len() as u64).sum(),
                connections: 0,
                most_connections: None,
                version: "0.memory".to_owned(),
            }))
        })
        .await
    }

    fn credentials(&self, spec: &DatabaseSpec) -> Connection {
        Connection {
            host: "127.0.0.1".to_owned(),
            port: 5432,
            user: spec.role.clone(),
            password: spec.password.expose_secret().to_owned(),
            database: spec.database.clone(),
        }
    }

    fn endpoint(&self) -> Option<DatabaseEndpoint> {
        None
    }

    async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError> {
        self.act(|state| Ok(state.roles.values().filter_map(|role| role.of).map(|(_, project)| project).collect())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        database::contract::{Behind, Subject},
        random::SystemRandom,
    };
    use futures::{FutureExt as _, future::BoxFuture};
    use uuid::Uuid;

    struct Inside(Arc<MemoryDatabase>);

    #[async_trait::async_trait]
    impl Behind for Inside {
        async fn write(&self, to: &Connection, note: &str) -> anyhow::Result<()> {
            self.0.write(to, note).map_err(anyhow::Error::msg)
        }

        async fn notes(&self, of: &Connection) -> anyhow::Result<Vec<String>> {
            self.0.notes(of).map_err(anyhow::Error::msg)
        }

        async fn hold(&self, to: &Connection) -> anyhow::Result<BoxFuture<'static, ()>> {
            self.notes(to).await?;
            let (server, to) = (self.0.clone(), to.clone());
            Ok(async move {
                while server.notes(&to).is_ok() {
                    yield_now().await;
                }
            }
            .boxed())
        }

        async fn put_foreign(&self, role: &str, database: Option<&str>) {
            self.0.put_foreign(role, database);
        }

        async fn lose(&self, database: &str) {
            assert!(self.0.lose(database));
        }

        async fn there(&self, role: &str, database: &str) -> (bool, bool) {
            let (roles, databases) = self.0.names();
            (roles.iter().any(|name| name == role), databases.iter().any(|name| name == database))
        }
    }

    fn server() -> Arc<MemoryDatabase> {
        Arc::new(MemoryDatabase::new(Arc::new(SystemClock), Arc::new(SystemRandom)))
    }

    async fn subject() -> Option<Subject> {
        let server = server();
        let installation = InstallationId(Uuid::new_v4());
        Some(Subject { database: server.clone(), installation, behind: Arc::new(Inside(server)) })
    }

    crate::database_contract!(subject);

    #[tokio::test]
    async fn a_server_that_is_away_says_so() {
        let server = server();
        server.set_away(true);
        match server.list().await {
            Err(DatabaseError::Caused(cause)) => assert_eq!(cause.code, CauseCode::DatabaseUnreachable),
            other => panic!("{other:?}"),
        }
    }
}
