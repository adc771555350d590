//! Icons: symbols of one sprite, which the page loads once.

use leptos::prelude::*;

/// Where the sprite is.
#[derive(Clone)]
pub struct Icons(StoredValue<String>);

impl Icons {
    /// From the request on the server, from the page in the browser.
    #[must_use]
    pub fn read() -> Self {
        #[cfg(feature = "ssr")]
        let address =
            use_context::<crate::control::RequestContext>().map(|context| context.assets.icons_svg.clone()).unwrap_or_default();
        #[cfg(not(feature = "ssr"))]
        let address = crate::browser::meta("fsa-icons");
        Self(StoredValue::new(address))
    }
}

fn symbol(name: &str) -> String {
    let base = use_context::<Icons>().map(|icons| icons.0.get_value()).unwrap_or_default();
    format!("<use href=\"{base}#{name}\"></use>")
}

/// An icon that says nothing by itself: a word stands beside it.
pub fn icon(name: &str) -> AnyView {
    html! { <svg class="icon" aria-hidden="true" inner_html=symbol(name)></svg> }
}

/// The same with a class of its own.
pub fn icon_of(class: &'static str, name: &str) -> AnyView {
    html! { <svg class=format!("icon {class}") aria-hidden="true" inner_html=symbol(name)></svg> }
}

/// The product's mark.
pub fn brand_mark() -> AnyView {
    const MARK: &str = "<rect width=\"20\" height=\"20\" rx=\"5\" fill=\"var(--primary)\"/><path d=\"M5 6.25h10M5 10h7M5 13.75h4\" stroke=\"var(--on-primary)\" stroke-width=\"1.8\" stroke-linecap=\"round\"/><rect x=\"11.2\" y=\"12.25\" width=\"3.8\" height=\"3\" rx=\".7\" fill=\"#6f9bff\"/>";
    html! { <svg class="brand-mark" viewBox="0 0 20 20" aria-hidden="true" inner_html=MARK></svg> }
}
