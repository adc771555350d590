//! Pieces of markup that all have.

use crate::http::preview::page::escape;
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::Serialize;

/// How one page is written.
pub struct Paint {
    /// The address of the icons, as an attribute has it.
    icons: String,
    zone: Offset,
    now: Timestamp,
}

impl Paint {
    /// With the address of the icons, for somebody whose clock is so far from UTC.
    pub fn new(icons: &str, zone: Offset, now: Timestamp) -> Self {
        Self { icons: escape(icons), zone, now }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A time by the clock of who looks.
    pub fn local(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }

    /// `12:04:03`, by the clock of who looks.
    pub fn clock(&self, at: Timestamp) -> String {
        let at = self.local(at);
        format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
    }

    /// An icon of the page's sheet.
    pub fn icon(&self, name: &str) -> String {
        format!("<svg class=\"icon\" aria-hidden=\"true\"><use href=\"{}#{name}\"></use></svg>", self.icons)
    }

    /// A small button with an icon and words; without words to the eye where it has a `label` alone.
    pub fn button(&self, glyph: &str, text: &str, label: &str) -> String {
        self.button_of("", glyph, text, label)
    }

    /// The same of a kind: `primary`, `danger`.
    pub fn button_of(&self, kind: &str, glyph: &str, text: &str, label: &str) -> String {
        let kind = if kind.is_empty() { String::new() } else { format!(" data-kind=\"{kind}\"") };
        let shape = if text.is_empty() { " data-shape=\"icon\"" } else { "" };
        let label = if label.is_empty() { String::new() } else { format!(" aria-label=\"{0}\" title=\"{0}\"", escape(label)) };
        let icon = self.icon(glyph);
        format!(
            "<button type=\"button\" class=\"button\" data-size=\"small\"{label}{shape}{kind}>{icon}{}</button>",
            escape(text)
        )
    }

    /// "3 hours ago".
    pub fn ago(&self, at: Timestamp) -> String {
        let minutes = self.now.duration_since(at).as_mins().max(0);
        let (count, unit) = match minutes {
            0 => return "just now".to_owned(),
            1..60 => (minutes, "minute"),
            60..1440 => (minutes / 60, "hour"),
            _ => (minutes / 1440, "day"),
        };
        format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
    }
}

/// A sentence: what stands in backticks is code. A mark that stands alone is text.
pub fn prose(text: &str) -> String {
    let (mut html, mut rest) = (String::new(), text);
    while let Some((before, (code, after))) =
        rest.split_once('`').and_then(|(before, from)| Some((before, from.split_once('`')?)))
    {
        html += &escape(before);
        if !code.is_empty() {
            html += &format!("<code>{}</code>", escape(code));
        }
        rest = after;
    }
    html + &escape(rest)
}

/// A small button of words.
pub fn plain_button(text: &str) -> String {
    format!("<button type=\"button\" class=\"button\" data-size=\"small\">{}</button>", escape(text))
}

/// The data of an element, for its script. No `<` is left in it, so that nothing in it ends it or opens a comment.
pub fn island<T: Serialize>(data: &T) -> String {
    let json = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned()).replace('<', "\\u003c");
    format!("<script type=\"application/json\" data-first>{json}</script>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_data_ends_its_island() {
        let data = ["</script><script>alert(1)</script>", "<!-- <script>", "]]>", "a & b"];
        let island = island(&data);
        let (open, rest) = island.split_once('>').unwrap();
        assert_eq!(open, "<script type=\"application/json\" data-first");
        let json = rest.strip_suffix("</script>").unwrap();
        assert!(!json.contains('<'), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(json).unwrap(), data);
    }

    #[test]
    fn what_stands_in_backticks_is_code_and_no_markup() {
        assert_eq!(prose("Run `a <b>`, or <c>."), "Run <code>a &lt;b&gt;</code>, or &lt;c&gt;.");
        assert_eq!(prose("`a` and `b"), "<code>a</code> and `b");
        assert_eq!(prose(""), "");
    }

    #[test]
    fn a_time_is_by_the_clock_of_who_looks() {
        let at: Timestamp = "2026-11-23T23:04:05Z".parse().unwrap();
        let clock = |minutes: i32| Paint::new("/i.svg", Offset::from_seconds(minutes * 60).unwrap(), at).clock(at);
        assert_eq!([clock(0), clock(60), clock(-150)], ["23:04:05", "00:04:05", "20:34:05"]);
    }

    #[test]
    fn a_while_is_in_one_unit() {
        let at: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let of = |seconds: i64| {
            let now = Timestamp::from_second(at.as_second() + seconds).unwrap();
            Paint::new("/i.svg", Offset::UTC, now).ago(at)
        };
        assert_eq!([of(-90), of(59), of(60), of(3_599)], ["just now", "just now", "1 minute ago", "59 minutes ago"]);
        assert_eq!([of(3_600), of(86_399), of(86_400), of(200_000)], ["1 hour ago", "23 hours ago", "1 day ago", "2 days ago"]);
    }

    #[test]
    fn a_button_without_words_has_a_name() {
        let paint = Paint::new("/i.svg?a&b", Offset::UTC, Timestamp::UNIX_EPOCH);
        let button = paint.button("edit", "", "Rename");
        assert!(button.contains(" aria-label=\"Rename\" title=\"Rename\" data-shape=\"icon\">"), "{button}");
        assert!(button.contains("href=\"/i.svg?a&amp;b#edit\""), "{button}");
        assert!(!paint.button("edit", "Rename", "").contains("aria-label"));
    }
}
