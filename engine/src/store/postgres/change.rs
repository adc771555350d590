//! Changes as they come: one connection that listens, and a channel to whoever asked.

use super::error::while_doing;
use crate::store::{Changed, StoreError};
use futures::stream::{BoxStream, StreamExt as _};
use model::{ProjectId, SandboxId, UserId};
use sqlx::{
    PgPool,
    postgres::{PgListener, PgNotification},
};
use std::time::Duration;
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::BroadcastStream;
use tracing::{debug, info, warn};
use uuid::Uuid;

/// What migrations/0003 and 0022 notify on.
const CHANNEL: &str = "sandbox";

/// How many changes a receiver may be behind before its stream ends: some seconds of a busy
/// installation.
const CHANGES: usize = 4096;

/// How often the connection is tried when nothing comes. A peer that vanished without a word is
/// noticed by this alone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long it may take to begin to listen: one whose peer says nothing is given up, and tried again.
const LISTENS: Duration = Duration::from_secs(5);

/// How long an answer to the heartbeat may take.
const HEARTBEAT_ANSWER: Duration = Duration::from_secs(5);

/// The longest pause between two tries to listen again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
enum Heard {
    Change(Changed),
    /// Changes were missed while nobody listened: read everything again.
    Gap,
}

/// The task that listens; ends with the last store that uses it.
#[derive(Debug)]
pub(super) struct Listener {
    heard: broadcast::Sender<Heard>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Listens from before this returns.
    pub(super) async fn start(pool: PgPool) -> Result<Self, StoreError> {
        let connection = listen(&pool).await.map_err(while_doing("listen for changes"))?;
        let heard = broadcast::channel(CHANGES).0;
        let task = tokio::spawn(run(pool, connection, heard.clone()));
        Ok(Self { heard, task })
    }

    pub(super) fn subscribe(&self) -> BoxStream<'static, Changed> {
        BroadcastStream::new(self.heard.subscribe())
            .map(|heard| match heard {
                Ok(Heard::Change(changed)) => Some(changed),
                Ok(Heard::Gap) | Err(_) => None,
            })
            .take_while(|changed| std::future::ready(changed.is_some()))
            .filter_map(std::future::ready)
            .boxed()
    }
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let listens = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    within(LISTENS, listens).await
}

async fn within<T>(time: Duration, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silent = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    timeout(time, answer).await.unwrap_or_else(silent)
}

async fn run(pool: PgPool, mut connection: PgListener, heard: broadcast::Sender<Heard>) {
    loop {
        let why = hear(&mut connection, &heard).await;
        drop(connection);
        if pool.is_closed() {
            return;
        }
        warn!("stopped hearing of changes, listening again: {why}");
        connection = listen_again(&pool).await;
        info!("hearing of changes again");
        // Only now: what a receiver reads after this, no change can slip past.
        let _ = heard.send(Heard::Gap);
    }
}

async fn listen_again(pool: &PgPool) -> PgListener {
    let mut pause = Duration::from_millis(100);
    loop {
        match listen(pool).await {
            Ok(connection) => return connection,
            Err(error) => debug!("failed to listen: {error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Passes on what comes, until the connection is lost; why it was.
async fn hear(connection: &mut PgListener, heard: &broadcast::Sender<Heard>) -> String {
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    loop {
        let next = tokio::select! {
            next = connection.try_recv() => Some(next),
            _ = heartbeat.tick() => None,
        };
        match next {
            Some(Ok(Some(notification))) => match parse(&notification) {
                Some(changed) => drop(heard.send(Heard::Change(changed))),
                None => warn!("failed to read a change: {:?}", notification.payload()),
            },
            Some(Ok(None)) => return "the connection was lost".to_owned(),
            Some(Err(error)) => return error.to_string(),
            None => match timeout(HEARTBEAT_ANSWER, sqlx::query("SELECT 1").execute(&mut *connection)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "no answer to a heartbeat".to_owned(),
            },
        }
    }
}

fn parse(notification: &PgNotification) -> Option<Changed> {
    let mut words = notification.payload().split(',');
    let mut id = || words.next()?.parse::<Uuid>().ok();
    let (owner, project, sandbox) = (UserId(id()?), ProjectId(id()?), SandboxId(id()?));
    Some(Changed { owner, project, sandbox, clone: words.next() == Some("clone") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_server_that_takes_connections_and_says_nothing_is_given_up() {
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("nobody");
        let pool = PgPoolOptions::new().connect_lazy_with(options);
        // The pool itself would wait for half a minute.
        let given_up = timeout(LISTENS * 3, listen(&pool)).await.unwrap().err();
        assert!(matches!(given_up, Some(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut));
    }
}
