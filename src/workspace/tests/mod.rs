mod crash;
mod hostile;
mod planted;
mod properties;
mod rights;
mod states;
mod uncovered;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    process::Command,
};

use super::*;

/// What is at a path: type and permission bits, and the bytes of a file or the target of a link.
pub(super) type State = BTreeMap<Vec<u8>, (u32, Vec<u8>)>;

/// A tree as a program sees it that is not ours; `.git` at the top and what rules leave out are left out.
pub(super) fn state(root: &Path) -> State {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = State::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            if name == b".git" || path.ends_with("node_modules") {
                continue;
            }
            let metadata = path.symlink_metadata().unwrap();
            let bytes = if metadata.is_file() {
                fs::read(&path).unwrap()
            } else if metadata.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .as_bytes()
                    .to_vec()
            } else {
                Vec::new()
            };
            found.insert(name.to_vec(), (metadata.mode(), bytes));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

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
        // That no branch is there is as it should be.
        said.lines()
            .filter(|line| !line.starts_with("notice: "))
            .collect()
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
        (4, "undo to checkpoint 2", 30),
    ];
    assert_eq!(
        numbers,
        expected.map(|(number, reason, at)| (number, reason.to_owned(), at))
    );
    drop(workspace);
    assert_eq!(home.open().checkpoints().unwrap().len(), 4);
}
