//! Repositories below the top of a workspace: an agent may have made them, and their settings can name programs that
//! git runs for whoever says `git` there.

use super::{Error, ObjectId, objects::Store};

/// Folders that are looked at.
const MAX_FOLDERS: usize = 200_000;
/// Repositories that are named.
const MAX_NAMED: usize = 20;
/// The longest path that is gone into.
const MAX_PATH: usize = 4_096;

/// What git takes for a repository in a checkpoint's tree, as paths: a `.git`, or a folder that looks like one.
///
/// # Errors
/// When the store fails.
pub fn repositories(store: &Store, tree: &ObjectId) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![(Vec::new(), *tree)];
    let mut looked_at = 0;
    while let Some((path, id)) = folders.pop() {
        looked_at += 1;
        if looked_at > MAX_FOLDERS || found.len() >= MAX_NAMED {
            break;
        }
        let entries = store.tree(&id)?;
        let has = |name: &[u8], dir: bool| {
            let mut entries = entries.iter();
            entries.any(|entry| entry.name == name && (!dir || entry.is_dir()))
        };
        if has(b"HEAD", false) && has(b"objects", true) && has(b"refs", true) {
            let here = if path.is_empty() { b".".to_vec() } else { path };
            found.push(here);
            continue;
        }
        for entry in entries {
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(&entry.name);
            if entry.name.eq_ignore_ascii_case(b".git") {
                found.push(below);
            } else if entry.is_dir() && below.len() <= MAX_PATH {
                folders.push((below, entry.id));
            }
        }
    }
    found.sort();
    found.truncate(MAX_NAMED);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::testing::{self, file, things, tree};

    #[test]
    fn whatever_git_would_take_for_a_repository_is_named() {
        let (_dir, store) = testing::store();
        let tree = tree(
            &store,
            &things([
                ("a/.git/config", file("[core]")),
                ("b/.git", file("gitdir: ../c")),
                ("c/HEAD", file("ref: refs/heads/main")),
                ("c/objects/x", file("")),
                ("c/refs/x", file("")),
                ("d/HEAD", file("no repository")),
                ("d/objects/x", file("")),
            ]),
        );
        let found = repositories(&store, &tree).unwrap();
        assert_eq!(found, [&b"a/.git"[..], b"b/.git", b"c"]);
    }
}
