//! What is promised beyond the contract, on a real cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

mod apiserver;
mod failures;
mod images;
mod others;
mod rights;
mod sandbox;
#[path = "../support/mod.rs"]
mod support;
