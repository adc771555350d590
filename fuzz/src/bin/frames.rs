//! The frames of a terminal: `fsa-tty.v1` and ttyd's.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sandbox_agent::protocol::frame::holds(bytes::Bytes::copy_from_slice(data)));
