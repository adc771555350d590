//! What operations take in path, query and headers.

use serde_json::{Value, json};

/// The parameter of that name in a path.
pub fn in_path(name: &str) -> Value {
    let (about, format) = match name {
        "project" => ("The project's id.", Some("uuid")),
        "token" => ("The token's id.", Some("uuid")),
        "sandbox" => ("The extra sandbox's id.", Some("uuid")),
        "session" => ("A terminal's name, such as `main`; or the id of a session of a browser, as it is listed.", None),
        "port" => ("A port inside, such as 3000.", None),
        "path" => ("From the home folder on; slashes are part of it, other bytes percent-encoded.", None),
        _ => ("", None),
    };
    let mut schema = json!({ "type": "string" });
    if let Some(format) = format {
        schema["format"] = format.into();
    }
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": schema })
}

/// What every read of the API takes.
pub fn etag() -> Value {
    json!({
        "name": "If-None-Match", "in": "header", "required": false, "schema": text(),
        "description": "The `ETag` of an answer before: `304 Not Modified` where nothing has changed.",
    })
}

pub(super) fn query(name: &str, about: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": about, "schema": schema })
}

/// Of a list that is whole where nothing is said.
pub(super) fn pages() -> [Value; 2] {
    [
        query(
            "limit",
            "How many at most; then the header `Link` names the next page. Without it: all of them.",
            json!({ "type": "integer", "minimum": 1, "maximum": 200 }),
        ),
        query("after", "Where the page before ended, as its `Link` says.", text()),
    ]
}

pub(super) fn key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        "description": "The same key within a day is the same ask: repeat it safely after a lost answer. Of a commit, a push, a publication, a clone \
                        or a password, `409` with the code `key-under-way` while the first is carried out.",
    })
}

pub(super) fn request_header(name: &str, about: &str) -> Value {
    json!({ "name": name, "in": "header", "required": false, "description": about, "schema": text() })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}
