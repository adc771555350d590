//! The wall around a sandbox, tried from inside.

mod support;

use engine::orchestrator::Orchestrator as _;
use model::CauseCode;
use std::os::unix::fs::MetadataExt as _;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_proc_sys_can_be_written() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    // Opening for writing is what is tried: a value that the kernel refuses would prove nothing.
    let script = r#"python3 - <<'E'
import os
tried, opened = 0, []
for top in ['/proc/sys', '/proc/sysrq-trigger', '/proc/kcore', '/proc/mtrr', '/proc/irq', '/proc/bus', '/proc/fs', '/proc/1/oom_score_adj', '/proc/kmsg', '/proc/acpi', '/proc/scsi']:
    paths = [top] if not os.path.isdir(top) else [os.path.join(d, f) for d, _, fs in os.walk(top) for f in fs]
    for path in paths:
        tried += 1
        try:
            os.close(os.open(path, os.O_WRONLY))
            opened.append(path)
        except OSError:
            pass
print(tried, [p for p in opened if p != '/proc/1/oom_score_adj'])
E"#;
    let said = world.sh(&spec, script).await.ok();
    let (tried, opened) = said.trim().split_once(' ').unwrap();
    assert!(tried.parse::<u32>().unwrap() > 500, "{said}");
    assert_eq!(opened, "[]", "written to the machine's /proc");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_machine_is_seen_inside() {
    or_skip!(skip());
    let world = World::new().await;
    let (a, b) = (spec(), spec());
    tokio::join!(world.up(&a), world.up(&b));
    world.sh(&b, "echo secret-of-b > ~/mine; sleep 1000 &").await;
    let secret = world.folder.path().join("secret-of-the-machine");
    std::fs::write(&secret, "x").unwrap();
    for path in [
        secret.to_str().unwrap(),
        world.data.path().to_str().unwrap(),
        "/etc/shadow",
        "/root",
        "/sys/kernel",
        "/var/lib",
        "/var/log",
        "/run/systemd",
        "/dev/net/tun",
        "/dev/vda",
        "/dev/mem",
        "/dev/kmsg",
        "/proc/1/root/etc/shadow",
    ] {
        let found = world.sh(&a, &format!("ls -d '{path}'")).await;
        assert!(found.out.is_empty(), "{path} is there: {found:?}");
    }
    // Of the processes, only its own: the agent, its shell, and this.
    let processes = world.sh(&a, "cat /proc/[0-9]*/comm").await.ok();
    for name in processes.lines() {
        assert!(["sandbox-agent", "bash", "cat"].contains(&name), "{processes}");
    }
    // Of users, its own; of groups, no other.
    assert_eq!(world.sh(&a, "id -u; id -G; whoami; pwd").await.ok(), "1000\n1000\nagent\n/home/agent\n");
    let readable = world.sh(&a, "cat /etc/passwd").await.ok();
    assert_eq!(readable.lines().count(), 3, "{readable}");
    let abilities = world.sh(&a, "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status").await.ok();
    assert_eq!(abilities.matches("0000000000000000").count(), 5, "{abilities}");
    assert!(abilities.contains("NoNewPrivs:\t1") && abilities.contains("Seccomp:\t2"), "{abilities}");
    assert_eq!(world.sh(&a, "find / -name mine -not -path '/proc/*' 2>/dev/null").await.out, "", "another sandbox's file");
    world.remove(&a).await;
    world.remove(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_break_out_is_refused() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    for (what, script) in [
        ("a user namespace", "unshare -U true"),
        ("a mount", "mount -t tmpfs none /tmp"),
        ("a write to /usr", "touch /usr/x"),
        ("a write to /", "touch /x"),
        ("a write to /etc", "touch /etc/x || echo x >> /etc/passwd"),
        ("a write to the agent", "echo x >> /opt/fsa/sandbox-agent"),
        ("a device", "mknod /tmp/d b 254 0"),
        ("the host name", "hostname other"),
        ("entering its first process' namespaces", "nsenter -t 1 -n true"),
        ("a vsock", "python3 -c 'import socket; socket.socket(40, socket.SOCK_STREAM)'"),
        ("a raw socket", "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'"),
        ("a packet socket", "python3 -c 'import socket; socket.socket(17, socket.SOCK_RAW)'"),
        ("a kernel keyring", "python3 -c 'import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(250,0,-3,0) >= 0 else 1)'"),
        ("io_uring", "python3 -c 'import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(425,1,0) >= 0 else 1)'"),
        ("a network device", "ip link add dummy0 type dummy"),
        ("another address", "ip addr add 10.0.0.1/8 dev net0"),
    ] {
        let tried = world.sh(&spec, script).await;
        assert_ne!(tried.exit, Some(sandbox_agent::protocol::http::ExecExit::Code(0)), "{what} came about: {tried:?}");
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_root_each_sandbox_is_a_user_of_its_own() {
    or_skip!(skip());
    or_skip!((!rustix::process::geteuid().is_root()).then(|| "not root: all run as this user".to_owned()));
    let world = World::new().await;
    let (a, b) = (spec(), spec());
    tokio::join!(world.up(&a), world.up(&b));
    let uid = |spec| {
        let init = init_pid(&world, spec);
        std::fs::metadata(format!("/proc/{init}")).unwrap().uid()
    };
    let (of_a, of_b) = (uid(&a), uid(&b));
    assert!(world.settings.uid_range.contains(&of_a) && world.settings.uid_range.contains(&of_b));
    assert_ne!(of_a, of_b);
    // Nothing that runs inside is the machine's root.
    world.sh(&a, "touch ~/made").await.ok();
    let home = world.data.path().join("volumes").join(&a.volume.0).join("home");
    let about = std::fs::metadata(&home).unwrap();
    assert_eq!((about.uid(), about.mode() & 0o7777), (of_a, 0o700));
    assert_eq!(std::fs::metadata(home.join("made")).unwrap().uid(), of_a);
    // The uid stays with the volume.
    world.orchestrator.ensure(&stopped(&a)).await.unwrap();
    world.until(&a, "the stop", |seen| !seen.present).await;
    world.up(&a).await;
    assert_eq!(uid(&a), of_a);
    world.remove(&a).await;
    world.remove(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_where_only_the_inside_sees_them() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = spec();
    let secret = "a-secret-that-is-nowhere-else";
    spec.env.insert("MY_SECRET".into(), secret.into());
    spec.agent_token = "a-token-that-is-nowhere-else".into();
    world.up(&spec).await;
    assert_eq!(world.sh(&spec, "echo $MY_SECRET").await.ok(), format!("{secret}\n"));
    let env = world.sh(&spec, "env; tr '\\0' '\\n' < /proc/1/environ; cat /proc/1/cmdline").await.out;
    assert!(!env.contains("nowhere-else\nFSA") && !env.contains("a-token-that-is"), "the token is not in the environment");
    assert!(!env.contains(world.data.path().to_str().unwrap()), "no path of the machine is: {env}");
    // No process of the machine has it in its arguments, and no file of ours holds it.
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
            assert!(!String::from_utf8_lossy(&line).contains("nowhere-else"), "{entry:?}");
        }
    }
    let keeper = keeper_pid(&world, &spec);
    let environ = std::fs::read(format!("/proc/{keeper}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environ).contains("nowhere-else"));
    for entry in std::fs::read_dir(world.sandbox_folder(&spec)).unwrap().flatten() {
        if let Ok(text) = std::fs::read(entry.path()) {
            assert!(!String::from_utf8_lossy(&text).contains("nowhere-else"), "{entry:?}");
        }
    }
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_folder_full_of_traps_leads_nowhere() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = spec();
    spec.env.insert("ANTHROPIC_API_KEY".into(), "sk-ant-0123456789012345678901234567890".into());
    world.up(&spec).await;
    let settings = world.sh(&spec, "cat ~/.claude.json").await.ok();
    assert!(settings.contains("hasCompletedOnboarding") && settings.contains("12345678901234567890"), "{settings}");
    let outside = world.folder.path().join("outside");
    std::fs::write(&outside, "untouched").unwrap();
    for trap in [
        format!("rm -f ~/.claude.json ~/.bashrc; ln -s {0} ~/.claude.json; ln -s {0} ~/.bashrc", outside.display()),
        "rm -f ~/.claude.json; mkfifo ~/.claude.json".to_owned(),
        "rm -f ~/.claude.json; mkdir ~/.claude.json".to_owned(),
        "rm -rf ~/.claude.json; echo '{\"customApiKeyResponses\": \"odd\"}' > ~/.claude.json".to_owned(),
        "echo '[1,2' > ~/.claude.json".to_owned(),
        "echo '{\"customApiKeyResponses\": {\"approved\": 7}, \"mine\": 1}' > ~/.claude.json".to_owned(),
    ] {
        world.sh(&spec, &trap).await.ok();
        spec.restart_count += 1;
        world.up(&spec).await;
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
    }
    assert!(world.sh(&spec, "cat ~/.claude.json").await.ok().contains("\"mine\": 1"));
    world.remove(&spec).await;
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_ends_the_program_and_is_told_of() {
    or_skip!(skip());
    or_skip!(no_cgroup("memory"));
    let world = World::new().await;
    let mut spec = spec();
    spec.resources.limit_memory_bytes = 128 << 20;
    world.up(&spec).await;
    let greedy = world.sh(&spec, "python3 -c 'b = bytearray(400 << 20); print(len(b))'").await;
    assert_eq!(greedy.out, "", "{greedy:?}");
    let seen = world.until(&spec, "the cause", |seen| seen.cause.is_some()).await;
    assert_eq!(seen.cause.unwrap().code, CauseCode::OutOfMemory);
    assert!(seen.present, "the sandbox goes on");
    world.sh(&spec, "true").await.ok();
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stays_inside() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    let said = world
        .sh(&spec, "python3 -c '\nimport os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(60); os._exit(0)\n    n += 1\nexcept OSError as e:\n  print(n, e.errno, flush=True)\n  os.killpg(0, 9)\n'; true")
        .await;
    let (count, errno) = said.out.trim().split_once(' ').unwrap_or_else(|| panic!("{said:?}"));
    assert!(count.parse::<u32>().unwrap() < 2048 && errno == "11", "{said:?}");
    world.sh(&spec, "true").await.ok();
    world.remove(&spec).await;
}

fn no_cgroup(controller: &str) -> Option<String> {
    let root = std::path::Path::new("/sys/fs/cgroup");
    let place = if root.join("cgroup.controllers").exists() { root.to_owned() } else { root.join(controller) };
    let probe = place.join("fullstack-agent").join(format!("probe-{}-{controller}", std::process::id()));
    match std::fs::create_dir_all(&probe).and_then(|()| std::fs::remove_dir(&probe)) {
        Ok(()) => None,
        Err(error) => Some(format!("no cgroup can be made here: {error}")),
    }
}
