//! The containers of a pod: their volumes, their start, how they end.

use super::{Facts, Whose, between, event, image, since, text};
use crate::settings::AGENT_IN_IMAGE;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};
use model::{Cause, CauseCode};

/// How long a run that has started may take to answer before that is told of.
const SILENT_SECS: i64 = 15;
/// How long it is told that a run was ended for want of memory, once another runs.
const KILLED_MINS: i64 = 10;

const LOG: &str = "Look at its log for what ended it.";

/// What the containers wait for before the first of them is made: volumes and network.
pub(super) fn mount(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    let mut all = statuses(pod, true).chain(statuses(pod, false)).peekable();
    all.peek()?;
    if !all.all(|status| matches!(waiting(status), Some(("ContainerCreating" | "PodInitializing", _)))) {
        return None;
    }
    // What was overcome since is followed by one of the others.
    let event = event(
        facts,
        pod,
        &["FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "Pulling", "Pulled", "Created"],
    )?;
    let told = text(event);
    let (the, begins) = (facts.whose.the(), facts.whose.begins());
    let cause = match event.reason.as_deref() {
        Some("FailedCreatePodSandBox") => Cause::new(
            CauseCode::NetworkFailed,
            format!("The node could not set up {the}'s network."),
            &["It is tried again by itself.", "Look at the network plugin on that node if it stays like this."],
        ),
        // A node that has not read a Secret yet that is there: it tries again within a second.
        Some("FailedMount") if told.contains("failed to sync") && told.contains("timed out waiting for the condition") => {
            return None;
        }
        Some("FailedMount" | "FailedAttachVolume" | "FailedMapVolume") => {
            if let Some(missing) = missing_config(facts.whose, told) {
                return Some(missing.with_detail(told));
            }
            let (message, step) = if told.contains("Multi-Attach error") {
                (
                    format!("{begins}'s volume is still held by another node."),
                    "Wait: it is let go of by itself; after some minutes if that node is lost. Where it is gone for good: `kubectl delete node NAME`.",
                )
            } else {
                (format!("{begins}'s volume could not be mounted."), "The node's words, below, say why.")
            };
            Cause::new(CauseCode::MountFailed, message, &[step, "It is tried again by itself."])
        }
        _ => return None,
    };
    Some(cause.with_detail(told))
}

/// What prepares the sandbox.
pub(super) fn init(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    statuses(pod, true).find_map(|status| {
        not_started(facts, pod, status).or_else(|| {
            let ended = ended(status).filter(|ended| ended.exit_code != 0)?;
            let again = ["It is tried again by itself.", "Look at its log, which the sandbox's log page shows."];
            if ended.reason.as_deref() == Some("OOMKilled") {
                return Some(out_of_memory(limit(pod, &status.name).as_deref(), true));
            }
            let message =
                format!("The init container `{}`, which prepares the sandbox, failed with {}.", status.name, how(ended));
            // The log that was read is the sandbox's own, of an earlier run.
            Some(with_last_words(Cause::new(CauseCode::InitFailed, message, &again), ended))
        })
    })
}

/// The sandbox itself.
pub(super) fn main(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    statuses(pod, false).find_map(|status| {
        not_started(facts, pod, status).or_else(|| {
            let ended = ended(status)?;
            let loops = waiting(status).is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
            Some(crashed(facts, pod, status, ended, loops))
        })
    })
}

/// A run that was ended for want of memory a short while ago, beside the one that is ready now.
pub(super) fn killed_lately(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    statuses(pod, false).find_map(|status| {
        let last = status.last_state.as_ref()?.terminated.as_ref()?;
        let lately = since(facts, last.finished_at.as_ref().map(|time| time.0))?.as_mins() < KILLED_MINS;
        (lately && last.reason.as_deref() == Some("OOMKilled")).then(|| out_of_memory(limit(pod, &status.name).as_deref(), true))
    })
}

/// It runs, and does not answer.
pub(super) fn silent(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    let status = statuses(pod, false).find(|status| !status.ready)?;
    let started = status.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|time| time.0);
    since(facts, started).filter(|past| past.as_secs() >= SILENT_SECS)?;
    let told = event(facts, pod, &["Unhealthy"]).map(text);
    let cause = Cause::new(
        CauseCode::AgentSilent,
        "The sandbox runs, and its agent does not answer the node's checks.",
        &["Wait: it is asked again every few seconds.", "Look at its log.", "Restart the sandbox if it stays like this."],
    );
    Some(match told {
        Some(told) => cause.with_detail(told),
        None => cause,
    })
}

/// The kernel killed for want of memory: the whole sandbox, or one process of it. The limit as it is written in
/// the pod (`256Mi`).
#[must_use]
pub fn out_of_memory(limit: Option<&str>, whole: bool) -> Cause {
    let what = if whole { "The sandbox was ended" } else { "A process in the sandbox was ended" };
    let all = limit.map_or_else(|| "all of its memory".to_owned(), |limit| format!("all of its {} of memory", spelled(limit)));
    Cause::new(
        CauseCode::OutOfMemory,
        format!("{what} by the kernel, because the sandbox had used {all}."),
        &["Use a larger size for the sandbox.", "Or run less in it at a time."],
    )
}

/// `256Mi` is 256 MiB.
fn spelled(quantity: &str) -> String {
    let digits = quantity.find(|c: char| !c.is_ascii_digit()).unwrap_or(quantity.len());
    match quantity.split_at(digits) {
        (number, unit @ ("Ki" | "Mi" | "Gi" | "Ti")) => format!("{number} {unit}B"),
        (number, unit @ ("k" | "M" | "G" | "T")) => format!("{number} {unit}B"),
        (number, "") => number.parse::<u64>().map_or_else(|_| quantity.to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
        _ => quantity.to_owned(),
    }
}

fn crashed(facts: &Facts<'_>, pod: &Pod, status: &ContainerStatus, ended: &ContainerStateTerminated, loops: bool) -> Cause {
    let reason = ended.reason.as_deref().unwrap_or_default();
    if reason == "OOMKilled" {
        return out_of_memory(limit(pod, &status.name).as_deref(), true);
    }
    if let ("StartError" | "ContainerCannotRun", Some(told)) = (reason, ended.message.as_deref()) {
        return refused(pod, status, told);
    }
    let log = facts.log_tail.unwrap_or_default();
    if ended.exit_code != 0 && wants_root(log) {
        let cause = needs_root(image_of(pod, status), "what it starts asks for root's rights");
        return with_log(cause, facts, ended);
    }
    if log.contains("No space left on device") {
        let cause = Cause::new(
            CauseCode::DiskFull,
            "The sandbox ended, because its disk is full.",
            &["Enlarge the project's volume, or free some space on it.", "It is started again by itself."],
        );
        return with_log(cause, facts, ended);
    }
    let cause = if loops {
        let times = status.restart_count.max(1);
        let times = if times == 1 { "once already".to_owned() } else { format!("{times} times already") };
        Cause::new(
            CauseCode::CrashLoop,
            format!("The sandbox ends soon after its start, with {}, and was started again {times}.", how(ended)),
            &[LOG, "It is started again by itself, later and later.", "Check the image, and what its start-up files do."],
        )
    } else {
        Cause::new(
            CauseCode::EndedUnexpectedly,
            format!("The sandbox ended by itself, with {}.", how(ended)),
            &["It is started again by itself; files and database are kept.", "Look at its log if it ends again."],
        )
    };
    with_log(cause, facts, ended)
}

/// Why the image of one of the containers is not there.
pub(super) fn pull(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    statuses(pod, false).find_map(|status| {
        let (reason, message) = waiting(status)?;
        image::waiting(facts, pod, image_of(pod, status), reason, message)
    })
}

/// What keeps a container from its first instruction.
fn not_started(facts: &Facts<'_>, pod: &Pod, status: &ContainerStatus) -> Option<Cause> {
    let (reason, message) = waiting(status)?;
    if let Some(cause) = image::waiting(facts, pod, image_of(pod, status), reason, message) {
        return Some(cause);
    }
    match reason {
        "CreateContainerConfigError" => Some(config(pod, status, message)),
        "CreateContainerError" | "RunContainerError" | "PreCreateHookError" | "PreStartHookError" | "PostStartHookError" => {
            Some(refused(pod, status, message))
        }
        _ => None,
    }
}

/// The kubelet could not put the container's settings together.
fn config(pod: &Pod, status: &ContainerStatus, message: &str) -> Cause {
    let image = image_of(pod, status);
    let cause = if message.contains("image will run as root") {
        needs_root(image, "it says that it runs as root")
    } else if message.contains("non-numeric user") {
        let user = between(message, "non-numeric user (", ")").unwrap_or("a name");
        needs_root(image, &format!("it runs as the user `{user}`, by name, which the cluster cannot tell from root"))
    } else if message.contains("non-root policy") {
        needs_root(image, "its settings ask for root")
    } else if let Some(missing) = missing_config(Whose::Sandbox, message) {
        missing
    } else {
        Cause::new(
            CauseCode::ContainerRefused,
            "The node could not put the sandbox's settings together.",
            &["The node's words, below, say why.", "It is tried again by itself."],
        )
    };
    cause.with_detail(message)
}

/// `secret "x" not found`, `configmap references non-existent config key`, `couldn't find key k in Secret ns/x`.
fn missing_config(whose: Whose, message: &str) -> Option<Cause> {
    let the = whose.the();
    let steps = match whose {
        Whose::Sandbox => {
            ["Restart the sandbox: it makes its own ones again.", "Or make what is missing; it goes on by itself then."]
        }
        Whose::Database => {
            ["Make what is missing, as it was; it goes on by itself then.", "Look at who removed it: in the cluster's audit log."]
        }
    };
    for (kind, before) in [("Secret", "secret \""), ("ConfigMap", "configmap \"")] {
        if let Some(name) = between(message, before, "\" not found") {
            let text = format!("The {kind} `{name}`, which {the} needs for its start, does not exist.");
            return Some(Cause::new(CauseCode::ConfigMissing, text, &steps));
        }
    }
    let key = between(message, "couldn't find key ", " in ").or_else(|| between(message, "references non-existent ", ":"))?;
    let message = format!("A Secret or ConfigMap, which {the} needs for its start, lacks `{key}`.");
    Some(Cause::new(CauseCode::ConfigMissing, message, &steps))
}

/// The container runtime's words on what it could not make or start.
fn refused(pod: &Pod, status: &ContainerStatus, told: &str) -> Cause {
    let image = image_of(pod, status);
    // `exec: "prog": executable file not found in $PATH`, `exec: "/prog": stat /prog: no such file or directory`,
    // `exec: "/prog": permission denied`, `exec /prog: exec format error`.
    let program = between(told, "exec: \"", "\"");
    let cause = match program {
        Some(program) if told.contains("not found in $PATH") || told.contains("no such file or directory") => {
            if program == AGENT_IN_IMAGE || program.ends_with("/sandbox-agent") {
                Cause::new(
                    CauseCode::AgentMissing,
                    format!("The image `{image}` does not contain the sandbox agent ({program})."),
                    &[
                        "Use an image that contains it, such as the runtime image of this project.",
                        "Or let an init container put it in: --runtime injected --agent-image NAME.",
                    ],
                )
            } else {
                Cause::new(
                    CauseCode::ContainerRefused,
                    format!("The image `{image}` has no program `{program}`, which the sandbox should start."),
                    &["Check the image and the command."],
                )
            }
        }
        Some(program) if told.contains("permission denied") => needs_root(image, &format!("its user may not run `{program}`")),
        _ if told.contains("exec format error") => Cause::new(
            CauseCode::ContainerRefused,
            format!("The image `{image}` is built for another kind of processor than the node's."),
            &["Use an image that is built for it."],
        ),
        _ if told.contains("no command specified") => Cause::new(
            CauseCode::ContainerRefused,
            format!("The image `{image}` does not say what to start."),
            &["Use an image with a command of its own."],
        ),
        _ if told.contains("memory") && told.contains("too low") => Cause::new(
            CauseCode::OutOfMemory,
            "The sandbox's memory limit is too small for it to start at all.",
            &["Use a larger size for the sandbox."],
        ),
        _ => Cause::new(
            CauseCode::ContainerRefused,
            format!("The node could not start the container `{}` of the image `{image}`.", status.name),
            &["The container runtime's words, below, say why.", "It is tried again by itself."],
        ),
    };
    cause.with_detail(told)
}

fn needs_root(image: &str, why: &str) -> Cause {
    Cause::new(
        CauseCode::ImageNeedsRoot,
        format!("The image `{image}` cannot run without root, which sandboxes never are: {why}."),
        &[
            "Use an image that runs as user 1000.",
            "Or build one from it that does: `USER 1000`, and files that this user may read.",
        ],
    )
}

/// What programs say that were started without root and give up for that.
fn wants_root(log: &str) -> bool {
    let log = log.to_lowercase();
    [
        "must be run as root",
        "must be root",
        "need to be root",
        "needs to be run as root",
        "requires root",
        "run as root",
        "are you root",
        "root privileges",
        "initgroups(",
        "setgid(",
        "setuid(",
        "chown(",
    ]
    .iter()
    .any(|words| log.contains(words))
}

/// The last lines of the log, or what the container left as its last words.
fn with_log(cause: Cause, facts: &Facts<'_>, ended: &ContainerStateTerminated) -> Cause {
    let log = facts.log_tail.map(str::trim).filter(|log| !log.is_empty());
    match log {
        Some(log) => cause.with_detail(log),
        None => with_last_words(cause, ended),
    }
}

/// What the container left as its last words.
fn with_last_words(cause: Cause, ended: &ContainerStateTerminated) -> Cause {
    match ended.message.as_deref() {
        Some(words) => cause.with_detail(words),
        None => cause,
    }
}

fn how(ended: &ContainerStateTerminated) -> String {
    match (ended.signal.unwrap_or(0), ended.exit_code) {
        (0, code @ 129..=192) => format!("signal {}", code - 128),
        (0, code) => format!("exit code {code}"),
        (signal, _) => format!("signal {signal}"),
    }
}

/// How the run before this one, or this one, ended, unless it runs and is ready.
fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = || status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).filter(|_| !status.ready);
    now.or_else(last)
}

fn waiting(status: &ContainerStatus) -> Option<(&str, &str)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref().unwrap_or_default()))
}

fn statuses(pod: &Pod, init: bool) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let of = if init {
        status.and_then(|s| s.init_container_statuses.as_ref())
    } else {
        status.and_then(|s| s.container_statuses.as_ref())
    };
    of.into_iter().flatten()
}

fn spec<'p>(pod: &'p Pod, name: &str) -> Option<&'p Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|container| container.name == name)
}

/// The image as it was asked for; a status may show another name of the same one.
fn image_of<'p>(pod: &'p Pod, status: &'p ContainerStatus) -> &'p str {
    spec(pod, &status.name).and_then(|container| container.image.as_deref()).unwrap_or(&status.image)
}

fn limit(pod: &Pod, name: &str) -> Option<String> {
    Some(spec(pod, name)?.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}
