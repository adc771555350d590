//! A project's sandbox, its extra ones, and their variables.

use super::{
    NOTHING, Operation, being_removed, body, operation,
    parameters::{key, pages},
};
use crate::http::{
    openapi::{many, one},
    rest,
};
use http::Method;
use model::view::{EnvView, SandboxView};
use serde_json::json;

const ASKED: &str = "It is intended now; the sandbox as it is.";
const CANNOT: &[(&str, &str)] = &[("409", "It cannot apply now: being deleted, or stopped or terminated already.")];

pub(super) fn sandbox() -> Vec<Operation> {
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

pub(super) fn sandboxes() -> Vec<Operation> {
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
                being_removed,
                None,
            )
            .refusals(&[("409", "It is the project's main sandbox.")]),
    ]
}

pub(super) fn environment() -> Vec<Operation> {
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
