//! Each kubeconfig that is wrong is told by what is wrong with it, where, and the mend; and what only a server can
//! say is asked of one on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/left_out.rs"]
mod left_out;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::orchestrator::Orchestrator;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kubernetes::{
    Settings,
    connection::{Connected, ConnectionError, ConnectionSettings, Source, connect},
    index::health::Health,
    manifests::policy,
    orchestrator::KubernetesOrchestrator,
    reach::Reach,
};
use model::{Cause, CauseCode, InstallationId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

const TOKEN: &str = "a-secret-token";

fn yaml(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\nclusters: [{{name: c, cluster: {{server: '{server}'{cluster}}}}}]\n\
         users: [{{name: u, user: {{token: {TOKEN}{user}}}}}]\ncontexts: [{{name: dev, context: {{cluster: c, user: u, namespace: team-a}}}}]\n"
    )
}

struct Folder(TempDir);

impl Folder {
    fn new(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.file(), text).unwrap();
        folder
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("kubeconfig")
    }

    fn settings(&self) -> ConnectionSettings {
        let _ = rustls::crypto::ring::default_provider().install_default();
        ConnectionSettings {
            kubeconfig: Some(self.file()),
            secret_dir: self.0.path().join("nowhere"),
            ..ConnectionSettings::default()
        }
    }

    async fn connect(&self) -> Result<Connected, ConnectionError> {
        connect(&self.settings()).await
    }

    /// The error's text, which names the file, says each of these, and gives nothing away.
    async fn refused(&self, words: &[&str]) -> String {
        let text = self.connect().await.err().expect("it is refused").to_string();
        assert!(text.contains(self.file().to_str().unwrap()), "the file is not named: {text}");
        assert!(!text.contains(TOKEN), "{text}");
        assert!(text.matches(['.']).count() >= 2, "what is wrong, and the mend: {text}");
        for word in words {
            assert!(text.contains(word), "`{word}` is missing: {text}");
        }
        text
    }
}

#[tokio::test]
async fn a_good_kubeconfig_gives_its_server_context_and_namespace() {
    let folder = Folder::new(&yaml("https://198.51.100.7:6443", "", ""));
    let connected = folder.connect().await.unwrap();
    assert_eq!((connected.server.as_str(), connected.context.as_deref()), ("https://198.51.100.7:6443", Some("dev")));
    assert_eq!((connected.cluster.namespace.as_str(), connected.in_cluster), ("team-a", false));
    assert_eq!(connected.source, Source::Flag(folder.file()));
    let named = ConnectionSettings { namespace: Some("team-b".to_owned()), ..folder.settings() };
    assert_eq!(connect(&named).await.unwrap().cluster.namespace, "team-b");
}

#[tokio::test]
async fn the_flag_comes_before_the_folder_and_what_is_there_and_wrong_is_not_skipped() {
    let (flag, folder) =
        (Folder::new(&yaml("https://198.51.100.7:6443", "", "")), Folder::new(&yaml("https://198.51.100.8:6443", "", "")));
    let both = ConnectionSettings { secret_dir: folder.0.path().to_owned(), ..flag.settings() };
    assert_eq!(connect(&both).await.unwrap().source, Source::Flag(flag.file()));
    let one = ConnectionSettings { kubeconfig: None, ..both.clone() };
    assert_eq!(connect(&one).await.unwrap().source, Source::SecretDir(folder.file()));
    std::fs::write(flag.file(), "").unwrap();
    assert!(matches!(connect(&both).await, Err(ConnectionError::Empty(_))));
    let none = ConnectionSettings { kubeconfig: None, secret_dir: folder.0.path().join("nowhere"), ..both };
    let text = connect(&none).await.err().unwrap().to_string();
    assert!(text.contains("--kubeconfig") && text.contains("nowhere/kubeconfig"), "{text}");
}

#[tokio::test]
async fn what_is_no_kubeconfig_is_told_without_being_quoted() {
    let folder = Folder::new("");
    folder.refused(&["is empty"]).await;
    for empty in ["\n \n", "# nothing\n---\n"] {
        Folder::new(empty).refused(&["is empty"]).await;
    }
    for other in ["token: a-secret-token: :\n\t- x", "- a-secret-token\n", "a-secret-token", "{\"contexts\": 5}", "\u{0}\u{1}"] {
        Folder::new(other).refused(&["no kubeconfig", "config view"]).await;
    }
    std::fs::write(folder.file(), [0xff, 0xfe, 0x00]).unwrap();
    folder.refused(&["not text"]).await;
    std::fs::remove_file(folder.file()).unwrap();
    folder.refused(&["does not exist", "--kubeconfig"]).await;
    std::fs::create_dir(folder.file()).unwrap();
    folder.refused(&["is a folder"]).await;
}

#[tokio::test]
async fn contexts_that_lead_nowhere_are_told() {
    let good = yaml("https://198.51.100.7:6443", "", "");
    Folder::new("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n")
        .refused(&["no contexts", "set-context"])
        .await;
    Folder::new("apiVersion: v1\nkind: Config\n").refused(&["no contexts"]).await;
    Folder::new(&good.replace("current-context: dev", "current-context: prod"))
        .refused(&["`prod`", "(dev)", "use-context"])
        .await;
    let two =
        good.replace("current-context: dev\n", "").replace("contexts: [", "contexts: [{name: other, context: {cluster: c}}, ");
    Folder::new(&two).refused(&["(other, dev)"]).await;
    let one = Folder::new(&good.replace("current-context: dev\n", ""));
    assert_eq!(one.connect().await.unwrap().context.as_deref(), Some("dev"), "the only one is meant");
    Folder::new(&good.replace("{cluster: c, user: u", "{cluster: gone, user: u")).refused(&["`dev`", "cluster `gone`"]).await;
    Folder::new(&good.replace("user: u,", "user: gone,")).refused(&["`dev`", "user `gone`"]).await;
    Folder::new(&good.replace("server: 'https://198.51.100.7:6443'", "insecure-skip-tls-verify: true"))
        .refused(&["without a server"])
        .await;
    Folder::new(&good.replace("https://198.51.100.7:6443", "no url at all")).refused(&["`no url at all`", "no URL"]).await;
    Folder::new(&good.replace("namespace: team-a", "namespace: 'Team A'")).connect().await.err().unwrap();
    Folder::new(&yaml("https://198.51.100.7:6443", ", proxy-url: 'socks5://x:1'", "")).refused(&["proxy-url"]).await;
}

#[tokio::test]
async fn this_machine_is_no_cluster_unless_it_is_meant() {
    for server in [
        "https://localhost:6443",
        "https://LOCALHOST.:6443",
        "https://kind.localhost:6443",
        "https://127.0.0.1:6443",
        "https://127.9.9.9:1",
        "https://[::1]:6443",
        "https://[::ffff:127.0.0.1]:6443",
        "https://0.0.0.0:6443",
        "http://localhost:8080",
    ] {
        let folder = Folder::new(&yaml(server, "", ""));
        folder.refused(&[server, "`dev`", "--allow-loopback-cluster"]).await;
        let meant = ConnectionSettings { allow_loopback_cluster: true, ..folder.settings() };
        assert_eq!(connect(&meant).await.unwrap().server, server);
    }
    assert!(Folder::new(&yaml("https://127.0.0.1.nip.invalid:6443", "", "")).connect().await.is_ok(), "a name that is not known");
}

#[tokio::test]
async fn programs_for_credentials_are_not_run_unless_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let exec = format!(
        ", exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: touch, args: ['{}']}}",
        ran.display()
    );
    let with = Folder::new(&yaml("https://198.51.100.7:6443", "", &exec).replace(&format!("token: {TOKEN}, "), ""));
    with.refused(&["`touch`", "exec", "https://198.51.100.7:6443", "--allow-exec-credentials"]).await;
    assert!(!ran.exists(), "it was run all the same");
    let provider = Folder::new(&yaml("https://198.51.100.7:6443", "", ", auth-provider: {name: oidc}"));
    provider.refused(&["`oidc`", "auth-provider", "--allow-exec-credentials"]).await;
    let allowed = ConnectionSettings { allow_exec_credentials: true, ..with.settings() };
    let outcome = connect(&allowed).await;
    assert!(ran.exists(), "it may be run: {:?}", outcome.err().map(|error| error.to_string()));
}

#[tokio::test]
async fn what_gives_no_credentials_is_told_by_what_it_says_and_not_by_what_it_printed() {
    let server = "https://198.51.100.7:6443";
    let exec = |command: &str, script: &str| {
        let ask = format!("interactiveMode: Never, command: {command}, args: ['-c', '{script}']");
        let user = format!(", exec: {{apiVersion: client.authentication.k8s.io/v1, {ask}}}");
        yaml(server, "", &user).replace(&format!("token: {TOKEN}, "), "")
    };
    let provider = |provider: &str| yaml(server, "", &format!(", auth-provider: {provider}"));
    let allowed = async |text: &str| {
        let folder = Folder::new(text);
        (connect(&ConnectionSettings { allow_exec_credentials: true, ..folder.settings() }).await, folder)
    };
    for (text, words) in [
        (exec("no-such-program-of-a-cloud", ""), ["`no-such-program-of-a-cloud`", "could not be started"]),
        (
            exec("sh", &format!("echo {TOKEN}; echo sign in first >&2; exit 3")),
            ["`sh`", "exit status: 3, and said: sign in first"],
        ),
        (exec("sh", &format!("echo {TOKEN}: {TOKEN}: [")), ["`sh`", "printed something else"]),
        (exec("sh", "echo \"{kind: ExecCredential}\""), ["`sh`", "printed none"]),
        (provider("{name: azure}"), ["`azure`", "kubelogin"]),
        (provider("{name: gcp, config: {cmd-path: no-such-gcloud}}"), ["`gcp`", "no-such-gcloud"]),
        (provider("{name: openstack}"), ["`openstack`", "not supported"]),
    ] {
        let (outcome, folder) = allowed(&text).await;
        let error = outcome.err().unwrap_or_else(|| panic!("it connects: {text}"));
        assert!(matches!(error, ConnectionError::NoCredentials { .. }), "{error:?}");
        let said = error.to_string();
        for word in [server, "`dev`", folder.file().to_str().unwrap(), "by hand"].iter().chain(&words) {
            assert!(said.contains(word), "`{word}` is missing: {said}");
        }
        assert!(!said.contains(TOKEN), "what was printed may be a credential: {said}");
    }
    for well in [
        exec("echo", "x")
            .replace("args: ['-c', 'x']", "args: ['{\"kind\": \"ExecCredential\", \"status\": {\"token\": \"t\"}}']"),
        provider("{name: oidc, config: {id-token: t}}"),
        provider("{name: gcp, config: {cmd-path: printf, cmd-args: t}}"),
    ] {
        let outcome = allowed(&well).await.0;
        assert!(outcome.is_ok(), "{:?}", outcome.err().map(|error| error.to_string()));
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_had_anew_are_told_and_not_what_was_printed() {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("asked");
    // The first time it gives a token that is over in a moment, and then none.
    let script = format!(
        "if mkdir {} 2>/dev/null; then echo \"{{kind: ExecCredential, status: {{token: t, expirationTimestamp: ''2020-01-01T00:00:00Z''}}}}\"; \
         else echo {TOKEN}; echo sign in again >&2; exit 1; fi",
        asked.display()
    );
    let ask = format!("interactiveMode: Never, command: sh, args: ['-c', '{script}']");
    let user = format!(", exec: {{apiVersion: client.authentication.k8s.io/v1, {ask}}}");
    let with = Folder::new(&yaml("https://198.51.100.7:6443", "", &user).replace(&format!("token: {TOKEN}, "), ""));
    let settings = ConnectionSettings { allow_exec_credentials: true, ..with.settings() };
    let connected = connect(&settings).await.map_err(|error| error.to_string()).unwrap();
    let cause = connected.probe().await.unwrap_err();
    assert_eq!(cause.code, CauseCode::CredentialsRefused, "{cause:?}");
    for word in ["sign in again", "exit status: 1", "https://198.51.100.7:6443", "`dev`"] {
        assert!(cause.message.contains(word), "`{word}` is missing: {cause:?}");
    }
    assert!(!format!("{cause:?}").contains(TOKEN) && !cause.next_steps.is_empty(), "{cause:?}");
}

#[tokio::test]
async fn a_pod_whose_account_has_no_token_is_told() {
    const CHILD: &str = "FSA_TEST_AS_POD";
    if Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists() {
        return left_out::passed_over("this runs in a pod whose account has a token");
    }
    if std::env::var_os(CHILD).is_none() {
        // Variables are the whole process': another one has those of a pod.
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_pod_whose_account_has_no_token_is_told", "--nocapture"]);
        child.envs([(CHILD, "1"), ("KUBERNETES_SERVICE_HOST", "10.43.0.1"), ("KUBERNETES_SERVICE_PORT", "443")]);
        let done = child.output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
        return;
    }
    let folder = Folder::new("");
    let settings = ConnectionSettings { kubeconfig: None, ..folder.settings() };
    let error = connect(&settings).await.err().unwrap();
    assert!(matches!(error, ConnectionError::InCluster(_)), "{error:?}");
    let text = error.to_string();
    for word in ["in a pod", "automountServiceAccountToken", "--kubeconfig"] {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// A certificate authority, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(until: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for a name.
    fn sign(&self, name: &str, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn data(&self) -> String {
        format!(", certificate-authority-data: {}", STANDARD.encode(&self.pem))
    }
}

fn client_certificate((certificate, key): &(String, String)) -> String {
    format!(", client-certificate-data: {}, client-key-data: {}", STANDARD.encode(certificate), STANDARD.encode(key))
}

#[tokio::test]
async fn certificates_that_are_over_are_told_before_any_handshake() {
    let (good, old) = (Authority::new(4000), Authority::new(2020));
    let server = "https://198.51.100.7:6443";
    Folder::new(&yaml(server, &old.data(), "")).refused(&["certificate authority", "2020-01-01", "`dev`", server]).await;
    let expired = client_certificate(&good.sign("client", 2021));
    Folder::new(&yaml(server, &good.data(), &expired)).refused(&["client certificate", "expired on 2021-01-01", server]).await;
    let valid = client_certificate(&good.sign("client", 4000));
    assert!(Folder::new(&yaml(server, &good.data(), &valid)).connect().await.is_ok());
    let both = format!(", certificate-authority-data: {}", STANDARD.encode(format!("{}{}", old.pem, good.pem)));
    assert!(Folder::new(&yaml(server, &both, "")).connect().await.is_ok(), "one of two is valid");
    Folder::new(&yaml(server, ", certificate-authority-data: '%%%'", "")).refused(&["certificate authority", server]).await;
    Folder::new(&yaml(server, ", certificate-authority: not-there.crt", "")).refused(&["not-there.crt", server]).await;
    let beside = Folder::new(&yaml(server, ", certificate-authority: ca.crt", ""));
    std::fs::write(beside.0.path().join("ca.crt"), &good.pem).unwrap();
    assert!(beside.connect().await.is_ok(), "a path is from where the file lies");
}

/// Of `openssl x509 -req` without extensions.
const VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBHjCBxQIUVbivE6J1CH3DPQvjA4sOzbVI480wCgYIKoZIzj0EAwIwETEPMA0G\n\
A1UEAwwGY2xpZW50MCAXDTI2MTEyODEzNDY0M1oYDzIxMjYxMTA0MTM0NjQzWjAR\n\
MQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARSnRsm\n\
9LZQkyci8MRLx+m8UTe5Sxc1svZP8wKhbQ1MgZ/xzIJ9XxEtx1PUhJGWiCmMN4rq\n\
+G9d0gcZkFAuh74DMAoGCCqGSM49BAMCA0gAMEUCIQDLOVZgn/xhLhOjw+hpN2jo\n\
9lsKsb2tN4j2MPCEgWzq0AIgOQp9DVCjGFQUW2ava/KL+rX/qACsmxLHYP4p7DIM\n\
Phk=\n\
-----END CERTIFICATE-----";

#[tokio::test]
async fn a_client_certificate_of_version_1_is_told_as_one() {
    let user = client_certificate(&(VERSION_1.to_owned(), KeyPair::generate().unwrap().serialize_pem()));
    Folder::new(&yaml("https://198.51.100.7:6443", "", &user)).refused(&["version 1 of X.509", "-extfile", "token"]).await;
}

type Answer = fn(&Request<Incoming>) -> Response<Full<bytes::Bytes>>;

/// An apiserver of one answer.
async fn serve(authority: &Authority, name: &str, answer: Answer) -> SocketAddr {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = authority.sign(name, 4000);
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request)) });
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

fn answer(code: u16, body: &str) -> Response<Full<bytes::Bytes>> {
    Response::builder().status(code).body(Full::from(body.to_owned())).unwrap()
}

async fn connected(server: &str, authority: &Authority) -> (Folder, Connected) {
    let folder = Folder::new(&yaml(server, &authority.data(), ""));
    let settings = ConnectionSettings { allow_loopback_cluster: true, ..folder.settings() };
    let connected = connect(&settings).await.unwrap();
    (folder, connected)
}

/// The cause names the server, the context and the file, says each of these, and gives nothing away.
async fn fails(server: &str, authority: &Authority, code: CauseCode, words: &[&str]) -> Cause {
    let (folder, connected) = connected(server, authority).await;
    let cause = connected.probe().await.unwrap_err();
    assert_eq!(cause.code, code, "{cause:?}");
    for word in [server, "`dev`", folder.file().to_str().unwrap()].iter().chain(words) {
        assert!(cause.message.contains(word), "`{word}` is missing: {cause:?}");
    }
    assert!(!format!("{cause:?}").contains(TOKEN) && !cause.next_steps.is_empty(), "{cause:?}");
    cause
}

const VERSION: &str = r#"{"major":"1","minor":"34+","gitVersion":"v1.34.1","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;

#[tokio::test]
async fn a_server_that_is_well_says_its_version_and_its_time() {
    let authority = Authority::new(4000);
    let address = serve(&authority, "localhost", |request| {
        assert_eq!(request.headers()["authorization"], format!("Bearer {TOKEN}"));
        answer(200, VERSION)
    })
    .await;
    let (_folder, connected) = connected(&format!("https://localhost:{}", address.port()), &authority).await;
    let reached = connected.probe().await.unwrap();
    assert_eq!((reached.version.as_str(), reached.minor), ("v1.34.1", Some(34)));
    assert!(reached.clock_ahead_secs.is_some_and(|ahead| ahead.abs() < 5), "{reached:?}");
    let address = serve(&authority, "localhost", |_| {
        let mut answer = answer(200, VERSION);
        answer.headers_mut().insert("date", http::HeaderValue::from_static("Fri, 01 Jan 2100 00:00:00 GMT"));
        answer
    })
    .await;
    let (_folder, connected) = self::connected(&format!("https://localhost:{}", address.port()), &authority).await;
    assert!(connected.probe().await.unwrap().clock_ahead_secs.is_some_and(|ahead| ahead > 1_000_000), "a clock of another year");
}

#[tokio::test]
async fn a_server_that_is_not_the_one_is_told() {
    let (authority, other) = (Authority::new(4000), Authority::new(4000));
    let address = serve(&other, "localhost", |_| answer(200, VERSION)).await;
    fails(
        &format!("https://localhost:{}", address.port()),
        &authority,
        CauseCode::OrchestratorUnreachable,
        &["not from the authority"],
    )
    .await;
    let address = serve(&authority, "api.example.com", |_| answer(200, VERSION)).await;
    fails(
        &format!("https://localhost:{}", address.port()),
        &authority,
        CauseCode::OrchestratorUnreachable,
        &["another host name"],
    )
    .await;
    let address = serve(&authority, "localhost", |_| answer(200, "<html>Please sign in</html>")).await;
    let html = fails(
        &format!("https://localhost:{}", address.port()),
        &authority,
        CauseCode::OrchestratorUnreachable,
        &["not as a Kubernetes"],
    )
    .await;
    assert!(!html.message.contains("sign in"), "{html:?}");
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_told() {
    let authority = Authority::new(4000);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    fails(&format!("https://localhost:{}", free.port()), &authority, CauseCode::OrchestratorUnreachable, &["nothing listens"])
        .await;
    fails("https://nowhere.invalid:6443", &authority, CauseCode::OrchestratorUnreachable, &["host name is not known"]).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    fails(
        &format!("https://localhost:{}", address.port()),
        &authority,
        CauseCode::OrchestratorUnreachable,
        &["does not speak TLS"],
    )
    .await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    fails(&format!("https://localhost:{}", address.port()), &authority, CauseCode::OrchestratorUnreachable, &["answer"]).await;
}

#[tokio::test]
async fn a_server_that_refuses_us_is_told() {
    let authority = Authority::new(4000);
    let unknown: Answer = |_| {
        answer(
            401,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#,
        )
    };
    let address = serve(&authority, "localhost", unknown).await;
    fails(&format!("https://localhost:{}", address.port()), &authority, CauseCode::CredentialsRefused, &["credentials"]).await;
    let forbidden: Answer = |_| {
        answer(
            403,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"forbidden: User \"u\" cannot get path \"/version\"","reason":"Forbidden","details":{},"code":403}"#,
        )
    };
    let address = serve(&authority, "localhost", forbidden).await;
    fails(&format!("https://localhost:{}", address.port()), &authority, CauseCode::PermissionMissing, &["does not allow"]).await;
    let ill: Answer = |_| answer(500, "etcdserver: request timed out");
    let address = serve(&authority, "localhost", ill).await;
    fails(&format!("https://localhost:{}", address.port()), &authority, CauseCode::OrchestratorBusy, &["500"]).await;
}

#[tokio::test]
async fn what_pages_say_of_the_cluster_names_it_too() {
    let authority = Authority::new(4000);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let forbidden: Answer = |_| {
        answer(
            403,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"x is forbidden: User \"u\" cannot list resource \"x\" in API group \"\" in the namespace \"n\"","reason":"Forbidden","details":{},"code":403}"#,
        )
    };
    let refusing = serve(&authority, "localhost", forbidden).await;
    for (address, words) in [(free, "nothing listens"), (refusing, "The account `u` may not list x in the cluster ")] {
        let server = format!("https://localhost:{}", address.port());
        let (folder, connected) = connected(&server, &authority).await;
        let settings = Settings::new(InstallationId(Uuid::nil()), &connected.cluster.namespace);
        let place = connected.place();
        let orchestrator = KubernetesOrchestrator::at(place, connected.cluster, settings, Reach::Forward).unwrap();
        let mut health = orchestrator.health();
        let told = health.wait_for(|health| matches!(health, Health::Stale { cause, .. } if cause.message.contains(words)));
        let told = tokio::time::timeout(Duration::from_secs(30), told).await.unwrap().unwrap().clone();
        let Health::Stale { cause, .. } = told else { panic!("it is fresh") };
        for word in [server.as_str(), "`dev`", folder.file().to_str().unwrap()] {
            assert!(cause.message.contains(word), "`{word}` is missing: {cause:?}");
        }
        let mut away = Orchestrator::health(&*orchestrator);
        let said = |said: &Option<Cause>| {
            said.as_ref().is_some_and(|said| said.message.starts_with(&cause.message) && said.message.contains(" since 20"))
        };
        tokio::time::timeout(Duration::from_secs(30), away.wait_for(said)).await.expect("since when").unwrap();
    }
}

#[tokio::test]
async fn the_apiserver_of_a_connection_is_kept_from_sandboxes() {
    for (server, denied) in [("https://203.0.113.7:6443", true), ("https://10.0.0.7:6443", false)] {
        let connected = Folder::new(&yaml(server, "", "")).connect().await.unwrap();
        let spec = engine::orchestrator::contract::spec();
        let settings = Settings::new(spec.installation, "team-a").reached_by(&connected);
        let rules = policy(&spec, &settings).spec.unwrap().egress.unwrap();
        let public = rules.last().unwrap().to.clone().unwrap()[0].ip_block.clone().unwrap();
        assert_eq!(public.cidr, "0.0.0.0/0");
        let except = public.except.unwrap();
        assert_eq!(except.contains(&"203.0.113.7/32".to_owned()), denied, "{except:?}");
        assert!(except.contains(&"10.0.0.0/8".to_owned()), "what is private is denied already: {except:?}");
    }
}
