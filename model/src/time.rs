//! Times on the wire: RFC 3339, in UTC, as `2026-11-23T12:04:05.123Z`.
//!
//! The server writes and reads them by jiff. The browser has a reader of its own: jiff's, with the
//! texts of all its errors, would be a sixth of its code.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;

/// For `#[serde(with = "crate::time")]`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    at.serialize(to)
}

/// For `#[serde(with = "crate::time")]`.
///
/// # Errors
/// For what is no time.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let text = Cow::<str>::deserialize(from)?;
    read(&text).ok_or_else(|| D::Error::custom("not a time"))
}

/// The same for times that may be missing.
pub mod option {
    use super::{Cow, Deserialize, Deserializer, Serialize, Serializer, Timestamp, read};
    use serde::de::Error as _;

    /// For `#[serde(with = "crate::time::option")]`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        at.serialize(to)
    }

    /// For `#[serde(default, with = "crate::time::option")]`.
    ///
    /// # Errors
    /// For what is neither a time nor `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        match Option::<Cow<str>>::deserialize(from)? {
            None => Ok(None),
            Some(text) => read(&text).map(Some).ok_or_else(|| D::Error::custom("not a time")),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn read(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(target_arch = "wasm32")]
fn read(text: &str) -> Option<Timestamp> {
    parse(text)
}

/// Reads `2026-11-23T12:04:05[.123456789]Z` and nothing else.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.bytes().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
    };
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if !text.ends_with('Z') || marks.iter().any(|(at, mark)| text.get(*at..at + 1) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let real = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match text.get(19..text.len() - 1)? {
        "" => 0,
        fraction => {
            let digits = fraction.strip_prefix('.').filter(|digits| (1..=9).contains(&digits.len()))?;
            let scale = 10i64.pow(u32::try_from(9 - digits.len()).ok()?);
            number(20, 20 + digits.len())? * scale
        }
    };
    let secs = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Timestamp::new(secs, i32::try_from(nanos).ok()?).ok()
}

/// Writes `2026-11-23T12:04:05Z`: whole seconds.
#[must_use]
pub fn text(at: Timestamp) -> String {
    let secs = at.as_millisecond().div_euclid(1000);
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days after 1970-01-01 (the same source).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_browser_reads_what_the_server_writes(secs in 0i64..253_402_300_799, nanos in 0i32..1_000_000_000) {
            let at = Timestamp::new(secs, nanos).unwrap();
            prop_assert_eq!(parse(&at.to_string()), Some(at));
        }

        #[test]
        fn both_write_whole_seconds_the_same(secs in 0i64..253_402_300_799) {
            let at = Timestamp::from_second(secs).unwrap();
            prop_assert_eq!(text(at), at.to_string());
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let bad = [
            "",
            "Z",
            "2026-11-23",
            "2026-11-23T12:04:05",
            "2026-11-23T12:04:05+01:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567890Z",
            "２026-01-01T00:00:00Z",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("2024-02-29T23:59:59.5Z").is_some());
    }
}
