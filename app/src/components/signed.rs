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
        redirect(&sign_in_address());
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
fn redirect(to: &str) {
    use axum::http::{HeaderValue, StatusCode, header};
    if let (Some(response), Ok(to)) = (use_context::<leptos_axum::ResponseOptions>(), HeaderValue::from_str(to)) {
        response.insert_header(header::LOCATION, to);
        response.set_status(StatusCode::FOUND);
    }
}

/// The sign-in page, which leads back here.
#[cfg(feature = "ssr")]
fn sign_in_address() -> String {
    let here = use_context::<axum::http::request::Parts>();
    let here = here.as_ref().and_then(|parts| parts.uri.path_and_query()).map_or("/", |here| here.as_str());
    if here == "/" { "/sign-in".to_owned() } else { format!("/sign-in?next={}", encoded(here)) }
}

/// Percent-encoded, as one value of a query.
#[cfg(feature = "ssr")]
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
