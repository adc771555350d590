//! The gate of every page that needs a sign-in: what it opens with is loaded, then the page is shown.

use super::{explanation::Refusal, frame::Blank};
use crate::{browser, clock::Clock, erased::effect, live::Live, load::Loaded, root::FirstLoad};
use leptos::prelude::*;

/// Shows `page` to someone who is signed in, once what it opens with is there.
#[component]
pub fn Signed(
    /// Makes the page.
    page: Callback<(), AnyView>,
) -> impl IntoView {
    #[cfg(feature = "ssr")]
    if use_context::<crate::control::RequestContext>().is_some_and(|context| context.viewer.is_none()) {
        redirect("/sign-in");
    }
    let opening = use_context::<FirstLoad>();
    let live = use_context::<Live>().unwrap_or_default();
    let clock = use_context::<Clock>().unwrap_or_default();
    html! {
        <Suspense fallback=|| html! { <Blank/> }>
            {move || {
                Suspend::new(async move {
                    let Some(FirstLoad(opening)) = opening else { return ().into_any() };
                    match opening.await {
                        Ok(Loaded::Opening(opening)) if opening.viewer.is_some() => {
                            clock.open(opening.now);
                            live.open(&opening);
                            page.run(())
                        }
                        Ok(_) => {
                            effect(|| browser::go("/sign-in"));
                            ().into_any()
                        }
                        Err(error) => html! { <Blank><Refusal what="This page could not be loaded" error/></Blank> },
                    }
                })
            }}
        </Suspense>
    }
}

/// Answers the page's request with another address.
#[cfg(feature = "ssr")]
fn redirect(to: &'static str) {
    use axum::http::{HeaderValue, StatusCode, header};
    if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
        response.insert_header(header::LOCATION, HeaderValue::from_static(to));
        response.set_status(StatusCode::FOUND);
    }
}
