use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
};

use super::*;

pub(super) struct Home {
    pub(super) folder: tempfile::TempDir,
    pub(super) store: Arc<Store>,
}

impl Home {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("store")).unwrap());
        Self { folder, store }
    }

    pub(super) fn workspace(&self) -> Workspace {
        let dir = self.folder.path().join("w");
        Workspace::create(&dir, Arc::clone(&self.store), Rules::default(), None).unwrap()
    }

    pub(super) fn open(&self) -> Workspace {
        let dir = self.folder.path().join("w");
        Workspace::open(&dir, Arc::clone(&self.store), Rules::default(), None).unwrap()
    }

    /// What git has to say about the store: nothing, when all is well.
    pub(super) fn fsck(&self) -> String {
        let said = self.git(&["fsck", "--no-dangling", "--strict"]);
        said.replace("notice: HEAD points to an unborn branch (main)\n", "")
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        git(self.store.path(), arguments)
    }
}

/// Runs the real git, and takes no failure.
pub(super) fn git(at: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(at)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {error}");
    format!("{}{error}", String::from_utf8_lossy(&output.stdout))
}

#[test]
fn an_undo_brings_back_bytes_modes_links_and_empty_folders() {
    let home = Home::new();
    let mut workspace = home.workspace();
    let tree = workspace.tree_dir().to_owned();
    fs::create_dir_all(tree.join("a/empty")).unwrap();
    fs::write(tree.join("a/x"), "one\r\n").unwrap();
    fs::set_permissions(tree.join("a/x"), fs::Permissions::from_mode(0o604)).unwrap();
    symlink("/etc/passwd", tree.join("link")).unwrap();
    let first = workspace.checkpoint("start", 10).unwrap();
    fs::remove_dir_all(tree.join("a")).unwrap();
    fs::write(tree.join("a"), "now a file").unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    fs::create_dir_all(tree.join("link/deep")).unwrap();
    let done = workspace.undo(&first.commit, 20).unwrap();
    assert_eq!(done.after.tree, first.tree);
    assert_eq!(fs::read(tree.join("a/x")).unwrap(), b"one\r\n");
    assert!(tree.join("a/empty").is_dir());
    let again = workspace.undo(&done.before.commit, 30).unwrap();
    assert_eq!(again.after.tree, done.before.tree);
    assert_eq!(fs::read(tree.join("a")).unwrap(), b"now a file");
    assert_eq!(home.fsck(), "");
    let numbers: Vec<_> = workspace
        .checkpoints()
        .unwrap()
        .into_iter()
        .map(|checkpoint| (checkpoint.number, checkpoint.reason, checkpoint.at))
        .collect();
    let expected = [
        (1, "start", 10),
        (2, "before undo", 20),
        (3, "undo to checkpoint 1", 20),
        (4, "before undo", 30),
        (5, "undo to checkpoint 2", 30),
    ];
    assert_eq!(
        numbers,
        expected.map(|(number, reason, at)| (number, reason.to_owned(), at))
    );
    drop(workspace);
    assert_eq!(home.open().checkpoints().unwrap().len(), 5);
}
