//! The loop as it runs in the server: real time, real tasks, the in-memory world.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use engine::{
    clock::SystemClock,
    database::memory::MemoryDatabase,
    orchestrator::{
        Orchestrator,
        memory::{MemoryOrchestrator, Nature},
    },
    random::SystemRandom,
    reconcile::{Reconciler, Settings},
    store::{Ask, DatabaseRow, Extra, NewProjectRow, ProjectAndSandbox, Store, activity::Filter, memory::MemoryStore},
};
use model::{
    Cause, CauseCode, InstallationId, Phase, ProjectId, SandboxId, Timestamp, UserId, activity::ActivityView, resources::Preset,
};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

struct Running {
    store: Arc<MemoryStore>,
    world: Arc<MemoryOrchestrator>,
    database: Arc<MemoryDatabase>,
    settings: Settings,
    stop: CancellationToken,
    ended: JoinHandle<()>,
    owner: UserId,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    fn start(settings: impl FnOnce(&mut Settings)) -> Self {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let store = Arc::new(MemoryStore::new());
        let world = Arc::new(MemoryOrchestrator::new(clock.clone(), random.clone()));
        let database = Arc::new(MemoryDatabase::new(clock.clone(), random.clone()));
        let mut chosen = Settings::new(InstallationId(Uuid::now_v7()));
        settings(&mut chosen);
        let stop = CancellationToken::new();
        let reconciler = Reconciler::new(store.clone(), world.clone(), database.clone(), clock, random, chosen.clone());
        let ended = tokio::spawn(reconciler.run(stop.clone()));
        Self { store, world, database, settings: chosen, stop, ended, owner: UserId(Uuid::now_v7()) }
    }

    /// The process ends, and another begins with the same rows and the same world.
    async fn start_again(&mut self) {
        self.stop.cancel();
        (&mut self.ended).await.unwrap();
        self.stop = CancellationToken::new();
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let (store, world, database) = (self.store.clone(), self.world.clone(), self.database.clone());
        let reconciler = Reconciler::new(store, world, database, clock, random, self.settings.clone());
        self.ended = tokio::spawn(reconciler.run(self.stop.clone()));
    }

    /// What the activity tells under a title.
    async fn told(&self, title: &str) -> Vec<ActivityView> {
        let filter = Filter { limit: 100, ..Filter::default() };
        let all = self.store.activity(self.owner, &filter).await.unwrap();
        all.into_iter().filter(|told| told.title == title).collect()
    }

    async fn create(&self) -> ProjectId {
        self.create_as(None).await
    }

    async fn create_as(&self, extra: Option<Extra>) -> ProjectId {
        let database = if extra.is_some() { "p2" } else { "p1" };
        self.create_with(database, extra).await
    }

    async fn create_with(&self, database: &str, extra: Option<Extra>) -> ProjectId {
        let id = ProjectId(Uuid::now_v7());
        let new = NewProjectRow {
            id,
            owner: self.owner,
            name: "A project".parse().unwrap(),
            preset: Preset::Medium,
            env: BTreeMap::new(),
            database: Some(DatabaseRow {
                role: database.into(),
                database: database.into(),
                password: SecretString::from("secret"),
            }),
            sandbox: SandboxId(Uuid::now_v7()),
            random: [1; 6],
            agent_token: SecretString::from("token"),
            extra,
            env_revision: 1,
            key: None,
            most: usize::MAX,
            now: Timestamp::now(),
        };
        self.store.create(new).await.unwrap();
        id
    }

    async fn ask(&self, id: ProjectId, ask: Ask) {
        self.store.ask(self.owner, id, ask, None, Timestamp::now()).await.unwrap().unwrap();
    }

    async fn row(&self, id: ProjectId) -> Option<ProjectAndSandbox> {
        self.store.project(self.owner, id).await.unwrap()
    }

    /// Waits for a phase, and answers how long that took.
    async fn until(&self, id: ProjectId, wanted: Phase) -> Duration {
        let start = Instant::now();
        loop {
            let row = self.row(id).await.expect("a row");
            let sandbox = &row.sandbox;
            let now = sandbox.phase(Timestamp::now());
            if now == wanted {
                return start.elapsed();
            }
            assert!(start.elapsed() < Duration::from_secs(10), "waited for {wanted:?}: {row:#?}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_click_is_seen_at_once_and_a_life_goes_through_its_phases() {
    let running = Running::start(|_| {});
    let id = running.create().await;
    let took = running.until(id, Phase::Running).await;
    assert!(took < Duration::from_millis(200), "nothing waits for a timer: {took:?}");
    running.ask(id, Ask::Stop).await;
    running.until(id, Phase::Stopped).await;
    running.ask(id, Ask::Start).await;
    running.until(id, Phase::Running).await;
    running.ask(id, Ask::Terminate).await;
    running.until(id, Phase::Terminated).await;
    running.store.delete(running.owner, id, Timestamp::now()).await.unwrap();
    let start = Instant::now();
    while running.row(id).await.is_some() {
        assert!(start.elapsed() < Duration::from_secs(10), "rows go when nothing is left");
        tokio::task::yield_now().await;
    }
    assert!(running.world.volumes().is_empty() && running.database.names() == (vec![], vec![]));
}

#[tokio::test]
async fn a_project_with_extra_sandboxes_goes_last_and_leaves_nothing() {
    let running = Running::start(|_| {});
    let main = running.create().await;
    let extra = running.create_as(Some(Extra { main, branch: "x".into() })).await;
    running.until(main, Phase::Running).await;
    running.until(extra, Phase::Running).await;
    assert_eq!((running.world.volumes().len(), running.database.names().0.len()), (2, 2), "both have their own");
    // The extra one cannot go, so that the project has to wait with everything that it has.
    running.database.set_away(true);
    running.store.delete(running.owner, main, Timestamp::now()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(running.row(extra).await.is_some() && running.row(main).await.is_some());
    running.database.set_away(false);
    // Each look while the server was away puts the next one off, up to 30 s.
    let start = Instant::now();
    while running.row(main).await.is_some() {
        assert!(start.elapsed() < Duration::from_secs(45), "the project goes when its extra sandbox is gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(running.row(extra).await.is_none(), "and never before");
    assert!(running.world.volumes().is_empty() && running.database.names() == (vec![], vec![]));
}

#[tokio::test]
async fn forty_slow_starts_keep_nobody_elses_stop_waiting() {
    let running = Running::start(|_| {});
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    running.database.set_nature(Nature { delay: Duration::from_secs(600), ..Nature::default() });
    for n in 0..40 {
        let slow = running.create_with(&format!("slow{n}"), None).await;
        let sandbox = running.row(slow).await.unwrap().sandbox.id;
        let start = Instant::now();
        // A run does not wait for its database; its pass does.
        while running.world.truth(sandbox).instance.is_none() {
            assert!(start.elapsed() < Duration::from_secs(1), "start {n} waits for those before it");
            tokio::task::yield_now().await;
        }
    }
    // Those that have asked wait on.
    running.database.set_nature(Nature::default());
    running.ask(id, Ask::Stop).await;
    let took = running.until(id, Phase::Stopped).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_sweep_that_is_not_answered_keeps_no_ask_waiting() {
    let running = Running::start(|_| {});
    running.database.set_nature(Nature { delay: Duration::from_secs(3600), ..Nature::default() });
    // The first sweep asks for a list meanwhile.
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.database.set_nature(Nature::default());
    let id = running.create().await;
    running.until(id, Phase::Running).await;
}

#[tokio::test]
async fn what_ends_by_itself_comes_back_and_says_why() {
    let running = Running::start(|_| {});
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    let sandbox = running.row(id).await.unwrap().sandbox;
    let first = sandbox.observed.instance.unwrap().id;
    assert!(running.world.crash(sandbox.id));
    let start = Instant::now();
    loop {
        let now = running.row(id).await.unwrap().sandbox.observed;
        if now.ready(sandbox.generation) && now.instance.is_some_and(|run| run.id != first) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it comes back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_world_that_is_away_is_said_and_a_deadline_shows() {
    let running = Running::start(|settings| settings.limits.stages = [Duration::from_millis(300); 5]);
    running.world.set_nature(Nature { refuse_percent: 100, ..Nature::default() });
    let id = running.create().await;
    running.until(id, Phase::Error).await;
    let start = Instant::now();
    loop {
        let sandbox = running.row(id).await.unwrap().sandbox;
        if sandbox.cause.is_some_and(|cause| cause.code == CauseCode::StageOverdue) {
            assert!(sandbox.last_error.is_some(), "the operator sees what failed");
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "a deadline is its cause");
        tokio::task::yield_now().await;
    }
    // Reconciling goes on: what comes up late is Running.
    running.world.set_nature(Nature::default());
    running.until(id, Phase::Running).await;
    assert_eq!(running.row(id).await.unwrap().sandbox.cause, None);
}

#[tokio::test]
async fn what_cannot_be_seen_changes_no_row_at_rest_and_is_said_where_something_was_asked_for() {
    let running = Running::start(|_| {});
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    // The last record of the start is a change, too, that is looked at once more.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = running.row(id).await.unwrap().sandbox;
    let first = before.observed.instance.clone().unwrap().id;
    let away = Cause::new(CauseCode::PermissionMissing, "The account may not watch pods.", &["Give it the right."]);
    running.world.set_away(Some(away.clone()));
    assert!(running.world.crash(before.id));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let now = running.row(id).await.unwrap().sandbox;
    assert_eq!((now.version, now.cause), (before.version, None), "another process may see it run");

    running.ask(id, Ask::Stop).await;
    let start = Instant::now();
    while running.row(id).await.unwrap().sandbox.cause.as_ref() != Some(&away) {
        assert!(start.elapsed() < Duration::from_secs(10), "nothing says why it does not stop");
        tokio::task::yield_now().await;
    }
    running.ask(id, Ask::Start).await;
    running.world.set_away(None);
    running.until(id, Phase::Running).await;
    let now = running.row(id).await.unwrap().sandbox;
    assert_ne!(now.observed.instance.unwrap().id, first);
    assert_eq!(now.cause, None);
}

#[tokio::test]
async fn a_run_that_is_found_again_is_told_once_an_hour_with_how_often() {
    const TITLE: &str = "The sandbox went on";
    // An hour that ends in between begins another entry.
    let left = 3600 - Timestamp::now().as_second() % 3600;
    if left < 30 {
        tokio::time::sleep(Duration::from_secs(left.unsigned_abs() + 1)).await;
    }
    let mut running = Running::start(|_| {});
    // Its first look finds nothing.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    assert!(running.told(TITLE).await.is_empty(), "it is this process' own");
    for times in 1..=2 {
        running.start_again().await;
        let start = Instant::now();
        let told = loop {
            let told = running.told(TITLE).await;
            if told.iter().map(|told| told.times).sum::<i64>() >= times {
                break told;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "waited for {times}: {told:?}");
            tokio::task::yield_now().await;
        };
        assert_eq!((told.len(), told[0].times, told[0].project_id), (1, times, Some(id)), "{told:?}");
        assert_eq!(told[0].data["event"], "adopted");
        assert!(told[0].detail.as_ref().unwrap().contains("found it as it was"), "{told:?}");
        assert_eq!(running.row(id).await.unwrap().sandbox.phase(Timestamp::now()), Phase::Running);
    }
    // One that stopped meanwhile did not go on.
    running.ask(id, Ask::Stop).await;
    running.until(id, Phase::Stopped).await;
    running.start_again().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.ask(id, Ask::Start).await;
    running.until(id, Phase::Running).await;
    assert_eq!(running.told(TITLE).await[0].times, 2);
}

#[tokio::test]
async fn what_cannot_be_seen_at_first_is_found_again_once_it_can() {
    let mut running = Running::start(|_| {});
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    running.world.set_away(Some(Cause::new(CauseCode::OrchestratorUnreachable, "It does not answer.", &["Wait."])));
    running.start_again().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.world.set_away(None);
    let start = Instant::now();
    while running.told("The sandbox went on").await.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "that it went on is told by nobody");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_was_away_is_no_end() {
    let running = Running::start(|_| {});
    running.store.set_away(true);
    tokio::task::yield_now().await;
    running.store.set_away(false);
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    let seen = running.world.observe(running.row(id).await.unwrap().sandbox.id).await.unwrap();
    assert!(seen.present);
}

#[tokio::test]
async fn a_deletion_that_cannot_end_has_a_deadline_that_shows_and_goes_on() {
    let running = Running::start(|settings| settings.limits.leave = Duration::from_millis(300));
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    running.ask(id, Ask::Terminate).await;
    running.until(id, Phase::Terminated).await;
    running.world.set_nature(Nature { refuse_percent: 100, ..Nature::default() });
    running.store.delete(running.owner, id, Timestamp::now()).await.unwrap();
    running.until(id, Phase::Error).await;
    let start = Instant::now();
    loop {
        let sandbox = running.row(id).await.expect("it is not buried").sandbox;
        if let Some(cause) = sandbox.cause.filter(|cause| cause.code == CauseCode::DeletionOverdue) {
            assert!(!cause.next_steps.is_empty() && sandbox.last_error.is_some());
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "the deadline is its cause");
        tokio::task::yield_now().await;
    }
    running.world.set_nature(Nature::default());
    let start = Instant::now();
    while running.row(id).await.is_some() {
        assert!(start.elapsed() < Duration::from_secs(40), "it goes on until nothing is left");
        tokio::task::yield_now().await;
    }
    assert!(running.world.volumes().is_empty() && running.database.names() == (vec![], vec![]));
}

#[tokio::test]
async fn an_agent_without_a_shell_says_so() {
    let running = Running::start(|settings| settings.limits.stages[3] = Duration::from_millis(200));
    running.world.set_nature(Nature { shells_fail: true, ..Nature::default() });
    let id = running.create().await;
    running.until(id, Phase::Error).await;
    let start = Instant::now();
    while running.row(id).await.unwrap().sandbox.cause.is_none_or(|cause| cause.code != CauseCode::ShellFailed) {
        assert!(start.elapsed() < Duration::from_secs(10), "it is said what is missing");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_database_that_was_touched_while_its_sandbox_was_stopped_is_told_of() {
    const LOST: &str = "The database was gone";
    const MENDED: &str = "Something of the database was deleted or changed from outside";
    let running = Running::start(|_| {});
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    let again = async |meanwhile: &dyn Fn()| {
        running.ask(id, Ask::Stop).await;
        running.until(id, Phase::Stopped).await;
        meanwhile();
        running.ask(id, Ask::Start).await;
        running.until(id, Phase::Running).await;
        let times = |told: Vec<ActivityView>| told.iter().map(|told| told.times).sum::<i64>();
        (times(running.told(LOST).await), times(running.told(MENDED).await))
    };
    assert_eq!(again(&|| {}).await, (0, 0), "one that was stopped is as it was left");
    assert_eq!(again(&|| assert!(running.database.edit("p1"))).await, (0, 1));
    assert_eq!(again(&|| assert!(running.database.lose("p1"))).await, (1, 1), "once, and not as changed");
    let told = running.told(LOST).await;
    assert_eq!(told[0].data["event"], "database-lost");
    assert!(told[0].detail.as_ref().unwrap().contains("Somebody removed it"), "{told:?}");
    assert_eq!(again(&|| {}).await, (1, 1), "it was made again");
}

#[tokio::test]
async fn a_database_that_mending_takes_down_is_waited_for_although_it_was_ready_before() {
    let running = Running::start(|_| {});
    let id = running.create().await;
    running.until(id, Phase::Running).await;
    running.database.end_when_made("p1");
    running.ask(id, Ask::Restart(BTreeMap::new())).await;
    running.until(id, Phase::Running).await;
    assert!(running.database.runs("p1"));
}
