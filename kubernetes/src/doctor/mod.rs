//! What is right and wrong with a cluster, as an operator needs to know it: each finding says what was found, why
//! it matters, and what mends it.
//!
//! ```text
//!   connection ─▶ answer, version, clock ─▶ namespace ─▶ permissions ─▶ databases, classes ─▶ orphans
//!                                                        (what is tried)  image, names, policies: by probe pods
//! ```
//!
//! Nothing is changed but by [`probes`], which makes pods of its own and removes them, and
//! [`orphans::remove`] and [`remove_database_orphan`], where that is asked for.

mod apiserver;
pub mod orphans;
pub mod permissions;
mod probes;
pub mod project;
mod server;

use crate::{
    Cluster, Settings, causes,
    connection::{Connected, Reached, SLOW, try_namespace},
    settings::DatabaseProvider,
};
use futures::{FutureExt as _, join};
use k8s_openapi::api::{apps::v1::Deployment, networking::v1::IngressClass, storage::v1::StorageClass};
use kube::{
    Api,
    api::{ListParams, ObjectMeta},
};
use model::Cause;
pub use permissions::Databases;
use serde::Serialize;
pub use server::{check as database_server, orphans as database_orphans, remove as remove_database_orphan};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not always, or could not be looked at.
    Warn,
    /// Something does not work.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at, such as `storage class`: the same words at every run.
    pub check: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// Commands and settings that mend it, the likeliest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
    /// The raw text behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Finding {
    /// One with its mends.
    #[must_use]
    pub fn new(check: &str, verdict: Verdict, what: impl Into<String>, why: &str, mend: &[&str]) -> Self {
        let mend = mend.iter().map(|step| (*step).to_owned()).collect();
        Self { check: check.to_owned(), verdict, what: what.into(), why: why.to_owned(), mend, detail: None }
    }

    /// As it should be.
    #[must_use]
    pub fn ok(check: &str, what: impl Into<String>, why: &str) -> Self {
        Self::new(check, Verdict::Ok, what, why, &[])
    }

    /// In a cause's words.
    #[must_use]
    pub fn of_cause(check: &str, verdict: Verdict, cause: &Cause, why: &str) -> Self {
        Self {
            check: check.to_owned(),
            verdict,
            what: cause.message.clone(),
            why: why.to_owned(),
            mend: cause.next_steps.clone(),
            detail: cause.detail.clone(),
        }
    }
}

/// Who is told of each finding as it is made.
pub type Telling = Option<mpsc::UnboundedSender<Finding>>;

/// All findings.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// In the order in which they were made.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    telling: Telling,
}

impl Report {
    /// None yet; each is told as it is added.
    #[must_use]
    pub fn telling(telling: Telling) -> Self {
        Self { findings: Vec::new(), telling }
    }

    /// One more.
    pub fn add(&mut self, finding: Finding) {
        if let Some(telling) = &self.telling {
            // Who does not listen any more is no matter.
            let _ = telling.send(finding.clone());
        }
        self.findings.push(finding);
    }

    fn add_all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }

    /// Whether anything does not work.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Fail)
    }

    /// For people: a line a finding, and under what is not well why, and what mends it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            text.push_str(&format!("{mark}  {}: {}\n", finding.check, finding.what));
            if finding.verdict != Verdict::Ok {
                text.push_str(&format!("      {}\n", finding.why));
                for step in &finding.mend {
                    text.push_str(&format!("      - {step}\n"));
                }
                if let Some(detail) = &finding.detail {
                    text.push_str(&format!("      ({})\n", detail.replace('\n', " ")));
                }
            }
        }
        text
    }
}

/// What to look at.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The cluster.
    pub connected: &'a Connected,
    /// What is set.
    pub settings: &'a Settings,
    /// The ids of all sandboxes and projects of this installation, where they are known: without them orphans
    /// cannot be told from what is needed.
    pub known: Option<&'a orphans::Known>,
    /// A project to look at as well.
    pub project: Option<&'a project::Row>,
    /// Whether pods may be started to try the image, names and policies. Takes up to two minutes.
    pub probe: bool,
}

/// Looks at everything, and adds it to a report. Ends early where nothing more can be said: a cluster that does not answer.
pub async fn examine(asked: Asked<'_>, mut report: Report) -> Report {
    let Asked { connected, settings, .. } = asked;
    let cluster = &connected.cluster;
    report.add(connection(connected));
    let reached = match connected.probe().await {
        Ok(reached) => reached,
        Err(cause) => {
            report.add(Finding::of_cause(
                "reachability",
                Verdict::Fail,
                &cause,
                "Without it no sandbox is made, changed or seen.",
            ));
            return report;
        }
    };
    report.add_all(answered(&connected.place(), &reached));
    let (namespace, served) = join!(namespace(cluster), kubeblocks_served(cluster));
    report.add(namespace);
    let databases = Databases::of(settings.database.provider, served.as_deref().unwrap_or_default());
    let (address, permissions, hidden, storage, ingress) = join!(
        apiserver::check(connected, settings),
        permissions::check(cluster, settings, databases),
        permissions::hidden(cluster, settings, databases),
        storage_classes(cluster, settings),
        ingress_class(cluster, settings)
    );
    report.add_all(address);
    let from_here = |finding| if connected.in_cluster { permissions::from_inside(finding) } else { finding };
    report.add_all(permissions.into_iter().map(from_here));
    report.add_all(hidden);
    let is_served = served.as_ref().is_ok_and(|served| !served.is_empty());
    let release = if is_served { kubeblocks_release(cluster).await } else { None };
    report.add(of_release(kubeblocks(settings, served, databases), release.as_deref()));
    if let Some(server) = &settings.database.server {
        report.add(database_server(server).await);
    }
    report.add_all(storage);
    report.add_all(ingress);
    report.add(match asked.known {
        Some(known) => orphans::check(cluster, settings, known).await,
        None => Finding::new(
            "orphans",
            Verdict::Warn,
            "What is left over could not be told: the rows of this installation are not known here.",
            "Objects without a row cost and are of no use.",
            &["Run the doctor where the server's data folder or FSA_DATABASE_URL is."],
        ),
    });
    if let (Some(server), Some(known)) = (&settings.database.server, asked.known) {
        report.add(server::check_orphans(server, settings.installation, known).await);
    }
    if let Some(row) = asked.project {
        report.add_all(project::check(cluster, settings, row).boxed().await);
    }
    if asked.probe {
        report.add_all(probes::run(cluster, settings).boxed().await);
    }
    report
}

fn connection(connected: &Connected) -> Finding {
    let context = connected.context.as_ref().map(|context| format!(", context `{context}`")).unwrap_or_default();
    Finding::ok(
        "kubeconfig",
        format!("From {}{context}: {}, namespace `{}`.", connected.source, connected.server, connected.cluster.namespace),
        "It says which cluster, as whom, and where.",
    )
}

/// The oldest version that is tried: Pod Security is enforced from 1.25 on, and the fields that are used are all there in 1.28.
const OLDEST_MINOR: u32 = 28;
/// How far clocks may be apart before tokens and certificates, and the times that are shown, suffer.
const CLOCK_SECS: (i64, i64) = (5, 120);

fn answered(place: &str, reached: &Reached) -> Vec<Finding> {
    let millis = reached.took.as_millis();
    let why = "Every step of a sandbox's life asks it something.";
    let mut findings = vec![if reached.took > SLOW {
        Finding::new(
            "reachability",
            Verdict::Warn,
            format!("{place} answered, and took {millis} ms."),
            why,
            &["Run the server nearer to the cluster, or in it.", "Look at the load of the apiserver and of its etcd."],
        )
    } else {
        Finding::ok("reachability", format!("{place} answered in {millis} ms."), why)
    }];
    let why = "Older versions lack what keeps sandboxes apart.";
    findings.push(match reached.minor {
        Some(minor) if minor < OLDEST_MINOR => Finding::new(
            "version",
            Verdict::Warn,
            format!("Kubernetes {} is older than 1.{OLDEST_MINOR}, the oldest that this is tried with.", reached.version),
            why,
            &["Update the cluster."],
        ),
        _ => Finding::ok("version", format!("Kubernetes {}.", reached.version), why),
    });
    let why = "Certificates and tokens are valid by the clock, and what is shown is dated by it.";
    findings.push(match reached.clock_ahead_secs {
        Some(ahead) if ahead.abs() <= CLOCK_SECS.0 => Finding::ok("clock", "This machine's clock and the cluster's agree.", why),
        Some(ahead) => Finding::new(
            "clock",
            if ahead.abs() > CLOCK_SECS.1 { Verdict::Fail } else { Verdict::Warn },
            format!("The cluster's clock is {} s {} this machine's.", ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" }),
            why,
            &["Set both by NTP: `timedatectl set-ntp true`."],
        ),
        None => Finding::new(
            "clock",
            Verdict::Warn,
            "The cluster does not say what time it is.",
            why,
            &["A proxy in between may remove the Date header."],
        ),
    });
    findings
}

async fn namespace(cluster: &Cluster) -> Finding {
    let why = "Everything is made in this one namespace.";
    match try_namespace(cluster).await {
        Ok(()) => Finding::ok("namespace", format!("The namespace `{}` takes new objects.", cluster.namespace), why),
        // Told of with the other permissions.
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains(" cannot ") => Finding::new(
            "namespace",
            Verdict::Warn,
            format!("Whether the namespace `{}` takes new objects could not be tried.", cluster.namespace),
            why,
            &["Give the permissions below first."],
        ),
        Err(error) => Finding::of_cause("namespace", Verdict::Fail, &causes::of_error(&error, "make an object to try it"), why),
    }
}

/// The versions of KubeBlocks' API that are served; none where it is not there.
async fn kubeblocks_served(cluster: &Cluster) -> Result<Vec<String>, Cause> {
    let groups = cluster.client.list_api_groups().await.map_err(|error| causes::of_error(&error, "ask which APIs there are"))?;
    Ok(groups
        .groups
        .into_iter()
        .find(|group| group.name == "apps.kubeblocks.io")
        .map(|group| group.versions.into_iter().map(|version| version.version).collect())
        .unwrap_or_default())
}

/// The label with which Helm's charts say of which release an object is.
const RELEASE: &str = "app.kubernetes.io/version";

/// The release of KubeBlocks, as its Deployment says it, in whichever namespace that is. No right is wanted for it: `None`
/// where the account may not see so far, which is the usual case.
async fn kubeblocks_release(cluster: &Cluster) -> Option<String> {
    let operator = ListParams::default().labels("app.kubernetes.io/name=kubeblocks").limit(20);
    let listed = Api::<Deployment>::all(cluster.client.clone()).list_metadata(&operator).await.ok()?;
    release_of(listed.items.iter().map(|item| &item.metadata))
}

/// The one release that objects are of; all that there are, where there are more.
fn release_of<'a>(metas: impl Iterator<Item = &'a ObjectMeta>) -> Option<String> {
    let releases: BTreeSet<&str> = metas.filter_map(|meta| Some(meta.labels.as_ref()?.get(RELEASE)?.as_str())).collect();
    (!releases.is_empty()).then(|| releases.into_iter().collect::<Vec<_>>().join(", "))
}

fn of_release(finding: Finding, release: Option<&str>) -> Finding {
    let Some(release) = release else { return finding };
    let what = format!("{} Its release is {release}.", finding.what);
    Finding { what, ..finding }
}

fn kubeblocks(settings: &Settings, served: Result<Vec<String>, Cause>, databases: Databases) -> Finding {
    let why = "It says what makes projects' databases.";
    let served = match served {
        Ok(served) => served,
        Err(cause) => return Finding::of_cause("KubeBlocks", Verdict::Fail, &cause, why),
    };
    if databases == Databases::StatefulSet && settings.database.replicas > 1 {
        return Finding::new(
            "KubeBlocks",
            Verdict::Fail,
            format!("Databases are to have {} replicas, and are StatefulSets, which have one.", settings.database.replicas),
            why,
            &["Install KubeBlocks: https://kubeblocks.io/docs.", "Or let databases have one: --database-replicas 1."],
        );
    }
    match (databases, served.is_empty()) {
        (Databases::Given, true) => {
            Finding::ok("KubeBlocks", "KubeBlocks is not installed; databases are made on a given server, as is set.", why)
        }
        (Databases::Given, false) => Finding::ok(
            "KubeBlocks",
            format!("KubeBlocks serves {}; databases are made on a given server, as is set.", served.join(", ")),
            why,
        ),
        (Databases::StatefulSet, true) => {
            Finding::ok("KubeBlocks", "KubeBlocks is not installed; databases are StatefulSets.", why)
        }
        (Databases::StatefulSet, false) => Finding::ok(
            "KubeBlocks",
            format!("KubeBlocks serves {}; databases are StatefulSets, as is set.", served.join(", ")),
            why,
        ),
        (_, true) => Finding::new(
            "KubeBlocks",
            Verdict::Fail,
            "KubeBlocks is to make databases, and its API is not served.",
            why,
            &[
                "Install KubeBlocks: https://kubeblocks.io/docs.",
                "Or let databases be StatefulSets: --database-provider statefulset.",
            ],
        ),
        (Databases::KubeBlocksAlpha, false)
            if settings.database.provider == DatabaseProvider::KubeBlocks && !served.iter().any(|v| v == "v1alpha1") =>
        {
            Finding::new(
                "KubeBlocks",
                Verdict::Fail,
                format!("KubeBlocks serves {}, of which none is known here.", served.join(", ")),
                why,
                &["Install a version of KubeBlocks that serves v1 or v1alpha1."],
            )
        }
        (Databases::KubeBlocks, false) => Finding::ok("KubeBlocks", "KubeBlocks serves v1, and makes databases.", why),
        (Databases::KubeBlocksAlpha, false) => Finding::ok("KubeBlocks", "KubeBlocks serves v1alpha1, and makes databases.", why),
    }
}

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

fn is_default(meta: &ObjectMeta, annotation: &str) -> bool {
    meta.annotations.as_ref().and_then(|all| all.get(annotation)).is_some_and(|value| value == "true")
}

async fn storage_classes(cluster: &Cluster, settings: &Settings) -> Vec<Finding> {
    let database = settings.database.storage_class.as_ref().filter(|class| Some(*class) != settings.storage_class.as_ref());
    let classes = Api::<StorageClass>::all(cluster.client.clone()).list(&ListParams::default()).await;
    let metas = classes.map(|list| list.items.into_iter().map(|class| class.metadata).collect());
    let mut findings = vec![class(
        "storage class",
        &metas,
        settings.storage_class.as_deref(),
        DEFAULT_CLASS,
        "Home folders and databases are volumes of it.",
        &[
            "Set one: --storage-class NAME.",
            "Or mark the default: `kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true`.",
        ],
    )];
    if let Some(database) = database {
        findings.push(class(
            "storage class of databases",
            &metas,
            Some(database),
            DEFAULT_CLASS,
            "Databases are on volumes of it.",
            &["Set one that exists: --database-storage-class NAME (`kubectl get storageclass` shows them)."],
        ));
    }
    findings
}

async fn ingress_class(cluster: &Cluster, settings: &Settings) -> Option<Finding> {
    let ingress = settings.ingress.as_ref()?;
    let classes = Api::<IngressClass>::all(cluster.client.clone()).list(&ListParams::default()).await;
    let metas = classes.map(|list| list.items.into_iter().map(|class| class.metadata).collect());
    Some(class(
        "Ingress class",
        &metas,
        ingress.class.as_deref(),
        DEFAULT_INGRESS_CLASS,
        "Its controller serves the sandboxes' host names.",
        &[
            "Install an Ingress controller, or set the class of the one that is there: --ingress-class NAME (`kubectl get ingressclass` shows them).",
        ],
    ))
}

fn class(
    check: &str,
    metas: &Result<Vec<ObjectMeta>, kube::Error>,
    set: Option<&str>,
    annotation: &str,
    why: &str,
    mend: &[&str],
) -> Finding {
    let metas = match metas {
        Ok(metas) => metas,
        Err(error) => {
            let cause = causes::of_error(error, &format!("look for the {check}"));
            return Finding::of_cause(check, Verdict::Warn, &cause, why);
        }
    };
    let names: Vec<&str> = metas.iter().filter_map(|meta| meta.name.as_deref()).collect();
    let there =
        if names.is_empty() { "there is none in the cluster".to_owned() } else { format!("there are {}", names.join(", ")) };
    match set {
        Some(set) if names.contains(&set) => Finding::ok(check, format!("`{set}` exists."), why),
        Some(set) => Finding::new(check, Verdict::Fail, format!("`{set}` does not exist; {there}."), why, mend),
        None => match metas.iter().find(|meta| is_default(meta, annotation)) {
            Some(meta) => {
                Finding::ok(check, format!("The cluster's default is `{}`.", meta.name.as_deref().unwrap_or_default()), why)
            }
            None => {
                Finding::new(check, Verdict::Fail, format!("None is set and the cluster has no default; {there}."), why, mend)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settings(provider: DatabaseProvider) -> Settings {
        let mut settings = Settings::new(model::InstallationId(uuid::Uuid::nil()), "team");
        settings.database.provider = provider;
        settings
    }

    #[test]
    fn what_makes_databases_is_told_from_the_setting_and_what_is_served() {
        use DatabaseProvider::{Auto, KubeBlocks, Server, StatefulSet};
        for (provider, served, databases, verdict) in [
            (Auto, &[][..], Databases::StatefulSet, Verdict::Ok),
            (Auto, &["v1", "v1alpha1"], Databases::KubeBlocks, Verdict::Ok),
            (Auto, &["v1alpha1"], Databases::KubeBlocksAlpha, Verdict::Ok),
            (StatefulSet, &["v1"], Databases::StatefulSet, Verdict::Ok),
            (KubeBlocks, &["v1"], Databases::KubeBlocks, Verdict::Ok),
            (Server, &[], Databases::Given, Verdict::Ok),
            (Server, &["v1", "v1alpha1"], Databases::Given, Verdict::Ok),
            (KubeBlocks, &[], Databases::KubeBlocksAlpha, Verdict::Fail),
            (KubeBlocks, &["v9"], Databases::KubeBlocksAlpha, Verdict::Fail),
        ] {
            let served: Vec<String> = served.iter().map(|version| (*version).to_owned()).collect();
            let made = Databases::of(provider, &served);
            assert_eq!(made, databases, "{provider:?} {served:?}");
            let finding = kubeblocks(&settings(provider), Ok(served), made);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.mend.is_empty(), verdict == Verdict::Ok, "{finding:?}");
        }
        for (served, databases, verdict) in
            [(Vec::new(), Databases::StatefulSet, Verdict::Fail), (vec!["v1".to_owned()], Databases::KubeBlocks, Verdict::Ok)]
        {
            let mut settings = settings(Auto);
            settings.database.replicas = 2;
            let finding = kubeblocks(&settings, Ok(served), databases);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }

    #[test]
    fn the_release_of_kubeblocks_is_told_where_it_is_seen() {
        let meta = |release: Option<&str>| ObjectMeta {
            labels: release.map(|release| [(RELEASE.to_owned(), release.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let look = |metas: &[ObjectMeta]| release_of(metas.iter());
        assert_eq!(look(&[meta(None), meta(Some("1.0.2")), meta(Some("1.0.2"))]).as_deref(), Some("1.0.2"));
        assert_eq!(look(&[meta(Some("1.0.2")), meta(Some("0.9.5"))]).as_deref(), Some("0.9.5, 1.0.2"), "an upgrade half way");
        assert_eq!(look(&[]).or_else(|| look(&[meta(None)])), None);
        let found = || kubeblocks(&settings(DatabaseProvider::Auto), Ok(vec!["v1".to_owned()]), Databases::KubeBlocks);
        assert_eq!(of_release(found(), Some("1.0.2")).what, "KubeBlocks serves v1, and makes databases. Its release is 1.0.2.");
        assert_eq!(of_release(found(), None), found());
    }

    #[test]
    fn a_class_is_the_one_that_is_set_or_the_default() {
        let meta = |name: &str, default: bool| ObjectMeta {
            name: Some(name.to_owned()),
            annotations: default.then(|| [(DEFAULT_CLASS.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let look = |metas: Vec<ObjectMeta>, set| class("storage class", &Ok(metas), set, DEFAULT_CLASS, "Why.", &["Mend."]);
        let two = || vec![meta("slow", true), meta("fast", false)];
        assert_eq!(look(two(), None).what, "The cluster's default is `slow`.");
        assert_eq!(look(two(), Some("fast")).verdict, Verdict::Ok);
        assert_eq!(look(two(), Some("gone")).what, "`gone` does not exist; there are slow, fast.");
        assert_eq!(look(vec![meta("fast", false)], None).verdict, Verdict::Fail);
        assert_eq!(look(Vec::new(), None).what, "None is set and the cluster has no default; there is none in the cluster.");
    }

    #[test]
    fn age_slowness_and_clocks_are_told() {
        let look = |minor, millis, ahead| {
            let reached = Reached {
                version: format!("v1.{minor}.0"),
                minor: Some(minor),
                took: Duration::from_millis(millis),
                clock_ahead_secs: ahead,
            };
            answered("The cluster https://x", &reached).into_iter().map(|finding| finding.verdict).collect::<Vec<_>>()
        };
        assert_eq!(look(34, 10, Some(1)), [Verdict::Ok; 3]);
        assert_eq!(look(27, 2500, Some(-30)), [Verdict::Warn; 3]);
        assert_eq!(look(28, 10, Some(3600)), [Verdict::Ok, Verdict::Ok, Verdict::Fail]);
        assert_eq!(look(28, 10, None), [Verdict::Ok, Verdict::Ok, Verdict::Warn]);
    }

    #[test]
    fn a_report_fails_with_one_finding_and_tells_its_mend() {
        let mut report = Report { findings: vec![Finding::ok("version", "Kubernetes v1.34.1.", "Why.")], ..Report::default() };
        assert!(!report.failed());
        report.findings.push(Finding::new("clock", Verdict::Warn, "It is late.", "Why.", &["Set it."]));
        assert!(!report.failed());
        report.findings.push(Finding::new("image", Verdict::Fail, "There is none.", "Why it matters.", &["Name one."]));
        assert!(report.failed());
        let text = report.text();
        assert!(text.contains("FAIL  image: There is none.\n      Why it matters.\n      - Name one.\n"), "{text}");
        report.findings[2].detail = Some("as the cluster says it".to_owned());
        // What scripts read, by `--json` and `GET /api/doctor`.
        let json = serde_json::json!({"findings": [
            {"check": "version", "verdict": "ok", "what": "Kubernetes v1.34.1.", "why": "Why."},
            {"check": "clock", "verdict": "warn", "what": "It is late.", "why": "Why.", "mend": ["Set it."]},
            {"check": "image", "verdict": "fail", "what": "There is none.", "why": "Why it matters.", "mend": ["Name one."],
                "detail": "as the cluster says it"},
        ]});
        assert_eq!(serde_json::to_value(&report).unwrap(), json);
    }
}
