//! What the NetworkPolicies mean: cyclonus reads the ones that are built, and says of each connection of a table whether
//! it is let through. No cluster: few of them enforce policies, and those that do are believed to do it as they say.
//!
//! cyclonus is `FSA_CYCLONUS`, else the one that `end2end/cluster` builds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step is a failed test")]

#[path = "support/left_out.rs"]
mod left_out;

use engine::{
    database::DatabaseSpec,
    orchestrator::{DatabaseEndpoint, SandboxSpec},
};
use kubernetes::{
    Settings,
    database::{kubeblocks, statefulset},
    manifests::Manifests,
    settings::{Apiserver, GivenServer, IngressSettings, PeerLabels},
};
use model::InstallationId;
use serde_json::{Value, json};
use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command};
use uuid::Uuid;

/// cyclonus; `None` where it is missing, which is a failure under `FSA_REQUIRE_CLUSTER=1`.
fn cyclonus() -> Option<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let built = home.join(".cache/fullstack-agent/cluster/bin/cyclonus");
    let path = env::var_os("FSA_CYCLONUS").map_or(built, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    left_out::skipped(&format!("there is no cyclonus at {}", path.display()));
    None
}

const INSTALLATION: InstallationId = InstallationId(Uuid::from_u128(1));
const NAMESPACE: &str = "sandboxes";
/// The apiserver's real address, public.
const APISERVER: &str = "203.0.113.7";

fn settings() -> Settings {
    Settings {
        ingress: Some(IngressSettings::new("sandboxes.example.com")),
        control_plane_labels: BTreeMap::from([("app.kubernetes.io/name".to_owned(), "fullstack-agent".to_owned())]),
        ingress_controller: Some(PeerLabels { namespace: "ingress-nginx".to_owned(), labels: BTreeMap::new() }),
        denied_egress: vec!["203.0.113.9/32".to_owned()],
        apiserver: Apiserver::at(&format!("https://{APISERVER}:6443")),
        ..Settings::new(INSTALLATION, NAMESPACE)
    }
}

fn sandbox() -> SandboxSpec {
    SandboxSpec { installation: INSTALLATION, ..engine::orchestrator::contract::spec() }
}

fn database(of: &SandboxSpec) -> DatabaseSpec {
    DatabaseSpec {
        project: of.project,
        sandbox: of.id,
        slug: of.slug.clone(),
        name: of.name.clone(),
        installation: of.installation,
        role: "p_7".to_owned(),
        database: "d_7".to_owned(),
        password: "secret".into(),
    }
}

/// A pod, or an address outside of the cluster.
fn pod(namespace: &str, labels: Value, ip: &str) -> Value {
    let internal = json!({
        "Namespace": namespace, "NamespaceLabels": { "kubernetes.io/metadata.name": namespace }, "PodLabels": labels,
    });
    json!({ "Internal": internal, "IP": ip })
}

fn outside(ip: &str) -> Value {
    json!({ "Internal": null, "IP": ip })
}

/// The labels that an operator of KubeBlocks puts on the pods of a project's Cluster.
fn by_kubeblocks(of: &SandboxSpec) -> Value {
    json!({ "app.kubernetes.io/instance": of.name.as_str(), "app.kubernetes.io/managed-by": "kubeblocks" })
}

/// What is asked of it, from, to, protocol, ports, and whether it is let through.
type Row<'a> = (&'a str, &'a Value, Value, &'a str, &'a [u16], bool);

#[test]
fn who_reaches_whom() {
    let Some(cyclonus) = cyclonus() else { return };
    let settings = settings();
    let (mine, other) = (sandbox(), sandbox());
    // Another sandbox of the same project: a project of its own to the cluster.
    let branch = SandboxSpec { slug: mine.slug.clone(), ..sandbox() };
    let mut policies = Vec::new();
    let mut sandboxes = Vec::new();
    let mut servers = Vec::new();
    for (spec, number) in [(&mine, 1), (&other, 2), (&branch, 3)] {
        let made = Manifests::of(spec, &settings);
        policies.push(made.policy);
        let labels = made.deployment.spec.unwrap().template.metadata.unwrap().labels;
        sandboxes.push(pod(NAMESPACE, json!(labels), &format!("10.42.0.1{number}")));
        let database = database(spec);
        policies.extend([
            statefulset::network_policy(&database, &settings),
            kubeblocks::manifests::network_policy(&database, &settings),
        ]);
        let labels = statefulset::stateful_set(&database, &settings).spec.unwrap().template.metadata.unwrap().labels;
        servers.push([
            pod(NAMESPACE, json!(labels), &format!("10.42.0.2{number}")),
            pod(NAMESPACE, by_kubeblocks(spec), &format!("10.42.0.3{number}")),
        ]);
    }
    // One whose database is on a given server, and one of the same settings without a database; their control plane is in
    // another namespace.
    let mut given = Settings { control_plane_namespace: Some("platform".to_owned()), ..settings.clone() };
    let server = GivenServer::parse("postgresql://admin:x@db.example.com:6432/postgres", Some("data".to_owned())).unwrap();
    given.database.server = Some(GivenServer { addresses: vec!["10.0.0.7".parse().unwrap()], ..server });
    let endpoint = DatabaseEndpoint::Tcp("db.example.com".to_owned(), 6432);
    let with_database = SandboxSpec { database: Some(endpoint), ..sandbox() };
    let mut on_server = Vec::new();
    for (spec, number) in [(&with_database, 3), (&sandbox(), 4)] {
        let made = Manifests::of(spec, &given);
        policies.push(made.policy);
        let labels = made.deployment.spec.unwrap().template.metadata.unwrap().labels;
        on_server.push(pod(NAMESPACE, json!(labels), &format!("10.42.0.1{number}")));
    }
    let [stored, bare] = [&on_server[0], &on_server[1]];
    let server = outside("10.0.0.7");
    let server_pod = pod("data", json!({ "app": "postgresql" }), "10.42.0.46");
    let ours = pod(NAMESPACE, json!({ "app.kubernetes.io/name": "fullstack-agent" }), "10.42.0.40");
    let ours_elsewhere = pod("platform", json!({ "app.kubernetes.io/name": "fullstack-agent" }), "10.42.0.41");
    let controller = pod("ingress-nginx", json!({ "app.kubernetes.io/component": "controller" }), "10.42.0.42");
    let names = pod("kube-system", json!({ "k8s-app": "kube-dns" }), "10.42.0.43");
    let anybody = pod(NAMESPACE, json!({ "app": "anybody" }), "10.42.0.44");
    let elsewhere = pod("elsewhere", json!({ "app": "anybody" }), "10.42.0.45");
    let [me, you, beside] = [&sandboxes[0], &sandboxes[1], &sandboxes[2]];
    let [my_database, my_cluster] = &servers[0];
    let [your_database, your_cluster] = &servers[1];
    let [its_database, its_cluster] = &servers[2];
    let internet = outside("198.51.100.9");

    let mut table: Vec<Row<'_>> = vec![
        ("sandbox to sandbox", me, you.clone(), "TCP", &[53, 80, 3000, 5000, 5432, 7681, 7682, 8080], false),
        ("sandbox to sandbox", me, you.clone(), "UDP", &[53, 3000], false),
        ("sandbox to its database", me, my_database.clone(), "TCP", &[5432], true),
        ("sandbox to its database's other ports", me, my_database.clone(), "TCP", &[22, 5433, 8008], false),
        ("sandbox to its Cluster", me, my_cluster.clone(), "TCP", &[5432], true),
        ("sandbox to its Cluster's other ports", me, my_cluster.clone(), "TCP", &[22, 3501, 8008], false),
        ("sandbox to another's database", me, your_database.clone(), "TCP", &[5432], false),
        ("sandbox to another's Cluster", me, your_cluster.clone(), "TCP", &[5432], false),
        ("a branch's sandbox to the main one", beside, me.clone(), "TCP", &[3000, 7681, 7682], false),
        ("a branch's sandbox to the main one's database", beside, my_database.clone(), "TCP", &[5432], false),
        ("a branch's sandbox to the main one's Cluster", beside, my_cluster.clone(), "TCP", &[5432], false),
        ("a branch's sandbox to its own database", beside, its_database.clone(), "TCP", &[5432], true),
        ("a branch's sandbox to its own Cluster", beside, its_cluster.clone(), "TCP", &[5432], true),
        ("the main sandbox to a branch's database", me, its_database.clone(), "TCP", &[5432], false),
        ("sandbox to names", me, names.clone(), "UDP", &[53], true),
        ("sandbox to names", me, names.clone(), "TCP", &[53], true),
        ("sandbox to other ports of names", me, names.clone(), "TCP", &[80, 8080, 9153], false),
        ("sandbox to the control plane", me, ours.clone(), "TCP", &[80, 443, 4000], false),
        ("sandbox to the ingress controller", me, controller.clone(), "TCP", &[80, 443, 8443], false),
        ("sandbox to any other pod", me, anybody.clone(), "TCP", &[80, 443, 5432], false),
        ("sandbox to any other namespace", me, elsewhere.clone(), "TCP", &[80, 443, 5432], false),
        ("control plane to sandbox", &ours, me.clone(), "TCP", &[7681, 7682], true),
        ("its labels in another namespace to sandbox", &ours_elsewhere, me.clone(), "TCP", &[7681, 7682], false),
        ("control plane of another namespace to its sandbox", &ours_elsewhere, stored.clone(), "TCP", &[7681, 7682], true),
        ("its labels in its sandbox's namespace", &ours, stored.clone(), "TCP", &[7681, 7682], false),
        ("control plane to other ports of a sandbox", &ours, me.clone(), "TCP", &[22, 3000, 5432], false),
        ("control plane to databases", &ours, my_database.clone(), "TCP", &[5432], true),
        ("control plane to Clusters", &ours, my_cluster.clone(), "TCP", &[5432], true),
        ("ingress controller to sandbox", &controller, me.clone(), "TCP", &[3000, 7681], true),
        ("ingress controller to the agent and other ports", &controller, me.clone(), "TCP", &[22, 5000, 7682, 8080], false),
        ("ingress controller to databases", &controller, my_database.clone(), "TCP", &[5432], false),
        ("any other pod to sandbox", &anybody, me.clone(), "TCP", &[80, 3000, 7681, 7682], false),
        ("any other pod to databases", &anybody, my_database.clone(), "TCP", &[5432], false),
        ("any other pod to Clusters", &anybody, my_cluster.clone(), "TCP", &[5432], false),
        ("any other namespace to sandbox", &elsewhere, me.clone(), "TCP", &[80, 3000, 7681, 7682], false),
        ("any other namespace to databases", &elsewhere, my_database.clone(), "TCP", &[5432], false),
        ("names to sandbox", &names, me.clone(), "TCP", &[3000, 7681, 7682], false),
        ("the internet to sandbox", &internet, me.clone(), "TCP", &[80, 3000, 7681, 7682], false),
        ("the internet to databases", &internet, my_database.clone(), "TCP", &[5432], false),
        ("database to anything", my_database, internet.clone(), "TCP", &[80, 443], false),
        ("database to sandbox", my_database, me.clone(), "TCP", &[3000, 7681, 7682], false),
        ("sandbox to the given server", stored, server.clone(), "TCP", &[6432], true),
        ("sandbox to the given server's pods", stored, server_pod.clone(), "TCP", &[6432], true),
        ("sandbox to other ports of the given server", stored, server.clone(), "TCP", &[22, 5432], false),
        ("sandbox to other ports of its pods", stored, server_pod.clone(), "TCP", &[22, 5432], false),
        ("sandbox to what is beside the given server", stored, outside("10.0.0.8"), "TCP", &[6432], false),
        ("sandbox without a database to the given server", bare, server, "TCP", &[6432], false),
        ("sandbox without a database to its pods", bare, server_pod, "TCP", &[6432], false),
        ("database to another's database", my_database, your_database.clone(), "TCP", &[5432], false),
    ];
    for address in ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111"] {
        table.push(("sandbox to the internet", me, outside(address), "TCP", &[22, 80, 443, 5432], true));
    }
    let private = [
        ("169.254.169.254", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("fe80::a9fe:a9fe", "metadata"),
        ("10.43.0.1", "the apiserver's Service"),
        (APISERVER, "the apiserver's address"),
        ("203.0.113.9", "what the operator denies"),
        ("10.0.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:10.0.0.1", "private, mapped"),
        ("224.0.0.1", "multicast"),
    ];
    for (address, what) in private {
        table.push((what, me, outside(address), "TCP", &[53, 80, 443, 6443, 10250], false));
    }

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let list = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": policies });
    fs::write(path("policies.json"), list.to_string()).unwrap();
    let asked: Vec<_> = table
        .iter()
        .flat_map(|(what, from, to, protocol, ports, expected)| {
            ports.iter().map(move |port| {
                let traffic = json!({
                    "Source": from, "Destination": to, "ResolvedPort": port, "ResolvedPortName": "", "Protocol": protocol,
                });
                (format!("{what}: {} to {}, {protocol} {port}", from["IP"], to["IP"]), traffic, *expected)
            })
        })
        .collect();
    let traffic: Vec<_> = asked.iter().map(|(_, traffic, _)| traffic).collect();
    fs::write(path("traffic.json"), json!(traffic).to_string()).unwrap();

    let answers = |simplified: bool| -> Vec<bool> {
        let mut command = Command::new(&cyclonus);
        command.args(["analyze", "--mode", "query-traffic", &format!("--simplify-policies={simplified}"), "--policy-path"]);
        let output =
            command.arg(path("policies.json")).arg("--traffic-path").arg(path("traffic.json")).env_remove("KUBECONFIG").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The last line of each of its tables: `|  IS ALLOWED?  | FALSE  |`.
        let said = text.lines().filter(|line| line.to_ascii_uppercase().contains("IS ALLOWED?") && line.contains('|'));
        said.map(|line| line.to_ascii_uppercase().contains("TRUE")).collect()
    };
    for simplified in [false, true] {
        let answers = answers(simplified);
        assert_eq!(answers.len(), asked.len(), "an answer to each");
        let wrong: Vec<_> = asked
            .iter()
            .zip(answers)
            .filter(|((_, _, expected), answer)| expected != answer)
            .map(|((what, ..), answer)| format!("{what}: {}", if answer { "let through" } else { "refused" }))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    println!("{} connections, as cyclonus understands our policies", asked.len());
}
