//! What an element of a page shows first. The server writes it into the element (`server/src/http/first`), which takes it over;
//! an element that the browser makes, after a move from another page, asks by itself.

/// The content of the element that reads `address`.
pub fn first(address: &str) -> String {
    #[cfg(feature = "ssr")]
    {
        let context = leptos::prelude::use_context::<crate::control::RequestContext>();
        context.and_then(|context| context.first.get(address).cloned()).unwrap_or_default()
    }
    #[cfg(not(feature = "ssr"))]
    {
        let _ = address;
        String::new()
    }
}
