//! What differs between two trees, and how that reads.
//!
//! [`changes`] compares trees and never opens what is equal; [`unified`] renders one change in git's format. Both
//! read the store only. What they read was written by an agent: every size, count and time has a bound.
//! Texts keep their bytes as far as UTF-8 can (control characters too); whoever shows them on a terminal strips them.

pub(crate) mod lines;
mod unified;

pub use self::unified::{Limits, Rendered, texts, unified};

use super::{
    Error as StoreError, ObjectId,
    objects::{Store, TreeEntry},
};

/// The type bits of a mode.
const TYPE: u32 = 0o170_000;
/// The type of folders.
const FOLDER: u32 = 0o040_000;
/// The type of links.
const LINK: u32 = 0o120_000;

/// How deep trees are followed.
const MAX_DEPTH: usize = 1_000;
/// The most changes between two trees.
const MAX_CHANGES: usize = 1_000_000;

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the trees' root, parts separated by `/`.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Mode (type and permissions) and object before.
    pub old: Option<(u32, ObjectId)>,
    /// Mode (type and permissions) and object after.
    pub new: Option<(u32, ObjectId)>,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content differs (and perhaps its permissions).
    Modified,
    /// It is gone.
    Deleted,
    /// Only its permissions differ.
    Mode,
    /// A file, link or empty folder became another of these.
    Type,
}

/// Why two trees could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object is missing or broken.
    #[error("could not read the checkpoint")]
    Store(#[from] StoreError),
    /// Deeper than any source.
    #[error("folders lie more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More than anybody can look at.
    #[error("more than {MAX_CHANGES} files differ")]
    TooMany,
}

/// Whether a mode is a folder's.
pub(crate) fn is_folder(mode: u32) -> bool {
    mode & TYPE == FOLDER
}

/// Whether a mode is a link's.
pub(crate) fn is_link(mode: u32) -> bool {
    mode & TYPE == LINK
}

/// The changes from tree `a` (nothing, if `None`) to tree `b`, sorted by path.
///
/// A folder appears itself only where it is empty and no folder on the other side. A file that becomes a folder with
/// something in it is one `Deleted` and the `Added` below it. Renames are not detected.
pub fn changes(store: &Store, a: Option<&ObjectId>, b: &ObjectId) -> Result<Vec<Change>, Error> {
    let mut found = Vec::new();
    walk(store, a, Some(b), &mut Vec::new(), 0, &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn walk(
    store: &Store,
    a: Option<&ObjectId>,
    b: Option<&ObjectId>,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut Vec<Change>,
) -> Result<(), Error> {
    if a == b {
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let (old, new) = (entries(store, a)?, entries(store, b)?);
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.name.cmp(&other.name),
        };
        let one = if order.is_le() { old.next() } else { None };
        let other = if order.is_ge() { new.next() } else { None };
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        if let Some(entry) = one.as_ref().or(other.as_ref()) {
            path.extend_from_slice(&entry.name);
        }
        entry(store, one, other, path, depth, found)?;
        path.truncate(length);
        if found.len() > MAX_CHANGES {
            return Err(Error::TooMany);
        }
    }
}

/// The entries of a tree by name: git's own order sorts folders as if their names ended in `/`.
fn entries(store: &Store, tree: Option<&ObjectId>) -> Result<Vec<TreeEntry>, Error> {
    let mut entries = match tree {
        Some(tree) => store.tree(tree)?,
        None => Vec::new(),
    };
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

/// Compares what two trees have at one name.
fn entry(
    store: &Store,
    one: Option<TreeEntry>,
    other: Option<TreeEntry>,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut Vec<Change>,
) -> Result<(), Error> {
    let folder = |entry: &Option<TreeEntry>| {
        entry
            .as_ref()
            .filter(|entry| is_folder(entry.mode))
            .map(|entry| entry.id)
    };
    let (old_folder, new_folder) = (folder(&one), folder(&other));
    let before = found.len();
    if old_folder.is_some() || new_folder.is_some() {
        walk(
            store,
            old_folder.as_ref(),
            new_folder.as_ref(),
            path,
            depth + 1,
            found,
        )?;
    }
    let leaf = |entry: &Option<TreeEntry>| {
        entry
            .as_ref()
            .filter(|entry| !is_folder(entry.mode))
            .map(|entry| (entry.mode, entry.id))
    };
    let (mut old, mut new) = (leaf(&one), leaf(&other));
    // An empty folder that came or went. (One with nothing but empty ones in it was walked into.)
    if found.len() == before {
        match (old_folder, new_folder) {
            (Some(id), None) => old = Some((FOLDER, id)),
            (None, Some(id)) => new = Some((FOLDER, id)),
            _ => {}
        }
    }
    let kind = match (old, new) {
        (None, None) => return Ok(()),
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Deleted,
        (Some(old), Some(new)) if old == new => return Ok(()),
        (Some(old), Some(new)) if old.0 & TYPE != new.0 & TYPE => ChangeKind::Type,
        (Some(old), Some(new)) if old.1 == new.1 => ChangeKind::Mode,
        _ => ChangeKind::Modified,
    };
    found.push(Change {
        path: path.clone(),
        kind,
        old,
        new,
    });
    Ok(())
}

#[cfg(test)]
mod tests;
