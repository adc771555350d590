//! The chart in `deploy/chart`, by Helm itself: what it renders and refuses, and what becomes of it on a cluster.
//!
//! Helm is `FSA_HELM`, else the one that `end2end/cluster` builds. The cluster is `FSA_TEST_KUBECONFIG`, with kubectl
//! on the PATH; `FSA_TEST_CONTROL_PLANE_IMAGE` and `FSA_TEST_POSTGRES_IMAGE` are images that it has.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/left_out.rs"]
mod left_out;

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const RELEASE: &str = "fsa";
const KEY: &str = "fsa-fullstack-agent-encryption-key";
const POSTGRESQL: &str = "fsa-fullstack-agent-postgresql";
const NAME: &str = "fsa-fullstack-agent";
/// What a volume, an image that is present and a start take, with much to spare.
const PATIENCE: Duration = Duration::from_secs(180);

fn root() -> PathBuf {
    PathBuf::from("..")
}

fn chart() -> PathBuf {
    root().join("deploy/chart")
}

/// What is missing, for which a test cannot run here. With `FSA_REQUIRE_CLUSTER=1` it fails.
type Lack = String;

macro_rules! or_skip {
    ($found:expr) => {
        match $found {
            Ok(found) => found,
            Err(lack) => return left_out::skipped(&lack),
        }
    };
}

#[derive(Clone)]
struct Helm(PathBuf);

impl Helm {
    fn find() -> Result<Self, Lack> {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let built = home.join(".cache/fullstack-agent/cluster/bin/helm");
        let helm = env::var_os("FSA_HELM").map_or(built, PathBuf::from);
        if helm.is_file() { Ok(Self(helm)) } else { Err(format!("there is no Helm at {}", helm.display())) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        // Nothing of the user's: no plugins, no registries, no cluster.
        let own = env::temp_dir().join("fsa-test-helm");
        command.env("HELM_CONFIG_HOME", &own).env("HELM_CACHE_HOME", &own).env("HELM_DATA_HOME", &own).env_remove("KUBECONFIG");
        command
    }

    fn render(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        command.args(["template", RELEASE, "--namespace", "team", "--kube-version", "1.34.0"]).arg(chart()).args(args);
        command.output().unwrap()
    }

    /// The objects, as text, with what is random masked.
    fn rendered(&self, args: &[&str]) -> String {
        let output = self.render(args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(masked).collect::<Vec<_>>().join("\n")
    }
}

/// A line without the value that is another each time.
fn masked(line: &str) -> String {
    let random = |key: &str| line.starts_with("  ") && line.trim_start().starts_with(key);
    match line.split_once(": ") {
        Some((key, value)) if (random("FSA_ENCRYPTION_KEY: ") || random("password: ")) && !value.is_empty() => {
            format!("{key}: ({} characters)", value.len())
        }
        _ => line.to_owned(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The files with values that are rendered, by name.
fn values() -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(chart().join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().trim_end_matches("-values").to_owned();
    found.into_iter().map(|path| (name(&path), path)).collect()
}

#[test]
fn the_chart_is_in_order() {
    let helm = or_skip!(Helm::find());
    for (name, file) in values() {
        let output = helm.command().args(["lint", "--strict", "--values"]).arg(&file).arg(chart()).output().unwrap();
        assert!(output.status.success(), "{name}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn objects_are_as_they_were() {
    let helm = or_skip!(Helm::find());
    assert!(values().len() >= 4);
    for (name, file) in values() {
        insta::assert_snapshot!(name, helm.rendered(&["--values", file.to_str().unwrap()]));
    }
}

#[test]
fn the_program_is_that_of_the_workspace() {
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        line.trim_start_matches(key).trim_matches([' ', '=', ':', '"']).to_owned()
    };
    assert_eq!(field("deploy/chart/Chart.yaml", "appVersion"), field("Cargo.toml", "version"));
}

#[test]
fn what_is_wrong_is_refused() {
    let helm = or_skip!(Helm::find());
    let cases: [(&[&str], &str); 38] = [
        (&["replicaCount=-1"], "replicaCount"),
        (&["replicas=2"], "replicas"),
        (&["publicUrl=fsa.example.com"], "publicUrl"),
        (&["publicUrl=https://fsa.example.com/path"], "publicUrl"),
        (&["publicUrl=https://user:pw@fsa.example.com"], "publicUrl"),
        (&["previewDomain=a_b.example"], "previewDomain"),
        (&["trustedProxies={nonsense}"], "trustedProxies"),
        (&["log.format=xml"], "log/format"),
        (&["limits.stageDeadlines=60\\,300"], "stageDeadlines"),
        (&["limits.leaveDeadline=soon"], "leaveDeadline"),
        (&["image.repository="], "image/repository"),
        (&["image.digest=sha256:12"], "image/digest"),
        (&["image.pullPolicy=Sometimes"], "image/pullPolicy"),
        (&["imagePullSecrets={Not_A_Name}"], "imagePullSecrets"),
        (&["sandboxes.runtime=docker"], "sandboxes/runtime"),
        (&["sandboxes.runtime=injected"], "sandboxes.agentImage: registry.example.com/agent:1"),
        (&["sandboxes.imagePullPolicy=x"], "sandboxes/imagePullPolicy"),
        (&["sandboxes.sizes.huge=1/1Gi-2/2Gi"], "huge"),
        (&["sandboxes.sizes.small=1/1G-2/2G"], "sandboxes/sizes/small"),
        (&["sandboxes.egressDeny={203.0.113.7}"], "sandboxes/egressDeny"),
        (&["sandboxes.ingress.className=nginx"], "sandboxes.ingress.domain: apps.example.com"),
        (&["sandboxes.ingress.domain=a.example", "sandboxes.ingress.annotations.a=b\\,c"], "sandboxes/ingress/annotations"),
        (&["sandboxes.ingress.domain=a b"], "sandboxes/ingress/domain"),
        (&["databases.provider=mysql"], "databases/provider"),
        (&["databases.replicas=10"], "databases/replicas"),
        (&["databases.replicas=2", "databases.provider=statefulset"], "takes KubeBlocks"),
        (&["databases.replicas=2", "databases.provider=server", "databases.existingSecret=x"], "takes KubeBlocks"),
        (&["databases.provider=server"], "databases.existingSecret: projects-postgresql"),
        (&["postgresql.storage.size=much"], "postgresql/storage/size"),
        (&["postgresql.runAsUser=0"], "postgresql/runAsUser"),
        (&["cluster.namespace=other"], "helm install --namespace"),
        (&["ingress.enabled=true"], "publicUrl: https://fsa.example.com"),
        (&["service.type=ExternalName"], "service/type"),
        (&["terminationGracePeriodSeconds=5"], "terminationGracePeriodSeconds"),
        (&["extraEnv[0].value=x"], "extraEnv"),
        (&["extraEnv[0].name=FSA_LOG", "extraEnv[0].value=x"], "extraEnv names FSA_LOG"),
        (&["listen=127.0.0.1:4000"], "listen"),
        (&["podLabels.app\\.kubernetes\\.io/name=mine"], "podLabels"),
    ];
    for (sets, expected) in cases {
        let args: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        let output = helm.render(&args);
        assert!(!output.status.success(), "{sets:?} is taken");
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{sets:?}: {said}");
    }
}

#[test]
fn a_server_for_projects_databases_is_given_by_a_secret() {
    let helm = or_skip!(Helm::find());
    let set = [
        "--set",
        "databases.provider=server",
        "--set",
        "databases.existingSecret=projects",
        "--set",
        "databases.serverNamespace=data",
    ];
    let alone = helm.rendered(&set);
    for expected in [
        "- name: FSA_DATABASE_SERVER_URL",
        "valueFrom: {secretKeyRef: {name: projects, key: FSA_DATABASE_SERVER_URL}}",
        "{name: FSA_DATABASE_PROVIDER, value: \"server\"}",
        "{name: FSA_DATABASE_SERVER_NAMESPACE, value: \"data\"}",
    ] {
        assert!(alone.contains(expected), "{expected} in {alone}");
    }
    assert!(!alone.contains("apps.kubeblocks.io"), "what is not there is nobody's");
    let beside = helm.rendered(&[&set[..], &["--api-versions", "apps.kubeblocks.io/v1"]].concat());
    assert!(beside.contains("apps.kubeblocks.io"), "projects that KubeBlocks made a database for keep it");
}

#[test]
fn nothing_is_made_outside_of_its_namespace_unless_it_is_asked_for() {
    let helm = or_skip!(Helm::find());
    let elsewhere = |text: &str| text.lines().filter(|line| *line == "  namespace: default").count();
    let usual = helm.rendered(&[]);
    assert!(elsewhere(&usual) == 0 && !usual.contains("kind: ClusterRole"), "{usual}");
    let asked = helm.rendered(&["--set", "rbac.apiserverReader=true"]);
    assert_eq!(elsewhere(&asked), 2, "a Role and its binding");
    assert!(asked.contains("    resourceNames: [kubernetes]\n    verbs: [get]\n"), "{asked}");
}

/// `FSA_…` in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("FSA_") {
        let end = text[at..].find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(text.len() - at);
        found.insert(text[at..at + end].to_owned());
    }
    found
}

#[test]
fn every_setting_of_a_cluster_has_a_value() {
    let settings = fs::read_to_string(root().join("server/src/config/kubernetes.rs")).unwrap();
    let known: BTreeSet<String> = settings.lines().filter(|line| line.contains("env = \"")).flat_map(variables).collect();
    assert!(known.len() > 20, "the settings are read wrong: {known:?}");
    let set = variables(&fs::read_to_string(chart().join("templates/_env.tpl")).unwrap());
    let missing: Vec<_> = known.difference(&set).collect();
    assert!(missing.is_empty(), "the chart has no value for {missing:?}");
    // And none that the program does not read.
    let config = fs::read_to_string(root().join("server/src/config.rs")).unwrap();
    let read = variables(&settings).union(&variables(&config)).cloned().collect();
    let unread: Vec<_> = set.difference(&read).collect();
    assert!(unread.is_empty(), "the program does not read {unread:?}");
}

#[test]
fn every_right_is_explained() {
    let role = fs::read_to_string(chart().join("templates/role.yaml")).unwrap();
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut resources = 0;
    for line in role.lines().filter(|line| line.trim_start().starts_with("resources: [")) {
        for resource in line.split_once('[').unwrap().1.trim_end_matches(']').split(", ") {
            resources += 1;
            assert!(page.contains(&format!("`{resource}`")), "docs/operations.md does not say what {resource} is for");
        }
    }
    assert!(resources > 12);
    assert!(!role.lines().any(|line| !line.trim_start().starts_with('#') && line.contains('*')), "the Role has a `*`");
}

#[test]
fn every_value_is_in_the_readme() {
    let readme = fs::read_to_string(chart().join("README.md")).unwrap();
    let values = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let keys = values.lines().filter(|line| !line.starts_with([' ', '#'])).filter_map(|line| line.split_once(':'));
    for (key, _) in keys {
        assert!(readme.contains(&format!("`{key}")), "the README says nothing of {key}");
    }
}

// ---- On a cluster

struct Cluster {
    helm: Helm,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Cluster {
    /// A namespace of its own, in which nothing but Pod Security "restricted" passes.
    fn find(purpose: &str) -> Result<Self, Lack> {
        let helm = Helm::find()?;
        let kubeconfig = env::var_os("FSA_TEST_KUBECONFIG").ok_or("FSA_TEST_KUBECONFIG names no cluster")?.into();
        if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
            return Err("kubectl is not on the PATH".to_owned());
        }
        let namespace = format!("fsa-chart-{purpose}-{}", std::process::id());
        let cluster = Self { helm, kubeconfig, namespace };
        let levels = ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
        cluster.kubectl(&["create", "namespace", &cluster.namespace]);
        cluster.kubectl(&["label", "namespace", &cluster.namespace, &levels[0], &levels[1]]);
        Ok(cluster)
    }

    fn with<S: AsRef<OsStr>>(&self, mut command: Command, args: &[S]) -> Output {
        command.args(args).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null()).output().unwrap()
    }

    fn try_kubectl(&self, args: &[&str]) -> Output {
        self.with(Command::new("kubectl"), &[&["--namespace", self.namespace.as_str()], args].concat())
    }

    fn kubectl(&self, args: &[&str]) -> String {
        let output = self.try_kubectl(args);
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    fn apply(&self, how: &[&str], objects: &[u8]) -> Output {
        self.kubectl_with(&[how, &["--filename", "-"]].concat(), objects)
    }

    /// kubectl with something to read.
    fn kubectl_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.namespace]).args(args).env("KUBECONFIG", &self.kubeconfig);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn try_helm(&self, args: &[&str]) -> Output {
        self.with(self.helm.command(), &[&["--namespace", self.namespace.as_str()], args].concat())
    }

    fn helm(&self, args: &[&str]) -> String {
        let output = self.try_helm(args);
        assert!(output.status.success(), "helm {args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "--output", &format!("jsonpath={path}")])
    }

    fn is_there(&self, object: &str) -> bool {
        self.try_kubectl(&["get", object]).status.success()
    }

    fn until(&self, what: &str, mut true_: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !true_() {
            if begun.elapsed() > PATIENCE {
                let pods = self.kubectl(&["describe", "pods"]);
                panic!("{what}: not within {} s\n{pods}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// What psql answers in PostgreSQL's pod, by TCP and so by password.
    fn sql(&self, statement: &str) -> String {
        let script = format!(
            "PGPASSWORD=\"$POSTGRES_PASSWORD\" psql --host=$(hostname -i) --username=fullstack_agent --dbname=fullstack_agent \
             --no-psqlrc --tuples-only --no-align --command='{statement}'"
        );
        self.kubectl(&["exec", &format!("statefulset/{POSTGRESQL}"), "--", "sh", "-c", &script])
    }

    fn postgresql_is_ready(&self) {
        let object = format!("statefulset/{POSTGRESQL}");
        self.until("PostgreSQL is ready", || self.is_there(&object) && self.field(&object, "{.status.readyReplicas}") == "1");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.try_kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

#[test]
fn every_object_is_accepted_under_pod_security_restricted() {
    let cluster = or_skip!(Cluster::find("strict"));
    let chart = chart();
    for (name, file) in values() {
        let file = file.to_str().unwrap().to_owned();
        // kubectl takes objects of one namespace alone here.
        let here = ["--namespace", &cluster.namespace, "--set", "rbac.apiserverReader=false"];
        let args = [&["template", RELEASE, chart.to_str().unwrap(), "--values", &file][..], &here].concat();
        let rendered = cluster.with(cluster.helm.command(), &args);
        assert!(rendered.status.success(), "{name}: {}", text(&rendered.stderr));
        // A Deployment whose pods would be refused is taken with a warning alone.
        let strict = ["--warnings-as-errors", "create", "--dry-run=server", "--validate=strict"];
        let output = cluster.apply(&strict, &rendered.stdout);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let objects = text(&rendered.stdout).lines().filter(|line| line.starts_with("kind: ")).count();
        assert_eq!(text(&output.stdout).lines().count(), objects, "{name}: {}", text(&output.stdout));
    }
    let wrong = text(
        &cluster
            .helm
            .render(&["--set", "securityContext.allowPrivilegeEscalation=true", "--set", "securityContext.capabilities=null"])
            .stdout,
    );
    let output = cluster.apply(
        &["--warnings-as-errors", "create", "--dry-run=server", "--validate=strict"],
        wrong.replace("namespace: team", &format!("namespace: {}", cluster.namespace)).as_bytes(),
    );
    assert!(text(&output.stderr).contains("would violate PodSecurity"), "the namespace is not checked: {}", text(&output.stderr));
}

/// `get pods/log`, `create deployments.apps`: whether an account may, each.
fn may(cluster: &Cluster, account: &str, namespace: &str, asked: &[String]) -> Vec<bool> {
    let review = |asked: &String| {
        let (verb, what) = asked.split_once(' ').unwrap();
        let (what, sub) = what.split_once('/').unwrap_or((what, ""));
        let (resource, group) = what.split_once('.').unwrap_or((what, ""));
        format!(
            "{{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, spec: {{user: '{account}', resourceAttributes: \
             {{namespace: '{namespace}', verb: {verb}, group: '{group}', resource: {resource}, subresource: '{sub}'}}}}}}\n"
        )
    };
    let reviews = asked.iter().map(review).collect::<Vec<_>>().join("---\n");
    let output = cluster.apply(&["create", "--output", "jsonpath={.status.allowed}{'\\n'}"], reviews.as_bytes());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers: Vec<bool> = text(&output.stdout).lines().map(|line| line == "true").collect();
    assert_eq!(answers.len(), asked.len(), "{}", text(&output.stdout));
    answers
}

fn each(verbs: &[&str], resources: &[&str]) -> Vec<String> {
    resources.iter().flat_map(|resource| verbs.iter().map(move |verb| format!("{verb} {resource}"))).collect()
}

#[test]
fn the_role_permits_what_is_needed_and_nothing_else() {
    let cluster = or_skip!(Cluster::find("role"));
    let chart = chart();
    let set = ["--set", "replicaCount=0,postgresql.image=fsa.local/none:none"];
    cluster.helm(&[&["install", RELEASE, chart.to_str().unwrap()][..], &set].concat());
    let account = format!("system:serviceaccount:{}:{NAME}", cluster.namespace);
    let here = cluster.namespace.clone();
    let ask = |namespace: &str, asked: &[String]| may(&cluster, &account, namespace, asked);
    let all_are = |expected: bool, namespace: &str, asked: &[String]| {
        for (asked, answer) in asked.iter().zip(ask(namespace, asked)) {
            assert_eq!(answer, expected, "{asked} in {namespace}");
        }
    };

    let look = ["get", "list", "watch"];
    let fixed = ["create", "delete", "get", "list", "watch"];
    let single = ["deployments.apps", "ingresses.networking.k8s.io"];
    let replaced = [&single[..], &["services", "networkpolicies.networking.k8s.io"]].concat();
    let kept = ["serviceaccounts", "statefulsets.apps"];
    let unchanged = ["persistentvolumeclaims", "secrets"];
    let together =
        ["services", "networkpolicies.networking.k8s.io", "statefulsets.apps", "persistentvolumeclaims", "secrets", "pods"];
    let kubeblocks = each(&["create", "delete", "get", "list", "patch", "watch"], &["clusters.apps.kubeblocks.io"]);
    let needed = [
        each(&fixed, &replaced),
        each(&["patch", "update"], &replaced),
        each(&fixed, &kept),
        each(&["patch"], &kept),
        each(&fixed, &unchanged),
        each(&fixed, &["pods"]),
        each(&["deletecollection"], &together),
        each(&["get"], &["pods/log"]),
        each(&["create", "get"], &["pods/portforward"]),
        each(&["list", "watch"], &["events"]),
        kubeblocks.clone(),
    ]
    .concat();
    all_are(true, &here, &needed);
    all_are(false, "default", &needed);
    let accounts = [
        each(
            &["create", "delete", "deletecollection", "get", "list", "patch"],
            &["roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io"],
        ),
        each(&["deletecollection"], &["serviceaccounts"]),
        each(&["create", "get", "list", "patch", "update", "watch"], &["configmaps", "endpoints"]),
        each(&["create", "delete", "get"], &["opsrequests.apps.kubeblocks.io"]),
        each(&["create"], &["events"]),
        each(&["patch", "update"], &["pods"]),
    ]
    .concat();
    let never = [
        each(&["update"], &kept),
        each(&["patch", "update"], &unchanged),
        each(&["deletecollection"], &single),
        each(&["list"], &["opsrequests.apps.kubeblocks.io"]),
        each(&["create", "get"], &["pods/exec", "pods/attach", "pods/ephemeralcontainers", "serviceaccounts/token"]),
        each(&["escalate", "bind"], &["roles.rbac.authorization.k8s.io"]),
        each(&["impersonate"], &["serviceaccounts", "users", "groups"]),
        each(
            &["create", "get", "list"],
            &["namespaces", "daemonsets.apps", "jobs.batch", "resourcequotas", "leases.coordination.k8s.io"],
        ),
        each(&["delete", "patch"], &["events"]),
        each(&["create"], &["clusterroles.rbac.authorization.k8s.io", "persistentvolumes"]),
    ]
    .concat();
    let classes = ["storageclasses.storage.k8s.io", "ingressclasses.networking.k8s.io"];
    let reading = [each(&["list"], &classes[..1]), each(&look, &["nodes", classes[1]])].concat();
    all_are(false, &here, &[accounts.clone(), never.clone()].concat());
    all_are(false, "", &reading);

    let upgrade = |set: &str| {
        let args = ["upgrade", RELEASE, chart.to_str().unwrap(), "--reuse-values", "--set", set];
        cluster.helm(&args);
    };
    upgrade("rbac.kubeblocksAccounts=always,rbac.clusterReader=true");
    all_are(true, &here, &[needed.clone(), accounts.clone()].concat());
    all_are(true, "", &reading);
    all_are(false, &here, &never);
    all_are(false, "", &each(&["create", "delete", "patch", "update"], &["nodes", classes[0], classes[1]]));

    let sees = |slice: &str| {
        let what = format!("endpointslices.discovery.k8s.io/{slice}");
        cluster.try_kubectl(&["auth", "can-i", "get", &what, "--as", &account, "--namespace", "default"]).status.success()
    };
    assert!(!sees("kubernetes"));
    upgrade("rbac.apiserverReader=true");
    assert!(sees("kubernetes") && !sees("another"), "where the apiserver is, and nothing else");
    all_are(false, "default", &each(&look, &["endpointslices.discovery.k8s.io", "endpoints", "pods", "services"]));

    upgrade("databases.provider=statefulset,rbac.clusterReader=false,rbac.apiserverReader=false");
    assert!(!sees("kubernetes"));
    all_are(false, &here, &[kubeblocks, accounts].concat());
    all_are(false, "", &reading);

    cluster.helm(&["uninstall", RELEASE]);
    all_are(false, &here, &needed);
}

/// An image that the cluster has.
fn image(variable: &str) -> Result<String, Lack> {
    let named = env::var(variable).ok().filter(|image| !image.is_empty());
    named.ok_or_else(|| format!("{variable} names no image that the cluster has"))
}

#[test]
fn keys_passwords_and_data_outlive_upgrade_and_uninstall() {
    let cluster = or_skip!(Cluster::find("life"));
    let postgresql = or_skip!(image("FSA_TEST_POSTGRES_IMAGE"));
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let postgresql = format!("postgresql.image={postgresql},postgresql.storage.size=100Mi");
    // Without the program's own image the rest is as it would be.
    let own = image("FSA_TEST_CONTROL_PLANE_IMAGE").ok();
    let (repository, tag) = own.as_deref().and_then(|image| image.rsplit_once(':')).unwrap_or(("fsa.local/none", "none"));
    let program = format!("image.repository={repository},image.tag={tag}");
    let set = ["--set", &postgresql, "--set", &program];
    let install = [&["install", RELEASE, chart][..], &set].concat();
    let upgrade = [&["upgrade", RELEASE, chart][..], &set, &["--set", "replicaCount=2,log.filter=debug"]].concat();
    let secrets = || {
        [(KEY, "FSA_ENCRYPTION_KEY"), (POSTGRESQL, "password")].map(|(name, key)| {
            let secret = format!("secret/{name}");
            (cluster.field(&secret, "{.metadata.uid}"), cluster.field(&secret, &format!("{{.data.{key}}}")))
        })
    };
    let served = |cluster: &Cluster, replicas: &str| {
        if own.is_some() {
            let object = format!("deployment/{NAME}");
            cluster.until("the control plane is ready", || cluster.field(&object, "{.status.readyReplicas}") == replicas);
        }
    };

    let notes = cluster.helm(&install);
    assert!(notes.contains("fullstack-agent sign-in-link"), "{notes}");
    let first = secrets();
    assert_eq!(first[0].1.len(), 60, "32 bytes in base64, and that in base64");
    cluster.postgresql_is_ready();
    // A database with tables of somebody else's would be refused: its own come first.
    served(&cluster, "1");
    cluster.sql("create schema kept; create table kept.rows (n int); insert into kept.rows values (42)");
    let wrong = cluster.try_kubectl(&[
        "exec",
        &format!("statefulset/{POSTGRESQL}"),
        "--",
        "sh",
        "-c",
        "PGPASSWORD=wrong psql --host=$(hostname -i) --username=fullstack_agent --dbname=fullstack_agent --command=\"select 1\"",
    ]);
    assert!(text(&wrong.stderr).contains("password authentication failed"), "any password will do: {}", text(&wrong.stderr));

    cluster.helm(&upgrade);
    assert_eq!(secrets(), first, "an upgrade keeps them");
    assert!(cluster.is_there(&format!("poddisruptionbudget/{NAME}")));
    served(&cluster, "2");
    if own.is_some() {
        let address = cluster.field(&format!("service/{NAME}"), "{.spec.clusterIP}");
        assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"), "the Service leads to it");
        let link = cluster.kubectl(&[
            "exec",
            &format!("deployment/{NAME}"),
            "--container",
            "control-plane",
            "--",
            "fullstack-agent",
            "sign-in-link",
        ]);
        assert!(link.starts_with("http://localhost:4000/sign-in#"), "{link}");
        serves_with_a_postgresql_by_its_address(&cluster, chart, &program);
    }

    // Who only renders makes other ones, and cannot put them in their place.
    let rendered = cluster.with(
        cluster.helm.command(),
        &["template", RELEASE, chart, "--namespace", &cluster.namespace, "--show-only", "templates/encryption-key.yaml"],
    );
    let output = cluster.apply(&["apply"], &rendered.stdout);
    assert!(text(&output.stderr).contains("immutable"), "another key is taken: {}", text(&output.stderr));
    assert_eq!(secrets(), first);

    cluster.helm(&["uninstall", RELEASE]);
    assert!(!cluster.is_there(&format!("statefulset/{POSTGRESQL}")));
    assert_eq!(secrets(), first, "an uninstall keeps them");
    assert!(cluster.is_there(&format!("persistentvolumeclaim/data-{POSTGRESQL}-0")), "the data is kept");
    cluster.until("PostgreSQL is gone", || !cluster.is_there(&format!("pod/{POSTGRESQL}-0")));

    cluster.helm(&install);
    assert_eq!(secrets(), first, "the next installation takes them");
    cluster.postgresql_is_ready();
    assert_eq!(cluster.sql("select n from kept.rows"), "42");
    served(&cluster, "1");

    restores_from_a_backup(&cluster, &install, &first[0].1);
    served(&cluster, "1");

    // What was emptied by hand is not replaced by something new.
    cluster.kubectl(&["delete", "secret", KEY]);
    cluster.kubectl(&["create", "secret", "generic", KEY, "--from-literal=other=x"]);
    let output = cluster.try_helm(&upgrade);
    assert!(text(&output.stderr).contains("Restore it from a backup"), "{}", text(&output.stderr));

    if own.is_none() {
        left_out::skipped("all but the program itself was tried: FSA_TEST_CONTROL_PLANE_IMAGE names no image");
    }
}

/// A release beside the first that makes no PostgreSQL: it has a database of the first's, and knows only its address.
fn serves_with_a_postgresql_by_its_address(cluster: &Cluster, chart: &str, program: &str) {
    cluster.sql("create role beside login password $$beside-password$$");
    cluster.sql("create database beside owner beside");
    let url = format!("--from-literal=FSA_DATABASE_URL=postgresql://beside:beside-password@{POSTGRESQL}:5432/beside");
    cluster.kubectl(&["create", "secret", "generic", "beside", &url]);
    cluster.helm(&["install", "beside", chart, "--set", program, "--set", "database.existingSecret=beside"]);
    let (object, address) = ("deployment/beside-fullstack-agent", "service/beside-fullstack-agent");
    cluster.until("the release beside it is ready", || cluster.field(object, "{.status.readyReplicas}") == "1");
    assert!(!cluster.is_there("statefulset/beside-fullstack-agent-postgresql"));
    let address = cluster.field(address, "{.spec.clusterIP}");
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"), "the Service leads to it");
    let connected = "select count(*) > 0 from pg_stat_activity where datname = $$beside$$ and usename = $$beside$$";
    assert_eq!(cluster.sql(connected).trim(), "t", "it is connected there");
    cluster.helm(&["uninstall", "beside"]);
}

/// As docs/operations.md has it: nothing is left but a dump and the key.
fn restores_from_a_backup(cluster: &Cluster, install: &[&str], key: &str) {
    let server = format!("statefulset/{POSTGRESQL}");
    let dump = ["exec", &server, "--", "pg_dump", "--username=fullstack_agent", "--format=custom", "fullstack_agent"];
    let dump = cluster.try_kubectl(&dump).stdout;
    assert!(dump.starts_with(b"PGDMP"));
    cluster.helm(&["uninstall", RELEASE]);
    cluster.until("PostgreSQL is gone", || !cluster.is_there(&format!("pod/{POSTGRESQL}-0")));
    cluster.kubectl(&["delete", "secret", KEY, POSTGRESQL]);
    cluster.kubectl(&["delete", "pvc", &format!("data-{POSTGRESQL}-0")]);

    let manifest = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: {KEY}}}, data: {{FSA_ENCRYPTION_KEY: {key}}}}}");
    assert!(cluster.apply(&["create"], manifest.as_bytes()).status.success());
    cluster.helm(&[install, &["--take-ownership", "--set", "replicaCount=0"]].concat());
    cluster.postgresql_is_ready();
    assert_eq!(cluster.field(&format!("secret/{KEY}"), "{.data.FSA_ENCRYPTION_KEY}"), key);
    let restore = "dropdb --force --username=fullstack_agent fullstack_agent && createdb --username=fullstack_agent fullstack_agent && \
                   pg_restore --username=fullstack_agent --dbname=fullstack_agent --exit-on-error";
    let output = cluster.kubectl_with(&["exec", "--stdin", &server, "--", "sh", "-c", restore], &dump);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(cluster.sql("select n from kept.rows"), "42");
    let upgrade: Vec<&str> = install.iter().map(|word| if *word == "install" { "upgrade" } else { *word }).collect();
    cluster.helm(&upgrade);
    assert_eq!(cluster.field(&format!("deployment/{NAME}"), "{.spec.replicas}"), "1", "an upgrade brings the pods back");
}

/// The answer to a request at port 80, as it comes.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect((address, 80)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
