//! Who listens on which port.

use std::collections::{BTreeMap, HashSet};

use super::{
    config::Config,
    listening::{Listening, Socket},
    procfs,
};
use crate::protocol::{RESERVED_PORTS, http::Port};

/// Looks again and again; asks who owns a socket only when the sockets changed.
#[derive(Default)]
pub struct Ports {
    listening: Listening,
    sockets: Vec<Socket>,
    /// Used again at each look, so that one that finds nothing new allocates nothing.
    looked: Vec<Socket>,
    pub found: Vec<Port>,
}

impl Ports {
    /// True where something changed.
    pub fn look(&mut self, config: &Config) -> bool {
        self.listening.look(&mut self.looked);
        self.looked.retain(|socket| !RESERVED_PORTS.contains(&socket.port) && config.own_ports().all(|own| own != socket.port));
        if self.looked == self.sockets {
            return false;
        }
        std::mem::swap(&mut self.looked, &mut self.sockets);
        let sockets = &self.sockets;
        let owners = procfs::owners(&sockets.iter().map(|socket| socket.inode).collect::<HashSet<_>>());
        let mut by_port: BTreeMap<u16, Port> = BTreeMap::new();
        for socket in sockets {
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
        let found: Vec<Port> = by_port.into_values().collect();
        let changed = found != self.found;
        self.found = found;
        changed
    }
}
