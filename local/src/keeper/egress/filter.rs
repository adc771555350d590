//! What may be reached from inside, and reaching it.

use super::EgressRule;
use crate::keeper::log;
use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// How long what a name resolved to is used again.
const FRESH: Duration = Duration::from_secs(30);
/// How long one of several addresses may take, and how long the last one.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(5);
const LAST: Duration = Duration::from_secs(30);
/// The same refusal is logged once in this time.
const SAID: Duration = Duration::from_secs(60);
/// Names and refusals that are remembered, at most.
const REMEMBERED: usize = 4096;

/// Decides and connects.
#[derive(Debug)]
pub struct Filter {
    rules: Vec<EgressRule>,
    /// How the machine's own addresses and networks are learnt.
    own: fn() -> io::Result<Own>,
    refused: AtomicU64,
    resolved: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    said: Mutex<HashMap<String, Instant>>,
}

/// What a program inside wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// By name, in lower case.
    Name(String),
    /// By address.
    Address(IpAddr),
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NoWay {
    /// The filter refuses it.
    Refused(&'static str),
    /// No such host, no route, nobody listens, too late.
    Failed(io::Error),
}

impl std::fmt::Display for NoWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(what) => {
                write!(f, "that is {what}, which sandboxes may not reach (the operator can allow it: --egress-allow)")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

impl Filter {
    /// With these exceptions.
    #[must_use]
    pub fn new(rules: Vec<EgressRule>) -> Self {
        Self { rules, own: Own::look, refused: AtomicU64::new(0), resolved: Mutex::default(), said: Mutex::default() }
    }

    /// How many connections were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connects to what may be reached. A name is resolved here, once, and what was looked at is what
    /// is connected to.
    pub async fn connect(&self, host: &Host, port: u16) -> Result<TcpStream, NoWay> {
        let result = self.try_connect(host, port).await;
        if let Err(NoWay::Refused(what)) = &result {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let line = format!("refused {host}:{port}: {what}");
            let (now, mut said) = (Instant::now(), lock(&self.said));
            said.retain(|_, at| now.duration_since(*at) < SAID);
            if said.len() < REMEMBERED && said.insert(line.clone(), now).is_none() {
                log(&line);
            }
        }
        result
    }

    async fn try_connect(&self, host: &Host, port: u16) -> Result<TcpStream, NoWay> {
        let named = host.to_string();
        let named = named.trim_matches(['[', ']']);
        let rule = self.rules.iter().find(|rule| rule.port == port && rule.host == named);
        let (addresses, port) = match (rule, host) {
            (Some(EgressRule { target: Some((target, port)), .. }), _) => {
                (self.resolve(target).await.map_err(NoWay::Failed)?, *port)
            }
            (_, Host::Name(name)) => (self.resolve(name).await.map_err(NoWay::Failed)?, port),
            (_, Host::Address(ip)) => (vec![*ip], port),
        };
        let mut refused = None;
        let addresses: Vec<IpAddr> = if rule.is_some() {
            addresses
        } else {
            // Where they cannot be told, any address may be one of them.
            let own = (self.own)().map_err(|error| {
                log(&format!("cannot tell this machine's own addresses: {error}"));
                NoWay::Refused("perhaps an address of this machine, whose own cannot be told now")
            })?;
            addresses
                .into_iter()
                .filter(|ip| {
                    let what = forbidden(*ip, &own).filter(|_| !self.allowed(*ip, port));
                    refused = refused.or(what);
                    what.is_none()
                })
                .collect()
        };
        let mut last = match refused {
            Some(what) => NoWay::Refused(what),
            None => NoWay::Failed(io::Error::new(io::ErrorKind::NotFound, "no such host")),
        };
        for (n, ip) in addresses.iter().enumerate() {
            let limit = if n + 1 == addresses.len() { LAST } else { ONE_OF_SEVERAL };
            match tokio::time::timeout(limit, TcpStream::connect(SocketAddr::new(*ip, port))).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = NoWay::Failed(error),
                Err(_) => last = NoWay::Failed(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(last)
    }

    /// The addresses of a name, as the machine knows them.
    pub async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(ip) = name.parse() {
            return Ok(vec![ip]);
        }
        if let Some((at, found)) = lock(&self.resolved).get(name)
            && at.elapsed() < FRESH
        {
            return Ok(found.clone());
        }
        let mut found: Vec<IpAddr> = Vec::new();
        for address in tokio::net::lookup_host((name, 0)).await? {
            if !found.contains(&address.ip()) {
                found.push(address.ip());
            }
        }
        let mut resolved = lock(&self.resolved);
        if resolved.len() >= REMEMBERED {
            resolved.clear();
        }
        resolved.insert(name.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }

    /// Whether a name is one that a rule makes up.
    #[must_use]
    pub fn makes_up(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.host == name && rule.target.is_some())
    }

    fn allowed(&self, ip: IpAddr, port: u16) -> bool {
        self.rules.iter().any(|rule| rule.port == port && rule.target.is_none() && rule.host.parse() == Ok(ip))
    }
}

/// What is the machine's own.
#[derive(Debug, Default)]
struct Own {
    addresses: BTreeSet<IpAddr>,
    /// Of each network that it is in, an address and the mask: what lies there is reached with no router between.
    networks: Vec<(IpAddr, IpAddr)>,
}

impl Own {
    /// Of all its interfaces, read anew: they change.
    fn look() -> io::Result<Self> {
        let mut own = Self::default();
        for interface in getifaddrs()? {
            let [address, other_end, mask] =
                [interface.address, interface.destination, interface.netmask].map(|it| it.as_ref().and_then(ip_of));
            own.addresses.extend(address);
            own.networks.extend([address, other_end].into_iter().flatten().zip(mask.into_iter().cycle()));
        }
        Ok(own)
    }

    fn is_beside(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|(one, mask)| match (ip, one, mask) {
            // A mask of nothing names no network: all would be in it.
            (IpAddr::V4(ip), IpAddr::V4(one), IpAddr::V4(mask)) => {
                mask.to_bits() != 0 && (ip.to_bits() ^ one.to_bits()) & mask.to_bits() == 0
            }
            (IpAddr::V6(ip), IpAddr::V6(one), IpAddr::V6(mask)) => {
                mask.to_bits() != 0 && (ip.to_bits() ^ one.to_bits()) & mask.to_bits() == 0
            }
            _ => false,
        })
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

/// Where Azure tells a virtual machine its settings and secrets: public by its number, and of no network but the machine's own
/// (<https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>).
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Why an address may not be reached, if so. Ranges for documentation are not refused: package mirrors
/// may live there.
fn forbidden(ip: IpAddr, own: &Own) -> Option<&'static str> {
    let leads_to = match ip {
        IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
        IpAddr::V4(_) => None,
    };
    let both = || [Some(ip), leads_to].into_iter().flatten();
    if both().any(|ip| own.addresses.contains(&ip)) {
        return Some("an address of this machine");
    }
    let by_range = match leads_to.unwrap_or(ip) {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    };
    // Its neighbours, whatever their addresses: they may well trust who is beside them.
    by_range.or_else(|| both().any(|ip| own.is_beside(ip)).then_some("an address of a network that this machine is in"))
}

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    if ip == AZURE {
        return Some("a link-local or metadata address");
    }
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0, ..) => Some("this machine (0.0.0.0/8)"),
        (127, ..) => Some("the machine's loopback"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private address"),
        (169, 254, _) => Some("a link-local or metadata address"),
        (100, 64..=127, _) => Some("a carrier's private address (100.64.0.0/10)"),
        (192, 0, 0) => Some("set aside for protocols (192.0.0.0/24)"),
        (198, 18..=19, _) => Some("no address of the internet (198.18.0.0/15)"),
        (224.., ..) => Some("a multicast or reserved address"),
        _ => None,
    }
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let first = ip.segments()[0];
    if ip.is_unspecified() || ip.is_loopback() {
        Some("the machine's loopback")
    } else if first & 0xfe00 == 0xfc00 {
        Some("a private address")
    } else if first & 0xffc0 == 0xfe80 || first & 0xffc0 == 0xfec0 {
        Some("a link-local address")
    } else if first & 0xff00 == 0xff00 {
        Some("a multicast address")
    } else {
        None
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped, compatible, translated (64:ff9b::/96 and its
/// local kind), 6to4. Teredo hides its address and is refused with what it hides.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let low = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, lo] | [0, 0, 0, 0, 0xffff, 0, high, lo] => Some(low(high, lo)),
        [0x64, 0xff9b, .., high, lo] => Some(low(high, lo)),
        [0x2002, high, lo, ..] => Some(low(high, lo)),
        [0x2001, 0, .., high, lo] => Some(low(!high, !lo)),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> bool {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let networks = [
            ("192.0.2.2", "255.255.255.0"),
            ("2001:db8::2", "ffff:ffff:ffff:ffff::"),
            // One that is alone in its network, one at the other end of a line, and one of which nothing is known.
            ("198.51.100.6", "255.255.255.255"),
            ("2001:db8:7::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("203.0.113.1", "0.0.0.0"),
            ("2001:db8:8::1", "::"),
        ];
        let own = Own {
            addresses: ["192.0.2.2", "2001:db8::2", "198.51.100.6", "203.0.113.1", "2001:db8:8::1"].map(ip).into(),
            networks: networks.map(|(one, mask)| (ip(one), ip(mask))).into(),
        };
        forbidden(ip(address), &own).is_some()
    }

    #[test]
    fn the_machine_and_what_is_private_is_refused_in_every_spelling() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "64:ff9b::a83f:8110",
            "100.64.0.1",
            "100.127.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.0.1",
            "192.0.2.2",
            "::",
            "::1",
            "fd00::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::2",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:192.0.2.2",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2001:0:1:2:3:4:80ff:fffe",
            "::ffff:0:127.0.0.1",
            // Of the machine's own networks.
            "192.0.2.1",
            "192.0.2.255",
            "::ffff:192.0.2.1",
            "64:ff9b::c000:201",
            "2001:db8::1",
            "2001:db8::ffff:ffff:ffff:ffff",
            "2001:db8:7::1",
        ] {
            assert!(refused(ip), "{ip}");
        }
    }

    #[test]
    fn the_internet_and_documentation_is_not() {
        for ip in [
            "1.1.1.1",
            "203.0.113.80",
            "192.0.1.255",
            "192.0.3.1",
            "198.51.100.7",
            "172.15.0.1",
            "172.32.0.1",
            "168.63.129.15",
            "168.63.129.17",
            "100.63.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2001:db8:0:1::1",
            "2001:db8:7::2",
            "64:ff9b::101:101",
            "2002:101:101::",
        ] {
            assert!(!refused(ip), "{ip}");
        }
    }

    #[tokio::test]
    async fn where_the_machines_own_addresses_cannot_be_told_only_rules_lead_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule = EgressRule { host: "127.0.0.1".into(), port, target: None };
        let filter = Filter { own: || Err(rustix::io::Errno::MFILE.into()), ..Filter::new(vec![rule]) };
        let public = Host::Address(Ipv4Addr::new(203, 0, 113, 80).into());
        assert!(matches!(filter.connect(&public, 443).await, Err(NoWay::Refused(_))));
        assert_eq!(filter.refused(), 1);
        assert!(filter.connect(&Host::Address(Ipv4Addr::LOCALHOST.into()), port).await.is_ok());
        let own = Own::look().unwrap();
        assert!(own.addresses.contains(&Ipv4Addr::LOCALHOST.into()));
        let loopback = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(255, 0, 0, 0).into());
        assert!(own.networks.contains(&loopback), "{own:?}");
    }

    #[tokio::test]
    async fn a_rule_opens_its_port_alone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let made_up = EgressRule { host: "gateway.sandbox.internal".into(), port, target: Some(("127.0.0.1".into(), port)) };
        let by_address = EgressRule { host: "127.0.0.1".into(), port, target: None };
        let closed = Filter::new(vec![]);
        let loopback = Host::Address(Ipv4Addr::LOCALHOST.into());
        assert!(matches!(closed.connect(&loopback, port).await, Err(NoWay::Refused(_))));
        assert!(matches!(closed.connect(&Host::Name("localhost".into()), port).await, Err(NoWay::Refused(_))));
        assert_eq!(closed.refused(), 2);
        let open = Filter::new(vec![made_up, by_address]);
        assert!(open.connect(&Host::Name("gateway.sandbox.internal".into()), port).await.is_ok());
        assert!(open.connect(&loopback, port).await.is_ok());
        assert!(matches!(open.connect(&loopback, port ^ 1).await, Err(NoWay::Refused(_))));
        assert!(open.makes_up("gateway.sandbox.internal") && !open.makes_up("127.0.0.1"));
    }
}
