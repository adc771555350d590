//! The project's variables. Values are write-only; a change waits for a restart.

use super::new_project::read_view;
use crate::{
    api, browser,
    clock::Clock,
    components::{
        dialog::{Confirm, Dialog},
        explanation::{Explanation, field_message},
        frame::{ProjectFrame, Tab},
        icon::icon,
        project::{Project, VerbButton, page_title},
        toast::Toasts,
    },
    erased::{Item, Words, effect, later, list, on, typing},
    live::Live,
    load::{self, Load, Loaded, What},
    size,
    state::{Derived, State},
    time,
    words::{self, Verb},
};
use leptos::task::spawn_local;
use leptos::{ev, prelude::*};
use leptos_meta::Title;
use model::{
    Phase, dotenv,
    env::EnvKey,
    view::{ChangeKind, EnvChange, EnvSource, EnvVariable, EnvView, PendingChange},
};

/// The page.
#[component]
pub fn Environment() -> impl IntoView {
    let id = super::project_id();
    let what = Signal::derive(move || id.get().map_or(What::Nothing, What::Env));
    let env = load::load(what);
    super::of_project(Callback::new(move |project| html! { <Page project env/> }))
}

#[component]
fn Page(project: Project, env: Load) -> impl IntoView {
    html! {
        <Title text=page_title(project, "Environment")/>
        <ProjectFrame project tab=Tab::Environment>
            <div class="page">
                <Suspense fallback=|| html! { <div class="page-head"><h1>"Environment"</h1></div><div class="panel panel-body loading"><span class="skeleton"></span></div> }>
                    {move || Suspend::new(async move {
                        match env.await {
                            Ok(Loaded::Env(env)) => html! { <Variables project env/> },
                            Ok(_) => ().into_any(),
                            Err(error) => html! {
                                <h1>"Environment"</h1>
                                <Explanation tone="bad" title="The variables could not be loaded" lead="" why=error.message steps=error.next_steps/>
                            },
                        }
                    })}
                </Suspense>
            </div>
        </ProjectFrame>
    }
}

/// The form that adds a variable, or replaces the value of one.
#[derive(Clone, Copy)]
struct Form {
    open: State<bool>,
    /// Whether the name stays.
    replaces: State<bool>,
    key: State<String>,
    value: State<String>,
    /// Of the name.
    wrong_key: State<Option<String>>,
    /// Of the rest.
    wrong: State<Option<String>>,
}

impl Form {
    fn new() -> Self {
        Self {
            open: State::new(false),
            replaces: State::new(false),
            key: State::default(),
            value: State::default(),
            wrong_key: State::default(),
            wrong: State::default(),
        }
    }

    /// Opens it, for a new variable or for one that is there.
    fn open(self, key: Option<String>) {
        self.replaces.set(key.is_some());
        self.key.set(key.unwrap_or_default());
        self.value.set(String::new());
        self.wrong_key.set(None);
        self.wrong.set(None);
        self.open.set(true);
    }
}

#[component]
fn Variables(project: Project, env: EnvView) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let env = State::new(env);
    let form = Form::new();
    let pasting = State::new(false);
    // What the sandbox runs with changes with its runs: then it is asked anew.
    let run = Derived::new(move || project.view.with(|view| (view.sandbox.restart_pending, view.sandbox.generation)));
    later(
        move || run.with(|_| ()),
        move || {
            spawn_local(async move {
                if let Ok(Loaded::Env(fresh)) = api::load(What::Env(project.id)).await {
                    env.set(fresh);
                }
            });
        },
    );
    let gone = State::new(None::<String>);
    let saving = State::new(false);
    let change = Callback::new(move |(change, done, text): (EnvChange, String, State<Option<String>>)| {
        if saving.get_untracked() {
            return;
        }
        saving.set(true);
        spawn_local(async move {
            let answer = api::change_env(project.id, change).await;
            saving.set(false);
            match answer {
                Ok(fresh) => {
                    env.set(fresh);
                    gone.set(None);
                    form.open.set(false);
                    pasting.set(false);
                    toasts.done(done, "It takes effect at the next start or restart.");
                }
                Err(error) => {
                    live.failed(&error);
                    text.set(Some(error.message));
                }
            }
        });
    });
    let removing = State::new(false);
    let removed = State::new(String::new());
    let ask = Callback::new(move |key: String| {
        removed.set(key);
        removing.set(true);
    });
    let remove = Callback::new(move |()| {
        let key = removed.get_untracked();
        browser::focus_next("#add-variable");
        let done = format!("{key} removed");
        change.run((EnvChange { remove: vec![key], ..EnvChange::default() }, done, gone));
    });
    let edit = Callback::new(move |key: String| form.open(Some(key)));
    let rows = move || {
        let row = |variable: &EnvVariable| {
            let variable = variable.clone();
            let at = variable.updated_at.map(time::millis).map(time::whole);
            let key = format!("{} {} {} {at:?}", variable.key, variable.bytes, variable.pending);
            Item::new(key, move || html! { <Row variable edit remove=ask/> })
        };
        env.with(|env| env.variables.iter().map(row).collect())
    };
    html! {
        <div class="page-head">
            <div><h1>"Environment"</h1><p>"Variables that the sandbox starts with. Values are encrypted and cannot be read back here."</p></div>
            <div class="row">
                <button type="button" class="button" on:click=on(move |_| pasting.set(true))>{icon("upload")} "Paste .env"</button>
                <button type="button" class="button" id="add-variable" data-kind="primary" on:click=on(move |_| form.open(None))>
                    {icon("plus")} "Add variable"
                </button>
            </div>
        </div>
        <Pending project env/>
        {field_message("env-refused", move || gone.get())}
        <fsa-filter class="toolbar"></fsa-filter>
        <div class="panel">
            <table class="data-table" role="table">
                <caption class="visually-hidden">"Environment variables"</caption>
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col">"Name"</th>
                        <th role="columnheader" scope="col">"Value"</th>
                        <th role="columnheader" scope="col">"Source"</th>
                        <th role="columnheader" scope="col">"Changed"</th>
                        <th role="columnheader" scope="col"><span class="visually-hidden">"Actions"</span></th>
                    </tr>
                </thead>
                <tbody role="rowgroup">
                    {list(rows)}
                </tbody>
            </table>
            {move || env.with(|env| env.variables.is_empty()).then(|| html! {
                <div class="empty-state"><h2>"No variables yet"</h2><p>"Add one, or paste a .env file."</p></div>
            })}
        </div>
        <EditDialog form change saving/>
        <PasteDialog env pasting change saving/>
        <Confirm
            open=removing
            title="remove-title"
            heading=Words::new(move || format!("Remove {}?", removed.get()))
            text="Its value cannot be read back. The running sandbox keeps it until a restart.".into()
            keep="Keep it"
            act="Remove it"
            run=remove
        />
    }
}

/// What waits for a restart.
#[component]
fn Pending(project: Project, env: State<EnvView>) -> impl IntoView {
    let waiting = Derived::new(move || {
        let keys = env.with(what_changes);
        let differs = project.restart_pending.get() && project.phase.get() == Phase::Running;
        differs.then_some(keys)
    });
    move || {
        waiting.get().map(|keys| {
            let title = if keys.is_empty() {
                "Changes wait for a restart".to_owned()
            } else {
                format!("{} for a restart", words::count(keys.len(), "change waits", "changes wait"))
            };
            let lines: String = keys.iter().map(|line| format!("{line}\n")).collect();
            html! {
                <section class="explanation" data-tone="warn" aria-labelledby="pending">
                    <div class="explanation-head wrap">
                        {icon("phase-updating")}
                        <div class="grow">
                            <h2 id="pending">{title}</h2>
                            <p>"The sandbox still runs with the old ones. A restart ends what runs in it; terminals open anew."</p>
                        </div>
                        <VerbButton project verb=Verb::Restart text="Restart now" kind="primary" size="small"/>
                    </div>
                    {(!keys.is_empty()).then(|| html! {
                        <details class="fold" open>
                            <summary>{icon("right")} "What will change: + added, ~ changed, - removed"</summary>
                            <pre class="code-block"><code>{lines}</code></pre>
                        </details>
                    })}
                </section>
            }
        })
    }
}

/// What a restart would change, a line a variable: "+ ADDED", "~ CHANGED", "- REMOVED".
fn what_changes(env: &EnvView) -> Vec<String> {
    if env.changes.is_empty() {
        return env.variables.iter().filter(|v| v.pending).map(|v| format!("~ {}", v.key)).collect();
    }
    let line = |change: &PendingChange| {
        let sign = match change.change {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        format!("{sign} {}", change.key)
    };
    env.changes.iter().map(line).collect()
}

#[component]
fn Row(variable: EnvVariable, edit: Callback<String>, remove: Callback<String>) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    let live = use_context::<Live>().unwrap_or_default();
    let (tone, glyph, source) = match variable.source {
        EnvSource::Project => ("info", "user", "Project"),
        EnvSource::Request => ("info", "user", "Request"),
        EnvSource::Operator => ("neutral", "server", "Operator"),
        EnvSource::Account => ("info", "user", "Account"),
        EnvSource::System => ("neutral", "server", "System"),
    };
    let own = variable.source == EnvSource::Project;
    let changed = match variable.updated_at {
        Some(at) => html! {
            <time datetime=model::time::text(at) title=time::utc(at)>{move || time::ago(at, clock.now())}</time>
        },
        None => html! { <span class="quiet">"with the sandbox"</span> },
    };
    let off = move || live.offline().is_some().then_some("true");
    let tool = move |label: String, glyph: &'static str, key: String, act: Callback<String>| {
        html! {
            <button
                type="button"
                class="button"
                data-shape="icon"
                data-kind="quiet"
                data-size="small"
                aria-label=label.clone()
                title=label
                data-asks
                aria-disabled=off
                on:click=on(move |_| if live.offline().is_none() { act.run(key.clone()) })
            >
                {icon(glyph)}
            </button>
        }
    };
    let key = variable.key.clone();
    let tools = if own {
        html! {
            {tool(format!("Replace {key}"), "edit", key.clone(), edit)} {tool(format!("Remove {key}"), "trash", key.clone(), remove)}
        }
    } else {
        html! {
            <span class="button locked" data-kind="quiet" data-shape="icon" data-size="small" title="Not set here: its source says where">
                {icon("lock")} <span class="visually-hidden">"Not set here: its source says where"</span>
            </span>
        }
    };
    let bytes = size::bytes(u64::try_from(variable.bytes).unwrap_or_default());
    html! {
        <tr role="row">
            <td role="cell">
                <span class="row"><code><b>{variable.key}</b></code> {variable.pending.then(|| html! { <span class="tag" data-tone="warn">"waits for restart"</span> })}</span>
            </td>
            <td role="cell" data-label="Value"><span><span class="masked" aria-hidden="true">"••••••••"</span> <span class="quiet small">{bytes}</span></span></td>
            <td role="cell" data-label="Source"><span><span class="tag" data-tone=tone>{icon(glyph)} {source}</span></span></td>
            <td role="cell" data-label="Changed"><span>{changed}</span></td>
            <td role="cell" class="actions"><div class="row">{tools}</div></td>
        </tr>
    }
}

type Change = Callback<(EnvChange, String, State<Option<String>>)>;

/// Adds a variable, or replaces one's value.
#[component]
fn EditDialog(form: Form, change: Change, saving: State<bool>) -> impl IntoView {
    let Form { open, replaces, key, value, wrong_key, wrong } = form;
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        let name = key.get_untracked().trim().to_owned();
        match name.parse::<EnvKey>() {
            Ok(_) => {
                wrong_key.set(None);
                let set = [(name.clone(), value.get_untracked())].into();
                change.run((EnvChange { set, ..EnvChange::default() }, format!("{name} saved"), wrong));
            }
            Err(error) => {
                wrong_key.set(Some(error.to_string()));
                browser::focus_next("#env-key");
            }
        }
    };
    let heading =
        Words::new(move || if replaces.get() { format!("Replace {}", key.get_untracked()) } else { "Add a variable".to_owned() });
    html! {
        <Dialog open title="edit-title" heading>
            <form novalidate on:submit=on(submit)>
                <div class="dialog-body">
                    <div class="field" hidden=move || replaces.get()>
                        <label class="field-label" for="env-key">"Name"</label>
                        <input
                            class="input mono"
                            id="env-key"
                            autocomplete="off"
                            spellcheck="false"
                            placeholder="API_KEY"
                            aria-describedby="env-key-wrong"
                            aria-invalid=move || wrong_key.with(Option::is_some).then_some("true")
                            autofocus=move || !replaces.get()
                            prop:value=move || key.get() on:input=typing(key)
                        />
                        {field_message("env-key-wrong", move || wrong_key.get())}
                    </div>
                    <div class="field">
                        <label class="field-label" for="env-value">"Value"</label>
                        <textarea
                            class="input mono"
                            id="env-value"
                            rows="3"
                            autocomplete="off"
                            spellcheck="false"
                            aria-describedby="env-value-hint env-wrong"
                            aria-invalid=move || wrong.with(Option::is_some).then_some("true")
                            autofocus=move || replaces.get()
                            prop:value=move || value.get() on:input=typing(value)
                        ></textarea>
                        <p class="field-hint" id="env-value-hint">"It is encrypted and cannot be read back. Lines may be several."</p>
                        {field_message("env-wrong", move || wrong.get())}
                    </div>
                </div>
                <div class="dialog-foot">
                    <button type="button" class="button" on:click=on(move |_| open.set(false))>"Cancel"</button>
                    <button class="button" data-kind="primary" data-asks aria-busy=move || saving.get().then_some("true")>{move || if saving.get() { "Saving…" } else { "Save" }}</button>
                </div>
            </form>
        </Dialog>
    }
}

/// Takes a whole `.env`.
#[component]
fn PasteDialog(env: State<EnvView>, pasting: State<bool>, change: Change, saving: State<bool>) -> impl IntoView {
    let text = State::new(String::new());
    let wrong = State::new(None::<String>);
    let read = Derived::new(move || text.with(|text| dotenv::read(text)));
    effect(move || {
        if pasting.get() {
            text.set(String::new());
            wrong.set(None);
        }
    });
    let none = move || read.with(|read| read.set.is_empty());
    // Values cannot be read back: whether one stays the same is not known.
    let differs = move || {
        let own = |key: &str| env.with(|env| env.variables.iter().any(|v| v.key == key && v.source == EnvSource::Project));
        read.with(|read| read.set.keys().map(|key| format!("{} {key}\n", if own(key) { '~' } else { '+' })).collect::<String>())
    };
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        let set = read.get_untracked().set;
        if !set.is_empty() {
            let done = words::count(set.len(), "variable saved", "variables saved");
            change.run((EnvChange { set, ..EnvChange::default() }, done, wrong));
        }
    };
    html! {
        <Dialog open=pasting title="paste-title" heading="Paste a .env file">
            <form novalidate on:submit=on(submit)>
                <div class="dialog-body">
                    <div class="field">
                        <label class="field-label" for="paste-env">"Lines of NAME=value"</label>
                        <textarea class="input mono" id="paste-env" rows="8" spellcheck="false" autocomplete="off" autofocus prop:value=move || text.get() on:input=typing(text)></textarea>
                        <div class="stack stack-tight" role="status">{move || read.with(read_view)}</div>
                        <pre class="code-block" role="group" tabindex="0" aria-label="What is saved: + new, ~ replaced" hidden=none>{differs}</pre>
                        {field_message("paste-wrong", move || wrong.get())}
                    </div>
                </div>
                <div class="dialog-foot">
                    <button type="button" class="button" on:click=on(move |_| pasting.set(false))>"Cancel"</button>
                    <button class="button" data-kind="primary" data-asks aria-disabled=move || none().then_some("true") aria-busy=move || saving.get().then_some("true")>"Save variables"</button>
                </div>
            </form>
        </Dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_says_what_it_adds_changes_and_removes() {
        let change = |key: &str, change| PendingChange { key: key.to_owned(), change };
        let variable = EnvVariable { key: "A".to_owned(), source: EnvSource::Project, bytes: 1, updated_at: None, pending: true };
        let mut env = EnvView { variables: vec![variable], revision: 2, applied_revision: Some(1), changes: Vec::new() };
        assert_eq!(what_changes(&env), ["~ A"]);
        env.changes = vec![change("A", ChangeKind::Added), change("B", ChangeKind::Changed), change("C", ChangeKind::Removed)];
        assert_eq!(what_changes(&env), ["+ A", "~ B", "- C"]);
    }
}
