//! A session's ring: writes of any sizes, read from any offset.
#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};

#[derive(Debug)]
struct Story<'a> {
    capacity: usize,
    base: u64,
    offset: u64,
    limit: usize,
    writes: Vec<&'a [u8]>,
}

impl<'a> Arbitrary<'a> for Story<'a> {
    fn arbitrary(of: &mut Unstructured<'a>) -> Result<Self> {
        let mut story = Self {
            capacity: of.int_in_range(1..=64)?,
            base: of.int_in_range(0..=1_000)?,
            offset: of.int_in_range(0..=2_000)?,
            limit: of.arbitrary()?,
            writes: Vec::new(),
        };
        while !of.is_empty() {
            let length = of.int_in_range(0..=100.min(of.len()))?;
            story.writes.push(of.bytes(length.min(of.len()))?);
        }
        Ok(story)
    }
}

libfuzzer_sys::fuzz_target!(|story: Story<'_>| {
    let Story { capacity, base, offset, limit, writes } = story;
    sandbox_agent::server::session::ring::holds(capacity, base, writes, offset, limit);
});
