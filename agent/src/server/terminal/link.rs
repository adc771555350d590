//! One viewer's conversation, from the first frame to the close.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::Notify,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::dialect::{Dialect, Said};
use crate::{
    protocol::{
        OUTPUT_WINDOW, close,
        frame::{Ended, Hello, ServerFrame, Size, Status},
        name::SessionName,
        ttyd,
    },
    server::{
        Agent,
        session::{Attachment, End, InputError, OpenError, Viewer},
    },
};

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Outgoing = SplitSink<Socket, Message>;

/// Bytes of output in one frame.
const FRAME_BYTES: u64 = 64 * 1024;

/// How often a viewer is asked for a sign of life, and how long it may give none. A network that vanished sends no close.
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(65);

/// How long a viewer that takes nothing any more is still heard.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the address of the WebSocket asks for.
pub struct Wish {
    pub name: SessionName,
    pub offset: Option<u64>,
    pub id: Option<String>,
    pub restart: bool,
}

/// Why the connection ends, as the close frame says it.
struct Close {
    code: u16,
    reason: String,
}

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// What the two directions of one connection tell each other.
struct Link {
    dialect: Dialect,
    agent: Rc<Agent>,
    viewer: Viewer,
    client: Option<String>,
    /// Output is sent up to here; the viewer says it consumed up to there.
    sent: Cell<u64>,
    consumed: Cell<u64>,
    paused: Cell<bool>,
    /// Input taken that was not told yet.
    ack: Cell<Option<u64>>,
    heard: Cell<Instant>,
    nudge: Notify,
}

/// Talks with one viewer until either side has had enough. The session is never harmed.
pub async fn converse(agent: &Rc<Agent>, dialect: Dialect, admitted: bool, wish: Wish, socket: Socket) {
    let (sink, mut stream) = socket.split();
    let sink = RefCell::new(Some(sink));
    let end = talk(agent, dialect, admitted, wish, &sink, &mut stream).await;
    let (Some(close), Some(mut sink)) = (end, sink.take()) else { return };
    // A reason has at most 123 bytes in its frame.
    let reason: String = close.reason.chars().take(60).collect();
    let frame = CloseFrame { code: CloseCode::from(close.code), reason: reason.into() };
    let goodbye = async {
        sink.send(Message::Close(Some(frame))).await?;
        while let Some(Ok(_)) = stream.next().await {}
        Ok::<_, tungstenite::Error>(())
    };
    let _ = timeout(Duration::from_secs(2), goodbye).await;
}

/// None where the viewer is gone already.
async fn talk(
    agent: &Rc<Agent>,
    dialect: Dialect,
    admitted: bool,
    wish: Wish,
    sink: &RefCell<Option<Outgoing>>,
    stream: &mut SplitStream<Socket>,
) -> Option<Close> {
    let mut out = sink.take()?;
    if dialect == Dialect::Ttyd {
        // As ttyd does, before the first frame came.
        let sent = async {
            out.send(Message::Binary(ttyd::title(&wish.name.to_string()))).await?;
            out.send(Message::Binary(ttyd::preferences())).await
        };
        sent.await.ok()?;
    }
    let first = timeout(agent.config.first_frame, next_frame(stream)).await;
    sink.replace(Some(out));
    let (size, client, auth_token) = match first {
        Err(_) => return Some(Close::new(close::NO_FIRST_FRAME, "the first frame did not come in time")),
        Ok(None) => return None,
        Ok(Some(frame)) => match dialect.understand(frame) {
            Ok(Said::First { size, client, auth_token }) => (size, client, auth_token),
            Ok(_) => return Some(Close::new(close::BAD_FRAME, "the first frame must be a JSON object with columns and rows")),
            Err(error) => return Some(Close::new(close::BAD_FRAME, error.to_string())),
        },
    };
    if !admitted && !agent.token.admits_first_frame(auth_token.as_deref()) {
        return Some(Close::new(dialect.unauthorized(), "the token is missing or wrong"));
    }
    agent.touch();
    let opened = match agent.sessions.open(&wish.name, wish.id.as_deref(), wish.restart, size) {
        Ok(opened) => opened,
        Err(error @ OpenError::TooMany) => return Some(Close::new(1013, error.to_string())),
        Err(error @ OpenError::Shell(_)) => return Some(Close::new(1011, error.to_string())),
    };
    agent.shell_started.set(true);
    // An offset means nothing in another session.
    let offset = wish.offset.filter(|_| !opened.other);
    let (viewer, attachment) = Viewer::attach(opened.session, size, dialect == Dialect::Fsa, offset);
    let link = Link {
        dialect,
        agent: agent.clone(),
        viewer,
        client,
        sent: Cell::new(attachment.start),
        consumed: Cell::new(attachment.start),
        paused: Cell::new(false),
        ack: Cell::new(None),
        heard: Cell::new(Instant::now()),
        nudge: Notify::new(),
    };
    let mut out = sink.take()?;
    let close = tokio::select! {
        close = link.listen(stream) => close,
        close = async {
            let close = link.speak(&mut out, attachment, opened.other).await;
            if close.is_none() {
                // It takes nothing any more, but what it typed before it went away is still to be heard.
                sleep(LAST_WORDS).await;
            }
            close
        } => close,
        () = link.viewer.stuck(agent.config.stuck_viewer) =>
            Some(Close::new(close::RESUME_LATER, "this viewer took no output for too long; resume later")),
    };
    sink.replace(Some(out));
    close
}

impl Link {
    /// Hears the viewer out.
    async fn listen(&self, stream: &mut SplitStream<Socket>) -> Option<Close> {
        loop {
            let message = match stream.next().await? {
                Ok(message) => message,
                Err(tungstenite::Error::Protocol(error)) => return Some(Close::new(1002, error.to_string())),
                Err(tungstenite::Error::Capacity(_)) => return Some(Close::new(1009, "the message is too long")),
                Err(tungstenite::Error::Utf8(_)) => return Some(Close::new(1007, "the text is not UTF-8")),
                Err(_) => return None,
            };
            self.heard.set(Instant::now());
            let frame = match message {
                Message::Text(text) => text.into(),
                Message::Binary(bytes) => bytes,
                Message::Close(_) => return None,
                _ => continue,
            };
            let said = match self.dialect.understand(frame) {
                Ok(said) => said,
                Err(error) => return Some(Close::new(close::BAD_FRAME, error.to_string())),
            };
            if let Err(close) = self.take(said) {
                return Some(close);
            }
        }
    }

    fn take(&self, said: Said) -> Result<(), Close> {
        match said {
            // ttyd takes it again, as a resize.
            Said::First { size, .. } | Said::Resize(size) => self.viewer.resized(size),
            Said::Input { seq, data } => {
                // No bytes are a question whether anyone is there, not somebody typing.
                let typed = !data.is_empty();
                if typed {
                    self.agent.touch();
                }
                let session = &self.viewer.session;
                let taken = match (seq, &self.client) {
                    (Some(seq), Some(client)) => session.input(client, seq, &data).map(Some),
                    _ => session.plain_input(data).map(|()| None),
                };
                match taken {
                    Ok(None) => {}
                    Ok(ack) => {
                        self.ack.set(ack);
                        self.nudge.notify_one();
                    }
                    Err(InputError::Full) => {
                        return Err(Close::new(close::INPUT_FULL, "the program inside does not take more input"));
                    }
                    Err(InputError::Gap { expected }) => {
                        return Err(Close::new(close::BAD_FRAME, format!("input before this is missing, from {expected} on")));
                    }
                }
                if typed {
                    self.viewer.typed();
                }
            }
            Said::Pause => self.paused.set(true),
            Said::Resume => {
                self.paused.set(false);
                self.nudge.notify_one();
            }
            Said::Consumed(offset) => {
                let offset = offset.min(self.sent.get());
                if offset > self.consumed.get() {
                    self.consumed.set(offset);
                    self.viewer.took(offset);
                    self.nudge.notify_one();
                }
            }
        }
        Ok(())
    }

    /// Tells the viewer everything.
    async fn speak(&self, out: &mut Outgoing, attachment: Attachment, other: bool) -> Option<Close> {
        let mut changes = self.viewer.session.changes();
        let mut told = self.greet(out, &attachment, other).await.ok()?;
        let mut repaint = attachment.repaint.map(|paint| (attachment.replay_until, paint));
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            changes.mark_unchanged();
            self.tell_changes(out, &mut told).await.ok()?;
            let sent = self.sent.get();
            if let Some((offset, paint)) = repaint.take_if(|(offset, _)| *offset == sent) {
                send(out, self.dialect.repaint(offset, paint)).await.ok()?;
                continue;
            }
            let limit = self.may_send(repaint.as_ref().map(|(offset, _)| *offset));
            if limit > 0 {
                let build =
                    |first: &[u8], second: &[u8]| ((first.len() + second.len()) as u64, self.dialect.output(sent, first, second));
                let (length, frame) = self.viewer.session.with_output(sent, limit, build);
                if length > 0 {
                    self.sent.set(sent + length);
                    send(out, frame).await.ok()?;
                    if self.dialect == Dialect::Ttyd {
                        self.consumed.set(sent + length);
                        self.viewer.took(sent + length);
                    }
                    continue;
                }
            }
            if let Some(close) = self.ending(out).await {
                return close;
            }
            tokio::select! {
                changed = changes.changed() => changed.ok()?,
                () = self.nudge.notified() => {}
                _ = pings.tick() => {
                    if self.heard.get().elapsed() > SILENCE {
                        return Some(Close::new(close::RESUME_LATER, "no sign of life; resume later"));
                    }
                    out.send(Message::Ping(Bytes::new())).await.ok()?;
                }
            }
        }
    }

    /// How much output may go out now, at most up to `stop`.
    fn may_send(&self, stop: Option<u64>) -> usize {
        if self.paused.get() {
            return 0;
        }
        let sent = self.sent.get();
        let window = (self.consumed.get() + OUTPUT_WINDOW).saturating_sub(sent);
        let until_stop = stop.map_or(FRAME_BYTES, |stop| stop.saturating_sub(sent));
        usize::try_from(window.min(FRAME_BYTES).min(until_stop)).unwrap_or(0)
    }

    /// Some where the session has ended and all of its output is told.
    async fn ending(&self, out: &mut Outgoing) -> Option<Option<Close>> {
        let session = &self.viewer.session;
        match session.end()? {
            End::Deleted => Some(Some(Close::new(close::DELETED, "the session was deleted"))),
            End::Stopping => Some(Some(Close::new(1001, "the sandbox stops"))),
            End::Exited(_) if self.sent.get() < session.output_end() => None,
            End::Exited(code) => {
                if self.dialect == Dialect::Fsa {
                    let _ = send(out, ServerFrame::Ended(Ended { code }).encode()).await;
                }
                Some(Some(Close::new(1000, "the session ended")))
            }
        }
    }

    async fn greet(&self, out: &mut Outgoing, attachment: &Attachment, other: bool) -> Result<Told, tungstenite::Error> {
        let session = &self.viewer.session;
        let told = Told { size: session.size(), primary: self.viewer.primary(), title: String::new() };
        if self.dialect == Dialect::Fsa {
            let hello = Hello {
                session: session.id.clone(),
                name: session.name.to_string(),
                start: attachment.start,
                skipped: attachment.skipped,
                input_ack: self.client.as_deref().map_or(0, |client| session.input_ack(client)),
                columns: told.size.columns,
                rows: told.size.rows,
                replay_until: attachment.replay_until,
                primary: told.primary,
                exited: session.exited(),
                new_session: other,
            };
            send(out, ServerFrame::Hello(hello).encode()).await?;
            send(out, ServerFrame::Preferences(serde_json::json!({})).encode()).await?;
        }
        Ok(told)
    }

    async fn tell_changes(&self, out: &mut Outgoing, told: &mut Told) -> Result<(), tungstenite::Error> {
        let title = self.viewer.session.title();
        if title != told.title {
            send(out, self.dialect.title(&title)).await?;
            told.title = title;
        }
        if self.dialect == Dialect::Ttyd {
            return Ok(());
        }
        if let Some(ack) = self.ack.take() {
            send(out, ServerFrame::InputAck(ack).encode()).await?;
        }
        let (size, primary) = (self.viewer.session.size(), self.viewer.primary());
        if size != told.size {
            told.size = size;
            send(out, ServerFrame::Status(Status { columns: Some(size.columns), rows: Some(size.rows), primary: None }).encode())
                .await?;
        }
        if primary != told.primary {
            told.primary = primary;
            send(out, ServerFrame::Status(Status { primary: Some(primary), ..Status::default() }).encode()).await?;
        }
        Ok(())
    }
}

/// What the viewer was last told.
struct Told {
    size: Size,
    primary: bool,
    title: String,
}

async fn send(out: &mut Outgoing, frame: Bytes) -> Result<(), tungstenite::Error> {
    out.send(Message::Binary(frame)).await
}

/// The next frame that means something, or none at the end.
async fn next_frame(stream: &mut SplitStream<Socket>) -> Option<Bytes> {
    loop {
        match stream.next().await?.ok()? {
            Message::Text(text) => return Some(text.into()),
            Message::Binary(bytes) => return Some(bytes),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}
