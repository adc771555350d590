//! The row of keys below the terminals.

use super::tabs::Tabs;
use crate::{
    browser,
    erased::{later, on},
};
use leptos::task::spawn_local;
use leptos::{ev, prelude::*};
use wasm_bindgen::JsCast;

/// Keys that a touch screen's keyboard lacks.
#[component]
pub(super) fn Keys(tabs: Tabs) -> impl IntoView {
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
