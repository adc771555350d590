//! What the apiserver answers, and what stands between it and us.

use super::{between, refusal};
use kube::{
    Error,
    client::{AuthError, UpgradeConnectionError},
    core::Status,
};
use model::{Cause, CauseCode};
use std::iter::successors;

/// The cluster at the beginning of a sentence, where nobody knows more of it.
pub(crate) const CLUSTER: &str = "The cluster";
const AGAIN: &str = "It is tried again by itself.";

/// From an answer that was no success. `doing` is a verb with its object: `make the Service`.
#[must_use]
pub fn of_error(error: &Error, doing: &str) -> Cause {
    explain(error, doing, CLUSTER)
}

/// As [`of_error`], with another name for the cluster at the beginning of a sentence.
pub(crate) fn explain(error: &Error, doing: &str, who: &str) -> Cause {
    if let Some(why) = no_credentials(error) {
        return Cause::new(
            CauseCode::CredentialsRefused,
            format!("{who} was not asked to {doing}: what gets the kubeconfig's credentials {why}."),
            &["Run it by hand as the server's user, and mend what it says.", AGAIN],
        );
    }
    match error {
        Error::Api(status) => of_status(status, doing, who).answered(status.code),
        Error::Auth(_) => credentials(doing, who).with_detail(chain(error)),
        // An upgrade that is refused comes without its words; a port-forward is the one that is asked for.
        Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) if code.as_u16() == 403 => Cause::new(
            CauseCode::PermissionMissing,
            format!("The account may not create pods/portforward in {}, so it was not possible to {doing}.", within(who)),
            &[
                "Give it that permission: the Role needs the verbs `get` and `create` on `pods/portforward`.",
                "Or run the server in the cluster, where pods are reached by their address.",
            ],
        )
        .answered(code.as_u16()),
        Error::Service(_) | Error::HyperError(_) | Error::ReadEvents(_) | Error::RustlsTls(_) | Error::TlsRequired => {
            unreachable(&chain(error), doing, who)
        }
        _ => Cause::new(
            CauseCode::Unexpected,
            format!("{who} gave an answer that could not be understood when asked to {doing}."),
            &[AGAIN, "Look at the server's log for this sandbox's name."],
        )
        .with_detail(chain(error)),
    }
}

/// An object with one of our names that is another sandbox's or project's than the one that it is wanted for, or not of our
/// installation at all.
#[must_use]
pub fn name_taken(kind: &str, name: &str, namespace: &str) -> Cause {
    Cause::new(
        CauseCode::NameTaken,
        format!(
            "The {kind} `{name}` exists in the namespace `{namespace}` and was made for something else, so it is left alone."
        ),
        &[
            &format!("Look whose it is: `kubectl -n {namespace} get {} {name} --show-labels`.", kind.to_lowercase()),
            "Delete or rename it, if nobody needs it; this goes on by itself then.",
        ],
    )
}

fn of_status(status: &Status, doing: &str, who: &str) -> Cause {
    let text = status.message.as_str();
    if matches!(status.code, 403 | 422 | 400 | 500)
        && let Some(known) = refusal::read(text)
    {
        return known;
    }
    let object = match status.details.as_ref().map(|details| (details.kind.as_str(), details.name.as_str())) {
        None | Some(("", "")) => String::new(),
        Some((kind, "")) => format!(" ({kind})"),
        Some(("", name)) => format!(" (`{name}`)"),
        Some((kind, name)) => format!(" ({kind} `{name}`)"),
    };
    let cause = match status.code {
        401 => credentials(doing, who),
        403 => permission(text, doing, who),
        404 if text.contains("namespaces \"") => Cause::new(
            CauseCode::NamespaceMissing,
            format!(
                "The namespace `{}` does not exist in {}.",
                between(text, "namespaces \"", "\"").unwrap_or_default(),
                within(who)
            ),
            &[
                "Make it: `kubectl create namespace NAME`.",
                "Or name another: in the kubeconfig's context, or by --namespace NAME.",
            ],
        ),
        404 if text.contains("could not find the requested resource") || text.contains("page not found") => Cause::new(
            CauseCode::ObjectRefused,
            format!("{who} does not know the kind of object that is needed to {doing}."),
            &["Look at the doctor, which checks the cluster's version and what is installed in it."],
        ),
        404 => Cause::new(
            CauseCode::Unexpected,
            format!("An object{object} that was needed to {doing} is gone."),
            &["It is made again by itself."],
        ),
        409 if status.reason == "AlreadyExists" => Cause::new(
            CauseCode::NameTaken,
            format!("There is an object{object} already with the name that was needed to {doing}."),
            &["It is looked at again by itself: what is this installation's is used, what is foreign is left alone."],
        ),
        409 => Cause::new(
            CauseCode::OrchestratorBusy,
            format!("Somebody else changed an object{object} at the same moment, so it was not possible to {doing}."),
            &[AGAIN, "Look who else writes to it (`kubectl get … --show-managed-fields`), if this stays."],
        ),
        400 | 406 | 413 | 415 | 422 => Cause::new(
            CauseCode::ObjectRefused,
            format!("{who} refused a field of an object{object}, so it was not possible to {doing}."),
            &[
                "The cluster's answer, below, names the field.",
                "Check the settings that it comes from: image, sizes, classes, annotations.",
            ],
        ),
        410 => Cause::new(
            CauseCode::OrchestratorBusy,
            "The cluster's history of changes was cut off.",
            &["Everything is read anew by itself."],
        ),
        429 => Cause::new(
            CauseCode::OrchestratorBusy,
            format!("{who} has too many requests to {doing} now."),
            &[
                "It is tried again by itself, later and later.",
                "Look at the apiserver's priority and fairness for this account, if this stays.",
            ],
        ),
        code => Cause::new(
            CauseCode::OrchestratorBusy,
            format!("{who} answered {code} when asked to {doing}."),
            &[AGAIN, "Look at the apiserver (and its etcd) if this stays."],
        ),
    };
    cause.with_detail(format!("{} {}: {text}", status.code, status.reason))
}

/// `deployments.apps is forbidden: User "u" cannot create resource "deployments" in API group "apps" in the
/// namespace "n"`.
fn permission(text: &str, doing: &str, who: &str) -> Cause {
    if let Some((before, missing)) = text.split_once("is attempting to grant RBAC permissions not currently held") {
        return grant(before, missing, doing);
    }
    let user = between(text, "User \"", "\"");
    // An admission of the cluster's own says it so, of whom nobody knows the words beforehand: no right is missing.
    if let Some((_, why)) = text.split_once(" is forbidden: ").filter(|_| user.is_none()) {
        return Cause::new(
            CauseCode::AdmissionRefused,
            format!("An admission rule of {} does not let anybody {doing}: {why}.", within(who)),
            &[
                "The cluster's answer, below, says which rule it is.",
                "Ask whoever runs the cluster for an exception for this namespace.",
            ],
        );
    }
    let verb = between(text, " cannot ", " resource");
    let resource = between(text, "resource \"", "\"");
    let (Some(user), Some(verb), Some(resource)) = (user, verb, resource) else {
        return Cause::new(
            CauseCode::PermissionMissing,
            format!("{who} does not allow this account to {doing}."),
            &["The doctor names each permission that is missing: `fullstack-agent doctor`."],
        );
    };
    let group = between(text, "API group \"", "\"").filter(|group| !group.is_empty());
    let resource = group.map_or_else(|| resource.to_owned(), |group| format!("{resource}.{group}"));
    Cause::new(
        CauseCode::PermissionMissing,
        format!("The account `{user}` may not {verb} {resource} in {}, so it was not possible to {doing}.", within(who)),
        &[
            &format!("Give it that permission: the Role needs the verb `{verb}` on `{resource}`."),
            "The doctor names each permission that is missing: `fullstack-agent doctor`.",
        ],
    )
}

/// The same in the middle of a sentence.
fn within(who: &str) -> String {
    who.strip_prefix("The ").map_or_else(|| who.to_owned(), |rest| format!("the {rest}"))
}

/// `roles.rbac.authorization.k8s.io "x" is forbidden: user "u" (groups=[…]) is attempting to grant RBAC permissions not
/// currently held:` and a line for each: `{APIGroups:[""], Resources:["configmaps"], Verbs:["create" "get"]}`.
fn grant(before: &str, missing: &str, doing: &str) -> Cause {
    let list = |rule: &str, key: &str| -> Vec<String> {
        let list = between(rule, &format!("{key}:["), "]").unwrap_or_default();
        list.split('"').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let rights: Vec<String> = missing
        .lines()
        .filter_map(|rule| {
            let (verbs, resources) = (list(rule, "Verbs"), list(rule, "Resources"));
            let group = list(rule, "APIGroups").pop().map(|group| format!(".{group}")).unwrap_or_default();
            let resources: Vec<String> = resources.iter().map(|resource| format!("{resource}{group}")).collect();
            (!resources.is_empty()).then(|| format!("{} {}", verbs.join(", "), resources.join(", ")))
        })
        .collect();
    let rights = rights.join("; ");
    let user = between(before, "user \"", "\"").unwrap_or_default();
    Cause::new(
        CauseCode::PermissionMissing,
        format!("The account `{user}` may not give rights that it has not itself ({rights}), so it was not possible to {doing}."),
        &[
            &format!("Give it those rights as well: {rights}."),
            "The doctor names each permission that is missing: `fullstack-agent doctor`.",
        ],
    )
}

fn credentials(doing: &str, who: &str) -> Cause {
    Cause::new(
        CauseCode::CredentialsRefused,
        format!("{who} does not accept the credentials any more (or never did), so it was not possible to {doing}."),
        &["Get a new kubeconfig: its token or certificate has run out, or was withdrawn.", "Check it: `kubectl auth whoami`."],
    )
}

/// No answer at all: TLS, name lookup, connection, time.
fn unreachable(text: &str, doing: &str, who: &str) -> Cause {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let (why, step) = if has(&["UnknownIssuer", "BadSignature"]) {
        (
            "its certificate is not from the authority that the kubeconfig names",
            "Check certificate-authority-data in the kubeconfig: it may be of another or an older cluster.",
        )
    } else if has(&["NotValidForName", "not valid for name"]) {
        (
            "its certificate is for another host name than the kubeconfig's",
            "Check the server's address, or set tls-server-name in the kubeconfig.",
        )
    } else if has(&["invalid peer certificate: Expired", "certificate expired", "NotValidYet", "not valid yet"]) {
        ("its certificate is not valid now", "Renew the apiserver's certificate, and check both clocks.")
    } else if has(&["CertificateExpired"]) {
        ("the kubeconfig's client certificate has run out", "Get a new kubeconfig.")
    } else if has(&["CertificateUnknown", "UnknownCA", "BadCertificate", "CertificateRequired"]) {
        ("it refuses the kubeconfig's client certificate", "Get a new kubeconfig for this cluster.")
    } else if has(&["InvalidContentType", "corrupt message"]) {
        ("what answers there does not speak TLS", "Check the server's address and port in the kubeconfig.")
    } else if has(&["dns error", "failed to lookup", "Name or service not known"]) {
        ("its host name is not known", "Check the server's address in the kubeconfig, and this machine's name lookup.")
    } else if has(&["Connection refused", "refused"]) {
        ("nothing listens at its address", "Look whether the apiserver runs, and check the server's address.")
    } else if has(&["timed out", "deadline", "Elapsed", "elapsed"]) {
        ("it did not answer in time", "Check the network between here and there: a firewall, a VPN that is off.")
    } else if has(&["No route to host", "unreachable"]) {
        ("there is no way to its address", "Check the network between here and there: a firewall, a VPN that is off.")
    } else {
        ("the connection failed", "Check the network between here and there.")
    };
    Cause::new(
        CauseCode::OrchestratorUnreachable,
        format!("{who} could not be reached to {doing}: {why}."),
        &[step, "It is tried again by itself, and goes on once the cluster answers."],
    )
    .with_detail(text)
}

/// Why what a kubeconfig names to get its credentials gave none. What it printed is in no word of it: that may be one.
pub(crate) fn no_credentials(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    successors(Some(error), |&error| error.source()).find_map(|error| match error.downcast_ref::<AuthError>()? {
        AuthError::AuthExecStart(error) => Some(format!("could not be started ({error})")),
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            let said = said.map(|line| format!(", and said: {}", line.chars().take(300).collect::<String>()));
            Some(format!("ended with {}{}", out.status, said.unwrap_or_default()))
        }
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => Some("printed something else".to_owned()),
        AuthError::ExecPluginFailed | AuthError::UnrefreshableTokenResponse => Some("printed none".to_owned()),
        AuthError::AuthExec(said) => Some(format!("gave none ({})", said.lines().next().unwrap_or_default())),
        _ => None,
    })
}

/// An error with everything that it says of where it came from.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut all = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !all.contains(&inner_text) {
            all = format!("{all}: {inner_text}");
        }
        source = inner.source();
    }
    all
}
