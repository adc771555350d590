//! One project: where it is in its life, its sandbox, terminal and database, and whether the address that it was given
//! still leads there.

use super::{
    Finding, Verdict,
    server::{caused, on_server, owned_by},
};
use crate::{
    Cluster, Settings,
    causes::{
        self, Whose,
        room::{self, Room},
    },
    database::{
        cause, kubeblocks,
        statefulset::{self, volume_claim},
    },
    index::Whole as _,
    names,
    reach::Reach,
    settings::{DatabaseProvider, Runtime},
};
use engine::{
    database::{Database as _, DatabaseSpec},
    orchestrator::BoxedIo,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Event, Node, PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::{Ingress, IngressClass},
};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use model::{Cause, CauseCode, Phase, ResourceName};
use sqlx::postgres::PgConnectOptions;
use std::{cmp::Reverse, str::FromStr as _, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How long something inside may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What the row of a project says.
#[derive(Debug, Clone)]
pub struct Row {
    /// The name of its objects.
    pub name: ResourceName,
    /// Its database, where it has one; the password is not needed.
    pub database: Option<DatabaseSpec>,
    /// Where it is in its life, and why it is not as it was asked to be, where that could be read.
    pub state: Option<(Phase, Option<Cause>)>,
}

impl Row {
    /// Of which nothing but the name is known.
    #[must_use]
    pub fn named(name: ResourceName) -> Self {
        Self { name, database: None, state: None }
    }
}

/// Looks at what the row says, and at the objects of its name, as they are now.
pub async fn check(cluster: &Cluster, settings: &Settings, row: &Row) -> Vec<Finding> {
    let database = row.database.as_ref();
    let look = Look { cluster, settings, name: &row.name, database, reach: Reach::choose(cluster).await };
    let mut findings: Vec<Finding> = state(row).into_iter().collect();
    let why = "The project's terminal, files and application are in it.";
    let found = match look.found().await {
        Ok(found) => found,
        Err(cause) => {
            findings.push(Finding::of_cause("sandbox", Verdict::Fail, &cause, why));
            return findings;
        }
    };
    findings.push(look.sandbox(&found, why));
    if let Some(pod) = found.pods.first().filter(|pod| causes::is_ready(pod)) {
        findings.push(look.terminal(pod).await);
    }
    findings.extend(look.database(&found).await);
    findings
}

/// What its page says of it: what only time tells, and what was seen and is over, no object does.
fn state(row: &Row) -> Option<Finding> {
    let (phase, cause) = row.state.as_ref()?;
    let (check, why) = ("state", "It is what the project's page says.");
    Some(match (cause, phase) {
        (Some(cause), _) => {
            let verdict = if *phase == Phase::Error { Verdict::Fail } else { Verdict::Warn };
            let finding = Finding::of_cause(check, verdict, cause, why);
            Finding { what: format!("{}: {}", phase.label(), cause.message), ..finding }
        }
        (None, Phase::Error) => {
            let look = format!("Look at the server's log for `{}`.", row.name);
            Finding::new(check, Verdict::Fail, "Error, and nothing is known of why.", why, &[&look])
        }
        (None, phase) => Finding::ok(check, format!("{}.", phase.label()), why),
    })
}

struct Look<'a> {
    cluster: &'a Cluster,
    settings: &'a Settings,
    name: &'a ResourceName,
    database: Option<&'a DatabaseSpec>,
    reach: Reach,
}

struct Found {
    deployment: Option<Deployment>,
    pods: Vec<Arc<Pod>>,
    volume: Option<PersistentVolumeClaim>,
    /// None where the account may not see them.
    ingresses: Vec<Arc<Ingress>>,
    ingress_class_present: Option<bool>,
    /// Of the newest pod, where nodes can be seen.
    node_ready: Option<bool>,
    events: Vec<Arc<Event>>,
    log: Option<String>,
    /// What nodes have, where a pod has none.
    rooms: Option<Vec<Room>>,
}

impl Found {
    /// Whether the sandbox should have a pod, and with that its database.
    fn should_run(&self) -> bool {
        self.deployment.as_ref().and_then(|live| live.spec.as_ref()?.replicas).is_some_and(|replicas| replicas > 0)
    }
}

impl Look<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    async fn found(&self) -> Result<Found, Cause> {
        let wrong = |error: kube::Error| causes::of_error(&error, "look at the sandbox");
        let deployment = self.api::<Deployment>().get_opt(self.name.as_str()).await.map_err(wrong)?;
        let of = ListParams::default().labels(&format!("app={}", self.name));
        let mut pods = self.api::<Pod>().list(&of).await.map_err(wrong)?.items;
        pods.sort_by_key(|pod| Reverse(pod.metadata.creation_timestamp.clone()));
        let claim = deployment
            .as_ref()
            .and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref()?.volumes.as_ref())
            .and_then(|volumes| {
                volumes.iter().find_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
            });
        let volume = match claim {
            Some(claim) => self.api::<PersistentVolumeClaim>().get_opt(&claim).await.map_err(wrong)?,
            None => None,
        };
        let mut events = self.api::<Event>().list(&ListParams::default()).await.map_err(wrong)?.items;
        let about = |event: &Event| {
            let object = event.involved_object.name.as_deref().unwrap_or_default();
            object.starts_with(self.name.as_str())
                || object == volume_claim(self.name)
                || Some(object) == volume.as_ref().and_then(|volume| volume.metadata.name.as_deref())
        };
        events.retain(about);
        events.sort_by_key(|event| Reverse(causes::at(event)));
        let log = match pods.first().and_then(|pod| pod.metadata.name.as_deref()) {
            Some(pod) => self
                .api::<Pod>()
                .logs(pod, &LogParams { previous: true, tail_lines: Some(20), ..LogParams::default() })
                .await
                .ok(),
            None => None,
        };
        let rooms = if pods.iter().all(causes::is_placed) { None } else { self.rooms().await };
        let ingresses = self.api::<Ingress>().list(&of).await.map(|list| list.items).unwrap_or_default();
        let ingress_class_present = match ingresses.first() {
            Some(ingress) => self.ingress_class_present(ingress).await,
            None => None,
        };
        let node_ready = match pods.first().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref()) {
            Some(node) => self.node_ready(node).await,
            None => None,
        };
        Ok(Found {
            deployment,
            pods: pods.into_iter().map(Arc::new).collect(),
            volume,
            ingresses: ingresses.into_iter().map(Arc::new).collect(),
            ingress_class_present,
            node_ready,
            events: events.into_iter().map(Arc::new).collect(),
            log,
            rooms,
        })
    }

    /// Whether the class of an Ingress is there; `None` where the account may not look.
    async fn ingress_class_present(&self, ingress: &Ingress) -> Option<bool> {
        let classes: Api<IngressClass> = Api::all(self.cluster.client.clone());
        match ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref()) {
            Some(class) => classes.get_opt(class).await.ok().map(|class| class.is_some()),
            None => classes.list(&ListParams::default()).await.ok().map(|all| all.items.iter().any(|class| class.kept())),
        }
    }

    /// Whether a node is ready; one that is gone is not. `None` where the account may not look.
    async fn node_ready(&self, name: &str) -> Option<bool> {
        let nodes: Api<Node> = Api::all(self.cluster.client.clone());
        let node = nodes.get_opt(name).await.ok()?;
        Some(node.is_some_and(|node| node.kept().ready))
    }

    async fn rooms(&self) -> Option<Vec<Room>> {
        room::ask(self.cluster, self.settings.installation).await
    }

    fn cause(&self, found: &Found) -> Option<Cause> {
        causes::cause(&causes::Facts {
            name: self.name,
            whose: Whose::Sandbox,
            deployment: found.deployment.as_ref(),
            pods: &found.pods,
            volume: found.volume.as_ref(),
            ingresses: &found.ingresses,
            events: &found.events,
            node_ready: found.node_ready,
            rooms: found.rooms.as_deref(),
            ingress_class_present: found.ingress_class_present,
            log_tail: found.log.as_deref(),
            now: Timestamp::now(),
        })
    }

    fn sandbox(&self, found: &Found, why: &str) -> Finding {
        let (check, name) = ("sandbox", self.name);
        let Some(deployment) = &found.deployment else {
            return Finding::new(
                check,
                Verdict::Warn,
                format!("There is no Deployment `{name}` in the cluster."),
                why,
                &["Start the sandbox, if it should run."],
            );
        };
        if !crate::labels::is_ours(&deployment.metadata, self.settings.installation) {
            return Finding::of_cause(
                check,
                Verdict::Fail,
                &causes::name_taken("Deployment", name.as_str(), &self.cluster.namespace),
                why,
            );
        }
        if deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(0) {
            return Finding::ok(check, format!("`{name}` is stopped; its files are kept."), why);
        }
        let ready = found.pods.first().is_some_and(|pod| causes::is_ready(pod));
        match self.cause(found) {
            Some(cause) => Finding::of_cause(check, if ready { Verdict::Warn } else { Verdict::Fail }, &cause, why),
            None if ready => Finding::ok(check, format!("`{name}` runs."), why),
            None => Finding::new(
                check,
                Verdict::Warn,
                format!("`{name}` is not ready yet, and nothing says why."),
                why,
                &[
                    "Wait a moment and look again.",
                    &format!("Look at it: `kubectl -n {} describe pods -l app={name}`.", self.cluster.namespace),
                ],
            ),
        }
    }

    /// The agent answers, by the way that a terminal goes.
    async fn terminal(&self, pod: &Pod) -> Finding {
        let why = "Terminal, files and previews go this way.";
        let (port, path) =
            if self.settings.runtime == Runtime::Ttyd { (names::TERMINAL_PORT, "/") } else { (names::AGENT_PORT, "/healthz") };
        let asked = async {
            let mut io = self.reach.dial(self.cluster, pod, port).await.map_err(|error| causes::chain(&error))?;
            let ask = format!("GET {path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n");
            let answer = talk(&mut io, ask.as_bytes(), 12).await.map_err(|error| causes::chain(&error))?;
            if answer.starts_with(b"HTTP/1.1 ") { Ok(()) } else { Err("what answers does not speak HTTP".to_owned()) }
        };
        match tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err("it did not answer in time".to_owned())) {
            Ok(()) => Finding::ok("terminal", format!("`{}` answers on port {port}.", self.name), why),
            Err(detail) => Finding {
                detail: Some(detail),
                ..Finding::new(
                    "terminal",
                    Verdict::Fail,
                    format!("`{}` does not answer on port {port}.", self.name),
                    why,
                    &[
                        "Restart the sandbox.",
                        "Look for a NetworkPolicy that keeps this server from it: the port is open to the pods that --control-plane-label names.",
                    ],
                )
            },
        }
    }

    async fn database(&self, found: &Found) -> Vec<Finding> {
        let why = "The project's own data is in it.";
        let check = "database";
        let pod = format!("{}-0", names::postgres(self.name));
        let pod = match self.api::<Pod>().get_opt(&pod).await {
            Ok(Some(pod)) => Arc::new(pod),
            Ok(None) => return self.without_a_pod(found, &pod, check, why).await,
            Err(error) => {
                return vec![Finding::of_cause(check, Verdict::Fail, &causes::of_error(&error, "look at the database"), why)];
            }
        };
        let mut findings = vec![if causes::is_ready(&pod) {
            // PostgreSQL's own question whether it speaks TLS: it answers with one letter, before any sign-in.
            const TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
            let asked = async {
                let mut io =
                    self.reach.dial(self.cluster, &pod, names::POSTGRES_PORT).await.map_err(|error| causes::chain(&error))?;
                let answer = talk(&mut io, &TLS, 1).await.map_err(|error| causes::chain(&error))?;
                if matches!(answer.as_slice(), b"S" | b"N") { Ok(()) } else { Err("what answers is no PostgreSQL".to_owned()) }
            };
            match tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err("it did not answer in time".to_owned())) {
                Ok(()) => Finding::ok(check, "PostgreSQL answers.", why),
                Err(detail) => Finding {
                    detail: Some(detail),
                    ..Finding::new(
                        check,
                        Verdict::Fail,
                        "PostgreSQL's pod is ready and does not answer.",
                        why,
                        &["Look at its log, which the sandbox's log page shows."],
                    )
                },
            }
        } else {
            let rooms = if causes::is_placed(&pod) { None } else { self.rooms().await };
            let volume = self.api::<PersistentVolumeClaim>().get_opt(&volume_claim(self.name)).await.ok().flatten();
            let (pod, volume) = (Some(&*pod), volume.as_ref());
            match of_database(self.name, pod, volume, &found.events, rooms.as_deref(), Timestamp::now()) {
                Some(cause) => Finding::of_cause(check, Verdict::Fail, &cause, why),
                None => Finding::new(
                    check,
                    Verdict::Warn,
                    "PostgreSQL's pod is not ready yet, and nothing says why.",
                    why,
                    &["Wait a moment and look again."],
                ),
            }
        }];
        findings.extend(self.address(found).await);
        findings
    }

    /// Where the database has no pod: it is on a given server, stopped with its sandbox, or missing.
    async fn without_a_pod(&self, found: &Found, pod: &str, check: &str, why: &str) -> Vec<Finding> {
        if let Some(finding) = self.given(found).await {
            return vec![finding];
        }
        let mut findings: Vec<Finding> = self.address(found).await.into_iter().collect();
        if refused(self.name, &found.events, &Set::Unseen).is_some()
            && let Some(set) = self.set().await
            && let Some(refused) = refused(self.name, &found.events, &set)
        {
            findings.insert(0, Finding::of_cause(check, Verdict::Fail, &refused, why));
            return findings;
        }
        // One on a given server that does not say whether it has it is told by the address, which is none of the cluster's.
        let elsewhere = self.settings.database.server.is_some() && findings.is_empty();
        let wanted = self.database.is_some() && found.should_run() && !elsewhere;
        if wanted || findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
            let what = format!("There is no pod `{pod}`.");
            let start = "Start the sandbox: its database is made anew then, and is empty if its volume is lost.";
            let wait = "Wait a moment and look again: it is made anew by itself, and is empty if its volume is lost.";
            let step = if wanted { wait } else { start };
            findings.push(Finding::new(check, Verdict::Fail, what, why, &[step]));
        }
        findings
    }

    /// The project's database on a given server, if that has it, or makes it and no object of the cluster is it.
    async fn given(&self, found: &Found) -> Option<Finding> {
        let (server, database) = (self.settings.database.server.as_ref()?, self.database?);
        let makes = self.settings.database.provider == DatabaseProvider::Server;
        let asked = owned_by(server, self.settings.installation);
        let seen = match tokio::time::timeout(ANSWER, asked.observe(database)).await {
            Ok(seen) => seen.map_err(caused),
            Err(_) => Err(caused(anyhow::anyhow!("it did not answer within {} s", ANSWER.as_secs()).into())),
        };
        let is_there = matches!(&seen, Ok(seen) if seen.present);
        if !is_there {
            // A stopped one has no pod, and its volume all the same.
            let volume = self.api::<PersistentVolumeClaim>().get_opt(&volume_claim(self.name)).await;
            if !makes || matches!(volume, Ok(Some(_))) {
                return None;
            }
        }
        Some(on_server(server, &database.role, seen, found.should_run()))
    }

    /// What makes the database's pod, where it is there and should make one. Where the account may not see StatefulSets,
    /// KubeBlocks makes them.
    async fn set(&self) -> Option<Set> {
        match self.api::<StatefulSet>().get_opt(&names::postgres(self.name)).await {
            Ok(set) => Set::of(&set?),
            Err(_) => kubeblocks::wants_a_pod(self.cluster, self.name).await.unwrap_or(true).then_some(Set::Unseen),
        }
    }

    /// Whether the `DATABASE_URL` that the sandbox has leads to a Service that is there.
    async fn address(&self, found: &Found) -> Option<Finding> {
        let (check, why) = ("database address", "The application connects by it.");
        let spec = found.deployment.as_ref()?.spec.as_ref()?.template.spec.as_ref()?;
        let secrets = spec.containers.iter().flat_map(|container| container.env_from.iter().flatten());
        for secret in secrets.filter_map(|from| from.secret_ref.as_ref()) {
            let Ok(Some(secret)) = self.api::<Secret>().get_opt(&secret.name).await else { continue };
            let Some(url) = secret.data.as_ref().and_then(|data| data.get("DATABASE_URL")) else { continue };
            // The address only: whatever else is in there is a secret.
            // Without what is Prisma's alone, `schema`, which would be warned of.
            let url = std::str::from_utf8(&url.0).ok().and_then(|url| url.split('?').next());
            let url = url.and_then(|url| PgConnectOptions::from_str(url).ok())?;
            let host = url.get_host().to_owned();
            let service = host.split('.').next().unwrap_or_default();
            // A server outside the cluster is not ours to look up.
            if !service.starts_with(self.name.as_str()) {
                return None;
            }
            return Some(match self.api::<Service>().get_opt(service).await {
                Ok(Some(_)) => Finding::ok(check, format!("DATABASE_URL leads to `{host}`, which is there."), why),
                Ok(None) => Finding::new(
                    check,
                    Verdict::Fail,
                    format!("DATABASE_URL leads to `{host}`, and there is no such Service any more."),
                    why,
                    &["Restart the sandbox: it gets the address that is right now."],
                ),
                Err(error) => {
                    Finding::of_cause(check, Verdict::Warn, &causes::of_error(&error, "look for the database's Service"), why)
                }
            });
        }
        None
    }
}

/// What stands in the way of the database's pod, in the words of the project's page.
fn of_database(
    name: &ResourceName,
    pod: Option<&Pod>,
    volume: Option<&PersistentVolumeClaim>,
    events: &[Arc<Event>],
    rooms: Option<&[Room]>,
    now: Timestamp,
) -> Option<Cause> {
    let since = pod.and_then(cause::since);
    let mut told = cause::cause(&cause::Facts { name, pod, volume, events, since, now })?;
    if told.code == CauseCode::Unschedulable
        && let Some(said) = told.detail.as_deref()
    {
        let free = room::told(&room::lacking(said), rooms);
        told.message.push_str(&free);
    }
    Some(told)
}

/// What should make the database's pod.
#[derive(Debug)]
enum Set {
    /// The StatefulSet of this uid.
    Seen(Option<String>),
    /// One that cannot be looked at.
    Unseen,
}

impl Set {
    /// `None` of one that was stopped, or is being removed: it makes no pod.
    fn of(set: &StatefulSet) -> Option<Self> {
        statefulset::wants_a_pod(set).then(|| Self::Seen(set.metadata.uid.clone()))
    }

    /// Whether an event may be about it, and not about one of the same name that was there before.
    fn is_told_of(&self, event: &Event) -> bool {
        match self {
            Self::Seen(uid) => event.involved_object.kind.as_deref() != Some("StatefulSet") || event.involved_object.uid == *uid,
            Self::Unseen => true,
        }
    }
}

/// Why the cluster does not make the database's pod at all, where it has said so of the set that is there now.
fn refused(name: &ResourceName, events: &[Arc<Event>], set: &Set) -> Option<Cause> {
    let events: Vec<Arc<Event>> = events.iter().filter(|event| set.is_told_of(event)).cloned().collect();
    of_database(name, None, None, &events, None, Timestamp::now()).filter(|told| cause::is_stated(told.code))
}

async fn talk(io: &mut BoxedIo, ask: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
    io.write_all(ask).await?;
    let mut answer = vec![0; length];
    io.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(pod: Option<&Value>, events: &[Value]) -> Option<Cause> {
        let name: ResourceName = "shop-agentruntime-abc123".parse().unwrap();
        let pod: Option<Pod> = pod.map(|pod| serde_json::from_value(pod.clone()).unwrap());
        let events: Vec<Arc<Event>> =
            events.iter().map(|event| Arc::new(serde_json::from_value(event.clone()).unwrap())).collect();
        of_database(&name, pod.as_ref(), None, &events, None, Timestamp::now())
    }

    #[test]
    fn a_project_is_in_the_state_that_its_row_says() {
        let row = |phase, cause: Option<Cause>| Row {
            state: Some((phase, cause)),
            ..Row::named("shop-agentruntime-abc123".parse().unwrap())
        };
        let overdue = || Cause::new(CauseCode::StageOverdue, "It is late.", &["It goes on by itself."]);
        for (phase, cause, verdict, what) in [
            (Phase::Running, None, Verdict::Ok, "Running."),
            (Phase::Stopped, None, Verdict::Ok, "Stopped."),
            (Phase::Starting, Some(overdue()), Verdict::Warn, "Starting: It is late."),
            (Phase::Error, Some(overdue()), Verdict::Fail, "Error: It is late."),
            (Phase::Error, None, Verdict::Fail, "Error, and nothing is known of why."),
        ] {
            let said = state(&row(phase, cause)).unwrap();
            assert_eq!((said.check.as_str(), said.verdict, said.what.as_str()), ("state", verdict, what));
            assert_eq!(said.mend.is_empty(), verdict == Verdict::Ok, "{said:?}");
        }
        assert_eq!(state(&Row::named("shop-agentruntime-abc123".parse().unwrap())), None, "it could not be read");
    }

    #[test]
    fn the_databases_pod_is_spoken_of_as_the_databases() {
        let container = json!({"name": "postgresql", "image": "postgres:17", "resources": {"requests": {"cpu": "4"}}});
        let spec = json!({"containers": [container]});
        let unschedulable = |message: &str| {
            json!({"spec": spec, "status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}})
        };
        let waiting = json!({"spec": spec, "status": {"containerStatuses": [{"name": "postgresql", "image": "postgres:17",
            "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "postgres:17: not found"}}}]}});
        let crashed = json!({"spec": spec, "status": {"containerStatuses": [{"name": "postgresql", "image": "postgres:17",
            "imageID": "", "ready": false, "restartCount": 2,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}]}});
        for (pod, code, words) in [
            (unschedulable("0/1 nodes are available: 1 Insufficient cpu."), CauseCode::Unschedulable, "room for the database"),
            (unschedulable("0/1 nodes are available: 1 node(s) were bad."), CauseCode::NodeUnsuitable, "fits the database"),
            (waiting, CauseCode::ImageNotFound, "no image `postgres:17`"),
            (crashed, CauseCode::DatabaseFailed, "PostgreSQL ends by itself"),
        ] {
            let cause = told(Some(&pod), &[]).unwrap();
            assert_eq!(cause.code, code, "{cause:?}");
            assert!(cause.message.contains(words), "{cause:?}");
            assert!(!cause.message.contains("the sandbox") && !cause.message.contains("The sandbox"), "{cause:?}");
            assert!(cause.next_steps.iter().all(|step| !step.contains("--image ")), "{cause:?}");
        }
        let unseen = told(Some(&unschedulable("0/1 nodes are available: 1 Insufficient cpu.")), &[]).unwrap();
        assert!(unseen.message.ends_with("the account may not see nodes."), "{unseen:?}");
    }

    #[test]
    fn an_old_database_whose_container_has_just_started_again_is_not_slow() {
        let pod = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"nodeName": "n", "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-04T00:00:00Z"}],
                "containerStatuses": [{"name": "postgresql", "image": "", "imageID": "", "ready": false, "restartCount": 1,
                    "state": {"running": {"startedAt": "2026-01-04T00:00:01Z"}}}]}});
        let (name, pod): (ResourceName, Pod) =
            ("shop-agentruntime-abc123".parse().unwrap(), serde_json::from_value(pod).unwrap());
        let told = |now: &str| of_database(&name, Some(&pod), None, &[], None, now.parse().unwrap());
        assert_eq!(told("2026-01-04T00:00:03Z"), None);
        let slow = told("2026-01-04T00:00:31Z").unwrap();
        assert!(slow.code == CauseCode::DatabaseSlow && slow.message.contains("over 30 s"), "{slow:?}");
    }

    #[test]
    fn a_database_without_a_pod_is_told_of_where_the_cluster_refused_it() {
        let event = |uid: &str, reason: &str, message: &str| {
            json!({"metadata": {}, "involvedObject": {"kind": "StatefulSet", "name": "shop-agentruntime-abc123-postgresql", "uid": uid},
                "reason": reason, "message": message})
        };
        let set = |set: Value| -> Option<Set> { Set::of(&serde_json::from_value(set).unwrap()) };
        let of = |replicas: u32| {
            json!({"metadata": {"name": "shop-agentruntime-abc123-postgresql", "uid": "now"},
            "spec": {"replicas": replicas, "serviceName": "x", "selector": {}, "template": {}}})
        };
        let name: ResourceName = "shop-agentruntime-abc123".parse().unwrap();
        let text = "create Pod p-postgresql-0 in StatefulSet p-postgresql failed error: pods \"p-postgresql-0\" is forbidden: \
                    exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1";
        let told =
            |event: &Value, set: Option<Set>| refused(&name, &[Arc::new(serde_json::from_value(event.clone()).unwrap())], &set?);
        let created = event("now", "FailedCreate", text);
        for set in [set(of(1)), Some(Set::Unseen)] {
            let cause = told(&created, set).unwrap();
            assert!(cause.code == CauseCode::QuotaExceeded && cause.message.contains("the database's pod"), "{cause:?}");
        }
        let deleted = event("now", "SuccessfulDelete", "delete Pod p-postgresql-0 in StatefulSet p-postgresql successful");
        assert_eq!(told(&deleted, set(of(1))), None);
        // It was stopped since: nobody waits for its pod.
        assert_eq!(told(&created, set(of(0))), None);
        let mut leaving = of(1);
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(told(&created, set(leaving)), None);
        // It is of one that was there before.
        assert_eq!(told(&event("before", "FailedCreate", text), set(of(1))), None);
    }
}
