//! The listening TCP sockets of this network namespace: from the kernel by `sock_diag(7)`, and where that is refused from `/proc/net/tcp` and
//! `/proc/net/tcp6`.
//!
//! The tables of `/proc` walk every hash bucket of the machine, also where three sockets are open: 1.4 % of a core, asked for twice a second. A
//! dump of sockets in `TCP_LISTEN` alone walks the short table of those.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    pub port: u16,
    pub address: IpAddr,
    pub inode: u64,
}

/// Asks again and again, over one socket and into one buffer.
#[derive(Default)]
pub struct Listening {
    diag: Diag,
}

#[derive(Default)]
enum Diag {
    #[default]
    Untried,
    Open {
        socket: OwnedFd,
        buffer: Vec<u8>,
        sequence: u32,
    },
    /// Not in this kernel, or not allowed.
    Refused,
}

/// The kernel fills messages of at most this, whatever more there is room for.
const BUFFER_BYTES: usize = 32 * 1024;

// `linux/netlink.h`, `linux/sock_diag.h`, `linux/inet_diag.h`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

impl Listening {
    /// Puts what listens now into `found`, in order.
    pub fn look(&mut self, found: &mut Vec<Socket>) {
        if let Diag::Untried = self.diag {
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG));
            self.diag = socket.map_or(Diag::Refused, |socket| Diag::Open { socket, buffer: vec![0; BUFFER_BYTES], sequence: 0 });
        }
        found.clear();
        if let Diag::Open { socket, buffer, sequence } = &mut self.diag {
            let asked = [AF_INET, AF_INET6].into_iter().try_for_each(|family| {
                *sequence = sequence.wrapping_add(1);
                ask(socket, buffer, *sequence, family, found)
            });
            if let Err(error) = asked {
                eprintln!("the kernel does not tell of listening sockets: {error}; reading /proc/net/tcp instead");
                self.diag = Diag::Refused;
            }
        }
        if let Diag::Refused = self.diag {
            found.clear();
            for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
                found.extend(of_table(&fs::read_to_string(table).unwrap_or_default()));
            }
        }
        found.sort_unstable();
        found.dedup();
    }
}

/// One dump of one family.
fn ask(socket: &OwnedFd, buffer: &mut [u8], sequence: u32, family: u8, found: &mut Vec<Socket>) -> io::Result<()> {
    send(socket, &request(sequence, family), SendFlags::empty())?;
    loop {
        // The kernel has put the next part there before the last call returned: there is nothing to wait for.
        let (length, _) = recv(socket, &mut *buffer, RecvFlags::DONTWAIT)?;
        if length == 0 || of_dump(&buffer[..length], sequence, found)? {
            return Ok(());
        }
    }
}

fn request(sequence: u32, family: u8) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request[HEADER] = family;
    request[HEADER + 1] = IPPROTO_TCP;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&(1_u32 << TCP_LISTEN).to_ne_bytes());
    request
}

/// The messages of one datagram. `true`: the dump is over.
///
/// # Errors
/// The kernel answered with one, or with what is no message.
fn of_dump(mut bytes: &[u8], sequence: u32, found: &mut Vec<Socket>) -> io::Result<bool> {
    let nonsense = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is none");
    let word = |bytes: &[u8], at: usize| -> io::Result<u32> {
        Ok(u32::from_ne_bytes(bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).ok_or_else(nonsense)?))
    };
    while !bytes.is_empty() {
        let length = word(bytes, 0)? as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER).ok_or_else(nonsense)?;
        let (kind, body) = (u16::from_ne_bytes([message[4], message[5]]), &message[HEADER..]);
        // What is left of an earlier dump that broke off is passed over.
        if word(message, 8)? == sequence {
            match kind {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    let number = i32::from_ne_bytes(word(body, 0)?.to_ne_bytes());
                    return Err(io::Error::from_raw_os_error(number.saturating_neg()));
                }
                SOCK_DIAG_BY_FAMILY => found.extend(of_message(body).ok_or_else(nonsense)?),
                _ => {}
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// A `struct inet_diag_msg`; an empty list for a socket that does not listen. `None`: too short to be one.
fn of_message(body: &[u8]) -> Option<Option<Socket>> {
    let (family, state) = (*body.first()?, *body.get(1)?);
    let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
    let address: [u8; 16] = body.get(8..24)?.try_into().ok()?;
    let inode = u32::from_ne_bytes(body.get(68..72)?.try_into().ok()?);
    let address = match family {
        AF_INET => Ipv4Addr::new(address[0], address[1], address[2], address[3]).into(),
        AF_INET6 => Ipv6Addr::from(address).into(),
        _ => return Some(None),
    };
    Some((state == TCP_LISTEN).then_some(Socket { port, address, inode: inode.into() }))
}

/// The listening sockets of a table. The kernel writes addresses as 32-bit words in the machine's own order.
fn of_table(table: &str) -> impl Iterator<Item = Socket> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        // 0A is TCP_LISTEN.
        if fields.nth(1)? != "0A" {
            return None;
        }
        let words: Option<Vec<u32>> =
            (0..address.len() / 8).map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()).collect();
        let address = match words?.as_slice() {
            [word] => IpAddr::V4(Ipv4Addr::from(word.to_ne_bytes())),
            [a, b, c, d] => {
                let mut bytes = [0; 16];
                for (at, word) in [a, b, c, d].into_iter().enumerate() {
                    bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
                }
                IpAddr::V6(Ipv6Addr::from(bytes))
            }
            _ => return None,
        };
        Some(Socket { port: u16::from_str_radix(port, 16).ok()?, address, inode: fields.nth(5)?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_the_kernel_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000 100 0 0 10 0\n\
            \x20  1: 0100007F:0BB8 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0000 100 0 0 10 0\n";
        let found: Vec<Socket> = of_table(table).collect();
        assert_eq!(found, [Socket { port: 3000, address: "127.0.0.1".parse().unwrap(), inode: 4242 }]);
        let six = "header\n   0: 00000000000000000000000001000000:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7 1\n";
        let found: Vec<Socket> = of_table(six).collect();
        assert_eq!(found, [Socket { port: 5000, address: "::1".parse().unwrap(), inode: 7 }]);
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(2_u16.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend(77_u32.to_ne_bytes());
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn socket(family: u8, state: u8, port: u16, address: &[u8], inode: u32) -> Vec<u8> {
        let mut body = vec![0; 72];
        body[0] = family;
        body[1] = state;
        body[4..6].copy_from_slice(&port.to_be_bytes());
        body[8..8 + address.len()].copy_from_slice(address);
        body[68..72].copy_from_slice(&inode.to_ne_bytes());
        // An attribute behind it, as the kernel puts some there.
        body.extend([5, 0, 8, 0, 0]);
        body
    }

    #[test]
    fn a_dump_of_the_kernel_is_understood() {
        let datagram = [
            message(SOCK_DIAG_BY_FAMILY, 6, &socket(AF_INET, TCP_LISTEN, 1, &[10, 0, 0, 1], 1)),
            message(SOCK_DIAG_BY_FAMILY, 7, &socket(AF_INET, TCP_LISTEN, 3000, &[127, 0, 0, 1], 4242)),
            message(SOCK_DIAG_BY_FAMILY, 7, &socket(AF_INET, 1, 3001, &[127, 0, 0, 1], 4243)),
            message(SOCK_DIAG_BY_FAMILY, 7, &socket(AF_INET6, TCP_LISTEN, 5000, &Ipv6Addr::LOCALHOST.octets(), 7)),
        ]
        .concat();
        let mut found = Vec::new();
        assert!(!of_dump(&datagram, 7, &mut found).unwrap(), "more is to come");
        let expected = [
            Socket { port: 3000, address: "127.0.0.1".parse().unwrap(), inode: 4242 },
            Socket { port: 5000, address: "::1".parse().unwrap(), inode: 7 },
        ];
        assert_eq!(found, expected);
        assert!(of_dump(&message(NLMSG_DONE, 7, &[0; 4]), 7, &mut found).unwrap());
        assert_eq!(found, expected);
        let refused = of_dump(&message(NLMSG_ERROR, 7, &(-1_i32).to_ne_bytes()), 7, &mut found).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        for cut in 1..datagram.len() {
            let _ = of_dump(&datagram[..cut], 7, &mut found);
        }
        assert!(of_dump(&datagram[..40], 7, &mut found).is_err());
        assert!(of_dump(&[0; 64], 7, &mut found).is_err(), "a length of nothing goes on for ever");
    }

    #[test]
    fn both_ways_tell_the_same() {
        let four = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let six = std::net::TcpListener::bind("[::1]:0");
        let ports: Vec<u16> =
            [Some(&four), six.as_ref().ok()].into_iter().flatten().map(|it| it.local_addr().unwrap().port()).collect();
        let mine = |mut listening: Listening| -> Vec<Socket> {
            let mut found = vec![Socket { port: 1, address: Ipv4Addr::LOCALHOST.into(), inode: 1 }];
            // Twice: the second dump is not taken for the first.
            listening.look(&mut found);
            listening.look(&mut found);
            found.retain(|socket| ports.contains(&socket.port));
            found
        };
        let by_table = mine(Listening { diag: Diag::Refused });
        assert_eq!(by_table.len(), ports.len());
        assert_eq!(mine(Listening::default()), by_table);
    }
}
