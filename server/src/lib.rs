//! The control plane: HTTP, sign-in, terminal, previews, REST and the command line.
//!
//! ```text
//!   browser, program ──▶ http ──▶ control ──▶ Store ──▶ (engine) reconcile ──▶ Orchestrator, Database
//!                         │ ▲
//!                         │ └─ live ◀── Store::changes, the agents' events
//!                         ├─ http::terminal, http::exec ──▶ agent ──▶ Orchestrator::connect
//!                         └─ http::preview ───────────────────────────▶ Orchestrator::connect
//! ```
//!
//! [`room`] knows whether anything can be stored. Only [`control`] writes intent. Only [`cli`] knows which orchestrator and which database there are;
//! everything else sees the traits of the `engine` crate.

// Pages are types as deep as they are, and are made into code here.
#![recursion_limit = "512"]

pub mod agent;
pub mod cli;
pub mod clone;
pub mod config;
pub mod control;
pub mod dist;
pub mod doctor;
pub mod git;
pub mod github;
pub mod http;
pub mod live;
pub mod refusals;
pub mod room;
pub mod sweep;
pub mod views;
