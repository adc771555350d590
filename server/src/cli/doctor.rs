//! `doctor`: looks at the cluster, and says what is right, what is not, why it matters, and what mends it.

use super::{accounts_pool, say};
use crate::config::{DataArgs, kubernetes::KubernetesArgs};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use engine::{database::DatabaseSpec, reconcile::overdue};
use kubernetes::{
    connection::connect,
    doctor::{Asked, Finding, Report, Verdict, database_orphans, examine, orphans, project, remove_database_orphan},
};
use model::{Cause, Desired, InstallationId, Intent, Observed, Phase, ProjectId, SandboxId, Slug, Timestamp, phase};
use secrecy::SecretString;
use sqlx::{Row as _, postgres::PgRow, types::Json};
use std::{path::PathBuf, time::Duration};
use uuid::Uuid;

/// How long pods may take to end before what keeps them apart is left in place. A sandbox's have five seconds, and their node a few
/// more.
const PODS: Duration = Duration::from_secs(60);

/// `doctor`
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print all findings as JSON
    #[arg(long)]
    json: bool,
    /// Look at one project too: its id, or its name in addresses
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Start no pods: image, name lookup and network policies are not tried then
    #[arg(long)]
    no_probes: bool,
    /// Remove what is left in the cluster, and on a given PostgreSQL server, and belongs to no project
    #[arg(long)]
    remove_orphans: bool,
    /// With --remove-orphans: volumes and databases too. They cannot be had back
    #[arg(long, requires = "remove_orphans")]
    with_data: bool,
    /// The folder of secrets
    #[arg(long, env = "FSA_SECRET_DIR", value_name = "FOLDER", default_value = ".secret")]
    secret_dir: PathBuf,
    #[command(flatten)]
    cluster: KubernetesArgs,
}

/// Prints the findings.
///
/// # Errors
/// A check failed.
pub async fn doctor(data: &DataArgs, args: &DoctorArgs) -> Result<()> {
    let rows = match (rows(data, args.project.as_deref()).await, &args.project) {
        (Ok(Rows { project: None, .. }), Some(project)) => {
            bail!("There is no project {project}. Name it by its id, or as it is called in the names of its objects.")
        }
        (Err(error), Some(project)) => return Err(error.context(format!("The project {project} cannot be looked up"))),
        (rows, _) => rows,
    };
    let report = look(data, args, rows.as_ref().ok()).await?;
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

async fn look(data: &DataArgs, args: &DoctorArgs, rows: Option<&Rows>) -> Result<Report> {
    let connected = match connect(&args.cluster.connection(args.secret_dir.clone())).await {
        Ok(connected) => connected,
        Err(error) => {
            let why = "It says which cluster, as whom, and where.";
            let mut report = Report::default();
            let mend = "Or name another: `--kubeconfig FILE`, or put it where secrets are, as `kubeconfig`.";
            report.add(Finding::new("kubeconfig", Verdict::Fail, error.to_string(), why, &[mend]));
            return Ok(report);
        }
    };
    // Without rows nothing of this installation can be told from anybody's.
    let installation = rows.map_or(InstallationId(Uuid::nil()), |rows| rows.installation);
    let public = data.public_url.as_deref().unwrap_or_default();
    let settings = args.cluster.settings(installation, &connected.cluster.namespace, public)?.reached_by(&connected);
    if args.remove_orphans {
        let before =
            rows.context("What is left over cannot be told from what is needed: the control plane's database is not here")?;
        let find = async |known: &orphans::Known| {
            orphans::find(&connected.cluster, &settings, known).await.map_err(|cause| anyhow::anyhow!(cause.message))
        };
        let find_on_server = async |known: &orphans::Known| match &settings.database.server {
            Some(server) => database_orphans(server, installation, known).await.map_err(|cause| anyhow::anyhow!(cause.message)),
            None => Ok(Vec::new()),
        };
        let found = find(&before.known).await?;
        let found_on_server = find_on_server(&before.known).await?;
        // What was made meanwhile has a row by now: a row is there before its objects are.
        let now = self::rows(data, None).await?;
        let still = find(&now.known).await?;
        let chosen = found.iter().filter(|orphan| still.contains(orphan) && (args.with_data || !orphan.holds_data));
        let removed = |orphan: &orphans::Orphan| tracing::info!(orphan.kind, orphan.name, "removed");
        let left = orphans::remove_all(&connected.cluster, chosen, PODS, removed).await;
        for orphan in left.map_err(|cause| anyhow::anyhow!(cause.message))? {
            tracing::warn!(
                orphan.kind,
                orphan.name,
                "left in place, as its pods have not ended: remove what is left over once more"
            );
        }
        if let Some(server) = &settings.database.server {
            let still = find_on_server(&now.known).await?;
            let may = |databases: &[String]| args.with_data || databases.is_empty();
            for orphan in found_on_server.iter().filter(|orphan| still.contains(orphan) && may(&orphan.databases)) {
                remove_database_orphan(server, installation, orphan).await.map_err(|cause| anyhow::anyhow!(cause.message))?;
                tracing::info!(orphan.role, "removed");
            }
        }
    }
    let known = rows.map(|rows| &rows.known);
    let project = rows.and_then(|rows| rows.project.as_ref());
    let asked = Asked { connected: &connected, settings: &settings, known, project, probe: !args.no_probes };
    Ok(examine(asked, Report::default()).await)
}

/// What this installation knows of.
struct Rows {
    installation: InstallationId,
    known: orphans::Known,
    /// The project that was asked for.
    project: Option<project::Row>,
}

async fn rows(data: &DataArgs, project: Option<&str>) -> Result<Rows> {
    let pool = accounts_pool(data).await?;
    let read = "read the rows of this installation";
    let installation: Uuid = sqlx::query_scalar("SELECT id FROM installation").fetch_one(&pool).await.context(read)?;
    let sandboxes: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM sandboxes").fetch_all(&pool).await.context(read)?;
    let projects: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM projects").fetch_all(&pool).await.context(read)?;
    let project = sqlx::query(
        "SELECT p.id AS project, p.slug, p.deleting_since IS NOT NULL AS deleting, s.id AS sandbox, s.name, s.desired, s.generation,
            s.resizes, s.observed, s.cause, d.role, d.name AS database
        FROM sandboxes s JOIN projects p ON p.id = s.project_id LEFT JOIN databases d ON d.project_id = p.id
        WHERE s.main AND (p.slug = $1 OR p.id::text = $1)",
    )
    .bind(project.unwrap_or_default())
    .fetch_optional(&pool)
    .await
    .context(read)?;
    let installation = InstallationId(installation);
    Ok(Rows {
        project: project.and_then(|row| of_row(&row, installation, Timestamp::now())),
        installation,
        known: orphans::Known {
            sandboxes: sandboxes.into_iter().map(SandboxId).collect(),
            projects: projects.into_iter().map(ProjectId).collect(),
        },
    })
}

/// What the doctor is told of a project. Nothing that is sealed is read: it may look where the key is not.
fn of_row(row: &PgRow, installation: InstallationId, now: Timestamp) -> Option<project::Row> {
    let name: String = row.try_get("name").ok()?;
    Some(project::Row {
        database: database(row, installation),
        state: state(row, now),
        ..project::Row::named(name.parse().ok()?)
    })
}

fn database(row: &PgRow, installation: InstallationId) -> Option<DatabaseSpec> {
    let text = |column: &str| row.try_get::<String, _>(column).ok();
    Some(DatabaseSpec {
        project: ProjectId(row.try_get("project").ok()?),
        sandbox: SandboxId(row.try_get("sandbox").ok()?),
        slug: Slug::stored(text("slug")?),
        name: text("name")?.parse().ok()?,
        installation,
        role: text("role")?,
        database: text("database")?,
        // Who only looks needs none.
        password: SecretString::default(),
    })
}

/// Where it is in its life; `None` of a row that this version cannot read.
fn state(row: &PgRow, now: Timestamp) -> Option<(Phase, Option<Cause>)> {
    let desired: Desired = row.try_get::<String, _>("desired").ok()?.parse().ok()?;
    let intent = Intent { desired, generation: row.try_get("generation").ok()?, resizes: row.try_get("resizes").ok()? };
    let Json(observed): Json<Observed> = row.try_get("observed").ok()?;
    let cause = row.try_get::<Option<Json<Cause>>, _>("cause").ok()?.map(|cause| cause.0);
    let phase = phase(intent, &observed, cause.as_ref(), now);
    let (name, deleting) = (row.try_get::<String, _>("name").ok()?.parse().ok()?, row.try_get("deleting").ok()?);
    let overdue = || if phase == Phase::Error { overdue::of_facts(&name, desired, deleting, &observed, now) } else { None };
    Some((phase, cause.or_else(overdue)))
}
