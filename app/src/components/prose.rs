//! Sentences: what stands in backticks is code, and shown as code.

use leptos::prelude::*;

/// A sentence of an error, a cause or a notice.
pub fn prose(text: &str) -> AnyView {
    let shown = |(code, run): (bool, &str)| {
        let run = run.to_owned();
        if code {
            html! { <code>{run}</code> }
        } else {
            run.into_any()
        }
    };
    runs(text).into_iter().map(shown).collect_view().into_any()
}

/// A sentence in pieces, in order, and whether each is code. A mark that stands alone is text.
fn runs(text: &str) -> Vec<(bool, &str)> {
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some((before, (code, after))) =
        rest.split_once('`').and_then(|(before, from)| Some((before, from.split_once('`')?)))
    {
        runs.extend([(false, before), (true, code)]);
        rest = after;
    }
    runs.push((false, rest));
    runs.retain(|(_, run)| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_backticks_is_code() {
        assert_eq!(
            runs("`1ST` is no name. Use `a`, `_`."),
            [(true, "1ST"), (false, " is no name. Use "), (true, "a"), (false, ", "), (true, "_"), (false, ".")]
        );
        assert_eq!(runs("It is taken."), [(false, "It is taken.")]);
        assert_eq!(runs("`a` and `b"), [(true, "a"), (false, " and `b")], "a mark that stands alone");
        assert_eq!(runs(""), []);
    }
}
