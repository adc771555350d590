//! Everything that must hold, part by part, and one line at the end that counts it.
//!
//! A part that fails stops no other. What several need, the build, is done once, and fails once.

mod count;
mod journeys;
mod programs;
mod unchanged;

pub use journeys::{bench_on_cluster, journey_environment};

use crate::{
    assets,
    build::{self, Built, NATIVE},
    cluster, fuzz, image, licenses, setup,
    shell::{self, Cmd, cargo, say},
    sqlx,
};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use count::{Count, ended, node_summary};
use std::time::{Duration, Instant};
use unchanged::Notes;

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
/// if anything failed. Of all parts, those that have passed with nothing changed since count as they did then, unless
/// all are to run `again`. `args` are for the runner of the one part named.
pub fn run(only: &[Part], again: bool, args: &[String]) -> Result<bool> {
    if !args.is_empty() && only.len() != 1 {
        bail!("Arguments after `--` are for the runner of one part: name it by --only.");
    }
    let named = !only.is_empty();
    let notes = if named { None } else { Notes::of_now() };
    run_parts(chosen(only), &mut Run { args, named, again, notes, ..Run::default() })
}

/// The parts of a run, in its order: those named, or where none is, all that are usual.
fn chosen(only: &[Part]) -> impl Iterator<Item = Part> {
    let wanted = move |part: &Part| if only.is_empty() { part.is_usual() } else { only.contains(part) };
    Part::value_variants().iter().copied().filter(wanted)
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
    if parts.iter().any(|part| part.wants_cluster() && run.passed(*part).is_none()) {
        run.ahead = cluster::Ahead::begin();
    }
    let mut unchanged = false;
    let (total, lines) = one_by_one(parts.into_iter(), |part| match run.passed(part) {
        Some((count, age)) => {
            unchanged = true;
            Ok((count, Some(age)))
        }
        None => {
            let count = part.run(run)?;
            run.note(part, count);
            Ok((count, None))
        }
    });
    run.leave_cluster();
    eprintln!("\n{}\n{:>58.1} s", lines.join("\n"), begun.elapsed().as_secs_f64());
    if unchanged {
        eprintln!("What has passed with nothing changed since was not run again: `cargo xtask test --again` runs it.");
    }
    println!("{total}");
    Ok(total.holds())
}

/// What all parts came to together, and a line for each. One that fails is one failure, and the next is run. One that
/// was not run, since it passed before, says how long ago that was.
fn one_by_one(
    parts: impl Iterator<Item = Part>,
    mut one: impl FnMut(Part) -> Result<(Count, Option<Duration>)>,
) -> (Count, Vec<String>) {
    let (mut total, mut lines) = (Count::default(), Vec::new());
    for part in parts {
        let name = part.name();
        say(format!("Testing: {name}"));
        let start = Instant::now();
        let (count, before) = one(part).unwrap_or_else(|error| {
            say(format!("{name} failed: {error:#}"));
            (Count::FAILED, None)
        });
        total.add(count);
        let Count { passed, failed, skipped } = count;
        let took = match before {
            Some(age) => format!("unchanged for {} min", age.as_secs() / 60),
            None => format!("{:>7.1} s", start.elapsed().as_secs_f64()),
        };
        lines.push(format!("{name:>16}  {passed:>5} passed {failed:>4} failed {skipped:>4} skipped  {took}"));
    }
    (total, lines)
}

impl Part {
    /// Whether it runs when no part is named.
    fn is_usual(self) -> bool {
        self != Self::Fuzz
    }

    /// As `--only` has it.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
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
            Self::Unit => programs::on_this_machine(run),
            Self::Sqlx => {
                setup::for_databases()?;
                sqlx::check().map(|()| Count::PASSED)
            }
            Self::Journeys => journeys::on_this_machine(run),
            Self::Cluster => programs::on_a_cluster(run),
            Self::ClusterJourneys => journeys::on_a_cluster(run),
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
    /// Also what has passed with nothing changed since is run.
    again: bool,
    /// What has passed of this state of the checkout; none for parts that were asked for.
    notes: Option<Notes>,
    args: &'a [String],
}

impl Run<'_> {
    /// What a part came to when it passed, and how long ago, where it need not run again.
    fn passed(&self, part: Part) -> Option<(Count, Duration)> {
        self.notes.as_ref().filter(|_| !self.again)?.passed(&part.name())
    }

    /// Notes that it has passed, if it has. Where that does not work, it runs again next time.
    fn note(&self, part: Part, count: Count) {
        if let Some(notes) = &self.notes
            && let Err(error) = notes.note(&part.name(), count)
        {
            say(format!("What has passed is not noted: {error:#}"));
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_named_is_run_alone_and_none_named_is_all_but_the_fuzzer() {
        let chosen = |only: &[Part]| chosen(only).collect::<Vec<_>>();
        assert_eq!(chosen(&[Part::Unit]), [Part::Unit]);
        assert_eq!(chosen(&[Part::Fuzz]), [Part::Fuzz]);
        assert_eq!(chosen(&[Part::Unit, Part::Fmt]), [Part::Fmt, Part::Unit], "in the order of a run");
        let usual: Vec<Part> = Part::value_variants().iter().copied().filter(|part| *part != Part::Fuzz).collect();
        assert_eq!(chosen(&[]), usual);
    }

    #[test]
    fn the_last_line_counts_all_parts_and_one_that_fails_stops_none() {
        let parts = [Part::Fmt, Part::Licenses, Part::Unit];
        let (total, lines) = one_by_one(parts.into_iter(), |part| match part {
            Part::Licenses => bail!("nobody knows under which"),
            Part::Unit => Ok((Count { passed: 1200, failed: 0, skipped: 2 }, Some(Duration::from_secs(150)))),
            _ => Ok((Count::PASSED, None)),
        });
        assert_eq!(total.to_string(), "1201 passed, 1 failed, 2 skipped");
        assert!(!total.holds(), "a part that fails fails the run");
        let named: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(named, ["fmt", "licenses", "unit"]);
        assert!(lines[2].ends_with("2 skipped  unchanged for 2 min"), "what was not run says so: {}", lines[2]);

        let (total, _) = one_by_one(parts.into_iter(), |_| Ok((Count { passed: 1, failed: 0, skipped: 1 }, None)));
        assert_eq!(total.to_string(), "3 passed, 0 failed, 3 skipped");
        assert!(total.holds(), "what is skipped fails nothing");
        let (total, _) = one_by_one(parts.into_iter(), |_| Ok((Count { passed: 5, failed: 1, skipped: 0 }, None)));
        assert_eq!((total.to_string().as_str(), total.holds()), ("15 passed, 3 failed, 0 skipped", false));
    }
}
