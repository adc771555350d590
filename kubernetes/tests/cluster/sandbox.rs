//! A sandbox that is well: its ports and terminal, its environment, one run at a time, and what is left of it.

use crate::{or_skip, support::*};
use engine::orchestrator::{AgentOrPort, AgentSeen, ConnectError, Orchestrator as _, Removed};
use futures::{SinkExt as _, StreamExt as _, future::join_all};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
};
use kube::{Api, api::ListParams};
use kubernetes::{names, orchestrator::KubernetesOrchestrator, reach::Reach};
use model::InstallationId;
use sandbox_agent::{
    client::{exec_to_end, websocket},
    protocol::{
        FSA_SUBPROTOCOL,
        frame::{ClientFrame, First, ServerFrame},
        http::ExecRequest,
    },
};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn ports_inside_are_reached_and_nobody_is_told_of() {
    or_skip!(skip());
    ports_inside(&World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_outside_it_is_all_the_same() {
    or_skip!(skip());
    ports_inside(&World::reached_by(InstallationId(Uuid::new_v4()), config().await, Some(Reach::Forward), |_| {}).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_outside_one_port_forward_carries_all_connections() {
    or_skip!(skip());
    let world = World::reached_by(InstallationId(Uuid::new_v4()), config().await, Some(Reach::Forward), |_| {}).await;
    let spec = world.spec();
    world.up(&spec).await;
    world.asked.take();
    // As a control plane that has just begun, so that none is open.
    let orchestrator = KubernetesOrchestrator::new(world.cluster.clone(), world.settings.clone(), Reach::Forward).unwrap();
    assert!(orchestrator.index().synced(PATIENCE).await);
    let said = join_all((0..5).map(|number| {
        let (orchestrator, spec) = (&orchestrator, &spec);
        async move { sh(orchestrator.as_ref(), spec, &format!("sleep 0.2; echo {number}")).await }
    }));
    assert_eq!(said.await, ["0\n", "1\n", "2\n", "3\n", "4\n"]);
    let nobody = join_all((0..5).map(|_| orchestrator.connect(spec.id, AgentOrPort::Port(3999))));
    for refused in nobody.await {
        assert!(matches!(refused, Err(ConnectError::NobodyListens(3999))));
    }
    let asked = world.asked.take();
    let forwards: Vec<_> = asked.iter().filter(|(_, path)| path.contains("/portforward")).collect();
    assert_eq!(forwards.len(), 1, "{forwards:?}");
    drop(orchestrator);

    // Another run is another way, and the one before leads nowhere.
    let mut before = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let mut restarted = spec.clone();
    restarted.restart_count += 1;
    world.up(&restarted).await;
    assert_eq!(sh(world.orchestrator.as_ref(), &restarted, "echo again").await, "again\n");
    let mut left = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, before.read_to_end(&mut left)).await;
    assert!(ended.is_ok() && left.is_empty(), "{ended:?}");
    world.remove(&restarted).await;
}

/// The same pod, and so the same way: what is broken is the tunnel that it has.
#[tokio::test(flavor = "multi_thread")]
async fn from_outside_a_run_after_a_crash_in_the_same_pod_is_reached_within_seconds() {
    or_skip!(skip());
    let world = World::reached_by(InstallationId(Uuid::new_v4()), config().await, Some(Reach::Forward), |_| {}).await;
    let spec = world.spec();
    let first = world.up(&spec).await.instance.unwrap();
    let mine = ListParams::default().labels(&format!("app={}", spec.name));
    let pods = async || {
        let list = world.api::<Pod>().list(&mine).await.unwrap();
        list.items.into_iter().map(|pod| pod.metadata.uid).collect::<Vec<_>>()
    };
    let before = pods().await;
    assert_eq!(sh(world.orchestrator.as_ref(), &spec, "echo before").await, "before\n", "there is a tunnel");
    // The first process ends by SIGTERM: of signals from inside, the kernel hands it those alone that it listens to. What asks
    // for it ends with it, however that is told.
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let command = ["/bin/bash", "-c", "kill -TERM 1; sleep 60"].map(str::to_owned).to_vec();
    let crash = ExecRequest { command, ..ExecRequest::default() };
    let _ = tokio::time::timeout(PATIENCE, exec_to_end(io, &spec.agent_token, &crash, 1000)).await.expect("it does not end");
    let another = |seen: &engine::orchestrator::Seen| {
        seen.agent == AgentSeen::ShellStarted && seen.instance.as_ref().is_some_and(|now| now.id != first.id)
    };
    world.until(&spec, "the next run", another).await;
    let up = std::time::Instant::now();
    // A connection may still be refused, or one that is given may break.
    let ask = ExecRequest { command: vec!["/bin/echo".into(), "after".into()], ..ExecRequest::default() };
    loop {
        let asked = async {
            let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.ok()?;
            exec_to_end(io, &spec.agent_token, &ask, 1000).await.ok()
        };
        if let Ok(Some(done)) = tokio::time::timeout(Duration::from_secs(5), asked).await {
            assert_eq!(done.stdout, b"after\n");
            break;
        }
        assert!(up.elapsed() < Duration::from_secs(15), "the next run is not reached");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("reached after {:?}", up.elapsed());
    assert_eq!(pods().await, before, "it is the same pod");
    world.remove(&spec).await;
}

async fn ports_inside(world: &World) {
    let spec = world.spec();
    world.up(&spec).await;
    let script = "nohup python3 -m http.server 3000 --bind 127.0.0.1 >/dev/null 2>&1 & \
        for n in $(seq 100); do (echo > /dev/tcp/127.0.0.1/3000) 2>/dev/null && exit 0; sleep 0.1; done; exit 1";
    sh(world.orchestrator.as_ref(), &spec, script).await;
    let mut io = world.orchestrator.connect(spec.id, AgentOrPort::Port(3000)).await.unwrap();
    io.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer));
    let refused = world.orchestrator.connect(spec.id, AgentOrPort::Port(3999)).await.err().unwrap();
    assert!(matches!(refused, ConnectError::NobodyListens(3999)), "{refused}");
    // And a terminal, which both sides write to.
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let mut terminal = websocket(io, &spec.agent_token, "/ws?session=main", FSA_SUBPROTOCOL).await.unwrap();
    let first = First { columns: 80, rows: 24, client: "test".into(), auth_token: None };
    terminal.send(ClientFrame::First(first).encode().into()).await.unwrap();
    let typed = ClientFrame::Input { seq: 0, data: "echo it-is-$((6*7))\n".into() };
    terminal.send(typed.encode().into()).await.unwrap();
    let mut shown = String::new();
    while !shown.contains("it-is-42") {
        let frame = tokio::time::timeout(PATIENCE, terminal.next()).await.unwrap().expect(&shown).unwrap();
        if let Ok(ServerFrame::Output { data, .. }) = ServerFrame::decode(frame.into_data()) {
            shown.push_str(&String::from_utf8_lossy(&data));
        }
    }
    // Nothing of the cluster, and no token, is inside.
    let big = sh(world.orchestrator.as_ref(), &spec, "head -c 900000 /dev/zero | tr '\\0' x").await;
    assert_eq!(big.len(), 900_000, "much goes through whole");
    let inside = sh(world.orchestrator.as_ref(), &spec, "env; ls /var/run/secrets 2>&1; id -u; touch ~/x && echo written").await;
    assert!(!inside.contains("FSA_AGENT_TOKEN") && !inside.contains("KUBERNETES_SERVICE_HOST=\n"), "{inside}");
    assert!(inside.contains("1000") && inside.contains("written") && !inside.contains("kubernetes.io"), "{inside}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_comes_by_a_secret_and_old_ones_go() {
    or_skip!(skip());
    let world = World::new().await;
    let mut spec = world.spec();
    spec.env.insert("COLOUR".into(), "red and 'quoted' $x".into());
    spec.env.insert("HOME".into(), "/nowhere".into());
    world.up(&spec).await;
    let said = sh(world.orchestrator.as_ref(), &spec, "echo \"$COLOUR\" $HOME").await;
    assert_eq!(said, "red and 'quoted' $x /home/agent\n");
    let first = names::env_secret(&spec.name, spec.env_revision, spec.restart_count);
    spec.restart_count += 1;
    spec.env_revision += 1;
    spec.env.insert("COLOUR".into(), "blue".into());
    world.up(&spec).await;
    assert_eq!(sh(world.orchestrator.as_ref(), &spec, "echo $COLOUR").await, "blue\n");
    world.orchestrator.ensure(&spec).await.unwrap();
    let secrets: Api<Secret> = world.api();
    assert!(secrets.get_opt(&first).await.unwrap().is_none(), "the first is gone");
    // Other amounts are another run of the same ask.
    let run = world.orchestrator.observe(spec.id).await.unwrap().instance.unwrap();
    spec.resources.limit_memory_bytes *= 2;
    let bigger = async {
        world.orchestrator.ensure(&spec).await.unwrap();
        let runs = |seen: &engine::orchestrator::Seen| {
            seen.agent == AgentSeen::ShellStarted && seen.instance.as_ref().is_some_and(|now| now.id != run.id)
        };
        world.until(&spec, "the bigger run", runs).await
    };
    let seen = never_two(&world, spec.name.as_str(), bigger).await;
    assert_eq!(seen.ended_by_itself, 0, "it was asked for");
    // Stopped, it leaves no Secret with anybody's variables.
    world.down(&spec).await;
    let left = secrets.list(&ListParams::default().labels(&format!("app={}", spec.name))).await.unwrap();
    assert_eq!(
        left.items.iter().filter_map(|secret| secret.metadata.name.clone()).collect::<Vec<_>>(),
        [names::agent_secret(&spec.name)]
    );
    world.remove(&spec).await;
}

/// Does this, and looks all the while that at most one pod of a sandbox has a container that runs.
async fn never_two<T>(world: &World, name: &str, doing: impl Future<Output = T>) -> T {
    let (pods, mine) = (world.api::<Pod>(), ListParams::default().labels(&format!("app={name}")));
    let runs = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.into_iter().flatten().any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    let two = async {
        loop {
            let running: Vec<Pod> = pods.list(&mine).await.unwrap().items.into_iter().filter(&runs).collect();
            if running.len() > 1 {
                return running.into_iter().filter_map(|pod| pod.metadata.name).collect::<Vec<_>>();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        done = doing => done,
        two = two => panic!("two run at once: {two:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_volume_is_left_of_a_removed_sandbox() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    world.up(&spec).await;
    while world.orchestrator.remove(spec.id).await.unwrap() != Removed::Gone {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mine = ListParams::default().labels(&format!("fullstackagent.io/sandbox={}", spec.id));
    async fn left<K>(world: &World, mine: &ListParams) -> usize
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        world.api::<K>().list(mine).await.unwrap().items.len()
    }
    assert_eq!(left::<Deployment>(&world, &mine).await, 0);
    assert_eq!(left::<Pod>(&world, &mine).await, 0);
    assert_eq!(left::<Service>(&world, &mine).await, 0);
    assert_eq!(left::<Ingress>(&world, &mine).await, 0);
    assert_eq!(left::<NetworkPolicy>(&world, &mine).await, 0);
    assert_eq!(left::<Secret>(&world, &mine).await, 0);
    assert_eq!(left::<ServiceAccount>(&world, &mine).await, 0);
    assert_eq!(left::<ConfigMap>(&world, &mine).await, 0);
    assert_eq!(left::<PersistentVolumeClaim>(&world, &mine).await, 1, "its volume is");
    world.remove(&spec).await;
}
