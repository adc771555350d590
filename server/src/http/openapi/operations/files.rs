//! The files of a sandbox.

use super::{
    Operation, form, operation,
    parameters::{query, request_header, text},
};
use crate::http::{
    files as in_home,
    openapi::{Described, one, plain},
};
use http::Method;
use serde_json::{Value, json};

const CHANGED: &[(&str, &str)] = &[(
    "409",
    "The sandbox does not run, its disk is full, or the file is another than `If-Match` says; the details have both versions.",
)];

const LISTED: &[(&str, &str)] =
    &[("409", "The sandbox does not run."), ("413", "The folder has more names than one answer holds; ask for it in pages.")];

pub(super) fn files() -> Vec<Operation> {
    const PATH: &str = "/api/sandbox/{project}/files/{path}";
    let bytes: fn() -> Described = || plain(json!({ "type": "string", "contentMediaType": "application/octet-stream" }));
    let changed = |operation: Operation| operation.refusals(CHANGED);
    let put = operation(Method::PUT, PATH, "writeFile", "Files", "Write a file, whole or not at all")
        .about("The body is its bytes, as long as they may be.")
        .parameters([query(
            "mkdir",
            "Makes a folder instead, and those above it.",
            json!({ "type": "boolean", "default": false }),
        )])
        .parameters(matching())
        .answer(201, "It was made; `ETag` names this version.", vec![])
        .answer(204, "It was replaced; `ETag` names this version.", vec![]);
    vec![
        operation(Method::GET, "/api/sandbox/{project}/files", "listHome", "Files", "List the home folder")
            .parameters(pages_of_a_folder())
            .json(200, "What is in it.", one::<in_home::Folder>, None)
            .refusals(LISTED),
        operation(Method::GET, PATH, "readFile", "Files", "Read a file, or list a folder")
            .parameters(pages_of_a_folder())
            .parameters([json!({ "name": "Range", "in": "header", "required": false, "description": "A part of a file.", "schema": text() })])
            .answer(
                200,
                "The bytes of a file, to be saved and never shown as a page; or what is in a folder.",
                vec![form("application/octet-stream", bytes, None), form("application/json", one::<in_home::Folder>, None)],
            )
            .answer(206, "The part that was asked for.", vec![form("application/octet-stream", bytes, None)])
            .refusals(&[
                ("403", "A token of scope `read` asks for what is in `.fsa`, where what terminals showed is kept."),
                ("409", "The sandbox does not run."),
                ("413", "The folder has more names than one answer holds; ask for it in pages."),
                ("416", "The file has no such part."),
            ]),
        changed(put),
        changed(
            operation(Method::POST, PATH, "renameFile", "Files", "Move or rename a file or folder")
                .about("Into a folder that is there, under a name that nothing has: nothing is written over.")
                .parameters([json!({ "name": "to", "in": "query", "required": true, "description": "The new path, from the home folder on.", "schema": text() })])
                .parameters([if_match()])
                .answer(204, "It is there; `ETag` names the version of a file.", vec![]),
        ),
        changed(
            operation(Method::DELETE, PATH, "deleteFile", "Files", "Delete a file or folder")
                .parameters([query("recursive", "With what is in it.", json!({ "type": "boolean", "default": false }))])
                .parameters(matching())
                .answer(204, "It is gone.", vec![]),
        ),
    ]
}

/// Of a folder. As the server takes them (`http/files/page.rs`).
fn pages_of_a_folder() -> [Value; 2] {
    [
        query(
            "limit",
            "How many names at most; then the header `Link` names the next page. Without it: all of them.",
            json!({ "type": "integer", "minimum": 1, "maximum": 5000 }),
        ),
        query("after", "The name that the page before ended with, percent-encoded, as its `Link` says.", text()),
    ]
}

fn matching() -> Vec<Value> {
    vec![if_match(), request_header("If-None-Match", "`*`: only where there is nothing yet.")]
}

fn if_match() -> Value {
    request_header("If-Match", "The `ETag` of what is to be changed: 409 where it is another by now.")
}
