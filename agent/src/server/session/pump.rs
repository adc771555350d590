//! What moves bytes between the pseudo-terminal and the session.

use std::{io, os::fd::OwnedFd, rc::Rc, time::Duration};

use bytes::Buf;
use rustix::io::{Errno, read, write};
use tokio::{io::unix::AsyncFd, time::timeout};

use super::{End, SCREEN_LAG, Session};
use crate::server::{children::Child, clock::now_ms};

/// Most that is read before viewers get their turn.
const TURN_BYTES: usize = 64 * 1024;

/// Output has paused for this long: time for the screen and the title.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a shell that ended may still have output under way in the kernel, and how much of it is read. Its background jobs may go on
/// writing, and have no terminal any more.
const LAST_WORDS: Duration = Duration::from_millis(60);
const LAST_BYTES: usize = 256 * 1024;

type Terminal = Rc<AsyncFd<OwnedFd>>;

/// What one turn of reading came to, with the bytes it read.
enum Turn {
    /// There may be more.
    More(usize),
    /// That was all for now.
    Drained(usize),
    /// Nobody has the terminal open.
    Closed,
}

impl Session {
    /// Runs the session until its shell has ended and its last output is read.
    pub(super) async fn run(self: Rc<Self>, mut child: Child) {
        let Some(terminal) = self.terminal.borrow().clone() else { return };
        let exit = tokio::select! {
            exit = child.exit() => exit,
            () = self.read_all(&terminal) => child.exit().await,
            never = self.write_all(&terminal) => match never {},
        };
        let mut left = LAST_BYTES;
        while left > 0 {
            let Ok(Ok(mut ready)) = timeout(LAST_WORDS, terminal.readable()).await else { break };
            match self.read_turn(&terminal, TURN_BYTES.min(left)) {
                Turn::Closed => break,
                Turn::More(count) => left = left.saturating_sub(count),
                Turn::Drained(count) => {
                    ready.clear_ready();
                    left = left.saturating_sub(count);
                }
            }
        }
        self.state.borrow_mut().catch_up();
        self.terminal.take();
        self.finish(End::Exited(exit.shell_code()));
    }

    /// Reads until nobody has the terminal open.
    async fn read_all(&self, terminal: &Terminal) {
        loop {
            while !self.state.borrow().may_read() {
                self.progress.notified().await;
            }
            let behind = {
                let state = self.state.borrow();
                state.screen.at() < state.ring.end()
            };
            let ready = if behind {
                let Ok(ready) = timeout(PAUSE, terminal.readable()).await else {
                    self.state.borrow_mut().catch_up();
                    self.notify_viewers();
                    continue;
                };
                ready
            } else {
                terminal.readable().await
            };
            let Ok(mut ready) = ready else { return };
            match self.read_turn(terminal, TURN_BYTES) {
                Turn::Closed => return,
                Turn::Drained(_) => ready.clear_ready(),
                Turn::More(_) => {}
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads what is there, at least `limit` bytes if there are as many.
    fn read_turn(&self, terminal: &Terminal, limit: usize) -> Turn {
        let mut buffer = [0; 4096];
        let mut total = 0;
        let mut turn: fn(usize) -> Turn = Turn::More;
        let mut state = self.state.borrow_mut();
        while total < limit {
            match read(terminal.get_ref(), &mut buffer) {
                // Linux says EIO once the last holder of the other end is gone.
                Ok(0) | Err(Errno::IO) => {
                    // With bytes read before it, the next turn says so.
                    if total == 0 {
                        return Turn::Closed;
                    }
                    break;
                }
                Ok(count) => {
                    state.ring.push(&buffer[..count]);
                    total += count;
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    turn = Turn::Drained;
                    break;
                }
            }
        }
        if total > 0 {
            state.last_output_at = now_ms();
            if state.ring.end() - state.screen.at() > SCREEN_LAG {
                state.catch_up();
            }
            drop(state);
            self.notify_viewers();
        }
        turn(total)
    }

    async fn write_all(&self, terminal: &Terminal) -> std::convert::Infallible {
        loop {
            let next = self.state.borrow_mut().input.pop_front();
            let Some(mut piece) = next else {
                self.typed.notified().await;
                continue;
            };
            while !piece.is_empty() {
                let written = terminal
                    .writable()
                    .await
                    .map(|mut ready| ready.try_io(|terminal| write(terminal.get_ref(), &piece).map_err(io::Error::from)));
                match written {
                    Ok(Ok(Ok(count))) => {
                        piece.advance(count);
                        self.state.borrow_mut().input_bytes -= count;
                    }
                    Ok(Err(_would_block)) => {}
                    // The terminal is gone; the end comes by another way.
                    Ok(Ok(Err(_))) | Err(_) => {
                        self.state.borrow_mut().input_bytes -= piece.len();
                        break;
                    }
                }
            }
        }
    }
}
