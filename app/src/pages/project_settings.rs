//! A project's settings: name, size, and the danger zone last.

use crate::{
    api,
    components::{
        explanation::field_message,
        frame::{ProjectFrame, Tab},
        icon::icon,
        project::{Project, VerbButton, page_title},
        toast::Toasts,
    },
    erased::{on, typed_before, typing},
    live::Live,
    size,
    state::{Derived, State},
    time,
    words::Verb,
};
use leptos::task::spawn_local;
use leptos::{ev, prelude::*};
use leptos_meta::Title;
use model::{Desired, DisplayName, resources::Preset, view::ProjectPatch};

/// The page.
#[component]
pub fn ProjectSettings() -> impl IntoView {
    super::of_project(Callback::new(|project| html! { <Page project/> }))
}

#[component]
fn Page(project: Project) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let (slug, created) = project.view.with_untracked(|view| (view.slug.clone(), view.created_at));
    let sandbox = project.view.with_untracked(|view| view.sandbox.name.clone());
    let database = project.view.with_untracked(|view| view.database);
    let keeps = if database { "Its files and its database stay." } else { "Its files stay." };
    // Of an extra sandbox, `<fsa-extra>` has what is not its project's.
    let extra = project.view.with_untracked(|view| view.extra_of.is_some());
    let own = move |part: &'static str| html! { <fsa-extra class="setting" data-project=project.id.to_string() data-part=part></fsa-extra> };
    let all = if database { "Sandbox, files, database and variables." } else { "Sandbox, files and variables." };
    html! {
        <Title text=page_title(project, "Settings")/>
        <ProjectFrame project tab=Tab::Settings>
            <div class="page page-narrow">
                <div class="page-head"><div><h1>"Settings"</h1><p>"Of " <bdi>{move || project.name.get()}</bdi></p></div>
                    <a class="button" data-size="small" href=format!("/doctor?project={}", project.id) rel="external" data-operator hidden>"Doctor"</a>
                </div>
                <section class="panel" aria-labelledby="name-title">
                    <div class="panel-head"><h2 id="name-title">"Name"</h2></div>
                    {if extra { own("name") } else { html! { <Rename project/> } }}
                    <div class="setting"><div><h3>"Addresses"</h3><p>"They begin with " <code>{sandbox}</code> " and stay when the name changes."</p></div></div>
                    <div class="setting">
                        <div><h3>"Created"</h3><p>{time::utc(created)} " as " <code>{slug}</code></p></div>
                    </div>
                </section>
                <section class="panel" id="resources" aria-labelledby="size-title">
                    <div class="panel-head"><h2 id="size-title">"Size"</h2></div>
                    <Resize project/>
                </section>
                <fsa-shares class="panel" id="shares" data-project=project.id.to_string()></fsa-shares>
                <section class="panel" data-tone="bad" id="danger" aria-labelledby="danger-title">
                    <div class="panel-head"><h2 id="danger-title">"Danger zone"</h2></div>
                    <div class="setting">
                        <div><h3>"Stop the sandbox"</h3><p>"Ends its processes. " {keeps}</p></div>
                        <VerbButton project verb=Verb::Stop size="small"/>
                    </div>
                    <div class="setting">
                        <div><h3>"Terminate the sandbox"</h3><p>"Removes its processes, network and addresses. " {keeps}</p></div>
                        <VerbButton project verb=Verb::Terminate kind="danger" size="small"/>
                    </div>
                    {if extra { own("removal") } else { html! {
                        <div class="setting">
                            <div><h3>"Delete everything"</h3><p>{all} " You will be asked to type the name."</p></div>
                            <button
                                type="button"
                                class="button"
                                data-kind="danger"
                                data-size="small"
                                aria-disabled=move || live.offline().is_some().then_some("true")
                                title=move || live.offline()
                                on:click=on(move |_| if live.offline().is_none() { project.deleting.set(true) })
                            >
                                {icon("trash")} "Delete project…"
                            </button>
                        </div>
                    } }}
                </section>
            </div>
        </ProjectFrame>
    }
}

/// Optimistic: the name is shown at once, and put back with the reason if it is refused.
#[component]
fn Rename(project: Project) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let name = State::new(project.name.get_untracked());
    let wrong = State::new(None::<String>);
    typed_before("rename", name);
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        let wished = match name.get_untracked().parse::<DisplayName>() {
            Ok(wished) => wished.as_str().to_owned(),
            Err(error) => return wrong.set(Some(error.to_string())),
        };
        wrong.set(None);
        let before = project.name.get_untracked();
        if wished == before {
            return;
        }
        project.view.update(|view| view.name.clone_from(&wished));
        spawn_local(async move {
            match api::update_project(project.id, ProjectPatch { name: Some(wished), preset: None }).await {
                Ok(view) => {
                    live.answered(view);
                    toasts.done("Renamed", "Addresses stay as they are.");
                }
                Err(error) => {
                    live.failed(&error);
                    project.view.update(|view| view.name = before);
                    wrong.set(Some(error.message));
                }
            }
        });
    };
    html! {
        <form class="setting" novalidate on:submit=on(submit)>
            <div class="field">
                <label class="field-label" for="rename">"Project name"</label>
                <input
                    class="input"
                    id="rename"
                    dir="auto"
                    autocomplete="off"
                    spellcheck="false"
                    aria-describedby="rename-wrong"
                    aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                    value=name.get_untracked() on:input=typing(name)
                />
                {field_message("rename-wrong", move || wrong.get())}
            </div>
            <button class="button" data-size="small" data-asks>"Rename"</button>
        </form>
    }
}

#[component]
fn Resize(project: Project) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let preset = Derived::new(move || project.view.with(|view| view.preset));
    let first = preset.get_untracked();
    let wished = State::new(first);
    let busy = State::new(false);
    // It ends what runs in every shell: so it is asked for by a button that says so, and not by the choice alone.
    let up = Derived::new(move || project.view.with(|view| view.sandbox.desired == Desired::Running));
    let apply = move |event: ev::SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        spawn_local(async move {
            match api::update_project(project.id, ProjectPatch { name: None, preset: Some(wished.get_untracked()) }).await {
                Ok(view) => {
                    let detail = if view.sandbox.desired == Desired::Running {
                        "The sandbox goes on in a new run of that size."
                    } else {
                        "It holds from the next start."
                    };
                    toasts.done(format!("Size is {}", size::preset(view.preset)), detail);
                    live.answered(view);
                }
                Err(error) => {
                    live.failed(&error);
                    toasts.refused("The size was not changed", &error);
                }
            }
            busy.set(false);
        });
    };
    let choices = Preset::ALL.map(|of| {
        html! {
            <label class="choice">
                <input
                    type="radio"
                    name="size"
                    value=of.as_str()
                    checked=of == first
                    prop:checked=move || wished.get() == of
                    on:change=on(move |_| wished.set(of))
                />
                <span class="choice-name">{size::preset(of)}</span>
                <small>{size::resources(&live.size(of))}</small>
            </label>
        }
    });
    html! {
        <form class="panel-body stack stack-tight" on:submit=on(apply)>
            <fieldset>
                <legend class="visually-hidden">"Size"</legend>
                <div class="choice-grid">{choices.into_iter().collect_view()}</div>
            </fieldset>
            <p class="field-hint" id="size-hint">
                {move || size::purpose(wished.get(), &live.size(wished.get()))}
                {move || if up.get() { " The sandbox restarts in a new size: its shells end, files and database stay." } else { " A new size holds from the next start." }}
            </p>
            <button class="button" data-size="small" data-asks data-verb="Resize" aria-describedby="size-hint" disabled=move || busy.get() || wished.get() == preset.get()>
                {move || if up.get() { "Change size and restart" } else { "Change size" }}
            </button>
        </form>
    }
}
