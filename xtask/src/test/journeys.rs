//! Playwright on the release build: with sandboxes on this machine, and as pods of a cluster.

use super::{
    Run,
    count::{Count, ended, playwright_summary},
};
use crate::{
    build::Built,
    cluster::{self, Found},
    setup,
    shell::{self, Cmd, say},
};
use anyhow::{Context as _, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Playwright, on the release build, in a real browser.
pub(super) fn on_this_machine(run: &mut Run<'_>) -> Result<Count> {
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
const NAMESPACE: &str = "fsa-journeys";
/// How often the control plane is killed on a cluster, where each takes some ten seconds: in the usual run, and in the long one.
const KILLS: [&str; 2] = ["3", "30"];

/// The journeys again, with sandboxes as pods; server and browser are in the cluster's network.
/// On a cluster that `KUBECONFIG` names they are beside it, and what needs its network is left out.
pub(super) fn on_a_cluster(run: &mut Run<'_>) -> Result<Count> {
    let site = match cluster::find() {
        Found::None(reason) => {
            say(format!("skipped: {reason}"));
            return Ok(Count { skipped: 1, ..Count::default() });
        }
        Found::Named(kubeconfig) if !shell::has("kubectl") => {
            say(format!("skipped: kubectl is missing, which the journeys look with at the cluster of {}", kubeconfig.display()));
            return Ok(Count { skipped: 1, ..Count::default() });
        }
        Found::Named(kubeconfig) => match images_of_a_named_cluster(|name| env::var(name).ok()) {
            Ok(images) => {
                say(format!("Using the cluster that KUBECONFIG names: {}", kubeconfig.display()));
                Site { kubeconfig, namespace: format!("{NAMESPACE}-{}", std::process::id()), images, ours: false }
            }
            Err(missing) => {
                say(format!(
                    "skipped: {missing} names no image that the cluster of {} has: push what `cargo xtask image` makes to its registry",
                    kubeconfig.display()
                ));
                return Ok(Count { skipped: 1, ..Count::default() });
            }
        },
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
    images: Images,
    /// Ours, whose network everything runs in.
    ours: bool,
}

impl Site {
    fn ours() -> Self {
        let images = Images { sandbox: "fsa.local/runtime:dev".to_owned(), database: "fsa.local/postgres:dev".to_owned() };
        Self { kubeconfig: cluster::kubeconfig(), namespace: NAMESPACE.to_owned(), images, ours: true }
    }

    fn program(&self, program: &str) -> Cmd {
        if self.ours { cluster::program(Path::new(program)) } else { Cmd::new(program).env("KUBECONFIG", &self.kubeconfig) }
    }
}

/// What a cluster has to run.
#[derive(Debug, PartialEq, Eq)]
struct Images {
    sandbox: String,
    database: String,
}

/// Ours are in no registry: which ones somebody's cluster has, its owner says. Else the variable that is missing.
fn images_of_a_named_cluster(variable: impl Fn(&'static str) -> Option<String>) -> Result<Images, &'static str> {
    let named = |name| variable(name).filter(|image| !image.is_empty()).ok_or(name);
    Ok(Images { sandbox: named("FSA_TEST_IMAGE")?, database: named("FSA_TEST_POSTGRES_IMAGE")? })
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
    let mut command = tell_of(site.program("npx").args(PLAYWRIGHT).args(wanted), site);
    if site.ours {
        command = cluster::tell(command);
    }
    if env::var_os("FSA_KILLS").is_none() {
        command = command.env("FSA_KILLS", KILLS[usize::from(run.long)]);
    }
    playwright(command, run, built, "journeys-cluster.json")
}

/// Tells journeys that sandboxes are pods of a cluster.
fn tell_of(mut command: Cmd, site: &Site) -> Cmd {
    for (name, value) in [
        ("FSA_ORCHESTRATOR", "kubernetes"),
        ("FSA_NAMESPACE", site.namespace.as_str()),
        ("FSA_IMAGE", site.images.sandbox.as_str()),
        ("FSA_DATABASE_PROVIDER", "statefulset"),
        ("FSA_DATABASE_IMAGE", site.images.database.as_str()),
    ] {
        command = command.env(name, value);
    }
    if site.ours {
        // Elsewhere it is an address that means nothing, unless somebody says which it is.
        command = command.env("FSA_NODE_ADDRESS", cluster::NODE);
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
        journey_environment(tell_of(driver, &site), &built).run()
    });
    run.leave_cluster();
    done
}

/// What journeys and benchmarks are told.
pub fn journey_environment(command: Cmd, built: &Built) -> Cmd {
    let command = built.tell(command).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1").env("FSA_APPS", setup::apps());
    let command = command.dir(&shell::root().join("end2end"));
    let command = match setup::whole_chromium() {
        Some(whole) => command.env("FSA_WHOLE_CHROMIUM", whole),
        None => command,
    };
    match setup::chromium() {
        Some(chromium) => command.env("FSA_CHROMIUM", chromium),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_title_is_a_journey_s() {
        let journeys: String = files_of_journeys().into_iter().map(|(_, text)| text).collect();
        for title in SHORT.split('|').chain(SHORTEST.split('|')) {
            assert!(journeys.contains(title), "no journey is called “{title}”");
        }
    }

    #[test]
    fn a_cluster_of_somebody_s_has_the_images_that_he_names() {
        let images = |given: &'static [(&'static str, &'static str)]| {
            images_of_a_named_cluster(|name| given.iter().find(|(key, _)| *key == name).map(|(_, image)| (*image).to_owned()))
        };
        let both = images(&[("FSA_TEST_IMAGE", "r.example.com/runtime:1"), ("FSA_TEST_POSTGRES_IMAGE", "r.example.com/pg:17")]);
        let expected = Images { sandbox: "r.example.com/runtime:1".to_owned(), database: "r.example.com/pg:17".to_owned() };
        assert_eq!(both, Ok(expected));
        assert_eq!(images(&[("FSA_TEST_IMAGE", "r.example.com/runtime:1")]), Err("FSA_TEST_POSTGRES_IMAGE"));
        assert_eq!(images(&[("FSA_TEST_IMAGE", "")]), Err("FSA_TEST_IMAGE"));
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
