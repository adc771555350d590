//! The pill that says a sandbox's phase, by word, shape and colour.

use super::icon::icon;
use leptos::prelude::*;
use model::Phase;

/// A pill that follows a phase.
#[component]
pub fn PhasePill(
    /// Which.
    #[prop(into)]
    phase: Signal<Phase>,
) -> impl IntoView {
    move || {
        let phase = phase.get();
        html! {
            <span class="phase-pill" data-phase=phase.key()>
                {icon(&format!("phase-{}", phase.key()))} {phase.label()}
            </span>
        }
    }
}
