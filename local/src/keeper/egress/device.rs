//! The network device of a sandbox, seen from outside: a TCP stack on its packets.
//!
//! A new connection is held (its first packet is set aside) until the filter has made the same
//! connection outside; then the stack gets the packet, or the inside gets the refusal. So a closed port
//! is closed, and what is refused is refused at once. Every buffer is bounded: who sends faster than
//! the other side takes is made to wait by TCP's own window.

use super::{
    address,
    filter::{Filter, Host, NoWay},
    flow, names,
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium},
    socket::tcp,
    time::Instant,
    wire::{
        HardwareAddress, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, IpEndpoint, IpProtocol, Ipv4Packet,
        Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
    },
};
use std::{
    collections::HashSet,
    io,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{io::unix::AsyncFd, sync::Notify, sync::Semaphore};

/// What a connection may hold of what the inside sends, and of what it receives, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Buffers {
    from_inside: usize,
    to_inside: usize,
}

impl Buffers {
    /// Two of the largest packets are on their way at a time, which is as fast as more of them.
    const LARGE: Self = Self { from_inside: 128 * 1024, to_inside: 192 * 1024 };
    /// Where many connections are open: slower each, and all of them go on.
    const SMALL: Self = Self { from_inside: 8 * 1024, to_inside: 12 * 1024 };

    const fn bytes(self) -> usize {
        self.from_inside + self.to_inside
    }
}

/// Memory of the keeper, which is in no sandbox's cgroup, that the inside can make it use for connections.
const MEMORY: usize = 32 << 20;
/// The part of it that large buffers may take: some forty connections.
const FOR_LARGE: usize = 12 << 20;
/// A first packet is set aside; one that carries data, which no program sends, may be no larger.
const LARGEST_FIRST: usize = 2048;
/// Connections at a time (they fit into [`MEMORY`]), and name look-ups.
const CONNECTIONS: usize = 1024;
const LOOK_UPS: usize = 64;
/// Packets that are read before others have their turn.
const BATCH: usize = 64;
const DNS_PORT: u16 = 53;
const TTL: u8 = 64;

/// Serves the device until reading it fails.
pub async fn run(device: OwnedFd, filter: Arc<Filter>) -> io::Result<()> {
    let device = Arc::new(crate::sys::readiness(device)?);
    let network = Arc::new(Network::new(device.clone(), filter));
    let mut packet = vec![0; usize::from(u16::MAX)];
    loop {
        let wait = network.core().serve_stack();
        tokio::select! {
            ready = device.readable() => {
                let mut ready = ready?;
                for _ in 0..BATCH {
                    match rustix::io::read(device.get_ref(), &mut packet) {
                        Ok(length) => network.take(&packet[..length]),
                        Err(rustix::io::Errno::AGAIN) => {
                            ready.clear_ready();
                            break;
                        }
                        Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            () = network.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Everything about one sandbox's network.
pub struct Network {
    core: Mutex<Core>,
    changed: Notify,
    names: Mutex<names::Names>,
    look_ups: Arc<Semaphore>,
    filter: Arc<Filter>,
}

/// Both ends of a connection from inside: its own, and the one it wants to reach.
type Ends = (IpEndpoint, IpEndpoint);

struct Core {
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    /// Connections that are there or being made.
    ends: HashSet<Ends>,
    memory: Memory,
}

/// How much buffers take.
#[derive(Debug, Default)]
struct Memory {
    held: usize,
}

impl Memory {
    /// For one more connection. `None`: there is no more.
    fn take(&mut self) -> Option<Buffers> {
        let fits = |buffers: Buffers, most| self.held + buffers.bytes() <= most;
        let buffers = if fits(Buffers::LARGE, FOR_LARGE) { Buffers::LARGE } else { Buffers::SMALL };
        if !fits(buffers, MEMORY) {
            return None;
        }
        self.held += buffers.bytes();
        Some(buffers)
    }

    fn give_back(&mut self, buffers: Buffers) {
        self.held = self.held.saturating_sub(buffers.bytes());
    }
}

impl Network {
    fn new(device: Arc<AsyncFd<OwnedFd>>, filter: Arc<Filter>) -> Self {
        Self {
            core: Mutex::new(Core::new(device)),
            changed: Notify::new(),
            names: Mutex::default(),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
            filter,
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts on a socket of the stack; `None` once it is gone.
    pub(super) fn socket<T>(&self, handle: SocketHandle, act: impl FnOnce(&mut tcp::Socket<'_>) -> T) -> T {
        act(self.core().sockets.get_mut(handle))
    }

    /// Something was put into or taken out of a socket: the stack has packets to send.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    /// A packet from inside.
    fn take(self: &Arc<Self>, bytes: &[u8]) {
        // What is not IPv4 has no way out; there is no route for it inside either.
        let Ok(packet) = Ipv4Packet::new_checked(bytes) else { return };
        match packet.next_header() {
            IpProtocol::Tcp => self.take_tcp(bytes, &packet),
            IpProtocol::Udp => self.take_udp(bytes, &packet),
            _ => {}
        }
    }

    fn take_tcp(self: &Arc<Self>, bytes: &[u8], packet: &Ipv4Packet<&[u8]>) {
        let Ok(segment) = TcpPacket::new_checked(packet.payload()) else { return };
        if !segment.syn() || segment.ack() {
            return self.core().give(bytes);
        }
        let ends: Ends = (
            (IpAddress::Ipv4(packet.src_addr()), segment.src_port()).into(),
            (IpAddress::Ipv4(packet.dst_addr()), segment.dst_port()).into(),
        );
        let mut core = self.core();
        if core.ends.contains(&ends) {
            return;
        }
        if core.ends.len() >= CONNECTIONS || bytes.len() > LARGEST_FIRST {
            return core.reset(bytes);
        }
        core.ends.insert(ends);
        drop(core);
        let (network, first) = (self.clone(), bytes.to_vec());
        tokio::spawn(async move {
            network.connect(ends, &first, packet_destination(&first)).await;
            network.core().ends.remove(&ends);
        });
    }

    /// One connection, from its first packet to its last.
    async fn connect(self: &Arc<Self>, ends: Ends, first: &[u8], to: Ipv4Addr) {
        let name = self.names.lock().unwrap_or_else(PoisonError::into_inner).name(to).map(str::to_owned);
        let host = name.map_or(Host::Address(to.into()), Host::Name);
        let outside = match self.filter.connect(&host, ends.1.port).await {
            Ok(outside) => outside,
            Err(NoWay::Refused(_)) => return self.core().unreachable(first, Icmpv4DstUnreachable::CommProhibited),
            Err(NoWay::Failed(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return self.core().reset(first),
            Err(NoWay::Failed(_)) => return self.core().unreachable(first, Icmpv4DstUnreachable::HostUnreachable),
        };
        let Some((handle, buffers)) = self.core().open(ends.1, first) else { return };
        self.changed();
        flow::carry(self, handle, &outside).await;
        let mut core = self.core();
        core.sockets.remove(handle);
        core.memory.give_back(buffers);
    }

    fn take_udp(self: &Arc<Self>, bytes: &[u8], packet: &Ipv4Packet<&[u8]>) {
        let Ok(datagram) = UdpPacket::new_checked(packet.payload()) else { return };
        if datagram.dst_port() != DNS_PORT {
            return self.core().unreachable(bytes, Icmpv4DstUnreachable::PortUnreachable);
        }
        let (inside, server, port) = (packet.src_addr(), packet.dst_addr(), datagram.src_port());
        let question = match names::query(datagram.payload()) {
            Some(names::Query::Question(question)) => question,
            Some(names::Query::Wrong(answer)) => {
                let reply = names::reply(datagram.payload(), None, answer);
                return self.core().port.datagram(server, inside, port, &reply);
            }
            None => return,
        };
        // Past the limit a query is lost, and asked again: nothing is kept of it.
        let Ok(turn) = self.look_ups.clone().try_acquire_owned() else { return };
        let (network, query) = (self.clone(), datagram.payload().to_vec());
        tokio::spawn(async move {
            let _turn = turn;
            let answer = names::look_up(&network.filter, &question, &network.names).await;
            let reply = names::reply(&query, Some(&question), answer);
            network.core().port.datagram(server, inside, port, &reply);
        });
    }
}

fn packet_destination(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Packet::new_checked(bytes).map_or(Ipv4Addr::UNSPECIFIED, |packet| packet.dst_addr())
}

impl Core {
    fn new(device: Arc<AsyncFd<OwnedFd>>) -> Self {
        let outgoing = Outgoing { device, packet: vec![0; usize::from(u16::MAX)] };
        let mut port = Port { incoming: Incoming::default(), outgoing };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = rand::random();
        let mut interface = Interface::new(config, &mut port, Instant::now());
        // Every address is this stack's own: connections to all of them end here.
        interface.set_any_ip(true);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address::GATEWAY), 15));
        });
        let _ = interface.routes_mut().add_default_ipv4_route(address::GATEWAY);
        Self { port, interface, sockets: SocketSet::new(Vec::new()), ends: HashSet::new(), memory: Memory::default() }
    }

    /// Lets the stack send what it has to. Answers when it wants to be served again.
    fn serve_stack(&mut self) -> Duration {
        let now = Instant::now();
        self.interface.poll(now, &mut self.port, &mut self.sockets);
        self.interface.poll_delay(now, &self.sockets).map_or(Duration::from_secs(3600), Into::into)
    }

    /// A packet for the stack.
    fn give(&mut self, bytes: &[u8]) {
        self.port.incoming.packet.clear();
        self.port.incoming.packet.extend_from_slice(bytes);
        self.port.incoming.waiting = true;
        self.interface.poll_ingress_single(Instant::now(), &mut self.port, &mut self.sockets);
        self.port.incoming.waiting = false;
    }

    /// Lets a connection begin whose first packet was held.
    fn open(&mut self, to: IpEndpoint, first: &[u8]) -> Option<(SocketHandle, Buffers)> {
        let Some(buffers) = self.memory.take() else {
            self.reset(first);
            return None;
        };
        let opened = self.open_with(buffers, to, first);
        if opened.is_none() {
            self.memory.give_back(buffers);
        }
        opened.map(|handle| (handle, buffers))
    }

    fn open_with(&mut self, buffers: Buffers, to: IpEndpoint, first: &[u8]) -> Option<SocketHandle> {
        let buffer = |size| tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(buffers.from_inside), buffer(buffers.to_inside));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.listen(to).ok()?;
        let handle = self.sockets.add(socket);
        self.give(first);
        if self.sockets.get::<tcp::Socket<'_>>(handle).state() == tcp::State::SynReceived {
            return Some(handle);
        }
        self.sockets.remove(handle);
        None
    }

    /// "Nobody listens there", as an answer to a first packet.
    fn reset(&mut self, first: &[u8]) {
        let Ok(packet) = Ipv4Packet::new_checked(first) else { return };
        let Ok(segment) = TcpPacket::new_checked(packet.payload()) else { return };
        let reply = TcpRepr {
            src_port: segment.dst_port(),
            dst_port: segment.src_port(),
            control: TcpControl::Rst,
            seq_number: TcpSeqNumber(0),
            ack_number: Some(segment.seq_number() + 1),
            window_len: 0,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let (from, to) = (packet.dst_addr(), packet.src_addr());
        self.port.send(from, to, IpProtocol::Tcp, reply.buffer_len(), |payload, checksums| {
            reply.emit(&mut TcpPacket::new_unchecked(payload), &from.into(), &to.into(), checksums);
        });
    }

    /// "There is no way there", as an answer to any packet.
    fn unreachable(&mut self, bytes: &[u8], reason: Icmpv4DstUnreachable) {
        let Ok(packet) = Ipv4Packet::new_checked(bytes) else { return };
        let Ok(header) = Ipv4Repr::parse(&packet, &ChecksumCapabilities::ignored()) else { return };
        // The header and eight bytes are what the kernel needs to find the socket that is meant.
        let data = packet.payload().get(..packet.payload().len().min(64)).unwrap_or_default();
        let reply = Icmpv4Repr::DstUnreachable { reason, header, data };
        self.port.send(packet.dst_addr(), packet.src_addr(), IpProtocol::Icmp, reply.buffer_len(), |payload, checksums| {
            reply.emit(&mut Icmpv4Packet::new_unchecked(payload), checksums);
        });
    }
}

/// The device as the stack sees it.
struct Port {
    incoming: Incoming,
    outgoing: Outgoing,
}

/// The packet that is being given to the stack.
#[derive(Default)]
struct Incoming {
    packet: Vec<u8>,
    waiting: bool,
}

/// Where packets of the stack go.
struct Outgoing {
    device: Arc<AsyncFd<OwnedFd>>,
    packet: Vec<u8>,
}

impl Port {
    fn datagram(&mut self, from: Ipv4Addr, to: Ipv4Addr, to_port: u16, data: &[u8]) {
        let header = UdpRepr { src_port: DNS_PORT, dst_port: to_port };
        self.send(from, to, IpProtocol::Udp, header.header_len() + data.len(), |payload, checksums| {
            let mut packet = UdpPacket::new_unchecked(payload);
            header.emit(&mut packet, &from.into(), &to.into(), data.len(), |into| into.copy_from_slice(data), checksums);
        });
    }

    fn send(
        &mut self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        next_header: IpProtocol,
        payload_len: usize,
        fill: impl FnOnce(&mut [u8], &ChecksumCapabilities),
    ) {
        let header = Ipv4Repr { src_addr: from, dst_addr: to, next_header, payload_len, hop_limit: TTL };
        let length = header.buffer_len() + payload_len;
        phy::TxToken::consume(&mut self.outgoing, length, |buffer| {
            let checksums = ChecksumCapabilities::default();
            let mut packet = Ipv4Packet::new_unchecked(buffer);
            header.emit(&mut packet, &checksums);
            fill(packet.payload_mut(), &checksums);
        });
    }
}

impl phy::Device for Port {
    type RxToken<'a> = &'a Incoming;
    type TxToken<'a> = &'a mut Outgoing;

    fn receive(&mut self, _: Instant) -> Option<(&Incoming, &mut Outgoing)> {
        std::mem::take(&mut self.incoming.waiting).then_some((&self.incoming, &mut self.outgoing))
    }

    fn transmit(&mut self, _: Instant) -> Option<&mut Outgoing> {
        Some(&mut self.outgoing)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(address::MTU);
        // What comes from the kernel next door was not damaged on the way.
        capabilities.checksum.ipv4 = phy::Checksum::Tx;
        capabilities.checksum.tcp = phy::Checksum::Tx;
        capabilities
    }
}

impl phy::RxToken for &Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, act: F) -> R {
        act(&self.packet)
    }
}

impl phy::TxToken for &mut Outgoing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let Some(packet) = self.packet.get_mut(..length) else { return fill(&mut vec![0; length]) };
        packet.fill(0);
        let result = fill(packet);
        // What the device does not take is lost like any packet, and sent again.
        let _ = rustix::io::write(self.device.get_ref(), packet);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_a_bounded_part_of_the_keepers_memory() {
        let mut memory = Memory::default();
        let taken: Vec<Buffers> = (0..CONNECTIONS).map(|_| memory.take().unwrap()).collect();
        assert!(memory.held <= MEMORY, "{}", memory.held);
        let large = taken.iter().filter(|buffers| **buffers == Buffers::LARGE).count();
        assert!((16..64).contains(&large), "{large} fast ones");
        taken.into_iter().for_each(|buffers| memory.give_back(buffers));
        assert_eq!((memory.held, memory.take()), (0, Some(Buffers::LARGE)));
        while memory.take().is_some() {}
        assert!(memory.held <= MEMORY);
    }

    /// A datagram from inside to the DNS server.
    fn asking(message: &[u8]) -> Vec<u8> {
        let header = UdpRepr { src_port: 40_000, dst_port: DNS_PORT };
        let (from, to, payload_len) = (address::INSIDE, address::GATEWAY, header.header_len() + message.len());
        let ip = Ipv4Repr { src_addr: from, dst_addr: to, next_header: IpProtocol::Udp, payload_len, hop_limit: TTL };
        let mut bytes = vec![0; ip.buffer_len() + payload_len];
        let checksums = ChecksumCapabilities::default();
        let mut packet = Ipv4Packet::new_unchecked(bytes.as_mut_slice());
        ip.emit(&mut packet, &checksums);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        header.emit(&mut datagram, &from.into(), &to.into(), message.len(), |into| into.copy_from_slice(message), &checksums);
        bytes
    }

    #[tokio::test]
    async fn a_flood_of_queries_keeps_no_more_than_there_are_look_ups() {
        let (device, _inside) = std::os::unix::net::UnixDatagram::pair().unwrap();
        device.set_nonblocking(true).unwrap();
        let device = Arc::new(crate::sys::readiness(device.into()).unwrap());
        let network = Arc::new(Network::new(device, Arc::new(Filter::new(Vec::new()))));
        let question = asking(&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]);
        // Nothing of them runs before this task waits for something.
        (0..LOOK_UPS * 10).for_each(|_| network.take(&question));
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), LOOK_UPS);
    }
}
