//! What every orchestrator promises, held by this one.

mod support;

use engine::orchestrator::{
    Orchestrator, SandboxSpec, VolumeSeen,
    contract::{Files, suite},
};
use model::InstallationId;
use support::*;
use uuid::Uuid;

struct ByExec<'a>(&'a dyn Orchestrator);

#[async_trait::async_trait]
impl Files for ByExec<'_> {
    async fn write(&self, spec: &SandboxSpec, path: &str, text: &str) {
        exec(self.0, spec, &format!("printf %s '{text}' > ~/'{path}'")).await.ok();
    }

    async fn read(&self, spec: &SandboxSpec, path: &str) -> Option<String> {
        let read = exec(self.0, spec, &format!("cat ~/'{path}'")).await;
        (read.err.is_empty()).then_some(read.out)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    or_skip!(skip());
    let world = World::new().await;
    suite(&world.orchestrator, &ByExec(&world.orchestrator), spec, PATIENCE).await;
    let left: Vec<_> = std::fs::read_dir(world.data.path().join("volumes")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_isolation_the_contract_holds_as_well() {
    let world = World::with(|settings| {
        settings.insecure_no_isolation = true;
        settings.bubblewrap = "/no/bubblewrap".into();
    })
    .await;
    suite(&world.orchestrator, &ByExec(&world.orchestrator), spec, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_folder_that_was_removed_by_hand_is_not_there() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = spec();
    world.up(&spec).await;
    world.orchestrator.ensure(&stopped(&spec)).await.unwrap();
    world.until(&spec, "the stop", |seen| !seen.present).await;
    let volume = world.data.path().join("volumes").join(&spec.volume.0);
    let look = async || world.orchestrator.volume(&spec.volume).await.unwrap();
    std::fs::remove_file(volume.join("volume.json")).unwrap();
    assert_eq!(look().await, VolumeSeen::There, "without its description the files are there");
    // The files alone, and all of it.
    for gone in [volume.join("home"), volume] {
        std::fs::remove_dir_all(gone).unwrap();
        assert_eq!(look().await, VolumeSeen::Absent);
    }
    spec.restart_count += 1;
    world.up(&spec).await;
    assert_eq!(world.orchestrator.volume(&spec.volume).await.unwrap(), VolumeSeen::There, "a start makes another");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_installation_is_touched() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    // Another control plane, on the same folder, that is of another installation.
    let mut settings = world.settings.clone();
    settings.installation = InstallationId(Uuid::from_u128(2));
    let other = local::LocalOrchestrator::new(settings).await.unwrap();
    assert!(other.list().await.unwrap().is_empty(), "it lists nothing");
    assert!(!other.observe(spec.id).await.unwrap().present);
    assert!(other.remove(spec.id).await.is_err(), "it removes nothing");
    let mut theirs = spec.clone();
    theirs.installation = InstallationId(Uuid::from_u128(2));
    let refused = other.ensure(&theirs).await.unwrap_err();
    assert!(refused.to_string().contains("another installation"), "{refused}");
    assert!(world.orchestrator.observe(spec.id).await.unwrap().present);
    world.sh(&spec, "true").await.ok();
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_changes_the_variables_and_keeps_the_home_folder() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = spec();
    spec.env.insert("COLOUR".into(), "red and 'quoted' $x".into());
    spec.env.insert("HOME".into(), "/nowhere".into());
    world.up(&spec).await;
    assert_eq!(world.sh(&spec, "echo \"$COLOUR\" $HOME").await.ok(), "red and 'quoted' $x /home/agent\n");
    world.sh(&spec, "echo mine > ~/.bashrc").await.ok();
    spec.restart_count += 1;
    spec.env.insert("COLOUR".into(), "blue".into());
    world.up(&spec).await;
    assert_eq!(world.sh(&spec, "echo $COLOUR; cat ~/.bashrc").await.ok(), "blue\nmine\n");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_by_itself_is_told_of_with_its_cause() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    let first = world.up(&spec).await.instance.unwrap();
    // The first process of the sandbox, from outside.
    let init = init_pid(&world, &spec);
    rustix::process::kill_process(rustix::process::Pid::from_raw(init).unwrap(), rustix::process::Signal::KILL).unwrap();
    let seen = world.until(&spec, "the end", |seen| !seen.present).await;
    assert_eq!(seen.ended_by_itself, 1);
    assert!(seen.ended_at.is_some());
    let cause = seen.cause.unwrap();
    assert_eq!(cause.code, model::CauseCode::EndedUnexpectedly);
    assert!(cause.message.contains("signal 9"), "{cause:?}");
    let second = world.up(&spec).await;
    assert_ne!(second.instance.unwrap().id, first.id);
    assert_eq!(second.ended_by_itself, 1, "it is remembered");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_keeper_of_the_same_sandbox_is_impossible() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    let lock = std::fs::File::open(world.sandbox_folder(&spec).join("keeper.lock")).unwrap();
    assert!(rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err());
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_tell_what_was_and_then_what_comes() {
    use futures::StreamExt as _;
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    let mut lines = world.orchestrator.logs(spec.id, engine::orchestrator::LogSource::Keeper).await.unwrap();
    let first = lines.next().await.unwrap();
    assert!(first.at.is_some() && first.text.starts_with("keeping"), "{first:?}");
    let mut events = world.orchestrator.logs(spec.id, engine::orchestrator::LogSource::Events).await.unwrap();
    assert_eq!(events.next().await.unwrap(), first, "what happened is told by its keeper");
    world.orchestrator.ensure(&stopped(&spec)).await.unwrap();
    let mut text = String::new();
    while !text.contains("told to stop") {
        text = tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().unwrap().text;
    }
    world.until(&spec, "the stop", |seen| !seen.present).await;
    world.remove(&spec).await;
}
