//! The way out of a sandbox: what it reaches, and what it must not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use engine::orchestrator::{AgentOrPort, ConnectError, Orchestrator as _};
use local::keeper::egress::EgressRule;
use std::net::{IpAddr, SocketAddr};
use support::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A rule by which the inside reaches a listener of this test, as `host.sandbox.internal`.
fn open(listener: &TcpListener) -> EgressRule {
    format!("127.0.0.1:{}", listener.local_addr().unwrap().port()).parse().unwrap()
}

async fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_and_private_addresses_are_refused() {
    or_skip!(skip());
    for device in [true, false] {
        let world = World::with(|settings| settings.network_device = device).await;
        let spec = spec();
        world.up(&spec).await;
        // Somebody listens on every address of the machine; nobody may come.
        let listener = TcpListener::bind("[::]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut addresses: Vec<String> = nix::ifaddrs::getifaddrs()
            .unwrap()
            .filter_map(|i| {
                let address = i.address?;
                let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
            })
            .map(|ip| SocketAddr::new(ip, port).to_string())
            .collect();
        assert!(addresses.len() > 1);
        for refused in
            ["169.254.169.254:80", "10.0.0.1:80", "192.168.0.1:80", "0.0.0.0:80", "[::ffff:10.0.0.1]:80", "[fd00::1]:80"]
        {
            addresses.push(refused.to_owned());
        }
        addresses.push(format!("localhost:{port}"));
        for address in &addresses {
            let tried =
                world.sh(&spec, &format!("curl -sS --max-time 10 -o /dev/null -w '%{{http_code}}' http://{address}/")).await;
            let through = tried.out.trim();
            assert!(through == "000" || (!device && through == "403"), "{address} was reached: {tried:?}");
        }
        let nobody = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "somebody came");
        assert!(
            world.log(&spec).contains("refused 169.254.169.254:80: a link-local or metadata address"),
            "{}",
            world.log(&spec)
        );
        world.remove(&spec).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_port_of_the_machine_is_reached_and_no_other() {
    or_skip!(skip());
    for device in [true, false] {
        let listener = loopback().await;
        let (port, rule) = (listener.local_addr().unwrap().port(), open(&listener));
        let world = World::with(|settings| {
            settings.network_device = device;
            settings.egress = vec![rule];
        })
        .await;
        let spec = spec();
        world.up(&spec).await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let answer = world.sh(&spec, &format!("curl -sS --max-time 10 http://host.sandbox.internal:{port}/path")).await;
        assert_eq!(answer.ok(), "hello");
        assert!(server.await.unwrap().starts_with("GET /path HTTP/1.1"));
        world.remove(&spec).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_whole_both_ways_and_nothing_is_buffered_without_end() {
    or_skip!(skip());
    let listener = loopback().await;
    let (port, rule) = (listener.local_addr().unwrap().port(), open(&listener));
    let world = World::with(|settings| settings.egress = vec![rule]).await;
    let spec = spec();
    world.up(&spec).await;
    const SIZE: usize = 64 << 20;
    let server = tokio::spawn(async move {
        // Nobody reads for a while: the sender inside must be made to wait.
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sum = 0_u64;
        let mut total = 0;
        let mut part = vec![0; 65536];
        let mut first = true;
        loop {
            if first {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                first = false;
            }
            match stream.read(&mut part).await.unwrap() {
                0 => break,
                length => {
                    total += length;
                    sum = part[..length].iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
                }
            }
        }
        // The inside has said its last word and still listens: half closed for longer than a moment.
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        let answer: Vec<u8> = (0..SIZE).map(|n| (n * 7 % 251) as u8).collect();
        stream.write_all(&answer).await.unwrap();
        (total, sum)
    });
    let script = format!(
        r#"cat > /tmp/t.py <<'E'
import socket, time
s = socket.create_connection(('host.sandbox.internal', {port}))
data = bytes((n * 13 % 241) & 255 for n in range(1 << 20)) * {mib}
s.sendall(data)
s.shutdown(socket.SHUT_WR)
got = bytearray()
while True:
    part = s.recv(1 << 20)
    if not part: break
    got += part
want = bytes((n * 7 % 251) & 255 for n in range(251)) * ({size} // 251 + 1)
print(len(got), bytes(got) == want[:{size}])
E
python3 /tmp/t.py"#,
        mib = SIZE >> 20,
        size = SIZE
    );
    let keeper = keeper_pid(&world, &spec);
    let running = world.sh(&spec, &script);
    let peak = async {
        let mut peak = 0;
        for _ in 0..30 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            peak = peak.max(resident_kib(keeper));
        }
        peak
    };
    let (said, peak) = tokio::join!(running, peak);
    assert_eq!(said.ok().trim(), format!("{SIZE} True"));
    let block: Vec<u8> = (0..1 << 20).map(|n| ((n * 13 % 241) & 255) as u8).collect();
    let sum = (0..SIZE >> 20)
        .fold(0_u64, |sum, _| block.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte))));
    assert_eq!(server.await.unwrap(), (SIZE, sum));
    assert!(peak < 24 << 10, "the keeper held {peak} KiB");
    world.remove(&spec).await;
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|n| n.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_a_missing_name_and_udp_fail_at_once_and_as_they_should() {
    or_skip!(skip());
    or_skip!(no_device());
    let closed = loopback().await;
    let rule = open(&closed);
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let world = World::with(|settings| settings.egress = vec![rule]).await;
    let spec = spec();
    world.up(&spec).await;
    let script = format!(
        r#"python3 - <<'E'
import socket, time
def tried(what):
    start = time.time()
    try: what(); result = 'connected'
    except OSError as e: result = type(e).__name__ + ' ' + str(e.errno)
    print(result, time.time() - start < 5)
tried(lambda: socket.create_connection(('host.sandbox.internal', {port})))
tried(lambda: socket.create_connection(('10.0.0.1', 80)))
tried(lambda: socket.getaddrinfo('no-such-host.invalid', 80))
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(4); s.connect(('192.0.2.77', 443))
    s.send(b'x'); s.recv(1)
tried(udp)
tried(lambda: socket.create_connection(('2001:db8::77', 80)))
E"#
    );
    let said = world.sh(&spec, &script).await.ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "ConnectionRefusedError 111 True",
            "OSError 113 True",
            "gaierror -2 True",
            "ConnectionRefusedError 111 True",
            "OSError 101 True"
        ]
    );
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_leave_nothing_behind() {
    or_skip!(skip());
    or_skip!(no_device());
    let listener = loopback().await;
    let (port, rule) = (listener.local_addr().unwrap().port(), open(&listener));
    let world = World::with(|settings| settings.egress = vec![rule]).await;
    let spec = spec();
    world.up(&spec).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut word = [0; 4];
                if stream.read_exact(&mut word).await.is_ok() {
                    let _ = stream.write_all(&word).await;
                }
            });
        }
    });
    let script = format!(
        r#"python3 - <<'E'
import socket, threading
bad = []
def run(n):
    for i in range(100):
        s = socket.create_connection(('host.sandbox.internal', {port}))
        w = b'%02d%02d' % (n, i)
        s.sendall(w)
        if s.recv(4) != w: bad.append((n, i))
        s.close()
threads = [threading.Thread(target=run, args=(n,)) for n in range(10)]
[t.start() for t in threads]; [t.join() for t in threads]
print(bad)
E"#
    );
    let keeper = keeper_pid(&world, &spec);
    for _ in 0..2 {
        assert_eq!(world.sh(&spec, &script).await.ok().trim(), "[]");
    }
    let kib = resident_kib(keeper);
    println!("keeper after 2,000 connections: {kib} KiB");
    assert!(kib < 24 << 10, "{kib} KiB");
    // The open sockets are the listening ones, the device and what asks now.
    let start = std::time::Instant::now();
    while std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().count() > 40 {
        assert!(start.elapsed() < PATIENCE, "descriptors stay open");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_program_gets_out_where_the_machine_does() {
    or_skip!(skip());
    or_skip!(no_device());
    or_skip!(no_way_out("registry.npmjs.org"));
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    for (program, script, expected) in [
        ("curl", "curl -sS --max-time 30 -o /dev/null -w '%{http_code}' https://registry.npmjs.org/is-number", "200"),
        ("npm", "npm view is-number@7.0.0 version", "7.0.0"),
        ("npm", "cd ~ && npm install --silent is-number@7.0.0 >&2 && node -p \"require('is-number')(7)\"", "true"),
        ("node", "node -e \"fetch('https://registry.npmjs.org/is-number').then(r => console.log(r.status))\"", "200"),
        (
            "node",
            "node -e \"require('https').get('https://registry.npmjs.org/is-number', r => { console.log(r.statusCode); r.resume() })\"",
            "200",
        ),
        (
            "python3",
            "python3 -c \"import urllib.request as u; print(u.urlopen('https://registry.npmjs.org/is-number').status)\"",
            "200",
        ),
    ] {
        if world.sh(&spec, &format!("which {program}")).await.out.is_empty() {
            skipped(&format!("{program} is not on this machine"));
            continue;
        }
        let said = world.sh(&spec, script).await;
        assert_eq!(said.out.trim(), expected, "{script}: {said:?}");
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_device_programs_that_know_a_proxy_get_out() {
    or_skip!(skip());
    or_skip!(no_way_out("registry.npmjs.org"));
    let world = World::with(|settings| settings.network_device = false).await;
    let spec = spec();
    world.up(&spec).await;
    let curl = "curl -sS --max-time 30 -o /dev/null -w '%{http_code}' https://registry.npmjs.org/is-number";
    assert_eq!(world.sh(&spec, curl).await.ok(), "200");
    let own = "(setsid python3 -m http.server 3000 >/dev/null 2>&1 &); \
               for i in $(seq 200); do curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:3000/ 2>/dev/null | grep 200 && break; sleep 0.05; done";
    assert_eq!(world.sh(&spec, own).await.out.trim(), "200", "its own loopback needs no proxy");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_inside_is_reached_from_the_control_plane_and_from_no_other_sandbox() {
    or_skip!(skip());
    let world = World::new().await;
    let (a, b) = (spec(), spec());
    tokio::join!(world.up(&a), world.up(&b));
    let serve = "mkdir /tmp/w; cd /tmp/w; echo hello > index.html; (setsid python3 -m http.server 3000 >/dev/null 2>&1 &); \
                 for i in $(seq 200); do curl -s localhost:3000 && break; sleep 0.05; done";
    assert_eq!(world.sh(&a, serve).await.out, "hello\n");
    let mut io = world.orchestrator.connect(a.id, AgentOrPort::Port(3000)).await.unwrap();
    io.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello\n"), "{answer}");
    for reserved in [5432, 7681, 7682, 3001] {
        let refused = world.orchestrator.connect(a.id, AgentOrPort::Port(reserved)).await.err();
        assert!(matches!(refused, Some(ConnectError::NobodyListens(port)) if port == reserved), "{refused:?}");
    }
    for address in ["127.0.0.1", "198.18.0.2", "198.18.0.1"] {
        let tried = world.sh(&b, &format!("curl -s --max-time 5 http://{address}:3000/")).await;
        assert_eq!(tried.out, "", "{address}");
    }
    world.remove(&a).await;
    world.remove(&b).await;
}

fn no_device() -> Option<String> {
    let opened = std::fs::File::options().read(true).write(true).open("/dev/net/tun");
    opened.err().map(|error| format!("/dev/net/tun: {error}"))
}

fn no_way_out(host: &str) -> Option<String> {
    use std::net::ToSocketAddrs as _;
    let tried = (host, 443).to_socket_addrs().and_then(|mut found| {
        let address = found.next().ok_or_else(|| std::io::Error::other("no address"))?;
        std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(5))
    });
    tried.err().map(|error| format!("this machine does not reach {host}: {error}"))
}
