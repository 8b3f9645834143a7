//! Trees that somebody made to hurt us.

use std::{
    os::unix::net::UnixListener,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::fs::{FileType, RenameFlags, mkdirat, mknodat, renameat_with};

use super::*;

pub(super) fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

fn uncovered(found: &[Uncovered]) -> Vec<(String, Why)> {
    found
        .iter()
        .map(|uncovered| {
            (
                String::from_utf8_lossy(&uncovered.path).into_owned(),
                uncovered.why,
            )
        })
        .collect()
}

#[test]
fn what_is_not_covered_is_named_and_left() {
    let home = Home::new();
    let mut workspace = home.workspace();
    workspace.rules.max_file_bytes = 100;
    let tree = workspace.tree_dir().to_owned();
    workspace.checkpoint("", 0).unwrap();
    fs::create_dir_all(tree.join("web/node_modules/x")).unwrap();
    fs::write(tree.join("web/node_modules/x/y"), "y").unwrap();
    fs::write(tree.join("web/page"), "page").unwrap();
    fs::write(tree.join("target"), "a file may have the name").unwrap();
    fs::write(tree.join("large"), [7; 101]).unwrap();
    fifo(&tree.join("fifo"));
    let _socket = UnixListener::bind(tree.join("socket")).unwrap();
    let first = workspace.checkpoint("", 1).unwrap();
    let expected = [
        ("fifo", Why::Special),
        ("large", Why::TooLarge(101)),
        ("socket", Why::Special),
        ("web/node_modules", Why::Rule),
    ]
    .map(|(path, why)| (path.to_owned(), why));
    assert_eq!(uncovered(&first.uncovered), expected);
    assert_eq!(first.files, 2);

    fs::remove_file(tree.join("target")).unwrap();
    fs::create_dir_all(tree.join("new/node_modules")).unwrap();
    fs::write(tree.join("new/covered"), "goes").unwrap();
    let done = workspace.undo(&first.commit, 2).unwrap();
    assert_eq!(fs::read(tree.join("large")).unwrap(), [7; 101]);
    assert_eq!(fs::read(tree.join("web/node_modules/x/y")).unwrap(), b"y");
    assert!(tree.join("target").is_file());
    assert!(!tree.join("new/covered").exists());
    assert!(
        tree.join("new/node_modules").is_dir(),
        "what no checkpoint has is never removed"
    );
    let kept = uncovered(&done.kept);
    assert!(
        kept.contains(&("new/node_modules".to_owned(), Why::Rule)),
        "{kept:?}"
    );
    assert!(
        kept.contains(&("large".to_owned(), Why::TooLarge(101))),
        "{kept:?}"
    );
}

#[test]
fn what_is_uncovered_and_in_the_way_is_moved_aside_not_lost() {
    let home = Home::new();
    let mut workspace = home.workspace();
    workspace.rules.max_file_bytes = 100;
    let tree = workspace.tree_dir().to_owned();
    for name in ["grows", "becomes-fifo", "target"] {
        fs::write(tree.join(name), "small").unwrap();
    }
    fs::create_dir(tree.join("folder")).unwrap();
    fs::write(tree.join("folder/x"), "x").unwrap();
    let first = workspace.checkpoint("", 1).unwrap();
    let was = state(&tree);
    fs::write(tree.join("grows"), [9; 500]).unwrap();
    for name in ["becomes-fifo", "target"] {
        fs::remove_file(tree.join(name)).unwrap();
    }
    fifo(&tree.join("becomes-fifo"));
    fs::create_dir(tree.join("target")).unwrap();
    fs::write(tree.join("target/built"), "built").unwrap();
    fs::remove_dir_all(tree.join("folder")).unwrap();
    fs::write(tree.join("folder"), [8; 300]).unwrap();
    let done = workspace.undo(&first.commit, 2).unwrap();
    assert_eq!(state(&tree), was);
    assert_eq!(done.after.tree, first.tree);
    let kept = [
        ("becomes-fifo", Why::Special),
        ("folder", Why::InTheWay),
        ("grows", Why::InTheWay),
        ("target", Why::InTheWay),
    ]
    .map(|(path, why)| (path.to_owned(), why));
    let mut found = uncovered(&done.kept);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, kept);
    let mut aside: Vec<_> = fs::read_dir(workspace.dir().join("kept"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            if path.is_dir() {
                path.join("built")
            } else {
                path
            }
        })
        .map(|path| fs::read(path).unwrap())
        .collect();
    aside.sort();
    assert_eq!(aside, [vec![8; 300], vec![9; 500], b"built".to_vec()]);
}

#[test]
fn a_folder_that_becomes_a_link_again_and_again_leads_nowhere() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    let outside = home.folder.path().join("outside");
    fs::create_dir_all(outside.join("in")).unwrap();
    for number in 0..40 {
        fs::write(outside.join(format!("in/f{number}")), "SECRET").unwrap();
    }
    fs::create_dir_all(tree.join("d/in")).unwrap();
    for number in 0..40 {
        fs::write(
            tree.join(format!("d/in/f{number}")),
            format!("one {number}"),
        )
        .unwrap();
    }
    symlink(&outside, tree.join("l")).unwrap();
    let first = workspace.checkpoint("", 1).unwrap();
    for number in 0..40 {
        fs::write(
            tree.join(format!("d/in/f{number}")),
            format!("two {number}"),
        )
        .unwrap();
        fs::write(tree.join(format!("d/in/g{number}")), "more").unwrap();
    }
    let second = workspace.checkpoint("", 1).unwrap();
    let untouched = state(&outside);
    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let folder = fs::File::open(&tree).unwrap();
                let _ = renameat_with(&folder, "d", &folder, "l", RenameFlags::EXCHANGE);
            }
        });
        for round in 0..60 {
            let target = if round % 2 == 0 { &first } else { &second };
            workspace.undo(&target.commit, 3).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(state(&outside), untouched);
    let secret = ObjectId::of("blob", b"SECRET").unwrap();
    assert!(!home.store.has(&secret));
    // When nobody disturbs, it is exact again.
    let done = workspace.undo(&first.commit, 4).unwrap();
    assert_eq!(done.after.tree, first.tree);
}

#[test]
fn a_very_deep_tree_is_kept_and_brought_back() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let mut folder = workspace.root.try_clone().unwrap();
    for depth in 0..3000 {
        mkdirat(&folder, "d", Mode::RWXU).unwrap();
        if depth % 100 == 0 {
            // A second folder after the deep one: the way back up must be found.
            mkdirat(&folder, "e", Mode::RWXU).unwrap();
        }
        folder = openat(&folder, "d", ladder::FOLDER, Mode::empty()).unwrap();
    }
    let first = workspace.checkpoint("", 1).unwrap();
    let [last] = first.uncovered.as_slice() else {
        panic!("{:?}", first.uncovered)
    };
    assert_eq!((last.path.len(), last.why), (4097, Why::TooMany));
    // One that ends where paths end.
    fs::remove_dir_all(workspace.tree_dir().join("d")).unwrap();
    fs::remove_dir(workspace.tree_dir().join("e")).unwrap();
    let mut folder = workspace.root.try_clone().unwrap();
    for depth in 0..1500 {
        mkdirat(&folder, "x", Mode::RWXU).unwrap();
        if depth % 100 == 0 {
            mkdirat(&folder, "y", Mode::RWXU).unwrap();
        }
        folder = openat(&folder, "x", ladder::FOLDER, Mode::empty()).unwrap();
    }
    let second = workspace.checkpoint("", 2).unwrap();
    assert_eq!(second.uncovered, []);
    let done = workspace.undo(&first.commit, 3).unwrap();
    assert_eq!(done.after.tree, first.tree);
    let done = workspace.undo(&second.commit, 3).unwrap();
    assert_eq!(done.after.tree, second.tree);
}

#[test]
fn a_flood_of_files_does_not_push_the_project_out() {
    let home = Home::new();
    let mut workspace = home.workspace();
    workspace.rules.max_files = 300;
    let tree = workspace.tree_dir().to_owned();
    fs::create_dir(tree.join("src")).unwrap();
    for number in 0..100 {
        fs::write(tree.join(format!("src/{number}")), format!("{number}")).unwrap();
    }
    let first = workspace.checkpoint("", 1).unwrap();
    assert_eq!(first.uncovered, []);
    let was = state(&tree.join("src"));
    fs::create_dir(tree.join("a-flood")).unwrap();
    for number in 0..2000 {
        fs::write(tree.join(format!("a-flood/{number}")), "x").unwrap();
    }
    fs::remove_file(tree.join("src/5")).unwrap();
    let second = workspace.checkpoint("", 1).unwrap();
    assert_eq!(
        uncovered(&second.uncovered),
        [("a-flood".to_owned(), Why::TooMany)]
    );
    assert_eq!(second.files, 99 + 300 - 100 - 2 + 1);
    let done = workspace.undo(&first.commit, 2).unwrap();
    assert_eq!(state(&tree.join("src")), was);
    assert!(!done.kept.is_empty());
    // What goes makes room.
    fs::remove_dir_all(&tree).unwrap();
    fs::create_dir(&tree).unwrap();
    let mut workspace = home.open();
    workspace.rules.max_files = 300;
    for number in 0..300 {
        fs::write(tree.join(format!("n{number}")), "n").unwrap();
    }
    let third = workspace.checkpoint("", 3).unwrap();
    assert_eq!((third.files, third.uncovered), (300, Vec::new()));
}

#[test]
fn paths_take_no_more_room_than_there_is() {
    let home = Home::new();
    let mut workspace = home.workspace();
    workspace.rules.max_path_bytes = 2_000;
    let tree = workspace.tree_dir().to_owned();
    fs::write(tree.join("z"), "the project's").unwrap();
    let first = workspace.checkpoint("", 1).unwrap();
    assert_eq!(first.uncovered, []);
    let long = tree.join("a".repeat(200));
    fs::create_dir(&long).unwrap();
    for number in 0..10 {
        fs::write(long.join(format!("{}{number}", "b".repeat(200))), "x").unwrap();
    }
    let second = workspace.checkpoint("", 2).unwrap();
    assert_eq!(
        uncovered(&second.uncovered),
        [("a".repeat(200), Why::TooMany)]
    );
    // One folder of 200 bytes, and files of 402.
    assert_eq!(second.files, 1 + 4);
}

#[test]
fn files_that_change_all_the_time_do_not_stop_a_checkpoint() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            use std::io::Write as _;
            let mut file = fs::File::create(tree.join("log")).unwrap();
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                file.write_all(&[b'x'; 64]).unwrap();
                let path = tree.join(format!("t{}", number % 8));
                let _ = fs::remove_file(&path);
                let _ = fs::remove_dir_all(&path);
                match number % 3 {
                    0 => fs::create_dir_all(path.join("sub")).unwrap(),
                    1 => fs::write(path, "file").unwrap(),
                    _ => symlink("/etc/passwd", path).unwrap(),
                }
            }
        });
        for _ in 0..40 {
            workspace.checkpoint("", 1).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let quiet = workspace.checkpoint("", 2).unwrap();
    assert_eq!(quiet.uncovered, []);
    assert_eq!(home.fsck(), "");
}

/// A program that keeps a file mapped and writes to it through the mapping, once for every line that it reads.
struct Mapped(std::process::Child);

impl Mapped {
    fn of(path: &Path) -> Self {
        let program = "
import mmap, sys
with open(sys.argv[1], 'r+b') as file:
    mapped = mmap.mmap(file.fileno(), 0)
for line in iter(sys.stdin.readline, ''):
    mapped[0] = line.encode()[0]
    print(flush=True)
";
        let child = Command::new("python3")
            .args(["-c", program])
            .arg(path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3 runs");
        Self(child)
    }

    fn store(&mut self, letter: char) {
        use std::io::{Read as _, Write as _};
        writeln!(self.0.stdin.as_mut().unwrap(), "{letter}").unwrap();
        let mut done = [0];
        let answered = self.0.stdout.as_mut().unwrap().read_exact(&mut done);
        answered.unwrap();
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Every store through a mapping is in the next checkpoint, whether the file is one of few or of many.
fn sees_every_store(home: &Path, others: usize) {
    let store = Arc::new(Store::open(&home.join("store")).unwrap());
    let dir = home.join("w");
    let mut workspace = Workspace::create(&dir, store, Rules::default(), None).unwrap();
    let tree = workspace.tree_dir().to_owned();
    for number in 0..others {
        fs::write(tree.join(format!("file{number}")), number.to_string()).unwrap();
    }
    fs::write(tree.join("mapped"), "a\n").unwrap();
    let mut mapped = Mapped::of(&tree.join("mapped"));
    let mut last = workspace.checkpoint("", 1).unwrap().tree;
    for letter in 'b'..'l' {
        mapped.store(letter);
        // Let the clock of the file system tick, so that a time stamp alone says that the file is as it was.
        thread::sleep(std::time::Duration::from_millis(12));
        let tree = workspace.checkpoint("", 1).unwrap().tree;
        assert_ne!(tree, last, "{letter} with {others} others");
        last = tree;
    }
}

#[test]
fn sees_stores_through_a_mapping_to_pages_that_are_dirty_already() {
    for others in [0, 200] {
        let home = tempfile::tempdir().unwrap();
        sees_every_store(home.path(), others);
        // A file system that never writes back.
        if Path::new("/dev/shm").is_dir() {
            let home = tempfile::tempdir_in("/dev/shm").unwrap();
            sees_every_store(home.path(), others);
        }
    }
}

#[test]
fn few_files_stay_unproven_and_many_are_flushed() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    for number in 0..200 {
        fs::write(tree.join(format!("{number}")), number.to_string()).unwrap();
    }
    thread::sleep(std::time::Duration::from_millis(12));
    let first = workspace.checkpoint("", 1).unwrap();
    let once = workspace.cache.unproven();
    assert!(
        once < 200,
        "the later ones were flushed before they were read"
    );
    assert_eq!(workspace.checkpoint("", 2).unwrap().tree, first.tree);
    assert_eq!(workspace.cache.unproven(), 0);
    fs::write(tree.join("7"), "new").unwrap();
    workspace.checkpoint("", 3).unwrap();
    assert_eq!(workspace.cache.unproven(), 1);
}
