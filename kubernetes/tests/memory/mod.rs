//! An apiserver that keeps objects in memory and notes what is asked of it: for tests that need no cluster.

#![allow(dead_code, reason = "each test binary uses its part")]

use bytes::Bytes;
use engine::database::{DatabaseSpec, contract::names};
use futures::{Stream, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use kube::{Client, client::Body};
use model::{InstallationId, ProjectId, SandboxId};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;
use tower::BoxError;
use uuid::Uuid;

pub const NAMESPACE: &str = "team";

/// A pod's status, by all that is there and the pod's name.
pub type Kubelet = Box<dyn Fn(&BTreeMap<String, Value>, &str) -> Value + Send>;

/// What is there, by `plural/name`, and what was asked: method and place.
#[derive(Default)]
pub struct Apiserver {
    pub kubeblocks: bool,
    /// Its minor version; 34 unless said.
    pub minor: Option<u32>,
    pub clock_ahead_secs: i64,
    /// The namespace is not there.
    pub nowhere: bool,
    /// The right that the account has not: `create deployments.apps`.
    pub forbidden: Option<String>,
    /// Which rights were used in the namespace.
    pub used: BTreeSet<String>,
    /// What becomes of pods.
    pub kubelet: Option<Kubelet>,
    pub objects: BTreeMap<String, Value>,
    pub asked: Vec<String>,
    /// How many were made, for their ids.
    pub made: usize,
    /// What watches tell, each of its kind: as of which version, the plural, and a line.
    pub history: Vec<(u64, String, String)>,
    pub news: watch::Sender<()>,
}

/// Lets writes through in waves alone: each waits until all of its wave are asked for.
pub struct Waves {
    method: &'static str,
    /// How many there are with the last of each wave.
    ends: &'static [usize],
    flow: watch::Sender<Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    /// Of what, and how many were answered by then.
    asked: Vec<(String, usize)>,
    answered: usize,
}

impl Waves {
    pub fn new(method: &'static str, ends: &'static [usize]) -> Arc<Self> {
        Arc::new(Self { method, ends, flow: watch::Sender::default() })
    }

    async fn wait(&self, kind: &str) {
        let (mut flow, mut number) = (self.flow.subscribe(), 0);
        self.flow.send_modify(|flow| {
            flow.asked.push((kind.to_owned(), flow.answered));
            number = flow.asked.len();
        });
        let end = self.ends.iter().copied().find(|end| number <= *end).unwrap_or(number);
        // One whose wave does not come goes on all the same: how many were answered by then tells of it.
        let _ = tokio::time::timeout(Duration::from_secs(5), flow.wait_for(|flow| flow.asked.len() >= end)).await;
    }

    /// The kinds of each wave, in the order of the alphabet: what began once all before was answered.
    pub fn waves(&self) -> Vec<Vec<String>> {
        let mut waves = BTreeMap::<usize, Vec<String>>::new();
        for (kind, answered) in &self.flow.borrow().asked {
            waves.entry(*answered).or_default().push(kind.clone());
        }
        waves.values_mut().for_each(|wave| wave.sort());
        waves.into_values().collect()
    }
}

/// As of when lists are.
const LISTED: u64 = 2;

/// What a selector of labels says, of the three forms that are used.
fn selects(selector: &str, object: &Value) -> bool {
    let label = |key: &str| object["metadata"]["labels"][key].as_str();
    selector.split(',').filter(|one| !one.is_empty()).all(|one| match (one.split_once("!="), one.split_once('=')) {
        (Some((key, value)), _) => label(key) != Some(value),
        (None, Some((key, value))) => label(key) == Some(value),
        (None, None) => label(one).is_some(),
    })
}

/// A parameter of a query, decoded.
fn parameter(query: &str, name: &str) -> String {
    let raw = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let (mut bytes, mut rest) = (Vec::new(), raw.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, left @ ..]) => {
                let hex = String::from_utf8(vec![*high, *low]).unwrap();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                rest = left;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    let how = if code < 400 { "Success" } else { "Failure" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": how, "reason": reason, "message": reason, "code": code}),
    )
}

/// The right that a request in the namespace takes: `create deployments.apps`.
fn right(method: &str, path: &str, watches: bool) -> Option<String> {
    let (api, place) = path.split_once(&format!("/namespaces/{NAMESPACE}/"))?;
    let parts: Vec<&str> = place.split('/').collect();
    let resource = match parts.as_slice() {
        [kind, _, part, ..] => format!("{kind}/{part}"),
        _ => parts[0].to_owned(),
    };
    let verb = match (method, parts.len() > 1) {
        _ if watches => "watch",
        ("GET", false) => "list",
        ("GET", true) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("PUT", _) => "update",
        ("DELETE", false) => "deletecollection",
        _ => "delete",
    };
    let group = api.strip_prefix("/apis/").and_then(|rest| rest.split('/').next());
    Some(format!("{verb} {resource}{}", group.map(|group| format!(".{group}")).unwrap_or_default()))
}

impl Apiserver {
    /// Notes which right is used. Who has it not is answered as RBAC does.
    fn refuses(&mut self, right: Option<String>) -> Option<(u16, Value)> {
        let right = right?;
        self.used.insert(right.clone());
        if self.forbidden.as_ref() != Some(&right) {
            return None;
        }
        let (verb, of) = right.split_once(' ')?;
        let (resource, group) = of.split_once('.').unwrap_or((of, ""));
        let said = format!(
            "{of} is forbidden: User \"u\" cannot {verb} resource \"{resource}\" in API group \"{group}\" in the namespace \"{NAMESPACE}\""
        );
        let mut answer = status(403, "Forbidden").1;
        answer["message"] = json!(said);
        Some((403, answer))
    }

    /// What it says of itself, and what the account may: all but what is forbidden.
    fn of_itself(&self, path: &str, body: &[u8]) -> Option<Value> {
        match path {
            "/version" => {
                let minor = self.minor.unwrap_or(34);
                let mut version = json!({"major": "1", "minor": minor.to_string(), "gitVersion": format!("v1.{minor}.1")});
                for field in ["gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"] {
                    version[field] = json!("");
                }
                Some(version)
            }
            "/apis" => {
                let version = json!({"groupVersion": "apps.kubeblocks.io/v1", "version": "v1"});
                let group = json!({"name": "apps.kubeblocks.io", "versions": [version], "preferredVersion": version});
                let groups = if self.kubeblocks { vec![group] } else { Vec::new() };
                Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            }
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
                let mut review: Value = serde_json::from_slice(body).unwrap();
                let asked = &review["spec"]["resourceAttributes"];
                let of = |field: &str, before: &str| match asked[field].as_str() {
                    None | Some("") => String::new(),
                    Some(text) => format!("{before}{text}"),
                };
                let right = of("verb", "") + &of("resource", " ") + &of("subresource", "/") + &of("group", ".");
                review["status"] = json!({"allowed": self.forbidden.as_ref() != Some(&right)});
                Some(review)
            }
            _ => None,
        }
    }

    /// An object as it is seen: a pod with what became of it.
    fn seen(&self, key: &str, object: &Value) -> Value {
        let mut object = object.clone();
        if let (Some(kubelet), Some(pod)) = (&self.kubelet, key.strip_prefix("pods/")) {
            object["status"] = kubelet(&self.objects, pod);
        }
        object
    }

    /// Has the watch of a kind tell something: `ADDED`, `MODIFIED` or `DELETED`.
    pub fn tell(&mut self, plural: &str, what: &str, mut object: Value) {
        let version = LISTED + 1 + self.history.len() as u64;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        self.history.push((version, plural.to_owned(), format!("{}\n", json!({"type": what, "object": object}))));
        self.news.send_replace(());
    }

    fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        if let Some(said) = self.of_itself(path, body) {
            return (200, said);
        }
        let Some((_, place)) = path.split_once(&format!("/namespaces/{NAMESPACE}/")) else {
            // What is the whole cluster's.
            let (rest, name) = path.rsplit_once('/').unwrap_or_default();
            let kind = rest.rsplit_once('/').map_or(rest, |(_, kind)| kind);
            if let Some(object) = self.objects.get(&format!("{kind}/{name}")) {
                return (200, object.clone());
            }
            let resource =
                json!({"name": "clusters", "singularName": "cluster", "namespaced": true, "kind": "Cluster", "verbs": ["get"]});
            return if matches!(name, "nodes" | "ingressclasses" | "storageclasses") {
                let meta = json!({"resourceVersion": LISTED.to_string()});
                let there = self.objects.iter().filter(|(key, _)| key.split_once('/').is_some_and(|(kind, _)| kind == name));
                let items: Vec<&Value> = there.map(|(_, object)| object).collect();
                (200, json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items}))
            } else if self.kubeblocks && path == "/apis/apps.kubeblocks.io/v1" {
                let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps.kubeblocks.io/v1", "resources": [resource]});
                (200, list)
            } else {
                status(404, "NotFound")
            };
        };
        self.asked.push(format!("{method} {place}"));
        if method == "POST" && self.nowhere {
            let mut answer = status(404, "NotFound").1;
            answer["message"] = json!(format!("namespaces \"{NAMESPACE}\" not found"));
            return (404, answer);
        }
        if query.contains("dryRun=All") {
            return (201, serde_json::from_slice(body).unwrap());
        }
        let (selector, fields) = (parameter(query, "labelSelector"), parameter(query, "fieldSelector"));
        let is_named = |object: &Value| match fields.split_once('=') {
            Some(("metadata.name", name)) => object["metadata"]["name"] == name,
            Some(("involvedObject.name", name)) => object["involvedObject"]["name"] == name,
            _ => true,
        };
        let of_kind = |key: &String| key.split_once('/').is_some_and(|(kind, _)| kind == place);
        match (method, place.contains('/')) {
            ("POST", _) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                let key = format!("{place}/{}", object["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&key) {
                    return status(409, "AlreadyExists");
                }
                self.made += 1;
                object["metadata"]["uid"] = json!(format!("ours-{}", self.made));
                object["metadata"]["resourceVersion"] = json!(LISTED.to_string());
                self.objects.insert(key, object.clone());
                (201, object)
            }
            ("GET", true) => match self.objects.get(place) {
                Some(object) => (200, self.seen(place, object)),
                None => status(404, "NotFound"),
            },
            ("GET", false) => {
                let chosen = |object: &Value| selects(&selector, object) && is_named(object);
                let there = self.objects.iter().filter(|(key, object)| of_kind(key) && chosen(object));
                let items: Vec<Value> = there.map(|(key, object)| self.seen(key, object)).collect();
                (
                    200,
                    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": LISTED.to_string()}, "items": items}),
                )
            }
            ("PATCH", true) => match self.objects.get_mut(place) {
                Some(object) => {
                    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
                    if asked["metadata"]["uid"].is_string() && asked["metadata"]["uid"] != object["metadata"]["uid"] {
                        return status(409, "Conflict");
                    }
                    let fails =
                        |one: &Value| one["op"] == "test" && object.pointer(one["path"].as_str().unwrap()) != Some(&one["value"]);
                    if asked.as_array().is_some_and(|all| all.iter().any(fails)) {
                        return status(422, "Invalid");
                    }
                    // Of what is asked for, the labels alone: somebody else has the rest.
                    for (label, value) in asked["metadata"]["labels"].as_object().into_iter().flatten() {
                        object["metadata"]["labels"][label] = value.clone();
                    }
                    object["metadata"]["labels"]["changed"] = json!("yes");
                    (200, object.clone())
                }
                None => status(404, "NotFound"),
            },
            ("PUT", true) => match self.objects.get_mut(place) {
                Some(object) => {
                    let mut asked: Value = serde_json::from_slice(body).unwrap();
                    asked["metadata"]["uid"] = object["metadata"]["uid"].clone();
                    object.clone_from(&asked);
                    (200, asked)
                }
                None => status(404, "NotFound"),
            },
            ("DELETE", true) => self.objects.remove(place).map_or_else(|| status(404, "NotFound"), |_| status(200, "")),
            ("DELETE", false) => {
                let held = |object: &Value| object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
                self.objects.retain(|key, object| !(of_kind(key) && selects(&selector, object)) || held(object));
                status(200, "")
            }
            _ => status(405, "MethodNotAllowed"),
        }
    }
}

fn whole(answer: &Value) -> UnsyncBoxBody<Bytes, BoxError> {
    Full::new(Bytes::from(answer.to_string())).map_err(Into::into).boxed_unsync()
}

/// What a watch tells from a version on. It never ends by itself.
fn told(server: Arc<Mutex<Apiserver>>, plural: String, from: u64) -> impl Stream<Item = Result<Frame<Bytes>, BoxError>> + Send {
    let news = server.lock().unwrap().news.subscribe();
    stream::unfold((server, plural, from, news), |(server, plural, from, mut news)| async move {
        loop {
            let newer = |(version, of, _): &&(u64, String, String)| *version > from && *of == plural;
            let next = server.lock().unwrap().history.iter().find(newer).cloned();
            if let Some((version, _, line)) = next {
                return Some((Ok(Frame::data(Bytes::from(line))), (server, plural, version, news)));
            }
            news.changed().await.ok()?;
        }
    })
}

pub fn client(server: &Arc<Mutex<Apiserver>>) -> Client {
    client_in_waves(server, None)
}

/// The same, some of whose writes wait for each other.
pub fn client_in_waves(server: &Arc<Mutex<Apiserver>>, waves: Option<Arc<Waves>>) -> Client {
    let server = server.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (server, waves) = (server.clone(), waves.clone());
        async move {
            let (parts, body) = request.into_parts();
            let query = parts.uri.query().unwrap_or_default();
            let watches = query.contains("watch=true");
            let right = right(parts.method.as_str(), parts.uri.path(), watches);
            let refusal = server.lock().unwrap().refuses(right);
            if let Some((code, answer)) = refusal {
                return Ok::<_, Infallible>(http::Response::builder().status(code).body(whole(&answer)).unwrap());
            }
            if watches {
                // Nothing ever changes but by what is asked here, and that nobody is told.
                let plural = parts.uri.path().rsplit('/').next().unwrap().to_owned();
                let from = parameter(query, "resourceVersion").parse().unwrap_or(LISTED);
                let body = StreamBody::new(told(server, plural, from)).boxed_unsync();
                return Ok(http::Response::new(body));
            }
            let body = body.collect_bytes().await.unwrap();
            let (method, path) = (parts.method.as_str(), parts.uri.path());
            let waves = waves.filter(|waves| waves.method == method);
            if let Some(waves) = &waves {
                let place = path.split_once(&format!("/namespaces/{NAMESPACE}/")).map_or(path, |(_, place)| place);
                waves.wait(place.split('/').next().unwrap_or_default()).await;
            }
            let (code, answer) = server.lock().unwrap().answer(method, path, query, &body);
            if let Some(waves) = &waves {
                waves.flow.send_modify(|flow| flow.answered += 1);
            }
            let clock = Timestamp::now() + SignedDuration::from_secs(server.lock().unwrap().clock_ahead_secs);
            let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&clock).unwrap();
            Ok(http::Response::builder().status(code).header("date", date).body(whole(&answer)).unwrap())
        }
    });
    Client::new(service, NAMESPACE)
}

pub fn spec() -> DatabaseSpec {
    let id = Uuid::from_u128(7);
    let (slug, name) = names(id);
    DatabaseSpec {
        project: ProjectId(id),
        sandbox: SandboxId(id),
        slug,
        name,
        installation: InstallationId(Uuid::from_u128(1)),
        role: "p_7".to_owned(),
        database: "d_7".to_owned(),
        password: "secret".into(),
    }
}
