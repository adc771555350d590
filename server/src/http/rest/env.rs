//! `/api/projects/{project}/env`: a project's variables. Values are written and never read back.

use crate::http::{
    body::{Json, Project},
    errors::Refusal,
    routes::Me,
    state::Plane,
};
use app::error::{ControlError, ErrorKind};
use axum::{Json as Answer, extract::State};
use model::{
    dotenv,
    view::{EnvChange, EnvView},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `PUT`: either what changes (`set`, `remove`, and a whole `.env` in `dotenv`), or all of it (`envVars`). Has no
/// `Debug`: values are secret.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[derive(utoipa::ToSchema)]
#[schema(as = EnvPut)]
pub struct Put {
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    dotenv: Option<String>,
    #[serde(default)]
    env_vars: Option<BTreeMap<String, String>>,
}

/// `GET /api/projects/{project}/env`.
///
/// # Errors
/// `404 Not Found`.
pub async fn get(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project) -> Result<Answer<EnvView>, Refusal> {
    Ok(Answer(plane.control().env(&viewer, id).await?))
}

/// `PUT /api/projects/{project}/env`. What is set waits for a restart.
///
/// # Errors
/// `404 Not Found`, `422 Unprocessable Content` naming the variable.
pub async fn put(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    Json(put): Json<Put>,
) -> Result<Answer<EnvView>, Refusal> {
    let control = plane.control();
    let change = match put {
        Put { set, remove, dotenv, env_vars: None } => {
            // What is said on its own wins over the same name in the file.
            let mut all = dotenv.as_deref().map(whole).transpose()?.unwrap_or_default();
            all.extend(set);
            EnvChange { set: all, remove }
        }
        Put { set, remove, dotenv: None, env_vars: Some(all) } if set.is_empty() && remove.is_empty() => {
            return Ok(Answer(control.replace_env(&viewer, id, all).await?));
        }
        Put { .. } => {
            let message = "`envVars` replaces all variables, so `set`, `remove` and `dotenv` cannot stand beside it.";
            return Err(ControlError::new(ErrorKind::Invalid, "set-and-replace", message, "Send one or the other.").into());
        }
    };
    Ok(Answer(control.change_env(&viewer, id, change).await?))
}

/// All of a `.env`, or nothing of it: a program does not see what a page would show as skipped.
fn whole(text: &str) -> Result<BTreeMap<String, String>, ControlError> {
    let read = dotenv::read(text);
    let Some((line, why)) = read.skipped.first() else { return Ok(read.set) };
    let message = format!("Line {line} of `dotenv` cannot be read: {why}");
    Err(ControlError::new(ErrorKind::Invalid, "bad-dotenv", message, "Mend that line. Nothing was changed.").at("dotenv"))
}
