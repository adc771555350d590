//! The addresses that are listened on, each or none: what keeps from one is said with a way on.

use crate::config::{Config, Listen};
use anyhow::{Result, anyhow};
use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};
use tokio::net::TcpListener;

/// How often another port is tried where any will do, and the one that was got is taken on the next
/// address.
const ANY_PORT: usize = 8;

/// Listens on every address of every place. Where any port will do (`localhost:0`), all addresses of the
/// place get the same.
pub(super) async fn listen(
    places: &[Listen],
    bind: impl AsyncFn(SocketAddr) -> io::Result<TcpListener>,
) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for place in places {
        let mut tries = 1..=ANY_PORT;
        let bound = loop {
            let last = tries.next().is_none_or(|n| n == ANY_PORT);
            match listen_on(place, &bind).await {
                Err((address, error)) if !last && place.any_port() && address.port() != 0 && taken(&error) => {}
                Err((address, error)) => return Err(cannot_listen(place, address, &error)),
                Ok(bound) => break bound,
            }
        };
        listeners.extend(bound);
    }
    Ok(listeners)
}

/// Listens on every port of `--preview-listen`, also those that are nobody's preview yet: another program there would be
/// posted the codes that open previews.
pub(super) async fn listen_for_previews(config: &Config) -> Result<Vec<(u16, TcpListener)>> {
    let (Some(ip), Some(ports)) = (config.preview_ip, &config.addresses.preview_ports) else { return Ok(Vec::new()) };
    let mut listeners = Vec::new();
    for port in ports.range.clone() {
        let address = SocketAddr::new(ip, port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            anyhow!("Cannot listen on {address} for previews: {error}. Choose an address of this machine and ports that are free with --preview-listen.")
        })?;
        listeners.push((port, listener));
    }
    Ok(listeners)
}

fn taken(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

/// A machine without IPv6, or with a kernel that has none of it.
fn no_such_address(error: &io::Error) -> bool {
    let unknown = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unknown)
}

async fn listen_on(
    place: &Listen,
    bind: &impl AsyncFn(SocketAddr) -> io::Result<TcpListener>,
) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut bound: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for address in &place.addresses {
        let port = bound.first().and_then(|first| first.local_addr().ok()).map_or(address.port(), |first| first.port());
        let address = SocketAddr::new(address.ip(), port);
        match bind(address).await {
            Ok(listener) => bound.push(listener),
            // One loopback is enough.
            Err(error) if no_such_address(&error) => missing = Some((address, error)),
            Err(error) => return Err((address, error)),
        }
    }
    match missing {
        Some(missing) if bound.is_empty() => Err(missing),
        _ => Ok(bound),
    }
}

fn cannot_listen(place: &Listen, address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let (port, ip) = (address.port(), address.ip());
    match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "Port {port} is taken on {ip}: another program, or another FullStack Agent, listens there. Stop it, or choose another \
             port: `--listen localhost:{other}`.",
            other = port.wrapping_add(1).max(1024),
        ),
        ErrorKind::PermissionDenied => {
            anyhow!("This user may not listen on port {port}. Choose one from 1024 on: `--listen localhost:4000`.")
        }
        _ => anyhow!(
            "Cannot listen on {address} (--listen {}): {error}. Choose another address: `--listen localhost:4000`.",
            place.text
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn place(text: &str) -> Listen {
        let port = text.rsplit_once(':').unwrap().1.parse().unwrap();
        let addresses = vec![SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))];
        Listen { text: text.to_owned(), addresses }
    }

    fn no_ipv6() -> io::Error {
        io::Error::from_raw_os_error(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    }

    #[tokio::test]
    async fn a_machine_without_ipv6_has_one_loopback() {
        let bind = async |address: SocketAddr| if address.is_ipv6() { Err(no_ipv6()) } else { TcpListener::bind(address).await };
        assert_eq!(listen(&[place("localhost:0")], bind).await.unwrap().len(), 1);
        let none = listen(&[place("localhost:0")], async |_| Err(no_ipv6())).await;
        assert!(none.unwrap_err().to_string().contains("Cannot listen on [::1]"), "with no address at all, it says so");
    }

    #[tokio::test]
    async fn any_port_is_the_same_on_every_address() {
        // Both loopbacks are this one here, so that the test needs no IPv6; the second port is taken once.
        let asked = std::sync::Mutex::new(Vec::new());
        let taken = AtomicUsize::new(0);
        let places = [place("localhost:0")];
        let listeners = listen(&places, async |address: SocketAddr| {
            asked.lock().unwrap().push(address);
            if address.is_ipv6() && taken.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(io::Error::from(ErrorKind::AddrInUse));
            }
            TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, if address.is_ipv6() { 0 } else { address.port() })).await
        });
        let listeners = listeners.await.unwrap();
        let asked = asked.into_inner().unwrap();
        assert_eq!((asked[0].port(), asked[2].port()), (0, 0), "any port, and any other when the first was taken");
        assert_eq!(asked[3].port(), listeners[0].local_addr().unwrap().port());
        assert_ne!(asked[3].port(), 0);
    }

    /// Who has the other loopback of the port would get half of the visitors.
    #[tokio::test]
    async fn a_port_that_is_taken_on_one_loopback_is_taken() {
        let first = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        first.set_nonblocking(true).unwrap();
        let port = first.local_addr().unwrap().port();
        for (kind, parts) in [
            (
                ErrorKind::AddrInUse,
                [format!("Port {port} is taken on ::1"), format!("`--listen localhost:{}`", port.max(1023) + 1)],
            ),
            (ErrorKind::PermissionDenied, [format!("may not listen on port {port}"), "`--listen localhost:4000`".to_owned()]),
        ] {
            let bind = async |address: SocketAddr| {
                if address.is_ipv6() { Err(io::Error::from(kind)) } else { TcpListener::from_std(first.try_clone()?) }
            };
            let refused = listen(&[place(&format!("localhost:{port}"))], bind).await.unwrap_err().to_string();
            for part in parts {
                assert!(refused.contains(&part), "{part}: {refused}");
            }
        }
    }
}
