//! Everything that browser and server share: pages, components, live state, server functions.

#[cfg(feature = "ssr")]
pub mod control;
pub mod error;
