//! Whether sandboxes are kept from the apiserver, at each address that it is known to have.

use super::{Finding, Verdict};
use crate::{
    Settings,
    connection::Connected,
    manifests::{is_public, is_within},
    settings::Apiserver,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, api::ListParams};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use tokio::{net::lookup_host, time::timeout};

/// How long a name may take to be looked up.
const ANSWER: Duration = Duration::from_secs(5);

/// What is known of where it is.
struct Known<'a> {
    /// As this program reaches it.
    host: &'a str,
    /// What that stands for: denied by every policy. None where it stands for nothing.
    addresses: BTreeSet<IpAddr>,
    /// Where its Service leads to, where the account may see that.
    behind: Option<BTreeSet<IpAddr>>,
    /// Whether this runs inside, and reaches it by its Service.
    inside: bool,
    /// What the operator denies.
    denied: &'a [String],
}

/// Looks up where it is, and says whether policies deny that.
pub async fn check(connected: &Connected, settings: &Settings) -> Option<Finding> {
    let Apiserver { host, port, .. } = Apiserver::at(&connected.server)?;
    let (found, behind) = tokio::join!(timeout(ANSWER, lookup_host((host.as_str(), port))), behind(connected));
    let addresses = match found {
        Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).collect(),
        _ => BTreeSet::new(),
    };
    let (inside, denied) = (connected.in_cluster, settings.denied_egress.as_slice());
    Some(judge(&Known { host: &host, addresses, behind, inside, denied }))
}

/// Where the Service of every cluster that is the apiserver leads to. It is in another namespace, where few accounts may look.
async fn behind(connected: &Connected) -> Option<BTreeSet<IpAddr>> {
    let slices: Api<EndpointSlice> = Api::namespaced(connected.cluster.client.clone(), "default");
    let listed = slices.list(&ListParams::default().labels("kubernetes.io/service-name=kubernetes")).await.ok()?;
    let each = listed.items.iter().flat_map(|slice| &slice.endpoints).flat_map(|endpoint| &endpoint.addresses);
    let addresses: BTreeSet<IpAddr> = each.filter_map(|address| address.parse().ok()).collect();
    (!addresses.is_empty()).then_some(addresses)
}

fn judge(known: &Known<'_>) -> Finding {
    let warn = |what: String, mend: &[&str]| {
        let why = "Whatever runs in a sandbox could try the apiserver, and what it does not ask a password for.";
        Finding::new("apiserver address", Verdict::Warn, what, why, mend)
    };
    if known.addresses.is_empty() {
        return warn(
            format!("What the apiserver's name `{}` stands for was not found, so no policy keeps sandboxes from it.", known.host),
            &[
                "Check the name: it is looked up again by itself, and denied to each sandbox from its next start on.",
                "Or name its public addresses: `--egress-deny 203.0.113.7/32` (FSA_EGRESS_DENY).",
            ],
        );
    }
    let is_denied = |address: &IpAddr| {
        !is_public(*address) || known.addresses.contains(address) || known.denied.iter().any(|range| is_within(*address, range))
    };
    let open: Vec<String> = known.behind.iter().flatten().filter(|address| !is_denied(address)).map(IpAddr::to_string).collect();
    if !open.is_empty() {
        let ranges: Vec<String> =
            open.iter().map(|address| format!("{address}/{}", if address.contains(':') { 128 } else { 32 })).collect();
        return warn(
            format!("The apiserver is also at {}, which is public, and which sandboxes reach.", open.join(", ")),
            &[&format!("Deny it: `--egress-deny {}` (FSA_EGRESS_DENY).", ranges.join(","))],
        );
    }
    if known.inside && known.behind.is_none() && known.denied.is_empty() {
        return warn(
            "Where the apiserver is behind its Service may not be seen by this account. If that is a public address, sandboxes reach it."
                .to_owned(),
            &[
                "Look at it: `kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes`.",
                "Name what is public of it: `--egress-deny 203.0.113.7/32` (FSA_EGRESS_DENY).",
            ],
        );
    }
    let addresses: Vec<String> = known
        .addresses
        .iter()
        .chain(known.behind.iter().flatten())
        .map(IpAddr::to_string)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let what = format!("Policies keep sandboxes from the apiserver, at {}.", addresses.join(", "));
    Finding::ok("apiserver address", what, "What runs in a sandbox has no business with it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(addresses: &[&str], behind: Option<&[&str]>, inside: bool, denied: &[&str]) -> Finding {
        let parsed = |all: &[&str]| all.iter().map(|address| address.parse().unwrap()).collect();
        let denied: Vec<String> = denied.iter().map(|range| (*range).to_owned()).collect();
        let host = "api.example.com";
        judge(&Known { host, addresses: parsed(addresses), behind: behind.map(parsed), inside, denied: &denied })
    }

    #[test]
    fn an_address_that_no_policy_denies_is_warned_of() {
        let (public, private) = ("203.0.113.7", "10.0.0.7");
        for (what, finding) in [
            ("as it is reached", said(&[public], None, false, &[])),
            ("which is all there is", said(&[public], Some(&[public]), false, &[])),
            ("private", said(&["10.43.0.1"], Some(&[private]), true, &[])),
            ("named", said(&["10.43.0.1"], Some(&[public]), true, &["203.0.113.0/24"])),
            ("not seen, and named", said(&["10.43.0.1"], None, true, &["203.0.113.7/32"])),
        ] {
            assert_eq!(finding.verdict, Verdict::Ok, "{what}: {finding:?}");
        }
        for (words, finding) in [
            ("`api.example.com`", said(&[], None, false, &[])),
            ("is also at 203.0.113.7", said(&["10.43.0.1"], Some(&[private, public]), true, &[])),
            ("may not be seen", said(&["10.43.0.1"], None, true, &[])),
        ] {
            assert!(finding.verdict == Verdict::Warn && finding.what.contains(words) && !finding.mend.is_empty(), "{finding:?}");
        }
        let open = said(&["198.51.100.1"], Some(&["2001:db8::7", public]), false, &[]);
        assert!(open.mend[0].contains("203.0.113.7/32,2001:db8::7/128"), "{open:?}");
    }
}
