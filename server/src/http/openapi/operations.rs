//! What the document says by hand of each operation: its words, its parameters, its examples.

use super::{Described, many, maybe, one, plain};
use crate::{
    control::{claude::ClaudeView, sessions::SessionView},
    git::status::Status,
    github::repositories,
    http::{
        auth::sign_in::{SignIn, SignOut, SignedInAs},
        exec, files as in_home, github as linked, rest,
    },
};
use http::Method;
use model::{
    activity::ActivityPage,
    repository::RepositoryView,
    view::{DatabaseView, EnvView, Event, NewProject, NewToken, PreviewCode, ProjectPatch, ProjectView, SandboxView, TokenView},
};
use serde_json::{Value, json};

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

fn form(kind: &'static str, schema: fn() -> Described, example: Option<Value>) -> Content {
    (kind, schema, example)
}

/// What comes back.
pub struct Answer {
    pub status: u16,
    pub about: &'static str,
    pub content: Vec<Content>,
}

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

fn body(described: Described, required: bool, example: Value) -> Option<Body> {
    Some(Body { described, required, example })
}

fn findings() -> Value {
    let text = json!({ "type": "string" });
    let finding = json!({
        "type": "object",
        "required": ["check", "verdict", "what"],
        "properties": { "check": text, "verdict": text, "what": text, "why": text, "mend": { "type": "array", "items": text } },
    });
    json!({ "type": "object", "required": ["findings"], "properties": { "findings": { "type": "array", "items": finding } } })
}

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

fn query(name: &str, about: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": about, "schema": schema })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn limit() -> Value {
    query("limit", "How many at most.", json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }))
}

/// Of a list that is whole where nothing is said.
fn pages() -> [Value; 2] {
    [
        query(
            "limit",
            "How many at most; then the header `Link` names the next page. Without it: all of them.",
            json!({ "type": "integer", "minimum": 1, "maximum": 200 }),
        ),
        query("after", "Where the page before ended, as its `Link` says.", text()),
    ]
}

fn key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        "description": "The same key within a day is the same ask: repeat it safely after a lost answer. Of a commit, a push, a publication, a clone \
                        or a password, `409` with the code `key-under-way` while the first is carried out.",
    })
}

/// What every read of the API takes.
pub fn etag() -> Value {
    json!({
        "name": "If-None-Match", "in": "header", "required": false, "schema": text(),
        "description": "The `ETag` of an answer before: `304 Not Modified` where nothing has changed.",
    })
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

const NOTHING: fn() -> Option<Body> = || body(one::<rest::sandbox::Nothing>(), false, json!({}));
const ASKED: &str = "It is intended now; the sandbox as it is.";
const CANNOT: &[(&str, &str)] = &[("409", "It cannot apply now: being deleted, or stopped or terminated already.")];
const NOT_RUNNING: &[(&str, &str)] = &[("409", "The sandbox does not run.")];

/// All of them, in the order of the page.
pub fn all() -> Vec<Operation> {
    [projects(), sandbox(), sandboxes(), environment(), inside(), files(), activity(), account(), github(), service()]
        .into_iter()
        .flatten()
        .collect()
}

fn projects() -> Vec<Operation> {
    let phases = ["creating", "starting", "running", "updating", "stopping", "stopped", "terminating", "terminated", "error"];
    vec![
        operation(Method::GET, "/api/projects", "listProjects", "Projects", "List projects, newest first")
            .about("Without parameters: all of them. With `limit`, the header `Link` names the next page.")
            .parameters([
                query("limit", "How many at most.", json!({ "type": "integer", "minimum": 1, "maximum": 200 })),
                query("after", "The id of the last project of the page before.", json!({ "type": "string", "format": "uuid" })),
                query("search", "In whose name, slug or repository (`owner/name · branch`) this stands, whatever its case.", text()),
                query("phase", "Phases, split by commas.", json!({ "type": "string", "examples": phases })),
                query("extra", "Extra sandboxes as well, each by itself.", json!({ "type": "boolean", "default": false })),
            ])
            .json(200, "The projects.", many::<ProjectView>, None),
        operation(Method::POST, "/api/projects", "createProject", "Projects", "Make a project, and start its sandbox")
            .parameters([key()])
            .body(|| body(one::<NewProject>(), true, json!({ "name": "Boats", "database": true, "preset": "medium", "env": { "GREETING": "hej" } })))
            .json(201, "Made; `Location` is its address.", one::<ProjectView>, None)
            .refusals(&[("409", "There are as many projects as one may have.")]),
        operation(Method::GET, "/api/projects/{project}", "getProject", "Projects", "Get a project with its sandbox")
            .json(200, "The project.", one::<ProjectView>, None),
        operation(Method::PATCH, "/api/projects/{project}", "changeProject", "Projects", "Rename or resize a project")
            .about("A sandbox that is up goes on in a new run of a new size (Updating): its shells end, files and database stay, and changed variables go on waiting for a restart. Another takes it at its next start. Slug and addresses stay.")
            .body(|| body(one::<ProjectPatch>(), true, json!({ "name": "Ships" })))
            .json(200, "The project as it is now.", one::<ProjectView>, None),
        operation(Method::DELETE, "/api/projects/{project}", "deleteProject", "Projects", "Delete a project with all that is in it")
            .body(|| body(one::<rest::projects::Confirmation>(), false, json!({ "name": "Boats" })))
            .json(
                202,
                "Sandbox, files and database are being removed; the address answers 404 once they are gone.",
                || plain(json!({ "type": "object", "properties": { "id": { "type": "string", "format": "uuid" }, "deleting": { "type": "boolean" } } })),
                None,
            ),
        operation(Method::GET, "/api/projects/{project}/database", "getDatabase", "Projects", "Say where the project's PostgreSQL is")
            .about("As seen from inside the sandbox, without the password.")
            .json(200, "Where it is.", one::<DatabaseView>, None),
        operation(Method::POST, "/api/projects/{project}/database/reveal", "revealDatabasePassword", "Projects", "Reveal the database's password")
            .about("It stands in `psql`. The activity says that it was revealed, by whom and from where.")
            .json(200, "Where it is, with the password.", one::<DatabaseView>, None),
        operation(Method::POST, "/api/projects/{project}/database/reset-password", "resetDatabasePassword", "Projects", "Reset the database's password")
            .about("The database takes the new one at once, or with its next start if it does not run. Connections that are open stay; \
                    new ones from the sandbox need a restart, which brings the new password into its variables.")
            .parameters([key()])
            .json(200, "Where it is, with the new password.", one::<DatabaseView>, None)
            .refusals(&[
                ("409", "The project is being deleted."),
                ("503", "The new password is stored, and the database did not take it yet: the next start sets it again."),
            ]),
        operation(Method::GET, "/api/projects/{project}/repository", "getRepository", "Projects", "Say how far the project's clone is")
            .json(200, "The repository; `null` where the project was made without one.", maybe::<RepositoryView>, None),
        operation(Method::POST, "/api/projects/{project}/repository", "decideOnClone", "Projects", "Try a clone that failed again, or go on without")
            .parameters([key()])
            .body(|| body(one::<rest::projects::Decide>(), true, json!({ "action": "retry" })))
            .json(200, "The repository.", one::<RepositoryView>, None)
            .refusals(&[("409", "There is nothing to decide.")]),
        operation(Method::GET, "/api/projects/{project}/repository/status", "getRepositoryStatus", "Projects", "Say what has changed in the repository")
            .about("As git says inside: `ahead` and `behind` are as of its last clone, fetch or push, at `fetchedAt`. Without a repository: folders that can be published.")
            .json(200, "The repository.", one::<Status>, None)
            .refusals(&[("409", "The sandbox does not run, or the repository is not in it.")]),
        operation(Method::POST, "/api/projects/{project}/repository/commit", "commit", "Projects", "Commit all that has changed")
            .about("In the name of the GitHub account that is connected; its e-mail address, where it is public.")
            .parameters([key()])
            .body(|| body(one::<rest::repository::Commit>(), true, json!({ "message": "Count the boats" })))
            .json(200, "The repository as it is now.", one::<Status>, None)
            .refusals(&[("409", "There is nothing to commit, git refuses, or the sandbox does not run.")]),
        operation(Method::POST, "/api/projects/{project}/repository/push", "push", "Projects", "Push the branch that is checked out")
            .parameters([key()])
            .body(NOTHING)
            .json(200, "The repository as it is now.", one::<Status>, None)
            .refusals(&[("409", "The push was rejected, or the sandbox does not run; `details.code` says which."), ("502", "GitHub answered with an error.")]),
        operation(Method::GET, "/api/projects/{project}/repository/publication", "getPublication", "Projects", "Say how far a publication is")
            .json(200, "It; `null` where nothing was published.", maybe::<rest::repository::View>, None),
        operation(Method::POST, "/api/projects/{project}/repository/publication", "publish", "Projects", "Make a folder a new repository at GitHub")
            .about("It is made there, and the folder is committed and pushed. The same ask again is the same publication; after a failure it goes on where it stood.")
            .parameters([key()])
            .body(|| body(one::<rest::repository::Publish>(), true, json!({ "folder": "app", "name": "boats", "visibility": "private" })))
            .json(202, "It is under way.", one::<rest::repository::View>, None)
            .refusals(&[
                ("409", "The project has a repository, no account is connected, the sandbox does not run, or another is under way."),
                ("502", "GitHub answered with an error."),
            ]),
    ]
}

fn sandboxes() -> Vec<Operation> {
    const PATH: &str = "/api/projects/{project}/sandboxes";
    vec![
        operation(Method::GET, PATH, "listSandboxes", "Sandboxes", "List the sandboxes of a project")
            .about("The main one first, then oldest first; by the id of any of them.")
            .parameters(pages())
            .json(200, "The sandboxes.", many::<rest::sandboxes::View>, None),
        operation(Method::POST, PATH, "addSandbox", "Sandboxes", "Add a sandbox for a branch, and start it")
            .about(
                "What the project was made from is cloned into it, and the branch is made where the repository has none of that name. \
                 Without a repository it starts with an empty home folder.",
            )
            .parameters([key()])
            .body(|| body(one::<rest::sandboxes::New>(), true, json!({ "branch": "feature/search", "from": "main" })))
            .json(201, "Made; `Location` is its address.", one::<rest::sandboxes::View>, None)
            .refusals(&[("409", "There is one of that branch, or as many sandboxes as one may have, or the project is being deleted.")]),
        operation(Method::DELETE, "/api/projects/{project}/sandboxes/{sandbox}", "removeSandbox", "Sandboxes", "Remove an extra sandbox")
            .about("Its files and its database go with it.")
            .json(
                202,
                "They are being removed; its address answers 404 once they are gone.",
                || plain(json!({ "type": "object", "properties": { "id": { "type": "string", "format": "uuid" }, "deleting": { "type": "boolean" } } })),
                None,
            )
            .refusals(&[("409", "It is the project's main sandbox.")]),
    ]
}

fn sandbox() -> Vec<Operation> {
    let asks = |path, id, summary| {
        operation(Method::POST, path, id, "Sandbox", summary)
            .parameters([key()])
            .body(NOTHING)
            .json(202, ASKED, one::<SandboxView>, None)
            .refusals(CANNOT)
    };
    vec![
        operation(Method::GET, "/api/sandbox/{project}", "getSandbox", "Sandbox", "Get a sandbox: phase, stages, cause, addresses")
            .json(200, "The sandbox.", one::<SandboxView>, None),
        operation(Method::POST, "/api/sandbox/{project}", "createSandbox", "Sandbox", "Create the sandbox, or restart it with other variables")
            .about("While it is being created or started, the same ask, unless it brings variables that the start under way does not have.")
            .parameters([key()])
            .body(|| body(one::<rest::sandbox::Create>(), false, json!({ "envVars": { "DEBUG": "1" } })))
            .json(202, ASKED, one::<SandboxView>, None)
            .refusals(CANNOT),
        operation(Method::DELETE, "/api/sandbox/{project}", "terminateSandbox", "Sandbox", "Terminate the sandbox; files and database stay")
            .body(NOTHING)
            .json(202, ASKED, one::<SandboxView>, None)
            .refusals(CANNOT),
        asks("/api/sandbox/{project}/start", "startSandbox", "Start the sandbox"),
        asks("/api/sandbox/{project}/stop", "stopSandbox", "Stop the sandbox; its files stay"),
        asks("/api/sandbox/{project}/restart", "restartSandbox", "Restart the sandbox, with the variables and size of now"),
    ]
}

fn environment() -> Vec<Operation> {
    vec![
        operation(
            Method::GET,
            "/api/projects/{project}/env",
            "getEnvironment",
            "Environment",
            "List variables, without their values",
        )
        .json(200, "The variables.", one::<EnvView>, None),
        operation(Method::PUT, "/api/projects/{project}/env", "changeEnvironment", "Environment", "Change variables")
            .about("Either what changes (`set`, `remove`), or all of it (`envVars`). It waits for a restart.")
            .body(|| body(one::<rest::env::Put>(), true, json!({ "set": { "GREETING": "hej" }, "remove": ["OLD"] })))
            .json(200, "The variables as they are now.", one::<EnvView>, None),
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

fn inside() -> Vec<Operation> {
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

fn matching() -> Vec<Value> {
    vec![if_match(), request_header("If-None-Match", "`*`: only where there is nothing yet.")]
}

fn if_match() -> Value {
    request_header("If-Match", "The `ETag` of what is to be changed: 409 where it is another by now.")
}

fn request_header(name: &str, about: &str) -> Value {
    json!({ "name": name, "in": "header", "required": false, "description": about, "schema": text() })
}

const CHANGED: &[(&str, &str)] = &[(
    "409",
    "The sandbox does not run, its disk is full, or the file is another than `If-Match` says; the details have both versions.",
)];

const LISTED: &[(&str, &str)] =
    &[("409", "The sandbox does not run."), ("413", "The folder has more names than one answer holds; ask for it in pages.")];

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

fn files() -> Vec<Operation> {
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

fn github() -> Vec<Operation> {
    const AWAY: &[(&str, &str)] = &[
        ("409", "No account is connected, or its access was revoked."),
        ("502", "GitHub answered with an error."),
        ("504", "GitHub did not answer in time."),
    ];
    let begin: fn() -> Option<Body> = || body(one::<linked::Begin>(), true, json!({ "next": "/" }));
    let address: fn() -> Described = || plain(json!({ "type": "object", "required": ["url"], "properties": { "url": text() } }));
    let off: &'static [(&'static str, &'static str)] = &[("404", "This installation is not set up for it.")];
    vec![
        operation(Method::POST, "/api/github/sign-in", "beginGitHubSignIn", "GitHub", "Begin a sign-in by GitHub")
            .about("The answer sets a cookie: only the browser that has it can come back.")
            .body(begin)
            .json(200, "The page of GitHub's to go to.", address, None)
            .refusals(off),
        operation(Method::POST, "/api/github/connect", "connectGitHub", "GitHub", "Begin to connect a GitHub account")
            .body(begin)
            .json(200, "The page of GitHub's to go to.", address, None)
            .refusals(off),
        operation(Method::GET, "/api/github", "getGitHub", "GitHub", "Say which account is connected").json(
            200,
            "What is known.",
            one::<linked::GitHubView>,
            None,
        ),
        operation(Method::DELETE, "/api/github", "disconnectGitHub", "GitHub", "Disconnect it, here and at GitHub")
            .answer(204, "It is disconnected.", vec![])
            .refusals(&[("404", "None is connected."), ("409", "It is the only way in.")]),
        operation(
            Method::GET,
            "/api/github/repositories",
            "listRepositories",
            "GitHub",
            "List the account's repositories, pushed to last first",
        )
        .parameters([
            query("search", "Words of the name.", text()),
            query("page", "From 1.", json!({ "type": "integer", "minimum": 1, "default": 1 })),
        ])
        .json(200, "A page of them.", one::<repositories::Page>, None)
        .refusals(AWAY),
    ]
}

fn activity() -> Vec<Operation> {
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

fn account() -> Vec<Operation> {
    vec![
        operation(Method::GET, "/api/me", "getMe", "Account", "Say who is signed in, and what they may").json(
            200,
            "Who.",
            one::<rest::tokens::Myself>,
            None,
        ),
        operation(Method::GET, "/api/tokens", "listTokens", "Account", "List API tokens, newest first").parameters(pages()).json(
            200,
            "The tokens, without their secrets.",
            many::<TokenView>,
            None,
        ),
        operation(Method::POST, "/api/tokens", "createToken", "Account", "Make an API token")
            .about(
                "Where a token asks, the new one expires when that one does, or earlier if `days` says so, is of its scope at most, and \
                 is revoked with it; `madeBy` names it.",
            )
            .parameters([key()])
            .body(|| body(one::<rest::tokens::New>(), true, json!({ "name": "ci", "scope": "write", "days": 90 })))
            .json(201, "The token, with its secret: it is shown this once.", one::<NewToken>, None)
            .refusals(&[("409", "A token was made by that `Idempotency-Key` before; its secret is kept nowhere. The sentence names it, to be revoked.")]),
        operation(Method::DELETE, "/api/tokens/{token}", "revokeToken", "Account", "Revoke an API token").answer(
            204,
            "What it opened ends within a second; the tokens that it made are revoked with it.",
            vec![],
        ),
        operation(Method::GET, "/api/sessions", "listSessions", "Account", "Say where the user is signed in").parameters(pages()).json(
            200,
            "The session that asks first, then the newest.",
            many::<SessionView>,
            None,
        ),
        operation(Method::DELETE, "/api/sessions", "endOtherSessions", "Account", "Sign out everywhere else")
            .json(200, "How many were ended. What they opened ends within a second.", one::<rest::sessions::Ended>, None)
            .refusals(&[("409", "A token asks, which is no session.")]),
        operation(Method::DELETE, "/api/sessions/{session}", "endSession", "Account", "End one session").answer(
            204,
            "What it opened ends within a second.",
            vec![],
        ),
        operation(Method::GET, "/api/claude", "getClaude", "Account", "Say which Claude credentials the user's sandboxes get")
            .about("The key or token itself is never answered.")
            .json(200, "The user's own, and whether there are the operator's.", one::<ClaudeView>, None),
        operation(Method::PUT, "/api/claude", "setClaude", "Account", "Set Claude credentials of one's own")
            .about(
                "A key or a token, and where it is sent; in place of those that there are. They win over the operator's as a whole, and a \
                 project's variables win over them. What runs keeps what it was started with until it is restarted.",
            )
            .body(|| body(one::<rest::claude::Put>(), true, json!({ "kind": "apiKey", "value": "sk-ant-…" })))
            .json(200, "What is set now, and whose sandboxes wait for a restart.", one::<ClaudeView>, None),
        operation(Method::DELETE, "/api/claude", "removeClaude", "Account", "Remove one's own Claude credentials")
            .about("What runs keeps them until it is restarted. Where there are none, nothing happens.")
            .json(200, "What sandboxes get from now on.", one::<ClaudeView>, None),
        operation(Method::POST, "/api/sign-in", "signIn", "Account", "Sign in by the code of a link")
            .body(|| body(one::<SignIn>(), true, json!({ "code": "…" })))
            .json(200, "Signed in: the cookie is set.", one::<SignedInAs>, None)
            .refusals(&[("401", "The code was never made."), ("410", "The code was used, or is too old.")]),
        operation(Method::POST, "/api/sign-out", "signOut", "Account", "Sign out")
            .body(|| body(one::<SignOut>(), false, json!({ "everywhere": false })))
            .answer(204, "The session is over everywhere.", vec![]),
    ]
}

fn service() -> Vec<Operation> {
    let status = || plain(json!({ "type": "object", "properties": { "status": text(), "version": text() } }));
    let metrics = || plain(text());
    vec![
        operation(Method::GET, "/metrics", "getMetrics", "Service", "Read metrics, for Prometheus")
            .about("From this very machine, or with the token of `FSA_METRICS_TOKEN`.")
            .answer(200, "OpenMetrics text.", vec![form("application/openmetrics-text", metrics, None)])
            .refusals(&[("403", "From elsewhere, without the token.")]),
        operation(
            Method::GET,
            "/api/doctor",
            "lookAtInstallation",
            "Service",
            "Look at the installation, as `fullstack-agent doctor` does",
        )
        .about("For who runs it. With `Accept: application/x-ndjson`, one finding a line, as it comes.")
        .answer(
            200,
            "The findings.",
            vec![form("application/json", || plain(findings()), None), form("application/x-ndjson", || plain(text()), None)],
        )
        .refusals(&[("404", "It is not yours to run."), ("429", "Somebody looks at this very moment.")]),
        operation(Method::GET, "/api/openapi.json", "getOpenApi", "Service", "Get this document").json(
            200,
            "The document.",
            || plain(json!({ "type": "object" })),
            None,
        ),
        operation(Method::GET, "/healthz", "getHealth", "Service", "Say that the process answers").json(
            200,
            "It does.",
            status,
            Some(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })),
        ),
        operation(Method::GET, "/readyz", "getReadiness", "Service", "Say that its database answers too").json(
            200,
            "It does.",
            status,
            Some(json!({ "status": "ready" })),
        ),
    ]
}
