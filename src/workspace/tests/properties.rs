//! Any sequence of edits, checkpoints, undos and deaths ends in one of the states that were kept.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Write(Vec<u8>, Vec<u8>),
    Folder(Vec<u8>),
    Remove(Vec<u8>),
    Mode(Vec<u8>, u32),
    Rename(Vec<u8>, Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
    HardLink(Vec<u8>, Vec<u8>),
    Checkpoint,
    Undo(usize),
    Reopen,
    /// An undo that is killed after some of its steps.
    Die(usize, usize),
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let names: [&[u8]; 7] = [b"a", b"b", b"a.b", b"A", b"\xff\xfe \n", b".git", b"a0"];
    prop::collection::vec(prop::sample::select(names.to_vec()), 1..4)
        .prop_map(|parts| parts.join(&b'/'))
        .prop_filter("the top .git is disposable", |path| {
            !path.starts_with(b".git")
        })
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let modes = prop::sample::select(vec![0o644, 0o600, 0o755, 0, 0o4755, 0o1777, 0o111]);
    prop_oneof![
        6 => (path(), bytes).prop_map(|(path, bytes)| Op::Write(path, bytes)),
        3 => path().prop_map(Op::Folder),
        3 => path().prop_map(Op::Remove),
        2 => (path(), modes).prop_map(|(path, mode)| Op::Mode(path, mode)),
        3 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Op::Link(from, to)),
        1 => (path(), path()).prop_map(|(from, to)| Op::HardLink(from, to)),
        4 => Just(Op::Checkpoint),
        2 => any::<usize>().prop_map(Op::Undo),
        1 => Just(Op::Reopen),
        2 => (any::<usize>(), 0..12_usize).prop_map(|(to, steps)| Op::Die(to, steps)),
    ]
}

/// Begins an undo and leaves it after some steps, with its journal, as a kill would.
fn die(workspace: &mut Workspace, target: &Checkpoint, steps: usize) {
    let before = workspace.keep("before undo", 5).unwrap();
    let journal = Journal {
        v: 1,
        tree: target.tree,
        reason: "undo".to_owned(),
        at: 5,
    };
    write_durably(&workspace.journal(), &serde_json::to_vec(&journal).unwrap()).unwrap();
    let mut restore = workspace.restore(&before.tree, &target.tree).unwrap();
    restore.cut(steps);
    restore.run().unwrap();
}

struct World {
    home: Home,
    workspace: Workspace,
    kept: BTreeMap<ObjectId, State>,
}

impl World {
    fn keep(&mut self, checkpoint: &Checkpoint) {
        let now = state(self.workspace.tree_dir());
        assert_eq!(checkpoint.uncovered, []);
        // One tree is one state, and one state is one tree.
        let known = self
            .kept
            .entry(checkpoint.tree)
            .or_insert_with(|| now.clone());
        assert_eq!(*known, now);
        let trees = self.kept.values().filter(|state| **state == now).count();
        assert_eq!(trees, 1);
    }

    fn edit(&self, op: Op) {
        let tree = self.workspace.tree_dir();
        let at = |path: &[u8]| tree.join(OsStr::from_bytes(path));
        // Most paths have no folder above them, and an edit that the system refuses is no edit; but nothing
        // is edited through a link, because it may lead anywhere.
        let is_plain = |path: &[u8]| {
            let mut above = at(path);
            above.pop();
            above.canonicalize().is_ok_and(|canonical| {
                canonical
                    == tree
                        .canonicalize()
                        .unwrap()
                        .join(above.strip_prefix(tree).unwrap())
            })
        };
        match op {
            Op::Write(path, bytes) if is_plain(&path) && !at(&path).is_symlink() => {
                drop(fs::write(at(&path), bytes));
            }
            Op::Folder(path) if is_plain(&path) => drop(fs::create_dir(at(&path))),
            Op::Remove(path) if is_plain(&path) => {
                let _ = fs::remove_file(at(&path)).or_else(|_| fs::remove_dir_all(at(&path)));
            }
            Op::Mode(path, mode) if is_plain(&path) && !at(&path).is_symlink() => {
                let _ = fs::set_permissions(at(&path), fs::Permissions::from_mode(mode));
            }
            Op::Rename(from, to) if is_plain(&from) && is_plain(&to) => {
                let _ = fs::rename(at(&from), at(&to));
            }
            Op::Link(path, target) if is_plain(&path) => {
                let _ = symlink(OsStr::from_bytes(&target), at(&path));
            }
            Op::HardLink(from, to) if is_plain(&from) && is_plain(&to) => {
                let _ = fs::hard_link(at(&from), at(&to));
            }
            _ => {}
        }
    }

    fn run(&mut self, op: Op) {
        let pick = |checkpoints: Vec<Checkpoint>, at: usize| {
            let count = checkpoints.len().max(1);
            checkpoints.into_iter().nth(at % count)
        };
        match op {
            Op::Checkpoint => {
                let checkpoint = self.workspace.checkpoint("edited", 1).unwrap();
                self.keep(&checkpoint);
            }
            Op::Undo(at) => {
                let Some(target) = pick(self.workspace.checkpoints().unwrap(), at) else {
                    return;
                };
                let was = state(self.workspace.tree_dir());
                let done = self.workspace.undo(&target.commit, 2).unwrap();
                assert_eq!(done.kept, []);
                assert_eq!(done.after.tree, target.tree);
                self.kept.insert(done.before.tree, was);
                self.keep(&done.after);
            }
            Op::Reopen => self.workspace = self.home.open(),
            Op::Die(at, steps) => {
                let Some(target) = pick(self.workspace.checkpoints().unwrap(), at) else {
                    return;
                };
                die(&mut self.workspace, &target, steps);
                self.workspace = self.home.open();
                let last = self.workspace.checkpoints().unwrap().pop().unwrap();
                assert_eq!(last.tree, target.tree);
                self.keep(&last);
                assert!(!self.workspace.journal().exists());
            }
            edit => self.edit(edit),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_ends_in_a_state_that_was_kept(ops in prop::collection::vec(op(), 1..60)) {
        let home = Home::new();
        let workspace = home.workspace();
        let mut world = World { home, workspace, kept: BTreeMap::new() };
        for op in ops {
            world.run(op);
        }
        prop_assert_eq!(world.home.fsck(), "");
    }
}
