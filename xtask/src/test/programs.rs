//! The test programs of the crates, on this machine and on a cluster.

use super::{
    Run,
    count::{Count, cargo_summary, ended, program_count},
};
use crate::{
    build::{Built, NATIVE, UNOPTIMISED},
    cluster::{self, Found},
    postgres, setup,
    shell::{self, Cmd, cargo, say},
};
use anyhow::{Result, bail};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Unit and integration tests, with a real PostgreSQL. A test that lacks something here fails, and does
/// not pass over it: set-up has installed what they need.
pub(super) fn on_this_machine(run: &mut Run<'_>) -> Result<Count> {
    setup::for_unit()?;
    // Most tests need no build: they run whatever became of it.
    let earlier = run.built;
    let mut count = match run.built() {
        Ok(_) => Count::default(),
        Err(_) if earlier == Some(false) => Count::default(),
        Err(error) => Count::of("unit", Err(error)),
    };
    let programs = test_programs(None)?;
    let server = postgres::Server::start()?;
    let tell = |command: Cmd| {
        let command = Built::places().tell(command).env("FSA_TEST_DATABASE_URL", server.url()).env("FSA_REQUIRE", "1");
        // A server that is not optimised runs within a test's own thread: its futures take more than the usual 2 MiB.
        let command = command.env("RUST_MIN_STACK", (16 << 20).to_string()).env("FSA_SCHEMATHESIS", setup::schemathesis());
        // Each property as often as a fuzzer would in the first minutes: 256 times is usual.
        if run.long { command.env("PROPTEST_CASES", "20000") } else { command }
    };
    count.add(run_programs(programs.iter().map(|program| (program, None)).collect(), run, |program| tell(Cmd::new(program)))?);
    let mut args = vec!["test", "--doc", "--no-fail-fast"];
    args.extend(NATIVE);
    args.extend(UNOPTIMISED);
    let status = tell(cargo(&args)).watch(|line| count.add(cargo_summary(line).unwrap_or_default()))?;
    Ok(ended(count, status.success()))
}

/// The crate `kubernetes` on a real cluster: ours, which is brought up and, unless it was up before, taken down
/// again; or the one that `KUBECONFIG` names. Where there is neither, one is skipped, with the reason.
pub(super) fn on_a_cluster(run: &mut Run<'_>) -> Result<Count> {
    match cluster::find() {
        Found::None(reason) => {
            say(format!("skipped: {reason}"));
            Ok(Count { skipped: 1, ..Count::default() })
        }
        Found::Named(kubeconfig) => {
            say(format!("Using the cluster that KUBECONFIG names: {}", kubeconfig.display()));
            let programs = test_programs(Some("kubernetes"))?;
            // Somebody's: what it lacks, or has of its own, is passed over with the reason.
            let namespace = format!("fsa-test-{}", std::process::id());
            let count = run_programs(of_this_run(&programs, run), run, |program| {
                let program = Cmd::new(program).env("FSA_TEST_KUBECONFIG", &kubeconfig).env("KUBECONFIG", &kubeconfig);
                program.env("FSA_TEST_NAMESPACE", &namespace).env("FSA_REQUIRE_CLUSTER", "0")
            });
            leave_namespace(&namespace, &kubeconfig);
            count
        }
        Found::Ours => {
            // Before it runs: compiling leaves it no time.
            let programs = test_programs(Some("kubernetes"))?;
            run.cluster()?;
            run_programs(of_this_run(&programs, run), run, |program| {
                cluster::tell(cluster::program(program)).env("FSA_REQUIRE_CLUSTER", "1")
            })
        }
    }
}

/// Nothing of the tests stays in somebody's cluster.
fn leave_namespace(namespace: &str, kubeconfig: &Path) {
    let delete = ["delete", "namespace", namespace, "--ignore-not-found", "--wait=false"];
    if !shell::has("kubectl") || Cmd::new("kubectl").args(delete).env("KUBECONFIG", kubeconfig).run().is_err() {
        say(format!("The namespace {namespace} of the tests is left in the cluster: kubectl delete namespace {namespace}"));
    }
}

/// A test program of a crate, and the folder that cargo would run it in.
struct TestProgram {
    program: PathBuf,
    folder: PathBuf,
}

impl TestProgram {
    /// `chart` of `…/deps/chart-d6b9a1222ebd3bd6`.
    fn name(&self) -> &str {
        let file = self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        file.rsplit_once('-').map_or(file, |(name, _)| name)
    }
}

/// Builds every test, and answers those of a crate, or of all.
fn test_programs(package: Option<&str>) -> Result<Vec<TestProgram>> {
    let mut args = vec!["test", "--no-run", "--message-format=json-render-diagnostics"];
    args.extend(NATIVE);
    args.extend(UNOPTIMISED);
    let folder = package.map(|package| shell::root().join(package));
    let messages = cargo(&args).read()?;
    let of_it = |test: &TestProgram| folder.as_ref().is_none_or(|folder| test.folder == *folder);
    let programs: Vec<_> = messages.lines().filter_map(test_program).filter(of_it).collect();
    if programs.is_empty() {
        bail!("cargo has built no test of {}", package.unwrap_or("any crate"));
    }
    Ok(programs)
}

/// The program that a message of cargo's is about, if it is a test's.
fn test_program(message: &str) -> Option<TestProgram> {
    let message: Value = serde_json::from_str(message).ok()?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let program = message["executable"].as_str().filter(|_| is_test)?;
    Some(TestProgram { program: program.into(), folder: folder.to_owned() })
}

/// Of the tests with a real cluster, by their programs, what every run has: the contract, six failures as they
/// happen, what is foreign and what is changed by hand, a database of either kind, what policies mean, and the chart.
const EVERY_RUN: [(&str, &[&str]); 7] = [
    (
        "database",
        &[
            "statefulset::the_url_connects_from_a_pod_of_the_project",
            "statefulset::a_server_that_no_node_has_room_for_is_told_of_with_what_there_is",
            "statefulset::a_missing_image_and_a_missing_class_are_said",
            "kubeblocks::one_that_was_stopped_is_started_with_its_data",
            "manifests::a_real_apiserver_accepts_all_of_a_stateful_set",
            "manifests::a_real_apiserver_accepts_all_of_v1",
            "manifests::a_real_apiserver_accepts_all_of_v1alpha1",
        ],
    ),
    (
        "cluster",
        &[
            "apiserver::a_create_asks_little_and_an_unchanged_pass_nothing",
            "failures::an_ingress_class_that_is_missing_is_told_of_beside_a_sandbox_that_runs",
            "failures::an_image_that_is_not_there_is_told_of",
            "failures::a_sandbox_that_ends_again_and_again_is_told_of_with_its_last_words",
            "failures::a_process_that_is_killed_for_want_of_memory_is_told_of_while_the_sandbox_runs",
            "others::what_is_foreign_is_neither_adopted_nor_deleted",
            "others::what_is_deleted_or_changed_by_hand_is_mended",
            "apiserver::a_watch_that_the_apiserver_has_forgotten_begins_with_a_list",
        ],
    ),
    ("contract", &["it_keeps_the_contract"]),
    ("doctor", &["a_cluster_that_is_well_is_found_well"]),
    ("manifests", &["a_real_apiserver_takes_every_object"]),
    // Of seconds, by programs that are built with our cluster: here they may not be missing.
    ("policies", &["who_reaches_whom"]),
    (
        "chart",
        &[
            "the_chart_is_in_order",
            "objects_are_as_they_were",
            "what_is_wrong_is_refused",
            "a_server_for_projects_databases_is_given_by_a_secret",
        ],
    ),
];

/// Of the tests with a real cluster, those of this run: all, or by program what every run has.
fn of_this_run<'a>(programs: &'a [TestProgram], run: &Run<'_>) -> Vec<(&'a TestProgram, Option<&'static [&'static str]>)> {
    let of_every_run =
        |program: &TestProgram| EVERY_RUN.iter().find(|(name, _)| *name == program.name()).map(|(_, tests)| *tests);
    let all = programs.iter().map(|program| (program, if run.named { None } else { of_every_run(program) }));
    all.filter(|(_, tests)| run.named || tests.is_some()).collect()
}

/// How many test programs run at a time: they wait for pods, databases and processes half of the time.
const SIDE_BY_SIDE: usize = 3;
/// What takes longest begins first.
const LONGEST: [&str; 10] =
    ["http", "contract", "database", "cluster", "adoption", "load", "engine", "store_postgres", "chart", "causes"];

/// Runs them side by side, all of each or the tests that are named; what one prints is shown as a whole, when it has ended.
fn run_programs(
    mut waiting: Vec<(&TestProgram, Option<&'static [&'static str]>)>,
    run: &Run<'_>,
    start: impl Fn(&Path) -> Cmd + Sync,
) -> Result<Count> {
    // The last is taken first.
    waiting.sort_by_key(|(program, _)| {
        std::cmp::Reverse(LONGEST.iter().position(|name| *name == program.name()).unwrap_or(LONGEST.len()))
    });
    let waiting = Mutex::new(waiting);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let (long, args) = (run.long, run.args);
    let one = |test: &TestProgram, tests: Option<&[&str]>| -> Result<(Count, String)> {
        let TestProgram { program, folder } = test;
        let mut command = start(program).args(args).dir(folder).env("CARGO_MANIFEST_DIR", folder);
        if let Some(tests) = tests {
            command = command.args(["--exact"]).args(tests);
        }
        command = command.env("FSA_REQUIRE", "1");
        if test.name() == LONGEST[0] {
            // Most of its tests wait, for a second that something lasts, or for a minute of another program's questions.
            command = command.env("RUST_TEST_THREADS", "4");
        }
        if long {
            command = command.env("FSA_LONG", "1");
        }
        let (status, printed) = command.whole()?;
        Ok((ended(program_count(&printed), status.success()), printed))
    };
    let worker = || -> Result<Count> {
        let mut count = Count::default();
        while let Some((program, tests)) = next() {
            let begun = Instant::now();
            let (own, printed) = one(program, tests)?;
            say(format!("{}, {:.1} s\n{}", program.name(), begun.elapsed().as_secs_f64(), printed.trim_end()));
            count.add(own);
        }
        Ok(count)
    };
    let counts: Vec<Result<Count>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("what runs the tests has panicked"))).collect()
    });
    let mut count = Count::default();
    for own in counts {
        count.add(own?);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_found_among_cargo_s_messages() {
        let message = |test: bool, folder: &str, executable: Value| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": format!("{folder}/Cargo.toml"),
                "profile": {"test": test}, "executable": executable,
            })
            .to_string()
        };
        let found = |line: &str| test_program(line).map(|found| (found.program, found.folder));
        assert_eq!(found(&message(true, "/r/kubernetes", "/t/a-1".into())), Some(("/t/a-1".into(), "/r/kubernetes".into())));
        assert_eq!(found(&message(false, "/r/kubernetes", "/t/a".into())), None);
        assert_eq!(found(&message(true, "/r/kubernetes", Value::Null)), None);
        assert_eq!(found("   Compiling kubernetes"), None);
    }

    /// A name that is no test's would pass, and be missed by nobody.
    #[test]
    fn what_every_run_has_is_there() {
        for (program, tests) in EVERY_RUN {
            for test in tests {
                let (file, name) = match test.split_once("::") {
                    Some((module, name)) => (format!("{program}/{module}.rs"), name),
                    None => (format!("{program}.rs"), *test),
                };
                let path = shell::root().join("kubernetes/tests").join(&file);
                let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert!(text.contains(&format!("fn {name}()")), "{file} has no test {name}");
            }
        }
    }
}
