//! All that is known of the sandboxes of this machine.

use crate::{
    causes,
    keeper::protocol::{Agent, Ask, End, State, Status},
};
use engine::orchestrator::{Seen, VolumeName};
use jiff::{SignedDuration, Timestamp};
use model::SandboxId;
use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::{Notify, mpsc};

/// Endings by itself count for this long.
const TEN_MINUTES: SignedDuration = SignedDuration::from_mins(10);
/// How much of `ends.jsonl` is read: some hundred endings.
const ENDS: u64 = 256 * 1024;

/// What is known, by sandbox.
#[derive(Default)]
pub struct Places {
    known: Mutex<HashMap<SandboxId, Place>>,
    watchers: Mutex<Vec<mpsc::UnboundedSender<SandboxId>>>,
    changed: Notify,
}

struct Place {
    volume: VolumeName,
    /// To its keeper, if one lives.
    link: Option<mpsc::UnboundedSender<Ask>>,
    /// What its keeper last said.
    status: Option<Status>,
    /// It does not answer any more.
    silent: bool,
    /// Its agent has answered, and does no more. One that never did is on its way up: what is asked of it is answered then.
    agent_lost: bool,
    /// How its runs ended, the latest last.
    ends: Vec<End>,
}

impl Place {
    /// Its runs ended so, by its folder. Where the disk was full, that lacks some of which their keepers have told.
    fn ended(&mut self, mut ends: Vec<End>) {
        let since = lately();
        let told = std::mem::take(&mut self.ends);
        for end in told.into_iter().filter(|end| end.at >= since) {
            if ends.iter().all(|known| known.run != end.run) {
                ends.push(end);
            }
        }
        ends.sort_by_key(|end| end.at);
        self.ends = ends;
    }
}

/// What ended by itself before does not count any more.
fn lately() -> Timestamp {
    Timestamp::now().checked_sub(TEN_MINUTES).unwrap_or(Timestamp::MIN)
}

impl Places {
    /// A sandbox that has a folder, where its runs ended so.
    pub fn open(&self, id: SandboxId, ends: Vec<End>, volume: VolumeName) {
        let mut known = self.known();
        let place = known.entry(id).or_insert_with(|| Place {
            volume: volume.clone(),
            link: None,
            status: None,
            silent: false,
            agent_lost: false,
            ends: Vec::new(),
        });
        place.volume = volume;
        place.ended(ends);
    }

    /// A keeper lives for it from now on.
    pub fn linked(&self, id: SandboxId, link: mpsc::UnboundedSender<Ask>) {
        if let Some(place) = self.known().get_mut(&id) {
            place.link = Some(link);
            place.status = None;
            (place.silent, place.agent_lost) = (false, false);
        }
    }

    /// Its keeper said this. What is nothing new is told to nobody.
    pub fn heard(&self, id: SandboxId, status: Status) {
        if let Some(place) = self.known().get_mut(&id) {
            let answered = place.agent_lost || place.status.as_ref().is_some_and(|was| was.agent != Agent::Silent);
            place.agent_lost = answered && status.agent == Agent::Silent;
            let status = Some(status);
            if !std::mem::take(&mut place.silent) && place.status == status {
                return;
            }
            place.status = status;
        }
        self.tell(id);
    }

    /// Its keeper does not answer. `false`: that was known.
    pub fn silent(&self, id: SandboxId) -> bool {
        let new = self.known().get_mut(&id).is_some_and(|place| !std::mem::replace(&mut place.silent, true));
        if new {
            self.tell(id);
        }
        new
    }

    /// Its keeper, and everything that it kept, is gone; its runs ended so.
    pub fn gone(&self, id: SandboxId, ends: Vec<End>) {
        if let Some(place) = self.known().get_mut(&id) {
            place.link = None;
            place.silent = false;
            let last = place.status.take().and_then(|status| status.end);
            place.ends.extend(last);
            place.ended(ends);
        }
        self.tell(id);
    }

    /// Nothing of it is left.
    pub fn forget(&self, id: SandboxId) {
        if self.known().remove(&id).is_some() {
            self.tell(id);
        }
    }

    /// Asks its keeper, if one lives.
    pub fn ask(&self, id: SandboxId, ask: Ask) {
        if let Some(Place { link: Some(link), .. }) = self.known().get(&id) {
            let _ = link.send(ask);
        }
    }

    /// What its keeper last said, if one lives.
    pub fn status(&self, id: SandboxId) -> Option<Status> {
        self.known().get(&id)?.status.clone()
    }

    /// Whether its agent has answered in this run, and does no more.
    pub fn agent_is_lost(&self, id: SandboxId) -> bool {
        self.known().get(&id).is_some_and(|place| place.agent_lost)
    }

    /// Whether a keeper lives for it.
    pub fn present(&self, id: SandboxId) -> bool {
        self.known().get(&id).is_some_and(|place| place.link.is_some())
    }

    /// Whether a keeper lives that uses this volume.
    pub fn uses(&self, volume: &VolumeName) -> bool {
        self.known().values().any(|place| place.link.is_some() && place.volume == *volume)
    }

    /// All that have a folder.
    pub fn ids(&self) -> Vec<SandboxId> {
        self.known().keys().copied().collect()
    }

    /// As the reconciler sees it.
    pub fn seen(&self, id: SandboxId) -> Seen {
        let known = self.known();
        let Some(place) = known.get(&id) else { return Seen::default() };
        let since = lately();
        let by_itself: Vec<&End> = place.ends.iter().filter(|end| end.by_itself && end.at >= since).collect();
        let mut seen = Seen {
            present: place.link.is_some(),
            ended_by_itself: u32::try_from(by_itself.len()).unwrap_or(u32::MAX),
            ended_at: by_itself.last().map(|end| end.at),
            ..Seen::default()
        };
        match &place.status {
            Some(status) => {
                let up = status.state == State::Running;
                seen.instance = matches!(status.state, State::Running | State::Stopping).then(|| status.run.clone());
                // Both go through its keeper.
                seen.network = up && status.network && !place.silent;
                seen.agent = if up { status.agent.into() } else { Default::default() };
                seen.cause = if place.silent { Some(causes::keeper_silent()) } else { status.cause.clone() };
            }
            None if place.silent => seen.cause = Some(causes::keeper_silent()),
            None if !seen.present => seen.cause = place.ends.last().filter(|end| end.by_itself).and_then(|end| end.cause.clone()),
            None => {}
        }
        seen
    }

    /// Tells of every change from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<SandboxId> {
        let (send, receive) = mpsc::unbounded_channel();
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(send);
        receive
    }

    /// Waits until its keeper has said something, or is gone. `false`: neither came in time.
    pub async fn first_word(&self, id: SandboxId, deadline: Instant) -> bool {
        self.until(deadline, || self.status(id).is_some() || !self.present(id)).await
    }

    /// Waits until its keeper is gone. `false`: not in time.
    pub async fn gone_by(&self, id: SandboxId, deadline: Instant) -> bool {
        self.until(deadline, || !self.present(id)).await
    }

    async fn until(&self, deadline: Instant, condition: impl Fn() -> bool) -> bool {
        let held = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition() {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout_at(deadline.into(), held).await.is_ok()
    }

    fn tell(&self, id: SandboxId) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).retain(|watcher| watcher.send(id).is_ok());
        self.changed.notify_waiters();
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SandboxId, Place>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the runs of a sandbox ended, by its folder.
pub async fn ends_of(folder: &Path) -> Vec<End> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || read_ends(&folder)).await.unwrap_or_default()
}

fn read_ends(folder: &Path) -> Vec<End> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(folder.join("ends.jsonl"))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENDS)))?;
        let mut text = Vec::new();
        file.take(ENDS).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_end_that_is_on_no_disk_counts_as_its_keeper_told_it() {
        let (places, id) = (Places::default(), SandboxId(Uuid::from_u128(1)));
        let end = |run: &str| {
            let cause = Some(causes::disk_full(run));
            End { run: run.to_owned(), at: Timestamp::now(), by_itself: true, code: None, cause }
        };
        let volume = VolumeName("volume".to_owned());
        let (first, second) = (end("first"), end("second"));
        places.open(id, vec![first.clone()], volume.clone());
        let mut last = crate::keeper::protocol::tests::status(id);
        (last.state, last.end) = (State::Ended, Some(second.clone()));
        places.heard(id, last);
        places.gone(id, vec![first.clone()]);
        let seen = places.seen(id);
        assert_eq!((seen.ended_by_itself, seen.cause), (2, second.cause.clone()));
        // Another start reads the folder again.
        places.open(id, vec![first.clone()], volume.clone());
        assert_eq!(places.seen(id).ended_by_itself, 2);
        places.open(id, vec![first, second], volume);
        assert_eq!(places.seen(id).ended_by_itself, 2, "none counts twice");
    }

    #[test]
    fn an_agent_is_lost_when_it_answers_no_more_and_not_before_it_ever_did() {
        let (places, id) = (Places::default(), SandboxId(Uuid::from_u128(1)));
        places.open(id, Vec::new(), VolumeName("volume".to_owned()));
        let lost = |agent: Agent| {
            let mut status = crate::keeper::protocol::tests::status(id);
            status.agent = agent;
            places.heard(id, status);
            places.agent_is_lost(id)
        };
        assert!(!lost(Agent::Silent), "it is on its way up");
        assert!(!lost(Agent::ShellStarted));
        assert!(lost(Agent::Silent));
        assert!(lost(Agent::Silent), "said again");
        assert!(!lost(Agent::Answering));
        assert!(lost(Agent::Silent));
        let (link, _asks) = mpsc::unbounded_channel();
        places.linked(id, link);
        assert!(!lost(Agent::Silent), "of another run");
    }
}
