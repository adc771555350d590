//! What the operator decides about the cluster.

use crate::connection::Connected;
use model::InstallationId;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr as _,
};

/// The image that sandboxes run, unless the operator says otherwise.
pub const DEFAULT_IMAGE: &str = "fullstackagent/fullstack-web-runtime:latest";

/// Everything that the manifests depend on beside a sandbox's own spec.
#[derive(Debug, Clone)]
pub struct Settings {
    /// On everything that is made.
    pub installation: InstallationId,
    /// The one namespace.
    pub namespace: String,
    /// What sandboxes run.
    pub image: String,
    /// How the image brings what serves the terminal.
    pub runtime: Runtime,
    /// When images are pulled: `IfNotPresent`, `Always` or `Never`.
    pub image_pull_policy: String,
    /// Secrets with the credentials of private registries.
    pub image_pull_secrets: Vec<String>,
    /// The class of volumes; the cluster's default where there is none.
    pub storage_class: Option<String>,
    /// Where the agent listens in its pod; `::` in a cluster of IPv6 alone.
    pub listen: IpAddr,
    /// How sandboxes are reached by browsers without the control plane between.
    pub ingress: Option<IngressSettings>,
    /// Which pods are the control plane: NetworkPolicies open 7681 and 7682 to them alone. Empty: whatever is outside
    /// the cluster's own pods (a control plane that reaches in by port-forward comes from the node).
    pub control_plane_labels: BTreeMap<String, String>,
    /// The namespace of these pods; [`Settings::namespace`] where there is none.
    pub control_plane_namespace: Option<String>,
    /// Which namespace and pods the ingress controller is.
    pub ingress_controller: Option<PeerLabels>,
    /// Address ranges that sandboxes never reach beside the private ones and [`Settings::apiserver`].
    pub denied_egress: Vec<String>,
    /// Where the apiserver is: sandboxes never reach it.
    pub apiserver: Option<Apiserver>,
    /// What databases are made of.
    pub database: DatabaseSettings,
}

/// How an image brings what serves the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// The image contains the sandbox agent (at [`AGENT_IN_IMAGE`]).
    Agent,
    /// An init container of this image puts the agent in.
    Injected {
        /// The agent's image.
        image: String,
    },
    /// The image runs stock ttyd on 7681: no files, ports or resume.
    Ttyd,
}

/// Where an image of ours has its agent.
pub const AGENT_IN_IMAGE: &str = "/usr/local/bin/sandbox-agent";

/// Where an apiserver is, as this program reaches it: by its own address, or by that of its Service where this runs inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apiserver {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What its host stands for, as far as that is known.
    pub addresses: Vec<IpAddr>,
}

impl Apiserver {
    /// By its URL; `None` for what is none.
    #[must_use]
    pub fn at(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        Some(Self { addresses: host.parse().into_iter().collect(), host, port })
    }
}

/// Pods in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLabels {
    /// `kubernetes.io/metadata.name` of the namespace.
    pub namespace: String,
    /// Labels of the pods; empty is all of them.
    pub labels: BTreeMap<String, String>,
}

/// Host names of sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressSettings {
    /// `NAME.DOMAIN` is the application, `NAME-terminal.DOMAIN` the terminal.
    pub domain: String,
    /// The Secret of a wildcard certificate; without one it is plain HTTP.
    pub tls_secret: Option<String>,
    /// The class; the cluster's default where there is none.
    pub class: Option<String>,
    /// Instead of the usual annotations of nginx. `{name}` in a value stands for the Ingress's name.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Where Ingresses ask who comes: the control plane's address as the ingress controller reaches it.
    pub auth_url: Option<String>,
    /// Where browsers are sent that nobody knows: the control plane's public address.
    pub sign_in_url: Option<String>,
}

impl IngressSettings {
    /// Of this domain, with everything else as the cluster has it.
    pub fn new(domain: impl Into<String>) -> Self {
        Self { domain: domain.into(), tls_secret: None, class: None, annotations: None, auth_url: None, sign_in_url: None }
    }
}

/// Which provider makes databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatabaseProvider {
    /// KubeBlocks where its API is served, else a StatefulSet.
    #[default]
    Auto,
    /// KubeBlocks, v1 before v1alpha1.
    KubeBlocks,
    /// A StatefulSet of PostgreSQL.
    StatefulSet,
    /// The server of [`DatabaseSettings::server`].
    Server,
}

/// A PostgreSQL server that was given for projects' databases. `Debug` shows neither user nor password.
#[derive(Clone)]
pub struct GivenServer {
    /// The way to it, as a role that may create roles and databases.
    pub admin: PgConnectOptions,
    /// Its host: sandboxes connect to it by the same name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where its pods are, if it is one of the cluster's own: an address of a Service is none of a pod.
    pub pods: Option<PeerLabels>,
    /// What its host's name stands for.
    pub addresses: Vec<IpAddr>,
}

impl GivenServer {
    /// From its address, and the namespace of its pods.
    ///
    /// # Errors
    /// What is wrong with it, without the address itself.
    pub fn parse(url: &str, namespace: Option<String>) -> Result<Self, &'static str> {
        let admin = PgConnectOptions::from_str(url).map_err(|_| "that is no address of a PostgreSQL")?;
        let host = admin.get_host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let address = host.parse::<IpAddr>().ok();
        if admin.get_socket().is_some() || host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return Err("no sandbox of a cluster reaches this machine's own addresses and sockets");
        }
        Ok(Self {
            port: admin.get_port(),
            admin: admin.disable_statement_logging(),
            host,
            pods: namespace.map(|namespace| PeerLabels { namespace, labels: BTreeMap::new() }),
            addresses: address.into_iter().collect(),
        })
    }
}

impl fmt::Debug for GivenServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenServer({}:{})", self.host, self.port)
    }
}

/// What databases are made of.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// By whom.
    pub provider: DatabaseProvider,
    /// A server that was given, beside whoever makes the next ones: who has a database there keeps it.
    pub server: Option<GivenServer>,
    /// PostgreSQL's image, for a StatefulSet.
    pub image: String,
    /// The version asked of KubeBlocks.
    pub version: String,
    /// 1, or more for high availability (KubeBlocks alone).
    pub replicas: u16,
    /// Reserved and most CPU, in thousandths of a core.
    pub cpu_millis: (u32, u32),
    /// Reserved and most memory, in bytes.
    pub memory_bytes: (u64, u64),
    /// The size of its volume, in bytes.
    pub disk_bytes: u64,
    /// The class of its volume; [`Settings::storage_class`] where there is none.
    pub storage_class: Option<String>,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            provider: DatabaseProvider::Auto,
            server: None,
            image: "postgres:17".to_owned(),
            version: "14.8.0".to_owned(),
            replicas: 1,
            cpu_millis: (100, 1000),
            memory_bytes: (102 * MIB, 1024 * MIB),
            disk_bytes: 3 * 1024 * MIB,
            storage_class: None,
        }
    }
}

impl Settings {
    /// The usual ones.
    #[must_use]
    pub fn new(installation: InstallationId, namespace: impl Into<String>) -> Self {
        Self {
            installation,
            namespace: namespace.into(),
            image: DEFAULT_IMAGE.to_owned(),
            runtime: Runtime::Agent,
            image_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: Vec::new(),
            storage_class: None,
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ingress: None,
            control_plane_labels: BTreeMap::new(),
            control_plane_namespace: None,
            ingress_controller: None,
            denied_egress: Vec::new(),
            apiserver: None,
            database: DatabaseSettings::default(),
        }
    }

    /// The same for a cluster that is reached so: its apiserver is kept from sandboxes.
    #[must_use]
    pub fn reached_by(self, connected: &Connected) -> Self {
        Self { apiserver: Apiserver::at(&connected.server), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apiserver_is_where_its_url_says() {
        let at = |url| Apiserver::at(url).map(|server| (server.host, server.port, server.addresses.len()));
        assert_eq!(at("https://203.0.113.7:6443"), Some(("203.0.113.7".to_owned(), 6443, 1)));
        assert_eq!(at("https://[2001:db8::7]/"), Some(("2001:db8::7".to_owned(), 443, 1)));
        assert_eq!(at("https://api.example.com/k8s/clusters/c"), Some(("api.example.com".to_owned(), 443, 0)));
        assert_eq!(at("http://api.example.com"), Some(("api.example.com".to_owned(), 80, 0)));
        assert_eq!(at("/nowhere"), None);
    }

    #[test]
    fn a_given_server_is_one_that_sandboxes_reach() {
        let server =
            GivenServer::parse("postgresql://admin:hunter2@db.example.com:6432/postgres", Some("db".to_owned())).unwrap();
        assert_eq!((server.host.as_str(), server.port, server.addresses.len()), ("db.example.com", 6432, 0));
        assert_eq!(server.pods.as_ref().map(|pods| pods.namespace.as_str()), Some("db"));
        let shown = format!("{:?}", DatabaseSettings { server: Some(server), ..DatabaseSettings::default() });
        assert!(shown.contains("db.example.com:6432") && !shown.contains("hunter2"), "{shown}");
        for (url, host) in [("postgresql://a:b@10.0.0.7/x", "10.0.0.7"), ("postgresql://a:b@[2001:db8::7]:5432/x", "2001:db8::7")]
        {
            let server = GivenServer::parse(url, None).unwrap();
            assert_eq!((server.host.as_str(), server.addresses), (host, vec![host.parse().unwrap()]));
        }
        for url in ["nonsense", "postgresql://a:b@localhost/x", "postgresql://a:b@127.0.0.1:5432/x", "postgresql://a:b@[::1]/x"] {
            assert!(GivenServer::parse(url, None).is_err(), "{url}");
        }
    }
}
