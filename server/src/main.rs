//! `fullstack-agent`: reads the command line and does it.

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A keeper is a process of its own: small, and before anything starts a thread.
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "keeper") {
        return server::cli::keeper(words.into_iter().skip(2).collect());
    }
    server::cli::run(server::cli::Cli::parse())
}
