//! An orchestrator whose world is a map: what the simulator and HTTP tests stand on. Passes the same
//! contract as the real ones.
//!
//! Time passes by the given clock: a run's network, agent and shell come up after delays, and a run
//! takes a while to end. Every verb yields before and after what it does, so that a simulator can
//! end the caller at either side of each write.

use super::{
    AgentOrPort, AgentSeen, BoxedIo, ConnectError, LogLine, LogSource, Orchestrator, OrchestratorError, OwnedObject, Removed,
    SandboxSpec, Seen, VolumeName, VolumeSeen,
};
use crate::{clock::Clock, random::Random};
use futures::{StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use model::{Cause, CauseCode, Desired, InstanceFact, SandboxId, stage::after};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{broadcast, watch},
};

/// How the world behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nature {
    /// How long each part of a run takes to come up, and a run to end: up to this, by chance.
    pub delay: Duration,
    /// Of a hundred verbs, how many fail after they did nothing.
    pub refuse_percent: u8,
    /// Of a hundred verbs, how many fail after they did what they were asked.
    pub forget_percent: u8,
    /// Of a hundred looks (observe, list, connect), how many fail.
    pub blind_percent: u8,
    /// Agents answer, and no shell ever starts.
    pub shells_fail: bool,
}

/// The world as a map.
pub struct MemoryOrchestrator {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    state: Mutex<State>,
    changed: broadcast::Sender<SandboxId>,
    away: watch::Sender<Option<Cause>>,
}

#[derive(Default)]
struct State {
    nature: Nature,
    places: BTreeMap<SandboxId, Place>,
    volumes: BTreeMap<VolumeName, BTreeMap<String, String>>,
    /// Of which sandbox each was made.
    made_for: BTreeMap<VolumeName, SandboxId>,
    /// What somebody removes, and when it goes.
    leaving: BTreeMap<VolumeName, Timestamp>,
    next_run: u64,
}

struct Place {
    name: String,
    volume: VolumeName,
    run: Option<Run>,
    /// A run that is on its way out, and when it is gone.
    ending: Option<Timestamp>,
    /// The present run was told to make room for one with this count.
    ended_by_itself: Vec<Timestamp>,
}

struct Run {
    fact: InstanceFact,
    network_at: Timestamp,
    agent_at: Timestamp,
    shell_at: Timestamp,
}

impl MemoryOrchestrator {
    /// An empty world in which nothing takes time and nothing fails.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random, state: Mutex::default(), changed: broadcast::channel(256).0, away: watch::Sender::new(None) }
    }

    /// Changes how the world behaves from now on.
    pub fn set_nature(&self, nature: Nature) {
        self.lock().nature = nature;
    }

    /// From now on nothing can be seen for this reason, or everything again.
    pub fn set_away(&self, why: Option<Cause>) {
        self.away.send_replace(why);
    }

    /// Ends the run of a sandbox, as a crash in it would. `false` if none is alive.
    pub fn crash(&self, id: SandboxId) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let crashed =
            state.places.get_mut(&id).is_some_and(|place| place.run.take().map(|_| place.ended_by_itself.push(now)).is_some());
        drop(state);
        self.tell(id);
        crashed
    }

    /// Writes a file into a sandbox's volume. `false` if no run of it is alive.
    pub fn write(&self, id: SandboxId, path: &str, text: &str) -> bool {
        let mut state = self.lock();
        let running = state.places.get(&id).filter(|place| place.run.is_some());
        let Some(volume) = running.map(|place| place.volume.clone()) else { return false };
        state.volumes.entry(volume).or_default().insert(path.to_owned(), text.to_owned());
        true
    }

    /// Reads a file of a volume.
    #[must_use]
    pub fn read(&self, volume: &VolumeName, path: &str) -> Option<String> {
        self.lock().volumes.get(volume)?.get(path).cloned()
    }

    /// Removes a volume behind the back of everyone. `false` if it is not there, or a run uses it.
    pub fn lose_volume(&self, volume: &VolumeName) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        state.pass(now);
        if state.used(volume) {
            return false;
        }
        state.made_for.remove(volume);
        state.volumes.remove(volume).is_some()
    }

    /// The same, but that it goes after a while, once no run uses it.
    pub fn lose_volume_after(&self, volume: &VolumeName, delay: Duration) {
        let at = after(self.clock.now(), delay);
        self.lock().leaving.insert(volume.clone(), at);
    }

    /// The volumes that exist.
    #[must_use]
    pub fn volumes(&self) -> Vec<VolumeName> {
        self.lock().volumes.keys().cloned().collect()
    }

    /// What is there, whatever [`Nature`] lets others see of it.
    #[must_use]
    pub fn truth(&self, id: SandboxId) -> Seen {
        let now = self.clock.now();
        let mut state = self.lock();
        state.pass(now);
        let Some(place) = state.places.get(&id) else { return Seen::default() };
        let recent = place.ended_by_itself.iter().filter(|at| now.duration_since(**at).as_secs() < 600).count();
        let run = place.run.as_ref();
        let agent = match run {
            Some(run) if now >= run.shell_at && !state.nature.shells_fail => AgentSeen::ShellStarted,
            Some(run) if now >= run.agent_at => AgentSeen::Answering,
            _ => AgentSeen::Silent,
        };
        Seen {
            present: place.present(),
            instance: run.map(|run| run.fact.clone()),
            starting: None,
            network: run.is_some_and(|run| now >= run.network_at),
            agent,
            cause: None,
            ended_by_itself: u32::try_from(recent).unwrap_or(u32::MAX),
            ended_at: place.ended_by_itself.last().copied(),
        }
    }

    /// One look, which may fail.
    async fn look(&self) -> Result<(), OrchestratorError> {
        tokio::task::yield_now().await;
        if let Some(why) = self.away.borrow().clone() {
            return Err(OrchestratorError::Caused(why));
        }
        let blind = self.lock().nature.blind_percent;
        if self.chance(blind) { Err(OrchestratorError::Other(anyhow::anyhow!("unseen by chance"))) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, id: SandboxId) {
        let _ = self.changed.send(id);
    }

    /// By chance, one of `percent` in a hundred.
    fn chance(&self, percent: u8) -> bool {
        percent > 0 && self.random.unit() * 100.0 < f64::from(percent)
    }

    fn later(&self, from: Timestamp, delay: Duration) -> Timestamp {
        after(from, delay.mul_f64(self.random.unit()))
    }

    /// One write to the world, which may fail before or after it.
    async fn write_to_world<T>(
        &self,
        id: SandboxId,
        change: impl FnOnce(&mut State, Timestamp) -> T,
    ) -> Result<T, OrchestratorError> {
        tokio::task::yield_now().await;
        let nature = self.lock().nature;
        if self.chance(nature.refuse_percent) {
            return Err(OrchestratorError::Other(anyhow::anyhow!("refused by chance")));
        }
        let now = self.clock.now();
        let done = {
            let mut state = self.lock();
            state.pass(now);
            change(&mut state, now)
        };
        self.tell(id);
        tokio::task::yield_now().await;
        if self.chance(nature.forget_percent) {
            return Err(OrchestratorError::Other(anyhow::anyhow!("the answer was lost")));
        }
        Ok(done)
    }
}

impl State {
    /// Lets what is due happen.
    fn pass(&mut self, now: Timestamp) {
        for place in self.places.values_mut() {
            if place.ending.is_some_and(|at| now >= at) {
                place.ending = None;
            }
        }
        let due = self.leaving.iter().filter(|(name, at)| now >= **at && !self.used(name));
        for name in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.leaving.remove(&name);
            self.made_for.remove(&name);
            self.volumes.remove(&name);
        }
    }

    fn used(&self, volume: &VolumeName) -> bool {
        self.places.values().any(|place| place.volume == *volume && place.present())
    }
}

impl Place {
    fn present(&self) -> bool {
        self.run.is_some() || self.ending.is_some()
    }
}

#[async_trait::async_trait]
impl Orchestrator for MemoryOrchestrator {
    async fn ensure(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError> {
        let SandboxSpec { id, name, volume, desired, restart_count, env_revision, .. } = spec;
        self.write_to_world(*id, |state, now| {
            let delay = state.nature.delay;
            state.volumes.entry(volume.clone()).or_default();
            state.made_for.entry(volume.clone()).or_insert(*id);
            state.next_run += 1;
            let run_id = format!("run-{}", state.next_run);
            let place = state.places.entry(*id).or_insert_with(|| Place {
                name: name.to_string(),
                volume: volume.clone(),
                run: None,
                ending: None,
                ended_by_itself: Vec::new(),
            });
            let wanted = *desired == Desired::Running;
            if place.run.as_ref().is_some_and(|run| !wanted || run.fact.restart_count != *restart_count) {
                place.run = None;
                place.ending = Some(self.later(now, delay));
                place.ended_by_itself.clear();
            }
            if place.ending.is_some_and(|at| now >= at) {
                place.ending = None;
            }
            if wanted && !place.present() {
                let network_at = self.later(now, delay);
                let agent_at = self.later(network_at, delay);
                let shell_at = self.later(agent_at, delay);
                let fact =
                    InstanceFact { id: run_id, started_at: now, restart_count: *restart_count, env_revision: *env_revision };
                place.run = Some(Run { fact, network_at, agent_at, shell_at });
            }
        })
        .await
    }

    async fn remove(&self, id: SandboxId) -> Result<Removed, OrchestratorError> {
        self.write_to_world(id, |state, now| {
            let delay = state.nature.delay;
            let Some(place) = state.places.get_mut(&id) else { return Removed::Gone };
            if place.run.take().is_some() {
                place.ending = Some(self.later(now, delay));
            }
            if place.ending.is_some_and(|at| now < at) {
                return Removed::Going;
            }
            state.places.remove(&id);
            Removed::Gone
        })
        .await
    }

    async fn remove_volume(&self, volume: &VolumeName) -> Result<Removed, OrchestratorError> {
        let user = self.lock().places.iter().find(|(_, place)| place.volume == *volume && place.present()).map(|(id, _)| *id);
        if let Some(id) = user {
            let cause = Cause::new(CauseCode::VolumeFailed, format!("Sandbox {id} still uses the volume."), &["Stop it first."]);
            return Err(OrchestratorError::Caused(cause));
        }
        self.write_to_world(SandboxId(uuid::Uuid::nil()), |state, _| {
            state.volumes.remove(volume);
            state.made_for.remove(volume);
            state.leaving.remove(volume);
            Removed::Gone
        })
        .await
    }

    async fn volume(&self, volume: &VolumeName) -> Result<VolumeSeen, OrchestratorError> {
        self.look().await?;
        let now = self.clock.now();
        let mut state = self.lock();
        state.pass(now);
        Ok(match state.leaving.contains_key(volume) {
            true => VolumeSeen::Leaving,
            false if state.volumes.contains_key(volume) => VolumeSeen::There,
            false => VolumeSeen::Absent,
        })
    }

    async fn observe(&self, id: SandboxId) -> Result<Seen, OrchestratorError> {
        self.look().await?;
        Ok(self.truth(id))
    }

    fn health(&self) -> watch::Receiver<Option<Cause>> {
        self.away.subscribe()
    }

    fn watch(&self) -> BoxStream<'static, SandboxId> {
        tokio_stream::wrappers::BroadcastStream::new(self.changed.subscribe()).filter_map(|id| async { id.ok() }).boxed()
    }

    async fn connect(&self, id: SandboxId, to: AgentOrPort) -> Result<BoxedIo, ConnectError> {
        let seen = self.observe(id).await.map_err(|e| ConnectError::Io(std::io::Error::other(e)))?;
        match to {
            _ if seen.instance.is_none() => Err(ConnectError::NotRunning),
            AgentOrPort::Port(port) => Err(ConnectError::NobodyListens(port)),
            AgentOrPort::Agent if seen.agent == AgentSeen::Silent => {
                Err(ConnectError::Io(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)))
            }
            AgentOrPort::Agent => Ok(Box::new(Canned(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))),
        }
    }

    async fn logs(&self, _id: SandboxId, _from: LogSource) -> Result<BoxStream<'static, LogLine>, OrchestratorError> {
        Ok(futures::stream::empty().boxed())
    }

    async fn list(&self) -> Result<Vec<OwnedObject>, OrchestratorError> {
        self.look().await?;
        let state = self.lock();
        let object = |sandbox: &SandboxId, kind: &str, name: &str, holds_data| OwnedObject {
            sandbox: *sandbox,
            kind: kind.to_owned(),
            name: name.to_owned(),
            holds_data,
        };
        let runs = state.places.iter().filter(|(_, place)| place.present());
        let runs = runs.map(|(id, place)| object(id, "run", &place.name, false));
        Ok(runs.chain(state.made_for.iter().map(|(name, id)| object(id, "volume", &name.0, true))).collect())
    }
}

/// Takes every byte, and answers the same whatever was asked.
struct Canned(&'static [u8]);

impl AsyncRead for Canned {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let count = buffer.remaining().min(self.0.len());
        let (now, rest) = self.0.split_at(count);
        buffer.put_slice(now);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Canned {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, orchestrator::contract, random::SystemRandom};

    struct Files(Arc<MemoryOrchestrator>);

    #[async_trait::async_trait]
    impl contract::Files for Files {
        async fn write(&self, spec: &SandboxSpec, path: &str, text: &str) {
            assert!(self.0.write(spec.id, path, text));
        }
        async fn read(&self, spec: &SandboxSpec, path: &str) -> Option<String> {
            self.0.read(&spec.volume, path)
        }
    }

    #[tokio::test]
    async fn the_memory_orchestrator_keeps_the_contract() {
        for delay in [0, 30] {
            let world = Arc::new(MemoryOrchestrator::new(Arc::new(SystemClock), Arc::new(SystemRandom)));
            world.set_nature(Nature { delay: Duration::from_millis(delay), ..Nature::default() });
            contract::suite(world.as_ref(), &Files(world.clone()), contract::spec, Duration::from_secs(10)).await;
        }
    }
}
