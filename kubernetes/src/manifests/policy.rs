//! Who reaches a sandbox, and what it reaches: its database, names, and public addresses.

use super::owner;
use crate::{
    Settings,
    labels::{self, Component},
    names::{AGENT_PORT, APPLICATION_PORT, POSTGRES_PORT, TERMINAL_PORT},
    settings::PeerLabels,
};
use engine::orchestrator::{DatabaseEndpoint, SandboxSpec};
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What is not public of IPv4: private (RFC 1918), shared (6598), link-local with the clouds' metadata (3927), of protocols
/// (6890), loopback, this network, benchmarks (2544), multicast, reserved; and, public by its number, the address at which Azure
/// tells a virtual machine its settings and secrets
/// (<https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>). A policy's exceptions lie inside its
/// range.
const NOT_PUBLIC_4: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// And of IPv6: loopback (RFC 4291), translated private IPv4 (8215), unique local with the clouds' metadata
/// (4193), link-local, multicast. Mapped IPv4 is IPv4 on the wire, and the apiserver takes it for that.
const NOT_PUBLIC_6: [&str; 5] = ["::1/128", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "ff00::/8"];

/// The policy of a sandbox's pods. What it does not name is refused, in both directions.
#[must_use]
pub fn policy(spec: &SandboxSpec, settings: &Settings) -> NetworkPolicy {
    NetworkPolicy {
        metadata: owner(spec).meta(Component::Sandbox, &settings.namespace, spec.name.as_str()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(labels::pods(&spec.name, spec.id))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress(settings)),
            egress: Some(egress(spec, settings)),
        }),
    }
}

fn ingress(settings: &Settings) -> Vec<NetworkPolicyIngressRule> {
    let mut rules = Vec::new();
    // Without labels it is no pod: it comes from a node, by a port-forward of the kubelet, which no policy governs.
    if !settings.control_plane_labels.is_empty() {
        // Of its own namespace alone: whoever makes pods in another one gives them whatever labels they like.
        let us = PeerLabels {
            namespace: settings.control_plane_namespace.as_ref().unwrap_or(&settings.namespace).clone(),
            labels: settings.control_plane_labels.clone(),
        };
        rules.push(NetworkPolicyIngressRule {
            from: Some(vec![peer(&us)]),
            ports: Some(vec![tcp(AGENT_PORT), tcp(TERMINAL_PORT)]),
        });
    }
    if let Some(controller) = &settings.ingress_controller {
        rules.push(NetworkPolicyIngressRule {
            from: Some(vec![peer(controller)]),
            ports: Some(vec![tcp(APPLICATION_PORT), tcp(TERMINAL_PORT)]),
        });
    }
    rules
}

fn egress(spec: &SandboxSpec, settings: &Settings) -> Vec<NetworkPolicyEgressRule> {
    let anywhere = NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    let names = NetworkPolicyEgressRule { to: Some(vec![anywhere]), ports: Some(vec![port("UDP", 53), port("TCP", 53)]) };
    let of = |labels: BTreeMap<String, String>| NetworkPolicyPeer {
        pod_selector: Some(selector(labels)),
        ..NetworkPolicyPeer::default()
    };
    let project = BTreeMap::from([
        (labels::PROJECT.to_owned(), spec.project.0.to_string()),
        (labels::INSTALLATION.to_owned(), spec.installation.0.to_string()),
        (labels::COMPONENT.to_owned(), Component::Database.as_str().to_owned()),
    ]);
    // KubeBlocks gives its pods labels of its own, and not ours.
    let kubeblocks = BTreeMap::from([("app.kubernetes.io/instance".to_owned(), spec.name.to_string())]);
    let database = NetworkPolicyEgressRule { to: Some(vec![of(project), of(kubeblocks)]), ports: Some(vec![tcp(POSTGRES_PORT)]) };
    let mut rules = vec![names, database];
    if let Some(DatabaseEndpoint::Tcp(host, number)) = &spec.database {
        let given = settings.database.server.as_ref();
        let addresses = given.into_iter().flat_map(|server| server.addresses.iter().copied());
        let addresses: BTreeSet<IpAddr> = addresses.chain(host.parse::<IpAddr>().ok()).collect();
        let mut to: Vec<_> = addresses.into_iter().map(|address| block(cidr(address), Vec::new())).collect();
        to.extend(given.and_then(|server| server.pods.as_ref()).map(peer));
        // A rule that names nobody is for everybody.
        if !to.is_empty() {
            rules.push(NetworkPolicyEgressRule { to: Some(to), ports: Some(vec![tcp(*number)]) });
        }
    }
    let all = denied_ranges(settings);
    let denied = |four: bool| all.iter().filter(move |range| range.contains(':') != four).cloned();
    let four: Vec<String> = NOT_PUBLIC_4.map(str::to_owned).into_iter().chain(denied(true)).collect();
    let six = NOT_PUBLIC_6.map(str::to_owned).into_iter().chain(four.iter().filter_map(|range| translated(range)));
    let six = six.chain(denied(false)).collect();
    let public = [block("0.0.0.0/0".to_owned(), four), block("::/0".to_owned(), six)];
    rules.push(NetworkPolicyEgressRule { to: Some(public.into()), ports: None });
    rules
}

/// What is denied beside what is not public: as the operator says, and the apiserver's addresses, whatever order they came in.
fn denied_ranges(settings: &Settings) -> Vec<String> {
    let mut ranges = settings.denied_egress.clone();
    let addresses: BTreeSet<IpAddr> = settings.apiserver.iter().flat_map(|server| server.addresses.iter().copied()).collect();
    for range in addresses.into_iter().map(|address| address.to_canonical()).filter(|address| is_public(*address)).map(cidr) {
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

/// Whether sandboxes reach an address, but for [`denied_ranges`].
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    !NOT_PUBLIC_4.iter().chain(&NOT_PUBLIC_6).any(|range| is_within(address, range))
}

/// Whether an address is of a range; what is no range has none.
#[must_use]
pub fn is_within(address: IpAddr, range: &str) -> bool {
    let Some((network, bits)) = range.split_once('/') else { return false };
    let rest = |width: u32| width.checked_sub(bits.parse().ok()?);
    match (address, network.parse::<IpAddr>()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) => {
            let differs = address.to_bits() ^ network.to_bits();
            rest(32).is_some_and(|rest| differs.checked_shr(rest).unwrap_or(0) == 0)
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) => {
            let differs = address.to_bits() ^ network.to_bits();
            rest(128).is_some_and(|rest| differs.checked_shr(rest).unwrap_or(0) == 0)
        }
        _ => false,
    }
}

/// Whether a policy that opens the way to a given server at this port lacks one of the server's addresses. One of a
/// sandbox without a database opens none.
#[must_use]
pub fn misses_server(policy: &NetworkPolicy, port: u16, addresses: &[IpAddr]) -> bool {
    let ports = [tcp(port)];
    let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
    let peers = rules.filter(|rule| rule.ports.as_deref() == Some(&ports[..])).flat_map(|rule| rule.to.iter().flatten());
    let open: BTreeSet<&str> = peers.filter_map(|peer| Some(peer.ip_block.as_ref()?.cidr.as_str())).collect();
    !open.is_empty() && addresses.iter().any(|address| !open.contains(cidr(*address).as_str()))
}

/// A range of IPv4 where IPv6 is translated to it (RFC 6052). The rest of that prefix is the way to public addresses of a cluster
/// that has IPv6 alone.
fn translated(range: &str) -> Option<String> {
    let (address, bits) = range.split_once('/')?;
    let address = Ipv6Addr::from_bits((0x64_ff9b_u128 << 96) | u128::from(address.parse::<Ipv4Addr>().ok()?.to_bits()));
    Some(format!("{address}/{}", bits.parse::<u8>().ok()?.checked_add(96)?))
}

/// The range of one address.
fn cidr(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

fn peer(labels: &PeerLabels) -> NetworkPolicyPeer {
    let namespace = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), labels.namespace.clone())]);
    NetworkPolicyPeer {
        namespace_selector: Some(selector(namespace)),
        pod_selector: (!labels.labels.is_empty()).then(|| selector(labels.labels.clone())),
        ip_block: None,
    }
}

fn block(cidr: String, except: Vec<String>) -> NetworkPolicyPeer {
    let except = (!except.is_empty()).then_some(except);
    NetworkPolicyPeer { ip_block: Some(IPBlock { cidr, except }), ..NetworkPolicyPeer::default() }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn tcp(number: u16) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort { protocol: Some(protocol.to_owned()), port: Some(IntOrString::Int(i32::from(number))), end_port: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Apiserver, GivenServer};

    #[test]
    fn private_addresses_are_not_reached_by_translation_either() {
        for (range, six) in [
            ("10.0.0.0/8", Some("64:ff9b::a00:0/104")),
            ("168.63.129.16/32", Some("64:ff9b::a83f:8110/128")),
            ("169.254.0.0/16", Some("64:ff9b::a9fe:0/112")),
            ("203.0.113.7/32", Some("64:ff9b::cb00:7107/128")),
            ("10.0.0.0", None),
            ("10.0.0.0/x", None),
            ("fd00::/8", None),
        ] {
            assert_eq!(translated(range).as_deref(), six, "{range}");
        }
    }

    #[test]
    fn an_address_is_public_where_no_range_says_otherwise() {
        for (address, public) in [
            ("203.0.113.7", true),
            ("172.15.255.255", true),
            ("172.16.0.0", false),
            ("172.32.0.0", true),
            ("10.43.0.1", false),
            ("169.254.169.254", false),
            ("2001:db8::7", true),
            ("fd00::7", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
        let address: IpAddr = "203.0.113.7".parse().unwrap();
        assert!(is_within(address, "0.0.0.0/0") && is_within(address, "203.0.113.7/32"));
        for range in ["203.0.113.8/32", "::/0", "203.0.113.7", "203.0.113.7/33", "203.0.113.7/x"] {
            assert!(!is_within(address, range), "{range}");
        }
    }

    #[test]
    fn the_apiserver_is_denied_in_whatever_order_its_addresses_come() {
        let spec = engine::orchestrator::contract::spec();
        let of = |addresses: &[&str]| {
            let mut settings = Settings::new(spec.installation, "team");
            settings.denied_egress = vec!["203.0.113.9/32".to_owned()];
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            settings.apiserver = Some(Apiserver { host: "api.example.com".to_owned(), port: 443, addresses });
            policy(&spec, &settings)
        };
        let made = of(&["203.0.113.8", "203.0.113.7", "10.0.0.7", "203.0.113.9", "2001:db8::7"]);
        assert_eq!(made, of(&["2001:db8::7", "203.0.113.9", "203.0.113.7", "203.0.113.8"]));
        let rules = made.spec.unwrap().egress.unwrap();
        let blocks = rules.last().unwrap().to.clone().unwrap();
        let except = |number: usize| blocks[number].ip_block.clone().unwrap().except.unwrap();
        assert_eq!(except(0)[NOT_PUBLIC_4.len()..], ["203.0.113.9/32", "203.0.113.7/32", "203.0.113.8/32"]);
        assert_eq!(except(1).last().unwrap(), "2001:db8::7/128");
    }

    #[test]
    fn no_other_namespace_has_the_control_plane() {
        let spec = engine::orchestrator::contract::spec();
        let of = |control_plane_namespace: Option<&str>| {
            let settings = Settings {
                control_plane_labels: BTreeMap::from([("app".to_owned(), "fsa".to_owned())]),
                control_plane_namespace: control_plane_namespace.map(str::to_owned),
                ..Settings::new(spec.installation, "team")
            };
            let rules = policy(&spec, &settings).spec.unwrap().ingress.unwrap();
            let peers = rules[0].from.clone().unwrap();
            assert_eq!((rules.len(), peers.len()), (1, 1));
            let [namespace, pods] = [&peers[0].namespace_selector, &peers[0].pod_selector]
                .map(|selector| selector.as_ref().and_then(|selector| selector.match_labels.clone()).unwrap());
            assert_eq!(pods, settings.control_plane_labels);
            namespace
        };
        let named = |namespace: &str| BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
        assert_eq!(of(None), named("team"), "that of its sandboxes");
        assert_eq!(of(Some("platform")), named("platform"));
    }

    #[test]
    fn a_policy_that_lacks_an_address_of_the_given_server_is_told_from_one_that_opens_none() {
        let mut spec = engine::orchestrator::contract::spec();
        let mut settings = Settings::new(spec.installation, "team");
        let [one, two] = ["10.0.0.7", "fd00::7"].map(|address| address.parse::<IpAddr>().unwrap());
        let server = GivenServer::parse("postgresql://a:b@db.example.com/x", None).unwrap();
        let rules = |spec: &SandboxSpec, settings: &Settings| policy(spec, settings).spec.unwrap().egress.unwrap().len();
        settings.database.server = Some(GivenServer { addresses: vec![one], ..server.clone() });
        let bare = policy(&spec, &settings);
        let without = rules(&spec, &settings);
        spec.database = Some(DatabaseEndpoint::Tcp("db.example.com".to_owned(), 5432));
        assert_eq!(rules(&spec, &settings), without + 1);
        let open = policy(&spec, &settings);
        assert!(!misses_server(&open, 5432, &[one]) && misses_server(&open, 5432, &[one, two]));
        assert!(!misses_server(&bare, 5432, &[one]), "that of a sandbox without a database opens none");
        settings.database.server = Some(server);
        assert_eq!(rules(&spec, &settings), without, "no rule that names nobody");
    }
}
