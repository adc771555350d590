//! Intent, observed state, and the loop between them. Knows neither HTTP nor Leptos nor Kubernetes.
//!
//! ```text
//!   Control ── intent ──▶ Store ◀── facts ── reconcile ──▶ Orchestrator   (local, kubernetes)
//!                           │                    └───────▶ Database       (a server, an operator)
//!                           └── changes ──▶ live pages
//! ```
//!
//! `reconcile` sees the world only through [`store::Store`], [`orchestrator::Orchestrator`],
//! [`database::Database`], [`clock::Clock`] and [`random::Random`], so that a simulator can stand in
//! for all of it.

pub mod clock;
pub mod database;
pub mod measure;
pub mod orchestrator;
pub mod random;
pub mod reconcile;
pub mod secrets;
pub mod store;
