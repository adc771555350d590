//! `<fsa-database>`, as `frontend/js/database.ts` draws it, but for the lines for applications: they are the same for every
//! project, and last, so that nothing moves when the script adds them.

use super::markup::Paint;
use crate::http::preview::page::escape;
use app::size;
use model::view::{DatabaseFigures, DatabaseView};

/// The element's content; `None`: the project has none.
pub fn html(view: Option<&DatabaseView>, paint: &Paint) -> String {
    let Some(view) = view else {
        return format!(
            "<div class=\"panel\"><div class=\"empty-state\"><span class=\"empty-glyph\">{}</span>\
             <h2>This project has no database</h2><p>It was created without one. A database is chosen when a project is made.</p>\
             <a class=\"button\" href=\"/projects/new\">New project</a></div></div>",
            paint.icon("database")
        );
    };
    let restart = if view.restart_pending { waits(paint) } else { String::new() };
    format!(
        "{figures}{restart}<div class=\"split-page narrow-aside\"><div class=\"stack\">{connect}</div>\
         <div class=\"stack\">{parts}{reset}</div></div>",
        figures = figures(view, paint),
        connect = connect(view, paint),
        parts = parts(view),
        reset = reset(paint),
    )
}

fn figures(view: &DatabaseView, paint: &Paint) -> String {
    let (tone, glyph, state) = if view.ready { ("good", "check", "Ready") } else { ("warn", "warning", "Not ready yet") };
    let figure = |name: &str, value: Option<String>, more: &str| {
        let value = value.map_or_else(|| "not known".to_owned(), |value| escape(&value));
        format!("<div><dt>{name}</dt><dd>{value}{more}</dd></div>")
    };
    let known = view.figures.as_ref();
    let most = known.and_then(|figures| figures.most_connections).filter(|most| *most > 0);
    let most = most.map(|most| format!("<small> of {most}</small>")).unwrap_or_default();
    let of = |value: fn(&DatabaseFigures) -> String| known.map(value);
    format!(
        "<dl class=\"figures\"><div><dt>State</dt><dd><span class=\"state-note\" data-tone=\"{tone}\">{}{state}</span></dd></div>{}{}{}</dl>",
        paint.icon(glyph),
        figure("Size", of(|figures| size::bytes(figures.size_bytes)), ""),
        figure("Connections", of(|figures| figures.connections.to_string()), &most),
        figure("PostgreSQL", of(|figures| figures.version.clone()), ""),
    )
}

fn waits(paint: &Paint) -> String {
    format!(
        "<div class=\"banner\" data-tone=\"warn\" role=\"status\">{}<p><strong>The sandbox still runs with what it was started with.</strong> \
         A restart brings the present variables and password into it; what runs ends.</p>\
         {}</div>",
        paint.icon("warning"),
        paint.button_of("primary", "reload", "Restart now", ""),
    )
}

fn connect(view: &DatabaseView, paint: &Paint) -> String {
    let copy = |text: &str, what: &str, between: &str| {
        format!(
            "<div class=\"code-field\"><code>{}</code>{between}<button type=\"button\" class=\"button\" data-size=\"small\" \
             aria-label=\"Copy {what}\">{}Copy</button></div>",
            escape(text),
            paint.icon("copy"),
        )
    };
    let reveal = format!(
        "<button type=\"button\" class=\"button\" data-size=\"small\" aria-pressed=\"false\" aria-label=\"Reveal the password\">{}Reveal</button>",
        paint.icon("eye")
    );
    let line = match view.psql.split_once(' ') {
        Some((_, url)) => copy(url, "the connection string", &reveal),
        None => "<p class=\"field-hint\">Shown to those who may change the project.</p>".to_owned(),
    };
    format!(
        "<section class=\"panel\" aria-labelledby=\"connect\"><div class=\"panel-head\"><h2 id=\"connect\">Connect</h2></div>\
         <div class=\"panel-body stack\"><h3>In the terminal</h3>{}\
         <p class=\"field-hint\">The variables below are set in every terminal, so that psql needs nothing else.</p>\
         <h3>As one line</h3>{line}<p class=\"field-hint\">It works inside this sandbox only.</p></div></section>",
        copy("psql", "the psql line", ""),
    )
}

fn parts(view: &DatabaseView) -> String {
    let row = |name: &str, value: &str| format!("<div><dt>{name}</dt><dd><code>{}</code></dd></div>", escape(value));
    format!(
        "<section class=\"panel\" aria-labelledby=\"parts\"><div class=\"panel-head\"><h2 id=\"parts\">Parts</h2></div>\
         <div class=\"panel-body\"><dl class=\"facts\">{}{}{}{}</dl></div></section>",
        row("Host", &view.host),
        row("Port", &view.port.to_string()),
        row("User", &view.user),
        row("Database", &view.database),
    )
}

fn reset(paint: &Paint) -> String {
    format!(
        "<section class=\"panel\" aria-labelledby=\"password\"><div class=\"panel-head\"><h2 id=\"password\">Password</h2></div>\
         <div class=\"panel-body stack stack-tight\"><p class=\"field-hint\">It was made at random and is stored encrypted. \
         Reset it if somebody saw it who should not have.</p><div>{}</div><p class=\"field-message\" role=\"status\"></p></div></section>",
        paint.button("key", "Reset password…", ""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{Timestamp, tz::Offset};

    fn view(psql: &str) -> DatabaseView {
        DatabaseView {
            psql: psql.to_owned(),
            host: "db".to_owned(),
            port: 5432,
            user: "boats".to_owned(),
            database: "boats_1".to_owned(),
            ready: true,
            restart_pending: false,
            figures: Some(DatabaseFigures {
                size_bytes: 8_053_063,
                connections: 2,
                most_connections: Some(20),
                version: "18.1".to_owned(),
            }),
        }
    }

    fn drawn(view: Option<&DatabaseView>) -> String {
        html(view, &Paint::new("/i.svg", Offset::UTC, Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn what_is_known_is_shown_and_what_is_not_says_so() {
        let shown = drawn(Some(&view("psql postgresql://boats:••••••••@db:5432/boats_1")));
        for part in ["Ready", "7.7 MB", "2<small> of 20</small>", "18.1", "boats_1", "boats:••••••••@db", ">5432<"]
        {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(!shown.contains("Restart now"), "{shown}");
        let ill = drawn(Some(&DatabaseView { ready: false, restart_pending: true, figures: None, ..view("psql") }));
        assert!(ill.contains("Not ready yet") && ill.matches("not known").count() == 3 && ill.contains("Restart now"), "{ill}");
        assert!(ill.contains("Shown to those who may change the project."), "{ill}");
        assert!(drawn(None).contains("This project has no database"));
    }
}
