//! A terminal session: a shell on a pseudo-terminal, its last output, its emulated screen, and those who look at it.
//!
//! ```text
//!   shell ─ PTY ─> reader ─> Ring ──> each viewer, at its own pace
//!             ^                └────> Screen (behind; for repaints and the title)
//!             └── writer <── input queue <── viewers, duplicates dropped
//! ```
//!
//! The reader stops while the slowest viewer is a window behind, so a ring never loses a byte that somebody attached still needs. With no
//! viewer it reads on. Everything runs on one thread; no borrow of the state lives across an await.

mod pump;
mod registry;
#[cfg(not(fuzzing))]
mod ring;
#[cfg(fuzzing)]
pub mod ring;
mod screen;
mod shell;
pub mod store;
mod viewer;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    os::fd::OwnedFd,
    rc::Rc,
};

use bytes::Bytes;
use rustix::{process::Pid, termios::tcgetpgrp};
use tokio::{io::unix::AsyncFd, sync::Notify, sync::watch};

pub use registry::{OpenError, Sessions};
pub use viewer::{Attachment, Viewer};

use self::{ring::Ring, screen::Screen, store::Saved};
use super::clock::now_ms;
use crate::protocol::{OUTPUT_WINDOW, frame::Size, http::SessionInfo, name::SessionName};

/// Output kept in memory: 1 MiB that is replayed, and room for what is read while a viewer is a whole window behind.
const RING_BYTES: usize = (1024 + 128) * 1024;

/// How far the screen may stay behind the output. With what one turn reads it must fit into what the ring holds beyond a window.
const SCREEN_LAG: u64 = 256 * 1024;

/// Input waiting for a program that does not read. A larger paste is refused and stays with its browser tab.
const INPUT_BYTES: usize = 8 * 1024 * 1024;

/// Browser tabs whose input is counted, the last to type.
const CLIENTS: usize = 64;

/// Why no more input is taken.
#[derive(Debug, PartialEq, Eq)]
pub enum InputError {
    /// Bytes between what was taken and these are missing.
    Gap {
        expected: u64,
    },
    Full,
}

/// How a session ended, or why its viewers must go although it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Deleted,
    Stopping,
}

pub struct Session {
    pub id: String,
    pub name: SessionName,
    started_at: u64,
    pid: Option<Pid>,
    state: RefCell<State>,
    terminal: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    /// Counts up whenever viewers may have something to do.
    changes: watch::Sender<u64>,
    /// A viewer took output or left.
    progress: Notify,
    typed: Notify,
    end: Cell<Option<End>>,
}

struct State {
    ring: Ring,
    screen: Screen,
    size: Size,
    title: String,
    input: VecDeque<Bytes>,
    input_bytes: usize,
    /// How much input of each browser tab was taken, the last to type at the back.
    clients: VecDeque<(String, u64)>,
    viewers: BTreeMap<u64, viewer::Place>,
    next_viewer: u64,
    keystrokes: u64,
    last_output_at: u64,
    /// The end of the output when it was last written to disk.
    saved_to: u64,
}

impl Session {
    fn new(id: String, name: SessionName, size: Size, live: Option<(Pid, AsyncFd<OwnedFd>)>) -> Self {
        let (pid, terminal) = live.map_or((None, None), |(pid, terminal)| (Some(pid), Some(Rc::new(terminal))));
        Self {
            id,
            name,
            started_at: now_ms(),
            pid,
            state: RefCell::new(State {
                ring: Ring::new(RING_BYTES, 0),
                screen: Screen::new(size, 0),
                size,
                title: String::new(),
                input: VecDeque::new(),
                input_bytes: 0,
                clients: VecDeque::new(),
                viewers: BTreeMap::new(),
                next_viewer: 0,
                keystrokes: 0,
                last_output_at: now_ms(),
                saved_to: 0,
            }),
            terminal: RefCell::new(terminal),
            changes: watch::Sender::new(0),
            progress: Notify::new(),
            typed: Notify::new(),
            end: Cell::new(None),
        }
    }

    /// An ended session as it was left on disk.
    fn restored(name: SessionName, saved: Saved, output: &[u8]) -> Self {
        let mut session = Self::new(saved.id, name, Size { columns: saved.columns, rows: saved.rows }.clamped(), None);
        session.started_at = saved.started_at;
        session.end.set(Some(End::Exited(saved.exited.unwrap_or(store::KILLED_WITH_THE_SANDBOX))));
        {
            let mut state = session.state.borrow_mut();
            state.ring = Ring::new(output.len().max(1), saved.start);
            state.ring.push(output);
            state.screen = Screen::new(state.size, saved.start);
            state.title = saved.title;
            state.last_output_at = saved.last_output_at;
            state.saved_to = state.ring.end();
            let State { ring, screen, .. } = &mut *state;
            screen.catch_up(ring);
        }
        session
    }

    pub fn ended(&self) -> bool {
        self.end.get().is_some()
    }

    pub fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// The exit code, once there is one.
    pub fn exited(&self) -> Option<i32> {
        match self.end.get() {
            Some(End::Exited(code)) => Some(code),
            Some(End::Deleted | End::Stopping) => Some(129),
            None => None,
        }
    }

    /// Sends the viewers away and takes no more input. The first end stays.
    fn finish(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
        }
        self.notify_viewers();
        self.typed.notify_one();
    }

    fn notify_viewers(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes input of a browser tab: `seq` is the offset of `data` in all that it ever typed into this session. What was taken before is
    /// dropped. Answers up to where input is now taken.
    ///
    /// # Errors
    /// [`InputError`]; nothing was taken.
    pub fn input(&self, client: &str, seq: u64, data: &Bytes) -> Result<u64, InputError> {
        let mut state = self.state.borrow_mut();
        let known = state.clients.iter().position(|(id, _)| id == client);
        // A tab that is not known (any more) says itself where it stands.
        let taken = known.map_or(seq, |at| state.clients[at].1);
        if seq > taken {
            return Err(InputError::Gap { expected: taken });
        }
        let duplicate = usize::try_from(taken - seq).unwrap_or(usize::MAX).min(data.len());
        let fresh = data.slice(duplicate..);
        let now = taken + fresh.len() as u64;
        state.push_input(fresh)?;
        if let Some(at) = known {
            state.clients.remove(at);
        }
        state.clients.push_back((client.to_owned(), now));
        if state.clients.len() > CLIENTS {
            state.clients.pop_front();
        }
        self.typed.notify_one();
        Ok(now)
    }

    /// Takes input of a viewer that does not count.
    ///
    /// # Errors
    /// Too much waits already.
    pub fn plain_input(&self, data: Bytes) -> Result<(), InputError> {
        self.state.borrow_mut().push_input(data)?;
        self.typed.notify_one();
        Ok(())
    }

    /// How much input of this browser tab was taken.
    pub fn input_ack(&self, client: &str) -> u64 {
        self.state.borrow().clients.iter().find(|(id, _)| id == client).map_or(0, |(_, taken)| *taken)
    }

    pub fn size(&self) -> Size {
        self.state.borrow().size
    }

    pub fn title(&self) -> String {
        self.state.borrow().title.clone()
    }

    pub fn output_end(&self) -> u64 {
        self.state.borrow().ring.end()
    }

    /// The oldest offset that is still here.
    pub fn output_start(&self) -> u64 {
        self.state.borrow().ring.start()
    }

    /// Builds something of at most `limit` bytes of output from `offset`, which lie in two pieces where the ring wraps.
    pub fn with_output<T>(&self, offset: u64, limit: usize, build: impl FnOnce(&[u8], &[u8]) -> T) -> T {
        let state = self.state.borrow();
        let (first, second) = state.ring.read(offset, limit);
        build(first, second)
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub fn info(&self) -> SessionInfo {
        let folder = self.pid.filter(|_| !self.ended()).map(|pid| format!("/proc/{}/cwd", pid.as_raw_nonzero()));
        let cwd = folder.and_then(|link| std::fs::read_link(link).ok()).map(|path| path.to_string_lossy().into_owned());
        let state = self.state.borrow();
        SessionInfo {
            id: self.id.clone(),
            name: self.name.to_string(),
            title: state.title.clone(),
            cwd,
            columns: state.size.columns,
            rows: state.size.rows,
            bytes: state.ring.end(),
            attached: state.viewers.len(),
            last_output_at: state.last_output_at,
            started_at: self.started_at,
            exited: self.exited(),
            busy: self.busy(),
        }
    }

    /// Whether nobody has looked at it yet, and nothing runs in it.
    fn untouched(&self) -> bool {
        !self.ended() && !self.busy() && self.state.borrow().next_viewer == 0
    }

    fn busy(&self) -> bool {
        let terminal = self.terminal.borrow();
        let foreground = terminal.as_ref().and_then(|terminal| tcgetpgrp(terminal.get_ref()).ok());
        !self.ended() && foreground.is_some() && foreground != self.pid
    }

    /// The tail of the output for the disk, where there is more than was last written or `always`.
    fn unsaved(&self, always: bool) -> Option<(Saved, Vec<u8>)> {
        let mut state = self.state.borrow_mut();
        let end = state.ring.end();
        if !always && state.saved_to == end {
            return None;
        }
        let start = end.saturating_sub(store::LOG_BYTES as u64).max(state.ring.start());
        let (first, second) = state.ring.read(start, store::LOG_BYTES);
        let output = [first, second].concat();
        state.saved_to = end;
        let saved = Saved {
            id: self.id.clone(),
            start,
            exited: self.exited(),
            started_at: self.started_at,
            last_output_at: state.last_output_at,
            title: state.title.clone(),
            columns: state.size.columns,
            rows: state.size.rows,
        };
        Some((saved, output))
    }
}

impl State {
    fn push_input(&mut self, data: Bytes) -> Result<(), InputError> {
        if self.input_bytes + data.len() > INPUT_BYTES {
            return Err(InputError::Full);
        }
        if !data.is_empty() {
            self.input_bytes += data.len();
            self.input.push_back(data);
        }
        Ok(())
    }

    /// Whether no viewer is a whole window behind.
    fn may_read(&self) -> bool {
        let end = self.ring.end();
        self.viewers.values().all(|viewer| end.saturating_sub(viewer.taken) < OUTPUT_WINDOW)
    }

    /// Brings screen and title up to the output.
    fn catch_up(&mut self) {
        self.screen.catch_up(&self.ring);
        if self.screen.title() != self.title {
            self.screen.title().clone_into(&mut self.title);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new("id".into(), SessionName::main(), Size::default(), None)
    }

    fn waiting(session: &Session) -> Vec<u8> {
        session.state.borrow().input.iter().flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn input_sent_twice_is_typed_once() {
        let session = session();
        assert_eq!(session.input("tab", 0, &"hello".into()), Ok(5));
        assert_eq!(session.input("tab", 0, &"hello".into()), Ok(5));
        assert_eq!(session.input("tab", 3, &"lo world".into()), Ok(11));
        assert_eq!(session.input("other", 0, &"!".into()), Ok(1));
        assert_eq!(waiting(&session), b"hello world!");
        assert_eq!((session.input_ack("tab"), session.input_ack("stranger")), (11, 0));
    }

    #[test]
    fn a_gap_in_the_input_is_refused() {
        let session = session();
        assert_eq!(session.input("tab", 0, &"ab".into()), Ok(2));
        assert_eq!(session.input("tab", 5, &"x".into()), Err(InputError::Gap { expected: 2 }));
        assert_eq!(waiting(&session), b"ab");
    }

    #[test]
    fn the_last_64_tabs_are_counted() {
        let session = session();
        for tab in 0..=CLIENTS {
            session.input(&tab.to_string(), 0, &"x".into()).unwrap();
        }
        assert_eq!((session.input_ack("0"), session.input_ack("1")), (0, 1));
    }
}
