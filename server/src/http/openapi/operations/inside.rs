//! What runs in a sandbox: commands, logs, terminals, previews and who may open them.

use super::{
    Operation, body, form, operation,
    parameters::{key, pages, query, text},
};
use crate::http::{
    exec,
    openapi::{Described, many, one, plain},
    rest,
};
use http::Method;
use model::view::PreviewCode;
use serde_json::json;

const NOT_RUNNING: &[(&str, &str)] = &[("409", "The sandbox does not run.")];

pub(super) fn inside() -> Vec<Operation> {
    vec![
        operation(Method::POST, "/api/sandbox/{project}/exec", "runCommand", "Inside", "Run a command to its end")
            .about("With `Accept: application/x-ndjson`, the output comes in lines as it is written. It ends with the credential that asked.")
            .parameters([key()])
            .body(|| body(one::<exec::Exec>(), true, json!({ "command": ["npm", "test"], "cwd": "app", "timeoutMs": 60_000 })))
            .answer(
                200,
                "How it went.",
                vec![
                    form("application/json", one::<exec::Done>, Some(json!({ "exitCode": 0, "timedOut": false, "stdout": "ok\n", "stderr": "", "truncated": false }))),
                    form("application/x-ndjson", || plain(text()), None),
                ],
            )
            .refusals(&[("409", "The sandbox does not run; or a command was begun by that `Idempotency-Key` before, and is not run again (`key-used`).")]),
        operation(Method::GET, "/api/sandbox/{project}/logs", "readLog", "Inside", "Read or follow a log")
            .parameters([
                query("source", "Which.", json!({ "type": "string", "enum": ["sandbox", "past", "keeper", "install", "database", "events"], "default": "sandbox" })),
                query("follow", "Whether it goes on as lines come.", json!({ "type": "boolean", "default": false })),
                query("tail", "How many lines of a log that is not followed.", json!({ "type": "integer", "minimum": 0, "maximum": 5000, "default": 1000 })),
                query("format", "Plain lines or JSON, whatever `Accept` says.", json!({ "type": "string", "enum": ["text", "json"] })),
            ])
            .answer(
                200,
                "Lines `{\"at\", \"text\"}`, or plain ones with `Accept: text/plain`.",
                vec![form("application/x-ndjson", || plain(text()), None), form("text/plain", || plain(text()), None)],
            ),
        operation(Method::GET, "/api/sandbox/{project}/terminal", "openTerminal", "Inside", "Open a terminal")
            .about("A WebSocket of the subprotocol `fsa-tty.v1`, or `tty`, which is ttyd's.")
            .parameters([query("session", "The terminal's name; one that is not there is begun.", text())])
            .answer(101, "The terminal.", vec![])
            .refusals(&[("409", "The sandbox does not run."), ("426", "It takes a WebSocket.")]),
        operation(Method::GET, "/api/sandbox/{project}/terminals", "listTerminals", "Inside", "List terminals, by name")
            .parameters(pages())
            .json(200, "Those that run.", sessions, None)
            .refusals(NOT_RUNNING),
        operation(Method::DELETE, "/api/sandbox/{project}/terminal/{session}", "endTerminal", "Inside", "End a terminal, and what runs in it")
            .answer(204, "It is over.", vec![])
            .refusals(NOT_RUNNING),
        operation(Method::POST, "/api/projects/{project}/preview", "openPreview", "Inside", "Get a code that opens the preview of a port")
            .about("Post it as the form field `code` to `action`: it opens that preview once, within a minute.")
            .body(|| body(one::<rest::projects::Preview>(), true, json!({ "port": 3000 })))
            .json(200, "The code.", one::<PreviewCode>, None)
            .refusals(&[("409", "This installation has no addresses for previews.")]),
    ]
    .into_iter()
    .chain(shares())
    .collect()
}

fn shares() -> Vec<Operation> {
    const PATH: &str = "/api/projects/{project}/ports/{port}/share";
    vec![
        operation(Method::GET, "/api/projects/{project}/shares", "listShares", "Inside", "List the ports that others may open")
            .json(200, "Those that are shared, by port; without the secrets of links.", many::<rest::shares::SharedPort>, None),
        operation(Method::GET, PATH, "getShare", "Inside", "Say who may open the preview of a port").json(
            200,
            "For whom it is open.",
            one::<rest::shares::View>,
            None,
        ),
        operation(Method::PUT, PATH, "sharePreview", "Inside", "Open the preview of a port for others")
            .body(|| body(one::<rest::shares::Put>(), true, json!({ "audience": "link", "expiresInHours": 24 })))
            .json(200, "For whom it is open; a link is shown this once.", one::<rest::shares::View>, None),
        operation(Method::DELETE, PATH, "endShare", "Inside", "Open it for its owner alone").answer(
            204,
            "Others are shut out.",
            vec![],
        ),
    ]
}

fn sessions() -> Described {
    plain(
        json!({ "type": "array", "items": { "type": "object", "required": ["id", "name", "title", "columns", "rows"], "properties": {
            "id": text(), "name": text(), "title": text(), "cwd": { "type": ["string", "null"] },
            "columns": { "type": "integer" }, "rows": { "type": "integer" },
            "bytes": { "type": "integer", "description": "All bytes ever written." },
            "attached": { "type": "integer", "description": "Viewers now." },
            "lastOutputAt": { "type": "integer", "description": "Milliseconds since 1970." },
            "startedAt": { "type": "integer", "description": "Milliseconds since 1970." },
            "exited": { "type": ["integer", "null"], "description": "Exit code of the shell; absent while it runs." },
            "busy": { "type": "boolean" },
        } } }),
    )
}
