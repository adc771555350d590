//! What happened to a project: the element `fsa-activity` does all of it, in TypeScript.

use crate::{
    components::{
        frame::{ProjectFrame, Tab},
        project::{Project, page_title},
    },
    first::first,
};
use leptos::prelude::*;
use leptos_meta::Title;

/// The page.
#[component]
pub fn Activity() -> impl IntoView {
    super::of_project(Callback::new(move |project| html! { <Page project/> }))
}

#[component]
fn Page(project: Project) -> impl IntoView {
    let source = format!("/api/projects/{}/activity", project.id);
    // Made by the browser's parser, with what it shows first.
    let element = format!("<fsa-activity class=\"stack\" src=\"{source}\">{}</fsa-activity>", first(&source));
    // Goes up with everything that is told: then it reads what is new.
    let state = move || project.view.with(|view| view.sandbox.changed_at.as_millisecond() + view.updated_at.as_millisecond());
    html! {
        <Title text=page_title(project, "Activity")/>
        <ProjectFrame project tab=Tab::Activity>
            <div class="page page-narrow">
                <div class="page-head"><div><h1>"Activity"</h1><p>"Everything that happened to this project."</p></div></div>
                <div data-state=state inner_html=element></div>
            </div>
        </ProjectFrame>
    }
}
