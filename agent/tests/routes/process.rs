//! The agent as a process: its beginning, its end, and those below it.

use super::script;
use crate::support::{self, Agent, DEADLINE, eventually};
use futures_util::StreamExt;
use sandbox_agent::{client, protocol::http::ExecExit};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn shutdown_ends_everything_and_then_the_agent() {
    let mut agent = Agent::start();
    let mut run = Box::pin(
        client::exec(agent.io().await, &agent.token, &script("trap '' TERM HUP; echo $$; while :; do sleep 1; done"))
            .await
            .unwrap(),
    );
    let Some(Ok(client::ExecEvent::Output(_, pid))) = run.next().await else { panic!("no output") };
    let process = format!("/proc/{}", String::from_utf8(pid.to_vec()).unwrap().trim());
    let mut viewer = agent.viewer("session=main", "a", (80, 24)).await;
    client::shutdown(agent.io().await, &agent.token, Duration::from_millis(300)).await.unwrap();
    assert_eq!(u16::from(viewer.until_closed().await.unwrap().code), 1001);
    eventually("the agent ended", DEADLINE, || std::future::ready(agent.process.try_wait().unwrap().is_some())).await;
    assert!(!support::exists(process.as_ref()), "what ignores signals is killed");
    assert!(agent.home.join(".fsa/sessions/main.log").exists());
}

/// A pod that ends and its successor have the same volume, and never both write.
#[tokio::test]
async fn a_second_agent_waits_for_the_first() {
    let first = Agent::start();
    // It listens before it has the home folder; once it answers, the folder is its own.
    assert!(client::health(first.io().await).await.is_ok());
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox-agent"))
        .args(["--listen", "127.0.0.1:0", "--home"])
        .arg(&first.home)
        .env("FSA_AGENT_TOKEN", "t")
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut second = second.unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(second.stderr.take().unwrap()));
    let address = lines.next().unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();
    assert!(lines.next().unwrap().unwrap().contains("another agent"));
    let io = tokio::net::TcpStream::connect(&address).await.unwrap();
    let asked = client::health(io);
    tokio::pin!(asked);
    assert!(timeout(Duration::from_millis(300), &mut asked).await.is_err(), "it serves too early");
    let _folder = first.stop();
    assert!(timeout(DEADLINE, asked).await.unwrap().unwrap().shell_started);
    second.kill().unwrap();
    second.wait().unwrap();
}

/// A database by a name, as on a cluster: its Service lets nobody through for a moment after its pod is ready.
#[tokio::test]
async fn a_shell_counts_as_started_once_the_database_can_be_reached() {
    let home = tempfile::tempdir().unwrap();
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = |host: &str| {
        let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox-agent"));
        agent.args(["--listen", "127.0.0.1:0", "--home"]).arg(home.path()).env("FSA_AGENT_TOKEN", "t");
        agent.env("PGHOST", host).env("PGPORT", place.port().to_string()).stderr(std::process::Stdio::piped());
        let mut agent = agent.spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(agent.stderr.take().unwrap()));
        let address = lines.next().unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();
        (agent, address)
    };
    let started = async |address: &str| {
        let io = tokio::net::TcpStream::connect(address).await.unwrap();
        client::health(io).await.unwrap().shell_started
    };
    let (mut process, address) = agent("localhost");
    for _ in 0..5 {
        assert!(!started(&address).await, "nobody listens yet");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let database = std::net::TcpListener::bind(place).unwrap();
    eventually("the shell counts", DEADLINE, async || started(&address).await).await;
    drop(database);
    process.kill().unwrap();
    process.wait().unwrap();

    // An address of one machine's own is forwarded, and takes connections from the beginning.
    let (mut process, address) = agent("127.0.0.1");
    assert!(started(&address).await);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test]
async fn orphans_are_reaped_and_exit_codes_kept() {
    let agent = Agent::start();
    let pid = agent.process.id();
    // Orphans come back to the agent (it is a subreaper, as PID 1 would be) while commands end all the time.
    agent.exec("for i in $(seq 50); do (sleep 0.0$((i % 10)) &) ; done").await;
    for code in 0..40 {
        assert_eq!(agent.exec(&format!("(true &); (sleep 0.01 &); exit {code}")).await.exit, ExecExit::Code(code));
    }
    let zombies = async || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let zombie = |child: &str| std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        children.split_ascii_whitespace().filter(|child| zombie(child)).count()
    };
    eventually("no zombies", DEADLINE, async || zombies().await == 0).await;
}

/// The same as PID 1 of a namespace, where the kernel reaps nothing for it. Needs root.
#[tokio::test]
async fn as_pid_1_it_reaps_and_ends() {
    if !rustix::process::geteuid().is_root() {
        return support::skip("root, which alone may make a namespace of processes");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".bash_profile"), "(sleep 0.1 &)\n").unwrap();
    let mut process = std::process::Command::new("unshare")
        .args(["-fp", "--kill-child", "--mount-proc", env!("CARGO_BIN_EXE_sandbox-agent"), "--listen", "127.0.0.1:0", "--home"])
        .arg(folder.path())
        .env("FSA_AGENT_TOKEN", "t")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stderr.take().unwrap()));
    let Some(address) = lines.next().and_then(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned)) else {
        process.wait().unwrap();
        return support::skip("namespaces of processes, which this root may not make");
    };
    let token = "t".to_owned().into();
    let io = async || tokio::net::TcpStream::connect(&address).await.unwrap();
    let run = async |text: &str| client::exec_to_end(io().await, &token, &script(text), 10_000).await.unwrap();
    assert_eq!(run("cat /proc/1/comm").await.stdout, b"sandbox-agent\n");
    assert_eq!(run("for i in $(seq 20); do (sleep 0.01 &); done; exit 9").await.exit, ExecExit::Code(9));
    eventually("no zombies", DEADLINE, async || run("grep -l '^State:.Z' /proc/[0-9]*/status | wc -l").await.stdout == b"0\n")
        .await;
    client::shutdown(io().await, &token, Duration::from_secs(1)).await.unwrap();
    assert!(process.wait().unwrap().success());
}
