//! The project's own commands. Each does the set-up that it needs, and says what it installs.
//!
//! ```text
//!   setup ─▶ build ─▶ run, dev, bench
//!                ├──▶ test, prove
//!                └──▶ image ─▶ cluster
//! ```
//!
//! What is built and fetched lies outside the checkout, in `~/.cache/fullstack-agent`, so that a fresh
//! clone finds it again.

#![forbid(unsafe_code)]

mod assets;
mod build;
mod cluster;
mod dev;
mod fuzz;
mod image;
mod licenses;
mod postgres;
mod setup;
mod shell;
mod sources;
mod sqlx;
mod test;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use std::{io::Write, path::Path, process::ExitCode};

/// FullStack Agent: build it, run it, test it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and running need; says what, and does nothing twice.
    Setup,
    /// Build the release; prints the path of the binary last.
    Build,
    /// Build the release as one file that runs alone; prints its path last.
    Dist,
    /// Build the release and serve on localhost:4000. Arguments go to the server:
    /// `cargo xtask run --listen localhost:5000`.
    Run {
        /// For the server; `cargo xtask run --help` shows these, `cargo xtask run -- --help` the server's.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Rebuild and restart whenever a source changes.
    Dev {
        /// For the server.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run everything: format, lints, unit, integration, size, licences, journeys.
    Test {
        /// Only this part; may be given again for another.
        #[arg(long, value_name = "NAME")]
        only: Vec<test::Part>,
        /// Also what has passed within a day, with nothing changed since.
        #[arg(long)]
        again: bool,
        /// For the runner of the one part: `cargo xtask test --only unit -- simulator`.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Run the long ones: ten thousand schedules, many kills.
    Prove,
    /// Look for inputs that break what reads the bytes of strangers, by libFuzzer.
    Fuzz {
        /// All of them if none is named.
        only: Vec<fuzz::Target>,
        /// How long each is looked at.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u32,
    },
    /// Measure, and print a table of p50, p99 and targets.
    Bench {
        /// For the driver: names of benchmarks.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// A real Kubernetes on this machine, for tests and for trying; takes root and Go.
    Cluster {
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Make the images that a cluster runs, with no container engine, and give them to the test cluster where
    /// it runs; prints their paths. Takes root.
    Image {
        /// All of them if none is named.
        only: Vec<image::Image>,
    },
    /// Format every source.
    Fmt,
    /// Write `.sqlx` again, after a query or a migration changed.
    Sqlx,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if !matches!(command, Command::Setup | Command::Fmt) {
        sources::recall();
    }
    let done = match command {
        Command::Setup => setup::everything().map(|()| true),
        Command::Build => build::release().and_then(|built| tell(&built.server, std::io::stdout())),
        Command::Dist => build::dist().and_then(|file| tell(&file, std::io::stdout())),
        Command::Run { args } => dev::run(&args).map(|()| true),
        Command::Dev { args } => dev::watch(&args).map(|()| true),
        Command::Test { only, again, args } => test::run(&only, again, &args),
        Command::Prove => test::prove(),
        Command::Fuzz { only, seconds } => fuzz::run(&only, seconds).map(|(_, failed)| failed == 0),
        Command::Bench { args } => bench(&args).map(|()| true),
        Command::Cluster { action } => cluster::run(&action),
        Command::Image { only } => image::make(&only).map(|()| true),
        Command::Fmt => shell::cargo(&["fmt", "--all"]).run().map(|()| true),
        Command::Sqlx => sqlx::write().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints where what was built is, as a line of its own. Standard output has nothing else: what the programs print that
/// a build runs goes to standard error.
fn tell(built: &Path, mut out: impl Write) -> Result<bool> {
    writeln!(out, "{}", built.display()).context("print where it is")?;
    Ok(true)
}

fn bench(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|name| name.starts_with("cluster")) {
        return test::bench_on_cluster(args);
    }
    setup::for_benchmarks()?;
    let built = build::release()?;
    let driver = shell::Cmd::new("node").args(["bench/run.mjs"]).args(args);
    test::journey_environment(driver, &built).run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use std::fs;

    fn page(name: &str) -> String {
        fs::read_to_string(shell::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[test]
    fn every_command_is_described_and_in_the_documentation() {
        Cli::command().debug_assert();
        let development = page("docs/development.md");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some_and(|about| !about.to_string().is_empty()), "{name} says nothing of itself");
            assert!(development.contains(&format!("`cargo xtask {name}")), "docs/development.md says nothing of {name}");
        }
    }

    #[test]
    fn a_build_prints_the_path_of_the_server_and_nothing_else() {
        let mut out = Vec::new();
        assert!(tell(&build::Built::places().server, &mut out).unwrap());
        let said = String::from_utf8(out).unwrap();
        assert!(said.ends_with("/product/fullstack-agent\n") && said.lines().count() == 1, "{said:?}");
        for file in ["assets", "build", "setup", "shell", "sources"] {
            let text = page(&format!("xtask/src/{file}.rs")).replace("eprintln!(", "").replace("eprint!(", "");
            assert!(!text.contains("println!(") && !text.contains("print!("), "{file}.rs prints on standard output");
        }
    }

    #[test]
    fn what_documents_say_to_type_is_a_command() {
        let known: Vec<String> = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in
            ["README.md", "docs/development.md", "docs/architecture.md", "docs/operations.md", "docs/kubernetes.md", ".ci/run"]
        {
            let text = page(name);
            for rest in text.split("cargo xtask ").skip(1) {
                let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
                // A line that is broken behind it, or a placeholder.
                assert!(word.is_empty() || known.contains(&word), "{name} says `cargo xtask {word}`");
            }
        }
    }

    #[test]
    fn arguments_reach_the_server_and_the_runner_of_a_part() {
        let read = |words: &[&str]| Cli::try_parse_from([&["cargo xtask"][..], words].concat()).map(|cli| cli.command);
        let Ok(Command::Run { args }) = read(&["run", "--listen", "localhost:5000", "--data-dir", "/x"]) else { panic!("run") };
        assert_eq!(args, ["--listen", "localhost:5000", "--data-dir", "/x"]);
        let Ok(Command::Test { only, args, .. }) = read(&["test", "--only", "unit", "--only", "fmt"]) else { panic!("test") };
        assert_eq!((only.len(), args.len()), (2, 0));
        let Ok(Command::Test { only, args, .. }) = read(&["test", "--only", "unit", "--", "simulator"]) else { panic!("test") };
        assert_eq!((only.len(), args), (1, vec!["simulator".to_owned()]));
        let Err(unknown) = read(&["test", "--only", "nothing"]) else { panic!("no part is called so") };
        let said = unknown.to_string();
        assert!(said.contains("journeys") && said.contains("unit"), "which there are is said: {said}");
        assert!(read(&["nothing"]).is_err());
    }

    /// What checks every change is what a reader is told to type.
    #[test]
    fn the_check_of_every_change_is_the_test_command_of_the_readme() {
        let readme = page("README.md");
        let test = readme
            .split("## Test it")
            .nth(1)
            .and_then(|rest| rest.split("```sh\n").nth(1))
            .and_then(|rest| rest.split("\n```").next());
        let ci = page(".ci/run");
        assert_eq!(test, Some("cargo xtask test"));
        assert_eq!(ci.lines().last(), Some("exec cargo xtask test --again"), "all of it, whatever has passed before");
        assert!(ci.lines().count() < 10, "a few lines");
    }

    /// Words of a heading as they stand in an address of it.
    fn anchor(heading: &str) -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    }

    #[test]
    fn every_link_of_the_documentation_leads_somewhere() {
        let root = shell::root();
        let mut pages: Vec<String> = vec!["README.md".to_owned()];
        let docs = fs::read_dir(root.join("docs")).unwrap_or_else(|error| panic!("docs: {error}"));
        let names = docs.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        pages.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")));
        for promised in ["docs/architecture.md", "docs/development.md", "docs/security.md", "docs/configuration.md"] {
            assert!(pages.iter().any(|page| page == promised), "{promised}");
        }
        for name in &pages {
            let text = page(name);
            for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, part) = target.split_once('#').unwrap_or((target, ""));
                let at = match (file, name.starts_with("docs/")) {
                    ("", _) => root.join(name),
                    (file, true) => root.join("docs").join(file),
                    (file, false) => root.join(file),
                };
                assert!(at.exists(), "{name}: {target}");
                if !part.is_empty() {
                    let there = fs::read_to_string(&at).unwrap_or_else(|error| panic!("{name}: {target}: {error}"));
                    let found = there.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == part);
                    assert!(found, "{name}: {target} names no heading");
                }
            }
        }
    }
}
