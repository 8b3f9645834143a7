//! The tree that the next plan begins at: the result, but where nothing of it comes home, the base.
//!
//! So what could not be written is offered again, and is never counted as home.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use crate::workspace::{
    ObjectId,
    diff::is_folder,
    objects::{Batch, Store, TreeEntry},
};

/// `result` with what `base` has at the paths in `held`.
pub(super) fn tree(
    store: &Store,
    batch: &mut Batch<'_>,
    base: &ObjectId,
    result: &ObjectId,
    held: &BTreeSet<Vec<u8>>,
) -> Result<ObjectId, Error> {
    if held.is_empty() {
        return Ok(*result);
    }
    let held: Vec<&[u8]> = held.iter().map(Vec::as_slice).collect();
    let tree = folder(store, batch, Some(base), Some(result), &held)?;
    Ok(tree.unwrap_or(ObjectId::EMPTY_TREE))
}

/// The same for one folder, with paths relative to it; `None` when nothing of it is left and `base` has none.
fn folder(
    store: &Store,
    batch: &mut Batch<'_>,
    base: Option<&ObjectId>,
    result: Option<&ObjectId>,
    held: &[&[u8]],
) -> Result<Option<ObjectId>, Error> {
    let (old, mut new) = (entries(store, base)?, entries(store, result)?);
    let mut names = BTreeMap::<&[u8], Vec<&[u8]>>::new();
    for path in held {
        match path.iter().position(|byte| *byte == b'/') {
            Some(slash) => {
                let below = names.entry(&path[..slash]).or_default();
                below.push(&path[slash + 1..]);
            }
            // All of it.
            None => names.entry(path).or_default().push(&[]),
        }
    }
    for (name, below) in names {
        let before = old.get(name);
        if below.iter().any(|path| path.is_empty()) {
            match before {
                Some(entry) => drop(new.insert(name.to_vec(), entry.clone())),
                None => drop(new.remove(name)),
            }
            continue;
        }
        let id = |entry: Option<&TreeEntry>| {
            let folder = entry.filter(|entry| is_folder(entry.mode));
            folder.map(|entry| (entry.mode, entry.id))
        };
        let (before, after) = (id(before), id(new.get(name)));
        let made = folder(
            store,
            batch,
            before.as_ref().map(|(_, id)| id),
            after.as_ref().map(|(_, id)| id),
            &below,
        )?;
        match (made, after.or(before)) {
            // A file of the result's, and nothing that `base` has below it.
            (Some(ObjectId::EMPTY_TREE), _) if after.is_none() && new.contains_key(name) => {}
            (Some(id), Some((mode, _))) => {
                let name = name.to_vec();
                new.insert(name.clone(), TreeEntry { mode, name, id });
            }
            (None, _) if after.is_some() => drop(new.remove(name)),
            _ => {}
        }
    }
    if new.is_empty() && base.is_none() {
        return Ok(None);
    }
    Ok(Some(batch.tree(new.into_values().collect())?))
}

fn entries(store: &Store, tree: Option<&ObjectId>) -> Result<BTreeMap<Vec<u8>, TreeEntry>, Error> {
    let entries = match tree {
        Some(tree) => store.tree(tree)?,
        None => Vec::new(),
    };
    let named = |entry: TreeEntry| (entry.name.clone(), entry);
    Ok(entries.into_iter().map(named).collect())
}
