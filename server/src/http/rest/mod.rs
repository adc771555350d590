//! REST: takes a request apart, calls [`Control`](app::control::Control), puts the answer together.
//! Nothing else.

pub mod activity;
pub mod claude;
pub mod env;
pub mod projects;
pub mod repository;
pub mod sandbox;
pub mod sandboxes;
pub mod sessions;
pub mod shares;
pub mod tokens;
