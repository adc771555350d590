//! A new project: only the name is required.

use crate::{
    api, browser,
    components::{
        explanation::{Explanation, field_message},
        frame::Frame,
        icon::{icon, icon_of},
        prose::prose,
        signed::Signed,
    },
    erased::{effect, on, typed_before, typing},
    error::ControlError,
    live::Live,
    size,
    state::{Derived, State},
    time, words,
};
use leptos::task::spawn_local;
use leptos::{ev, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::use_navigate;
use model::{
    DisplayName, Slug,
    dotenv::{self, Dotenv},
    repository::NewRepository,
    resources::Preset,
    view,
};

/// The page.
#[component]
pub fn NewProject() -> impl IntoView {
    html! { <Signed page=Callback::new(|()| html! { <Page/> })/> }
}

#[component]
fn Page() -> impl IntoView {
    html! {
        <Title text="New project"/>
        <Frame here="New project">
            <div class="page page-narrow">
                <div class="page-head">
                    <div><h1>"New project"</h1><p>"Only the name is required. Size and variables can be changed later."</p></div>
                </div>
                <Form/>
            </div>
        </Frame>
    }
}

#[component]
fn Form() -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let navigate = StoredValue::new(use_navigate());
    let name = State::new(String::new());
    let touched = State::new(false);
    let refused = State::new(None::<String>);
    let preset = State::new(Preset::Medium);
    let database = State::new(true);
    let pasted = State::new(String::new());
    let busy = State::new(false);
    let failed = State::new(None::<ControlError>);
    typed_before("name", name);
    typed_before("env", pasted);
    effect(move || {
        let checked = |selector: &str| document().query_selector(selector).ok().flatten();
        if checked("#db:not(:checked)").is_some() {
            database.set(false);
        }
        for of in Preset::ALL {
            if checked(&format!("[name=size][value={}]:checked", of.as_str())).is_some() {
                preset.set(of);
            }
        }
    });
    // One key for this form: sending it twice makes one project.
    let key = StoredValue::new(String::new());
    effect(move || key.set_value(format!("{}-{}", time::whole(browser::now()), time::whole(js_sys::Math::random() * 1e15))));

    let parsed = Derived::new(move || name.with(|name| name.parse::<DisplayName>()));
    let wrong = Derived::new(move || {
        refused.get().or_else(|| parsed.get().err().filter(|_| touched.get()).map(|error| error.to_string()))
    });
    let slug = move || parsed.get().ok().map(|name| Slug::derive(&name, 0).to_string());
    let variables = Derived::new(move || pasted.with(|text| dotenv::read(text)));
    let off = move || live.offline().is_some() || busy.get();

    let submit = move || {
        touched.set(true);
        let Ok(name) = parsed.get_untracked() else {
            focus("name");
            return;
        };
        if untrack(off) {
            return;
        }
        let read = variables.get_untracked();
        let new = view::NewProject {
            name: name.as_str().to_owned(),
            database: database.get_untracked(),
            preset: preset.get_untracked(),
            env: read.set,
            repository: chosen_repository(),
        };
        busy.set(true);
        failed.set(None);
        spawn_local(async move {
            match api::create_project(new, key.get_value()).await {
                Ok(project) => {
                    let address = format!("/projects/{}", project.id);
                    live.answered(project);
                    navigate.with_value(|navigate| navigate(&address, Default::default()));
                }
                Err(error) => {
                    busy.set(false);
                    live.failed(&error);
                    if error.field.as_deref() == Some("name") {
                        refused.set(Some(error.message));
                        focus("name");
                    } else if !said_at_its_field(&error) {
                        failed.set(Some(error));
                    }
                }
            }
        });
    };
    let sizes = Preset::ALL.map(|of| {
        html! {
            <label class="choice">
                <input
                    type="radio"
                    name="size"
                    value=of.as_str()
                    checked=of == Preset::Medium
                    on:change=on(move |_| preset.set(of))
                />
                <span class="choice-name">{size::preset(of)}</span>
                <small>{size::resources(&live.size(of))}</small>
            </label>
        }
    });
    html! {
        <form
            class="split-page new-project"
            novalidate
            on:submit=on(move |event: ev::SubmitEvent| {
                event.prevent_default();
                submit();
            })
        >
            <div>
                {move || failed.get().map(|error| html! {
                    <Explanation tone="bad" title="The project was not created" lead="" why=error.message steps=error.next_steps/>
                })}
                <section class="form-section" aria-labelledby="s-name">
                    <header><h2 id="s-name">"Name"</h2><p>"Any text. Addresses are derived from it."</p></header>
                    <div class="field">
                        <label class="field-label" for="name">"Project name"</label>
                        <input
                            class="input"
                            id="name"
                            dir="auto"
                            autocomplete="off"
                            spellcheck="false"
                            aria-required="true"
                            aria-describedby="name-hint name-wrong"
                            aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                            on:input=on(move |event: ev::Event| {
                                name.set(event_target_value(&event));
                                refused.set(None);
                            })
                            on:change=on(move |_| touched.set(true))
                        />
                        <p class="field-hint" id="name-hint">
                            {move || slug().map_or_else(
                                || "1 to 300 characters".to_owned(),
                                |slug| format!("Called {slug} in addresses, or {slug} with a number where that is taken · {} of 300 characters", name.with(|name| name.trim().chars().count())),
                            )}
                        </p>
                        {field_message("name-wrong", move || wrong.get())}
                    </div>
                </section>
                <section class="form-section" aria-labelledby="s-repository">
                    <header><h2 id="s-repository">"Repository"</h2><p>"Cloned when the sandbox is up. Without one, it starts empty."</p></header>
                    <fsa-repository class="stack"></fsa-repository>
                </section>
                <section class="form-section" aria-labelledby="s-size">
                    <header><h2 id="s-size">"Size"</h2><p>{move || size::purpose(preset.get(), &live.size(preset.get()))}</p></header>
                    <fieldset>
                        <legend class="visually-hidden">"Size"</legend>
                        <div class="choice-grid">{sizes.into_iter().collect_view()}</div>
                    </fieldset>
                </section>
                <section class="form-section" aria-labelledby="s-db">
                    <header><h2 id="s-db">"Database"</h2><p>"Its address arrives as " <code>"DATABASE_URL"</code> "."</p></header>
                    <div class="switch-row">
                        <label for="db">"PostgreSQL next to the sandbox"</label>
                        <input class="switch" type="checkbox" role="switch" id="db" checked on:change=on(move |event: ev::Event| database.set(event_target_checked(&event)))/>
                    </div>
                </section>
                <section class="form-section" aria-labelledby="s-env">
                    <header><h2 id="s-env">"Environment"</h2><p>"Values are encrypted. Nothing is sent until you create."</p></header>
                    <div class="field">
                        <label class="field-label" for="env">"Paste a .env " <span class="field-optional">"optional"</span></label>
                        <textarea class="input mono" id="env" spellcheck="false" autocomplete="off" rows="5" aria-describedby="env-read" on:input=typing(pasted)></textarea>
                        <div id="env-read" class="stack stack-tight" role="status">
                            {move || variables.with(read_view)}
                        </div>
                    </div>
                </section>
            </div>
            <aside class="panel sticky-side" aria-label="Summary">
                <div class="panel-head"><h2>"You will get"</h2></div>
                <div class="panel-body stack">
                    <dl class="facts">
                        <div><dt>"Sandbox"</dt><dd>{move || size::cpu(live.size(preset.get()).limit_cpu_millis)} ", " {move || size::bytes(live.size(preset.get()).limit_memory_bytes)}</dd></div>
                        <div><dt>"Disk"</dt><dd>{move || size::bytes(live.size(preset.get()).disk_bytes)}</dd></div>
                        <div><dt>"Database"</dt><dd>{move || if database.get() { "PostgreSQL" } else { "None" }}</dd></div>
                        <div><dt>"Variables"</dt><dd>{move || variables.with(|read| read.set.len())}</dd></div>
                    </dl>
                    <div class="stack stack-tight">
                        <button
                            class="button"
                            data-kind="primary"
                            aria-disabled=move || off().then_some("true")
                            aria-busy=move || busy.get().then_some("true")
                            title=move || live.offline()
                        >
                            {move || if busy.get() { "Creating…" } else { "Create project" }}
                            <kbd class="kbd hide-narrow">"Ctrl"</kbd> <kbd class="kbd hide-narrow">"Enter"</kbd>
                        </button>
                        <a class="button" data-kind="quiet" href="/">"Cancel"</a>
                    </div>
                    <p class="quiet small">"Usually " {words::ready(live.local())} "."</p>
                </div>
            </aside>
        </form>
    }
}

/// What the element `fsa-repository` holds. A branch without an address, and a depth that is no number, are sent as such:
/// the server refuses them, and nothing that was typed is left out without a word.
fn chosen_repository() -> Option<NewRepository> {
    let element = document().query_selector("fsa-repository").ok()??;
    let [url, branch, depth] = ["url", "branch", "depth"].map(|name| element.get_attribute(name));
    if url.is_none() && branch.is_none() && depth.is_none() {
        return None;
    }
    let depth = depth.map(|depth| depth.parse().unwrap_or_default());
    Some(NewRepository { url: url.unwrap_or_default(), branch, depth })
}

/// Has the field that an error is about say it, where the form has that field (`frontend/js/refused.ts`).
fn said_at_its_field(error: &ControlError) -> bool {
    let Some(field) = error.field.as_deref().and_then(|id| document().get_element_by_id(id)) else { return false };
    let why = format!("{} {}", error.message, error.next_steps.join(" "));
    browser::call(&field, "setCustomValidity", &[why.into()]);
    browser::call(&field, "checkValidity", &[]);
    true
}

fn focus(id: &str) {
    if let Some(field) = document().get_element_by_id(id) {
        browser::call(&field, "focus", &[]);
    }
}

/// What was read, in words.
pub fn read_view(read: &Dotenv) -> AnyView {
    let skipped = read
        .skipped
        .iter()
        .take(5)
        .map(|(line, why)| {
            html! {
                <p class="field-message" data-tone="warn">
                    {icon_of("", "warning")} <span>{prose(&format!("Line {line} is skipped: {why}"))}</span>
                </p>
            }
        })
        .collect_view();
    let count = (!read.set.is_empty()).then(|| {
        html! { <p class="field-hint">{icon("check")} {words::count(read.set.len(), "variable read", "variables read")}</p> }
    });
    html! { {count} {skipped} }
}
