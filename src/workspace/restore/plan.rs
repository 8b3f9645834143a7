//! What must be done to make one tree out of another: a list of steps in one walk down and up.

use std::collections::BTreeMap;

use crate::workspace::{
    Error, ObjectId,
    objects::{Store, TreeEntry},
};

/// One step; names are of the folder where the walk stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Go into a folder; make it when the walk is to write in it.
    Enter { name: Vec<u8>, make: bool },
    /// Give the folder where the walk stands these permission bits, and go up.
    Leave { bits: u32 },
    /// Go up, and remove the folder that was left if nothing is in it any more.
    Remove { name: Vec<u8> },
    /// Remove a file or a link.
    Unlink { name: Vec<u8> },
    /// Write a file or a link; `replaces` when a file or link that a checkpoint has is in its place.
    Write { entry: TreeEntry, replaces: bool },
    /// Give a file that has its bytes already other permission bits.
    Mode { entry: TreeEntry },
}

enum Task {
    Folder {
        from: Option<ObjectId>,
        to: Option<ObjectId>,
    },
    Step(Step),
}

/// The steps from one tree to another.
///
/// # Errors
/// [`Error::Missing`] when the store has not everything that will be written: then nothing was touched.
pub(super) fn plan(store: &Store, from: &ObjectId, to: &ObjectId) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut tasks = vec![Task::Folder {
        from: Some(*from),
        to: Some(*to),
    }];
    while let Some(task) = tasks.pop() {
        match task {
            Task::Step(step) => {
                if let Step::Write { entry, .. } | Step::Mode { entry } = &step
                    && !store.has(&entry.id)
                {
                    return Err(Error::Missing(entry.id));
                }
                steps.push(step);
            }
            Task::Folder { from, to } => {
                let mut next = folder(store, from, to)?;
                next.reverse();
                tasks.append(&mut next);
            }
        }
    }
    Ok(steps)
}

type Entries = BTreeMap<Vec<u8>, TreeEntry>;

fn entries(store: &Store, id: Option<ObjectId>) -> Result<Entries, Error> {
    let Some(id) = id else {
        return Ok(Entries::new());
    };
    let entries = store.tree(&id)?;
    Ok(entries
        .into_iter()
        .map(|entry| (entry.name.clone(), entry))
        .collect())
}

/// What is done in one folder: removals first, because they make room.
fn folder(store: &Store, from: Option<ObjectId>, to: Option<ObjectId>) -> Result<Vec<Task>, Error> {
    if from == to {
        return Ok(Vec::new());
    }
    let from = entries(store, from)?;
    let to = entries(store, to)?;
    let mut removals = Vec::new();
    let mut writes = Vec::new();
    for (name, old) in &from {
        let new = to.get(name);
        if old.is_dir() && new.is_none_or(|new| !new.is_dir()) {
            let name = name.clone();
            removals.push(Task::Step(Step::Enter {
                name: name.clone(),
                make: false,
            }));
            removals.push(Task::Folder {
                from: Some(old.id),
                to: None,
            });
            removals.push(Task::Step(Step::Remove { name }));
        } else if !old.is_dir() && new.is_none_or(TreeEntry::is_dir) {
            removals.push(Task::Step(Step::Unlink { name: name.clone() }));
        }
    }
    for (name, new) in to {
        let old = from.get(&name);
        if old == Some(&new) {
            continue;
        }
        if new.is_dir() {
            writes.push(Task::Step(Step::Enter { name, make: true }));
            writes.push(Task::Folder {
                from: old.filter(|old| old.is_dir()).map(|old| old.id),
                to: Some(new.id),
            });
            let bits = TreeEntry::dir_permissions(new.mode);
            writes.push(Task::Step(Step::Leave { bits }));
            continue;
        }
        let old = old.filter(|old| !old.is_dir());
        let only_mode = old.is_some_and(|old| old.id == new.id && !old.is_link() && !new.is_link());
        writes.push(Task::Step(if only_mode {
            Step::Mode { entry: new }
        } else {
            Step::Write {
                entry: new,
                replaces: old.is_some(),
            }
        }));
    }
    removals.append(&mut writes);
    Ok(removals)
}
