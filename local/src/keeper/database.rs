//! 127.0.0.1:5432 inside is the project's PostgreSQL: connections to it are carried to the server.

use super::{log, protocol::Endpoint};
use std::{io, sync::Arc};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Serves until the listener fails.
pub async fn run(listener: TcpListener, endpoint: Arc<Endpoint>) -> io::Result<()> {
    loop {
        let (inside, _) = listener.accept().await?;
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
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
