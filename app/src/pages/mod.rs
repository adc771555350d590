//! Pages, one file each.

pub mod activity;
pub mod environment;
pub mod new_project;
pub mod not_found;
pub mod part;
pub mod project_settings;
pub mod projects;
pub mod settings;
pub mod sign_in;
pub mod workspace;

use crate::{
    components::{project::Project, signed::Signed},
    live::Live,
    state::Derived,
};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use model::ProjectId;

/// The id in the page's address, if it is one.
fn project_id() -> Derived<Option<ProjectId>> {
    let params = use_params_map();
    Derived::new(move || params.with(|params| params.get("id")).and_then(|id| id.parse().ok()))
}

/// A page of the project in the address. It is made anew when the address names another project, and
/// replaced when the project is gone; never because the project's state changes.
fn of_project(page: Callback<Project, AnyView>) -> AnyView {
    let id = project_id();
    let page = Callback::new(move |()| {
        let live = use_context::<Live>().unwrap_or_default();
        let known = Derived::new(move || id.get().filter(|id| live.find(*id).is_some()));
        (move || match known.get().and_then(|id| untrack(|| live.find(id)).map(|view| Project::new(id, view))) {
            Some(project) => page.run(project),
            None => not_found::no_project(),
        })
        .into_any()
    });
    html! { <Signed page/> }
}
