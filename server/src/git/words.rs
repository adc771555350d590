//! What git's exit and words mean, for a person. They are English, by `LANGUAGE=C`.

use super::{Ran, script};
use app::error::{ControlError, ErrorKind};

/// How much of git's words is shown.
const SHOWN: usize = 2000;

fn conflict(code: &str, message: impl Into<String>, steps: &[&str]) -> ControlError {
    let mut error = ControlError::new(ErrorKind::Conflict, code, message, "");
    error.next_steps = steps.iter().map(|step| (*step).to_owned()).collect();
    error
}

/// git's own words, without steps of progress and hints.
#[must_use]
pub fn told(stderr: &str) -> String {
    let lines = stderr.split(['\n', '\r']).map(str::trim_end);
    let lines =
        lines.filter(|line| !line.is_empty() && !line.starts_with("hint:") && (!line.contains("% (") || line.ends_with("done.")));
    let text: String = lines.collect::<Vec<_>>().join("\n").chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let cut = text.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
    text[cut..].trim().to_owned()
}

/// Why a script did not do what it was for; `None` where it did. `what` is the folder, `doing` stands after "could not
/// be".
#[must_use]
pub fn refusal(ran: &Ran, folder: &str, doing: &str) -> Option<ControlError> {
    let terminal = format!("In the terminal: cd ~/{folder}");
    let code = match ran.code {
        Some(0) => return None,
        Some(code) => code,
        None if ran.timed_out => {
            let message = format!("git took longer than it may, and was ended; ~/{folder} could not be {doing}.");
            return Some(conflict("git-late", message, &["Do it in the terminal, where it may take as long as it needs."]));
        }
        None => {
            let message =
                format!("git was ended in the middle, so ~/{folder} could not be {doing}: the sandbox may be short of memory.");
            return Some(conflict("git-ended", message, &["Try again.", "Do it in the terminal."]));
        }
    };
    Some(match code {
        script::NO_GIT => {
            conflict("no-git", "There is no git in the sandbox's image.", &["Tell the operator: the image needs git for this."])
        }
        script::NO_FOLDER => {
            let message = format!("There is no folder ~/{folder} in the sandbox any more.");
            conflict("folder-gone", message, &["Move it back, or clone the repository into it in the terminal."])
        }
        script::LINK => {
            let message = format!("~/{folder} is a link to another place, and no folder of the home folder itself.");
            conflict("folder-is-a-link", message, &["Name the folder that it leads to, or move that one here, in its place."])
        }
        script::NO_REPOSITORY => {
            let message = format!("The folder ~/{folder} is no repository any more: it has no .git.");
            conflict("not-a-repository", message, &["Clone the repository again in the terminal."])
        }
        script::NOTHING => conflict(
            "nothing-to-commit",
            format!("There is nothing in ~/{folder} to be {doing}: it has no changes that git does not ignore."),
            &["Change a file first. What .gitignore names is left out."],
        ),
        script::CONFLICTS => conflict(
            "merge-conflicts",
            format!("Files in ~/{folder} are in conflict, from a merge that is under way."),
            &[
                "Mend them, and mark them by `git add` in the terminal.",
                "To give the merge up: git merge --abort, or git rebase --abort.",
            ],
        ),
        script::DETACHED => conflict(
            "no-branch",
            format!("No branch is checked out in ~/{folder}."),
            &[&terminal, "Then: git switch -c NAME, and try again."],
        ),
        script::NO_COMMIT => conflict("no-commit", format!("There is no commit in ~/{folder} yet."), &["Commit first."]),
        script::NO_ORIGIN => conflict(
            "no-origin",
            format!("~/{folder} knows no remote `origin` any more."),
            &[&terminal, "Then: git remote add origin ADDRESS, with the project's repository."],
        ),
        script::OTHER_ORIGIN => {
            let other: String = String::from_utf8_lossy(&ran.stdout).chars().filter(|c| !c.is_control()).take(200).collect();
            // A name and password may stand in it.
            let other = other.rsplit_once('@').map_or(other.as_str(), |(_, behind)| behind);
            let message = format!("~/{folder} belongs to another repository already: its remote `origin` is {other}.");
            conflict(
                "other-origin",
                message,
                &["To keep it under another name, in the terminal: git remote rename origin upstream", "Then publish again."],
            )
        }
        _ => by_words(&ran.stderr, folder, doing),
    })
}

/// How a repository's host answered, where it did and had an error: `The requested URL returned error: 503`.
#[must_use]
pub fn host_answered(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("The requested URL returned error: ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some(match rest[..digits].parse().ok()? {
        429 => "says that it is asked too often".to_owned(),
        status @ 400..=599_u16 => format!("answered with an error, {status}"),
        _ => return None,
    })
}

/// GitHub lets the account read at most.
#[must_use]
pub fn push_forbidden() -> ControlError {
    conflict(
        "push-forbidden",
        "The GitHub account that is connected may not push to this repository.",
        &["Ask its owner for the right to write.", "Or fork it at GitHub, and start a project from the fork."],
    )
}

/// GitHub shows the account no such repository.
#[must_use]
pub fn push_not_found() -> ControlError {
    conflict(
        "push-not-found",
        "There is no such repository at its host any more, or it is not shown to the account that is connected.",
        &["Look at GitHub whether it was renamed or deleted."],
    )
}

/// A failure of git's own.
fn by_words(stderr: &str, folder: &str, doing: &str) -> ControlError {
    let has = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
    if has(&["(fetch first)", "(non-fast-forward)", "(stale info)"]) {
        return conflict(
            "push-rejected",
            "The repository has commits that are not in the sandbox, so the push was rejected. Nothing was lost on either side.",
            &["In the terminal, have them first: git pull --rebase", "Mend conflicts if there are any, and push again."],
        );
    }
    if has(&["GH001", "exceeds GitHub's file size limit", "Large files detected"]) {
        return conflict(
            "push-too-large",
            "GitHub takes no file over 100 MB, and one of the commits has one.",
            &["Take it out of the commit, and have .gitignore name it.", "Or keep it with Git LFS."],
        );
    }
    if has(&["GH007"]) {
        return conflict(
            "push-email-private",
            "GitHub refuses it: a commit carries an e-mail address of yours that is private there.",
            &[
                "In the terminal: git commit --amend --reset-author, with the address that GitHub's settings name for this.",
                "Push again.",
            ],
        );
    }
    if has(&["without `workflow` scope", "without `workflows` permission"]) {
        return conflict(
            "push-workflow",
            "GitHub refuses it: a commit changes a file below .github/workflows, which this installation's access does not include.",
            &["Push that commit from elsewhere, or take the file out of it."],
        );
    }
    if has(&["GH006", "protected branch", "GH013", "rule violations"]) {
        return conflict(
            "push-protected",
            "The repository's rules do not let this branch be pushed to.",
            &["In the terminal, push to a branch of its own: git switch -c NAME", "Then make a pull request at GitHub."],
        );
    }
    if has(&["error: 403", "Permission to", "Write access to repository not granted"]) {
        return push_forbidden();
    }
    if has(&["could not read Username", "could not read Password", "Authentication failed", "error: 401"]) {
        return conflict(
            "push-signed-out",
            "The repository's host wants to know who pushes, and there is no account for it here, or it takes it no more.",
            &["If it is at GitHub, connect GitHub in the settings, and push again."],
        );
    }
    if has(&["Repository not found", "not found", "error: 404"]) {
        return push_not_found();
    }
    if has(&["Author identity unknown", "Please tell me who you are", "unable to auto-detect email address"]) {
        return conflict(
            "author-unknown",
            "git does not know whose commits these are.",
            &[
                "Connect GitHub in the settings.",
                "Or say it in the terminal: git config --global user.name NAME, and user.email ADDRESS.",
            ],
        );
    }
    if has(&[".lock': File exists", "Another git process"]) {
        return conflict(
            "git-busy",
            format!("Another git works in ~/{folder}, or was ended in the middle."),
            &["Wait until it is done, and try again.", "If none runs: rm .git/index.lock in the terminal."],
        );
    }
    if has(&["No space left", "Disk quota", "disk I/O"]) {
        return conflict("disk-full", "The sandbox's disk is full.", &["Delete files that are not needed."]);
    }
    if has(&["Could not resolve", "Failed to connect", "Connection refused", "Couldn't connect", "timed out", "Connection reset"])
    {
        return conflict("host-away", "The repository's host does not answer the sandbox.", &["Try again in a minute."]);
    }
    if let Some(answered) = host_answered(stderr) {
        return conflict("host-away", format!("The repository's host {answered}."), &["Try again in a few minutes."]);
    }
    let said = told(stderr);
    let message = match said.is_empty() {
        true => format!("~/{folder} could not be {doing}."),
        false => format!("~/{folder} could not be {doing}. git says: {said}"),
    };
    conflict("git-failed", message, &["Read what git says, and do it in the terminal."])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32, stderr: &str) -> ControlError {
        let ran =
            Ran { code: Some(code), timed_out: false, stdout: b"https://u:p@git.example/a".to_vec(), stderr: stderr.into() };
        refusal(&ran, "app", "pushed").unwrap()
    }

    #[test]
    fn what_git_says_has_a_way_on() {
        for (stderr, code) in [
            (" ! [rejected]        HEAD -> main (fetch first)\nerror: failed to push some refs", "push-rejected"),
            (" ! [rejected]        main -> main (non-fast-forward)", "push-rejected"),
            ("remote: error: GH001: Large files detected.", "push-too-large"),
            ("remote: error: GH006: Protected branch update failed", "push-protected"),
            (
                "remote: Permission to a/b.git denied to c.\nfatal: unable to access 'x': The requested URL returned error: 403",
                "push-forbidden",
            ),
            ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "push-signed-out"),
            ("remote: Repository not found.\nfatal: repository 'x' not found", "push-not-found"),
            ("refusing to allow an OAuth App to create or update workflow `x` without `workflow` scope", "push-workflow"),
            ("Author identity unknown\n\n*** Please tell me who you are.", "author-unknown"),
            ("fatal: Unable to create '/home/agent/app/.git/index.lock': File exists.", "git-busy"),
            ("fatal: unable to access 'x': Could not resolve host: github.com", "host-away"),
            ("fatal: unable to access 'x': The requested URL returned error: 503", "host-away"),
            ("error: RPC failed; HTTP 429 curl 22 The requested URL returned error: 429", "host-away"),
            ("error: something else", "git-failed"),
        ] {
            let error = of(1, stderr);
            assert_eq!(error.code, code, "{stderr}");
            assert!(!error.next_steps.is_empty() && !error.message.is_empty());
        }
        for (status, said) in [("429", "asked too often"), ("503", "an error, 503")] {
            let error = of(1, &format!("fatal: unable to access 'x': The requested URL returned error: {status}\n"));
            assert!(error.message.contains(said), "{}", error.message);
        }
        for code in 66..=74 {
            let error = of(code, "");
            assert!(error.code != "git-failed" && !error.next_steps.is_empty(), "{code}");
            assert!(!error.message.contains("u:p"), "{}", error.message);
        }
        assert!(of(1, "error: one\nhint: two\nCounting: 50% (1/2)\r").message.ends_with("git says: error: one"));
        assert!(refusal(&Ran { code: Some(0), timed_out: false, stdout: vec![], stderr: "x".into() }, "app", "x").is_none());
    }
}
