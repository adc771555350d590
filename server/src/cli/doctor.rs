//! `doctor`: looks at the cluster, and says what is right, what is not, why it matters, and what mends it.

use super::{accounts_pool, say};
use crate::config::DataArgs;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use kubernetes::{
    connection::{ConnectionSettings, connect},
    doctor::{Asked, Finding, Report, Verdict, examine, orphans},
    settings::{DatabaseProvider, IngressSettings, Settings},
};
use model::{InstallationId, ProjectId, SandboxId};
use std::path::PathBuf;
use uuid::Uuid;

/// Which cluster, and what is made on it.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// The kubeconfig of the cluster [default: kubeconfig in the folder of secrets, else the account of this pod]
    #[arg(long, env = "FSA_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The folder of secrets
    #[arg(long, env = "FSA_SECRET_DIR", value_name = "FOLDER", default_value = ".secret")]
    pub secret_dir: PathBuf,
    /// The namespace of everything [default: that of the kubeconfig's context]
    #[arg(long, env = "FSA_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// A cluster on this machine (kind, k3d) is meant
    #[arg(long, env = "FSA_ALLOW_LOOPBACK_CLUSTER")]
    pub allow_loopback_cluster: bool,
    /// Run the programs that the kubeconfig names for credentials
    #[arg(long, env = "FSA_ALLOW_EXEC_CREDENTIALS")]
    pub allow_exec_credentials: bool,
    /// The image of sandboxes
    #[arg(long, env = "FSA_IMAGE", value_name = "NAME", default_value = kubernetes::settings::DEFAULT_IMAGE)]
    pub image: String,
    /// When images are pulled
    #[arg(long, env = "FSA_IMAGE_PULL_POLICY", value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["IfNotPresent", "Always", "Never"])]
    pub image_pull_policy: String,
    /// A Secret with credentials of the image's registry; may be given several times
    #[arg(long, env = "FSA_IMAGE_PULL_SECRET", value_name = "NAME", value_delimiter = ',')]
    pub image_pull_secret: Vec<String>,
    /// The class of volumes [default: the cluster's]
    #[arg(long, env = "FSA_STORAGE_CLASS", value_name = "NAME")]
    pub storage_class: Option<String>,
    /// The class of databases' volumes [default: as --storage-class]
    #[arg(long, env = "FSA_DATABASE_STORAGE_CLASS", value_name = "NAME")]
    pub database_storage_class: Option<String>,
    /// What makes databases
    #[arg(long, env = "FSA_DATABASE_PROVIDER", value_name = "NAME", default_value = "auto", value_parser = ["auto", "kubeblocks", "stateful-set"])]
    pub database_provider: String,
    /// The domain of sandboxes' own host names; without one there are no Ingresses
    #[arg(long, env = "FSA_INGRESS_DOMAIN", value_name = "DOMAIN")]
    pub ingress_domain: Option<String>,
    /// The class of Ingresses [default: the cluster's]
    #[arg(long, env = "FSA_INGRESS_CLASS", value_name = "NAME")]
    pub ingress_class: Option<String>,
}

impl ClusterArgs {
    fn connection(&self) -> ConnectionSettings {
        ConnectionSettings {
            kubeconfig: self.kubeconfig.clone(),
            secret_dir: self.secret_dir.clone(),
            allow_loopback_cluster: self.allow_loopback_cluster,
            allow_exec_credentials: self.allow_exec_credentials,
            namespace: self.namespace.clone(),
        }
    }

    fn settings(&self, installation: InstallationId, namespace: &str) -> Settings {
        let mut settings = Settings::new(installation, namespace);
        settings.image.clone_from(&self.image);
        settings.image_pull_policy.clone_from(&self.image_pull_policy);
        settings.image_pull_secrets.clone_from(&self.image_pull_secret);
        settings.storage_class.clone_from(&self.storage_class);
        settings.database.storage_class.clone_from(&self.database_storage_class);
        settings.database.provider = match self.database_provider.as_str() {
            "kubeblocks" => DatabaseProvider::KubeBlocks,
            "stateful-set" => DatabaseProvider::StatefulSet,
            _ => DatabaseProvider::Auto,
        };
        settings.ingress = self.ingress_domain.as_ref().map(|domain| IngressSettings {
            domain: domain.clone(),
            tls_secret: None,
            class: self.ingress_class.clone(),
            annotations: None,
            auth_url: None,
            sign_in_url: None,
        });
        settings
    }
}

/// `doctor`
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print all findings as JSON
    #[arg(long)]
    json: bool,
    /// Start no pods: image, name lookup and network policies are not tried then
    #[arg(long)]
    no_probes: bool,
    /// Remove what is left in the cluster and belongs to no project
    #[arg(long)]
    remove_orphans: bool,
    /// With --remove-orphans: volumes and databases too. They cannot be had back
    #[arg(long, requires = "remove_orphans")]
    with_data: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints the findings.
///
/// # Errors
/// A check failed.
pub async fn doctor(data: &DataArgs, args: &DoctorArgs) -> Result<()> {
    let rows = rows(data).await;
    let report = look(args, rows.as_ref().ok()).await?;
    if args.json {
        say(&serde_json::to_string_pretty(&report).context("write the findings")?);
    } else {
        say(report.text().trim_end());
        if let (Err(error), false) = (&rows, report.failed()) {
            say(&format!("      ({error:#})"));
        }
    }
    if report.failed() {
        let failed = report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
        bail!("{failed} of {} checks failed.", report.findings.len());
    }
    Ok(())
}

async fn look(args: &DoctorArgs, rows: Option<&Rows>) -> Result<Report> {
    let connected = match connect(&args.cluster.connection()).await {
        Ok(connected) => connected,
        Err(error) => {
            let why = "It says which cluster, as whom, and where.";
            return Ok(Report { findings: vec![Finding::new("kubeconfig", Verdict::Fail, error.to_string(), why, &[])] });
        }
    };
    // Without rows nothing of this installation can be told from anybody's.
    let installation = rows.map_or(InstallationId(Uuid::nil()), |rows| rows.installation);
    let settings = args.cluster.settings(installation, &connected.cluster.namespace);
    if args.remove_orphans {
        let rows = rows.context("What is left over cannot be told from what is needed: the control plane's database is not here")?;
        let found = orphans::find(&connected.cluster, &settings, &rows.known).await.map_err(|cause| anyhow::anyhow!(cause.message))?;
        for orphan in found.iter().filter(|orphan| args.with_data || !orphan.holds_data) {
            orphans::remove(&connected.cluster, orphan).await.map_err(|cause| anyhow::anyhow!(cause.message))?;
            tracing::info!(orphan.kind, orphan.name, "removed");
        }
    }
    let known = rows.map(|rows| &rows.known);
    Ok(examine(Asked { connected: &connected, settings: &settings, known, probe: !args.no_probes }).await)
}

/// What this installation knows of.
struct Rows {
    installation: InstallationId,
    known: orphans::Known,
}

async fn rows(data: &DataArgs) -> Result<Rows> {
    let pool = accounts_pool(data).await?;
    let read = "read the rows of this installation";
    let installation: Uuid = sqlx::query_scalar("SELECT id FROM installation").fetch_one(&pool).await.context(read)?;
    let sandboxes: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM sandboxes").fetch_all(&pool).await.context(read)?;
    let projects: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM projects").fetch_all(&pool).await.context(read)?;
    Ok(Rows {
        installation: InstallationId(installation),
        known: orphans::Known {
            sandboxes: sandboxes.into_iter().map(SandboxId).collect(),
            projects: projects.into_iter().map(ProjectId).collect(),
        },
    })
}
