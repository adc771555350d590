//! A `.env` as somebody pastes it.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| model::dotenv::holds(text));
