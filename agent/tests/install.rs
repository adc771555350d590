//! `sandbox-agent install DIR`, as an init container runs it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

fn install(folder: &Path) -> Output {
    // With the strictest umask: whoever runs the image is not whoever ran the init container.
    let line = "umask 077; exec \"$0\" install \"$1\"";
    Command::new("sh").args(["-c", line, env!("CARGO_BIN_EXE_sandbox-agent")]).arg(folder).output().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_copy_is_whole_and_everybody_may_run_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("deep/fsa");
    let said = install(&folder);
    assert!(said.status.success(), "{said:?}");
    let copy = folder.join("sandbox-agent");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(fs::read(&copy).unwrap() == fs::read(env!("CARGO_BIN_EXE_sandbox-agent")).unwrap());
    assert!(Command::new(&copy).arg("--version").output().unwrap().status.success());
    for file in ["passwd", "group"] {
        assert_eq!(fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o7777, 0o644);
        assert!(fs::read_to_string(folder.join(file)).unwrap().contains("\nagent:x:1000:"));
    }
    assert_eq!(names(&folder), ["group", "passwd", "sandbox-agent"]);
}

#[test]
fn a_running_one_is_replaced_and_keeps_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("sandbox-agent");
    fs::copy("/bin/sleep", &copy).unwrap();
    let mut running = Command::new(&copy).arg("60").spawn().unwrap();
    let before = fs::metadata(&copy).unwrap().ino();
    assert!(install(folder.path()).status.success());
    assert_ne!(fs::metadata(&copy).unwrap().ino(), before);
    assert!(running.try_wait().unwrap().is_none());
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(Command::new(&copy).arg("--version").output().unwrap().status.success());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let said = install(&file.join("fsa"));
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains(file.to_str().unwrap()), "{said:?}");
    let said = Command::new(env!("CARGO_BIN_EXE_sandbox-agent")).arg("install").output().unwrap();
    assert_eq!(said.status.code(), Some(2));
}
