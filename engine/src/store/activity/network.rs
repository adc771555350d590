//! Connections out of a sandbox that were refused.

use super::{Entry, foreign, time::hour, told};
use jiff::Timestamp;
use model::activity::ActivityKind;
use serde_json::json;

/// A connection out of the sandbox was refused. `to` comes from inside, and may be anything.
#[must_use]
pub fn refused(to: &str, why: &str, now: Timestamp) -> Entry {
    let shown = foreign(to);
    let bucket = format!("refused:{shown}:{}", hour(now));
    told(
        ActivityKind::Network,
        format!("Refused a connection to {shown}"),
        Some(format!("That is {why}, which sandboxes may not reach. The operator can allow it: --egress-allow")),
        json!({ "to": shown, "why": why }),
        Some(bucket),
    )
}

/// More destinations were refused than are told one by one.
#[must_use]
pub fn refused_others(now: Timestamp) -> Entry {
    let bucket = format!("refused-others:{}", hour(now));
    let title = "Refused connections to many other addresses";
    let detail = "The log of what keeps the sandbox has them one by one".to_owned();
    told(ActivityKind::Network, title, Some(detail), json!({ "to": null }), Some(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::activity::tests::at;

    #[test]
    fn what_comes_from_inside_is_cut_and_shows_no_control_characters() {
        let entry = refused(&format!("evil\u{1b}[2J\n{}:80", "x".repeat(500)), "a private address", at(0));
        assert!(!entry.title.contains(['\u{1b}', '\n']) && entry.title.chars().count() < 200, "{}", entry.title);
    }
}
