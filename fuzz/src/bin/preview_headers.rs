//! The headers of a preview, both ways: lines as they come over the wire, after a byte of choices.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choices, lines)) = data.split_first() else { return };
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    server::http::preview::headers::holds(headers, choices & 1 == 1, choices & 2 == 2);
});
