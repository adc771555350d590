//! Reading a whole `.env`, as people paste it.
//!
//! ```text
//!   # a comment                 export A=1                B = two words # and a comment
//!   C="x\ny"  escapes           D='as "it" stands'        E=`also`          quotes may go over lines
//! ```
//!
//! Nothing is substituted: `$A` stays as it is. A line may end in `\n`, `\r\n` or `\r`, and is read as if in the first; what is
//! escaped stays. What cannot be read is told with its line, and the rest is read.

use crate::env::{EnvKey, MAX_VALUE_BYTES};
use std::{borrow::Cow, collections::BTreeMap};

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dotenv {
    /// Names and values; of a name that comes twice the last.
    pub set: BTreeMap<String, String>,
    /// The number of a line, from 1, and why it is not in there.
    pub skipped: Vec<(usize, String)>,
}

/// Reads all of it. Never fails.
#[must_use]
pub fn read(text: &str) -> Dotenv {
    let mut read = Dotenv::default();
    let text = one_end(text.strip_prefix('\u{FEFF}').unwrap_or(text));
    let mut rest: &str = &text;
    let mut at = 1;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let line = rest[..end].trim();
        let mut taken = end;
        if !line.is_empty() && !line.starts_with('#') {
            match variable(rest, end) {
                Ok((key, value, length)) => {
                    taken = length;
                    read.take(at, key, value);
                }
                Err(why) => read.skipped.push((at, why.to_owned())),
            }
        }
        at += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
    }
    read
}

/// With every line ending alike.
fn one_end(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

impl Dotenv {
    fn take(&mut self, at: usize, key: &str, value: String) {
        match key.parse::<EnvKey>() {
            Ok(_) if value.len() > MAX_VALUE_BYTES => {
                self.skipped.push((at, format!("the value of `{key}` is over {MAX_VALUE_BYTES} bytes.")));
            }
            Ok(_) if value.contains('\0') => self.skipped.push((at, format!("the value of `{key}` has a NUL character in it."))),
            Ok(_) => drop(self.set.insert(key.to_owned(), value)),
            Err(error) => self.skipped.push((at, error.to_string())),
        }
    }
}

/// The variable at the beginning of `text`, whose first line ends at `end`: its name, its value, and how much it takes.
fn variable(text: &str, end: usize) -> Result<(&str, String, usize), &'static str> {
    let equals = text[..end].find('=').ok_or("there is no `=` in it.")?;
    let key = text[..equals].trim();
    let key = key.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(key, str::trim);
    let line = &text[equals + 1..end];
    let value = line.trim_start_matches([' ', '\t']);
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\'' | '`'));
    if let Some(quote) = quote {
        let begin = end - value.len() + 1;
        let (inside, length) = quoted(&text[begin..], quote).ok_or("a quote is opened in it and never closed.")?;
        let after = &text[begin + length..];
        let after = &after[..after.find('\n').map_or(after.len(), |end| end + 1)];
        let left = after.trim();
        if left.is_empty() || left.starts_with('#') {
            return Ok((key, inside, begin + length + after.len()));
        }
    }
    let comment = if value.starts_with('#') { Some(0) } else { value.find(" #").or_else(|| value.find("\t#")) };
    Ok((key, value[..comment.unwrap_or(value.len())].trim().to_owned(), end))
}

/// What stands before the closing quote, with `\n` and the like of double quotes read, and how long that is with the
/// quote.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inside = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((inside, at + 1));
        }
        if c != '\\' || quote != '"' {
            inside.push(c);
            continue;
        }
        match chars.next()?.1 {
            'n' => inside.push('\n'),
            'r' => inside.push('\r'),
            't' => inside.push('\t'),
            c @ ('"' | '\\' | '$' | '`') => inside.push(c),
            other => inside.extend(['\\', other]),
        }
    }
    None
}

/// What holds of any text.
#[cfg(any(test, fuzzing))]
pub fn holds(text: &str) {
    let read = read(text);
    let lines = one_end(text).lines().count();
    assert!(read.skipped.iter().all(|(at, _)| (1..=lines.max(1)).contains(at)), "{read:?}");
    assert!(read.set.iter().all(|(key, value)| key.parse::<EnvKey>().is_ok() && !value.contains('\0')), "{read:?}");
    assert!(read.set.values().all(|value| value.len() <= MAX_VALUE_BYTES));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let read = read(text);
        assert_eq!(read.skipped, [], "{text:?}");
        read.set.into_iter().collect()
    }

    #[test]
    fn every_usual_shape_is_read() {
        for (text, value) in [
            ("A=1", "1"),
            ("export A=1", "1"),
            ("export\tA = 1", "1"),
            ("  A = two words # note", "two words"),
            ("A=a#b", "a#b"),
            ("A=#only a comment", ""),
            ("A=", ""),
            ("A=\"\"", ""),
            ("A=a=b==", "a=b=="),
            ("A=\"x\\ny\" # note", "x\ny"),
            ("A=\"say \\\"hi\\\"\\\\\"", "say \"hi\"\\"),
            ("A=\"a # b\"", "a # b"),
            ("A='a \"b\" #c \\n'", "a \"b\" #c \\n"),
            ("A=`it's \"x\"`", "it's \"x\""),
            ("A=\"one\ntwo\r\nthree\"", "one\ntwo\nthree"),
            ("A='one\n# no comment\n'", "one\n# no comment\n"),
            ("A=\"x\"y", "\"x\"y"),
            ("A=it's", "it's"),
            ("A=$HOME/${B}", "$HOME/${B}"),
            ("\u{FEFF}A=1\r\n", "1"),
            ("A=\"\\d+\"", "\\d+"),
            ("exportA=0\nA=grüße", "grüße"),
            ("A=1\nA=2", "2"),
            ("B=0\rA=1\rC=2", "1"),
            ("A='one\rtwo'\r", "one\ntwo"),
            ("A=\"one\\r\\ntwo\"", "one\r\ntwo"),
        ] {
            let read = read(text);
            assert_eq!(read.set.get("A").map(String::as_str), Some(value), "{text:?}: {read:?}");
        }
        let key = "-----BEGIN KEY-----\nabc+/=\n-----END KEY-----\n";
        assert_eq!(pairs(&format!("K=\"{key}\"\nB=2")), [("B".into(), "2".into()), ("K".into(), key.into())]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        let text = "# comment\n\nA=1\nLOG LEVEL=debug\nnothing\nB=`never\nclosed\nPATH=/bin\n=x\nC='two\nlines'\nexport D\nE=\"a\0\"\nF=6";
        let read = read(text);
        assert_eq!(read.set.keys().collect::<Vec<_>>(), ["A", "C", "F"]);
        assert_eq!(read.skipped.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9, 12, 13]);
        assert!(read.skipped[2].1.contains("never closed"), "{:?}", read.skipped);
        assert!(read.skipped[4].1.contains("set by FullStack Agent itself"), "{:?}", read.skipped);
        let long = super::read(&format!("A={}", "x".repeat(MAX_VALUE_BYTES + 1)));
        assert!(long.set.is_empty() && long.skipped.len() == 1);
    }

    /// No usual run compiles the fuzz target: it is here that it still calls this, and what it begins with.
    #[test]
    fn what_fuzzing_begins_with_holds() {
        let target = std::fs::read_to_string("../fuzz/src/bin/dotenv.rs").unwrap();
        assert!(target.contains(std::any::type_name_of_val(&holds)), "{target}");
        for seed in std::fs::read_dir("../fuzz/seeds/dotenv").unwrap() {
            holds(&std::fs::read_to_string(seed.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_pasted_panics_or_is_lost_silently(text in "(A|B|=|\"|'|`|#|\\\\|\n|\r| |\t|export |ü|\0|\\PC){0,60}") {
            holds(&text);
        }

        #[test]
        fn a_value_in_double_quotes_comes_out_as_it_went_in(value in "[^\0\r]{0,40}", after in "( # note)?") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(read(&format!("B=0\nA=\"{escaped}\"{after}\nC=1")).set.remove("A"), Some(value.clone()));
            let one_line = escaped.replace('\n', "\\n");
            prop_assert_eq!(read(&format!("export A=\"{one_line}\"")).set.remove("A"), Some(value.clone()));
        }

        #[test]
        fn a_value_in_single_quotes_is_as_it_stands(value in "[^\0\r']{0,40}") {
            prop_assert_eq!(read(&format!("A='{value}'\nC=1")).set.remove("A"), Some(value.clone()));
        }

        #[test]
        fn lines_do_not_mix(values in proptest::collection::vec("[a-z0-9 =.:/]{0,12}", 1..8)) {
            let text: String = values.iter().enumerate().map(|(n, value)| format!("K{n}={value}\n")).collect();
            let read = read(&text);
            for (n, value) in values.iter().enumerate() {
                prop_assert_eq!(read.set.get(&format!("K{n}")).map(String::as_str), Some(value.trim()));
            }
        }
    }
}
