//! A connection to a keeper: what it says goes into the index, and its end is the run's end.

use super::{
    millis,
    place::{Places, ends_of},
};
use crate::keeper::protocol::{Ask, State, Status};
use model::SandboxId;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::mpsc,
    time::MissedTickBehavior,
};

/// How long a keeper may take to end beyond what it gives its sandbox.
const OVERDUE: Duration = Duration::from_secs(10);
/// What the first process of a killed keeper's sandbox gets to be gone. The kernel ends it with its
/// keeper; this is for a machine under load.
const LAST: Duration = Duration::from_secs(10);
/// After this, beyond the grace, a keeper that hung was ended by force and so was its sandbox; with a second for ourselves.
pub const BY_FORCE: Duration = OVERDUE.saturating_add(LAST).saturating_add(Duration::from_secs(1));

/// How often a keeper is asked whether it is still at work. Its sandbox may run without it, but for the network and the database, and so
/// may its agent: nothing else would tell.
const EVERY: Duration = Duration::from_secs(15);
/// This many answers in a row may be missing before it counts as silent. It is asked no more then, for what it does not read
/// would fill the line; it answers what it was asked when it goes on.
const MISSING: u32 = 2;

/// Follows a keeper that was just started to its end.
pub fn attach(places: Arc<Places>, id: SandboxId, folder: PathBuf, stream: UnixStream) {
    to_its_end(places, id, folder, stream, Last::default(), EVERY);
}

/// The same of one that was found, and connected to by its socket: also one that hangs, and has said nothing yet.
pub fn adopt(places: Arc<Places>, id: SandboxId, folder: PathBuf, stream: UnixStream) {
    let keeper = peer(&stream).ok().flatten();
    to_its_end(places, id, folder, stream, Last { keeper, ..Last::default() }, EVERY);
}

fn to_its_end(places: Arc<Places>, id: SandboxId, folder: PathBuf, stream: UnixStream, mut last: Last, every: Duration) {
    let (send, asks) = mpsc::unbounded_channel();
    places.linked(id, send);
    tokio::spawn(async move {
        if let Err(error) = follow(&places, id, stream, asks, &mut last, every).await
            // One that ends may close the line with something of ours unread in it.
            && !(last.asked || last.ended)
        {
            tracing::warn!(sandbox.id = %id, "lost its keeper: {error}");
        }
        last.wait().await;
        let ends = ends_of(&folder).await;
        places.gone(id, ends);
    });
}

async fn follow(
    places: &Places,
    id: SandboxId,
    stream: UnixStream,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    last: &mut Last,
    every: Duration,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    say(&mut write, &Ask::Watch).await?;
    let mut force_at: Option<Instant> = None;
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    // After a sleep of this machine one is enough.
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missing = 1;
    loop {
        let forced = force_at.unwrap_or_else(|| Instant::now() + OVERDUE);
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                missing = 0;
                match serde_json::from_str::<Status>(&line) {
                    Ok(status) => {
                        last.remember(&status);
                        places.heard(id, status);
                    }
                    // It lives all the same.
                    Err(error) => tracing::warn!(sandbox.id = %id, "a word of its keeper is passed over: {error}"),
                }
            }
            Some(ask) = asks.recv() => {
                // Once: asks are repeated until they are seen to be done, and a keeper that hangs reads none.
                if force_at.is_none() {
                    if let Ask::Stop { grace_ms } = ask {
                        last.asked = true;
                        force_at = Some(Instant::now() + Duration::from_millis(grace_ms) + OVERDUE);
                    }
                    say(&mut write, &ask).await?;
                }
            }
            _ = look.tick() => {
                if missing < MISSING {
                    missing += 1;
                    say(&mut write, &Ask::Status).await?;
                } else if places.silent(id) {
                    tracing::warn!(sandbox.id = %id, "its keeper does not answer");
                }
            }
            () = tokio::time::sleep_until(forced.into()), if force_at.is_some() => {
                tracing::warn!(sandbox.id = %id, "its keeper does not end: ended by force, with the sandbox");
                last.end_keeper();
                return Ok(());
            }
        }
    }
}

/// Ends a keeper that was connected to by its socket, and waits until it is gone. One that does not end
/// in time is ended by force; its sandbox ends with it.
///
/// # Errors
/// It could not be told, or runs all the same.
pub async fn stop(stream: UnixStream, grace: Duration) -> io::Result<()> {
    let keeper = match peer(&stream) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Ok(()),
        keeper => keeper?.map(|(_, keeper)| keeper),
    };
    let (read, mut write) = stream.into_split();
    let polite = async {
        say(&mut write, &Ask::Stop { grace_ms: millis(grace) }).await?;
        let mut lines = BufReader::new(read).lines();
        while lines.next_line().await?.is_some() {}
        io::Result::Ok(())
    };
    let told = tokio::time::timeout(grace + OVERDUE, polite).await;
    let Some(keeper) = keeper else { return told.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) };
    if !matches!(told, Ok(Ok(()))) {
        // It may have ended by now.
        let _ = pidfd_send_signal(&keeper, Signal::KILL);
    }
    let over = tokio::task::spawn_blocking(move || {
        let limit = Timespec::try_from(LAST).ok();
        poll(&mut [PollFd::new(&keeper, PollFlags::IN)], limit.as_ref()).is_ok_and(|ended| ended > 0)
    });
    if over.await.unwrap_or(false) { Ok(()) } else { Err(io::Error::new(io::ErrorKind::TimedOut, "its keeper does not end")) }
}

/// The keeper at the other end of its socket; none where this process cannot see it.
fn peer(stream: &UnixStream) -> io::Result<Option<(i32, OwnedFd)>> {
    let Some(pid) = stream.peer_cred()?.pid() else { return Ok(None) };
    let Some(process) = Pid::from_raw(pid) else { return Ok(None) };
    Ok(Some((pid, pidfd_open(process, PidfdFlags::empty())?)))
}

async fn say(write: &mut (impl tokio::io::AsyncWrite + Unpin), ask: &Ask) -> io::Result<()> {
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// The processes of a run, held so that their pids cannot become somebody else's.
#[derive(Default)]
struct Last {
    keeper: Option<(i32, OwnedFd)>,
    init: Option<(i32, OwnedFd)>,
    ended: bool,
    /// Whether it was asked to end.
    asked: bool,
}

impl Last {
    fn remember(&mut self, status: &Status) {
        self.ended = status.state == State::Ended;
        for (held, pid) in [(&mut self.keeper, Some(status.keeper_pid)), (&mut self.init, status.init_pid)] {
            if let Some(pid) = pid
                && held.as_ref().is_none_or(|(known, _)| *known != pid)
            {
                *held = Pid::from_raw(pid).and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok()).map(|fd| (pid, fd));
            }
        }
    }

    fn end_keeper(&self) {
        if let Some((_, keeper)) = &self.keeper {
            let _ = pidfd_send_signal(keeper, Signal::KILL);
        }
    }

    /// Until the run is wholly over, also where its keeper was killed: its processes end within [`LAST`].
    async fn wait(self) {
        let init = self.init.filter(|_| !self.ended).map(|(_, init)| init);
        let keeper = self.keeper.map(|(_, keeper)| keeper);
        let waited = tokio::task::spawn_blocking(move || {
            if let Some(init) = &init {
                let _ = pidfd_send_signal(init, Signal::KILL);
            }
            let deadline = Instant::now() + LAST;
            // The keeper too: it says its last word a moment before it is gone.
            for process in init.iter().chain(&keeper) {
                let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
                let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref());
            }
        });
        let _ = waited.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::protocol::tests::status;
    use engine::orchestrator::VolumeName;
    use model::CauseCode;
    use uuid::Uuid;

    #[tokio::test]
    async fn a_keeper_that_says_nothing_is_told_until_it_answers() {
        let (places, id) = (Arc::new(Places::default()), SandboxId(Uuid::from_u128(2)));
        let folder = tempfile::tempdir().unwrap();
        places.open(id, Vec::new(), VolumeName("volume".to_owned()));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (read, mut keeper) = theirs.into_split();
        let mut asked = BufReader::new(read).lines();
        let mut told = places.subscribe();
        to_its_end(places.clone(), id, folder.path().to_owned(), ours, Last::default(), Duration::from_millis(20));
        let mut answer = serde_json::to_vec(&status(id)).unwrap();
        answer.push(b'\n');
        let patience = Duration::from_secs(20);
        let mut until = async |well: bool| {
            let seen = async {
                while places.seen(id).network != well {
                    told.recv().await.unwrap();
                }
                places.seen(id)
            };
            tokio::time::timeout(patience, seen).await.unwrap()
        };
        for _ in 0..2 {
            assert!(asked.next_line().await.unwrap().is_some(), "it is asked");
            keeper.write_all(&answer).await.unwrap();
            let seen = until(true).await;
            assert_eq!((seen.instance.map(|run| run.id), seen.cause), (Some("run".to_owned()), None));
            let seen = until(false).await;
            assert_eq!(seen.cause.unwrap().code, CauseCode::KeeperFailed);
            assert!(seen.present && seen.instance.is_some(), "it is there all the same");
        }
        drop(keeper);
        drop(asked);
        assert!(places.gone_by(id, Instant::now() + patience).await, "the end of the line is the end of the run");
    }
}
