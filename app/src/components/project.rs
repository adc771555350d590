//! One project on a page: its signals, and what can be asked for.

use super::{dialog::Confirm, explanation::Explanation, icon::icon, toast::Toasts};
use crate::{
    api, browser,
    erased::{Words, on},
    live::Live,
    state::{Derived, State},
    words::{self, Verb},
};
use leptos::prelude::*;
use leptos::task::spawn_local;
use model::{
    Cause, Desired, Phase, ProjectId, StageView,
    port::OpenPort,
    view::{ProjectView, Urls, Usage},
};

/// A project's signals. Each changes only when its part does.
#[derive(Clone, Copy)]
pub struct Project {
    /// Whose.
    pub id: ProjectId,
    /// All of it.
    pub view: RwSignal<ProjectView>,
    /// As its owner typed it.
    pub name: Derived<String>,
    /// Of its sandbox.
    pub phase: Derived<Phase>,
    /// What was asked for.
    pub desired: Derived<Desired>,
    /// Of the start.
    pub stages: Derived<Vec<StageView>>,
    /// Why it is not as intended.
    pub cause: Derived<Option<Cause>>,
    /// What listens inside.
    pub ports: Derived<Vec<OpenPort>>,
    /// What it uses.
    pub usage: Derived<Option<Usage>>,
    /// Where it is reached.
    pub urls: Derived<Urls>,
    /// Whether variables wait for a restart.
    pub restart_pending: Derived<bool>,
    /// The ask that is on its way to the server.
    pub asking: State<Option<Verb>>,
    /// Whether the dialog that deletes it is open.
    pub deleting: State<bool>,
    /// Whether the dialog that terminates its sandbox is open.
    pub terminating: State<bool>,
}

impl Project {
    /// The signals of a project that is there.
    #[must_use]
    pub fn new(id: ProjectId, view: ArcRwSignal<ProjectView>) -> Self {
        let view = RwSignal::from(view);
        Self {
            id,
            view,
            name: Derived::new(move || view.with(|v| v.name.clone())),
            phase: Derived::new(move || view.with(|v| v.sandbox.phase)),
            desired: Derived::new(move || view.with(|v| v.sandbox.desired)),
            stages: Derived::new(move || view.with(|v| v.sandbox.stages.clone())),
            cause: Derived::new(move || view.with(|v| v.sandbox.cause.clone())),
            ports: Derived::new(move || view.with(|v| v.sandbox.ports.clone())),
            usage: Derived::new(move || view.with(|v| v.sandbox.usage)),
            urls: Derived::new(move || view.with(|v| v.sandbox.urls.clone())),
            restart_pending: Derived::new(move || view.with(|v| v.sandbox.restart_pending)),
            asking: State::new(None),
            deleting: State::new(false),
            terminating: State::new(false),
        }
    }

    /// What deleting it is called.
    #[must_use]
    pub fn removal(&self) -> &'static str {
        let extra = self.view.with_untracked(|view| view.extra_of.is_some());
        if extra { "Remove sandbox…" } else { "Delete project…" }
    }

    /// The address of one of its pages.
    #[must_use]
    pub fn address(&self, page: &str) -> String {
        if page.is_empty() { format!("/projects/{}", self.id) } else { format!("/projects/{}/{page}", self.id) }
    }
}

/// A button that asks for a verb. Confirmed: it turns busy, and state changes when its event arrives.
#[component]
pub fn VerbButton(
    /// Of which.
    project: Project,
    /// What it asks for.
    verb: Verb,
    /// Its text, where the verb alone does not say it.
    #[prop(optional)]
    text: Option<&'static str>,
    /// `data-kind`.
    #[prop(optional)]
    kind: Option<&'static str>,
    /// `data-size`.
    #[prop(optional)]
    size: Option<&'static str>,
) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let busy = move || project.asking.get() == Some(verb);
    let refusal = move || live.offline().or_else(|| project.view.with(|view| verb.refusal(view)));
    let off = move || refusal().is_some() || project.asking.get().is_some();
    let click = move |_| {
        if untrack(refusal).is_none() {
            click_for(project, verb, live, toasts);
        }
    };
    html! {
        <button
            type="button"
            class="button"
            data-kind=kind
            data-size=size
            data-verb=verb.label()
            aria-disabled=move || off().then_some("true")
            aria-busy=move || busy().then_some("true")
            title=refusal
            on:click=on(click)
        >
            {icon(verb.icon())}
            {move || if busy() { verb.busy() } else { text.unwrap_or(verb.label()) }}
        </button>
    }
}

/// The items of a menu that ask for verbs.
#[component]
pub fn VerbItem(
    /// Of which.
    project: Project,
    /// What it asks for.
    verb: Verb,
    /// What comes of it.
    note: &'static str,
) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let refusal = move || live.offline().map(|_| "not connected").or_else(|| project.view.with(|view| verb.refusal(view)));
    let click = move |_| {
        if untrack(refusal).is_none() {
            click_for(project, verb, live, toasts);
        }
    };
    html! {
        <button type="button" role="menuitem" tabindex="-1" data-verb=verb.label() aria-disabled=move || refusal().is_some().then_some("true") on:click=on(click)>
            {icon(verb.icon())} {verb.label()} <span class="menu-note">{move || refusal().unwrap_or(note)}</span>
        </button>
    }
}

/// Asks from an event handler, where no context can be read. What loses something asks back first.
fn click_for(project: Project, verb: Verb, live: Live, toasts: Toasts) {
    if verb == Verb::Terminate {
        project.terminating.set(true);
    } else {
        ask_for(project, verb, live, toasts);
    }
}

/// Why it is not as intended, what to do, and the ask once more.
#[component]
pub fn CauseNote(
    /// Whose.
    project: Project,
    /// Whether the page itself explains a start that failed.
    starts: bool,
) -> impl IntoView {
    let shown = Derived::new(move || {
        let starts = starts && project.desired.get() == Desired::Running && project.phase.get() == Phase::Error;
        let told = project.view.with(|view| (words::cause_title(view), words::again(view)));
        project.cause.get().filter(|_| !starts).map(|cause| (cause, told))
    });
    move || {
        shown.get().map(|(cause, (title, again))| {
            let failed = project.phase.get_untracked() == Phase::Error;
            let down = project.desired.get_untracked() != Desired::Running;
            html! {
                <div class="cause-note">
                    <Explanation tone=if failed { "bad" } else { "warn" } title lead="" why=cause.message steps=cause.next_steps detail=cause.detail>
                        {again.map(|verb| match verb {
                            Verb::Restart => html! { <VerbButton project verb kind="primary"/> },
                            Verb::Stop => html! { <VerbButton project verb text="Stop again" kind="primary"/> },
                            _ => html! { <VerbButton project verb text="Terminate again…" kind="primary"/> },
                        })}
                        {(again.is_some() && down).then(|| html! { <VerbButton project verb=Verb::Start/> })}
                    </Explanation>
                </div>
            }
        })
    }
}

/// Asks before a sandbox is terminated.
#[component]
pub fn TerminateDialog(
    /// Whose.
    project: Project,
) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let heading = Words::new(move || format!("Terminate the sandbox of {}?", project.name.get()));
    let text = Words::new(move || {
        let kept = project.view.with(words::kept);
        format!(
            "Its processes, terminals and addresses are removed, and what runs in it ends. {kept}; a start makes a new sandbox with them."
        )
    });
    html! {
        <Confirm
            open=project.terminating
            title="terminate-title"
            heading
            text
            keep="Keep the sandbox"
            act="Terminate the sandbox"
            run=Callback::new(move |()| ask_for(project, Verb::Terminate, live, toasts))
        />
    }
}

/// Asks from an event handler, where no context can be read.
fn ask_for(project: Project, verb: Verb, live: Live, toasts: Toasts) {
    if project.asking.get_untracked().is_some() {
        return;
    }
    project.asking.set(Some(verb));
    spawn_local(async move {
        let answer = api::ask(project.id, verb).await;
        project.asking.set(None);
        match answer {
            Ok(view) => {
                live.answered(view);
                // The button may have gone with the state that offered it.
                browser::rescue_focus();
            }
            Err(error) => {
                live.failed(&error);
                toasts.refused(format!("{} was refused", verb.label().trim_end_matches('…')), &error);
            }
        }
    });
}

/// The title of a page of a project.
pub fn page_title(project: Project, page: &'static str) -> impl Fn() -> String + Clone + Send + Sync + 'static {
    // The server asks for the title once the page's owner is gone: then the first one counts.
    let first = project.view.with_untracked(words::title);
    move || {
        let title = project.view.try_with(words::title).unwrap_or_else(|| first.clone());
        if page.is_empty() { title } else { format!("{page} · {title}") }
    }
}
