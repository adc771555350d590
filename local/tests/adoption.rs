//! The control plane is killed; its sandboxes are not.
//!
//! A control plane that can be killed is this very test binary, started anew with `FSA_TEST_CONTROL`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use engine::orchestrator::{
    AgentOrPort, AgentSeen, DatabaseEndpoint, Orchestrator as _, OrchestratorError, Removed, SandboxSpec,
};
use local::{LocalOrchestrator, datafolder::DataFolder, postgres::EmbeddedPostgres};
use model::{CauseCode, ResourceName, SandboxId, Slug};
use secrecy::ExposeSecret as _;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

/// The same spec in both processes.
fn fixed(restart_count: i64) -> SandboxSpec {
    let slug = Slug::derive(&"adopted".parse().unwrap(), 0);
    SandboxSpec {
        id: SandboxId(Uuid::from_u128(7)),
        name: ResourceName::new(&slug, *b"adopt7"),
        volume: engine::orchestrator::VolumeName("adopted".into()),
        restart_count,
        ..spec()
    }
}

/// Not a test by itself: the control plane that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn control_plane() {
    let Some(data) = std::env::var_os("FSA_TEST_CONTROL") else { return };
    let data = DataFolder::open(Path::new(&data)).unwrap();
    let orchestrator = LocalOrchestrator::new(settings(data.path())).await.unwrap();
    let mut spec = fixed(1);
    if let Ok(socket) = std::env::var("FSA_TEST_DATABASE") {
        spec.database = Some(DatabaseEndpoint::Unix(socket.into()));
    }
    loop {
        orchestrator.ensure(&spec).await.unwrap();
        let seen = orchestrator.observe(spec.id).await.unwrap();
        if seen.agent == AgentSeen::ShellStarted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::write(data.path().join("up"), "").unwrap();
    std::future::pending::<()>().await;
}

/// Killed at the latest when its test is over.
struct ControlPlane(Child);

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn control_plane_of(data: &Path, database: Option<&Path>) -> ControlPlane {
    let _ = std::fs::remove_file(data.join("up"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["control_plane", "--exact", "--nocapture"]).env("FSA_TEST_CONTROL", data).stdout(Stdio::null());
    command.env("FSA_AGENT_BINARY", agent());
    if let Some(database) = database {
        command.env("FSA_TEST_DATABASE", database);
    }
    ControlPlane(command.spawn().unwrap())
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < PATIENCE, "waited for {}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_breaks_nothing_and_the_next_one_goes_on() {
    or_skip!(skip());
    let folder = tempfile::Builder::new().prefix("fsa-adopt-").tempdir_in("/tmp").unwrap();
    let first = control_plane_of(folder.path(), None);
    wait_for(&folder.path().join("up"));
    drop(first);

    let world = World::at(folder).await;
    let spec = fixed(1);
    let seen = world.orchestrator.observe(spec.id).await.unwrap();
    assert!(seen.present && seen.network, "adopted at start: {seen:?}");
    let run = seen.instance.unwrap();
    assert_eq!((run.restart_count, run.env_revision), (1, 1));
    world.orchestrator.ensure(&spec).await.unwrap();
    assert_eq!(world.orchestrator.observe(spec.id).await.unwrap().instance.unwrap().id, run.id, "the same run goes on");
    assert_eq!(world.sh(&spec, "echo still here").await.ok(), "still here\n");
    // Its ports too, for which the new control plane needs the token that only the keeper knows.
    world.sh(&spec, "(setsid python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", 3000)); c, _ = s.accept(); c.sendall(b\"hi\"); c.close()' >/dev/null 2>&1 &)").await.ok();
    let start = Instant::now();
    let mut io = loop {
        match world.orchestrator.connect(spec.id, AgentOrPort::Port(3000)).await {
            Ok(io) => break io,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
    };
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hi");
    world.up(&fixed(2)).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_of_a_start_converge_to_one_run_and_nothing_else() {
    or_skip!(skip());
    let mut folder = tempfile::Builder::new().prefix("fsa-kills-").tempdir_in("/tmp").unwrap();
    for millis in [3, 10, 20, 30, 40, 50, 60, 75, 90, 120] {
        let control = control_plane_of(folder.path(), None);
        // Counted from when it has begun.
        wait_for(&folder.path().join("lock"));
        std::thread::sleep(Duration::from_millis(millis));
        drop(control);
        let world = World::at(folder).await;
        let spec = fixed(1);
        world.up(&spec).await;
        // One of the killed control plane's may still wait for the lock, in vain.
        let start = Instant::now();
        while keepers_of(world.data.path(), &spec).len() != 1 {
            assert!(start.elapsed() < PATIENCE, "after {millis} ms: {:?}", keepers_of(world.data.path(), &spec));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(world.orchestrator.observe(spec.id).await.unwrap().present, "after {millis} ms");
        world.remove(&spec).await;
        assert!(world.orchestrator.list().await.unwrap().is_empty());
        let gone = Instant::now();
        while !keepers_of(world.data.path(), &spec).is_empty() {
            assert!(gone.elapsed() < PATIENCE);
        }
        folder = world.close().await;
        std::fs::remove_file(folder.path().join("lock")).unwrap();
    }
}

/// The keepers of a sandbox, told by their argument and their open folder.
fn keepers_of(data: &Path, spec: &SandboxSpec) -> Vec<i32> {
    let lock = data.join("sandboxes").join(spec.id.to_string()).join("keeper.log");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        if std::fs::read_link(entry.path().join("fd/2")).is_ok_and(|log| log == lock) {
            found.push(pid);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_keeper_takes_its_sandbox_with_it_and_is_replaced() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    let before = world.up(&spec).await.instance.unwrap().id;
    let (keeper, init) = (keeper_pid(&world, &spec), init_pid(&world, &spec));
    let keeper = rustix::process::Pid::from_raw(keeper).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
    world.until(&spec, "the end", |seen| !seen.present).await;
    let state = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
    assert!(
        state.is_empty() || state.contains(") Z ") || state.contains(") X "),
        "the sandbox is gone before that is said: {state}"
    );
    let after = world.up(&spec).await.instance.unwrap().id;
    assert_ne!(before, after);
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_stays_open_while_the_control_plane_is_killed() {
    or_skip!(skip());
    let folder = tempfile::Builder::new().prefix("fsa-tx-").tempdir_in("/tmp").unwrap();
    let data = DataFolder::open(folder.path()).unwrap();
    let Ok(postgres) = EmbeddedPostgres::start(data.path()).await else {
        return skipped("PostgreSQL does not start here");
    };
    drop(data);
    let DatabaseEndpoint::Unix(socket) = postgres.endpoint() else { panic!("a socket") };
    let url = postgres.control_url().expose_secret().to_owned();
    // As a sandbox says it.
    let inside = url.split("?host=").next().unwrap().replace("localhost", "127.0.0.1");
    let control = control_plane_of(folder.path(), Some(&socket));
    wait_for(&folder.path().join("up"));

    let stream =
        std::os::unix::net::UnixStream::connect(folder.path().join(format!("sandboxes/{}/agent.sock", fixed(1).id))).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut agent = tokio::net::UnixStream::from_std(stream).unwrap();
    let script = format!(
        "(echo 'CREATE TABLE t (n int); BEGIN; INSERT INTO t VALUES (42); \\! touch ~/begun'; while [ ! -e ~/go ]; do sleep 0.05; done; echo 'COMMIT; SELECT sum(n) FROM t;') | psql -qtA '{inside}'"
    );
    let body = serde_json::json!({"command": ["/bin/bash", "-c", script], "timeoutMs": 60000}).to_string();
    let head = format!(
        "POST /v1/exec HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        fixed(1).agent_token.expose_secret(),
        body.len()
    );
    agent.write_all((head + &body).as_bytes()).await.unwrap();
    wait_for(&folder.path().join("volumes/adopted/home/begun"));
    drop(control);
    let world = World::at(folder).await;
    assert!(EmbeddedPostgres::start(world.data.path()).await.unwrap().adopted());
    std::fs::write(world.data.path().join("volumes/adopted/home/go"), "").unwrap();
    let mut answer = String::new();
    agent.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("42"), "{answer}");
    world.remove(&fixed(1)).await;
    postgres.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_inside_reaches_the_database_and_says_so_when_it_is_away() {
    or_skip!(skip());
    let folder = tempfile::Builder::new().prefix("fsa-db-").tempdir_in("/tmp").unwrap();
    let world = World::at(folder).await;
    let Ok(postgres) = EmbeddedPostgres::start(world.data.path()).await else {
        return skipped("PostgreSQL does not start here");
    };
    let inside = postgres.control_url().expose_secret().split("?host=").next().unwrap().replace("localhost", "127.0.0.1");
    let mut spec = spec();
    spec.database = Some(postgres.endpoint());
    spec.env.insert("POSTGRES_URL".into(), inside.into());
    world.up(&spec).await;
    assert_eq!(world.sh(&spec, "psql \"$POSTGRES_URL\" -tAc 'select 6*7'").await.ok(), "42\n");
    // A megabyte through it, both ways.
    let big = "psql \"$POSTGRES_URL\" -tAc \"select length('$(head -c 100000 /dev/zero | tr '\\0' x)'), md5(repeat('x', 1000000))\"; psql \"$POSTGRES_URL\" -tAc \"select repeat('x', 1000000)\" | wc -c";
    assert!(world.sh(&spec, big).await.ok().ends_with("\n1000001\n"));
    postgres.stop().await.unwrap();
    let away = world.sh(&spec, "psql \"$POSTGRES_URL\" -tAc 'select 1'").await;
    assert!(away.err.contains("server closed the connection"), "{away:?}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_whose_folder_was_removed_ends() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    let (keeper, init) = (keeper_pid(&world, &spec), init_pid(&world, &spec));
    std::fs::remove_dir_all(world.data.path().join("sandboxes")).unwrap();
    for pid in [keeper, init] {
        let start = Instant::now();
        while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(start.elapsed() < PATIENCE, "{pid} is left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let seen = world.until(&spec, "the end", |seen| !seen.present).await;
    assert_eq!(seen.ended_by_itself, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_hangs_is_ended_by_force() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    let keeper = rustix::process::Pid::from_raw(keeper_pid(&world, &spec)).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::STOP).unwrap();
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_hangs_over_a_restart_of_the_server_is_ended_by_force() {
    or_skip!(skip());
    let folder = tempfile::Builder::new().prefix("fsa-hang-").tempdir_in("/tmp").unwrap();
    let first = control_plane_of(folder.path(), None);
    wait_for(&folder.path().join("up"));
    let spec = fixed(1);
    let said = ask_in(&folder.path().join("sandboxes").join(spec.id.to_string()));
    let pids = ["keeperPid", "initPid"].map(|of| i32::try_from(said[of].as_i64().unwrap()).unwrap());
    drop(first);
    let keeper = rustix::process::Pid::from_raw(pids[0]).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::STOP).unwrap();

    let world = World::at(folder).await;
    assert!(world.orchestrator.observe(spec.id).await.unwrap().present, "it is there, and says nothing");
    world.orchestrator.ensure(&stopped(&spec)).await.unwrap();
    world.until(&spec, "the end", |seen| !seen.present).await;
    over(&pids).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_under_a_keeper_that_takes_no_connections() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    let folder = world.sandbox_folder(&spec);
    std::fs::create_dir_all(&folder).unwrap();
    // As one that was stopped, behind which as many wait as may.
    let socket = folder.join("keeper.sock");
    let keeper = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&keeper, 0).unwrap();
    let waits = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let refused = world.orchestrator.remove(spec.id).await.unwrap_err();
    let by_it = matches!(&refused, OrchestratorError::Caused(cause) if cause.code == CauseCode::KeeperFailed);
    assert!(by_it && socket.exists(), "{refused:?}");
    drop((keeper, waits));
    // A program that another test starts has a copy of the listener until it is exec'ed.
    let start = Instant::now();
    while world.orchestrator.remove(spec.id).await.is_err() {
        assert!(start.elapsed() < PATIENCE, "it is gone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_took_no_connections_at_first_is_there_and_is_ended_once_it_does() {
    or_skip!(skip());
    for removed in [false, true] {
        let folder = tempfile::Builder::new().prefix("fsa-full-").tempdir_in("/tmp").unwrap();
        let first = control_plane_of(folder.path(), None);
        wait_for(&folder.path().join("up"));
        let spec = fixed(1);
        let its = folder.path().join("sandboxes").join(spec.id.to_string());
        let said = ask_in(&its);
        let pids = ["keeperPid", "initPid"].map(|of| i32::try_from(said[of].as_i64().unwrap()).unwrap());
        drop(first);
        let keeper = rustix::process::Pid::from_raw(pids[0]).unwrap();
        rustix::process::kill_process(keeper, rustix::process::Signal::STOP).unwrap();
        fill(&its.join("keeper.sock"));

        let world = World::at(folder).await;
        let seen = world.orchestrator.observe(spec.id).await.unwrap();
        assert!(seen.present && seen.instance.is_none() && seen.cause.is_some(), "it lives, and cannot be reached: {seen:?}");
        assert!(world.orchestrator.ensure(&stopped(&spec)).await.is_err(), "nor told to end");
        assert!(world.orchestrator.remove(spec.id).await.is_err());
        rustix::process::kill_process(keeper, rustix::process::Signal::CONT).unwrap();
        if removed {
            let start = Instant::now();
            let first = loop {
                match world.orchestrator.remove(spec.id).await {
                    Ok(removed) => break removed,
                    Err(error) => assert!(start.elapsed() < PATIENCE, "it takes connections again: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            assert_eq!(first, Removed::Going);
        } else {
            world.until(&spec, "the same run", |seen| seen.instance.is_some()).await;
            world.orchestrator.ensure(&stopped(&spec)).await.unwrap();
        }
        world.until(&spec, "the end", |seen| !seen.present).await;
        over(&pids).await;
        world.remove(&spec).await;
    }
}

/// As many wait for whoever listens there as may. Those that have hung up count until they are taken.
fn fill(socket: &Path) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let address = SocketAddrUnix::new(socket).unwrap();
    loop {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let waits = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        match connect(&waits, &address) {
            Err(rustix::io::Errno::AGAIN) => return,
            connected => connected.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_another_control_plane_started_is_ended_before_anything_is_removed() {
    or_skip!(skip());
    // It has looked for keepers before there is this one.
    let world = World::new().await;
    let spec = spec();
    let other = LocalOrchestrator::new(settings(world.data.path())).await.unwrap();
    let start = Instant::now();
    while other.observe(spec.id).await.unwrap().agent != AgentSeen::ShellStarted {
        assert!(start.elapsed() < PATIENCE, "not up");
        other.ensure(&spec).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pids = [keeper_pid(&world, &spec), init_pid(&world, &spec)];
    assert_eq!(world.orchestrator.remove(spec.id).await.unwrap(), Removed::Going);
    world.until(&spec, "the end", |seen| !seen.present).await;
    over(&pids).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_end_of_the_server_nor_down_leaves_a_keeper_that_hangs() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    for by_down in [false, true] {
        world.up(&spec).await;
        let (keeper, init) = (keeper_pid(&world, &spec), init_pid(&world, &spec));
        let stop = rustix::process::Pid::from_raw(keeper).unwrap();
        rustix::process::kill_process(stop, rustix::process::Signal::STOP).unwrap();
        if by_down {
            let done = local::down(world.data.path()).await.unwrap();
            assert_eq!((done.ended, done.left.len()), (1, 0), "{done:?}");
            world.until(&spec, "the end", |seen| !seen.present).await;
        } else {
            world.orchestrator.shut_down().await;
            assert!(!world.orchestrator.observe(spec.id).await.unwrap().present, "it is left");
        }
        over(&[keeper, init]).await;
    }
    world.remove(&spec).await;
}

/// What was killed by force has its end before it: it may still be on its way.
async fn over(pids: &[i32]) {
    let deadline = Instant::now() + Duration::from_secs(5);
    for pid in pids {
        loop {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") || state.contains(") X ") {
                break;
            }
            assert!(Instant::now() < deadline, "{pid} is left: {state}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn down_ends_every_sandbox_and_keeps_the_volumes() {
    or_skip!(skip());
    let world = World::new().await;
    let (a, b) = (spec(), spec());
    tokio::join!(world.up(&a), world.up(&b));
    world.sh(&a, "echo kept > ~/kept").await.ok();
    let keepers = [keeper_pid(&world, &a), keeper_pid(&world, &b)];
    assert_eq!(local::down(world.data.path()).await.unwrap(), local::Down { ended: 2, left: Vec::new() });
    for keeper in keepers {
        let start = Instant::now();
        while std::fs::read_to_string(format!("/proc/{keeper}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(start.elapsed() < PATIENCE, "a keeper is left");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let seen = world.until(&a, "the end", |seen| !seen.present).await;
    assert_eq!(seen.ended_by_itself, 0, "it was asked for");
    assert_eq!(local::down(world.data.path()).await.unwrap(), local::Down::default());
    world.up(&a).await;
    assert_eq!(world.sh(&a, "cat ~/kept").await.ok(), "kept\n");
    world.orchestrator.shut_down().await;
    assert!(!world.orchestrator.observe(a.id).await.unwrap().present);
    world.remove(&a).await;
    world.remove(&b).await;
}
