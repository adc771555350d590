//! What every orchestrator promises, as one suite that each runs in its own tests.

use super::{AgentOrPort, AgentSeen, ConnectError, LogSource, Orchestrator, Removed, SandboxSpec, Seen, VolumeName, VolumeSeen};
use futures::StreamExt as _;
use model::{Desired, DisplayName, InstallationId, ProjectId, ResourceName, SandboxId, Slug, resources::Preset};
use secrecy::SecretString;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// How the suite looks into a running sandbox's volume.
#[async_trait::async_trait]
pub trait Files: Send + Sync {
    /// Writes a file into the home folder.
    async fn write(&self, spec: &SandboxSpec, path: &str, text: &str);
    /// Reads it back, if it is there.
    async fn read(&self, spec: &SandboxSpec, path: &str) -> Option<String>;
}

/// A spec of a sandbox that nobody has asked for yet.
#[must_use]
#[expect(clippy::expect_used, reason = "a fixed text, in a suite for tests")]
pub fn spec() -> SandboxSpec {
    let project = ProjectId(Uuid::now_v7());
    let slug = Slug::derive(&"contract".parse::<DisplayName>().expect("a name"), 0);
    let random = *Uuid::new_v4().as_bytes().first_chunk().expect("six bytes");
    SandboxSpec {
        id: SandboxId(Uuid::now_v7()),
        installation: InstallationId(Uuid::from_u128(1)),
        project,
        name: ResourceName::new(&slug, random),
        slug,
        volume: VolumeName::of(project),
        desired: Desired::Running,
        generation: 1,
        restart_count: 1,
        resources: Preset::Medium.resources(),
        env: BTreeMap::new(),
        env_revision: 1,
        agent_token: SecretString::from("a-token-for-the-contract"),
        database: None,
    }
}

/// Runs all of it, one sandbox after the other. Panics at the first promise that is not kept.
/// `patience` is how long a transition may take.
pub async fn suite(world: &dyn Orchestrator, files: &dyn Files, spec: impl Fn() -> SandboxSpec, patience: Duration) {
    let suite = Suite { world, files, patience };
    suite.nothing_is_there_before(&spec()).await;
    suite.a_life(spec()).await;
    suite.two_do_not_meet(spec(), spec()).await;
    suite.what_was_cut_short_is_done_by_the_next_call(spec()).await;
}

/// Lets a call go on to its `waits`-th wait, and drops it there.
async fn cut_short(call: impl Future, waits: usize) {
    let mut call = std::pin::pin!(call);
    for _ in 0..=waits {
        // Long enough for work on other threads to be seen, and for nothing to come up.
        if timeout(Duration::from_millis(1), &mut call).await.is_ok() {
            return;
        }
    }
}

struct Suite<'a> {
    world: &'a dyn Orchestrator,
    files: &'a dyn Files,
    patience: Duration,
}

#[expect(clippy::expect_used, clippy::panic, reason = "a suite for tests fails by panicking")]
impl Suite<'_> {
    async fn nothing_is_there_before(&self, spec: &SandboxSpec) {
        assert_eq!(self.world.observe(spec.id).await.expect("observe"), Seen::default(), "an unknown sandbox is nothing");
        assert_eq!(self.world.remove(spec.id).await.expect("drop"), Removed::Gone, "dropping what never was is done at once");
        assert_eq!(self.world.remove_volume(&spec.volume).await.expect("drop the volume"), Removed::Gone);
        self.volume_is(spec, VolumeSeen::Absent, "a volume that never was is not there").await;
        let refused = self.world.connect(spec.id, AgentOrPort::Agent).await.err().expect("nobody to connect to");
        assert!(matches!(refused, ConnectError::NotRunning), "{refused}");
    }

    async fn a_life(&self, mut spec: SandboxSpec) {
        let mut watch = self.world.watch();
        let first = self.up(&spec).await;
        let told = timeout(self.patience, async { while watch.next().await.is_some_and(|id| id != spec.id) {} }).await;
        assert!(told.is_ok(), "the watch tells of a start");
        self.files.write(&spec, "kept", "by the volume").await;
        self.volume_is(&spec, VolumeSeen::There, "a first start makes the volume").await;

        self.world.ensure(&spec).await.expect("ensure again");
        assert_eq!(self.up(&spec).await, first, "a second ensure starts nothing");
        let listed = self.world.list().await.expect("list");
        assert!(listed.iter().any(|o| o.sandbox == spec.id && !o.holds_data), "what runs is listed");
        let volume = listed.iter().find(|o| o.name == spec.volume.0).expect("its volume is listed by its name");
        assert!(volume.holds_data, "a volume holds data, so no sweep removes it");
        let nobody = self.world.connect(spec.id, AgentOrPort::Port(9)).await.err().expect("nobody listens on port 9");
        assert!(matches!(nobody, ConnectError::NobodyListens(9)), "{nobody}");
        assert!(self.world.remove_volume(&spec.volume).await.is_err(), "a volume in use is not removed");

        spec.restart_count += 1;
        spec.generation += 1;
        spec.env_revision += 1;
        let second = self.up(&spec).await;
        assert_ne!(second, first, "another restart count is another run");
        let seen = self.world.observe(spec.id).await.expect("observe");
        assert_eq!(seen.instance.expect("a run").env_revision, spec.env_revision);
        assert_eq!(self.files.read(&spec, "kept").await.as_deref(), Some("by the volume"), "a restart keeps the files");

        spec.desired = Desired::Stopped;
        spec.generation += 1;
        self.down(&spec).await;
        self.world.ensure(&spec).await.expect("stop again");
        assert!(matches!(self.world.connect(spec.id, AgentOrPort::Agent).await, Err(ConnectError::NotRunning)));
        self.volume_is(&spec, VolumeSeen::There, "a stop keeps the volume").await;

        spec.desired = Desired::Running;
        spec.restart_count += 1;
        spec.generation += 1;
        self.up(&spec).await;
        assert_eq!(self.files.read(&spec, "kept").await.as_deref(), Some("by the volume"), "a stop keeps the files");

        self.gone(spec.id).await;
        let left = self.world.list().await.expect("list");
        assert!(left.iter().all(|o| o.sandbox != spec.id || o.holds_data), "a drop leaves only data: {left:?}");
        self.volume_is(&spec, VolumeSeen::There, "a drop leaves the volume").await;
        spec.restart_count += 1;
        self.up(&spec).await;
        assert_eq!(self.files.read(&spec, "kept").await.as_deref(), Some("by the volume"), "a drop keeps the volume");

        self.gone(spec.id).await;
        self.until("the volume is gone", async || matches!(self.world.remove_volume(&spec.volume).await, Ok(Removed::Gone)))
            .await;
        let left = self.world.list().await.expect("list");
        assert!(left.iter().all(|o| o.name != spec.volume.0), "a removed volume is not listed: {left:?}");
        self.volume_is(&spec, VolumeSeen::Absent, "a removed volume is not there").await;
        spec.restart_count += 1;
        self.up(&spec).await;
        assert_eq!(self.files.read(&spec, "kept").await, None, "a new volume is empty");
        self.gone(spec.id).await;
        self.until("the second volume is gone", async || {
            matches!(self.world.remove_volume(&spec.volume).await, Ok(Removed::Gone))
        })
        .await;
    }

    /// The caller is gone at any of its first waits, as after a crash; the next one makes the same call.
    async fn what_was_cut_short_is_done_by_the_next_call(&self, mut spec: SandboxSpec) {
        for waits in 0..4 {
            cut_short(self.world.ensure(&spec), waits).await;
            let run = self.up(&spec).await;
            self.world.ensure(&spec).await.expect("ensure again");
            assert_eq!(self.up(&spec).await, run, "a call that was cut short after {waits} waits makes no second run");
            assert!(self.world.logs(spec.id, LogSource::Sandbox).await.is_ok(), "what runs has a log");
            cut_short(self.world.remove(spec.id), waits).await;
            self.gone(spec.id).await;
            let left = self.world.list().await.expect("list");
            assert!(left.iter().all(|o| o.sandbox != spec.id || o.holds_data), "{left:?}");
            spec.restart_count += 1;
        }
        self.until("the volume is gone", async || matches!(self.world.remove_volume(&spec.volume).await, Ok(Removed::Gone)))
            .await;
    }

    async fn two_do_not_meet(&self, a: SandboxSpec, b: SandboxSpec) {
        tokio::join!(self.up(&a), self.up(&b));
        self.files.write(&a, "mine", "a").await;
        assert_eq!(self.files.read(&b, "mine").await, None, "a sandbox does not see another's files");
        self.gone(a.id).await;
        assert!(self.world.observe(b.id).await.expect("observe").present, "dropping one leaves the other");
        self.gone(b.id).await;
        for volume in [&a.volume, &b.volume] {
            self.until("the volumes are gone", async || matches!(self.world.remove_volume(volume).await, Ok(Removed::Gone)))
                .await;
        }
    }

    /// Ensures until the sandbox is wholly up with the run asked for, and answers the run's id.
    async fn up(&self, spec: &SandboxSpec) -> String {
        let mut run = None;
        self.until("the sandbox is up", async || {
            self.world.ensure(spec).await.expect("ensure");
            let seen = self.world.observe(spec.id).await.expect("observe");
            run = seen.instance.filter(|run| run.restart_count == spec.restart_count).map(|run| run.id);
            run.is_some() && seen.network && seen.agent == AgentSeen::ShellStarted
        })
        .await;
        run.expect("a run")
    }

    async fn volume_is(&self, spec: &SandboxSpec, expected: VolumeSeen, promise: &str) {
        assert_eq!(self.world.volume(&spec.volume).await.expect("look for the volume"), expected, "{promise}");
    }

    async fn down(&self, spec: &SandboxSpec) {
        self.until("the sandbox is down", async || {
            self.world.ensure(spec).await.expect("ensure");
            !self.world.observe(spec.id).await.expect("observe").present
        })
        .await;
    }

    async fn gone(&self, id: SandboxId) {
        self.until("the sandbox is gone", async || self.world.remove(id).await.expect("drop") == Removed::Gone).await;
        assert!(!self.world.observe(id).await.expect("observe").present, "what is gone is not present");
    }

    async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let start = Instant::now();
        while !condition().await {
            if start.elapsed() > self.patience {
                panic!("waited {:?} for: {what}", self.patience);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
