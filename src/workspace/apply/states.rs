//! States of a path, compared, and look-ups in trees.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::{Error, State, Store, project::fold};
use crate::workspace::{
    ObjectId, beneath,
    diff::{Change, ChangeKind, is_folder, is_link},
    objects::TreeEntry,
};

/// The bits that an agent may give a file in somebody's project: not writable for others.
const GIVEN: u32 = 0o755;

/// What a tree's entry is in a project.
pub(super) fn state_of(mode: u32, id: ObjectId) -> State {
    if is_folder(mode) {
        State::Folder
    } else if is_link(mode) {
        State::Link { id }
    } else {
        State::File {
            mode: mode & beneath::PERMISSIONS,
            id,
        }
    }
}

/// An agent's new file with the permissions that it may have.
pub(super) fn given(agents: State) -> State {
    match agents {
        State::File { mode, id } => State::File {
            mode: mode & GIVEN,
            id,
        },
        other => other,
    }
}

/// Whether two states are of one kind and content, whatever the permissions.
pub(super) fn same_content(one: State, other: State) -> bool {
    match (one, other) {
        (State::File { id: one, .. }, State::File { id: other, .. })
        | (State::Link { id: one }, State::Link { id: other }) => one == other,
        (State::Absent, State::Absent) | (State::Folder, State::Folder) => true,
        _ => false,
    }
}

/// The permissions that a file gets, and whether both sides changed them differently (then the person's stay).
pub(super) fn permissions(base: State, yours: State, agents: State) -> (u32, bool) {
    let mode = |state| match state {
        State::File { mode, .. } => Some(mode),
        _ => None,
    };
    match (mode(base), mode(yours), mode(agents)) {
        (Some(base), Some(yours), Some(agents)) if agents == base || agents & GIVEN == yours => {
            (yours, false)
        }
        (Some(base), Some(yours), Some(agents)) if yours == base => (agents & GIVEN, false),
        (Some(_), Some(yours), _) => (yours, true),
        (_, Some(yours), None) => (yours, false),
        (_, _, Some(agents)) => (agents & GIVEN, false),
        (_, None, None) => (0o644, false),
    }
}

/// Look-ups of paths in one tree.
pub(super) struct Trees<'a> {
    store: &'a Store,
    root: ObjectId,
    read: HashMap<ObjectId, HashMap<Vec<u8>, (u32, ObjectId)>>,
    folded: HashMap<ObjectId, HashSet<String>>,
}

impl<'a> Trees<'a> {
    pub(super) fn new(store: &'a Store, root: ObjectId) -> Self {
        Self {
            store,
            root,
            read: HashMap::new(),
            folded: HashMap::new(),
        }
    }

    /// Whether a folder, named with its slash, has a name that reads so without case.
    pub(super) fn has_folded(&mut self, folder: &[u8], name: &str) -> Result<bool, Error> {
        let mut tree = self.root;
        if let Some(folder) = folder.strip_suffix(b"/") {
            match self.find(folder)? {
                Some((mode, id)) if is_folder(mode) => tree = id,
                _ => return Ok(false),
            }
        }
        if !self.folded.contains_key(&tree) {
            let names = self.entries(tree)?.keys().map(|entry| fold(entry));
            let names = names.collect();
            self.folded.insert(tree, names);
        }
        Ok(self
            .folded
            .get(&tree)
            .is_some_and(|names| names.contains(name)))
    }

    fn entries(&mut self, tree: ObjectId) -> Result<&HashMap<Vec<u8>, (u32, ObjectId)>, Error> {
        Ok(match self.read.entry(tree) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let named = |entry: TreeEntry| (entry.name, (entry.mode, entry.id));
                unread.insert(self.store.tree(&tree)?.into_iter().map(named).collect())
            }
        })
    }

    /// Mode and object at a path.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<(u32, ObjectId)>, Error> {
        let mut at = (0o040_000, self.root);
        for part in path.split(|byte| *byte == b'/') {
            if !is_folder(at.0) {
                return Ok(None);
            }
            match self.entries(at.1)?.get(part) {
                Some(entry) => at = *entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

/// A change as the planner takes it: what becomes a folder or was one is first taken away and then made.
pub(super) fn parts(change: &Change) -> Vec<Change> {
    match (change.old, change.new) {
        (Some(old), Some(new)) if is_folder(old.0) != is_folder(new.0) => {
            let gone = Change {
                kind: ChangeKind::Deleted,
                new: None,
                ..change.clone()
            };
            let made = Change {
                kind: ChangeKind::Added,
                old: None,
                ..change.clone()
            };
            vec![gone, made]
        }
        _ => vec![change.clone()],
    }
}
