//! The pane with the terminals: tabs of sessions, search, the keys that a touch screen lacks.
//!
//! A session lives in the sandbox and outlives this pane; a tab is this browser's view of one. The
//! first is `main`. Every session of the sandbox has its tab, whichever browser opened it; closing a tab
//! ends its shell. Which one was shown is remembered in the browser, by project.

use super::{
    dialog::Confirm,
    icon::icon,
    project::{Project, VerbButton},
    terminal::{self, Change, Terminal, Told},
    toast::Toasts,
};
use crate::{
    browser,
    clock::Clock,
    components::when,
    erased::{Item, Words, effect, later, list, on},
    error::{ControlError, ErrorKind},
    live::Live,
    size,
    state::{Derived, State},
    time,
    words::{self, Verb},
};
use leptos::task::spawn_local;
use leptos::{ev, html, prelude::*};
use model::{Phase, ProjectId};
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast;

const MAIN: &str = "main";
/// More tabs than this nobody finds their way in, and each is a connection.
const MOST_TABS: usize = 9;
/// The search marks and counts so many matches (`frontend/js/terminal.ts`); there may be more.
const MOST_MATCHES: u32 = 1000;

/// A terminal once it is mounted. On the server nothing is ever put in: a value of the browser's thread
/// must not be dropped on another.
type Mounted = StoredValue<Option<SendWrapper<Terminal>>>;

fn with(mounted: Mounted, f: impl FnOnce(&Terminal)) {
    mounted.with_value(|terminal| terminal.as_deref().map(f));
}

#[derive(Clone)]
struct Tab {
    session: String,
    title: ArcRwSignal<String>,
    change: ArcRwSignal<Change>,
    fresh: ArcRwSignal<bool>,
    terminal: Mounted,
}

impl Tab {
    fn new(session: String) -> Self {
        Self {
            session,
            title: ArcRwSignal::default(),
            change: ArcRwSignal::default(),
            fresh: ArcRwSignal::new(false),
            terminal: StoredValue::new(None),
        }
    }

    fn with(&self, f: impl FnOnce(&Terminal)) {
        with(self.terminal, f);
    }
}

#[derive(Clone, Copy)]
struct Tabs {
    id: ProjectId,
    all: State<Vec<Tab>>,
    active: State<String>,
    /// The highest number of a tab: names are not used twice, or a new tab would show an old shell.
    newest: StoredValue<u32>,
    /// The shown terminal is to have the focus once it is mounted: the user opened or chose it.
    grab: StoredValue<bool>,
    /// The on-screen Ctrl is down.
    ctrl: State<bool>,
    /// The question before a shell is ended is open.
    ending: State<bool>,
}

impl Tabs {
    fn new(id: ProjectId) -> Self {
        let all = State::new(vec![Tab::new(MAIN.to_owned())]);
        Self {
            id,
            all,
            active: State::new(MAIN.to_owned()),
            newest: StoredValue::new(1),
            grab: StoredValue::new(false),
            ctrl: State::new(false),
            ending: State::new(false),
        }
    }

    fn place(self) -> String {
        format!("fsa.tabs.{}", self.id)
    }

    /// Shows every session that runs, and the one that this browser showed last.
    async fn recall(self) {
        self.sync().await;
        let Some(active) = browser::remembered(&self.place()) else { return };
        if self.active.try_get_untracked().as_deref() == Some(MAIN) && self.find(&active).is_some() {
            self.active.set(active);
        }
    }

    /// Adds a tab for every session that has none.
    async fn sync(self) {
        for name in terminal::sessions(self.id).await {
            let known = self
                .all
                .try_get_untracked()
                .is_none_or(|all| all.len() >= MOST_TABS || all.iter().any(|tab| tab.session == name));
            if let Some(number) = number(&name) {
                let _ = self.newest.try_update_value(|newest| *newest = number.max(*newest));
            }
            if !known && is_name(&name) {
                self.all.update(|all| all.push(Tab::new(name)));
            }
        }
    }

    fn keep(self) {
        browser::remember(&self.place(), Some(&self.active.get_untracked()));
    }

    fn find(self, session: &str) -> Option<Tab> {
        self.all.with_untracked(|all| all.iter().find(|tab| tab.session == session).cloned())
    }

    fn shown(self) -> Option<Tab> {
        self.find(&self.active.get_untracked())
    }

    /// A new shell, under a name that no session has: other browsers open some as well.
    fn open(self) {
        spawn_local(async move {
            self.sync().await;
            if self.all.try_get_untracked().is_none_or(|all| all.len() >= MOST_TABS) {
                return;
            }
            let number = self.newest.get_value() + 1;
            self.newest.set_value(number);
            let session = format!("shell-{number}");
            self.all.update(|all| all.push(Tab::new(session.clone())));
            self.choose(session);
        });
    }

    /// Shows one, as the user asked: it has the focus.
    fn choose(self, session: String) {
        self.grab.set_value(true);
        self.show(session);
        if let Some(tab) = self.shown() {
            tab.with(|terminal| {
                self.grab.set_value(false);
                terminal.focus();
            });
        }
    }

    fn show(self, session: String) {
        self.active.set(session);
        self.keep();
    }

    /// Ends the shown shell and takes its tab away. The focus goes to the tab that is shown instead.
    fn end(self, toasts: Toasts) {
        let session = self.active.get_untracked();
        if session == MAIN {
            return;
        }
        spawn_local(async move {
            if !terminal::end(self.id, &session).await {
                let why = "The sandbox did not answer; the shell may go on.";
                return toasts.refused(
                    "The shell was not ended",
                    &ControlError::new(ErrorKind::Unavailable, "unreachable", why, "Try again in a moment."),
                );
            }
            let Some(at) = self.all.try_get_untracked().and_then(|all| all.iter().position(|tab| tab.session == session)) else {
                return;
            };
            self.all.update(|all| {
                all.remove(at);
            });
            if self.active.get_untracked() == session {
                let next = self.all.with_untracked(|all| all.get(at.saturating_sub(1)).map(|tab| tab.session.clone()));
                self.active.set(next.unwrap_or_else(|| MAIN.to_owned()));
            }
            self.keep();
            browser::focus_next(".pane-tabs [aria-selected=true]");
        });
    }
}

/// The number in `shell-7`.
fn number(session: &str) -> Option<u32> {
    session.strip_prefix("shell-")?.parse().ok()
}

/// What the server takes as a session's name.
fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The name of a tab: the program's own title, or which shell it is.
fn tab_label(session: &str, title: &str) -> String {
    let title = title.trim();
    if !title.is_empty() {
        return title.chars().take(24).collect();
    }
    if session == MAIN { "shell".to_owned() } else { session.replace('-', " ") }
}

/// How many matches a search has, as far as they are counted.
fn counted(count: u32) -> String {
    format!("{count}{}", if count < MOST_MATCHES { "" } else { "+" })
}

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
            _ => format!("Stopped{since}. {kept}; terminals open anew."),
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

#[component]
fn TabButton(tabs: Tabs, tab: Tab) -> impl IntoView {
    let session = StoredValue::new(tab.session.clone());
    let selected = move || tabs.active.with(|active| session.with_value(|session| active == session));
    let label = {
        let title = tab.title.clone();
        move || title.with(|title| session.with_value(|session| tab_label(session, title)))
    };
    let fresh = tab.fresh.clone();
    let show = move |_| tabs.choose(session.get_value());
    html! {
        <button
            type="button"
            role="tab"
            id=format!("tab-{}", tab.session)
            data-session=tab.session.clone()
            aria-controls=format!("terminal-{}", tab.session)
            aria-selected=move || if selected() { "true" } else { "false" }
            tabindex=move || if selected() { "0" } else { "-1" }
            on:click=on(show)
        >
            {icon("terminal")} <span class="tab-name"><bdi>{label}</bdi></span>
            {move || {
                fresh.get().then(|| html! { <span class="visually-hidden">", new output"</span><span class="count" aria-hidden="true">"•"</span> })
            }}
        </button>
    }
}

/// Closes the shown tab and ends its shell; `main` stays. Beside the tabs: a button within a tab has no
/// place in a tab list.
#[component]
fn CloseTab(tabs: Tabs) -> impl IntoView {
    let toasts = Toasts::here();
    let closable = move || tabs.active.with(|active| active != MAIN);
    let close = move |_| {
        let ended = tabs.shown().is_some_and(|tab| tab.change.with_untracked(|change| change.state == "ended"));
        if ended { tabs.end(toasts) } else { tabs.ending.set(true) }
    };
    let heading = Words::new(move || {
        let session = tabs.active.get();
        let title = tabs.find(&session).map(|tab| tab.title.get_untracked()).unwrap_or_default();
        format!("End {}?", tab_label(&session, &title))
    });
    html! {
        <button
            type="button"
            class="button"
            data-shape="icon"
            data-kind="quiet"
            data-size="small"
            hidden=move || !closable()
            aria-label="Close this terminal"
            title="Close this terminal and end its shell"
            on:click=on(close)
        >
            {icon("close")}
        </button>
        <Confirm
            open=tabs.ending
            title="end-shell-title"
            heading
            text="What runs in it ends with it, here and in every other browser. Files stay.".into()
            keep="Keep it running"
            act="End this shell"
            run=Callback::new(move |()| tabs.end(toasts))
        />
    }
}

#[component]
fn Host(project: Project, tabs: Tabs, tab: Tab, searching: State<bool>) -> impl IntoView {
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

#[component]
fn Search(terminal: Mounted, searching: State<bool>, found: State<(Option<u32>, u32)>) -> impl IntoView {
    let node = NodeRef::<html::Input>::new();
    let text = State::new(String::new());
    let find = move |backwards: bool| {
        text.with_untracked(|text| with(terminal, |terminal| terminal.search(text, backwards)));
    };
    let close = move || {
        searching.set(false);
        with(terminal, Terminal::focus);
    };
    effect(move || {
        if let Some(input) = node.get() {
            drop(input.focus());
        }
    });
    let keys = move |event: ev::KeyboardEvent| match event.key().as_str() {
        "Enter" => {
            event.prevent_default();
            find(event.shift_key());
        }
        "Escape" => {
            event.prevent_default();
            event.stop_propagation();
            close();
        }
        _ => {}
    };
    let count = move || match (text.with(String::is_empty), found.get()) {
        (true, _) => String::new(),
        (_, (_, 0)) => "No match".to_owned(),
        (_, (Some(index), count)) => format!("{} of {}", index + 1, counted(count)),
        (_, (None, count)) => format!("{} matches", counted(count)),
    };
    let step = move |label: &'static str, glyph: &'static str, backwards: bool| {
        html! {
            <button
                type="button"
                class="button"
                data-shape="icon"
                data-kind="quiet"
                data-size="small"
                aria-label=label
                on:click=on(move |_| find(backwards))
            >
                {icon(glyph)}
            </button>
        }
    };
    html! {
        <div class="terminal-search" role="search">
            <input
                class="input"
                type="text"
                aria-label="Search the output"
                placeholder="Search the output"
                spellcheck="false"
                autocomplete="off"
                node_ref=node
                prop:value=move || text.get()
                on:input=on(move |event: ev::Event| {
                    text.set(event_target_value(&event));
                    find(false);
                })
                on:keydown=on(keys)
            />
            <span class="count" role="status">{count}</span>
            {step("Previous match", "up", true)} {step("Next match", "down", false)}
            <button
                type="button"
                class="button"
                data-shape="icon"
                data-kind="quiet"
                data-size="small"
                aria-label="Close the search"
                on:click=on(move |_| close())
            >
                {icon("close")}
            </button>
        </div>
    }
}

/// How Claude Code gets its credentials, where it has none.
#[component]
fn ClaudeNote(tabs: Tabs) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    // Dismissed once each: who read of the one has not read of the other.
    let seen = move || if live.installation().claude { "fsa.claude-credentials" } else { "fsa.claude-missing" };
    let shown = State::new(false);
    effect(move || shown.set(browser::remembered(seen()).is_none()));
    let text = move || {
        let installation = live.installation();
        let file = installation.credentials_file.clone();
        if !installation.claude {
            Some(
                html! { <p><strong>"Claude Code is not installed here."</strong> " The terminal works without it. Install it on this machine with " <code>"npm install -g @anthropic-ai/claude-code"</code> ", and restart the server."</p> },
            )
        } else if !installation.claude_credentials {
            Some(
                html! { <p><strong>"Claude Code has no credentials yet."</strong> " Set yours in the " <a href="/settings#claude">"settings"</a> ", or put " <code>"ANTHROPIC_API_KEY=…"</code> " into " <code>{file}</code> " and restart the server. Then restart this sandbox."</p> },
            )
        } else {
            None
        }
    };
    let dismiss = move |_| {
        browser::remember(untrack(seen), Some("seen"));
        shown.set(false);
        if let Some(tab) = tabs.shown() {
            tab.with(Terminal::focus);
        }
    };
    move || {
        shown.get().then(text).flatten().map(|text| {
            html! {
                <div class="banner claude-note" data-tone="info" role="note">
                    {icon("info")} {text}
                    <button
                        type="button"
                        class="button"
                        data-shape="icon"
                        data-kind="quiet"
                        data-size="small"
                        aria-label="Dismiss: how to set up Claude Code"
                        on:click=on(dismiss)
                    >
                        {icon("close")}
                    </button>
                </div>
            }
        })
    }
}

/// Keys that a touch screen's keyboard lacks.
#[component]
fn Keys(tabs: Tabs) -> impl IntoView {
    later(
        move || tabs.active.with(|_| ()),
        move || tabs.all.with_untracked(|all| all.iter().for_each(|tab| tab.with(|terminal| terminal.set_ctrl(false)))),
    );
    let press = move |name: &'static str| {
        move |_| {
            if let Some(tab) = tabs.shown() {
                tab.with(|terminal| terminal.key(name));
            }
        }
    };
    let hold = move |_| {
        if let Some(tab) = tabs.shown() {
            tab.with(|terminal| terminal.set_ctrl(!tabs.ctrl.get_untracked()));
        }
    };
    let paste = move |_| {
        spawn_local(async move {
            let clipboard = browser::get(&browser::global("navigator"), "clipboard");
            let Ok(promise) = browser::call(&clipboard, "readText", &[]).dyn_into::<js_sys::Promise>() else { return };
            if let Ok(text) = wasm_bindgen_futures::JsFuture::from(promise).await
                && let (Some(text), Some(tab)) = (text.as_string(), tabs.shown())
            {
                tab.with(|terminal| terminal.paste(&text));
            }
        });
    };
    html! {
        // The focus stays in the terminal, and the screen's keyboard with it.
        <div class="terminal-keys" role="group" aria-label="Terminal keys" on:mousedown=on(|event: ev::MouseEvent| event.prevent_default())>
            <button type="button" on:click=on(press("Escape"))>"Esc"</button>
            <button type="button" on:click=on(press("Tab"))>"Tab"</button>
            <button type="button" aria-pressed=move || if tabs.ctrl.get() { "true" } else { "false" } on:click=on(hold)>"Ctrl"</button>
            <button type="button" aria-label="Up" on:click=on(press("ArrowUp"))>"↑"</button>
            <button type="button" aria-label="Down" on:click=on(press("ArrowDown"))>"↓"</button>
            <button type="button" on:click=on(paste)>"Paste"</button>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_is_called_as_its_program_says() {
        assert_eq!(tab_label("main", ""), "shell");
        assert_eq!(tab_label("shell-3", " "), "shell 3");
        assert_eq!(tab_label("main", "claude · ~/app"), "claude · ~/app");
        assert_eq!(tab_label("main", &"x".repeat(99)).len(), 24);
    }

    #[test]
    fn a_new_shell_is_numbered_after_all_that_there_are() {
        assert_eq!((number("shell-12"), number("main"), number("shell-x")), (Some(12), None, None));
    }

    #[test]
    fn matches_that_were_not_counted_are_said() {
        assert_eq!((counted(1), counted(999), counted(1000)), ("1".to_owned(), "999".to_owned(), "1000+".to_owned()));
    }

    #[test]
    fn only_names_are_sent() {
        for bad in ["", "a b", "../x", "ä", &"x".repeat(41)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("shell-2"));
    }
}
