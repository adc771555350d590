//! All sessions of the sandbox, by name.

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc, time::Duration};

use rustix::process::Signal;
use tokio::{
    task::{spawn_blocking, spawn_local},
    time::{sleep, timeout},
};

use super::{End, Session, shell, store::Store};
use crate::{
    protocol::{frame::Size, http::SessionInfo, name::SessionName},
    server::{children::Children, config::Config, procfs, random, raw},
};

/// Sessions at one time. A person has a handful; each may hold a megabyte.
const LIMIT: usize = 32;

/// How often output goes to disk while there is some.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// How long a deleted session's programs have between SIGHUP and SIGKILL.
const HANG_UP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there are {LIMIT} sessions already; close one first")]
    TooMany,
    #[error("the shell does not start: {0}")]
    Shell(#[from] io::Error),
}

/// A session that was asked for by name.
pub struct Opened {
    pub session: Rc<Session>,
    /// It is not the one whose id was named.
    pub other: bool,
}

pub struct Sessions {
    config: Rc<Config>,
    children: Children,
    store: Store,
    by_name: RefCell<BTreeMap<SessionName, Rc<Session>>>,
}

impl Sessions {
    /// Brings back what a former agent left on disk, as ended sessions.
    pub fn restore(config: Rc<Config>, children: Children) -> Self {
        let store = Store::new(&config.state_dir);
        let left = store.load().into_iter();
        let by_name =
            left.map(|(name, saved, output)| (name.clone(), Rc::new(Session::restored(name, saved, &output)))).collect();
        Self { config, children, store, by_name: RefCell::new(by_name) }
    }

    /// The session of that name. It is started where there is none, or only an ended one that is not asked for by its `id`, or `restart`
    /// says so.
    ///
    /// # Errors
    /// Too many sessions, or no shell starts.
    pub fn open(&self, name: &SessionName, id: Option<&str>, restart: bool, size: Size) -> Result<Opened, OpenError> {
        let found = self.by_name.borrow().get(name).cloned();
        if let Some(session) = found.filter(|session| !session.ended() || (id == Some(session.id.as_str()) && !restart)) {
            let other = id.is_some_and(|id| id != session.id);
            return Ok(Opened { session, other });
        }
        self.make_room(name)?;
        let (child, terminal) = shell::start(&self.config, &self.children, size.clamped())?;
        self.store.retire(name);
        let live = (child.pid, raw::watched(terminal)?);
        let session = Rc::new(Session::new(random::id(), name.clone(), size.clamped(), Some(live)));
        self.by_name.borrow_mut().insert(name.clone(), session.clone());
        let (running, store) = (session.clone(), self.store.clone());
        spawn_local(async move {
            running.clone().run(child).await;
            if running.end() != Some(End::Deleted) {
                save(&store, &running, true).await;
            }
        });
        Ok(Opened { session, other: id.is_some() })
    }

    pub fn get(&self, name: &SessionName) -> Option<Rc<Session>> {
        self.by_name.borrow().get(name).cloned()
    }

    pub fn infos(&self) -> Vec<SessionInfo> {
        self.by_name.borrow().values().map(|session| session.info()).collect()
    }

    /// When any session that runs last wrote something.
    pub fn last_output_at(&self) -> Option<u64> {
        let by_name = self.by_name.borrow();
        by_name.values().filter(|session| !session.ended()).map(|session| session.state.borrow().last_output_at).max()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Hangs up on a session, and forgets it with its log. False where there is none.
    pub async fn delete(&self, name: &SessionName) -> bool {
        let Some(session) = self.by_name.borrow_mut().remove(name) else { return false };
        let mut changes = session.changes();
        if let Some(pid) = session.pid.filter(|_| !session.ended()) {
            let tree = procfs::tree(pid);
            self.children.signal_group(pid, Signal::HUP);
            self.children.signal_group(pid, Signal::CONT);
            session.finish(End::Deleted);
            let children = self.children.clone();
            let gone = async {
                while children.alive(pid) {
                    let _ = timeout(Duration::from_millis(50), changes.changed()).await;
                }
            };
            let _ = timeout(HANG_UP_GRACE, gone).await;
            // What ignored it.
            let now = procfs::descendants();
            for process in tree.iter().filter(|process| now.iter().any(|other| other.same_as(process))) {
                process.signal(Signal::KILL);
            }
            session.terminal.take();
        }
        self.store.delete(name);
        true
    }

    /// Shells start in this folder from now on; so does the first one, which the agent itself has started, while nobody has seen it.
    ///
    /// # Errors
    /// It cannot be noted, or no shell starts.
    pub async fn start_in(&self, folder: &str) -> Result<(), OpenError> {
        self.config.start_shells_in(folder)?;
        let main = SessionName::main();
        // What an earlier one wrote is kept beside the present one, and would go with it.
        let untouched = self.get(&main).is_some_and(|session| session.untouched()) && self.store.previous(&main).is_none();
        if untouched && self.delete(&main).await {
            self.open(&main, None, false, Size::default())?;
        }
        Ok(())
    }

    /// Sends all viewers away, because the sandbox stops.
    pub fn stop(&self) {
        for session in self.by_name.borrow().values().filter(|session| !session.ended()) {
            session.state.borrow_mut().catch_up();
            session.finish(End::Stopping);
        }
    }

    /// Writes output to disk every few seconds, for ever.
    pub async fn keep_saving(&self) {
        loop {
            sleep(SAVE_EVERY).await;
            self.save_all().await;
        }
    }

    pub async fn save_all(&self) {
        let all: Vec<_> = self.by_name.borrow().values().cloned().collect();
        for session in all {
            save(&self.store, &session, false).await;
        }
    }

    /// Forgets ended sessions, the oldest first, until one more fits.
    fn make_room(&self, name: &SessionName) -> Result<(), OpenError> {
        let mut by_name = self.by_name.borrow_mut();
        by_name.remove(name);
        while by_name.len() >= LIMIT {
            let ended = by_name.values().filter(|session| session.ended()).min_by_key(|session| session.started_at);
            let oldest = ended.map(|session| session.name.clone()).ok_or(OpenError::TooMany)?;
            by_name.remove(&oldest);
            self.store.delete(&oldest);
        }
        Ok(())
    }
}

async fn save(store: &Store, session: &Session, always: bool) {
    let Some((saved, output)) = session.unsaved(always) else { return };
    let (store, name) = (store.clone(), session.name.clone());
    let written = spawn_blocking(move || store.save(&name, &saved, &output)).await;
    if let Ok(Err(error)) = written {
        eprintln!("the output of session {} cannot be kept on disk: {error}", session.name);
    }
}
