//! How long something took, and when it was, as entries say it.

use jiff::Timestamp;

/// Of the hours since 1970, which `at` is in: what goes on by itself is told once in each.
pub(super) fn hour(at: Timestamp) -> i64 {
    at.as_second() / 3600
}

pub(super) fn minute(at: Timestamp) -> i64 {
    at.as_second() / 60
}

pub(super) fn millis(from: Timestamp, to: Timestamp) -> i64 {
    i64::try_from(to.duration_since(from).as_millis()).unwrap_or(i64::MAX).max(0)
}

/// `43 ms`, `12.4 s`, `3 min 2 s`, `5 h 20 min`, `3 d 4 h`.
pub(super) fn lasting(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_shortly() {
        assert_eq!(
            [0, 340, 12_410, 60_000, 3_723_000, 100_000_000].map(lasting),
            ["0 ms", "340 ms", "12.4 s", "1 min 0 s", "1 h 2 min", "1 d 3 h"]
        );
    }
}
