//! The workspace: terminal and preview side by side; while the sandbox starts, its stages in their
//! place. One page, in place: nothing is loaded when the phase changes.

use crate::{
    clock::Clock,
    components::{
        explanation::Explanation,
        frame::{self, ProjectFrame, Tab},
        icon::icon,
        preview_pane::{self, PreviewPane},
        project::{Project, VerbButton, page_title},
        splitter::Splitter,
        stage_list::StageList,
        terminal_pane::TerminalPane,
    },
    erased::on,
    live::Live,
    size,
    state::{Derived, State},
    time,
    words::{self, Verb},
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_query_map},
};
use model::{Desired, Phase, port::PreviewPort};

/// The page.
#[component]
pub fn Workspace() -> impl IntoView {
    super::of_project(Callback::new(|project| html! { <Page project/> }))
}

#[component]
fn Page(project: Project) -> impl IntoView {
    let starting = Derived::new(move || {
        let up = project.desired.get() == Desired::Running;
        up && matches!(project.phase.get(), Phase::Creating | Phase::Starting | Phase::Error)
    });
    // Held here, so that a restart keeps the port that was chosen.
    let query = use_query_map();
    let wished = query.with_untracked(|query| query.get("port")).and_then(|port| port.parse::<PreviewPort>().ok());
    let port = State::new(wished.map_or_else(preview_pane::beginning, PreviewPort::get));
    let settled = State::new(wished.is_some());
    html! {
        <Title text=page_title(project, "")/>
        <ProjectFrame project tab=Tab::Workspace>
            {move || if starting.get() { html! { <Start project/> } } else { html! { <Panes project port settled/> } }}
        </ProjectFrame>
    }
}

/// A start, or why there is none.
#[component]
fn Start(project: Project) -> impl IntoView {
    let headline = move || project.view.with(words::start_headline);
    let clock = use_context::<Clock>().unwrap_or_default();
    let local = use_context::<Live>().unwrap_or_default().local();
    let asked = move || project.view.with(|view| view.sandbox.stages.iter().filter_map(|stage| stage.started_at).min());
    let lead = move || {
        project.view.with(|view| {
            let (at, of) = (words::stage_at(&view.sandbox), view.sandbox.stages.len());
            match view.sandbox.phase {
                Phase::Error => format!("Stopped at stage {at} of {of}."),
                _ => {
                    let so_far = asked().map(|begun| format!("{} so far · ", time::elapsed(clock.fine() - time::millis(begun))));
                    let outlook = words::outlook(&view.sandbox, local);
                    format!("Stage {at} of {of} · {}{outlook}", so_far.unwrap_or_default())
                }
            }
        })
    };
    let failed = move || {
        (project.phase.get() == Phase::Error).then(|| project.cause.get()).flatten().map(|cause| {
            let stage = project.stages.with(|stages| {
                stages.iter().find(|stage| stage.state == model::StageState::Failed).map(|stage| stage.stage.title())
            });
            let lead = stage.map(|stage| format!("The start stands at {stage}. {}.", project.view.with(words::kept))).unwrap_or_default();
            html! {
                <Explanation tone="bad" title="The sandbox did not start" lead why=cause.message steps=cause.next_steps detail=cause.detail>
                    <VerbButton project verb=Verb::Restart text="Retry" kind="primary"/>
                    <VerbButton project verb=Verb::Stop text="Stop trying"/>
                    <a class="button" href=project.address("settings")>"Settings"</a>
                    <button type="button" class="button push-end" data-kind="danger" on:click=on(move |_| project.deleting.set(true))>
                        "Delete…"
                    </button>
                </Explanation>
            }
        })
    };
    let source = format!("/api/projects/{}/repository", project.id);
    let (preset, resources, database) = project.view.with_untracked(|view| (view.preset, view.sandbox.resources, view.database));
    html! {
        <div class="scroll" tabindex="0" role="group" aria-label="Start">
            <div class="page page-narrow">
                <div class="page-head">
                    <div><h2 class="headline"><bdi>{headline}</bdi></h2><p>{lead}</p></div>
                    <a class="button" href=project.address("logs?source=events")>"Logs and events"</a>
                </div>
                <div class="split-page narrow-aside">
                    <div class="stack">{failed} <StageList project/> <fsa-clone class="panel" src=source></fsa-clone></div>
                    <aside class="panel" aria-label="About this start">
                        <div class="panel-head"><h2>"This start"</h2></div>
                        <div class="panel-body">
                            <dl class="facts">
                                <div><dt>"Size"</dt><dd>{size::preset(preset)}</dd></div>
                                <div><dt>"Limits"</dt><dd>{size::resources(&resources)}</dd></div>
                                <div><dt>"Database"</dt><dd>{if database { "PostgreSQL" } else { "None" }}</dd></div>
                                <div><dt>"Begun"</dt><dd>{move || asked().map_or_else(|| "Not yet".to_owned(), time::utc)}</dd></div>
                            </dl>
                        </div>
                        <p class="panel-foot">"You can leave this page. The start goes on, and the tab’s title tells you when it is ready."</p>
                    </aside>
                </div>
            </div>
        </div>
    }
}

/// Terminal and preview.
#[component]
fn Panes(project: Project, port: State<u16>, settled: State<bool>) -> impl IntoView {
    let preview = frame::at_preview();
    let navigate = StoredValue::new(use_navigate());
    // The address says which pane is shown: links, the switcher and the way back agree.
    let switch = move |of: bool, glyph: &'static str, label: &'static str| {
        let show = move |_| {
            let address = format!("{}{}", project.address(""), if of { "#preview" } else { "" });
            let options = NavigateOptions { replace: true, scroll: false, ..NavigateOptions::default() };
            navigate.with_value(|navigate| navigate(&address, options));
        };
        html! {
            <button
                type="button"
                aria-pressed=move || if preview() == of { "true" } else { "false" }
                on:click=on(show)
            >
                {icon(glyph)} {label}
                {of.then(|| html! { <span class="count">{move || format!(" :{}", port.get())}</span> })}
            </button>
        }
    };
    html! {
        <div class="workspace" data-pane=move || if preview() { "preview" } else { "terminal" }>
            <div class="pane-switcher">
                <div class="segmented" role="group" aria-label="Pane">
                    {switch(false, "terminal", "Terminal")} {switch(true, "preview", "Preview")}
                </div>
            </div>
            <TerminalPane project/>
            <Splitter/>
            <PreviewPane project port settled/>
        </div>
    }
}
