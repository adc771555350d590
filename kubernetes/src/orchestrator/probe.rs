//! What only pods can answer.
//!
//! Asks the agent of a run that began until a shell has started: the kubelet's own probes come once in
//! seconds. Afterwards the kubelet's word counts, and nothing is asked. Of a run that ended by itself, reads
//! what it wrote last.

use super::agents::Agents;
use crate::{
    Cluster,
    index::{
        Index, Probe,
        run::{self, Ask},
    },
    manifests::CONTAINER,
    names::TERMINAL_PORT,
    reach::Reach,
    settings::Runtime,
};
use engine::orchestrator::{AgentSeen, ConnectError};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use model::Cause;
use sandbox_agent::client::health;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Between two questions: an agent is up some ten milliseconds after its container.
const SOON: Duration = Duration::from_millis(50);
/// The same where each question may be a port-forward, as it is until the agent listens.
const SOON_FROM_OUTSIDE: Duration = Duration::from_millis(250);
/// The same of a pod whose container has started a moment ago, as an event says.
const SOON_BY_EVENT: Duration = Duration::from_millis(100);
/// For how long an event is believed that no status of its pod confirms: a kubelet that is well looks once a second.
const EARLY: Duration = Duration::from_secs(10);
/// A start that takes longer is none that anybody watches by the tenth of a second.
const START: Duration = Duration::from_secs(10);
/// The longest wait between two questions.
const LATEST: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How many late ones are asked at a time.
const LATE_AT_A_TIME: usize = 64;

/// How much of a log is read.
const TAIL_LINES: i64 = 20;
const TAIL_BYTES: i64 = 8192;

/// Asks those that it is told of, until `stop`.
pub fn run(
    index: Arc<Index>,
    cluster: Cluster,
    reach: Reach,
    agents: Arc<Agents>,
    runtime: Runtime,
    mut probes: mpsc::UnboundedReceiver<Probe>,
    stop: CancellationToken,
) {
    let asker = Arc::new(Asker { index, cluster, reach, agents, runtime, late: Semaphore::new(LATE_AT_A_TIME) });
    tokio::spawn(async move {
        while let Some(Some(probe)) = stop.run_until_cancelled(probes.recv()).await {
            let (asker, stop) = (asker.clone(), stop.clone());
            tokio::spawn(async move {
                let asked = async {
                    match &probe.ask {
                        Ask::Agent { run } => asker.ask_until_up(&probe, run).await,
                        Ask::Log { previous } => asker.read_log(&probe, *previous).await,
                    }
                };
                stop.run_until_cancelled(asked).await
            });
        }
    });
}

struct Asker {
    index: Arc<Index>,
    cluster: Cluster,
    reach: Reach,
    agents: Arc<Agents>,
    runtime: Runtime,
    late: Semaphore,
}

impl Asker {
    async fn ask_until_up(&self, probe: &Probe, run: &str) {
        let began = Instant::now();
        // Its pod has an address once the kubelet has told of its container, too.
        let mut early = run::instance(&probe.pod).is_none();
        if early && self.runtime == Runtime::Ttyd {
            // By a port-forward that nobody listens is not seen, and it starts a shell for whoever comes.
            self.index.not_early(probe.sandbox, run);
            return;
        }
        let mut wait = match () {
            () if early => SOON_BY_EVENT,
            () if self.reach.straight(&probe.pod) => SOON,
            () => SOON_FROM_OUTSIDE,
        };
        loop {
            let late = began.elapsed() > START;
            let turn = if late { self.late.acquire().await.ok() } else { None };
            let (seen, refused) = timeout(ANSWER, self.ask(probe)).await.unwrap_or((AgentSeen::Silent, None));
            drop(turn);
            if !self.index.answered(probe.sandbox, run, seen, refused) {
                return;
            }
            if seen == AgentSeen::ShellStarted {
                if early {
                    self.ask_until_confirmed(probe, run).await;
                }
                return;
            }
            if early && began.elapsed() > EARLY {
                if self.index.not_early(probe.sandbox, run) {
                    return;
                }
                early = false;
            }
            if late {
                wait = wait.mul_f64(1.5).min(LATEST);
            }
            sleep(wait).await;
        }
    }

    /// While no status of its pod confirms an event, what the agent answers counts, and that it answers.
    async fn ask_until_confirmed(&self, probe: &Probe, run: &str) {
        loop {
            sleep(EARLY).await;
            if !self.index.is_early(probe.sandbox, run) {
                return;
            }
            let seen = timeout(ANSWER, self.ask(probe)).await.map_or(AgentSeen::Silent, |(seen, _)| seen);
            if seen == AgentSeen::Silent {
                self.index.not_early(probe.sandbox, run);
                return;
            }
        }
    }

    /// A log that cannot be read is none: the cause is told without it.
    async fn read_log(&self, probe: &Probe, previous: bool) {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            previous,
            tail_lines: Some(TAIL_LINES),
            limit_bytes: Some(TAIL_BYTES),
            ..LogParams::default()
        };
        let name = probe.pod.metadata.name.as_deref().unwrap_or_default();
        if let Ok(Ok(tail)) = timeout(LATEST, api.logs(name, &params)).await {
            self.index.wrote(probe.sandbox, tail);
        }
    }

    /// What it answered, and why nobody may ask it.
    async fn ask(&self, probe: &Probe) -> (AgentSeen, Option<Cause>) {
        let pod = self.index.pod_now(&probe.pod);
        let io = match self.runtime {
            Runtime::Ttyd => self.reach.dial(&self.cluster, &pod, TERMINAL_PORT).await,
            _ => self.agents.connect(probe.sandbox, &pod).await,
        };
        let io = match io {
            Ok(io) => io,
            Err(ConnectError::Refused(cause)) => return (AgentSeen::Silent, Some(cause)),
            Err(_) => return (AgentSeen::Silent, None),
        };
        if self.runtime == Runtime::Ttyd {
            // It starts a shell for each who comes.
            return (AgentSeen::ShellStarted, None);
        }
        let seen = match health(io).await {
            Ok(health) if health.shell_started => AgentSeen::ShellStarted,
            Ok(_) => AgentSeen::Answering,
            Err(_) => AgentSeen::Silent,
        };
        (seen, None)
    }
}
