use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use super::*;
use crate::workspace::testing::{Things, file, lay, link, look, mode, things};

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=x", "-c", "user.email=x@x"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn copied(source: &Path, options: &Options) -> (Things, Imported) {
    let into = tempfile::tempdir().unwrap();
    let imported = copy(source, into.path(), options, None).unwrap();
    (look(into.path()), imported)
}

/// A repository with rules in every place that git knows.
fn project() -> (tempfile::TempDir, Things) {
    let dir = tempfile::tempdir().unwrap();
    let all = things([
        (
            ".gitignore",
            file("*.log\n/build/\n.env\n!keep.log\n# c\n\\#hash\nsp\\ ace\n**/deep/*.tmp\n"),
        ),
        ("src/main.rs", mode("fn main() {}", 0o600)),
        ("run.sh", mode("#!/bin/sh", 0o755)),
        (".hidden/x", file("x")),
        ("a.log", file("log")),
        ("keep.log", file("log")),
        ("build/out", file("o")),
        ("src/build/in", file("o")),
        (".env", file("KEY=1")),
        ("#hash", file("h")),
        ("sp ace", file("h")),
        ("x/deep/a.tmp", file("t")),
        ("x/.gitignore", file("local\n!a.log\n")),
        ("x/local", file("l")),
        ("x/a.log", file("back")),
        ("excluded", file("e")),
        ("link", link("/etc/passwd")),
        ("dangling", link("no/where")),
        ("nested/.gitignore", file("own\n")),
        ("nested/own", file("o")),
        ("nested/a.log", file("not the outer's business")),
        ("empty", crate::workspace::testing::Thing::Folder),
    ]);
    lay(dir.path(), &all);
    git(dir.path(), &["init", "-q", "-b", "feature/x"]);
    git(&dir.path().join("nested"), &["init", "-q"]);
    fs::write(dir.path().join(".git/info/exclude"), "excluded\n").unwrap();
    (dir, all)
}

#[test]
fn copies_what_git_shows_and_says_what_it_left_out() {
    let (dir, all) = project();
    let (found, imported) = copied(dir.path(), &Options::default());
    // What git says of the outer repository; it takes a nested one for one entry.
    let listed = git(
        dir.path(),
        &["ls-files", "--others", "--exclude-standard", "-z"],
    );
    let mut expected: Things = listed
        .split('\0')
        .filter_map(|path| Some((path.to_owned(), all.get(path)?.clone())))
        .collect();
    for path in ["nested/.gitignore", "nested/a.log", "empty"] {
        expected.insert(path.to_owned(), all[path].clone());
    }
    // A folder is there though all that is in it is ignored.
    expected.insert("x/deep".to_owned(), all["empty"].clone());
    assert_eq!(found, expected);
    assert!(
        found.contains_key("x/a.log") && !found.contains_key(".env"),
        "the rules were tried"
    );
    assert_eq!(imported.branch.as_deref(), Some("feature/x"));
    assert_eq!(imported.files, u64::try_from(expected.len() - 2).unwrap());
    // a.log build .env #hash "sp ace" a.tmp local excluded own
    assert_eq!(imported.ignored, 9);
    let nested = Skipped {
        path: b"nested/.git".to_vec(),
        why: Reason::NestedGit,
    };
    assert_eq!(imported.skipped, [nested]);
}

#[test]
fn copies_ignored_files_when_asked() {
    let (dir, all) = project();
    let options = Options {
        ignored: true,
        ..Options::default()
    };
    let (found, imported) = copied(dir.path(), &options);
    assert_eq!((found, imported.ignored), (all, 0));
}

#[test]
fn a_folder_inside_a_repository_obeys_the_rules_above_it() {
    let (dir, _) = project();
    let (found, imported) = copied(&dir.path().join("x"), &Options::default());
    let names: Vec<_> = found.keys().collect();
    assert_eq!(
        names,
        [".gitignore", "a.log", "deep"],
        "deep is empty: its only file is ignored from above"
    );
    assert_eq!(imported.branch.as_deref(), Some("feature/x"));
    let mut git_ignores = Ignored::of(dir.path());
    for (path, ignored) in [
        ("a.log", true),
        ("x/a.log", false),
        ("build/out", true),
        ("nested/own", true),
        ("src/main.rs", false),
        ("excluded", true),
        ("none/at/all", false),
        ("x/deep/new.tmp", true),
    ] {
        assert_eq!(git_ignores.has(path.as_bytes()), ignored, "{path}");
    }
}

#[test]
fn a_worktree_has_its_branch_and_its_repositorys_excludes() {
    let (dir, _) = project();
    git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "x"]);
    let tree = dir.path().join("../worktree");
    let tree = tempfile::tempdir_in(tree.parent().unwrap()).unwrap();
    let path = tree.path().join("w");
    git(
        dir.path(),
        &[
            "worktree",
            "add",
            "-q",
            "-b",
            "other",
            path.to_str().unwrap(),
        ],
    );
    lay(
        &path,
        &things([("excluded", file("e")), ("kept", file("k"))]),
    );
    let (found, imported) = copied(&path, &Options::default());
    assert_eq!(found, things([("kept", file("k"))]));
    assert_eq!(imported.branch.as_deref(), Some("other"));
    git(&path, &["checkout", "-q", "--detach"]);
    assert_eq!(copied(&path, &Options::default()).1.branch, None);
}

#[test]
fn a_tracked_file_is_copied_though_a_rule_names_it() {
    let (dir, all) = project();
    git(dir.path(), &["add", "-f", "a.log", "build/out"]);
    let (found, imported) = copied(dir.path(), &Options::default());
    assert_eq!(found.get("a.log"), all.get("a.log"));
    assert_eq!(found.get("build/out"), all.get("build/out"));
    assert_eq!(imported.ignored, 7);
    assert!(!Ignored::of(dir.path()).has(b"a.log"));
}

#[test]
fn a_hostile_head_names_no_branch() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".git")).unwrap();
    for head in [
        "ref: refs/heads/../../x",
        "ref: refs/heads/a b",
        "ref: refs/heads/\x1b[31m",
        "0123",
        "",
        "ref: refs/heads/-x",
    ] {
        fs::write(dir.path().join(".git/HEAD"), head).unwrap();
        assert_eq!(
            copied(dir.path(), &Options::default()).1.branch,
            None,
            "{head:?}"
        );
    }
}

#[test]
fn keeps_modes_and_times_and_copies_nothing_that_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    lay(
        dir.path(),
        &things([("d/f", mode("x", 0o640)), ("l", link("d/f"))]),
    );
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000, 123_456_789);
    fs::File::open(dir.path().join("d/f"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    fs::set_permissions(dir.path().join("d"), fs::Permissions::from_mode(0o750)).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let into = tempfile::tempdir().unwrap();
    let imported = copy(dir.path(), into.path(), &Options::default(), None).unwrap();
    let skipped = ["fifo", "socket"].map(|path| Skipped {
        path: path.into(),
        why: Reason::Special,
    });
    assert_eq!(imported.skipped, skipped);
    let meta = fs::metadata(into.path().join("d/f")).unwrap();
    assert_eq!(
        (meta.modified().unwrap(), meta.mode() & 0o7777),
        (old, 0o640)
    );
    assert_eq!(
        fs::metadata(into.path().join("d")).unwrap().mode() & 0o7777,
        0o750
    );
    assert_eq!((imported.files, imported.bytes), (2, 1));
}

#[test]
fn a_link_to_a_folder_is_copied_as_a_link() {
    let dir = tempfile::tempdir().unwrap();
    symlink("/", dir.path().join("root")).unwrap();
    symlink(".", dir.path().join("circle")).unwrap();
    let (found, _) = copied(dir.path(), &Options::default());
    assert_eq!(found, things([("circle", link(".")), ("root", link("/"))]));
}

#[test]
fn says_what_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let mut many = things([("small", file("x"))]);
    many.extend((0..20).map(|n| (format!("assets/{n}"), file("0123456789"))));
    lay(dir.path(), &many);
    for (max_files, max_bytes, unit) in [(10, 1_000, "files"), (100, 100, "bytes")] {
        let options = Options {
            max_files,
            max_bytes,
            ..Options::default()
        };
        let into = tempfile::tempdir().unwrap();
        let error = copy(dir.path(), into.path(), &options, None).unwrap_err();
        assert!(
            matches!(&error, Error::TooLarge { unit: found, .. } if *found == unit),
            "{error}"
        );
        assert!(
            error.to_string().contains("assets") && error.to_string().contains(".gitignore"),
            "{error}"
        );
        assert_eq!(
            fs::read_dir(into.path()).unwrap().count(),
            0,
            "refused before anything is copied"
        );
    }
    let whole = weigh(dir.path(), &Options::default()).unwrap();
    assert_eq!((whole.files, whole.bytes), (21, 201));
    // A sparse file costs nothing to make and everything to copy.
    fs::File::create(dir.path().join("sparse"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let into = tempfile::tempdir().unwrap();
    assert!(copy(dir.path(), into.path(), &Options::default(), None).is_err());
    assert!(!into.path().join("sparse").exists());
}

#[test]
fn begins_only_in_an_empty_folder() {
    let dir = tempfile::tempdir().unwrap();
    lay(
        dir.path(),
        &things([("a/x", file("x")), ("b/y", file("y"))]),
    );
    let error = copy(
        &dir.path().join("a"),
        &dir.path().join("b"),
        &Options::default(),
        None,
    )
    .unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }));
}
