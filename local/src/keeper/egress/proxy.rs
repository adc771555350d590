//! An HTTP proxy on the loopback inside: what there is where no network device can be had. It serves
//! programs that look at `HTTPS_PROXY`, and speaks `CONNECT` and requests with a whole address.

use super::filter::{Filter, Host, NoWay};
use crate::keeper::{accept, log};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Connections at a time, over all listeners of a sandbox. Each costs the keeper two descriptors and 16 KiB.
pub const CONNECTIONS: usize = 512;

/// The largest head of a request.
const HEAD: usize = 64 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(30);

/// Serves for as long as the sandbox runs. Past the limit a connection is closed at once.
pub async fn run(listener: TcpListener, filter: Arc<Filter>, places: Arc<Semaphore>) {
    loop {
        let (stream, _) = accept::next(|| listener.accept()).await;
        let Ok(place) = places.clone().try_acquire_owned() else {
            log(&format!("more than {CONNECTIONS} connections to the proxy: another was closed"));
            continue;
        };
        let filter = filter.clone();
        tokio::spawn(async move {
            let _place = place;
            drop(serve(stream, &filter).await);
        });
    }
}

async fn serve(mut inside: TcpStream, filter: &Filter) -> io::Result<()> {
    let head = tokio::time::timeout(HEAD_TIME, head(&mut inside)).await??;
    let Some(request) = Request::parse(&head) else {
        return inside.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    };
    match filter.connect(&request.host, request.port).await {
        Ok(mut outside) => {
            if request.tunnel {
                inside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            }
            outside.write_all(&request.first).await?;
            tokio::io::copy_bidirectional(&mut inside, &mut outside).await.map(drop)
        }
        Err(error) => {
            let status = if matches!(error, NoWay::Refused(_)) { "403 Forbidden" } else { "502 Bad Gateway" };
            let text = format!("{}:{}: {error}\n", request.host, request.port);
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            inside.write_all((head + &text).as_bytes()).await
        }
    }
}

async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() > HEAD || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

struct Request {
    host: Host,
    port: u16,
    tunnel: bool,
    /// What goes out first.
    first: Vec<u8>,
}

impl Request {
    fn parse(head: &[u8]) -> Option<Self> {
        let end = head.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (text, body) = (std::str::from_utf8(&head[..end]).ok()?, &head[end + 4..]);
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if method == "CONNECT" {
            let (host, port) = place(target, None)?;
            return Some(Self { host, port, tunnel: true, first: body.to_vec() });
        }
        let rest = target.strip_prefix("http://")?;
        let (where_to, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = place(where_to, Some(80))?;
        let path = if path.is_empty() { "/" } else { path };
        // One request a connection: another may be for another host.
        let mut first = format!("{method} {path} {version}\r\nConnection: close\r\n");
        for line in lines {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            if !matches!(name.as_str(), "connection" | "proxy-connection" | "proxy-authorization" | "keep-alive") {
                first.push_str(line);
                first.push_str("\r\n");
            }
        }
        first.push_str("\r\n");
        let mut first = first.into_bytes();
        first.extend(body);
        Some(Self { host, port, tunnel: false, first })
    }
}

fn place(text: &str, usual: Option<u16>) -> Option<(Host, u16)> {
    let text = text.rsplit_once('@').map_or(text, |(_, place)| place);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, usual?),
    };
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return None;
    }
    Some((host.parse().map_or(Host::Name(host), Host::Address), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_request_are_read() {
        let tunnel = Request::parse(b"CONNECT Registry.npmjs.org:443 HTTP/1.1\r\nHost: x\r\n\r\nearly").unwrap();
        assert!(tunnel.tunnel && tunnel.first == b"early");
        assert_eq!((tunnel.host, tunnel.port), (Host::Name("registry.npmjs.org".into()), 443));
        let plain =
            Request::parse(b"GET http://[::1]/a?b HTTP/1.1\r\nHost: [::1]\r\nProxy-Connection: keep-alive\r\n\r\n").unwrap();
        assert_eq!(plain.host, Host::Address("::1".parse().unwrap()));
        assert_eq!(plain.first, b"GET /a?b HTTP/1.1\r\nConnection: close\r\nHost: [::1]\r\n\r\n");
        for wrong in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"CONNECT x HTTP/1.1\r\n\r\n", b"\r\n\r\n"] {
            assert!(Request::parse(wrong).is_none());
        }
    }
}
