//! A real agent in a home folder of its own, on an inherited Unix socket, and viewers of its sessions.

#![expect(dead_code, reason = "each test file uses its own part")]

use std::{
    future::Future,
    io::{BufRead, BufReader},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sandbox_agent::{
    client,
    protocol::{
        FSA_SUBPROTOCOL,
        frame::{ClientFrame, First, Hello, ServerFrame, Size},
    },
};
use secrecy::SecretString;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::CloseFrame},
};

pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Agent {
    pub process: Child,
    pub folder: tempfile::TempDir,
    pub home: PathBuf,
    pub token: SecretString,
    pub tty: String,
}

impl Agent {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags)
    }

    pub fn start_in(folder: tempfile::TempDir, flags: &[&str]) -> Self {
        let home = folder.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join(".bash_profile"), "PS1='$ '\n").unwrap();
        let _ = std::fs::remove_file(folder.path().join("socket"));
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let mut command = Command::new("/bin/sh");
        // Descriptors that tests hand on are closed on exec; this one comes as standard input.
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 </dev/null", env!("CARGO_BIN_EXE_sandbox-agent"), "--listen-fd", "3"]);
        command.arg("--home").arg(&home).args(["--tty-listen", "127.0.0.1:0"]).args(flags);
        command.env("FSA_AGENT_TOKEN", "secret token").env("PS1", "$ ").env("HISTFILE", "/dev/null");
        command.stdin(Stdio::from(OwnedFd::from(listener))).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let tty = lines.find_map(|line| Some(line.unwrap().strip_prefix("listening on ")?.to_owned())).unwrap();
        std::thread::spawn(move || lines.for_each(|line| eprintln!("agent: {}", line.unwrap_or_default())));
        Self { process, folder, home, token: "secret token".to_owned().into(), tty }
    }

    pub async fn io(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("socket")).await.unwrap()
    }

    pub async fn exec(&self, script: &str) -> client::Finished {
        let ask = sandbox_agent::protocol::http::ExecRequest {
            command: vec!["bash".into(), "-c".into(), script.into()],
            ..Default::default()
        };
        client::exec_to_end(self.io().await, &self.token, &ask, usize::MAX).await.unwrap()
    }

    pub async fn viewer(&self, query: &str, tab: &str, size: (u16, u16)) -> Viewer {
        let path = format!("/ws?{query}");
        let mut socket = client::websocket(self.io().await, &self.token, &path, FSA_SUBPROTOCOL).await.unwrap();
        let first = First { columns: size.0, rows: size.1, client: tab.into(), auth_token: None };
        socket.send(Message::Binary(ClientFrame::First(first).encode())).await.unwrap();
        let hello = match next(&mut socket).await {
            Said::Frame(ServerFrame::Hello(hello)) => hello,
            other => panic!("no hello but {other:?}"),
        };
        Viewer { socket, at: hello.start, hello, output: Vec::new(), typed: 0, events: Vec::new(), acks: true }
    }

    pub fn stop(mut self) -> tempfile::TempDir {
        self.kill();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    fn kill(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug)]
pub enum Said {
    Frame(ServerFrame),
    Closed(Option<CloseFrame>),
}

async fn next(socket: &mut WebSocketStream<UnixStream>) -> Said {
    loop {
        match timeout(DEADLINE, socket.next()).await.expect("the agent says nothing") {
            Some(Ok(Message::Binary(frame))) => return Said::Frame(ServerFrame::decode(frame).unwrap()),
            Some(Ok(Message::Close(frame))) => return Said::Closed(frame),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Said::Closed(None),
        }
    }
}

/// A tab of a browser.
pub struct Viewer {
    pub socket: WebSocketStream<UnixStream>,
    pub hello: Hello,
    /// Offset of the next byte.
    pub at: u64,
    pub output: Vec<u8>,
    pub typed: u64,
    /// All but output.
    pub events: Vec<ServerFrame>,
    /// Whether it says what it consumed.
    pub acks: bool,
}

impl Viewer {
    pub async fn type_text(&mut self, text: &str) {
        let frame = ClientFrame::Input { seq: self.typed, data: Bytes::copy_from_slice(text.as_bytes()) };
        self.typed += text.len() as u64;
        self.send(frame).await;
    }

    pub async fn send(&mut self, frame: ClientFrame) {
        self.socket.send(Message::Binary(frame.encode())).await.unwrap();
    }

    /// Takes one frame; none at the close.
    pub async fn step(&mut self) -> Result<(), Option<CloseFrame>> {
        match next(&mut self.socket).await {
            Said::Frame(ServerFrame::Output { offset, data }) => {
                assert_eq!(offset, self.at, "output goes on where it was");
                self.at += data.len() as u64;
                self.output.extend_from_slice(&data);
                if self.acks {
                    self.send(ClientFrame::Consumed(self.at)).await;
                }
            }
            Said::Frame(frame) => {
                if let ServerFrame::Repaint { offset, data } = &frame {
                    assert_eq!(*offset, self.at);
                    self.output.extend_from_slice(data);
                }
                self.events.push(frame);
            }
            Said::Closed(frame) => return Err(frame),
        }
        Ok(())
    }

    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < deadline, "never: {what}; got {:?} {:?}", self.text(), self.events);
            self.step().await.unwrap_or_else(|close| panic!("closed before {what}: {close:?}"));
        }
    }

    pub async fn until_text(&mut self, text: &str) {
        self.until(text, |viewer| viewer.text().contains(text)).await;
    }

    /// The close, after everything before it.
    pub async fn until_closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Err(close) = self.step().await {
                return close;
            }
        }
    }

    pub fn text(&self) -> String {
        let tail = self.output.len().saturating_sub(100_000);
        String::from_utf8_lossy(&self.output[tail..]).into_owned()
    }

    /// What a terminal of this size shows.
    pub fn screen(&self, size: Size) -> String {
        let mut parser = vt100::Parser::new(size.rows.try_into().unwrap(), size.columns.try_into().unwrap(), 0);
        parser.process(&self.output);
        parser.screen().contents()
    }
}

/// Asks again until it holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, within: Duration, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A test cannot run here. Under `FSA_REQUIRE=1` that is a failure; else it says so and counts as passed.
pub fn skip(missing: &str) {
    assert!(std::env::var("FSA_REQUIRE").as_deref() != Ok("1"), "FSA_REQUIRE=1, and this machine lacks: {missing}");
    println!("skipped: {missing}");
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}
