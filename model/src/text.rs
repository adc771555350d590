//! Texts that others wrote, as they can be stored and shown.

/// How much of one is kept, in bytes: more than a page of it, and less than what a row should hold.
pub const LONGEST: usize = 16 * 1024;

/// A text without control characters but for line breaks and tabs. U+FFFD stands in their place: PostgreSQL takes no NUL, so that
/// what has one could never be stored, and a terminal does as others tell it. Of what is longer than [`LONGEST`] the middle is
/// left out: an error begins with what failed, and a log ends with why.
#[must_use]
pub fn clean(text: impl Into<String>) -> String {
    let mut text = text.into();
    if text.chars().any(is_unwanted) {
        text = text.replace("\r\n", "\n").replace(is_unwanted, "\u{fffd}");
    }
    if text.len() > LONGEST {
        let (begin, end) = (text.floor_char_boundary(LONGEST / 4), text.ceil_char_boundary(text.len() - LONGEST * 3 / 4 + 8));
        text.replace_range(begin..end, "\n…\n");
    }
    text
}

fn is_unwanted(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_no_row_takes_is_replaced_and_lines_stay() {
        assert_eq!(clean("a\0b\u{1b}[31m\n\tc\r\nd"), "a\u{fffd}b\u{fffd}[31m\n\tc\nd");
        assert_eq!(clean("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn of_a_long_one_beginning_and_end_are_kept() {
        let long = clean(format!("it failed:{}why", "ö".repeat(LONGEST)));
        assert!(long.starts_with("it failed:ö") && long.ends_with("öwhy") && long.contains("ö\n…\nö"));
        assert!(long.len() <= LONGEST && long.len() > LONGEST - 16, "{}", long.len());
    }

    proptest! {
        #[test]
        fn a_clean_one_stays_as_it_is(text in "(?s).{0,40}", times in 1usize..2000) {
            let once = clean(text.repeat(times));
            prop_assert!(once.len() <= LONGEST && !once.contains(is_unwanted));
            prop_assert_eq!(clean(once.clone()), once);
        }
    }
}
