//! `<fsa-log>`, as `frontend/js/log.ts` draws it: the last lines of the log that the page's address names, or of the sandbox's own.

use super::markup::{Paint, plain_button};
use crate::http::{logs::MOST_LINES, preview::page::escape};
use engine::orchestrator::{LogLine, LogSource};
use jiff::Timestamp;
use model::time;
use serde::Serialize;
use std::time::Duration;

/// How many lines are shown at first; the element then follows the log from its beginning.
pub const MOST: usize = 500;
/// How many bytes they have together, at most.
const MOST_BYTES: usize = 128 << 10;
/// The lines that are there come one right after the other; then nothing comes for so long.
pub const QUIET: Duration = Duration::from_millis(40);

/// A line, as the API tells it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    at: Option<Timestamp>,
    text: String,
}

/// The last of them that are no more than a page should have.
pub fn lines(all: Vec<LogLine>) -> Vec<Line> {
    let mut bytes = 0;
    let fits = |line: &LogLine| {
        bytes += line.text.len();
        bytes <= MOST_BYTES
    };
    let mut kept: Vec<Line> = all.into_iter().rev().take_while(fits).map(|LogLine { at, text }| Line { at, text }).collect();
    kept.reverse();
    kept
}

/// The element's content, of that log at that address.
pub fn html(lines: &[Line], address: &str, chosen: LogSource, paint: &Paint) -> String {
    let option = |source: LogSource| {
        let selected = if source == chosen { " selected" } else { "" };
        format!("<option value=\"{}\"{selected}>{}</option>", source.as_str(), title(source))
    };
    let rows: String = lines.iter().map(|line| row(line, paint)).collect();
    // One child, so that its end is what is seen (style/components/log.css); none where there is no line.
    let rows = if rows.is_empty() { rows } else { format!("<div>{rows}</div>") };
    format!(
        "<div class=\"log-bar\"><select class=\"select\" aria-label=\"Which log\">{options}</select>\
         <div class=\"input-group\">{search}<input class=\"input\" type=\"search\" placeholder=\"Filter the lines\" \
         aria-label=\"Filter the lines\"></div><span class=\"log-found small\"></span><span class=\"visually-hidden\" role=\"status\"></span>\
         <span class=\"state-note small\" role=\"status\">Reading…</span>\
         <a class=\"button\" data-size=\"small\" title=\"As text; the last 5,000 lines at most\" download=\"{source}.log\" \
         href=\"{address}?source={source}&amp;format=text&amp;tail={MOST_LINES}\">{download}Download</a>{copy}</div>\
         <pre class=\"log-lines\" data-first tabindex=\"0\" role=\"log\" aria-label=\"Log\" aria-live=\"off\">{rows}</pre>",
        options = LogSource::ALL.map(option).concat(),
        search = paint.icon("search"),
        source = chosen.as_str(),
        address = escape(address),
        download = paint.icon("download"),
        copy = plain_button("Copy"),
    )
}

/// As `app/src/pages/part.rs` names them.
fn title(source: LogSource) -> &'static str {
    match source {
        LogSource::Sandbox => "Sandbox",
        LogSource::Past => "The run before",
        LogSource::Keeper => "Keeper",
        LogSource::Install => "Preparation",
        LogSource::Database => "Database",
        LogSource::Events => "Events",
    }
}

fn row(Line { at, text }: &Line, paint: &Paint) -> String {
    let clock = |at: Timestamp| format!("<time datetime=\"{0}\" title=\"{0}\">{1}</time> ", time::text(at), paint.clock(at));
    format!("<div>{}{}\n</div>", at.map(clock).unwrap_or_default(), escape(&plain(text)))
}

/// Without what colours it and moves the cursor, and without other control characters.
fn plain(text: &str) -> String {
    const ESCAPE: char = '\u{1b}';
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ESCAPE => match rest.next() {
                // A control sequence, up to its final byte.
                Some('[') => while rest.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
                // A command of the operating system, up to a bell or ESC \.
                Some(']') => {
                    while let Some(c) = rest.next() {
                        if c == '\u{7}' || (c == ESCAPE && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                Some('(' | ')' | '#') => {
                    rest.next();
                }
                _ => {}
            },
            '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::Offset;

    fn line(text: &str) -> LogLine {
        LogLine { at: None, text: text.to_owned() }
    }

    #[test]
    fn a_line_is_text_without_colours() {
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m\ta\rb"), "red\tab");
        assert_eq!(plain("\u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{1b}\\ \u{1b}(Bend\u{1b}["), "link end");
        let paint = Paint::new("/i.svg", Offset::UTC, Timestamp::UNIX_EPOCH);
        let at = Some("2026-11-23T10:04:05Z".parse().unwrap());
        let shown = html(&[Line { at, text: "<script>\u{1b}[0m".to_owned() }], "/logs", LogSource::Events, &paint);
        assert!(shown.contains("download=\"events.log\" href=\"/logs?source=events&amp;format=text&amp;tail=5000\""), "{shown}");
        assert!(shown.contains(">10:04:05</time> &lt;script&gt;\n</div></div></pre>"), "{shown}");
        assert!(
            html(&[], "/logs", LogSource::Sandbox, &paint).ends_with("aria-live=\"off\"></pre>"),
            "what is empty says so by its style"
        );
    }

    #[test]
    fn no_more_is_sent_than_a_page_should_have() {
        let long = "x".repeat(MOST_BYTES / 2);
        let kept = lines(vec![line("first"), line(&long), line(&long[1..]), line("!")]);
        assert_eq!(kept.iter().map(|line| line.text.len()).collect::<Vec<_>>(), [MOST_BYTES / 2, MOST_BYTES / 2 - 1, 1]);
        assert_eq!(lines(Vec::new()), []);
    }
}
