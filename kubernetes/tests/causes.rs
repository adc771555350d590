//! Each failure of the list, as a real cluster showed it (tests/recorded, made by tests/record.sh), is told as
//! what it was.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, PersistentVolumeClaim, Pod},
    networking::v1::Ingress,
};
use kubernetes::causes::{self, Facts, Whose};
use model::{Cause, CauseCode, ResourceName, Timestamp};
use serde::Deserialize;
use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf, sync::Arc};

/// What `record.sh` writes of the objects of one name.
#[derive(Deserialize)]
struct Recorded {
    name: ResourceName,
    now: Timestamp,
    deployment: Option<Deployment>,
    pods: Vec<Arc<Pod>>,
    volume: Option<PersistentVolumeClaim>,
    ingresses: Vec<Arc<Ingress>>,
    events: Vec<Arc<Event>>,
    log: Option<String>,
}

/// What `record.sh` writes of an answer.
#[derive(Deserialize)]
struct Answered {
    answer: kube::core::Status,
}

fn folder() -> PathBuf {
    PathBuf::from("tests/recorded")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

impl Recorded {
    fn of(name: &str) -> Self {
        serde_json::from_str(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            name: &self.name,
            whose: Whose::Sandbox,
            deployment: self.deployment.as_ref(),
            pods: &self.pods,
            volume: self.volume.as_ref(),
            ingresses: &self.ingresses,
            events: &self.events,
            node_ready: None,
            rooms: None,
            ingress_class_present: None,
            log_tail: self.log.as_deref(),
            now: self.now,
        }
    }
}

fn cause(name: &str) -> Option<Cause> {
    let recorded = Recorded::of(name);
    let mut facts = recorded.facts();
    // What the index knows beside the sandbox's own objects.
    if name == "ingress-class-missing" {
        facts.ingress_class_present = Some(false);
    }
    causes::cause(&facts)
}

/// Every failure that was recorded as objects, and what it is.
const OBJECTS: &[(&str, CauseCode)] = &[
    ("unschedulable-memory", CauseCode::Unschedulable),
    ("unschedulable-cpu", CauseCode::Unschedulable),
    ("node-selector", CauseCode::NodeUnsuitable),
    ("node-taint", CauseCode::NodeUnsuitable),
    ("node-lost", CauseCode::NodeLost),
    ("image-not-found", CauseCode::ImageNotFound),
    ("image-refused", CauseCode::ImageRefused),
    ("image-busy", CauseCode::ImageBackOff),
    ("image-unreachable", CauseCode::ImageBackOff),
    ("image-slow", CauseCode::ImageSlow),
    ("image-name-invalid", CauseCode::ImageNameInvalid),
    ("image-absent", CauseCode::ImageAbsent),
    ("image-root", CauseCode::ImageNeedsRoot),
    ("image-root-log", CauseCode::ImageNeedsRoot),
    ("init-failed", CauseCode::InitFailed),
    ("init-image", CauseCode::ImageNotFound),
    ("secret-missing", CauseCode::ConfigMissing),
    ("key-missing", CauseCode::ConfigMissing),
    ("mount-missing", CauseCode::ConfigMissing),
    ("mount-failed", CauseCode::MountFailed),
    ("command-missing", CauseCode::ContainerRefused),
    ("agent-missing", CauseCode::AgentMissing),
    ("command-refused", CauseCode::ImageNeedsRoot),
    ("path-missing", CauseCode::ContainerRefused),
    ("crash-loop", CauseCode::CrashLoop),
    ("ended", CauseCode::EndedUnexpectedly),
    ("ended-by-signal", CauseCode::EndedUnexpectedly),
    ("oom", CauseCode::OutOfMemory),
    ("oom-lately", CauseCode::OutOfMemory),
    ("disk-full", CauseCode::DiskFull),
    ("agent-silent", CauseCode::AgentSilent),
    ("evicted-disk", CauseCode::Evicted),
    ("service-account-missing", CauseCode::ServiceAccountMissing),
    ("quota", CauseCode::QuotaExceeded),
    ("quota-unsaid", CauseCode::QuotaExceeded),
    ("limit-range", CauseCode::LimitRangeExceeded),
    ("pod-security", CauseCode::AdmissionRefused),
    ("admission-policy", CauseCode::AdmissionRefused),
    ("webhook-silent", CauseCode::OrchestratorBusy),
    ("class-missing", CauseCode::StorageClassMissing),
    ("provisioner-silent", CauseCode::VolumePending),
    ("provisioner-fails", CauseCode::VolumePending),
    ("volume-lost", CauseCode::VolumeLost),
    ("volume-elsewhere", CauseCode::NodeUnsuitable),
    ("ingress-class-missing", CauseCode::IngressClassMissing),
];

/// Every answer that was recorded, and what it is.
const ANSWERS: &[(&str, CauseCode)] = &[
    ("answer-quota", CauseCode::QuotaExceeded),
    ("answer-limit-range", CauseCode::LimitRangeExceeded),
    ("answer-pod-security", CauseCode::AdmissionRefused),
    ("answer-namespace-missing", CauseCode::NamespaceMissing),
    ("answer-terminating", CauseCode::NamespaceMissing),
    ("answer-permission", CauseCode::PermissionMissing),
    ("answer-permission-core", CauseCode::PermissionMissing),
    ("answer-unauthorized", CauseCode::CredentialsRefused),
    ("answer-exists", CauseCode::NameTaken),
    ("answer-conflict", CauseCode::OrchestratorBusy),
    ("answer-stale", CauseCode::OrchestratorBusy),
    ("answer-invalid", CauseCode::ObjectRefused),
    ("answer-unknown-field", CauseCode::ObjectRefused),
    ("answer-unknown-kind", CauseCode::ObjectRefused),
    ("answer-not-found", CauseCode::Unexpected),
    ("answer-webhook", CauseCode::OrchestratorBusy),
];

/// A cause as a person sees it.
fn shown(name: &str, cause: &Cause) -> String {
    let mut text =
        format!("{name}: {}{}\n  {}\n", cause.code.as_str(), if cause.code.blocks() { " (blocks)" } else { "" }, cause.message);
    for step in &cause.next_steps {
        let _ = writeln!(text, "  - {step}");
    }
    text
}

/// One plain sentence and a way out, with nothing left out of a text that was not understood.
fn is_told_well(name: &str, cause: &Cause) {
    let message = &cause.message;
    assert!(message.ends_with('.') && message.starts_with(|c: char| c.is_uppercase() || c == '`'), "{name}: {message}");
    for hole in ["``", "  ", " .", " ,", "()", "( ", " )", ".."] {
        assert!(!message.contains(hole), "{name}: `{hole}` in {message}");
    }
    assert!(!cause.next_steps.is_empty(), "{name}: no next step");
}

#[test]
fn every_recorded_failure_is_told_as_what_it_was() {
    let mut all = String::new();
    for (name, code) in OBJECTS {
        let cause = cause(name).unwrap_or_else(|| panic!("{name}: nothing is told"));
        assert_eq!(cause.code, *code, "{name}: {cause:?}");
        is_told_well(name, &cause);
        all.push_str(&shown(name, &cause));
    }
    insta::assert_snapshot!("objects", all);
}

#[test]
fn every_recorded_answer_is_told_as_what_it_was() {
    let mut all = String::new();
    for (name, code) in ANSWERS {
        let answered: Answered = serde_json::from_str(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let status = answered.answer.code;
        let cause = causes::of_error(&kube::Error::Api(Box::new(answered.answer)), "make the sandbox");
        assert_eq!(cause.kubernetes_status, Some(status), "{name}");
        assert_eq!(cause.code, *code, "{name}: {cause:?}");
        is_told_well(name, &cause);
        all.push_str(&shown(name, &cause));
    }
    insta::assert_snapshot!("answers", all);
}

#[test]
fn every_file_that_was_recorded_is_told_of() {
    let known: BTreeSet<&str> = OBJECTS.iter().chain(ANSWERS).map(|(name, _)| *name).chain(["well"]).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(known.contains(name), "{name} is recorded, and no test is about it");
    }
    let codes: BTreeSet<String> = OBJECTS.iter().chain(ANSWERS).map(|(_, code)| code.as_str()).collect();
    assert!(codes.len() >= 25, "{} causes of real failures: {codes:?}", codes.len());
}

#[test]
fn a_sandbox_that_is_well_has_no_cause() {
    assert_eq!(cause("well"), None);
    let recorded = Recorded::of("well");
    let lost = Facts { node_ready: Some(false), ..recorded.facts() };
    assert_eq!(causes::cause(&lost).unwrap().code, CauseCode::NodeLost, "until its node is");
}

#[test]
fn a_home_folder_that_is_being_deleted_is_told_of_beside_a_sandbox_that_runs() {
    let recorded = Recorded::of("well");
    let volume: PersistentVolumeClaim = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "volume-x", "deletionTimestamp": "2026-11-28T13:28:05Z" }, "status": { "phase": "Bound" }
    }))
    .unwrap();
    let cause = causes::cause(&Facts { volume: Some(&volume), ..recorded.facts() }).unwrap();
    assert_eq!(cause.code, CauseCode::VolumeLeaving);
    assert!(cause.code.goes_with_running() && !cause.code.blocks());
    is_told_well("leaving", &cause);
    let stopped = causes::cause(&Facts { volume: Some(&volume), pods: &[], ..recorded.facts() });
    assert_eq!(stopped.unwrap().code, CauseCode::VolumeLeaving, "and of one that has no pod");
}

#[test]
fn a_crash_is_told_with_the_last_lines_of_its_log() {
    let cause = cause("crash-loop").unwrap();
    assert!(cause.detail.as_deref().is_some_and(|log| log.contains("Error: cannot find module app")), "{cause:?}");
    let recorded = Recorded::of("crash-loop");
    let silent = Facts { log_tail: None, ..recorded.facts() };
    assert_eq!(causes::cause(&silent).unwrap().code, CauseCode::CrashLoop, "without a log it is one too");
}

#[test]
fn the_sandboxs_own_log_says_nothing_of_the_failure_of_what_prepares_it() {
    let recorded = Recorded::of("init-failed");
    let cause = causes::cause(&Facts { log_tail: Some("of an earlier run"), ..recorded.facts() }).unwrap();
    assert_eq!(cause.code, CauseCode::InitFailed);
    assert!(!cause.detail.unwrap_or_default().contains("of an earlier run"));
}

#[test]
fn what_an_earlier_pod_suffered_is_not_told_of_its_healthy_successor() {
    let (well, bad) = (Recorded::of("well"), Recorded::of("evicted-disk"));
    let pods: Vec<_> = well.pods.iter().chain(&bad.pods).cloned().collect();
    let facts = Facts { pods: &pods, events: &bad.events, ..well.facts() };
    assert_eq!(causes::cause(&facts), None);
}
