//! Dialogs: `<dialog>` keeps the focus inside and gives it back to the opener.

use super::icon::icon;
use crate::erased::{Words, effect, on};
use crate::state::State;
use leptos::{html, prelude::*};

/// A modal dialog that is open while `open` says so. Its content is made anew each time.
#[component]
pub fn Dialog(
    /// Whether it is open.
    open: State<bool>,
    /// Of the heading, to name it.
    title: &'static str,
    /// The heading.
    #[prop(into)]
    heading: Words,
    /// Asks for a decision.
    #[prop(optional)]
    alert: bool,
    children: ChildrenFn,
) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    effect(move || {
        let (open, Some(dialog)) = (open.get(), node.get()) else { return };
        if open && !dialog.open() {
            drop(dialog.show_modal());
        } else if !open && dialog.open() {
            dialog.close();
        }
    });
    let content = move || {
        let (children, heading) = (children.clone(), heading.clone());
        open.get().then(move || {
            html! {
                <div class="dialog-head">
                    <h2 id=title><bdi>{move || heading.get()}</bdi></h2>
                    <button
                        type="button"
                        class="button"
                        data-shape="icon"
                        data-kind="quiet"
                        data-size="small"
                        aria-label="Close"
                        on:click=on(move |_| open.set(false))
                    >
                        {icon("close")}
                    </button>
                </div>
                {children()}
            }
        })
    };
    html! {
        <dialog class="dialog" aria-labelledby=title role=alert.then_some("alertdialog") node_ref=node on:close=on(move |_| open.set(false))>
            {content}
        </dialog>
    }
}

/// A question before something that cannot be taken back. The safe answer comes first and has the focus.
#[component]
pub fn Confirm(
    /// Whether it is open.
    open: State<bool>,
    /// Of the heading, to name it.
    title: &'static str,
    /// The question.
    heading: Words,
    /// What is lost, and what is kept.
    text: Words,
    /// The safe answer.
    keep: &'static str,
    /// The other.
    act: &'static str,
    /// Called where it is given.
    run: Callback<()>,
) -> impl IntoView {
    let text = StoredValue::new(text);
    let done = move |_| {
        open.set(false);
        run.run(());
    };
    html! {
        <Dialog open title heading alert=true>
            <div class="dialog-body"><p>{move || text.with_value(Words::get)}</p></div>
            <div class="dialog-foot">
                <button type="button" class="button" autofocus on:click=on(move |_| open.set(false))>{keep}</button>
                <button type="button" class="button" data-kind="danger-solid" data-asks on:click=on(done)>{act}</button>
            </div>
        </Dialog>
    }
}
