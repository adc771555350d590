//! `<fsa-sessions>`, as `frontend/js/signed-in.ts` and `signed-in-words.ts` draw it.

use super::markup::{Paint, plain_button};
use crate::{control::sessions::SessionView, http::preview::page::escape};
use model::time;

/// The element's content.
pub fn html(sessions: &[SessionView], paint: &Paint) -> String {
    let rows: String = sessions.iter().map(|session| row(session, paint)).collect();
    let others = sessions.iter().filter(|session| !session.current).count();
    let all = if others > 1 {
        let end = paint.button("signout", "End all others…", "");
        format!("<li class=\"setting\"><p>{others} other sessions</p>{end}</li>")
    } else {
        String::new()
    };
    format!("<ul class=\"sessions\" role=\"list\">{rows}{all}</ul><p class=\"field-message setting\" role=\"status\" hidden></p>")
}

fn row(session: &SessionView, paint: &Paint) -> String {
    let name = escape(&browser(session.browser.as_deref()));
    let here = if session.current { " <span class=\"tag\" data-tone=\"good\">this browser</span>" } else { "" };
    let since = session.since.map_or_else(
        || "Signed in before that was kept".to_owned(),
        |at| format!("<time datetime=\"{0}\" title=\"{0}\">Signed in {1}</time>", time::text(at), paint.ago(at)),
    );
    let end = if session.current { String::new() } else { plain_button("End") };
    format!("<li class=\"setting\"><div><h3>{name}{here}</h3><p>{since}</p></div>{end}</li>")
}

/// What a browser calls itself, as people call it.
fn browser(agent: Option<&str>) -> String {
    const NAMES: [(&[&str], &str); 6] = [
        (&["Edg/", "Edge/", "EdgA/", "EdgiOS/"], "Edge"),
        (&["OPR/"], "Opera"),
        (&["Firefox/", "FxiOS/"], "Firefox"),
        (&["Chrome/", "CriOS/"], "Chrome"),
        (&["Safari/"], "Safari"),
        (&["curl/"], "curl"),
    ];
    const SYSTEMS: [(&[&str], &str); 6] = [
        (&["iPhone", "iPad"], "iOS"),
        (&["Android"], "Android"),
        (&["Windows"], "Windows"),
        (&["Mac OS X", "Macintosh"], "macOS"),
        (&["CrOS"], "ChromeOS"),
        (&["Linux"], "Linux"),
    ];
    let Some(agent) = agent.filter(|agent| !agent.is_empty()) else { return "A browser".to_owned() };
    let of = |list: [(&[&str], &'static str); 6]| {
        list.into_iter().find(|(signs, _)| signs.iter().any(|sign| agent.contains(sign))).map(|(_, name)| name)
    };
    match (of(NAMES), of(SYSTEMS)) {
        (Some(name), Some(system)) => format!("{name} on {system}"),
        (Some(name), None) => name.to_owned(),
        (None, Some(system)) => format!("A browser on {system}"),
        (None, None) => agent.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_called_as_people_call_it() {
        let of = |agent| browser(Some(agent));
        assert_eq!(of("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36"), "Chrome on Linux");
        assert_eq!(of("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"), "Safari on iOS");
        assert_eq!(of("Mozilla/5.0 (Windows NT 10.0) Chrome/142.0 Safari/537.36 Edg/142.0"), "Edge on Windows");
        assert_eq!(of("curl/8.5.0"), "curl");
        assert_eq!(of("<own>"), "<own>");
        assert_eq!(browser(None), "A browser");
    }
}
