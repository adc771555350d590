//! The list of projects.

use crate::{
    browser,
    clock::Clock,
    components::{
        frame::Frame,
        icon::{icon, icon_of},
        menu::Menu,
        phase_pill::{PhasePill, database_note},
        project::{Project, VerbItem},
        signed::Signed,
        when,
    },
    erased::{Item, Words, effect, list, on, typed_before, typing},
    live::Live,
    order::{self, Filter, Sort},
    size,
    state::{Derived, State},
    time,
    words::{self, Verb},
};
use leptos::{ev, html, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::use_navigate;
use model::{Phase, ProjectId, StageState};

const SORT: &str = "sort";

/// The page.
#[component]
pub fn Projects() -> impl IntoView {
    html! { <Signed page=Callback::new(|()| html! { <List/> })/> }
}

#[component]
fn List() -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let query = State::new(String::new());
    let filter = State::new(Filter::All);
    let sort = State::new(Sort::kept(browser::cookie(SORT).as_deref()));
    typed_before("search", query);
    let search = NodeRef::<html::Input>::new();
    let navigate = StoredValue::new(use_navigate());
    effect(move || {
        let listener = window_event_listener(ev::keydown, move |event| {
            if event.ctrl_key()
                || event.meta_key()
                || event.alt_key()
                || browser::typing()
                || browser::remembered("fsa.no-keys").is_some()
            {
                return;
            }
            if event.key().eq_ignore_ascii_case("n") {
                navigate.with_value(|navigate| navigate("/projects/new", Default::default()));
            }
        });
        on_cleanup(move || listener.remove());
    });
    let counts = Derived::new(move || {
        let all = live.all();
        Filter::ALL.map(|filter| order::tally(&all, filter))
    });
    let running = Derived::new(move || live.all().iter().filter(|p| p.sandbox.phase == Phase::Running).count());
    let shown = Derived::new(move || {
        let all = live.all();
        query.with(|query| order::arrange(&all, query, filter.get(), sort.get()))
    });
    let none = Derived::new(move || counts.get()[0] == 0);
    let tally = move || {
        let [total, _, _, attention] = counts.get();
        if total == 0 { "Nothing here yet".to_owned() } else { words::tally(total, running.get(), attention) }
    };
    let filters = Filter::ALL
        .into_iter()
        .enumerate()
        .map(|(at, of)| {
            html! {
                <button
                    type="button"
                    aria-pressed=move || if filter.get() == of { "true" } else { "false" }
                    on:click=on(move |_| filter.set(of))
                >
                    {of.label()} " " <span class="count">{move || counts.get()[at]}</span>
                </button>
            }
        })
        .collect_view();
    let sorted = move |event: ev::Event| {
        let label = event_target_value(&event);
        let chosen = Sort::named(&label);
        browser::set_cookie(SORT, Some(chosen.key()));
        sort.set(chosen);
    };
    let sorts = Sort::ALL.map(|of| html! { <option selected=move || sort.get() == of>{of.label()}</option> });
    // The server asks for the title once the page's owner is gone: then the first one counts.
    let first = counts.get_untracked();
    let title = move || {
        let attention = counts.try_get().unwrap_or(first)[3];
        if attention == 0 { "Projects".to_owned() } else { format!("Projects ({attention} in error)") }
    };
    let list = StoredValue::new(move || {
        html! {
            <div class="project-list">
                <div class="project-row project-head" aria-hidden="true">
                    <span>"Project"</span> <span>"Sandbox"</span> <span>"Database"</span> <span>"Open ports"</span> <span>"Changed"</span> <span></span>
                </div>
                <ul role="list">
                    {list(move || shown.get().into_iter().map(|id| Item::new(id, move || html! { <Row id/> })).collect())}
                </ul>
                {move || shown.with(Vec::is_empty).then(|| html! {
                    <div class="empty-state">
                        <h2>"No project matches"</h2>
                        <button
                            type="button"
                            class="button"
                            on:click=on(move |_| {
                                query.set(String::new());
                                filter.set(Filter::All);
                                if let Some(search) = search.get_untracked() {
                                    search.set_value("");
                                    drop(search.focus());
                                }
                            })
                        >
                            "Show all"
                        </button>
                    </div>
                })}
            </div>
        }
    });
    html! {
        <Title text=title/>
        <Frame here="Projects">
            <div class="page">
                <div class="page-head">
                    <div><h1>"Projects"</h1><p>{tally}</p></div>
                    <a class="button" data-kind="primary" href="/projects/new" aria-keyshortcuts="n">{icon("plus")} "New project"</a>
                </div>
                <div class="stack" hidden=move || none.get()>
                    <div class="toolbar">
                        <div class="input-group">
                            {icon("search")}
                            <input
                                class="input keyed"
                                type="search"
                                id="search"
                                placeholder="Search by name or repository"
                                aria-label="Search projects"
                                node_ref=search
                                on:input=typing(query)
                            />
                            <span class="input-affix"><kbd class="kbd">"/"</kbd></span>
                        </div>
                        <div class="segmented" role="group" aria-label="Filter by state">{filters}</div>
                        <div class="toolbar-end">
                            <span class="select">
                                <select class="input" aria-label="Sort projects" on:change=on(sorted)>{sorts.into_iter().collect_view()}</select>
                                {icon("down")}
                            </span>
                        </div>
                    </div>
                    {list.with_value(|list| list())}
                </div>
                <div class="panel" hidden=move || !none.get()>
                    <div class="empty-state">
                        <span class="empty-glyph">{icon("box")}</span>
                        <h2>"Create your first project"</h2>
                        <p>
                            "You get an isolated Linux sandbox with Claude Code in a web terminal, a PostgreSQL database next to it, and a preview URL for every port your app opens. Usually "
                            {words::ready(live.local())} "."
                        </p>
                        <a class="button" data-kind="primary" href="/projects/new">{icon("plus")} "New project"</a>
                    </div>
                </div>
            </div>
        </Frame>
    }
}

#[component]
fn Row(id: ProjectId) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let clock = use_context::<Clock>().unwrap_or_default();
    let Some(view) = untrack(|| live.find(id)) else { return ().into_any() };
    let project = Project::new(id, view);
    let address = project.address("");
    let slug = project.view.with_untracked(|view| view.slug.clone());
    let about = move || {
        project.view.with(|view| match &view.repository {
            None => size::preset(view.preset).to_owned(),
            Some(of) => format!("{} · {}", size::preset(view.preset), of.title),
        })
    };
    let sandbox = move || {
        project.view.with(|view| match (view.sandbox.phase, view.sandbox.since) {
            (Phase::Creating | Phase::Starting, _) => {
                format!("Stage {} of {}", words::stage_at(&view.sandbox), view.sandbox.stages.len())
            }
            (Phase::Error, _) => {
                let failed = view.sandbox.stages.iter().find(|stage| stage.state == StageState::Failed);
                failed.map_or_else(
                    || "Not as intended".to_owned(),
                    |stage| format!("Failed at stage {} of 5", stage.stage.index() + 1),
                )
            }
            _ if view.deleting => "Deleting everything".to_owned(),
            (_, Some(since)) => format!("for {}", when::lasting(since, clock)),
            (_, None) => words::leaving(&view.sandbox, clock.now()).unwrap_or_default(),
        })
    };
    let ports = {
        let address = address.clone();
        move || {
            let open = project.ports.get();
            if open.is_empty() {
                return html! { <span class="quiet small">"None open"</span> };
            }
            let chip = |port: u16| {
                let label = move || format!("Open port {port} of {}", project.name.get());
                html! { <a class="port-chip" href=format!("{address}?port={port}#preview") aria-label=label>":"{port}</a> }
            };
            open.iter().take(4).map(|open| chip(open.port)).collect_view().into_any()
        }
    };
    let note = {
        let address = address.clone();
        move || {
            let cause = project.cause.get()?;
            Some(html! {
                <p class="project-note">
                    {icon("warning")} <span>{cause.message} " " <a href=address.clone()>"See what to do"</a></span>
                </p>
            })
        }
    };
    let open_label = move || format!("Open the terminal of {}", project.name.get());
    let changed = move || project.view.with(|view| view.updated_at);
    let more = icon("more");
    html! {
        <li class="project-row">
            <div>
                <a class="project-name" href=address.clone()><bdi>{move || project.name.get()}</bdi></a>
                <p class="project-sub">{icon("box")}<span>{slug} " · " {about}</span></p>
            </div>
            <div><PhasePill phase=project.phase/><p class="project-sub"><span>{sandbox}</span></p></div>
            <div>{database_note(project, "state-note")}</div>
            <div class="project-ports"><span class="visually-hidden">"Open ports: "</span>{ports}</div>
            <div class="project-when soft">
                <span class="visually-hidden">"Last change "</span>
                <time datetime=move || model::time::text(changed()) title=move || time::utc(changed())>
                    {move || time::ago(changed(), clock.now())}
                </time>
            </div>
            <div class="project-actions">
                <a class="button" data-shape="icon" data-kind="quiet" data-size="small" href=address aria-label=open_label>
                    {icon_of("", "terminal")}
                </a>
                <Menu
                    name="Sandbox actions"
                    label=Words::new(move || format!("More actions for {}", project.name.get()))
                    kind="quiet"
                    shape="icon"
                    button=more
                >
                    <VerbItem project verb=Verb::Start note=words::soon(live.local())/>
                    <VerbItem project verb=Verb::Stop note="keeps files"/>
                    <VerbItem project verb=Verb::Restart note="ends what runs"/>
                    <hr role="separator"/>
                    <a role="menuitem" tabindex="-1" href=project.address("settings")>{icon("settings")} "Settings"</a>
                </Menu>
            </div>
            {note}
        </li>
    }
}
