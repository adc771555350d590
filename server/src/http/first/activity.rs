//! `<fsa-activity>`, as `frontend/js/activity.ts` and `activity-words.ts` draw it.

use super::markup::{Paint, plain_button};
use crate::http::preview::page::escape;
use jiff::{SignedDuration, Timestamp, civil::Date};
use model::{
    activity::{ActivityKind, ActivityPage, ActivityView, Via},
    time,
};

/// How many are shown at first.
pub const AT_ONCE: usize = 50;
/// Of which time.
pub const SPAN: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The address of all projects and the account.
pub const ALL: &str = "/api/activity";

/// A filter, and whether it is on.
const KINDS: [(&str, bool); 5] = [("All", true), ("People", false), ("Phases", false), ("Causes", false), ("Network", false)];
/// What is of no project, and so of all of them alone.
const ACCOUNT: (&str, bool) = ("Account", false);
/// A time span in days, and whether it is chosen.
const SPANS: [(&str, u32, bool); 3] = [("Last 24 hours", 1, false), ("Last 7 days", 7, false), ("Last 90 days", 90, true)];

/// The element's content.
pub fn html(page: &ActivityPage, source: &str, since: Timestamp, paint: &Paint) -> String {
    format!("{}<div class=\"row\" role=\"status\"></div>{}", toolbar(source, since, paint), list(page, source == ALL, paint))
}

fn toolbar(source: &str, since: Timestamp, paint: &Paint) -> String {
    let kind = |(text, on): (&str, bool)| format!("<button type=\"button\" aria-pressed=\"{on}\">{text}</button>");
    let span = |(text, days, chosen): (&str, u32, bool)| {
        format!("<option value=\"{days}\"{}>{text}</option>", if chosen { " selected" } else { "" })
    };
    format!(
        "<div class=\"toolbar\"><div class=\"input-group\">{search}<input class=\"input\" type=\"search\" \
         placeholder=\"Search activity\" aria-label=\"Search activity\"></div>\
         <div class=\"segmented\" role=\"group\" aria-label=\"Filter by kind\">{kinds}</div>\
         <div class=\"toolbar-end\"><span class=\"select\"><select class=\"input\" aria-label=\"Time span\">{spans}</select>{down}</span>\
         <a class=\"button\" download=\"activity.jsonl\" title=\"As filtered, as JSON lines\" \
         href=\"{source}?format=jsonl&amp;since={since}\">{download}Export</a></div></div>",
        search = paint.icon("search"),
        kinds = KINDS.into_iter().chain((source == ALL).then_some(ACCOUNT)).map(kind).collect::<String>(),
        spans = SPANS.map(span).concat(),
        down = paint.icon("down"),
        source = escape(source),
        since = time::text(since),
        download = paint.icon("download"),
    )
}

/// `all`: not of one project, so that each says of which it is.
fn list(page: &ActivityPage, all: bool, paint: &Paint) -> String {
    let mut days = String::new();
    let mut open: Option<Date> = None;
    for item in &page.activity {
        let day = paint.local(item.at).date();
        if open != Some(day) {
            let end = if open.is_some() { "</ol>" } else { "" };
            let heading = heading(day, paint.local(paint.now()).date());
            days += &format!("{end}<h2 class=\"timeline-day\">{heading}</h2><ol role=\"list\">");
            open = Some(day);
        }
        days += &row(item, all, paint);
    }
    days += if open.is_some() {
        "</ol>"
    } else {
        "<div class=\"empty-state\"><h2>Nothing like that happened</h2><p>Choose another kind or a longer time.</p></div>"
    };
    let older = page.next.map(|_| plain_button("Older events")).unwrap_or_default();
    let (count, kept) = (page.activity.len(), page.kept_days);
    let events = if count == 1 { "event" } else { "events" };
    format!(
        "<section class=\"panel timeline\" aria-label=\"Timeline\">{days}<p class=\"panel-foot\">{older}\
         <span>{count} {events}. Kept for {kept} days.</span></p></section>"
    )
}

fn row(item: &ActivityView, all: bool, paint: &Paint) -> String {
    let (icon, tone) = look(item);
    let tone = tone.map(|tone| format!(" data-tone=\"{tone}\"")).unwrap_or_default();
    let mut words = format!("<p>{}</p>", escape(&item.title));
    if let Some(id) = item.project_id.filter(|_| all) {
        let name = escape(item.project.as_deref().unwrap_or_default());
        words += &match item.project_deleted {
            true => format!("<p><bdi>{name}</bdi> (deleted)</p>"),
            false => format!("<p><a href=\"/projects/{id}\"><bdi>{name}</bdi></a></p>"),
        };
    }
    if let Some(detail) = item.detail.as_deref().filter(|detail| !detail.is_empty()) {
        words += &format!("<p>{}</p>", escape(detail));
    }
    if item.times > 1 {
        words += &format!("<p>Again and again, last at {}</p>", paint.clock(item.last_at));
    }
    let data = serde_json::to_string_pretty(&item.data).unwrap_or_default();
    let mut who = item.actor.name.clone();
    if item.actor.via == Via::Token {
        who += &format!(", by the token “{}”", item.actor.token.as_deref().unwrap_or_default());
    }
    format!(
        "<li class=\"event\" data-id=\"{id}\" tabindex=\"-1\"{tone}><time datetime=\"{at}\" title=\"{at}\">{clock}</time>\
         <span class=\"event-mark\">{icon}</span><div>{words}<details><summary>Raw event</summary>\
         <pre class=\"code-block\"><code>{data}</code></pre></details></div><span class=\"event-who\">{who}</span></li>",
        id = item.id,
        at = time::text(item.at),
        clock = paint.clock(item.at),
        icon = paint.icon(&icon),
        data = escape(&data),
        who = escape(&who),
    )
}

/// The symbol and the tone of one.
fn look(item: &ActivityView) -> (String, Option<&'static str>) {
    let text = |name: &str| item.data[name].as_str().unwrap_or_default();
    match item.kind {
        ActivityKind::Ask => (verb(text("verb")).to_owned(), None),
        ActivityKind::Phase => {
            let to = text("to").to_ascii_lowercase();
            match to.as_str() {
                "running" => ("phase-running".to_owned(), Some("good")),
                "error" => ("phase-error".to_owned(), Some("bad")),
                // A name of ours, and nothing else: it stands in an address.
                to if !to.is_empty() && to.bytes().all(|byte| byte.is_ascii_lowercase()) => (format!("phase-{to}"), None),
                _ => ("phase-terminated".to_owned(), None),
            }
        }
        ActivityKind::Cause => ("warning".to_owned(), Some("warn")),
        ActivityKind::Run if text("event") == "ended" => ("error".to_owned(), Some("bad")),
        ActivityKind::Run => ("server".to_owned(), None),
        ActivityKind::Network => ("lock".to_owned(), Some("warn")),
        ActivityKind::Account if text("event") == "github-revoked" => ("github".to_owned(), Some("warn")),
        ActivityKind::Account if text("event").starts_with("github-") => ("github".to_owned(), None),
        ActivityKind::Account => ("user".to_owned(), None),
    }
}

fn verb(verb: &str) -> &'static str {
    match verb {
        "create" => "plus",
        "start" => "play",
        "restart" => "reload",
        "stop" => "stop",
        "terminate" => "box",
        "delete" => "trash",
        "rename" => "edit",
        "resize" => "cpu",
        "env" => "environment",
        "terminal" | "exec" => "terminal",
        "files" => "files",
        "share" => "share",
        "unshare" => "lock",
        _ => "user",
    }
}

/// `Today, 23 November`, `Yesterday, 22 November`, `21 November`, `31 December 2025`.
fn heading(day: Date, today: Date) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let month = usize::try_from(day.month() - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or_default();
    let date = if day.year() == today.year() {
        format!("{} {month}", day.day())
    } else {
        format!("{} {month} {}", day.day(), day.year())
    };
    if day == today {
        format!("Today, {date}")
    } else if day.tomorrow().is_ok_and(|next| next == today) {
        format!("Yesterday, {date}")
    } else {
        date
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::Offset;
    use model::activity::Actor;
    use serde_json::json;

    fn event(id: i64, at: &str, kind: ActivityKind, data: serde_json::Value) -> ActivityView {
        ActivityView {
            id,
            project_id: None,
            project: None,
            project_deleted: false,
            at: at.parse().unwrap(),
            last_at: at.parse().unwrap(),
            times: 1,
            kind,
            actor: Actor::system(),
            title: format!("Event {id}"),
            detail: None,
            data,
        }
    }

    fn drawn(activity: Vec<ActivityView>, minutes: i32) -> String {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let paint = Paint::new("/i.svg", Offset::from_seconds(minutes * 60).unwrap(), now);
        list(&ActivityPage { activity, next: None, kept_days: 90 }, false, &paint)
    }

    #[test]
    fn days_are_those_of_who_looks() {
        let events = || {
            ["2026-11-23T10:00:00Z", "2026-11-22T23:30:00Z", "2026-11-20T12:00:00Z", "2025-12-31T12:00:00Z"]
                .iter()
                .zip(1..)
                .map(|(at, id)| event(id, at, ActivityKind::Account, json!({})))
                .collect::<Vec<_>>()
        };
        let headings = |html: &str| -> Vec<String> {
            html.split("timeline-day\">").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
        };
        let utc = drawn(events(), 0);
        assert_eq!(headings(&utc), ["Today, 23 November", "Yesterday, 22 November", "20 November", "31 December 2025"]);
        assert_eq!(utc.matches("<ol").count(), utc.matches("</ol>").count());
        let east = drawn(events(), 60);
        assert_eq!(headings(&east), ["Today, 23 November", "20 November", "31 December 2025"]);
        assert!(east.contains(">00:30:00</time>"), "{east}");
        assert!(drawn(Vec::new(), 0).contains("Nothing like that happened"));
    }

    #[test]
    fn of_all_projects_each_says_of_which() {
        let mut of_project = event(2, "2026-11-23T10:00:00Z", ActivityKind::Ask, json!({}));
        let id: model::ProjectId = "00000000-0000-0000-0000-00000000000b".parse().unwrap();
        (of_project.project_id, of_project.project) = (Some(id), Some("<Boats>".to_owned()));
        let of_account = event(1, "2026-11-23T10:00:00Z", ActivityKind::Account, json!({}));
        let deleted = ActivityView { id: 3, project: Some("<Ships>".to_owned()), project_deleted: true, ..of_project.clone() };
        let page = ActivityPage { activity: vec![deleted, of_project, of_account], next: None, kept_days: 90 };
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let paint = Paint::new("/i.svg", Offset::UTC, now);
        let all = html(&page, ALL, now, &paint);
        assert_eq!(all.matches(&format!("<p><a href=\"/projects/{id}\"><bdi>&lt;Boats&gt;</bdi></a></p>")).count(), 1, "{all}");
        assert_eq!(all.matches("<a href=\"/projects/").count(), 1, "{all}");
        assert!(all.contains("<p><bdi>&lt;Ships&gt;</bdi> (deleted)</p>"), "{all}");
        assert!(all.contains(">Account</button>"), "{all}");
        let one = html(&page, &format!("/api/projects/{id}/activity"), now, &paint);
        assert!(!one.contains("<bdi>") && !one.contains(">Account</button>"), "{one}");
    }

    #[test]
    fn what_is_told_is_text_and_no_markup() {
        let mut bad = event(1, "2026-11-23T10:00:00Z", ActivityKind::Phase, json!({ "to": "<x>", "a": "</pre><b>" }));
        bad.title = "<img src=x>".to_owned();
        bad.detail = Some("\"><script>".to_owned());
        (bad.times, bad.actor) = (2, Actor { name: "<i>".to_owned(), via: Via::Token, token: Some("<u>".to_owned()) });
        let html = drawn(vec![bad], 0);
        for tag in ["<img", "<script", "<b>", "<i>", "<u>", "<x>"] {
            assert!(!html.contains(tag), "{tag} in {html}");
        }
        assert!(html.contains("&lt;img src=x&gt;") && html.contains(", by the token “&lt;u&gt;”"), "{html}");
        assert!(html.contains("Again and again, last at 10:00:00") && html.contains("#phase-terminated"), "{html}");
    }

    #[test]
    fn each_has_its_symbol_and_tone() {
        let of = |kind, data| look(&event(1, "2026-11-23T10:00:00Z", kind, data));
        assert_eq!(of(ActivityKind::Ask, json!({ "verb": "restart" })), ("reload".to_owned(), None));
        assert_eq!(of(ActivityKind::Ask, json!({ "verb": "unheard" })), ("user".to_owned(), None));
        assert_eq!(of(ActivityKind::Phase, json!({ "to": "Running" })), ("phase-running".to_owned(), Some("good")));
        assert_eq!(of(ActivityKind::Phase, json!({ "to": "Stopping" })), ("phase-stopping".to_owned(), None));
        assert_eq!(of(ActivityKind::Phase, json!({ "to": null })), ("phase-terminated".to_owned(), None));
        assert_eq!(of(ActivityKind::Account, json!({ "event": "github-revoked" })), ("github".to_owned(), Some("warn")));
        assert_eq!(of(ActivityKind::Ask, json!({ "verb": "unshare" })), ("lock".to_owned(), None));
        assert_eq!(of(ActivityKind::Run, json!({ "event": "ended" })), ("error".to_owned(), Some("bad")));
    }
}
