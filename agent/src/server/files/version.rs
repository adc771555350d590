//! Which version of a file is meant: entity tags, and the headers that compare them (RFC 9110, section 13).

use std::fmt;

use http::{HeaderMap, HeaderName, header};
use rustix::fs::{FileType, Stat};

use crate::{protocol::http::Versions, server::error::Error};

/// What changes with each write to a file: where it lies, how long it is, and when it changed.
///
/// Two writes in place within one tick of the file system's clock (some milliseconds) that leave the length as it is have the same; a
/// write through this route never has, since it is another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    pub fn of(stat: &Stat) -> Self {
        let (modified, changed) = ((stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec));
        Self(format!(
            "\"{:x}-{:x}-{:x}.{:x}-{:x}.{:x}\"",
            stat.st_ino, stat.st_size, modified.0, modified.1, changed.0, changed.1
        ))
    }

    /// Of a regular file alone.
    pub fn of_file(stat: &Stat) -> Option<Self> {
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| Self::of(stat))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What must be there for a change to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// `If-Match`.
    one_of: Option<Tags>,
    /// `If-None-Match`.
    none_of: Option<Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tags(String);

impl Tags {
    fn of(headers: &HeaderMap, name: HeaderName) -> Result<Option<Self>, Error> {
        let mut values = Vec::new();
        for value in headers.get_all(&name) {
            let fits = value
                .to_str()
                .ok()
                .map(str::trim)
                .filter(|value| *value == "*" || value.split(',').all(|tag| is_tag(tag.trim())));
            values.push(fits.ok_or_else(|| {
                Error::bad_request("bad-etag", format!("The header {name} wants ETags in quotes, as they were answered, or *."))
            })?);
        }
        Ok((!values.is_empty()).then(|| Self(values.join(", "))))
    }

    /// Whether one of them is this version. Ours are strong; a proxy may have made one weak.
    fn have(&self, version: Option<&Version>) -> bool {
        let Some(version) = version else { return false };
        self.0.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == version.as_str())
    }

    fn are_any(&self) -> bool {
        self.0.split(',').any(|tag| tag.trim() == "*")
    }
}

fn is_tag(tag: &str) -> bool {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"') && !tag[1..tag.len() - 1].contains('"')
}

impl Condition {
    /// # Errors
    /// `400 Bad Request` for what is no list of tags.
    pub fn of(headers: &HeaderMap) -> Result<Self, Error> {
        Ok(Self { one_of: Tags::of(headers, header::IF_MATCH)?, none_of: Tags::of(headers, header::IF_NONE_MATCH)? })
    }

    /// Both versions, where the one that is there is not the one that was meant.
    pub fn broken(&self, current: Option<&Version>) -> Option<Versions> {
        let expected = match self {
            Self { one_of: Some(tags), .. } if !tags.have(current) => tags,
            Self { none_of: Some(tags), .. } if tags.have(current) => tags,
            _ => return None,
        };
        Some(Versions { expected: expected.0.clone(), current: current.map(ToString::to_string) })
    }

    /// Both versions of a name that has something, where it must have nothing (`If-None-Match: *`).
    pub fn taken(&self, current: &Version) -> Option<Versions> {
        let tags = self.none_of.as_ref().filter(|tags| tags.are_any())?;
        Some(Versions { expected: tags.0.clone(), current: Some(current.to_string()) })
    }

    /// Whether a reader has this version already.
    pub fn known(&self, current: &Version) -> bool {
        self.none_of.as_ref().is_some_and(|tags| tags.have(Some(current)))
    }
}

/// A part of a file: the first byte and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub start: u64,
    pub length: u64,
}

/// What the header `Range` asks of a file. Several ranges, or another unit, count as none: the whole is answered.
///
/// # Errors
/// `416 Range Not Satisfiable`: it begins behind the end.
pub fn part(headers: &HeaderMap, length: u64, current: &Version) -> Result<Option<Part>, Error> {
    let unmatched = headers.get(header::IF_RANGE).is_some_and(|tag| tag.as_bytes() != current.as_str().as_bytes());
    let range = headers.get(header::RANGE).filter(|_| !unmatched).and_then(|range| range.to_str().ok());
    let Some((first, last)) = range.and_then(|range| range.trim().strip_prefix("bytes=")?.split_once('-')) else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) || (first.is_empty() && last.is_empty()) {
        return Ok(None);
    }
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let (start, end) = if first.is_empty() {
        (length.saturating_sub(number(last)), length)
    } else {
        let end = if last.is_empty() { u64::MAX } else { number(last).saturating_add(1) };
        (number(first), end.min(length))
    };
    if !first.is_empty() && !last.is_empty() && number(first) > number(last) {
        return Ok(None);
    }
    if start >= length || end <= start {
        return Err(Error::new(
            http::StatusCode::RANGE_NOT_SATISFIABLE,
            "no-such-range",
            format!("The file has {length} bytes; the range begins behind them."),
        ));
    }
    Ok(Some(Part { start, length: end - start }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn version(tag: &str) -> Version {
        Version(format!("\"{tag}\""))
    }

    #[test]
    fn a_condition_holds_for_the_version_that_was_meant() {
        let broken = |name: HeaderName, value: &str, current: Option<&str>| {
            let condition = Condition::of(&headers(&[(name, value)])).unwrap();
            condition.broken(current.map(version).as_ref()).is_some()
        };
        for (value, current, wrong) in [
            ("\"a\"", Some("a"), false),
            ("\"b\", W/\"a\"", Some("a"), false),
            ("*", Some("a"), false),
            ("\"b\"", Some("a"), true),
            ("\"a\"", None, true),
            ("*", None, true),
        ] {
            assert_eq!(broken(header::IF_MATCH, value, current), wrong, "If-Match: {value} of {current:?}");
            assert_eq!(broken(header::IF_NONE_MATCH, value, current), !wrong, "If-None-Match: {value} of {current:?}");
        }
        assert_eq!(Condition::default().broken(None), None);
        for bad in ["a", "\"a", "\"a\" \"b\"", ""] {
            assert_eq!(Condition::of(&headers(&[(header::IF_MATCH, bad)])).unwrap_err().code, "bad-etag", "{bad}");
        }
    }

    #[test]
    fn a_name_is_taken_where_it_must_have_nothing() {
        let taken = |name: HeaderName, value: &str| {
            Condition::of(&headers(&[(name, value)])).unwrap().taken(&version("a")).map(|versions| versions.expected)
        };
        assert_eq!(taken(header::IF_NONE_MATCH, "*").as_deref(), Some("*"));
        assert_eq!(taken(header::IF_NONE_MATCH, "\"a\""), None, "a version, not a name");
        assert_eq!(taken(header::IF_MATCH, "*"), None);
    }

    #[test]
    fn a_range_is_one_part_of_the_file_or_the_whole() {
        let of =
            |range: &str| part(&headers(&[(header::RANGE, range)]), 10, &version("a")).map_err(|error| error.status.as_u16());
        for (range, start, length) in
            [("bytes=0-3", 0, 4), ("bytes=4-", 4, 6), ("bytes=-3", 7, 3), ("bytes=-30", 0, 10), ("bytes=9-99", 9, 1)]
        {
            assert_eq!(of(range), Ok(Some(Part { start, length })), "{range}");
        }
        for whole in ["bytes=", "bytes=-", "bytes=a-b", "bytes=3-2", "bytes=0-1,4-5", "lines=1-2", "0-3"] {
            assert_eq!(of(whole), Ok(None), "{whole}");
        }
        for behind in ["bytes=10-", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(of(behind), Err(416), "{behind}");
        }
        let resumed =
            |tag: &str| part(&headers(&[(header::RANGE, "bytes=1-"), (header::IF_RANGE, tag)]), 10, &version("a")).unwrap();
        assert!(resumed("\"a\"").is_some() && resumed("\"b\"").is_none() && resumed("W/\"a\"").is_none());
    }
}
