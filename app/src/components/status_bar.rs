//! The bar at the foot of the workspace: what the sandbox uses, and since when it is as it is.

use super::{icon::icon, phase_pill::database_note, project::Project, when};
use crate::{clock::Clock, size, state::Derived, time, words};
use leptos::prelude::*;
use model::Phase;

/// The bar.
#[component]
pub fn StatusBar(
    /// Of which.
    project: Project,
) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    let resources = Derived::new(move || project.view.with(|v| v.sandbox.resources));
    let measured = Derived::new(move || project.usage.with(Option::is_some));
    let used = move |part: fn(&model::view::Usage) -> String| {
        move || project.usage.with(|usage| usage.as_ref().map(part)).unwrap_or_default()
    };
    // Drawn by `frontend/js/spark.ts`, which keeps what was.
    let spark = move |of: &'static str| {
        let value = move || {
            project.usage.with(|usage| {
                let value = usage.as_ref().map(|usage| match of {
                    "CPU" => time::whole(f64::from(usage.cpu_percent)),
                    "Memory" => usage.memory_bytes,
                    _ => usage.disk_bytes,
                });
                value.unwrap_or_default().to_string()
            })
        };
        let most = move || {
            let of_all = resources.get();
            match of {
                "CPU" => u64::from(of_all.limit_cpu_millis) / 10,
                "Memory" => of_all.limit_memory_bytes,
                _ => of_all.disk_bytes,
            }
            .to_string()
        };
        html! { <fsa-spark data-of=of data-project=project.id.to_string() data-value=value data-most=most></fsa-spark> }
    };
    let usage = move || {
        measured.get().then(|| {
            html! {
                <span class="status-item" title=move || format!("CPU, of {}", size::cpu(resources.get().limit_cpu_millis))>
                    {icon("cpu")} <span class="visually-hidden">"CPU "</span>
                    <b>{used(|usage| format!("{}%", time::whole(f64::from(usage.cpu_percent) + 0.5)))}</b>
                    {spark("CPU")}
                </span>
                <span class="status-item status-roomy">
                    {icon("memory")} <span class="visually-hidden">"Memory "</span>
                    <b>{used(|usage| size::bytes(usage.memory_bytes))}</b>
                    <span class="status-optional quiet">{move || format!("of {}", size::bytes(resources.get().limit_memory_bytes))}</span>
                    {spark("Memory")}
                </span>
                <span class="status-item status-optional">
                    {icon("disk")} <span class="visually-hidden">"Disk "</span>
                    <b>{used(|usage| size::bytes(usage.disk_bytes))}</b>
                    <span class="quiet">{move || format!("of {}", size::bytes(resources.get().disk_bytes))}</span>
                    {spark("Disk")}
                </span>
                <span class="status-item status-optional">
                    {icon("activity")} <b>{used(|usage| usage.processes.to_string())}</b> <span class="quiet">"processes"</span>
                </span>
            }
        })
    };
    let database = project.view.with_untracked(|v| v.database);
    let database = database.then(|| database_note(project, "status-item status-optional"));
    let phase = move || {
        let phase = project.phase.get();
        let since = project.view.with(|v| v.sandbox.since);
        match (phase, since) {
            (Phase::Running | Phase::Stopped | Phase::Terminated, Some(since)) => {
                format!("{} for {}", phase.label(), when::lasting(since, clock))
            }
            _ => match project.view.with(|v| words::leaving(&v.sandbox, clock.now())) {
                Some(leaving) => format!("{} · {leaving}", phase.label()),
                None => phase.label().to_owned(),
            },
        }
    };
    html! {
        <footer class="status-bar" aria-label="Sandbox status">
            {usage} {database} <span class="push-end"></span>
            <span class="status-item">{icon("clock")} {phase}</span>
        </footer>
    }
}
