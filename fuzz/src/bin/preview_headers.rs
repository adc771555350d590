//! The headers of a preview, both ways: lines as they come over the wire, after a byte of choices.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| server::http::preview::headers::holds_of(data));
