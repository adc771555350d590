//! The dialog that deletes a project: its name must be typed.

use super::{dialog::Dialog, explanation::field_message, project::Project, toast::Toasts};
use crate::{
    api,
    erased::{Words, effect, on, typing},
    live::Live,
    size,
    state::State,
};
use leptos::task::spawn_local;
use leptos::{ev, prelude::*};
use leptos_router::hooks::use_navigate;

/// The dialog. It opens by [`Project::deleting`].
#[component]
pub fn DeleteDialog(
    /// Which.
    project: Project,
) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_default();
    let toasts = Toasts::here();
    let navigate = use_navigate();
    let typed = State::new(String::new());
    let refused = State::new(None::<String>);
    let busy = State::new(false);
    let open = project.deleting;
    effect(move || {
        if open.get() {
            typed.set(String::new());
            refused.set(None);
        }
    });
    let matches = move || typed.with(|typed| project.name.with(|name| typed.trim() == name));
    let ready = move || matches() && live.offline().is_none() && !busy.get();
    let delete = StoredValue::new(move |event: ev::SubmitEvent| {
        event.prevent_default();
        if !untrack(ready) {
            return;
        }
        let navigate = navigate.clone();
        busy.set(true);
        spawn_local(async move {
            let name = project.name.get_untracked();
            let answer = api::delete_project(project.id, typed.get_untracked().trim().to_owned()).await;
            busy.set(false);
            match answer {
                Ok(()) => {
                    open.set(false);
                    navigate("/", Default::default());
                    toasts.done(format!("{name} is being deleted"), "It leaves the list once nothing of it is left.");
                }
                Err(error) => {
                    live.failed(&error);
                    refused.set(Some(error.message));
                }
            }
        });
    });
    let what = move || {
        project.view.with(|view| {
            let files = view
                .sandbox
                .usage
                .map_or_else(|| "its files".to_owned(), |u| format!("its {} of files", size::bytes(u.disk_bytes)));
            let database = if view.database { ", the database" } else { "" };
            match view.extra_of {
                None => format!("This removes all of its sandboxes, {files}{database} and its variables. It cannot be undone."),
                Some(_) => format!("This removes the sandbox, {files}{database}. It cannot be undone."),
            }
        })
    };
    let keep = if project.view.with_untracked(|view| view.extra_of.is_some()) { "Keep the sandbox" } else { "Keep the project" };
    let heading = Words::new(move || format!("Delete {} and everything in it?", project.name.get()));
    html! {
        <Dialog open title="delete-title" heading alert=true>
            <form on:submit=on(move |event: ev::SubmitEvent| delete.with_value(|delete| delete(event)))>
                <div class="dialog-body">
                    <p>{what}</p>
                    <div class="field">
                        <label class="field-label" for="confirm-name">"Type " <code><bdi>{move || project.name.get()}</bdi></code> " to confirm"</label>
                        <input
                            class="input mono"
                            id="confirm-name"
                            autocomplete="off"
                            spellcheck="false"
                            autofocus
                            aria-describedby="confirm-refused"
                            prop:value=move || typed.get() on:input=typing(typed)
                        />
                        {field_message("confirm-refused", move || refused.get())}
                    </div>
                </div>
                <div class="dialog-foot">
                    <button type="button" class="button" on:click=on(move |_| open.set(false))>{keep}</button>
                    <button
                        class="button"
                        data-kind="danger-solid"
                        data-asks
                        aria-disabled=move || (!ready()).then_some("true")
                        aria-busy=move || busy.get().then_some("true")
                    >
                        {move || if busy.get() { "Deleting…" } else { "Delete everything" }}
                    </button>
                </div>
            </form>
        </Dialog>
    }
}
