//! The line between terminal and preview: dragged, or moved by arrow keys 2 % a step.

use crate::browser;
use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast;

const LEAST: f64 = 20.0;
const MOST: f64 = 75.0;

/// The line. `share` is the preview's part of the width, in percent.
#[component]
pub fn Splitter(
    /// Set while it moves.
    share: RwSignal<f64>,
    /// Called where it stays.
    kept: Callback<f64>,
) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let dragging = RwSignal::new(false);
    let down = move |event: ev::PointerEvent| {
        if let Some(node) = node.get_untracked() {
            browser::call(&node, "setPointerCapture", &[event.pointer_id().into()]);
            dragging.set(true);
        }
    };
    let moved = move |event: ev::PointerEvent| {
        if !dragging.get_untracked() {
            return;
        }
        let Some(around) = node.get_untracked().and_then(|node| node.parent_element()) else { return };
        let (left, width) = browser::extent(&around);
        let right_to_left = around.closest("[dir=rtl]").ok().flatten().is_some();
        let from_start = f64::from(event.client_x()) - left;
        let preview = if right_to_left { from_start } else { width - from_start };
        share.set((preview / width * 100.0).clamp(LEAST, MOST));
    };
    let up = move |_: ev::PointerEvent| {
        if dragging.get_untracked() {
            dragging.set(false);
            kept.run(share.get_untracked());
        }
    };
    let keys = move |event: ev::KeyboardEvent| {
        let step = match event.key().as_str() {
            "ArrowLeft" => 2.0,
            "ArrowRight" => -2.0,
            _ => return,
        };
        event.prevent_default();
        share.update(|share| *share = (*share + step).clamp(LEAST, MOST));
        kept.run(share.get_untracked());
    };
    Effect::new(move || {
        // A frame below the pointer would swallow its moves.
        if let Some(around) = node.get().and_then(|node| node.parent_element()) {
            let around: web_sys::HtmlElement = around.unchecked_into();
            let dragging = dragging.get();
            drop(if dragging { around.set_attribute("data-dragging", "") } else { around.remove_attribute("data-dragging") });
        }
    });
    html! {
        <div
            class="splitter"
            role="separator"
            aria-orientation="vertical"
            aria-label="Width of the preview"
            aria-valuemin="20"
            aria-valuemax="75"
            aria-valuenow=move || format!("{:.0}", share.get())
            tabindex="0"
            node_ref=node
            on:pointerdown=down
            on:pointermove=moved
            on:pointerup=up
            on:pointercancel=up
            on:keydown=keys
        ></div>
    }
}
