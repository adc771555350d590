//! 127.0.0.1:5432 inside is the project's PostgreSQL: connections to it are carried to the server.

use super::{accept, log, protocol::Endpoint};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    time::timeout,
};
use tokio_util::io::InspectReader;

/// Connections at a time, over all listeners of a sandbox. A project's role may have twenty; the others are those that PostgreSQL is
/// about to refuse. Each costs the keeper two descriptors and 16 KiB.
const CONNECTIONS: usize = 24;
/// Of these, how many may be new. Who has not said yet who they are counts as nobody's role, and takes a place also of those that
/// PostgreSQL keeps for the control plane: so forty sandboxes would have to fill it together.
const NEW: usize = 12;
/// For how long one is new that is not let in: by then PostgreSQL has shown out who has not said who they are (`postgres::place`,
/// after five).
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
/// never end. One that is new beside too many waits for them to be let in, or to age.
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
            let (tell, let_in) = oneshot::channel();
            let mut carried = std::pin::pin!(carry(inside, &endpoint, tell));
            let done = tokio::select! {
                done = &mut carried => done,
                _ = timeout(AGE, let_in) => {
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

async fn carry(inside: TcpStream, endpoint: &Endpoint, let_in: oneshot::Sender<()>) -> io::Result<()> {
    let _ = inside.set_nodelay(true);
    match endpoint {
        Endpoint::Unix(path) => carry_to(crate::sockets::connect_async(path)?, inside, let_in).await,
        Endpoint::Tcp(host, port) => {
            let server = TcpStream::connect((host.as_str(), *port)).await?;
            let _ = server.set_nodelay(true);
            carry_to(server, inside, let_in).await
        }
    }
}

/// Tells when the server lets in who came. Whoever is not let in is told of by nobody, and keeps the other end of that.
async fn carry_to(
    server: impl AsyncRead + AsyncWrite + Unpin,
    mut inside: TcpStream,
    let_in: oneshot::Sender<()>,
) -> io::Result<()> {
    let (mut greeting, mut let_in) = (Some(Greeting::default()), Some(let_in));
    let mut server = InspectReader::new(server, move |bytes: &[u8]| {
        let Some(heard) = greeting.as_mut().map(|greeting| greeting.hear(bytes)) else { return };
        if heard != Heard::Nothing {
            greeting = None;
        }
        if heard == Heard::LetIn
            && let Some(tell) = let_in.take()
        {
            let _ = tell.send(());
        }
    });
    copy_bidirectional(&mut inside, &mut server).await?;
    Ok(())
}

/// What a server says first, until it has let somebody in or not: some short messages, of a letter, a length of four bytes that
/// counts itself, and so much more.
#[derive(Debug, Default)]
struct Greeting {
    /// What came of a message.
    head: Vec<u8>,
    /// How much of one is left that says nothing here.
    skip: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Nothing yet.
    Nothing,
    /// Who came is who they said.
    LetIn,
    /// An error, or what cannot be read, such as TLS.
    Other,
}

impl Greeting {
    fn hear(&mut self, mut bytes: &[u8]) -> Heard {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let Some((byte, rest)) = bytes[skipped..].split_first() else { return Heard::Nothing };
            bytes = rest;
            self.head.push(*byte);
            self.skip = match *self.head.as_slice() {
                // No TLS, and no encryption by Kerberos: one byte, to a question of one's own.
                [b'N'] => 0,
                [b'R' | b'v'] | [_, _] | [_, _, _] | [_, _, _, _] => continue,
                // Which version it speaks, and which options it does not know.
                [b'v', a, b, c, d] => u32::from_be_bytes([a, b, c, d]).saturating_sub(4) as usize,
                [b'R', ..] if self.head.len() < 9 => continue,
                [b'R', .., 0, 0, 0, 0] => return Heard::LetIn,
                // How to say who one is.
                [b'R', a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]).saturating_sub(8) as usize,
                _ => return Heard::Other,
            };
            self.head.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard at last, by the byte and all at once.
    fn heard(said: &[&[u8]]) -> Heard {
        let said = said.concat();
        let whole = Greeting::default().hear(&said);
        let mut greeting = Greeting::default();
        let mut each = said.iter().map(|byte| greeting.hear(&[*byte]));
        let at = each.by_ref().find(|heard| *heard != Heard::Nothing);
        assert_eq!((at.unwrap_or(Heard::Nothing), each.len()), (whole, 0), "with its last byte, and not before: {said:?}");
        whole
    }

    #[test]
    fn who_is_let_in_is_told_from_who_is_asked_and_who_is_not() {
        let ok: &[u8] = b"R\0\0\0\x08\0\0\0\0";
        let ways: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
        let more: &[u8] = b"R\0\0\0\x0a\0\0\0\x0bxy";
        assert_eq!(heard(&[ok]), Heard::LetIn);
        assert_eq!(heard(&[b"NN", ways, more, ok]), Heard::LetIn, "by a password");
        let unknown: &[u8] = b"v\0\0\0\x15\0\x03\0\0\0\0\0\x01R\0\0\0\x08\0\0\0\0";
        assert_eq!(heard(&[unknown]), Heard::Nothing, "an option's name is none of the server's words");
        assert_eq!(heard(&[unknown, ok]), Heard::LetIn);
        for asked in [&b""[..], b"N", b"R\0\0\0\x08\0\0\0", ways, more] {
            assert_eq!(heard(&[asked]), Heard::Nothing, "{asked:?}");
        }
        for other in [&b"S"[..], b"G", b"E", b"\x16"] {
            assert_eq!(heard(&[other]), Heard::Other, "{other:?}");
        }
        assert_eq!(heard(&[ways, b"E"]), Heard::Other, "a wrong password");
    }
}
