//! Projects and trees that somebody made in bad faith, and people who go on working.

use super::*;

/// A tree with names that only a broken or hostile store has.
fn raw_tree(store: &Store, entries: &[(&[u8], u32, ObjectId)]) -> ObjectId {
    let mut batch = store.batch();
    let entries = entries
        .iter()
        .map(|(name, mode, id)| crate::workspace::objects::TreeEntry {
            mode: *mode,
            name: name.to_vec(),
            id: *id,
        })
        .collect();
    let id = batch.tree(entries).unwrap();
    batch.finish().unwrap();
    id
}

#[test]
fn nothing_is_written_into_any_git() {
    let project = things([(".git/config", file("mine")), ("sub/x", file("x"))]);
    let mut result = things([("sub/x", file("x"))]);
    for path in [
        ".git/hooks/pre-commit",
        ".GIT/config",
        "sub/.git",
        "sub/.Git/config",
        "deep/a/.git /x",
        "git~1/x",
        "sub/.g\u{200c}it/config",
    ] {
        result.insert(path.to_owned(), mode("#!/bin/sh\nevil\n", 0o755));
    }
    let case = Case::new(&things([("sub/x", file("x"))]), &project, &result);
    let plan = case.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.refused.len(), 7);
    assert!(
        plan.refused
            .iter()
            .all(|refused| refused.why == Refusal::Git)
    );
    case.apply(&plan).unwrap();
    assert_eq!(case.look(), project);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let case = Case::new(&things([]), &things([]), &things([("a", file("a"))]));
    let blob = {
        let mut batch = case.store.batch();
        let id = batch.blob(b"evil").unwrap();
        batch.finish().unwrap();
        id
    };
    let long = [b'x'; 300];
    let result = raw_tree(&case.store, &[(&long, 0o100_644, blob)]);
    let plan = plan(&case.store, &case.base, &result, &case.project, &[]).unwrap();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.refused.len(), 1);
    assert_eq!(plan.refused[0].why, Refusal::Name);
    case.apply(&plan).unwrap();
    // The store refuses such trees before the plan does.
    let inner = raw_tree(&case.store, &[(b"escape", 0o100_644, blob)]);
    for name in [&b".."[..], b"."] {
        let result = raw_tree(&case.store, &[(name, 0o040_000, inner)]);
        let error = super::plan(&case.store, &case.base, &result, &case.project, &[]).unwrap_err();
        assert!(matches!(error, Error::Diff(_)), "{error:?}");
    }
    assert!(!case.project.parent().unwrap().join("escape").exists());
}

#[test]
fn bytes_that_are_no_text_are_names_all_the_same() {
    let case = Case::new(&things([]), &things([]), &things([]));
    let mut batch = case.store.batch();
    let blob = batch.blob(b"x").unwrap();
    batch.finish().unwrap();
    let result = raw_tree(&case.store, &[(b"\xff\n\x1b[31m", 0o100_644, blob)]);
    let plan = plan(&case.store, &case.base, &result, &case.project, &[]).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let plan: Plan = serde_json::from_str(&text).unwrap();
    case.apply(&plan).unwrap();
    let names: Vec<_> = fs::read_dir(&case.project)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names[0].as_encoded_bytes(), b"\xff\n\x1b[31m");
}

#[test]
fn a_link_that_leads_out_is_flagged_and_never_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap();
    let case = Case::new(
        &things([]),
        &things([]),
        &things([("out", link(target)), ("in", link("a"))]),
    );
    let plan = case.plan();
    let flags: Vec<_> = plan.steps.iter().map(|step| step.flags.clone()).collect();
    assert_eq!(flags, [vec![], vec![Flag::LinkOutside(target.into())]]);
    case.apply(&plan).unwrap();
    // Now the link is in the project, and the agent replaced it by a folder of files.
    let result = tree(&case.store, &things([("out/file", file("x"))]));
    let next = super::plan(&case.store, &case.base, &result, &case.project, &[]).unwrap();
    assert_eq!(
        actions(&next),
        [(
            "out/file".to_owned(),
            Action::Conflict(Why::ThroughLink(b"out".to_vec()))
        )]
    );
    assert_eq!(next.writes, []);
    case.apply(&next).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // With the link in the base, it goes and the folder comes.
    let next = super::plan(&case.store, &case.result, &result, &case.project, &[]).unwrap();
    case.apply(&next).unwrap();
    assert_eq!(case.look(), things([("out/file", file("x"))]));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_folder_swapped_for_a_link_after_the_plan_is_refused() {
    let base = things([("d/f", file("1")), ("g", file("1"))]);
    let result = things([("d/f", file("2")), ("d/new", file("n")), ("g", file("2"))]);
    let case = Case::new(&base, &base, &result);
    let plan = case.plan();
    let outside = case.project.with_extension("outside");
    fs::rename(case.project.join("d"), &outside).unwrap();
    symlink(&outside, case.project.join("d")).unwrap();
    let before = case.look();
    assert!(matches!(case.apply(&plan), Err(Error::Changed { .. })));
    assert_eq!(case.look(), before);
    assert_eq!(look(&outside), things([("f", file("1"))]));
}

#[test]
fn a_project_swapped_for_a_link_or_another_folder_is_refused() {
    let case = Case::new(&things([]), &things([]), &things([("f", file("x"))]));
    let plan = case.plan();
    let moved = case.project.with_extension("moved");
    fs::rename(&case.project, &moved).unwrap();
    symlink(&moved, &case.project).unwrap();
    assert!(matches!(case.apply(&plan), Err(Error::Io { .. })));
    fs::remove_file(&case.project).unwrap();
    fs::create_dir(&case.project).unwrap();
    assert!(matches!(case.apply(&plan), Err(Error::Moved)));
    assert_eq!((look(&moved), case.look()), (things([]), things([])));
}

#[test]
fn whatever_the_person_changed_since_the_plan_is_kept() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 8] = [
        ("content", |p| fs::write(p.join("f"), "mine").unwrap()),
        ("mode", |p| {
            fs::set_permissions(p.join("f"), fs::Permissions::from_mode(0o600)).unwrap()
        }),
        ("deleted", |p| fs::remove_file(p.join("f")).unwrap()),
        ("a link", |p| {
            fs::remove_file(p.join("f")).unwrap();
            symlink("keep", p.join("f")).unwrap();
        }),
        ("a folder", |p| {
            fs::remove_file(p.join("f")).unwrap();
            fs::create_dir(p.join("f")).unwrap();
        }),
        ("what the agent deletes", |p| {
            fs::write(p.join("gone"), "mine").unwrap()
        }),
        ("what the agent creates", |p| {
            fs::write(p.join("new"), "mine").unwrap()
        }),
        ("what the agent's folder needs", |p| {
            fs::write(p.join("folder"), "mine").unwrap()
        }),
    ];
    let base = things([("f", file("1")), ("gone", file("1")), ("keep", file("k"))]);
    let result = things([
        ("f", file("2")),
        ("keep", file("k")),
        ("new", file("n")),
        ("folder/x", file("x")),
    ]);
    for (what, change) in changes {
        let case = Case::new(&base, &base, &result);
        let plan = case.plan();
        change(&case.project);
        let before = case.look();
        let error = case.apply(&plan).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{what}: {error:?}");
        assert_eq!(case.look(), before, "{what}");
        // The writes alone, as if the change had come between the check and them, keep it too.
        let project = project::Project::open(&case.project).unwrap();
        assert!(
            write::Writer::new(&case.store, &project, KEEP.token, &backup::Rights::new())
                .all(&plan.writes)
                .is_err(),
            "{what}"
        );
        assert_eq!(case.look(), before, "{what}: found by the write itself");
    }
}

#[test]
fn things_that_are_no_files_are_left_alone() {
    let case = Case::new(
        &things([("f", file("1"))]),
        &things([]),
        &things([("f", file("2")), ("p", file("p"))]),
    );
    for name in ["f", "p"] {
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            case.project.join(name),
            rustix::fs::Mode::RWXU,
        )
        .unwrap();
    }
    let plan = case.plan();
    let expected = ["f", "p"].map(|path| (path.to_owned(), Action::Conflict(Why::Unreadable)));
    assert_eq!(actions(&plan), expected);
    case.apply(&plan).unwrap();
    assert_eq!(fs::read(case.project.join("f.treefort")).unwrap(), b"2");
}

/// The steps that change what git does, when the agent makes this of a project.
fn git_steps(project: &Things, more: Things) -> Vec<String> {
    let mut result = project.clone();
    result.extend(more);
    let case = Case::new(project, project, &result);
    let steps = case.plan().steps.into_iter();
    steps
        .filter(|step| step.flags.contains(&Flag::GitConfig))
        .map(|step| String::from_utf8(step.path).unwrap())
        .collect()
}

#[test]
fn a_folder_that_git_takes_for_a_repository_is_flagged() {
    let any = || file("");
    let whole = things([
        ("data/HEAD", file("ref: refs/heads/x")),
        ("data/config", file("[core]\nfsmonitor = evil")),
        ("data/hooks/x", any()),
        ("data/objects/x", any()),
        ("data/refs/x", any()),
        ("other/HEAD", any()),
        ("other/config", any()),
        ("other/hooks/x", any()),
    ]);
    assert_eq!(
        git_steps(&things([]), whole),
        ["data/HEAD", "data/config", "data/hooks/x"]
    );
    // A repository of two halves: the one says where the other is.
    let halves = things([
        ("a/HEAD", any()),
        ("a/commondir", file("../b")),
        ("a/config.worktree", any()),
        ("b/config", any()),
        ("b/objects", Thing::Folder),
        ("b/refs", Thing::Folder),
    ]);
    assert_eq!(
        git_steps(&things([]), halves),
        ["a/HEAD", "a/commondir", "a/config.worktree", "b/config"]
    );
    // What the project has already, and that lacks a part.
    let project = things([
        ("d/HEAD", any()),
        ("d/config", any()),
        ("d/objects/x", any()),
    ]);
    let more = things([("d/refs/x", any()), ("d/x", any())]);
    assert_eq!(git_steps(&project, more), ["d/refs/x"]);
    let project = things([("d/objects/x", any()), ("d/refs/x", any())]);
    let more = things([("d/Head", any()), ("d/CONFIG", any()), ("d/refs/y", any())]);
    assert_eq!(git_steps(&project, more), ["d/CONFIG", "d/Head"]);
}

#[test]
fn a_link_that_the_project_has_already_is_looked_at_when_it_or_what_it_leads_to_changes() {
    let base = things([
        (".envrc", link("env/chain")),
        (".husky", link("tools")),
        ("away", link("in")),
        ("env/chain", link("../dev.sh")),
        ("in", file("i")),
    ]);
    let mut result = base.clone();
    result.extend(things([
        ("away", link("../out")),
        ("dev.sh", file("evil")),
        ("tools/pre-commit.sh", file("evil")),
        ("tool", file("fine")),
    ]));
    let case = Case::new(&base, &base, &result);
    let flags: Vec<_> = case
        .plan()
        .steps
        .into_iter()
        .map(|step| step.flags)
        .collect();
    assert_eq!(
        flags,
        [
            vec![Flag::LinkOutside(b"../out".to_vec())],
            vec![Flag::Envrc],
            vec![],
            vec![Flag::GitHook],
        ]
    );
}
