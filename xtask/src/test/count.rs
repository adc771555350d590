//! What tests come to, and how it is read from what their runners print.

use crate::shell::say;
use anyhow::Result;
use serde_json::Value;
use std::fmt;

/// What a part came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// The last line of a run, which programs read: `N passed, N failed, N skipped`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Count {
    pub(super) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(super) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// Whether nothing failed.
    pub(super) fn holds(self) -> bool {
        self.failed == 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// One thing that was tried; what went wrong is said.
    pub(super) fn of(what: &str, tried: Result<()>) -> Self {
        match tried {
            Ok(()) => Self::PASSED,
            Err(error) => {
                say(format!("{what}: {error:#}"));
                Self::FAILED
            }
        }
    }
}

/// What a test program says that it came to. A test that cannot run here, or is left to the long runs, passes, says so at a
/// line's start, and counts as skipped.
pub(super) fn program_count(printed: &str) -> Count {
    let mut count = Count::default();
    printed.lines().for_each(|line| count.add(cargo_summary(line).unwrap_or_default()));
    let says_so = |line: &&str| ["skipped: ", "left to the long runs: "].iter().any(|said| line.starts_with(said));
    let left = printed.lines().filter(says_so).count() as u64;
    Count { passed: count.passed.saturating_sub(left), skipped: count.skipped + left, ..count }
}

/// A runner that fails without a failed test (it did not compile, it crashed) is one failure.
pub(super) fn ended(mut count: Count, success: bool) -> Count {
    if !success && count.failed == 0 {
        count.failed = 1;
    }
    count
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
pub(super) fn cargo_summary(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        rest.split(['.', ';'])
            .find_map(|part| part.trim().strip_suffix(word))
            .and_then(|n| n.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    Some(Count { passed: number("passed"), failed: number("failed"), skipped: number("ignored") })
}

/// One of the lines `# pass 3`, `# fail 0`, `# cancelled 0`, `# skipped 1` at the end; on a terminal
/// with `ℹ`.
pub(super) fn node_summary(line: &str) -> Count {
    let Some((word, number)) =
        line.strip_prefix(['#', 'ℹ']).and_then(|rest| rest.trim().split_once(' ')).and_then(|(w, n)| Some((w, n.parse().ok()?)))
    else {
        return Count::default();
    };
    match word {
        "pass" => Count { passed: number, ..Count::default() },
        "fail" | "cancelled" => Count { failed: number, ..Count::default() },
        "skipped" | "todo" => Count { skipped: number, ..Count::default() },
        _ => Count::default(),
    }
}

/// A journey that passed only at its second try failed.
pub(super) fn playwright_summary(report: &Value) -> Count {
    let number = |key: &str| report["stats"][key].as_u64().unwrap_or(0);
    Count { passed: number("expected"), failed: number("unexpected") + number("flaky"), skipped: number("skipped") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_s_summary_is_read() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.30s";
        assert_eq!(cargo_summary(line), Some(Count { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(cargo_summary("running 3 tests"), None);
    }

    #[test]
    fn what_cannot_run_or_is_left_to_the_long_runs_counts_as_skipped() {
        let printed = "test a ... ok\nleft to the long runs: FSA_LONG is not set\ntest b ... ok\ntest c ... \nskipped: no cluster\nok\n\
                       test what_is_skipped: this ... ok\n\n\
                       test result: ok. 5 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.30s\n";
        assert_eq!(program_count(printed), Count { passed: 3, failed: 1, skipped: 3 });
    }

    #[test]
    fn node_s_summary_is_read() {
        let mut count = Count::default();
        for line in
            ["# a test called pass 7 x", "# tests 6", "# pass 3", "# fail 2", "ℹ cancelled 1", "# skipped 1", "# duration_ms 7.5"]
        {
            count.add(node_summary(line));
        }
        assert_eq!(count, Count { passed: 3, failed: 3, skipped: 1 });
    }

    #[test]
    fn a_flaky_journey_failed() {
        let report = serde_json::json!({"stats": {"expected": 4, "unexpected": 1, "flaky": 1, "skipped": 2}});
        assert_eq!(playwright_summary(&report), Count { passed: 4, failed: 2, skipped: 2 });
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_is_a_failure() {
        assert_eq!(ended(Count { passed: 3, ..Count::default() }, false).failed, 1);
        assert_eq!(ended(Count { failed: 2, ..Count::default() }, false).failed, 2);
        assert_eq!(ended(Count::PASSED, true), Count::PASSED);
    }
}
