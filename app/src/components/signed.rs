//! The gate of every page that needs a sign-in: what it opens with is loaded, then the page is shown.

use super::{explanation::Refusal, frame::Blank};
use crate::{browser, clock::Clock, live::Live, root::OpeningResource};
use leptos::prelude::*;

/// Shows `page` to someone who is signed in, once what it opens with is there.
#[component]
pub fn Signed<F>(
    /// Makes the page.
    page: F,
) -> impl IntoView
where
    F: Fn() -> AnyView + Clone + Send + Sync + 'static,
{
    #[cfg(feature = "ssr")]
    if use_context::<crate::control::RequestContext>().is_some_and(|context| context.viewer.is_none()) {
        redirect("/sign-in");
    }
    let opening = use_context::<OpeningResource>();
    let live = use_context::<Live>().unwrap_or_default();
    let clock = use_context::<Clock>().unwrap_or_default();
    view! {
        <Suspense fallback=|| view! { <Blank/> }>
            {move || {
                let page = page.clone();
                Suspend::new(async move {
                    match opening?.await {
                        Ok(opening) if opening.viewer.is_some() => {
                            clock.open(opening.now);
                            live.open(&opening);
                            Some(page())
                        }
                        Ok(_) => {
                            Effect::new(|| browser::go("/sign-in"));
                            None
                        }
                        Err(error) => Some(view! { <Blank><Refusal what="This page could not be loaded" error/></Blank> }.into_any()),
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
