//! Where the apiserver is beside the address by which this program reaches it: inside the cluster that is its Service's, and
//! what is behind it may be public.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{net::lookup_host, time::timeout};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What it says of itself to whoever may sign in (`GET /api`): the address that it advertises. Of several apiservers it is that of
/// the one that answers. None where it does not say.
pub async fn advertised(client: &Client) -> BTreeSet<IpAddr> {
    let Ok(Ok(said)) = timeout(ANSWER, client.list_core_api_versions()).await else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for said in said.server_address_by_client_cidrs {
        found.extend(addresses(said.server_address).await);
    }
    found
}

/// Where its Service leads to, all of it: one object of another namespace, which few accounts may see.
///
/// # Errors
/// What the cluster answers.
pub async fn behind(client: &Client) -> kube::Result<BTreeSet<IpAddr>> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let slice = timeout(ANSWER, slices.get("kubernetes")).await.map_err(|elapsed| kube::Error::Service(Box::new(elapsed)))??;
    let each = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    Ok(each.filter_map(|address| address.parse::<IpAddr>().ok()).map(|address| address.to_canonical()).collect())
}

/// Of a host, with its port or without.
async fn addresses(at: String) -> Vec<IpAddr> {
    if let Ok(address) = at.parse::<IpAddr>() {
        return vec![address.to_canonical()];
    }
    let has_port = at.parse::<SocketAddr>().is_ok() || at.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let at = if has_port { at } else { format!("{at}:443") };
    match timeout(ANSWER, lookup_host(at)).await {
        Ok(Ok(found)) => found.map(|address| address.ip().to_canonical()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex},
    };

    /// An apiserver that says this of itself, and of what is behind its Service, which else is forbidden to see. And what is asked.
    pub fn apiserver(advertised: &'static str, behind: Option<&'static [&'static str]>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let notes = asked.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let path = request.uri().path().to_owned();
            notes.lock().unwrap().push(path.clone());
            let (code, answer) = match (path.as_str(), behind) {
                ("/api", _) => (200, api(advertised)),
                ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", Some(behind)) => (
                    200,
                    json!({"metadata": {"name": "kubernetes"}, "addressType": "IPv4", "endpoints": [{"addresses": behind}]}),
                ),
                _ => (403, json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403})),
            };
            let answer = Body::from(serde_json::to_vec(&answer).unwrap());
            async move { Ok::<_, Infallible>(http::Response::builder().status(code).body(answer).unwrap()) }
        });
        (Client::new(service, "team"), asked)
    }

    fn api(advertised: &str) -> Value {
        let all = [json!({"clientCIDR": "0.0.0.0/0", "serverAddress": advertised})];
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": all})
    }

    #[tokio::test]
    async fn what_it_advertises_is_an_address_in_each_form() {
        for (said, expected) in [
            ("203.0.113.7:6443", "203.0.113.7"),
            ("203.0.113.7", "203.0.113.7"),
            ("[2001:db8::7]:6443", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ] {
            let (client, _) = apiserver(said, None);
            assert_eq!(advertised(&client).await, [expected.parse().unwrap()].into(), "{said}");
        }
        let (client, _) = apiserver("nobody.invalid:6443", None);
        assert!(advertised(&client).await.is_empty());
    }

    #[tokio::test]
    async fn all_that_is_behind_its_service_is_seen_where_that_is_allowed() {
        let (client, _) = apiserver("10.0.0.7:6443", Some(&["203.0.113.7", "203.0.113.8"]));
        let expected = ["203.0.113.7", "203.0.113.8"].map(|address| address.parse().unwrap());
        assert_eq!(behind(&client).await.unwrap(), expected.into());
        let (client, _) = apiserver("10.0.0.7:6443", None);
        assert!(matches!(behind(&client).await, Err(kube::Error::Api(status)) if status.is_forbidden()));
    }
}
