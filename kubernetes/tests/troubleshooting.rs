//! What docs/kubernetes.md says of trouble is what the doctor and the causes say: each name in the last column of
//! its table is a check of the doctor's, or a cause that somebody tells, which the doctor says in its words: of what it sees
//! itself (`sandbox`, `database` and the like), or of the row (`state`). And each check and each such cause is in it.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use model::CauseCode;
use std::{collections::BTreeSet, fs, path::Path};

const DOCTOR: [&str; 6] = [
    include_str!("../src/doctor/apiserver.rs"),
    include_str!("../src/doctor/mod.rs"),
    include_str!("../src/doctor/permissions.rs"),
    include_str!("../src/doctor/probes.rs"),
    include_str!("../src/doctor/project.rs"),
    include_str!("../src/doctor/server.rs"),
];

fn is_cause(name: &str) -> bool {
    serde_json::from_value::<CauseCode>(name.into()).is_ok_and(|code| code.as_str() == name)
}

fn is_check(name: &str) -> bool {
    // A permission's check is named with what it is for: `permission deployments`.
    let singular = name.trim_end_matches('s');
    let said = |text: &str| DOCTOR.iter().any(|source| source.contains(text));
    said(&format!("\"{name}\"")) || (name == "permissions" && said(&format!("\"{singular} ")))
}

#[test]
fn every_line_of_the_troubleshooting_page_is_said_by_the_doctor_or_a_cause() {
    let page = include_str!("../../docs/kubernetes.md");
    let table = page.split("## When something is wrong").nth(1).unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(lines.len() > 15, "the table is there");
    let told = told();
    for line in lines {
        let called = line.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<&str> = called.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{line}");
        for name in names {
            assert!(told.contains(name) || is_check(name), "nobody says `{name}`: {line}");
        }
    }
    assert!(is_check("state") && is_check("sandbox"), "by which the doctor says causes");
}

/// What only tests are made of, or run on.
const OF_TESTS: [&str; 5] = ["tests.rs", "simulator", "contract", "contract.rs", "memory"];

/// The causes that a cluster's orchestrator and databases tell, and the reconciler: all that a row may have, but for clones'.
fn told() -> BTreeSet<String> {
    let mut all = Vec::new();
    sources(Path::new("src"), &mut all);
    sources(Path::new("../engine/src"), &mut all);
    let parts = all.iter().flat_map(|text| text.split("CauseCode::").skip(1));
    let names = parts.map(|part| kebab(part.split(|letter: char| !letter.is_alphanumeric()).next().unwrap()));
    names.filter(|name| is_cause(name)).collect()
}

/// The sources of a folder, without what only tests are.
fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if OF_TESTS.iter().any(|of_tests| entry.file_name() == *of_tests) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), into);
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            into.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
        }
    }
}

/// `ImageNotFound` as the API writes it: `image-not-found`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

#[test]
fn every_cause_and_every_check_is_on_the_troubleshooting_page() {
    let mut names = told();
    for text in DOCTOR.map(|text| text.split("#[cfg(test)]").next().unwrap()) {
        for before in [
            "Finding::new(",
            "Finding::ok(",
            "Finding::of_cause(",
            "let check = ",
            "let (check, why) = (",
            "let (check, name) = (",
        ] {
            for part in text.split(before).skip(1) {
                if let Some(name) = part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    assert!(names.len() > 60, "they are found: {names:?}");
    // That something is a fault of ours no symptom tells.
    names.remove("unexpected");
    let page = include_str!("../../docs/kubernetes.md");
    let table = page.split("## When something is wrong").nth(1).unwrap();
    let missing: Vec<_> = names.iter().filter(|name| !table.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "no line of the page tells of these: {missing:?}");
}
