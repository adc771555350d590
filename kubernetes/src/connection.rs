//! Which cluster, and whether it may be used.
//!
//! ```text
//!   --kubeconfig FILE ─▶ .secret/kubeconfig ─▶ the account of the pod that this runs in
//! ```
//!
//! The first that is there is used; one that is there and wrong is an error, and the next is not tried. What only
//! the cluster can say (whether it answers, whether it knows us) is no error here: [`Connected::probe`] asks it,
//! and asks again later.

use crate::{Cluster, causes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use model::{Cause, CauseCode};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use x509_cert::der::Decode as _;

/// What the operator says about the connection.
#[derive(Debug, Clone, Default)]
pub struct ConnectionSettings {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// The folder that may hold a `kubeconfig`.
    pub secret_dir: PathBuf,
    /// `--allow-loopback-cluster`: kind, k3d and the like are meant.
    pub allow_loopback_cluster: bool,
    /// `--allow-exec-credentials`: programs that the kubeconfig names may be run.
    pub allow_exec_credentials: bool,
    /// The namespace, where it is not the context's.
    pub namespace: Option<String>,
}

/// Where the connection was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file that `--kubeconfig` names.
    Flag(PathBuf),
    /// The kubeconfig in the folder of secrets.
    SecretDir(PathBuf),
    /// The account of the pod that this runs in.
    InCluster,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(file) | Self::SecretDir(file) => write!(f, "the kubeconfig {}", file.display()),
            Self::InCluster => f.write_str("the account of this pod"),
        }
    }
}

/// A cluster to use; it may not answer yet.
#[derive(Clone)]
pub struct Connected {
    /// The client, and the one namespace.
    pub cluster: Cluster,
    /// Where it was read from.
    pub source: Source,
    /// The apiserver's URL.
    pub server: String,
    /// Whether this runs in a pod of that cluster.
    pub in_cluster: bool,
    /// The kubeconfig's context.
    pub context: Option<String>,
}

/// A context of a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: PathBuf,
    /// Which context.
    pub context: String,
    /// Its apiserver's URL, where it leads to one.
    pub server: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "context `{}` of the kubeconfig {}", self.context, self.file.display())?;
        self.server.as_ref().map_or(Ok(()), |server| write!(f, " ({server})"))
    }
}

/// A configuration that cannot become right by waiting. Each text is what is wrong, where, and the mend; none
/// quotes the file.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No source is there.
    #[error(
        "No cluster is named: there is no --kubeconfig, no {}, and this does not run in a pod. Name one: `--kubeconfig FILE`, or put \
         the file there.", .0.display()
    )]
    Nothing(PathBuf),
    /// The file is not there, or may not be read.
    #[error("The kubeconfig {} {why}. Check the path given by --kubeconfig, and that the server's user may read it.", .file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// There is nothing in the file.
    #[error("The kubeconfig {} is empty. Get one from whoever runs the cluster, or write it: `kubectl config view --minify --flatten`.", .0.display())]
    Empty(PathBuf),
    /// The file is no kubeconfig.
    #[error("The kubeconfig {} is no kubeconfig: {why}. Check it: `kubectl --kubeconfig {} config view`.", .file.display(), .file.display())]
    NotKubeconfig {
        /// Which.
        file: PathBuf,
        /// Why, without its text.
        why: &'static str,
    },
    /// It names no context.
    #[error(
        "The kubeconfig {} has no contexts, so it names no cluster. Add one: `kubectl --kubeconfig {} config set-context NAME --cluster=… --user=…`.",
        .0.display(), .0.display()
    )]
    NoContexts(PathBuf),
    /// It names several and chooses none, or chooses one that is not there.
    #[error(
        "The kubeconfig {} {why}. Choose one of its contexts ({}): `kubectl --kubeconfig {} config use-context NAME`.",
        .file.display(), .contexts.join(", "), .file.display()
    )]
    ContextUnknown {
        /// Which file.
        file: PathBuf,
        /// What is wrong with the choice.
        why: String,
        /// What there is.
        contexts: Vec<String>,
    },
    /// The context's parts do not fit together.
    #[error("The {at} {why}. Mend it with `kubectl --kubeconfig {} config set-{part} …`.", .at.file.display())]
    ContextIncomplete {
        /// Where.
        at: Box<Place>,
        /// What is missing.
        why: String,
        /// `context`, `cluster` or `credentials`.
        part: &'static str,
    },
    /// The server is this machine.
    #[error(
        "The {0} is for this machine, which is not a cluster that others reach. Name another, or say that it is meant (kind, k3d): \
         --allow-loopback-cluster."
    )]
    Loopback(Box<Place>),
    /// It wants a program to be run for its credentials.
    #[error(
        "The {at} gets its credentials from {what}, which is not run unless you say so: --allow-exec-credentials. Or use a kubeconfig \
         with a token or a certificate."
    )]
    CredentialPlugin {
        /// Where.
        at: Box<Place>,
        /// Which program or provider.
        what: String,
    },
    /// That was run, and gave none.
    #[error(
        "The {at} gets its credentials from {what}, which {why}. Run it by hand as this user and mend what it says, or use a kubeconfig \
         with a token or a certificate."
    )]
    NoCredentials {
        /// Where.
        at: Box<Place>,
        /// Which program or provider.
        what: String,
        /// Why, without what it printed.
        why: String,
    },
    /// A certificate in it is not valid now.
    #[error("The {what} of the {at} {when}. Get a new kubeconfig from whoever runs the cluster.")]
    CertificateDated {
        /// Where.
        at: Box<Place>,
        /// `client certificate` or `certificate authority`.
        what: &'static str,
        /// Since when it is not valid any more, or from when on.
        when: String,
    },
    /// Something in it cannot be used.
    #[error("The {at} cannot be used: {why}. Get a new kubeconfig from whoever runs the cluster.")]
    Unusable {
        /// Where.
        at: Box<Place>,
        /// Why.
        why: String,
    },
    /// The namespace's name is none.
    #[error(
        "`{name}` ({from}) is no name of a namespace: at most 63 of a-z, 0-9 and `-`. Name one that exists: --namespace NAME."
    )]
    NamespaceName {
        /// As given.
        name: String,
        /// By whom.
        from: String,
    },
    /// The account of the pod cannot be used.
    #[error(
        "This runs in a pod, and the pod's account cannot be used: {0}. Give the pod a ServiceAccount with automountServiceAccountToken, \
         or name a --kubeconfig."
    )]
    InCluster(String),
}

/// How long a connection to the apiserver may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may take to answer a small request.
const ANSWER: Duration = Duration::from_secs(10);
/// The namespace of the pod that this runs in, of whatever cluster; `None` where it is no pod, or one without an account's token.
#[must_use]
pub fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// A small request that takes longer than this is told of.
pub const SLOW: Duration = Duration::from_secs(2);

/// Chooses the cluster and makes its client. Nothing is sent to it.
///
/// # Errors
/// As [`ConnectionError`]: a configuration that is wrong.
pub async fn connect(settings: &ConnectionSettings) -> Result<Connected, ConnectionError> {
    let beside = settings.secret_dir.join("kubeconfig");
    let (file, source) = match &settings.kubeconfig {
        Some(file) => (file.clone(), Source::Flag(file.clone())),
        None if beside.exists() => (beside.clone(), Source::SecretDir(beside)),
        None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => return in_cluster(settings),
        None => return Err(ConnectionError::Nothing(beside)),
    };
    let kubeconfig = read(&file)?;
    let chosen = choose(&file, &kubeconfig)?;
    let at = || Box::new(chosen.at.clone());
    if !settings.allow_loopback_cluster && is_loopback(&chosen.uri).await {
        return Err(ConnectionError::Loopback(at()));
    }
    if !settings.allow_exec_credentials
        && let Some(what) = plugin(&chosen.user)
    {
        return Err(ConnectionError::CredentialPlugin { at: at(), what });
    }
    let unusable = |why: String| ConnectionError::Unusable { at: at(), why };
    if chosen.proxy {
        return Err(unusable("it asks for a proxy (proxy-url), which this program does not speak".to_owned()));
    }
    let options = KubeConfigOptions { context: Some(chosen.at.context.clone()), ..KubeConfigOptions::default() };
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(causes::chain(&error)))?;
    dates(&chosen, &config)?;
    config.connect_timeout = Some(CONNECT);
    let from_context = config.default_namespace.clone();
    let namespace = namespace(settings, &from_context, &format!("the {}", chosen.at))?;
    config.default_namespace.clone_from(&namespace);
    let client = Client::try_from(config).map_err(|error| match (plugin(&chosen.user), causes::no_credentials(&error)) {
        (Some(what), Some(why)) => ConnectionError::NoCredentials { at: at(), what, why },
        _ => unusable(causes::chain(&error)),
    })?;
    Ok(Connected {
        cluster: Cluster { client, namespace },
        source,
        server: chosen.uri.to_string().trim_end_matches('/').to_owned(),
        in_cluster: false,
        context: Some(chosen.at.context),
    })
}

fn in_cluster(settings: &ConnectionSettings) -> Result<Connected, ConnectionError> {
    let wrong = |error: &(dyn std::error::Error + 'static)| ConnectionError::InCluster(causes::chain(error));
    let mut config = Config::incluster().map_err(|error| wrong(&error))?;
    config.connect_timeout = Some(CONNECT);
    let namespace = namespace(settings, &config.default_namespace, "the pod's account")?;
    config.default_namespace.clone_from(&namespace);
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| wrong(&error))?;
    Ok(Connected { cluster: Cluster { client, namespace }, source: Source::InCluster, server, in_cluster: true, context: None })
}

fn read(file: &Path) -> Result<Kubeconfig, ConnectionError> {
    let unreadable = |why: &str| ConnectionError::Unreadable { file: file.to_owned(), why: why.to_owned() };
    let bytes = std::fs::read(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unreadable("does not exist"),
        std::io::ErrorKind::PermissionDenied => unreadable("may not be read by this user"),
        std::io::ErrorKind::IsADirectory => unreadable("is a folder"),
        _ => unreadable(&format!("cannot be read ({error})")),
    })?;
    let not = |why: &'static str| ConnectionError::NotKubeconfig { file: file.to_owned(), why };
    let text = String::from_utf8(bytes).map_err(|_| not("it is not text"))?;
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#') && line.trim() != "---";
    if !text.lines().any(|line| says(&line)) {
        return Err(ConnectionError::Empty(file.to_owned()));
    }
    // The parser's own words would quote the file.
    let mut kubeconfig = Kubeconfig::from_yaml(&text).map_err(|_| not("it is not YAML with clusters, users and contexts"))?;
    // Paths in it are from where it lies.
    let beside = |path: &mut Option<String>| {
        if let (Some(given), Some(folder)) = (path.as_mut(), file.parent())
            && Path::new(given.as_str()).is_relative()
        {
            *given = folder.join(given.as_str()).to_string_lossy().into_owned();
        }
    };
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        beside(&mut cluster.certificate_authority);
    }
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        beside(&mut user.client_certificate);
        beside(&mut user.client_key);
        beside(&mut user.token_file);
    }
    Ok(kubeconfig)
}

/// The context, and what it leads to.
struct Chosen {
    at: Place,
    uri: http::Uri,
    proxy: bool,
    user: AuthInfo,
}

fn choose(file: &Path, kubeconfig: &Kubeconfig) -> Result<Chosen, ConnectionError> {
    let contexts: Vec<String> = kubeconfig.contexts.iter().map(|named| named.name.clone()).collect();
    let unknown = |why: String| ConnectionError::ContextUnknown { file: file.to_owned(), why, contexts: contexts.clone() };
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let name = match (current, contexts.as_slice()) {
        (_, []) => return Err(ConnectionError::NoContexts(file.to_owned())),
        (Some(name), _) => name.to_owned(),
        (None, [only]) => only.clone(),
        (None, _) => return Err(unknown("does not say which of its contexts to use".to_owned())),
    };
    let named = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == name)
        .ok_or_else(|| unknown(format!("says to use the context `{name}`, which it does not have")))?;
    let at = |server: Option<&str>| Place { file: file.to_owned(), context: name.clone(), server: server.map(str::to_owned) };
    let incomplete = |why: String, part| ConnectionError::ContextIncomplete { at: Box::new(at(None)), why, part };
    let context = named.context.as_ref().ok_or_else(|| incomplete("is empty".to_owned(), "context"))?;
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|cluster| cluster.name == context.cluster)
        .and_then(|cluster| cluster.cluster.as_ref())
        .ok_or_else(|| incomplete(format!("names the cluster `{}`, which is not in it", context.cluster), "cluster"))?;
    let server = cluster
        .server
        .clone()
        .filter(|server| !server.trim().is_empty())
        .ok_or_else(|| incomplete("leads to a cluster without a server".to_owned(), "cluster"))?;
    let uri: http::Uri = server
        .parse()
        .ok()
        .filter(|uri: &http::Uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some())
        .ok_or_else(|| incomplete(format!("leads to the server `{server}`, which is no URL"), "cluster"))?;
    let user = match context.user.as_deref().filter(|user| !user.is_empty()) {
        None => AuthInfo::default(),
        Some(user) => kubeconfig
            .auth_infos
            .iter()
            .find(|named| named.name == user)
            .ok_or_else(|| incomplete(format!("names the user `{user}`, who is not in it"), "credentials"))?
            .auth_info
            .clone()
            .unwrap_or_default(),
    };
    Ok(Chosen { at: at(Some(&server)), uri, proxy: cluster.proxy_url.is_some(), user })
}

fn plugin(user: &AuthInfo) -> Option<String> {
    if let Some(exec) = &user.exec {
        return Some(format!("the program `{}` (exec)", exec.command.as_deref().unwrap_or("?")));
    }
    user.auth_provider.as_ref().map(|provider| format!("the provider `{}` (auth-provider)", provider.name))
}

/// Whether a server is this machine, by its address or by what its name stands for here.
async fn is_loopback(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        return own(address);
    }
    if host == "localhost" || host.ends_with(".localhost") || host == "localhost.localdomain" {
        return true;
    }
    // `kubernetes.docker.internal` and the like. A name that is not known yet may be later.
    let looked_up = tokio::time::timeout(Duration::from_secs(2), tokio::net::lookup_host((host.as_str(), 443))).await;
    let Ok(Ok(addresses)) = looked_up else { return false };
    let mut addresses = addresses.peekable();
    addresses.peek().is_some() && addresses.all(|address| own(address.ip()))
}

fn own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_unspecified(),
        IpAddr::V6(address) => {
            address.is_loopback()
                || address == Ipv6Addr::UNSPECIFIED
                || address.to_ipv4_mapped().is_some_and(|address| own(address.into()))
        }
    }
}

fn namespace(settings: &ConnectionSettings, default: &str, from: &str) -> Result<String, ConnectionError> {
    let (name, from) = match settings.namespace.as_deref().map(str::trim) {
        Some(name) => (name, "--namespace"),
        None => (default, from),
    };
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = (1..=63).contains(&name.len())
        && name.bytes().all(|b| inner(b) || b == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().next_back().is_some_and(inner);
    if label { Ok(name.to_owned()) } else { Err(ConnectionError::NamespaceName { name: name.to_owned(), from: from.to_owned() }) }
}

/// Certificates that are not valid now: without this the first that is heard of one is a failed handshake.
fn dates(chosen: &Chosen, config: &Config) -> Result<(), ConnectionError> {
    let dated = |what, when: String| ConnectionError::CertificateDated { at: Box::new(chosen.at.clone()), what, when };
    let now = Timestamp::now();
    if let Some(first) = client_certificate(&chosen.user).as_deref().and_then(|pem| CertificateDer::pem_slice_iter(pem).next()) {
        let certificate = first.map_err(|_| dated("client certificate", "cannot be read".to_owned()))?;
        if let Some(when) = out_of_date(&certificate, now) {
            return Err(dated("client certificate", when));
        }
        // `openssl x509 -req` makes such ones where no extension is asked for; rustls takes none of them.
        let parsed = x509_cert::Certificate::from_der(&certificate);
        if parsed.is_ok_and(|certificate| certificate.tbs_certificate().version() == x509_cert::Version::V1) {
            let why = "its client certificate is of version 1 of X.509, which has no extensions and is not taken (sign it again with \
                       `-extfile`, or use a token)";
            return Err(ConnectionError::Unusable { at: Box::new(chosen.at.clone()), why: why.to_owned() });
        }
    }
    // One authority of several that is over is no fault.
    let authorities: Vec<_> = config.root_cert.iter().flatten().map(|der| out_of_date(der, now)).collect();
    match authorities.first() {
        Some(Some(when)) if authorities.iter().all(Option::is_some) => Err(dated("certificate authority", when.clone())),
        _ => Ok(()),
    }
}

fn client_certificate(user: &AuthInfo) -> Option<Vec<u8>> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => STANDARD.decode(data.trim()).ok(),
        (None, Some(file)) => std::fs::read(file).ok(),
        (None, None) => None,
    }
}

/// Since when a certificate is not valid any more, or from when on it is; nothing for one that is valid, or that
/// only TLS can judge.
fn out_of_date(der: &[u8], now: Timestamp) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let at = |time: &x509_cert::time::Time| Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok();
    let (from, until) = (at(&validity.not_before)?, at(&validity.not_after)?);
    if now > until {
        Some(format!("expired on {until:.0}"))
    } else if now < from {
        Some(format!("is valid only from {from:.0} on; this machine's clock says {now:.0}"))
    } else {
        None
    }
}

/// What a cluster that answers says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// `v1.34.2`.
    pub version: String,
    /// The minor version, where it is a number.
    pub minor: Option<u32>,
    /// How long the answer took.
    pub took: Duration,
    /// How far the cluster's clock is ahead of ours, to a second.
    pub clock_ahead_secs: Option<i64>,
}

/// Asks a cluster for its version. Needs no permission.
///
/// # Errors
/// Why it cannot be reached, or does not answer: [`CauseCode::OrchestratorUnreachable`] and its like.
pub async fn probe(cluster: &Cluster) -> Result<Reached, Cause> {
    ask(cluster, "The cluster").await
}

impl Connected {
    /// Where a person finds what is spoken of: the server, the file and the context.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.context {
            Some(context) => format!("The cluster {} (context `{context}` of {})", self.server, self.source),
            None => format!("The cluster {} ({})", self.server, self.source),
        }
    }

    /// As [`probe`], and the cause names the server, the file and the context.
    ///
    /// # Errors
    /// As [`probe`].
    pub async fn probe(&self) -> Result<Reached, Cause> {
        ask(&self.cluster, &self.place()).await
    }
}

/// Whether the namespace takes new objects, by a Secret that is not made: what stands in the way of it stands in the way
/// of all. (What is there of a namespace that is not there may be listed and watched all the same.)
///
/// # Errors
/// What the cluster answers.
pub async fn try_namespace(cluster: &Cluster) -> Result<(), kube::Error> {
    let name = Some("fullstack-agent-doctor-".to_owned());
    let secret = Secret { metadata: ObjectMeta { generate_name: name, ..ObjectMeta::default() }, ..Secret::default() };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &cluster.namespace);
    secrets.create(&dry, &secret).await.map(|_| ())
}

async fn ask(cluster: &Cluster, who: &str) -> Result<Reached, Cause> {
    let doing = "ask for its version";
    let began = Instant::now();
    let slow = || {
        Cause::new(
            CauseCode::OrchestratorUnreachable,
            format!("{who} did not answer within {} s.", ANSWER.as_secs()),
            &[
                "Check the network between here and there: a firewall, a VPN that is off.",
                "It is tried again by itself, and goes on once the cluster answers.",
            ],
        )
    };
    let request = http::Request::get("/version").body(kube::client::Body::empty()).map_err(|error| {
        Cause::new(CauseCode::Unexpected, format!("{who} could not be asked."), &[]).with_detail(error.to_string())
    })?;
    let answer = tokio::time::timeout(ANSWER, cluster.client.send(request)).await.map_err(|_| slow())?;
    let answer = answer.map_err(|error| causes::explain(&error, doing, who))?;
    let took = began.elapsed();
    let clock_ahead_secs = answer.headers().get(http::header::DATE).and_then(|date| ahead(date.to_str().ok()?));
    let status = answer.status();
    let body = tokio::time::timeout(ANSWER, http_body_util::BodyExt::collect(answer.into_body())).await.map_err(|_| slow())?;
    let body = body.map_err(|error| causes::explain(&error, doing, who))?.to_bytes();
    if !status.is_success() {
        let answer =
            serde_json::from_slice(&body).unwrap_or_else(|_| kube::core::Status::failure("", "").with_code(status.as_u16()));
        return Err(causes::explain(&kube::Error::Api(Box::new(answer)), doing, who));
    }
    let version: k8s_openapi::apimachinery::pkg::version::Info = serde_json::from_slice(&body).map_err(|error| {
        Cause::new(
            CauseCode::OrchestratorUnreachable,
            format!("{who} answers, and not as a Kubernetes apiserver does."),
            &["Check the server's address in the kubeconfig: a proxy or a sign-in page may answer there."],
        )
        .with_detail(error.to_string())
    })?;
    let minor = version.minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    Ok(Reached { version: version.git_version, minor, took, clock_ahead_secs })
}

/// From an HTTP date, `Sat, 28 Nov 2026 13:03:27 GMT` (RFC 9110, 5.6.7).
fn ahead(date: &str) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(theirs.as_second() - Timestamp::now().as_second())
}
