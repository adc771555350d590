//! The program itself: what it prints, how it logs, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

#[path = "../../engine/tests/support/mod.rs"]
mod postgres;

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The program, with nothing of this process' own settings.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fullstack-agent"));
    let ours = |name: &str| name.starts_with("FSA_") || name.starts_with("PG") || name == "DATABASE_URL";
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(words: &[&str]) -> Output {
    program().args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder in which everything can be kept, by root too: other users can pass through it.
fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix("fsa-cli-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir_all(site.join("pkg")).unwrap();
    std::fs::write(site.join("manifest.json"), "{}").unwrap();
    folder
}

fn serve(folder: &Path, more: &[&str]) -> Command {
    serve_on(folder, &folder.join("data"), more)
}

/// The same with its data elsewhere.
fn serve_on(folder: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["--data-dir", data.to_str().unwrap(), "--site-dir", folder.join("site").to_str().unwrap()]);
    command.args(["--secret-dir", folder.to_str().unwrap(), "--listen", "localhost:0"]).args(more);
    if let Some(agent) = std::env::var_os("FSA_AGENT") {
        command.env("FSA_AGENT", agent);
    }
    command
}

/// A server under way: ended with the test.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: Option<thread::JoinHandle<String>>,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (out, mut log) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let log = thread::spawn(move || {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            text
        });
        Self { child, lines, log: Some(log) }
    }

    fn line(&self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_secs(60)).ok()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn ended(&mut self, within: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log.take().unwrap().join().unwrap());
            }
            assert!(Instant::now() < deadline, "it did not end within {within:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_its_version_and_every_flag() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert_eq!(text(&version.stdout), format!("fullstack-agent {}\n", env!("CARGO_PKG_VERSION")));
    let help = run(&["--help"]);
    let shown = text(&help.stdout);
    assert!(help.status.success());
    for part in [
        "serve",
        "sign-in-link",
        "token",
        "down",
        "--listen",
        "--data-dir",
        "--public-url",
        "--log-format",
        "FSA_LISTEN",
        "localhost:4000",
        "FSA_DATABASE_URL",
        "FSA_DATABASE_SERVER_URL",
        "FSA_ENCRYPTION_KEY",
        "FSA_GITHUB_CLIENT_SECRET",
        "FSA_METRICS_TOKEN",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("keeper"), "what only the server calls is not shown");
    let wrong = run(&["--no-such-flag"]);
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("--help"), "{}", text(&wrong.stderr));
}

#[test]
fn every_command_says_what_it_does() {
    let commands: [(&[&str], &[&str]); 8] = [
        (&["serve"], &["--listen", "localhost:4000", "--public-url", "--keep-running", "--insecure-no-isolation"]),
        (&["sign-in-link"], &["one-time sign-in link", "--data-dir", "--public-url"]),
        (&["token"], &["create", "list", "revoke"]),
        (&["token", "create"], &["--name", "--scope", "read", "write", "--days", "[default: never]", "--data-dir"]),
        (&["token", "list"], &["--data-dir"]),
        (&["token", "revoke"], &["<ID>", "token list", "--data-dir"]),
        (&["down"], &["sandboxes and PostgreSQL", "stay", "--data-dir"]),
        (&["doctor"], &["--project", "--json"]),
    ];
    for (words, parts) in commands {
        let help = run(&[words, &["--help"]].concat());
        let shown = text(&help.stdout);
        assert!(help.status.success() && help.stderr.is_empty(), "{words:?}: {}", text(&help.stderr));
        assert!(shown.contains(&format!("Usage: fullstack-agent {}", words.join(" "))), "{shown}");
        for part in parts {
            assert!(shown.contains(part), "{part} in {words:?}: {shown}");
        }
    }
}

#[test]
fn a_command_that_is_wrong_says_what_would_be_right_and_makes_nothing() {
    let folder = folder();
    let data = folder.path().join("none");
    let mistakes: [(&[&str], i32, &[&str]); 14] = [
        (&["token"], 2, &["create", "list", "revoke"]),
        (&["token", "create"], 2, &["--name <NAME>", "--scope <SCOPE>"]),
        (&["token", "create", "--name", "ci", "--scope", "admin"], 2, &["admin", "--scope", "read", "write"]),
        (&["token", "create", "--name", "ci", "--scope", "read", "--days", "0"], 2, &["--days", "1..=3650"]),
        (&["token", "create", "--name", " ", "--scope", "read"], 1, &["--name ci"]),
        (&["token", "create", "--name", "ci", "--scope", "read"], 1, &["There is no PostgreSQL", "--data-dir"]),
        (&["token", "list"], 1, &["There is no PostgreSQL", "--data-dir"]),
        (&["token", "revoke"], 2, &["<ID>"]),
        (&["token", "revoke", "x"], 1, &["There is no PostgreSQL", "--data-dir"]),
        (&["sign-in-link"], 1, &["There is no PostgreSQL", "--data-dir"]),
        (&["sign-in-link", "--public-url", "nonsense"], 1, &["--public-url https://"]),
        (&["down"], 1, &["There is no data folder", "--data-dir"]),
        (&["doctor", "--project", "shop"], 1, &["The project shop cannot be looked up", "There is no PostgreSQL"]),
        (&["doctor", "--with-data"], 2, &["--remove-orphans"]),
    ];
    for (words, code, parts) in mistakes {
        let output = program().args(words).arg("--data-dir").arg(&data).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), ""), "{words:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{part} for {words:?}: {said}");
        }
        assert!(!said.contains("panicked") && !said.contains("Os {"), "{said}");
        assert!(!data.exists(), "{words:?} made something");
    }
}

#[test]
fn the_service_of_systemd_fits_the_program() {
    let unit = std::fs::read_to_string("../deploy/systemd/fullstack-agent.service").unwrap();
    let of = |key: &str| -> Vec<&str> { unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect() };
    assert_eq!(of("KillMode"), ["process"], "sandboxes and PostgreSQL outlive a restart");
    assert_eq!(of("KillSignal"), ["SIGTERM"], "which ends the server in order");
    assert_eq!(of("Delegate"), ["yes"], "each sandbox has cgroups of its own");
    let start = of("ExecStart");
    assert_eq!(start.len(), 1, "{start:?}");
    let mut words = start[0].split_whitespace();
    let installed = words.next().unwrap();
    assert!(unit.contains(&format!("install -m 755 fullstack-agent {}", installed.trim_end_matches("fullstack-agent"))));
    let help = text(&run(&["--help"]).stdout);
    let apart = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let known: Vec<&str> = help.split(apart).collect();
    let settings = unit.split(apart).filter(|word| word.starts_with("FSA_"));
    let used: Vec<&str> =
        words.filter(|word| word.starts_with('-')).map(|word| word.split('=').next().unwrap()).chain(settings).collect();
    assert!(used.contains(&"--secret-dir") && used.contains(&"FSA_PUBLIC_URL"), "{used:?}");
    for word in used {
        assert!(known.contains(&word), "{word} is in the service, and not in --help");
    }
    // systemd's own word, where it is there: with this program in the place of the installed one, which has to exist.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fullstack-agent.service");
    std::fs::write(&file, unit.replace(&format!("={installed}"), concat!("=", env!("CARGO_BIN_EXE_fullstack-agent")))).unwrap();
    if let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output() {
        // It speaks of the machine's other units too, and ends well whatever it found.
        let said = text(&output.stdout) + &text(&output.stderr);
        let own: Vec<&str> = said.lines().filter(|line| line.contains("fullstack-agent.service")).collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

#[test]
fn a_log_for_programs_is_one_object_a_line() {
    // A port that accepts and never answers: it starts to start.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = folder();
    let mut command = serve(folder.path(), &["--log-format", "json", "--log", "debug"]);
    command.env("FSA_DATABASE_URL", format!("postgresql://x:y@{}/z", silent.local_addr().unwrap()));
    let mut server = Server::start(command);
    let _connected = silent.accept().unwrap();
    server.signal("-INT");
    let (_, log) = server.ended(Duration::from_secs(30));
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let ending = lines.iter().find(|line| line["message"] == "ending before everything has started").expect("it says so");
    assert_eq!(ending["level"], "INFO");
    assert!(ending["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')) && ending["target"].is_string());
}

#[test]
fn a_start_that_waits_for_something_ends_at_ctrl_c() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = folder();
    let url = format!("postgresql://x:y@{}/z", silent.local_addr().unwrap());
    for signal in ["-INT", "-TERM"] {
        let mut command = serve(folder.path(), &[]);
        command.env("FSA_DATABASE_URL", &url);
        let mut server = Server::start(command);
        let _connected = silent.accept().unwrap();
        server.signal(signal);
        let (status, log) = server.ended(Duration::from_secs(15));
        assert!(status.success(), "{signal}: {status} {log}");
        assert!(log.contains("ending before everything has started"), "{log}");
    }
}

#[test]
fn ctrl_c_while_postgresql_starts_leaves_nothing_behind() {
    if postgres::server().is_none() {
        return;
    }
    let folder = folder();
    let data = folder.path().join("data/postgres/data");
    // While initdb is at work, and while the server comes up.
    for begun in [data.with_file_name("data.new"), data.join("postmaster.pid")] {
        let mut server = Server::start(serve(folder.path(), &[]));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !begun.exists() {
            assert!(Instant::now() < deadline, "PostgreSQL did not begin to start");
            thread::sleep(Duration::from_millis(2));
        }
        server.signal("-INT");
        let (status, log) = server.ended(Duration::from_secs(60));
        assert!(status.success(), "{status} {log}");
        assert!(!data.join("postmaster.pid").exists(), "PostgreSQL runs on: {log}");
    }
    // And the next start is as any other, also with what is exported in a sandbox of this very product: it names a project's
    // database, which is not the control plane's.
    let mut command = serve(folder.path(), &[]);
    command.env("DATABASE_URL", "postgresql://theirs:secret@127.0.0.1:1/theirs?schema=public");
    let theirs = [("HOST", "127.0.0.1"), ("PORT", "1"), ("USER", "theirs"), ("PASSWORD", "secret"), ("DATABASE", "theirs")];
    command.envs(theirs.map(|(name, value)| (format!("PG{name}"), value)));
    let mut server = Server::start(command);
    let link = server.line().unwrap_or_else(|| panic!("{}", server.ended(Duration::from_secs(1)).1));
    assert!(link.starts_with("Sign in: http://localhost:") && !link.contains(":0/"), "{link}");
    // Both loopbacks have the port that the link names.
    let port: u16 = link.split("localhost:").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(std::net::TcpStream::connect(("::1", port)).is_ok());
    }
    // Beside it, commands work.
    let made = serve_beside(folder.path(), &["token", "create", "--name", "ci", "--scope", "read"]);
    assert!(made.status.success() && text(&made.stdout).starts_with("fsa_"), "{}", text(&made.stderr));
    let linked = serve_beside(folder.path(), &["sign-in-link"]);
    assert!(text(&linked.stdout).starts_with(&format!("http://localhost:{port}/sign-in#")), "{}", text(&linked.stdout));
    let listed = || text(&serve_beside(folder.path(), &["token", "list"]).stdout);
    let line = listed();
    let id = line.split_whitespace().next().unwrap().to_owned();
    let secret = text(&made.stdout).trim().to_owned();
    assert!(line.contains(&format!("  {}…  read   expires never  last used never  ci\n", &secret[..12])), "{line}");
    assert!(!line.contains(&secret), "{line}");
    for unknown in ["x", "0198c2f0-0000-7000-8000-000000000000"] {
        let refused = serve_beside(folder.path(), &["token", "revoke", unknown]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(unknown) && said.contains("fullstack-agent token list"), "{said}");
    }
    assert_eq!(listed(), line, "nothing else was revoked");
    let revoked = serve_beside(folder.path(), &["token", "revoke", &id]);
    assert!(revoked.status.success() && revoked.stdout.is_empty(), "{}", text(&revoked.stderr));
    assert!(!serve_beside(folder.path(), &["token", "revoke", &id]).status.success(), "once");
    server.signal("-INT");
    let (status, log) = server.ended(Duration::from_secs(60));
    assert!(status.success() && !data.join("postmaster.pid").exists(), "{log}");
    for loud in ["ERROR", "panicked", "lost its keeper", "no session id"] {
        assert!(!log.contains(loud), "{log}");
    }
    for secret in [text(&made.stdout), text(&linked.stdout).split('#').nth(1).unwrap().to_owned()] {
        assert!(!log.contains(secret.trim()), "a secret is in the log: {log}");
    }
    // Without it, they say what they lack.
    for words in [&["token", "list"][..], &["sign-in-link"][..]] {
        let alone = serve_beside(folder.path(), words);
        let said = text(&alone.stderr);
        assert!(alone.status.code() == Some(1) && alone.stdout.is_empty() && said.contains("`fullstack-agent serve`"), "{said}");
    }
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing_that_runs() {
    if postgres::server().is_none() {
        return;
    }
    let folder = folder();
    let data = folder.path().join("data");
    let postmaster = data.join("postgres/data/postmaster.pid");
    let refused = |key: Option<&str>, parts: &[&str]| {
        let mut command = serve(folder.path(), &[]);
        command.envs(key.map(|key| ("FSA_ENCRYPTION_KEY", key)));
        let mut server = Server::start(command);
        let (status, log) = server.ended(Duration::from_secs(60));
        assert_eq!((status.code(), server.line()), (Some(1), None), "{log}");
        for part in parts {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert!(key.is_none_or(|key| !log.contains(key)), "a key is in no log: {log}");
        assert!(!postmaster.exists(), "PostgreSQL runs on: {log}");
    };
    refused(Some("no-key-of-ours"), &["FSA_ENCRYPTION_KEY", "64 hexadecimal digits", "openssl rand -hex 32"]);
    assert!(!data.join("postgres").exists(), "what is wrong with the settings is known before anything is made");
    // What others may read is no secret, which is known once PostgreSQL runs.
    std::fs::write(data.join("encryption.key"), "00".repeat(32)).unwrap();
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(data.join("encryption.key"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    refused(None, &["may be read by others", "chmod 600"]);
    mode(0o600);
    let mut server = Server::start(serve(folder.path(), &[]));
    let link = server.line();
    assert!(link.is_some_and(|link| link.starts_with("Sign in: ")), "{}", server.ended(Duration::from_secs(1)).1);
    server.signal("-INT");
    assert!(server.ended(Duration::from_secs(60)).0.success());
    // Another key than the one that sealed: without it nothing is served, and nothing sealed anew.
    refused(Some(&"11".repeat(32)), &["FSA_ENCRYPTION_KEY", "Restore the key file"]);
}

#[test]
fn on_a_disk_that_is_full_it_says_so_and_does_not_start_before_there_is_room() {
    // Of two clusters, what one of them keeps of its log included.
    let Some(disk) = postgres::SmallDisk::of(360) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = folder();
    let data = disk.folder().join("ours");
    let refused = |free: &str| {
        let mut server = Server::start(serve_on(folder.path(), &data, &[]));
        let (status, log) = server.ended(Duration::from_secs(30));
        assert_eq!((status.code(), server.line()), (Some(1), None), "{log}");
        let told: Vec<&str> = log.lines().filter(|line| line.contains("fullstack-agent: ")).collect();
        let [told] = told[..] else { panic!("{log}") };
        for part in ["The disk of the data folder", "is full", free, "Free some space on that disk", "start the server again"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    };
    let starts = || {
        let mut server = Server::start(serve_on(folder.path(), &data, &[]));
        let link = server.line();
        assert!(
            link.as_ref().is_some_and(|link| link.starts_with("Sign in: ")),
            "{link:?} {}",
            server.ended(Duration::from_secs(1)).1
        );
        server.signal("-INT");
        let (status, log) = server.ended(Duration::from_secs(60));
        assert!(status.success(), "{log}");
    };
    runtime.block_on(disk.fill());
    refused("a start needs 100 MB");
    disk.empty();
    starts();
    runtime.block_on(disk.fill());
    refused("a start needs 16 MB");
    disk.empty();
    starts();
}

#[test]
fn the_doctor_says_that_it_finds_no_kubeconfig_and_fails() {
    let folder = folder();
    let data = folder.path().join("data");
    let words = ["doctor", "--no-probes", "--json", "--kubeconfig", "/nowhere/kubeconfig", "--data-dir", data.to_str().unwrap()];
    let said = run(&words);
    assert_eq!(said.status.code(), Some(1), "{}", text(&said.stderr));
    let report: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", text(&said.stdout)));
    let [finding] = report["findings"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&finding["check"], &finding["verdict"]), (&"kubeconfig".into(), &"fail".into()));
    assert!(finding["what"].as_str().unwrap().contains("/nowhere/kubeconfig"), "{finding}");
    assert!(!finding["why"].as_str().unwrap().is_empty(), "{finding}");
    assert!(finding["mend"][0].as_str().unwrap().contains("--kubeconfig"), "{finding}");
    assert!(text(&said.stderr).contains("1 of 1 checks failed"), "{}", text(&said.stderr));
}

/// As clouds' tools write them: what is to be run for a token is named, and not run; what was is told by what it said.
#[test]
fn the_doctor_says_of_a_clouds_kubeconfig_what_it_would_run_and_what_lets_it() {
    let folder = folder();
    let (file, ran) = (folder.path().join("kubeconfig"), folder.path().join("ran"));
    let (data, server) = (folder.path().join("data"), "https://198.51.100.7:6443");
    let run_it = format!("touch {}; echo a-secret-token; echo sign in first >&2; exit 1", ran.display());
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, args: ['-c', '{run_it}']}}"
    );
    let gcp = format!(
        "auth-provider: {{name: gcp, config: {{access-token: a-secret-token, cmd-path: touch, cmd-args: {}}}}}",
        ran.display()
    );
    let azure = "auth-provider: {name: azure, config: {access-token: a-secret-token}}".to_owned();
    let oidc = "auth-provider: {name: oidc, config: {refresh-token: a-secret-token}}".to_owned();
    let look = |user: &str, more: &[&str]| {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: dev\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: dev, context: {{cluster: c, user: u, namespace: a}}}}]\n"
        );
        std::fs::write(&file, text).unwrap();
        let words =
            ["doctor", "--no-probes", "--json", "--kubeconfig", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        let said = run(&[&words[..], more].concat());
        let (shown, log) = (self::text(&said.stdout), self::text(&said.stderr));
        assert_eq!(said.status.code(), Some(1), "{user}: {shown}{log}");
        assert!(!shown.contains("a-secret-token") && !log.contains("a-secret-token"), "{user}: {shown}{log}");
        let report: Value = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}"));
        let [finding] = report["findings"].as_array().unwrap().as_slice() else { panic!("{report}") };
        assert_eq!((&finding["check"], &finding["verdict"]), (&"kubeconfig".into(), &"fail".into()), "{user}");
        let what = finding["what"].as_str().unwrap().to_owned();
        for word in [file.to_str().unwrap(), "`dev`", server] {
            assert!(what.contains(word), "`{word}` is missing: {what}");
        }
        what
    };
    for (user, named) in [
        (&exec, "the program `sh` (exec)"),
        (&gcp, "the provider `gcp` (auth-provider)"),
        (&azure, "the provider `azure` (auth-provider)"),
        (&oidc, "the provider `oidc` (auth-provider)"),
    ] {
        let what = look(user, &[]);
        assert!(what.contains(named) && what.contains("--allow-exec-credentials"), "{what}");
        assert!(!ran.exists(), "it was run all the same: {user}");
    }
    for (user, said) in [(&exec, "sign in first"), (&azure, "kubelogin"), (&oidc, "auth-provider")] {
        let what = look(user, &["--allow-exec-credentials"]);
        assert!(what.contains(said) && !what.contains("--allow-exec-credentials"), "{what}");
    }
    assert!(ran.exists(), "what is allowed is run");
}

/// The program ends at once, and names the file: nothing that waiting would mend is waited for.
#[test]
fn a_kubeconfig_that_is_wrong_is_named_and_nothing_is_served() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(database) = runtime.block_on(postgres::empty_database()) else { return };
    let url = sqlx::ConnectOptions::to_url_lossy(&database).to_string();
    let good = |server: &str, user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: dev\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: dev, context: {{cluster: c, user: u, namespace: a}}}}]\n"
        )
    };
    let (there, token) = ("https://198.51.100.7:6443", "token: a-secret-token");
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: 'true'}";
    let files = [
        ("missing", None, "does not exist"),
        ("empty", Some(String::new()), "is empty"),
        ("other", Some("a-secret-token".to_owned()), "is no kubeconfig"),
        ("bare", Some("apiVersion: v1\nkind: Config\n".to_owned()), "has no contexts"),
        ("unknown", Some(good(there, token).replace("current-context: dev", "current-context: prod")), "`prod`"),
        ("loopback", Some(good("https://127.0.0.1:6443", token)), "--allow-loopback-cluster"),
        ("program", Some(good(there, exec)), "--allow-exec-credentials"),
    ];
    let folder = folder();
    for (name, content, said) in files {
        let file = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let file = file.to_str().unwrap();
        let mut command = serve(folder.path(), &["--orchestrator", "kubernetes", "--kubeconfig", file]);
        command.env("FSA_DATABASE_URL", &url);
        let mut server = Server::start(command);
        let (status, log) = server.ended(Duration::from_secs(30));
        assert!(!status.success() && log.contains(file) && log.contains(said), "{name}: {status} {log}");
        assert!(!log.contains("a-secret-token") && server.line().is_none(), "{name}: {log}");
    }
}

fn serve_beside(folder: &Path, words: &[&str]) -> Output {
    program().args(words).arg("--data-dir").arg(folder.join("data")).output().unwrap()
}

/// One request to a server of the test's own.
fn ask(port: u16, request: &str) -> String {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.replace("HEAD", &format!("host: localhost:{port}\r\nconnection: close")).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    text(&answer)
}

#[test]
fn one_file_alone_in_an_empty_folder_serves_and_signs_in() {
    if postgres::server().is_none() {
        return;
    }
    let made = folder();
    let style = "body{}/* of the one file */";
    std::fs::write(made.path().join("site/pkg/main.0123.css"), style).unwrap();
    std::fs::write(made.path().join("site/manifest.json"), r#"{"main.css": "main.0123.css"}"#).unwrap();
    let agent = std::env::var_os("FSA_AGENT").unwrap_or_else(|| "/bin/true".into());
    let alone = tempfile::Builder::new().prefix("fsa-alone-").tempdir_in("/tmp").unwrap();
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(alone.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = alone.path().join("fullstack-agent");
    let packed =
        program().args(["pack", "--site"]).arg(made.path().join("site")).arg("--sandbox-agent").arg(&agent).arg(&file).output();
    let packed = packed.unwrap();
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    drop(made);
    assert_eq!(std::fs::read_dir(alone.path()).unwrap().count(), 1);

    let start = || {
        let mut command = Command::new(&file);
        let kept = ["PATH", "HOME", "TMPDIR"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
        command.env_clear().envs(kept).current_dir(alone.path());
        command.arg("--data-dir").arg(alone.path().join("data")).args(["--listen", "localhost:0", "--log-format", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Server::start(command)
    };
    let mut server = start();
    let link = server.line().unwrap_or_else(|| panic!("{}", server.ended(Duration::from_secs(1)).1));
    let (address, code) = link.strip_prefix("Sign in: ").unwrap().split_once('#').unwrap();
    let port: u16 = address.split("localhost:").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    let body = format!(r#"{{"code": "{code}"}}"#);
    let post = format!(
        "POST /api/sign-in HTTP/1.1\r\nHEAD\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(port, &post);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().split(';').next().unwrap();
    let page = ask(port, &format!("GET / HTTP/1.1\r\nHEAD\r\ncookie: {cookie}\r\n\r\n"));
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("/pkg/main.0123.css"), "{page}");
    for (folder, there) in [("", true), ("again-3/", true), ("again-x/", false), ("other-3/", false)] {
        let answer = ask(port, &format!("GET /pkg/{folder}main.0123.css HTTP/1.1\r\nHEAD\r\n\r\n"));
        assert_eq!((answer.ends_with(style), answer.contains("immutable")), (there, there), "{folder}: {answer}");
    }
    let unpacked = std::fs::read_dir(alone.path().join("data/dist")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(unpacked.join("agent/sandbox-agent")).unwrap(), std::fs::read(&agent).unwrap());
    let forged = r#"{"code": "wrong"}"#;
    let told = format!(
        "POST /api/sign-in HTTP/1.1\r\nHEAD\r\nx-request-id: t-1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{forged}",
        forged.len()
    );
    assert!(ask(port, &told).starts_with("HTTP/1.1 401"));
    server.signal("-INT");
    let (status, log) = server.ended(Duration::from_secs(60));
    assert!(status.success() && !log.contains("ERROR"), "{status} {log}");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let refused = lines.iter().find(|line| line["message"].as_str().is_some_and(|said| said.contains("never made"))).unwrap();
    assert_eq!(refused["level"], "WARN");
    let request = refused["spans"].as_array().unwrap().iter().find(|span| span["name"] == "request").unwrap();
    assert_eq!(request["id"], "t-1", "an answer's id leads to the log: {refused}");
    let session = cookie.split_once('=').unwrap().1;
    for secret in [code, session] {
        assert!(!log.contains(secret), "who reads the log signs in by nothing of it: {log}");
    }
}
