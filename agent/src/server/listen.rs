//! Where the agent listens, and the connections it takes.

use std::{rc::Rc, time::Duration};

use anyhow::Context;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    task::spawn_local,
    time::sleep,
};

use super::{Agent, config::Config, raw, router};

/// What a listener lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Every route.
    All,
    /// ttyd, and nothing else.
    Tty,
}

pub struct Listeners {
    unix: Option<UnixListener>,
    tcp: Vec<(TcpListener, Door)>,
}

impl Listeners {
    /// # Errors
    /// The descriptor is no listening Unix socket, or an address is taken.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let mut unix = None;
        if let Some(fd) = config.listen_fd {
            let inherited = raw::inherited(fd).with_context(|| format!("take over descriptor {fd}"))?;
            let listener = std::os::unix::net::UnixListener::from(inherited);
            listener.set_nonblocking(true).context("use the inherited socket")?;
            unix = Some(UnixListener::from_std(listener).context("listen on the inherited socket")?);
        }
        let mut tcp = Vec::new();
        for (address, door) in [(config.listen, Door::All), (config.tty_listen, Door::Tty)] {
            if let Some(address) = address {
                let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
                // Tests listen on port 0 and read this line.
                eprintln!("listening on {}", listener.local_addr().unwrap_or(address));
                tcp.push((listener, door));
            }
        }
        Ok(Self { unix, tcp })
    }

    /// Takes connections for as long as the agent runs.
    pub fn serve(self, agent: &Rc<Agent>) {
        if let Some(listener) = self.unix {
            let agent = agent.clone();
            spawn_local(async move {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => connection(&agent, Box::new(stream), Door::All),
                        Err(error) => after(&error).await,
                    }
                }
            });
        }
        for (listener, door) in self.tcp {
            let agent = agent.clone();
            spawn_local(async move {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            let _ = stream.set_nodelay(true);
                            connection(&agent, Box::new(stream), door);
                        }
                        Err(error) => after(&error).await,
                    }
                }
            });
        }
    }
}

/// A stream of bytes. Behind a pointer, because what serves one is large, and would be in the file once for each kind.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Answers what is asked on it, until it ends.
pub fn connection(agent: &Rc<Agent>, stream: Box<dyn Io>, door: Door) {
    let agent = agent.clone();
    spawn_local(async move {
        let service = service_fn(|request| router::route(agent.clone(), door, request));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(30))
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // A caller that goes away in the middle is no news.
        let _ = served.await;
    });
}

/// Waits a moment after a connection that could not be taken. Out of descriptors, mostly: trying again at once would only burn CPU.
pub async fn after(error: &std::io::Error) {
    eprintln!("cannot take a connection: {error}");
    sleep(Duration::from_millis(100)).await;
}
