//! The search of a terminal's output.

use super::tabs::{Mounted, with};
use crate::{
    components::{icon::icon, terminal::Terminal},
    erased::{effect, on},
    state::State,
};
use leptos::{ev, html, prelude::*};

/// The search marks and counts so many matches (`frontend/js/terminal.ts`); there may be more.
const MOST_MATCHES: u32 = 1000;

/// How many matches a search has, as far as they are counted.
fn counted(count: u32) -> String {
    format!("{count}{}", if count < MOST_MATCHES { "" } else { "+" })
}

#[component]
pub(super) fn Search(terminal: Mounted, searching: State<bool>, found: State<(Option<u32>, u32)>) -> impl IntoView {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_that_were_not_counted_are_said() {
        assert_eq!((counted(1), counted(999), counted(1000)), ("1".to_owned(), "999".to_owned(), "1000+".to_owned()));
    }
}
