//! The pill that says a sandbox's phase, by word, shape and colour.

use super::icon::icon;
use crate::state::Derived;
use leptos::prelude::*;
use model::Phase;

/// A pill that follows a phase.
#[component]
pub fn PhasePill(
    /// Which.
    phase: Derived<Phase>,
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
