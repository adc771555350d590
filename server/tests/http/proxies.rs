//! The examples in `deploy/proxy`, in the real nginx and the real Caddy: TLS, hosts, streams, uploads, WebSockets.

use crate::support::{Setup, TestApp, agent::RealAgent, until};
use axum::{
    Router,
    extract::WebSocketUpgrade,
    routing::{any, get},
};
use model::view::Scope;
use serde_json::json;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

struct Proxy(std::process::Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx' workers end with their master at SIGTERM alone.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Where a program is, also where only root looks: Debian has nginx there.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new("../deploy/proxy").join(name)).unwrap()
}

/// Every place that an operator has to change, and nothing else.
fn adapted(text: &str, folder: &Path, app: u16, port: u16) -> String {
    let at = folder.display();
    text.replace("127.0.0.1:4000", &format!("127.0.0.1:{app}"))
        .replace("preview.example.com", "preview.example")
        .replace("fsa.example.com", "fsa.example")
        .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"))
        .replace("/etc/ssl/fsa/app", &format!("{at}/tls"))
        .replace("/etc/ssl/fsa/preview", &format!("{at}/tls"))
        .replace("/etc/nginx/fullstack-agent.proxy", &format!("{at}/proxy"))
}

fn nginx(program: &Path, folder: &Path, app: u16, port: u16) -> Command {
    fs::write(folder.join("proxy"), adapted(&example("nginx.proxy"), folder, app, port)).unwrap();
    let sites = adapted(&example("nginx.conf"), folder, app, port);
    let at = folder.display();
    let temp: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {at}/{of}_temp;\n")).concat();
    let conf = format!(
        "daemon off; pid {at}/pid; error_log stderr warn;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{sites}}}\n{}",
        if rustix::process::getuid().is_root() { "user root;" } else { "" }
    );
    fs::write(folder.join("nginx.conf"), conf).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command
}

fn caddy(program: &Path, folder: &Path, app: u16, port: u16) -> Command {
    let tls = format!("tls {0}/tls.pem {0}/tls.key", folder.display());
    let sites = adapted(&example("Caddyfile"), folder, app, port)
        .replace("\nfsa.example {", &format!("\nfsa.example:{port} {{\n\t{tls}"))
        .replace("\n*.preview.example {", &format!("\n*.preview.example:{port} {{"));
    let conf = format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{sites}");
    fs::write(folder.join("Caddyfile"), conf).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile")).env("HOME", folder);
    command
}

#[tokio::test]
async fn the_examples_for_proxies_pass_everything_on() {
    for name in ["curl", "openssl"] {
        if program(name).is_none() {
            return crate::postgres::skipped(&format!("there is no {name}"));
        }
    }
    for (name, make) in [("nginx", nginx as fn(&Path, &Path, u16, u16) -> Command), ("caddy", caddy)] {
        let Some(found) = program(name) else {
            crate::postgres::skipped(&format!("there is no {name}"));
            continue;
        };
        let Some(app) = TestApp::start_as(Setup { secure: true, ..Setup::default() }).await else { return };
        let agent = Arc::new(RealAgent::start(&[]));
        app.world.files_of(agent.clone());
        // The WebSocket is over as soon as it is open, so that nobody waits for its end.
        let boats = Router::new()
            .route("/", get(|| async { "Boats for hire" }))
            .route("/socket", any(|upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(|_| async {}) }));
        app.world.listen(3000, boats);
        let folder = tempfile::tempdir().unwrap();
        let at = |file: &str| folder.path().join(file).display().to_string();
        let names = "subjectAltName=DNS:fsa.example,DNS:*.preview.example";
        let certificate =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=fsa"];
        let made = Command::new("openssl")
            .args(certificate)
            .args(["-addext", names, "-keyout", &at("tls.key"), "-out", &at("tls.pem")])
            .output();
        assert!(made.unwrap().status.success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = make(&found, folder.path(), app.port, port);
        let proxy = Proxy(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let said = || fs::read_to_string(folder.path().join("log")).unwrap();
        until("the proxy to listen", async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;

        let client = app.token(Scope::Write).await;
        let token = client.headers()["authorization"].to_str().unwrap().to_owned();
        let (project, sandbox) = app.running(&client, "Behind").await;
        let resolve = format!("*:{port}:127.0.0.1");
        let pem = at("tls.pem");
        // Never by an address that is not TLS, nor past the certificate's names.
        let curl = async |host: &str, path: &str, more: &[&str]| {
            let url = format!("https://{host}:{port}{path}");
            let mut command = tokio::process::Command::new("curl");
            command
                .args(["-sS", "--max-time", "20", "--cacert", &pem, "--resolve", &resolve.replace('*', host), &url])
                .args(more);
            let output = command.stdin(Stdio::null()).output().await.unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        };
        assert_eq!(
            curl("fsa.example", "/healthz", &["-o", "/dev/null", "-w", "%{http_code}"]).await,
            "200",
            "{name}: {}",
            said()
        );

        let body = format!(r#"{{"code": "{}"}}"#, app.code().await);
        let origin = format!("origin: https://fsa.example:{port}");
        let json = "content-type: application/json";
        let signed_in = curl("fsa.example", "/api/sign-in", &["-i", "-H", json, "-H", &origin, "-d", &body]).await;
        assert!(signed_in.contains("__Host-fsa_session=") && signed_in.contains("Secure"), "{name}: {signed_in}");

        let host = format!("3000--{sandbox}.preview.example");
        let preview = curl(&host, "/", &[]).await;
        assert!(preview.contains("Sign in to see this preview"), "{name}: {preview}");

        let auth = format!("authorization: {token}");
        let events = curl("fsa.example", "/api/events", &["-N", "-H", &auth, "--max-time", "2"]).await;
        assert!(events.contains("data:") && events.contains(&project.to_string()), "{name}: events come at once: {events}");

        // More than nginx takes where nothing is said.
        fs::write(folder.path().join("upload"), vec![b'x'; 30 << 20]).unwrap();
        let file = format!("/api/sandbox/{project}/files/upload");
        let status = ["-o", "/dev/null", "-w", "%{http_code}"];
        let sent = curl("fsa.example", &file, &[&["-H", &auth, "-T", &at("upload")], &status[..]].concat()).await;
        assert_eq!(sent, "201", "{name}: {}", said());
        assert_eq!(fs::metadata(agent.home.join("upload")).unwrap().len(), 30 << 20);

        let upgrade = [
            "-i",
            "-N",
            "--http1.1",
            "--max-time",
            "2",
            "-H",
            "connection: Upgrade",
            "-H",
            "upgrade: websocket",
            "-H",
            "sec-websocket-version: 13",
            "-H",
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        ];
        let socket = format!("/api/sandbox/{project}/terminal?session=main");
        let terminal = ["-H", &auth, "-H", "sec-websocket-protocol: fsa-tty.v1"];
        let opened = curl("fsa.example", &socket, &[&upgrade[..], &terminal[..]].concat()).await;
        assert!(opened.starts_with("HTTP/1.1 101"), "{name}: {opened}");

        // As a browser that is let in to the preview by a code.
        let made = client.post(&format!("/api/projects/{project}/preview"), &json!({ "port": 3000 })).await.json();
        let (code, jar) = (format!("code={}", made["code"].as_str().unwrap()), at("cookies"));
        let from_the_app = ["-H", "origin: https://fsa.example", "-d", &code, "-c", &jar];
        let entered = curl(&host, "/.fsa/enter", &[&from_the_app[..], &status[..]].concat()).await;
        assert_eq!(entered, "303", "{name}: {}", said());
        let preview = curl(&host, "/", &["-b", &jar]).await;
        assert_eq!(preview, "Boats for hire", "{name}: {}", said());
        let own = format!("origin: https://{host}:{port}");
        let opened = curl(&host, "/socket", &[&upgrade[..], &["-H", &own, "-b", &jar][..]].concat()).await;
        assert!(opened.starts_with("HTTP/1.1 101"), "{name}: {opened}");
        drop(proxy);
    }
}
