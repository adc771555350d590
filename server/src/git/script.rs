//! What `sh` runs inside. Exit codes that are ours begin at 64, which git does not use.

/// The folder is not there.
pub const NO_FOLDER: i32 = 73;
/// There is no git in the image.
pub const NO_GIT: i32 = 74;
/// The folder is no repository.
pub const NO_REPOSITORY: i32 = 72;
/// There is nothing to commit, or nothing to publish.
pub const NOTHING: i32 = 71;
/// Files are in conflict.
pub const CONFLICTS: i32 = 70;
/// No branch is checked out.
pub const DETACHED: i32 = 69;
/// There is no commit yet.
pub const NO_COMMIT: i32 = 68;
/// There is no `origin`.
pub const NO_ORIGIN: i32 = 67;
/// `origin` is another repository.
pub const OTHER_ORIGIN: i32 = 66;
/// The folder is a link to somewhere else.
pub const LINK: i32 = 65;

/// `$1` a folder: the head's id and subject, `origin`, when something of what the branch follows was last heard (in seconds: by
/// a clone, a fetch or a push), and what `git status` says, each ended by a NUL.
pub const STATUS: &str = r#"
command -v git >/dev/null || exit 74
cd "$HOME/$1" 2>/dev/null || exit 73
[ -e .git ] || exit 72
export GIT_OPTIONAL_LOCKS=0
heard() {
    upstream=$(git rev-parse -q --symbolic-full-name '@{u}') || return
    git rev-parse --git-path FETCH_HEAD --git-path logs/refs/remotes/origin/HEAD --git-path "logs/$upstream" |
        while IFS= read -r file; do stat -c %Y "$file"; done | sort -n | tail -n 1
}
printf '%s\0' "$(git log -1 --format=%h 2>/dev/null)" "$(git log -1 --format=%s 2>/dev/null)" "$(git remote get-url origin 2>/dev/null)" \
    "$(heard 2>/dev/null)"
git status --porcelain=v2 --branch -z | head -c 500000
"#;

/// Folders of the home folder that can become a repository: `y` or `n` for whether it is one, and the name.
pub const FOLDERS: &str = r#"
cd "$HOME" || exit 73
for folder in */; do
    folder=${folder%/}
    [ -d "$folder" ] && [ ! -L "$folder" ] || continue
    if [ -e "$folder/.git" ]; then is=y; else is=n; fi
    printf '%s%s\0' "$is" "$folder"
done | head -c 50000
"#;

/// `$1` a folder; the message comes as standard input.
pub const COMMIT: &str = r#"
command -v git >/dev/null || exit 74
cd "$HOME/$1" 2>/dev/null || exit 73
[ -e .git ] || exit 72
[ -z "$(git ls-files -u | head -c 1)" ] || exit 70
[ -n "$(git status --porcelain | head -c 1)" ] || exit 71
git add -A && git commit -q -F - >&2
"#;

/// `$1` a folder, `$2` its repository's address; credentials come as standard input.
pub const PUSH: &str = r#"
command -v git >/dev/null || exit 74
cd "$HOME/$1" 2>/dev/null || exit 73
[ -e .git ] || exit 72
git rev-parse -q --verify HEAD >/dev/null || exit 68
git symbolic-ref -q HEAD >/dev/null || exit 69
git remote get-url origin >/dev/null 2>&1 || exit 67
url=$2
exec 3<&0 </dev/null
set -- --progress
git rev-parse -q --verify '@{u}' >/dev/null 2>&1 || set -- "$@" -u
git -c "credential.$url.helper=!f() { test \"\$1\" = get && cat <&3; }; f" -c credential.useHttpPath=true push "$@" origin HEAD >&2
"#;

/// `$1` a folder, `$2` the address of its repository where there is one already: whether it can be published. A link may lead to
/// the home folder itself, whose hidden files hold keys.
pub const LOOK: &str = r#"
command -v git >/dev/null || exit 74
home=$(cd "$HOME" && pwd -P) && cd "$HOME/$1" 2>/dev/null || exit 73
[ "$(pwd -P)" = "${home%/}/$1" ] || exit 65
if [ ! -e .git ]; then
    [ -n "$(ls -A)" ] || exit 71
    exit 0
fi
export GIT_OPTIONAL_LOCKS=0
if origin=$(git remote get-url origin 2>/dev/null) && [ "$origin" != "$2" ]; then printf '%s' "$origin"; exit 66; fi
[ -z "$(git ls-files -u | head -c 1)" ] || exit 70
git symbolic-ref -q HEAD >/dev/null || exit 69
git rev-parse -q --verify HEAD >/dev/null || [ -n "$(git status --porcelain | head -c 1)" ] || exit 71
"#;

/// `$1` a folder, `$2` the address of its new repository, `$3` a message, `$4` and `$5` whose commits; credentials come
/// as standard input. Each step looks whether it is done: after a crash it begins anew. What was a folder may be a link by now.
pub const PUBLISH: &str = r#"
home=$(cd "$HOME" && pwd -P) && cd "$HOME/$1" 2>/dev/null || exit 73
[ "$(pwd -P)" = "${home%/}/$1" ] || exit 65
url=$2
exec 3<&0 </dev/null
if [ ! -e .git ]; then
    [ -e .gitignore ] || printf '%s\n' node_modules/ .env .env.local '.env.*.local' .next/ dist/ build/ target/ __pycache__/ .venv/ '*.log' >.gitignore
    git -c init.defaultBranch=main init -q || exit
fi
if [ -n "$4" ] && [ -z "$(git config user.email)" ]; then git config user.name "$4" && git config user.email "$5" || exit; fi
git remote get-url origin >/dev/null 2>&1 || git remote add origin "$url" || exit
if [ -n "$(git status --porcelain | head -c 1)" ]; then
    git add -A && git commit -q -m "$3" >&2 || exit
fi
git rev-parse -q --verify HEAD >/dev/null || exit 71
git -c "credential.$url.helper=!f() { test \"\$1\" = get && cat <&3; }; f" -c credential.useHttpPath=true push --progress -u origin HEAD >&2
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

    fn run(script: &str, home: &Path, folder: &str) -> Option<i32> {
        let arguments = [folder, "http://127.0.0.1:9/a/b.git", "First", "Ada", "ada@example.com"];
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(arguments).env("HOME", home).stdin(std::process::Stdio::null());
        command.output().unwrap().status.code()
    }

    #[test]
    fn what_a_link_leads_to_is_not_published() {
        let outer = tempfile::tempdir().unwrap();
        let real = outer.path().join("real");
        for folder in ["home/app", "home/.ssh", "home/My app", "other"] {
            fs::create_dir_all(real.join(folder)).unwrap();
            fs::write(real.join(folder).join("file"), "x").unwrap();
        }
        // The way to the home folder may hold links, as those of hosts do.
        symlink(&real, outer.path().join("way")).unwrap();
        let home = outer.path().join("way/home");
        for (name, to) in [("whole", "."), ("keys", ".ssh"), ("out", "../other"), ("beside", "app"), ("again", "whole")] {
            symlink(to, home.join(name)).unwrap();
            for script in [LOOK, PUBLISH] {
                assert_eq!(run(script, &home, name), Some(LINK), "{name}");
            }
        }
        let begun = ["home/.git", "home/.ssh/.git", "home/app/.git", "other/.git"].map(|folder| real.join(folder).exists());
        assert_eq!(begun, [false; 4]);
        for folder in ["app", "My app"] {
            assert_eq!(run(LOOK, &home, folder), Some(0), "{folder}");
        }
        assert_eq!(run(PUBLISH, &home, "gone"), Some(NO_FOLDER));
    }
}
