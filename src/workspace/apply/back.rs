//! Taking an apply back, whole or as far as it came.
//!
//! Nothing of what the person did since is lost: a file that they edited is merged back where that is clean, and
//! otherwise stays as it is and is named.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    Error, State, Store, Write,
    backup::{self, States},
    merge_limits, names,
    project::{At, Project},
    states, temporary,
    write::Writer,
};
use crate::workspace::{
    ObjectId,
    merge::{self, Outcome},
};

/// What taking back did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// Files and links that are as they were before.
    pub written: u64,
    /// Files and links that went again.
    pub removed: u64,
    /// Of those written, how many keep what the person changed in them since.
    pub merged: u64,
    /// Paths that stay as they are, and why.
    pub kept: BTreeMap<Vec<u8>, Kept>,
}

/// Why a path was not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The person changed it since.
    Changed,
    /// The person took it away.
    Gone,
    /// Something else is on the way to it, or in its place.
    InTheWay,
    /// It cannot be read, or is too large.
    Unreadable,
    /// A file that was cut off in the middle of a write, and is not what any of the writes knows.
    Unfinished,
}

/// Takes an apply back: every path that it touched is as it was before, unless the person changed it since.
///
/// An apply that was cut off is taken back as far as it came, and its unfinished files go. Paths that are already as
/// they were before are left alone, so that a second call does nothing.
pub fn take_back(
    store: &Store,
    backup: &ObjectId,
    token: &str,
    project: &Path,
) -> Result<TakenBack, Error> {
    let (before, after, rights) = backup::states(store, backup)?;
    let mut opened = Project::open(project)?;
    let mut taken = TakenBack::default();
    // Paths beside which something is that nobody knows: a write would need its name.
    let mut unsure = BTreeSet::new();
    for path in paths(&before, &after) {
        let (was, left) = (at(&before, path), at(&after, path));
        if let Some(name) = temporary::sweep(store, &opened.root, token, path, was, left) {
            taken.kept.insert(name, Kept::Unfinished);
            unsure.insert(path.clone());
        }
    }
    let back = Back {
        store,
        project: &mut opened,
        merged: BTreeSet::new(),
        taken: &mut taken,
    };
    let (writes, merged) = back.plan(&before, &after)?;
    let writer = Writer::new(store, &opened, token, &rights);
    for write in &writes {
        if unsure.contains(&write.path) {
            taken.kept.insert(write.path.clone(), Kept::Unfinished);
            continue;
        }
        if !writer.one_of_many(write)? {
            taken.kept.insert(write.path.clone(), Kept::InTheWay);
            continue;
        }
        match write.put {
            State::File { .. } | State::Link { .. } => {
                taken.written += 1;
                taken.merged += u64::from(merged.contains(&write.path));
            }
            State::Absent if write.expect != State::Folder => taken.removed += 1,
            _ => {}
        }
    }
    opened.write_back()?;
    Ok(taken)
}

/// All paths of a backup.
fn paths<'s>(before: &'s States, after: &'s States) -> BTreeSet<&'s Vec<u8>> {
    let all = before.keys().chain(after.keys());
    all.filter(|path| names::refusal(path).is_none()).collect()
}

fn at(states: &States, path: &[u8]) -> State {
    states.get(path).copied().unwrap_or(State::Absent)
}

struct Back<'b> {
    store: &'b Store,
    project: &'b mut Project,
    merged: BTreeSet<Vec<u8>>,
    taken: &'b mut TakenBack,
}

impl Back<'_> {
    /// The writes that lead from `after` to `before`, for what is not there already; and which of them are merges.
    fn plan(
        mut self,
        before: &States,
        after: &States,
    ) -> Result<(Vec<Write>, BTreeSet<Vec<u8>>), Error> {
        let paths = paths(before, after);
        let gone: BTreeSet<Vec<u8>> = paths
            .iter()
            .filter(|path| at(before, path) == State::Absent)
            .map(|path| path.to_vec())
            .collect();
        let (mut removals, mut arrivals) = (Vec::new(), Vec::new());
        for path in paths {
            let (was, left) = (at(before, path), at(after, path));
            if was == left {
                continue;
            }
            let kind_changed = matches!((was, left), (State::Folder, _) | (_, State::Folder));
            match self.project.at(path, &BTreeSet::new())? {
                At::Here(now) if now == was => continue,
                At::Here(now) if now == left => {}
                // Cut off between the two halves of a change.
                At::Here(State::Absent) if kind_changed => {
                    arrivals.push(Write {
                        path: path.clone(),
                        expect: State::Absent,
                        put: was,
                    });
                    continue;
                }
                At::Here(now) => {
                    arrivals.extend(self.edited(path, was, left, now)?);
                    continue;
                }
                // Its folder was a file before, and is one again: nothing to do below it.
                At::UnderFile(_) | At::ThroughLink(_) if was == State::Absent => continue,
                // Something else stands where a folder of `before` will be again.
                At::UnderFile(parent) | At::ThroughLink(parent) if gone.contains(&parent) => {}
                At::UnderFile(parent) | At::ThroughLink(parent)
                    if before.get(&parent) == Some(&State::Folder) && left == State::Absent => {}
                At::UnderFile(_) | At::ThroughLink(_) => {
                    self.taken.kept.insert(path.clone(), Kept::InTheWay);
                    continue;
                }
            }
            if was == State::Absent || kind_changed && left != State::Absent {
                removals.push(Write {
                    path: path.clone(),
                    expect: left,
                    put: State::Absent,
                });
            }
            if was != State::Absent {
                let replaced = kind_changed && left != State::Absent;
                arrivals.push(Write {
                    path: path.clone(),
                    expect: if replaced { State::Absent } else { left },
                    put: was,
                });
            }
        }
        removals.reverse();
        removals.append(&mut arrivals);
        Ok((removals, self.merged))
    }

    /// A path that the person changed since the apply: theirs stays, without what the apply brought where the two
    /// can be told apart.
    fn edited(
        &mut self,
        path: &[u8],
        was: State,
        left: State,
        now: State,
    ) -> Result<Option<Write>, Error> {
        let mut keep = |why| {
            self.taken.kept.insert(path.to_vec(), why);
            Ok(None)
        };
        let (before, after, mode) = match (was, left, now) {
            (_, _, State::Absent) => return keep(Kept::Gone),
            (_, _, State::Other) => return keep(Kept::Unreadable),
            (_, _, State::Folder) => return keep(Kept::InTheWay),
            (
                State::File { id: was_id, .. },
                State::File { id: left_id, .. },
                State::File { .. },
            ) => {
                // The person's rights stay where they changed them.
                let (mode, _) = states::permissions(left, now, was);
                (was_id, left_id, mode)
            }
            _ => return keep(Kept::Changed),
        };
        let Some((state, mine)) = self.project.read(path)?.filter(|(state, _)| *state == now)
        else {
            return keep(Kept::Changed);
        };
        let id = if states::same_content(state, left) {
            before
        } else {
            let (after, before) = (self.store.blob(&after)?, self.store.blob(&before)?);
            let Outcome::Clean(text) = merge::merge(&after, &mine, &before, &merge_limits()) else {
                return keep(Kept::Changed);
            };
            let mut batch = self.store.batch();
            // Theirs is kept too: nothing is overwritten that the store does not have.
            batch.blob(&mine)?;
            let id = batch.blob(&text)?;
            batch.finish()?;
            id
        };
        let put = State::File { mode, id };
        if put == now {
            return Ok(None);
        }
        self.merged.insert(path.to_vec());
        Ok(Some(Write {
            path: path.to_vec(),
            expect: now,
            put,
        }))
    }
}
