//! Projects, with their database and repository.

use super::{
    NOTHING, Operation, being_removed, body, operation,
    parameters::{key, query, text},
};
use crate::{
    git::status::Status,
    http::{
        openapi::{many, maybe, one},
        rest,
    },
};
use http::Method;
use model::{
    repository::RepositoryView,
    view::{DatabaseView, NewProject, ProjectPatch, ProjectView},
};
use serde_json::json;

pub(super) fn projects() -> Vec<Operation> {
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
                being_removed,
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
