//! What a sandbox and what is around it wrote: the element `fsa-log` does all of it, in TypeScript.

use crate::components::{
    frame::{ProjectFrame, Tab},
    project::{Project, page_title},
};
use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn Logs() -> impl IntoView {
    super::of_project(Callback::new(move |project| html! { <Page project/> }))
}

#[component]
fn Page(project: Project) -> impl IntoView {
    let source = format!("/api/sandbox/{}/logs", project.id);
    // What there is none of is empty, and says so.
    let sources = "sandbox:Sandbox,past:The run before,keeper:Keeper,install:Preparation,database:Database,events:Events";
    html! {
        <Title text=page_title(project, "Logs")/>
        <ProjectFrame project tab=Tab::Logs>
            <div class="page">
                <div class="page-head"><div><h1>"Logs"</h1><p>"What the sandbox, what starts it and its database wrote, as it comes."</p></div></div>
                <fsa-log class="panel log" src=source sources=sources></fsa-log>
            </div>
        </ProjectFrame>
    }
}
