//! The five stages of a start, each with its time so far and its limit.

use super::{
    icon::{icon, icon_of},
    project::Project,
};
use crate::{clock::Clock, state::Derived, time, words};
use leptos::prelude::*;
use model::{Stage, StageState, StageView};

/// The list. It changes in place.
#[component]
pub fn StageList(
    /// Whose start.
    project: Project,
) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    clock.run_fine();
    let items = Stage::ALL.map(|stage| html! { <Item project stage/> });
    let said = move || {
        project.stages.with(|stages| {
            words::stage_told(stages, clock.now()).map(|s| {
                format!(
                    "Stage {} of {}, {}, {}",
                    s.stage.index() + 1,
                    stages.len(),
                    s.stage.title(),
                    words::stage_state(s.state).to_lowercase()
                )
            })
        })
    };
    html! {
        <section class="panel" aria-label="Start stages">
            <ol class="stage-list" role="list">{items.into_iter().collect_view()}</ol>
            <p class="visually-hidden" role="status">{said}</p>
        </section>
    }
}

#[component]
fn Item(project: Project, stage: Stage) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    let waiting =
        StageView { stage, state: StageState::Waiting, started_at: None, ended_at: None, deadline_at: None, limit_seconds: None };
    let view = Derived::new(move || {
        project.stages.with(|stages| stages.iter().find(|s| s.stage == stage).cloned().unwrap_or_else(|| waiting.clone()))
    });
    let state = Derived::new(move || view.with(|v| v.state));
    let database = project.view.with_untracked(|v| v.database);
    let mark = move || match state.get() {
        StageState::Waiting => ().into_any(),
        StageState::Running | StageState::Late => icon_of("spin", "phase-starting"),
        StageState::Failed => icon("close"),
        StageState::Done => icon("check"),
        StageState::Skipped => icon("phase-terminated"),
    };
    let spent = move || {
        let view = view.get();
        let started = view.started_at?;
        let until = match (view.ended_at, view.state) {
            (Some(ended), _) => time::millis(ended),
            (None, StageState::Failed) => {
                let failed = project.view.with(|p| p.sandbox.changed_at);
                time::millis(view.deadline_at.map_or(failed, |deadline| deadline.min(failed)))
            }
            _ => clock.fine(),
        };
        Some(until - time::millis(started))
    };
    let limit = move || view.with(|v| v.limit_seconds);
    let spent_text = move || match state.get() {
        StageState::Waiting => String::new(),
        StageState::Skipped => String::new(),
        _ => spent().map(time::elapsed).unwrap_or_default(),
    };
    let limit_text = move || match state.get() {
        StageState::Waiting => limit().map_or_else(|| "Not started".to_owned(), |limit| format!("{limit} s at most")),
        StageState::Skipped => "Not needed".to_owned(),
        _ => limit().map(|limit| format!(" of {limit} s")).unwrap_or_default(),
    };
    let under_way = move || matches!(state.get(), StageState::Running | StageState::Late);
    let share = move || match (spent(), limit()) {
        (Some(spent), Some(limit)) if limit > 0 => format!("{}%", time::whole(spent / f64::from(limit) / 10.0).min(100)),
        _ => "0%".to_owned(),
    };
    html! {
        <li class="stage" data-state=move || state_key(state.get()) data-tone=move || words::stage_tone(state.get())>
            <span class="stage-mark">{mark}</span>
            <span class="stage-name">
                {stage.title()} <span class="visually-hidden">{move || format!(": {}", words::stage_state(state.get()))}</span>
            </span>
            <span class="stage-time">{spent_text}<small>{limit_text}</small></span>
            <p class="stage-detail">{move || words::stage_detail(stage, state.get(), database)}</p>
            <span class="meter stage-bar" style=move || format!("--value:{}", share()) hidden=move || !under_way()>
                <span></span>
            </span>
        </li>
    }
}

fn state_key(state: StageState) -> &'static str {
    match state {
        StageState::Waiting => "waiting",
        StageState::Running => "running",
        StageState::Late => "late",
        StageState::Failed => "failed",
        StageState::Done => "done",
        StageState::Skipped => "skipped",
    }
}
