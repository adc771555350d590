//! What a click costs in PostgreSQL: a table of p50 and p99, in milliseconds, on the server that
//! `FSA_TEST_DATABASE_URL` names, or a throw-away one (which does not wait for the disk).

#![expect(clippy::unwrap_used, reason = "a failed step is a failed benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use engine::{
    database::{
        Database, DatabaseSpec,
        server::{Reach, ServerDatabase},
    },
    store::{Ask, DatabaseRow, NewProjectRow, Pass, Store, accounts::Accounts, postgres::PgStore},
};
use futures::StreamExt as _;
use jiff::Timestamp;
use model::{InstallationId, Observed, ProjectId, SandboxId, UserId, resources::Preset};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use uuid::Uuid;

const ROUNDS: usize = 300;
const DATABASES: usize = 30;
const HOLD: Duration = Duration::from_secs(30);

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what:<44} {:>8.2} {:>8.2}", at(50), at(99));
}

fn new(owner: UserId, n: usize) -> NewProjectRow {
    let id = Uuid::new_v4();
    NewProjectRow {
        id: ProjectId(id),
        owner,
        name: format!("Project {n}").parse().unwrap(),
        preset: Preset::Medium,
        env: BTreeMap::from([("KEY".parse().unwrap(), SecretString::from("value"))]),
        database: Some(DatabaseRow {
            role: format!("p_{}", id.simple()),
            database: format!("d_{}", id.simple()),
            password: SecretString::from("password"),
        }),
        sandbox: SandboxId(Uuid::new_v4()),
        random: rand::random(),
        agent_token: SecretString::from("token"),
        extra: None,
        env_revision: 1,
        key: Some(id.to_string()),
        most: usize::MAX,
        now: Timestamp::now(),
    }
}

#[tokio::main]
async fn main() {
    let Some((options, pool)) = support::database().await else { return };
    let owner = Accounts::new(pool.clone()).ensure_owner(Timestamp::now()).await.unwrap().id;
    let vault = support::vault();
    let store = PgStore::start(pool, vault.clone()).await.unwrap();
    let other = PgStore::start(engine::store::postgres::pool::pool(options, 4), vault).await.unwrap();
    println!("{:<44} {:>8} {:>8}", "milliseconds", "p50", "p99");

    let mut rows = Vec::new();
    let mut times = Vec::new();
    for n in 0..ROUNDS {
        let started = Instant::now();
        rows.push(store.create(new(owner, n)).await.unwrap().0);
        times.push(started.elapsed());
    }
    report("create a project", times);

    let mut times: [Vec<Duration>; 8] = Default::default();
    for row in &rows {
        let (id, sandbox) = (row.project.id, row.sandbox.id);
        let mut lap = Instant::now();
        let mut note = |which: usize, lap: &mut Instant| {
            times[which].push(lap.elapsed());
            *lap = Instant::now();
        };
        store.project(owner, id).await.unwrap().unwrap();
        note(0, &mut lap);
        store.ask(owner, id, Ask::Stop, None, Timestamp::now()).await.unwrap().unwrap();
        note(1, &mut lap);
        let leased = store.lease(sandbox, "bench", Timestamp::now(), HOLD).await.unwrap().unwrap();
        note(2, &mut lap);
        let pass = Pass {
            observed: Observed { generation: 2, ..Observed::default() },
            cause: None,
            last_error: None,
            failures: 0,
            wake_at: None,
            told: Vec::new(),
        };
        let mut changes = other.changes();
        lap = Instant::now();
        let version = store.record(sandbox, "bench", leased.row.sandbox.version, &pass, Timestamp::now()).await.unwrap().unwrap();
        note(3, &mut lap);
        store.record(sandbox, "bench", version, &pass, Timestamp::now()).await.unwrap().unwrap();
        note(4, &mut lap);
        store.release(sandbox, "bench").await.unwrap();
        note(5, &mut lap);
        assert!(changes.next().await.is_some());
        lap = Instant::now();
        store.ask(owner, id, Ask::Start, None, Timestamp::now()).await.unwrap().unwrap();
        while changes.next().await.unwrap().sandbox != sandbox {}
        note(6, &mut lap);
        store.lease_due("bench", Timestamp::now(), HOLD, 1, &[]).await.unwrap();
        note(7, &mut lap);
    }
    let [read, stop, lease, record, same, release, heard, due] = times;
    report("read a project", read);
    report("ask", stop);
    report("lease", lease);
    report("lease what is due", due);
    report("record a pass", record);
    report("record a pass that changes nothing", same);
    report("release", release);
    report("ask, and another process has heard of it", heard);

    let mut times = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        store.projects(owner).await.unwrap();
        times.push(started.elapsed());
    }
    report(&format!("read {ROUNDS} projects"), times);

    let Some(server) = support::server() else { return };
    let installation = InstallationId(Uuid::new_v4());
    let database = ServerDatabase::new(server, installation, Reach { host: "127.0.0.1".into(), port: 5432, endpoint: None });
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..DATABASES {
        let id = Uuid::new_v4();
        let (slug, object) = engine::database::contract::names(id);
        let spec = DatabaseSpec {
            project: ProjectId(id),
            sandbox: SandboxId(id),
            slug,
            name: object,
            installation,
            role: format!("p_{}", id.simple()),
            database: format!("d_{}", id.simple()),
            password: SecretString::from("password"),
        };
        let started = Instant::now();
        database.ensure(&spec).await.unwrap();
        let made = Instant::now();
        assert!(database.observe(&spec).await.unwrap().ready);
        let seen = Instant::now();
        database.remove(&spec).await.unwrap();
        times[0].push(made - started);
        times[1].push(seen - made);
        times[2].push(seen.elapsed());
    }
    let [ensure, observe, remove] = times;
    report("make a database", ensure);
    report("look at a database", observe);
    report("remove a database", remove);
}
