//! Menus: a button that opens a list. Arrow keys move, Escape closes and returns the focus.

use crate::{
    browser,
    erased::{Words, effect, on},
    state::State,
};
use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast;

/// A menu. Its items are elements with a role of `menuitem…`.
#[component]
pub fn Menu(
    /// What the list is, for those who do not see it.
    name: &'static str,
    /// What the button is, where its text does not say it.
    #[prop(optional, into)]
    label: Option<Words>,
    /// `data-kind` of the button.
    #[prop(optional)]
    kind: Option<&'static str>,
    /// `data-shape` of the button.
    #[prop(optional)]
    shape: Option<&'static str>,
    /// The button is no control of its own but part of another.
    #[prop(optional)]
    bare: bool,
    /// Opens along the start of its button.
    #[prop(optional)]
    start: bool,
    /// Inside the button.
    button: AnyView,
    children: Children,
) -> impl IntoView {
    let open = State::new(false);
    let anchor = NodeRef::<html::Div>::new();
    let opener = NodeRef::<html::Button>::new();
    let list = NodeRef::<html::Div>::new();
    effect(move || {
        if open.get()
            && let Some(list) = list.get()
            && let Some(first) = browser::find(&list, "[role^=menuitem]")
        {
            drop(first.focus());
        }
    });
    let close = move || {
        open.set(false);
        if let Some(opener) = opener.get_untracked() {
            drop(opener.focus());
        }
    };
    let keys = move |event: ev::KeyboardEvent| {
        if event.key() == "Escape" {
            event.prevent_default();
            event.stop_propagation();
            close();
        } else if let Some(list) = list.get_untracked()
            && browser::roam(&list, "[role^=menuitem]", &event.key())
        {
            event.prevent_default();
        }
    };
    let chosen = move |event: ev::MouseEvent| {
        let item = event
            .target()
            .and_then(|target| target.dyn_into::<web_sys::Element>().ok())
            .and_then(|element| element.closest("[role^=menuitem]").ok().flatten());
        if item.is_some_and(|item| item.get_attribute("aria-disabled").as_deref() != Some("true")) {
            close();
        }
    };
    let left = move |event: ev::FocusEvent| {
        let to = event.related_target().and_then(|target| target.dyn_into::<web_sys::Node>().ok());
        // A page that goes takes the focus along, when what it was made of is gone already.
        if let Some(Some(anchor)) = anchor.try_get_untracked()
            && !anchor.contains(to.as_ref())
        {
            open.set(false);
        }
    };
    html! {
        <div class="menu-anchor" node_ref=anchor on:focusout=on(left)>
            <button
                type="button"
                class=if bare { "" } else { "button" }
                data-kind=kind
                data-shape=shape
                data-size=(!bare && shape.is_none()).then_some("small")
                aria-haspopup="menu"
                aria-expanded=move || if open.get() { "true" } else { "false" }
                aria-label=move || label.as_ref().map(Words::get)
                node_ref=opener
                on:click=on(move |_| open.update(|open| *open = !*open))
            >
                {button}
            </button>
            <div
                class="menu"
                role="menu"
                tabindex="-1"
                aria-label=name
                data-align=start.then_some("start")
                hidden=move || !open.get()
                node_ref=list
                on:keydown=on(keys)
                on:click=on(chosen)
            >
                {children()}
            </div>
        </div>
    }
}
