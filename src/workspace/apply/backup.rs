//! What an apply touches, kept in the store before it is touched.
//!
//! A backup is a commit whose tree has two folders: `before`, the paths as they were, and `after`, the same paths as
//! the apply leaves them. `git show <backup>:before/<path>` reads it from any shell.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Error, State, Store, Write, names,
    project::{At, Project},
};
use crate::workspace::{
    ObjectId, beneath,
    diff::{is_folder, is_link},
    objects::{Batch, Kind, TreeEntry},
};

/// How deep a backup's folders are read.
const MAX_DEPTH: usize = 1_000;

/// Paths and what is at them.
pub(super) type States = BTreeMap<Vec<u8>, State>;

/// The rights of folders.
pub(super) type Rights = BTreeMap<Vec<u8>, u32>;

/// Stores what the writes will touch; fails when something is not as they expect. Durable on return. Gives the
/// rights of the folders too.
pub(super) fn keep(
    store: &Store,
    project: &mut Project,
    writes: &[Write],
    message: &str,
    at: u64,
) -> Result<(ObjectId, Rights), Error> {
    let gone: BTreeSet<Vec<u8>> = writes
        .iter()
        .filter(|write| write.put == State::Absent)
        .map(|write| write.path.clone())
        .collect();
    let (mut before, mut after) = (States::new(), States::new());
    let mut batch = store.batch();
    for write in writes {
        if !before.contains_key(&write.path) {
            unchanged(project, &mut batch, write, &gone)?;
            before.insert(write.path.clone(), write.expect);
        }
        after.insert(write.path.clone(), write.put);
    }
    // Folders that are there already, so that taking back does not remove them.
    for write in writes {
        for parent in names::parents(&write.path) {
            if !before.contains_key(parent)
                && project.at(parent, &BTreeSet::new())? == At::Here(State::Folder)
            {
                before.insert(parent.to_vec(), State::Folder);
            }
        }
    }
    let folders = before.iter().filter(|(_, state)| **state == State::Folder);
    let rights: Rights = folders
        .filter_map(|(path, _)| Some((path.clone(), project.rights(path)?)))
        .collect();
    let mut folder = |name: &[u8], states: &States| -> Result<TreeEntry, Error> {
        Ok(TreeEntry {
            mode: 0o040_000,
            name: name.to_vec(),
            id: tree(&mut batch, states, &rights, &[])?,
        })
    };
    let both = vec![folder(b"before", &before)?, folder(b"after", &after)?];
    let root = batch.tree(both)?;
    let commit = batch.commit(&root, &[], message, at)?;
    batch.finish()?;
    Ok((commit, rights))
}

/// Checks that a path is as a write expects, and stores its content.
fn unchanged(
    project: &mut Project,
    batch: &mut Batch<'_>,
    write: &Write,
    gone: &BTreeSet<Vec<u8>>,
) -> Result<(), Error> {
    let changed = || Error::Changed {
        path: write.path.clone(),
    };
    match write.expect {
        State::File { .. } | State::Link { .. } => {
            let (state, content) = project.read(&write.path)?.ok_or_else(changed)?;
            if state != write.expect {
                return Err(changed());
            }
            batch.blob(&content)?;
            Ok(())
        }
        State::Absent | State::Folder => {
            let nothing = BTreeSet::new();
            // What comes may stand where something goes; what goes is looked at as it is.
            let gone = if write.expect == State::Absent {
                gone
            } else {
                &nothing
            };
            match project.at(&write.path, gone)? {
                At::Here(state) if state == write.expect => Ok(()),
                _ => Err(changed()),
            }
        }
        State::Other => Err(changed()),
    }
}

/// The tree of some paths below a folder.
fn tree(
    batch: &mut Batch<'_>,
    states: &States,
    rights: &Rights,
    at: &[u8],
) -> Result<ObjectId, Error> {
    let mut entries = BTreeMap::<Vec<u8>, TreeEntry>::new();
    let mut below = BTreeMap::<Vec<u8>, States>::new();
    let mut named = BTreeSet::new();
    for (path, state) in states {
        if let Some(slash) = path.iter().position(|byte| *byte == b'/') {
            let inner = below.entry(path[..slash].to_vec()).or_default();
            inner.insert(path[slash + 1..].to_vec(), *state);
            continue;
        }
        let (mode, id) = match state {
            State::File { mode, id } => (0o100_000 | (mode & beneath::PERMISSIONS), *id),
            State::Link { id } => (0o120_000, *id),
            State::Folder => {
                below.entry(path.clone()).or_default();
                named.insert(path.clone());
                continue;
            }
            State::Absent | State::Other => continue,
        };
        let name = path.clone();
        entries.insert(path.clone(), TreeEntry { mode, name, id });
    }
    for (name, states) in below {
        // A folder of which everything is absent was not there itself, unless it is named.
        if named.contains(&name) || states.values().any(|state| *state != State::Absent) {
            let path = if at.is_empty() {
                name.clone()
            } else {
                [at, b"/", &name].concat()
            };
            let id = tree(batch, &states, rights, &path)?;
            let mode = rights.get(&path).copied().unwrap_or(0o755);
            let mode = TreeEntry::dir_mode(mode);
            entries.insert(name.clone(), TreeEntry { mode, name, id });
        }
    }
    batch
        .tree(entries.into_values().collect())
        .map_err(Error::from)
}

/// The states of a backup: what was there before, and what the apply leaves; and the rights of the folders before.
pub(super) fn states(store: &Store, backup: &ObjectId) -> Result<(States, States, Rights), Error> {
    let root = commit_tree(store, backup)?;
    let (mut before, mut after) = (States::new(), States::new());
    let (mut rights, mut none) = (Rights::new(), Rights::new());
    let mut folders = 0;
    for entry in store.tree(&root)? {
        let into = match &entry.name[..] {
            b"before" if entry.is_dir() => (&mut before, &mut rights),
            b"after" if entry.is_dir() => (&mut after, &mut none),
            _ => continue,
        };
        flatten(store, &entry.id, &mut Vec::new(), 0, into)?;
        folders += 1;
    }
    if folders != 2 {
        return Err(Error::NoBackup(*backup));
    }
    Ok((before, after, rights))
}

/// The files, links and folders of a tree, by path.
fn flatten(
    store: &Store,
    tree: &ObjectId,
    path: &mut Vec<u8>,
    depth: usize,
    (states, rights): (&mut States, &mut Rights),
) -> Result<(), Error> {
    for entry in store.tree(tree)? {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        let state = if is_folder(entry.mode) {
            if depth < MAX_DEPTH {
                flatten(store, &entry.id, path, depth + 1, (states, rights))?;
            }
            rights.insert(path.clone(), TreeEntry::dir_permissions(entry.mode));
            State::Folder
        } else if is_link(entry.mode) {
            State::Link { id: entry.id }
        } else {
            State::File {
                mode: entry.mode & beneath::PERMISSIONS,
                id: entry.id,
            }
        };
        states.insert(path.clone(), state);
        path.truncate(length);
    }
    Ok(())
}

/// The tree of a commit.
fn commit_tree(store: &Store, commit: &ObjectId) -> Result<ObjectId, Error> {
    let (kind, text) = store.read(commit)?;
    let tree = text
        .strip_prefix(b"tree ")
        .and_then(|rest| rest.get(..40))
        .and_then(|hex| std::str::from_utf8(hex).ok())
        .and_then(|hex| hex.parse().ok());
    match (kind, tree) {
        (Kind::Commit, Some(tree)) => Ok(tree),
        _ => Err(Error::NoBackup(*commit)),
    }
}
