//! Byte exactness, and what the stat cache must see.

use std::{fs::FileTimes, time::SystemTime};

use super::*;

#[test]
fn real_git_reads_back_every_byte() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    let odd: [&[u8]; 8] = [
        b"-rf",
        b"\xff\xfe",
        b"new\nline",
        b"*",
        b" ",
        b"\x1b[31m",
        b".gitignore",
        b"a\\b",
    ];
    for (number, name) in odd.iter().enumerate() {
        fs::write(
            tree.join(std::ffi::OsStr::from_bytes(name)),
            format!("{number}\r\n"),
        )
        .unwrap();
    }
    fs::write(tree.join(".gitignore"), "*\n").unwrap();
    fs::write(tree.join(".gitattributes"), "* text eol=lf\n").unwrap();
    let large: Vec<u8> = (0..20_000_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(tree.join("large"), &large).unwrap();
    fs::write(tree.join("none"), "").unwrap();
    symlink("a\nb", tree.join("link")).unwrap();
    let checkpoint = workspace.checkpoint("odd", 1).unwrap();
    assert_eq!(checkpoint.files, 12);
    assert_eq!(home.fsck(), "");
    let mut listed = State::new();
    for line in home
        .git(&["ls-tree", "-r", "-z", &checkpoint.tree.to_string()])
        .split_terminator('\0')
    {
        let (head, _) = line.split_once('\t').unwrap();
        let id: ObjectId = head.rsplit(' ').next().unwrap().parse().unwrap();
        let bytes = home.store.blob(&id).unwrap();
        assert_eq!(home.store.blob_size(&id).unwrap(), bytes.len() as u64);
        listed.insert(id.as_bytes().to_vec(), (0, bytes));
    }
    for (path, (_, bytes)) in state(&tree) {
        let id = ObjectId::of("blob", &bytes).unwrap();
        assert_eq!(listed[id.as_bytes().as_slice()].1, bytes, "{path:?}");
    }
    let size = home.git(&[
        "cat-file",
        "-s",
        &ObjectId::of("blob", &large).unwrap().to_string(),
    ]);
    assert_eq!(size, "20000000\n");
    let log = home.git(&["log", "--format=%B", "refs/treefort/w/1"]);
    assert!(log.starts_with("odd\n\nTreefort-Files: 12\n"), "{log}");
}

/// Enough files that they are flushed rather than read again and again.
fn many(tree: &Path) {
    for number in 0..40 {
        fs::write(tree.join(format!("one-of-many-{number}")), "x").unwrap();
    }
}

#[test]
fn a_file_with_the_same_size_and_mtime_but_other_bytes_is_seen() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let path = workspace.tree_dir().join("f");
    fs::write(&path, "old").unwrap();
    let long_ago = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    let set_back = || {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_times(long_ago).unwrap();
    };
    set_back();
    many(workspace.tree_dir());
    std::thread::sleep(std::time::Duration::from_millis(30));
    let first = workspace.checkpoint("", 1).unwrap();
    workspace.checkpoint("", 1).unwrap();
    let known = workspace.cache.get(b"f").unwrap();
    assert!(known.proven && known.stamp.is_some());
    fs::write(&path, "new").unwrap();
    set_back();
    let second = workspace.checkpoint("", 1).unwrap();
    assert_ne!(first.tree, second.tree);
    assert_eq!(second.before, Some(first.tree));
}

#[test]
fn a_change_in_the_same_tick_of_the_clock_is_seen() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let path = workspace.tree_dir().join("f");
    let mut last = None;
    for round in 0..100 {
        fs::write(&path, format!("{round:03}")).unwrap();
        let tree = Some(workspace.checkpoint("", 1).unwrap().tree);
        assert_ne!(tree, last);
        last = tree;
    }
}

#[test]
fn an_unchanged_tree_is_not_read_again_not_even_by_the_next_process() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let path = workspace.tree_dir().join("f");
    fs::write(&path, "bytes").unwrap();
    many(workspace.tree_dir());
    std::thread::sleep(std::time::Duration::from_millis(30));
    let first = workspace.checkpoint("", 1).unwrap();
    drop(workspace);
    let mut workspace = home.open();
    let accessed = |path: &Path| path.metadata().unwrap().accessed().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    // Setting a time changes the ctime: that alone has the file read once more.
    file.set_times(FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH))
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    workspace.checkpoint("", 1).unwrap();
    workspace.checkpoint("", 1).unwrap();
    assert!(workspace.cache.get(b"f").unwrap().proven);
    let read = accessed(&path);
    workspace.cache.save(&workspace.dir.join("cache")).unwrap();
    let mut workspace = home.open();
    let again = workspace.checkpoint("", 1).unwrap();
    assert_eq!(again.tree, first.tree);
    assert_eq!(again.number, 4);
    assert_eq!(accessed(&path), read);
    assert_eq!(
        workspace.cache.get(b"f").unwrap().id,
        ObjectId::of("blob", b"bytes").unwrap()
    );
}

#[test]
fn a_cache_whose_objects_are_gone_is_not_believed() {
    let home = Home::new();
    let mut workspace = home.workspace();
    fs::write(workspace.tree_dir().join("f"), "bytes").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    workspace.checkpoint("", 1).unwrap();
    let store = Arc::new(Store::open(&home.folder.path().join("other")).unwrap());
    let mut moved =
        Workspace::open(workspace.dir(), Arc::clone(&store), Rules::default(), None).unwrap();
    let checkpoint = moved.checkpoint("", 1).unwrap();
    assert_eq!(checkpoint.number, 1);
    assert!(store.has(&ObjectId::of("blob", b"bytes").unwrap()));
}

#[test]
fn two_names_of_one_file_are_two_files_after_an_undo() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    for name in ["a", "b"] {
        fs::write(tree.join(name), "same").unwrap();
    }
    fs::set_permissions(tree.join("b"), fs::Permissions::from_mode(0o600)).unwrap();
    let first = workspace.checkpoint("", 1).unwrap();
    let was = state(&tree);
    fs::remove_file(tree.join("b")).unwrap();
    fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    workspace.undo(&first.tree, 2).unwrap();
    assert_eq!(state(&tree), was);
}

#[test]
fn an_id_that_is_no_checkpoint_is_refused_and_nothing_is_touched() {
    let home = Home::new();
    let mut workspace = home.workspace();
    fs::write(workspace.tree_dir().join("f"), "bytes").unwrap();
    let result = workspace.undo(&ObjectId::EMPTY_TREE, 1);
    assert!(
        matches!(result, Err(Error::NotACheckpoint(_))),
        "{result:?}"
    );
    assert_eq!(workspace.checkpoints().unwrap(), []);
    assert!(workspace.tree_dir().join("f").exists());
}
