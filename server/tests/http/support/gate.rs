//! A door before PostgreSQL that a test can shut: a Unix socket, passed on to the real server.

use sqlx::postgres::PgConnectOptions;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixListener, UnixStream},
    sync::watch,
};

pub struct Gate {
    folder: Arc<TempDir>,
    open: watch::Sender<Way>,
}

/// How far a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Through,
    Out,
    /// Connected to nobody who says a word.
    Silence,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Gate {
    /// Open, before this server.
    pub fn before(server: &PgConnectOptions) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let (open, seen) = watch::channel(Way::Through);
        let server = server.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut seen) = (server.clone(), seen.clone());
                tokio::spawn(async move {
                    // A server that takes no more now looks like one that hangs up.
                    let Ok(mut real) = connect(&server).await else { return };
                    loop {
                        let way = *seen.borrow_and_update();
                        match way {
                            Way::Out => return,
                            Way::Silence => drop(seen.changed().await),
                            Way::Through => tokio::select! {
                                _ = tokio::io::copy_bidirectional(&mut client, &mut real) => return,
                                _ = seen.changed() => {}
                            },
                        }
                    }
                });
            }
        });
        Self { folder, open }
    }

    /// The server, through this door.
    pub fn through(&self, server: &PgConnectOptions) -> PgConnectOptions {
        server.clone().socket(self.folder.path()).port(5432)
    }

    /// Shut: whoever is inside is put out, and nobody comes in.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(if open { Way::Through } else { Way::Out });
    }

    /// Whoever is inside, or comes in, hears nothing any more.
    pub fn say_nothing(&self) {
        self.open.send_replace(Way::Silence);
    }
}

/// Waits a little where the real server has no room in its queue: under load, connections come faster
/// than it forks.
async fn connect(server: &PgConnectOptions) -> std::io::Result<Box<dyn Io>> {
    let mut tries = 0..100;
    loop {
        let connected: std::io::Result<Box<dyn Io>> = match server.get_socket() {
            Some(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                UnixStream::connect(path).await.map(|stream| Box::new(stream) as _)
            }
            None => TcpStream::connect((server.get_host(), server.get_port())).await.map(|stream| Box::new(stream) as _),
        };
        match connected {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && tries.next().is_some() => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            connected => return connected,
        }
    }
}
