//! Everything that must hold, part by part, and one line at the end that counts it.
//!
//! A part that fails stops no other. What several need, the build, is done once, and fails once.

use crate::{
    assets,
    build::{self, Built, NATIVE, UNOPTIMISED},
    cluster::{self, Found},
    fuzz, image, licenses, postgres, setup,
    shell::{self, Cmd, cargo, say},
    sqlx,
};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// What the browser's code may be at most as it is sent: 350 KB by brotli.
const WASM_LIMIT_BYTES: u64 = 350_000;

/// A part of the tests. The order is that of a run: cheap ones first, so that a slip is told early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Rust's format
    Fmt,
    /// What the dependencies are licensed under, and that there is one TLS provider
    Licenses,
    /// The build, and the size of the browser's code
    Wasm,
    /// Clippy for this machine and for the browser
    Clippy,
    /// TypeScript's types, of the terminal and of the journeys
    Types,
    /// The terminal's own tests, in Node
    Terminal,
    /// Every crate's tests, with a real PostgreSQL
    Unit,
    /// Whether .sqlx is that of the queries and the migrations
    Sqlx,
    /// Playwright on the release build, in Chromium
    Journeys,
    /// The tests of the crate `kubernetes`, with a real cluster
    Cluster,
    /// The journeys with sandboxes on a real cluster
    ClusterJourneys,
    /// libFuzzer on what reads the bytes of strangers, a minute each
    Fuzz,
}

/// Runs all parts, or those named, and prints the count as the last line of standard output; `false`
/// if anything failed. `args` are for the runner of the one part named.
pub fn run(only: &[Part], args: &[String]) -> Result<bool> {
    if !args.is_empty() && only.len() != 1 {
        bail!("Arguments after `--` are for the runner of one part: name it by --only.");
    }
    let wanted = |part: &Part| if only.is_empty() { part.is_usual() } else { only.contains(part) };
    let parts = Part::value_variants().iter().copied().filter(wanted);
    run_parts(parts, &mut Run { args, named: !only.is_empty(), ..Run::default() })
}

/// The long runs: what a test does under `FSA_LONG`, with ten thousand schedules and many kills.
pub fn prove() -> Result<bool> {
    run_parts(
        [Part::Unit, Part::Fuzz, Part::Journeys, Part::Cluster, Part::ClusterJourneys].into_iter(),
        &mut Run { long: true, named: true, ..Run::default() },
    )
}

fn run_parts(parts: impl Iterator<Item = Part>, run: &mut Run<'_>) -> Result<bool> {
    let begun = Instant::now();
    let parts: Vec<_> = parts.collect();
    if parts.iter().any(|part| part.wants_cluster()) {
        run.ahead = cluster::Ahead::begin();
    }
    let (total, lines) = one_by_one(parts.into_iter(), |part| part.run(run));
    run.leave_cluster();
    eprintln!("\n{}\n{:>58.1} s", lines.join("\n"), begun.elapsed().as_secs_f64());
    println!("{total}");
    Ok(total.holds())
}

/// What all parts came to together, and a line for each. One that fails is one failure, and the next is run.
fn one_by_one(parts: impl Iterator<Item = Part>, mut one: impl FnMut(Part) -> Result<Count>) -> (Count, Vec<String>) {
    let (mut total, mut lines) = (Count::default(), Vec::new());
    for part in parts {
        let name = part.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        say(format!("Testing: {name}"));
        let start = Instant::now();
        let count = one(part).unwrap_or_else(|error| {
            say(format!("{name} failed: {error:#}"));
            Count::FAILED
        });
        total.add(count);
        let Count { passed, failed, skipped } = count;
        let seconds = start.elapsed().as_secs_f64();
        lines.push(format!("{name:>16}  {passed:>5} passed {failed:>4} failed {skipped:>4} skipped  {seconds:>7.1} s"));
    }
    (total, lines)
}

/// What a part came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// The last line of a run, which programs read: `N passed, N failed, N skipped`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Count {
    const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// Whether nothing failed.
    fn holds(self) -> bool {
        self.failed == 0
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// One thing that was tried; what went wrong is said.
    fn of(what: &str, tried: Result<()>) -> Self {
        match tried {
            Ok(()) => Self::PASSED,
            Err(error) => {
                say(format!("{what}: {error:#}"));
                Self::FAILED
            }
        }
    }
}

impl Part {
    /// Whether it runs when no part is named.
    fn is_usual(self) -> bool {
        self != Self::Fuzz
    }

    fn wants_cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::ClusterJourneys)
    }

    fn run(self, run: &mut Run<'_>) -> Result<Count> {
        match self {
            Self::Fmt => cargo(&["fmt", "--all", "--check"]).run().map(|()| Count::PASSED),
            Self::Licenses => licenses::check().map(|()| Count::PASSED),
            Self::Wasm => wasm(run),
            Self::Clippy => clippy(),
            Self::Types => types(),
            Self::Terminal => terminal(run),
            Self::Unit => unit(run),
            Self::Sqlx => {
                setup::for_databases()?;
                sqlx::check().map(|()| Count::PASSED)
            }
            Self::Journeys => journeys(run),
            Self::Cluster => in_cluster(run),
            Self::ClusterJourneys => cluster_journeys(run),
            Self::Fuzz => fuzz::run(&[], fuzz::SECONDS).map(|(passed, failed)| Count { passed, failed, ..Count::default() }),
        }
    }
}

/// What parts share.
#[derive(Default)]
struct Run<'a> {
    /// The build was tried: it is there, or has been said to have failed.
    built: Option<bool>,
    /// Our cluster was brought up: whether it had been up before.
    cluster_was_up: Option<bool>,
    /// What it is made of, as it is built while other parts run.
    ahead: Option<cluster::Ahead>,
    long: bool,
    /// Its parts were asked for: those with a cluster run as a whole, and not what every run has time for.
    named: bool,
    args: &'a [String],
}

impl Run<'_> {
    /// Builds once.
    ///
    /// # Errors
    ///
    /// When this build failed or an earlier one did.
    fn built(&mut self) -> Result<Built> {
        match self.built {
            Some(true) => Ok(Built::places()),
            Some(false) => bail!("the build failed"),
            None => {
                let built = build::release();
                self.built = Some(built.is_ok());
                built.context("build the release")
            }
        }
    }

    /// Makes the images and brings our cluster up, once for all parts.
    fn cluster(&mut self) -> Result<()> {
        if self.cluster_was_up.is_some() {
            return Ok(());
        }
        if let Some(ahead) = self.ahead.take() {
            ahead.wait();
        }
        let was_up = cluster::is_up();
        image::make(&[])?;
        // Also when it does not come up as a whole: what has started is taken down.
        self.cluster_was_up = Some(was_up);
        cluster::up()
    }

    /// Our cluster is down afterwards if it was before.
    fn leave_cluster(&mut self) {
        if self.cluster_was_up.take() == Some(false)
            && let Err(error) = cluster::down(false)
        {
            say(format!("the cluster does not go down: {error:#}"));
        }
    }
}

/// The browser's code is built, and small.
fn wasm(run: &mut Run<'_>) -> Result<Count> {
    let site = run.built()?.site;
    let sizes = assets::sizes(&site)?;
    for size in &sizes {
        eprintln!("{:>12} {:>10}  {}", size.bytes, size.brotli_bytes, size.name);
    }
    let module = sizes.iter().find(|size| size.name == "frontend_bg.wasm").context("find the module in the manifest")?;
    if module.brotli_bytes > WASM_LIMIT_BYTES {
        bail!("the browser's code has {} bytes by brotli; at most {WASM_LIMIT_BYTES} are allowed", module.brotli_bytes);
    }
    Ok(Count::PASSED)
}

fn clippy() -> Result<Count> {
    setup::for_build()?;
    let deny = ["--", "-D", "warnings"];
    let mut native = vec!["clippy", "--all-targets"];
    native.extend(NATIVE);
    native.extend(deny);
    let mut count = Count::of("clippy for this machine", cargo(&native).run());
    let mut browser: Vec<&str> = setup::wasm_toolchain().into_iter().collect();
    browser.extend(["clippy", "-p", "frontend", "-p", "app", "--features", "app/hydrate"]);
    browser.extend(["--target", "wasm32-unknown-unknown", "--profile", "wasm-release"]);
    browser.extend(deny);
    count.add(Count::of("clippy for the browser", cargo(&browser).run()));
    Ok(count)
}

fn types() -> Result<Count> {
    setup::for_scripts()?;
    setup::npm(&shell::root().join("end2end"))?;
    let mut count = Count::default();
    for folder in ["frontend/js", "end2end"] {
        let check = Cmd::new("npm").args(["run", "--silent", "check"]).dir(&shell::root().join(folder));
        count.add(Count::of(folder, check.run()));
    }
    Ok(count)
}

fn terminal(run: &Run<'_>) -> Result<Count> {
    setup::for_scripts()?;
    let test = Cmd::new("node").args(["test.mjs", "--test-reporter=spec"]).args(run.args).dir(&shell::root().join("frontend/js"));
    let mut count = Count::default();
    let status = test.watch(|line| count.add(node_summary(line)))?;
    Ok(ended(count, status.success()))
}

/// Unit and integration tests, with a real PostgreSQL. A test that lacks something here fails, and does
/// not pass over it: set-up has installed what they need.
fn unit(run: &mut Run<'_>) -> Result<Count> {
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

/// Playwright, on the release build, in a real browser.
fn journeys(run: &mut Run<'_>) -> Result<Count> {
    setup::for_journeys()?;
    for_apps();
    let built = run.built()?;
    let command = Cmd::new("npx").args(PLAYWRIGHT).args(run.args);
    playwright(command, run, &built, "journeys.json")
}

/// Where they cannot be installed, the journeys that want one say so, and all others run.
fn for_apps() {
    if let Err(error) = setup::for_apps() {
        say(format!("the apps of the journeys cannot be installed: {error:#}"));
    }
}

const PLAYWRIGHT: [&str; 3] = ["--no-install", "playwright", "test"];

fn playwright(command: Cmd, run: &Run<'_>, built: &Built, report: &str) -> Result<Count> {
    let report = shell::target().join(report);
    let _ = fs::remove_file(&report);
    let mut command = journey_environment(command, built).env("FSA_JOURNEYS_REPORT", &report);
    if run.long {
        command = command.env("FSA_LONG", "1");
    }
    let done = command.run();
    let report = fs::read(&report).with_context(|| match &done {
        Err(error) => format!("{error:#}"),
        Ok(()) => "read the journeys' report".to_owned(),
    })?;
    Ok(ended(playwright_summary(&serde_json::from_slice(&report)?), done.is_ok()))
}

/// The files of journeys that make sandboxes, or do something in them. What of them is of one machine alone has a tag that says so.
const ON_CLUSTER: [&str; 25] = [
    "a-first",
    "b-terminal",
    "c-preview",
    "d-life",
    "e-claude",
    "f-kill",
    "g-pages",
    "h-bad-input",
    "i-isolation",
    "j-faults",
    "k-pages",
    "n-cluster",
    "o-activity",
    "o-files",
    "o-ingress",
    "p-replicas",
    "q-github",
    "q-preview-ports",
    "r-hot-reload",
    "s-sandboxes",
    "t-palette",
    "u-keyboard",
    "v-phone",
    "x-environment",
    "y-account",
];
/// Of these, what runs where it is not the long run: one of each kind.
const SHORT: &str = "six times seven|psql, without any|closing the tab and|web server on 3000|stop and start|restart applies|a new size|terminate keeps|\
                     a sandbox for a branch|delete asks|ANTHROPIC_API_KEY|typed for the first|kill -9 while|kills at random|told as it happens|dropped into a terminal|its cluster|by hand|an Ingress host|two replicas|picked from the list|\
                     doctor of the command line|cluster tells of|logs of a sandbox on a cluster|right that is missing|is asked little|a database whose image|\
                     a change is seen in the preview|without a pointer|the palette finds|a deleted project on a phone|variables are added|its password only when asked|lines for Prisma|\
                     files: dropped, downloaded|a preview is shared by a link|previews on ports";
/// Of these, what every run has.
const SHORTEST: &str = "six times seven|closing the tab and|web server on 3000|stop and start|delete asks|ANTHROPIC_API_KEY|kills at random|two replicas|\
                        the owner has application|doctor of the command line|vite: a change is seen";
/// Of these, what reaches pods by their addresses, or is reached by them.
const IN_ITS_NETWORK: [&str; 4] = ["e-claude", "o-ingress", "p-replicas", "q-github"];
/// The namespace of the journeys, and how many kills they have there.
const NAMESPACE: &str = "fsa-journeys";
const KILLS: &str = "3";

/// The journeys again, with sandboxes as pods; server and browser are in the cluster's network.
/// On a cluster that `KUBECONFIG` names they are beside it, and what needs its network is left out.
fn cluster_journeys(run: &mut Run<'_>) -> Result<Count> {
    let site = match cluster::find() {
        Found::None(reason) => {
            say(format!("skipped: {reason}"));
            return Ok(Count { skipped: 1, ..Count::default() });
        }
        Found::Named(kubeconfig) if !shell::has("kubectl") => {
            say(format!("skipped: kubectl is missing, which the journeys look with at the cluster of {}", kubeconfig.display()));
            return Ok(Count { skipped: 1, ..Count::default() });
        }
        Found::Named(kubeconfig) => {
            say(format!("Using the cluster that KUBECONFIG names: {}", kubeconfig.display()));
            Site { kubeconfig, namespace: format!("{NAMESPACE}-{}", std::process::id()), ours: false }
        }
        Found::Ours => Site::ours(),
    };
    setup::for_journeys()?;
    for_apps();
    if site.ours {
        setup::for_ingress()?;
    }
    let built = run.built()?;
    if site.ours {
        run.cluster()?;
    }
    cluster::namespace(&site.namespace, |args| site.program("kubectl").args(args))?;
    let count = journeys_on(&site, run, &built);
    if !site.ours {
        // It has been of these journeys alone.
        site.program("kubectl").args(["delete", "namespace", site.namespace.as_str(), "--wait=false"]).run()?;
    }
    count
}

/// Where journeys have their cluster.
struct Site {
    kubeconfig: PathBuf,
    namespace: String,
    /// Ours, whose network everything runs in.
    ours: bool,
}

impl Site {
    fn ours() -> Self {
        Self { kubeconfig: cluster::kubeconfig(), namespace: NAMESPACE.to_owned(), ours: true }
    }

    fn program(&self, program: &str) -> Cmd {
        if self.ours { cluster::program(Path::new(program)) } else { Cmd::new(program).env("KUBECONFIG", &self.kubeconfig) }
    }
}

fn journeys_on(site: &Site, run: &Run<'_>, built: &Built) -> Result<Count> {
    let mut wanted = run.args.to_vec();
    if wanted.is_empty() {
        // The long run has every journey that is not of one machine.
        if !run.long || !site.ours {
            let files = ON_CLUSTER.iter().filter(|file| site.ours || !IN_ITS_NETWORK.contains(file));
            wanted.extend(files.map(|file| (*file).to_owned()));
        }
        if !run.long {
            let titles = if run.named { SHORT } else { SHORTEST };
            wanted.extend(["-g", titles].map(str::to_owned));
        }
    }
    let mut command = on_cluster(site.program("npx").args(PLAYWRIGHT).args(wanted), site);
    if site.ours {
        command = cluster::tell(command);
    }
    if !run.long {
        command = command.env("FSA_KILLS", KILLS);
    }
    playwright(command, run, built, "journeys-cluster.json")
}

/// Tells journeys that sandboxes are pods of a cluster.
fn on_cluster(mut command: Cmd, site: &Site) -> Cmd {
    for (name, value) in [
        ("FSA_ORCHESTRATOR", "kubernetes"),
        ("FSA_NAMESPACE", site.namespace.as_str()),
        ("FSA_NODE_ADDRESS", cluster::NODE),
        ("FSA_IMAGE", "fsa.local/runtime:dev"),
        ("FSA_DATABASE_PROVIDER", "statefulset"),
        ("FSA_DATABASE_IMAGE", "fsa.local/postgres:dev"),
    ] {
        command = command.env(name, value);
    }
    command.env("FSA_KUBECONFIG", &site.kubeconfig)
}

/// The benchmarks on our cluster, which is down afterwards if it was before.
pub fn bench_on_cluster(args: &[String]) -> Result<()> {
    if let Some(lack) = cluster::lack() {
        bail!("{lack}");
    }
    setup::for_journeys()?;
    let mut run = Run::default();
    let built = run.built()?;
    let done = run.cluster().and_then(|()| {
        let site = Site::ours();
        cluster::namespace(&site.namespace, |args| site.program("kubectl").args(args))?;
        let driver = cluster::program(Path::new("node")).args(["bench/run.mjs"]).args(args);
        journey_environment(on_cluster(driver, &site), &built).run()
    });
    run.leave_cluster();
    done
}

/// The crate `kubernetes` on a real cluster: ours, which is brought up and, unless it was up before, taken down
/// again; or the one that `KUBECONFIG` names. Where there is neither, one is skipped, with the reason.
fn in_cluster(run: &mut Run<'_>) -> Result<Count> {
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
/// happen, what is foreign and what is changed by hand, and a database of either kind.
const EVERY_RUN: [(&str, &[&str]); 5] = [
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
const LONGEST: [&str; 8] = ["http", "database", "cluster", "chart", "contract", "causes", "engine", "isolation"];

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

/// What a test program says that it came to. A test that is left to the long runs passes, and counts as skipped.
fn program_count(printed: &str) -> Count {
    let mut count = Count::default();
    printed.lines().for_each(|line| count.add(cargo_summary(line).unwrap_or_default()));
    let left = printed.lines().filter(|line| line.contains("left to the long runs: ")).count() as u64;
    Count { passed: count.passed.saturating_sub(left), skipped: count.skipped + left, ..count }
}

/// What journeys and benchmarks are told.
pub fn journey_environment(command: Cmd, built: &Built) -> Cmd {
    let command = built.tell(command).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1").env("FSA_APPS", setup::apps());
    let command = command.dir(&shell::root().join("end2end"));
    match setup::chromium() {
        Some(chromium) => command.env("FSA_CHROMIUM", chromium),
        None => command,
    }
}

/// A runner that fails without a failed test (it did not compile, it crashed) is one failure.
fn ended(mut count: Count, success: bool) -> Count {
    if !success && count.failed == 0 {
        count.failed = 1;
    }
    count
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
fn cargo_summary(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        rest.split(['.', ';'])
            .find_map(|part| part.trim().strip_suffix(word))
            .and_then(|n| n.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    Some(Count { passed: number("passed"), failed: number("failed"), skipped: number("ignored") })
}

/// One of the lines `# pass 3`, `# fail 0`, `# cancelled 0`, `# skipped 1` at the end; on a terminal
/// with `ℹ`.
fn node_summary(line: &str) -> Count {
    let Some((word, number)) =
        line.strip_prefix(['#', 'ℹ']).and_then(|rest| rest.trim().split_once(' ')).and_then(|(w, n)| Some((w, n.parse().ok()?)))
    else {
        return Count::default();
    };
    match word {
        "pass" => Count { passed: number, ..Count::default() },
        "fail" | "cancelled" => Count { failed: number, ..Count::default() },
        "skipped" | "todo" => Count { skipped: number, ..Count::default() },
        _ => Count::default(),
    }
}

/// A journey that passed only at its second try failed.
fn playwright_summary(report: &Value) -> Count {
    let number = |key: &str| report["stats"][key].as_u64().unwrap_or(0);
    Count { passed: number("expected"), failed: number("unexpected") + number("flaky"), skipped: number("skipped") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_all_parts_and_one_that_fails_stops_none() {
        let parts = [Part::Fmt, Part::Licenses, Part::Unit];
        let (total, lines) = one_by_one(parts.into_iter(), |part| match part {
            Part::Licenses => bail!("nobody knows under which"),
            Part::Unit => Ok(Count { passed: 1200, failed: 0, skipped: 2 }),
            _ => Ok(Count::PASSED),
        });
        assert_eq!(total.to_string(), "1201 passed, 1 failed, 2 skipped");
        assert!(!total.holds(), "a part that fails fails the run");
        let named: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(named, ["fmt", "licenses", "unit"]);

        let (total, _) = one_by_one(parts.into_iter(), |_| Ok(Count { passed: 1, failed: 0, skipped: 1 }));
        assert_eq!(total.to_string(), "3 passed, 0 failed, 3 skipped");
        assert!(total.holds(), "what is skipped fails nothing");
        let (total, _) = one_by_one(parts.into_iter(), |_| Ok(Count { passed: 5, failed: 1, skipped: 0 }));
        assert_eq!((total.to_string().as_str(), total.holds()), ("15 passed, 3 failed, 0 skipped", false));
    }

    #[test]
    fn cargo_s_summary_is_read() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.30s";
        assert_eq!(cargo_summary(line), Some(Count { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(cargo_summary("running 3 tests"), None);
    }

    #[test]
    fn what_is_left_to_the_long_runs_counts_as_skipped() {
        let printed = "test a ... ok\nleft to the long runs: FSA_LONG is not set\ntest b ... ok\n\n\
                       test result: ok. 5 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.30s\n";
        assert_eq!(program_count(printed), Count { passed: 4, failed: 1, skipped: 2 });
    }

    #[test]
    fn node_s_summary_is_read() {
        let mut count = Count::default();
        for line in
            ["# a test called pass 7 x", "# tests 6", "# pass 3", "# fail 2", "ℹ cancelled 1", "# skipped 1", "# duration_ms 7.5"]
        {
            count.add(node_summary(line));
        }
        assert_eq!(count, Count { passed: 3, failed: 3, skipped: 1 });
    }

    #[test]
    fn a_flaky_journey_failed() {
        let report = serde_json::json!({"stats": {"expected": 4, "unexpected": 1, "flaky": 1, "skipped": 2}});
        assert_eq!(playwright_summary(&report), Count { passed: 4, failed: 2, skipped: 2 });
    }

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

    #[test]
    fn a_runner_that_fails_without_a_failed_test_is_a_failure() {
        assert_eq!(ended(Count { passed: 3, ..Count::default() }, false).failed, 1);
        assert_eq!(ended(Count { failed: 2, ..Count::default() }, false).failed, 2);
        assert_eq!(ended(Count::PASSED, true), Count::PASSED);
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
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert!(text.contains(&format!("fn {name}()")), "{file} has no test {name}");
            }
        }
        let journeys: String = files_of_journeys().into_iter().map(|(_, text)| text).collect();
        for title in SHORT.split('|').chain(SHORTEST.split('|')) {
            assert!(journeys.contains(title), "no journey is called “{title}”");
        }
    }

    /// A file that the list lacks would run on a cluster in the long runs alone.
    #[test]
    fn every_file_with_a_journey_that_is_not_of_one_machine_runs_on_a_cluster() {
        let journeys = files_of_journeys();
        for (name, text) in &journeys {
            let tests = text.lines().filter(|line| line.starts_with("test('") || line.starts_with("  test('"));
            let all_of_one_machine = tests.clone().all(|line| line.contains("ONE_MACHINE"));
            let listed = ON_CLUSTER.iter().any(|file| name.starts_with(file));
            assert!(listed || all_of_one_machine && tests.count() > 0, "{name} is not in ON_CLUSTER");
        }
        for file in ON_CLUSTER.iter().chain(&IN_ITS_NETWORK) {
            assert!(journeys.iter().any(|(name, _)| name.starts_with(file)), "there is no file {file}");
        }
    }

    /// The files of journeys, by name.
    fn files_of_journeys() -> Vec<(String, String)> {
        let files = fs::read_dir(shell::root().join("end2end/journeys")).expect("list the journeys").flatten();
        files
            .filter_map(|file| Some((file.file_name().to_string_lossy().into_owned(), fs::read_to_string(file.path()).ok()?)))
            .collect()
    }
}
