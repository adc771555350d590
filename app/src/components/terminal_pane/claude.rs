//! What Claude Code lacks, told once.

use super::tabs::Tabs;
use crate::{
    browser,
    components::{icon::icon, terminal::Terminal},
    erased::{effect, on},
    live::Live,
    state::State,
};
use leptos::prelude::*;

/// How Claude Code gets its credentials, where it has none.
#[component]
pub(super) fn ClaudeNote(tabs: Tabs) -> impl IntoView {
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
