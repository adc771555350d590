//! A line of text to copy.

use super::icon::icon;
use crate::{browser, erased::on, state::State};
use leptos::prelude::*;
use leptos::task::spawn_local;

/// A button that puts a text into the clipboard and says so.
#[component]
pub fn CopyButton(
    /// What is copied.
    text: String,
    /// What it is, for those who do not see it: "the psql line".
    #[prop(into)]
    what: String,
) -> impl IntoView {
    let said = State::new("");
    let copy = move |_| {
        let text = text.clone();
        spawn_local(async move {
            said.set(if browser::copy(&text).await { "Copied" } else { "Not copied" });
            browser::sleep(1_500).await;
            said.set("");
        });
    };
    html! {
        <button type="button" class="button" data-size="small" aria-label=format!("Copy {what}") on:click=on(copy)>
            {move || icon(if said.get() == "Copied" { "check" } else { "copy" })}
            <span>{move || if said.get().is_empty() { "Copy" } else { said.get() }}</span>
        </button>
        <span class="visually-hidden" role="status">{move || said.get()}</span>
    }
}
