//! Images without the agent, or with ttyd in its place, and what prepares a sandbox of one.

use crate::{or_skip, support::*};
use engine::orchestrator::{AgentOrPort, LogSource, Orchestrator as _};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use kubernetes::{
    labels::{Component, Owner},
    manifests::{CONTAINER, INSTALLER},
};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_the_agent_gets_it() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.image = "fsa.local/base:dev".to_owned();
        settings.runtime = kubernetes::settings::Runtime::Injected { image: "fsa.local/agent:dev".to_owned() };
    })
    .await;
    let spec = world.spec();
    world.up(&spec).await;
    let said = sh(world.orchestrator.as_ref(), &spec, "id -un; echo $HOME; touch ~/here && ls ~/here").await;
    assert_eq!(said, "agent\n/home/agent\n/home/agent/here\n");
    let mut lines = world.orchestrator.logs(spec.id, LogSource::Install).await.unwrap();
    let line = tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().unwrap();
    assert!(line.text.contains("sandbox-agent"), "{line:?}");
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prepares_a_sandbox_is_read_with_its_run_before() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = world.spec();
    // A pod as an injected image has one, whose preparation fails at first.
    let script = "if [ -e /again/it ]; then echo the second; sleep 600; fi; touch /again/it; echo the first; exit 1";
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let owner = Owner {
        installation: spec.installation,
        project: spec.project,
        slug: &spec.slug,
        sandbox: Some(spec.id),
        name: &spec.name,
    };
    let pod = json!({
        "metadata": {"name": spec.name, "labels": owner.labels(Component::Sandbox)},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "again", "emptyDir": {}}],
            "initContainers": [{"name": INSTALLER, "image": image(), "command": ["sh", "-c", script],
                "volumeMounts": [{"name": "again", "mountPath": "/again"}], "securityContext": security}],
            "containers": [{"name": CONTAINER, "image": image(), "securityContext": security}],
        },
    });
    let pods: Api<Pod> = world.api();
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let began = Instant::now();
    let runs_again = |pod: &Pod| {
        let status = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref()?.first());
        status
            .is_some_and(|status| status.restart_count == 1 && status.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    loop {
        let read = async {
            let lines = world.orchestrator.logs(spec.id, LogSource::Install).await.unwrap();
            lines.map(|line| line.text).take(2).collect::<Vec<_>>().await
        };
        let runs = runs_again(&pods.get(spec.name.as_str()).await.unwrap());
        if runs
            && tokio::time::timeout(Duration::from_secs(5), read).await.is_ok_and(|lines| lines == ["the first", "the second"])
        {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the two runs are not read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pods.delete(spec.name.as_str(), &DeleteParams::default().grace_period(0)).await.unwrap();
    world.remove(&spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_ttyd_serves_a_terminal_alone() {
    or_skip!(skip());
    let world = World::with(|settings| {
        settings.image = std::env::var("FSA_TEST_TTYD_IMAGE").unwrap_or_else(|_| "fsa.local/ttyd:dev".to_owned());
        settings.runtime = kubernetes::settings::Runtime::Ttyd;
    })
    .await;
    let spec = world.spec();
    world.up(&spec).await;
    assert!(!world.orchestrator.has_agents());
    let io = world.orchestrator.connect(spec.id, AgentOrPort::Agent).await.unwrap();
    let request = http::Request::get("/token").body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
    let answer = sandbox_agent::client::request(io, &spec.agent_token, request).await.unwrap();
    assert_eq!(answer.status(), 200);
    world.remove(&spec).await;
}
