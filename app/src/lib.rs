//! Everything that browser and server share: pages, components, live state, server functions.
//!
//! ```text
//!   shell (server) ─▶ App ─▶ pages ─▶ components
//!                      │        │
//!             Opening ─┴─▶ Live, Clock (signals)      api (server functions) ─▶ Control (server)
//! ```
//!
//! Not here: how anything is done. `Control` is a trait that `server` implements.

// `view!` nests types as deep as the page is.
#![recursion_limit = "256"]

/// `view!`, erased: all of these are of one type, so that what shows one is compiled once. Half of the
/// WebAssembly, and of the time to compile it.
macro_rules! html {
    ($($view:tt)*) => {
        ::leptos::prelude::IntoAny::into_any(::leptos::prelude::view! { $($view)* }.into_inner())
    };
}

pub mod api;
mod browser;
mod clock;
pub mod components;
#[cfg(feature = "ssr")]
pub mod control;
mod erased;
pub mod error;
mod first;
mod live;
mod load;
mod order;
pub mod pages;
mod root;
#[cfg(feature = "ssr")]
mod shell;
pub mod size;
mod state;
mod time;
mod words;

pub use root::App;
#[cfg(feature = "ssr")]
pub use shell::{FAVICON, LOAD, THEME, shell};
