//! `<fsa-files>`, as `frontend/js/files.ts` draws it: the home folder itself, with every folder in it closed.

use super::markup::Paint;
use crate::http::{
    files::{Folder, Item},
    preview::page::escape,
};
use sandbox_agent::protocol::http::EntryKind;
use std::cmp::Ordering;

/// A home folder with more names is left to the element: a page is read as one piece.
pub const MOST: usize = 500;

/// The element's content.
pub fn html(folder: &Folder, paint: &Paint) -> String {
    let mut items: Vec<&Item> = folder.entries.iter().collect();
    items.sort_by(|a, b| order(a, b));
    let count = items.len();
    let rows: String = items.iter().enumerate().map(|(at, item)| row(item, at, count, paint)).collect();
    let empty =
        "<div role=\"treeitem\" class=\"file-aside\" aria-disabled=\"true\" aria-level=\"1\">The home folder is empty.</div>";
    let tools = [
        ("upload", "Upload", ""),
        ("plus", "New file", ""),
        ("files", "New folder", ""),
        ("edit", "", "Move or rename…"),
        ("trash", "", "Delete"),
        ("reload", "", "Read again"),
    ];
    format!(
        "<div class=\"file-side\"><div class=\"file-tools\" role=\"toolbar\" aria-label=\"Files\">{tools}</div>\
         <div class=\"file-home\">{home}Home folder</div>\
         <div class=\"file-tree\" role=\"tree\" aria-label=\"Files\">{rows}</div><ul class=\"file-uploads\" aria-label=\"Uploads\"></ul>\
         <div class=\"file-foot\"><span class=\"state-note small\" role=\"status\"></span></div></div>\
         <section class=\"file-view\" aria-label=\"File\"><div class=\"empty-state fill\">\
         <p>Choose a file to see it, or drop files here to upload them.</p></div></section>",
        home = paint.icon("files"),
        tools = tools.map(|(glyph, text, label)| paint.button(glyph, text, label)).concat(),
        rows = if count == 0 { empty } else { rows.as_str() },
    )
}

fn row(item: &Item, at: usize, count: usize, paint: &Paint) -> String {
    let folder = item.kind == EntryKind::Directory;
    let aside = match item.kind {
        EntryKind::File => format!("<span class=\"file-size\">{}</span>", size(item.size)),
        EntryKind::Symlink => "<span class=\"file-size\">link</span>".to_owned(),
        EntryKind::Directory | EntryKind::Other => String::new(),
    };
    format!(
        "<div role=\"treeitem\" class=\"file-row\" tabindex=\"{tab}\" aria-level=\"1\" aria-posinset=\"{place}\" \
         aria-setsize=\"{count}\" aria-selected=\"{first}\"{expanded}><span class=\"file-mark\" aria-hidden=\"true\">{mark}</span>\
         <bdi class=\"file-name mono\">{name}</bdi>{aside}</div>",
        tab = if at == 0 { 0 } else { -1 },
        place = at + 1,
        first = at == 0,
        expanded = if folder { " aria-expanded=\"false\"" } else { "" },
        mark = if folder { paint.icon("right") } else { String::new() },
        name = escape(&one_line(&item.name)),
    )
}

/// Folders first, then by name, numbers by their value: as `Intl.Collator` has it where names are of ASCII, and near to it where
/// they are not.
fn order(a: &Item, b: &Item) -> Ordering {
    let rank = |item: &Item| item.kind != EntryKind::Directory;
    rank(a).cmp(&rank(b)).then_with(|| key(&a.name).cmp(&key(&b.name))).then_with(|| a.name.cmp(&b.name))
}

/// A piece of a name, as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// A sign, by its place among them.
    Sign(usize),
    /// A number without its zeros in front: a longer one is larger.
    Number(usize, String),
    /// A letter, whatever its case.
    Letter(char),
}

fn key(name: &str) -> Vec<Piece> {
    /// As Unicode's collation has them.
    const SIGNS: &str = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";
    let mut pieces = Vec::new();
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_digit() {
            let mut digits = String::from(c);
            while let Some(next) = rest.next_if(char::is_ascii_digit) {
                digits.push(next);
            }
            let number = digits.trim_start_matches('0').to_owned();
            pieces.push(Piece::Number(number.len(), number));
        } else if let Some(at) = SIGNS.find(c) {
            pieces.push(Piece::Sign(at));
        } else {
            pieces.extend(c.to_lowercase().map(Piece::Letter));
        }
    }
    pieces
}

/// A name on one line, with nothing that turns the text around it.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || turns(c) { '\u{FFFD}' } else { c }).collect()
}

/// Of Unicode's category `Cf`, and its ends of lines.
fn turns(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}'
            | '\u{0600}'..='\u{0605}'
            | '\u{061C}'
            | '\u{06DD}'
            | '\u{070F}'
            | '\u{0890}'..='\u{0891}'
            | '\u{08E2}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0001}'
            | '\u{E0020}'..='\u{E007F}'
    )
}

/// 9_437_184 as "9.4 MB", as `size` of `frontend/js/words.ts`.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
    };
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    if tenths < 100 && !tenths.is_multiple_of(10) {
        return format!("{}.{} {name}", tenths / 10, tenths % 10);
    }
    format!("{} {name}", (u128::from(bytes) + u128::from(unit) / 2) / u128::from(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_agent::protocol::http::Entry;

    fn item(name: &str, kind: EntryKind) -> Item {
        Entry { name: name.to_owned(), raw: None, kind, size: 1_234, modified_at: 0, mode: 0o644 }.into()
    }

    #[test]
    fn folders_come_first_then_names_with_numbers_by_their_value() {
        let folder = |name| item(name, EntryKind::Directory);
        let file = |name| item(name, EntryKind::File);
        let mut items = vec![
            file("part10.txt"),
            file("README.md"),
            folder("src"),
            file("part9.txt"),
            file(".bashrc"),
            folder(".cache"),
            file("a_b"),
            file("a-b"),
            file("A.txt"),
            file("a b"),
        ];
        items.sort_by(order);
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        let wanted = [".cache", "src", ".bashrc", "a b", "a_b", "a-b", "A.txt", "part9.txt", "part10.txt", "README.md"];
        assert_eq!(names, wanted);
    }

    #[test]
    fn a_size_is_short() {
        let sizes = [1, 999, 1_000, 1_234, 9_437_184, 9_949_999, 9_950_000, 43_000_000, 2_000_000_000];
        let texts = ["1 byte", "999 bytes", "1 kB", "1.2 kB", "9.4 MB", "9.9 MB", "10 MB", "43 MB", "2 GB"];
        assert_eq!(sizes.map(size), texts);
    }

    #[test]
    fn a_name_is_text_on_one_line() {
        let paint = Paint::new("/i.svg", jiff::tz::Offset::UTC, jiff::Timestamp::UNIX_EPOCH);
        let row = row(&item("<b>\n\u{202e}\"", EntryKind::Symlink), 1, 2, &paint);
        assert!(row.contains("&lt;b&gt;\u{FFFD}\u{FFFD}&quot;</bdi>") && row.contains(">link<"), "{row}");
        assert!(row.contains("tabindex=\"-1\"") && !row.contains("aria-expanded"), "{row}");
    }
}
