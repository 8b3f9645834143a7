//! Any three states.

use std::collections::BTreeMap;

use super::*;

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => (prop::collection::vec(prop::sample::select(vec!["a\n", "b\n", "c\n", "\0"]), 0..5), prop::sample::select(vec![0o644, 0o755, 0o600]))
            .prop_map(|(lines, mode)| Thing::File(lines.concat().into_bytes(), mode)),
        1 => prop::sample::select(vec!["a", "../x", "/etc"]).prop_map(link),
        1 => Just(Thing::Folder),
    ]
}

/// Few paths, so that files, links and folders get in each other's way.
fn some_things() -> impl Strategy<Value = Things> {
    let path = prop::sample::select(vec![
        "a", "b", "a/a", "a/b", "b/a", "a/a/a", "b/a/b", "c/d/e", "c/d",
    ]);
    prop::collection::btree_map(path.prop_map(str::to_owned), thing(), 0..6).prop_map(|all| {
        // A path that others lie below can only be a folder.
        let inner: Vec<String> = all.keys().cloned().collect();
        all.into_iter()
            .filter(|(path, _)| {
                let below = format!("{path}/");
                !inner.iter().any(|other| other.starts_with(&below))
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_changes_of_the_persons_the_project_becomes_the_agents_tree(
        base in some_things(), result in some_things(), own in "[a-z]{1,4}",
    ) {
        let mut project = base.clone();
        // What git ignores, and its own folder, were never in the base.
        project.insert("ignored".to_owned(), file(&own));
        project.insert(".git/HEAD".to_owned(), file(&own));
        let case = Case::new(&base, &project, &result);
        let before = case.look();
        let plan = case.plan();
        prop_assert_eq!(&case.look(), &before);
        let applied = case.apply(&plan).unwrap();
        prop_assert_eq!(applied.conflicts, Vec::<Vec<u8>>::new());
        let mut expected = look_of(&result);
        expected.insert("ignored".to_owned(), file(&own));
        expected.insert(".git/HEAD".to_owned(), file(&own));
        // New files never get more than 0755, these ask for less.
        prop_assert_eq!(case.look(), expected);
        if let Some(backup) = applied.backup {
            case.take_back(&backup).unwrap();
            prop_assert_eq!(case.look(), before);
        }
    }

    #[test]
    fn with_any_changes_of_the_persons_nothing_of_theirs_is_lost(
        base in some_things(), project in some_things(), result in some_things(),
    ) {
        let case = Case::new(&base, &project, &result);
        let before = case.look();
        let plan = case.plan();
        let applied = case.apply(&plan).unwrap();
        // What neither the agent changed nor a step names is as it was.
        let after = case.look();
        for (path, thing) in &before {
            let touched = plan.writes.iter().any(|write| {
                write.path == path.as_bytes() || write.path.starts_with(format!("{path}/").as_bytes())
            });
            if !touched {
                prop_assert_eq!(after.get(path), Some(thing), "{}", path);
            }
            if *thing != Thing::Folder && base.get(path) != Some(thing) && result.get(path) != Some(thing) {
                // The person's own version: in the project, or merged and in the backup.
                let kept = after.get(path) == Some(thing) || applied.backup.is_some();
                prop_assert!(kept, "{}", path);
            }
        }
        prop_assert!(after.keys().all(|path| !path.contains(".treefort-")));
        if let Some(backup) = applied.backup {
            let taken = case.take_back(&backup).unwrap();
            prop_assert_eq!(taken.kept, BTreeMap::new());
            prop_assert_eq!(case.look(), before);
        }
    }

    #[test]
    fn wherever_it_is_cut_off_it_can_be_taken_back(
        base in some_things(), project in some_things(), result in some_things(),
        moments in 0_usize..24, more in 0_usize..24,
    ) {
        let case = Case::new(&base, &project, &result);
        let before = case.look();
        let plan = case.plan();
        let mut recorded = None;
        cut_off::for_moments(moments, || {
            let record = |backup| {
                recorded = Some(backup);
                Ok(())
            };
            drop(apply(&case.store, &plan, &case.project, KEEP, record));
        });
        if let Some(backup) = recorded {
            cut_off::for_moments(more, || drop(case.take_back(&backup)));
            let taken = case.take_back(&backup).unwrap();
            prop_assert_eq!(taken.kept, BTreeMap::new());
        }
        prop_assert_eq!(case.look(), before);
    }

    #[test]
    fn what_the_person_did_after_an_apply_survives_its_take_back(
        base in some_things(), result in some_things(), later in some_things(),
    ) {
        let case = Case::new(&base, &base, &result);
        let applied = case.apply(&case.plan()).unwrap();
        for entry in fs::read_dir(&case.project).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        lay(&case.project, &later);
        let theirs = case.look();
        let Some(backup) = applied.backup else { return Ok(()) };
        let taken = case.take_back(&backup).unwrap();
        let after = case.look();
        for (path, thing) in &theirs {
            let agents = result.get(path) == Some(thing);
            let merged = taken.merged > 0 && base.contains_key(path) && result.contains_key(path);
            if *thing != Thing::Folder && !agents && !merged {
                prop_assert_eq!(after.get(path), Some(thing), "{}", path);
            }
        }
        prop_assert!(after.keys().all(|path| !path.contains(".treefort-")));
    }
}

/// What a disk looks like with these things on it.
fn look_of(things: &Things) -> Things {
    let dir = tempfile::tempdir().unwrap();
    lay(dir.path(), things);
    look(dir.path())
}
