//! The sandbox agent: PID 1 of every sandbox.
//!
//! ```text
//!  control plane                                sandbox
//!  ┌──────────────┐   one byte stream each    ┌──────────────────────────────┐
//!  │ client       │ ────────────────────────> │ server ── session ── PTY     │
//!  │ (this crate) │   HTTP/1.1 + WebSocket    │        ── exec, files, ports │
//!  └──────────────┘                           └──────────────────────────────┘
//!            └──────────── protocol (this crate) ───────────┘
//! ```
//!
//! [`protocol`] is what both ends say and does no I/O; [`client`] speaks it over any stream; [`server`] is the agent itself. This crate
//! knows no Kubernetes, no database and no user: who may ask is decided before, and one token stands for all of it.

pub mod client;
pub mod install;
pub mod protocol;
pub mod server;
