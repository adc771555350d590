//! Whether sandboxes are kept from the apiserver, at each address that it is known to have.

use super::{Finding, Verdict};
use crate::{Settings, apiserver, connection::Connected, manifests::is_public, settings::Apiserver};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use tokio::{net::lookup_host, time::timeout};

/// How long a name may take to be looked up.
const ANSWER: Duration = Duration::from_secs(5);

/// What is known of where it is: every policy denies all of it.
struct Known<'a> {
    /// As this program reaches it.
    host: &'a str,
    /// What that stands for. None where it stands for nothing.
    addresses: BTreeSet<IpAddr>,
    /// What it says of itself.
    advertised: BTreeSet<IpAddr>,
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
    let client = &connected.cluster.client;
    let (found, advertised, behind) = tokio::join!(
        timeout(ANSWER, lookup_host((host.as_str(), port))),
        apiserver::advertised(client),
        apiserver::behind(client)
    );
    let addresses = match found {
        Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).collect(),
        _ => BTreeSet::new(),
    };
    let behind = behind.ok().filter(|behind| !behind.is_empty());
    let (inside, denied) = (connected.in_cluster, settings.denied_egress.as_slice());
    Some(judge(&Known { host: &host, addresses, advertised, behind, inside, denied }))
}

fn judge(known: &Known<'_>) -> Finding {
    let warn = |what: String, mend: &[&str]| {
        let why = "Whatever runs in a sandbox could try the apiserver, and what it does not ask a password for.";
        Finding::new("apiserver address", Verdict::Warn, what, why, mend)
    };
    let text = |all: &BTreeSet<&IpAddr>| all.iter().map(|address| (**address).to_string()).collect::<Vec<_>>().join(", ");
    if known.addresses.is_empty() {
        return warn(
            format!("What the apiserver's name `{}` stands for was not found, so no policy keeps sandboxes from it.", known.host),
            &[
                "Check the name: it is looked up again by itself, and denied to each sandbox from its next start on.",
                "Or name its public addresses: `--egress-deny 203.0.113.7/32` (FSA_EGRESS_DENY).",
            ],
        );
    }
    let public: BTreeSet<&IpAddr> = known.advertised.iter().filter(|address| is_public(**address)).collect();
    // One that advertises a private address is in a private network, with all others beside it.
    let may_have_more = known.advertised.is_empty() || !public.is_empty();
    if known.inside && known.behind.is_none() && known.denied.is_empty() && may_have_more {
        let mend = [
            "Let the account see it (with the chart: `rbac.apiserverReader: true`): what is public of it is denied by itself then.",
            "Or look at it, `kubectl get endpointslices -n default kubernetes`, and name what is public of it: `--egress-deny 203.0.113.7/32` (FSA_EGRESS_DENY).",
        ];
        let what = if public.is_empty() {
            "Where the apiserver is behind its Service may not be seen by this account. If that is a public address, sandboxes reach it."
                .to_owned()
        } else {
            format!(
                "The apiserver is at {}, which policies deny. Whether there are more of it may not be seen by this account: sandboxes \
                 reach those with a public address.",
                text(&public)
            )
        };
        return warn(what, &mend);
    }
    let all = known.addresses.iter().chain(&known.advertised).chain(known.behind.iter().flatten()).collect();
    let what = format!("Policies keep sandboxes from the apiserver, at {}.", text(&all));
    Finding::ok("apiserver address", what, "What runs in a sandbox has no business with it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(addresses: &[&str], advertised: &[&str], behind: Option<&[&str]>, inside: bool, denied: &[&str]) -> Finding {
        let parsed = |all: &[&str]| all.iter().map(|address| address.parse().unwrap()).collect();
        let denied: Vec<String> = denied.iter().map(|range| (*range).to_owned()).collect();
        let (host, behind) = ("api.example.com", behind.map(parsed));
        judge(&Known { host, addresses: parsed(addresses), advertised: parsed(advertised), behind, inside, denied: &denied })
    }

    #[test]
    fn an_address_that_no_policy_denies_is_warned_of() {
        let (public, private) = ("203.0.113.7", "10.0.0.7");
        for (what, finding) in [
            ("as it is reached", said(&[public], &[], None, false, &[])),
            ("which is all there is", said(&[public], &[public], Some(&[public]), false, &[])),
            ("private", said(&["10.43.0.1"], &[], Some(&[private]), true, &[])),
            ("private, as it says itself", said(&["10.43.0.1"], &[private], None, true, &[])),
            ("public, and seen", said(&["10.43.0.1"], &[public], Some(&[public]), true, &[])),
            ("not seen, and named", said(&["10.43.0.1"], &[], None, true, &["203.0.113.7/32"])),
        ] {
            assert_eq!(finding.verdict, Verdict::Ok, "{what}: {finding:?}");
        }
        for (words, finding) in [
            ("`api.example.com`", said(&[], &[private], None, false, &[])),
            ("behind its Service", said(&["10.43.0.1"], &[], None, true, &[])),
            ("is at 203.0.113.7, which policies deny", said(&["10.43.0.1"], &[public], None, true, &[])),
        ] {
            assert!(finding.verdict == Verdict::Warn && finding.what.contains(words) && !finding.mend.is_empty(), "{finding:?}");
        }
        let all = said(&["10.43.0.1"], &[public], Some(&["2001:db8::7", public]), true, &[]);
        assert!(all.what.contains("at 10.43.0.1, 203.0.113.7, 2001:db8::7."), "{all:?}");
    }
}
