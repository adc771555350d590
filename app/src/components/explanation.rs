//! Explanations: what happened, why, what to do, and the raw text one fold away.

use super::{icon::icon, prose::prose};
use crate::{
    erased::{Words, on},
    error::ControlError,
};
use leptos::prelude::*;

/// A cause, with its way out.
#[component]
pub fn Explanation(
    /// `bad`, `warn`.
    tone: &'static str,
    /// The headline.
    #[prop(into)]
    title: String,
    /// Below it.
    #[prop(into)]
    lead: String,
    /// What happened and why.
    #[prop(into)]
    why: String,
    /// What to do, the likeliest first.
    steps: Vec<String>,
    /// Raw text.
    #[prop(optional_no_strip)]
    detail: Option<String>,
    /// Buttons.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    let todo = match steps.as_slice() {
        [] => None,
        [one] => Some(prose(one)),
        many => Some(html! { <ul class="steps">{many.iter().map(|step| html! { <li>{prose(step)}</li> }).collect_view()}</ul> }),
    };
    html! {
        <section class="explanation" data-tone=tone role="alert" aria-labelledby="why">
            <div class="explanation-head">
                {icon(if tone == "bad" { "error" } else { "warning" })}
                <div>
                    <h2 id="why">{title}</h2>
                    {(!lead.is_empty()).then(|| html! { <p>{lead}</p> })}
                </div>
            </div>
            <dl>
                <dt>"What happened"</dt>
                <dd>{prose(&why)}</dd>
                {todo.map(|todo| html! { <dt>"What to do"</dt><dd>{todo}</dd> })}
            </dl>
            {children.map(|children| html! { <div class="explanation-actions">{children()}</div> })}
            {detail.map(|detail| html! {
                <details class="fold">
                    <summary>{icon("right")}"Raw detail"</summary>
                    <pre class="code-block" tabindex="0" role="group" aria-label="Raw detail"><code>{detail}</code></pre>
                </details>
            })}
        </section>
    }
}

/// A refused ask, in place.
#[component]
pub fn Refusal(
    /// What was refused: "Failed to create the project".
    what: &'static str,
    /// Why.
    error: ControlError,
) -> impl IntoView {
    html! {
        <div class="page page-narrow">
            <h1 class="visually-hidden">"FullStack Agent"</h1>
            // Full loads: a move within the page would show the same failure again.
            <Explanation tone="bad" title=what lead="" why=error.message steps=error.next_steps>
                <button type="button" class="button" data-kind="primary" on:click=on(|_| drop(window().location().reload()))>"Try again"</button>
                <a class="button" href="/" rel="external">"All projects"</a>
            </Explanation>
        </div>
    }
}

/// The message under a field.
pub fn field_message(id: &'static str, text: impl Fn() -> Option<String> + Send + Sync + 'static) -> AnyView {
    let text = Words::new(move || text().unwrap_or_default());
    let words = text.clone();
    html! {
        <p class="field-message" data-tone="bad" id=id role="alert" data-empty=move || words.get().is_empty().then_some("")>
            {icon("error")} <span>{move || prose(&text.get())}</span>
        </p>
    }
}
