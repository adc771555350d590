//! What is on every object that is made: whose it is, and how it is found again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{InstallationId, ProjectId, ResourceName, SandboxId, Slug};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The name of the sandbox's objects. (The first system's label, kept.)
pub const MANAGER: &str = "cloud.sealos.io/app-deploy-manager";
/// The project's slug, for people.
pub const PROJECT_NAME: &str = "project.fullstackagent.io/name";
/// The project's id.
pub const PROJECT: &str = "fullstackagent.io/project";
/// The sandbox's id.
pub const SANDBOX: &str = "fullstackagent.io/sandbox";
/// The installation's id: without it an object is foreign.
pub const INSTALLATION: &str = "fullstackagent.io/installation";
/// What the object is a part of: `sandbox`, `volume` or `database`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The program that makes it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The name again, where Services and policies select by it.
pub const APP: &str = "app";

/// Annotation of a pod: the restart count that it was started for.
pub const RESTART_COUNT: &str = "fullstackagent.io/restart-count";
/// Annotation of a pod: the revision of the project's variables that it has.
pub const ENV_REVISION: &str = "fullstackagent.io/env-revision";

/// Annotation of a Deployment, and of a StatefulSet: the hash of what it was asked to be, so that a change by hand is told from one of ours.
pub const MANIFEST: &str = "fullstackagent.io/manifest";
/// Annotation of the Secret with the agent's token: which token that is.
pub const TOKEN_MARK: &str = "fullstackagent.io/token-mark";

/// What an object is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Goes with the sandbox.
    Sandbox,
    /// The project's home folder.
    Volume,
    /// The project's database.
    Database,
}

impl Component {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Volume => "volume",
            Self::Database => "database",
        }
    }
}

/// Whose an object is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The installation.
    pub installation: InstallationId,
    /// The project.
    pub project: ProjectId,
    /// The project's slug.
    pub slug: &'a Slug,
    /// The sandbox's id, where the object goes with a sandbox.
    pub sandbox: Option<SandboxId>,
    /// The name of the sandbox's objects.
    pub name: &'a ResourceName,
}

impl Owner<'_> {
    /// The labels of an object.
    #[must_use]
    pub fn labels(&self, component: Component) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (MANAGER.to_owned(), self.name.to_string()),
            (PROJECT_NAME.to_owned(), self.slug.as_str().to_owned()),
            (PROJECT.to_owned(), self.project.0.to_string()),
            (INSTALLATION.to_owned(), self.installation.0.to_string()),
            (COMPONENT.to_owned(), component.as_str().to_owned()),
            (MANAGED_BY.to_owned(), crate::FIELD_MANAGER.to_owned()),
        ]);
        // `app` selects the sandbox's pods: nothing but the sandbox may have it.
        if component == Component::Sandbox {
            labels.insert(APP.to_owned(), self.name.to_string());
        } else {
            labels.insert(APP.to_owned(), format!("{}-{}", self.name, component.as_str()));
        }
        if let Some(sandbox) = self.sandbox {
            labels.insert(SANDBOX.to_owned(), sandbox.0.to_string());
        }
        labels
    }

    /// Name, namespace and labels of an object.
    #[must_use]
    pub fn meta(&self, component: Component, namespace: &str, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.to_owned()),
            labels: Some(self.labels(component)),
            ..ObjectMeta::default()
        }
    }
}

/// What selects the pods of a sandbox: a Deployment never changes it.
#[must_use]
pub fn pods(name: &ResourceName, sandbox: SandboxId) -> BTreeMap<String, String> {
    BTreeMap::from([(APP.to_owned(), name.to_string()), (SANDBOX.to_owned(), sandbox.0.to_string())])
}

/// The selector of everything of an installation.
#[must_use]
pub fn of_installation(installation: InstallationId) -> String {
    format!("{INSTALLATION}={}", installation.0)
}

/// Whether an object carries an installation's id; one that does not is foreign, and neither adopted nor
/// deleted.
#[must_use]
pub fn is_ours(meta: &ObjectMeta, installation: InstallationId) -> bool {
    id(meta, INSTALLATION) == Some(installation.0)
}

/// Whose a claim is that has the name of a project's home folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// The project's of this installation, whichever of its sandboxes it was made for.
    Own,
    /// Made by us, and without this label (`key=value`), which somebody took off.
    Unlabelled(String),
    /// Somebody else's: neither mounted nor deleted.
    Foreign,
}

/// Whose a claim is by its labels, and by who wrote it where it has not the installation's. `project`: whose it should be, where
/// that is known.
#[must_use]
pub fn home(meta: &ObjectMeta, installation: InstallationId, project: Option<ProjectId>) -> Home {
    let is = |label: &str, wanted: Uuid| {
        let there = meta.labels.as_ref().is_some_and(|all| all.contains_key(label));
        there.then(|| id(meta, label) == Some(wanted))
    };
    let other_part =
        meta.labels.as_ref().is_some_and(|all| all.contains_key(COMPONENT)) && component(meta) != Some(Component::Volume);
    let made_by_us = || meta.managed_fields.iter().flatten().any(|write| write.manager.as_deref() == Some(crate::FIELD_MANAGER));
    let of_project = project.map_or(Some(true), |project| is(PROJECT, project.0));
    match (is(INSTALLATION, installation.0), of_project, project) {
        _ if other_part => Home::Foreign,
        (Some(true), Some(true), _) => Home::Own,
        (Some(true), None, Some(project)) => Home::Unlabelled(format!("{PROJECT}={}", project.0)),
        (None, Some(true) | None, _) if made_by_us() => Home::Unlabelled(of_installation(installation)),
        _ => Home::Foreign,
    }
}

/// What an object is a part of.
#[must_use]
pub fn component(meta: &ObjectMeta) -> Option<Component> {
    let value = meta.labels.as_ref()?.get(COMPONENT)?;
    [Component::Sandbox, Component::Volume, Component::Database].into_iter().find(|component| component.as_str() == value)
}

/// The sandbox that an object says it belongs to; a database is nobody's but its project's.
#[must_use]
pub fn sandbox(meta: &ObjectMeta) -> Option<SandboxId> {
    id(meta, SANDBOX).filter(|_| component(meta) != Some(Component::Database)).map(SandboxId)
}

/// The project that an object says it belongs to.
#[must_use]
pub fn project(meta: &ObjectMeta) -> Option<ProjectId> {
    id(meta, PROJECT).map(ProjectId)
}

fn id(meta: &ObjectMeta, label: &str) -> Option<Uuid> {
    meta.labels.as_ref()?.get(label)?.parse().ok()
}
