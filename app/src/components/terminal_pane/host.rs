//! One terminal of the pane, from its first showing on, and what is said of its connection.

use super::{
    search::Search,
    tabs::{Tab, Tabs, with},
};
use crate::{
    browser,
    clock::Clock,
    components::{
        icon::icon,
        project::Project,
        terminal::{Terminal, Told},
    },
    erased::{effect, later, on},
    size,
    state::{Derived, State},
    time,
};
use leptos::task::spawn_local;
use leptos::{html, prelude::*};
use send_wrapper::SendWrapper;

#[component]
pub(super) fn Host(project: Project, tabs: Tabs, tab: Tab, searching: State<bool>) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let failed = State::new(None::<String>);
    let found = State::new((None::<u32>, 0u32));
    let started = StoredValue::new(false);
    let alive = StoredValue::new(true);
    let session = StoredValue::new(tab.session.clone());
    let active = Derived::new(move || tabs.active.with(|active| session.with_value(|session| active == session)));
    let terminal = tab.terminal;
    let told = {
        let tab = tab.clone();
        move || Told {
            state: {
                let signal = tab.change.clone();
                Box::new(move |change| signal.set(change))
            },
            title: {
                let signal = tab.title.clone();
                Box::new(move |title| signal.set(title))
            },
            output: {
                let signal = tab.fresh.clone();
                Box::new(move || signal.set(true))
            },
            leave: Box::new(move || {
                if let Some(button) = document().get_element_by_id(&format!("tab-{}", session.get_value())) {
                    browser::call(&button, "focus", &[]);
                }
            }),
            found: Box::new(move |index, count| found.set((index, count))),
            ctrl: Box::new(move |held| tabs.ctrl.set(held)),
        }
    };
    let fresh = tab.fresh.clone();
    // What was marked is no longer, where the search ends by any way.
    later(
        move || searching.with(|_| ()),
        move || {
            if !searching.get() {
                with(terminal, Terminal::clear_search);
            }
        },
    );
    effect(move || {
        let (active, Some(host)) = (active.get(), node.get()) else { return };
        if active {
            fresh.set(false);
        }
        if started.get_value() {
            with(terminal, |terminal| terminal.set_visible(active));
        } else if active {
            started.set_value(true);
            let told = told();
            spawn_local(async move {
                // A page that was just opened has its focus at the beginning; what was opened or chosen takes it.
                let focus = tabs.grab.try_update_value(std::mem::take) == Some(true);
                match Terminal::mount(&host, project.id, &session.get_value(), focus, told).await {
                    Ok(mounted) if alive.try_get_value() == Some(true) => terminal.set_value(Some(SendWrapper::new(mounted))),
                    Ok(late) => late.dispose(),
                    Err(why) => failed.set(Some(why)),
                }
            });
        }
    });
    on_cleanup(move || {
        alive.set_value(false);
        if let Some(terminal) = terminal.try_update_value(Option::take).flatten() {
            terminal.dispose();
        }
    });
    let change = tab.change.clone();
    let note = move || {
        if let Some(why) = failed.get() {
            return Some((
                "bad",
                "The terminal could not be loaded.",
                Some(format!("The browser says: {why}. Reload the page.")),
                false,
            ));
        }
        let change = change.get();
        match change.state.as_str() {
            // Shown from a second on (workspace.css): most are there by then.
            "" | "connecting" => Some(("info", "Connecting to the terminal…", change.message, false)),
            "reconnecting" => Some((
                "warn",
                "Terminal reconnecting…",
                Some(
                    change
                        .message
                        .unwrap_or_else(|| "The session keeps running; what you type is held and sent in order.".to_owned()),
                ),
                false,
            )),
            "unavailable" => Some(("warn", "The terminal is not available.", change.message, false)),
            "ended" => Some(("neutral", "This shell has ended.", change.message, true)),
            _ => None,
        }
    };
    let note = Derived::new(note);
    let clock = use_context::<Clock>().unwrap_or_default();
    let change = tab.change.clone();
    let next = move || {
        clock.track();
        change.with(|change| {
            let wait = change.retry_at.map(|at| format!(" Next try in {}.", time::span((at - browser::now()).max(0.0) + 999.0)));
            let held = change.held_bytes.map(|bytes| format!(" {} typed and held.", size::bytes(time::whole(bytes))));
            format!("{}{}", wait.unwrap_or_default(), held.unwrap_or_default())
        })
    };
    let note_view = move || {
        let next = next.clone();
        note.get().map(|(tone, title, text, again)| {
            html! {
                <div class="banner terminal-note" data-tone=tone>
                    {icon(if matches!(tone, "neutral" | "info") { "info" } else { "offline" })}
                    <p><strong>{title}</strong> " " {text} <span aria-live="off">{next}</span></p>
                    {again.then(|| html! {
                        <button
                            type="button"
                            class="button"
                            data-size="small"
                            on:click=on(move |_| with(terminal, Terminal::restart_ended))
                        >
                            "New shell"
                        </button>
                    })}
                </div>
            }
        })
    };
    html! {
        <div
            class="terminal"
            role="tabpanel"
            id=format!("terminal-{}", tab.session)
            aria-labelledby=format!("tab-{}", tab.session)
            hidden=move || !active.get()
        >
            <div class="terminal-host" node_ref=node></div>
            <div role="status">{note_view}</div>
            {move || (active.get() && searching.get()).then(|| html! { <Search terminal searching found/> })}
        </div>
    }
}
