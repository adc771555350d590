//! The tabs: which there are, which is shown, and how one is opened and ended.

use crate::{
    browser,
    components::{
        dialog::Confirm,
        icon::icon,
        terminal::{self, Change, Terminal},
        toast::Toasts,
    },
    erased::{Words, on},
    error::{ControlError, ErrorKind},
    state::State,
};
use leptos::prelude::*;
use leptos::task::spawn_local;
use model::ProjectId;
use send_wrapper::SendWrapper;

const MAIN: &str = "main";
/// More tabs than this nobody finds their way in, and each is a connection.
pub(super) const MOST_TABS: usize = 9;

/// A terminal once it is mounted. On the server nothing is ever put in: a value of the browser's thread
/// must not be dropped on another.
pub(super) type Mounted = StoredValue<Option<SendWrapper<Terminal>>>;

pub(super) fn with(mounted: Mounted, f: impl FnOnce(&Terminal)) {
    mounted.with_value(|terminal| terminal.as_deref().map(f));
}

#[derive(Clone)]
pub(super) struct Tab {
    pub(super) session: String,
    pub(super) title: ArcRwSignal<String>,
    pub(super) change: ArcRwSignal<Change>,
    pub(super) fresh: ArcRwSignal<bool>,
    pub(super) terminal: Mounted,
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

    pub(super) fn with(&self, f: impl FnOnce(&Terminal)) {
        with(self.terminal, f);
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tabs {
    id: ProjectId,
    pub(super) all: State<Vec<Tab>>,
    pub(super) active: State<String>,
    /// The highest number of a tab: names are not used twice, or a new tab would show an old shell.
    newest: StoredValue<u32>,
    /// The shown terminal is to have the focus once it is mounted: the user opened or chose it.
    pub(super) grab: StoredValue<bool>,
    /// The on-screen Ctrl is down.
    pub(super) ctrl: State<bool>,
    /// The question before a shell is ended is open.
    ending: State<bool>,
}

impl Tabs {
    pub(super) fn new(id: ProjectId) -> Self {
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
    pub(super) async fn recall(self) {
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

    pub(super) fn keep(self) {
        browser::remember(&self.place(), Some(&self.active.get_untracked()));
    }

    fn find(self, session: &str) -> Option<Tab> {
        self.all.with_untracked(|all| all.iter().find(|tab| tab.session == session).cloned())
    }

    pub(super) fn shown(self) -> Option<Tab> {
        self.find(&self.active.get_untracked())
    }

    /// A new shell, under a name that no session has: other browsers open some as well.
    pub(super) fn open(self) {
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
    pub(super) fn choose(self, session: String) {
        self.grab.set_value(true);
        self.show(session);
        if let Some(tab) = self.shown() {
            tab.with(|_| self.grab.set_value(false));
            // Once it is shown: what is hidden takes no focus.
            let mounted = tab.terminal;
            request_animation_frame(move || {
                mounted.try_with_value(|terminal| terminal.as_deref().map(Terminal::focus));
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

#[component]
pub(super) fn TabButton(tabs: Tabs, tab: Tab) -> impl IntoView {
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
pub(super) fn CloseTab(tabs: Tabs) -> impl IntoView {
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
    fn only_names_are_sent() {
        for bad in ["", "a b", "../x", "ä", &"x".repeat(41)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name("shell-2"));
    }
}
