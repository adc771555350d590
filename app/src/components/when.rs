//! Times on the page: relative in words, absolute in the title.

use crate::{clock::Clock, time};
use leptos::prelude::*;
use model::Timestamp;

/// "3 min ago".
#[component]
pub fn Ago(
    /// When it was.
    #[prop(into)]
    at: Signal<Timestamp>,
) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    html! {
        <time datetime=move || model::time::text(at.get()) title=move || time::utc(at.get())>
            {move || time::ago(at.get(), clock.now())}
        </time>
    }
}

/// "2 h 14 min", since a time.
pub fn lasting(since: Timestamp, clock: Clock) -> String {
    time::span(clock.now() - time::millis(since))
}
