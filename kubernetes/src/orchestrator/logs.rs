//! What a sandbox's containers wrote, and what happened to its objects.

use super::apply::Applier;
use crate::{
    database::kubeblocks,
    index::{events, run},
    labels::{self, Component},
    manifests::{CONTAINER, INSTALLER},
    names::POSTGRES_CONTAINER,
};
use engine::orchestrator::{LogLine, LogSource, OrchestratorError};
use futures::{AsyncBufReadExt as _, StreamExt as _, future, stream, stream::BoxStream};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use model::{ResourceName, SandboxId};
use std::{cmp::Reverse, collections::HashSet, sync::Arc};

/// How far back a container's log goes.
const LINES: i64 = 5000;

/// The log so far, and then what comes.
pub async fn logs(applier: &Applier, id: SandboxId, from: LogSource) -> Result<BoxStream<'static, LogLine>, OrchestratorError> {
    match from {
        LogSource::Sandbox => Ok(of_newest(applier, id, CONTAINER)),
        LogSource::Install => Ok(of_newest(applier, id, INSTALLER)),
        LogSource::Past => Ok(of_past(applier, id)),
        // Nothing else keeps a sandbox here than the cluster.
        LogSource::Events | LogSource::Keeper => Ok(happened(applier, id)),
        LogSource::Database => Ok(of_database(applier, id)),
    }
}

fn of_newest(applier: &Applier, id: SandboxId, container: &'static str) -> BoxStream<'static, LogLine> {
    let mut pods = applier.index.read().pods.of(id);
    pods.sort_by_key(|pod| Reverse(pod.metadata.creation_timestamp.as_ref().map(|at| at.0)));
    let Some(pod) = pods.into_iter().next() else { return stream::empty().boxed() };
    whole(applier.api(), &pod, container)
}

/// Of a container of a pod: of its run before first, where it has one.
fn whole(api: Api<Pod>, pod: &Pod, container: &'static str) -> BoxStream<'static, LogLine> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let of = |previous| read(api.clone(), name.clone(), container.to_owned(), previous);
    if status(pod, container).is_some_and(has_past) { of(true).chain(of(false)).boxed() } else { of(false) }
}

/// The status of a container, also of one that prepares the others.
fn status<'p>(pod: &'p Pod, container: &str) -> Option<&'p ContainerStatus> {
    let all = pod.status.as_ref()?;
    let lists = [&all.container_statuses, &all.init_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

/// Whether a container had a run before the one whose log there is. While it waits to be started again, that is its last.
fn has_past(status: &ContainerStatus) -> bool {
    let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    status.restart_count > 0 && !waits
}

/// Of the container's run before this one, where the kubelet has it still.
fn of_past(applier: &Applier, id: SandboxId) -> BoxStream<'static, LogLine> {
    let pods = applier.index.read().pods.of(id);
    let restarted = |pod: &&Arc<Pod>| run::container(pod).is_some_and(|status| status.restart_count > 0);
    let pod = pods.iter().find(restarted).and_then(|pod| pod.metadata.name.clone());
    pod.map_or_else(|| stream::empty().boxed(), |pod| read(applier.api(), pod, CONTAINER.to_owned(), true))
}

/// Of its project's PostgreSQL: of the pod that we made, else of the primary of an operator's, whose pods carry none
/// of our labels and are asked for by name.
fn of_database(applier: &Applier, id: SandboxId) -> BoxStream<'static, LogLine> {
    let (pod, name) = {
        let state = applier.index.read();
        let services = state.services.of(id);
        let project = services.first().and_then(|service| labels::project(&service.metadata));
        let name = services.first().and_then(|service| service.metadata.name.as_deref()?.parse::<ResourceName>().ok());
        let is = |pod: &&Arc<Pod>| {
            labels::component(&pod.metadata) == Some(Component::Database) && labels::project(&pod.metadata) == project
        };
        (project.and_then(|_| state.pods.all().find(is).cloned()), name)
    };
    let api: Api<Pod> = applier.api();
    if let Some(pod) = pod {
        return whole(api, &pod, POSTGRES_CONTAINER);
    }
    let Some(name) = name else { return stream::empty().boxed() };
    let found = async move {
        let listed = api.list(&ListParams::default().labels(&kubeblocks::pods_of(&name))).await;
        let mut pods = listed.map(|list| list.items).unwrap_or_default();
        pods.sort_by_key(|pod| !kubeblocks::leads(pod));
        pods.first().map_or_else(|| stream::empty().boxed(), |pod| whole(api, pod, POSTGRES_CONTAINER))
    };
    stream::once(found).flatten().boxed()
}

/// One container's log. One that cannot be read is a line that says so.
fn read(api: Api<Pod>, pod: String, container: String, previous: bool) -> BoxStream<'static, LogLine> {
    let params = LogParams {
        container: Some(container.clone()),
        follow: !previous,
        previous,
        timestamps: true,
        tail_lines: Some(LINES),
        ..LogParams::default()
    };
    stream::once(async move {
        match api.log_stream(&pod, &params).await {
            Ok(reader) => reader.lines().map(|line| line.map(|line| dated(&line))).boxed(),
            Err(kube::Error::Api(status)) if previous || status.code == 404 => stream::empty().boxed(),
            // A pod that needs no preparation has no such container.
            Err(kube::Error::Api(status)) if status.message.contains("is not valid for pod") => stream::empty().boxed(),
            Err(error) => {
                let text = format!("The log of `{container}` cannot be read: {error}");
                stream::once(future::ready(Ok(LogLine { at: None, text }))).boxed()
            }
        }
    })
    .flatten()
    .take_while(|line| future::ready(line.is_ok()))
    .filter_map(|line: std::io::Result<LogLine>| future::ready(line.ok()))
    .boxed()
}

/// `2026-01-02T03:04:05.678901234Z the text`.
fn dated(line: &str) -> LogLine {
    match line.split_once(' ').map(|(at, text)| (at.parse(), text)) {
        Some((Ok(at), text)) => LogLine { at: Some(at), text: text.to_owned() },
        _ => LogLine {
            at: line.parse().ok(),
            text: if line.parse::<jiff::Timestamp>().is_ok() { String::new() } else { line.to_owned() },
        },
    }
}

/// The events of its objects, oldest first, and then those that come.
fn happened(applier: &Applier, id: SandboxId) -> BoxStream<'static, LogLine> {
    let index = applier.index.clone();
    let told =
        tokio_stream::wrappers::UnboundedReceiverStream::new(index.subscribe()).filter(move |told| future::ready(*told == id));
    let mut said = HashSet::new();
    stream::once(future::ready(id))
        .chain(told)
        .map(move |_| {
            let events: Vec<Arc<Event>> = {
                let state = index.read();
                let deployments = state.deployments.of(id);
                let name = deployments.first().and_then(|live| live.metadata.name.clone()).unwrap_or_default();
                let pod = deployments.first().and_then(|live| live.spec.as_ref()).and_then(|spec| spec.template.spec.as_ref());
                state.events.of(&name, super::claims(pod).next())
            };
            let new = events.into_iter().rev().filter(|event| said.insert((event.metadata.uid.clone(), event.count)));
            stream::iter(new.map(|event| line(&event)).collect::<Vec<_>>())
        })
        .flatten()
        .boxed()
}

fn line(event: &Event) -> LogLine {
    let about = &event.involved_object;
    let text = format!(
        "{} {} {}: {}",
        about.kind.as_deref().unwrap_or_default(),
        about.name.as_deref().unwrap_or_default(),
        event.reason.as_deref().unwrap_or_default(),
        event.message.as_deref().unwrap_or_default()
    );
    LogLine { at: events::at(event), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_run_before_is_shown_once_of_whichever_container() {
        let one = |name: &str, restarts: i32, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state});
        let past = |containers: Value, inits: Value, of: &str| {
            let pod: Pod =
                serde_json::from_value(json!({"status": {"containerStatuses": containers, "initContainerStatuses": inits}}))
                    .unwrap();
            status(&pod, of).is_some_and(has_past)
        };
        let (running, waiting, over) =
            (json!({"running": {}}), json!({"waiting": {"reason": "CrashLoopBackOff"}}), json!({"terminated": {"exitCode": 1}}));
        assert!(past(json!([one(CONTAINER, 1, running.clone())]), json!([]), CONTAINER));
        assert!(past(json!([one(CONTAINER, 1, over)]), json!([]), CONTAINER));
        assert!(!past(json!([one(CONTAINER, 0, running.clone())]), json!([]), CONTAINER), "it is the first");
        assert!(!past(json!([one(CONTAINER, 2, waiting)]), json!([]), CONTAINER), "the log that there is is that one's");
        let beside = json!([one(CONTAINER, 0, json!({"waiting": {"reason": "PodInitializing"}}))]);
        assert!(past(beside.clone(), json!([one(INSTALLER, 1, running)]), INSTALLER), "one that prepares");
        assert!(!past(beside, json!([]), INSTALLER), "there is none");
    }
}
