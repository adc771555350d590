//! What a sandbox's containers wrote, and what happened to its objects.

use super::apply::Applier;
use crate::{
    causes,
    index::{events, run},
    labels::{self, Component},
    manifests::{CONTAINER, INSTALLER},
};
use engine::orchestrator::{LogLine, LogSource, OrchestratorError};
use futures::{AsyncBufReadExt as _, StreamExt as _, future, stream, stream::BoxStream};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use model::SandboxId;
use std::{cmp::Reverse, collections::HashSet, sync::Arc};

/// How far back a container's log goes.
const LINES: i64 = 5000;

/// The log so far, and then what comes.
pub async fn logs(applier: &Applier, id: SandboxId, from: LogSource) -> Result<BoxStream<'static, LogLine>, OrchestratorError> {
    Ok(match from {
        LogSource::Sandbox => {
            newest(applier, id).map_or_else(nothing, |(pod, _)| read(applier.api(), pod, Some(CONTAINER), false))
        }
        LogSource::Past => match newest(applier, id) {
            Some((pod, true)) => read(applier.api(), pod, Some(CONTAINER), true),
            _ => nothing(),
        },
        LogSource::Install => {
            newest(applier, id).map_or_else(nothing, |(pod, _)| read(applier.api(), pod, Some(INSTALLER), false))
        }
        LogSource::Events => happened(applier, id),
        LogSource::Database => of_database(applier, id).await?,
        LogSource::Keeper => nothing(),
    })
}

fn nothing() -> BoxStream<'static, LogLine> {
    stream::empty().boxed()
}

/// Its newest pod, and whether the container of that ran before.
fn newest(applier: &Applier, id: SandboxId) -> Option<(String, bool)> {
    let mut pods = applier.index.read().pods.of(id);
    pods.sort_by_key(|pod| Reverse(pod.metadata.creation_timestamp.as_ref().map(|at| at.0)));
    let pod = pods.into_iter().next()?;
    let restarted = run::container(&pod).is_some_and(|status| status.restart_count > 0);
    Some((pod.metadata.name.clone()?, restarted))
}

/// Of the pods of the database that goes with it: ours, or KubeBlocks'.
async fn of_database(applier: &Applier, id: SandboxId) -> Result<BoxStream<'static, LogLine>, OrchestratorError> {
    let name = applier.index.read().deployments.of(id).first().and_then(|live| live.metadata.name.clone());
    let Some(name) = name else { return Ok(nothing()) };
    let selectors = [
        format!("{}={name},{}={}", labels::MANAGER, labels::COMPONENT, Component::Database.as_str()),
        format!("app.kubernetes.io/instance={name},app.kubernetes.io/managed-by=kubeblocks"),
    ];
    for selector in selectors {
        let found = applier.api::<Pod>().list_metadata(&ListParams::default().labels(&selector)).await;
        let found = found.map_err(|error| OrchestratorError::Caused(causes::of_error(&error, "look for the database's pods")))?;
        let pods: Vec<String> = found.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
        if !pods.is_empty() {
            return Ok(stream::select_all(pods.into_iter().map(|pod| read(applier.api(), pod, None, false))).boxed());
        }
    }
    Ok(nothing())
}

/// One container's log. One that cannot be read is a line that says so.
fn read(api: Api<Pod>, pod: String, container: Option<&'static str>, previous: bool) -> BoxStream<'static, LogLine> {
    let params = LogParams {
        container: container.map(str::to_owned),
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
            Err(error) => {
                let text = format!("The log of `{pod}` cannot be read: {error}");
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
