//! The files that are being written, beside their places, and what becomes of them when nobody finished them.
//!
//! Their names follow from a token of the apply, which is on its record before the first of them is made, and from
//! the path. So whoever comes after a crash looks for exactly these, and never for anything that merely looks so.

use std::{io, os::fd::OwnedFd};

use rustix::fs::{AtFlags, RenameFlags, renameat, unlinkat};
use sha2::{Digest, Sha256};

use super::{State, Store, project, states, write};
use crate::workspace::beneath;

/// A new token: 16 hexadecimal digits that nobody guesses.
///
/// # Errors
/// When the system has no random numbers.
pub fn token() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(hex::encode(random))
}

/// What the unfinished file of a path is called.
pub(super) fn name(token: &str, path: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(token);
    hash.update([0]);
    hash.update(path);
    format!(".treefort-{}", hex::encode(&hash.finalize()[..8])).into_bytes()
}

/// Removes what a write of this path left unfinished; gives its name when it has to stay.
///
/// `was` and `left` are what the path is before and after the apply: both are in the store.
pub(super) fn sweep(
    store: &Store,
    root: &OwnedFd,
    token: &str,
    path: &[u8],
    was: State,
    left: State,
) -> Option<Vec<u8>> {
    if [was, left]
        .iter()
        .all(|state| matches!(state, State::Absent | State::Folder))
    {
        return None;
    }
    let (folder, base) = match beneath::open_parent(root, path) {
        Ok(opened) => opened,
        // Nothing is where its folder is gone.
        Err(_) => return None,
    };
    let temporary = name(token, path);
    match settle(store, &folder, base, &temporary, was, left) {
        Ok(true) => None,
        Ok(false) | Err(_) => {
            let parent = &path[..path.len() - base.len()];
            Some([parent, &temporary].concat())
        }
    }
}

/// Whether nothing of the temporary file is left.
fn settle(
    store: &Store,
    folder: &OwnedFd,
    base: &[u8],
    temporary: &[u8],
    was: State,
    left: State,
) -> io::Result<bool> {
    let (state, content) = project::read(folder, temporary)?;
    match state {
        State::Absent => return Ok(true),
        State::Folder | State::Other => return Ok(false),
        State::File { .. } | State::Link { .. } => {}
    }
    let known = |wanted: State| {
        states::same_content(state, wanted) || is_beginning(store, state, &content, wanted)
    };
    if known(was) || known(left) {
        unlinkat(folder, temporary, AtFlags::empty())?;
        return Ok(true);
    }
    // The person saved the file in the moment in which it was swapped: theirs is back in its place, and the version
    // that it replaces is in the store.
    let now = project::state(folder, base)?;
    if now == State::Absent {
        write::rename(folder, temporary, base, RenameFlags::NOREPLACE)?;
        return Ok(true);
    }
    if left != State::Absent && states::same_content(now, left) {
        renameat(folder, temporary, folder, base)?;
        return Ok(true);
    }
    Ok(false)
}

/// Whether a file holds the first bytes of another: it was being written.
fn is_beginning(store: &Store, state: State, content: &[u8], wanted: State) -> bool {
    match (state, wanted) {
        (State::File { .. }, State::File { id, .. }) => store
            .blob(&id)
            .is_ok_and(|whole| whole.starts_with(content)),
        _ => false,
    }
}
