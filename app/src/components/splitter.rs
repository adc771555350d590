//! The line between terminal and preview: dragged, or moved by arrow keys 2 % a step.

use crate::{
    browser,
    erased::{effect, on},
    state::State,
};
use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast;

const LEAST: i32 = 200;
const MOST: i32 = 750;
/// 2 %.
const STEP: i32 = 20;

/// The line. `share` is the preview's part of the width, in thousandths.
#[component]
pub fn Splitter(
    /// Set while it moves.
    share: State<i32>,
    /// Called where it stays.
    kept: Callback<i32>,
) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let dragging = State::new(false);
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
        #[expect(clippy::cast_possible_truncation, reason = "clamped to what fits")]
        let thousandths = (preview / width * 1000.0).clamp(0.0, 1000.0) as i32;
        share.set(thousandths.clamp(LEAST, MOST));
    };
    let up = move |_: ev::PointerEvent| {
        if dragging.get_untracked() {
            dragging.set(false);
            kept.run(share.get_untracked());
        }
    };
    let keys = move |event: ev::KeyboardEvent| {
        let step = match event.key().as_str() {
            "ArrowLeft" => STEP,
            "ArrowRight" => -STEP,
            _ => return,
        };
        event.prevent_default();
        share.update(|share| *share = (*share + step).clamp(LEAST, MOST));
        kept.run(share.get_untracked());
    };
    effect(move || {
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
            aria-valuenow=move || (share.get() / 10).to_string()
            tabindex="0"
            node_ref=node
            on:pointerdown=on(down)
            on:pointermove=on(moved)
            on:pointerup=on(up)
            on:pointercancel=on(up)
            on:keydown=on(keys)
        ></div>
    }
}
