//! What programs in a sandbox do where the machine has a way out, on a machine made for it: `world.sh` puts
//! it into namespaces, with a git server of a public address and name on the other end of a cable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use support::*;

/// Tells the test that it runs inside: the folder that `world.sh` was given.
const INSIDE: &str = "FSA_TEST_WAY_OUT";

/// Why such a machine cannot be made here, if so.
fn no_machine() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces are made by root".to_owned());
    }
    let missing = ["unshare", "nsenter", "ip", "openssl", "python3", "git", "curl"]
        .into_iter()
        .filter(|program| !Command::new("which").arg(program).output().is_ok_and(|found| found.status.success()))
        .collect::<Vec<_>>();
    (!missing.is_empty()).then(|| format!("{} not on this machine", missing.join(", ")))
}

/// The folder of such a machine, inside of it. Outside: makes one, and runs the test of that name there.
fn machine(test: &str) -> Option<std::path::PathBuf> {
    let Some(folder) = std::env::var_os(INSIDE) else {
        let folder = tempfile::Builder::new().prefix("fsa-test-").tempdir_in("/tmp").unwrap();
        let done = Command::new("unshare")
            .args(["--net", "--mount"])
            .arg("tests/way_out/world.sh")
            .arg(folder.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, folder.path())
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && out.contains("1 passed"), "{out}\n{err}");
        return None;
    };
    Some(folder.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_over_https() {
    or_skip!(skip());
    or_skip!(no_machine());
    let Some(folder) = machine("git_clones_over_https") else { return };
    let certificate = std::fs::read_to_string(folder.join("cert.pem")).unwrap();
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    world.sh(&spec, &format!("cat > ~/ca.pem <<'E'\n{certificate}E")).await.ok();
    let clone = "cd ~ && GIT_SSL_CAINFO=~/ca.pem git clone https://git.example.com/project.git 2>&1";
    let said = world.sh(&spec, clone).await.ok();
    assert!(said.contains("Cloning into 'project'"), "{said}");
    assert_eq!(world.sh(&spec, "cat ~/project/file").await.ok(), "came over https\n");
    assert_eq!(
        world.sh(&spec, "cd ~/project && git fsck --strict 2>&1 && git log --format=%s").await.ok(),
        "Add two files\nBegin\n"
    );
    for (program, script) in [
        ("curl", "curl -sS --max-time 20 --cacert ~/ca.pem https://git.example.com/"),
        (
            "node",
            "NODE_EXTRA_CA_CERTS=~/ca.pem node -e \"fetch('https://git.example.com/').then(async r => process.stdout.write(await r.text()))\"",
        ),
        (
            "python3",
            "SSL_CERT_FILE=~/ca.pem python3 -c \"import urllib.request as u; print(u.urlopen('https://git.example.com/').read().decode(), end='')\"",
        ),
    ] {
        let said = world.sh(&spec, script).await;
        assert_eq!(said.out, "a git server\n", "{program}: {said:?}");
    }
    // Who it is said to be is checked: without the certificate nothing is cloned.
    let refused = world.sh(&spec, "cd /tmp && git clone https://git.example.com/project.git unchecked 2>&1").await;
    assert!(refused.out.contains("certificate"), "{refused:?}");
    // The machine's own address is not the way out.
    let own = world.sh(&spec, "curl -sS --max-time 10 -o /dev/null -w '%{http_code}' http://203.0.113.1/").await;
    assert_eq!(own.out.trim(), "000", "{own:?}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_name_of_a_private_address_or_of_a_neighbour_is_not_cloned_from() {
    or_skip!(skip());
    or_skip!(no_machine());
    let Some(folder) = machine("a_public_name_of_a_private_address_or_of_a_neighbour_is_not_cloned_from") else { return };
    let certificate = std::fs::read_to_string(folder.join("cert.pem")).unwrap();
    let refused = [
        ("private.example.com", "a private address"),
        ("neighbour.example.com", "an address of a network that this machine is in"),
    ];
    // The machine itself gets there, by the very name.
    for (host, _) in refused {
        let direct = Command::new("git")
            .args(["-c", "http.proxy=", "ls-remote", &format!("https://{host}/project.git")])
            .env("GIT_SSL_CAINFO", folder.join("cert.pem"))
            .output()
            .unwrap();
        assert!(direct.status.success(), "{direct:?}");
    }
    for device in [true, false] {
        let world = World::with(|settings| settings.network_device = device).await;
        let spec = spec();
        world.up(&spec).await;
        world.sh(&spec, &format!("cat > ~/ca.pem <<'E'\n{certificate}E")).await.ok();
        for (host, why) in refused {
            let address = format!("https://{host}/project.git");
            let clone = format!(
                "cd ~ && LC_ALL=C GIT_SSL_CAINFO=~/ca.pem git clone {address} 2>&1; test -e project || echo nothing is there"
            );
            let said = world.sh(&spec, &clone).await.out;
            // As the server reads it (server/src/clone.rs).
            assert!(said.contains(&format!("fatal: unable to access '{address}")), "{said}");
            assert!(!said.contains("error: 403") && said.contains("nothing is there"), "{said}");
            let log = world.log(&spec);
            assert!(log.contains(&format!("refused {host}:443: {why}")), "{log}");
        }
        world.remove(&spec).await;
    }
}
