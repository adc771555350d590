//! What is not there.

use crate::components::{
    frame::{Blank, Frame},
    icon::icon,
};
use leptos::prelude::*;
use leptos_meta::Title;

/// An address that names no page. `404`.
#[component]
pub fn NotFound() -> impl IntoView {
    not_found();
    html! {
        <Title text="Not found"/>
        <Blank>{message("There is no such page", "The address may be mistyped, or the page is gone.")}</Blank>
    }
}

/// A project that is not there, or not the viewer's: the two look the same. `404`.
pub fn no_project() -> AnyView {
    not_found();
    html! {
        <Title text="Not found"/>
        <Frame here="Not found">{message("There is no such project", "It was deleted, or it never was yours.")}</Frame>
    }
}

fn message(title: &'static str, text: &'static str) -> AnyView {
    html! {
        <div class="page page-narrow">
            <div class="empty-state">
                <span class="empty-glyph">{icon("search")}</span>
                <h1>{title}</h1>
                <p>{text}</p>
                <a class="button" data-kind="primary" href="/">"All projects"</a>
            </div>
        </div>
    }
}

fn not_found() {
    #[cfg(feature = "ssr")]
    if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
        response.set_status(axum::http::StatusCode::NOT_FOUND);
    }
}
