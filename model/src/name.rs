//! Names: what a person types, the slug derived from it, and the name that objects in the world carry.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Why a text is no display name. HTTP: 422.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DisplayNameError {
    /// Nothing but white space.
    #[error("A project needs a name. Any text will do.")]
    Empty,
    /// Over [`DisplayName::MAX_CHARS`].
    #[error("The name has {0} characters; at most {max} fit.", max = DisplayName::MAX_CHARS)]
    TooLong(usize),
    /// A control character, such as a line break or NUL.
    #[error("The name has a control character (U+{0:04X}) in it, such as a line break. Take it out.")]
    Control(u32),
}

/// A project's name as its owner typed it: any text of 1 to 300 characters, trimmed. Control characters
/// are refused: a line break or an escape sequence in a name would break every list, log and terminal
/// that shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(String);

impl DisplayName {
    /// Lists cut a name off where it gets too long for them; this is what the tables and events carry.
    pub const MAX_CHARS: usize = 300;

    /// A name read back from the store, which was checked by the rules of its day: a rule that came
    /// since must not make a row unreadable.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayName {
    type Err = DisplayNameError;
    fn from_str(text: &str) -> Result<Self, DisplayNameError> {
        let text = text.trim();
        let count = text.chars().count();
        if !text.chars().any(is_visible) {
            return Err(DisplayNameError::Empty);
        }
        if count > Self::MAX_CHARS {
            return Err(DisplayNameError::TooLong(count));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(DisplayNameError::Control(u32::from(c))),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// Whether a reader would see anything at all: not white space, and neither one of Unicode's
/// `Default_Ignorable_Code_Point` (zero-width and direction marks, Hangul fillers, variation selectors,
/// tags) nor the blank Braille pattern.
fn is_visible(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(
            c,
            '\u{00AD}'
                | '\u{034F}'
                | '\u{061C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFF8}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

impl TryFrom<String> for DisplayName {
    type Error = DisplayNameError;
    fn try_from(text: String) -> Result<Self, DisplayNameError> {
        text.parse()
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> String {
        name.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A DNS label of at most 40 characters derived from a display name; unique in an installation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slug(String);

impl Slug {
    const MAX: usize = 40;

    /// The slug of a name. `attempt` 0 is the plain one; `attempt` n > 0 ends in `-{n+1}`, for names
    /// whose plain slug is taken.
    #[must_use]
    pub fn derive(name: &DisplayName, attempt: u32) -> Self {
        let mut slug = label(name.as_str(), Self::MAX);
        if slug.is_empty() {
            slug.push_str("project");
        }
        if attempt > 0 {
            let suffix = format!("-{}", u64::from(attempt) + 1);
            slug.truncate(Self::MAX - suffix.len());
            let kept = slug.trim_end_matches('-').len();
            slug.truncate(kept);
            slug.push_str(&suffix);
        }
        Self(slug)
    }

    /// A slug read back from the store.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no resource name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sandbox's name: it has the form `project-agentruntime-abc123`")]
pub struct NotAResourceName(pub String);

/// The name of a sandbox's objects in the world: `[project]-agentruntime-[6 random characters]`.
///
/// A valid DNS label for every input; the project part has at most 20 characters, so that
/// `65535--NAME` and `NAME-postgresql-postgresql` fit in the 63 of RFC 1035.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String);

impl ResourceName {
    const PROJECT_MAX: usize = 20;
    const MIDDLE: &'static str = "-agentruntime-";
    /// How many random characters a name ends in.
    pub const SUFFIX: usize = 6;
    /// Which characters those are: 36^6 is over two thousand million.
    pub const ALPHABET: &'static [u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

    /// A name for a project's slug and six random bytes (each taken modulo 36).
    #[must_use]
    pub fn new(slug: &Slug, random: [u8; Self::SUFFIX]) -> Self {
        let mut project = label(slug.as_str(), Self::PROJECT_MAX);
        if !project.starts_with(|c: char| c.is_ascii_lowercase()) {
            // A Service's name must begin with a letter (RFC 1035); a slug may begin with a digit.
            project = label(&format!("p-{project}"), Self::PROJECT_MAX);
        }
        let suffix: String =
            random.iter().map(|byte| char::from(Self::ALPHABET[usize::from(*byte) % Self::ALPHABET.len()])).collect();
        Self(format!("{project}{}{suffix}", Self::MIDDLE))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceName {
    type Err = NotAResourceName;
    fn from_str(text: &str) -> Result<Self, NotAResourceName> {
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let fits = text.rsplit_once(Self::MIDDLE).is_some_and(|(project, suffix)| {
            (1..=Self::PROJECT_MAX).contains(&project.len())
                && project.starts_with(|c: char| c.is_ascii_lowercase())
                && plain(project)
                && suffix.len() == Self::SUFFIX
                && suffix.bytes().all(|b| Self::ALPHABET.contains(&b))
        });
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAResourceName(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for ResourceName {
    type Error = NotAResourceName;
    fn try_from(text: String) -> Result<Self, NotAResourceName> {
        text.parse()
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> String {
        name.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case letters, digits and single dashes, neither first nor last a dash, at most `max` long.
fn label(text: &str, max: usize) -> String {
    let mut label = String::with_capacity(max);
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
        if label.len() == max {
            break;
        }
    }
    let kept = label.trim_end_matches('-').len();
    label.truncate(kept);
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_dns_label(text: &str) -> bool {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    }

    proptest! {
        #[test]
        fn every_accepted_name_gives_dns_labels(text in "\\PC{1,320}", random: [u8; 6], attempt in 0u32..100_000) {
            let Ok(name) = text.parse::<DisplayName>() else { return Ok(()) };
            let slug = Slug::derive(&name, attempt);
            prop_assert!(is_dns_label(slug.as_str()) && slug.as_str().len() <= 40, "{slug}");
            let resource = ResourceName::new(&slug, random);
            prop_assert!(is_dns_label(resource.as_str()));
            let preview = format!("65535--{resource}");
            let database = format!("{resource}-postgresql-postgresql");
            prop_assert!(is_dns_label(&preview) && is_dns_label(&database), "{} {}", preview.len(), database.len());
            prop_assert_eq!(resource.as_str().parse::<ResourceName>().unwrap(), resource);
        }

        #[test]
        fn attempts_differ(text in "[a-z ]{1,60}x", a in 0u32..5000, b in 0u32..5000) {
            let name: DisplayName = text.parse().unwrap();
            prop_assert_eq!(a == b, Slug::derive(&name, a) == Slug::derive(&name, b));
        }
    }

    #[test]
    fn any_text_is_a_name_unless_nothing_is_seen() {
        for good in ["a", "Ünïcödé", "مشروع", "日本語", "🚢", "  padded  ", "a/b\\c'\"<>&"] {
            assert!(good.parse::<DisplayName>().is_ok(), "{good}");
        }
        for empty in
            ["", "   ", "\u{a0}\u{2003}", "\u{200b}\u{202e}", "\u{3164}", "\u{2800}", "\u{115f}\u{1160}", "\u{fe0f}\u{e0020}"]
        {
            assert_eq!(empty.parse::<DisplayName>(), Err(DisplayNameError::Empty), "{empty:?}");
        }
        assert_eq!("a\nb".parse::<DisplayName>(), Err(DisplayNameError::Control(10)));
        assert_eq!("a\0b".parse::<DisplayName>(), Err(DisplayNameError::Control(0)));
        assert!("한\u{3164}글 ❤\u{fe0f}".parse::<DisplayName>().is_ok(), "beside something that is seen, they may stand");
        assert_eq!("a\u{1b}[31m".parse::<DisplayName>(), Err(DisplayNameError::Control(0x1b)));
        assert!("مرحبا".repeat(60).parse::<DisplayName>().is_ok(), "300 characters of two bytes");
        assert_eq!("x".repeat(301).parse::<DisplayName>(), Err(DisplayNameError::TooLong(301)));
    }

    #[test]
    fn a_name_without_letters_has_a_slug() {
        let name: DisplayName = "日本語".parse().unwrap();
        assert_eq!(Slug::derive(&name, 0).as_str(), "project");
        assert_eq!(Slug::derive(&name, 1).as_str(), "project-2");
    }
}
