//! What the document says by hand of each operation: its words, its parameters, its examples.

mod account;
mod activity;
mod files;
mod inside;
mod parameters;
mod project;
mod sandbox;
mod service;

pub use parameters::{etag, in_path};

use super::{Described, one, plain};
use crate::http::rest;
use account::{account, github};
use activity::activity;
use files::files;
use http::Method;
use inside::inside;
use project::projects;
use sandbox::{environment, sandbox, sandboxes};
use serde_json::{Value, json};
use service::service;

/// The parts of the API, in the order of the page.
pub const TAGS: &[(&str, &str)] = &[
    ("Projects", "A project is a sandbox, its files, its variables and, if it is wanted, its PostgreSQL."),
    (
        "Sandbox",
        "A project's main sandbox. An ask answers `202 Accepted` as soon as it is stored, with the sandbox as it is; the world follows, \
         and `GET` and events tell how far it is.",
    ),
    (
        "Sandboxes",
        "Those of one project, each for a branch, with files and a database of its own. The `id` of an extra one stands for `{project}` in \
         every other address: then that one is meant, where the project's own id means the main one. Variables are the project's.",
    ),
    ("Environment", "A project's variables. Values are written and never read back."),
    ("Inside", "Commands, terminals, logs and previews of what runs."),
    ("Files", "The home folder of a sandbox that runs. No path leads out of it, by `..` or by a link."),
    ("Activity", "What happened, in order."),
    ("Account", "Who asks, their tokens and their Claude credentials."),
    ("GitHub", "The account that is connected, and what can be cloned."),
    ("Service", "The server itself."),
];

/// One operation.
pub struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub about: &'static str,
    pub parameters: Vec<Value>,
    pub body: fn() -> Option<Body>,
    pub answers: Vec<Answer>,
    /// Refusals of its own.
    pub refusals: &'static [(&'static str, &'static str)],
}

/// What is sent.
pub struct Body {
    pub described: Described,
    pub required: bool,
    pub example: Value,
}

/// A form of it: its media type, its schema, an example.
pub type Content = (&'static str, fn() -> Described, Option<Value>);

/// What comes back.
pub struct Answer {
    pub status: u16,
    pub about: &'static str,
    pub content: Vec<Content>,
}

/// All of them, in the order of the page.
pub fn all() -> Vec<Operation> {
    [projects(), sandbox(), sandboxes(), environment(), inside(), files(), activity(), account(), github(), service()]
        .into_iter()
        .flatten()
        .collect()
}

const NOTHING: fn() -> Option<Body> = || body(one::<rest::sandbox::Nothing>(), false, json!({}));

fn operation(method: Method, path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation {
        method,
        path,
        id,
        tag,
        summary,
        about: "",
        parameters: Vec::new(),
        body: || None,
        answers: Vec::new(),
        refusals: &[],
    }
}

impl Operation {
    fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    fn parameters(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    fn body(mut self, body: fn() -> Option<Body>) -> Self {
        self.body = body;
        self
    }

    fn json(self, status: u16, about: &'static str, schema: fn() -> Described, example: Option<Value>) -> Self {
        self.answer(status, about, vec![form("application/json", schema, example)])
    }

    fn answer(mut self, status: u16, about: &'static str, content: Vec<Content>) -> Self {
        self.answers.push(Answer { status, about, content });
        self
    }

    fn refusals(mut self, refusals: &'static [(&'static str, &'static str)]) -> Self {
        self.refusals = refusals;
        self
    }
}

/// What an ask to remove something answers.
fn being_removed() -> Described {
    let properties = json!({ "id": { "type": "string", "format": "uuid" }, "deleting": { "type": "boolean" } });
    plain(json!({ "type": "object", "properties": properties }))
}

fn body(described: Described, required: bool, example: Value) -> Option<Body> {
    Some(Body { described, required, example })
}

fn form(kind: &'static str, schema: fn() -> Described, example: Option<Value>) -> Content {
    (kind, schema, example)
}
