//! What goes wrong with a sandbox or around it, and is told of with its cause: classes, nodes, images, memory, ends.

use crate::{or_skip, support::*};
use engine::orchestrator::{AgentOrPort, AgentSeen, LogSource, Orchestrator as _};
use futures::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    networking::v1::IngressClass,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kubernetes::settings::IngressSettings;
use model::CauseCode;
use sandbox_agent::{
    client::exec_to_end,
    protocol::http::{AgentEvent, ExecRequest},
};
use serde_json::json;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_class_that_is_missing_is_told_of_beside_a_sandbox_that_runs() {
    or_skip!(skip());
    let class = format!("fsa-test-{}", Uuid::new_v4().simple());
    let world = World::with(|settings| {
        settings.ingress = Some(IngressSettings { class: Some(class.clone()), ..IngressSettings::new("sandboxes.example.com") });
    })
    .await;
    let spec = world.spec();
    world.up(&spec).await;
    let missing = |seen: &engine::orchestrator::Seen| {
        seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::IngressClassMissing && cause.message.contains(&class))
    };
    let seen = world.until(&spec, "the cause", missing).await;
    assert_eq!(seen.agent, AgentSeen::ShellStarted, "it runs all the same");
    // Once it is there, nothing is missing; and it is told of again when it goes.
    let classes: Api<IngressClass> = Api::all(world.cluster.client.clone());
    let made = json!({"metadata": {"name": class}, "spec": {"controller": "example.com/nobody"}});
    classes.create(&PostParams::default(), &serde_json::from_value(made).unwrap()).await.unwrap();
    let told = world.until(&spec, "no cause", |seen| seen.cause.is_none()).await;
    assert_eq!(told.agent, AgentSeen::ShellStarted);
    classes.delete(&class, &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the cause again", missing).await;
    world.asked.take();
    world.orchestrator.observe(spec.id).await.unwrap();
    assert_eq!(world.asked.take_calls(), [], "it is watched, not asked for");
    world.remove(&spec).await;
}

/// A node that nobody is behind, gone with its test.
struct FakeNode {
    nodes: Api<Node>,
    name: String,
}

impl FakeNode {
    async fn new(world: &World) -> Self {
        let (nodes, name) = (Api::all(world.cluster.client.clone()), format!("fsa-test-{}", Uuid::new_v4().simple()));
        // Nobody else's pods come to it.
        let taint = json!([{"key": "fsa-test", "effect": "NoSchedule"}]);
        let node = json!({"metadata": {"name": name}, "spec": {"taints": taint}});
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let this = Self { nodes, name };
        this.ready("True").await;
        this
    }

    async fn ready(&self, status: &str) {
        let ready = json!({"type": "Ready", "status": status, "reason": "Test", "message": "as the test says"});
        let patch = json!({"status": {"conditions": [ready]}});
        self.nodes.patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        let (nodes, name) = (self.nodes.clone(), self.name.clone());
        let gone = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move { nodes.delete(&name, &DeleteParams::default()).await }).map(|_| ())
        };
        // The test's own runtime ends with it, and would leave the node behind.
        let _ = std::thread::spawn(gone).join();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_is_told_of_at_once() {
    or_skip!(skip());
    let world = World::new().await;
    let node = FakeNode::new(&world).await;
    let mut spec = world.spec();
    // More than any node has, so that the scheduler leaves the pod to us.
    spec.resources.request_cpu_millis = 1_000_000;
    spec.resources.limit_cpu_millis = 1_000_000;
    world.orchestrator.ensure(&spec).await.unwrap();
    world
        .until(&spec, "a pod that nobody takes", |seen| {
            let free = |cause: &model::Cause| cause.message.contains("has the most cpu left: it has ");
            seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::Unschedulable && free(cause))
        })
        .await;
    let pods: Api<Pod> = world.api();
    let mine = pods.list(&ListParams::default().labels(&format!("app={}", spec.name))).await.unwrap();
    let pod = mine.items[0].metadata.name.clone().unwrap();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node.name}});
    let bound: Result<kube::core::Status, _> = pods.create_subresource("binding", &pod, &PostParams::default(), &binding).await;
    bound.unwrap();
    world.until(&spec, "a pod on its node", |seen| seen.cause.is_none()).await;
    let began = Instant::now();
    node.ready("Unknown").await;
    let lost = |seen: &engine::orchestrator::Seen| seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::NodeLost);
    world.until(&spec, "the lost node", lost).await;
    println!("told after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    node.ready("True").await;
    world.until(&spec, "the node that is back", |seen| !lost(seen)).await;
    pods.delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_by_itself_is_told_of_with_its_cause() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    // The agent ends with everything when it is asked to.
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    sandbox_agent::client::shutdown(io, &spec.agent_token, Duration::from_millis(100)).await.unwrap();
    let seen = world.until(&spec, "the end", |seen| seen.ended_by_itself == 1).await;
    assert!(seen.ended_at.is_some());
    let second = world.up(&spec).await;
    assert_ne!(second.instance.as_ref().unwrap().id, first.id, "another run");
    assert_eq!(second.ended_by_itself, 1, "it is remembered");
    let mut lines = world.orchestrator.logs(spec.id, LogSource::Sandbox).await.unwrap();
    let line = tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().unwrap();
    assert!(line.at.is_some(), "{line:?}");
    // The run before alone, to its end.
    let past = world.orchestrator.logs(spec.id, LogSource::Past).await.unwrap().collect::<Vec<_>>();
    let past = tokio::time::timeout(PATIENCE, past).await.expect("what is over comes to an end");
    let starts = past.iter().filter(|line| line.text.starts_with("listening on 0.0.0.0:7682"));
    assert_eq!(starts.count(), 1, "{past:?}");
    let mut events = world.orchestrator.logs(spec.id, LogSource::Keeper).await.unwrap();
    let mut told = String::new();
    while !told.contains("Started") {
        told = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().text;
    }
    assert!(told.starts_with(&format!("Pod {}", spec.name)), "{told}");
    // A pod that is deleted by hand has ended by itself as well.
    let pods: Api<Pod> = world.api();
    let mine = pods.list(&ListParams::default().labels(&format!("app={}", spec.name))).await.unwrap();
    pods.delete(mine.items[0].metadata.name.as_deref().unwrap(), &DeleteParams::default()).await.unwrap();
    world.until(&spec, "the second end", |seen| seen.ended_by_itself == 2).await;
    world.up(&spec).await;
    // A restart that was asked for has not.
    let mut restarted = spec.clone();
    restarted.restart_count += 1;
    assert_eq!(world.up(&restarted).await.ended_by_itself, 0);
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_told_of() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.image = "fsa.local/never-made:dev".to_owned();
        settings.image_pull_policy = "Never".to_owned();
    })
    .await;
    let spec = world.spec();
    world.orchestrator.ensure(&spec).await.unwrap();
    let seen = world.until(&spec, "the cause", |seen| seen.cause.is_some()).await;
    assert!(seen.present && seen.instance.is_none());
    assert!(seen.cause.unwrap().message.contains("never-made"));
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_ends_again_and_again_is_told_of_with_its_last_words() {
    or_skip!(skip());
    let world = World::with(|settings| settings.listen = "192.0.2.1".parse().unwrap()).await;
    let spec = world.spec();
    world.orchestrator.ensure(&spec).await.unwrap();
    let looped = |seen: &engine::orchestrator::Seen| {
        let loops = seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::CrashLoop);
        seen.ended_by_itself >= 2 && loops && format!("{:?}", seen.cause).contains("192.0.2.1")
    };
    world.until(&spec, "a crash loop with what it said last", looped).await;
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_for_want_of_memory_is_told_of_while_the_sandbox_runs() {
    or_skip!(skip());
    let world = World::with(|settings| {
        let image = std::env::var("FSA_TEST_AGENT_IMAGE").unwrap_or_else(|_| "fsa.local/agent:dev".to_owned());
        settings.runtime = kubernetes::settings::Runtime::Injected { image };
    })
    .await;
    let spec = world.spec();
    let run = world.up(&spec).await.instance.unwrap();
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let mut events = std::pin::pin!(sandbox_agent::client::events(io, &spec.agent_token).await.unwrap());
    let began = Instant::now();
    let script = "python3 -c 'x = bytearray(600 << 20)'; echo ended by $?";
    let orchestrator = world.orchestrator.clone();
    let (id, token) = (spec.id, spec.agent_token.clone());
    let eaten = tokio::spawn(async move {
        let io = orchestrator.connect(id, AgentOrPort::Agent).await.unwrap();
        let ask = ExecRequest { command: vec!["sh".into(), "-c".into(), script.into()], ..ExecRequest::default() };
        exec_to_end(io, &token, &ask, 1 << 16).await
    });
    let told = async {
        while let Some(Ok(event)) = events.next().await {
            if let AgentEvent::Usage(usage) = event
                && usage.oom_killed_at.is_some()
            {
                return true;
            }
        }
        false
    };
    let told = tokio::time::timeout(PATIENCE, told).await.unwrap_or(false);
    if told {
        // The process alone: the agent tells, and the sandbox goes on.
        println!("told after {:?}", began.elapsed());
        let said = String::from_utf8(eaten.await.unwrap().unwrap().stdout).unwrap();
        assert!(said.contains("ended by 137"), "{said}");
        assert_eq!(sh(world.orchestrator.as_ref(), &spec, "echo on").await, "on\n");
        let seen = world.orchestrator.observe(spec.id).await.unwrap();
        assert_eq!(seen.instance.unwrap().id, run.id, "the same run");
    } else {
        // Where the node has the kernel kill the whole group, the cluster tells.
        println!("the whole sandbox was killed");
        let killed = |seen: &engine::orchestrator::Seen| {
            seen.cause.as_ref().is_some_and(|cause| cause.code == CauseCode::OutOfMemory && cause.message.contains("256 MiB"))
        };
        world.until(&spec, "the cause", killed).await;
    }
    world.remove(&spec).await;
}
