//! What a sandbox may use, and that using all of it breaks neither its own ways in and out nor the machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use engine::orchestrator::{AgentOrPort, DatabaseEndpoint, Orchestrator as _, SandboxSpec};
use sandbox_agent::{client, protocol::http::AgentEvent};
use std::{
    process::Command,
    time::{Duration, Instant},
};
use support::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

#[tokio::test(flavor = "multi_thread")]
async fn very_many_connections_to_the_database_end_neither_the_way_to_it_nor_the_keeper() {
    or_skip!(skip());
    let folder = tempfile::Builder::new().prefix("fsa-many-").tempdir_in("/tmp").unwrap();
    let socket = folder.path().join("database.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // Not PostgreSQL: it lets in who says `in`, and else says back what it hears, for as long as one likes.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let mut first = [0; 2];
                if read.read_exact(&mut first).await.is_err() {
                    return;
                }
                let said: &[u8] = if first == *b"in" { b"R\0\0\0\x08\0\0\0\0" } else { &first };
                let _ = write.write_all(said).await;
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let world = World::new().await;
    let spec = SandboxSpec { database: Some(DatabaseEndpoint::Unix(socket)), ..spec() };
    world.up(&spec).await;
    let script = r#"python3 - <<'E'
import socket, time
def answered():
    count = 0
    for s in held:
        s.setblocking(False)
        try: count += s.recv(2) == b'hi'
        except OSError: pass
    return count
def talks(s):
    try:
        s.settimeout(10); s.sendall(b'hi'); return s.recv(2) == b'hi'
    except OSError: return False
start = time.time()
pool = [socket.create_connection(('127.0.0.1', 5432)) for _ in range(20)]
for s in pool:
    s.settimeout(20)
    s.sendall(b'in')
let_in = sum(len(s.recv(9, socket.MSG_WAITALL)) == 9 for s in pool)
print(let_in, time.time() - start < 4)
[s.close() for s in pool]
time.sleep(2)
held = [socket.create_connection(('127.0.0.1', 5432)) for _ in range(400)]
for s in held:
    try: s.sendall(b'hi')
    except OSError: pass
time.sleep(2)
few = answered()
time.sleep(7)
print(few, answered())
[s.close() for s in held]
for _ in range(200):
    if talks(socket.create_connection(('127.0.0.1', 5432))): break
    time.sleep(0.05)
else: print('the way to the database is closed')
E"#;
    let said = "20 True\n12 12\n";
    assert_eq!(
        world.sh(&spec, script).await.ok(),
        said,
        "a pool at once, few that are silent, no more than a role has: {}",
        world.log(&spec)
    );
    // As the next control plane would find it.
    assert_eq!(ask(&world, &spec)["state"], "running");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_files_are_limited_and_enough() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.map_or(16_384, |most| most.min(16_384));
    assert_eq!(world.sh(&spec, "ulimit -Sn; ulimit -Hn").await.ok(), format!("{most}\n{most}\n"));
    let more = "python3 -c 'import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))'";
    assert!(world.sh(&spec, more).await.err.contains("not allowed") || most > 20_000);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", keeper_pid(&world, &spec))).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().filter(|word| *word == most.to_string()).count(), 2, "{line}");
    world.remove(&spec).await;
}

/// Not a test by itself: runs where no cgroup can be made.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_cgroup_can_be_made() {
    if std::env::var_os("FSA_TEST_NO_CGROUP").is_none() {
        return;
    }
    let world = World::new().await;
    let found = local::preflight::look(&world.settings);
    assert!(found.blocking.is_none(), "{found:?}");
    let said = found.notices.iter().find(|notice| notice.contains("No cgroup can be made here"));
    assert!(said.is_some_and(|notice| notice.contains("memory and CPU of sandboxes are not limited")), "{found:?}");
    let mut spec = spec();
    spec.resources.limit_memory_bytes = 128 << 20;
    world.up(&spec).await;
    // What is said is so.
    let much = "python3 -c 'print(len(bytearray(200 << 20)))'";
    assert_eq!(world.sh(&spec, much).await.ok(), format!("{}\n", 200 << 20));
    // The number of processes is limited all the same, by what each inherits and none can raise.
    let most = rustix::process::getrlimit(rustix::process::Resource::Nproc).maximum.map_or(2048, |most| most.min(2048));
    assert_eq!(world.sh(&spec, "ulimit -Su; ulimit -Hu").await.ok(), format!("{most}\n{most}\n"));
    let bomb = r"python3 - <<'E'
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
except OSError as e:
    print(count, e.errno, flush=True)
    os.killpg(0, 9)
E";
    let said = world.sh(&spec, bomb).await;
    let (count, errno) = said.out.trim().split_once(' ').unwrap_or_else(|| panic!("{said:?}"));
    assert!(count.parse::<u64>().unwrap() < most && errno == "11", "{said:?}");
    // The machine and the sandbox go on.
    world.sh(&spec, "true").await.ok();
    world.remove(&spec).await;
}

#[test]
fn without_cgroups_processes_are_limited_and_what_is_not_is_said() {
    or_skip!(skip());
    or_skip!((!rustix::process::geteuid().is_root()).then(|| "not root: cgroups cannot be hidden".to_owned()));
    // In a mount namespace of its own: where cgroups are for all others, it has an empty folder that cannot be written.
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t tmpfs -o ro none /sys/fs/cgroup && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["where_no_cgroup_can_be_made", "--exact", "--nocapture"])
        .env("FSA_TEST_NO_CGROUP", "1")
        .env("FSA_AGENT_BINARY", agent())
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

/// Asks the agent for its events, which has it measure at once, until one fits.
async fn until_event(world: &World, spec: &SandboxSpec, what: &str, fits: impl Fn(&AgentEvent) -> bool) {
    use futures::StreamExt as _;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
        let mut events = Box::pin(client::events(io, &spec.agent_token).await.unwrap());
        let some = async { while !fits(&events.next().await.unwrap().unwrap()) {} };
        if tokio::time::timeout(Duration::from_secs(3), some).await.is_ok() {
            return;
        }
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_disk_limit_exec_frees_space_and_nothing_hides_it() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = spec();
    spec.resources.disk_bytes = 8 << 20;
    world.up(&spec).await;
    let over = |event: &AgentEvent| matches!(event, AgentEvent::Disk { over: true });
    let under = |event: &AgentEvent| matches!(event, AgentEvent::Disk { over: false });
    for (what, fill, free) in [
        ("a file", "fallocate -l 20M ~/big", "rm ~/big"),
        (
            "a closed folder",
            "mkdir -p ~/closed/within && exec 9>~/closed/within/big && chmod 000 ~/closed/within ~/closed && fallocate -l 20M /proc/self/fd/9",
            "[ $(stat -c %a ~/closed) = 0 ] && chmod u+rwx ~/closed && chmod u+rwx ~/closed/within && rm -r ~/closed",
        ),
        (
            "a deleted file that is open",
            "sh -c 'echo $$ > ~/pid; exec 9>~/hidden; rm ~/hidden; fallocate -l 20M /proc/self/fd/9; exec sleep 1000' >/dev/null 2>&1 &",
            "kill -KILL $(cat ~/pid)",
        ),
    ] {
        // Side by side: a command that was begun before may be stopped like all else, with its file open.
        let free = format!("{free} && {{ pkill -KILL fallocate; true; }}");
        tokio::join!(world.sh(&spec, fill), async {
            until_event(&world, &spec, what, over).await;
            // What a restart would find again is let go of by a command, which is not stopped itself.
            world.sh(&spec, &free).await.ok();
        });
        until_event(&world, &spec, "room again", under).await;
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_inside_is_no_preview() {
    or_skip!(skip());
    let world = World::with(|settings| settings.network_device = false).await;
    let spec = spec();
    world.up(&spec).await;
    let serve = "(setsid python3 -c 'import socket,time; s=socket.create_server((\"127.0.0.1\", 3000)); time.sleep(1000)' >/dev/null 2>&1 &)";
    world.sh(&spec, serve).await.ok();
    until_event(&world, &spec, "the port", |event| match event {
        AgentEvent::Ports { ports } if !ports.is_empty() => {
            assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [3000]);
            true
        }
        _ => false,
    })
    .await;
    let mut io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    io.write_all(b"GET /healthz HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    world.remove(&spec).await;
}
