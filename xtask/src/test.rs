//! Everything that must hold, part by part, and one line at the end that counts it.

use crate::{
    assets,
    build::{self, Built, NATIVE},
    licenses, postgres, setup,
    shell::{self, Cmd, cargo, say},
    sqlx,
};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Instant,
};

/// The limit of the browser's code as it is sent, in bytes.
const WASM_LIMIT: usize = 350 * 1024;

/// What a part came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    const ONE: Self = Self { passed: 1, failed: 0, skipped: 0 };

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

type Part = (&'static str, fn(&mut Run) -> Result<Count>);

/// Cheap ones first, so that a slip is told early.
const PARTS: &[Part] = &[
    ("fmt", |_| cargo(&["fmt", "--all", "--check"]).run().map(|()| Count::ONE)),
    ("licenses", |_| licenses::check().map(|()| Count::ONE)),
    ("wasm", wasm),
    ("clippy", |_| clippy()),
    ("terminal", |_| terminal()),
    ("unit", unit),
    ("sqlx", |_| sqlx::check().map(|()| Count::ONE)),
    ("journeys", journeys),
];

/// What parts share.
struct Run {
    built: Option<Built>,
    long: bool,
}

impl Run {
    fn built(&mut self) -> Result<&Built> {
        if self.built.is_none() {
            self.built = Some(build::release()?);
        }
        self.built.as_ref().context("the build")
    }
}

/// Runs the parts, or the one named. Prints the count as the last line of standard output; `false`
/// if anything failed.
pub fn run(only: Option<&str>, long: bool) -> Result<bool> {
    if let Some(name) = only
        && !PARTS.iter().any(|(part, _)| *part == name)
    {
        let names: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        bail!("there is no part `{name}`; there are {}", names.join(", "));
    }
    setup::for_build()?;
    setup::for_journeys()?;
    let mut run = Run { built: None, long };
    let (mut total, mut lines) = (Count::default(), Vec::new());
    for (name, part) in PARTS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        say(format!("Testing: {name}"));
        let start = Instant::now();
        let count = part(&mut run).unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Count { failed: 1, ..Count::default() }
        });
        total.add(count);
        lines.push(format!(
            "{name:>10}  {:>4} passed {:>4} failed {:>4} skipped  {:>6.1} s",
            count.passed,
            count.failed,
            count.skipped,
            start.elapsed().as_secs_f64()
        ));
    }
    eprintln!("\n{}", lines.join("\n"));
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    Ok(total.failed == 0)
}

fn clippy() -> Result<Count> {
    let mut args = vec!["clippy", "--all-targets"];
    args.extend(NATIVE);
    args.extend(["--", "-D", "warnings"]);
    cargo(&args).run()?;
    let mut args: Vec<&str> = setup::wasm_toolchain().into_iter().collect();
    args.extend([
        "clippy",
        "-p",
        "frontend",
        "-p",
        "app",
        "--features",
        "app/hydrate",
        "--target",
        "wasm32-unknown-unknown",
        "--profile",
        "wasm-release",
        "--",
        "-D",
        "warnings",
    ]);
    cargo(&args).run()?;
    Ok(Count { passed: 2, ..Count::default() })
}

/// The browser's code is built, and small.
fn wasm(run: &mut Run) -> Result<Count> {
    let site = run.built()?.site.clone();
    let manifest: Value = serde_json::from_slice(&fs::read(site.join("manifest.json"))?)?;
    let name = manifest["frontend_bg.wasm"].as_str().context("find the module in the manifest")?;
    let size = assets::brotli(&fs::read(site.join("pkg").join(name))?)?.len();
    say(format!("the browser's code is {size} bytes by brotli, of at most {WASM_LIMIT}"));
    if size > WASM_LIMIT {
        bail!("the browser's code has {size} bytes by brotli; at most {WASM_LIMIT} are allowed");
    }
    Ok(Count::ONE)
}

fn terminal() -> Result<Count> {
    let text = Cmd::new("npm").args(["test", "--silent"]).dir(&shell::root().join("frontend/js")).read();
    let text = text.context("test the terminal's scripts")?;
    eprint!("{text}");
    let number = |word: &str| {
        text.lines()
            .filter_map(|line| line.trim_start_matches(['#', 'ℹ', ' ']).strip_prefix(word))
            .find_map(|rest| rest.trim().parse().ok())
    };
    Ok(Count {
        passed: number("pass ").unwrap_or(1),
        failed: number("fail ").unwrap_or(0),
        skipped: number("skipped ").unwrap_or(0),
    })
}

/// Unit and integration tests, with a real PostgreSQL.
fn unit(run: &mut Run) -> Result<Count> {
    let long = run.long;
    run.built()?;
    let server = postgres::Server::start()?;
    let mut args = vec!["test", "--no-fail-fast"];
    args.extend(NATIVE);
    let mut command = cargo(&args).env("FSA_TEST_DATABASE_URL", server.url()).env("FSA_CLAUDE_DIR", setup::claude_dir());
    if long {
        command = command.env("FSA_LONG", "1");
    }
    let mut child = command.into_inner().stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let mut count = Count::default();
    let out = child.stdout.take().context("read cargo test")?;
    for line in BufReader::new(out).lines() {
        let line = line?;
        eprintln!("{line}");
        if let Some(part) = summary(&line) {
            count.add(part);
        }
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
fn summary(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        rest.split(['.', ';'])
            .find_map(|part| part.trim().strip_suffix(word))
            .and_then(|n| n.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    Some(Count { passed: number("passed"), failed: number("failed"), skipped: number("ignored") })
}

/// What journeys and benchmarks are told.
pub fn journey_environment(command: Cmd, built: &Built) -> Cmd {
    let command = command
        .env("FSA_BINARY", &built.server)
        .env("FSA_SITE", &built.site)
        .env("FSA_CLAUDE_DIR", setup::claude_dir())
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    match setup::chromium() {
        Some(chromium) => command.env("FSA_CHROMIUM", chromium),
        None => command,
    }
}

/// Playwright, on the release build, in a real browser.
fn journeys(run: &mut Run) -> Result<Count> {
    let long = run.long;
    let folder = shell::root().join("end2end");
    let report = shell::target().join("journeys.json");
    let _ = fs::remove_file(&report);
    let mut command = Cmd::new("npx").args(["--no-install", "playwright", "test"]).dir(&folder);
    command = journey_environment(command, run.built()?)
        .env("PLAYWRIGHT_JSON_OUTPUT_NAME", &report)
        .env("FSA_JOURNEYS_REPORT", &report);
    if long {
        command = command.env("FSA_LONG", "1");
    }
    let ended = command.run();
    let report: Value = serde_json::from_slice(&fs::read(&report).context("read the journeys' report")?)?;
    let number = |key: &str| report["stats"][key].as_u64().unwrap_or(0);
    let count = Count { passed: number("expected"), failed: number("unexpected") + number("flaky"), skipped: number("skipped") };
    match ended {
        Err(error) if count.failed == 0 => Err(error),
        _ => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.30s";
        assert_eq!(summary(line), Some(Count { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(summary("running 3 tests"), None);
    }
}
