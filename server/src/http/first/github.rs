//! `<fsa-github>`, as `frontend/js/github.ts` draws it.

use super::markup::plain_button;
use crate::http::{
    github::{AccountView, GitHubView},
    preview::page::escape,
};

/// The element's content.
pub fn html(view: &GitHubView) -> String {
    let row = match &view.account {
        None => {
            let host = view.host.as_deref().unwrap_or("GitHub");
            let text = format!("Projects then start from your repositories at {host}, private ones too.");
            setting("Not connected", &text, "", &plain_button("Connect GitHub"))
        }
        Some(account) => connected(account, view.grants_url.as_deref()),
    };
    format!("<div class=\"panel-head\"><h2>GitHub</h2></div>{row}<p class=\"panel-body small\" role=\"alert\" hidden></p>")
}

fn connected(account: &AccountView, grants_url: Option<&str>) -> String {
    let revoked = account.state == "revoked";
    let mut buttons = String::new();
    if let Some(url) = grants_url {
        let url = escape(url);
        buttons += &format!(
            "<a class=\"button\" data-size=\"small\" href=\"{url}\" rel=\"noreferrer\" target=\"_blank\">Look at GitHub</a>"
        );
    }
    if revoked {
        buttons += &plain_button("Connect again");
    }
    if account.can_disconnect {
        buttons += &plain_button("Disconnect…");
    }
    let title = if revoked { "No longer connected as" } else { "Connected as" };
    let tags: String = account.scopes.iter().map(|scope| format!("<span class=\"tag\">{}</span>", escape(scope))).collect();
    let tags = if tags.is_empty() { tags } else { format!("<p class=\"row\">What this app may do:{tags}</p>") };
    setting(&format!("{title} {}", account.login), account.message.as_deref().unwrap_or_default(), &tags, &buttons)
}

/// `more` and `buttons` are markup.
fn setting(title: &str, text: &str, more: &str, buttons: &str) -> String {
    let (title, text) = (escape(title), escape(text));
    format!("<div class=\"setting\"><div><h3>{title}</h3><p>{text}</p>{more}</div><div class=\"row\">{buttons}</div></div>")
}
