//! Times as pages write them. Pure: whoever calls knows what time it is.

use jiff::Timestamp;

/// Milliseconds since the epoch, as JavaScript counts them.
#[must_use]
pub fn millis(at: Timestamp) -> f64 {
    // 2^53 ms are 285,000 years.
    #[expect(clippy::cast_precision_loss, reason = "exact for every date that a page shows")]
    let millis = at.as_millisecond() as f64;
    millis
}

/// A count, without the fraction. Integers throughout: the code that writes floating-point numbers is
/// longer than the rest of this file.
#[must_use]
pub fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let whole = number.clamp(0.0, 1e15) as u64;
    whole
}

/// "7.3 s", "1 min 22 s", "2 h 14 min", "3 days 4 h".
#[must_use]
pub fn elapsed(ms: f64) -> String {
    let ms = ms.max(0.0);
    if ms < 59_950.0 {
        let tenths = whole(ms / 100.0 + 0.5);
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    span(ms)
}

/// "7 s", "1 min 22 s", "2 h 14 min", "3 days 4 h": for what lasts.
#[must_use]
pub fn span(ms: f64) -> String {
    let secs = whole(ms / 1000.0);
    let (days, hours, mins) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, mins) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{mins} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {mins} min"),
        (1, _, _) => format!("1 day {hours} h"),
        _ => format!("{days} days {hours} h"),
    }
}

/// "0:07", "2:05": minutes and seconds, for what counts.
#[must_use]
pub fn minutes(ms: f64) -> String {
    let secs = whole(ms / 1000.0 + 0.001);
    format!("{}:{:02}", secs / 60, secs % 60)
}

/// "now", "12 s ago", "3 min ago", "2 h ago", "5 days ago", and from a month on the date.
#[must_use]
pub fn ago(at: Timestamp, now: f64) -> String {
    let ms = now - millis(at);
    let secs = whole(ms / 1000.0);
    match secs {
        0..=4 => "now".to_owned(),
        5..=59 => format!("{secs} s ago"),
        60..=3599 => format!("{} min ago", secs / 60),
        3600..=86_399 => format!("{} h ago", secs / 3600),
        86_400..=172_799 => "1 day ago".to_owned(),
        172_800..=2_591_999 => format!("{} days ago", secs / 86_400),
        _ => model::time::text(at).chars().take(10).collect(),
    }
}

/// "in 82 days", "in 5 h", or "expired".
#[must_use]
pub fn ahead(at: Timestamp, now: f64) -> String {
    let ms = millis(at) - now;
    if ms <= 0.0 {
        return "expired".to_owned();
    }
    let hours = whole(ms / 3_600_000.0);
    match hours {
        0 => "in under an hour".to_owned(),
        1..=47 => format!("in {hours} h"),
        _ => format!("in {} days", hours / 24),
    }
}

/// "2026-11-23 12:04:05 UTC", for titles.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    model::time::text(at).replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn elapsed_counts_tenths_for_a_minute() {
        let texts: Vec<_> = [-5.0, 0.0, 7_340.0, 59_949.0, 59_950.0, 60_000.0, 82_000.0, 8_040_000.0].map(elapsed).into();
        assert_eq!(texts, ["0.0 s", "0.0 s", "7.3 s", "59.9 s", "59 s", "1 min 0 s", "1 min 22 s", "2 h 14 min"]);
    }

    #[test]
    fn ago_grows_coarser() {
        let now = millis(at(0));
        let texts: Vec<_> = [9, 0, -4, -5, -59, -60, -3600, -86_400, -200_000].map(|s| ago(at(s), now)).into();
        assert_eq!(texts, ["now", "now", "now", "5 s ago", "59 s ago", "1 min ago", "1 h ago", "1 day ago", "2 days ago"]);
        assert_eq!(ago(at(-3_000_000), now), "2026-12-11");
    }

    #[test]
    fn what_is_to_come_says_how_far() {
        let now = millis(at(0));
        assert_eq!(
            [ahead(at(0), now), ahead(at(60), now), ahead(at(7_200), now), ahead(at(864_000), now)],
            ["expired", "in under an hour", "in 2 h", "in 10 days"]
        );
    }

    #[test]
    fn a_title_has_the_whole_time() {
        assert_eq!(utc(at(0)), "2027-01-15 08:00:00 UTC");
    }
}
