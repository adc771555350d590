//! `POST /v1/exec`: one command to its end, with its output as it comes and its true exit code.

use std::{
    cell::Cell,
    io,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    rc::Rc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::StatusCode;
use rustix::process::Pid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    sync::mpsc,
    task::spawn_local,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Agent,
    body::{Answer, line, lines},
    children::{Child, Exit},
    config::is_within,
    error::Error,
    raw,
};
use crate::protocol::http::{ExecExit, ExecLine, ExecRequest, OutputStream};

/// How long output may still come after the command ended, from what it left in the background.
const LINGER: Duration = Duration::from_millis(250);
/// How long such output is read at most, where it goes on and on; while a line waits for the caller does not count. What the
/// command itself wrote is in the pipes by then, and read within milliseconds.
const READ_ON: Duration = Duration::from_secs(5);
/// Between SIGTERM and SIGKILL, at the time limit and where the caller is gone: git takes its locks away meanwhile.
const GRACE: Duration = Duration::from_secs(2);
/// The most that is read of a pipe at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Starts the command and answers with its lines. A caller that goes away ends its process group, as the time limit does.
///
/// # Errors
/// `400 Bad Request`: no command, no such program or folder, shells cannot be left there.
pub fn run(agent: &Rc<Agent>, ask: ExecRequest) -> Result<Answer, Error> {
    let (program, arguments) = ask.command.split_first().ok_or_else(|| Error::bad_request("no-command", "command is empty."))?;
    if let Some(folder) = ask.shells_in.as_ref().filter(|folder| !is_within(folder)) {
        return Err(Error::bad_request("bad-folder", format!("{folder:?} is no folder within the home folder.")));
    }
    let folder = agent.config.home.join(ask.cwd.as_deref().unwrap_or_default());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&folder);
    agent.config.environment(&mut command);
    for (name, value) in &ask.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Error::bad_request("bad-environment", format!("{name:?} cannot be set.")));
        }
        command.env(name, value);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if ask.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    raw::own_session(&mut command);
    let take = |child: &mut std::process::Child| -> (Option<OwnedFd>, Option<OwnedFd>, Option<OwnedFd>) {
        (child.stdin.take().map(Into::into), child.stdout.take().map(Into::into), child.stderr.take().map(Into::into))
    };
    let started = agent.children.spawn(&mut command, take);
    let (child, (stdin, stdout, stderr)) = started.map_err(|error| {
        let (code, status) = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => {
                ("cannot-start", StatusCode::BAD_REQUEST)
            }
            _ => ("cannot-start", StatusCode::INTERNAL_SERVER_ERROR),
        };
        Error::new(status, code, format!("{program} does not start in {}: {error}.", folder.display()))
    })?;
    // Before anything else has its turn: over the disk limit this is how space is freed.
    agent.disk.started(child.pid);

    let (sender, receiver) = mpsc::channel(4);
    // Its own task: it ends by itself once nobody reads.
    spawn_local(feed(stdin, ask.stdin.unwrap_or_default()));
    let deadline = ask.timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let running = Running { child, stdout: receiving(stdout), stderr: receiving(stderr), deadline, shells_in: ask.shells_in };
    spawn_local(running.follow(agent.clone(), sender));
    Ok(lines(receiver))
}

/// A command that was started, with what is to be read of it.
struct Running {
    child: Child,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    deadline: Option<Instant>,
    shells_in: Option<String>,
}

impl Running {
    /// Tells its output and its end.
    async fn follow(mut self, agent: Rc<Agent>, to: mpsc::Sender<io::Result<Bytes>>) {
        let pid = self.child.pid;
        let exit = tokio::select! {
            exit = work(&mut self.child, &mut self.stdout, &mut self.stderr, &to) => Some(exit),
            () = over(self.deadline) => None,
            () = to.closed() => None,
        };
        let Some(exit) = exit else {
            // Its own task: the answer waits for nothing any more.
            spawn_local(end(agent, pid, self.stdout, self.stderr));
            // A caller that is gone does not hear it.
            let _ = to.send(Ok(line(&ExecLine::Exit { exit: ExecExit::TimedOut(true) }))).await;
            return;
        };
        agent.disk.ended(pid);
        let exit = match exit {
            Exit::Code(code) => ExecExit::Code(code),
            Exit::Signal(signal) => ExecExit::Signal(signal),
        };
        if let (ExecExit::Code(0), Some(folder)) = (exit, self.shells_in)
            && let Err(error) = agent.sessions.start_in(&folder).await
        {
            eprintln!("shells do not start in {folder}: {error}");
        }
        let _ = to.send(Ok(line(&ExecLine::Exit { exit }))).await;
    }
}

/// Tells the output to its end, which is that of the command.
async fn work(
    child: &mut Child,
    stdout: &mut Option<pipe::Receiver>,
    stderr: &mut Option<pipe::Receiver>,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> Exit {
    let flow = Flow::default();
    let output = async {
        tokio::join!(forward(stdout, OutputStream::Stdout, to, &flow), forward(stderr, OutputStream::Stderr, to, &flow));
    };
    tokio::pin!(output);
    tokio::select! {
        exit = child.exit() => {
            // A slow caller gets everything; only a pipe that somebody else holds open is not waited for, nor read for ever.
            let (ended, waited) = (Instant::now(), flow.waited());
            loop {
                let before = flow.read.get();
                if timeout(LINGER, &mut output).await.is_ok() || (flow.read.get() == before && flow.sending.get() == 0) {
                    break exit;
                }
                if ended.elapsed().saturating_sub(flow.waited().saturating_sub(waited)) >= READ_ON {
                    break exit;
                }
            }
        }
        () = &mut output => child.exit().await,
    }
}

async fn over(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Ends a command that nobody waits for any more. What it still says is read, so that saying it holds up nothing, and told to nobody.
async fn end(agent: Rc<Agent>, pid: Pid, mut stdout: Option<pipe::Receiver>, mut stderr: Option<pipe::Receiver>) {
    let unheard = async {
        tokio::join!(drain(&mut stdout), drain(&mut stderr));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = agent.children.end_group(pid, GRACE) => {}
        () = unheard => {}
    }
    agent.disk.ended(pid);
}

fn receiving(pipe: Option<OwnedFd>) -> Option<pipe::Receiver> {
    pipe.and_then(|pipe| pipe::Receiver::from_owned_fd(pipe).ok())
}

async fn drain(pipe: &mut Option<pipe::Receiver>) {
    let Some(pipe) = pipe else { return };
    let mut buffer = vec![0; PIECE_BYTES];
    while pipe.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

async fn feed(stdin: Option<OwnedFd>, input: String) {
    let Some(Ok(mut stdin)) = stdin.map(pipe::Sender::from_owned_fd) else { return };
    // A command that does not read to the end is none of our business.
    let _ = stdin.write_all(input.as_bytes()).await;
}

/// How the output of one command goes.
#[derive(Default)]
struct Flow {
    /// Reads so far.
    read: Cell<u64>,
    /// Lines that wait for the caller.
    sending: Cell<u32>,
    /// Since when there is one.
    since: Cell<Option<Instant>>,
    /// For how long there was one before.
    before: Cell<Duration>,
}

impl Flow {
    fn sends(&self) {
        if self.sending.replace(self.sending.get() + 1) == 0 {
            self.since.set(Some(Instant::now()));
        }
    }

    fn sent(&self) {
        self.sending.set(self.sending.get() - 1);
        if self.sending.get() == 0 {
            self.before.set(self.waited());
            self.since.set(None);
        }
    }

    /// For how long the caller was waited for.
    fn waited(&self) -> Duration {
        self.before.get() + self.since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

async fn forward(pipe: &mut Option<pipe::Receiver>, stream: OutputStream, to: &mpsc::Sender<io::Result<Bytes>>, flow: &Flow) {
    let Some(pipe) = pipe else { return };
    let mut text = Text::default();
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(count) = pipe.read(&mut buffer).await {
        flow.read.set(flow.read.get() + 1);
        let said = if count == 0 { text.rest() } else { text.push(&buffer[..count]) };
        if let Some(said) = said {
            flow.sends();
            let sent = to.send(Ok(line(&said.line(stream)))).await;
            flow.sent();
            if sent.is_err() {
                return;
            }
        }
        if count == 0 {
            return;
        }
    }
}

/// Puts characters together that two reads cut apart.
#[derive(Default)]
struct Text {
    held: Vec<u8>,
}

/// Bytes as a line carries them.
#[derive(Debug, PartialEq, Eq)]
enum Chunk {
    Text(String),
    Binary(Vec<u8>),
}

impl Chunk {
    fn line(self, stream: OutputStream) -> ExecLine {
        match self {
            Self::Text(data) => ExecLine::Text { stream, data },
            Self::Binary(bytes) => ExecLine::Binary { stream, base64: STANDARD.encode(bytes) },
        }
    }
}

impl Text {
    fn push(&mut self, bytes: &[u8]) -> Option<Chunk> {
        self.held.extend_from_slice(bytes);
        let cut = match std::str::from_utf8(&self.held) {
            Ok(_) => self.held.len(),
            // The end of the bytes cuts a character: that much waits.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.held.len(),
        };
        let later = self.held.split_off(cut);
        let now = std::mem::replace(&mut self.held, later);
        (!now.is_empty()).then(|| String::from_utf8(now).map_or_else(|error| Chunk::Binary(error.into_bytes()), Chunk::Text))
    }

    fn rest(&mut self) -> Option<Chunk> {
        (!self.held.is_empty()).then(|| Chunk::Binary(std::mem::take(&mut self.held)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_stays_text_wherever_it_is_cut(text in ".{0,40}", cuts in proptest::collection::vec(1usize..5, 0..40)) {
            let mut joined = String::new();
            let mut assembler = Text::default();
            let mut bytes = text.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = bytes.split_at(cut.min(bytes.len()));
                bytes = later;
                match assembler.push(now) {
                    Some(Chunk::Text(text)) => joined += &text,
                    Some(Chunk::Binary(_)) => prop_assert!(false, "text became binary"),
                    None => {}
                }
            }
            prop_assert_eq!(assembler.rest(), None);
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn no_byte_is_lost(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10)) {
            let mut assembler = Text::default();
            let mut said: Vec<Option<Chunk>> = chunks.iter().map(|chunk| assembler.push(chunk)).collect();
            said.push(assembler.rest());
            let joined = said.into_iter().flatten().flat_map(|chunk| match chunk {
                Chunk::Text(text) => text.into_bytes(),
                Chunk::Binary(bytes) => bytes,
            });
            prop_assert_eq!(joined.collect::<Vec<u8>>(), chunks.concat());
        }
    }
}
