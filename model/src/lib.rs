//! The words of FullStack Agent, shared by browser and server.
//!
//! Ids, names, phase, stages, causes, the environment's rules, connection strings, and what crosses
//! the wire. No I/O, no clock, no randomness of its own: everything here is a pure function of its
//! arguments and compiles for both targets.
//!
//! ```text
//!   ids  name  env  claude  port  resources  connection   what things are called, and what they may be
//!                 \    |    /
//!   observed --> phase, stage, cause                 what is really there, and what that means
//!                      |
//!               view, activity                       what the browser and the REST API are shown
//!   text                                             what others wrote, as it can be stored
//! ```

pub mod activity;
pub mod cause;
pub mod claude;
pub mod connection;
pub mod database;
pub mod dotenv;
pub mod env;
pub mod ids;
pub mod name;
pub mod observed;
pub mod phase;
pub mod port;
pub mod repository;
pub mod resources;
pub mod stage;
pub mod text;
pub mod time;
pub mod view;

pub use cause::{Cause, CauseCode};
pub use database::DatabaseState;
pub use ids::{InstallationId, ProjectId, SandboxId, TokenId, UserId};
pub use jiff::Timestamp;
pub use name::{DisplayName, ResourceName, Slug};
pub use observed::{InstanceFact, Observed, StageFact};
pub use phase::{Desired, Intent, Phase, phase};
pub use stage::{Stage, StageLimits, StageState, StageView};
