//! The line between terminal and preview: dragged, or moved by arrow keys 2 % a step.

use crate::{
    browser,
    erased::{effect, later, on},
    state::State,
};
use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast;

const LEAST: i32 = 200;
const MOST: i32 = 750;
/// 2 %.
const STEP: i32 = 20;

/// Where it stays is kept as `share`, and set before the first paint (`shell.rs`).
const KEPT: &str = "share";

/// The line. The preview's part of the width is `--preview-share` of the document.
#[component]
pub fn Splitter() -> impl IntoView {
    // In thousandths.
    let share = State::new(420);
    effect(move || {
        if let Some(kept) = browser::cookie(KEPT).and_then(|kept| kept.parse::<i32>().ok()) {
            share.set(kept.clamp(LEAST, MOST));
        }
    });
    later(
        move || share.with(|_| ()),
        move || {
            if let Some(root) = document().document_element() {
                let share = share.get_untracked();
                let value = format!("{}.{}%", share / 10, share % 10);
                browser::call(&browser::get(&root, "style"), "setProperty", &["--preview-share".into(), value.into()]);
            }
        },
    );
    let kept = move || browser::set_cookie(KEPT, Some(&share.get_untracked().to_string()));
    let node = NodeRef::<html::Div>::new();
    let dragging = State::new(false);
    let down = move |event: ev::PointerEvent| {
        // No text is selected on the way.
        event.prevent_default();
        if let Some(node) = node.get_untracked() {
            drop(node.focus());
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
        let from_start = f64::from(event.client_x()) - left;
        let preview = if right_to_left(&around) { from_start } else { width - from_start };
        #[expect(clippy::cast_possible_truncation, reason = "clamped to what fits")]
        let thousandths = (preview / width * 1000.0).clamp(0.0, 1000.0) as i32;
        share.set(thousandths.clamp(LEAST, MOST));
    };
    let up = move |_: ev::PointerEvent| {
        if dragging.get_untracked() {
            dragging.set(false);
            kept();
        }
    };
    let keys = move |event: ev::KeyboardEvent| {
        let mirrored = node.get_untracked().is_some_and(|node| right_to_left(&node));
        let now = share.get_untracked();
        let next = match (event.key().as_str(), mirrored) {
            ("ArrowLeft", false) | ("ArrowRight", true) => now + STEP,
            ("ArrowRight", false) | ("ArrowLeft", true) => now - STEP,
            ("Home", _) => LEAST,
            ("End", _) => MOST,
            _ => return,
        };
        event.prevent_default();
        share.set(next.clamp(LEAST, MOST));
        kept();
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

fn right_to_left(element: &web_sys::Element) -> bool {
    element.closest("[dir=rtl]").ok().flatten().is_some()
}
