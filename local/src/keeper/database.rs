//! 127.0.0.1:5432 inside is the project's PostgreSQL: connections to it are carried to the server.

use super::{accept, log, protocol::Endpoint};
use std::{io, sync::Arc};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Connections at a time, over all listeners of a sandbox. A project's role may have twenty; the others are those that PostgreSQL is
/// about to refuse. Each costs the keeper two descriptors and 16 KiB.
pub const CONNECTIONS: usize = 100;

/// Serves for as long as the sandbox runs. Past the limit a connection is closed at once, and not left to wait for one that may
/// never end.
pub async fn run(listener: TcpListener, endpoint: Arc<Endpoint>, places: Arc<Semaphore>) {
    loop {
        let (inside, _) = accept::next(|| listener.accept()).await;
        let Ok(place) = places.clone().try_acquire_owned() else {
            log(&format!("more than {CONNECTIONS} connections to PostgreSQL: another was closed"));
            continue;
        };
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = carry(inside, &endpoint).await
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
