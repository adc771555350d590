//! Measurements, not tests: `cargo test --release -p local --test measure -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a measurement that fails, fails by panicking")]

mod support;

use std::time::{Duration, Instant};
use support::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Kilobytes of a field of /proc/PID/status.
fn kib(pid: i32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap()
}

/// Ticks of 10 ms that a process has used.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn from_ensure_to_a_shell() {
    let world = World::new().await;
    let mut times = Vec::new();
    for _ in 0..100 {
        let spec = spec();
        let start = Instant::now();
        world.up(&spec).await;
        times.push(start.elapsed());
        world.remove(&spec).await;
    }
    times.sort();
    println!("ensure to shell: p50 {:?}, p99 {:?}", percentile(&times, 50), percentile(&times, 99));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn ten_idle_sandboxes() {
    let world = World::new().await;
    let specs: Vec<_> = (0..10).map(|_| spec()).collect();
    for spec in &specs {
        world.up(spec).await;
    }
    let keepers: Vec<i32> = specs.iter().map(|spec| keeper_pid(&world, spec)).collect();
    let agents: Vec<i32> = specs.iter().map(|spec| init_pid(&world, spec)).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = |pids: &[i32]| pids.iter().map(|pid| ticks(*pid)).sum::<u64>();
    let before = (used(&keepers), used(&agents));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let share = |before: u64, pids: &[i32]| (used(pids) - before) as f64 / 30.0;
    println!("ten idle: keepers {:.2} % of a core, agents {:.2} %", share(before.0, &keepers), share(before.1, &agents));
    for field in ["VmRSS", "RssAnon", "VmHWM"] {
        let of = |pids: &[i32]| pids.iter().map(|pid| kib(*pid, field)).max().unwrap();
        println!("{field}: keeper {} KiB, agent {} KiB", of(&keepers), of(&agents));
    }
    for spec in &specs {
        world.remove(spec).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn through_the_filter() {
    const SIZE: usize = 2 << 30;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for device in [true, false] {
        let world = World::with(|settings| {
            settings.network_device = device;
            settings.egress = vec![format!("127.0.0.1:{port}").parse().unwrap()];
        })
        .await;
        let spec = spec();
        world.up(&spec).await;
        let keeper = keeper_pid(&world, &spec);
        for up in [false, true] {
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut part = vec![0; 1 << 20];
                let _ = stream.read(&mut part).await.unwrap();
                let start = Instant::now();
                let mut done = 0;
                if up {
                    while done < SIZE {
                        match stream.read(&mut part).await.unwrap() {
                            0 => break,
                            length => done += length,
                        }
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
                } else {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                    while done < SIZE {
                        stream.write_all(&part).await.unwrap();
                        done += part.len();
                    }
                }
                start.elapsed()
            };
            let url = format!("http://host.sandbox.internal:{port}/");
            let script = if up {
                format!("head -c {SIZE} /dev/zero | curl -sS --max-time 60 -o /dev/null -H 'Expect:' -T - {url}")
            } else {
                format!("curl -sS --max-time 60 -o /dev/null {url}")
            };
            let before = ticks(keeper);
            let (took, said) = tokio::join!(serve, world.sh(&spec, &script));
            let rate = SIZE as f64 / took.as_secs_f64() / 1e6;
            let way = if device { "device" } else { "proxy" };
            let direction = if up { "out" } else { "in" };
            let used = (ticks(keeper) - before) as f64 / 100.0;
            println!(
                "{way} {direction}: {rate:.0} MB/s, keeper {used:.1} s of CPU, at most {} KiB; {}",
                kib(keeper, "VmHWM"),
                said.err.trim()
            );
        }
        world.remove(&spec).await;
    }
}
