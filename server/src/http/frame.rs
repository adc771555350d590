//! The frame of pages that the server writes by itself, without the app: as the app's own, in little.

use super::{first::markup::prose, preview::page::escape, state::Plane};
use app::{FAVICON, LOAD, THEME};

/// A page that belongs to no project.
pub struct Framed<'a> {
    /// In its title, and where it is.
    pub title: &'a str,
    /// More classes of its content.
    pub class: &'a str,
    /// Its content, as HTML.
    pub content: &'a str,
    /// The nonce of this answer's policy.
    pub nonce: &'a str,
    /// What is loaded besides the elements, as calls of `fsaLoad` with a comma after each (`app/src/load.js`); or nothing.
    pub script: &'a str,
    /// Whether strangers see it too.
    pub public: bool,
}

/// What every page says of the installation, as `app/src/components/banners.rs` says it; as it is now.
fn notices(all: &[String], icons: &str) -> String {
    let strip = |notice: &String| {
        format!(
            "<div class=\"banner banner-strip\" data-tone=\"warn\" role=\"note\"><svg class=\"icon\" aria-hidden=\"true\">\
             <use href=\"{icons}#warning\"></use></svg> <p>{}</p></div>",
            prose(notice)
        )
    };
    all.iter().map(strip).collect()
}

/// The whole document.
#[must_use]
pub fn page(plane: &Plane, Framed { title, class, content, nonce, script, public }: &Framed<'_>) -> String {
    let assets = plane.site.assets();
    let (css, icons, elements, nonce) =
        (escape(&assets.main_css), escape(&assets.icons_svg), escape(&assets.elements_js), escape(nonce));
    let said = if *public { plane.live.notices_to_strangers() } else { plane.live.notices() };
    let notices = notices(&said, &icons);
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · FullStack Agent</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"fsa-icons\" content=\"{icons}\"><script nonce=\"{nonce}\">{THEME};{LOAD}</script>\
         <link rel=\"icon\" href=\"{FAVICON}\"><link rel=\"stylesheet\" href=\"{css}\">\
         <script type=\"module\" nonce=\"{nonce}\">\
         fsaLasting('Part of this page is missing.','body',()=>Promise.all([{script}fsaLoad('{elements}')]))()</script></head>\
         <body><a class=\"skip-link button\" data-kind=\"primary\" href=\"#main\">Skip to content</a><div class=\"app\">\
         <header class=\"top-bar\"><a class=\"brand\" href=\"/\" aria-label=\"FullStack Agent, all projects\">{BRAND}\
         <span class=\"brand-name\">FullStack Agent</span></a><nav class=\"breadcrumb\" aria-label=\"Breadcrumb\">\
         <span class=\"breadcrumb-slash\" aria-hidden=\"true\">/</span><a class=\"breadcrumb-root\" href=\"/\">Projects</a>\
         <span class=\"breadcrumb-slash breadcrumb-root\" aria-hidden=\"true\">/</span>\
         <span class=\"breadcrumb-here\" aria-current=\"page\">{title}</span></nav>\
         <div class=\"top-bar-end\"><a class=\"button\" data-size=\"small\" href=\"/settings\">\
         <svg class=\"icon\" aria-hidden=\"true\"><use href=\"{icons}#settings\"></use></svg> Settings</a></div></header>\
         <main id=\"main\" tabindex=\"-1\" class=\"wide\">{notices}<div class=\"page page-narrow {class}\">{content}</div></main></div></body></html>"
    )
}

/// As `app/src/components/icon.rs` draws it.
const BRAND: &str = "<svg class=\"brand-mark\" viewBox=\"0 0 20 20\" aria-hidden=\"true\"><rect width=\"20\" height=\"20\" rx=\"5\" \
     fill=\"var(--primary)\"/><path d=\"M5 6.25h10M5 10h7M5 13.75h4\" stroke=\"var(--on-primary)\" stroke-width=\"1.8\" \
     stroke-linecap=\"round\"/><rect x=\"11.2\" y=\"12.25\" width=\"3.8\" height=\"3\" rx=\".7\" fill=\"#6f9bff\"/></svg>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notice_is_a_strip_and_no_markup() {
        assert_eq!(notices(&[], "/i.svg"), "");
        let said = notices(&["It is <away>.".to_owned(), "Run `x`.".to_owned()], "/i.svg");
        assert_eq!(said.matches("role=\"note\"").count(), 2, "{said}");
        assert!(said.contains("<p>Run <code>x</code>.</p>"), "{said}");
        assert!(said.contains("<p>It is &lt;away&gt;.</p>") && said.contains("/i.svg#warning"), "{said}");
    }
}
