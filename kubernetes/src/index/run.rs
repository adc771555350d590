//! The runs of a sandbox, as its pods tell of them.
//!
//! A run is one life of the container: a pod's kubelet starts an ended container again in place, and that is
//! another run. `POD_UID` is the first, `POD_UID/1` the one after.

use crate::{labels, manifests::CONTAINER};
use engine::orchestrator::AgentSeen;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use model::{Cause, InstanceFact};
use std::collections::{HashMap, HashSet, VecDeque};

/// Endings by itself count for this long.
const TEN_MINUTES: SignedDuration = SignedDuration::from_mins(10);
/// More than this in ten minutes are as bad.
const ENDS: usize = 100;

/// What is remembered of a sandbox's runs.
#[derive(Debug, Default)]
pub struct Runs {
    /// An object of it was changed by somebody else.
    pub edited: bool,
    /// Its Deployment goes, or is gone, and nobody of ours has asked for that.
    pub deleted: bool,
    agent: Option<Agent>,
    early: Option<Early>,
    /// Pods that were asked to end.
    asked: HashSet<String>,
    /// By pod: how many of its containers have ended, and whether its own end was counted.
    counted: HashMap<String, Counted>,
    ends: VecDeque<Timestamp>,
    /// The last lines of the log of the run that ended last.
    log_tail: Option<String>,
}

#[derive(Debug)]
struct Agent {
    run: String,
    seen: AgentSeen,
    /// The kubelet has found it ready: from then on its word counts.
    was_ready: bool,
    /// Somebody asks it until a shell has started.
    asking: bool,
    /// Why it may not be asked.
    refused: Option<Cause>,
}

/// A container that its kubelet has started, as an event says. Its status says so when the kubelet next looks at its
/// containers, which it does once a second.
#[derive(Debug)]
struct Early {
    /// Its pod.
    uid: String,
    started_at: Timestamp,
    /// It does not count: its agent may not be asked, or answers no more, and no status confirms it.
    withdrawn: bool,
}

/// What should be asked of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The agent of a run, until a shell has started.
    Agent {
        /// Which run.
        run: String,
    },
    /// What the container wrote last that ended: the one before, or the one that there is.
    Log {
        /// Another has started since.
        previous: bool,
    },
}

#[derive(Debug, Default)]
struct Counted {
    containers: u32,
    pod: bool,
}

impl Runs {
    /// How far the agent of a run is.
    #[must_use]
    pub fn agent(&self, run: &str) -> AgentSeen {
        self.agent.as_ref().filter(|agent| agent.run == run).map_or(AgentSeen::Silent, |agent| agent.seen)
    }

    /// The run of a pod, if its container runs and nobody has asked it to end: by its status, or earlier where an event says so and
    /// its agent has answered.
    #[must_use]
    pub fn instance(&self, pod: &Pod) -> Option<InstanceFact> {
        let early = || {
            let early = self.early.as_ref().filter(|early| pod.metadata.uid.as_ref() == Some(&early.uid))?;
            let counts = !early.withdrawn && self.agent(&early.uid) > AgentSeen::Silent && is_starting(pod);
            if counts { fact(pod, early.uid.clone(), early.started_at) } else { None }
        };
        instance(pod).or_else(early)
    }

    /// The run that a pod will be, or is already without that being known here.
    #[must_use]
    pub fn starting(&self, pod: &Pod) -> Option<String> {
        let uid = pod.metadata.uid.as_ref().filter(|_| is_starting(pod))?;
        let withdrawn = self.early.as_ref().is_some_and(|early| early.withdrawn && early.uid == *uid);
        (!withdrawn).then(|| uid.clone())
    }

    /// Whether only an event has told of a run's start, and that counts.
    pub(super) fn is_early(&self, run: &str) -> bool {
        self.early.as_ref().is_some_and(|early| early.uid == run && !early.withdrawn)
    }

    /// Why the agent of a run may not be asked.
    #[must_use]
    pub fn refused(&self, run: &str) -> Option<&Cause> {
        self.agent.as_ref().filter(|agent| agent.run == run)?.refused.as_ref()
    }

    /// How often a run ended by itself within ten minutes, and when the last did.
    #[must_use]
    pub fn ended_by_itself(&self, now: Timestamp) -> (u32, Option<Timestamp>) {
        let since = now.checked_sub(TEN_MINUTES).unwrap_or(Timestamp::MIN);
        let counting = self.ends.iter().filter(|at| **at >= since);
        (u32::try_from(counting.count()).unwrap_or(u32::MAX), self.ends.iter().max().copied().filter(|at| *at >= since))
    }

    /// The last lines that the run wrote that ended last, where they were read.
    #[must_use]
    pub fn log_tail(&self) -> Option<&str> {
        self.log_tail.as_deref()
    }

    /// A pod is asked to end.
    pub(super) fn asked(&mut self, pod: &Pod) {
        self.asked.extend(pod.metadata.uid.clone());
    }

    /// Whether a pod lives that was not asked to end.
    pub(super) fn lives_unasked(&self, pod: &Pod) -> bool {
        !failed(pod) && pod.metadata.uid.as_ref().is_some_and(|uid| !self.asked.contains(uid))
    }

    /// A new ask: what ended before, and what it wrote, is history.
    pub(super) fn forget(&mut self) {
        self.ends.clear();
        self.log_tail = None;
    }

    /// The last lines that a run wrote that ended.
    pub(super) fn wrote(&mut self, tail: String) {
        self.log_tail = Some(tail);
    }

    /// What the agent of a run answered, and why it may not be asked: whether that run is still the one, and whether it is
    /// news.
    pub(super) fn answered(&mut self, run: &str, seen: AgentSeen, refused: Option<Cause>) -> (bool, bool) {
        if refused.is_some() && self.not_early(run) {
            // Not yet, by a port-forward; when it has an address that may be another way to it.
            return (false, true);
        }
        let Some(agent) = self.agent.as_mut().filter(|agent| agent.run == run) else { return (false, false) };
        // The kubelet asks it, too, and from nearer: a question that was lost on the way is no silence.
        if seen == AgentSeen::Silent && refused.is_none() && agent.was_ready {
            return (true, false);
        }
        let news = agent.seen != seen || agent.refused != refused;
        (agent.seen, agent.refused) = (seen, refused);
        agent.asking = seen != AgentSeen::ShellStarted;
        (true, news)
    }

    /// An event says that the kubelet has started the container of a pod. Answers its run, whose agent should be asked, where
    /// that is news.
    pub(super) fn started(&mut self, pod: &Pod, at: Timestamp) -> Option<Ask> {
        let uid = pod.metadata.uid.clone()?;
        if !is_starting(pod) || self.early.as_ref().is_some_and(|early| early.uid == uid) {
            return None;
        }
        self.early = Some(Early { uid: uid.clone(), started_at: at, withdrawn: false });
        self.agent = Some(Agent { run: uid.clone(), seen: AgentSeen::Silent, was_ready: false, asking: true, refused: None });
        Some(Ask::Agent { run: uid })
    }

    /// The event alone is not to be counted on any longer: its pod's status is waited for. `false`: it was not.
    pub(super) fn not_early(&mut self, run: &str) -> bool {
        let Some(early) = self.early.as_mut().filter(|early| early.uid == run && !early.withdrawn) else { return false };
        early.withdrawn = true;
        self.agent.take_if(|agent| agent.run == run);
        true
    }

    /// A pod is as it is. Answers what it should be asked: what a run wrote last that has ended, and how far the agent of the
    /// one is that runs. `wanted` is the restart count that the Deployment asks for.
    pub(super) fn saw(&mut self, pod: &Pod, wanted: Option<i64>, now: Timestamp) -> Vec<Ask> {
        let Some(uid) = pod.metadata.uid.clone() else { return Vec::new() };
        if !is_starting(pod) {
            // From here on its status counts.
            self.early.take_if(|early| early.uid == uid);
        }
        if going(pod) || failed(pod) {
            if self.agent.as_ref().is_some_and(|agent| agent.run == uid || agent.run.starts_with(&format!("{uid}/"))) {
                self.agent = None;
            }
            self.pod_ended(pod, wanted, now);
            return Vec::new();
        }
        let ended = self.containers_ended(pod, &uid, now);
        let fact = instance(pod);
        let log = ended.then_some(Ask::Log { previous: fact.is_some() });
        let agent = fact.and_then(|fact| self.run(fact, ready(pod)));
        log.into_iter().chain(agent).collect()
    }

    /// A run is there. Answers it where its agent should be asked.
    fn run(&mut self, fact: InstanceFact, ready: bool) -> Option<Ask> {
        match &mut self.agent {
            Some(agent) if agent.run == fact.id => {
                let lost = agent.was_ready && !ready;
                agent.was_ready = ready;
                if lost {
                    agent.seen = AgentSeen::Silent;
                    return (!std::mem::replace(&mut agent.asking, true)).then_some(Ask::Agent { run: fact.id });
                }
                None
            }
            _ => {
                let run = fact.id;
                // One that the kubelet finds ready began before this process, or its watch, did: that nobody here has asked
                // it is no silence. Whether a shell has started the kubelet does not ask: the agent says that.
                let seen = if ready { AgentSeen::ShellStarted } else { AgentSeen::Silent };
                self.agent = Some(Agent { run: run.clone(), seen, was_ready: ready, asking: true, refused: None });
                Some(Ask::Agent { run })
            }
        }
    }

    /// A pod is gone.
    pub(super) fn lost(&mut self, pod: &Pod, wanted: Option<i64>, now: Timestamp) {
        self.pod_ended(pod, wanted, now);
        if let Some(uid) = &pod.metadata.uid {
            self.early.take_if(|early| early.uid == *uid);
            self.asked.remove(uid);
            self.counted.remove(uid);
        }
    }

    /// Whether one has ended that was not counted yet.
    fn containers_ended(&mut self, pod: &Pod, uid: &str, now: Timestamp) -> bool {
        let Some(status) = container(pod) else { return false };
        let ended = ended(status);
        let first = !self.counted.contains_key(uid);
        let known = self.counted.entry(uid.to_owned()).or_default();
        let mut new = ended.saturating_sub(known.containers);
        if first && pod.metadata.creation_timestamp.as_ref().is_some_and(|at| now.duration_since(at.0) > TEN_MINUTES) {
            // It was there before us: of its endings only the last one's time is told.
            new = new.min(1);
        }
        if new == 0 {
            return false;
        }
        known.containers = ended;
        let at = finished_at(status).unwrap_or(now);
        for _ in 0..new.min(u32::try_from(ENDS).unwrap_or(u32::MAX)) {
            self.ended(at);
        }
        true
    }

    /// A pod that goes although it was not asked to: evicted, deleted by hand, its node lost.
    fn pod_ended(&mut self, pod: &Pod, wanted: Option<i64>, now: Timestamp) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let known = self.counted.entry(uid.clone()).or_default();
        let unasked = !std::mem::replace(&mut known.pod, true)
            && !self.asked.contains(&uid)
            && wanted.is_some()
            && wanted == number(&pod.metadata, labels::RESTART_COUNT)
            // One that never ran has not ended.
            && container(pod).is_some_and(|status| status.started == Some(true) || ended(status) > 0 || running(status));
        if unasked {
            self.ended(now);
        }
    }

    fn ended(&mut self, at: Timestamp) {
        // What an earlier one wrote says nothing of this end, also where its own log cannot be read.
        self.log_tail = None;
        self.ends.push_back(at);
        while self.ends.len() > ENDS {
            self.ends.pop_front();
        }
    }
}

/// The run of a pod, if its container runs and nobody has asked it to end.
#[must_use]
pub fn instance(pod: &Pod) -> Option<InstanceFact> {
    if going(pod) || failed(pod) {
        return None;
    }
    let status = container(pod)?;
    let started_at = status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0;
    let uid = pod.metadata.uid.as_deref()?;
    fact(pod, if status.restart_count == 0 { uid.to_owned() } else { format!("{uid}/{}", status.restart_count) }, started_at)
}

fn fact(pod: &Pod, id: String, started_at: Timestamp) -> Option<InstanceFact> {
    Some(InstanceFact {
        id,
        started_at,
        restart_count: number(&pod.metadata, labels::RESTART_COUNT)?,
        env_revision: number(&pod.metadata, labels::ENV_REVISION)?,
    })
}

/// Whether its container has not run yet, as its status has it, and nothing is known to keep it from that.
fn is_starting(pod: &Pod) -> bool {
    if going(pod) || failed(pod) {
        return false;
    }
    let Some(status) = container(pod) else { return true };
    let Some(state) = &status.state else { return true };
    let reason = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    status.restart_count == 0 && matches!(reason, Some("ContainerCreating" | "PodInitializing"))
}

/// Whether it was asked to end, by whomever.
#[must_use]
pub fn going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether it is over: what is left of it is a record.
#[must_use]
pub fn failed(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether it was asked to end, and its kubelet has seen each of its containers end: nothing of it runs any more, and what
/// is left is a record and what the kubelet tidies up. Not where the kubelet lost sight of one.
#[must_use]
pub fn is_over(pod: &Pod) -> bool {
    let ended = |status: &ContainerStatus| {
        let terminated = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        terminated.is_some_and(|ended| ended.reason.as_deref() != Some("ContainerStatusUnknown"))
    };
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    going(pod) && failed(pod) && statuses.is_some_and(|all| !all.is_empty() && all.iter().all(ended))
}

/// The status of the sandbox's own container.
#[must_use]
pub fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|status| status.name == CONTAINER)
}

/// A number that an annotation holds.
pub(crate) fn number(meta: &ObjectMeta, annotation: &str) -> Option<i64> {
    meta.annotations.as_ref()?.get(annotation)?.parse().ok()
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// How many lives of a container are over.
fn ended(status: &ContainerStatus) -> u32 {
    let restarts = u32::try_from(status.restart_count).unwrap_or(0);
    // The count goes up when it is started again: until then the last one is over and not counted.
    let over = !running(status) && finished_at(status).is_some();
    restarts + u32::from(over)
}

fn finished_at(status: &ContainerStatus) -> Option<Timestamp> {
    let finished = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.and_then(|state| state.terminated.as_ref()).and_then(|ended| ended.finished_at.as_ref()).map(|at| at.0)
    };
    finished(status.state.as_ref()).or_else(|| finished(status.last_state.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: &str = "2026-01-01T00:10:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// A pod of ask 1 whose container is in `state`.
    fn pod(uid: &str, restarts: i32, state: &Value, last: &Value, ready: bool) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": uid, "uid": uid, "creationTimestamp": "2026-01-01T00:09:00Z",
                "annotations": { "fullstackagent.io/restart-count": "1", "fullstackagent.io/env-revision": "4" },
            },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
                "containerStatuses": [{
                    "name": "sandbox", "image": "", "imageID": "", "ready": ready, "started": true,
                    "restartCount": restarts, "state": state, "lastState": last,
                }],
            },
        }))
        .unwrap()
    }

    fn running() -> Value {
        json!({ "running": { "startedAt": "2026-01-01T00:09:10Z" } })
    }

    fn ended() -> Value {
        json!({ "terminated": { "exitCode": 1, "finishedAt": "2026-01-01T00:09:30Z" } })
    }

    fn ask(run: &str) -> Vec<Ask> {
        vec![Ask::Agent { run: run.to_owned() }]
    }

    #[test]
    fn a_pod_is_over_once_it_was_asked_to_end_and_its_kubelet_saw_that_it_did() {
        let with = |state: &Value, phase: &str, going: bool| {
            let mut pod = pod("a", 0, state, &json!({}), false);
            pod.status.as_mut().unwrap().phase = Some(phase.to_owned());
            if going {
                let meta = json!({ "deletionTimestamp": "2026-01-01T00:09:40Z" });
                pod.metadata.deletion_timestamp = serde_json::from_value::<ObjectMeta>(meta).unwrap().deletion_timestamp;
            }
            is_over(&pod)
        };
        let lost = json!({ "terminated": { "exitCode": 137, "reason": "ContainerStatusUnknown" } });
        assert!(with(&ended(), "Failed", true) && with(&ended(), "Succeeded", true));
        assert!(!with(&ended(), "Failed", false), "its Deployment would make another");
        assert!(!with(&ended(), "Running", true), "the kubelet is still at it");
        assert!(!with(&running(), "Failed", true), "its node is lost, and it may run");
        assert!(!with(&lost, "Failed", true), "nobody saw how it ended");
        assert!(!with(&json!({ "waiting": { "reason": "PodInitializing" } }), "Failed", true));
    }

    #[test]
    fn a_container_that_is_started_again_is_another_run_and_its_end_is_counted_once() {
        let mut runs = Runs::default();
        let none = json!({});
        assert_eq!(runs.saw(&pod("a", 0, &running(), &none, false), Some(1), now()), ask("a"));
        assert_eq!(runs.saw(&pod("a", 0, &ended(), &none, false), Some(1), now()), [Ask::Log { previous: false }]);
        assert_eq!(runs.ended_by_itself(now()).0, 1);
        // Waiting for its turn, then running again.
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        assert_eq!(runs.saw(&pod("a", 0, &waiting, &ended(), false), Some(1), now()), []);
        let again = pod("a", 1, &running(), &ended(), false);
        assert_eq!(runs.saw(&again, Some(1), now()), ask("a/1"));
        assert_eq!(runs.ended_by_itself(now()), (1, Some("2026-01-01T00:09:30Z".parse().unwrap())));
        assert_eq!(instance(&again).unwrap().id, "a/1");
        // Two that ended between two looks are two, and what the last of them wrote is there to be read.
        let both: Vec<Ask> = [Ask::Log { previous: true }].into_iter().chain(ask("a/3")).collect();
        assert_eq!(runs.saw(&pod("a", 3, &running(), &ended(), false), Some(1), now()), both);
        assert_eq!(runs.ended_by_itself(now()).0, 3);
        let later = now().checked_add(SignedDuration::from_mins(11)).unwrap();
        assert_eq!(runs.ended_by_itself(later), (0, None), "what is long ago is forgotten");
    }

    #[test]
    fn what_a_run_wrote_is_told_of_its_own_end_alone() {
        let none = json!({});
        let at = |restarts, state: &Value| pod("a", restarts, state, &none, false);
        let crashed = || {
            let mut runs = Runs::default();
            runs.saw(&at(0, &running()), Some(1), now());
            runs.saw(&at(0, &ended()), Some(1), now());
            runs.wrote("No space left on device".to_owned());
            assert!(runs.log_tail().is_some());
            runs
        };
        let mut runs = crashed();
        runs.saw(&at(1, &running()), Some(1), now());
        assert!(runs.log_tail().is_some(), "it is the last that ended");
        runs.saw(&at(1, &ended()), Some(1), now());
        assert_eq!(runs.log_tail(), None, "another has, whose log may not be read");
        let mut runs = crashed();
        runs.forget();
        assert_eq!(runs.log_tail(), None, "it is another ask");
        let mut runs = crashed();
        runs.lost(&at(1, &running()), Some(1), now());
        assert_eq!(runs.log_tail(), None, "the pod was evicted");
    }

    #[test]
    fn a_pod_that_goes_unasked_ended_by_itself_and_one_that_was_asked_to_did_not() {
        let mut evicted = pod("a", 0, &running(), &json!({}), true);
        let mut runs = Runs::default();
        runs.saw(&evicted, Some(1), now());
        evicted.status.as_mut().unwrap().phase = Some("Failed".to_owned());
        runs.saw(&evicted, Some(1), now());
        runs.lost(&evicted, Some(1), now());
        assert_eq!(runs.ended_by_itself(now()).0, 1);

        let asked = pod("b", 0, &running(), &json!({}), true);
        for (wanted, ask) in [(Some(1), true), (Some(2), false), (None, false)] {
            let mut runs = Runs::default();
            runs.saw(&asked, Some(1), now());
            if ask {
                runs.asked(&asked);
            }
            runs.lost(&asked, wanted, now());
            assert_eq!(runs.ended_by_itself(now()).0, 0, "{wanted:?}");
        }
    }

    #[test]
    fn an_event_tells_of_a_start_until_the_status_does() {
        let none = json!({});
        let creating = json!({ "waiting": { "reason": "ContainerCreating" } });
        let at: Timestamp = "2026-01-01T00:09:10Z".parse().unwrap();
        let starting = pod("a", 0, &creating, &none, false);
        let mut runs = Runs::default();
        assert_eq!(runs.saw(&starting, Some(1), now()), []);
        assert!(runs.instance(&starting).is_none());
        assert_eq!(runs.started(&starting, at), ask("a").pop());
        assert_eq!(runs.started(&starting, at), None, "it is asked already");
        assert!(runs.instance(&starting).is_none(), "its agent has not answered yet");
        assert_eq!(runs.starting(&starting).as_deref(), Some("a"), "another replica may know more");
        assert_eq!(runs.answered("a", AgentSeen::ShellStarted, None), (true, true));
        let fact = runs.instance(&starting).unwrap();
        assert_eq!((fact.id.as_str(), fact.started_at, fact.restart_count, fact.env_revision), ("a", at, 1, 4));
        assert!(runs.instance(&pod("b", 0, &creating, &none, false)).is_none(), "another pod has not started");
        // Something else of the pod has changed.
        assert_eq!(runs.saw(&starting, Some(1), now()), []);
        assert_eq!(runs.agent("a"), AgentSeen::ShellStarted);
        // The status says the same: it is the same run, which nobody asks again.
        let running = pod("a", 0, &running(), &none, false);
        assert_eq!(runs.saw(&running, Some(1), now()), []);
        assert_eq!(runs.instance(&running), Some(fact));
        assert_eq!(runs.agent("a"), AgentSeen::ShellStarted);
        assert!(!runs.not_early("a") && runs.agent("a") == AgentSeen::ShellStarted, "the status counts by now");
        // The event comes late.
        let mut runs = Runs::default();
        assert_eq!(runs.saw(&running, Some(1), now()), ask("a"));
        assert_eq!(runs.started(&running, at), None);
    }

    #[test]
    fn what_an_event_told_ends_where_the_status_says_otherwise_or_nothing() {
        let none = json!({});
        let starting = pod("a", 0, &json!({ "waiting": { "reason": "ContainerCreating" } }), &none, false);
        let begun = || {
            let mut runs = Runs::default();
            assert_eq!(runs.started(&starting, now()), ask("a").pop());
            runs
        };
        let mut going = starting.clone();
        going.metadata.deletion_timestamp =
            serde_json::from_value::<ObjectMeta>(json!({ "deletionTimestamp": NOW })).unwrap().deletion_timestamp;
        let crashed = pod("a", 0, &json!({ "waiting": { "reason": "CrashLoopBackOff" } }), &ended(), false);
        for next in [pod("a", 0, &ended(), &none, false), crashed, going] {
            let mut runs = begun();
            runs.saw(&next, Some(1), now());
            assert!(runs.instance(&next).is_none() && runs.instance(&starting).is_none(), "{next:?}");
        }
        let mut runs = begun();
        runs.lost(&starting, Some(1), now());
        assert!(runs.instance(&starting).is_none());
        // No status has come: what was said of its start is taken back, and its status begins anew.
        let running = pod("a", 0, &running(), &none, false);
        let mut runs = begun();
        assert!(runs.not_early("a") && !runs.not_early("a") && runs.instance(&starting).is_none());
        assert!(!runs.is_early("a") && runs.starting(&starting).is_none() && runs.started(&starting, now()).is_none());
        assert_eq!(runs.answered("a", AgentSeen::ShellStarted, None), (false, false));
        assert_eq!(runs.saw(&running, Some(1), now()), ask("a"));
        // It may not be asked by a port-forward.
        let mut runs = Runs::default();
        assert_eq!(runs.started(&starting, now()), ask("a").pop());
        let refused = Cause::new(model::CauseCode::PermissionMissing, "It may not.", &["Give it."]);
        assert_eq!(runs.answered("a", AgentSeen::Silent, Some(refused)), (false, true));
        assert!(runs.refused("a").is_none() && runs.instance(&starting).is_none());
        assert_eq!(runs.saw(&running, Some(1), now()), ask("a"));
    }

    #[test]
    fn the_agents_own_answer_counts_at_a_start_and_the_kubelets_word_afterwards() {
        let mut runs = Runs::default();
        let at = |ready| pod("a", 0, &running(), &json!({}), ready);
        assert_eq!(runs.saw(&at(false), Some(1), now()), ask("a"));
        assert_eq!(runs.answered("a", AgentSeen::ShellStarted, None), (true, true));
        assert_eq!(runs.saw(&at(false), Some(1), now()), [], "the kubelet is late, and it is asked by nobody");
        assert_eq!(runs.agent("a"), AgentSeen::ShellStarted);
        assert_eq!(runs.saw(&at(true), Some(1), now()), []);
        assert_eq!(runs.saw(&at(false), Some(1), now()), ask("a"), "it was ready and is not: ask it");
        assert_eq!(runs.agent("a"), AgentSeen::Silent);
        assert_eq!(runs.saw(&at(true), Some(1), now()), [], "somebody is asking already");
        assert_eq!(runs.saw(&at(false), Some(1), now()), []);
        assert_eq!(runs.answered("a", AgentSeen::Silent, None), (true, false));
        assert_eq!(runs.answered("b", AgentSeen::ShellStarted, None), (false, false), "another run");
        assert_eq!(runs.agent("b"), AgentSeen::Silent);
        let refused = || Some(Cause::new(model::CauseCode::PermissionMissing, "It may not.", &["Give it."]));
        assert_eq!(runs.answered("a", AgentSeen::Silent, refused()), (true, true), "why is news");
        assert_eq!(runs.answered("a", AgentSeen::Silent, refused()), (true, false));
        assert_eq!((runs.refused("a"), runs.refused("b")), (refused().as_ref(), None));
        runs.answered("a", AgentSeen::ShellStarted, None);
        assert_eq!(runs.refused("a"), None);
    }

    #[test]
    fn an_agent_that_the_kubelet_finds_ready_is_taken_for_started_until_it_says_otherwise() {
        let mut runs = Runs::default();
        let at = |ready| pod("a", 0, &running(), &json!({}), ready);
        assert_eq!(runs.saw(&at(true), Some(1), now()), ask("a"));
        assert_eq!(runs.agent("a"), AgentSeen::ShellStarted, "another replica has started it");
        assert_eq!(runs.answered("a", AgentSeen::Silent, None), (true, false));
        assert_eq!(runs.agent("a"), AgentSeen::ShellStarted, "the kubelet hears it");
        assert_eq!(runs.answered("a", AgentSeen::Answering, None), (true, true), "readiness asks for no shell");
        assert_eq!(runs.agent("a"), AgentSeen::Answering);
        let refused = Cause::new(model::CauseCode::PermissionMissing, "It may not.", &["Give it."]);
        assert_eq!(runs.answered("a", AgentSeen::Silent, Some(refused.clone())), (true, true));
        assert_eq!((runs.agent("a"), runs.refused("a")), (AgentSeen::Silent, Some(&refused)));
        assert_eq!(runs.answered("a", AgentSeen::ShellStarted, None), (true, true));
        assert_eq!(runs.saw(&at(false), Some(1), now()), ask("a"));
        assert_eq!(runs.agent("a"), AgentSeen::Silent);
    }

    #[test]
    fn a_pod_that_is_asked_to_end_is_no_run() {
        let mut going = pod("a", 0, &running(), &json!({}), true);
        going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
        assert_eq!(instance(&going), None);
    }
}
