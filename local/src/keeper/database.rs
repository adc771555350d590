//! 127.0.0.1:5432 inside is the project's PostgreSQL: connections to it are carried to the server.

use super::{accept, log, protocol::Endpoint};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

/// Connections at a time, over all listeners of a sandbox. A project's role may have twenty; the others are those that PostgreSQL is
/// about to refuse. Each costs the keeper two descriptors and 16 KiB.
const CONNECTIONS: usize = 24;
/// Of these, how many may be new. Who has not said yet who they are counts as nobody's role, and takes a place also of those that
/// PostgreSQL keeps for the control plane: so forty sandboxes would have to fill it together. A usual pool, of ten, opens at once.
const NEW: usize = 12;
/// For how long one is new: by then PostgreSQL has shown out who has not said who they are (`postgres::place`, after five).
const AGE: Duration = Duration::from_secs(6);

/// The places of a sandbox.
#[derive(Debug, Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    new: Arc<Semaphore>,
}

impl Places {
    /// All of them free.
    pub fn free() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS)), new: Arc::new(Semaphore::new(NEW)) }
    }
}

/// Serves for as long as the sandbox runs. Past the limit a connection is closed at once, and not left to wait for one that may
/// never end. One that is new beside too many waits for them to age.
pub async fn run(listener: TcpListener, endpoint: Arc<Endpoint>, places: Places) {
    loop {
        let (inside, _) = accept::next(|| listener.accept()).await;
        let Ok(place) = places.all.clone().try_acquire_owned() else {
            log(&format!("more than {CONNECTIONS} connections to PostgreSQL: another was closed"));
            continue;
        };
        let (endpoint, new) = (endpoint.clone(), places.new.clone());
        tokio::spawn(async move {
            let _place = place;
            let new = new.acquire_owned().await;
            let mut carried = std::pin::pin!(carry(inside, &endpoint));
            let done = match timeout(AGE, &mut carried).await {
                Ok(done) => done,
                Err(_) => {
                    drop(new);
                    carried.await
                }
            };
            if let Err(error) = done
                && !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected
                )
            {
                log(&format!("a connection to PostgreSQL failed: {error}"));
            }
        });
    }
}

async fn carry(mut inside: TcpStream, endpoint: &Endpoint) -> io::Result<()> {
    let _ = inside.set_nodelay(true);
    match endpoint {
        Endpoint::Unix(path) => {
            let mut server = crate::sockets::connect_async(path)?;
            copy_bidirectional(&mut inside, &mut server).await?;
        }
        Endpoint::Tcp(host, port) => {
            let mut server = TcpStream::connect((host.as_str(), *port)).await?;
            let _ = server.set_nodelay(true);
            copy_bidirectional(&mut inside, &mut server).await?;
        }
    }
    Ok(())
}
