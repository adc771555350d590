//! The doctor's table of permissions, the chart's Role and docs/operations.md are of the same rights.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kubernetes::doctor::permissions::PERMISSIONS;
use std::{collections::BTreeSet, fs, path::Path};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

/// `deployments.apps create`, of all rules, whichever values they depend on.
fn given() -> BTreeSet<String> {
    let role = read("deploy/chart/templates/role.yaml");
    let list = |line: &str, key: &str| -> Option<Vec<String>> {
        let inside =
            line.trim().trim_start_matches("- ").strip_prefix(key)?.trim().strip_prefix('[')?.strip_suffix(']')?.to_owned();
        Some(inside.split(", ").map(|item| item.trim_matches('"').to_owned()).collect())
    };
    let (mut groups, mut resources, mut given) = (Vec::new(), Vec::new(), BTreeSet::new());
    for line in role.lines() {
        groups = list(line, "apiGroups:").unwrap_or(groups);
        resources = list(line, "resources:").unwrap_or(resources);
        for verb in list(line, "verbs:").unwrap_or_default() {
            for (group, resource) in groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource))) {
                given.insert(format!("{resource}.{group} {verb}"));
            }
        }
    }
    given
}

#[test]
fn the_chart_gives_what_the_doctor_asks_for() {
    let given = given();
    assert!(given.len() > 80, "the Role is read wrong: {given:?}");
    let page = read("docs/operations.md");
    for permission in PERMISSIONS {
        for verb in permission.verbs {
            let right = format!("{}.{} {verb}", permission.resource, permission.group);
            assert!(given.contains(&right), "the chart does not give {right}");
        }
        assert!(
            page.contains(&format!("`{}`", permission.resource)),
            "docs/operations.md says nothing of {}",
            permission.resource
        );
    }
}
