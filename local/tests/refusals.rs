//! What is wrong with the machine or its settings is said in words, with what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use engine::orchestrator::{Orchestrator as _, OrchestratorError};
use local::{
    LocalOrchestrator,
    datafolder::{DataFolder, DataFolderError},
    preflight,
};
use model::CauseCode;
use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};
use support::*;

fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("fsa-refuse-").tempdir_in("/tmp").unwrap()
}

#[test]
fn a_data_folder_in_use_names_who_uses_it() {
    let folder = temporary();
    let first = DataFolder::open(folder.path()).unwrap();
    let error = DataFolder::open(folder.path()).unwrap_err();
    let pid = std::process::id().to_string();
    assert!(matches!(&error, DataFolderError::InUse { pid: used_by, .. } if *used_by == pid), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
    drop(first);
    DataFolder::open(folder.path()).unwrap();
}

#[test]
fn a_data_folder_that_is_somebody_elses_or_none_is_refused() {
    let folder = temporary();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(DataFolder::open(&file), Err(DataFolderError::NotAFolder(_))));
    let below = DataFolder::open(&file.join("below")).unwrap_err();
    assert!(matches!(below, DataFolderError::Io { .. }), "{below}");
    or_skip!((!rustix::process::geteuid().is_root()).then(|| "not root: no folder can be given away".to_owned()));
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(12_345), None).unwrap();
    let error = DataFolder::open(&theirs).unwrap_err();
    assert!(matches!(error, DataFolderError::NotOurs { owner: 12_345, own: 0, .. }), "{error}");
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = DataFolder::open(&closed.join("data")).unwrap_err();
    assert!(error.to_string().contains(&format!("chmod o+x {}", closed.display())), "{error}");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_refused() {
    let error = DataFolder::open(Path::new("/proc/nowhere")).unwrap_err();
    assert!(matches!(error, DataFolderError::Io { .. }), "{error}");
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

/// Not a test by itself: runs with a PATH that has no bubblewrap.
#[tokio::test(flavor = "multi_thread")]
async fn without_bubblewrap_on_the_path() {
    if std::env::var_os("FSA_TEST_NO_BWRAP").is_none() {
        return;
    }
    let folder = temporary();
    let data = DataFolder::open(folder.path()).unwrap();
    let mut settings = settings(data.path());
    let found = preflight::look(&settings);
    assert!(!found.isolated);
    let cause = found.blocking.unwrap();
    assert_eq!(cause.code, CauseCode::IsolationMissing);
    assert!(cause.next_steps.iter().any(|step| step.contains("install")), "{cause:?}");
    let orchestrator = LocalOrchestrator::new(settings.clone()).await.unwrap();
    let spec = spec();
    match orchestrator.ensure(&spec).await.unwrap_err() {
        OrchestratorError::Caused(cause) => assert_eq!(cause.code, CauseCode::IsolationMissing),
        other => panic!("{other:?}"),
    }
    let seen = orchestrator.observe(spec.id).await.unwrap();
    assert!(!seen.present && seen.cause.is_some_and(|cause| cause.code == CauseCode::IsolationMissing));
    for controller in ["memory", "cpu", "pids", "."] {
        let left = std::fs::read_dir(Path::new("/sys/fs/cgroup").join(controller).join("fullstack-agent"))
            .into_iter()
            .flatten()
            .flatten();
        let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&spec.id.to_string())).collect();
        assert!(left.is_empty(), "a cgroup is left: {left:?}");
    }
    settings.insecure_no_isolation = true;
    let found = preflight::look(&settings);
    assert!(found.blocking.is_none() && found.notices.iter().any(|notice| notice.contains("No isolation")), "{found:?}");
}

#[test]
fn a_missing_bubblewrap_is_a_cause_with_the_line_that_installs_it() {
    let empty = temporary();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["without_bubblewrap_on_the_path", "--exact", "--nocapture"])
        .env("FSA_TEST_NO_BWRAP", "1")
        .env("FSA_AGENT_BINARY", agent())
        .env("PATH", empty.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Not a test by itself: the control plane that `down` ends.
#[test]
fn holder() {
    let Some(data) = std::env::var_os("FSA_TEST_HOLDER") else { return };
    let _held = DataFolder::open(Path::new(&data)).unwrap();
    std::thread::sleep(PATIENCE * 2);
}

#[test]
fn who_holds_a_data_folder_is_ended_and_nobody_else() {
    use local::datafolder::end_holder;
    let folder = temporary();
    let lock = folder.path().join("lock");
    assert_eq!(end_holder(folder.path(), PATIENCE).unwrap(), None, "nobody was ever there");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["holder", "--exact"])
        .env("FSA_TEST_HOLDER", folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while std::fs::read_to_string(&lock).unwrap_or_default().is_empty() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // It names somebody who does not hold it: nobody is signalled.
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(&lock, bystander.id().to_string()).unwrap();
    let refused = end_holder(folder.path(), PATIENCE).unwrap_err();
    assert!(matches!(&refused, DataFolderError::InUse { .. }), "{refused}");
    assert!(bystander.try_wait().unwrap().is_none() && child.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    std::fs::write(&lock, format!("{}\n", child.id())).unwrap();
    let ended = end_holder(folder.path(), PATIENCE).unwrap();
    assert_eq!(ended, i32::try_from(child.id()).ok());
    assert!(!child.wait().unwrap().success());
    assert_eq!(end_holder(folder.path(), PATIENCE).unwrap(), None, "what it wrote is no longer so");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_without_isolation_takes_none_away() {
    or_skip!(skip());
    let world = World::with(|settings| settings.insecure_no_isolation = true).await;
    let found = preflight::look(&world.settings);
    assert!(found.isolated && !found.notices.iter().any(|notice| notice.contains("No isolation")), "{found:?}");
    let spec = spec();
    world.up(&spec).await;
    assert_eq!(ask(&world, &spec)["isolated"], true);
    assert_eq!(world.sh(&spec, "ls /root 2>&1 >/dev/null | grep -c 'No such'").await.out, "1\n");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_agent_and_a_broken_one_are_told_apart_from_the_rest() {
    or_skip!(skip());
    let folder = temporary();
    let data = DataFolder::open(folder.path()).unwrap();
    let mut settings = settings(data.path());
    settings.agent_binary = folder.path().join("no-agent");
    assert_eq!(preflight::look(&settings).blocking.unwrap().code, CauseCode::AgentMissing);
    let error = LocalOrchestrator::new(settings.clone()).await.err().unwrap();
    assert!(format!("{error:#}").contains("no-agent"), "{error:#}");
    // One that is there, and is no program.
    std::fs::write(&settings.agent_binary, "no program").unwrap();
    let orchestrator = LocalOrchestrator::new(settings).await.unwrap();
    let spec = spec();
    let _ = orchestrator.ensure(&spec).await;
    let start = std::time::Instant::now();
    loop {
        let seen = orchestrator.observe(spec.id).await.unwrap();
        if !seen.present {
            let cause = seen.cause.unwrap();
            assert_eq!(cause.code, CauseCode::AgentMissing, "{cause:?}");
            assert_eq!(seen.ended_by_itself, 1);
            break;
        }
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_host_uid_is_left_it_is_said() {
    or_skip!(skip());
    or_skip!((!rustix::process::geteuid().is_root()).then(|| "not root: no host uids are given out".to_owned()));
    let world = World::with(|settings| settings.uid_range = 209_998..=209_998).await;
    let (a, b) = (spec(), spec());
    world.up(&a).await;
    match world.orchestrator.ensure(&b).await.unwrap_err() {
        OrchestratorError::Caused(cause) => assert_eq!(cause.code, CauseCode::MachineExhausted),
        other => panic!("{other:?}"),
    }
    world.remove(&a).await;
    world.orchestrator.remove_volume(&b.volume).await.unwrap();
    world.up(&b).await;
    world.remove(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_and_hostile_volume_is_gone_at_once_and_its_files_soon() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    world.sh(&spec, "cd ~ && python3 -c '\nimport os\nfor i in range(20000): open(f\"f{i}\", \"w\").close()\nfor i in range(2000):\n  os.mkdir(\"d\"); os.chdir(\"d\")\n' && ln -s / root && chmod 0 .npmrc").await.ok();
    world.orchestrator.ensure(&stopped(&spec)).await.unwrap();
    world.until(&spec, "the stop", |seen| !seen.present).await;
    let start = std::time::Instant::now();
    world.orchestrator.remove_volume(&spec.volume).await.unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "it is no volume any more at once");
    assert!(!world.data.path().join("volumes").join(&spec.volume.0).exists());
    world.remove(&spec).await;
    assert!(Path::new("/usr").exists());
}
