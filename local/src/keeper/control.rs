//! The keeper's ear: `keeper.sock`, and the connection that its configuration came over.

use super::{
    accept,
    protocol::{Ask, Status},
};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};

/// What everyone who asks needs.
#[derive(Clone)]
pub struct Control {
    /// How the sandbox is.
    pub status: watch::Receiver<Status>,
    /// Where asks to stop go.
    pub stop: mpsc::Sender<Duration>,
}

impl Control {
    /// Serves everyone who comes.
    pub async fn listen(self, listener: UnixListener) {
        loop {
            let (stream, _) = accept::next(|| listener.accept()).await;
            let control = self.clone();
            tokio::spawn(async move { drop(control.serve(stream).await) });
        }
    }

    /// Serves one connection to its end.
    pub async fn serve(self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut status = self.status.clone();
        let mut watching = false;
        loop {
            tokio::select! {
                line = lines.next_line() => {
                    let Some(line) = line? else { return Ok(()) };
                    // What a newer control plane asks and this keeper does not know is not answered.
                    match serde_json::from_str(&line) {
                        Ok(Ask::Status) => say(&mut write, &mut status).await?,
                        Ok(Ask::Watch) => {
                            watching = true;
                            say(&mut write, &mut status).await?;
                        }
                        Ok(Ask::Stop { grace_ms }) => drop(self.stop.try_send(Duration::from_millis(grace_ms))),
                        Err(_) => {}
                    }
                }
                changed = status.changed(), if watching => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    say(&mut write, &mut status).await?;
                }
            }
        }
    }
}

async fn say(write: &mut (impl tokio::io::AsyncWrite + Unpin), status: &mut watch::Receiver<Status>) -> io::Result<()> {
    let mut line = serde_json::to_vec(&*status.borrow_and_update())?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// What a keeper that is about to end still has to say goes out before it does.
pub async fn settle(status: &watch::Sender<Status>) {
    for _ in 0..20 {
        if status.receiver_count() == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
}
