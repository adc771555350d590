//! What a test says that does not run here: past what the test runner keeps of a test that passes, so that `cargo xtask`
//! counts it as skipped and not as passed.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::Write as _;

/// A line of its own, in one write, beside which other tests write theirs.
fn tell(line: &str) {
    // The runner may have begun a line with the name of a test.
    let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
}

/// A test cannot run here. Under `FSA_REQUIRE_CLUSTER=1` that is a failure; else it says so and counts as skipped.
pub fn skipped(reason: &str) {
    assert!(
        std::env::var("FSA_REQUIRE_CLUSTER").as_deref() != Ok("1"),
        "FSA_REQUIRE_CLUSTER=1, and this test cannot run: {reason}"
    );
    passed_over(reason);
}

/// The same of what may be missing beside a cluster of ours too.
pub fn passed_over(reason: &str) {
    tell(&format!("skipped: {reason}"));
}

/// Whether this is a long run: what takes a minute and is much like what runs always.
pub fn long() -> bool {
    let long = std::env::var_os("FSA_LONG").is_some();
    if !long {
        tell("left to the long runs: FSA_LONG is not set");
    }
    long
}
