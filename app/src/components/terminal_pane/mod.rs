//! The pane with the terminals: tabs of sessions, search, the keys that a touch screen lacks.
//!
//! A session lives in the sandbox and outlives this pane; a tab is this browser's view of one. The
//! first is `main`. Every session of the sandbox has its tab, whichever browser opened it; closing a tab
//! ends its shell. Which one was shown is remembered in the browser, by project.

mod claude;
mod host;
mod keys;
mod search;
mod tabs;

use super::{
    icon::icon,
    project::{Project, VerbButton},
    terminal::Terminal,
};
use crate::{
    browser,
    clock::Clock,
    components::when,
    erased::{Item, effect, later, list, on},
    state::{Derived, State},
    words::{self, Verb},
};
use claude::ClaudeNote;
use host::Host;
use keys::Keys;
use leptos::task::spawn_local;
use leptos::{ev, html, prelude::*};
use model::Phase;
use tabs::{CloseTab, MOST_TABS, TabButton, Tabs};

/// The pane.
#[component]
pub fn TerminalPane(
    /// Whose terminals.
    project: Project,
) -> impl IntoView {
    let up = Derived::new(move || matches!(project.phase.get(), Phase::Running | Phase::Updating | Phase::Stopping));
    html! {
        <section class="pane terminal-pane" aria-label="Terminal">
            {move || if up.get() { html! { <Sessions project/> } } else { html! { <Asleep project/> } }}
        </section>
    }
}

#[component]
fn Asleep(project: Project) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    let deleting = move || project.view.with(|view| view.deleting);
    let going = move || deleting() || matches!(project.phase.get(), Phase::Terminating | Phase::Stopping);
    let title = move || match project.phase.get() {
        _ if deleting() => "Deleting everything",
        Phase::Terminated => "The sandbox is terminated",
        Phase::Terminating => "The sandbox is being terminated",
        Phase::Error => project.view.with(words::cause_title),
        _ => "The sandbox is stopped",
    };
    let text = move || {
        let since = project.view.with(|v| v.sandbox.since).map(|since| format!(" for {}", when::lasting(since, clock)));
        let since = since.unwrap_or_default();
        let kept = project.view.with(words::kept);
        match project.phase.get() {
            _ if deleting() => {
                "The sandbox, its files and all else of this project are being removed. It leaves the list when nothing is left."
                    .to_owned()
            }
            Phase::Terminated => {
                format!("Its processes and addresses are gone{since}. {kept}; a start makes a new sandbox with them.")
            }
            Phase::Terminating => format!("Its processes and addresses are being removed. {kept}."),
            // Why stands above, in the frame.
            Phase::Error => format!("It goes on trying by itself. {kept}."),
            _ => format!("Stopped{since}. {kept}; terminals open anew in the home folder."),
        }
    };
    html! {
        <div class="empty-state fill">
            <span class="empty-glyph">{move || icon(&format!("phase-{}", project.phase.get().key()))}</span>
            <h2>{title}</h2>
            <p>{text}</p>
            {move || (!going()).then(|| html! { <VerbButton project verb=Verb::Start kind="primary"/> })}
        </div>
    }
}

#[component]
fn Sessions(project: Project) -> impl IntoView {
    let tabs = Tabs::new(project.id);
    let searching = State::new(false);
    let bar = NodeRef::<html::Div>::new();
    effect(move || {
        spawn_local(tabs.recall());
        let listener = window_event_listener(ev::keydown, move |event| {
            let key = event.key();
            let code = event.code();
            if event.ctrl_key() && event.shift_key() && (code == "Backquote" || key == "`" || key == "~") {
                event.prevent_default();
                tabs.open();
            } else if event.ctrl_key() && event.shift_key() && code == "KeyF" {
                event.prevent_default();
                // What stands in the field stays there.
                if searching.get_untracked() {
                    browser::focus_next(".terminal-search input");
                } else {
                    searching.set(true);
                }
            } else if event.alt_key()
                && !event.ctrl_key()
                && let Some(nth) = code.strip_prefix("Digit").and_then(|n| n.parse::<usize>().ok())
                && let Some(tab) = tabs.all.with_untracked(|all| nth.checked_sub(1).and_then(|n| all.get(n).cloned()))
            {
                event.prevent_default();
                tabs.choose(tab.session);
            }
        });
        on_cleanup(move || listener.remove());
    });
    // Once the sandbox runs again, nobody waits for the next try.
    later(
        move || project.phase.with(|_| ()),
        move || {
            if project.phase.get() == Phase::Running {
                tabs.all.with_untracked(|all| all.iter().for_each(|tab| tab.with(Terminal::poke)));
            }
        },
    );
    let roam = move |event: ev::KeyboardEvent| {
        if let Some(bar) = bar.get_untracked()
            && browser::roam(&bar, "[role=tab]", &event.key())
        {
            event.prevent_default();
            if let Some(session) = browser::focused().and_then(|tab| tab.get_attribute("data-session")) {
                tabs.active.set(session);
                tabs.keep();
            }
        }
    };
    let full = move || tabs.all.with(|all| all.len() >= MOST_TABS);
    html! {
        <div class="pane-bar">
            <div class="pane-tabs" role="tablist" aria-label="Terminal sessions" node_ref=bar on:keydown=on(roam)>
                {list(move || tabs.all.get().into_iter().map(move |tab| Item::new(tab.session.clone(), move || html! { <TabButton tabs tab/> })).collect())}
            </div>
            <CloseTab tabs/>
            <button
                type="button"
                class="button"
                data-shape="icon"
                data-kind="quiet"
                data-size="small"
                aria-label="New terminal"
                title=move || if full() { "Nine terminals are open: close one first" } else { "New terminal (Ctrl Shift `)" }
                aria-keyshortcuts="Control+Shift+`"
                aria-disabled=move || full().then_some("true")
                on:click=on(move |_| tabs.open())
            >
                {icon("plus")}
            </button>
            <span class="push-end"></span>
            <button
                type="button"
                class="button"
                data-shape="icon"
                data-kind="quiet"
                data-size="small"
                data-opens="split"
                aria-label="Split"
                title="A second terminal beside this one (Ctrl Shift 5)"
                aria-keyshortcuts="Control+Shift+5"
            >
                {icon("split")}
            </button>
            <button
                type="button"
                class="button"
                data-shape="icon"
                data-kind="quiet"
                data-size="small"
                aria-label="Search the output"
                title="Search the output (Ctrl Shift F)"
                aria-keyshortcuts="Control+Shift+F"
                aria-expanded=move || if searching.get() { "true" } else { "false" }
                on:click=on(move |_| searching.update(|on| *on = !*on))
            >
                {icon("search")}
            </button>
        </div>
        <div class="terminals">
            {list(move || tabs.all.get().into_iter().map(move |tab| Item::new(tab.session.clone(), move || html! { <Host project tabs tab searching/> })).collect())}
            <fsa-split data-project=project.id.to_string()></fsa-split>
        </div>
        <ClaudeNote tabs/>
        <Keys tabs/>
    }
}
