//! The way out of a sandbox, for every program in it, through a filter.
//!
//! ```text
//!  inside                     │ keeper
//!  curl, fetch, psycopg …     │
//!    │ 1 "where is HOST?" ────┼─▶ names: a made-up address for HOST, if there is such a host
//!    │ 2 SYN to that address ─┼─▶ stack: holds it ─▶ filter: resolves HOST itself, refuses the
//!    │                        │                      machine and what is private, connects
//!    │ 3 SYN-ACK, RST or ◀────┼── stack: as the connection outside came about
//!    │   "prohibited"         │
//!    └ 4 bytes ◀──────────────┼─▶ both ways, each side waiting for the other
//! ```
//!
//! [`device`] reads and writes the packets of the network device, [`names`] is the DNS server inside,
//! [`filter`] decides and connects, [`flow`] carries one connection, [`proxy`] is what there is where
//! no device can be had. Only TCP and names go out; UDP is answered with "port unreachable" at once,
//! so that QUIC falls back.

mod device;
mod filter;
mod flow;
mod names;
mod proxy;

pub use device::run as run_device;
pub use filter::Filter;
pub use proxy::{CONNECTIONS as PROXY_CONNECTIONS, run as run_proxy};

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Addresses inside. All of 198.18.0.0/15, which is set aside for measurements and is nobody's on the
/// internet: so no real address is hidden by a made-up one.
pub mod address {
    use std::net::Ipv4Addr;

    /// The filter, which is also the DNS server.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    /// The sandbox's own.
    pub const INSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    /// Of all of them.
    pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 254, 0, 0);
    /// The first of those that stand for host names.
    pub const FIRST_NAME: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);
    /// The largest packet. Large, since each costs two system calls: 65,000 was the fastest here.
    pub const MTU: u16 = 65_000;
    /// Where the HTTP proxy listens, where there is one.
    pub const PROXY_PORT: u16 = 3128;
}

/// The host name that stands for the machine itself, where the operator allows a port of it.
pub const MACHINE_HOST: &str = "host.sandbox.internal";

/// A way out that is open whatever lies there: `--egress-allow HOST:PORT`, and what the operator's
/// other settings imply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressRule {
    /// The host, as the inside says it: a name in lower case, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where that leads, if it is not what the host resolves to.
    #[serde(default)]
    pub target: Option<(String, u16)>,
}

/// A text that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no HOST:PORT. Say for example `--egress-allow packages.corp:443` or `--egress-allow 10.0.0.5:5432`.")]
pub struct NotARule(String);

impl FromStr for EgressRule {
    type Err = NotARule;
    /// `HOST:PORT`, `[IPV6]:PORT`. The machine's own loopback is reached as [`MACHINE_HOST`].
    fn from_str(text: &str) -> Result<Self, NotARule> {
        let wrong = || NotARule(text.chars().take(100).collect());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = bare.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<std::net::IpAddr>();
        let name =
            !host.is_empty() && host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if address.is_err() && !name {
            return Err(wrong());
        }
        if host == "localhost" || address.is_ok_and(|ip| ip.is_loopback()) {
            return Ok(Self { host: MACHINE_HOST.to_owned(), port, target: Some((host, port)) });
        }
        Ok(Self { host, port, target: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = |text: &str| text.parse::<EgressRule>();
        assert_eq!(rule("Packages.Corp.:443"), Ok(EgressRule { host: "packages.corp".into(), port: 443, target: None }));
        assert_eq!(rule("[fd00::5]:80").unwrap().host, "fd00::5");
        assert_eq!(rule("127.0.0.1:8080").unwrap().target, Some(("127.0.0.1".into(), 8080)));
        for wrong in ["", "host", "host:", "host:0", "host:99999", "a b:1", "http://x:1", ":80"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }
}
