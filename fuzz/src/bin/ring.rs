//! A session's ring: writes of any sizes, read from any offset.
#![no_main]

libfuzzer_sys::fuzz_target!(|story: &[u8]| sandbox_agent::server::session::ring::holds_of(story));
