//! What happened, to be read and followed.

use super::{
    Operation, form, operation,
    parameters::{query, text},
};
use crate::http::openapi::{Described, one, plain};
use http::Method;
use model::{activity::ActivityPage, view::Event};
use serde_json::{Value, json};

pub(super) fn activity() -> Vec<Operation> {
    let lines: fn() -> Described = || plain(text());
    let mut of_all =
        vec![query("project", "Of one project; also of one that is gone.", json!({ "type": "string", "format": "uuid" }))];
    of_all.extend(activity_filters(true));
    vec![
        operation(
            Method::GET,
            "/api/projects/{project}/activity",
            "readActivity",
            "Activity",
            "Read what happened to a project, newest first",
        )
        .parameters(activity_filters(true))
        .answer(
            200,
            "A page; `Link` names the next one.",
            vec![form("application/json", one::<ActivityPage>, None), form("application/jsonl", lines, None)],
        ),
        operation(
            Method::GET,
            "/api/activity",
            "readAllActivity",
            "Activity",
            "Read what happened to all projects, those that are gone included, and to the account",
        )
        .parameters(of_all)
        .answer(
            200,
            "A page; `Link` names the next one.",
            vec![form("application/json", one::<ActivityPage>, None), form("application/jsonl", lines, None)],
        ),
        operation(Method::GET, "/api/events", "followEvents", "Activity", "Follow everything that the viewer may see")
            .about("Server-sent events: first a snapshot, then one project's whole state each; a comment every 8 s.")
            .answer(200, "The events.", vec![form("text/event-stream", one::<Event>, None)]),
    ]
}

fn activity_filters(format: bool) -> Vec<Value> {
    let mut filters = vec![
        query("kind", "Kinds, split by commas: `ask`, `phase`, `cause`, `run`, `network`.", text()),
        query("actor", "The name of who asked, or of their token, or `browser`, `token`, `system`.", text()),
        query("since", "What last happened then or later.", json!({ "type": "string", "format": "date-time" })),
        query("search", "In whose words this stands, whatever its case.", text()),
        query("before", "The `next` of the page before.", json!({ "type": "integer", "format": "int64" })),
        limit(),
    ];
    if format {
        filters.push(query(
            "format",
            "`jsonl`: all of it, one object a line; as with `Accept: application/jsonl`.",
            json!({ "type": "string", "enum": ["json", "jsonl"] }),
        ));
    }
    filters
}

fn limit() -> Value {
    query("limit", "How many at most.", json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }))
}
