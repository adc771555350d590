//! Live state: what viewers see, as it changes.
//!
//! ```text
//!   Store::changes ──┬──▶ Feed of a user (rows ─▶ views) ──watch──▶ SSE streams
//!                    │          ▲      ▲
//!                    │        timer   facts (ports, usage)
//!                    └──▶ Followers: one connection a running sandbox ── GET /v1/events ──▶ facts
//! ```
//!
//! A [`Feed`] lives as long as somebody reads it. It reads rows anew when they changed, and computes
//! views anew when rows, facts or the time make them different; an event is always one project's whole
//! state, so that losing one loses nothing.

use crate::{
    agent::{ANSWER, Agent},
    clone::Cloner,
    http::limits::Limit,
    views::{self, Addresses, AgentFacts, CloneFact},
};
use engine::{
    clock::Clock,
    orchestrator::Orchestrator,
    store::{ProjectAndSandbox, Store, StoreError, activity},
};
use futures::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use jiff::{SignedDuration, Timestamp};
use model::{
    Cause, Desired, Phase, ProjectId, SandboxId, StageLimits, UserId,
    port::{OpenPort, RESERVED},
    view::{ProjectView, Usage},
};
use sandbox_agent::{
    client::{self, ClientError},
    protocol::http::{AgentEvent, CredentialAnswer},
};
use secrecy::ExposeSecret as _;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    task::Poll,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long a feed is kept after its last reader left: a page that is reloaded finds it warm.
const LINGER: Duration = Duration::from_secs(30);
/// How often the store is asked again while it is away.
const RETRY: Duration = Duration::from_millis(500);
/// How long an agent may be silent before its connection is taken for dead; it speaks every 8 s.
const AGENT_SILENCE: Duration = Duration::from_secs(25);
/// How many questions of git's are answered at a time, of one sandbox. A fetch of several, as of submodules, asks more at once:
/// the others wait for their turn.
const GIT_AT_ONCE: usize = 2;
/// How long one waits for its turn. The agent has git wait for fifteen seconds.
const GIT_WAITS: Duration = Duration::from_secs(10);
/// And for its answer in all, so that none is worked out whom nobody waits for.
const GIT_ASKS: Duration = Duration::from_secs(13);
/// How many that come too often are answered with nothing at a time. Past that they are not answered, and their agent gives up.
const GIT_REFUSED_AT_ONCE: usize = 8;
/// How long an agent may take to hear an answer.
const GIT_HEARS: Duration = Duration::from_secs(10);
/// How long after a process was killed for want of memory it is still told, where nobody heard of it in time.
const KILLED_SINCE: SignedDuration = SignedDuration::from_hours(24);

/// One user's projects, as they are shown.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// By id, each with the revision in which it last changed.
    pub projects: BTreeMap<ProjectId, (u64, Arc<ProjectView>)>,
    /// Goes up with each change.
    pub revision: u64,
}

/// What strangers are told while sandboxes cannot be made: not where their cluster is.
const AWAY_TO_STRANGERS: &str = "Sandboxes cannot be started or changed at the moment. Who is signed in is told why; it goes on by itself once that is mended.";

/// Live state of everybody.
pub struct Live {
    store: Arc<dyn Store>,
    orchestrator: Arc<dyn Orchestrator>,
    clock: Arc<dyn Clock>,
    addresses: Addresses,
    limits: StageLimits,
    /// What is true of the installation for as long as it runs.
    notices: Vec<String>,
    /// Why sandboxes, or their databases, cannot be seen or changed now, or nothing of them stored.
    away: watch::Receiver<Option<Cause>>,
    /// Why nothing can be stored now.
    full: watch::Receiver<Option<Cause>>,
    feeds: Mutex<HashMap<UserId, Weak<Feed>>>,
    facts: Mutex<HashMap<SandboxId, AgentFacts>>,
    /// What is cloned where; without what is over.
    clones: Mutex<HashMap<SandboxId, CloneFact>>,
    told: broadcast::Sender<SandboxId>,
    /// What answers git inside.
    keyring: OnceLock<Weak<Cloner>>,
    /// How often git inside is answered with more than nothing.
    git_asks: Limit<ProjectId>,
    stop: CancellationToken,
}

/// What pages say of the installation, beside what its orchestrator says of itself.
pub struct Said {
    /// For as long as it runs.
    pub notices: Vec<String>,
    /// Why databases cannot be made or seen, while they cannot.
    pub trouble: watch::Receiver<Option<Cause>>,
    /// Why nothing can be stored, while nothing can ([`crate::room`]).
    pub full: watch::Receiver<Option<Cause>>,
    /// How long stages may take.
    pub limits: StageLimits,
}

impl Default for Said {
    /// Nothing, ever, and stages as installations come.
    fn default() -> Self {
        let (trouble, full) = (watch::channel(None).1, watch::channel(None).1);
        Self { notices: Vec::new(), trouble, full, limits: StageLimits::default() }
    }
}

/// One user's board, kept up to date for as long as this is held.
pub struct Feed {
    board: watch::Receiver<Option<Board>>,
    stop: CancellationToken,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Feed {
    /// The board, and what it becomes; `None` until it was read for the first time.
    #[must_use]
    pub fn board(&self) -> watch::Receiver<Option<Board>> {
        self.board.clone()
    }
}

impl Live {
    /// Nothing is followed before [`Self::run`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        orchestrator: Arc<dyn Orchestrator>,
        clock: Arc<dyn Clock>,
        addresses: Addresses,
        Said { notices, trouble, full, limits }: Said,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (feeds, facts, clones) = (Mutex::default(), Mutex::default(), Mutex::default());
        // What cannot be stored is not even tried elsewhere.
        let away = first_of(full.clone(), first_of(orchestrator.health(), trouble, &stop), &stop);
        Arc::new(Self {
            store,
            orchestrator,
            clock,
            addresses,
            limits,
            notices,
            away,
            full,
            feeds,
            facts,
            clones,
            told: broadcast::channel(1024).0,
            keyring: OnceLock::new(),
            git_asks: Limit::new(30, Duration::from_secs(2)),
            stop,
        })
    }

    /// What every page says of the installation now.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let away = self.away.borrow().as_ref().map(|cause| format!("{} {}", cause.message, cause.next_steps.join(" ")));
        self.notices.iter().cloned().chain(away).collect()
    }

    /// The same for who is not signed in: where the cluster is, is not for them.
    #[must_use]
    pub fn notices_to_strangers(&self) -> Vec<String> {
        let away = self.away.borrow().as_ref().map(|_| AWAY_TO_STRANGERS.to_owned());
        self.notices.iter().cloned().chain(away).collect()
    }

    /// Tells when [`Self::notices`] may have changed; `None` where they never do.
    #[must_use]
    pub fn notices_change(&self) -> Option<watch::Receiver<Option<Cause>>> {
        let mut away = self.away.clone();
        away.mark_unchanged();
        // An orchestrator that is always there holds no other end.
        away.has_changed().is_ok().then_some(away)
    }

    /// What a sandbox's agent said last, and what is true of it beside that.
    #[must_use]
    pub fn facts(&self, id: SandboxId) -> AgentFacts {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default();
        let clone = self.clones.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default();
        AgentFacts { clone, no_room: self.full.borrow().clone(), ..facts }
    }

    /// Who answers git inside; said once, at start.
    pub fn answer_git_by(&self, keyring: &Arc<Cloner>) {
        let _ = self.keyring.set(Arc::downgrade(keyring));
    }

    /// Nothing is cloned but into these: what another process cloned is over.
    pub fn cloning_only(&self, ids: &HashSet<SandboxId>) {
        let over: Vec<SandboxId> = {
            let mut all = self.clones.lock().unwrap_or_else(PoisonError::into_inner);
            all.extract_if(|id, _| !ids.contains(id)).map(|(id, _)| id).collect()
        };
        for id in over {
            // Nobody listening is no error.
            let _ = self.told.send(id);
        }
    }

    /// How far a clone into a sandbox is.
    pub fn cloning(&self, id: SandboxId, fact: CloneFact) {
        let before = {
            let mut all = self.clones.lock().unwrap_or_else(PoisonError::into_inner);
            if fact == CloneFact::Settled { all.remove(&id) } else { all.insert(id, fact.clone()) }
        };
        if before.unwrap_or_default() != fact {
            // Nobody listening is no error.
            let _ = self.told.send(id);
        }
    }

    /// A user's feed; the first call starts it.
    #[must_use]
    pub fn feed(self: &Arc<Self>, user: UserId) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose work ended abruptly lingers for whoever reads it anew.
        if let Some(feed) = feeds.get(&user).and_then(Weak::upgrade).filter(|feed| feed.board.has_changed().is_ok()) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let (sender, board) = watch::channel(None);
        let feed = Arc::new(Feed { board, stop: self.stop.child_token() });
        feeds.insert(user, Arc::downgrade(&feed));
        let work = FeedWork { live: self.clone(), user, sender, rows: BTreeMap::new(), board: Board::default() };
        let stop = feed.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work.run() => {}
            }
        });
        feed
    }

    /// Keeps a feed for a while after its reader left.
    pub fn linger(&self, feed: Arc<Feed>) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LINGER) => {}
            }
            drop(feed);
        });
    }

    fn say(&self, id: SandboxId, change: impl FnOnce(&mut AgentFacts)) {
        {
            let mut all = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
            let facts = all.entry(id).or_default();
            let before = facts.clone();
            change(facts);
            if *facts == before {
                return;
            }
        }
        // Nobody listening is no error.
        let _ = self.told.send(id);
    }

    fn forget(&self, id: SandboxId) {
        if self.facts.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).is_some() {
            let _ = self.told.send(id);
        }
    }

    /// Follows the agents of all sandboxes that run, until the end.
    pub async fn run(self: Arc<Self>) {
        let stop = self.stop.clone();
        let mut followers = Followers { live: self, by_sandbox: HashMap::new() };
        tokio::select! {
            () = stop.cancelled() => {}
            () = followers.run() => {}
        }
    }
}

/// The first that there is, until `stop`: a cluster that is away is told of once.
fn first_of(
    mut health: watch::Receiver<Option<Cause>>,
    mut trouble: watch::Receiver<Option<Cause>>,
    stop: &CancellationToken,
) -> watch::Receiver<Option<Cause>> {
    if trouble.has_changed().is_err() {
        return health;
    }
    let first = |health: &watch::Receiver<Option<Cause>>, trouble: &watch::Receiver<Option<Cause>>| {
        health.borrow().clone().or_else(|| trouble.borrow().clone())
    };
    let (send, away) = watch::channel(first(&health, &trouble));
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            // Of one that never changes nobody holds the other end.
            tokio::select! {
                Ok(()) = health.changed() => {}
                Ok(()) = trouble.changed() => {}
                else => break,
            }
            send.send_if_modified(|said| {
                let now = first(&health, &trouble);
                std::mem::replace(said, now.clone()) != now
            });
        }
    }));
    away
}

struct FeedWork {
    live: Arc<Live>,
    user: UserId,
    sender: watch::Sender<Option<Board>>,
    rows: BTreeMap<ProjectId, ProjectAndSandbox>,
    board: Board,
}

impl FeedWork {
    async fn run(mut self) {
        let mut full = self.live.full.clone();
        loop {
            // Listening begins before reading, so that no change falls between.
            let mut changes = self.live.store.changes();
            let mut told = self.live.told.subscribe();
            self.read_all().await;
            loop {
                let timer = self.until_next_change();
                tokio::select! {
                    change = changes.next() => match change {
                        // What is shown of a clone is told once it was read.
                        Some(change) if change.owner == self.user && !change.clone => {
                            if self.read_one(change.project).await.is_err() {
                                tokio::time::sleep(RETRY).await;
                                break;
                            }
                        }
                        Some(_) => continue,
                        None => break,
                    },
                    told = told.recv() => match told {
                        Ok(id) if !self.rows.values().any(|row| row.sandbox.id == id) => continue,
                        _ => {}
                    },
                    Ok(()) = full.changed() => {}
                    () = tokio::time::sleep(timer) => {}
                }
                self.publish();
            }
        }
    }

    async fn read_all(&mut self) {
        loop {
            match self.live.store.projects(self.user).await {
                Ok(rows) => {
                    self.rows = rows.into_iter().map(|row| (row.project.id, row)).collect();
                    return self.publish();
                }
                Err(error) => debug!("cannot read a user's projects: {error:#}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read_one(&mut self, id: ProjectId) -> Result<(), StoreError> {
        match self.live.store.project(self.user, id).await? {
            Some(row) => self.rows.insert(id, row),
            None => self.rows.remove(&id),
        };
        Ok(())
    }

    fn until_next_change(&self) -> Duration {
        let now = self.live.clock.now();
        let next = self.rows.values().filter_map(|row| views::next_change(row, &self.live.facts(row.sandbox.id), now)).min();
        next.and_then(|at| Duration::try_from(at.duration_since(now)).ok()).unwrap_or(Duration::from_secs(3600))
    }

    /// Computes every view anew, and tells of what differs.
    fn publish(&mut self) {
        let now = self.live.clock.now();
        let revision = self.board.revision + 1;
        let mut changed = self.sender.borrow().is_none();
        let before = self.board.projects.len();
        self.board.projects.retain(|id, _| self.rows.contains_key(id));
        changed |= before != self.board.projects.len();
        for (id, row) in &self.rows {
            let view = views::project(row, &self.live.facts(row.sandbox.id), &self.live.addresses, &self.live.limits, now);
            if self.board.projects.get(id).is_none_or(|(_, old)| **old != view) {
                self.board.projects.insert(*id, (revision, Arc::new(view)));
                changed = true;
            }
        }
        if changed {
            self.board.revision = revision;
            self.sender.send_replace(Some(self.board.clone()));
        }
    }
}

/// One connection to the agent of every sandbox that runs.
struct Followers {
    live: Arc<Live>,
    /// The run that is followed, and what ends that.
    by_sandbox: HashMap<SandboxId, (String, CancellationToken)>,
}

impl Followers {
    async fn run(&mut self) {
        loop {
            let mut changes = self.live.store.changes();
            self.look_at_all().await;
            while let Some(change) = changes.next().await {
                match self.live.store.project(change.owner, change.project).await {
                    Ok(Some(row)) => self.look_at(&row),
                    Ok(None) => self.leave(change.sandbox),
                    Err(error) => {
                        debug!("cannot read a project: {error:#}");
                        tokio::time::sleep(RETRY).await;
                        break;
                    }
                }
            }
        }
    }

    async fn look_at_all(&mut self) {
        loop {
            match self.live.store.all().await {
                Ok(rows) => {
                    let gone: Vec<SandboxId> =
                        self.by_sandbox.keys().copied().filter(|id| !rows.iter().any(|row| row.sandbox.id == *id)).collect();
                    gone.into_iter().for_each(|id| self.leave(id));
                    return rows.iter().for_each(|row| self.look_at(row));
                }
                Err(error) => debug!("cannot read all sandboxes: {error:#}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn look_at(&mut self, row: &ProjectAndSandbox) {
        let id = row.sandbox.id;
        // Without an agent nobody tells anything.
        let run = running(row, self.live.clock.now()).filter(|_| self.live.orchestrator.has_agents());
        let Some(run) = run else { return self.leave(id) };
        if self.by_sandbox.get(&id).is_some_and(|(followed, _)| *followed == run) {
            return;
        }
        self.leave(id);
        let stop = self.live.stop.child_token();
        self.by_sandbox.insert(id, (run, stop.clone()));
        let (live, agent) = (self.live.clone(), Agent::of(self.live.orchestrator.clone(), &row.sandbox));
        let of = (row.project.owner, row.project.id);
        let memory = row.sandbox.resources.limit_memory_bytes;
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow(&live, id, of, memory, &agent) => {}
            }
        });
    }

    fn leave(&mut self, id: SandboxId) {
        if let Some((_, stop)) = self.by_sandbox.remove(&id) {
            stop.cancel();
            self.live.forget(id);
        }
    }
}

/// The run to follow, if the sandbox is up.
fn running(row: &ProjectAndSandbox, now: Timestamp) -> Option<String> {
    let sandbox = &row.sandbox;
    let phase = sandbox.phase(now);
    let up = sandbox.desired == Desired::Running && phase == Phase::Running;
    sandbox.observed.instance.as_ref().filter(|_| up).map(|instance| instance.id.clone())
}

/// Reads an agent's events for ever, connecting again when they end. `memory` is how many bytes of it the run may use.
async fn follow(live: &Live, id: SandboxId, of: (UserId, ProjectId), memory: u64, agent: &Agent) {
    let mut pause = Duration::from_millis(50);
    let mut told = None;
    let (answering, refusing) = (Arc::new(Semaphore::new(GIT_AT_ONCE)), Arc::new(Semaphore::new(GIT_REFUSED_AT_ONCE)));
    loop {
        let mut shorter = pin!(agent.shorter_way().fuse());
        if let Some(mut events) = events_of(id, agent).await {
            pause = Duration::from_millis(50);
            loop {
                let event = tokio::select! {
                    biased;
                    event = tokio::time::timeout(AGENT_SILENCE, events.next()) => event,
                    () = &mut shorter => {
                        // Nothing is told between the one and the other.
                        if let Some(by_it) = events_of(id, agent).await {
                            events = told_already(events).chain(by_it).boxed();
                        }
                        continue;
                    }
                };
                let Ok(Some(Ok(event))) = event else { break };
                match event {
                    AgentEvent::Credentials { ask, protocol, host, path } => {
                        let url = format!("{protocol}://{host}/{}", path.unwrap_or_default());
                        if live.git_asks.take(of.1).is_ok() {
                            answer_git(live, of, agent.clone(), ask, url, answering.clone());
                        } else if let Ok(place) = refusing.clone().try_acquire_owned() {
                            refuse_git(of.1, agent.clone(), ask, place);
                        }
                    }
                    event => {
                        let killed = apply(live, id, event);
                        if killed.is_some() && killed != told && tell_killed(live, id, memory, killed).await {
                            told = killed;
                        }
                    }
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
        if pause == Duration::from_secs(5) {
            warn!(sandbox.id = %id, "the agent of a running sandbox does not answer; trying on");
        }
    }
}

type Events = BoxStream<'static, Result<AgentEvent, ClientError>>;

/// An agent's events from now on; `None` where it does not answer.
async fn events_of(id: SandboxId, agent: &Agent) -> Option<Events> {
    let io = agent.connect().await.inspect_err(|error| debug!(sandbox.id = %id, "cannot reach the agent: {error:#}")).ok()?;
    match tokio::time::timeout(ANSWER, client::events(io, agent.token())).await {
        Ok(Ok(events)) => return Some(events.boxed()),
        Ok(Err(error)) => debug!(sandbox.id = %id, "cannot follow the agent: {error:#}"),
        Err(_) => debug!(sandbox.id = %id, "cannot follow the agent: it does not answer"),
    }
    None
}

/// What a stream has to tell at once, and nothing that it would have to wait for.
fn told_already(mut events: Events) -> impl Stream<Item = Result<AgentEvent, ClientError>> + Send {
    stream::poll_fn(move |context| match events.poll_next_unpin(context) {
        Poll::Ready(event) => Poll::Ready(event),
        Poll::Pending => Poll::Ready(None),
    })
}

/// Answers git once it is its turn, with nothing where it is none of ours: aside, so that events go on.
fn answer_git(live: &Live, (owner, project): (UserId, ProjectId), agent: Agent, ask: u64, url: String, turns: Arc<Semaphore>) {
    let Some(keyring) = live.keyring.get().and_then(Weak::upgrade) else { return };
    tokio::spawn(async move {
        let until = tokio::time::Instant::now() + GIT_ASKS;
        let turn = tokio::time::timeout(GIT_WAITS, turns.acquire_owned()).await;
        let found = match turn {
            Ok(Ok(_)) => tokio::time::timeout_at(until, keyring.credentials_of(owner, project, &url)).await.ok().flatten(),
            _ => None,
        };
        let answer = match found {
            Some((username, password)) => {
                let password = Some(password.expose_secret().to_owned());
                CredentialAnswer { ask, username: Some(username), password }
            }
            None => CredentialAnswer { ask, ..CredentialAnswer::default() },
        };
        tell_git(&agent, project, &answer).await;
    });
}

/// Answers git with nothing, as aside.
fn refuse_git(project: ProjectId, agent: Agent, ask: u64, place: OwnedSemaphorePermit) {
    tokio::spawn(async move {
        let _place = place;
        tell_git(&agent, project, &CredentialAnswer { ask, ..CredentialAnswer::default() }).await;
    });
}

async fn tell_git(agent: &Agent, project: ProjectId, answer: &CredentialAnswer) {
    let told = async {
        let Ok(io) = agent.connect().await else { return };
        if let Err(error) = client::answer_credentials(io, agent.token(), answer).await {
            debug!(project.id = %project, "cannot answer git: {error:#}");
        }
    };
    if tokio::time::timeout(GIT_HEARS, told).await.is_err() {
        debug!(project.id = %project, "the agent does not hear what git is answered");
    }
}

/// Tells the owner of a process that was killed for want of memory. `false` where it could not be stored: agents say it again.
async fn tell_killed(live: &Live, id: SandboxId, memory: u64, killed: Option<Timestamp>) -> bool {
    let Some(at) = killed.filter(|at| live.clock.now().duration_since(*at) < KILLED_SINCE) else { return true };
    let entry = activity::killed(&views::process_killed(memory), at);
    let stored = live.store.tell(id, entry, at).await;
    if let Err(error) = &stored {
        debug!(sandbox.id = %id, "cannot tell what was killed: {error:#}");
    }
    stored.is_ok()
}

/// Keeps what an agent said. Answers when a process was killed for want of memory, where it says that.
fn apply(live: &Live, id: SandboxId, event: AgentEvent) -> Option<Timestamp> {
    match event {
        AgentEvent::Ports { ports } => {
            let mut open: Vec<OpenPort> = ports
                .into_iter()
                .filter(|port| !RESERVED.contains(&port.port))
                .map(|port| OpenPort { port: port.port, process: port.process })
                .collect();
            open.sort_by_key(|port| port.port);
            open.dedup_by_key(|port| port.port);
            live.say(id, |facts| facts.ports = open);
        }
        AgentEvent::Usage(usage) => {
            let killed = usage.oom_killed_at.and_then(|at| Timestamp::from_millisecond(i64::try_from(at).ok()?).ok());
            let usage = Usage {
                #[expect(clippy::cast_possible_truncation, reason = "percent, for display")]
                cpu_percent: usage.cpu_percent as f32,
                memory_bytes: usage.memory_bytes,
                disk_bytes: usage.disk_bytes.unwrap_or_default(),
                processes: usage.processes,
            };
            live.say(id, |facts| (facts.usage, facts.oom_killed_at) = (Some(usage), killed));
            return killed;
        }
        AgentEvent::Disk { over } => live.say(id, |facts| facts.disk_over = over),
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{
        clock::SystemClock, orchestrator::memory::MemoryOrchestrator, random::SystemRandom, store::memory::MemoryStore,
    };
    use model::CauseCode;

    #[tokio::test]
    async fn a_feed_whose_work_ended_abruptly_is_nobodys() {
        let clock = Arc::new(SystemClock);
        let world = Arc::new(MemoryOrchestrator::new(clock.clone(), Arc::new(SystemRandom)));
        let addresses = Addresses { public: "http://localhost:4000".into(), preview: None, preview_ports: None, ingress: None };
        let stop = CancellationToken::new();
        let live = Live::new(Arc::new(MemoryStore::new()), world, clock, addresses, Said::default(), stop.clone());
        let user = UserId(uuid::Uuid::from_u128(1));
        let broken = Arc::new(Feed { board: watch::channel(None).1, stop: stop.child_token() });
        live.feeds.lock().unwrap().insert(user, Arc::downgrade(&broken));
        let feed = live.feed(user);
        assert!(!Arc::ptr_eq(&feed, &broken));
        let mut board = feed.board();
        tokio::time::timeout(Duration::from_secs(5), board.wait_for(Option::is_some)).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&feed, &live.feed(user)), "one that goes on is everybody's");
        stop.cancel();
    }

    #[tokio::test]
    async fn of_two_troubles_one_is_told_and_each_when_it_is_there() {
        let stop = CancellationToken::new();
        let (away, health) = watch::channel(None);
        let (ill, trouble) = watch::channel(None);
        let mut told = first_of(health, trouble, &stop);
        let cause = |text: &str| Some(Cause::new(CauseCode::PermissionMissing, text, &["Give it."]));
        for (health, trouble, expected) in [
            (None, cause("statefulsets"), cause("statefulsets")),
            (cause("away"), cause("statefulsets"), cause("away")),
            (None, cause("statefulsets"), cause("statefulsets")),
            (None, None, None),
        ] {
            away.send_replace(health);
            ill.send_replace(trouble);
            let reached = told.wait_for(|told| *told == expected);
            tokio::time::timeout(Duration::from_secs(5), reached).await.unwrap().unwrap();
        }
        // An orchestrator that is always there says nothing of itself.
        let mut told = first_of(watch::channel(None).1, ill.subscribe(), &stop);
        ill.send_replace(cause("clusters"));
        tokio::time::timeout(Duration::from_secs(5), told.wait_for(Option::is_some)).await.unwrap().unwrap();
        let never = first_of(watch::channel(None).1, Said::default().trouble, &stop);
        assert!(never.has_changed().is_err(), "nothing ever changes");
    }
}
