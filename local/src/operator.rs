//! The operator's credentials, as sandboxes get them: an address on the machine's own loopback, which
//! nothing inside can reach, becomes a made-up host name that the egress filter maps back.

use crate::keeper::egress::EgressRule;
use std::collections::BTreeMap;

/// The made-up name of the operator's model gateway. `.internal` is reserved for such use.
pub const ANTHROPIC_HOST: &str = "anthropic.sandbox.internal";
/// The variables whose addresses are implied as allowed ways out.
const ADDRESSES: &[(&str, &str)] = &[("ANTHROPIC_BASE_URL", ANTHROPIC_HOST)];

/// Rewrites the operator's variables for the inside of a sandbox, and answers the ways out that they
/// imply. What is no address is left as it is.
#[must_use]
pub fn map_env(mut env: BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<EgressRule>) {
    let mut rules = Vec::new();
    for (key, made_up) in ADDRESSES {
        let Some(value) = env.get_mut(*key) else { continue };
        let Some(address) = Address::parse(value) else { continue };
        if address.is_loopback() {
            rules.push(EgressRule {
                host: (*made_up).to_owned(),
                port: address.port,
                target: Some((address.host.clone(), address.port)),
            });
            *value = format!("{}://{made_up}:{}{}", address.scheme, address.port, address.rest);
        } else {
            rules.push(EgressRule { host: address.host.clone(), port: address.port, target: None });
        }
    }
    (env, rules)
}

/// The rule that an address such as GitHub's implies: allowed, wherever it is.
#[must_use]
pub fn implied(url: &str) -> Option<EgressRule> {
    Address::parse(url).map(|address| EgressRule { host: address.host, port: address.port, target: None })
}

struct Address {
    scheme: String,
    host: String,
    port: u16,
    rest: String,
}

impl Address {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, after) = url.trim().split_once("://")?;
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (place, rest) = after.split_at(end);
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        let usual = match scheme.to_ascii_lowercase().as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let (host, port) = if let Some(inner) = place.strip_prefix('[') {
            let (host, port) = inner.split_once(']')?;
            (host, port.strip_prefix(':'))
        } else {
            match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            }
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None => usual,
        };
        (!host.is_empty()).then(|| Self {
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_ascii_lowercase(),
            port,
            rest: rest.to_owned(),
        })
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(url: &str) -> (String, Vec<EgressRule>) {
        let (mut env, rules) = map_env(BTreeMap::from([("ANTHROPIC_BASE_URL".to_owned(), url.to_owned())]));
        (env.remove("ANTHROPIC_BASE_URL").unwrap(), rules)
    }

    #[test]
    fn a_loopback_address_becomes_a_made_up_name() {
        for (given, shown, target) in [
            ("http://127.0.0.1:8123", "http://anthropic.sandbox.internal:8123", ("127.0.0.1", 8123)),
            ("http://localhost:8123/v1?x=y", "http://anthropic.sandbox.internal:8123/v1?x=y", ("localhost", 8123)),
            ("HTTP://[::1]/", "http://anthropic.sandbox.internal:80/", ("::1", 80)),
        ] {
            let (url, rules) = mapped(given);
            assert_eq!(url, shown);
            assert_eq!(rules.len(), 1);
            assert_eq!(rules[0].target, Some((target.0.to_owned(), target.1)));
        }
    }

    #[test]
    fn another_address_is_allowed_as_it_is() {
        let (url, rules) = mapped("https://gateway.corp:8443/anthropic");
        assert_eq!(url, "https://gateway.corp:8443/anthropic");
        assert_eq!(rules, [EgressRule { host: "gateway.corp".into(), port: 8443, target: None }]);
        assert_eq!(mapped("nonsense").1, []);
    }
}
