//! One Linux machine as the orchestrator, and the PostgreSQL that comes with it.
//!
//! ```text
//!  control plane                      one process a sandbox              namespaces of its own
//!  ┌────────────────────┐  keeper.sock ┌──────────────────┐   fork        ┌─────────────────────┐
//!  │ LocalOrchestrator  │◀────────────▶│ keeper           │──▶ bwrap ────▶│ sandbox-agent (1)   │
//!  │   index, volumes   │   JSON lines │  egress filter   │◀── TUN ──────▶│  shells, servers …  │
//!  │                    │              │  database forward│◀── 5432 ─────▶│                     │
//!  │   connect ─────────┼── agent.sock ┼──────────────────┼── (fd) ──────▶│                     │
//!  └────────────────────┘              └──────────────────┘               └─────────────────────┘
//! ```
//!
//! A keeper needs the control plane for nothing once it has its configuration, and the control plane
//! keeps nothing that it cannot learn again from keepers and folders: killing it breaks no sandbox,
//! and the next one adopts them. What is on disk is laid out in [`datafolder`].

mod causes;
pub mod datafolder;
pub mod keeper;
pub mod operator;
mod orchestrator;
pub mod postgres;
pub mod preflight;
mod programs;
pub mod settings;
mod sockets;
mod sys;
mod tree;
mod volume;

pub use orchestrator::{Down, LocalOrchestrator, down};
pub use settings::LocalSettings;
