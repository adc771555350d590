//! `GET /v1/events`: how things stand, then what changes, one JSON object a line.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, timeout},
};

use super::{
    Agent,
    body::{Answer, line, lines},
    oom::Kills,
    ports::Ports,
    usage::Meter,
};
use crate::protocol::http::{AgentEvent, SessionInfo, Usage};

/// How often ports are looked at while somebody listens: one that opens is told of within a second, and ten idle
/// sandboxes take less than a hundredth of a core.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// And sessions, whose shells are looked up one by one.
const SESSIONS_EVERY: Duration = Duration::from_millis(500);
const USAGE_EVERY: Duration = Duration::from_secs(2);
const ACTIVITY_EVERY: Duration = Duration::from_secs(1);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(8);

/// Lines a listener may be behind. One that is further is cut off, and begins anew with how things stand.
const BEHIND: usize = 64;

type Listener = mpsc::Sender<io::Result<Bytes>>;

/// All who listen.
#[derive(Default)]
pub struct Hub {
    listeners: RefCell<Vec<Listener>>,
    /// Those who came and have not been told how things stand.
    fresh: RefCell<Vec<Listener>>,
    wake: Notify,
    last_usage: RefCell<Usage>,
    said: Cell<u64>,
}

impl Hub {
    pub fn listened(&self) -> bool {
        !self.listeners.borrow().is_empty() || !self.fresh.borrow().is_empty()
    }

    /// Something changed: look now.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    pub fn tell(&self, event: &AgentEvent) {
        let text = line(event);
        self.listeners.borrow_mut().retain(|listener| listener.try_send(Ok(text.clone())).is_ok());
        self.said.set(self.said.get() + 1);
    }
}

/// Answers with the events from now on.
pub fn subscribe(agent: &Rc<Agent>) -> Answer {
    let (sender, receiver) = mpsc::channel(BEHIND);
    agent.events.fresh.borrow_mut().push(sender);
    agent.events.nudge();
    agent.disk.look_again();
    lines(receiver)
}

/// What was told last, to tell only what differs.
#[derive(Default)]
struct Told {
    sessions: Vec<SessionInfo>,
    activity: u64,
    over: bool,
}

/// Looks and tells, for ever; costs nothing while nobody listens.
pub async fn watch(agent: Rc<Agent>) {
    let hub = &agent.events;
    let mut ports = Ports::default();
    let mut meter = Meter::default();
    let mut kills = Kills::new();
    let mut told = Told::default();
    let (mut sessions_at, mut usage_at, mut activity_at, mut keepalive_at) =
        (Instant::now(), Instant::now(), Instant::now(), Instant::now());
    loop {
        let nudged = if hub.listened() {
            timeout(LOOK_EVERY, hub.wake.notified()).await.is_ok()
        } else {
            hub.wake.notified().await;
            meter = Meter::default();
            true
        };
        hub.listeners.borrow_mut().retain(|listener| !listener.is_closed());
        let now = Instant::now();
        let said = hub.said.get();

        if ports.look(&agent.config) {
            hub.tell(&AgentEvent::Ports { ports: ports.found.clone() });
        }
        if nudged || now >= sessions_at {
            sessions_at = now + SESSIONS_EVERY;
            let sessions = agent.sessions.infos();
            if !alike(&sessions, &told.sessions) {
                told.sessions.clone_from(&sessions);
                hub.tell(&AgentEvent::Sessions { sessions });
            }
        }
        if agent.disk.over() != told.over {
            told.over = agent.disk.over();
            hub.tell(&AgentEvent::Disk { over: told.over });
        }
        let activity = agent.last_activity.get().max(told.sessions_activity(&agent));
        if activity != told.activity && now >= activity_at {
            told.activity = activity;
            activity_at = now + ACTIVITY_EVERY;
            hub.tell(&AgentEvent::Activity { at: activity });
        }
        if now >= usage_at || !hub.fresh.borrow().is_empty() {
            let limit = agent.config.disk_limit_bytes;
            let usage =
                Usage { disk_bytes: agent.disk.used(), disk_limit_bytes: limit, oom_killed_at: kills.look(), ..meter.look() };
            hub.last_usage.replace(usage.clone());
            usage_at = now + USAGE_EVERY;
            hub.tell(&AgentEvent::Usage(usage));
        }
        if hub.said.get() != said {
            keepalive_at = now + KEEPALIVE_EVERY;
        } else if now >= keepalive_at {
            keepalive_at = now + KEEPALIVE_EVERY;
            hub.tell(&AgentEvent::Keepalive);
        }

        for listener in hub.fresh.take() {
            let stand = [
                AgentEvent::Ports { ports: ports.found.clone() },
                AgentEvent::Sessions { sessions: told.sessions.clone() },
                AgentEvent::Activity { at: told.activity },
                AgentEvent::Disk { over: told.over },
                AgentEvent::Usage(hub.last_usage.borrow().clone()),
            ];
            if stand.iter().all(|event| listener.try_send(Ok(line(event))).is_ok()) {
                hub.listeners.borrow_mut().push(listener);
            }
        }
    }
}

impl Told {
    /// The last output of any session counts as activity.
    fn sessions_activity(&self, agent: &Agent) -> u64 {
        agent.sessions.last_output_at().unwrap_or(self.activity)
    }
}

/// Whether nothing changed but the amount of output, which changes all the time.
fn alike(a: &[SessionInfo], b: &[SessionInfo]) -> bool {
    let plain = |info: &SessionInfo| SessionInfo { bytes: 0, last_output_at: 0, ..info.clone() };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| plain(a) == plain(b))
}
