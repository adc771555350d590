//! How much nodes have, and what of it this installation reserves: where a pod cannot be placed, whoever reads that
//! has something to compare with what it asks for.
//!
//! What others reserve is not seen, with the rights of one namespace: what is told is what a node has at most, and the
//! part of it that stopping a sandbox would give back.

use crate::{Cluster, labels, manifests::quantity};
use k8s_openapi::{
    api::core::v1::{Node, Pod, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{Api, api::ListParams};
use model::InstallationId;
use std::{borrow::Borrow, collections::BTreeMap};

/// CPU in thousandths of a core, and memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU.
    pub cpu_millis: u64,
    /// Memory.
    pub memory_bytes: u64,
}

/// What matters of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its kubelet answers the cluster.
    pub ready: bool,
    /// It takes pods that tolerate nothing.
    pub open: bool,
    /// What it has for pods.
    pub has: Amounts,
}

/// A node that takes pods, what it has, and what this installation's pods reserve of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its name.
    pub node: String,
    /// What it has for pods.
    pub has: Amounts,
    /// What of it is reserved by the pods that were given.
    pub held: Amounts,
}

impl Amounts {
    fn of(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amount = |name: &str| quantities.and_then(|all| all.get(name)).and_then(quantity::thousandths).unwrap_or_default();
        Self { cpu_millis: amount("cpu"), memory_bytes: amount("memory") / 1000 }
    }

    fn and(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    fn or_more(self, other: Self) -> Self {
        Self { cpu_millis: self.cpu_millis.max(other.cpu_millis), memory_bytes: self.memory_bytes.max(other.memory_bytes) }
    }

    /// By its name in the API.
    fn get(self, resource: &str) -> Option<u64> {
        match resource {
            "cpu" => Some(self.cpu_millis),
            "memory" => Some(self.memory_bytes),
            _ => None,
        }
    }
}

impl NodeFacts {
    /// From the node.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
        let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let mut taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
        let closed =
            spec.and_then(|spec| spec.unschedulable) == Some(true) || taints.any(|taint| taint.effect != "PreferNoSchedule");
        Self {
            ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            open: !closed,
            has: Amounts::of(status.and_then(|status| status.allocatable.as_ref())),
        }
    }
}

/// What the scheduler reserves for a pod: all its containers, or the init container that asks for more.
fn reserved(pod: &PodSpec) -> Amounts {
    let asked = |container: &k8s_openapi::api::core::v1::Container| {
        Amounts::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    };
    let all = pod.containers.iter().map(asked).fold(Amounts::default(), Amounts::and);
    pod.init_containers.iter().flatten().map(asked).fold(all, Amounts::or_more)
}

/// Of each node that takes pods, what it has and what these pods reserve of it.
#[must_use]
pub fn rooms<P: Borrow<Pod>>(
    nodes: impl IntoIterator<Item = (String, NodeFacts)>,
    pods: impl IntoIterator<Item = P>,
) -> Vec<Room> {
    let mut held: BTreeMap<String, Amounts> = BTreeMap::new();
    for pod in pods {
        let pod: &Pod = pod.borrow();
        let Some(spec) = pod.spec.as_ref().filter(|_| !super::place::is_over(pod)) else { continue };
        if let Some(node) = &spec.node_name {
            let sum = held.entry(node.clone()).or_default();
            *sum = sum.and(reserved(spec));
        }
    }
    let open = nodes.into_iter().filter(|(_, facts)| facts.ready && facts.open);
    open.map(|(node, facts)| Room { held: held.get(&node).copied().unwrap_or_default(), node, has: facts.has }).collect()
}

/// The same, asked of the cluster. `None` where the account may not see nodes, or nobody answers.
pub(crate) async fn ask(cluster: &Cluster, installation: InstallationId) -> Option<Vec<Room>> {
    let (nodes, pods) =
        (Api::<Node>::all(cluster.client.clone()), Api::<Pod>::namespaced(cluster.client.clone(), &cluster.namespace));
    let (all, ours) = (ListParams::default(), ListParams::default().labels(&labels::of_installation(installation)));
    let (nodes, pods) = futures::try_join!(nodes.list(&all), pods.list(&ours)).ok()?;
    let nodes = nodes.items.into_iter().map(|node| (node.metadata.name.clone().unwrap_or_default(), NodeFacts::of(&node)));
    Some(rooms(nodes, pods.items))
}

/// What is short, in the scheduler's words: `0/1 nodes are available: 1 Insufficient memory. preemption: …`
#[must_use]
pub fn lacking(text: &str) -> Vec<&str> {
    let why = text.split(". ").next().unwrap_or(text).trim_end_matches('.');
    why.split(", ").filter_map(|reason| Some(reason.split_once(" Insufficient ")?.1)).collect()
}

/// How much is free of what is short, as a sentence for each that follows another; empty where there is nothing to say.
/// `rooms`: `None` where nodes cannot be seen.
#[must_use]
pub fn told(lacking: &[&str], rooms: Option<&[Room]>) -> String {
    let mut lacking: Vec<&str> = lacking.iter().copied().filter(|what| Amounts::default().get(what).is_some()).collect();
    lacking.dedup();
    let Some(rooms) = rooms else {
        let unseen = " How much is free cannot be seen: the account may not see nodes.";
        return if lacking.is_empty() { String::new() } else { unseen.to_owned() };
    };
    let sentence = |what: &str| {
        let left = |room: &&Room| room.has.get(what).zip(room.held.get(what)).map(|(has, held)| has.saturating_sub(held));
        let room = rooms.iter().max_by_key(left)?;
        let (has, held) = (room.has.get(what)?, room.held.get(what)?);
        let shown = |amount| if what == "cpu" { quantity::shown_cpu(amount) } else { quantity::shown_bytes(amount) };
        let held = if held == 0 { "none".to_owned() } else { shown(held) };
        Some(format!(
            " The node `{}` has the most {what} left: it has {}, of which this installation's pods hold {held}.",
            room.node,
            shown(has)
        ))
    };
    lacking.into_iter().filter_map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, memory: &str, more: serde_json::Value) -> (String, NodeFacts) {
        let mut node = json!({"metadata": {"name": name}, "spec": {}, "status": {"allocatable": {"cpu": "2", "memory": memory},
            "conditions": [{"type": "Ready", "status": "True"}]}});
        node["spec"] = more;
        (name.to_owned(), NodeFacts::of(&serde_json::from_value(node).unwrap()))
    }

    fn pod(node: Option<&str>, phase: &str, memory: &str) -> Pod {
        let ask = |memory: &str| json!({"name": "c", "resources": {"requests": {"cpu": "250m", "memory": memory}}});
        serde_json::from_value(json!({"metadata": {}, "status": {"phase": phase}, "spec": {"nodeName": node,
            "initContainers": [ask("1Mi")], "containers": [ask(memory), ask("0")]}}))
        .unwrap()
    }

    #[test]
    fn what_nodes_have_and_our_pods_hold_is_counted() {
        let nodes = || {
            [
                node("small", "2Gi", json!({})),
                node("large", "3990000Ki", json!({})),
                node("cordoned", "64Gi", json!({"unschedulable": true})),
                node("tainted", "64Gi", json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]})),
                ("lost".to_owned(), NodeFacts { has: Amounts { cpu_millis: 1, memory_bytes: 1 }, ..NodeFacts::default() }),
            ]
        };
        let pods = [
            pod(Some("large"), "Running", "1Gi"),
            pod(Some("large"), "Pending", "2152Mi"),
            pod(Some("large"), "Succeeded", "1Gi"),
            pod(Some("small"), "Running", "1600Mi"),
            pod(None, "Pending", "1Gi"),
        ];
        let rooms = rooms(nodes(), &pods);
        let names: Vec<&str> = rooms.iter().map(|room| room.node.as_str()).collect();
        assert_eq!(names, ["small", "large"], "those that take pods");
        assert_eq!(rooms[1].held, Amounts { cpu_millis: 1000, memory_bytes: (1024 + 2152) << 20 });
        let said = told(&["memory", "cpu"], Some(&rooms));
        assert_eq!(
            said,
            " The node `large` has the most memory left: it has 3.8Gi, of which this installation's pods hold 3.1Gi. \
             The node `small` has the most cpu left: it has 2, of which this installation's pods hold 500m."
        );
        let none = told(&["memory"], Some(&super::rooms(nodes(), Vec::<Pod>::new())));
        assert!(
            none.ends_with("`large` has the most memory left: it has 3.8Gi, of which this installation's pods hold none."),
            "{none}"
        );
    }

    #[test]
    fn what_cannot_be_seen_or_is_not_short_is_not_told() {
        assert_eq!(told(&["memory"], None), " How much is free cannot be seen: the account may not see nodes.");
        assert_eq!(told(&["ephemeral-storage"], None), "");
        assert_eq!(told(&["memory"], Some(&[])), "");
        let text = "0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu. preemption: 0/3 nodes are available.";
        assert_eq!(lacking(text), ["memory", "cpu"]);
        assert_eq!(lacking("0/1 nodes are available: 1 Insufficient memory."), ["memory"]);
        assert_eq!(lacking("0/1 nodes are available: 1 Too many pods."), Vec::<&str>::new());
    }
}
