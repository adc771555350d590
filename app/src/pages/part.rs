//! Pages of a project that are an element of their own, in TypeScript, and nothing else: the address names the element.

use super::not_found::NotFound;
use crate::{
    components::{
        frame::{ProjectFrame, Tab},
        project::{Project, page_title},
    },
    first::first,
    state::Derived,
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

/// One of them.
#[derive(Clone, Copy)]
struct Kind {
    /// In the address.
    path: &'static str,
    /// As the page is headed.
    title: &'static str,
    /// Under the heading.
    about: &'static str,
    /// The element, from its name on.
    element: &'static str,
}

/// Where [`PARTS`] has the tree of files.
pub const FILES: usize = 0;
/// Where [`PARTS`] has what was written.
pub const LOGS: usize = 1;

/// Where [`PARTS`] has the database.
pub const DATABASE: usize = 2;

static PARTS: [Kind; 3] = [
    Kind {
        path: "files",
        title: "Files",
        about: "The home folder of the sandbox, while it runs.",
        element: "fsa-files class=\"panel files\"",
    },
    // What there is none of is empty, and says so.
    Kind {
        path: "logs",
        title: "Logs",
        about: "What the sandbox, what starts it and its database wrote, as it comes.",
        element: "fsa-log class=\"panel log\" sources=\"sandbox:Sandbox,past:The run before,keeper:Keeper,install:Preparation,database:Database,events:Events\"",
    },
    Kind {
        path: "database",
        title: "Database",
        about: "PostgreSQL next to the sandbox, kept when it stops or is terminated.",
        element: "fsa-database class=\"stack\"",
    },
];

/// The page.
#[component]
pub fn Part() -> impl IntoView {
    let params = use_params_map();
    let part = Derived::new(move || {
        params.with(|params| params.get("part")).and_then(|part| PARTS.iter().position(|of| of.path == part))
    });
    move || match part.get() {
        Some(at) => super::of_project(Callback::new(move |project| html! { <Page project at/> })),
        None => html! { <NotFound/> },
    }
}

#[component]
fn Page(project: Project, at: usize) -> impl IntoView {
    let Kind { path, title, about, element } = PARTS[at];
    // Made by the browser's parser, so that the element's attributes are all there when it begins.
    let root = if at == DATABASE { "projects" } else { "sandbox" };
    let source = format!("/api/{root}/{}/{path}", project.id);
    let name = element.split(' ').next().unwrap_or_default();
    let element = format!("<{element} src=\"{source}\">{}</{name}>", first(&source));
    html! {
        <Title text=page_title(project, title)/>
        <ProjectFrame project tab=Tab::Part(at)>
            <div class="page">
                <div class="page-head"><div><h1>{title}</h1><p>{about}</p></div></div>
                <div inner_html=element></div>
            </div>
        </ProjectFrame>
    }
}
