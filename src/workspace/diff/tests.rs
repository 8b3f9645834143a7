use std::time::{Duration, Instant};

use super::*;
use crate::workspace::testing::{Thing, Things, file, link, mode, store, things, tree};

fn changed(a: &Things, b: &Things) -> (tempfile::TempDir, Store, Vec<Change>) {
    let (dir, store) = store();
    let (a, b) = (tree(&store, a), tree(&store, b));
    let changes = changes(&store, Some(&a), &b).unwrap();
    (dir, store, changes)
}

fn rendered(a: &str, b: &str) -> Rendered {
    let (_dir, store, changes) = changed(&things([("f", file(a))]), &things([("f", file(b))]));
    unified(&store, &changes[0], &Limits::default()).unwrap()
}

/// The hunks without the header.
fn body(rendered: &Rendered) -> &str {
    rendered.text.split_once("+++ b/f\n").unwrap().1
}

#[test]
fn finds_every_kind_of_change_and_nothing_else() {
    let a = things([
        ("same", file("s")),
        ("d/same", file("s")),
        ("gone", file("g")),
        ("modified", file("1")),
        ("mode", file("m")),
        ("type", file("t")),
        ("becomes/folder", file("f")),
        ("d/e/gone", file("g")),
        ("empty", Thing::Folder),
        ("filled", Thing::Folder),
        ("file", file("f")),
        ("to_file", Thing::Folder),
        ("to_folder", file("f")),
        ("to_file", Thing::Folder),
        ("to_folder", file("f")),
    ]);
    let b = things([
        ("same", file("s")),
        ("d/same", file("s")),
        ("modified", file("2")),
        ("mode", mode("m", 0o755)),
        ("type", link("t")),
        ("to_file", file("f")),
        ("to_folder", Thing::Folder),
        ("becomes", file("f")),
        ("d/new", file("n")),
        ("filled/x", file("x")),
        ("file/x", file("x")),
        ("new", Thing::Folder),
    ]);
    let (_dir, store, found) = changed(&a, &b);
    let found: Vec<_> = found
        .iter()
        .map(|change| (String::from_utf8(change.path.clone()).unwrap(), change.kind))
        .collect();
    use ChangeKind::{Added, Deleted, Mode, Modified, Type};
    let expected = [
        ("becomes", Added),
        ("becomes/folder", Deleted),
        ("d/e/gone", Deleted),
        ("d/new", Added),
        ("empty", Deleted),
        ("file", Deleted),
        ("file/x", Added),
        ("filled/x", Added),
        ("gone", Deleted),
        ("mode", Mode),
        ("modified", Modified),
        ("new", Added),
        ("to_file", Type),
        ("to_folder", Type),
        ("type", Type),
    ]
    .map(|(path, kind)| (path.to_owned(), kind));
    assert_eq!(found, expected);
    let all = changes(&store, None, &tree(&store, &a)).unwrap();
    assert_eq!(all.len(), a.len());
    assert!(
        all.iter()
            .all(|change| change.kind == Added && change.old.is_none())
    );
}

#[test]
fn equal_folders_are_not_opened() {
    let (_dir, store) = store();
    let mut batch = store.batch();
    // A tree that names one that the store does not have.
    let missing = TreeEntry {
        mode: 0o040_000,
        name: b"d".to_vec(),
        id: ObjectId::new([9; 20]),
    };
    let x = TreeEntry {
        mode: 0o100_644,
        name: b"x".to_vec(),
        id: batch.blob(b"x").unwrap(),
    };
    let a = batch.tree(vec![missing.clone()]).unwrap();
    let b = batch.tree(vec![missing, x]).unwrap();
    batch.finish().unwrap();
    assert_eq!(changes(&store, Some(&a), &b).unwrap().len(), 1);
}

#[test]
fn the_text_is_gits_and_git_can_apply_it() {
    let old: String = (1..=40).map(|n| format!("line {n}\n")).collect();
    let new = old
        .replace("line 3\n", "line three\n")
        .replace("line 30\n", "")
        .replace("line 40\n", "line 40\nmore");
    let rendered = rendered(&old, &new);
    assert_eq!(
        (
            rendered.added,
            rendered.removed,
            rendered.binary,
            rendered.cut
        ),
        (2, 2, false, false)
    );
    assert!(
        rendered.text.starts_with("diff --git a/f b/f\nindex "),
        "{}",
        rendered.text
    );
    assert!(
        rendered
            .text
            .ends_with("+more\n\\ No newline at end of file\n"),
        "{}",
        rendered.text
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), &old).unwrap();
    std::fs::write(dir.path().join("p"), &rendered.text).unwrap();
    let git = std::process::Command::new("git")
        .args(["apply", "--verbose", "p"])
        .current_dir(dir.path())
        .env("GIT_CEILING_DIRECTORIES", dir.path().parent().unwrap())
        .output()
        .unwrap();
    assert!(git.status.success(), "{git:?}\n{}", rendered.text);
    assert_eq!(std::fs::read_to_string(dir.path().join("f")).unwrap(), new);
}

#[test]
fn ends_of_lines_are_as_they_are() {
    assert_eq!(
        body(&rendered("a\r\nb\n", "a\nb\n")),
        "@@ -1,2 +1,2 @@\n-a\r\n+a\n b\n"
    );
    assert_eq!(
        body(&rendered("a", "a\n")),
        "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"
    );
    assert_eq!(body(&rendered("", "a\rb\n")), "@@ -0,0 +1 @@\n+a\rb\n");
}

#[test]
fn modes_links_and_names_are_shown_as_git_does() {
    let (_dir, store, changes) = changed(
        &things([("link", link("old")), ("mode", file("x"))]),
        &things([
            ("link", link("new")),
            ("mode", mode("x", 0o755)),
            ("q\"\n\u{e4}", file("x")),
        ]),
    );
    let text = |n: usize| {
        unified(&store, &changes[n], &Limits::default())
            .unwrap()
            .text
    };
    assert!(
        text(0).contains("-old\n\\ No newline at end of file\n+new\n"),
        "{}",
        text(0)
    );
    assert_eq!(
        text(1),
        "diff --git a/mode b/mode\nold mode 100644\nnew mode 100755\n"
    );
    assert!(
        text(2).starts_with("diff --git \"a/q\\\"\\n\\303\\244\" \"b/q"),
        "{}",
        text(2)
    );
    assert!(
        text(2).contains("new file mode 100644\n") && text(2).contains("--- /dev/null\n"),
        "{}",
        text(2)
    );
}

#[test]
fn what_is_no_text_and_what_is_too_much_is_said() {
    let binary = rendered("a\0", "b\0");
    assert!(binary.binary && binary.text.ends_with("Binary files a/f and b/f differ\n"));
    let long = rendered("x", &"y".repeat(1 << 20));
    assert!(long.cut && long.text.len() < 3_000 && long.text.contains("1046576 bytes more"));
    let many = rendered("", &"line\n".repeat(400_000));
    assert!(many.cut && many.text.len() < 300_000);
    assert_eq!(many.added, 400_000);
    let large = rendered("", &"x".repeat(5 << 20));
    assert!(large.cut && large.text.len() < 200);
}

#[test]
fn hostile_texts_end_within_the_deadline() {
    // Nothing in common, and many lines: the worst case of the algorithm.
    let a: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let b: String = (0..200_000).map(|n| format!("-{n}\n")).collect();
    // A few different lines in another order: many equal lines at every place.
    let c: String = (0..200_000)
        .map(|n| ["x\n", "y\n", "z\n"][n * n % 7 % 3])
        .collect();
    let d: String = (0..200_000)
        .map(|n| ["x\n", "y\n", "z\n"][n * 3 % 5 % 3])
        .collect();
    for (old, new) in [(&a, &b), (&c, &d), (&a, &d)] {
        let (old, new) = (lines::split(old.as_bytes()), lines::split(new.as_bytes()));
        let mut numbers = lines::Numbers::default();
        let (old, new) = (numbers.of(&old), numbers.of(&new));
        let start = Instant::now();
        let compared = lines::compare(&old, &new, Duration::from_millis(300));
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
        assert!(compared.cut);
        // Coarse, but right.
        let mut made = Vec::new();
        for op in compared.ops {
            match op.tag() {
                similar::DiffTag::Equal => made.extend_from_slice(&old[op.old_range()]),
                _ => made.extend_from_slice(&new[op.new_range()]),
            }
        }
        assert!(made == new);
    }
}
