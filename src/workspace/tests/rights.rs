//! Without root: files and folders whose rights somebody took away.

use std::{env, os::unix::process::CommandExt as _};

use super::*;

const CHILD: &str = "TREEFORT_TEST_WITHOUT_ROOT";

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The part that runs as nobody in particular.
#[test]
fn child_without_root() {
    let Ok(folder) = env::var(CHILD) else { return };
    let folder = Path::new(&folder);
    assert!(!rustix::process::geteuid().is_root());
    let store = Arc::new(Store::open(&folder.join("store")).unwrap());
    let mut workspace =
        Workspace::create(&folder.join("w"), store, Rules::default(), None).unwrap();
    let tree = workspace.tree_dir().to_owned();
    fs::create_dir_all(tree.join("closed/below")).unwrap();
    fs::write(tree.join("closed/below/file"), "kept all the same").unwrap();
    fs::write(tree.join("secret"), "no rights").unwrap();
    fs::create_dir(tree.join("foreign")).unwrap();
    for (path, mode) in [("closed/below", 0), ("closed", 0o111), ("secret", 0)] {
        chmod(&tree.join(path), mode);
    }
    let modes = || {
        let mode = |path: &str| tree.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        let closed = mode("closed");
        [closed, mode("closed/below"), mode("secret")]
    };
    let first = workspace.checkpoint("closed", 1).unwrap();
    assert_eq!(first.uncovered, []);
    assert_eq!(first.files, 2);
    assert_eq!(modes(), [0o111, 0, 0], "as they were");

    chmod(&tree.join("closed"), 0o755);
    chmod(&tree.join("closed/below"), 0o755);
    fs::remove_file(tree.join("closed/below/file")).unwrap();
    chmod(&tree.join("closed"), 0o555);
    chmod(&tree.join("closed/below"), 0o555);
    fs::remove_file(tree.join("secret")).unwrap();
    let done = workspace.undo(&first.commit, 2).unwrap();
    assert_eq!(done.after.tree, first.tree);
    assert_eq!(modes(), [0o111, 0, 0]);
    chmod(&tree.join("closed"), 0o755);
    chmod(&tree.join("closed/below"), 0o755);
    let text = fs::read(tree.join("closed/below/file")).unwrap();
    assert_eq!(text, b"kept all the same");

    // A whole folder without rights goes, too.
    let empty = workspace.checkpoint("", 3).unwrap();
    fs::create_dir_all(tree.join("new/deep")).unwrap();
    fs::write(tree.join("new/deep/file"), "x").unwrap();
    chmod(&tree.join("new/deep"), 0o500);
    chmod(&tree.join("new"), 0);
    let done = workspace.undo(&empty.commit, 4).unwrap();
    assert_eq!(done.after.tree, empty.tree);
    assert!(!tree.join("new").exists());
}

#[test]
fn rights_that_are_taken_away_hide_nothing_and_come_back() {
    if !rustix::process::geteuid().is_root() {
        let folder = tempfile::tempdir().unwrap();
        run(Command::new(env::current_exe().unwrap()).env(CHILD, folder.path()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), 0o777);
    // The test program may lie where others cannot come.
    let program = folder.path().join("program");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    run(Command::new(program)
        .uid(1000)
        .gid(1000)
        .env(CHILD, folder.path()));
}

fn run(command: &mut Command) {
    let output = command
        .args(["--exact", "workspace::tests::rights::child_without_root"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn restored_files_get_their_owner() {
    use std::os::unix::fs::MetadataExt as _;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    let dir = home.folder.path().join("w");
    let owner = Some((1000, 1001));
    let mut workspace =
        Workspace::create(&dir, Arc::clone(&home.store), Rules::default(), owner).unwrap();
    let tree = workspace.tree_dir().to_owned();
    fs::create_dir(tree.join("d")).unwrap();
    fs::write(tree.join("d/f"), "x").unwrap();
    chmod(&tree.join("d/f"), 0o4755);
    symlink("f", tree.join("d/l")).unwrap();
    let first = workspace.checkpoint("", 1).unwrap();
    workspace.plant_git("main", 1).unwrap();
    fs::remove_dir_all(tree.join("d")).unwrap();
    let done = workspace.undo(&first.commit, 2).unwrap();
    assert_eq!(done.after.tree, first.tree, "set-user bit and all");
    for path in [
        "",
        "d",
        "d/f",
        "d/l",
        ".git",
        ".git/index",
        ".git/objects/pack",
    ] {
        let metadata = tree.join(path).symlink_metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1000, 1001), "{path}");
    }
}
