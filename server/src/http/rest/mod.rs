//! REST: takes a request apart, calls [`Control`](app::control::Control), puts the answer together.
//! Nothing else.

pub mod activity;
pub mod env;
pub mod projects;
pub mod sandbox;
pub mod shares;
pub mod tokens;
