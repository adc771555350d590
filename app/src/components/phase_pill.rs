//! The pill that says a sandbox's phase, and the note on its database: by word, shape and colour.

use super::{
    icon::{icon, icon_of},
    project::Project,
};
use crate::state::Derived;
use leptos::prelude::*;
use model::{DatabaseState, Phase};

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

/// How a project's database is.
pub fn database_note(project: Project, class: &'static str) -> AnyView {
    let state = Derived::new(move || project.view.with(DatabaseState::of));
    html! {
        <span class=class data-tone=move || state.get().tone()>
            {move || {
                let state = state.get();
                let turns = if state == DatabaseState::Starting { "spin" } else { "" };
                html! { {icon_of(turns, state.icon())} <span class="state-of">"Database: "</span> <span class="state-word">{state.label()}</span> }
            }}
        </span>
    }
}
