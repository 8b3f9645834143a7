//! What no checkpoint covers, and what of it is the agent's work.

use super::*;

fn named(found: &[Uncovered]) -> Vec<(String, Why, bool)> {
    let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    found
        .iter()
        .map(|left| (name(&left.path), left.why, left.work))
        .collect()
}

#[test]
fn folders_that_the_project_had_are_covered_whatever_their_names() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    fs::create_dir_all(tree.join("src/target")).unwrap();
    fs::write(tree.join("src/target/mod.rs"), "the project's").unwrap();
    fs::create_dir_all(tree.join("venv/bin")).unwrap();
    fs::write(tree.join("venv/bin/run"), "the project's too").unwrap();
    let was = state(&tree);
    let first = workspace.checkpoint("", 1).unwrap();
    assert_eq!(named(&first.uncovered), []);

    fs::write(tree.join("src/target/new.rs"), "new").unwrap();
    fs::remove_dir_all(tree.join("venv")).unwrap();
    fs::create_dir_all(tree.join("lib/target")).unwrap();
    let second = workspace.checkpoint("", 2).unwrap();
    assert_eq!(
        named(&second.uncovered),
        [("lib/target".to_owned(), Why::Rule, true)]
    );
    // It comes again, by other hands and for another process.
    fs::create_dir_all(tree.join("venv")).unwrap();
    fs::write(tree.join("venv/other"), "other").unwrap();
    drop(workspace);
    fs::remove_file(home.folder.path().join("w/cache")).unwrap();
    let mut workspace = home.open();
    let third = workspace.checkpoint("", 3).unwrap();
    assert_ne!(third.tree, second.tree);
    assert_eq!(named(&third.uncovered), named(&second.uncovered));
    fs::remove_dir_all(tree.join("lib")).unwrap();
    let done = workspace.undo(&first.commit, 4).unwrap();
    assert_eq!(done.after.tree, first.tree);
    assert_eq!(state(&tree), was);
}

#[test]
fn what_the_agent_did_where_no_checkpoint_reaches_is_told_from_what_was_there() {
    let home = Home::new();
    let mut workspace = home.workspace();
    workspace.rules.max_file_bytes = 100;
    let tree = workspace.tree_dir().to_owned();
    for name in ["changes", "goes", "stays"] {
        fs::write(tree.join(name), [7; 200]).unwrap();
    }
    let first = workspace.checkpoint("", 1).unwrap();
    assert_eq!(first.left_out, 0);
    assert!(first.uncovered.iter().all(|left| !left.work));
    assert_eq!(workspace.checkpoint_if_changed("", 2).unwrap(), None);

    fs::write(tree.join("changes"), [8; 200]).unwrap();
    fs::remove_file(tree.join("goes")).unwrap();
    fs::write(tree.join("comes"), [9; 300]).unwrap();
    let second = workspace.checkpoint_if_changed("", 3).unwrap().unwrap();
    assert_eq!(second.tree, first.tree, "nothing that is covered changed");
    assert_eq!(
        named(&second.uncovered),
        [
            ("changes", Why::TooLarge(200), true),
            ("comes", Why::TooLarge(300), true),
            ("goes", Why::Gone, true),
            ("stays", Why::TooLarge(200), false),
        ]
        .map(|(path, why, work)| (path.to_owned(), why, work))
    );
    assert_eq!(second.left_out, 3);
    assert_eq!(named(workspace.uncovered()), named(&second.uncovered));
    assert_eq!(workspace.checkpoint_if_changed("", 4).unwrap(), None);
    // The next process knows of it too, and says it once.
    let mut workspace = home.open();
    workspace.rules.max_file_bytes = 100;
    assert_eq!(workspace.checkpoints().unwrap()[1].left_out, 3);
    assert_eq!(workspace.checkpoint_if_changed("", 5).unwrap(), None);
    assert_eq!(named(workspace.uncovered()), named(&second.uncovered));
}

#[test]
fn of_more_than_can_be_named_it_is_said_how_many() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    for number in 0..9_000 {
        fs::create_dir_all(tree.join(format!("{number:05}/target"))).unwrap();
    }
    // The folders are not the project's.
    workspace.last = Some(workspace.checkpoint("", 1).unwrap());
    workspace.beginning = Beginning::default();
    let second = workspace.checkpoint("", 2).unwrap();
    let more = &second.uncovered[0];
    assert_eq!((more.path.len(), more.why), (0, Why::More(9_000 - 8_192)));
    assert_eq!(second.uncovered.len(), 8_193);
    assert_eq!(second.left_out, 9_000);
}

#[test]
fn a_checkpoint_without_room_is_refused_and_breaks_nothing() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    fs::write(tree.join("f"), "small").unwrap();
    let first = workspace.checkpoint("", 1).unwrap();
    let noise = |seed: u64| -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..12_500).flat_map(|_| next()).collect()
    };
    let mut room = 150_000;
    fs::write(tree.join("noise"), noise(1)).unwrap();
    let second = workspace.checkpoint_within("", 2, &mut room).unwrap();
    assert!(room > 40_000 && room < 50_000, "{room}");
    fs::write(tree.join("noise"), noise(2)).unwrap();
    for _ in 0..2 {
        let refused = workspace.checkpoint_within("", 3, &mut room);
        assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
    }
    assert_eq!(workspace.checkpoints().unwrap().len(), 2);
    assert_eq!(home.fsck(), "");
    // The owner can always go back, and forth.
    let done = workspace.undo(&first.commit, 4).unwrap();
    assert_eq!(done.after.tree, first.tree);
    let done = workspace.undo(&done.before.commit, 5).unwrap();
    assert_eq!(fs::read(tree.join("noise")).unwrap(), noise(2));
    assert_ne!(done.after.tree, second.unwrap().tree);
    assert_eq!(home.fsck(), "");
}
