//! What happened to a project, and to all of them with the account: the element `fsa-activity` does all of it, in TypeScript.

use crate::{
    components::{
        frame::{Frame, ProjectFrame, Tab},
        project::{Project, page_title},
        signed::Signed,
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

/// The page of the account: of all projects, those that are gone included, of sign-ins, sessions and tokens.
#[component]
pub fn Account() -> impl IntoView {
    html! { <Signed page=Callback::new(|()| html! { <Whole/> })/> }
}

#[component]
fn Whole() -> impl IntoView {
    let source = "/api/activity";
    let content = format!(
        "<div class=\"page-head\"><div><h1>Activity</h1><p>Everything that happened to your projects and to your account.</p></div></div>\
         <div><fsa-activity class=\"stack\" src=\"{source}\">{}</fsa-activity></div>",
        first(source)
    );
    html! {
        <Title text="Activity"/>
        <Frame here="Activity"><div class="page page-narrow" inner_html=content></div></Frame>
    }
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
