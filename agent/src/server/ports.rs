//! Who listens on which port, from `/proc/net/tcp` and `/proc/net/tcp6`.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{config::Config, procfs};
use crate::protocol::{RESERVED_PORTS, http::Port};

/// Looks again and again; asks who owns a socket only when the sockets changed.
#[derive(Default)]
pub struct Ports {
    sockets: BTreeSet<Socket>,
    pub found: Vec<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Socket {
    port: u16,
    address: IpAddr,
    inode: u64,
}

impl Ports {
    /// True where something changed.
    pub fn look(&mut self, config: &Config) -> bool {
        let own: Vec<u16> = config.own_ports().collect();
        let mut sockets = BTreeSet::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = fs::read_to_string(table).unwrap_or_default();
            sockets
                .extend(listening(&text).filter(|socket| !RESERVED_PORTS.contains(&socket.port) && !own.contains(&socket.port)));
        }
        if sockets == self.sockets {
            return false;
        }
        let owners = procfs::owners(&sockets.iter().map(|socket| socket.inode).collect::<HashSet<_>>());
        let mut by_port: BTreeMap<u16, Port> = BTreeMap::new();
        for socket in &sockets {
            let port =
                by_port.entry(socket.port).or_insert(Port { port: socket.port, addresses: Vec::new(), process: None, pid: None });
            let address = socket.address.to_string();
            if !port.addresses.contains(&address) {
                port.addresses.push(address);
            }
            if let Some((pid, name)) = owners.get(&socket.inode) {
                port.pid = Some(*pid);
                port.process = Some(name.clone());
            }
        }
        self.sockets = sockets;
        let found: Vec<Port> = by_port.into_values().collect();
        let changed = found != self.found;
        self.found = found;
        changed
    }
}

/// The listening sockets of a table. The kernel writes addresses as 32-bit words in the machine's own order.
fn listening(table: &str) -> impl Iterator<Item = Socket> {
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
        let found: Vec<Socket> = listening(table).collect();
        assert_eq!(found, [Socket { port: 3000, address: "127.0.0.1".parse().unwrap(), inode: 4242 }]);
        let six = "header\n   0: 00000000000000000000000001000000:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7 1\n";
        let found: Vec<Socket> = listening(six).collect();
        assert_eq!(found, [Socket { port: 5000, address: "::1".parse().unwrap(), inode: 7 }]);
    }
}
