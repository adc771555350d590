//! libFuzzer on what reads bytes of strangers: the targets in `fuzz/`, each for some seconds.
//!
//! What it found worth keeping stays in the target folder, and the next run goes on from there; what every run begins with
//! lies in `fuzz/seeds`. Only the crates that are fuzzed count their edges, so dependencies are those of the release.

use crate::{
    setup,
    shell::{self, Cmd, cargo, say},
};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use std::fs;

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// The frames of a terminal
    Frames,
    /// A session's last output
    Ring,
    /// A pasted `.env`
    Dotenv,
    /// The headers of a preview, both ways
    PreviewHeaders,
}

/// How long each is looked at where nobody says otherwise.
pub const SECONDS: u32 = 60;

/// Builds the targets and runs them, all where none is named; how many held and how many did not.
///
/// # Errors
///
/// They cannot be built.
pub fn run(only: &[Target], seconds: u32) -> Result<(u64, u64)> {
    setup::for_native()?;
    if !shell::has("c++") {
        bail!("libFuzzer is C++: install a C++ compiler (Debian: apt-get install g++).");
    }
    let targets = if only.is_empty() { Target::value_variants() } else { only };
    let names: Vec<String> = targets.iter().map(|target| target.name()).collect();
    let bins: Vec<String> = names.iter().map(|name| format!("fuzz-{name}")).collect();
    // As NATIVE, but for the one package that it leaves out.
    let mut args = vec!["build", "--release", "--workspace", "--exclude", "frontend", "--features", "app/ssr"];
    args.extend(bins.iter().flat_map(|bin| ["--bin", bin]));
    cargo(&args).env("RUSTC_WORKSPACE_WRAPPER", shell::root().join("fuzz/rustc.sh")).run().context("build the fuzz targets")?;
    let mut failed = 0;
    for (name, bin) in names.iter().zip(&bins) {
        if !one(name, bin, seconds)? {
            failed += 1;
        }
    }
    Ok((targets.len() as u64 - failed, failed))
}

fn one(name: &str, bin: &str, seconds: u32) -> Result<bool> {
    let folder = shell::target().join("fuzz").join(name);
    let corpus = folder.join("corpus");
    fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
    let program = shell::target().join("release").join(bin);
    let command = Cmd::new(program).args([&corpus, &shell::root().join("fuzz/seeds").join(name)]);
    let command = command.args([
        format!("-max_total_time={seconds}"),
        format!("-artifact_prefix={}/", folder.display()),
        "-print_final_stats=1".to_owned(),
        "-max_len=4096".to_owned(),
    ]);
    let (status, printed) = command.whole()?;
    let stat = |what: &str| {
        printed.lines().find_map(|line| Some(line.strip_prefix(what)?.trim_start_matches(':').trim())).unwrap_or("?").to_owned()
    };
    let (runs, found) = (stat("stat::number_of_executed_units"), stat("stat::new_units_added"));
    if status.success() {
        say(format!("{name}: {runs} runs, {found} new inputs; nothing was found"));
    } else {
        say(format!("{name}: an input breaks it; it lies in {}\n{}", folder.display(), printed.trim_end()));
    }
    Ok(status.success())
}

impl Target {
    /// `preview-headers`.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
