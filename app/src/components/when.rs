//! Times on the page: relative in words, absolute in the title.

use crate::{clock::Clock, time};
use leptos::prelude::*;
use model::Timestamp;

/// "3 min ago".
#[component]
pub fn Ago(
    /// When it was.
    at: Timestamp,
) -> impl IntoView {
    let clock = use_context::<Clock>().unwrap_or_default();
    html! {
        <time datetime=model::time::text(at) title=time::utc(at)>
            {move || time::ago(at, clock.now())}
        </time>
    }
}

/// "2 h 14 min", since a time.
pub fn lasting(since: Timestamp, clock: Clock) -> String {
    time::span(clock.now() - time::millis(since))
}
