//! What only pods can tell: whether the image comes, names are found, and policies are enforced. Each pod is made
//! as a sandbox is (Pod Security `restricted`), ends by itself after two minutes, and is removed here.

use super::{Finding, Verdict};
use crate::{Cluster, FIELD_MANAGER, Settings, causes, labels};
use futures::join;
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Event, Pod},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::await_condition,
};
use model::{Cause, CauseCode, ResourceName};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The label of a probe, with its name.
const PROBE: &str = "fullstackagent.io/probe";
/// How long an image may take to come, and a pod to start.
const START: Duration = Duration::from_secs(60);
/// How long the tries inside a pod may take.
const TRIES: Duration = Duration::from_secs(45);
/// Old enough to be left by a doctor that was killed.
const LEFT_SECS: i64 = 300;

/// Ends with 0 where the cluster's own name is found, 9 where nothing in the image can ask.
const NAMES: &str = r#"
name=kubernetes.default.svc
if command -v getent >/dev/null; then getent hosts $name && exit 0; exit 1; fi
if command -v python3 >/dev/null; then python3 -c 'import socket; socket.getaddrinfo("kubernetes.default.svc", 443)'; exit $?; fi
if command -v node >/dev/null; then node -e 'require("dns").lookup("kubernetes.default.svc", e => process.exit(e ? 1 : 0))'; exit $?; fi
if command -v nslookup >/dev/null; then nslookup $name && exit 0; exit 1; fi
exit 9"#;

const SERVER: &str = r#"
command -v python3 >/dev/null && exec python3 -m http.server 8080
command -v node >/dev/null && exec node -e 'require("http").createServer((q, s) => s.end("")).listen(8080)'
exit 9"#;

/// Reaches the server, says so (the pod is ready then), and ends with 0 once it does not reach it any more, with 7
/// where it still does after 20 seconds, with 8 where it never did.
const CLIENT: &str = r#"
command -v python3 >/dev/null && exec python3 -c '
import os, socket, sys, time
def reached():
    try:
        socket.create_connection((os.environ["SERVER"], 8080), 1).close()
        return True
    except OSError:
        return False
end = time.time() + 15
while not reached():
    if time.time() > end: sys.exit(8)
    time.sleep(0.3)
open("/tmp/reached", "w").close()
end = time.time() + 20
failed = 0
while time.time() < end and failed < 3:
    failed = 0 if reached() else failed + 1
    time.sleep(0.5)
sys.exit(0 if failed >= 3 else 7)
'
command -v node >/dev/null && exec node -e '
const net = require("net"), fs = require("fs"), sleep = ms => new Promise(r => setTimeout(r, ms));
const reached = () => new Promise(r => { const s = net.connect({host: process.env.SERVER, port: 8080, timeout: 1000});
  const end = ok => { s.destroy(); r(ok); }; s.on("connect", () => end(true)); s.on("error", () => end(false)); s.on("timeout", () => end(false)); });
(async () => {
  let end = Date.now() + 15000;
  while (!await reached()) { if (Date.now() > end) process.exit(8); await sleep(300); }
  fs.writeFileSync("/tmp/reached", "");
  end = Date.now() + 20000;
  let failed = 0;
  while (Date.now() < end && failed < 3) { failed = await reached() ? 0 : failed + 1; await sleep(500); }
  process.exit(failed >= 3 ? 0 : 7);
})();'
exit 9"#;

/// Makes the pods, waits for what they find, and removes them.
pub(super) async fn run(cluster: &Cluster, settings: &Settings) -> Vec<Finding> {
    let Some(name) = name() else { return Vec::new() };
    let probes = Probes {
        pods: Api::namespaced(cluster.client.clone(), &cluster.namespace),
        policies: Api::namespaced(cluster.client.clone(), &cluster.namespace),
        events: Api::namespaced(cluster.client.clone(), &cluster.namespace),
        settings,
        name,
    };
    probes.sweep(true).await;
    let findings = probes.findings().await;
    probes.sweep(false).await;
    findings
}

fn name() -> Option<ResourceName> {
    let random: [u8; ResourceName::SUFFIX] = rand::random();
    let slug = "doctor".parse::<model::DisplayName>().ok()?;
    Some(ResourceName::new(&model::Slug::derive(&slug, 0), random))
}

struct Probes<'a> {
    pods: Api<Pod>,
    policies: Api<NetworkPolicy>,
    events: Api<Event>,
    settings: &'a Settings,
    name: ResourceName,
}

const WHY_IMAGE: &str = "Every sandbox is a container of it.";
const WHY_NAMES: &str = "Sandboxes reach their databases and the internet by name.";
const WHY_POLICIES: &str =
    "Only enforced NetworkPolicies keep sandboxes from each other, from the apiserver and from the cloud's metadata.";

impl Probes<'_> {
    async fn findings(&self) -> Vec<Finding> {
        let image = &self.settings.image;
        let (names, server) = join!(self.make("names", NAMES, None), self.make("server", SERVER, None));
        let untold =
            |check: &str, why: &str, what: &str| Finding::new(check, Verdict::Warn, what, why, &["Mend what is above first."]);
        if let Err(cause) = names.and(server) {
            let verdict = if cause.code == CauseCode::PermissionMissing { Verdict::Warn } else { Verdict::Fail };
            return vec![
                Finding::of_cause("image", verdict, &cause, WHY_IMAGE),
                untold("name lookup", WHY_NAMES, "Could not be tried: no pod could be made."),
                untold("network policies", WHY_POLICIES, "Could not be tried: no pod could be made."),
            ];
        }
        let began = std::time::Instant::now();
        let server = match self.until("server", START, |pod| running(pod) || over(pod).is_some()).await {
            Ok(pod) => pod,
            Err(cause) => {
                return vec![
                    Finding::of_cause("image", Verdict::Fail, &cause, WHY_IMAGE),
                    untold("name lookup", WHY_NAMES, "Could not be tried: the probe pod did not start."),
                    untold("network policies", WHY_POLICIES, "Could not be tried: the probe pod did not start."),
                ];
            }
        };
        let took = began.elapsed().as_secs();
        let mut findings =
            vec![Finding::ok("image", format!("`{image}` was started as a sandbox is, after {took} s."), WHY_IMAGE)];
        let (names, policies) = join!(self.names(), self.enforced(&server));
        findings.push(names);
        findings.push(policies);
        findings
    }

    async fn names(&self) -> Finding {
        let check = "name lookup";
        match self.until("names", TRIES, |pod| over(pod).is_some()).await.map(|pod| over(&pod)) {
            Ok(Some(0)) => Finding::ok(check, "A pod finds the cluster's own names.", WHY_NAMES),
            Ok(Some(9 | 126 | 127)) => Finding::new(
                check,
                Verdict::Warn,
                "Could not be tried: the image has nothing that asks for a name.",
                WHY_NAMES,
                &["Try it with another image that has `getent`."],
            ),
            Ok(_) => Finding::new(
                check,
                Verdict::Fail,
                "A pod does not find `kubernetes.default.svc`.",
                WHY_NAMES,
                &[
                    "Look at the cluster's DNS: `kubectl -n kube-system get pods -l k8s-app=kube-dns`.",
                    "Look for a NetworkPolicy of the namespace that forbids port 53.",
                ],
            ),
            Err(cause) => Finding::of_cause(check, Verdict::Warn, &cause, WHY_NAMES),
        }
    }

    /// One pod reaches another; then a policy forbids it; then it must not any more.
    async fn enforced(&self, server: &Pod) -> Finding {
        let check = "network policies";
        let untold = |what: String| {
            Finding::new(
                check,
                Verdict::Warn,
                what,
                WHY_POLICIES,
                &[
                    "Look whether the cluster's network plugin enforces NetworkPolicies (Calico and Cilium do, flannel alone does not).",
                ],
            )
        };
        let address = server.status.as_ref().and_then(|status| status.pod_ip.clone());
        let Some(address) = address.filter(|_| over(server).is_none()) else {
            return untold("Could not be tried: the image has neither Python nor Node.".to_owned());
        };
        if let Err(cause) = self.make("client", CLIENT, Some(&address)).await {
            return Finding::of_cause(check, Verdict::Warn, &cause, WHY_POLICIES);
        }
        match self.until("client", START, |pod| ready(pod) || over(pod).is_some()).await {
            Ok(pod) if over(&pod) == Some(8) => {
                return untold("Could not be tried: one probe pod does not reach the other at all.".to_owned());
            }
            Ok(pod) if over(&pod).is_some_and(|code| code != 0) => {
                return untold("Could not be tried: the image has neither Python nor Node.".to_owned());
            }
            Ok(_) => {}
            Err(cause) => return Finding::of_cause(check, Verdict::Warn, &cause, WHY_POLICIES),
        }
        let policy = serde_json::from_value::<NetworkPolicy>(json!({
            "metadata": {"name": self.part("server"), "labels": self.labels("server")},
            "spec": {"podSelector": {"matchLabels": {PROBE: self.part("server")}}, "policyTypes": ["Ingress"]},
        }));
        let Ok(policy) = policy else { return untold("Could not be tried.".to_owned()) };
        if let Err(error) = self.policies.create(&PostParams::default(), &policy).await {
            return Finding::of_cause(
                check,
                Verdict::Fail,
                &causes::of_error(&error, "make a NetworkPolicy to try it"),
                WHY_POLICIES,
            );
        }
        match self.until("client", TRIES, |pod| over(pod).is_some()).await.map(|pod| over(&pod)) {
            Ok(Some(0)) => Finding::ok(check, "A policy that forbids one pod to reach another is enforced.", WHY_POLICIES),
            Ok(Some(7)) => Finding::new(
                check,
                Verdict::Fail,
                "NetworkPolicies are accepted and not enforced: one pod still reached another after 20 s of a policy that forbids it.",
                WHY_POLICIES,
                &[
                    "Install a network plugin that enforces them, such as Calico or Cilium.",
                    "Until then let only people use this installation who may see each other's sandboxes.",
                ],
            ),
            Ok(code) => untold(format!("Could not be tried: the probe pod ended with {code:?}.")),
            Err(cause) => Finding::of_cause(check, Verdict::Warn, &cause, WHY_POLICIES),
        }
    }

    fn part(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    fn labels(&self, part: &str) -> serde_json::Value {
        json!({labels::MANAGED_BY: FIELD_MANAGER, labels::COMPONENT: "probe", PROBE: self.part(part)})
    }

    async fn make(&self, part: &str, script: &str, server: Option<&str>) -> Result<(), Cause> {
        let settings = self.settings;
        let secrets: Vec<_> = settings.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
        let mut pod = json!({
            "metadata": {"name": self.part(part), "labels": self.labels(part)},
            "spec": {
                "restartPolicy": "Never", "activeDeadlineSeconds": 120, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
                "enableServiceLinks": false, "imagePullSecrets": secrets,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "probe", "image": settings.image, "imagePullPolicy": settings.image_pull_policy, "command": ["sh", "-c", script],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
                }],
            },
        });
        if let Some(server) = server {
            pod["spec"]["containers"][0]["env"] = json!([{"name": "SERVER", "value": server}]);
            pod["spec"]["containers"][0]["readinessProbe"] =
                json!({"exec": {"command": ["test", "-f", "/tmp/reached"]}, "periodSeconds": 1});
        }
        let pod: Pod = serde_json::from_value(pod).map_err(|error| {
            Cause::new(CauseCode::Unexpected, "A probe pod could not be written down.", &[]).with_detail(error.to_string())
        })?;
        self.pods.create(&PostParams::default(), &pod).await.map_err(|error| causes::of_error(&error, "start a probe pod"))?;
        Ok(())
    }

    /// The pod once it is as asked, or why it is not.
    async fn until(&self, part: &str, limit: Duration, is: impl Fn(&Pod) -> bool) -> Result<Pod, Cause> {
        let name = self.part(part);
        let condition =
            |pod: Option<&Pod>| pod.is_some_and(|pod| is(pod) || self.cause(pod, &[]).is_some_and(|cause| cause.code.blocks()));
        match tokio::time::timeout(limit, await_condition(self.pods.clone(), &name, condition)).await {
            Ok(Ok(Some(pod))) if is(&pod) => Ok(pod),
            _ => Err(self.why_not(&name, limit).await),
        }
    }

    fn cause(&self, pod: &Pod, events: &[Arc<Event>]) -> Option<Cause> {
        causes::cause(&causes::Facts {
            name: &self.name,
            whose: causes::Whose::Sandbox,
            deployment: None,
            pods: &[Arc::new(pod.clone())],
            volume: None,
            ingresses: &[],
            events,
            node_ready: None,
            rooms: Some(&[]),
            ingress_class_present: None,
            log_tail: None,
            now: Timestamp::now(),
        })
    }

    async fn why_not(&self, name: &str, limit: Duration) -> Cause {
        let overdue = || {
            Cause::new(
                CauseCode::StageOverdue,
                format!("The probe pod `{name}` was not as far as it should be after {} s.", limit.as_secs()),
                &["Look at it: `kubectl describe pod`."],
            )
        };
        let pod = match self.pods.get(name).await {
            Ok(pod) => pod,
            Err(error) => return causes::of_error(&error, "look at a probe pod"),
        };
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut events = self.events.list(&about).await.map(|list| list.items).unwrap_or_default();
        events.sort_by_key(|event| std::cmp::Reverse(causes::at(event)));
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        self.cause(&pod, &events).unwrap_or_else(overdue)
    }

    /// Removes these probes, or what a doctor that was killed has left.
    async fn sweep(&self, left: bool) {
        let probes = ListParams::default().labels(PROBE);
        let now = Timestamp::now();
        let mine = |meta: &kube::api::ObjectMeta| {
            let name = meta.name.clone().unwrap_or_default();
            let old = meta.creation_timestamp.as_ref().is_some_and(|time| now.duration_since(time.0).as_secs() > LEFT_SECS);
            if left { old } else { name.starts_with(self.name.as_str()) }
        };
        let now_gone = DeleteParams::default().grace_period(0);
        for pod in
            self.pods.list(&probes).await.map(|list| list.items).unwrap_or_default().iter().filter(|pod| mine(&pod.metadata))
        {
            let _ = self.pods.delete(pod.metadata.name.as_deref().unwrap_or_default(), &now_gone).await;
        }
        for policy in self
            .policies
            .list(&probes)
            .await
            .map(|list| list.items)
            .unwrap_or_default()
            .iter()
            .filter(|policy| mine(&policy.metadata))
        {
            let _ = self.policies.delete(policy.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default()).await;
        }
    }
}

fn running(pod: &Pod) -> bool {
    state(pod).is_some_and(|state| state.running.is_some()) && pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())
}

fn ready(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.and_then(|statuses| statuses.first()).is_some_and(|status| status.ready)
}

/// What the pod's program ended with.
fn over(pod: &Pod) -> Option<i32> {
    let ended = state(pod)?.terminated.as_ref()?;
    // A program that could not be started did not end with a code of its own.
    Some(if ended.reason.as_deref() == Some("StartError") { 127 } else { ended.exit_code })
}

fn state(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::ContainerState> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.as_ref()
}
