//! Toasts: the result of the user's own action when its place is out of sight. Nothing that needs a
//! decision.

use super::{icon::icon, prose::prose};
use crate::{
    browser,
    erased::{Item, list, on},
    error::ControlError,
    state::State,
};
use leptos::prelude::*;
use leptos::task::spawn_local;

/// How long one stays; not while the pointer or the focus is on it.
const STAYS_MS: i32 = 8_000;
const MOST: usize = 3;
/// The region while the pointer or the focus is on it.
const HELD: &str = ".toast-region:is(:hover,:focus-within)";

#[derive(Clone)]
struct Toast {
    id: u32,
    tone: &'static str,
    icon: &'static str,
    title: String,
    text: String,
}

/// The notices that are shown.
#[derive(Clone, Copy)]
pub struct Toasts {
    shown: State<Vec<Toast>>,
    next: StoredValue<u32>,
}

impl Toasts {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self { shown: State::default(), next: StoredValue::new(0) }
    }

    /// The page's toasts.
    #[must_use]
    pub fn here() -> Self {
        use_context().unwrap_or_else(Self::new)
    }

    /// Something was done.
    pub fn done(self, title: impl Into<String>, text: impl Into<String>) {
        self.push("good", "check", title.into(), text.into());
    }

    /// Something was refused.
    pub fn refused(self, title: impl Into<String>, error: &ControlError) {
        let text = std::iter::once(error.message.as_str()).chain(error.next_steps.iter().map(String::as_str));
        self.push("bad", "error", title.into(), text.collect::<Vec<_>>().join(" "));
    }

    fn push(self, tone: &'static str, icon: &'static str, title: String, text: String) {
        let id = self.next.get_value();
        self.next.set_value(id + 1);
        self.shown.update(|shown| {
            shown.push(Toast { id, tone, icon, title, text });
            let surplus = shown.len().saturating_sub(MOST);
            shown.drain(..surplus);
        });
        spawn_local(async move {
            browser::sleep(STAYS_MS).await;
            // Asked of the page: nobody is told that the pointer or the focus left what was taken away under it.
            while document().query_selector(HELD).is_ok_and(|held| held.is_some()) {
                browser::sleep(500).await;
            }
            self.dismiss(id);
        });
    }

    fn dismiss(self, id: u32) {
        self.shown.update(|shown| shown.retain(|toast| toast.id != id));
    }
}

impl Default for Toasts {
    fn default() -> Self {
        Self::new()
    }
}

/// Where toasts appear.
#[component]
pub fn ToastRegion() -> impl IntoView {
    let toasts = Toasts::here();
    html! {
        <div class="toast-region" role="status" aria-live="polite" aria-label="Notices">
            {list(move || toasts.shown.get().into_iter().map(|toast| Item::new(toast.id, move || html! {
                <div class="toast" data-tone=toast.tone>
                    {icon(toast.icon)}
                    <div>
                        <b>{toast.title.clone()}</b>
                        <p>{prose(&toast.text)}</p>
                    </div>
                    <button
                        type="button"
                        class="button"
                        data-shape="icon"
                        data-kind="quiet"
                        data-size="small"
                        aria-label=format!("Dismiss: {}", toast.title)
                        on:click=on(move |_| {
                            toasts.dismiss(toast.id);
                            browser::rescue_focus();
                        })
                    >
                        {icon("close")}
                    </button>
                </div>
            })).collect())}
        </div>
    }
}
