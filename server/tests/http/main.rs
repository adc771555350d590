//! The HTTP server as its clients see it: the real router on a real socket, a real PostgreSQL with a
//! database a test, the real reconciler; sandboxes are the in-memory orchestrator's, with a small agent
//! and small apps in this process behind its connections.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

#[path = "../../../engine/tests/support/mod.rs"]
mod postgres;
mod support;

mod activity;
mod api;
mod auth;
mod bad_input;
mod claude;
mod clone;
mod database;
mod doctor;
mod events;
mod files;
mod first;
mod github;
mod hosts;
mod ingress;
mod keys;
mod limits;
mod logs;
mod matrix;
mod metrics;
mod preview;
mod preview_bad;
mod preview_ports;
mod projects;
mod proxies;
mod repository;
mod sandboxes;
mod schemathesis;
mod shares;
mod store_away;
mod store_full;
mod terminal;
