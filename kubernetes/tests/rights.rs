//! The doctor's table of permissions, the chart's Role, docs/operations.md and docs/kubernetes.md are of the same rights.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kubernetes::doctor::permissions::{Need, PERMISSIONS};
use std::{collections::BTreeSet, fs, path::Path};

fn read(file: &str) -> String {
    fs::read_to_string(Path::new("..").join(file)).unwrap()
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

/// The table of docs/kubernetes.md, row by row.
#[test]
fn the_page_tells_of_each_right_and_why() {
    let page = read("docs/kubernetes.md");
    let section = page.split("## Rights").nth(1).unwrap().split("\n## ").next().unwrap();
    let written: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let needed = |need| match need {
        Need::Always => "always",
        Need::Ingress => "with `--ingress-domain`",
        Need::StatefulSet => "databases are StatefulSets",
        Need::KubeBlocks => "databases are of KubeBlocks",
        Need::KubeBlocksAlpha => "KubeBlocks is of before 1.0",
        Need::Helpful => "helpful",
    };
    let asked: Vec<String> = PERMISSIONS
        .iter()
        .map(|permission| {
            let dot = if permission.group.is_empty() { "" } else { "." };
            format!(
                "| `{}{dot}{}` | {} | {}{} | {} |",
                permission.resource,
                permission.group,
                permission.verbs.join(", "),
                needed(permission.need),
                if permission.namespaced { "" } else { ", of the whole cluster" },
                permission.why
            )
        })
        .collect();
    assert_eq!(written, asked, "as it should be:\n{}", asked.join("\n"));
}
