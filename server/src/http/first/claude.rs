//! `<fsa-claude>`, as `frontend/js/claude.ts` and `claude-words.ts` draw it.

use super::markup::Paint;
use crate::{
    control::claude::{ClaudeView, OwnClaude},
    http::preview::page::escape,
};
use model::{ProjectId, claude::ClaudeKind};

/// The element's content.
pub fn html(view: &ClaudeView, paint: &Paint) -> String {
    let (heading, lines) = words(view, paint);
    let lines: String = lines.iter().map(|line| format!("<p>{}</p>", escape(line))).collect();
    let set = format!(" <span class=\"tag\" data-tone=\"good\">{}set</span>", paint.icon("check"));
    let (set, open, remove) = match view.own {
        Some(_) => {
            let remove = paint.button_of("danger", "trash", "Remove…", "Remove your Claude credentials");
            (set, paint.button("edit", "Replace", ""), remove)
        }
        None => (String::new(), paint.button("plus", "Set your own", ""), String::new()),
    };
    format!(
        "<div class=\"panel-head\"><h2 id=\"claude-title\">Claude Code</h2><span class=\"count\">credentials</span></div>\
         <div class=\"setting\"><div><h3>{heading}{set}</h3>{lines}</div><div class=\"row\">{open}{remove}</div></div>{waits}\
         <p class=\"field-message setting\" role=\"status\" hidden></p>",
        waits = waits(view, paint),
    )
}

/// A heading and two lines.
fn words(ClaudeView { own, operator, operator_file, .. }: &ClaudeView, paint: &Paint) -> (&'static str, [String; 2]) {
    let file = if operator_file.is_empty() { ".secret/.env" } else { operator_file.as_str() };
    let Some(OwnClaude { kind, ends_with, base_url, set_at }) = own else {
        return if *operator {
            let lines = ["Your sandboxes use them, until you set your own.".to_owned(), format!("They are in {file}.")];
            ("The operator’s credentials", lines)
        } else {
            let either = format!("Set your own here, or the operator sets some in {file}.");
            ("No credentials", ["Claude Code in your sandboxes asks to sign in.".to_owned(), either])
        };
    };
    let heading = match kind {
        ClaudeKind::ApiKey => "API key",
        ClaudeKind::AuthToken => "Auth token",
    };
    let end = ends_with.as_ref().map(|end| format!(" It ends in {end}.")).unwrap_or_default();
    let to = base_url.as_ref().map_or_else(|| "For Anthropic’s own address".to_owned(), |url| format!("For {url}"));
    let instead = if *operator { ", in place of the operator’s." } else { "." };
    (heading, [format!("Set {}.{end}", paint.ago(*set_at)), format!("{to}{instead}")])
}

/// What runs with others, each with the way to its "Restart now".
fn waits(ClaudeView { waiting, .. }: &ClaudeView, paint: &Paint) -> String {
    let said = match waiting.len() {
        0 => return String::new(),
        1 => "One sandbox still runs with what it was started with.".to_owned(),
        count => format!("{count} sandboxes still run with what they were started with."),
    };
    let link =
        |id: ProjectId, name: &str| format!("<li><a href=\"/projects/{id}/environment\"><bdi>{}</bdi></a></li>", escape(name));
    let links: String = waiting.iter().map(|one| link(one.id, &one.name)).collect();
    format!(
        "<div class=\"panel-body\"><div class=\"banner\" data-tone=\"warn\">{}<div><p><strong>{said}</strong> “Restart now” on its \
         page brings the change into it.</p><ul class=\"steps\">{links}</ul></div></div></div>",
        paint.icon("warning"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{Timestamp, tz::Offset};

    #[test]
    fn whose_credentials_are_used_is_said_as_the_script_says_it() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let paint = Paint::new("/i.svg", Offset::UTC, now);
        let none = ClaudeView { own: None, operator: false, operator_file: String::new(), waiting: Vec::new() };
        let shown = html(&none, &paint);
        assert!(shown.contains("<h3>No credentials</h3>") && shown.contains("sets some in .secret/.env.</p>"), "{shown}");
        let operators = html(&ClaudeView { operator: true, ..none }, &paint);
        assert!(operators.contains("<h3>The operator’s credentials</h3>") && operators.contains("Set your own</button>"));
        let own = OwnClaude {
            kind: ClaudeKind::AuthToken,
            ends_with: Some("wxyz".to_owned()),
            base_url: Some("https://g.example/<b>".to_owned()),
            set_at: "2026-11-23T09:30:00Z".parse().unwrap(),
        };
        let own = html(&ClaudeView { own: Some(own), operator: true, operator_file: String::new(), waiting: Vec::new() }, &paint);
        assert!(own.contains("<h3>Auth token <span") && own.contains("<p>Set 2 hours ago. It ends in wxyz.</p>"), "{own}");
        assert!(own.contains("For https://g.example/&lt;b&gt;, in place of the operator’s.") && own.contains("Remove…"), "{own}");
    }
}
