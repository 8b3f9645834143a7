//! Where a link leads.

use std::collections::{BTreeSet, HashMap};

use super::{Error, Store, states::Trees, three_way::MAX_TARGET};
use crate::workspace::{
    ObjectId, beneath,
    diff::{is_folder, is_link},
    flags::{self, Flag},
};

/// How many bytes the paths of links that act by themselves may have in all; an agent that makes more of them than
/// that has flagged steps without end to show.
const MAX_BYTES: usize = 16 << 20;

/// How many links one after the other are followed.
const MAX_STEPS: usize = 10;

/// What the links of a tree lead to that act by themselves (`.envrc`, a hook): a change there acts as they do.
pub(super) fn acting(
    store: &Store,
    tree: &ObjectId,
    trees: &mut Trees<'_>,
) -> Result<HashMap<Vec<u8>, BTreeSet<Flag>>, Error> {
    let mut links = Vec::new();
    let mut room = MAX_BYTES;
    collect(store, tree, &mut Vec::new(), 0, &mut room, &mut links)?;
    let mut pointed = HashMap::<_, BTreeSet<Flag>>::new();
    for (mut at, mut id) in links {
        let acts = flags::of_path(&at);
        for _ in 0..MAX_STEPS {
            if store.blob_size(&id)? > MAX_TARGET {
                break;
            }
            let Some(target) = lands(&at, &store.blob(&id)?) else {
                break;
            };
            let known = pointed.entry(target.clone()).or_default();
            known.extend(acts.iter().cloned());
            match trees.find(&target)? {
                Some((mode, next)) if is_link(mode) => (at, id) = (target, next),
                _ => break,
            }
        }
    }
    Ok(pointed)
}

/// The links of a tree that act by themselves.
fn collect(
    store: &Store,
    tree: &ObjectId,
    path: &mut Vec<u8>,
    depth: usize,
    room: &mut usize,
    links: &mut Vec<(Vec<u8>, ObjectId)>,
) -> Result<(), Error> {
    for entry in store.tree(tree)? {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        if is_folder(entry.mode) && depth < beneath::MAX_DEPTH {
            collect(store, &entry.id, path, depth + 1, room, links)?;
        } else if is_link(entry.mode) && !flags::of_path(path).is_empty() {
            let Some(left) = room.checked_sub(path.len()) else {
                return Ok(());
            };
            *room = left;
            links.push((path.clone(), entry.id));
        }
        path.truncate(length);
    }
    Ok(())
}

/// The path in the project that a link's target names; none when it leads out, or to the project itself.
fn lands(path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}

/// Whether the target of a link at `path` leads out of the project, or into its `.git`.
///
/// It is decided by the text alone, since what is on the way may change. A `..` after a name counts as leading out:
/// the name may be a link itself, and then nobody can tell.
pub(super) fn leads_out(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    let mut named = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named || depth == 0 => return true,
            b".." => depth -= 1,
            name if beneath::is_git_name(name) => return true,
            _ => named = true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_where_links_lead() {
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a", "../other"),
            ("d/a", "../../x"),
            ("d/a", "b/../../../x"),
            ("d/a", "link/../x"),
            ("a", ".git/hooks"),
            ("d/a", "../.GIT"),
            ("a", "//x"),
        ] {
            assert!(
                leads_out(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
        for (path, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("d/e/a", "../../b/c"),
            ("a", "./b//c"),
            ("a", "..."),
        ] {
            assert!(
                !leads_out(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
    }
}
