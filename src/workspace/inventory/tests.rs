use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use rustix::fs::{CWD, mkdirat};

use super::*;

#[test]
fn lists_workspaces_and_what_they_take() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(list(&dir.path().join("none")).unwrap(), []);
    let (one, two) = ("a".repeat(64), "b".repeat(64));
    fs::create_dir_all(dir.path().join(&one).join("tree")).unwrap();
    fs::write(dir.path().join(&one).join("tree/f"), vec![1; 100_000]).unwrap();
    fs::create_dir(dir.path().join(&two)).unwrap();
    fs::create_dir(dir.path().join("other")).unwrap();
    fs::write(dir.path().join("c".repeat(64)), "").unwrap();
    symlink("/", dir.path().join("d".repeat(64))).unwrap();
    // Not counted: what a link points to.
    symlink("/usr", dir.path().join(&two).join("usr")).unwrap();
    let found = list(dir.path()).unwrap();
    assert_eq!(
        found
            .iter()
            .map(|entry| entry.session.clone())
            .collect::<Vec<_>>(),
        [one, two]
    );
    assert_eq!(found[0].size.entries, 2);
    assert!(
        (100_000..300_000).contains(&found[0].size.bytes),
        "{:?}",
        found[0]
    );
    assert_eq!(found[1].size.entries, 1);
    assert_eq!(total(&found).entries, 3);
    assert_eq!(size(&found[0].path).unwrap(), found[0].size);
}

#[test]
fn removes_what_an_agent_left_behind_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "x").unwrap();
    let workspace = dir.path().join("w");
    fs::create_dir_all(workspace.join("tree/locked/inner")).unwrap();
    fs::write(workspace.join("tree/locked/inner/f"), "x").unwrap();
    symlink(&outside, workspace.join("tree/link")).unwrap();
    symlink(&outside, workspace.join("tree/locked/link")).unwrap();
    rustix::fs::mkfifoat(CWD, workspace.join("tree/fifo"), Mode::RWXU).unwrap();
    for (path, mode) in [
        ("tree/locked/inner", 0o000),
        ("tree/locked", 0o100),
        ("tree", 0o500),
    ] {
        fs::set_permissions(workspace.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    remove(&workspace).unwrap();
    assert!(!workspace.exists());
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "x");
    assert_eq!(
        fs::metadata(&outside).unwrap().permissions().mode() & 0o777,
        0o755
    );
    remove(&workspace).unwrap();
    // A link in the place of a workspace is not followed.
    symlink(&outside, &workspace).unwrap();
    assert!(remove(&workspace).is_err());
    assert!(outside.join("f").exists());
}

#[test]
fn depth_is_no_limit() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = dir.path().join("w");
    fs::create_dir(&workspace).unwrap();
    let mut at = beneath::open_root(&workspace).unwrap();
    for _ in 0..1_500 {
        mkdirat(&at, "deeper-and-deeper", Mode::RWXU).unwrap();
        at = beneath::open_dir(&at, b"deeper-and-deeper").unwrap();
    }
    assert!(size(&workspace).unwrap().more);
    remove(&workspace).unwrap();
    assert!(!workspace.exists());
}
