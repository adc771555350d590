//! Fetching the image.

use super::{Facts, Whose, at, between, event, since, text};
use k8s_openapi::api::core::v1::Pod;
use model::{Cause, CauseCode};

/// How long a pull may take before it is told of: a present image needs none of it, a small one a few seconds.
const SLOW_SECS: i64 = 20;

/// From the reason and the message of a container that waits for its image.
pub(super) fn waiting(facts: &Facts<'_>, pod: &Pod, image: &str, reason: &str, message: &str) -> Option<Cause> {
    let whose = facts.whose;
    match reason {
        "InvalidImageName" => Some(
            Cause::new(
                CauseCode::ImageNameInvalid,
                format!("`{image}` is no name of an image."),
                &[&format!("Name one as `registry.example.com/team/image:tag`: {}.", set(whose))],
            )
            .with_detail(message),
        ),
        "ErrImageNeverPull" => Some(
            Cause::new(
                CauseCode::ImageAbsent,
                format!("The image `{image}` is not on the node, and the setting is never to fetch it."),
                &["Load it on every node.", "Or let it be fetched: --image-pull-policy IfNotPresent."],
            )
            .with_detail(message),
        ),
        "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable" | "SignatureValidationFailed" => {
            // Before Kubernetes 1.31 only the event had the reason.
            let told = event(facts, pod, &["Failed"]).map(text).filter(|text| text.starts_with("Failed to pull"));
            let bare = reason == "ImagePullBackOff" && !message.contains(": ErrImagePull:");
            Some(pull(whose, image, if bare { told.unwrap_or(message) } else { message }))
        }
        _ => None,
    }
}

/// What names the image.
fn set(whose: Whose) -> &'static str {
    match whose {
        Whose::Sandbox => "--image NAME, or the project's own setting",
        Whose::Database => "--database-image NAME",
    }
}

/// The words of the container runtime on a pull that failed.
fn pull(whose: Whose, image: &str, told: &str) -> Cause {
    let has = |words: &[&str]| words.iter().any(|word| told.contains(word));
    let registry = registry(image);
    let cause = if has(&[
        "401 Unauthorized",
        "403 Forbidden",
        "pull access denied",
        "insufficient_scope",
        "authentication required",
        "no basic auth",
    ]) {
        Cause::new(
            CauseCode::ImageRefused,
            format!("The registry {registry} refused the image `{image}`: it is private, or is not there."),
            &[
                "Check the image's name.",
                "Give the registry's credentials: --image-pull-secrets NAME, with a Secret made by `kubectl create secret docker-registry NAME …`.",
            ],
        )
    } else if has(&["429 Too Many Requests", "toomanyrequests"]) {
        Cause::new(
            CauseCode::ImageBackOff,
            format!(
                "The registry {registry} has had too many requests from this cluster, and does not give the image `{image}` now."
            ),
            &["It is tried again by itself.", "Give credentials, which have a higher limit: --image-pull-secrets NAME."],
        )
    } else if has(&["not found", "manifest unknown", "NotFound", "name unknown"]) {
        Cause::new(
            CauseCode::ImageNotFound,
            format!("The registry {registry} has no image `{image}`."),
            &[&format!("Check the image's name and tag: {}.", set(whose)), "It is tried again by itself once it is there."],
        )
    } else if has(&[
        "no such host",
        "server misbehaving",
        "lookup ",
        "i/o timeout",
        "connection refused",
        "no route to host",
        "network is unreachable",
        "deadline exceeded",
    ]) {
        Cause::new(
            CauseCode::ImageBackOff,
            format!("The node could not reach the registry {registry} for the image `{image}`."),
            &[
                "It is tried again by itself.",
                "Look whether nodes reach that registry (name lookup, firewall, proxy), or load the image on every node.",
            ],
        )
    } else if has(&["x509:", "tls:", "server gave HTTP response to HTTPS client"]) {
        Cause::new(
            CauseCode::ImageBackOff,
            format!("The node does not trust the registry {registry}, which has the image `{image}`."),
            &["Let the nodes' container runtime know that registry's certificate authority.", "It is tried again by itself."],
        )
    } else if has(&["no space left on device"]) {
        Cause::new(
            CauseCode::DiskFull,
            format!("The node's disk is too full for the image `{image}`."),
            &["Free some space on the node, such as images that are not used.", "It is tried again by itself."],
        )
    } else if has(&["no match for platform"]) {
        Cause::new(
            CauseCode::ImageNotFound,
            format!("The image `{image}` is not there for the node's kind of processor."),
            &["Use an image that is built for it too.", "Or add a node of the other kind."],
        )
    } else {
        Cause::new(
            CauseCode::ImageBackOff,
            format!("The image `{image}` could not be fetched."),
            &["It is tried again by itself.", "The container runtime's words, below, say why."],
        )
    };
    cause.with_detail(told)
}

/// Where an image of that name is fetched from.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// The image is on its way, and it takes its time.
pub(super) fn slow(facts: &Facts<'_>, pod: &Pod) -> Option<Cause> {
    let event = event(facts, pod, &["Pulling", "Pulled", "Failed", "BackOff"])?;
    let image = between(text(event), "Pulling image \"", "\"")?;
    let past = since(facts, at(event))?.as_secs();
    (past >= SLOW_SECS).then(|| {
        Cause::new(
            CauseCode::ImageSlow,
            format!("The node has been fetching the image `{image}` for {past} s."),
            &[
                "Wait: a large image takes minutes the first time on a node.",
                "Load it on every node beforehand to start at once.",
            ],
        )
    })
}
