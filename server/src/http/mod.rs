//! What answers HTTP: one door, behind which a request finds its place by host name and path.
//!
//! ```text
//!   router ── security: request id, Host, headers
//!     ├─ preview host ──▶ preview
//!     └─ app host ─ Origin ─┬─ assets, health
//!                           └─ auth: who asks ─┬─ rest, events, terminal, exec   (the table in routes)
//!                                              └─ leptos: pages and server functions
//! ```

pub mod assets;
pub mod auth;
pub mod body;
pub mod connections;
mod dev;
pub mod doctor;
pub mod errors;
pub mod etag;
pub mod events;
pub mod exec;
pub mod files;
mod first;
pub mod frame;
pub mod github;
pub mod health;
pub mod ingress;
pub mod leptos;
pub mod limits;
pub mod logs;
pub mod metrics;
pub mod open;
pub mod openapi;
pub mod paging;
pub mod patience;
pub mod preview;
pub mod rest;
pub mod router;
pub mod routes;
pub mod security;
pub mod state;
pub mod terminal;

pub use router::{router, router_with};
pub use state::{Plane, PlaneParts};
