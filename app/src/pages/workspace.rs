//! The workspace: terminal and preview side by side; while the sandbox starts, its stages in their
//! place. One page, in place: nothing is loaded when the phase changes.

use crate::{
    browser,
    components::{
        explanation::Explanation,
        frame::{ProjectFrame, Tab},
        icon::icon,
        preview_pane::{self, PreviewPane},
        project::{Project, VerbButton, page_title},
        splitter::Splitter,
        stage_list::StageList,
        terminal_pane::TerminalPane,
    },
    erased::{effect, on},
    size,
    state::{Derived, State},
    time,
    words::{self, Verb},
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_query_map};
use model::{Desired, Phase};

const SHARE: &str = "fsa.preview-share";

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
    html! {
        <Title text=page_title(project, "")/>
        <ProjectFrame project tab=Tab::Workspace>
            {move || if starting.get() { html! { <Start project/> } } else { html! { <Panes project/> } }}
        </ProjectFrame>
    }
}

/// A start, or why there is none.
#[component]
fn Start(project: Project) -> impl IntoView {
    let headline = move || project.view.with(words::start_headline);
    let lead = move || {
        project.view.with(|view| {
            let (at, of) = (words::stage_at(&view.sandbox), view.sandbox.stages.len());
            match view.sandbox.phase {
                Phase::Error => format!("Stopped at stage {at} of {of}. It goes on by itself as soon as it can."),
                _ => format!("Stage {at} of {of} · usually ready in under a second"),
            }
        })
    };
    let failed = move || {
        (project.phase.get() == Phase::Error).then(|| project.cause.get()).flatten().map(|cause| {
            let stage = project.stages.with(|stages| {
                stages.iter().find(|stage| stage.state == model::StageState::Failed).map(|stage| stage.stage.title())
            });
            let lead = stage.map(|stage| format!("The start stands at {stage}. Your files and your database are kept.")).unwrap_or_default();
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
    let (preset, resources, database) = project.view.with_untracked(|view| (view.preset, view.sandbox.resources, view.database));
    let asked = move || project.view.with(|view| view.sandbox.stages.iter().filter_map(|stage| stage.started_at).min());
    html! {
        <div class="scroll">
            <div class="page page-narrow">
                <div class="page-head"><div><h2 class="headline"><bdi>{headline}</bdi></h2><p>{lead}</p></div></div>
                <div class="split-page narrow-aside">
                    <div class="stack">{failed} <StageList project/></div>
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
fn Panes(project: Project) -> impl IntoView {
    let location = use_location();
    let query = use_query_map();
    let share = State::new(420);
    let pane = State::new("terminal");
    let wished = query.with_untracked(|query| query.get("port")).and_then(|port| port.parse().ok());
    let port = State::new(wished.unwrap_or_else(preview_pane::beginning));
    effect(move || {
        if let Some(kept) = browser::remembered(SHARE).and_then(|share| share.parse::<i32>().ok()) {
            share.set(kept.clamp(200, 750));
        }
    });
    effect(move || pane.set(if location.hash.get() == "#preview" { "preview" } else { "terminal" }));
    let kept = Callback::new(|share: i32| browser::remember(SHARE, Some(&share.to_string())));
    let switch = move |of: &'static str, glyph: &'static str, label: &'static str| {
        html! {
            <button
                type="button"
                aria-pressed=move || if pane.get() == of { "true" } else { "false" }
                on:click=on(move |_| pane.set(of))
            >
                {icon(glyph)} {label}
                {(of == "preview").then(|| html! { <span class="count">{move || format!(" :{}", port.get())}</span> })}
            </button>
        }
    };
    html! {
        <div class="workspace" data-pane=move || pane.get() style=move || format!("--preview-share:{}.{}%", share.get() / 10, share.get() % 10)>
            <div class="pane-switcher">
                <div class="segmented" role="group" aria-label="Pane">
                    {switch("terminal", "terminal", "Terminal")} {switch("preview", "preview", "Preview")}
                </div>
            </div>
            <TerminalPane project/>
            <Splitter share kept/>
            <PreviewPane project port/>
        </div>
    }
}
