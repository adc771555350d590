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

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

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
        Command::Build => build::release().map(|built| {
            println!("{}", built.server.display());
            true
        }),
        Command::Dist => build::dist().map(|file| {
            println!("{}", file.display());
            true
        }),
        Command::Run { args } => dev::run(&args).map(|()| true),
        Command::Dev { args } => dev::watch(&args).map(|()| true),
        Command::Test { only, args } => test::run(&only, &args),
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

fn bench(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|name| name.starts_with("cluster")) {
        return test::bench_on_cluster(args);
    }
    setup::for_journeys()?;
    let built = build::release()?;
    let driver = shell::Cmd::new("node").args(["bench/run.mjs"]).args(args);
    test::journey_environment(driver, &built).run()
}
