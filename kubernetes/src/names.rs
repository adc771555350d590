//! What the objects of a sandbox and of a database are called. Pure functions of what is stored, so that
//! every name is known before its object is made and after it is gone.

use model::ResourceName;

/// Port of the application.
pub const APPLICATION_PORT: u16 = 3000;
/// Port of ttyd's protocol, and nothing else.
pub const TERMINAL_PORT: u16 = 7681;
/// Port of the sandbox agent's other routes, opened to the control plane alone.
pub const AGENT_PORT: u16 = 7682;
/// What a Service of a sandbox offers.
pub const SERVICE_PORTS: [u16; 5] = [APPLICATION_PORT, 5000, TERMINAL_PORT, AGENT_PORT, 8080];
/// Port of PostgreSQL.
pub const POSTGRES_PORT: u16 = 5432;
/// The container of PostgreSQL in its pod, whoever makes that.
pub const POSTGRES_CONTAINER: &str = "postgresql";

/// The immutable Secret of one revision of the environment.
#[must_use]
pub fn env_secret(name: &ResourceName, revision: i64, restart: i64) -> String {
    format!("{name}-env-{revision}-{restart}")
}

/// Whether a Secret of ours is one of [`env_secret`].
#[must_use]
pub fn is_env_secret(name: &str) -> bool {
    let mut parts = name.rsplitn(3, '-');
    let numbers = parts.by_ref().take(2).all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    numbers && parts.next().is_some_and(|rest| rest.ends_with("-env"))
}

/// The Secret of the sandbox agent's token.
#[must_use]
pub fn agent_secret(name: &ResourceName) -> String {
    format!("{name}-agent")
}

/// What the Ingress of a terminal is called by, behind the sandbox's name.
pub(crate) const TERMINAL_SUFFIX: &str = "-terminal";

/// The Ingress of the terminal; that of the application is called as the sandbox.
#[must_use]
pub fn terminal_ingress(name: &ResourceName) -> String {
    format!("{name}{TERMINAL_SUFFIX}")
}

/// What a database's objects are called by, behind the sandbox's name.
pub(crate) const POSTGRES_SUFFIX: &str = "-postgresql";

/// The StatefulSet of a database, with its Secret and NetworkPolicy, and its Service.
#[must_use]
pub fn postgres(name: &ResourceName) -> String {
    format!("{name}{POSTGRES_SUFFIX}")
}

/// The Service that KubeBlocks makes for a Cluster of this name: the primary, 5432.
#[must_use]
pub fn kubeblocks_service(name: &ResourceName) -> String {
    format!("{name}-postgresql-postgresql")
}

/// The Secret of KubeBlocks v1 with the superuser's account.
#[must_use]
pub fn kubeblocks_account(name: &ResourceName) -> String {
    format!("{name}-postgresql-account-postgres")
}

/// The Secret of KubeBlocks v1alpha1.
#[must_use]
pub fn kubeblocks_credential(name: &ResourceName) -> String {
    format!("{name}-conn-credential")
}
