//! What docs/kubernetes.md says of trouble is what the doctor and the causes say: each name in the last column of
//! its table is a check or a cause.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use model::CauseCode;

const DOCTOR: [&str; 5] = [
    include_str!("../src/doctor/mod.rs"),
    include_str!("../src/doctor/permissions.rs"),
    include_str!("../src/doctor/probes.rs"),
    include_str!("../src/doctor/project.rs"),
    include_str!("../src/doctor/server.rs"),
];

fn is_cause(name: &str) -> bool {
    serde_json::from_value::<CauseCode>(name.into()).is_ok()
}

fn is_check(name: &str) -> bool {
    // A permission's check is named with what it is for: `permission deployments`.
    let singular = name.trim_end_matches('s');
    let said = |text: &str| DOCTOR.iter().any(|source| source.contains(text));
    said(&format!("\"{name}\"")) || (name == "permissions" && said(&format!("\"{singular} {{")))
}

#[test]
fn every_line_of_the_troubleshooting_page_is_said_by_the_doctor_or_a_cause() {
    let page = include_str!("../../docs/kubernetes.md");
    let table = page.split("## When something is wrong").nth(1).unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(lines.len() > 15, "the table is there");
    for line in lines {
        let called = line.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<&str> = called.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{line}");
        for name in names {
            assert!(is_cause(name) || is_check(name), "nobody says `{name}`: {line}");
        }
    }
}
