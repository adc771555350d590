//! The root of every page: what all of them share, and which address shows which.

use crate::{
    browser,
    clock::Clock,
    components::{
        icon::Icons,
        toast::{ToastRegion, Toasts},
    },
    erased::{effect, later},
    live::Live,
    load::{self, What},
    pages,
};
use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{FlatRoutes, Route, Router},
    hooks::use_location,
    path,
};

/// What every page opens with, as it was loaded once for this visit.
#[derive(Clone, Copy)]
pub struct FirstLoad(pub load::Load);

/// The whole application, in the server's rendering and in the browser.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let live = Live::new();
    let clock = Clock::new();
    provide_context(live);
    provide_context(clock);
    provide_context(Toasts::new());
    provide_context(Icons::read());
    provide_context(FirstLoad(load::load(Signal::stored(What::Opening))));

    effect(move || {
        clock.start();
        live.start(clock);
        browser::call(&window(), "fsaReady", &[]);
    });

    html! {
        <Title formatter=|text: String| if text.is_empty() { "FullStack Agent".to_owned() } else { format!("{text} · FullStack Agent") }/>
        <a class="skip-link button" data-kind="primary" href="#main">"Skip to content"</a>
        <Router>
            <FocusFollows/>
            <FlatRoutes fallback=pages::not_found::NotFound>
                <Route path=path!("/sign-in") view=pages::sign_in::SignIn ssr=SsrMode::Async/>
                <Route path=path!("/") view=pages::projects::Projects ssr=SsrMode::Async/>
                <Route path=path!("/projects/new") view=pages::new_project::NewProject ssr=SsrMode::Async/>
                <Route path=path!("/projects/:id") view=pages::workspace::Workspace ssr=SsrMode::Async/>
                <Route path=path!("/projects/:id/environment") view=pages::environment::Environment ssr=SsrMode::Async/>
                <Route path=path!("/projects/:id/activity") view=pages::activity::Activity ssr=SsrMode::Async/>
                <Route path=path!("/projects/:id/settings") view=pages::project_settings::ProjectSettings ssr=SsrMode::Async/>
                <Route path=path!("/projects/:id/:part") view=pages::part::Part ssr=SsrMode::Async/>
                <Route path=path!("/activity") view=pages::activity::Account ssr=SsrMode::Async/>
                <Route path=path!("/settings") view=pages::settings::Settings ssr=SsrMode::Async/>
            </FlatRoutes>
        </Router>
        <ToastRegion/>
    }
}

/// After a move to another page the focus is at its beginning, as after a load.
#[component]
fn FocusFollows() -> impl IntoView {
    let path = use_location().pathname;
    later(
        move || path.track(),
        || {
            request_animation_frame(|| {
                if let Some(main) = document().body().and_then(|body| browser::find(&body, "#main")) {
                    browser::call(&main, "focus", &[]);
                }
            });
        },
    );
}
